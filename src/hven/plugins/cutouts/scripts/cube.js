// A data cube: slices as images with a slider, spectra of pixels and regions, ratios of slices, positions, Python code.
import { requireElement, createElement, describeError } from "hven/dom.js";
import { describeSliceAxis, findBrightestPixel, findPart, buildCubeQuery, buildSliceScale } from "./cube/cube_facts.js";
import { parseNpy } from "hven/npy.js";
import { CubeImage } from "./cube/cube_image.js";
import { interpolatePosition, formatPosition } from "./cube/pixel_positions.js";
import { readHeldPixels, writePython } from "./cube/python_code.js";
import { formatUnit, formatNumber, formatSliceValue } from "hven/axis_scale.js";
import { SpectrumPlot } from "./cube/spectrum_plot.js";
import { addCopyButton } from "hven/copy_button.js";
import { createZoomButtons, CubeControls } from "./cube/cube_controls.js";
import { computeLimits, getColourTable } from "hven/colour_maps.js";
import { RequestError } from "hven/workspace.js";
/** @import {CubeFacts, CubeSpectra} from "./cube/cube_facts.js" */
/** @import {ImageRegion, ImageTile} from "./cube/cube_image.js" */
/** @import {Workspace} from "hven/workspace.js" */

const MAX_TILES = 32;

/** The pane of a data cube. */
export class CubePane {
  /** @type {Map<string, ImageTile>} */
  tileCache = new Map();
  slice = 0; // from 0
  /** @type {number | null} */
  divisor = null;
  /** @type {CubeSpectra | null} */
  spectra = null;
  /** Limits that hold for all slices.
   * @type {[number, number] | null} */
  fixedLimits = null;
  sliceRequest = new AbortController();
  drawNumber = 0;

  /** @type {ImageTile[]} */
  tiles = [];
  /** @type {[number, number]} */
  limits = [0, 1];
  closerTimer = 0;

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   * @param {CubeFacts} facts
   */
  constructor(container, workspace, facts) {
    const { t } = workspace;
    this.container = container;
    this.workspace = workspace;
    this.t = t;
    this.url = container.dataset.url ?? "";
    this.message = requireElement(container, ".told");
    this.facts = facts;
    this.part = findPart(facts);
    this.axis = buildSliceScale(facts);
    this.axisName = describeSliceAxis(facts, this.axis, t);
    this.canvas = createElement("canvas", {
      className: "slice",
      role: "img",
      "aria-label": t("Image of a slice: arrow keys move over it, Enter shows the spectrum"),
    });
    this.picture = new CubeImage(this.canvas);
    this.readout = createElement("p", { className: "readout", "aria-live": "off" });
    const plot = createElement("div", { className: "spectrum" });
    this.spectrum = new SpectrumPlot(plot, workspace, (slice) => this.showSlice(slice));
    this.spectrumHeading = createElement("p", { className: "of", "aria-live": "polite" });
    this.codeElement = createElement("code");
    this.controls = new CubeControls(this);
    this.build(plot);
    this.listen();
    window.hven = { ...window.hven, cube: this };
  }

  async begin() {
    const { state } = this.workspace;
    const { depth, width, height } = this.facts;
    this.slice = Math.min(Math.max(Number(state.get("_slice")) || Math.ceil(depth / 2), 1), depth) - 1;
    this.divisor = Number(state.get("_over")) || null;
    this.picture.setSize(width, height);
    await this.draw();
    const [pixel, isRegion] = [state.get("_pixel"), state.get("_region")];
    if (isRegion) {
      const [kind, ...numbers] = isRegion.split(" ");
      this.picture.setRegion({ kind: /** @type {ImageRegion["kind"]} */ (kind), numbers: numbers.map(Number) });
    } else {
      const [x, y] = pixel ? pixel.split(",").map(Number) : findBrightestPixel(this.tiles);
      this.picture.choosePixel(x - 1, y - 1);
    }
  }

