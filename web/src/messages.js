// The messages of SAMP that rows, files, positions and regions are sent as.
/** @import {Cell, Column, Link, Region, Value} from "./answers.js" */

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
 * @param {Link[]} [leads] what DataLink has of it
 * @returns {string | null}
 */
export function linked(fields, leads = []) {
  const cell = (/** @type {Field} */ one) =>
    /** @type {Cell | null} */ (typeof one.value === "object" ? one.value : null);
  const links = fields.filter((one) => cell(one)?.href && !cell(one)?.picture);
  const known = links.find((one) => /^(access_url|datalink_url)$/i.test(one.name));
  const [first] = [known, leads.find((one) => one.semantics === "this"), links[0]].filter(Boolean);
  if (!first) return null;
  return "href" in first ? first.href : (cell(first)?.href ?? null);
}

/**
 * Give the message of an image: of the file, or of the FITS that it is made.
 * @param {string} url
 * @param {Field[]} [fields]
 * @param {Link[]} [leads]
 * @returns {Message}
 */
export function image(url, fields = [], leads = []) {
  const known = file(url, fields, leads).messages.find(({ mtype }) => mtype === "image.load.fits");
  return known ?? { mtype: "image.load.fits", params: { url, "image-id": url, name: named(url) } };
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
 * Give the messages of the file of a row, the best one first: as what its format says (a table, a CDF file, an image), as FITS that it is made,
 * as the other of table and image, which some programs take alone; none: programs are told of no such files.
 * @param {string} url
 * @param {Field[]} fields
 * @param {Link[]} [leads] what DataLink has of it
 * @returns {{format: string, messages: Message[]}}
 */
export function file(url, fields, leads = []) {
  const cell = (/** @type {RegExp} */ name) =>
    (text(fields.find((one) => name.test(one.name))?.value ?? null) ?? "").toLowerCase();
  const led = leads.find((one) => one.href === url)?.type.toLowerCase() ?? "";
  const said = cell(/^access_format$/i) || cell(/^media_type$/i) || led;
  const vague = !said || /octet-stream|gzip|x-xz|bzip2|zstd/.test(said);
  // what interferometers measure are tables of FITS, whatever the files are called
  const format = cell(/^dataproduct_type$/i) === "visibility" && /fits/.test(said || url) ? "oifits" : said;
  const kind = KINDS.find(([wanted, ending]) => wanted.test(format) || (vague && ending.test(url)));
  const load = (/** @type {string} */ mtype, /** @type {string} */ id, at = url) => ({
    mtype,
    params: { url: at, [id]: at, name: named(at) },
  });
  const messages = kind ? [load(kind[2], kind[3])] : [];
  const [table, picture] = [
    ["table.load.fits", "table-id"],
    ["image.load.fits", "image-id"],
  ];
  if (kind?.[2] === picture[0]) messages.push(load(table[0], table[1]));
  const made = leads.find((one) => one.semantics === "this" && one.href !== url && /fits/.test(one.type));
  const rows = /cdf|oifits/.test(format) || /\.(cdf|nc4?|h5|tab|oifits)(\.gz)?$/i.test(url);
  if (made)
    for (const [mtype, id] of rows ? [table, picture] : [picture, table]) messages.push(load(mtype, id, made.href));
  return { format: said || url.split("/").pop() || "", messages };
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
