// The SAMP menu: sends tables, rows, images, spectra, positions and regions to TOPCAT, Aladin and others, and follows
// their selection.
import { createButton, requireElement, createElement, findElement } from "./dom.js";
import { SampClient, HubError } from "./samp_client.js";
import { reachHub, explainSilence } from "./local_network_access.js";
import { buildImageMessage, buildSpectrumMessage } from "./samp_messages.js";
import { SampSender } from "./samp_sender.js";
/** @import {Rows} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const client = new SampClient(); // one per page

/** The menu with what can be sent, and its connection to the hub. */
class SampMenu extends SampSender {
  isFollowing = false; // the current change comes from a program
  lastMessage = "";
  drawnState = ""; // state of the last drawing
  status = createElement("p", { className: "soft", role: "status" });

  /**
   * @param {HTMLDetailsElement} container
   * @param {string} tableUrl the address of the table; empty if there is none
   * @param {Workspace} workspace
   */
  constructor(container, tableUrl, workspace) {
    const { selection, state } = workspace;
    super(client, container, tableUrl, workspace);
    this.element = requireElement(container, "[data-samp]");
    container.hidden = false;
    this.reserveSpace();
    const isActive = () => client.connected && container.isConnected;
    client.on("clients", () => {
      if (isActive()) this.draw();
    });
    client.on("gone", () => {
      this.sentTable = null;
      this.showMessage(workspace.t("The hub has closed"));
      this.draw();
    });
    client.on("message", ({ sender, mtype, params }) => {
      if (this.hasRows && container.isConnected) return this.handleMessage(sender, mtype, params);
    });
    selection.on("change", (event) => {
      if (event.name !== "hover" && isActive()) this.handleSelection(event.name);
    });
    state.on("change", () => {
      if (isActive()) this.draw();
    });
    addEventListener("pagehide", () => client.unregister());
  }

  /** Reserve space for the open menu: the rows move down, and the menu stays in place. */
  reserveSpace() {
    const exportMenu = /** @type {HTMLElement | null} */ (this.container.closest(".take"));
    if (!exportMenu) return;
    const updateMargin = () => {
      exportMenu.style.marginBottom = this.container.open ? `${this.element.offsetHeight + 12}px` : "";
    };
    new ResizeObserver(updateMargin).observe(this.element);
    this.container.addEventListener("toggle", updateMargin);
  }

  /** @param {string} text */
  showMessage(text) {
    this.lastMessage = text;
    this.status.textContent = text;
  }

  /** Draw the menu, unless it is unchanged. */
  draw() {
    const { element, status } = this;
    const { selection, state, t } = this.workspace;
    if (!client.connected) {
      this.drawnState = "";
      return element.replaceChildren(status, this.createConnectButton());
    }
    const programs = client.clients.filter((program) => program.understands.some(isUseful));
    const hasRegion = Boolean(state.get("_near") || state.get("_in"));
    const programNames = programs.map((program) => [program.id, program.name]);
    const drawingKey = JSON.stringify([programNames, selection.marked.size > 0, Boolean(selection.chosen), hasRegion]);
    // the hub reports all changes, ours too: an unchanged menu keeps its elements
    if (drawingKey === this.drawnState) return;
    this.drawnState = drawingKey;
    const options = programs.map(
      (program) => new Option(program.name, program.id, false, program.id === this.targetProgram),
    );
    const select = createElement("select", {}, new Option(t("all programs"), ""), ...options);
    select.addEventListener("change", () => {
      this.targetProgram = select.value;
    });
    const targetLabel = createElement("label", { className: "tickable" }, t("Send to"), " ", select);
    const disconnectButton = createButton(t("Disconnect"), async () => {
      await client.unregister();
      this.sentTable = null;
      this.showMessage("");
      this.draw();
    });
    element.replaceChildren(
      status,
      targetLabel,
      createElement("ul", {}, ...this.createEntries(hasRegion)),
      disconnectButton,
    );
  }

  createConnectButton() {
    return createButton(this.workspace.t("Connect"), () => this.connect(), { className: "" });
  }

  /** @param {boolean} hasRegion the search has a region */
  createEntries(hasRegion) {
    const { selection, t } = this.workspace;
    const createEntry = (/** @type {string} */ text, /** @type {() => Promise<void>} */ send, disabled = false) =>
      createElement(
        "li",
        {},
        createButton(text, () => this.runEntry(send), { className: "link", disabled }),
      );
    const entries = [createEntry(t("The table"), () => this.sendTable())];
    if (!this.hasRows) return entries;
    const isNothingChosen = !selection.chosen;
    entries.push(
      createEntry(t("The marked rows"), () => this.sendMarkedRows(), !selection.marked.size),
      createEntry(t("The image of this row"), () => this.sendProduct(buildImageMessage), isNothingChosen),
      createEntry(t("The spectrum of this row"), () => this.sendProduct(buildSpectrumMessage), isNothingChosen),
      createEntry(
        t("The file of this row"),
        () => this.sendProduct((...row) => this.chooseFileMessage(...row)),
        isNothingChosen,
      ),
      createEntry(t("The position of this row"), () => this.sendPosition(), isNothingChosen),
    );
    if (hasRegion) entries.push(createEntry(t("The region of the search"), () => this.sendRegion()));
    const hasCoverage = this.container.dataset.coverage !== undefined;
    if (hasCoverage) entries.push(createEntry(t("The region that the rows cover"), () => this.sendMoc("coverage")));
    return entries;
  }

