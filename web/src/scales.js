// What the slices of a cube stand for: values of an axis in a unit that is read easily, evenly spaced or not; and numbers in a few digits.

/** @typedef {{values: (number | string)[], unit: string, even: "linear" | "log" | ""}} Scale */

/** Unit of the file -> [least value, factor, unit], the first that fits.
 * @type {Record<string, [number, number, string][]>} */
const EASIER = {
  "m/s": [
    [1000, 1e-3, "km/s"],
    [0, 1, "m/s"],
  ],
  Hz: [
    [1e12, 1e-12, "THz"],
    [1e9, 1e-9, "GHz"],
    [1e6, 1e-6, "MHz"],
    [1e3, 1e-3, "kHz"],
  ],
  m: [
    [1, 1, "m"],
    [1e-3, 1e3, "mm"],
    [1e-6, 1e6, "µm"],
    [1e-9, 1e9, "nm"],
    [0, 1e10, "Å"],
  ],
  eV: [
    [1e9, 1e-9, "GeV"],
    [1e3, 1e-3, "keV"],
  ],
};
const NAMES = new Map(
  Object.entries({
    "m s-1": "m/s",
    "m.s-1": "m/s",
    "m s^-1": "m/s",
    "km s-1": "km/s",
    "km.s-1": "km/s",
    um: "µm",
    micron: "µm",
    Angstrom: "Å",
    angstrom: "Å",
  }),
);

/**
 * Give the values of an axis in a unit that is read easily.
 * @param {(number | string | null)[] | null} given
 * @param {string} said
 * @param {number} size
 * @returns {Scale}
 */
export function scale(given, said, size) {
  if (!given) return { values: Array.from({ length: size }, (_, at) => at + 1), unit: "", even: "linear" };
  if (given.some((one) => typeof one === "string"))
    return { values: given.map((one) => one ?? ""), unit: "", even: "" };
  const numbers = given.map((one) => (one === null ? NaN : Number(one)));
  const greatest = Math.max(0, ...numbers.filter(Number.isFinite).map(Math.abs));
  const name = NAMES.get(said) ?? said;
  const [, factor, unit] = EASIER[name]?.find(([least]) => greatest >= least) ?? [0, 1, name];
  return { values: numbers.map((one) => one * factor), unit, even: spacing(numbers) };
}

/**
 * Tell how values follow each other.
 * @param {number[]} values
 * @returns {"linear" | "log" | ""}
 */
export function spacing(values) {
  if (values.length < 3) return "linear";
  const steps = values.slice(1).map((one, at) => one - values[at]);
  if (alike(steps)) return "linear";
  const rates = values.slice(1).map((one, at) => one / values[at]);
  return values.every((one) => one > 0) && alike(rates.map(Math.log)) ? "log" : "";
}

/** @param {number[]} steps */
function alike(steps) {
  const middle = (steps[steps.length - 1] + steps[0]) / 2;
  return steps.every((one) => Math.abs(one - middle) <= 1e-3 * Math.abs(middle));
}

/**
 * Write a number in so many digits.
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function short(value, digits = 5) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size && (size >= 10 ** digits || size < 1e-3)
      ? value.toExponential(digits - 2)
      : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e−", "e-").replace("e+", "e");
}

/**
 * Write the values of slices with as many digits as tell neighbours apart.
 * @param {Scale} axis
 * @param {number} at
 */
export function told(axis, at) {
  const value = axis.values[at];
  if (typeof value === "string") return value;
  const next = Number(axis.values[at + 1] ?? axis.values[at - 1] ?? NaN);
  const step = Math.abs(next - value);
  const digits = step > 0 ? Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(step)))) : 3;
  const text = Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–";
  return axis.unit ? `${text} ${axis.unit}` : text;
}

/**
 * Write a unit as it is printed: powers raised, Angstrom short.
 * @param {string} unit
 */
export function pretty(unit) {
  const raised = (/** @type {string} */ power) =>
    [...power].map((sign) => (sign === "-" ? "⁻" : sign === "+" ? "" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(sign)])).join("");
  return unit
    .replace(/Angstroms?/gi, "Å")
    .replace(/\b10(?:\*\*|\^)\(?([+-]?\d+)\)?/g, (_, power) => `10${raised(power)}`)
    .replace(/([A-Za-zÅµ]+)(?:\*\*|\^)?\(?([+-]?\d+)\)?(?![\d.])/g, (_, name, power) => `${name}${raised(power)}`);
}
