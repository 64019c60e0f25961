// A search over many tables: each line is filled when its service has answered, and can be cancelled.
import { findElements, createButton, requireElement, createElement, findElement, readTableUrl } from "hven/dom.js";
import { SearchResultTable } from "./results/search_results.js";
/**
 * The lines of the searched tables.
 * @import {Workspace} from "hven/workspace.js"
 */

class MultiTableSearch {
  pendingCount = 0;

  /**
   * @param {HTMLTableElement} table
   * @param {Workspace} workspace
   */
  constructor(table, workspace) {
    const { t } = workspace;
    this.table = table;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(table);
    this.totalElement = requireElement(document, "[data-total]");
    this.stateElement = requireElement(document, "[data-search-state]");
    this.foldedElement = requireElement(document, "[data-folded]");
    const resultElement = findElement(document, ".found-rows");
    this.resultTable = resultElement && new SearchResultTable(resultElement, workspace);
    /** @type {Record<string, string>} */
    this.statusTexts = {
      ok: t("answered"),
      other: t("cannot answer this search"),
      late: t("no answer in time"),
      failed: t("failed"),
      busy: t("busy"),
    };
  }

  /** Show the number of rows so far. */
  showTotal() {
    const { table, workspace } = this;
    const { t } = workspace;
    let rows = 0;
    for (const line of findElements(document, ".asked tr[data-key]", HTMLTableRowElement)) {
      rows += Number(line.dataset.rows ?? line.cells[2].textContent?.replace(/\D/g, "") ?? 0);
    }
    this.totalElement.textContent = workspace.formatNumber(rows);
    const missingCount = findElements(
      table,
      ["late", "failed", "busy"].map((status) => `tr[data-status="${status}"]`).join(","),
    ).length;
    const missingText = missingCount ? t("{missing} did not answer", { missing: missingCount }) : "";
    this.stateElement.textContent = this.pendingCount ? t("so far") : missingText;
  }

  /**
   * Move a table without matching rows to the folded list.
   * @param {HTMLTableRowElement} line
   */
  foldLine(line) {
    const { status, rows } = line.dataset;
    if (status !== "other" && !(status === "ok" && rows === "0")) return;
    requireElement(this.foldedElement, "tbody").append(line);
    this.foldedElement.hidden = false;
    requireElement(this.foldedElement, "summary span").textContent = String(
      findElements(this.foldedElement, "tr[data-key]").length,
    );
  }

  /**
   * Show the query of a table, and how to take its rows away.
   * @param {{key: string, title: string, adql: string, votable_url: string}} response
   */
  addQuery({ key, title, adql, votable_url: votableUrl }) {
    const queries = findElement(document, "[data-queries]");
    if (!queries || queries.querySelector(`[data-query-of="${CSS.escape(key)}"]`)) return;
    const code = createElement("pre", { tabIndex: 0 }, createElement("code", { textContent: adql }));
    const copyable = createElement("div", { className: "copyable" }, code);
    copyable.dataset.pane = "copy";
    const sampMenu = createElement("details", { className: "menu", hidden: true });
    Object.assign(sampMenu.dataset, { pane: "samp", table: votableUrl, name: title });
    const sampList = createElement("div");
    sampList.dataset.samp = "";
    sampMenu.append(createElement("summary", { textContent: "SAMP" }), sampList);
    const link = createElement("a", { href: votableUrl, rel: "noopener", textContent: "VOTable" });
    const ways = createElement("div", { className: "take" }, link, " ", sampMenu);
    const section = createElement("section", {}, createElement("h2", { textContent: title }), copyable, ways);
    section.dataset.queryOf = key;
    queries.append(section);
    this.workspace.mountPanes(section);
  }

  /**
   * Search one table and fill its line.
   * @param {HTMLTableRowElement} line
   */
  async searchTable(line) {
    const { table, workspace } = this;
    const { t } = workspace;
    const [, , countCell, statusCell] = line.cells;
    const pane = `everywhere ${line.dataset.key}`;
    let isFinished = false;
    const finish = (/** @type {string} */ status, /** @type {string} */ message) => {
      if (isFinished) return;
      isFinished = true;
      this.pendingCount -= 1;
      line.dataset.status = status;
      statusCell.replaceChildren(this.statusTexts[status] ?? t("cancelled"));
      if (message) statusCell.append(" ", createElement("small", { className: "soft", textContent: message }));
      this.foldLine(line);
      this.showTotal();
    };
    const cancelButton = createButton(t("Cancel"), () => {
      workspace.cancelRequest(pane);
      finish("left", "");
    });
    statusCell.replaceChildren(t("being queried ..."), " ", cancelButton);
    line.dataset.status = "asked";
    this.pendingCount += 1;
    try {
      const query = new URLSearchParams(table.dataset.query);
      query.set("_of", line.dataset.key ?? "");
      const response = await workspace.fetchJson(`${this.tableUrl}/ask`, { state: query, pane });
      line.dataset.rows = response.rows ?? 0;
      if (response.rows !== null) {
        const text = workspace.formatNumber(response.rows);
        countCell.replaceChildren(
          response.rows_url ? createElement("a", { href: response.rows_url, textContent: text }) : text,
        );
      }
      if (response.answer) this.resultTable?.addResult(response.answer);
      if (response.votable_url) this.addQuery(response);
      finish(response.status, response.message);
    } catch (/** @type {any} */ error) {
      finish("failed", error.message);
    }
  }
}

/**
 * @param {HTMLTableElement} table
 * @param {Workspace} workspace
 */
export function mount(table, workspace) {
  if (!table.dataset.asked) return undefined;
  const search = new MultiTableSearch(table, workspace);
  const lines = findElements(table, 'tr[data-status="waiting"], tr[data-status="late"]', HTMLTableRowElement);
  return Promise.all(lines.map((line) => search.searchTable(line)));
}
