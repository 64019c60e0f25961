// Sky or body positions of image pixels, interpolated between the nodes of the server's grid. Directions are
// interpolated, so that longitude 0 needs no special case.
/**
 * @typedef {{
 *   x: number[],
 *   y: number[],
 *   lon: (number | null)[],
 *   lat: (number | null)[],
 *   kind: string,
 *   frame: string,
 * }} PositionGrid
 */

const RADIANS_PER_DEGREE = Math.PI / 180;

/**
 * Return longitude and latitude of a pixel in degrees; the first pixel has its centre at 1. Null if they are unknown.
 * @param {PositionGrid | null} grid
 * @param {number} x
 * @param {number} y
 * @returns {[number, number] | null}
 */
export function interpolatePosition(grid, x, y) {
  if (!grid) return null;
  const [column, right] = findInterval(grid.x, x);
  const [row, up] = findInterval(grid.y, y);
  const sum = [0, 0, 0];
  for (const [dx, dy] of [
    [0, 0],
    [1, 0],
    [0, 1],
    [1, 1],
  ]) {
    const share = (dx ? right : 1 - right) * (dy ? up : 1 - up);
    if (!share) continue;
    const index = Math.min(row + dy, grid.y.length - 1) * grid.x.length + Math.min(column + dx, grid.x.length - 1);
    const [lon, lat] = [grid.lon[index], grid.lat[index]];
    if (lon === null || lat === null) return null;
    const cosLat = Math.cos(lat * RADIANS_PER_DEGREE);
    sum[0] += share * cosLat * Math.cos(lon * RADIANS_PER_DEGREE);
    sum[1] += share * cosLat * Math.sin(lon * RADIANS_PER_DEGREE);
    sum[2] += share * Math.sin(lat * RADIANS_PER_DEGREE);
  }
  const lon = Math.atan2(sum[1], sum[0]) / RADIANS_PER_DEGREE;
  return [(lon + 360) % 360, Math.atan2(sum[2], Math.hypot(sum[0], sum[1])) / RADIANS_PER_DEGREE];
}

/**
 * Find the interval that contains a coordinate, and the fraction within it.
 * @param {number[]} nodes
 * @param {number} coordinate
 * @returns {[number, number]}
 */
function findInterval(nodes, coordinate) {
  const step = (nodes[nodes.length - 1] - nodes[0]) / (nodes.length - 1);
  if (!step) return [0, 0];
  const share = (coordinate - nodes[0]) / step;
  const index = Math.min(Math.max(Math.floor(share), 0), nodes.length - 2);
  return [index, share - index];
}

/**
 * Format a position: hours and degrees on the sky, degrees on a body, arc seconds on the solar disc.
 * @param {[number, number] | null} position
 * @param {Pick<PositionGrid, "kind" | "frame"> | null} grid
 */
export function formatPosition(position, grid) {
  if (!position || !grid) return "";
  const [lon, lat] = position;
  if (grid.kind === "sky")
    return `${formatSexagesimal(lon / 15, 2, "h")} ${lat < 0 ? "−" : "+"}${formatSexagesimal(Math.abs(lat), 1, "°")}`;
  if (grid.kind === "disc") {
    const west = lon > 180 ? lon - 360 : lon;
    return `${(west * 3600).toFixed(1)}″ ${(lat * 3600).toFixed(1)}″`;
  }
  return `${lon.toFixed(4)}° ${lat < 0 ? "−" : "+"}${Math.abs(lat).toFixed(4)}°`;
}

/**
 * Format an angle with sexagesimal parts.
 * @param {number} value
 * @param {number} digits
 * @param {string} sign
 */
function formatSexagesimal(value, digits, sign) {
  const unitCount = Math.round(value * 3600 * 10 ** digits);
  const seconds = unitCount / 10 ** digits;
  const padNumber = (/** @type {number} */ part) => String(Math.floor(part)).padStart(2, "0");
  const [minute, second] = sign === "h" ? ["m", "s"] : ["′", "″"];
  const secondText = (seconds % 60).toFixed(digits).padStart(3 + digits, "0");
  const wholeText = padNumber((seconds / 3600) % (sign === "h" ? 24 : 360));
  const minuteText = padNumber((seconds / 60) % 60);
  return `${wholeText}${sign}${minuteText}${minute}${secondText}${second}`;
}
