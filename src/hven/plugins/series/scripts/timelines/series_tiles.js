// Tiles of a time series: 512 bins each, aligned to 1970. Visible tiles are fetched, and a limited number is cached.
import { parseNpy } from "hven/npy.js";
import { RequestError, EventEmitter } from "hven/workspace.js";

/**
 * @typedef {{
 *   name: string,
 *   label: string,
 *   unit: string,
 *   description: string,
 *   elements: number,
 *   spectrum: boolean,
 *   scale: ScaleType,
 *   bins: {name: string, unit: string, scale: ScaleType, centers?: number[], along?: string} | null,
 * }} Parameter
 * `scale` is that of the values, `bins.scale` that of the channels
 */
/** @typedef {"linear" | "log" | null} ScaleType null: not stated */
/**
 * @typedef {{low: number, high: number, log: boolean, changes: number[]}} ChannelAxis
 * rows of a tile with changing channels lie evenly between `low` and `high`; `changes` are the bins at which channels
 * change
 */
/**
 * @typedef {{
 *   key: string,
 *   parameter: string,
 *   width: number,
 *   begin: number,
 *   end: number,
 *   rows: number,
 *   values: ArrayLike<number>,
 *   decoded: Float32Array | null,
 *   channelsPerRow: number,
 *   axis: ChannelAxis | null,
 *   fills: boolean,
 * }} Tile
 * times in seconds since 1970, `width` in microseconds; `decoded` has the value of each code; `fills`: some samples
 * have no value
 */

export const BINS_PER_TILE = 512;
const MAX_TILES = 300;
// a failed request is repeated after this pause, which doubles each time
const [MIN_RETRY_MILLISECONDS, MAX_RETRY_MILLISECONDS] = [1000, 60_000];
const TEMPORARY_STATUSES = [408, 425, 429]; // statuses that may succeed later
export const FILL_CODE = 1; // code of samples without a value
const MICROSECONDS_PER_SECOND = 1e6;
const POWERS_OF_TEN = [1, 10, 100, 1000, 10_000, 100_000];
const SIXTIETHS = [1, 2, 5, 10, 15, 30];

/** The widths of bins. */
export const BIN_WIDTHS_MICROSECONDS = [
  ...POWERS_OF_TEN.flatMap((power) => [power, 2 * power, 5 * power]),
  ...SIXTIETHS.map((size) => size * MICROSECONDS_PER_SECOND),
  ...SIXTIETHS.map((size) => size * 60 * MICROSECONDS_PER_SECOND),
  ...[1, 2, 4, 8, 12].map((size) => size * 3600 * MICROSECONDS_PER_SECOND),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((size) => size * 86_400 * MICROSECONDS_PER_SECOND),
];

/**
 * Choose the smallest bin width with at most this number of bins in a span.
 * @param {number} seconds
 * @param {number} maxBins
 */
export function chooseBinWidth(seconds, maxBins) {
  return (
    BIN_WIDTHS_MICROSECONDS.find((width) => width * maxBins >= seconds * MICROSECONDS_PER_SECOND) ??
    BIN_WIDTHS_MICROSECONDS[BIN_WIDTHS_MICROSECONDS.length - 1]
  );
}

/**
 * Dispatches `again` when a failed tile may be requested again; `fault` says in how many seconds that is, or 0 for
 * never.
 * @extends {EventEmitter<{tile: {}, again: {}, busy: {busy: boolean}, fault: {message: string, wait: number}}>} */
export class SeriesTiles extends EventEmitter {
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  /** @type {Map<string, AbortController>} */
  #requests = new Map();
  /** The number of attempts, and the time of the next one.
   * @type {Map<string, {times: number, at: number}>} */
  #failures = new Map();

  /** @param {string} url address of the data set */
  constructor(url) {
    super();
    this.url = url;
    addEventListener("online", () => this.retryFailures());
  }

