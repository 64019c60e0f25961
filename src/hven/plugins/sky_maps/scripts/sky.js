// The sky map: rows as points, footprints or counts of cells, linked with the selection. A drawn region becomes a
// search condition.
// Aladin Lite (GPL-3, with its licence) is a separate file that this pane loads by its address; the rest of Hven is
// BSD-3.
import { createButton, requireElement, createElement, readTableUrl, describeError } from "hven/dom.js";
import {
  findEnclosingCircle,
  parseCentre,
  containsPosition,
  parseMapView,
  parseOutline,
  pairNumbers,
} from "./drawing/geometry.js";
import { describeCount, createLayerList, showRowList } from "./drawing/layer_list.js";
import { MapLegend, computePointSize } from "./drawing/map_legend.js";
import {
  createSkyMap,
  CoverageLayer,
  labelControls,
  SurveyBackground,
  SurveyOverlays,
} from "./drawing/sky_background.js";
import { CELL_OPACITY, LAYER_COLOURS, listSkyLayers } from "./drawing/sky_layers.js";
import { createOverlays } from "./drawing/sky_overlays.js";
import { createSkyToolbar } from "./drawing/sky_toolbar.js";
/** @import {Places, Region} from "hven/answers.js" */
/** @import {Outline, Position} from "./drawing/geometry.js" */
/** @import {Workspace} from "hven/workspace.js" */

const CLICK_RADIUS_PIXELS = 8; // rows within this distance of a click are found
const MOVE_DELAY_MILLISECONDS = 300; // after a move of the map
const WHOLE_SKY_DEGREES = 60; // wider views request the whole sky
const [POINT_COLOUR, , , COVERAGE_COLOUR] = LAYER_COLOURS;
const MAX_FITTED_ROWS = 500; // more rows are not fitted
// changes of these parameters do not change the map
const UNRELATED_PARAMETERS = ["_map", "_row", "_plot", "_sort", "_cols", "_view"];
const DISPLAY_PARAMETERS = { _row: null, _panes: null, _sort: null, _cols: null, _plot: null, _map: null };

/**
 * The pane with the sky map.
 * @typedef {{key: string, text: string} & Outline} Footprint a drawn footprint
 */

export class SkyMap {
  /** The positions of rows by their keys.
   * @type {Map<string, Position | null>} */
  positions = new Map();
  /** @type {Footprint[]} */
  footprints = [];
  /** The titles of rows by their keys.
   * @type {Map<string, string>} */
  names = new Map();
  /** @type {Places | null} */
  mapData = null;
  cellOpacity = CELL_OPACITY;
  rowOpacity = 1; // opacity of points and footprints
  pointSize = 4;
  maxCount = 1;
  /** @type {string | null} */
  lastRequest = null;
  /** The region of the search that is drawn.
   * @type {string | null} */
  region = null;
  timer = 0;
  isNewSearch = true; // the search has changed since the last drawing

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   * @param {any} A the Aladin Lite library
   */
  constructor(container, workspace, A) {
    this.A = A;
    this.container = container;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(container);
    this.mapElement = requireElement(container, ".drawn-map");
    this.summary = requireElement(container, ".told"); // of the drawn rows
    this.rowList = createElement("div", { className: "under", "aria-live": "polite" });
    this.aladin = createSkyMap(
      A,
      this.mapElement,
      container.dataset.sky ?? "",
      parseMapView(workspace.state.get("_map")),
    );
    labelControls(this.mapElement, workspace);
    const address = workspace.state.get("_map");
    this.isNewSearch = !address || String(parseMapView(address)) !== address.split(",").slice(0, 3).map(Number).join();
    const column = decodeURIComponent(address?.split(",")[3] ?? "");
    const handleColumn = () => {
      this.writeAddress();
      this.refresh();
    };
    this.legend = new MapLegend(workspace, column, handleColumn, () => {
      if (this.mapData) this.drawRows(this.mapData);
    });
    this.overlays = createOverlays(this);
    this.survey = new SurveyBackground(A, this.aladin, container, workspace);
    this.overlaidSurveys = new SurveyOverlays(A, this.aladin, workspace, this.survey.surveys);
    this.coverage = new CoverageLayer(
      A,
      this.aladin,
      COVERAGE_COLOUR,
      `${this.tableUrl}/moc?_of=coverage&_as=json`,
      workspace,
    );
    if (container.dataset.unsearchable === undefined) this.mapElement.before(createSkyToolbar(this));
    this.mapElement.after(this.rowList, this.legend.element);
    this.summary.after(this.survey.faultElement, this.overlaidSurveys.faultElement, this.coverage.faultElement);
    this.overlaidSurveys.showSurveysOfAddress(address?.split(",")[4] ?? "");
    this.mapElement.before(createLayerList(workspace.t, listSkyLayers(this)));
    this.listen();
    this.survey.begin();
    this.drawRegion();
  }

