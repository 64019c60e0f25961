// Where rows stand in a box that is scrolled: of as many as there are only those in sight are drawn, the others are heights alone.

export const HEIGHT = 28; // pixels of a row
const TALLEST = 8_000_000; // pixels: browsers know no much taller element; more rows than that are scrolled in bigger steps
const EXTRA = 12; // rows drawn above and below those in sight
const FOOT = 8; // pixels below the last row

export class Scroll {
  /**
   * @param {number} total rows
   * @param {number} tall pixels of the box
   * @param {number} top pixels that it is scrolled
   * @param {number} [height] pixels of a row
   */
  constructor(total, tall, top, height = HEIGHT) {
    this.total = total;
    this.tall = tall;
    this.top = top;
    this.height = height;
  }

  /** Whether there are so many rows that a pixel is more than its part of one. */
  get scaled() {
    return this.total * this.height > TALLEST;
  }

  get rowsPerPixel() {
    return this.scaled ? (this.total - this.seen) / (TALLEST - this.tall) : 1 / this.height;
  }

  /** How many rows there is room for, below the head. */
  get seen() {
    return Math.ceil((this.tall - HEIGHT) / this.height);
  }

  /** The first row in sight. */
  get first() {
    return Math.max(0, Math.min(Math.floor(this.top * this.rowsPerPixel), Math.max(this.total - this.seen, 0)));
  }

  /** The rows to be drawn, from the first to before the last. */
  get range() {
    return [Math.max(0, this.first - EXTRA), Math.min(this.total, this.first + this.seen + EXTRA)];
  }

  /**
   * Give the pixels above and below rows that are drawn.
   * @param {number} begin
   * @param {number} end
   */
  fillers(begin, end) {
    const all = Math.min(this.total * this.height, TALLEST);
    const drawn = (end - begin) * this.height;
    const scaled = Math.min(this.top - (this.first - begin) * this.height, all - drawn);
    const above = Math.max(this.scaled ? scaled : begin * this.height, 0);
    return [above, Math.max(all - above - drawn, 0) + FOOT];
  }

  /**
   * Give where to scroll to so that a row is the first in sight.
   * @param {number} row
   */
  to(row) {
    return this.scaled ? row / this.rowsPerPixel : row * this.height;
  }

  /**
   * Give where to scroll to so that a row comes into sight; null: it is.
   * @param {number} row
   */
  towards(row) {
    const { first, seen } = this;
    if (row >= first && row < first + seen - 1) return null;
    return this.scaled ? this.to(row) : Math.max(0, this.to(row < first ? row : row - seen + 2));
  }
}

/**
 * Give the pixels that a few rows need, all of them in sight.
 * @param {number} total
 * @param {number} head pixels of the head
 * @param {number} [height] pixels of a row
 */
export function whole(total, head, height = HEIGHT) {
  return (head || HEIGHT) + total * height + FOOT;
}
