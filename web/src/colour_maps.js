// Colour maps for numbers, stretches, and limits. Blank values are transparent.
import { VIRIDIS_STOPS } from "./colours.js";

const TABLE_STEPS = 4096;
const MAX_SAMPLED_VALUES = 50_000; // values from which limits are estimated

/** @type {Record<string, number[][]>} */
export const COLOUR_MAPS = {
  viridis: VIRIDIS_STOPS,
  // own map: dark red over orange to nearly white
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

/** Stretches of a share between 0 and 1.
 * @type {Record<string, (share: number) => number>} */
export const STRETCHES = {
  linear: (share) => share,
  "square root": Math.sqrt,
  logarithm: (share) => Math.log10(1 + 1000 * share) / Math.log10(1001),
  asinh: (share) => Math.asinh(10 * share) / Math.asinh(10),
  square: (share) => share * share,
};

/** Colour tables by their settings.
 * @type {Map<string, Uint32Array>} */
const TABLE_CACHE = new Map();

/**
 * Return the colours of a map at even steps of the values, as 32-bit pixels: alpha, blue, green, red.
 * @param {string} colourMap
 * @param {string} stretch
 * @param {boolean} [isReversed]
 */
export function getColourTable(colourMap, stretch, isReversed = false) {
  const key = `${colourMap} ${stretch} ${isReversed}`;
  const knownTable = TABLE_CACHE.get(key);
  if (knownTable) return knownTable;
  const stops = COLOUR_MAPS[colourMap] ?? VIRIDIS_STOPS;
  const applyStretch = STRETCHES[stretch] ?? STRETCHES.linear;
  const table = new Uint32Array(TABLE_STEPS);
  for (let step = 0; step < TABLE_STEPS; step++) {
    const share = applyStretch(step / (TABLE_STEPS - 1));
    const position = (isReversed ? 1 - share : share) * (stops.length - 1);
    const stopIndex = Math.min(Math.floor(position), stops.length - 2);
    const [from, to, fraction] = [stops[stopIndex], stops[stopIndex + 1], position - stopIndex];
    let colour = 255;
    for (let channel = 2; channel >= 0; channel--)
      colour = (colour << 8) | Math.round(from[channel] + (to[channel] - from[channel]) * fraction);
    table[step] = colour; // as an unsigned number
  }
  TABLE_CACHE.set(key, table);
  return table;
}

/**
 * Convert numbers to pixels. The first row of an image is the lowest, that of a picture the highest.
 * @param {ArrayLike<number>} values
 * @param {number} width
 * @param {Uint32Array} colours
 * @param {[number, number]} limits
 * @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function colourValues(values, width, colours, [low, high]) {
  const height = values.length / width;
  const pixels = new Uint32Array(values.length);
  const scale = (colours.length - 1) / (high - low || 1);
  for (let row = 0; row < height; row++) {
    const source = row * width;
    const target = (height - 1 - row) * width;
    for (let column = 0; column < width; column++) {
      const value = values[source + column];
      if (value !== value) continue; // NaN
      const step = Math.min(Math.max((value - low) * scale, 0), colours.length - 1);
      pixels[target + column] = colours[step | 0];
    }
  }
  return new Uint8ClampedArray(pixels.buffer);
}

/**
 * Compute limits that enclose the middle share of the values.
 * @param {ArrayLike<number>} values
 * @param {number} share
 * @returns {[number, number]}
 */
export function computeLimits(values, share) {
  const step = Math.max(1, Math.floor(values.length / MAX_SAMPLED_VALUES));
  const samples = [];
  for (let index = 0; index < values.length; index += step) {
    if (Number.isFinite(values[index])) samples.push(values[index]);
  }
  if (!samples.length) return [0, 1];
  const sorted = Float64Array.from(samples).sort();
  const skipped = Math.round(((1 - share) / 2) * (sorted.length - 1));
  const [low, high] = [sorted[skipped], sorted[sorted.length - 1 - skipped]];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}

/**
 * Compute limits that enclose the middle share of counted values.
 * @param {[number, number][]} countedValues values and their counts
 * @param {number} share
 * @returns {[number, number]}
 */
export function computeCountedLimits(countedValues, share) {
  const sorted = [...countedValues].sort(([first], [second]) => first - second);
  const lastRank = sorted.reduce((sum, [, count]) => sum + count, 0) - 1;
  const skipped = Math.round(((1 - share) / 2) * lastRank);
  const getValueAtRank = (/** @type {number} */ rank) => {
    let cumulated = 0;
    return (sorted.find(([, count]) => (cumulated += count) > rank) ?? sorted[sorted.length - 1])[0];
  };
  const [low, high] = [getValueAtRank(skipped), getValueAtRank(lastRank - skipped)];
  return low < high ? [low, high] : [low - 0.5, high + 0.5];
}
