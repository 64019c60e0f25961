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

const field = (name, value, more = {}) => ({ name, value, ucd: "", stored_unit: "", ...more });
const link = (name, href, more = {}) => field(name, { text: "x", href, ...more });

test("texts, lists and maps are written as XML-RPC has them", () => {
  assert.equal(writeValue("a<b&c"), "<value><string>a&lt;b&amp;c</string></value>");
  assert.equal(writeValue("a\u0000b\uD800"), "<value><string>ab</string></value>");
  assert.equal(writeValue(["a"]), "<value><array><data><value><string>a</string></value></data></array></value>");
  const member = "<member><name>k</name><value><string>v</string></value></member>";
  assert.equal(writeValue({ k: "v" }), `<value><struct>${member}</struct></value>`);
  assert.match(writeCall("samp.webhub.ping", []), /<methodName>samp\.webhub\.ping<\/methodName><params><\/params>/);
});

test("a program takes messages by name, or by the beginning of their names", () => {
  const program = (...understands) => ({ id: "1", name: "", understands });
  assert.ok(acceptsMessage(program("table.load.votable"), "table.load.votable"));
  assert.ok(acceptsMessage(program("table.load.*"), "table.load.fits"));
  assert.ok(acceptsMessage(program("*"), "anything"));
  assert.ok(!acceptsMessage(program("table.*"), "tables.load"));
  assert.ok(!acceptsMessage(program(), "table.load.votable"));
});

test("a client without a hub is not connected, and leaves without a word", async () => {
  const client = new SampClient("http://nowhere.example/");
  let told = 0;
  client.on("clients", () => told++);
  await client.unregister();
  assert.deepEqual([client.connected, told], [false, 1]);
});

test("a question that was refused, overlooked or closed is no missing hub", () => {
  const asked = { before: "prompt", after: "prompt", seconds: 2, isTimedOut: false };
  assert.equal(classifySilence({ ...asked, after: "denied", seconds: 0.01 }), "refused");
  assert.equal(classifySilence({ ...asked, before: "denied", after: "denied" }), "refused");
  assert.equal(classifySilence({ ...asked, isTimedOut: true }), "overlooked");
  assert.equal(classifySilence(asked), "closed");
  assert.equal(classifySilence({ ...asked, after: "granted" }), "missing");
  assert.equal(classifySilence({ ...asked, seconds: 0.02 }), "missing"); // nobody is as quick: it was not asked
  assert.equal(classifySilence({ seconds: 10, isTimedOut: true }), "missing"); // a browser that asks nobody
});

test("the leave is asked for by the name that the browser knows, and not by a page of this computer", async () => {
  const known = { state: "prompt" };
  const permissions = {
    query: async ({ name }) => {
      if (name !== "local-network-access") throw new TypeError(name);
      return known;
    },
  };
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { permissions }, configurable: true });
  assert.equal(await queryPermission("archive.example"), known);
  for (const host of ["localhost", "a.localhost", "127.0.0.1", "[::1]"])
    assert.equal(await queryPermission(host), null);
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  assert.equal(await queryPermission("archive.example"), null);
  if (before) Object.defineProperty(globalThis, "navigator", before);
});

test("a row leads to its file, else to the first address that is no picture", () => {
  const shot = link("shot", "http://a/p.png", { picture: true });
  assert.equal(
    findLinkUrl([shot, link("page", "http://a/page"), link("ACCESS_URL", "http://a/f.fits")]),
    "http://a/f.fits",
  );
  assert.equal(findLinkUrl([shot, link("page", "http://a/page")]), "http://a/page");
  assert.equal(findLinkUrl([shot, field("name", "x"), field("none", null)]), null);
});

test("a file is sent as what its format says, or else the end of its name", () => {
  const sent = (url, format) =>
    chooseFileMessages(url, format === undefined ? [] : [field("access_format", format)]).messages[0]?.mtype;
  assert.equal(sent("http://a/f.fits"), "image.load.fits");
  assert.equal(sent("http://a/f.fits.gz"), "image.load.fits");
  assert.equal(sent("http://a/f.vot"), "table.load.votable");
  assert.equal(sent("http://a/f", "application/x-votable+xml"), "table.load.votable");
  assert.equal(sent("http://a/f", "application/x-cdf"), "table.load.cdf");
  assert.equal(sent("http://a/f", "application/x-oifits"), "table.load.fits");
  assert.equal(sent("http://a/f.fits", "text/plain"), undefined);
  assert.equal(sent("http://a/f.oifits.gz", "application/gzip"), "table.load.fits");
  assert.equal(
    chooseFileMessages("http://a/f.fits", [field("media_type", "application/oifits")]).messages[0].mtype,
    "table.load.fits",
  );
  assert.deepEqual(chooseFileMessages("http://a/f.pdf", []), { format: "f.pdf", messages: [] });
  assert.equal(buildImageMessage("http://a/b/f.fits").params.name, "f.fits");
});

test("what interferometers measure is a table, whatever the file is called", () => {
  const fields = [field("access_format", "application/fits"), field("dataproduct_type", "visibility")];
  assert.deepEqual(
    chooseFileMessages("http://a/f.fits", fields).messages.map(({ mtype }) => mtype),
    ["table.load.fits"],
  );
});

test("a file that no program knows is sent as the FITS that is made of it", () => {
  const leads = (url, type) => [
    { semantics: "this", href: url, type },
    { semantics: "preview", href: "http://a/p.png", type: "image/png" },
    { semantics: "this", href: "http://a/as", type: "application/fits" },
  ];
  const sent = (url, type) =>
    chooseFileMessages(url, [], leads(url, type)).messages.map(({ mtype, params }) => [mtype, params.url]);
  const picture = ["image.load.fits", "http://a/as"];
  const table = ["table.load.fits", "http://a/as"];
  assert.deepEqual(sent("http://a/c.qub", "application/octet-stream"), [picture, table]);
  assert.deepEqual(sent("http://a/s.nc", "application/x-netcdf"), [table, picture]);
  assert.deepEqual(sent("http://a/s.cdf", "application/x-cdf"), [["table.load.cdf", "http://a/s.cdf"], table, picture]);
  assert.equal(findLinkUrl([link("page", "http://a/page")], leads("http://a/c.qub", "")), "http://a/c.qub");
});

test("a spectrum is told what its row says of it", () => {
  const { params } = buildSpectrumMessage("http://a/s.fits", [
    field("flux", "1", { ucd: "phot.flux" }),
    field("none", "1"),
  ]);
  assert.deepEqual(params.meta, { flux: "1" });
});

test("a position is right ascension and declination in degrees", () => {
  const [ra, dec] = ["ra", "dec"].map((one) =>
    field(one, "10", { ucd: `pos.eq.${one};meta.main`, stored_unit: "deg" }),
  );
  assert.deepEqual(buildPositionMessage([ra, dec]).params, { ra: "10", dec: "10" });
  assert.equal(buildPositionMessage([ra]), null);
  assert.equal(buildPositionMessage([ra, { ...dec, stored_unit: "rad" }]), null);
});

test("a region is drawn by a script, a circle pointed at besides", () => {
  assert.deepEqual(
    buildRegionMessages({ circle: [1, 2, 3] }).map((one) => one.mtype),
    ["script.aladin.send", "coord.pointAt.sky"],
  );
  assert.deepEqual(buildRegionMessages({ polygon: [1, 2, 3, 4, 5, 6] })[0].params, {
    script: "draw polygon(1,2,3,4,5,6)",
  });
});
