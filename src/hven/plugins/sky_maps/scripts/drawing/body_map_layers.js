// Layers below and above the rows on a body's map: base map, grid, solar disc, names, scale bar. A layer has a method
// `draw(ctx, plane, ratio)`.
/** @import {Feature} from "hven/answers.js" */
/** @import {MapPlane} from "./map_plane.js" */

/**
 * @typedef {{draw: (ctx: CanvasRenderingContext2D, plane: MapPlane, ratio: number) => void}} MapLayer
 * a layer of a map
 */

const [LINE_COLOUR, TEXT_COLOUR, TEXT_SHADOW_COLOUR] = [
  "rgba(190,200,230,.28)",
  "rgba(225,230,245,.9)",
  "rgba(10,12,20,.75)",
];
const GRID_STEPS_DEGREES = [90, 45, 30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
const MIN_LINE_DISTANCE_PIXELS = 90;
const MIN_FEATURE_PIXELS = 26; // smaller features have no name
const POLAR_PICTURE_PIXELS = 768; // side of a picture seen from above a pole

/** The picture of a body. Without one only the grid is visible. */
export class BaseMap {
  opacity = 1;
  /** @type {HTMLImageElement | null} */
  picture = null;
  url = "";
  /** @type {Map<string, HTMLCanvasElement>} */
  polarPictures = new Map();

  /** @param {() => void} onReady called when the picture is loaded or has failed */
  constructor(onReady) {
    this.onReady = onReady;
  }

  /**
   * Load the picture of an address.
   * @param {string} url
   */
  show(url) {
    if (url === this.url) return;
    this.url = url;
    this.picture = null;
    this.polarPictures.clear();
    if (!url) return this.onReady();
    const picture = new Image();
    picture.onload = () => {
      if (this.url !== url) return;
      this.picture = picture;
      this.onReady();
    };
    picture.onerror = () => this.onReady();
    picture.src = url;
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapPlane} plane
   */
  draw(ctx, plane) {
    const { picture } = this;
    if (!picture || !this.opacity) return;
    ctx.globalAlpha = this.opacity;
    if (plane.pole) {
      const [x, y] = plane.toPixel(0, plane.pole === "north" ? 90 : -90);
      const radius = 90 * plane.scale;
      ctx.drawImage(this.getPolarPicture(plane.pole, picture), x - radius, y - radius, 2 * radius, 2 * radius);
    } else {
      const [, south, , north] = plane.frame.box;
      const height = (north - south) * plane.scale;
      for (const turn of plane.listTurns(0, 360))
        ctx.drawImage(picture, plane.lonToX(turn), plane.latToY(north), 360 * plane.scale + 1, height);
    }
    ctx.globalAlpha = 1;
  }

  /**
   * Return the picture as seen from above a pole, down to the equator.
   * @param {string} pole
   * @param {HTMLImageElement} picture
   */
  getPolarPicture(pole, picture) {
    const knownPicture = this.polarPictures.get(pole);
    if (knownPicture) return knownPicture;
    const [width, height] = [picture.naturalWidth, picture.naturalHeight];
    const flatCanvas = document.createElement("canvas");
    [flatCanvas.width, flatCanvas.height] = [width, height];
    const flatContext = /** @type {CanvasRenderingContext2D} */ (flatCanvas.getContext("2d"));
    flatContext.drawImage(picture, 0, 0);
    const sourcePixels = new Uint32Array(flatContext.getImageData(0, 0, width, height).data.buffer);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = POLAR_PICTURE_PIXELS;
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const data = ctx.createImageData(POLAR_PICTURE_PIXELS, POLAR_PICTURE_PIXELS);
    const targetPixels = new Uint32Array(data.data.buffer);
    const half = POLAR_PICTURE_PIXELS / 2;
    for (let y = 0; y < POLAR_PICTURE_PIXELS; y++) {
      for (let x = 0; x < POLAR_PICTURE_PIXELS; x++) {
        const [right, down] = [x - half + 0.5, y - half + 0.5];
        const distance = Math.hypot(right, down) / half; // 1 is the equator
        if (distance > 1) continue;
        const lon = Math.atan2(right, pole === "north" ? down : -down) / (2 * Math.PI);
        const row = Math.floor((pole === "north" ? distance : 2 - distance) * (height / 2));
        targetPixels[y * POLAR_PICTURE_PIXELS + x] =
          sourcePixels[Math.min(row, height - 1) * width + (Math.floor((lon + 1) * width) % width)];
      }
    }
    ctx.putImageData(data, 0, 0);
    this.polarPictures.set(pole, canvas);
    return canvas;
  }
}

/**
 * Lines of longitude and latitude with labels. On the solar disc also lines of its surface, as seen with an upright
 * axis.
 */
export class CoordinateGrid {
  opacity = 1;

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapPlane} plane
   * @param {number} ratio
   */
  draw(ctx, plane, ratio) {
    if (!this.opacity) return;
    ctx.globalAlpha = this.opacity;
    ctx.strokeStyle = LINE_COLOUR;
    ctx.lineWidth = ratio;
    ctx.font = `${11 * ratio}px system-ui`;
    if (plane.frame.radius) drawSolarDisc(ctx, plane, ratio);
    else if (plane.pole) drawPolarGrid(ctx, plane, ratio);
    else drawFlatGrid(ctx, plane, ratio);
    ctx.globalAlpha = 1;
  }
}

