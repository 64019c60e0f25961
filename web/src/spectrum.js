// The spectrum of a pixel, or the mean of a region, over what the slices stand for; a line marks the slice that is shown, a click shows another one.
import uPlot from "uplot";
import { clearer } from "./colours.js";
import { make } from "./dom.js";
import { short, told } from "./scales.js";
import { ink } from "./strokes.js";
import { counted, numbers } from "./ticks.js";
/** @import {Scale} from "./scales.js" */
/** @import {Workspace} from "./workspace.js" */

/** @typedef {(number | null)[]} Values */
/** @typedef {{values: Values, errors: Values | null, flags: Values | null, unit: string, label: string}} Line */

const [TALL, LOW] = [420, 300]; // pixels: beside the image, below it
const GAPS = 10; // times what all slices would take evenly: then they are drawn so
const FEW = 60; // values whose places are shown

export class Spectrum {
  /** @type {uPlot | null} */
  plot = null;
  /** @type {number[]} */
  order = [];
  at = 0;
  /** @type {Line | null} */
  line = null;
  /** @type {Scale | null} */
  axis = null;
  name = "";
  numbered = false; // slices are evenly apart, whatever they stand for

  /**
   * @param {HTMLElement} place
   * @param {Workspace} workspace
   * @param {(slice: number) => void} chosen
   */
  constructor(place, workspace, chosen) {
    this.place = place;
    this.workspace = workspace;
    this.chosen = chosen;
    this.readout = make("p", { className: "soft readout", "aria-live": "off" });
    this.tick = make("input", { type: "checkbox" });
    this.evenly = make(
      "label",
      { className: "evenly", hidden: true },
      this.tick,
      ` ${workspace.t("slices evenly apart")}`,
    );
    this.tick.addEventListener("change", () => this.line && this.axis && this.show(this.line, this.axis, this.name));
    new ResizeObserver(() => this.plot?.setSize(this.size)).observe(place);
  }

  get size() {
    return { width: this.place.clientWidth || 500, height: matchMedia("(max-width: 860px)").matches ? LOW : TALL };
  }

  /**
   * An image has no spectrum: its value is written.
   * @param {Line} line
   * @param {Scale} axis
   * @param {string} name
   */
  single(line, axis, name) {
    [this.line, this.axis, this.name] = [line, axis, name];
    this.evenly.hidden = true;
    this.plot?.destroy();
    this.plot = null;
    const error = line.errors ? ` ± ${short(line.errors[0])}` : "";
    const text = `${short(line.values[0])}${error} ${line.unit}`;
    this.place.replaceChildren(make("p", { className: "value", textContent: text }));
    window.hven = { ...window.hven, spectrum: { values: line.values, plot: null } };
  }

  /**
   * @param {Line} line
   * @param {Scale} axis
   * @param {string} name of the axis
   */
  show(line, axis, name) {
    if (line.values.length < 2) return this.single(line, axis, name);
    if (axis !== this.axis) this.tick.checked = broken(axis);
    this.evenly.hidden = axis.even !== "";
    this.numbered = this.tick.checked || axis.values.some((one) => typeof one === "string");
    const across = this.numbered ? axis.values.map((_, at) => at + 1) : /** @type {number[]} */ (axis.values);
    this.order = across.map((_, at) => at).filter((at) => Number.isFinite(across[at]));
    this.order.sort((a, b) => across[a] - across[b]);
    const sorted = (/** @type {Values | null} */ given) => this.order.map((at) => given?.[at] ?? null);
    const [xs, ys, errors] = [this.order.map((at) => across[at]), sorted(line.values), sorted(line.errors)];
    const ends = (/** @type {number} */ sign) =>
      ys.map((y, at) => (y === null || errors[at] === null ? null : y + sign * Number(errors[at])));
    [this.line, this.axis, this.name] = [line, axis, name];
    const data = /** @type {uPlot.AlignedData} */ ([xs, ends(1), ends(-1), ys]);
    this.plot?.destroy();
    this.place.replaceChildren();
    this.plot = new uPlot({ ...this.size, ...this.options(line, axis, name) }, data, this.place);
    this.follow(this.plot);
    window.hven = { ...window.hven, spectrum: { values: line.values, plot: this.plot } };
  }

