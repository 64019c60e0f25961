// The parts of a grid: headings, rows, and the columns that are the same in all rows.
import { getConditionLabel } from "./conditions.js";
import { createButton, createElement } from "./dom.js";
import { createMenuButton } from "./column_menu.js";
import { createFileChips } from "./file_chips.js";
import { fillCell } from "./table_cells.js";
/** @import {Column, RelaxedSearch, RowFile, Rows, Translate, Value} from "./answers.js" */
/** @import {Selection, Workspace} from "./workspace.js" */

/**
 * Order the displayed columns as the server says; a pair takes the place of its first column.
 * @param {Pick<Rows, "columns" | "drawn">} rows
 */
export function orderColumns({ columns, drawn }) {
  const pairs = columns.flatMap((column, number) =>
    (column.of ?? []).map((name) => /** @type {const} */ ([name, number])),
  );
  const pairByName = new Map(pairs);
  const numbers = drawn.map(
    (name) => pairByName.get(name) ?? columns.findIndex((column) => column.name === name && !column.of),
  );
  return [...new Set(numbers.filter((number) => number >= 0))];
}

/**
 * Add pairs of columns, displayed as one; a pair with a constant column is not added.
 * @template {Rows} T
 * @param {T} page
 * @returns {T}
 */
export function addPairs(page) {
  const { columns } = page;
  const pairs = (page.pairs ?? []).filter(({ low, high }) => !columns[low].alike && !columns[high].alike);
  const pairColumns = pairs.map(({ name, label, title, low, high }) => {
    const names = [Math.min(low, high), Math.max(low, high)].map((number) => columns[number].name);
    return { ...columns[low], name, label, title, of: names };
  });
  const rows = page.rows.map((row) => [...row, ...pairs.map(({ low, high }) => formatRange(row[low], row[high]))]);
  return { ...page, columns: [...columns, ...pairColumns], rows };
}

/**
 * Format two values as a range "from – to"; equal values appear once, and a shared day appears once.
 * @param {Value} low
 * @param {Value} high
 * @returns {Value}
 */
export function formatRange(low, high) {
  const [from, to] = [low, high].map((value) => (typeof value === "string" ? { text: value, title: "" } : value));
  if (!from) return to && { text: `… – ${to.text}`, title: to.title };
  if (!to) return { text: `${from.text} – …`, title: from.title };
  if (from.text === to.text) return low;
  const sharedDay = /^\d{4}-\d\d-\d\d /.exec(from.text)?.[0] ?? "";
  const end = sharedDay && to.text.startsWith(sharedDay) ? to.text.slice(sharedDay.length) : to.text;
  const text = `${from.text} – ${end}`;
  return { text, title: from.title || to.title ? `${from.title || from.text} – ${to.title || to.text}` : "" };
}

/**
 * Toggle the order of a column: ascending, descending, none; null if no order is left.
 * @param {string[]} order the sort columns, with "-" for descending ones
 * @param {string} name
 * @param {boolean} isAdded keep the other columns
 */
export function toggleSort(order, name, isAdded) {
  const current = order.find((entry) => entry.replace(/^-/, "") === name);
  let changed = name;
  if (current) changed = current.startsWith("-") ? "" : `-${name}`;
  const otherEntries = isAdded ? order.filter((entry) => entry !== current) : [];
  return [...otherEntries, changed].filter(Boolean).join(",") || null;
}

/** Create a row with the height of rows that are not drawn. */
export function createFiller() {
  const row = createElement("tr", { className: "filler", "aria-hidden": "true" });
  row.insertCell();
  return row;
}

/**
 * Create a row whose values are still loading.
 * @param {number} rowIndex
 * @param {boolean} isActive
 * @param {number} cellCount
 */
export function createPlaceholderRow(rowIndex, isActive, cellCount) {
  const row = createRow(rowIndex, isActive);
  row.className = "coming";
  row.setAttribute("aria-busy", "true");
  for (let index = 0; index < cellCount; index++) row.insertCell();
  return row;
}

/**
 * @param {number} rowIndex
 * @param {boolean} isActive
 */
function createRow(rowIndex, isActive) {
  const row = createElement("tr", { tabIndex: isActive ? 0 : -1, "aria-rowindex": String(rowIndex + 2) });
  row.dataset.at = String(rowIndex);
  return row;
}

/**
 * Create a row with its values.
 * @param {number} rowIndex
 * @param {boolean} isActive
 * @param {{key: string, values: Value[], columns: Column[], drawn: number[], files?: RowFile[] | null}} row
 *   `files` of the observation
 * @param {Workspace} workspace
 */
export function createDataRow(
  rowIndex,
  isActive,
  { key, values, columns, drawn, files: rowFiles },
  { selection, language, t },
) {
  const row = createRow(rowIndex, isActive);
  row.dataset.key = key;
  showRowState(row, selection);
  const markCell = row.insertCell();
  if (key) {
    const label = t("Select row {number}", { number: rowIndex + 1 });
    const checked = selection.marked.has(key);
    markCell.append(createElement("input", { type: "checkbox", checked, tabIndex: -1, "aria-label": label }));
  }
  for (const number of drawn) {
    const cell = row.insertCell();
    const { label, unit, unit_text: text } = columns[number];
    cell.dataset.label = unit ? `${label} ${text}` : label; // label in a card
    fillCell(cell, values[number], columns[number], t);
  }
  if (rowFiles)
    Object.assign(row.insertCell(), { className: "chips-of" }).append(...createFileChips(rowFiles, language));
  setReachable(row, isActive);
  return row;
}

