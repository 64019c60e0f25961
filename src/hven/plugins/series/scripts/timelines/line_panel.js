// Panels with lines of time series: mean values, and the range between minimum and maximum.
import { applyOpacity } from "hven/colours.js";
import { createElement } from "hven/dom.js";
import { TimePanel } from "./time_panel.js";
import { formatNumber } from "hven/axis_scale.js";
import { getColour } from "hven/plot_drawing.js";
import { BINS_PER_TILE, chooseBinWidth } from "./series_tiles.js";
/** @import uPlot from "uplot" */
/** @import {Parameter, Tile} from "./series_tiles.js" */
/** @import {Timeline} from "../timeline.js" */

const MICROSECONDS_PER_SECOND = 1e6;
const LOG_RATIO = 500; // ratio of maximum to minimum from which an axis is logarithmic
const LINE_COLOURS = ["--accent", "--mark", "--soft"];

/**
 * A panel with lines of parameters that share a unit and a scale.
 * @typedef {{name: string, times: number[], low: number[], mean: number[], high: number[], fills: number[]}} SeriesLine
 * `fills` are the times of samples without a value
 */

export class LinePanel extends TimePanel {
  /** @type {SeriesLine[]} */
  lines = [];
  binsPerSample = 1;

  /**
   * @param {Timeline} timeline
   * @param {Parameter[]} parameters
   */
  constructor(timeline, parameters) {
    super(timeline, parameters, 150);
    const elementNames = parameters.flatMap((parameter) =>
      parameter.elements > 1
        ? Array.from({ length: parameter.elements }, (_, index) => `${parameter.label} ${index + 1}`)
        : [parameter.label],
    );
    const labels = elementNames.map((name, index) => {
      const label = createElement("span", { textContent: `${name} ` });
      label.style.color = getColour(LINE_COLOURS[index % LINE_COLOURS.length]);
      return label;
    });
    this.nameElement.append(...labels);
  }

  get binWidth() {
    const [from, to] = this.timeline.view;
    return chooseBinWidth(to - from, this.plotWidth);
  }

  requestTiles() {
    const { tiles, view } = this.timeline;
    for (const parameter of this.parameters) tiles.findTiles(parameter, this.binWidth, view, "");
  }

  /** Collect the values of the visible times, and choose the axis. */
  collectLines() {
    const { tiles, view } = this.timeline;
    const { binWidth } = this;
    this.binsPerSample = this.timeline.countBinsPerSample(binWidth);
    this.lines = this.parameters.flatMap((parameter) => {
      const { exact, missing } = tiles.findTiles(parameter, binWidth, view, "");
      const pieces = [
        ...exact.map((tile) => ({ tile, from: tile.begin, to: tile.end })),
        ...missing.flatMap(({ from, to, tiles: substitutes }) =>
          substitutes.slice(-1).map((tile) => ({ tile, from, to })),
        ),
      ].sort((first, second) => first.from - second.from);
      return Array.from({ length: parameter.elements }, (_, element) => extractLine(parameter.name, pieces, element));
    });
    this.chooseRange();
  }

  /** Choose the range of the value axis. */
  chooseRange() {
    const [from, to] = this.timeline.view;
    let [low, high, minPositive] = [Infinity, -Infinity, Infinity];
    for (const line of this.lines) {
      for (let index = 0; index < line.times.length; index++) {
        if (line.times[index] < from || line.times[index] > to) continue;
        low = Math.min(low, line.low[index]);
        high = Math.max(high, line.high[index]);
        const positive = [line.low[index], line.mean[index], line.high[index]].find((value) => value > 0);
        if (positive) minPositive = Math.min(minPositive, positive);
      }
    }
    if (low > high) return;
    const { scale } = this.parameters[0];
    if (scale ? scale === "log" && high > 0 : low > 0 && high > LOG_RATIO * low) this.suggestLogScale();
    if (this.isLog) {
      if (!Number.isFinite(minPositive)) [minPositive, high] = [0.1, 1]; // no positive values
      return this.setValueRange(minPositive / 1.3, Math.max(high, minPositive * 1.1) * 1.3);
    }
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    this.setValueRange(low - margin, high + margin);
  }

  draw() {
    this.collectLines();
    super.draw();
  }

  /** @param {uPlot} plot */
  paint(plot) {
    this.lines.forEach((line, number) => {
      const colour = getColour(LINE_COLOURS[number % LINE_COLOURS.length]);
      this.drawLine(plot, line, colour);
      this.drawBlanks(plot, line, number);
    });
  }

  /**
   * Mark samples without a value at the lower edge, which differ from gaps in the data.
   * @param {uPlot} u
   * @param {SeriesLine} line
   * @param {number} number
   */
  drawBlanks({ ctx, bbox: { left, top, width, height } }, { fills }, number) {
    const [from, to] = this.timeline.view;
    const dotWidth = Math.max((this.binWidth / MICROSECONDS_PER_SECOND / (to - from)) * width, devicePixelRatio);
    const dotHeight = 4 * devicePixelRatio;
    ctx.fillStyle = "#80808090";
    for (const time of fills) {
      const x = left + ((time - from) / (to - from)) * width;
      ctx.fillRect(x - dotWidth / 2, top + height - (number + 1) * dotHeight, dotWidth, dotHeight - devicePixelRatio);
    }
  }

