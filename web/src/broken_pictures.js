// Replace pictures that cannot be loaded by a neutral placeholder.
import { findElements, createElement } from "./dom.js";

/** Create the placeholder of a picture, with the picture's name as its label. */
export function createPlaceholder(name = "", className = "") {
  const properties = { className: `no-shot ${className}`.trim() };
  return name
    ? createElement("span", { ...properties, role: "img", title: name, "aria-label": name })
    : createElement("span", { ...properties, "aria-hidden": "true" });
}

/**
 * Replace the broken pictures of the page's content, now and later, unless the code that inserted them handles the
 * error itself.
 */
export function replaceBrokenPictures() {
  document.addEventListener(
    "error",
    ({ target }) => {
      // after the picture's own listeners
      if (target instanceof HTMLImageElement) setTimeout(() => replaceWithPlaceholder(target));
    },
    true,
  );
  for (const image of findElements(document, "img", HTMLImageElement)) {
    if (image.complete && !image.naturalWidth) replaceWithPlaceholder(image);
  }
}

/** @param {HTMLImageElement} image */
function replaceWithPlaceholder(image) {
  const content = image.closest("main, dialog");
  if (content && image.getAttribute("src")) image.replaceWith(createPlaceholder(image.alt, image.className));
}
