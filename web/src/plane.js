// A plane of longitude and latitude, or a disc of angles, on a canvas: where places are on it, and which boxes lie under a point.
/** @import {Frame} from "./answers.js" */

/** @typedef {{west: number, east: number, south: number, north: number}} Edges west > east goes across 0 */
/** @typedef {Edges & {key: string, count: number, rings?: number[][], reach?: [number, number], at: number}} Box a row, with the rings of its region (x, y, x, y ..), or a cell with the number of its rows; `at`: its place among them */
/** @typedef {{lon: number, lat: number, zoom: number}} Look what is in the middle, and how close up */
/** @typedef {CanvasRenderingContext2D | Path2D} Path */

export const turned = (/** @type {number} */ angle) => ((angle % 360) + 360) % 360;
export const CLOSEST = 2000; // times

export class Plane {
  pole = "";

  /**
   * @param {Frame} frame
   * @param {number} width
   * @param {number} height
   * @param {Look | null} [look]
   */
  constructor(frame, width, height, look = null) {
    const [west, south, east, north] = frame.box;
    this.frame = frame;
    this.width = width;
    this.height = height;
    this.lon = look?.lon ?? (west + east) / 2;
    this.lat = look?.lat ?? (south + north) / 2;
    this.zoom = look?.zoom ?? 1;
    this.scale = Math.min(width / (east - west), height / (north - south)) * this.zoom; // pixels of a degree
    this.round = !frame.radius; // longitudes go round
  }

  /** @param {number} lon */
  x(lon) {
    return this.width / 2 + (lon - this.lon) * this.scale;
  }

  /** @param {number} lat */
  y(lat) {
    return this.height / 2 + (this.lat - lat) * this.scale;
  }

  /**
   * Give the pixel of a place, on the side where it is nearest to the middle.
   * @param {number} lon
   * @param {number} lat
   */
  point(lon, lat) {
    const off = this.round ? turned(lon - this.lon + 180) - 180 : lon - this.lon;
    return [this.width / 2 + off * this.scale, this.y(lat)];
  }

  /**
   * Give the longitude and latitude of a pixel.
   * @param {number[]} pixel
   */
  back([x, y]) {
    const lon = (x - this.width / 2) / this.scale + this.lon;
    return [this.round ? turned(lon) : lon, this.lat - (y - this.height / 2) / this.scale];
  }

  /**
   * What is seen: west, south, east, north; the whole round is 0 to 360.
   * @returns {number[]}
   */
  get seen() {
    const [wide, high] = [this.width / 2 / this.scale, this.height / 2 / this.scale];
    const [bottom, top] = [this.frame.box[1], this.frame.box[3]];
    const lats = [Math.max(this.lat - high, bottom), Math.min(this.lat + high, top)];
    const all = this.round && wide >= 180;
    return [all ? 0 : this.lon - wide, lats[0], all ? 360 : this.lon + wide, lats[1]];
  }

  /**
   * Give the turns by which a span of longitudes is seen: one, or two if it goes over the map's edge; none if it is not seen.
   * @param {number} west
   * @param {number} east
   * @returns {number[]}
   */
  turns(west, east) {
    if (!this.round) return [0];
    const half = Math.min(180, this.width / 2 / this.scale);
    const [from, to] = [this.lon - half, this.lon + half];
    const [first, last] = [(from - east) / 360, (to - west) / 360];
    const found = [];
    // what touches the edge from outside is not seen; what is as thin as a line is, at both edges
    for (
      let turn = east > west ? Math.floor(first) + 1 : Math.ceil(first);
      turn < last || (turn === last && east === west);
      turn++
    )
      found.push(turn * 360);
    return found;
  }

  /**
   * Give the longitudes of a box from west to east, east not below west.
   * @param {Edges} box
   * @returns {[number, number]}
   */
  span({ west, east }) {
    if (!this.round || to360(west, east)) return [west, east];
    return [turned(west), turned(west) + (east === west ? 0 : turned(east - west))];
  }

  /**
   * Tell whether a box is smaller than so many pixels.
   * @param {Edges} box
   * @param {number} pixels
   */
  small(box, pixels) {
    const [west, east] = this.span(box);
    return (east - west) * this.scale < pixels && (box.north - box.south) * this.scale < pixels;
  }

  /**
   * Draw the rings of a region; nothing if it is not seen. Where `line`, the map's own edges, which a region is cut at, are left out.
   * @param {Path} path
   * @param {Box} box
   * @param {boolean} line
   */
  trace(path, box, line) {
    const rings = box.rings ?? [];
    const high = this.height / 2 / this.scale;
    if (box.south > this.lat + high || box.north < this.lat - high) return;
    const [west, , east] = this.frame.box;
    for (const turn of this.turns(...(box.reach ?? this.span(box)))) {
      for (const ring of rings) {
        let pen = false;
        for (let at = 0; at < ring.length; at += 2) {
          const lon = ring[at];
          const cut = line && at && ((lon === west && ring[at - 2] === west) || (lon === east && ring[at - 2] === east) || (ring[at + 1] === ring[at - 1] && Math.abs(ring[at + 1]) === 90)); // prettier-ignore
          if (pen && !cut) path.lineTo(this.x(lon + turn), this.y(ring[at + 1]));
          else path.moveTo(this.x(lon + turn), this.y(ring[at + 1]));
          pen = true;
        }
        if (!line) path.closePath();
      }
    }
  }

