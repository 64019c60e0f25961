// The share pane: link, citation, and saving of the current search.
import { addCopyButton } from "./copy_button.js";
import { findElements, createButton, requireElement, createElement } from "./dom.js";
import { SavedSearches, showSavedSearches } from "./saved_searches.js";
/** @import {Workspace} from "./workspace.js" */

/**
 * Name a search by its table and conditions.
 * @param {string} title
 * @param {string[][]} state
 */
export function nameSearch(title, state) {
  const conditions = state.filter(
    ([name, value]) => value && (!name.startsWith("_") || ["_q", "_near"].includes(name)),
  );
  const parts = conditions.map(([name, value]) => (name.startsWith("_") ? value : `${name} ${value}`));
  return [title, ...(parts.length ? [parts.join(", ")] : [])].join(": ").slice(0, 120);
}

/** The pane that shares a search. */
class SharePane {
  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { base, state, t } = workspace;
    this.container = container;
    this.workspace = workspace;
    this.searches = new SavedSearches(base);
    this.codes = findElements(container, "code").map((code) => ({
      code,
      parts: code.textContent.split(container.dataset.address ?? ""),
    }));
    for (const example of findElements(container, ".copyable")) addCopyButton(example, workspace);
    this.nameInput = createElement("input", { "aria-label": t("Name of the search"), maxLength: 120 });
    this.message = createElement("p", { className: "soft", role: "status" });
    this.listElement = createElement("ul", { className: "kept-searches" });
    const form = createElement(
      "form",
      {},
      this.nameInput,
      " ",
      createElement("button", { textContent: t("Save this search") }),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
    const explanation = createElement("p", {
      className: "soft",
      textContent: t("Searches are saved only in this browser. They also appear on the home page."),
    });
    requireElement(container, "[data-searches]").append(form, this.message, this.listElement, explanation);
    if ("share" in navigator) this.offerSharing();
    showSavedSearches(this.listElement, this.searches, t);
    state.on("change", () => this.update());
    this.update();
  }

  get title() {
    return document.querySelector("h1")?.textContent ?? document.title;
  }

  /** Offer the device's own sharing dialog. */
  offerSharing() {
    const { t } = this.workspace;
    // the user cancelled
    const shareLink = () => navigator.share({ title: this.nameInput.value, url: location.href }).catch(() => {});
    requireElement(this.container, "[data-link-of]").after(
      createButton(t("Send the link"), shareLink, { className: "quiet" }),
    );
  }

  /** Update link, citation and name. */
  update() {
    const address = `${location.origin}${location.pathname}${location.search}`;
    for (const { code, parts } of this.codes) code.textContent = parts.join(address);
    this.nameInput.value = nameSearch(this.title, this.workspace.state.entries());
    this.message.textContent = "";
  }

  save() {
    const { t } = this.workspace;
    const address = `${location.pathname}${location.search}`;
    const isSaved = this.searches.save({ name: this.nameInput.value.trim() || this.title, address });
    this.message.textContent = isSaved ? t("Saved") : t("This browser does not save data for this site.");
    showSavedSearches(this.listElement, this.searches, t);
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  new SharePane(container, workspace);
}
