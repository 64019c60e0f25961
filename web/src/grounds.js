// What lies below and above the rows on the map of a body: its picture, the grid, the Sun's disc, names, a scale. Layers are objects with `draw(ctx, plane, ratio)`.
/** @import {Feature} from "./answers.js" */
/** @import {Plane} from "./plane.js" */

/** @typedef {{draw: (ctx: CanvasRenderingContext2D, plane: Plane, ratio: number) => void}} Drawn a layer of a map: others may be put among them */

const [LINES, WORDS, SHADE] = ["rgba(190,200,230,.28)", "rgba(225,230,245,.9)", "rgba(10,12,20,.75)"];
const GRIDS = [90, 45, 30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01]; // degrees
const APART = 90; // pixels between lines
const NAMED = 26; // pixels: a feature that is smaller has no name yet
const POLAR = 768; // pixels of a picture from above a pole

/** The picture of a body; where there is none, or it cannot be had, the grid is alone. */
export class Ground {
  opacity = 1;
  /** @type {HTMLImageElement | null} */
  picture = null;
  url = "";
  /** @type {Map<string, HTMLCanvasElement>} */
  poles = new Map();

  /** @param {() => void} ready is called when it is there, or is gone */
  constructor(ready) {
    this.ready = ready;
  }

  /** @param {string} url */
  show(url) {
    if (url === this.url) return;
    this.url = url;
    this.picture = null;
    this.poles.clear();
    if (!url) return this.ready();
    const picture = new Image();
    picture.onload = () => {
      if (this.url !== url) return;
      this.picture = picture;
      this.ready();
    };
    picture.onerror = () => this.ready();
    picture.src = url;
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Plane} plane
   */
  draw(ctx, plane) {
    const { picture } = this;
    if (!picture || !this.opacity) return;
    ctx.globalAlpha = this.opacity;
    if (plane.pole) {
      const [x, y] = plane.point(0, plane.pole === "north" ? 90 : -90);
      const half = 90 * plane.scale;
      ctx.drawImage(this.above(plane.pole, picture), x - half, y - half, 2 * half, 2 * half);
    } else {
      const [, south, , north] = plane.frame.box;
      const high = (north - south) * plane.scale;
      for (const turn of plane.turns(0, 360)) ctx.drawImage(picture, plane.x(turn), plane.y(north), 360 * plane.scale + 1, high); // prettier-ignore
    }
    ctx.globalAlpha = 1;
  }

  /**
   * Make the picture as it is seen from above a pole, down to the equator.
   * @param {string} pole
   * @param {HTMLImageElement} picture
   */
  above(pole, picture) {
    const known = this.poles.get(pole);
    if (known) return known;
    const [wide, high] = [picture.naturalWidth, picture.naturalHeight];
    const flat = document.createElement("canvas");
    [flat.width, flat.height] = [wide, high];
    const from = /** @type {CanvasRenderingContext2D} */ (flat.getContext("2d"));
    from.drawImage(picture, 0, 0);
    const source = new Uint32Array(from.getImageData(0, 0, wide, high).data.buffer);
    const made = document.createElement("canvas");
    made.width = made.height = POLAR;
    const ctx = /** @type {CanvasRenderingContext2D} */ (made.getContext("2d"));
    const data = ctx.createImageData(POLAR, POLAR);
    const target = new Uint32Array(data.data.buffer);
    const half = POLAR / 2;
    for (let y = 0; y < POLAR; y++) {
      for (let x = 0; x < POLAR; x++) {
        const [right, down] = [x - half + 0.5, y - half + 0.5];
        const far = Math.hypot(right, down) / half; // 1: the equator
        if (far > 1) continue;
        const lon = Math.atan2(right, pole === "north" ? down : -down) / (2 * Math.PI);
        const row = Math.floor((pole === "north" ? far : 2 - far) * (high / 2));
        target[y * POLAR + x] = source[Math.min(row, high - 1) * wide + (Math.floor((lon + 1) * wide) % wide)];
      }
    }
    ctx.putImageData(data, 0, 0);
    this.poles.set(pole, made);
    return made;
  }
}

