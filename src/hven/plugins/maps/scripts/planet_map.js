// The map of a planet or moon: layers of tiles, flat, from above the poles or as a globe. A canvas above them shows the
// grid, names, rows of tables and measured lines. The address has the whole state.
import { createElement, requireElement } from "hven/dom.js";
import { LONGITUDE_STYLES } from "./planet/coordinates.js";
import { GlobeView } from "./planet/globe_view.js";
import { LayerPanel } from "./planet/layer_panel.js";
import {
  chooseFirstLayers,
  chooseLayerTime,
  chooseLayerWavelength,
  findTileFrame,
  readLayerChoices,
  writeLayerChoices,
} from "./planet/map_document.js";
import { MapControls, VIEW_KINDS } from "./planet/map_controls.js";
import { MeasureTool } from "./planet/measure_tool.js";
import { OverlayPainter } from "./planet/overlay_painter.js";
import { PlaceSearch } from "./planet/place_search.js";
import { PlaneView } from "./planet/plane_view.js";
import { MapGestures } from "./planet/map_gestures.js";
import { findWholePosition } from "./planet/projections.js";
import { RowCatalogues } from "./planet/row_catalogues.js";
import { ValueReader } from "./planet/value_reader.js";
/** @import {LongitudeStyle} from "./planet/coordinates.js" */
/** @import {DrawnLayer, LayerChoice, MapDocument, ViewKind} from "./planet/map_document.js" */
/** @import {PlaceName} from "./planet/place_search.js" */
/** @import {MapPosition} from "./planet/projections.js" */
/** @import {Workspace} from "hven/workspace.js" */

const ADDRESS_DELAY_MILLISECONDS = 300; // after a move of the map

