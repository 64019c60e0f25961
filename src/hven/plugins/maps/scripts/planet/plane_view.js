// The flat and the polar views of a body: OpenLayers draws the tiles. Projections are made by hand, because OpenLayers
// takes a degree of any body for one of the Earth, and would look up unknown frames on another site.
import OpenLayersMap from "ol/Map.js";
import View from "ol/View.js";
import { defaults as createInteractions } from "ol/interaction/defaults.js";
import TileLayer from "ol/layer/Tile.js";
import Projection from "ol/proj/Projection.js";
import XYZ from "ol/source/XYZ.js";
import TileGrid from "ol/tilegrid/TileGrid.js";
import { buildTileTemplate } from "./map_document.js";
import { createProjection, projectFromPole, RADIANS, computePolarPlace, normalizeLongitude } from "./projections.js";
/** @import {DrawnLayer, MapDocument, TileFrame, ViewKind} from "./map_document.js" */
/** @import {MapPosition} from "./projections.js" */

const MAX_DETAIL = 16; // a tile is enlarged at most so much

/** A view in a plane. */
export class PlaneView {
  /** The tile layers by the ids of layers, with the addresses that they show.
   * @type {Map<string, {tileLayer: TileLayer, template: string}>} */
  tileLayers = new Map();
  isBusy = true; // tiles are still to come

  /**
   * @param {HTMLElement} element
   * @param {MapDocument} mapDocument
   * @param {TileFrame} tileFrame
   * @param {Exclude<ViewKind, "globe">} kind
   * @param {() => void} handleChange called after each picture, also while the reader moves the map
   */
  constructor(element, mapDocument, tileFrame, kind, handleChange) {
    this.element = element;
    this.tileFrame = tileFrame;
    this.kind = kind;
    this.radius = mapDocument.radii_m.sphere;
    const { frame, set } = tileFrame;
    this.isFlat = kind === "flat";
    this.sign = kind === "south" ? -1 : 1;
    this.metresPerUnit = this.isFlat ? this.radius * RADIANS : 1;
    this.tileProjection = new Projection({
      code: set.frame,
      units: this.isFlat ? "degrees" : "m",
      metersPerUnit: this.metresPerUnit,
      axisOrientation: "enu",
      extent: frame.extent,
      global: this.isFlat,
    });
    this.map = new OpenLayersMap({
      target: element,
      controls: [],
      interactions: createInteractions({ altShiftDragRotate: false, pinchRotate: false, keyboard: false }),
    });
    this.map.on("postrender", handleChange);
    this.map.on("rendercomplete", () => {
      this.isBusy = false;
    });
  }

  /** @returns {{width: number, height: number}} */
  get size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  /** @returns {MapPosition} */
  get position() {
    const view = this.map.getView();
    const [x, y] = view.getCenter() ?? [0, 0];
    const [lon, lat] = this.isFlat ? [normalizeLongitude(x), y] : computePolarPlace(this.radius, this.sign, [x, y]);
    return { lon, lat, scale: (view.getResolution() ?? 1) * this.metresPerUnit };
  }

  get projection() {
    return createProjection(this.kind, this.radius, this.size, this.position);
  }

  /**
   * Show a place in the middle.
   * @param {MapPosition} position
   */
  moveTo({ lon, lat, scale }) {
    const { extent } = this.tileFrame.frame;
    const { resolutions } = this.tileFrame.set;
    const center = this.isFlat ? [lon, lat] : projectFromPole(this.radius, this.sign, lon, lat);
    const limits = this.isFlat ? [-1e9, -90, 1e9, 90] : extent; // flat maps have no end to the east
    this.isBusy = true;
    this.map.setView(
      new View({
        projection: this.tileProjection,
        center,
        resolution: scale / this.metresPerUnit,
        maxResolution: (1.5 * (extent[2] - extent[0])) / Math.max(Math.min(this.size.width, 2 * this.size.height), 1),
        minResolution: resolutions[resolutions.length - 1] / MAX_DETAIL,
        extent: limits,
        constrainOnlyCenter: true,
        showFullExtent: true,
        multiWorld: true,
        enableRotation: false,
        smoothResolutionConstraint: false,
      }),
    );
  }

  /**
   * Draw layers, the first one at the bottom.
   * @param {DrawnLayer[]} drawnLayers
   */
  setLayers(drawnLayers) {
    this.isBusy = true;
    const shownIds = new Set();
    drawnLayers.forEach((drawnLayer, index) => {
      const template = buildTileTemplate(drawnLayer, this.tileFrame.name);
      if (!template) return; // the layer does not reach this part of the body
      const { id } = drawnLayer.layer;
      shownIds.add(id);
      let entry = this.tileLayers.get(id);
      if (!entry || entry.template !== template) {
        if (entry) this.map.removeLayer(entry.tileLayer);
        entry = { tileLayer: this.createTileLayer(drawnLayer, template), template };
        this.tileLayers.set(id, entry);
        this.map.addLayer(entry.tileLayer);
      }
      entry.tileLayer.setOpacity(drawnLayer.opacity);
      entry.tileLayer.setZIndex(index);
    });
    this.map.render();
    for (const [id, { tileLayer }] of this.tileLayers) {
      if (shownIds.has(id)) continue;
      this.map.removeLayer(tileLayer);
      this.tileLayers.delete(id);
    }
  }

  /**
   * @param {DrawnLayer} drawnLayer
   * @param {string} template
   */
  createTileLayer({ layer }, template) {
    const { name, set } = this.tileFrame;
    const levelCount = Math.min((layer.max_zoom[name] ?? set.resolutions.length - 1) + 1, set.resolutions.length);
    const tileGrid = new TileGrid({
      extent: set.extent,
      origin: set.origin,
      resolutions: set.resolutions.slice(0, levelCount),
      sizes: set.matrix_sizes.slice(0, levelCount),
      tileSize: set.tile_size,
    });
    // every layer has a canvas of its own, so that pictures have all layers
    return new TileLayer({
      source: new XYZ({ url: template, projection: this.tileProjection, tileGrid, wrapX: this.isFlat }),
    });
  }

  /**
   * Draw what the view shows on a canvas.
   * @param {CanvasRenderingContext2D} ctx
   */
  copyPicture(ctx) {
    this.map.renderSync();
    for (const canvas of this.element.querySelectorAll("canvas")) {
      if (!canvas.width) continue;
      ctx.save();
      ctx.globalAlpha = Number(canvas.parentElement?.style.opacity || canvas.style.opacity || 1);
      const matrix = /matrix\(([^)]*)\)/.exec(canvas.style.transform);
      const [a, b, c, d, e, f] = matrix ? matrix[1].split(",").map(Number) : [1, 0, 0, 1, 0, 0];
      ctx.transform(a, b, c, d, e, f);
      ctx.drawImage(canvas, 0, 0);
      ctx.restore();
    }
  }

  resize() {
    this.map.updateSize();
  }

  close() {
    this.map.setTarget(undefined);
    this.map.dispose();
  }
}
