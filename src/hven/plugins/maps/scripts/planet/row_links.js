// What a row leads to: its file, its other links, and its picture, which shows the plot of a spectrum.
import { createElement } from "hven/dom.js";
import { getLargePreviewUrl, openLightbox } from "hven/lightbox.js";
import { createPicture, isPicture } from "hven/row_pictures.js";
import { isAllowedPicture } from "hven/table_cells.js";
/** @import {Row, Translate} from "hven/answers.js" */

const PANEL_PICTURE_PIXELS = 480; // smaller pictures have no axes
const SKY_LINK_PATTERN = /^(SIMBAD|NED): /; // they know names of objects on the sky

/**
 * List the file and the other links of a row.
 * @param {Row} row
 * @param {string} fileText
 */
export function listRowLinks({ file, links }, fileText) {
  const files = file ? [{ href: file.href, text: `${fileText} ${file.href.split("/").pop()}` }] : [];
  const furtherLinks = (links ?? []).filter(
    (link) => !link.locked && link.href !== file?.href && !link.picture && !SKY_LINK_PATTERN.test(link.text),
  );
  return [...files, ...furtherLinks].map(({ href, text }) =>
    createElement("li", {}, createElement("a", { href, textContent: text })),
  );
}

/**
 * Create the first picture of a row, which opens a large one; there may be none.
 * @param {Row} rowData
 * @param {string} name
 * @param {Translate} t
 */
export function createRowPictures({ links, row }, name, t) {
  const pictureLink = [...(links ?? []), ...(row ?? [])].find(isPicture);
  if (!pictureLink) return [];
  const { href = "" } = pictureLink;
  const link = createPicture({ href: buildPanelPictureUrl(href), text: name });
  link.addEventListener("click", (event) => {
    if (!isAllowedPicture(href) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openLightbox({ href: getLargePreviewUrl(href, location.origin), text: name }, t);
  });
  return [link];
}

/**
 * Build the address of a picture for the panel: previews that this site draws are drawn smaller, with larger letters.
 * @param {string} href
 */
function buildPanelPictureUrl(href) {
  const url = new URL(href, location.origin);
  if (url.origin === location.origin && url.pathname.includes("/preview/"))
    url.searchParams.set("size", String(PANEL_PICTURE_PIXELS));
  return url.href;
}
