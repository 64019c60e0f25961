// What stands around a cube's image: parts and axes, colours and limits, what the pointer does, and the slider through the slices.
import { button, make } from "./dom.js";
import { TOOLS } from "./picture.js";
import { short, told } from "./scales.js";
import { RAMPS, STRETCHES, table } from "./tints.js";
/** @import {Cube} from "./cube.js" */

/** Share of the values that lie between the limits. */
const SHARES = [1, 0.999, 0.995, 0.98, 0.95, 0.9];
const PACE = 150; // milliseconds a slice, while they play

export class Band {
  ramp = "viridis";
  stretch = "linear";
  turned = false;
  share = 0.995;
  playing = 0;

  /** @param {Cube} cube */
  constructor(cube) {
    const { t } = cube;
    this.cube = cube;
    this.t = t;
    this.axes = make("div", { className: "choices" });
    this.top = make("div", { className: "choices-of-cube" }, this.axes, this.looks());
    this.low = this.end(0, t("Lowest value"));
    this.high = this.end(1, t("Highest value"));
    this.strip = make("canvas", {
      width: 512,
      height: 1,
      className: "strip",
      role: "img",
      "aria-label": t("Colours from low to high"),
    });
    this.unit = make("span", { className: "soft" });
    this.bar = make("div", { className: "colourbar" }, this.low, this.strip, this.high, this.unit);
    this.range = make("input", { type: "range", min: "1", max: "1", step: "1", "aria-label": t("Slice") });
    this.range.addEventListener("input", () => cube.go(Number(this.range.value) - 1));
    this.value = make("output", { className: "stands-for" });
    this.play = button("▶", () => this.run(), { title: t("Play"), "aria-label": t("Play") });
    this.ratio = make("span", { className: "ratio" });
    const step = (/** @type {number} */ by, /** @type {string} */ sign, /** @type {string} */ label) =>
      button(sign, () => cube.go(cube.slice + by), { title: label, "aria-label": label });
    const walk = make(
      "div",
      { className: "walk" },
      step(-1, "‹", t("Slice before")),
      this.range,
      step(1, "›", t("Next slice")),
      this.play,
    );
    this.slider = make("div", { className: "slider" }, walk, make("p", { className: "at" }, this.value, this.ratio));
    this.choose();
  }

  /**
   * @param {string} label
   * @param {[string, string][]} options value and text
   * @param {string} chosen
   * @param {(value: string) => void} act
   */
  chooser(label, options, chosen, act) {
    const select = make(
      "select",
      {},
      ...options.map(([value, text]) => new Option(text, value, false, value === chosen)),
    );
    select.addEventListener("change", () => act(select.value));
    return make("label", {}, `${label} `, select);
  }

  /** Parts, the axis that is gone through, and pixels of other axes: where there is a choice. */
  choose() {
    const { cube, t } = this;
    const { facts, part, workspace } = cube;
    const { state } = workspace;
    const made = [];
    const turn = (/** @type {Record<string, string | string[] | null>} */ changes) => {
      state.set(changes, { replace: true });
      cube.turn();
    };
    if (facts.parts.length > 1) {
      const named = /** @type {[string, string][]} */ (
        facts.parts.map((one) => [
          String(one.index),
          `${one.name || one.index}${one.role === "data" ? "" : ` (${t(one.role)})`}`,
        ])
      );
      made.push(
        this.chooser(t("Part"), named, String(facts.part), (value) =>
          turn({ _part: value, ...(facts.beside.includes(Number(value)) ? {} : { _through: null, _at: null }) }),
        ),
      );
    }
    const free = part.axes.filter(({ number, size }) => size > 1 && !facts.image.includes(number));
    if (free.length > 1) {
      const named = /** @type {[string, string][]} */ (
        free.map((one) => [String(one.number), one.name || one.kind || String(one.number)])
      );
      made.push(
        this.chooser(t("Through"), named, String(facts.through), (value) => turn({ _through: value, _at: null })),
      );
      for (const axis of free) if (axis.number !== facts.through) made.push(this.holder(axis, turn));
    }
    this.axes.replaceChildren(...made);
    this.axes.hidden = !made.length;
    this.range.max = String(facts.depth);
    this.slider.hidden = facts.depth < 2;
  }

