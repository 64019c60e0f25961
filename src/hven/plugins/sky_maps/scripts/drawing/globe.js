// The canvas of a body's map: view, moving, zooming, and layers from bottom to top.
import { createElement } from "hven/dom.js";
import { CoordinateGrid, BaseMap, FeatureNames, drawScaleBar } from "./body_map_layers.js";
import { MAX_ZOOM, fitView, MapPlane } from "./map_plane.js";
import { PolarPlane } from "./polar_plane.js";
import { OffscreenLayer } from "./offscreen_layer.js";
/** @import {Frame} from "hven/answers.js" */
/** @import {MapLayer} from "./body_map_layers.js" */
/** @import {Box, MapView} from "./map_plane.js" */

const BACKGROUND_COLOUR = "#10141f";
const POLAR_LATITUDE_DEGREES = 60; // rows that all lie beyond this latitude are shown from above the pole
/** @type {Frame} */
export const PLANET = { box: [0, -90, 360, 90], fields: ["c1", "c2"], unit: "deg", radius: 0, said: "planetary" };

/** The map of a body on a canvas. */
export class Globe {
  frame = PLANET;
  /** @type {MapView | null} */
  view = null; // null: everything
  pole = "";
  km = 0; // radius of the body
  rowOpacity = 1;
  /** The corners of the box that is being drawn.
   * @type {number[][] | null} */
  dragCorners = null;
  frameRequest = 0; // id of the next frame, if one is requested
  canvas = createElement("canvas", { className: "body", tabIndex: 0 });
  offscreen = new OffscreenLayer(() => this.scheduleDraw());
  baseMap = new BaseMap(() => this.scheduleDraw());
  grid = new CoordinateGrid();
  labels = new FeatureNames();

  /**
   * @param {HTMLElement} place
   * @param {MapLayer} overlay drawn above the rows
   * @param {() => void} onMove called when the view has changed
   * @param {(value: number) => string} formatNumber
   */
  constructor(place, overlay, onMove, formatNumber) {
    this.container = place;
    this.overlay = overlay;
    this.onMove = onMove;
    this.formatNumber = formatNumber;
    place.append(this.canvas);
    new ResizeObserver(() => this.scheduleDraw()).observe(place);
  }

  get plane() {
    const { canvas, frame, view, pole } = this;
    return pole
      ? new PolarPlane(frame, canvas.width, canvas.height, view, pole)
      : new MapPlane(frame, canvas.width, canvas.height, view);
  }

  /** Draw in the next frame. */
  scheduleDraw() {
    if (this.frameRequest) return;
    this.frameRequest = requestAnimationFrame(() => {
      this.frameRequest = 0;
      this.draw();
    });
  }

  /** Draw all layers. */
  draw() {
    const { canvas, rowOpacity } = this;
    const ratio = devicePixelRatio || 1;
    this.resizeCanvas();
    const { width, height } = canvas;
    if (!width || !height) return;
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    ctx.fillStyle = BACKGROUND_COLOUR;
    ctx.fillRect(0, 0, width, height);
    const { plane } = this;
    ctx.save();
    clipToMap(ctx, plane);
    this.baseMap.draw(ctx, plane);
    if (this.frame.radius) this.grid.draw(ctx, plane, ratio);
    ctx.globalAlpha = rowOpacity;
    if (rowOpacity) this.offscreen.draw(ctx, plane);
    ctx.globalAlpha = 1;
    if (!this.frame.radius) this.grid.draw(ctx, plane, ratio);
    this.overlay.draw(ctx, plane, ratio);
    this.labels.draw(ctx, plane, ratio);
    ctx.restore();
    if (this.km) drawScaleBar(ctx, plane, ratio, this.km, this.formatNumber);
    if (!this.dragCorners) return;
    const [from, to] = this.dragCorners;
    ctx.strokeStyle = "#fff";
    ctx.setLineDash([6, 4]);
    ctx.strokeRect(from[0], from[1], to[0] - from[0], to[1] - from[1]);
    ctx.setLineDash([]);
  }

  /** Resize the canvas to its container. */
  resizeCanvas() {
    const { canvas, container } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(container.clientWidth * ratio), Math.round(container.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  }

  /**
   * Change the view.
   * @param {MapView | null} view
   * @param {string} [pole]
   */
  show(view, pole = this.pole) {
    this.view = view;
    this.pole = this.frame.radius ? "" : pole;
    this.scheduleDraw();
    this.onMove();
  }

  /**
   * Return the current view.
   * @returns {MapView}
   */
  getView() {
    if (this.view) return this.view;
    const { plane } = this;
    return { lon: plane.lon, lat: plane.lat, zoom: plane.zoom };
  }

  /**
   * Move by a number of pixels.
   * @param {number} x
   * @param {number} y
   */
  move(x, y) {
    const { plane } = this;
    const [lon, lat] = plane.toCoordinates([plane.width / 2 - x, plane.height / 2 - y]);
    const [west, south, east, north] = this.frame.box;
    const keptLon = this.frame.radius ? Math.min(Math.max(lon, west), east) : lon;
    this.show({ lon: keptLon, lat: Math.min(Math.max(lat, south), north), zoom: plane.zoom });
  }

  /**
   * Zoom; the place under a pixel stays there.
   * @param {number} factor
   * @param {number[]} pixel
   */
  zoom(factor, pixel) {
    const { zoom } = this.getView();
    const next = Math.min(Math.max(zoom * factor, 1), MAX_ZOOM);
    const [lon, lat] = this.plane.toCoordinates(pixel);
    this.view = { ...this.getView(), zoom: next };
    const [x, y] = this.plane.toPixel(lon, lat);
    this.move(pixel[0] - x, pixel[1] - y);
  }

  /**
   * Fit the view to boxes.
   * @param {Box[]} boxes
   */
  fit(boxes) {
    const { canvas } = this;
    this.resizeCanvas();
    const flatPlane = new MapPlane(this.frame, canvas.width, canvas.height);
    if (!this.frame.radius && boxes.length) {
      if (boxes.every(({ south }) => south > POLAR_LATITUDE_DEGREES)) return this.show(null, "north");
      if (boxes.every(({ north }) => north < -POLAR_LATITUDE_DEGREES)) return this.show(null, "south");
    }
    const view = fitView(boxes, flatPlane);
    this.show(view && view.zoom > 1.05 ? view : null, "");
  }

  /**
   * Return where a place is on the page, for tests and the console.
   * @param {number} lon
   * @param {number} lat
   */
  locateOnPage(lon, lat) {
    const area = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / area.width;
    const [x, y] = this.plane.toPixel(lon, lat);
    return { x: area.x + x / ratio, y: area.y + y / ratio };
  }
}

/**
 * Clip to the map: one full circle of longitudes, or a hemisphere.
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapPlane} plane
 */
function clipToMap(ctx, plane) {
  if (!plane.isCyclic) return;
  ctx.beginPath();
  if (plane.pole) {
    const [x, y] = plane.toPixel(0, plane.pole === "north" ? 90 : -90);
    ctx.arc(x, y, 90 * plane.scale, 0, 2 * Math.PI);
  } else ctx.rect(plane.lonToX(plane.lon - 180), plane.latToY(90), 360 * plane.scale, 180 * plane.scale);
  ctx.clip();
}
