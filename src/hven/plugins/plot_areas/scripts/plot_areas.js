// Tools that draw a box or a lasso in a plot, with the pointer or the keyboard. A box becomes conditions of both
// columns, a lasso becomes the parameter `_area`.
import { createButton, createElement, findElement, requireElement } from "hven/dom.js";
import {
  formatArea,
  formatPlace,
  formatRange,
  MAX_CORNERS,
  parseArea,
  quoteParameter,
  reduceOutline,
} from "./selecting/area_text.js";
/** @import {DrawnPlot, Workspace} from "hven/workspace.js" */
/** @import {Place, PlotAxis} from "./selecting/area_text.js" */

/** @typedef {"box" | "lasso"} Tool */

const MIN_DRAG_PIXELS = 5;
const MIN_POINT_PIXELS = 2; // between two points of a lasso
const KEY_STEP_PIXELS = 10;
const SIDE_STEPS = 16; // a side is a curve on axes of other scales
const INVISIBLE_PIXELS = 0.2;
const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
/** @type {("x" | "y")[]} */
const SCALES = ["x", "y"];
const LOGARITHMIC_DISTRIBUTION = 3; // of uPlot

/**
 * Create a path of the overlay.
 * @param {string} name
 */
function createPath(name) {
  const path = document.createElementNS(SVG_NAMESPACE, "path");
  path.setAttribute("class", name);
  return path;
}

