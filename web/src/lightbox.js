// The large preview of a picture, over the page: closed by a button, by Escape, or by a press beside it.
import { button, make } from "./dom.js";
/** @import {Translate} from "./answers.js" */

/**
 * Give the address of the large picture: a preview that this site draws is drawn at its usual size instead of as a thumbnail.
 * @param {string} href
 * @param {string} origin of the page
 */
export function largePreview(href, origin) {
  const url = new URL(href, origin);
  if (url.origin !== origin || !url.pathname.includes("/preview/")) return href;
  for (const name of [...url.searchParams.keys()]) if (name.toLowerCase() === "size") url.searchParams.delete(name);
  return url.href;
}

/**
 * Show a picture at its full size; the focus goes back to where it was.
 * @param {{href: string, text: string}} picture
 * @param {Translate} t
 */
export function openLightbox({ href, text }, t) {
  const back = document.activeElement;
  const dialog = make("dialog", { className: "lightbox", "aria-label": text || t("Picture") });
  const image = make("img", { src: href, alt: text });
  const link = make("a", { href, rel: "noopener", target: "_blank", textContent: t("Open the picture by itself") });
  const close = button(t("Close"), () => dialog.close(), { className: "quiet" });
  image.addEventListener("error", () =>
    image.replaceWith(make("p", { textContent: t("This picture cannot be shown.") })),
  );
  dialog.append(make("p", { className: "bar" }, link, " ", close), image);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (back instanceof HTMLElement) back.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
}
