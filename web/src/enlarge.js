// A small picture under the pointer is shown larger beside it.
import { make, target } from "./dom.js";

const SIDE = 340; // pixels, at most
const WAIT = 200; // milliseconds that the pointer rests

/** @param {HTMLElement} box what has the small pictures */
export function enlarges(box) {
  /** @type {HTMLImageElement | null} */
  let large = null;
  let waiting = 0;
  const away = () => {
    clearTimeout(waiting);
    large?.remove();
    large = null;
  };
  box.addEventListener("pointerover", (event) => {
    const small = target(event);
    away();
    if (event.pointerType === "touch" || !(small instanceof HTMLImageElement) || !small.complete) return;
    if (small.naturalWidth <= small.clientWidth && small.naturalHeight <= small.clientHeight) return; // nothing more to see
    waiting = setTimeout(() => {
      large = make("img", { className: "enlarged", src: small.src, alt: "", "aria-hidden": "true" });
      const { left, right, top } = small.getBoundingClientRect();
      large.style.left = `${right + SIDE + 24 < innerWidth ? right + 12 : Math.max(left - SIDE - 12, 0)}px`;
      large.style.top = `${Math.max(Math.min(top, innerHeight - SIDE - 12), 0)}px`;
      document.body.append(large);
    }, WAIT);
  });
  box.addEventListener("pointerout", away);
  box.addEventListener("pointerdown", away);
  addEventListener("scroll", away, { capture: true, passive: true });
}
