// TFCat features over spectrograms: points, lines and areas in time and frequency, of the rows that overlap the visible
// time.
import { parseTime } from "./time_format.js";
import { getColour } from "hven/plot_drawing.js";
/** @import {TimePanel} from "./time_panel.js" */
/** @import uPlot from "uplot" */

/** @typedef {[number, number][]} TimeFrequencyTrace times in seconds since 1970, frequencies in Hz */
/** @typedef {{closed: boolean, trace: TimeFrequencyTrace}} Shape */

const SECONDS_PER_DAY = 86_400;
/** Clock -> seconds since 1970 of its zero, and seconds of its unit.
 * @type {Record<string, [number, number]>} */
const CLOCKS = {
  unix: [0, 1],
  jd: [-2_440_587.5 * SECONDS_PER_DAY, SECONDS_PER_DAY],
  mjd: [-40_587 * SECONDS_PER_DAY, SECONDS_PER_DAY],
  mjd_cnes: [-7305 * SECONDS_PER_DAY, SECONDS_PER_DAY],
  mjd_nasa: [-587 * SECONDS_PER_DAY, SECONDS_PER_DAY],
};
/** @type {Record<string, number>} */
const UNIT_SECONDS = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: SECONDS_PER_DAY };
/** @type {Record<string, number>} */
export const HERTZ_PER_UNIT = { Hz: 1, kHz: 1e3, MHz: 1e6, GHz: 1e9 };

/**
 * Read a TFCat document; null if its clock is not UTC or it has no frequencies.
 * @param {any} tfcat
 * @returns {Shape[] | null}
 */
export function readShapes(tfcat) {
  const { time_coords_id: name, time_coords: clock, spectral_coords: spectrum } = tfcat.crs?.properties ?? {};
  const hertz = HERTZ_PER_UNIT[spectrum?.unit];
  const ownClock = clock?.time_scale === "UTC" ? [parseTime(clock.time_origin), UNIT_SECONDS[clock.unit]] : [NaN, NaN];
  const [origin, unit] = name === "iso" ? [0, 1] : (CLOCKS[name] ?? ownClock);
  if (!hertz || spectrum.type !== "frequency" || !(unit > 0) || Number.isNaN(origin)) return null;
  const readTime = (/** @type {number | string} */ value) =>
    typeof value === "string" ? parseTime(value) : origin + value * unit;
  const readTrace = (/** @type {[number, number][]} */ coordinates) =>
    /** @type {TimeFrequencyTrace} */ (coordinates.map(([time, frequency]) => [readTime(time), frequency * hertz]));
  return tfcat.features.flatMap((/** @type {any} */ feature) => readGeometry(feature.geometry, readTrace));
}

/**
 * Read the shapes of a GeoJSON geometry.
 * @param {any} geometry
 * @param {(coordinates: [number, number][]) => TimeFrequencyTrace} readTrace
 * @returns {Shape[]}
 */
function readGeometry(geometry, readTrace) {
  const { type, coordinates } = geometry ?? {};
  const createShapes = (/** @type {any[]} */ lines, /** @type {boolean} */ isClosed) =>
    lines.map((line) => ({ closed: isClosed, trace: readTrace(line) }));
  if (type === "Point") return createShapes([[coordinates]], false);
  if (type === "MultiPoint")
    return createShapes(
      coordinates.map((/** @type {any} */ point) => [point]),
      false,
    );
  if (type === "LineString") return createShapes([coordinates], false);
  if (type === "MultiLineString") return createShapes(coordinates, false);
  if (type === "Polygon") return createShapes(coordinates, true);
  if (type === "MultiPolygon") return createShapes(coordinates.flat(), true);
  if (type === "GeometryCollection")
    return geometry.geometries.flatMap((/** @type {any} */ part) => readGeometry(part, readTrace));
  return [];
}

/**
 * Draw features over a panel whose axis has frequencies in `unit`.
 * @param {uPlot} plot
 * @param {TimePanel} panel
 * @param {Shape[]} shapes
 * @param {string} unit
 */
export function drawShapes(plot, panel, shapes, unit) {
  const hertz = HERTZ_PER_UNIT[unit];
  if (!hertz) return;
  const { ctx } = plot;
  ctx.strokeStyle = ctx.fillStyle = getColour("--mark");
  ctx.lineWidth = 1.5 * devicePixelRatio;
  for (const { closed, trace } of shapes) {
    ctx.beginPath();
    for (const [time, frequency] of trace)
      ctx.lineTo(plot.valToPos(time, "x", true), plot.valToPos(panel.toAxisValue(frequency / hertz), "y", true));
    if (closed) ctx.closePath();
    if (trace.length > 1) ctx.stroke();
    const [[time, frequency]] = trace;
    if (trace.length > 1) continue;
    ctx.arc(
      plot.valToPos(time, "x", true),
      plot.valToPos(panel.toAxisValue(frequency / hertz), "y", true),
      3 * devicePixelRatio,
      0,
      7,
    );
    ctx.fill();
  }
}
