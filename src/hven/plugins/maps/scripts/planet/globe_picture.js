// The globe without WebGL: the layers are laid over each other on a flat picture, whose pixels are moved to the disc.
import { GlobeProjection } from "./projections.js";
/** @import {MapPosition, PixelSize} from "./projections.js" */
/** @import {TileBox} from "./tile_store.js" */
/** @import {TilePicture} from "./globe_renderer.js" */

const FLAT_WIDTH_PIXELS = 2048;
const PIXEL_STEP = 2; // each pixel of the disc is so wide

/** Draws a globe on a canvas, pixel by pixel; the same methods as `GlobeRenderer`. */
export class GlobePicture {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.flat = document.createElement("canvas");
    [this.flat.width, this.flat.height] = [FLAT_WIDTH_PIXELS, FLAT_WIDTH_PIXELS / 2];
    this.flatContext = /** @type {CanvasRenderingContext2D} */ (
      this.flat.getContext("2d", { willReadFrequently: true })
    );
  }

  /**
   * @param {PixelSize} size
   * @param {number} _ratio
   * @param {MapPosition} position
   * @param {number} radius
   */
  begin(size, _ratio, position, radius) {
    this.projection = new GlobeProjection(radius, size, position);
    this.flatContext.clearRect(0, 0, this.flat.width, this.flat.height);
  }

  /**
   * @param {TileBox} box
   * @param {TilePicture} tilePicture
   * @param {number} opacity
   */
  drawTile(box, { picture, left, top, share }, opacity) {
    const { flatContext } = this;
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    const pixels = this.flat.width / 360;
    flatContext.globalAlpha = opacity;
    flatContext.drawImage(
      picture,
      left * width,
      top * height,
      share * width,
      share * height,
      (box.west + 180) * pixels,
      (90 - box.north) * pixels,
      box.width * pixels,
      box.height * pixels,
    );
  }

  /** Move the flat picture to the disc, once all tiles are drawn. */
  finish() {
    const { canvas, flat, projection } = this;
    if (!projection) return;
    const source = new Uint32Array(this.flatContext.getImageData(0, 0, flat.width, flat.height).data.buffer);
    const disc = document.createElement("canvas");
    [disc.width, disc.height] = [projection.width, projection.height].map((side) => Math.ceil(side / PIXEL_STEP));
    const discContext = /** @type {CanvasRenderingContext2D} */ (disc.getContext("2d"));
    const data = discContext.createImageData(disc.width, disc.height);
    const target = new Uint32Array(data.data.buffer);
    for (let y = 0; y < disc.height; y++) {
      for (let x = 0; x < disc.width; x++) {
        const place = projection.toCoordinates([(x + 0.5) * PIXEL_STEP, (y + 0.5) * PIXEL_STEP]);
        if (!place) continue;
        const column = Math.floor(((place[0] + 180) / 360) * flat.width) % flat.width;
        const row = Math.min(Math.floor(((90 - place[1]) / 180) * flat.height), flat.height - 1);
        target[y * disc.width + x] = source[row * flat.width + column];
      }
    }
    discContext.putImageData(data, 0, 0);
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.drawImage(disc, 0, 0, canvas.width, canvas.height);
  }

  close() {}
}
