// The menu in a column's head: what the column must be, its order, its unit, and away with it. All of it goes into the address.
import { button, make } from "./dom.js";
/** @import {Column} from "./answers.js" */
/** @import {Changes, Workspace} from "./workspace.js" */

/** One menu at a time.
 * @type {HTMLElement | null} */
let opened = null;

/**
 * @param {Column} column
 * @param {Column[]} columns
 * @param {Workspace} workspace
 */
export function heading(column, columns, workspace) {
  const { state, t } = workspace;
  const label = t("Column {column}: filter, order, unit", { column: column.label });
  const made = button("⋮", () => open(made, column, columns, workspace), {
    className: "more",
    "aria-label": label,
    "aria-haspopup": "dialog",
  });
  if (state.has(column.name)) made.classList.add("filtered");
  return made;
}

/**
 * @param {HTMLElement} by
 * @param {Column} column
 * @param {Column[]} columns
 * @param {Workspace} workspace
 */
function open(by, column, columns, { state, t }) {
  opened?.remove();
  const menu = make("form", { className: "column-menu", popover: "auto", role: "dialog", "aria-label": column.label });
  opened = menu;
  const away = (back = true) => {
    menu.remove();
    if (back) by.focus();
  };
  const ask = (/** @type {Changes} */ changes) => {
    away();
    state.set(changes);
  };

  const value = state.all(column.name).join(",");
  const filter = make("input", { value, placeholder: column.numeric ? "1..2" : "", autocomplete: "off" });
  menu.append(labelled(t("Filter"), filter, column.stored_text));
  menu.addEventListener("submit", (event) => {
    event.preventDefault();
    ask({ [column.name]: filter.value.trim() || null, _row: null });
  });
  if (column.units?.length) {
    const units = column.units.map(
      (one, at) =>
        new Option(column.unit_texts?.[at] ?? one, one === column.usual_unit ? "" : one, false, one === column.unit),
    );
    const unit = make("select", {}, ...units);
    const of = column.of ?? [column.name];
    unit.addEventListener("change", () =>
      ask(Object.fromEntries(of.map((name) => [`_unit.${name}`, unit.value || null]))),
    );
    menu.append(labelled(t("Unit"), unit));
  }
  const others = columns.filter((one) => one !== column).flatMap((one) => one.of ?? [one.name]);
  const first = column.of?.[0] ?? column.name;
  const bar = make(
    "p",
    { className: "bar" },
    button(t("Rising"), () => ask({ _sort: first })),
    button(t("Falling"), () => ask({ _sort: `-${first}` })),
    button(t("Hide"), () => ask({ _cols: others.join(",") || null })),
  );
  menu.append(make("button", { textContent: t("Apply") }), bar);
  document.body.append(menu);
  menu.addEventListener("toggle", (event) => {
    if (event.newState === "closed") away(menu.contains(document.activeElement));
  });
  menu.showPopover();
  const at = by.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${Math.min(at.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
  filter.focus();
}

/**
 * @param {string} text
 * @param {HTMLElement} input
 */
function labelled(text, input, unit = "") {
  const name = make("span", { textContent: text });
  if (unit) name.append(" ", make("small", { textContent: unit }));
  return make("label", { className: "field" }, name, input);
}
