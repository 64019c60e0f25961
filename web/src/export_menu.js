// The export menu of a result: formats, file scripts and code lines, for all rows or only the marked ones.
import { DISPLAY_PARAMETERS } from "./display_parameters.js";
import { addCopyButton } from "./copy_button.js";
import { findElements, requireElement, createElement, findElement } from "./dom.js";
import { initializeMenus } from "./menus.js";
import { formatBytes } from "./byte_size.js";
/** @import {ExportOptions} from "./answers.js" */
/** @import {StateChanges, Workspace} from "./workspace.js" */

/** The menus of formats, files and code. */
class ExportMenu {
  markedOnly = false; // export only the marked rows
  allColumns = false; // export all columns
  linkColumn = "";
  isStale = true;
  scopeElement = createElement("p", { className: "scope" });

  /**
   * @param {HTMLElement} container
   * @param {string} tableUrl
   * @param {Workspace} workspace
   */
  constructor(container, tableUrl, workspace) {
    const { selection, state } = workspace;
    this.container = container;
    this.tableUrl = tableUrl;
    this.workspace = workspace;
    findElement(container, "[data-what]")?.replaceWith(this.scopeElement);
    this.menus = initializeMenus(container, () => this.refresh());
    const handleChange = () => {
      this.isStale = true;
      this.refresh();
    };
    state.on("change", handleChange);
    selection.on("change", (event) => {
      if (event.name === "marked") handleChange();
    });
    this.drawOptions();
    this.refresh(); // a menu may have been open before
  }

  get getMarks() {
    return [...this.workspace.selection.marked].map((key) => ["_key", key]);
  }

  /**
   * Build the parameters of the exported rows.
   * @param {StateChanges} [changes]
   */
  buildParameters(changes = {}) {
    const parameters = this.workspace.state.withChanges({ ...DISPLAY_PARAMETERS, ...changes });
    if (this.allColumns) parameters.set("_all", "1");
    if (this.linkColumn) parameters.set("_link", this.linkColumn);
    return parameters;
  }

  /** Draw the choice of rows and columns. */
  drawOptions() {
    const { selection, t } = this.workspace;
    const setMarkedOnly = (/** @type {boolean} */ isOn) => {
      this.markedOnly = isOn;
      this.refresh(true);
    };
    const rows = [createRadio(t("All rows that were found"), !this.markedOnly, () => setMarkedOnly(false))];
    const count = this.workspace.formatNumber(selection.marked.size);
    if (selection.marked.size)
      rows.push(createRadio(t("Only the {count} marked rows", { count }), this.markedOnly, () => setMarkedOnly(true)));
    const checkbox = createElement("input", { type: "checkbox", checked: this.allColumns });
    checkbox.addEventListener("change", () => {
      this.allColumns = checkbox.checked;
      this.refresh(true);
    });
    this.scopeElement.replaceChildren(
      ...rows,
      createElement("label", { className: "tickable" }, checkbox, " ", t("All columns")),
    );
  }

  /** Update the links and forms at once: the user may be faster than the server. */
  updateLinks() {
    const { container, getMarks } = this;
    const updateAddress = (/** @type {string} */ address) => {
      const url = new URL(address, location.href);
      return `${url.pathname}?${this.buildParameters({ _as: url.searchParams.get("_as") })}`;
    };
    const links = ["formats", "scripts", "panes"].map((text) => `[data-${text}] a[href]`).join(", ");
    for (const link of findElements(container, links, HTMLAnchorElement))
      link.setAttribute("href", updateAddress(link.href));
    for (const form of findElements(container, "[data-formats] form, [data-scripts] form", HTMLFormElement)) {
      const submitButton = requireElement(form, "button", HTMLButtonElement);
      if ("job" in form.dataset) {
        submitButton.disabled = this.isStale; // the server has to write its query
        continue;
      }
      form.setAttribute("action", updateAddress(form.action));
      if (getMarks.length) form.replaceChildren(...createHiddenInputs(getMarks), submitButton);
    }
  }

