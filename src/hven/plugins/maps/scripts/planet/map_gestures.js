// Presses and keys on the map, which mean the same in all views. The views themselves drag and zoom.
/** @import {PlanetMap} from "../planet_map.js" */

const CLICK_PIXELS = 5; // a press that moves no farther is a click
const KEY_STEP_PIXELS = 80;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Listens to a map. */
export class MapGestures {
  /** Where the pointer went down. @type {number[] | null} */
  begin = null;

  /** @param {PlanetMap} planetMap */
  constructor(planetMap) {
    this.planetMap = planetMap;
    const { tiles } = planetMap;
    tiles.addEventListener("pointerdown", (event) => {
      this.begin = event.isPrimary ? this.getPixel(event) : null;
    });
    tiles.addEventListener("pointermove", (event) => this.handleMove(event));
    tiles.addEventListener("pointerleave", () => planetMap.values.cancel());
    tiles.addEventListener("pointerup", (event) => this.handleUp(event));
    tiles.addEventListener("keydown", (event) => this.handleKey(event));
  }

  /** @param {PointerEvent} event */
  getPixel(event) {
    const { left, top } = this.planetMap.tiles.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  /** @param {PointerEvent} event */
  handleMove(event) {
    if (event.pointerType !== "touch") this.planetMap.values.readAt(this.getPixel(event));
  }

  /** @param {PointerEvent} event */
  handleUp(event) {
    const pixel = this.getPixel(event);
    const { begin } = this;
    this.begin = null;
    if (!begin || Math.hypot(pixel[0] - begin[0], pixel[1] - begin[1]) > CLICK_PIXELS) return;
    this.planetMap.tiles.focus({ preventScroll: true });
    this.handleClick(pixel);
  }

  /**
   * Do what a click at a pixel does: measure, or read the value and the rows there.
   * @param {number[]} pixel
   */
  handleClick(pixel) {
    const { catalogues, measure, values, view } = this.planetMap;
    const place = view?.projection.toCoordinates(pixel);
    if (!place) return;
    if (measure.isActive) return measure.addPlace(place);
    values.readAt(pixel);
    catalogues.pick(pixel, place);
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    const { planetMap } = this;
    const { view } = planetMap;
    if (!view || event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = view.size;
    const arrow = ARROWS[event.key];
    if (arrow) this.moveBy(arrow[0] * KEY_STEP_PIXELS, arrow[1] * KEY_STEP_PIXELS);
    else if (event.key === "+" || event.key === "=") planetMap.zoomBy(1.5);
    else if (event.key === "-") planetMap.zoomBy(1 / 1.5);
    else if (event.key === "0") planetMap.show(planetMap.kind);
    else if (event.key === "Enter") this.handleClick([width / 2, height / 2]);
    else if (event.key === "Escape") planetMap.measure.setActive(false);
    else return;
    event.preventDefault();
  }

  /**
   * Move the map by pixels.
   * @param {number} x
   * @param {number} y
   */
  moveBy(x, y) {
    const { view } = this.planetMap;
    const place = view?.projection.toCoordinates([view.size.width / 2 + x, view.size.height / 2 + y]);
    if (view && place) view.moveTo({ lon: place[0], lat: place[1], scale: view.position.scale });
  }
}
