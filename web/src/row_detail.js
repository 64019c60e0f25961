// The panel of a row: all columns, previews, links, and steps to the previous and next row.
import { createRowActions } from "./row_actions.js";
import { createButton, requireElement, createElement, findElement, readTableUrl, getEventTarget } from "./dom.js";
import { createFileChips } from "./file_chips.js";
import { openHeaderDialog } from "./header_dialog.js";
import { getLargePreviewUrl, openLightbox } from "./lightbox.js";
import { formatBytes } from "./byte_size.js";
import { createPicture, createPictureRow, getCaption, isPicture } from "./row_pictures.js";
import { fillCell, isAllowedPicture } from "./table_cells.js";
/** @import {Cell, Column, Link, Row, Translate, Value} from "./answers.js" */
/**
 * The pane with one row.
 * @import {Workspace} from "./workspace.js"
 */

class RowDetail {
  pictureIndex = 0; // index of the displayed picture
  /** The server's data of the row.
   * @type {Row | null} */
  row = null;
  shownKey = ""; // of the row that is shown
  busyTimer = 0; // slow requests mark the panel as busy
  /** @type {(Cell | Link)[]} */
  pictureLinks = [];

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { state, selection, t } = workspace;
    this.container = container;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(container);
    this.titleElement = requireElement(container, "h2");
    this.listElement = requireElement(container, "dl");
    this.picturesElement = requireElement(container, ".pictures");
    this.closeButton = requireElement(container, "button.close");
    this.headerButton = createButton(t("Header"), () => this.openHeader());
    this.actionsElement = createElement("div");
    this.sectionsElement = createElement("div");
    this.valuesElement = createElement("div", { className: "values" });
    this.listElement.before(this.actionsElement, this.sectionsElement);
    this.listElement.after(this.valuesElement);
    const [previousButton, nextButton] = [
      createStepButton(t("Previous row"), "↑", () => this.moveBy(-1)),
      createStepButton(t("Next row"), "↓", () => this.moveBy(1)),
    ];
    this.closeButton.before(previousButton, " ", nextButton, " ", this.headerButton, " ");
    this.closeButton.addEventListener("click", () => {
      selection.set("chosen", null);
      state.set({ _row: null });
    });
    document.addEventListener("keydown", (event) => this.handleKey(event));
    this.picturesElement.addEventListener("click", (event) => this.openPreview(event));
    selection.on("change", (event) => {
      if (event.name === "chosen") this.showChosen();
    });
    workspace.on("section", ({ createSection }) => {
      if (this.shownKey) this.sectionsElement.append(createSection({ tableUrl: this.tableUrl, keys: [this.shownKey] }));
    });
    selection.chosen = state.get("_row");
  }

  /**
   * Move to another row.
   * @param {number} offset
   */
  moveBy(offset) {
    this.workspace.emit("step", { step: offset });
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    const element = getEventTarget(event);
    if (
      this.container.hidden ||
      event.defaultPrevented ||
      element.closest("dialog, select, textarea, [role=application]")
    )
      return;
    if (element.closest("input:not([type=checkbox])") || document.querySelector("dialog[open]")) return;
    const openMenu = element.closest("details.menu[open]"); // it closes first
    if (event.key === "Escape" && !openMenu) return this.closeButton.click();
    const isInside = this.container.contains(element);
    const pictureStep = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (pictureStep && isInside && this.picturesElement.childElementCount) {
      event.preventDefault();
      this.turnPicture(pictureStep);
    }
    const rowStep = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (rowStep && (event.altKey || !element.closest("[data-pane], details, a, button") || isInside)) {
      event.preventDefault();
      this.moveBy(rowStep);
    }
  }

  /** Fetch and show the chosen row. */
  async showChosen() {
    const { chosen } = this.workspace.selection;
    // maps of several tables use other keys, which the result list resolves
    const key = chosen?.startsWith("[") ? chosen : null;
    clearTimeout(this.busyTimer); // of a previous row
    this.tableUrl = readTableUrl(this.container); // a page may list rows of several tables
    if (!key) {
      this.workspace.cancelRequest("detail");
      this.container.removeAttribute("aria-busy");
      this.container.hidden = true;
      return;
    }
    const timer = setTimeout(() => this.container.setAttribute("aria-busy", "true"), 150);
    this.busyTimer = timer;
    try {
      const parameters = new URLSearchParams([["_row", key], ...this.listUnitParameters()]);
      const row = await this.workspace.fetchJson(`${this.tableUrl}/row`, { state: parameters, pane: "detail" });
      this.container.hidden = false;
      this.draw(key, row);
    } catch (/** @type {any} */ error) {
      this.container.hidden = false;
      this.titleElement.textContent = error.message;
      this.clearRow();
    } finally {
      clearTimeout(timer);
      this.container.removeAttribute("aria-busy");
    }
  }

  listUnitParameters() {
    return this.workspace.state.entries().filter(([name]) => name.startsWith("_unit."));
  }

  /**
   * @param {string} key
   * @param {Row} rowData
   */
  draw(key, rowData) {
    const { t } = this.workspace;
    const { row } = rowData;
    if (!row) {
      this.titleElement.textContent = t("This row is no longer there");
      this.clearRow();
      return;
    }
    this.titleElement.textContent = rowData.title || JSON.parse(key).join(" ");
    const links = rowData.links ?? [];
    const otherLinks = links.filter((link) => !isPicture(link));
    this.actionsElement.replaceChildren(
      ...createRowActions(rowData, key, this.tableUrl, this.workspace),
      ...createSiblingFiles(rowData, this.workspace),
    );
    const hasOneSection = (rowData.sections ?? []).length < 2;
    const entries = hasOneSection
      ? rowData.columns.flatMap((column, number) => createEntry(column, row[number], t))
      : [];
    this.listElement.replaceChildren(
      ...createLockEntry(rowData.locked, t),
      ...createLinkEntry(otherLinks, t),
      ...entries,
    );
    this.listElement.hidden = !this.listElement.childElementCount;
    this.valuesElement.replaceChildren(...(hasOneSection ? [] : createSections(rowData, row, t)));
    this.row = rowData;
    this.shownKey = key;
    this.sectionsElement.replaceChildren(
      ...this.workspace.rowSections.map((createSection) => createSection({ tableUrl: this.tableUrl, keys: [key] })),
    );
    this.pictureLinks = [...links, ...row].filter(isPicture);
    const pictureRow = createPictureRow(rowData.files ?? []);
    if (pictureRow) this.picturesElement.replaceChildren(pictureRow);
    else this.drawPreviews();
  }

  /** Clear the panel of a row that does not exist. */
  clearRow() {
    const { listElement, valuesElement, actionsElement, sectionsElement, picturesElement } = this;
    for (const element of [listElement, valuesElement, actionsElement, sectionsElement, picturesElement])
      element.replaceChildren();
    this.shownKey = "";
  }

  /** Show one preview with its number, and buttons for the others. */
  drawPreviews() {
    const { t } = this.workspace;
    const { pictureLinks, picturesElement } = this;
    this.pictureIndex = Math.min(this.pictureIndex, Math.max(pictureLinks.length - 1, 0));
    if (pictureLinks.length < 2) return picturesElement.replaceChildren(...pictureLinks.map(createPicture));
    const counter = createElement("span", {
      className: "soft",
      textContent: [getCaption(pictureLinks[this.pictureIndex]), `${this.pictureIndex + 1} / ${pictureLinks.length}`]
        .filter(Boolean)
        .join(" · "),
      "aria-live": "polite",
    });
    const previousButton = createStepButton(t("Previous picture"), "←", () => this.turnPicture(-1));
    const nextButton = createStepButton(t("Next picture"), "→", () => this.turnPicture(1));
    previousButton.dataset.turn = "-1";
    nextButton.dataset.turn = "1";
    picturesElement.replaceChildren(
      createPicture(pictureLinks[this.pictureIndex]),
      createElement("p", { className: "bar" }, previousButton, " ", counter, " ", nextButton),
    );
  }

  /**
   * Open a large preview of the clicked picture: the row's only preview, or the picture itself in its large size.
   * @param {MouseEvent} event
   */
  openPreview(event) {
    const link = getEventTarget(event).closest("a");
    if (!link || !isAllowedPicture(link.href) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const previews = this.pictureLinks
      .filter((previewLink) => "semantics" in previewLink)
      .map((previewLink) => previewLink.href);
    const hasSinglePreview = previews.length === 1 && !this.picturesElement.querySelector(".beside");
    const href = getLargePreviewUrl((hasSinglePreview && previews[0]) || link.href, location.origin);
    openLightbox({ href, text: this.titleElement.textContent ?? "" }, this.workspace.t);
  }

  /**
   * Show another preview.
   * @param {number} offset
   */
  turnPicture(offset) {
    if (this.pictureLinks.length < 2) return;
    this.pictureIndex = (this.pictureIndex + offset + this.pictureLinks.length) % this.pictureLinks.length;
    const turnName = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.turn : undefined;
    this.drawPreviews();
    findElement(this.picturesElement, `[data-turn="${turnName}"]`)?.focus();
  }

  /** Open the dialog with all values and the header of the file. */
  openHeader() {
    const { selection, t } = this.workspace;
    if (!this.row?.row || !selection.chosen) return;
    const parameters = new URLSearchParams({ _row: selection.chosen });
    const headerRequest = this.workspace.fetchJson(`${this.tableUrl}/header`, { state: parameters, pane: "header" });
    const dialog = openHeaderDialog(
      this.titleElement.textContent ?? "",
      this.row.columns,
      this.row.row,
      headerRequest,
      t,
    );
    dialog.addEventListener("close", () => this.headerButton.focus());
  }
}

