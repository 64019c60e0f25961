// What a grid is drawn of: its head, its lines, and what all of them say alike.
import { called } from "./conditions.js";
import { button, make } from "./dom.js";
import { heading } from "./heading.js";
import { chips } from "./files.js";
import { fill } from "./table.js";
/** @import {Column, Easier, RowFile, Rows, Translate, Value} from "./answers.js" */
/** @import {Selection, Workspace} from "./workspace.js" */

/**
 * Give the numbers of the columns that are shown, in the order that the server says: pairs where the first of their two columns would stand.
 * @param {Pick<Rows, "columns" | "drawn">} rows
 */
export function ordered({ columns, drawn }) {
  const pairs = columns.flatMap((one, number) => (one.of ?? []).map((name) => /** @type {const} */ ([name, number])));
  const of = new Map(pairs);
  const numbers = drawn.map((name) => of.get(name) ?? columns.findIndex((one) => one.name === name && !one.of));
  return [...new Set(numbers.filter((number) => number >= 0))];
}

/**
 * Add to the columns and rows those of pairs, which are told as one; of columns that say the same in all rows there are none.
 * @template {Rows} T
 * @param {T} found
 * @returns {T}
 */
export function paired(found) {
  const { columns } = found;
  const pairs = (found.pairs ?? []).filter(({ low, high }) => !columns[low].alike && !columns[high].alike);
  const made = pairs.map(({ name, label, title, low, high }) => {
    const of = [Math.min(low, high), Math.max(low, high)].map((number) => columns[number].name);
    return { ...columns[low], name, label, title, of };
  });
  const rows = found.rows.map((row) => [...row, ...pairs.map(({ low, high }) => span(row[low], row[high]))]);
  return { ...found, columns: [...columns, ...made], rows };
}

/**
 * Write two values as one, "from – to"; once where both are the same, and the day once.
 * @param {Value} low
 * @param {Value} high
 * @returns {Value}
 */
export function span(low, high) {
  const [from, to] = [low, high].map((one) => (typeof one === "string" ? { text: one, title: "" } : one));
  if (!from) return to && { text: `… – ${to.text}`, title: to.title };
  if (!to) return { text: `${from.text} – …`, title: from.title };
  if (from.text === to.text) return low;
  const day = /^\d{4}-\d\d-\d\d /.exec(from.text)?.[0] ?? "";
  const text = `${from.text} – ${day && to.text.startsWith(day) ? to.text.slice(day.length) : to.text}`;
  return { text, title: from.title || to.title ? `${from.title || from.text} – ${to.title || to.text}` : "" };
}

/**
 * Give the order that a press on a column's head asks for: rising, falling, none; null: no order is left.
 * @param {string[]} order the columns that rows are sorted by, with "-" before those that fall
 * @param {string} name
 * @param {boolean} more the other columns stay
 */
export function sorted(order, name, more) {
  const mine = order.find((one) => one.replace(/^-/, "") === name);
  const next = !mine ? name : mine.startsWith("-") ? "" : `-${name}`;
  const others = more ? order.filter((one) => one !== mine) : [];
  return [...others, next].filter(Boolean).join(",") || null;
}

/** A row that stands for the heights of those that are not drawn. */
export function filler() {
  const row = make("tr", { className: "filler", "aria-hidden": "true" });
  row.insertCell();
  return row;
}

/**
 * A row that is on its way.
 * @param {number} at
 * @param {boolean} active
 * @param {number} cells
 */
export function coming(at, active, cells) {
  const row = numbered(at, active);
  row.className = "coming";
  row.setAttribute("aria-busy", "true");
  for (let number = 0; number < cells; number++) row.insertCell();
  return row;
}

/**
 * @param {number} at
 * @param {boolean} active
 */
function numbered(at, active) {
  const row = make("tr", { tabIndex: active ? 0 : -1, "aria-rowindex": String(at + 2) });
  row.dataset.at = String(at);
  return row;
}

/**
 * A row with its values.
 * @param {number} at
 * @param {boolean} active
 * @param {{key: string, values: Value[], columns: Column[], drawn: number[], files?: RowFile[] | null}} row `files`: of an observation
 * @param {Workspace} workspace
 */
export function line(at, active, { key, values, columns, drawn, files }, { selection, language, t }) {
  const row = numbered(at, active);
  row.dataset.key = key;
  shown(row, selection);
  const mark = row.insertCell();
  if (key) {
    const label = t("Select row {number}", { number: at + 1 });
    const checked = selection.marked.has(key);
    mark.append(make("input", { type: "checkbox", checked, tabIndex: -1, "aria-label": label }));
  }
  for (const number of drawn) {
    const cell = row.insertCell();
    const { label, unit, unit_text: text } = columns[number];
    cell.dataset.label = unit ? `${label} ${text}` : label; // of a card
    fill(cell, values[number], columns[number], t);
  }
  if (files) Object.assign(row.insertCell(), { className: "chips-of" }).append(...chips(files, language));
  reached(row, active);
  return row;
}

