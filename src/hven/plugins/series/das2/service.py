"""das2 2.2: the server at ``/das2/server`` with its list, descriptions and streams, reduced to a requested resolution.

The parameter names of das2 2.3 and of later servers are accepted as well, and nodes of the federated catalogue are at
``/das2/catalog.json``. Errors are packets of the stream, as das2's own servers send them; an interval without samples
is no HTTP error.
"""

from __future__ import annotations

from functools import cached_property, partial
from itertools import groupby, islice, pairwise
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import anyio.to_thread
import numpy as np
import orjson
from starlette.responses import RedirectResponse, Response

from hven import __version__, services
from hven.formats import escape_xml
from hven.model.errors import NotFoundError, ParamError, UserError
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.plugins.series import pyramids, reductions, sample_sets
from hven.plugins.series.das2 import stream_writing as streams
from hven.plugins.series.das2.stream_writing import Das2PacketPlane, Das2StreamEncoding, Segment
from hven.plugins.series.reader_view import ReaderView
from hven.plugins.series.sample_parameters import list_bin_centers
from hven.plugins.series.span_links import build_span_links, has_data_sets_or_spans
from hven.plugins.series.table_series import list_table_series
from hven.plugins.series.time_texts import SECOND_MICROSECONDS, format_instant, parse_time_as_microseconds
from hven.services.api.responses import answer_with_stream
from hven.services.face import Capability, ServiceContext, ServiceFace, UsageExample, create_route
from hven.site import record_sent_data
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import LinkTemplate, Schema, Table
    from hven.plugins.series.sample_parameters import SampleParameter
    from hven.plugins.series.sample_sets import SampleDataSet
    from hven.site import PublishedState, PublishedTable

# names of das2 2.3, of its longer forms and of das 3.0 -> name of das2 2.2
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
MAX_LINE_ELEMENTS = 16  # elements of an array without bins that are shown as lines
WIDE_AXIS_RATIO = 30  # if the highest center is this many times the lowest, the axis is logarithmic
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
CATALOG_TEMPLATE = """\
{"type": "Catalog", "version": "0.4", "name": $name, "title": $title, "separator": "/", \
"catalog": $inside}
"""
COLLECTION_TEMPLATE = """{
  "type": "Collection", "version": "0.4", "name": $name, "title": $title, "description": $about,
  "coordinates": $axes,
  "data": $data, "tech_contacts": [{"name": $contact}],
  "sources": {"das2": {"type": "HttpStreamSrc", "convention": "das2/2.2", "name": "das2/2.2 Source", \
"urls": [$source]}}
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
          "res": {"label": "Resolution", "value": null, "set": {"param": "resolution", "required": false}, \
"units": "s"}
        },
        "validRange": [$min, $max]
      }
    },
    "data": $data,
    "examples": [{"label": "The last samples", "settings": {"coords/time/props/min": $from, \
"coords/time/props/max": $to}}],
    "formats": {
      "das": {"label": "das stream", "mimeTypes": ["application/vnd.das2.das2stream", \
"text/vnd.das2.das2stream", "application/vnd.das.stream"]}
    }
  }
}
"""
EXCEPTION_TYPES = {400: "IllegalArgument", 404: "NoSuchDataSource", 401: "Unauthorized", 403: "Forbidden"}


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Answer an error as das2 has it."""
    status = services.find_http_status(error)
    default_type = "ServerError"
    if isinstance(error, UserError):
        default_type = "IllegalArgument"
    exception_type = EXCEPTION_TYPES.get(status, default_type)
    message = services.log_error_and_write_message(error, services.get_request_id(request))
    body = streams.write_das2_exception_packet(exception_type, message, packet_kind="stream")
    headers = {
        **services.build_retry_after_header(error),
        **CACHE_HEADERS,
        "cache-control": "no-store",
        "content-type": STREAM_MEDIA_TYPE,
    }
    return Response(body, status, headers)


def _parse_das2_query_params(request: Request) -> dict[str, str]:
    """Parse a query, whose parts may be separated by semicolons; of a repeated name, the first value counts."""
    query_bytes = request.scope.get("query_string", b"")
    query_text = query_bytes.replace(b";", b"&").decode("utf-8", "replace")
    try:
        pairs = parse_qsl(query_text, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise ParamError("the address has more than 100 parameters") from None
    params = {}
    for given_name, value in reversed(pairs):
        name = PARAMETER_ALIASES.get(given_name, given_name)
        params[name] = value.strip()
    return params


class _Das2Request(sample_sets.SeriesRequest):
    face = "das2"

    def __init__(self, request: Request, context: ServiceContext) -> None:
        super().__init__(request, context)
        self.params = _parse_das2_query_params(request)
        self.url = f"{self.base_url}/das2"
        self.settings = context.site.settings

    @cached_property
    def data_sets(self) -> dict[str, SampleDataSet]:
        """The reader's data sets with streamable parameters, by path."""
        data_sets_by_path = {}
        for data_set in super().data_sets.values():
            if _list_streamable(data_set):
                data_sets_by_path[data_set.series.path] = data_set
        return data_sets_by_path

    def require_data_set(self, path: str) -> SampleDataSet:
        data_set = self.find_readable_data_set(path.strip("/").removesuffix(".dsdf"))
        if data_set is None:
            raise NotFoundError(
                "the requested data source does not exist",
                remedy=f"see the list of all data sources at {self.url}/server?server=list",
            )
        return data_set


