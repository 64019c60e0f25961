// The buttons on the map: views, zoom, picture; the scale bar, the sliders of times and wavelengths, and the options of
// the display.
import { createButton, createElement } from "hven/dom.js";
import { describeStyle, formatLength, LONGITUDE_STYLES } from "./coordinates.js";
import { findTileFrame, formatTime, listTimes, listWavelengths } from "./map_document.js";
import { computeCentreScale } from "./projections.js";
/** @import {LongitudeStyle} from "./coordinates.js" */
/** @import {PlanetMap} from "../planet_map.js" */
/** @import {ViewKind} from "./map_document.js" */

/** @type {ViewKind[]} */
export const VIEW_KINDS = ["flat", "globe", "north", "south"];
const SCALE_PIXELS = 140; // longest scale bar

/** A slider for the times or the wavelengths of the shown layers. */
class DimensionSlider {
  /** @type {string[]} */
  values = [];
  output = createElement("output");
  input = createElement("input", { type: "range", min: "0", step: "1" });
  element = createElement("div", {}, this.input, this.output);

  /**
   * @param {string} label
   * @param {(value: string) => void} handleChoice
   */
  constructor(label, handleChoice) {
    this.input.setAttribute("aria-label", label);
    this.input.addEventListener("input", () => handleChoice(this.values[Number(this.input.value)]));
  }

  /**
   * Show the values; fewer than two need no slider.
   * @param {string[]} values
   * @param {string} value the chosen one
   * @param {string} text
   */
  update(values, value, text) {
    this.values = values;
    this.element.hidden = values.length < 2;
    this.input.max = String(Math.max(values.length - 1, 0));
    this.input.value = String(Math.max(values.indexOf(value), 0));
    this.input.setAttribute("aria-valuetext", text);
    this.output.textContent = text;
  }
}

