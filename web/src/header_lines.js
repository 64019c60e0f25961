// The header of a row and its file as lines of keyword, value, unit and meaning, and as FITS cards.
/** @import {Column, FileHeader, Value} from "./answers.js" */

/**
 * @typedef {{
 *   keyword: string,
 *   value: string,
 *   unit?: string,
 *   meaning?: string,
 *   href?: string,
 *   note?: boolean,
 * }} HeaderLine
 */
/** @typedef {{title: string, lines: HeaderLine[]}} HeaderSection */

/**
 * List the header lines of a row.
 * @param {Column[]} columns
 * @param {Value[]} row
 * @returns {HeaderLine[]}
 */
export function listRowLines(columns, row) {
  return columns.map(({ name, unit, description }, index) => ({
    keyword: name,
    ...readValue(row[index]),
    unit,
    meaning: description,
  }));
}

/**
 * Read the text and the link of a value; numbers have all digits.
 * @param {Value} value
 */
function readValue(value) {
  if (value === null) return { value: "", href: "" };
  if (typeof value === "string") return { value, href: "" };
  const isFullNumber = value.title && !value.href && /^[-+.\de]+$/i.test(value.title);
  return { value: (isFullNumber ? value.title : value.href || value.text) ?? "", href: value.href ?? "" };
}

/**
 * List the header lines of a file. Units stand in square brackets at the start of a comment (FITS 4.0, section 4.3.2).
 * @param {FileHeader["hdus"][number]} hdu
 * @returns {HeaderLine[]}
 */
export function listFileLines({ cards, notes }) {
  const lines = cards.map(({ keyword, value, comment }) => {
    const [, unit = "", meaning = comment] = /^\[([^\]]*)\]\s*(.*)$/.exec(comment) ?? [];
    return { keyword, value, unit, meaning };
  });
  return [...lines, ...notes.map(({ keyword, text }) => ({ keyword, value: text, note: true }))];
}

/**
 * Return whether a line contains a word.
 * @param {HeaderLine} line
 * @param {string} word in lower case
 */
export function containsWord({ keyword, value, unit, meaning }, word) {
  return [keyword, value, unit, meaning].some((field) => field?.toLowerCase().includes(word));
}

/**
 * Format lines as cards of a FITS header.
 * @param {HeaderLine[]} lines
 */
export function formatFitsCards(lines) {
  const width = Math.max(8, ...lines.map((line) => line.keyword.length));
  return lines.map(({ keyword, value, unit, meaning, note }) => {
    if (note) return `${keyword.padEnd(8)} ${value}`.trimEnd();
    const comment = [unit && `[${unit}]`, meaning].filter(Boolean).join(" ");
    return `${keyword.padEnd(width)} = ${(value ?? "").padEnd(24)}${comment ? ` / ${comment}` : ""}`.trimEnd();
  });
}
