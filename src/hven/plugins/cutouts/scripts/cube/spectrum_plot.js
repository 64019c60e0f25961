// The spectrum of a pixel or the mean of a region. A line marks the displayed slice; a click or drag chooses another
// one.
import uPlot from "uplot";
import { applyOpacity } from "hven/colours.js";
import { createElement } from "hven/dom.js";
import { formatNumber, formatSliceValue } from "hven/axis_scale.js";
import { getColour } from "hven/plot_drawing.js";
import { formatNumberTicks, listNumberTicks } from "hven/ticks.js";
/** @import {AxisScale} from "hven/axis_scale.js" */
/** @import {Workspace} from "hven/workspace.js" */

/** @typedef {(number | null)[]} SpectrumValues */
/**
 * @typedef {{
 *   values: SpectrumValues,
 *   errors: SpectrumValues | null,
 *   flags: SpectrumValues | null,
 *   unit: string,
 *   label: string,
 * }} SpectrumLine
 */

const [HEIGHT_PIXELS, PHONE_HEIGHT_PIXELS] = [420, 300]; // beside the image, or below it on a phone
const GAP_FACTOR = 10; // gaps that widen the spectrum by this factor are closed
const MAX_MARKED_VALUES = 60; // few values have marks

/** The plot of a spectrum. */
export class SpectrumPlot {
  /** @type {uPlot | null} */
  plot = null;
  /** @type {number[]} */
  order = [];
  slice = 0;
  /** @type {SpectrumLine | null} */
  line = null;
  /** @type {AxisScale | null} */
  axis = null;
  name = "";
  usesSliceNumbers = false; // the x axis has slice numbers instead of values

  /**
   * @param {HTMLElement} place
   * @param {Workspace} workspace
   * @param {(slice: number) => void} onSlice
   */
  constructor(place, workspace, onSlice) {
    this.place = place;
    this.workspace = workspace;
    this.onSlice = onSlice;
    this.readout = createElement("p", { className: "soft readout", "aria-live": "off" });
    this.evenCheckbox = createElement("input", { type: "checkbox" });
    this.evenLabel = createElement(
      "label",
      { className: "evenly", hidden: true },
      this.evenCheckbox,
      ` ${workspace.t("slices evenly apart")}`,
    );
    this.evenCheckbox.addEventListener("change", () => {
      if (this.line && this.axis) this.show(this.line, this.axis, this.name);
    });
    new ResizeObserver(() => this.plot?.setSize(this.size)).observe(place);
  }

  get size() {
    return {
      width: this.place.clientWidth || 500,
      height: matchMedia("(max-width: 860px)").matches ? PHONE_HEIGHT_PIXELS : HEIGHT_PIXELS,
    };
  }

  /**
   * Show the value of an image, which has no spectrum.
   * @param {SpectrumLine} line
   * @param {AxisScale} axis
   * @param {string} name
   */
  showValue(line, axis, name) {
    [this.line, this.axis, this.name] = [line, axis, name];
    this.evenLabel.hidden = true;
    this.plot?.destroy();
    this.plot = null;
    const error = line.errors ? ` ± ${formatNumber(line.errors[0])}` : "";
    const text = `${formatNumber(line.values[0])}${error} ${line.unit}`;
    this.place.replaceChildren(createElement("p", { className: "value", textContent: text }));
    window.hven = { ...window.hven, spectrum: { values: line.values, plot: null } };
  }

  /**
   * Show a spectrum.
   * @param {SpectrumLine} line
   * @param {AxisScale} axis
   * @param {string} name of the axis
   */
  show(line, axis, name) {
    if (line.values.length < 2) return this.showValue(line, axis, name);
    if (axis !== this.axis) this.evenCheckbox.checked = hasWideGaps(axis);
    this.evenLabel.hidden = axis.spacing !== "";
    this.usesSliceNumbers = this.evenCheckbox.checked || axis.values.some((value) => typeof value === "string");
    const xValues = this.usesSliceNumbers
      ? axis.values.map((_, index) => index + 1)
      : /** @type {number[]} */ (axis.values);
    this.order = xValues.map((_, index) => index).filter((index) => Number.isFinite(xValues[index]));
    this.order.sort((a, b) => xValues[a] - xValues[b]);
    const sortValues = (/** @type {SpectrumValues | null} */ unsorted) =>
      this.order.map((index) => unsorted?.[index] ?? null);
    const [xs, ys, errors] = [
      this.order.map((index) => xValues[index]),
      sortValues(line.values),
      sortValues(line.errors),
    ];
    const listErrorEnds = (/** @type {number} */ sign) =>
      ys.map((y, index) => (y === null || errors[index] === null ? null : y + sign * Number(errors[index])));
    [this.line, this.axis, this.name] = [line, axis, name];
    const data = /** @type {uPlot.AlignedData} */ ([xs, listErrorEnds(1), listErrorEnds(-1), ys]);
    this.plot?.destroy();
    this.place.replaceChildren();
    this.plot = new uPlot({ ...this.size, ...this.createOptions(line, axis, name) }, data, this.place);
    this.listenToPointer(this.plot);
    window.hven = { ...window.hven, spectrum: { values: line.values, plot: this.plot } };
  }

