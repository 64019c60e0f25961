// The ADQL editor: highlighting, completion, diagnostics; runs the query and shows the answer. Without scripts the form
// still works.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { SQLDialect, sql } from "@codemirror/lang-sql";
import { bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, linter, lintKeymap } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { drawSelection, EditorView, keymap, lineNumbers } from "@codemirror/view";
import { QueryAnswer } from "./editing/query_answer.js";
import { findElements, createButton, requireElement, createElement, getEventTarget, describeError } from "hven/dom.js";
import { highlightStyle, editorTheme } from "./editing/editor_theme.js";
import { addQuery, matchTable, findReplacementStart, formatFault, locateFault } from "./editing/query_text.js";
/** @import {Completion, CompletionContext} from "@codemirror/autocomplete" */
/** @import {Diagnostic} from "@codemirror/lint" */
/** @import {QueryFault, EditorWords} from "./editing/query_text.js" */
/** @import {Workspace} from "hven/workspace.js" */

const STORAGE_KEY = "hven.history";
const RESEND_MILLISECONDS = 3000; // a second press within this time is a double click

/** The editor with history, table list and answer. */
class QueryEditor {
  /**
   * @param {HTMLElement} root
   * @param {Workspace} workspace
   * @param {EditorWords} words
   */
  constructor(root, workspace, words) {
    this.root = root;
    this.workspace = workspace;
    this.form = requireElement(root, "form", HTMLFormElement);
    this.textarea = requireElement(this.form, "textarea", HTMLTextAreaElement);
    this.faultElement = requireElement(root, "#fault");
    this.planElement = requireElement(root, "[data-explained]");
    this.historyElement = requireElement(root, "[data-history]");
    this.view = new EditorView({
      state: EditorState.create({ doc: this.textarea.value, extensions: this.listExtensions(words) }),
    });
    this.queryAnswer = new QueryAnswer(requireElement(root, "[data-answer]"), workspace, {
      onSuccess: () => this.showFault(null),
      onJob: (text) => this.runAsJob(text),
    });
    this.textarea.hidden = true;
    this.textarea.closest("label")?.after(this.view.dom); // outside of the label, which would take clicks in the editor
    this.listen();
    this.queryAnswer.mountAnswer();
    if ("slow" in this.queryAnswer.place.dataset && this.query) this.queryAnswer.fetchAnswer(this.query);
    this.showHistory();
  }

  get query() {
    return this.textarea.value.trim();
  }

  get text() {
    return this.view.state.doc.toString();
  }

