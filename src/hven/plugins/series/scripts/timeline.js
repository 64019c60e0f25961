// The time series of a data set: panels over one time axis, controlled by pointer, touch and keys; pictures, files and
// example code of the moment.
import { LinePanel } from "./timelines/line_panel.js";
import { requireElement, createElement } from "hven/dom.js";
import { showPictures } from "./timelines/sample_pictures.js";
import { listenToKeys } from "./timelines/timeline_gestures.js";
import { createTimeToolbar } from "./timelines/timeline_toolbar.js";
import { ConcurrentRows } from "./timelines/concurrent_rows.js";
import { formatTime, parseTime } from "./timelines/time_format.js";
import { ServiceRequests } from "./timelines/service_requests.js";
import { SpectrogramPanel } from "./timelines/spectrogram_panel.js";
import { SeriesTiles } from "./timelines/series_tiles.js";
/** @import uPlot from "uplot" */
/** @import {TimePanel} from "./timelines/time_panel.js" */
/** @import {Parameter} from "./timelines/series_tiles.js" */
/** @import {Workspace} from "hven/workspace.js" */

/**
 * @typedef {{
 *   id: string,
 *   title: string,
 *   start: number | null,
 *   stop: number | null,
 *   latest: [number, number] | null,
 *   rows: number,
 *   cadence: number | null,
 *   regular: boolean,
 *   time: string,
 *   parameters: Parameter[],
 *   shown: string[],
 *   pictures: string[],
 *   hapi: string | null,
 *   das2: string | null,
 *   path: string,
 * }} SeriesFacts
 * times in microseconds since 1970
 */

const MICROSECONDS_PER_SECOND = 1e6;
const MOMENT_MARGIN_SAMPLES = 200; // samples before and after a moment without a span
const SETTLE_MILLISECONDS = 250; // a pause after which the view counts as settled
const FIRST_DRAW_WAIT_MILLISECONDS = 80; // how long the first drawing waits for pending tiles
const FIRST_PICTURE_MARK = "first picture"; // performance mark of the first complete drawing
const MIN_SPAN_SECONDS = 1e-4;

/** The pane of a time series. */
export class Timeline {
  /** @type {TimePanel[]} */
  panels = [];
  /** The first and the last visible time, in seconds since 1970.
   * @type {[number, number]} */
  view = [0, 1];
  /** Called when everything requested is drawn. */
  onIdle = () => {};
  /** The chosen moment.
   * @type {number | null} */
  moment = null;
  fromField = createElement("input");
  toField = createElement("input");
  stack = createElement("div");
  gallery = createElement("div");
  frameRequest = 0;
  settleTimer = 0;
  drawCount = 0; // number of drawings so far
  startTime = performance.now();

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   * @param {SeriesFacts} facts
   */
  constructor(container, workspace, facts) {
    this.container = container;
    this.workspace = workspace;
    this.t = workspace.t;
    this.facts = facts;
    this.tiles = new SeriesTiles(container.dataset.url ?? "");
    this.message = requireElement(container, ".told");
    /** @type {[number, number]} */
    this.fullSpan = [Number(facts.start) / MICROSECONDS_PER_SECOND, Number(facts.stop) / MICROSECONDS_PER_SECOND];
    this.sampleSeconds = (facts.cadence ?? MICROSECONDS_PER_SECOND) / MICROSECONDS_PER_SECOND;
    this.tiles.on("again", () => this.draw());
    this.tiles.on("busy", ({ busy: isBusy }) => this.setBusy(isBusy));
    this.tiles.on("fault", ({ message, wait }) => {
      const failureText = this.t("A part could not be loaded: {why}", { why: message });
      const retryText = wait ? this.t("Hven tries again in {count} s", { count: wait }) : "";
      this.message.textContent = [failureText, retryText].filter(Boolean).join("; ");
    });
    this.tiles.on("tile", () => {
      if (!this.tiles.hasFailures) this.message.textContent = "";
      this.draw();
    });
    this.build();
    window.hven = { ...window.hven, timeline: this };
  }

