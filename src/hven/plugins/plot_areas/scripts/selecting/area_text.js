// Areas of plots as texts: conditions of two columns, and polygons as the parameter `_area` has them.
import { formatJulianDate } from "hven/ticks.js";
/** @import {Axis} from "hven/answers.js" */

/** @typedef {{axis: Axis, isLogarithmic: boolean}} PlotAxis */
/** @typedef {{value: number, step: number}} Place a value, and a part of it that is too small to see */
/** @typedef {{names: string[], corners: number[][], logarithmic: boolean[], units: string[]}} Area */

export const MAX_CORNERS = 60;
const DAY_SECONDS = 86_400;
const UNIX_EPOCH_JULIAN_DATE = 2_440_587.5;
const TIME_LIMITS_DAYS = [1_721_425.5, 5_373_484.4]; // Julian dates of the years 1 and 9999
const MAX_DIGITS = 15;
const FIELD_PATTERN = /\s*("(?:[^"]|"")*"|[^;]*?)\s*(?:;|$)/y;

/**
 * Round a value, so that the error is far smaller than a step.
 * @param {Place} place
 */
function computeRoundedValue({ value, step }) {
  if (!(step > 0) || !value) return Number(value.toPrecision(MAX_DIGITS));
  const digits = Math.ceil(Math.log10(Math.abs(value) / step)) + 1;
  return Number(value.toPrecision(Math.min(Math.max(digits, 1), MAX_DIGITS)));
}

/**
 * Format a value as conditions have it: a number, or a time.
 * @param {Place} place
 * @param {Axis} axis
 */
export function formatPlace({ value, step }, axis) {
  if (!axis.time) return String(computeRoundedValue({ value, step }));
  const [first, last] = TIME_LIMITS_DAYS;
  const text = formatJulianDate(Math.min(Math.max(value, first), last)).slice(0, -1);
  return step * DAY_SECONDS > 2 ? text.slice(0, -4) : text;
}

/**
 * Format the condition that a column is between two values.
 * @param {Place} first
 * @param {Place} last
 * @param {Axis} axis
 */
export function formatRange(first, last, axis) {
  const [low, high] = first.value < last.value ? [first, last] : [last, first];
  const unit = axis.condition_unit ? ` ${axis.condition_unit}` : "";
  if (axis.is_reciprocal && low.value <= 0) return `..${formatPlace(high, axis)}${unit}`; // 0 has no reciprocal
  return `${formatPlace(low, axis)}..${formatPlace(high, axis)}${unit}`;
}

/**
 * Quote the name of a column as the name of a parameter, if it could be another one.
 * @param {string} name
 */
export function quoteParameter(name) {
  return name.startsWith("_") ? `"${name}"` : name;
}

/**
 * Quote a field of an area, if it would be read otherwise without quotes.
 * @param {string} text
 */
function quoteField(text) {
  return /[;"]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * Format a polygon as the parameter `_area`.
 * @param {[PlotAxis, PlotAxis]} axes
 * @param {[Place, Place][]} corners
 */
export function formatArea(axes, corners) {
  const names = axes.map(({ axis }) => quoteField(axis.name ?? ""));
  const cornerTexts = corners.map((corner) =>
    corner.map((place, index) => formatPlace(place, axes[index].axis)).join(" "),
  );
  const flags = `${axes[0].isLogarithmic ? "x" : ""}${axes[1].isLogarithmic ? "y" : ""}`;
  const units = axes.map(({ axis }) => quoteField(axis.condition_unit ?? ""));
  return [...names, cornerTexts.join(", "), flags, ...units].join(";").replace(/;+$/, "");
}

/**
 * Split a text into fields at semicolons, but not within quotes.
 * @param {string} text
 */
function splitFields(text) {
  const fields = [];
  FIELD_PATTERN.lastIndex = 0;
  while (FIELD_PATTERN.lastIndex < text.length) {
    const match = FIELD_PATTERN.exec(text);
    if (!match) break;
    fields.push(match[1].startsWith('"') ? match[1].slice(1, -1).replaceAll('""', '"') : match[1]);
  }
  return fields;
}

/**
 * Parse a number, or a time as a Julian date.
 * @param {string} text
 */
function parsePlace(text) {
  const number = Number(text);
  if (!Number.isNaN(number)) return number;
  const time = text.includes("T") && !/Z|[+-]\d\d:?\d\d$/.test(text) ? `${text}Z` : text;
  return Date.parse(time) / (DAY_SECONDS * 1000) + UNIX_EPOCH_JULIAN_DATE;
}

/**
 * Parse the parameter `_area`; null if it is no polygon.
 * @param {string | null} text
 * @returns {Area | null}
 */
export function parseArea(text) {
  const [x = "", y = "", cornerText = "", flags = "", unitX = "", unitY = ""] = splitFields(text ?? "");
  const corners = cornerText.split(",").map((corner) => corner.trim().split(/\s+/).map(parsePlace));
  if (corners.length < 3 || !corners.flat().every(Number.isFinite)) return null;
  if (corners.some((corner) => corner.length !== 2)) return null;
  return { names: [x, y], corners, logarithmic: [flags.includes("x"), flags.includes("y")], units: [unitX, unitY] };
}

/**
 * Compute the distance of a point from the line between two others, which can be the same.
 * @param {number[]} point
 * @param {number[]} begin
 * @param {number[]} end
 */
function measureDistance([x, y], [x1, y1], [x2, y2]) {
  const squaredLength = (x2 - x1) ** 2 + (y2 - y1) ** 2;
  const share = squaredLength ? ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / squaredLength : 0;
  const inside = Math.min(Math.max(share, 0), 1);
  return Math.hypot(x - x1 - inside * (x2 - x1), y - y1 - inside * (y2 - y1));
}

/**
 * Leave out points of a line that are nearer to it than a tolerance (Douglas and Peucker).
 * @param {number[][]} points
 * @param {number} tolerance
 */
function dropPoints(points, tolerance) {
  const isKept = points.map((_, index) => index === 0 || index === points.length - 1);
  const parts = [[0, points.length - 1]];
  for (let part = parts.pop(); part; part = parts.pop()) {
    const [begin, end] = part;
    let farthest = 0;
    let maxDistance = tolerance;
    for (let index = begin + 1; index < end; index++) {
      const distance = measureDistance(points[index], points[begin], points[end]);
      if (distance > maxDistance) [farthest, maxDistance] = [index, distance];
    }
    if (!farthest) continue;
    isKept[farthest] = true;
    parts.push([begin, farthest], [farthest, end]);
  }
  return points.filter((_, index) => isKept[index]);
}

/**
 * Reduce the corners of an outline: as exact as a pixel, or as the number of corners allows.
 * @param {number[][]} points in pixels
 * @param {number} [maxCorners]
 */
export function reduceOutline(points, maxCorners = MAX_CORNERS) {
  for (let tolerance = 0.5; ; tolerance *= 1.5) {
    const outline = dropPoints(points, tolerance);
    if (outline.length <= maxCorners) return outline;
  }
}
