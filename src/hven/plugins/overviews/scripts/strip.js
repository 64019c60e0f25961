// The overview of a table: histograms and a map that are brushed with pointer and keys and become conditions. They mark
// the hovered and the chosen row.
import { findElements, requireAncestor, createElement, findElement, readTableUrl, getEventTarget } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

/**
 * @typedef {{at: Record<string, number>, map: [number, number] | null}} RowPosition
 * positions in percent: of bins, and of the map across and down
 */

const HOVER_DELAY_MILLISECONDS = 90; // before the position of a hovered row is requested
const MAX_CACHED_ROWS = 500;
const CLICK_TOLERANCE_PIXELS = 4;
const BIN_STEPS = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 });
// arrow keys that change the histogram
const HISTOGRAM_STEPS = /** @type {Record<string, number>} */ ({ ArrowUp: -1, ArrowDown: 1 });

/**
 * Format the range between two bins as a condition; null if it includes all values.
 * @param {string[]} lows
 * @param {string[]} highs
 * @param {number} from
 * @param {number} to
 */
export function formatRange(lows, highs, from, to) {
  const [first, last] = from < to ? [from, to] : [to, from];
  const [low, height] = [lows[first], highs[last]];
  if (!low && !height) return null;
  return low === height ? low : `${low}..${height}`;
}

/**
 * Format a part of a map as two conditions.
 * @param {number[]} box west, south, east and north of the map
 * @param {number[]} part left, top, right and bottom, from 0 to 1
 * @param {boolean} isMirrored
 */
export function formatMapPart([west, south, east, north], [left, top, right, bottom], isMirrored) {
  const [from, to] = isMirrored ? [1 - right, 1 - left] : [left, right];
  const formatNumber = (/** @type {number} */ value) => String(Number(value.toPrecision(6)));
  const width = east - west;
  const height = north - south;
  return [
    `${formatNumber(west + from * width)}..${formatNumber(west + to * width)}`,
    `${formatNumber(north - bottom * height)}..${formatNumber(north - top * height)}`,
  ];
}

