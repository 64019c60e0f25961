// The projection of a body seen from above a pole.
import { MapPlane, normalizeAngle } from "./map_plane.js";
/** @import {Frame} from "hven/answers.js" */
/** @import {Box, BoxEdges, MapView, Path} from "./map_plane.js" */

/** Azimuthal equidistant projection: distances from the pole are true. */
export class PolarPlane extends MapPlane {
  /**
   * @param {Frame} frame
   * @param {number} width
   * @param {number} height
   * @param {MapView | null} look
   * @param {string} pole north or south
   */
  constructor(frame, width, height, look, pole) {
    super(frame, width, height, look ?? { lon: 0, lat: pole === "north" ? 90 : -90, zoom: 1 });
    this.pole = pole;
    this.sign = pole === "north" ? 1 : -1;
    this.scale = (Math.min(width, height) / 2 / 60) * this.zoom; // initially 60 degrees around the pole
    const [x, y] = this.offsetFromPole(this.lon, this.lat);
    this.polePixel = [width / 2 - x, height / 2 - y];
  }

  /**
   * Return the offset of a place from the pole in pixels.
   * @param {number} lon
   * @param {number} lat
   */
  offsetFromPole(lon, lat) {
    const [distance, angle] = [(90 - this.sign * lat) * this.scale, (lon * Math.PI) / 180];
    return [distance * Math.sin(angle), this.sign * distance * Math.cos(angle)];
  }

  /**
   * @param {number} lon
   * @param {number} lat
   */
  toPixel(lon, lat) {
    const [x, y] = this.offsetFromPole(lon, lat);
    return [this.polePixel[0] + x, this.polePixel[1] + y];
  }

  /** @param {number[]} pixel */
  toCoordinates([x, y]) {
    const [right, down] = [x - this.polePixel[0], this.sign * (y - this.polePixel[1])];
    return [
      normalizeAngle((Math.atan2(right, down) * 180) / Math.PI),
      this.sign * (90 - Math.hypot(right, down) / this.scale),
    ];
  }

  get bounds() {
    const canvasCorners = [
      [0, 0],
      [this.width, 0],
      [0, this.height],
      [this.width, this.height],
    ];
    const distance = Math.min(
      Math.max(...canvasCorners.map(([x, y]) => Math.hypot(x - this.polePixel[0], y - this.polePixel[1]))) / this.scale,
      90,
    );
    return this.sign > 0 ? [0, 90 - distance, 360, 90] : [0, -90, 360, distance - 90];
  }

  /**
   * @param {Path} path
   * @param {Box} box
   * @param {boolean} isOutline
   */
  traceRings(path, box, isOutline) {
    if (this.sign > 0 ? box.north < 0 : box.south > 0) return;
    const rings = box.rings?.length ? box.rings : [listCorners(box, this.getLonSpan(box))];
    for (const ring of rings) {
      for (let index = 0; index < ring.length; index += 2) {
        const [lon, lat] = [ring[index], ring[index + 1]];
        const [lastLon, lastLat] = index ? [ring[index - 2], ring[index - 1]] : [lon, lat];
        const isSeam = isOutline && index && lon === lastLon && (lon === 0 || lon === 360);
        const steps = isSeam ? 1 : Math.min(Math.ceil(Math.abs(lon - lastLon) / 4) || 1, 90);
        for (let step = 1; step <= steps; step++) {
          const share = step / steps;
          const [x, y] = this.toPixel(lastLon + (lon - lastLon) * share, lastLat + (lat - lastLat) * share);
          if (index && !isSeam) path.lineTo(x, y);
          else path.moveTo(x, y);
        }
      }
      if (!isOutline) path.closePath();
    }
  }

  /** @returns {number[][]} */
  listRectangles() {
    return []; // boxes are curved here
  }
}

/**
 * List the corners of a box as a ring.
 * @param {BoxEdges} box
 * @param {number[]} span
 */
function listCorners({ south, north }, [west, east]) {
  return [west, south, east, south, east, north, west, north, west, south];
}
