// Files of an observation: a chip for each, with what tells it from the others, and how large it is.
import { make } from "./dom.js";
import { size } from "./sizes.js";
/** @import {RowFile} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

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
 * Say how many lines there are, and how many rows they are of.
 * @param {HTMLElement | null} place
 * @param {{exact: boolean, total: number, rows: number | null | undefined}} found `rows`: undefined where each row is a line
 * @param {Pick<Workspace, "number" | "t">} workspace
 */
export function told(place, { exact, total, rows }, workspace) {
  const { t } = workspace;
  const textContent = `${exact ? "" : "~"}${workspace.number(total)}`;
  const more = typeof rows === "number" ? [`, ${workspace.number(rows)} ${t("files")}`] : [];
  const what =
    rows === undefined ? (total === 1 ? t("row") : t("rows")) : total === 1 ? t("observation") : t("observations");
  place?.replaceChildren(make("b", { textContent }), ` ${what}`, ...more);
}
