// The basket in the page header: its number of entries, kept in step with the marked rows of all open pages.
import {
  addToBasket,
  getTableName,
  countEntries,
  isBasketEvent,
  createEmptyBasket,
  findBasketPart,
  loadBasket,
  storeBasket,
  removeFromBasket,
} from "./contents/basket_storage.js";
import { findElements, requireElement, createButton, createElement, findElement } from "hven/dom.js";
/** @import {StoredBasket, BasketPart} from "./contents/basket_storage.js" */
/** @import {RowReference, Workspace} from "hven/workspace.js" */

const MESSAGE_MILLISECONDS = 6000; // how long a message is visible
const SENT_KEY = "hven-basket-sent"; // this tab has sent the basket: without cookies it must not do so twice

/** The link to the basket with its counter. */
class Basket {
  /** @type {StoredBasket} */
  basket;
  message = createElement("span", { className: "only-heard", role: "status" });
  /** Requests to the server, one after the other.
   * @type {Promise<unknown>} */
  pendingRequests = Promise.resolve();

  /**
   * @param {HTMLAnchorElement} link
   * @param {Workspace} workspace
   */
  constructor(link, workspace) {
    this.link = link;
    this.workspace = workspace;
    this.owner = link.dataset.owner ?? "";
    this.tableName = getTableName(findElement(document, "[data-here]")?.dataset.here ?? "", workspace.base);
    this.basket = loadBasket();
    /** Whether the local basket is that of the server. */
    this.isCurrent =
      !this.owner || (this.basket.owner === this.owner && this.basket.state === (link.dataset.state ?? ""));
    if (this.basket.owner && this.basket.owner !== this.owner) {
      this.basket = createEmptyBasket(); // it belongs to another user, who has logged out
      storeBasket(this.basket);
    }
    link.after(this.message);
  }

  /**
   * Store a basket and show its count.
   * @param {StoredBasket} basket
   */
  setBasket(basket) {
    this.basket = basket;
    this.isCurrent = true;
    storeBasket(basket);
    this.draw();
  }

  draw() {
    const count = countEntries(this.basket.parts);
    const counter = requireElement(this.link, "b");
    if (!this.isCurrent) return; // keep the server's count
    counter.textContent = this.workspace.formatNumber(count);
    counter.hidden = !count;
    this.link.title = count ? this.describeCount(count) : "";
  }

  /**
   * Describe the number of entries: marked rows or observations, and searches.
   * @param {number} count
   */
  describeCount(count) {
    const { t } = this.workspace;
    if (count === 1) return t("1 entry in the basket");
    return t("{count} entries in the basket", { count: this.workspace.formatNumber(count) });
  }

  /** Merge what was marked before the log-in and on other pages. */
  async begin() {
    const { basket, owner } = this;
    if (owner && !basket.owner && basket.parts.length)
      await this.post({ ADD: serializeParts(basket.parts), ONLY: "1" });
    else if (!this.isCurrent && (this.tableName || findElement(document, ".detail")))
      await this.post({ ADD: serializeParts([]) });
    this.draw();
    await this.synchronizePage();
    this.listen();
    this.markRows();
  }

  /** Send unknown entries to the server before the basket page shows them, and read the server's basket. */
  async synchronizePage() {
    const script = findElement(document, "script#basket");
    const pictureLinks = findElements(document, "main .part a[data-picture]", HTMLAnchorElement);
    if (pictureLinks.length) {
      const { isAllowedPicture, showThumbnail } = await import("hven/table_cells.js");
      for (const link of pictureLinks) {
        if (isAllowedPicture(link.href)) showThumbnail(link);
      }
    }
    if (!script) return;
    const { basket, owner } = this;
    const isUnknown = !("known" in script.dataset) && basket.parts.length > 0;
    if (!owner && (basket.fresh || isUnknown) && sessionStorage.getItem(SENT_KEY) !== serializeParts(basket.parts)) {
      await this.sendBasket();
      return location.reload();
    }
    const { parts = [] } = JSON.parse(script.textContent ?? "{}");
    if (!isUnknown) this.setBasket({ owner, state: this.link.dataset.state ?? "", fresh: false, parts });
  }

  /** Send the local basket to the server, which keeps it for its page. */
  async sendBasket() {
    const { parts } = this.basket;
    sessionStorage.setItem(SENT_KEY, serializeParts(parts));
    await this.post({ SET: serializeParts(parts) });
  }

  /** Listen to marked rows, other pages, and forms of the basket. */
  listen() {
    const { workspace } = this;
    workspace.on("ticked", ({ of: table = this.tableName, line, on: isAdded }) => {
      this.changePart({ of: table, lines: [line], searches: [] }, isAdded);
      // the change did not come from the grid
      if (!this.workspace.selection.marked.has(line[0]) === isAdded) this.markRows();
    });
    addEventListener("storage", (event) => {
      if (isBasketEvent(event)) this.reload();
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.reload();
    });
    this.link.addEventListener("click", (event) => this.handleLinkClick(event));
    document.addEventListener("submit", (event) => this.handleSubmit(event));
  }

