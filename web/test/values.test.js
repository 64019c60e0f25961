// Values that scripts show: NPY, axes in readable units, numbers and colours.
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatUnit, buildScale, formatNumber, formatSliceValue } from "../src/axis_scale.js";
import { colourValues, computeLimits, computeCountedLimits, getColourTable } from "../src/colour_maps.js";
import { parseNpy } from "../src/npy.js";

test("what numpy.save writes is read", () => {
  const head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117);
  const bytes = Buffer.concat([
    Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, 118, 0]),
    Buffer.from(`${head}\n`),
    Buffer.from(new Float32Array([1, 2, 3, 4, NaN, 6]).buffer),
  ]);
  const table = parseNpy(new Uint8Array(bytes).buffer);
  assert.deepEqual([table.width, table.height, [...table.values]], [3, 2, [1, 2, 3, 4, NaN, 6]]);
  assert.throws(() => parseNpy(new ArrayBuffer(40)));
});

test("axes are told in units that are read easily, with the digits that tell neighbours apart", () => {
  const velocities = buildScale([-9959.4, -9893, -9826.6], "m s-1", 3);
  assert.deepEqual([velocities.unit, velocities.spacing], ["km/s", "linear"]);
  assert.equal(formatSliceValue(velocities, 0), "−9.959 km/s");
  assert.equal(formatSliceValue(buildScale([1.1e11, 1.2e11], "Hz", 2), 1), "120 GHz");
  assert.equal(formatSliceValue(buildScale([6050, 6051.25], "Angstrom", 2), 1), "6051.3 Å");
  assert.equal(formatSliceValue(buildScale([6.563e-7, 6.564e-7], "m", 2), 0), "656.30 nm");
  assert.equal(buildScale([1, 10, 100, 1000], "um", 4).spacing, "log");
  assert.equal(buildScale([60.1, 60.4, 61, 70], "um", 4).spacing, "");
  assert.equal(formatSliceValue(buildScale(["I", "Q"], "", 2), 1), "Q");
  assert.deepEqual(buildScale(null, "", 3).values, [1, 2, 3]);
  assert.equal(formatSliceValue(buildScale([null, 2], "m", 2), 0), "– m");
});

test("numbers and units are short", () => {
  assert.deepEqual(
    [0, 1234567, -1e-5, null, Infinity, 0.1].map((value) => formatNumber(value)),
    ["0", "1.235e6", "−1.000e-5", "–", "∞", "0.1"],
  );
  assert.equal(formatUnit("10**-20 Angstrom-1 cm-2 erg s-1"), "10⁻²⁰ Å⁻¹ cm⁻² erg s⁻¹");
  assert.equal(formatUnit("W/m2/Hz"), "W/m²/Hz");
  assert.equal(formatUnit("Jy/beam"), "Jy/beam");
});

test("colours: the first row is the lowest, blanks are clear, ends are kept", () => {
  const gray = getColourTable("gray", "linear");
  const pixels = colourValues([0, 5, 10, NaN], 2, gray, [0, 10]);
  assert.deepEqual([...pixels.slice(0, 8)], [255, 255, 255, 255, 0, 0, 0, 0]);
  assert.deepEqual([...pixels.slice(8, 12)], [0, 0, 0, 255]);
  assert.ok(Math.abs(pixels[12] - 127) <= 1);
  const values = Array.from({ length: 1001 }, (_, index) => index);
  assert.deepEqual(computeLimits(values, 0.9), [50, 950]);
  assert.deepEqual(computeCountedLimits(values.map((value) => [value, 1]).reverse(), 0.9), [50, 950]);
  assert.deepEqual(computeLimits([NaN, 3, 3], 1), [2.5, 3.5]);
});
