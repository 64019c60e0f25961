// The rows of a search. Only rows in view are drawn, and a limited number of pages is cached. The address has order,
// marks and choice.
import { findElements, requireAncestor, createElement, findElement, readTableUrl } from "./dom.js";
import { showLineCount } from "./file_chips.js";
import { formatSearch, listenToUser, listenToWorkspace } from "./row_grid_controls.js";
import {
  createPlaceholderRow,
  updateRows,
  createFiller,
  createHeadings,
  createDataRow,
  showConstantColumns,
  orderColumns,
  createRelaxedList,
  setReachable,
} from "./grid_rows.js";
import { setRowHeight } from "./picture_sizes.js";
import { PAGE_ROWS, RowPages } from "./row_pages.js";
import { RovingTabindex } from "./roving_tabindex.js";
import { ROW_HEIGHT_PIXELS, VirtualScroll, computeFullHeight } from "./virtual_scroll.js";
/** @import {Column, RowFile, Rows} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const MAX_WINDOW_SHARE = 0.7; // of the window

/** The table with the rows of a search. */
export class RowGrid {
  /** @type {Column[]} */
  columns = [];
  /** The indices of the columns in display order.
   * @type {number[]} */
  columnOrder = [];
  rowSpace = 0; // rows that the scroll range provides for
  /** @type {number | null} number of rows; null if they are not counted */
  rowCount = 0;
  exact = true;
  rowHeight = ROW_HEIGHT_PIXELS;
  /** @type {number | null | undefined} rows behind the lines; undefined if each line is one row */
  fileRowCount = undefined;
  drawNumber = 0;
  activeRow = 0; // the row of the keyboard focus
  drawnScrollTop = 0; // scroll position of the last drawing
  /** What the drawn rows show. An unchanged row keeps its element, so that a click on it is not lost.
   * @type {WeakMap<HTMLElement, {values: unknown, drawn: number[], files: RowFile[]}>} */
  drawnRows = new WeakMap();

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { t } = workspace;
    this.container = container;
    this.workspace = workspace;
    this.results = requireAncestor(container, ".results");
    this.pages = new RowPages(readTableUrl(container), workspace, () => this.resumeInCurrentState());
    const attributes = { "aria-label": t("Rows"), "aria-multiselectable": "true" };
    this.table = createElement("table", { className: "rows live", role: "grid", ...attributes });
    this.headRow = this.table.createTHead().insertRow();
    this.headFocus = new RovingTabindex(this.headRow, "button");
    this.body = this.table.createTBody();
    this.fillerAbove = createFiller();
    this.fillerBelow = createFiller();
    this.lastSearch = formatSearch(workspace.state);
    workspace.selection.chosen = workspace.state.get("_row");
    this.results.querySelector(".pages")?.remove();
    container.removeAttribute("tabindex"); // its rows have the focus now
    container.classList.add("virtual");
    listenToUser(this);
    listenToWorkspace(this);
  }

  get scroll() {
    return new VirtualScroll(this.rowSpace, this.container.clientHeight, this.container.scrollTop, this.rowHeight);
  }

  /** @param {number} rowIndex */
  findRow(rowIndex) {
    return findElement(this.body, `tr[data-at="${rowIndex}"]`, HTMLTableRowElement);
  }

  /** Load the first rows of a search. */
  async loadFirstRows() {
    const { pages } = this;
    const ownVersion = pages.reset();
    this.drawNumber++; // cancels drawings of the previous search
    this.exact = true; // until the rows say otherwise
    this.table.classList.add("waiting");
    try {
      const page = await pages.fetchPage(0);
      if (ownVersion === pages.version && page) await this.showFirstRows(page);
    } catch (/** @type {any} */ error) {
      if (ownVersion === pages.version) this.showMessage("fault", error.message, { role: "alert" });
    } finally {
      if (ownVersion === pages.version) this.table.classList.remove("waiting");
    }
  }

  /**
   * Show the first page: columns, count and rows.
   * @param {Rows} page the first page
   */
  async showFirstRows(page) {
    const { columns, rows, keys } = page;
    const { state, t } = this.workspace;
    this.columns = columns;
    this.columnOrder = orderColumns(page);
    this.fileRowCount = page.files ? (page.of_rows ?? null) : undefined;
    this.rowHeight = setRowHeight(this.container, rows, this.columnOrder, state, Boolean(page.files));
    this.exact = page.exact || !page.more; // all rows are loaded
    this.rowCount = page.total ?? (page.more ? null : page.from + rows.length);
    this.rowSpace = this.rowCount ?? rows.length + PAGE_ROWS;
    this.activeRow = 0;
    const shownColumns = this.columnOrder.map((number) => columns[number]);
    this.headFocus.replaceElements(() =>
      this.headRow.replaceChildren(...createHeadings(shownColumns, this.workspace, Boolean(page.files))),
    );
    this.table.setAttribute("aria-colcount", String(this.cellCount));
    showConstantColumns(findElement(this.results, "[data-alike]"), page, t);
    this.container.scrollTop = 0;
    const adql = findElement(this.results, "[data-adql]");
    if (adql) adql.textContent = page.adql;
    this.showCount();
    this.fitHeight();
    if (!this.rowSpace) return this.showNoRows();
    this.workspace.setLoadedRows({ columns, rows, keys, total: this.rowCount, exact: this.exact });
    await this.draw();
    this.handleCount();
    this.fitHeight();
  }

  /** Report that no row matches, with the relaxed searches. */
  showNoRows() {
    const { lastCount, search, t } = this.workspace;
    this.showMessage("empty", t("No row meets all of these conditions."));
    if (lastCount?.search !== search || !lastCount.without.length) return;
    this.body.querySelector("td")?.append(createRelaxedList(lastCount.without, this.workspace));
  }

  /** Continue in the current state of the table, at the same row, when the previous state has expired. */
  async resumeInCurrentState() {
    const firstRow = this.scroll.firstRow;
    const { place: fallbackIndex, key } = this.pages.findNearestRow(firstRow);
    this.pages.isRenewed = true;
    await this.loadFirstRows();
    const currentIndex = (key ? await this.pages.locateRow(key) : null) ?? fallbackIndex;
    this.container.scrollTop = this.scroll.getScrollTop(
      Math.max(0, Math.min(currentIndex + firstRow - fallbackIndex, this.rowSpace - 1)),
    );
    await this.draw();
    return null;
  }

  /** Draw the rows in view; rows that are not loaded are placeholders. */
  async draw() {
    if (!this.rowSpace) return;
    const ownNumber = ++this.drawNumber;
    this.drawnScrollTop = this.container.scrollTop;
    const [start, end] = this.scroll.drawnRange;
    const pageNumbers = [];
    for (let number = Math.floor(start / PAGE_ROWS); number * PAGE_ROWS < Math.max(end, 1); number++)
      pageNumbers.push(number);
    if (pageNumbers.some((number) => !this.pages.getLoadedPage(number))) this.paint(start, end);
    try {
      await Promise.all(pageNumbers.map((number) => this.pages.fetchPage(number)));
    } catch (/** @type {any} */ error) {
      if (ownNumber === this.drawNumber) this.showMessage("fault", error.message, { role: "alert" });
      return;
    }
    if (ownNumber !== this.drawNumber) return;
    this.extend(pageNumbers);
    this.paint(start, end);
  }

  /**
   * Extend the scroll range behind the last page while rows are not counted.
   * @param {number[]} pageNumbers numbers of the pages in view
   */
  extend(pageNumbers) {
    if (this.rowCount !== null) return;
    const lastPage = Math.max(...pageNumbers);
    const page = this.pages.getLoadedPage(lastPage);
    if (!page) return;
    const knownRows = lastPage * PAGE_ROWS + page.rows.length;
    if (!page.more) this.rowCount = knownRows;
    this.rowSpace = page.more ? Math.max(this.rowSpace, knownRows + PAGE_ROWS) : knownRows;
    this.showCount();
  }

  /**
   * Update the row elements of a range, and keep the focus.
   * @param {number} start
   * @param {number} end
   */
  paint(start, end) {
    const { fillerAbove, activeRow, fillerBelow, body, container } = this;
    const scrollTop = container.scrollTop;
    const rowElements = [];
    for (let rowIndex = start; rowIndex < end; rowIndex++) rowElements.push(this.getRow(rowIndex));
    const fillerHeights = this.scroll.computeFillers(start, end);
    [fillerAbove, fillerBelow].forEach((filler, index) => {
      filler.cells[0].style.height = `${fillerHeights[index]}px`;
      filler.cells[0].colSpan = this.cellCount;
    });
    const focusedElement = body.contains(document.activeElement) ? document.activeElement : null;
    const focusedRow = focusedElement?.closest("tr");
    const isActiveLink = focusedRow?.dataset.at === String(activeRow) && focusedElement?.matches("a");
    const linkIndex =
      focusedRow && isActiveLink
        ? [...focusedRow.querySelectorAll("a")].indexOf(/** @type {HTMLAnchorElement} */ (focusedElement))
        : -1;
    updateRows(body, [fillerAbove, ...rowElements, fillerBelow]);
    if (focusedRow?.dataset.at !== undefined) {
      const newRow = this.findRow(activeRow);
      // keep the focus on the link that had it
      (newRow?.querySelectorAll("a")[linkIndex] ?? newRow)?.focus({ preventScroll: true });
    }
    // Chromium loses the scroll position if the focused row is removed and millions of pixels move between the fillers
    if (Math.abs(container.scrollTop - scrollTop) > 1) container.scrollTop = scrollTop;
  }

  /**
   * Return the element of a row, or a placeholder.
   * @param {number} rowIndex
   */
  getRow(rowIndex) {
    const { columns, columnOrder } = this;
    const isActive = rowIndex === this.activeRow;
    const page = this.pages.getLoadedPage(Math.floor(rowIndex / PAGE_ROWS));
    const values = page?.rows[rowIndex % PAGE_ROWS];
    if (!page || !values) return createPlaceholderRow(rowIndex, isActive, this.cellCount);
    const rowElement = this.findRow(rowIndex);
    const drawnRow = rowElement && this.drawnRows.get(rowElement);
    if (rowElement && drawnRow?.values === values && drawnRow.drawn === columnOrder) {
      setReachable(rowElement, isActive);
      return rowElement;
    }
    const files = page.files?.[rowIndex % PAGE_ROWS];
    const newRow = createDataRow(
      rowIndex,
      isActive,
      { key: page.keys[rowIndex % PAGE_ROWS], values, columns, drawn: columnOrder, files },
      this.workspace,
    );
    this.drawnRows.set(newRow, { values, drawn: columnOrder, files: files ?? [] });
    return newRow;
  }

  /** The number of cells of a row. */
  get cellCount() {
    return this.columnOrder.length + 1 + Number(this.fileRowCount !== undefined);
  }

  /** Update the row height for another picture size; the first row in view stays. */
  updateRowHeight() {
    const { firstRow } = this.scroll;
    const firstPage = this.pages.getLoadedPage(0);
    if (!firstPage || !this.rowSpace) return;
    const rowHeight = setRowHeight(
      this.container,
      firstPage.rows,
      this.columnOrder,
      this.workspace.state,
      this.fileRowCount !== undefined,
    );
    if (rowHeight === this.rowHeight) return; // an unrelated change, such as a moved map
    this.rowHeight = rowHeight;
    this.fitHeight();
    this.container.scrollTop = this.scroll.getScrollTop(firstRow);
    this.draw();
  }

  /**
   * Show a message in place of the rows.
   * @param {string} className
   * @param {string} textContent
   * @param {object} [attributes]
   */
  showMessage(className, textContent, attributes) {
    const rowElement = createElement("tr");
    const cell = rowElement.insertCell();
    cell.colSpan = this.columns.length + 1;
    cell.append(createElement("p", { className, textContent, ...attributes }));
    this.body.replaceChildren(rowElement);
  }

  /** Shrink the grid to its rows if they are few. */
  fitHeight() {
    const { container } = this;
    if (!this.rowSpace) return void Object.assign(container.style, { height: "auto" });
    const barHeight = container.offsetHeight - container.clientHeight; // borders, and the horizontal scroll bar
    const height = computeFullHeight(this.rowSpace, this.headRow.offsetHeight, this.rowHeight) + barHeight;
    container.style.height = height < innerHeight * MAX_WINDOW_SHARE ? `${height}px` : "";
  }

  /** Show the number of rows. */
  showCount() {
    const { t } = this.workspace;
    const counter = findElement(this.results, "[data-count]");
    const isTimedOut = this.workspace.lastCount?.search === this.workspace.search;
    const minimum = this.rowCount ?? this.rowSpace - PAGE_ROWS;
    showLineCount(
      counter,
      { exact: this.exact, total: this.rowCount, rows: this.fileRowCount, minimum, isTimedOut },
      this.workspace,
    );
    this.table.setAttribute("aria-rowcount", String(this.rowCount === null ? -1 : this.rowCount + 1));
    if (!this.pages.isRenewed) return;
    const renewed = t("The rows that you started with are no longer kept; these are the current ones.");
    counter?.append(" ", createElement("span", { className: "fault", role: "status", textContent: renewed }));
  }

  /** Handle the number of rows, which the form receives after the rows. */
  handleCount() {
    const { lastCount, search } = this.workspace;
    if (!this.rowSpace && lastCount?.total === 0) this.showNoRows();
    if (this.exact || lastCount?.search !== search) return;
    if (lastCount.total !== null) {
      this.rowCount = this.rowSpace = lastCount.total;
      this.exact = lastCount.exact;
    }
    this.showCount();
    this.draw();
  }

  /**
   * Choose a row by its index.
   * @param {number} rowIndex
   * @param {string} [drawnKey] of a row that is drawn; the rows of another search may be under way
   */
  async chooseRow(rowIndex, drawnKey) {
    const page = drawnKey ? null : await this.pages.fetchPage(Math.floor(rowIndex / PAGE_ROWS)).catch(() => null);
    const key = drawnKey ?? page?.keys?.[rowIndex % PAGE_ROWS];
    this.moveTo(rowIndex, !document.activeElement?.closest(".detail"));
    if (key) this.workspace.chooseRow(key);
  }

  /**
   * Move the keyboard focus to a row and scroll it into view.
   * @param {number} rowIndex
   */
  moveTo(rowIndex, takesFocus = true) {
    this.activeRow = Math.max(0, Math.min(rowIndex, this.rowSpace - 1));
    const { activeRow } = this;
    for (const otherRow of findElements(this.body, 'tr[tabindex="0"]')) setReachable(otherRow, false);
    const rowElement = this.findRow(activeRow);
    if (rowElement) setReachable(rowElement, true);
    const top = this.scroll.getScrollTopInView(activeRow);
    if (top === null) {
      if (takesFocus) rowElement?.focus({ preventScroll: true });
      return;
    }
    this.container.scrollTop = top;
    this.draw().then(() => takesFocus && this.findRow(activeRow)?.focus({ preventScroll: true }));
  }

  /** @param {HTMLElement} rowElement */
  toggleRow(rowElement) {
    const files = (this.drawnRows.get(rowElement)?.files ?? []).map((file) => file.key); // all files of the observation
    this.workspace.toggleMark(rowElement.dataset.key ?? "", files);
  }

  /**
   * Show the selection in the rows.
   * @param {string} changedName
   */
  showSelection(changedName) {
    const { selection } = this.workspace;
    for (const rowElement of findElements(this.body, "tr[data-key]")) {
      const key = rowElement.dataset.key ?? "";
      rowElement.classList.toggle("hover", key === selection.hover);
      if (changedName === "hover") continue;
      rowElement.setAttribute("aria-selected", String(key === selection.chosen || selection.marked.has(key)));
      const checkbox = findElement(rowElement, "input", HTMLInputElement);
      if (checkbox) checkbox.checked = selection.marked.has(key);
    }
  }

  /** Scroll to the chosen row. */
  async revealChosen() {
    const { selection } = this.workspace;
    const key = selection.chosen;
    if (!key || !this.rowSpace) return;
    const rowIndex = this.pages.findLoadedRow(key) ?? (await this.pages.locateRow(key));
    if (rowIndex !== null && key === selection.chosen) this.moveTo(rowIndex, false);
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export async function mount(container, workspace) {
  const grid = new RowGrid(container, workspace);
  await grid.loadFirstRows();
  container.replaceChildren(grid.table);
  grid.fitHeight();
  await grid.draw();
  await grid.revealChosen();
}
