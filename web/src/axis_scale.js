// Values of cube axes in readable units, and short formats of numbers and units.

/** @typedef {{values: (number | string)[], unit: string, spacing: "linear" | "log" | ""}} AxisScale */

/** Unit of the file -> [minimum, factor, readable unit]; the first match applies.
 * @type {Record<string, [number, number, string][]>} */
const READABLE_UNITS = {
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
const UNIT_ALIASES = new Map(
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
 * Convert the values of an axis to a readable unit.
 * @param {(number | string | null)[] | null} values
 * @param {string} fileUnit
 * @param {number} count
 * @returns {AxisScale}
 */
export function buildScale(values, fileUnit, count) {
  if (!values) return { values: Array.from({ length: count }, (_, index) => index + 1), unit: "", spacing: "linear" };
  if (values.some((value) => typeof value === "string"))
    return { values: values.map((value) => value ?? ""), unit: "", spacing: "" };
  const numbers = values.map((value) => (value === null ? NaN : Number(value)));
  const greatest = Math.max(0, ...numbers.filter(Number.isFinite).map(Math.abs));
  const unitName = UNIT_ALIASES.get(fileUnit) ?? fileUnit;
  const [, factor, unit] = READABLE_UNITS[unitName]?.find(([minimum]) => greatest >= minimum) ?? [0, 1, unitName];
  return { values: numbers.map((number) => number * factor), unit, spacing: detectSpacing(numbers) };
}

/**
 * Detect whether values are evenly spaced.
 * @param {number[]} values
 * @returns {"linear" | "log" | ""}
 */
export function detectSpacing(values) {
  if (values.length < 3) return "linear";
  const steps = values.slice(1).map((value, index) => value - values[index]);
  if (areAlike(steps)) return "linear";
  const ratios = values.slice(1).map((value, index) => value / values[index]);
  return values.every((value) => value > 0) && areAlike(ratios.map(Math.log)) ? "log" : "";
}

/**
 * Return whether all steps are equal, within a thousandth.
 * @param {number[]} steps
 */
function areAlike(steps) {
  const middle = (steps[steps.length - 1] + steps[0]) / 2;
  return steps.every((step) => Math.abs(step - middle) <= 1e-3 * Math.abs(middle));
}

/**
 * Format a number with significant digits.
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function formatNumber(value, digits = 5) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const magnitude = Math.abs(value);
  const text =
    magnitude && (magnitude >= 10 ** digits || magnitude < 1e-3)
      ? value.toExponential(digits - 2)
      : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e−", "e-").replace("e+", "e");
}

/**
 * Format the value of a slice with enough digits to distinguish its neighbours.
 * @param {AxisScale} axis
 * @param {number} index
 */
export function formatSliceValue(axis, index) {
  const value = axis.values[index];
  if (typeof value === "string") return value;
  const neighbour = Number(axis.values[index + 1] ?? axis.values[index - 1] ?? NaN);
  const step = Math.abs(neighbour - value);
  const digits = step > 0 ? Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(step)))) : 3;
  const text = Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–";
  return axis.unit ? `${text} ${axis.unit}` : text;
}

/**
 * Format a unit with raised powers and short names.
 * @param {string} unit
 */
export function formatUnit(unit) {
  const toSuperscript = (/** @type {string} */ power) =>
    power
      .replace("-", "⁻")
      .replace("+", "")
      .replace(/\d/g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]);
  return unit
    .replace(/Angstroms?/gi, "Å")
    .replace(/\b10(?:\*\*|\^)\(?([+-]?\d+)\)?/g, (_, power) => `10${toSuperscript(power)}`)
    .replace(
      /([A-Za-zÅµ]+)(?:\*\*|\^)?\(?([+-]?\d+)\)?(?![\d.])/g,
      (_, name, power) => `${name}${toSuperscript(power)}`,
    );
}