  /**
   * Draw a line with its range, interrupted at gaps.
   * @param {uPlot} plot
   * @param {SeriesLine} line
   * @param {string} colour
   */
  drawLine(plot, line, colour) {
    const { ctx } = plot;
    const minimum = this.isLog ? 10 ** (this.yRange[0] - 1) : -Infinity;
    const y = (/** @type {number} */ value) => plot.valToPos(this.toAxisValue(Math.max(value, minimum)), "y", true);
    const [[from, to], { left, width }] = [this.timeline.view, plot.bbox];
    const x = (/** @type {number} */ time) => left + ((time - from) / (to - from)) * width;
    const maxGap = (this.binsPerSample + 0.5) * (this.binWidth / MICROSECONDS_PER_SECOND);
    const drawsSamples =
      // single samples
      line.times.length * 5 < this.plotWidth && this.binWidth <= this.timeline.sampleSeconds * MICROSECONDS_PER_SECOND;
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.4 * devicePixelRatio;
    ctx.lineJoin = "round";
    let start = 0;
    for (let end = 1; end <= line.times.length; end++) {
      if (end < line.times.length && line.times[end] - line.times[end - 1] <= maxGap) continue;
      fillRange(ctx, line, start, end, x, y, colour.startsWith("#") ? applyOpacity(colour, 0.25) : colour);
      ctx.beginPath();
      for (let index = start; index < end; index++) ctx.lineTo(x(line.times[index]), y(line.mean[index]));
      if (end - start === 1) ctx.lineTo(x(line.times[start]) + 1, y(line.mean[start]));
      ctx.stroke();
      start = end;
    }
    if (!drawsSamples) return;
    ctx.fillStyle = colour;
    for (let index = 0; index < line.times.length; index++) {
      ctx.beginPath();
      ctx.arc(x(line.times[index]), y(line.mean[index]), 2.2 * devicePixelRatio, 0, 7);
      ctx.fill();
    }
  }

  /**
   * Describe the values at a time.
   * @param {number} time
   */
  describeAt(time) {
    const maxGap = (this.binsPerSample + 0.5) * (this.binWidth / MICROSECONDS_PER_SECOND);
    const { t } = this.timeline;
    const findNear = (/** @type {number[]} */ times) => {
      const index = findNearest(times, time);
      return index >= 0 && Math.abs(times[index] - time) <= maxGap ? index : -1;
    };
    const texts = this.lines.map((line) => {
      const [index, blankIndex] = [findNear(line.times), findNear(line.fills)];
      if (index >= 0) return `${formatNumber(line.mean[index])} ${this.unit}`;
      return blankIndex >= 0 ? t("no value") : t("no sample");
    });
    return texts.join("  ·  ");
  }
}

/**
 * Fill the range between minimum and maximum.
 * @param {CanvasRenderingContext2D} ctx
 * @param {SeriesLine} line
 * @param {number} start
 * @param {number} end
 * @param {(time: number) => number} x
 * @param {(value: number) => number} y
 * @param {string} colour
 */
function fillRange(ctx, { times, low, high }, start, end, x, y, colour) {
  ctx.fillStyle = colour;
  ctx.beginPath();
  for (let index = start; index < end; index++) ctx.lineTo(x(times[index]), y(high[index]));
  for (let index = end - 1; index >= start; index--) ctx.lineTo(x(times[index]), y(low[index]));
  ctx.fill();
}

/**
 * Extract one line from tiles.
 * @param {string} name
 * @param {{tile: Tile, from: number, to: number}[]} pieces in the order of time
 * @param {number} element
 * @returns {SeriesLine}
 */
function extractLine(name, pieces, element) {
  /** @type {SeriesLine} */
  const line = { name, times: [], low: [], mean: [], high: [], fills: [] };
  for (const { tile, from, to } of pieces) {
    const [low, mean, high] = [0, 1, 2].map((row) => (3 * element + row) * BINS_PER_TILE);
    const step = tile.width / MICROSECONDS_PER_SECOND;
    for (let bin = 0; bin < BINS_PER_TILE; bin++) {
      const time = tile.begin + (bin + 0.5) * step;
      const value = tile.values[mean + bin];
      if (value !== value || time < from || time >= to) continue; // NaN: no sample
      if (value === Infinity) {
        line.fills.push(time);
        continue;
      }
      line.times.push(time);
      line.low.push(tile.values[low + bin]);
      line.mean.push(value);
      line.high.push(tile.values[high + bin]);
    }
  }
  return line;
}

/**
 * Find the index of the value nearest to another one.
 * @param {number[]} values ascending
 * @param {number} value
 */
function findNearest(values, value) {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - values[low - 1] < values[low] - value ? low - 1 : low;
}
