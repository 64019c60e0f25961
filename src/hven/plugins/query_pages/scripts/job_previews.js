// Links that show the results of a job in a dialog. Without scripts, they lead to the page of the job.
import { createButton, createElement, getEventTarget } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

/**
 * Fetch the preview of a job.
 * @param {string} url
 * @returns {Promise<Node[]>}
 */
async function fetchPreview(url) {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok) throw new Error((await response.json()).message);
  // text that the server has escaped stays text; scripts do not run
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return [...page.body.childNodes].map((node) => document.adoptNode(node));
}

/**
 * Show the results of a job in a dialog; closing the dialog restores the focus.
 * @param {HTMLAnchorElement} link
 * @param {Workspace} workspace
 */
async function openPreview(link, { t }) {
  const title = link.textContent?.trim() ?? "";
  const dialog = createElement("dialog", { className: "header job-preview", "aria-label": title });
  const pageLink = createElement("a", { href: link.href, textContent: t("Open the page of the job") });
  const closeButton = createButton(t("Close"), () => dialog.close());
  const content = createElement("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": title });
  content.setAttribute("aria-busy", "true");
  const heading = createElement("h2", { textContent: title });
  dialog.append(heading, createElement("p", { className: "bar" }, pageLink, " ", closeButton), content);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    // the rows may have been replaced meanwhile
    const sameLink = link.isConnected ? link : document.querySelector(`[data-preview="${link.dataset.preview}"]`);
    if (sameLink instanceof HTMLElement) sameLink.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  closeButton.focus();
  try {
    content.replaceChildren(...(await fetchPreview(link.dataset.preview ?? "")));
  } catch (/** @type {any} */ error) {
    content.replaceChildren(createElement("p", { className: "fault", role: "alert", textContent: error.message }));
  }
  content.removeAttribute("aria-busy");
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  container.addEventListener("click", (event) => {
    const link = getEventTarget(event).closest("a[data-preview]");
    const hasModifier = event.ctrlKey || event.metaKey || event.shiftKey; // the reader wants a new tab or window
    if (!(link instanceof HTMLAnchorElement) || hasModifier) return;
    event.preventDefault();
    openPreview(link, workspace);
  });
}
