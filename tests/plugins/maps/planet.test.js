// The calculations of a body's map: projections, lengths and areas, coordinates, layers in the address, tiles in view.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  formatLatitude,
  formatLongitude,
  parsePlace,
  toPlanetocentric,
  toPlanetographic,
} from "../../../src/hven/plugins/maps/scripts/planet/coordinates.js";
import {
  buildTileTemplate,
  buildValueUrl,
  chooseLayerTime,
  chooseLayerWavelength,
  listWavelengths,
  readLayerChoices,
  writeLayerChoices,
} from "../../../src/hven/plugins/maps/scripts/planet/map_document.js";
import { findShownBox } from "../../../src/hven/plugins/maps/scripts/planet/overlay_painter.js";
import { findNames, foldText } from "../../../src/hven/plugins/maps/scripts/planet/place_search.js";
import { isInsideRing } from "../../../src/hven/plugins/maps/scripts/planet/row_catalogues.js";
import { computeArea, computeLength, divideLine } from "../../../src/hven/plugins/maps/scripts/planet/measures.js";
import {
  computeCentreScale,
  createProjection,
  findWholePosition,
} from "../../../src/hven/plugins/maps/scripts/planet/projections.js";
import { chooseLevel, listGlobeTiles } from "../../../src/hven/plugins/maps/scripts/planet/tile_store.js";

const RADIUS = 3396190;
const RADII = { equatorial: RADIUS, polar: 3376200 };
const SIZE = { width: 800, height: 600 };
const SET = {
  frame: "IAU_2015:49900",
  origin: [-180, 90],
  extent: [-180, -90, 180, 90],
  tile_size: 256,
  resolutions: [0.703125, 0.3515625, 0.17578125],
  matrix_sizes: [
    [2, 1],
    [4, 2],
    [8, 4],
  ],
};

test("lengths are those of pyproj within 0.001 %, areas within 0.1 %", () => {
  const cases = JSON.parse(readFileSync(new URL("geodesics.json", import.meta.url), "utf-8"));
  for (const { name, equatorial, polar, places, length, area } of cases) {
    const radii = { equatorial, polar };
    assert.ok(Math.abs(computeLength(radii, places) / length - 1) < 1e-5, `${name}: length`);
    assert.ok(Math.abs(computeArea(radii, places) / area - 1) < 1e-3, `${name}: area`);
  }
});

test("a line ends at its places, also where these are the same or opposite each other", () => {
  for (const [from, to] of [
    [
      [10, 0],
      [10, 0],
    ],
    [
      [10, 20],
      [190, -20],
    ],
    [
      [0, 0],
      [179.99, 0],
    ],
    [
      [0, 90],
      [120, -90],
    ],
    [
      [350, -30],
      [-340, 40],
    ],
  ]) {
    const line = divideLine(RADII, from, to);
    assert.ok(line.every((place) => place.every(Number.isFinite)));
    for (const [place, end] of [
      [line[0], from],
      [line[line.length - 1], to],
    ]) {
      const turns = Math.cos(((place[0] - end[0]) * Math.PI) / 180);
      assert.ok(Math.abs(place[1] - end[1]) < 1e-6, `${from} ${to}: ${place}`);
      assert.ok(Math.abs(end[1]) === 90 || turns > 1 - 1e-9, `${from} ${to}: ${place}`);
    }
  }
});

test("the scale in the middle of all views is that of lengths on the body", () => {
  for (const [view, lat] of /** @type {const} */ ([
    ["flat", 50],
    ["globe", 40],
    ["north", 60],
    ["south", -70],
  ])) {
    const position = { lon: 20, lat, scale: 2000 };
    const projection = createProjection(view, RADIUS, SIZE, position);
    const [[x, y], [otherX, otherY]] = [lat - 0.01, lat + 0.01].map((edge) => projection.toPixel(20, edge) ?? [0, 0]);
    const metres = computeLength({ equatorial: RADIUS, polar: RADIUS }, [
      [20, lat - 0.01],
      [20, lat + 0.01],
    ]);
    const pixels = Math.hypot(x - otherX, y - otherY);
    assert.ok(Math.abs(metres / pixels / computeCentreScale(view, position) - 1) < 1e-4, `${view} ${lat}`);
  }
  assert.equal(computeCentreScale("north", { lon: 0, lat: 90, scale: 7 }), 7);
});

