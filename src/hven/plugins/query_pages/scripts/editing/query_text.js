// Functions on query texts: position of a fault, history, search in tables and columns.
/** @import {Translate} from "hven/answers.js" */

/**
 * @typedef {{
 *   message: string,
 *   remedy?: string,
 *   line?: number,
 *   column?: number,
 *   offset?: number,
 *   meant?: string,
 * }} QueryFault
 * a fault
 */
/**
 * @typedef {object} EditorWords names that the editor completes
 * @property {{name: string, columns: {name: string, unit: string, description: string}[]}[]} tables
 * @property {{name: string, forms: string[], description: string}[]} functions
 * @property {string[]} words
 */

const MAX_QUERIES = 30; // queries in the history, which stays in this browser

/**
 * Locate a fault in the text; null if it has no position.
 * @param {string} text
 * @param {number | undefined} offset
 */
export function locateFault(text, offset) {
  if (offset === undefined) return null;
  const leadingBlanks = text.length - text.trimStart().length; // the server counts without leading blanks
  const from = Math.min(offset + leadingBlanks, text.length);
  const length = /^[\w".]+/.exec(text.slice(from))?.[0].length ?? 1;
  return { from, to: Math.min(from + length, text.length) };
}

/**
 * Find where a replacement begins: in t.colum only the column is replaced.
 * @param {string} text
 * @param {number} from
 * @param {number} to
 * @param {string} word
 */
export function findReplacementStart(text, from, to, word) {
  return word.includes(".") ? from : from + text.slice(from, to).lastIndexOf(".") + 1;
}

/**
 * Format a fault with its line and column.
 * @param {QueryFault} fault
 * @param {Translate} t
 */
export function formatFault(fault, t) {
  const location = fault.line ? `${t("line {line}, column {column}", fault)}: ` : "";
  return `${location}${fault.message}${fault.remedy ? ` \u2013 ${fault.remedy}` : ""}`;
}

/**
 * Add a query to the history, the newest first.
 * @param {string[]} queries
 * @param {string} text
 */
export function addQuery(queries, text) {
  return [text, ...queries.filter((query) => query !== text)].slice(0, MAX_QUERIES);
}

/**
 * Match a table against a search word: whether it is shown and open, and which columns are shown.
 * @param {string} word in lower case; empty matches everything
 * @param {string} name
 * @param {string[]} columns
 */
export function matchTable(word, name, columns) {
  const nameMatches = name.toLowerCase().includes(word);
  const columnMatches = columns.map((column) => column.toLowerCase().includes(word));
  const hasColumn = columnMatches.includes(true);
  return {
    isVisible: !word || nameMatches || hasColumn,
    isOpen: Boolean(word) && hasColumn && !nameMatches,
    columns: columnMatches.map((hit) => hit || nameMatches),
  };
}
