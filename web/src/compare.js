// Marked rows side by side: a line for each column, what differs in bold. Which rows they are stands in the address.
import { fill } from "./table.js";

const MOST = 12; // rows beside each other

export function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const here = box.closest("[data-here]").dataset.here;
  const place = box.closest(".results").querySelector("[data-compared]");
  let differing = false;
  let drawn = "";

  const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", hidden: true });
  box.append(button);
  button.addEventListener("click", () => state.set({ _compare: [...selection.marked].slice(0, MOST) }));

  function offer() {
    const count = selection.marked.size;
    button.hidden = count < 2;
    button.textContent = t("Compare {count} rows", { count: Math.min(count, MOST) });
  }

  async function show(force = false) {
    const keys = state.all("_compare").slice(0, MOST);
    const units = state.entries().filter(([name]) => name.startsWith("_unit."));
    const wanted = JSON.stringify([keys, units]);
    if (wanted === drawn && !force) return;
    drawn = wanted;
    if (!keys.length) { place.hidden = true; place.replaceChildren(); return; }
    let found;
    try {
      found = await Promise.all(keys.map((key) => workspace.ask(`${here}/row`, { state: new URLSearchParams([["_row", key], ...units]) })));
    } catch (error) {
      place.hidden = false;
      place.replaceChildren(Object.assign(document.createElement("p"), { className: "fault", textContent: error.message }));
      return;
    }
    if (wanted === drawn) draw(keys, found);
  }

  const text = (value) => (value === null || value === undefined ? "" : typeof value === "string" ? value : `${value.text}\u0000${value.href ?? ""}`);

  function draw(keys, found) {
    const there = found.map((one, at) => ({ ...one, key: keys[at] })).filter((one) => one.row);
    const close = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Close") });
    close.addEventListener("click", () => { state.set({ _compare: null }); button.focus(); });
    const only = Object.assign(document.createElement("label"), { className: "tickable" });
    const tick = Object.assign(document.createElement("input"), { type: "checkbox", checked: differing });
    tick.addEventListener("change", () => { differing = tick.checked; draw(keys, found); place.querySelector("input").focus(); });
    only.append(tick, " ", t("Only what differs"));
    const bar = Object.assign(document.createElement("div"), { className: "bar" });
    bar.append(Object.assign(document.createElement("h2"), { textContent: t("Compare {count} rows", { count: there.length }) }), only, close);

    const made = Object.assign(document.createElement("table"), { className: "rows" });
    const head = made.createTHead().insertRow();
    head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: t("Column") }));
    for (const one of there) {
      const th = Object.assign(document.createElement("th"), { scope: "col", textContent: title(one.key) });
      const off = Object.assign(document.createElement("button"), { type: "button", className: "step", textContent: "×", title: t("Remove") });
      off.setAttribute("aria-label", `${t("Remove")} ${title(one.key)}`);
      off.addEventListener("click", () => state.set({ _compare: keys.filter((key) => key !== one.key) }));
      th.append(" ", off);
      head.append(th);
    }
    const body = made.createTBody();
    (there[0]?.columns ?? []).forEach((column, at) => {
      const values = there.map((one) => one.row[at]);
      const differs = new Set(values.map(text)).size > 1;
      if ((differing && !differs) || values.every((value) => value === null)) return;
      const row = body.insertRow();
      const th = Object.assign(document.createElement("th"), { scope: "row", textContent: column.label, title: column.description });
      if (column.unit) th.append(" ", Object.assign(document.createElement("small"), { textContent: column.unit }));
      row.append(th);
      for (const value of values) {
        const cell = row.insertCell();
        fill(cell, value, column, t);
        if (differs) cell.classList.add("differs");
      }
    });
    const scroll = Object.assign(document.createElement("div"), { className: "grid scroll", tabIndex: 0 });
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", t("Compare {count} rows", { count: there.length }));
    scroll.append(made);
    place.hidden = false;
    place.replaceChildren(bar, scroll);
  }

  const title = (key) => { try { return JSON.parse(key).join(" "); } catch { return key; } };

  selection.addEventListener("change", (event) => { if (event.name === "marked") offer(); });
  state.addEventListener("change", () => show());
  offer();
  return show();
}
