import assert from "node:assert/strict";
import { test } from "node:test";
import { added, entries, nothing, part, recalled, removed, ROWS, SEARCHES } from "../src/baskets.js";

const lines = (/** @type {string[][]} */ ...list) => ({ of: "a/b", lines: list, searches: [] });

test("files of an observation go in together, and each key once", () => {
  const one = added([], lines(["1", "2"], ["3"]));
  const again = added(one, { ...lines(["2"], ["3", "4"]), searches: ["x=1"] });
  assert.deepEqual(again, [{ of: "a/b", lines: [["1", "2"], ["3", "4"]], searches: ["x=1"] }]); // prettier-ignore
  assert.equal(entries(again), 3);
  assert.deepEqual(part(again, "c/d"), { of: "c/d", lines: [], searches: [] });
  assert.deepEqual(removed(again, lines(["2", "3", "4"])), [{ of: "a/b", lines: [["1"]], searches: ["x=1"] }]);
  assert.deepEqual(removed(again, { ...lines(["1", "2"], ["3", "4"]), searches: ["x=1"] }), []);
});

test("more than the server takes is not taken", () => {
  const many = Array.from({ length: ROWS }, (_, at) => [`${at}`]);
  const full = added([], lines(...many));
  assert.equal(entries(full), ROWS);
  assert.equal(added(full, lines(["another"])), null);
  assert.equal(entries(added(full, lines(["1"]))), ROWS);
  const searches = Array.from({ length: SEARCHES + 1 }, (_, at) => `x=${at}`);
  assert.equal(added([], { of: "a/b", lines: [], searches }), null);
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
    assert.deepEqual(recalled().parts, nothing().parts, odd);
  }
  const parts = [{ of: "a/b", lines: [["1"]], searches: [] }];
  said.value = JSON.stringify({ owner: "", state: "", fresh: true, parts });
  assert.deepEqual(recalled(), { owner: "", state: "", fresh: true, parts });
});
