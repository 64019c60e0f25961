// Polygons that are drawn on the map of a body: corners in the coordinates of the map, and the region of a search.
import { createButton } from "hven/dom.js";
import { REGION_COLOUR } from "./body_layers.js";
import { normalizeAngle, parseBoxes } from "./map_plane.js";
import { paintShape } from "./offscreen_layer.js";
import { connectRegionForm } from "./region_form.js";
/** @import {BodyMap} from "../body.js" */
/** @import {Box, MapPlane} from "./map_plane.js" */

const MAX_SIDE_DEGREES = 5; // longer sides are divided, because the sides of regions are great circles
const MAX_VERTICES = 120;
const MIN_CORNERS = 3;
const MAX_CORNERS = 60;
const CLOSING_PIXELS = 6; // a click this near to the first corner closes the polygon

/**
 * Continue longitudes across longitude 0, so that each one is within half a turn of the one before.
 * @param {number[][]} corners longitudes and latitudes
 */
export function normalizeCorners(corners) {
  const [first] = corners;
  let lon = first?.[0] ?? 0;
  return corners.map(([nextLon, lat]) => {
    lon += normalizeAngle(nextLon - lon + 180) - 180;
    return [lon, lat];
  });
}

/**
 * Write corners as the region of a search: straight sides of the map stay straight.
 * @param {number[][]} corners longitudes and latitudes
 */
export function formatPolygon(corners) {
  const ring = normalizeCorners(corners);
  const sides = ring.map(([lon, lat], index) => {
    const [nextLon, nextLat] = index + 1 < ring.length ? ring[index + 1] : normalizeCorners([[lon, lat], ring[0]])[1];
    return { lon, lat, east: nextLon - lon, north: nextLat - lat, length: Math.hypot(nextLon - lon, nextLat - lat) };
  });
  const perimeter = sides.reduce((sum, { length }) => sum + length, 0);
  const step = Math.max(MAX_SIDE_DEGREES, perimeter / (MAX_VERTICES - corners.length));
  const numbers = sides.flatMap(({ lon, lat, east, north, length }) => {
    const count = Math.max(Math.ceil(length / step), 1);
    return Array.from({ length: count }, (_, index) => {
      const share = index / count;
      return `${Number(normalizeAngle(lon + east * share).toFixed(3))} ${Number((lat + north * share).toFixed(3))}`;
    });
  });
  return `POLYGON ${numbers.join(" ")}`;
}

/**
 * Write corners as the polygon of a search on the map, to a tenth of a pixel.
 * @param {number[][]} corners
 * @param {number} scale pixels for a degree or an arcsecond
 */
export function formatCorners(corners, scale) {
  const digits = Math.min(Math.max(Math.ceil(Math.log10(scale)) + 1, 0), 8);
  return corners.map((corner) => corner.map((value) => Number(value.toFixed(digits))).join(" ")).join(", ");
}

/**
 * Divide the sides of a polygon that is drawn from above a pole, where straight lines are no lines of the flat map.
 * @param {number[][]} corners longitudes and latitudes
 * @param {MapPlane} plane
 */
export function divideSides(corners, plane) {
  const count = Math.max(Math.floor(MAX_VERTICES / corners.length), 1);
  const pixels = corners.map(([lon, lat]) => plane.toPixel(lon, lat));
  return pixels.flatMap(([x, y], index) => {
    const [nextX, nextY] = pixels[(index + 1) % pixels.length];
    return Array.from({ length: count }, (_, step) =>
      plane.toCoordinates([x + ((nextX - x) * step) / count, y + ((nextY - y) * step) / count]),
    );
  });
}

/**
 * Parse the polygon of a search, with or without commas, as a shape of the map; null if it is none.
 * @param {string | null} text
 * @param {boolean} [isCyclic] whether its coordinates are longitudes and latitudes
 * @returns {Box | null}
 */
export function parsePolygon(text, isCyclic = true) {
  const numbers = (text ?? "")
    .replace(/^\s*POLYGON\s/i, "")
    .split(/[\s,]+/)
    .filter(Boolean)
    .map(Number);
  if (numbers.length < 2 * MIN_CORNERS || numbers.length % 2 || !numbers.every(Number.isFinite)) return null;
  const corners = numbers.flatMap((x, index) => (index % 2 ? [] : [[x, numbers[index + 1]]]));
  const closed = [...corners, corners[0]];
  const ring = isCyclic ? closeAroundPole(normalizeCorners(closed)) : closed;
  const [xs, ys] = [ring.map(([x]) => x), ring.map(([, y]) => y)];
  const edges = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)].join(" ");
  return parseBoxes([edges], [""], [1], [[ring.flat()]])[0];
}

