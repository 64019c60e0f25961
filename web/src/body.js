// A planet, a moon, the Sun: rows as outlines, boxes and points over its picture and a grid, or over the Sun's disc, flat or from above a pole; where rows are
// many, as counts. Tied both ways with the selection; a box that is drawn becomes a condition.
import { viridis } from "./colours.js";
import { button, find, make, table, wrong } from "./dom.js";
import { Gestures } from "./gestures.js";
import { Globe, PLANET } from "./globe.js";
import { counted, layers, under } from "./layers.js";
import { faint, Legend, sized } from "./legend.js";
import { boxes, CLOSEST } from "./plane.js";
import { paint } from "./sheet.js";
/** @import {Frame, Layer, Places, Translate} from "./answers.js" */
/** @import {Box, Edges, Plane} from "./plane.js" */
/** @import {Pen} from "./sheet.js" */
/** @import {Workspace} from "./workspace.js" */

const [ROW, CHOSEN, ASKED] = ["#8fe6ff", "#ff5a36", "#9df09d"]; // on grey ground and on red
const NEAR = 6; // pixels: a point is as big as that
const MANY = 300; // boxes: more are drawn fainter
const WAIT = 350; // milliseconds after a movement
const PART = 1000; // rows that come with their outlines
const LOOKS = { _row: null, _sort: null, _cols: null, _plot: null, _map: null };

