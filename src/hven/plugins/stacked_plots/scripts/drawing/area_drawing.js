// Draws an area in time and frequency over a spectrogram, with the pointer or the keyboard; the plot then searches in
// it.
import { createButton, createElement } from "hven/dom.js";

/** @typedef {{low: number, high: number, isLogarithmic: boolean}} FrequencyAxis in Hz */
/** @typedef {(text: string, values?: Record<string, unknown>) => string} Translate */

const INSIDE_WIDTH = 1000; // of the SVG, for any time span
const KEY_STEP_PIXELS = 10;
const CLOSING_PIXELS = 8; // a click this near to the first corner closes the area
const MIN_CORNERS = 3;
const MAX_CORNERS = 100;
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/**
 * Parse the axis of a spectrogram; null if the text is none.
 * @param {string} text lowest and highest frequency, and `log` or `linear`
 * @returns {FrequencyAxis | null}
 */
export function parseFrequencyAxis(text) {
  const [low, high, kind] = text.split(" ");
  const axis = { low: Number(low), high: Number(high), isLogarithmic: kind === "log" };
  return axis.high > axis.low && (axis.low > 0 || !axis.isLogarithmic) ? axis : null;
}

/**
 * Convert a height in a spectrogram to a frequency in Hz.
 * @param {number} share 0 at the bottom, 1 at the top
 * @param {FrequencyAxis} axis
 */
export function findFrequency(share, { low, high, isLogarithmic }) {
  const inside = Math.min(Math.max(share, 0), 1);
  return isLogarithmic ? low * (high / low) ** inside : low + inside * (high - low);
}

/**
 * Write corners as the area of an address.
 * @param {number[][]} corners shares across and upwards
 * @param {[number, number]} span in microseconds since 1970
 * @param {FrequencyAxis} axis
 */
export function formatArea(corners, [start, stop], axis) {
  return corners
    .map(([across, upwards]) => {
      const time = new Date((start + across * (stop - start)) / 1000).toISOString().slice(0, -1);
      return `${time} ${Number(findFrequency(upwards, axis).toPrecision(6))}`;
    })
    .join(", ");
}

/** The drawing of an area over one spectrogram. */
export class AreaDrawing {
  /** @type {number[][]} shares across and upwards */
  corners = [];
  /** @type {number[]} */
  pointer = [0.5, 0.5];
  isActive = false;

  /**
   * @param {SVGSVGElement} svg
   * @param {HTMLElement} acts where the button is
   * @param {[number, number]} span
   * @param {FrequencyAxis} axis
   * @param {Translate} t
   */
  constructor(svg, acts, span, axis, t) {
    this.svg = svg;
    this.span = span;
    this.axis = axis;
    this.t = t;
    this.button = createButton(t("Draw an area"), () => (this.isActive ? this.stop() : this.begin()));
    this.button.setAttribute("aria-pressed", "false");
    // over the spectrogram, which must not move while it is drawn on
    this.status = createElement("p", { className: "plot-status", role: "status", hidden: true });
    acts.prepend(this.button);
    svg.after(this.status);
    this.path = document.createElementNS(SVG_NAMESPACE, "path");
    this.path.setAttribute("class", "area");
    svg.addEventListener("click", (event) => this.handleClick(event));
    svg.addEventListener("pointermove", (event) => this.handleMove(event));
    svg.addEventListener("dblclick", () => this.finish());
    svg.addEventListener("keydown", (event) => this.handleKey(event));
  }

  begin() {
    this.isActive = true;
    this.corners = [];
    this.pointer = [0.5, 0.5];
    this.button.setAttribute("aria-pressed", "true");
    this.svg.classList.add("drawing");
    this.svg.append(this.path);
    this.svg.tabIndex = 0;
    this.svg.focus();
    this.status.hidden = false;
    this.status.textContent = this.t(
      "Click the corners, and the first one again to search. Keys: arrows move, Space sets a corner, Enter searches.",
    );
    this.draw();
  }

