// The ADQL editor: highlighting, completion, marks at what is wrong; runs the query and shows the rows. Without it the form still works.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { SQLDialect, sql } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, linter, lintKeymap } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import { drawSelection, EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { pictured, thumbnail } from "./table.js";

const KEPT = 30; // queries that the history remembers, in this browser alone

export async function mount(root, workspace) {
  const { t } = workspace;
  const form = root.querySelector("form");
  const area = form.querySelector("textarea");
  const told = root.querySelector("#fault");
  const answer = root.querySelector("[data-answer]");
  const explained = root.querySelector("[data-explained]");
  let control = null;
  const words = await workspace.ask("/adql/words", { state: null }).catch(() => ({ tables: [], functions: [], words: [] }));

  const dialect = SQLDialect.define({ keywords: words.words.join(" ").toLowerCase(), doubleQuotedStrings: false, charSetCasts: false });
  const schema = {};
  for (const { name, columns } of words.tables) schema[name.replaceAll('"', "")] = columns.map((column) => ({ label: column.name, detail: column.unit, info: column.description, type: "property" }));
  const functions = words.functions.map((one) => ({ label: one.name, type: "function", detail: one.forms[0] ?? "", info: one.description, apply: `${one.name}(` }));

  const checked = linter(async (view) => {
    const text = view.state.doc.toString();
    if (!text.trim()) return told_(null);
    const found = await workspace.ask(`/adql/check?${new URLSearchParams({ QUERY: text })}`, { state: null, pane: "check" }).catch(() => null);
    if (text !== view.state.doc.toString()) return []; // somebody wrote on: that is checked, too
    const fault = found?.fault ?? null;
    told_(fault);
    if (!fault || fault.offset === undefined) return [];
    const shift = text.length - text.trimStart().length; // the server reads it without the blanks before it
    const from = Math.min(fault.offset + shift, text.length);
    const to = from + (/^[\w".]+/.exec(text.slice(from))?.[0].length ?? 1);
    const mark = { from, to: Math.min(to, text.length), severity: "error", message: `${fault.message}${fault.remedy ? `\n${fault.remedy}` : ""}` };
    const word = fault.meant;
    if (word) {
      const marked = text.slice(mark.from, mark.to);
      const begin = word.includes(".") ? mark.from : mark.from + marked.lastIndexOf(".") + 1; // of t.colum the column alone is another one
      const mend = () => { view.dispatch({ changes: { from: begin, to: mark.to, insert: word }, selection: { anchor: begin + word.length } }); view.focus(); };
      mark.actions = [{ name: t("Write {word}", { word }), apply: mend }];
      const button = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: mark.actions[0].name });
      button.addEventListener("click", mend);
      told.append(" ", button);
    }
    return [mark];
  }, { delay: 400 });

  function told_(fault) {
    told.hidden = !fault;
    told.textContent = fault ? `${fault.line ? `${t("line {line}, column {column}", fault)}: ` : ""}${fault.message}${fault.remedy ? ` \u2013 ${fault.remedy}` : ""}` : "";
    return [];
  }

  const view = new EditorView({
    state: EditorState.create({
      doc: area.value,
      extensions: [
        lineNumbers(), history(), drawSelection(), bracketMatching(), closeBrackets(), lintGutter(), checked,
        sql({ dialect, schema, upperCaseKeywords: true }), dialect.language.data.of({ autocomplete: complete }),
        autocompletion({ closeOnBlur: true }), syntaxHighlighting(colours), EditorView.lineWrapping,
        Prec.highest(keymap.of([{ key: "Mod-Enter", run: () => { form.requestSubmit(form.querySelector(".actions button")); return true; } }])),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap]),
        EditorView.contentAttributes.of({ "aria-label": "ADQL", spellcheck: "false", autocapitalize: "none" }),
        EditorView.updateListener.of((update) => { if (update.docChanged) area.value = update.state.doc.toString(); }),
        theme,
      ],
    }),
  });
  area.hidden = true;
  area.closest("label").after(view.dom); // outside the label: a click in the editor is the editor's

  function complete(context) {
    const word = context.matchBefore(/\w+/);
    return word && word.text.length > 1 ? { from: word.from, options: functions, validFor: /^\w*$/ } : null;
  }

  function write(text) {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
    view.focus();
  }

  let asked = 0;

  async function run(text) {
    remember(text);
    const mine = ++asked;
    if (workspace.state.get("QUERY") !== text) answer.querySelector(".plot")?.remove(); // it is of another query
    workspace.state.set({ QUERY: text, _plot: workspace.state.get("QUERY") === text ? workspace.state.get("_plot") : null });
    explained.hidden = true;
    await answered(text, mine);
  }

  /** Ask for the answer of a query and put it below; meanwhile say how long it takes, and how else it could be had. */
  async function answered(text, mine = ++asked) {
    control?.abort();
    control = new AbortController();
    const begun = performance.now();
    const clock = said("");
    const stop = act(t("Cancel"), () => { control.abort(); answer.replaceChildren(said(t("Cancelled"))); });
    const job = act(t("Run as a job instead"), () => { control.abort(); area.value = text; form.requestSubmit(form.querySelector("[data-job]")); });
    job.hidden = true;
    const tick = () => {
      const seconds = (performance.now() - begun) / 1000;
      clock.textContent = `${t("Running ...")} ${seconds >= 1 ? `${Math.floor(seconds)} s` : ""}`;
      job.hidden = seconds < 3;
    };
    tick();
    answer.setAttribute("aria-busy", "true");
    const waiting = setTimeout(() => { const line = document.createElement("p"); line.className = "bar"; line.append(stop, job); answer.replaceChildren(clock, line); }, 150);
    const ticking = setInterval(tick, 500);
    try {
      const found = await fetch(`${workspace.base}/adql/answer?${new URLSearchParams({ QUERY: text })}`, { headers: { accept: "text/html" }, credentials: "same-origin", signal: control.signal });
      const page = new DOMParser().parseFromString(await found.text(), "text/html"); // what the server has escaped stays text; no script runs
      if (mine !== asked) return;
      clearTimeout(waiting);
      if (found.ok) told_(null);
      const parts = [...(page.querySelector("main") ?? page.body).childNodes].map((node) => document.adoptNode(node));
      if (!found.ok && !page.querySelector(".fault")) parts.unshift(said(t("the server answered {status}", { status: found.status }), "fault"));
      answer.replaceChildren(...parts, ...(found.status >= 500 ? [act(t("Try again"), () => answered(text))] : []));
      shown();
    } catch (error) {
      if (error.name !== "AbortError") answer.replaceChildren(said(error.message, "fault"), act(t("Try again"), () => answered(text)));
    } finally {
      clearTimeout(waiting);
      clearInterval(ticking);
      if (mine === asked) answer.removeAttribute("aria-busy");
    }
  }

  function shown() {
    for (const link of answer.querySelectorAll("a[data-picture]")) if (pictured(link.href)) thumbnail(link);
    workspace.bring(answer);
  }

  async function explain(text) {
    explained.hidden = false;
    explained.replaceChildren(said(t("Asking ...")));
    try {
      const { plan } = await workspace.ask(`/adql/explain?${new URLSearchParams({ QUERY: text })}`, { state: null, pane: "explain" });
      const pre = Object.assign(document.createElement("pre"), { tabIndex: 0, textContent: plan });
      explained.replaceChildren(Object.assign(document.createElement("h2"), { textContent: t("How it would be run") }), pre, act(t("Close"), () => { explained.hidden = true; view.focus(); }));
    } catch (error) {
      explained.replaceChildren(said(`${error.message} ${error.remedy ?? ""}`, "fault"));
    }
  }

  function act(text, does) {
    const made = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: text });
    made.addEventListener("click", does);
    return made;
  }

  form.addEventListener("submit", (event) => {
    area.value = view.state.doc.toString();
    if (event.submitter && "explain" in event.submitter.dataset) {
      event.preventDefault();
      if (area.value.trim()) explain(area.value.trim());
      return;
    }
    if (event.submitter?.formAction && event.submitter.hasAttribute("formaction")) {
      if ("job" in event.submitter.dataset && form.dataset.sent) { event.preventDefault(); return; } // pressed twice
      if ("job" in event.submitter.dataset) { form.dataset.sent = "1"; setTimeout(() => { delete form.dataset.sent; }, 3000); }
      if (area.value.trim()) remember(area.value.trim());
      area.hidden = false;
      setTimeout(() => { area.hidden = true; });
      return;
    }
    event.preventDefault();
    if (area.value.trim()) run(area.value.trim());
  });

  // back and forward: the query of the address, with its answer
  addEventListener("popstate", () => {
    const text = workspace.state.get("QUERY") ?? "";
    if (text === view.state.doc.toString().trim()) return;
    write(text);
    if (text) answered(text); else answer.replaceChildren();
  });
  shown();
  if ("slow" in answer.dataset && area.value.trim()) answered(area.value.trim());

  root.addEventListener("click", (event) => {
    const example = event.target.closest("[data-example]");
    if (example) {
      event.preventDefault();
      write(new URL(example.href).searchParams.get("QUERY"));
      return;
    }
    const name = event.target.closest("[data-insert]");
    if (name && event.detail !== 1) { event.preventDefault(); view.dispatch(view.state.replaceSelection(name.dataset.insert)); view.focus(); }
  });

  const find = root.querySelector("[data-find]");
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    for (const one of root.querySelectorAll("[data-table]")) {
      const hits = [...one.querySelectorAll("li")].filter((item) => { const hit = !wanted || item.textContent.toLowerCase().includes(wanted); item.hidden = !hit && !one.querySelector("summary").textContent.toLowerCase().includes(wanted); return hit; });
      const named = one.querySelector("summary").textContent.toLowerCase().includes(wanted);
      one.hidden = Boolean(wanted) && !named && !hits.length;
      one.open = Boolean(wanted) && hits.length > 0 && !named;
    }
    for (const schema_ of root.querySelectorAll("[data-schema]")) {
      schema_.hidden = ![...schema_.querySelectorAll("[data-table]")].some((one) => !one.hidden);
      if (wanted) schema_.open = true;
    }
  });

  const past = root.querySelector("[data-history]");
  function remembered() { try { return JSON.parse(localStorage.getItem("hven.history") ?? "[]"); } catch { return []; } }
  function remember(text) {
    const next = [text, ...remembered().filter((one) => one !== text)].slice(0, KEPT);
    try { localStorage.setItem("hven.history", JSON.stringify(next)); } catch { /* a private window keeps nothing */ }
    show();
  }
  function show() {
    const every = remembered();
    past.hidden = !every.length;
    for (const old of past.querySelectorAll("p")) old.remove();
    for (const text of every) {
      const line = document.createElement("p");
      const button = Object.assign(document.createElement("button"), { type: "button", className: "line", textContent: text.replace(/\s+/g, " ").slice(0, 160) });
      button.addEventListener("click", () => write(text));
      line.append(button);
      past.append(line);
    }
  }
  show();
}

