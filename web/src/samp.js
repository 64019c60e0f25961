// SAMP from a page: sends tables, rows, images, spectra, positions and regions to TOPCAT, Aladin and others, and follows what is pointed at there.
import { button, find, make, maybe } from "./dom.js";
import { Client, HubError, takes } from "./hub.js";
import { reach, why } from "./leave.js";
import { file, image, linked, position, region, spectrum } from "./messages.js";
/** @import {Link, Row, Rows, Taken} from "./answers.js" */
/** @import {Field, Message} from "./messages.js" */
/** @import {Changes, Workspace} from "./workspace.js" */

const LONGEST = 8000; // characters of an address that programs and servers take
const LOOKS = { _row: null, _look: null, _view: null, _map: null, _plot: null, _compare: null };

const client = new Client(); // one of a page, whatever is shown in it

class Sending {
  /** The table that programs have.
   * @type {{id: string, url: string, keys: string[]} | null} */
  sent = null;
  quiet = false; // what changes now was told by a program
  note = "";
  to = "";
  /** Programs that took what was sent last.
   * @type {Set<string>} */
  reached = new Set();
  drawn = ""; // what the list was drawn from
  status = make("p", { className: "soft", role: "status" });

  /**
   * @param {HTMLDetailsElement} box
   * @param {string} here the table; empty: none
   * @param {Workspace} workspace
   */
  constructor(box, here, workspace) {
    const { selection, state } = workspace;
    this.box = box;
    this.here = here;
    this.workspace = workspace;
    this.place = find(box, "[data-samp]");
    this.whole = box.dataset.table; // the address of a table without rows of its own: the answer of a query, the result of a job
    this.rowed = this.whole === undefined;
    box.hidden = false;
    this.makeRoom();
    const there = () => client.connected && box.isConnected;
    client.on("clients", () => there() && this.draw());
    client.on("gone", () => {
      this.sent = null;
      this.say(workspace.t("The hub has gone"));
      this.draw();
    });
    client.on("message", ({ sender, mtype, params }) => {
      if (this.rowed && box.isConnected) return this.received(sender, mtype, params);
    });
    selection.on("change", (event) => {
      if (event.name !== "hover" && there()) this.selected(event.name);
    });
    state.on("change", () => there() && this.draw());
    addEventListener("pagehide", () => client.unregister());
  }

  get name() {
    return this.box.dataset.name || document.querySelector("h1")?.textContent || document.title;
  }

  /** Sending takes a while, and rows are chosen meanwhile: they go down below the menu, which stays where it is. */
  makeRoom() {
    const around = /** @type {HTMLElement | null} */ (this.box.closest(".take"));
    if (!around) return;
    const below = () => {
      around.style.marginBottom = this.box.open ? `${this.place.offsetHeight + 12}px` : "";
    };
    new ResizeObserver(below).observe(this.place);
    this.box.addEventListener("toggle", below);
  }

  /** @param {string} text */
  say(text) {
    this.note = text;
    this.status.textContent = text;
  }

  /** @param {string} mtype */
  takers(mtype) {
    return client.clients.filter((one) => (!this.to || one.id === this.to) && takes(one, mtype));
  }

  /**
   * Send a message to those who take it; it is an error if nobody does.
   * @param {Message} message
   */
  async send({ mtype, params }) {
    const takers = this.takers(mtype);
    if (!takers.length) throw new Error(this.workspace.t("No program here takes this: {mtype}", { mtype }));
    const loaded = mtype.includes(".load."); // what a program fetches, and without a cookie of ours
    await client.notify(mtype, loaded ? { ...params, url: await this.workspace.opened(params.url) } : params, this.to);
    for (const one of takers) this.reached.add(one.name);
  }

  draw() {
    const { place, status } = this;
    const { selection, state, t } = this.workspace;
    if (!client.connected) {
      this.drawn = "";
      return place.replaceChildren(status, this.connector());
    }
    const others = client.clients.filter((one) => one.understands.some(useful));
    const searched = Boolean(state.get("_near") || state.get("_in"));
    const programs = others.map((one) => [one.id, one.name]);
    const now = JSON.stringify([programs, selection.marked.size > 0, Boolean(selection.chosen), searched]);
    if (now === this.drawn) return; // a hub tells of every change, of ours as well: what stays the same stays under the pointer
    this.drawn = now;
    const options = others.map((one) => new Option(one.name, one.id, false, one.id === this.to));
    const select = make("select", {}, new Option(t("all programs"), ""), ...options);
    select.addEventListener("change", () => {
      this.to = select.value;
    });
    const target = make("label", { className: "tickable" }, t("Send to"), " ", select);
    const leave = button(t("Disconnect"), async () => {
      await client.unregister();
      this.sent = null;
      this.say("");
      this.draw();
    });
    place.replaceChildren(status, target, make("ul", {}, ...this.entries(searched)), leave);
  }

  connector() {
    return button(this.workspace.t("Connect"), () => this.connect(), { className: "" });
  }

