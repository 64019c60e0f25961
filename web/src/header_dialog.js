// A dialog with all values of a row and the header of its file: filtered by words, and copied as FITS cards.
import { containsWord, listFileLines, listRowLines, formatFitsCards } from "./header_lines.js";
import { createButton, createElement } from "./dom.js";
/** @import {Column, FileHeader, Translate, Value} from "./answers.js" */
/**
 * The dialog with the header of a row.
 * @import {HeaderLine, HeaderSection} from "./header_lines.js"
 */

class HeaderDialog {
  /** @type {HeaderSection[]} */
  sections;

  /**
   * @param {string} title
   * @param {HeaderLine[]} lines
   * @param {Translate} t
   */
  constructor(title, lines, t) {
    this.t = t;
    this.sections = [{ title: t("Values of the row"), lines }];
    this.dialog = createElement("dialog", { className: "header", "aria-label": t("All values of the row") });
    this.filterField = createElement("input", { type: "search", placeholder: t("Filter"), "aria-label": t("Filter") });
    this.filterField.addEventListener("input", () => this.draw());
    this.copyButton = createButton(t("Copy"), async () => {
      await navigator.clipboard?.writeText(
        this.listShownSections()
          .flatMap((part) => formatFitsCards(part.lines))
          .join("\n"),
      );
      this.copyButton.textContent = t("Copied");
    });
    const closeButton = createButton(t("Close"), () => this.dialog.close());
    const bar = createElement("p", { className: "bar" }, this.filterField, " ", this.copyButton, " ", closeButton);
    this.contentElement = createElement("div", {
      className: "scroll",
      tabIndex: 0,
      role: "region",
      "aria-label": t("Header"),
    });
    this.statusElement = createElement("p", { className: "soft", "aria-live": "polite" });
    this.dialog.append(createElement("h2", { textContent: title }), bar, this.statusElement, this.contentElement);
  }

  /** List the sections with their lines that match the filter. */
  listShownSections() {
    const word = this.filterField.value.trim().toLowerCase();
    const sections = this.sections.map(({ title, lines }) => ({
      title,
      lines: lines.filter((line) => containsWord(line, word)),
    }));
    return sections.filter((part) => part.lines.length);
  }

  draw() {
    const { t } = this;
    this.copyButton.textContent = t("Copy");
    const shownSections = this.listShownSections();
    const elements = shownSections.flatMap(({ title, lines }) => [
      createElement("h3", { textContent: title }),
      createTable(lines, t),
    ]);
    this.contentElement.replaceChildren(...elements);
    if (!shownSections.length)
      this.contentElement.append(createElement("p", { className: "empty", textContent: t("nothing") }));
  }

  open() {
    this.draw();
    document.body.append(this.dialog);
    this.dialog.addEventListener("close", () => this.dialog.remove());
    this.dialog.showModal();
  }

  /**
   * Add the header of the file when it arrives.
   * @param {Promise<FileHeader>} headerRequest
   */
  async addFileHeader(headerRequest) {
    const { t } = this;
    this.statusElement.textContent = t("Looking for the header of the row's file ...");
    try {
      const fileHeader = await headerRequest;
      const missingText = t("The header of the row's file is not available here. These are the columns of the table.");
      this.statusElement.textContent = fileHeader?.file ? "" : missingText;
      if (!fileHeader?.file) return;
      for (const hdu of fileHeader.hdus) {
        const name = fileHeader.hdus.length > 1 ? `${fileHeader.file} [${hdu.name}]` : fileHeader.file;
        this.sections.push({ title: `${t("Header")}: ${name}`, lines: listFileLines(hdu) });
      }
      this.draw();
    } catch (/** @type {any} */ error) {
      this.statusElement.textContent = error.message;
    }
  }
}

/**
 * @param {HeaderLine[]} lines
 * @param {Translate} t
 */
function createTable(lines, t) {
  const table = createElement("table", { className: "cards-of" });
  const headRow = table.createTHead().insertRow();
  for (const name of [t("Keyword"), t("Value"), t("Unit"), t("Meaning")]) {
    headRow.append(createElement("th", { scope: "col", textContent: name }));
  }
  const body = table.createTBody();
  for (const line of lines) {
    const row = body.insertRow();
    row.append(createElement("th", { scope: "row", textContent: line.keyword }));
    const cell = row.insertCell();
    const href = /^(https?|ftp):/i.test(line.href ?? "") ? line.href : "";
    cell.append(href ? createElement("a", { href, rel: "noopener", textContent: line.value }) : line.value);
    row.insertCell().textContent = line.unit ?? "";
    row.insertCell().textContent = line.meaning ?? "";
  }
  return table;
}

/**
 * Open the dialog of a row; the file header is added when it arrives.
 * @param {string} title
 * @param {Column[]} columns
 * @param {Value[]} row
 * @param {Promise<FileHeader>} headerRequest
 * @param {Translate} t
 */
export function openHeaderDialog(title, columns, row, headerRequest, t) {
  const dialog = new HeaderDialog(title, listRowLines(columns, row), t);
  dialog.open();
  dialog.addFileHeader(headerRequest);
  return dialog.dialog;
}
