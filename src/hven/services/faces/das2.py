"""das2 2.2: the server at ``/das2/server`` with its list, its descriptions and its streams, reduced to the resolution that is asked for.

The names of das2 2.3 and of the servers that came later are understood as well, and nodes of the federated catalogue
stand at ``/das2/catalog.json``. What is wrong is said in a packet of the stream, as das2's own servers do; an interval
without samples is no error of HTTP.
"""

from __future__ import annotations

from functools import cached_property
from itertools import groupby, pairwise
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

import anyio.to_thread
import numpy as np
import orjson
from starlette.responses import RedirectResponse, Response

from hven import __version__, services
from hven.model.errors import NotFoundError, ParamError, UserError
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.services import _pyramids as pyramids
from hven.services import _reductions as reductions
from hven.services import series
from hven.services._span_links import build_span_links, has_data_sets
from hven.services._time_texts import SECOND_MICROSECONDS
from hven.services.face import Capability, Face, ServiceContext, UsageExample, create_route
from hven.services.faces import _das2_streams as streams
from hven.services.faces._das2_streams import PacketPlane, Segment, StreamFormat
from hven.site import record_sent_data
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import LinkTemplate, ParameterBins, Schema, Table
    from hven.services.series import DataSet, SampleParameter
    from hven.site import PublishedState, PublishedTable

