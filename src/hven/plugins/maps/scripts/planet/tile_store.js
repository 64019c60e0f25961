// Pictures of tiles for the globe: which are in view, and those that have come.
import { RADIANS } from "./projections.js";
/** @import {TileMatrixSet} from "./map_document.js" */
/** @import {MapPosition, PixelSize} from "./projections.js" */

/** @typedef {{z: number, x: number, y: number}} TileAddress */
/** @typedef {{west: number, north: number, width: number, height: number}} TileBox in degrees */

const MAX_TILES = 600;

/** Fetches tiles and remembers them. */
export class TileStore {
  /** @type {Map<string, HTMLImageElement>} */
  pictures = new Map();
  pending = 0;

  /** @param {() => void} handleTile called after each tile */
  constructor(handleTile) {
    this.handleTile = handleTile;
  }

  /**
   * Return the picture of a tile once it is here; null until then.
   * @param {string} template
   * @param {TileAddress} address
   */
  find(template, { z, x, y }) {
    const url = template.replace("{z}", String(z)).replace("{x}", String(x)).replace("{y}", String(y));
    const cachedPicture = this.pictures.get(url);
    if (cachedPicture) {
      this.pictures.delete(url); // those used last are the last to go
      this.pictures.set(url, cachedPicture);
      return cachedPicture.complete && cachedPicture.naturalWidth ? cachedPicture : null;
    }
    const picture = new Image();
    const settle = () => {
      this.pending -= 1;
      this.handleTile();
    };
    picture.addEventListener("load", settle);
    picture.addEventListener("error", settle);
    picture.src = url;
    this.pending += 1;
    this.pictures.set(url, picture);
    if (this.pictures.size > MAX_TILES) this.pictures.delete(/** @type {string} */ (this.pictures.keys().next().value));
    return null;
  }

  /**
   * Return the picture of a tile, or of the closest larger one that is here, with the part of it that the tile is.
   * @param {string} template
   * @param {TileAddress} address
   */
  findBest(template, { z, x, y }) {
    for (let step = 0; step <= z; step++) {
      const picture = this.find(template, { z: z - step, x: x >> step, y: y >> step });
      const share = 1 / 2 ** step;
      const [left, top] = [(x % 2 ** step) * share, (y % 2 ** step) * share];
      if (picture) return { picture, left, top, share };
    }
    return null;
  }
}

/**
 * Choose the level whose pixels are as large as those of the screen, or smaller.
 * @param {TileMatrixSet} set
 * @param {number} maxZoom
 * @param {number} degreesPerPixel
 */
export function chooseLevel(set, maxZoom, degreesPerPixel) {
  const last = Math.min(maxZoom, set.resolutions.length - 1);
  const level = set.resolutions.findIndex((resolution) => resolution <= degreesPerPixel * 1.2);
  return level < 0 ? last : Math.min(level, last);
}

/**
 * Return the box of a tile.
 * @param {TileMatrixSet} set
 * @param {TileAddress} address
 * @returns {TileBox}
 */
export function getTileBox(set, { z, x, y }) {
  const width = set.resolutions[z] * set.tile_size;
  return { west: set.origin[0] + x * width, north: set.origin[1] - y * width, width, height: width };
}

/**
 * List the tiles of a level on the near side of a globe.
 * @param {TileMatrixSet} set
 * @param {number} z
 * @param {number} radius of the body, in metres
 * @param {PixelSize} size
 * @param {MapPosition} position
 * @returns {TileAddress[]}
 */
export function listGlobeTiles(set, z, radius, { width, height }, { lon, lat, scale }) {
  const reach = Math.asin(Math.min((Math.hypot(width, height) / 2) * (scale / radius), 1)) / RADIANS;
  const [columns, rows] = set.matrix_sizes[z];
  const side = set.resolutions[z] * set.tile_size;
  const [south, north] = [Math.max(lat - reach, -90), Math.min(lat + reach, 90)];
  const isPoleInView = Math.abs(lat) + reach >= 90;
  const cosine = Math.cos(lat * RADIANS);
  const ratio = Math.sin(reach * RADIANS) / Math.max(cosine, 1e-9);
  const halfSpan = isPoleInView || ratio >= 1 ? 180 : Math.asin(ratio) / RADIANS;
  const [firstRow, lastRow] = [north, south].map((edge) => Math.floor((set.origin[1] - edge) / side));
  const firstColumn = Math.floor((lon - halfSpan - set.origin[0]) / side);
  const columnCount = Math.min(Math.floor((lon + halfSpan - set.origin[0]) / side) - firstColumn + 1, columns);
  const tiles = [];
  for (let y = Math.max(firstRow, 0); y <= Math.min(lastRow, rows - 1); y++) {
    for (let step = 0; step < columnCount; step++)
      tiles.push({ z, x: (((firstColumn + step) % columns) + columns) % columns, y });
  }
  return tiles;
}
