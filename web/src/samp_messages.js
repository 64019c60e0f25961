// Build SAMP messages for rows, files, positions and regions.
/** @import {Cell, Column, Link, Region, Value} from "./answers.js" */

/** @typedef {Column & {value: Value}} Field a column with its value in one row */
/** @typedef {{mtype: string, params: Record<string, any>}} Message */

/** The message for a file: pattern of its format, pattern of its name, MType, parameter with its identifier.
 * @type {[RegExp, RegExp, string, string][]} */
const FILE_KINDS = [
  [/votable/, /\.(vot|votable)(\.gz)?$/i, "table.load.votable", "table-id"],
  [/x-cdf|[-/]cdf\b/, /\.cdf$/i, "table.load.cdf", "table-id"],
  [/oifits|bintable|fits-table/, /\.oifits(\.gz)?$/i, "table.load.fits", "table-id"],
  [/fits/, /\.(fits|fit|fts)(\.gz|\.fz)?$/i, "image.load.fits", "image-id"],
];
const MAX_META_COLUMNS = 40; // columns whose values are sent with a spectrum

/** @param {Value} value */
function getText(value) {
  return value === null || typeof value === "string" ? value : value.text;
}

/** @param {string} url */
function getFileName(url) {
  return url.split("/").pop() || url;
}

/**
 * Find the address of a row's file, or else the first link of the row.
 * @param {Field[]} fields
 * @param {Link[]} [dataLinks] DataLink links of the row
 * @returns {string | null}
 */
export function findLinkUrl(fields, dataLinks = []) {
  const getCell = (/** @type {Field} */ field) =>
    /** @type {Cell | null} */ (typeof field.value === "object" ? field.value : null);
  const linkFields = fields.filter((field) => getCell(field)?.href && !getCell(field)?.picture);
  const accessField = linkFields.find((field) => /^(access_url|datalink_url)$/i.test(field.name));
  const [bestLink] = [accessField, dataLinks.find((link) => link.semantics === "this"), linkFields[0]].filter(Boolean);
  if (!bestLink) return null;
  return "href" in bestLink ? bestLink.href : (getCell(bestLink)?.href ?? null);
}

/**
 * Build the message that loads an image: the file itself, or its conversion to FITS.
 * @param {string} url
 * @param {Field[]} [fields]
 * @param {Link[]} [dataLinks]
 * @returns {Message}
 */
export function buildImageMessage(url, fields = [], dataLinks = []) {
  const fitsMessage = chooseFileMessages(url, fields, dataLinks).messages.find(
    ({ mtype }) => mtype === "image.load.fits",
  );
  return fitsMessage ?? { mtype: "image.load.fits", params: { url, "image-id": url, name: getFileName(url) } };
}

/**
 * Build the message that loads a spectrum, with metadata from its row.
 * @param {string} url
 * @param {Field[]} fields
 * @returns {Message}
 */
export function buildSpectrumMessage(url, fields) {
  const describedFields = fields.filter((field) => field.ucd && field.value !== null).slice(0, MAX_META_COLUMNS);
  const meta = Object.fromEntries(describedFields.map((field) => [field.name, getText(field.value)]));
  return { mtype: "spectrum.load.ssa-generic", params: { url, "spectrum-id": url, name: getFileName(url), meta } };
}

/**
 * Choose the messages that load the file of a row, the most suitable first: by the declared format (table, CDF file or
 * image), as the FITS file that the server derives from it, and as the other of FITS table and image for programs that
 * only load one of them. The list is empty if no program loads such files.
 * @param {string} url
 * @param {Field[]} fields
 * @param {Link[]} [dataLinks] DataLink links of the row
 * @returns {{format: string, messages: Message[]}}
 */
export function chooseFileMessages(url, fields, dataLinks = []) {
  const readCell = (/** @type {RegExp} */ name) =>
    (getText(fields.find((field) => name.test(field.name))?.value ?? null) ?? "").toLowerCase();
  const dataLinkType = dataLinks.find((link) => link.href === url)?.type.toLowerCase() ?? "";
  const declaredFormat = readCell(/^access_format$/i) || readCell(/^media_type$/i) || dataLinkType;
  const isGenericFormat = !declaredFormat || /octet-stream|gzip|x-xz|bzip2|zstd/.test(declaredFormat);
  // Interferometers store visibilities as FITS tables, whatever the file name says.
  const format =
    readCell(/^dataproduct_type$/i) === "visibility" && /fits/.test(declaredFormat || url) ? "oifits" : declaredFormat;
  const kind = FILE_KINDS.find(
    ([formatPattern, namePattern]) => formatPattern.test(format) || (isGenericFormat && namePattern.test(url)),
  );
  const buildLoadMessage = (/** @type {string} */ mtype, /** @type {string} */ idParameter, fileUrl = url) => ({
    mtype,
    params: { url: fileUrl, [idParameter]: fileUrl, name: getFileName(fileUrl) },
  });
  const messages = kind ? [buildLoadMessage(kind[2], kind[3])] : [];
  const [tableType, imageType] = [
    ["table.load.fits", "table-id"],
    ["image.load.fits", "image-id"],
  ];
  if (kind?.[2] === imageType[0]) messages.push(buildLoadMessage(tableType[0], tableType[1]));
  const fitsLink = dataLinks.find((link) => link.semantics === "this" && link.href !== url && /fits/.test(link.type));
  const isTabular = /cdf|oifits/.test(format) || /\.(cdf|nc4?|h5|tab|oifits)(\.gz)?$/i.test(url);
  if (fitsLink)
    for (const [mtype, idParameter] of isTabular ? [tableType, imageType] : [imageType, tableType])
      messages.push(buildLoadMessage(mtype, idParameter, fitsLink.href));
  return { format: declaredFormat || url.split("/").pop() || "", messages };
}

/**
 * Build the message that points at the position of a row; null if the row has none.
 * @param {Field[]} fields
 * @returns {Message | null}
 */
export function buildPositionMessage(fields) {
  const [ra, dec] = ["pos.eq.ra", "pos.eq.dec"].map((ucd) =>
    fields.find(
      (field) => field.ucd.toLowerCase().startsWith(ucd) && field.value !== null && field.stored_unit === "deg",
    ),
  );
  if (!ra || !dec) return null;
  return { mtype: "coord.pointAt.sky", params: { ra: getText(ra.value), dec: getText(dec.value) } };
}

/**
 * Build the messages that draw a region or point at its centre.
 * @param {Region} region
 * @returns {Message[]}
 */
export function buildRegionMessages({ circle, polygon = [] }) {
  const shape = circle ? `circle(${circle[0]},${circle[1]},${circle[2]}deg)` : `polygon(${polygon.join(",")})`;
  const script = { mtype: "script.aladin.send", params: { script: `draw ${shape}` } };
  if (!circle) return [script];
  return [script, { mtype: "coord.pointAt.sky", params: { ra: String(circle[0]), dec: String(circle[1]) } }];
}
