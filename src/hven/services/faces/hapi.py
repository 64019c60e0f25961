"""HAPI 3.3.1: data sets of samples in time at ``/hapi``, with their metadata, as CSV, binary or JSON; requests of HAPI 2 are understood, too.

Errors are HAPI's own documents (section 3.8); what breaks off later cuts the connection, for no format can say it.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import __version__
from hven import services as dali
from hven.model.errors import FarFault, UserError, say
from hven.model.params import Param
from hven.services import _derived_sets as derived
from hven.services import series
from hven.services._spans import applies, links
from hven.services.face import Capability, Face, Surroundings, Way, route
from hven.services.faces._hapi_rows import FORMATS
from hven.site import sends

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Bins, Link, Schema, Series, Table
    from hven.services.series import DataSet, Parameter
    from hven.site import Published

VERSION = "3.3"
# code -> HTTP status, words (section 3.8.1)
CODES = {
    1200: (200, "OK"),
    1201: (200, "OK - no data for time range"),
    1400: (400, "Bad request - user input error"),
    1401: (400, "Bad request - unknown API parameter name"),
    1402: (400, "Bad request - syntax error in start time"),
    1403: (400, "Bad request - syntax error in stop time"),
    1404: (400, "Bad request - start equal to or after stop"),
    1405: (400, "Bad request - start < startDate and/or stop > stopDate"),
    1406: (404, "Bad request - unknown dataset id"),
    1407: (404, "Bad request - unknown dataset parameter"),
    1408: (400, "Bad request - too much time or data requested"),
    1409: (400, "Bad request - unsupported output format"),
    1410: (400, "Bad request - unsupported include value"),
    1411: (400, "Bad request - out-of-order or duplicate parameters"),
    1412: (400, "Bad request - unsupported resolve_references value"),
    1413: (400, "Bad request - unsupported depth value"),
    1500: (500, "Internal server error"),
    1501: (500, "Internal server error - upstream request error"),
}
OLD = {"id": "dataset", "time.min": "start", "time.max": "stop"}  # of HAPI 2, which 3 must take, too (section 3.2)
KNOWN = {
    "about": frozenset[str](),
    "capabilities": frozenset[str](),
    "catalog": frozenset({"depth", "resolve_references"}),
    "info": frozenset({"dataset", "parameters", "resolve_references"}),
    "data": frozenset({"dataset", "parameters", "start", "stop", "include", "format"}),
}
# of coordinates, as SPASE 2.4.1 calls them: of others no schema is told
SYSTEMS = frozenset((
    "Carrington", "CGM", "CSO", "DM", "ECEF", "ENP", "GEI", "GEO", "GPHIO", "GSE", "GSEQ", "GSM", "HAE", "HCC",
    "HCI", "HCR", "HEE", "HEEQ", "HG", "HGI", "HPC", "HPR", "HSM", "J2000", "JSM", "JSO", "KSM", "KSO", "LGM", "MAG",
    "MFA", "MSO", "RTN", "SC", "SE", "SM", "SR", "SR2", "SSE", "SSE_L", "SpacecraftOrbitPlane", "WGS84",
))  # fmt: skip
MILLISECOND = 1000  # microseconds
SAMPLES = 50  # that are told as a sample, about
TRIED = 1000  # samples of an example, about
TOO_MUCH = (408, 413)  # of HTTP
BUSY = 503  # of HTTP
SHORT = {"cache-control": "no-cache", "vary": "accept-encoding, authorization, cookie"}


class Refused(UserError):
    """A request that HAPI has a code for."""

    def __init__(self, code: int, more: str = "") -> None:
        super().__init__(f"HAPI error {code}: {CODES[code][1]}" + (f"; {more}" if more else ""))
        self.code = code


def _status(code: int, message: str = "") -> dict[str, Any]:
    return {"HAPI": VERSION, "status": {"code": code, "message": message or CODES[code][1]}}


def _faults(request: Request, error: Exception) -> Response:
    """Answer an error as HAPI has it; what a reader sent is not said again (section 3.8.2)."""
    if isinstance(error, Refused):
        return _sent(request, _status(error.code, str(error)), CODES[error.code][0])
    status = dali.status_of(error)
    code = 1501 if isinstance(error, FarFault) else 1500 if status >= 500 else 1408 if status in TOO_MUCH else 1400
    message = f"HAPI error {code}: {CODES[code][1]}; {dali.message_of(error, dali.request_id(request))}"
    # who must log in, ask less often or come again is told so by HTTP; all else by the status that HAPI's code goes with
    own = code == 1400 or (code == 1500 and status == BUSY)
    return _sent(request, _status(code, message), status if own else CODES[code][0], dali.headers_of(error))


def _modified(moment: str) -> dict[str, str]:
    """Make the header that says when something was changed last."""
    when = datetime.fromisoformat(moment)
    when = when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    return {"last-modified": format_datetime(when, usegmt=True)}


def _sent(
    request: Request, body: Mapping[str, Any], status: int = 200, more: Mapping[str, str] | None = None
) -> Response:
    headers = {**SHORT, "content-type": "application/json", **(more or {})}
    return dali.whole(request, orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE), headers, status)


def _given(request: Request, endpoint: str) -> dict[str, str]:
    """Read the parameters of a request: names in small letters, as the standard has them; each once."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        name = OLD.get(name, name)  # noqa: PLW2901
        if name not in KNOWN[endpoint]:
            known = ", ".join(sorted(KNOWN[endpoint])) or "none"
            raise Refused(1401, f"those of {endpoint} are {known}")
        if name in found:
            raise Refused(1400, f"{name} stands there twice")
        found[name] = value
    if "resolve_references" in found and found["resolve_references"] not in {"true", "false"}:
        raise Refused(1412, "true or false")
    return found