# other name -> that of das2 2.2: of 2.3, of its longer forms, of das 3.0
PARAMETER_ALIASES = {
    "time.min": "start_time",
    "reader.x.min": "start_time",
    "read.time.min": "start_time",
    "time.max": "end_time",
    "reader.x.max": "end_time",
    "read.time.max": "end_time",
    "time.res": "resolution",
    "reducer.x.resolution": "resolution",
    "bin.time.max": "resolution",
    "reader.x.interval": "interval",
    "reader.params": "params",
    "read.data": "params",
    "reader.ascii": "ascii",
    "encoder.ascii": "ascii",
}
TRUE_WORDS = {"true", "1", "yes", "t"}
MAX_LINE_ELEMENTS = 16  # elements of an array without bins that are shown as so many lines
EXAMPLE_SAMPLES = 2_000  # samples of an example, about
CACHE_HEADERS = {"cache-control": "no-cache", "vary": "authorization, cookie, host", "access-control-allow-origin": "*"}
TEXT_HEADERS = {**CACHE_HEADERS, "content-type": "text/plain; charset=utf-8"}
STREAM_MEDIA_TYPE = "text/vnd.das2.das2stream; charset=utf-8"
PEERS_TEMPLATE = """<?xml version="1.0" encoding="UTF-8"?>
<das2server>
  <peers>
    <server>
      <name>{}</name>
      <url>{}</url>
      <description>{}</description>
    </server>
  </peers>
</das2server>
"""
CATALOG_TEMPLATE = """{"type": "Catalog", "version": "0.4", "name": $name, "title": $title, "separator": "/", "catalog": $inside}
"""
COLLECTION_TEMPLATE = """{
  "type": "Collection", "version": "0.4", "name": $name, "title": $title, "description": $about,
  "coordinates": $axes,
  "data": $data, "tech_contacts": [{"name": $contact}],
  "sources": {"das2": {"type": "HttpStreamSrc", "convention": "das2/2.2", "name": "das2/2.2 Source", "urls": [$source]}}
}
"""
SOURCE_TEMPLATE = """{
  "type": "HttpStreamSrc", "version": "0.7", "name": $name, "label": $title, "title": $title, "description": $about,
  "protocol": {
    "method": "GET", "convention": "das2/2.2", "authorization": {"required": false}, "baseUrls": [$server],
    "httpParams": {
      "start_time": {"required": true, "type": "isotime"}, "end_time": {"required": true, "type": "isotime"},
      "resolution": {"required": false, "type": "real", "units": "s"},
      "params": {"required": false, "type": "FlagSet", "flagSep": ",", "flags": $flags},
      "format.version": {"required": false, "type": "enum", "enum": ["2", "3"]},
      "format.serial": {"required": false, "type": "enum", "enum": ["binary", "text"]},
      "compress": {"required": false, "type": "boolean"}
    }
  },
  "interface": {
    "coords": {
      "time": {
        "label": "Time",
        "props": {
          "min": {"label": "Minimum", "value": null, "set": {"param": "start_time", "required": true}},
          "max": {"label": "Maximum", "value": null, "set": {"param": "end_time", "required": true}},
          "units": {"value": "UTC"},
          "res": {"label": "Resolution", "value": null, "set": {"param": "resolution", "required": false}, "units": "s"}
        },
        "validRange": [$min, $max]
      }
    },
    "data": $data,
    "examples": [{"label": "The last samples", "settings": {"coords/time/props/min": $from, "coords/time/props/max": $to}}],
    "formats": {
      "das": {"label": "das stream", "mimeTypes": ["application/vnd.das2.das2stream", "text/vnd.das2.das2stream", "application/vnd.das.stream"]}
    }
  }
}
"""
EXCEPTION_TYPES = {400: "IllegalArgument", 404: "NoSuchDataSource", 401: "Unauthorized", 403: "Forbidden"}


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Say what is wrong as das2 has it."""
    status = services.find_http_status(error)
    word = EXCEPTION_TYPES.get(status, "IllegalArgument" if isinstance(error, UserError) else "ServerError")
    request_id = services.get_request_id(request)
    body = streams.write_exception(word, services.write_error_message(error, request_id), packet_kind="stream")
    error_headers = services.build_error_headers(error)
    return Response(
        body,
        status,
        {
            **error_headers,
            **CACHE_HEADERS,
            "cache-control": "no-store",
            "content-type": STREAM_MEDIA_TYPE,
        },
    )


def _parse_query(request: Request) -> dict[str, str]:
    """Read a query, whose parts may be set off by semicolons; of a name that comes twice the first counts."""
    raw = request.scope.get("query_string", b"").replace(b";", b"&").decode("utf-8", "replace")
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise ParamError("the address has more than 100 parameters") from None
    return {PARAMETER_ALIASES.get(name, name): value.strip() for name, value in reversed(pairs)}


class _Das2Request(series.SeriesRequest):
    face = "das2"

    def __init__(self, request: Request, context: ServiceContext) -> None:
        super().__init__(request, context)
        self.url = f"{self.base_url}/das2"
        self.settings = context.site.settings

    @cached_property
    def data_sets(self) -> dict[str, DataSet]:
        """By path: those that have something to show."""
        return {
            data_set.series.path: data_set
            for data_set in super().data_sets.values()
            if any(map(_is_streamable, data_set.parameters))
        }

    def require_data_set(self, path: str) -> DataSet:
        data_set = self.find_data_set(path.strip("/").removesuffix(".dsdf"))
        if data_set is None:
            raise NotFoundError("there is no such data source", remedy=f"{self.url}/server?server=list has them all")
        return data_set


def _is_streamable(parameter: SampleParameter) -> bool:
    """Return whether das2 has packets for it: numbers, lists of numbers, and a few of such lists."""
    return parameter.value_kind in {"double", "integer"} and (
        len(parameter.dimensions) < 2
        or (len(parameter.dimensions) == 2 and parameter.dimensions[0] <= MAX_LINE_ELEMENTS)
    )


def _format_time(instant: int) -> str:
    """Write a time with the digits that it needs."""
    text = series.format_instant(instant)[:-1]
    if text.endswith(".000000"):
        return text[:19]
    if text.endswith("000"):
        return text[:23]
    return text


def _format_time_range(start: int, stop: int) -> str:
    return f"{_format_time(start)} to {_format_time(stop)} UTC"


def _get_title(data_set: DataSet) -> str:
    return " ".join((data_set.series.title or data_set.table.title or data_set.id).split())


def _describe_source(das2_request: _Das2Request, data_set: DataSet) -> dict[str, Any]:
    """Collect what documents tell of a data source."""
    span = das2_request.find_time_extent(data_set)
    resource = data_set.published.resource
    settings = das2_request.settings
    description_text = (
        data_set.series.description or data_set.table.description or (resource.description if resource else None)
    )
    contact = resource.contact if resource else None
    address = quote(data_set.series.path)
    streamable = [each for each in data_set.parameters if _is_streamable(each)]
    source_values: dict[str, Any] = {
        "name": data_set.series.path.rpartition("/")[2],
        "title": _get_title(data_set),
        "about": " ".join((description_text or "").split()),
        "min": None,
        "max": None,
        "from": None,
        "to": None,
        "contact": (contact.name if contact else None) or settings.contact_name or settings.title or settings.name,
        "email": (contact.email if contact else None) or settings.contact_email or "",
        "source": f"{das2_request.url}/source/{address}.json",
        "server": f"{das2_request.url}/server?server=dataset&dataset={address}",
        "axes": {
            plane.axis_name.lower(): {"name": plane.axis_name, "units": streams.format_units(plane.axis_unit)}
            for plane in _build_planes(streamable, {})
            if plane.axis_values
        },
        "data": {
            each.name: {
                "name": each.name,
                "label": each.column.label or each.name,
                "title": each.column.description,
                "units": streams.format_units(each.column.unit),
                "props": {},
            }
            for each in streamable
        },
        "flags": {each.name: {"value": each.name} for each in streamable},
    }
    if span.start is not None and span.stop is not None:  # an example: the last samples, from a whole second on
        stop = -(-span.stop // SECOND_MICROSECONDS) * SECOND_MICROSECONDS
        low = max(
            span.start,
            (stop - int(EXAMPLE_SAMPLES * pyramids.estimate_cadence(data_set, span)))
            // SECOND_MICROSECONDS
            * SECOND_MICROSECONDS,
        )
        moments = (span.start, span.stop, low, stop)
        source_values |= zip(("min", "max", "from", "to"), map(_format_time, moments), strict=True)
    time = {
        "name": data_set.time.name,
        "units": "UTC",
        "valid_min": source_values["min"],
        "valid_max": source_values["max"],
    }
    return source_values | {"axes": {"time": time, **source_values["axes"]}}


def _answer_json_template(template: str, values: Mapping[str, Any]) -> Response:
    """Answer with JSON: each name behind a $ becomes what is told."""
    body = Template(template).substitute({name: orjson.dumps(each).decode() for name, each in values.items()})
    return Response(body, headers={**CACHE_HEADERS, "content-type": "application/json"})


def _answer_list(das2_request: _Das2Request, params: Mapping[str, str]) -> Response:
    """List directories and data sources, one a line: with their titles, as das2's server has it."""
    lines = set()
    for path, data_set in das2_request.data_sets.items():
        if params["server"] == "list" or das2_request.find_time_extent(data_set).start is not None:
            lines |= {f"{path[: at + 1]}\r\n" for at, letter in enumerate(path) if letter == "/"}
            lines.add(f"{path}|{_get_title(data_set)}\r\n")
    return Response("".join(sorted(lines)), headers=TEXT_HEADERS)


