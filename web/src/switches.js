// Language and colours: their links keep the state that the page has come to since it was drawn.
import { target } from "./dom.js";

/**
 * Give the state of a page with the language or the colours of a link.
 * @param {string} state
 * @param {string} link
 */
export function switched(state, link) {
  const next = new URLSearchParams(state);
  for (const [name, value] of new URLSearchParams(link))
    if (name === "lang" || name === "_theme") next.set(name, value);
  return `?${next}`;
}

/** @param {HTMLElement} box */
export function mount(box) {
  box.addEventListener("click", (event) => {
    const link = /** @type {HTMLAnchorElement | null} */ (target(event).closest("a[href^='?']"));
    if (!link) return;
    link.search = switched(location.search, link.search);
    link.hash = location.hash;
  });
}
