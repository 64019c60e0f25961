// Lines of time series: their means, and what lies between the lowest and the highest values.
import { clearer } from "./colours.js";
import { make } from "./dom.js";
import { Panel } from "./panels.js";
import { short } from "./scales.js";
import { ink } from "./strokes.js";
import { BINS, widthOf } from "./tiles.js";
/** @import uPlot from "uplot" */
/** @import {Parameter, Tile} from "./tiles.js" */
/** @import {Timeline} from "./timeline.js" */

const SECOND = 1e6;
const WIDE = 500; // times the lowest value is the highest: then an axis is logarithmic
const COLOURS = ["--accent", "--mark", "--soft"];

/** @typedef {{name: string, times: number[], low: number[], mean: number[], high: number[], fills: number[]}} Line `fills`: when samples have no value */

export class Curves extends Panel {
  /** @type {Line[]} */
  lines = [];
  hold = 1;

  /**
   * @param {Timeline} timeline
   * @param {Parameter[]} parameters
   */
  constructor(timeline, parameters) {
    super(timeline, parameters, 150);
    const named = parameters.flatMap((one) =>
      one.elements > 1 ? Array.from({ length: one.elements }, (_, at) => `${one.label} ${at + 1}`) : [one.label],
    );
    const made = named.map((text, at) => {
      const one = make("span", { textContent: `${text} ` });
      one.style.color = ink(COLOURS[at % COLOURS.length]);
      return one;
    });
    this.name.append(...made);
  }

  get width() {
    const [from, to] = this.timeline.view;
    return widthOf(to - from, this.wide);
  }

  seek() {
    const { tiles, view } = this.timeline;
    for (const parameter of this.parameters) tiles.over(parameter, this.width, view, "");
  }

  /** Gather what is known of the times that are seen, and choose the axis. */
  gather() {
    const { tiles, view } = this.timeline;
    const { width } = this;
    this.hold = this.timeline.hold(width);
    this.lines = this.parameters.flatMap((parameter) => {
      const { exact, rest } = tiles.over(parameter, width, view, "");
      const pieces = [
        ...exact.map((tile) => ({ tile, from: tile.begin, to: tile.end })),
        ...rest.flatMap(({ from, to, tiles: found }) => found.slice(-1).map((tile) => ({ tile, from, to }))),
      ].sort((one, other) => one.from - other.from);
      return Array.from({ length: parameter.elements }, (_, element) => gathered(parameter.name, pieces, element));
    });
    this.range();
  }

  range() {
    const [from, to] = this.timeline.view;
    let [low, high, positive] = [Infinity, -Infinity, Infinity];
    for (const line of this.lines) {
      for (let at = 0; at < line.times.length; at++) {
        if (line.times[at] < from || line.times[at] > to) continue;
        low = Math.min(low, line.low[at]);
        high = Math.max(high, line.high[at]);
        if (line.low[at] > 0) positive = Math.min(positive, line.low[at]);
      }
    }
    if (low > high) return;
    if (low > 0 && high > WIDE * low) this.suggest();
    if (this.log) {
      if (!Number.isFinite(positive)) [positive, high] = [0.1, 1]; // nothing to be shown
      return this.within(positive / 1.3, Math.max(high, positive * 1.1) * 1.3);
    }
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    this.within(low - room, high + room);
  }

  draw() {
    this.gather();
    super.draw();
  }

  /** @param {uPlot} u */
  paint(u) {
    this.lines.forEach((line, number) => {
      const colour = ink(COLOURS[number % COLOURS.length]);
      this.trace(u, line, colour);
      this.blanks(u, line, number);
    });
  }

  /**
   * Mark at the lower edge when samples have no value: between two of them nothing is missing, as it is in a gap.
   * @param {uPlot} u
   * @param {Line} line
   * @param {number} number
   */
  blanks({ ctx, bbox: { left, top, width, height } }, { fills }, number) {
    const [from, to] = this.timeline.view;
    const wide = Math.max((this.width / SECOND / (to - from)) * width, devicePixelRatio);
    const tall = 4 * devicePixelRatio;
    ctx.fillStyle = "#80808090";
    for (const time of fills) {
      const x = left + ((time - from) / (to - from)) * width;
      ctx.fillRect(x - wide / 2, top + height - (number + 1) * tall, wide, tall - devicePixelRatio);
    }
  }