  /** The parameters of requests: part, slice axis and fixed pixels. */
  get query() {
    return buildCubeQuery(this.workspace);
  }

  async fetchFacts() {
    const facts = await this.workspace.fetchJson(this.url, { state: this.query, pane: "cube" });
    this.facts = facts;
    this.part = findPart(facts);
    this.axis = buildSliceScale(facts);
    this.axisName = describeSliceAxis(facts, this.axis, this.t);
  }

  /**
   * Build the elements of the pane.
   * @param {HTMLElement} plot
   */
  build(plot) {
    const { controls, t } = this;
    const example = createElement("div", { className: "example" }, createElement("pre", {}, this.codeElement));
    const title = createElement("summary", { textContent: t("Copy as Python") });
    addCopyButton(example, this.workspace);
    const frame = createElement("div", { className: "frame" }, this.canvas, createZoomButtons(this));
    const left = createElement(
      "div",
      { className: "looked-at" },
      controls.choices,
      frame,
      controls.colourBarRow,
      this.readout,
      controls.sliderElement,
    );
    const script = createElement("details", { className: "script" }, title, example);
    const right = createElement(
      "div",
      { className: "told-of" },
      this.spectrumHeading,
      plot,
      this.spectrum.evenLabel,
      this.spectrum.readout,
      script,
    );
    this.container.append(createElement("div", { className: "halves" }, left, right));
  }

  listen() {
    const { picture, readout } = this;
    picture.on("over", ({ x, y }) => {
      const positionText = formatPosition(interpolatePosition(this.facts.places, x + 1, y + 1), this.facts.places);
      const unit = this.divisor ? "" : formatUnit(this.part.unit);
      readout.textContent = [`${x + 1}, ${y + 1}`, positionText, `${formatNumber(picture.getValue(x, y))} ${unit}`]
        .filter(Boolean)
        .join("  ·  ");
    });
    const hint = this.t("Click: spectrum · drag: mean of a region · Shift and drag: move · wheel: zoom");
    readout.textContent = hint;
    picture.on("out", () => (readout.textContent = hint));
    picture.on("pixel", ({ x, y }) => {
      this.workspace.state.set({ _pixel: `${x + 1},${y + 1}`, _region: null }, { replace: true });
      this.fetchSpectra({ spectrum: `${x + 1} ${y + 1}` });
    });
    picture.on("region", ({ region: isRegion }) => {
      const text = `${isRegion.kind} ${isRegion.numbers.join(" ")}`;
      this.workspace.state.set({ _region: text, _pixel: null }, { replace: true });
      this.fetchSpectra({ mean: text });
    });
    picture.on("view", () => this.scheduleCloserTile());
  }

  /**
   * Fetch the spectra of a pixel or a region.
   * @param {Record<string, string>} parameters
   */
  async fetchSpectra(parameters) {
    const state = this.query;
    for (const [name, value] of Object.entries(parameters)) state.set(name, value);
    clearTimeout(this.readingTimer); // a replaced request never settles
    this.readingTimer = setTimeout(() => (this.spectrumHeading.textContent = this.t("Reading ...")), 250);
    try {
      this.spectra = await this.workspace.fetchJson(this.url, { state, pane: "spectrum" });
      this.showSpectra();
    } catch (error) {
      this.spectrumHeading.textContent = describeError(error);
    } finally {
      clearTimeout(this.readingTimer);
    }
  }

