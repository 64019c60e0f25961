// A planet, a moon, the Sun: rows as outlines, boxes and points over a plain grid of longitude and latitude, or over the Sun's disc; where rows are
// many, as counts. Tied both ways with the selection; a box that is drawn becomes a condition.
import { viridis } from "./colours.js";
import { button, find, make, table, wrong } from "./dom.js";
import { layers, under } from "./layers.js";
import { boxes, Plane } from "./plane.js";
/** @import {Frame, Layer, Places, Translate} from "./answers.js" */
/** @import {Box, Edges} from "./plane.js" */
/** @import {Workspace} from "./workspace.js" */

const [ROW, CHOSEN, ASKED] = ["#ffb26b", "#ff5a36", "#9df09d"];
const [GROUND, LINES, WORDS] = ["#141a2b", "rgba(160,175,220,.25)", "rgba(190,200,230,.8)"];
const NEAR = 6; // pixels: a point is as big as that
const MANY = 300; // boxes: more are drawn fainter
const LOOKS = { _row: null, _sort: null, _cols: null, _plot: null, _map: null };
/** @type {Frame} */
const PLANET = { box: [0, -90, 360, 90], fields: ["c1", "c2"], unit: "deg", radius: 0, said: "planetary" };

/** @typedef {{fill: string, stroke?: string, width?: number}} Pen */
/** @typedef {"rows" | "chosen" | "grid" | "region"} Shown a layer */