def _bins(one: Bins, known: set[str]) -> dict[str, Any]:
    """Describe bins; those of a column are its name, whether it is asked for or not (section 3.6.18)."""
    made: dict[str, Any] = {"name": one.name, "units": one.unit}
    for key, values in (("centers", one.centers), ("ranges", one.ranges)):
        if isinstance(values, str):
            made[key] = values if values in known else None
        elif values:
            made[key] = [list(value) if isinstance(value, tuple) else value for value in values]
    made.setdefault("centers", None)
    if made["centers"] is not None or made.get("ranges") is None:
        made = {key: value for key, value in made.items() if key != "ranges" or value is not None}
    made |= {key: value for key, value in (("label", one.label), ("description", one.description)) if value}
    return made


def _parameter(one: Parameter, known: set[str]) -> dict[str, Any]:
    column = one.column
    made: dict[str, Any] = {"name": column.name, "type": one.kind}
    if one.kind in {"string", "isotime"}:
        made["length"] = one.length
    if one.size:
        made["size"] = list(one.size)
    made["units"] = "UTC" if one.kind == "isotime" else (column.unit or None)
    made["fill"] = one.fill
    made |= {"description": column.description} if column.description else {}
    made |= {"label": column.label, "x_label": column.label} if column.label else {}
    if one.leads:
        made["stringType"] = "uri"
    if one.bins:
        made["bins"] = [_bins(each, known) for each in one.bins]
    return made


