// Places on the sphere, and what is read of regions as STC-S and ADQL write them; degrees.

/** @typedef {[number, number]} Place longitude and latitude */
/** @typedef {{circle?: number[], corners?: Place[]}} Outline a circle (centre and radius) or corners */

const RAD = Math.PI / 180;

/**
 * Give the numbers in a text.
 * @param {string | null | undefined} text
 */
export function numbers(text) {
  return (text?.match(/[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?/g) ?? []).map(Number);
}

/**
 * @param {number[]} values
 * @returns {Place[]}
 */
export function pairs(values) {
  /** @type {Place[]} */
  const found = [];
  for (let at = 0; at + 1 < values.length; at += 2) found.push([values[at], values[at + 1]]);
  return found;
}

/**
 * Give the first place in a text.
 * @param {string | null | undefined} text
 * @returns {Place | null}
 */
export function centre(text) {
  const [lon, lat] = numbers(text);
  return lat === undefined ? null : [lon, lat];
}

/**
 * Read a footprint; null: it is none.
 * @param {string | null | undefined} text
 * @returns {Outline | null}
 */
export function outline(text) {
  if (!text) return null;
  const found = numbers(text);
  if (/^\s*circle/i.test(text) || found.length === 3) return { circle: found.slice(0, 3) };
  return found.length < 6 ? null : { corners: pairs(found) };
}

/**
 * Give the angle between two places.
 * @param {Place} one
 * @param {Place} other
 */
export function distance([x1, y1], [x2, y2]) {
  const up = Math.sin(((y2 - y1) * RAD) / 2) ** 2;
  const half = up + Math.cos(y1 * RAD) * Math.cos(y2 * RAD) * Math.sin(((x2 - x1) * RAD) / 2) ** 2;
  return (2 * Math.asin(Math.sqrt(half))) / RAD;
}

/**
 * Tell whether an outline holds a place: its corners as they are seen from there go round it.
 * @param {Outline} shape
 * @param {Place} place
 */
export function holds({ circle, corners = [] }, [lon, lat]) {
  if (circle) return distance([circle[0], circle[1]], [lon, lat]) <= circle[2];
  const seen = corners.map(([x, y]) => {
    const turn = (x - lon) * RAD;
    const [sin, cos, s0, c0] = [Math.sin(y * RAD), Math.cos(y * RAD), Math.sin(lat * RAD), Math.cos(lat * RAD)];
    return Math.atan2(cos * Math.sin(turn), c0 * sin - s0 * cos * Math.cos(turn)); // direction, from north by east
  });
  let turned = 0;
  for (let at = 0; at < seen.length; at++) {
    const step = seen[(at + 1) % seen.length] - seen[at];
    turned += Math.atan2(Math.sin(step), Math.cos(step));
  }
  return Math.abs(turned) > Math.PI && distance(corners[0], [lon, lat]) < 90; // seen from the other side of the sky it goes round as well
}

/**
 * Give where to look, from the address: whatever is no place there is left out, for the map would ask a name server what it means.
 * @param {string | null} text
 */
export function looked(text) {
  const found = (text ?? "")
    .split(",")
    .slice(0, 3)
    .map((one) => (one.trim() === "" ? NaN : Number(one)));
  const [lon, lat, field] = found;
  const place = Number.isFinite(lon) && Math.abs(lon) <= 360 && Math.abs(lat) <= 90;
  return found.length === 3 && place && field > 0 && field <= 360 ? found : [0, 0, 180];
}

/**
 * Give the circle around places, about: its middle and its radius.
 * @param {Place[]} places
 */
export function around(places) {
  const sum = [0, 0, 0];
  for (const [lon, lat] of places) {
    const flat = Math.cos(lat * RAD);
    sum[0] += flat * Math.cos(lon * RAD);
    sum[1] += flat * Math.sin(lon * RAD);
    sum[2] += Math.sin(lat * RAD);
  }
  const [x, y, z] = sum;
  if (Math.hypot(x, y, z) < 0.05 * places.length) return null; // all over the sky
  /** @type {Place} */
  const middle = [(Math.atan2(y, x) / RAD + 360) % 360, Math.atan2(z, Math.hypot(x, y)) / RAD];
  return [...middle, Math.max(...places.map((one) => distance(middle, one)))];
}