  /**
   * @param {SpectrumLine} line
   * @param {AxisScale} axis
   * @param {string} name
   * @returns {Omit<uPlot.Options, "width" | "height">}
   */
  createOptions(line, axis, name) {
    const accent = getColour("--accent");
    const isLog = axis.spacing === "log" && !this.usesSliceNumbers;
    const noPoints = { points: { show: false } };
    const marksPoints = this.order.length <= MAX_MARKED_VALUES;
    return {
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: {
          time: false,
          distr: isLog ? 3 : 1,
          range: isLog ? undefined : (_, low, high) => [low, high === low ? low + 1 : high],
        },
      },
      axes: [
        this.createAxis(`${name}${axis.unit ? ` (${axis.unit})` : ""}`, 90, isLog),
        this.createAxis(`${line.label}${line.unit ? ` (${line.unit})` : ""}`, 48, false),
      ],
      series: [
        {},
        { ...noPoints, stroke: "transparent" },
        { ...noPoints, stroke: "transparent" },
        { ...noPoints, stroke: accent, width: 1.6, points: { show: marksPoints, size: 4 } },
      ],
      bands: [{ series: [1, 2], fill: accent.startsWith("#") ? applyOpacity(accent, 0.18) : accent }],
      hooks: { draw: [(plot) => this.drawMarks(plot)], setCursor: [(plot) => this.showReadout(plot)] },
    };
  }

  /**
   * @param {string} label
   * @param {number} tickPixels
   * @param {boolean} isLog
   * @returns {uPlot.Axis}
   */
  createAxis(label, tickPixels, isLog) {
    const axisOptions = {
      label,
      stroke: getColour("--soft"),
      grid: { stroke: getColour("--line"), width: 1 },
      ticks: { stroke: getColour("--line") },
      font: "12px system-ui",
      labelFont: "13px system-ui",
    };
    if (isLog) return axisOptions;
    const { language } = this.workspace;
    const isVertical = tickPixels < 90;
    return {
      ...axisOptions,
      splits: (plot, axisIndex, low, high) =>
        listNumberTicks(low, high, Math.floor(((axisIndex === 0 ? plot.width : plot.height) - 60) / tickPixels)),
      values: (_, splits) =>
        isVertical || !this.usesSliceNumbers
          ? formatNumberTicks(splits, language)
          : splits.map((split) => this.formatSlice(split)),
      ...(isVertical && {
        size: (_, texts) => Math.max(44, 18 + 7 * Math.max(0, ...(texts ?? []).map((text) => text.length))),
      }),
    };
  }

  /**
   * Mark flagged values and the displayed slice.
   * @param {uPlot} plot
   */
  drawMarks(plot) {
    const { ctx, bbox } = plot;
    const { line } = this;
    ctx.save();
    ctx.fillStyle = getColour("--mark");
    this.order.forEach((slice, position) => {
      if (!line?.flags?.[slice]) return;
      ctx.fillRect(
        plot.valToPos(plot.data[0][position], "x", true) - 1.5,
        bbox.top + bbox.height - 7 * devicePixelRatio,
        3,
        7 * devicePixelRatio,
      );
    });
    const shownPosition = this.order.indexOf(this.slice);
    if (shownPosition >= 0) {
      const x = plot.valToPos(plot.data[0][shownPosition], "x", true);
      ctx.strokeStyle = getColour("--mark");
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** @param {uPlot} plot */
  listenToPointer(plot) {
    let isHeld = false;
    const selectSlice = () => {
      const position = plot.cursor.idx;
      if (isHeld && typeof position === "number") this.onSlice(this.order[position]);
    };
    plot.over.addEventListener("pointerdown", () => {
      isHeld = true;
      selectSlice();
    });
    plot.over.addEventListener("pointermove", selectSlice);
    addEventListener("pointerup", () => (isHeld = false));
  }

  /**
   * Show the value at the pointer.
   * @param {uPlot} plot
   */
  showReadout(plot) {
    const position = plot.cursor.idx;
    const { line, axis } = this;
    if (typeof position !== "number" || !line || !axis) return;
    const slice = this.order[position];
    const error = line.errors?.[slice];
    const errorText = typeof error === "number" ? ` ± ${formatNumber(error, 3)}` : "";
    const value = `${formatNumber(line.values[slice])}${errorText} ${line.unit}`;
    this.readout.textContent = `${formatSliceValue(axis, slice)}: ${value}`;
  }

  /**
   * Format the value of a slice.
   * @param {number} slice from 1
   */
  formatSlice(slice) {
    const value = this.axis?.values[slice - 1];
    return typeof value === "number" ? formatNumber(value) : (value ?? "");
  }

  /**
   * Mark the displayed slice.
   * @param {number} slice
   */
  markSlice(slice) {
    this.slice = slice;
    this.plot?.redraw(false);
  }
}

/**
 * Return whether values have wide gaps, as in spectra of several lines.
 * @param {AxisScale} axis
 */
function hasWideGaps({ spacing, values }) {
  const knownValues = values.map(Number).filter(Number.isFinite);
  if (spacing || knownValues.length < 3) return false;
  const steps = knownValues.slice(1).map((value, index) => Math.abs(value - knownValues[index]));
  const medianStep = steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)];
  return Math.max(...knownValues) - Math.min(...knownValues) > GAP_FACTOR * medianStep * knownValues.length;
}
