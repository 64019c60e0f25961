import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMapPart, formatRange } from "../../../src/hven/plugins/overviews/scripts/strip.js";

test("bins are asked for as a range, whichever way they were brushed", () => {
  const [lows, highs] = [
    ["0", "10", "20"],
    ["9", "19", "29"],
  ];
  assert.equal(formatRange(lows, highs, 0, 1), "0..19");
  assert.equal(formatRange(lows, highs, 2, 1), "10..29");
  assert.equal(formatRange(["1", "2"], ["1", "2"], 1, 1), "2");
});

test("the outermost bins have all that lies beyond, and all bins together no condition", () => {
  const [lows, highs] = [
    ["", "10", "20"],
    ["9", "19", ""],
  ];
  assert.equal(formatRange(lows, highs, 0, 0), "..9");
  assert.equal(formatRange(lows, highs, 1, 2), "10..");
  assert.equal(formatRange(lows, highs, 0, 2), null);
});

test("a part of a map is two ranges; the sky is seen from inside", () => {
  const world = [0, -90, 360, 90];
  assert.deepEqual(formatMapPart(world, [0, 0, 0.25, 0.5], false), ["0..90", "0..90"]);
  assert.deepEqual(formatMapPart(world, [0, 0.5, 0.25, 1], true), ["270..360", "-90..0"]);
});
