// A cube of a file: slices in colours, a slider through them, spectra of pixels and regions, ratios of slices, positions, lines of Python.
import { button, find, make, wrong } from "./dom.js";
import { nameOf, partOf, queryOf, scaleOf } from "./facts.js";
import { npy } from "./npy.js";
import { Picture } from "./picture.js";
import { position, written } from "./positions.js";
import { python } from "./python.js";
import { pretty, short, told } from "./scales.js";
import { Spectrum } from "./spectrum.js";
import { copier } from "./copy.js";
import { Band } from "./band.js";
import { limits, table } from "./tints.js";
import { Refused } from "./workspace.js";
/** @import {Facts} from "./facts.js" */
/** @import {Region, Tile} from "./picture.js" */
/** @import {Workspace} from "./workspace.js" */

/** @typedef {{x?: number, y?: number, pixels?: number, place?: [number, number] | null, parts: {index: number, name: string, role: string, unit: string, values: (number | null)[], deviation?: (number | null)[]}[]}} Found */

const KEPT = 32; // tiles that are remembered

class Cube {
  /** @type {Map<string, Tile>} */
  known = new Map();
  slice = 0; // from 0
  /** @type {number | null} */
  over = null;
  /** @type {Found | null} */
  found = null;
  /** Limits that hold for all slices.
   * @type {[number, number] | null} */
  fixed = null;
  asking = new AbortController();
  waiting = 0;

  /** @type {Tile[]} */
  tiles = [];
  /** @type {[number, number]} */
  limits = [0, 1];
  later = 0;

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   * @param {Facts} facts
   */
  constructor(box, workspace, facts) {
    const { t } = workspace;
    this.box = box;
    this.workspace = workspace;
    this.t = t;
    this.url = box.dataset.url ?? "";
    this.told = find(box, ".told");
    this.facts = facts;
    this.part = partOf(facts);
    this.axis = scaleOf(facts);
    this.axisName = nameOf(facts, this.axis, t);
    this.canvas = make("canvas", {
      className: "slice",
      role: "img",
      "aria-label": t("Image of a slice; arrow keys move over it, Enter takes the spectrum"),
    });
    this.picture = new Picture(this.canvas);
    this.place = make("p", { className: "readout", "aria-live": "off" });
    const plot = make("div", { className: "spectrum" });
    this.spectrum = new Spectrum(plot, workspace, (slice) => this.go(slice));
    this.heading = make("p", { className: "of", "aria-live": "polite" });
    this.code = make("code");
    this.band = new Band(this);
    this.build(plot);
    this.listen();
    window.hven = { ...window.hven, cube: this };
  }

  async begin() {
    const { state } = this.workspace;
    const { depth, width, height } = this.facts;
    this.slice = Math.min(Math.max(Number(state.get("_slice")) || Math.ceil(depth / 2), 1), depth) - 1;
    this.over = Number(state.get("_over")) || null;
    this.picture.begin(width, height);
    await this.draw();
    const [pixel, region] = [state.get("_pixel"), state.get("_region")];
    if (region) {
      const [kind, ...numbers] = region.split(" ");
      this.picture.take({ kind: /** @type {Region["kind"]} */ (kind), numbers: numbers.map(Number) });
    } else {
      const [x, y] = pixel ? pixel.split(",").map(Number) : this.brightest();
      this.picture.choose(x - 1, y - 1);
    }
  }

  /** Parameters by which the part, the axis that is gone through and those that are held are asked for. */
  get query() {
    return queryOf(this.workspace);
  }

  async look() {
    const facts = await this.workspace.ask(this.url, { state: this.query, pane: "cube" });
    this.facts = facts;
    this.part = partOf(facts);
    this.axis = scaleOf(facts);
    this.axisName = nameOf(facts, this.axis, this.t);
  }

  /** The brightest pixel of what is shown, from 1. */
  brightest() {
    const [{ values, width, step } = { values: [], width: 1, step: 1 }] = this.tiles;
    let best = -1;
    for (let at = 0; at < values.length; at++)
      if (Number.isFinite(values[at]) && !(values[at] <= values[best])) best = at;
    if (best < 0) return [1, 1];
    return [(best % width) * step + 1, Math.floor(best / width) * step + 1];
  }

  /** @param {HTMLElement} plot */
  build(plot) {
    const { band, t } = this;
    const lines = make("div", { className: "example" }, make("pre", {}, this.code));
    const title = make("summary", { textContent: t("Copy as Python") });
    copier(lines, this.workspace);
    const frame = make("div", { className: "frame" }, this.canvas, this.zooms());
    const left = make("div", { className: "looked-at" }, band.top, frame, band.bar, this.place, band.slider);
    const script = make("details", { className: "script" }, title, lines);
    const right = make(
      "div",
      { className: "told-of" },
      this.heading,
      plot,
      this.spectrum.evenly,
      this.spectrum.readout,
      script,
    );
    this.box.append(make("div", { className: "halves" }, left, right));
  }

