// The sky: rows as points, footprints or counts of cells, tied both ways with the selection; a region that is drawn becomes a condition.
// Aladin Lite (GPL-3, with its licence beside it) is a file of its own that this pane loads by its address; the rest of Hven is BSD-3.
import { clearer, viridis } from "./colours.js";
import { button, find, make, table, wrong } from "./dom.js";
import { around, centre, distance, holds, looked, outline, pairs } from "./geometry.js";
import { counted, layers, under } from "./layers.js";
import { faint, Legend, sized } from "./legend.js";
import { chart, Coverage, named, Survey } from "./charts.js";
import { CLEAR, COLOURS, listed } from "./sky_layers.js";
/** @import {Places, Region} from "./answers.js" */
/** @import {Outline, Place} from "./geometry.js" */
/** @import {Workspace} from "./workspace.js" */

const NEAR = 8; // pixels: what is so close to the pointer is under it
const WAIT = 300; // milliseconds after a movement
const WIDE = 60; // degrees: who sees more than that sees everything
const [POINT, SHAPE, ASKED, COVERED, LIT] = COLOURS;
const FITTED = 500; // rows that the map is fitted to
const ASIDE = ["_map", "_row", "_plot", "_sort", "_cols", "_view"]; // change nothing of what is drawn
const LOOKS = { _row: null, _sort: null, _cols: null, _plot: null, _map: null };

/** @typedef {{key: string, text: string} & Outline} Drawn a footprint that is drawn */

export class Sky {
  /** Where a row is, by its key.
   * @type {Map<string, Place | null>} */
  placed = new Map();
  /** @type {Drawn[]} */
  shapes = [];
  /** What rows are called, by their keys.
   * @type {Map<string, string>} */
  names = new Map();
  /** @type {Places | null} */
  found = null;
  clearness = CLEAR;
  solid = 1; // how clear points and footprints are drawn
  size = 4; // of points
  most = 1;
  /** @type {string | null} */
  asked = null;
  /** The region of the search, as it was asked for last.
   * @type {string | null} */
  region = null;
  later = 0;
  fresh = true; // rows were asked for that the map has not shown yet

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   * @param {any} A Aladin Lite
   */
  constructor(box, workspace, A) {
    this.A = A;
    this.box = box;
    this.workspace = workspace;
    this.here = table(box);
    this.place = find(box, ".drawn-map");
    this.told = find(box, ".told"); // of the rows
    this.under = make("div", { className: "under", "aria-live": "polite" });
    this.aladin = chart(A, this.place, box.dataset.sky ?? "", looked(workspace.state.get("_map")));
    named(this.place, workspace);
    const at = workspace.state.get("_map");
    this.fresh = !at || String(looked(at)) !== at.split(",").slice(0, 3).map(Number).join();
    const colour = decodeURIComponent(at?.split(",")[3] ?? "");
    const recolour = () => {
      this.tell();
      this.draw();
    };
    this.legend = new Legend(workspace, colour, recolour, () => this.found && this.rows(this.found));
    this.overlays = this.overlaid();
    this.survey = new Survey(A, this.aladin, box, workspace);
    this.coverage = new Coverage(A, this.aladin, COVERED, `${this.here}/moc?_of=coverage&_as=json`, workspace);
    this.place.before(this.bar());
    this.place.after(this.under, this.legend.box);
    this.told.after(this.survey.lacking, this.coverage.lacking);
    this.place.before(layers(workspace.t, listed(this)));
    this.follow();
    this.survey.begin();
    this.outlineRegion();
  }

