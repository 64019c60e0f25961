import assert from "node:assert/strict";
import { test } from "node:test";
import { findPlotTime, formatPlotTime } from "../../../src/hven/plugins/stacked_plots/scripts/stacked_plots.js";

test("places in a panel are times of its span, and outside of it its ends", () => {
  const box = { left: 100, width: 200 };
  assert.equal(findPlotTime(200, box, [0, 1000]), 500);
  assert.equal(findPlotTime(0, box, [0, 1000]), 0);
  assert.equal(findPlotTime(900, box, [0, 1000]), 1000);
});

test("times have fractions of a second only in short spans", () => {
  const instant = Date.UTC(2003, 9, 28, 11, 0, 0, 250) * 1000;
  assert.equal(formatPlotTime(instant, 3600e6), "2003-10-28T11:00:00");
  assert.equal(formatPlotTime(instant, 10e6), "2003-10-28T11:00:00.250");
});
