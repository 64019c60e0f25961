// Rows of a map, painted once on a sheet beside the canvas: while one moves and zooms the sheet is moved and stretched, however many outlines are on it,
// and painted anew, a few milliseconds of each picture, as soon as the map rests.
import { Plane } from "./plane.js";
import { Pole } from "./poles.js";
/** @import {Box} from "./plane.js" */

/** @typedef {{fill: string, stroke?: string, width?: number, size?: number}} Pen */

const SLICE = 7; // milliseconds of painting in one picture
const AT_ONCE = 3000; // shapes that are painted without waiting
const REST = 90; // milliseconds without a movement
const BUNCH = 64; // shapes that are drawn in one stroke where they are many
const MARGIN = 0.25; // of the canvas, painted beside it

export class Sheet {
  /** @type {Box[]} */
  boxes = [];
  /** @type {(box: Box) => Pen | null} */
  pen = () => null;
  /** @type {{canvas: HTMLCanvasElement, plane: Plane} | null} */
  done = null;
  later = 0;
  turn = 0; // of painting: what a newer one overtakes stops

  /** @param {() => void} drawn is called when there is more to show */
  constructor(drawn) {
    this.drawn = drawn;
  }

  /**
   * @param {Box[]} list
   * @param {(box: Box) => Pen | null} pen null: the box is not shown
   */
  set(list, pen) {
    this.boxes = list;
    this.pen = pen;
    this.fresh();
  }

  /** Paint anew. */
  fresh() {
    this.turn++;
    this.stale = true;
  }

  /**
   * Show the sheet as a plane wants it.
   * @param {CanvasRenderingContext2D} ctx
   * @param {Plane} plane
   */
  draw(ctx, plane) {
    const { done } = this;
    const same =
      done && !this.stale && like(done.plane, plane) && done.plane.lon === plane.lon && done.plane.lat === plane.lat;
    if (!same) {
      if (this.boxes.length <= AT_ONCE) this.now(plane);
      else this.soon(plane);
    }
    if (this.done) lay(ctx, this.done, plane);
  }

  /** @param {Plane} plane */
  now(plane) {
    const made = sheet(plane);
    for (const _ of this.painting(made)); // eslint-disable-line no-unused-vars
    this.done = made;
    this.stale = false;
  }

  /** @param {Plane} plane */
  soon(plane) {
    clearTimeout(this.later);
    const turn = ++this.turn;
    this.later = setTimeout(() => this.begin(plane, turn), REST);
  }

  /**
   * @param {Plane} plane
   * @param {number} turn
   */
  begin(plane, turn) {
    const made = sheet(plane);
    const steps = this.painting(made);
    const go = () => {
      if (turn !== this.turn) return;
      const until = performance.now() + SLICE;
      while (performance.now() < until) {
        if (!steps.next().done) continue;
        this.done = made;
        this.stale = false;
        this.drawn();
        return;
      }
      requestAnimationFrame(go);
    };
    go();
  }

  /**
   * Paint everything, some at a time.
   * @param {{canvas: HTMLCanvasElement, plane: Plane}} made
   */
  *painting({ canvas, plane }) {
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const many = this.boxes.length > AT_ONCE;
    let number = 0;
    /** @type {Pen | null} */
    let last = null;
    const close = () => {
      if (!last || !number) return;
      ctx.fill("evenodd");
      if (last.stroke) ctx.stroke();
      number = 0;
    };
    for (const box of this.boxes) {
      const pen = this.pen(box);
      if (!pen) continue;
      const simple = many && box.rings?.length && !plane.small(box, 3);
      if (!simple || !last || pen.fill !== last.fill || number >= BUNCH) {
        close();
        last = null;
        yield;
      }
      if (!simple) paint(ctx, plane, box, pen);
      else {
        if (!number) {
          styled(ctx, pen);
          ctx.beginPath();
        }
        last = pen;
        plane.trace(ctx, box, false);
        number++;
      }
    }
    close();
  }
}

