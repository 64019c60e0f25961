// Pointer, touch, wheel and keyboard control of a map: drag moves; two fingers and the wheel zoom; Shift and drag (or a
// switch) draws a box; a click selects.

/**
 * @typedef {{
 *   move: (x: number, y: number) => void,
 *   zoom: (times: number, index: number[]) => void,
 *   tap: (index: number[]) => void,
 *   hover: (index: number[] | null) => void,
 *   box: (from: number[], to: number[], done: boolean) => void,
 *   reset: () => void,
 * }} GestureHandlers
 */

const CLICK_TOLERANCE_PIXELS = 4;
const KEY_STEP_PIXELS = 60;

/** Translates pointer, touch, wheel and keys into calls of handlers, with canvas pixels. */
export class Gestures {
  /** @type {Map<number, number[]>} */
  pointers = new Map();
  /** @type {number[]} */
  startPixel = [0, 0];
  hasMoved = false;
  isDrawingBox = false; // the next drag draws a box
  isBox = false; // a box is being drawn
  isDrawingPolygon = false; // taps are corners, and a double click does not zoom

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {GestureHandlers} handlers
   */
  constructor(canvas, handlers) {
    this.canvas = canvas;
    this.handlers = handlers;
    canvas.addEventListener("wheel", (event) => this.handleWheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.handleDown(event));
    canvas.addEventListener("pointermove", (event) => this.handleMove(event));
    canvas.addEventListener("pointerup", (event) => this.handleUp(event));
    canvas.addEventListener("pointercancel", (event) => this.handleUp(event));
    canvas.addEventListener("pointerleave", () => {
      if (!this.pointers.size) handlers.hover(null);
    });
    canvas.addEventListener("dblclick", (event) => {
      if (!this.isDrawingPolygon) handlers.zoom(2, this.getPixel(event));
    });
    canvas.addEventListener("keydown", (event) => this.handleKey(event));
  }

  /**
   * Return the canvas pixel of a pointer.
   * @param {MouseEvent} event
   */
  getPixel(event) {
    const area = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / area.width;
    return [(event.clientX - area.left) * ratio, (event.clientY - area.top) * ratio];
  }

  /** @param {WheelEvent} event */
  handleWheel(event) {
    event.preventDefault();
    this.handlers.zoom(Math.exp(Math.max(-1, Math.min(1, -event.deltaY / 300))), this.getPixel(event));
  }

  /** @param {PointerEvent} event */
  handleDown(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.getPixel(event));
    if (this.pointers.size > 1) return;
    this.startPixel = this.getPixel(event);
    this.hasMoved = false;
    this.isBox = event.shiftKey || this.isDrawingBox;
  }

  /** @param {PointerEvent} event */
  handleMove(event) {
    const pixel = this.getPixel(event);
    const lastPixel = this.pointers.get(event.pointerId);
    if (!lastPixel) return this.handlers.hover(pixel);
    const otherPixel = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, pixel);
    if (Math.hypot(pixel[0] - this.startPixel[0], pixel[1] - this.startPixel[1]) > CLICK_TOLERANCE_PIXELS)
      this.hasMoved = true;
    if (!this.hasMoved && !otherPixel) return;
    if (otherPixel) return this.pinch(lastPixel, pixel, otherPixel);
    if (this.isBox) return this.handlers.box(this.startPixel, pixel, false);
    this.handlers.move(pixel[0] - lastPixel[0], pixel[1] - lastPixel[1]);
  }

  /**
   * Zoom with two fingers: the place between them stays there.
   * @param {number[]} lastPixel
   * @param {number[]} pixel
   * @param {number[]} otherPixel
   */
  pinch(lastPixel, pixel, otherPixel) {
    this.hasMoved = true;
    const measureDistance = (/** @type {number[]} */ point) =>
      Math.max(Math.hypot(point[0] - otherPixel[0], point[1] - otherPixel[1]), 10);
    this.handlers.move((pixel[0] - lastPixel[0]) / 2, (pixel[1] - lastPixel[1]) / 2);
    this.handlers.zoom(measureDistance(pixel) / measureDistance(lastPixel), [
      (pixel[0] + otherPixel[0]) / 2,
      (pixel[1] + otherPixel[1]) / 2,
    ]);
  }

  /** @param {PointerEvent} event */
  handleUp(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const pixel = this.getPixel(event);
    const { isBox, hasMoved } = this;
    this.isBox = false;
    if (event.type === "pointercancel") {
      if (isBox) this.handlers.box(this.startPixel, this.startPixel, true);
    } else if (isBox && hasMoved) this.handlers.box(this.startPixel, pixel, true);
    else if (!hasMoved) this.handlers.tap(this.startPixel);
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const middle = [this.canvas.width / 2, this.canvas.height / 2];
    const { move, zoom, tap, reset } = this.handlers;
    const handler = /** @type {Record<string, () => void>} */ ({
      ArrowLeft: () => move(KEY_STEP_PIXELS, 0),
      ArrowRight: () => move(-KEY_STEP_PIXELS, 0),
      ArrowUp: () => move(0, KEY_STEP_PIXELS),
      ArrowDown: () => move(0, -KEY_STEP_PIXELS),
      "+": () => zoom(1.5, middle),
      "=": () => zoom(1.5, middle),
      "-": () => zoom(1 / 1.5, middle),
      0: reset,
      Enter: () => tap(middle),
    })[event.key];
    if (!handler) return;
    event.preventDefault();
    handler();
  }
}