  /**
   * @param {import("./facts.js").Axis} axis
   * @param {(changes: Record<string, string[]>) => void} turn
   */
  holder(axis, turn) {
    const { state } = this.cube.workspace;
    const held = state.all("_at");
    const rest = held.filter((one) => !one.startsWith(`${axis.number}:`));
    const now = held.find((one) => !rest.includes(one))?.split(":")[1] ?? "1";
    const values = Array.from({ length: Math.min(axis.size, 1000) }, (_, at) => {
      const value = axis.values?.[at];
      return /** @type {[string, string]} */ ([
        String(at + 1),
        typeof value === "string" && value ? value : String(at + 1),
      ]);
    });
    return this.chooser(axis.name || axis.kind || String(axis.number), values, now, (value) =>
      turn({ _at: [...rest, `${axis.number}:${value}`] }),
    );
  }

  looks() {
    const { cube, t } = this;
    const names = (/** @type {object} */ of) =>
      /** @type {[string, string][]} */ (Object.keys(of).map((name) => [name, t(name)]));
    const paint = () => cube.paint();
    const flip = make("input", { type: "checkbox" });
    flip.addEventListener("change", () => {
      this.turned = flip.checked;
      paint();
    });
    const shares = /** @type {[string, string][]} */ (
      SHARES.map((share) => [String(share), `${cube.workspace.number(Math.round(share * 1000) / 10)} %`])
    );
    const tools = /** @type {[string, string][]} */ (TOOLS.map((tool) => [tool, t(tool)]));
    return make(
      "div",
      { className: "choices" },
      this.chooser(t("Colours"), names(RAMPS), this.ramp, (value) => {
        this.ramp = value;
        paint();
      }),
      make("label", {}, flip, ` ${t("turned")}`),
      this.chooser(t("Stretch"), names(STRETCHES), this.stretch, (value) => {
        this.stretch = value;
        paint();
      }),
      this.chooser(t("Limits"), shares, String(this.share), (value) => {
        this.share = Number(value);
        cube.fixed = null;
        paint();
      }),
      this.chooser(t("Drag"), tools, "box", (value) => {
        cube.picture.close();
        cube.picture.tool = value;
      }),
    );
  }

  /**
   * A field of a limit: what is written there holds for all slices.
   * @param {0 | 1} which
   * @param {string} label
   */
  end(which, label) {
    const field = make("input", {
      type: "text",
      inputMode: "decimal",
      className: "limit",
      "aria-label": label,
      title: label,
    });
    field.addEventListener("change", () => {
      const value = Number(field.value.replace("−", "-").replace(",", "."));
      if (Number.isFinite(value) && field.value.trim()) {
        const ends = /** @type {[number, number]} */ ([...(this.cube.limits ?? [0, 1])]);
        ends[which] = value;
        this.cube.fixed = ends;
      } else this.cube.fixed = null;
      this.cube.paint();
    });
    return field;
  }

  /**
   * @param {[number, number]} ends
   * @param {string} unit
   */
  legend([low, high], unit) {
    [this.low.value, this.high.value] = [short(low, 4), short(high, 4)];
    this.unit.textContent = unit;
    const colours = table(this.ramp, this.stretch, this.turned);
    const row = new Uint32Array(512).map((_, at) => colours[Math.floor((at / 511) * (colours.length - 1))]);
    this.strip.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(row.buffer), 512), 0, 0);
  }

  /** Say which slice is shown. */
  follow() {
    const { cube, t } = this;
    const { axis, axisName, facts, over, slice } = cube;
    this.range.value = String(slice + 1);
    this.range.setAttribute("aria-valuetext", told(axis, slice));
    const count = t("slice {slice} of {count}", { slice: slice + 1, count: facts.depth });
    this.value.replaceChildren(make("b", { textContent: told(axis, slice) }), ` ${axisName}, ${count}`);
    if (facts.depth < 2) return;
    const end = over
      ? [` ÷ ${told(axis, over - 1)} `, button(t("no ratio"), () => cube.divide(null))]
      : [
          button(t("Ratio to this slice"), () => cube.divide(slice + 1), {
            title: t("Divide what is shown next by this slice"),
          }),
        ];
    this.ratio.replaceChildren(...end);
  }

  run() {
    const { cube } = this;
    const stop = () => {
      clearInterval(this.playing);
      this.playing = 0;
      this.play.textContent = "▶";
    };
    if (this.playing) return stop();
    this.play.textContent = "❚❚";
    this.playing = setInterval(() => {
      if (!this.range.isConnected) return stop();
      if (!cube.box.hasAttribute("aria-busy")) cube.go((cube.slice + 1) % cube.facts.depth);
    }, PACE);
  }
}
