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
} from "../src/basket_storage.js";

const lines = (/** @type {string[][]} */ ...list) => ({ of: "a/b", lines: list, searches: [] });

test("files of an observation go in together, and each key once", () => {
  const one = addToBasket([], lines(["1", "2"], ["3"]));
  const again = addToBasket(one, { ...lines(["2"], ["3", "4"]), searches: ["x=1"] });
  assert.deepEqual(again, [{ of: "a/b", lines: [["1", "2"], ["3", "4"]], searches: ["x=1"] }]); // prettier-ignore
  assert.equal(countEntries(again), 3);
  assert.deepEqual(findBasketPart(again, "c/d"), { of: "c/d", lines: [], searches: [] });
  assert.deepEqual(removeFromBasket(again, lines(["2", "3", "4"])), [{ of: "a/b", lines: [["1"]], searches: ["x=1"] }]);
  assert.deepEqual(removeFromBasket(again, { ...lines(["1", "2"], ["3", "4"]), searches: ["x=1"] }), []);
});

test("more than the server takes is not taken", () => {
  const many = Array.from({ length: MAX_ROWS }, (_, at) => [`${at}`]);
  const full = addToBasket([], lines(...many));
  assert.equal(countEntries(full), MAX_ROWS);
  assert.equal(addToBasket(full, lines(["another"])), null);
  assert.equal(countEntries(addToBasket(full, lines(["1"]))), MAX_ROWS);
  const searches = Array.from({ length: MAX_SEARCHES + 1 }, (_, at) => `x=${at}`);
  assert.equal(addToBasket([], { of: "a/b", lines: [], searches }), null);
});

test("what others wrote into the browser's storage is no basket", () => {
  const said = { value: "" };
  globalThis.localStorage = { getItem: () => said.value };
  for (const odd of [
    "",
    "{",
    "3",
    "null",
    '{"parts": 3}',
    '{"parts": [3]}',
    '{"parts": [{"of": "a/b", "lines": [[1]]}]}',
  ]) {
    said.value = odd;
    assert.deepEqual(loadBasket().parts, createEmptyBasket().parts, odd);
  }
  const parts = [{ of: "a/b", lines: [["1"]], searches: [] }];
  said.value = JSON.stringify({ owner: "", state: "", fresh: true, parts });
  assert.deepEqual(loadBasket(), { owner: "", state: "", fresh: true, parts });
});
