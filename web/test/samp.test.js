import assert from "node:assert/strict";
import { test } from "node:test";
import { called, Client, takes, write } from "../src/hub.js";
import { leave, unheard } from "../src/leave.js";
import { file, image, linked, position, region, spectrum } from "../src/messages.js";

const field = (name, value, more = {}) => ({ name, value, ucd: "", stored_unit: "", ...more });
const link = (name, href, more = {}) => field(name, { text: "x", href, ...more });

test("texts, lists and maps are written as XML-RPC has them", () => {
  assert.equal(write("a<b&c"), "<value><string>a&lt;b&amp;c</string></value>");
  assert.equal(write("a\u0000b\uD800"), "<value><string>ab</string></value>");
  assert.equal(write(["a"]), "<value><array><data><value><string>a</string></value></data></array></value>");
  const member = "<member><name>k</name><value><string>v</string></value></member>";
  assert.equal(write({ k: "v" }), `<value><struct>${member}</struct></value>`);
  assert.match(called("samp.webhub.ping", []), /<methodName>samp\.webhub\.ping<\/methodName><params><\/params>/);
});

test("a program takes messages by name, or by the beginning of their names", () => {
  const program = (...understands) => ({ id: "1", name: "", understands });
  assert.ok(takes(program("table.load.votable"), "table.load.votable"));
  assert.ok(takes(program("table.load.*"), "table.load.fits"));
  assert.ok(takes(program("*"), "anything"));
  assert.ok(!takes(program("table.*"), "tables.load"));
  assert.ok(!takes(program(), "table.load.votable"));
});

test("a client without a hub is not connected, and leaves without a word", async () => {
  const client = new Client("http://nowhere.example/");
  let told = 0;
  client.on("clients", () => told++);
  await client.unregister();
  assert.deepEqual([client.connected, told], [false, 1]);
});

test("a question that was refused, overlooked or closed is no missing hub", () => {
  const asked = { before: "prompt", after: "prompt", seconds: 2, late: false };
  assert.equal(unheard({ ...asked, after: "denied", seconds: 0.01 }), "refused");
  assert.equal(unheard({ ...asked, before: "denied", after: "denied" }), "refused");
  assert.equal(unheard({ ...asked, late: true }), "overlooked");
  assert.equal(unheard(asked), "closed");
  assert.equal(unheard({ ...asked, after: "granted" }), "missing");
  assert.equal(unheard({ ...asked, seconds: 0.02 }), "missing"); // nobody is as quick: it was not asked
  assert.equal(unheard({ seconds: 10, late: true }), "missing"); // a browser that asks nobody
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
  assert.equal(await leave("archive.example"), known);
  for (const host of ["localhost", "a.localhost", "127.0.0.1", "[::1]"]) assert.equal(await leave(host), null);
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  assert.equal(await leave("archive.example"), null);
  if (before) Object.defineProperty(globalThis, "navigator", before);
});

test("a row leads to its file, else to the first address that is no picture", () => {
  const shot = link("shot", "http://a/p.png", { picture: true });
  assert.equal(linked([shot, link("page", "http://a/page"), link("ACCESS_URL", "http://a/f.fits")]), "http://a/f.fits");
  assert.equal(linked([shot, link("page", "http://a/page")]), "http://a/page");
  assert.equal(linked([shot, field("name", "x"), field("none", null)]), null);
});

test("a file is sent as what its format says, or else the end of its name", () => {
  const sent = (url, format) =>
    file(url, format === undefined ? [] : [field("access_format", format)]).messages[0]?.mtype;
  assert.equal(sent("http://a/f.fits"), "image.load.fits");
  assert.equal(sent("http://a/f.fits.gz"), "image.load.fits");
  assert.equal(sent("http://a/f.vot"), "table.load.votable");
  assert.equal(sent("http://a/f", "application/x-votable+xml"), "table.load.votable");
  assert.equal(sent("http://a/f", "application/x-cdf"), "table.load.cdf");
  assert.equal(sent("http://a/f", "application/x-oifits"), "table.load.fits");
  assert.equal(sent("http://a/f.fits", "text/plain"), undefined);
  assert.equal(sent("http://a/f.oifits.gz", "application/gzip"), "table.load.fits");
  assert.equal(
    file("http://a/f.fits", [field("media_type", "application/oifits")]).messages[0].mtype,
    "table.load.fits",
  );
  assert.deepEqual(file("http://a/f.pdf", []), { format: "f.pdf", messages: [] });
  assert.equal(image("http://a/b/f.fits").params.name, "f.fits");
});

test("what interferometers measure is a table, whatever the file is called", () => {
  const fields = [field("access_format", "application/fits"), field("dataproduct_type", "visibility")];
  assert.deepEqual(
    file("http://a/f.fits", fields).messages.map(({ mtype }) => mtype),
    ["table.load.fits"],
  );
});

test("a file that no program knows is sent as the FITS that is made of it", () => {
  const leads = (url, type) => [
    { semantics: "this", href: url, type },
    { semantics: "preview", href: "http://a/p.png", type: "image/png" },
    { semantics: "this", href: "http://a/as", type: "application/fits" },
  ];
  const sent = (url, type) => file(url, [], leads(url, type)).messages.map(({ mtype, params }) => [mtype, params.url]);
  const picture = ["image.load.fits", "http://a/as"];
  const table = ["table.load.fits", "http://a/as"];
  assert.deepEqual(sent("http://a/c.qub", "application/octet-stream"), [picture, table]);
  assert.deepEqual(sent("http://a/s.nc", "application/x-netcdf"), [table, picture]);
  assert.deepEqual(sent("http://a/s.cdf", "application/x-cdf"), [["table.load.cdf", "http://a/s.cdf"], table, picture]);
  assert.equal(linked([link("page", "http://a/page")], leads("http://a/c.qub", "")), "http://a/c.qub");
});

test("a spectrum is told what its row says of it", () => {
  const { params } = spectrum("http://a/s.fits", [field("flux", "1", { ucd: "phot.flux" }), field("none", "1")]);
  assert.deepEqual(params.meta, { flux: "1" });
});

test("a position is right ascension and declination in degrees", () => {
  const [ra, dec] = ["ra", "dec"].map((one) =>
    field(one, "10", { ucd: `pos.eq.${one};meta.main`, stored_unit: "deg" }),
  );
  assert.deepEqual(position([ra, dec]).params, { ra: "10", dec: "10" });
  assert.equal(position([ra]), null);
  assert.equal(position([ra, { ...dec, stored_unit: "rad" }]), null);
});

test("a region is drawn by a script, a circle pointed at besides", () => {
  assert.deepEqual(
    region({ circle: [1, 2, 3] }).map((one) => one.mtype),
    ["script.aladin.send", "coord.pointAt.sky"],
  );
  assert.deepEqual(region({ polygon: [1, 2, 3, 4, 5, 6] })[0].params, { script: "draw polygon(1,2,3,4,5,6)" });
});
