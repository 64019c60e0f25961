import assert from "node:assert/strict";
import { test } from "node:test";
import { computePause } from "../../../src/hven/plugins/query_pages/scripts/jobs.js";
import {
  addQuery,
  matchTable,
  findReplacementStart,
  formatFault,
  locateFault,
} from "../../../src/hven/plugins/query_pages/scripts/editing/query_text.js";
import { t } from "../../../web/test/page.js";

test("jobs are looked at ever more slowly while nothing changes", () => {
  assert.equal(computePause(1000, true), 1500);
  assert.equal(computePause(9000, true), 10_000);
  assert.equal(computePause(9000, false), 1000);
});

test("a fault is marked where it is, and the part of a name that is wrong is mended", () => {
  const text = "  SELECT t.colum FROM t";
  assert.deepEqual(locateFault(text, 7), { from: 9, to: 16 });
  assert.deepEqual(locateFault("x", 9), { from: 1, to: 1 });
  assert.equal(locateFault(text, undefined), null);
  assert.equal(findReplacementStart(text, 9, 16, "column"), 11);
  assert.equal(findReplacementStart(text, 9, 16, "t.column"), 9);
  const fault = { message: "no column", remedy: "mend it", line: 1, column: 8 };
  assert.equal(formatFault(fault, t), "line 1, column 8: no column – mend it");
  assert.equal(formatFault({ message: "late" }, t), "late");
});

test("queries are remembered once each, thirty of them", () => {
  assert.deepEqual(addQuery(["a", "b"], "b"), ["b", "a"]);
  assert.equal(addQuery(Array.from({ length: 30 }, String), "x").length, 30);
});

test("tables are found by their names and by their columns", () => {
  assert.deepEqual(matchTable("", "t", ["a"]), { isVisible: true, isOpen: false, columns: [true] });
  assert.deepEqual(matchTable("ra", "t", ["ra", "dec"]), { isVisible: true, isOpen: true, columns: [true, false] });
  assert.deepEqual(matchTable("t", "T", ["ra"]), { isVisible: true, isOpen: false, columns: [true] });
  assert.equal(matchTable("x", "t", ["ra"]).isVisible, false);
});