/** The pane with the overview of a table. */
class OverviewStrip {
  /** @type {string | null} */
  drawnSearch;
  markTimer = 0;
  /** @type {Map<string, Promise<RowPosition>>} */
  positions = new Map();
  /** @type {{figure: HTMLElement, from: [number, number], pixel: [number, number], brush: HTMLElement} | null} */
  drag = null;

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { selection, state } = workspace;
    this.container = container;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(container);
    this.drawnSearch = "later" in container.dataset ? null : workspace.search;
    state.on("change", () => this.refresh().catch(() => {})); // the old strip stays: the grid reports the fault
    selection.on("change", (event) => {
      if (event.name === "marked") return;
      clearTimeout(this.markTimer);
      this.markTimer = setTimeout(() => this.markRows(), event.name === "hover" ? HOVER_DELAY_MILLISECONDS : 0);
    });
    container.addEventListener("pointerdown", (event) => this.handlePointerDown(event));
    container.addEventListener("pointermove", (event) => this.handlePointerMove(event));
    container.addEventListener("pointerup", (event) => this.handlePointerUp(event));
    container.addEventListener("pointercancel", () => this.cancelBrush());
    container.addEventListener("click", (event) => this.handleClick(event));
    container.addEventListener("keydown", (event) => this.handleKey(event));
    container.addEventListener("dragstart", (event) => event.preventDefault()); // of links
  }

  /** Fetch the overview of the search, unless it is drawn. */
  async refresh() {
    const { workspace } = this;
    const search = workspace.search;
    if (search === this.drawnSearch) return this.makeReachable();
    this.drawnSearch = search;
    clearTimeout(this.busyTimer); // a replaced request never settles
    this.busyTimer = setTimeout(() => this.container.classList.add("waiting"), 150);
    try {
      const state = new URLSearchParams(search);
      state.set("_only", "drawn");
      const { html } = await workspace.fetchJson(`${this.tableUrl}/strip`, { state, pane: "strip" });
      const focus = this.findFocus();
      this.container.innerHTML = html;
      this.makeReachable();
      this.restoreFocus(focus);
      this.markRows();
    } catch (error) {
      this.drawnSearch = null;
      throw error;
    } finally {
      clearTimeout(this.busyTimer);
      this.container.classList.remove("waiting");
    }
  }

  /** Make the strip one stop of the Tab key; arrows reach its bins. */
  makeReachable() {
    if (!this.container.querySelector("svg a[tabindex='0']"))
      this.container.querySelector("svg a")?.setAttribute("tabindex", "0");
  }

  /** Find the column and the bin that have the focus. */
  findFocus() {
    const link = document.activeElement?.closest(".sight svg a");
    const figure = link?.closest("figure");
    if (!link || !figure) return null;
    return { column: figure.dataset.column ?? "", at: Number(link.getAttribute("data-at")) };
  }

  /** @param {{column: string, at: number} | null} focus */
  restoreFocus(focus) {
    if (!focus) return;
    const figure = findElement(this.container, `figure[data-column="${CSS.escape(focus.column)}"]`);
    const links = [...(figure?.querySelectorAll("svg a") ?? [])];
    const nearestLink = links.find((link) => Number(link.getAttribute("data-at")) >= focus.at) ?? links.at(-1);
    this.focusLink(nearestLink);
  }

  /**
   * Make a bin the stop of the Tab key, and focus it.
   * @param {Element | undefined} link
   */
  focusLink(link) {
    if (!link) return;
    for (const otherLink of link.closest("svg")?.querySelectorAll("a[tabindex='0']") ?? [])
      otherLink.setAttribute("tabindex", "-1");
    link.setAttribute("tabindex", "0");
    /** @type {SVGAElement} */ (link).focus();
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    const link = getEventTarget(event).closest("svg a");
    const figure = link?.closest("figure");
    if (!link || !figure || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return this.setCondition(figure, null);
    const binStep = BIN_STEPS[event.key];
    const histogramStep = HISTOGRAM_STEPS[event.key];
    if (binStep || histogramStep) event.preventDefault();
    if (histogramStep) this.moveToHistogram(figure, link, histogramStep);
    if (!binStep) return;
    const links = [...figure.querySelectorAll("svg a")];
    const next = links[Math.min(Math.max(links.indexOf(link) + binStep, 0), links.length - 1)];
    const anchor = event.shiftKey ? (links.find((candidate) => candidate.classList.contains("anchor")) ?? link) : next;
    const [low, height] = [anchor, next]
      .map((candidate) => links.indexOf(candidate))
      .sort((candidate, second) => candidate - second);
    links.forEach((candidate, index) => {
      candidate.classList.toggle("anchor", candidate === anchor);
      candidate.classList.toggle("in", event.shiftKey && index >= low && index <= height);
    });
    this.focusLink(next);
  }

  /**
   * Move the focus to another histogram, at the same relative bin.
   * @param {HTMLElement} figure
   * @param {Element} link
   * @param {number} step
   */
  moveToHistogram(figure, link, step) {
    const figures = findElements(this.container, "figure").filter((figureElement) =>
      figureElement.querySelector("svg a"),
    );
    const links = [...figure.querySelectorAll("svg a")];
    const targetLinks = [...(figures[figures.indexOf(figure) + step]?.querySelectorAll("svg a") ?? [])];
    this.focusLink(targetLinks[Math.floor((links.indexOf(link) / links.length) * targetLinks.length)]);
  }

  /** @param {MouseEvent} event */
  handleClick(event) {
    const link = getEventTarget(event).closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const figure = requireAncestor(link, "figure");
    if (link.classList.contains("all")) return this.setCondition(figure, null);
    if (event.detail) return; // a pointer brushes instead
    const selectedLinks = [...figure.querySelectorAll("svg a.in")];
    const endLinks =
      selectedLinks.length > 1 ? [selectedLinks[0], /** @type {Element} */ (selectedLinks.at(-1))] : [link, link];
    this.applyBins(figure, endLinks[0], endLinks[1]);
  }

  /**
   * Apply the range between two bins, or a cell of the map.
   * @param {HTMLElement} figure
   * @param {Element} first
   * @param {Element} last
   */
  applyBins(figure, first, last) {
    if (figure.dataset.column === undefined) {
      const [x, y, size] = ["x", "y", "width"].map((name) => Number(first.querySelector("rect")?.getAttribute(name)));
      const [, , width, height] = this.getViewBox(figure);
      return this.setCondition(figure, [x / width, y / height, (x + size) / width, (y + size) / height]);
    }
    const [from, to] = [first, last].map((link) => Number(link.getAttribute("data-at")));
    this.setCondition(figure, [from, to]);
  }

  /**
   * Return the view box of a figure.
   * @param {HTMLElement} figure
   */
  getViewBox(figure) {
    return (figure.querySelector("svg")?.getAttribute("viewBox") ?? "0 0 1 1").split(" ").map(Number);
  }

  /**
   * Set the condition of a histogram (first and last bin) or of the map (a part of it); null removes it.
   * @param {HTMLElement} figure
   * @param {number[] | null} part
   */
  setCondition(figure, part) {
    const { box, column, fields, highs, lows } = figure.dataset;
    const { state } = this.workspace;
    if (column === undefined) {
      const names = (fields ?? "").split(" ");
      const edges = (box ?? "").split(" ").map(Number);
      const values = part ? formatMapPart(edges, part, "mirrored" in figure.dataset) : [null, null];
      return state.set({ ...Object.fromEntries(names.map((name, index) => [name, values[index]])), _row: null });
    }
    const value = part ? formatRange((lows ?? "").split(" "), (highs ?? "").split(" "), part[0], part[1]) : null;
    state.set({ [column]: value, _row: null });
  }

  /**
   * Return the position of a pointer in the bars, from 0 to 1 across and down.
   * @param {HTMLElement} figure
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  locatePointer(figure, event) {
    const rectangle = /** @type {HTMLElement} */ (findElement(figure, ".bars")).getBoundingClientRect();
    const clamp = (/** @type {number} */ value) => Math.min(Math.max(value, 0), 1);
    return [
      clamp((event.clientX - rectangle.left) / rectangle.width),
      clamp((event.clientY - rectangle.top) / rectangle.height),
    ];
  }

  /** @param {PointerEvent} event */
  handlePointerDown(event) {
    const figure = getEventTarget(event).closest("figure");
    const barsElement = findElement(figure, ".bars");
    if (!figure || !barsElement?.contains(getEventTarget(event)) || event.button || event.ctrlKey || event.metaKey)
      return;
    const brush = createElement("i", { className: "brush", hidden: true });
    barsElement.append(brush);
    barsElement.setPointerCapture(event.pointerId);
    this.drag = { figure, from: this.locatePointer(figure, event), pixel: [event.clientX, event.clientY], brush };
  }

  /** @param {PointerEvent} event */
  handlePointerMove(event) {
    if (!this.drag) return;
    const { brush, figure, pixel } = this.drag;
    if (brush.hidden && Math.hypot(event.clientX - pixel[0], event.clientY - pixel[1]) < CLICK_TOLERANCE_PIXELS) return;
    brush.hidden = false;
    const [left, top, right, bottom] = this.getBrushedPart(event);
    Object.assign(brush.style, { left: `${left * 100}%`, width: `${(right - left) * 100}%` });
    if (figure.dataset.column === undefined)
      Object.assign(brush.style, { top: `${top * 100}%`, height: `${(bottom - top) * 100}%`, bottom: "auto" });
  }

  /**
   * Return the brushed part; in histograms it is widened to whole bins.
   * @param {PointerEvent} event
   */
  getBrushedPart(event) {
    const { figure, from } = /** @type {NonNullable<OverviewStrip["drag"]>} */ (this.drag);
    const to = this.locatePointer(figure, event);
    let [left, right] = [Math.min(from[0], to[0]), Math.max(from[0], to[0])];
    const [top, bottom] = [Math.min(from[1], to[1]), Math.max(from[1], to[1])];
    if (figure.dataset.column === undefined) return [left, top, right, bottom];
    const size = this.getViewBox(figure)[2];
    left = Math.min(Math.floor(left * size), size - 1) / size;
    right = Math.max(Math.ceil(right * size) / size, left + 1 / size);
    return [left, top, right, bottom];
  }

  /** @param {PointerEvent} event */
  handlePointerUp(event) {
    if (!this.drag) return;
    const { brush, figure } = this.drag;
    const [left, top, right, bottom] = this.getBrushedPart(event);
    const isClick = brush.hidden;
    this.cancelBrush();
    if (figure.dataset.column !== undefined) {
      const size = this.getViewBox(figure)[2];
      return this.setCondition(figure, [Math.round(left * size), Math.round(right * size) - 1]);
    }
    if (!isClick) return this.setCondition(figure, [left, top, right, bottom]);
    const rectangleElement = document
      .elementsFromPoint(event.clientX, event.clientY)
      .find((element) => element.matches(".sight svg rect"));
    const link = rectangleElement?.closest("a");
    if (link) this.applyBins(figure, link, link);
  }

  /** Remove the brush. */
  cancelBrush() {
    this.drag?.brush.remove();
    this.drag = null;
  }

  /** Mark the positions of the hovered and the chosen row. */
  async markRows() {
    const { selection, state } = this.workspace;
    const keyGetters = { hover: () => selection.hover, chosen: () => state.get("_row") };
    for (const [name, getKey] of Object.entries(keyGetters)) {
      const key = getKey();
      const position = key ? await this.fetchPosition(key).catch(() => null) : null;
      if (key !== getKey()) continue; // a newer row is marked instead
      for (const markElement of findElements(this.container, `.at.${name}`)) markElement.remove();
      if (!position) continue;
      for (const figure of findElements(this.container, "figure")) this.drawMark(figure, name, position);
    }
  }

  /**
   * Mark the position of a row in a figure.
   * @param {HTMLElement} figure
   * @param {string} name
   * @param {RowPosition} position
   */
  drawMark(figure, name, position) {
    const { column } = figure.dataset;
    const across = column === undefined ? position.map?.[0] : position.at[column];
    if (across === undefined) return;
    const markElement = createElement("i", { className: `at ${name}` });
    markElement.style.left = `${across}%`;
    if (column === undefined) markElement.style.top = `${position.map?.[1]}%`;
    findElement(figure, ".bars")?.append(markElement);
  }

  /**
   * Fetch the position of a row.
   * @param {string} key
   * @returns {Promise<RowPosition>}
   */
  fetchPosition(key) {
    let position = this.positions.get(key);
    if (!position) {
      const state = new URLSearchParams({ _only: "row", _row: key });
      position = this.workspace.fetchJson(`${this.tableUrl}/strip`, { state });
      position.catch(() => this.positions.delete(key));
      if (this.positions.size >= MAX_CACHED_ROWS) this.positions.clear();
      this.positions.set(key, position);
    }
    return position;
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export async function mount(container, workspace) {
  const strip = new OverviewStrip(container, workspace);
  await strip.refresh();
  await strip.markRows();
}
