// The rows of a list of jobs, refreshed while it runs: only the rows that are shown, and only if they have changed.
import { findElement, findElements } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

const FIRST_PAUSE_MILLISECONDS = 1000;
const MAX_PAUSE_MILLISECONDS = 10_000;
const MAP_PAUSE_MILLISECONDS = 5000; // between two requests of the map while the list runs

class JobListRows {
  pause = FIRST_PAUSE_MILLISECONDS;
  timer = 0;
  mapTime = 0; // when the map was last told to refresh
  tag = "";

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    this.container = container;
    this.workspace = workspace;
    workspace.selection.on("change", ({ name }) => {
      if (name === "chosen") this.showRow(workspace.selection.chosen);
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.refresh();
    });
    this.scheduleRefresh();
  }

  async refresh() {
    if (document.hidden) return; // it resumes when the page is visible
    try {
      const headers = { ...(this.tag && { "if-none-match": this.tag }) };
      const response = await fetch(this.container.dataset.rows ?? "", { headers, credentials: "same-origin" });
      const isUnchanged = response.status === 304;
      this.pause = isUnchanged ? Math.min(this.pause * 1.5, MAX_PAUSE_MILLISECONDS) : FIRST_PAUSE_MILLISECONDS;
      if (response.ok) {
        this.tag = response.headers.get("etag") ?? "";
        // text that the server has escaped stays text; scripts do not run
        this.showRows(new DOMParser().parseFromString(await response.text(), "text/html"));
        this.refreshMap();
      }
    } catch {
      this.pause = MAX_PAUSE_MILLISECONDS; // the server may be starting again
    }
    this.scheduleRefresh();
  }

  /**
   * Replace the rows, and keep the ticks and the focus.
   * @param {Document} page
   */
  showRows(page) {
    const newState = findElement(page, "[data-state]");
    const oldState = findElement(this.container, "[data-state]");
    if (!newState || !oldState) return;
    const tickedRows = findElements(oldState, "input:checked").map((box) => box.getAttribute("value"));
    const focusable = "a, button, input";
    const focusIndex = findElements(oldState, focusable).findIndex((element) => element === document.activeElement);
    oldState.replaceWith(document.adoptNode(newState));
    for (const box of findElements(newState, "input")) {
      if (tickedRows.includes(box.getAttribute("value"))) /** @type {HTMLInputElement} */ (box).checked = true;
    }
    this.container.toggleAttribute("data-active", newState.hasAttribute("data-active"));
    if (focusIndex >= 0) findElements(newState, focusable)[focusIndex]?.focus({ preventScroll: true });
  }

  /** Let the map colour the rows by their phases: at once when the list has ended, or else every few seconds. */
  refreshMap() {
    const isActive = this.container.hasAttribute("data-active");
    if (isActive && Date.now() - this.mapTime < MAP_PAUSE_MILLISECONDS) return;
    this.mapTime = Date.now();
    this.workspace.emit("places", {});
  }

  /**
   * Show the row that was chosen on the map: on this page, or else on the page that begins with it.
   * @param {string | null} key it begins with the number of the row
   */
  showRow(key) {
    const number = parseInt(key ?? "", 10);
    if (!number) return;
    const row = document.getElementById(`row-${number}`);
    if (row) {
      row.scrollIntoView({ block: "center" });
      findElement(row, "input")?.focus({ preventScroll: true });
    } else location.assign(`${location.pathname}?from=${number - 1}#row-${number}`);
  }

  scheduleRefresh() {
    clearTimeout(this.timer);
    if (this.container.hasAttribute("data-active")) this.timer = setTimeout(() => this.refresh(), this.pause);
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  new JobListRows(container, workspace);
}
