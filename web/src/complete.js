// Completion of a field: from the values that there are, with their counts (what stands before the last comma stays), or from names of places.
import { make } from "./dom.js";
/** @import {Choice} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const WAIT = 200; // milliseconds after a key
const ALONE = { _row: null, _sort: null, _cols: null };

/** @typedef {{value: string, label: string}} Offer */

let number = 0;

/**
 * Offer what `look` gives under a field; it is asked again when `key` has changed.
 * @param {HTMLInputElement} field
 * @param {() => string} key
 * @param {() => Promise<Offer[]>} look
 */
function offered(field, key, look) {
  const list = make("datalist", { id: `values-${++number}` });
  let later = 0;
  /** @type {string | null} */
  let asked = null;

  async function fill() {
    const now = key();
    if (now === asked) return;
    asked = now;
    const found = await look().catch(() => []);
    if (now === asked) list.replaceChildren(...found.map((one) => make("option", one)));
  }

  field.addEventListener("focus", () => {
    if (!list.isConnected) {
      field.after(list);
      field.setAttribute("list", list.id);
    }
    fill();
  });
  field.addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(fill, WAIT);
  });
}

/**
 * Give what is offered of a column's values, behind what stands in the field already.
 * @param {Choice[]} choices
 * @param {string} before
 * @param {(value: number) => string} counted
 * @returns {Offer[]}
 */
export function values(choices, before, counted) {
  const given = choices.filter((one) => one.value);
  const several = given.some((one) => (one.rows ?? 0) > 1); // names stand once each: nobody is told so of every one
  return given.map(({ value, label, rows }) => ({
    value: `${before}${/[,"*<>=!]|\.\./.test(value ?? "") ? `"${value}"` : value}`,
    label: `${label}${rows === null || !several ? "" : ` (${counted(rows)})`}`,
  }));
}

/**
 * Values of a column; `path` is asked with _of and _like, and tells `facets` as the panes know them.
 * @param {HTMLInputElement} field
 * @param {Workspace} workspace
 * @param {string} path
 */
export function complete(field, workspace, path) {
  const last = () => field.value.lastIndexOf(",") + 1;
  const like = () => field.value.slice(last()).trim() || null;
  const state = () => workspace.state.with({ _of: field.name, _like: like(), ...ALONE });
  const look = async () => {
    const before = field.value.slice(0, last());
    const found = await workspace.ask(path, { state: state(), pane: `complete ${field.name}` });
    return values(
      found.facets[0]?.choices ?? [],
      before,
      (rows) => `${found.facets[0].exact ? "" : "~"}${workspace.number(rows)}`,
    );
  };
  offered(field, () => String(state()), look);
}

/**
 * Names of places; a place that was chosen brings its size, if no radius was written.
 * @param {HTMLInputElement} field
 * @param {HTMLInputElement} radius
 * @param {HTMLSelectElement} units
 * @param {Workspace} workspace
 * @param {string} path
 */
export function places(field, radius, units, workspace, path) {
  /** @type {Map<string, number | null>} */
  let sizes = new Map();
  const state = () => workspace.state.with({ _like: field.value.trim() || null, _near: null, ...ALONE });
  const look = async () => {
    if (field.value.trim().length < 2) return [];
    /** @type {{names: {value: string, label: string, radius: number | null}[]}} */
    const found = await workspace.ask(path, { state: state(), pane: "names" });
    sizes = new Map(found.names.map((one) => [one.value, one.radius]));
    return found.names.map((one) => ({ value: one.value, label: one.label }));
  };
  offered(field, () => String(state()), look);
  field.addEventListener("input", () => {
    const size = sizes.get(field.value);
    if (!size || radius.value) return;
    radius.value = String(size);
    units.value = "deg";
  });
}
