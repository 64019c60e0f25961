// The page of jobs, looked at again while something runs: politely, ever more slowly, and not at all while nobody looks.
import { all, make, maybe, target } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

const FIRST = 1000; // milliseconds
const SLOWEST = 10_000;
const TWICE = 3000; // milliseconds within which a second press is the same one
const PLACES = "a, button, summary"; // where the focus may be

/**
 * Give the pause before the next look.
 * @param {number} pause
 * @param {boolean} same nothing has changed
 */
export function next(pause, same) {
  return same ? Math.min(pause * 1.5, SLOWEST) : FIRST;
}

class Jobs {
  pause = FIRST;
  timer = 0;

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    this.box = box;
    this.workspace = workspace;
    this.before = box.textContent;
    box.addEventListener("submit", once);
    box.addEventListener("click", (event) => {
      if (!target(event).closest("[data-refresh]")) return;
      event.preventDefault();
      this.soon();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && box.hasAttribute("data-active")) this.soon();
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.look(); // back: what is shown may be old
    });
    this.again();
  }

  soon() {
    this.pause = FIRST;
    this.look();
  }

  async look() {
    if (document.hidden) return; // begins again when it is seen
    const { t } = this.workspace;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html"); // what the server has escaped stays text; no script runs
      const fresh = maybe(page, '[data-pane="jobs"]');
      if (!fresh) return;
      this.show(fresh);
    } catch (/** @type {any} */ error) {
      this.note(t("The page could not be refreshed: {why}", { why: error.message }));
    }
    this.again();
  }

  /** @param {HTMLElement} fresh */
  show(fresh) {
    const { box } = this;
    this.pause = next(this.pause, fresh.textContent === this.before);
    this.before = fresh.textContent;
    const open = all(box, "details[open] > summary").map((one) => one.textContent);
    const focus = all(box, PLACES).findIndex((one) => one === document.activeElement);
    const live = maybe(box, "[data-said]");
    const said = live?.textContent ?? "";
    const news = maybe(fresh, "[data-said]")?.textContent ?? "";
    maybe(fresh, "[data-said]")?.remove();
    box.toggleAttribute("data-active", fresh.hasAttribute("data-active"));
    // a result that is looked at, plotted or sent stays as it is
    const mine = maybe(box, "[data-kept]");
    const same = mine && all(fresh, "[data-kept]").find((one) => one.dataset.kept === mine.dataset.kept);
    if (same) same.replaceWith(mine);
    const parts = [...fresh.childNodes].map((node) => document.adoptNode(node));
    box.replaceChildren(...(live ? [live] : []), ...parts);
    if (live && news !== said) live.textContent = news; // the same element: only then is its change read out
    for (const one of all(box, "details > summary")) {
      if (open.includes(one.textContent)) /** @type {HTMLDetailsElement} */ (one.parentElement).open = true;
    }
    this.workspace.bring(box);
    if (focus >= 0) all(box, PLACES)[focus]?.focus({ preventScroll: true });
  }

  /** @param {string} text */
  note(text) {
    const old = maybe(this.box, "[data-note]") ?? this.box.appendChild(make("p", { className: "fault" }));
    old.dataset.note = "";
    old.textContent = text;
  }

  again() {
    clearTimeout(this.timer);
    if (this.box.hasAttribute("data-active")) this.timer = setTimeout(() => this.look(), this.pause);
  }
}

/**
 * Let a form be sent once, however often its button is pressed.
 * @param {Event} event
 */
function once(event) {
  const form = target(event);
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "1";
  setTimeout(() => delete form.dataset.sent, TWICE);
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  new Jobs(box, workspace);
}
