// The layers of a map: each with its sign, whether it is shown, and how clearly; what the signs mean is read from it.
export function layers(t, list) {
  const box = document.createElement("details");
  box.className = "layers";
  box.append(Object.assign(document.createElement("summary"), { textContent: t("Layers") }));
  const table = document.createElement("ul");
  for (const one of list) {
    const line = document.createElement("li");
    const label = document.createElement("label");
    const tick = Object.assign(document.createElement("input"), { type: "checkbox", checked: one.on ?? true });
    const sign = Object.assign(document.createElement("span"), { className: `sign ${one.sign ?? ""}` });
    if (one.colour) sign.style.setProperty("--sign", one.colour);
    label.append(tick, sign, one.name);
    const clear = Object.assign(document.createElement("input"), { type: "range", min: "5", max: "100", step: "5", value: String(Math.round((one.opacity ?? 1) * 100)) });
    clear.setAttribute("aria-label", t("Opacity of {name}", { name: one.name }));
    const set = () => { clear.disabled = !tick.checked; one.set(tick.checked, Number(clear.value) / 100); };
    tick.addEventListener("change", set);
    clear.addEventListener("input", set);
    line.append(label, clear);
    if (one.told) line.append(Object.assign(document.createElement("small"), { className: "soft", textContent: one.told }));
    if (one.choice) line.append(one.choice);
    table.append(line);
  }
  box.append(table);
  return box;
}

/** A list of rows that lie one over another: pointing at one lights it up, choosing one opens it. */
export function under(place, t, keys, { selection, state }, { more = 0 } = {}) {
  place.replaceChildren();
  if (keys.length < 2) return;
  const list = document.createElement("ul");
  for (const key of keys) {
    let name = key;
    try { name = JSON.parse(key).join(" "); } catch { /* as it is */ }
    const button = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: name });
    button.addEventListener("click", () => { selection.set("chosen", key); state.set({ _row: key }); });
    button.addEventListener("pointerenter", () => selection.set("hover", key));
    button.addEventListener("focus", () => selection.set("hover", key));
    const entry = document.createElement("li");
    entry.append(button);
    list.append(entry);
  }
  const close = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Close") });
  close.addEventListener("click", () => { place.replaceChildren(); selection.set("hover", null); });
  const head = Object.assign(document.createElement("p"), { className: "bar" });
  head.append(Object.assign(document.createElement("b"), { textContent: t("{count} rows under this point", { count: keys.length + more }) }), " ", close);
  place.append(head, list);
}
