// SAMP from a page: the Web Profile of SAMP 1.3 (section 5), a few calls of XML-RPC to the hub on the reader's own computer. Sends tables, rows,
// images, spectra, positions and regions to TOPCAT, Aladin and others, and follows what is pointed at there.
const HUB = "http://localhost:21012/";
const WAIT = 10; // seconds that a question for messages stays open
const LINKED = ["table.highlight.row", "table.select.rowList", "coord.pointAt.sky"]; // what we understand
const LONGEST = 8000; // characters of an address that programs and servers take
const SOON = 10_000; // milliseconds within which a hub that is there answers a ping, on a computer that is busy, too; where none is, that is known at once

/** Write a value: texts, lists and maps are all that SAMP has. */
export function write(value) {
  if (Array.isArray(value)) return `<value><array><data>${value.map(write).join("")}</data></array></value>`;
  if (value !== null && typeof value === "object") {
    const members = Object.entries(value).map(([name, each]) => `<member><name>${escape(name)}</name>${write(each)}</member>`);
    return `<value><struct>${members.join("")}</struct></value>`;
  }
  return `<value><string>${escape(String(value))}</string></value>`;
}

function escape(text) {
  // what XML 1.0 has no place for is left out
  return text.replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "").replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** Read a <value>; numbers and truths, which SAMP does not have, come as texts. */
export function read(element) {
  const [inner] = element.children;
  if (!inner) return element.textContent;
  const kind = inner.localName;
  if (kind === "array") return [...inner.querySelectorAll(":scope > data > value")].map(read);
  if (kind === "struct") {
    const found = {};
    for (const member of inner.querySelectorAll(":scope > member")) {
      const name = member.querySelector(":scope > name")?.textContent ?? "";
      const value = member.querySelector(":scope > value");
      if (name !== "__proto__" && value) found[name] = read(value);
    }
    return found;
  }
  return inner.textContent;
}

export class HubError extends Error {}

/** Whether a program takes a message: it says so by name, or by the beginning of names, ``table.load.*``. */
function takes(client, mtype) {
  return client.understands.some((one) => one === mtype || one === "*" || (one.endsWith(".*") && mtype.startsWith(one.slice(0, -1))));
}

// what a file is sent as, by its format, or else by the end of its name
const KINDS = [
  [/votable/, /\.(vot|votable)(\.gz)?$/i, "table.load.votable", "table-id"],
  [/x-cdf|[-/]cdf\b/, /\.cdf$/i, "table.load.cdf", "table-id"],
  [/oifits|bintable|fits-table/, /\.oifits(\.gz)?$/i, "table.load.fits", "table-id"],
  [/fits/, /\.(fits|fit|fts)(\.gz|\.fz)?$/i, "image.load.fits", "image-id"],
];

/** A registered client. */
export class Client extends EventTarget {
  #key = "";
  #there = false; // registered, and told who else is there

  constructor(url = HUB) {
    super();
    this.url = url;
    this.clients = [];
  }

