// Menus of a toolbar: one is open at a time; Escape or a click elsewhere closes it. The toolbar is one stop of the Tab
// key.
import { findElements, requireElement } from "./dom.js";
import { RovingTabindex } from "./roving_tabindex.js";

/**
 * Initialize the menus of a container.
 * @param {HTMLElement} container
 * @param {() => void} [handleOpen] called when a menu has opened
 */
export function initializeMenus(container, handleOpen = () => {}) {
  const menuElements = findElements(container, "details.menu", HTMLDetailsElement);
  new RovingTabindex(container, ".menu > summary, .compare-button button");
  const closeOthers = (/** @type {HTMLDetailsElement | null} */ openMenu) => {
    for (const menu of menuElements) {
      if (menu !== openMenu) menu.open = false;
    }
  };
  for (const menu of menuElements) {
    menu.addEventListener("toggle", () => {
      if (!menu.open) return;
      closeOthers(menu);
      handleOpen();
    });
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      requireElement(menu, "summary").focus();
    });
  }
  document.addEventListener("pointerdown", (event) => {
    if (!container.contains(/** @type {Node} */ (event.target))) closeOthers(null);
  });
  return menuElements;
}

/** @param {HTMLElement} container */
export function mount(container) {
  initializeMenus(container);
}
