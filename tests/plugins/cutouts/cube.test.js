// The calculations of a cube's page: interpolated positions, Python code.
import assert from "node:assert/strict";
import { test } from "node:test";
import { interpolatePosition, formatPosition } from "../../../src/hven/plugins/cutouts/scripts/cube/pixel_positions.js";
import { writePython } from "../../../src/hven/plugins/cutouts/scripts/cube/python_code.js";

test("positions lie between places, over the seam of longitudes, too", () => {
  const grid = { x: [1, 3], y: [1, 3], lon: [359, 1, 359, 1], lat: [0, 0, 2, 2], kind: "sky", frame: "ICRS" };
  const [lon, lat] = interpolatePosition(grid, 2, 2) ?? [];
  assert.ok(Math.abs(((lon + 180) % 360) - 180) < 1e-9 && Math.abs(lat - 1) < 1e-3);
  assert.equal(interpolatePosition({ ...grid, lon: [359, 1, null, 1] }, 2, 2), null);
  assert.equal(formatPosition([83.6331, -22.0145], grid), "05h34m31.94s −22°00′52.2″");
  assert.equal(formatPosition([359.9999999, 0], grid), "24h00m00.00s +00°00′00.0″".replace("24h", "00h"));
  assert.equal(formatPosition([359.9, 0.1], { kind: "disc", frame: "" }), "-360.0″ 360.0″");
});

/** @param {Record<string, unknown>} changes */
const writeCode = (changes) =>
  writePython({
    file: "https://x.example/a.fits",
    data: "https://x.example/cubes/a.fits",
    medium: "fits",
    part: 1,
    sizes: [50, 40, 30, 4],
    image: [1, 2],
    through: 3,
    heldPixels: { 4: 2 },
    slice: 12,
    sliceName: "",
    divisor: null,
    pixel: null,
    region: null,
    query: "part=1",
    ...changes,
  });

test("lines of Python index as numpy does", () => {
  assert.match(writeCode({ pixel: [6, 5] }), /image = cube\[1, 11, :, :\][^]*spectrum = cube\[1, :, 4, 5\]/);
  assert.match(
    writeCode({ region: { kind: "box", numbers: [3, 10, 4, 9] } }),
    /cube\[1, :, 3:9, 2:10\], axis=\(1, 2\)/,
  );
  assert.match(writeCode({ region: { kind: "circle", numbers: [6.5, 5, 4] } }), /np.mgrid\[1:10, 3:11\]/);
  assert.match(writeCode({ medium: "pds4", divisor: 3 }), /cubes\/a.fits\?part=1&slice=12&over=3/);
});
