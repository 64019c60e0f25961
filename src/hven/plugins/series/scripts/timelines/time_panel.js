// The base of time series panels: axes, ticks and pointer. `LinePanel` and `SpectrogramPanel` draw the content.
import uPlot from "uplot";
import { createElement } from "hven/dom.js";
import { TimelineGestures } from "./timeline_gestures.js";
import { formatUnit, formatNumber } from "hven/axis_scale.js";
import { getColour } from "hven/plot_drawing.js";
import { formatNumberTicks, formatTimeTicks, listNumberTicks, listTimeTicks } from "hven/ticks.js";
/** @import {Parameter} from "./series_tiles.js" */
/** @import {Timeline} from "../timeline.js" */

const LEFT_AXIS_PIXELS = 88; // of all panels
const RIGHT_MARGIN_PIXELS = 16; // after the last time
const TICK_FONT = "12px system-ui";
const SECONDS_PER_DAY = 86_400;
const UNIX_EPOCH_JULIAN_DATE = 2_440_587.5;
const SHORT_SPAN_SECONDS = 6; // shorter spans have ticks with fractions of seconds

/** What all panels share: axes, ticks, pointer. */
export class TimePanel {
  /** @type {uPlot | null} */
  plot = null;
  isLog = false; // of the value axis
  showsGrid = true;
  isScaleChosen = false; // the user has chosen the scale
  factor = 1;
  /** The range of the value axis, in axis values.
   * @type {[number, number]} */
  yRange = [0, 1];

  /**
   * @param {Timeline} timeline
   * @param {Parameter[]} parameters
   * @param {number} plotHeight pixels
   */
  constructor(timeline, parameters, plotHeight) {
    this.timeline = timeline;
    this.parameters = parameters;
    this.plotHeight = plotHeight;
    this.isLast = false;
    const { t } = timeline;
    this.plotElement = createElement("div", { className: "place" });
    this.readout = createElement("span", { className: "value" });
    this.logCheckbox = createElement("input", { type: "checkbox" });
    this.logCheckbox.addEventListener("change", () => {
      [this.isLog, this.isScaleChosen] = [this.logCheckbox.checked, true];
      this.build();
      timeline.draw();
    });
    this.tools = createElement(
      "span",
      { className: "tools" },
      createElement("label", {}, this.logCheckbox, ` ${t("logarithmic")}`),
    );
    this.nameElement = createElement("b", {});
    this.element = createElement(
      "section",
      { className: "panel", "aria-label": parameters.map((parameter) => parameter.label).join(", ") },
      createElement("div", { className: "head" }, this.nameElement, " ", this.readout, " ", this.tools),
      this.plotElement,
    );
  }

  /** The width of the time axis in pixels. */
  get plotWidth() {
    return Math.max((this.plotElement.clientWidth || 800) - LEFT_AXIS_PIXELS - RIGHT_MARGIN_PIXELS, 50);
  }

  get size() {
    return { width: this.plotElement.clientWidth || 800, height: this.plotHeight + (this.isLast ? 56 : 12) };
  }

  /** Request the tiles that will be drawn. */
  requestTiles() {}

  build() {
    this.plot?.destroy();
    const { view } = this.timeline;
    this.logCheckbox.checked = this.isLog;
    const data = /** @type {uPlot.AlignedData} */ ([[...view], [null, null]]);
    this.plot = new uPlot({ ...this.size, ...this.createOptions() }, data, this.plotElement);
    new TimelineGestures(this.plot.over, this.timeline, this);
  }

  /** @returns {Omit<uPlot.Options, "width" | "height">} */
  createOptions() {
    const { timeline } = this;
    return {
      legend: { show: false },
      padding: [6, RIGHT_MARGIN_PIXELS, this.isLast ? null : 6, 0],
      cursor: { drag: { x: false, y: false }, points: { show: false }, sync: { key: "timeline", scales: ["x", null] } },
      scales: {
        x: { time: false, auto: false, range: () => timeline.view },
        y: { auto: false, range: () => this.yRange },
      },
      axes: [this.createTimeAxis(), this.createValueAxis()],
      series: [{}, { show: false }],
      hooks: {
        drawClear: [(plot) => this.drawClipped(plot, () => this.paint(plot))],
        draw: [(plot) => this.drawClipped(plot, () => this.drawOverlay(plot))],
        setCursor: [(plot) => timeline.showReadouts(this, plot)],
      },
    };
  }

  get axisStyle() {
    return {
      stroke: getColour("--soft"),
      grid: { show: this.showsGrid, stroke: getColour("--line"), width: 1 },
      ticks: { stroke: getColour("--line") },
      font: TICK_FONT,
      labelFont: "13px system-ui",
    };
  }

  /** @returns {uPlot.Axis} */
  createTimeAxis() {
    const style = { ...this.axisStyle, size: this.isLast ? 44 : 0 };
    if (!this.isLast)
      return {
        ...style,
        ticks: { show: false },
        splits: (plot, _, low, high) => listPanelTicks(low, high, plot),
        values: () => [],
      };
    return {
      ...style,
      splits: (plot, _, low, high) => listPanelTicks(low, high, plot),
      values: (plot, ticks) =>
        this.omitCutLabels(
          plot,
          ticks,
          isShortSpan(plot)
            ? ticks.map(formatFineTime)
            : formatTimeTicks(ticks.map((tick) => tick / SECONDS_PER_DAY + UNIX_EPOCH_JULIAN_DATE)),
        ),
    };
  }

