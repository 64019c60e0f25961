// Tiles of a data set: 512 bins of time each, on a grid from 1970 on; fetched when they are looked at, kept while there is room.
import { npy } from "./npy.js";
import { Refused, Teller } from "./workspace.js";

/** @typedef {{name: string, label: string, unit: string, description: string, elements: number, spectrum: boolean, bins: {name: string, unit: string, centers?: number[], along?: string} | null}} Parameter */
/** @typedef {{low: number, high: number, log: boolean, changes: number[]}} Axis of a tile whose channels change: its rows are even between these; the bins from which on channels are others */
/** @typedef {{key: string, parameter: string, width: number, begin: number, end: number, rows: number, values: ArrayLike<number>, decoded: Float32Array | null, together: number, axis: Axis | null, fills: boolean}} Tile times in seconds since 1970, `width` in microseconds; `decoded`: the value of each code; `fills`: some samples have no value */

export const BINS = 512;
const KEPT = 300;
const [SOON, LATE] = [1000, 60_000]; // milliseconds until what failed is asked again: twice as many each time
const PASSING = [408, 425, 429]; // refusals that another time may not bring
export const FILL = 1; // code of samples that have no value
const SECOND = 1e6;
const TENS = [1, 10, 100, 1000, 10_000, 100_000];
const SIXTIETHS = [1, 2, 5, 10, 15, 30];

/** Microseconds of a bin. */
export const LADDER = [
  ...TENS.flatMap((ten) => [ten, 2 * ten, 5 * ten]),
  ...SIXTIETHS.map((one) => one * SECOND),
  ...SIXTIETHS.map((one) => one * 60 * SECOND),
  ...[1, 2, 4, 8, 12].map((one) => one * 3600 * SECOND),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((one) => one * 86_400 * SECOND),
];

/**
 * Choose the width of bins, so that so many at most lie in a span.
 * @param {number} seconds
 * @param {number} most
 */
export function widthOf(seconds, most) {
  return LADDER.find((one) => one * most >= seconds * SECOND) ?? LADDER[LADDER.length - 1];
}

/** Tells `again` when it is time to ask for what failed; with a fault, after how many seconds that will be, 0: never.
 * @extends {Teller<{tile: {}, again: {}, busy: {busy: boolean}, fault: {message: string, wait: number}}>} */
export class Tiles extends Teller {
  /** @type {Map<string, Tile>} */
  #known = new Map();
  /** @type {Map<string, AbortController>} */
  #asked = new Map();
  /** How often it failed, and when it may be asked again.
   * @type {Map<string, {times: number, at: number}>} */
  #failed = new Map();

  /** @param {string} url of the data set */
  constructor(url) {
    super();
    this.url = url;
    addEventListener("online", () => this.anew());
  }

  get waiting() {
    return this.#asked.size;
  }

  /** Whether something that is looked at is missing. */
  get lacking() {
    return this.#failed.size > 0;
  }

  /** Ask for what failed now. */
  anew() {
    this.#failed.clear();
    this.tell("again", {});
  }

