// Comments in the panel of a row, with a link to the page where readers write them.
import { createElement } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */
/** @typedef {{number: number, author: string, at: string, text: string, column: string}} RowComment */

/**
 * @param {HTMLElement} element
 * @param {Workspace} workspace
 */
export function mount(element, workspace) {
  const { t } = workspace;
  const address = element.dataset.url ?? "";
  workspace.addRowSection(({ keys }) => {
    const row = new URLSearchParams({ row: keys[0] });
    const link = createElement("a", { href: `${address}?${row}`, textContent: t("Comment, or report an error") });
    const list = createElement("div", {});
    const section = createElement("section", { className: "row-comments" }, list, createElement("p", {}, link));
    void showComments(list, `${address}?${row}`, workspace);
    if (workspace.isSignedIn) addReportLinks(`${address}?${row}`, workspace);
    return section;
  });
}

/**
 * Add a link to each value in the panel of the row, by which users report an error in the value.
 * @param {string} address
 * @param {Workspace} workspace
 */
function addReportLinks(address, { t }) {
  for (const term of document.querySelectorAll('[data-pane="detail"] dt[data-column]')) {
    if (!(term instanceof HTMLElement) || !term.nextElementSibling) continue;
    const column = term.dataset.column ?? "";
    const title = t("Report an error in {column}", { column });
    const href = `${address}&${new URLSearchParams({ column })}`;
    const link = createElement("a", { className: "soft", href, title, "aria-label": title, textContent: "⚑" });
    term.nextElementSibling.append(" ", link);
  }
}

/**
 * @param {HTMLElement} list
 * @param {string} address
 * @param {Workspace} workspace
 */
async function showComments(list, address, workspace) {
  try {
    /** @type {{comments: RowComment[]}} */
    const { comments } = await workspace.fetchJson(address, { state: null, pane: "entries" });
    list.replaceChildren(
      ...comments.map(({ author, at, text, column }) =>
        createElement(
          "p",
          {},
          createElement("b", { textContent: author }),
          createElement("span", { className: "soft", textContent: ` ${at.slice(0, 10)} ${column}` }),
          createElement("br", {}),
          text,
        ),
      ),
    );
  } catch {
    list.textContent = workspace.t("The comments cannot be loaded");
  }
}
