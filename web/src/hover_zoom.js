// Show a larger copy of a thumbnail while the pointer rests on it.
import { createElement, getEventTarget } from "./dom.js";

const MAX_SIDE_PIXELS = 340;
const HOVER_DELAY_MILLISECONDS = 200;

/**
 * Enlarge the thumbnails of a container while the pointer rests on them.
 * @param {HTMLElement} container the container of the thumbnails
 */
export function enableHoverZoom(container) {
  /** @type {HTMLImageElement | null} */
  let enlarged = null;
  let timer = 0;
  const hideEnlarged = () => {
    clearTimeout(timer);
    enlarged?.remove();
    enlarged = null;
  };
  container.addEventListener("pointerover", (event) => {
    const thumbnail = getEventTarget(event);
    hideEnlarged();
    if (event.pointerType === "touch" || !(thumbnail instanceof HTMLImageElement) || !thumbnail.complete) return;
    // already shown at full size
    if (thumbnail.naturalWidth <= thumbnail.clientWidth && thumbnail.naturalHeight <= thumbnail.clientHeight) return;
    timer = setTimeout(() => {
      enlarged = createElement("img", { className: "enlarged", src: thumbnail.src, alt: "", "aria-hidden": "true" });
      const { left, right, top } = thumbnail.getBoundingClientRect();
      const fitsRight = right + MAX_SIDE_PIXELS + 24 < innerWidth;
      enlarged.style.left = `${fitsRight ? right + 12 : Math.max(left - MAX_SIDE_PIXELS - 12, 0)}px`;
      enlarged.style.top = `${Math.max(Math.min(top, innerHeight - MAX_SIDE_PIXELS - 12), 0)}px`;
      document.body.append(enlarged);
    }, HOVER_DELAY_MILLISECONDS);
  });
  container.addEventListener("pointerout", hideEnlarged);
  container.addEventListener("pointerdown", hideEnlarged);
  addEventListener("scroll", hideEnlarged, { capture: true, passive: true });
}
