// The theme of the query editor, with the colours of the page.
import { HighlightStyle } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export const highlightStyle = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--mark)" },
  { tag: tags.number, color: "var(--mark)" },
  { tag: tags.comment, color: "var(--soft)", fontStyle: "italic" },
]);

export const editorTheme = EditorView.theme({
  "&": {
    border: "1px solid var(--line)",
    borderRadius: "6px",
    background: "var(--paper)",
    color: "var(--ink)",
    fontSize: "13px",
  },
  "&.cm-focused": { outline: "2px solid var(--mark)", outlineOffset: "1px" },
  ".cm-content": {
    fontFamily: "ui-monospace, 'SF Mono', 'DejaVu Sans Mono', Menlo, monospace",
    minHeight: "9em",
    caretColor: "var(--ink)",
  },
  ".cm-gutters": { background: "var(--raised)", color: "var(--soft)", border: "0", borderRadius: "6px 0 0 6px" },
  ".cm-tooltip": { background: "var(--paper)", color: "var(--ink)", border: "1px solid var(--line)" },
  ".cm-diagnostic": { padding: "8px 12px", borderLeft: "3px solid var(--mark)", fontFamily: "system-ui, sans-serif" },
  ".cm-diagnosticAction": {
    background: "var(--accent)",
    color: "var(--paper)",
    borderRadius: "6px",
    padding: "4px 12px",
    marginLeft: "8px",
    minHeight: "28px",
    font: "inherit",
    cursor: "pointer",
  },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { background: "var(--accent)", color: "var(--paper)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": {
    background: "color-mix(in srgb, var(--mark) 25%, transparent) !important",
  },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
});