  /**
   * Omit labels that the right edge would cut.
   * @param {uPlot} plot
   * @param {number[]} ticks
   * @param {string[]} texts
   */
  omitCutLabels(plot, ticks, texts) {
    const { min = 0, max = 1 } = /** @type {{min?: number, max?: number}} */ (plot.scales.x);
    const { font } = plot.ctx;
    plot.ctx.font = TICK_FONT;
    const fittingTexts = texts.map((text, index) => {
      const halfWidth = Math.max(...text.split("\n").map((line) => plot.ctx.measureText(line).width)) / 2;
      return ((ticks[index] - min) / (max - min)) * this.plotWidth + halfWidth > this.plotWidth + RIGHT_MARGIN_PIXELS
        ? ""
        : text;
    });
    plot.ctx.font = font;
    return fittingTexts;
  }

  /** @returns {uPlot.Axis} */
  createValueAxis() {
    const { language } = this.timeline.workspace;
    const maxTicks = Math.floor(this.plotHeight / 40);
    return {
      ...this.axisStyle,
      size: LEFT_AXIS_PIXELS - 20,
      label: this.unit,
      labelSize: 20,
      labelGap: 0,
      splits: (_, __, low, high) => {
        if (!this.isLog) return listNumberTicks(low, high, maxTicks);
        if (high - low < 1) return listNumberTicks(10 ** low, 10 ** high, maxTicks).map(Math.log10);
        return listNumberTicks(low, high, maxTicks).filter(Number.isInteger);
      },
      values: (_, ticks) => {
        if (this.isLog) return ticks.map((tick) => formatNumber(10 ** tick, 2));
        return formatNumberTicks(
          ticks.map((tick) => tick / this.factor),
          language,
        );
      },
    };
  }

  /**
   * Convert a value to an axis value: uPlot cannot show numbers below 1e-16.
   * @param {number} value
   */
  toAxisValue(value) {
    return this.isLog ? Math.log10(value) : value * this.factor;
  }

  get unit() {
    return formatUnit(this.parameters[0].unit);
  }

  /** Draw the current times. */
  draw() {
    const { plot } = this;
    if (!plot) return this.build();
    plot.batch(() => {
      const [min, max] = this.timeline.view;
      plot.setScale("x", { min, max });
      plot.setScale("y", { min: this.yRange[0], max: this.yRange[1] });
      plot.redraw(false, true); // within the batch, or it would draw twice
    });
  }

  /**
   * Draw within the plot's area.
   * @param {uPlot} u
   * @param {() => void} draw
   */
  drawClipped({ ctx, bbox }, draw) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw();
    ctx.restore();
  }

  /**
   * Draw the content.
   * @param {uPlot} plot
   */
  paint(plot) {
    void plot;
  }

  /**
   * Describe the value at a time, and at the pointer's height if it is in this panel.
   * @param {number} time
   * @param {number | null} height
   */
  describeAt(time, height) {
    void height;
    return String(time);
  }

  /**
   * Set the range of the value axis.
   * @param {number} low
   * @param {number} high
   */
  setValueRange(low, high) {
    const maxAbsolute = Math.max(Math.abs(low), Math.abs(high));
    this.factor =
      maxAbsolute > 0 && (maxAbsolute < 1e-6 || maxAbsolute > 1e9) ? 10 ** -Math.floor(Math.log10(maxAbsolute)) : 1;
    this.yRange = [this.toAxisValue(low), this.toAxisValue(high)];
  }

  /** Make the value axis logarithmic, unless the user has chosen the scale. */
  suggestLogScale() {
    if (this.isScaleChosen || this.isLog) return;
    this.isLog = this.isScaleChosen = true;
    queueMicrotask(() => {
      this.build();
      this.timeline.draw();
    });
  }

  /** The width of bins in microseconds. */
  get binWidth() {
    return 1;
  }

  /** Handle a settled view. */
  settle() {}

  /**
   * Mark the chosen moment.
   * @param {uPlot} plot
   */
  drawOverlay(plot) {
    const { moment } = this.timeline;
    if (moment === null) return;
    const { ctx, bbox } = plot;
    const x = plot.valToPos(moment, "x", true);
    ctx.strokeStyle = getColour("--mark");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }

  destroy() {
    this.plot?.destroy();
    this.element.remove();
  }
}

/**
 * Return whether a plot shows so short a span that ticks have fractions of seconds.
 * @param {uPlot} plot
 */
function isShortSpan(plot) {
  return Number(plot.scales.x.max) - Number(plot.scales.x.min) < SHORT_SPAN_SECONDS;
}

/**
 * List the ticks between two times.
 * @param {number} low
 * @param {number} high
 * @param {uPlot} plot
 */
function listPanelTicks(low, high, plot) {
  const maxTicks = Math.max(Math.floor((plot.width - LEFT_AXIS_PIXELS) / 110), 2);
  if (!isShortSpan(plot))
    return listTimeTicks(
      low / SECONDS_PER_DAY + UNIX_EPOCH_JULIAN_DATE,
      high / SECONDS_PER_DAY + UNIX_EPOCH_JULIAN_DATE,
      maxTicks,
    ).map((time) => (time - UNIX_EPOCH_JULIAN_DATE) * SECONDS_PER_DAY);
  const startSecond = Math.floor(low);
  return listNumberTicks(low - startSecond, high - startSecond, maxTicks).map((offset) => startSecond + offset);
}

/**
 * Format a time of day with microseconds.
 * @param {number} time
 */
function formatFineTime(time) {
  const second = Math.floor(time);
  const fraction = (time - second).toFixed(6).slice(1).replace(/0+$/, "").replace(/\.$/, "");
  return `${new Date(second * 1000).toISOString().slice(11, 19)}${fraction}`;
}
