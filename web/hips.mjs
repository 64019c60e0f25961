// Draws the sky that maps show without access to other networks: a HiPS (IVOA HiPS 1.0) of order 0 with a faint Milky
// Way. build.mjs calls it.
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { deflateSync } from "node:zlib";

const TILE_PIXELS = 512;
const ALLSKY_TILE_PIXELS = 64;
const ALLSKY_COLUMNS = 27;
const DARK_COLOUR = [13, 17, 30];
const BAND_COLOUR = [86, 94, 128];
const SHADES = 24; // few colours make small files
const toRadians = (degrees) => (degrees * Math.PI) / 180;
const [POLE_RA, POLE_DEC, NODE_LON] = [192.85948, 27.12825, 122.93192].map(toRadians);
const PALETTE = Array.from({ length: SHADES + 1 }, (_, shade) =>
  DARK_COLOUR.map((dark, channel) => Math.round(dark + (shade / SHADES) * (BAND_COLOUR[channel] - dark))),
);

/**
 * Convert a place in a base cell of HEALPix, with both coordinates from 0 to 1, to longitude and latitude in radians.
 */
function healpixToSphere(baseCell, x, y) {
  const ring = Math.floor(baseCell / 4) + 2 - x - y; // from the north pole, in heights of a base cell
  const column = baseCell < 4 || baseCell > 7 ? 2 * (baseCell % 4) + 1 : 2 * (baseCell % 4);
  let capWidth = 1;
  let sinLat = ((2 - ring) * 2) / 3;
  if (ring < 1) {
    capWidth = ring;
    sinLat = 1 - capWidth ** 2 / 3;
  } else if (ring > 3) {
    capWidth = 4 - ring;
    sinLat = capWidth ** 2 / 3 - 1;
  }
  return [((column + (x - y) / capWidth) * Math.PI) / 4, Math.asin(sinLat)];
}

/** Compute the brightness of the sky at a position in radians, from 0 to 1. */
function computeBrightness([ra, dec]) {
  const poleDistance = ra - POLE_RA;
  const lat = Math.asin(
    Math.sin(dec) * Math.sin(POLE_DEC) + Math.cos(dec) * Math.cos(POLE_DEC) * Math.cos(poleDistance),
  );
  const rise = Math.sin(dec) * Math.cos(POLE_DEC) - Math.cos(dec) * Math.sin(POLE_DEC) * Math.cos(poleDistance);
  const lon = NODE_LON - Math.atan2(Math.cos(dec) * Math.sin(poleDistance), rise);
  const centreDistance = Math.atan2(Math.sin(lon), Math.cos(lon)); // from the centre of the Galaxy
  const band = Math.exp(-Math.abs(lat) / toRadians(9)) * (0.55 + 0.45 * Math.cos(centreDistance / 2) ** 2);
  return Math.min(band + 0.25 * Math.exp(-(lat ** 2 + (centreDistance / 1.6) ** 2) / 0.05), 1);
}

/** Draw a tile into a picture of shades, `left` and `top` pixels from its corner. */
function drawTile(order, number, side, picture, width, left = 0, top = 0) {
  let x = 0;
  let y = 0;
  for (let bit = 0; bit < order; bit++) {
    x |= ((number >> (2 * bit)) & 1) << bit;
    y |= ((number >> (2 * bit + 1)) & 1) << bit;
  }
  const baseCellPixels = side << order;
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const cellX = (x * side + row + 0.5) / baseCellPixels;
      const cellY = (y * side + column + 0.5) / baseCellPixels;
      const brightness = computeBrightness(healpixToSphere(number >> (2 * order), cellX, cellY));
      picture[(top + row) * width + left + column] = Math.round(brightness * SHADES);
    }
  }
}

const CRC_TABLE = Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  return remainder;
});

/** Write a chunk of a PNG: length, type, content and checksum. */
function writeChunk(type, content) {
  const buffer = Buffer.concat([Buffer.alloc(4), Buffer.from(type), content, Buffer.alloc(4)]);
  buffer.writeUInt32BE(content.length);
  let sum = -1;
  for (const byte of buffer.subarray(4, -4)) sum = (sum >>> 8) ^ CRC_TABLE[(sum ^ byte) & 255];
  buffer.writeInt32BE(~sum, buffer.length - 4);
  return buffer;
}

