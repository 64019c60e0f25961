// Scales of uPlot.
/** @import uPlot from "uplot" */

/** @type {uPlot.Scale} */
export const LOGARITHMIC_SCALE = { distr: 3 };

/** @type {uPlot.Range.Function} */
export const computeRangeFromZero = (_, __, maximum) => [0, maximum * 1.05 || 1];

/**
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
export const getRange = (low, high) => [low, high];

/**
 * @param {boolean} isLog
 * @returns {uPlot.Scale.Distr}
 */
export const getDistribution = (isLog) => (isLog ? 3 : 1);
