// The controls of a cube: parts and axes, colours and limits, pointer tools, and the slice slider.
import { createButton, createElement } from "hven/dom.js";
import { DRAWING_TOOLS } from "./cube_image.js";
import { formatNumber, formatSliceValue } from "hven/axis_scale.js";
import { COLOUR_MAPS, STRETCHES, getColourTable } from "hven/colour_maps.js";
/** @import {CubePane} from "../cube.js" */

/** Shares of the values between the limits. */
const LIMIT_SHARES = [1, 0.999, 0.995, 0.98, 0.95, 0.9];
const SLICE_MILLISECONDS = 150; // duration of a slice while playing

/** The controls above and below the image of a cube. */
export class CubeControls {
  colourMap = "viridis";
  stretch = "linear";
  isReversed = false;
  share = 0.995;
  playTimer = 0;

  /** @param {CubePane} cube */
  constructor(cube) {
    const { t } = cube;
    this.cube = cube;
    this.t = t;
    this.axisChoices = createElement("div", { className: "choices" });
    this.choices = createElement("div", { className: "choices-of-cube" }, this.axisChoices, this.createStyleChoices());
    this.lowField = this.createLimitField(0, t("Lowest value"));
    this.highField = this.createLimitField(1, t("Highest value"));
    this.colourBar = createElement("canvas", {
      width: 512,
      height: 1,
      className: "strip",
      role: "img",
      "aria-label": t("Colours from low to high"),
    });
    this.unitLabel = createElement("span", { className: "soft" });
    this.colourBarRow = createElement(
      "div",
      { className: "colourbar" },
      this.lowField,
      this.colourBar,
      this.highField,
      this.unitLabel,
    );
    this.sliceSlider = createElement("input", {
      type: "range",
      min: "1",
      max: "1",
      step: "1",
      "aria-label": t("Slice"),
    });
    this.sliceSlider.addEventListener("input", () => cube.showSlice(Number(this.sliceSlider.value) - 1));
    this.sliceLabel = createElement("output", { className: "stands-for" });
    this.playButton = createButton("▶", () => this.togglePlaying(), { title: t("Play"), "aria-label": t("Play") });
    this.ratioElement = createElement("span", { className: "ratio" });
    const createStepButton = (/** @type {number} */ offset, /** @type {string} */ sign, /** @type {string} */ label) =>
      createButton(sign, () => cube.showSlice(cube.slice + offset), { title: label, "aria-label": label });
    const stepper = createElement(
      "div",
      { className: "walk" },
      createStepButton(-1, "‹", t("Previous slice")),
      this.sliceSlider,
      createStepButton(1, "›", t("Next slice")),
      this.playButton,
    );
    this.sliderElement = createElement(
      "div",
      { className: "slider" },
      stepper,
      createElement("p", { className: "at" }, this.sliceLabel, this.ratioElement),
    );
    this.drawAxisChoices();
  }

  /**
   * @param {string} label
   * @param {[string, string][]} options values and labels
   * @param {string} chosen
   * @param {(value: string) => void} apply
   */
  createSelect(label, options, chosen, apply) {
    const select = createElement(
      "select",
      {},
      ...options.map(([value, text]) => new Option(text, value, false, value === chosen)),
    );
    select.addEventListener("change", () => apply(select.value));
    return createElement("label", {}, `${label} `, select);
  }

  /** Show the choices of part, slice axis and fixed pixels, where there are alternatives. */
  drawAxisChoices() {
    const { cube, t } = this;
    const { facts, part, workspace } = cube;
    const { state } = workspace;
    const selects = [];
    const changeState = (/** @type {Record<string, string | string[] | null>} */ changes) => {
      state.set(changes, { replace: true });
      cube.reload();
    };
    if (facts.parts.length > 1) {
      const partOptions = /** @type {[string, string][]} */ (
        facts.parts.map((cubePart) => [
          String(cubePart.index),
          `${cubePart.name || cubePart.index}${cubePart.role === "data" ? "" : ` (${t(cubePart.role)})`}`,
        ])
      );
      selects.push(
        this.createSelect(t("Part"), partOptions, String(facts.part), (value) =>
          changeState({ _part: value, ...(facts.beside.includes(Number(value)) ? {} : { _through: null, _at: null }) }),
        ),
      );
    }
    const freeAxes = part.axes.filter(({ number, size }) => size > 1 && !facts.image.includes(number));
    if (freeAxes.length > 1) {
      const axisOptions = /** @type {[string, string][]} */ (
        freeAxes.map((axis) => [String(axis.number), axis.name || axis.kind || String(axis.number)])
      );
      selects.push(
        this.createSelect(t("Through"), axisOptions, String(facts.through), (value) =>
          changeState({ _through: value, _at: null }),
        ),
      );
      for (const axis of freeAxes) {
        if (axis.number !== facts.through) selects.push(this.createPixelSelect(axis, changeState));
      }
    }
    this.axisChoices.replaceChildren(...selects);
    this.axisChoices.hidden = !selects.length;
    this.sliceSlider.max = String(facts.depth);
    this.sliderElement.hidden = facts.depth < 2;
  }

  /**
   * Create the choice of the pixel on an axis that is not displayed.
   * @param {import("./cube_facts.js").CubeAxis} axis
   * @param {(changes: Record<string, string[]>) => void} changeState
   */
  createPixelSelect(axis, changeState) {
    const { state } = this.cube.workspace;
    const heldAxes = state.getAll("_at");
    const otherAxes = heldAxes.filter((entry) => !entry.startsWith(`${axis.number}:`));
    const currentPixel = heldAxes.find((entry) => !otherAxes.includes(entry))?.split(":")[1] ?? "1";
    const options = Array.from({ length: Math.min(axis.size, 1000) }, (_, index) => {
      const label = axis.values?.[index];
      return /** @type {[string, string]} */ ([
        String(index + 1),
        typeof label === "string" && label ? label : String(index + 1),
      ]);
    });
    return this.createSelect(axis.name || axis.kind || String(axis.number), options, currentPixel, (value) =>
      changeState({ _at: [...otherAxes, `${axis.number}:${value}`] }),
    );
  }

