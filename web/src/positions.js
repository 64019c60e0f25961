// Where pixels of an image are: between the places that the server computed on a grid, by directions, so that no seam is in the way.
/** @typedef {{x: number[], y: number[], lon: (number | null)[], lat: (number | null)[], kind: string, frame: string}} Grid */

const TURN = Math.PI / 180;

/**
 * Give longitude and latitude of a pixel (the first has its centre at 1), degrees; null where nobody knows.
 * @param {Grid | null} grid
 * @param {number} x
 * @param {number} y
 * @returns {[number, number] | null}
 */
export function position(grid, x, y) {
  if (!grid) return null;
  const [column, right] = between(grid.x, x);
  const [row, up] = between(grid.y, y);
  const sum = [0, 0, 0];
  for (const [dx, dy] of [
    [0, 0],
    [1, 0],
    [0, 1],
    [1, 1],
  ]) {
    const share = (dx ? right : 1 - right) * (dy ? up : 1 - up);
    if (!share) continue;
    const at = Math.min(row + dy, grid.y.length - 1) * grid.x.length + Math.min(column + dx, grid.x.length - 1);
    const [lon, lat] = [grid.lon[at], grid.lat[at]];
    if (lon === null || lat === null) return null;
    const flat = Math.cos(lat * TURN);
    sum[0] += share * flat * Math.cos(lon * TURN);
    sum[1] += share * flat * Math.sin(lon * TURN);
    sum[2] += share * Math.sin(lat * TURN);
  }
  const lon = Math.atan2(sum[1], sum[0]) / TURN;
  return [(lon + 360) % 360, Math.atan2(sum[2], Math.hypot(sum[0], sum[1])) / TURN];
}

/**
 * Find between which places a pixel lies, and how far on.
 * @param {number[]} places
 * @param {number} at
 * @returns {[number, number]}
 */
function between(places, at) {
  const step = (places[places.length - 1] - places[0]) / (places.length - 1);
  if (!step) return [0, 0];
  const share = (at - places[0]) / step;
  const index = Math.min(Math.max(Math.floor(share), 0), places.length - 2);
  return [index, share - index];
}

/**
 * Write a position: hours and degrees on the sky, degrees on a body, arc seconds on the Sun's disc.
 * @param {[number, number] | null} place
 * @param {Pick<Grid, "kind" | "frame"> | null} grid
 */
export function written(place, grid) {
  if (!place || !grid) return "";
  const [lon, lat] = place;
  if (grid.kind === "sky") return `${sixty(lon / 15, 2, "h")} ${lat < 0 ? "−" : "+"}${sixty(Math.abs(lat), 1, "°")}`;
  if (grid.kind === "disc") {
    const west = lon > 180 ? lon - 360 : lon;
    return `${(west * 3600).toFixed(1)}″ ${(lat * 3600).toFixed(1)}″`;
  }
  return `${lon.toFixed(4)}° ${lat < 0 ? "−" : "+"}${Math.abs(lat).toFixed(4)}°`;
}

/**
 * @param {number} value
 * @param {number} digits
 * @param {string} sign
 */
function sixty(value, digits, sign) {
  const whole = Math.round(value * 3600 * 10 ** digits);
  const seconds = whole / 10 ** digits;
  const two = (/** @type {number} */ number) => String(Math.floor(number)).padStart(2, "0");
  const [minute, second] = sign === "h" ? ["m", "s"] : ["′", "″"];
  const rest = (seconds % 60).toFixed(digits).padStart(3 + digits, "0");
  return `${two((seconds / 3600) % (sign === "h" ? 24 : 360))}${sign}${two((seconds / 60) % 60)}${minute}${rest}${second}`;
}
