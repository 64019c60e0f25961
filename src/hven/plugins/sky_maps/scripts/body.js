// The map of a planet, a moon or the Sun: rows as outlines, boxes and points on a base map with a grid, flat or from
// above a pole; many rows are counted in cells. It is linked with the selection, and a drawn box becomes a search
// condition.
import { BodyPolygon } from "./drawing/body_polygon.js";
import { CHOSEN_COLOUR, describeCoordinates, listLayers, REGION_COLOUR, ROW_COLOUR } from "./drawing/body_layers.js";
import { getViridisColour } from "hven/colours.js";
import { createButton, requireElement, createElement, readTableUrl, describeError } from "hven/dom.js";
import { Gestures } from "./drawing/map_gestures.js";
import { Globe, PLANET } from "./drawing/globe.js";
import { describeCount, createLayerList, showRowList } from "./drawing/layer_list.js";
import { applyAlpha, MapLegend, computePointSize } from "./drawing/map_legend.js";
import { parseBoxes, MAX_ZOOM } from "./drawing/map_plane.js";
import { paintShape } from "./drawing/offscreen_layer.js";
/** @import {Places} from "hven/answers.js" */
/** @import {Box, BoxEdges, MapPlane} from "./drawing/map_plane.js" */
/** @import {ShapeStyle} from "./drawing/offscreen_layer.js" */
/** @import {Workspace} from "hven/workspace.js" */

const CLICK_RADIUS_PIXELS = 6; // also the size of points
const MANY_BOXES = 300; // more boxes are drawn fainter
const MOVE_DELAY_MILLISECONDS = 350; // after a move of the map
const MAX_OUTLINED_ROWS = 1000; // the server sends outlines for this many rows
const DISPLAY_PARAMETERS = { _row: null, _panes: null, _sort: null, _cols: null, _plot: null, _map: null };

/** The pane with the map of a body. */
export class BodyMap {
  /** @type {Box[]} */
  boxes = [];
  /** @type {Map<string, Box>} by their keys */
  boxesByKey = new Map();
  /** @type {string[]} */
  names = [];
  maxCount = 0; // rows in the fullest cell
  countsFiles = false; // counts are of files, not of observations
  isPartial = false; // a closer view shows more rows
  /** @type {string | null} */
  lastRequest = null;
  /** @type {string | null} */
  lastSearch = null;
  timer = 0;
  opacities = { chosen: 1, region: 1 };
  rowList = createElement("div", { className: "under", "aria-live": "polite" });

  /**
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(container, workspace) {
    const { selection, state, t } = workspace;
    this.workspace = workspace;
    this.tableUrl = readTableUrl(container);
    this.hasFootprints = container.dataset.footprints !== undefined;
    this.summary = requireElement(container, ".told");
    const overlay = { draw: this.drawSelection.bind(this) };
    this.globe = new Globe(
      requireElement(container, ".drawn-map"),
      overlay,
      () => this.handleMove(),
      (value) => workspace.formatNumber(value),
    );
    const { canvas, container: mapElement } = this.globe;
    canvas.setAttribute("aria-label", t("Map: arrow keys move it, + and - zoom, 0 shows all"));
    mapElement.after(this.rowList);
    const [lon, lat, zoom, colour = "", pole = ""] = (state.get("_map") ?? "").split(",");
    if ([lon, lat, zoom].every((part) => part && Number.isFinite(Number(part)))) {
      this.globe.view = { lon: Number(lon), lat: Number(lat), zoom: Math.min(Math.max(Number(zoom), 1), MAX_ZOOM) };
      this.globe.pole = ["north", "south"].includes(pole) ? pole : "";
      this.hasAddressView = true; // the address sets the view
    }
    this.legend = new MapLegend(
      workspace,
      colour && decodeURIComponent(colour),
      () => {
        this.writeAddress();
        this.refresh();
      },
      () => this.repaintRows(),
    );
    this.gestures = new Gestures(canvas, this.listGestureHandlers());
    this.polygon = new BodyPolygon(this, container);
    this.pictureSelect = createElement("select", { "aria-label": t("Picture of the body"), hidden: true });
    mapElement.before(this.createToolbar(), createLayerList(t, listLayers(this)));
    mapElement.after(this.legend.element);
    selection.on("change", ({ name }) => this.handleSelection(name));
    state.on("change", () => this.refresh());
    window.hven = { ...window.hven, body: this };
  }

  /** List what gestures do on the map. */
  listGestureHandlers() {
    const { selection } = this.workspace;
    return {
      move: (/** @type {number} */ x, /** @type {number} */ y) => this.globe.move(x, y),
      zoom: (/** @type {number} */ factor, /** @type {number[]} */ pixel) => this.globe.zoom(factor, pixel),
      tap: (/** @type {number[]} */ pixel) => this.polygon.addCorner(pixel) || this.handleTap(pixel),
      hover: (/** @type {number[] | null} */ pixel) => (pixel ? this.handleHover(pixel) : selection.set("hover", null)),
      box: (/** @type {number[]} */ from, /** @type {number[]} */ to, /** @type {boolean} */ isDone) =>
        this.handleBox(from, to, isDone),
      reset: () => this.globe.show(null, ""),
    };
  }

