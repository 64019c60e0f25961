// The parts of a table's page on a phone, in a bar that stays: rows, map, plot, search. Without scripts its links lead there all the same.
import { all, maybe } from "./dom.js";

const NEAR = 100; // pixels from the top of the window: the part that begins above is the one that is read

/** @param {HTMLElement} bar */
export function mount(bar) {
  const links = all(bar, "a", HTMLAnchorElement);
  const there = links.map((link) => maybe(document, link.hash));
  links.forEach((link, at) => {
    link.addEventListener("click", (event) => {
      const part = there[at];
      if (!part || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      if (part instanceof HTMLDetailsElement) part.open = true;
      part.scrollIntoView({ behavior: "instant" });
      /** @type {HTMLElement} */ (part.querySelector("summary") ?? part).focus({ preventScroll: true });
    });
  });
  const follow = () => {
    const tops = there.map((part) => part?.getBoundingClientRect().top ?? Infinity);
    const passed = tops.filter((top) => top < NEAR);
    const now = passed.length ? tops.indexOf(Math.max(...passed)) : 0;
    links.forEach((link, at) => {
      if (at === now) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  };
  let waits = false;
  const later = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      follow();
    });
  };
  addEventListener("scroll", later, { passive: true });
  follow();
}
