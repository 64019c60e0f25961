// Files of an observation: a chip for each, with what tells it from the others, and how large it is.
import { make } from "./dom.js";
import { size } from "./sizes.js";
/** @import {RowFile} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

/**
 * How many lines a search finds.
 * @typedef {object} LineCount
 * @property {number | null} total null: nobody has counted them
 * @property {boolean} exact false: `total` is an estimate
 * @property {number | null | undefined} rows that the lines are of; undefined where each row is a line
 * @property {number} least lines that are here
 * @property {boolean} late they could not be counted in time
 */

const MOST = 6; // chips of a line

/**
 * @param {RowFile[]} files
 * @param {string} language
 */
export function chips(files, language) {
  const made = files.slice(0, MOST).map((file) => chip(file, language));
  const more = files.length > MOST ? [make("span", { className: "soft", textContent: `+${files.length - MOST}` })] : [];
  return [...made, ...more];
}

/**
 * @param {RowFile} file
 * @param {string} language
 */
function chip({ href, text, bytes }, language) {
  const said = bytes === null ? text : `${text} ${size(bytes, language)}`;
  const facts = { className: "chip-file", textContent: said };
  return href ? make("a", { ...facts, href, rel: "noopener" }) : make("span", facts);
}

/**
 * Say how many lines there are, and how many rows they are of. While nobody has counted them, say how many there are at least.
 * @param {HTMLElement | null} place
 * @param {LineCount} found
 * @param {Pick<Workspace, "number" | "t">} workspace
 */
export function told(place, found, workspace) {
  const { t } = workspace;
  const { rows, total } = found;
  if (total === null) return place?.replaceChildren(make("span", { textContent: lowerBound(found, workspace) }));
  const textContent = `${found.exact ? "" : "~"}${workspace.number(total)}`;
  const more = typeof rows === "number" ? [`, ${workspace.number(rows)} ${t("files")}`] : [];
  const what =
    rows === undefined ? (total === 1 ? t("row") : t("rows")) : total === 1 ? t("observation") : t("observations");
  place?.replaceChildren(make("b", { textContent }), ` ${what}`, ...more);
}

/**
 * Say how many lines there are at least, where nobody has counted them: those that are here.
 * @param {LineCount} found
 * @param {Pick<Workspace, "number" | "t">} workspace
 */
export function lowerBound({ least, late, rows }, workspace) {
  const { t } = workspace;
  const count = workspace.number(least);
  const more =
    rows === undefined ? t("more than {count} rows", { count }) : t("more than {count} observations", { count });
  return `${more}, ${late ? t("counting them takes too long") : t("they are being counted")}`;
}
