// Lengths and areas on a body, which is an ellipsoid. Places are planetocentric. A line between two of them is the
// shortest one, which is a great circle on a sphere of reduced latitudes, with corrected longitudes (Vincenty 1975).
import { RADIANS } from "./projections.js";

/** @typedef {{equatorial: number, polar: number}} BodyRadii in metres */
/** @typedef {number[]} Place longitude and latitude, in degrees */

const STEP_DEGREES = 0.1; // length of the pieces of a line
const MIN_STEPS = 16;
const MAX_ITERATIONS = 30; // more are needed only if places are opposite each other

/** @param {Place} place */
function toDirection([lon, lat]) {
  const cosine = Math.cos(lat * RADIANS);
  return [cosine * Math.cos(lon * RADIANS), cosine * Math.sin(lon * RADIANS), Math.sin(lat * RADIANS)];
}

/**
 * Compute by how much longitudes on the sphere of reduced latitudes are larger than those on the ellipsoid, in radians.
 * @param {number} flattening
 * @param {number} sineAzimuth of the line at the equator
 * @param {number} arc from the first place, in radians
 * @param {number[]} sines of the reduced latitudes of both ends of the arc
 */
function computeLongitudeExcess(flattening, sineAzimuth, arc, [first, last]) {
  const cosine = 1 - sineAzimuth ** 2; // the square of the cosine of the azimuth
  const middle = cosine > 1e-12 ? Math.cos(arc) - (2 * first * last) / cosine : 0;
  const c = (flattening / 16) * cosine * (4 + flattening * (4 - 3 * cosine));
  const series = arc + c * Math.sin(arc) * (middle + c * Math.cos(arc) * (2 * middle ** 2 - 1));
  return (1 - c) * flattening * sineAzimuth * series;
}

/**
 * Find the line between two places on the sphere of reduced latitudes.
 * @param {number} flattening
 * @param {number[]} latitudes reduced, in radians
 * @param {number} difference of the longitudes on the ellipsoid, from -pi to pi
 * @returns {{difference: number, sineAzimuth: number}} of the longitudes on the sphere, and of the line at the equator
 */
function findSphereLine(flattening, [first, last], difference) {
  let sphereDifference = difference;
  for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const sine = Math.hypot(
      Math.cos(last) * Math.sin(sphereDifference),
      Math.cos(first) * Math.sin(last) - Math.sin(first) * Math.cos(last) * Math.cos(sphereDifference),
    );
    const cosine = Math.sin(first) * Math.sin(last) + Math.cos(first) * Math.cos(last) * Math.cos(sphereDifference);
    if (sine < 1e-12) break;
    const sineAzimuth = (Math.cos(first) * Math.cos(last) * Math.sin(sphereDifference)) / sine;
    const sines = [Math.sin(first), Math.sin(last)];
    const next = difference + computeLongitudeExcess(flattening, sineAzimuth, Math.atan2(sine, cosine), sines);
    if (Math.abs(next) > Math.PI) break;
    if (Math.abs(next - sphereDifference) < 1e-13) return { difference: next, sineAzimuth };
    sphereDifference = next;
  }
  return { difference, sineAzimuth: 0 }; // a great circle, without corrections
}

/**
 * Divide the line between two places into short pieces.
 * @param {BodyRadii} radii
 * @param {Place} from
 * @param {Place} to
 * @returns {Place[]} the places between the pieces, with both ends
 */
