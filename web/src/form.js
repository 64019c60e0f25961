// The form of a search: what is written goes into the address at once, faults stand beside their fields, what is asked stands above the rows.
import { complete, places } from "./complete.js";
import { called, given } from "./conditions.js";
import { all, find, make, maybe, table, target } from "./dom.js";
/** @import {Chip, Count, Fault, Translate} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

/** @typedef {HTMLInputElement | HTMLSelectElement} Field */

const WAIT = 500; // milliseconds after a key
const KEPT = ["_cols", "_names", "_view", "lang"]; // are no part of a search

class Form {
  later = 0;
  /** @type {string | null} */
  asked = null;

  /**
   * @param {HTMLFormElement} form
   * @param {Workspace} workspace
   */
  constructor(form, workspace) {
    const { selection, state } = workspace;
    this.form = form;
    this.workspace = workspace;
    this.here = table(form);
    this.chips = maybe(document, "[data-chips]");
    this.opened = selection.chosen;
    find(form, ".actions button").hidden = true; // nothing is left to press: every change asks
    this.listen();
    for (const field of all(form, "[data-complete]", HTMLInputElement))
      complete(field, workspace, `${this.here}/facets`);
    for (const field of all(form, "[data-names]", HTMLInputElement)) {
      const radius = /** @type {HTMLInputElement} */ (this.part("_radius"));
      const units = /** @type {HTMLSelectElement} */ (this.part("_radius_unit"));
      places(field, radius, units, workspace, `${this.here}/names`);
    }
    selection.on("change", (event) => {
      if (event.name === "chosen") this.narrowed();
    });
    state.on("change", () => this.check());
  }

