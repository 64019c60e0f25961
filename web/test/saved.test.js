import assert from "node:assert/strict";
import { test } from "node:test";
import { SavedSearches } from "../src/saved_searches.js";
import { nameSearch } from "../src/share.js";

/** @param {string} [text] */
function store(text) {
  /** @type {Record<string, string>} */
  const kept = text === undefined ? {} : { "hven searches /a": text };
  return {
    kept,
    getItem: (/** @type {string} */ key) => kept[key] ?? null,
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => void (kept[key] = value),
  };
}

test("searches are kept by their address, the newest first, for each portal by itself", () => {
  const there = store();
  const mine = new SavedSearches("/a", there);
  mine.save({ name: "one", address: "/c?x=1" });
  mine.save({ name: "two", address: "/c?x=2" });
  mine.save({ name: "again", address: "/c?x=1" });
  assert.deepEqual(
    mine.list.map((one) => one.name),
    ["again", "two"],
  );
  assert.deepEqual(new SavedSearches("/b", there).list, []);
  mine.remove("/c?x=1");
  assert.deepEqual(
    mine.list.map((one) => one.name),
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
    assert.deepEqual(new SavedSearches("/a", store(text)).list, [], text);
});

test("a browser that keeps nothing is no error", () => {
  const none = {
    getItem: () => {
      throw new Error("denied");
    },
    setItem: () => {
      throw new Error("full");
    },
  };
  assert.equal(new SavedSearches("/a", none).save({ name: "x", address: "/a" }), false);
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
