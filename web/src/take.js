// The way out of a result: formats, scripts of files, lines to copy; of all rows that were found, or of those that were marked.
export function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const root = box.closest("[data-here]");
  const here = root?.dataset.here;
  if (!here) return;
  const menus = [...box.querySelectorAll("details.menu")];
  let only = false; // the marked rows alone
  let every = false; // all columns
  let link = "";
  let known = null;
  let stale = true;

  const parameters = (more = {}) => {
    const next = state.with({ _row: null, _view: null, _map: null, _plot: null, _compare: null, ...more });
    if (every) next.set("_all", "1");
    if (link) next.set("_link", link);
    return next;
  };

  const scope = document.createElement("p");
  scope.className = "scope";
  box.querySelector("[data-what]")?.replaceWith(scope);

  const options = () => {
    const marked = selection.marked.size;
    const rows = [check("rows", t("All rows that were found"), !only, () => turn(false))];
    if (marked) rows.push(check("rows", t("Only the {count} marked rows", { count: marked.toLocaleString(workspace.language) }), only, () => turn(true)));
    const columns = Object.assign(document.createElement("label"), { className: "tickable" });
    const tick = Object.assign(document.createElement("input"), { type: "checkbox", checked: every });
    tick.addEventListener("change", () => { every = tick.checked; refresh(true); });
    columns.append(tick, " ", t("All columns"));
    scope.replaceChildren(...rows, columns);
  };

  function check(name, text, on, pick) {
    const label = Object.assign(document.createElement("label"), { className: "tickable" });
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: `take-${name}`, checked: on });
    radio.addEventListener("change", pick);
    label.append(radio, " ", text);
    return label;
  }

  function turn(on) {
    only = on;
    refresh(true);
  }

  /** Let the links and forms that are there ask for what is asked now: somebody may be quicker than the server. */
  function follow() {
    const now = (text) => { const address = new URL(text, location.href); return `${address.pathname}?${parameters({ _as: address.searchParams.get("_as") })}`; };
    for (const one of box.querySelectorAll("[data-formats] a[href], [data-scripts] a[href], [data-panes] a[href]")) one.setAttribute("href", now(one.href));
    for (const one of box.querySelectorAll("[data-formats] form, [data-scripts] form")) {
      const button = one.querySelector("button");
      if ("job" in one.dataset) { button.disabled = stale; continue; } // its query is the server's to write
      one.setAttribute("action", now(one.action));
      if (selection.marked.size) one.replaceChildren(...hidden(marks()), button);
    }
  }

  async function refresh(force = false) {
    stale ||= force;
    follow();
    if (only && !selection.marked.size) only = false;
    if (!menus.some((one) => one.open)) { stale = true; return; }
    if (!stale) return;
    stale = false;
    options();
    try {
      known = await workspace.ask(`${here}/take`, only
        ? { state: parameters(), method: "POST", body: keys(), pane: "take" }
        : { state: parameters(), pane: "take" });
    } catch (error) {
      stale = true;
      known = null;
      say(error.message);
      return;
    }
    show();
  }

  function keys() {
    const body = new URLSearchParams();
    for (const key of selection.marked) body.append("_key", key);
    return body;
  }

  function say(text) {
    const files = box.querySelector("[data-files]");
    if (files) files.textContent = text;
  }

  const number = (value) => value.toLocaleString(workspace.language);

  function show() {
    const formats = box.querySelector("[data-formats]");
    renew(formats, [...known.formats.map((one) => item(one.label, "download", one.name)), job()]);
    const scripts = box.querySelector("[data-scripts]");
    if (scripts && known.files) {
      const { files, bytes, sized, most } = known.files;
      let text = t("{files} files", { files: number(files) });
      if (bytes !== null) text = t(sized < files ? "{files} files, {size} and more" : "{files} files, {size}", { files: number(files), size: size(bytes, workspace.language) });
      if (files > most) text += `; ${t("a script has the first {count}", { count: number(most) })}`;
      say(text);
      const names = { wget: t("Script for wget"), curl: t("Script for curl"), aria2: t("List for aria2"), links: t("List of links") };
      renew(scripts, known.scripts.map((one) => item(names[one.name] ?? one.name, "script", one.name)));
      choose(scripts);
    }
    const place = box.querySelector("[data-lines]");
    renew(place, [...known.lines, ...(only ? [] : [{ name: t("Link to this search"), text: location.href }])].flatMap((one) => line(one)));
  }

  /** Put entries into a place; those that are there already stay: somebody may be pressing one. */
  function renew(place, entries) {
    const old = [...place.children];
    entries.forEach((one, at) => { if (!old[at]) place.append(one); else if (!old[at].isEqualNode(one)) old[at].replaceWith(one); });
    for (const one of old.slice(entries.length)) one.remove();
  }

  function choose(before) {
    box.querySelector("[data-link]")?.remove();
    if (known.links.length < 2) return;
    const label = Object.assign(document.createElement("label"), { className: "tickable" });
    label.dataset.link = "";
    const select = document.createElement("select");
    select.append(...known.links.map((one) => new Option(one.label, one.name, false, one.name === known.files.column)));
    select.addEventListener("change", () => { link = select.value; refresh(true); });
    label.append(t("Files of"), " ", select);
    before.before(label);
  }

  /** A link, or for marked rows a form: their keys may be too long for an address. */
  function item(text, what, as) {
    const entry = document.createElement("li");
    const address = `${here}/${what}?${parameters({ _as: as })}`;
    if (!only) {
      entry.append(Object.assign(document.createElement("a"), { href: address, download: "", textContent: text }));
      return entry;
    }
    entry.append(form(address, marks(), text));
    return entry;
  }

  const marks = () => [...selection.marked].map((key) => ["_key", key]);
  const hidden = (fields) => fields.map(([name, value]) => Object.assign(document.createElement("input"), { type: "hidden", name, value }));

  function form(action, fields, text) {
    const made = Object.assign(document.createElement("form"), { method: "post", action });
    made.append(...hidden(fields), Object.assign(document.createElement("button"), { className: "link", textContent: text }));
    return made;
  }

  function job() {
    const entry = document.createElement("li");
    const asked = form(`${workspace.base}/jobs`, [["QUERY", known.adql], ["RESPONSEFORMAT", "votable"]], t("As a job"));
    asked.dataset.job = "";
    entry.append(asked, " ");
    entry.append(Object.assign(document.createElement("small"), { textContent: t("for results that take long") }));
    return entry;
  }

  function line({ name, text }) {
    const title = Object.assign(document.createElement("h3"), { textContent: name });
    const place = Object.assign(document.createElement("div"), { className: "copyable" });
    const pre = Object.assign(document.createElement("pre"), { tabIndex: 0 });
    pre.append(Object.assign(document.createElement("code"), { textContent: text }));
    place.append(pre);
    copier(place, name);
    return [title, place];
  }

  function copier(place, name) {
    if (!navigator.clipboard) return;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: t("Copy") });
    const say_ = (text) => { button.textContent = text; button.setAttribute("aria-label", `${text} ${name}`); };
    say_(t("Copy"));
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(place.querySelector("code").textContent);
      say_(t("Copied"));
      setTimeout(() => say_(t("Copy")), 1500);
    });
    place.append(button);
  }

  for (const one of menus) {
    one.addEventListener("toggle", () => {
      if (!one.open) return;
      for (const other of menus) if (other !== one) other.open = false;
      refresh();
    });
    one.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !one.open) return;
      one.open = false;
      one.querySelector("summary").focus();
    });
  }
  document.addEventListener("pointerdown", (event) => { if (!box.contains(event.target)) for (const one of menus) one.open = false; });
  state.addEventListener("change", () => { stale = true; refresh(); });
  selection.addEventListener("change", (event) => { if (event.name === "marked") { stale = true; refresh(); } });
  options();
  refresh(); // a menu that was opened before we came
}

/** Bytes as people say them. */
export function size(bytes, language) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let value = bytes;
  while (value >= 999.5 && at < units.length - 1) { value /= 1000; at++; }
  return `${value.toLocaleString(language, { maximumSignificantDigits: 3 })} ${units[at]}`;
}