  /** @param {boolean} searched the search has a region */
  entries(searched) {
    const { selection, t } = this.workspace;
    const add = (/** @type {string} */ text, /** @type {() => Promise<void>} */ act, disabled = false) =>
      make(
        "li",
        {},
        button(text, () => this.act(act), { className: "link", disabled }),
      );
    const list = [add(t("The table"), () => this.table())];
    if (!this.rowed) return list;
    const none = !selection.chosen;
    list.push(
      add(t("The marked rows"), () => this.marked(), !selection.marked.size),
      add(t("The image of this row"), () => this.product(image), none),
      add(t("The spectrum of this row"), () => this.product(spectrum), none),
      add(t("The file of this row"), () => this.product((...row) => this.file(...row)), none),
      add(t("The position of this row"), () => this.point(), none),
    );
    if (searched) list.push(add(t("The region of the search"), () => this.region()));
    const covered = this.box.dataset.coverage !== undefined;
    if (covered) list.push(add(t("The region that the rows cover"), () => this.moc("coverage")));
    return list;
  }

  /**
   * Do what an entry says, and say to whom it went.
   * @param {() => Promise<void>} what
   */
  async act(what) {
    const { t } = this.workspace;
    this.reached = new Set();
    try {
      await what();
      this.say(t("Sent to {programs}", { programs: [...this.reached].join(", ") }));
    } catch (/** @type {any} */ error) {
      this.say(error instanceof HubError ? this.refused(error) : error.message);
    }
  }

  /** @param {Error} error */
  refused(error) {
    return this.workspace.t("The hub refused: {why}", { why: error.message });
  }

  async connect() {
    const { t } = this.workspace;
    const again = () => this.place.isConnected && !client.connected && this.connect();
    const silent = await reach(
      (within) => client.ping(within),
      (text) => this.say(text),
      t,
      again,
    );
    if (silent) return this.missing(silent);
    this.say(t("Asking the hub: allow this page there"));
    const { origin } = location;
    const facts = { "samp.description.text": origin, "samp.documentation.url": origin };
    try {
      await client.register(document.title, { "samp.name": document.title, ...facts });
    } catch (/** @type {any} */ error) {
      return this.say(this.refused(error));
    }
    this.say(t("Connected: {count} programs", { count: client.clients.length }));
    this.draw();
    maybe(this.place, "select")?.focus();
  }

  /** @param {string} silent */
  async missing(silent) {
    const { t } = this.workspace;
    this.say(why(silent, t));
    const value = await this.found().then(
      (one) => (one.table ? this.workspace.opened(one.table) : location.href),
      () => location.href,
    );
    const line = make("input", { readOnly: true, value, className: "address", "aria-label": t("Link to this search") });
    line.addEventListener("focus", () => line.select());
    const copied = () => navigator.clipboard.writeText(value).then(() => this.say(t("Copied")));
    const copy = navigator.clipboard ? [button(t("Copy"), copied)] : [];
    const rows = value === location.href ? [] : [make("a", { href: value, download: "", textContent: t("Download") })];
    this.place.replaceChildren(this.status, line, ...copy, ...rows, " ", this.connector());
  }

  /** @param {Changes} [more] */
  asked(more = {}) {
    return this.workspace.state.with({ ...LOOKS, ...more });
  }

  /** @returns {Promise<Taken>} */
  async taken() {
    return this.workspace.ask(`${this.here}/take`, { state: this.asked({ _keyed: "1" }), pane: "samp" });
  }

  /** @returns {Promise<{table: string, keys: string[]}>} */
  async found() {
    return this.whole === undefined ? this.taken() : { table: this.whole, keys: [] };
  }

  async table() {
    const { t } = this.workspace;
    const { table: url, keys } = await this.found();
    if (!url) throw new Error(t("The query is too long for an address: run it as a job, and send its result"));
    await this.send({ mtype: "table.load.votable", params: { url, "table-id": url, name: this.name } });
    this.sent = { id: url, url, keys };
  }

  /** Mark the rows in the table that programs have; who has none is sent a table of these rows alone. */
  async marked() {
    const { selection, t } = this.workspace;
    const { sent } = this;
    const places = sent ? [...selection.marked].map((key) => sent.keys.indexOf(key)).filter((at) => at >= 0) : [];
    if (sent && places.length) {
      const rows = places.sort((one, other) => one - other).map(String);
      const params = { "table-id": sent.id, url: sent.url, "row-list": rows };
      return this.send({ mtype: "table.select.rowList", params });
    }
    const body = new URLSearchParams([...selection.marked].map((key) => ["_key", key]));
    const question = { state: this.asked(), method: "POST", body, pane: "samp" };
    const { table: url } = await this.workspace.ask(`${this.here}/take`, question);
    if (url.length > LONGEST) throw new Error(t("Send the table first"));
    const name = t("{count} rows of {name}", { count: selection.marked.size, name: this.name });
    await this.send({ mtype: "table.load.votable", params: { url, "table-id": url, name } });
  }