  zooms() {
    const { t } = this;
    const one = (/** @type {string} */ sign, /** @type {string} */ label, /** @type {() => void} */ act) =>
      button(sign, act, { title: label, "aria-label": label });
    return make(
      "div",
      { className: "zooms" },
      one("+", t("Nearer"), () => this.picture.nearer(1.5)),
      one("−", t("Farther"), () => this.picture.nearer(1 / 1.5)),
      one("□", t("All of it"), () => this.picture.fit()),
    );
  }

  listen() {
    const { picture, place } = this;
    picture.on("over", ({ x, y }) => {
      const where = written(position(this.facts.places, x + 1, y + 1), this.facts.places);
      const unit = this.over ? "" : pretty(this.part.unit);
      place.textContent = [`${x + 1}, ${y + 1}`, where, `${short(picture.value(x, y))} ${unit}`]
        .filter(Boolean)
        .join("  ·  ");
    });
    const hint = this.t("Click: spectrum · drag: mean of a region · Shift and drag: move · wheel: zoom");
    place.textContent = hint;
    picture.on("out", () => (place.textContent = hint));
    picture.on("pixel", ({ x, y }) => {
      this.workspace.state.set({ _pixel: `${x + 1},${y + 1}`, _region: null }, { replace: true });
      this.ask({ spectrum: `${x + 1} ${y + 1}` });
    });
    picture.on("region", ({ region }) => {
      const text = `${region.kind} ${region.numbers.join(" ")}`;
      this.workspace.state.set({ _region: text, _pixel: null }, { replace: true });
      this.ask({ mean: text });
    });
    picture.on("view", () => this.closer());
  }

  /** @param {Record<string, string>} wanted */
  async ask(wanted) {
    const state = this.query;
    for (const [name, value] of Object.entries(wanted)) state.set(name, value);
    clearTimeout(this.reading); // of a question that this one overtakes, which is never answered
    this.reading = setTimeout(() => (this.heading.textContent = this.t("Reading ...")), 250);
    try {
      this.found = await this.workspace.ask(this.url, { state, pane: "spectrum" });
      this.plot();
    } catch (error) {
      this.heading.textContent = wrong(error);
    } finally {
      clearTimeout(this.reading);
    }
  }

  plot() {
    const { found, t } = this;
    if (!found) return;
    const main = found.parts[0];
    const beside = (/** @type {string} */ role) => found.parts.find((one, at) => at > 0 && one.role === role);
    const error = beside("error");
    const squared = error && /stat|var/i.test(error.name);
    const own = error?.values.map((one) => (one === null || !squared ? one : Math.sqrt(one))) ?? null;
    const region = found.pixels !== undefined;
    const where = found.place ? written(found.place, this.facts.places) : "";
    const named = region
      ? t("Mean of {count} pixels, with the scatter of their values", {
          count: this.workspace.number(found.pixels ?? 0),
        })
      : [t("Pixel {x}, {y}", { x: found.x, y: found.y }), where].filter(Boolean).join("  ·  ");
    this.heading.replaceChildren(make("b", { textContent: named }), ...this.others(found));
    const line = {
      values: main.values,
      errors: region ? (main.deviation ?? null) : own,
      flags: beside("flag")?.values ?? null,
      unit: pretty(main.unit),
      label: main.name && main.name !== "PRIMARY" ? main.name : t("value"),
    };
    this.spectrum.at = this.slice;
    this.spectrum.show(line, this.axis, this.axisName);
    this.script();
  }

  /**
   * Name what belongs to the data, with its value in the slice that is shown.
   * @param {Found} found
   */
  others(found) {
    const shown = found.parts.map((one) => `${one.name || one.index} ${short(one.values[this.slice])}`);
    return found.parts.length > 1 ? [make("small", { className: "soft", textContent: shown.join("  ·  ") })] : [];
  }

  /** @param {number} slice from 0 */
  go(slice) {
    if (slice === this.slice || slice < 0 || slice >= this.facts.depth) return;
    this.slice = slice;
    this.workspace.state.set({ _slice: String(slice + 1) }, { replace: true });
    this.draw();
  }

  /** @param {number | null} over from 1 */
  divide(over) {
    this.over = over;
    this.workspace.state.set({ _over: over ? String(over) : null }, { replace: true });
    this.draw();
  }

