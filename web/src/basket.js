// The basket in the head of each page: how much is in it; rows that are ticked go into it, those that are in it are ticked, on this page and on all others.
import { added, called, entries, mine, nothing, part, recalled, remember, removed } from "./baskets.js";
import { all, find, make, maybe } from "./dom.js";
/** @import {Kept, Part} from "./baskets.js" */
/** @import {Workspace} from "./workspace.js" */

const WHILE = 6000; // milliseconds that something is said
const SENT = "hven-basket-sent"; // this tab has handed the basket over: where cookies are refused it does so once

class Basket {
  /** @type {Kept} */
  kept;
  said = make("span", { className: "only-heard", role: "status" });
  /** What the server is told, one thing after the other.
   * @type {Promise<unknown>} */
  telling = Promise.resolve();

  /**
   * @param {HTMLAnchorElement} link
   * @param {Workspace} workspace
   */
  constructor(link, workspace) {
    this.link = link;
    this.workspace = workspace;
    this.owner = link.dataset.owner ?? "";
    this.of = called(maybe(document, "[data-here]")?.dataset.here ?? "", workspace.base);
    this.kept = recalled();
    /** What is known here is what the server has. */
    this.current = !this.owner || (this.kept.owner === this.owner && this.kept.state === (link.dataset.state ?? ""));
    if (this.kept.owner && this.kept.owner !== this.owner) {
      this.kept = nothing(); // somebody else's, who has left
      remember(this.kept);
    }
    link.after(this.said);
  }

  /** @param {Kept} kept */
  keep(kept) {
    this.kept = kept;
    this.current = true;
    remember(kept);
    this.draw();
  }

  draw() {
    const count = entries(this.kept.parts);
    const place = find(this.link, "b");
    if (!this.current) return; // as the server counted
    place.textContent = this.workspace.number(count);
    place.hidden = !count;
    this.link.title = count ? this.counted(count) : "";
  }

  /**
   * Say how many entries there are: rows or observations that were ticked, and searches.
   * @param {number} count
   */
  counted(count) {
    const { t } = this.workspace;
    if (count === 1) return t("1 entry in the basket");
    return t("{count} entries in the basket", { count: this.workspace.number(count) });
  }

  /** Take over what was ticked before the log-in, and what was ticked elsewhere. */
  async begin() {
    const { kept, owner } = this;
    if (owner && !kept.owner && kept.parts.length) await this.tell({ ADD: text(kept.parts), ONLY: "1" });
    else if (!this.current && (this.of || maybe(document, ".detail"))) await this.tell({ ADD: text([]) });
    this.draw();
    await this.page();
    this.hear();
    this.tick();
  }

  /** The page of the basket shows what the server knows: it is told what it does not know yet. */
  async page() {
    const place = maybe(document, "script#basket");
    const shots = all(document, "main .part a[data-picture]", HTMLAnchorElement);
    if (shots.length) {
      const { pictured, thumbnail } = await import("./table.js");
      for (const link of shots) if (pictured(link.href)) thumbnail(link);
    }
    if (!place) return;
    const { kept, owner } = this;
    const unknown = !("known" in place.dataset) && kept.parts.length > 0;
    if (!owner && (kept.fresh || unknown) && sessionStorage.getItem(SENT) !== text(kept.parts)) {
      await this.hand();
      return location.reload();
    }
    const { parts = [] } = JSON.parse(place.textContent ?? "{}");
    if (!unknown) this.keep({ owner, state: this.link.dataset.state ?? "", fresh: false, parts });
  }

  /** Hand the browser's own basket to the server, which keeps it for its page. */
  async hand() {
    const { parts } = this.kept;
    sessionStorage.setItem(SENT, text(parts));
    await this.tell({ SET: text(parts) });
  }

