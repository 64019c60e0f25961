// The lines of a header: what a row and its file say, as keyword, value, unit and meaning, and as cards of a FITS header.
/** @import {Column, FileHeader, Value} from "./answers.js" */

/** @typedef {{keyword: string, value: string, unit?: string, said?: string, href?: string, note?: boolean}} Line */
/** @typedef {{title: string, lines: Line[]}} Part */

/**
 * Give the lines of a row.
 * @param {Column[]} columns
 * @param {Value[]} row
 * @returns {Line[]}
 */
export function ofRow(columns, row) {
  return columns.map(({ name, unit, description }, at) => ({
    keyword: name,
    ...valued(row[at]),
    unit,
    said: description,
  }));
}

/** @param {Value} value */
function valued(value) {
  if (value === null) return { value: "", href: "" };
  if (typeof value === "string") return { value, href: "" };
  const whole = value.title && !value.href && /^[-+.\de]+$/i.test(value.title);
  return { value: (whole ? value.title : value.href || value.text) ?? "", href: value.href ?? "" };
}

/**
 * Give the lines of a header of a file; units stand in square brackets at the beginning of a comment (FITS 4.0 section 4.3.2).
 * @param {FileHeader["hdus"][number]} hdu
 * @returns {Line[]}
 */
export function ofFile({ cards, notes }) {
  const lines = cards.map(({ keyword, value, comment }) => {
    const [, unit = "", said = comment] = /^\[([^\]]*)\]\s*(.*)$/.exec(comment) ?? [];
    return { keyword, value, unit, said };
  });
  return [...lines, ...notes.map(({ keyword, text }) => ({ keyword, value: text, note: true }))];
}

/**
 * Tell whether a line has a word.
 * @param {Line} line
 * @param {string} wanted in small letters
 */
export function fits({ keyword, value, unit, said }, wanted) {
  return [keyword, value, unit, said].some((one) => one?.toLowerCase().includes(wanted));
}

/**
 * Write lines as cards of a FITS header.
 * @param {Line[]} lines
 */
export function written(lines) {
  const width = Math.max(8, ...lines.map((line) => line.keyword.length));
  return lines.map(({ keyword, value, unit, said, note }) => {
    if (note) return `${keyword.padEnd(8)} ${value}`.trimEnd();
    const comment = [unit && `[${unit}]`, said].filter(Boolean).join(" ");
    return `${keyword.padEnd(width)} = ${(value ?? "").padEnd(24)}${comment ? ` / ${comment}` : ""}`.trimEnd();
  });
}
