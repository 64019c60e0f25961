// Rows of other tables at the visible times of a time series: a line of bars for each table, on the same time axis.
import { createButton, createElement, describeError } from "hven/dom.js";
import { readShapes } from "./tfcat_features.js";
import { getColour } from "hven/plot_drawing.js";
/** @import {Shape} from "./tfcat_features.js" */
/** @import {Timeline} from "../timeline.js" */

/**
 * @typedef {{
 *   key: string,
 *   title: string,
 *   service: string,
 *   status: string,
 *   rows: number | null,
 *   message: string,
 *   url: string,
 *   features?: string,
 *   low?: number,
 *   high?: number,
 *   counts?: number[],
 *   drawn?: number,
 * }} TableLine
 */

const HEIGHT_PIXELS = 22;
const MAX_FEATURE_ROWS = 3000; // features of larger tables are not drawn

/** The list of tables with rows at the visible times. */
export class ConcurrentRows {
  /** @type {{line: TableLine, canvas: HTMLCanvasElement}[]} */
  drawnLines = [];
  lastSpan = "";
  /** The user's choices: tables whose features are drawn or not.
   * @type {Map<string, boolean>} */
  drawnTables = new Map();
  /** The features drawn over spectrograms, by table.
   * @type {Map<string, Shape[]>} */
  features = new Map();

  /** @param {Timeline} timeline */
  constructor(timeline) {
    const { t } = timeline;
    this.timeline = timeline;
    this.ownLines = createElement("div", { className: "lines", "aria-live": "polite" });
    this.remoteLines = createElement("div", { className: "lines" });
    this.remoteServices = (timeline.container.dataset.elsewhere ?? "").split(" ").filter(Boolean);
    this.remoteButton = createButton(t("Ask other services, too"), () => this.askRemoteServices());
    this.remoteButton.hidden = !this.remoteServices.length;
    this.element = createElement(
      "details",
      { className: "meanwhile", open: timeline.workspace.state.get("_else") !== "0" },
      createElement("summary", { textContent: t("What else is there from this time?") }),
      this.ownLines,
      this.remoteLines,
      this.remoteButton,
    );
    this.element.addEventListener("toggle", () => {
      if (!timeline.drawCount) return; // the initial opening
      timeline.workspace.state.set({ _else: this.element.open ? null : "0" }, { replace: true });
      if (this.element.open) this.update();
    });
  }

  /** Update the lines when the view has settled. */
  update() {
    const span = this.timeline.shownTimes.join();
    if (!this.element.open || span === this.lastSpan) return this.draw();
    this.lastSpan = span;
    for (const key of this.remoteServices) this.timeline.workspace.cancelRequest(`far ${key}`);
    this.remoteLines.replaceChildren();
    this.fetchLines();
  }

  /** The parameters of requests: the visible times. */
  get query() {
    const { container, shownTimes } = this.timeline;
    return new URLSearchParams({ _from: shownTimes[0], _to: shownTimes[1], _but: container.dataset.table ?? "" });
  }

  async fetchLines() {
    const { t, workspace } = this.timeline;
    this.element.setAttribute("aria-busy", "true");
    try {
      const { lines } = await workspace.fetchJson("/meanwhile", { state: this.query, pane: "meanwhile" });
      this.drawnLines = [];
      this.features.clear();
      this.ownLines.replaceChildren(...lines.map((/** @type {TableLine} */ tableLine) => this.createLine(tableLine)));
      if (!lines.length)
        this.ownLines.append(createElement("p", { className: "soft", textContent: t("Nothing else.") }));
      this.draw();
    } catch (error) {
      this.ownLines.textContent = describeError(error);
    } finally {
      this.element.removeAttribute("aria-busy");
    }
  }

  /** Ask each remote service separately, so that a slow one delays no other; faults appear in its line. */
  askRemoteServices() {
    const { workspace } = this.timeline;
    const placeholders = this.remoteServices.map((key) => {
      const placeholder = createElement(
        "div",
        { className: "line" },
        createElement("p", { className: "soft", textContent: `${key} …` }),
      );
      const state = this.query;
      state.set("_elsewhere", key);
      workspace.fetchJson("/meanwhile", { state, pane: `far ${key}` }).then(
        ({ lines: [line] }) => {
          placeholder.replaceWith(this.createLine(line));
          this.draw();
        },
        (error) => (placeholder.textContent = `${key}: ${describeError(error)}`),
      );
      return placeholder;
    });
    this.remoteLines.replaceChildren(...placeholders);
  }