def _answer_dsdf(das2_request: _Das2Request, params: Mapping[str, str]) -> Response:
    """Describe a data source: a stream of nothing but properties."""
    data_set = das2_request.require_data_set(params.get("dataset", ""))
    source_values = _describe_source(das2_request, data_set)
    omitted_names = ", ".join(each.name for each in data_set.parameters if not _is_streamable(each))
    items = {
        f"item_{at:02d}": f"{name} | {each['title'] or name}"
        for at, (name, each) in enumerate(source_values["data"].items())
        if at < 100
    }
    source_properties = {
        "description": source_values["title"],
        "title": source_values["title"],
        "das2Stream": "1",
        "server": f"{das2_request.url}/server",
        "summary": source_values["about"],
        "techContact": f"{source_values['contact']} <{source_values['email']}>"
        if source_values["email"]
        else source_values["contact"],
        "validRange": f"{source_values['min']} to {source_values['max']} UTC" if source_values["min"] else "",
        "exampleRange_00": f"{source_values['from']} to {source_values['to']} UTC | the last samples"
        if source_values["min"]
        else "",
        **items,
        "param_00": f"{next(iter(source_values['data']))} | names of variables with commas between; else all"
        if len(items) > 1
        else "",
        "note": f"not in streams, for they are texts or tables: {omitted_names}" if omitted_names else "",
    }
    return Response(
        streams.write_properties_stream(source_properties), headers={**CACHE_HEADERS, "content-type": STREAM_MEDIA_TYPE}
    )


