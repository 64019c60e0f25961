import assert from "node:assert/strict";
import { test } from "node:test";
import { formatFact, replaceRadius } from "../../../src/hven/plugins/matching/scripts/match_trial.js";

test("figures are written as the server writes them", () => {
  assert.equal(formatFact("radius", 0.30000000000000004), "0.3");
  assert.equal(formatFact("pairs", 1234567), "1,234,567");
  assert.equal(formatFact("several", 0), "0");
  assert.equal(formatFact("chance_pairs", 3.25), "3.3");
  assert.equal(formatFact("chance_share", 0.0331), "3.3");
});

test("only the radius of the match is replaced", () => {
  const lines = "  title: radius: 3}\n      gaia: {table: a.b, epoch: 2016.0, radius: 1.5}\n";
  assert.equal(replaceRadius(lines, "0.8"), lines.replace("1.5}", "0.8}"));
});
