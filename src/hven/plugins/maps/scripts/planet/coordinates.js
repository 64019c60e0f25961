// Longitudes and latitudes as readers write them: to the east or to the west, from 0 or from -180 degrees.
import { RADIANS } from "./projections.js";
/** @import {BodyRadii} from "./measures.js" */
/** @import {Translate} from "hven/answers.js" */

/** @typedef {"east360" | "east180" | "west360"} LongitudeStyle west: planetographic latitudes, too */

/** @type {LongitudeStyle[]} */
export const LONGITUDE_STYLES = ["east360", "east180", "west360"];

/**
 * @param {LongitudeStyle} style
 * @param {Translate} t
 */
export function describeStyle(style, t) {
  if (style === "east360") return t("0–360° east, planetocentric");
  return style === "east180" ? t("±180° east, planetocentric") : t("0–360° west, planetographic");
}

/**
 * Convert a planetocentric latitude to a planetographic one.
 * @param {number} lat
 * @param {BodyRadii} radii
 */
export function toPlanetographic(lat, { equatorial, polar }) {
  if (Math.abs(lat) >= 90) return lat;
  return Math.atan(Math.tan(lat * RADIANS) * (equatorial / polar) ** 2) / RADIANS;
}

/**
 * Convert a planetographic latitude to a planetocentric one.
 * @param {number} lat
 * @param {BodyRadii} radii
 */
export function toPlanetocentric(lat, { equatorial, polar }) {
  return toPlanetographic(lat, { equatorial: polar, polar: equatorial });
}

/**
 * Write a longitude.
 * @param {number} lon to the east
 * @param {LongitudeStyle} style
 * @param {number} [digits]
 */
export function formatLongitude(lon, style, digits = 2) {
  const turned = (((style === "west360" ? -lon : lon) % 360) + 360) % 360;
  const value = style === "east180" && turned > 180 ? turned - 360 : turned;
  return `${formatDegrees(value, digits)} ${style === "west360" ? "W" : "E"}`;
}

/**
 * Write a latitude.
 * @param {number} lat planetocentric
 * @param {LongitudeStyle} style
 * @param {BodyRadii} radii
 * @param {number} [digits]
 */
export function formatLatitude(lat, style, radii, digits = 2) {
  const value = style === "west360" ? toPlanetographic(lat, radii) : lat;
  const text = formatDegrees(Math.abs(value), digits);
  if (Number(value.toFixed(digits)) === 0) return text;
  return value < 0 ? `${text} S` : `${text} N`;
}

/**
 * @param {number} value
 * @param {number} digits
 */
function formatDegrees(value, digits) {
  return `${value.toFixed(digits).replace("-", "−")}°`;
}

/**
 * Read a place that somebody wrote: `226.2 18.6`, `133.8 W, 18.6 N`. Letters win over the style.
 * @param {string} text longitude, latitude
 * @param {LongitudeStyle} style
 * @param {BodyRadii} radii
 * @returns {[number, number] | null} longitude to the east, planetocentric latitude
 */
export function parsePlace(text, style, radii) {
  const number = "([-+−]?\\d+(?:\\.\\d+)?)\\s*°?\\s*";
  const match = new RegExp(`^\\s*${number}([EWO]?)[,;\\s]+${number}([NS]?)\\s*$`, "i").exec(text);
  if (!match) return null;
  const [lon, lat] = [match[1], match[3]].map((part) => Number(part.replace("−", "-")));
  const isWest = match[2] ? /[WO]/i.test(match[2]) : style === "west360";
  const signedLat = /S/i.test(match[4]) ? -Math.abs(lat) : lat;
  if (Math.abs(signedLat) > 90 || Math.abs(lon) > 360) return null;
  return [isWest ? -lon : lon, style === "west360" ? toPlanetocentric(signedLat, radii) : signedLat];
}

/** Names of the units of lengths and areas, and their sizes in metres and square metres. */
const LENGTH_UNITS = /** @type {const} */ ([
  ["km", 1000],
  ["m", 1],
]);
const AREA_UNITS = /** @type {const} */ ([
  ["km²", 1e6],
  ["m²", 1],
]);

/**
 * Write a number with three significant digits or more, and its unit.
 * @param {number} value
 * @param {readonly (readonly [string, number])[]} units
 * @param {string} language
 */
function formatAmount(value, units, language) {
  const [name, size] = units.find(([, unitSize]) => value >= unitSize) ?? units[units.length - 1];
  const amount = value / size;
  const digits = amount >= 1000 ? 0 : Math.max(0, 3 - Math.floor(Math.log10(Math.max(amount, 1))) - 1);
  return `${amount.toLocaleString(language, { maximumFractionDigits: digits })} ${name}`;
}

/**
 * @param {number} metres
 * @param {string} language
 */
export function formatLength(metres, language) {
  return formatAmount(metres, LENGTH_UNITS, language);
}

/**
 * @param {number} squareMetres
 * @param {string} language
 */
export function formatArea(squareMetres, language) {
  return formatAmount(squareMetres, AREA_UNITS, language);
}
