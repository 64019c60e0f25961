// Requests for the data that a time series page shows: addresses, and example code for clients of HAPI and das2.

import { addCopyButton } from "hven/copy_button.js";
import { createElement } from "hven/dom.js";
import { formatTime } from "./time_format.js";
/** @import {Timeline} from "../timeline.js" */

/**
 * @typedef {{
 *   hapi: string | null,
 *   das2: string | null,
 *   path: string,
 *   id: string,
 *   names: string[],
 *   from: string,
 *   to: string,
 * }} SeriesRequest
 * Times end with Z; names are in the order of the data set, as HAPI requires
 */

/**
 * Build the HAPI address of the data.
 * @param {SeriesRequest} request
 */
function buildHapiUrl({ hapi, id, names, from, to }, format = "csv") {
  const parameters = { dataset: id, parameters: names.join(","), start: from, stop: to, format };
  return `${hapi}/data?${new URLSearchParams(parameters)}`;
}

/**
 * Build the das2 address of the data.
 * @param {SeriesRequest} request
 */
function buildDas2Url({ das2, path, from, to }) {
  return `${das2}/server?${new URLSearchParams({ server: "dataset", dataset: path, start_time: from, end_time: to })}`;
}

/**
 * List the addresses of the data as files, by format.
 * @param {SeriesRequest} request
 * @returns {[string, string][]}
 */
export function listFileUrls(request) {
  /** @type {[string, string][]} */
  const urls = [];
  if (request.hapi) for (const format of ["csv", "json", "binary"]) urls.push([format, buildHapiUrl(request, format)]);
  if (request.das2) urls.push(["das2", buildDas2Url(request)]);
  return urls;
}

const quoteJson = JSON.stringify;
const quoteText = (/** @type {string} */ text) => `'${text}'`;
const formatSpedasTime = (/** @type {string} */ time) => time.replace("T", "/").replace("Z", "").slice(0, 23);

/** Writers of example code, by the name of the client.
 * @type {Record<string, (request: SeriesRequest) => string>} */
export const LANGUAGES = {
  hapiclient: ({ hapi, id, names, from, to }) =>
    [
      "from hapiclient import hapi  # pip install hapiclient",
      "",
      `data, meta = hapi(${[hapi, id, names.join(","), from, to].map((text) => quoteJson(text)).join(", ")})`,
    ].join("\n"),
  speasy: ({ hapi, id, names, from, to }) =>
    [
      "import io, urllib.request",
      "from speasy.core.codecs import get_codec  # pip install speasy",
      "",
      `url = ${quoteJson(`${buildHapiUrl({ hapi, id, names, from, to, das2: null, path: "" })}&include=header`)}`,
      'data = get_codec("hapi/csv").load_variables(file=io.BytesIO(urllib.request.urlopen(url).read()), variables=' +
        `${quoteJson(names)})`,
    ].join("\n"),
  das2py: (request) =>
    [
      "import das2  # das2py 3, with das2C",
      "",
      `header, datasets = das2.read_http(${quoteJson(buildDas2Url(request))})`,
    ].join("\n"),
  "IDL (SPEDAS)": ({ hapi, id, names, from, to }) => {
    const parameters = names.map(quoteText).join(", ");
    const range = [from, to].map(formatSpedasTime).map(quoteText).join(", ");
    return `hapi_load_data, server='${hapi}', dataset='${id}', parameters=[${parameters}], trange=[${range}]`;
  },
  curl: (request) => `curl -o ${request.id}.csv '${buildHapiUrl(request)}'`,
};

/** The links to the data as files, and the example code that reads it, for each service of the data set. */
export class ServiceRequests {
  codeElement = createElement("code");
  filesElement = createElement("p", { className: "files" });

  /** @param {Timeline} timeline */
  constructor(timeline) {
    const { facts, t, workspace } = timeline;
    this.timeline = timeline;
    const languages = Object.keys(LANGUAGES).filter((client) => (client === "das2py" ? facts.das2 : facts.hapi));
    this.example = createElement(
      "div",
      { className: "example" },
      createElement("pre", { tabIndex: 0 }, this.codeElement),
    );
    addCopyButton(this.example, workspace);
    this.languageSelect = createElement(
      "select",
      { "aria-label": t("Language") },
      ...languages.map((language) => new Option(language, language)),
    );
    this.languageSelect.addEventListener("change", () => this.update());
    this.element = createElement(
      "details",
      { className: "script", hidden: !languages.length },
      createElement("summary", { textContent: t("Copy as code") }),
      createElement("p", {}, this.languageSelect),
      this.example,
    );
    this.filesElement.hidden = !languages.length;
  }

  /** Update the links and the code after the time span or the panels have changed. */
  update() {
    const { facts, panels, t, view, fullSpan } = this.timeline;
    if (this.filesElement.hidden) return;
    const [from, to] = [Math.max(view[0], fullSpan[0]), Math.min(view[1], fullSpan[1])];
    const resolveUrl = (/** @type {string | null} */ url) => (url ? new URL(url, location.href).href : null);
    const shownNames = new Set(
      panels.flatMap((panel) => panel.parameters.flatMap(({ name, bins }) => [name, bins?.along])),
    );
    const request = {
      hapi: resolveUrl(facts.hapi),
      das2: resolveUrl(facts.das2),
      path: facts.path,
      id: facts.id,
      names: facts.parameters.map((parameter) => parameter.name).filter((name) => shownNames.has(name)),
      from: `${formatTime(from)}Z`,
      to: `${formatTime(Math.max(to, from))}Z`,
    };
    this.codeElement.textContent = LANGUAGES[this.languageSelect.value](request);
    const links = listFileUrls(request).map(([name, url]) =>
      createElement("a", { href: url, download: "", textContent: name }),
    );
    this.filesElement.replaceChildren(t("Download what is shown:"), ...links.flatMap((link) => [" ", link]));
  }
}
