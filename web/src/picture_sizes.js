// The size of pictures in a result: small, larger or large in the table, or a gallery. The address has it as `_look`.
import { createButton, createElement } from "./dom.js";
import { PHONE_MEDIA_QUERY, computeCardHeight } from "./phone_cards.js";
import { RovingTabindex } from "./roving_tabindex.js";
import { ROW_HEIGHT_PIXELS } from "./virtual_scroll.js";
import { isAllowedPicture } from "./table_cells.js";
/** @import {Value} from "./answers.js" */
/** @import {State, Workspace} from "./workspace.js" */

const PICTURE_SIZES_PIXELS = ["64", "96", "160"];
export const GALLERY_LOOK = "gallery";
const PICTURE_PADDING_PIXELS = 8; // above and below a picture, together

/**
 * Return the size of pictures in the table.
 * @param {Pick<State, "get">} state
 */
export function getPictureSize(state) {
  const look = state.get("_look") ?? "";
  return Number(PICTURE_SIZES_PIXELS.includes(look) ? look : PICTURE_SIZES_PIXELS[0]);
}

/**
 * Set the row height of a grid, according to pictures and to phone cards; return it in pixels.
 * @param {HTMLElement} container
 * @param {Value[][]} rows
 * @param {number[]} drawnColumns
 * @param {Pick<State, "get">} state
 * @param {boolean} [hasFiles] whether rows have files
 */
export function setRowHeight(container, rows, drawnColumns, state, hasFiles = false) {
  const firstRows = rows.slice(0, 20);
  const hasPictures = firstRows.some((row) => drawnColumns.some((column) => getPictureUrl(row[column])));
  const startsWithPicture = firstRows.some((row) => getPictureUrl(row[drawnColumns[0]]));
  const isPhone = matchMedia(PHONE_MEDIA_QUERY).matches;
  const tableHeight = hasPictures ? getPictureSize(state) + PICTURE_PADDING_PIXELS : ROW_HEIGHT_PIXELS;
  const height = isPhone
    ? computeCardHeight(drawnColumns.length, startsWithPicture ? getPictureSize(state) : 0, hasFiles)
    : tableHeight;
  container.classList.toggle("as-cards", isPhone);
  container.classList.toggle("pictured", startsWithPicture);
  container.style.setProperty("--row", `${height}px`);
  container.style.setProperty("--shot", `${getPictureSize(state)}px`);
  return height;
}

/**
 * Return the address of a picture value, if the page may show it.
 * @param {Value | undefined} value
 */
export function getPictureUrl(value) {
  const { picture, href = "" } = value !== null && typeof value === "object" ? value : {};
  return picture && isAllowedPicture(href) ? href : "";
}

/**
 * Create the buttons for picture sizes; they are hidden if no row has a picture.
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  const { state, t } = workspace;
  const names = { 64: t("Small pictures"), 96: t("Larger pictures"), 160: t("Large pictures"), gallery: t("Gallery") };
  const buttons = Object.entries(names).map(([look, title]) => {
    const setLook = () => state.set({ _look: look === PICTURE_SIZES_PIXELS[0] ? null : look });
    return createButton(look === GALLERY_LOOK ? title : `${look}`, setLook, { title });
  });
  container.replaceChildren(createElement("span", { className: "soft", textContent: t("Pictures") }), " ", ...buttons);
  container.setAttribute("role", "group");
  container.setAttribute("aria-label", t("Pictures"));
  const update = () => {
    const currentLook = state.get("_look") ?? PICTURE_SIZES_PIXELS[0];
    Object.keys(names).forEach((look, index) =>
      buttons[index].setAttribute("aria-pressed", String(look === currentLook)),
    );
    const { loadedRows } = workspace;
    if (loadedRows) container.hidden = !loadedRows.rows.some((row) => row.some((value) => getPictureUrl(value)));
  };
  state.on("change", update);
  workspace.on("rows", update);
  new RovingTabindex(container, "button");
  update();
}
