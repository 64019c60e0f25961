// The rows of a search: as many as there are, of which only those in sight are drawn and a few pages kept. Sorts, marks, chooses; the address says all of it.
import { all, around, make, maybe, table, target } from "./dom.js";
import { enlarges } from "./enlarge.js";
import { told } from "./files.js";
import { listen } from "./grid_keys.js";
import { coming, filled, filler, heads, line, once, ordered, proposed, reached } from "./lines.js";
import { sized } from "./looks.js";
import { PAGE, Pages } from "./pages.js";
import { Rover } from "./rove.js";
import { NARROW } from "./phone_cards.js";
import { HEIGHT, Scroll, whole } from "./scroll.js";
/** @import {Column, RowFile, Rows} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const LOOKS = { _row: null, _look: null, _view: null, _map: null, _plot: null, _compare: null };
const TALL = 0.7; // of the window: a grid is not taller

export class Grid {
  /** @type {Column[]} */
  columns = [];
  /** Numbers of the columns in the order in which they stand.
   * @type {number[]} */
  drawn = [];
  total = 0; // rows that there is room for
  /** @type {number | null} how many rows there are; null: nobody has counted them */
  rowCount = 0;
  exact = true;
  high = HEIGHT; // pixels of a row
  /** @type {number | null | undefined} how many rows the lines are of; undefined where each is one */
  behind = undefined;
  asked = 0;
  active = 0; // the row that the keyboard is at
  painted = 0; // the place, in pixels, that the rows were drawn for
  /** What the rows in sight were drawn of: who presses a button on one lets it go on the same one, whatever is drawn meanwhile.
   * @type {WeakMap<HTMLElement, {values: unknown, drawn: number[], files: RowFile[]}>} */
  lines = new WeakMap();

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    const { t } = workspace;
    this.box = box;
    this.workspace = workspace;
    this.results = around(box, ".results");
    this.pages = new Pages(table(box), workspace, () => this.anew());
    const facts = { "aria-label": t("Rows"), "aria-multiselectable": "true" };
    this.grid = make("table", { className: "rows live", role: "grid", ...facts });
    this.head = this.grid.createTHead().insertRow();
    this.heads = new Rover(this.head, "button");
    this.body = this.grid.createTBody();
    this.above = filler();
    this.below = filler();
    this.searched = String(workspace.state.with(LOOKS));
    workspace.selection.chosen = workspace.state.get("_row");
    this.results.querySelector(".pages")?.remove();
    box.removeAttribute("tabindex"); // its rows take the focus now
    box.classList.add("virtual");
    this.hear();
    this.follow();
  }

  get scroll() {
    return new Scroll(this.total, this.box.clientHeight, this.box.scrollTop, this.high);
  }

  /** @param {number} at */
  row(at) {
    return maybe(this.body, `tr[data-at="${at}"]`, HTMLTableRowElement);
  }

  /** What the keyboard and the pointer do in the grid. */
  hear() {
    const { body, box } = this;
    const { selection } = this.workspace;
    const under = (/** @type {Event} */ event) =>
      /** @type {HTMLElement | null} */ (target(event).closest("tr[data-key]"))?.dataset.key || null;
    const scrolled = () => box.scrollTop !== this.painted && this.draw(); // aside, the same rows are seen
    matchMedia(NARROW).addEventListener("change", () => this.look());
    box.addEventListener("scroll", () => requestAnimationFrame(scrolled), { passive: true });
    enlarges(body);
    body.addEventListener("click", (event) => this.clicked(event));
    body.addEventListener("pointerover", (event) => selection.set("hover", under(event)));
    body.addEventListener("pointerleave", () => selection.set("hover", null));
    listen(this);
  }

  /** What others do. */
  follow() {
    const { selection, state } = this.workspace;
    selection.on("change", (event) => {
      this.show(event.name);
      if (event.name === "chosen") this.reveal();
    });
    this.workspace.on("count", () => this.counting());
    this.workspace.on("step", (event) => {
      if (!this.total) return;
      const at = this.pages.rowOf(selection.chosen) ?? this.active;
      this.choose(Math.max(0, Math.min(at + event.step, this.total - 1)));
    });
    state.on("change", () => {
      selection.set("chosen", state.get("_row"));
      const next = String(state.with(LOOKS));
      if (next === this.searched) return this.look();
      this.searched = next;
      this.pages.renewed = false;
      this.begin().then(() => this.reveal());
    });
  }

  /** Ask for the first rows of a search. */
  async begin() {
    const { pages } = this;
    const mine = pages.begin();
    this.asked++; // what was to be drawn is of another search
    this.exact = true; // until rows say otherwise
    this.grid.classList.add("waiting");
    try {
      const found = await pages.page(0);
      if (mine === pages.version && found) await this.take(found);
    } catch (/** @type {any} */ error) {
      if (mine === pages.version) this.say("fault", error.message, { role: "alert" });
    } finally {
      if (mine === pages.version) this.grid.classList.remove("waiting");
    }
  }

  /** @param {Rows} found the first rows */
  async take(found) {
    const { columns, rows, keys } = found;
    const { state, t } = this.workspace;
    this.columns = columns;
    this.drawn = ordered(found);
    this.behind = found.files ? (found.of_rows ?? null) : undefined;
    this.high = sized(this.box, rows, this.drawn, state, Boolean(found.files));
    this.exact = found.exact || !found.more; // all rows are here
    this.rowCount = found.total ?? (found.more ? null : found.from + rows.length);
    this.total = this.rowCount ?? rows.length + PAGE;
    this.active = 0;
    const shown = this.drawn.map((number) => columns[number]);
    this.heads.change(() => this.head.replaceChildren(...heads(shown, this.workspace, Boolean(found.files))));
    this.grid.setAttribute("aria-colcount", String(this.wide));
    once(maybe(this.results, "[data-alike]"), found, t);
    this.box.scrollTop = 0;
    const adql = maybe(this.results, "[data-adql]");
    if (adql) adql.textContent = found.adql;
    this.told();
    this.fit();
    if (!this.total) return this.nothing();
    this.workspace.loaded({ columns, rows, keys, total: this.rowCount, exact: this.exact });
    await this.draw();
    this.counting();
    this.fit();
  }

  /** Nothing is found: say so, and what would be without each condition. */
  nothing() {
    const { counted, search, t } = this.workspace;
    this.say("empty", t("No row meets all of these conditions."));
    if (counted?.search !== search || !counted.without.length) return;
    this.body.querySelector("td")?.append(proposed(counted.without, this.workspace));
  }

  /** The state that the rows were of is gone: the grid goes on in that of now, at the same row. */
  async anew() {
    const at = this.scroll.first;
    const { place, key } = this.pages.nearest(at);
    this.pages.renewed = true;
    await this.begin();
    const now = (key ? await this.pages.placed(key) : null) ?? place;
    this.box.scrollTop = this.scroll.to(Math.max(0, Math.min(now + at - place, this.total - 1)));
    await this.draw();
    return null;
  }

  /** Draw the rows in sight: as skeletons those that are not here yet. */
  async draw() {
    if (!this.total) return;
    const turn = ++this.asked;
    this.painted = this.box.scrollTop;
    const [begin, end] = this.scroll.range;
    const wanted = [];
    for (let number = Math.floor(begin / PAGE); number * PAGE < Math.max(end, 1); number++) wanted.push(number);
    if (wanted.some((number) => !this.pages.ready(number))) this.paint(begin, end);
    try {
      await Promise.all(wanted.map((number) => this.pages.page(number)));
    } catch (/** @type {any} */ error) {
      if (turn === this.asked) this.say("fault", error.message, { role: "alert" });
      return;
    }
    if (turn !== this.asked) return;
    this.extend(wanted);
    this.paint(begin, end);
  }

  /**
   * Make room for the rows behind a page, as long as nobody has counted them.
   * @param {number[]} numbers of the pages in sight
   */
  extend(numbers) {
    if (this.rowCount !== null) return;
    const last = Math.max(...numbers);
    const found = this.pages.ready(last);
    if (!found) return;
    const known = last * PAGE + found.rows.length;
    if (!found.more) this.rowCount = known;
    this.total = found.more ? Math.max(this.total, known + PAGE) : known;
    this.told();
  }

  /**
   * @param {number} begin
   * @param {number} end
   */
  paint(begin, end) {
    const { above, active, below, body, box } = this;
    const place = box.scrollTop;
    const rows = [];
    for (let at = begin; at < end; at++) rows.push(this.line(at));
    const tall = this.scroll.fillers(begin, end);
    [above, below].forEach((one, number) => {
      one.cells[0].style.height = `${tall[number]}px`;
      one.cells[0].colSpan = this.wide;
    });
    const held = body.contains(document.activeElement) ? document.activeElement : null;
    const row = held?.closest("tr");
    const mine = row?.dataset.at === String(active) && held?.matches("a");
    const link = row && mine ? [...row.querySelectorAll("a")].indexOf(/** @type {HTMLAnchorElement} */ (held)) : -1;
    filled(body, [above, ...rows, below]);
    if (row?.dataset.at !== undefined) {
      const again = this.row(active);
      (again?.querySelectorAll("a")[link] ?? again)?.focus({ preventScroll: true }); // who was at a link of it goes on from there
    }
    // Chromium loses the place when the row with the focus goes and millions of pixels move from one filler to the other
    if (Math.abs(box.scrollTop - place) > 1) box.scrollTop = place;
  }

  /** @param {number} at */
  line(at) {
    const { columns, drawn } = this;
    const active = at === this.active;
    const found = this.pages.ready(Math.floor(at / PAGE));
    const values = found?.rows[at % PAGE];
    if (!found || !values) return coming(at, active, this.wide);
    const there = this.row(at);
    const of = there && this.lines.get(there);
    if (there && of?.values === values && of.drawn === drawn) {
      reached(there, active);
      return there;
    }
    const files = found.files?.[at % PAGE];
    const made = line(at, active, { key: found.keys[at % PAGE], values, columns, drawn, files }, this.workspace);
    this.lines.set(made, { values, drawn, files: files ?? [] });
    return made;
  }

  /** How many cells a row has. */
  get wide() {
    return this.drawn.length + 1 + Number(this.behind !== undefined);
  }

  /** Pictures of another size are wanted: the same row stays the first in sight. */
  look() {
    const { first } = this.scroll;
    const known = this.pages.ready(0);
    if (!known || !this.total) return;
    const high = sized(this.box, known.rows, this.drawn, this.workspace.state, this.behind !== undefined);
    if (high === this.high) return; // a map was moved, a plot opened
    this.high = high;
    this.fit();
    this.box.scrollTop = this.scroll.to(first);
    this.draw();
  }

  /**
   * Say something in the place of the rows.
   * @param {string} className
   * @param {string} textContent
   * @param {object} [attributes]
   */
  say(className, textContent, attributes) {
    const row = make("tr");
    const cell = row.insertCell();
    cell.colSpan = this.columns.length + 1;
    cell.append(make("p", { className, textContent, ...attributes }));
    this.body.replaceChildren(row);
  }

  /** A few rows take no more room than they need: what is below them comes into sight. */
  fit() {
    const { box } = this;
    if (!this.total) return void Object.assign(box.style, { height: "auto" });
    const bar = box.offsetHeight - box.clientHeight; // edges, and the bar of a grid that is wider than its place
    const tall = whole(this.total, this.head.offsetHeight, this.high) + bar;
    box.style.height = tall < innerHeight * TALL ? `${tall}px` : "";
  }

  told() {
    const { t } = this.workspace;
    const counted = maybe(this.results, "[data-count]");
    const late = this.workspace.counted?.search === this.workspace.search;
    const least = this.rowCount ?? this.total - PAGE;
    told(counted, { exact: this.exact, total: this.rowCount, rows: this.behind, least, late }, this.workspace);
    this.grid.setAttribute("aria-rowcount", String(this.rowCount === null ? -1 : this.rowCount + 1));
    if (!this.pages.renewed) return;
    const renewed = t("The rows that you began with are not kept any more: these are of now.");
    counted?.append(" ", make("span", { className: "fault", role: "status", textContent: renewed }));
  }

  /** Rows do not wait long for their number; the form does, and is told it later. */
  counting() {
    const { counted, search } = this.workspace;
    if (!this.total && counted?.total === 0) this.nothing();
    if (this.exact || counted?.search !== search) return;
    if (counted.total !== null) {
      this.rowCount = this.total = counted.total;
      this.exact = counted.exact;
    }
    this.told();
    this.draw();
  }

  /** @param {number} at */
  async choose(at) {
    const found = await this.pages.page(Math.floor(at / PAGE)).catch(() => null);
    const key = found?.keys?.[at % PAGE];
    this.move(at, !document.activeElement?.closest(".detail"));
    if (key) this.workspace.choose(key);
  }

  /** @param {number} at */
  move(at, focus = true) {
    this.active = Math.max(0, Math.min(at, this.total - 1));
    const { active } = this;
    for (const other of all(this.body, 'tr[tabindex="0"]')) reached(other, false);
    const row = this.row(active);
    if (row) reached(row, true);
    const top = this.scroll.towards(active);
    if (top === null) {
      if (focus) row?.focus({ preventScroll: true });
      return;
    }
    this.box.scrollTop = top;
    this.draw().then(() => focus && this.row(active)?.focus({ preventScroll: true }));
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    const at = target(event);
    const row = /** @type {HTMLElement | null} */ (at.closest("tr[data-key]"));
    const link = at.closest("a");
    if (!row || (link && (event.ctrlKey || event.metaKey || !link.matches(".thumbnail")))) return;
    if (link) event.preventDefault(); // a small picture opens its row, not another site
    const aside = at.closest(".tick, input") || (at instanceof HTMLTableCellElement && at.cellIndex === 0);
    if (aside) this.mark(row);
    else this.choose(Number(row.dataset.at));
  }

  /** @param {HTMLElement} row */
  mark(row) {
    const files = (this.lines.get(row)?.files ?? []).map((one) => one.key); // all of an observation's
    this.workspace.tick(row.dataset.key ?? "", files);
  }

  /** @param {string} changed */
  show(changed) {
    const { selection } = this.workspace;
    for (const row of all(this.body, "tr[data-key]")) {
      const key = row.dataset.key ?? "";
      row.classList.toggle("hover", key === selection.hover);
      if (changed === "hover") continue;
      row.setAttribute("aria-selected", String(key === selection.chosen || selection.marked.has(key)));
      const tick = maybe(row, "input", HTMLInputElement);
      if (tick) tick.checked = selection.marked.has(key);
    }
  }

  /** Bring the row into sight that was chosen elsewhere: on the map, in a plot, by an address. */
  async reveal() {
    const { selection } = this.workspace;
    const key = selection.chosen;
    if (!key || !this.total) return;
    const at = this.pages.rowOf(key) ?? (await this.pages.placed(key));
    if (at !== null && key === selection.chosen) this.move(at, false);
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export async function mount(box, workspace) {
  const grid = new Grid(box, workspace);
  await grid.begin();
  box.replaceChildren(grid.grid);
  grid.fit();
  await grid.draw();
  await grid.reveal();
}