  /**
   * List the extensions of the editor.
   * @param {EditorWords} words
   */
  listExtensions({ functions, tables, words }) {
    const keywords = words.join(" ").toLowerCase();
    const dialect = SQLDialect.define({ keywords, doubleQuotedStrings: false, charSetCasts: false });
    /** @type {Record<string, Completion[]>} */
    const schema = {};
    for (const { name, columns } of tables) {
      schema[name.replaceAll('"', "")] = columns.map((column) => ({
        label: column.name,
        detail: column.unit,
        info: column.description,
        type: "property",
      }));
    }
    const options = functions.map(({ name, forms, description }) => {
      return { label: name, type: "function", detail: forms[0] ?? "", info: description, apply: `${name}(` };
    });
    const completeFunctions = (/** @type {CompletionContext} */ context) => {
      const word = context.matchBefore(/\w+/);
      return word && word.text.length > 1 ? { from: word.from, options, validFor: /^\w*$/ } : null;
    };
    const submitQuery = () => {
      this.form.requestSubmit(requireElement(this.form, ".actions button"));
      return true;
    };
    return [
      lineNumbers(),
      history(),
      drawSelection(),
      bracketMatching(),
      closeBrackets(),
      lintGutter(),
      linter(() => this.checkQuery(), { delay: 400 }),
      sql({ dialect, schema, upperCaseKeywords: true }),
      dialect.language.data.of({ autocomplete: completeFunctions }),
      autocompletion({ closeOnBlur: true }),
      syntaxHighlighting(highlightStyle),
      EditorView.lineWrapping,
      Prec.highest(keymap.of([{ key: "Mod-Enter", run: submitQuery }])),
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap]),
      EditorView.contentAttributes.of({ "aria-label": "ADQL", spellcheck: "false", autocapitalize: "none" }),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) this.textarea.value = update.state.doc.toString();
      }),
      editorTheme,
    ];
  }

  /**
   * Check the query and mark its fault.
   * @returns {Promise<Diagnostic[]>}
   */
  async checkQuery() {
    const { text } = this;
    if (!text.trim()) return this.showFault(null);
    const path = `/adql/check?${new URLSearchParams({ QUERY: text })}`;
    const response = await this.workspace.fetchJson(path, { state: null, pane: "check" }).catch(() => null);
    if (text !== this.text) return []; // the user typed on: the new text is checked, too
    /** @type {QueryFault | null} */
    const fault = response?.fault ?? null;
    this.showFault(fault);
    const range = fault && locateFault(text, fault.offset);
    return range ? [this.createDiagnostic(fault, range, text)] : [];
  }

  /**
   * Create the diagnostic of a fault, with a button that applies the fix if there is one.
   * @param {QueryFault} fault
   * @param {{from: number, to: number}} place
   * @param {string} text
   * @returns {Diagnostic}
   */
  createDiagnostic({ message, remedy, meant: word }, { from, to }, text) {
    const diagnostic = {
      from,
      to,
      severity: /** @type {const} */ ("error"),
      message: `${message}${remedy ? `\n${remedy}` : ""}`,
    };
    if (!word) return diagnostic;
    const start = findReplacementStart(text, from, to, word);
    const name = this.workspace.t("Write {word}", { word });
    const applyFix = () => {
      const changes = { from: start, to, insert: word };
      this.view.dispatch({ changes, selection: { anchor: start + word.length } });
      this.view.focus();
    };
    this.faultElement.append(" ", createButton(name, applyFix, { className: "link" }));
    return { ...diagnostic, actions: [{ name, apply: applyFix }] };
  }

  /**
   * @param {QueryFault | null} fault
   * @returns {[]}
   */
  showFault(fault) {
    this.faultElement.hidden = !fault;
    this.faultElement.textContent = fault ? formatFault(fault, this.workspace.t) : "";
    return [];
  }

  /** @param {string} text */
  replaceText(text) {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text } });
    this.view.focus();
  }

  listen() {
    this.form.addEventListener("submit", (event) => this.handleSubmit(event));
    this.root.addEventListener("click", (event) => this.handleClick(event));
    const field = requireElement(this.root, "[data-find]", HTMLInputElement);
    field.addEventListener("input", () => this.filterTables(field.value.trim().toLowerCase()));
    // back and forward: restore the query of the address and its answer
    addEventListener("popstate", () => {
      const text = this.workspace.state.get("QUERY") ?? "";
      if (text === this.text.trim()) return;
      this.replaceText(text);
      if (text) this.queryAnswer.fetchAnswer(text);
      else this.queryAnswer.place.replaceChildren();
    });
  }

  /** @param {SubmitEvent} event */
  handleSubmit(event) {
    const { form } = this;
    const submitter = event.submitter;
    this.textarea.value = this.text;
    if (submitter && "explain" in submitter.dataset) {
      event.preventDefault();
      if (this.query) this.explainQuery(this.query);
    } else if (submitter?.hasAttribute("formaction")) {
      if ("job" in submitter.dataset && form.dataset.sent) return event.preventDefault(); // pressed twice
      if ("job" in submitter.dataset) {
        form.dataset.sent = "1";
        setTimeout(() => delete form.dataset.sent, RESEND_MILLISECONDS);
      }
      if (this.query) this.addToHistory(this.query);
      this.textarea.hidden = false;
      setTimeout(() => (this.textarea.hidden = true));
    } else {
      event.preventDefault();
      if (this.query) this.runQuery(this.query);
    }
  }

  /**
   * Submit a query as a job.
   * @param {string} text
   */
  runAsJob(text) {
    this.textarea.value = text;
    this.form.requestSubmit(requireElement(this.form, "[data-job]"));
  }

  /**
   * Run a query and show its answer.
   * @param {string} text
   */
  async runQuery(text) {
    const { state } = this.workspace;
    const isSameQuery = state.get("QUERY") === text;
    this.addToHistory(text);
    if (!isSameQuery) this.queryAnswer.place.querySelector(".plot")?.remove(); // it belongs to another query
    state.set({ QUERY: text, _plot: isSameQuery ? state.get("_plot") : null });
    this.planElement.hidden = true;
    await this.queryAnswer.fetchAnswer(text);
  }

  /**
   * Show how the server would run a query.
   * @param {string} text
   */
  async explainQuery(text) {
    const { planElement } = this;
    const { t } = this.workspace;
    const createLine = (/** @type {string} */ words, className = "count") =>
      createElement("p", { className, textContent: words });
    planElement.hidden = false;
    planElement.replaceChildren(createLine(t("Asking ...")));
    try {
      const path = `/adql/explain?${new URLSearchParams({ QUERY: text })}`;
      const { plan } = await this.workspace.fetchJson(path, { state: null, pane: "explain" });
      const close = createButton(t("Close"), () => {
        planElement.hidden = true;
        this.view.focus();
      });
      const title = createElement("h2", { textContent: t("How Hven would run the query") });
      planElement.replaceChildren(title, createElement("pre", { tabIndex: 0, textContent: plan }), close);
    } catch (error) {
      planElement.replaceChildren(createLine(describeError(error), "fault"));
    }
  }

  /** @param {MouseEvent} event */
  handleClick(event) {
    const example = /** @type {HTMLAnchorElement | null} */ (getEventTarget(event).closest("[data-example]"));
    if (example) {
      event.preventDefault();
      return this.replaceText(new URL(example.href).searchParams.get("QUERY") ?? "");
    }
    const name = /** @type {HTMLElement | null} */ (getEventTarget(event).closest("[data-insert]"));
    if (!name || event.detail === 1) return;
    event.preventDefault();
    this.view.dispatch(this.view.state.replaceSelection(name.dataset.insert ?? ""));
    this.view.focus();
  }

  /**
   * Show only the tables and columns that contain a word.
   * @param {string} word
   */
  filterTables(word) {
    for (const table of findElements(this.root, "[data-table]", HTMLDetailsElement)) {
      const columns = findElements(table, "li");
      const texts = columns.map((item) => item.textContent ?? "");
      const match = matchTable(word, requireElement(table, "summary").textContent ?? "", texts);
      columns.forEach((item, index) => (item.hidden = !match.columns[index]));
      table.hidden = !match.isVisible;
      table.open = match.isOpen;
    }
    for (const schema of findElements(this.root, "[data-schema]", HTMLDetailsElement)) {
      schema.hidden = findElements(schema, "[data-table]").every((table) => table.hidden);
      if (word) schema.open = true;
    }
  }

  /** @returns {string[]} */
  loadHistory() {
    try {
      return JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]");
    } catch {
      return [];
    }
  }

  /** @param {string} text */
  addToHistory(text) {
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify(addQuery(this.loadHistory(), text)));
    } catch {
      // private windows have no storage
    }
    this.showHistory();
  }

  showHistory() {
    const queries = this.loadHistory();
    this.historyElement.hidden = !queries.length;
    for (const element of findElements(this.historyElement, "p")) element.remove();
    for (const text of queries) {
      const excerpt = text.replace(/\s+/g, " ").slice(0, 160);
      this.historyElement.append(
        createElement(
          "p",
          {},
          createButton(excerpt, () => this.replaceText(text), { className: "line" }),
        ),
      );
    }
  }
}

/**
 * @param {HTMLElement} root
 * @param {Workspace} workspace
 */
export async function mount(root, workspace) {
  const noWords = { tables: [], functions: [], words: [] };
  const words = await workspace.fetchJson("/adql/words", { state: null }).catch(() => noWords);
  new QueryEditor(root, workspace, words);
}
