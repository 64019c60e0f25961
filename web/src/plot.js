// A plot of the rows that are found: a histogram of one column, points of two (coloured by a third), a density where points would be too many.
import uPlot from "uplot";
import { ramp, viridis } from "./colours.js";
import { button, find, make, table, wrong } from "./dom.js";
import { around, density, drawable, middles, settings, shades, title, told, written } from "./marks.js";
import { ink, scatter, shaded, strip, swatch } from "./strokes.js";
import { counted, dated, numbers, times } from "./ticks.js";
/** @import {Axis, Density, Histogram, Points} from "./answers.js" */
/** @import {Settings, Shades} from "./marks.js" */
/** @import {Workspace} from "./workspace.js" */

const HEIGHT = 320;
const NAMED = 12; // kinds that the legend names
const [ACROSS, UP] = [88, 52]; // pixels between marks
const NEAR = 100; // pixels, squared: what is so close to the pointer is under it
const MANY = 20_000; // points: more are not drawn anew for what is chosen
const LOOKS = { _row: null, _sort: null, _cols: null, _view: null, _map: null };

class Plot {
  /** @type {uPlot | null} */
  plot = null;
  /** @type {string | null} */
  drawn = null;
  waiting = 0; // what takes longer than a moment says so
  /** Keys of the points that are drawn, in the order of the plot.
   * @type {string[]} */
  at = [];
  legend = make("p", { className: "legend soft" });

