import assert from "node:assert/strict";
import { test } from "node:test";
import { writeCall, SampClient, acceptsMessage, writeValue } from "../src/samp_client.js";
import { queryPermission, classifySilence } from "../src/local_network_access.js";
import {
  chooseFileMessages,
  buildImageMessage,
  findLinkUrl,
  buildPositionMessage,
  buildRegionMessages,
  buildSpectrumMessage,
} from "../src/samp_messages.js";

const createField = (name, value, changes = {}) => ({ name, value, ucd: "", stored_unit: "", ...changes });
const createLink = (name, href, changes = {}) => createField(name, { text: "x", href, ...changes });

test("texts, lists and maps are written as XML-RPC has them", () => {
  assert.equal(writeValue("a<b&c"), "<value><string>a&lt;b&amp;c</string></value>");
  assert.equal(writeValue("a\u0000b\uD800"), "<value><string>ab</string></value>");
  assert.equal(writeValue(["a"]), "<value><array><data><value><string>a</string></value></data></array></value>");
  const member = "<member><name>k</name><value><string>v</string></value></member>";
  assert.equal(writeValue({ k: "v" }), `<value><struct>${member}</struct></value>`);
  assert.match(writeCall("samp.webhub.ping", []), /<methodName>samp\.webhub\.ping<\/methodName><params><\/params>/);
});

test("a program takes messages by name, or by the beginning of their names", () => {
  const createProgram = (...understands) => ({ id: "1", name: "", understands });
  assert.ok(acceptsMessage(createProgram("table.load.votable"), "table.load.votable"));
  assert.ok(acceptsMessage(createProgram("table.load.*"), "table.load.fits"));
  assert.ok(acceptsMessage(createProgram("*"), "anything"));
  assert.ok(!acceptsMessage(createProgram("table.*"), "tables.load"));
  assert.ok(!acceptsMessage(createProgram(), "table.load.votable"));
});

test("a client without a hub is not connected, and leaves without a word", async () => {
  const client = new SampClient("http://nowhere.example/");
  let eventCount = 0;
  client.on("clients", () => eventCount++);
  await client.unregister();
  assert.deepEqual([client.connected, eventCount], [false, 1]);
});

test("a question that was refused, overlooked or closed is no missing hub", () => {
  const facts = { before: "prompt", after: "prompt", seconds: 2, isTimedOut: false };
  assert.equal(classifySilence({ ...facts, after: "denied", seconds: 0.01 }), "refused");
  assert.equal(classifySilence({ ...facts, before: "denied", after: "denied" }), "refused");
  assert.equal(classifySilence({ ...facts, isTimedOut: true }), "overlooked");
  assert.equal(classifySilence(facts), "closed");
  assert.equal(classifySilence({ ...facts, after: "granted" }), "missing");
  assert.equal(classifySilence({ ...facts, seconds: 0.02 }), "missing"); // nobody is as quick: it was not asked
  assert.equal(classifySilence({ seconds: 10, isTimedOut: true }), "missing"); // a browser that asks nobody
});

test("the leave is asked for by the name that the browser knows, and not by a page of this computer", async () => {
  const permission = { state: "prompt" };
  const permissions = {
    query: async ({ name }) => {
      if (name !== "local-network-access") throw new TypeError(name);
      return permission;
    },
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { permissions }, configurable: true });
  assert.equal(await queryPermission("archive.example"), permission);
  for (const host of ["localhost", "a.localhost", "127.0.0.1", "[::1]"])
    assert.equal(await queryPermission(host), null);
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  assert.equal(await queryPermission("archive.example"), null);
  if (before) Object.defineProperty(globalThis, "navigator", before);
});

test("a row leads to its file, else to the first address that is no picture", () => {
  const shot = createLink("shot", "http://a/p.png", { picture: true });
  assert.equal(
    findLinkUrl([shot, createLink("page", "http://a/page"), createLink("ACCESS_URL", "http://a/f.fits")]),
    "http://a/f.fits",
  );
  assert.equal(findLinkUrl([shot, createLink("page", "http://a/page")]), "http://a/page");
  assert.equal(findLinkUrl([shot, createField("name", "x"), createField("none", null)]), null);
});

