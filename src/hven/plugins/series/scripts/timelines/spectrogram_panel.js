// Panels with spectrograms: time to the right, channels upwards, values as colours.
import { createElement } from "hven/dom.js";
import { drawShapes } from "./tfcat_features.js";
import { TimePanel } from "./time_panel.js";
import { formatUnit, formatNumber } from "hven/axis_scale.js";
import { getColour } from "hven/plot_drawing.js";
import { BINS_PER_TILE, FILL_CODE, chooseBinWidth, mapBins } from "./series_tiles.js";
import { COLOUR_MAPS, STRETCHES, colourValues, computeCountedLimits, getColourTable } from "hven/colour_maps.js";
/** @import uPlot from "uplot" */
/** @import {Parameter, Tile} from "./series_tiles.js" */
/** @import {Timeline} from "../timeline.js" */

const MICROSECONDS_PER_SECOND = 1e6;
const BLANK_PIXEL = 0x70808080; // pixel of samples without a value
const MAX_SAMPLED_VALUES = 50_000; // values from which limits are estimated
const LIMIT_SHARES = [1, 0.999, 0.995, 0.98, 0.95, 0.9];

/** A panel with the spectrogram of a parameter. */
export class SpectrogramPanel extends TimePanel {
  /** @type {Map<string, {style: string, canvas: HTMLCanvasElement}>} */
  canvases = new Map();
  colourMap = "viridis";
  stretch = "linear";
  statistic = "mean";
  share = 0.98;
  /** @type {[number, number] | null} */
  limits = null;
  /** @type {Tile[]} */
  visibleTiles = [];

  /**
   * @param {Timeline} timeline
   * @param {Parameter} parameter
   */
  constructor(timeline, parameter) {
    super(timeline, [parameter], 260);
    this.parameter = parameter;
    this.showsGrid = false;
    const { t } = timeline;
    const centers = parameter.bins?.centers;
    const isSorted = centers && centers.length > 1 && (isRising(centers) || isRising([...centers].reverse()));
    this.centers = isSorted ? centers : Array.from({ length: parameter.elements }, (_, index) => index + 1);
    this.channelAxis =
      (isSorted || parameter.bins?.along) && parameter.bins ? parameter.bins : { name: t("channel"), unit: "" };
    const [low, high] = [Math.min(...this.centers), Math.max(...this.centers)];
    const scale = parameter.bins?.scale;
    this.isLog = Boolean(isSorted) && low > 0 && (scale ? scale === "log" : high > 30 * low);
    if (parameter.scale === "log") this.stretch = "logarithm";
    this.isScaleChosen = !parameter.bins?.along;
    this.chooseRange();
    this.nameElement.append(
      parameter.label,
      " ",
      createElement("small", { className: "soft", textContent: formatUnit(parameter.unit) }),
    );
    this.colourBar = createElement("canvas", {
      width: 128,
      height: 1,
      className: "strip",
      role: "img",
      "aria-label": t("Colours from low to high"),
    });
    this.lowLabel = createElement("span", { className: "soft" });
    this.highLabel = createElement("span", { className: "soft" });
    this.blankLabel = createElement("span", { className: "blank", hidden: true, textContent: t("no value") });
    this.addTools();
  }

  /** Add the controls of statistic, colours, stretch and limits. */
  addTools() {
    const { timeline } = this;
    const { t, workspace } = timeline;
    const createSelect = (
      /** @type {string} */ label,
      /** @type {[string, string][]} */ options,
      /** @type {string} */ current,
      /** @type {(value: string) => void} */ apply,
    ) => {
      const select = createElement(
        "select",
        { "aria-label": label, title: label },
        ...options.map(([value, text]) => new Option(text, value, false, value === current)),
      );
      select.addEventListener("change", () => {
        apply(select.value);
        this.drawLegend();
        timeline.draw();
      });
      return select;
    };
    const listOptions = (/** @type {string[]} */ names) =>
      /** @type {[string, string][]} */ (names.map((name) => [name, t(name)]));
    this.tools.append(
      createSelect(t("Shown"), listOptions(["mean", "peak"]), this.statistic, (value) => {
        this.statistic = value;
        this.limits = null;
      }),
      createSelect(t("Colours"), listOptions(Object.keys(COLOUR_MAPS)), this.colourMap, (value) => {
        this.colourMap = value;
      }),
      createSelect(t("Stretch"), listOptions(Object.keys(STRETCHES)), this.stretch, (value) => {
        [this.stretch, this.limits] = [value, null];
      }),
      createSelect(
        t("Limits"),
        LIMIT_SHARES.map((share) => [String(share), `${workspace.formatNumber(Math.round(share * 1000) / 10)} %`]),
        String(this.share),
        (value) => {
          this.share = Number(value);
          this.limits = null;
        },
      ),
      createElement("span", { className: "colours" }, this.lowLabel, this.colourBar, this.highLabel),
      this.blankLabel,
    );
  }

