// The radius of a trial of a match as a handle on the histogram: the figures follow it. Without scripts, each bar is a
// link to the page with its radius.
import { findElement, findElements } from "hven/dom.js";

/**
 * @typedef {Record<"radius" | "pairs" | "chance_pairs" | "chance_share" | "objects" | "several", number>} RadiusFacts
 */

/**
 * Write a figure as the server writes it.
 * @param {keyof RadiusFacts} name
 * @param {number} value
 */
export function formatFact(name, value) {
  if (name === "radius") return String(Number(value.toPrecision(6)));
  if (name === "chance_pairs") return value.toFixed(1);
  if (name === "chance_share") return (100 * value).toFixed(1);
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/**
 * Replace the radius in the lines for a descriptor.
 * @param {string} lines
 * @param {string} radius
 */
export function replaceRadius(lines, radius) {
  return lines.replace(/radius: [\d.e-]+\}\n$/, `radius: ${radius}}\n`);
}

class RadiusHandle {
  isDragged = false;

  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
    /** @type {RadiusFacts[]} */
    this.facts = JSON.parse(findElement(container, "script")?.textContent ?? "[]");
    this.plot = findElement(container, "svg", SVGElement);
    this.plot?.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.isDragged = true;
      this.plot?.setPointerCapture(event.pointerId);
      this.readPointer(event);
    });
    this.plot?.addEventListener("pointermove", (event) => {
      if (this.isDragged) this.readPointer(event);
    });
    for (const end of ["pointerup", "pointercancel"]) this.plot?.addEventListener(end, () => (this.isDragged = false));
    this.plot?.addEventListener("click", (event) => {
      if (event.detail) event.preventDefault(); // the keyboard follows the link
    });
  }

  /** @param {PointerEvent} event */
  readPointer(event) {
    const box = this.plot?.getBoundingClientRect();
    if (!box?.width) return;
    const place = Math.floor(((event.clientX - box.left) / box.width) * this.facts.length);
    this.showRadius(Math.min(Math.max(place, 0), this.facts.length - 1));
  }

  /** @param {number} number of the last bar within the radius */
  showRadius(number) {
    const facts = this.facts[number];
    for (const output of findElements(this.container, "[data-fact]")) {
      const name = /** @type {keyof RadiusFacts} */ (output.dataset.fact);
      output.textContent = formatFact(name, facts[name]);
    }
    for (const bar of findElements(this.container, "[data-bar]", SVGElement)) {
      bar.classList.toggle("within", Number(bar.dataset.bar) <= number);
    }
    const x = String((600 * (number + 1)) / this.facts.length);
    const handle = findElement(this.container, ".handle", SVGElement);
    handle?.setAttribute("x1", x);
    handle?.setAttribute("x2", x);
    const radius = formatFact("radius", facts.radius);
    const yaml = findElement(this.container, "[data-yaml]");
    if (yaml) yaml.textContent = replaceRadius(yaml.textContent ?? "", radius);
    const field = findElement(document, ".match-trial [name=radius]", HTMLInputElement);
    if (field) field.value = radius;
  }
}

/** @param {HTMLElement} container */
export function mount(container) {
  new RadiusHandle(container);
}
