// An image on a canvas: zoomed and moved, a pixel or a region of it chosen by pointer, finger or keys; it asks the server for nothing.
import { ink } from "./strokes.js";
import { coloured } from "./tints.js";
import { Teller } from "./workspace.js";

/** @typedef {{values: ArrayLike<number>, width: number, x: number, y: number, step: number}} Tile numbers of an image from its pixel x, y on (from 0), each step-th */
/** @typedef {{kind: "box" | "circle" | "polygon", numbers: number[]}} Region in pixels, the first has its centre at 1 */
/** @typedef {[number, number]} Point */

const NEAR = 5; // pixels of the screen that a click may move
const CLOSEST = 64; // pixels of the screen for one of the image
const TOOLS = ["box", "circle", "polygon", "move"];

/** @extends {Teller<{over: {x: number, y: number}, out: {}, pixel: {x: number, y: number}, region: {region: Region}, view: {}}>} */
export class Picture extends Teller {
  tool = "box";
  zoom = 1; // pixels of the screen for one of the image
  /** The middle, in pixels of the image from its lower left corner.
   * @type {Point} */
  middle = [0, 0];
  /** @type {Tile[]} */
  tiles = [];
  /** @type {HTMLCanvasElement[]} */
  drawn = [];
  /** @type {Point | null} */
  chosen = null;
  /** @type {Point | null} */
  cursor = null;
  /** @type {Region | null} */
  region = null;
  /** @type {Point[]} */
  corners = [];
  /** @type {{from: Point, at: Point, screen: Point, moved: boolean, pans: boolean} | null} */
  held = null;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.size = [1, 1];
    canvas.tabIndex = 0;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => (this.held = null));
    canvas.addEventListener("pointerleave", () => this.tell("out", {}));
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /**
   * Begin with an image of another size: all of it is seen.
   * @param {number} width
   * @param {number} height
   */
  begin(width, height) {
    if (width === this.size[0] && height === this.size[1]) return;
    this.size = [width, height];
    this.fit();
  }

  fit() {
    const [width, height] = this.size;
    const { clientWidth, clientHeight } = this.canvas;
    this.zoom = Math.min(clientWidth / width, clientHeight / height) || 1;
    this.middle = [width / 2, height / 2];
    this.draw();
    this.tell("view", {});
  }

  /**
   * Show numbers in colours.
   * @param {Tile[]} tiles
   * @param {Uint32Array} colours
   * @param {[number, number]} limits
   */
  show(tiles, colours, limits) {
    this.tiles = tiles;
    this.drawn = tiles.map(({ values, width }) => {
      const made = document.createElement("canvas");
      [made.width, made.height] = [width, values.length / width];
      const image = new ImageData(coloured(values, width, colours, limits), width);
      made.getContext("2d")?.putImageData(image, 0, 0);
      return made;
    });
    this.draw();
  }

  /**
   * Give the value of a pixel, from 0: of the finest tile that has it.
   * @param {number} x
   * @param {number} y
   */
  value(x, y) {
    for (const { values, width, x: left, y: low, step } of [...this.tiles].reverse()) {
      const [column, row] = [Math.floor((x - left) / step), Math.floor((y - low) / step)];
      if (column >= 0 && column < width && row >= 0 && row < values.length / width) return values[row * width + column];
    }
    return NaN;
  }

  /** What of the image is seen: from x, to x, from y, to y. */
  get seen() {
    const { clientWidth, clientHeight } = this.canvas;
    const [dx, dy] = [clientWidth / 2 / this.zoom, clientHeight / 2 / this.zoom];
    const [x, y] = this.middle;
    const inside = (/** @type {number} */ one, /** @type {number} */ most) => Math.min(Math.max(one, 0), most);
    const [width, height] = this.size;
    return [inside(x - dx, width), inside(x + dx, width), inside(y - dy, height), inside(y + dy, height)];
  }

  /**
   * @param {Point} point of the image
   * @returns {Point}
   */
  screen([x, y]) {
    const { clientWidth, clientHeight } = this.canvas;
    return [clientWidth / 2 + (x - this.middle[0]) * this.zoom, clientHeight / 2 - (y - this.middle[1]) * this.zoom];
  }

  /**
   * @param {{offsetX: number, offsetY: number}} event
   * @returns {Point} of the image
   */
  place({ offsetX, offsetY }) {
    const { clientWidth, clientHeight } = this.canvas;
    return [
      this.middle[0] + (offsetX - clientWidth / 2) / this.zoom,
      this.middle[1] - (offsetY - clientHeight / 2) / this.zoom,
    ];
  }

  draw() {
    const { canvas, zoom } = this;
    const context = canvas.getContext("2d");
    if (!context || !canvas.clientWidth) return;
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    this.drawn.forEach((image, at) => {
      const { x, y, step } = this.tiles[at];
      const [left, top] = this.screen([x, y + image.height * step]);
      context.drawImage(image, left, top, image.width * step * zoom, image.height * step * zoom);
    });
    this.marks(context);
  }

  /** @param {CanvasRenderingContext2D} context */
  marks(context) {
    const mark = ink("--mark");
    const twice = (/** @type {() => void} */ path) => {
      for (const [colour, width] of /** @type {[string, number][]} */ ([
        ["#fff", 3.5],
        [mark, 1.8],
      ])) {
        context.beginPath();
        path();
        Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
        context.stroke();
      }
    };
    const region = this.held?.moved && !this.held.pans ? this.dragged() : this.region;
    if (region) twice(() => this.outline(context, region));
    if (this.corners.length)
      twice(() =>
        this.outline(context, { kind: "polygon", numbers: this.corners.flatMap(([x, y]) => [x + 0.5, y + 0.5]) }),
      );
    if (this.chosen) twice(() => this.square(context, /** @type {Point} */ (this.chosen)));
    if (this.cursor && document.activeElement === this.canvas) {
      context.setLineDash([3, 3]);
      twice(() => this.square(context, /** @type {Point} */ (this.cursor)));
      context.setLineDash([]);
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Point} pixel
   */
  square(context, [x, y]) {
    const size = Math.max(this.zoom, 9);
    const [left, top] = this.screen([x + 0.5, y + 0.5]);
    context.rect(left - size / 2, top - size / 2, size, size);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Region} region
   */
  outline(context, { kind, numbers }) {
    const at = (/** @type {number} */ x, /** @type {number} */ y) => this.screen([x - 0.5, y - 0.5]);
    if (kind === "circle") {
      const [x, y] = at(numbers[0], numbers[1]);
      context.arc(x, y, numbers[2] * this.zoom, 0, 7);
    } else if (kind === "box") {
      const [[left, low], [right, top]] = [
        at(numbers[0] - 0.5, numbers[2] - 0.5),
        at(numbers[1] + 0.5, numbers[3] + 0.5),
      ];
      context.rect(left, top, right - left, low - top);
    } else {
      for (let corner = 0; corner < numbers.length; corner += 2)
        context.lineTo(...at(numbers[corner], numbers[corner + 1]));
      context.closePath();
    }
  }

  /** @returns {Region | null} */
  dragged() {
    if (!this.held) return null;
    const [[x1, y1], [x2, y2]] = [this.held.from, this.held.at];
    const [width, height] = this.size;
    if (this.tool === "circle") {
      const rounded = [x1 + 0.5, y1 + 0.5, Math.hypot(x2 - x1, y2 - y1)].map((one) => Math.round(one * 100) / 100);
      return { kind: "circle", numbers: rounded };
    }
    const pixel = (/** @type {number} */ one, /** @type {number} */ most) =>
      Math.min(Math.max(Math.floor(one) + 1, 1), most);
    const xs = [pixel(x1, width), pixel(x2, width)].sort((a, b) => a - b);
    const ys = [pixel(y1, height), pixel(y2, height)].sort((a, b) => a - b);
    return { kind: "box", numbers: [...xs, ...ys] };
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button > 1) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const from = this.place(event);
    const pans = this.tool === "move" || event.shiftKey || event.button === 1;
    this.held = { from, at: from, screen: [event.offsetX, event.offsetY], moved: false, pans };
  }

  /** @param {PointerEvent} event */
  move(event) {
    const here = this.place(event);
    const { held } = this;
    if (held && Math.hypot(event.offsetX - held.screen[0], event.offsetY - held.screen[1]) > NEAR) held.moved = true;
    if (held?.moved) {
      if (held.pans) {
        this.middle = [this.middle[0] + held.from[0] - here[0], this.middle[1] + held.from[1] - here[1]];
        this.tell("view", {});
      } else held.at = here;
      this.draw();
    }
    this.point(here);
  }

  /** @param {Point} point */
  point([x, y]) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column >= 0 && row >= 0 && column < this.size[0] && row < this.size[1])
      this.tell("over", { x: column, y: row });
    else this.tell("out", {});
  }

  /** @param {PointerEvent} event */
  up(event) {
    const { held } = this;
    const region = this.tool === "polygon" ? null : this.dragged();
    this.held = null;
    if (!held) return;
    if (held.moved) {
      if (!held.pans && region) this.take(region);
      return;
    }
    const [x, y] = this.place(event).map(Math.floor);
    if (x < 0 || y < 0 || x >= this.size[0] || y >= this.size[1]) return;
    if (this.tool !== "polygon") return this.choose(x, y);
    this.corners.push([x + 0.5, y + 0.5]);
    this.draw();
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  choose(x, y) {
    [this.chosen, this.cursor, this.region] = [[x, y], [x, y], null];
    this.draw();
    this.tell("pixel", { x, y });
  }

  /** @param {Region} region */
  take(region) {
    [this.region, this.chosen] = [region, null];
    this.draw();
    this.tell("region", { region });
  }

  /** End a polygon. */
  close() {
    const corners = this.corners.filter(([x, y], at, all) => !at || x !== all[at - 1][0] || y !== all[at - 1][1]);
    this.corners = [];
    if (corners.length > 2) this.take({ kind: "polygon", numbers: corners.flatMap(([x, y]) => [x + 0.5, y + 0.5]) });
    else this.draw();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    this.nearer(Math.exp(-event.deltaY / 300), this.place(event));
  }

  /**
   * Zoom; what is at a point stays there.
   * @param {number} factor
   * @param {Point} [at]
   */
  nearer(factor, [x, y] = this.middle) {
    const least = Math.min(this.canvas.clientWidth / this.size[0], this.canvas.clientHeight / this.size[1]) / 2;
    const zoom = Math.min(Math.max(this.zoom * factor, least), CLOSEST);
    const share = this.zoom / zoom;
    this.middle = [x + (this.middle[0] - x) * share, y + (this.middle[1] - y) * share];
    this.zoom = zoom;
    this.draw();
    this.tell("view", {});
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = steps[event.key];
    const [width, height] = this.size;
    if (step) {
      const far = event.shiftKey ? 10 : 1;
      const [x, y] = this.cursor ?? this.chosen ?? [Math.floor(width / 2), Math.floor(height / 2)];
      const inside = (/** @type {number} */ one, /** @type {number} */ most) => Math.min(Math.max(one, 0), most - 1);
      this.cursor = [inside(x + step[0] * far, width), inside(y + step[1] * far, height)];
      this.point([this.cursor[0] + 0.5, this.cursor[1] + 0.5]);
      this.draw();
    } else if (event.key === "Enter" && this.corners.length) this.close();
    else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.choose(...this.cursor);
    else if (event.key === "+" || event.key === "=") this.nearer(1.5);
    else if (event.key === "-") this.nearer(1 / 1.5);
    else if (event.key === "0") this.fit();
    else if (event.key === "Escape") {
      this.corners = [];
      this.draw();
    } else return;
    event.preventDefault();
  }
}

export { TOOLS };