  /** Another part, axis or held pixel: all is asked anew, but what is looked at stays. */
  async turn() {
    const { depth } = this.facts;
    try {
      await this.look();
    } catch (error) {
      this.told.textContent = wrong(error);
      return;
    }
    if (this.facts.depth !== depth) this.slice = Math.floor(this.facts.depth / 2);
    if (this.facts.depth !== depth) this.over = null;
    this.fixed = null;
    this.picture.begin(this.facts.width, this.facts.height);
    this.band.choose();
    await this.draw();
    const { chosen, region } = this.picture;
    if (region) this.picture.take(region);
    else if (chosen) this.picture.choose(...chosen);
  }

  async draw() {
    this.band.follow();
    this.spectrum.mark(this.slice);
    const query = this.asked(this.slice);
    const waiting = ++this.waiting;
    this.box.setAttribute("aria-busy", "true"); // until what is shown is what was asked for last
    try {
      const tile = await this.tile(query, this.signal(query));
      if (this.asked(this.slice) !== query) return;
      this.told.textContent = "";
      this.tiles = [tile];
      this.paint();
      this.closer();
      if (this.found && this.found.parts.length > 1)
        this.heading.querySelector("small")?.replaceWith(...this.others(this.found));
      this.script();
      if (this.slice + 1 < this.facts.depth) this.tile(this.asked(this.slice + 1)).catch(() => {});
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError") this.told.textContent = wrong(error);
    } finally {
      if (waiting === this.waiting) this.box.removeAttribute("aria-busy");
    }
  }

  /**
   * Stop what was asked for before, unless it is known.
   * @param {string} query
   */
  signal(query) {
    if (this.known.has(query)) return undefined;
    this.asking.abort();
    this.asking = new AbortController();
    return this.asking.signal;
  }

  /** @param {number} slice from 0 */
  asked(slice) {
    const query = this.query;
    query.set("slice", String(slice + 1));
    if (this.over) query.set("over", String(this.over));
    return String(query);
  }

  /**
   * @param {string} query
   * @param {AbortSignal} [signal]
   * @param {[number, number]} [corner]
   * @returns {Promise<Tile>}
   */
  async tile(query, signal, corner = [0, 0]) {
    const before = this.known.get(query);
    if (before) return before;
    const answer = await fetch(`${this.url}?${query}`, { signal, credentials: "same-origin" });
    if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => null));
    const { width, values } = npy(await answer.arrayBuffer());
    const [x, y] = corner;
    const step =
      corner === undefined || query.includes("window=")
        ? 1
        : Math.max(1, Math.ceil(Math.max(this.facts.width, this.facts.height) / 2048));
    const made = { values, width, x, y, step };
    this.known.set(query, made);
    if (this.known.size > KEPT) this.known.delete(/** @type {string} */ (this.known.keys().next().value));
    return made;
  }

  /** Where an image was thinned and one looks closer, its own pixels are asked for. */
  closer() {
    if (!this.tiles.length || this.tiles[0].step === 1) return;
    clearTimeout(this.later);
    this.later = setTimeout(async () => {
      const [left, right, low, high] = this.picture.seen.map(Math.round);
      if (right - left > 2048 || high - low > 2048 || right <= left || high <= low) return;
      const before = this.asked(this.slice);
      const tile = await this.tile(`${before}&window=${left + 1}+${right}+${low + 1}+${high}`, undefined, [left, low]);
      if (before !== this.asked(this.slice)) return;
      this.tiles = [this.tiles[0], tile];
      this.paint();
    }, 200);
  }

  /** Draw what is there in the colours that are chosen now: nothing is asked. */
  paint() {
    if (!this.tiles.length) return;
    const { ramp, stretch, turned, share } = this.band;
    const ends = this.fixed ?? limits(this.tiles[0].values, share);
    this.limits = ends;
    this.picture.show(this.tiles, table(ramp, stretch, turned), ends);
    this.band.legend(ends, this.over ? "" : pretty(this.part.unit));
  }

  script() {
    const { facts, box, picture } = this;
    const absolute = (/** @type {string | undefined} */ url) => new URL(url ?? "", location.href).href;
    /** @type {Record<number, number>} */
    const held = {};
    for (const one of this.query.getAll("at")) held[Number(one.split(":")[0])] = Number(one.split(":")[1]);
    this.code.textContent = python({
      file: absolute(box.dataset.file),
      data: absolute(this.url),
      medium: facts.medium,
      part: facts.part,
      sizes: this.part.axes.map((one) => one.size),
      image: facts.image,
      through: facts.through,
      held,
      slice: this.slice + 1,
      value: `${this.axisName} ${told(this.axis, this.slice)}`,
      over: this.over,
      pixel: picture.chosen ? [picture.chosen[0] + 1, picture.chosen[1] + 1] : null,
      region: picture.region,
      query: String(this.query),
    });
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export async function mount(box, workspace) {
  const facts = await workspace.ask(box.dataset.url ?? "", { state: queryOf(workspace), pane: "cube" });
  await new Cube(box, workspace, facts).begin();
}

export { Cube };