/**
 * Show whether a row is chosen, marked, pointed at.
 * @param {HTMLTableRowElement} row
 * @param {Selection} selection
 */
function shown(row, selection) {
  const key = row.dataset.key ?? "";
  row.setAttribute("aria-selected", String(key !== "" && (key === selection.chosen || selection.marked.has(key))));
  if (key !== "" && key === selection.hover) row.classList.add("hover");
}

/**
 * Fill a table with rows; those that stand there already stay untouched.
 * @param {HTMLTableSectionElement} body
 * @param {HTMLTableRowElement[]} rows
 */
export function filled(body, rows) {
  const wanted = new Set(rows);
  for (const one of [...body.rows]) if (!wanted.has(one)) one.remove();
  rows.forEach((one, number) => {
    if (body.rows[number] !== one) body.insertBefore(one, body.rows[number] ?? null);
  });
}

/**
 * The Tab key stops at one row and its links, not at those of all rows in sight.
 * @param {HTMLElement} row
 * @param {boolean} on
 */
export function reached(row, on) {
  row.tabIndex = on ? 0 : -1;
  for (const link of row.querySelectorAll("a")) link.tabIndex = on ? 0 : -1;
}

/**
 * The cells of the head.
 * @param {Column[]} columns those that are shown
 * @param {Workspace} workspace
 * @param {boolean} files lines are observations
 */
export function heads(columns, workspace, files) {
  const { state, t } = workspace;
  const order = (state.get("_sort") ?? "").split(",").filter(Boolean);
  const tick = make("th", { className: "tick" }, make("span", { className: "only-heard", textContent: t("Selected") }));
  const cells = columns.map((column) => {
    const th = make("th", { scope: "col", title: column.title });
    if (column.numeric || column.kind === "time") th.className = "n";
    const first = column.of?.[0] ?? column.name; // of a pair
    const mine = order.find((one) => one.replace(/^-/, "") === first);
    if (mine) th.setAttribute("aria-sort", mine.startsWith("-") ? "descending" : "ascending");
    const sort = (/** @type {MouseEvent} */ event) => state.set({ _sort: sorted(order, first, event.shiftKey) });
    const both = [button(column.label, sort, { className: "head" }), heading(column, columns, workspace)];
    for (const one of both) one.dataset.of = column.name;
    th.append(both[0], ...(column.unit ? [" ", make("small", { textContent: column.unit_text })] : []), both[1]);
    return th;
  });
  return [tick, ...cells, ...(files ? [make("th", { scope: "col", textContent: t("Files") })] : [])];
}

/**
 * Columns that say the same in all rows say it once, above them.
 * @param {HTMLElement | null} place
 * @param {Rows} found
 * @param {Translate} t
 */
export function once(place, { columns, rows }, t) {
  if (!place) return;
  const first = rows[0] ?? [];
  const alike = columns.map((column, at) => ({ column, value: first[at] ?? null }));
  const list = alike.filter(({ column }) => column.alike && first.length);
  const said = list.filter(({ value }) => value !== null).flatMap(({ column, value }) => [same(column, value, t), " "]);
  const none = list.filter(({ value }) => value === null).map(({ column }) => column.label);
  const without = none.length ? [soft(`${t("Without values:")} ${none.join(", ")}`)] : [];
  place.replaceChildren(...(said.length ? [soft(t("All rows:")), " ", ...said] : []), ...without);
  place.hidden = list.length === 0;
}

/**
 * @param {Column} column
 * @param {Value} value
 * @param {Translate} t
 */
function same(column, value, t) {
  const said = make("span");
  fill(said, value, { ...column, numeric: false }, t);
  return make("span", { className: "one" }, soft(column.label), " ", said, column.unit ? ` ${column.unit_text}` : "");
}

/** @param {string} text */
function soft(text) {
  return make("span", { className: "soft", textContent: text });
}

/**
 * The next step where nothing is found: each condition left out, with the rows that there are then.
 * @param {Easier[]} without
 * @param {Workspace} workspace
 */
export function proposed(without, workspace) {
  const { state, t } = workspace;
  const steps = without.map(({ left, observations, rows }) => {
    const said = {
      condition: left.map((one) => `${called(one, t)} ${one.value}`).join(", "),
      count: workspace.number(rows),
    };
    const text = observations
      ? t("without {condition}: {count} observations", said)
      : t("without {condition}: {count} rows", said);
    const ranges = left.filter(({ range }) => range);
    const there = ranges.map((one) => t("{column} there: {range}", { column: called(one, t), range: one.range }));
    const less = Object.fromEntries(left.map(({ name }) => [name, null]));
    return make(
      "li",
      {},
      button(text, () => state.set({ ...less, _row: null }), { className: "link" }),
      ...there.flatMap((one) => [" ", soft(one)]),
    );
  });
  return make("ul", { className: "empty" }, ...steps);
}
