// A plane of longitude and latitude, or a disc of angles, on a canvas: where places are on it, and which boxes lie under a point.
/** @import {Frame} from "./answers.js" */

/** @typedef {{west: number, east: number, south: number, north: number}} Edges west > east goes across 0 */
/** @typedef {Edges & {key: string, count: number, rings?: number[][]}} Box a row, with the rings of its region (x, y, x, y ..), or a cell with the number of its rows */

const turned = (/** @type {number} */ angle) => ((angle % 360) + 360) % 360;

export class Plane {
  /**
   * The disc keeps its shape; longitudes and latitudes fill the canvas.
   * @param {Frame} frame
   * @param {number} width
   * @param {number} height
   */
  constructor(frame, width, height) {
    const [west, south, east, north] = frame.box;
    this.frame = frame;
    this.across = width / (east - west);
    this.up = height / (north - south);
    if (frame.radius) this.across = this.up = Math.min(this.across, this.up);
    this.left = frame.radius ? (width - this.across * (east - west)) / 2 : 0;
    this.top = frame.radius ? (height - this.up * (north - south)) / 2 : 0;
  }

  /** @param {number} lon */
  x(lon) {
    return this.left + (lon - this.frame.box[0]) * this.across;
  }

  /** @param {number} lat */
  y(lat) {
    return this.top + (this.frame.box[3] - lat) * this.up;
  }

  /**
   * Give the longitude and latitude of a pixel.
   * @param {number[]} pixel
   */
  back([x, y]) {
    return [(x - this.left) / this.across + this.frame.box[0], this.frame.box[3] - (y - this.top) / this.up];
  }

  /**
   * Give the parts of a box, each from west to east: two if it goes across longitude 0.
   * @param {Edges} box
   */
  parts({ west: from, east: to }) {
    if (this.frame.radius) return [[from, to]];
    if (to - from >= 360) return [[0, 360]];
    const west = turned(from);
    const east = west + (to === from ? 0 : turned(to - from));
    return east <= 360
      ? [[west, east]]
      : [
          [west, 360],
          [0, east - 360],
        ];
  }

  /**
   * Tell whether a box is smaller than so many pixels.
   * @param {Edges} box
   * @param {number} pixels
   */
  small(box, pixels) {
    const wide = this.parts(box).reduce((sum, [west, east]) => sum + east - west, 0);
    return wide * this.across < pixels && (box.north - box.south) * this.up < pixels;
  }

  /**
   * Give the area and the outline of rings; the map's own edges, where a region goes on, are no outline.
   * @param {number[][]} rings
   */
  traced(rings) {
    const [area, outline] = [new Path2D(), new Path2D()];
    const [west, south, east, north] = this.frame.box;
    for (const ring of rings) {
      for (let at = 0; at < ring.length; at += 2) {
        const [lon, lat] = [ring[at], ring[at + 1]];
        const [x, y] = [this.x(lon), this.y(lat)];
        const edge = [west, east].some((one) => lon === one && ring[at - 2] === one);
        const pole = [south, north].some((one) => lat === one && ring[at - 1] === one);
        at ? area.lineTo(x, y) : area.moveTo(x, y);
        at && !edge && !pole ? outline.lineTo(x, y) : outline.moveTo(x, y);
      }
      area.closePath();
    }
    return { area, outline };
  }

  /**
   * Give the boxes under a pixel, the smallest first, which is what was meant; points are as big as `near`.
   * @template {Edges} One
   * @param {One[]} list
   * @param {number[]} pixel
   * @param {number} near pixels
   */
  under(list, pixel, near) {
    const [lon, lat] = this.back(pixel);
    const [wider, higher] = [near / this.across, near / this.up];
    const found = list.filter((/** @type {Edges & {rings?: number[][]}} */ one) => {
      if (one.rings?.length && !this.small(one, near)) return within(one.rings, [lon, lat]);
      const tall = one.north - one.south < 2 * higher ? higher : 0;
      if (lat < one.south - tall || lat > one.north + tall) return false;
      return this.parts(one).some(([west, east]) => {
        const wide = east - west < 2 * wider ? wider : 0;
        return lon >= west - wide && lon <= east + wide;
      });
    });
    return found.sort((one, other) => one.north - one.south - (other.north - other.south));
  }

  /**
   * Give the box that conditions on longitude and latitude are, if they are one.
   * @param {(string | null)[]} conditions
   * @returns {Edges | null}
   */
  searched(conditions) {
    const range = /^\s*([-+]?[\d.]+)\.\.([-+]?[\d.]+)\s*$/;
    const [lon, lat] = conditions.map((one) =>
      range
        .exec(one ?? "")
        ?.slice(1)
        .map(Number),
    );
    if (!lon && !lat) return null;
    const [left, bottom, right, top] = this.frame.box;
    const [[west, east], [south, north]] = [lon ?? [left, right], lat ?? [bottom, top]];
    return { west, east, south, north };
  }

  /**
   * Give the conditions that a box is, no part of it outside of the plane.
   * @param {Edges} box
   */
  within({ west, east, south, north }) {
    const kept = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
      Math.min(Math.max(value, low), high).toFixed(2);
    const [left, bottom, right, top] = this.frame.box;
    const [lon, lat] = this.frame.fields;
    return {
      [lon]: `${kept(west, left, right)}..${kept(east, left, right)}`,
      [lat]: `${kept(south, bottom, top)}..${kept(north, bottom, top)}`,
    };
  }
}

/**
 * Read the boxes of rows or cells: west, south, east and north of each.
 * @param {string[]} shapes
 * @param {string[]} keys
 * @param {number[]} counts
 * @param {number[][][]} [outlines]
 * @returns {Box[]}
 */
export function boxes(shapes, keys, counts, outlines = []) {
  return shapes.map((text, at) => {
    const [west, south, east, north] = text.split(" ").map(Number);
    return { key: keys[at], count: counts[at] ?? 0, west, south, east, north, rings: outlines[at] };
  });
}

/**
 * Tell whether a place is inside of an odd number of rings.
 * @param {number[][]} rings
 * @param {number[]} place
 */
function within(rings, [x, y]) {
  let inside = false;
  for (const ring of rings) {
    for (let at = 0; at + 3 < ring.length; at += 2) {
      const [x1, y1, x2, y2] = ring.slice(at, at + 4);
      if (y1 > y !== y2 > y && x < x1 + ((x2 - x1) * (y - y1)) / (y2 - y1)) inside = !inside;
    }
  }
  return inside;
}