  hear() {
    const { workspace } = this;
    workspace.on("ticked", ({ of = this.of, line, on }) => {
      this.change({ of, lines: [line], searches: [] }, on);
      if (!this.workspace.selection.marked.has(line[0]) === on) this.tick(); // it was not the grid
    });
    addEventListener("storage", (event) => {
      if (mine(event)) this.again();
    });
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.again();
    });
    this.link.addEventListener("click", (event) => this.leave(event));
    document.addEventListener("submit", (event) => this.sent(event));
  }

  /** Another page has changed it. */
  again() {
    this.kept = recalled();
    this.current = true;
    this.draw();
    this.tick();
  }

  /** Tick the rows of this table that are in it. */
  tick() {
    const { selection } = this.workspace;
    if (!this.of) return;
    const { lines } = part(this.kept.parts, this.of);
    const wanted = new Set(lines.flat());
    const before = [...selection.marked].filter((key) => !wanted.has(key));
    if (before.length) selection.mark(before, false);
    const files = lines.flatMap((line) => line.slice(1));
    if (wanted.size) selection.mark(lines.map(([first]) => first), true, files); // prettier-ignore
  }

  /**
   * @param {Part} what
   * @param {boolean} on
   */
  change(what, on) {
    const { kept, owner } = this;
    const parts = on ? added(kept.parts, what) : removed(kept.parts, what);
    if (!parts) {
      this.say(this.workspace.t("The basket is full: put in a search instead of its rows"), true);
      return this.tick();
    }
    this.keep({ ...kept, owner, parts, fresh: !owner });
    this.say(this.counted(entries(parts)));
    if (owner) this.telling = this.telling.then(() => this.tell({ [on ? "ADD" : "REMOVE"]: text([what]) }));
  }

  /**
   * Tell the server, and take what it then has; what it refuses is undone.
   * @param {Record<string, string>} what
   */
  async tell(what) {
    try {
      const answer = await fetch(`${this.workspace.base}/basket`, {
        method: "POST",
        body: new URLSearchParams(what),
        headers: { accept: "application/json" },
        credentials: "same-origin",
        keepalive: String(Object.values(what)[0]).length < 30_000, // who ticks and goes on has ticked
      });
      const told = await answer.json();
      if (!answer.ok) throw new Error(`${told.message} ${told.remedy}`);
      this.keep({ owner: this.owner, state: told.state, fresh: false, parts: JSON.parse(told.basket).parts });
    } catch (/** @type {any} */ error) {
      this.say(error.message, true);
    }
  }

  /**
   * Before the page of the basket is opened it is handed over.
   * @param {MouseEvent} event
   */
  async leave(event) {
    if (this.owner || !this.kept.fresh || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    await this.hand();
    location.href = this.link.href;
  }

  /**
   * A form that changes the basket: a search is put in here; the others are of what the server knows.
   * @param {SubmitEvent} event
   */
  async sent(event) {
    const form = /** @type {HTMLFormElement} */ (event.target);
    if (new URL(form.action, location.href).pathname !== new URL(this.link.href).pathname) return;
    if ("searched" in form.dataset) {
      event.preventDefault();
      const now = new URLSearchParams(this.workspace.search);
      for (const name of ["_cols", "_names", "_strip"]) now.delete(name);
      for (const name of [...now.keys()]) if (name.startsWith("_unit.")) now.delete(name);
      this.change({ of: this.of, lines: [], searches: [String(now)] }, true);
      this.say(this.workspace.t("All rows that were found are in the basket"), true);
    } else if (!this.owner && this.kept.fresh) {
      event.preventDefault();
      await this.hand();
      form.requestSubmit(event.submitter);
    }
  }

  /**
   * Say something to who hears, or in sight of all.
   * @param {string} words
   * @param {boolean} [seen]
   */
  say(words, seen = false) {
    this.said.textContent = words;
    this.said.className = seen ? "said" : "only-heard";
    clearTimeout(this.over);
    this.over = setTimeout(() => (this.said.className = "only-heard"), WHILE);
  }

  over = 0;
}

/** @param {Part[]} parts */
function text(parts) {
  return JSON.stringify({ parts });
}

/**
 * @param {HTMLAnchorElement} link
 * @param {Workspace} workspace
 */
export function mount(link, workspace) {
  return new Basket(link, workspace).begin();
}
