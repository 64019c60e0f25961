// What keys do in a grid: arrows go from row to row, and above the first one to the heads; Enter opens a row, the space bar marks it.
import { target } from "./dom.js";
/** @import {Grid} from "./grid.js" */

/** @param {Grid} grid */
export function listen(grid) {
  grid.body.addEventListener("keydown", (event) => pressed(grid, event));
  grid.head.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" || !grid.total) return;
    event.preventDefault();
    grid.move(grid.active);
  });
}

/**
 * @param {Grid} grid
 * @param {KeyboardEvent} event
 */
function pressed(grid, event) {
  const { active } = grid;
  const seen = grid.scroll.seen - 1;
  /** @type {Record<string, number>} */
  const rows = {
    ArrowDown: active + 1,
    ArrowUp: active - 1,
    PageDown: active + seen,
    PageUp: active - seen,
    Home: 0,
    End: grid.total - 1,
  };
  const at = target(event);
  if (event.key in rows) {
    event.preventDefault();
    if (event.key === "ArrowUp" && active === 0) grid.heads.focus();
    else grid.move(rows[event.key]);
  } else if (event.key === "Enter" && at.matches("tr")) {
    grid.choose(active);
  } else if (event.key === " " && at.matches("tr[data-key]")) {
    event.preventDefault();
    grid.mark(at);
  }
}
