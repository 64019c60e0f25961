// The messages of SAMP that rows, files, positions and regions are sent as.
/** @import {Cell, Column, Region, Value} from "./answers.js" */

/** @typedef {Column & {value: Value}} Field a column with its value in one row */
/** @typedef {{mtype: string, params: Record<string, any>}} Message */

/** What a file is sent as, by its format, or else by the end of its name.
 * @type {[RegExp, RegExp, string, string][]} */
const KINDS = [
  [/votable/, /\.(vot|votable)(\.gz)?$/i, "table.load.votable", "table-id"],
  [/x-cdf|[-/]cdf\b/, /\.cdf$/i, "table.load.cdf", "table-id"],
  [/oifits|bintable|fits-table/, /\.oifits(\.gz)?$/i, "table.load.fits", "table-id"],
  [/fits/, /\.(fits|fit|fts)(\.gz|\.fz)?$/i, "image.load.fits", "image-id"],
];
const META = 40; // columns that a spectrum is told of

/** @param {Value} value */
function text(value) {
  return value === null || typeof value === "string" ? value : value.text;
}

/** @param {string} url */
function named(url) {
  return url.split("/").pop() || url;
}

/**
 * Find the address that a row leads to: of its file, or else the first there is.
 * @param {Field[]} fields
 * @returns {string | null}
 */
export function linked(fields) {
  const cell = (/** @type {Field} */ one) =>
    /** @type {Cell | null} */ (typeof one.value === "object" ? one.value : null);
  const links = fields.filter((one) => cell(one)?.href && !cell(one)?.picture);
  const link = links.find((one) => /^(access_url|datalink_url)$/i.test(one.name)) ?? links[0];
  return link ? (cell(link)?.href ?? null) : null;
}

/**
 * Give the message of an image.
 * @param {string} url
 * @returns {Message}
 */
export function image(url) {
  return { mtype: "image.load.fits", params: { url, "image-id": url, name: named(url) } };
}

/**
 * Give the message of a spectrum, with what its row says of it.
 * @param {string} url
 * @param {Field[]} fields
 * @returns {Message}
 */
export function spectrum(url, fields) {
  const said = fields.filter((one) => one.ucd && one.value !== null).slice(0, META);
  const meta = Object.fromEntries(said.map((one) => [one.name, text(one.value)]));
  return { mtype: "spectrum.load.ssa-generic", params: { url, "spectrum-id": url, name: named(url), meta } };
}

/**
 * Give the message of the file of a row, as what its format says: a table, a CDF file, an image; `message` is null if programs are told of no such files.
 * @param {string} url
 * @param {Field[]} fields
 * @returns {{format: string, message: Message | null}}
 */
export function file(url, fields) {
  const format = fields.find((one) => one.name.toLowerCase() === "access_format");
  const said = (text(format?.value ?? null) ?? "").toLowerCase();
  const kind = KINDS.find(([wanted, ending]) => wanted.test(said) || (!said && ending.test(url)));
  if (!kind) return { format: said || url.split("/").pop() || "", message: null };
  const [, , mtype, id] = kind;
  return { format: said, message: { mtype, params: { url, [id]: url, name: named(url) } } };
}

/**
 * Give the message of the position of a row; null: it has none.
 * @param {Field[]} fields
 * @returns {Message | null}
 */
export function position(fields) {
  const [ra, dec] = ["pos.eq.ra", "pos.eq.dec"].map((ucd) =>
    fields.find((one) => one.ucd.toLowerCase().startsWith(ucd) && one.value !== null && one.stored_unit === "deg"),
  );
  if (!ra || !dec) return null;
  return { mtype: "coord.pointAt.sky", params: { ra: text(ra.value), dec: text(dec.value) } };
}

/**
 * Give the messages that draw a region, or point at it, beside its MOC.
 * @param {Region} region
 * @returns {Message[]}
 */
export function region({ circle, polygon = [] }) {
  const drawn = circle ? `circle(${circle[0]},${circle[1]},${circle[2]}deg)` : `polygon(${polygon.join(",")})`;
  const script = { mtype: "script.aladin.send", params: { script: `draw ${drawn}` } };
  if (!circle) return [script];
  return [script, { mtype: "coord.pointAt.sky", params: { ra: String(circle[0]), dec: String(circle[1]) } }];
}
