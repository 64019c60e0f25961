// Send a table, its rows, and what they link to by SAMP.
import { DISPLAY_PARAMETERS } from "./display_parameters.js";
import { acceptsMessage } from "./samp_client.js";
import { buildPositionMessage, buildRegionMessages, chooseFileMessages, findLinkUrl } from "./samp_messages.js";
/** @import {Link, Row, ExportOptions} from "./answers.js" */
/** @import {SampClient} from "./samp_client.js" */
/** @import {Field, Message} from "./samp_messages.js" */
/** @import {StateChanges, Workspace} from "./workspace.js" */

const MAX_ADDRESS_CHARACTERS = 8000; // longest address that programs and servers accept

/** Sends the data of one table to the programs at the hub. */
export class SampSender {
  /** The table that programs have received.
   * @type {{id: string, url: string, keys: string[]} | null} */
  sentTable = null;
  targetProgram = ""; // empty: all programs
  /** The programs that accepted the last message.
   * @type {Set<string>} */
  reachedPrograms = new Set();

  /**
   * @param {SampClient} client
   * @param {HTMLDetailsElement} container
   * @param {string} tableUrl the address of the table; empty if there is none
   * @param {Workspace} workspace
   */
  constructor(client, container, tableUrl, workspace) {
    this.client = client;
    this.container = container;
    this.tableUrl = tableUrl;
    this.workspace = workspace;
    // the address of a table without row keys: the answer of a query, or the result of a job
    this.answerUrl = container.dataset.table;
    this.hasRows = this.answerUrl === undefined;
  }

  get name() {
    return this.container.dataset.name || document.querySelector("h1")?.textContent || document.title;
  }

  /**
   * List the target programs that accept a message.
   * @param {string} mtype
   */
  listTakers(mtype) {
    return this.client.clients.filter(
      (program) => (!this.targetProgram || program.id === this.targetProgram) && acceptsMessage(program, mtype),
    );
  }

  /**
   * Send a message to the programs that accept it; throw an error if there is none.
   * @param {Message} message
   */
  async send({ mtype, params }) {
    const takers = this.listTakers(mtype);
    if (!takers.length)
      throw new Error(this.workspace.t("No connected program accepts this message: {mtype}", { mtype }));
    const isLoad = mtype.includes(".load."); // programs fetch the address without our cookie
    await this.client.notify(
      mtype,
      isLoad ? { ...params, url: await this.workspace.getShareableUrl(params.url) } : params,
      this.targetProgram,
    );
    for (const taker of takers) this.reachedPrograms.add(taker.name);
  }

  /** @param {StateChanges} [changes] */
  buildParameters(changes = {}) {
    return this.workspace.state.withChanges({ ...DISPLAY_PARAMETERS, ...changes });
  }

  /** @returns {Promise<ExportOptions>} */
  async fetchExportOptions() {
    return this.workspace.fetchJson(`${this.tableUrl}/take`, {
      state: this.buildParameters({ _keyed: "1" }),
      pane: "samp",
    });
  }

  /**
   * Fetch the address of the table and its row keys.
   * @returns {Promise<{table: string, keys: string[]}>}
   */
  async fetchTableAddress() {
    return this.answerUrl === undefined ? this.fetchExportOptions() : { table: this.answerUrl, keys: [] };
  }

  /** Send the table of the search. */
  async sendTable() {
    const { t } = this.workspace;
    const { table: url, keys } = await this.fetchTableAddress();
    if (!url)
      throw new Error(t("The query is too long for an address. Run it as a job, and send the result of the job"));
    await this.send({ mtype: "table.load.votable", params: { url, "table-id": url, name: this.name } });
    this.sentTable = { id: url, url, keys };
  }

  /** Select the marked rows in the table that programs have; without one, send a table of these rows. */
  async sendMarkedRows() {
    const { selection, t } = this.workspace;
    const { sentTable } = this;
    const rowNumbers = sentTable
      ? [...selection.marked].map((key) => sentTable.keys.indexOf(key)).filter((index) => index >= 0)
      : [];
    if (sentTable && rowNumbers.length) {
      const rowTexts = rowNumbers.sort((first, second) => first - second).map(String);
      const params = { "table-id": sentTable.id, url: sentTable.url, "row-list": rowTexts };
      return this.send({ mtype: "table.select.rowList", params });
    }
    const body = new URLSearchParams([...selection.marked].map((key) => ["_key", key]));
    const options = { state: this.buildParameters(), method: "POST", body, pane: "samp" };
    const { table: url } = await this.workspace.fetchJson(`${this.tableUrl}/take`, options);
    if (url.length > MAX_ADDRESS_CHARACTERS) throw new Error(t("Send the table first"));
    const name = t("{count} rows of {name}", { count: selection.marked.size, name: this.name });
    await this.send({ mtype: "table.load.votable", params: { url, "table-id": url, name } });
  }

  /**
   * Fetch the chosen row with its links.
   * @returns {Promise<{fields: Field[], dataLinks: Link[]}>}
   */
  async fetchRow() {
    const state = new URLSearchParams({ _row: this.workspace.selection.chosen ?? "" });
    /** @type {Row} */
    const {
      columns = [],
      row,
      links,
    } = await this.workspace.fetchJson(`${this.tableUrl}/row`, { state, pane: "samp-row" });
    return {
      fields: columns.map((column, index) => ({ ...column, value: row?.[index] ?? null })),
      dataLinks: links ?? [],
    };
  }

  /**
   * Send what the chosen row links to.
   * @param {(url: string, fields: Field[], dataLinks: Link[]) => Message} buildMessage
   */
  async sendProduct(buildMessage) {
    const { fields, dataLinks } = await this.fetchRow();
    const url = findLinkUrl(fields, dataLinks);
    if (!url) throw new Error(this.workspace.t("nothing"));
    await this.send(buildMessage(url, fields, dataLinks));
  }

  /**
   * Choose the first message that a program accepts.
   * @param {string} url
   * @param {Field[]} fields
   * @param {Link[]} dataLinks
   */
  chooseFileMessage(url, fields, dataLinks) {
    const { format, messages } = chooseFileMessages(url, fields, dataLinks);
    if (!messages.length)
      throw new Error(this.workspace.t("There is no SAMP message for files of this format: {format}", { format }));
    return messages.find(({ mtype }) => this.listTakers(mtype).length) ?? messages[0];
  }

  /** Send the position of the chosen row. */
  async sendPosition() {
    const message = buildPositionMessage((await this.fetchRow()).fields);
    if (!message) throw new Error(this.workspace.t("nothing"));
    await this.send(message);
  }

  /** Send the region of the search: as a MOC, as an Aladin script and as a position. */
  async sendRegion() {
    const { region } = await this.fetchExportOptions();
    if (!region) throw new Error(this.workspace.t("nothing"));
    const attempts = [
      () => this.sendMoc("region"),
      ...buildRegionMessages(region).map((message) => () => this.send(message)),
    ];
    let lastError = null;
    // each program accepts what it can
    for (const attempt of attempts) await attempt().catch((error) => (lastError = error));
    if (!this.reachedPrograms.size) throw lastError;
  }

  /**
   * Send a MOC: of the search region, or of the rows' coverage.
   * @param {string} subject
   */
  async sendMoc(subject) {
    const parameters = this.buildParameters({ _of: subject, _sort: null, _cols: null });
    const url = `${new URL(`${this.tableUrl}/moc`, location.href)}?${parameters}`;
    await this.send({ mtype: "coverage.load.moc.fits", params: { url, "coverage-id": url, name: this.name } });
  }
}
