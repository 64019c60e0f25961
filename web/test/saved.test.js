import assert from "node:assert/strict";
import { test } from "node:test";
import { SavedSearches } from "../src/saved_searches.js";
import { nameSearch } from "../src/share.js";

/** @param {string} [text] */
function createStorage(text) {
  /** @type {Record<string, string>} */
  const items = text === undefined ? {} : { "hven searches /a": text };
  return {
    kept: items,
    getItem: (/** @type {string} */ key) => items[key] ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void (items[key] = value),
  };
}

test("searches are kept by their address, the newest first, for each portal by itself", () => {
  const storage = createStorage();
  const searches = new SavedSearches("/a", storage);
  searches.save({ name: "one", address: "/c?x=1" });
  searches.save({ name: "two", address: "/c?x=2" });
  searches.save({ name: "again", address: "/c?x=1" });
  assert.deepEqual(
    searches.list.map((search) => search.name),
    ["again", "two"],
  );
  assert.deepEqual(new SavedSearches("/b", storage).list, []);
  searches.remove("/c?x=1");
  assert.deepEqual(
    searches.list.map((search) => search.name),
    ["two"],
  );
});

test("what others wrote there leads nowhere else", () => {
  for (const text of [
    "{",
    "7",
    '[{"name": "x", "address": "javascript:alert(1)"}]',
    '[{"name": "x", "address": "//e.example"}]',
    '[null, {"name": 3, "address": "/a"}]',
  ])
    assert.deepEqual(new SavedSearches("/a", createStorage(text)).list, [], text);
});

test("a browser that keeps nothing is no error", () => {
  const brokenStorage = {
    getItem: () => {
      throw new Error("denied");
    },
    setItem: () => {
      throw new Error("full");
    },
  };
  assert.equal(new SavedSearches("/a", brokenStorage).save({ name: "x", address: "/a" }), false);
});

test("a search is named by its table and conditions", () => {
  assert.equal(nameSearch("Stars", [["_sort", "vmag"]]), "Stars");
  assert.equal(
    nameSearch("Stars", [
      ["vmag", "..6"],
      ["_near", "M 31,1"],
      ["_cols", "star"],
    ]),
    "Stars: vmag ..6, M 31,1",
  );
});