  /** Whether colours are even in the logarithms of values: if these have this scale, and some are positive. */
  get hasLogColours() {
    return this.parameter.scale === "log" && this.stretch === "logarithm" && !(Number(this.limits?.[0]) <= 0);
  }

  get colourTable() {
    return getColourTable(this.colourMap, this.hasLogColours ? "linear" : this.stretch);
  }

  get unit() {
    const { name, unit } = this.channelAxis;
    return unit ? `${name} (${formatUnit(unit)})` : name;
  }

  get binWidth() {
    const [sourceBins, to] = this.timeline.view;
    return chooseBinWidth(to - sourceBins, this.plotWidth / 1.5);
  }

  /** Choose the range of the axis: the edges of the channels, or of all visible tiles if channels change. */
  chooseRange() {
    const axes = this.visibleTiles.flatMap((tile) => tile.axis ?? []);
    if (axes.some((axis) => axis.log)) this.suggestLogScale();
    const edges = axes.length ? axes.flatMap(({ low, high }) => [low, high]) : this.listChannelEdges(1);
    this.setValueRange(Math.min(...edges), Math.max(...edges));
  }

  /**
   * List the edges of the rows of a tile.
   * @param {Tile} tile
   */
  listTileEdges({ axis, rows: rowCount, channelsPerRow }) {
    if (!axis) return this.listChannelEdges(channelsPerRow);
    const { low, high, log } = axis;
    const toShare = (/** @type {number} */ index) => index / rowCount;
    return Array.from({ length: rowCount + 1 }, (_, index) =>
      log ? low * (high / low) ** toShare(index) : low + (high - low) * toShare(index),
    );
  }

  /**
   * List the edges of rows that combine channels.
   * @param {number} channelsPerRow
   */
  listChannelEdges(channelsPerRow) {
    const { centers, isLog } = this;
    const toScale = (/** @type {number} */ frequency) => (isLog ? Math.log(frequency) : frequency);
    const fromScale = (/** @type {number} */ value) => (isLog ? Math.exp(value) : value);
    const positions = centers.map(toScale);
    const [firstPosition, lastPosition] = [positions[0], positions[positions.length - 1]];
    const halfWidths =
      positions.length > 1
        ? [(positions[1] - positions[0]) / 2, (lastPosition - positions[positions.length - 2]) / 2]
        : [0.5, 0.5];
    const edgePositions = [firstPosition - halfWidths[0]];
    for (let index = channelsPerRow; index < positions.length; index += channelsPerRow)
      edgePositions.push((positions[index - 1] + positions[index]) / 2);
    return [...edgePositions, lastPosition + halfWidths[1]].map(fromScale);
  }

  requestTiles() {
    const { tiles, view } = this.timeline;
    return tiles.findTiles(
      this.parameter,
      this.binWidth,
      view,
      this.statistic === "mean" ? "" : `&SHOW=${this.statistic}`,
    );
  }

  draw() {
    const { exact, missing } = this.requestTiles();
    const substitutes = missing
      .flatMap((gap) => gap.tiles)
      .filter((tile) => tile.key.includes("SHOW=peak") === (this.statistic === "peak"));
    this.visibleTiles = [...new Set([...substitutes, ...exact])];
    this.chooseRange();
    this.blankLabel.hidden = !this.visibleTiles.some((tile) => tile.fills);
    if (!this.limits && exact.length && !missing.length) this.chooseLimits(exact);
    super.draw();
  }

