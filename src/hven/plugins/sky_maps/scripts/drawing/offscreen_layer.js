// An off-screen layer with the rows of a map. While the map moves, the finished layer is shifted and scaled; at rest it
// is painted again in slices of a few milliseconds per frame.
import { MapPlane } from "./map_plane.js";
import { PolarPlane } from "./polar_plane.js";
/** @import {Box} from "./map_plane.js" */

/** @typedef {{fill: string, stroke?: string, width?: number, size?: number}} ShapeStyle */

const SLICE_MILLISECONDS = 7; // painting time per frame
const MAX_IMMEDIATE_SHAPES = 3000; // this many shapes are painted without waiting
const REST_MILLISECONDS = 90; // painting starts after this pause
const SHAPES_PER_STROKE = 64; // shapes of large maps that share one stroke
const MARGIN_SHARE = 0.25; // share of the canvas that is painted beyond each edge

/** The painted rows of a map. */
export class OffscreenLayer {
  /** @type {Box[]} */
  boxes = [];
  /** @type {(box: Box) => ShapeStyle | null} */
  getStyle = () => null;
  /** @type {{canvas: HTMLCanvasElement, plane: MapPlane} | null} */
  finished = null;
  startTimer = 0;
  paintNumber = 0; // a newer painting stops older ones

  /** @param {() => void} onPainted called when a painting is finished */
  constructor(onPainted) {
    this.onPainted = onPainted;
  }

  /**
   * Set the boxes and their style.
   * @param {Box[]} boxes null: the box is not shown
   * @param {(box: Box) => ShapeStyle | null} getStyle null: the box is not shown
   */
  setBoxes(boxes, getStyle) {
    this.boxes = boxes;
    this.getStyle = getStyle;
    this.markStale();
  }

  /** Mark the layer as outdated. */
  markStale() {
    this.paintNumber++;
    this.isStale = true;
  }

  /**
   * Draw the layer for a plane.
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapPlane} plane
   */
  draw(ctx, plane) {
    const { finished } = this;
    const isCurrent =
      finished &&
      !this.isStale &&
      hasSameView(finished.plane, plane) &&
      finished.plane.lon === plane.lon &&
      finished.plane.lat === plane.lat;
    if (!isCurrent) {
      if (this.boxes.length <= MAX_IMMEDIATE_SHAPES) this.paintNow(plane);
      else this.schedulePainting(plane);
    }
    if (this.finished) copyBuffer(ctx, this.finished, plane);
  }

  /**
   * Paint the layer at once.
   * @param {MapPlane} plane
   */
  paintNow(plane) {
    const buffer = createBuffer(plane);
    for (const _ of this.iteratePainting(buffer)); // eslint-disable-line no-unused-vars
    this.finished = buffer;
    this.isStale = false;
  }

  /**
   * Paint the layer after a pause.
   * @param {MapPlane} plane
   */
  schedulePainting(plane) {
    clearTimeout(this.startTimer);
    const ownNumber = ++this.paintNumber;
    this.startTimer = setTimeout(() => this.startPainting(plane, ownNumber), REST_MILLISECONDS);
  }

  /**
   * Paint the layer in slices of a few milliseconds.
   * @param {MapPlane} plane
   * @param {number} ownNumber
   */
  startPainting(plane, ownNumber) {
    const buffer = createBuffer(plane);
    const steps = this.iteratePainting(buffer);
    const continuePainting = () => {
      if (ownNumber !== this.paintNumber) return;
      const deadline = performance.now() + SLICE_MILLISECONDS;
      while (performance.now() < deadline) {
        if (!steps.next().done) continue;
        this.finished = buffer;
        this.isStale = false;
        this.onPainted();
        return;
      }
      requestAnimationFrame(continuePainting);
    };
    continuePainting();
  }

  /**
   * Paint all shapes, with a pause after each batch.
   * @param {{canvas: HTMLCanvasElement, plane: MapPlane}} buffer
   */
  *iteratePainting({ canvas, plane }) {
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const isLarge = this.boxes.length > MAX_IMMEDIATE_SHAPES;
    let shapeCount = 0;
    /** @type {ShapeStyle | null} */
    let lastStyle = null;
    const finishStroke = () => {
      if (!lastStyle || !shapeCount) return;
      ctx.fill("evenodd");
      if (lastStyle.stroke) ctx.stroke();
      shapeCount = 0;
    };
    for (const box of this.boxes) {
      const style = this.getStyle(box);
      if (!style) continue;
      const isBatchable = isLarge && box.rings?.length && !plane.isSmall(box, 3);
      if (!isBatchable || !lastStyle || style.fill !== lastStyle.fill || shapeCount >= SHAPES_PER_STROKE) {
        finishStroke();
        lastStyle = null;
        yield;
      }
      if (!isBatchable) paintShape(ctx, plane, box, style);
      else {
        if (!shapeCount) {
          applyStyle(ctx, style);
          ctx.beginPath();
        }
        lastStyle = style;
        plane.traceRings(ctx, box, false);
        shapeCount++;
      }
    }
    finishStroke();
  }
}

