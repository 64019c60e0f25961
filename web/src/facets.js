// Choices with their counts: a click adds or takes away a value; the counts follow everything else that is asked.
import { all, button, find, make, maybe, table } from "./dom.js";
/** @import {Choice, Facet} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const WAIT = 250; // milliseconds after a key
const FIRST_PAUSE_MS = 2000; // before choices that could not be counted are asked for again; each further pause is twice as long
const MAX_PAUSE_MS = 60_000;
const ALONE = { _row: null, _sort: null, _cols: null };

/**
 * Write a value as a condition has it: in quotes where it would be read otherwise.
 * @param {string | null} value
 */
export function quoted(value) {
  if (value === null) return "null";
  const special = /[,"*<>=!]|\.\.|^\s|\s$|^null$/i.test(value) || value === "";
  return special ? `"${value.replaceAll('"', '""')}"` : value;
}

/** Part the values of conditions at commas that stand in no quotes; two quotes in a value are one. */
const parted = (/** @type {string[]} */ conditions) => conditions.join(",").match(/"(?:[^"]|"")*"|[^,]+/g) ?? [];

const plain = (/** @type {string} */ text) => text.replace(/^"(.*)"$/, "$1").toLowerCase();

/**
 * Give a condition of values with one more, or one less; null: nothing is left.
 * @param {string[]} conditions
 * @param {string | null} value
 * @param {boolean} on
 */
export function chosen(conditions, value, on) {
  const mine = quoted(value);
  const written = parted(conditions).map((one) => one.trim());
  const others = written.filter((one) => one && plain(one) !== plain(mine));
  return [...others, ...(on ? [mine] : [])].join(",") || null;
}

/**
 * Whether conditions are a list of choices, and nothing else.
 * @param {string[]} conditions
 * @param {Choice[]} choices
 */
export function listed(conditions, choices) {
  const known = choices.map((one) => plain(quoted(one.value)));
  return parted(conditions).every((one) => known.includes(plain(one.trim())));
}

