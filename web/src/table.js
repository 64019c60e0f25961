// Values of an answer in the cells of a table; text is text, whatever it says.
import { make } from "./dom.js";
/** @import {Column, Translate, Value} from "./answers.js" */

const LONG = 30; // characters: a column may cut what is longer

/**
 * Put a value into a cell: text, or an object with text, href, title; what is long is told in full when one points at it.
 * @param {HTMLElement} cell
 * @param {Value} value
 * @param {Pick<Column, "numeric">} column
 * @param {Translate} t
 */
export function fill(cell, value, column, t) {
  if (column.numeric) cell.className = "n";
  if (value === null) return;
  if (typeof value === "string") {
    cell.textContent = value;
    if (value.length > LONG) cell.title = value;
    return;
  }
  const { text, href, title, picture, corners } = value;
  if (title || text.length > LONG) cell.title = title || text;
  if (corners) {
    cell.textContent = t("polygon of {count} corners", { count: corners });
  } else if (picture && href && pictured(href)) {
    const link = make("a", { href, rel: "noopener", className: "thumbnail", textContent: text });
    thumbnail(link);
    cell.append(link);
  } else if (href && /^(https?|ftp):/i.test(href)) {
    cell.append(make("a", { href, rel: "noopener", textContent: text }));
  } else {
    cell.textContent = text;
  }
}

/**
 * Whether the site lets its pages show a picture of that address: its own, and of origins that the site file names.
 * @param {string} href
 */
export function pictured(href) {
  try {
    return among(new URL(href), location.origin, document.documentElement.dataset.images ?? "");
  } catch {
    return false;
  }
}

/**
 * Whether an address is of the page's own origin, or of one of a list like that of a content security policy.
 * @param {URL} address
 * @param {string} own
 * @param {string} list
 */
export function among({ origin, protocol, host }, own, list) {
  const wild = `${protocol}//*.`;
  const fits = (/** @type {string} */ one) =>
    one === origin || (one.startsWith(wild) && host.endsWith(one.slice(wild.length - 1)));
  return origin === own || list.split(" ").some(fits);
}

/**
 * Show a small picture instead of the text of the link to it.
 * @param {HTMLAnchorElement} link
 */
export function thumbnail(link) {
  const text = link.textContent ?? "";
  const image = make("img", {
    src: link.href,
    alt: text,
    title: text,
    loading: "lazy",
    decoding: "async",
  });
  image.addEventListener("error", () => image.replaceWith(text)); // gone: the link stays
  link.className = "thumbnail";
  link.replaceChildren(image);
}
