// The large preview of a picture in a dialog. The button, Escape or a click outside closes it.
import { createButton, createElement } from "./dom.js";
/** @import {Translate} from "./answers.js" */

/**
 * Return the address of the large picture: previews that this site draws lose their size parameter.
 * @param {string} href
 * @param {string} origin origin of the page
 */
export function getLargePreviewUrl(href, origin) {
  const url = new URL(href, origin);
  if (url.origin !== origin || !url.pathname.includes("/preview/")) return href;
  for (const name of [...url.searchParams.keys()]) {
    if (name.toLowerCase() === "size") url.searchParams.delete(name);
  }
  return url.href;
}

/**
 * Show a picture at full size; closing the dialog restores the focus.
 * @param {{href: string, text: string}} picture
 * @param {Translate} t
 */
export function openLightbox({ href, text }, t) {
  const focusedBefore = document.activeElement;
  const dialog = createElement("dialog", { className: "lightbox", "aria-label": text || t("Picture") });
  const image = createElement("img", { src: href, alt: text });
  const link = createElement("a", {
    href,
    rel: "noopener",
    target: "_blank",
    textContent: t("Open the picture in a new tab"),
  });
  const closeButton = createButton(t("Close"), () => dialog.close(), { className: "quiet" });
  image.addEventListener("error", () =>
    image.replaceWith(createElement("p", { textContent: t("This picture cannot be shown.") })),
  );
  dialog.append(createElement("p", { className: "bar" }, link, " ", closeButton), image);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (focusedBefore instanceof HTMLElement) focusedBefore.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  closeButton.focus();
}
