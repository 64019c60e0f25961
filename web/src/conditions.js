// Build search conditions from the fields of a form. The server combines the parts of a field in the same way
// (explore/fields.py).
/** @import {Chip, Translate} from "./answers.js" */

// a complete condition, entered into the first part of a field
const COMPLETE_CONDITION = /^(?:[<>=!]|null$)|\.\.|,|~|"|\d\s*\/\s*[-+.\d]/i;
const DATE_PATTERN = /^\d{4}(-\d{2}(-\d{2})?)?$/; // a year, a month or a day
const NUMBER_PATTERN = /^(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?$/;

/**
 * Format the condition of a field with parts.
 * @param {string} low
 * @param {string} high
 * @param {string} unit
 * @param {string} tolerance
 */
export function formatCondition(low, high, unit, tolerance) {
  if (low && (COMPLETE_CONDITION.test(low) || (!high && !/\d/.test(low)))) return low;
  if (tolerance && low) return `${low}~${tolerance} ${unit || "min"}`;
  const unitSuffix = unit && NUMBER_PATTERN.test(low) && NUMBER_PATTERN.test(high) ? ` ${unit}` : "";
  if (low && low === high) return `${low}${unitSuffix}`;
  if (low && high) return `${low}..${high}${unitSuffix}`;
  if (low) return `${low}${unitSuffix}..`;
  return high ? `..${high}${unitSuffix}` : "";
}

/**
 * Format the condition of a time field: a day, month or year alone means all of it.
 * @param {string} low
 * @param {string} high
 * @param {string} unit
 * @param {string} tolerance
 */
export function formatTimeCondition(low, high, unit, tolerance) {
  if (!high && !tolerance && DATE_PATTERN.test(low)) return low;
  // the unit belongs to the tolerance: 2012..2013 are years
  return formatCondition(low, high, tolerance ? unit : "", tolerance);
}

/**
 * Read the condition of a form field; `getValue` returns the value of a part.
 * @param {string} name
 * @param {boolean} hasParts whether the field has parts
 * @param {(name: string) => string} getValue
 * @param {boolean} [isTime] whether the field is a time
 */
export function readFieldCondition(name, hasParts, getValue, isTime = false) {
  if (name === "_near")
    return getValue("_near") && `${getValue("_near")},${getValue("_radius") || "1"} ${getValue("_radius_unit")}`;
  if (name === "_every") return getValue("_every") && [getValue("_every"), getValue("_each")].filter(Boolean).join(",");
  const formatParts = isTime ? formatTimeCondition : formatCondition;
  if (hasParts)
    return formatParts(getValue(name), getValue(`_to.${name}`), getValue(`_as.${name}`), getValue(`_pm.${name}`));
  return getValue(name);
}

/**
 * Return the label of a condition.
 * @param {Pick<Chip, "name" | "label">} chip
 * @param {Translate} t
 */
export function getConditionLabel({ name, label }, t) {
  /** @type {Record<string, string>} */
  const names = { _q: t("Words"), _near: t("Place"), _in: t("Region"), _every: t("One row every") };
  // conditions of packages have names with an underscore, and labels that the catalogues translate
  return names[name] ?? (name.startsWith("_") ? t(label) : label);
}
