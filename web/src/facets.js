// Choices with their counts: a click adds or takes away a value; the counts follow everything else that is asked.
export function mount(box, workspace) {
  const { state, t } = workspace;
  const here = box.closest("[data-here]").dataset.here;
  const looked = new Map(); // column -> what is written in its field
  let drawn = null;
  let lost = null; // the choice that had the focus before everything was drawn anew

  async function draw() {
    const now = String(state.with({ _row: null, _sort: null, _cols: null, _view: null, _map: null, _plot: null }));
    if (now === drawn) return;
    drawn = now;
    box.setAttribute("aria-busy", "true");
    try {
      const { facets } = await workspace.ask(`${here}/facets`, { pane: "facets" });
      const held = box.contains(document.activeElement) ? document.activeElement : null;
      const [at, value, caret] = [held?.closest("[data-facet]")?.dataset.facet, held?.dataset.value, held?.type === "search" ? held.selectionStart : null];
      box.replaceChildren(...facets.filter((one) => one.choices.length > 0).map(group));
      if (at === undefined) return;
      const fields = [...(box.querySelector(`[data-facet="${CSS.escape(at)}"]`)?.querySelectorAll("input") ?? [])];
      const search = fields.find((one) => one.type === "search");
      const same = fields.find((one) => one.dataset.value === value);
      const again = caret === null ? same ?? search ?? fields[0] : search;
      lost = caret === null && !same && search?.value ? { column: at, value } : null; // it comes with what is looked for
      again?.focus({ preventScroll: true });
      if (caret !== null) again?.setSelectionRange(caret, caret);
    } catch (error) {
      box.replaceChildren(Object.assign(document.createElement("p"), { className: "fault", textContent: error.message }));
    } finally {
      box.removeAttribute("aria-busy");
    }
  }

  function group(facet) {
    const set = document.createElement("fieldset");
    set.dataset.facet = facet.column;
    set.append(Object.assign(document.createElement("legend"), { textContent: facet.label }));
    choices(set, facet);
    if (facet.more || looked.get(facet.column)) set.append(finder(set, facet));
    return set;
  }

  /** A field that looks for values beyond the most frequent ones. */
  function finder(set, facet) {
    const field = Object.assign(document.createElement("input"), { type: "search", placeholder: t("look for others"), ariaLabel: `${facet.label}: ${t("look for others")}` });
    let later = null;
    async function find() {
      const like = field.value.trim();
      if (like) looked.set(facet.column, field.value); else looked.delete(facet.column);
      const found = await workspace.ask(`${here}/facets`, { state: state.with({ _of: facet.column, _like: like || null, _row: null, _sort: null, _cols: null }), pane: `facet ${facet.column}` }).catch(() => null);
      if (!found || like !== field.value.trim()) return; // it keeps the choices that are there; or somebody wrote on: that answer comes, too
      choices(set, like ? found.facets[0] ?? { ...facet, choices: [] } : facet);
    }
    field.value = looked.get(facet.column) ?? "";
    if (field.value) find();
    field.addEventListener("input", () => {
      looked.set(facet.column, field.value); // at once: everything may be drawn anew before it is asked for
      clearTimeout(later);
      later = setTimeout(() => { if (field.isConnected) find(); }, 250); // a field that was drawn anew has asked itself
    });
    field.addEventListener("change", (event) => event.stopPropagation());
    return field;
  }

  function choices(set, facet) {
    const held = set.contains(document.activeElement) && document.activeElement.type === "checkbox" ? document.activeElement.dataset.value : null;
    for (const old of set.querySelectorAll(".choice")) old.remove();
    const field = set.querySelector("input[type=search]"); // stays where it is, and keeps the focus
    const most = Math.max(...facet.choices.map((one) => one.rows), 1);
    for (const choice of facet.choices) {
      const label = Object.assign(document.createElement("label"), { className: "choice" });
      const tick = Object.assign(document.createElement("input"), { type: "checkbox", checked: choice.chosen });
      tick.dataset.value = choice.value ?? "";
      tick.addEventListener("change", () => choose(facet, choice, tick.checked));
      const bar = Object.assign(document.createElement("span"), { className: "bar-of" });
      bar.style.width = `${Math.max((choice.rows / most) * 100, 1)}%`;
      const count = Object.assign(document.createElement("span"), { className: "n", textContent: `${facet.exact ? "" : "~"}${choice.rows.toLocaleString(workspace.language)}` });
      label.append(tick, Object.assign(document.createElement("span"), { className: "what", textContent: choice.value === null ? t("no value") : choice.label || t("empty") }), count, bar);
      if (field) field.before(label); else set.append(label);
      if (held === tick.dataset.value || (lost?.column === facet.column && lost.value === tick.dataset.value)) { lost = null; tick.focus({ preventScroll: true }); }
    }
  }

  function choose(facet, choice, on) {
    const mine = quoted(choice.value);
    const others = (state.all(facet.column).join(",").match(/"[^"]*"|[^,]+/g) ?? []).map((one) => one.trim()).filter((one) => one && plain(one) !== plain(mine));
    state.set({ [facet.column]: [...others, ...(on ? [mine] : [])].join(",") || null, _row: null });
  }

  const plain = (text) => text.replace(/^"(.*)"$/, "$1").toLowerCase();

  function quoted(value) {
    if (value === null) return "null";
    return /[,"*<>=!]|\.\.|^\s|\s$|^null$/.test(value) || value === "" ? `"${value}"` : value;
  }

  state.addEventListener("change", draw);
  return draw();
}
