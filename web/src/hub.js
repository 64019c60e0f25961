// A client of SAMP: the Web Profile of SAMP 1.3 (section 5), a few calls of XML-RPC to the hub on the reader's own computer.
import { Teller } from "./workspace.js";

const HUB = "http://localhost:21012/";
const WAIT = 10; // seconds that a question for messages stays open
const SOON = 10_000; // milliseconds within which a hub that is there answers a ping, on a computer that is busy, too; where none is, that is known at once
export const LINKED = ["table.highlight.row", "table.select.rowList", "coord.pointAt.sky"]; // what we understand
const EVENTS = ["register", "unregister", "metadata", "subscriptions", "shutdown"].map(
  (one) => `samp.hub.event.${one}`,
);

/** @typedef {string | Value[] | {[name: string]: Value}} Value texts, lists and maps are all that SAMP has */
/** @typedef {{id: string, name: string, understands: string[]}} Program */

/**
 * Write a value.
 * @param {Value} value
 * @returns {string}
 */
export function write(value) {
  if (Array.isArray(value)) return `<value><array><data>${value.map(write).join("")}</data></array></value>`;
  if (value !== null && typeof value === "object") {
    const member = (/** @type {[string, Value]} */ [name, each]) =>
      `<member><name>${escape(name)}</name>${write(each)}</member>`;
    return `<value><struct>${Object.entries(value).map(member).join("")}</struct></value>`;
  }
  return `<value><string>${escape(String(value))}</string></value>`;
}

/** @param {string} text */
function escape(text) {
  // what XML 1.0 has no place for is left out
  const known = text.replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "");
  return known.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/**
 * Write a call.
 * @param {string} method
 * @param {Value[]} parameters
 */
export function called(method, parameters) {
  const given = parameters.map((one) => `<param>${write(one)}</param>`).join("");
  return `<?xml version="1.0"?><methodCall><methodName>${method}</methodName><params>${given}</params></methodCall>`;
}

/**
 * Read a <value>; numbers and truths, which SAMP does not have, come as texts.
 * @param {Element} element
 * @returns {any}
 */
export function read(element) {
  const [inner] = element.children;
  if (!inner) return element.textContent;
  if (inner.localName === "array") return [...inner.querySelectorAll(":scope > data > value")].map(read);
  if (inner.localName !== "struct") return inner.textContent;
  /** @type {Record<string, any>} */
  const found = {};
  for (const member of inner.querySelectorAll(":scope > member")) {
    const name = member.querySelector(":scope > name")?.textContent ?? "";
    const value = member.querySelector(":scope > value");
    if (name !== "__proto__" && value) found[name] = read(value);
  }
  return found;
}

export class HubError extends Error {}

/**
 * Whether a program takes a message: it says so by name, or by the beginning of names, ``table.load.*``.
 * @param {Program} program
 * @param {string} mtype
 */
export function takes({ understands }, mtype) {
  const fits = (/** @type {string} */ one) => one.endsWith(".*") && mtype.startsWith(one.slice(0, -1));
  return understands.some((one) => one === mtype || one === "*" || fits(one));
}

/**
 * A registered client.
 * @extends {Teller<{clients: {}, gone: {}, message: {sender: string, mtype: string, params: any}}>}
 */
export class Client extends Teller {
  #key = "";
  #there = false; // registered, and told who else is there
  /** @type {Program[]} */
  clients = [];
  id = "";

  constructor(url = HUB) {
    super();
    this.url = url;
  }

  get connected() {
    return this.#there;
  }