test("pixels lead back to their places in all views", () => {
  for (const view of /** @type {const} */ (["flat", "north", "south", "globe"])) {
    const position = findWholePosition(view, RADIUS, SIZE, 170);
    const projection = createProjection(view, RADIUS, SIZE, position);
    for (const [x, y] of [
      [400, 300],
      [330, 250],
      [520, 390],
    ]) {
      const [lon, lat] = projection.toCoordinates([x, y]) ?? [0, 0];
      const pixel = projection.toPixel(lon, lat) ?? [0, 0];
      assert.ok(Math.hypot(pixel[0] - x, pixel[1] - y) < 1e-6, `${view} ${x} ${y}`);
    }
  }
  const globe = createProjection("globe", RADIUS, SIZE, findWholePosition("globe", RADIUS, SIZE));
  assert.equal(globe.toPixel(180, 0), null);
  assert.equal(globe.toCoordinates([0, 0]), null);
});

test("coordinates are written and read in both directions", () => {
  assert.equal(formatLongitude(-133.8, "east360"), "226.20° E");
  assert.equal(formatLongitude(226.2, "east180"), "−133.80° E");
  assert.equal(formatLongitude(226.2, "west360"), "133.80° W");
  assert.equal(formatLatitude(-45, "east360", RADII), "45.00° S");
  assert.equal(formatLatitude(-45, "west360", RADII), "45.34° S");
  assert.ok(Math.abs(toPlanetocentric(toPlanetographic(30, RADII), RADII) - 30) < 1e-12);
  assert.deepEqual(parsePlace("133.8 W, 18.6 N", "east360", RADII), [-133.8, 18.6]);
  assert.deepEqual(parsePlace("226.2 -18.6", "east180", RADII), [226.2, -18.6]);
  assert.equal(parsePlace("Olympus Mons", "east180", RADII), null);
  assert.equal(parsePlace("10 95", "east180", RADII), null);
});

test("layers keep their order and opacity in the address", () => {
  const layers = [{ id: "psup/viking" }, { id: "psup/olivine" }];
  const mapDocument = /** @type {any} */ ({ layers });
  const choices = readLayerChoices("psup/olivine~0.456,gone,psup/viking", mapDocument);
  assert.deepEqual(choices, [
    { id: "psup/olivine", opacity: 0.456 },
    { id: "psup/viking", opacity: 1 },
  ]);
  assert.equal(writeLayerChoices(choices), "psup/olivine~0.46,psup/viking");
});

test("a layer with times shows the latest one that is not later", () => {
  const layer = /** @type {any} */ ({
    times: ["2010", "2012"],
    default_time: "2012",
    tiles: { A: "/{z}/{y}/{x}.png" },
  });
  assert.deepEqual(
    ["", "2009", "2011", "2013"].map((moment) => chooseLayerTime(layer, moment)),
    ["2012", "2010", "2010", "2012"],
  );
  const drawnLayer = { layer, opacity: 1, time: "2010", wavelength: "" };
  assert.equal(buildTileTemplate(drawnLayer, "A"), "/{z}/{y}/{x}.png?TIME=2010");
  assert.equal(buildTileTemplate(drawnLayer, "B"), "");
});

