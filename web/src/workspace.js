// The state that the panes of a page share: address, selection, loaded rows, requests, language.
/** @import uPlot from "uplot" */
/** @import {Axis, Column, RelaxedSearch, Translate, Value} from "./answers.js" */

/** @typedef {Record<string, string | string[] | null>} StateChanges null removes a parameter, a list repeats it */
/** @typedef {{columns: Column[], rows: Value[][], keys: string[], total: number | null, exact: boolean}} LoadedRows */
/**
 * @typedef {{tableUrl: string, keys: string[]}} RowReference
 * a row by its key, which the keys of the other files of its observation follow
 */
/** @typedef {{plot: uPlot, axes: Axis[]}} DrawnPlot a plot with the axes of columns: one of a histogram, else two */
/** @typedef {(row: RowReference) => HTMLElement} CreateRowAction */
/** @typedef {(row: RowReference) => HTMLElement} CreateRowSection */
/**
 * @typedef {{
 *   state?: {toString(): string} | null,
 *   pane?: string | null,
 *   method?: string,
 *   body?: BodyInit,
 * }} RequestOptions
 */

/** Parameters of the display; they are not part of a search. */
const DISPLAY_PARAMETERS = {
  _row: null,
  _panes: null,
  _look: null,
  _sort: null,
  _cols: null,
  _view: null,
  _map: null,
  _plot: null,
  _compare: null,
};

/**
 * An event target with typed events.
 * @template {Record<string, object>} Events
 */
export class EventEmitter extends EventTarget {
  /**
   * Add a listener.
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(event: Event & Events[Name]) => unknown} listener
   */
  on(name, listener) {
    this.addEventListener(name, /** @type {EventListener} */ (listener));
  }

  /**
   * Dispatch an event.
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {Events[Name]} details
   */
  emit(name, details) {
    this.dispatchEvent(Object.assign(new Event(name), details));
  }
}

/**
 * The parameters of the address; names may repeat.
 * @extends {EventEmitter<{change: {changed?: string[]}}>}
 */
export class State extends EventEmitter {
  /** @type {URLSearchParams} */
  #parameters;

  constructor(search = location.search) {
    super();
    this.#parameters = new URLSearchParams(search);
    addEventListener("popstate", () => {
      this.#parameters = new URLSearchParams(location.search);
      this.emit("change", {});
    });
  }

  /** @param {string} name */
  get(name) {
    return this.#parameters.get(name);
  }

  /**
   * Return all values of a parameter.
   * @param {string} name
   */
  getAll(name) {
    return this.#parameters.getAll(name);
  }

  /** @param {string} name */
  has(name) {
    return this.#parameters.has(name);
  }

