// What the panes of a page share: the state in the address, the selection, the rows that are loaded, asking the server, the language.
/** @import {Column, Easier, Translate, Value} from "./answers.js" */

/** @typedef {Record<string, string | string[] | null>} Changes null removes a parameter, a list gives it several times */
/** @typedef {{columns: Column[], rows: Value[][], keys: string[], total: number | null, exact: boolean}} Loaded */
/** @typedef {{state?: {toString(): string} | null, pane?: string | null, method?: string, body?: BodyInit}} Question */

/** What is looked at of a search, and how: no part of the search itself. */
const LOOKS = {
  _row: null,
  _look: null,
  _sort: null,
  _cols: null,
  _view: null,
  _map: null,
  _plot: null,
  _compare: null,
};

/**
 * Somebody who tells others of events, each with its facts.
 * @template {Record<string, object>} Facts
 */
export class Teller extends EventTarget {
  /**
   * Listen to an event.
   * @template {keyof Facts & string} Name
   * @param {Name} name
   * @param {(event: Event & Facts[Name]) => unknown} act
   */
  on(name, act) {
    this.addEventListener(name, /** @type {EventListener} */ (act));
  }

  /**
   * Tell of an event.
   * @template {keyof Facts & string} Name
   * @param {Name} name
   * @param {Facts[Name]} facts
   */
  tell(name, facts) {
    this.dispatchEvent(Object.assign(new Event(name), facts));
  }
}

/**
 * Parameters of a search as they stand in the address; a name may come several times.
 * @extends {Teller<{change: {changed?: string[]}}>}
 */
export class State extends Teller {
  /** @type {URLSearchParams} */
  #parameters;

  constructor(search = location.search) {
    super();
    this.#parameters = new URLSearchParams(search);
    addEventListener("popstate", () => {
      this.#parameters = new URLSearchParams(location.search);
      this.tell("change", {});
    });
  }

  /** @param {string} name */
  get(name) {
    return this.#parameters.get(name);
  }

  /** @param {string} name */
  all(name) {
    return this.#parameters.getAll(name);
  }

  /** @param {string} name */
  has(name) {
    return this.#parameters.has(name);
  }

