// The panel of the layers: those that are shown, with order, opacity and legend, and all others to choose from.
import { createButton, createElement } from "hven/dom.js";
import { formatTime } from "./map_document.js";
/** @import {PlanetMap} from "../planet_map.js" */
/** @import {DrawnLayer, LayerChoice, MapLayer} from "./map_document.js" */

/** The panel. */
export class LayerPanel {
  /** The marks of values on legends, by the ids of layers.
   * @type {Map<string, {mark: HTMLElement, text: HTMLElement}>} */
  marks = new Map();
  shownList = createElement("ol", { className: "planet-shown" });

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
    const { t } = planetMap.workspace;
    const { layers } = planetMap.mapDocument;
    /** @type {Map<string, HTMLInputElement>} */
    this.inputs = new Map();
    const backgrounds = layers.filter(({ kind }) => kind === "background");
    const overlays = layers.filter(({ kind }) => kind === "overlay");
    const groups = [...new Set(overlays.map(({ group }) => group))];
    this.element = createElement(
      "section",
      { className: "planet-layers" },
      createElement("h2", { textContent: t("Shown layers, from top to bottom") }),
      this.shownList,
      createElement("h2", { textContent: t("Background"), hidden: !backgrounds.length }),
      createElement(
        "div",
        { className: "planet-backgrounds", role: "radiogroup", "aria-label": t("Background") },
        ...backgrounds.map((layer) => this.createBackground(layer)),
      ),
      ...groups.map((group) => {
        const items = overlays.filter((layer) => layer.group === group).map((layer) => this.createOverlay(layer));
        const heading = createElement("summary", { textContent: group || t("Layers") });
        return createElement("details", { open: true }, heading, createElement("ul", {}, ...items));
      }),
    );
  }

  /** @param {MapLayer} layer */
  createBackground(layer) {
    const input = createElement("input", { type: "radio", name: "planet-background", value: layer.id });
    input.addEventListener("change", () => this.changeBackground(layer));
    this.inputs.set(layer.id, input);
    const template = Object.values(layer.tiles)[0] ?? "";
    const pictures = [0, 1].map((x) => {
      const src = template.replace("{z}", "0").replace("{y}", "0").replace("{x}", String(x));
      return createElement("img", { src, alt: "", width: 48, height: 48, loading: "lazy" });
    });
    const picture = createElement("span", { className: "planet-small" }, ...pictures);
    return createElement("label", { title: layer.description }, input, picture, layer.title);
  }

  /** @param {MapLayer} layer */
  createOverlay(layer) {
    const input = createElement("input", { type: "checkbox", value: layer.id });
    input.addEventListener("change", () => {
      const remaining = this.planetMap.choices.filter(({ id }) => id !== layer.id);
      this.planetMap.setChoices(input.checked ? [...remaining, { id: layer.id, opacity: 1 }] : remaining);
    });
    this.inputs.set(layer.id, input);
    const sign = createElement("span", { className: "planet-sign" });
    sign.style.background = buildGradient(layer);
    return createElement("li", {}, createElement("label", { title: layer.description }, input, sign, layer.title));
  }

  /**
   * Put another background in the place of the shown one.
   * @param {MapLayer} layer
   */
  changeBackground(layer) {
    const { choices, mapDocument } = this.planetMap;
    const isBackground = (/** @type {LayerChoice} */ { id }) =>
      mapDocument.layers.some((other) => other.id === id && other.kind === "background");
    const opacity = choices.find(isBackground)?.opacity ?? 1;
    const overlays = choices.filter((choice) => !isBackground(choice));
    this.planetMap.setChoices([{ id: layer.id, opacity }, ...overlays]);
  }

  /** Show the choices of the map. */
  update() {
    const { choices, drawnLayers } = this.planetMap;
    for (const [id, input] of this.inputs) input.checked = choices.some((choice) => choice.id === id);
    this.marks.clear();
    const items = drawnLayers.map((drawnLayer, index) => this.createItem(drawnLayer, index));
    const focusedId = document.activeElement?.closest("[data-layer]")?.getAttribute("data-layer");
    const focusedClass = document.activeElement?.className;
    this.shownList.replaceChildren(...items.reverse());
    const item = focusedId && items.find(({ dataset }) => dataset.layer === focusedId);
    const focused =
      item && [...item.querySelectorAll("button, input")].find((element) => element.className === focusedClass);
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  }

  /**
   * @param {DrawnLayer} drawnLayer
   * @param {number} index from the bottom
   */
  createItem({ layer, opacity, time, wavelength }, index) {
    const { choices, workspace } = this.planetMap;
    const { t } = workspace;
    const slider = createElement("input", {
      type: "range",
      min: "0",
      max: "100",
      value: String(Math.round(opacity * 100)),
      className: "opacity",
      "aria-label": t("Opacity of {name}", { name: layer.title }),
    });
    slider.addEventListener("input", () => {
      choices[index].opacity = Number(slider.value) / 100;
      this.planetMap.view?.setLayers(this.planetMap.drawnLayers);
    });
    slider.addEventListener("change", () => this.planetMap.setChoices([...choices], { replace: true }));
    const createMove = (/** @type {string} */ sign, /** @type {number} */ step, /** @type {string} */ label) => {
      const button = createButton(sign, () => this.move(index, step), { "aria-label": label, title: label });
      button.classList.add(step > 0 ? "up" : "down");
      button.disabled = !choices[index + step];
      return button;
    };
    const removeLabel = t("Remove {name}", { name: layer.title });
    const removeButton = createButton(
      "×",
      () => this.planetMap.setChoices(choices.filter(({ id }) => id !== layer.id)),
      { "aria-label": removeLabel, title: removeLabel, className: "quiet remove" },
    );
    const head = createElement(
      "div",
      { className: "planet-item" },
      createElement("b", { textContent: layer.title }),
      createMove("↑", 1, t("Move {name} up", { name: layer.title })),
      createMove("↓", -1, t("Move {name} down", { name: layer.title })),
      removeButton,
    );
    const dimensions = [formatTime(time), wavelength && `${wavelength} µm`].filter(Boolean).join(", ");
    const note = dimensions ? [createElement("small", { className: "soft", textContent: dimensions })] : [];
    const item = createElement("li", {}, head, ...note, ...this.createLegend(layer), slider);
    item.dataset.layer = layer.id;
    return item;
  }

  /**
   * Create the strip of colours with the range, the unit and the mark of the value under the pointer.
   * @param {MapLayer} layer
   */
  createLegend(layer) {
    const picture = layer.legend_url ? [createElement("img", { src: layer.legend_url, alt: "" })] : [];
    if (!layer.range || !layer.colours || !(layer.quantity || layer.unit)) return picture;
    const mark = createElement("i", { hidden: true });
    const text = createElement("b");
    const strip = createElement("div", { className: "planet-strip" }, mark);
    strip.style.background = buildGradient(layer);
    this.marks.set(layer.id, { mark, text });
    const [low, high] = layer.range.map((value) => this.formatNumber(value));
    const heading = layer.unit ? `${layer.quantity} (${layer.unit})` : layer.quantity;
    const middle = createElement("span", {}, `${heading} `, text);
    const ends = [createElement("span", { textContent: low }), middle, createElement("span", { textContent: high })];
    const legendElements = layer.has_own_legend ? picture : [strip];
    return [...legendElements, createElement("div", { className: "planet-ends" }, ...ends)];
  }

  /** @param {number} value */
  formatNumber(value) {
    return value.toLocaleString(this.planetMap.workspace.language, { maximumSignificantDigits: 5 });
  }

  /**
   * @param {MapLayer} layer
   * @param {number | null} value
   */
  formatValue(layer, value) {
    return value === null ? this.planetMap.workspace.t("no data") : `${this.formatNumber(value)} ${layer.unit}`.trim();
  }

  /**
   * Show values on the legends.
   * @param {Map<string, number | null>} values by the ids of layers
   */
  showValues(values) {
    for (const [id, { mark, text }] of this.marks) {
      const layer = this.planetMap.mapDocument.layers.find((other) => other.id === id);
      const value = values.get(id);
      mark.hidden = value === undefined || value === null;
      text.textContent = value === undefined || !layer ? "" : this.formatValue(layer, value);
      if (value === undefined || value === null || !layer?.range) continue;
      const share = (value - layer.range[0]) / (layer.range[1] - layer.range[0]);
      mark.style.left = `${100 * Math.min(Math.max(share, 0), 1)}%`;
    }
  }

  /**
   * Move a layer up or down.
   * @param {number} index
   * @param {number} step
   */
  move(index, step) {
    const choices = [...this.planetMap.choices];
    [choices[index], choices[index + step]] = [choices[index + step], choices[index]];
    this.planetMap.setChoices(choices);
  }
}

/**
 * Build the colours of a layer as a background of CSS.
 * @param {MapLayer} layer
 */
function buildGradient({ colours, range }) {
  if (!colours || !range) return "";
  const [low, high] = range;
  const stops = colours.map(([colour, value]) => `${colour} ${((100 * (value - low)) / (high - low)).toFixed(1)}%`);
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}