def _is_streamable(parameter: SampleParameter) -> bool:
    """Return whether das2 has packets for a parameter: numbers, lists of numbers, and a few such lists."""
    if len(parameter.dimensions) == 2 and parameter.dimensions[0] > MAX_LINE_ELEMENTS:
        return False
    return parameter.is_numeric and len(parameter.dimensions) <= 2


def _list_streamable(data_set: SampleDataSet) -> list[SampleParameter]:
    return [parameter for parameter in data_set.parameters if _is_streamable(parameter)]


def _format_time(instant: int) -> str:
    """Write a time with as many digits as it needs."""
    text = format_instant(instant)[:-1]
    if text.endswith(".000000"):
        return text[:19]
    if text.endswith("000"):
        return text[:23]
    return text


def _format_time_range(start: int, stop: int) -> str:
    return f"{_format_time(start)} to {_format_time(stop)} UTC"


def _get_title(data_set: SampleDataSet) -> str:
    return " ".join(data_set.title.split())


def _build_source_template_values(das2_request: _Das2Request, data_set: SampleDataSet) -> dict[str, Any]:
    """Collect the values of documents that describe a data source."""
    extent = sample_sets.find_time_extent(das2_request, data_set)
    resource = data_set.published.resource
    settings = das2_request.settings
    description = data_set.description
    contact_name = None
    contact_email = None
    if resource is not None:
        description = description or resource.description
        if resource.contact is not None:
            contact_name = resource.contact.name
            contact_email = resource.contact.email
    path = quote(data_set.series.path)
    streamable = _list_streamable(data_set)
    source_values: dict[str, Any] = {
        "name": data_set.series.path.rpartition("/")[2],
        "title": _get_title(data_set),
        "about": " ".join((description or "").split()),
        "min": None,
        "max": None,
        "from": None,
        "to": None,
        "contact": contact_name or settings.contact_name or settings.title or settings.name,
        "email": contact_email or settings.contact_email or "",
        "source": f"{das2_request.url}/source/{path}.json",
        "server": f"{das2_request.url}/server?server=dataset&dataset={path}",
        "data": {parameter.name: _variable_to_json(parameter) for parameter in streamable},
        "flags": {parameter.name: {"value": parameter.name} for parameter in streamable},
    }
    if extent is not None:
        # the example has the last samples, and begins and ends with whole seconds
        stop = -(-extent.stop // SECOND_MICROSECONDS) * SECOND_MICROSECONDS
        example_span = int(EXAMPLE_SAMPLES * data_set.estimate_cadence(extent))
        example_start = (stop - example_span) // SECOND_MICROSECONDS * SECOND_MICROSECONDS
        source_values |= {
            "min": _format_time(extent.start),
            "max": _format_time(extent.stop),
            "from": _format_time(max(extent.start, example_start)),
            "to": _format_time(stop),
        }
    axes: dict[str, Any] = {
        "time": {
            "name": data_set.time.name,
            "units": "UTC",
            "valid_min": source_values["min"],
            "valid_max": source_values["max"],
        }
    }
    for plane in _build_packet_planes(streamable, {}):
        if plane.axis_values:
            axis = {"name": plane.axis_name, "units": streams.format_units(plane.axis_unit)}
            axes[plane.axis_name.lower()] = axis
    source_values["axes"] = axes
    return source_values


def _variable_to_json(parameter: SampleParameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "label": parameter.column.label or parameter.name,
        "title": parameter.column.description,
        "units": streams.format_units(parameter.column.unit),
        "props": {},
    }


def _answer_json_template(template: str, values: Mapping[str, Any]) -> Response:
    """Answer with a template in which each ``$name`` is replaced by its value as JSON."""
    json_values = {name: orjson.dumps(value).decode() for name, value in values.items()}
    body = Template(template).substitute(json_values)
    return Response(body, headers={**CACHE_HEADERS, "content-type": "application/json"})


def _answer_source_list(das2_request: _Das2Request, params: Mapping[str, str]) -> Response:
    """List directories and data sources with their titles, one a line, as das2's server does."""
    lines = set()
    for path, data_set in das2_request.data_sets.items():
        if params["server"] == "list" or sample_sets.find_time_extent(das2_request, data_set):
            lines |= {f"{path[: index + 1]}\r\n" for index, letter in enumerate(path) if letter == "/"}
            lines.add(f"{path}|{_get_title(data_set)}\r\n")
    return Response("".join(sorted(lines)), headers=TEXT_HEADERS)


def _answer_dsdf(das2_request: _Das2Request, params: Mapping[str, str]) -> Response:
    """Describe a data source as a stream that has only properties."""
    data_set = das2_request.require_data_set(params.get("dataset", ""))
    source_values = _build_source_template_values(das2_request, data_set)
    contact = source_values["contact"]
    if source_values["email"]:
        contact = f"{contact} <{source_values['email']}>"
    valid_range = ""
    example_range = ""
    if source_values["min"]:
        valid_range = f"{source_values['min']} to {source_values['max']} UTC"
        example_range = f"{source_values['from']} to {source_values['to']} UTC | the last samples"
    variables = source_values["data"]
    source_properties = {
        "description": source_values["title"],
        "title": source_values["title"],
        "das2Stream": "1",
        "server": f"{das2_request.url}/server",
        "summary": source_values["about"],
        "techContact": contact,
        "validRange": valid_range,
        "exampleRange_00": example_range,
    }
    for index, (name, variable) in enumerate(islice(variables.items(), 100)):
        source_properties[f"item_{index:02d}"] = f"{name} | {variable['title'] or name}"
    if len(variables) > 1:
        source_properties["param_00"] = (
            f"{next(iter(variables))} | names of variables, separated by commas (default: all)"
        )
    omitted_names = [parameter.name for parameter in data_set.parameters if not _is_streamable(parameter)]
    if omitted_names:
        source_properties["note"] = f"not in streams, because they are strings or tables: {', '.join(omitted_names)}"
    body = streams.write_properties_stream(source_properties)
    return Response(body, headers={**CACHE_HEADERS, "content-type": STREAM_MEDIA_TYPE})


def _answer_peers(das2_request: _Das2Request, _: Mapping[str, str]) -> Response:
    """Name the servers that this one knows: itself."""
    settings = das2_request.settings
    description = settings.description or settings.title or settings.name
    peer_values = (settings.name, f"{das2_request.url}/server", description)
    body = PEERS_TEMPLATE.format(*map(escape_xml, peer_values))
    return Response(body, headers={**CACHE_HEADERS, "content-type": "text/xml; charset=utf-8"})


def _answer_logo(das2_request: _Das2Request, _: Mapping[str, str]) -> Response:
    if not das2_request.settings.logo:
        raise NotFoundError("this site has no logo")
    return RedirectResponse(f"{das2_request.base_url}/logo", 302)


def _answer_help(das2_request: _Das2Request, params: Mapping[str, str]) -> Response:
    """Name the server, and list its requests."""
    text = f"{das2_request.settings.title or das2_request.settings.name}\r\n"
    if not params.get("server"):
        request_urls = [f"{das2_request.url}/server?server={name}\r\n" for name in SERVER_REQUESTS if name]
        text = f"das2 server of {text}\r\n{''.join(request_urls)}"
    return Response(text, headers=TEXT_HEADERS)


def _build_param_error(name: str, message: str, remedy: str) -> ParamError:
    return ParamError(f"{name!r} {message}", name=name, remedy=remedy)


def _parse_time(params: Mapping[str, str], name: str) -> int:
    """Parse a time, in ISO 8601 or with a space between date and clock."""
    text = params.get(name, "").upper().removesuffix("UTC")
    words = text.replace("T", " ").split()
    try:
        return parse_time_as_microseconds("T".join(words))
    except ValueError:
        raise _build_param_error(name, "is missing or not a time", "write 2017-01-01T10:30 or 2017-001T10:30") from None


def _parse_bin_width(params: Mapping[str, str], cadence_microseconds: float) -> int | None:
    """Parse the resolution, the seconds between two samples, and choose the width of bins for it; None for no bins."""
    text = params.get("resolution", "").lower()
    resolution_seconds = 0.0
    if text not in {"", "intrin", "intrinsic"}:
        try:
            resolution_seconds = float(text.removesuffix("s"))
        except ValueError:
            resolution_seconds = -1.0
    if not 0 <= resolution_seconds < 1e12:
        raise _build_param_error(
            "resolution", "is not a number of seconds", "write resolution=60, or leave out 'resolution'"
        )
    return reductions.choose_bin_width(int(resolution_seconds * SECOND_MICROSECONDS), cadence_microseconds)


def _choose_parameters(data_set: SampleDataSet, params: Mapping[str, str]) -> list[SampleParameter]:
    streamable = {parameter.name: parameter for parameter in _list_streamable(data_set)}
    requested_names = set(params.get("params", "").replace(",", " ").split())
    if not requested_names:
        requested_names = set(streamable)
    if not streamable.keys() >= requested_names:
        raise _build_param_error(
            "params",
            "contains parameters that this data source does not have",
            f"use only {', '.join(streamable)[:500]}",
        )
    return [parameter for name, parameter in streamable.items() if name in requested_names]


def _parse_stream_format(params: Mapping[str, str]) -> Das2StreamEncoding:
    version = params.get("format.version") or "2"
    serialization = params.get("format.serial") or "binary"
    if version not in {"2", "3", "2.2", "3.0"} or serialization not in {"binary", "text"}:
        raise _build_param_error(
            "format", "is not supported", "set format.version to 2 or 3, and format.serial to binary or text"
        )
    is_text = serialization == "text" or params.get("ascii", "").lower() in TRUE_WORDS
    wants_compression = params.get("compress", "").lower() in TRUE_WORDS
    is_compressed = wants_compression and version[0] == "2"
    return Das2StreamEncoding(int(version[0]), is_text, is_compressed)


def _answer_sample_data(
    das2_request: _Das2Request, params: Mapping[str, str]
) -> Response | tuple[Any, Mapping[str, str]]:
    data_set = das2_request.require_data_set(params.get("dataset", ""))
    if params.get("interval"):
        raise _build_param_error(
            "interval",
            "applies only to sources that compute positions, but this source has samples",
            "leave out 'interval'",
        )
    start = _parse_time(params, "start_time")
    stop = _parse_time(params, "end_time")
    extent = sample_sets.find_time_extent(das2_request, data_set)
    if start >= stop:
        raise _build_param_error("end_time", "is not after start_time", "write a later time")
    record_sent_data(rows_by_table={data_set.table.qualified_name: 0})
    parameters = _choose_parameters(data_set, params)
    stream_format = _parse_stream_format(params)
    bin_microseconds = _parse_bin_width(params, data_set.estimate_cadence(extent))
    cache_headers = das2_request.build_cache_headers(data_set, params.items())
    time_texts = [_format_time(instant).replace(":", "-") for instant in (start, stop)]
    time_labels = [time_text.removesuffix("T00-00-00") for time_text in time_texts]
    source_name = quote(data_set.series.path.rpartition("/")[2])
    file_name = f"{source_name}_{'_'.join(time_labels)}.{stream_format.extension}"
    headers = {
        **cache_headers,
        "access-control-allow-origin": "*",
        "content-type": stream_format.media_type,
        "content-disposition": f'inline; filename="{file_name}"',
    }
    if services.is_unchanged(das2_request.request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    time_range = _format_time_range(start, stop)
    properties = _build_stream_properties(das2_request, data_set, parameters, time_range, bin_microseconds)
    time_characters = stream_format.stamp
    if data_set.has_nanoseconds and not bin_microseconds:
        time_characters = data_set.time.byte_length
    full_format = stream_format._replace(properties=properties, stamp=time_characters)

    def iterate_chunks() -> Iterator[bytes]:
        segments: Iterable[Segment] = ()
        if extent is not None and start < extent.stop and stop > extent.start:
            segments = _read_axis_segments(
                das2_request, data_set, parameters, start=start, stop=stop, bin_microseconds=bin_microseconds
            )
        request_id = services.get_request_id(das2_request.request)
        write_message = partial(services.log_error_and_write_message, request_id=request_id)
        return streams.write_das2_stream(segments, full_format, f"No data in the interval {time_range}", write_message)

    return iterate_chunks, headers


def _build_stream_properties(
    das2_request: _Das2Request,
    data_set: SampleDataSet,
    parameters: Sequence[SampleParameter],
    interval: str,
    bin_microseconds: int | None,
) -> dict[str, str]:
    """Build the properties of a whole stream."""
    planes = _build_packet_planes(parameters, {})
    first_spectrum = next((plane for plane in planes if plane.axis_values), None)
    first = first_spectrum or planes[0]
    fill_letter = "z" if first_spectrum is not None else "y"
    resolution = " (Intrinsic Resolution)"
    sample_seconds = data_set.series.cadence
    cache_resolution = ""
    if bin_microseconds:
        sample_seconds = bin_microseconds / SECOND_MICROSECONDS
        resolution = f" ({_format_duration(sample_seconds)} Averages)"
        cache_resolution = f"{sample_seconds:.9g} s"
    stream_properties = {
        "title": f"{_get_title(data_set)}%{{xCacheResInfo}}",
        "summary": _build_source_template_values(das2_request, data_set)["about"],
        "xLabel": "Time (UTC)",
        "DatumRange:xCacheRange": interval,
        "sourceId": f"hven {__version__}",
        "xCacheResInfo": resolution,
        "Datum:xTagWidth": f"{sample_seconds:.9g} s" if sample_seconds else "",
        "Datum:xCacheResolution": cache_resolution,
        f"double:{fill_letter}Fill": f"{streams.FILL_VALUE:g}",
    }
    if first.axis_values:
        stream_properties |= {
            "renderer": "spectrogram",
            "yLabel": _format_label(first.axis_name, first.axis_unit),
            "zLabel": first.label,
        }
    elif len(parameters) == 1:
        stream_properties["yLabel"] = first.label
    # planes inherit the properties of the stream, so it has only the scales that all planes state
    common_scales = set.intersection(*(set(plane.scale_properties.items()) for plane in planes))
    return stream_properties | dict(sorted(common_scales))


def _format_duration(seconds: float) -> str:
    """Write a duration as das2's reducers write it."""
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


def _find_axis_column(data_set: SampleDataSet, parameter: SampleParameter) -> str | None:
    """Return the column that has the axis values of a parameter for each sample."""
    if not parameter.bins or not isinstance(parameter.bins[-1].centers, str):
        return None
    column_name = parameter.bins[-1].centers.lower()
    for candidate in data_set.parameters:
        if candidate.name.lower() == column_name and candidate.dimensions == parameter.dimensions[-1:]:
            return candidate.name
    return None


def _build_packet_planes(
    parameters: Sequence[SampleParameter],
    moving_axis_values: Mapping[str, tuple[float, ...]],
    *,
    is_reduced: bool = False,
) -> list[Das2PacketPlane]:
    """Build the planes of a packet.

    Means come first and peaks after them, as from das2's own reducer; for lines, the minima precede the peaks.
    """
    planes: list[Das2PacketPlane] = []
    identifiers: set[str] = set()
    for parameter in parameters:
        base_identifier = streams.build_das2_identifier(parameter.name)
        identifier = base_identifier
        while identifier in identifiers:  # of two names that differ in other characters
            identifier = f"{base_identifier[:50]}_{len(identifiers)}x"
        identifiers.add(identifier)
        planes += _build_parameter_planes(parameter, identifier, moving_axis_values.get(parameter.name))
    if not is_reduced:
        return planes
    line_names = {parameter.name for parameter in parameters if not parameter.dimensions}
    reduced_planes = [plane.reduce("m", "", "BIN_AVG") for plane in planes]
    for plane in planes:
        if plane.field in line_names:
            reduced_planes.append(plane.reduce("l", ".min", "BIN_MIN"))
        reduced_planes.append(plane.reduce("h", ".max", "BIN_MAX"))
    return reduced_planes


def _build_parameter_planes(
    parameter: SampleParameter, identifier: str, moving_axis_values: tuple[float, ...] | None
) -> Iterator[Das2PacketPlane]:
    """Build the planes of a parameter: one for a scalar or a spectrum, one for each line of an array."""
    column = parameter.column
    label = _format_label(column.label or parameter.name, column.unit)
    *_, line_count, element_count = (1, 1, *parameter.dimensions)
    plane = Das2PacketPlane(
        identifier,
        parameter.name,
        (0, element_count),
        column.unit,
        label=label,
        summary=column.description or "",
        scale_type=parameter.scale_type or "",
    )
    is_one_of_several = line_count > 1
    if len(parameter.dimensions) == 2 or parameter.bins or element_count > MAX_LINE_ELEMENTS:
        axis = None
        if parameter.bins:
            axis = parameter.bins[-1]
        centers = moving_axis_values or list_bin_centers(axis)
        is_wide_axis = bool(centers) and min(centers) > 0 and max(centers) > WIDE_AXIS_RATIO * min(centers)
        plane = plane._replace(
            axis_values=centers or tuple(map(float, range(1, element_count + 1))),
            axis_name=axis.label or axis.name if axis else "index",
            axis_unit=axis.unit if axis else None,
            axis_scale_type=(axis.scale_type if axis else None) or ("log" if is_wide_axis else ""),
        )
    elif parameter.dimensions:  # each of a few elements without bins is a line
        line_count, element_count = element_count, 1
        is_one_of_several = True
    if not is_one_of_several:
        yield plane
        return
    for line in range(line_count):
        yield plane._replace(
            name=f"{identifier}_{line + 1}",
            element_range=(line * element_count, (line + 1) * element_count),
            label=f"{parameter.name} {line + 1}",
        )


def _read_axis_segments(
    das2_request: _Das2Request,
    data_set: SampleDataSet,
    parameters: Sequence[SampleParameter],
    *,
    start: int,
    stop: int,
    bin_microseconds: int | None,
) -> Iterator[Segment]:
    """Read samples in segments with the same axis values."""
    names = [parameter.name for parameter in parameters]
    axis_columns = {parameter.name: _find_axis_column(data_set, parameter) for parameter in parameters}
    moving_columns = sorted({column for column in axis_columns.values() if column})
    if bin_microseconds is not None and not moving_columns:
        bins = pyramids.read_bins(
            das2_request, data_set, names, start=start, stop=stop, bin_microseconds=bin_microseconds
        )
        yield _build_packet_planes(parameters, {}, is_reduced=True), _iterate_bin_rows(bins, bin_microseconds)
        return
    step = bin_microseconds or 1
    low = start // step * step
    high = -(-stop // step) * step
    all_names = list(dict.fromkeys([*names, *moving_columns]))
    if data_set.has_nanoseconds and not bin_microseconds:
        batches = sample_sets.read_nanosecond_samples(
            das2_request, data_set, all_names, start=low * 1000, stop=high * 1000
        )
    else:
        batches = sample_sets.read_samples(das2_request, data_set, all_names, start=low, stop=high)
    segments = groupby(_split_at_axis_changes(batches, moving_columns), lambda segment: segment[0])
    for raw_axis_values, segment_batches in segments:
        values_by_column = {}
        for column, raw_values in zip(moving_columns, raw_axis_values, strict=True):
            column_values = np.frombuffer(raw_values, np.float64)
            values_by_column[column] = tuple(column_values.tolist())
        axis_values = {name: values_by_column[column] for name, column in axis_columns.items() if column}
        planes = _build_packet_planes(parameters, axis_values, is_reduced=bool(bin_microseconds))
        parts = (batch for _, batch in segment_batches)
        if bin_microseconds:
            reduced_bins = map(
                reductions.cast_means_to_value_type, reductions.reduce_samples(parts, bin_microseconds, names)
            )
            yield planes, _iterate_bin_rows(reduced_bins, bin_microseconds)
        else:
            yield planes, _iterate_sample_rows(parts, names)


def _iterate_bin_rows(bins: Iterable[Any], bin_microseconds: int) -> Iterator[tuple[Any, Any]]:
    """Iterate over bins: the times of their centers, and their values."""
    for part in bins:
        yield part["number"] * bin_microseconds + bin_microseconds // 2, part


def _iterate_sample_rows(
    batches: Iterable[pa.RecordBatch], parameter_names: Sequence[str]
) -> Iterator[tuple[Any, Any]]:
    """Iterate over samples: their times, and their values as matrices."""
    for batch in batches:
        times = batch.column(0).to_numpy()
        yield times, {name: reductions.to_matrix(batch.column(name)) for name in parameter_names}


def _split_at_axis_changes(
    batches: Iterable[pa.RecordBatch], moving_columns: Sequence[str]
) -> Iterator[tuple[tuple[bytes, ...], pa.RecordBatch]]:
    """Split batches where the axis values change."""
    for batch in batches:
        matrices = [reductions.to_matrix(batch.column(name)) for name in moving_columns]
        tables = [matrix.astype(np.float64) for matrix in matrices]
        changes = np.zeros(max(batch.num_rows - 1, 0), bool)
        for table in tables:
            after = table[1:]
            before = table[:-1]
            are_both_nan = np.isnan(after) & np.isnan(before)
            is_different = (after != before) & ~are_both_nan
            changes |= is_different.any(axis=1)
        if not batch.num_rows:
            continue
        changed_rows = np.flatnonzero(changes) + 1
        cuts = [0, *changed_rows.tolist(), batch.num_rows]
        for first, last in pairwise(cuts):
            raw_axis_values = tuple(table[first].tobytes() for table in tables)
            yield raw_axis_values, batch.slice(first, last - first)


def _answer_catalog_node(das2_request: _Das2Request, path: str) -> Response:
    """Answer with a node of the federated catalogue: a directory, or a data source with its variables."""
    path = path.strip("/").lower()
    children: dict[str, dict[str, Any]] = {}
    source_parts = [""]
    depth = path.count("/") + bool(path)
    for source_path, data_set in das2_request.data_sets.items():
        if source_path.lower() == path:
            return _answer_json_template(COLLECTION_TEMPLATE, _build_source_template_values(das2_request, data_set))
        if path and not source_path.lower().startswith(f"{path}/"):
            continue
        source_parts = source_path.split("/")
        child_name = source_parts[depth]
        child_path = "/".join(source_parts[: depth + 1])
        url = f"{das2_request.url}/catalog/{quote(child_path)}.json"
        child = {"name": child_name, "title": None, "type": "Catalog", "urls": [url]}
        if len(source_parts) == depth + 1:
            child |= {"title": _get_title(data_set), "type": "Collection"}
        children[child_name.lower()] = child
    if path and not children:
        raise NotFoundError(
            "the requested node does not exist",
            remedy=f"see {das2_request.url}/catalog.json for the links to all nodes",
        )
    values: dict[str, Any] = {"name": source_parts[depth - 1], "title": None}
    if not path:
        settings = das2_request.settings
        values = {"name": settings.name, "title": settings.title or settings.name}
    values["inside"] = dict(sorted(children.items()))
    return _answer_json_template(CATALOG_TEMPLATE, values)


def _answer_source_description(das2_request: _Das2Request, path: str) -> Response:
    """Describe how the samples of a data source are requested over HTTP."""
    data_set = das2_request.require_data_set(path)
    return _answer_json_template(SOURCE_TEMPLATE, _build_source_template_values(das2_request, data_set))


SERVER_REQUESTS: dict[str, Callable[[_Das2Request, Mapping[str, str]], Any]] = {
    "list": _answer_source_list,
    "discovery": _answer_source_list,
    "dsdf": _answer_dsdf,
    "dataset": _answer_sample_data,
    "peers": _answer_peers,
    "id": _answer_help,
    "logo": _answer_logo,
    "": _answer_help,
}


def _request_pyramids_at_changes(context: ServiceContext) -> None:
    """Let the site request the missing pyramids of public data sets each time that its published state changes."""

    def request_pyramids(published_state: PublishedState) -> None:
        view = ReaderView(context, ANONYMOUS_PRINCIPAL, published_state)
        pyramids.request_missing_pyramids(view, sample_sets.list_data_sets(view, FACE.name).values())

    context.site.add_change_listener(request_pyramids, is_first_process_only=True)


def build_das2_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of ``/das2/server`` and of the nodes of the catalogue."""

    async def answer_server(request: Request) -> Response:
        query_params = _parse_das2_query_params(request)
        answer = SERVER_REQUESTS.get(query_params.get("server", ""))
        if answer is None:
            raise _build_param_error(
                "server",
                "is not a known kind of request",
                f"write server=NAME, where NAME is one of {', '.join(filter(None, SERVER_REQUESTS))}",
            )
        server_answer = await anyio.to_thread.run_sync(answer, _Das2Request(request, context), query_params)
        if isinstance(server_answer, tuple):
            iterate_chunks, headers = server_answer
            return await answer_with_stream(request, iterate_chunks, headers)
        return server_answer  # type: ignore[no-any-return]

    def create_document_endpoint(build_document: Callable[[_Das2Request, str], Response]) -> Any:
        async def answer_document(request: Request) -> Response:
            path = request.path_params.get("path", "").removesuffix(".json")
            return await anyio.to_thread.run_sync(build_document, _Das2Request(request, context), path)

        return answer_document

    if not context.collections:  # a portal has no data sets that the site has not
        _request_pyramids_at_changes(context)
    document_builders = {
        "/das2/catalog.json": _answer_catalog_node,
        "/das2/catalog/{path:path}": _answer_catalog_node,
        "/das2/source/{path:path}": _answer_source_description,
    }
    routes = [create_route("/das2/server", answer_server, _respond_to_error)]
    for path, build_document in document_builders.items():
        routes.append(create_route(path, create_document_endpoint(build_document)))
    return routes


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how samples are requested."""
    usage_examples = []
    for time_series in list_table_series(published.table):
        server_url = f"{base_url}/das2/server"
        source_query = f"dataset={quote(time_series.path)}"
        time_query = "start_time={start}&end_time={end}"
        data_url = f"{server_url}?server=dataset&{source_query}&{time_query}&resolution=60"
        usage_example = UsageExample(
            title=FACE.title,
            url=f"{server_url}?server=dsdf&{source_query}",
            example=f"curl -o samples.d2s '{data_url}'",
        )
        usage_examples.append(usage_example)
    return usage_examples


def _build_das2_span_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Describe how the samples of rows that are time spans are requested."""
    resolution_param = Param(
        name="resolution", type=FLOAT64, unit="s", description="requested seconds between two samples"
    )
    return build_span_links(
        table,
        context,
        face=FACE.name,
        service_path="/das2/server",
        list_fixed_parameters=lambda time_series: {"server": "dataset", "dataset": time_series.path},
        time_parameters=("start_time", "end_time"),
        extra_params=(resolution_param,),
        media_type="application/vnd.das2.das2stream",
        documentation_path="/das2/server?server=dsdf&",
    )


def _list_capabilities(_: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[Capability]:
    """Describe its catalogue; the IVOA has no identifier for das2."""
    if schema:
        return []
    return [Capability(standard_id=None, url=f"{base_url}/das2/catalog.json", interface="vr:WebBrowser")]


FACE = ServiceFace(
    name="das2",
    title="das2",
    description="Time series as das2 2.2 streams, reduced to the requested resolution, for Autoplot, das2py and "
    "others.",
    applies=has_data_sets_or_spans,
    missing_requirement="time series (`series`)",
    list_usage_examples=_list_usage_examples,
    build_routes=build_das2_routes,
    build_links=_build_das2_span_links,
    list_capabilities=_list_capabilities,
)
