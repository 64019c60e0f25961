// The search form: every change goes into the address at once; faults are shown at their fields, conditions above the
// rows.
import { completeValues, completePlaces } from "./completion.js";
import { getConditionLabel, readFieldCondition } from "./conditions.js";
import {
  findElements,
  requireElement,
  createElement,
  findElement,
  readTableUrl,
  getEventTarget,
  describeError,
} from "./dom.js";
/** @import {Chip, Count, Fault, Translate} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

/** @typedef {HTMLInputElement | HTMLSelectElement} Field */

const KEY_DELAY_MILLISECONDS = 500;
const DISPLAY_PARAMETERS = ["_cols", "_names", "_view", "lang"]; // not part of a search

/** The search form of a table. */
class SearchForm {
  timer = 0;
  /** @type {string | null} */
  lastSearch = null;

  /**
   * @param {HTMLFormElement} form
   * @param {Workspace} workspace
   */
  constructor(form, workspace) {
    const { selection, state } = workspace;
    this.form = form;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(form);
    this.chipsElement = findElement(document, "[data-chips]");
    this.previouslyChosen = selection.chosen;
    requireElement(form, ".actions button").hidden = true; // not needed: every change is applied at once
    this.listen();
    for (const field of findElements(form, "[data-complete]", HTMLInputElement))
      completeValues(field, workspace, `${this.tableUrl}/facets`);
    for (const field of findElements(form, "[data-names]", HTMLInputElement)) {
      const radius = /** @type {HTMLInputElement} */ (this.getField("_radius"));
      const units = /** @type {HTMLSelectElement} */ (this.getField("_radius_unit"));
      completePlaces(field, radius, units, workspace, `${this.tableUrl}/names`);
    }
    selection.on("change", (event) => {
      if (event.name === "chosen") this.handleChoice();
    });
    state.on("change", () => this.refreshCount());
  }

  listen() {
    const { form } = this;
    const { state } = this.workspace;
    form.addEventListener("input", (event) => {
      const field = /** @type {Field} */ (event.target);
      if (!field.name) return;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.applyField(field), KEY_DELAY_MILLISECONDS);
    });
    form.addEventListener("change", (event) => {
      const field = /** @type {Field} */ (event.target);
      if (field.name) this.applyField(field);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const field = /** @type {Field | null} */ (document.activeElement);
      if (field?.name) this.applyField(field);
    });
    requireElement(form, ".actions a").addEventListener("click", (event) => {
      event.preventDefault();
      const names = state.entries().map(([name]) => name);
      const eachField = this.getField("_each");
      if (eachField) eachField.value = "";
      state.set(
        Object.fromEntries(names.filter((name) => !DISPLAY_PARAMETERS.includes(name)).map((name) => [name, null])),
      );
    });
    this.chipsElement?.addEventListener("click", (event) => {
      const link = getEventTarget(event).closest("a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      state.set({ [link.dataset.name ?? ""]: null, _row: null });
    });
  }

  /**
   * Return a field of the form by its name.
   * @param {string} name
   * @returns {Field | null}
   */
  getField(name) {
    return /** @type {Field | null} */ (this.form.elements.namedItem(name));
  }

  /**
   * Write the condition of a field into the address.
   * @param {Field} field
   */
  applyField(field) {
    clearTimeout(this.timer);
    this.lastSearch = null;
    const container = /** @type {HTMLElement | null} */ (field.closest("[data-ask]"));
    const name = container?.dataset.ask ?? field.name;
    // several fields may share the name: use the value of this one
    const readValue = (/** @type {string} */ partName) =>
      (container || partName !== field.name ? this.getField(partName)?.value : field.value)?.trim() ?? "";
    this.workspace.state.set({
      [name]: readFieldCondition(name, Boolean(container), readValue, container?.dataset.kind === "time") || null,
      _row: null,
    });
  }

  /**
   * Set the value of a field, unless the user is in it.
   * @param {Field | null} field
   * @param {string} text
   */
  setFieldValue(field, text) {
    if (!field || field === document.activeElement) return;
    if (field.closest("[data-ask]")?.contains(document.activeElement)) return;
    const isMissing = field instanceof HTMLSelectElement && ![...field.options].some((option) => option.value === text);
    if (isMissing) field.add(new Option(text, text));
    field.value = text;
  }

  /**
   * Fill the fields with the server's reading of the address.
   * @param {Count} count
   */
  fillFields(count) {
    const { state } = this.workspace;
    for (const field of /** @type {Iterable<Field>} */ (this.form.elements)) {
      if (!field.name || field.type === "hidden" || field.name.startsWith("_") || field.closest("[data-ask]")) continue;
      this.setFieldValue(field, state.getAll(field.name).join(","));
    }
    for (const container of findElements(this.form, "[data-ask][data-kind]")) this.fillParts(container, count);
    this.setFieldValue(this.getField("_q"), state.get("_q") ?? "");
    if (count.place) {
      this.setFieldValue(this.getField("_near"), count.place.centre);
      this.setFieldValue(this.getField("_radius"), count.place.size);
      this.setFieldValue(this.getField("_radius_unit"), count.place.unit);
      const note = findElement(this.form, "[data-found]");
      if (note) note.textContent = count.place.found;
    }
    const [length = "", each = ""] = count.every.split(",");
    if (count.faults.some((fault) => fault.field === "_every")) return;
    if (!this.getField("_every")) return;
    this.setFieldValue(this.getField("_every"), length);
    if (length) this.setFieldValue(this.getField("_each"), each); // the user may choose it before entering the length
  }