  /** Listen to the map, the selection and the address. */
  listen() {
    const { selection, state } = this.workspace;
    this.aladin.on("positionChanged", () => this.handleMove());
    this.aladin.on("zoomChanged", () => this.handleMove());
    this.aladin.on("click", (/** @type {any} */ event) => this.handleClick(event));
    this.aladin.on("objectHovered", (/** @type {any} */ object) => {
      const key = object?.data?.key ?? object?.key;
      if (key) selection.set("hover", key);
    });
    selection.on("change", ({ name }) => {
      if (name === "chosen") this.panTo(selection.chosen);
      this.drawSelection();
    });
    this.workspace.on("places", () => {
      this.lastRequest = null;
      this.refresh();
    });
    state.on("change", ({ changed }) => {
      this.drawRegion();
      // after a map move the rows under the point are the same
      if (!changed?.every((name) => name === "_map")) this.rowList.replaceChildren();
      if (changed?.every((name) => UNRELATED_PARAMETERS.includes(name))) return;
      this.isNewSearch = true;
      this.coverage.draw();
      this.refresh();
    });
  }

  /** The visible part of the sky: centre, width and enclosing radius. */
  get view() {
    const [lon, lat] = this.aladin.getRaDec();
    const [width, height] = this.aladin.getFov();
    return { lon, lat, wide: width, radius: Math.min(Math.hypot(width, height) / 2, 180) };
  }

  /**
   * Fetch and draw the rows of the search and the view, unless they are drawn.
   * @returns {Promise<void>}
   */
  async refresh() {
    const { summary } = this;
    const { lon, lat, radius } = this.view;
    const viewQuery =
      radius < WHOLE_SKY_DEGREES && !this.isNewSearch ? `${lon.toFixed(4)},${lat.toFixed(4)},${radius.toFixed(4)}` : "";
    const state = this.workspace.state.withChanges({
      _view_at: viewQuery || null,
      _c: this.legend.column || null,
      ...DISPLAY_PARAMETERS,
    });
    if (String(state) === this.lastRequest) return;
    this.lastRequest = String(state);
    try {
      /** @type {Places} */
      const mapData = await this.workspace.fetchJson(`${this.tableUrl}/places`, { state, pane: "sky" });
      this.legend.update(mapData);
      this.mapData = mapData;
      const hasCells = mapData.counts.length > 0;
      const { cells, points } = this.overlays;
      for (const catalogue of [cells, points]) catalogue.removeAll();
      summary.textContent = hasCells ? this.drawCells(mapData) : this.drawRows(mapData);
      this.drawSelection();
      if (!this.isNewSearch) return;
      this.isNewSearch = false;
      if (!hasCells) this.fitToRows();
      else if (radius < WHOLE_SKY_DEGREES) await this.refresh();
    } catch (error) {
      this.lastRequest = null;
      if (this.legend.forgetMissingColumn(error)) return this.refresh();
      const retryButton = createButton(this.workspace.t("Try again"), () => this.refresh());
      summary.replaceChildren(describeError(error), " ", retryButton);
    }
  }

