import assert from "node:assert/strict";
import { test } from "node:test";
import { computeCardHeight } from "../src/phone_cards.js";

test("a card is as tall as what stands in it", () => {
  assert.equal(computeCardHeight(1, 0, false), 40);
  assert.equal(computeCardHeight(3, 0, false), computeCardHeight(2, 0, false), "two values beside each other");
  assert.equal(computeCardHeight(5, 0, false), computeCardHeight(3, 0, false) + 42);
  assert.equal(computeCardHeight(300, 0, false), computeCardHeight(7, 0, false), "the rest is in the panel");
  assert.equal(computeCardHeight(4, 0, true), computeCardHeight(4, 0, false) + 30);
  assert.equal(
    computeCardHeight(6, 64, false),
    computeCardHeight(5, 64, false) + 42,
    "beside a picture the first value has a line for itself",
  );
  assert.equal(computeCardHeight(5, 64, false), computeCardHeight(4, 64, false));
  assert.equal(computeCardHeight(3, 160, false), 180, "a picture is not cut");
});
