// What a plot draws, as numbers and colours: which points, how much room around them, which colour each has, where errors end.
import { ramp, viridis } from "./colours.js";
import { iso } from "./ticks.js";
/** @import {Axis, Histogram, Points, Translate} from "./answers.js" */

/** @typedef {{x: string, y: string, c: string, logX: boolean, logY: boolean}} Settings columns across, up and of colours; logarithms */
/** @typedef {(number | string | null)[]} Values */
/** @typedef {{colours: string[], kinds?: [string, string][], low?: string, high?: string}} Shades a colour for each value, and what the legend says */

const FAINT = 0.2; // of the colours: where a density begins, to be told from the ground
const LEFT_OUT = 0.995; // few cells have very many rows: the scale of a density ends where all but one in two hundred are
const NONE = "#888"; // of what has no value
const ROOM = 1.2; // of logarithms

/**
 * Read the settings in an address.
 * @param {string | null} text
 * @returns {Settings}
 */
export function settings(text) {
  const [x = "", y = "", c = "", marks = ""] = (text ?? "").split(";");
  return { x, y, c, logX: marks.includes("x"), logY: marks.includes("y") };
}

/**
 * Write settings as an address has them; null: nothing is drawn.
 * @param {Settings} settings
 */
export function written({ x, y, c, logX, logY }) {
  return x ? [x, y, c, `${logX ? "x" : ""}${logY ? "y" : ""}`].join(";").replace(/;+$/, "") : null;
}

/**
 * Give what an axis is called.
 * @param {Axis} axis
 */
export function title({ label, unit, time }) {
  return `${label}${unit && !time ? ` (${unit})` : ""}`;
}

/**
 * Give the middles of the bars of a histogram.
 * @param {Pick<Histogram, "low" | "high" | "counts">} histogram
 */
export function middles({ low, high, counts }) {
  const width = (high - low) / counts.length;
  return counts.map((_, number) => low + (number + 0.5) * width);
}

/**
 * Give the numbers of the points that can be drawn.
 * @param {Values} xs
 * @param {Values} ys
 * @param {Pick<Settings, "logX" | "logY">} logs
 */
export function drawable(xs, ys, { logX, logY }) {
  const good = (/** @type {Values[number]} */ value, /** @type {boolean} */ log) =>
    typeof value === "number" && (!log || value > 0);
  return xs.map((_, number) => number).filter((number) => good(xs[number], logX) && good(ys[number], logY));
}

/**
 * Give the least and the greatest of values.
 * @param {number[]} values
 */
export function extent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/**
 * Give the range of values with a little room; uPlot itself takes them for sorted.
 * @param {number[]} values
 * @param {boolean} log
 * @returns {[number, number]}
 */
export function around(values, log) {
  const [low, high] = extent(values);
  if (log) return [low / ROOM, high * ROOM];
  const room = (high - low) * 0.03 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/**
 * Give each value its colour, and what tells below the plot which is which.
 * @param {Values} values
 * @param {Axis} axis
 * @param {string} language
 * @returns {Shades}
 */
export function shades(values, { time }, language) {
  const numbers = values.filter((value) => typeof value === "number");
  if (numbers.length < values.length / 2) return kinds(values.map((value) => String(value ?? "")));
  const [low, high] = extent(numbers);
  const most = Math.max(Math.abs(low), Math.abs(high));
  // the ends tell a hundredth of the scale, and no more
  const digits = high > low ? Math.min(Math.max(Math.ceil(Math.log10(most / (high - low))) + 2, 3), 15) : 5;
  const said = (/** @type {number} */ value) =>
    time
      ? iso(value).slice(0, 16).replace("T", " ")
      : value.toLocaleString(language, { maximumSignificantDigits: digits });
  const colour = (/** @type {Values[number]} */ value) =>
    typeof value === "number" ? viridis((value - low) / (high - low || 1)) : NONE;
  return { colours: values.map(colour), low: said(low), high: said(high) };
}

/**
 * @param {string[]} values
 * @returns {Shades}
 */
function kinds(values) {
  const names = [...new Set(values)].sort();
  const colours = new Map(names.map((name, at) => [name, viridis(at / Math.max(names.length - 1, 1))]));
  return { colours: values.map((value) => colours.get(value) ?? NONE), kinds: [...colours] };
}

/**
 * Give the scale of a density: its greatest number of rows, whether there are more, the colour of a number, a ramp of all.
 * @param {number[][]} counts
 */
export function density(counts) {
  const filled = counts
    .flat()
    .filter(Boolean)
    .sort((one, other) => one - other);
  const most = Math.max(filled[Math.floor((filled.length - 1) * LEFT_OUT)] ?? 1, 2);
  const shade = (/** @type {number} */ count) =>
    viridis(FAINT + (1 - FAINT) * Math.min(Math.log(count) / Math.log(most), 1));
  const more = filled[filled.length - 1] > most;
  return { most, more, shade, ramp: ramp((part) => shade(most ** part)) };
}

/**
 * Give the ends of an error bar; on a logarithmic axis it goes down to the axis' end where it would pass 0.
 * @param {number} value
 * @param {number | null} size
 * @param {boolean} log
 * @param {number} least
 * @returns {[number, number] | null}
 */
export function ends(value, size, log, least) {
  if (size === null || !(size > 0)) return null;
  return [log && value - size <= 0 ? least : value - size, value + size];
}

/**
 * Say what is drawn of points.
 * @param {number} count
 * @param {Points} found
 * @param {{t: Translate, number: (value: number) => string}} workspace
 */
export function told(count, { axes, more }, { t, number }) {
  const named = axes.slice(0, 2).flatMap((one) => (one.error ? [one.error.name] : []));
  const bars = named.length ? `, ${t("bars: {names}", { names: named.join(", ") })}` : "";
  return `${t("{total} rows", { total: number(count) })}${more ? `, ${t("the first of more")}` : ""}${bars}`;
}
