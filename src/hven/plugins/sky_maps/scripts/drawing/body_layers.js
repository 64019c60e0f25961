// The layer list of a body's map.
/** @import {Frame, Layer, Translate} from "hven/answers.js" */
/** @import {BodyMap} from "../body.js" */

export const ROW_COLOUR = "#8fe6ff"; // visible on grey and on red ground
export const CHOSEN_COLOUR = "#ff5a36";
export const REGION_COLOUR = "#9df09d";

/**
 * List the layers of the map.
 * @param {BodyMap} body
 * @returns {Layer[]}
 */
export function listLayers(body) {
  const { t } = body.workspace;
  const createOpacitySetter =
    (/** @type {"chosen" | "region"} */ name) => (/** @type {boolean} */ isVisible, /** @type {number} */ opacity) => {
      body.opacities[name] = isVisible ? opacity : 0;
      body.globe.scheduleDraw();
    };
  const createLayerSetter =
    (/** @type {{opacity: number}} */ layer) => (/** @type {boolean} */ isVisible, /** @type {number} */ opacity) => {
      layer.opacity = isVisible ? opacity : 0;
      body.globe.scheduleDraw();
    };
  const setRows = (/** @type {boolean} */ isVisible, /** @type {number} */ opacity) => {
    body.globe.rowOpacity = isVisible ? opacity : 0;
    body.globe.scheduleDraw();
  };
  const countHint = t("if there are many rows: counts per cell, from dark (few) to bright (many)");
  return [
    { name: t("Picture of the body"), sign: "area", colour: "#8a7766", set: createLayerSetter(body.globe.baseMap) },
    { name: t("Rows"), sign: "line", colour: ROW_COLOUR, description: countHint, set: setRows },
    { name: t("Chosen rows"), sign: "line", colour: CHOSEN_COLOUR, set: createOpacitySetter("chosen") },
    { name: t("Region of the search"), sign: "line", colour: REGION_COLOUR, set: createOpacitySetter("region") },
    { name: t("Names"), sign: "line", colour: "#e1e6f5", set: createLayerSetter(body.globe.labels) },
    { name: t("Grid"), sign: "line", colour: "#6f7aa8", set: createLayerSetter(body.globe.grid) },
  ];
}

/**
 * Describe the coordinates.
 * @param {Frame} frame
 * @param {Translate} t
 */
export function describeCoordinates(frame, t) {
  if (frame.said === "helioprojective") return t("helioprojective angles, in arcsec, west to the right");
  if (frame.said === "Carrington") return t("Carrington longitude and latitude, in degrees");
  return t("longitude, to the east, and latitude, in degrees");
}
