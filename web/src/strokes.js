// How a plot is drawn: points and their errors, cells of a density, strips and patches of its legend; in the colours of the page.
import { make } from "./dom.js";
import { ends } from "./marks.js";
/** @import uPlot from "uplot" */
/** @import {Density} from "./answers.js" */
/** @import {Settings} from "./marks.js" */

/** @typedef {{colours: string[] | null, errors: ((number | null)[] | null)[], size: number} & Settings} Look of points */

/** @param {string} name */
export function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @param {string} background */
export function strip(background) {
  const made = make("span", { className: "scale" });
  made.style.background = background;
  return made;
}

/** @param {string} colour */
export function swatch(colour) {
  const made = make("span", { className: "swatch" });
  made.style.background = colour;
  return made;
}

/**
 * Draw lines as long as the errors say, behind the points.
 * @param {uPlot} u
 * @param {Look} look
 */
function errorBars(u, { errors, logX, logY }) {
  const { ctx } = u;
  ctx.strokeStyle = ink("--soft");
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  errors.forEach((sizes, up) => {
    const [scale, across] = up ? ["y", "x"] : ["x", "y"];
    sizes?.forEach((size, number) => {
      const [value, aside] = [u.data[up][number], u.data[1 - up][number]].map(Number);
      const bar = ends(value, size, up ? logY : logX, u.scales[scale].min ?? 0);
      if (!bar) return;
      const other = u.valToPos(aside, across, true);
      const [from, to] = bar.map((one) => u.valToPos(one, scale, true));
      ctx.moveTo(up ? other : from, up ? from : other);
      ctx.lineTo(up ? other : to, up ? to : other);
    });
  });
  ctx.stroke();
}

/**
 * Draw the cells of a density.
 * @param {uPlot} u
 * @param {Density["box"]} box
 * @param {number[][]} counts
 * @param {(count: number) => string} shade
 */
export function shaded(u, [left, right, low, high], counts, shade) {
  const { ctx } = u;
  const side = counts.length;
  const x = (/** @type {number} */ column) => u.valToPos(left + ((right - left) * column) / side, "x", true);
  const y = (/** @type {number} */ row) => u.valToPos(low + ((high - low) * row) / side, "y", true);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const count = counts[row][column];
      if (!count) continue;
      const [x0, y1] = [x(column), y(row + 1)];
      ctx.fillStyle = shade(count);
      ctx.fillRect(x0, y1, Math.max(x(column + 1) - x0, 1) + 0.5, Math.max(y(row) - y1, 1) + 0.5);
    }
  }
  return null;
}

/**
 * Draw points, those that are `chosen` bigger and in the warm colour.
 * @param {uPlot} u
 * @param {Look} look
 * @param {(number: number) => boolean} chosen
 */
export function scatter(u, look, chosen) {
  const { ctx, data } = u;
  const [mark, accent] = [ink("--mark"), ink("--accent")];
  ctx.save();
  ctx.beginPath();
  ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  ctx.clip();
  errorBars(u, look);
  for (let number = 0; number < data[0].length; number++) {
    const px = u.valToPos(data[0][number], "x", true);
    const py = u.valToPos(/** @type {number} */ (data[1][number]), "y", true);
    const lit = chosen(number);
    ctx.fillStyle = lit ? mark : (look.colours?.[number] ?? accent);
    const side = look.size * devicePixelRatio * (lit ? 2 : 1);
    ctx.fillRect(px - side / 2, py - side / 2, side, side);
  }
  ctx.restore();
  return null;
}