/**
 * Close a ring that goes around a pole along that edge of the map, as the server does.
 * @param {number[][]} ring
 */
function closeAroundPole(ring) {
  const [first, last] = [ring[0], ring[ring.length - 1]];
  if (Math.abs(last[0] - first[0]) < 180) return ring;
  const pole = ring.reduce((sum, [, lat]) => sum + lat, 0) >= 0 ? 90 : -90;
  return [...ring, [last[0], pole], [first[0], pole], first];
}

/** Draws a polygon on the map of a body, and searches in it. */
export class BodyPolygon {
  /** Coordinates of the corners; null: no polygon is being drawn.
   * @type {number[][] | null} */
  corners = null;

  /**
   * @param {BodyMap} map
   * @param {HTMLElement} container of the map
   */
  constructor(map, container) {
    const { t } = map.workspace;
    this.map = map;
    this.button = createButton(t("Draw a polygon"), () => this.toggle());
    this.button.setAttribute("aria-pressed", "false");
    this.button.hidden = !connectRegionForm(container, map.workspace);
    this.button.title = t("Click the corners, or press Enter for a corner in the middle; then press this button");
  }

  /** Begin a polygon, or search in the one that is drawn. */
  toggle() {
    const { corners } = this;
    const { gestures, globe } = this.map;
    this.corners = corners ? null : [];
    gestures.isDrawingPolygon = !corners;
    this.button.setAttribute("aria-pressed", String(!corners));
    globe.scheduleDraw();
    if (!corners) globe.canvas.focus({ preventScroll: true });
    else if (corners.length >= MIN_CORNERS) this.search(corners);
  }

  /**
   * Search in a polygon: in the footprints of rows, or else in the coordinates of their boxes and points.
   * @param {number[][]} corners
   */
  search(corners) {
    const { globe, hasFootprints, workspace } = this.map;
    const drawn = globe.pole ? divideSides(corners, globe.plane) : corners;
    const isOnSphere = hasFootprints && !globe.frame.radius;
    workspace.state.set({
      _in: isOnSphere ? formatPolygon(drawn) : null,
      _polygon: isOnSphere ? null : formatCorners(drawn, globe.plane.scale),
      _near: null,
      _row: null,
    });
  }

  /**
   * Add a corner, if a polygon is being drawn; the first one again closes it.
   * @param {number[]} pixel
   * @returns {boolean} whether a polygon is being drawn
   */
  addCorner(pixel) {
    const { corners } = this;
    if (!corners) return false;
    const { globe } = this.map;
    const isNear = (/** @type {number[] | undefined} */ corner) => {
      const [x, y] = corner ? globe.plane.toPixel(corner[0], corner[1]) : [NaN, NaN];
      return Math.hypot(x - pixel[0], y - pixel[1]) <= CLOSING_PIXELS * (devicePixelRatio || 1);
    };
    if (corners.length >= MIN_CORNERS && isNear(corners[0])) this.toggle();
    else if (!isNear(corners.at(-1)) && corners.length < MAX_CORNERS) corners.push(globe.plane.toCoordinates(pixel));
    globe.scheduleDraw();
    return true;
  }

  /**
   * Draw the polygon of the search, and the corners of the one that is being drawn.
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapPlane} plane
   * @param {number} ratio pixels of the canvas for a pixel of the page
   */
  draw(ctx, plane, ratio) {
    const { state } = this.map.workspace;
    const style = { fill: "rgba(157,240,157,.06)", stroke: REGION_COLOUR, width: 1.5 * ratio };
    const texts = [...(plane.isCyclic ? state.getAll("_in") : []), ...state.getAll("_polygon")];
    for (const polygon of texts.map((text) => parsePolygon(text, plane.isCyclic)))
      if (polygon) paintShape(ctx, plane, polygon, style);
    const pixels = (this.corners ?? []).map(([lon, lat]) => plane.toPixel(lon, lat));
    ctx.strokeStyle = REGION_COLOUR;
    ctx.lineWidth = 2 * ratio;
    ctx.beginPath();
    for (const [index, [x, y]] of pixels.entries()) {
      if (index) ctx.lineTo(x, y);
      else ctx.moveTo(x, y);
    }
    ctx.stroke();
    for (const [x, y] of pixels) ctx.strokeRect(x - 3 * ratio, y - 3 * ratio, 6 * ratio, 6 * ratio);
  }
}
