// The globe: the tiles of the flat view on a sphere, by WebGL or, without it, as a coarser picture. It is turned by
// dragging and pinching.
import { buildTileTemplate } from "./map_document.js";
import { GlobePicture } from "./globe_picture.js";
import { GlobeRenderer } from "./globe_renderer.js";
import { GlobeProjection, RADIANS, normalizeLongitude } from "./projections.js";
import { chooseLevel, getTileBox, listGlobeTiles, TileStore } from "./tile_store.js";
/** @import {DrawnLayer, MapDocument, TileFrame} from "./map_document.js" */
/** @import {MapPosition} from "./projections.js" */

const WHEEL_STEP = 0.0015; // of the logarithm of the scale, by a pixel of the wheel
const MAX_PICTURE_LEVEL = 2; // without WebGL

/** The view of a body from far away. */
export class GlobeView {
  /** @type {MapPosition} */
  position = { lon: 0, lat: 0, scale: 1 };
  /** @type {DrawnLayer[]} */
  drawnLayers = [];
  /** The pointers that are down.
   * @type {Map<number, [number, number]>} */
  pointers = new Map();
  frameRequest = 0;
  listeners = new AbortController();

  /**
   * @param {HTMLElement} element
   * @param {MapDocument} mapDocument
   * @param {TileFrame} tileFrame
   * @param {() => void} handleChange called after each picture
   */
  constructor(element, mapDocument, tileFrame, handleChange) {
    this.element = element;
    this.tileFrame = tileFrame;
    this.handleChange = handleChange;
    this.radius = mapDocument.radii_m.sphere;
    this.store = new TileStore(() => this.scheduleDraw());
    this.createCanvas();
    const { signal } = this.listeners;
    element.addEventListener("pointerdown", (event) => this.handleDown(event), { signal });
    element.addEventListener("pointermove", (event) => this.handleDrag(event), { signal });
    for (const name of /** @type {const} */ (["pointerup", "pointercancel"]))
      element.addEventListener(name, (event) => this.pointers.delete(event.pointerId), { signal });
    const handleWheel = (/** @type {WheelEvent} */ event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * WHEEL_STEP));
    };
    element.addEventListener("wheel", handleWheel, { signal, passive: false });
    element.addEventListener("dblclick", () => this.zoomBy(2), { signal });
  }

  createCanvas() {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "globe";
    try {
      this.renderer = new GlobeRenderer(this.canvas);
    } catch {
      this.canvas = document.createElement("canvas"); // a canvas keeps the kind of its first context
      this.canvas.className = "globe";
      this.renderer = new GlobePicture(this.canvas);
    }
    this.element.prepend(this.canvas);
    this.resize();
  }

  /** @returns {{width: number, height: number}} */
  get size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  get projection() {
    return new GlobeProjection(this.radius, this.size, this.position);
  }

  /** @param {MapPosition} position */
  moveTo({ lon, lat, scale }) {
    const { resolutions } = this.tileFrame.set;
    const side = Math.max(Math.min(this.size.width, this.size.height), 1);
    const minScale = (resolutions[resolutions.length - 1] * RADIANS * this.radius) / 16;
    this.position = {
      lon: normalizeLongitude(lon),
      lat: Math.min(Math.max(lat, -90), 90),
      scale: Math.min(Math.max(scale, minScale), (8 * this.radius) / side),
    };
    this.scheduleDraw();
  }

  /** @param {number} factor */
  zoomBy(factor) {
    this.moveTo({ ...this.position, scale: this.position.scale / factor });
  }

  /** @param {DrawnLayer[]} drawnLayers */
  setLayers(drawnLayers) {
    this.drawnLayers = drawnLayers;
    this.scheduleDraw();
  }

  scheduleDraw() {
    if (!this.frameRequest) this.frameRequest = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frameRequest = 0;
    const { position, radius, renderer, size, tileFrame } = this;
    if (!size.width || !renderer) return;
    const { set } = tileFrame;
    renderer.begin(size, devicePixelRatio || 1, position, radius);
    for (const drawnLayer of this.drawnLayers) {
      const template = buildTileTemplate(drawnLayer, tileFrame.name);
      if (!template) continue;
      const degreesPerPixel = position.scale / (radius * RADIANS) / (devicePixelRatio || 1);
      const level = chooseLevel(set, drawnLayer.layer.max_zoom[tileFrame.name] ?? 99, degreesPerPixel);
      const z = renderer instanceof GlobePicture ? Math.min(level, MAX_PICTURE_LEVEL) : level;
      for (const address of listGlobeTiles(set, z, radius, size, position)) {
        const tilePicture = this.store.findBest(template, address);
        if (tilePicture) renderer.drawTile(getTileBox(set, address), tilePicture, drawnLayer.opacity);
      }
    }
    if (renderer instanceof GlobePicture) renderer.finish();
    this.handleChange();
  }

  get isBusy() {
    return this.frameRequest !== 0 || this.store.pending > 0;
  }

  /** @param {PointerEvent} event */
  handleDown(event) {
    if (event.button) return;
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (event.target instanceof Element) event.target.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  handleDrag(event) {
    const previous = this.pointers.get(event.pointerId);
    if (!previous) return;
    const { lon, lat, scale } = this.position;
    const otherPointers = [...this.pointers].filter(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (otherPointers.length) {
      const [x, y] = otherPointers[0][1];
      const before = Math.hypot(previous[0] - x, previous[1] - y);
      this.zoomBy(Math.hypot(event.clientX - x, event.clientY - y) / Math.max(before, 1));
      return;
    }
    const degrees = scale / this.radius / RADIANS;
    const cosine = Math.max(Math.cos(lat * RADIANS), 0.2);
    this.moveTo({
      lon: lon - ((event.clientX - previous[0]) * degrees) / cosine,
      lat: lat + (event.clientY - previous[1]) * degrees,
      scale,
    });
  }

  /** @param {CanvasRenderingContext2D} ctx */
  copyPicture(ctx) {
    this.draw();
    if (this.canvas) ctx.drawImage(this.canvas, 0, 0);
  }

  resize() {
    const ratio = devicePixelRatio || 1;
    if (!this.canvas) return;
    [this.canvas.width, this.canvas.height] = [this.size.width * ratio, this.size.height * ratio];
    this.scheduleDraw();
  }

  close() {
    cancelAnimationFrame(this.frameRequest);
    this.listeners.abort();
    this.renderer?.close();
    this.canvas?.remove();
  }
}