/** Lines of longitude and latitude with their numbers; on the Sun's disc also those of its own surface, as it looks when its axis stands upright. */
export class Grid {
  opacity = 1;

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Plane} plane
   * @param {number} ratio
   */
  draw(ctx, plane, ratio) {
    if (!this.opacity) return;
    ctx.globalAlpha = this.opacity;
    ctx.strokeStyle = LINES;
    ctx.lineWidth = ratio;
    ctx.font = `${11 * ratio}px system-ui`;
    if (plane.frame.radius) disc(ctx, plane, ratio);
    else if (plane.pole) rings(ctx, plane, ratio);
    else meridians(ctx, plane, ratio);
    ctx.globalAlpha = 1;
  }
}

/** Names of features, the largest first, where there is room for them. */
export class Names {
  opacity = 1;
  /** @type {Feature[]} */
  list = [];
  km = 0; // radius of the body

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {Plane} plane
   * @param {number} ratio
   */
  draw(ctx, plane, ratio) {
    if (!this.opacity || !this.km) return;
    ctx.globalAlpha = this.opacity;
    ctx.font = `${11 * ratio}px system-ui`;
    ctx.textAlign = "center";
    /** @type {number[][]} */
    const taken = [];
    const pixels = (plane.scale * 180) / (Math.PI * this.km); // of a kilometre
    for (const { name, lon, lat, size } of this.list) {
      if (size * pixels < NAMED * ratio || taken.length > 80) break;
      if (plane.pole && (plane.pole === "north" ? lat < 0 : lat > 0)) continue;
      const [x, y] = plane.point(lon, lat);
      const [wide, high] = [ctx.measureText(name).width / 2 + 4 * ratio, 8 * ratio];
      if (x < 0 || y < 0 || x > plane.width || y > plane.height) continue;
      if (taken.some(([a, b, c, d]) => Math.abs(a - x) < c + wide && Math.abs(b - y) < d + high)) continue;
      taken.push([x, y, wide, high]);
      worded(ctx, name, x, y + 4 * ratio, ratio);
    }
    ctx.textAlign = "start";
    ctx.globalAlpha = 1;
  }
}

/**
 * Draw how long some kilometres are in the middle of the map.
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 * @param {number} ratio
 * @param {number} km radius of the body
 * @param {(value: number) => string} number
 */
export function ruled(ctx, plane, ratio, km, number) {
  const lat = plane.pole ? 90 : plane.back([plane.width / 2, plane.height / 2])[1];
  const pixels =
    (plane.scale * 180) / (Math.PI * km) / (plane.pole ? 1 : Math.max(Math.cos((lat * Math.PI) / 180), 0.05));
  const most = (100 * ratio) / pixels;
  const step = 10 ** Math.floor(Math.log10(most));
  const long = step * ([5, 2, 1].find((one) => one * step <= most) ?? 1);
  const [x, y] = [12 * ratio, plane.height - 22 * ratio];
  ctx.strokeStyle = WORDS;
  ctx.lineWidth = 2 * ratio;
  ctx.beginPath();
  ctx.moveTo(x, y - 4 * ratio);
  ctx.lineTo(x, y);
  ctx.lineTo(x + long * pixels, y);
  ctx.lineTo(x + long * pixels, y - 4 * ratio);
  ctx.stroke();
  ctx.font = `${11 * ratio}px system-ui`;
  worded(ctx, `${number(long)} km`, x + 4 * ratio, y - 5 * ratio, ratio);
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} ratio
 */
