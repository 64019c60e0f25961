// Rows of tables on the map, as outlines, points or counts of cells, and the list of those under the pointer. Each
// leads to its record, its picture (of a spectrum, the plot), its files and its query.
import { createButton, createElement, describeError, formatRowKey } from "hven/dom.js";
import { createRowPictures, listRowLinks } from "./row_links.js";
import { findShownBox, tracePlaces } from "./overlay_painter.js";
/** @import {Places, Row} from "hven/answers.js" */
/** @import {PlanetMap} from "../planet_map.js" */
/** @import {MapProjection} from "./projections.js" */

/**
 * @typedef {{id: string, title: string, url: string, query: string, rows: number, footprints: boolean}} BodyTable
 * @typedef {{key: string, name: string, count: number, box: number[], rings: number[][][]}} MapRow
 */

const COLOURS = ["#ffb000", "#22d3ee", "#ff5fa2", "#9ef01a", "#b794ff", "#ff7a45"];
const HIT_PIXELS = 8;
const MAX_PICKED = 12;
const MAX_OUTLINED_ROWS = 1000; // the server sends outlines for this many rows
const POINT_RADIUS = 4;

/** A table on the map. */
class RowCatalogue {
  /** @type {MapRow[]} */
  rows = [];
  isPartial = false; // a closer view shows more
  lastQuery = "";

  /**
   * @param {BodyTable} table
   * @param {string} colour
   */
  constructor(table, colour) {
    this.table = table;
    this.colour = colour;
  }

  /** @param {Places} places */
  setPlaces({ counts, keys, names, outlines, shapes }) {
    this.rows = shapes.map((shape, index) => ({
      key: keys[index] ?? "",
      name: names[index] || formatRowKey(keys[index] ?? ""),
      count: counts[index] ?? 0,
      box: (shape ?? "").split(" ").map(Number),
      rings: (outlines[index] ?? []).map((ring) =>
        Array.from({ length: ring.length / 2 }, (_, corner) => [ring[2 * corner], ring[2 * corner + 1]]),
      ),
    }));
    this.isPartial = counts.length > 0 || keys.length > MAX_OUTLINED_ROWS;
  }
}

/**
 * Return the corners of a box.
 * @param {number[]} box west, south, east, north
 */
function listCorners([west, south, east, north]) {
  const right = east < west ? east + 360 : east;
  const middle = (west + right) / 2;
  return [
    [west, south],
    [middle, south],
    [right, south],
    [right, north],
    [middle, north],
    [west, north],
    [west, south],
  ];
}

/**
 * Return whether a ring has a place inside; longitudes may be turns apart.
 * @param {number[][]} ring
 * @param {number[]} place
 */
export function isInsideRing(ring, [lon, lat]) {
  return [-360, 0, 360].some((turn) => {
    const x = lon + turn;
    let isInside = false;
    for (let index = 0, last = ring.length - 1; index < ring.length; last = index++) {
      const [[x1, y1], [x2, y2]] = [ring[index], ring[last]];
      if (y1 > lat !== y2 > lat && x < ((x2 - x1) * (lat - y1)) / (y2 - y1) + x1) isInside = !isInside;
    }
    return isInside;
  });
}

