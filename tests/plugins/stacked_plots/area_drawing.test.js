import assert from "node:assert/strict";
import { test } from "node:test";
import {
  findFrequency,
  formatArea,
  parseFrequencyAxis,
} from "../../../src/hven/plugins/stacked_plots/scripts/drawing/area_drawing.js";

test("axes of frequency are read, and wrong ones are none", () => {
  assert.deepEqual(parseFrequencyAxis("20000 1.4e7 log"), { low: 20000, high: 1.4e7, isLogarithmic: true });
  for (const text of ["", "1 1 linear", "5 1 linear", "0 9 log", "x y linear"])
    assert.equal(parseFrequencyAxis(text), null);
});

test("heights are frequencies, evenly or by their logarithms", () => {
  const axis = { low: 100, high: 10000, isLogarithmic: true };
  assert.equal(Math.round(findFrequency(0.5, axis)), 1000);
  assert.equal(findFrequency(0.5, { ...axis, isLogarithmic: false }), 5050);
  assert.equal(findFrequency(7, axis), 10000);
});

test("an area is written as the address has it", () => {
  const start = Date.UTC(2003, 9, 28) * 1000;
  const axis = { low: 0, high: 1e7, isLogarithmic: false };
  const area = formatArea(
    [
      [0, 0.1],
      [0.5, 0.1],
      [1, 0.9],
    ],
    [start, start + 3600e6],
    axis,
  );
  assert.equal(
    area,
    "2003-10-28T00:00:00.000 1000000, 2003-10-28T00:30:00.000 1000000, 2003-10-28T01:00:00.000 9000000",
  );
});
