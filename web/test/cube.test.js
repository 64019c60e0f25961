// What the page of a cube computes: numbers of NPY, colours, axes in units that are read easily, positions between places, lines of Python.
import assert from "node:assert/strict";
import { test } from "node:test";
import { npy } from "../src/npy.js";
import { position, written } from "../src/positions.js";
import { python } from "../src/python.js";
import { pretty, scale, short, told } from "../src/scales.js";
import { coloured, limits, middle, table } from "../src/tints.js";

test("what numpy.save writes is read", () => {
  const head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117);
  const bytes = Buffer.concat([
    Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, 118, 0]),
    Buffer.from(`${head}\n`),
    Buffer.from(new Float32Array([1, 2, 3, 4, NaN, 6]).buffer),
  ]);
  const found = npy(new Uint8Array(bytes).buffer);
  assert.deepEqual([found.width, found.height, [...found.values]], [3, 2, [1, 2, 3, 4, NaN, 6]]);
  assert.throws(() => npy(new ArrayBuffer(40)));
});

test("axes are told in units that are read easily, with the digits that tell neighbours apart", () => {
  const velocities = scale([-9959.4, -9893, -9826.6], "m s-1", 3);
  assert.deepEqual([velocities.unit, velocities.even], ["km/s", "linear"]);
  assert.equal(told(velocities, 0), "−9.959 km/s");
  assert.equal(told(scale([1.1e11, 1.2e11], "Hz", 2), 1), "120 GHz");
  assert.equal(told(scale([6050, 6051.25], "Angstrom", 2), 1), "6051.3 Å");
  assert.equal(told(scale([6.563e-7, 6.564e-7], "m", 2), 0), "656.30 nm");
  assert.equal(scale([1, 10, 100, 1000], "um", 4).even, "log");
  assert.equal(scale([60.1, 60.4, 61, 70], "um", 4).even, "");
  assert.equal(told(scale(["I", "Q"], "", 2), 1), "Q");
  assert.deepEqual(scale(null, "", 3).values, [1, 2, 3]);
  assert.equal(told(scale([null, 2], "m", 2), 0), "– m");
});

test("numbers and units are short", () => {
  assert.deepEqual(
    [0, 1234567, -1e-5, null, Infinity, 0.1].map((one) => short(one)),
    ["0", "1.235e6", "−1.000e-5", "–", "∞", "0.1"],
  );
  assert.equal(pretty("10**-20 Angstrom-1 cm-2 erg s-1"), "10⁻²⁰ Å⁻¹ cm⁻² erg s⁻¹");
  assert.equal(pretty("W/m2/Hz"), "W/m²/Hz");
  assert.equal(pretty("Jy/beam"), "Jy/beam");
});

test("positions lie between places, over the seam of longitudes, too", () => {
  const grid = { x: [1, 3], y: [1, 3], lon: [359, 1, 359, 1], lat: [0, 0, 2, 2], kind: "sky", frame: "ICRS" };
  const [lon, lat] = position(grid, 2, 2) ?? [];
  assert.ok(Math.abs(((lon + 180) % 360) - 180) < 1e-9 && Math.abs(lat - 1) < 1e-3);
  assert.equal(position({ ...grid, lon: [359, 1, null, 1] }, 2, 2), null);
  assert.equal(written([83.6331, -22.0145], grid), "05h34m31.94s −22°00′52.2″");
  assert.equal(written([359.9999999, 0], grid), "24h00m00.00s +00°00′00.0″".replace("24h", "00h"));
  assert.equal(written([359.9, 0.1], { kind: "disc", frame: "" }), "-360.0″ 360.0″");
});

test("colours: the first row is the lowest, blanks are clear, ends are kept", () => {
  const gray = table("gray", "linear");
  const found = coloured([0, 5, 10, NaN], 2, gray, [0, 10]);
  assert.deepEqual([...found.slice(0, 8)], [255, 255, 255, 255, 0, 0, 0, 0]);
  assert.deepEqual([...found.slice(8, 12)], [0, 0, 0, 255]);
  assert.ok(Math.abs(found[12] - 127) <= 1);
  const many = Array.from({ length: 1001 }, (_, at) => at);
  assert.deepEqual(limits(many, 0.9), [50, 950]);
  assert.deepEqual(middle(many.map((one) => [one, 1]).reverse(), 0.9), [50, 950]);
  assert.deepEqual(limits([NaN, 3, 3], 1), [2.5, 3.5]);
});

/** @param {Record<string, unknown>} more */
const lines = (more) =>
  python({
    file: "https://x.example/a.fits",
    data: "https://x.example/cubes/a.fits",
    medium: "fits",
    part: 1,
    sizes: [50, 40, 30, 4],
    image: [1, 2],
    through: 3,
    held: { 4: 2 },
    slice: 12,
    value: "",
    over: null,
    pixel: null,
    region: null,
    query: "part=1",
    ...more,
  });

test("lines of Python index as numpy does", () => {
  assert.match(lines({ pixel: [6, 5] }), /image = cube\[1, 11, :, :\][^]*spectrum = cube\[1, :, 4, 5\]/);
  assert.match(lines({ region: { kind: "box", numbers: [3, 10, 4, 9] } }), /cube\[1, :, 3:9, 2:10\], axis=\(1, 2\)/);
  assert.match(lines({ region: { kind: "circle", numbers: [6.5, 5, 4] } }), /np.mgrid\[1:10, 3:11\]/);
  assert.match(lines({ medium: "pds4", over: 3 }), /cubes\/a.fits\?part=1&slice=12&over=3/);
});
