// What is on the screen, to be shared: its link, how it is cited, and kept among one's searches.
import { copier } from "./copy.js";
import { all, button, find, make } from "./dom.js";
import { Searches, listed } from "./saved.js";
/** @import {Workspace} from "./workspace.js" */

/**
 * Name a search by its table and its conditions.
 * @param {string} title
 * @param {string[][]} state
 */
export function named(title, state) {
  const conditions = state.filter(
    ([name, value]) => value && (!name.startsWith("_") || ["_q", "_near"].includes(name)),
  );
  const told = conditions.map(([name, value]) => (name.startsWith("_") ? value : `${name} ${value}`));
  return [title, ...(told.length ? [told.join(", ")] : [])].join(": ").slice(0, 120);
}

class Share {
  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    const { base, state, t } = workspace;
    this.box = box;
    this.workspace = workspace;
    this.searches = new Searches(base);
    this.codes = all(box, "code").map((code) => ({ code, parts: code.textContent.split(box.dataset.address ?? "") }));
    for (const one of all(box, ".copyable")) copier(one, workspace);
    this.name = make("input", { "aria-label": t("Name of the search"), maxLength: 120 });
    this.told = make("p", { className: "soft", role: "status" });
    this.list = make("ul", { className: "kept-searches" });
    const keep = make("form", {}, this.name, " ", make("button", { textContent: t("Keep this search") }));
    keep.addEventListener("submit", (event) => {
      event.preventDefault();
      this.keep();
    });
    const told = make("p", {
      className: "soft",
      textContent: t("In this browser alone; they stand on the first page, too."),
    });
    find(box, "[data-searches]").append(keep, this.told, this.list, told);
    if ("share" in navigator) this.offer();
    listed(this.list, this.searches, t);
    state.on("change", () => this.follow());
    this.follow();
  }

  get title() {
    return document.querySelector("h1")?.textContent ?? document.title;
  }

  /** A phone hands links on to its other programs. */
  offer() {
    const { t } = this.workspace;
    const hand = () => navigator.share({ title: this.name.value, url: location.href }).catch(() => {}); // who thinks better of it
    find(this.box, "[data-link-of]").after(button(t("Send the link"), hand, { className: "quiet" }));
  }

  follow() {
    const now = `${location.origin}${location.pathname}${location.search}`;
    for (const { code, parts } of this.codes) code.textContent = parts.join(now);
    this.name.value = named(this.title, this.workspace.state.entries());
    this.told.textContent = "";
  }

  keep() {
    const { t } = this.workspace;
    const address = `${location.pathname}${location.search}`;
    const done = this.searches.keep({ name: this.name.value.trim() || this.title, address });
    this.told.textContent = done ? t("Kept") : t("This browser keeps nothing for this site.");
    listed(this.list, this.searches, t);
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  new Share(box, workspace);
}