/** All tables of a body, with their part of the panel. */
export class RowCatalogues {
  /** @type {RowCatalogue[]} */
  catalogues = [];
  /** The shown ones. @type {Set<RowCatalogue>} */
  shown = new Set();
  /** @type {MapRow | null} */
  pickedRow = null;
  list = createElement("ul");
  pickList = createElement("section", { className: "planet-picked", "aria-live": "polite", hidden: true });

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
    const heading = createElement("h2", { textContent: planetMap.workspace.t("Catalogues") });
    this.element = createElement("section", { hidden: true }, heading, this.list);
  }

  /** @param {BodyTable[]} tables */
  setTables(tables) {
    const { workspace } = this.planetMap;
    this.catalogues = tables.map((table, index) => new RowCatalogue(table, COLOURS[index % COLOURS.length]));
    this.element.hidden = !tables.length;
    const items = this.catalogues.map((catalogue) => {
      const { colour, table } = catalogue;
      const input = createElement("input", { type: "checkbox", value: table.id });
      input.addEventListener("change", () => {
        this.shown[input.checked ? "add" : "delete"](catalogue);
        const ids = [...this.shown].map(({ table: { id } }) => id).join(",");
        workspace.state.set({ _catalogues: ids });
        this.planetMap.handleChange();
        this.refresh();
      });
      const sign = createElement("span", { className: "planet-sign" });
      sign.style.background = colour;
      const link = createElement("a", {
        href: `${table.url}?${table.query}`,
        textContent: workspace.formatNumber(table.rows),
      });
      return createElement("li", {}, createElement("label", {}, input, sign, table.title), link);
    });
    this.list.replaceChildren(...items);
  }

  /**
   * Show the tables of the address.
   * @param {string} text
   */
  restore(text) {
    const ids = text.split(",");
    this.shown = new Set(this.catalogues.filter(({ table }) => ids.includes(table.id)));
    for (const input of this.list.querySelectorAll("input")) input.checked = ids.includes(input.value);
    this.refresh();
  }

  /** Fetch the rows in view of the shown tables, unless they are here. */
  refresh() {
    const { view } = this.planetMap;
    if (!view?.size.width) return;
    const { lon } = view.position;
    const { west, south, east, north } = findShownBox(view.projection, lon);
    const isWhole = east - west > 300;
    const box = [lon + west - 1, Math.max(south - 1, -90), lon + east + 1, Math.min(north + 1, 90)];
    for (const catalogue of this.shown) {
      const isView = !isWhole && (catalogue.isPartial || catalogue.lastQuery.includes("_view_at"));
      const viewQuery = isView ? `&_view_at=${box.map((edge) => edge.toFixed(2)).join(",")}` : "";
      void this.fetchRows(catalogue, `${catalogue.table.query}${viewQuery}`);
    }
  }

  /**
   * @param {RowCatalogue} catalogue
   * @param {string} query
   */
  async fetchRows(catalogue, query) {
    if (catalogue.lastQuery === query) return;
    catalogue.lastQuery = query;
    const { workspace } = this.planetMap;
    const url = new URL(`${catalogue.table.url}/places?${query}`, location.href).href;
    try {
      catalogue.setPlaces(await workspace.fetchJson(url, { state: null, pane: `places-${catalogue.table.id}` }));
    } catch (error) {
      catalogue.rows = [];
      this.showPicked(createElement("p", { className: "fault", textContent: describeError(error) }));
    }
    this.planetMap.handleChange();
  }

  /**
   * Paint the rows.
   * @param {CanvasRenderingContext2D} ctx
   * @param {MapProjection & {width: number}} projection
   */
  paint(ctx, projection) {
    for (const { colour, rows } of this.shown) {
      const maxCount = Math.max(1, ...rows.map(({ count }) => count));
      for (const row of rows) {
        const share = row.count ? Math.log1p(row.count) / Math.log1p(maxCount) : 0;
        paintRow(ctx, projection, row, colour, row === this.pickedRow, share);
      }
    }
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1;
  }

  /**
   * Find the shown rows at a place.
   * @param {number[]} pixel
   * @param {[number, number]} place
   */
  findRows(pixel, place) {
    const projection = this.planetMap.view?.projection;
    return [...this.shown].flatMap((catalogue) => {
      const hits = catalogue.rows.filter(({ box, rings }) => {
        if (rings.length) return rings.filter((ring) => isInsideRing(ring, place)).length % 2 === 1;
        const [west, south, east, north] = box;
        if (west !== east || south !== north) return isInsideRing(listCorners(box), place);
        const point = projection?.toPixel(west, south);
        return point && Math.hypot(point[0] - pixel[0], point[1] - pixel[1]) <= HIT_PIXELS;
      });
      return hits.map((row) => ({ catalogue, row }));
    });
  }

  /**
   * List the rows at a place; a cell of many rows is looked at more closely.
   * @param {number[]} pixel
   * @param {[number, number]} place
   */
  pick(pixel, place) {
    const { t } = this.planetMap.workspace;
    const hits = this.findRows(pixel, place);
    this.pickedRow = hits[0]?.row ?? null;
    if (this.pickedRow?.count) {
      const { view } = this.planetMap;
      if (view) view.moveTo({ lon: place[0], lat: place[1], scale: view.position.scale / 3 });
      return;
    }
    this.planetMap.handleChange();
    if (!hits.length) return this.showPicked();
    const items = hits
      .slice(0, MAX_PICKED)
      .map(({ catalogue, row }, index) => this.createItem(catalogue, row, index === 0));
    const heading = createElement("h2", {
      textContent: hits.length === 1 ? t("One row here") : t("{count} rows here", { count: hits.length }),
    });
    const searches = [...new Set(hits.map(({ catalogue }) => catalogue))].map((catalogue) =>
      this.createSearch(catalogue, place),
    );
    this.showPicked(heading, ...items, ...searches);
  }

  /** @param {...HTMLElement} parts */
  showPicked(...parts) {
    const close = createButton("×", () => this.closePicked(), { className: "quiet close" });
    close.setAttribute("aria-label", this.planetMap.workspace.t("Close"));
    this.pickList.replaceChildren(...(parts.length ? [close, ...parts] : []));
    this.pickList.hidden = !parts.length;
  }

  closePicked() {
    this.pickedRow = null;
    this.showPicked();
    this.planetMap.handleChange();
  }

  /**
   * Create the entry of a row; its links are fetched when it opens.
   * @param {RowCatalogue} catalogue
   * @param {MapRow} row
   * @param {boolean} isOpen
   */
  createItem({ colour, table }, row, isOpen) {
    const { workspace } = this.planetMap;
    const { t } = workspace;
    const sign = createElement("span", { className: "planet-sign" });
    sign.style.background = colour;
    const links = createElement("ul");
    const query = `_row=${encodeURIComponent(row.key)}`;
    links.append(
      createElement("li", {}, createElement("a", { href: `${table.url}?${query}`, textContent: t("Record") })),
    );
    const heading = createElement("summary", {}, sign, row.name, createElement("small", { textContent: table.title }));
    const item = createElement("details", {}, heading, links);
    const fetchLinks = async () => {
      this.pickedRow = row;
      this.planetMap.handleChange();
      if (links.childElementCount > 1) return;
      /** @type {Row} */
      const answer = await workspace.fetchJson(new URL(`${table.url}/row?${query}`, location.href).href, {
        state: null,
      });
      links.append(...listRowLinks(answer, t("File")));
      item.append(...createRowPictures(answer, row.name, t));
    };
    item.addEventListener("toggle", () => {
      if (item.open) void fetchLinks();
    });
    item.open = isOpen;
    return item;
  }

  /**
   * Create the links to all rows of a table at a place, as a page and as a query.
   * @param {RowCatalogue} catalogue
   * @param {[number, number]} place
   */
  createSearch({ table }, [lon, lat]) {
    const { container, workspace } = this.planetMap;
    const { t } = workspace;
    const [x, y] = [((lon % 360) + 360) % 360, lat].map((value) => Number(value.toFixed(4)));
    const condition = table.footprints
      ? `_in=${encodeURIComponent(`POINT ${x} ${y}`)}`
      : `_near=${encodeURIComponent(`${x},${y},1`)}`;
    const query = `${table.query}&${condition}`;
    const text = table.footprints
      ? t("All rows of {table} that contain this place", { table: table.title })
      : t("All rows of {table} within one degree", { table: table.title });
    const line = createElement("p", {}, createElement("a", { href: `${table.url}?${query}`, textContent: text }));
    const { editor } = container.dataset;
    if (editor) {
      const showQuery = async () => {
        const url = new URL(`${table.url}/count?${query}`, location.href).href;
        const { adql } = await workspace.fetchJson(url, { state: null });
        location.assign(`${editor}?QUERY=${encodeURIComponent(adql)}`);
      };
      line.append(
        " ",
        createButton(t("As ADQL"), () => void showQuery()),
      );
    }
    return line;
  }
}

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {MapProjection & {width: number}} projection
 * @param {MapRow} row
 * @param {string} colour
 * @param {boolean} isPicked
 * @param {number} share of the fullest cell; 0: a row
 */
