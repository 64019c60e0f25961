"""HAPI 3.3.1: data sets of samples in time at ``/hapi``, with their metadata, as CSV, binary or JSON.

Requests of HAPI 2 are understood, too.

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

from hven import __version__, services
from hven.model.errors import UpstreamError, UserError, format_message
from hven.model.params import Param
from hven.services import _derived_sets as derived
from hven.services import series
from hven.services._span_links import build_span_links, has_data_sets
from hven.services.face import Capability, Face, ServiceContext, UsageExample, create_route
from hven.services.faces._hapi_rows import OUTPUT_FORMATS
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import LinkTemplate, ParameterBins, Schema, Table, TimeSeries
    from hven.services.series import DataSet, SampleParameter
    from hven.site import PublishedTable

HAPI_VERSION = "3.3"
# code -> HTTP status, words (section 3.8.1)
STATUS_CODES = {
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
PARAMETER_ALIASES = {
    "id": "dataset",
    "time.min": "start",
    "time.max": "stop",
}  # of HAPI 2, which 3 must take, too (section 3.2)
ENDPOINT_PARAMETERS = {
    "about": frozenset[str](),
    "capabilities": frozenset[str](),
    "catalog": frozenset({"depth", "resolve_references"}),
    "info": frozenset({"dataset", "parameters", "resolve_references"}),
    "data": frozenset({"dataset", "parameters", "start", "stop", "include", "format"}),
}
# of coordinates, as SPASE 2.4.1 calls them: of others no schema is told
COORDINATE_SYSTEMS = frozenset(
    (
        "Carrington",
        "CGM",
        "CSO",
        "DM",
        "ECEF",
        "ENP",
        "GEI",
        "GEO",
        "GPHIO",
        "GSE",
        "GSEQ",
        "GSM",
        "HAE",
        "HCC",
        "HCI",
        "HCR",
        "HEE",
        "HEEQ",
        "HG",
        "HGI",
        "HPC",
        "HPR",
        "HSM",
        "J2000",
        "JSM",
        "JSO",
        "KSM",
        "KSO",
        "LGM",
        "MAG",
        "MFA",
        "MSO",
        "RTN",
        "SC",
        "SE",
        "SM",
        "SR",
        "SR2",
        "SSE",
        "SSE_L",
        "SpacecraftOrbitPlane",
        "WGS84",
    )
)
MILLISECOND_MICROSECONDS = 1000  # microseconds
SAMPLE_RECORDS = 50  # that are told as a sample, about
EXAMPLE_SAMPLES = 1000  # samples of an example, about
TOO_MUCH_STATUSES = (408, 413)  # of HTTP
BUSY_STATUS = 503  # of HTTP
CACHE_HEADERS = {"cache-control": "no-cache", "vary": "accept-encoding, authorization, cookie"}


class HapiError(UserError):
    """A request that HAPI has a code for."""

    def __init__(self, code: int, details: str = "") -> None:
        super().__init__(f"HAPI error {code}: {STATUS_CODES[code][1]}" + (f"; {details}" if details else ""))
        self.code = code


def _build_status(code: int, message: str = "") -> dict[str, Any]:
    return {"HAPI": HAPI_VERSION, "status": {"code": code, "message": message or STATUS_CODES[code][1]}}


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Answer an error as HAPI has it; what a reader sent is not said again (section 3.8.2)."""
    if isinstance(error, HapiError):
        return _answer_json(request, _build_status(error.code, str(error)), STATUS_CODES[error.code][0])
    status = services.find_http_status(error)
    if isinstance(error, UpstreamError):
        code = 1501
    elif status >= 500:
        code = 1500
    elif status in TOO_MUCH_STATUSES:
        code = 1408
    else:
        code = 1400
    message = (
        f"HAPI error {code}: {STATUS_CODES[code][1]}; "
        f"{services.write_error_message(error, services.get_request_id(request))}"
    )
    # who must log in, ask less often or come again is told so by HTTP; all else by the status that HAPI's code goes
    # with
    keeps_http_status = code == 1400 or (code == 1500 and status == BUSY_STATUS)
    return _answer_json(
        request,
        _build_status(code, message),
        status if keeps_http_status else STATUS_CODES[code][0],
        services.build_error_headers(error),
    )