def _answer_peers(das2_request: _Das2Request, _: Mapping[str, str]) -> Response:
    """Name the servers that this one knows of: itself."""
    peer_values = (
        das2_request.settings.name,
        f"{das2_request.url}/server",
        das2_request.settings.description or das2_request.settings.title,
    )
    body = PEERS_TEMPLATE.format(*(escape(each or das2_request.settings.name) for each in peer_values))
    return Response(body, headers={**CACHE_HEADERS, "content-type": "text/xml; charset=utf-8"})


def _answer_logo(das2_request: _Das2Request, _: Mapping[str, str]) -> Response:
    if not das2_request.settings.logo:
        raise NotFoundError("this site has no logo")
    return RedirectResponse(f"{das2_request.base_url}/logo", 302)


def _answer_help(das2_request: _Das2Request, params: Mapping[str, str]) -> Response:
    """Say whose server it is, and what it may be asked."""
    name = f"{das2_request.settings.title or das2_request.settings.name}\r\n"
    request_urls = "".join(f"{das2_request.url}/server?server={each}\r\n" for each in SERVER_REQUESTS if each)
    return Response(name if params.get("server") else f"das2 server of {name}\r\n{request_urls}", headers=TEXT_HEADERS)


def _build_param_error(name: str, message: str, remedy: str) -> ParamError:
    return ParamError(f"{name} {message}", name=name, remedy=remedy)


def _parse_time(params: Mapping[str, str], name: str) -> int:
    """Read a time, as strictly as ISO 8601 or with a space between date and clock."""
    text = params.get(name, "").upper().removesuffix("UTC").replace("T", " ")
    try:
        return series.parse_microseconds("T".join(text.split()))
    except ValueError:
        raise _build_param_error(name, "is missing, or no time", "write 2017-01-01T10:30 or 2017-001T10:30") from None


def _parse_resolution(params: Mapping[str, str], cadence_microseconds: float) -> int | None:
    """Read the resolution, the seconds that may lie between two samples: how wide bins are; None.

    Samples as they are.
    """
    text = params.get("resolution", "").lower()
    try:
        if text in {"", "intrin", "intrinsic"}:
            resolution_seconds = 0.0
        else:
            resolution_seconds = float(text.removesuffix("s"))
    except ValueError:
        resolution_seconds = -1.0
    if not 0 <= resolution_seconds < 1e12:
        raise _build_param_error("resolution", "is no number of seconds", "write 60, or leave it out")
    return reductions.choose_bin_width(int(resolution_seconds * SECOND_MICROSECONDS), cadence_microseconds)


def _choose_parameters(data_set: DataSet, params: Mapping[str, str]) -> list[SampleParameter]:
    streamable = {each.name: each for each in data_set.parameters if _is_streamable(each)}
    requested_names = params.get("params", "").replace(",", " ").split() or streamable
    if not streamable.keys() >= {*requested_names}:
        raise _build_param_error(
            "params", "names what this data source does not have", f"it has {', '.join(streamable)[:500]}"
        )
    return [each for name, each in streamable.items() if name in requested_names]


def _parse_stream_format(params: Mapping[str, str]) -> StreamFormat:
    version, serial = (
        params.get(f"format.{name}") or usual for name, usual in (("version", "2"), ("serial", "binary"))
    )
    if version not in {"2", "3", "2.2", "3.0"} or serial not in {"binary", "text"}:
        raise _build_param_error(
            "format", "is none that there is", "format.version=2 or 3, format.serial=binary or text"
        )
    text, packed = (params.get(name, "").lower() in TRUE_WORDS for name in ("ascii", "compress"))
    return StreamFormat(int(version[0]), text or serial == "text", packed and version[0] == "2")