/** The pane. */
export class PlanetMap {
  /** @type {ViewKind} */
  kind = "flat";
  /** The shown layers, the first one at the bottom.
   * @type {LayerChoice[]} */
  choices = [];
  /** @type {LongitudeStyle} */
  longitudeStyle = "east360";
  moment = ""; // of layers with times; empty: their default
  wavelength = ""; // of layers with wavelengths, in micrometres; empty: their default
  /** @type {PlaceName[]} */
  names = [];
  timer = 0;
  restPosition = "";

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { t } = workspace;
    this.container = container;
    this.workspace = workspace;
    this.body = container.dataset.body ?? "";
    const script = requireElement(container, "script", HTMLScriptElement);
    /** @type {MapDocument} */
    this.mapDocument = JSON.parse(script.textContent ?? "");
    this.radius = this.mapDocument.radii_m.sphere;
    this.tiles = createElement("div", {
      className: "planet-tiles",
      tabIndex: 0,
      role: "application",
      "aria-label": t("Map: arrow keys move it, + and - zoom, 0 shows all, Enter reads the middle"),
    });
    this.overlay = createElement("canvas", { className: "planet-overlay" });
    this.viewElement = createElement("div", { className: "planet-view" }, this.tiles, this.overlay);
    this.side = createElement("div", { className: "planet-side" });
    container.replaceChildren(script, this.viewElement, this.side);
    this.painter = new OverlayPainter(this);
    this.values = new ValueReader(this);
    this.measure = new MeasureTool(this);
    this.catalogues = new RowCatalogues(this);
    this.search = new PlaceSearch(this);
    this.layerPanel = new LayerPanel(this);
    this.controls = new MapControls(this);
    this.viewElement.append(...this.controls.elements, this.values.readout);
    this.side.append(
      this.search.element,
      this.catalogues.pickList,
      this.layerPanel.element,
      this.catalogues.element,
      this.measure.element,
      this.controls.options,
    );
    this.restore();
    this.gestures = new MapGestures(this);
    new ResizeObserver(() => this.handleResize()).observe(this.viewElement);
    workspace.state.on("change", ({ changed }) => {
      if (!changed) this.restore();
    });
    window.hven = { ...window.hven, planet: this };
  }

  /** The layers as views draw them. @returns {DrawnLayer[]} */
  get drawnLayers() {
    return this.choices.flatMap(({ id, opacity }) => {
      const layer = this.mapDocument.layers.find((other) => other.id === id);
      if (!layer) return [];
      const time = chooseLayerTime(layer, this.moment);
      return [{ layer, opacity, time, wavelength: chooseLayerWavelength(layer, this.wavelength) }];
    });
  }

  /** Take the state from the address. */
  restore() {
    const { state } = this.workspace;
    const kind = /** @type {ViewKind} */ (state.get("_view"));
    const style = /** @type {LongitudeStyle} */ (state.get("_lon"));
    this.longitudeStyle = LONGITUDE_STYLES.includes(style) ? style : LONGITUDE_STYLES[0];
    this.moment = state.get("_time") ?? "";
    this.wavelength = state.get("_wavelength") ?? "";
    const choices = readLayerChoices(state.get("_layers") ?? "", this.mapDocument);
    this.choices = choices.length ? choices : chooseFirstLayers(this.mapDocument);
    this.measure.restore(state.get("_measure") ?? "");
    const numbers = (state.get("_at") ?? "").split(",").map(Number);
    const isPosition = numbers.length === 3 && numbers.every(Number.isFinite) && numbers[2] > 0;
    const [lon, lat, scale] = numbers;
    this.show(VIEW_KINDS.includes(kind) ? kind : "flat", isPosition ? { lon, lat, scale } : null);
    this.catalogues.restore(state.get("_catalogues") ?? "");
    this.updateLayers();
    this.restPosition = this.writePosition(); // a position that the reader did not choose is not in the address
  }

  /** Write the position for the address. */
  writePosition() {
    const { lon, lat, scale } = this.view?.position ?? { lon: 0, lat: 0, scale: 1 };
    return `${Number(lon.toFixed(4))},${Number(lat.toFixed(4))},${Number(scale.toPrecision(5))}`;
  }

  /**
   * Show a view at a position, or all that it can show.
   * @param {ViewKind} kind
   * @param {MapPosition | null} [position]
   */
  show(kind, position = null) {
    const tileFrame = findTileFrame(this.mapDocument, kind);
    if (!tileFrame) return;
    if (this.kind !== kind || !this.view) {
      this.view?.close();
      this.view = undefined; // a first picture may be drawn before there is a view
      this.kind = kind;
      const handleChange = () => this.handleChange();
      this.view =
        kind === "globe"
          ? new GlobeView(this.tiles, this.mapDocument, tileFrame, handleChange)
          : new PlaneView(this.tiles, this.mapDocument, tileFrame, kind, handleChange);
      this.view.setLayers(this.drawnLayers);
    }
    this.view.moveTo(position ?? findWholePosition(kind, this.radius, this.view.size, kind === "globe" ? 0 : 180));
    this.controls.update();
    this.handleChange();
  }

  /**
   * Change the view and keep the place, as far as the other view can show it.
   * @param {ViewKind} kind
   */
  changeView(kind) {
    if (!this.view || kind === this.kind) return;
    const { lon, lat, scale } = this.view.position;
    const wholePosition = findWholePosition(kind, this.radius, this.view.size, lon);
    const isInView = kind === "flat" || kind === "globe" || (kind === "north" ? lat > 60 : lat < -60);
    const isWhole = scale >= findWholePosition(this.kind, this.radius, this.view.size).scale * 0.98;
    this.show(kind, isInView && !isWhole ? { lon, lat, scale: Math.min(scale, wholePosition.scale) } : wholePosition);
  }

  /**
   * Go to a place of the body, in a view that can show it.
   * @param {number} lon
   * @param {number} lat
   * @param {number} [metres] size of the place
   */
  showPlace(lon, lat, metres = 0) {
    if (!this.view) return;
    const isOutOfView = this.kind === "north" ? lat < 60 : this.kind === "south" && lat > -60;
    const kind = isOutOfView ? "flat" : this.kind;
    const { width, height } = this.view.size;
    const wholeScale = findWholePosition(kind, this.radius, this.view.size, lon).scale;
    const scale = metres ? (2.5 * metres) / Math.max(Math.min(width, height), 1) : this.view.position.scale;
    this.show(kind, { lon, lat, scale: Math.min(scale, wholeScale * 0.7) });
  }

  /**
   * Zoom by a factor.
   * @param {number} factor
   */
  zoomBy(factor) {
    if (this.view) this.view.moveTo({ ...this.view.position, scale: this.view.position.scale / factor });
  }

  /**
   * Change the shown layers; `replace` adds no step to the history.
   * @param {LayerChoice[]} choices
   * @param {{replace?: boolean}} [options]
   */
  setChoices(choices, options) {
    this.choices = choices;
    this.updateLayers();
    this.workspace.state.set({ _layers: writeLayerChoices(choices) }, options);
  }

  /** @param {string} moment */
  setMoment(moment) {
    this.moment = moment;
    this.updateLayers();
    this.workspace.state.set({ _time: moment }, { replace: true });
  }

  /** @param {string} wavelength */
  setWavelength(wavelength) {
    this.wavelength = wavelength;
    this.updateLayers();
    this.workspace.state.set({ _wavelength: wavelength }, { replace: true });
  }

  /** @param {LongitudeStyle} style */
  setLongitudeStyle(style) {
    this.longitudeStyle = style;
    this.workspace.state.set({ _lon: style === LONGITUDE_STYLES[0] ? null : style }, { replace: true });
    this.handleChange();
    this.values.write();
  }

  /** Show the layers in the view and in the panel. */
  updateLayers() {
    this.view?.setLayers(this.drawnLayers);
    this.layerPanel.update();
    this.controls.updateDimensions();
    this.values.forget();
  }

  /** Paint what is above the tiles again, and write the address after a pause. */
  handleChange() {
    if (!this.view) return;
    this.painter.paint();
    this.controls.updateScale();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.handleRest(), ADDRESS_DELAY_MILLISECONDS);
  }

  /** The map rests: write its position into the address, and fetch rows. */
  handleRest() {
    if (!this.view?.size.width) return;
    const position = this.writePosition();
    if (position !== this.restPosition)
      this.workspace.state.set({ _view: this.kind === "flat" ? null : this.kind, _at: position }, { replace: true });
    this.restPosition = position;
    this.catalogues.refresh();
  }

  handleResize() {
    this.view?.resize();
    this.handleChange();
  }

  /** Fetch the names and the tables of the body. */
  async fetchPlaces() {
    const { base, state } = this.workspace;
    const { href } = new URL(`${base}/maps/${encodeURIComponent(this.body)}/places`, location.href);
    const { names, tables } = await this.workspace.fetchJson(href, { state: null });
    this.names = names.map((/** @type {[string, number, number, number]} */ [name, lon, lat, size]) => ({
      name,
      lon,
      lat,
      size,
    }));
    this.search.setNames(this.names);
    this.catalogues.setTables(tables);
    this.catalogues.restore(state.get("_catalogues") ?? "");
    this.handleChange();
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  return new PlanetMap(container, workspace).fetchPlaces();
}