class Body {
  frame = PLANET;
  /** @type {Box[]} */
  boxes = [];
  most = 0; // rows of the fullest box, where they are counted
  /** @type {{from: number[], to: number[] | null} | null} */
  drag = null;
  /** @type {string | null} */
  asked = null;
  covering = false; // rows have footprints
  clear = { rows: 1, chosen: 1, grid: 1, region: 1 };
  canvas = make("canvas", { className: "body" });
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
    this.place = find(box, ".drawn-map");
    this.told = find(box, ".told");
    this.place.append(this.canvas);
    this.place.after(this.under);
    this.hear();
    const hint = t("Draw a box to search in it; a click shows all rows under the point.");
    this.place.before(make("p", { className: "soft hint", textContent: hint }), layers(t, this.layers()));
    selection.on("change", () => this.draw());
    state.on("change", () => this.load());
    new ResizeObserver(() => this.draw()).observe(this.place);
  }

  /** @returns {Layer[]} */
  layers() {
    const { t } = this.workspace;
    const showing = (/** @type {Shown} */ name) => (/** @type {boolean} */ on, /** @type {number} */ opacity) => {
      this.clear[name] = on ? opacity : 0;
      this.draw();
    };
    const told = t("where there are many: counts of cells, dark few, bright many");
    return [
      { name: t("Rows"), sign: "line", colour: ROW, told, set: showing("rows") },
      { name: t("Chosen rows"), sign: "line", colour: CHOSEN, set: showing("chosen") },
      { name: t("Region of the search"), sign: "line", colour: ASKED, set: showing("region") },
      { name: t("Grid"), sign: "line", colour: "#6f7aa8", set: showing("grid") },
    ];
  }

  async load() {
    const { workspace } = this;
    const state = workspace.state.with(LOOKS);
    if (String(state) === this.asked) return;
    this.asked = String(state);
    this.under.replaceChildren();
    try {
      /** @type {Places} */
      const found = await workspace.ask(`${this.here}/places`, { state, pane: "body" });
      this.frame = found.frame ?? PLANET;
      this.boxes = boxes(found.shapes, found.keys, found.counts, found.outlines);
      this.most = found.counts.length ? Math.max(...found.counts) : 0;
      this.told.textContent = `${this.counted(found.total)} · ${said(this.frame, workspace.t)}`;
      this.draw();
    } catch (error) {
      this.asked = null;
      this.told.replaceChildren(
        wrong(error),
        " ",
        button(workspace.t("Try again"), () => this.load()),
      );
    }
  }

  /** @param {number} rows */
  counted(rows) {
    const { t } = this.workspace;
    const total = this.workspace.number(rows);
    const shown = this.workspace.number(this.boxes.length);
    if (this.most) return t("{total} rows in view, as counts of cells", { total });
    return this.boxes.length < rows
      ? t("{total} rows, {shown} of them drawn", { total, shown })
      : t("{total} rows", { total });
  }

  get plane() {
    return new Plane(this.frame, this.canvas.width, this.canvas.height);
  }

  draw() {
    const { canvas, clear, drag, place } = this;
    const ratio = devicePixelRatio || 1;
    canvas.width = place.clientWidth * ratio;
    canvas.height = place.clientHeight * ratio;
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    ctx.fillStyle = GROUND;
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.globalAlpha = clear.grid;
    if (this.frame.radius) disc(ctx, this.plane, ratio);
    else meridians(ctx, this.plane, ratio);
    ctx.globalAlpha = clear.rows;
    for (const one of this.boxes) this.paint(ctx, one, this.pen(one, ratio));
    ctx.globalAlpha = clear.chosen;
    const lit = { fill: "rgba(255,90,54,.45)", stroke: CHOSEN, width: 2 * ratio };
    for (const one of this.boxes) if (this.workspace.selection.has(one.key)) this.paint(ctx, one, lit);
    ctx.globalAlpha = clear.region;
    const region = this.plane.searched(this.frame.fields.map((name) => this.workspace.state.get(name)));
    if (region) {
      ctx.setLineDash([4, 4]);
      this.paint(ctx, region, { fill: "rgba(157,240,157,.06)", stroke: ASKED, width: 1.5 * ratio });
      ctx.setLineDash([]);
    }
    ctx.globalAlpha = 1;
    if (!drag?.to) return;
    ctx.strokeStyle = "#fff";
    ctx.setLineDash([6, 4]);
    ctx.strokeRect(drag.from[0], drag.from[1], drag.to[0] - drag.from[0], drag.to[1] - drag.from[1]);
    ctx.setLineDash([]);
  }

  /**
   * Give what a box of rows is drawn with.
   * @param {Box} box
   * @param {number} ratio
   * @returns {Pen}
   */
  pen({ count }, ratio) {
    if (this.most) return { fill: viridis(0.15 + (0.85 * Math.log1p(count)) / Math.log1p(this.most)) };
    const many = this.boxes.length > MANY;
    const [inner, edge] = many ? [0.1, 0.35] : [0.22, 0.9];
    return { fill: `rgba(255,178,107,${inner})`, stroke: `rgba(255,178,107,${edge})`, width: ratio };
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Edges & {count?: number, rings?: number[][]}} box
   * @param {Pen} pen
   */
  paint(ctx, box, { fill, stroke, width = 0 }) {
    const { plane } = this;
    const ratio = devicePixelRatio || 1;
    ctx.fillStyle = fill;
    ctx.lineWidth = width;
    if (stroke) ctx.strokeStyle = stroke;
    if (box.rings?.length && !plane.small(box, 3 * ratio)) {
      const { area, outline } = plane.traced(box.rings);
      ctx.fill(area, "evenodd");
      if (stroke) ctx.stroke(outline);
      return;
    }
    for (const [west, east] of plane.parts(box)) {
      const [left, top] = [plane.x(west), plane.y(box.north)];
      const [wide, high] = [plane.x(east) - left, plane.y(box.south) - top];
      if (!box.count && wide < 3 * ratio && high < 3 * ratio) {
        ctx.beginPath(); // a point
        ctx.arc(left + wide / 2, top + high / 2, (NEAR / 2) * ratio, 0, 2 * Math.PI);
        ctx.fill();
        if (stroke) ctx.stroke();
        continue;
      }
      ctx.fillRect(left, top, Math.max(wide, 2), Math.max(high, 2));
      if (stroke) ctx.strokeRect(left, top, Math.max(wide, 2), Math.max(high, 2));
    }
  }

  /**
   * Give the pixel of the canvas that a pointer is at.
   * @param {PointerEvent} event
   */
  at(event) {
    const area = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / area.width;
    return [(event.clientX - area.left) * ratio, (event.clientY - area.top) * ratio];
  }

  /** @param {number[]} pixel */
  hits(pixel) {
    return this.plane.under(this.boxes, pixel, NEAR * (devicePixelRatio || 1));
  }

  hear() {
    const { canvas } = this;
    const { selection } = this.workspace;
    canvas.addEventListener("pointerdown", (event) => {
      this.drag = { from: this.at(event), to: null };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => this.moved(this.at(event)));
    canvas.addEventListener("pointerup", (event) => this.released(this.at(event)));
    canvas.addEventListener("pointercancel", () => {
      this.drag = null;
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => {
      if (!this.drag) selection.set("hover", null);
    });
  }

  /** @param {number[]} pixel */
  moved(pixel) {
    const { selection, t } = this.workspace;
    if (this.drag) {
      this.drag.to = pixel;
      this.draw();
      return;
    }
    const [hit] = this.hits(pixel);
    this.canvas.title = hit?.count ? t("{total} rows", { total: this.workspace.number(hit.count) }) : "";
    selection.set("hover", hit?.key ?? null);
  }

  /** @param {number[]} pixel */
  released(pixel) {
    const { from, to } = this.drag ?? { from: pixel, to: null };
    this.drag = null;
    if (to && Math.hypot(to[0] - from[0], to[1] - from[1]) > 6) return this.box(from, pixel);
    const found = this.hits(from);
    const [hit] = found;
    if (hit?.count) return this.within(hit); // a closer look
    const degrees = this.covering && this.frame.said !== "helioprojective";
    const keys = found.map((one) => one.key).filter(Boolean);
    under(this.under, keys, this.workspace, degrees ? this.plane.back(from) : null);
    if (!hit?.key) return;
    this.workspace.choose(hit.key);
    this.under.scrollTop = 0;
  }

  /**
   * Search in a box that was drawn from one pixel to another.
   * @param {number[]} from
   * @param {number[]} to
   */
  box(from, to) {
    const [[x1, y1], [x2, y2]] = [this.plane.back(from), this.plane.back(to)];
    this.within({ west: Math.min(x1, x2), east: Math.max(x1, x2), south: Math.min(y1, y2), north: Math.max(y1, y2) });
  }

  /** @param {Edges} box */
  within(box) {
    this.workspace.state.set({ ...this.plane.within(box), _row: null });
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
 * @param {CanvasRenderingContext2D} ctx
 * @param {number[]} from
 * @param {number[]} to
 */
function line(ctx, from, to) {
  ctx.beginPath();
  ctx.moveTo(from[0], from[1]);
  ctx.lineTo(to[0], to[1]);
  ctx.stroke();
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} ratio
 */
function ink(ctx, ratio) {
  ctx.strokeStyle = LINES;
  ctx.fillStyle = WORDS;
  ctx.font = `${11 * ratio}px system-ui`;
  ctx.lineWidth = ratio;
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 * @param {number} ratio
 */
function meridians(ctx, plane, ratio) {
  const { height, width } = ctx.canvas;
  ink(ctx, ratio);
  for (let lon = 0; lon < 360; lon += 30) {
    line(ctx, [plane.x(lon), 0], [plane.x(lon), height]);
    ctx.fillText(`${lon}°`, plane.x(lon) + 3 * ratio, height - 4 * ratio);
  }
  for (let lat = -60; lat <= 60; lat += 30) {
    line(ctx, [0, plane.y(lat)], [width, plane.y(lat)]);
    ctx.fillText(`${lat}°`, 3 * ratio, plane.y(lat) - 3 * ratio);
  }
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 * @param {number} ratio
 */
function disc(ctx, plane, ratio) {
  const { height, width } = ctx.canvas;
  ink(ctx, ratio);
  ctx.beginPath();
  ctx.arc(plane.x(0), plane.y(0), plane.frame.radius * plane.across, 0, 2 * Math.PI);
  ctx.fillStyle = "rgba(255,214,120,.12)";
  ctx.fill();
  ctx.strokeStyle = "rgba(255,214,120,.7)";
  ctx.stroke();
  ink(ctx, ratio);
  for (let at = -1000; at <= 1000; at += 500) {
    line(ctx, [plane.x(at), 0], [plane.x(at), height]);
    line(ctx, [0, plane.y(at)], [width, plane.y(at)]);
    ctx.fillText(`${at}″`, plane.x(at) + 3 * ratio, height - 4 * ratio);
    ctx.fillText(`${at}″`, 3 * ratio, plane.y(at) - 3 * ratio);
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  return new Body(box, workspace).load();
}
