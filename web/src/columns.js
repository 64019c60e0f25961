// Which columns are shown, in which order and units: the form of the server, changed at once and with the order in one's own hands.
import { all, button, find, make } from "./dom.js";
/** @import {Translate} from "./answers.js" */
/** @import {State, Workspace} from "./workspace.js" */

/**
 * Give what the form asks for; null: no column is left, which is nothing to ask.
 * @param {{value: string, checked: boolean}[]} ticks
 * @param {{name: string, value: string}[]} units
 */
export function asked(ticks, units) {
  const names = ticks.filter((one) => one.checked).map((one) => one.value);
  if (!names.length) return null;
  return { _cols: names.join(","), ...Object.fromEntries(units.map((one) => [one.name, one.value || null])) };
}

/**
 * Give the columns that an address shows.
 * @param {Pick<State, "get" | "has">} state
 * @param {string[]} usual
 */
export function shown(state, usual) {
  const cols = (state.get("_cols") ?? "").split(",").filter(Boolean);
  return cols.length ? cols : state.has("_cols") ? [] : usual;
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, { state, t }) {
  const form = find(box, "[data-columns]");
  const lines = all(form, ".tickable");
  const ticks = () => all(form, ".tickable input", HTMLInputElement);
  const units = () => all(form, "select", HTMLSelectElement);
  const apply = () => {
    const changes = asked(ticks(), units());
    if (changes) state.set(changes);
  };
  const usual = ticks()
    .filter((one) => one.defaultChecked)
    .map((one) => one.value);
  find(form, ".actions").remove();
  const names = find(form, "[data-names]", HTMLAnchorElement);
  names.addEventListener("click", () => (names.search = String(state.with({ _names: names.dataset.names || null }))));

  const wanted = finder(lines, t);
  const main = button(t("Main columns"), () => state.set({ _cols: null }), { className: "link" });
  const listed = lines.map((one) => find(one, "input", HTMLInputElement).value);
  const every = button(t("All columns"), () => state.set({ _cols: listed.join(",") }), { className: "link" });
  form.prepend(wanted, make("p", { className: "bar" }, main, " ", every));
  for (const line of lines)
    line.append(mover(line, t("Up one"), "↑", -1, apply), mover(line, t("Down one"), "↓", 1, apply));

  form.addEventListener("change", (event) => {
    if (event.target !== wanted) apply();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    apply();
  });
  state.on("change", () => {
    const now = shown(state, usual);
    for (const line of lines) {
      const tick = find(line, "input", HTMLInputElement);
      tick.checked = now.includes(tick.value);
    }
    for (const select of units()) select.value = state.get(select.name) ?? "";
  });
}

/**
 * Make a field that leaves the lines with what is written in it.
 * @param {HTMLElement[]} lines
 * @param {Translate} t
 */
function finder(lines, t) {
  const text = t("Find a column");
  const made = make("input", { type: "search", className: "find", placeholder: text, "aria-label": text });
  made.addEventListener("input", () => {
    const wanted = made.value.trim().toLowerCase();
    for (const one of lines) one.hidden = wanted !== "" && !one.textContent?.toLowerCase().includes(wanted);
  });
  return made;
}

/**
 * Make a button that moves a line up or down.
 * @param {HTMLElement} line
 * @param {string} title
 * @param {string} sign
 * @param {number} step
 * @param {() => void} apply
 */
function mover(line, title, sign, step, apply) {
  const name = find(line, "label").textContent?.trim();
  const made = button(sign, act, { className: "step", title, "aria-label": `${title}: ${name}` });
  function act() {
    const other = step < 0 ? line.previousElementSibling : line.nextElementSibling;
    if (!other?.matches(".tickable")) return;
    if (step < 0) other.before(line);
    else other.after(line);
    made.focus();
    apply();
  }
  return made;
}