  /**
   * @param {string} method
   * @param {Value[]} parameters
   * @param {RequestInit} [options]
   */
  async call(method, parameters, options = {}) {
    const headers = { "content-type": "text/xml" };
    const request = { method: "POST", body: called(method, parameters), headers, ...options };
    const answer = await fetch(this.url, { ...request, credentials: "omit" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/xml");
    const value = page.querySelector("methodResponse > params > param > value");
    const fault = page.querySelector("methodResponse > fault > value");
    if (fault) throw new HubError(read(fault).faultString ?? "fault");
    if (!value && !page.querySelector("methodResponse")) throw new HubError(`HTTP ${answer.status}`);
    return value ? read(value) : "";
  }

  /**
   * Call the hub as who is registered.
   * @param {string} method
   * @param {...Value} parameters
   */
  async #say(method, ...parameters) {
    return this.call(`samp.webhub.${method}`, [this.#key, ...parameters]);
  }

  /** Ask whether a hub is there, without the reader being asked anything by it. */
  async ping(within = SOON) {
    await this.call("samp.webhub.ping", [], { signal: AbortSignal.timeout(within) });
  }

  /**
   * @param {string} name
   * @param {Record<string, string>} metadata
   */
  async register(name, metadata) {
    const given = await this.call("samp.webhub.register", [{ "samp.name": name }]);
    this.#key = given["samp.private-key"];
    this.id = given["samp.self-id"];
    try {
      await this.#say("declareMetadata", metadata);
      await this.#say("allowReverseCallbacks", "1");
      await this.#say("declareSubscriptions", Object.fromEntries([...LINKED, ...EVENTS].map((one) => [one, {}])));
      await this.look();
    } catch (error) {
      await this.unregister(); // nobody stays there half registered
      throw error;
    }
    this.#there = true;
    this.tell("clients", {});
    this.#listen();
  }

  /** Find the other clients: id, name, and what they understand. */
  async look() {
    /** @type {string[]} */
    const ids = await this.#say("getRegisteredClients");
    const program = async (/** @type {string} */ id) => {
      const [told, understood] = await Promise.all([
        this.#say("getMetadata", id).catch(() => ({})),
        this.#say("getSubscriptions", id).catch(() => ({})),
      ]);
      return { id, name: told["samp.name"] || id, understands: Object.keys(understood) };
    };
    const found = await Promise.all(ids.map(program));
    this.clients = found.filter((one) => one.id !== this.id);
    if (this.#there) this.tell("clients", {});
  }

  /**
   * Send a message to one client, or to all who understand it.
   * @param {string} mtype
   * @param {Value} params
   */
  async notify(mtype, params, to = "") {
    const message = { "samp.mtype": mtype, "samp.params": params };
    return to ? this.#say("notify", to, message) : this.#say("notifyAll", message);
  }

  async #listen() {
    const mine = this.#key;
    while (this.#key === mine) {
      const begun = Date.now();
      try {
        const signal = AbortSignal.timeout((WAIT + 20) * 1000);
        const calls = await this.call("samp.webhub.pullCallbacks", [mine, String(WAIT)], { signal });
        for (const one of calls) await this.#received(one["samp.methodName"], one["samp.params"]);
        // a hub that does not wait
        if (!calls.length && Date.now() - begun < 500) await new Promise((done) => setTimeout(done, 1000));
      } catch {
        if (this.#key === mine) this.#gone();
        return;
      }
    }
  }

  /**
   * @param {string} method
   * @param {any[]} parameters
   */
  async #received(method, parameters) {
    const name = method.replace(/^samp\.webclient\./, "");
    if (name !== "receiveNotification" && name !== "receiveCall") return;
    const message = parameters.at(-1) ?? {};
    const mtype = message["samp.mtype"] ?? "";
    if (mtype === "samp.hub.event.shutdown") return this.#gone();
    if (mtype.startsWith("samp.hub.event.")) await this.look().catch(() => {});
    else this.tell("message", { sender: parameters[0], mtype, params: message["samp.params"] ?? {} });
    if (name === "receiveCall")
      await this.#say("reply", parameters[1], { "samp.status": "samp.ok", "samp.result": {} });
  }

  #forget() {
    this.#key = "";
    this.#there = false;
    this.clients = [];
  }

  #gone() {
    this.#forget();
    this.tell("gone", {});
  }

  async unregister() {
    const key = this.#key;
    this.#forget();
    if (key) await this.call("samp.webhub.unregister", [key], { keepalive: true }).catch(() => {});
    this.tell("clients", {});
  }
}
