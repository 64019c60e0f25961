// Pointers, fingers, the wheel and keys: they move and zoom the times that panels show.
import { make } from "./dom.js";
/** @import {Panel} from "./panels.js" */
/** @import {Timeline} from "./timeline.js" */

/** @typedef {{x: number, first: number}} Finger */

const FAR = 3; // pixels that a click may move

/**
 * Let keys move what is shown.
 * @param {HTMLElement} element
 * @param {Timeline} timeline
 */
export function keys(element, timeline) {
  const acts = /** @type {Record<string, () => void>} */ ({
    ArrowLeft: () => timeline.move(-0.2),
    ArrowRight: () => timeline.move(0.2),
    PageUp: () => timeline.move(-0.9),
    PageDown: () => timeline.move(0.9),
    "+": () => timeline.zoom(0.5),
    "=": () => timeline.zoom(0.5),
    "-": () => timeline.zoom(2),
    0: () => timeline.show(...timeline.first()),
    Home: () => timeline.show(...timeline.first()),
    Enter: () => timeline.take(timeline.middle),
  });
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== element || !acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  });
}

/** What pointers do over one panel: drag moves, two fingers and the wheel zoom, Shift and drag shows what is marked, a click takes a moment. */
export class Hands {
  /** @type {Map<number, Finger>} */
  down = new Map();
  moved = false;
  /** @type {HTMLElement | null} */
  marked = null;
  /** What was shown when it began.
   * @type {[number, number]} */
  before = [0, 1];

  /**
   * @param {HTMLElement} over
   * @param {Timeline} timeline
   * @param {Panel} panel
   */
  constructor(over, timeline, panel) {
    this.over = over;
    this.timeline = timeline;
    over.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    over.addEventListener("pointerdown", (event) => this.begin(event));
    over.addEventListener("pointermove", (event) => this.go(event));
    over.addEventListener("pointerup", (event) => this.end(event));
    over.addEventListener("pointercancel", (event) => this.end(event));
    over.addEventListener("dblclick", (event) => timeline.zoom(4, this.time(this.place(event))));
    over.addEventListener("pointerleave", () => timeline.pointed(panel, null));
  }

  /** @param {MouseEvent} event */
  place(event) {
    return event.clientX - this.over.getBoundingClientRect().left;
  }

  /** @param {number} x */
  time(x, [from, to] = this.timeline.view) {
    return from + (x / this.over.clientWidth) * (to - from);
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return this.timeline.move(event.deltaX / 1000);
    this.timeline.zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), this.time(this.place(event)));
  }

  /** @param {PointerEvent} event */
  begin(event) {
    if (event.button) return;
    this.over.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, { x: this.place(event), first: this.place(event) });
    this.moved = false;
    this.anew();
    if (event.shiftKey) this.over.append((this.marked = make("div", { className: "chosen" })));
  }

  /** Fingers have come or gone: what moves counts from here. */
  anew() {
    this.before = this.timeline.view;
    for (const one of this.down.values()) one.first = one.x;
  }

  /** @param {PointerEvent} event */
  go(event) {
    const one = this.down.get(event.pointerId);
    if (!one) return;
    one.x = this.place(event);
    if (Math.abs(one.x - one.first) > FAR) this.moved = true;
    if (!this.moved) return;
    const [first, second] = this.down.values();
    const [from, to] = this.before;
    if (this.marked) {
      this.marked.style.left = `${Math.min(one.x, one.first)}px`;
      this.marked.style.width = `${Math.abs(one.x - one.first)}px`;
    } else if (second) this.pinch(first, second);
    else {
      const by = ((one.first - one.x) / this.over.clientWidth) * (to - from);
      this.timeline.show(from + by, to + by);
    }
  }

  /**
   * Two fingers: what was under each stays under it.
   * @param {Finger} one
   * @param {Finger} other
   */
  pinch(one, other) {
    const [from, to] = this.before;
    const apart = Math.max(Math.abs(one.x - other.x), 10) / Math.max(Math.abs(one.first - other.first), 10);
    const length = (to - from) / apart;
    const middle = this.time((one.first + other.first) / 2, this.before);
    const begin = middle - (((one.x + other.x) / 2) * length) / this.over.clientWidth;
    this.timeline.show(begin, begin + length);
  }

  /** @param {PointerEvent} event */
  end(event) {
    const one = this.down.get(event.pointerId);
    this.down.delete(event.pointerId);
    this.anew();
    const { marked } = this;
    this.marked = null;
    marked?.remove();
    if (!one || event.type === "pointercancel") return;
    const [first, last] = [one.first, one.x].sort((a, b) => a - b).map((x) => this.time(x));
    if (marked && this.moved) this.timeline.show(first, last);
    else if (!marked && !this.moved && !this.down.size) this.timeline.take(this.time(one.x));
    this.timeline.stack.focus({ preventScroll: true });
  }
}