  /** @returns {Promise<{fields: Field[], leads: Link[]}>} */
  async row() {
    const state = new URLSearchParams({ _row: this.workspace.selection.chosen ?? "" });
    /** @type {Row} */
    const { columns = [], row, links } = await this.workspace.ask(`${this.here}/row`, { state, pane: "samp-row" });
    return { fields: columns.map((column, at) => ({ ...column, value: row?.[at] ?? null })), leads: links ?? [] };
  }

  /**
   * Send what the chosen row leads to.
   * @param {(url: string, fields: Field[], leads: Link[]) => Message} message
   */
  async product(message) {
    const { fields, leads } = await this.row();
    const url = linked(fields, leads);
    if (!url) throw new Error(this.workspace.t("nothing"));
    await this.send(message(url, fields, leads));
  }

  /**
   * Choose the message that somebody here takes.
   * @param {string} url
   * @param {Field[]} fields
   * @param {Link[]} leads
   */
  file(url, fields, leads) {
    const { format, messages } = file(url, fields, leads);
    if (!messages.length)
      throw new Error(this.workspace.t("Programs are told of no files of this kind: {format}", { format }));
    return messages.find(({ mtype }) => this.takers(mtype).length) ?? messages[0];
  }

  async point() {
    const message = position((await this.row()).fields);
    if (!message) throw new Error(this.workspace.t("nothing"));
    await this.send(message);
  }

  /** Send the region of the search: as a MOC to who reads one, drawn by Aladin's script, pointed at by the others. */
  async region() {
    const { region: shape } = await this.taken();
    if (!shape) throw new Error(this.workspace.t("nothing"));
    const sendings = [() => this.moc("region"), ...region(shape).map((one) => () => this.send(one))];
    let last = null;
    for (const one of sendings) await one().catch((error) => (last = error)); // each program takes what it can
    if (!this.reached.size) throw last;
  }

  /** @param {string} what */
  async moc(what) {
    const url = `${new URL(`${this.here}/moc`, location.href)}?${this.asked({ _of: what, _sort: null, _cols: null })}`;
    await this.send({ mtype: "coverage.load.moc.fits", params: { url, "coverage-id": url, name: this.name } });
  }

  /**
   * Follow what a program says of the table that was sent.
   * @param {string} sender
   * @param {string} mtype
   * @param {any} params
   */
  async received(sender, mtype, params) {
    const { sent } = this;
    const { selection, t } = this.workspace;
    if (mtype === "coord.pointAt.sky") return this.pointed(Number(params.ra), Number(params.dec));
    if (!sent || (params["table-id"] !== sent.id && params.url !== sent.url)) return;
    this.quiet = true;
    try {
      if (mtype === "table.highlight.row") {
        const key = sent.keys[Number(params.row)];
        if (key) this.follow(key);
        const program = client.clients.find((one) => one.id === sender)?.name ?? sender;
        this.say(t("{program} points at a row", { program }));
      } else if (mtype === "table.select.rowList") {
        /** @type {string[]} */
        const rows = params["row-list"] ?? [];
        selection.mark([...selection.marked], false);
        selection.mark(rows.map((at) => sent.keys[Number(at)]).filter(Boolean));
      }
    } finally {
      this.quiet = false;
    }
  }

  /** @param {string} key */
  follow(key) {
    this.workspace.selection.set("chosen", key);
    this.workspace.state.set({ _row: key }, { replace: true });
  }

  /**
   * Choose the row at a position that a program points at.
   * @param {number} ra
   * @param {number} dec
   */
  async pointed(ra, dec) {
    if (!Number.isFinite(ra) || !Number.isFinite(dec) || Math.abs(dec) > 90) return;
    const state = this.workspace.state.with({ _near: `${ra},${dec},0.02`, _row: null, _size: "1" });
    /** @type {Rows | null} */
    const rows = await this.workspace.ask(`${this.here}/rows`, { state, pane: "samp-point" }).catch(() => null);
    const key = rows?.faults?.length ? null : rows?.keys?.[0];
    if (!key) return;
    this.quiet = true;
    this.follow(key);
    this.quiet = false;
  }

  /**
   * Tell programs of the row that was chosen here.
   * @param {string} changed
   */
  selected(changed) {
    const { sent } = this;
    const { chosen } = this.workspace.selection;
    this.draw();
    this.status.textContent = this.note;
    if (this.quiet || !sent || changed !== "chosen" || !chosen) return;
    const row = sent.keys.indexOf(chosen);
    if (row < 0) return;
    const params = { "table-id": sent.id, url: sent.url, row: String(row) };
    client.notify("table.highlight.row", params).catch(() => {});
  }
}

/**
 * Whether a message is more than what every client takes.
 * @param {string} mtype
 */
function useful(mtype) {
  return mtype !== "samp.app.ping" && !mtype.startsWith("samp.hub.");
}

/**
 * @param {HTMLDetailsElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  const here = /** @type {HTMLElement | null} */ (box.closest("[data-here]"))?.dataset.here;
  if (!maybe(box, "[data-samp]") || (!here && box.dataset.table === undefined)) return;
  new Sending(box, here ?? "", workspace).draw();
}
