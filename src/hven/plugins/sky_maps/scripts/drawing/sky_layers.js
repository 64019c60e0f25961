// The layers of the sky map.
import { formatSurveyName } from "./sky_background.js";
import { applyOpacity } from "hven/colours.js";
/** @import {Layer} from "hven/answers.js" */
/** @import {SkyMap} from "../sky.js" */

export const LAYER_COLOURS = ["#ffb26b", "#7fb0ff", "#9df09d", "#d98cff", "#ff5a36"];
export const CELL_OPACITY = 0.85;
const SURVEY_COLOUR = "#8a90a8";
const [POINT_COLOUR, SHAPE_COLOUR, REGION_COLOUR, COVERAGE_COLOUR, CHOSEN_COLOUR] = LAYER_COLOURS;

/**
 * List the surveys that can lie over the background.
 * @param {SkyMap} sky
 * @returns {Layer[]}
 */
function listSurveyLayers(sky) {
  const { overlaidSurveys } = sky;
  return overlaidSurveys.surveys.map((address) => {
    const shownSurvey = overlaidSurveys.shownSurveys.get(address);
    return {
      name: formatSurveyName(address),
      sign: "area",
      colour: SURVEY_COLOUR,
      on: shownSurvey !== undefined,
      opacity: shownSurvey?.opacity ?? 0.5,
      description: sky.workspace.t("survey over the sky"),
      set: (isVisible, opacity) => {
        overlaidSurveys.setVisible(address, isVisible, opacity);
        sky.writeAddress();
      },
    };
  });
}

/**
 * List the layers of the map.
 * @param {SkyMap} sky
 * @returns {Layer[]}
 */
export function listSkyLayers(sky) {
  const { aladin, survey } = sky;
  const { t } = sky.workspace;
  const { points, cells, chosen, shapes, lit, asks } = sky.overlays;
  const setVisible = (/** @type {boolean} */ isVisible, /** @type {any[]} */ ...overlays) => {
    for (const overlay of overlays)
      if (isVisible) overlay.show();
      else overlay.hide();
  };
  const setSurvey = (/** @type {boolean} */ isVisible, /** @type {number} */ opacity) =>
    aladin.getBaseImageLayer()?.setOpacity(isVisible ? opacity : 0);
  const setRows = (/** @type {boolean} */ isVisible, /** @type {number} */ opacity) => {
    setVisible(isVisible, points, cells);
    sky.rowOpacity = opacity;
    points.setColor(applyOpacity(POINT_COLOUR, opacity));
    sky.cellOpacity = CELL_OPACITY * opacity;
    cells.reportChange();
  };
  const createOverlaySetter = (/** @type {any} */ overlay, /** @type {string} */ colour) => {
    return (/** @type {boolean} */ isVisible, /** @type {number} */ opacity) => {
      setVisible(isVisible, overlay);
      overlay.setColor(applyOpacity(colour, opacity));
    };
  };
  const cellHint = t("if there are many rows: counts per cell, from dark (few) to bright (many)");
  /** @type {Layer} */
  const coverageLayer = {
    name: t("Coverage"),
    sign: "area",
    colour: COVERAGE_COLOUR,
    on: false,
    opacity: 0.4,
    description: t("cells of the sky that contain rows (MOC)"),
    set: (isVisible, opacity) => sky.coverage.setVisible(isVisible, opacity),
  };
  return [
    { name: t("Sky"), sign: "area", colour: "#56608a", choice: survey.surveySelect, set: setSurvey },
    ...listSurveyLayers(sky),
    { name: t("Rows"), sign: "dot", colour: POINT_COLOUR, description: cellHint, set: setRows },
    { name: t("Footprints"), sign: "line", colour: SHAPE_COLOUR, set: createOverlaySetter(shapes, SHAPE_COLOUR) },
    ...(sky.container.dataset.coverage === undefined ? [] : [coverageLayer]),
    {
      name: t("Region of the search"),
      sign: "line",
      colour: REGION_COLOUR,
      set: createOverlaySetter(asks, REGION_COLOUR),
    },
    {
      name: t("Chosen rows"),
      sign: "dot",
      colour: CHOSEN_COLOUR,
      set: (isVisible) => setVisible(isVisible, chosen, lit),
    },
  ];
}
