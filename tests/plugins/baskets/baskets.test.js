import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addToBasket,
  countEntries,
  createEmptyBasket,
  findBasketPart,
  loadBasket,
  removeFromBasket,
  MAX_ROWS,
  MAX_SEARCHES,
} from "../../../src/hven/plugins/baskets/scripts/contents/basket_storage.js";

const createPart = (/** @type {string[][]} */ ...keyLines) => ({ of: "a/b", lines: keyLines, searches: [] });

test("files of an observation go in together, and each key once", () => {
  const first = addToBasket([], createPart(["1", "2"], ["3"]));
  const second = addToBasket(first, { ...createPart(["2"], ["3", "4"]), searches: ["x=1"] });
  assert.deepEqual(second, [
    {
      of: "a/b",
      lines: [
        ["1", "2"],
        ["3", "4"],
      ],
      searches: ["x=1"],
    },
  ]);
  assert.equal(countEntries(second), 3);
  assert.deepEqual(findBasketPart(second, "c/d"), { of: "c/d", lines: [], searches: [] });
  assert.deepEqual(removeFromBasket(second, createPart(["2", "3", "4"])), [
    { of: "a/b", lines: [["1"]], searches: ["x=1"] },
  ]);
  assert.deepEqual(removeFromBasket(second, { ...createPart(["1", "2"], ["3", "4"]), searches: ["x=1"] }), []);
});

test("more than the server takes is not taken", () => {
  const keyLines = Array.from({ length: MAX_ROWS }, (_, index) => [`${index}`]);
  const full = addToBasket([], createPart(...keyLines));
  assert.equal(countEntries(full), MAX_ROWS);
  assert.equal(addToBasket(full, createPart(["another"])), null);
  assert.equal(countEntries(addToBasket(full, createPart(["1"]))), MAX_ROWS);
  const searches = Array.from({ length: MAX_SEARCHES + 1 }, (_, index) => `x=${index}`);
  assert.equal(addToBasket([], { of: "a/b", lines: [], searches }), null);
});

test("what others wrote into the browser's storage is no basket", () => {
  const storage = { value: "" };
  globalThis.localStorage = { getItem: () => storage.value };
  for (const invalid of [
    "",
    "{",
    "3",
    "null",
    '{"parts": 3}',
    '{"parts": [3]}',
    '{"parts": [{"of": "a/b", "lines": [[1]]}]}',
  ]) {
    storage.value = invalid;
    assert.deepEqual(loadBasket().parts, createEmptyBasket().parts, invalid);
  }
  const parts = [{ of: "a/b", lines: [["1"]], searches: [] }];
  storage.value = JSON.stringify({ owner: "", state: "", fresh: true, parts });
  assert.deepEqual(loadBasket(), { owner: "", state: "", fresh: true, parts });
});
