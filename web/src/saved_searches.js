// Saved searches, kept in the browser's local storage: nothing is sent to the server.
import { createButton, createElement } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

/** @typedef {{name: string, address: string}} SavedSearch `address` begins at the root of the site */

const MAX_SEARCHES = 100;

/** The searches of one site or portal in the browser's storage. */
export class SavedSearches {
  /**
   * @param {string} base address of the site or the portal: each has its own searches
   * @param {Pick<Storage, "getItem" | "setItem">} [store]
   */
  constructor(base, store = localStorage) {
    this.key = `hven searches ${base}`;
    this.store = store;
  }

  /** @returns {SavedSearch[]} the newest first; invalid entries are ignored */
  get list() {
    try {
      const entries = JSON.parse(this.store.getItem(this.key) ?? "[]");
      const isSavedSearch = (/** @type {SavedSearch} */ entry) =>
        typeof entry?.name === "string" && /^\/(?![/\\])/.test(entry?.address);
      return Array.isArray(entries) ? entries.filter(isSavedSearch) : [];
    } catch {
      return []; // browsers that block storage throw an error
    }
  }

  /**
   * Save a search under its address; return whether the browser stored it.
   * @param {SavedSearch} search
   */
  save(search) {
    return this.#write(
      [search, ...this.list.filter(({ address }) => address !== search.address)].slice(0, MAX_SEARCHES),
    );
  }

  /** @param {string} address */
  remove(address) {
    return this.#write(this.list.filter((search) => search.address !== address));
  }

  /** @param {SavedSearch[]} list */
  #write(list) {
    try {
      this.store.setItem(this.key, JSON.stringify(list));
      return true;
    } catch {
      return false;
    }
  }
}

/**
 * Show the saved searches as links, each with a button that removes it.
 * @param {HTMLElement} element
 * @param {SavedSearches} searches
 * @param {Workspace["t"]} t
 */
export function showSavedSearches(element, searches, t) {
  const items = searches.list.map(({ name, address }) => {
    const forgetButton = createButton(
      "×",
      () => {
        searches.remove(address);
        showSavedSearches(element, searches, t);
      },
      { className: "quiet", "aria-label": t("Forget {name}", { name }) },
    );
    return createElement("li", {}, createElement("a", { href: address, textContent: name }), " ", forgetButton);
  });
  element.replaceChildren(...items);
}

/**
 * Show the saved searches on the home page.
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, { base, t }) {
  const searches = new SavedSearches(base);
  if (!searches.list.length) return;
  const list = createElement("ul", { className: "kept-searches" });
  showSavedSearches(list, searches, t);
  container.append(list);
  container.hidden = false;
}
