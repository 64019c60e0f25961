// Features of a catalogue over spectra: TFCat's points, lines and areas of time and frequency, of the rows that overlap what is shown.
import { seconds } from "./moments.js";
import { ink } from "./strokes.js";
/** @import {Panel} from "./panels.js" */
/** @import uPlot from "uplot" */

/** @typedef {[number, number][]} Trace times in seconds since 1970, frequencies in Hz */
/** @typedef {{closed: boolean, trace: Trace}} Shape */

const DAY = 86_400;
/** Name of a clock -> seconds since 1970 of its 0, and of its unit.
 * @type {Record<string, [number, number]>} */
const CLOCKS = {
  unix: [0, 1],
  jd: [-2_440_587.5 * DAY, DAY],
  mjd: [-40_587 * DAY, DAY],
  mjd_cnes: [-7305 * DAY, DAY],
  mjd_nasa: [-587 * DAY, DAY],
};
/** @type {Record<string, number>} */
const UNITS = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: DAY };
/** @type {Record<string, number>} */
export const HERTZ = { Hz: 1, kHz: 1e3, MHz: 1e6, GHz: 1e9 };

/**
 * Read a document: what is not on a clock of UTC, or no frequency, cannot be drawn.
 * @param {any} told
 * @returns {Shape[] | null}
 */
export function shapes(told) {
  const { time_coords_id: name, time_coords: clock, spectral_coords: spectrum } = told.crs?.properties ?? {};
  const hertz = HERTZ[spectrum?.unit];
  const own = clock?.time_scale === "UTC" ? [seconds(clock.time_origin), UNITS[clock.unit]] : [NaN, NaN];
  const [origin, unit] = name === "iso" ? [0, 1] : (CLOCKS[name] ?? own);
  if (!hertz || spectrum.type !== "frequency" || !(unit > 0) || Number.isNaN(origin)) return null;
  const time = (/** @type {number | string} */ one) => (typeof one === "string" ? seconds(one) : origin + one * unit);
  const trace = (/** @type {[number, number][]} */ list) =>
    /** @type {Trace} */ (list.map(([at, height]) => [time(at), height * hertz]));
  return told.features.flatMap((/** @type {any} */ one) => traced(one.geometry, trace));
}

/**
 * @param {any} geometry
 * @param {(list: [number, number][]) => Trace} trace
 * @returns {Shape[]}
 */
function traced(geometry, trace) {
  const { type, coordinates } = geometry ?? {};
  const many = (/** @type {any[]} */ list, /** @type {boolean} */ closed) =>
    list.map((one) => ({ closed, trace: trace(one) }));
  if (type === "Point") return many([[coordinates]], false);
  if (type === "MultiPoint")
    return many(
      coordinates.map((/** @type {any} */ one) => [one]),
      false,
    );
  if (type === "LineString") return many([coordinates], false);
  if (type === "MultiLineString") return many(coordinates, false);
  if (type === "Polygon") return many(coordinates, true);
  if (type === "MultiPolygon") return many(coordinates.flat(), true);
  if (type === "GeometryCollection") return geometry.geometries.flatMap((/** @type {any} */ one) => traced(one, trace));
  return [];
}

/**
 * Draw them over a panel whose axis is of frequencies in `unit`.
 * @param {uPlot} u
 * @param {Panel} panel
 * @param {Shape[]} list
 * @param {string} unit
 */
export function overlaid(u, panel, list, unit) {
  const hertz = HERTZ[unit];
  if (!hertz) return;
  const { ctx } = u;
  ctx.strokeStyle = ctx.fillStyle = ink("--mark");
  ctx.lineWidth = 1.5 * devicePixelRatio;
  for (const { closed, trace } of list) {
    ctx.beginPath();
    for (const [time, height] of trace)
      ctx.lineTo(u.valToPos(time, "x", true), u.valToPos(panel.up(height / hertz), "y", true));
    if (closed) ctx.closePath();
    if (trace.length > 1) ctx.stroke();
    const [[time, height]] = trace;
    if (trace.length > 1) continue;
    ctx.arc(u.valToPos(time, "x", true), u.valToPos(panel.up(height / hertz), "y", true), 3 * devicePixelRatio, 0, 7);
    ctx.fill();
  }
}
