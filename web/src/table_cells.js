// Fill table cells with values. Text stays text, whatever it contains.
import { createElement } from "./dom.js";
/** @import {Column, Translate, Value} from "./answers.js" */

const LONG_TEXT_CHARACTERS = 30; // longer texts may be cut by the column

/**
 * Fill a cell with a value; long texts get a tooltip.
 * @param {HTMLElement} cell
 * @param {Value} value
 * @param {Pick<Column, "numeric">} column
 * @param {Translate} t
 */
export function fillCell(cell, value, column, t) {
  if (column.numeric) cell.className = "n";
  if (value === null) return;
  if (typeof value === "string") {
    cell.textContent = value;
    if (value.length > LONG_TEXT_CHARACTERS) cell.title = value;
    return;
  }
  const { text, href, title, picture, corners } = value;
  if (title || text.length > LONG_TEXT_CHARACTERS) cell.title = title || text;
  if (corners) {
    cell.textContent = t("polygon of {count} corners", { count: corners });
  } else if (picture && href && isAllowedPicture(href)) {
    const link = createElement("a", { href, rel: "noopener", className: "thumbnail", textContent: text });
    showThumbnail(link);
    cell.append(link);
  } else if (href && /^(https?|ftp):/i.test(href)) {
    cell.append(createElement("a", { href, rel: "noopener", textContent: text }));
  } else {
    cell.textContent = text;
  }
}

/**
 * Return whether the site's policy allows the picture: from its own origin, or an origin that the site file lists.
 * @param {string} href
 */
export function isAllowedPicture(href) {
  try {
    return isAllowedOrigin(new URL(href), location.origin, document.documentElement.dataset.images ?? "");
  } catch {
    return false;
  }
}

/**
 * Return whether an address belongs to the page's own origin or to a list like that of a content security policy.
 * @param {URL} address
 * @param {string} ownOrigin
 * @param {string} allowedOrigins
 */
export function isAllowedOrigin({ origin, protocol, host }, ownOrigin, allowedOrigins) {
  const wildcardPrefix = `${protocol}//*.`;
  const matchesOrigin = (/** @type {string} */ allowed) =>
    allowed === origin ||
    (allowed.startsWith(wildcardPrefix) && host.endsWith(allowed.slice(wildcardPrefix.length - 1)));
  return origin === ownOrigin || allowedOrigins.split(" ").some(matchesOrigin);
}

/**
 * Show a thumbnail instead of the text of its link.
 * @param {HTMLAnchorElement} link
 */
export function showThumbnail(link) {
  const text = link.textContent ?? "";
  const image = createElement("img", {
    src: link.href,
    alt: text,
    title: text,
    loading: "lazy",
    decoding: "async",
  });
  image.addEventListener("error", () => image.replaceWith(text)); // missing: the link stays
  link.className = "thumbnail";
  link.replaceChildren(image);
}