  /** Another page has changed the basket. */
  reload() {
    this.basket = loadBasket();
    this.isCurrent = true;
    this.draw();
    this.markRows();
  }

  /** Mark the rows of this table that are in the basket. */
  markRows() {
    const { selection } = this.workspace;
    if (!this.tableName) return;
    const { lines } = findBasketPart(this.basket.parts, this.tableName);
    const keysInBasket = new Set(lines.flat());
    const keysToUnmark = [...selection.marked].filter((key) => !keysInBasket.has(key));
    if (keysToUnmark.length) selection.mark(keysToUnmark, false);
    const files = lines.flatMap((line) => line.slice(1));
    if (keysInBasket.size)
      selection.mark(
        lines.map(([first]) => first),
        true,
        files,
      );
  }

  /**
   * Add entries to the basket or remove them, and send the change.
   * @param {BasketPart} part
   * @param {boolean} on
   */
  changePart(part, on) {
    const { basket, owner } = this;
    const parts = on ? addToBasket(basket.parts, part) : removeFromBasket(basket.parts, part);
    if (!parts) {
      this.showMessage(this.workspace.t("The basket is full. Add a search instead of its rows"), true);
      return this.markRows();
    }
    this.setBasket({ ...basket, owner, parts, fresh: !owner });
    this.showMessage(this.describeCount(countEntries(parts)));
    if (owner)
      this.pendingRequests = this.pendingRequests.then(() =>
        this.post({ [on ? "ADD" : "REMOVE"]: serializeParts([part]) }),
      );
  }

  /**
   * Send a change to the server and store its response; a refused change is undone.
   * @param {Record<string, string>} fields
   */
  async post(fields) {
    try {
      const response = await fetch(`${this.workspace.base}/basket`, {
        method: "POST",
        body: new URLSearchParams(fields),
        headers: { accept: "application/json" },
        credentials: "same-origin",
        // so that the request survives when the user leaves the page
        keepalive: String(Object.values(fields)[0]).length < 30_000,
      });
      const body = await response.json();
      if (!response.ok) throw new Error(`${body.message} ${body.remedy}`);
      this.setBasket({ owner: this.owner, state: body.state, fresh: false, parts: JSON.parse(body.basket).parts });
    } catch (/** @type {any} */ error) {
      this.showMessage(error.message, true);
    }
  }

  /**
   * Send the basket before the basket page opens.
   * @param {MouseEvent} event
   */
  async handleLinkClick(event) {
    if (this.owner || !this.basket.fresh || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    await this.sendBasket();
    location.href = this.link.href;
  }

  /**
   * Handle forms that change the basket: searches are added here, other forms need an up-to-date server.
   * @param {SubmitEvent} event
   */
  async handleSubmit(event) {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (new URL(form.action, location.href).pathname !== new URL(this.link.href).pathname) return;
    if ("searched" in form.dataset) {
      event.preventDefault();
      const search = new URLSearchParams(this.workspace.search);
      for (const name of ["_cols", "_names", "_strip"]) search.delete(name);
      for (const name of [...search.keys()]) {
        if (name.startsWith("_unit.")) search.delete(name);
      }
      this.changePart({ of: this.tableName, lines: [], searches: [String(search)] }, true);
      this.showMessage(this.workspace.t("All rows that were found are in the basket"), true);
    } else if (!this.owner && this.basket.fresh) {
      event.preventDefault();
      await this.sendBasket();
      form.requestSubmit(event.submitter);
    }
  }

  /**
   * Announce a message to screen readers, or show it to everyone.
   * @param {string} text
   * @param {boolean} [isVisible]
   */
  showMessage(text, isVisible = false) {
    this.message.textContent = text;
    this.message.className = isVisible ? "said" : "only-heard";
    clearTimeout(this.messageTimer);
    this.messageTimer = setTimeout(() => (this.message.className = "only-heard"), MESSAGE_MILLISECONDS);
  }

  messageTimer = 0;
}

/** @param {BasketPart[]} parts */
function serializeParts(parts) {
  return JSON.stringify({ parts });
}

/**
 * Create a button that puts a row into the basket or removes it.
 * @param {RowReference} row
 * @param {Workspace} workspace
 */
function createBasketButton({ tableUrl, keys }, workspace) {
  const { t } = workspace;
  const table = getTableName(tableUrl, workspace.base);
  const isInBasket = () => findBasketPart(loadBasket().parts, table).lines.flat().includes(keys[0]);
  const updateLabel = () =>
    (basketButton.textContent = isInBasket() ? t("Remove from the basket") : t("Add to the basket"));
  const basketButton = createButton("", () => {
    workspace.emit("ticked", { of: table, line: [...new Set(keys)], on: !isInBasket() });
    updateLabel();
  });
  updateLabel();
  return basketButton;
}

/**
 * @param {HTMLAnchorElement} link
 * @param {Workspace} workspace
 */
export function mount(link, workspace) {
  workspace.addRowAction((row) => createBasketButton(row, workspace));
  return new Basket(link, workspace).begin();
}