  /** @param {TableLine} createLine */
  createLine(createLine) {
    const { t, workspace } = this.timeline;
    const rows = workspace.formatNumber(createLine.rows ?? 0);
    const drawnText =
      createLine.drawn && createLine.drawn < (createLine.rows ?? 0) ? workspace.formatNumber(createLine.drawn) : "";
    const countText = drawnText ? t("{rows}, of which {some} are drawn", { rows, some: drawnText }) : rows;
    const text = createLine.status === "ok" ? countText : createLine.message || t(createLine.status);
    const nameElement = createLine.url
      ? createElement("a", { href: createLine.url, textContent: createLine.title })
      : createElement("span", { textContent: createLine.title });
    const canvas = createElement("canvas", {
      height: HEIGHT_PIXELS,
      role: "img",
      "aria-label": t("Start times of the rows of {name}", { name: createLine.title }),
    });
    if (createLine.counts) this.drawnLines.push({ line: createLine, canvas });
    const hasSpectra = this.timeline.facts.parameters.some((parameter) => parameter.spectrum);
    const featureControl =
      hasSpectra && createLine.features && (createLine.rows ?? 0) <= MAX_FEATURE_ROWS
        ? [" ", this.createFeatureCheckbox(createLine)]
        : [];
    return createElement(
      "div",
      { className: "line" },
      createElement(
        "p",
        {},
        nameElement,
        " ",
        createElement("small", { className: "soft", textContent: text }),
        ...featureControl,
      ),
      canvas,
    );
  }

  /**
   * Create a checkbox that draws the features of a table over spectrograms; features of the same collection are drawn
   * by default.
   * @param {TableLine} line
   */
  createFeatureCheckbox(line) {
    const { container, t } = this.timeline;
    const isOwnCollection = line.key.split(".")[0] === container.dataset.table?.split(".")[0];
    const checked = this.drawnTables.get(line.key) ?? isOwnCollection;
    const checkbox = createElement("input", { type: "checkbox", checked });
    const note = createElement("span");
    const loadFeatures = async () => {
      this.features.delete(line.key);
      note.textContent = ` ${t("drawn over the spectrum")}`;
      if (checkbox.checked) {
        try {
          const tfcat = await this.timeline.workspace.fetchJson(line.features ?? "", { state: null });
          this.features.set(line.key, readShapes(tfcat) ?? []);
        } catch (error) {
          note.textContent = ` ${describeError(error)}`;
        }
      }
      this.timeline.draw();
    };
    checkbox.addEventListener("change", () => {
      this.drawnTables.set(line.key, checkbox.checked);
      loadFeatures();
    });
    loadFeatures();
    return createElement("label", { className: "soft" }, checkbox, note);
  }

  /** Draw the bars on the time axis of the panels. */
  draw() {
    const [from, to] = this.timeline.view;
    for (const { line, canvas } of this.drawnLines) {
      const { counts = [], low = 0, high = 0 } = line;
      const width = Math.round(canvas.clientWidth * devicePixelRatio);
      const height = Math.round(HEIGHT_PIXELS * devicePixelRatio);
      if (canvas.width !== width) [canvas.width, canvas.height] = [width, height];
      const ctx = canvas.getContext("2d");
      if (!ctx) continue;
      ctx.clearRect(0, 0, width, height);
      ctx.fillStyle = getColour("--accent");
      const maxCount = Math.max(...counts);
      const x = (/** @type {number} */ time) => ((time - from) / (to - from)) * width;
      const binSeconds = (high - low) / counts.length;
      counts.forEach((count, index) => {
        if (!count) return;
        const left = x(low + index * binSeconds);
        const barHeight = Math.max(height * Math.sqrt(count / maxCount), 2);
        ctx.fillRect(left, height - barHeight, Math.max(x(low + (index + 1) * binSeconds) - left, 2), barHeight);
      });
    }
  }
}
