// Searches that a reader keeps, in their browser's own store: a name and an address each, nothing of them is sent to anybody.
import { button, make } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

/** @typedef {{name: string, address: string}} Kept `address`: from the root of the site */

const MOST = 100;

export class Searches {
  /**
   * @param {string} base of the site, or of the portal: each has its own
   * @param {Pick<Storage, "getItem" | "setItem">} [store]
   */
  constructor(base, store = localStorage) {
    this.key = `hven searches ${base}`;
    this.store = store;
  }

  /** @returns {Kept[]} the newest first; what somebody else wrote there is none */
  get list() {
    try {
      const found = JSON.parse(this.store.getItem(this.key) ?? "[]");
      const fits = (/** @type {Kept} */ one) => typeof one?.name === "string" && /^\/(?![/\\])/.test(one?.address);
      return Array.isArray(found) ? found.filter(fits) : [];
    } catch {
      return []; // a browser may keep nothing, and says so by an error
    }
  }

  /**
   * Keep a search, whatever it was called before; gives whether the browser does.
   * @param {Kept} one
   */
  keep(one) {
    return this.#write([one, ...this.list.filter(({ address }) => address !== one.address)].slice(0, MOST));
  }

  /** @param {string} address */
  drop(address) {
    return this.#write(this.list.filter((one) => one.address !== address));
  }

  /** @param {Kept[]} list */
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
 * List them as links, each with a button that forgets it.
 * @param {HTMLElement} place
 * @param {Searches} searches
 * @param {Workspace["t"]} t
 */
export function listed(place, searches, t) {
  const items = searches.list.map(({ name, address }) => {
    const forget = button(
      "×",
      () => {
        searches.drop(address);
        listed(place, searches, t);
      },
      { className: "quiet", "aria-label": t("Forget {name}", { name }) },
    );
    return make("li", {}, make("a", { href: address, textContent: name }), " ", forget);
  });
  place.replaceChildren(...items);
}

/**
 * On the first page: those that there are.
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, { base, t }) {
  const searches = new Searches(base);
  if (!searches.list.length) return;
  const list = make("ul", { className: "kept-searches" });
  listed(list, searches, t);
  box.append(list);
  box.hidden = false;
}
