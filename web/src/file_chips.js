// The files of an observation as chips: what distinguishes each file, and its size.
import { createElement } from "./dom.js";
import { formatBytes } from "./byte_size.js";
/** @import {RowFile} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

/**
 * The number of lines that a search returns.
 * @typedef {object} LineCount
 * @property {number | null} total null if they are not counted
 * @property {boolean} exact false: `total` is an estimate
 * @property {number | null | undefined} rows rows behind the lines; undefined if each line is one row
 * @property {number} minimum lower bound
 * @property {boolean} isTimedOut the count took too long
 */

const MAX_CHIPS = 6;

/**
 * Create the chips of the first files, and the number of further ones.
 * @param {RowFile[]} files
 * @param {string} language
 */
export function createFileChips(files, language) {
  const chips = files.slice(0, MAX_CHIPS).map((file) => createFileChip(file, language));
  const overflow =
    files.length > MAX_CHIPS
      ? [createElement("span", { className: "soft", textContent: `+${files.length - MAX_CHIPS}` })]
      : [];
  return [...chips, ...overflow];
}

/**
 * @param {RowFile} file
 * @param {string} language
 */
function createFileChip({ href, text, bytes }, language) {
  const label = bytes === null ? text : `${text} ${formatBytes(bytes, language)}`;
  const properties = { className: "chip-file", textContent: label };
  return href ? createElement("a", { ...properties, href, rel: "noopener" }) : createElement("span", properties);
}

/**
 * Show the number of lines and of the rows behind them, or a lower bound while they are not counted.
 * @param {HTMLElement | null} element
 * @param {LineCount} count
 * @param {Pick<Workspace, "formatNumber" | "t">} workspace
 */
export function showLineCount(element, count, workspace) {
  const { t } = workspace;
  const { rows, total } = count;
  if (total === null)
    return element?.replaceChildren(createElement("span", { textContent: describeLowerBound(count, workspace) }));
  const textContent = `${count.exact ? "" : "~"}${workspace.formatNumber(total)}`;
  const fileCount = typeof rows === "number" ? [`, ${workspace.formatNumber(rows)} ${t("files")}`] : [];
  const [singular, plural] = rows === undefined ? [t("row"), t("rows")] : [t("observation"), t("observations")];
  const noun = total === 1 ? singular : plural;
  element?.replaceChildren(createElement("b", { textContent }), ` ${noun}`, ...fileCount);
}

/**
 * Describe the lower bound of an unknown number of lines.
 * @param {LineCount} count
 * @param {Pick<Workspace, "formatNumber" | "t">} workspace
 */
export function describeLowerBound({ minimum, isTimedOut, rows }, workspace) {
  const { t } = workspace;
  const minimumText = workspace.formatNumber(minimum);
  const bound =
    rows === undefined
      ? t("more than {count} rows", { count: minimumText })
      : t("more than {count} observations", { count: minimumText });
  return `${bound}, ${isTimedOut ? t("counting all of them takes too long") : t("still being counted")}`;
}
