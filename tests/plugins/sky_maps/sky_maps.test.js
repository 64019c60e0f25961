import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatSurveyName,
  parseShownSurveys,
  SurveyOverlays,
} from "../../../src/hven/plugins/sky_maps/scripts/drawing/sky_background.js";
import {
  parseCentre,
  measureDistance,
  containsPosition,
  parseMapView,
  parseOutline,
} from "../../../src/hven/plugins/sky_maps/scripts/drawing/geometry.js";
import { describeCount } from "../../../src/hven/plugins/sky_maps/scripts/drawing/layer_list.js";
import { MapLegend } from "../../../src/hven/plugins/sky_maps/scripts/drawing/map_legend.js";
import { parseBoxes, fitView, MapPlane } from "../../../src/hven/plugins/sky_maps/scripts/drawing/map_plane.js";
import { PolarPlane } from "../../../src/hven/plugins/sky_maps/scripts/drawing/polar_plane.js";
import {
  divideSides,
  formatCorners,
  formatPolygon,
  parsePolygon,
  normalizeCorners,
} from "../../../src/hven/plugins/sky_maps/scripts/drawing/body_polygon.js";
import { createWorkspace } from "../../../web/test/page.js";

const PLANET = { box: [0, -90, 360, 90], fields: ["c1", "c2"], unit: "deg", radius: 0, said: "planetary" };
const DISC = {
  box: [-1200, -1200, 1200, 1200],
  fields: ["x", "y"],
  unit: "arcsec",
  radius: 960,
  said: "helioprojective",
};

test("the map looks at the place of the address, if it is one", () => {
  assert.deepEqual(parseMapView("10,20,5"), [10, 20, 5]);
  for (const text of [null, "", "10,20", "10,91,5", "10,20,0", "M31,1,1", "10,,5"])
    assert.deepEqual(parseMapView(text), [0, 0, 180]);
});

test("a map says what it counts: rows, or files of observations, which are the lines beside it", () => {
  const describe = (facts) =>
    describeCount(
      { total: 18, shown: 18, cells: false, ...facts },
      createWorkspace(() => ({})),
    );
  assert.equal(describe({}), "18 rows in view");
  assert.equal(describe({ files: true }), "18 files in view");
  assert.equal(describe({ files: true, shown: 5 }), "18 files, 5 of them drawn");
  assert.equal(describe({ files: true, cells: true, total: 1800 }), "1,800 files in view, drawn as counts per cell");
  assert.deepEqual(
    [describe({ total: 1, shown: 1 }), describe({ total: 1, shown: 1, files: true })],
    ["1 row", "1 file"],
  );
});

test("footprints are circles or polygons", () => {
  assert.deepEqual(parseOutline("CIRCLE ICRS 10 20 0.5"), { circle: [10, 20, 0.5] });
  assert.deepEqual(parseOutline("10 20 0.5"), { circle: [10, 20, 0.5] });
  assert.deepEqual(parseOutline("POLYGON 0 0 1 0 1 1.5e0"), {
    corners: [
      [0, 0],
      [1, 0],
      [1, 1.5],
    ],
  });
  assert.equal(parseOutline("POLYGON 0 0"), null);
  assert.equal(parseOutline(null), null);
  assert.deepEqual(parseCentre("POLYGON 5 -6 7 8"), [5, -6]);
  assert.equal(parseCentre("5"), null);
});

test("an outline holds the places within it, also across 0 and not on the other side of the sky", () => {
  const square = parseOutline("POLYGON 359 -1 1 -1 1 1 359 1");
  assert.ok(containsPosition(square, [0, 0]));
  assert.ok(!containsPosition(square, [2, 0]));
  assert.ok(!containsPosition(square, [180, 0]));
  const polar = parseOutline("POLYGON 0 89 90 89 180 89 270 89");
  assert.ok(containsPosition(polar, [45, 89.9]));
  assert.ok(containsPosition({ circle: [0, 0, 2] }, [359, 1]));
  assert.ok(!containsPosition({ circle: [0, 0, 2] }, [357, 0]));
  assert.equal(Math.round(measureDistance([0, 0], [90, 0])), 90);
});

test("a survey is called by the end of its address", () => {
  assert.equal(formatSurveyName("https://sky.example/P/DSS2/color/"), "DSS2 color");
  assert.equal(formatSurveyName("https://sky.example/"), "https://sky.example/");
});