  listen() {
    const { form } = this;
    const { state } = this.workspace;
    form.addEventListener("input", (event) => {
      const field = /** @type {Field} */ (event.target);
      if (!field.name) return;
      clearTimeout(this.later);
      this.later = setTimeout(() => this.apply(field), WAIT);
    });
    form.addEventListener("change", (event) => {
      const field = /** @type {Field} */ (event.target);
      if (field.name) this.apply(field);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const field = /** @type {Field | null} */ (document.activeElement);
      if (field?.name) this.apply(field);
    });
    find(form, ".actions a").addEventListener("click", (event) => {
      event.preventDefault();
      const names = state.entries().map(([name]) => name);
      const each = this.part("_each");
      if (each) each.value = "";
      state.set(Object.fromEntries(names.filter((name) => !KEPT.includes(name)).map((name) => [name, null])));
    });
    this.chips?.addEventListener("click", (event) => {
      const link = target(event).closest("a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      state.set({ [link.dataset.name ?? ""]: null, _row: null });
    });
  }

  /**
   * @param {string} name
   * @returns {Field | null}
   */
  part(name) {
    return /** @type {Field | null} */ (this.form.elements.namedItem(name));
  }

  /** @param {Field} field */
  apply(field) {
    clearTimeout(this.later);
    this.asked = null;
    const box = /** @type {HTMLElement | null} */ (field.closest("[data-ask]"));
    const name = box?.dataset.ask ?? field.name;
    // a name of a field may come several times: its value is the field's own
    const value = (/** @type {string} */ one) =>
      (box || one !== field.name ? this.part(one)?.value : field.value)?.trim() ?? "";
    this.workspace.state.set({
      [name]: given(name, Boolean(box), value, box?.dataset.kind === "time") || null,
      _row: null,
    });
  }

  /**
   * @param {Field | null} field
   * @param {string} text
   */
  put(field, text) {
    if (!field || field === document.activeElement) return;
    if (field.closest("[data-ask]")?.contains(document.activeElement)) return;
    const lacks = field instanceof HTMLSelectElement && ![...field.options].some((one) => one.value === text);
    if (lacks) field.add(new Option(text, text));
    field.value = text;
  }

  /**
   * Write into the fields what the server read in the address.
   * @param {Count} found
   */
  show(found) {
    const { state } = this.workspace;
    for (const field of /** @type {Iterable<Field>} */ (this.form.elements)) {
      if (!field.name || field.type === "hidden" || field.name.startsWith("_") || field.closest("[data-ask]")) continue;
      this.put(field, state.all(field.name).join(","));
    }
    for (const box of all(this.form, "[data-ask][data-kind]")) this.parts(box, found);
    this.put(this.part("_q"), state.get("_q") ?? "");
    if (found.place) {
      this.put(this.part("_near"), found.place.centre);
      this.put(this.part("_radius"), found.place.size);
      this.put(this.part("_radius_unit"), found.place.unit);
      const note = maybe(this.form, "[data-found]");
      if (note) note.textContent = found.place.found;
    }
    const [length = "", each = ""] = found.every.split(",");
    if (found.faults.some((fault) => fault.field === "_every")) return;
    if (!this.part("_every")) return;
    this.put(this.part("_every"), length);
    if (length) this.put(this.part("_each"), each); // it may be chosen before the length is written
  }

  /**
   * Write the parts of a field.
   * @param {HTMLElement} box
   * @param {Count} found
   */
  parts(box, found) {
    const name = box.dataset.ask ?? "";
    const low = this.workspace.state.all(name).join(",");
    const parts = found.fields[name] ?? { low, high: "", unit: "", around: "" };
    this.put(this.part(name), parts.low);
    this.put(this.part(`_to.${name}`), parts.high);
    this.put(this.part(`_pm.${name}`), parts.around);
    const units = /** @type {HTMLSelectElement | null} */ (this.part(`_as.${name}`));
    if (!units) return;
    const first = units.options[0];
    const usual = box.dataset.kind === "time" ? "min" : low ? "" : (box.dataset.unit ?? "");
    this.put(
      units,
      parts.unit && parts.unit === (first.dataset.unit ?? first.text) ? first.value : parts.unit || usual,
    );
  }

  /** @param {Fault[]} list */
  faulted(list) {
    const { form } = this;
    for (const old of all(form, ".fault:not(.facets .fault)")) old.remove(); // the choices have faults of their own
    for (const field of form.elements) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
    const faults = Object.fromEntries(list.map((fault) => [fault.field, fault]));
    for (const fault of Object.values(faults)) this.fault(fault);
  }

  /** @param {Fault} fault */
  fault({ field: name, message, remedy }) {
    const { form } = this;
    const note = make("p", { className: "fault", id: `fault-${name}`, role: "alert" });
    const field = maybe(form, `[data-ask="${CSS.escape(name)}"], [name="${CSS.escape(name)}"]`);
    note.textContent = `${field ? "" : `${name}: `}${message} – ${remedy}`;
    const set = field?.matches("fieldset");
    for (const one of set && field ? all(field, "input") : field ? [field] : []) {
      one.setAttribute("aria-invalid", "true");
      one.setAttribute("aria-describedby", note.id);
    }
    const place = set ? field : field?.closest("label");
    if (place) place.after(note);
    else form.prepend(note);
    const section = note.closest("details");
    if (section) section.open = true;
  }

  async check() {
    const { workspace } = this;
    const now = workspace.search;
    if (now === this.asked) return;
    this.asked = now;
    /** @type {Count | null} */
    const found = await workspace.ask(`${this.here}/count`, { pane: "form" }).catch(() => null);
    if (!found) return;
    workspace.counted = { search: now, total: found.total, exact: found.exact, without: found.without };
    this.faulted(found.faults);
    unused(found.faults, workspace.t);
    if (this.chips) chips(this.chips, found.asked, this.here, workspace.t);
    this.show(found);
    workspace.tell("count", {});
  }

  /** A drawer that opens makes everything narrower: the form begins at its beginning again, unless somebody is in it. */
  narrowed() {
    const { chosen } = this.workspace.selection;
    if (!this.opened && chosen && !this.form.contains(document.activeElement)) this.form.scrollTop = 0;
    this.opened = chosen;
  }
}

/**
 * Above the rows stands what they do not follow, with the way to its field.
 * @param {Fault[]} list
 * @param {Translate} t
 */
function unused(list, t) {
  const line = maybe(document, "[data-unused]");
  if (!line) return;
  const notes = list.flatMap(({ field, message }) => {
    const link = make("a", { href: `#fault-${field}`, textContent: field });
    return [make("span", {}, t("Not used:"), " ", link, ` ${message}`), " "];
  });
  line.replaceChildren(...notes);
  line.hidden = list.length === 0;
}

/**
 * Above the rows stands what is asked; a click leaves it out.
 * @param {HTMLElement} place
 * @param {Chip[]} asked
 * @param {string} here
 * @param {Translate} t
 */
function chips(place, asked, here, t) {
  const entries = asked.map(({ name, label, value, address, when }) => {
    const said = when ? t(when === "day" ? "on {day}" : "in {month}", { day: value, month: value }) : value;
    const mark = make("span", { textContent: "×", ariaHidden: "true" });
    const link = make("a", { href: `${here}?${address}`, title: t("Leave out") });
    link.dataset.name = name;
    link.append(make("span", { textContent: called({ name, label }, t) }), ` ${said} `, mark);
    return make("li", {}, link);
  });
  place.replaceChildren(...entries);
  place.hidden = asked.length === 0;
}

/**
 * @param {HTMLFormElement} form
 * @param {Workspace} workspace
 */
export function mount(form, workspace) {
  return new Form(form, workspace).check();
}