  /**
   * @param {uPlot} u
   * @param {Line} line
   * @param {string} colour
   */
  trace(u, line, colour) {
    const { ctx } = u;
    const least = this.log ? 10 ** (this.ends[0] - 1) : -Infinity;
    const y = (/** @type {number} */ value) => u.valToPos(this.up(Math.max(value, least)), "y", true);
    const [[from, to], { left, width }] = [this.timeline.view, u.bbox];
    const x = (/** @type {number} */ time) => left + ((time - from) / (to - from)) * width;
    const apart = (this.hold + 0.5) * (this.width / SECOND);
    const few = line.times.length * 5 < this.wide && this.width <= this.timeline.step * SECOND; // samples
    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.4 * devicePixelRatio;
    ctx.lineJoin = "round";
    let begin = 0;
    for (let at = 1; at <= line.times.length; at++) {
      if (at < line.times.length && line.times[at] - line.times[at - 1] <= apart) continue;
      band(ctx, line, begin, at, x, y, colour.startsWith("#") ? clearer(colour, 0.25) : colour);
      ctx.beginPath();
      for (let one = begin; one < at; one++) ctx.lineTo(x(line.times[one]), y(line.mean[one]));
      if (at - begin === 1) ctx.lineTo(x(line.times[begin]) + 1, y(line.mean[begin]));
      ctx.stroke();
      begin = at;
    }
    if (!few) return;
    ctx.fillStyle = colour;
    for (let at = 0; at < line.times.length; at++) {
      ctx.beginPath();
      ctx.arc(x(line.times[at]), y(line.mean[at]), 2.2 * devicePixelRatio, 0, 7);
      ctx.fill();
    }
  }

  /**
   * Say what is at a time.
   * @param {number} time
   */
  told(time) {
    const apart = (this.hold + 0.5) * (this.width / SECOND);
    const { t } = this.timeline;
    const near = (/** @type {number[]} */ list) => {
      const at = nearest(list, time);
      return at >= 0 && Math.abs(list[at] - time) <= apart ? at : -1;
    };
    const found = this.lines.map((line) => {
      const [at, blank] = [near(line.times), near(line.fills)];
      if (at >= 0) return `${short(line.mean[at])} ${this.unit}`;
      return blank >= 0 ? t("no value") : t("no sample");
    });
    return found.join("  ·  ");
  }
}

/**
 * Fill what lies between the lowest and the highest values.
 * @param {CanvasRenderingContext2D} ctx
 * @param {Line} line
 * @param {number} begin
 * @param {number} end
 * @param {(time: number) => number} x
 * @param {(value: number) => number} y
 * @param {string} colour
 */
function band(ctx, { times: moment, low, high }, begin, end, x, y, colour) {
  ctx.fillStyle = colour;
  ctx.beginPath();
  for (let at = begin; at < end; at++) ctx.lineTo(x(moment[at]), y(high[at]));
  for (let at = end - 1; at >= begin; at--) ctx.lineTo(x(moment[at]), y(low[at]));
  ctx.fill();
}

/**
 * Take the values of one line out of tiles.
 * @param {string} name
 * @param {{tile: Tile, from: number, to: number}[]} pieces in the order of time
 * @param {number} element
 * @returns {Line}
 */
function gathered(name, pieces, element) {
  /** @type {Line} */
  const line = { name, times: [], low: [], mean: [], high: [], fills: [] };
  for (const { tile, from, to } of pieces) {
    const [low, mean, high] = [0, 1, 2].map((row) => (3 * element + row) * BINS);
    const step = tile.width / SECOND;
    for (let at = 0; at < BINS; at++) {
      const time = tile.begin + (at + 0.5) * step;
      const value = tile.values[mean + at];
      if (value !== value || time < from || time >= to) continue; // NaN: nothing
      if (value === Infinity) {
        line.fills.push(time);
        continue;
      }
      line.times.push(time);
      line.low.push(tile.values[low + at]);
      line.mean.push(value);
      line.high.push(tile.values[high + at]);
    }
  }
  return line;
}

/**
 * @param {number[]} list rising
 * @param {number} value
 */
function nearest(list, value) {
  let [low, high] = [0, list.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - list[low - 1] < list[low] - value ? low - 1 : low;
}