  /**
   * Draw the counts of cells.
   * @param {Places} mapData
   */
  drawCells({ lon, lat, counts, total, files }) {
    const { A } = this;
    this.clearRows();
    this.maxCount = Math.max(...counts);
    this.overlays.cells.addSources(
      lon.map((longitude, index) => A.source(longitude, lat[index], { count: counts[index] })),
    );
    return describeCount({ total, shown: 0, cells: true, files }, this.workspace);
  }

  /**
   * Draw rows as points and footprints.
   * @param {Places} mapData
   */
  drawRows({ lon, lat, keys, names, shapes, total, files }) {
    const { A, legend } = this;
    this.clearRows();
    this.pointSize = computePointSize(keys.length);
    const colours = keys.map((_, index) => legend.getColour(index, ""));
    const visible = keys
      .map((_, index) => index)
      .filter((index) => colours[index] !== null && lon[index] !== undefined);
    this.overlays.points.addSources(
      visible.map((index) =>
        A.source(lon[index], lat[index], { key: keys[index], colour: colours[index] || POINT_COLOUR }),
      ),
    );
    keys.forEach((key, index) => {
      if (colours[index] !== null)
        this.positions.set(key, lon[index] === undefined ? parseCentre(shapes[index]) : [lon[index], lat[index]]);
      if (names[index]) this.names.set(key, names[index]);
    });
    shapes.forEach((text, index) => {
      const shape = colours[index] === null ? null : parseOutline(text);
      if (!shape) return;
      this.footprints.push({ key: keys[index], text, ...shape });
      this.overlays.shapes.add(Object.assign(this.createShape(shape, colours[index]), { key: keys[index] }));
    });
    return describeCount({ total, shown: shapes.length || keys.length || total, cells: false, files }, this.workspace);
  }

  /** Remove all drawn rows. */
  clearRows() {
    this.overlays.points.removeAll();
    this.overlays.shapes.removeAll();
    this.positions = new Map();
    this.names = new Map();
    this.footprints = [];
  }

  /** Fit the view to the rows, unless there are too many. */
  fitToRows() {
    const places = /** @type {Position[]} */ ([...this.positions.values()].filter(Boolean));
    const circle = places.length && places.length <= MAX_FITTED_ROWS ? findEnclosingCircle(places) : null;
    if (!circle) return;
    this.aladin.gotoRaDec(circle[0], circle[1]);
    this.aladin.setFoV(Math.min(Math.max(2.6 * circle[2], 0.5), 180));
  }

  /**
   * Move the map to a row that is out of view.
   * @param {string | null} key
   */
  panTo(key) {
    const position = key ? this.positions.get(key) : null;
    if (!position) return;
    const pixel = this.aladin.world2pix(position[0], position[1]);
    const { clientWidth: width, clientHeight: height } = this.mapElement;
    if (!pixel || pixel[0] < 0 || pixel[1] < 0 || pixel[0] > width || pixel[1] > height)
      this.aladin.gotoRaDec(position[0], position[1]);
  }

  /**
   * Create the shape of an outline.
   * @param {Outline} outline
   * @param {string | null} [colour]
   */
  createShape({ circle, corners }, colour = null) {
    const options = colour ? { color: colour } : {};
    return circle ? this.A.circle(circle[0], circle[1], circle[2], options) : this.A.polygon(corners, options);
  }

  /** Draw the region of the search. */
  async drawRegion() {
    const { state } = this.workspace;
    const { asks } = this.overlays;
    const regionKey = `${state.get("_near") ?? ""}|${state.get("_in") ?? ""}`;
    if (regionKey === this.region) return;
    this.region = regionKey;
    asks.removeAll();
    if (regionKey === "|") return;
    const path = `${this.tableUrl}/moc?_of=region&_as=shape`;
    /** @type {Region | null} */
    const region = await this.workspace.fetchJson(path, { pane: "sky-region" }).catch(() => null);
    if (region?.circle) asks.add(this.createShape({ circle: region.circle }));
    else if (region?.polygon) asks.add(this.createShape({ corners: pairNumbers(region.polygon) }));
  }