  /** Reset the limits when the visible time has settled. */
  settle() {
    this.limits = null;
  }

  /**
   * Choose limits that enclose the middle share of the values.
   * @param {Tile[]} tiles
   */
  chooseLimits(tiles) {
    /** Values and their counts.
     * @type {[number, number][]} */
    const countedValues = [];
    const step = Math.max(1, Math.floor(tiles.reduce((sum, tile) => sum + tile.values.length, 0) / MAX_SAMPLED_VALUES));
    for (const { values: codes, decoded } of tiles) {
      if (!decoded) continue;
      const counts = new Uint32Array(256);
      for (let index = 0; index < codes.length; index += step) counts[codes[index]]++;
      for (let code = FILL_CODE + 1; code < 256; code++) {
        if (counts[code]) countedValues.push([decoded[code], counts[code]]);
      }
    }
    if (!countedValues.length) return;
    const positiveValues = this.hasLogColours ? countedValues.filter(([value]) => value > 0) : [];
    this.limits = computeCountedLimits(positiveValues.length ? positiveValues : countedValues, this.share);
    this.drawLegend();
  }

  /** Draw the colour bar and its limits. */
  drawLegend() {
    if (!this.limits) return;
    [this.lowLabel.textContent, this.highLabel.textContent] = this.limits.map((limit) => formatNumber(limit, 3));
    const values = Float32Array.from({ length: 128 }, (_, index) => index / 127);
    const pixels = colourValues(values, 128, this.colourTable, [0, 1]);
    this.colourBar.getContext("2d")?.putImageData(new ImageData(pixels, 128), 0, 0);
  }

  /** @param {uPlot} plot */
  paint(plot) {
    const { ctx, bbox } = plot;
    if (!this.limits && this.visibleTiles.length) this.chooseLimits(this.visibleTiles);
    ctx.imageSmoothingEnabled = false;
    const [[from, to], { left, width }] = [this.timeline.view, bbox];
    const x = (/** @type {number} */ time) => left + ((time - from) / (to - from)) * width;
    for (const tile of this.visibleTiles) {
      const canvas = this.getCanvas(tile, Math.round(bbox.height));
      const step = tile.width / MICROSECONDS_PER_SECOND;
      const [begin, end] = [x(tile.begin), x(tile.begin + canvas.width * step)];
      if (end < left || begin > left + width) continue;
      ctx.drawImage(canvas, begin, bbox.top, end - begin, bbox.height);
    }
    const keys = new Set(this.visibleTiles.map((tile) => tile.key));
    for (const key of this.canvases.keys()) {
      if (this.canvases.size > 24 && !keys.has(key)) this.canvases.delete(key);
    }
  }

  /**
   * Draw features and the marks of all panels.
   * @param {uPlot} plot
   */
  drawOverlay(plot) {
    this.drawChannelChanges(plot);
    for (const shapes of this.timeline.concurrentRows?.features.values() ?? [])
      drawShapes(plot, this, shapes, this.channelAxis.unit);
    super.drawOverlay(plot);
  }

  /**
   * Mark changes of channels.
   * @param {uPlot} u
   */
  drawChannelChanges({ ctx, bbox, valToPos }) {
    ctx.strokeStyle = getColour("--soft");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    for (const { axis, begin, width } of this.visibleTiles) {
      for (const bin of axis?.changes ?? []) {
        const x = valToPos(begin + (bin * width) / MICROSECONDS_PER_SECOND, "x", true);
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
      }
    }
    ctx.stroke();
    ctx.setLineDash([]);
  }

