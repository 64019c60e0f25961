// An image on a canvas: zoom, pan, and selection of a pixel or a region by pointer, touch and keys. It sends no
// requests.
import { getColour } from "hven/plot_drawing.js";
import { colourValues } from "hven/colour_maps.js";
import { EventEmitter } from "hven/workspace.js";

/**
 * @typedef {{values: ArrayLike<number>, width: number, x: number, y: number, step: number}} ImageTile
 * values of an image from its pixel x, y on (from 0), every step-th pixel
 */
/**
 * @typedef {{kind: "box" | "circle" | "polygon", numbers: number[]}} ImageRegion
 * in pixels; the first has its centre at 1
 */
/** @typedef {[number, number]} ImagePoint */

const CLICK_TOLERANCE_PIXELS = 5;
const MAX_ZOOM = 64; // screen pixels per image pixel
export const DRAWING_TOOLS = ["box", "circle", "polygon", "move"];

/**
 * The zoomable image of a slice.
 * @extends {EventEmitter<{
 *   over: {x: number, y: number},
 *   out: {},
 *   pixel: {x: number, y: number},
 *   region: {region: ImageRegion},
 *   view: {},
 * }>}
 */
export class CubeImage extends EventEmitter {
  tool = "box";
  zoom = 1; // screen pixels per image pixel
  /** The centre of the view, in image pixels from the lower left corner.
   * @type {ImagePoint} */
  centre = [0, 0];
  /** @type {ImageTile[]} */
  tiles = [];
  /** @type {HTMLCanvasElement[]} */
  tileCanvases = [];
  /** @type {ImagePoint | null} */
  chosenPixel = null;
  /** @type {ImagePoint | null} */
  cursor = null;
  /** @type {ImageRegion | null} */
  region = null;
  /** @type {ImagePoint[]} */
  corners = [];
  /**
   * @type {{start: ImagePoint, current: ImagePoint, startScreen: ImagePoint, hasMoved: boolean, isPan: boolean} | null}
   */
  drag = null;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.size = [1, 1];
    canvas.tabIndex = 0;
    canvas.addEventListener("pointerdown", (event) => this.handleDown(event));
    canvas.addEventListener("pointermove", (event) => this.handleMove(event));
    canvas.addEventListener("pointerup", (event) => this.handleUp(event));
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("pointerleave", () => this.emit("out", {}));
    canvas.addEventListener("dblclick", () => this.finishPolygon());
    canvas.addEventListener("keydown", (event) => this.handleKey(event));
    canvas.addEventListener("wheel", (event) => this.handleWheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /**
   * Set the size of the image; a new size resets the view.
   * @param {number} width
   * @param {number} height
   */
  setSize(width, height) {
    if (width === this.size[0] && height === this.size[1]) return;
    this.size = [width, height];
    this.fitToCanvas();
  }

  /** Fit the whole image into the canvas. */
  fitToCanvas() {
    const [width, height] = this.size;
    const { clientWidth, clientHeight } = this.canvas;
    this.zoom = Math.min(clientWidth / width, clientHeight / height) || 1;
    this.centre = [width / 2, height / 2];
    this.draw();
    this.emit("view", {});
  }

  /**
   * Show tiles with colours and limits.
   * @param {ImageTile[]} tiles
   * @param {Uint32Array} colours
   * @param {[number, number]} limits
   */
  showTiles(tiles, colours, limits) {
    this.tiles = tiles;
    this.tileCanvases = tiles.map(({ values, width }) => {
      const tileCanvas = document.createElement("canvas");
      [tileCanvas.width, tileCanvas.height] = [width, values.length / width];
      const imageData = new ImageData(colourValues(values, width, colours, limits), width);
      tileCanvas.getContext("2d")?.putImageData(imageData, 0, 0);
      return tileCanvas;
    });
    this.draw();
  }

  /**
   * Return the value of a pixel, from 0, of the finest tile that contains it.
   * @param {number} x
   * @param {number} y
   */
  getValue(x, y) {
    for (const { values, width, x: left, y: low, step } of [...this.tiles].reverse()) {
      const [column, row] = [Math.floor((x - left) / step), Math.floor((y - low) / step)];
      if (column >= 0 && column < width && row >= 0 && row < values.length / width) return values[row * width + column];
    }
    return NaN;
  }

  /** The visible part of the image: minimum x, maximum x, minimum y, maximum y. */
  get bounds() {
    const { clientWidth, clientHeight } = this.canvas;
    const [dx, dy] = [clientWidth / 2 / this.zoom, clientHeight / 2 / this.zoom];
    const [x, y] = this.centre;
    const clamp = (/** @type {number} */ coordinate, /** @type {number} */ maximum) =>
      Math.min(Math.max(coordinate, 0), maximum);
    const [width, height] = this.size;
    return [clamp(x - dx, width), clamp(x + dx, width), clamp(y - dy, height), clamp(y + dy, height)];
  }

  /**
   * Convert a point of the image to the screen.
   * @param {ImagePoint} point of the image
   * @returns {ImagePoint}
   */
  toScreen([x, y]) {
    const { clientWidth, clientHeight } = this.canvas;
    return [clientWidth / 2 + (x - this.centre[0]) * this.zoom, clientHeight / 2 - (y - this.centre[1]) * this.zoom];
  }

  /**
   * Convert the position of an event to a point of the image.
   * @param {{offsetX: number, offsetY: number}} event
   * @returns {ImagePoint} of the image
   */
  toImage({ offsetX, offsetY }) {
    const { clientWidth, clientHeight } = this.canvas;
    return [
      this.centre[0] + (offsetX - clientWidth / 2) / this.zoom,
      this.centre[1] - (offsetY - clientHeight / 2) / this.zoom,
    ];
  }

  /** Draw the tiles and the marks. */
  draw() {
    const { canvas, zoom } = this;
    const context = canvas.getContext("2d");
    if (!context || !canvas.clientWidth) return;
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    this.tileCanvases.forEach((tileCanvas, index) => {
      const { x, y, step } = this.tiles[index];
      const [left, top] = this.toScreen([x, y + tileCanvas.height * step]);
      context.drawImage(tileCanvas, left, top, tileCanvas.width * step * zoom, tileCanvas.height * step * zoom);
    });
    this.drawMarks(context);
  }

  /**
   * Draw the region, the chosen pixel and the keyboard cursor.
   * @param {CanvasRenderingContext2D} context
   */
  drawMarks(context) {
    const mark = getColour("--mark");
    const strokeTwice = (/** @type {() => void} */ tracePath) => {
      for (const [colour, width] of /** @type {[string, number][]} */ ([
        ["#fff", 3.5],
        [mark, 1.8],
      ])) {
        context.beginPath();
        tracePath();
        Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
        context.stroke();
      }
    };
    const region = this.drag?.hasMoved && !this.drag.isPan ? this.getDraggedRegion() : this.region;
    if (region) strokeTwice(() => this.traceRegion(context, region));
    if (this.corners.length)
      strokeTwice(() =>
        this.traceRegion(context, { kind: "polygon", numbers: this.corners.flatMap(([x, y]) => [x + 0.5, y + 0.5]) }),
      );
    if (this.chosenPixel) strokeTwice(() => this.traceSquare(context, /** @type {ImagePoint} */ (this.chosenPixel)));
    if (this.cursor && document.activeElement === this.canvas) {
      context.setLineDash([3, 3]);
      strokeTwice(() => this.traceSquare(context, /** @type {ImagePoint} */ (this.cursor)));
      context.setLineDash([]);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {ImagePoint} pixel
   */
  traceSquare(context, [x, y]) {
    const size = Math.max(this.zoom, 9);
    const [left, top] = this.toScreen([x + 0.5, y + 0.5]);
    context.rect(left - size / 2, top - size / 2, size, size);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {ImageRegion} region
   */
  traceRegion(context, { kind, numbers }) {
    const toScreen = (/** @type {number} */ x, /** @type {number} */ y) => this.toScreen([x - 0.5, y - 0.5]);
    if (kind === "circle") {
      const [x, y] = toScreen(numbers[0], numbers[1]);
      context.arc(x, y, numbers[2] * this.zoom, 0, 7);
    } else if (kind === "box") {
      const [[left, low], [right, top]] = [
        toScreen(numbers[0] - 0.5, numbers[2] - 0.5),
        toScreen(numbers[1] + 0.5, numbers[3] + 0.5),
      ];
      context.rect(left, top, right - left, low - top);
    } else {
      for (let corner = 0; corner < numbers.length; corner += 2)
        context.lineTo(...toScreen(numbers[corner], numbers[corner + 1]));
      context.closePath();
    }
  }

  /**
   * Return the region of the current drag.
   * @returns {ImageRegion | null}
   */
  getDraggedRegion() {
    if (!this.drag) return null;
    const [[x1, y1], [x2, y2]] = [this.drag.start, this.drag.current];
    const [width, height] = this.size;
    if (this.tool === "circle") {
      const rounded = [x1 + 0.5, y1 + 0.5, Math.hypot(x2 - x1, y2 - y1)].map(
        (number) => Math.round(number * 100) / 100,
      );
      return { kind: "circle", numbers: rounded };
    }
    const toPixel = (/** @type {number} */ coordinate, /** @type {number} */ maximum) =>
      Math.min(Math.max(Math.floor(coordinate) + 1, 1), maximum);
    const xs = [toPixel(x1, width), toPixel(x2, width)].sort((a, b) => a - b);
    const ys = [toPixel(y1, height), toPixel(y2, height)].sort((a, b) => a - b);
    return { kind: "box", numbers: [...xs, ...ys] };
  }

  /** @param {PointerEvent} event */
  handleDown(event) {
    if (event.button > 1) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const start = this.toImage(event);
    const isPan = this.tool === "move" || event.shiftKey || event.button === 1;
    this.drag = { start, current: start, startScreen: [event.offsetX, event.offsetY], hasMoved: false, isPan };
  }

  /** @param {PointerEvent} event */
  handleMove(event) {
    const position = this.toImage(event);
    const { drag } = this;
    if (
      drag &&
      Math.hypot(event.offsetX - drag.startScreen[0], event.offsetY - drag.startScreen[1]) > CLICK_TOLERANCE_PIXELS
    )
      drag.hasMoved = true;
    if (drag?.hasMoved) {
      if (drag.isPan) {
        this.centre = [this.centre[0] + drag.start[0] - position[0], this.centre[1] + drag.start[1] - position[1]];
        this.emit("view", {});
      } else drag.current = position;
      this.draw();
    }
    this.reportPosition(position);
  }

  /**
   * Dispatch the pixel under a point.
   * @param {ImagePoint} point
   */
  reportPosition([x, y]) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column >= 0 && row >= 0 && column < this.size[0] && row < this.size[1])
      this.emit("over", { x: column, y: row });
    else this.emit("out", {});
  }

  /** @param {PointerEvent} event */
  handleUp(event) {
    const { drag } = this;
    const region = this.tool === "polygon" ? null : this.getDraggedRegion();
    this.drag = null;
    if (!drag) return;
    if (drag.hasMoved) {
      if (!drag.isPan && region) this.setRegion(region);
      return;
    }
    const [x, y] = this.toImage(event).map(Math.floor);
    if (x < 0 || y < 0 || x >= this.size[0] || y >= this.size[1]) return;
    if (this.tool !== "polygon") return this.choosePixel(x, y);
    this.corners.push([x + 0.5, y + 0.5]);
    this.draw();
  }

  /**
   * Choose a pixel.
   * @param {number} x
   * @param {number} y
   */
  choosePixel(x, y) {
    [this.chosenPixel, this.cursor, this.region] = [[x, y], [x, y], null];
    this.draw();
    this.emit("pixel", { x, y });
  }

  /**
   * Choose a region.
   * @param {ImageRegion} region
   */
  setRegion(region) {
    [this.region, this.chosenPixel] = [region, null];
    this.draw();
    this.emit("region", { region });
  }

  /** Finish a polygon. */
  finishPolygon() {
    const corners = this.corners.filter(
      ([x, y], index, allCorners) => !index || x !== allCorners[index - 1][0] || y !== allCorners[index - 1][1],
    );
    this.corners = [];
    if (corners.length > 2)
      this.setRegion({ kind: "polygon", numbers: corners.flatMap(([x, y]) => [x + 0.5, y + 0.5]) });
    else this.draw();
  }

  /** @param {WheelEvent} event */
  handleWheel(event) {
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 300), this.toImage(event));
  }