test("a layer with wavelengths shows the closest one, in its tiles and in its values", () => {
  const layer = /** @type {any} */ ({
    wavelengths_um: [0.77, 1.08, 10.5],
    default_wavelength_um: 0.77,
    tiles: { A: "/{z}/{y}/{x}.png" },
    value_url: "/value?lon={lon}&lat={lat}",
    quantity: "Reflectance",
  });
  assert.deepEqual(
    ["", "0.1", "1", "1.08", "7", "99", "nonsense"].map((wavelength) => chooseLayerWavelength(layer, wavelength)),
    ["0.77", "0.77", "1.08", "1.08", "10.5", "10.5", "0.77"],
  );
  const other = /** @type {any} */ ({ wavelengths_um: [5.03, 1.08] });
  assert.deepEqual(listWavelengths([layer, other]), ["0.77", "1.08", "5.03", "10.5"]);
  assert.equal(chooseLayerWavelength(/** @type {any} */ ({ wavelengths_um: [] }), "1.08"), "");
  const drawnLayer = { layer, opacity: 1, time: "2010-01-01T12:00:00Z", wavelength: "10.5" };
  const parameters = "TIME=2010-01-01T12%3A00%3A00Z&WAVELENGTH=10.5";
  assert.equal(buildTileTemplate(drawnLayer, "A"), `/{z}/{y}/{x}.png?${parameters}`);
  assert.equal(buildValueUrl(drawnLayer, 1, 2), `/value?lon=1.000000&lat=2.000000&${parameters}`);
});

test("the globe fetches the tiles of its near side", () => {
  assert.equal(chooseLevel(SET, 9, 0.2), 2);
  assert.equal(chooseLevel(SET, 1, 0.01), 1);
  const close = listGlobeTiles(SET, 2, RADIUS, SIZE, { lon: 20, lat: 10, scale: 100 });
  assert.deepEqual(close, [{ z: 2, x: 4, y: 1 }]);
  const allTiles = listGlobeTiles(SET, 2, RADIUS, SIZE, { lon: 20, lat: 0, scale: 1e6 });
  assert.equal(new Set(allTiles.map(({ x, y }) => `${x} ${y}`)).size, allTiles.length);
  assert.ok(allTiles.length <= 32);
});

test("names are found as a whole, then by their begin, their words and what they contain, without accents", () => {
  const names = ["Terra Cimmeria", "Bélus", "Nili Fossae", "Fossae Minor"].map((name) => ({
    name,
    lon: 0,
    lat: 0,
    size: 1,
  }));
  const folded = names.map(({ name }) => foldText(name));
  const find = (text) => findNames(names, folded, text).map(({ name }) => name);
  assert.deepEqual(find("foss"), ["Fossae Minor", "Nili Fossae"]);
  assert.deepEqual(find(" belus "), ["Bélus"]);
  assert.deepEqual(find("merIA"), ["Terra Cimmeria"]);
  assert.deepEqual(find(""), []);
  const manyNames = [...Array.from({ length: 20 }, (_, index) => `Con ${index}`), "Con"].map((name) => ({
    name,
    lon: 0,
    lat: 0,
    size: 1,
  }));
  const foldedNames = manyNames.map(({ name }) => foldText(name));
  assert.equal(findNames(manyNames, foldedNames, "con")[0].name, "Con");
});

test("a place is inside a ring, also a turn away", () => {
  const ring = [
    [350, -10],
    [370, -10],
    [370, 10],
    [350, 10],
  ];
  assert.ok(isInsideRing(ring, [0, 0]));
  assert.ok(isInsideRing(ring, [-5, 5]));
  assert.ok(isInsideRing(ring, [365, -5]));
  assert.ok(!isInsideRing(ring, [20, 0]));
  assert.ok(!isInsideRing(ring, [0, 11]));
});

test("the shown box has all that a view shows", () => {
  const showBox = (view, position) => findShownBox(createProjection(view, RADIUS, SIZE, position), position.lon);
  const metres = (RADIUS * Math.PI) / 180;
  const flat = showBox("flat", { lon: 170, lat: 10, scale: metres / 20 });
  assert.ok(Math.abs(flat.west + 20) < 1e-9 && Math.abs(flat.east - 20) < 1e-9);
  assert.ok(Math.abs(flat.south + 5) < 1e-9 && Math.abs(flat.north - 25) < 1e-9);
  const bodyBox = { west: -180, south: -90, east: 180, north: 90 };
  assert.deepEqual(showBox("globe", findWholePosition("globe", RADIUS, SIZE)), bodyBox);
  assert.deepEqual(showBox("north", { lon: 0, lat: 90, scale: 100 }), bodyBox);
});