/**
 * Create the list of values with the headings of their sections.
 * @param {Row} rowData
 * @param {Value[]} row
 * @param {Translate} t
 */
function createSections({ columns, sections: sectionList = [] }, row, t) {
  return sectionList.flatMap(({ title, columns: columnNumbers }) => {
    const entries = columnNumbers.flatMap((number) => createEntry(columns[number], row[number], t));
    return entries.length ? [createElement("h3", { textContent: title }), createElement("dl", {}, ...entries)] : [];
  });
}

/**
 * Create the list of the other files of the observation.
 * @param {Row} rowData
 * @param {Workspace} workspace
 */
function createSiblingFiles({ files = [] }, { language, t }) {
  if (!files.length) return [];
  return [
    createElement(
      "p",
      { className: "siblings" },
      `${t("Files of this observation")} `,
      ...createFileChips(files, language),
    ),
  ];
}

/**
 * @param {string} text
 * @param {string} symbol
 * @param {() => void} handleClick
 */
function createStepButton(text, symbol, handleClick) {
  return createButton(symbol, handleClick, { className: "quiet step", title: text, "aria-label": text });
}

/**
 * @param {Column} column
 * @param {Value} value
 * @param {Translate} t
 */
function createEntry(column, value, t) {
  if (value === null) return [];
  const term = createElement("dt", { textContent: column.label, title: column.title });
  term.dataset.column = column.name;
  if (column.unit) term.append(" ", createElement("small", { textContent: column.unit_text }));
  const valueElement = createElement("dd");
  fillCell(valueElement, value, { ...column, numeric: false }, t);
  if (typeof value === "object" && value.corners)
    valueElement.replaceChildren(createFullText(valueElement.textContent ?? "", value.text, t));
  return [term, valueElement];
}

