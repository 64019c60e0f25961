import assert from "node:assert/strict";
import { test } from "node:test";
import { listComparedColumns } from "../src/row_comparison.js";
import { orderColumns, addPairs, toggleSort, formatRange } from "../src/grid_rows.js";
import { RowPages } from "../src/row_pages.js";
import { ROW_HEIGHT_PIXELS, VirtualScroll, computeFullHeight } from "../src/virtual_scroll.js";
import { createWorkspace } from "./page.js";

const createColumn = (name, changes = {}) => ({
  name,
  label: name,
  unit: "",
  description: "",
  kind: "text",
  numeric: false,
  ...changes,
});

test("columns stand in the order that the server says; unnamed and removed columns are left out", () => {
  const columns = [
    createColumn("name"),
    createColumn("body"),
    createColumn("size"),
    createColumn("shot", { kind: "picture" }),
  ];
  assert.deepEqual(orderColumns({ columns, drawn: ["shot", "name", "gone", "size"] }), [3, 0, 2]);
});

test("two columns that are a pair stand as one, where the first of them would", () => {
  const columns = [
    createColumn("a"),
    createColumn("t_min"),
    createColumn("b"),
    createColumn("t_max"),
    createColumn("c_min"),
    createColumn("c_max"),
  ];
  columns[4].alike = true;
  const pairs = [
    { name: "t", label: "Time", title: "", low: 1, high: 3 },
    { name: "c", label: "C", title: "", low: 4, high: 5 },
  ];
  const page = addPairs({ columns, pairs, rows: [["x", "1", "y", "2", "3", "4"]] });
  const numbers = orderColumns({
    ...page,
    drawn: columns.filter((column) => !column.alike).map((column) => column.name),
  });
  assert.deepEqual(
    numbers.map((number) => page.columns[number].label),
    ["a", "Time", "b", "c_max"],
  );
  assert.deepEqual(page.columns[6].of, ["t_min", "t_max"]);
  assert.deepEqual(
    numbers.map((number) => page.rows[0][number].text ?? page.rows[0][number]),
    ["x", "1 – 2", "y", "4"],
  );
  assert.deepEqual(
    orderColumns({ ...addPairs({ columns: [createColumn("a")], rows: [["x"]] }), drawn: ["a"] }),
    [0],
    "no pairs",
  );
});

test("a span says once what both ends say", () => {
  const formatSpan = (low, high) => formatRange(low, high)?.text ?? formatRange(low, high);
  assert.equal(formatSpan("1", "1"), "1");
  assert.equal(formatSpan("2004-01-01 03:55:33", "2004-01-01 04:00:00"), "2004-01-01 03:55:33 – 04:00:00");
  assert.equal(formatSpan("2004-01-01 23:55:33", "2004-01-02 00:10:00"), "2004-01-01 23:55:33 – 2004-01-02 00:10:00");
  assert.deepEqual([formatSpan(null, "5"), formatSpan("5", null), formatRange(null, null)], ["… – 5", "5 – …", null]);
  assert.equal(formatRange({ text: "1", title: "1.0001" }, "2").title, "1.0001 – 2");
});

test("a press on a head sorts: rising, falling, not at all; with Shift besides the others", () => {
  assert.equal(toggleSort([], "a", false), "a");
  assert.equal(toggleSort(["a"], "a", false), "-a");
  assert.equal(toggleSort(["-a"], "a", false), null);
  assert.equal(toggleSort(["b"], "a", false), "a");
  assert.equal(toggleSort(["b", "a"], "a", true), "b,-a");
});

