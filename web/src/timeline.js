// Time series of a data set: panels above one axis of time, moved and zoomed by pointer, fingers and keys; a moment's pictures, files and lines of code.
import { Curves } from "./curves.js";
import { button, find, make } from "./dom.js";
import { pictures } from "./gallery.js";
import { keys } from "./hands.js";
import { Meanwhile } from "./meanwhile.js";
import { iso, seconds } from "./moments.js";
import { Requests } from "./requests.js";
import { Spectrogram } from "./spectrograms.js";
import { Tiles } from "./tiles.js";
/** @import uPlot from "uplot" */
/** @import {Panel} from "./panels.js" */
/** @import {Parameter} from "./tiles.js" */
/** @import {Workspace} from "./workspace.js" */

/** @typedef {{id: string, title: string, start: number | null, stop: number | null, latest: [number, number] | null, rows: number, cadence: number | null, regular: boolean, time: string, parameters: Parameter[], shown: string[], pictures: string[], hapi: string | null, das2: string | null, path: string}} Facts times in microseconds since 1970 */

const SECOND = 1e6;
const DAY = 86_400;
const NEAR = 200; // samples before and behind a moment that is asked for alone
const QUIET = 250; // milliseconds after which nobody moves any more
const PATIENT = 80; // milliseconds that empty axes wait for what is on its way, at first
const FIRST = "first picture"; // the browser's clock tells when it was whole
const NARROWEST = 1e-4; // seconds that are shown at least
const LENGTHS = /** @type {[string, number][]} */ ([
  ["hour", DAY / 24],
  ["day", DAY],
  ["month", 30 * DAY],
  ["year", 365.25 * DAY],
]);

export class Timeline {
  /** @type {Panel[]} */
  panels = [];
  /** Seconds since 1970, the first and the last.
   * @type {[number, number]} */
  view = [0, 1];
  /** Is called when all that was asked for is drawn. */
  quiet = () => {};
  /** The moment that was chosen.
   * @type {number | null} */
  at = null;
  from = make("input");
  to = make("input");
  stack = make("div");
  gallery = make("div");
  frame = 0;
  later = 0;
  drawn = 0; // pictures so far
  begun = performance.now();

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   * @param {Facts} facts
   */
  constructor(box, workspace, facts) {
    this.box = box;
    this.workspace = workspace;
    this.t = workspace.t;
    this.facts = facts;
    this.tiles = new Tiles(box.dataset.url ?? "");
    this.told = find(box, ".told");
    /** @type {[number, number]} */
    this.whole = [Number(facts.start) / SECOND, Number(facts.stop) / SECOND];
    this.step = (facts.cadence ?? SECOND) / SECOND;
    this.tiles.on("again", () => this.draw());
    this.tiles.on("busy", ({ busy }) => this.busy(busy));
    this.tiles.on("fault", ({ message, wait }) => {
      const part = this.t("A part could not be loaded: {why}", { why: message });
      const again = wait ? this.t("it is asked again in {count} s", { count: wait }) : "";
      this.told.textContent = [part, again].filter(Boolean).join("; ");
    });
    this.tiles.on("tile", () => {
      if (!this.tiles.lacking) this.told.textContent = "";
      this.draw();
    });
    this.build();
    window.hven = { ...window.hven, timeline: this };
  }

  /** Show what the address says; done when it is drawn for the first time. */
  begin() {
    const { state } = this.workspace;
    const done = new Promise((quiet) => {
      this.quiet = () => {
        this.quiet = () => {};
        this.settle();
        quiet(null);
      };
    });
    const [from, to] = ["_from", "_to"].map((name) => seconds(state.get(name) ?? ""));
    const at = seconds(state.get("_at") ?? "");
    this.at = Number.isNaN(at) ? null : at;
    this.view = from < to ? [from, to] : this.latest();
    if (!(from < to) && this.at !== null) this.view = [at - NEAR * this.step, at + NEAR * this.step];
    this.choose(state.get("_p")?.split(",") ?? []);
    if (this.at !== null) pictures(this);
    addEventListener("popstate", () => {
      const [first, last] = ["_from", "_to"].map((name) => seconds(state.get(name) ?? ""));
      if (first < last) this.show(first, last);
    });
    return done;
  }

  /** All of it. */
  first() {
    return withMargin(this.whole);
  }

  /** The stretch behind the last large gap, where the page opens: all of it, if there is no such gap. */
  latest() {
    const [begin, end] = this.facts.latest ?? [0, 0];
    return withMargin([begin / SECOND, end / SECOND]);
  }