  /**
   * Return a coloured tile as high as the panel; a sample extends to the next one.
   * @param {Tile} tile
   * @param {number} height
   */
  getCanvas(tile, height) {
    const limits = this.limits ?? [0, 1];
    const style = [height, this.colourMap, this.stretch, limits, this.isLog].join(" ");
    const cached = this.canvases.get(tile.key);
    if (cached?.style === style) return cached.canvas;
    const binsPerSample = this.timeline.countBinsPerSample(tile.width);
    const width = BINS_PER_TILE + binsPerSample - 1;
    const sourceBins = mapBins(tile, binsPerSample, width);
    const colours = this.colourTable;
    const toScale = (/** @type {number} */ value) => (this.hasLogColours ? Math.log10(Math.max(value, 0)) : value);
    const [lowest, highest] = limits.map(toScale);
    const scale = (colours.length - 1) / (highest - lowest || 1);
    const pixelByCode = Uint32Array.from({ length: 256 }, (_, code) => {
      if (code === FILL_CODE) return BLANK_PIXEL;
      const value = tile.decoded?.[code] ?? NaN;
      return value === value
        ? colours[Math.min(Math.max(Math.round((toScale(value) - lowest) * scale), 0), colours.length - 1)]
        : 0;
    });
    const tileRows = this.mapRows(tile, height);
    const pixels = new Uint32Array(width * height);
    for (let y = 0; y < height; y++) {
      if (tileRows[y] < 0) continue;
      const rowStart = tileRows[y] * BINS_PER_TILE;
      for (let column = 0; column < width; column++) {
        if (sourceBins[column] >= 0)
          pixels[y * width + column] = pixelByCode[tile.values[rowStart + sourceBins[column]]];
      }
    }
    const canvas = createElement("canvas", { width, height });
    canvas.getContext("2d")?.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width), 0, 0);
    this.canvases.set(tile.key, { style, canvas });
    return canvas;
  }

  /**
   * Map rows of pixels to rows of a tile; -1: none.
   * @param {Tile} tile
   * @param {number} height
   */
  mapRows(tile, height) {
    const edges = this.listTileEdges(tile);
    const [low, high] = this.yRange;
    const isReversed = edges[0] > edges[edges.length - 1];
    const rowByPixel = new Int32Array(height).fill(-1);
    const toShare = (/** @type {number} */ value) => (this.toAxisValue(value) - low) / (high - low);
    for (let values = 0; values + 1 < edges.length && values < tile.rows; values++) {
      const [below, above] = isReversed ? [edges[values + 1], edges[values]] : [edges[values], edges[values + 1]];
      const [top, bottom] = [height * (1 - toShare(above)), height * (1 - toShare(below))].map(Math.round);
      rowByPixel.fill(values, Math.max(top, 0), Math.max(bottom, top + 1));
    }
    return rowByPixel;
  }

  /**
   * Describe the value at a time, and at the pointer's height if it is in this panel.
   * @param {number} time
   * @param {number | null} height
   */
  describeAt(time, height) {
    const tile = this.visibleTiles.findLast((candidate) => candidate.begin <= time && time < candidate.end);
    if (!tile || height === null) return "";
    const edges = this.listTileEdges(tile).map((edge) => this.toAxisValue(edge));
    const row = edges.findIndex(
      (edge, index) => index + 1 < edges.length && (edge - height) * (edges[index + 1] - height) <= 0,
    );
    const column = mapBins(tile, this.timeline.countBinsPerSample(tile.width), BINS_PER_TILE)[
      Math.floor(((time - tile.begin) * MICROSECONDS_PER_SECOND) / tile.width)
    ];
    const { t } = this.timeline;
    const code = row < 0 || !(column >= 0) ? 0 : tile.values[row * BINS_PER_TILE + column];
    const value = tile.decoded?.[code] ?? NaN;
    let placeholder = t("no sample");
    if (column >= 0) placeholder = code === FILL_CODE ? t("no value") : "–";
    const valueText = value === value ? `${formatNumber(value, 3)} ${formatUnit(this.parameter.unit)}` : placeholder;
    const channel = formatNumber(this.isLog ? 10 ** height : height / this.factor, 4);
    return `${channel} ${formatUnit(this.channelAxis.unit)}  ·  ${valueText}`;
  }
}

/**
 * Return whether values are ascending.
 * @param {number[]} values
 */
function isRising(values) {
  return values.every((value, index) => !index || value > values[index - 1]);
}
