// The list of map layers: sign, visibility, opacity; it is the map's legend, too.
import { createButton, createElement, formatRowKey } from "hven/dom.js";
/** @import {Layer, Translate} from "hven/answers.js" */
/** @import {Workspace} from "hven/workspace.js" */

export const MAX_LISTED_ROWS = 200; // rows listed under a point

/**
 * Create the list of layers with their checkboxes and opacity sliders.
 * @param {Translate} t
 * @param {Layer[]} layers
 */
export function createLayerList(t, layers) {
  const lines = layers.map((layer) => createLayerLine(t, layer));
  const list = createElement("ul", {}, ...lines);
  return createElement(
    "details",
    { className: "layers" },
    createElement("summary", { textContent: t("Layers") }),
    list,
  );
}

/**
 * @param {Translate} t
 * @param {Layer} layer
 */
function createLayerLine(
  t,
  { name, sign: signKind = "", colour, on: isVisible = true, opacity = 1, description, choice, set },
) {
  const checkbox = createElement("input", { type: "checkbox", checked: isVisible });
  const sign = createElement("span", { className: `sign ${signKind}` });
  if (colour) sign.style.setProperty("--sign", colour);
  const value = String(Math.round(opacity * 100));
  const label = t("Opacity of {name}", { name });
  const opacitySlider = createElement("input", {
    type: "range",
    min: "5",
    max: "100",
    step: "5",
    value,
    "aria-label": label,
  });
  const apply = () => {
    opacitySlider.disabled = !checkbox.checked;
    set(checkbox.checked, Number(opacitySlider.value) / 100);
  };
  checkbox.addEventListener("change", apply);
  opacitySlider.addEventListener("input", apply);
  const item = createElement("li", {}, createElement("label", {}, checkbox, sign, name), opacitySlider);
  if (description) item.append(createElement("small", { className: "soft", textContent: description }));
  if (choice) item.append(choice);
  return item;
}

/**
 * Describe how many rows a map shows, or files if the page's lines are observations.
 * @param {{total: number, shown: number, cells: boolean, files?: boolean | undefined}} counts
 *   `shown` rows are drawn; `cells`: as counts
 * @param {Pick<Workspace, "formatNumber" | "t">} workspace
 */
export function describeCount({ total, shown, cells, files }, workspace) {
  const { t } = workspace;
  const values = { total: workspace.formatNumber(total), shown: workspace.formatNumber(shown) };
  if (cells)
    return files
      ? t("{total} files in view, drawn as counts per cell", values)
      : t("{total} rows in view, drawn as counts per cell", values);
  if (total === 1) return files ? t("1 file") : t("1 row");
  if (shown < total)
    return files ? t("{total} files, {shown} of them drawn", values) : t("{total} rows, {shown} of them drawn", values);
  return files ? t("{total} files in view", values) : t("{total} rows in view", values);
}

/**
 * List the rows under a point: hovering highlights a row, a click opens it.
 * @param {HTMLElement} element
 * @param {string[]} rowKeys keys of the rows
 * @param {Workspace} workspace
 * @param {number[] | null} [position] longitude and latitude, if rows have footprints
 * @param {Map<string, string>} [names] titles of rows; rows without a unique title show their key
 */
export function showRowList(element, rowKeys, workspace, position = null, names = new Map()) {
  const { selection, t } = workspace;
  element.replaceChildren();
  const keys = rowKeys.slice(0, MAX_LISTED_ROWS);
  if (keys.length < 2 && !position) return;
  const allNames = [...names.values()];
  const describeRow = (/** @type {string} */ key) => {
    const name = names.get(key);
    if (!name) return formatRowKey(key);
    return allNames.indexOf(name) === allNames.lastIndexOf(name) ? name : `${name} (${formatRowKey(key)})`;
  };
  const entries = keys.map((key) => {
    const rowButton = createButton(describeRow(key), () => workspace.chooseRow(key), { className: "link" });
    rowButton.addEventListener("pointerenter", () => selection.set("hover", key));
    rowButton.addEventListener("focus", () => selection.set("hover", key));
    return createElement("li", {}, rowButton);
  });
  const close = createButton(t("Close"), () => {
    element.replaceChildren();
    selection.set("hover", null);
  });
  const heading = createElement("b", { textContent: t("{count} rows under this point", { count: rowKeys.length }) });
  // the map may show only a part of the rows
  const searchHere = () =>
    workspace.state.set({
      _in: `POINT ${position?.map((degrees) => degrees.toFixed(6)).join(" ")}`,
      _near: null,
      _row: null,
    });
  const searchButtons = position
    ? [" ", createButton(t("All rows whose footprint contains this point"), searchHere, { className: "link" })]
    : [];
  element.append(
    createElement("p", { className: "bar" }, heading, ...searchButtons, " ", close),
    createElement("ul", {}, ...entries),
  );
}
