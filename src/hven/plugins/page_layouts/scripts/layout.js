// Buttons that arrange the panes of a table's page: rows, map, plot and card. The address has the arrangement as
// `_panes`; without it, the descriptor says what opens first.
import { createButton, createElement, findElement } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

const PANES_PARAMETER = "_panes";
const GALLERY = "gallery";
const CARD = "card";
const COVERED_PAGE_MEDIA_QUERY = "(max-width: 800px)"; // on such screens, the panel of a row covers the page

/** The arrangement of the panes. */
class PageLayout {
  /** @type {string[]} */
  panes = [];
  isArranged = false; // by the address, the descriptor or the reader

  /**
   * @param {HTMLElement} container
   * @param {HTMLElement} results
   * @param {Workspace} workspace
   */
  constructor(container, results, workspace) {
    const { t } = workspace;
    this.container = container;
    this.results = results;
    this.workspace = workspace;
    /** @type {Record<string, HTMLDetailsElement | null>} */
    this.details = {
      map: /** @type {HTMLDetailsElement | null} */ (findElement(results, "details.map")),
      plot: /** @type {HTMLDetailsElement | null} */ (findElement(results, "details.plot")),
    };
    const names = { rows: t("Rows"), map: t("Map"), plot: t("Plot"), card: t("One row") };
    /** @type {Record<string, HTMLButtonElement>} */
    this.buttons = {};
    for (const [name, label] of Object.entries(names)) {
      if (this.details[name] === null) continue;
      this.buttons[name] = createButton(label, () => this.togglePane(name));
    }
    const heading = createElement("span", { className: "soft", textContent: t("Show") });
    container.replaceChildren(heading, ...Object.values(this.buttons));
    container.setAttribute("role", "group");
    container.setAttribute("aria-label", t("Show"));
    container.hidden = Object.keys(this.buttons).length < 3; // rows and one row alone need no arrangement
    for (const element of Object.values(this.details)) {
      element?.addEventListener("toggle", () => this.handleToggle());
    }
    workspace.state.on("change", () => this.readAddress());
    workspace.selection.on("change", ({ name }) => {
      if (name === "chosen") this.markButtons();
    });
    this.readAddress();
  }

  /** Read the arrangement of the address, or of the descriptor. */
  readAddress() {
    const { state } = this.workspace;
    const text = state.get(PANES_PARAMETER)?.replaceAll(",", " ") ?? this.container.dataset.opens ?? "";
    const names = text.split(" ").filter(Boolean);
    if (names.includes(GALLERY) && !state.has(PANES_PARAMETER) && !state.has("_look")) {
      state.set({ _look: GALLERY }, { replace: true });
    }
    if (!state.has(PANES_PARAMETER) && names.length) {
      names.push(...Object.keys(this.details).filter((name) => state.has(`_${name}`) && !names.includes(name)));
    }
    const panes = names.map((name) => (name === GALLERY ? "rows" : name)).filter((name) => name in this.buttons);
    this.isArranged = panes.length > 0;
    this.panes = this.isArranged ? panes : this.listOpenPanes();
    this.showPanes();
  }

  /** List the panes that are open on the page. */
  listOpenPanes() {
    const openNames = Object.keys(this.details).filter((name) => this.details[name]?.open);
    return ["rows", ...openNames, ...(this.workspace.selection.chosen ? [CARD] : [])];
  }

  /** Show the panes of the arrangement, and close the others. */
  showPanes() {
    const { panes, results } = this;
    if (this.isArranged) {
      const places = panes.filter((name) => name !== CARD);
      results.dataset.panes = places.join(" ");
      results.dataset.paneCount = String(places.length);
      for (const [name, element] of Object.entries(this.details)) {
        if (element) element.open = panes.includes(name);
      }
      if (panes.includes(CARD)) this.chooseFirstRow();
    } else {
      delete results.dataset.panes;
      delete results.dataset.paneCount;
    }
    this.markButtons();
  }

  /** Choose the first row, unless a row is chosen, or its panel would cover the other panes. */
  chooseFirstRow() {
    const { selection, state } = this.workspace;
    if (selection.chosen || state.has("_row") || matchMedia(COVERED_PAGE_MEDIA_QUERY).matches) return;
    const firstKey = findElement(this.results, "tr[data-key]")?.dataset.key;
    if (!firstKey) return;
    selection.set("chosen", firstKey);
    state.set({ _row: firstKey }, { replace: true }); // the panel that is mounted later reads it
  }

  /** Mark the buttons of the panes that are shown. */
  markButtons() {
    const { selection } = this.workspace;
    for (const [name, button] of Object.entries(this.buttons)) {
      const isShown = name === CARD ? Boolean(selection.chosen) : this.panes.includes(name);
      button.setAttribute("aria-pressed", String(isShown));
    }
  }

  /** Follow a map or a plot that the reader opens or closes by its heading. */
  handleToggle() {
    const closedNames = this.panes.filter((name) => this.details[name]?.open === false);
    const openedNames = Object.keys(this.details).filter(
      (name) => this.details[name]?.open && !this.panes.includes(name),
    );
    if (!closedNames.length && !openedNames.length) return;
    this.panes = [...this.panes.filter((name) => !closedNames.includes(name)), ...openedNames];
    if (this.isArranged) this.writeAddress({ replace: true });
    else this.markButtons();
  }

  /**
   * Show or hide a pane; the last one stays.
   * @param {string} name
   */
  togglePane(name) {
    const { selection } = this.workspace;
    if (name === CARD && selection.chosen) {
      this.panes = this.panes.filter((pane) => pane !== CARD);
      selection.set("chosen", null);
      this.workspace.state.set({ _row: null }, { replace: true });
    } else if (!this.panes.includes(name)) this.panes = [...this.panes, name];
    else if (name !== CARD) this.panes = this.panes.filter((pane) => pane !== name);
    if (!this.panes.some((pane) => pane !== CARD)) this.panes = ["rows", ...this.panes];
    this.isArranged = true;
    this.writeAddress();
  }

  /** Write the arrangement to the address. */
  writeAddress({ replace = false } = {}) {
    this.workspace.state.set({ [PANES_PARAMETER]: this.panes.join(",") }, { replace });
    this.showPanes();
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  const results = /** @type {HTMLElement | null} */ (container.closest(".results"));
  return results && new PageLayout(container, results, workspace);
}
