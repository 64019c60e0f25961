// The projection of a body's map: longitude and latitude, or angles on a disc, to canvas pixels; boxes under a point.
/** @import {Frame} from "hven/answers.js" */

/** @typedef {{west: number, east: number, south: number, north: number}} BoxEdges west > east crosses longitude 0 */
/**
 * @typedef {BoxEdges & {
 *   key: string,
 *   count: number,
 *   rings?: number[][],
 *   lonRange?: [number, number],
 *   index: number,
 * }} Box
 * a row with its region's rings (x, y, x, y ...), or a cell with its count
 */
/** @typedef {{lon: number, lat: number, zoom: number}} MapView centre and zoom factor */
/** @typedef {CanvasRenderingContext2D | Path2D} Path */

export const normalizeAngle = (/** @type {number} */ angle) => ((angle % 360) + 360) % 360;
export const MAX_ZOOM = 2000;

/** A view of the plane at a centre and zoom factor. */
export class MapPlane {
  pole = "";

  /**
   * @param {Frame} frame
   * @param {number} width
   * @param {number} height
   * @param {MapView | null} [view]
   */
  constructor(frame, width, height, view = null) {
    const [west, south, east, north] = frame.box;
    this.frame = frame;
    this.width = width;
    this.height = height;
    this.lon = view?.lon ?? (west + east) / 2;
    this.lat = view?.lat ?? (south + north) / 2;
    this.zoom = view?.zoom ?? 1;
    this.scale = Math.min(width / (east - west), height / (north - south)) * this.zoom; // pixels per degree
    this.isCyclic = !frame.radius; // longitudes are cyclic
  }

  /** @param {number} lon */
  lonToX(lon) {
    return this.width / 2 + (lon - this.lon) * this.scale;
  }

  /** @param {number} lat */
  latToY(lat) {
    return this.height / 2 + (this.lat - lat) * this.scale;
  }

  /**
   * Convert a place to the pixel nearest to the centre.
   * @param {number} lon
   * @param {number} lat
   */
  toPixel(lon, lat) {
    const offset = this.isCyclic ? normalizeAngle(lon - this.lon + 180) - 180 : lon - this.lon;
    return [this.width / 2 + offset * this.scale, this.latToY(lat)];
  }

  /**
   * Convert a pixel to longitude and latitude.
   * @param {number[]} pixel
   */
  toCoordinates([x, y]) {
    const lon = (x - this.width / 2) / this.scale + this.lon;
    return [this.isCyclic ? normalizeAngle(lon) : lon, this.lat - (y - this.height / 2) / this.scale];
  }

  /**
   * The visible bounds: west, south, east, north; a full circle is 0 to 360.
   * @returns {number[]}
   */
  get bounds() {
    const [halfWidth, halfHeight] = [this.width / 2 / this.scale, this.height / 2 / this.scale];
    const [bottom, top] = [this.frame.box[1], this.frame.box[3]];
    const latRange = [Math.max(this.lat - halfHeight, bottom), Math.min(this.lat + halfHeight, top)];
    const isWholeCircle = this.isCyclic && halfWidth >= 180;
    return [
      isWholeCircle ? 0 : this.lon - halfWidth,
      latRange[0],
      isWholeCircle ? 360 : this.lon + halfWidth,
      latRange[1],
    ];
  }

  /**
   * List the shifts by which a span of longitudes is visible: one, two if it crosses the map's edge, or none.
   * @param {number} west
   * @param {number} east
   * @returns {number[]}
   */
  listTurns(west, east) {
    if (!this.isCyclic) return [0];
    const halfWidth = Math.min(180, this.width / 2 / this.scale);
    const [from, to] = [this.lon - halfWidth, this.lon + halfWidth];
    const [first, seamGap] = [(from - east) / 360, (to - west) / 360];
    const turns = [];
    // a span that touches the edge from outside is not visible; one of width 0 is visible at both edges
    for (
      let turn = east > west ? Math.floor(first) + 1 : Math.ceil(first);
      turn < seamGap || (turn === seamGap && east === west);
      turn++
    )
      turns.push(turn * 360);
    return turns;
  }

  /**
   * Return the longitudes of a box, with west <= east.
   * @param {BoxEdges} box
   * @returns {[number, number]}
   */
  getLonSpan({ west, east }) {
    if (!this.isCyclic || isFullCircle(west, east)) return [west, east];
    return [normalizeAngle(west), normalizeAngle(west) + (east === west ? 0 : normalizeAngle(east - west))];
  }

