import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatArea,
  formatPlace,
  formatRange,
  parseArea,
  quoteParameter,
  reduceOutline,
} from "../../../src/hven/plugins/plot_areas/scripts/selecting/area_text.js";

const NUMBERS = { name: "mass", label: "Mass", unit: "kg" };
const TIMES = { name: "seen", label: "Seen", unit: "", time: true };
const place = (value, step = 1e-3) => ({ value, step });

test("values are as exact as the plot, and not more", () => {
  assert.equal(formatPlace(place(12.3456789, 0.01), NUMBERS), "12.346");
  assert.equal(formatPlace(place(1.23456789e14, 1e11), NUMBERS), "123460000000000");
  assert.equal(formatPlace(place(-0.000123456, 1e-7), NUMBERS), "-0.00012346");
  assert.equal(formatPlace(place(0, 1), NUMBERS), "0");
  assert.equal(formatPlace(place(5, 0), NUMBERS), "5");
  assert.equal(formatPlace(place(0.2, 100), NUMBERS), "0.2");
});

test("times are dates in ISO 8601, also before 1900 and at the ends of the calendar", () => {
  assert.equal(formatPlace(place(2451545, 1), TIMES), "2000-01-01T12:00:00");
  assert.equal(formatPlace(place(2451545.00001, 1e-7), TIMES), "2000-01-01T12:00:00.864");
  assert.equal(formatPlace(place(2295536.25, 1), TIMES), "1572-11-11T18:00:00");
  assert.equal(formatPlace(place(-5, 1), TIMES), "0001-01-01T00:00:00");
  assert.match(formatPlace(place(9e9, 1), TIMES), /^9999-12-31T/);
});

test("a range has its lower end first, and the unit of the plot", () => {
  assert.equal(formatRange(place(5), place(2), NUMBERS), "2..5");
  assert.equal(formatRange(place(-5), place(-2), { ...NUMBERS, condition_unit: "g" }), "-5..-2 g");
  const wavelengths = { ...NUMBERS, condition_unit: "nm", is_reciprocal: true };
  assert.equal(formatRange(place(-5), place(2), wavelengths), "..2 nm");
  assert.equal(formatRange(place(1), place(2), wavelengths), "1..2 nm");
  assert.equal(formatRange(place(2451545, 1), place(2451546, 1), TIMES), "2000-01-01T12:00:00..2000-01-02T12:00:00");
});

test("columns whose names could be other parameters are quoted", () => {
  assert.equal(quoteParameter("mass"), "mass");
  assert.equal(quoteParameter("_row"), '"_row"');
});

test("an area is written as the server reads it, and read again", () => {
  const axes = [
    { axis: TIMES, isLogarithmic: false },
    { axis: { ...NUMBERS, name: 'a;"b', condition_unit: "g" }, isLogarithmic: true },
  ];
  const corners = [
    [place(2451545, 1), place(1)],
    [place(2451546, 1), place(2.5)],
    [place(2451545, 1), place(3)],
  ];
  const text = formatArea(axes, corners);
  assert.equal(text, 'seen;"a;""b";2000-01-01T12:00:00 1, 2000-01-02T12:00:00 2.5, 2000-01-01T12:00:00 3;y;;g');
  assert.deepEqual(parseArea(text), {
    names: ["seen", 'a;"b'],
    corners: [
      [2451545, 1],
      [2451546, 2.5],
      [2451545, 3],
    ],
    logarithmic: [false, true],
    units: ["", "g"],
  });
  const plain = formatArea([{ axis: NUMBERS }, { axis: NUMBERS }], [[place(1), place(2)]]);
  assert.equal(plain, "mass;mass;1 2");
  for (const other of [null, "", "a;b", "a;b;1 2, 3 4", "a;b;1 2, 3 4, x y", "a;b;1 2 3, 4 5, 6"]) {
    assert.equal(parseArea(other), null);
  }
});

test("an outline keeps its form with few corners", () => {
  const circle = Array.from({ length: 2000 }, (_, index) => {
    const angle = (index / 2000) * 2 * Math.PI;
    return [200 + 150 * Math.cos(angle), 200 + 150 * Math.sin(angle)];
  });
  const outline = reduceOutline(circle);
  assert.ok(outline.length <= 60 && outline.length > 10, String(outline.length));
  const radii = outline.map(([x, y]) => Math.hypot(x - 200, y - 200));
  assert.ok(Math.max(...radii) - Math.min(...radii) < 1e-9);
  const line = Array.from({ length: 500 }, (_, index) => [index, 7]);
  assert.deepEqual(reduceOutline(line), [
    [0, 7],
    [499, 7],
  ]);
  const spike = [...Array(300).keys()].map((index) => [0, index]);
  assert.deepEqual(reduceOutline([...spike, [0, 0]]), [
    [0, 0],
    [0, 299],
    [0, 0],
  ]);
  const noise = Array.from({ length: 3000 }, (_, index) => [(index * 7919) % 800, (index * 104729) % 300]);
  assert.ok(reduceOutline(noise).length <= 60);
});
