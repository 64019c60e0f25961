// The pictures of a search as a sheet of cards: as many as are scrolled to; a press on one opens its row.
import { noPicture } from "./broken_pictures.js";
import { all, around, button, make, table, target } from "./dom.js";
import { enlarges } from "./enlarge.js";
import { ordered } from "./lines.js";
import { GALLERY, shown } from "./looks.js";
import { Pages } from "./pages.js";
/** @import {Column, Rows, Value} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const LOOKS = { _row: null, _look: null, _view: null, _map: null, _plot: null, _compare: null };
const MOST = 5000; // cards of a page

class Mosaic {
  /** What the cards are of.
   * @type {string | null} */
  searched = null;
  next = 0; // page that is asked for next
  total = 0;

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    this.box = box;
    this.workspace = workspace;
    this.grid = around(box, ".results").querySelector("[data-pane=grid]");
    this.pages = new Pages(table(box), workspace, async () => null);
    this.cards = make("ul", { className: "mosaic" });
    this.more = button(workspace.t("More"), () => this.load(), { hidden: true });
    this.told = make("p", { className: "soft", "aria-live": "polite" });
    box.replaceChildren(this.cards, this.told, this.more);
    new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && this.load(), {
      rootMargin: "100%",
    }).observe(this.more);
    this.cards.addEventListener("click", (event) => this.clicked(event));
    this.cards.addEventListener("keydown", (event) => this.pressed(event));
    enlarges(this.cards);
    workspace.selection.on("change", () => this.mark());
    workspace.state.on("change", () => this.follow());
  }

  get on() {
    return this.workspace.state.get("_look") === GALLERY;
  }

  async follow() {
    this.box.hidden = !this.on;
    if (this.grid instanceof HTMLElement) this.grid.hidden = this.on;
    const now = String(this.workspace.state.with(LOOKS));
    if (!this.on || now === this.searched) return;
    this.searched = now;
    this.pages.begin();
    this.next = 0;
    this.cards.replaceChildren();
    this.more.hidden = true;
    await this.load();
  }

  async load() {
    const { cards, more, pages, told, workspace } = this;
    const number = this.next++;
    try {
      const found = await pages.page(number);
      if (!found) return;
      cards.append(...found.rows.map((row, at) => this.card(found, row, found.keys[at])));
      this.mark();
      more.hidden = !found.more || cards.childElementCount >= MOST;
      told.textContent = cards.childElementCount ? "" : workspace.t("No row meets all of these conditions.");
      if (cards.childElementCount >= MOST)
        told.textContent = workspace.t("The first {count} are shown: narrow the search down.", { count: MOST });
      if (number === 0 && found.rows.length) workspace.loaded(found);
    } catch (/** @type {any} */ error) {
      this.next = number;
      told.textContent = error.message;
    }
  }

  /**
   * @param {Rows} found
   * @param {Value[]} row
   * @param {string} key
   */
  card(found, row, key) {
    const { columns } = found;
    const said = ordered(found)
      .filter((at) => columns[at].kind !== "picture" && row[at] !== null)
      .slice(0, 3)
      .map((at) => words(columns[at], row[at]));
    const shots = row.map(shown).filter(Boolean).slice(0, 1);
    const pictures = shots.map((src) => make("img", { src, alt: "", loading: "lazy", decoding: "async" }));
    const lines = said.map((text, at) => make(at ? "small" : "b", { textContent: text }));
    const made = button("", () => {}, { className: "card-of" });
    made.dataset.key = key;
    made.replaceChildren(
      make("span", { className: "shot" }, ...(pictures.length ? pictures : [noPicture()])),
      ...lines,
    );
    return make("li", {}, made);
  }

  mark() {
    const { selection } = this.workspace;
    for (const one of all(this.cards, "button[data-key]"))
      one.setAttribute("aria-pressed", String(one.dataset.key === selection.chosen));
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    const key = /** @type {HTMLElement | null} */ (target(event).closest("button[data-key]"))?.dataset.key;
    if (key) this.workspace.choose(key);
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const cards = all(this.cards, "button[data-key]");
    const at = cards.indexOf(target(event));
    const wide = Math.max(cards.filter((one) => one.offsetTop === cards[0].offsetTop).length, 1);
    /** @type {Record<string, number>} */
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide };
    const to = cards[at + steps[event.key]];
    if (at < 0 || !to || event.altKey) return;
    event.preventDefault();
    to.focus();
  }
}

/**
 * @param {Column} column
 * @param {Value} value
 */
function words({ label, unit, unit_text: said, numeric }, value) {
  const text = typeof value === "string" ? value : (value?.text ?? "");
  return numeric ? `${label} ${text}${unit ? ` ${said}` : ""}` : text;
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  return new Mosaic(box, workspace).follow();
}