  createToolbar() {
    const { t } = this.workspace;
    const getMiddle = () => [this.globe.canvas.width / 2, this.globe.canvas.height / 2];
    const boxButton = createButton(t("Draw a box"), () => {
      this.gestures.isDrawingBox = !this.gestures.isDrawingBox;
      boxButton.setAttribute("aria-pressed", String(this.gestures.isDrawingBox));
    });
    boxButton.setAttribute("aria-pressed", "false");
    this.boxButton = boxButton;
    this.viewButtons = [
      createButton(t("Whole map"), () => this.globe.show(null, "")),
      createButton(t("North pole"), () => this.globe.show(null, "north")),
      createButton(t("South pole"), () => this.globe.show(null, "south")),
    ];
    this.pictureSelect.addEventListener("change", () => this.globe.baseMap.show(this.pictureSelect.value));
    return createElement(
      "p",
      { className: "bar" },
      createButton("+", () => this.globe.zoom(1.6, getMiddle()), { "aria-label": t("Zoom in") }),
      createButton("−", () => this.globe.zoom(1 / 1.6, getMiddle()), { "aria-label": t("Zoom out") }),
      ...this.viewButtons,
      createButton(t("Fit to rows"), () => this.globe.fit(this.boxes)),
      boxButton,
      this.polygon.button,
      this.pictureSelect,
    );
  }

  /**
   * Fetch the rows of the search and the view, unless they are drawn.
   * @returns {Promise<void>}
   */
  async refresh() {
    const { workspace } = this;
    const search = String(workspace.state.withChanges(DISPLAY_PARAMETERS));
    const isNewSearch = search !== this.lastSearch;
    const viewQuery = this.isPartial && !isNewSearch ? this.getViewQuery() : null;
    const state = workspace.state.withChanges({
      ...DISPLAY_PARAMETERS,
      _view_at: viewQuery,
      _c: this.legend.column || null,
    });
    if (String(state) === this.lastRequest) return;
    this.lastRequest = String(state);
    this.lastSearch = search;
    if (isNewSearch) this.rowList.replaceChildren();
    try {
      /** @type {Places} */
      const mapData = await workspace.fetchJson(`${this.tableUrl}/places`, { state, pane: "body" });
      this.showMapData(mapData, !viewQuery);
      if (isNewSearch && !this.hasAddressView) this.globe.fit(this.boxes);
      this.hasAddressView = false;
      this.globe.scheduleDraw();
    } catch (error) {
      this.lastRequest = null;
      if (this.legend.forgetMissingColumn(error)) return this.refresh();
      this.summary.replaceChildren(
        describeError(error),
        " ",
        createButton(workspace.t("Try again"), () => this.refresh()),
      );
    }
  }

