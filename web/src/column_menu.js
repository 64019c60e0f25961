// The menu of a column: filter, order, unit, hiding. All of them go into the address.
import { createButton, createElement } from "./dom.js";
/** @import {Column, Translate} from "./answers.js" */
/** @import {StateChanges, Workspace} from "./workspace.js" */

/** The open menu, at most one.
 * @type {HTMLElement | null} */
let openedMenu = null;

/**
 * Create the button that opens the menu of a column.
 * @param {Column} column
 * @param {Column[]} columns
 * @param {Workspace} workspace
 */
export function createMenuButton(column, columns, workspace) {
  const { state, t } = workspace;
  const label = t("Column {column}: filter, order, unit", { column: column.label });
  const menuButton = createButton("⋮", () => openMenu(menuButton, column, columns, workspace), {
    className: "more",
    "aria-label": label,
    "aria-haspopup": "dialog",
  });
  if (state.has(column.name)) menuButton.classList.add("filtered");
  return menuButton;
}

/**
 * Open the menu of a column below its button.
 * @param {HTMLElement} menuButton
 * @param {Column} column
 * @param {Column[]} columns
 * @param {Workspace} workspace
 */
function openMenu(menuButton, column, columns, { state, t }) {
  openedMenu?.remove();
  const menu = createElement("form", {
    className: "column-menu",
    popover: "auto",
    role: "dialog",
    "aria-label": column.label,
  });
  openedMenu = menu;
  const closeMenu = (returnsFocus = true) => {
    menu.remove();
    if (returnsFocus) menuButton.focus();
  };
  const applyChanges = (/** @type {StateChanges} */ changes) => {
    closeMenu();
    state.set(changes);
  };

  const value = state.getAll(column.name).join(",");
  const filter = createElement("input", { value, placeholder: column.numeric ? "1..2" : "", autocomplete: "off" });
  menu.append(createField(t("Filter"), filter, column.stored_text));
  menu.addEventListener("submit", (event) => {
    event.preventDefault();
    applyChanges({ [column.name]: filter.value.trim() || null, _row: null });
  });
  if (column.units?.length) menu.append(createUnitField(column, t, applyChanges));
  const otherNames = columns.filter((other) => other !== column).flatMap((other) => other.of ?? [other.name]);
  const firstName = column.of?.[0] ?? column.name;
  const bar = createElement(
    "p",
    { className: "bar" },
    createButton(t("Ascending"), () => applyChanges({ _sort: firstName })),
    createButton(t("Descending"), () => applyChanges({ _sort: `-${firstName}` })),
    createButton(t("Hide"), () => applyChanges({ _cols: otherNames.join(",") || null })),
  );
  menu.append(createElement("button", { textContent: t("Apply") }), bar);
  document.body.append(menu);
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "closed") closeMenu(menu.contains(document.activeElement));
  });
  menu.showPopover();
  const rectangle = menuButton.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(rectangle.left, innerWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${Math.min(rectangle.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
  filter.focus();
}

/**
 * Create the field that chooses the unit of a column.
 * @param {Column} column
 * @param {Translate} t
 * @param {(changes: StateChanges) => void} applyChanges
 */
function createUnitField(column, t, applyChanges) {
  const unitOptions = (column.units ?? []).map(
    (unit, index) =>
      new Option(
        column.unit_texts?.[index] ?? unit,
        unit === column.usual_unit ? "" : unit,
        false,
        unit === column.unit,
      ),
  );
  const unitSelect = createElement("select", {}, ...unitOptions);
  const names = column.of ?? [column.name];
  unitSelect.addEventListener("change", () =>
    applyChanges(Object.fromEntries(names.map((name) => [`_unit.${name}`, unitSelect.value || null]))),
  );
  return createField(t("Unit"), unitSelect);
}

/**
 * @param {string} text
 * @param {HTMLElement} input
 */
function createField(text, input, unit = "") {
  const nameElement = createElement("span", { textContent: text });
  if (unit) nameElement.append(" ", createElement("small", { textContent: unit }));
  return createElement("label", { className: "field" }, nameElement, input);
}
