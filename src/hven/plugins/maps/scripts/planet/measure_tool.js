// Measures lines and areas on the body: each click adds a corner.
import { createButton, createElement } from "hven/dom.js";
import { formatArea, formatLength } from "./coordinates.js";
import { computeArea, computeLength } from "./measures.js";
/** @import {PlanetMap} from "../planet_map.js" */

/** The tool with its part of the panel. */
export class MeasureTool {
  /** @type {number[][]} */
  places = [];
  isActive = false;
  result = createElement("p", { className: "planet-result", "aria-live": "polite" });

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
    const { t } = planetMap.workspace;
    this.button = createButton(t("Measure"), () => this.setActive(!this.isActive), { "aria-pressed": "false" });
    this.clearButton = createButton(t("Clear"), () => this.setPlaces([]));
    this.element = createElement(
      "section",
      {},
      createElement("h2", { textContent: t("Distance and area") }),
      createElement("p", { className: "bar" }, this.button, this.clearButton),
      this.result,
    );
    this.write();
  }

  /** @param {boolean} isActive */
  setActive(isActive) {
    this.isActive = isActive;
    this.button.setAttribute("aria-pressed", String(isActive));
    this.planetMap.viewElement.classList.toggle("measuring", isActive);
    this.write();
  }

  /** @param {number[]} place */
  addPlace(place) {
    this.setPlaces([...this.places, place]);
  }

  /** @param {number[][]} places */
  setPlaces(places) {
    this.places = places;
    const text = places.map((place) => place.map((part) => Number(part.toFixed(4))).join(",")).join(";");
    this.planetMap.workspace.state.set({ _measure: text }, { replace: true });
    this.write();
    this.planetMap.handleChange();
  }

  /**
   * Take the places from the address.
   * @param {string} text
   */
  restore(text) {
    const places = text.split(";").map((part) => part.split(",").map(Number));
    this.places = places.filter(
      ([lon, lat, excess]) => Math.abs(lat) <= 90 && Number.isFinite(lon) && excess === undefined,
    );
    this.write();
  }

  /** Write the length and the area. */
  write() {
    const { places } = this;
    const { mapDocument, workspace } = this.planetMap;
    const { language, t } = workspace;
    const radii = mapDocument.radii_m;
    this.clearButton.hidden = !places.length;
    let text = this.isActive ? t("Click on places of the map.") : "";
    if (places.length > 1)
      text = t("Length {length}", { length: formatLength(computeLength(radii, places), language) });
    if (places.length > 2) text += ` · ${t("Area {area}", { area: formatArea(computeArea(radii, places), language) })}`;
    this.result.textContent = text;
  }
}
