// The ADQL editor: highlighting, completion, marks at what is wrong; runs the query and shows the rows. Without it the form still works.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { SQLDialect, sql } from "@codemirror/lang-sql";
import { bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, linter, lintKeymap } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { drawSelection, EditorView, keymap, lineNumbers } from "@codemirror/view";
import { Answer } from "./answer.js";
import { all, button, find, make, target, wrong } from "./dom.js";
import { colours, theme } from "./ink.js";
import { added, lookedFor, replaced, said, spot } from "./queries.js";
/** @import {Completion, CompletionContext} from "@codemirror/autocomplete" */
/** @import {Diagnostic} from "@codemirror/lint" */
/** @import {Checked, Words} from "./queries.js" */
/** @import {Workspace} from "./workspace.js" */

const STORE = "hven.history";
const TWICE = 3000; // milliseconds within which a second press is the same one

class Editor {
  /**
   * @param {HTMLElement} root
   * @param {Workspace} workspace
   * @param {Words} words
   */
  constructor(root, workspace, words) {
    this.root = root;
    this.workspace = workspace;
    this.form = find(root, "form", HTMLFormElement);
    this.area = find(this.form, "textarea", HTMLTextAreaElement);
    this.fault = find(root, "#fault");
    this.explained = find(root, "[data-explained]");
    this.past = find(root, "[data-history]");
    this.view = new EditorView({
      state: EditorState.create({ doc: this.area.value, extensions: this.extensions(words) }),
    });
    this.answer = new Answer(find(root, "[data-answer]"), workspace, {
      good: () => this.told(null),
      job: (text) => this.job(text),
    });
    this.area.hidden = true;
    this.area.closest("label")?.after(this.view.dom); // outside the label: a click in the editor is the editor's
    this.hear();
    this.answer.shown();
    if ("slow" in this.answer.place.dataset && this.query) this.answer.ask(this.query);
    this.show();
  }

  get query() {
    return this.area.value.trim();
  }

  get text() {
    return this.view.state.doc.toString();
  }

