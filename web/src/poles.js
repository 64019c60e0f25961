// A body seen from above one of its poles, on a canvas.
import { Plane, turned } from "./plane.js";
/** @import {Frame} from "./answers.js" */
/** @import {Box, Edges, Look, Path} from "./plane.js" */

/** Distances from the pole are true. */
export class Pole extends Plane {
  /**
   * @param {Frame} frame
   * @param {number} width
   * @param {number} height
   * @param {Look | null} look
   * @param {string} pole north or south
   */
  constructor(frame, width, height, look, pole) {
    super(frame, width, height, look ?? { lon: 0, lat: pole === "north" ? 90 : -90, zoom: 1 });
    this.pole = pole;
    this.sign = pole === "north" ? 1 : -1;
    this.scale = (Math.min(width, height) / 2 / 60) * this.zoom; // 60 degrees around it at first
    const [x, y] = this.off(this.lon, this.lat);
    this.middle = [width / 2 - x, height / 2 - y]; // the pixel of the pole
  }

  /**
   * Give how far a place lies from the pole, in pixels.
   * @param {number} lon
   * @param {number} lat
   */
  off(lon, lat) {
    const [far, turn] = [(90 - this.sign * lat) * this.scale, (lon * Math.PI) / 180];
    return [far * Math.sin(turn), this.sign * far * Math.cos(turn)];
  }

  /**
   * @param {number} lon
   * @param {number} lat
   */
  point(lon, lat) {
    const [x, y] = this.off(lon, lat);
    return [this.middle[0] + x, this.middle[1] + y];
  }

  /** @param {number[]} pixel */
  back([x, y]) {
    const [right, down] = [x - this.middle[0], this.sign * (y - this.middle[1])];
    return [turned((Math.atan2(right, down) * 180) / Math.PI), this.sign * (90 - Math.hypot(right, down) / this.scale)];
  }

  get seen() {
    const ends = [[0, 0], [this.width, 0], [0, this.height], [this.width, this.height]]; // prettier-ignore
    const far = Math.min(Math.max(...ends.map(([x, y]) => Math.hypot(x - this.middle[0], y - this.middle[1]))) / this.scale, 90); // prettier-ignore
    return this.sign > 0 ? [0, 90 - far, 360, 90] : [0, -90, 360, far - 90];
  }

  /**
   * @param {Path} path
   * @param {Box} box
   * @param {boolean} line
   */
  trace(path, box, line) {
    if (this.sign > 0 ? box.north < 0 : box.south > 0) return;
    const rings = box.rings?.length ? box.rings : [corners(box, this.span(box))];
    for (const ring of rings) {
      for (let at = 0; at < ring.length; at += 2) {
        const [lon, lat] = [ring[at], ring[at + 1]];
        const [before, low] = at ? [ring[at - 2], ring[at - 1]] : [lon, lat];
        const cut = line && at && lon === before && (lon === 0 || lon === 360);
        const steps = cut ? 1 : Math.min(Math.ceil(Math.abs(lon - before) / 4) || 1, 90);
        for (let step = 1; step <= steps; step++) {
          const part = step / steps;
          const [x, y] = this.point(before + (lon - before) * part, low + (lat - low) * part);
          if (at && !cut) path.lineTo(x, y);
          else path.moveTo(x, y);
        }
      }
      if (!line) path.closePath();
    }
  }

  /** @returns {number[][]} */
  rectangles() {
    return []; // boxes are bent
  }
}

/**
 * Give the corners of a box as a ring.
 * @param {Edges} box
 * @param {number[]} span
 */
function corners({ south, north }, [west, east]) {
  return [west, south, east, south, east, north, west, north, west, south];
}
