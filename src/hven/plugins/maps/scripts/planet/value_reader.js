// What is under the pointer: the place, and the values of the shown layers once the pointer rests.
import { createElement } from "hven/dom.js";
import { formatLatitude, formatLongitude } from "./coordinates.js";
import { buildValueUrl } from "./map_document.js";
/** @import {PlanetMap} from "../planet_map.js" */

const PAUSE_MILLISECONDS = 120;
const MAX_LAYERS = 4; // whose values are read: those on top

/** Reads values. */
export class ValueReader {
  readout = createElement("div", { className: "planet-readout" });
  places = createElement("span");
  found = createElement("b", { "aria-live": "polite" });
  /** @type {[number, number] | null} */
  place = null;
  timer = 0;

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
    this.readout.append(this.places, this.found);
  }

  /** @param {number[]} pixel */
  readAt(pixel) {
    this.place = this.planetMap.view?.projection.toCoordinates(pixel) ?? null;
    this.write();
    this.forget();
    if (this.place) this.timer = setTimeout(() => this.read(), PAUSE_MILLISECONDS);
  }

  cancel() {
    clearTimeout(this.timer);
  }

  /** The values belong to other layers or to another place. */
  forget() {
    clearTimeout(this.timer);
    this.found.textContent = "";
    this.planetMap.layerPanel?.showValues(new Map());
  }

  /** Write the place. */
  write() {
    const { longitudeStyle: style, mapDocument } = this.planetMap;
    const [lon, lat] = this.place ?? [0, 0];
    const text = `${formatLongitude(lon, style)}  ${formatLatitude(lat, style, mapDocument.radii_m)}`;
    this.places.textContent = this.place ? text : "";
  }

  /** Read the values of the layers at the place. */
  async read() {
    const { drawnLayers, layerPanel, workspace } = this.planetMap;
    const { place } = this;
    if (!place) return;
    const layers = drawnLayers.filter((drawnLayer) => buildValueUrl(drawnLayer, 0, 0)).slice(-MAX_LAYERS);
    /** @type {Map<string, number | null>} */
    const values = new Map();
    const requests = layers.map(async (drawnLayer, index) => {
      const { href } = new URL(buildValueUrl(drawnLayer, place[0], place[1]), location.href);
      const answer = await workspace.fetchJson(href, { state: null, pane: `value-${index}` });
      if (this.place !== place) return;
      values.set(drawnLayer.layer.id, answer.value);
      layerPanel.showValues(values);
      if (index === layers.length - 1) this.found.textContent = layerPanel.formatValue(drawnLayer.layer, answer.value);
    });
    await Promise.allSettled(requests);
  }
}
