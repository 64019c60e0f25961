// The choice of columns: visibility, order and units. It applies the server's form at once.
import { findElements, createButton, requireElement, createElement } from "./dom.js";
/** @import {Translate} from "./answers.js" */
/** @import {State, Workspace} from "./workspace.js" */

/**
 * Read the parameters from the form; null if no column is checked.
 * @param {{value: string, checked: boolean}[]} ticks
 * @param {{name: string, value: string}[]} units
 */
export function readColumnForm(ticks, units) {
  const names = ticks.filter((checkbox) => checkbox.checked).map((checkbox) => checkbox.value);
  if (!names.length) return null;
  return { _cols: names.join(","), ...Object.fromEntries(units.map((unit) => [unit.name, unit.value || null])) };
}

/**
 * List the columns of the address.
 * @param {Pick<State, "get" | "has">} state
 * @param {string[]} defaultColumns
 */
export function listShownColumns(state, defaultColumns) {
  const names = (state.get("_cols") ?? "").split(",").filter(Boolean);
  return names.length || state.has("_cols") ? names : defaultColumns;
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, { state, t }) {
  const form = requireElement(container, "[data-columns]");
  const lines = findElements(form, ".tickable");
  const listCheckboxes = () => findElements(form, ".tickable input", HTMLInputElement);
  const listUnitSelects = () => findElements(form, "select", HTMLSelectElement);
  const apply = () => {
    const changes = readColumnForm(listCheckboxes(), listUnitSelects());
    if (changes) state.set(changes);
  };
  const defaultColumns = listCheckboxes()
    .filter((checkbox) => checkbox.defaultChecked)
    .map((checkbox) => checkbox.value);
  requireElement(form, ".actions").remove();
  const namesLink = requireElement(form, "[data-names]", HTMLAnchorElement);
  namesLink.addEventListener(
    "click",
    () => (namesLink.search = String(state.withChanges({ _names: namesLink.dataset.names || null }))),
  );

  const searchField = createColumnSearch(lines, t);
  const mainButton = createButton(t("Main columns"), () => state.set({ _cols: null }), { className: "link" });
  const columnNames = lines.map((line) => requireElement(line, "input", HTMLInputElement).value);
  const allButton = createButton(t("All columns"), () => state.set({ _cols: columnNames.join(",") }), {
    className: "link",
  });
  form.prepend(searchField, createElement("p", { className: "bar" }, mainButton, " ", allButton));
  for (const line of lines)
    line.append(
      createMoveButton(line, t("Up one"), "↑", -1, apply),
      createMoveButton(line, t("Down one"), "↓", 1, apply),
    );

  form.addEventListener("change", (event) => {
    if (event.target !== searchField) apply();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  state.on("change", () => {
    const shownColumns = listShownColumns(state, defaultColumns);
    for (const line of lines) {
      const checkbox = requireElement(line, "input", HTMLInputElement);
      checkbox.checked = shownColumns.includes(checkbox.value);
    }
    for (const select of listUnitSelects()) select.value = state.get(select.name) ?? "";
  });
}

/**
 * Create a field that filters the lines.
 * @param {HTMLElement[]} lines
 * @param {Translate} t
 */
function createColumnSearch(lines, t) {
  const label = t("Find a column");
  const searchField = createElement("input", {
    type: "search",
    className: "find",
    placeholder: label,
    "aria-label": label,
  });
  searchField.addEventListener("input", () => {
    const text = searchField.value.trim().toLowerCase();
    for (const line of lines) line.hidden = text !== "" && !line.textContent?.toLowerCase().includes(text);
  });
  return searchField;
}

/**
 * Create a button that moves a line up or down.
 * @param {HTMLElement} line
 * @param {string} title
 * @param {string} symbol
 * @param {number} step
 * @param {() => void} apply
 */
function createMoveButton(line, title, symbol, step, apply) {
  const name = requireElement(line, "label").textContent?.trim();
  const moveButton = createButton(symbol, moveLine, { className: "step", title, "aria-label": `${title}: ${name}` });
  function moveLine() {
    const neighbour = step < 0 ? line.previousElementSibling : line.nextElementSibling;
    if (!neighbour?.matches(".tickable")) return;
    if (step < 0) neighbour.before(line);
    else neighbour.after(line);
    moveButton.focus();
    apply();
  }
  return moveButton;
}