  /**
   * Run an entry and report the receivers.
   * @param {() => Promise<void>} send
   */
  async runEntry(send) {
    const { t } = this.workspace;
    this.reachedPrograms = new Set();
    try {
      await send();
      this.showMessage(t("Sent to {programs}", { programs: [...this.reachedPrograms].join(", ") }));
    } catch (/** @type {any} */ error) {
      this.showMessage(error instanceof HubError ? this.describeRefusal(error) : error.message);
    }
  }

  /** @param {Error} error */
  describeRefusal(error) {
    return this.workspace.t("The hub refused: {why}", { why: error.message });
  }

  /** Connect to the hub. */
  async connect() {
    const { t } = this.workspace;
    const retry = () => this.element.isConnected && !client.connected && this.connect();
    const reason = await reachHub(
      (milliseconds) => client.ping(milliseconds),
      (text) => this.showMessage(text),
      t,
      retry,
    );
    if (reason) return this.showMissingHub(reason);
    this.showMessage(t("Waiting for the hub. If the hub asks, allow this page"));
    const { origin } = location;
    const metadata = { "samp.description.text": origin, "samp.documentation.url": origin };
    try {
      await client.register(document.title, { "samp.name": document.title, ...metadata });
    } catch (/** @type {any} */ error) {
      return this.showMessage(this.describeRefusal(error));
    }
    this.showMessage(t("Connected: {count} programs", { count: client.clients.length }));
    this.draw();
    findElement(this.element, "select")?.focus();
  }

  /**
   * Explain why there is no hub, and offer the address for copying.
   * @param {string} reason
   */
  async showMissingHub(reason) {
    const { t } = this.workspace;
    this.showMessage(explainSilence(reason, t));
    const value = await this.fetchTableAddress().then(
      (exported) => (exported.table ? this.workspace.getShareableUrl(exported.table) : location.href),
      () => location.href,
    );
    const addressField = createElement("input", {
      readOnly: true,
      value,
      className: "address",
      "aria-label": t("Link to this search"),
    });
    addressField.addEventListener("focus", () => addressField.select());
    const copyAddress = () => navigator.clipboard.writeText(value).then(() => this.showMessage(t("Copied")));
    const copyButtons = navigator.clipboard ? [createButton(t("Copy"), copyAddress)] : [];
    const downloadLinks =
      value === location.href ? [] : [createElement("a", { href: value, download: "", textContent: t("Download") })];
    this.element.replaceChildren(
      this.status,
      addressField,
      ...copyButtons,
      ...downloadLinks,
      " ",
      this.createConnectButton(),
    );
  }

  /**
   * Handle a message about the table that was sent.
   * @param {string} sender
   * @param {string} mtype
   * @param {any} params
   */
  async handleMessage(sender, mtype, params) {
    const { sentTable } = this;
    const { selection, t } = this.workspace;
    if (mtype === "coord.pointAt.sky") return this.chooseRowAt(Number(params.ra), Number(params.dec));
    if (!sentTable || (params["table-id"] !== sentTable.id && params.url !== sentTable.url)) return;
    this.isFollowing = true;
    try {
      if (mtype === "table.highlight.row") {
        const key = sentTable.keys[Number(params.row)];
        if (key) this.chooseRow(key);
        const program = client.clients.find((candidate) => candidate.id === sender)?.name ?? sender;
        this.showMessage(t("{program} has highlighted a row", { program }));
      } else if (mtype === "table.select.rowList") {
        /** @type {string[]} */
        const rows = params["row-list"] ?? [];
        selection.mark([...selection.marked], false);
        selection.mark(rows.map((index) => sentTable.keys[Number(index)]).filter(Boolean));
      }
    } finally {
      this.isFollowing = false;
    }
  }

  /** @param {string} key */
  chooseRow(key) {
    this.workspace.selection.set("chosen", key);
    this.workspace.state.set({ _row: key }, { replace: true });
  }

  /**
   * Choose the row at a position that a program points at.
   * @param {number} ra
   * @param {number} dec
   */
  async chooseRowAt(ra, dec) {
    if (!Number.isFinite(ra) || !Number.isFinite(dec) || Math.abs(dec) > 90) return;
    const state = this.workspace.state.withChanges({ _near: `${ra},${dec},0.02`, _row: null, _size: "1" });
    /** @type {Rows | null} */
    const rows = await this.workspace
      .fetchJson(`${this.tableUrl}/rows`, { state, pane: "samp-point" })
      .catch(() => null);
    const key = rows?.faults?.length ? null : rows?.keys?.[0];
    if (!key) return;
    this.isFollowing = true;
    this.chooseRow(key);
    this.isFollowing = false;
  }

  /**
   * Tell programs which row was chosen here.
   * @param {string} changedName
   */
  handleSelection(changedName) {
    const { sentTable } = this;
    const { chosen } = this.workspace.selection;
    this.draw();
    this.status.textContent = this.lastMessage;
    if (this.isFollowing || !sentTable || changedName !== "chosen" || !chosen) return;
    const rowNumber = sentTable.keys.indexOf(chosen);
    if (rowNumber < 0) return;
    const params = { "table-id": sentTable.id, url: sentTable.url, row: String(rowNumber) };
    client.notify("table.highlight.row", params).catch(() => {});
  }
}

/**
 * Return whether a message is more than what every client accepts.
 * @param {string} mtype
 */
function isUseful(mtype) {
  return mtype !== "samp.app.ping" && !mtype.startsWith("samp.hub.");
}

/**
 * @param {HTMLDetailsElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  const tableUrl = /** @type {HTMLElement | null} */ (container.closest("[data-here]"))?.dataset.here;
  if (!findElement(container, "[data-samp]") || (!tableUrl && container.dataset.table === undefined)) return;
  new SampMenu(container, tableUrl ?? "", workspace).draw();
}
