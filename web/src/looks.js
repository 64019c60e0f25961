// How the rows of a search with pictures look: small, larger or large pictures in a table, or pictures alone; it stands in the address (`_look`).
import { button, make } from "./dom.js";
import { NARROW, tall } from "./phone_cards.js";
import { Rover } from "./rove.js";
import { HEIGHT } from "./scroll.js";
import { pictured } from "./table.js";
/** @import {Value} from "./answers.js" */
/** @import {State, Workspace} from "./workspace.js" */

const SIZES = ["64", "96", "160"]; // pixels of a picture
export const GALLERY = "gallery";
const AROUND = 8; // pixels above and below a picture, together

/**
 * Give the pixels of a picture in a table.
 * @param {Pick<State, "get">} state
 */
export function side(state) {
  const look = state.get("_look") ?? "";
  return Number(SIZES.includes(look) ? look : SIZES[0]);
}

/**
 * Make the rows of a grid as tall as their pictures, where there are some to be shown, and on a phone as cards are; gives the pixels of a row.
 * @param {HTMLElement} box
 * @param {Value[][]} rows
 * @param {number[]} drawn
 * @param {Pick<State, "get">} state
 * @param {boolean} [files] whether each has files
 */
export function sized(box, rows, drawn, state, files = false) {
  const first = rows.slice(0, 20);
  const some = first.some((row) => drawn.some((number) => shown(row[number])));
  const before = first.some((row) => shown(row[drawn[0]]));
  const cards = matchMedia(NARROW).matches;
  const plain = some ? side(state) + AROUND : HEIGHT;
  const high = cards ? tall(drawn.length, before ? side(state) : 0, files) : plain;
  box.classList.toggle("as-cards", cards);
  box.classList.toggle("pictured", before);
  box.style.setProperty("--row", `${high}px`);
  box.style.setProperty("--shot", `${side(state)}px`);
  return high;
}

/**
 * Give the address of the picture that a value is, if pages may show it.
 * @param {Value | undefined} value
 */
export function shown(value) {
  const { picture, href = "" } = value !== null && typeof value === "object" ? value : {};
  return picture && pictured(href) ? href : "";
}

/**
 * Buttons to choose among; with no picture to be shown there are none.
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  const { state, t } = workspace;
  const names = { 64: t("Small pictures"), 96: t("Larger pictures"), 160: t("Large pictures"), gallery: t("Gallery") };
  const made = Object.entries(names).map(([look, title]) => {
    const act = () => state.set({ _look: look === SIZES[0] ? null : look });
    return button(look === GALLERY ? title : `${look}`, act, { title });
  });
  box.replaceChildren(make("span", { className: "soft", textContent: t("Pictures") }), " ", ...made);
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", t("Pictures"));
  const follow = () => {
    const now = state.get("_look") ?? SIZES[0];
    Object.keys(names).forEach((look, at) => made[at].setAttribute("aria-pressed", String(look === now)));
    const { rows } = workspace;
    if (rows) box.hidden = !rows.rows.some((row) => row.some((value) => shown(value)));
  };
  state.on("change", follow);
  workspace.on("rows", follow);
  new Rover(box, "button");
  follow();
}
