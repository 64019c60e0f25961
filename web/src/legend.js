// Colours of a column's values on maps: a choice of columns, and below it what each colour means, with a switch for each value; a scale for numbers and counts.
import { make } from "./dom.js";
import { ramp, viridis } from "./colours.js";
import { Refused } from "./workspace.js";
/** @import {Colouring, Places} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

// told apart by everybody: after Okabe and Ito, and Tol; the last one is for all other values
export const PALETTE = ["#e69f00", "#56b4e9", "#2fb98c", "#f0e442", "#4f7fd0", "#ff7f50", "#d98cc6", "#b3e05a", "#a68bff", "#ff9da7", "#7fe0e0", "#c9c9c9"]; // prettier-ignore
const NONE = "#8b90a0"; // no value

export class Legend {
  /** @type {Set<number>} */
  hidden = new Set(); // choices that are switched off; -1: rows without a value
  /** @type {Colouring | null} */
  colouring = null;
  opened = false;
  box = make("div", { className: "map-legend" });
  field = make("select", {});
  list = make("ul", {});

  /**
   * @param {Workspace} workspace
   * @param {string} chosen the column
   * @param {(column: string) => void} choose another column is chosen
   * @param {() => void} changed values are switched on or off
   */
  constructor(workspace, chosen, choose, changed) {
    this.workspace = workspace;
    this.column = chosen;
    this.changed = changed;
    const { t } = workspace;
    this.field.addEventListener("change", () => {
      this.column = this.field.value;
      this.hidden.clear();
      choose(this.column);
    });
    this.box.append(make("label", {}, t("Colour by"), " ", this.field), this.list);
  }

  /**
   * Take what the server tells of the rows that are drawn.
   * @param {Places} found
   */
  take({ colours = [], colouring = null, counts }) {
    const { t } = this.workspace;
    this.colouring = colouring;
    const none = make("option", { value: "", textContent: t("nothing") });
    const options = colours.map(({ name, label }) => make("option", { value: name, textContent: label }));
    this.field.replaceChildren(none, ...options);
    this.field.value = colours.some(({ name }) => name === this.column) ? this.column : "";
    this.box.hidden = !colours.length && !counts.length;
    if (counts.length) this.list.replaceChildren(this.scale(1, Math.max(...counts), t("rows in a cell")));
    else if (!colouring) this.list.replaceChildren();
    else if (colouring.low !== null && colouring.high !== null)
      this.list.replaceChildren(this.scale(colouring.low, colouring.high, colouring.unit)); // prettier-ignore
    else this.list.replaceChildren(...this.switches(colouring));
  }

  /**
   * @param {number} low
   * @param {number} high
   * @param {string} said
   */
  scale(low, high, said) {
    const number = (/** @type {number} */ value) => this.workspace.number(Number(value.toPrecision(4)));
    const bar = make("span", { className: "tints" });
    bar.style.background = ramp(viridis);
    return make("li", { className: "along" }, number(low), bar, `${number(high)} ${said}`);
  }

  /** @param {Colouring} colouring */
  switches({ choices, values }) {
    const { t } = this.workspace;
    const lines = choices.map(([value, label, rows], at) => this.line(value === null ? t("other values") : label || value, rows, at)); // prettier-ignore
    const empty = values.reduce((/** @type {number} */ sum, one) => sum + (one === null ? 1 : 0), 0);
    return empty ? [...lines, this.line(t("no value"), empty, -1)] : lines;
  }

  /**
   * @param {string} label
   * @param {number} rows
   * @param {number} at
   */
  line(label, rows, at) {
    const tick = make("input", { type: "checkbox", checked: !this.hidden.has(at) });
    tick.addEventListener("change", () => {
      this.hidden[tick.checked ? "delete" : "add"](at);
      this.changed();
    });
    const sign = make("span", { className: "sign dot" });
    sign.style.setProperty("--sign", at < 0 ? NONE : PALETTE[at % PALETTE.length]);
    const number = make("small", { textContent: this.workspace.number(rows) });
    return make("li", {}, make("label", {}, tick, sign, label, " ", number));
  }

  /**
   * Tell whether a question failed because there is no such column to colour by, and forget the column.
   * @param {unknown} error
   */
  gone(error) {
    if (!this.column || !(error instanceof Refused) || error.status !== 400) return false;
    this.column = "";
    return true;
  }

  /**
   * Give the colour of a row, `usual` where nothing is chosen; null: it is switched off.
   * @param {number} row
   * @param {string} usual
   */
  colour(row, usual) {
    const { colouring } = this;
    if (!colouring) return usual;
    const value = colouring.values[row] ?? null;
    if (colouring.low !== null && colouring.high !== null) {
      if (value === null) return NONE;
      const width = colouring.high - colouring.low;
      return viridis(width ? Math.round((31 * (value - colouring.low)) / width) / 31 : 0.5); // few colours: what has one is drawn together
    }
    const place = value ?? -1;
    if (this.hidden.has(place)) return null;
    return place < 0 ? NONE : PALETTE[place % PALETTE.length];
  }
}

/**
 * Give how large points are drawn: the fewer, the larger.
 * @param {number} number
 */
export function sized(number) {
  return number <= 50 ? 6 : number <= 500 ? 4 : number <= 2000 ? 3 : 2;
}

/**
 * Give a colour, `#rrggbb` or `rgb(..)`, so clear.
 * @param {string} colour
 * @param {number} opacity
 */
export function faint(colour, opacity) {
  const parts = colour.startsWith("#")
    ? [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16))
    : (colour.match(/\d+/g) ?? []).map(Number);
  return `rgba(${parts.join(",")},${opacity})`;
}
