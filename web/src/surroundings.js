// What else there is at the time and place of a row: every table that has some, with how many, one press away.
import { make, wrong } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

/** @typedef {{key: string, title: string, rows: number | null, late: boolean, common: string[], url: string}} Other */
/** @typedef {{begin: string, end: string, place: boolean, lines: Other[], left_out: number}} Told */

export class Surroundings {
  /**
   * @param {string} here
   * @param {Workspace} workspace
   */
  constructor(here, workspace) {
    this.here = here;
    this.workspace = workspace;
    this.list = make("ul");
    this.said = make("p", { className: "soft small", "aria-live": "polite" });
    const title = workspace.t("What else is there at this time and place");
    const summary = make("summary", { textContent: title });
    this.element = make("details", { className: "what-else", open: true, hidden: true }, summary, this.said, this.list);
  }

  /** @param {string} key of the row */
  async show(key) {
    this.list.replaceChildren();
    this.said.textContent = "";
    const told = await this.ask(key, {});
    if (told?.lines.some((one) => one.late)) await this.ask(key, { _wait: "1" });
  }

  /**
   * @param {string} key
   * @param {Record<string, string>} more
   * @returns {Promise<Told | null>}
   */
  async ask(key, more) {
    const { workspace } = this;
    const state = new URLSearchParams({ _row: key, ...more });
    try {
      /** @type {Told} */
      const told = await workspace.ask(`${this.here}/else`, { state, pane: "else" });
      this.draw(told);
      return told;
    } catch (error) {
      this.element.hidden = false;
      this.said.textContent = wrong(error);
      return null;
    }
  }

  /** @param {Told} told */
  draw({ begin, end, place, lines, left_out: out }) {
    const { t } = this.workspace;
    const time = begin ? t("from {begin} to {end}", { begin: minute(begin), end: minute(end) }) : "";
    const more = out ? t("{count} tables were not asked", { count: out }) : "";
    const none = lines.length ? "" : t("Nothing else.");
    this.element.hidden = !time && !place;
    this.said.textContent = [time, place ? t("at this place") : "", none, more].filter(Boolean).join(" · ");
    this.list.replaceChildren(...lines.map((one) => this.line(one, Boolean(time), place)));
  }

  /**
   * @param {Other} other
   * @param {boolean} timed
   * @param {boolean} placed
   */
  line({ title, rows, late, common, url }, timed, placed) {
    const { t } = this.workspace;
    const only = timed && placed && common.length === 1;
    const what = only ? [" ", make("small", { className: "soft", textContent: t(ONLY[common[0]]) })] : [];
    const count = late ? "…" : this.workspace.number(rows ?? 0);
    return make(
      "li",
      {},
      make("span", {}, make("a", { href: url, textContent: title }), ...what),
      make("span", { className: "n", textContent: count }),
    );
  }
}

/** @type {Record<string, string>} */
const ONLY = { time: "by time alone", place: "by place alone" };

/** @param {string} time */
function minute(time) {
  return time.slice(0, 16).replace("T", " ");
}
