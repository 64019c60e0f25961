// One row, all of its columns, in a drawer beside the rows: previews, links, and the rows before and behind it.
import { acts } from "./acts.js";
import { button, find, make, maybe, table, target } from "./dom.js";
import { chips } from "./files.js";
import { header as headerOf } from "./header.js";
import { largePreview, openLightbox } from "./lightbox.js";
import { size } from "./sizes.js";
import { Surroundings } from "./surroundings.js";
import { fill, pictured } from "./table.js";
/** @import {Cell, Column, Link, Row, RowFile, Translate, Value} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

class Detail {
  seen = 0; // the picture that is shown
  /** What the server told of the row.
   * @type {Row | null} */
  row = null;
  waiting = 0; // what takes longer than a moment says so
  /** @type {(Cell | Link)[]} */
  shots = [];

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    const { state, selection, t } = workspace;
    this.box = box;
    this.workspace = workspace;
    this.here = table(box);
    this.title = find(box, "h2");
    this.list = find(box, "dl");
    this.pictures = find(box, ".pictures");
    this.close = find(box, "button.close");
    this.header = button(t("Header"), () => this.cards());
    this.first = make("div");
    this.surroundings = new Surroundings(this.here, workspace);
    this.values = make("div", { className: "values" });
    this.list.before(this.first, this.surroundings.element);
    this.list.after(this.values);
    const [back, on] = [
      stepper(t("Previous row"), "↑", () => this.step(-1)),
      stepper(t("Next row"), "↓", () => this.step(1)),
    ];
    this.close.before(back, " ", on, " ", this.header, " ");
    this.close.addEventListener("click", () => {
      selection.set("chosen", null);
      state.set({ _row: null });
    });
    document.addEventListener("keydown", (event) => this.pressed(event));
    this.pictures.addEventListener("click", (event) => this.enlarge(event));
    selection.on("change", (event) => {
      if (event.name === "chosen") this.show();
    });
    selection.chosen = state.get("_row");
  }

  /** @param {number} by */
  step(by) {
    this.workspace.tell("step", { step: by });
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const at = target(event);
    if (this.box.hidden || event.defaultPrevented || at.closest("dialog, select, textarea, [role=application]")) return;
    if (at.closest("input:not([type=checkbox])") || document.querySelector("dialog[open]")) return;
    const menu = at.closest("details.menu[open]"); // which shuts first
    if (event.key === "Escape" && !menu) return this.close.click();
    const mine = this.box.contains(at);
    const turn = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (turn && mine && this.pictures.childElementCount) {
      event.preventDefault();
      this.turn(turn);
    }
    const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (by && (event.altKey || !at.closest("[data-pane], details, a, button") || mine)) {
      event.preventDefault();
      this.step(by);
    }
  }

  async show() {
    const { chosen } = this.workspace.selection;
    const key = chosen?.startsWith("[") ? chosen : null; // maps of several tables name them, too: who lists them finds the table
    clearTimeout(this.waiting); // of a row that this one overtakes
    this.here = this.surroundings.here = table(this.box); // rows of several tables may stand on a page
    if (!key) {
      this.workspace.cancel("detail");
      this.box.removeAttribute("aria-busy");
      this.box.hidden = true;
      return;
    }
    const mine = setTimeout(() => this.box.setAttribute("aria-busy", "true"), 150);
    this.waiting = mine;
    try {
      const asked = new URLSearchParams([["_row", key], ...this.units()]);
      const found = await this.workspace.ask(`${this.here}/row`, { state: asked, pane: "detail" });
      this.box.hidden = false;
      this.draw(key, found);
    } catch (/** @type {any} */ error) {
      this.box.hidden = false;
      this.title.textContent = error.message;
      this.clear();
    } finally {
      clearTimeout(mine);
      this.box.removeAttribute("aria-busy");
    }
  }

  units() {
    return this.workspace.state.entries().filter(([name]) => name.startsWith("_unit."));
  }

  /**
   * @param {string} key
   * @param {Row} found
   */
  draw(key, found) {
    const { t } = this.workspace;
    const { row } = found;
    if (!row) {
      this.title.textContent = t("This row is no longer there");
      this.clear();
      return;
    }
    this.title.textContent = found.title || JSON.parse(key).join(" ");
    const links = found.links ?? [];
    const others = links.filter((link) => !shot(link));
    this.first.replaceChildren(...acts(found, key, this.here, this.workspace), ...siblings(found, this.workspace));
    const plain = (found.sections ?? []).length < 2;
    const values = plain ? found.columns.flatMap((column, number) => entry(column, row[number], t)) : [];
    this.list.replaceChildren(...locked(found.locked, t), ...leads(others, t), ...values);
    this.list.hidden = !this.list.childElementCount;
    this.values.replaceChildren(...(plain ? [] : sections(found, row, t)));
    this.surroundings.show(key);
    this.row = found;
    this.shots = [...links, ...row].filter(shot);
    const several = beside(found.files ?? []);
    if (several) this.pictures.replaceChildren(several);
    else this.previews();
  }

  /** Nothing is told of a row that is not there. */
  clear() {
    for (const one of [this.list, this.values, this.first, this.pictures]) one.replaceChildren();
    this.surroundings.element.hidden = true;
  }

  /** One preview at a time, with its number; the others by arrows. */
  previews() {
    const { t } = this.workspace;
    const { shots, pictures } = this;
    this.seen = Math.min(this.seen, Math.max(shots.length - 1, 0));
    if (shots.length < 2) return pictures.replaceChildren(...shots.map(picture));
    const count = make("span", {
      className: "soft",
      textContent: [caption(shots[this.seen]), `${this.seen + 1} / ${shots.length}`].filter(Boolean).join(" · "),
      "aria-live": "polite",
    });
    const back = stepper(t("Previous picture"), "←", () => this.turn(-1));
    const on = stepper(t("Next picture"), "→", () => this.turn(1));
    back.dataset.turn = "-1";
    on.dataset.turn = "1";
    pictures.replaceChildren(picture(shots[this.seen]), make("p", { className: "bar" }, back, " ", count, " ", on));
  }

  /**
   * A press on a picture shows it large, over the page: the row's one preview, else the picture itself, drawn large where this site draws it.
   * @param {MouseEvent} event
   */
  enlarge(event) {
    const link = target(event).closest("a");
    if (!link || !pictured(link.href) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const previews = this.shots.filter((one) => "semantics" in one).map((one) => one.href);
    const single = previews.length === 1 && !this.pictures.querySelector(".beside");
    const href = largePreview((single && previews[0]) || link.href, location.origin);
    openLightbox({ href, text: this.title.textContent ?? "" }, this.workspace.t);
  }

  /** @param {number} by */
  turn(by) {
    if (this.shots.length < 2) return;
    this.seen = (this.seen + by + this.shots.length) % this.shots.length;
    const at = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.turn : undefined;
    this.previews();
    maybe(this.pictures, `[data-turn="${at}"]`)?.focus();
  }

  /** All values of the row, and the header of the file behind it. */
  cards() {
    const { selection, t } = this.workspace;
    if (!this.row?.row || !selection.chosen) return;
    const asked = new URLSearchParams({ _row: selection.chosen });
    const behind = this.workspace.ask(`${this.here}/header`, { state: asked, pane: "header" });
    const opened = headerOf(this.title.textContent ?? "", this.row.columns, this.row.row, behind, t);
    opened.addEventListener("close", () => this.header.focus());
  }
}

