// Turn the labels of a row's values into links to their origins, and add a link to the origins of all values.
/** @import {Workspace} from "hven/workspace.js" */

/**
 * @param {HTMLElement} _element
 * @param {Workspace} workspace
 */
export function mount(_element, workspace) {
  workspace.addRowSection(({ tableUrl, keys }) => {
    const address = `${tableUrl}/provenance?${new URLSearchParams({ _row: keys[0] })}`;
    for (const term of document.querySelectorAll("aside.detail dt[data-column]")) linkTerm(term, address);
    const section = document.createElement("p");
    section.append(createLink(address, workspace.t("Where each value comes from")));
    return section;
  });
}

/**
 * @param {Element} term
 * @param {string} address
 */
function linkTerm(term, address) {
  const label = term.firstChild;
  const column = term instanceof HTMLElement ? term.dataset.column : undefined;
  if (!label || label.nodeType !== Node.TEXT_NODE || !column) return;
  label.replaceWith(createLink(`${address}&${new URLSearchParams({ _column: column })}`, label.textContent ?? ""));
}

/**
 * @param {string} href
 * @param {string} text
 */
function createLink(href, text) {
  const link = document.createElement("a");
  link.href = href;
  link.textContent = text;
  return link;
}
