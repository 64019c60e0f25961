// All values of a row, and the header of the file behind it, in a window over the page: keyword, value, unit, what it means; searched and copied.
export function header(title, row, behind, t) {
  const dialog = document.createElement("dialog");
  dialog.className = "header";
  dialog.setAttribute("aria-label", t("All values of the row"));
  const parts = [{
    title: t("Values of the row"),
    lines: row.columns.map((column, at) => ({ keyword: column.name, ...valued(row.row[at]), unit: column.unit, said: column.description })),
  }];

  const find = Object.assign(document.createElement("input"), { type: "search", placeholder: t("Filter") });
  find.setAttribute("aria-label", t("Filter"));
  find.addEventListener("input", draw);
  const copy = button(t("Copy"), async () => { await navigator.clipboard?.writeText(text()); copy.textContent = t("Copied"); });
  const bar = Object.assign(document.createElement("p"), { className: "bar" });
  bar.append(find, " ", copy, " ", button(t("Close"), () => dialog.close()));
  const place = Object.assign(document.createElement("div"), { className: "scroll", tabIndex: 0 });
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", t("Header"));
  const state = Object.assign(document.createElement("p"), { className: "soft" });
  state.setAttribute("aria-live", "polite");
  dialog.append(Object.assign(document.createElement("h2"), { textContent: title }), bar, state, place);

  function valued(value) {
    if (value === null) return { value: "", href: "" };
    if (typeof value === "string") return { value, href: "" };
    return { value: value.title && !value.href && /^[-+.\de]+$/i.test(value.title) ? value.title : value.href || value.text, href: value.href ?? "" };
  }

  function button(label, act) {
    const made = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: label });
    made.addEventListener("click", act);
    return made;
  }

  const wanted = () => find.value.trim().toLowerCase();
  const fits = (line) => [line.keyword, line.value, line.unit, line.said].some((one) => one?.toLowerCase().includes(wanted()));

  function draw() {
    copy.textContent = t("Copy");
    let shown = 0;
    place.replaceChildren(...parts.flatMap((part) => {
      const lines = part.lines.filter(fits);
      shown += lines.length;
      if (!lines.length) return [];
      const made = Object.assign(document.createElement("table"), { className: "cards-of" });
      const head = made.createTHead().insertRow();
      for (const name of [t("Keyword"), t("Value"), t("Unit"), t("Meaning")]) head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: name }));
      const body = made.createTBody();
      for (const line of lines) {
        const tr = body.insertRow();
        tr.append(Object.assign(document.createElement("th"), { scope: "row", textContent: line.keyword }));
        const cell = tr.insertCell();
        if (/^(https?|ftp):/i.test(line.href ?? "")) cell.append(Object.assign(document.createElement("a"), { href: line.href, rel: "noopener", textContent: line.value }));
        else cell.textContent = line.value;
        tr.insertCell().textContent = line.unit ?? "";
        tr.insertCell().textContent = line.said ?? "";
      }
      return [Object.assign(document.createElement("h3"), { textContent: part.title }), made];
    }));
    if (!shown) place.append(Object.assign(document.createElement("p"), { className: "empty", textContent: t("nothing") }));
  }

  /** What is shown, as cards of a FITS header. */
  function text() {
    return parts.flatMap((part) => {
      const lines = part.lines.filter(fits);
      const width = Math.max(8, ...lines.map((line) => line.keyword.length));
      return lines.map((line) => {
        if (line.note) return `${line.keyword.padEnd(8)} ${line.value}`.trimEnd();
        const said = [line.unit && `[${line.unit}]`, line.said].filter(Boolean).join(" ");
        return `${line.keyword.padEnd(width)} = ${(line.value ?? "").padEnd(24)}${said ? ` / ${said}` : ""}`.trimEnd();
      });
    }).join("\n");
  }

  draw();
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
  state.textContent = t("Looking for the header of its file ...");
  behind.then((found) => {
    state.textContent = found?.file ? "" : t("The header of its file is not here: these are the columns of the table.");
    if (!found?.file) return;
    for (const hdu of found.hdus) {
      const name = found.hdus.length > 1 ? `${found.file} [${hdu.name}]` : found.file;
      // units stand in square brackets at the beginning of a comment (FITS 4.0 section 4.3.2)
      const lines = hdu.cards.map((card) => { const [, unit = "", said = card.comment] = /^\[([^\]]*)\]\s*(.*)$/.exec(card.comment) ?? []; return { keyword: card.keyword, value: card.value, unit, said }; });
      parts.push({ title: `${t("Header")}: ${name}`, lines: [...lines, ...hdu.notes.map((note) => ({ keyword: note.keyword, value: note.text, note: true }))] });
    }
    draw();
  }).catch((error) => { state.textContent = error.message; });
  return dialog;
}
