// Small histograms beside the columns of a table: each is asked for when it comes into view, a few at a time.
import { all } from "./dom.js";
/** @import {Histogram} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const NS = "http://www.w3.org/2000/svg";
const AT_ONCE = 2;
const HIGH = 20;

/**
 * Give the outline of bars, one wide each; what is there at all is seen.
 * @param {number[]} counts
 */
export function outline(counts) {
  const most = Math.max(...counts, 1);
  const top = (/** @type {number} */ count) => (HIGH - Math.max((count / most) * HIGH, 0.7)).toFixed(1);
  return counts.map((count, at) => (count ? `M${at} ${HIGH}V${top(count)}h.9V${HIGH}z` : "")).join("");
}

/**
 * @param {Histogram} found
 * @param {Workspace} workspace
 */
function drawn({ counts, label }, workspace) {
  const svg = document.createElementNS(NS, "svg");
  const total = workspace.number(counts.reduce((sum, count) => sum + count, 0));
  const attributes = {
    viewBox: `0 0 ${counts.length} ${HIGH}`,
    preserveAspectRatio: "none",
    class: "little-bars",
    role: "img",
    "aria-label": workspace.t("Histogram of {name}, {total} rows", { name: label, total }),
  };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  const path = document.createElementNS(NS, "path");
  path.setAttribute("d", outline(counts));
  svg.append(path);
  return svg;
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  const path = `${box.dataset.here}/histogram`;
  /** @type {HTMLElement[]} */
  const waiting = [];
  let running = 0;

  async function next() {
    const cell = running < AT_ONCE ? waiting.shift() : undefined;
    if (!cell) return;
    running++;
    try {
      const state = new URLSearchParams({ _x: cell.dataset.histogram ?? "" });
      const found = await workspace.ask(path, { state });
      if (found.counts.length > 1) cell.prepend(drawn(found, workspace));
    } catch {
      // the static numbers stay
    } finally {
      running--;
      next();
    }
  }

  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        waiting.push(/** @type {HTMLElement} */ (entry.target));
        next();
      }
    },
    { rootMargin: "100px" },
  );
  for (const cell of all(box, "[data-histogram]")) seen.observe(cell);
}