  /** Show the view of the address; resolves after the first drawing. */
  begin() {
    const { state } = this.workspace;
    const firstDrawing = new Promise((resolve) => {
      this.onIdle = () => {
        this.onIdle = () => {};
        this.scheduleSettle();
        resolve(null);
      };
    });
    const [from, to] = ["_from", "_to"].map((name) => parseTime(state.get(name) ?? ""));
    const moment = parseTime(state.get("_at") ?? "");
    this.moment = Number.isNaN(moment) ? null : moment;
    this.view = from < to ? [from, to] : this.getLatestView();
    if (!(from < to) && this.moment !== null)
      this.view = [
        moment - MOMENT_MARGIN_SAMPLES * this.sampleSeconds,
        moment + MOMENT_MARGIN_SAMPLES * this.sampleSeconds,
      ];
    this.showParameters(state.get("_p")?.split(",") ?? []);
    if (this.moment !== null) showPictures(this);
    addEventListener("popstate", () => {
      const [first, last] = ["_from", "_to"].map((name) => parseTime(state.get(name) ?? ""));
      if (first < last) this.show(first, last);
    });
    return firstDrawing;
  }

  /** Return the view of the whole series. */
  getFullView() {
    return addMargin(this.fullSpan);
  }

  /** Return the view of the latest stretch without a large gap. */
  getLatestView() {
    const [begin, end] = this.facts.latest ?? [0, 0];
    return addMargin([begin / MICROSECONDS_PER_SECOND, end / MICROSECONDS_PER_SECOND]);
  }

  /** Build the elements of the pane. */
  build() {
    const { t } = this;
    this.choicesElement = createElement("div", { className: "choices", role: "group", "aria-label": t("Shown") });
    const label = t("Time series: arrow keys move, + and - zoom, 0 shows all");
    Object.assign(this.stack, { className: "stack", tabIndex: 0, role: "group", ariaLabel: label });
    listenToKeys(this.stack, this);
    Object.assign(this.gallery, { className: "gallery", ariaLive: "polite" });
    this.requests = new ServiceRequests(this);
    const hintText = t(
      "Drag: move · wheel: zoom · Shift and drag: zoom in on an interval · double click: zoom out · click: choose a moment",
    );
    this.container.append(
      createTimeToolbar(this),
      this.choicesElement,
      this.stack,
      createElement("div", { className: "soft hint", textContent: hintText }),
      this.gallery,
      this.requests.filesElement,
    );
    if (!("alone" in this.container.dataset)) {
      this.concurrentRows = new ConcurrentRows(this);
      this.container.append(this.concurrentRows.element);
    }
    this.container.append(this.requests.element);
    let stackWidth = 0;
    new ResizeObserver(() => {
      if (this.stack.clientWidth === stackWidth) return;
      stackWidth = this.stack.clientWidth;
      for (const panel of this.panels) panel.plot?.setSize(panel.size);
      this.draw();
    }).observe(this.stack);
  }