  bar() {
    const { t } = this;
    const act = (/** @type {string} */ sign, /** @type {string} */ label, /** @type {() => void} */ does) =>
      button(sign, does, { title: label, "aria-label": label });
    for (const [field, label] of /** @type {[HTMLInputElement, string][]} */ ([
      [this.from, t("From")],
      [this.to, t("To")],
    ])) {
      Object.assign(field, { type: "text", className: "moment", title: label, ariaLabel: label });
      field.addEventListener("change", () => this.typed());
    }
    const lengths = LENGTHS.filter(([, length]) => length < this.whole[1] - this.whole[0]).map(([name, length]) =>
      button(t(name), () => this.show(this.middle - length / 2, this.middle + length / 2)),
    );
    return make(
      "div",
      { className: "bar", role: "toolbar", "aria-label": t("Time") },
      make("span", {}, this.from, " – ", this.to),
      make(
        "span",
        {},
        ...lengths,
        button(t("All of it"), () => this.show(...this.first())),
      ),
      make(
        "span",
        {},
        act("‹", t("Before"), () => this.move(-0.8)),
        act("−", t("Farther"), () => this.zoom(2)),
        act("+", t("Nearer"), () => this.zoom(0.5)),
        act("›", t("After"), () => this.move(0.8)),
      ),
    );
  }

  build() {
    const { t } = this;
    this.choices = make("div", { className: "choices", role: "group", "aria-label": t("Shown") });
    const label = t("Time series; arrow keys move, + and - zoom, 0 shows all");
    Object.assign(this.stack, { className: "stack", tabIndex: 0, role: "group", ariaLabel: label });
    keys(this.stack, this);
    Object.assign(this.gallery, { className: "gallery", ariaLive: "polite" });
    this.requests = new Requests(this);
    const hint = t(
      "Drag: move · wheel: zoom · Shift and drag: zoom into it · double click: farther · click: this moment",
    );
    this.box.append(
      this.bar(),
      this.choices,
      this.stack,
      make("div", { className: "soft hint", textContent: hint }),
      this.gallery,
      this.requests.files,
    );
    this.meanwhile = new Meanwhile(this);
    this.box.append(this.meanwhile.element, this.requests.element);
    let wide = 0;
    new ResizeObserver(() => {
      if (this.stack.clientWidth === wide) return;
      wide = this.stack.clientWidth;
      for (const panel of this.panels) panel.plot?.setSize(panel.size);
      this.draw();
    }).observe(this.stack);
  }

  /**
   * Show parameters: those that are named, or those that are shown first.
   * @param {string[]} names
   */
  choose(names) {
    const { parameters } = this.facts;
    let chosen = parameters.filter((one) => names.includes(one.name));
    if (!chosen.length) chosen = parameters.filter((one) => this.facts.shown.includes(one.name));
    for (const panel of this.panels) panel.end();
    this.panels = [
      ...chosen.filter((one) => one.spectrum).map((one) => new Spectrogram(this, one)),
      ...grouped(chosen.filter((one) => !one.spectrum)).map((group) => new Curves(this, group)),
    ];
    this.panels.forEach((panel, at) => (panel.last = at === this.panels.length - 1));
    this.stack.replaceChildren(...this.panels.map((one) => one.element));
    for (const panel of this.panels) panel.seek(); // what is drawn later is on its way while the rest is made
    const axes = new Set(parameters.map((one) => one.bins?.along));
    const offered = parameters.filter((one) => !axes.has(one.name) || chosen.includes(one));
    const boxes = offered.map((one) => {
      const tick = make("input", { type: "checkbox", checked: chosen.includes(one) });
      tick.addEventListener("change", () => {
        const wanted = parameters.filter((each) => (each === one ? tick.checked : chosen.includes(each)));
        if (!wanted.length) return void (tick.checked = true);
        this.workspace.state.set({ _p: wanted.map((each) => each.name).join(",") }, { replace: true });
        this.choose(wanted.map((each) => each.name));
      });
      return make("label", { title: one.description }, tick, ` ${one.label}`);
    });
    this.choices?.replaceChildren(make("span", { textContent: this.t("Shown") }), ...boxes);
    if (this.choices) this.choices.hidden = offered.length < 2;
    this.draw();
    if (this.drawn) this.settle(); // at first, when the first picture is there
  }

  get middle() {
    return (this.view[0] + this.view[1]) / 2;
  }

  /** The times that are shown, as they are written. */
  get shown() {
    return this.view.map(iso);
  }

  /**
   * Tell how many bins a sample fills, so that what lies between two is no gap.
   * @param {number} width microseconds
   */
  hold(width) {
    return Math.max(1, Math.ceil(((this.facts.regular ? 1.05 : 1.5) * this.step * SECOND) / width));
  }

