import assert from "node:assert/strict";
import { test } from "node:test";
import { tall } from "../src/phone_cards.js";

test("a card is as tall as what stands in it", () => {
  assert.equal(tall(1, 0, false), 40);
  assert.equal(tall(3, 0, false), tall(2, 0, false), "two values beside each other");
  assert.equal(tall(5, 0, false), tall(3, 0, false) + 42);
  assert.equal(tall(300, 0, false), tall(7, 0, false), "the rest is in the panel");
  assert.equal(tall(4, 0, true), tall(4, 0, false) + 30);
  assert.equal(tall(6, 64, false), tall(5, 64, false) + 42, "beside a picture the first value has a line for itself");
  assert.equal(tall(5, 64, false), tall(4, 64, false));
  assert.equal(tall(3, 160, false), 180, "a picture is not cut");
});
