// Positions and regions on the sphere, in degrees; parsing of STC-S and ADQL regions.

/** @typedef {[number, number]} Position longitude and latitude */
/** @typedef {{circle?: number[], corners?: Position[]}} Outline a circle (centre and radius) or corners */

const RADIANS_PER_DEGREE = Math.PI / 180;

/**
 * Parse the numbers in a text.
 * @param {string | null | undefined} text
 */
export function parseNumbers(text) {
  return (text?.match(/[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?/g) ?? []).map(Number);
}

/**
 * Combine a list of numbers to positions.
 * @param {number[]} values
 * @returns {Position[]}
 */
export function pairNumbers(values) {
  /** @type {Position[]} */
  const pairs = [];
  for (let index = 0; index + 1 < values.length; index += 2) pairs.push([values[index], values[index + 1]]);
  return pairs;
}

/**
 * Parse the first position in a text.
 * @param {string | null | undefined} text
 * @returns {Position | null}
 */
export function parseCentre(text) {
  const [lon, lat] = parseNumbers(text);
  return lat === undefined ? null : [lon, lat];
}

/**
 * Parse a footprint; null if the text is none.
 * @param {string | null | undefined} text
 * @returns {Outline | null}
 */
export function parseOutline(text) {
  if (!text) return null;
  const values = parseNumbers(text);
  if (/^\s*circle/i.test(text) || values.length === 3) return { circle: values.slice(0, 3) };
  return values.length < 6 ? null : { corners: pairNumbers(values) };
}

/**
 * Return the angle between two positions.
 * @param {Position} first
 * @param {Position} second
 */
export function measureDistance([x1, y1], [x2, y2]) {
  const haversineLat = Math.sin(((y2 - y1) * RADIANS_PER_DEGREE) / 2) ** 2;
  const haversine =
    haversineLat +
    Math.cos(y1 * RADIANS_PER_DEGREE) *
      Math.cos(y2 * RADIANS_PER_DEGREE) *
      Math.sin(((x2 - x1) * RADIANS_PER_DEGREE) / 2) ** 2;
  return (2 * Math.asin(Math.sqrt(haversine))) / RADIANS_PER_DEGREE;
}

/**
 * Return whether an outline contains a position: seen from there, the corners go all the way round.
 * @param {Outline} shape
 * @param {Position} place
 */
export function containsPosition({ circle, corners = [] }, [lon, lat]) {
  if (circle) return measureDistance([circle[0], circle[1]], [lon, lat]) <= circle[2];
  const bearings = corners.map(([x, y]) => {
    const lonDifference = (x - lon) * RADIANS_PER_DEGREE;
    const [sin, cos, s0, c0] = [
      Math.sin(y * RADIANS_PER_DEGREE),
      Math.cos(y * RADIANS_PER_DEGREE),
      Math.sin(lat * RADIANS_PER_DEGREE),
      Math.cos(lat * RADIANS_PER_DEGREE),
    ];
    // bearing, from north by east
    return Math.atan2(cos * Math.sin(lonDifference), c0 * sin - s0 * cos * Math.cos(lonDifference));
  });
  let totalTurn = 0;
  for (let index = 0; index < bearings.length; index++) {
    const step = bearings[(index + 1) % bearings.length] - bearings[index];
    totalTurn += Math.atan2(Math.sin(step), Math.cos(step));
  }
  // corners on the other side of the sky go round as well
  return Math.abs(totalTurn) > Math.PI && measureDistance(corners[0], [lon, lat]) < 90;
}

/**
 * Parse the view of the address. Invalid text gives the whole sky: Aladin would send it to a name server.
 * @param {string | null} text
 */
export function parseMapView(text) {
  const values = (text ?? "")
    .split(",")
    .slice(0, 3)
    .map((part) => (part.trim() === "" ? NaN : Number(part)));
  const [lon, lat, fieldOfView] = values;
  const isPosition = Number.isFinite(lon) && Math.abs(lon) <= 360 && Math.abs(lat) <= 90;
  return values.length === 3 && isPosition && fieldOfView > 0 && fieldOfView <= 360 ? values : [0, 0, 180];
}

/**
 * Return an approximate enclosing circle: centre and radius; null if positions are all over the sky.
 * @param {Position[]} places
 */
export function findEnclosingCircle(places) {
  const sum = [0, 0, 0];
  for (const [lon, lat] of places) {
    const cosLat = Math.cos(lat * RADIANS_PER_DEGREE);
    sum[0] += cosLat * Math.cos(lon * RADIANS_PER_DEGREE);
    sum[1] += cosLat * Math.sin(lon * RADIANS_PER_DEGREE);
    sum[2] += Math.sin(lat * RADIANS_PER_DEGREE);
  }
  const [x, y, z] = sum;
  if (Math.hypot(x, y, z) < 0.05 * places.length) return null;
  /** @type {Position} */
  const centre = [
    (Math.atan2(y, x) / RADIANS_PER_DEGREE + 360) % 360,
    Math.atan2(z, Math.hypot(x, y)) / RADIANS_PER_DEGREE,
  ];
  return [...centre, Math.max(...places.map((position) => measureDistance(centre, position)))];
}
