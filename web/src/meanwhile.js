// What else there is of the times that a page of time series shows: a line for each table, with when its rows begin, on the same axis of time.
import { button, make, wrong } from "./dom.js";
import { shapes } from "./features.js";
import { ink } from "./strokes.js";
/** @import {Shape} from "./features.js" */
/** @import {Timeline} from "./timeline.js" */

/** @typedef {{key: string, title: string, service: string, status: string, rows: number | null, message: string, url: string, features?: string, low?: number, high?: number, counts?: number[], drawn?: number}} Line */

const HIGH = 22; // pixels of a line
const MOST = 3000; // rows whose features are drawn

export class Meanwhile {
  /** @type {{line: Line, canvas: HTMLCanvasElement}[]} */
  shown = [];
  asked = "";
  /** Tables whose features are drawn, and tables whose are not, as somebody has said.
   * @type {Map<string, boolean>} */
  wanted = new Map();
  /** What is drawn over spectra, by table.
   * @type {Map<string, Shape[]>} */
  features = new Map();

  /** @param {Timeline} timeline */
  constructor(timeline) {
    const { t } = timeline;
    this.timeline = timeline;
    this.list = make("div", { className: "lines", "aria-live": "polite" });
    this.far = make("div", { className: "lines" });
    this.elsewhere = (timeline.box.dataset.elsewhere ?? "").split(" ").filter(Boolean);
    this.more = button(t("Ask other services, too"), () => this.others());
    this.more.hidden = !this.elsewhere.length;
    this.element = make(
      "details",
      { className: "meanwhile", open: timeline.workspace.state.get("_else") !== "0" },
      make("summary", { textContent: t("What else is there of this time?") }),
      this.list,
      this.far,
      this.more,
    );
    this.element.addEventListener("toggle", () => {
      if (!timeline.drawn) return; // it is open from the beginning on
      timeline.workspace.state.set({ _else: this.element.open ? null : "0" }, { replace: true });
      if (this.element.open) this.follow();
    });
  }

  /** The times that are shown have changed, and nobody moves. */
  follow() {
    const asked = this.timeline.shown.join();
    if (!this.element.open || asked === this.asked) return this.draw();
    this.asked = asked;
    for (const key of this.elsewhere) this.timeline.workspace.cancel(`far ${key}`);
    this.far.replaceChildren();
    this.ask();
  }

  /** Of what the times are that are asked for. */
  get question() {
    const { box, shown } = this.timeline;
    return new URLSearchParams({ _from: shown[0], _to: shown[1], _but: box.dataset.table ?? "" });
  }

  async ask() {
    const { t, workspace } = this.timeline;
    this.element.setAttribute("aria-busy", "true");
    try {
      const { lines } = await workspace.ask("/meanwhile", { state: this.question, pane: "meanwhile" });
      this.shown = [];
      this.features.clear();
      this.list.replaceChildren(...lines.map((/** @type {Line} */ one) => this.line(one)));
      if (!lines.length) this.list.append(make("p", { className: "soft", textContent: t("Nothing else.") }));
      this.draw();
    } catch (error) {
      this.list.textContent = wrong(error);
    } finally {
      this.element.removeAttribute("aria-busy");
    }
  }

  /** Ask each service elsewhere by itself: a slow one keeps nobody waiting, and what it lacks is told in its line. */
  others() {
    const { workspace } = this.timeline;
    const places = this.elsewhere.map((key) => {
      const place = make("div", { className: "line" }, make("p", { className: "soft", textContent: `${key} …` }));
      const state = this.question;
      state.set("_elsewhere", key);
      workspace.ask("/meanwhile", { state, pane: `far ${key}` }).then(
        ({ lines: [line] }) => {
          place.replaceWith(this.line(line));
          this.draw();
        },
        (error) => (place.textContent = `${key}: ${wrong(error)}`),
      );
      return place;
    });
    this.far.replaceChildren(...places);
  }

  /** @param {Line} line */
  line(line) {
    const { t, workspace } = this.timeline;
    const rows = workspace.number(line.rows ?? 0);
    const some = line.drawn && line.drawn < (line.rows ?? 0) ? workspace.number(line.drawn) : "";
    const counted = some ? t("{rows}, of which {some} are drawn", { rows, some }) : rows;
    const text = line.status === "ok" ? counted : line.message || t(line.status);
    const name = line.url
      ? make("a", { href: line.url, textContent: line.title })
      : make("span", { textContent: line.title });
    const canvas = make("canvas", {
      height: HIGH,
      role: "img",
      "aria-label": t("When the rows of {name} begin", { name: line.title }),
    });
    if (line.counts) this.shown.push({ line, canvas });
    const over = this.timeline.facts.parameters.some((one) => one.spectrum);
    const more = over && line.features && (line.rows ?? 0) <= MOST ? [" ", this.drawing(line)] : [];
    return make(
      "div",
      { className: "line" },
      make("p", {}, name, " ", make("small", { className: "soft", textContent: text }), ...more),
      canvas,
    );
  }

  /**
   * A field that draws the features of a table over the spectra; those of the same collection are drawn by themselves.
   * @param {Line} line
   */
  drawing(line) {
    const { box, t } = this.timeline;
    const own = line.key.split(".")[0] === box.dataset.table?.split(".")[0];
    const checked = this.wanted.get(line.key) ?? own;
    const tick = make("input", { type: "checkbox", checked });
    const said = make("span");
    const draw = async () => {
      this.features.delete(line.key);
      said.textContent = ` ${t("drawn over the spectrum")}`;
      if (tick.checked) {
        try {
          const told = await this.timeline.workspace.ask(line.features ?? "", { state: null });
          this.features.set(line.key, shapes(told) ?? []);
        } catch (error) {
          said.textContent = ` ${wrong(error)}`;
        }
      }
      this.timeline.draw();
    };
    tick.addEventListener("change", () => {
      this.wanted.set(line.key, tick.checked);
      draw();
    });
    draw();
    return make("label", { className: "soft" }, tick, said);
  }

  /** Draw the bars where the times of the panels are. */
  draw() {
    const [from, to] = this.timeline.view;
    for (const { line, canvas } of this.shown) {
      const { counts = [], low = 0, high = 0 } = line;
      const wide = Math.round(canvas.clientWidth * devicePixelRatio);
      const tall = Math.round(HIGH * devicePixelRatio);
      if (canvas.width !== wide) [canvas.width, canvas.height] = [wide, tall];
      const ctx = canvas.getContext("2d");
      if (!ctx) continue;
      ctx.clearRect(0, 0, wide, tall);
      ctx.fillStyle = ink("--accent");
      const most = Math.max(...counts);
      const x = (/** @type {number} */ time) => ((time - from) / (to - from)) * wide;
      const step = (high - low) / counts.length;
      counts.forEach((count, at) => {
        if (!count) return;
        const begin = x(low + at * step);
        const size = Math.max(tall * Math.sqrt(count / most), 2);
        ctx.fillRect(begin, tall - size, Math.max(x(low + (at + 1) * step) - begin, 2), size);
      });
    }
  }
}