/** The controls of a map. */
export class MapControls {
  /** @type {Map<ViewKind, HTMLButtonElement>} */
  viewButtons = new Map();
  scaleText = createElement("span");
  scaleBar = createElement("i");

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
    const { t } = planetMap.workspace;
    const titles = { flat: t("Flat"), globe: t("Globe"), north: t("North pole"), south: t("South pole") };
    for (const kind of VIEW_KINDS) {
      if (!findTileFrame(planetMap.mapDocument, kind)) continue;
      this.viewButtons.set(
        kind,
        createButton(titles[kind], () => planetMap.changeView(kind)),
      );
    }
    this.timeSlider = new DimensionSlider(t("Time"), (time) => planetMap.setMoment(time));
    this.wavelengthSlider = new DimensionSlider(t("Wavelength"), (wavelength) => planetMap.setWavelength(wavelength));
    const label = t("Views");
    this.elements = [
      createElement(
        "div",
        { className: "planet-views", role: "group", "aria-label": label },
        ...this.viewButtons.values(),
      ),
      this.createTools(),
      createElement("div", { className: "planet-scale" }, this.scaleText, this.scaleBar),
      createElement("div", { className: "planet-dimensions" }, this.wavelengthSlider.element, this.timeSlider.element),
    ];
    this.options = this.createOptions();
  }

  createTools() {
    const { planetMap } = this;
    const { t } = planetMap.workspace;
    const createTool = (/** @type {string} */ className, /** @type {string} */ title, /** @type {() => void} */ act) =>
      createButton("", act, { title, "aria-label": title, className });
    return createElement(
      "div",
      { className: "planet-tools" },
      createTool("zoom-in", t("Zoom in"), () => planetMap.zoomBy(1.6)),
      createTool("zoom-out", t("Zoom out"), () => planetMap.zoomBy(1 / 1.6)),
      createTool("whole", t("Show the whole body"), () => planetMap.show(planetMap.kind)),
      createTool("full", t("Full screen"), () => this.toggleFullScreen()),
      createTool("save", t("Download the picture"), () => this.savePicture()),
    );
  }

  createOptions() {
    const { planetMap } = this;
    const { t } = planetMap.workspace;
    this.styleSelect = createElement(
      "select",
      { "aria-label": t("Coordinates") },
      ...LONGITUDE_STYLES.map((value) => createElement("option", { value, textContent: describeStyle(value, t) })),
    );
    this.styleSelect.addEventListener("change", () =>
      planetMap.setLongitudeStyle(/** @type {LongitudeStyle} */ (this.styleSelect?.value)),
    );
    const createSwitch = (/** @type {"showsGrid" | "showsNames"} */ field, /** @type {string} */ text) => {
      const input = createElement("input", { type: "checkbox", checked: true });
      input.addEventListener("change", () => {
        planetMap.painter[field] = input.checked;
        planetMap.handleChange();
      });
      return createElement("label", {}, input, text);
    };
    return createElement(
      "section",
      { className: "planet-options" },
      createElement("h2", { textContent: t("Coordinates") }),
      this.styleSelect,
      createSwitch("showsGrid", t("Grid")),
      createSwitch("showsNames", t("Names")),
    );
  }

  /** Show which view and which coordinates are chosen. */
  update() {
    const { kind, longitudeStyle } = this.planetMap;
    for (const [other, button] of this.viewButtons) button.setAttribute("aria-pressed", String(other === kind));
    if (this.styleSelect) this.styleSelect.value = longitudeStyle;
  }

  /** Draw the scale bar: a round length in the middle of the map. */
  updateScale() {
    const { kind, view, workspace } = this.planetMap;
    if (!view) return;
    const scale = computeCentreScale(kind, view.position);
    const longest = scale * SCALE_PIXELS;
    const power = 10 ** Math.floor(Math.log10(longest));
    const length = power * (longest >= 5 * power ? 5 : Math.floor(longest / power));
    this.scaleBar.style.width = `${length / scale}px`;
    // on flat maps lengths to the east and to the north differ away from the equator
    const text = formatLength(length, workspace.language);
    this.scaleText.textContent = kind === "flat" ? workspace.t("{length} at the equator", { length: text }) : text;
  }

  /** Show the times and the wavelengths of the shown layers. */
  updateDimensions() {
    const { drawnLayers, moment, wavelength } = this.planetMap;
    const layers = drawnLayers.map(({ layer }) => layer);
    const [times, wavelengths] = [listTimes(layers), listWavelengths(layers)];
    const shownTimes = drawnLayers.map(({ time }) => time).filter(Boolean);
    const shownTime = times.includes(moment) ? moment : (shownTimes[0] ?? "");
    this.timeSlider.update(times, shownTime, formatTime(shownTime));
    const drawnWavelengths = drawnLayers.map((drawnLayer) => drawnLayer.wavelength).filter(Boolean);
    const shownWavelength = wavelengths.includes(wavelength) ? wavelength : (drawnWavelengths[0] ?? "");
    this.wavelengthSlider.update(wavelengths, shownWavelength, `${shownWavelength} µm`);
  }

  toggleFullScreen() {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.planetMap.container.requestFullscreen?.();
  }

  /** Draw the map with its scale and credits on one canvas. */
  drawPicture() {
    const { drawnLayers, overlay, view, body } = this.planetMap;
    const canvas = createElement("canvas", { width: overlay.width, height: overlay.height });
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const ratio = devicePixelRatio || 1;
    ctx.fillStyle = "#0b0e16";
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    view?.copyPicture(ctx);
    ctx.drawImage(overlay, 0, 0);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [width, height] = [canvas.width / ratio, canvas.height / ratio];
    const credits = [...new Set(drawnLayers.map(({ layer }) => layer.attribution).filter(Boolean))];
    const titles = drawnLayers.map(({ layer }) => layer.title).reverse();
    ctx.font = "12px system-ui, sans-serif";
    ctx.fillStyle = "rgba(8,10,18,.7)";
    ctx.fillRect(0, height - 24, width, 24);
    ctx.fillStyle = "#fff";
    ctx.fillText([body, titles.join(", "), ...credits].join(" · "), 10, height - 8);
    const bar = parseFloat(this.scaleBar.style.width);
    ctx.textAlign = "right";
    ctx.fillText(this.scaleText.textContent ?? "", width - bar - 18, height - 8);
    ctx.fillRect(width - bar - 10, height - 12, bar, 3);
    return canvas;
  }

  savePicture() {
    this.drawPicture().toBlob((blob) => {
      if (!blob) return;
      const href = URL.createObjectURL(blob);
      createElement("a", { href, download: `${this.planetMap.body}.png` }).click();
      URL.revokeObjectURL(href);
    });
  }
}
