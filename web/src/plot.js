// Plots of a search: a histogram of one column, points of two columns with colours of a third, or a density if there
// are too many points.
import uPlot from "uplot";
import { buildGradient, getViridisColour } from "./colours.js";
import { createButton, requireElement, createElement, readTableUrl, describeError } from "./dom.js";
import {
  computeRange,
  scaleDensity,
  listDrawablePoints,
  listBinCentres,
  parseSettings,
  colourPoints,
  formatAxisTitle,
  describePoints,
  formatSettings,
} from "./plot_data.js";
import { LOGARITHMIC_SCALE, computeRangeFromZero, getDistribution, getRange } from "./plot_scales.js";
import { getColour, drawPoints, drawDensity, createScaleStrip, createSwatch } from "./plot_drawing.js";
import { formatNumberTicks, formatTimeTicks, listNumberTicks, listTimeTicks } from "./ticks.js";
/** @import {Axis, Density, Histogram, Points} from "./answers.js" */
/** @import {PlotSettings, PointColours} from "./plot_data.js" */
/** @import {Workspace} from "./workspace.js" */

const HEIGHT_PIXELS = 320;
const MAX_LEGEND_KINDS = 12;
const [X_TICK_PIXELS, Y_TICK_PIXELS] = [88, 52];
const MAX_DISTANCE_SQUARED_PIXELS = 100; // squared distance within which the pointer finds a point
const MAX_REDRAWN_POINTS = 20_000; // larger plots are not redrawn for the selection
const DISPLAY_PARAMETERS = { _row: null, _panes: null, _sort: null, _cols: null, _view: null, _map: null };