def _answer_data(das2_request: _Das2Request, params: Mapping[str, str]) -> Response | tuple[Any, Mapping[str, str]]:
    data_set = das2_request.require_data_set(params.get("dataset", ""))
    if params.get("interval"):
        raise _build_param_error(
            "interval", "is for sources that compute positions; this one has samples", "leave it out"
        )
    time = _parse_time(params, "start_time")
    start, stop, span = (
        time,
        _parse_time(params, "end_time"),
        das2_request.find_time_extent(data_set),
    )
    if start >= stop:
        raise _build_param_error("end_time", "is not behind start_time", "write a later one")
    record_sent_data(rows_by_table={data_set.table.qualified_name: 0})
    parameters = _choose_parameters(data_set, params)
    chosen, form, native = (
        parameters,
        _parse_stream_format(params),
        pyramids.estimate_cadence(data_set, span),
    )
    width = _parse_resolution(params, native)
    access_key = das2_request.published_state.find_access_key(das2_request.principal, das2_request.context.policies)
    tag = services.compute_etag(
        __version__,
        das2_request.published_state.version,
        access_key,
        das2_request.url,
        data_set.change_token,
        *sorted(params.items()),
    )
    label = "_".join(_format_time(each).replace(":", "-").removesuffix("T00-00-00") for each in (start, stop))
    cache_headers = services.build_cache_headers(
        tag, is_public=access_key == "public" and das2_request.principal.is_anonymous
    )
    headers = {
        **cache_headers,
        "access-control-allow-origin": "*",
        "content-type": form.media_type,
        "content-disposition": f'inline; filename="{quote(data_set.series.path.rpartition("/")[2])}_{label}.{form.extension}"',
    }
    if services.is_unchanged(das2_request.request, tag):
        return Response(status_code=304, headers=headers)
    if data_set.has_nanoseconds and not width:
        stamp = data_set.time.byte_length
    else:
        stamp = form.stamp
    properties = _build_stream_properties(das2_request, data_set, chosen, _format_time_range(start, stop), width)
    form = form._replace(
        properties=properties,
        stamp=stamp,
    )

    def iterate_chunks() -> Iterator[bytes]:
        has_overlap = span.start is not None and span.stop is not None and start < span.stop and stop > span.start
        segments = _read_segments(das2_request, data_set, chosen, start, stop, width) if has_overlap else ()
        request = services.get_request_id(das2_request.request)
        nothing = f"No data in the interval {_format_time_range(start, stop)}"
        return streams.write_stream(segments, form, nothing, lambda error: services.write_error_message(error, request))

    return iterate_chunks, headers


def _build_stream_properties(
    das2_request: _Das2Request,
    data_set: DataSet,
    parameters: Sequence[SampleParameter],
    interval: str,
    bin_microseconds: int | None,
) -> dict[str, str]:
    """Say what holds for the whole stream."""
    planes = _build_planes(parameters, {})
    letter, first = next((("z", each) for each in planes if each.axis_values), ("y", planes[0]))
    seconds = bin_microseconds / SECOND_MICROSECONDS if bin_microseconds else data_set.series.cadence
    stream_properties = {
        "title": f"{_get_title(data_set)}%{{xCacheResInfo}}",
        "summary": _describe_source(das2_request, data_set)["about"],
        "xLabel": "Time (UTC)",
        "DatumRange:xCacheRange": interval,
        "sourceId": f"hven {__version__}",
        "xCacheResInfo": f" ({_format_duration(bin_microseconds / SECOND_MICROSECONDS)} Averages)"
        if bin_microseconds
        else " (Intrinsic Resolution)",
        "Datum:xTagWidth": f"{seconds:.9g} s" if seconds else "",
        "Datum:xCacheResolution": f"{seconds:.9g} s" if bin_microseconds else "",
        f"double:{letter}Fill": f"{streams.FILL_VALUE:g}",
    }
    if first.axis_values:
        stream_properties |= {
            "renderer": "spectrogram",
            "yLabel": _format_label(first.axis_name, first.axis_unit),
            "zLabel": first.label,
        }
        if min(first.axis_values) > 0 and max(first.axis_values) > 30 * min(first.axis_values):
            stream_properties["yScaleType"] = "log"
    elif len(parameters) == 1:
        stream_properties["yLabel"] = first.label
    return stream_properties


