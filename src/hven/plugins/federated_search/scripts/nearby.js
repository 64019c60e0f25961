// Rows of other tables at the time and place of a row: counts, with links.
import { createElement, describeError } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

/**
 * @typedef {{
 *   key: string,
 *   title: string,
 *   rows: number | null,
 *   late: boolean,
 *   common: string[],
 *   url: string,
 * }} NearbyTable
 */
/**
 * The list of tables with rows at the time and place of a row.
 * @typedef {{begin: string, end: string, place: boolean, lines: NearbyTable[], left_out: number}} NearbyTables
 */

class NearbyRows {
  /**
   * @param {string} tableUrl
   * @param {Workspace} workspace
   */
  constructor(tableUrl, workspace) {
    this.tableUrl = tableUrl;
    this.workspace = workspace;
    this.list = createElement("ul");
    this.message = createElement("p", { className: "soft small", "aria-live": "polite" });
    const title = workspace.t("What else is there at this time and place");
    const summary = createElement("summary", { textContent: title });
    this.element = createElement(
      "details",
      { className: "what-else", open: true, hidden: true },
      summary,
      this.message,
      this.list,
    );
  }

  /**
   * Show the tables with rows near a row; slow tables are counted in a second request.
   * @param {string} key of the row
   */
  async showFor(key) {
    this.list.replaceChildren();
    this.message.textContent = "";
    const tables = await this.fetchTables(key, {});
    if (tables?.lines.some((table) => table.late)) await this.fetchTables(key, { _wait: "1" });
  }

  /**
   * @param {string} key
   * @param {Record<string, string>} extraQuery
   * @returns {Promise<NearbyTables | null>}
   */
  async fetchTables(key, extraQuery) {
    const { workspace } = this;
    const state = new URLSearchParams({ _row: key, ...extraQuery });
    try {
      /** @type {NearbyTables} */
      const tables = await workspace.fetchJson(`${this.tableUrl}/else`, { state, pane: "else" });
      this.showTables(tables);
      return tables;
    } catch (error) {
      this.element.hidden = false;
      this.message.textContent = describeError(error);
      return null;
    }
  }

  /** @param {NearbyTables} told */
  showTables({ begin, end, place, lines, left_out: leftOut }) {
    const { t } = this.workspace;
    const timeText = begin ? t("from {begin} to {end}", { begin: formatMinute(begin), end: formatMinute(end) }) : "";
    const leftOutText = leftOut ? t("{count} tables were not queried", { count: leftOut }) : "";
    const noneText = lines.length ? "" : t("Nothing else.");
    this.element.hidden = !lines.length && !leftOut; // nothing to say takes no place of the row's values
    this.message.textContent = [timeText, place ? t("at this place") : "", noneText, leftOutText]
      .filter(Boolean)
      .join(" · ");
    this.list.replaceChildren(...lines.map((table) => this.createLine(table, Boolean(timeText), place)));
  }

  /**
   * @param {NearbyTable} table
   * @param {boolean} hasTime
   * @param {boolean} hasPlace
   */
  createLine({ title, rows, late, common, url }, hasTime, hasPlace) {
    const { t } = this.workspace;
    const isPartial = hasTime && hasPlace && common.length === 1;
    const condition = isPartial
      ? [" ", createElement("small", { className: "soft", textContent: t(PARTIAL_MATCHES[common[0]]) })]
      : [];
    const countText = late ? "…" : this.workspace.formatNumber(rows ?? 0);
    return createElement(
      "li",
      {},
      createElement("span", {}, createElement("a", { href: url, textContent: title }), ...condition),
      createElement("span", { className: "n", textContent: countText }),
    );
  }
}

/** @type {Record<string, string>} */
const PARTIAL_MATCHES = { time: "by time alone", place: "by place alone" };

/** @param {string} time */
function formatMinute(time) {
  return time.slice(0, 16).replace("T", " ");
}

/**
 * @param {HTMLElement} _element
 * @param {Workspace} workspace
 */
export function mount(_element, workspace) {
  const nearbyRows = new NearbyRows("", workspace);
  workspace.addRowSection(({ tableUrl, keys }) => {
    nearbyRows.tableUrl = tableUrl;
    void nearbyRows.showFor(keys[0]);
    return nearbyRows.element;
  });
}
