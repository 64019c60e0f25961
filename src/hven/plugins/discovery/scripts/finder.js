// The search field of the site: suggests links while the user types, each with its number of rows.
import { requireElement, createElement } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

/**
 * A suggestion while the user types. `noun` is what `rows` counts.
 *
 * @typedef {{
 *   kind: "value" | "place" | "collection" | "table" | "column",
 *   title: string,
 *   rows?: number | null,
 *   noun?: "rows" | "files",
 *   table?: string,
 *   collection_title: string,
 *   url: string,
 * }} Suggestion
 */

const KEY_DELAY_MILLISECONDS = 120;

/** The search field with its suggestions. */
class SearchField {
  /** @type {HTMLAnchorElement[]} */
  links = [];
  activeIndex = -1; // the link that arrow keys have reached
  timer = 0;
  lastWords = "";
  list = createElement("ul", { className: "found", id: "found", role: "listbox", hidden: true });

  /**
   * @param {HTMLFormElement} form
   * @param {Workspace} workspace
   */
  constructor(form, workspace) {
    this.workspace = workspace;
    this.form = form;
    this.field = requireElement(form, "input[name=q]", HTMLInputElement);
    this.lastWords = this.field.value.trim();
    this.list.setAttribute("aria-label", workspace.t("What is found"));
    form.append(this.list);
    const properties = { role: "combobox", autocomplete: "off", "aria-controls": "found", "aria-expanded": "false" };
    for (const [name, value] of Object.entries({ ...properties, "aria-autocomplete": "list" })) {
      this.field.setAttribute(name, value);
    }
    this.field.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.searchWords(), KEY_DELAY_MILLISECONDS);
    });
    this.field.addEventListener("keydown", (event) => this.handleKey(event));
    form.addEventListener("focusout", (event) => {
      if (!form.contains(/** @type {Node | null} */ (event.relatedTarget))) this.showHits([]);
    });
  }

  /** Fetch suggestions for the words. */
  async searchWords() {
    const words = this.field.value.trim();
    if (words === this.lastWords) return;
    this.lastWords = words;
    if (words.length < 2) return this.showHits([]);
    const state = new URLSearchParams({ q: words });
    /** @type {{hits: Suggestion[]}} */
    const response = await this.workspace
      .fetchJson("/search/suggest", { state, pane: "finder" })
      .catch(() => ({ hits: [] }));
    if (words === this.field.value.trim()) this.showHits(response.hits);
  }

  /** @param {Suggestion[]} hits */
  showHits(hits) {
    this.activeIndex = -1;
    this.links = hits.map((hit, number) => this.createLink(hit, number));
    this.list.replaceChildren(...this.links.map((link) => createElement("li", { role: "presentation" }, link)));
    this.list.hidden = !hits.length;
    this.field.setAttribute("aria-expanded", String(!this.list.hidden));
    this.field.removeAttribute("aria-activedescendant");
  }

  /**
   * @param {Suggestion} hit
   * @param {number} number
   */
  createLink({ kind, title, rows, table = "", noun, collection_title: collectionTitle, url }, number) {
    const { t } = this.workspace;
    const countText = rows === undefined || rows === null ? "" : this.workspace.formatNumber(rows);
    const filesText =
      rows === 1 ? t("1 file in {table}", { table }) : t("{count} files in {table}", { count: countText, table });
    const rowsText =
      rows === 1 ? t("1 row in {table}", { table }) : t("{rows} rows in {table}", { rows: countText, table });
    const quantity = noun === "files" ? filesText : rowsText;
    const isData = kind === "value" || kind === "place";
    let description = kind === "collection" ? t("collection") : collectionTitle;
    if (isData) description = countText ? quantity : table;
    const note = createElement("small", { textContent: description });
    const link = createElement(
      "a",
      { href: url, id: `found-${number}`, tabIndex: -1, role: "option" },
      createElement("b", { textContent: title }),
      " ",
      note,
    );
    link.setAttribute("aria-selected", "false");
    return link;
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    if (event.key === "Escape" && !this.list.hidden) {
      this.showHits([]);
      event.preventDefault();
      return;
    }
    if (event.key === "Enter" && this.activeIndex >= 0) {
      event.preventDefault();
      this.links[this.activeIndex].click();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !this.links.length) return;
    event.preventDefault();
    const stopCount = this.links.length + 1; // the field itself is one of them
    this.activeIndex = ((this.activeIndex + 1 + step + stopCount) % stopCount) - 1;
    this.links.forEach((link, number) => link.setAttribute("aria-selected", String(number === this.activeIndex)));
    if (this.activeIndex < 0) this.field.removeAttribute("aria-activedescendant");
    else this.field.setAttribute("aria-activedescendant", this.links[this.activeIndex].id);
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {Workspace} workspace
 */
export function mount(form, workspace) {
  return new SearchField(form, workspace);
}