  /**
   * Show the server's data: rows, names, base maps, and the summary.
   * @param {Places} mapData
   * @param {boolean} isWhole
   */
  showMapData(mapData, isWhole) {
    const { t } = this.workspace;
    this.globe.frame = mapData.frame ?? PLANET;
    this.boxes = parseBoxes(mapData.shapes, mapData.keys, mapData.counts, mapData.outlines);
    this.boxesByKey = new Map(this.boxes.map((box) => [box.key, box]));
    this.names = mapData.names ?? [];
    this.countsFiles = mapData.files ?? false;
    this.maxCount = mapData.counts.length ? Math.max(...mapData.counts) : 0;
    if (isWhole) this.isPartial = this.maxCount > 0 || mapData.keys.length > MAX_OUTLINED_ROWS;
    this.globe.km = mapData.km ?? 0;
    this.globe.labels.km = this.globe.km;
    this.globe.labels.features = mapData.features ?? [];
    this.legend.update(mapData);
    const pictures = mapData.grounds ?? [];
    const options = pictures.map(({ kind, url }) =>
      createElement("option", { value: this.workspace.base + url, textContent: t(kind) }),
    );
    const hasOtherPictures =
      [...this.pictureSelect.options].map(({ value }) => value).join() !==
      [...options.map(({ value }) => value), ""].join();
    if (isWhole && hasOtherPictures) {
      this.pictureSelect.replaceChildren(
        ...options,
        createElement("option", { value: "", textContent: t("no picture") }),
      );
      this.pictureSelect.hidden = !pictures.length;
      this.globe.baseMap.show(this.pictureSelect.value);
    }
    this.pictureSelect.title = pictures[0]?.notice ?? "";
    for (const button of this.viewButtons ?? []) button.hidden = Boolean(this.globe.frame.radius);
    const countText = describeCount({ ...mapData, shown: this.boxes.length, cells: this.maxCount > 0 }, this.workspace);
    const isMissingPictures = mapData.uninstalled && mapData.body && !pictures.length;
    const hint = t("no pictures of bodies are installed: run scripts/web, or install a wheel of Hven");
    this.summary.textContent = [
      countText,
      describeCoordinates(this.globe.frame, t),
      ...(isMissingPictures ? [hint] : []),
    ].join(" · ");
    this.repaintRows();
  }

  /** Return the view with a margin, as a request parameter; null if everything is in view. */
  getViewQuery() {
    const [west, south, east, north] = this.globe.plane.bounds;
    if (this.globe.frame.radius ? this.globe.plane.zoom < 1.2 : east - west >= 350 && north - south > 150) return null;
    const [width, height] = [(east - west) * 0.1, (north - south) * 0.1];
    const [, bottom, , top] = this.globe.frame.box;
    return [west - width, Math.max(south - height, bottom), east + width, Math.min(north + height, top)]
      .map((value) => value.toFixed(3))
      .join(",");
  }

  /**
   * Draw the chosen rows and the region of the search.
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapPlane} plane
   * @param {number} ratio
   */
  drawSelection(ctx, plane, ratio) {
    const { opacities } = this;
    const { selection, state } = this.workspace;
    ctx.globalAlpha = opacities.chosen;
    const style = {
      fill: "rgba(255,90,54,.45)",
      stroke: CHOSEN_COLOUR,
      width: 2 * ratio,
      size: computePointSize(this.boxes.length) + 2,
    };
    for (const key of new Set([selection.chosen, selection.hover, ...selection.marked])) {
      const box = key && this.boxesByKey.get(key);
      if (box) paintShape(ctx, plane, box, style);
    }
    ctx.globalAlpha = opacities.region;
    const region = plane.parseConditions(this.globe.frame.fields.map((name) => state.get(name)));
    if (region) {
      ctx.setLineDash([4, 4]);
      const regionStyle = { fill: "rgba(157,240,157,.06)", stroke: REGION_COLOUR, width: 1.5 * ratio };
      paintShape(ctx, plane, { ...region, key: "", count: 1, index: 0 }, regionStyle);
      ctx.setLineDash([]);
    }
    this.polygon.draw(ctx, plane, ratio);
    ctx.globalAlpha = 1;
  }

  /** Apply the row colours again. */
  repaintRows() {
    const ratio = devicePixelRatio || 1;
    const boxCount = this.boxes.length;
    const [fillOpacity, strokeOpacity] = boxCount > MANY_BOXES ? [0.12, 0.45] : [0.24, 0.95];
    const size = computePointSize(boxCount);
    /** @type {Map<string, ShapeStyle>} */
    const pens = new Map();
    this.globe.offscreen.setBoxes(this.boxes, ({ index, count }) => {
      if (this.maxCount)
        return { fill: getViridisColour(0.15 + (0.85 * Math.log1p(count)) / Math.log1p(this.maxCount)) };
      const colour = this.legend.getColour(index, ROW_COLOUR);
      if (colour === null) return null;
      const knownPen = pens.get(colour);
      if (knownPen) return knownPen;
      const pen = {
        fill: applyAlpha(colour, fillOpacity),
        stroke: applyAlpha(colour, strokeOpacity),
        width: ratio,
        size,
      };
      pens.set(colour, pen);
      return pen;
    });
    this.globe.scheduleDraw();
  }

