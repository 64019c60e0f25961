// Queries as texts: where a fault is and what would mend it, which were run before, which tables and columns have a word.
/** @import {Translate} from "./answers.js" */

/** @typedef {{message: string, remedy?: string, line?: number, column?: number, offset?: number, meant?: string}} Checked a fault */
/**
 * @typedef {object} Words what the editor completes
 * @property {{name: string, columns: {name: string, unit: string, description: string}[]}[]} tables
 * @property {{name: string, forms: string[], description: string}[]} functions
 * @property {string[]} words
 */

const KEPT = 30; // queries that the history remembers, in this browser alone

/**
 * Give the place of a fault in what is written; null: it has none.
 * @param {string} text
 * @param {number | undefined} offset
 */
export function spot(text, offset) {
  if (offset === undefined) return null;
  const shift = text.length - text.trimStart().length; // the server reads it without the blanks before it
  const from = Math.min(offset + shift, text.length);
  const length = /^[\w".]+/.exec(text.slice(from))?.[0].length ?? 1;
  return { from, to: Math.min(from + length, text.length) };
}

/**
 * Give where the part begins that a word is to replace: of t.colum the column alone is another one.
 * @param {string} text
 * @param {number} from
 * @param {number} to
 * @param {string} word
 */
export function replaced(text, from, to, word) {
  return word.includes(".") ? from : from + text.slice(from, to).lastIndexOf(".") + 1;
}

/**
 * @param {Checked} fault
 * @param {Translate} t
 */
export function said(fault, t) {
  const place = fault.line ? `${t("line {line}, column {column}", fault)}: ` : "";
  return `${place}${fault.message}${fault.remedy ? ` \u2013 ${fault.remedy}` : ""}`;
}

/**
 * Give the queries to be remembered, the last first.
 * @param {string[]} before
 * @param {string} text
 */
export function added(before, text) {
  return [text, ...before.filter((one) => one !== text)].slice(0, KEPT);
}

/**
 * Tell what of a table is shown to who looks for a word: the table, open or not, and which of its columns.
 * @param {string} wanted in small letters; empty: everything
 * @param {string} name
 * @param {string[]} columns
 */
export function lookedFor(wanted, name, columns) {
  const named = name.toLowerCase().includes(wanted);
  const hits = columns.map((one) => one.toLowerCase().includes(wanted));
  const some = hits.includes(true);
  return {
    shown: !wanted || named || some,
    open: Boolean(wanted) && some && !named,
    columns: hits.map((hit) => hit || named),
  };
}