  /** @param {Words} words */
  extensions({ functions, tables, words }) {
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
    const complete = (/** @type {CompletionContext} */ context) => {
      const word = context.matchBefore(/\w+/);
      return word && word.text.length > 1 ? { from: word.from, options, validFor: /^\w*$/ } : null;
    };
    const run = () => {
      this.form.requestSubmit(find(this.form, ".actions button"));
      return true;
    };
    return [
      lineNumbers(),
      history(),
      drawSelection(),
      bracketMatching(),
      closeBrackets(),
      lintGutter(),
      linter(() => this.check(), { delay: 400 }),
      sql({ dialect, schema, upperCaseKeywords: true }),
      dialect.language.data.of({ autocomplete: complete }),
      autocompletion({ closeOnBlur: true }),
      syntaxHighlighting(colours),
      EditorView.lineWrapping,
      Prec.highest(keymap.of([{ key: "Mod-Enter", run }])),
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap]),
      EditorView.contentAttributes.of({ "aria-label": "ADQL", spellcheck: "false", autocapitalize: "none" }),
      EditorView.updateListener.of((update) => {
        if (update.docChanged) this.area.value = update.state.doc.toString();
      }),
      theme,
    ];
  }

  /**
   * Ask what is wrong with the query, and mark it.
   * @returns {Promise<Diagnostic[]>}
   */
  async check() {
    const { text } = this;
    if (!text.trim()) return this.told(null);
    const path = `/adql/check?${new URLSearchParams({ QUERY: text })}`;
    const found = await this.workspace.ask(path, { state: null, pane: "check" }).catch(() => null);
    if (text !== this.text) return []; // somebody wrote on: that is checked, too
    /** @type {Checked | null} */
    const fault = found?.fault ?? null;
    this.told(fault);
    const place = fault && spot(text, fault.offset);
    return place ? [this.marked(fault, place, text)] : [];
  }

  /**
   * Mark a fault, with a button that mends it if that is known.
   * @param {Checked} fault
   * @param {{from: number, to: number}} place
   * @param {string} text
   * @returns {Diagnostic}
   */
  marked({ message, remedy, meant: word }, { from, to }, text) {
    const mark = {
      from,
      to,
      severity: /** @type {const} */ ("error"),
      message: `${message}${remedy ? `\n${remedy}` : ""}`,
    };
    if (!word) return mark;
    const begin = replaced(text, from, to, word);
    const name = this.workspace.t("Write {word}", { word });
    const mend = () => {
      const changes = { from: begin, to, insert: word };
      this.view.dispatch({ changes, selection: { anchor: begin + word.length } });
      this.view.focus();
    };
    this.fault.append(" ", button(name, mend, { className: "link" }));
    return { ...mark, actions: [{ name, apply: mend }] };
  }

  /**
   * @param {Checked | null} fault
   * @returns {[]}
   */
  told(fault) {
    this.fault.hidden = !fault;
    this.fault.textContent = fault ? said(fault, this.workspace.t) : "";
    return [];
  }

  /** @param {string} text */
  write(text) {
    this.view.dispatch({ changes: { from: 0, to: this.view.state.doc.length, insert: text } });
    this.view.focus();
  }

  hear() {
    this.form.addEventListener("submit", (event) => this.sent(event));
    this.root.addEventListener("click", (event) => this.clicked(event));
    const field = find(this.root, "[data-find]", HTMLInputElement);
    field.addEventListener("input", () => this.look(field.value.trim().toLowerCase()));
    // back and forward: the query of the address, with its answer
    addEventListener("popstate", () => {
      const text = this.workspace.state.get("QUERY") ?? "";
      if (text === this.text.trim()) return;
      this.write(text);
      if (text) this.answer.ask(text);
      else this.answer.place.replaceChildren();
    });
  }

  /** @param {SubmitEvent} event */
  sent(event) {
    const { form } = this;
    const by = event.submitter;
    this.area.value = this.text;
    if (by && "explain" in by.dataset) {
      event.preventDefault();
      if (this.query) this.explain(this.query);
    } else if (by?.hasAttribute("formaction")) {
      if ("job" in by.dataset && form.dataset.sent) return event.preventDefault(); // pressed twice
      if ("job" in by.dataset) {
        form.dataset.sent = "1";
        setTimeout(() => delete form.dataset.sent, TWICE);
      }
      if (this.query) this.remember(this.query);
      this.area.hidden = false;
      setTimeout(() => (this.area.hidden = true));
    } else {
      event.preventDefault();
      if (this.query) this.run(this.query);
    }
  }

  /** @param {string} text */
  job(text) {
    this.area.value = text;
    this.form.requestSubmit(find(this.form, "[data-job]"));
  }

  /** @param {string} text */
  async run(text) {
    const { state } = this.workspace;
    const same = state.get("QUERY") === text;
    this.remember(text);
    if (!same) this.answer.place.querySelector(".plot")?.remove(); // it is of another query
    state.set({ QUERY: text, _plot: same ? state.get("_plot") : null });
    this.explained.hidden = true;
    await this.answer.ask(text);
  }

  /** @param {string} text */
  async explain(text) {
    const { explained } = this;
    const { t } = this.workspace;
    const line = (/** @type {string} */ words, className = "count") => make("p", { className, textContent: words });
    explained.hidden = false;
    explained.replaceChildren(line(t("Asking ...")));
    try {
      const path = `/adql/explain?${new URLSearchParams({ QUERY: text })}`;
      const { plan } = await this.workspace.ask(path, { state: null, pane: "explain" });
      const close = button(t("Close"), () => {
        explained.hidden = true;
        this.view.focus();
      });
      const title = make("h2", { textContent: t("How it would be run") });
      explained.replaceChildren(title, make("pre", { tabIndex: 0, textContent: plan }), close);
    } catch (error) {
      explained.replaceChildren(line(wrong(error), "fault"));
    }
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    const example = /** @type {HTMLAnchorElement | null} */ (target(event).closest("[data-example]"));
    if (example) {
      event.preventDefault();
      return this.write(new URL(example.href).searchParams.get("QUERY") ?? "");
    }
    const name = /** @type {HTMLElement | null} */ (target(event).closest("[data-insert]"));
    if (!name || event.detail === 1) return;
    event.preventDefault();
    this.view.dispatch(this.view.state.replaceSelection(name.dataset.insert ?? ""));
    this.view.focus();
  }

  /**
   * Show the tables and columns that have a word.
   * @param {string} wanted
   */
  look(wanted) {
    for (const table of all(this.root, "[data-table]", HTMLDetailsElement)) {
      const columns = all(table, "li");
      const texts = columns.map((item) => item.textContent ?? "");
      const found = lookedFor(wanted, find(table, "summary").textContent ?? "", texts);
      columns.forEach((item, at) => (item.hidden = !found.columns[at]));
      table.hidden = !found.shown;
      table.open = found.open;
    }
    for (const schema of all(this.root, "[data-schema]", HTMLDetailsElement)) {
      schema.hidden = all(schema, "[data-table]").every((one) => one.hidden);
      if (wanted) schema.open = true;
    }
  }

  /** @returns {string[]} */
  remembered() {
    try {
      return JSON.parse(localStorage.getItem(STORE) ?? "[]");
    } catch {
      return [];
    }
  }

  /** @param {string} text */
  remember(text) {
    try {
      localStorage.setItem(STORE, JSON.stringify(added(this.remembered(), text)));
    } catch {
      // a private window keeps nothing
    }
    this.show();
  }

  show() {
    const every = this.remembered();
    this.past.hidden = !every.length;
    for (const old of all(this.past, "p")) old.remove();
    for (const text of every) {
      const short = text.replace(/\s+/g, " ").slice(0, 160);
      this.past.append(
        make(
          "p",
          {},
          button(short, () => this.write(text), { className: "line" }),
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
  const none = { tables: [], functions: [], words: [] };
  const words = await workspace.ask("/adql/words", { state: null }).catch(() => none);
  new Editor(root, workspace, words);
}
