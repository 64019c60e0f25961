// The data of plots as numbers and colours: drawable points, axis ranges, point colours, error bars.
import { buildGradient, getViridisColour } from "./colours.js";
import { formatJulianDate } from "./ticks.js";
/** @import {Axis, Histogram, Points, Translate} from "./answers.js" */

/**
 * @typedef {{x: string, y: string, c: string, logX: boolean, logY: boolean}} PlotSettings
 * columns of x, y and colour; logarithmic axes
 */
/** @typedef {(number | string | null)[]} AxisValues */
/**
 * @typedef {{colours: string[], kinds?: [string, string][], low?: string, high?: string}} PointColours
 * a colour for each value, and the labels of the legend
 */

const MIN_DENSITY_SHADE = 0.2; // a density begins here, to stand out from the background
// the scale of a density ends at this quantile of the cells, because a few cells have very many rows
const DENSITY_QUANTILE = 0.995;
const NO_VALUE_COLOUR = "#888";
const LOG_MARGIN_FACTOR = 1.2; // of logarithmic axes

/**
 * Parse the plot settings of an address.
 * @param {string | null} text
 * @returns {PlotSettings}
 */
export function parseSettings(text) {
  const [x = "", y = "", c = "", flags = ""] = (text ?? "").split(";");
  return { x, y, c, logX: flags.includes("x"), logY: flags.includes("y") };
}

/**
 * Format plot settings for the address; null if there is no plot.
 * @param {PlotSettings} settings
 */
export function formatSettings({ x, y, c, logX, logY }) {
  return x ? [x, y, c, `${logX ? "x" : ""}${logY ? "y" : ""}`].join(";").replace(/;+$/, "") : null;
}

/**
 * Format the title of an axis.
 * @param {Axis} axis
 */
export function formatAxisTitle({ label, unit, time }) {
  return `${label}${unit && !time ? ` (${unit})` : ""}`;
}

/**
 * List the centres of the bins of a histogram.
 * @param {Pick<Histogram, "low" | "high" | "counts">} histogram
 */
export function listBinCentres({ low, high, counts }) {
  const width = (high - low) / counts.length;
  return counts.map((_, number) => low + (number + 0.5) * width);
}

/**
 * List the indices of points that can be drawn.
 * @param {AxisValues} xs
 * @param {AxisValues} ys
 * @param {Pick<PlotSettings, "logX" | "logY">} logs
 */
export function listDrawablePoints(xs, ys, { logX, logY }) {
  const isDrawable = (/** @type {AxisValues[number]} */ value, /** @type {boolean} */ isLog) =>
    typeof value === "number" && (!isLog || value > 0);
  return xs.map((_, number) => number).filter((number) => isDrawable(xs[number], logX) && isDrawable(ys[number], logY));
}

/**
 * Return the minimum and the maximum.
 * @param {number[]} values
 */
export function findExtent(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/**
 * Compute the range of an axis with a margin. uPlot's own ranges require sorted values.
 * @param {number[]} values
 * @param {boolean} isLog
 * @returns {[number, number]}
 */
export function computeRange(values, isLog) {
  const [low, high] = findExtent(values);
  if (isLog) return [low / LOG_MARGIN_FACTOR, high * LOG_MARGIN_FACTOR];
  const margin = (high - low) * 0.03 || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

/**
 * Assign a colour to each value, and describe the colours for the legend.
 * @param {AxisValues} values
 * @param {Axis} axis
 * @param {string} language
 * @returns {PointColours}
 */
export function colourPoints(values, { time }, language) {
  const numbers = values.filter((value) => typeof value === "number");
  if (numbers.length < values.length / 2) return colourKinds(values.map((value) => String(value ?? "")));
  const [low, high] = findExtent(numbers);
  const maxAbsolute = Math.max(Math.abs(low), Math.abs(high));
  // show the limits with a precision of a hundredth of the range
  const digits = high > low ? Math.min(Math.max(Math.ceil(Math.log10(maxAbsolute / (high - low))) + 2, 3), 15) : 5;
  const formatLimit = (/** @type {number} */ value) =>
    time
      ? formatJulianDate(value).slice(0, 16).replace("T", " ")
      : value.toLocaleString(language, { maximumSignificantDigits: digits });
  const getColour = (/** @type {AxisValues[number]} */ value) =>
    typeof value === "number" ? getViridisColour((value - low) / (high - low || 1)) : NO_VALUE_COLOUR;
  return { colours: values.map(getColour), low: formatLimit(low), high: formatLimit(high) };
}

/**
 * Assign a colour to each distinct text.
 * @param {string[]} values
 * @returns {PointColours}
 */
function colourKinds(values) {
  const names = [...new Set(values)].sort();
  const colours = new Map(names.map((name, index) => [name, getViridisColour(index / Math.max(names.length - 1, 1))]));
  return { colours: values.map((value) => colours.get(value) ?? NO_VALUE_COLOUR), kinds: [...colours] };
}

/**
 * Compute the scale of a density: maximum, whether cells exceed it, colours, gradient.
 * @param {number[][]} counts
 */
export function scaleDensity(counts) {
  const filled = counts
    .flat()
    .filter(Boolean)
    .sort((first, second) => first - second);
  const maxCount = Math.max(filled[Math.floor((filled.length - 1) * DENSITY_QUANTILE)] ?? 1, 2);
  const getShade = (/** @type {number} */ count) =>
    getViridisColour(MIN_DENSITY_SHADE + (1 - MIN_DENSITY_SHADE) * Math.min(Math.log(count) / Math.log(maxCount), 1));
  const hasMore = filled[filled.length - 1] > maxCount;
  return {
    most: maxCount,
    more: hasMore,
    shade: getShade,
    ramp: buildGradient((share) => getShade(maxCount ** share)),
  };
}

/**
 * Compute the ends of an error bar; on a logarithmic axis it ends at the axis if it would reach 0.
 * @param {number} value
 * @param {number | null} size
 * @param {boolean} isLog
 * @param {number} axisStart
 * @returns {[number, number] | null}
 */
export function computeErrorEnds(value, size, isLog, axisStart) {
  if (size === null || !(size > 0)) return null;
  return [isLog && value - size <= 0 ? axisStart : value - size, value + size];
}

/**
 * Describe what a plot of points shows.
 * @param {number} pointCount
 * @param {Points} points
 * @param {{t: Translate, number: (value: number) => string}} workspace
 */
export function describePoints(pointCount, { axes, more: hasMore }, { t, number }) {
  const errorNames = axes.slice(0, 2).flatMap((axis) => (axis.error ? [axis.error.name] : []));
  const errorText = errorNames.length ? `, ${t("error bars: {names}", { names: errorNames.join(", ") })}` : "";
  const rowText = t("{total} rows", { total: number(pointCount) });
  return `${rowText}${hasMore ? `, ${t("only the first rows")}` : ""}${errorText}`;
}
