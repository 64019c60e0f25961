import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { dispatchWindowEvent, historySteps } from "./page.js";
import { applyChanges } from "../src/state_links.js";
import { RequestError, Selection, State, Workspace } from "../src/workspace.js";

const createFetch =
  (body, status = 200) =>
  async () =>
    new Response(JSON.stringify(body), { status });

function createPage() {
  const texts = { textContent: JSON.stringify({ "{count} rows": "{count} lignes" }) };
  const documentElement = { dataset: { base: "/vo" }, lang: "fr" };
  return new Workspace({ documentElement, getElementById: () => texts });
}

beforeEach(() => {
  historySteps.length = 0;
  location.search = "?vmag=3&vmag=5&_row=x";
});

test("a change of the state is a step in the history and is told once", () => {
  const state = new State();
  const changes = [];
  state.on("change", (event) => changes.push(event.changed));
  state.set({ vmag: ["4", "6"], _row: null });
  state.set({ vmag: ["4", "6"] });
  state.set({ _map: "1,2,3" }, { replace: true });
  assert.deepEqual(state.getAll("vmag"), ["4", "6"]);
  assert.deepEqual(changes, [["vmag", "_row"], ["_map"]]);
  assert.deepEqual(historySteps, [
    ["push", "/collections/stars/main?vmag=4&vmag=6"],
    ["replace", "/collections/stars/main?vmag=4&vmag=6&_map=1%2C2%2C3"],
  ]);
});

test("back and forward bring the state of the address", () => {
  const state = new State();
  location.search = "?name=mars";
  dispatchWindowEvent("popstate");
  assert.equal(String(state), "name=mars");
});

test("a selection tells what changed, and nothing if nothing did", () => {
  const selection = new Selection();
  const names = [];
  selection.on("change", (event) => names.push(event.name));
  selection.set("chosen", "a");
  selection.set("chosen", "a");
  selection.mark(["b", "c"]);
  selection.mark(["c"], false);
  assert.deepEqual(names, ["chosen", "marked", "marked"]);
  assert.deepEqual(
    ["a", "b", "c", null, ""].map((key) => selection.has(key)),
    [true, true, false, false, false],
  );
});

test("files of an observation are marked with its line, and one compares lines", () => {
  const selection = new Selection();
  selection.mark(["a"], true, ["a", "a2", "a3"]);
  selection.mark(["b"]);
  assert.deepEqual(
    [[...selection.marked], selection.markedLines],
    [
      ["a", "a2", "a3", "b"],
      ["a", "b"],
    ],
  );
  selection.mark(["a"], false, ["a", "a2", "a3"]);
  assert.deepEqual([[...selection.marked], selection.markedLines], [["b"], ["b"]]);
});

test("words come in the reader's language, with their values", () => {
  const { t } = createPage();
  assert.equal(t("{count} rows", { count: 3 }), "3 lignes");
  assert.equal(t("unknown {word}"), "unknown {word}");
});

test("the search is what is asked, without what is looked at of it", () => {
  assert.equal(createPage().search, "vmag=3&vmag=5");
});

test("questions go to the site's address; a refusal says what helps", async () => {
  const page = createPage();
  let address = "";
  globalThis.fetch = async (url) => {
    address = url;
    return new Response('{"rows": 1}');
  };
  assert.deepEqual(await page.fetchJson("/rows?a=1", { state: new URLSearchParams("b=2") }), { rows: 1 });
  assert.equal(address, "/vo/rows?a=1&b=2");
  globalThis.fetch = createFetch({ message: "no such column", remedy: "look at the list" }, 400);
  await assert.rejects(
    page.fetchJson("/rows"),
    (error) => error instanceof RequestError && error.remedy === "look at the list",
  );
});

test("a second question of a pane overtakes the first, which never ends", async () => {
  const page = createPage();
  const overtaken = [];
  page.on("overtaken", (event) => overtaken.push(event.pane));
  globalThis.fetch = (_, { signal }) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      setTimeout(() => resolve(new Response("{}")), 5);
    });
  let ended = false;
  page.fetchJson("/rows", { pane: "plot" }).finally(() => (ended = true));
  await page.fetchJson("/rows", { pane: "plot" });
  assert.deepEqual([overtaken, ended], [["plot"], false]);
});

test("links of the page follow its state, with what they change of it", () => {
  const state = new State("?time=2012-01-11&_row=%5B1%5D");
  assert.equal(applyChanges(state, "_files=each&_row="), "time=2012-01-11&_files=each");
  assert.equal(applyChanges(state, ""), "time=2012-01-11&_row=%5B1%5D");
});

test("panes of packages add sections to rows, also after a row is shown", () => {
  const page = createPage();
  const sections = [];
  page.on("section", ({ createSection }) => sections.push(createSection({ tableUrl: "/t", keys: ["[1]"] })));
  page.addRowSection(({ tableUrl, keys }) => `${tableUrl} ${keys}`);
  assert.deepEqual(sections, ["/t [1]"]);
  assert.equal(page.rowSections.length, 1);
});
