// Rows on a phone are cards instead of columns: a name, and below it what tells most, each with its label; all the rest is in the row's panel.

export const NARROW = "(max-width: 600px)";
const SHOWN = 7; // columns of a card
const LINE = 42; // pixels of a label with its value; of what is around them, with the name; of files
const AROUND = 40;
const FILES = 30;

/**
 * Give the pixels of a card.
 * @param {number} columns that are drawn
 * @param {number} picture pixels of the picture that is the first of them; 0: it is none
 * @param {boolean} files whether each has files
 */
export function tall(columns, picture, files) {
  const values = Math.max(Math.min(columns, SHOWN) - (picture ? 2 : 1), 0);
  const high = AROUND + Math.ceil(values / 2) * LINE + (files ? FILES : 0);
  return picture ? Math.max(high, picture + AROUND / 2) : high;
}