test("a few rows stand as they are", () => {
  const scroll = new VirtualScroll(1000, 10 * ROW_HEIGHT_PIXELS, 50 * ROW_HEIGHT_PIXELS);
  assert.deepEqual([scroll.isScaled, scroll.rowsInView, scroll.firstRow], [false, 9, 50]);
  assert.deepEqual(scroll.drawnRange, [38, 71]);
  assert.deepEqual(scroll.computeFillers(38, 71), [38 * ROW_HEIGHT_PIXELS, (1000 - 71) * ROW_HEIGHT_PIXELS + 8]);
  assert.equal(scroll.getScrollTop(3), 3 * ROW_HEIGHT_PIXELS);
  assert.equal(scroll.getScrollTopInView(52), null);
  assert.equal(scroll.getScrollTopInView(10), 10 * ROW_HEIGHT_PIXELS);
  assert.equal(scroll.getScrollTopInView(100), (100 - 9 + 2) * ROW_HEIGHT_PIXELS);
  assert.equal(computeFullHeight(2, 0), 3 * ROW_HEIGHT_PIXELS + 8);
});

test("of very many rows the last ones are reached at the end of the bar", () => {
  const total = 10_000_000;
  const createScroll = (top) => new VirtualScroll(total, 700, top);
  assert.ok(createScroll(0).isScaled);
  assert.equal(createScroll(0).firstRow, 0);
  assert.equal(createScroll(8_000_000 - 700).firstRow, total - createScroll(0).rowsInView);
  const [above, below] = createScroll(8_000_000 - 700).computeFillers(total - 36, total);
  assert.equal(above + below - 8 + 36 * ROW_HEIGHT_PIXELS, 8_000_000);
  assert.equal(Math.round(createScroll(createScroll(0).getScrollTop(5_000_000)).firstRow / 10), 500_000);
});

function createAnswers(isLost = () => false) {
  return (path, state) => {
    const from = Number(state.get("_from"));
    const keys = Array.from({ length: 100 }, (_, index) => `[${from + index}]`);
    return { columns: [], rows: keys.map((key) => [key]), keys, from, state: "s1", lost: isLost(state) };
  };
}

test("pages are asked for once, all of one state of the table", async () => {
  const workspace = createWorkspace(createAnswers());
  const pages = new RowPages("/here", workspace, async () => null);
  await Promise.all([pages.fetchPage(0), pages.fetchPage(0)]);
  await pages.fetchPage(2);
  assert.deepEqual(workspace.questions, ["/here/rows?_from=0&_size=100", "/here/rows?_from=200&_size=100&_asof=s1"]);
  assert.equal(pages.findLoadedRow("[203]"), 203);
  assert.equal(pages.findLoadedRow("[103]"), null);
  assert.deepEqual(pages.findNearestRow(90), { place: 90, key: "[90]" });
  assert.deepEqual(pages.findNearestRow(150), { place: 200, key: "[200]" });
});

test("forty pages are kept, those that were used last", async () => {
  const pages = new RowPages("/here", createWorkspace(createAnswers()), async () => null);
  for (let number = 0; number < 40; number++) await pages.fetchPage(number);
  await pages.fetchPage(0);
  await pages.fetchPage(40);
  assert.equal(pages.cache.size, 40);
  assert.ok(pages.getLoadedPage(0));
  assert.equal(pages.getLoadedPage(1), undefined);
});

test("where a state was swept the grid is told, and an answer to another search is none", async () => {
  let lostCount = 0;
  const workspace = createWorkspace(createAnswers((state) => state.has("_asof")));
  const pages = new RowPages("/here", workspace, async () => {
    lostCount++;
    return null;
  });
  await pages.fetchPage(0);
  assert.equal(await pages.fetchPage(1), null);
  assert.equal(lostCount, 1);
  pages.reset();
  const late = pages.fetchPage(0);
  pages.reset();
  assert.equal(await late, null);
});

test("rows are compared by what is read and where it leads; columns without values are left out", () => {
  const columns = [createColumn("a"), createColumn("b"), createColumn("c")];
  const rows = [
    { key: "1", columns, row: ["x", { text: "y", href: "1" }, null] },
    { key: "2", columns, row: ["x", { text: "y", href: "2" }, null] },
  ];
  const listNames = (differing) =>
    listComparedColumns(rows, differing).map((comparison) => [comparison.column.name, comparison.differs]);
  assert.deepEqual(listNames(false), [
    ["a", false],
    ["b", true],
  ]);
  assert.deepEqual(listNames(true), [["b", true]]);
});