  /**
   * Give the tiles of a parameter that a span touches: those that are there, and of the rest what else is known of that time, the coarser first.
   * What is not there is asked for.
   * @param {Parameter} parameter
   * @param {number} width
   * @param {[number, number]} span
   * @param {string} more of the question
   * @returns {{exact: Tile[], rest: {from: number, to: number, tiles: Tile[]}[]}}
   */
  over({ name }, width, [from, to], more) {
    const long = (BINS * width) / SECOND;
    /** @type {Tile[]} */
    const exact = [];
    const rest = [];
    for (let number = Math.floor(from / long); number * long < to; number++) {
      const query = `PARAMETER=${encodeURIComponent(name)}&WIDTH=${width}&TILE=${number}${more}`;
      const tile = this.#known.get(query);
      if (tile) {
        this.#known.delete(query); // the last to be thrown away
        this.#known.set(query, tile);
        exact.push(tile);
        continue;
      }
      this.#fetch(query, name, width, number * long, long);
      const [begin, end] = [number * long, (number + 1) * long];
      rest.push({ from: begin, to: end, tiles: this.#instead(name, width, begin, end) });
    }
    return { exact, rest };
  }

  /**
   * @param {string} name
   * @param {number} width
   * @param {number} from
   * @param {number} to
   */
  #instead(name, width, from, to) {
    const found = [...this.#known.values()].filter(
      (one) => one.parameter === name && one.width !== width && one.begin < to && one.end > from,
    );
    const far = (/** @type {Tile} */ one) => Math.abs(Math.log(one.width / width));
    return found.sort((one, other) => far(other) - far(one));
  }

  /**
   * Stop asking for what nobody looks at any more, and forget that it failed.
   * @param {Set<number>} widths that are looked at
   * @param {[number, number]} span
   */
  only(widths, [from, to]) {
    const unseen = (/** @type {string} */ query) => {
      const [width, number] = ["WIDTH", "TILE"].map((name) => Number(new URLSearchParams(query).get(name)));
      const long = (BINS * width) / SECOND;
      return !widths.has(width) || number * long > to || (number + 1) * long < from;
    };
    for (const [query, control] of this.#asked) if (unseen(query)) control.abort();
    for (const query of [...this.#failed.keys()]) if (unseen(query)) this.#failed.delete(query);
  }

  /**
   * @param {string} query
   * @param {string} parameter
   * @param {number} width
   * @param {number} begin
   * @param {number} long
   */
  async #fetch(query, parameter, width, begin, long) {
    if (this.#asked.has(query) || (this.#failed.get(query)?.at ?? 0) > performance.now()) return;
    const control = new AbortController();
    this.#asked.set(query, control);
    if (this.#asked.size === 1) this.tell("busy", { busy: true });
    try {
      const answer = await fetch(`${this.url}?${query}`, { signal: control.signal, credentials: "same-origin" });
      if (!answer.ok) {
        const wait = Number(answer.headers.get("retry-after")) || 0;
        throw Object.assign(new Refused(answer.status, await answer.json().catch(() => null)), { wait });
      }
      const { height, values } = npy(await answer.arrayBuffer());
      const decoded = values instanceof Uint8Array ? levels(answer.headers) : null;
      const together = Number(answer.headers.get("x-together") ?? 1);
      this.#known.set(query, {
        key: query,
        parameter,
        width,
        begin,
        end: begin + long,
        rows: height,
        values,
        decoded,
        together,
        axis: axisOf(answer.headers),
        fills: Boolean(decoded) && values.includes(FILL),
      });
      if (this.#known.size > KEPT) this.#known.delete(/** @type {string} */ (this.#known.keys().next().value));
      this.#failed.delete(query);
      this.tell("tile", {});
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError") this.#later(query, error);
    } finally {
      this.#asked.delete(query);
      if (!this.#asked.size) this.tell("busy", { busy: false });
    }
  }

  /**
   * Have what failed asked again by itself, later each time; what the server refuses for good is not.
   * @param {string} query
   * @param {any} error
   */
  #later(query, error) {
    const times = (this.#failed.get(query)?.times ?? 0) + 1;
    const lost = error.status >= 400 && error.status < 500 && !PASSING.includes(error.status);
    const wait = Math.max(Math.min(SOON * 2 ** (times - 1), LATE), 1000 * (error.wait ?? 0)) * (1 + Math.random() / 4);
    this.#failed.set(query, { times, at: lost ? Infinity : performance.now() + wait });
    if (!lost) setTimeout(() => this.#failed.has(query) && this.tell("again", {}), wait + 1);
    this.tell("fault", { message: error.message, wait: lost ? 0 : Math.round(wait / 1000) });
  }
}

/**
 * Say where the rows of a tile are whose channels change.
 * @param {Headers} headers
 * @returns {Axis | null}
 */
function axisOf(headers) {
  if (!headers.has("x-low")) return null;
  const [low, high, log] = ["x-low", "x-high", "x-log"].map((name) => Number(headers.get(name)));
  const changes = (headers.get("x-changes") ?? "").split(",").filter(Boolean).map(Number);
  return { low, high, log: log === 1, changes };
}

/**
 * Give the value of each code; those of no sample, and of samples without a value, are none.
 * @param {Headers} headers
 */
function levels(headers) {
  const [zero, scale, bend] = ["x-zero", "x-scale", "x-bend"].map((name) => Number(headers.get(name)));
  const found = Float32Array.from({ length: 256 }, (_, code) => zero + scale * Math.sinh((bend * (code - 128)) / 126));
  found[0] = found[FILL] = NaN;
  return found;
}