def _format_duration(seconds: float) -> str:
    """Write a duration as das2's reducers do."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit_seconds, unit, word in ((60, 1, "s"), (3600, 60, "minute"), (86_400, 3600, "hour")):
        if seconds < limit_seconds:
            return f"{seconds / unit:.1f} {word}"
    return f"{seconds / 86_400:.3g} day"


def _format_label(name: str, unit: str | None) -> str:
    if unit:
        return f"{name} ({streams.format_units(unit)})"
    return name


def _find_axis(parameter: SampleParameter) -> ParameterBins | None:
    """Find what the elements of its last dimension stand for."""
    if parameter.bins:
        return parameter.bins[-1]
    return None


def _list_axis_values(parameter: SampleParameter) -> tuple[float, ...]:
    """Give the values of its elements, where they are the same for all samples."""
    axis = _find_axis(parameter)
    if axis is None or isinstance(axis.centers, str) or isinstance(axis.ranges, str):
        return ()
    return axis.centers or tuple((low + high) / 2 for low, high in axis.ranges)


def _find_axis_column(data_set: DataSet, parameter: SampleParameter) -> str | None:
    """Name the column that has the values of its elements for each sample."""
    axis = _find_axis(parameter)
    if axis is not None and isinstance(axis.centers, str):
        name = axis.centers.lower()
    else:
        name = None
    fit = (
        candidate.name
        for candidate in data_set.parameters
        if candidate.name.lower() == name and candidate.dimensions == parameter.dimensions[-1:]
    )
    return next(fit, None)


def _build_planes(
    parameters: Sequence[SampleParameter],
    moving_axis_values: Mapping[str, tuple[float, ...]],
    *,
    is_reduced: bool = False,
) -> list[PacketPlane]:
    """Describe the variables of a packet.

    Means first, then peaks, as das2's own reducer has them, of lines the lowest values before these.
    """
    planes = []
    stems: dict[str, str] = {}
    for each in parameters:
        stem = plain = streams.make_identifier(each.name)
        while stem in stems.values():  # two names that differ in other characters
            stem = f"{plain[:50]}_{len(stems)}x"
        stems[each.name] = stem
        axis, (line_count, size) = _find_axis(each), (1, 1, *each.dimensions)[-2:]
        tags = None
        name = ""
        unit = None
        if len(each.dimensions) == 2 or each.bins or size > MAX_LINE_ELEMENTS:
            tags = moving_axis_values.get(each.name) or _list_axis_values(each) or tuple(map(float, range(1, size + 1)))
            if axis:
                name, unit = (axis.label or axis.name, axis.unit)
            else:
                name, unit = ("index", None)
        elif each.dimensions:  # of a few without bins each is a line of its own
            line_count, size = size, 1
        for at in range(line_count):
            several = (tags is None and each.dimensions) or line_count > 1
            if several:
                label = f"{each.name} {at + 1}"
            else:
                label = _format_label(each.column.label or each.name, each.column.unit)
            ending = f"_{at + 1}" if several else ""
            part = (at * size, at * size + size)
            plane_values = (each.column.unit, tags, name, unit, "", "", label, each.column.description or "")
            planes.append(PacketPlane(stem + ending, each.name, part, *plane_values))
    lines = {each.name for each in parameters if not each.dimensions}
    kinds = [[("m", "", "BIN_AVG")], [("l", ".min", "BIN_MIN"), ("h", ".max", "BIN_MAX")]]
    reduced_planes = (
        plane._replace(
            name=plane.name + ending, field=f"{letter} {plane.field}", source=plane.name, operation=operation
        )
        for kind in kinds
        for plane in planes
        for letter, ending, operation in kind
        if letter != "l" or plane.field in lines
    )
    return [*reduced_planes] if is_reduced else planes


def _read_segments(
    das2_request: _Das2Request,
    data_set: DataSet,
    parameters: Sequence[SampleParameter],
    start: int,
    stop: int,
    bin_microseconds: int | None,
) -> Iterator[Segment]:
    """Read samples, in pieces of which each has the same values of elements."""
    names = [each.name for each in parameters]
    tables = {each.name: _find_axis_column(data_set, each) for each in parameters}
    moving = sorted({table for table in tables.values() if table})
    place = (das2_request.context, das2_request.principal, data_set)

    def iterate_bins(bins: Iterable[Any], step: int) -> Iterator[tuple[Any, Any]]:
        return ((each["number"] * step + step // 2, each) for each in bins)

    if bin_microseconds is not None and not moving:
        bins = pyramids.read_bins(*place, names, start, stop, bin_microseconds, das2_request.published_state)
        yield _build_planes(parameters, {}, is_reduced=True), iterate_bins(bins, bin_microseconds)
        return
    step = bin_microseconds or 1
    low = start // step * step
    high = -(-stop // step) * step
    all_names = list(dict.fromkeys([*names, *moving]))
    if data_set.has_nanoseconds and not bin_microseconds:
        batches = series.read_nanosecond_samples(
            *place, all_names, low * 1000, high * 1000, das2_request.published_state
        )
    else:
        batches = series.read_samples(*place, all_names, low, high, das2_request.published_state)
    for axis_keys, pieces in groupby(_split_at_axis_changes(batches, moving), lambda piece: piece[0]):
        tags = {
            name: tuple(np.frombuffer(raw, np.float64).tolist()) for name, raw in zip(moving, axis_keys, strict=True)
        }
        planes = _build_planes(
            parameters,
            {name: tags[table] for name, table in tables.items() if table},
            is_reduced=bool(bin_microseconds),
        )
        parts = (batch for _, batch in pieces)
        if bin_microseconds:
            yield (
                planes,
                iterate_bins(
                    map(reductions.convert_means, reductions.reduce_samples(parts, bin_microseconds, names)),
                    bin_microseconds,
                ),
            )
        else:
            yield (
                planes,
                (
                    (each.column(0).to_numpy(), {name: reductions.to_matrix(each.column(name)) for name in names})
                    for each in parts
                ),
            )


def _split_at_axis_changes(
    batches: Iterable[pa.RecordBatch], moving_columns: Sequence[str]
) -> Iterator[tuple[tuple[bytes, ...], pa.RecordBatch]]:
    """Cut batches where the values of elements change."""
    for batch in batches:
        tables = [reductions.to_matrix(batch.column(name)).astype(np.float64) for name in moving_columns]
        changes = np.zeros(max(batch.num_rows - 1, 0), bool)
        for table in tables:
            now = table[1:]
            before = table[:-1]
            changes |= ((now != before) & ~(np.isnan(now) & np.isnan(before))).any(axis=1)
        cuts = [0, *(np.flatnonzero(changes) + 1).tolist(), batch.num_rows]
        for first, last in pairwise(cuts if batch.num_rows else ()):
            yield tuple(table[first].tobytes() for table in tables), batch.slice(first, last - first)


def _answer_catalog_node(das2_request: _Das2Request, path: str) -> Response:
    """Make a node of the federated catalogue: a directory, or a data source with what it holds."""
    path = path.strip("/").lower()
    inside: dict[str, dict[str, Any]] = {}
    parts = [""]
    depth = path.count("/") + bool(path)
    settings = das2_request.settings
    for each, data_set in das2_request.data_sets.items():
        if each.lower() == path:
            return _answer_json_template(COLLECTION_TEMPLATE, _describe_source(das2_request, data_set))
        if not path or each.lower().startswith(f"{path}/"):
            parts = each.split("/")
            below = parts[depth]
            leaf = len(parts) == depth + 1
            url = f"{das2_request.url}/catalog/{quote('/'.join(parts[: depth + 1]))}.json"
            about = (_get_title(data_set), "Collection") if leaf else (None, "Catalog")
            inside[below.lower()] = {"name": below, "title": about[0], "type": about[1], "urls": [url]}
    if path and not inside:
        raise NotFoundError("there is no such node", remedy=f"{das2_request.url}/catalog.json leads to all of them")
    if path:
        name, title = (parts[depth - 1], None)
    else:
        name, title = (settings.name, settings.title or settings.name)
    return _answer_json_template(
        CATALOG_TEMPLATE, {"name": name, "title": title, "inside": dict(sorted(inside.items()))}
    )


def _answer_source(das2_request: _Das2Request, path: str) -> Response:
    """Describe how a data source is asked over HTTP."""
    return _answer_json_template(SOURCE_TEMPLATE, _describe_source(das2_request, das2_request.require_data_set(path)))


SERVER_REQUESTS: dict[str, Callable[[_Das2Request, Mapping[str, str]], Any]] = {
    "list": _answer_list,
    "discovery": _answer_list,
    "dsdf": _answer_dsdf,
    "dataset": _answer_data,
    "peers": _answer_peers,
    "id": _answer_help,
    "logo": _answer_logo,
    "": _answer_help,
}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/das2/server``, and the catalogue's nodes."""

    async def answer_server(request: Request) -> Response:
        query_params = _parse_query(request)
        answer = SERVER_REQUESTS.get(query_params.get("server", ""))
        if answer is None:
            raise _build_param_error(
                "server", "is no kind of request", f"server= {', '.join(filter(None, SERVER_REQUESTS))}"
            )
        server_answer = await anyio.to_thread.run_sync(answer, _Das2Request(request, context), query_params)
        return (
            await series.answer_with_stream(request, *server_answer)
            if isinstance(server_answer, tuple)
            else server_answer
        )

    def create_document_endpoint(build_document: Callable[[_Das2Request, str], Response]) -> Any:
        async def answer_document(request: Request) -> Response:
            path = request.path_params.get("path", "").removesuffix(".json")
            return await anyio.to_thread.run_sync(build_document, _Das2Request(request, context), path)

        return answer_document

    def request_pyramids(published_state: PublishedState) -> None:
        data_sets = series.list_data_sets(context, ANONYMOUS_PRINCIPAL, FACE.name, published_state)
        pyramids.request_all_builds(
            context,
            data_sets.values(),
            published_state,
        )

    if not context.collections:  # a portal has no others than the site
        context.site.add_change_listener(request_pyramids)
    nodes = {
        "/das2/catalog.json": _answer_catalog_node,
        "/das2/catalog/{path:path}": _answer_catalog_node,
        "/das2/source/{path:path}": _answer_source,
    }
    route = create_route("/das2/server", answer_server, _respond_to_error)
    return [
        route,
        *(create_route(path, create_document_endpoint(make)) for path, make in nodes.items()),
    ]


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how samples are asked for."""
    usage_examples = []
    for table_series in published.table.series:
        url = f"{base_url}/das2/server?server=dataset&dataset={quote(table_series.path)}&start_time={{start}}&end_time={{end}}"
        usage_examples.append(
            UsageExample(
                title=FACE.title,
                url=f"{base_url}/das2/server?server=dsdf&dataset={quote(table_series.path)}",
                example=f"curl -o samples.d2s '{url}&resolution=60'",
            )
        )
    return usage_examples


def _build_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Describe how samples of rows are asked for that are spans of data sets."""
    resolution = Param(
        name="resolution", type=FLOAT64, unit="s", description="seconds that may lie between two samples"
    )
    return build_span_links(
        table,
        context,
        FACE.name,
        "/das2/server",
        lambda one: {"server": "dataset", "dataset": one.path},
        ("start_time", "end_time"),
        (resolution,),
        "application/vnd.das2.das2stream",
        "/das2/server?server=dsdf&",
    )


def _list_capabilities(_: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[Capability]:
    """Name its catalogue: the IVOA has no identifier for it."""
    if schema:
        return []
    return [Capability(standard_id=None, url=f"{base_url}/das2/catalog.json", interface="vr:WebBrowser")]


FACE = Face(
    name="das2",
    title="das2",
    description="Samples in time as streams of das2 2.2, reduced to the resolution asked for; for Autoplot, das2py and "
    "others.",
    applies=has_data_sets,
    missing_requirement="data sets of samples in time (`series`)",
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
    build_links=_build_links,
    list_capabilities=_list_capabilities,
)
