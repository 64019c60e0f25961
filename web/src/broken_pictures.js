// Pictures that cannot be drawn: a neutral sign stands in their place, on every page, whoever put them there.
import { all, make } from "./dom.js";

/** Give what stands where there is no picture; it is called as the picture was. */
export function noPicture(name = "", className = "") {
  const looks = { className: `no-shot ${className}`.trim() };
  return name
    ? make("span", { ...looks, role: "img", title: name, "aria-label": name })
    : make("span", { ...looks, "aria-hidden": "true" });
}

/** Replace the pictures of a page's content that failed, and those that will fail, unless what put them there does so itself. */
export function replaceBrokenPictures() {
  document.addEventListener(
    "error",
    ({ target }) => {
      if (target instanceof HTMLImageElement) setTimeout(() => replace(target)); // its own listeners go first
    },
    true,
  );
  for (const image of all(document, "img", HTMLImageElement)) if (image.complete && !image.naturalWidth) replace(image);
}

/** @param {HTMLImageElement} image */
function replace(image) {
  const inContent = image.closest("main, dialog");
  if (inContent && image.getAttribute("src")) image.replaceWith(noPicture(image.alt, image.className));
}
