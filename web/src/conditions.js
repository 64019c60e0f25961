// What the fields of a form ask for, as the address has it; the server puts the parts of a field together in the same way (explore/fields.py).
/** @import {Chip, Translate} from "./answers.js" */

const WHOLE = /^(?:[<>=!]|null$)|\.\.|,|~|"|\d\s*\/\s*[-+.\d]/i; // a whole condition, written into the first part of a field
const DATE = /^\d{4}(-\d{2}(-\d{2})?)?$/; // a year, a month or a day
const NUMBER = /^(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?$/;

/**
 * Give the condition that the parts of a field are.
 * @param {string} low
 * @param {string} high
 * @param {string} unit
 * @param {string} around
 */
export function written(low, high, unit, around) {
  if (low && (WHOLE.test(low) || (!high && !/\d/.test(low)))) return low;
  if (around && low) return `${low}~${around} ${unit || "min"}`;
  const end = unit && NUMBER.test(low) && NUMBER.test(high) ? ` ${unit}` : "";
  if (low && low === high) return `${low}${end}`;
  if (low && high) return `${low}..${high}${end}`;
  return low ? `${low}${end}..` : high ? `..${high}${end}` : "";
}

/**
 * Give the condition that the parts of a time are: a day, month or year alone is all of it.
 * @param {string} low
 * @param {string} high
 * @param {string} unit
 * @param {string} around
 */
export function writtenTime(low, high, unit, around) {
  if (!high && !around && DATE.test(low)) return low;
  return written(low, high, around ? unit : "", around); // the unit is of what is around it: 2012..2013 are years
}

/**
 * Give what a field of the form asks for; `value` gives what is written in a part of it.
 * @param {string} name
 * @param {boolean} parted whether the field has parts
 * @param {(name: string) => string} value
 * @param {boolean} [time] whether it is a time
 */
export function given(name, parted, value, time = false) {
  if (name === "_near")
    return value("_near") && `${value("_near")},${value("_radius") || "1"} ${value("_radius_unit")}`;
  if (name === "_every") return value("_every") && [value("_every"), value("_each")].filter(Boolean).join(",");
  const condition = time ? writtenTime : written;
  if (parted) return condition(value(name), value(`_to.${name}`), value(`_as.${name}`), value(`_pm.${name}`));
  return value(name);
}

/**
 * Give what a condition is called.
 * @param {Pick<Chip, "name" | "label">} chip
 * @param {Translate} t
 */
export function called({ name, label }, t) {
  /** @type {Record<string, string>} */
  const names = { _q: t("Words"), _near: t("Place"), _in: t("Region"), _every: t("One row every") };
  return names[name] ?? label;
}
