// Small histograms beside columns. They are fetched when they come into view, two at a time.
import { findElements } from "./dom.js";
/** @import {Histogram} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";
const MAX_REQUESTS = 2;
const HEIGHT_PIXELS = 20;

/**
 * Draw the outline of bars of width one; non-empty bars are always visible.
 * @param {number[]} counts
 */
export function drawBarPath(counts) {
  const maxCount = Math.max(...counts, 1);
  const formatTop = (/** @type {number} */ count) =>
    (HEIGHT_PIXELS - Math.max((count / maxCount) * HEIGHT_PIXELS, 0.7)).toFixed(1);
  return counts
    .map((count, index) => (count ? `M${index} ${HEIGHT_PIXELS}V${formatTop(count)}h.9V${HEIGHT_PIXELS}z` : ""))
    .join("");
}

/**
 * @param {Histogram} histogram
 * @param {Workspace} workspace
 */
function createHistogram({ counts, label }, workspace) {
  const svg = document.createElementNS(SVG_NAMESPACE, "svg");
  const total = workspace.formatNumber(counts.reduce((sum, count) => sum + count, 0));
  const attributes = {
    viewBox: `0 0 ${counts.length} ${HEIGHT_PIXELS}`,
    preserveAspectRatio: "none",
    class: "little-bars",
    role: "img",
    "aria-label": workspace.t("Histogram of {name}, {total} rows", { name: label, total }),
  };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  const pathElement = document.createElementNS(SVG_NAMESPACE, "path");
  pathElement.setAttribute("d", drawBarPath(counts));
  svg.append(pathElement);
  return svg;
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  const histogramUrl = `${container.dataset.here}/histogram`;
  /** @type {HTMLElement[]} */
  const queue = [];
  let requestCount = 0;

  /** Fetch the next histogram of the queue. */
  async function fetchNext() {
    const cell = requestCount < MAX_REQUESTS ? queue.shift() : undefined;
    if (!cell) return;
    requestCount++;
    try {
      const state = new URLSearchParams({ _x: cell.dataset.histogram ?? "" });
      const histogram = await workspace.fetchJson(histogramUrl, { state });
      if (histogram.counts.length > 1) cell.prepend(createHistogram(histogram, workspace));
    } catch {
      // the numbers stay
    } finally {
      requestCount--;
      fetchNext();
    }
  }

  const visibilityObserver = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        visibilityObserver.unobserve(entry.target);
        queue.push(/** @type {HTMLElement} */ (entry.target));
        fetchNext();
      }
    },
    { rootMargin: "100px" },
  );
  for (const cell of findElements(container, "[data-histogram]")) visibilityObserver.observe(cell);
}
