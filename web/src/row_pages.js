// The pages of a search result, all of one state of the table. They are fetched when needed, and a limited number is
// cached.
import { addPairs } from "./grid_rows.js";
/** @import {Rows} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

export const PAGE_ROWS = 100;
const MAX_PAGES = 40;
const DISPLAY_PARAMETERS = { _row: null, _panes: null, _look: null, _compare: null };

/** The cached pages of one search. */
export class RowPages {
  /** Pages by number, or promises of them, the most recently used last.
   * @type {Map<number, Rows | Promise<Rows | null>>} */
  cache = new Map();
  version = 0;
  /** The state of the table that all pages belong to.
   * @type {string | null} */
  tableState = null;
  isRenewed = false; // that state has expired: these rows are of the current one

  /**
   * @param {string} tableUrl
   * @param {Workspace} workspace
   * @param {() => Promise<null>} onStateLost called when the state of the pages has expired
   */
  constructor(tableUrl, workspace, onStateLost) {
    this.tableUrl = tableUrl;
    this.workspace = workspace;
    this.onStateLost = onStateLost;
  }

  /** Discard all pages, for a new search. */
  reset() {
    this.cache = new Map();
    this.tableState = null;
    return ++this.version;
  }

  /** @returns {Record<string, string>} */
  get stateParameters() {
    return this.tableState ? { _asof: this.tableState } : {};
  }

  /**
   * Return a page if it is loaded.
   * @param {number} number
   */
  getLoadedPage(number) {
    const page = this.cache.get(number);
    return page instanceof Promise ? undefined : page;
  }

  /**
   * Fetch a page; null if a newer search has replaced it.
   * @param {number} number
   * @returns {Promise<Rows | null>}
   */
  async fetchPage(number) {
    const page = this.cache.get(number);
    if (page) {
      this.cache.delete(number);
      this.cache.set(number, page);
      return page;
    }
    const cache = this.cache;
    const request = this.requestPage(number);
    cache.set(number, request);
    request.catch(() => cache.delete(number));
    return request;
  }

  /**
   * Request a page and add it to the cache.
   * @param {number} number
   * @returns {Promise<Rows | null>}
   */
  async requestPage(number) {
    const ownVersion = this.version;
    const range = { _from: String(number * PAGE_ROWS), _size: String(PAGE_ROWS) };
    const state = this.workspace.state.withChanges({ ...range, ...DISPLAY_PARAMETERS, ...this.stateParameters });
    /** @type {Rows} */
    const page = addPairs(await this.workspace.fetchJson(`${this.tableUrl}/rows`, { state }));
    if (ownVersion !== this.version) return null;
    if (page.lost && this.tableState) return this.onStateLost();
    this.tableState = page.state;
    this.isRenewed ||= page.lost;
    this.cache.set(number, page);
    for (const oldNumber of this.cache.keys()) {
      if (this.cache.size <= MAX_PAGES) break;
      this.cache.delete(oldNumber);
    }
    return page;
  }

  /**
   * Find the loaded row nearest to an index: its index and its key.
   * @param {number} rowIndex
   */
  findNearestRow(rowIndex) {
    let nearestPage = 0;
    /** @type {string[]} */
    let nearestKeys = [""];
    let minDistance = Infinity;
    for (const [pageNumber, page] of this.cache) {
      const distance = Math.abs(pageNumber * PAGE_ROWS - rowIndex);
      if (page instanceof Promise || !page.keys[0] || distance >= minDistance) continue;
      [nearestPage, nearestKeys, minDistance] = [pageNumber, page.keys, distance];
    }
    const index = Math.max(0, Math.min(rowIndex - nearestPage * PAGE_ROWS, nearestKeys.length - 1));
    return { place: nearestPage * PAGE_ROWS + index, key: nearestKeys[index] };
  }

  /**
   * Find the index of a row among the loaded pages; null if it is in none.
   * @param {string | null} key
   */
  findLoadedRow(key) {
    for (const [pageNumber, page] of this.cache) {
      const index = page instanceof Promise ? -1 : page.keys.indexOf(key ?? "");
      if (index >= 0) return pageNumber * PAGE_ROWS + index;
    }
    return null;
  }

  /**
   * Fetch the index of a row among all rows; null if it is unknown.
   * @param {string} key
   * @returns {Promise<number | null>}
   */
  async locateRow(key) {
    const displayParameters = { _view: null, _map: null, _plot: null, _compare: null };
    const state = this.workspace.state.withChanges({ _row: key, ...displayParameters, ...this.stateParameters });
    const response = await this.workspace
      .fetchJson(`${this.tableUrl}/place`, { state, pane: "place" })
      .catch(() => null);
    return response?.place ?? null;
  }
}