test("longitudes and latitudes keep their shape, and what is in the middle may be chosen", () => {
  const plane = new MapPlane(PLANET, 720, 180);
  assert.deepEqual([plane.scale, plane.lonToX(180), plane.latToY(0)], [1, 360, 90]);
  assert.deepEqual(plane.toCoordinates([360, 90]), [180, 0]);
  const close = new MapPlane(PLANET, 720, 180, { lon: 350, lat: 10, zoom: 4 });
  assert.deepEqual(close.toPixel(10, 10), [440, 90]); // across 0
  assert.deepEqual(close.toCoordinates([440, 90]), [10, 10]);
  assert.deepEqual(close.bounds, [260, -12.5, 440, 32.5]);
  assert.deepEqual(close.createBoxBetween([440, 50], [320, 130]), { west: 340, east: 10, south: 0, north: 20 });
});

test("a disc keeps its shape", () => {
  const plane = new MapPlane(DISC, 480, 240);
  assert.deepEqual([plane.scale, plane.lonToX(0), plane.latToY(0)], [0.1, 240, 120]);
});

test("boxes across longitude 0 are one span, seen once or at both edges", () => {
  const plane = new MapPlane(PLANET, 360, 180);
  const getSpan = (west, east) => plane.getLonSpan({ west, east, south: 0, north: 1 });
  assert.deepEqual(
    [getSpan(10, 20), getSpan(350, 10), getSpan(-10, 10), getSpan(0, 360), getSpan(5, 5)],
    [
      [10, 20],
      [350, 370],
      [350, 370],
      [0, 360],
      [5, 5],
    ],
  );
  assert.deepEqual(plane.listTurns(350, 370), [-360, 0]);
  assert.deepEqual(plane.listTurns(0, 360), [0]);
  assert.deepEqual(plane.listTurns(0, 0), [0, 360]);
  assert.deepEqual(new MapPlane(PLANET, 360, 180, { lon: 0, lat: 0, zoom: 4 }).listTurns(100, 120), []);
});

test("a map is fitted to its rows the shorter way round", () => {
  const plane = new MapPlane(PLANET, 720, 360);
  const list = parseBoxes(["350 -5 355 0", "5 0 10 5"], ["a", "b"], []);
  const look = fitView(list, plane);
  assert.deepEqual([look.lon, look.lat], [0, 0]);
  assert.ok(look.zoom > 10);
  assert.equal(fitView([], plane), null);
  const pointView = fitView(parseBoxes(["20 30 20 30"], ["a"], []), plane);
  assert.deepEqual([pointView.lon, pointView.lat], [20, 30]);
  assert.ok(Number.isFinite(pointView.zoom));
  assert.equal(fitView(parseBoxes(["0 -90 360 90"], ["a"], []), plane).zoom, 1);
});

test("from above a pole distances from it are true", () => {
  const north = new PolarPlane(PLANET, 600, 600, null, "north");
  assert.deepEqual(north.toPixel(0, 90), [300, 300]);
  assert.deepEqual(north.toPixel(90, 60).map(Math.round), [450, 300]);
  assert.deepEqual(north.toCoordinates([450, 300]).map(Math.round), [90, 60]);
  const south = new PolarPlane(PLANET, 600, 600, null, "south");
  assert.deepEqual(south.toCoordinates(south.toPixel(200, -75)).map(Math.round), [200, -75]);
  assert.deepEqual(south.toPixel(0, -60).map(Math.round), [300, 150]); // longitude 0 is up
  const list = parseBoxes(["170 -90 190 -80", "0 70 5 75"], ["cap", "other"], []);
  assert.deepEqual(
    south.findBoxesAt(list, south.toPixel(180, -85), 3).map((box) => box.key),
    ["cap"],
  );
});

test("values have colours, and can be switched off", () => {
  const workspace = { t: (text) => text, formatNumber: String };
  globalThis.document = { createElement: () => ({ append() {}, addEventListener() {}, style: {}, setAttribute() {} }) };
  const legend = new MapLegend(
    workspace,
    "",
    () => {},
    () => {},
  );
  delete globalThis.document;
  assert.equal(legend.getColour(0, "usual"), "usual");
  legend.colouring = {
    values: [0, 1, null],
    choices: [
      ["a", "a", 1],
      ["b", "b", 1],
    ],
    low: null,
    high: null,
  };
  assert.notEqual(legend.getColour(0, ""), legend.getColour(1, ""));
  legend.hidden.add(1);
  assert.equal(legend.getColour(1, ""), null);
  assert.ok(legend.getColour(2, "")); // no value
  legend.colouring = { values: [3, 3, null], choices: [], low: 3, high: 3 };
  assert.ok(legend.getColour(0, "").startsWith("rgb("));
});