  entries() {
    return [...this.#parameters];
  }

  /** function toString() { [native code] } */
  toString() {
    return this.#parameters.toString();
  }

  /**
   * Return the parameters with some changes.
   * @param {StateChanges} changes
   */
  withChanges(changes) {
    const parameters = new URLSearchParams(this.#parameters);
    for (const [name, value] of Object.entries(changes)) {
      parameters.delete(name);
      for (const item of Array.isArray(value) ? value : [value]) {
        if (item !== null && item !== "") parameters.append(name, item);
      }
    }
    return parameters;
  }

  /**
   * Change parameters and dispatch `change`; `replace` adds no step to the history (for map moves and sliders).
   * @param {StateChanges} changes
   */
  set(changes, { replace = false } = {}) {
    const parameters = this.withChanges(changes);
    if (parameters.toString() === this.#parameters.toString()) return;
    this.#parameters = parameters;
    const address = `${location.pathname}${parameters.size ? `?${parameters}` : ""}${location.hash}`;
    history[replace ? "replaceState" : "pushState"](null, "", address);
    this.emit("change", { changed: Object.keys(changes) });
  }
}

/**
 * The row keys that are pointed at (`hover`), chosen and marked. Dispatches `change` with the name of what changed.
 * @extends {EventEmitter<{change: {name: string}}>}
 */
export class Selection extends EventEmitter {
  /** @type {string | null} */
  hover = null;
  /** @type {string | null} */
  chosen = null;
  /** @type {Set<string>} */
  marked = new Set();
  /** Marked files of observations whose line is marked.
   * @type {Set<string>} */
  files = new Set();

  /**
   * Set the hovered or the chosen row.
   * @param {"hover" | "chosen"} name
   * @param {string | null} key
   */
  set(name, key) {
    if (this[name] === key) return;
    this[name] = key;
    this.emit("change", { name });
  }

  /**
   * Mark lines and the files behind them, or remove the marks.
   * @param {string[]} keys
   * @param {boolean} [isMarked]
   * @param {string[]} [files] rows behind these lines, which follow them
   */
  mark(keys, isMarked = true, files = []) {
    for (const key of [...keys, ...files]) this.marked[isMarked ? "add" : "delete"](key);
    for (const key of files) this.files[isMarked ? "add" : "delete"](key);
    for (const key of keys) this.files.delete(key);
    this.emit("change", { name: "marked" });
  }

  /** The marked lines, for comparisons. */
  get markedLines() {
    return [...this.marked].filter((key) => !this.files.has(key));
  }

  /**
   * Return whether a row is chosen, pointed at or marked.
   * @param {string | null | undefined} key
   */
  has(key) {
    return Boolean(key) && (key === this.chosen || key === this.hover || this.marked.has(/** @type {string} */ (key)));
  }
}

/** An error response of the server, with its remedy. */
export class RequestError extends Error {
  /**
   * @param {number} status
   * @param {any} body
   */
  constructor(status, body) {
    super(body?.message ?? `the server answered ${status}`);
    this.status = status;
    this.remedy = body?.remedy ?? "";
    this.fields = body?.fields ?? {};
    this.body = body;
  }
}

/**
 * What all panes of a page share.
 * @extends {EventEmitter<{
 *   rows: {},
 *   count: {},
 *   plot: {},
 *   step: {step: number},
 *   ticked: {of?: string, line: string[], on: boolean},
 *   overtaken: {pane: string},
 *   places: {},
 *   action: {createAction: CreateRowAction},
 *   section: {createSection: CreateRowSection},
 * }>}
 */
export class Workspace extends EventEmitter {
  /** @type {Map<string, AbortController>} */
  #requests = new Map();
  state = new State();
  selection = new Selection();
  /** The rows that the grid has loaded.
   * @type {LoadedRows | null} */
  loadedRows = null;
  /** The plot of the page.
   * @type {DrawnPlot | null} */
  drawnPlot = null;
  /** The last count that the form received.
   * @type {{search: string, total: number | null, exact: boolean, without: RelaxedSearch[]} | null} */
  lastCount = null;
  /** Create the actions of a row that panes of packages add; see `addRowAction`.
   * @type {CreateRowAction[]} */
  rowActions = [];
  /** Create the sections of a row that panes of packages add; see `addRowSection`.
   * @type {CreateRowSection[]} */
  rowSections = [];
  /** Mounts the panes of a part of the page; see main.js.
   * @type {(root: ParentNode) => void} */
  mountPanes = () => {};

  /** @param {Document} page */
  constructor(page) {
    super();
    const root = page.documentElement;
    this.base = root.dataset.base ?? "";
    this.language = root.lang || "en";
    this.isSignedIn = "reader" in root.dataset; // the user is logged in
    const texts = page.getElementById("texts");
    /** @type {Record<string, string>} */
    const translations = texts ? JSON.parse(texts.textContent ?? "{}") : {};
    /** @type {Translate} */
    this.t = (text, values = {}) =>
      (translations[text] ?? text).replace(/\{(\w+)\}/g, (placeholder, name) => String(values[name] ?? placeholder));
  }

  /** The search as text, without display parameters. */
  get search() {
    return String(this.state.withChanges(DISPLAY_PARAMETERS));
  }

  /**
   * Format a number in the user's language.
   * @param {number} value
   */
  formatNumber(value) {
    return value.toLocaleString(this.language);
  }

  /**
   * Store the loaded rows and notify the panes.
   * @param {LoadedRows} rows
   */
  setLoadedRows(rows) {
    this.loadedRows = rows;
    this.emit("rows", {});
  }

  /**
   * Store the plot that is drawn and notify the panes.
   * @param {DrawnPlot | null} drawnPlot
   */
  setDrawnPlot(drawnPlot) {
    this.drawnPlot = drawnPlot;
    this.emit("plot", {});
  }

  /**
   * Add an action to the panel of each row.
   * @param {CreateRowAction} createAction
   */
  addRowAction(createAction) {
    this.rowActions.push(createAction);
    this.emit("action", { createAction });
  }

  /**
   * Add a section to the panel of each row, between its actions and its values.
   * @param {CreateRowSection} createSection
   */
  addRowSection(createSection) {
    this.rowSections.push(createSection);
    this.emit("section", { createSection });
  }

  /**
   * Toggle the mark of a row and notify the panes.
   * @param {string} key
   * @param {string[]} files files of its observation
   */
  toggleMark(key, files) {
    const isMarked = !this.selection.marked.has(key);
    this.selection.mark([key], isMarked, files);
    this.emit("ticked", { line: [...new Set([key, ...files])], on: isMarked });
  }

  /**
   * Choose a row, in the selection and in the address.
   * @param {string} key
   */
  chooseRow(key) {
    this.selection.set("chosen", key);
    this.state.set({ _row: key });
  }

  /**
   * Fetch JSON. A new request of the same `pane` cancels the previous one, whose promise then never settles.
   * Rejects with `RequestError` if the server refuses.
   * @param {string} path
   * @param {RequestOptions} [question]
   * @returns {Promise<any>}
   */
  async fetchJson(path, { state = this.state, pane = null, method = "GET", body = undefined } = {}) {
    this.cancelRequest(pane);
    const controller = new AbortController();
    if (pane) this.#requests.set(pane, controller);
    const query = state ? String(state) : "";
    const address = path.startsWith("/") ? this.base + path : path;
    try {
      const response = await fetch(query ? `${address}${address.includes("?") ? "&" : "?"}${query}` : address, {
        method,
        body,
        signal: controller.signal,
        headers: { accept: "application/json" },
        credentials: "same-origin",
      });
      const json = await response.json().catch((error) => {
        if (response.ok || error.name === "AbortError") throw error;
        return null; // an error response needs no JSON; a broken response is an error
      });
      if (!response.ok) throw new RequestError(response.status, json);
      return json;
    } catch (/** @type {any} */ error) {
      if (error.name === "AbortError") return new Promise(() => {});
      throw error;
    } finally {
      if (pane && this.#requests.get(pane) === controller) this.#requests.delete(pane);
    }
  }

  /**
   * Return an address for programs that have no cookie: signed if they would get another response than this user.
   * @param {string} url
   * @returns {Promise<string>}
   */
  async getShareableUrl(url) {
    if (!this.isSignedIn || new URL(url, location.href).origin !== location.origin) return url;
    const fetchHead = (/** @type {RequestCredentials} */ credentials) => fetch(url, { method: "HEAD", credentials });
    const [ownResponse, anonymousResponse] = await Promise.all([fetchHead("same-origin"), fetchHead("omit")]);
    const tag = ownResponse.headers.get("etag");
    if (tag && anonymousResponse.ok && tag === anonymousResponse.headers.get("etag")) return url;
    return (await this.fetchJson("/sign", { state: null, method: "POST", body: new URLSearchParams({ url }) })).url;
  }

  /**
   * Cancel the request of a pane and dispatch `overtaken`.
   * @param {string | null} pane
   */
  cancelRequest(pane) {
    const controller = pane ? this.#requests.get(pane) : undefined;
    if (!pane || !controller) return;
    controller.abort();
    this.emit("overtaken", { pane });
  }
}