/**
 * Show whether a row is chosen, marked or pointed at.
 * @param {HTMLTableRowElement} row
 * @param {Selection} selection
 */
function showRowState(row, selection) {
  const key = row.dataset.key ?? "";
  row.setAttribute("aria-selected", String(key !== "" && (key === selection.chosen || selection.marked.has(key))));
  if (key !== "" && key === selection.hover) row.classList.add("hover");
}

/**
 * Update the rows of a table body; unchanged rows stay in place.
 * @param {HTMLTableSectionElement} body
 * @param {HTMLTableRowElement[]} rows
 */
export function updateRows(body, rows) {
  const keptRows = new Set(rows);
  for (const row of [...body.rows]) {
    if (!keptRows.has(row)) row.remove();
  }
  rows.forEach((row, index) => {
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
}

/**
 * Make a row and its links the only stop of the Tab key.
 * @param {HTMLElement} row
 * @param {boolean} isReachable
 */
export function setReachable(row, isReachable) {
  row.tabIndex = isReachable ? 0 : -1;
  for (const link of row.querySelectorAll("a")) link.tabIndex = isReachable ? 0 : -1;
}

/**
 * Create the headings.
 * @param {Column[]} columns the displayed columns
 * @param {Workspace} workspace
 * @param {boolean} hasFiles rows are observations
 */
export function createHeadings(columns, workspace, hasFiles) {
  const { state, t } = workspace;
  const order = (state.get("_sort") ?? "").split(",").filter(Boolean);
  const tickHeading = createElement(
    "th",
    { className: "tick" },
    createElement("span", { className: "only-heard", textContent: t("Selected") }),
  );
  const cellCount = columns.map((column) => {
    const th = createElement("th", { scope: "col", title: column.title });
    if (column.numeric || column.kind === "time") th.className = "n";
    const sortName = column.of?.[0] ?? column.name; // of a pair
    const sortEntry = order.find((entry) => entry.replace(/^-/, "") === sortName);
    if (sortEntry) th.setAttribute("aria-sort", sortEntry.startsWith("-") ? "descending" : "ascending");
    const handleSort = (/** @type {MouseEvent} */ event) =>
      state.set({ _sort: toggleSort(order, sortName, event.shiftKey) });
    const headButtons = [
      createButton(column.label, handleSort, { className: "head" }),
      createMenuButton(column, columns, workspace),
    ];
    for (const headButton of headButtons) headButton.dataset.of = column.name;
    th.append(
      headButtons[0],
      ...(column.unit ? [" ", createElement("small", { textContent: column.unit_text })] : []),
      headButtons[1],
    );
    return th;
  });
  return [
    tickHeading,
    ...cellCount,
    ...(hasFiles ? [createElement("th", { scope: "col", textContent: t("Files") })] : []),
  ];
}

/**
 * Show the constant columns once, above the rows.
 * @param {HTMLElement | null} element
 * @param {Rows} page
 * @param {Translate} t
 */
export function showConstantColumns(element, { columns, rows }, t) {
  if (!element) return;
  const firstRow = rows[0] ?? [];
  const values = columns.map((column, index) => ({ column, value: firstRow[index] ?? null }));
  const constants = values.filter(({ column }) => column.alike && firstRow.length);
  const texts = constants
    .filter(({ value }) => value !== null)
    .flatMap(({ column, value }) => [createConstant(column, value, t), " "]);
  const emptyLabels = constants.filter(({ value }) => value === null).map(({ column }) => column.label);
  const emptyText = emptyLabels.length ? [createSoftText(`${t("Without values:")} ${emptyLabels.join(", ")}`)] : [];
  element.replaceChildren(...(texts.length ? [createSoftText(t("All rows:")), " ", ...texts] : []), ...emptyText);
  element.hidden = constants.length === 0;
}

/**
 * @param {Column} column
 * @param {Value} value
 * @param {Translate} t
 */
function createConstant(column, value, t) {
  const valueElement = createElement("span");
  fillCell(valueElement, value, { ...column, numeric: false }, t);
  return createElement(
    "span",
    { className: "one" },
    createSoftText(column.label),
    " ",
    valueElement,
    column.unit ? ` ${column.unit_text}` : "",
  );
}

/** @param {string} text */
function createSoftText(text) {
  return createElement("span", { className: "soft", textContent: text });
}

/**
 * Create the list of relaxed searches: the conditions that each leaves out, and its number of rows.
 * @param {RelaxedSearch[]} relaxedSearches
 * @param {Workspace} workspace
 */
export function createRelaxedList(relaxedSearches, workspace) {
  const { state, t } = workspace;
  const items = relaxedSearches.map(({ left, observations, rows }) => {
    const values = {
      condition: left.map((chip) => `${getConditionLabel(chip, t)} ${chip.value}`).join(", "),
      count: workspace.formatNumber(rows),
    };
    const text = observations
      ? t("without {condition}: {count} observations", values)
      : t("without {condition}: {count} rows", values);
    const rangedChips = left.filter(({ range }) => range);
    const rangeTexts = rangedChips.map((chip) =>
      t("{column} of these rows: {range}", { column: getConditionLabel(chip, t), range: chip.range }),
    );
    const changes = Object.fromEntries(left.map(({ name }) => [name, null]));
    return createElement(
      "li",
      {},
      createButton(text, () => state.set({ ...changes, _row: null }), { className: "link" }),
      ...rangeTexts.flatMap((rangeText) => [" ", createSoftText(rangeText)]),
    );
  });
  return createElement("ul", { className: "empty" }, ...items);
}
