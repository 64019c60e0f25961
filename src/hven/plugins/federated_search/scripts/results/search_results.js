// A list of rows from several tables, filled as the tables answer. A click opens the panel of a row, or the listed
// values of a row without a key.
import { findElements, requireElement, createElement, getEventTarget } from "hven/dom.js";
import { fillCell } from "hven/table_cells.js";
/** @import {Column, Value} from "hven/answers.js" */
/** @import {Workspace} from "hven/workspace.js" */

/**
 * A row: its table as the search and as its page know it, key, page and picture.
 *
 * @typedef {{
 *   from: string,
 *   key: string,
 *   table: string,
 *   row: string,
 *   url: string,
 *   picture: string,
 *   cells: Value[],
 * }} SearchResultRow
 */
/**
 * Rows, with the columns of all tables.
 * @typedef {{columns: Column[], rows: SearchResultRow[]}} SearchResult
 */

export class SearchResultTable {
  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    this.container = container;
    this.workspace = workspace;
    this.head = requireElement(container, "thead tr");
    this.body = requireElement(container, "tbody");
    this.panel = requireElement(document, ".detail[data-pane=detail]");
    this.remotePanel = requireElement(document, ".detail[data-far]");
    this.body.addEventListener("click", (event) => this.handleClick(event));
    requireElement(this.remotePanel, "button.close").addEventListener("click", () => (this.remotePanel.hidden = true));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.remotePanel.hidden = true;
    });
    workspace.on("step", (event) => this.moveBy(event.step));
    workspace.selection.on("change", ({ name }) => {
      const key = workspace.selection.chosen ?? "";
      if (name === "chosen" && key && !key.startsWith("[")) this.openPlaced(key);
    });
    for (const line of this.listLines()) line.tabIndex = 0;
    this.body.addEventListener("keydown", (event) => {
      const line = getEventTarget(event).closest("tr");
      if (event.key === "Enter" && line && getEventTarget(event) === line) this.openLine(line);
    });
  }

  listLines() {
    return findElements(this.body, "tr", HTMLTableRowElement);
  }

  listColumnNames() {
    return findElements(this.head, "th[data-name]").map((heading) => heading.dataset.name ?? "");
  }

  /**
   * Add the rows of a table; new columns come last.
   * @param {SearchResult} result
   */
  addResult(result) {
    for (const column of result.columns) {
      if (this.listColumnNames().includes(column.name)) continue;
      const heading = createElement("th", { scope: "col", textContent: column.label, title: column.title ?? "" });
      heading.dataset.name = column.name;
      if (column.numeric) heading.className = "n";
      this.head.append(heading);
      for (const line of this.listLines()) line.append(createElement("td"));
    }
    const names = this.listColumnNames();
    for (const row of result.rows) this.body.append(this.createLine(row, result, names));
    if (result.rows.length) this.container.hidden = false;
  }

  /**
   * @param {SearchResultRow} row
   * @param {SearchResult} result
   * @param {string[]} names
   */
  createLine(row, result, names) {
    const line = createElement("tr", { tabIndex: 0 });
    Object.assign(line.dataset, { of: row.key, at: row.table, row: row.row });
    const pictureCell = createElement("td", { className: "thumbnail" });
    if (row.picture) delete this.container.dataset.plain;
    if (row.picture) pictureCell.append(createElement("img", { src: row.picture, alt: "", loading: "lazy" }));
    const sourceCell = row.url ? createElement("a", { href: row.url, textContent: row.from }) : row.from;
    line.append(pictureCell, createElement("td", { title: row.key }, sourceCell));
    for (const name of names) {
      const columnIndex = result.columns.findIndex((column) => column.name === name);
      const cell = createElement("td");
      if (columnIndex >= 0) fillCell(cell, row.cells[columnIndex], result.columns[columnIndex], this.workspace.t);
      line.append(cell);
    }
    return line;
  }

  /** @param {MouseEvent} event */
  handleClick(event) {
    const element = getEventTarget(event);
    const line = element.closest("tr");
    if (line && !element.closest("a, button")) this.openLine(line);
  }

  /**
   * Open a row that was chosen on the map by its table and key; rows without a key only have the listed values.
   * @param {string} mapKey
   */
  openPlaced(mapKey) {
    const [tableName] = mapKey.split(" ", 1);
    const key = mapKey.slice(tableName.length + 1);
    const tableLines = this.listLines().filter((line) => line.dataset.of === tableName);
    const line = tableLines.find((candidate, index) =>
      key.startsWith("#") ? `#${index}` === key : candidate.dataset.row === key,
    );
    if (line) return this.openLine(line);
    const tableUrl = tableLines[0]?.dataset.at;
    if (tableUrl && key.startsWith("[")) this.showPanel(tableUrl, key);
  }

  /**
   * Show a row in the panel of its table.
   * @param {string} tableUrl
   * @param {string} rowKey
   */
  showPanel(tableUrl, rowKey) {
    const { selection } = this.workspace;
    this.remotePanel.hidden = true;
    const wrapper = this.panel.parentElement;
    if (wrapper) wrapper.dataset.here = tableUrl;
    selection.set("chosen", null);
    selection.set("chosen", rowKey);
  }

  /**
   * Open the row of a line.
   * @param {HTMLTableRowElement} line
   */
  openLine(line) {
    const { selection } = this.workspace;
    const { at: tableUrl, row } = line.dataset;
    for (const otherLine of this.listLines()) otherLine.removeAttribute("aria-selected");
    line.setAttribute("aria-selected", "true");
    if (!tableUrl || !row) {
      selection.set("chosen", null);
      return this.showRemoteRow(line);
    }
    this.showPanel(tableUrl, row);
  }

  /**
   * Open another line.
   * @param {number} by
   */
  moveBy(by) {
    const lines = this.listLines();
    const currentIndex = lines.findIndex((line) => line.getAttribute("aria-selected") === "true");
    const nextLine = lines[currentIndex + by];
    if (nextLine) this.openLine(nextLine);
  }

  /**
   * Show the listed values of a row without a key.
   * @param {HTMLTableRowElement} line
   */
  showRemoteRow(line) {
    const cells = [...line.cells];
    const headings = findElements(this.head, "th");
    const image = cells[0].querySelector("img");
    requireElement(this.remotePanel, ".pictures").replaceChildren(
      ...(image ? [createElement("img", { src: image.src, alt: "" })] : []),
    );
    requireElement(this.remotePanel, "h2").textContent = `${cells[1].textContent}: ${cells[2]?.textContent ?? ""}`;
    const entries = cells.flatMap((cell, index) =>
      index < 2 || !cell.textContent
        ? []
        : [
            createElement("dt", { textContent: headings[index].textContent }),
            createElement("dd", {}, ...[...cell.cloneNode(true).childNodes]),
          ],
    );
    requireElement(this.remotePanel, "dl").replaceChildren(...entries);
    this.remotePanel.hidden = false;
    requireElement(this.remotePanel, "h2").focus({ preventScroll: true });
  }
}
