// What pointers, fingers, the wheel and keys do over a map: drag moves, two fingers and the wheel zoom, Shift and drag (or a switch) draws a box, a click takes what is there.

/** @typedef {{move: (x: number, y: number) => void, zoom: (times: number, at: number[]) => void, tap: (at: number[]) => void, hover: (at: number[] | null) => void, box: (from: number[], to: number[], done: boolean) => void, reset: () => void}} Acts */

const FAR = 4; // pixels that a click may move
const STEP = 60; // pixels of a key

export class Gestures {
  /** @type {Map<number, number[]>} */
  down = new Map();
  /** @type {number[]} */
  first = [0, 0];
  moved = false;
  drawing = false; // what is dragged next is a box
  boxed = false; // a box is being drawn

  /**
   * @param {HTMLCanvasElement} over
   * @param {Acts} acts
   */
  constructor(over, acts) {
    this.over = over;
    this.acts = acts;
    over.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    over.addEventListener("pointerdown", (event) => this.begin(event));
    over.addEventListener("pointermove", (event) => this.go(event));
    over.addEventListener("pointerup", (event) => this.end(event));
    over.addEventListener("pointercancel", (event) => this.end(event));
    over.addEventListener("pointerleave", () => this.down.size || acts.hover(null));
    over.addEventListener("dblclick", (event) => acts.zoom(2, this.at(event)));
    over.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * Give the pixel of the canvas that a pointer is at.
   * @param {MouseEvent} event
   */
  at(event) {
    const area = this.over.getBoundingClientRect();
    const ratio = this.over.width / area.width;
    return [(event.clientX - area.left) * ratio, (event.clientY - area.top) * ratio];
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    this.acts.zoom(Math.exp(Math.max(-1, Math.min(1, -event.deltaY / 300))), this.at(event));
  }

  /** @param {PointerEvent} event */
  begin(event) {
    if (event.button) return;
    this.over.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, this.at(event));
    if (this.down.size > 1) return;
    this.first = this.at(event);
    this.moved = false;
    this.boxed = event.shiftKey || this.drawing;
  }

  /** @param {PointerEvent} event */
  go(event) {
    const now = this.at(event);
    const before = this.down.get(event.pointerId);
    if (!before) return this.acts.hover(now);
    const other = [...this.down].find(([id]) => id !== event.pointerId)?.[1];
    this.down.set(event.pointerId, now);
    if (Math.hypot(now[0] - this.first[0], now[1] - this.first[1]) > FAR) this.moved = true;
    if (!this.moved && !other) return;
    if (other) return this.pinch(before, now, other);
    if (this.boxed) return this.acts.box(this.first, now, false);
    this.acts.move(now[0] - before[0], now[1] - before[1]);
  }

  /**
   * Two fingers: what was between them stays there.
   * @param {number[]} before
   * @param {number[]} now
   * @param {number[]} other
   */
  pinch(before, now, other) {
    this.moved = true;
    const apart = (/** @type {number[]} */ one) => Math.max(Math.hypot(one[0] - other[0], one[1] - other[1]), 10);
    this.acts.move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    this.acts.zoom(apart(now) / apart(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
  }

  /** @param {PointerEvent} event */
  end(event) {
    if (!this.down.delete(event.pointerId) || this.down.size) return;
    const now = this.at(event);
    const { boxed, moved } = this;
    this.boxed = false;
    if (event.type === "pointercancel") {
      if (boxed) this.acts.box(this.first, this.first, true);
    } else if (boxed && moved) this.acts.box(this.first, now, true);
    else if (!moved) this.acts.tap(this.first);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const middle = [this.over.width / 2, this.over.height / 2];
    const { move, zoom, tap, reset } = this.acts;
    const act = /** @type {Record<string, () => void>} */ ({
      ArrowLeft: () => move(STEP, 0),
      ArrowRight: () => move(-STEP, 0),
      ArrowUp: () => move(0, STEP),
      ArrowDown: () => move(0, -STEP),
      "+": () => zoom(1.5, middle),
      "=": () => zoom(1.5, middle),
      "-": () => zoom(1 / 1.5, middle),
      0: reset,
      Enter: () => tap(middle),
    })[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
