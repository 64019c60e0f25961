// A panel of time series: its axes, marks of time, and what all panels share; what is drawn in it, `Curves` and `Spectrogram` say.
import uPlot from "uplot";
import { make } from "./dom.js";
import { Hands } from "./hands.js";
import { pretty, short } from "./scales.js";
import { ink } from "./strokes.js";
import { counted, dated, numbers, times } from "./ticks.js";
/** @import {Parameter} from "./tiles.js" */
/** @import {Timeline} from "./timeline.js" */

const SIDE = 88; // pixels of the axis on the left, of all panels
const RIGHT = 16; // pixels behind the last time
const FONT = "12px system-ui";
const DAYS = 86_400;
const EPOCH = 2_440_587.5; // Julian date of 1970-01-01
const SHORT = 6; // seconds below which marks of time are numbers

/** What all panels share: axes, marks of time, the pointer. */
export class Panel {
  /** @type {uPlot | null} */
  plot = null;
  log = false; // the axis on the left
  grid = true;
  chosen = false; // somebody said whether it is logarithmic
  factor = 1;
  /** What the axis on the left shows, as `up` gives it.
   * @type {[number, number]} */
  ends = [0, 1];

  /**
   * @param {Timeline} timeline
   * @param {Parameter[]} parameters
   * @param {number} tall pixels
   */
  constructor(timeline, parameters, tall) {
    this.timeline = timeline;
    this.parameters = parameters;
    this.tall = tall;
    this.last = false;
    const { t } = timeline;
    this.place = make("div", { className: "place" });
    this.readout = make("span", { className: "value" });
    this.tick = make("input", { type: "checkbox" });
    this.tick.addEventListener("change", () => {
      [this.log, this.chosen] = [this.tick.checked, true];
      this.build();
      timeline.draw();
    });
    this.tools = make("span", { className: "tools" }, make("label", {}, this.tick, ` ${t("logarithmic")}`));
    this.name = make("b", {});
    this.element = make(
      "section",
      { className: "panel", "aria-label": parameters.map((one) => one.label).join(", ") },
      make("div", { className: "head" }, this.name, " ", this.readout, " ", this.tools),
      this.place,
    );
  }

  /** Pixels, as the page counts them, that times have. */
  get wide() {
    return Math.max((this.place.clientWidth || 800) - SIDE - RIGHT, 50);
  }

  get size() {
    return { width: this.place.clientWidth || 800, height: this.tall + (this.last ? 56 : 12) };
  }

  /** Ask for what will be drawn. */
  seek() {}

  build() {
    this.plot?.destroy();
    const { view } = this.timeline;
    this.tick.checked = this.log;
    const data = /** @type {uPlot.AlignedData} */ ([[...view], [null, null]]);
    this.plot = new uPlot({ ...this.size, ...this.options() }, data, this.place);
    new Hands(this.plot.over, this.timeline, this);
  }

  /** @returns {Omit<uPlot.Options, "width" | "height">} */
  options() {
    const { timeline } = this;
    return {
      legend: { show: false },
      padding: [6, RIGHT, this.last ? null : 6, 0],
      cursor: { drag: { x: false, y: false }, points: { show: false }, sync: { key: "timeline", scales: ["x", null] } },
      scales: {
        x: { time: false, auto: false, range: () => timeline.view },
        y: { auto: false, range: () => this.ends },
      },
      axes: [this.below(), this.left()],
      series: [{}, { show: false }],
      hooks: {
        drawClear: [(u) => this.clipped(u, () => this.paint(u))],
        draw: [(u) => this.clipped(u, () => this.over(u))],
        setCursor: [(u) => timeline.pointed(this, u)],
      },
    };
  }

  get look() {
    return {
      stroke: ink("--soft"),
      grid: { show: this.grid, stroke: ink("--line"), width: 1 },
      ticks: { stroke: ink("--line") },
      font: FONT,
      labelFont: "13px system-ui",
    };
  }

  /** @returns {uPlot.Axis} */
  below() {
    const made = { ...this.look, size: this.last ? 44 : 0 };
    if (!this.last)
      return { ...made, ticks: { show: false }, splits: (u, _, low, high) => moments(low, high, u), values: () => [] };
    return {
      ...made,
      splits: (u, _, low, high) => moments(low, high, u),
      values: (u, marks) =>
        this.fitting(u, marks, short_(u) ? marks.map(fine) : dated(marks.map((one) => one / DAYS + EPOCH))),
    };
  }

