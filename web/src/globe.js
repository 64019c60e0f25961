// The map of a body on a canvas: what is looked at, moving and zooming, layers one above the other.
import { make } from "./dom.js";
import { Grid, Ground, Names, ruled } from "./grounds.js";
import { CLOSEST, fitted, Plane } from "./plane.js";
import { Pole } from "./poles.js";
import { Sheet } from "./sheet.js";
/** @import {Frame} from "./answers.js" */
/** @import {Drawn} from "./grounds.js" */
/** @import {Box, Look} from "./plane.js" */

const BACK = "#10141f";
const POLAR = 60; // degrees: rows that all lie beyond are looked at from above the pole
/** @type {Frame} */
export const PLANET = { box: [0, -90, 360, 90], fields: ["c1", "c2"], unit: "deg", radius: 0, said: "planetary" };

export class Globe {
  frame = PLANET;
  /** @type {Look | null} */
  look = null; // null: all
  pole = "";
  km = 0; // radius of the body
  clear = 1; // of the rows
  /** @type {number[][] | null} */
  drag = null; // the corners of a box that is drawn
  frames = 0; // a picture is on its way
  canvas = make("canvas", { className: "body", tabIndex: 0 });
  sheet = new Sheet(() => this.soon());
  ground = new Ground(() => this.soon());
  grid = new Grid();
  labels = new Names();

  /**
   * @param {HTMLElement} place
   * @param {Drawn} marks what is drawn above the rows
   * @param {() => void} moved something else is looked at
   * @param {(value: number) => string} number
   */
  constructor(place, marks, moved, number) {
    this.place = place;
    this.marks = marks;
    this.moved = moved;
    this.number = number;
    place.append(this.canvas);
    new ResizeObserver(() => this.soon()).observe(place);
  }

  get plane() {
    const { canvas, frame, look, pole } = this;
    return pole
      ? new Pole(frame, canvas.width, canvas.height, look, pole)
      : new Plane(frame, canvas.width, canvas.height, look);
  }

  /** Draw before the next picture of the screen, once. */
  soon() {
    if (this.frames) return;
    this.frames = requestAnimationFrame(() => {
      this.frames = 0;
      this.draw();
    });
  }

  draw() {
    const { canvas, clear } = this;
    const ratio = devicePixelRatio || 1;
    this.measure();
    const { width: wide, height: high } = canvas;
    if (!wide || !high) return;
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    ctx.fillStyle = BACK;
    ctx.fillRect(0, 0, wide, high);
    const { plane } = this;
    ctx.save();
    edged(ctx, plane);
    this.ground.draw(ctx, plane);
    if (this.frame.radius) this.grid.draw(ctx, plane, ratio);
    ctx.globalAlpha = clear;
    if (clear) this.sheet.draw(ctx, plane);
    ctx.globalAlpha = 1;
    if (!this.frame.radius) this.grid.draw(ctx, plane, ratio);
    this.marks.draw(ctx, plane, ratio);
    this.labels.draw(ctx, plane, ratio);
    ctx.restore();
    if (this.km) ruled(ctx, plane, ratio, this.km, this.number);
    if (!this.drag) return;
    const [from, to] = this.drag;
    ctx.strokeStyle = "#fff";
    ctx.setLineDash([6, 4]);
    ctx.strokeRect(from[0], from[1], to[0] - from[0], to[1] - from[1]);
    ctx.setLineDash([]);
  }

  /** Make the canvas as large as its place. */
  measure() {
    const { canvas, place } = this;
    const ratio = devicePixelRatio || 1;
    const [wide, high] = [Math.round(place.clientWidth * ratio), Math.round(place.clientHeight * ratio)];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  }

  /**
   * Look at something else.
   * @param {Look | null} look
   * @param {string} [pole]
   */
  show(look, pole = this.pole) {
    this.look = look;
    this.pole = this.frame.radius ? "" : pole;
    this.soon();
    this.moved();
  }

  /** @returns {Look} */
  looked() {
    if (this.look) return this.look;
    const { plane } = this;
    return { lon: plane.lon, lat: plane.lat, zoom: plane.zoom };
  }

  /**
   * Move by so many pixels.
   * @param {number} x
   * @param {number} y
   */
  move(x, y) {
    const { plane } = this;
    const [lon, lat] = plane.back([plane.width / 2 - x, plane.height / 2 - y]);
    const [west, south, east, north] = this.frame.box;
    const kept = this.frame.radius ? Math.min(Math.max(lon, west), east) : lon;
    this.show({ lon: kept, lat: Math.min(Math.max(lat, south), north), zoom: plane.zoom });
  }

  /**
   * Zoom; what lies under a pixel stays there.
   * @param {number} times
   * @param {number[]} at
   */
  zoom(times, at) {
    const { zoom } = this.looked();
    const next = Math.min(Math.max(zoom * times, 1), CLOSEST);
    const [lon, lat] = this.plane.back(at);
    this.look = { ...this.looked(), zoom: next };
    const [x, y] = this.plane.point(lon, lat);
    this.move(at[0] - x, at[1] - y);
  }

  /**
   * Look at all of some boxes.
   * @param {Box[]} list
   */
  fit(list) {
    const { canvas } = this;
    this.measure();
    const flat = new Plane(this.frame, canvas.width, canvas.height);
    if (!this.frame.radius && list.length) {
      const pole = list.every(({ south }) => south > POLAR) ? "north" : list.every(({ north }) => north < -POLAR) ? "south" : ""; // prettier-ignore
      if (pole) return this.show(null, pole);
    }
    const look = fitted(list, flat);
    this.show(look && look.zoom > 1.05 ? look : null, "");
  }

  /**
   * Give where a place is in the page, for those who try the map.
   * @param {number} lon
   * @param {number} lat
   */
  pixel(lon, lat) {
    const area = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / area.width;
    const [x, y] = this.plane.point(lon, lat);
    return { x: area.x + x / ratio, y: area.y + y / ratio };
  }
}

/**
 * Keep what is drawn within the map: once round, or the hemisphere.
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 */
function edged(ctx, plane) {
  if (!plane.round) return;
  ctx.beginPath();
  if (plane.pole) {
    const [x, y] = plane.point(0, plane.pole === "north" ? 90 : -90);
    ctx.arc(x, y, 90 * plane.scale, 0, 2 * Math.PI);
  } else ctx.rect(plane.x(plane.lon - 180), plane.y(90), 360 * plane.scale, 180 * plane.scale);
  ctx.clip();
}