/** The tools of a plot. */
class PlotAreas {
  svg = document.createElementNS(SVG_NAMESPACE, "svg");
  searchedPath = createPath("searched");
  drawnPath = createPath("new");
  /** @type {Tool} */
  tool = "box";
  isPressed = false; // a reader chose a tool: a finger draws, and does not scroll
  /** Corners of the area that is drawn, in pixels.
   * @type {number[][]} */
  corners = [];
  /** The place of the keyboard's pointer.
   * @type {number[] | null} */
  pointer = null;
  isDragging = false;
  hasDragged = false; // the click at the end of a drag chooses no row

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { t } = workspace;
    this.workspace = workspace;
    this.toolsElement = requireElement(container, ".tools");
    this.status = createElement("span", { className: "soft", role: "status" });
    /** @type {Record<Tool, HTMLButtonElement>} */
    this.buttons = {
      box: createButton(t("Box"), () => this.chooseTool("box")),
      lasso: createButton(t("Lasso"), () => this.chooseTool("lasso")),
    };
    this.toolsElement.setAttribute("role", "group");
    this.toolsElement.setAttribute("aria-label", t("Search in an area of the plot"));
    this.toolsElement.replaceChildren(t("Search in"), " ", this.buttons.box, " ", this.buttons.lasso, " ", this.status);
    this.toolsElement.addEventListener("keydown", (event) => this.handleKey(event));
    this.toolsElement.addEventListener("keyup", (event) => {
      if (this.pointer && event.key === " ") event.preventDefault(); // it would press the button
    });
    this.listenToPointers();
    const form = findElement(container, "form", HTMLFormElement);
    const field = findElement(container, "textarea", HTMLTextAreaElement);
    form?.addEventListener("submit", (event) => {
      event.preventDefault();
      workspace.state.set({ _area: field?.value.trim() || null, _row: null });
    });
    workspace.on("plot", () => this.attach());
    workspace.state.on("change", () => {
      if (field) field.value = workspace.state.get("_area") ?? "";
      this.draw();
    });
    this.attach();
  }

  /** Listen to pointers over the plot. */
  listenToPointers() {
    const { svg } = this;
    svg.setAttribute("class", "plot-selection");
    svg.setAttribute("aria-hidden", "true");
    svg.append(this.searchedPath, this.drawnPath);
    svg.addEventListener("pointerdown", (event) => this.handlePointerDown(event));
    svg.addEventListener("pointermove", (event) => this.handlePointerMove(event));
    svg.addEventListener("pointerup", () => this.handlePointerUp());
    svg.addEventListener("pointercancel", () => this.cancel());
    svg.addEventListener("mousedown", (event) => event.stopPropagation()); // the plot would zoom
    svg.addEventListener("click", (event) => {
      if (this.hasDragged) event.stopPropagation();
    });
  }

  /** Lay the overlay over the plot that is drawn. */
  attach() {
    const { drawnPlot } = this.workspace;
    this.cancel();
    this.toolsElement.hidden = !drawnPlot;
    this.svg.remove();
    if (!drawnPlot) return;
    const isHistogram = drawnPlot.axes.length < 2;
    if (isHistogram) this.tool = "box";
    this.buttons.lasso.hidden = isHistogram;
    drawnPlot.plot.over.append(this.svg);
    (drawnPlot.plot.hooks.draw ??= []).push(() => this.draw()); // now the scales are known, and after each new size
    this.markTools();
  }

  markTools() {
    for (const [name, button] of Object.entries(this.buttons)) {
      button.setAttribute("aria-pressed", String(name === this.tool));
    }
    this.svg.classList.toggle("pressed", this.isPressed);
  }

  /**
   * Choose a tool; its keys work from then on.
   * @param {Tool} tool
   */
  chooseTool(tool) {
    const { t } = this.workspace;
    this.cancel();
    this.tool = tool;
    this.isPressed = true;
    this.markTools();
    this.pointer = this.getSize().map((pixels) => pixels / 2);
    this.status.textContent =
      tool === "box"
        ? t("Drag over the plot. Keys: arrows move, Space sets a corner, Enter searches, Escape stops.")
        : t("Draw around the points. Keys: arrows move, Space sets a corner, Enter searches, Escape stops.");
    this.draw();
  }

  /** Stop drawing. */
  cancel() {
    this.corners = [];
    this.pointer = null;
    this.isDragging = false;
    this.status.textContent = "";
    this.draw();
  }

  /** The size of the plot in pixels. */
  getSize() {
    const { clientHeight, clientWidth } = this.workspace.drawnPlot?.plot.over ?? this.svg;
    return [clientWidth, clientHeight];
  }

  /**
   * Return the place of a pointer in the plot.
   * @param {MouseEvent} event
   */
  getPlace({ clientX, clientY }) {
    const { left, top } = this.svg.getBoundingClientRect();
    return this.clampPlace([clientX - left, clientY - top]);
  }

  /** @param {number[]} place */
  clampPlace(place) {
    return this.getSize().map((pixels, index) => Math.min(Math.max(place[index], 0), pixels));
  }

  /** @param {PointerEvent} event */
  handlePointerDown(event) {
    this.hasDragged = false;
    const isScrolling = event.pointerType === "touch" && !this.isPressed;
    if (event.button || event.ctrlKey || event.metaKey || isScrolling) return;
    this.cancel();
    this.svg.setPointerCapture(event.pointerId);
    this.corners = [this.getPlace(event)];
    this.isDragging = true;
  }

  /** @param {PointerEvent} event */
  handlePointerMove(event) {
    if (!this.isDragging) return;
    const place = this.getPlace(event);
    const measure = (/** @type {number[]} */ [x, y]) => Math.hypot(place[0] - x, place[1] - y);
    if (measure(this.corners[0]) >= MIN_DRAG_PIXELS) this.hasDragged = true;
    if (!this.hasDragged) return;
    if (this.tool === "box") this.corners = [this.corners[0], place];
    else if (measure(this.corners[this.corners.length - 1]) >= MIN_POINT_PIXELS) this.corners.push(place);
    this.draw();
  }

  handlePointerUp() {
    const { corners, hasDragged, isDragging } = this;
    this.cancel();
    if (!isDragging || !hasDragged) return;
    if (this.tool === "box") this.searchBox(corners);
    else this.searchPolygon(reduceOutline(corners));
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    if (!this.pointer || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 1 : KEY_STEP_PIXELS;
    const move = (/** @type {number} */ x, /** @type {number} */ y) => this.movePointer(x * step, y * step);
    const handlers = /** @type {Record<string, () => void>} */ ({
      ArrowLeft: () => move(-1, 0),
      ArrowRight: () => move(1, 0),
      ArrowUp: () => move(0, -1),
      ArrowDown: () => move(0, 1),
      " ": () => this.addCorner(),
      Backspace: () => this.corners.pop(),
      Enter: () => this.finish(),
      Escape: () => this.cancel(),
    });
    const handler = handlers[event.key];
    if (!handler) return;
    event.preventDefault();
    event.stopPropagation();
    handler();
    this.draw();
  }

  /**
   * Move the pointer of the keyboard, and say where it is.
   * @param {number} x
   * @param {number} y
   */
  movePointer(x, y) {
    const [left, top] = this.pointer ?? [0, 0];
    this.pointer = this.clampPlace([left + x, top + y]);
    const places = this.convertPixels(this.pointer);
    this.status.textContent = this.listAxes()
      .map(({ axis }, index) => `${axis.label} ${formatPlace(places[index], axis)}`)
      .join(", ");
  }

  addCorner() {
    if (!this.pointer || this.corners.length >= MAX_CORNERS) return;
    this.corners = [...(this.tool === "box" ? this.corners.slice(0, 1) : this.corners), this.pointer];
    this.status.textContent = this.workspace.t("Corners: {count}", { count: this.corners.length });
  }

  /** Search in the area that the keyboard has drawn. */
  finish() {
    const { t } = this.workspace;
    const corners = this.tool === "box" && this.pointer ? [...this.corners.slice(0, 1), this.pointer] : this.corners;
    const minCorners = this.tool === "box" ? 2 : 3;
    if (corners.length < minCorners) {
      this.status.textContent = t("The area needs {count} corners.", { count: minCorners });
      return;
    }
    this.cancel();
    if (this.tool === "box") this.searchBox(corners);
    else this.searchPolygon(corners);
  }

  /**
   * List the axes of columns.
   * @returns {PlotAxis[]}
   */
  listAxes() {
    const { axes, plot } = /** @type {DrawnPlot} */ (this.workspace.drawnPlot);
    return axes.map((axis, index) => ({
      axis,
      isLogarithmic: plot.scales[SCALES[index]].distr === LOGARITHMIC_DISTRIBUTION,
    }));
  }

  /**
   * Convert a place in pixels to values.
   * @param {number[]} place
   * @returns {[Place, Place]}
   */
  convertPixels(place) {
    const { plot } = /** @type {DrawnPlot} */ (this.workspace.drawnPlot);
    const [x, y] = SCALES.map((scale, index) => {
      const value = plot.posToVal(place[index], scale);
      return { value, step: Math.abs(plot.posToVal(place[index] + INVISIBLE_PIXELS, scale) - value) };
    });
    return [x, y];
  }

  /**
   * Search for the rows in a box. A box without height or width is a range of one column.
   * @param {number[][]} corners
   */
  searchBox([first, last]) {
    const [begin, end] = [this.convertPixels(first), this.convertPixels(last)];
    /** @type {Record<string, string | null>} */
    const changes = { _row: null };
    this.listAxes().forEach(({ axis }, index) => {
      const isThin = Math.abs(first[index] - last[index]) < MIN_DRAG_PIXELS;
      if (!isThin && axis.name) changes[quoteParameter(axis.name)] = formatRange(begin[index], end[index], axis);
    });
    this.workspace.state.set(changes);
  }

  /**
   * Search for the rows in a polygon.
   * @param {number[][]} corners
   */
  searchPolygon(corners) {
    const axes = this.listAxes();
    if (corners.length < 3 || axes.length < 2) return;
    const places = corners.map((corner) => this.convertPixels(corner));
    this.workspace.state.set({ _area: formatArea([axes[0], axes[1]], places), _row: null });
  }

  /** Draw the area of the search, and the one that is being drawn. */
  draw() {
    if (!this.workspace.drawnPlot) return;
    this.searchedPath.setAttribute("d", this.traceSearchedAreas());
    const [[x, y], isKeyboard] = this.pointer ? [this.pointer, true] : [[0, 0], false];
    const cross = isKeyboard ? `M${x - 6} ${y}h12M${x} ${y - 6}v12` : "";
    const corners = this.pointer ? [...this.corners, this.pointer] : this.corners;
    this.drawnPath.setAttribute("d", `${this.traceCorners(corners)}${cross}`);
  }

  /** @param {number[][]} corners */
  traceCorners(corners) {
    if (corners.length < 2) return "";
    const [[left, top], [right, bottom]] = corners;
    if (this.tool === "box") return `M${left} ${top}H${right}V${bottom}H${left}Z`;
    return `M${corners.map((corner) => corner.join(" ")).join("L")}Z`;
  }

  /** Outline the areas of the search over the axes of the plot; areas over other columns are left out. */
  traceSearchedAreas() {
    const { state } = this.workspace;
    return state
      .getAll("_area")
      .map((text) => this.traceSearchedArea(text))
      .join("");
  }

  /** @param {string} text */
  traceSearchedArea(text) {
    const area = parseArea(text);
    const axes = this.listAxes();
    const { plot } = /** @type {DrawnPlot} */ (this.workspace.drawnPlot);
    const isSame = (/** @type {PlotAxis} */ { axis }, /** @type {number} */ index) =>
      axis.name?.toLowerCase() === area?.names[index].toLowerCase() &&
      (axis.condition_unit ?? "") === area?.units[index];
    if (!area || axes.length < 2 || !axes.every(isSame)) return "";
    const toScale = (/** @type {number} */ value, /** @type {number} */ index) =>
      area.logarithmic[index] ? Math.log10(value) : value;
    const fromScale = (/** @type {number} */ value, /** @type {number} */ index) =>
      area.logarithmic[index] ? 10 ** value : value;
    const points = area.corners.flatMap((corner, number) => {
      const next = area.corners[(number + 1) % area.corners.length].map(toScale);
      const begin = corner.map(toScale);
      return Array.from({ length: SIDE_STEPS }, (_, step) => {
        const values = begin.map((value, index) => value + ((next[index] - value) * step) / SIDE_STEPS);
        return values.map((value, index) => plot.valToPos(fromScale(value, index), SCALES[index]).toFixed(1)).join(" ");
      });
    });
    return points.some((point) => /NaN|Infinity/.test(point)) ? "" : `M${points.join("L")}Z`;
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  return new PlotAreas(container, workspace);
}
