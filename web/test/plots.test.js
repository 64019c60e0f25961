import assert from "node:assert/strict";
import { test } from "node:test";
import { applyOpacity, buildGradient, getViridisColour } from "../src/colours.js";
import { drawBarPath } from "../src/histograms.js";
import {
  computeRange,
  scaleDensity,
  listDrawablePoints,
  computeErrorEnds,
  listBinCentres,
  parseSettings,
  colourPoints,
  formatAxisTitle,
  describePoints,
  formatSettings,
} from "../src/plot_data.js";
import { t } from "./page.js";

test("colours go from dark to bright, and no further", () => {
  assert.equal(getViridisColour(0), "rgb(68,1,84)");
  assert.equal(getViridisColour(0.5), "rgb(33,144,141)");
  assert.equal(getViridisColour(7), getViridisColour(1));
  assert.equal(getViridisColour(-1), getViridisColour(0));
  assert.equal(applyOpacity("#ffb26b", 0.5), "rgba(255,178,107,0.5)");
  assert.equal(
    buildGradient(() => "red"),
    "linear-gradient(to right, red,red,red,red,red)",
  );
});

test("the settings of a plot are those of the address", () => {
  for (const text of ["ra", "ra;dec", "ra;dec;vmag;xy", "ra;;;y"])
    assert.equal(formatSettings(parseSettings(text)), text);
  assert.equal(formatSettings(parseSettings(null)), null);
  assert.deepEqual(parseSettings("a;b;;y"), { x: "a", y: "b", c: "", logX: false, logY: true });
});

test("an axis is called by its column and unit; a time has none", () => {
  assert.equal(formatAxisTitle({ label: "V", unit: "mag" }), "V (mag)");
  assert.equal(formatAxisTitle({ label: "seen", unit: "d", time: true }), "seen");
});

test("points without a number are left out, on a logarithmic axis those that are not above 0", () => {
  const [xs, ys] = [
    [1, null, -1, 2],
    [1, 1, 1, 0],
  ];
  assert.deepEqual(listDrawablePoints(xs, ys, { logX: false, logY: false }), [0, 2, 3]);
  assert.deepEqual(listDrawablePoints(xs, ys, { logX: true, logY: true }), [0]);
});

test("around values there is a little room", () => {
  assert.deepEqual(computeRange([0, 100], false), [-3, 103]);
  assert.deepEqual(computeRange([5, 5], false), [4.5, 5.5]);
  assert.deepEqual(computeRange([12, 120], true), [10, 144]);
  assert.deepEqual(listBinCentres({ low: 0, high: 4, counts: [1, 1] }), [1, 3]);
});

test("numbers have a scale, other values a colour each, missing ones their own", () => {
  const numbers = colourPoints([0, null, 10, 5], { label: "a", unit: "" }, "en");
  assert.deepEqual(numbers.colours, [getViridisColour(0), "#888", getViridisColour(1), getViridisColour(0.5)]);
  assert.deepEqual([numbers.low, numbers.high], ["0", "10"]);
  const scale = (/** @type {number[]} */ ...values) => {
    const { low, high } = colourPoints(values, { label: "a", unit: "" }, "en");
    return [low, high];
  };
  assert.deepEqual(scale(4.5009, 48.985), ["4.5", "49"], "a hundredth of the scale is enough");
  assert.deepEqual(scale(2014.1, 2015.3), ["2,014.1", "2,015.3"]);
  assert.deepEqual(scale(-0.00012345, 0), ["-0.000123", "0"]);
  assert.deepEqual(scale(7.25, 7.25), ["7.25", "7.25"]);
  const kinds = colourPoints(["b", null, "a"], { label: "a", unit: "" }, "en");
  assert.deepEqual(kinds.kinds, [
    ["", getViridisColour(0)],
    ["a", getViridisColour(0.5)],
    ["b", getViridisColour(1)],
  ]);
  assert.deepEqual(kinds.colours, [getViridisColour(1), getViridisColour(0), getViridisColour(0.5)]);
  const dates = colourPoints([2451545, 2451546], { label: "a", unit: "", time: true }, "en");
  assert.equal(dates.low, "2000-01-01 12:00");
});

test("the scale of a density ends where all but one in two hundred cells are", () => {
  const even = scaleDensity([
    [1, 0],
    [4, 16],
  ]);
  assert.equal(even.most, 4);
  assert.ok(even.more);
  assert.equal(even.shade(4), getViridisColour(1));
  assert.equal(even.shade(99), getViridisColour(1));
  assert.equal(even.shade(1), getViridisColour(0.2));
  assert.deepEqual([scaleDensity([[0]]).most, scaleDensity([[0]]).more], [2, false]);
});

test("an error bar on a logarithmic axis ends where the axis does", () => {
  assert.deepEqual(computeErrorEnds(5, 1, false, 0), [4, 6]);
  assert.deepEqual(computeErrorEnds(5, 6, true, 0.1), [0.1, 11]);
  assert.equal(computeErrorEnds(5, 0, false, 0), null);
  assert.equal(computeErrorEnds(5, null, false, 0), null);
});

test("what is drawn of points is said", () => {
  const axes = [
    { label: "a", unit: "" },
    { label: "b", unit: "", error: { name: "e_b", values: [] } },
  ];
  const description = describePoints(
    1200,
    { axes, values: [], keys: [], more: true },
    { t, number: (value) => value.toLocaleString("en") },
  );
  assert.equal(description, "1,200 rows, only the first rows, error bars: e_b");
});

test("a small histogram shows what is there at all", () => {
  assert.equal(drawBarPath([0, 1, 1000]), "M1 20V19.3h.9V20zM2 20V0.0h.9V20z");
});
