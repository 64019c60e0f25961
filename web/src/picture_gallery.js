// The gallery of a search: pictures as cards, loaded while the user scrolls. A click opens the row.
import { DISPLAY_PARAMETERS } from "./display_parameters.js";
import { createPlaceholder } from "./broken_pictures.js";
import { findElements, requireAncestor, createButton, createElement, readTableUrl, getEventTarget } from "./dom.js";
import { enableHoverZoom } from "./hover_zoom.js";
import { orderColumns } from "./grid_rows.js";
import { GALLERY_LOOK, getPictureUrl } from "./picture_sizes.js";
import { RowPages } from "./row_pages.js";
/** @import {Column, Rows, Value} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const MAX_CARDS = 5000;

/** The gallery of a search. */
class PictureGallery {
  /** The search that the cards belong to.
   * @type {string | null} */
  lastSearch = null;
  nextPage = 0; // number of the page that is fetched next
  total = 0;

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    this.container = container;
    this.workspace = workspace;
    this.grid = requireAncestor(container, ".results").querySelector("[data-pane=grid]");
    this.pages = new RowPages(readTableUrl(container), workspace, async () => null);
    this.cards = createElement("ul", { className: "mosaic" });
    this.moreButton = createButton(workspace.t("More"), () => this.loadPage(), { hidden: true });
    this.message = createElement("p", { className: "soft", "aria-live": "polite" });
    container.replaceChildren(this.cards, this.message, this.moreButton);
    new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) this.loadPage();
      },
      {
        rootMargin: "100%",
      },
    ).observe(this.moreButton);
    this.cards.addEventListener("click", (event) => this.handleClick(event));
    this.cards.addEventListener("keydown", (event) => this.handleKey(event));
    enableHoverZoom(this.cards);
    workspace.selection.on("change", () => this.markChosen());
    workspace.state.on("change", () => this.update());
  }

  get isActive() {
    return this.workspace.state.get("_look") === GALLERY_LOOK;
  }

  /** Show or hide the gallery, and start it again for a new search. */
  async update() {
    this.container.hidden = !this.isActive;
    if (this.grid instanceof HTMLElement) this.grid.hidden = this.isActive;
    const search = String(this.workspace.state.withChanges(DISPLAY_PARAMETERS));
    if (!this.isActive || search === this.lastSearch) return;
    this.lastSearch = search;
    this.pages.reset();
    this.nextPage = 0;
    this.cards.replaceChildren();
    this.moreButton.hidden = true;
    await this.loadPage();
  }

  /** Load the next page of cards. */
  async loadPage() {
    const { cards, moreButton, pages, message, workspace } = this;
    const number = this.nextPage++;
    try {
      const page = await pages.fetchPage(number);
      if (!page) return;
      cards.append(...page.rows.map((row, index) => this.createCard(page, row, page.keys[index])));
      this.markChosen();
      moreButton.hidden = !page.more || cards.childElementCount >= MAX_CARDS;
      message.textContent = cards.childElementCount ? "" : workspace.t("No row meets all of these conditions.");
      if (cards.childElementCount >= MAX_CARDS)
        message.textContent = workspace.t("Only the first {count} are shown. Narrow the search.", { count: MAX_CARDS });
      if (number === 0 && page.rows.length) workspace.setLoadedRows(page);
    } catch (/** @type {any} */ error) {
      this.nextPage = number;
      message.textContent = error.message;
    }
  }

  /**
   * @param {Rows} page
   * @param {Value[]} row
   * @param {string} key
   */
  createCard(page, row, key) {
    const { columns } = page;
    const texts = orderColumns(page)
      .filter((column) => columns[column].kind !== "picture" && row[column] !== null)
      .slice(0, 3)
      .map((column) => formatValue(columns[column], row[column]));
    const pictureUrls = row.map(getPictureUrl).filter(Boolean).slice(0, 1);
    const pictures = pictureUrls.map((src) =>
      createElement("img", { src, alt: "", loading: "lazy", decoding: "async" }),
    );
    const lines = texts.map((text, index) => createElement(index ? "small" : "b", { textContent: text }));
    const cardButton = createButton("", () => {}, { className: "card-of" });
    cardButton.dataset.key = key;
    cardButton.replaceChildren(
      createElement("span", { className: "shot" }, ...(pictures.length ? pictures : [createPlaceholder()])),
      ...lines,
    );
    return createElement("li", {}, cardButton);
  }

  markChosen() {
    const { selection } = this.workspace;
    for (const card of findElements(this.cards, "button[data-key]"))
      card.setAttribute("aria-pressed", String(card.dataset.key === selection.chosen));
  }

  /** @param {MouseEvent} event */
  handleClick(event) {
    const key = /** @type {HTMLElement | null} */ (getEventTarget(event).closest("button[data-key]"))?.dataset.key;
    if (key) this.workspace.chooseRow(key);
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    const cards = findElements(this.cards, "button[data-key]");
    const index = cards.indexOf(getEventTarget(event));
    const cardsPerRow = Math.max(cards.filter((card) => card.offsetTop === cards[0].offsetTop).length, 1);
    /** @type {Record<string, number>} */
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -cardsPerRow, ArrowDown: cardsPerRow };
    const target = cards[index + steps[event.key]];
    if (index < 0 || !target || event.altKey) return;
    event.preventDefault();
    target.focus();
  }
}

/**
 * @param {Column} column
 * @param {Value} value
 */
function formatValue({ label, unit, unit_text: unitText, numeric }, value) {
  const text = typeof value === "string" ? value : (value?.text ?? "");
  return numeric ? `${label} ${text}${unit ? ` ${unitText}` : ""}` : text;
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  return new PictureGallery(container, workspace).update();
}