function worded(ctx, text, x, y, ratio) {
  ctx.lineWidth = 3 * ratio;
  ctx.strokeStyle = SHADE;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = WORDS;
  ctx.fillText(text, x, y);
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {number[][]} points
 */
function line(ctx, points) {
  ctx.beginPath();
  points.forEach(([x, y], at) => (at ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.stroke();
}

/**
 * Write an angle: no more digits than the steps have.
 * @param {number} value
 */
function degrees(value) {
  return `${Number(value.toFixed(2))}°`;
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 * @param {number} ratio
 */
function meridians(ctx, plane, ratio) {
  const step = [...GRIDS].reverse().find((one) => one * plane.scale >= APART * ratio) ?? 90;
  const half = Math.min(180, plane.width / 2 / plane.scale);
  const [top, bottom] = [Math.max(plane.y(90), 0), Math.min(plane.y(-90), plane.height)];
  const [left, right] = [plane.x(plane.lon - half), plane.x(plane.lon + half)];
  for (let lon = Math.ceil((plane.lon - half) / step) * step; lon <= plane.lon + half; lon += step) {
    line(ctx, [[plane.x(lon), top], [plane.x(lon), bottom]]); // prettier-ignore
    const text = degrees(((lon % 360) + 360) % 360);
    if (plane.x(lon) + 30 * ratio < right) numbered(ctx, text, plane.x(lon) + 3 * ratio, bottom - 4 * ratio, ratio);
  }
  for (let lat = -90 + step; lat < 90; lat += step) {
    const y = plane.y(lat);
    if (y < 12 * ratio || y > plane.height - 16 * ratio) continue;
    line(ctx, [[left, y], [right, y]]); // prettier-ignore
    numbered(ctx, degrees(lat), left + 3 * ratio, y - 3 * ratio, ratio);
  }
}

/**
 * Write a number beside a line, and go on with lines.
 * @param {CanvasRenderingContext2D} ctx
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} ratio
 */
function numbered(ctx, text, x, y, ratio) {
  worded(ctx, text, x, y, ratio);
  ctx.strokeStyle = LINES;
  ctx.lineWidth = ratio;
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 * @param {number} ratio
 */
function rings(ctx, plane, ratio) {
  const sign = plane.pole === "north" ? 1 : -1;
  const [x, y] = plane.point(0, sign * 90);
  for (let lat = 0; lat < 90; lat += 15) {
    ctx.beginPath();
    ctx.arc(x, y, (90 - lat) * plane.scale, 0, 2 * Math.PI);
    ctx.stroke();
    numbered(ctx, degrees(sign * lat), x + 3 * ratio, y - (90 - lat) * plane.scale - 3 * ratio, ratio);
  }
  for (let lon = 0; lon < 360; lon += 30) {
    line(ctx, [plane.point(lon, sign * 85), plane.point(lon, 0)]);
    const [at, down] = plane.point(lon, sign * (90 - Math.min(40, 180 / plane.scale)));
    numbered(ctx, degrees(lon), at + 3 * ratio, down, ratio);
  }
}

/**
 * The Sun's disc, lines of its surface every 15 degrees, and angles at the edge of the map.
 * @param {CanvasRenderingContext2D} ctx
 * @param {Plane} plane
 * @param {number} ratio
 */
function disc(ctx, plane, ratio) {
  const { radius } = plane.frame;
  ctx.beginPath();
  ctx.arc(plane.x(0), plane.y(0), radius * plane.scale, 0, 2 * Math.PI);
  ctx.fillStyle = "rgba(255,190,90,.16)";
  ctx.fill();
  ctx.strokeStyle = "rgba(255,214,120,.8)";
  ctx.stroke();
  ctx.strokeStyle = "rgba(255,214,120,.3)";
  const sphere = (/** @type {number} */ lon, /** @type {number} */ lat) => {
    const [x, y] = [(lon * Math.PI) / 180, (lat * Math.PI) / 180];
    return [plane.x(radius * Math.cos(y) * Math.sin(x)), plane.y(radius * Math.sin(y))];
  };
  const steps = Array.from({ length: 37 }, (_, at) => at * 5 - 90);
  for (let one = -75; one <= 75; one += 15) {
    line(ctx, steps.map((lat) => sphere(one, lat))); // prettier-ignore
    line(ctx, steps.map((lon) => sphere(lon, one))); // prettier-ignore
  }
  ctx.strokeStyle = LINES;
  const step = [1000, 500, 200, 100, 50, 20, 10].reverse().find((one) => one * plane.scale >= APART * ratio) ?? 500;
  const [west, south, east, north] = plane.seen;
  for (let at = Math.ceil(west / step) * step; at <= east; at += step) {
    line(ctx, [[plane.x(at), plane.height - 6 * ratio], [plane.x(at), plane.height]]); // prettier-ignore
    numbered(ctx, `${at}″`, plane.x(at) + 3 * ratio, plane.height - 4 * ratio, ratio);
  }
  for (let at = Math.ceil(south / step) * step; at <= north; at += step) {
    line(ctx, [[0, plane.y(at)], [6 * ratio, plane.y(at)]]); // prettier-ignore
    numbered(ctx, `${at}″`, 8 * ratio, plane.y(at) + 4 * ratio, ratio);
  }
}
