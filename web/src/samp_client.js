// A SAMP client for the Web Profile (SAMP 1.3, section 5): a few XML-RPC calls to the hub on the user's computer.
import { EventEmitter } from "./workspace.js";

const HUB_URL = "http://localhost:21012/";
const PULL_SECONDS = 10; // how long a pull for messages stays open
// even a busy computer answers a ping within this time; without a hub the call fails at once
const PING_MILLISECONDS = 10_000;
// messages that we understand
export const SUBSCRIBED_MTYPES = ["table.highlight.row", "table.select.rowList", "coord.pointAt.sky"];
const HUB_EVENTS = ["register", "unregister", "metadata", "subscriptions", "shutdown"].map(
  (name) => `samp.hub.event.${name}`,
);

/** @typedef {string | SampValue[] | {[name: string]: SampValue}} SampValue SAMP has texts, lists and maps */
/** @typedef {{id: string, name: string, understands: string[]}} SampProgram */

/**
 * Write a value as XML.
 * @param {SampValue} value
 * @returns {string}
 */
export function writeValue(value) {
  if (Array.isArray(value)) return `<value><array><data>${value.map(writeValue).join("")}</data></array></value>`;
  if (value !== null && typeof value === "object") {
    const writeMember = (/** @type {[string, SampValue]} */ [name, memberValue]) =>
      `<member><name>${escapeXml(name)}</name>${writeValue(memberValue)}</member>`;
    return `<value><struct>${Object.entries(value).map(writeMember).join("")}</struct></value>`;
  }
  return `<value><string>${escapeXml(String(value))}</string></value>`;
}

/**
 * Escape a text for XML.
 * @param {string} text
 */
