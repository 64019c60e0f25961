// One row, all of its columns, in a drawer beside the rows: previews, links, and the rows before and behind it.
import { header as headerOf } from "./header.js";
import { fill, pictured } from "./table.js";

export function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const here = box.closest("[data-here]").dataset.here;
  const title = box.querySelector("h2");
  const list = box.querySelector("dl");
  const pictures = box.querySelector(".pictures");
  const close = box.querySelector("button.close");
  let seen = 0; // the picture that is shown
  let row = null; // what the server told of it
  let waiting = 0; // what takes longer than a moment says so

  const button = (text, sign, act) => {
    const made = Object.assign(document.createElement("button"), { type: "button", className: "quiet step", textContent: sign, title: text });
    made.setAttribute("aria-label", text);
    made.addEventListener("click", act);
    return made;
  };
  const step = (by) => workspace.dispatchEvent(Object.assign(new Event("step"), { step: by }));
  const header = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Header") });
  header.addEventListener("click", () => cards());
  close.before(button(t("Previous row"), "↑", () => step(-1)), " ", button(t("Next row"), "↓", () => step(1)), " ", header, " ");

  close.addEventListener("click", () => { selection.set("chosen", null); state.set({ _row: null }); });
  box.addEventListener("keydown", (event) => { 
    if (event.target.closest("dialog, input, select, textarea")) return;
    if (event.key === "Escape") close.click();
    const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (turn && pictures.childElementCount) { event.preventDefault(); turned(turn); }
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (by && event.altKey) { event.preventDefault(); step(by); }
  });

  async function show() {
    const key = selection.chosen;
    clearTimeout(waiting); // of a row that this one overtakes
    if (!key) { workspace.cancel("detail"); box.removeAttribute("aria-busy"); box.hidden = true; return; }
    const mine = setTimeout(() => box.setAttribute("aria-busy", "true"), 150);
    waiting = mine;
    try {
      const found = await workspace.ask(`${here}/row`, { state: new URLSearchParams({ _row: key, ...units() }), pane: "detail" });
      box.hidden = false;
      if (!found.row) {
        title.textContent = t("This row is no longer there");
        list.replaceChildren();
        pictures.replaceChildren();
        return;
      }
      title.textContent = JSON.parse(key).join(" ");
      list.replaceChildren(...found.columns.flatMap((column, number) => entry(column, found.row[number])));
      row = found;
      previews(found.row.filter((value) => value?.picture && /^https?:/i.test(value.href)));
    } catch (error) {
      box.hidden = false;
      title.textContent = error.message;
      list.replaceChildren();
    } finally {
      clearTimeout(mine);
      box.removeAttribute("aria-busy");
    }
  }

  function units() {
    return Object.fromEntries(state.entries().filter(([name]) => name.startsWith("_unit.")));
  }

  function entry(column, value) {
    if (value === null) return [];
    const name = Object.assign(document.createElement("dt"), { textContent: column.label, title: column.description });
    if (column.unit) name.append(" ", Object.assign(document.createElement("small"), { textContent: column.unit }));
    const said = document.createElement("dd");
    fill(said, value, { ...column, numeric: false }, t);
    if (value.corners) said.replaceChildren(whole(said.textContent, value.text));
    return [name, said];
  }

  /** What is told in short, with the text itself below it, to copy. */
  function whole(short, text) {
    const made = document.createElement("details");
    made.className = "in-full";
    const copy = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Copy") });
    copy.addEventListener("click", async () => { await navigator.clipboard?.writeText(text); copy.textContent = t("Copied"); });
    made.append(Object.assign(document.createElement("summary"), { textContent: short }), Object.assign(document.createElement("code"), { textContent: text }), copy);
    return made;
  }

  /** One preview at a time, with its number; the others by arrows. */
  function previews(values) {
    seen = Math.min(seen, Math.max(values.length - 1, 0));
    if (values.length < 2) { pictures.replaceChildren(...values.map(picture)); return; }
    const count = Object.assign(document.createElement("span"), { className: "soft", textContent: `${seen + 1} / ${values.length}` });
    count.setAttribute("aria-live", "polite");
    const bar = Object.assign(document.createElement("p"), { className: "bar" });
    turned = (by) => { seen = (seen + by + values.length) % values.length; const at = document.activeElement?.dataset.turn; previews(values); pictures.querySelector(`[data-turn="${at}"]`)?.focus(); };
    const [back, on] = [button(t("Previous picture"), "←", () => turned(-1)), button(t("Next picture"), "→", () => turned(1))];
    back.dataset.turn = "-1";
    on.dataset.turn = "1";
    bar.append(back, " ", count, " ", on);
    pictures.replaceChildren(picture(values[seen]), bar);
  }

  let turned = () => {};

  /** All values of the row, and the header of the file behind it. */
  function cards() {
    if (!row?.row) return;
    const behind = workspace.ask(`${here}/header`, { state: new URLSearchParams({ _row: selection.chosen }), pane: "header" });
    headerOf(title.textContent, row, behind, t).addEventListener("close", () => header.focus());
  }

  function picture(value) {
    const link = Object.assign(document.createElement("a"), { href: value.href, rel: "noopener" });
    if (!pictured(value.href)) { link.textContent = value.text; return link; }
    const image = Object.assign(document.createElement("img"), { src: value.href, alt: value.text, loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.replaceWith(value.text)); // not ours to show, or gone: the link stays
    link.append(image);
    return link;
  }

  selection.addEventListener("change", (event) => { if (event.name === "chosen") show(); });
  selection.chosen = state.get("_row");
  return show();
}
