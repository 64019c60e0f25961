// Draws the sky that pages show without any outside network: a HiPS (IVOA HiPS 1.0) of order 0 with a faint Milky Way; called by build.mjs.
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { deflateSync } from "node:zlib";

const SIDE = 512;
const DARK = [13, 17, 30],
  BAND = [86, 94, 128],
  SHADES = 24; // few colours make small files
const radians = (degrees) => (degrees * Math.PI) / 180;
const [POLE_RA, POLE_DEC, NODE] = [192.85948, 27.12825, 122.93192].map(radians);
const PALETTE = Array.from({ length: SHADES + 1 }, (_, shade) =>
  DARK.map((dark, at) => Math.round(dark + (shade / SHADES) * (BAND[at] - dark))),
);

/** The centre of a cell of HEALPix: where in which of the twelve base cells, both coordinates from 0 to 1; radians. */
function place(base, x, y) {
  const down = Math.floor(base / 4) + 2 - x - y; // rings from the north pole, a base cell's height each
  const across = base < 4 || base > 7 ? 2 * (base % 4) + 1 : 2 * (base % 4);
  const wide = down < 1 ? down : down > 3 ? 4 - down : 1;
  const height = down < 1 ? 1 - wide ** 2 / 3 : down > 3 ? wide ** 2 / 3 - 1 : ((2 - down) * 2) / 3;
  return [((across + (x - y) / wide) * Math.PI) / 4, Math.asin(height)];
}

function brightness([ra, dec]) {
  const from = ra - POLE_RA;
  const lat = Math.asin(Math.sin(dec) * Math.sin(POLE_DEC) + Math.cos(dec) * Math.cos(POLE_DEC) * Math.cos(from));
  const rise = Math.sin(dec) * Math.cos(POLE_DEC) - Math.cos(dec) * Math.sin(POLE_DEC) * Math.cos(from);
  const lon = NODE - Math.atan2(Math.cos(dec) * Math.sin(from), rise);
  const away = Math.atan2(Math.sin(lon), Math.cos(lon)); // from the centre of the Galaxy
  const band = Math.exp(-Math.abs(lat) / radians(9)) * (0.55 + 0.45 * Math.cos(away / 2) ** 2);
  return Math.min(band + 0.25 * Math.exp(-(lat ** 2 + (away / 1.6) ** 2) / 0.05), 1);
}

/** Draws a tile into a picture of shades, `left` and `top` pixels from its corner. A PNG begins at the top: down the rows, then along them. */
function tile(order, number, side, picture, width, left = 0, top = 0) {
  let x = 0,
    y = 0;
  for (let bit = 0; bit < order; bit++) {
    x |= ((number >> (2 * bit)) & 1) << bit;
    y |= ((number >> (2 * bit + 1)) & 1) << bit;
  }
  const all = side << order;
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      const where = place(number >> (2 * order), (x * side + row + 0.5) / all, (y * side + column + 0.5) / all);
      picture[(top + row) * width + left + column] = Math.round(brightness(where) * SHADES);
    }
}

const CRC = Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function chunk(kind, body) {
  const out = Buffer.concat([Buffer.alloc(4), Buffer.from(kind), body, Buffer.alloc(4)]);
  out.writeUInt32BE(body.length);
  let sum = -1;
  for (const byte of out.subarray(4, -4)) sum = (sum >>> 8) ^ CRC[(sum ^ byte) & 255];
  out.writeInt32BE(~sum, out.length - 4);
  return out;
}

function png(picture, width) {
  const height = picture.length / width;
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width);
  head.writeUInt32BE(height, 4);
  head.set([8, 3], 8); // a byte for each pixel, of a palette
  const rows = Buffer.alloc(picture.length + height); // each row begins with its filter: none
  for (let row = 0; row < height; row++)
    rows.set(picture.subarray(row * width, (row + 1) * width), row * (width + 1) + 1);
  const chunks = [
    chunk("IHDR", head),
    chunk("PLTE", Buffer.from(PALETTE.flat())),
    chunk("IDAT", deflateSync(rows, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ];
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), ...chunks]);
}

/** The whole sphere as MOC 2.0 in FITS: one range of cells. */
function moc() {
  const block = (cards) =>
    Buffer.from(
      [...cards, "END"]
        .map((card) => card.padEnd(80))
        .join("")
        .padEnd(2880),
      "latin1",
    );
  const card = (name, value) => `${name.padEnd(8)}= ${typeof value === "number" ? String(value).padStart(20) : value}`;
  const cells = Buffer.alloc(2880);
  cells.writeBigUInt64BE(12n << 58n, 8);
  return Buffer.concat([
    block([card("SIMPLE", "T".padStart(20)), card("BITPIX", 8), card("NAXIS", 0), card("EXTEND", "T".padStart(20))]),
    block([
      card("XTENSION", "'BINTABLE'"),
      card("BITPIX", 8),
      card("NAXIS", 2),
      card("NAXIS1", 8),
      card("NAXIS2", 2),
      card("PCOUNT", 0),
      card("GCOUNT", 1),
      card("TFIELDS", 1),
      card("TFORM1", "'1K      '"),
      card("TTYPE1", "'RANGE   '"),
      card("MOCVERS", "'2.0     '"),
      card("MOCDIM", "'SPACE   '"),
      card("ORDERING", "'RANGE   '"),
      card("COORDSYS", "'C       '"),
      card("MOCORD_S", 0),
    ]),
    cells,
  ]);
}

export async function draw(target) {
  await mkdir(path.join(target, "Norder0/Dir0"), { recursive: true });
  await mkdir(path.join(target, "Norder3"), { recursive: true });
  for (let number = 0; number < 12; number++) {
    const picture = new Uint8Array(SIDE * SIDE);
    tile(0, number, SIDE, picture, SIDE);
    await writeFile(path.join(target, `Norder0/Dir0/Npix${number}.png`), png(picture, SIDE));
  }
  const columns = 27,
    small = 64,
    width = columns * small; // 768 tiles of order 3
  const sheet = new Uint8Array(width * small * Math.ceil(768 / columns));
  for (let number = 0; number < 768; number++)
    tile(3, number, small, sheet, width, (number % columns) * small, Math.floor(number / columns) * small);
  await writeFile(path.join(target, "Norder3/Allsky.png"), png(sheet, width));
  await writeFile(path.join(target, "Moc.fits"), moc());
  const facts = {
    creator_did: "ivo://hven/P/sky",
    obs_title: "A drawn sky",
    obs_description: "A faint Milky Way, drawn: shown where no survey can be fetched",
    dataproduct_type: "image",
    hips_version: "1.4",
    hips_frame: "equatorial",
    hips_order: "0",
    hips_order_min: "0",
    hips_tile_width: SIDE,
    hips_tile_format: "png",
    hips_release_date: "2026-11-20T00:00Z",
    hips_status: "public master clonableOnce",
    moc_sky_fraction: "1",
  };
  await writeFile(
    path.join(target, "properties"),
    Object.entries(facts)
      .map(([name, value]) => `${name.padEnd(20)} = ${value}\n`)
      .join(""),
  );
}
