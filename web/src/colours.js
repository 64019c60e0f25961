// Viridis (CC0, by Nathaniel Smith and Stefan van der Walt), at nine places; even for the eye, also for the colour-blind.
export const STOPS = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
];

/**
 * Give the colour of a value from 0 to 1.
 * @param {number} value
 */
export function viridis(value) {
  const at = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const below = Math.min(Math.floor(at), STOPS.length - 2);
  const part = at - below;
  const mixed = STOPS[below].map((one, number) => Math.round(one + (STOPS[below + 1][number] - one) * part));
  return `rgb(${mixed.join(",")})`;
}

/**
 * Give a colour `#rrggbb`, more or less clear.
 * @param {string} text
 * @param {number} opacity
 */
export function clearer(text, opacity) {
  const value = parseInt(text.slice(1), 16);
  return `rgba(${value >> 16},${(value >> 8) & 255},${value & 255},${opacity})`;
}

/**
 * Give a ramp of colours from left to right, of what `colour` gives from 0 to 1.
 * @param {(value: number) => string} colour
 */
export function ramp(colour) {
  return `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((part) => colour(part)).join(",")})`;
}
