// The way out of a result: formats, scripts of files, lines to copy; of all rows that were found, or of those that were marked.
import { copier } from "./copy.js";
import { all, find, make, maybe } from "./dom.js";
import { menus } from "./menus.js";
import { size } from "./sizes.js";
/** @import {Taken} from "./answers.js" */
/** @import {Changes, Workspace} from "./workspace.js" */

const LOOKS = { _row: null, _look: null, _view: null, _map: null, _plot: null, _compare: null };

class Take {
  only = false; // the marked rows alone
  every = false; // all columns
  link = "";
  stale = true;
  scope = make("p", { className: "scope" });

  /**
   * @param {HTMLElement} box
   * @param {string} here
   * @param {Workspace} workspace
   */
  constructor(box, here, workspace) {
    const { selection, state } = workspace;
    this.box = box;
    this.here = here;
    this.workspace = workspace;
    maybe(box, "[data-what]")?.replaceWith(this.scope);
    this.menus = menus(box, () => this.refresh());
    const changed = () => {
      this.stale = true;
      this.refresh();
    };
    state.on("change", changed);
    selection.on("change", (event) => {
      if (event.name === "marked") changed();
    });
    this.options();
    this.refresh(); // a menu that was opened before we came
  }

  get marks() {
    return [...this.workspace.selection.marked].map((key) => ["_key", key]);
  }

  /** @param {Changes} [more] */
  parameters(more = {}) {
    const next = this.workspace.state.with({ ...LOOKS, ...more });
    if (this.every) next.set("_all", "1");
    if (this.link) next.set("_link", this.link);
    return next;
  }

  options() {
    const { selection, t } = this.workspace;
    const turn = (/** @type {boolean} */ on) => {
      this.only = on;
      this.refresh(true);
    };
    const rows = [check(t("All rows that were found"), !this.only, () => turn(false))];
    const count = this.workspace.number(selection.marked.size);
    if (selection.marked.size)
      rows.push(check(t("Only the {count} marked rows", { count }), this.only, () => turn(true)));
    const tick = make("input", { type: "checkbox", checked: this.every });
    tick.addEventListener("change", () => {
      this.every = tick.checked;
      this.refresh(true);
    });
    this.scope.replaceChildren(...rows, make("label", { className: "tickable" }, tick, " ", t("All columns")));
  }

  /** Let the links and forms that are there ask for what is asked now: somebody may be quicker than the server. */
  follow() {
    const { box, marks } = this;
    const now = (/** @type {string} */ text) => {
      const address = new URL(text, location.href);
      return `${address.pathname}?${this.parameters({ _as: address.searchParams.get("_as") })}`;
    };
    const links = ["formats", "scripts", "panes"].map((one) => `[data-${one}] a[href]`).join(", ");
    for (const one of all(box, links, HTMLAnchorElement)) one.setAttribute("href", now(one.href));
    for (const one of all(box, "[data-formats] form, [data-scripts] form", HTMLFormElement)) {
      const press = find(one, "button", HTMLButtonElement);
      if ("job" in one.dataset) {
        press.disabled = this.stale; // its query is the server's to write
        continue;
      }
      one.setAttribute("action", now(one.action));
      if (marks.length) one.replaceChildren(...hidden(marks), press);
    }
  }

  async refresh(force = false) {
    this.stale ||= force;
    this.follow();
    if (this.only && !this.marks.length) this.only = false;
    if (!this.menus.some((one) => one.open)) this.stale = true;
    else if (this.stale) await this.ask();
  }

  async ask() {
    this.stale = false;
    this.options();
    const sent = this.only ? { method: "POST", body: new URLSearchParams(this.marks) } : {};
    /** @type {Taken} */
    let known;
    try {
      known = await this.workspace.ask(`${this.here}/take`, { state: this.parameters(), pane: "take", ...sent });
    } catch (/** @type {any} */ error) {
      this.stale = true;
      return this.say(error.message);
    }
    this.show(known);
  }

  /** @param {string} text */
  say(text) {
    const place = maybe(this.box, "[data-files]");
    if (place) place.textContent = text;
  }

  /** @param {Taken} known */
  show(known) {
    const { box } = this;
    const { t } = this.workspace;
    const formats = known.formats.map((one) => this.item(one.label, "download", one.name));
    renew(find(box, "[data-formats]"), [...formats, this.job(known.adql)]);
    const scripts = maybe(box, "[data-scripts]");
    if (scripts) {
      const told = known.files ? files(known.files, this.workspace) : t("The files behind the rows that were found");
      this.say(known.archive ? `${told}. ${archive(known.archive, this.workspace)}` : told);
      /** @type {Record<string, string>} */
      const names = {
        zip: t("All in one ZIP"),
        tar: t("All in one TAR"),
        wget: t("Script for wget"),
        curl: t("Script for curl"),
        aria2: t("List for aria2"),
        links: t("List of links"),
      };
      renew(
        scripts,
        known.scripts.map(({ name }) => this.item(names[name] ?? name, "script", name)),
      );
      if (known.files) this.choose(scripts, known.links, known.files.column);
    }
    const mine = this.only ? [] : [{ name: t("Link to this search"), text: location.href }];
    renew(
      find(box, "[data-lines]"),
      [...known.lines, ...mine].flatMap((one) => line(one, this.workspace)),
    );
  }

