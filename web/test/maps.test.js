import assert from "node:assert/strict";
import { test } from "node:test";
import { title } from "../src/charts.js";
import { centre, distance, holds, looked, outline } from "../src/geometry.js";
import { boxes, Plane } from "../src/plane.js";

const PLANET = { box: [0, -90, 360, 90], fields: ["c1", "c2"], unit: "deg", radius: 0, said: "planetary" };
const DISC = {
  box: [-1200, -1200, 1200, 1200],
  fields: ["x", "y"],
  unit: "arcsec",
  radius: 960,
  said: "helioprojective",
};

test("the map looks at the place of the address, if it is one", () => {
  assert.deepEqual(looked("10,20,5"), [10, 20, 5]);
  for (const text of [null, "", "10,20", "10,91,5", "10,20,0", "M31,1,1", "10,,5"])
    assert.deepEqual(looked(text), [0, 0, 180]);
});

test("footprints are circles or polygons", () => {
  assert.deepEqual(outline("CIRCLE ICRS 10 20 0.5"), { circle: [10, 20, 0.5] });
  assert.deepEqual(outline("10 20 0.5"), { circle: [10, 20, 0.5] });
  assert.deepEqual(outline("POLYGON 0 0 1 0 1 1.5e0"), {
    corners: [
      [0, 0],
      [1, 0],
      [1, 1.5],
    ],
  });
  assert.equal(outline("POLYGON 0 0"), null);
  assert.equal(outline(null), null);
  assert.deepEqual(centre("POLYGON 5 -6 7 8"), [5, -6]);
  assert.equal(centre("5"), null);
});

test("an outline holds the places within it, also across 0 and not on the other side of the sky", () => {
  const square = outline("POLYGON 359 -1 1 -1 1 1 359 1");
  assert.ok(holds(square, [0, 0]));
  assert.ok(!holds(square, [2, 0]));
  assert.ok(!holds(square, [180, 0]));
  const polar = outline("POLYGON 0 89 90 89 180 89 270 89");
  assert.ok(holds(polar, [45, 89.9]));
  assert.ok(holds({ circle: [0, 0, 2] }, [359, 1]));
  assert.ok(!holds({ circle: [0, 0, 2] }, [357, 0]));
  assert.equal(Math.round(distance([0, 0], [90, 0])), 90);
});

test("a survey is called by the end of its address", () => {
  assert.equal(title("https://sky.example/P/DSS2/color/"), "DSS2 color");
  assert.equal(title("https://sky.example/"), "https://sky.example/");
});

test("longitudes and latitudes fill the plane", () => {
  const plane = new Plane(PLANET, 720, 180);
  assert.deepEqual([plane.x(180), plane.y(0)], [360, 90]);
  assert.deepEqual(plane.back([360, 90]), [180, 0]);
});

test("a disc keeps its shape", () => {
  const plane = new Plane(DISC, 480, 240);
  assert.deepEqual([plane.across, plane.up, plane.x(0), plane.y(0)], [0.1, 0.1, 240, 120]);
});

test("boxes across longitude 0 are in two parts", () => {
  const plane = new Plane(PLANET, 360, 180);
  const parts = (west, east) => plane.parts({ west, east, south: 0, north: 1 });
  assert.deepEqual(parts(10, 20), [[10, 20]]);
  assert.deepEqual(parts(350, 10), [
    [350, 360],
    [0, 10],
  ]);
  assert.deepEqual(parts(-10, 10), [
    [350, 360],
    [0, 10],
  ]);
  assert.deepEqual(parts(0, 360), [[0, 360]]);
  assert.deepEqual(parts(5, 5), [[5, 5]]);
});

test("under a point the smallest box comes first, and points are as big as they are drawn", () => {
  const plane = new Plane(PLANET, 360, 180);
  const list = boxes(["0 -20 40 20", "10 -5 20 5", "100 0 100 0"], ["big", "small", "point"], []);
  assert.deepEqual(
    plane.under(list, [15, 90], 6).map((one) => one.key),
    ["small", "big"],
  );
  assert.deepEqual(
    plane.under(list, [104, 93], 6).map((one) => one.key),
    ["point"],
  );
  assert.deepEqual(plane.under(list, [115, 90], 6), []);
});

test("under a point are the regions that hold it, where they are drawn", () => {
  const plane = new Plane(PLANET, 360, 180);
  const square = (west, south, east, north) => [west, south, east, south, east, north, west, north, west, south];
  const holed = [square(0, -20, 40, 20), square(10, -10, 30, 10)];
  const over = [square(350, 40, 360, 50), square(0, 40, 10, 50)];
  const tiny = [square(100, 0, 100.2, 0.2)];
  const list = boxes(
    ["0 -20 40 20", "350 40 10 50", "100 0 100.2 0.2"],
    ["holed", "over", "tiny"],
    [],
    [holed, over, tiny],
  );
  const keys = (lon, lat) => plane.under(list, [lon, 90 - lat], 6).map((one) => one.key);
  assert.deepEqual(
    [keys(5, 0), keys(20, 0), keys(355, 45), keys(5, 45), keys(180, 45)],
    [["holed"], [], ["over"], ["over"], []],
  );
  assert.deepEqual(keys(103, 2), ["tiny"]); // as big as it is drawn
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
  new Plane(PLANET, 360, 180).traced([
    [0, 10, 20, 10, 20, 30, 0, 30, 0, 10],
    [0, 80, 360, 80, 360, 90, 0, 90, 0, 80],
  ]);
  delete globalThis.Path2D;
  assert.deepEqual(drawn, [
    ["M0,80", "L20,80", "L20,60", "L0,60", "L0,80", "Z", "M0,10", "L360,10", "L360,0", "L0,0", "L0,10", "Z"],
    ["M0,80", "L20,80", "L20,60", "L0,60", "M0,80", "M0,10", "L360,10", "M360,0", "M0,0", "M0,10"],
  ]);
});

test("conditions are a box, and a box conditions", () => {
  const plane = new Plane(PLANET, 360, 180);
  assert.deepEqual(plane.searched(["10..20", null]), { west: 10, east: 20, south: -90, north: 90 });
  assert.equal(plane.searched(["10", null]), null);
  assert.deepEqual(plane.within({ west: -5, east: 20, south: 1, north: 99 }), { c1: "0.00..20.00", c2: "1.00..90.00" });
});
