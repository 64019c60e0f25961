// The layers of a map of the sky: what is shown, and how clearly.
import { clearer } from "./colours.js";
/** @import {Layer} from "./answers.js" */
/** @import {Sky} from "./sky.js" */

export const COLOURS = ["#ffb26b", "#7fb0ff", "#9df09d", "#d98cff", "#ff5a36"];
export const CLEAR = 0.85; // of the cells
const [POINT, SHAPE, ASKED, COVERED, LIT] = COLOURS;

/**
 * @param {Sky} sky
 * @returns {Layer[]}
 */
export function listed(sky) {
  const { aladin, survey } = sky;
  const { t } = sky.workspace;
  const { points, cells, chosen, shapes, lit, asks } = sky.overlays;
  const show = (/** @type {boolean} */ on, /** @type {any[]} */ ...list) => {
    for (const one of list) on ? one.show() : one.hide();
  };
  const below = (/** @type {boolean} */ on, /** @type {number} */ opacity) =>
    aladin.getBaseImageLayer()?.setOpacity(on ? opacity : 0);
  const rows = (/** @type {boolean} */ on, /** @type {number} */ opacity) => {
    show(on, points, cells);
    sky.solid = opacity;
    points.setColor(clearer(POINT, opacity));
    sky.clearness = CLEAR * opacity;
    cells.reportChange();
  };
  const drawn = (/** @type {any} */ overlay, /** @type {string} */ colour) => {
    return (/** @type {boolean} */ on, /** @type {number} */ opacity) => {
      show(on, overlay);
      overlay.setColor(clearer(colour, opacity));
    };
  };
  const counted = t("where there are many: counts of cells, dark few, bright many");
  /** @type {Layer} */
  const covered = {
    name: t("Coverage"),
    sign: "area",
    colour: COVERED,
    on: false,
    opacity: 0.4,
    told: t("cells of the sky that rows lie in (MOC)"),
    set: (on, opacity) => sky.coverage.set(on, opacity),
  };
  return [
    { name: t("Sky"), sign: "area", colour: "#56608a", choice: survey.choice, set: below },
    { name: t("Rows"), sign: "dot", colour: POINT, told: counted, set: rows },
    { name: t("Footprints"), sign: "line", colour: SHAPE, set: drawn(shapes, SHAPE) },
    ...(sky.box.dataset.coverage === undefined ? [] : [covered]),
    { name: t("Region of the search"), sign: "line", colour: ASKED, set: drawn(asks, ASKED) },
    { name: t("Chosen rows"), sign: "dot", colour: LIT, set: (on) => show(on, chosen, lit) },
  ];
}