  /**
   * @param {Line} line
   * @param {Scale} axis
   * @param {string} name
   * @returns {Omit<uPlot.Options, "width" | "height">}
   */
  options(line, axis, name) {
    const accent = ink("--accent");
    const log = axis.even === "log" && !this.numbered;
    const quiet = { points: { show: false } };
    const few = this.order.length <= FEW;
    return {
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: {
          time: false,
          distr: log ? 3 : 1,
          range: log ? undefined : (_, low, high) => [low, high === low ? low + 1 : high],
        },
      },
      axes: [
        this.ticks(`${name}${axis.unit ? ` (${axis.unit})` : ""}`, 90, log),
        this.ticks(`${line.label}${line.unit ? ` (${line.unit})` : ""}`, 48, false),
      ],
      series: [
        {},
        { ...quiet, stroke: "transparent" },
        { ...quiet, stroke: "transparent" },
        { ...quiet, stroke: accent, width: 1.6, points: { show: few, size: 4 } },
      ],
      bands: [{ series: [1, 2], fill: accent.startsWith("#") ? clearer(accent, 0.18) : accent }],
      hooks: { draw: [(u) => this.marks(u)], setCursor: [(u) => this.read(u)] },
    };
  }

  /**
   * @param {string} label
   * @param {number} apart
   * @param {boolean} log
   * @returns {uPlot.Axis}
   */
  ticks(label, apart, log) {
    const made = {
      label,
      stroke: ink("--soft"),
      grid: { stroke: ink("--line"), width: 1 },
      ticks: { stroke: ink("--line") },
      font: "12px system-ui",
      labelFont: "13px system-ui",
    };
    if (log) return made;
    const { language } = this.workspace;
    const up = apart < 90;
    return {
      ...made,
      splits: (u, at, low, high) => numbers(low, high, Math.floor(((at === 0 ? u.width : u.height) - 60) / apart)),
      values: (_, splits) => (up || !this.numbered ? counted(splits, language) : splits.map((one) => this.value(one))),
      ...(up && { size: (_, texts) => Math.max(44, 18 + 7 * Math.max(0, ...(texts ?? []).map((one) => one.length))) }),
    };
  }

  /**
   * Draw what is flagged, and the slice that is shown.
   * @param {uPlot} u
   */
  marks(u) {
    const { ctx, bbox } = u;
    const { line } = this;
    ctx.save();
    ctx.fillStyle = ink("--mark");
    this.order.forEach((at, place) => {
      if (!line?.flags?.[at]) return;
      ctx.fillRect(
        u.valToPos(u.data[0][place], "x", true) - 1.5,
        bbox.top + bbox.height - 7 * devicePixelRatio,
        3,
        7 * devicePixelRatio,
      );
    });
    const shown = this.order.indexOf(this.at);
    if (shown >= 0) {
      const x = u.valToPos(u.data[0][shown], "x", true);
      ctx.strokeStyle = ink("--mark");
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** @param {uPlot} u */
  follow(u) {
    let held = false;
    const go = () => {
      const place = u.cursor.idx;
      if (held && typeof place === "number") this.chosen(this.order[place]);
    };
    u.over.addEventListener("pointerdown", () => {
      held = true;
      go();
    });
    u.over.addEventListener("pointermove", go);
    addEventListener("pointerup", () => (held = false));
  }

  /** @param {uPlot} u */
  read(u) {
    const place = u.cursor.idx;
    const { line, axis } = this;
    if (typeof place !== "number" || !line || !axis) return;
    const at = this.order[place];
    const error = line.errors?.[at];
    const value = `${short(line.values[at])}${typeof error === "number" ? ` ± ${short(error, 3)}` : ""} ${line.unit}`;
    this.readout.textContent = `${told(axis, at)}: ${value}`;
  }

  /** @param {number} slice from 1 */
  value(slice) {
    const value = this.axis?.values[slice - 1];
    return typeof value === "number" ? short(value) : (value ?? "");
  }

  /** @param {number} slice */
  mark(slice) {
    this.at = slice;
    this.plot?.redraw(false);
  }
}

/**
 * Tell whether there are wide gaps between values: spectra of several lines.
 * @param {Scale} axis
 */
function broken({ even, values }) {
  const known = values.map(Number).filter(Number.isFinite);
  if (even || known.length < 3) return false;
  const steps = known.slice(1).map((one, at) => Math.abs(one - known[at]));
  const middle = steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)];
  return Math.max(...known) - Math.min(...known) > GAPS * middle * known.length;
}