/**
 * Return whether a buffer was painted for a view of this size and zoom.
 * @param {MapPlane} buffered
 * @param {MapPlane} mapPlane
 */
function hasSameView(buffered, mapPlane) {
  return (
    buffered.pole === mapPlane.pole &&
    buffered.zoom === mapPlane.zoom &&
    buffered.width === mapPlane.width * (1 + 2 * MARGIN_SHARE) &&
    buffered.height === mapPlane.height * (1 + 2 * MARGIN_SHARE)
  );
}

/**
 * Create an empty buffer for a plane, with a margin.
 * @param {MapPlane} plane
 */
function createBuffer(plane) {
  const canvas = document.createElement("canvas");
  canvas.width = plane.width * (1 + 2 * MARGIN_SHARE);
  canvas.height = plane.height * (1 + 2 * MARGIN_SHARE);
  const [width, height] = [plane.width * (1 + 2 * MARGIN_SHARE), plane.height * (1 + 2 * MARGIN_SHARE)];
  const bufferPlane =
    plane instanceof PolarPlane
      ? new PolarPlane(plane.frame, width, height, plane, plane.pole)
      : new MapPlane(plane.frame, width, height, plane);
  bufferPlane.scale = plane.scale; // same scale, larger extent
  if (bufferPlane instanceof PolarPlane && plane instanceof PolarPlane)
    bufferPlane.polePixel = plane.polePixel.map(
      (coordinate, axis) => coordinate + (axis ? plane.height : plane.width) * MARGIN_SHARE,
    );
  return { canvas, plane: bufferPlane };
}

/**
 * Copy the buffer to the canvas, shifted and scaled to the current view.
 * @param {CanvasRenderingContext2D} ctx
 * @param {{canvas: HTMLCanvasElement, plane: MapPlane}} done
 * @param {MapPlane} plane
 */
function copyBuffer(ctx, { canvas, plane: bufferPlane }, plane) {
  if (bufferPlane.pole !== plane.pole) return;
  const factor = plane.scale / bufferPlane.scale;
  const [x, y] = plane.toPixel(bufferPlane.lon, bufferPlane.lat);
  const [width, height] = [bufferPlane.width * factor, bufferPlane.height * factor];
  const fullCircle = 360 * plane.scale;
  for (const shift of plane.isCyclic && !plane.pole ? [-fullCircle, 0, fullCircle] : [0]) {
    const left = x - width / 2 + shift;
    if (left < plane.width && left + width > 0) ctx.drawImage(canvas, left, y - height / 2, width, height);
  }
}

/**
 * Set the fill, the stroke and the line width of a canvas.
 * @param {CanvasRenderingContext2D} ctx
 * @param {ShapeStyle} pen
 */
export function applyStyle(ctx, { fill, stroke, width = 0 }) {
  ctx.fillStyle = fill;
  ctx.lineWidth = width;
  if (stroke) ctx.strokeStyle = stroke;
}

/**
 * Paint a row, a cell or a region.
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapPlane} plane
 * @param {Box} box
 * @param {ShapeStyle} style
 */
export function paintShape(ctx, plane, box, style) {
  const ratio = devicePixelRatio || 1;
  const size = (style.size ?? 3) * ratio;
  applyStyle(ctx, style);
  const isTiny = !box.count && plane.isSmall(box, 3 * ratio);
  if (isTiny) {
    const [west, east] = plane.getLonSpan(box);
    const [x, y] = plane.toPixel((west + east) / 2, (box.south + box.north) / 2);
    if (x < -size || y < -size || x > plane.width + size || y > plane.height + size) return;
    ctx.beginPath();
    ctx.arc(x, y, size, 0, 2 * Math.PI);
    ctx.fill();
    if (style.stroke) ctx.stroke();
    return;
  }
  if (box.rings?.length || plane.pole) {
    ctx.beginPath();
    plane.traceRings(ctx, box, false);
    ctx.fill("evenodd");
    if (!style.stroke) return;
    ctx.beginPath();
    plane.traceRings(ctx, box, true);
    ctx.stroke();
    return;
  }
  for (const [left, top, width, height] of plane.listRectangles(box)) {
    if (box.count && !style.stroke) {
      const [x, y] = [Math.round(left), Math.round(top)]; // no seams between cells
      ctx.fillRect(x, y, Math.max(Math.round(left + width) - x, 2), Math.max(Math.round(top + height) - y, 2));
      continue;
    }
    ctx.fillRect(left, top, Math.max(width, 2), Math.max(height, 2));
    if (style.stroke) ctx.strokeRect(left, top, Math.max(width, 2), Math.max(height, 2));
  }
}
