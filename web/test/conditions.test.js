import assert from "node:assert/strict";
import { test } from "node:test";
import { readColumnForm, listShownColumns } from "../src/column_chooser.js";
import { listValueSuggestions } from "../src/completion.js";
import { readFieldCondition, formatCondition, formatTimeCondition } from "../src/conditions.js";
import { toggleValue, quoteValue } from "../src/facets.js";

test("the parts of a field are one condition", () => {
  const cases = [
    [["3", "6", "mmag", ""], "3..6 mmag"],
    [["3", "", "", ""], "3.."],
    [["", "6", "", ""], "..6"],
    [["3", "3", "", ""], "3"],
    [["", "", "mag", ""], ""],
    [["2004-01-01", "2004-02-01", "d", ""], "2004-01-01..2004-02-01"],
    [["2004-01-01T12:00", "", "", "30"], "2004-01-01T12:00~30 min"],
    [["2004-01-01T12:00", "", "h", "2"], "2004-01-01T12:00~2 h"],
  ];
  for (const [parts, condition] of cases) assert.equal(formatCondition(...parts), condition);
});

test("a date alone is all of it, as the server reads it", () => {
  for (const date of ["2012", "2012-09", "2012-09-03"]) {
    assert.equal(formatTimeCondition(date, "", "min", ""), date);
    assert.equal(formatTimeCondition(`${date}..`, "", "min", ""), `${date}..`);
    assert.equal(formatTimeCondition(date, "2013", "min", ""), `${date}..2013`);
    assert.equal(formatTimeCondition(date, "", "h", "2"), `${date}~2 h`);
  }
  assert.equal(formatTimeCondition("2012-09-03T10:00", "", "min", ""), "2012-09-03T10:00..");
  assert.equal(formatCondition("2012", "", "", ""), "2012..", "a number is none");
});

test("a whole condition in the first part stays as it is", () => {
  for (const text of ["<6", "1,2", "!null", "null", "1..2", "1 / 2", '"a"', "mars"]) {
    assert.equal(formatCondition(text, "", "mag", ""), text);
  }
});

test("places and steps are put together of their parts", () => {
  const parts = { _near: "M 31", _radius: "", _radius_unit: "deg", _every: "1 h", _each: "wavelength", name: "mars" };
  const getValue = (name) => parts[name] ?? "";
  assert.equal(readFieldCondition("_near", true, getValue), "M 31,1 deg");
  assert.equal(readFieldCondition("_every", true, getValue), "1 h,wavelength");
  assert.equal(readFieldCondition("name", false, getValue), "mars");
  assert.equal(
    readFieldCondition("_near", true, () => ""),
    "",
  );
});

test("values that would be read as something else are written in quotes", () => {
  assert.equal(quoteValue(null), "null");
  assert.equal(quoteValue(""), '""');
  assert.equal(quoteValue("null"), '"null"');
  assert.equal(quoteValue("NULL"), '"NULL"');
  assert.equal(quoteValue("a,b"), '"a,b"');
  assert.equal(quoteValue('say "hi"'), '"say ""hi"""');
  assert.equal(quoteValue("1..2"), '"1..2"');
  assert.equal(quoteValue("Mars"), "Mars");
});

test("a choice is added or taken away, whatever its quotes and its case", () => {
  assert.equal(toggleValue(["Mars"], "a,b", true), 'Mars,"a,b"');
  assert.equal(toggleValue(['Mars,"say ""hi, you"""'], 'say "hi, you"', false), "Mars");
  assert.equal(toggleValue(['Mars,"a,b"'], "A,B", false), "Mars");
  assert.equal(toggleValue(["Mars"], "mars", true), "mars");
  assert.equal(toggleValue(["Mars"], "Mars", false), null);
  assert.equal(toggleValue(["a", "null"], null, false), "a");
});

test("values are offered behind what stands in the field, with their counts where these tell something", () => {
  const createChoice = (value, rows) => ({ value, label: value, rows, chosen: false });
  const listOffers = (...choices) => listValueSuggestions(choices, "a,", (rows) => String(rows));
  assert.deepEqual(listOffers(createChoice("b", 2), createChoice("", 3)), [{ value: "a,b", label: "b (2)" }]);
  assert.deepEqual(listOffers(createChoice("b,c", 1)), [{ value: 'a,"b,c"', label: "b,c" }]);
});

test("columns that are ticked are asked for, in their order, with their units", () => {
  const createTick = (value, checked) => ({ value, checked });
  assert.deepEqual(
    readColumnForm(
      [createTick("b", true), createTick("a", true), createTick("c", false)],
      [{ name: "_unit.a", value: "" }],
    ),
    {
      _cols: "b,a",
      "_unit.a": null,
    },
  );
  assert.equal(readColumnForm([createTick("a", false)], []), null);
});

test("an address without columns shows the usual ones, one with an empty list none", () => {
  const createState = (search) => new URLSearchParams(search);
  assert.deepEqual(listShownColumns(createState(""), ["a"]), ["a"]);
  assert.deepEqual(listShownColumns(createState("_cols=b,c"), ["a"]), ["b", "c"]);
  assert.deepEqual(listShownColumns(createState("_cols="), ["a"]), []);
});