  /**
   * Show the named parameters, or the default ones.
   * @param {string[]} names
   */
  showParameters(names) {
    const { parameters } = this.facts;
    let shownParameters = parameters.filter((parameter) => names.includes(parameter.name));
    if (!shownParameters.length)
      shownParameters = parameters.filter((parameter) => this.facts.shown.includes(parameter.name));
    for (const panel of this.panels) panel.destroy();
    this.panels = [
      ...shownParameters
        .filter((parameter) => parameter.spectrum)
        .map((parameter) => new SpectrogramPanel(this, parameter)),
      ...groupByUnit(shownParameters.filter((parameter) => !parameter.spectrum)).map(
        (group) => new LinePanel(this, group),
      ),
    ];
    this.panels.forEach((panel, index) => (panel.isLast = index === this.panels.length - 1));
    this.stack.replaceChildren(...this.panels.map((panel) => panel.element));
    for (const panel of this.panels) panel.requestTiles(); // request tiles while the rest of the page is built
    const axisNames = new Set(parameters.map((parameter) => parameter.bins?.along));
    const offeredParameters = parameters.filter(
      (parameter) => !axisNames.has(parameter.name) || shownParameters.includes(parameter),
    );
    const checkboxes = offeredParameters.map((parameter) => {
      const checkbox = createElement("input", { type: "checkbox", checked: shownParameters.includes(parameter) });
      checkbox.addEventListener("change", () => {
        const chosenParameters = parameters.filter((candidate) =>
          candidate === parameter ? checkbox.checked : shownParameters.includes(candidate),
        );
        if (!chosenParameters.length) return void (checkbox.checked = true);
        this.workspace.state.set(
          { _p: chosenParameters.map((chosenParameter) => chosenParameter.name).join(",") },
          { replace: true },
        );
        this.showParameters(chosenParameters.map((chosenParameter) => chosenParameter.name));
      });
      return createElement("label", { title: parameter.description }, checkbox, ` ${parameter.label}`);
    });
    this.choicesElement?.replaceChildren(createElement("span", { textContent: this.t("Shown") }), ...checkboxes);
    if (this.choicesElement) this.choicesElement.hidden = offeredParameters.length < 2;
    this.draw();
    if (this.drawCount) this.scheduleSettle(); // the first drawing does this itself
  }

  get middle() {
    return (this.view[0] + this.view[1]) / 2;
  }

  /** The visible times in ISO 8601. */
  get shownTimes() {
    return this.view.map(formatTime);
  }

  /**
   * Return how many bins a sample extends over before there is a gap.
   * @param {number} width microseconds
   */
  countBinsPerSample(width) {
    return Math.max(
      1,
      Math.ceil(((this.facts.regular ? 1.05 : 1.5) * this.sampleSeconds * MICROSECONDS_PER_SECOND) / width),
    );
  }

  /**
   * Show a span. It is at most four times the whole series, and at least as long as clocks can resolve.
   * @param {number} from
   * @param {number} to
   */
  show(from, to) {
    const maxLength = Math.max((this.fullSpan[1] - this.fullSpan[0]) * 4, 1);
    const length = Math.min(Math.max(to - from, MIN_SPAN_SECONDS), maxLength);
    const middle = (from + to) / 2;
    const middleInRange = Math.min(Math.max(middle, this.fullSpan[0] - length / 2), this.fullSpan[1] + length / 2);
    this.view = [middleInRange - length / 2, middleInRange + length / 2];
    // at once instead of in the next frame
    if (!this.frameRequest) for (const panel of this.panels) panel.requestTiles();
    this.draw();
    this.scheduleSettle();
  }

  /**
   * Move by a share of the visible span.
   * @param {number} share share of the visible span
   */
  move(share) {
    const shift = (this.view[1] - this.view[0]) * share;
    this.show(this.view[0] + shift, this.view[1] + shift);
  }

  /**
   * Zoom around a time.
   * @param {number} factor
   * @param {number} [fixedTime]
   */
  zoom(factor, fixedTime = this.middle) {
    this.show(fixedTime - (fixedTime - this.view[0]) * factor, fixedTime + (this.view[1] - fixedTime) * factor);
  }

  /** Show the span of the fields. */
  applyFields() {
    const [from, to] = [this.fromField, this.toField].map((field) => parseTime(field.value));
    if (from < to) this.show(from, to);
    else this.message.textContent = this.t("Write times as 2003-10-28T11:00, with the earlier time first");
  }

  /**
   * Show the values at the pointer in each panel.
   * @param {TimePanel} panel
   * @param {uPlot | null} plot
   */
  showReadouts(panel, plot) {
    const x = plot?.cursor.left ?? -1;
    const time = plot && x >= 0 ? plot.posToVal(x, "x") : null;
    const height =
      plot && time !== null && Number(plot.cursor.top) >= 0 ? plot.posToVal(Number(plot.cursor.top), "y") : null;
    for (const hoveredPanel of plot ? [panel] : this.panels) {
      hoveredPanel.readout.textContent =
        time === null ? "" : `${formatTime(time)}  ·  ${hoveredPanel.describeAt(time, height)}`;
    }
  }

