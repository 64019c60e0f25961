// The answer of a query, below the editor. It is the part of the page that the server would render without scripts.
import { findElements, createButton, createElement } from "hven/dom.js";
import { isAllowedPicture, showThumbnail } from "hven/table_cells.js";
/** @import {Workspace} from "hven/workspace.js" */

const WAIT_MILLISECONDS = 150; // slower queries show their progress
const JOB_OFFER_SECONDS = 3; // slower queries offer to run as a job

/** The place of answers on the query page. */
export class QueryAnswer {
  requestNumber = 0;
  controller = new AbortController();

  /**
   * @param {HTMLElement} place
   * @param {Workspace} workspace
   * @param {{onSuccess: () => void, onJob: (text: string) => void}} handlers
   *   called when the query has no fault, and to run it as a job
   */
  constructor(place, workspace, handlers) {
    this.place = place;
    this.workspace = workspace;
    this.handlers = handlers;
  }

  /**
   * Fetch the answer of a query; meanwhile show the time and alternatives.
   * @param {string} text
   */
  async fetchAnswer(text) {
    const { place } = this;
    const ownNumber = ++this.requestNumber;
    this.controller.abort();
    this.controller = new AbortController();
    const { signal } = this.controller;
    const stopWaiting = this.showProgress(text, this.controller);
    place.setAttribute("aria-busy", "true");
    try {
      const address = `${this.workspace.base}/adql/answer?${new URLSearchParams({ QUERY: text })}`;
      const response = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin", signal });
      // text that the server has escaped stays text; scripts do not run
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (ownNumber !== this.requestNumber) return;
      stopWaiting();
      if (response.ok) this.handlers.onSuccess();
      this.showAnswer(page, response, text);
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError")
        place.replaceChildren(createMessage(error.message, "fault"), this.createRetryButton(text));
    } finally {
      stopWaiting();
      if (ownNumber === this.requestNumber) place.removeAttribute("aria-busy");
    }
  }

  /**
   * Show that a query runs and for how long; return a function that stops this.
   * @param {string} text
   * @param {AbortController} controller
   */
  showProgress(text, controller) {
    const { place } = this;
    const { t } = this.workspace;
    const startTime = performance.now();
    const progressText = createMessage("");
    const cancelButton = createButton(t("Cancel"), () => {
      controller.abort();
      place.replaceChildren(createMessage(t("Cancelled")));
    });
    const jobButton = createButton(t("Run as a job instead"), () => {
      controller.abort();
      this.handlers.onJob(text);
    });
    const updateProgress = () => {
      const seconds = (performance.now() - startTime) / 1000;
      progressText.textContent = `${t("Running ...")} ${seconds >= 1 ? `${Math.floor(seconds)} s` : ""}`;
      jobButton.hidden = seconds < JOB_OFFER_SECONDS;
    };
    updateProgress();
    const showTimer = setTimeout(() => {
      place.replaceChildren(progressText, createElement("p", { className: "bar" }, cancelButton, jobButton));
    }, WAIT_MILLISECONDS);
    const progressTimer = setInterval(updateProgress, 500);
    return () => {
      clearTimeout(showTimer);
      clearInterval(progressTimer);
    };
  }

  /**
   * Show the main part of the answer's page.
   * @param {Document} page
   * @param {Response} response
   * @param {string} text
   */
  showAnswer(page, { ok, status }, text) {
    const source = page.querySelector("main") ?? page.body;
    const hasFault = page.querySelector(".fault") !== null;
    /** @type {Node[]} */
    const parts = [...source.childNodes].map((node) => document.adoptNode(node));
    const statusText = this.workspace.t("the server answered {status}", { status });
    if (!ok && !hasFault) parts.unshift(createMessage(statusText, "fault"));
    this.place.replaceChildren(...parts, ...(status >= 500 ? [this.createRetryButton(text)] : []));
    this.mountAnswer();
  }

  /** Mount the panes of the answer. */
  mountAnswer() {
    for (const link of findElements(this.place, "a[data-picture]", HTMLAnchorElement)) {
      if (isAllowedPicture(link.href)) showThumbnail(link);
    }
    this.workspace.mountPanes(this.place);
  }

  /** @param {string} text */
  createRetryButton(text) {
    return createButton(this.workspace.t("Try again"), () => this.fetchAnswer(text));
  }
}

/** @param {string} textContent */
function createMessage(textContent, className = "count") {
  return createElement("p", { className, textContent });
}
