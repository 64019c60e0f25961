// Paints what is above the layers: the grid, names, rows of tables, and measured lines. It is the same for all views,
// which differ only in their projection.
import { formatLatitude, formatLongitude } from "./coordinates.js";
import { divideLine } from "./measures.js";
import { normalizeLongitude, RADIANS } from "./projections.js";
/** @import {PlanetMap} from "../planet_map.js" */
/** @import {MapProjection} from "./projections.js" */

const GRID_STEPS_DEGREES = [45, 30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
const GRID_PIXELS = 110; // shortest distance of lines
const LINE_POINTS = 72;
const MAX_LINES = 80;
const MIN_NAME_PIXELS = 36; // smaller features have no name
const MAX_NAMES = 60;
const MEASURE_COLOUR = "#ffe14d";
const PAPER_COLOUR = "#0b0e16";
const BOUND_SAMPLES = 12;

/**
 * Draw a line through places, as far as the view shows it.
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapProjection & {width: number}} projection
 * @param {number[][]} places
 */
export function tracePlaces(ctx, projection, places) {
  /** @type {number[] | null} */
  let last = null;
  for (const [lon, lat] of places) {
    const pixel = projection.toPixel(lon, lat);
    if (pixel && last && Math.abs(pixel[0] - last[0]) < projection.width) ctx.lineTo(pixel[0], pixel[1]);
    else if (pixel) ctx.moveTo(pixel[0], pixel[1]);
    last = pixel;
  }
}

/**
 * Return the box of what a view shows: longitudes relative to a middle, and latitudes.
 * @param {MapProjection & {width: number, height: number}} projection
 * @param {number} middle
 */
export function findShownBox(projection, middle) {
  let [west, south, east, north] = [180, 90, -180, -90];
  let isWhole = false;
  for (let row = 0; row <= BOUND_SAMPLES; row++) {
    for (let column = 0; column <= BOUND_SAMPLES; column++) {
      const pixel = [(projection.width * column) / BOUND_SAMPLES, (projection.height * row) / BOUND_SAMPLES];
      const place = projection.toCoordinates(pixel);
      if (!place) isWhole = true;
      else {
        const turn = normalizeLongitude(place[0] - middle);
        [west, east] = [Math.min(west, turn), Math.max(east, turn)];
        [south, north] = [Math.min(south, place[1]), Math.max(north, place[1])];
      }
    }
  }
  const hasPole = [90, -90].some((lat) => {
    const pixel = projection.toPixel(0, lat);
    const [x, y] = pixel ?? [-1, -1];
    return x >= 0 && y >= 0 && x <= projection.width && y <= projection.height;
  });
  return isWhole || hasPole ? { west: -180, south: -90, east: 180, north: 90 } : { west, south, east, north };
}

/** Paints on the canvas above the tiles. */
export class OverlayPainter {
  showsGrid = true;
  showsNames = true;
  /** Where lines of the grid have labels. @type {number[][]} */
  labelPixels = [];

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
  }

  paint() {
    const { overlay, view } = this.planetMap;
    if (!view?.size.width) return;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(view.size.width * ratio), Math.round(view.size.height * ratio)];
    if (overlay.width !== width || overlay.height !== height) [overlay.width, overlay.height] = [width, height];
    const ctx = /** @type {CanvasRenderingContext2D} */ (overlay.getContext("2d"));
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    this.paintOn(ctx);
  }

  /** @param {CanvasRenderingContext2D} ctx */
  paintOn(ctx) {
    const { catalogues, kind, view } = this.planetMap;
    if (!view) return;
    const { projection } = view;
    ctx.font = "11px system-ui, sans-serif";
    ctx.lineJoin = "round";
    if (kind === "globe") this.paintLimb(ctx);
    ctx.save();
    if (kind !== "globe") this.clipToMap(ctx, projection);
    if (this.showsGrid) this.paintGrid(ctx, projection);
    catalogues.paint(ctx, projection);
    if (this.showsNames) this.paintNames(ctx, projection);
    this.paintMeasure(ctx, projection);
    ctx.restore();
  }

  /**
   * Keep to the map: cover what is more than half a turn away, as the flat view repeats the body, and draw nothing
   * beside the tiles around a pole.
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapProjection & {width: number, height: number}} projection
   */
  clipToMap(ctx, { width, height }) {
    const { kind, radius, view } = this.planetMap;
    const scale = view?.position.scale ?? 1;
    if (kind === "flat") {
      const edge = width / 2 - (Math.PI * radius) / scale;
      if (edge <= 0) return;
      ctx.fillStyle = PAPER_COLOUR;
      ctx.fillRect(0, 0, edge, height);
      ctx.fillRect(width - edge, 0, edge, height);
      return;
    }
    const [x, y] = view?.projection.toPixel(0, kind === "north" ? 90 : -90) ?? [0, 0];
    const half = (2 * radius * Math.tan(Math.PI / 12)) / scale;
    ctx.beginPath();
    ctx.rect(x - half, y - half, 2 * half, 2 * half);
    ctx.clip();
  }

  /** @param {CanvasRenderingContext2D} ctx */
  paintLimb(ctx) {
    const { radius, view } = this.planetMap;
    if (!view) return;
    const { width, height } = view.size;
    const pixels = radius / view.position.scale;
    const shade = ctx.createRadialGradient(
      width / 2 - pixels * 0.25,
      height / 2 - pixels * 0.25,
      pixels * 0.55,
      width / 2,
      height / 2,
      pixels,
    );
    shade.addColorStop(0, "rgba(0,0,0,0)");
    shade.addColorStop(1, "rgba(0,0,0,.42)");
    ctx.fillStyle = shade;
    ctx.beginPath();
    ctx.arc(width / 2, height / 2, pixels, 0, 2 * Math.PI);
    ctx.fill();
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapProjection & {width: number, height: number}} projection
   */
  paintGrid(ctx, projection) {
    const { kind, longitudeStyle, mapDocument, radius, view } = this.planetMap;
    const { lon: middle, lat: middleLat, scale } = view?.position ?? { lon: 0, lat: 0, scale: 1 };
    const degrees = scale / radius / RADIANS;
    const step = chooseStep(degrees);
    const lonStep = kind === "flat" ? step : chooseStep(degrees / Math.max(Math.cos(middleLat * RADIANS), 0.2));
    const digits = Math.max(0, -Math.floor(Math.log10(step)));
    const { west, south, east, north } = findShownBox(projection, middle);
    const latitudes = listMultiples(Math.max(south, -89.99), Math.min(north, 89.99), step);
    const longitudes = listMultiples(middle + west, middle + Math.min(east, west + 359.99), lonStep);
    ctx.strokeStyle = "rgba(200,210,235,.3)";
    ctx.lineWidth = 1;
    /** @type {[string, number[][], boolean][]} */
    const lines = [
      ...longitudes.map((lon) => {
        const places = divideRange(south, north).map((lat) => [lon, lat]);
        return /** @type {[string, number[][], boolean]} */ ([
          formatLongitude(lon, longitudeStyle, digits),
          places,
          true,
        ]);
      }),
      ...latitudes.map((lat) => {
        const places = divideRange(middle + west, middle + east).map((lon) => [lon, lat]);
        const label = formatLatitude(lat, longitudeStyle, mapDocument.radii_m, digits);
        return /** @type {[string, number[][], boolean]} */ ([label, places, false]);
      }),
    ];
    this.labelPixels = [];
    for (const [label, places, isMeridian] of lines) {
      ctx.beginPath();
      tracePlaces(ctx, projection, places);
      ctx.stroke();
      this.labelLine(ctx, projection, label, places, isMeridian);
    }
  }

  /**
   * Label a line: a meridian at its lowest point in view, or far from the pole in the middle, a parallel at its first
   * one from the left.
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapProjection & {width: number, height: number}} projection
   * @param {string} label
   * @param {number[][]} places
   * @param {boolean} isMeridian
   */
  labelLine(ctx, projection, label, places, isMeridian) {
    const { width, height } = projection;
    const isPolar = this.planetMap.kind === "north" || this.planetMap.kind === "south";
    const points = places.flatMap(([lon, lat]) => {
      const [x, y] = projection.toPixel(lon, lat) ?? [-1, -1];
      if (x < 6 || x > width - 60 || y < 54 || y > height - 44) return [];
      if (!isMeridian) return [{ x, y, rank: -x }];
      return [{ x, y, rank: isPolar ? -Math.abs(lat) : y }];
    });
    if (!points.length) return;
    const { x, y } = points.reduce((best, point) => (point.rank > best.rank ? point : best));
    const isTaken = this.labelPixels.some(([left, top]) => Math.abs(left - x) < 46 && Math.abs(top - y) < 13);
    if (isTaken) return;
    this.labelPixels.push([x, y]);
    writeText(ctx, label, x + 3, y - 3, "rgba(225,230,245,.85)");
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapProjection & {width: number, height: number}} projection
   */
  paintNames(ctx, projection) {
    const { names, view } = this.planetMap;
    const scale = view?.position.scale ?? 1;
    /** @type {number[][]} */
    const takenBoxes = [];
    ctx.textAlign = "center";
    for (const { name, lon, lat, size } of names) {
      if ((size * 1000) / scale < MIN_NAME_PIXELS || takenBoxes.length >= MAX_NAMES) break; // the largest come first
      const pixel = projection.toPixel(lon, lat);
      if (!pixel || pixel[1] < 0 || pixel[1] > projection.height) continue;
      const half = ctx.measureText(name).width / 2 + 4;
      const box = [pixel[0] - half, pixel[1] - 9, pixel[0] + half, pixel[1] + 9];
      if (box[0] < 0 || box[2] > projection.width) continue;
      if (takenBoxes.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]))
        continue;
      takenBoxes.push(box);
      writeText(ctx, name, pixel[0], pixel[1] + 4, "#fff");
    }
    ctx.textAlign = "left";
  }

  /**
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapProjection & {width: number}} projection
   */
  paintMeasure(ctx, projection) {
    const { mapDocument, measure } = this.planetMap;
    const { places } = measure;
    const radii = mapDocument.radii_m;
    if (!places.length) return;
    const lines = places.slice(1).flatMap((place, index) => divideLine(radii, places[index], place));
    ctx.strokeStyle = MEASURE_COLOUR;
    ctx.fillStyle = MEASURE_COLOUR;
    ctx.lineWidth = 2;
    ctx.beginPath();
    tracePlaces(ctx, projection, lines);
    ctx.stroke();
    if (places.length > 2) {
      ctx.setLineDash([5, 5]);
      ctx.beginPath();
      tracePlaces(ctx, projection, divideLine(radii, places[places.length - 1], places[0]));
      ctx.stroke();
      ctx.setLineDash([]);
    }
    for (const [lon, lat] of places) {
      const pixel = projection.toPixel(lon, lat);
      if (!pixel) continue;
      ctx.beginPath();
      ctx.arc(pixel[0], pixel[1], 4, 0, 2 * Math.PI);
      ctx.fill();
    }
  }
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 */
function writeText(ctx, text, x, y, colour) {
  ctx.strokeStyle = "rgba(8,10,18,.75)";
  ctx.lineWidth = 3;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
  ctx.strokeStyle = "rgba(200,210,235,.3)";
  ctx.lineWidth = 1;
}

/** @param {number} degrees in a pixel */
function chooseStep(degrees) {
  return GRID_STEPS_DEGREES.findLast((size) => size / degrees >= GRID_PIXELS) ?? 90;
}

/**
 * List the multiples of a step in a range.
 * @param {number} low
 * @param {number} high
 * @param {number} step
 */
function listMultiples(low, high, step) {
  const first = Math.ceil(low / step);
  const count = Math.min(Math.floor(high / step) - first + 1, MAX_LINES);
  return Array.from({ length: Math.max(count, 0) }, (_, index) => (first + index) * step);
}

/**
 * @param {number} low
 * @param {number} high
 */
function divideRange(low, high) {
  return Array.from({ length: LINE_POINTS + 1 }, (_, index) => low + ((high - low) * index) / LINE_POINTS);
}