test("under a point the smallest box comes first, and points are as big as they are drawn", () => {
  const plane = new MapPlane(PLANET, 360, 180);
  const list = parseBoxes(["0 -20 40 20", "10 -5 20 5", "100 0 100 0"], ["big", "small", "point"], []);
  assert.deepEqual(
    plane.findBoxesAt(list, [15, 90], 6).map((box) => box.key),
    ["small", "big"],
  );
  assert.deepEqual(
    plane.findBoxesAt(list, [104, 93], 6).map((box) => box.key),
    ["point"],
  );
  assert.deepEqual(plane.findBoxesAt(list, [115, 90], 6), []);
});

test("under a point are the regions that hold it, where they are drawn", () => {
  const plane = new MapPlane(PLANET, 360, 180);
  const createSquare = (west, south, east, north) => [west, south, east, south, east, north, west, north, west, south];
  const holed = [createSquare(0, -20, 40, 20), createSquare(10, -10, 30, 10)];
  const over = [createSquare(350, 40, 360, 50), createSquare(0, 40, 10, 50)];
  const tiny = [createSquare(100, 0, 100.2, 0.2)];
  const list = parseBoxes(
    ["0 -20 40 20", "350 40 10 50", "100 0 100.2 0.2"],
    ["holed", "over", "tiny"],
    [],
    [holed, over, tiny],
  );
  const listKeys = (lon, lat) => plane.findBoxesAt(list, [lon, 90 - lat], 6).map((box) => box.key);
  assert.deepEqual(
    [listKeys(5, 0), listKeys(20, 0), listKeys(355, 45), listKeys(5, 45), listKeys(180, 45)],
    [["holed"], [], ["over"], ["over"], []],
  );
  assert.deepEqual(listKeys(103, 2), ["tiny"]); // as big as it is drawn
});

test("an outline leaves out the edges of the map", () => {
  const drawn = [];
  globalThis.Path2D = class {
    constructor() {
      drawn.push((this.steps = []));
    }
    moveTo(x, y) {
      this.steps.push(`M${x},${y}`);
    }
    lineTo(x, y) {
      this.steps.push(`L${x},${y}`);
    }
    closePath() {
      this.steps.push("Z");
    }
  };
  const rings = [
    [0, 10, 20, 10, 20, 30, 0, 30, 0, 10],
    [0, 80, 360, 80, 360, 90, 0, 90, 0, 80],
  ];
  const [box] = parseBoxes(["0 10 360 90"], ["a"], [], [rings]);
  for (const line of [false, true]) new MapPlane(PLANET, 360, 180).traceRings(new globalThis.Path2D(), box, line);
  delete globalThis.Path2D;
  assert.deepEqual(drawn, [
    ["M0,80", "L20,80", "L20,60", "L0,60", "L0,80", "Z", "M0,10", "L360,10", "L360,0", "L0,0", "L0,10", "Z"],
    ["M0,80", "L20,80", "L20,60", "L0,60", "M0,80", "M0,10", "L360,10", "M360,0", "M0,0", "M0,10"],
  ]);
});

test("conditions are a box, and a box conditions", () => {
  const plane = new MapPlane(PLANET, 360, 180);
  assert.deepEqual(plane.parseConditions(["10..20", null]), { west: 10, east: 20, south: -90, north: 90 });
  assert.equal(plane.parseConditions(["10", null]), null);
  assert.deepEqual(plane.formatConditions({ west: -5, east: 20, south: 1, north: 99 }), {
    c1: "0.00..20.00",
    c2: "1.00..90.00",
  });
});

test("corners continue across longitude 0", () => {
  assert.deepEqual(
    normalizeCorners([
      [350, 0],
      [10, 0],
      [10, 20],
    ]),
    [
      [350, 0],
      [370, 0],
      [370, 20],
    ],
  );
  assert.deepEqual(normalizeCorners([]), []);
});

test("a drawn polygon becomes a region whose long sides stay straight on the map", () => {
  const corners = [
    [350, 10],
    [10, 10],
    [10, 30],
  ];
  const text = formatPolygon(corners);
  const numbers = text.replace("POLYGON ", "").split(" ").map(Number);
  assert.equal(numbers.length % 2, 0);
  const lats = numbers.filter((_, index) => index % 2);
  assert.ok(numbers.length > 16, "sides of 20 degrees are divided");
  assert.ok(numbers.every((number, index) => index % 2 || (number >= 0 && number < 360)));
  assert.deepEqual([Math.min(...lats), Math.max(...lats)], [10, 30]);
  const polygon = parsePolygon(text);
  assert.deepEqual([polygon.lonRange, polygon.south, polygon.north], [[350, 370], 10, 30]);
  assert.deepEqual(polygon.rings[0].slice(0, 2), polygon.rings[0].slice(-2), "the ring is closed");
});

