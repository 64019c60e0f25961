// A table at first sight: bars and cells are brushed by pointer, finger and keys, and become conditions; rows that are pointed at or chosen are marked in them.
import { all, around, make, maybe, table, target } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

/** @typedef {{at: Record<string, number>, map: [number, number] | null}} Standing shares of bins in percent; of the map across and down */

const PAUSE = 90; // milliseconds that a row is pointed at before it is looked up
const KNOWN = 500; // rows whose places are remembered
const FAR = 4; // pixels: a pointer that moves less clicks
const KEYS = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 });
const BETWEEN = /** @type {Record<string, number>} */ ({ ArrowUp: -1, ArrowDown: 1 }); // histograms

/**
 * Write a range from one bin to another one as a condition; null: it is all there is.
 * @param {string[]} lows
 * @param {string[]} highs
 * @param {number} from
 * @param {number} to
 */
export function ranged(lows, highs, from, to) {
  const [first, last] = from < to ? [from, to] : [to, from];
  const [low, high] = [lows[first], highs[last]];
  if (!low && !high) return null;
  return low === high ? low : `${low}..${high}`;
}

/**
 * Write the edges of a part of a map as two conditions.
 * @param {number[]} box west, south, east and north of the map
 * @param {number[]} part left, top, right and bottom, from 0 to 1
 * @param {boolean} mirrored
 */
export function placed([west, south, east, north], [left, top, right, bottom], mirrored) {
  const [from, to] = mirrored ? [1 - right, 1 - left] : [left, right];
  const written = (/** @type {number} */ value) => String(Number(value.toPrecision(6)));
  const wide = east - west;
  const high = north - south;
  return [
    `${written(west + from * wide)}..${written(west + to * wide)}`,
    `${written(north - bottom * high)}..${written(north - top * high)}`,
  ];
}