  showSpectra() {
    const { spectra, t } = this;
    if (!spectra) return;
    const mainSpectrum = spectra.parts[0];
    const findBeside = (/** @type {string} */ role) =>
      spectra.parts.find((spectrum, index) => index > 0 && spectrum.role === role);
    const error = findBeside("error");
    const isVariance = error && /stat|var/i.test(error.name);
    const ownErrors = error?.values.map((value) => (value === null || !isVariance ? value : Math.sqrt(value))) ?? null;
    const isRegion = spectra.pixels !== undefined;
    const positionText = spectra.place ? formatPosition(spectra.place, this.facts.places) : "";
    const title = isRegion
      ? t("Mean of {count} pixels, with the scatter of their values", {
          count: this.workspace.formatNumber(spectra.pixels ?? 0),
        })
      : [t("Pixel {x}, {y}", { x: spectra.x, y: spectra.y }), positionText].filter(Boolean).join("  ·  ");
    this.spectrumHeading.replaceChildren(
      createElement("b", { textContent: title }),
      ...this.createOtherValues(spectra),
    );
    const line = {
      values: mainSpectrum.values,
      errors: isRegion ? (mainSpectrum.deviation ?? null) : ownErrors,
      flags: findBeside("flag")?.values ?? null,
      unit: formatUnit(mainSpectrum.unit),
      label: mainSpectrum.name && mainSpectrum.name !== "PRIMARY" ? mainSpectrum.name : t("value"),
    };
    this.spectrum.slice = this.slice;
    this.spectrum.show(line, this.axis, this.axisName);
    this.updateCode();
  }

  /**
   * Create the list of other parts with their values in the displayed slice.
   * @param {CubeSpectra} spectra
   */
  createOtherValues(spectra) {
    const texts = spectra.parts.map(
      (spectrum) => `${spectrum.name || spectrum.index} ${formatNumber(spectrum.values[this.slice])}`,
    );
    return spectra.parts.length > 1
      ? [createElement("small", { className: "soft", textContent: texts.join("  ·  ") })]
      : [];
  }

  /**
   * Show a slice.
   * @param {number} slice from 0
   */
  showSlice(slice) {
    if (slice === this.slice || slice < 0 || slice >= this.facts.depth) return;
    this.slice = slice;
    this.workspace.state.set({ _slice: String(slice + 1) }, { replace: true });
    this.draw();
  }

  /**
   * Divide the displayed slice by another one; null ends this.
   * @param {number | null} divisor from 1
   */
  setDivisor(divisor) {
    this.divisor = divisor;
    this.workspace.state.set({ _over: divisor ? String(divisor) : null }, { replace: true });
    this.draw();
  }

  /** Load another part, axis or fixed pixel and keep the view. */
  async reload() {
    const { depth } = this.facts;
    try {
      await this.fetchFacts();
    } catch (error) {
      this.message.textContent = describeError(error);
      return;
    }
    if (this.facts.depth !== depth) this.slice = Math.floor(this.facts.depth / 2);
    if (this.facts.depth !== depth) this.divisor = null;
    this.fixedLimits = null;
    this.picture.setSize(this.facts.width, this.facts.height);
    this.controls.drawAxisChoices();
    await this.draw();
    const { chosenPixel: chosen, region: isRegion } = this.picture;
    if (isRegion) this.picture.setRegion(isRegion);
    else if (chosen) this.picture.choosePixel(...chosen);
  }

  /** Fetch and draw the displayed slice, and preload the next one. */
  async draw() {
    this.controls.update();
    this.spectrum.markSlice(this.slice);
    const query = this.buildSliceQuery(this.slice);
    const drawNumber = ++this.drawNumber;
    this.container.setAttribute("aria-busy", "true"); // until the last requested slice is displayed
    try {
      const tile = await this.fetchTile(query, this.replaceRequest(query));
      if (this.buildSliceQuery(this.slice) !== query) return;
      this.message.textContent = "";
      this.tiles = [tile];
      this.paint();
      this.scheduleCloserTile();
      if (this.spectra && this.spectra.parts.length > 1)
        this.spectrumHeading.querySelector("small")?.replaceWith(...this.createOtherValues(this.spectra));
      this.updateCode();
      if (this.slice + 1 < this.facts.depth) this.fetchTile(this.buildSliceQuery(this.slice + 1)).catch(() => {});
    } catch (/** @type {any} */ error) {
      if (error.name !== "AbortError") this.message.textContent = describeError(error);
    } finally {
      if (drawNumber === this.drawNumber) this.container.removeAttribute("aria-busy");
    }
  }

