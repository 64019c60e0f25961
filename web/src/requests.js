// How programs ask for what a page of time series shows: addresses, and lines of code of the clients of HAPI and das2.

/** @typedef {{hapi: string | null, das2: string | null, path: string, id: string, names: string[], from: string, to: string}} Asked times with a Z */

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
      "import das2  # needs das2C",
      "",
      `datasets = das2.read_http(${text(ofDas2({ das2, path, from, to, hapi: null, id: "", names: [] }))})`,
    ].join("\n"),
  "IDL (SPEDAS)": ({ hapi, id, names, from, to }) =>
    `hapi_load_data, server='${hapi}', dataset='${id}', parameters='${names.join(",")}', trange=['${from.slice(0, 19)}', '${to.slice(0, 19)}']`,
  curl: (asked) => `curl -o ${asked.id}.csv '${ofHapi(asked)}'`,
};