/** Names of features, the largest first, where there is space. */
export class FeatureNames {
  opacity = 1;
  /** @type {Feature[]} */
  features = [];
  km = 0; // radius of the body

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapPlane} plane
   * @param {number} ratio
   */
  draw(ctx, plane, ratio) {
    if (!this.opacity || !this.km) return;
    ctx.globalAlpha = this.opacity;
    ctx.font = `${11 * ratio}px system-ui`;
    ctx.textAlign = "center";
    /** @type {number[][]} */
    const usedBoxes = [];
    const pixelsPerKilometre = (plane.scale * 180) / (Math.PI * this.km);
    for (const { name, lon, lat, size } of this.features) {
      if (size * pixelsPerKilometre < MIN_FEATURE_PIXELS * ratio || usedBoxes.length > 80) break;
      if (plane.pole && (plane.pole === "north" ? lat < 0 : lat > 0)) continue;
      const [x, y] = plane.toPixel(lon, lat);
      const [width, height] = [ctx.measureText(name).width / 2 + 4 * ratio, 8 * ratio];
      if (x < 0 || y < 0 || x > plane.width || y > plane.height) continue;
      if (usedBoxes.some(([a, b, c, d]) => Math.abs(a - x) < c + width && Math.abs(b - y) < d + height)) continue;
      usedBoxes.push([x, y, width, height]);
      drawText(ctx, name, x, y + 4 * ratio, ratio);
    }
    ctx.textAlign = "start";
    ctx.globalAlpha = 1;
  }
}

/**
 * Draw a scale bar in kilometres, valid for the middle of the map.
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapPlane} plane
 * @param {number} ratio
 * @param {number} km radius of the body
 * @param {(value: number) => string} formatNumber
 */
export function drawScaleBar(ctx, plane, ratio, km, formatNumber) {
  const lat = plane.pole ? 90 : plane.toCoordinates([plane.width / 2, plane.height / 2])[1];
  const pixelsPerKilometre =
    (plane.scale * 180) / (Math.PI * km) / (plane.pole ? 1 : Math.max(Math.cos((lat * Math.PI) / 180), 0.05));
  const maxLength = (100 * ratio) / pixelsPerKilometre;
  const step = 10 ** Math.floor(Math.log10(maxLength));
  const length = step * ([5, 2, 1].find((factor) => factor * step <= maxLength) ?? 1);
  const [x, y] = [12 * ratio, plane.height - 22 * ratio];
  ctx.strokeStyle = TEXT_COLOUR;
  ctx.lineWidth = 2 * ratio;
  ctx.beginPath();
  ctx.moveTo(x, y - 4 * ratio);
  ctx.lineTo(x, y);
  ctx.lineTo(x + length * pixelsPerKilometre, y);
  ctx.lineTo(x + length * pixelsPerKilometre, y - 4 * ratio);
  ctx.stroke();
  ctx.font = `${11 * ratio}px system-ui`;
  drawText(ctx, `${formatNumber(length)} km`, x + 4 * ratio, y - 5 * ratio, ratio);
}

/**
 * Write a text with a dark outline.
 * @param {CanvasRenderingContext2D} ctx
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} ratio
 */
