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
  // beside a picture the first value, mostly a time from and to, has the line for itself: in half of it its end would be cut
  const lines = picture ? Math.min(values, 1) + Math.ceil(Math.max(values - 1, 0) / 2) : Math.ceil(values / 2);
  const high = AROUND + lines * LINE + (files ? FILES : 0);
  return picture ? Math.max(high, picture + AROUND / 2) : high;
}