  /**
   * Offer the columns that have links to files, before the scripts of them.
   * @param {HTMLElement} before
   * @param {Taken["links"]} links
   * @param {string} column
   */
  choose(before, links, column) {
    maybe(this.box, "[data-link]")?.remove();
    if (links.length < 2) return;
    const select = make(
      "select",
      {},
      ...links.map(({ label, name }) => new Option(label, name, false, name === column)),
    );
    select.addEventListener("change", () => {
      this.link = select.value;
      this.refresh(true);
    });
    const label = make("label", { className: "tickable" }, this.workspace.t("Files of"), " ", select);
    label.dataset.link = "";
    before.before(label);
  }

  /**
   * A link, or for marked rows a form: their keys may be too long for an address.
   * @param {string} text
   * @param {string} what
   * @param {string} as
   */
  item(text, what, as) {
    const address = `${this.here}/${what}?${this.parameters({ _as: as })}`;
    const link = () => make("a", { href: address, download: "", textContent: text });
    return make("li", {}, this.only ? form(address, this.marks, text) : link());
  }

  /** @param {string} adql */
  job(adql) {
    const { base, t } = this.workspace;
    const fields = Object.entries({ QUERY: adql, RESPONSEFORMAT: "votable" });
    const asked = form(`${base}/jobs`, fields, t("As a job"));
    asked.dataset.job = "";
    return make("li", {}, asked, " ", make("small", { textContent: t("for results that take long") }));
  }
}

/**
 * Say how many files there are, and how big.
 * @param {NonNullable<Taken["files"]>} files
 * @param {Pick<Workspace, "t" | "language">} workspace
 */
export function files({ files: count, bytes, sized, most }, { t, language }) {
  const number = (/** @type {number} */ value) => value.toLocaleString(language);
  const some = sized < count ? t("{files} files, {size} and more", said()) : t("{files} files, {size}", said());
  const text = bytes === null ? t("{files} files", { files: number(count) }) : some;
  return count > most ? `${text}; ${t("a script has the first {count}", { count: number(most) })}` : text;
  function said() {
    return { files: number(count), size: size(bytes ?? 0, language) };
  }
}

/**
 * Say what an archive will have.
 * @param {NonNullable<Taken["archive"]>} archive
 * @param {Pick<Workspace, "t" | "language">} workspace
 */
export function archive({ files: count, bytes, missing }, { t, language }) {
  const number = (/** @type {number} */ value) => value.toLocaleString(language);
  const told = t("An archive has {files} files, {size}", { files: number(count), size: size(bytes, language) });
  return missing
    ? `${told}; ${t("{missing} are not here for you: it lists them", { missing: number(missing) })}`
    : told;
}

/**
 * Put entries into a place; those that are there already stay: somebody may be pressing one.
 * @param {HTMLElement} place
 * @param {HTMLElement[]} entries
 */
function renew(place, entries) {
  const old = [...place.children];
  entries.forEach((one, at) => {
    if (!old[at]) place.append(one);
    else if (!old[at].isEqualNode(one)) old[at].replaceWith(one);
  });
  for (const one of old.slice(entries.length)) one.remove();
}

/**
 * @param {string} text
 * @param {boolean} checked
 * @param {() => void} pick
 */
function check(text, checked, pick) {
  const radio = make("input", { type: "radio", name: "take-rows", checked });
  radio.addEventListener("change", pick);
  return make("label", { className: "tickable" }, radio, " ", text);
}

/** @param {string[][]} fields */
function hidden(fields) {
  return fields.map(([name, value]) => make("input", { type: "hidden", name, value }));
}

/**
 * @param {string} action
 * @param {string[][]} fields
 * @param {string} text
 */
function form(action, fields, text) {
  const send = make("button", { className: "link", textContent: text });
  return make("form", { method: "post", action }, ...hidden(fields), send);
}

/**
 * A line to copy, below its name.
 * @param {Taken["lines"][number]} line
 * @param {Workspace} workspace
 */
function line({ name, text, url = "", signed = "" }, workspace) {
  const pre = make("pre", { tabIndex: 0 }, make("code", { textContent: text }));
  const place = make("div", { className: "copyable" }, pre);
  Object.assign(place.dataset, { url, signed });
  copier(place, workspace, (made, said) => {
    made.textContent = said;
    made.setAttribute("aria-label", `${said} ${name}`);
  });
  return [make("h3", { textContent: name }), place];
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  const here = /** @type {HTMLElement | null} */ (box.closest("[data-here]"))?.dataset.here;
  if (here) new Take(box, here, workspace);
}