  stop() {
    this.isActive = false;
    this.button.setAttribute("aria-pressed", "false");
    this.svg.classList.remove("drawing");
    this.svg.removeAttribute("tabindex");
    this.path.remove();
    this.status.hidden = true;
    this.button.focus();
  }

  /**
   * Return the place of a pointer: shares across and upwards.
   * @param {MouseEvent} event
   */
  getPlace({ clientX, clientY }) {
    const box = this.svg.getBoundingClientRect();
    const clamp = (/** @type {number} */ share) => Math.min(Math.max(share, 0), 1);
    return [clamp((clientX - box.left) / (box.width || 1)), clamp(1 - (clientY - box.top) / (box.height || 1))];
  }

  /** @param {PointerEvent} event */
  handleMove(event) {
    if (!this.isActive) return;
    this.pointer = this.getPlace(event);
    this.draw();
  }

  /** @param {MouseEvent} event */
  handleClick(event) {
    if (!this.isActive || event.detail > 1) return;
    event.preventDefault();
    this.addCorner(this.getPlace(event));
  }

  /**
   * Add a corner; the first one again closes the area.
   * @param {number[]} place
   */
  addCorner(place) {
    const box = this.svg.getBoundingClientRect();
    const [first] = this.corners;
    const distance = first
      ? Math.hypot((place[0] - first[0]) * box.width, (place[1] - first[1]) * box.height)
      : Infinity;
    if (this.corners.length >= MIN_CORNERS && distance <= CLOSING_PIXELS) {
      this.finish();
      return;
    }
    if (this.corners.length < MAX_CORNERS) this.corners.push(place);
    this.status.textContent = this.t("Corners: {count}", { count: this.corners.length });
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    if (!this.isActive || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = this.svg.getBoundingClientRect();
    const step = event.shiftKey ? 1 : KEY_STEP_PIXELS;
    const move = (/** @type {number} */ x, /** @type {number} */ y) => {
      const [across, upwards] = this.pointer;
      const clamp = (/** @type {number} */ share) => Math.min(Math.max(share, 0), 1);
      this.pointer = [clamp(across + (x * step) / (box.width || 1)), clamp(upwards + (y * step) / (box.height || 1))];
      this.status.textContent = `${formatArea([this.pointer], this.span, this.axis).replace("T", " ")} Hz`;
    };
    const handlers = /** @type {Record<string, () => void>} */ ({
      ArrowLeft: () => move(-1, 0),
      ArrowRight: () => move(1, 0),
      ArrowUp: () => move(0, 1),
      ArrowDown: () => move(0, -1),
      " ": () => this.addCorner([...this.pointer]),
      Backspace: () => this.corners.pop(),
      Enter: () => this.finish(),
      Escape: () => this.stop(),
    });
    const handler = handlers[event.key];
    if (!handler) return;
    event.preventDefault();
    event.stopPropagation();
    handler();
    if (this.isActive) this.draw();
  }

  /** Draw the corners, and the pointer. */
  draw() {
    const height = this.svg.viewBox.baseVal.height;
    const points = [...this.corners, this.pointer].map(
      ([across, upwards]) => `${(across * INSIDE_WIDTH).toFixed(1)} ${((1 - upwards) * height).toFixed(1)}`,
    );
    const [x, y] = points[points.length - 1].split(" ").map(Number);
    this.path.setAttribute("d", `M${points.join("L")}M${x - 6} ${y}h12M${x} ${y - 6}v12`);
  }

  /** Search in the area, if it has enough corners. */
  finish() {
    if (!this.isActive) return;
    if (this.corners.length < MIN_CORNERS) {
      this.status.textContent = this.t("An area needs three corners.");
      return;
    }
    const address = new URL(location.href);
    address.searchParams.set("_in", formatArea(this.corners, this.span, this.axis));
    location.assign(address);
  }
}
