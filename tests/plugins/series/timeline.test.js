import assert from "node:assert/strict";
import { test } from "node:test";
import { readShapes } from "../../../src/hven/plugins/series/scripts/timelines/tfcat_features.js";
import { formatTime, parseTime } from "../../../src/hven/plugins/series/scripts/timelines/time_format.js";
import { LANGUAGES, listFileUrls } from "../../../src/hven/plugins/series/scripts/timelines/service_requests.js";
import * as seriesTiles from "../../../src/hven/plugins/series/scripts/timelines/series_tiles.js";

const { BIN_WIDTHS_MICROSECONDS, chooseBinWidth } = seriesTiles;

test("times are read as they are written", () => {
  for (const text of [
    "2003-10-28T11:00:00",
    "1969-12-31T23:59:59.999999",
    "2003-10-28T11:02:03.000001",
    "1600-02-29T00:00:00",
  ])
    assert.equal(formatTime(parseTime(text)), text);
  assert.equal(parseTime("2003"), Date.UTC(2003, 0, 1) / 1000);
  assert.equal(parseTime("2003-10-28 11:30Z"), Date.UTC(2003, 9, 28, 11, 30) / 1000);
  for (const text of ["", "x", "2003-13x", "11:00"]) assert.ok(Number.isNaN(parseTime(text)), text);
});

test("bins are no narrower than a screen needs, and each step is a whole multiple", () => {
  for (const span of [0.001, 3, 3600, 86_400, 3e7, 6e8]) {
    const width = chooseBinWidth(span, 1000);
    assert.ok((span * 1e6) / width <= 1000);
    assert.ok(width === BIN_WIDTHS_MICROSECONDS[0] || (span * 1e6) / width > 150, String(span));
  }
  assert.deepEqual(
    BIN_WIDTHS_MICROSECONDS,
    [...BIN_WIDTHS_MICROSECONDS].sort((a, b) => a - b),
  );
});

test("what is shown can be asked for", () => {
  const request = {
    hapi: "https://h.example/hapi",
    das2: "https://h.example/das2",
    path: "a/b",
    id: "a_b",
    names: ["x", "y"],
    from: "2003-01-01T00:00:00Z",
    to: "2003-01-02T00:00:00Z",
  };
  const links = listFileUrls(request);
  assert.deepEqual(
    links.map(([name]) => name),
    ["csv", "json", "binary", "das2"],
  );
  assert.ok(links.every(([, url]) => URL.canParse(url)));
  for (const [name, write] of Object.entries(LANGUAGES)) assert.match(write(request), /h\.example/, name);
});

test("features are read with their clock and unit", () => {
  const point = { type: "Feature", geometry: { type: "Point", coordinates: [52_940.25, 20] } };
  const createDocument = (properties) => ({ crs: { properties }, features: [point] });
  const spectral_coords = { type: "frequency", unit: "MHz" };
  const time = Date.UTC(2003, 9, 28, 6) / 1000;
  const [{ trace }] = readShapes(createDocument({ time_coords_id: "mjd", spectral_coords })) ?? [];
  assert.deepEqual(trace, [[time, 20e6]]);
  const clock = { time_origin: "2003-10-28T00:00:00", unit: "h", time_scale: "UTC" };
  point.geometry = {
    type: "MultiPolygon",
    coordinates: [
      [
        [
          [6, 1],
          [7, 1],
          [7, 2],
          [6, 1],
        ],
      ],
      [
        [
          [8, 1],
          [9, 1],
          [9, 2],
          [8, 1],
        ],
      ],
    ],
  };
  const shapes = readShapes(createDocument({ time_coords: clock, spectral_coords })) ?? [];
  assert.deepEqual([shapes.length, shapes[0].closed, shapes[0].trace[0]], [2, true, [time, 1e6]]);
  assert.equal(readShapes(createDocument({ time_coords_id: "cdf_tt2000", spectral_coords })), null);
  assert.equal(
    readShapes(createDocument({ time_coords_id: "unix", spectral_coords: { type: "energy", unit: "eV" } })),
    null,
  );
});