  overlaid() {
    const { A, aladin } = this;
    const circle = (/** @type {any} */ source, /** @type {CanvasRenderingContext2D} */ ctx) => {
      const part = Math.log1p(source.data.count) / Math.log1p(this.most);
      ctx.beginPath();
      ctx.arc(source.x, source.y, 3 + 6 * part, 0, 2 * Math.PI);
      ctx.fillStyle = faint(viridis(0.15 + 0.85 * part), this.clearness);
      ctx.fill();
    };
    const point = (/** @type {any} */ source, /** @type {CanvasRenderingContext2D} */ ctx) => {
      ctx.beginPath();
      ctx.arc(source.x, source.y, this.size, 0, 2 * Math.PI);
      ctx.fillStyle = faint(source.data.colour, 0.35 * this.solid);
      ctx.fill();
      ctx.strokeStyle = faint(source.data.colour, this.solid);
      ctx.lineWidth = 1.2;
      ctx.stroke();
    };
    const points = { name: "rows", color: clearer(POINT, 1), sourceSize: 10, shape: point, onClick: null };
    // no pointer finds the marks of what is chosen: one that is gone would stay drawn where it was
    const chosen = { name: "chosen", color: LIT, sourceSize: 18, shape: "circle", readOnly: true };
    const made = {
      points: A.catalog(points),
      cells: A.catalog({ name: "counts", shape: circle }),
      chosen: A.catalog(chosen),
      shapes: A.graphicOverlay({ name: "footprints", color: clearer(SHAPE, 1), lineWidth: 1.5 }),
      lit: A.graphicOverlay({ name: "lit", color: LIT, lineWidth: 3 }),
      asks: A.graphicOverlay({ name: "region", color: clearer(ASKED, 1), lineWidth: 2 }),
    };
    for (const one of [made.shapes, made.asks, made.lit]) aladin.addOverlay(one);
    for (const one of [made.cells, made.points, made.chosen]) aladin.addCatalog(one);
    return made;
  }

  follow() {
    const { selection, state } = this.workspace;
    this.aladin.on("positionChanged", () => this.moved());
    this.aladin.on("zoomChanged", () => this.moved());
    this.aladin.on("click", (/** @type {any} */ event) => this.clicked(event));
    this.aladin.on("objectHovered", (/** @type {any} */ object) => {
      const key = object?.data?.key ?? object?.key;
      if (key) selection.set("hover", key);
    });
    selection.on("change", ({ name }) => {
      if (name === "chosen") this.reach(selection.chosen);
      this.mark();
    });
    state.on("change", ({ changed }) => {
      this.outlineRegion();
      if (!changed?.every((name) => name === "_map")) this.under.replaceChildren(); // a map that moves has the same rows there
      if (changed?.every((name) => ASIDE.includes(name))) return;
      this.fresh = true;
      this.coverage.draw();
      this.draw();
    });
  }

  /** What is seen: its centre, how wide it is, and the radius of the circle around it. */
  get view() {
    const [lon, lat] = this.aladin.getRaDec();
    const [wide, high] = this.aladin.getFov();
    return { lon, lat, wide, radius: Math.min(Math.hypot(wide, high) / 2, 180) };
  }

  /** @returns {Promise<void>} */
  async draw() {
    const { told } = this;
    const { lon, lat, radius } = this.view;
    const near = radius < WIDE && !this.fresh ? `${lon.toFixed(4)},${lat.toFixed(4)},${radius.toFixed(4)}` : "";
    const state = this.workspace.state.with({ _view_at: near || null, _c: this.legend.column || null, ...LOOKS });
    if (String(state) === this.asked) return;
    this.asked = String(state);
    try {
      /** @type {Places} */
      const found = await this.workspace.ask(`${this.here}/places`, { state, pane: "sky" });
      this.legend.take(found);
      this.found = found;
      const cellular = found.counts.length > 0;
      const { cells, points } = this.overlays;
      for (const one of [cells, points]) one.removeAll();
      told.textContent = cellular ? this.counts(found) : this.rows(found);
      this.mark();
      if (!this.fresh) return;
      this.fresh = false;
      if (!cellular) this.fit();
      else if (radius < WIDE) await this.draw();
    } catch (error) {
      this.asked = null;
      if (this.legend.gone(error)) return this.draw();
      const again = button(this.workspace.t("Try again"), () => this.draw());
      told.replaceChildren(wrong(error), " ", again);
    }
  }

  /**
   * Draw counts of cells.
   * @param {Places} found
   */
  counts({ lon, lat, counts, total, files }) {
    const { A } = this;
    this.forgotten();
    this.most = Math.max(...counts);
    this.overlays.cells.addSources(lon.map((x, at) => A.source(x, lat[at], { count: counts[at] })));
    return counted({ total, shown: 0, cells: true, files }, this.workspace);
  }

