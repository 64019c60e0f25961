// Which columns are shown, in which order and units: the form of the server, changed at once and with the order in one's own hands.
export function mount(box, workspace) {
  const { state, t } = workspace;
  const form = box.querySelector("[data-columns]");
  const lines = [...form.querySelectorAll(".tickable")];
  form.querySelector(".actions").remove();

  const find = Object.assign(document.createElement("input"), { type: "search", className: "find" });
  find.setAttribute("aria-label", t("Find a column"));
  find.placeholder = t("Find a column");
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    for (const one of lines) one.hidden = wanted !== "" && !one.textContent.toLowerCase().includes(wanted);
  });
  const usual = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: t("Main columns") });
  usual.addEventListener("click", () => state.set({ _cols: null }));
  const every = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: t("All columns") });
  every.addEventListener("click", () => state.set({ _cols: lines.map((one) => one.querySelector("input").value).join(",") }));
  const top = Object.assign(document.createElement("p"), { className: "bar" });
  top.append(usual, " ", every);
  form.prepend(find, top);

  for (const one of lines) {
    const name = one.querySelector("label").textContent.trim();
    for (const [text, sign, step] of [[t("Up one"), "↑", -1], [t("Down one"), "↓", 1]]) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "step", textContent: sign, title: text });
      button.setAttribute("aria-label", `${text}: ${name}`);
      button.addEventListener("click", () => {
        const other = step < 0 ? one.previousElementSibling : one.nextElementSibling;
        if (!other?.matches(".tickable")) return;
        if (step < 0) other.before(one); else other.after(one);
        button.focus();
        apply();
      });
      one.append(button);
    }
  }

  function apply() {
    const inputs = [...form.querySelectorAll(".tickable input")];
    const shown = inputs.filter((input) => input.checked).map((input) => input.value);
    if (!shown.length) return;
    const changes = { _cols: shown.join(",") };
    for (const select of form.querySelectorAll("select")) changes[select.name] = select.value || null;
    state.set(changes);
  }

  form.addEventListener("change", (event) => { if (event.target !== find) apply(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); apply(); });

  const usually = lines.map((one) => one.querySelector("input")).filter((input) => input.defaultChecked).map((input) => input.value);
  state.addEventListener("change", () => {
    const cols = (state.get("_cols") ?? "").split(",").filter(Boolean);
    const shown = cols.length ? cols : state.has("_cols") ? [] : usually;
    for (const one of lines) one.querySelector("input").checked = shown.includes(one.querySelector("input").value);
    for (const select of form.querySelectorAll("select")) select.value = state.get(select.name) ?? "";
  });
}