  /**
   * Return whether a box is smaller than a number of pixels.
   * @param {BoxEdges} box
   * @param {number} pixels
   */
  isSmall(box, pixels) {
    const [west, east] = this.getLonSpan(box);
    return (east - west) * this.scale < pixels && (box.north - box.south) * this.scale < pixels;
  }

  /**
   * Trace the rings of a region if it is visible. An outline leaves out the map's edges, at which regions are cut.
   * @param {Path} path
   * @param {Box} box
   * @param {boolean} isOutline
   */
  traceRings(path, box, isOutline) {
    const rings = box.rings ?? [];
    const halfHeight = this.height / 2 / this.scale;
    if (box.south > this.lat + halfHeight || box.north < this.lat - halfHeight) return;
    const [west, , east] = this.frame.box;
    for (const turn of this.listTurns(...(box.lonRange ?? this.getLonSpan(box)))) {
      for (const ring of rings) {
        let hasStarted = false;
        for (let index = 0; index < ring.length; index += 2) {
          const lon = ring[index];
          const isEdge =
            isOutline &&
            index &&
            ((lon === west && ring[index - 2] === west) ||
              (lon === east && ring[index - 2] === east) ||
              (ring[index + 1] === ring[index - 1] && Math.abs(ring[index + 1]) === 90));
          if (hasStarted && !isEdge) path.lineTo(this.lonToX(lon + turn), this.latToY(ring[index + 1]));
          else path.moveTo(this.lonToX(lon + turn), this.latToY(ring[index + 1]));
          hasStarted = true;
        }
        if (!isOutline) path.closePath();
      }
    }
  }

  /**
   * List the visible rectangles of a box: x, y, width, height.
   * @param {BoxEdges} box
   */
  listRectangles(box) {
    const [west, east] = this.getLonSpan(box);
    const [top, bottom] = [this.latToY(box.north), this.latToY(box.south)];
    if (bottom < 0 || top > this.height) return [];
    return this.listTurns(west, east).map((turn) => [
      this.lonToX(west + turn),
      top,
      (east - west) * this.scale,
      bottom - top,
    ]);
  }

  /**
   * Find the boxes at a pixel, the smallest first. Small boxes are found within `minPixels`.
   * @template {BoxEdges} AnyBox
   * @param {AnyBox[]} boxes
   * @param {number[]} pixel
   * @param {number} minPixels pixels
   */
  findBoxesAt(boxes, pixel, minPixels) {
    const [lon, lat] = this.toCoordinates(pixel);
    const margin = minPixels / this.scale;
    const hits = boxes.filter((/** @type {BoxEdges & {rings?: number[][]}} */ box) => {
      const hasRings = Boolean(box.rings?.length);
      const latMargin = box.north - box.south < 2 * margin ? margin : 0;
      if (lat < box.south - latMargin || lat > box.north + latMargin) return false;
      if (hasRings && !this.isSmall(box, minPixels)) return isInsideRings(box.rings ?? [], [lon, lat]);
      const [west, east] = this.getLonSpan(box);
      const lonMargin = east - west < 2 * margin ? margin : 0;
      return [-360, 0, 360].some(
        (turn) => (this.isCyclic || !turn) && lon + turn >= west - lonMargin && lon + turn <= east + lonMargin,
      );
    });
    return hits.sort((first, second) => first.north - first.south - (second.north - second.south));
  }

  /**
   * Parse conditions on longitude and latitude as a box; null if they are none.
   * @param {(string | null)[]} conditions
   * @returns {BoxEdges | null}
   */
  parseConditions(conditions) {
    const range = /^\s*([-+]?[\d.]+)\.\.([-+]?[\d.]+)\s*$/;
    const [lon, lat] = conditions.map((condition) =>
      range
        .exec(condition ?? "")
        ?.slice(1)
        .map(Number),
    );
    if (!lon && !lat) return null;
    const [left, bottom, right, top] = this.frame.box;
    const [[west, east], [south, north]] = [lon ?? [left, right], lat ?? [bottom, top]];
    return { west, east, south, north };
  }

  /**
   * Create the box between two pixels.
   * @param {number[]} firstPixel
   * @param {number[]} secondPixel
   * @returns {BoxEdges}
   */
  createBoxBetween(firstPixel, secondPixel) {
    const [left, right] = [Math.min(firstPixel[0], secondPixel[0]), Math.max(firstPixel[0], secondPixel[0])];
    const [[west, north], [east, south]] = [
      this.toCoordinates([left, Math.min(firstPixel[1], secondPixel[1])]),
      this.toCoordinates([right, Math.max(firstPixel[1], secondPixel[1])]),
    ];
    const isWholeCircle = this.isCyclic && (right - left) / this.scale >= 360;
    return { west: isWholeCircle ? 0 : west, east: isWholeCircle ? 360 : east, south, north };
  }

