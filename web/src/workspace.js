// What the panes of a page share: the state in the address, the selection, the rows that are loaded, asking the server, the language.

/** Parameters of a search as they stand in the address; a name may come several times. */
export class State extends EventTarget {
  #parameters;

  constructor(search = location.search) {
    super();
    this.#parameters = new URLSearchParams(search);
    addEventListener("popstate", () => {
      this.#parameters = new URLSearchParams(location.search);
      this.dispatchEvent(new Event("change"));
    });
  }

  get(name) { return this.#parameters.get(name); }

  all(name) { return this.#parameters.getAll(name); }

  has(name) { return this.#parameters.has(name); }

  entries() { return [...this.#parameters]; }

  toString() { return this.#parameters.toString(); }

  /** The address with some parameters changed: null removes one, a list gives it several times. */
  with(changes) {
    const next = new URLSearchParams(this.#parameters);
    for (const [name, value] of Object.entries(changes)) {
      next.delete(name);
      for (const each of Array.isArray(value) ? value : [value]) if (each !== null && each !== "") next.append(name, each);
    }
    return next;
  }

  /** Change parameters and tell everybody; `replace` leaves no step in the history (a map that moves, a slider on its way). */
  set(changes, { replace = false } = {}) {
    const next = this.with(changes);
    if (next.toString() === this.#parameters.toString()) return;
    this.#parameters = next;
    const address = `${location.pathname}${next.size ? `?${next}` : ""}${location.hash}`;
    history[replace ? "replaceState" : "pushState"](null, "", address);
    this.dispatchEvent(Object.assign(new Event("change"), { changed: Object.keys(changes) }));
  }
}

/** Keys of rows: `hover` (one, or null), `chosen` (one, or null), `marked` (several). Tells `change` with what changed. */
export class Selection extends EventTarget {
  hover = null;
  chosen = null;
  marked = new Set();

  set(name, key) {
    if (this[name] === key) return;
    this[name] = key;
    this.#tell(name);
  }

  mark(keys, on = true) {
    for (const key of keys) this.marked[on ? "add" : "delete"](key);
    this.#tell("marked");
  }

  #tell(name) { this.dispatchEvent(Object.assign(new Event("change"), { name })); }
}

/** An answer that says what went wrong, where, and what helps. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.message ?? `the server answered ${status}`);
    this.status = status;
    this.remedy = body?.remedy ?? "";
    this.fields = body?.fields ?? {};
    this.body = body;
  }
}

export class Workspace extends EventTarget {
  constructor(page) {
    super();
    this.state = new State();
    this.selection = new Selection();
    this.rows = []; // what the grid has loaded: {columns, rows, key}; see grid.js
    this.counted = null; // what the form was told last: {search, total, exact}
    const root = page.documentElement;
    this.base = root.dataset.base ?? "";
    this.language = root.lang || "en";
    const texts = page.getElementById("texts");
    const known = texts ? JSON.parse(texts.textContent) : {};
    this.t = (text, values = {}) => (known[text] ?? text).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
    this.#asked = new Map();
  }

  #asked;

  /** The search alone, as a text: without what is looked at of it, and how. */
  get search() { return String(this.state.with({ _row: null, _sort: null, _cols: null, _view: null, _map: null, _plot: null, _compare: null })); }

  /** Tell the panes that rows were loaded. */
  loaded(rows) {
    this.rows = rows;
    this.dispatchEvent(new Event("rows"));
  }

  /**
   * Fetch JSON. A second question of the same `pane` cancels the first one, which then never ends: its pane has gone on.
   * Rejects with `Refused` if the server says no.
   */
  async ask(path, { state = this.state, pane = null, method = "GET", body = undefined } = {}) {
    this.cancel(pane);
    const control = new AbortController();
    if (pane) this.#asked.set(pane, control);
    const query = state ? String(state) : "";
    const address = path.startsWith("/") ? this.base + path : path;
    try {
      const answer = await fetch(query ? `${address}${address.includes("?") ? "&" : "?"}${query}` : address, {
        method, body, signal: control.signal, headers: { accept: "application/json" }, credentials: "same-origin",
      });
      const told = await answer.json().catch((error) => { if (answer.ok || error.name === "AbortError") throw error; return null; }); // a refusal needs no words; rows that broke off are none
      if (!answer.ok) throw new Refused(answer.status, told);
      return told;
    } catch (error) {
      if (error.name === "AbortError") return new Promise(() => {});
      throw error;
    } finally {
      if (this.#asked.get(pane) === control) this.#asked.delete(pane);
    }
  }

  /** Stop what a pane has asked, and tell `overtaken`: nobody need wait for it any more. */
  cancel(pane) {
    const control = this.#asked.get(pane);
    if (!control) return;
    control.abort();
    this.dispatchEvent(Object.assign(new Event("overtaken"), { pane }));
  }
}