function drawText(ctx, text, x, y, ratio) {
  ctx.lineWidth = 3 * ratio;
  ctx.strokeStyle = TEXT_SHADOW_COLOUR;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = TEXT_COLOUR;
  ctx.fillText(text, x, y);
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {number[][]} points
 */
function drawLine(ctx, points) {
  ctx.beginPath();
  points.forEach(([x, y], index) => (index ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.stroke();
}

/**
 * Format an angle without superfluous digits.
 * @param {number} value
 */
function formatDegrees(value) {
  return `${Number(value.toFixed(2))}°`;
}

/**
 * Draw the grid of the flat map.
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapPlane} plane
 * @param {number} ratio
 */
function drawFlatGrid(ctx, plane, ratio) {
  const step =
    [...GRID_STEPS_DEGREES]
      .reverse()
      .find((candidate) => candidate * plane.scale >= MIN_LINE_DISTANCE_PIXELS * ratio) ?? 90;
  const half = Math.min(180, plane.width / 2 / plane.scale);
  const [top, bottom] = [Math.max(plane.latToY(90), 0), Math.min(plane.latToY(-90), plane.height)];
  const [left, right] = [plane.lonToX(plane.lon - half), plane.lonToX(plane.lon + half)];
  for (let lon = Math.ceil((plane.lon - half) / step) * step; lon <= plane.lon + half; lon += step) {
    drawLine(ctx, [
      [plane.lonToX(lon), top],
      [plane.lonToX(lon), bottom],
    ]);
    const text = formatDegrees(((lon % 360) + 360) % 360);
    if (plane.lonToX(lon) + 30 * ratio < right)
      drawLabel(ctx, text, plane.lonToX(lon) + 3 * ratio, bottom - 4 * ratio, ratio);
  }
  for (let lat = -90 + step; lat < 90; lat += step) {
    const y = plane.latToY(lat);
    if (y < 12 * ratio || y > plane.height - 16 * ratio) continue;
    drawLine(ctx, [
      [left, y],
      [right, y],
    ]);
    drawLabel(ctx, formatDegrees(lat), left + 3 * ratio, y - 3 * ratio, ratio);
  }
}

/**
 * Draw a label beside a line and restore the line style.
 * @param {CanvasRenderingContext2D} ctx
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {number} ratio
 */
function drawLabel(ctx, text, x, y, ratio) {
  drawText(ctx, text, x, y, ratio);
  ctx.strokeStyle = LINE_COLOUR;
  ctx.lineWidth = ratio;
}

/**
 * Draw the grid of a view from above a pole.
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapPlane} plane
 * @param {number} ratio
 */
function drawPolarGrid(ctx, plane, ratio) {
  const sign = plane.pole === "north" ? 1 : -1;
  const [x, y] = plane.toPixel(0, sign * 90);
  for (let lat = 0; lat < 90; lat += 15) {
    ctx.beginPath();
    ctx.arc(x, y, (90 - lat) * plane.scale, 0, 2 * Math.PI);
    ctx.stroke();
    drawLabel(ctx, formatDegrees(sign * lat), x + 3 * ratio, y - (90 - lat) * plane.scale - 3 * ratio, ratio);
  }
  for (let lon = 0; lon < 360; lon += 30) {
    drawLine(ctx, [plane.toPixel(lon, sign * 85), plane.toPixel(lon, 0)]);
    const [x1, y1] = plane.toPixel(lon, sign * (90 - Math.min(40, 180 / plane.scale)));
    drawLabel(ctx, formatDegrees(lon), x1 + 3 * ratio, y1, ratio);
  }
}

/**
 * Draw the solar disc, lines of its surface every 15 degrees, and angles at the edge of the map.
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapPlane} plane
 * @param {number} ratio
 */
function drawSolarDisc(ctx, plane, ratio) {
  const { radius } = plane.frame;
  ctx.beginPath();
  ctx.arc(plane.lonToX(0), plane.latToY(0), radius * plane.scale, 0, 2 * Math.PI);
  ctx.fillStyle = "rgba(255,190,90,.16)";
  ctx.fill();
  ctx.strokeStyle = "rgba(255,214,120,.8)";
  ctx.stroke();
  ctx.strokeStyle = "rgba(255,214,120,.3)";
  const projectOnDisc = (/** @type {number} */ lon, /** @type {number} */ lat) => {
    const [x, y] = [(lon * Math.PI) / 180, (lat * Math.PI) / 180];
    return [plane.lonToX(radius * Math.cos(y) * Math.sin(x)), plane.latToY(radius * Math.sin(y))];
  };
  const steps = Array.from({ length: 37 }, (_, index) => index * 5 - 90);
  for (let angle = -75; angle <= 75; angle += 15) {
    drawLine(
      ctx,
      steps.map((lat) => projectOnDisc(angle, lat)),
    );
    drawLine(
      ctx,
      steps.map((lon) => projectOnDisc(lon, angle)),
    );
  }
  ctx.strokeStyle = LINE_COLOUR;
  const step =
    [1000, 500, 200, 100, 50, 20, 10]
      .reverse()
      .find((candidate) => candidate * plane.scale >= MIN_LINE_DISTANCE_PIXELS * ratio) ?? 500;
  const [west, south, east, north] = plane.bounds;
  for (let x = Math.ceil(west / step) * step; x <= east; x += step) {
    drawLine(ctx, [
      [plane.lonToX(x), plane.height - 6 * ratio],
      [plane.lonToX(x), plane.height],
    ]);
    drawLabel(ctx, `${x}″`, plane.lonToX(x) + 3 * ratio, plane.height - 4 * ratio, ratio);
  }
  for (let y = Math.ceil(south / step) * step; y <= north; y += step) {
    drawLine(ctx, [
      [0, plane.latToY(y)],
      [6 * ratio, plane.latToY(y)],
    ]);
    drawLabel(ctx, `${y}″`, 8 * ratio, plane.latToY(y) + 4 * ratio, ratio);
  }
}