  /**
   * Format the conditions of a box, clamped to the frame.
   * @param {BoxEdges} box
   */
  formatConditions({ west, east, south, north }) {
    const clamp = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ height) =>
      Math.min(Math.max(value, low), height).toFixed(2);
    const [left, bottom, right, top] = this.frame.box;
    const [lon, lat] = this.frame.fields;
    return {
      [lon]: `${clamp(west, left, right)}..${clamp(east, left, right)}`,
      [lat]: `${clamp(south, bottom, top)}..${clamp(north, bottom, top)}`,
    };
  }
}

/**
 * Return whether a span is a full circle.
 * @param {number} west
 * @param {number} east
 */
function isFullCircle(west, east) {
  return east - west >= 360;
}

/**
 * Parse the boxes of rows or cells: west, south, east, north. Regions keep their rings.
 * @param {string[]} shapes
 * @param {string[]} keys
 * @param {number[]} counts
 * @param {number[][][]} [outlines]
 * @returns {Box[]}
 */
export function parseBoxes(shapes, keys, counts, outlines = []) {
  return shapes.map((text, index) => {
    const [west, south, east, north] = text.split(" ").map(Number);
    const rings = outlines[index]?.length ? outlines[index] : undefined;
    const box = { key: keys[index], count: counts[index] ?? 0, west, south, east, north, rings, index };
    return rings ? addRingExtent(box, rings) : box;
  });
}

/**
 * Extend a box to its rings, which use longitudes from 0 to 360.
 * @param {Box} box
 * @param {number[][]} rings
 * @returns {Box}
 */
function addRingExtent(box, rings) {
  let [west, east] = [Infinity, -Infinity];
  for (const ring of rings) {
    for (let index = 0; index + 1 < ring.length; index += 2) {
      [west, east] = [Math.min(west, ring[index]), Math.max(east, ring[index])];
      box.south = Math.min(box.south, ring[index + 1]);
      box.north = Math.max(box.north, ring[index + 1]);
    }
  }
  box.lonRange = [west, east];
  return box;
}

/**
 * Compute the view that shows all boxes the shorter way round; null without boxes.
 * @param {BoxEdges[]} boxes
 * @param {MapPlane} plane
 * @returns {MapView | null}
 */
export function fitView(boxes, plane) {
  if (!boxes.length) return null;
  let [south, north] = [Infinity, -Infinity];
  const spans = boxes.map((box) => {
    [south, north] = [Math.min(south, box.south), Math.max(north, box.north)];
    return plane.getLonSpan(box);
  });
  spans.sort((first, second) => first[0] - second[0]);
  let [end, widestGap, west] = [spans[0][1], -1, spans[0][0]];
  for (const [from, to] of spans) {
    if (from - end > widestGap && from > end) [widestGap, west] = [from - end, from];
    end = Math.max(end, to);
  }
  const seamGap = spans[0][0] + (plane.isCyclic ? 360 : 0) - end; // across longitude 0
  const usesSeam = widestGap < 0 || !plane.isCyclic || seamGap >= widestGap;
  if (usesSeam) west = spans[0][0];
  const east = usesSeam ? end : west + 360 - widestGap;
  const [left, bottom, right, top] = plane.frame.box;
  const width = Math.max(east - west, (right - left) / 90);
  const height = Math.max(north - south, (top - bottom) / 90);
  const baseScale = plane.scale / plane.zoom;
  const zoom = Math.min(plane.width / width, plane.height / height) / baseScale / 1.25;
  const middleLon = (west + east) / 2;
  return {
    lon: plane.isCyclic ? normalizeAngle(middleLon) : middleLon,
    lat: (south + north) / 2,
    zoom: Math.min(Math.max(zoom, 1), MAX_ZOOM),
  };
}

/**
 * Return whether a place is inside of an odd number of rings.
 * @param {number[][]} rings
 * @param {number[]} place
 */
function isInsideRings(rings, [x, y]) {
  let inside = false;
  for (const ring of rings) {
    for (let index = 0; index + 3 < ring.length; index += 2) {
      const [x1, y1, x2, y2] = [ring[index], ring[index + 1], ring[index + 2], ring[index + 3]];
      if (y1 > y !== y2 > y && x < x1 + ((x2 - x1) * (y - y1)) / (y2 - y1)) inside = !inside;
    }
  }
  return inside;
}
