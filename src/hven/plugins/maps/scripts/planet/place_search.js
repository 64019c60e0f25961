// Searches the names of a body as the reader types. All names are in the browser, so that no letter is a request.
import { createElement } from "hven/dom.js";
import { formatLatitude, formatLongitude, formatLength, parsePlace } from "./coordinates.js";
/** @import {PlanetMap} from "../planet_map.js" */

/** @typedef {{name: string, lon: number, lat: number, size: number}} PlaceName size in km */

const MAX_FOUND = 8;
const COORDINATE_METRES = 200_000; // what is shown around coordinates

/** @param {string} text */
export function foldText(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

/**
 * Find the names that are a text, then those that begin with it, have a word that does, or contain it.
 * @param {PlaceName[]} names
 * @param {string[]} foldedNames
 * @param {string} text
 */
export function findNames(names, foldedNames, text) {
  const prefix = foldText(text.trim());
  /** @type {PlaceName[][]} */
  const matches = [[], [], [], []];
  if (!prefix) return [];
  foldedNames.forEach((folded, index) => {
    const position = folded.indexOf(prefix);
    if (position < 0) return;
    const isBegin = position === 0;
    const isWord = isBegin || folded[position - 1] === " ";
    matches[Number(folded !== prefix) + Number(!isBegin) + Number(!isWord)].push(names[index]);
  });
  return matches.flat().slice(0, MAX_FOUND);
}

/** The field with the list of what it finds. */
export class PlaceSearch {
  /** @type {PlaceName[]} */
  names = [];
  /** @type {string[]} */
  foldedNames = [];
  chosen = 0;

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
    const { t } = planetMap.workspace;
    this.list = createElement("ul", { id: "planet-places", role: "listbox", "aria-label": t("Places"), hidden: true });
    this.input = createElement("input", {
      type: "search",
      autocomplete: "off",
      placeholder: t("Go to a name or coordinates"),
      role: "combobox",
      "aria-label": t("Go to a name or coordinates"),
      "aria-expanded": "false",
      "aria-controls": "planet-places",
      "aria-autocomplete": "list",
    });
    this.input.addEventListener("input", () => this.update());
    this.input.addEventListener("keydown", (event) => this.handleKey(event));
    this.input.addEventListener("blur", () => this.setOpen(false));
    this.element = createElement("div", { className: "planet-search" }, this.input, this.list);
  }

  /** @param {PlaceName[]} names */
  setNames(names) {
    this.names = names;
    this.foldedNames = names.map(({ name }) => foldText(name));
  }

  /** Search, and show what is found. */
  update() {
    const { longitudeStyle, mapDocument, workspace } = this.planetMap;
    const place = parsePlace(this.input.value, longitudeStyle, mapDocument.radii_m);
    const places = findNames(this.names, this.foldedNames, this.input.value);
    if (place) places.unshift({ name: this.input.value.trim(), lon: place[0], lat: place[1], size: 0 });
    this.places = places;
    this.chosen = 0;
    const options = places.map(({ name, lon, lat, size }, index) => {
      const note = [
        `${formatLongitude(lon, longitudeStyle, 1)} ${formatLatitude(lat, longitudeStyle, mapDocument.radii_m, 1)}`,
        ...(size ? [formatLength(size * 1000, workspace.language)] : []),
      ];
      const option = createElement(
        "li",
        { role: "option", id: `planet-place-${index}`, "aria-selected": String(index === 0) },
        name,
        createElement("small", { textContent: note.join(" · ") }),
      );
      option.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        this.choose(index);
      });
      return option;
    });
    this.list.replaceChildren(...options);
    this.setOpen(options.length > 0);
  }

  /** @param {boolean} isOpen */
  setOpen(isOpen) {
    this.list.hidden = !isOpen;
    this.input.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) this.input.setAttribute("aria-activedescendant", `planet-place-${this.chosen}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    const count = this.list.childElementCount;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && count) {
      this.list.children[this.chosen].setAttribute("aria-selected", "false");
      this.chosen = (this.chosen + step + count) % count;
      this.list.children[this.chosen].setAttribute("aria-selected", "true");
      this.setOpen(true);
    } else if (event.key === "Enter" && !this.list.hidden) this.choose(this.chosen);
    else if (event.key === "Escape") this.setOpen(false);
    else return;
    event.preventDefault();
  }

  /** @param {number} index */
  choose(index) {
    const place = this.places?.[index];
    if (!place) return;
    this.input.value = place.name;
    this.setOpen(false);
    this.planetMap.showPlace(place.lon, place.lat, place.size * 1000 || COORDINATE_METRES);
  }
}
