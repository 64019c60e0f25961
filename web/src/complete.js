// Completion of a field: from the values that there are, with their counts (what stands before the last comma stays), or from names of places.
const WAIT = 200; // milliseconds after a key

let number = 0;

/** Offer what `look(field)` gives, a list of {value, label}, under a field; it is asked again when `key(field)` has changed. */
function offered(field, key, look) {
  const list = Object.assign(document.createElement("datalist"), { id: `values-${++number}` });
  let later = null;
  let asked = null;

  async function fill() {
    const now = key();
    if (now === asked) return;
    asked = now;
    const found = await look().catch(() => []);
    if (now === asked) list.replaceChildren(...found.map((one) => Object.assign(document.createElement("option"), one)));
  }

  field.addEventListener("focus", () => { if (!list.isConnected) { field.after(list); field.setAttribute("list", list.id); } fill(); });
  field.addEventListener("input", () => { clearTimeout(later); later = setTimeout(fill, WAIT); });
}

/** Values of a column; `path` is asked with _of and _like, and tells `facets` as the panes know them. */
export function complete(field, workspace, path) {
  const last = () => field.value.lastIndexOf(",") + 1;
  const state = () => workspace.state.with({ _of: field.name, _like: field.value.slice(last()).trim() || null, _row: null, _sort: null, _cols: null });
  offered(field, () => String(state()), async () => {
    const before = field.value.slice(0, last());
    const found = await workspace.ask(path, { state: state(), pane: `complete ${field.name}` });
    const choices = (found.facets[0]?.choices ?? []).filter((one) => one.value);
    const counted = choices.some((one) => one.rows > 1); // names stand once each: nobody is told so of every one
    return choices.map((one) => {
      const value = /[,"*<>=!]|\.\./.test(one.value) ? `"${one.value}"` : one.value;
      const rows = one.rows === null || !counted ? "" : ` (${one.rows.toLocaleString(workspace.language)})`;
      return { value: before + value, label: `${one.label}${rows}` };
    });
  });
}

/** Names of places; a place that was chosen brings its size, if no radius was written. */
export function places(field, radius, units, workspace, path) {
  let sizes = new Map();
  const state = () => workspace.state.with({ _like: field.value.trim() || null, _near: null, _row: null, _sort: null, _cols: null });
  offered(field, () => String(state()), async () => {
    if (field.value.trim().length < 2) return [];
    const found = await workspace.ask(path, { state: state(), pane: "names" });
    sizes = new Map(found.names.map((one) => [one.value, one.radius]));
    return found.names.map((one) => ({ value: one.value, label: one.label }));
  });
  field.addEventListener("input", () => {
    const size = sizes.get(field.value);
    if (!size || radius.value) return;
    radius.value = String(size);
    units.value = "deg";
  });
}