class Facets {
  /** What is written in the field of a column.
   * @type {Map<string, string>} */
  looked = new Map();
  /** @type {string | null} */
  drawn = null;
  /** The choice that had the focus before everything was drawn anew.
   * @type {{column: string, value: string | undefined} | null} */
  lost = null;

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    this.box = box;
    this.workspace = workspace;
    this.path = `${table(box)}/facets`;
    this.root = /** @type {HTMLElement} */ (box.closest("form") ?? box);
    workspace.state.on("change", () => this.draw());
  }

  /** @param {number} pause before the next attempt, if this one brings not all choices */
  async draw(pause = FIRST_PAUSE_MS) {
    const { box, workspace } = this;
    const now = String(workspace.state.with({ ...ALONE, _view: null, _map: null, _plot: null }));
    if (now === this.drawn) return;
    this.drawn = now;
    let missing;
    box.setAttribute("aria-busy", "true");
    try {
      /** @type {{facets: Facet[]}} */
      const { facets } = await workspace.ask(this.path, { pane: "facets" });
      missing = facets.some((one) => !one.counted);
      this.renew(facets);
    } catch (/** @type {any} */ error) {
      missing = error.status === 503;
      box.replaceChildren(make("p", { className: "fault", textContent: error.message }));
    } finally {
      box.removeAttribute("aria-busy");
    }
    if (missing) setTimeout(() => this.retry(now, pause), pause);
  }

  /**
   * Ask again for what could not be counted, unless something else is asked by now.
   * @param {string} asked
   * @param {number} pause
   */
  retry(asked, pause) {
    if (this.drawn !== asked || !this.box.isConnected) return;
    this.drawn = null;
    this.draw(Math.min(2 * pause, MAX_PAUSE_MS));
  }

  /**
   * Draw all choices anew; who was at one of them, or in a field, goes on there.
   * @param {Facet[]} facets
   */
  renew(facets) {
    const back = this.held();
    this.stand(facets.filter((one) => one.choices.length > 0));
    if (back) this.again(back);
  }

  /**
   * Where somebody is: at a choice, or in a field that looks for others.
   * @returns {{column: string, value: string | undefined, caret: number | null} | null}
   */
  held() {
    const { activeElement } = document;
    const set = /** @type {HTMLElement | null} */ (activeElement?.closest("[data-facet]") ?? null);
    if (!(activeElement instanceof HTMLInputElement) || !set || !this.root.contains(set)) return null;
    const caret = activeElement.type === "search" ? activeElement.selectionStart : null;
    return { column: set.dataset.facet ?? "", value: activeElement.dataset.value, caret };
  }

  /** @param {Facet[]} facets */
  stand(facets) {
    const { box, root } = this;
    for (const old of all(root, ".in-field")) old.remove();
    for (const field of all(root, "[data-choices][hidden]")) field.hidden = false;
    box.replaceChildren(...facets.filter((one) => !this.home(one)).map((one) => this.group(one)));
    for (const one of facets) this.inField(one);
  }

  /** @param {{column: string, value: string | undefined, caret: number | null}} where */
  again({ column, value, caret }) {
    const set = maybe(this.root, `[data-facet="${CSS.escape(column)}"]`);
    const fields = set ? all(set, "input", HTMLInputElement) : [];
    const search = fields.find((one) => one.type === "search");
    const same = fields.find((one) => one.dataset.value === value);
    this.lost = caret === null && !same && search?.value ? { column, value } : null; // it comes with what is looked for
    const again = caret === null ? (same ?? search ?? fields[0]) : search;
    again?.focus({ preventScroll: true });
    if (caret !== null) again?.setSelectionRange(caret, caret);
  }

  /**
   * The field of the form in which the choices of a column stand, if they are few.
   * @param {Facet} facet
   */
  home({ column, field }) {
    return field ? maybe(this.root, `[data-choices="${CSS.escape(column)}"]`) : null;
  }

  /**
   * Few choices stand in their field, in its place unless something else is written there.
   * @param {Facet} facet
   */
  inField(facet) {
    const home = this.home(facet);
    if (!home) return;
    const set = this.group(facet);
    set.classList.add("in-field");
    set.title = home.title;
    home.after(set);
    home.hidden =
      listed(this.workspace.state.all(facet.column), facet.choices) && !home.contains(document.activeElement);
    if (home.hidden) set.append(this.opener(home));
  }

  /**
   * What shows the field in whose place choices stand: ranges and patterns are written.
   * @param {HTMLElement} home
   */
  opener(home) {
    const open = () => {
      home.hidden = false;
      opener.hidden = true;
      find(home, "input, select").focus();
    };
    const opener = button(this.workspace.t("write it"), open, { className: "link" });
    return opener;
  }

  /** @param {Facet} facet */
  group(facet) {
    const set = make("fieldset", {}, make("legend", { textContent: facet.label }));
    set.dataset.facet = facet.column;
    this.choices(set, facet);
    if (facet.more || this.looked.get(facet.column)) set.append(this.finder(set, facet));
    return set;
  }

  /**
   * A field that looks for values beyond the most frequent ones.
   * @param {HTMLElement} set
   * @param {Facet} facet
   */
  finder(set, facet) {
    const { looked, workspace } = this;
    const { column } = facet;
    const placeholder = workspace.t("look for others");
    const field = make("input", { type: "search", placeholder, ariaLabel: `${facet.label}: ${placeholder}` });
    let later = 0;
    const look = async () => {
      const like = field.value.trim();
      if (like) looked.set(column, field.value);
      else looked.delete(column);
      const state = workspace.state.with({ _of: column, _like: like || null, ...ALONE });
      const found = await workspace.ask(this.path, { state, pane: `facet ${column}` }).catch(() => null);
      if (!found || like !== field.value.trim()) return; // it keeps the choices that are there; or somebody wrote on: that answer comes, too
      this.choices(set, like ? (found.facets[0] ?? { ...facet, choices: [] }) : facet);
    };
    field.value = looked.get(column) ?? "";
    if (field.value) look();
    field.addEventListener("input", () => {
      looked.set(column, field.value); // at once: everything may be drawn anew before it is asked for
      clearTimeout(later);
      later = setTimeout(() => field.isConnected && look(), WAIT); // a field that was drawn anew has asked itself
    });
    field.addEventListener("change", (event) => event.stopPropagation());
    return field;
  }

  /**
   * @param {HTMLElement} set
   * @param {Facet} facet
   */
  choices(set, facet) {
    const { activeElement } = document;
    const tick = activeElement instanceof HTMLInputElement && set.contains(activeElement) ? activeElement : null;
    const held = tick?.type === "checkbox" ? tick.dataset.value : null;
    for (const old of all(set, ".choice")) old.remove();
    const field = maybe(set, "input[type=search]"); // stays where it is, and keeps the focus
    const most = Math.max(...facet.choices.map((one) => one.rows ?? 0), 1);
    for (const choice of facet.choices) {
      const label = this.choice(facet, choice, most);
      if (field) field.before(label);
      else set.append(label);
      const value = choice.value ?? "";
      const mine = this.lost?.column === facet.column && this.lost.value === value;
      if (held !== value && !mine) continue;
      this.lost = null;
      find(label, "input").focus({ preventScroll: true });
    }
  }

  /**
   * @param {Facet} facet
   * @param {Choice} choice
   * @param {number} most
   */
  choice({ column, exact }, choice, most) {
    const { state, t } = this.workspace;
    const tick = make("input", { type: "checkbox", checked: choice.chosen });
    tick.dataset.value = choice.value ?? "";
    tick.addEventListener("change", () => {
      state.set({ [column]: chosen(state.all(column), choice.value, tick.checked), _row: null });
    });
    const text = choice.value === null ? t("no value") : choice.label || t("empty");
    const what = make("span", { className: "what", textContent: text });
    if (choice.rows === null) return make("label", { className: "choice" }, tick, what);
    const count = `${exact ? "" : "~"}${this.workspace.number(choice.rows)}`;
    const bar = make("span", { className: "bar-of" });
    bar.style.width = `${Math.max((choice.rows / most) * 100, 1)}%`;
    return make(
      "label",
      { className: "choice" },
      tick,
      what,
      make("span", { className: "n", textContent: count }),
      bar,
    );
  }
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  const facets = new Facets(box, workspace);
  facets.renew(JSON.parse(maybe(box, "script")?.textContent ?? "[]")); // their counts follow
  return facets.draw();
}