  /**
   * Give the rectangles that a box is on the canvas: x, y, width, height.
   * @param {Edges} box
   */
  rectangles(box) {
    const [west, east] = this.span(box);
    const [top, bottom] = [this.y(box.north), this.y(box.south)];
    if (bottom < 0 || top > this.height) return [];
    return this.turns(west, east).map((turn) => [this.x(west + turn), top, (east - west) * this.scale, bottom - top]);
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
    const most = near / this.scale;
    const found = list.filter((/** @type {Edges & {rings?: number[][]}} */ one) => {
      const ringed = Boolean(one.rings?.length);
      const tall = one.north - one.south < 2 * most ? most : 0;
      if (lat < one.south - tall || lat > one.north + tall) return false;
      if (ringed && !this.small(one, near)) return within(one.rings ?? [], [lon, lat]);
      const [west, east] = this.span(one);
      const wide = east - west < 2 * most ? most : 0;
      return [-360, 0, 360].some((turn) => (this.round || !turn) && lon + turn >= west - wide && lon + turn <= east + wide); // prettier-ignore
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
   * Give the box between two pixels.
   * @param {number[]} one
   * @param {number[]} other
   * @returns {Edges}
   */
  between(one, other) {
    const [left, right] = [Math.min(one[0], other[0]), Math.max(one[0], other[0])];
    const [[west, north], [east, south]] = [this.back([left, Math.min(one[1], other[1])]), this.back([right, Math.max(one[1], other[1])])]; // prettier-ignore
    const whole = this.round && (right - left) / this.scale >= 360;
    return { west: whole ? 0 : west, east: whole ? 360 : east, south, north };
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
 * Tell whether a span goes all the way round.
 * @param {number} west
 * @param {number} east
 */
function to360(west, east) {
  return east - west >= 360;
}

/**
 * Read the boxes of rows or cells: west, south, east and north of each; those of regions hold their rings.
 * @param {string[]} shapes
 * @param {string[]} keys
 * @param {number[]} counts
 * @param {number[][][]} [outlines]
 * @returns {Box[]}
 */
export function boxes(shapes, keys, counts, outlines = []) {
  return shapes.map((text, at) => {
    const [west, south, east, north] = text.split(" ").map(Number);
    const rings = outlines[at]?.length ? outlines[at] : undefined;
    const made = { key: keys[at], count: counts[at] ?? 0, west, south, east, north, rings, at };
    return rings ? reached(made, rings) : made;
  });
}

/**
 * Tell how far the rings of a region reach: they go from 0 to 360, whatever its box says.
 * @param {Box} made
 * @param {number[][]} rings
 * @returns {Box}
 */
function reached(made, rings) {
  let [west, east] = [Infinity, -Infinity];
  for (const ring of rings) {
    for (let at = 0; at + 1 < ring.length; at += 2) {
      [west, east] = [Math.min(west, ring[at]), Math.max(east, ring[at])];
      made.south = Math.min(made.south, ring[at + 1]);
      made.north = Math.max(made.north, ring[at + 1]);
    }
  }
  made.reach = [west, east];
  return made;
}

/**
 * Give where to look to see all of some boxes: nothing for none; longitudes go the shorter way round.
 * @param {Edges[]} list
 * @param {Plane} plane
 * @returns {Look | null}
 */
export function fitted(list, plane) {
  if (!list.length) return null;
  let [south, north] = [Infinity, -Infinity];
  const spans = list.map((one) => {
    [south, north] = [Math.min(south, one.south), Math.max(north, one.north)];
    return plane.span(one);
  });
  spans.sort((one, other) => one[0] - other[0]);
  let [end, gap, west] = [spans[0][1], -1, spans[0][0]];
  for (const [from, to] of spans) {
    if (from - end > gap && from > end) [gap, west] = [from - end, from];
    end = Math.max(end, to);
  }
  const last = spans[0][0] + (plane.round ? 360 : 0) - end; // over the seam
  const whole = gap < 0 || !plane.round || last >= gap;
  if (whole) west = spans[0][0];
  const east = whole ? end : west + 360 - gap;
  const [left, bottom, right, top] = plane.frame.box;
  const wide = Math.max(east - west, (right - left) / 90);
  const high = Math.max(north - south, (top - bottom) / 90);
  const first = plane.scale / plane.zoom;
  const zoom = Math.min(plane.width / wide, plane.height / high) / first / 1.25;
  const middle = (west + east) / 2;
  return {
    lon: plane.round ? turned(middle) : middle,
    lat: (south + north) / 2,
    zoom: Math.min(Math.max(zoom, 1), CLOSEST),
  };
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
      const [x1, y1, x2, y2] = [ring[at], ring[at + 1], ring[at + 2], ring[at + 3]];
      if (y1 > y !== y2 > y && x < x1 + ((x2 - x1) * (y - y1)) / (y2 - y1)) inside = !inside;
    }
  }
  return inside;
}