function paintRow(ctx, projection, { box, rings }, colour, isPicked, share) {
  const [west, south, east, north] = box;
  const isPoint = !rings.length && west === east && south === north;
  ctx.fillStyle = isPicked ? "#ffffff" : colour;
  ctx.strokeStyle = isPicked ? "#ffffff" : colour;
  ctx.beginPath();
  if (isPoint) {
    const pixel = projection.toPixel(west, south);
    if (!pixel) return;
    ctx.arc(pixel[0], pixel[1], POINT_RADIUS + Number(isPicked), 0, 2 * Math.PI);
    ctx.globalAlpha = isPicked ? 1 : 0.55;
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1;
    ctx.stroke();
    return;
  }
  const shapes = (rings.length ? rings : [listCorners(box)]).filter((ring) => isRingShown(projection, ring));
  for (const ring of shapes) tracePlaces(ctx, projection, ring);
  ctx.globalAlpha = share ? 0.12 + 0.6 * share : 0.28;
  ctx.fill("evenodd");
  ctx.globalAlpha = share ? 0.35 : 1;
  ctx.beginPath();
  for (const ring of shapes) {
    for (const [index, place] of ring.entries()) {
      const next = ring[(index + 1) % ring.length];
      const isCut = place[0] === next[0] && place[0] % 360 === 0; // the server cuts outlines at the meridian 0
      if (!isCut) tracePlaces(ctx, projection, [place, next]);
    }
  }
  ctx.lineWidth = isPicked ? 2.5 : 1.2;
  ctx.stroke();
}

/**
 * Return whether a view shows a ring as a whole: not behind the limb, and not on both sides of a map.
 * @param {MapProjection & {width: number}} projection
 * @param {number[][]} ring
 */
function isRingShown(projection, ring) {
  const pixels = ring.map(([lon, lat]) => projection.toPixel(lon, lat));
  return pixels.every((pixel, index) => {
    const last = pixels[Math.max(index - 1, 0)];
    return pixel && last && Math.abs(pixel[0] - last[0]) <= projection.width;
  });
}
