// The toolbar of the sky map: search in a drawn region, or in the view.
import { createButton, createElement } from "hven/dom.js";
import { measureDistance } from "./geometry.js";
import { connectRegionForm } from "./region_form.js";
/** @import {SkyMap} from "../sky.js" */

/**
 * Create the buttons that search in a drawn region or in the view, and connect the form below the map.
 * @param {SkyMap} sky
 */
export function createSkyToolbar(sky) {
  const { t } = sky.workspace;
  const startDrawing = (/** @type {string} */ kind) => () =>
    sky.aladin.select(kind, (/** @type {any} */ region) => {
      const condition = formatDrawnRegion(sky.aladin, kind, region);
      if (condition) sky.searchRegion({ _in: condition, _near: null });
    });
  const searchView = () => {
    const { lon, lat, radius } = sky.view;
    sky.searchRegion({ _near: [lon, lat, radius].map((number) => number.toFixed(5)).join(","), _in: null });
  };
  connectRegionForm(sky.container, sky.workspace);
  return createElement(
    "p",
    { className: "bar" },
    createButton(t("Draw a circle"), startDrawing("circle")),
    createButton(t("Draw a polygon"), startDrawing("poly")),
    createButton(t("Search in the visible area"), searchView),
  );
}

/**
 * Format the search condition of a region that was drawn with Aladin; null if the region is none.
 * @param {any} aladin
 * @param {string} kind circle or poly
 * @param {any} region in pixels
 */
function formatDrawnRegion(aladin, kind, region) {
  if (kind === "circle") {
    const centre = aladin.pix2world(region.x, region.y);
    const edge = aladin.pix2world(region.x + region.r, region.y);
    if (!centre || !edge) return null;
    const circle = [...centre, measureDistance(centre, edge)].map((number) => number.toFixed(5));
    return `CIRCLE ${circle.join(" ")}`;
  }
  const vertices = /** @type {{x: number, y: number}[]} */ (region.vertices ?? []);
  const positions = vertices.map(({ x, y }) => aladin.pix2world(x, y)).filter(Boolean);
  const cornerTexts = positions.map(([lon, lat]) => `${lon.toFixed(5)} ${lat.toFixed(5)}`);
  return positions.length > 2 ? `POLYGON ${cornerTexts.join(" ")}` : null;
}