  /**
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(box, workspace) {
    const { selection, state } = workspace;
    this.box = box;
    this.workspace = workspace;
    this.here = table(box);
    const facts = find(box, "script[type='application/json']").textContent;
    /** @type {{name: string, label: string, unit: string}[]} */
    this.columns = JSON.parse(facts ?? "[]");
    const [x = this.columns[0]?.name ?? "", y = this.columns[1]?.name ?? ""] = box.dataset.first?.split(";") ?? [];
    this.first = { x, y: box.dataset.first === undefined ? y : (box.dataset.first.split(";")[1] ?? "") };
    this.choices = find(box, ".axes");
    this.place = find(box, ".drawn");
    this.told = find(box, ".told");
    this.place.after(this.legend);
    const fit = () => this.plot?.setSize({ width: this.place.clientWidth, height: HEIGHT });
    new ResizeObserver(fit).observe(this.place);
    selection.on("change", () => this.at.length && this.at.length < MANY && this.plot?.redraw(false));
    this.place.addEventListener("click", () => {
      if (selection.hover && box.isConnected) workspace.choose(selection.hover);
    });
    state.on("change", () => this.draw());
  }

  /** What the address says, else what is worth a look at first. */
  get settings() {
    const given = settings(this.workspace.state.get("_plot"));
    return given.x ? given : { ...given, ...this.first };
  }

  /** @param {Partial<Settings>} changes */
  change(changes) {
    this.workspace.state.set({ _plot: written({ ...this.settings, ...changes }) }, { replace: true });
  }

  /**
   * @param {"x" | "y" | "c"} name
   * @param {string} label
   * @param {string} none
   */
  chooser(name, label, none) {
    const chosen = this.settings[name];
    const options = this.columns.map((one) => new Option(title(one), one.name, false, one.name === chosen));
    const select = make("select", {}, ...(none ? [new Option(none, "")] : []), ...options);
    select.addEventListener("change", () => this.change({ [name]: select.value }));
    return make("label", {}, `${label} `, select);
  }

  /**
   * @param {"logX" | "logY"} name
   * @param {string} label
   */
  ticked(name, label) {
    const tick = make("input", { type: "checkbox", checked: this.settings[name] });
    tick.addEventListener("change", () => this.change({ [name]: tick.checked }));
    return make("label", {}, tick, ` ${label}`);
  }

  choose() {
    const { t } = this.workspace;
    this.choices.replaceChildren(
      this.chooser("x", t("Across"), ""),
      this.chooser("y", t("Up"), t("number of rows")),
      ...(this.settings.y ? [this.chooser("c", t("Colour"), t("none"))] : []),
      this.ticked("logX", t("log across")),
      this.ticked("logY", t("log up")),
    );
  }

  async draw() {
    if (!this.box.isConnected) return;
    const { workspace } = this;
    const now = String(workspace.state.with(LOOKS));
    if (now === this.drawn) return;
    this.drawn = now;
    this.choose();
    this.legend.replaceChildren();
    clearTimeout(this.waiting); // of a question that this one overtakes
    if (!this.settings.x) {
      workspace.cancel("plot");
      this.rest();
      this.nothing("");
      this.place.replaceChildren();
      return;
    }
    const mine = setTimeout(() => this.wait(), 150);
    this.waiting = mine;
    try {
      await this.ask(this.settings);
      this.rest();
    } catch (error) {
      this.rest();
      this.drawn = null;
      this.told.replaceChildren(wrong(error), " ", this.again());
    } finally {
      clearTimeout(mine);
    }
  }

  /** @param {Settings} wanted */
  async ask(wanted) {
    const { state } = this.workspace;
    const { x, y, c } = wanted;
    const asked = { _plot: null, _row: null };
    const question = {
      state: state.with(y ? { _x: x, _y: y, _c: c || null, ...asked } : { _x: x, ...asked }),
      pane: "plot",
    };
    if (!y) return this.bars(await this.workspace.ask(`${this.here}/histogram`, question), wanted.logY);
    /** @type {Points} */
    const found = await this.workspace.ask(`${this.here}/points`, question);
    if (found.density) this.cloud(found, found.density);
    else this.points(found, wanted);
  }

  wait() {
    const { t } = this.workspace;
    this.place.setAttribute("aria-busy", "true");
    this.place.classList.add("waiting");
    const cancel = button(t("Cancel"), () => {
      this.workspace.cancel("plot");
      this.rest();
      this.drawn = null;
      this.told.replaceChildren(t("Cancelled"), " ", this.again());
    });
    this.told.replaceChildren(t("Drawing ..."), " ", cancel);
  }

  rest() {
    this.place.removeAttribute("aria-busy");
    this.place.classList.remove("waiting");
  }

  again() {
    return button(this.workspace.t("Try again"), () => this.draw());
  }

  /** @param {string} text */
  nothing(text) {
    this.plot?.destroy();
    this.plot = null;
    this.told.textContent = text;
  }

  /**
   * @param {Axis} facts
   * @param {boolean} [up]
   * @param {boolean} [log]
   * @returns {uPlot.Axis}
   */
  axis(facts, up = false, log = false) {
    /** @type {uPlot.Axis} */
    const drawn = {
      label: title(facts),
      stroke: ink("--soft"),
      grid: { stroke: ink("--line"), width: 1 },
      ticks: { stroke: ink("--line") },
      font: "12px system-ui",
      labelFont: "13px system-ui",
    };
    if (log) return drawn; // its own marks are powers of ten
    const { language } = this.workspace;
    drawn.splits = (u, at, low, high) => {
      const room = at === 0 ? (u.width - 60) / ACROSS : (u.height - 60) / UP;
      return (facts.time ? times : numbers)(low, high, Math.floor(room));
    };
    drawn.values = (_, splits) => (facts.time ? dated(splits) : counted(splits, language));
    if (up) drawn.size = (_, texts) => Math.max(40, 16 + 7 * Math.max(0, ...(texts ?? []).map((one) => one.length)));
    return drawn;
  }

  /**
   * @param {Pick<uPlot.Options, "scales" | "axes" | "series" | "hooks">} options
   * @param {uPlot.AlignedData} data
   */
  make(options, data) {
    const { place } = this;
    this.plot?.destroy();
    place.replaceChildren();
    const size = { width: place.clientWidth || 600, height: HEIGHT };
    const quiet = { legend: { show: false }, cursor: { points: { show: false } } };
    this.plot = new uPlot({ ...size, ...quiet, ...options }, data, place);
    window.hven = { ...window.hven, plot: this.plot };
  }

  /**
   * @param {Histogram} found
   * @param {boolean} log
   */
  bars(found, log) {
    const { t } = this.workspace;
    const { counts, high, low, missing } = found;
    this.at = [];
    if (!counts.length) return this.nothing(t("There is nothing to draw"));
    const accent = ink("--accent");
    const paths = uPlot.paths.bars?.({ size: [1, Infinity], gap: 1 });
    const options = {
      scales: { x: { time: false, range: span(low, high) }, y: log ? logarithmic : { range: fromZero } },
      axes: [this.axis(found), this.axis({ label: t("rows"), unit: "" }, true, log)],
      series: [{}, { stroke: accent, fill: accent, paths, points: { show: false } }],
    };
    this.make(options, [middles(found), log ? counts.map((count) => count || null) : counts]);
    const total = this.workspace.number(counts.reduce((sum, count) => sum + count, 0));
    const lacking = t("{missing} without a value", { missing: this.workspace.number(missing) });
    this.told.textContent = `${t("{total} rows", { total })}${missing ? `, ${lacking}` : ""}`;
  }

  /**
   * @param {Points} found
   * @param {Settings} wanted
   */
  points(found, wanted) {
    const { language, t } = this.workspace;
    const [xs, ys, cs] = found.values;
    const order = drawable(xs, ys, wanted);
    const picked = (/** @type {any[]} */ values) => order.map((number) => values[number]);
    this.at = picked(found.keys);
    if (!order.length) return this.nothing(t("There is nothing to draw"));
    const colours = cs ? shades(picked(cs), found.axes[2], language) : null;
    if (colours) this.explain(title(found.axes[2]), colours);
    const errors = found.axes.slice(0, 2).map(({ error }) => (error ? picked(error.values) : null));
    const size = order.length > 20000 ? 1.5 : order.length > 2000 ? 2.5 : 4;
    const look = { colours: colours?.colours ?? null, errors, size, ...wanted };
    const chosen = (/** @type {number} */ number) => this.workspace.selection.has(this.at[number]);
    const data = [picked(xs), picked(ys)];
    const { logX, logY } = wanted;
    const options = {
      scales: {
        x: { time: false, distr: distribution(logX), range: around(data[0], logX) },
        y: { distr: distribution(logY), range: around(data[1], logY) },
      },
      axes: [this.axis(found.axes[0], false, logX), this.axis(found.axes[1], true, logY)],
      series: [{}, { paths: (/** @type {uPlot} */ u) => scatter(u, look, chosen), points: { show: false } }],
      hooks: { setCursor: [(/** @type {uPlot} */ u) => this.near(u)] },
    };
    this.make(options, /** @type {uPlot.AlignedData} */ (data));
    this.told.textContent = told(order.length, found, { t, number: (value) => this.workspace.number(value) });
  }

  /** @param {uPlot} u */
  near(u) {
    const { selection } = this.workspace;
    const { left, top = 0 } = u.cursor;
    if (left === undefined || left < 0) return selection.set("hover", null);
    let best = -1;
    let least = NEAR;
    for (let number = 0; number < this.at.length; number++) {
      const dx = u.valToPos(u.data[0][number], "x") - left;
      const dy = u.valToPos(/** @type {number} */ (u.data[1][number]), "y") - top;
      if (dx * dx + dy * dy >= least) continue;
      least = dx * dx + dy * dy;
      best = number;
    }
    selection.set("hover", this.at[best] || null);
  }

  /**
   * @param {Points} found
   * @param {Density} cells
   */
  cloud({ axes }, { box, counts }) {
    const { t } = this.workspace;
    const [left, right, low, high] = box;
    const scale = density(counts);
    this.at = [];
    const options = {
      scales: { x: { time: false, range: span(left, right) }, y: { range: span(low, high) } },
      axes: [this.axis(axes[0]), this.axis(axes[1], true)],
      series: [{}, { paths: (/** @type {uPlot} */ u) => shaded(u, box, counts, scale.shade), points: { show: false } }],
    };
    this.make(options, [
      [left, right],
      [low, high],
    ]);
    const most = `${scale.more ? "≥ " : ""}${this.workspace.number(scale.most)}`;
    this.legend.append(`${t("rows")}: 1 `, strip(scale.ramp), ` ${most}`);
    const drawn = counts.flat().reduce((sum, count) => sum + count, 0);
    const rows = this.workspace.number(drawn); // those without one of both values are not drawn
    this.told.textContent = t("{total} rows, as a density: dark few, bright many", { total: rows });
  }

  /**
   * Tell below the plot which colour is which.
   * @param {string} name
   * @param {Shades} shown
   */
  explain(name, { kinds, low, high }) {
    const { t } = this.workspace;
    if (!kinds) return this.legend.append(`${name}: ${low} `, strip(ramp(viridis)), ` ${high}`);
    const first = kinds.slice(0, NAMED).flatMap(([kind, colour]) => [swatch(colour), ` ${kind || t("no value")}  `]);
    const count = this.workspace.number(kinds.length - NAMED);
    this.legend.append(`${name}: `, ...first, ...(kinds.length > NAMED ? [t("and {count} more", { count })] : []));
  }
}

/** @type {uPlot.Scale} */
const logarithmic = { distr: 3 };

/** @type {uPlot.Range.Function} */
const fromZero = (_, __, most) => [0, most * 1.05 || 1];

/**
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
const span = (low, high) => [low, high];

/**
 * @param {boolean} log
 * @returns {uPlot.Scale.Distr}
 */
const distribution = (log) => (log ? 3 : 1);

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  return new Plot(box, workspace).draw();
}
