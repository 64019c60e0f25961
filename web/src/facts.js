// What the server says of a cube: its parts, axes, and how it is looked at.
import { scale } from "./scales.js";
/** @import {Grid} from "./positions.js" */
/** @import {Scale} from "./scales.js" */
/** @import {Translate} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

/** @typedef {{number: number, name: string, kind: string, size: number, unit: string, values: (number | string | null)[] | null, fault?: string}} Axis */
/** @typedef {{index: number, name: string, role: string, unit: string, type: string, axes: Axis[]}} Part */
/** @typedef {{file: string, medium: string, part: number, beside: number[], parts: Part[], image: [number, number], through: number | null, width: number, height: number, depth: number, places: Grid | null}} Facts */

/**
 * Parameters by which the part, the axis that is gone through and those that are held are asked for.
 * @param {Workspace} workspace
 */
export function queryOf({ state }) {
  const query = new URLSearchParams();
  for (const name of ["part", "through", "at"]) for (const value of state.all(`_${name}`)) query.append(name, value);
  return query;
}

/** @param {Facts} facts */
export function partOf({ part, parts }) {
  return parts.find((one) => one.index === part) ?? parts[0];
}

/** @param {Facts} facts */
function axisOf(facts) {
  return partOf(facts).axes.find((one) => one.number === facts.through);
}

/**
 * Name the axis that is gone through: as the file does, if that is more than how it is spaced.
 * @param {Facts} facts
 * @param {Scale} axis
 * @param {Translate} t
 */
export function nameOf(facts, { unit }, t) {
  const own = (axisOf(facts)?.name ?? "").replace(/-.*/, "");
  if (own && !/^(linear|)$/i.test(own)) return own;
  if (["m", "mm", "µm", "nm", "Å"].includes(unit)) return t("wavelength");
  if (/Hz$/.test(unit)) return t("frequency");
  return /m\/s$/.test(unit) ? t("velocity") : axisOf(facts)?.kind || t("slice");
}

/** @param {Facts} facts */
export function scaleOf(facts) {
  const axis = axisOf(facts);
  return scale(axis?.values ?? null, axis?.unit ?? "", facts.depth);
}
