// The layers of a map: each with its sign, whether it is shown, and how clearly; what the signs mean is read from it.
import { button, make, named } from "./dom.js";
/** @import {Layer, Translate} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

export const LISTED = 200; // rows that are listed under a point

/**
 * @param {Translate} t
 * @param {Layer[]} list
 */
export function layers(t, list) {
  const lines = list.map((one) => line(t, one));
  const table = make("ul", {}, ...lines);
  return make("details", { className: "layers" }, make("summary", { textContent: t("Layers") }), table);
}

/**
 * @param {Translate} t
 * @param {Layer} layer
 */
function line(t, { name, sign: kind = "", colour, on = true, opacity = 1, told, choice, set }) {
  const tick = make("input", { type: "checkbox", checked: on });
  const sign = make("span", { className: `sign ${kind}` });
  if (colour) sign.style.setProperty("--sign", colour);
  const value = String(Math.round(opacity * 100));
  const label = t("Opacity of {name}", { name });
  const clear = make("input", { type: "range", min: "5", max: "100", step: "5", value, "aria-label": label });
  const act = () => {
    clear.disabled = !tick.checked;
    set(tick.checked, Number(clear.value) / 100);
  };
  tick.addEventListener("change", act);
  clear.addEventListener("input", act);
  const made = make("li", {}, make("label", {}, tick, sign, name), clear);
  if (told) made.append(make("small", { className: "soft", textContent: told }));
  if (choice) made.append(choice);
  return made;
}

/**
 * Say how many rows a map has; files, where those are not the lines of the page.
 * @param {{total: number, shown: number, cells: boolean, files?: boolean | undefined}} found `shown`: that are drawn; `cells`: as counts
 * @param {Pick<Workspace, "number" | "t">} workspace
 */
export function counted({ total, shown, cells, files }, workspace) {
  const { t } = workspace;
  const said = { total: workspace.number(total), shown: workspace.number(shown) };
  if (cells) return files ? t("{total} files in view, as counts of cells", said) : t("{total} rows in view, as counts of cells", said); // prettier-ignore
  if (total === 1) return files ? t("1 file") : t("1 row");
  if (shown < total)
    return files ? t("{total} files, {shown} of them drawn", said) : t("{total} rows, {shown} of them drawn", said);
  return files ? t("{total} files in view", said) : t("{total} rows in view", said);
}

/**
 * List the rows that lie one over another: pointing at one lights it up, choosing one opens it.
 * @param {HTMLElement} place
 * @param {string[]} found keys of the rows
 * @param {Workspace} workspace
 * @param {number[] | null} [at] longitude and latitude, of rows that have footprints
 * @param {Map<string, string>} [names] what rows are called; those that have no name, or one name for several, are told by their keys
 */
export function under(place, found, workspace, at = null, names = new Map()) {
  const { selection, t } = workspace;
  place.replaceChildren();
  const keys = found.slice(0, LISTED);
  if (keys.length < 2 && !at) return;
  const shared = [...names.values()];
  const told = (/** @type {string} */ key) => {
    const name = names.get(key);
    if (!name) return named(key);
    return shared.indexOf(name) === shared.lastIndexOf(name) ? name : `${name} (${named(key)})`;
  };
  const entries = keys.map((key) => {
    const made = button(told(key), () => workspace.choose(key), { className: "link" });
    made.addEventListener("pointerenter", () => selection.set("hover", key));
    made.addEventListener("focus", () => selection.set("hover", key));
    return make("li", {}, made);
  });
  const close = button(t("Close"), () => {
    place.replaceChildren();
    selection.set("hover", null);
  });
  const said = make("b", { textContent: t("{count} rows under this point", { count: found.length }) });
  // what is drawn may be a part of what there is
  const whole = () =>
    workspace.state.set({ _in: `POINT ${at?.map((one) => one.toFixed(6)).join(" ")}`, _near: null, _row: null });
  const every = at ? [" ", button(t("All rows whose footprint holds this point"), whole, { className: "link" })] : [];
  place.append(make("p", { className: "bar" }, said, ...every, " ", close), make("ul", {}, ...entries));
}