  /**
   * Choose a moment.
   * @param {number} time
   */
  chooseTime(time) {
    this.moment = time;
    this.workspace.state.set({ _at: formatTime(time) }, { replace: true });
    this.draw();
    showPictures(this);
  }

  /** Draw all panels in the next frame. */
  draw() {
    if (this.frameRequest) return;
    this.container.setAttribute("aria-busy", "true"); // until everything requested is drawn
    this.frameRequest = requestAnimationFrame(() => {
      this.frameRequest = 0;
      // tiles that the page preloads arrive soon: draw once instead of twice
      if (
        !this.drawCount &&
        this.tiles.pendingCount &&
        performance.now() - this.startTime < FIRST_DRAW_WAIT_MILLISECONDS
      )
        return this.draw();
      this.drawCount++;
      for (const panel of this.panels) panel.draw();
      this.concurrentRows?.draw();
      queueMicrotask(() => {
        if (!this.tiles.pendingCount) this.setBusy(false);
      }); // new plots draw in an earlier microtask
    });
  }

  /** After a pause, update address, fields and example code, and cancel requests for invisible tiles. */
  scheduleSettle() {
    clearTimeout(this.settleTimer);
    this.settleTimer = setTimeout(() => {
      const [from, to] = this.shownTimes;
      this.workspace.state.set({ _from: from, _to: to }, { replace: true });
      // do not overwrite a field while the user types
      if (document.activeElement !== this.fromField) this.fromField.value = from.slice(0, 19);
      if (document.activeElement !== this.toField) this.toField.value = to.slice(0, 19);
      this.tiles.keepRequests(new Set(this.panels.map((panel) => panel.binWidth)), this.view);
      if (!this.tiles.hasFailures) this.message.textContent = "";
      for (const panel of this.panels) panel.settle();
      this.draw();
      this.requests?.update();
      this.concurrentRows?.update();
    }, SETTLE_MILLISECONDS);
  }

  /**
   * Mark the pane as busy, or as complete.
   * @param {boolean} busy
   */
  setBusy(busy) {
    if (busy || this.frameRequest) return this.container.setAttribute("aria-busy", "true");
    this.container.removeAttribute("aria-busy");
    if (!this.tiles.hasFailures && !performance.getEntriesByName(FIRST_PICTURE_MARK).length)
      performance.mark(FIRST_PICTURE_MARK);
    this.onIdle();
  }
}

/**
 * Extend a span by a small margin, so that samples do not lie on the edges.
 * @param {[number, number]} span
 * @returns {[number, number]}
 */
function addMargin([begin, end]) {
  const margin = Math.max((end - begin) * 0.01, MIN_SPAN_SECONDS);
  return [begin - margin, end + margin];
}

/**
 * Group parameters of one unit and scale into panels.
 * @param {Parameter[]} parameters
 */
function groupByUnit(parameters) {
  /** @type {Map<string, Parameter[]>} */
  const groups = new Map();
  for (const parameter of parameters) {
    const isAlone = !parameter.unit || parameter.elements > 1;
    const key = isAlone ? `\n${parameter.name}` : `${parameter.unit} ${parameter.scale}`;
    groups.set(key, [...(groups.get(key) ?? []), parameter]);
  }
  return [...groups.values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / 3) }, (_, index) => group.slice(3 * index, 3 * index + 3)),
  );
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export async function mount(container, workspace) {
  /** @type {SeriesFacts} */
  const facts = JSON.parse(requireElement(container, "script", HTMLScriptElement).textContent ?? "");
  if (facts.start === null || !facts.parameters.length) {
    requireElement(container, ".told").textContent = workspace.t(
      facts.start === null ? "This time series has no samples." : "This time series has no numbers that can be drawn.",
    );
    return;
  }
  await new Timeline(container, workspace, facts).begin();
}