  /**
   * Clear Aladin's own selection: we mark the chosen rows, and Aladin's mark would stay in place when the map is
   * resized.
   */
  clearSelection() {
    this.aladin.selectObjects(null);
  }

  /** Mark the chosen, hovered and marked rows. */
  drawSelection() {
    const { A } = this;
    const { chosen, lit } = this.overlays;
    const { selection } = this.workspace;
    this.clearSelection();
    chosen.removeAll();
    lit.removeAll();
    for (const footprint of this.footprints) {
      if (selection.has(footprint.key)) lit.add(this.createShape(footprint));
    }
    for (const key of new Set([selection.chosen, selection.hover, ...selection.marked])) {
      const position = key && this.positions.get(key);
      if (position) chosen.addSources([A.source(position[0], position[1], { key })]);
    }
  }

  /** Handle a move of the map after a pause. */
  handleMove() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.writeAddress();
      this.refresh();
    }, MOVE_DELAY_MILLISECONDS);
  }

  /** Write the view, the colour column and the surveys over the background into the address. */
  writeAddress() {
    const { lon, lat, wide: width } = this.view;
    const colour = encodeURIComponent(this.legend.column).replaceAll(",", "%2C");
    const parts = [...[lon, lat, width].map((number) => number.toFixed(3)), colour];
    const text = [...parts, this.overlaidSurveys.formatShownSurveys()].join(",").replace(/,+$/, "");
    this.workspace.state.set({ _map: text }, { replace: true });
  }

  /**
   * List the rows under a click: those whose footprint contains it, and those whose position is near.
   * @param {{x: number, y: number, ra: number, dec: number, isDragging: boolean}} event
   */
  handleClick({ x, y, ra, dec, isDragging }) {
    if (isDragging || !Number.isFinite(ra)) return;
    const keys = new Set(
      this.footprints
        .filter((footprint) => footprint.key && containsPosition(footprint, [ra, dec]))
        .map((footprint) => footprint.key),
    );
    for (const [key, position] of this.positions) {
      if (!key || !position || keys.has(key) || Math.abs(position[1] - dec) > 90) continue;
      const pixel = this.aladin.world2pix(position[0], position[1]);
      if (pixel && Math.hypot(pixel[0] - x, pixel[1] - y) <= CLICK_RADIUS_PIXELS) keys.add(key);
    }
    const keysHere = [...keys];
    showRowList(
      this.rowList,
      keysHere,
      this.workspace,
      this.container.dataset.footprints === undefined ? null : [ra, dec],
      this.names,
    );
    setTimeout(() => this.clearSelection()); // Aladin selects the object after this event
    if (keysHere.length === 1) this.workspace.chooseRow(keysHere[0]);
  }

  /**
   * Search in a region.
   * @param {Record<string, string | null>} region
   */
  searchRegion(region) {
    this.workspace.state.set({ ...region, _row: null });
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 * @returns {Promise<void>}
 */
export async function mount(container, workspace) {
  const { t } = workspace;
  let A;
  try {
    if (!container.dataset.aladin) throw new Error(t("Hven was installed without Aladin Lite"));
    ({ default: A } = await import(container.dataset.aladin));
    await A.init;
  } catch (/** @type {any} */ error) {
    const [mapElement, summary] = [requireElement(container, ".drawn-map"), requireElement(container, ".told")];
    const retryButton = createButton(t("Try again"), () => {
      summary.textContent = "";
      mapElement.hidden = false;
      mount(container, workspace);
    });
    summary.replaceChildren(t("The map cannot be drawn here: {why}", { why: error.message }), " ", retryButton);
    mapElement.hidden = true;
    return;
  }
  const sky = new SkyMap(container, workspace, A);
  window.hven = { ...window.hven, aladin: sky.aladin };
  await sky.refresh();
}
