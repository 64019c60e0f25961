// Drawing of plots: points with error bars, density cells, legend marks, in the colours of the page.
import { createElement } from "./dom.js";
import { computeErrorEnds } from "./plot_data.js";
/** @import uPlot from "uplot" */
/** @import {Density} from "./answers.js" */
/** @import {PlotSettings} from "./plot_data.js" */

/**
 * @typedef {{colours: string[] | null, errors: ((number | null)[] | null)[], size: number} & PlotSettings} PointStyle
 * style of points
 */

/**
 * Return a colour of the page's theme by its custom property.
 * @param {string} name
 */
export function getColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Create a strip with the gradient of a scale.
 * @param {string} background
 */
export function createScaleStrip(background) {
  const element = createElement("span", { className: "scale" });
  element.style.background = background;
  return element;
}

/**
 * Create a patch of a colour for a legend.
 * @param {string} colour
 */
export function createSwatch(colour) {
  const element = createElement("span", { className: "swatch" });
  element.style.background = colour;
  return element;
}

/**
 * Draw error bars behind the points.
 * @param {uPlot} plot
 * @param {PointStyle} look
 */
function drawErrorBars(plot, { errors, logX, logY }) {
  const { ctx } = plot;
  ctx.strokeStyle = getColour("--soft");
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  errors.forEach((sizes, isVertical) => {
    const [scale, otherScale] = isVertical ? ["y", "x"] : ["x", "y"];
    sizes?.forEach((size, number) => {
      const [value, otherValue] = [plot.data[isVertical][number], plot.data[1 - isVertical][number]].map(Number);
      const ends = computeErrorEnds(value, size, isVertical ? logY : logX, plot.scales[scale].min ?? 0);
      if (!ends) return;
      const otherPixel = plot.valToPos(otherValue, otherScale, true);
      const [from, to] = ends.map((end) => plot.valToPos(end, scale, true));
      ctx.moveTo(isVertical ? otherPixel : from, isVertical ? from : otherPixel);
      ctx.lineTo(isVertical ? otherPixel : to, isVertical ? to : otherPixel);
    });
  });
  ctx.stroke();
}

/**
 * Draw the cells of a density.
 * @param {uPlot} plot
 * @param {Density["box"]} box
 * @param {number[][]} counts
 * @param {(count: number) => string} getShade
 */
export function drawDensity(plot, [left, right, low, high], counts, getShade) {
  const { ctx } = plot;
  const cellCount = counts.length;
  const x = (/** @type {number} */ column) => plot.valToPos(left + ((right - left) * column) / cellCount, "x", true);
  const y = (/** @type {number} */ row) => plot.valToPos(low + ((high - low) * row) / cellCount, "y", true);
  for (let row = 0; row < cellCount; row++) {
    for (let column = 0; column < cellCount; column++) {
      const count = counts[row][column];
      if (!count) continue;
      const [x0, y1] = [x(column), y(row + 1)];
      ctx.fillStyle = getShade(count);
      ctx.fillRect(x0, y1, Math.max(x(column + 1) - x0, 1) + 0.5, Math.max(y(row) - y1, 1) + 0.5);
    }
  }
  return null;
}

/**
 * Draw points; chosen ones are larger and have the highlight colour.
 * @param {uPlot} plot
 * @param {PointStyle} style
 * @param {(number: number) => boolean} isChosen
 */
export function drawPoints(plot, style, isChosen) {
  const { ctx, data } = plot;
  const [mark, accent] = [getColour("--mark"), getColour("--accent")];
  ctx.save();
  ctx.beginPath();
  ctx.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
  ctx.clip();
  drawErrorBars(plot, style);
  for (let number = 0; number < data[0].length; number++) {
    const px = plot.valToPos(data[0][number], "x", true);
    const py = plot.valToPos(/** @type {number} */ (data[1][number]), "y", true);
    const isLit = isChosen(number);
    ctx.fillStyle = isLit ? mark : (style.colours?.[number] ?? accent);
    const size = style.size * devicePixelRatio * (isLit ? 2 : 1);
    ctx.fillRect(px - size / 2, py - size / 2, size, size);
  }
  ctx.restore();
  return null;
}
