// Plots in time: the pointer shows the time, and dragging across the panels opens the plot of that time span.
import { createElement, findElement, findElements, getEventTarget } from "hven/dom.js";
import { AreaDrawing, parseFrequencyAxis } from "./drawing/area_drawing.js";
/** @import {Workspace} from "hven/workspace.js" */

const CLICK_TOLERANCE_PIXELS = 5;
const MICROSECONDS_PER_MILLISECOND = 1000;

/**
 * Format a time of the plot: with fractions of a second only where the span is short.
 * @param {number} microseconds since 1970
 * @param {number} span in microseconds
 */
export function formatPlotTime(microseconds, span) {
  const text = new Date(microseconds / MICROSECONDS_PER_MILLISECOND).toISOString();
  return text.slice(0, span < 60e6 ? 23 : 19);
}

/**
 * Convert a place in a panel to a time.
 * @param {number} pixel
 * @param {{left: number, width: number}} box of the panel
 * @param {[number, number]} span
 */
export function findPlotTime(pixel, { left, width }, [start, stop]) {
  const share = Math.min(Math.max((pixel - left) / (width || 1), 0), 1);
  return start + share * (stop - start);
}

/** The panels of a plot. */
class PlotStack {
  /** @type {number | null} */
  dragStart = null;

  /**
   * @param {HTMLElement} container
   * @param {[number, number]} span in microseconds since 1970
   */
  constructor(container, span) {
    this.container = container;
    this.span = span;
    this.label = createElement("span");
    this.cursor = createElement("div", { className: "plot-cursor", hidden: true }, this.label);
    this.cursor.setAttribute("aria-hidden", "true");
    container.append(this.cursor);
    container.addEventListener("pointermove", (event) => this.moveCursor(event));
    container.addEventListener("pointerleave", () => this.hideCursor());
    container.addEventListener("pointerdown", (event) => this.startDrag(event));
    container.addEventListener("pointerup", (event) => this.endDrag(event));
    container.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.hideCursor();
    });
  }

  /** The box of the panels, in pixels of the window. */
  get box() {
    return findElement(this.container, ".plot-inside", SVGElement)?.getBoundingClientRect() ?? new DOMRect();
  }

  /** @param {PointerEvent} event */
  moveCursor(event) {
    if (event.pointerType === "touch") return; // touch scrolls the page
    const { box, container, cursor } = this;
    const offset = container.getBoundingClientRect().left;
    const pixel = Math.min(Math.max(event.clientX, box.left), box.right);
    const first = this.dragStart === null ? pixel : Math.min(this.dragStart, pixel);
    cursor.hidden = event.clientX < box.left - 1;
    cursor.classList.toggle("wide", this.dragStart !== null);
    cursor.style.left = `${first - offset}px`;
    cursor.style.width = this.dragStart === null ? "0" : `${Math.abs(pixel - this.dragStart)}px`;
    const [start, stop] = this.span;
    this.label.textContent = formatPlotTime(findPlotTime(pixel, box, this.span), stop - start).replace("T", " ");
  }

  hideCursor() {
    this.dragStart = null;
    this.cursor.hidden = true;
  }

  /** @param {PointerEvent} event */
  startDrag(event) {
    const target = getEventTarget(event);
    const isInside = target.closest(".plot-inside:not(.drawing)") && !target.closest("a");
    if (event.button !== 0 || event.pointerType === "touch" || !isInside) return;
    this.dragStart = event.clientX;
    event.preventDefault(); // no selection of texts
  }

  /** @param {PointerEvent} event */
  endDrag(event) {
    const { dragStart, box, span } = this;
    this.dragStart = null;
    if (dragStart === null || Math.abs(event.clientX - dragStart) < CLICK_TOLERANCE_PIXELS) return;
    const times = [dragStart, event.clientX].map((pixel) => findPlotTime(pixel, box, span)).sort((a, b) => a - b);
    const address = new URL(location.href);
    const [from, to] = times.map((time) => formatPlotTime(time, times[1] - times[0]));
    address.searchParams.set("_from", from);
    address.searchParams.set("_to", to);
    if (from < to) location.assign(address);
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export async function mount(container, { t }) {
  const [start, stop] = [Number(container.dataset.start), Number(container.dataset.stop)];
  if (!(start < stop)) return;
  new PlotStack(container, [start, stop]);
  for (const panel of findElements(container, ".plot-panel")) {
    const svg = findElement(panel, "svg[data-frequencies]", SVGSVGElement);
    const axis = parseFrequencyAxis(svg?.dataset.frequencies ?? "");
    const acts = findElement(panel, ".plot-acts");
    if (svg && axis && acts) new AreaDrawing(svg, acts, [start, stop], axis, t);
  }
}
