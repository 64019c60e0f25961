// What a grid listens to: the workspace, the pointer and the keyboard. Arrows move between rows and to the headings,
// Enter opens a row, the space bar marks it.
import { DISPLAY_PARAMETERS } from "./display_parameters.js";
import { getEventTarget } from "./dom.js";
import { enableHoverZoom } from "./hover_zoom.js";
import { PHONE_MEDIA_QUERY } from "./phone_cards.js";
/** @import {RowGrid} from "./row_grid.js" */
/** @import {State} from "./workspace.js" */

const MAX_CLICK_PIXELS = 4; // between press and release: a longer way is that of a drag

/**
 * Format the parameters of a search without those of its display.
 * @param {State} state
 */
export function formatSearch(state) {
  return String(state.withChanges(DISPLAY_PARAMETERS));
}

/**
 * Listen to keyboard and pointer.
 * @param {RowGrid} grid
 */
export function listenToUser(grid) {
  const { body, container } = grid;
  const { selection } = grid.workspace;
  const findKey = (/** @type {Event} */ event) =>
    /** @type {HTMLElement | null} */ (getEventTarget(event).closest("tr[data-key]"))?.dataset.key || null;
  // horizontal scrolling shows the same rows
  const handleScroll = () => {
    if (container.scrollTop !== grid.drawnScrollTop) grid.draw();
  };
  matchMedia(PHONE_MEDIA_QUERY).addEventListener("change", () => grid.updateRowHeight());
  container.addEventListener("scroll", () => requestAnimationFrame(handleScroll), { passive: true });
  enableHoverZoom(body);
  listenToPresses(grid);
  body.addEventListener("pointerover", (event) => selection.set("hover", findKey(event)));
  body.addEventListener("pointerleave", () => selection.set("hover", null));
  listenToKeys(grid);
}

/**
 * Handle clicks, and presses on rows that are replaced or pushed away below the pointer before the release: browsers
 * dispatch no click for them, or one for what contains both rows.
 * @param {RowGrid} grid
 */
function listenToPresses(grid) {
  const { body } = grid;
  /** @type {{element: HTMLElement, x: number, y: number} | null} */
  let press = null;
  let isHandled = false;
  body.addEventListener("pointerdown", (event) => {
    press = event.button ? null : { element: getEventTarget(event), x: event.clientX, y: event.clientY };
    isHandled = false;
  });
  body.addEventListener("pointercancel", () => {
    press = null;
  });
  body.addEventListener("pointerup", (event) => {
    if (press && press.element !== getEventTarget(event)) {
      isHandled = Math.hypot(event.clientX - press.x, event.clientY - press.y) <= MAX_CLICK_PIXELS;
      if (isHandled) handleClick(grid, press.element, event);
    }
    press = null;
  });
  body.addEventListener("click", (event) => {
    if (!isHandled) handleClick(grid, getEventTarget(event), event);
    isHandled = false;
  });
}

/**
 * Choose or mark the row of a click, also if the rows of another search are under way; links keep their effect.
 * @param {RowGrid} grid
 * @param {HTMLElement} element that was clicked
 * @param {MouseEvent} event
 */
function handleClick(grid, element, event) {
  const rowElement = /** @type {HTMLElement | null} */ (element.closest("tr[data-key]"));
  const link = element.closest("a");
  if (!rowElement || (link && (event.ctrlKey || event.metaKey || !link.matches(".thumbnail")))) return;
  if (link) event.preventDefault(); // a thumbnail opens its row
  const isMarking =
    element.closest(".tick, input") || (element instanceof HTMLTableCellElement && element.cellIndex === 0);
  if (isMarking) grid.toggleRow(rowElement);
  else grid.chooseRow(Number(rowElement.dataset.at), rowElement.dataset.key);
}

/**
 * Listen to changes of the search, the selection and the number of rows.
 * @param {RowGrid} grid
 */
export function listenToWorkspace(grid) {
  const { selection, state } = grid.workspace;
  selection.on("change", (event) => {
    grid.showSelection(event.name);
    if (event.name === "chosen") grid.revealChosen();
  });
  grid.workspace.on("count", () => grid.handleCount());
  grid.workspace.on("step", (event) => {
    if (!grid.rowSpace) return;
    const rowIndex = grid.pages.findLoadedRow(selection.chosen) ?? grid.activeRow;
    grid.chooseRow(Math.max(0, Math.min(rowIndex + event.step, grid.rowSpace - 1)));
  });
  state.on("change", () => {
    selection.set("chosen", state.get("_row"));
    const search = formatSearch(state);
    if (search === grid.lastSearch) return grid.updateRowHeight();
    grid.lastSearch = search;
    grid.pages.isRenewed = false;
    grid.loadFirstRows().then(() => grid.revealChosen());
  });
}

/** @param {RowGrid} grid */
function listenToKeys(grid) {
  grid.body.addEventListener("keydown", (event) => handleKey(grid, event));
  grid.headRow.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" || !grid.rowSpace) return;
    event.preventDefault();
    grid.moveTo(grid.activeRow);
  });
}

/**
 * @param {RowGrid} grid
 * @param {KeyboardEvent} event
 */
function handleKey(grid, event) {
  const { activeRow } = grid;
  const rowsInView = grid.scroll.rowsInView - 1;
  /** @type {Record<string, number>} */
  const targetRows = {
    ArrowDown: activeRow + 1,
    ArrowUp: activeRow - 1,
    PageDown: activeRow + rowsInView,
    PageUp: activeRow - rowsInView,
    Home: 0,
    End: grid.rowSpace - 1,
  };
  const element = getEventTarget(event);
  if (event.key in targetRows) {
    event.preventDefault();
    if (event.key === "ArrowUp" && activeRow === 0) grid.headFocus.focus();
    else grid.moveTo(targetRows[event.key]);
  } else if (event.key === "Enter" && element.matches("tr")) {
    grid.chooseRow(activeRow);
  } else if (event.key === " " && element.matches("tr[data-key]")) {
    event.preventDefault();
    grid.toggleRow(element);
  }
}