  get connected() { return this.#there; }

  async call(method, parameters, { signal = undefined, keepalive = false } = {}) {
    const body = `<?xml version="1.0"?><methodCall><methodName>${method}</methodName><params>${parameters.map((one) => `<param>${write(one)}</param>`).join("")}</params></methodCall>`;
    const answer = await fetch(this.url, { method: "POST", body, headers: { "content-type": "text/xml" }, credentials: "omit", signal, keepalive });
    const page = new DOMParser().parseFromString(await answer.text(), "text/xml");
    const value = page.querySelector("methodResponse > params > param > value");
    const fault = page.querySelector("methodResponse > fault > value");
    if (fault) throw new HubError(read(fault).faultString ?? "fault");
    if (!value && !page.querySelector("methodResponse")) throw new HubError(`HTTP ${answer.status}`);
    return value ? read(value) : "";
  }

  /** Ask whether a hub is there, without the reader being asked anything. */
  async ping() { await this.call("samp.webhub.ping", [], { signal: AbortSignal.timeout(SOON) }); }

  async register(name, metadata) {
    const given = await this.call("samp.webhub.register", [{ "samp.name": name }]);
    this.#key = given["samp.private-key"];
    this.id = given["samp.self-id"];
    const wanted = Object.fromEntries([...LINKED, "samp.hub.event.register", "samp.hub.event.unregister", "samp.hub.event.metadata", "samp.hub.event.subscriptions", "samp.hub.event.shutdown"].map((one) => [one, {}]));
    try {
      await this.call("samp.webhub.declareMetadata", [this.#key, metadata]);
      await this.call("samp.webhub.allowReverseCallbacks", [this.#key, "1"]);
      await this.call("samp.webhub.declareSubscriptions", [this.#key, wanted]);
      await this.look();
    } catch (error) {
      await this.unregister(); // nobody stays there half registered
      throw error;
    }
    this.#there = true;
    this.dispatchEvent(new Event("clients"));
    this.#listen();
  }

  /** Find the other clients: id, name, and what they understand. */
  async look() {
    const ids = await this.call("samp.webhub.getRegisteredClients", [this.#key]);
    const found = await Promise.all(ids.map(async (id) => {
      const [told, understood] = await Promise.all([
        this.call("samp.webhub.getMetadata", [this.#key, id]).catch(() => ({})),
        this.call("samp.webhub.getSubscriptions", [this.#key, id]).catch(() => ({})),
      ]);
      return { id, name: told["samp.name"] || id, understands: Object.keys(understood) };
    }));
    this.clients = found.filter((one) => one.id !== this.id);
    if (this.#there) this.dispatchEvent(new Event("clients"));
  }

  /** Send a message to one client, or to all who understand it. */
  async notify(mtype, params, to = "") {
    const message = { "samp.mtype": mtype, "samp.params": params };
    if (to) return this.call("samp.webhub.notify", [this.#key, to, message]);
    return this.call("samp.webhub.notifyAll", [this.#key, message]);
  }

  async #listen() {
    const mine = this.#key;
    while (this.#key === mine) {
      let begun = Date.now();
      try {
        const calls = await this.call("samp.webhub.pullCallbacks", [mine, String(WAIT)], { signal: AbortSignal.timeout((WAIT + 20) * 1000) });
        for (const one of calls) await this.#received(one["samp.methodName"], one["samp.params"]);
        if (!calls.length && Date.now() - begun < 500) await new Promise((done) => { setTimeout(done, 1000); }); // a hub that does not wait
      } catch (error) {
        if (this.#key === mine) this.#gone();
        return;
      }
    }
  }

  async #received(method, parameters) {
    const name = method.replace(/^samp\.webclient\./, "");
    if (name === "receiveNotification" || name === "receiveCall") {
      const message = parameters.at(-1) ?? {};
      const mtype = message["samp.mtype"] ?? "";
      if (mtype === "samp.hub.event.shutdown") return this.#gone();
      if (mtype.startsWith("samp.hub.event.")) await this.look().catch(() => {});
      else this.dispatchEvent(Object.assign(new Event("message"), { sender: parameters[0], mtype, params: message["samp.params"] ?? {} }));
      if (name === "receiveCall") await this.call("samp.webhub.reply", [this.#key, parameters[1], { "samp.status": "samp.ok", "samp.result": {} }]);
    }
  }

  #gone() {
    this.#key = "";
    this.#there = false;
    this.clients = [];
    this.dispatchEvent(new Event("gone"));
  }

  async unregister() {
    const key = this.#key;
    this.#key = "";
    this.#there = false;
    this.clients = [];
    if (key) await this.call("samp.webhub.unregister", [key], { keepalive: true }).catch(() => {});
    this.dispatchEvent(new Event("clients"));
  }
}

const client = new Client(); // one of a page, whatever is shown in it

export function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const here = box.closest("[data-here]")?.dataset.here;
  const place = box.querySelector("[data-samp]");
  if (!place || (!here && box.dataset.table === undefined)) return;
  const whole = box.dataset.table; // the address of a table without rows of its own: the answer of a query, the result of a job
  const rowed = whole === undefined;
  const name = () => box.dataset.name || document.querySelector("h1")?.textContent || document.title;
  box.hidden = false;
  // sending takes a while, and rows are chosen meanwhile: they go down below the menu, which stays where it is
  const around = box.closest(".take");
  const below = () => { if (around) around.style.marginBottom = box.open ? `${place.offsetHeight + 12}px` : ""; };
  new ResizeObserver(below).observe(place);
  box.addEventListener("toggle", below);
  let sent = null; // the table that programs have: {id, url, keys}
  let quiet = false; // what changes now was told by a program
  let note = "";
  let to = "";

  const button = (text, act, name = "quiet") => {
    const made = Object.assign(document.createElement("button"), { type: "button", className: name, textContent: text });
    made.addEventListener("click", act);
    return made;
  };

  let reached = new Set(); // programs that took what was sent last

  /** Send a message to those who take it; it is an error if nobody does. */
  async function send(mtype, params) {
    const takers = client.clients.filter((one) => (!to || one.id === to) && takes(one, mtype));
    if (!takers.length) throw new Error(t("No program here takes this: {mtype}", { mtype }));
    await client.notify(mtype, params, to);
    for (const one of takers) reached.add(one.name);
  }

  const say = (text) => { note = text; status.textContent = text; };
  const status = Object.assign(document.createElement("p"), { className: "soft" });
  status.setAttribute("role", "status");

  let drawn = ""; // what the list was drawn from

  function draw() {
    if (!client.connected) {
      drawn = "";
      place.replaceChildren(status, button(t("Connect"), connect, ""));
      return;
    }
    const others = client.clients.filter((one) => one.understands.some((mtype) => mtype !== "samp.app.ping" && !mtype.startsWith("samp.hub.")));
    const searched = Boolean(state.get("_near") || state.get("_in"));
    const now = JSON.stringify([others.map((one) => [one.id, one.name]), selection.marked.size > 0, Boolean(selection.chosen), searched]);
    if (now === drawn) return; // a hub tells of every change, of ours as well: what stays the same stays under the pointer
    drawn = now;
    const target = document.createElement("label");
    target.className = "tickable";
    const select = document.createElement("select");
    select.append(new Option(t("all programs"), ""), ...others.map((one) => new Option(one.name, one.id, false, one.id === to)));
    select.addEventListener("change", () => { to = select.value; });
    target.append(t("Send to"), " ", select);
    const list = document.createElement("ul");
    const add = (text, act, off = false) => {
      const entry = document.createElement("li");
      const made = button(text, () => { reached = new Set(); return act().then(() => say(t("Sent to {programs}", { programs: [...reached].join(", ") }))).catch((error) => say(error instanceof HubError ? t("The hub refused: {why}", { why: error.message }) : error.message)); }, "link");
      made.disabled = off;
      entry.append(made);
      list.append(entry);
    };
    add(t("The table"), table);
    if (rowed) {
      add(t("The marked rows"), marked, !selection.marked.size);
      const none = !selection.chosen;
      add(t("The image of this row"), () => product("image.load.fits", "image-id"), none);
      add(t("The spectrum of this row"), () => product("spectrum.load.ssa-generic", "spectrum-id"), none);
      add(t("The file of this row"), file, none);
      add(t("The position of this row"), point, none);
      if (searched) add(t("The region of the search"), region);
      if (box.dataset.coverage !== undefined) add(t("The region that the rows cover"), () => moc("_coverage"));
    }
    place.replaceChildren(status, target, list, button(t("Disconnect"), () => client.unregister().then(() => { sent = null; say(""); draw(); })));
  }

  async function connect() {
    try {
      await client.ping();
    } catch {
      return missing();
    }
    say(t("Asking the hub: allow this page there"));
    try {
      await client.register(document.title, { "samp.name": document.title, "samp.description.text": location.origin, "samp.documentation.url": location.origin });
    } catch (error) {
      say(t("The hub refused: {why}", { why: error.message }));
      return;
    }
    say(t("Connected: {count} programs", { count: client.clients.length }));
    draw();
    place.querySelector("select")?.focus();
  }

  async function missing() {
    const blocked = location.protocol === "https:" && /^((?!chrom|android).)*safari/i.test(navigator.userAgent);
    const open = !isSecureContext; // newer browsers let only secure pages speak to this computer
    say(`${t("No SAMP hub answers on this computer. Start TOPCAT or Aladin, then connect again; or open this address in the program:")}${blocked ? ` ${t("Safari lets no secure page speak to a hub: use another browser.")}` : open ? ` ${t("Some browsers let only secure pages (https) speak to a hub.")}` : ""}`);
    const address = await found().then((one) => one.table || location.href).catch(() => location.href);
    const line = Object.assign(document.createElement("input"), { readOnly: true, value: address, className: "address" });
    line.setAttribute("aria-label", t("Link to this search"));
    line.addEventListener("focus", () => line.select());
    const copy = navigator.clipboard ? [button(t("Copy"), () => navigator.clipboard.writeText(address).then(() => say(t("Copied"))))] : [];
    place.replaceChildren(status, line, ...copy, button(t("Connect"), connect, ""));
  }

  const found = async () => (rowed ? taken() : { table: whole, keys: [] });
  const asked = (more = {}) => state.with({ _row: null, _view: null, _map: null, _plot: null, _compare: null, ...more });
  const taken = () => workspace.ask(`${here}/take`, { state: asked({ _keyed: "1" }), pane: "samp" });

  async function table() {
    const { table: url, keys } = await found();
    if (!url) throw new Error(t("The query is too long for an address: run it as a job, and send its result"));
    await send("table.load.votable", { url, "table-id": url, name: name() });
    sent = { id: url, url, keys };
  }

  /** Mark the rows in the table that programs have; who has none is sent a table of these rows alone. */
  async function marked() {
    const rows = sent ? [...selection.marked].map((key) => sent.keys.indexOf(key)).filter((at) => at >= 0).sort((a, b) => a - b) : [];
    if (!rows.length) {
      const body = new URLSearchParams([...selection.marked].map((key) => ["_key", key]));
      const { table: url } = await workspace.ask(`${here}/take`, { state: asked(), method: "POST", body, pane: "samp" });
      if (url.length > LONGEST) throw new Error(t("Send the table first"));
      await send("table.load.votable", { url, "table-id": url, name: t("{count} rows of {name}", { count: selection.marked.size, name: name() }) });
      return;
    }
    await send("table.select.rowList", { "table-id": sent.id, url: sent.url, "row-list": rows.map(String) });
  }

  async function row() {
    const told = await workspace.ask(`${here}/row`, { state: new URLSearchParams({ _row: selection.chosen }), pane: "samp-row" });
    return (told.columns ?? []).map((column, at) => ({ ...column, value: told.row?.[at] ?? null }));
  }

  const text = (value) => (value === null || typeof value === "string" ? value : value.text);

  async function product(mtype, id) {
    const cells = await row();
    const link = linked(cells);
    const url = link.value.href;
    const name = url.split("/").pop() || url;
    await send(mtype, mtype.startsWith("spectrum") ? { url, [id]: url, name, meta: Object.fromEntries(cells.filter((one) => one.ucd && one.value !== null).slice(0, 40).map((one) => [one.name, text(one.value)])) } : { url, [id]: url, name });
  }

  /** Send the file of a row as what its format says: a table, a CDF file, an image. */
  async function file() {
    const cells = await row();
    const link = linked(cells);
    const url = link.value.href;
    const said = (text(cells.find((one) => one.name.toLowerCase() === "access_format")?.value ?? null) ?? "").toLowerCase();
    const kind = KINDS.find(([format, ending]) => format.test(said) || (!said && ending.test(url)));
    if (!kind) throw new Error(t("Programs are told of no files of this kind: {format}", { format: said || url.split("/").pop() }));
    const [, , mtype, id] = kind;
    await send(mtype, { url, [id]: url, name: url.split("/").pop() || url });
  }

  function linked(cells) {
    const links = cells.filter((one) => one.value?.href && !one.value.picture);
    const link = links.find((one) => /^(access_url|datalink_url)$/i.test(one.name)) ?? links[0];
    if (!link) throw new Error(t("nothing"));
    return link;
  }

  async function point() {
    const cells = await row();
    const of = (ucd) => cells.find((one) => one.ucd.toLowerCase().startsWith(ucd) && one.value !== null && one.stored_unit === "deg");
    const [ra, dec] = [of("pos.eq.ra"), of("pos.eq.dec")];
    if (!ra || !dec) throw new Error(t("nothing"));
    await send("coord.pointAt.sky", { ra: text(ra.value), dec: text(dec.value) });
  }

  /** Send the region of the search: as a MOC to who reads one, drawn by Aladin's script, pointed at by the others. */
  async function region() {
    const { region: shape } = await taken();
    if (!shape) throw new Error(t("nothing"));
    const { circle, polygon } = shape;
    const script = circle ? `draw circle(${circle[0]},${circle[1]},${circle[2]}deg)` : `draw polygon(${polygon.join(",")})`;
    const sendings = [() => moc("_region"), () => send("script.aladin.send", { script }), ...(circle ? [() => send("coord.pointAt.sky", { ra: String(circle[0]), dec: String(circle[1]) })] : [])];
    let last = null;
    for (const one of sendings) await one().catch((error) => { last = error; }); // each program takes what it can
    if (!reached.size) throw last;
  }

  async function moc(what) {
    const url = `${new URL(`${here}/moc`, location.href)}?${asked({ _of: what.slice(1), _sort: null, _cols: null })}`;
    await send("coverage.load.moc.fits", { url, "coverage-id": url, name: name() });
  }

  client.addEventListener("clients", () => { if (client.connected && box.isConnected) draw(); });
  client.addEventListener("gone", () => { sent = null; say(t("The hub has gone")); draw(); });
  client.addEventListener("message", async ({ sender, mtype, params }) => {
    if (!rowed || !box.isConnected) return;
    if (mtype === "coord.pointAt.sky") return pointed(Number(params.ra), Number(params.dec));
    if (!sent || (params["table-id"] !== sent.id && params.url !== sent.url)) return;
    quiet = true;
    try {
      if (mtype === "table.highlight.row") {
        const key = sent.keys[Number(params.row)];
        if (key) { selection.set("chosen", key); state.set({ _row: key }, { replace: true }); }
        say(t("{program} points at a row", { program: client.clients.find((one) => one.id === sender)?.name ?? sender }));
      } else if (mtype === "table.select.rowList") {
        selection.mark([...selection.marked], false);
        selection.mark((params["row-list"] ?? []).map((at) => sent.keys[Number(at)]).filter(Boolean));
      }
    } finally {
      quiet = false;
    }
  });

  async function pointed(ra, dec) {
    if (!Number.isFinite(ra) || !Number.isFinite(dec) || Math.abs(dec) > 90) return;
    const near = state.with({ _near: `${ra},${dec},0.02`, _row: null });
    near.set("_size", "1");
    const rows = await workspace.ask(`${here}/rows`, { state: near, pane: "samp-point" }).catch(() => null);
    const key = rows?.faults?.length ? null : rows?.keys?.[0];
    if (!key) return;
    quiet = true;
    selection.set("chosen", key);
    state.set({ _row: key }, { replace: true });
    quiet = false;
  }

  selection.addEventListener("change", (event) => {
    if (event.name === "hover" || !client.connected || !box.isConnected) return;
    draw();
    status.textContent = note;
    if (quiet || !sent || event.name !== "chosen" || !selection.chosen) return;
    const at = sent.keys.indexOf(selection.chosen);
    if (at >= 0) client.notify("table.highlight.row", { "table-id": sent.id, url: sent.url, row: String(at) }).catch(() => {});
  });
  state.addEventListener("change", () => { if (client.connected && box.isConnected) draw(); });
  addEventListener("pagehide", () => { client.unregister(); });
  draw();
}