  /** Update the menus if one is open. */
  async refresh(isForced = false) {
    this.isStale ||= isForced;
    this.updateLinks();
    if (this.markedOnly && !this.getMarks.length) this.markedOnly = false;
    if (!this.menus.some((menu) => menu.open)) this.isStale = true;
    else if (this.isStale) await this.fetchOptions();
  }

  /** Fetch the export options. */
  async fetchOptions() {
    this.isStale = false;
    this.drawOptions();
    const request = this.markedOnly ? { method: "POST", body: new URLSearchParams(this.getMarks) } : {};
    /** @type {ExportOptions} */
    let options;
    try {
      options = await this.workspace.fetchJson(`${this.tableUrl}/take`, {
        state: this.buildParameters(),
        pane: "take",
        ...request,
      });
    } catch (/** @type {any} */ error) {
      this.isStale = true;
      return this.showText(error.message);
    }
    this.show(options);
  }

  /** @param {string} text */
  showText(text) {
    const element = findElement(this.container, "[data-files]");
    if (element) element.textContent = text;
  }

  /**
   * Show the export options.
   * @param {ExportOptions} options
   */
  show(options) {
    const { container } = this;
    const { t } = this.workspace;
    const formatItems = options.formats.map((exportFormat) =>
      this.createItem(exportFormat.label, "download", exportFormat.name),
    );
    // jobs of this site cannot query tables of other services
    const jobItems = options.jobs !== false && this.findJobList() ? [this.createJobItem(options.adql)] : [];
    updateEntries(requireElement(container, "[data-formats]"), [...formatItems, ...jobItems]);
    const scripts = findElement(container, "[data-scripts]");
    if (scripts) {
      const filesText = options.files
        ? describeFiles(options.files, this.workspace)
        : t("The files behind the rows that were found");
      this.showText(options.archive ? `${filesText}. ${describeArchive(options.archive, this.workspace)}` : filesText);
      /** @type {Record<string, string>} */
      const names = {
        zip: t("All in one ZIP"),
        tar: t("All in one TAR"),
        wget: t("Script for wget"),
        curl: t("Script for curl"),
        aria2: t("List for aria2"),
        links: t("List of links"),
      };
      updateEntries(
        scripts,
        options.scripts.map(({ name }) => this.createItem(names[name] ?? name, "script", name)),
      );
      if (options.files) this.offerLinkColumns(scripts, options.links, options.files.column);
    }
    const pageLink = this.markedOnly ? [] : [{ name: t("Link to this search"), text: location.href }];
    updateEntries(
      requireElement(container, "[data-lines]"),
      [...options.lines, ...pageLink].flatMap((exportLine) => createCopyLine(exportLine, this.workspace)),
    );
  }

  /**
   * Offer the columns with links to files.
   * @param {HTMLElement} anchor
   * @param {ExportOptions["links"]} links
   * @param {string} column
   */
  offerLinkColumns(anchor, links, column) {
    findElement(this.container, "[data-link]")?.remove();
    if (links.length < 2) return;
    const select = createElement(
      "select",
      {},
      ...links.map(({ label, name }) => new Option(label, name, false, name === column)),
    );
    select.addEventListener("change", () => {
      this.linkColumn = select.value;
      this.refresh(true);
    });
    const label = createElement("label", { className: "tickable" }, this.workspace.t("Files of"), " ", select);
    label.dataset.link = "";
    anchor.before(label);
  }

  /**
   * Create a link, or a form for marked rows, whose keys may be too long for an address.
   * @param {string} countText
   * @param {string} path
   * @param {string} format
   */
  createItem(countText, path, format) {
    const address = `${this.tableUrl}/${path}?${this.buildParameters({ _as: format })}`;
    const link = () => createElement("a", { href: address, download: "", textContent: countText });
    return createElement("li", {}, this.markedOnly ? createPostForm(address, this.getMarks, countText) : link());
  }

  /** Find the page of jobs, which the menu of the page links to if there is one. */
  findJobList() {
    return findElement(document, `header a[href="${this.workspace.base}/jobs"]`);
  }

