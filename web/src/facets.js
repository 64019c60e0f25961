// Facets: values with their counts. A click adds or removes a value; counts follow the other conditions.
import { findElements, createButton, requireElement, createElement, findElement, readTableUrl } from "./dom.js";
/** @import {Choice, Facet} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const KEY_DELAY_MILLISECONDS = 250;
// before facets that could not be counted are requested again; each further pause is twice as long
const FIRST_PAUSE_MILLISECONDS = 2000;
const MAX_PAUSE_MILLISECONDS = 60_000;
const SEARCH_ONLY = { _row: null, _panes: null, _sort: null, _cols: null };

/**
 * Format a value for a condition, in quotes if it would be parsed otherwise.
 * @param {string | null} value
 */
export function quoteValue(value) {
  if (value === null) return "null";
  const needsQuotes = /[,"*<>=!]|\.\.|^\s|\s$|^null$/i.test(value) || value === "";
  return needsQuotes ? `"${value.replaceAll('"', '""')}"` : value;
}

/** Split conditions into values at commas outside of quotes; a doubled quote is a literal one. */
const splitValues = (/** @type {string[]} */ conditions) => conditions.join(",").match(/"(?:[^"]|"")*"|[^,]+/g) ?? [];

const normalizeValue = (/** @type {string} */ text) => text.replace(/^"(.*)"$/, "$1").toLowerCase();

/**
 * Add a value to a condition, or remove it; null if nothing is left.
 * @param {string[]} conditions
 * @param {string | null} value
 * @param {boolean} isAdded
 */
export function toggleValue(conditions, value, isAdded) {
  const quotedValue = quoteValue(value);
  const values = splitValues(conditions).map((entry) => entry.trim());
  const otherValues = values.filter((entry) => entry && normalizeValue(entry) !== normalizeValue(quotedValue));
  return [...otherValues, ...(isAdded ? [quotedValue] : [])].join(",") || null;
}

/**
 * Return whether conditions consist only of listed choices.
 * @param {string[]} conditions
 * @param {Choice[]} choices
 */
export function areChoicesOnly(conditions, choices) {
  const choiceValues = choices.map((choice) => normalizeValue(quoteValue(choice.value)));
  return splitValues(conditions).every((value) => choiceValues.includes(normalizeValue(value.trim())));
}

