// Python code that reads the slice and the spectrum that the page shows.
/** @import {ImageRegion} from "./cube_image.js" */

/**
 * @typedef {object} CubeView
 * @property {string} file address of the file
 * @property {string} data address of its slices
 * @property {string} medium
 * @property {number} part
 * @property {number[]} sizes lengths of the axes in pixels, in the order of FITS
 * @property {[number, number]} image numbers of the axes x and y
 * @property {number | null} through
 * @property {Record<number, number>} heldPixels fixed pixel of each other axis, from 1
 * @property {number} slice from 1
 * @property {string} sliceName coordinate of the slice
 * @property {number | null} divisor
 * @property {[number, number] | null} pixel from 1
 * @property {ImageRegion | null} region
 * @property {string} query parameters of slice requests
 */

/**
 * Read the fixed pixels of the other axes from the parameters of slice requests.
 * @param {URLSearchParams} query
 * @returns {Record<number, number>}
 */
export function readHeldPixels(query) {
  return Object.fromEntries(query.getAll("at").map((entry) => entry.split(":").map(Number)));
}

/**
 * Write Python code that reproduces a view.
 * @param {CubeView} view
 */
export function writePython(view) {
  return view.medium === "fits" ? writeAstropy(view) : writeNumpy(view);
}

/**
 * Write a numpy index; `:` selects a whole axis.
 * @param {CubeView} view
 * @param {string} slice
 * @param {[string, string]} place indices of x and y
 */
function writeIndex({ sizes, image, through, heldPixels }, slice, [x, y]) {
  const parts = sizes.map((_, index) => {
    const axis = index + 1;
    if (axis === image[0]) return x;
    if (axis === image[1]) return y;
    return axis === through ? slice : String((heldPixels[axis] ?? 1) - 1);
  });
  return `[${parts.reverse().join(", ")}]`;
}

/**
 * Write code that reads the file with astropy.
 * @param {CubeView} view
 */
function writeAstropy(view) {
  const { slice, divisor, pixel, region } = view;
  const fullImage = /** @type {[string, string]} */ ([":", ":"]);
  const lines = [`image = cube${writeIndex(view, String(slice - 1), fullImage)}  # ${view.sliceName}`];
  if (divisor) lines.push(`ratio = image / cube${writeIndex(view, String(divisor - 1), fullImage)}`);
  if (pixel) {
    const [x, y] = pixel;
    lines.push(
      `spectrum = cube${writeIndex(view, ":", [String(x - 1), String(y - 1)])}  # pixel ${x}, ${y} as FITS counts`,
    );
  }
  const serverLines = region?.kind === "polygon" ? writeServerMean(view, region) : [];
  if (region && region.kind !== "polygon") lines.push(...writeRegionMean(view, region));
  return [
    ...(region ? ["import numpy as np"] : []),
    ...(serverLines.length ? ["import json, urllib.request"] : []),
    "from astropy.io import fits",
    "",
    "# reads what it needs of the file (pip install fsspec aiohttp)",
    `with fits.open(${JSON.stringify(view.file)}, use_fsspec=True) as hdus:`,
    ...[`cube = hdus[${view.part}].section`, ...lines].map((line) => `    ${line}`),
    ...serverLines,
  ].join("\n");
}

/**
 * Write code that averages over a box or a circle.
 * @param {CubeView} view
 * @param {ImageRegion} region
 */
function writeRegionMean(view, { kind, numbers }) {
  if (kind === "box") {
    const [x1, x2, y1, y2] = numbers;
    const box = writeIndex(view, ":", [`${x1 - 1}:${x2}`, `${y1 - 1}:${y2}`]);
    return [`spectrum = np.nanmean(cube${box}, axis=${listMeanAxes(view)}, dtype=float)`];
  }
  const [x, y, radius] = numbers;
  const [width, height] = view.image.map((number) => view.sizes[number - 1]);
  const clipRange = (/** @type {number} */ centre, /** @type {number} */ size) => [
    Math.max(Math.ceil(centre - radius) - 1, 0),
    Math.min(Math.floor(centre + radius), size),
  ];
  const [[left, right], [low, high]] = [clipRange(x, width), clipRange(y, height)];
  const box = writeIndex(view, ":", [`${left}:${right}`, `${low}:${high}`]);
  const { image, through } = view;
  let mask = "inside";
  if (through !== null && through <= image[1]) {
    mask = through < image[0] ? "inside[..., None]" : "inside[:, None]";
  }
  return [
    `y, x = np.mgrid[${low + 1}:${high + 1}, ${left + 1}:${right + 1}]`,
    `inside = (x - ${x}) ** 2 + (y - ${y}) ** 2 <= ${radius} ** 2`,
    `spectrum = np.nanmean(np.where(${mask}, cube${box}, np.nan), axis=${listMeanAxes(view)})`,
  ];
}

/**
 * List the axes to average over, of an array with x, y and slices.
 * @param {CubeView} view
 */
function listMeanAxes({ image, through }) {
  if (through === null) return "(0, 1)";
  const axesInOrder = [...image, through].sort((a, b) => b - a);
  return `(${axesInOrder.flatMap((number, index) => (number === through ? [] : [index])).join(", ")})`;
}

/**
 * Write code that requests the mean of a region from the server.
 * @param {CubeView} view
 * @param {ImageRegion} region
 */
function writeServerMean({ data, query }, { kind, numbers }) {
  const parameters = new URLSearchParams(query);
  parameters.set("mean", `${kind} ${numbers.join(" ")}`);
  const url = JSON.stringify(`${data}?${parameters}`);
  return [`told = json.load(urllib.request.urlopen(${url}))`, 'spectrum = np.array(told["parts"][0]["values"], float)'];
}

/**
 * Write code that requests slices and spectra from the server.
 * @param {CubeView} view
 */
function writeNumpy(view) {
  const { data, query, slice, divisor, pixel, region } = view;
  const parameters = new URLSearchParams(query);
  parameters.set("slice", String(slice));
  if (divisor) parameters.set("over", String(divisor));
  const url = JSON.stringify(`${data}?${parameters}`);
  const lines = [
    "import io, json, urllib.request",
    "import numpy as np",
    "",
    `image = np.load(io.BytesIO(urllib.request.urlopen(${url}).read()))  # ${view.sliceName}`,
  ];
  if (region) lines.push(...writeServerMean(view, region));
  if (pixel) {
    const spectrumParameters = new URLSearchParams(query);
    spectrumParameters.set("spectrum", pixel.join(" "));
    lines.push(`told = json.load(urllib.request.urlopen(${JSON.stringify(`${data}?${spectrumParameters}`)}))`);
    lines.push('spectrum = np.array(told["parts"][0]["values"], float)');
  }
  return lines.join("\n");
}