test("a polygon on the disc of the Sun keeps its corners", () => {
  const corners = [
    [-350.12346, 10],
    [200, -1000],
    [0.5, 400],
  ];
  const text = formatCorners(corners, 0.5);
  assert.equal(text, "-350.1 10, 200 -1000, 0.5 400");
  assert.equal(formatCorners([[10.123456, -5]], 4000), "10.12346 -5");
  const polygon = parsePolygon(text, false);
  assert.deepEqual(polygon.lonRange, [-350.1, 200]);
  assert.equal(polygon.rings[0].length, 8);
});

test("a polygon around a pole is closed along that edge of the map", () => {
  const [ring] = parsePolygon("0 60, 90 60, 180 50, 270 60").rings;
  assert.deepEqual(ring.slice(-6), [360, 90, 0, 90, 0, 60]);
  const [south] = parsePolygon("270 -60, 180 -60, 90 -60, 0 -60").rings;
  assert.deepEqual(south.slice(-6), [-90, -90, 270, -90, 270, -60]);
});

test("sides that are drawn from above a pole stay straight there", () => {
  const plane = new PolarPlane(PLANET, 600, 600, null, "north");
  const corners = [
    [0, 60],
    [120, 60],
    [240, 60],
  ];
  const divided = divideSides(corners, plane);
  assert.equal(divided.length, 120);
  const [x, y] = plane.toPixel(...divided[20]);
  const [from, to] = [plane.toPixel(0, 60), plane.toPixel(120, 60)];
  assert.ok(Math.hypot(x - (from[0] + to[0]) / 2, y - (from[1] + to[1]) / 2) < 1e-9);
  assert.ok(divided[20][1] > 74);
});

test("many corners give no more vertices than a search may have", () => {
  const corners = Array.from({ length: 60 }, (_, index) => [index * 6, index % 2 ? 80 : -80]);
  assert.ok(formatPolygon(corners).split(" ").length < 400);
});

test("other regions are no polygons of the map", () => {
  for (const text of [null, "", "CIRCLE 1 2 3", "POLYGON 1 2 3 4", "POLYGON 1 2 3 4 5", "POLYGON a b c d e f"])
    assert.equal(parsePolygon(text), null);
});

test("surveys over the sky are read from the address, and written again", async () => {
  assert.deepEqual(parseShownSurveys(""), []);
  assert.deepEqual(parseShownSurveys("P%20DSS@40+a%2Cb@300+@5+x@y"), [
    ["P DSS", 0.4],
    ["a,b", 1],
  ]);
  const changes = [];
  const aladin = {
    setOverlayImageLayer: (image, layer) => changes.push(["set", image.name, layer]),
    removeImageLayer: (layer) => changes.push(["remove", layer]),
  };
  const createImage = (_, { name }) => ({ name, setOpacity: (opacity) => changes.push(["opacity", opacity]) });
  const surveys = ["https://hips.example/P/DSS", "https://hips.example/P/gone"];
  const overlays = Object.assign(Object.create(SurveyOverlays.prototype), {
    A: { imageHiPS: createImage },
    aladin,
    surveys,
    shownSurveys: new Map(),
    faultElement: {},
    workspace: createWorkspace(() => ({})),
  });
  globalThis.fetch = async (address) => ({ ok: !address.includes("gone"), status: 404 });
  await overlays.setVisible(surveys[0], true, 0.5);
  await overlays.setVisible(surveys[0], true, 0.3);
  assert.equal(overlays.formatShownSurveys(), "P%20DSS@30");
  await overlays.setVisible(surveys[1], true, 0.5);
  assert.match(overlays.faultElement.textContent, /P gone cannot be read/);
  assert.equal(overlays.formatShownSurveys(), "P%20DSS@30");
  await overlays.setVisible(surveys[0], false, 0.3);
  assert.equal(overlays.formatShownSurveys(), "");
  assert.deepEqual(changes, [
    ["set", "P DSS", surveys[0]],
    ["opacity", 0.5],
    ["opacity", 0.3],
    ["remove", surveys[0]],
  ]);
});
