// The menu in a column's head: what the column must be, its order, its unit, and away with it. All of it goes into the address.
let opened = null; // one menu at a time

export function heading(column, columns, workspace) {
  const { state, t } = workspace;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "more", textContent: "⋮" });
  button.setAttribute("aria-label", t("Column {column}: filter, order, unit", { column: column.label }));
  button.setAttribute("aria-haspopup", "dialog");
  if (state.has(column.name)) button.classList.add("filtered");
  button.addEventListener("click", () => open(button));

  function open(by) {
    opened?.remove();
    const menu = Object.assign(document.createElement("form"), { className: "column-menu" });
    opened = menu;
    menu.popover = "auto";
    menu.setAttribute("role", "dialog");
    menu.setAttribute("aria-label", column.label);
    const away = (back = true) => { menu.remove(); if (back) by.focus(); };

    const filter = Object.assign(document.createElement("input"), { value: state.all(column.name).join(","), placeholder: column.numeric ? "1..2" : "", autocomplete: "off" });
    menu.append(labelled(t("Filter"), filter, column.stored_unit));
    menu.addEventListener("submit", (event) => { event.preventDefault(); away(); state.set({ [column.name]: filter.value.trim() || null, _row: null }); });

    if (column.units?.length) {
      const unit = document.createElement("select");
      unit.append(...column.units.map((one, at) => new Option(one, at ? one : "", false, one === column.unit)));
      unit.addEventListener("change", () => { away(); state.set({ [`_unit.${column.name}`]: unit.value || null }); });
      menu.append(labelled(t("Unit"), unit));
    }
    const bar = Object.assign(document.createElement("p"), { className: "bar" });
    for (const [text, act] of [
      [t("Rising"), { _sort: column.name }],
      [t("Falling"), { _sort: `-${column.name}` }],
      [t("Hide"), { _cols: columns.filter((one) => one !== column).map((one) => one.name).join(",") || null }],
    ]) {
      const made = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: text });
      made.addEventListener("click", () => { away(); state.set(act); });
      bar.append(made);
    }
    menu.append(Object.assign(document.createElement("button"), { textContent: t("Apply") }), bar);
    document.body.append(menu);
    menu.addEventListener("toggle", (event) => { if (event.newState === "closed") away(menu.contains(document.activeElement)); });
    menu.showPopover();
    const at = by.getBoundingClientRect();
    menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - menu.offsetWidth - 8))}px`;
    menu.style.top = `${Math.min(at.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
    filter.focus();
  }

  function labelled(text, input, unit = "") {
    const label = Object.assign(document.createElement("label"), { className: "field" });
    const name = Object.assign(document.createElement("span"), { textContent: text });
    if (unit) name.append(" ", Object.assign(document.createElement("small"), { textContent: unit }));
    label.append(name, input);
    return label;
  }

  return button;
}
