// Suggestions for form fields: values of a column with their counts, or names of places.
import { createElement } from "./dom.js";
/** @import {Choice} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const KEY_DELAY_MILLISECONDS = 200;
const SEARCH_ONLY = { _row: null, _panes: null, _sort: null, _cols: null };

/** @typedef {{value: string, label: string}} Suggestion */

let listCount = 0;

/**
 * Attach suggestions to a field; they are fetched again when the key changes.
 * @param {HTMLInputElement} field
 * @param {() => string} getKey
 * @param {() => Promise<Suggestion[]>} fetchSuggestions
 */
function attachSuggestions(field, getKey, fetchSuggestions) {
  const list = createElement("datalist", { id: `values-${++listCount}` });
  let timer = 0;
  /** @type {string | null} */
  let lastKey = null;

  async function fillList() {
    const key = getKey();
    if (key === lastKey) return;
    lastKey = key;
    const suggestions = await fetchSuggestions().catch(() => []);
    if (key === lastKey) list.replaceChildren(...suggestions.map((suggestion) => createElement("option", suggestion)));
  }

  field.addEventListener("focus", () => {
    if (!list.isConnected) {
      field.after(list);
      field.setAttribute("list", list.id);
    }
    fillList();
  });
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(fillList, KEY_DELAY_MILLISECONDS);
  });
}

/**
 * List suggestions of a column's values. A prefix keeps the text before the last comma.
 * @param {Choice[]} choices
 * @param {string} prefix
 * @param {(value: number) => string} formatCount
 * @returns {Suggestion[]}
 */
export function listValueSuggestions(choices, prefix, formatCount) {
  const namedChoices = choices.filter((choice) => choice.value);
  // if all values occur once, counts say nothing
  const hasSeveral = namedChoices.some((choice) => (choice.rows ?? 0) > 1);
  return namedChoices.map(({ value, label, rows }) => ({
    value: `${prefix}${/[,"*<>=!]|\.\./.test(value ?? "") ? `"${value}"` : value}`,
    label: `${label}${rows === null || !hasSeveral ? "" : ` (${formatCount(rows)})`}`,
  }));
}

/**
 * Suggest values of a column; `path` is the address of its facets.
 * @param {HTMLInputElement} field
 * @param {Workspace} workspace
 * @param {string} path
 */
export function completeValues(field, workspace, path) {
  const findLastStart = () => field.value.lastIndexOf(",") + 1;
  const readPattern = () => field.value.slice(findLastStart()).trim() || null;
  const buildState = () => workspace.state.withChanges({ _of: field.name, _like: readPattern(), ...SEARCH_ONLY });
  const fetchValues = async () => {
    const prefix = field.value.slice(0, findLastStart());
    const response = await workspace.fetchJson(path, { state: buildState(), pane: `complete ${field.name}` });
    return listValueSuggestions(
      response.facets[0]?.choices ?? [],
      prefix,
      (rows) => `${response.facets[0].exact ? "" : "~"}${workspace.formatNumber(rows)}`,
    );
  };
  attachSuggestions(field, () => String(buildState()), fetchValues);
}

/**
 * Suggest names of places; a chosen place sets the radius unless the user entered one.
 * @param {HTMLInputElement} field
 * @param {HTMLInputElement} radius
 * @param {HTMLSelectElement} units
 * @param {Workspace} workspace
 * @param {string} path
 */
export function completePlaces(field, radius, units, workspace, path) {
  /** @type {Map<string, number | null>} */
  let sizes = new Map();
  const buildState = () =>
    workspace.state.withChanges({ _like: field.value.trim() || null, _near: null, ...SEARCH_ONLY });
  const fetchPlaces = async () => {
    if (field.value.trim().length < 2) return [];
    /** @type {{names: {value: string, label: string, radius: number | null}[]}} */
    const response = await workspace.fetchJson(path, { state: buildState(), pane: "names" });
    sizes = new Map(response.names.map((place) => [place.value, place.radius]));
    return response.names.map((place) => ({ value: place.value, label: place.label }));
  };
  attachSuggestions(field, () => String(buildState()), fetchPlaces);
  field.addEventListener("input", () => {
    const size = sizes.get(field.value);
    if (!size || radius.value) return;
    radius.value = String(size);
    units.value = "deg";
  });
}