  /**
   * Abort the previous slice request, unless the slice is cached.
   * @param {string} query
   */
  replaceRequest(query) {
    if (this.tileCache.has(query)) return undefined;
    this.sliceRequest.abort();
    this.sliceRequest = new AbortController();
    return this.sliceRequest.signal;
  }

  /**
   * Build the query of a slice.
   * @param {number} slice from 0
   */
  buildSliceQuery(slice) {
    const query = this.query;
    query.set("slice", String(slice + 1));
    if (this.divisor) query.set("over", String(this.divisor));
    return String(query);
  }

  /**
   * Fetch the pixels of a slice, unless they are cached.
   * @param {string} query
   * @param {AbortSignal} [signal]
   * @param {[number, number]} [corner]
   * @returns {Promise<ImageTile>}
   */
  async fetchTile(query, signal, corner = [0, 0]) {
    const cachedTile = this.tileCache.get(query);
    if (cachedTile) return cachedTile;
    const response = await fetch(`${this.url}?${query}`, { signal, credentials: "same-origin" });
    if (!response.ok) throw new RequestError(response.status, await response.json().catch(() => null));
    const { width, values } = parseNpy(await response.arrayBuffer());
    const [x, y] = corner;
    const step =
      corner === undefined || query.includes("window=")
        ? 1
        : Math.max(1, Math.ceil(Math.max(this.facts.width, this.facts.height) / 2048));
    const tile = { values, width, x, y, step };
    this.tileCache.set(query, tile);
    if (this.tileCache.size > MAX_TILES)
      this.tileCache.delete(/** @type {string} */ (this.tileCache.keys().next().value));
    return tile;
  }

  /** If the image was reduced, fetch the full pixels of a closer view. */
  scheduleCloserTile() {
    if (!this.tiles.length || this.tiles[0].step === 1) return;
    clearTimeout(this.closerTimer);
    this.closerTimer = setTimeout(async () => {
      const [left, right, low, high] = this.picture.bounds.map(Math.round);
      if (right - left > 2048 || high - low > 2048 || right <= left || high <= low) return;
      const sliceQuery = this.buildSliceQuery(this.slice);
      const window = `window=${left + 1}+${right}+${low + 1}+${high}`;
      const tile = await this.fetchTile(`${sliceQuery}&${window}`, undefined, [left, low]);
      if (sliceQuery !== this.buildSliceQuery(this.slice)) return;
      this.tiles = [this.tiles[0], tile];
      this.paint();
    }, 200);
  }

  paint() {
    if (!this.tiles.length) return;
    const { colourMap, stretch, isReversed, share } = this.controls;
    const limits = this.fixedLimits ?? computeLimits(this.tiles[0].values, share);
    this.limits = limits;
    this.picture.showTiles(this.tiles, getColourTable(colourMap, stretch, isReversed), limits);
    this.controls.drawLegend(limits, this.divisor ? "" : formatUnit(this.part.unit));
  }

  updateCode() {
    const { facts, container, picture } = this;
    const resolveUrl = (/** @type {string | undefined} */ url) => new URL(url ?? "", location.href).href;
    this.codeElement.textContent = writePython({
      file: resolveUrl(container.dataset.file),
      data: resolveUrl(this.url),
      medium: facts.medium,
      part: facts.part,
      sizes: this.part.axes.map((axis) => axis.size),
      image: facts.image,
      through: facts.through,
      heldPixels: readHeldPixels(this.query),
      slice: this.slice + 1,
      sliceName: `${this.axisName} ${formatSliceValue(this.axis, this.slice)}`,
      divisor: this.divisor,
      pixel: picture.chosenPixel ? [picture.chosenPixel[0] + 1, picture.chosenPixel[1] + 1] : null,
      region: picture.region,
      query: String(this.query),
    });
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export async function mount(container, workspace) {
  const facts = await workspace.fetchJson(container.dataset.url ?? "", {
    state: buildCubeQuery(workspace),
    pane: "cube",
  });
  await new CubePane(container, workspace, facts).begin();
}