/**
 * All values, under the headings of their sections.
 * @param {Row} found
 * @param {Value[]} row
 * @param {Translate} t
 */
function sections({ columns, sections: told = [] }, row, t) {
  return told.flatMap(({ title, columns: some }) => {
    const made = some.flatMap((number) => entry(columns[number], row[number], t));
    return made.length ? [make("h3", { textContent: title }), make("dl", {}, ...made)] : [];
  });
}

/**
 * The other files of the row's observation.
 * @param {Row} found
 * @param {Workspace} workspace
 */
function siblings({ files = [] }, { language, t }) {
  if (!files.length) return [];
  return [make("p", { className: "siblings" }, `${t("Files of this observation")} `, ...chips(files, language))];
}

/**
 * @param {string} text
 * @param {string} sign
 * @param {() => void} act
 */
function stepper(text, sign, act) {
  return button(sign, act, { className: "quiet step", title: text, "aria-label": text });
}

/**
 * @param {Value | Link} value
 * @returns {value is Cell | Link}
 */
function shot(value) {
  return value !== null && typeof value === "object" && Boolean(value.picture) && /^https?:/i.test(value.href ?? "");
}

/**
 * @param {Column} column
 * @param {Value} value
 * @param {Translate} t
 */
function entry(column, value, t) {
  if (value === null) return [];
  const name = make("dt", { textContent: column.label, title: column.title });
  if (column.unit) name.append(" ", make("small", { textContent: column.unit_text }));
  const said = make("dd");
  fill(said, value, { ...column, numeric: false }, t);
  if (typeof value === "object" && value.corners) said.replaceChildren(whole(said.textContent ?? "", value.text, t));
  return [name, said];
}