export function divideLine({ equatorial, polar }, from, to) {
  const ratio = polar / equatorial;
  const latitudes = [from, to].map(([, lat]) => Math.atan2(Math.tan(lat * RADIANS), ratio));
  const turn = ((((to[0] - from[0] + 180) % 360) + 360) % 360) - 180;
  const { difference, sineAzimuth } = findSphereLine(1 - ratio, latitudes, turn * RADIANS);
  const a = toDirection([0, latitudes[0] / RADIANS]);
  const b = toDirection([difference / RADIANS, latitudes[1] / RADIANS]);
  const cross = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const sine = Math.hypot(...cross);
  const angle = Math.atan2(sine, a[0] * b[0] + a[1] * b[1] + a[2] * b[2]);
  const count = Math.max(MIN_STEPS, Math.ceil(angle / RADIANS / STEP_DEGREES));
  if (sine < 1e-12) return [from, to];
  return Array.from({ length: count + 1 }, (_, index) => {
    const arc = (angle * index) / count;
    const [left, right] = [Math.sin(angle - arc) / sine, Math.sin(arc) / sine];
    const [x, y, z] = a.map((part, axis) => left * part + right * b[axis]);
    const excess = computeLongitudeExcess(1 - ratio, sineAzimuth, arc, [a[2], z]);
    const lon = from[0] + (Math.atan2(y, x) - excess) / RADIANS;
    return [lon, Math.atan2(z * ratio, Math.hypot(x, y)) / RADIANS];
  });
}

/**
 * Compute the position of a place relative to the body's centre, in metres.
 * @param {BodyRadii} radii
 * @param {Place} place
 */
function toPosition({ equatorial, polar }, place) {
  const [x, y, z] = toDirection(place);
  const distance = (equatorial * polar) / Math.hypot(polar * Math.hypot(x, y), equatorial * z);
  return [x * distance, y * distance, z * distance];
}

/**
 * Compute the length of a line through some places, in metres.
 * @param {BodyRadii} radii
 * @param {Place[]} places
 */
export function computeLength(radii, places) {
  let length = 0;
  for (let index = 1; index < places.length; index++) {
    const points = divideLine(radii, places[index - 1], places[index]).map((place) => toPosition(radii, place));
    for (let piece = 1; piece < points.length; piece++) {
      const chord = Math.hypot(...points[piece].map((part, axis) => part - points[piece - 1][axis]));
      const half = chord / (2 * radii.equatorial);
      length += chord * (half ? Math.asin(half) / half : 1); // the arc above the chord
    }
  }
  return length;
}

/**
 * Compute the area between the equator and a latitude in a radian of longitude, in square metres.
 * @param {BodyRadii} radii
 * @param {number} lat planetocentric, in degrees
 */
function computeZoneArea({ equatorial, polar }, lat) {
  const flattening = 1 - (polar / equatorial) ** 2; // the square of the eccentricity
  // rounding: a sphere
  if (flattening < 1e-9) return equatorial ** 2 * Math.sin(lat * RADIANS);
  const sine = Math.sin(Math.atan2(Math.tan(lat * RADIANS), 1 - flattening)); // of the planetographic latitude
  const part = Math.sqrt(flattening) * sine;
  return (polar ** 2 / 2) * (sine / (1 - part * part) + Math.atanh(part) / Math.sqrt(flattening));
}

/**
 * Compute the area inside a ring of places, in square metres: that of the smaller side.
 * @param {BodyRadii} radii
 * @param {Place[]} places
 */
export function computeArea(radii, places) {
  let [area, turn] = [0, 0];
  places.forEach((place, index) => {
    const line = divideLine(radii, place, places[(index + 1) % places.length]);
    for (let piece = 1; piece < line.length; piece++) {
      const [[west, south], [east, north]] = [line[piece - 1], line[piece]];
      const step = ((((east - west + 180) % 360) + 360) % 360) - 180;
      turn += step;
      area += step * RADIANS * ((computeZoneArea(radii, south) + computeZoneArea(radii, north)) / 2);
    }
  });
  const hemisphere = 2 * Math.PI * computeZoneArea(radii, 90);
  const isAroundPole = Math.abs(turn) > 180;
  const inside = isAroundPole ? hemisphere - Math.abs(area) : Math.abs(area);
  return Math.min(inside, 2 * hemisphere - inside);
}