class Strip {
  /** @type {string | null} */
  drawn;
  later = 0;
  /** @type {Map<string, Promise<Standing>>} */
  known = new Map();
  /** @type {{figure: HTMLElement, from: [number, number], pixel: [number, number], brush: HTMLElement} | null} */
  drag = null;

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    const { selection, state } = workspace;
    this.box = box;
    this.workspace = workspace;
    this.here = table(box);
    this.drawn = "later" in box.dataset ? null : workspace.search;
    state.on("change", () => this.load().catch(() => {})); // what stands there is of before: the grid says what is wrong
    selection.on("change", (event) => {
      if (event.name === "marked") return;
      clearTimeout(this.later);
      this.later = setTimeout(() => this.mark(), event.name === "hover" ? PAUSE : 0);
    });
    box.addEventListener("pointerdown", (event) => this.pressed(event));
    box.addEventListener("pointermove", (event) => this.moved(event));
    box.addEventListener("pointerup", (event) => this.released(event));
    box.addEventListener("pointercancel", () => this.leave());
    box.addEventListener("click", (event) => this.clicked(event));
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("dragstart", (event) => event.preventDefault()); // of links
  }

  async load() {
    const { workspace } = this;
    const now = workspace.search;
    if (now === this.drawn) return this.ready();
    this.drawn = now;
    clearTimeout(this.slow); // of a question that this one overtakes, which is never answered
    this.slow = setTimeout(() => this.box.classList.add("waiting"), 150);
    try {
      const state = new URLSearchParams(now);
      state.set("_only", "drawn");
      const { html } = await workspace.ask(`${this.here}/strip`, { state, pane: "strip" });
      const focused = this.focused();
      this.box.innerHTML = html;
      this.ready();
      this.focus(focused);
      this.mark();
    } catch (error) {
      this.drawn = null;
      throw error;
    } finally {
      clearTimeout(this.slow);
      this.box.classList.remove("waiting");
    }
  }

  /** All of it takes one press of Tab: its bins are reached by arrows. */
  ready() {
    if (!this.box.querySelector("svg a[tabindex='0']")) this.box.querySelector("svg a")?.setAttribute("tabindex", "0");
  }

  /** Where the keyboard is: the column and the bin. */
  focused() {
    const link = document.activeElement?.closest(".sight svg a");
    const figure = link?.closest("figure");
    if (!link || !figure) return null;
    return { column: figure.dataset.column ?? "", at: Number(link.getAttribute("data-at")) };
  }

  /** @param {{column: string, at: number} | null} place */
  focus(place) {
    if (!place) return;
    const figure = maybe(this.box, `figure[data-column="${CSS.escape(place.column)}"]`);
    const links = [...(figure?.querySelectorAll("svg a") ?? [])];
    const near = links.find((one) => Number(one.getAttribute("data-at")) >= place.at) ?? links.at(-1);
    this.rove(near);
  }

  /** @param {Element | undefined} link */
  rove(link) {
    if (!link) return;
    for (const one of link.closest("svg")?.querySelectorAll("a[tabindex='0']") ?? [])
      one.setAttribute("tabindex", "-1");
    link.setAttribute("tabindex", "0");
    /** @type {SVGAElement} */ (link).focus();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const link = target(event).closest("svg a");
    const figure = link?.closest("figure");
    if (!link || !figure || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return this.ask(figure, null);
    const step = KEYS[event.key];
    const across = BETWEEN[event.key];
    if (step || across) event.preventDefault();
    if (across) this.turn(figure, link, across);
    if (!step) return;
    const links = [...figure.querySelectorAll("svg a")];
    const next = links[Math.min(Math.max(links.indexOf(link) + step, 0), links.length - 1)];
    const anchor = event.shiftKey ? (links.find((one) => one.classList.contains("anchor")) ?? link) : next;
    const [low, high] = [anchor, next].map((one) => links.indexOf(one)).sort((one, other) => one - other);
    links.forEach((one, at) => {
      one.classList.toggle("anchor", one === anchor);
      one.classList.toggle("in", event.shiftKey && at >= low && at <= high);
    });
    this.rove(next);
  }

  /**
   * Go to the histogram before or behind, to the bin that stands there as this one does here.
   * @param {HTMLElement} figure
   * @param {Element} link
   * @param {number} step
   */
  turn(figure, link, step) {
    const others = all(this.box, "figure").filter((one) => one.querySelector("svg a"));
    const links = [...figure.querySelectorAll("svg a")];
    const there = [...(others[others.indexOf(figure) + step]?.querySelectorAll("svg a") ?? [])];
    this.rove(there[Math.floor((links.indexOf(link) / links.length) * there.length)]);
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    const link = target(event).closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const figure = around(link, "figure");
    if (link.classList.contains("all")) return this.ask(figure, null);
    if (event.detail) return; // a pointer: it brushes
    const chosen = [...figure.querySelectorAll("svg a.in")];
    const ends = chosen.length > 1 ? [chosen[0], /** @type {Element} */ (chosen.at(-1))] : [link, link];
    this.follow(figure, ends[0], ends[1]);
  }

  /**
   * Ask for what lies between two bins; of a map for one of its parts.
   * @param {HTMLElement} figure
   * @param {Element} first
   * @param {Element} last
   */
  follow(figure, first, last) {
    if (figure.dataset.column === undefined) {
      const [x, y, size] = ["x", "y", "width"].map((name) => Number(first.querySelector("rect")?.getAttribute(name)));
      const [, , wide, high] = this.view(figure);
      return this.ask(figure, [x / wide, y / high, (x + size) / wide, (y + size) / high]);
    }
    const [from, to] = [first, last].map((one) => Number(one.getAttribute("data-at")));
    this.ask(figure, [from, to]);
  }

  /** @param {HTMLElement} figure */
  view(figure) {
    return (figure.querySelector("svg")?.getAttribute("viewBox") ?? "0 0 1 1").split(" ").map(Number);
  }

  /**
   * Change the condition of a histogram (its first and last bin) or of the map (a part of it); null: there is none any more.
   * @param {HTMLElement} figure
   * @param {number[] | null} part
   */
  ask(figure, part) {
    const { box, column, fields, highs, lows } = figure.dataset;
    const { state } = this.workspace;
    if (column === undefined) {
      const names = (fields ?? "").split(" ");
      const edges = (box ?? "").split(" ").map(Number);
      const values = part ? placed(edges, part, "mirrored" in figure.dataset) : [null, null];
      return state.set({ ...Object.fromEntries(names.map((name, at) => [name, values[at]])), _row: null });
    }
    const value = part ? ranged((lows ?? "").split(" "), (highs ?? "").split(" "), part[0], part[1]) : null;
    state.set({ [column]: value, _row: null });
  }

  /**
   * Give where a pointer is in the bars, from 0 to 1 across and down.
   * @param {HTMLElement} figure
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  share(figure, event) {
    const area = /** @type {HTMLElement} */ (maybe(figure, ".bars")).getBoundingClientRect();
    const within = (/** @type {number} */ value) => Math.min(Math.max(value, 0), 1);
    return [within((event.clientX - area.left) / area.width), within((event.clientY - area.top) / area.height)];
  }

  /** @param {PointerEvent} event */
  pressed(event) {
    const figure = target(event).closest("figure");
    const bars = maybe(figure, ".bars");
    if (!figure || !bars?.contains(target(event)) || event.button || event.ctrlKey || event.metaKey) return;
    const brush = make("i", { className: "brush", hidden: true });
    bars.append(brush);
    bars.setPointerCapture(event.pointerId);
    this.drag = { figure, from: this.share(figure, event), pixel: [event.clientX, event.clientY], brush };
  }

  /** @param {PointerEvent} event */
  moved(event) {
    if (!this.drag) return;
    const { brush, figure, pixel } = this.drag;
    if (brush.hidden && Math.hypot(event.clientX - pixel[0], event.clientY - pixel[1]) < FAR) return;
    brush.hidden = false;
    const [left, top, right, bottom] = this.part(event);
    Object.assign(brush.style, { left: `${left * 100}%`, width: `${(right - left) * 100}%` });
    if (figure.dataset.column === undefined)
      Object.assign(brush.style, { top: `${top * 100}%`, height: `${(bottom - top) * 100}%`, bottom: "auto" });
  }

  /**
   * Give the part that is brushed: of bars whole ones.
   * @param {PointerEvent} event
   */
  part(event) {
    const { figure, from } = /** @type {NonNullable<Strip["drag"]>} */ (this.drag);
    const to = this.share(figure, event);
    let [left, right] = [Math.min(from[0], to[0]), Math.max(from[0], to[0])];
    const [top, bottom] = [Math.min(from[1], to[1]), Math.max(from[1], to[1])];
    if (figure.dataset.column === undefined) return [left, top, right, bottom];
    const size = this.view(figure)[2];
    left = Math.min(Math.floor(left * size), size - 1) / size;
    right = Math.max(Math.ceil(right * size) / size, left + 1 / size);
    return [left, top, right, bottom];
  }

  /** @param {PointerEvent} event */
  released(event) {
    if (!this.drag) return;
    const { brush, figure } = this.drag;
    const [left, top, right, bottom] = this.part(event);
    const clicked = brush.hidden;
    this.leave();
    if (figure.dataset.column !== undefined) {
      const size = this.view(figure)[2];
      return this.ask(figure, [Math.round(left * size), Math.round(right * size) - 1]);
    }
    if (!clicked) return this.ask(figure, [left, top, right, bottom]);
    const under = document
      .elementsFromPoint(event.clientX, event.clientY)
      .find((one) => one.matches(".sight svg rect"));
    const link = under?.closest("a");
    if (link) this.follow(figure, link, link);
  }

  leave() {
    this.drag?.brush.remove();
    this.drag = null;
  }

  /** Mark where the rows stand that are pointed at and chosen. */
  async mark() {
    const { selection, state } = this.workspace;
    const keys = { hover: () => selection.hover, chosen: () => state.get("_row") };
    for (const [name, now] of Object.entries(keys)) {
      const key = now();
      const found = key ? await this.standing(key).catch(() => null) : null;
      if (key !== now()) continue; // a later one marks it
      for (const old of all(this.box, `.at.${name}`)) old.remove();
      if (!found) continue;
      for (const figure of all(this.box, "figure")) this.stand(figure, name, found);
    }
  }

  /**
   * @param {HTMLElement} figure
   * @param {string} name
   * @param {Standing} found
   */
  stand(figure, name, found) {
    const { column } = figure.dataset;
    const across = column === undefined ? found.map?.[0] : found.at[column];
    if (across === undefined) return;
    const sign = make("i", { className: `at ${name}` });
    sign.style.left = `${across}%`;
    if (column === undefined) sign.style.top = `${found.map?.[1]}%`;
    maybe(figure, ".bars")?.append(sign);
  }

  /**
   * Ask where a row stands.
   * @param {string} key
   * @returns {Promise<Standing>}
   */
  standing(key) {
    let found = this.known.get(key);
    if (!found) {
      const state = new URLSearchParams({ _only: "row", _row: key });
      found = this.workspace.ask(`${this.here}/strip`, { state });
      found.catch(() => this.known.delete(key));
      if (this.known.size >= KNOWN) this.known.clear();
      this.known.set(key, found);
    }
    return found;
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export async function mount(box, workspace) {
  const strip = new Strip(box, workspace);
  await strip.load();
  await strip.mark();
}