def _vector(said: Series, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Say which coordinates a parameter has (section 3.6.11)."""
    system, elements = said.vectors.get(shown["name"].lower(), ("", ()))
    size = shown.get("size", [])
    elements = elements or (("x", "y", "z") if size == [3] else ())
    made: dict[str, Any] = {"coordinateSystemName": system} if system else {}
    if size == [len(elements)]:
        made["vectorComponents"] = list(elements)
    elif elements and not size:
        made["vectorComponents"] = elements[0]
    return made if system else {}


def _wanted(one: DataSet, text: str) -> list[Parameter]:
    """Find the parameters that are asked for; the time need not be."""
    if not text:
        return list(one.parameters)
    names = {name: at for at, name in enumerate((one.time.name, *(each.name for each in one.parameters)))}
    places = []
    for name in text.split(","):
        if name not in names:
            raise Refused(1407, f"this data set has {', '.join(names)[:500]}")
        places.append(names[name])
    if any(after <= before for before, after in pairwise(places)):
        raise Refused(1411, f"their order is {', '.join(names)[:500]}")
    return [one.parameters[at - 1] for at in places if at]


def _info(one: DataSet, span: series.Span, chosen: Sequence[Parameter], base: str) -> dict[str, Any]:
    """Describe a data set (section 3.6), without HAPI's status."""
    said, resource, length = one.series, one.published.resource, one.time.length
    shown = {parameter.name for parameter in chosen}
    known = {parameter.name for parameter in one.parameters}
    listed = [_parameter(parameter, known) for parameter in (one.time, *chosen)]
    for each in listed:
        if colors := said.colors.get(each["name"].lower()):
            each["x_colorLookup"] = dict(colors)
        each.update(_vector(said, each))
        if one.how == derived.LISTED and each["type"] == "string":
            each["stringType"] = {"uri": {"base": f"{base}/collections/{quote(one.table.schema)}/files/"}}
        if each["name"] == one.stop:
            each["x_stopTime"] = True
    made: dict[str, Any] = {
        "parameters": listed,
        "startDate": _date(span.start or 0, length),
        "stopDate": _date(_last(one, span), length),
        "timeStampLocation": "begin" if one.stop and "stamp" not in said.places else said.stamp,
        "unitsSchema": "vounits1.1",
        "resourceURL": f"{base}/collections/{quote(one.table.schema)}#{quote(one.table.name)}",
        "modificationDate": _date(series.micros(one.published.updated.partition("+")[0].rstrip("Z")), 20),
    }
    if (
        said.vectors and {system for system, _ in said.vectors.values()} <= SYSTEMS
    ):  # whichever parameters are asked for
        made["coordinateSystemSchema"] = "spase2.4.1"
    if said.cadence:
        made["cadence"] = derived.duration(said.cadence)
    elif span.start is not None and span.stop is not None:  # clients cannot tell how much to ask for
        some = max((span.stop - span.start) * SAMPLES // max(span.rows, 1), 1000)
        end = min(span.start + some, _last(one, span))
        made |= {"sampleStartDate": _date(span.start, length), "sampleStopDate": _date(end, length)}
    if one.stop in shown:
        made["x_intervalBasedRecords"] = True
    description = said.description or one.table.description or (resource.description if resource else None)
    notes = [*(f"{name} is left out: {why}" for name, why in one.left_out), *one.notes]
    contact = resource.contact if resource is not None else None
    more = {
        "description": description,
        "note": notes or None,
        "contact": contact.name if contact else None,
        "contactID": contact.orcid if contact else None,
        "datasetCitation": resource.citation if resource else None,
        "licenseURL": resource.licence_url if resource else None,
        "resourceID": f"doi:{resource.doi}" if resource and resource.doi else None,
    }
    return made | {key: value for key, value in more.items() if value}


def _last(one: DataSet, span: series.Span) -> int:
    """Find until when a data set may be asked for: of live ones beyond what there is (section 3.8.1, of 1405).

    Without a cadence, the end is the microsecond behind the last sample: it is rounded up to a millisecond, so that clients whose times have no
    more digits (JavaScript) and ask until then get that sample, too.
    """
    stop = span.stop or 1
    stop = stop if one.series.cadence else -(-stop // MILLISECOND) * MILLISECOND
    return stop + (round(one.series.ahead * 1_000_000) if one.series.ahead and span.stop else 0)


def _date(moment: int, length: int) -> str:
    written = series.iso(moment)[:-1] + "000"
    return written[: length - 1] + "Z" if length > 20 else written[:19] + "Z"


class _Asked(series.Asked):
    face = "hapi"

    def updated(self) -> str:
        return max((one.published.updated for one in self.known.values()), default=self.around.started.isoformat())

    def found(self) -> dict[str, DataSet]:
        """Find the reader's data sets, and those that are made of them."""
        return derived.with_derived(self.around, self.who, super().found(), self.holdings)

    def span(self, one: DataSet) -> series.Span:
        """Find from when to when the reader has samples."""
        whole = super().span(one.of or one)
        return whole if one.of is None else derived.span(one, whole)

    def info(self, one: DataSet, chosen: Sequence[Parameter]) -> dict[str, Any]:
        """Describe a data set, with what is made of it."""
        return _info(one, self.span(one), chosen, self.base) | derived.links(one, self.known)

    def one(self, given: Mapping[str, str]) -> DataSet:
        if "dataset" not in given:
            raise Refused(1400, "dataset is missing; the catalog lists them")
        found = self.named(given["dataset"])
        if found is None:
            raise Refused(1406, "the catalog lists them")
        return found


def _about(asked: _Asked) -> Mapping[str, Any]:
    settings = asked.around.site.settings
    contact = settings.contact_email or settings.contact_name or "not said"
    return {
        **_status(1200),
        "id": settings.authority or settings.name,
        "title": settings.title or settings.name,
        "contact": contact,
        "description": settings.description or f"Hven {__version__} at {asked.base}",
    }


def _capabilities(_: _Asked) -> Mapping[str, Any]:
    return {**_status(1200), "outputFormats": list(FORMATS), "catalogDepthOptions": ["dataset", "all"]}


def _catalog(asked: _Asked) -> Mapping[str, Any]:
    depth = _given(asked.request, "catalog").get("depth", "dataset")
    if depth not in {"dataset", "all"}:
        raise Refused(1413, "dataset or all")
    listed = []
    for one in asked.known.values():
        item: dict[str, Any] = {"id": one.id, "title": one.series.title or one.table.title or one.id}
        if depth == "all":
            item["info"] = asked.info(one, one.parameters)
        listed.append(item)
    return {**_status(1200), "catalog": listed}


def _described(asked: _Asked) -> Mapping[str, Any]:
    given = _given(asked.request, "info")
    one = asked.one(given)
    return {**_status(1200), **asked.info(one, _wanted(one, given.get("parameters", "")))}


def _moment(given: Mapping[str, str], name: str, code: int) -> int:
    if name not in given:
        raise Refused(1400, f"{name} is missing")
    try:
        return series.nanos(given[name])
    except ValueError:
        raise Refused(code, "write 2003-05-21T10:30:00Z or 2003-141T10:30Z") from None


def _shown(asked: _Asked) -> list[dict[str, Any]]:
    """List the data sets for people: each with a day of samples, or less, to try."""
    shown = []
    for one in (one for one in asked.known.values() if one.of is None):
        span = asked.span(one)
        length = one.time.length
        item = {
            "id": one.id, "title": one.series.title or one.table.title or one.id, "table": one.table, "start": "", "stop": "", "example": "",
            "parameters": [{"name": each.name, "unit": each.column.unit, "description": each.column.description} for each in one.parameters],
        }  # fmt: skip
        if span.start is not None and span.stop is not None:
            some = max(min(span.stop - span.start, (span.stop - span.start) * TRIED // max(span.rows, 1)), 1)
            begin, end = _date(span.stop - some, length), _date(_last(one, span), length)
            item |= {"start": _date(span.start, length), "stop": end, "from": begin, "to": end}
            item["example"] = urlencode({"dataset": one.id, "start": begin, "stop": end})
        shown.append(item)
    return shown


async def _data(asked: _Asked) -> Response:
    given = _given(asked.request, "data")
    one: DataSet = await anyio.to_thread.run_sync(asked.one, given)
    chosen = _wanted(one, given.get("parameters", ""))
    began, ended = _moment(given, "start", 1402), _moment(given, "stop", 1403)
    start, stop = (
        -(-began // 1000),
        -(-ended // 1000),
    )  # a sample at the microsecond before is not behind what is asked for
    if began >= ended:
        raise Refused(1404)
    if given.get("include", "header") != "header":
        raise Refused(1410, "header")
    kind = given.get("format", "csv")
    if kind not in FORMATS:
        raise Refused(1409, ", ".join(FORMATS))
    span: series.Span = await anyio.to_thread.run_sync(asked.span, one)
    first, last = span.start or 0, _last(one, span)
    if span.start is not None and (began < first * 1000 or ended > last * 1000):
        raise Refused(1405, f"this data set has {_date(first, one.time.length)} to {_date(last, one.time.length)}")
    headers = dali.caching(
        dali.etag(__version__, asked.holdings.version, asked.reach, asked.base, one.changing, *sorted(given.items())),
        public=asked.reach == "public" and asked.who.anonymous,
    )  # fmt: skip
    media_type, write = FORMATS[kind]
    table = one.table.qualified
    sends(tables={table: 0})
    if dali.unchanged(asked.request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    headers["content-type"] = media_type
    headers["content-disposition"] = f'inline; filename="{quote(one.id)}.{ {"binary": "bin"}.get(kind, kind) }"'
    if asked.request.method == "HEAD":  # which reads nothing
        return Response(None, 200, headers)
    place = (asked.around, asked.who, one, [each.name for each in chosen])
    if one.of is None and one.fine:
        batches = series.fine_samples(*place, began, ended, asked.holdings)
    else:
        batches = (series.samples if one.of is None else derived.records)(*place, start, stop, asked.holdings)
    before = await anyio.to_thread.run_sync(next, batches, None)
    head = None
    if "include" in given or kind == "json":
        head = {**_status(1200 if before is not None else 1201), **asked.info(one, chosen), "format": kind}

    def chunks() -> Any:
        def every() -> Any:
            for batch in itertools.chain([] if before is None else [before], batches):
                sends(tables={table: batch.num_rows})
                yield batch

        return write(every(), [one.time, *chosen], head)

    return await series.streamed(asked.request, chunks, headers)


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/hapi`` with its five endpoints; of others, and other methods, HAPI's words."""

    async def document(request: Request, make: Any, endpoint: str) -> Response:
        _given(request, endpoint)
        asked = _Asked(request, around)
        body, updated = await anyio.to_thread.run_sync(lambda: (make(asked), asked.updated()))
        return _sent(request, body, more=_modified(updated))

    async def data(request: Request) -> Response:
        return await _data(_Asked(request, around))

    async def front(request: Request) -> Response:
        page = next((face.pages[FACE.name] for face in around.faces.values() if FACE.name in face.pages), None)
        asked = _Asked(request, around)
        if page is None or "json" in request.headers.get("accept", ""):
            return _sent(request, _about(asked))
        shown = await anyio.to_thread.run_sync(_shown, asked)
        return page(request, around, {"base": f"{asked.base}/hapi", "sets": shown})

    async def unknown(_: Request) -> Response:
        raise Refused(1400, f"the endpoints are {', '.join(KNOWN)}")

    made = {"about": _about, "capabilities": _capabilities, "catalog": _catalog, "info": _described}
    found = {name: partial(document, make=make, endpoint=name) for name, make in made.items()}
    return [
        *(route(f"/hapi/{name}", call, _faults) for name, call in found.items()),
        route("/hapi/data", data, _faults),
        route("/hapi", front, _faults),
        route("/hapi/", front, _faults),
        route("/hapi/{path:path}", unknown, _faults),
    ]


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how samples are asked for."""
    made = []
    for one in published.table.series:
        python = f'from hapiclient import hapi\n\ndata, meta = hapi("{base}/hapi", "{one.id}", "", "{{start}}", "{{stop}}")\nprint(data)'
        made.append(Way(title=say("Samples of {name} in Python", one.id), url=f"{base}/hapi/info?dataset={one.id}", language="python", example=python))  # fmt: skip
    return made


def _links(table: Table, around: Surroundings) -> Sequence[Link]:
    """Describe how samples of rows are asked for that are spans of data sets."""
    kinds = Param(name="format", allowed=tuple(FORMATS), default="csv", description="how they are written")
    return links(
        table, around, FACE.name, "/hapi/data", lambda one: {"dataset": one.id}, ("start", "stop"), (kinds,), "text/csv", "/hapi/info?",
    )  # fmt: skip


def _capable(_: Surroundings, base: str, schema: Schema | None) -> Sequence[Capability]:
    """Name its page: the IVOA has no identifier for it."""
    return [] if schema else [Capability(standard_id=None, url=f"{base}/hapi", interface="vr:WebBrowser")]


FACE = Face(
    name="hapi",
    title="HAPI",
    description="Samples in time, for clients of heliophysics: HAPI 3.3.",
    applies=applies,
    lacking="data sets of samples in time (`series`)",
    ways=_ways,
    routes=routes,
    links=_links,
    capable=_capable,
)
