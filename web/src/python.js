// Lines of Python that read the same slice and spectrum as the page shows.
/** @import {Region} from "./picture.js" */

/**
 * @typedef {object} Shown
 * @property {string} file address of the file
 * @property {string} data address of its slices
 * @property {string} medium
 * @property {number} part
 * @property {number[]} sizes pixels of the axes, the first as FITS counts them
 * @property {[number, number]} image numbers of the axes x and y
 * @property {number | null} through
 * @property {Record<number, number>} held axis -> pixel, from 1
 * @property {number} slice from 1
 * @property {string} value what the slice stands for
 * @property {number | null} over
 * @property {[number, number] | null} pixel from 1
 * @property {Region | null} region
 * @property {string} query what its slices are asked by
 */

/** @param {Shown} shown */
export function python(shown) {
  return shown.medium === "fits" ? withAstropy(shown) : withNumpy(shown);
}

/**
 * Write an index of numpy: x and y, or `:` where all of an axis is meant.
 * @param {Shown} shown
 * @param {string} slice
 * @param {[string, string]} place x and y
 */
function index({ sizes, image, through, held }, slice, [x, y]) {
  const parts = sizes.map((_, at) => {
    const number = at + 1;
    if (number === image[0]) return x;
    if (number === image[1]) return y;
    return number === through ? slice : String((held[number] ?? 1) - 1);
  });
  return `[${parts.reverse().join(", ")}]`;
}

/** @param {Shown} shown */
function withAstropy(shown) {
  const { slice, over, pixel, region } = shown;
  const all = /** @type {[string, string]} */ ([":", ":"]);
  const lines = [`image = cube${index(shown, String(slice - 1), all)}  # ${shown.value}`];
  if (over) lines.push(`ratio = image / cube${index(shown, String(over - 1), all)}`);
  if (pixel) {
    const [x, y] = pixel;
    lines.push(
      `spectrum = cube${index(shown, ":", [String(x - 1), String(y - 1)])}  # pixel ${x}, ${y} as FITS counts`,
    );
  }
  const more = region?.kind === "polygon" ? fromServer(shown, region) : [];
  if (region && region.kind !== "polygon") lines.push(...mean(shown, region));
  return [
    ...(region ? ["import numpy as np"] : []),
    ...(more.length ? ["import json, urllib.request"] : []),
    "from astropy.io import fits",
    "",
    "# reads what it needs of the file (pip install fsspec aiohttp)",
    `with fits.open(${JSON.stringify(shown.file)}, use_fsspec=True) as hdus:`,
    ...[`cube = hdus[${shown.part}].section`, ...lines].map((line) => `    ${line}`),
    ...more,
  ].join("\n");
}

/**
 * @param {Shown} shown
 * @param {Region} region
 */
function mean(shown, { kind, numbers }) {
  if (kind === "box") {
    const [x1, x2, y1, y2] = numbers;
    const box = index(shown, ":", [`${x1 - 1}:${x2}`, `${y1 - 1}:${y2}`]);
    return [`spectrum = np.nanmean(cube${box}, axis=${axes(shown)}, dtype=float)`];
  }
  const [x, y, radius] = numbers;
  const [width, height] = shown.image.map((number) => shown.sizes[number - 1]);
  const ends = (/** @type {number} */ one, /** @type {number} */ most) => [
    Math.max(Math.ceil(one - radius) - 1, 0),
    Math.min(Math.floor(one + radius), most),
  ];
  const [[left, right], [low, high]] = [ends(x, width), ends(y, height)];
  const box = index(shown, ":", [`${left}:${right}`, `${low}:${high}`]);
  const { image, through } = shown;
  const wide =
    through === null || through > image[1] ? "inside" : through < image[0] ? "inside[..., None]" : "inside[:, None]";
  return [
    `y, x = np.mgrid[${low + 1}:${high + 1}, ${left + 1}:${right + 1}]`,
    `inside = (x - ${x}) ** 2 + (y - ${y}) ** 2 <= ${radius} ** 2`,
    `spectrum = np.nanmean(np.where(${wide}, cube${box}, np.nan), axis=${axes(shown)})`,
  ];
}

/**
 * Tell over which axes of an array with x, y and slices is averaged.
 * @param {Shown} shown
 */
function axes({ image, through }) {
  if (through === null) return "(0, 1)";
  const left = [...image, through].sort((a, b) => b - a);
  return `(${left.flatMap((number, at) => (number === through ? [] : [at])).join(", ")})`;
}

/**
 * @param {Shown} shown
 * @param {Region} region
 */
function fromServer({ data, query }, { kind, numbers }) {
  const asked = new URLSearchParams(query);
  asked.set("mean", `${kind} ${numbers.join(" ")}`);
  const url = JSON.stringify(`${data}?${asked}`);
  return [`told = json.load(urllib.request.urlopen(${url}))`, 'spectrum = np.array(told["parts"][0]["values"], float)'];
}

/** @param {Shown} shown */
function withNumpy(shown) {
  const { data, query, slice, over, pixel, region } = shown;
  const image = new URLSearchParams(query);
  image.set("slice", String(slice));
  if (over) image.set("over", String(over));
  const lines = [
    "import io, json, urllib.request",
    "import numpy as np",
    "",
    `image = np.load(io.BytesIO(urllib.request.urlopen(${JSON.stringify(`${data}?${image}`)}).read()))  # ${shown.value}`,
  ];
  if (region) lines.push(...fromServer(shown, region));
  if (pixel) {
    const asked = new URLSearchParams(query);
    asked.set("spectrum", pixel.join(" "));
    lines.push(`told = json.load(urllib.request.urlopen(${JSON.stringify(`${data}?${asked}`)}))`);
    lines.push('spectrum = np.array(told["parts"][0]["values"], float)');
  }
  return lines.join("\n");
}
