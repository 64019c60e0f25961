// Pointer, touch, wheel and keyboard control of a time series.
import { createElement } from "hven/dom.js";
/** @import {TimePanel} from "./time_panel.js" */
/** @import {Timeline} from "../timeline.js" */

/** @typedef {{x: number, startX: number}} PointerTrack */

const CLICK_TOLERANCE_PIXELS = 3;

/**
 * Control the visible time with keys.
 * @param {HTMLElement} element
 * @param {Timeline} timeline
 */
export function listenToKeys(element, timeline) {
  const handlers = /** @type {Record<string, () => void>} */ ({
    ArrowLeft: () => timeline.move(-0.2),
    ArrowRight: () => timeline.move(0.2),
    PageUp: () => timeline.move(-0.9),
    PageDown: () => timeline.move(0.9),
    "+": () => timeline.zoom(0.5),
    "=": () => timeline.zoom(0.5),
    "-": () => timeline.zoom(2),
    0: () => timeline.show(...timeline.getFullView()),
    Home: () => timeline.show(...timeline.getFullView()),
    Enter: () => timeline.chooseTime(timeline.middle),
  });
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== element || !handlers[event.key]) return;
    event.preventDefault();
    handlers[event.key]();
  });
}

/**
 * Pointer control of a panel: drag moves; two fingers and the wheel zoom; Shift and drag zooms to the selection; a
 * click chooses a moment.
 */
export class TimelineGestures {
  /** @type {Map<number, PointerTrack>} */
  pointers = new Map();
  hasMoved = false;
  /** @type {HTMLElement | null} */
  selectionBox = null;
  /** The visible span when the gesture began.
   * @type {[number, number]} */
  startView = [0, 1];

  /**
   * @param {HTMLElement} overlay
   * @param {Timeline} timeline
   * @param {TimePanel} panel
   */
  constructor(overlay, timeline, panel) {
    this.overlay = overlay;
    this.timeline = timeline;
    overlay.addEventListener("wheel", (event) => this.handleWheel(event), { passive: false });
    overlay.addEventListener("pointerdown", (event) => this.handleDown(event));
    overlay.addEventListener("pointermove", (event) => this.handleMove(event));
    overlay.addEventListener("pointerup", (event) => this.handleUp(event));
    overlay.addEventListener("pointercancel", (event) => this.handleUp(event));
    overlay.addEventListener("dblclick", (event) => timeline.zoom(4, this.toTime(this.getX(event))));
    overlay.addEventListener("pointerleave", () => timeline.showReadouts(panel, null));
  }

  /**
   * Return the position of an event within the panel.
   * @param {MouseEvent} event
   */
  getX(event) {
    return event.clientX - this.overlay.getBoundingClientRect().left;
  }

  /**
   * Convert a position to a time.
   * @param {number} x
   */
  toTime(x, [from, to] = this.timeline.view) {
    return from + (x / this.overlay.clientWidth) * (to - from);
  }

  /** @param {WheelEvent} event */
  handleWheel(event) {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return this.timeline.move(event.deltaX / 1000);
    this.timeline.zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), this.toTime(this.getX(event)));
  }

  /** @param {PointerEvent} event */
  handleDown(event) {
    if (event.button) return;
    this.overlay.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: this.getX(event), startX: this.getX(event) });
    this.hasMoved = false;
    this.restart();
    if (event.shiftKey) this.overlay.append((this.selectionBox = createElement("div", { className: "chosen" })));
  }

  /** Restart the gesture when a pointer is added or removed. */
  restart() {
    this.startView = this.timeline.view;
    for (const pointer of this.pointers.values()) pointer.startX = pointer.x;
  }

  /** @param {PointerEvent} event */
  handleMove(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    pointer.x = this.getX(event);
    if (Math.abs(pointer.x - pointer.startX) > CLICK_TOLERANCE_PIXELS) this.hasMoved = true;
    if (!this.hasMoved) return;
    const [firstPointer, secondPointer] = this.pointers.values();
    const [from, to] = this.startView;
    if (this.selectionBox) {
      this.selectionBox.style.left = `${Math.min(pointer.x, pointer.startX)}px`;
      this.selectionBox.style.width = `${Math.abs(pointer.x - pointer.startX)}px`;
    } else if (secondPointer) this.pinch(firstPointer, secondPointer);
    else {
      const shift = ((pointer.startX - pointer.x) / this.overlay.clientWidth) * (to - from);
      this.timeline.show(from + shift, to + shift);
    }
  }

  /**
   * Zoom with two fingers: the times under them stay there.
   * @param {PointerTrack} first
   * @param {PointerTrack} second
   */
  pinch(first, second) {
    const [from, to] = this.startView;
    const ratio = Math.max(Math.abs(first.x - second.x), 10) / Math.max(Math.abs(first.startX - second.startX), 10);
    const duration = (to - from) / ratio;
    const middle = this.toTime((first.startX + second.startX) / 2, this.startView);
    const begin = middle - (((first.x + second.x) / 2) * duration) / this.overlay.clientWidth;
    this.timeline.show(begin, begin + duration);
  }

  /** @param {PointerEvent} event */
  handleUp(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    this.restart();
    const { selectionBox } = this;
    this.selectionBox = null;
    selectionBox?.remove();
    if (!pointer || event.type === "pointercancel") return;
    const [start, end] = [pointer.startX, pointer.x].sort((a, b) => a - b).map((x) => this.toTime(x));
    if (selectionBox && this.hasMoved) this.timeline.show(start, end);
    else if (!selectionBox && !this.hasMoved && !this.pointers.size) this.timeline.chooseTime(this.toTime(pointer.x));
    this.timeline.stack.focus({ preventScroll: true });
  }
}
