// Spectra of time series as a picture: time to the right, channels upwards, values as colours.
import { make } from "./dom.js";
import { overlaid } from "./features.js";
import { Panel } from "./panels.js";
import { pretty, short } from "./scales.js";
import { ink } from "./strokes.js";
import { BINS, FILL, widthOf } from "./tiles.js";
import { RAMPS, STRETCHES, coloured, middle, table } from "./tints.js";
/** @import uPlot from "uplot" */
/** @import {Parameter, Tile} from "./tiles.js" */
/** @import {Timeline} from "./timeline.js" */

const SECOND = 1e6;
const BLANK = 0x70808080; // the colour of samples without a value, as it stands in memory
const LOOKED = 50_000; // values from which limits are told
const SHARES = [1, 0.999, 0.995, 0.98, 0.95, 0.9];

export class Spectrogram extends Panel {
  /** @type {Map<string, {look: string, canvas: HTMLCanvasElement}>} */
  painted = new Map();
  ramp = "viridis";
  stretch = "linear";
  show = "mean";
  share = 0.98;
  /** @type {[number, number] | null} */
  limits = null;
  /** @type {Tile[]} */
  seen = [];

  /**
   * @param {Timeline} timeline
   * @param {Parameter} parameter
   */
  constructor(timeline, parameter) {
    super(timeline, [parameter], 260);
    this.parameter = parameter;
    this.grid = false;
    const { t, workspace } = timeline;
    const given = parameter.bins?.centers;
    const sorted = given && given.length > 1 && (rising(given) || rising([...given].reverse()));
    this.centers = sorted ? given : Array.from({ length: parameter.elements }, (_, at) => at + 1);
    this.across =
      (sorted || parameter.bins?.along) && parameter.bins ? parameter.bins : { name: t("channel"), unit: "" };
    const [low, high] = [Math.min(...this.centers), Math.max(...this.centers)];
    this.log = Boolean(sorted) && low > 0 && high > 30 * low;
    this.chosen = !parameter.bins?.along;
    this.span();
    this.name.append(parameter.label, " ", make("small", { className: "soft", textContent: pretty(parameter.unit) }));
    this.strip = make("canvas", {
      width: 128,
      height: 1,
      className: "strip",
      role: "img",
      "aria-label": t("Colours from low to high"),
    });
    this.low = make("span", { className: "soft" });
    this.high = make("span", { className: "soft" });
    this.blank = make("span", { className: "blank", hidden: true, textContent: t("no value") });
    const choose = (
      /** @type {string} */ label,
      /** @type {[string, string][]} */ options,
      /** @type {string} */ now,
      /** @type {(value: string) => void} */ act,
    ) => {
      const select = make(
        "select",
        { "aria-label": label, title: label },
        ...options.map(([value, text]) => new Option(text, value, false, value === now)),
      );
      select.addEventListener("change", () => (act(select.value), this.legend(), timeline.draw()));
      return select;
    };
    const named = (/** @type {string[]} */ of) => /** @type {[string, string][]} */ (of.map((one) => [one, t(one)]));
    this.tools.append(
      choose(t("Shown"), named(["mean", "peak"]), this.show, (value) => ((this.show = value), (this.limits = null))),
      choose(t("Colours"), named(Object.keys(RAMPS)), this.ramp, (value) => (this.ramp = value)),
      choose(t("Stretch"), named(Object.keys(STRETCHES)), this.stretch, (value) => (this.stretch = value)),
      choose(
        t("Limits"),
        SHARES.map((one) => [String(one), `${workspace.number(Math.round(one * 1000) / 10)} %`]),
        String(this.share),
        (value) => {
          [this.share, this.limits] = [Number(value), null];
        },
      ),
      make("span", { className: "colours" }, this.low, this.strip, this.high),
      this.blank,
    );
  }

  get unit() {
    const { name, unit } = this.across;
    return unit ? `${name} (${pretty(unit)})` : name;
  }

  get width() {
    const [from, to] = this.timeline.view;
    return widthOf(to - from, this.wide / 1.5);
  }

  /** Choose the axis: from the edge of the first channel to that of the last; where channels change, of all that are seen. */
  span() {
    const axes = this.seen.flatMap((one) => one.axis ?? []);
    if (axes.some((one) => one.log)) this.suggest();
    const edges = axes.length ? axes.flatMap(({ low, high }) => [low, high]) : this.edges(1);
    this.within(Math.min(...edges), Math.max(...edges));
  }

