// The content of a basket and its local storage. The server uses the same format (`portal/_explore/baskets.py`).

/**
 * @typedef {{of: string, lines: string[][], searches: string[]}} BasketPart
 * the entries of one table: lines of row keys, addresses of searches
 */
/**
 * @typedef {{owner: string, state: string, fresh: boolean, parts: BasketPart[]}} StoredBasket
 * `state` is that of the server's basket; `fresh` means that the server does not know it yet
 */

export const MAX_ROWS = 5000; // per table
export const MAX_SEARCHES = 20;
export const MAX_TABLES = 50;
const STORAGE_KEY = "hven-basket";

/**
 * Create the basket of a user without entries.
 * @param {string} [owner]
 * @returns {StoredBasket}
 */
export function createEmptyBasket(owner = "") {
  return { owner, state: "", fresh: false, parts: [] };
}

/**
 * Return the entries of a table.
 * @param {BasketPart[]} parts
 * @param {string} table
 * @returns {BasketPart}
 */
export function findBasketPart(parts, table) {
  return parts.find((part) => part.of === table) ?? { of: table, lines: [], searches: [] };
}

/**
 * Return the name that a basket uses for the table of a page; empty if the page has none.
 * @param {string} tableUrl
 * @param {string} base
 */
export function getTableName(tableUrl, base) {
  const prefix = `${base}/collections/`;
  return tableUrl.startsWith(prefix) ? tableUrl.slice(prefix.length) : "";
}

/**
 * Count the lines and searches of a basket.
 * @param {BasketPart[]} parts
 */
export function countEntries(parts) {
  return parts.reduce((sum, part) => sum + part.lines.length + part.searches.length, 0);
}

/**
 * Add entries of one table; null if the basket would be too large.
 * @param {BasketPart[]} parts
 * @param {BasketPart} addition
 */
export function addToBasket(parts, addition) {
  const present = findBasketPart(parts, addition.of);
  const lines = new Map(present.lines.map((line) => [line[0], line]));
  const presentKeys = new Set(present.lines.flat());
  for (const line of addition.lines) {
    const newKeys = [...new Set(line)].filter((key) => !presentKeys.has(key));
    const existing = lines.get(line[0]);
    if (existing) lines.set(line[0], [...existing, ...newKeys]);
    else if (newKeys.length) lines.set(newKeys[0], newKeys);
    for (const key of newKeys) presentKeys.add(key);
  }
  const searches = [...new Set([...present.searches, ...addition.searches])];
  const updated = replacePart(parts, { of: addition.of, lines: [...lines.values()], searches });
  return presentKeys.size > MAX_ROWS || searches.length > MAX_SEARCHES || updated.length > MAX_TABLES ? null : updated;
}

/**
 * Remove rows and searches of one table.
 * @param {BasketPart[]} parts
 * @param {BasketPart} removal
 */
export function removeFromBasket(parts, removal) {
  const present = findBasketPart(parts, removal.of);
  const removedKeys = new Set(removal.lines.flat());
  const lines = present.lines.map((line) => line.filter((key) => !removedKeys.has(key))).filter((line) => line.length);
  return replacePart(parts, {
    of: removal.of,
    lines,
    searches: present.searches.filter((search) => !removal.searches.includes(search)),
  });
}

/**
 * Replace the entries of one table; empty parts are left out.
 * @param {BasketPart[]} parts
 * @param {BasketPart} newPart
 */
function replacePart(parts, newPart) {
  const isPresent = parts.some((part) => part.of === newPart.of);
  const updated = isPresent ? parts.map((part) => (part.of === newPart.of ? newPart : part)) : [...parts, newPart];
  return updated.filter((part) => part.lines.length || part.searches.length);
}

/**
 * Load the stored basket; invalid content counts as empty.
 * @returns {StoredBasket}
 */
export function loadBasket() {
  try {
    const { owner, state, fresh, parts } = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "");
    return { owner: String(owner), state: String(state), fresh: Boolean(fresh), parts: parts.filter(isBasketPart) };
  } catch {
    return createEmptyBasket();
  }
}

/**
 * Store the basket in the browser.
 * @param {StoredBasket} basket
 */
export function storeBasket(basket) {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(basket));
  } catch {
    // without storage the basket lasts as long as the page
  }
}

/**
 * Return whether a storage event may have changed the basket.
 * @param {StorageEvent} event
 */
export function isBasketEvent(event) {
  return event.key === STORAGE_KEY || event.key === null;
}

/**
 * Return whether a stored value is a part of a basket.
 * @param {any} one
 */
function isBasketPart({ of, lines, searches }) {
  const areTexts = (/** @type {any} */ values) =>
    Array.isArray(values) && values.every((value) => typeof value === "string");
  return typeof of === "string" && Array.isArray(lines) && lines.every(areTexts) && areTexts(searches);
}
