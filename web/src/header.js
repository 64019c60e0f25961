// All values of a row, and the header of the file behind it, in a window over the page: keyword, value, unit, what it means; searched and copied.
import { fits, ofFile, ofRow, written } from "./cards.js";
import { button, make } from "./dom.js";
/** @import {Column, FileHeader, Translate, Value} from "./answers.js" */
/** @import {Line, Part} from "./cards.js" */

class Header {
  /** @type {Part[]} */
  parts;

  /**
   * @param {string} title
   * @param {Line[]} lines
   * @param {Translate} t
   */
  constructor(title, lines, t) {
    this.t = t;
    this.parts = [{ title: t("Values of the row"), lines }];
    this.dialog = make("dialog", { className: "header", "aria-label": t("All values of the row") });
    this.find = make("input", { type: "search", placeholder: t("Filter"), "aria-label": t("Filter") });
    this.find.addEventListener("input", () => this.draw());
    this.copy = button(t("Copy"), async () => {
      await navigator.clipboard?.writeText(
        this.shown()
          .flatMap((part) => written(part.lines))
          .join("\n"),
      );
      this.copy.textContent = t("Copied");
    });
    const close = button(t("Close"), () => this.dialog.close());
    const bar = make("p", { className: "bar" }, this.find, " ", this.copy, " ", close);
    this.place = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": t("Header") });
    this.state = make("p", { className: "soft", "aria-live": "polite" });
    this.dialog.append(make("h2", { textContent: title }), bar, this.state, this.place);
  }

  shown() {
    const wanted = this.find.value.trim().toLowerCase();
    const parts = this.parts.map(({ title, lines }) => ({ title, lines: lines.filter((line) => fits(line, wanted)) }));
    return parts.filter((part) => part.lines.length);
  }

  draw() {
    const { t } = this;
    this.copy.textContent = t("Copy");
    const shown = this.shown();
    const drawn = shown.flatMap(({ title, lines }) => [make("h3", { textContent: title }), cards(lines, t)]);
    this.place.replaceChildren(...drawn);
    if (!shown.length) this.place.append(make("p", { className: "empty", textContent: t("nothing") }));
  }

  open() {
    this.draw();
    document.body.append(this.dialog);
    this.dialog.addEventListener("close", () => this.dialog.remove());
    this.dialog.showModal();
  }

  /** @param {Promise<FileHeader>} behind */
  async add(behind) {
    const { t } = this;
    this.state.textContent = t("Looking for the header of its file ...");
    try {
      const found = await behind;
      const lacking = t("The header of its file is not here: these are the columns of the table.");
      this.state.textContent = found?.file ? "" : lacking;
      if (!found?.file) return;
      for (const hdu of found.hdus) {
        const name = found.hdus.length > 1 ? `${found.file} [${hdu.name}]` : found.file;
        this.parts.push({ title: `${t("Header")}: ${name}`, lines: ofFile(hdu) });
      }
      this.draw();
    } catch (/** @type {any} */ error) {
      this.state.textContent = error.message;
    }
  }
}

/**
 * @param {Line[]} lines
 * @param {Translate} t
 */
function cards(lines, t) {
  const made = make("table", { className: "cards-of" });
  const head = made.createTHead().insertRow();
  for (const name of [t("Keyword"), t("Value"), t("Unit"), t("Meaning")]) {
    head.append(make("th", { scope: "col", textContent: name }));
  }
  const body = made.createTBody();
  for (const line of lines) {
    const tr = body.insertRow();
    tr.append(make("th", { scope: "row", textContent: line.keyword }));
    const cell = tr.insertCell();
    const href = /^(https?|ftp):/i.test(line.href ?? "") ? line.href : "";
    cell.append(href ? make("a", { href, rel: "noopener", textContent: line.value }) : line.value);
    tr.insertCell().textContent = line.unit ?? "";
    tr.insertCell().textContent = line.said ?? "";
  }
  return made;
}

/**
 * Open the window of a row; what the header of its file says comes when it is there.
 * @param {string} title
 * @param {Column[]} columns
 * @param {Value[]} row
 * @param {Promise<FileHeader>} behind
 * @param {Translate} t
 */
export function header(title, columns, row, behind, t) {
  const made = new Header(title, ofRow(columns, row), t);
  made.open();
  made.add(behind);
  return made.dialog;
}