/** Write a picture of shades as a PNG with a palette. */
function writePng(picture, width) {
  const height = picture.length / width;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([8, 3], 8); // a byte per pixel, an index of the palette
  const rows = Buffer.alloc(picture.length + height); // each row begins with the number of its filter: none
  for (let row = 0; row < height; row++)
    rows.set(picture.subarray(row * width, (row + 1) * width), row * (width + 1) + 1);
  const chunks = [
    writeChunk("IHDR", header),
    writeChunk("PLTE", Buffer.from(PALETTE.flat())),
    writeChunk("IDAT", deflateSync(rows, { level: 9 })),
    writeChunk("IEND", Buffer.alloc(0)),
  ];
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), ...chunks]);
}

/** Write the MOC 2.0 of the whole sphere in FITS: one range of cells. */
function writeMoc() {
  const writeBlock = (cards) =>
    Buffer.from(
      [...cards, "END"]
        .map((card) => card.padEnd(80))
        .join("")
        .padEnd(2880),
      "latin1",
    );
  const formatCard = (name, value) =>
    `${name.padEnd(8)}= ${typeof value === "number" ? String(value).padStart(20) : value}`;
  const cells = Buffer.alloc(2880);
  cells.writeBigUInt64BE(12n << 58n, 8);
  return Buffer.concat([
    writeBlock([
      formatCard("SIMPLE", "T".padStart(20)),
      formatCard("BITPIX", 8),
      formatCard("NAXIS", 0),
      formatCard("EXTEND", "T".padStart(20)),
    ]),
    writeBlock([
      formatCard("XTENSION", "'BINTABLE'"),
      formatCard("BITPIX", 8),
      formatCard("NAXIS", 2),
      formatCard("NAXIS1", 8),
      formatCard("NAXIS2", 2),
      formatCard("PCOUNT", 0),
      formatCard("GCOUNT", 1),
      formatCard("TFIELDS", 1),
      formatCard("TFORM1", "'1K      '"),
      formatCard("TTYPE1", "'RANGE   '"),
      formatCard("MOCVERS", "'2.0     '"),
      formatCard("MOCDIM", "'SPACE   '"),
      formatCard("ORDERING", "'RANGE   '"),
      formatCard("COORDSYS", "'C       '"),
      formatCard("MOCORD_S", 0),
    ]),
    cells,
  ]);
}

/** Draw the sky into a directory. */
export async function drawSky(directory) {
  await mkdir(path.join(directory, "Norder0/Dir0"), { recursive: true });
  await mkdir(path.join(directory, "Norder3"), { recursive: true });
  for (let number = 0; number < 12; number++) {
    const picture = new Uint8Array(TILE_PIXELS * TILE_PIXELS);
    drawTile(0, number, TILE_PIXELS, picture, TILE_PIXELS);
    await writeFile(path.join(directory, `Norder0/Dir0/Npix${number}.png`), writePng(picture, TILE_PIXELS));
  }
  const tileCount = 768; // of order 3
  const width = ALLSKY_COLUMNS * ALLSKY_TILE_PIXELS;
  const allsky = new Uint8Array(width * ALLSKY_TILE_PIXELS * Math.ceil(tileCount / ALLSKY_COLUMNS));
  for (let number = 0; number < tileCount; number++) {
    const left = (number % ALLSKY_COLUMNS) * ALLSKY_TILE_PIXELS;
    const top = Math.floor(number / ALLSKY_COLUMNS) * ALLSKY_TILE_PIXELS;
    drawTile(3, number, ALLSKY_TILE_PIXELS, allsky, width, left, top);
  }
  await writeFile(path.join(directory, "Norder3/Allsky.png"), writePng(allsky, width));
  await writeFile(path.join(directory, "Moc.fits"), writeMoc());
  const properties = {
    creator_did: "ivo://hven/P/sky",
    obs_title: "A drawn sky",
    obs_description: "A faint Milky Way, drawn: shown where no survey can be fetched",
    dataproduct_type: "image",
    hips_version: "1.4",
    hips_frame: "equatorial",
    hips_order: "0",
    hips_order_min: "0",
    hips_tile_width: TILE_PIXELS,
    hips_tile_format: "png",
    hips_release_date: "2026-11-20T00:00Z",
    hips_status: "public master clonableOnce",
    moc_sky_fraction: "1",
  };
  await writeFile(
    path.join(directory, "properties"),
    Object.entries(properties)
      .map(([name, value]) => `${name.padEnd(20)} = ${value}\n`)
      .join(""),
  );
}