/**
 * @param {Plane} one
 * @param {Plane} other
 */
function like(one, other) {
  return (
    one.pole === other.pole &&
    one.zoom === other.zoom &&
    one.width === other.width * (1 + 2 * MARGIN) &&
    one.height === other.height * (1 + 2 * MARGIN)
  );
}

/**
 * Make an empty sheet for what a plane shows, and what is beside it.
 * @param {Plane} plane
 */
function sheet(plane) {
  const canvas = document.createElement("canvas");
  canvas.width = plane.width * (1 + 2 * MARGIN);
  canvas.height = plane.height * (1 + 2 * MARGIN);
  const [width, height] = [plane.width * (1 + 2 * MARGIN), plane.height * (1 + 2 * MARGIN)];
  const made =
    plane instanceof Pole
      ? new Pole(plane.frame, width, height, plane, plane.pole)
      : new Plane(plane.frame, width, height, plane);
  made.scale = plane.scale; // as large, with more around it
  if (made instanceof Pole && plane instanceof Pole) made.middle = plane.middle.map((one, at) => one + (at ? plane.height : plane.width) * MARGIN); // prettier-ignore
  return { canvas, plane: made };
}

/**
 * Lay a sheet on the canvas, moved and stretched to where it belongs now.
 * @param {CanvasRenderingContext2D} ctx
 * @param {{canvas: HTMLCanvasElement, plane: Plane}} done
 * @param {Plane} plane
 */
function lay(ctx, { canvas, plane: was }, plane) {
  if (was.pole !== plane.pole) return;
  const times = plane.scale / was.scale;
  const [x, y] = plane.point(was.lon, was.lat);
  const [wide, high] = [was.width * times, was.height * times];
  const whole = 360 * plane.scale;
  for (const turn of plane.round && !plane.pole ? [-whole, 0, whole] : [0]) {
    const left = x - wide / 2 + turn;
    if (left < plane.width && left + wide > 0) ctx.drawImage(canvas, left, y - high / 2, wide, high);
  }
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {Pen} pen
 */
export function styled(ctx, { fill, stroke, width = 0 }) {
  ctx.fillStyle = fill;
  ctx.lineWidth = width;
  if (stroke) ctx.strokeStyle = stroke;
}

/**
 * Paint one row, cell or region.
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 * @param {Box} box
 * @param {Pen} pen
 */
export function paint(ctx, plane, box, pen) {
  const ratio = devicePixelRatio || 1;
  const size = (pen.size ?? 3) * ratio;
  styled(ctx, pen);
  const tiny = !box.count && plane.small(box, 3 * ratio);
  if (tiny) {
    const [west, east] = plane.span(box);
    const [x, y] = plane.point((west + east) / 2, (box.south + box.north) / 2);
    if (x < -size || y < -size || x > plane.width + size || y > plane.height + size) return;
    ctx.beginPath();
    ctx.arc(x, y, size, 0, 2 * Math.PI);
    ctx.fill();
    if (pen.stroke) ctx.stroke();
    return;
  }
  if (box.rings?.length || plane.pole) {
    ctx.beginPath();
    plane.trace(ctx, box, false);
    ctx.fill("evenodd");
    if (!pen.stroke) return;
    ctx.beginPath();
    plane.trace(ctx, box, true);
    ctx.stroke();
    return;
  }
  for (const [left, top, wide, high] of plane.rectangles(box)) {
    if (box.count && !pen.stroke) {
      const [x, y] = [Math.round(left), Math.round(top)]; // cells without seams
      ctx.fillRect(x, y, Math.max(Math.round(left + wide) - x, 2), Math.max(Math.round(top + high) - y, 2));
      continue;
    }
    ctx.fillRect(left, top, Math.max(wide, 2), Math.max(high, 2));
    if (pen.stroke) ctx.strokeRect(left, top, Math.max(wide, 2), Math.max(high, 2));
  }
}