/** The facets of a search, in their fields or in a list. */
class FacetPanel {
  /** The search text of each column.
   * @type {Map<string, string>} */
  searchTexts = new Map();
  /** @type {string | null} */
  drawnState = null;
  /** The choice that had the focus before the facets were redrawn.
   * @type {{column: string, value: string | undefined} | null} */
  lostFocus = null;

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    this.container = container;
    this.workspace = workspace;
    this.path = `${readTableUrl(container)}/facets`;
    this.root = /** @type {HTMLElement} */ (container.closest("form") ?? container);
    workspace.state.on("change", () => this.refresh());
  }

  /**
   * Fetch the facets, unless they are drawn.
   * @param {number} pause pause before the next attempt, if some facets are not counted
   */
  async refresh(pause = FIRST_PAUSE_MILLISECONDS) {
    const { container, workspace } = this;
    const state = String(workspace.state.withChanges({ ...SEARCH_ONLY, _view: null, _map: null, _plot: null }));
    if (state === this.drawnState) return;
    this.drawnState = state;
    let hasMissing;
    container.setAttribute("aria-busy", "true");
    try {
      /** @type {{facets: Facet[]}} */
      const { facets } = await workspace.fetchJson(this.path, { pane: "facets" });
      hasMissing = facets.some((facet) => !facet.counted);
      this.redraw(facets);
    } catch (/** @type {any} */ error) {
      hasMissing = error.status === 503;
      container.replaceChildren(createElement("p", { className: "fault", textContent: error.message }));
    } finally {
      container.removeAttribute("aria-busy");
    }
    if (hasMissing) setTimeout(() => this.retry(state, pause), pause);
  }

  /**
   * Request the facets again, unless the state has changed.
   * @param {string} state
   * @param {number} pause
   */
  retry(state, pause) {
    if (this.drawnState !== state || !this.container.isConnected) return;
    this.drawnState = null;
    this.refresh(Math.min(2 * pause, MAX_PAUSE_MILLISECONDS));
  }

  /**
   * Redraw all facets and keep the focus.
   * @param {Facet[]} facets
   */
  redraw(facets) {
    const focus = this.findFocus();
    this.placeFacets(facets.filter((facet) => facet.choices.length > 0));
    if (focus) this.restoreFocus(focus);
  }

  /**
   * Find the choice or the search field that has the focus.
   * @returns {{column: string, value: string | undefined, caret: number | null} | null}
   */
  findFocus() {
    const { activeElement } = document;
    const fieldset = /** @type {HTMLElement | null} */ (activeElement?.closest("[data-facet]") ?? null);
    if (!(activeElement instanceof HTMLInputElement) || !fieldset || !this.root.contains(fieldset)) return null;
    const caret = activeElement.type === "search" ? activeElement.selectionStart : null;
    return { column: fieldset.dataset.facet ?? "", value: activeElement.dataset.value, caret };
  }

  /**
   * Place each facet in its field or in the list.
   * @param {Facet[]} facets
   */
  placeFacets(facets) {
    const { container, root } = this;
    for (const element of findElements(root, ".in-field")) element.remove();
    for (const field of findElements(root, "[data-choices][hidden]")) field.hidden = false;
    container.replaceChildren(
      ...facets.filter((facet) => !this.findHomeField(facet)).map((facet) => this.createFieldset(facet)),
    );
    for (const facet of facets) this.placeInField(facet);
  }

  /**
   * Focus the choice or search field that had the focus.
   * @param {{column: string, value: string | undefined, caret: number | null}} where
   */
  restoreFocus({ column, value, caret }) {
    const fieldset = findElement(this.root, `[data-facet="${CSS.escape(column)}"]`);
    const fields = fieldset ? findElements(fieldset, "input", HTMLInputElement) : [];
    const searchInput = fields.find((field) => field.type === "search");
    const sameInput = fields.find((field) => field.dataset.value === value);
    // the focus returns when the value search has answered
    this.lostFocus = caret === null && !sameInput && searchInput?.value ? { column, value } : null;
    const target = caret === null ? (sameInput ?? searchInput ?? fields[0]) : searchInput;
    target?.focus({ preventScroll: true });
    if (caret !== null) target?.setSelectionRange(caret, caret);
  }

  /**
   * Find the field of the form that shows the choices of a column.
   * @param {Facet} facet
   */
  findHomeField({ column, field }) {
    return field ? findElement(this.root, `[data-choices="${CSS.escape(column)}"]`) : null;
  }

  /**
   * Show few choices in place of their field, unless it has another condition.
   * @param {Facet} facet
   */
  placeInField(facet) {
    const homeField = this.findHomeField(facet);
    if (!homeField) return;
    const fieldset = this.createFieldset(facet);
    fieldset.classList.add("in-field");
    fieldset.title = homeField.title;
    homeField.after(fieldset);
    homeField.hidden =
      areChoicesOnly(this.workspace.state.getAll(facet.column), facet.choices) &&
      !homeField.contains(document.activeElement);
    if (homeField.hidden) fieldset.append(this.createOpener(homeField));
  }

  /**
   * Create a button that shows the field behind the choices, for ranges and patterns.
   * @param {HTMLElement} homeField
   */
  createOpener(homeField) {
    const openField = () => {
      homeField.hidden = false;
      opener.hidden = true;
      requireElement(homeField, "input, select").focus();
    };
    const opener = createButton(this.workspace.t("enter a value"), openField, { className: "link" });
    return opener;
  }

  /** @param {Facet} facet */
  createFieldset(facet) {
    const fieldset = createElement("fieldset", {}, createElement("legend", { textContent: facet.label }));
    fieldset.dataset.facet = facet.column;
    this.drawChoices(fieldset, facet);
    if (facet.more || this.searchTexts.get(facet.column)) fieldset.append(this.createValueSearch(fieldset, facet));
    return fieldset;
  }

  /**
   * Create a field that searches values beyond the most frequent ones.
   * @param {HTMLElement} fieldset
   * @param {Facet} facet
   */
  createValueSearch(fieldset, facet) {
    const { searchTexts, workspace } = this;
    const { column } = facet;
    const placeholder = workspace.t("find other values");
    const field = createElement("input", { type: "search", placeholder, ariaLabel: `${facet.label}: ${placeholder}` });
    let timer = 0;
    const searchValues = async () => {
      const pattern = field.value.trim();
      if (pattern) searchTexts.set(column, field.value);
      else searchTexts.delete(column);
      const state = workspace.state.withChanges({ _of: column, _like: pattern || null, ...SEARCH_ONLY });
      const response = await workspace.fetchJson(this.path, { state, pane: `facet ${column}` }).catch(() => null);
      // keep the current choices; or the user typed on, and another response follows
      if (!response || pattern !== field.value.trim()) return;
      this.drawChoices(fieldset, pattern ? (response.facets[0] ?? { ...facet, choices: [] }) : facet);
    };
    field.value = searchTexts.get(column) ?? "";
    if (field.value) searchValues();
    field.addEventListener("input", () => {
      searchTexts.set(column, field.value); // at once: the facets may be redrawn before the request
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (field.isConnected) searchValues();
      }, KEY_DELAY_MILLISECONDS);
    });
    field.addEventListener("change", (event) => event.stopPropagation());
    return field;
  }

  /**
   * @param {HTMLElement} fieldset
   * @param {Facet} facet
   */
  drawChoices(fieldset, facet) {
    const { activeElement } = document;
    const checkbox =
      activeElement instanceof HTMLInputElement && fieldset.contains(activeElement) ? activeElement : null;
    const focusedValue = checkbox?.type === "checkbox" ? checkbox.dataset.value : null;
    for (const element of findElements(fieldset, ".choice")) element.remove();
    const field = findElement(fieldset, "input[type=search]"); // it stays in place and keeps the focus
    const maxRows = Math.max(...facet.choices.map((choice) => choice.rows ?? 0), 1);
    for (const choice of facet.choices) {
      const label = this.createChoice(facet, choice, maxRows);
      if (field) field.before(label);
      else fieldset.append(label);
      const value = choice.value ?? "";
      const isLost = this.lostFocus?.column === facet.column && this.lostFocus.value === value;
      if (focusedValue !== value && !isLost) continue;
      this.lostFocus = null;
      requireElement(label, "input").focus({ preventScroll: true });
    }
  }

  /**
   * @param {Facet} facet
   * @param {Choice} choice
   * @param {number} maxRows
   */
  createChoice({ column, exact }, choice, maxRows) {
    const { state, t } = this.workspace;
    const checkbox = createElement("input", { type: "checkbox", checked: choice.chosen });
    checkbox.dataset.value = choice.value ?? "";
    checkbox.addEventListener("change", () => {
      state.set({ [column]: toggleValue(state.getAll(column), choice.value, checkbox.checked), _row: null });
    });
    const label = choice.value === null ? t("no value") : choice.label || t("empty");
    const text = createElement("span", { className: "what", textContent: label });
    if (choice.rows === null) return createElement("label", { className: "choice" }, checkbox, text);
    const countText = `${exact ? "" : "~"}${this.workspace.formatNumber(choice.rows)}`;
    const bar = createElement("span", { className: "bar-of" });
    bar.style.width = `${Math.max((choice.rows / maxRows) * 100, 1)}%`;
    return createElement(
      "label",
      { className: "choice" },
      checkbox,
      text,
      createElement("span", { className: "n", textContent: countText }),
      bar,
    );
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  const facets = new FacetPanel(container, workspace);
  facets.redraw(JSON.parse(findElement(container, "script")?.textContent ?? "[]")); // counts follow
  return facets.refresh();
}
