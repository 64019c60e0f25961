// The form of a search: what is written goes into the address at once, faults stand beside their fields, what is asked stands above the rows.
import { complete, places } from "./complete.js";

const WHOLE = /^(?:[<>=!]|null$)|\.\.|,|~|"|\d\s*\/\s*[-+.\d]/i; // a whole condition, written into the first part of a field
const NUMBER = /^(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?$/;

/** The condition that the parts of a field are; the server puts them together in the same way (explore/fields.py). */
export function written(low, high, unit, around) {
  if (low && (WHOLE.test(low) || (!high && !/\d/.test(low)))) return low;
  if (around && low) return `${low}~${around} ${unit || "min"}`;
  const end = unit && NUMBER.test(low) && NUMBER.test(high) ? ` ${unit}` : "";
  if (low && low === high) return `${low}${end}`;
  if (low && high) return `${low}..${high}${end}`;
  return low ? `${low}${end}..` : high ? `..${high}${end}` : "";
}

export function mount(form, workspace) {
  const { state, t } = workspace;
  const here = form.closest("[data-here]").dataset.here;
  const chips = document.querySelector("[data-chips]");
  let later = null;
  let asked = null;

  form.querySelector(".actions button").hidden = true; // nothing is left to press: every change asks

  const part = (name) => form.elements.namedItem(name);
  const value = (name) => part(name)?.value.trim() ?? "";

  /** What one field asks for: its name and value. */
  function given(field) {
    const box = field.closest("[data-ask]");
    const name = box ? box.dataset.ask : field.name;
    if (name === "_near") return [name, value("_near") && `${value("_near")},${value("_radius") || "1"} ${value("_radius_unit")}`];
    if (name === "_every") return [name, value("_every") && [value("_every"), value("_each")].filter(Boolean).join(",")];
    if (box) return [name, written(value(name), value(`_to.${name}`), value(`_as.${name}`), value(`_pm.${name}`))];
    return [name, field.value.trim()];
  }

  function apply(field) {
    clearTimeout(later);
    asked = null;
    const [name, text] = given(field);
    state.set({ [name]: text || null, _row: null });
  }

  form.addEventListener("input", (event) => { if (event.target.name) { clearTimeout(later); later = setTimeout(() => apply(event.target), 500); } });
  form.addEventListener("change", (event) => { if (event.target.name) apply(event.target); });
  form.addEventListener("submit", (event) => { event.preventDefault(); if (document.activeElement?.name) apply(document.activeElement); });
  form.querySelector(".actions a").addEventListener("click", (event) => {
    event.preventDefault();
    const names = state.entries().map(([name]) => name).filter((name) => !["_cols", "_view", "lang"].includes(name));
    state.set(Object.fromEntries(names.map((name) => [name, null])));
  });
  chips?.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    state.set({ [link.dataset.name]: null, _row: null });
  });
  for (const field of form.querySelectorAll("[data-complete]")) complete(field, workspace, `${here}/facets`);
  for (const field of form.querySelectorAll("[data-names]")) places(field, part("_radius"), part("_radius_unit"), workspace, `${here}/names`);

  function put(field, text) {
    if (!field || field === document.activeElement || field.closest("[data-ask]")?.contains(document.activeElement)) return;
    if (field.tagName === "SELECT" && ![...field.options].some((one) => one.value === text)) field.add(new Option(text, text));
    field.value = text;
  }

  /** Write into the fields what the server read in the address. */
  function show(found) {
    for (const field of form.elements) {
      if (!field.name || field.type === "hidden" || field.name.startsWith("_") || field.closest("[data-ask]")) continue;
      put(field, state.all(field.name).join(","));
    }
    for (const box of form.querySelectorAll("[data-ask][data-kind]")) {
      const name = box.dataset.ask;
      const parts = found.fields[name] ?? { low: state.all(name).join(","), high: "", unit: "", around: "" };
      put(part(name), parts.low);
      put(part(`_to.${name}`), parts.high);
      put(part(`_pm.${name}`), parts.around);
      const units = part(`_as.${name}`);
      if (units) put(units, parts.unit && parts.unit === units.options[0].text ? units.options[0].value : parts.unit || (box.dataset.kind === "time" ? "min" : ""));
    }
    put(part("_q"), state.get("_q") ?? "");
    if (found.place) {
      put(part("_near"), found.place.centre);
      put(part("_radius"), found.place.size);
      put(part("_radius_unit"), found.place.unit);
      const note = form.querySelector("[data-found]");
      if (note) note.textContent = found.place.found;
    }
    const [length = "", each = ""] = found.every.split(",");
    if (part("_every") && !found.faults.some((fault) => fault.field === "_every")) { put(part("_every"), length); if (part("_each")) put(part("_each"), each); }
  }

  function faulted(list) {
    const faults = Object.fromEntries(list.map((fault) => [fault.field, fault]));
    for (const old of form.querySelectorAll(".fault:not(.facets .fault)")) old.remove(); // the choices have faults of their own
    for (const field of form.elements) { field.removeAttribute("aria-invalid"); field.removeAttribute("aria-describedby"); }
    for (const fault of Object.values(faults)) {
      const note = Object.assign(document.createElement("p"), { className: "fault", id: `fault-${fault.field}` });
      note.setAttribute("role", "alert");
      const field = form.querySelector(`[data-ask="${CSS.escape(fault.field)}"], [name="${CSS.escape(fault.field)}"]`);
      note.textContent = `${field ? "" : `${fault.field}: `}${fault.message} – ${fault.remedy}`;
      for (const one of field?.matches("fieldset") ? field.querySelectorAll("input") : field ? [field] : []) { one.setAttribute("aria-invalid", "true"); one.setAttribute("aria-describedby", note.id); }
      const place = field && (field.matches("fieldset") ? field : field.closest("label"));
      if (place) place.after(note); else form.prepend(note);
      const section = note.closest("details");
      if (section) section.open = true;
    }
  }

  /** Above the rows stands what they do not follow, with the way to its field. */
  function unused(list) {
    const line = document.querySelector("[data-unused]");
    if (!line) return;
    line.replaceChildren(...list.flatMap((fault) => {
      const one = document.createElement("span");
      one.append(t("Not used:"), " ", Object.assign(document.createElement("a"), { href: `#fault-${fault.field}`, textContent: fault.field }), ` ${fault.message}`);
      return [one, " "];
    }));
    line.hidden = list.length === 0;
  }

  function listed(found) {
    if (!chips) return;
    const names = { _q: t("Words"), _near: t("Place"), _in: t("Region"), _every: t("One row every") };
    chips.replaceChildren(...found.map((one) => {
      const link = Object.assign(document.createElement("a"), { href: `${here}?${one.address}`, title: t("Leave out") });
      link.dataset.name = one.name;
      const mark = Object.assign(document.createElement("span"), { textContent: "×", ariaHidden: "true" });
      link.append(Object.assign(document.createElement("span"), { textContent: names[one.name] ?? one.name }), ` ${one.when ? t(one.when === "day" ? "on {day}" : "in {month}", { day: one.value, month: one.value }) : one.value} `, mark);
      const item = document.createElement("li");
      item.append(link);
      return item;
    }));
    chips.hidden = found.length === 0;
  }

  async function check() {
    const now = workspace.search;
    if (now === asked) return;
    asked = now;
    const found = await workspace.ask(`${here}/count`, { pane: "form" }).catch(() => null);
    if (!found) return;
    workspace.counted = { search: now, total: found.total, exact: found.exact };
    faulted(found.faults);
    unused(found.faults);
    listed(found.asked);
    show(found);
    workspace.dispatchEvent(new Event("count"));
  }

  // a drawer that opens makes everything narrower: the form begins at its beginning again, unless somebody is in it
  let opened = workspace.selection.chosen;
  workspace.selection.addEventListener("change", (event) => {
    if (event.name !== "chosen") return;
    if (!opened && workspace.selection.chosen && !form.contains(document.activeElement)) form.scrollTop = 0;
    opened = workspace.selection.chosen;
  });

  state.addEventListener("change", check);
  return check();
}
