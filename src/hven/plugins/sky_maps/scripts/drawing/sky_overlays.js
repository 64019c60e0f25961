// The overlays of the sky map: points and footprints of rows, counts of cells, chosen rows, the region of the search.
import { applyOpacity, getViridisColour } from "hven/colours.js";
import { applyAlpha } from "./map_legend.js";
import { LAYER_COLOURS } from "./sky_layers.js";
/** @import {SkyMap} from "../sky.js" */

const [POINT_COLOUR, SHAPE_COLOUR, REGION_COLOUR, , CHOSEN_COLOUR] = LAYER_COLOURS;

/**
 * Create the overlays and add them to the map.
 * @param {SkyMap} sky
 */
export function createOverlays(sky) {
  const { A, aladin } = sky;
  const drawCell = (/** @type {any} */ source, /** @type {CanvasRenderingContext2D} */ ctx) => {
    const share = Math.log1p(source.data.count) / Math.log1p(sky.maxCount);
    ctx.beginPath();
    ctx.arc(source.x, source.y, 3 + 6 * share, 0, 2 * Math.PI);
    ctx.fillStyle = applyAlpha(getViridisColour(0.15 + 0.85 * share), sky.cellOpacity);
    ctx.fill();
  };
  const drawPoint = (/** @type {any} */ source, /** @type {CanvasRenderingContext2D} */ ctx) => {
    ctx.beginPath();
    ctx.arc(source.x, source.y, sky.pointSize, 0, 2 * Math.PI);
    ctx.fillStyle = applyAlpha(source.data.colour, 0.35 * sky.rowOpacity);
    ctx.fill();
    ctx.strokeStyle = applyAlpha(source.data.colour, sky.rowOpacity);
    ctx.lineWidth = 1.2;
    ctx.stroke();
  };
  const pointOptions = {
    name: "rows",
    color: applyOpacity(POINT_COLOUR, 1),
    sourceSize: 10,
    shape: drawPoint,
    onClick: null,
  };
  // read-only marks: Aladin would keep a removed mark if it were selected
  const chosenOptions = { name: "chosen", color: CHOSEN_COLOUR, sourceSize: 18, shape: "circle", readOnly: true };
  const overlays = {
    points: A.catalog(pointOptions),
    cells: A.catalog({ name: "counts", shape: drawCell }),
    chosen: A.catalog(chosenOptions),
    shapes: A.graphicOverlay({ name: "footprints", color: applyOpacity(SHAPE_COLOUR, 1), lineWidth: 1.5 }),
    lit: A.graphicOverlay({ name: "lit", color: CHOSEN_COLOUR, lineWidth: 3 }),
    asks: A.graphicOverlay({ name: "region", color: applyOpacity(REGION_COLOUR, 1), lineWidth: 2 }),
  };
  for (const overlay of [overlays.shapes, overlays.asks, overlays.lit]) aladin.addOverlay(overlay);
  for (const catalogue of [overlays.cells, overlays.points, overlays.chosen]) aladin.addCatalog(catalogue);
  return overlays;
}
