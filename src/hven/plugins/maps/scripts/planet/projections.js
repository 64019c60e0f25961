// How views map a body to pixels: flat (plate carree), above a pole (stereographic), and as a globe (orthographic).
// Longitudes are east-positive and latitudes planetocentric, both in degrees; the body is a sphere.
/** @import {ViewKind} from "./map_document.js" */

/** @typedef {{lon: number, lat: number, scale: number}} MapPosition centre, and metres of the projection in a pixel */
/** @typedef {{width: number, height: number}} PixelSize */
/**
 * @typedef {{
 *   toPixel: (lon: number, lat: number) => number[] | null,
 *   toCoordinates: (pixel: number[]) => [number, number] | null,
 * }} MapProjection
 */

export const RADIANS = Math.PI / 180;

/**
 * Return a longitude from -180 to 180.
 * @param {number} lon
 */
export function normalizeLongitude(lon) {
  return ((((lon + 180) % 360) + 360) % 360) - 180;
}

/**
 * Project a place from above a pole, to metres.
 * @param {number} radius
 * @param {number} sign 1 for the north pole, -1 for the south pole
 * @param {number} lon
 * @param {number} lat
 * @returns {[number, number]}
 */
export function projectFromPole(radius, sign, lon, lat) {
  const distance = 2 * radius * Math.tan(((90 - sign * lat) / 2) * RADIANS);
  return [distance * Math.sin(lon * RADIANS), -sign * distance * Math.cos(lon * RADIANS)];
}

/**
 * Return the place of a point of a polar map.
 * @param {number} radius
 * @param {number} sign
 * @param {number[]} point in metres
 * @returns {[number, number]}
 */
export function computePolarPlace(radius, sign, [x, y]) {
  const lat = 90 - (2 * Math.atan(Math.hypot(x, y) / (2 * radius))) / RADIANS;
  return [Math.atan2(x, -sign * y) / RADIANS, sign * lat];
}

/** Longitudes and latitudes as x and y. */
export class FlatProjection {
  /**
   * @param {number} radius
   * @param {PixelSize} size
   * @param {MapPosition} position
   */
  constructor(radius, { width, height }, { lon, lat, scale }) {
    this.width = width;
    this.height = height;
    this.lon = lon;
    this.lat = lat;
    this.resolution = scale / (radius * RADIANS); // degrees in a pixel
  }

  /**
   * @param {number} lon
   * @param {number} lat
   */
  toPixel(lon, lat) {
    return [
      this.width / 2 + normalizeLongitude(lon - this.lon) / this.resolution,
      this.height / 2 + (this.lat - lat) / this.resolution,
    ];
  }

  /**
   * @param {number[]} pixel
   * @returns {[number, number] | null}
   */
  toCoordinates([x, y]) {
    const offset = (x - this.width / 2) * this.resolution;
    const lat = this.lat - (y - this.height / 2) * this.resolution;
    return Math.abs(lat) > 90 || Math.abs(offset) > 180 ? null : [normalizeLongitude(this.lon + offset), lat];
  }
}

/** The surroundings of a pole. */
export class PolarProjection {
  /**
   * @param {number} radius
   * @param {PixelSize} size
   * @param {MapPosition} position
   * @param {number} sign
   */
  constructor(radius, { width, height }, { lon, lat, scale }, sign) {
    this.radius = radius;
    this.width = width;
    this.height = height;
    this.scale = scale;
    this.sign = sign;
    this.centre = projectFromPole(radius, sign, lon, lat);
  }

  /**
   * @param {number} lon
   * @param {number} lat
   */
  toPixel(lon, lat) {
    if (this.sign * lat < -1) return null; // the other hemisphere
    const [x, y] = projectFromPole(this.radius, this.sign, lon, lat);
    return [this.width / 2 + (x - this.centre[0]) / this.scale, this.height / 2 - (y - this.centre[1]) / this.scale];
  }

  /**
   * @param {number[]} pixel
   * @returns {[number, number] | null}
   */
  toCoordinates([x, y]) {
    return computePolarPlace(this.radius, this.sign, [
      this.centre[0] + (x - this.width / 2) * this.scale,
      this.centre[1] - (y - this.height / 2) * this.scale,
    ]);
  }
}

/** The body from far away. */
export class GlobeProjection {
  /**
   * @param {number} radius
   * @param {PixelSize} size
   * @param {MapPosition} position
   */
  constructor(radius, { width, height }, { lon, lat, scale }) {
    this.width = width;
    this.height = height;
    this.lon = lon;
    this.radius = radius / scale; // in pixels
    this.sine = Math.sin(lat * RADIANS);
    this.cosine = Math.cos(lat * RADIANS);
  }

  /**
   * @param {number} lon
   * @param {number} lat
   */
  toPixel(lon, lat) {
    const turn = (lon - this.lon) * RADIANS;
    const [sine, cosine] = [Math.sin(lat * RADIANS), Math.cos(lat * RADIANS)];
    if (this.sine * sine + this.cosine * cosine * Math.cos(turn) < 0) return null; // behind the limb
    return [
      this.width / 2 + this.radius * cosine * Math.sin(turn),
      this.height / 2 - this.radius * (this.cosine * sine - this.sine * cosine * Math.cos(turn)),
    ];
  }

  /**
   * @param {number[]} pixel
   * @returns {[number, number] | null}
   */
  toCoordinates([x, y]) {
    const [right, up] = [(x - this.width / 2) / this.radius, (this.height / 2 - y) / this.radius];
    const squared = right * right + up * up;
    if (squared > 1) return null;
    const depth = Math.sqrt(1 - squared);
    const lat = Math.asin(Math.min(Math.max(up * this.cosine + depth * this.sine, -1), 1)) / RADIANS;
    const turn = Math.atan2(right, depth * this.cosine - up * this.sine) / RADIANS;
    return [normalizeLongitude(this.lon + turn), lat];
  }
}

/**
 * Create the projection of a view.
 * @param {ViewKind} view
 * @param {number} radius
 * @param {PixelSize} size
 * @param {MapPosition} position
 * @returns {FlatProjection | PolarProjection | GlobeProjection}
 */
export function createProjection(view, radius, size, position) {
  if (view === "globe") return new GlobeProjection(radius, size, position);
  if (view === "flat") return new FlatProjection(radius, size, position);
  return new PolarProjection(radius, size, position, view === "north" ? 1 : -1);
}

/**
 * Compute the metres on the body in a pixel at the centre; polar maps enlarge what is away from the pole.
 * @param {ViewKind} view
 * @param {MapPosition} position
 */
export function computeCentreScale(view, { lat, scale }) {
  if (view === "flat" || view === "globe") return scale;
  return (scale * (1 + Math.sin(Math.abs(lat) * RADIANS))) / 2;
}

/**
 * Return the position at which a view shows all it can.
 * @param {ViewKind} view
 * @param {number} radius
 * @param {PixelSize} size
 * @param {number} lon
 * @returns {MapPosition}
 */
export function findWholePosition(view, radius, { width, height }, lon = 0) {
  const side = Math.max(Math.min(width, height), 1);
  if (view === "globe") return { lon, lat: 0, scale: (2.1 * radius) / side };
  if (view === "flat") return { lon, lat: 0, scale: radius * RADIANS * Math.max(360 / width, 180 / height) };
  const half = 2 * radius * Math.tan(15 * RADIANS); // to the latitude of 60 degrees
  return { lon: 0, lat: view === "north" ? 90 : -90, scale: (2.04 * half) / side };
}
