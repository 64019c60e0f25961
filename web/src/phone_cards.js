// Phones show rows as cards: a title and the most important values with their labels. The panel of the row has all
// values.

export const PHONE_MEDIA_QUERY = "(max-width: 600px)";
const MAX_CARD_COLUMNS = 7;
const LINE_PIXELS = 42; // height of a label with its value
const PADDING_PIXELS = 40;
const FILES_PIXELS = 30;

/**
 * Compute the height of a card in pixels.
 * @param {number} columnCount number of displayed columns
 * @param {number} picturePixels size of the leading picture; 0 if there is none
 * @param {boolean} hasFiles whether rows have files
 */
export function computeCardHeight(columnCount, picturePixels, hasFiles) {
  const valueCount = Math.max(Math.min(columnCount, MAX_CARD_COLUMNS) - (picturePixels ? 2 : 1), 0);
  // The first value, usually a time range, has a whole line beside a picture: half a line would cut it.
  const lineCount = picturePixels
    ? Math.min(valueCount, 1) + Math.ceil(Math.max(valueCount - 1, 0) / 2)
    : Math.ceil(valueCount / 2);
  const height = PADDING_PIXELS + lineCount * LINE_PIXELS + (hasFiles ? FILES_PIXELS : 0);
  return picturePixels ? Math.max(height, picturePixels + PADDING_PIXELS / 2) : height;
}