  entries() {
    return [...this.#parameters];
  }

  toString() {
    return this.#parameters.toString();
  }

  /**
   * Give the parameters with some of them changed.
   * @param {Changes} changes
   */
  with(changes) {
    const next = new URLSearchParams(this.#parameters);
    for (const [name, value] of Object.entries(changes)) {
      next.delete(name);
      for (const each of Array.isArray(value) ? value : [value])
        if (each !== null && each !== "") next.append(name, each);
    }
    return next;
  }

  /**
   * Change parameters and tell everybody; `replace` leaves no step in the history (a map that moves, a slider on its way).
   * @param {Changes} changes
   */
  set(changes, { replace = false } = {}) {
    const next = this.with(changes);
    if (next.toString() === this.#parameters.toString()) return;
    this.#parameters = next;
    const address = `${location.pathname}${next.size ? `?${next}` : ""}${location.hash}`;
    history[replace ? "replaceState" : "pushState"](null, "", address);
    this.tell("change", { changed: Object.keys(changes) });
  }
}

/**
 * Keys of rows: `hover` (one, or null), `chosen` (one, or null), `marked` (several). Tells `change` with what changed.
 * @extends {Teller<{change: {name: string}}>}
 */
export class Selection extends Teller {
  /** @type {string | null} */
  hover = null;
  /** @type {string | null} */
  chosen = null;
  /** @type {Set<string>} */
  marked = new Set();
  /** Those that are marked as files of an observation, whose line is marked.
   * @type {Set<string>} */
  files = new Set();

  /**
   * @param {"hover" | "chosen"} name
   * @param {string | null} key
   */
  set(name, key) {
    if (this[name] === key) return;
    this[name] = key;
    this.tell("change", { name });
  }

  /**
   * @param {string[]} keys
   * @param {boolean} [on]
   * @param {string[]} [files] rows behind these lines: they go with them
   */
  mark(keys, on = true, files = []) {
    for (const key of [...keys, ...files]) this.marked[on ? "add" : "delete"](key);
    for (const key of files) this.files[on ? "add" : "delete"](key);
    for (const key of keys) this.files.delete(key);
    this.tell("change", { name: "marked" });
  }

  /** The lines that are marked: what one compares. */
  get lines() {
    return [...this.marked].filter((key) => !this.files.has(key));
  }

  /**
   * Tell whether a row is chosen, pointed at or marked.
   * @param {string | null | undefined} key
   */
  has(key) {
    return Boolean(key) && (key === this.chosen || key === this.hover || this.marked.has(/** @type {string} */ (key)));
  }
}

/** An answer that says what went wrong, where, and what helps. */
export class Refused extends Error {
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

/** @extends {Teller<{rows: {}, count: {}, step: {step: number}, ticked: {of?: string, line: string[], on: boolean}, overtaken: {pane: string}}>} */
export class Workspace extends Teller {
  /** @type {Map<string, AbortController>} */
  #asked = new Map();
  state = new State();
  selection = new Selection();
  /** What the grid has loaded.
   * @type {Loaded | null} */
  rows = null;
  /** What the form was told last.
   * @type {{search: string, total: number | null, exact: boolean, without: Easier[]} | null} */
  counted = null;
  /** Brings the panes of a part of the page to life; see main.js.
   * @type {(root: ParentNode) => void} */
  bring = () => {};

  /** @param {Document} page */
  constructor(page) {
    super();
    const root = page.documentElement;
    this.base = root.dataset.base ?? "";
    this.language = root.lang || "en";
    this.known = "reader" in root.dataset; // somebody is logged in
    const texts = page.getElementById("texts");
    /** @type {Record<string, string>} */
    const known = texts ? JSON.parse(texts.textContent ?? "{}") : {};
    /** @type {Translate} */
    this.t = (text, values = {}) =>
      (known[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
  }

  /** The search alone, as a text: without what is looked at of it, and how. */
  get search() {
    return String(this.state.with(LOOKS));
  }

  /**
   * Write a number as the reader's language does.
   * @param {number} value
   */
  number(value) {
    return value.toLocaleString(this.language);
  }

  /**
   * Tell the panes that rows were loaded.
   * @param {Loaded} rows
   */
  loaded(rows) {
    this.rows = rows;
    this.tell("rows", {});
  }

  /**
   * Mark a row, or no longer, and tell who keeps what is ticked.
   * @param {string} key
   * @param {string[]} files of its observation
   */
  tick(key, files) {
    const on = !this.selection.marked.has(key);
    this.selection.mark([key], on, files);
    this.tell("ticked", { line: [...new Set([key, ...files])], on });
  }

  /**
   * Choose a row, everywhere and in the address.
   * @param {string} key
   */
  choose(key) {
    this.selection.set("chosen", key);
    this.state.set({ _row: key });
  }

  /**
   * Fetch JSON. A second question of the same `pane` cancels the first one, which then never ends: its pane has gone on.
   * Rejects with `Refused` if the server says no.
   * @param {string} path
   * @param {Question} [question]
   * @returns {Promise<any>}
   */
  async ask(path, { state = this.state, pane = null, method = "GET", body = undefined } = {}) {
    this.cancel(pane);
    const control = new AbortController();
    if (pane) this.#asked.set(pane, control);
    const query = state ? String(state) : "";
    const address = path.startsWith("/") ? this.base + path : path;
    try {
      const answer = await fetch(query ? `${address}${address.includes("?") ? "&" : "?"}${query}` : address, {
        method,
        body,
        signal: control.signal,
        headers: { accept: "application/json" },
        credentials: "same-origin",
      });
      const told = await answer.json().catch((error) => {
        if (answer.ok || error.name === "AbortError") throw error;
        return null; // a refusal needs no words; rows that broke off are none
      });
      if (!answer.ok) throw new Refused(answer.status, told);
      return told;
    } catch (/** @type {any} */ error) {
      if (error.name === "AbortError") return new Promise(() => {});
      throw error;
    } finally {
      if (pane && this.#asked.get(pane) === control) this.#asked.delete(pane);
    }
  }

  /**
   * Give an address as programs can ask it that have no cookie of ours: signed, where they would get another answer than this reader.
   * @param {string} url
   * @returns {Promise<string>}
   */
  async opened(url) {
    if (!this.known || new URL(url, location.href).origin !== location.origin) return url;
    const look = (/** @type {RequestCredentials} */ credentials) => fetch(url, { method: "HEAD", credentials });
    const [mine, theirs] = await Promise.all([look("same-origin"), look("omit")]);
    const tag = mine.headers.get("etag");
    if (tag && theirs.ok && tag === theirs.headers.get("etag")) return url;
    return (await this.ask("/sign", { state: null, method: "POST", body: new URLSearchParams({ url }) })).url;
  }

  /**
   * Stop what a pane has asked, and tell `overtaken`: nobody need wait for it any more.
   * @param {string | null} pane
   */
  cancel(pane) {
    const control = pane ? this.#asked.get(pane) : undefined;
    if (!pane || !control) return;
    control.abort();
    this.tell("overtaken", { pane });
  }
}