  /**
   * Give the edges of the rows of a tile.
   * @param {Tile} tile
   */
  edgesOf({ axis, rows, together }) {
    if (!axis) return this.edges(together);
    const { low, high, log } = axis;
    const part = (/** @type {number} */ at) => at / rows;
    return Array.from({ length: rows + 1 }, (_, at) =>
      log ? low * (high / low) ** part(at) : low + (high - low) * part(at),
    );
  }

  /**
   * Give the edges of rows that stand for so many channels each.
   * @param {number} together
   */
  edges(together) {
    const { centers, log } = this;
    const place = (/** @type {number} */ one) => (log ? Math.log(one) : one);
    const back = (/** @type {number} */ one) => (log ? Math.exp(one) : one);
    const at = centers.map(place);
    const [first, last] = [at[0], at[at.length - 1]];
    const half = at.length > 1 ? [(at[1] - at[0]) / 2, (last - at[at.length - 2]) / 2] : [0.5, 0.5];
    const found = [first - half[0]];
    for (let one = together; one < at.length; one += together) found.push((at[one - 1] + at[one]) / 2);
    return [...found, last + half[1]].map(back);
  }

  seek() {
    const { tiles, view } = this.timeline;
    return tiles.over(this.parameter, this.width, view, this.show === "mean" ? "" : `&SHOW=${this.show}`);
  }

  draw() {
    const { exact, rest } = this.seek();
    const before = rest
      .flatMap((one) => one.tiles)
      .filter((one) => one.key.includes("SHOW=peak") === (this.show === "peak"));
    this.seen = [...new Set([...before, ...exact])];
    this.span();
    this.blank.hidden = !this.seen.some((one) => one.fills);
    if (!this.limits && exact.length && !rest.length) this.choose(exact);
    super.draw();
  }

  /** What is seen has changed, and nobody moves: the colours may follow. */
  settle() {
    this.limits = null;
  }

  /**
   * Choose the colours: between which values the middle share of all lies.
   * @param {Tile[]} list
   */
  choose(list) {
    /** @type {[number, number][]} value, and how often it is there */
    const found = [];
    const step = Math.max(1, Math.floor(list.reduce((sum, one) => sum + one.values.length, 0) / LOOKED));
    for (const { values: codes, decoded } of list) {
      if (!decoded) continue;
      const counts = new Uint32Array(256);
      for (let at = 0; at < codes.length; at += step) counts[codes[at]]++;
      for (let code = FILL + 1; code < 256; code++) if (counts[code]) found.push([decoded[code], counts[code]]);
    }
    if (!found.length) return;
    this.limits = middle(found, this.share);
    this.legend();
  }

  /** Show the colours, and what their ends stand for. */
  legend() {
    if (!this.limits) return;
    [this.low.textContent, this.high.textContent] = this.limits.map((one) => short(one, 3));
    const row = Float32Array.from({ length: 128 }, (_, at) => at / 127);
    const pixels = coloured(row, 128, table(this.ramp, this.stretch), [0, 1]);
    this.strip.getContext("2d")?.putImageData(new ImageData(pixels, 128), 0, 0);
  }

  /** @param {uPlot} u */
  paint(u) {
    const { ctx, bbox } = u;
    if (!this.limits && this.seen.length) this.choose(this.seen);
    ctx.imageSmoothingEnabled = false;
    const [[from, to], { left, width }] = [this.timeline.view, bbox];
    const x = (/** @type {number} */ time) => left + ((time - from) / (to - from)) * width;
    for (const tile of this.seen) {
      const canvas = this.canvas(tile, Math.round(bbox.height));
      const step = tile.width / SECOND;
      const [begin, end] = [x(tile.begin), x(tile.begin + canvas.width * step)];
      if (end < left || begin > left + width) continue;
      ctx.drawImage(canvas, begin, bbox.top, end - begin, bbox.height);
    }
    const keys = new Set(this.seen.map((one) => one.key));
    for (const key of this.painted.keys()) if (this.painted.size > 24 && !keys.has(key)) this.painted.delete(key);
  }

  /**
   * Draw features, and what all panels mark.
   * @param {uPlot} u
   */
  over(u) {
    this.changes(u);
    for (const list of this.timeline.meanwhile?.features.values() ?? []) overlaid(u, this, list, this.across.unit);
    super.over(u);
  }

  /**
   * Mark when channels change.
   * @param {uPlot} u
   */
  changes({ ctx, bbox, valToPos }) {
    ctx.strokeStyle = ink("--soft");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    for (const { axis, begin, width } of this.seen) {
      for (const bin of axis?.changes ?? []) {
        const x = valToPos(begin + (bin * width) / SECOND, "x", true);
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
      }
    }
    ctx.stroke();
    ctx.setLineDash([]);
  }

