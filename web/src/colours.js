// Viridis (CC0, by Nathaniel Smith and Stefan van der Walt), at nine places; even for the eye, also for the colour-blind.
const STOPS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

/** The colour of a value from 0 to 1. */
export function viridis(value) {
  const at = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1);
  const below = Math.min(Math.floor(at), STOPS.length - 2);
  const part = at - below;
  const [red, green, blue] = STOPS[below].map((one, number) => Math.round(one + (STOPS[below + 1][number] - one) * part));
  return `rgb(${red},${green},${blue})`;
}
