// The answer of a query, below the editor: asked for as the part of the page that the server writes without scripts, too.
import { all, button, make } from "./dom.js";
import { pictured, thumbnail } from "./table.js";
/** @import {Workspace} from "./workspace.js" */

const MOMENT = 150; // milliseconds: what takes longer says so
const LONG = 3; // seconds after which a job is offered

export class Answer {
  asked = 0;
  control = new AbortController();

  /**
   * @param {HTMLElement} place
   * @param {Workspace} workspace
   * @param {{good: () => void, job: (text: string) => void}} acts called when the query has no fault; when it is to be a job
   */
  constructor(place, workspace, acts) {
    this.place = place;
    this.workspace = workspace;
    this.acts = acts;
  }

  /**
   * Ask for the answer of a query and put it below; meanwhile say how long it takes, and how else it could be had.
   * @param {string} text
   */
  async ask(text) {
    const { place } = this;
    const mine = ++this.asked;
    this.control.abort();
    this.control = new AbortController();
    const { signal } = this.control;
    const stop = this.wait(text, this.control);
    place.setAttribute("aria-busy", "true");
    try {
      const address = `${this.workspace.base}/adql/answer?${new URLSearchParams({ QUERY: text })}`;
      const found = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin", signal });
      const page = new DOMParser().parseFromString(await found.text(), "text/html"); // what the server has escaped stays text; no script runs
      if (mine !== this.asked) return;
      stop();
      if (found.ok) this.acts.good();
      this.show(page, found, text);
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError") place.replaceChildren(said(error.message, "fault"), this.again(text));
    } finally {
      stop();
      if (mine === this.asked) place.removeAttribute("aria-busy");
    }
  }

  /**
   * Say that a query runs, and how long it has; gives what ends that.
   * @param {string} text
   * @param {AbortController} control
   */
  wait(text, control) {
    const { place } = this;
    const { t } = this.workspace;
    const begun = performance.now();
    const clock = said("");
    const cancel = button(t("Cancel"), () => {
      control.abort();
      place.replaceChildren(said(t("Cancelled")));
    });
    const job = button(t("Run as a job instead"), () => {
      control.abort();
      this.acts.job(text);
    });
    const tick = () => {
      const seconds = (performance.now() - begun) / 1000;
      clock.textContent = `${t("Running ...")} ${seconds >= 1 ? `${Math.floor(seconds)} s` : ""}`;
      job.hidden = seconds < LONG;
    };
    tick();
    const waiting = setTimeout(() => {
      place.replaceChildren(clock, make("p", { className: "bar" }, cancel, job));
    }, MOMENT);
    const ticking = setInterval(tick, 500);
    return () => {
      clearTimeout(waiting);
      clearInterval(ticking);
    };
  }

  /**
   * @param {Document} page
   * @param {Response} found
   * @param {string} text
   */
  show(page, { ok, status }, text) {
    const source = page.querySelector("main") ?? page.body;
    const faulty = page.querySelector(".fault") !== null;
    /** @type {Node[]} */
    const parts = [...source.childNodes].map((node) => document.adoptNode(node));
    const told = this.workspace.t("the server answered {status}", { status });
    if (!ok && !faulty) parts.unshift(said(told, "fault"));
    this.place.replaceChildren(...parts, ...(status >= 500 ? [this.again(text)] : []));
    this.shown();
  }

  /** Bring to life what was put below. */
  shown() {
    for (const link of all(this.place, "a[data-picture]", HTMLAnchorElement)) if (pictured(link.href)) thumbnail(link);
    this.workspace.bring(this.place);
  }

  /** @param {string} text */
  again(text) {
    return button(this.workspace.t("Try again"), () => this.ask(text));
  }
}

/** @param {string} textContent */
function said(textContent, className = "count") {
  return make("p", { className, textContent });
}
