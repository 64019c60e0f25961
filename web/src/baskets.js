// What is done to the text of a basket, in the same words as the server (`portal/_explore/baskets.py`), and where the browser keeps it.

/** @typedef {{of: string, lines: string[][], searches: string[]}} Part what there is of one table: lines of keys, addresses of searches */
/** @typedef {{owner: string, state: string, fresh: boolean, parts: Part[]}} Kept `owner`: whose it is; `state`: that of the server's; `fresh`: the server does not know it yet */

export const ROWS = 5000; // of one table
export const SEARCHES = 20;
export const TABLES = 50;
const STORE = "hven-basket";

/**
 * @param {string} [owner]
 * @returns {Kept}
 */
export function nothing(owner = "") {
  return { owner, state: "", fresh: false, parts: [] };
}

/**
 * Give what there is of a table.
 * @param {Part[]} parts
 * @param {string} of
 * @returns {Part}
 */
export function part(parts, of) {
  return parts.find((one) => one.of === of) ?? { of, lines: [], searches: [] };
}

/**
 * Give how a basket calls the table of a page; empty: it is none.
 * @param {string} here
 * @param {string} base
 */
export function called(here, base) {
  const begin = `${base}/collections/`;
  return here.startsWith(begin) ? here.slice(begin.length) : "";
}

/** @param {Part[]} parts */
export function entries(parts) {
  return parts.reduce((sum, one) => sum + one.lines.length + one.searches.length, 0);
}

/**
 * Give the parts with more of one table; null: it is more than a basket holds.
 * @param {Part[]} parts
 * @param {Part} more
 */
export function added(parts, more) {
  const had = part(parts, more.of);
  const lines = new Map(had.lines.map((line) => [line[0], line]));
  const known = new Set(had.lines.flat());
  for (const line of more.lines) {
    const fresh = [...new Set(line)].filter((key) => !known.has(key));
    const there = lines.get(line[0]);
    if (there) lines.set(line[0], [...there, ...fresh]);
    else if (fresh.length) lines.set(fresh[0], fresh);
    for (const key of fresh) known.add(key);
  }
  const searches = [...new Set([...had.searches, ...more.searches])];
  const next = put(parts, { of: more.of, lines: [...lines.values()], searches });
  return known.size > ROWS || searches.length > SEARCHES || next.length > TABLES ? null : next;
}

/**
 * Give the parts without rows and searches of one table.
 * @param {Part[]} parts
 * @param {Part} less
 */
export function removed(parts, less) {
  const had = part(parts, less.of);
  const gone = new Set(less.lines.flat());
  const lines = had.lines.map((line) => line.filter((key) => !gone.has(key))).filter((line) => line.length);
  return put(parts, { of: less.of, lines, searches: had.searches.filter((one) => !less.searches.includes(one)) });
}

/**
 * @param {Part[]} parts
 * @param {Part} made
 */
function put(parts, made) {
  const there = parts.some((one) => one.of === made.of);
  const next = there ? parts.map((one) => (one.of === made.of ? made : one)) : [...parts, made];
  return next.filter((one) => one.lines.length || one.searches.length);
}

/**
 * Read what the browser keeps; what is none is nothing.
 * @returns {Kept}
 */
export function recalled() {
  try {
    const { owner, state, fresh, parts } = JSON.parse(localStorage.getItem(STORE) ?? "");
    return { owner: String(owner), state: String(state), fresh: Boolean(fresh), parts: parts.filter(whole) };
  } catch {
    return nothing();
  }
}

/** @param {Kept} kept */
export function remember(kept) {
  try {
    localStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    // a browser that keeps nothing has it as long as the page is open
  }
}

/** @param {StorageEvent} event */
export function mine(event) {
  return event.key === STORE || event.key === null;
}

/** @param {any} one */
function whole({ of, lines, searches }) {
  const texts = (/** @type {any} */ list) => Array.isArray(list) && list.every((each) => typeof each === "string");
  return typeof of === "string" && Array.isArray(lines) && lines.every(texts) && texts(searches);
}