  createStyleChoices() {
    const { cube, t } = this;
    const listOptions = (/** @type {object} */ record) =>
      /** @type {[string, string][]} */ (Object.keys(record).map((name) => [name, t(name)]));
    const repaint = () => cube.paint();
    const reverseCheckbox = createElement("input", { type: "checkbox" });
    reverseCheckbox.addEventListener("change", () => {
      this.isReversed = reverseCheckbox.checked;
      repaint();
    });
    const shareOptions = /** @type {[string, string][]} */ (
      LIMIT_SHARES.map((share) => [String(share), `${cube.workspace.formatNumber(Math.round(share * 1000) / 10)} %`])
    );
    const toolOptions = /** @type {[string, string][]} */ (DRAWING_TOOLS.map((tool) => [tool, t(tool)]));
    return createElement(
      "div",
      { className: "choices" },
      this.createSelect(t("Colours"), listOptions(COLOUR_MAPS), this.colourMap, (value) => {
        this.colourMap = value;
        repaint();
      }),
      createElement("label", {}, reverseCheckbox, ` ${t("reversed")}`),
      this.createSelect(t("Stretch"), listOptions(STRETCHES), this.stretch, (value) => {
        this.stretch = value;
        repaint();
      }),
      this.createSelect(t("Limits"), shareOptions, String(this.share), (value) => {
        this.share = Number(value);
        cube.fixedLimits = null;
        repaint();
      }),
      this.createSelect(t("Drag"), toolOptions, "box", (value) => {
        cube.picture.finishPolygon();
        cube.picture.tool = value;
      }),
    );
  }

  /**
   * Create the field of a limit; an entered value holds for all slices.
   * @param {0 | 1} limitIndex
   * @param {string} label
   */
  createLimitField(limitIndex, label) {
    const field = createElement("input", {
      type: "text",
      inputMode: "decimal",
      className: "limit",
      "aria-label": label,
      title: label,
    });
    field.addEventListener("change", () => {
      const value = Number(field.value.replace("−", "-").replace(",", "."));
      if (Number.isFinite(value) && field.value.trim()) {
        const limits = /** @type {[number, number]} */ ([...(this.cube.limits ?? [0, 1])]);
        limits[limitIndex] = value;
        this.cube.fixedLimits = limits;
      } else this.cube.fixedLimits = null;
      this.cube.paint();
    });
    return field;
  }

  /**
   * Show the limits and the colour bar.
   * @param {[number, number]} ends
   * @param {string} unit
   */
  drawLegend([low, high], unit) {
    [this.lowField.value, this.highField.value] = [formatNumber(low, 4), formatNumber(high, 4)];
    this.unitLabel.textContent = unit;
    const colours = getColourTable(this.colourMap, this.stretch, this.isReversed);
    const pixels = new Uint32Array(512).map((_, index) => colours[Math.floor((index / 511) * (colours.length - 1))]);
    this.colourBar.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), 512), 0, 0);
  }

  /** Update the controls to the displayed slice. */
  update() {
    const { cube, t } = this;
    const { axis, axisName, facts, divisor, slice } = cube;
    this.sliceSlider.value = String(slice + 1);
    this.sliceSlider.setAttribute("aria-valuetext", formatSliceValue(axis, slice));
    const count = t("slice {slice} of {count}", { slice: slice + 1, count: facts.depth });
    this.sliceLabel.replaceChildren(
      createElement("b", { textContent: formatSliceValue(axis, slice) }),
      ` ${axisName}, ${count}`,
    );
    if (facts.depth < 2) return;
    const ratioControls = divisor
      ? [` ÷ ${formatSliceValue(axis, divisor - 1)} `, createButton(t("no ratio"), () => cube.setDivisor(null))]
      : [
          createButton(t("Ratio to this slice"), () => cube.setDivisor(slice + 1), {
            title: t("Divide the slices that you show next by this slice"),
          }),
        ];
    this.ratioElement.replaceChildren(...ratioControls);
  }

  /** Start or stop playing the slices. */
  togglePlaying() {
    const { cube } = this;
    const stopPlaying = () => {
      clearInterval(this.playTimer);
      this.playTimer = 0;
      this.playButton.textContent = "▶";
    };
    if (this.playTimer) return stopPlaying();
    this.playButton.textContent = "❚❚";
    this.playTimer = setInterval(() => {
      if (!this.sliceSlider.isConnected) return stopPlaying();
      if (!cube.container.hasAttribute("aria-busy")) cube.showSlice((cube.slice + 1) % cube.facts.depth);
    }, SLICE_MILLISECONDS);
  }
}

/**
 * Create the zoom buttons of the image.
 * @param {CubePane} cube
 */
export function createZoomButtons(cube) {
  const { t } = cube;
  const createZoomButton = (
    /** @type {string} */ symbol,
    /** @type {string} */ label,
    /** @type {() => void} */ handleClick,
  ) => createButton(symbol, handleClick, { title: label, "aria-label": label });
  return createElement(
    "div",
    { className: "zooms" },
    createZoomButton("+", t("Nearer"), () => cube.picture.zoomBy(1.5)),
    createZoomButton("−", t("Farther"), () => cube.picture.zoomBy(1 / 1.5)),
    createZoomButton("□", t("All of it"), () => cube.picture.fitToCanvas()),
  );
}
