// Numbers as colours: ramps, how values are stretched over them, and which values they begin and end with. A blank is transparent.
import { STOPS } from "./colours.js";

const STEPS = 4096; // of a table of colours
const LOOKED = 50_000; // values from which limits are told

/** @type {Record<string, number[][]>} */
export const RAMPS = {
  viridis: STOPS,
  // hand-made: dark red over orange to nearly white
  heat: [
    [0, 0, 4],
    [60, 9, 60],
    [130, 20, 70],
    [195, 48, 48],
    [236, 104, 24],
    [252, 170, 40],
    [252, 252, 190],
  ],
  gray: [
    [0, 0, 0],
    [255, 255, 255],
  ],
  paper: [
    [255, 255, 255],
    [0, 0, 0],
  ],
  "blue to red": [
    [33, 60, 140],
    [110, 155, 215],
    [245, 245, 240],
    [225, 130, 100],
    [140, 25, 45],
  ],
};

/** How a share from 0 to 1 is stretched.
 * @type {Record<string, (share: number) => number>} */
export const STRETCHES = {
  linear: (share) => share,
  "square root": Math.sqrt,
  logarithm: (share) => Math.log10(1 + 1000 * share) / Math.log10(1001),
  asinh: (share) => Math.asinh(10 * share) / Math.asinh(10),
  square: (share) => share * share,
};

/** Tables that were made.
 * @type {Map<string, Uint32Array>} */
const TABLES = new Map();

/**
 * Give the colours of a ramp at even steps of the values, as they stand in memory: alpha, blue, green, red.
 * @param {string} ramp
 * @param {string} stretch
 * @param {boolean} [turned]
 */
export function table(ramp, stretch, turned = false) {
  const key = `${ramp} ${stretch} ${turned}`;
  const known = TABLES.get(key);
  if (known) return known;
  const stops = RAMPS[ramp] ?? STOPS;
  const stretched = STRETCHES[stretch] ?? STRETCHES.linear;
  const found = new Uint32Array(STEPS);
  for (let step = 0; step < STEPS; step++) {
    const share = stretched(step / (STEPS - 1));
    const at = (turned ? 1 - share : share) * (stops.length - 1);
    const below = Math.min(Math.floor(at), stops.length - 2);
    const [from, to, part] = [stops[below], stops[below + 1], at - below];
    let colour = 255;
    for (let one = 2; one >= 0; one--) colour = (colour << 8) | Math.round(from[one] + (to[one] - from[one]) * part);
    found[step] = colour; // as an unsigned number
  }
  TABLES.set(key, found);
  return found;
}

/**
 * Colour numbers: the first row of an image is the lowest, of a picture the highest.
 * @param {ArrayLike<number>} values
 * @param {number} width
 * @param {Uint32Array} colours
 * @param {[number, number]} limits
 * @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function coloured(values, width, colours, [low, high]) {
  const height = values.length / width;
  const found = new Uint32Array(values.length);
  const scale = (colours.length - 1) / (high - low || 1);
  for (let row = 0; row < height; row++) {
    let to = (height - 1 - row) * width;
    for (let at = row * width; at < (row + 1) * width; at++, to++) {
      const value = values[at];
      if (value !== value) continue; // NaN
      const step = (value - low) * scale;
      found[to] = colours[step <= 0 ? 0 : step >= colours.length - 1 ? colours.length - 1 : step | 0];
    }
  }
  return new Uint8ClampedArray(found.buffer);
}

/**
 * Tell between which values the middle share of all lies.
 * @param {ArrayLike<number>} values
 * @param {number} share
 * @returns {[number, number]}
 */
export function limits(values, share) {
  const step = Math.max(1, Math.floor(values.length / LOOKED));
  const some = [];
  for (let at = 0; at < values.length; at += step) if (Number.isFinite(values[at])) some.push(values[at]);
  if (!some.length) return [0, 1];
  const sorted = Float64Array.from(some).sort();
  const aside = Math.round(((1 - share) / 2) * (sorted.length - 1));
  const [low, high] = [sorted[aside], sorted[sorted.length - 1 - aside]];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

/**
 * Tell between which values the middle share of all lies, of values that are counted.
 * @param {[number, number][]} counted values, and how often each is there
 * @param {number} share
 * @returns {[number, number]}
 */
export function middle(counted, share) {
  const sorted = [...counted].sort(([one], [other]) => one - other);
  const most = sorted.reduce((sum, [, count]) => sum + count, 0) - 1;
  const aside = Math.round(((1 - share) / 2) * most);
  const at = (/** @type {number} */ rank) => {
    let before = 0;
    return (sorted.find(([, count]) => (before += count) > rank) ?? sorted[sorted.length - 1])[0];
  };
  const [low, high] = [at(aside), at(most - aside)];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}