  /**
   * Show a span; not wider than four times what there is, nor narrower than clocks tell.
   * @param {number} from
   * @param {number} to
   */
  show(from, to) {
    const most = Math.max((this.whole[1] - this.whole[0]) * 4, 1);
    const length = Math.min(Math.max(to - from, NARROWEST), most);
    const middle = (from + to) / 2;
    const kept = Math.min(Math.max(middle, this.whole[0] - length / 2), this.whole[1] + length / 2);
    this.view = [kept - length / 2, kept + length / 2];
    if (!this.frame) for (const panel of this.panels) panel.seek(); // at once, and not when the next picture is due
    this.draw();
    this.settle();
  }

  /** @param {number} share of what is shown */
  move(share) {
    const by = (this.view[1] - this.view[0]) * share;
    this.show(this.view[0] + by, this.view[1] + by);
  }

  /**
   * @param {number} factor
   * @param {number} [around]
   */
  zoom(factor, around = this.middle) {
    this.show(around - (around - this.view[0]) * factor, around + (this.view[1] - around) * factor);
  }

  typed() {
    const [from, to] = [this.from, this.to].map((one) => seconds(one.value));
    if (from < to) this.show(from, to);
    else this.told.textContent = this.t("Write times as 2003-10-28T11:00, the first before the second");
  }

  /**
   * Say in each panel what is where the pointer is.
   * @param {Panel} panel
   * @param {uPlot | null} u
   */
  pointed(panel, u) {
    const x = u?.cursor.left ?? -1;
    const time = u && x >= 0 ? u.posToVal(x, "x") : null;
    const height = u && time !== null && Number(u.cursor.top) >= 0 ? u.posToVal(Number(u.cursor.top), "y") : null;
    for (const one of u ? [panel] : this.panels) {
      one.readout.textContent = time === null ? "" : `${iso(time)}  ·  ${one.told(time, height)}`;
    }
  }

  /**
   * Choose a moment.
   * @param {number} time
   */
  take(time) {
    this.at = time;
    this.workspace.state.set({ _at: iso(time) }, { replace: true });
    this.draw();
    pictures(this);
  }

  draw() {
    if (this.frame) return;
    this.box.setAttribute("aria-busy", "true"); // until what is shown is all that was asked for
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      // what the page has asked for ahead comes in a moment: drawn once, not twice
      if (!this.drawn && this.tiles.waiting && performance.now() - this.begun < PATIENT) return this.draw();
      this.drawn++;
      for (const panel of this.panels) panel.draw();
      this.meanwhile?.draw();
      queueMicrotask(() => !this.tiles.waiting && this.busy(false)); // plots that are new draw in one before it
    });
  }

  /** When nobody moves any more: the address, the fields, the lines to copy; and nothing is fetched that nobody sees. */
  settle() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      const [from, to] = this.shown;
      this.workspace.state.set({ _from: from, _to: to }, { replace: true });
      // nobody's writing is overwritten
      if (document.activeElement !== this.from) this.from.value = from.slice(0, 19);
      if (document.activeElement !== this.to) this.to.value = to.slice(0, 19);
      this.tiles.only(new Set(this.panels.map((panel) => panel.width)), this.view);
      if (!this.tiles.lacking) this.told.textContent = "";
      for (const panel of this.panels) panel.settle();
      this.draw();
      this.requests?.write();
      this.meanwhile?.follow();
    }, QUIET);
  }

  /** @param {boolean} busy */
  busy(busy) {
    if (busy || this.frame) return this.box.setAttribute("aria-busy", "true");
    this.box.removeAttribute("aria-busy");
    if (!this.tiles.lacking && !performance.getEntriesByName(FIRST).length) performance.mark(FIRST);
    this.quiet();
  }
}

/**
 * Widen a span a little, so that its first and last samples do not stand on the edges.
 * @param {[number, number]} span
 * @returns {[number, number]}
 */
function withMargin([begin, end]) {
  const margin = Math.max((end - begin) * 0.01, NARROWEST);
  return [begin - margin, end + margin];
}

/**
 * Parameters of one unit share a panel.
 * @param {Parameter[]} parameters
 */
function grouped(parameters) {
  /** @type {Map<string, Parameter[]>} */
  const found = new Map();
  for (const one of parameters) {
    const key = one.unit && one.elements === 1 ? one.unit : `\n${one.name}`;
    found.set(key, [...(found.get(key) ?? []), one]);
  }
  return [...found.values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / 3) }, (_, at) => group.slice(3 * at, 3 * at + 3)),
  );
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export async function mount(box, workspace) {
  /** @type {Facts} */
  const facts = JSON.parse(find(box, "script", HTMLScriptElement).textContent ?? "");
  if (facts.start === null || !facts.parameters.length) {
    find(box, ".told").textContent = workspace.t(
      facts.start === null ? "It has no samples." : "It has no numbers that can be drawn.",
    );
    return;
  }
  await new Timeline(box, workspace, facts).begin();
}
