// The pictures of a row and of the files of its observation.
import { createElement } from "./dom.js";
import { isAllowedPicture } from "./table_cells.js";
/** @import {Cell, Link, RowFile, Value} from "./answers.js" */

/**
 * Return whether a value or link is a picture with an address of the web.
 * @param {Value | Link} value
 * @returns {value is Cell | Link}
 */
export function isPicture(value) {
  return value !== null && typeof value === "object" && Boolean(value.picture) && /^https?:/i.test(value.href ?? "");
}

/**
 * Create the row of pictures of the files of an observation; null if they share one picture.
 * @param {RowFile[]} files
 */
export function createPictureRow(files) {
  const filesWithPictures = files.filter((file) => /^https?:/i.test(file.picture ?? ""));
  if (new Set(filesWithPictures.map((file) => file.picture)).size < 2) return null;
  const figures = filesWithPictures.map(({ picture: href, text }) =>
    createElement(
      "figure",
      {},
      createPicture({ href, text }),
      createElement("figcaption", { className: "soft", textContent: text }),
    ),
  );
  return createElement("div", { className: "beside" }, ...figures);
}

/**
 * Return the title of a preview link.
 * @param {Cell | Link} value
 */
export function getCaption(value) {
  return "semantics" in value ? value.text : "";
}

/**
 * Create a link with a picture, or only with its text if the page may not show the picture.
 * @param {{href?: string, text: string}} value
 */
export function createPicture({ href = "", text }) {
  const link = createElement("a", { href, rel: "noopener" });
  if (!isAllowedPicture(href)) {
    link.textContent = text;
    return link;
  }
  const image = createElement("img", { src: href, alt: text, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(text)); // not allowed or missing: the link stays
  link.append(image);
  return link;
}