def _build_modified_header(update_time: str) -> dict[str, str]:
    """Make the header that says when something was changed last."""
    when = datetime.fromisoformat(update_time)
    if when.tzinfo:
        when = when.astimezone(UTC)
    else:
        when = when.replace(tzinfo=UTC)
    return {"last-modified": format_datetime(when, usegmt=True)}


def _answer_json(
    request: Request, body: Mapping[str, Any], status: int = 200, extra_headers: Mapping[str, str] | None = None
) -> Response:
    headers = {**CACHE_HEADERS, "content-type": "application/json", **(extra_headers or {})}
    return services.answer_with_body(request, orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE), headers, status)


def _read_params(request: Request, endpoint: str) -> dict[str, str]:
    """Read the parameters of a request: names in small letters, as the standard has them; each once."""
    read_values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        name = PARAMETER_ALIASES.get(name, name)  # noqa: PLW2901
        if name not in ENDPOINT_PARAMETERS[endpoint]:
            known_names = ", ".join(sorted(ENDPOINT_PARAMETERS[endpoint])) or "none"
            raise HapiError(1401, f"those of {endpoint} are {known_names}")
        if name in read_values:
            raise HapiError(1400, f"{name} stands there twice")
        read_values[name] = value
    if "resolve_references" in read_values and read_values["resolve_references"] not in {"true", "false"}:
        raise HapiError(1412, "true or false")
    return read_values


def _describe_bins(bins: ParameterBins, parameter_names: set[str]) -> dict[str, Any]:
    """Describe bins; those of a column are its name, whether it is asked for or not (section 3.6.18)."""
    description: dict[str, Any] = {"name": bins.name, "units": bins.unit}
    for key, values in (("centers", bins.centers), ("ranges", bins.ranges)):
        if isinstance(values, str):
            if values in parameter_names:
                description[key] = values
            else:
                description[key] = None
        elif values:
            description[key] = [list(value) if isinstance(value, tuple) else value for value in values]
    description.setdefault("centers", None)
    if description["centers"] is not None or description.get("ranges") is None:
        description = {key: value for key, value in description.items() if key != "ranges" or value is not None}
    description |= {key: value for key, value in (("label", bins.label), ("description", bins.description)) if value}
    return description


def _describe_parameter(parameter: SampleParameter, parameter_names: set[str]) -> dict[str, Any]:
    column = parameter.column
    description: dict[str, Any] = {"name": column.name, "type": parameter.value_kind}
    if parameter.value_kind in {"string", "isotime"}:
        description["length"] = parameter.byte_length
    if parameter.dimensions:
        description["size"] = list(parameter.dimensions)
    if parameter.value_kind == "isotime":
        description["units"] = "UTC"
    else:
        description["units"] = column.unit or None
    description["fill"] = parameter.fill
    description |= {"description": column.description} if column.description else {}
    description |= {"label": column.label, "x_label": column.label} if column.label else {}
    if parameter.has_addresses:
        description["stringType"] = "uri"
    if parameter.bins:
        description["bins"] = [_describe_bins(each, parameter_names) for each in parameter.bins]
    return description


def _describe_vector(time_series: TimeSeries, parameter_description: Mapping[str, Any]) -> dict[str, Any]:
    """Say which coordinates a parameter has (section 3.6.11)."""
    system, elements = time_series.vectors.get(parameter_description["name"].lower(), ("", ()))
    size = parameter_description.get("size", [])
    elements = elements or (("x", "y", "z") if size == [3] else ())
    description: dict[str, Any] = {"coordinateSystemName": system} if system else {}
    if size == [len(elements)]:
        description["vectorComponents"] = list(elements)
    elif elements and not size:
        description["vectorComponents"] = elements[0]
    return description if system else {}


