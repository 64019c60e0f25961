// The server's description of a cube: parts, axes and the current view.
import { buildScale } from "hven/axis_scale.js";
/** @import {ImageTile} from "./cube_image.js" */
/** @import {PositionGrid} from "./pixel_positions.js" */
/** @import {AxisScale} from "hven/axis_scale.js" */
/** @import {Translate} from "hven/answers.js" */
/** @import {Workspace} from "hven/workspace.js" */

/**
 * @typedef {{
 *   number: number,
 *   name: string,
 *   kind: string,
 *   size: number,
 *   unit: string,
 *   values: (number | string | null)[] | null,
 *   fault?: string,
 * }} CubeAxis
 */
/** @typedef {{index: number, name: string, role: string, unit: string, type: string, axes: CubeAxis[]}} CubePart */
/**
 * @typedef {{
 *   file: string,
 *   medium: string,
 *   part: number,
 *   beside: number[],
 *   parts: CubePart[],
 *   image: [number, number],
 *   through: number | null,
 *   width: number,
 *   height: number,
 *   depth: number,
 *   places: PositionGrid | null,
 * }} CubeFacts
 */

/**
 * @typedef {{
 *   index: number,
 *   name: string,
 *   role: string,
 *   unit: string,
 *   values: (number | null)[],
 *   deviation?: (number | null)[],
 * }} PartSpectrum
 */
/**
 * @typedef {{
 *   x?: number,
 *   y?: number,
 *   pixels?: number,
 *   place?: [number, number] | null,
 *   parts: PartSpectrum[],
 * }} CubeSpectra
 */

/**
 * Build the parameters of requests: part, slice axis and fixed pixels of the other axes.
 * @param {Workspace} workspace
 */
export function buildCubeQuery({ state }) {
  const query = new URLSearchParams();
  for (const name of ["part", "through", "at"]) {
    for (const value of state.getAll(`_${name}`)) query.append(name, value);
  }
  return query;
}

/**
 * Find the displayed part of a cube.
 * @param {CubeFacts} facts
 */
export function findPart({ part, parts }) {
  return parts.find((candidate) => candidate.index === part) ?? parts[0];
}

/** @param {CubeFacts} facts */
function findSliceAxis(facts) {
  return findPart(facts).axes.find((axis) => axis.number === facts.through);
}

/**
 * Return the name of the slice axis: the file's own, unless it only names a sampling.
 * @param {CubeFacts} facts
 * @param {AxisScale} axis
 * @param {Translate} t
 */
export function describeSliceAxis(facts, { unit }, t) {
  const axisName = (findSliceAxis(facts)?.name ?? "").replace(/-.*/, "");
  if (axisName && !/^(linear|)$/i.test(axisName)) return axisName;
  if (["m", "mm", "µm", "nm", "Å"].includes(unit)) return t("wavelength");
  if (/Hz$/.test(unit)) return t("frequency");
  return /m\/s$/.test(unit) ? t("velocity") : findSliceAxis(facts)?.kind || t("slice");
}

/**
 * Build the scale of the slice axis in a readable unit.
 * @param {CubeFacts} facts
 */
export function buildSliceScale(facts) {
  const axis = findSliceAxis(facts);
  return buildScale(axis?.values ?? null, axis?.unit ?? "", facts.depth);
}

/**
 * Find the brightest pixel of tiles, from 1.
 * @param {ImageTile[]} tiles
 */
export function findBrightestPixel(tiles) {
  const [{ values, width, step } = { values: [], width: 1, step: 1 }] = tiles;
  let brightestIndex = -1;
  for (let index = 0; index < values.length; index++) {
    if (Number.isFinite(values[index]) && !(values[index] <= values[brightestIndex])) brightestIndex = index;
  }
  if (brightestIndex < 0) return [1, 1];
  return [(brightestIndex % width) * step + 1, Math.floor(brightestIndex / width) * step + 1];
}