  /**
   * Draw rows as points and footprints.
   * @param {Places} found
   */
  rows({ lon, lat, keys, names, shapes, total, files }) {
    const { A, legend } = this;
    this.forgotten();
    this.size = sized(keys.length);
    const shown = keys.map((_, at) => legend.colour(at, ""));
    const seen = keys.map((_, at) => at).filter((at) => shown[at] !== null && lon[at] !== undefined);
    this.overlays.points.addSources(
      seen.map((at) => A.source(lon[at], lat[at], { key: keys[at], colour: shown[at] || POINT })),
    );
    keys.forEach((key, at) => {
      if (shown[at] !== null) this.placed.set(key, lon[at] === undefined ? centre(shapes[at]) : [lon[at], lat[at]]);
      if (names[at]) this.names.set(key, names[at]);
    });
    shapes.forEach((text, at) => {
      const shape = shown[at] === null ? null : outline(text);
      if (!shape) return;
      this.shapes.push({ key: keys[at], text, ...shape });
      this.overlays.shapes.add(Object.assign(this.shape(shape, shown[at]), { key: keys[at] }));
    });
    return counted({ total, shown: shapes.length || total, cells: false, files }, this.workspace);
  }

  /** Nothing is drawn of rows any more. */
  forgotten() {
    this.overlays.points.removeAll();
    this.overlays.shapes.removeAll();
    this.placed = new Map();
    this.names = new Map();
    this.shapes = [];
  }

  /** Look at all rows that were found, if they are not too many. */
  fit() {
    const places = /** @type {Place[]} */ ([...this.placed.values()].filter(Boolean));
    const circle = places.length && places.length <= FITTED ? around(places) : null;
    if (!circle) return;
    this.aladin.gotoRaDec(circle[0], circle[1]);
    this.aladin.setFoV(Math.min(Math.max(2.6 * circle[2], 0.5), 180));
  }

  /**
   * Bring a row into view.
   * @param {string | null} key
   */
  reach(key) {
    const at = key ? this.placed.get(key) : null;
    if (!at) return;
    const pixel = this.aladin.world2pix(at[0], at[1]);
    const { clientWidth: wide, clientHeight: high } = this.place;
    if (!pixel || pixel[0] < 0 || pixel[1] < 0 || pixel[0] > wide || pixel[1] > high) this.aladin.gotoRaDec(at[0], at[1]); // prettier-ignore
  }

  /**
   * @param {Outline} outlined
   * @param {string | null} [colour]
   */
  shape({ circle, corners }, colour = null) {
    const options = colour ? { color: colour } : {};
    return circle ? this.A.circle(circle[0], circle[1], circle[2], options) : this.A.polygon(corners, options);
  }

  /** Draw the region that is searched in. */
  async outlineRegion() {
    const { state } = this.workspace;
    const { asks } = this.overlays;
    const now = `${state.get("_near") ?? ""}|${state.get("_in") ?? ""}`;
    if (now === this.region) return;
    this.region = now;
    asks.removeAll();
    if (now === "|") return;
    const path = `${this.here}/moc?_of=region&_as=shape`;
    /** @type {Region | null} */
    const region = await this.workspace.ask(path, { pane: "sky-region" }).catch(() => null);
    if (region?.circle) asks.add(this.shape({ circle: region.circle }));
    else if (region?.polygon) asks.add(this.shape({ corners: pairs(region.polygon) }));
  }

  /** Let the map forget what it was clicked on: what is chosen is ours to show, and its own mark stays where it was when the map changes its size. */
  forget() {
    this.aladin.selectObjects(null);
  }

  mark() {
    const { A } = this;
    const { chosen, lit } = this.overlays;
    const { selection } = this.workspace;
    this.forget();
    chosen.removeAll();
    lit.removeAll();
    for (const one of this.shapes) if (selection.has(one.key)) lit.add(this.shape(one));
    for (const key of new Set([selection.chosen, selection.hover, ...selection.marked])) {
      const at = key && this.placed.get(key);
      if (at) chosen.addSources([A.source(at[0], at[1], { key })]);
    }
  }

