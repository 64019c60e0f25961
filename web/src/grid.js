// The rows of a search: as many as there are, of which only those in sight are drawn and a few pages kept. Sorts, marks, chooses; the address says all of it.
import { heading } from "./heading.js";
import { fill } from "./table.js";

const HEIGHT = 28; // pixels of a row
const PAGE = 100; // rows asked at once
const KEPT = 40; // pages that are remembered
const TALLEST = 8_000_000; // pixels: browsers know no much taller element; more rows than that are scrolled in bigger steps
const EXTRA = 12; // rows drawn above and below those in sight
const FOOT = 8; // pixels below the last row

export function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const here = box.closest("[data-here]").dataset.here;
  const counted = box.closest(".results").querySelector("[data-count]");
  const adql = box.closest(".results").querySelector("[data-adql]");
  let columns = [];
  let drawn = []; // numbers of the columns in the order in which they stand
  let total = 0;
  let exact = true;
  let known = new Map(); // page number -> {rows, keys} or a promise
  let asked = 0;
  let active = 0; // the row that the keyboard is at
  let painted = 0; // the place, in pixels, that the rows were drawn for
  let version = 0;
  let held = null; // the state of the table that all pages are of, whatever is published meanwhile
  let renewed = false; // that state was swept: these rows are of now

  const grid = document.createElement("table");
  grid.className = "rows live";
  grid.setAttribute("role", "grid");
  grid.setAttribute("aria-label", t("Rows"));
  grid.setAttribute("aria-multiselectable", "true");
  const head = grid.createTHead().insertRow();
  const body = grid.createTBody();
  const above = filler();
  const below = filler();

  function filler() {
    const row = document.createElement("tr");
    row.setAttribute("aria-hidden", "true");
    row.className = "filler";
    row.insertCell();
    return row;
  }

  const everything = () => Math.min(total * HEIGHT, TALLEST);
  const scale = () => (total * HEIGHT > TALLEST ? (total - seen()) / (TALLEST - box.clientHeight) : 1 / HEIGHT); // rows per pixel
  const seen = () => Math.ceil((box.clientHeight - HEIGHT) / HEIGHT);

  function first() { return Math.max(0, Math.min(Math.floor(box.scrollTop * scale()), Math.max(total - seen(), 0))); }

  async function page(number) {
    if (known.has(number)) {
      const found = known.get(number);
      known.delete(number);
      known.set(number, found); // the one that was used last goes last
      return found;
    }
    const parameters = state.with({ _from: String(number * PAGE), _size: String(PAGE), _row: null, _compare: null, ...of() });
    const [mine, pages] = [version, known];
    const coming = workspace.ask(`${here}/rows`, { state: parameters }).then((found) => {
      if (mine !== version) return null;
      if (found.lost && held) return anew();
      held = found.state;
      renewed ||= found.lost;
      known.set(number, found);
      while (known.size > KEPT) known.delete(known.keys().next().value);
      return found;
    });
    known.set(number, coming);
    coming.catch(() => pages.delete(number));
    return coming;
  }

  const of = () => (held ? { _asof: held } : {});

  /** The state that the rows were of is gone: the grid goes on in that of now, at the same row. */
  async function anew() {
    const at = first();
    const away = ([number]) => Math.abs(number * PAGE - at);
    const [number, found] = [...known].filter(([, one]) => one.keys?.[0]).sort((one, other) => away(one) - away(other))[0] ?? [0, { keys: [""] }];
    const index = Math.max(0, Math.min(at - number * PAGE, found.keys.length - 1));
    const [place, key] = [number * PAGE + index, found.keys[index]];
    renewed = true;
    await begin();
    const now = key ? await placed(key) : place;
    const top = Math.max(0, Math.min((now ?? place) + at - place, total - 1));
    box.scrollTop = total * HEIGHT > TALLEST ? top / scale() : top * HEIGHT;
    await draw();
    return null;
  }

  /** Where a row of this key stands among the rows; null: nobody can say. */
  async function placed(key) {
    const asked = state.with({ _row: key, _view: null, _map: null, _plot: null, _compare: null, ...of() });
    return (await workspace.ask(`${here}/place`, { state: asked, pane: "place" }).catch(() => null))?.place ?? null;
  }

  async function draw() {
    if (!total) return;
    const turn = ++asked;
    painted = box.scrollTop;
    const begin = Math.max(0, first() - EXTRA);
    const end = Math.min(total, first() + seen() + EXTRA);
    const wanted = [];
    for (let number = Math.floor(begin / PAGE); number <= Math.floor(Math.max(end - 1, 0) / PAGE); number++) wanted.push(number);
    if (wanted.some((number) => !known.has(number) || known.get(number) instanceof Promise)) paint(begin, end); // skeletons at once
    try {
      await Promise.all(wanted.map(page));
    } catch (error) {
      if (turn === asked) fault(error);
      return;
    }
    if (turn === asked) paint(begin, end);
  }

  function fault(error) {
    const note = Object.assign(document.createElement("p"), { className: "fault", textContent: error.message });
    note.setAttribute("role", "alert");
    body.replaceChildren(Object.assign(document.createElement("tr")));
    body.rows[0].insertCell().colSpan = columns.length + 1;
    body.rows[0].cells[0].append(note);
  }

  function paint(begin, end) {
    const place = box.scrollTop;
    const rows = [];
    for (let at = begin; at < end; at++) {
      const found = known.get(Math.floor(at / PAGE));
      rows.push(line(at, found instanceof Promise ? null : found));
    }
    const scaled = total * HEIGHT > TALLEST;
    const top = scaled ? Math.min(box.scrollTop - (first() - begin) * HEIGHT, everything() - (end - begin) * HEIGHT) : begin * HEIGHT;
    above.cells[0].style.height = `${Math.max(top, 0)}px`;
    below.cells[0].style.height = `${Math.max(everything() - Math.max(top, 0) - (end - begin) * HEIGHT, 0) + FOOT}px`;
    above.cells[0].colSpan = below.cells[0].colSpan = drawn.length + 1;
    const held = body.contains(document.activeElement) ? document.activeElement : null;
    const focused = held?.closest("tr")?.dataset.at;
    const link = held?.matches("a") && focused === String(active) ? [...held.closest("tr").querySelectorAll("a")].indexOf(held) : -1;
    body.replaceChildren(above, ...rows, below);
    if (focused !== undefined) {
      const row = body.querySelector(`tr[data-at="${active}"]`);
      (row?.querySelectorAll("a")[link] ?? row)?.focus({ preventScroll: true }); // who was at a link of it goes on from there
    }
    // Chromium loses the place when the row with the focus goes and millions of pixels move from one filler to the other
    if (Math.abs(box.scrollTop - place) > 1) box.scrollTop = place;
  }

  function line(at, found) {
    const row = document.createElement("tr");
    row.dataset.at = at;
    row.tabIndex = at === active ? 0 : -1;
    row.setAttribute("aria-rowindex", at + 2);
    const values = found?.rows[at % PAGE];
    if (!values) {
      row.className = "coming";
      row.setAttribute("aria-busy", "true");
      for (let number = 0; number <= drawn.length; number++) row.insertCell();
      return row;
    }
    const key = found.keys[at % PAGE];
    row.dataset.key = key;
    row.setAttribute("aria-selected", String(key !== "" && (key === selection.chosen || selection.marked.has(key))));
    if (key !== "" && key === selection.hover) row.classList.add("hover");
    const mark = row.insertCell();
    if (key) {
      const tick = Object.assign(document.createElement("input"), { type: "checkbox", checked: selection.marked.has(key), tabIndex: -1 });
      tick.setAttribute("aria-label", t("Select row {number}", { number: at + 1 }));
      mark.append(tick);
    }
    for (const number of drawn) fill(row.insertCell(), values[number], columns[number], t);
    reached(row, at === active);
    return row;
  }

  /** The Tab key stops at one row and its links, not at those of all rows in sight. */
  function reached(row, on) {
    row.tabIndex = on ? 0 : -1;
    for (const link of row.querySelectorAll("a")) link.tabIndex = on ? 0 : -1;
  }

  function heads() {
    const order = (state.get("_sort") ?? "").split(",").filter(Boolean);
    const tick = Object.assign(document.createElement("th"), { className: "tick" });
    tick.append(Object.assign(document.createElement("span"), { className: "only-heard", textContent: t("Selected") }));
    const shown = drawn.map((number) => columns[number]);
    head.replaceChildren(tick, ...shown.map((column) => {
      const th = Object.assign(document.createElement("th"), { scope: "col", title: column.description });
      if (column.numeric || column.kind === "time") th.className = "n";
      const sorted = order.find((one) => one.replace(/^-/, "") === column.name);
      if (sorted) th.setAttribute("aria-sort", sorted.startsWith("-") ? "descending" : "ascending");
      const button = Object.assign(document.createElement("button"), { type: "button", className: "head", textContent: column.label });
      button.addEventListener("click", (event) => {
        const next = sorted && !sorted.startsWith("-") ? `-${column.name}` : sorted ? "" : column.name;
        const others = event.shiftKey ? order.filter((one) => one !== sorted) : [];
        state.set({ _sort: [...others, next].filter(Boolean).join(",") || null });
      });
      th.append(button);
      if (column.unit) th.append(" ", Object.assign(document.createElement("small"), { textContent: column.unit }));
      th.append(heading(column, shown, workspace));
      return th;
    }));
    grid.setAttribute("aria-colcount", drawn.length + 1);
  }

  async function begin() {
    version++;
    asked++; // what was to be drawn is of another search
    known = new Map();
    held = null;
    const mine = version;
    exact = true; // until rows say otherwise
    grid.classList.add("waiting");
    try {
      const found = await page(0);
      if (mine !== version || !found) return;
      columns = found.columns;
      drawn = ordered(columns);
      exact = found.exact || !found.more; // all rows are here
      total = found.total ?? found.from + found.rows.length + (found.more ? PAGE : 0);
      active = 0;
      heads();
      once(found);
      box.scrollTop = 0;
      if (adql) adql.textContent = found.adql;
      told();
      fit();
      if (!total) return empty();
      grid.setAttribute("aria-rowcount", total + 1);
      workspace.loaded({ columns, rows: found.rows, keys: found.keys, total, exact });
      await draw();
      counting();
      fit();
    } catch (error) {
      if (mine === version) fault(error);
    } finally {
      if (mine === version) grid.classList.remove("waiting");
    }
  }

  /** A few rows take no more room than they need: what is below them comes into sight. */
  function fit() {
    if (!total) { box.style.height = "auto"; return; }
    const bar = box.offsetHeight - box.clientHeight; // edges, and the bar of a grid that is wider than its place
    const tall = (head.offsetHeight || HEIGHT) + total * HEIGHT + FOOT + bar;
    box.style.height = tall < innerHeight * 0.7 ? `${tall}px` : "";
  }

  /** Columns that say the same in all rows say it once, above them. */
  function once(found) {
    const line = box.closest(".results").querySelector("[data-alike]");
    if (!line) return;
    const first = found.rows[0] ?? [];
    const alike = columns.map((column, number) => [column, first[number] ?? null]).filter(([column]) => column.alike && first.length);
    const soft = (text) => Object.assign(document.createElement("span"), { className: "soft", textContent: text });
    const told_ = alike.filter(([, value]) => value !== null).flatMap(([column, value]) => {
      const one = Object.assign(document.createElement("span"), { className: "one" });
      const said = document.createElement("span");
      fill(said, value, { ...column, numeric: false }, t);
      one.append(soft(column.label), " ", said, column.unit ? ` ${column.unit}` : "");
      return [one, " "];
    });
    const none = alike.filter(([, value]) => value === null).map(([column]) => column.label);
    line.replaceChildren(...(told_.length ? [soft(t("All rows:")), " ", ...told_] : []), ...(none.length ? [soft(`${t("Without values:")} ${none.join(", ")}`)] : []));
    line.hidden = alike.length === 0;
  }

  /** Previews stand beside the name of a row, unless somebody chose another order. */
  function ordered(every) {
    const numbers = every.map((column, number) => number).filter((number) => !every[number].alike);
    if (state.has("_cols")) return numbers;
    const first = numbers.slice(0, 1);
    const pictures = numbers.filter((number) => every[number].kind === "picture" && number > 0);
    return [...first, ...pictures, ...numbers.filter((number) => !first.includes(number) && !pictures.includes(number))];
  }

  function told() {
    const number = Object.assign(document.createElement("b"), { textContent: `${exact ? "" : "~"}${total.toLocaleString(workspace.language)}` });
    counted.replaceChildren(number, ` ${t("rows")}`);
    if (renewed) counted.append(" ", Object.assign(document.createElement("span"), { className: "fault", role: "status", textContent: t("The rows that you began with are not kept any more: these are of now.") }));
  }

  /** Rows do not wait long for their number; the form does, and is told it later. */
  function counting() {
    const known_ = workspace.counted;
    if (exact || known_?.search !== workspace.search || known_.total === null) return;
    ({ total, exact } = known_);
    told();
    grid.setAttribute("aria-rowcount", total + 1);
    draw();
  }

  function empty() {
    const row = document.createElement("tr");
    const cell = row.insertCell();
    cell.colSpan = columns.length + 1;
    const text = Object.assign(document.createElement("p"), { className: "empty", textContent: t("No row meets all of these conditions.") });
    cell.append(text);
    body.replaceChildren(row);
  }

  async function choose(at) {
    const key = (await page(Math.floor(at / PAGE)).catch(() => null))?.keys?.[at % PAGE];
    move(at, !document.activeElement?.closest(".detail"));
    if (!key) return;
    selection.set("chosen", key);
    state.set({ _row: key });
  }

  function move(at, focus = true) {
    active = Math.max(0, Math.min(at, total - 1));
    const row = body.querySelector(`tr[data-at="${active}"]`);
    for (const other of body.querySelectorAll('tr[tabindex="0"]')) reached(other, false);
    if (row) reached(row, true);
    const top = first();
    if (active < top || active >= top + seen() - 1) {
      box.scrollTop = total * HEIGHT > TALLEST ? active / scale() : Math.max(0, (active < top ? active : active - seen() + 2) * HEIGHT);
      draw().then(() => focus && body.querySelector(`tr[data-at="${active}"]`)?.focus({ preventScroll: true }));
    } else if (focus) {
      row?.focus({ preventScroll: true });
    }
  }

  box.addEventListener("scroll", () => { requestAnimationFrame(() => { if (box.scrollTop !== painted) draw(); }); }, { passive: true }); // aside, the same rows are seen
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-key]");
    if (!row || event.target.closest("a")) return;
    if (event.target.closest(".tick, input") || event.target.cellIndex === 0) {
      const on = !selection.marked.has(row.dataset.key);
      return selection.mark([row.dataset.key], on);
    }
    choose(Number(row.dataset.at));
  });
  body.addEventListener("pointerover", (event) => selection.set("hover", event.target.closest("tr[data-key]")?.dataset.key || null));
  body.addEventListener("pointerleave", () => selection.set("hover", null));
  body.addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: seen() - 1, PageUp: 1 - seen(), Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      event.preventDefault();
      const step = steps[event.key];
      move(step === Infinity ? total - 1 : step === -Infinity ? 0 : active + step);
    } else if (event.key === "Enter" && event.target.matches("tr")) {
      choose(active);
    } else if (event.key === " " && event.target.matches("tr[data-key]")) {
      event.preventDefault();
      selection.mark([event.target.dataset.key], !selection.marked.has(event.target.dataset.key));
    }
  });
  selection.addEventListener("change", (event) => {
    for (const row of body.querySelectorAll("tr[data-key]")) {
      const { key } = row.dataset;
      row.classList.toggle("hover", key === selection.hover);
      if (event.name === "hover") continue;
      row.setAttribute("aria-selected", String(key === selection.chosen || selection.marked.has(key)));
      const tick = row.querySelector("input");
      if (tick) tick.checked = selection.marked.has(key);
    }
  });
  /** Bring the row into sight that was chosen elsewhere: on the map, in a plot, by an address. */
  async function reveal() {
    const key = selection.chosen;
    if (!key || !total) return;
    let at = rowOf(key);
    if (at === null) at = await placed(key);
    if (at !== null && key === selection.chosen) move(at, false);
  }
  selection.addEventListener("change", (event) => { if (event.name === "chosen") reveal(); });
  workspace.addEventListener("count", counting);
  workspace.addEventListener("step", (event) => {
    if (!total) return;
    const at = rowOf(selection.chosen);
    choose(Math.max(0, Math.min((at ?? active) + event.step, total - 1)));
  });
  function rowOf(key) {
    for (const [number, found] of known) {
      const at = found.keys?.indexOf(key) ?? -1;
      if (at >= 0) return number * PAGE + at;
    }
    return null;
  }
  let searched = String(state.with({ _row: null, _view: null, _map: null, _plot: null, _compare: null }));
  state.addEventListener("change", () => {
    selection.set("chosen", state.get("_row"));
    const next = String(state.with({ _row: null, _view: null, _map: null, _plot: null, _compare: null }));
    if (next === searched) return;
    searched = next;
    renewed = false;
    begin().then(reveal);
  });

  selection.chosen = state.get("_row");
  box.closest(".results").querySelector(".pages")?.remove();
  box.removeAttribute("tabindex"); // its rows take the focus now
  box.classList.add("virtual");
  return begin().then(() => { box.replaceChildren(grid); fit(); return draw(); }).then(reveal);
}
