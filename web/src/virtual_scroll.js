// Virtual scrolling: only rows in view are elements, the others are represented by fillers.

export const ROW_HEIGHT_PIXELS = 28;
// browsers do not support much taller elements; longer lists are scrolled in larger steps
const MAX_CONTENT_PIXELS = 8_000_000;
const EXTRA_ROWS = 12; // rows drawn above and below the view
const FOOT_PIXELS = 8; // below the last row

/** The geometry of a scrolled list at a scroll position. */
export class VirtualScroll {
  /**
   * @param {number} rowCount number of rows
   * @param {number} boxHeight pixels of the box
   * @param {number} scrollTop pixels
   * @param {number} [rowHeight] pixels
   */
  constructor(rowCount, boxHeight, scrollTop, rowHeight = ROW_HEIGHT_PIXELS) {
    this.rowCount = rowCount;
    this.boxHeight = boxHeight;
    this.scrollTop = scrollTop;
    this.rowHeight = rowHeight;
  }

  /** Whether the list exceeds the tallest element, so that a pixel is more than its share of a row. */
  get isScaled() {
    return this.rowCount * this.rowHeight > MAX_CONTENT_PIXELS;
  }

  get rowsPerPixel() {
    return this.isScaled
      ? (this.rowCount - this.rowsInView) / (MAX_CONTENT_PIXELS - this.boxHeight)
      : 1 / this.rowHeight;
  }

  /** The number of rows in view, below the headings. */
  get rowsInView() {
    return Math.ceil((this.boxHeight - ROW_HEIGHT_PIXELS) / this.rowHeight);
  }

  /** The first row in view. */
  get firstRow() {
    return Math.max(
      0,
      Math.min(Math.floor(this.scrollTop * this.rowsPerPixel), Math.max(this.rowCount - this.rowsInView, 0)),
    );
  }

  /** The range of rows to draw. */
  get drawnRange() {
    return [
      Math.max(0, this.firstRow - EXTRA_ROWS),
      Math.min(this.rowCount, this.firstRow + this.rowsInView + EXTRA_ROWS),
    ];
  }

  /**
   * Compute the heights above and below the drawn rows.
   * @param {number} start
   * @param {number} end
   */
  computeFillers(start, end) {
    const contentHeight = Math.min(this.rowCount * this.rowHeight, MAX_CONTENT_PIXELS);
    const drawnHeight = (end - start) * this.rowHeight;
    const scaledAbove = Math.min(
      this.scrollTop - (this.firstRow - start) * this.rowHeight,
      contentHeight - drawnHeight,
    );
    const heightAbove = Math.max(this.isScaled ? scaledAbove : start * this.rowHeight, 0);
    return [heightAbove, Math.max(contentHeight - heightAbove - drawnHeight, 0) + FOOT_PIXELS];
  }

  /**
   * Return the scroll position at which a row is the first in view.
   * @param {number} row
   */
  getScrollTop(row) {
    return this.isScaled ? row / this.rowsPerPixel : row * this.rowHeight;
  }

  /**
   * Return the scroll position that brings a row into view; null if it is in view.
   * @param {number} row
   */
  getScrollTopInView(row) {
    const { firstRow, rowsInView } = this;
    if (row >= firstRow && row < firstRow + rowsInView - 1) return null;
    return this.isScaled
      ? this.getScrollTop(row)
      : Math.max(0, this.getScrollTop(row < firstRow ? row : row - rowsInView + 2));
  }
}

/**
 * Compute the height of a list without scrolling.
 * @param {number} rowCount
 * @param {number} headHeight pixels of the headings
 * @param {number} [rowHeight] pixels of a row
 */
export function computeFullHeight(rowCount, headHeight, rowHeight = ROW_HEIGHT_PIXELS) {
  return (headHeight || ROW_HEIGHT_PIXELS) + rowCount * rowHeight + FOOT_PIXELS;
}
