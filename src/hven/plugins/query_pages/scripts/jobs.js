// The list of jobs, refreshed while a job runs: at growing intervals, and not while the page is hidden.
import { findElements, createElement, findElement, getEventTarget } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

const FIRST_PAUSE_MILLISECONDS = 1000;
const MAX_PAUSE_MILLISECONDS = 10_000;
const RESEND_MILLISECONDS = 3000; // a second submission within this time is ignored
const FOCUSABLE = "a, button, summary"; // elements that may have the focus

/**
 * Compute the pause before the next refresh.
 * @param {number} pause
 * @param {boolean} isUnchanged whether nothing has changed
 */
export function computePause(pause, isUnchanged) {
  return isUnchanged ? Math.min(pause * 1.5, MAX_PAUSE_MILLISECONDS) : FIRST_PAUSE_MILLISECONDS;
}

/** The refreshed list of jobs. */
class JobList {
  pause = FIRST_PAUSE_MILLISECONDS;
  timer = 0;

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    this.container = container;
    this.workspace = workspace;
    this.lastText = container.textContent;
    container.addEventListener("submit", preventResending);
    container.addEventListener("click", (event) => {
      if (!getEventTarget(event).closest("[data-refresh]")) return;
      event.preventDefault();
      this.refreshSoon();
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && container.hasAttribute("data-active")) this.refreshSoon();
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.refresh(); // the page was restored and may be outdated
    });
    this.scheduleRefresh();
  }

  refreshSoon() {
    this.pause = FIRST_PAUSE_MILLISECONDS;
    this.refresh();
  }

  async refresh() {
    if (document.hidden) return; // it resumes when the page is visible
    const { t } = this.workspace;
    try {
      const response = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      // text that the server has escaped stays text; scripts do not run
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const newList = findElement(page, '[data-pane="jobs"]');
      if (!newList) return;
      this.showList(newList);
    } catch (/** @type {any} */ error) {
      this.showFailure(t("The page could not be refreshed: {why}", { why: error.message }));
    }
    this.scheduleRefresh();
  }

  /**
   * Replace the list and keep open details, focus and results.
   * @param {HTMLElement} newList
   */
  showList(newList) {
    const { container } = this;
    this.pause = computePause(this.pause, newList.textContent === this.lastText);
    this.lastText = newList.textContent;
    const openSummaries = findElements(container, "details[open] > summary").map((summary) => summary.textContent);
    const focusIndex = findElements(container, FOCUSABLE).findIndex(
      (focusable) => focusable === document.activeElement,
    );
    const tickedJobs = findElements(container, "input:checked").map((box) => box.getAttribute("value"));
    const liveElement = findElement(container, "[data-said]");
    const announcement = liveElement?.textContent ?? "";
    const newAnnouncement = findElement(newList, "[data-said]")?.textContent ?? "";
    findElement(newList, "[data-said]")?.remove();
    container.toggleAttribute("data-active", newList.hasAttribute("data-active"));
    // keep a result that the user views, plots or sends
    const keptResult = findElement(container, "[data-kept]");
    const sameResult =
      keptResult &&
      findElements(newList, "[data-kept]").find((result) => result.dataset.kept === keptResult.dataset.kept);
    if (sameResult) sameResult.replaceWith(keptResult);
    const nodes = [...newList.childNodes].map((node) => document.adoptNode(node));
    container.replaceChildren(...(liveElement ? [liveElement] : []), ...nodes);
    // screen readers only announce changes of the same element
    if (liveElement && newAnnouncement !== announcement) liveElement.textContent = newAnnouncement;
    for (const summary of findElements(container, "details > summary")) {
      if (openSummaries.includes(summary.textContent))
        /** @type {HTMLDetailsElement} */ (summary.parentElement).open = true;
    }
    for (const box of findElements(container, "input[type=checkbox]")) {
      if (tickedJobs.includes(box.getAttribute("value"))) /** @type {HTMLInputElement} */ (box).checked = true;
    }
    this.workspace.mountPanes(container);
    if (focusIndex >= 0) findElements(container, FOCUSABLE)[focusIndex]?.focus({ preventScroll: true });
  }

  /** @param {string} text */
  showFailure(text) {
    const element =
      findElement(this.container, "[data-note]") ??
      this.container.appendChild(createElement("p", { className: "fault" }));
    element.dataset.note = "";
    element.textContent = text;
  }

  /** Schedule the next refresh while a job runs. */
  scheduleRefresh() {
    clearTimeout(this.timer);
    if (this.container.hasAttribute("data-active")) this.timer = setTimeout(() => this.refresh(), this.pause);
  }
}

/**
 * Prevent that a form is submitted twice.
 * @param {Event} event
 */
function preventResending(event) {
  const form = getEventTarget(event);
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "1";
  setTimeout(() => delete form.dataset.sent, RESEND_MILLISECONDS);
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  new JobList(container, workspace);
}