function said(text, name = "count") {
  return Object.assign(document.createElement("p"), { className: name, textContent: text });
}

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--mark)" },
  { tag: tags.number, color: "var(--mark)" },
  { tag: tags.comment, color: "var(--soft)", fontStyle: "italic" },
]);

const theme = EditorView.theme({
  "&": { border: "1px solid var(--line)", borderRadius: "6px", background: "var(--paper)", color: "var(--ink)", fontSize: "13px" },
  "&.cm-focused": { outline: "2px solid var(--mark)", outlineOffset: "1px" },
  ".cm-content": { fontFamily: "ui-monospace, 'SF Mono', 'DejaVu Sans Mono', Menlo, monospace", minHeight: "9em", caretColor: "var(--ink)" },
  ".cm-gutters": { background: "var(--raised)", color: "var(--soft)", border: "0", borderRadius: "6px 0 0 6px" },
  ".cm-tooltip": { background: "var(--paper)", color: "var(--ink)", border: "1px solid var(--line)" },
  ".cm-diagnostic": { padding: "8px 12px", borderLeft: "3px solid var(--mark)", fontFamily: "system-ui, sans-serif" },
  ".cm-diagnosticAction": { background: "var(--accent)", color: "var(--paper)", borderRadius: "6px", padding: "4px 12px", marginLeft: "8px", minHeight: "28px", font: "inherit", cursor: "pointer" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { background: "var(--accent)", color: "var(--paper)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { background: "color-mix(in srgb, var(--mark) 25%, transparent) !important" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
});
