// The actions of a row's panel: download, send, cite, copy the link.
import { createButton, createElement, findElement } from "./dom.js";
import { formatBytes } from "./byte_size.js";
/** @import {Row} from "./answers.js" */
/** @import {RowReference, Workspace} from "./workspace.js" */

const FEEDBACK_MILLISECONDS = 1500; // how long the button says "Copied"

/**
 * Create the action buttons of a row, and its citation.
 * @param {Row} row
 * @param {string} key
 * @param {string} tableUrl the address of its table
 * @param {Workspace} workspace
 */
export function createRowActions({ file, files = [], cite }, key, tableUrl, workspace) {
  const { language, t } = workspace;
  const actions = [];
  if (file && /^(https?|ftp):/i.test(file.href)) {
    const sizeText = file.bytes === null ? "" : ` (${formatBytes(file.bytes, language)})`;
    actions.push(
      createElement("a", {
        className: "button",
        href: file.href,
        rel: "noopener",
        textContent: `${t("Download")}${sizeText}`,
      }),
    );
  }
  const menu = findElement(document, "details[data-pane=samp]", HTMLDetailsElement);
  if (menu && !menu.hidden)
    actions.push(
      createButton(t("Send"), () => {
        menu.open = true;
        menu.scrollIntoView({ block: "nearest" });
        findElement(menu, "summary")?.focus();
      }),
    );
  const siblings = workspace.state.get("_files") === "each" ? [] : files;
  actions.push(createAddedActions({ tableUrl, keys: [key, ...siblings.map((sibling) => sibling.key)] }, workspace));
  const getPageUrl = () => {
    const address = new URL(location.href);
    return address.href;
  };
  const citationElement = createElement("details", { className: "cited", hidden: true });
  if (cite) {
    citationElement.append(...createCitation(cite, workspace));
    actions.push(
      createButton(t("Cite"), () => {
        citationElement.hidden = !citationElement.hidden;
        citationElement.open = true;
      }),
    );
  }
  actions.push(createCopyTextButton(t("Link"), getPageUrl, workspace));
  return [createElement("div", { className: "acts" }, ...actions), citationElement];
}

/**
 * Create the actions that panes of packages add; a pane may add its action after the row was drawn.
 * @param {RowReference} row
 * @param {Workspace} workspace
 */
function createAddedActions(row, workspace) {
  const addedActions = createElement("span", { className: "added-actions" });
  addedActions.append(...workspace.rowActions.map((createAction) => createAction(row)));
  workspace.on("action", ({ createAction }) => addedActions.append(createAction(row)));
  return addedActions;
}

/**
 * @param {{text: string, bibtex: string}} cite
 * @param {Workspace} workspace
 */
function createCitation({ text, bibtex }, workspace) {
  const { t } = workspace;
  return [
    createElement("summary", { textContent: t("How to cite") }),
    createElement("p", { textContent: text }),
    createElement("pre", { tabIndex: 0 }, createElement("code", { textContent: bibtex })),
    createCopyTextButton(t("Copy"), () => `${text}\n\n${bibtex}`, workspace),
  ];
}

/**
 * Create a button that copies a text.
 * @param {string} title
 * @param {() => string} getText
 * @param {Workspace} workspace
 */
function createCopyTextButton(title, getText, { t }) {
  const copyButton = createButton(title, async () => {
    await navigator.clipboard?.writeText(getText());
    copyButton.textContent = t("Copied");
    setTimeout(() => (copyButton.textContent = title), FEEDBACK_MILLISECONDS);
  });
  return copyButton;
}