  /**
   * Fill the parts of a field.
   * @param {HTMLElement} container
   * @param {Count} count
   */
  fillParts(container, count) {
    const parameter = container.dataset.ask ?? "";
    const low = this.workspace.state.getAll(parameter).join(",");
    const conditionParts = count.fields[parameter] ?? { low, high: "", unit: "", around: "" };
    this.setFieldValue(this.getField(parameter), conditionParts.low);
    this.setFieldValue(this.getField(`_to.${parameter}`), conditionParts.high);
    this.setFieldValue(this.getField(`_pm.${parameter}`), conditionParts.around);
    const units = /** @type {HTMLSelectElement | null} */ (this.getField(`_as.${parameter}`));
    if (!units) return;
    const firstOption = units.options[0];
    let defaultUnit = low ? "" : (container.dataset.unit ?? "");
    if (container.dataset.kind === "time") defaultUnit = "min";
    this.setFieldValue(
      units,
      conditionParts.unit && conditionParts.unit === (firstOption.dataset.unit ?? firstOption.text)
        ? firstOption.value
        : conditionParts.unit || defaultUnit,
    );
  }

  /**
   * Show the faults at their fields.
   * @param {Fault[]} faultList
   */
  showFaults(faultList) {
    const { form } = this;
    // facets have faults of their own
    for (const faultElement of findElements(form, ".fault:not(.facets .fault)")) faultElement.remove();
    for (const field of form.elements) {
      field.removeAttribute("aria-invalid");
      field.removeAttribute("aria-describedby");
    }
    const faultsByField = Object.fromEntries(faultList.map((fault) => [fault.field, fault]));
    for (const fault of Object.values(faultsByField)) this.showFault(fault);
  }

  /** @param {Fault} fault */
  showFault({ field: name, message, remedy }) {
    const { form } = this;
    const note = createElement("p", { className: "fault", id: `fault-${name}`, role: "alert" });
    const field = findElement(form, `[data-ask="${CSS.escape(name)}"], [name="${CSS.escape(name)}"]`);
    note.textContent = `${field ? "" : `${name}: `}${describeError({ message, remedy })}`;
    const isFieldset = field?.matches("fieldset");
    const inputs = isFieldset && field ? findElements(field, "input") : [field];
    for (const input of inputs) {
      if (!input) continue;
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", note.id);
    }
    const anchor = isFieldset ? field : field?.closest("label");
    if (anchor) anchor.after(note);
    else form.prepend(note);
    const section = note.closest("details");
    if (section) section.open = true;
  }

  /** Fetch the number of rows and the faults of the search. */
  async refreshCount() {
    const { workspace } = this;
    const search = workspace.search;
    if (search === this.lastSearch) return;
    this.lastSearch = search;
    /** @type {Count | null} */
    const count = await workspace.fetchJson(`${this.tableUrl}/count`, { pane: "form" }).catch(() => null);
    if (!count) return;
    workspace.lastCount = { search, total: count.total, exact: count.exact, without: count.without };
    this.showFaults(count.faults);
    showUnusedConditions(count.faults, workspace.t);
    if (this.chipsElement) showConditionChips(this.chipsElement, count.asked, this.tableUrl, workspace.t);
    this.fillFields(count);
    workspace.emit("count", {});
  }

  /** Scroll the form back to its top when the row panel opens, unless the user is in the form. */
  handleChoice() {
    const { chosen } = this.workspace.selection;
    if (!this.previouslyChosen && chosen && !this.form.contains(document.activeElement)) this.form.scrollTop = 0;
    this.previouslyChosen = chosen;
  }
}

/**
 * List the conditions that the rows ignore, with links to their fields.
 * @param {Fault[]} faults
 * @param {Translate} t
 */
function showUnusedConditions(faults, t) {
  const line = findElement(document, "[data-unused]");
  if (!line) return;
  const notes = faults.flatMap(({ field, message }) => {
    const link = createElement("a", { href: `#fault-${field}`, textContent: field });
    return [createElement("span", {}, t("Not used:"), " ", link, ` ${message}`), " "];
  });
  line.replaceChildren(...notes);
  line.hidden = faults.length === 0;
}

/**
 * Show the conditions above the rows; a click removes one.
 * @param {HTMLElement} element
 * @param {Chip[]} chips
 * @param {string} tableUrl
 * @param {Translate} t
 */
function showConditionChips(element, chips, tableUrl, t) {
  const entries = chips.map(({ name, label, value, address, when }) => {
    const valueText = when ? t(when === "day" ? "on {day}" : "in {month}", { day: value, month: value }) : value;
    const cross = createElement("span", { textContent: "×", ariaHidden: "true" });
    const link = createElement("a", { href: `${tableUrl}?${address}`, title: t("Leave out") });
    link.dataset.name = name;
    link.append(createElement("span", { textContent: getConditionLabel({ name, label }, t) }), ` ${valueText} `, cross);
    return createElement("li", {}, link);
  });
  element.replaceChildren(...entries);
  element.hidden = chips.length === 0;
}

/**
 * @param {HTMLFormElement} form
 * @param {Workspace} workspace
 */
export function mount(form, workspace) {
  return new SearchForm(form, workspace).refreshCount();
}
