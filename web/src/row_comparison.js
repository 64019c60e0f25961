// The comparison of marked rows: a line for each column, differences in bold. The address has the rows.
import { createButton, requireElement, createElement, requireAncestor, formatRowKey, readTableUrl } from "./dom.js";
import { fillCell } from "./table_cells.js";
/** @import {Column, Row, Translate, Value} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const MAX_ROWS = 12;

/** @typedef {{key: string, columns: Column[], row: Value[]}} ComparedRow a row that still exists */

/**
 * List the columns of a comparison with their values and whether they differ; empty columns are left out.
 * @param {ComparedRow[]} rows
 * @param {boolean} onlyDifferences only columns that differ
 */
export function listComparedColumns(rows, onlyDifferences) {
  const columns = (rows[0]?.columns ?? []).map((column, index) => {
    const values = rows.map((row) => row.row[index]);
    return { column, values, differs: new Set(values.map(toText)).size > 1 };
  });
  return columns.filter(
    (comparedColumn) =>
      (comparedColumn.differs || !onlyDifferences) && comparedColumn.values.some((value) => value !== null),
  );
}

/** @param {Value | undefined} value */
function toText(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : `${value.text}\u0000${value.href ?? ""}`;
}

/** The button that compares marked rows, and their table. */
class RowComparison {
  onlyDifferences = false;
  drawnRows = "";

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { state, selection } = workspace;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(container);
    this.element = requireElement(requireAncestor(container, ".results"), "[data-compared]");
    this.compareButton = createButton("", () => state.set({ _compare: selection.markedLines.slice(0, MAX_ROWS) }), {
      hidden: true,
    });
    container.append(this.compareButton);
    selection.on("change", (event) => {
      if (event.name === "marked") this.updateButton();
    });
    state.on("change", () => this.showRows());
    this.updateButton();
  }

  updateButton() {
    const count = this.workspace.selection.markedLines.length;
    this.compareButton.hidden = count < 2;
    this.compareButton.textContent = this.workspace.t("Compare {count} rows", { count: Math.min(count, MAX_ROWS) });
  }

  /** Fetch and compare the rows of the address. */
  async showRows() {
    const { state } = this.workspace;
    const keys = state.getAll("_compare").slice(0, MAX_ROWS);
    const units = state.entries().filter(([name]) => name.startsWith("_unit."));
    const request = JSON.stringify([keys, units]);
    if (request === this.drawnRows) return;
    this.drawnRows = request;
    this.element.hidden = !keys.length || this.element.hidden;
    if (!keys.length) return this.element.replaceChildren();
    /** @type {Row[]} */
    let responses;
    try {
      const buildParameters = (/** @type {string} */ key) => new URLSearchParams([["_row", key], ...units]);
      responses = await Promise.all(
        keys.map((key) => this.workspace.fetchJson(`${this.tableUrl}/row`, { state: buildParameters(key) })),
      );
    } catch (/** @type {any} */ error) {
      this.element.hidden = false;
      this.element.replaceChildren(createElement("p", { className: "fault", textContent: error.message }));
      return;
    }
    if (request === this.drawnRows) this.drawTable(keys, responses);
  }

  /**
   * @param {string[]} keys
   * @param {Row[]} responses
   */
  drawTable(keys, responses) {
    const { state, t } = this.workspace;
    const rows = responses.flatMap(({ columns, row }, index) => (row ? [{ key: keys[index], columns, row }] : []));
    const titleText = t("Compare {count} rows", { count: rows.length });
    const closeButton = createButton(t("Close"), () => {
      state.set({ _compare: null });
      this.compareButton.focus();
    });
    const checkbox = createElement("input", { type: "checkbox", checked: this.onlyDifferences });
    checkbox.addEventListener("change", () => {
      this.onlyDifferences = checkbox.checked;
      this.drawTable(keys, responses);
      requireElement(this.element, "input").focus();
    });
    const onlyLabel = createElement("label", { className: "tickable" }, checkbox, " ", t("Only what differs"));
    const bar = createElement(
      "div",
      { className: "bar" },
      createElement("h2", { textContent: titleText }),
      onlyLabel,
      closeButton,
    );
    const table = createElement("table", { className: "rows" });
    const removeRow = (/** @type {string} */ key) =>
      state.set({ _compare: keys.filter((otherKey) => otherKey !== key) });
    addHeadings(table, rows, removeRow, t);
    addLines(table, listComparedColumns(rows, this.onlyDifferences), t);
    const scrollBox = createElement(
      "div",
      { className: "grid scroll", tabIndex: 0, role: "region", "aria-label": titleText },
      table,
    );
    this.element.hidden = false;
    this.element.replaceChildren(bar, scrollBox);
  }
}

/**
 * @param {HTMLTableElement} table
 * @param {ComparedRow[]} rows
 * @param {(key: string) => void} removeRow
 * @param {Translate} t
 */
function addHeadings(table, rows, removeRow, t) {
  const head = table.createTHead().insertRow();
  head.append(createElement("th", { scope: "col", textContent: t("Column") }));
  for (const { key } of rows) {
    const label = `${t("Remove")} ${formatRowKey(key)}`;
    const removeButton = createButton("×", () => removeRow(key), {
      className: "step",
      title: t("Remove"),
      "aria-label": label,
    });
    head.append(createElement("th", { scope: "col" }, formatRowKey(key), " ", removeButton));
  }
}

/**
 * @param {HTMLTableElement} table
 * @param {ReturnType<typeof listComparedColumns>} comparedColumns
 * @param {Translate} t
 */
function addLines(table, comparedColumns, t) {
  const body = table.createTBody();
  for (const { column, values, differs } of comparedColumns) {
    const row = body.insertRow();
    const th = createElement("th", { scope: "row", textContent: column.label, title: column.title });
    if (column.unit) th.append(" ", createElement("small", { textContent: column.unit_text }));
    row.append(th);
    for (const value of values) {
      const cell = row.insertCell();
      fillCell(cell, value, column, t);
      if (differs) cell.classList.add("differs");
    }
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  return new RowComparison(container, workspace).showRows();
}
