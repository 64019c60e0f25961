// Menus of a bar: one is open at a time; Escape and a click elsewhere shut it. The bar takes one press of Tab.
import { all, find } from "./dom.js";
import { Rover } from "./rove.js";

/**
 * @param {HTMLElement} box
 * @param {() => void} [opened] called when one was opened
 */
export function menus(box, opened = () => {}) {
  const list = all(box, "details.menu", HTMLDetailsElement);
  new Rover(box, ".menu > summary, .compare-button button");
  const shut = (/** @type {HTMLDetailsElement | null} */ but) => {
    for (const one of list) if (one !== but) one.open = false;
  };
  for (const one of list) {
    one.addEventListener("toggle", () => {
      if (!one.open) return;
      shut(one);
      opened();
    });
    one.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !one.open) return;
      one.open = false;
      find(one, "summary").focus();
    });
  }
  document.addEventListener("pointerdown", (event) => {
    if (!box.contains(/** @type {Node} */ (event.target))) shut(null);
  });
  return list;
}

/** @param {HTMLElement} box */
export function mount(box) {
  menus(box);
}
