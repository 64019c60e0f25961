// The colour map viridis (CC0, by Nathaniel Smith and Stefan van der Walt) at nine stops. It is perceptually uniform
// and suits colour-blind readers.
export const VIRIDIS_STOPS = [
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
 * Return the colour of a value between 0 and 1.
 * @param {number} value
 */
export function getViridisColour(value) {
  const position = Math.min(Math.max(value, 0), 1) * (VIRIDIS_STOPS.length - 1);
  const stopIndex = Math.min(Math.floor(position), VIRIDIS_STOPS.length - 2);
  const fraction = position - stopIndex;
  const channels = VIRIDIS_STOPS[stopIndex].map((level, channel) =>
    Math.round(level + (VIRIDIS_STOPS[stopIndex + 1][channel] - level) * fraction),
  );
  return `rgb(${channels.join(",")})`;
}

/**
 * Return a colour `#rrggbb` with an opacity.
 * @param {string} colour
 * @param {number} opacity
 */
export function applyOpacity(colour, opacity) {
  const value = parseInt(colour.slice(1), 16);
  return `rgba(${value >> 16},${(value >> 8) & 255},${value & 255},${opacity})`;
}

/**
 * Build a CSS gradient from left to right of the colours between 0 and 1.
 * @param {(value: number) => string} getColour
 */
export function buildGradient(getColour) {
  return `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => getColour(share)).join(",")})`;
}