def _choose_parameters(data_set: DataSet, text: str) -> list[SampleParameter]:
    """Find the parameters that are asked for; the time need not be."""
    if not text:
        return list(data_set.parameters)
    names = {name: at for at, name in enumerate((data_set.time.name, *(each.name for each in data_set.parameters)))}
    places = []
    for name in text.split(","):
        if name not in names:
            raise HapiError(1407, f"this data set has {', '.join(names)[:500]}")
        places.append(names[name])
    if any(after <= before for before, after in pairwise(places)):
        raise HapiError(1411, f"their order is {', '.join(names)[:500]}")
    return [data_set.parameters[at - 1] for at in places if at]


def _build_info(
    data_set: DataSet, extent: series.TimeExtent, parameters: Sequence[SampleParameter], base_url: str
) -> dict[str, Any]:
    """Describe a data set (section 3.6), without HAPI's status."""
    time_series = data_set.series
    resource = data_set.published.resource
    length = data_set.time.byte_length
    parameter_names = {parameter.name for parameter in parameters}
    all_names = {parameter.name for parameter in data_set.parameters}
    listed = [_describe_parameter(parameter, all_names) for parameter in (data_set.time, *parameters)]
    for each in listed:
        colors = time_series.colors.get(each["name"].lower())
        if colors:
            each["x_colorLookup"] = dict(colors)
        each.update(_describe_vector(time_series, each))
        if data_set.derivation == derived.FILE_LISTING_KIND and each["type"] == "string":
            each["stringType"] = {"uri": {"base": f"{base_url}/collections/{quote(data_set.table.schema)}/files/"}}
        if each["name"] == data_set.stop_column:
            each["x_stopTime"] = True
    info: dict[str, Any] = {
        "parameters": listed,
        "startDate": _format_date(extent.start or 0, length),
        "stopDate": _format_date(_find_request_end(data_set, extent), length),
        "timeStampLocation": "begin"
        if data_set.stop_column and "stamp" not in time_series.places
        else time_series.stamp,
        "unitsSchema": "vounits1.1",
        "resourceURL": f"{base_url}/collections/{quote(data_set.table.schema)}#{quote(data_set.table.name)}",
        "modificationDate": _format_date(
            series.parse_microseconds(data_set.published.updated.partition("+")[0].rstrip("Z")), 20
        ),
    }
    if (
        time_series.vectors and {system for system, _ in time_series.vectors.values()} <= COORDINATE_SYSTEMS
    ):  # whichever parameters are asked for
        info["coordinateSystemSchema"] = "spase2.4.1"
    if time_series.cadence:
        info["cadence"] = derived.format_duration(time_series.cadence)
    elif extent.start is not None and extent.stop is not None:  # clients cannot tell how much to ask for
        sample_span = max((extent.stop - extent.start) * SAMPLE_RECORDS // max(extent.row_count, 1), 1000)
        end = min(extent.start + sample_span, _find_request_end(data_set, extent))
        info |= {"sampleStartDate": _format_date(extent.start, length), "sampleStopDate": _format_date(end, length)}
    if data_set.stop_column in parameter_names:
        info["x_intervalBasedRecords"] = True
    description = time_series.description or data_set.table.description or (resource.description if resource else None)
    notes = [*(f"{name} is left out: {why}" for name, why in data_set.left_out), *data_set.notes]
    if resource is not None:
        contact = resource.contact
    else:
        contact = None
    resource_info = {
        "description": description,
        "note": notes or None,
        "contact": contact.name if contact else None,
        "contactID": contact.orcid if contact else None,
        "datasetCitation": resource.citation if resource else None,
        "licenseURL": resource.licence_url if resource else None,
        "resourceID": f"doi:{resource.doi}" if resource and resource.doi else None,
    }
    return info | {key: value for key, value in resource_info.items() if value}


def _find_request_end(data_set: DataSet, extent: series.TimeExtent) -> int:
    """Find until when a data set may be asked for: of live ones beyond what there is (section 3.8.1, of 1405).

    Without a cadence, the end is the microsecond behind the last sample: it is rounded up to a millisecond, so that
    clients whose times have no more digits (JavaScript) and ask until then get that sample, too.
    """
    stop = extent.stop or 1
    if not data_set.series.cadence:
        stop = -(-stop // MILLISECOND_MICROSECONDS) * MILLISECOND_MICROSECONDS
    return stop + (round(data_set.series.ahead * 1_000_000) if data_set.series.ahead and extent.stop else 0)


def _format_date(instant: int, text_length: int) -> str:
    written = series.format_instant(instant)[:-1] + "000"
    if text_length > 20:
        return written[: text_length - 1] + "Z"
    return written[:19] + "Z"


class _HapiRequest(series.SeriesRequest):
    face = "hapi"

    def find_update_time(self) -> str:
        return max(
            (data_set.published.updated for data_set in self.data_sets.values()),
            default=self.context.start_time.isoformat(),
        )

    def list_data_sets(self) -> dict[str, DataSet]:
        """Find the reader's data sets, and those that are made of them."""
        data_sets = super().list_data_sets()
        return derived.add_derived_sets(self.context, self.principal, data_sets, self.published_state)

    def find_time_extent(self, data_set: DataSet) -> series.TimeExtent:
        """Find from when to when the reader has samples."""
        base_extent = super().find_time_extent(data_set.base_set or data_set)
        if data_set.base_set is None:
            return base_extent
        return derived.derive_time_extent(data_set, base_extent)

    def build_info(self, data_set: DataSet, parameters: Sequence[SampleParameter]) -> dict[str, Any]:
        """Describe a data set, with what is made of it."""
        info = _build_info(data_set, self.find_time_extent(data_set), parameters, self.base_url)
        return info | derived.describe_relations(data_set, self.data_sets)

    def require_data_set(self, params: Mapping[str, str]) -> DataSet:
        if "dataset" not in params:
            raise HapiError(1400, "dataset is missing; the catalog lists them")
        data_set = self.find_data_set(params["dataset"])
        if data_set is None:
            raise HapiError(1406, "the catalog lists them")
        return data_set


def _build_about(hapi_request: _HapiRequest) -> Mapping[str, Any]:
    settings = hapi_request.context.site.settings
    contact = settings.contact_email or settings.contact_name or "not said"
    return {
        **_build_status(1200),
        "id": settings.authority or settings.name,
        "title": settings.title or settings.name,
        "contact": contact,
        "description": settings.description or f"Hven {__version__} at {hapi_request.base_url}",
    }


def _build_capabilities(_: _HapiRequest) -> Mapping[str, Any]:
    return {**_build_status(1200), "outputFormats": list(OUTPUT_FORMATS), "catalogDepthOptions": ["dataset", "all"]}


def _build_catalog(hapi_request: _HapiRequest) -> Mapping[str, Any]:
    params = _read_params(hapi_request.request, "catalog")
    depth = params.get("depth", "dataset")
    if depth not in {"dataset", "all"}:
        raise HapiError(1413, "dataset or all")
    listed = []
    for data_set in hapi_request.data_sets.values():
        item: dict[str, Any] = {
            "id": data_set.id,
            "title": data_set.series.title or data_set.table.title or data_set.id,
        }
        if depth == "all":
            item["info"] = hapi_request.build_info(data_set, data_set.parameters)
        listed.append(item)
    return {**_build_status(1200), "catalog": listed}


def _build_info_document(hapi_request: _HapiRequest) -> Mapping[str, Any]:
    params = _read_params(hapi_request.request, "info")
    data_set = hapi_request.require_data_set(params)
    return {
        **_build_status(1200),
        **hapi_request.build_info(data_set, _choose_parameters(data_set, params.get("parameters", ""))),
    }


def _parse_time(params: Mapping[str, str], name: str, code: int) -> int:
    if name not in params:
        raise HapiError(1400, f"{name} is missing")
    try:
        return series.parse_nanoseconds(params[name])
    except ValueError:
        raise HapiError(code, "write 2003-05-21T10:30:00Z or 2003-141T10:30Z") from None


def _list_page_data_sets(hapi_request: _HapiRequest) -> list[dict[str, Any]]:
    """List the data sets for people: each with a day of samples, or less, to try."""
    page_items = []
    for data_set in (data_set for data_set in hapi_request.data_sets.values() if data_set.base_set is None):
        span = hapi_request.find_time_extent(data_set)
        length = data_set.time.byte_length
        item = {
            "id": data_set.id,
            "title": data_set.series.title or data_set.table.title or data_set.id,
            "table": data_set.table,
            "start": "",
            "stop": "",
            "example": "",
            "parameters": [
                {"name": each.name, "unit": each.column.unit, "description": each.column.description}
                for each in data_set.parameters
            ],
        }
        if span.start is not None and span.stop is not None:
            example_span = max(
                min(span.stop - span.start, (span.stop - span.start) * EXAMPLE_SAMPLES // max(span.row_count, 1)), 1
            )
            begin = _format_date(span.stop - example_span, length)
            end = _format_date(_find_request_end(data_set, span), length)
            item |= {"start": _format_date(span.start, length), "stop": end, "from": begin, "to": end}
            item["example"] = urlencode({"dataset": data_set.id, "start": begin, "stop": end})
        page_items.append(item)
    return page_items


async def _answer_data(hapi_request: _HapiRequest) -> Response:
    params = _read_params(hapi_request.request, "data")
    data_set: DataSet = await anyio.to_thread.run_sync(hapi_request.require_data_set, params)
    chosen = _choose_parameters(data_set, params.get("parameters", ""))
    began = _parse_time(params, "start", 1402)
    ended = _parse_time(params, "stop", 1403)
    # a sample at the microsecond before is not behind what is asked for
    start = -(-began // 1000)
    stop = -(-ended // 1000)
    if began >= ended:
        raise HapiError(1404)
    if params.get("include", "header") != "header":
        raise HapiError(1410, "header")
    kind = params.get("format", "csv")
    if kind not in OUTPUT_FORMATS:
        raise HapiError(1409, ", ".join(OUTPUT_FORMATS))
    span: series.TimeExtent = await anyio.to_thread.run_sync(hapi_request.find_time_extent, data_set)
    first = span.start or 0
    last = _find_request_end(data_set, span)
    if span.start is not None and (began < first * 1000 or ended > last * 1000):
        raise HapiError(
            1405,
            f"this data set has {_format_date(first, data_set.time.byte_length)} to "
            f"{_format_date(last, data_set.time.byte_length)}",
        )
    etag = services.compute_etag(
        __version__,
        hapi_request.published_state.version,
        hapi_request.access_key,
        hapi_request.base_url,
        data_set.change_token,
        *sorted(params.items()),
    )
    is_public = hapi_request.access_key == "public" and hapi_request.principal.is_anonymous
    headers = services.build_cache_headers(
        etag,
        is_public=is_public,
    )
    media_type, write = OUTPUT_FORMATS[kind]
    table = data_set.table.qualified_name
    record_sent_data(rows_by_table={table: 0})
    if services.is_unchanged(hapi_request.request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    headers["content-type"] = media_type
    headers["content-disposition"] = f'inline; filename="{quote(data_set.id)}.{ {"binary": "bin"}.get(kind, kind) }"'
    if hapi_request.request.method == "HEAD":  # which reads nothing
        return Response(None, 200, headers)
    place = (hapi_request.context, hapi_request.principal, data_set, [each.name for each in chosen])
    if data_set.base_set is None and data_set.has_nanoseconds:
        batches = series.read_nanosecond_samples(*place, began, ended, hapi_request.published_state)
    else:
        batches = (series.read_samples if data_set.base_set is None else derived.read_derived_set)(
            *place, start, stop, hapi_request.published_state
        )
    before = await anyio.to_thread.run_sync(next, batches, None)
    head = None
    if "include" in params or kind == "json":
        status = _build_status(1200 if before is not None else 1201)
        info = hapi_request.build_info(data_set, chosen)
        head = {
            **status,
            **info,
            "format": kind,
        }

    def iterate_chunks() -> Any:
        def count_batches() -> Any:
            for batch in itertools.chain([] if before is None else [before], batches):
                record_sent_data(rows_by_table={table: batch.num_rows})
                yield batch

        return write(count_batches(), [data_set.time, *chosen], head)

    return await series.answer_with_stream(hapi_request.request, iterate_chunks, headers)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/hapi`` with its five endpoints; of others, and other methods, HAPI's words."""

    async def answer_document(request: Request, build_document: Any, endpoint: str) -> Response:
        _read_params(request, endpoint)
        hapi_request = _HapiRequest(request, context)
        body, updated = await anyio.to_thread.run_sync(
            lambda: (build_document(hapi_request), hapi_request.find_update_time())
        )
        return _answer_json(request, body, extra_headers=_build_modified_header(updated))

    async def answer_data(request: Request) -> Response:
        return await _answer_data(_HapiRequest(request, context))

    async def answer_front_page(request: Request) -> Response:
        page = next(
            (face.page_writers[FACE.name] for face in context.faces.values() if FACE.name in face.page_writers), None
        )
        hapi_request = _HapiRequest(request, context)
        if page is None or "json" in request.headers.get("accept", ""):
            return _answer_json(request, _build_about(hapi_request))
        page_items = await anyio.to_thread.run_sync(_list_page_data_sets, hapi_request)
        return page(request, context, {"base": f"{hapi_request.base_url}/hapi", "sets": page_items})

    async def refuse_unknown_endpoint(_: Request) -> Response:
        raise HapiError(1400, f"the endpoints are {', '.join(ENDPOINT_PARAMETERS)}")

    document_builders = {
        "about": _build_about,
        "capabilities": _build_capabilities,
        "catalog": _build_catalog,
        "info": _build_info_document,
    }
    endpoints_by_name = {
        name: partial(answer_document, build_document=make, endpoint=name) for name, make in document_builders.items()
    }
    route = create_route("/hapi/data", answer_data, _respond_to_error)
    return [
        *(create_route(f"/hapi/{name}", call, _respond_to_error) for name, call in endpoints_by_name.items()),
        route,
        create_route("/hapi", answer_front_page, _respond_to_error),
        create_route("/hapi/", answer_front_page, _respond_to_error),
        create_route("/hapi/{path:path}", refuse_unknown_endpoint, _respond_to_error),
    ]


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how samples are asked for."""
    usage_examples = []
    for table_series in published.table.series:
        python = (
            f'from hapiclient import hapi\n\ndata, meta = hapi("{base_url}/hapi", "{table_series.id}", "", '
            f'"{{start}}", "{{stop}}")\nprint(data)'
        )
        title = format_message("Samples of {name} in Python", table_series.id)
        usage_examples.append(
            UsageExample(
                title=title,
                url=f"{base_url}/hapi/info?dataset={table_series.id}",
                language="python",
                example=python,
            )
        )
    return usage_examples


def _build_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Describe how samples of rows are asked for that are spans of data sets."""
    kinds = Param(name="format", allowed=tuple(OUTPUT_FORMATS), default="csv", description="how they are written")
    return build_span_links(
        table,
        context,
        FACE.name,
        "/hapi/data",
        lambda one: {"dataset": one.id},
        ("start", "stop"),
        (kinds,),
        "text/csv",
        "/hapi/info?",
    )


def _list_capabilities(_: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[Capability]:
    """Name its page: the IVOA has no identifier for it."""
    if schema:
        return []
    return [Capability(standard_id=None, url=f"{base_url}/hapi", interface="vr:WebBrowser")]


FACE = Face(
    name="hapi",
    title="HAPI",
    description="Samples in time, for clients of heliophysics: HAPI 3.3.",
    applies=has_data_sets,
    missing_requirement="data sets of samples in time (`series`)",
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
    build_links=_build_links,
    list_capabilities=_list_capabilities,
)
