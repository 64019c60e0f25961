import assert from "node:assert/strict";
import { test } from "node:test";
import { containsWord, listFileLines, listRowLines, formatFitsCards } from "../src/header_lines.js";
import { describeLowerBound } from "../src/file_chips.js";
import { getLargePreviewUrl } from "../src/lightbox.js";
import { formatBytes } from "../src/byte_size.js";
import { buildSignInQuery, applySwitchLink } from "../src/state_links.js";
import { isAllowedOrigin } from "../src/table_cells.js";
import { describeArchive, describeFiles } from "../src/export_menu.js";
import { t } from "./page.js";

test("a row and its file are lines, and these are cards", () => {
  const columns = ["a", "b"].map((name) => ({ name, unit: "m", description: "what" }));
  const row = listRowLines(columns, [{ text: "1.2", title: "1.23456" }, null]);
  assert.deepEqual(
    row.map((line) => line.value),
    ["1.23456", ""],
  );
  const cards = [{ keyword: "EXPTIME", value: "2.5", comment: "[s] exposure" }];
  const lines = listFileLines({ name: "1", cards, notes: [{ keyword: "HISTORY", text: "made" }] });
  assert.deepEqual(formatFitsCards(lines), ["EXPTIME  = 2.5                      / [s] exposure", "HISTORY  made"]);
  assert.ok(containsWord(lines[0], "expos"));
  assert.ok(!containsWord(lines[1], "expos"));
});

test("bytes are said with three digits at most", () => {
  assert.deepEqual(
    [0, 999, 999.6, 12_345_678, 3e15].map((bytes) => formatBytes(bytes, "en")),
    ["0 B", "999 B", "1 kB", "12.3 MB", "3,000 TB"],
  );
});

test("files are counted, with their size as far as it is known", () => {
  const describe = (facts) =>
    describeFiles({ column: "", files: 1200, bytes: 5000, sized: 1200, most: 5000, ...facts }, { t, language: "en" });
  assert.equal(describe({}), "1,200 files, 5 kB");
  assert.equal(describe({ sized: 3 }), "1,200 files, 5 kB and more");
  assert.equal(describe({ bytes: null, most: 1000 }), "1,200 files; a script contains only the first 1,000");
  const describeArchiveOf = (missing) => describeArchive({ files: 1200, bytes: 5000, missing }, { t, language: "en" });
  assert.equal(describeArchiveOf(0), "An archive contains 1,200 files, 5 kB");
  assert.equal(
    describeArchiveOf(2),
    "An archive contains 1,200 files, 5 kB; 2 are not available to you; the archive lists them",
  );
});

test("language and colours change, the rest of the address stays", () => {
  assert.equal(applySwitchLink("?vmag=3..6&lang=fr", "?lang=en&vmag=1"), "?vmag=3..6&lang=en");
});

test("who logs in comes back to what was on the screen", () => {
  const getReturnAddress = (state) =>
    new URLSearchParams(buildSignInQuery("?next=%2Fhven%2Fa%3Fvmag%3D1", state)).get("next");
  assert.equal(getReturnAddress("?vmag=3..6&name=a%26b"), "/hven/a?vmag=3..6&name=a%26b");
  assert.equal(getReturnAddress(""), "/hven/a");
  assert.equal(getReturnAddress(`?${"a".repeat(1000)}`), "/hven/a", "a cookie has no room for more");
});

test("pictures are shown of the page's own origin and of those that the site names", () => {
  const isAllowed = (address) =>
    isAllowedOrigin(new URL(address), "http://vo.example", "https://*.esa.int https://psup.example");
  assert.ok(isAllowed("http://vo.example/a.png"));
  assert.ok(isAllowed("https://psup.example/a.png"));
  assert.ok(isAllowed("https://archive.esa.int/a.png"));
  assert.ok(!isAllowed("http://archive.esa.int/a.png"));
  assert.ok(!isAllowed("https://esa.int.evil.example/a.png"));
});

test("rows that nobody has counted have a bound, and no number of their own", () => {
  const workspace = { t, formatNumber: (value) => value.toLocaleString("en") };
  const count = { total: null, exact: false, rows: undefined, minimum: 100, isTimedOut: false };
  assert.equal(describeLowerBound(count, workspace), "more than 100 rows, still being counted");
  assert.equal(
    describeLowerBound({ ...count, rows: null, isTimedOut: true }, workspace),
    "more than 100 observations, counting all of them takes too long",
  );
});

test("a thumbnail leads to the large preview of the same file", () => {
  const here = "https://vo.example";
  const getLarge = (href) => getLargePreviewUrl(href, here);
  assert.equal(getLarge(`${here}/collections/a/preview/b.fits?size=200`), `${here}/collections/a/preview/b.fits`);
  assert.equal(
    getLarge(`${here}/collections/a/preview/b.fits?SIZE=200&part=1`),
    `${here}/collections/a/preview/b.fits?part=1`,
  );
  assert.equal(getLarge(`${here}/collections/a/files/b.png?size=200`), `${here}/collections/a/files/b.png?size=200`);
  assert.equal(getLarge("https://far.example/preview/b.png?size=200"), "https://far.example/preview/b.png?size=200");
});