class Body {
  /** @type {Box[]} */
  boxes = [];
  /** The same by their keys.
   * @type {Map<string, Box>} */
  keyed = new Map();
  /** @type {string[]} */
  names = [];
  most = 0; // rows of the fullest box, where they are counted
  files = false; // each is one of an observation's
  partial = false; // closer up there is more to see
  /** @type {string | null} */
  asked = null;
  /** @type {string | null} */
  search = null;
  later = 0;
  clear = { chosen: 1, region: 1 };
  under = make("div", { className: "under", "aria-live": "polite" });

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    const { selection, state, t } = workspace;
    this.workspace = workspace;
    this.here = table(box);
    this.covering = box.dataset.footprints !== undefined;
    this.told = find(box, ".told");
    const marks = { draw: this.marked.bind(this) };
    this.globe = new Globe(find(box, ".drawn-map"), marks, () => this.moved(), (one) => workspace.number(one)); // prettier-ignore
    const { canvas, place } = this.globe;
    canvas.setAttribute("aria-label", t("Map: arrows move it, + and - zoom, 0 shows all"));
    place.after(this.under);
    const [lon, lat, zoom, colour = "", pole = ""] = (state.get("_map") ?? "").split(",");
    if ([lon, lat, zoom].every((one) => one && Number.isFinite(Number(one)))) {
      this.globe.look = { lon: Number(lon), lat: Number(lat), zoom: Math.min(Math.max(Number(zoom), 1), CLOSEST) };
      this.globe.pole = ["north", "south"].includes(pole) ? pole : "";
      this.kept = true; // the address says where to look
    }
    this.legend = new Legend(
      workspace,
      colour && decodeURIComponent(colour),
      () => this.coloured(),
      () => this.repaint(),
    );
    this.gestures = new Gestures(canvas, this.acts());
    this.grounds = make("select", { "aria-label": t("Picture of the body") });
    place.before(this.bar(), layers(t, this.layers()));
    place.after(this.legend.box);
    selection.on("change", ({ name }) => this.selected(name));
    state.on("change", () => this.load());
    window.hven = { ...window.hven, body: this };
  }

  acts() {
    const { selection } = this.workspace;
    return {
      move: (/** @type {number} */ x, /** @type {number} */ y) => this.globe.move(x, y),
      zoom: (/** @type {number} */ times, /** @type {number[]} */ at) => this.globe.zoom(times, at),
      tap: (/** @type {number[]} */ at) => this.tapped(at),
      hover: (/** @type {number[] | null} */ at) => (at ? this.pointed(at) : selection.set("hover", null)),
      box: (/** @type {number[]} */ from, /** @type {number[]} */ to, /** @type {boolean} */ done) =>
        this.boxed(from, to, done),
      reset: () => this.globe.show(null, ""),
    };
  }

  bar() {
    const { t } = this.workspace;
    const middle = () => [this.globe.canvas.width / 2, this.globe.canvas.height / 2];
    const draw = button(t("Draw a box"), () => {
      this.gestures.drawing = !this.gestures.drawing;
      draw.setAttribute("aria-pressed", String(this.gestures.drawing));
    });
    draw.setAttribute("aria-pressed", "false");
    this.drawing = draw;
    this.poles = [
      button(t("Whole map"), () => this.globe.show(null, "")),
      button(t("North pole"), () => this.globe.show(null, "north")),
      button(t("South pole"), () => this.globe.show(null, "south")),
    ];
    this.grounds.addEventListener("change", () => this.globe.ground.show(this.grounds.value));
    this.grounds.hidden = true;
    return make(
      "p",
      { className: "bar" },
      button("+", () => this.globe.zoom(1.6, middle()), { "aria-label": t("Zoom in") }),
      button("−", () => this.globe.zoom(1 / 1.6, middle()), { "aria-label": t("Zoom out") }),
      ...this.poles,
      button(t("Fit to rows"), () => this.globe.fit(this.boxes)),
      draw,
      this.grounds,
    );
  }

  /** @returns {Layer[]} */
  layers() {
    const { t } = this.workspace;
    const showing = (/** @type {"chosen" | "region"} */ name) => (/** @type {boolean} */ on, /** @type {number} */ opacity) => {
      this.clear[name] = on ? opacity : 0;
      this.globe.soon();
    }; // prettier-ignore
    const layer = (/** @type {{opacity: number}} */ one) => (/** @type {boolean} */ on, /** @type {number} */ opacity) => {
      one.opacity = on ? opacity : 0;
      this.globe.soon();
    }; // prettier-ignore
    const rows = (/** @type {boolean} */ on, /** @type {number} */ opacity) => {
      this.globe.clear = on ? opacity : 0;
      this.globe.soon();
    };
    const told = t("where there are many: counts of cells, dark few, bright many");
    return [
      { name: t("Picture of the body"), sign: "area", colour: "#8a7766", set: layer(this.globe.ground) },
      { name: t("Rows"), sign: "line", colour: ROW, told, set: rows },
      { name: t("Chosen rows"), sign: "line", colour: CHOSEN, set: showing("chosen") },
      { name: t("Region of the search"), sign: "line", colour: ASKED, set: showing("region") },
      { name: t("Names"), sign: "line", colour: "#e1e6f5", set: layer(this.globe.labels) },
      { name: t("Grid"), sign: "line", colour: "#6f7aa8", set: layer(this.globe.grid) },
    ];
  }

  /** @returns {Promise<void>} */
  async load() {
    const { workspace } = this;
    const search = String(workspace.state.with(LOOKS));
    const anew = search !== this.search;
    const near = this.partial && !anew ? this.part() : null;
    const state = workspace.state.with({ ...LOOKS, _view_at: near, _c: this.legend.column || null });
    if (String(state) === this.asked) return;
    this.asked = String(state);
    this.search = search;
    if (anew) this.under.replaceChildren();
    try {
      /** @type {Places} */
      const found = await workspace.ask(`${this.here}/places`, { state, pane: "body" });
      this.take(found, !near);
      if (anew && !this.kept) this.globe.fit(this.boxes);
      this.kept = false;
      this.globe.soon();
    } catch (error) {
      this.asked = null;
      if (this.legend.gone(error)) return this.load();
      this.told.replaceChildren(
        wrong(error),
        " ",
        button(workspace.t("Try again"), () => this.load()),
      );
    }
  }

  /**
   * @param {Places} found
   * @param {boolean} whole
   */
  take(found, whole) {
    const { t } = this.workspace;
    this.globe.frame = found.frame ?? PLANET;
    this.boxes = boxes(found.shapes, found.keys, found.counts, found.outlines);
    this.keyed = new Map(this.boxes.map((one) => [one.key, one]));
    this.names = found.names ?? [];
    this.files = found.files ?? false;
    this.most = found.counts.length ? Math.max(...found.counts) : 0;
    if (whole) this.partial = this.most > 0 || found.keys.length > PART;
    this.globe.km = found.km ?? 0;
    this.globe.labels.km = this.globe.km;
    this.globe.labels.list = found.features ?? [];
    this.legend.take(found);
    const pictures = found.grounds ?? [];
    const options = pictures.map(({ kind, url }) => make("option", { value: this.workspace.base + url, textContent: t(kind) })); // prettier-ignore
    const others = [...this.grounds.options].map(({ value }) => value).join() !== [...options.map(({ value }) => value), ""].join(); // prettier-ignore
    if (whole && others) {
      this.grounds.replaceChildren(...options, make("option", { value: "", textContent: t("no picture") }));
      this.grounds.hidden = !pictures.length;
      this.globe.ground.show(this.grounds.value);
    }
    this.grounds.title = pictures[0]?.notice ?? "";
    for (const one of this.poles ?? []) one.hidden = Boolean(this.globe.frame.radius);
    const drawn = counted({ ...found, shown: this.boxes.length, cells: this.most > 0 }, this.workspace);
    const lacking = found.uninstalled && found.body && !pictures.length;
    const hint = t("no pictures of bodies are installed: run scripts/web, or install a wheel of Hven");
    this.told.textContent = [drawn, said(this.globe.frame, t), ...(lacking ? [hint] : [])].join(" · ");
    this.repaint();
  }

  /** What is looked at, and a little more, as the server is asked for it; null: all. */
  part() {
    const [west, south, east, north] = this.globe.plane.seen;
    if (this.globe.frame.radius ? this.globe.plane.zoom < 1.2 : east - west >= 350 && north - south > 150) return null;
    const [wide, high] = [(east - west) * 0.1, (north - south) * 0.1];
    const [, bottom, , top] = this.globe.frame.box;
    return [west - wide, Math.max(south - high, bottom), east + wide, Math.min(north + high, top)].map((one) => one.toFixed(3)).join(","); // prettier-ignore
  }

  /**
   * Draw what is chosen, and the region that is searched in.
   * @param {CanvasRenderingContext2D} ctx
   * @param {Plane} plane
   * @param {number} ratio
   */
  marked(ctx, plane, ratio) {
    const { clear } = this;
    const { selection, state } = this.workspace;
    ctx.globalAlpha = clear.chosen;
    const lit = { fill: "rgba(255,90,54,.45)", stroke: CHOSEN, width: 2 * ratio, size: sized(this.boxes.length) + 2 };
    for (const key of new Set([selection.chosen, selection.hover, ...selection.marked])) {
      const one = key && this.keyed.get(key);
      if (one) paint(ctx, plane, one, lit);
    }
    ctx.globalAlpha = clear.region;
    const region = plane.searched(this.globe.frame.fields.map((name) => state.get(name)));
    if (region) {
      ctx.setLineDash([4, 4]);
      const asked = { fill: "rgba(157,240,157,.06)", stroke: ASKED, width: 1.5 * ratio };
      paint(ctx, plane, { ...region, key: "", count: 1, at: 0 }, asked);
      ctx.setLineDash([]);
    }
    ctx.globalAlpha = 1;
  }

  /** Give the rows their colours anew. */
  repaint() {
    const ratio = devicePixelRatio || 1;
    const number = this.boxes.length;
    const [inner, edge] = number > MANY ? [0.12, 0.45] : [0.24, 0.95];
    const size = sized(number);
    /** @type {Map<string, Pen>} */
    const pens = new Map();
    this.globe.sheet.set(this.boxes, ({ at, count }) => {
      if (this.most) return { fill: viridis(0.15 + (0.85 * Math.log1p(count)) / Math.log1p(this.most)) };
      const colour = this.legend.colour(at, ROW);
      if (colour === null) return null;
      const known = pens.get(colour);
      if (known) return known;
      const pen = { fill: faint(colour, inner), stroke: faint(colour, edge), width: ratio, size };
      pens.set(colour, pen);
      return pen;
    });
    this.globe.soon();
  }

  /** Another column was chosen to colour by. */
  coloured() {
    this.tell();
    this.load();
  }

  /** Something else is looked at: the address says so when it rests, and what is seen closer up is asked for. */
  moved() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      this.tell();
      if (this.partial) this.load();
    }, WAIT);
  }

  /** Write into the address what is looked at, and how it is coloured. */
  tell() {
    const { lon, lat, zoom } = this.globe.looked();
    const colour = this.legend.column ? encodeURIComponent(this.legend.column).replaceAll(",", "%2C") : "";
    const parts = [lon.toFixed(3), lat.toFixed(3), String(Number(zoom.toFixed(3))), colour, this.globe.pole];
    while (!parts[parts.length - 1]) parts.pop();
    this.workspace.state.set({ _map: parts.join(",") }, { replace: true });
  }

  /** @param {string} name */
  selected(name) {
    const { chosen } = this.workspace.selection;
    const one = name === "chosen" && chosen ? this.keyed.get(chosen) : null;
    if (one) {
      const { plane } = this.globe;
      const [west, east] = plane.span(one);
      const [lon, lat] = [(west + east) / 2, (one.south + one.north) / 2];
      const [x, y] = plane.point(lon, lat);
      if (this.globe.pole && (this.globe.pole === "north" ? lat < 0 : lat > 0))
        this.globe.show({ lon, lat, zoom: 1 }, "");
      else if (x < 0 || y < 0 || x > plane.width || y > plane.height) this.globe.show({ lon, lat, zoom: plane.zoom });
    }
    this.globe.soon();
  }

  /** @param {number[]} pixel */
  hits(pixel) {
    const shown = this.legend.hidden.size
      ? this.boxes.filter(({ at }) => this.legend.colour(at, ROW) !== null)
      : this.boxes;
    return this.globe.plane.under(shown, pixel, NEAR * (devicePixelRatio || 1));
  }

  /** @param {number[]} pixel */
  pointed(pixel) {
    const { selection, t } = this.workspace;
    const [hit] = this.hits(pixel);
    const total = this.workspace.number(hit?.count ?? 0);
    const many = hit?.count ? (this.files ? t("{total} files", { total }) : t("{total} rows", { total })) : "";
    const title = many || (hit ? (this.names[hit.at] ?? "") : "");
    if (this.globe.canvas.title !== title) this.globe.canvas.title = title;
    selection.set("hover", hit?.key ?? null);
  }

  /** @param {number[]} pixel */
  tapped(pixel) {
    this.globe.canvas.focus({ preventScroll: true });
    const found = this.hits(pixel);
    const [hit] = found;
    if (hit?.count) return this.within(hit); // a closer look
    const degrees = this.covering && this.globe.frame.said !== "helioprojective";
    const keys = found.map((one) => one.key).filter(Boolean);
    const names = new Map(found.map((one) => [one.key, this.names[one.at] ?? ""]));
    under(this.under, keys, this.workspace, degrees ? this.globe.plane.back(pixel) : null, names);
    if (!hit?.key) return;
    this.workspace.choose(hit.key);
    this.under.scrollTop = 0;
  }

  /**
   * A box is drawn: search in it when it is done.
   * @param {number[]} from
   * @param {number[]} to
   * @param {boolean} done
   */
  boxed(from, to, done) {
    this.globe.drag = done ? null : [from, to];
    this.globe.soon();
    if (!done || from === to) return;
    this.gestures.drawing = false;
    this.drawing?.setAttribute("aria-pressed", "false");
    const { plane } = this.globe;
    if (!plane.pole) return this.within(plane.between(from, to));
    const [one, other] = [plane.back(from)[1], plane.back(to)[1]]; // from above a pole: a ring of latitudes
    this.within({ west: 0, east: 360, south: Math.min(one, other), north: Math.max(one, other) });
  }

  /** @param {Edges} box */
  within(box) {
    this.workspace.state.set({ ...this.globe.plane.within(box), _row: null });
  }
}

/**
 * What longitudes and latitudes are, in words.
 * @param {Frame} frame
 * @param {Translate} t
 */
function said(frame, t) {
  if (frame.said === "helioprojective") return t("helioprojective angles, in arcsec, west to the right");
  if (frame.said === "Carrington") return t("Carrington longitude and latitude, in degrees");
  return t("longitude, to the east, and latitude, in degrees");
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  return new Body(box, workspace).load();
}