/**
 * Create the note about a locked file: until when, and whom to ask.
 * @param {Row["locked"]} lock
 * @param {Translate} t
 */
function createLockEntry(lock, t) {
  if (!lock) return [];
  const lockElement = createElement("dd", {
    textContent: lock.until ? t("until {time}", { time: lock.until.replace("T", " ") }) : t("for now"),
  });
  if (lock.contact) lockElement.append("; ", t("ask {whom}", { whom: lock.contact }));
  return [createElement("dt", { textContent: t("Locked") }), lockElement];
}

/**
 * Create the list of links: files, sources, related pages.
 * @param {Link[]} links
 * @param {Translate} t
 */
function createLinkEntry(links, t) {
  if (!links.length) return [];
  const items = links.map((link) => {
    const typeAndSize = [
      link.type.split(";")[0],
      link.bytes === null ? "" : formatBytes(link.bytes, document.documentElement.lang),
    ];
    const note = createElement("small", { className: "soft", textContent: typeAndSize.filter(Boolean).join(", ") });
    const safeUrl = /^(https?|ftp):/i.test(link.href) ? link.href : "";
    const linkElement = safeUrl
      ? createElement("a", { href: safeUrl, rel: "noopener", textContent: link.text })
      : link.text;
    return createElement("li", { title: link.semantics }, linkElement, " ", note, link.locked ? ` ${t("Locked")}` : "");
  });
  return [
    createElement("dt", { textContent: t("Links") }),
    createElement("dd", {}, createElement("ul", { className: "leads" }, ...items)),
  ];
}

/**
 * Create a short text that opens the full one, with a copy button.
 * @param {string} summary
 * @param {string} text
 * @param {Translate} t
 */
function createFullText(summary, text, t) {
  const copyButton = createButton(t("Copy"), async () => {
    await navigator.clipboard?.writeText(text);
    copyButton.textContent = t("Copied");
  });
  const codeElement = createElement("code", { textContent: text });
  return createElement(
    "details",
    { className: "in-full" },
    createElement("summary", { textContent: summary }),
    codeElement,
    copyButton,
  );
}

/**
 * Choose the row if the user looked it up by name (`#row`) and it is the only result.
 * @param {Workspace} workspace
 */
function chooseSingleRow(workspace) {
  if (location.hash !== "#row" || !workspace.loadedRows) return;
  const { keys, total } = workspace.loadedRows;
  history.replaceState(null, "", location.pathname + location.search);
  if (total === 1) workspace.state.set({ _row: keys[0] }, { replace: true });
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  workspace.on("rows", () => chooseSingleRow(workspace));
  chooseSingleRow(workspace);
  return new RowDetail(container, workspace).showChosen();
}