function escapeXml(text) {
  // XML 1.0 does not allow these characters
  const validText = text.replace(/[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/gu, "");
  return validText.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/**
 * Write a method call as XML.
 * @param {string} method
 * @param {SampValue[]} parameters
 */
export function writeCall(method, parameters) {
  const parameterXml = parameters.map((parameter) => `<param>${writeValue(parameter)}</param>`).join("");
  const call = `<methodName>${method}</methodName><params>${parameterXml}</params>`;
  return `<?xml version="1.0"?><methodCall>${call}</methodCall>`;
}

/**
 * Read a <value>. Numbers and booleans, which SAMP does not have, are read as texts.
 * @param {Element} element
 * @returns {any}
 */
export function readValue(element) {
  const [child] = element.children;
  if (!child) return element.textContent;
  if (child.localName === "array") return [...child.querySelectorAll(":scope > data > value")].map(readValue);
  if (child.localName !== "struct") return child.textContent;
  /** @type {Record<string, any>} */
  const struct = {};
  for (const member of child.querySelectorAll(":scope > member")) {
    const name = member.querySelector(":scope > name")?.textContent ?? "";
    const value = member.querySelector(":scope > value");
    if (name !== "__proto__" && value) struct[name] = readValue(value);
  }
  return struct;
}

/** An error that the hub reports. */
export class HubError extends Error {}

/**
 * Return whether a program accepts a message, by its name or by a pattern such as ``table.load.*``.
 * @param {SampProgram} program
 * @param {string} mtype
 */
export function acceptsMessage({ understands }, mtype) {
  const matchesPattern = (/** @type {string} */ pattern) =>
    pattern.endsWith(".*") && mtype.startsWith(pattern.slice(0, -1));
  return understands.some((pattern) => pattern === mtype || pattern === "*" || matchesPattern(pattern));
}

/**
 * A client registered at the hub.
 * @extends {EventEmitter<{clients: {}, gone: {}, message: {sender: string, mtype: string, params: any}}>}
 */
export class SampClient extends EventEmitter {
  #key = "";
  #isRegistered = false; // registered, and the other clients are known
  /** @type {SampProgram[]} */
  clients = [];
  id = "";

  constructor(url = HUB_URL) {
    super();
    this.url = url;
  }

  get connected() {
    return this.#isRegistered;
  }

  /**
   * Call a method of the hub.
   * @param {string} method
   * @param {SampValue[]} parameters
   * @param {RequestInit} [options]
   */
  async callHub(method, parameters, options = {}) {
    const headers = { "content-type": "text/xml" };
    const request = { method: "POST", body: writeCall(method, parameters), headers, ...options };
    const response = await fetch(this.url, { ...request, credentials: "omit" });
    const document = new DOMParser().parseFromString(await response.text(), "text/xml");
    const value = document.querySelector("methodResponse > params > param > value");
    const fault = document.querySelector("methodResponse > fault > value");
    if (fault) throw new HubError(readValue(fault).faultString ?? "fault");
    if (!value && !document.querySelector("methodResponse")) throw new HubError(`HTTP ${response.status}`);
    return value ? readValue(value) : "";
  }

  /**
   * Call the hub with our private key.
   * @param {string} method
   * @param {...SampValue} parameters
   */
  async #callAsClient(method, ...parameters) {
    return this.callHub(`samp.webhub.${method}`, [this.#key, ...parameters]);
  }

  /** Check whether a hub is there; the hub does not ask the user for this. */
  async ping(milliseconds = PING_MILLISECONDS) {
    await this.callHub("samp.webhub.ping", [], { signal: AbortSignal.timeout(milliseconds) });
  }

  /**
   * Register at the hub and listen to messages.
   * @param {string} name
   * @param {Record<string, string>} metadata
   */
  async register(name, metadata) {
    const registration = await this.callHub("samp.webhub.register", [{ "samp.name": name }]);
    this.#key = registration["samp.private-key"];
    this.id = registration["samp.self-id"];
    try {
      await this.#callAsClient("declareMetadata", metadata);
      await this.#callAsClient("allowReverseCallbacks", "1");
      await this.#callAsClient(
        "declareSubscriptions",
        Object.fromEntries([...SUBSCRIBED_MTYPES, ...HUB_EVENTS].map((mtype) => [mtype, {}])),
      );
      await this.refreshClients();
    } catch (error) {
      await this.unregister(); // do not stay half registered
      throw error;
    }
    this.#isRegistered = true;
    this.emit("clients", {});
    this.#listen();
  }

  /** Fetch the other clients: id, name and accepted messages. */
  async refreshClients() {
    /** @type {string[]} */
    const ids = await this.#callAsClient("getRegisteredClients");
    const fetchProgram = async (/** @type {string} */ id) => {
      const [metadata, subscriptions] = await Promise.all([
        this.#callAsClient("getMetadata", id).catch(() => ({})),
        this.#callAsClient("getSubscriptions", id).catch(() => ({})),
      ]);
      return { id, name: metadata["samp.name"] || id, understands: Object.keys(subscriptions) };
    };
    const programs = await Promise.all(ids.map(fetchProgram));
    this.clients = programs.filter((client) => client.id !== this.id);
    if (this.#isRegistered) this.emit("clients", {});
  }

  /**
   * Send a message to one client, or to all that accept it.
   * @param {string} mtype
   * @param {SampValue} params
   */
  async notify(mtype, params, receiver = "") {
    const message = { "samp.mtype": mtype, "samp.params": params };
    return receiver ? this.#callAsClient("notify", receiver, message) : this.#callAsClient("notifyAll", message);
  }

  /** Pull messages until the registration ends. */
  async #listen() {
    const ownKey = this.#key;
    while (this.#key === ownKey) {
      const startTime = Date.now();
      try {
        const signal = AbortSignal.timeout((PULL_SECONDS + 20) * 1000);
        const calls = await this.callHub("samp.webhub.pullCallbacks", [ownKey, String(PULL_SECONDS)], { signal });
        for (const call of calls) await this.#handleCall(call["samp.methodName"], call["samp.params"]);
        // the hub does not wait
        if (!calls.length && Date.now() - startTime < 500) await new Promise((resolve) => setTimeout(resolve, 1000));
      } catch {
        if (this.#key === ownKey) this.#handleLostHub();
        return;
      }
    }
  }

  /**
   * Handle a call of the hub.
   * @param {string} method
   * @param {any[]} parameters
   */
  async #handleCall(method, parameters) {
    const name = method.replace(/^samp\.webclient\./, "");
    if (name !== "receiveNotification" && name !== "receiveCall") return;
    const message = parameters.at(-1) ?? {};
    const mtype = message["samp.mtype"] ?? "";
    if (mtype === "samp.hub.event.shutdown") return this.#handleLostHub();
    if (mtype.startsWith("samp.hub.event.")) await this.refreshClients().catch(() => {});
    else this.emit("message", { sender: parameters[0], mtype, params: message["samp.params"] ?? {} });
    if (name === "receiveCall")
      await this.#callAsClient("reply", parameters[1], { "samp.status": "samp.ok", "samp.result": {} });
  }

  #clearRegistration() {
    this.#key = "";
    this.#isRegistered = false;
    this.clients = [];
  }

  #handleLostHub() {
    this.#clearRegistration();
    this.emit("gone", {});
  }

  /** Leave the hub. */
  async unregister() {
    const key = this.#key;
    this.#clearRegistration();
    if (key) await this.callHub("samp.webhub.unregister", [key], { keepalive: true }).catch(() => {});
    this.emit("clients", {});
  }
}
