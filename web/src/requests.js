// How programs ask for what a page of time series shows: addresses, and lines of code of the clients of HAPI and das2.

import { copier } from "./copy.js";
import { make } from "./dom.js";
import { iso } from "./moments.js";
/** @import {Timeline} from "./timeline.js" */

/** @typedef {{hapi: string | null, das2: string | null, path: string, id: string, names: string[], from: string, to: string}} Asked times with a Z; names in the order of the data set, as HAPI wants them */

/** @param {Asked} asked */
function ofHapi({ hapi, id, names, from, to }, format = "csv") {
  return `${hapi}/data?${new URLSearchParams({ dataset: id, parameters: names.join(","), start: from, stop: to, format })}`;
}

/** @param {Asked} asked */
function ofDas2({ das2, path, from, to }) {
  return `${das2}/server?${new URLSearchParams({ server: "dataset", dataset: path, start_time: from, end_time: to })}`;
}

/**
 * List the addresses of files, with their names.
 * @param {Asked} asked
 * @returns {[string, string][]}
 */
export function addresses(asked) {
  /** @type {[string, string][]} */
  const found = [];
  if (asked.hapi) for (const format of ["csv", "json", "binary"]) found.push([format, ofHapi(asked, format)]);
  if (asked.das2) found.push(["das2", ofDas2(asked)]);
  return found;
}

const text = JSON.stringify;
const quoted = (/** @type {string} */ one) => `'${one}'`;
const spedas = (/** @type {string} */ time) => time.replace("T", "/").replace("Z", "").slice(0, 23);

/** What is copied, by the name of the client.
 * @type {Record<string, (asked: Asked) => string>} */
export const LANGUAGES = {
  hapiclient: ({ hapi, id, names, from, to }) =>
    [
      "from hapiclient import hapi  # pip install hapiclient",
      "",
      `data, meta = hapi(${text(hapi)}, ${text(id)}, ${text(names.join(","))}, ${text(from)}, ${text(to)})`,
    ].join("\n"),
  speasy: ({ hapi, id, names, from, to }) =>
    [
      "import io, urllib.request",
      "from speasy.core.codecs import get_codec  # pip install speasy",
      "",
      `url = ${text(`${ofHapi({ hapi, id, names, from, to, das2: null, path: "" })}&include=header`)}`,
      'data = get_codec("hapi/csv").load_variables(file=io.BytesIO(urllib.request.urlopen(url).read()), variables=' +
        `${text(names)})`,
    ].join("\n"),
  das2py: ({ das2, path, from, to }) =>
    [
      "import das2  # das2py 3, with das2C",
      "",
      `header, datasets = das2.read_http(${text(ofDas2({ das2, path, from, to, hapi: null, id: "", names: [] }))})`,
    ].join("\n"),
  "IDL (SPEDAS)": ({ hapi, id, names, from, to }) =>
    `hapi_load_data, server='${hapi}', dataset='${id}', parameters=[${names.map(quoted).join(", ")}], trange=[${[from, to].map(spedas).map(quoted).join(", ")}]`,
  curl: (asked) => `curl -o ${asked.id}.csv '${ofHapi(asked)}'`,
};

/** The files of what is shown, and the lines that read it: of the services that the data set has. */
export class Requests {
  code = make("code");
  files = make("p", { className: "files" });

  /** @param {Timeline} timeline */
  constructor(timeline) {
    const { facts, t, workspace } = timeline;
    this.timeline = timeline;
    const names = Object.keys(LANGUAGES).filter((one) => (one === "das2py" ? facts.das2 : facts.hapi));
    this.lines = make("div", { className: "example" }, make("pre", { tabIndex: 0 }, this.code));
    copier(this.lines, workspace);
    this.language = make("select", { "aria-label": t("Language") }, ...names.map((one) => new Option(one, one)));
    this.language.addEventListener("change", () => this.write());
    this.element = make(
      "details",
      { className: "script", hidden: !names.length },
      make("summary", { textContent: t("Copy as code") }),
      make("p", {}, this.language),
      this.lines,
    );
    this.files.hidden = !names.length;
  }

  /** The times that are shown have changed, or what is. */
  write() {
    const { facts, panels, t, view, whole } = this.timeline;
    if (this.files.hidden) return;
    const [from, to] = [Math.max(view[0], whole[0]), Math.min(view[1], whole[1])];
    const absolute = (/** @type {string | null} */ url) => (url ? new URL(url, location.href).href : null);
    const shown = new Set(panels.flatMap((panel) => panel.parameters.flatMap(({ name, bins }) => [name, bins?.along])));
    const asked = {
      hapi: absolute(facts.hapi),
      das2: absolute(facts.das2),
      path: facts.path,
      id: facts.id,
      names: facts.parameters.map((one) => one.name).filter((one) => shown.has(one)),
      from: `${iso(from)}Z`,
      to: `${iso(Math.max(to, from))}Z`,
    };
    this.code.textContent = LANGUAGES[this.language.value](asked);
    const links = addresses(asked).map(([name, url]) => make("a", { href: url, download: "", textContent: name }));
    this.files.replaceChildren(t("What is shown, as a file:"), ...links.flatMap((one) => [" ", one]));
  }
}
