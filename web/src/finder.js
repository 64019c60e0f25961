// The field that searches everything: what is found while one writes, as links below it, each with its number of rows.
import { find, make } from "./dom.js";
/** @import {Suggestion} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const WAIT = 120; // milliseconds after a key

class Finder {
  /** @type {HTMLAnchorElement[]} */
  links = [];
  at = -1; // the link that arrows went to
  later = 0;
  asked = "";
  list = make("ul", { className: "found", id: "found", role: "listbox", hidden: true });

  /**
   * @param {HTMLFormElement} form
   * @param {Workspace} workspace
   */
  constructor(form, workspace) {
    this.workspace = workspace;
    this.form = form;
    this.field = find(form, "input[name=q]", HTMLInputElement);
    this.asked = this.field.value.trim();
    this.list.setAttribute("aria-label", workspace.t("What is found"));
    form.append(this.list);
    const facts = { role: "combobox", autocomplete: "off", "aria-controls": "found", "aria-expanded": "false" };
    for (const [name, value] of Object.entries({ ...facts, "aria-autocomplete": "list" })) {
      this.field.setAttribute(name, value);
    }
    this.field.addEventListener("input", () => {
      clearTimeout(this.later);
      this.later = setTimeout(() => this.look(), WAIT);
    });
    this.field.addEventListener("keydown", (event) => this.pressed(event));
    form.addEventListener("focusout", (event) => {
      if (!form.contains(/** @type {Node | null} */ (event.relatedTarget))) this.show([]);
    });
  }

  async look() {
    const words = this.field.value.trim();
    if (words === this.asked) return;
    this.asked = words;
    if (words.length < 2) return this.show([]);
    const state = new URLSearchParams({ q: words });
    /** @type {{hits: Suggestion[]}} */
    const found = await this.workspace.ask("/search/suggest", { state, pane: "finder" }).catch(() => ({ hits: [] }));
    if (words === this.field.value.trim()) this.show(found.hits);
  }

  /** @param {Suggestion[]} hits */
  show(hits) {
    this.at = -1;
    this.links = hits.map((hit, number) => this.line(hit, number));
    this.list.replaceChildren(...this.links.map((link) => make("li", { role: "presentation" }, link)));
    this.list.hidden = !hits.length;
    this.field.setAttribute("aria-expanded", String(!this.list.hidden));
    this.field.removeAttribute("aria-activedescendant");
  }

  /**
   * @param {Suggestion} hit
   * @param {number} number
   */
  line({ kind, title, rows, table = "", noun, collection_title: above, url }, number) {
    const { t } = this.workspace;
    const counted = rows === undefined || rows === null ? "" : this.workspace.number(rows);
    const files =
      rows === 1 ? t("1 file in {table}", { table }) : t("{count} files in {table}", { count: counted, table });
    const lines = rows === 1 ? t("1 row in {table}", { table }) : t("{rows} rows in {table}", { rows: counted, table });
    const words = noun === "files" ? files : lines;
    const data = kind === "value" || kind === "place";
    const told = data ? (counted ? words : table) : kind === "collection" ? t("collection") : above;
    const small = make("small", { textContent: told });
    const link = make("a", { href: url, id: `found-${number}`, tabIndex: -1, role: "option" }, make("b", { textContent: title }), " ", small); // prettier-ignore
    link.setAttribute("aria-selected", "false");
    return link;
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    if (event.key === "Escape" && !this.list.hidden) {
      this.show([]);
      event.preventDefault();
      return;
    }
    if (event.key === "Enter" && this.at >= 0) {
      event.preventDefault();
      this.links[this.at].click();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !this.links.length) return;
    event.preventDefault();
    const turns = this.links.length + 1; // one of them is the field itself
    this.at = ((this.at + 1 + step + turns) % turns) - 1;
    this.links.forEach((link, number) => link.setAttribute("aria-selected", String(number === this.at)));
    if (this.at < 0) this.field.removeAttribute("aria-activedescendant");
    else this.field.setAttribute("aria-activedescendant", this.links[this.at].id);
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {Workspace} workspace
 */
export function mount(form, workspace) {
  return new Finder(form, workspace);
}
