// The colours of rows on maps: a choice of columns, and a legend with a switch for each value, or a scale for numbers
// and counts.
import { createElement } from "hven/dom.js";
import { buildGradient, getViridisColour } from "hven/colours.js";
import { RequestError } from "hven/workspace.js";
/** @import {Colouring, Places} from "hven/answers.js" */
/** @import {Workspace} from "hven/workspace.js" */

// distinguishable by everybody: after Okabe and Ito, and Tol; the last colour is for all other values
export const PALETTE = [
  "#e69f00",
  "#56b4e9",
  "#2fb98c",
  "#f0e442",
  "#4f7fd0",
  "#ff7f50",
  "#d98cc6",
  "#b3e05a",
  "#a68bff",
  "#ff9da7",
  "#7fe0e0",
  "#c9c9c9",
];
const NO_VALUE_COLOUR = "#8b90a0";

/** The choice of the colour column, and its legend. */
export class MapLegend {
  /** @type {Set<number>} */
  hidden = new Set(); // choices that are switched off; -1 stands for rows without a value
  /** @type {Colouring | null} */
  colouring = null;
  isOpen = false;
  element = createElement("div", { className: "map-legend" });
  columnSelect = createElement("select", {});
  listElement = createElement("ul", {});

  /**
   * @param {Workspace} workspace
   * @param {string} column initial colour column
   * @param {(column: string) => void} onColumn called with a new colour column
   * @param {() => void} onChange called when values are switched on or off
   */
  constructor(workspace, column, onColumn, onChange) {
    this.workspace = workspace;
    this.column = column;
    this.onChange = onChange;
    const { t } = workspace;
    this.columnSelect.addEventListener("change", () => {
      this.column = this.columnSelect.value;
      this.hidden.clear();
      onColumn(this.column);
    });
    this.columnLabel = createElement("label", {}, t("Colour by"), " ", this.columnSelect);
    this.element.append(this.columnLabel, this.listElement);
  }

  /**
   * Update the legend from the server's data.
   * @param {Places} mapData
   */
  update({ colours = [], colouring = null, counts }) {
    const { t } = this.workspace;
    this.colouring = colouring;
    const noneOption = createElement("option", { value: "", textContent: t("nothing") });
    const options = colours.map(({ name, label }) => createElement("option", { value: name, textContent: label }));
    this.columnSelect.replaceChildren(noneOption, ...options);
    this.columnSelect.value = colours.some(({ name }) => name === this.column) ? this.column : "";
    this.columnLabel.hidden = !colours.length;
    this.element.hidden = !colours.length && !counts.length && !colouring;
    if (counts.length) this.listElement.replaceChildren(this.createScale(1, Math.max(...counts), t("rows in a cell")));
    else if (!colouring) this.listElement.replaceChildren();
    else if (colouring.low !== null && colouring.high !== null)
      this.listElement.replaceChildren(this.createScale(colouring.low, colouring.high, colouring.unit));
    else this.listElement.replaceChildren(...this.createSwitches(colouring));
  }

  /**
   * @param {number} low
   * @param {number} high
   * @param {string} unitText
   */
  createScale(low, high, unitText) {
    const formatNumber = (/** @type {number} */ value) => this.workspace.formatNumber(Number(value.toPrecision(4)));
    const bar = createElement("span", { className: "tints" });
    bar.style.background = buildGradient(getViridisColour);
    return createElement("li", { className: "along" }, formatNumber(low), bar, `${formatNumber(high)} ${unitText}`);
  }

  /**
   * Create a switch for each value.
   * @param {Colouring} colouring
   */
  createSwitches({ choices, values }) {
    const { t } = this.workspace;
    const lines = choices.map(([value, label, rows], index) =>
      this.createSwitch(value === null ? t("other values") : label || value, rows, index),
    );
    const emptyRows = values.reduce((/** @type {number} */ sum, value) => sum + (value === null ? 1 : 0), 0);
    return emptyRows ? [...lines, this.createSwitch(t("no value"), emptyRows, -1)] : lines;
  }

  /**
   * @param {string} label
   * @param {number} rows
   * @param {number} index
   */
  createSwitch(label, rows, index) {
    const checkbox = createElement("input", { type: "checkbox", checked: !this.hidden.has(index) });
    checkbox.addEventListener("change", () => {
      this.hidden[checkbox.checked ? "delete" : "add"](index);
      this.onChange();
    });
    const sign = createElement("span", { className: "sign dot" });
    sign.style.setProperty("--sign", index < 0 ? NO_VALUE_COLOUR : PALETTE[index % PALETTE.length]);
    const countElement = createElement("small", { textContent: this.workspace.formatNumber(rows) });
    return createElement("li", {}, createElement("label", {}, checkbox, sign, label, " ", countElement));
  }

  /**
   * Return whether a request failed because the colour column does not exist, and reset the column.
   * @param {unknown} error
   */
  forgetMissingColumn(error) {
    if (!this.column || !(error instanceof RequestError) || error.status !== 400) return false;
    this.column = "";
    return true;
  }

  /**
   * Return the colour of a row, or the default; null if its value is switched off.
   * @param {number} row
   * @param {string} defaultColour
   */
  getColour(row, defaultColour) {
    const { colouring } = this;
    if (!colouring) return defaultColour;
    const value = colouring.values[row] ?? null;
    if (colouring.low !== null && colouring.high !== null) {
      if (value === null) return NO_VALUE_COLOUR;
      const width = colouring.high - colouring.low;
      // few distinct colours, which are drawn together
      return getViridisColour(width ? Math.round((31 * (value - colouring.low)) / width) / 31 : 0.5);
    }
    const index = value ?? -1;
    if (this.hidden.has(index)) return null;
    return index < 0 ? NO_VALUE_COLOUR : PALETTE[index % PALETTE.length];
  }
}

/**
 * Compute the size of points: the fewer, the larger.
 * @param {number} pointCount
 */
export function computePointSize(pointCount) {
  if (pointCount <= 50) return 6;
  if (pointCount <= 500) return 4;
  return pointCount <= 2000 ? 3 : 2;
}

/**
 * Return a colour `#rrggbb` or `rgb(...)` with an opacity.
 * @param {string} colour
 * @param {number} opacity
 */
export function applyAlpha(colour, opacity) {
  const parts = colour.startsWith("#")
    ? [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16))
    : (colour.match(/\d+/g) ?? []).map(Number);
  return `rgba(${parts.join(",")},${opacity})`;
}
