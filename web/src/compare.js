// Marked rows side by side: a line for each column, what differs in bold. Which rows they are stands in the address.
import { button, find, make, around, named, table } from "./dom.js";
import { fill } from "./table.js";
/** @import {Column, Row, Translate, Value} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const MOST = 12; // rows beside each other

/** @typedef {{key: string, columns: Column[], row: Value[]}} There a row that is still there */

/**
 * Give the lines of a comparison: a column, the values of the rows, and whether they differ; columns without values are none.
 * @param {There[]} there
 * @param {boolean} differing those alone that differ
 */
export function compared(there, differing) {
  const every = (there[0]?.columns ?? []).map((column, at) => {
    const values = there.map((one) => one.row[at]);
    return { column, values, differs: new Set(values.map(text)).size > 1 };
  });
  return every.filter((one) => (one.differs || !differing) && one.values.some((value) => value !== null));
}

/** @param {Value | undefined} value */
function text(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : `${value.text}\u0000${value.href ?? ""}`;
}

class Comparison {
  differing = false;
  drawn = "";

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    const { state, selection } = workspace;
    this.workspace = workspace;
    this.here = table(box);
    this.place = find(around(box, ".results"), "[data-compared]");
    this.button = button("", () => state.set({ _compare: selection.lines.slice(0, MOST) }), { hidden: true });
    box.append(this.button);
    selection.on("change", (event) => {
      if (event.name === "marked") this.offer();
    });
    state.on("change", () => this.show());
    this.offer();
  }

  offer() {
    const count = this.workspace.selection.lines.length;
    this.button.hidden = count < 2;
    this.button.textContent = this.workspace.t("Compare {count} rows", { count: Math.min(count, MOST) });
  }

  async show() {
    const { state } = this.workspace;
    const keys = state.all("_compare").slice(0, MOST);
    const units = state.entries().filter(([name]) => name.startsWith("_unit."));
    const wanted = JSON.stringify([keys, units]);
    if (wanted === this.drawn) return;
    this.drawn = wanted;
    this.place.hidden = !keys.length || this.place.hidden;
    if (!keys.length) return this.place.replaceChildren();
    /** @type {Row[]} */
    let found;
    try {
      const asked = (/** @type {string} */ key) => new URLSearchParams([["_row", key], ...units]);
      found = await Promise.all(keys.map((key) => this.workspace.ask(`${this.here}/row`, { state: asked(key) })));
    } catch (/** @type {any} */ error) {
      this.place.hidden = false;
      this.place.replaceChildren(make("p", { className: "fault", textContent: error.message }));
      return;
    }
    if (wanted === this.drawn) this.draw(keys, found);
  }

  /**
   * @param {string[]} keys
   * @param {Row[]} found
   */
  draw(keys, found) {
    const { state, t } = this.workspace;
    const there = found.flatMap(({ columns, row }, at) => (row ? [{ key: keys[at], columns, row }] : []));
    const title = t("Compare {count} rows", { count: there.length });
    const close = button(t("Close"), () => {
      state.set({ _compare: null });
      this.button.focus();
    });
    const tick = make("input", { type: "checkbox", checked: this.differing });
    tick.addEventListener("change", () => {
      this.differing = tick.checked;
      this.draw(keys, found);
      find(this.place, "input").focus();
    });
    const only = make("label", { className: "tickable" }, tick, " ", t("Only what differs"));
    const bar = make("div", { className: "bar" }, make("h2", { textContent: title }), only, close);
    const made = make("table", { className: "rows" });
    const away = (/** @type {string} */ key) => state.set({ _compare: keys.filter((one) => one !== key) });
    heads(made, there, away, t);
    lines(made, compared(there, this.differing), t);
    const scroll = make("div", { className: "grid scroll", tabIndex: 0, role: "region", "aria-label": title }, made);
    this.place.hidden = false;
    this.place.replaceChildren(bar, scroll);
  }
}

/**
 * @param {HTMLTableElement} made
 * @param {There[]} there
 * @param {(key: string) => void} away
 * @param {Translate} t
 */
function heads(made, there, away, t) {
  const head = made.createTHead().insertRow();
  head.append(make("th", { scope: "col", textContent: t("Column") }));
  for (const { key } of there) {
    const label = `${t("Remove")} ${named(key)}`;
    const off = button("×", () => away(key), { className: "step", title: t("Remove"), "aria-label": label });
    head.append(make("th", { scope: "col" }, named(key), " ", off));
  }
}

/**
 * @param {HTMLTableElement} made
 * @param {ReturnType<typeof compared>} list
 * @param {Translate} t
 */
function lines(made, list, t) {
  const body = made.createTBody();
  for (const { column, values, differs } of list) {
    const row = body.insertRow();
    const th = make("th", { scope: "row", textContent: column.label, title: column.title });
    if (column.unit) th.append(" ", make("small", { textContent: column.unit_text }));
    row.append(th);
    for (const value of values) {
      const cell = row.insertCell();
      fill(cell, value, column, t);
      if (differs) cell.classList.add("differs");
    }
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  return new Comparison(box, workspace).show();
}