  get pendingCount() {
    return this.#requests.size;
  }

  /** Whether a visible tile is missing. */
  get hasFailures() {
    return this.#failures.size > 0;
  }

  /** Retry failed requests now. */
  retryFailures() {
    this.#failures.clear();
    this.emit("again", {});
  }

  /**
   * Find the tiles of a parameter within a span. Missing tiles are requested; meanwhile other tiles of that time stand
   * in, the coarser first.
   * @param {Parameter} parameter
   * @param {number} width
   * @param {[number, number]} span
   * @param {string} extraQuery further query parameters
   * @returns {{exact: Tile[], missing: {from: number, to: number, tiles: Tile[]}[]}}
   */
  findTiles({ name }, width, [from, to], extraQuery) {
    const tileSeconds = (BINS_PER_TILE * width) / MICROSECONDS_PER_SECOND;
    /** @type {Tile[]} */
    const exact = [];
    const missing = [];
    for (let number = Math.floor(from / tileSeconds); number * tileSeconds < to; number++) {
      const query = `PARAMETER=${encodeURIComponent(name)}&WIDTH=${width}&TILE=${number}${extraQuery}`;
      const tile = this.#tiles.get(query);
      if (tile) {
        this.#tiles.delete(query); // reinsert as the most recently used
        this.#tiles.set(query, tile);
        exact.push(tile);
        continue;
      }
      this.#fetchTile(query, name, width, number * tileSeconds, tileSeconds);
      const [begin, end] = [number * tileSeconds, (number + 1) * tileSeconds];
      missing.push({ from: begin, to: end, tiles: this.#findSubstitutes(name, width, begin, end) });
    }
    return { exact, missing };
  }

  /**
   * Find tiles with other bin widths for a span.
   * @param {string} name
   * @param {number} width
   * @param {number} from
   * @param {number} to
   */
  #findSubstitutes(name, width, from, to) {
    const substitutes = [...this.#tiles.values()].filter(
      (tile) => tile.parameter === name && tile.width !== width && tile.begin < to && tile.end > from,
    );
    const measureMismatch = (/** @type {Tile} */ tile) => Math.abs(Math.log(tile.width / width));
    return substitutes.sort((first, second) => measureMismatch(second) - measureMismatch(first));
  }

  /**
   * Cancel requests and retries of tiles that are no longer visible.
   * @param {Set<number>} widths that are visible
   * @param {[number, number]} span
   */
  keepRequests(widths, [from, to]) {
    const isUnseen = (/** @type {string} */ query) => {
      const [width, number] = ["WIDTH", "TILE"].map((name) => Number(new URLSearchParams(query).get(name)));
      const tileSeconds = (BINS_PER_TILE * width) / MICROSECONDS_PER_SECOND;
      return !widths.has(width) || number * tileSeconds > to || (number + 1) * tileSeconds < from;
    };
    for (const [query, controller] of this.#requests) {
      if (isUnseen(query)) controller.abort();
    }
    for (const query of [...this.#failures.keys()]) {
      if (isUnseen(query)) this.#failures.delete(query);
    }
  }

  /**
   * Fetch a tile, unless it is requested or waits for a retry.
   * @param {string} query
   * @param {string} parameter
   * @param {number} width
   * @param {number} begin
   * @param {number} tileSeconds
   */
  async #fetchTile(query, parameter, width, begin, tileSeconds) {
    if (this.#requests.has(query) || (this.#failures.get(query)?.at ?? 0) > performance.now()) return;
    const controller = new AbortController();
    this.#requests.set(query, controller);
    if (this.#requests.size === 1) this.emit("busy", { busy: true });
    try {
      const response = await fetch(`${this.url}?${query}`, { signal: controller.signal, credentials: "same-origin" });
      if (!response.ok) {
        const waitSeconds = Number(response.headers.get("retry-after")) || 0;
        throw Object.assign(new RequestError(response.status, await response.json().catch(() => null)), {
          wait: waitSeconds,
        });
      }
      const { height, values } = parseNpy(await response.arrayBuffer());
      const decoded = values instanceof Uint8Array ? readLevels(response.headers) : null;
      const channelsPerRow = Number(response.headers.get("x-together") ?? 1);
      this.#tiles.set(query, {
        key: query,
        parameter,
        width,
        begin,
        end: begin + tileSeconds,
        rows: height,
        values,
        decoded,
        channelsPerRow,
        axis: readChannelAxis(response.headers),
        fills: Boolean(decoded) && values.includes(FILL_CODE),
      });
      if (this.#tiles.size > MAX_TILES) this.#tiles.delete(/** @type {string} */ (this.#tiles.keys().next().value));
      this.#failures.delete(query);
      this.emit("tile", {});
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError") this.#scheduleRetry(query, error);
    } finally {
      this.#requests.delete(query);
      if (!this.#requests.size) this.emit("busy", { busy: false });
    }
  }

  /**
   * Schedule a retry, later each time, unless the server refused for good.
   * @param {string} query
   * @param {any} error
   */
  #scheduleRetry(query, error) {
    const times = (this.#failures.get(query)?.times ?? 0) + 1;
    const isPermanent = error.status >= 400 && error.status < 500 && !TEMPORARY_STATUSES.includes(error.status);
    const waitMilliseconds =
      Math.max(Math.min(MIN_RETRY_MILLISECONDS * 2 ** (times - 1), MAX_RETRY_MILLISECONDS), 1000 * (error.wait ?? 0)) *
      (1 + Math.random() / 4);
    this.#failures.set(query, { times, at: isPermanent ? Infinity : performance.now() + waitMilliseconds });
    if (!isPermanent)
      setTimeout(() => {
        if (this.#failures.has(query)) this.emit("again", {});
      }, waitMilliseconds + 1);
    this.emit("fault", { message: error.message, wait: isPermanent ? 0 : Math.round(waitMilliseconds / 1000) });
  }
}

/**
 * Map columns of pixels to bins of a tile; -1: a gap.
 * @param {Tile} tile
 * @param {number} binsPerSample bins that a sample extends over
 * @param {number} width
 */
export function mapBins(tile, binsPerSample, width) {
  const binByColumn = new Int32Array(width).fill(-1);
  const hasSamples = new Uint8Array(BINS_PER_TILE);
  for (let values = 0; values < tile.rows; values++) {
    for (let bin = 0; bin < BINS_PER_TILE; bin++) {
      if (tile.values[values * BINS_PER_TILE + bin]) hasSamples[bin] = 1;
    }
  }
  let lastBin = -Infinity;
  for (let column = 0; column < width; column++) {
    if (hasSamples[column]) lastBin = column;
    if (column - lastBin < binsPerSample) binByColumn[column] = lastBin;
  }
  return binByColumn;
}

/**
 * Read the rows of a tile with changing channels.
 * @param {Headers} headers
 * @returns {ChannelAxis | null}
 */
function readChannelAxis(headers) {
  if (!headers.has("x-low")) return null;
  const [low, high, log] = ["x-low", "x-high", "x-log"].map((name) => Number(headers.get(name)));
  const changes = (headers.get("x-changes") ?? "").split(",").filter(Boolean).map(Number);
  return { low, high, log: log === 1, changes };
}

/**
 * Read the value of each code; no sample, and samples without a value, are NaN.
 * @param {Headers} headers
 */
function readLevels(headers) {
  const [zero, scale, curvature] = ["x-zero", "x-scale", "x-bend"].map((name) => Number(headers.get(name)));
  const levels = Float32Array.from(
    { length: 256 },
    (_, code) => zero + scale * Math.sinh((curvature * (code - 128)) / 126),
  );
  levels[0] = levels[FILL_CODE] = NaN;
  return levels;
}
