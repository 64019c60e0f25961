// The rule of names finds what it is for, and lets plain names pass.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Linter } from "eslint";
import { isPlainFunctionName, plainNames } from "../names_rule.js";

/**
 * List the names that the rule reports in a piece of code.
 * @param {string} code
 */
function listReportedNames(code) {
  const config = { plugins: { hven: { rules: { names: plainNames } } }, rules: { "hven/names": "error" } };
  return new Linter().verify(code, [config]).map(({ message }) => message.split(/[: ]/)[0]);
}

test("a function begins with a verb", () => {
  for (const name of ["fetchRows", "isOpen", "handleClick", "toPixel", "healpixToSphere", "onChange", "withMargin"]) {
    assert.ok(isPlainFunctionName(name), name);
  }
  for (const name of ["asked", "found", "again", "meanwhile", "whole", "drawnRows", "paired"]) {
    assert.ok(!isPlainFunctionName(name), name);
  }
  assert.deepEqual(listReportedNames("function shown() {} const told = () => 1; class A { made() {} get ends() {} }"), [
    "shown",
    "told",
    "made",
  ]);
});

test("a value says what it is", () => {
  assert.deepEqual(
    listReportedNames("const one = rows[0]; for (const found of rows) use(found); rows.map((it) => it);"),
    ["one", "found", "it"],
  );
  assert.deepEqual(listReportedNames("const { rest: known, left } = view; function read([said]) {}"), [
    "known",
    "said",
  ]);
  assert.deepEqual(
    listReportedNames("const { rest } = view; const row = rows[0]; for (const column of columns) use(column);"),
    [],
  );
});

test("a number of a module is a constant in capitals", () => {
  assert.deepEqual(listReportedNames("const wait = 300; export const WAIT_MILLISECONDS = 300;"), ["wait"]);
});