test("a file is sent as what its format says, or else the end of its name", () => {
  const chooseType = (url, format) =>
    chooseFileMessages(url, format === undefined ? [] : [createField("access_format", format)]).messages[0]?.mtype;
  assert.equal(chooseType("http://a/f.fits"), "image.load.fits");
  assert.equal(chooseType("http://a/f.fits.gz"), "image.load.fits");
  assert.equal(chooseType("http://a/f.vot"), "table.load.votable");
  assert.equal(chooseType("http://a/f", "application/x-votable+xml"), "table.load.votable");
  assert.equal(chooseType("http://a/f", "application/x-cdf"), "table.load.cdf");
  assert.equal(chooseType("http://a/f", "application/x-oifits"), "table.load.fits");
  assert.equal(chooseType("http://a/f.fits", "text/plain"), undefined);
  assert.equal(chooseType("http://a/f.oifits.gz", "application/gzip"), "table.load.fits");
  assert.equal(
    chooseFileMessages("http://a/f.fits", [createField("media_type", "application/oifits")]).messages[0].mtype,
    "table.load.fits",
  );
  assert.deepEqual(chooseFileMessages("http://a/f.pdf", []), { format: "f.pdf", messages: [] });
  assert.equal(buildImageMessage("http://a/b/f.fits").params.name, "f.fits");
});

test("what interferometers measure is a table, whatever the file is called", () => {
  const fields = [createField("access_format", "application/fits"), createField("dataproduct_type", "visibility")];
  assert.deepEqual(
    chooseFileMessages("http://a/f.fits", fields).messages.map(({ mtype }) => mtype),
    ["table.load.fits"],
  );
});

test("a file that no program knows is sent as the FITS that is made of it", () => {
  const createLinks = (url, type) => [
    { semantics: "this", href: url, type },
    { semantics: "preview", href: "http://a/p.png", type: "image/png" },
    { semantics: "this", href: "http://a/as", type: "application/fits" },
  ];
  const listMessages = (url, type) =>
    chooseFileMessages(url, [], createLinks(url, type)).messages.map(({ mtype, params }) => [mtype, params.url]);
  const picture = ["image.load.fits", "http://a/as"];
  const table = ["table.load.fits", "http://a/as"];
  assert.deepEqual(listMessages("http://a/c.qub", "application/octet-stream"), [picture, table]);
  assert.deepEqual(listMessages("http://a/s.nc", "application/x-netcdf"), [table, picture]);
  assert.deepEqual(listMessages("http://a/s.cdf", "application/x-cdf"), [
    ["table.load.cdf", "http://a/s.cdf"],
    table,
    picture,
  ]);
  assert.equal(findLinkUrl([createLink("page", "http://a/page")], createLinks("http://a/c.qub", "")), "http://a/c.qub");
});

test("a spectrum is told what its row says of it", () => {
  const { params } = buildSpectrumMessage("http://a/s.fits", [
    createField("flux", "1", { ucd: "phot.flux" }),
    createField("none", "1"),
  ]);
  assert.deepEqual(params.meta, { flux: "1" });
});

test("a position is right ascension and declination in degrees", () => {
  const [ra, dec] = ["ra", "dec"].map((coordinate) =>
    createField(coordinate, "10", { ucd: `pos.eq.${coordinate};meta.main`, stored_unit: "deg" }),
  );
  assert.deepEqual(buildPositionMessage([ra, dec]).params, { ra: "10", dec: "10" });
  assert.equal(buildPositionMessage([ra]), null);
  assert.equal(buildPositionMessage([ra, { ...dec, stored_unit: "rad" }]), null);
});

test("a region is drawn by a script, a circle pointed at besides", () => {
  assert.deepEqual(
    buildRegionMessages({ circle: [1, 2, 3] }).map((message) => message.mtype),
    ["script.aladin.send", "coord.pointAt.sky"],
  );
  assert.deepEqual(buildRegionMessages({ polygon: [1, 2, 3, 4, 5, 6] })[0].params, {
    script: "draw polygon(1,2,3,4,5,6)",
  });
});
