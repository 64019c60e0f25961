import assert from "node:assert/strict";
import { test } from "node:test";
import { formatNumberTicks, formatTimeTicks, formatJulianDate, listNumberTicks, listTimeTicks } from "../src/ticks.js";

const J2000 = 2_451_545; // 2000-01-01T12:00

test("marks of numbers are round, as many as there is room for, and three at least", () => {
  assert.deepEqual(listNumberTicks(0, 10, 5), [0, 5, 10]);
  assert.deepEqual(listNumberTicks(0, 10, 6), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(listNumberTicks(0.1, 0.35, 4), [0.1, 0.2, 0.3]);
  assert.deepEqual(listNumberTicks(-1, 1, 1), [-1, 0, 1]);
  assert.deepEqual(listNumberTicks(3, 3, 5), [3]);
});

test("marks of times are whole minutes, days, months, years", () => {
  const listTexts = (from, days, maxTicks) => formatTimeTicks(listTimeTicks(from, from + days, maxTicks));
  assert.deepEqual(listTexts(J2000 - 0.5, 1, 5), ["00:00\n2000-01-01", "06:00", "12:00", "18:00", "00:00\n2000-01-02"]);
  assert.deepEqual(listTexts(J2000 - 0.5, 4, 5), ["01-01\n2000", "01-02", "01-03", "01-04", "01-05"]);
  assert.deepEqual(listTexts(J2000 - 0.5, 120, 5), ["2000-01", "2000-02", "2000-03", "2000-04"]);
  assert.deepEqual(listTexts(J2000 - 0.5, 3653, 6), ["2000", "2002", "2004", "2006", "2008", "2010"]);
});

test("seconds are told where marks are closer than minutes", () => {
  assert.deepEqual(formatTimeTicks([J2000, J2000 + 5 / 86400]), ["12:00:00\n2000-01-01", "12:00:05"]);
});

test("a Julian date is told to the millisecond", () => {
  assert.equal(formatJulianDate(J2000), "2000-01-01T12:00:00.000Z");
});

test("numbers have as many digits as tell them apart", () => {
  assert.deepEqual(formatNumberTicks([0, 0.5, 1], "en"), ["0.0", "0.5", "1.0"]);
  assert.deepEqual(formatNumberTicks([9000, 9500], "en"), ["9000", "9500"]);
  assert.deepEqual(formatNumberTicks([0, 20_000], "en"), ["0", "20,000"]);
  assert.deepEqual(formatNumberTicks([0, 1e8, 2e8], "en"), ["0", "1e+8", "2e+8"]);
  assert.deepEqual(formatNumberTicks([1e-7, 2e-7], "en"), ["1e-7", "2e-7"]);
});