  /**
   * Leave out what would be cut off at the right edge.
   * @param {uPlot} u
   * @param {number[]} marks
   * @param {string[]} texts
   */
  fitting(u, marks, texts) {
    const { min = 0, max = 1 } = /** @type {{min?: number, max?: number}} */ (u.scales.x);
    const { font } = u.ctx;
    u.ctx.font = FONT;
    const kept = texts.map((text, at) => {
      const half = Math.max(...text.split("\n").map((one) => u.ctx.measureText(one).width)) / 2;
      return ((marks[at] - min) / (max - min)) * this.wide + half > this.wide + RIGHT ? "" : text;
    });
    u.ctx.font = font;
    return kept;
  }

  /** @returns {uPlot.Axis} */
  left() {
    const { language } = this.timeline.workspace;
    const most = Math.floor(this.tall / 40);
    return {
      ...this.look,
      size: SIDE - 20,
      label: this.unit,
      labelSize: 20,
      labelGap: 0,
      splits: (_, __, low, high) => {
        if (!this.log) return numbers(low, high, most);
        if (high - low < 1) return numbers(10 ** low, 10 ** high, most).map(Math.log10);
        return numbers(low, high, most).filter(Number.isInteger);
      },
      values: (_, marks) => {
        if (this.log) return marks.map((one) => short(10 ** one, 2));
        return counted(
          marks.map((one) => one / this.factor),
          language,
        );
      },
    };
  }

  /**
   * Give a value as the axis has it: clocks and numbers of a plot end at 1e-16.
   * @param {number} value
   */
  up(value) {
    return this.log ? Math.log10(value) : value * this.factor;
  }

  get unit() {
    return pretty(this.parameters[0].unit);
  }

  /** Draw again, of the same times if they are the same. */
  draw() {
    const { plot } = this;
    if (!plot) return this.build();
    plot.batch(() => {
      const [min, max] = this.timeline.view;
      plot.setScale("x", { min, max });
      plot.setScale("y", { min: this.ends[0], max: this.ends[1] });
      plot.redraw(false, true); // in here, for it would draw once more
    });
  }

  /**
   * @param {uPlot} u
   * @param {() => void} act
   */
  clipped({ ctx, bbox }, act) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    act();
    ctx.restore();
  }

  /**
   * Draw what is in it.
   * @param {uPlot} u
   */
  paint(u) {
    void u;
  }

  /**
   * Say what is at a time, and, where the pointer is here, at its height.
   * @param {number} time
   * @param {number | null} height
   */
  told(time, height) {
    void height;
    return String(time);
  }

  /**
   * Choose what the axis on the left shows.
   * @param {number} low
   * @param {number} high
   */
  within(low, high) {
    const most = Math.max(Math.abs(low), Math.abs(high));
    this.factor = most > 0 && (most < 1e-6 || most > 1e9) ? 10 ** -Math.floor(Math.log10(most)) : 1;
    this.ends = [this.up(low), this.up(high)];
  }

  /** The axis on the left is logarithmic, unless somebody has said that it is not. */
  suggest() {
    if (this.chosen || this.log) return;
    this.log = this.chosen = true;
    queueMicrotask(() => (this.build(), this.timeline.draw()));
  }

  /** Microseconds of a bin. */
  get width() {
    return 1;
  }

  /** What is seen has changed, and nobody moves: colours may follow. */
  settle() {}

  /**
   * Mark the moment that was chosen, and features.
   * @param {uPlot} u
   */
  over(u) {
    const { at } = this.timeline;
    if (at === null) return;
    const { ctx, bbox } = u;
    const x = u.valToPos(at, "x", true);
    ctx.strokeStyle = ink("--mark");
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }

  end() {
    this.plot?.destroy();
    this.element.remove();
  }
}

/** @param {uPlot} u */
function short_(u) {
  return Number(u.scales.x.max) - Number(u.scales.x.min) < SHORT;
}

/**
 * Marks between two times, as many as there is room for.
 * @param {number} low
 * @param {number} high
 * @param {uPlot} u
 */
function moments(low, high, u) {
  const most = Math.max(Math.floor((u.width - SIDE) / 110), 2);
  if (!short_(u)) return times(low / DAYS + EPOCH, high / DAYS + EPOCH, most).map((one) => (one - EPOCH) * DAYS);
  const whole = Math.floor(low);
  return numbers(low - whole, high - whole, most).map((one) => whole + one);
}

/** @param {number} moment */
function fine(moment) {
  const second = Math.floor(moment);
  const part = (moment - second).toFixed(6).slice(1).replace(/0+$/, "").replace(/\.$/, "");
  return `${new Date(second * 1000).toISOString().slice(11, 19)}${part}`;
}