  /**
   * Zoom; the given point stays in place.
   * @param {number} factor
   * @param {ImagePoint} [at]
   */
  zoomBy(factor, [x, y] = this.centre) {
    const minZoom = Math.min(this.canvas.clientWidth / this.size[0], this.canvas.clientHeight / this.size[1]) / 2;
    const zoom = Math.min(Math.max(this.zoom * factor, minZoom), MAX_ZOOM);
    const ratio = this.zoom / zoom;
    this.centre = [x + (this.centre[0] - x) * ratio, y + (this.centre[1] - y) * ratio];
    this.zoom = zoom;
    this.draw();
    this.emit("view", {});
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = steps[event.key];
    const [width, height] = this.size;
    if (step) {
      const distance = event.shiftKey ? 10 : 1;
      const [x, y] = this.cursor ?? this.chosenPixel ?? [Math.floor(width / 2), Math.floor(height / 2)];
      const clamp = (/** @type {number} */ coordinate, /** @type {number} */ maximum) =>
        Math.min(Math.max(coordinate, 0), maximum - 1);
      this.cursor = [clamp(x + step[0] * distance, width), clamp(y + step[1] * distance, height)];
      this.reportPosition([this.cursor[0] + 0.5, this.cursor[1] + 0.5]);
      this.draw();
    } else if (event.key === "Enter" && this.corners.length) this.finishPolygon();
    else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.choosePixel(...this.cursor);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.fitToCanvas();
    else if (event.key === "Escape") {
      this.corners = [];
      this.draw();
    } else return;
    event.preventDefault();
  }
}
