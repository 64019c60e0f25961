// The rows of a search in pages of one state of the table: asked for as they come into sight, and a few of them kept.
import { paired } from "./lines.js";
/** @import {Rows} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

export const PAGE = 100; // rows asked at once
const KEPT = 40; // pages that are remembered
const LOOKS = { _row: null, _look: null, _compare: null };

export class Pages {
  /** Pages by their number; those that are on their way as promises. The one that was used last is the last.
   * @type {Map<number, Rows | Promise<Rows | null>>} */
  known = new Map();
  version = 0;
  /** The state of the table that all pages are of, whatever is published meanwhile.
   * @type {string | null} */
  held = null;
  renewed = false; // that state was swept: these rows are of now

  /**
   * @param {string} here
   * @param {Workspace} workspace
   * @param {() => Promise<null>} anew called when the state that the pages are of is gone
   */
  constructor(here, workspace, anew) {
    this.here = here;
    this.workspace = workspace;
    this.anew = anew;
  }

  /** Forget all pages: those of another search are wanted. */
  begin() {
    this.known = new Map();
    this.held = null;
    return ++this.version;
  }

  /** @returns {Record<string, string>} */
  get of() {
    return this.held ? { _asof: this.held } : {};
  }

  /**
   * Give a page if it is here.
   * @param {number} number
   */
  ready(number) {
    const found = this.known.get(number);
    return found instanceof Promise ? undefined : found;
  }

  /**
   * Give a page; null if it is of a search that another one overtook.
   * @param {number} number
   * @returns {Promise<Rows | null>}
   */
  async page(number) {
    const found = this.known.get(number);
    if (found) {
      this.known.delete(number);
      this.known.set(number, found);
      return found;
    }
    const pages = this.known;
    const coming = this.ask(number);
    pages.set(number, coming);
    coming.catch(() => pages.delete(number));
    return coming;
  }

  /**
   * @param {number} number
   * @returns {Promise<Rows | null>}
   */
  async ask(number) {
    const mine = this.version;
    const part = { _from: String(number * PAGE), _size: String(PAGE) };
    const state = this.workspace.state.with({ ...part, ...LOOKS, ...this.of });
    /** @type {Rows} */
    const found = paired(await this.workspace.ask(`${this.here}/rows`, { state }));
    if (mine !== this.version) return null;
    if (found.lost && this.held) return this.anew();
    this.held = found.state;
    this.renewed ||= found.lost;
    this.known.set(number, found);
    for (const old of this.known.keys()) {
      if (this.known.size <= KEPT) break;
      this.known.delete(old);
    }
    return found;
  }

  /**
   * Give the key of a row that is here, nearest to a place: where it stands, and what it is.
   * @param {number} at
   */
  nearest(at) {
    let number = 0;
    /** @type {string[]} */
    let keys = [""];
    let least = Infinity;
    for (const [one, found] of this.known) {
      const away = Math.abs(one * PAGE - at);
      if (found instanceof Promise || !found.keys[0] || away >= least) continue;
      [number, keys, least] = [one, found.keys, away];
    }
    const index = Math.max(0, Math.min(at - number * PAGE, keys.length - 1));
    return { place: number * PAGE + index, key: keys[index] };
  }

  /**
   * Give the place of a row among the pages that are here; null: it is in none of them.
   * @param {string | null} key
   */
  rowOf(key) {
    for (const [number, found] of this.known) {
      const at = found instanceof Promise ? -1 : found.keys.indexOf(key ?? "");
      if (at >= 0) return number * PAGE + at;
    }
    return null;
  }

  /**
   * Ask where a row of this key stands among all rows; null: nobody can say.
   * @param {string} key
   * @returns {Promise<number | null>}
   */
  async placed(key) {
    const looks = { _view: null, _map: null, _plot: null, _compare: null };
    const state = this.workspace.state.with({ _row: key, ...looks, ...this.of });
    const found = await this.workspace.ask(`${this.here}/place`, { state, pane: "place" }).catch(() => null);
    return found?.place ?? null;
  }
}
