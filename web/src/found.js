// Rows of several tables as one list: those of a table come when it has answered; a press opens a panel, of rows elsewhere with what is known of them.
import { all, find, make, target } from "./dom.js";
import { fill } from "./table.js";
/** @import {Found, FoundRow} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

export class FoundRows {
  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    this.box = box;
    this.workspace = workspace;
    this.head = find(box, "thead tr");
    this.body = find(box, "tbody");
    this.panel = find(document, ".detail[data-pane=detail]");
    this.far = find(document, ".detail[data-far]");
    this.body.addEventListener("click", (event) => this.pressed(event));
    find(this.far, "button.close").addEventListener("click", () => (this.far.hidden = true));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.far.hidden = true;
    });
    workspace.on("step", (event) => this.step(event.step));
    workspace.selection.on("change", ({ name }) => {
      const key = workspace.selection.chosen ?? "";
      if (name === "chosen" && key && !key.startsWith("[")) this.placed(key);
    });
    for (const line of this.lines()) line.tabIndex = 0;
    this.body.addEventListener("keydown", (event) => {
      const line = target(event).closest("tr");
      if (event.key === "Enter" && line && target(event) === line) this.open(line);
    });
  }

  lines() {
    return all(this.body, "tr", HTMLTableRowElement);
  }

  names() {
    return all(this.head, "th[data-name]").map((one) => one.dataset.name ?? "");
  }

  /**
   * Add the rows of a table that has answered; columns that no table before had come last.
   * @param {Found} found
   */
  add(found) {
    for (const column of found.columns) {
      if (this.names().includes(column.name)) continue;
      const head = make("th", { scope: "col", textContent: column.label, title: column.title ?? "" });
      head.dataset.name = column.name;
      if (column.numeric) head.className = "n";
      this.head.append(head);
      for (const line of this.lines()) line.append(make("td"));
    }
    const names = this.names();
    for (const row of found.rows) this.body.append(this.line(row, found, names));
    if (found.rows.length) this.box.hidden = false;
  }

  /**
   * @param {FoundRow} row
   * @param {Found} found
   * @param {string[]} names
   */
  line(row, found, names) {
    const line = make("tr", { tabIndex: 0 });
    Object.assign(line.dataset, { of: row.key, at: row.table, row: row.row });
    const shot = make("td", { className: "thumbnail" });
    if (row.picture) delete this.box.dataset.plain;
    if (row.picture) shot.append(make("img", { src: row.picture, alt: "", loading: "lazy" }));
    const from = row.url ? make("a", { href: row.url, textContent: row.from }) : row.from;
    line.append(shot, make("td", { title: row.key }, from));
    for (const name of names) {
      const at = found.columns.findIndex((one) => one.name === name);
      const cell = make("td");
      if (at >= 0) fill(cell, row.cells[at], found.columns[at], this.workspace.t);
      line.append(cell);
    }
    return line;
  }

  /** @param {MouseEvent} event */
  pressed(event) {
    const at = target(event);
    const line = at.closest("tr");
    if (line && !at.closest("a, button")) this.open(line);
  }

  /**
   * Open a row that was chosen on the map: there it is known by its table and its key; of one elsewhere there is what the list has.
   * @param {string} place
   */
  placed(place) {
    const [of] = place.split(" ", 1);
    const key = place.slice(of.length + 1);
    const lines = this.lines().filter((line) => line.dataset.of === of);
    const line = lines.find((one, at) => (key.startsWith("#") ? `#${at}` === key : one.dataset.row === key));
    if (line) return this.open(line);
    const at = lines[0]?.dataset.at;
    if (at && key.startsWith("[")) this.show(at, key);
  }

  /**
   * @param {string} at
   * @param {string} key
   */
  show(at, key) {
    const { selection } = this.workspace;
    this.far.hidden = true;
    const wrapper = this.panel.parentElement;
    if (wrapper) wrapper.dataset.here = at;
    selection.set("chosen", null);
    selection.set("chosen", key);
  }

  /** @param {HTMLTableRowElement} line */
  open(line) {
    const { selection } = this.workspace;
    const { at, row } = line.dataset;
    for (const one of this.lines()) one.removeAttribute("aria-selected");
    line.setAttribute("aria-selected", "true");
    if (!at || !row) {
      selection.set("chosen", null);
      return this.tell(line);
    }
    this.show(at, row);
  }

  /** @param {number} by */
  step(by) {
    const lines = this.lines();
    const now = lines.findIndex((one) => one.getAttribute("aria-selected") === "true");
    const next = lines[now + by];
    if (next) this.open(next);
  }

  /**
   * Say what the list has of a row elsewhere.
   * @param {HTMLTableRowElement} line
   */
  tell(line) {
    const cells = [...line.cells];
    const heads = all(this.head, "th");
    const image = cells[0].querySelector("img");
    find(this.far, ".pictures").replaceChildren(...(image ? [make("img", { src: image.src, alt: "" })] : []));
    find(this.far, "h2").textContent = `${cells[1].textContent}: ${cells[2]?.textContent ?? ""}`;
    const told = cells.flatMap((cell, at) =>
      at < 2 || !cell.textContent
        ? []
        : [make("dt", { textContent: heads[at].textContent }), make("dd", {}, ...[...cell.cloneNode(true).childNodes])],
    );
    find(this.far, "dl").replaceChildren(...told);
    this.far.hidden = false;
    find(this.far, "h2").focus({ preventScroll: true });
  }
}