  /**
   * Create the entry that runs the query as a job.
   * @param {string} adql
   */
  createJobItem(adql) {
    const { base, t } = this.workspace;
    const fields = Object.entries({ QUERY: adql, RESPONSEFORMAT: "votable" });
    const jobForm = createPostForm(`${base}/jobs`, fields, t("As a job"));
    jobForm.dataset.job = "";
    return createElement(
      "li",
      {},
      jobForm,
      " ",
      createElement("small", { textContent: t("for results that take a long time") }),
    );
  }
}

/**
 * Describe how many files there are and how large they are.
 * @param {NonNullable<ExportOptions["files"]>} files
 * @param {Pick<Workspace, "t" | "language">} workspace
 */
export function describeFiles({ files: count, bytes, sized, most: maximum }, { t, language }) {
  const formatNumber = (/** @type {number} */ value) => value.toLocaleString(language);
  const sizeText =
    sized < count ? t("{files} files, {size} and more", formatValues()) : t("{files} files, {size}", formatValues());
  const countText = bytes === null ? t("{files} files", { files: formatNumber(count) }) : sizeText;
  return count > maximum
    ? `${countText}; ${t("a script contains only the first {count}", { count: formatNumber(maximum) })}`
    : countText;
  function formatValues() {
    return { files: formatNumber(count), size: formatBytes(bytes ?? 0, language) };
  }
}

/**
 * Describe the content of an archive.
 * @param {NonNullable<ExportOptions["archive"]>} archive
 * @param {Pick<Workspace, "t" | "language">} workspace
 */
export function describeArchive({ files: count, bytes, missing }, { t, language }) {
  const formatNumber = (/** @type {number} */ value) => value.toLocaleString(language);
  const archiveText = t("An archive contains {files} files, {size}", {
    files: formatNumber(count),
    size: formatBytes(bytes, language),
  });
  const missingText = t("{missing} are not available to you; the archive lists them", {
    missing: formatNumber(missing),
  });
  return missing ? `${archiveText}; ${missingText}` : archiveText;
}

/**
 * Update the entries of a list; unchanged ones stay in place, in case the user is clicking one.
 * @param {HTMLElement} element
 * @param {HTMLElement[]} entries
 */
function updateEntries(element, entries) {
  const children = [...element.children];
  entries.forEach((entry, index) => {
    if (!children[index]) element.append(entry);
    else if (!children[index].isEqualNode(entry)) children[index].replaceWith(entry);
  });
  for (const child of children.slice(entries.length)) child.remove();
}

/**
 * @param {string} text
 * @param {boolean} checked
 * @param {() => void} handlePick
 */
function createRadio(text, checked, handlePick) {
  const radio = createElement("input", { type: "radio", name: "take-rows", checked });
  radio.addEventListener("change", handlePick);
  return createElement("label", { className: "tickable" }, radio, " ", text);
}

/** @param {string[][]} fields */
function createHiddenInputs(fields) {
  return fields.map(([name, value]) => createElement("input", { type: "hidden", name, value }));
}

/**
 * @param {string} action
 * @param {string[][]} fields
 * @param {string} text
 */
function createPostForm(action, fields, text) {
  const send = createElement("button", { className: "link", textContent: text });
  return createElement("form", { method: "post", action }, ...createHiddenInputs(fields), send);
}

/**
 * Create a code line with its heading and a copy button.
 * @param {ExportOptions["lines"][number]} line
 * @param {Workspace} workspace
 */
function createCopyLine({ name, text, url = "", signed = "" }, workspace) {
  const pre = createElement("pre", { tabIndex: 0 }, createElement("code", { textContent: text }));
  const element = createElement("div", { className: "copyable" }, pre);
  Object.assign(element.dataset, { url, signed });
  addCopyButton(element, workspace, (copyButton, label) => {
    copyButton.textContent = label;
    copyButton.setAttribute("aria-label", `${label} ${name}`);
  });
  return [createElement("h3", { textContent: name }), element];
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  const tableUrl = /** @type {HTMLElement | null} */ (container.closest("[data-here]"))?.dataset.here;
  if (tableUrl) new ExportMenu(container, tableUrl, workspace);
}
