// The description of a body's layers, as `/maps/<Body>.json` gives it, and which of them a view shows.

/**
 * @typedef {{
 *   title: string,
 *   kind: "geographic" | "north_polar" | "south_polar" | "equirectangular",
 *   units: string,
 *   meters_per_unit: number,
 *   extent: number[],
 * }} MapFrame
 * @typedef {{
 *   frame: string,
 *   origin: number[],
 *   extent: number[],
 *   tile_size: number,
 *   resolutions: number[],
 *   matrix_sizes: number[][],
 * }} TileMatrixSet
 * @typedef {{
 *   id: string,
 *   title: string,
 *   description: string,
 *   group: string,
 *   kind: "background" | "overlay",
 *   tiles: Record<string, string>,
 *   max_zoom: Record<string, number>,
 *   unit: string,
 *   quantity: string,
 *   range: [number, number] | null,
 *   colours: [string, number][] | null,
 *   legend_url: string | null,
 *   has_own_legend: boolean,
 *   attribution: string,
 *   times: string[],
 *   default_time: string | null,
 *   wavelengths_um: number[],
 *   default_wavelength_um: number | null,
 *   value_url: string | null,
 *   page_url: string,
 * }} MapLayer
 * @typedef {{
 *   body: string,
 *   radii_m: {sphere: number, equatorial: number, polar: number},
 *   frames: Record<string, MapFrame>,
 *   tile_matrix_sets: Record<string, TileMatrixSet>,
 *   layers: MapLayer[],
 * }} MapDocument
 * @typedef {{id: string, opacity: number}} LayerChoice
 * @typedef {{layer: MapLayer, opacity: number, time: string, wavelength: string}} DrawnLayer
 * @typedef {"flat" | "north" | "south" | "globe"} ViewKind
 * @typedef {{name: string, set: TileMatrixSet, frame: MapFrame}} TileFrame
 */

/** @type {Record<ViewKind, MapFrame["kind"]>} */
const FRAME_KINDS = { flat: "geographic", globe: "geographic", north: "north_polar", south: "south_polar" };

/**
 * Find the tile matrix set that a view draws.
 * @param {MapDocument} mapDocument
 * @param {ViewKind} view
 * @returns {TileFrame | null} null if the body has none
 */
export function findTileFrame(mapDocument, view) {
  for (const [name, set] of Object.entries(mapDocument.tile_matrix_sets)) {
    const frame = mapDocument.frames[set.frame];
    if (frame?.kind === FRAME_KINDS[view]) return { name, set, frame };
  }
  return null;
}

/**
 * Return the address template of a layer's tiles, with its time and wavelength; empty if the layer is not in the set.
 * @param {DrawnLayer} drawnLayer
 * @param {string} setName
 */
export function buildTileTemplate(drawnLayer, setName) {
  const template = drawnLayer.layer.tiles[setName];
  return template ? appendDimensions(template, drawnLayer) : "";
}

/**
 * Return the address of the value at a place; empty if the layer has colours alone, or values without a meaning.
 * @param {DrawnLayer} drawnLayer
 * @param {number} lon
 * @param {number} lat
 */
export function buildValueUrl(drawnLayer, lon, lat) {
  const { layer } = drawnLayer;
  if (!layer.value_url || !(layer.quantity || layer.unit)) return "";
  const url = layer.value_url.replace("{lon}", lon.toFixed(6)).replace("{lat}", lat.toFixed(6));
  return appendDimensions(url, drawnLayer);
}

/**
 * @param {string} url
 * @param {DrawnLayer} drawnLayer
 */
function appendDimensions(url, { time, wavelength }) {
  const parameters = new URLSearchParams();
  if (time) parameters.set("TIME", time);
  if (wavelength) parameters.set("WAVELENGTH", wavelength);
  const query = parameters.toString();
  return query ? `${url}${url.includes("?") ? "&" : "?"}${query}` : url;
}

/**
 * Choose the latest time of a layer that is not after a moment; before its first time, the first one.
 * @param {MapLayer} layer
 * @param {string} moment empty for the layer's default time
 */
export function chooseLayerTime(layer, moment) {
  if (!layer.times.length) return "";
  if (!moment) return layer.default_time ?? layer.times[layer.times.length - 1];
  return layer.times.filter((time) => time <= moment).pop() ?? layer.times[0];
}

/**
 * Choose the wavelength of a layer that is closest to a chosen one.
 * @param {MapLayer} layer
 * @param {string} wavelength in micrometres; empty for the layer's default
 */
export function chooseLayerWavelength({ wavelengths_um: wavelengths, default_wavelength_um: first }, wavelength) {
  if (!wavelengths.length) return "";
  const chosenNumber = Number(wavelength) || (first ?? wavelengths[0]);
  const byDistance = [...wavelengths].sort((low, high) => Math.abs(low - chosenNumber) - Math.abs(high - chosenNumber));
  return String(byDistance[0]);
}

/**
 * List the times of some layers in order.
 * @param {MapLayer[]} layers
 */
export function listTimes(layers) {
  return [...new Set(layers.flatMap((layer) => layer.times))].sort();
}

/**
 * List the wavelengths of some layers in order.
 * @param {MapLayer[]} layers
 */
export function listWavelengths(layers) {
  const wavelengths = new Set(layers.flatMap((layer) => layer.wavelengths_um));
  return [...wavelengths].sort((low, high) => low - high).map(String);
}

/**
 * Write a time as people read it: without the parts that are zero.
 * @param {string} time
 */
export function formatTime(time) {
  return time.replace("T00:00:00Z", "").replace("T", " ").replace("Z", "");
}

/**
 * Choose what a page shows at first: the first background.
 * @param {MapDocument} mapDocument
 * @returns {LayerChoice[]}
 */
export function chooseFirstLayers(mapDocument) {
  const layer = mapDocument.layers.find(({ kind }) => kind === "background") ?? mapDocument.layers[0];
  return layer ? [{ id: layer.id, opacity: 1 }] : [];
}

/**
 * Write the shown layers, from the bottom to the top, for the address.
 * @param {LayerChoice[]} choices
 */
export function writeLayerChoices(choices) {
  return choices.map(({ id, opacity }) => (opacity === 1 ? id : `${id}~${Number(opacity.toFixed(2))}`)).join(",");
}

/**
 * Read the shown layers from the address; those that the body does not have are left out.
 * @param {string} text
 * @param {MapDocument} mapDocument
 * @returns {LayerChoice[]}
 */
export function readLayerChoices(text, mapDocument) {
  const knownIds = new Set(mapDocument.layers.map(({ id }) => id));
  return text
    .split(",")
    .map((part) => part.split("~"))
    .filter(([id]) => knownIds.has(id))
    .map(([id, opacity = "1"]) => ({ id, opacity: Math.min(Math.max(Number(opacity) || 0, 0), 1) }));
}