  /**
   * Colour a tile as high as the panel is; a sample is as wide as the time until the next.
   * @param {Tile} tile
   * @param {number} height
   */
  canvas(tile, height) {
    const ends = this.limits ?? [0, 1];
    const look = [height, this.ramp, this.stretch, ends, this.log].join(" ");
    const known = this.painted.get(tile.key);
    if (known?.look === look) return known.canvas;
    const hold = this.timeline.hold(tile.width);
    const wide = BINS + hold - 1;
    const from = columns(tile, hold, wide);
    const colours = table(this.ramp, this.stretch);
    const scale = (colours.length - 1) / (ends[1] - ends[0] || 1);
    const ofCode = Uint32Array.from({ length: 256 }, (_, code) => {
      if (code === FILL) return BLANK;
      const value = tile.decoded?.[code] ?? NaN;
      return value === value
        ? colours[Math.min(Math.max(Math.round((value - ends[0]) * scale), 0), colours.length - 1)]
        : 0;
    });
    const rows = this.rows(tile, height);
    const pixels = new Uint32Array(wide * height);
    for (let y = 0; y < height; y++) {
      if (rows[y] < 0) continue;
      const row = rows[y] * BINS;
      for (let at = 0; at < wide; at++) if (from[at] >= 0) pixels[y * wide + at] = ofCode[tile.values[row + from[at]]];
    }
    const canvas = make("canvas", { width: wide, height });
    canvas.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), wide), 0, 0);
    this.painted.set(tile.key, { look, canvas });
    return canvas;
  }

  /**
   * Tell which row of a tile each row of pixels shows; -1: none.
   * @param {Tile} tile
   * @param {number} height
   */
  rows(tile, height) {
    const edges = this.edgesOf(tile);
    const [low, high] = this.ends;
    const turned = edges[0] > edges[edges.length - 1];
    const found = new Int32Array(height).fill(-1);
    const part = (/** @type {number} */ value) => (this.up(value) - low) / (high - low);
    for (let row = 0; row + 1 < edges.length && row < tile.rows; row++) {
      const [below, above] = turned ? [edges[row + 1], edges[row]] : [edges[row], edges[row + 1]];
      const [top, bottom] = [height * (1 - part(above)), height * (1 - part(below))].map(Math.round);
      found.fill(row, Math.max(top, 0), Math.max(bottom, top + 1));
    }
    return found;
  }

  /**
   * Say what is at a time, and, where the pointer is here, at its height.
   * @param {number} time
   * @param {number | null} height
   */
  told(time, height) {
    const tile = this.seen.findLast((one) => one.begin <= time && time < one.end);
    if (!tile || height === null) return "";
    const edges = this.edgesOf(tile).map((one) => this.up(one));
    const row = edges.findIndex((one, at) => at + 1 < edges.length && (one - height) * (edges[at + 1] - height) <= 0);
    const column = columns(tile, this.timeline.hold(tile.width), BINS)[
      Math.floor(((time - tile.begin) * SECOND) / tile.width)
    ];
    const { t } = this.timeline;
    const code = row < 0 || !(column >= 0) ? 0 : tile.values[row * BINS + column];
    const value = tile.decoded?.[code] ?? NaN;
    const none = column >= 0 ? (code === FILL ? t("no value") : "–") : t("no sample");
    const said = value === value ? `${short(value, 3)} ${pretty(this.parameter.unit)}` : none;
    return `${short(this.log ? 10 ** height : height / this.factor, 4)} ${pretty(this.across.unit)}  ·  ${said}`;
  }
}

/**
 * Tell which column of a tile each column of pixels shows; -1: none, there is a gap.
 * @param {Tile} tile
 * @param {number} hold columns that a sample fills
 * @param {number} wide
 */
function columns(tile, hold, wide) {
  const found = new Int32Array(wide).fill(-1);
  const full = new Uint8Array(BINS);
  for (let row = 0; row < tile.rows; row++)
    for (let at = 0; at < BINS; at++) if (tile.values[row * BINS + at]) full[at] = 1;
  let before = -Infinity;
  for (let at = 0; at < wide; at++) {
    if (full[at]) before = at;
    if (at - before < hold) found[at] = before;
  }
  return found;
}

/** @param {number[]} list */
function rising(list) {
  return list.every((one, at) => !at || one > list[at - 1]);
}
