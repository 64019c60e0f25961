import assert from "node:assert/strict";
import { test } from "node:test";
import { clearer, ramp, viridis } from "../src/colours.js";
import { outline } from "../src/histograms.js";
import { around, density, drawable, ends, middles, settings, shades, title, told, written } from "../src/marks.js";
import { t } from "./page.js";

test("colours go from dark to bright, and no further", () => {
  assert.equal(viridis(0), "rgb(68,1,84)");
  assert.equal(viridis(0.5), "rgb(33,144,141)");
  assert.equal(viridis(7), viridis(1));
  assert.equal(viridis(-1), viridis(0));
  assert.equal(clearer("#ffb26b", 0.5), "rgba(255,178,107,0.5)");
  assert.equal(
    ramp(() => "red"),
    "linear-gradient(to right, red,red,red,red,red)",
  );
});

test("the settings of a plot are those of the address", () => {
  for (const text of ["ra", "ra;dec", "ra;dec;vmag;xy", "ra;;;y"]) assert.equal(written(settings(text)), text);
  assert.equal(written(settings(null)), null);
  assert.deepEqual(settings("a;b;;y"), { x: "a", y: "b", c: "", logX: false, logY: true });
});

test("an axis is called by its column and unit; a time has none", () => {
  assert.equal(title({ label: "V", unit: "mag" }), "V (mag)");
  assert.equal(title({ label: "seen", unit: "d", time: true }), "seen");
});

test("points without a number are left out, on a logarithmic axis those that are not above 0", () => {
  const [xs, ys] = [
    [1, null, -1, 2],
    [1, 1, 1, 0],
  ];
  assert.deepEqual(drawable(xs, ys, { logX: false, logY: false }), [0, 2, 3]);
  assert.deepEqual(drawable(xs, ys, { logX: true, logY: true }), [0]);
});

test("around values there is a little room", () => {
  assert.deepEqual(around([0, 100], false), [-3, 103]);
  assert.deepEqual(around([5, 5], false), [4.5, 5.5]);
  assert.deepEqual(around([12, 120], true), [10, 144]);
  assert.deepEqual(middles({ low: 0, high: 4, counts: [1, 1] }), [1, 3]);
});

test("numbers have a scale, other values a colour each, missing ones their own", () => {
  const numbers = shades([0, null, 10, 5], { label: "a", unit: "" }, "en");
  assert.deepEqual(numbers.colours, [viridis(0), "#888", viridis(1), viridis(0.5)]);
  assert.deepEqual([numbers.low, numbers.high], ["0", "10"]);
  const scale = (/** @type {number[]} */ ...values) => {
    const { low, high } = shades(values, { label: "a", unit: "" }, "en");
    return [low, high];
  };
  assert.deepEqual(scale(4.5009, 48.985), ["4.5", "49"], "a hundredth of the scale is enough");
  assert.deepEqual(scale(2014.1, 2015.3), ["2,014.1", "2,015.3"]);
  assert.deepEqual(scale(-0.00012345, 0), ["-0.000123", "0"]);
  assert.deepEqual(scale(7.25, 7.25), ["7.25", "7.25"]);
  const kinds = shades(["b", null, "a"], { label: "a", unit: "" }, "en");
  assert.deepEqual(kinds.kinds, [
    ["", viridis(0)],
    ["a", viridis(0.5)],
    ["b", viridis(1)],
  ]);
  assert.deepEqual(kinds.colours, [viridis(1), viridis(0), viridis(0.5)]);
  const dates = shades([2451545, 2451546], { label: "a", unit: "", time: true }, "en");
  assert.equal(dates.low, "2000-01-01 12:00");
});

test("the scale of a density ends where all but one in two hundred cells are", () => {
  const even = density([
    [1, 0],
    [4, 16],
  ]);
  assert.equal(even.most, 4);
  assert.ok(even.more);
  assert.equal(even.shade(4), viridis(1));
  assert.equal(even.shade(99), viridis(1));
  assert.equal(even.shade(1), viridis(0.2));
  assert.deepEqual([density([[0]]).most, density([[0]]).more], [2, false]);
});

test("an error bar on a logarithmic axis ends where the axis does", () => {
  assert.deepEqual(ends(5, 1, false, 0), [4, 6]);
  assert.deepEqual(ends(5, 6, true, 0.1), [0.1, 11]);
  assert.equal(ends(5, 0, false, 0), null);
  assert.equal(ends(5, null, false, 0), null);
});

test("what is drawn of points is said", () => {
  const axes = [
    { label: "a", unit: "" },
    { label: "b", unit: "", error: { name: "e_b", values: [] } },
  ];
  const said = told(
    1200,
    { axes, values: [], keys: [], more: true },
    { t, number: (value) => value.toLocaleString("en") },
  );
  assert.equal(said, "1,200 rows, the first of more, bars: e_b");
});

test("a small histogram shows what is there at all", () => {
  assert.equal(outline([0, 1, 1000]), "M1 20V19.3h.9V20zM2 20V0.0h.9V20z");
});