  /** Handle a new view: after a pause, write it into the address and request more rows if the view is closer. */
  handleMove() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.writeAddress();
      if (this.isPartial) this.refresh();
    }, MOVE_DELAY_MILLISECONDS);
  }

  /** Write the view and the colour column into the address. */
  writeAddress() {
    const { lon, lat, zoom } = this.globe.getView();
    const colour = this.legend.column ? encodeURIComponent(this.legend.column).replaceAll(",", "%2C") : "";
    const parts = [lon.toFixed(3), lat.toFixed(3), String(Number(zoom.toFixed(3))), colour, this.globe.pole];
    while (!parts[parts.length - 1]) parts.pop();
    this.workspace.state.set({ _map: parts.join(",") }, { replace: true });
  }

  /**
   * Move the map to a chosen row that is out of view.
   * @param {string} name
   */
  handleSelection(name) {
    const { chosen } = this.workspace.selection;
    const box = name === "chosen" && chosen ? this.boxesByKey.get(chosen) : null;
    if (box) {
      const { plane } = this.globe;
      const [west, east] = plane.getLonSpan(box);
      const [lon, lat] = [(west + east) / 2, (box.south + box.north) / 2];
      const [x, y] = plane.toPixel(lon, lat);
      if (this.globe.pole && (this.globe.pole === "north" ? lat < 0 : lat > 0))
        this.globe.show({ lon, lat, zoom: 1 }, "");
      else if (x < 0 || y < 0 || x > plane.width || y > plane.height) this.globe.show({ lon, lat, zoom: plane.zoom });
    }
    this.globe.scheduleDraw();
  }

  /**
   * Find the visible boxes at a pixel.
   * @param {number[]} pixel
   */
  findBoxes(pixel) {
    const visible = this.legend.hidden.size
      ? this.boxes.filter(({ index }) => this.legend.getColour(index, ROW_COLOUR) !== null)
      : this.boxes;
    return this.globe.plane.findBoxesAt(visible, pixel, CLICK_RADIUS_PIXELS * (devicePixelRatio || 1));
  }

  /**
   * Show the title of the row under the pointer.
   * @param {number[]} pixel
   */
  handleHover(pixel) {
    const { selection, t } = this.workspace;
    const [hit] = this.findBoxes(pixel);
    let title = hit ? (this.names[hit.index] ?? "") : "";
    if (hit?.count) {
      const total = this.workspace.formatNumber(hit.count);
      title = this.countsFiles ? t("{total} files", { total }) : t("{total} rows", { total });
    }
    if (this.globe.canvas.title !== title) this.globe.canvas.title = title;
    selection.set("hover", hit?.key ?? null);
  }

  /**
   * Choose the row at a pixel, or zoom into a cell.
   * @param {number[]} pixel
   */
  handleTap(pixel) {
    this.globe.canvas.focus({ preventScroll: true });
    const boxes = this.findBoxes(pixel);
    const [hit] = boxes;
    if (hit?.count) return this.searchBox(hit); // zoom into the cell
    const degrees = this.hasFootprints && this.globe.frame.said !== "helioprojective";
    const keys = boxes.map((box) => box.key).filter(Boolean);
    const names = new Map(boxes.map((box) => [box.key, this.names[box.index] ?? ""]));
    showRowList(this.rowList, keys, this.workspace, degrees ? this.globe.plane.toCoordinates(pixel) : null, names);
    if (!hit?.key) return;
    this.workspace.chooseRow(hit.key);
    this.rowList.scrollTop = 0;
  }

  /**
   * Handle the drawing of a box; search in it when it is complete.
   * @param {number[]} from
   * @param {number[]} to
   * @param {boolean} isDone
   */
  handleBox(from, to, isDone) {
    this.globe.dragCorners = isDone ? null : [from, to];
    this.globe.scheduleDraw();
    if (!isDone || from === to) return;
    this.gestures.isDrawingBox = false;
    this.boxButton?.setAttribute("aria-pressed", "false");
    const { plane } = this.globe;
    if (!plane.pole) return this.searchBox(plane.createBoxBetween(from, to));
    // seen from above a pole, a box is a ring of latitudes
    const [firstLat, secondLat] = [plane.toCoordinates(from)[1], plane.toCoordinates(to)[1]];
    this.searchBox({ west: 0, east: 360, south: Math.min(firstLat, secondLat), north: Math.max(firstLat, secondLat) });
  }

  /**
   * Search in a box.
   * @param {BoxEdges} box
   */
  searchBox(box) {
    this.workspace.state.set({ ...this.globe.plane.formatConditions(box), _row: null });
  }
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  return new BodyMap(container, workspace).refresh();
}