/**
 * Until when the files of a row are locked, and whom to ask.
 * @param {Row["locked"]} lock
 * @param {Translate} t
 */
function locked(lock, t) {
  if (!lock) return [];
  const said = make("dd", {
    textContent: lock.until ? t("until {time}", { time: lock.until.replace("T", " ") }) : t("for now"),
  });
  if (lock.contact) said.append("; ", t("ask {whom}", { whom: lock.contact }));
  return [make("dt", { textContent: t("Locked") }), said];
}

/**
 * What a row leads to: files, what it was made from, pages about it.
 * @param {Link[]} links
 * @param {Translate} t
 */
function leads(links, t) {
  if (!links.length) return [];
  const listed = links.map((link) => {
    const known = [link.type.split(";")[0], link.bytes === null ? "" : size(link.bytes, document.documentElement.lang)];
    const facts = make("small", { className: "soft", textContent: known.filter(Boolean).join(", ") });
    const safe = /^(https?|ftp):/i.test(link.href) ? link.href : "";
    const to = safe ? make("a", { href: safe, rel: "noopener", textContent: link.text }) : link.text;
    return make("li", { title: link.semantics }, to, " ", facts, link.locked ? ` ${t("Locked")}` : "");
  });
  return [make("dt", { textContent: t("Links") }), make("dd", {}, make("ul", { className: "leads" }, ...listed))];
}

/**
 * What is told in short, with the text itself below it, to copy.
 * @param {string} short
 * @param {string} text
 * @param {Translate} t
 */
function whole(short, text, t) {
  const copy = button(t("Copy"), async () => {
    await navigator.clipboard?.writeText(text);
    copy.textContent = t("Copied");
  });
  const told = make("code", { textContent: text });
  return make("details", { className: "in-full" }, make("summary", { textContent: short }), told, copy);
}

/**
 * The pictures of all files of an observation side by side, each with what tells it from the others; null where they are one picture.
 * @param {RowFile[]} files
 */
function beside(files) {
  const shown = files.filter((file) => /^https?:/i.test(file.picture ?? ""));
  if (new Set(shown.map((file) => file.picture)).size < 2) return null;
  const figures = shown.map(({ picture: href, text }) =>
    make("figure", {}, picture({ href, text }), make("figcaption", { className: "soft", textContent: text })),
  );
  return make("div", { className: "beside" }, ...figures);
}

/**
 * What a preview shows, where its link says it.
 * @param {Cell | Link} value
 */
function caption(value) {
  return "semantics" in value ? value.text : "";
}

/** @param {{href?: string, text: string}} value */
function picture({ href = "", text }) {
  const link = make("a", { href, rel: "noopener" });
  if (!pictured(href)) {
    link.textContent = text;
    return link;
  }
  const image = make("img", { src: href, alt: text, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(text)); // not ours to show, or gone: the link stays
  link.append(image);
  return link;
}

/**
 * Who looked for a row by what it is called (`#row`), and found it alone, is shown it.
 * @param {Workspace} workspace
 */
function alone(workspace) {
  if (location.hash !== "#row" || !workspace.rows) return;
  const { keys, total } = workspace.rows;
  history.replaceState(null, "", location.pathname + location.search);
  if (total === 1) workspace.state.set({ _row: keys[0] }, { replace: true });
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  workspace.on("rows", () => alone(workspace));
  alone(workspace);
  return new Detail(box, workspace).show();
}