  moved() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      this.tell();
      this.draw();
    }, WAIT);
  }

  /** Write into the address what is looked at, and how it is coloured. */
  tell() {
    const { lon, lat, wide } = this.view;
    const colour = encodeURIComponent(this.legend.column).replaceAll(",", "%2C");
    const parts = [...[lon, lat, wide].map((one) => one.toFixed(3)), ...(colour ? [colour] : [])];
    this.workspace.state.set({ _map: parts.join(",") }, { replace: true });
  }

  /**
   * All rows under a point of the map: those whose footprint holds it, and those whose position is close.
   * @param {{x: number, y: number, ra: number, dec: number, isDragging: boolean}} event
   */
  clicked({ x, y, ra, dec, isDragging }) {
    if (isDragging || !Number.isFinite(ra)) return;
    const keys = new Set(this.shapes.filter((one) => one.key && holds(one, [ra, dec])).map((one) => one.key));
    for (const [key, at] of this.placed) {
      if (!key || !at || keys.has(key) || Math.abs(at[1] - dec) > 90) continue;
      const pixel = this.aladin.world2pix(at[0], at[1]);
      if (pixel && Math.hypot(pixel[0] - x, pixel[1] - y) <= NEAR) keys.add(key);
    }
    const found = [...keys];
    under(this.under, found, this.workspace, this.box.dataset.footprints === undefined ? null : [ra, dec], this.names);
    setTimeout(() => this.forget()); // it marks what was clicked after it has told so
    if (found.length === 1) this.workspace.choose(found[0]);
  }

  bar() {
    const { t } = this.workspace;
    const drawn = (/** @type {string} */ kind) => () =>
      this.aladin.select(kind, (/** @type {any} */ region) => this.take(kind, region));
    const seen = () => {
      const { lon, lat, radius } = this.view;
      this.within({ _near: [lon, lat, radius].map((one) => one.toFixed(5)).join(","), _in: null });
    };
    return make(
      "p",
      { className: "bar" },
      button(t("Draw a circle"), drawn("circle")),
      button(t("Draw a polygon"), drawn("poly")),
      button(t("Search in what is seen"), seen),
    );
  }

  /** @param {Record<string, string | null>} region */
  within(region) {
    this.workspace.state.set({ ...region, _row: null });
  }

  /**
   * Search in a region that was drawn.
   * @param {string} kind
   * @param {any} region
   */
  take(kind, region) {
    const { aladin } = this;
    if (kind === "circle") {
      const middle = aladin.pix2world(region.x, region.y);
      const edge = aladin.pix2world(region.x + region.r, region.y);
      if (!middle || !edge) return;
      const circle = [...middle, distance(middle, edge)].map((one) => one.toFixed(5));
      this.within({ _in: `CIRCLE ${circle.join(" ")}`, _near: null });
    } else {
      const vertices = /** @type {{x: number, y: number}[]} */ (region.vertices ?? []);
      const corners = vertices.map(({ x, y }) => aladin.pix2world(x, y)).filter(Boolean);
      const written = corners.map(([x, y]) => `${x.toFixed(5)} ${y.toFixed(5)}`);
      if (corners.length > 2) this.within({ _in: `POLYGON ${written.join(" ")}`, _near: null });
    }
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 * @returns {Promise<void>}
 */
export async function mount(box, workspace) {
  const { t } = workspace;
  let A;
  try {
    if (!box.dataset.aladin) throw new Error(t("Hven was installed without Aladin Lite"));
    ({ default: A } = await import(box.dataset.aladin));
    await A.init;
  } catch (/** @type {any} */ error) {
    const [place, told] = [find(box, ".drawn-map"), find(box, ".told")];
    const again = button(t("Try again"), () => {
      told.textContent = "";
      place.hidden = false;
      mount(box, workspace);
    });
    told.replaceChildren(t("The map cannot be drawn here: {why}", { why: error.message }), " ", again);
    place.hidden = true;
    return;
  }
  const sky = new Sky(box, workspace, A);
  window.hven = { ...window.hven, aladin: sky.aladin };
  await sky.draw();
}