/** The pane of a plot. */
class PlotPane {
  /** @type {uPlot | null} */
  plot = null;
  /** @type {string | null} */
  drawnState = null;
  waitTimer = 0; // slow plots say so
  /** The keys of the drawn points, in the order of the plot.
   * @type {string[]} */
  pointKeys = [];
  legendElement = createElement("p", { className: "legend soft" });

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { selection, state } = workspace;
    this.container = container;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(container);
    const json = requireElement(container, "script[type='application/json']").textContent;
    /** @type {{name: string, label: string, unit: string}[]} */
    this.columns = JSON.parse(json ?? "[]");
    const [x = "", y = ""] = container.dataset.first?.split(";") ?? this.columns.map(({ name }) => name);
    this.defaultAxes = { x, y };
    this.choicesElement = requireElement(container, ".axes");
    this.plotElement = requireElement(container, ".drawn");
    this.message = requireElement(container, ".told");
    this.plotElement.after(this.legendElement);
    const resize = () => this.plot?.setSize({ width: this.plotElement.clientWidth, height: HEIGHT_PIXELS });
    new ResizeObserver(resize).observe(this.plotElement);
    selection.on("change", () => {
      if (this.pointKeys.length && this.pointKeys.length < MAX_REDRAWN_POINTS) this.plot?.redraw(false);
    });
    this.plotElement.addEventListener("click", () => {
      if (selection.hover && container.isConnected) workspace.chooseRow(selection.hover);
    });
    state.on("change", () => this.refresh());
  }

  /** The settings of the address, or the default axes. */
  get settings() {
    const urlSettings = parseSettings(this.workspace.state.get("_plot"));
    return urlSettings.x ? urlSettings : { ...urlSettings, ...this.defaultAxes };
  }

  /**
   * Change settings of the plot in the address.
   * @param {Partial<PlotSettings>} changes
   */
  change(changes) {
    this.workspace.state.set({ _plot: formatSettings({ ...this.settings, ...changes }) }, { replace: true });
  }

  /**
   * @param {"x" | "y" | "c"} name
   * @param {string} label
   * @param {string} emptyLabel
   */
  createAxisSelect(name, label, emptyLabel) {
    const chosen = this.settings[name];
    const options = this.columns.map(
      (column) => new Option(formatAxisTitle(column), column.name, false, column.name === chosen),
    );
    const select = createElement("select", {}, ...(emptyLabel ? [new Option(emptyLabel, "")] : []), ...options);
    select.addEventListener("change", () => this.change({ [name]: select.value }));
    return createElement("label", {}, `${label} `, select);
  }

  /**
   * @param {"logX" | "logY"} name
   * @param {string} label
   */
  createCheckbox(name, label) {
    const checkbox = createElement("input", { type: "checkbox", checked: this.settings[name] });
    checkbox.addEventListener("change", () => this.change({ [name]: checkbox.checked }));
    return createElement("label", {}, checkbox, ` ${label}`);
  }

  drawChoices() {
    const { t } = this.workspace;
    this.choicesElement.replaceChildren(
      this.createAxisSelect("x", t("Across"), ""),
      this.createAxisSelect("y", t("Up"), t("number of rows")),
      ...(this.settings.y ? [this.createAxisSelect("c", t("Colour"), t("none"))] : []),
      this.createCheckbox("logX", t("log across")),
      this.createCheckbox("logY", t("log up")),
    );
  }

  /** Fetch and draw the plot of the address, unless it is drawn. */
  async refresh() {
    if (!this.container.isConnected) return;
    const { workspace } = this;
    const state = String(workspace.state.withChanges(DISPLAY_PARAMETERS));
    if (state === this.drawnState) return;
    this.drawnState = state;
    this.drawChoices();
    this.legendElement.replaceChildren();
    clearTimeout(this.waitTimer); // of a previous request
    if (!this.settings.x) {
      workspace.cancelRequest("plot");
      this.hideWaiting();
      this.clearPlot("");
      this.plotElement.replaceChildren();
      return;
    }
    const timer = setTimeout(() => this.showWaiting(), 150);
    this.waitTimer = timer;
    try {
      await this.fetchAndDraw(this.settings);
      this.hideWaiting();
    } catch (error) {
      this.hideWaiting();
      this.drawnState = null;
      this.message.replaceChildren(describeError(error), " ", this.createRetryButton());
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {PlotSettings} chosenSettings */
  async fetchAndDraw(chosenSettings) {
    const { state } = this.workspace;
    const { x, y, c } = chosenSettings;
    const shared = { _plot: null, _row: null };
    const options = {
      state: state.withChanges(y ? { _x: x, _y: y, _c: c || null, ...shared } : { _x: x, ...shared }),
      pane: "plot",
    };
    if (!y)
      return this.drawHistogram(
        await this.workspace.fetchJson(`${this.tableUrl}/histogram`, options),
        chosenSettings.logY,
      );
    /** @type {Points} */
    const points = await this.workspace.fetchJson(`${this.tableUrl}/points`, options);
    if (points.density) this.drawDensity(points, points.density);
    else this.drawPoints(points, chosenSettings);
  }

  showWaiting() {
    const { t } = this.workspace;
    this.plotElement.setAttribute("aria-busy", "true");
    this.plotElement.classList.add("waiting");
    const cancelButton = createButton(t("Cancel"), () => {
      this.workspace.cancelRequest("plot");
      this.hideWaiting();
      this.drawnState = null;
      this.message.replaceChildren(t("Cancelled"), " ", this.createRetryButton());
    });
    this.message.replaceChildren(t("Drawing ..."), " ", cancelButton);
  }

  hideWaiting() {
    this.plotElement.removeAttribute("aria-busy");
    this.plotElement.classList.remove("waiting");
  }

  createRetryButton() {
    return createButton(this.workspace.t("Try again"), () => this.refresh());
  }

  /**
   * Remove the plot and show a message.
   * @param {string} text
   */
  clearPlot(text) {
    this.plot?.destroy();
    this.plot = null;
    this.workspace.setDrawnPlot(null);
    this.message.textContent = text;
  }

  /**
   * @param {Axis} axis
   * @param {boolean} [isVertical]
   * @param {boolean} [isLog]
   * @returns {uPlot.Axis}
   */
  createAxis(axis, isVertical = false, isLog = false) {
    /** @type {uPlot.Axis} */
    const options = {
      label: formatAxisTitle(axis),
      stroke: getColour("--soft"),
      grid: { stroke: getColour("--line"), width: 1 },
      ticks: { stroke: getColour("--line") },
      font: "12px system-ui",
      labelFont: "13px system-ui",
    };
    if (isLog) return options; // uPlot marks powers of ten
    const { language } = this.workspace;
    options.splits = (plot, axisIndex, low, high) => {
      const tickCount = axisIndex === 0 ? (plot.width - 60) / X_TICK_PIXELS : (plot.height - 60) / Y_TICK_PIXELS;
      return (axis.time ? listTimeTicks : listNumberTicks)(low, high, Math.floor(tickCount));
    };
    options.values = (_, splits) => (axis.time ? formatTimeTicks(splits) : formatNumberTicks(splits, language));
    if (isVertical)
      options.size = (_, texts) => Math.max(40, 16 + 7 * Math.max(0, ...(texts ?? []).map((text) => text.length)));
    return options;
  }

  /**
   * @param {Pick<uPlot.Options, "scales" | "axes" | "series" | "hooks">} options
   * @param {uPlot.AlignedData} data
   * @param {Axis[]} axes
   */
  createPlot(options, data, axes) {
    const { plotElement } = this;
    this.plot?.destroy();
    plotElement.replaceChildren();
    const size = { width: plotElement.clientWidth || 600, height: HEIGHT_PIXELS };
    const defaults = { legend: { show: false }, cursor: { points: { show: false } } };
    this.plot = new uPlot({ ...size, ...defaults, ...options }, data, plotElement);
    window.hven = { ...window.hven, plot: this.plot };
    this.workspace.setDrawnPlot({ plot: this.plot, axes });
  }

  /**
   * @param {Histogram} histogram
   * @param {boolean} isLog
   */
  drawHistogram(histogram, isLog) {
    const { t } = this.workspace;
    const { counts, high, low, missing } = histogram;
    this.pointKeys = [];
    if (!counts.length) return this.clearPlot(t("There is nothing to draw"));
    const accent = getColour("--accent");
    const barPaths = uPlot.paths.bars?.({ size: [1, Infinity], gap: 1 });
    const options = {
      scales: {
        x: { time: false, range: getRange(low, high) },
        y: isLog ? LOGARITHMIC_SCALE : { range: computeRangeFromZero },
      },
      axes: [this.createAxis(histogram), this.createAxis({ label: t("rows"), unit: "" }, true, isLog)],
      series: [{}, { stroke: accent, fill: accent, paths: barPaths, points: { show: false } }],
    };
    const heights = isLog ? counts.map((count) => count || null) : counts;
    this.createPlot(options, [listBinCentres(histogram), heights], [{ ...histogram, name: histogram.column }]);
    const total = this.workspace.formatNumber(counts.reduce((sum, count) => sum + count, 0));
    const missingText = t("{missing} without a value", { missing: this.workspace.formatNumber(missing) });
    this.message.textContent = `${t("{total} rows", { total })}${missing ? `, ${missingText}` : ""}`;
  }

  /**
   * @param {Points} points
   * @param {PlotSettings} plotSettings
   */
  drawPoints(points, plotSettings) {
    const { language, t } = this.workspace;
    const [xs, ys, cs] = points.values;
    const drawnIndices = listDrawablePoints(xs, ys, plotSettings);
    const pick = (/** @type {any[]} */ values) => drawnIndices.map((number) => values[number]);
    this.pointKeys = pick(points.keys);
    if (!drawnIndices.length) return this.clearPlot(t("There is nothing to draw"));
    const pointColours = cs ? colourPoints(pick(cs), points.axes[2], language) : null;
    if (pointColours) this.explainColours(formatAxisTitle(points.axes[2]), pointColours);
    const errors = points.axes.slice(0, 2).map(({ error }) => (error ? pick(error.values) : null));
    let size = 4;
    if (drawnIndices.length > 2000) size = 2.5;
    if (drawnIndices.length > 20_000) size = 1.5;
    const style = { colours: pointColours?.colours ?? null, errors, size, ...plotSettings };
    const isChosen = (/** @type {number} */ index) => this.workspace.selection.has(this.pointKeys[index]);
    const data = [pick(xs), pick(ys)];
    const { logX, logY } = plotSettings;
    const options = {
      scales: {
        x: { time: false, distr: getDistribution(logX), range: computeRange(data[0], logX) },
        y: { distr: getDistribution(logY), range: computeRange(data[1], logY) },
      },
      axes: [this.createAxis(points.axes[0], false, logX), this.createAxis(points.axes[1], true, logY)],
      series: [
        {},
        { paths: (/** @type {uPlot} */ plot) => drawPoints(plot, style, isChosen), points: { show: false } },
      ],
      hooks: { setCursor: [(/** @type {uPlot} */ plot) => this.hoverNearest(plot)] },
    };
    this.createPlot(options, /** @type {uPlot.AlignedData} */ (data), points.axes.slice(0, 2));
    this.message.textContent = describePoints(drawnIndices.length, points, {
      t,
      number: (value) => this.workspace.formatNumber(value),
    });
  }

  /**
   * Point at the row nearest to the pointer.
   * @param {uPlot} plot
   */
  hoverNearest(plot) {
    const { selection } = this.workspace;
    const { left, top = 0 } = plot.cursor;
    if (left === undefined || left < 0) return selection.set("hover", null);
    let nearest = -1;
    let minDistance = MAX_DISTANCE_SQUARED_PIXELS;
    for (let index = 0; index < this.pointKeys.length; index++) {
      const dx = plot.valToPos(plot.data[0][index], "x") - left;
      const dy = plot.valToPos(/** @type {number} */ (plot.data[1][index]), "y") - top;
      if (dx * dx + dy * dy >= minDistance) continue;
      minDistance = dx * dx + dy * dy;
      nearest = index;
    }
    selection.set("hover", this.pointKeys[nearest] || null);
  }

  /**
   * @param {Points} points
   * @param {Density} cells
   */
  drawDensity({ axes }, { box, counts }) {
    const { t } = this.workspace;
    const [left, right, low, high] = box;
    const densityScale = scaleDensity(counts);
    this.pointKeys = [];
    const options = {
      scales: { x: { time: false, range: getRange(left, right) }, y: { range: getRange(low, high) } },
      axes: [this.createAxis(axes[0]), this.createAxis(axes[1], true)],
      series: [
        {},
        {
          paths: (/** @type {uPlot} */ plot) => drawDensity(plot, box, counts, densityScale.shade),
          points: { show: false },
        },
      ],
    };
    this.createPlot(options, /** @type {uPlot.AlignedData} */ ([box.slice(0, 2), box.slice(2)]), axes);
    const maxText = `${densityScale.more ? "≥ " : ""}${this.workspace.formatNumber(densityScale.most)}`;
    this.legendElement.append(`${t("rows")}: 1 `, createScaleStrip(densityScale.ramp), ` ${maxText}`);
    const rowCount = counts.flat().reduce((sum, count) => sum + count, 0);
    const rowsText = this.workspace.formatNumber(rowCount); // rows without both values are not drawn
    this.message.textContent = t("{total} rows, drawn as a density from dark (few) to bright (many)", {
      total: rowsText,
    });
  }

  /**
   * Explain the colours below the plot.
   * @param {string} name
   * @param {PointColours} colours
   */
  explainColours(name, { kinds, low, high }) {
    const { t } = this.workspace;
    if (!kinds)
      return this.legendElement.append(
        `${name}: ${low} `,
        createScaleStrip(buildGradient(getViridisColour)),
        ` ${high}`,
      );
    const kindLabels = kinds
      .slice(0, MAX_LEGEND_KINDS)
      .flatMap(([kind, colour]) => [createSwatch(colour), ` ${kind || t("no value")}  `]);
    const restText = this.workspace.formatNumber(kinds.length - MAX_LEGEND_KINDS);
    this.legendElement.append(
      `${name}: `,
      ...kindLabels,
      ...(kinds.length > MAX_LEGEND_KINDS ? [t("and {count} more", { count: restText })] : []),
    );
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  return new PlotPane(container, workspace).refresh();
}
