"""HAPI 3.3.1: data sets of samples in time at ``/hapi``, with their metadata, as CSV, binary or JSON.

Requests of HAPI 2 are accepted, too. Errors are HAPI's own documents (section 3.8); an error after the first bytes of
the data breaks the connection, because no format can report it.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import __version__, services
from hven.model.errors import UpstreamError, UserError, format_message
from hven.model.params import Param
from hven.plugins.series import sample_sets
from hven.plugins.series.hapi import derived_sets as derived
from hven.plugins.series.hapi.output_rows import OUTPUT_FORMATS
from hven.plugins.series.span_links import build_span_links, has_data_sets_or_spans
from hven.plugins.series.table_series import list_table_series
from hven.plugins.series.time_texts import (
    SECOND_MICROSECONDS,
    format_duration,
    format_instant,
    parse_time_as_microseconds,
    parse_time_as_nanoseconds,
)
from hven.services.api.responses import answer_with_stream
from hven.services.face import Capability, ServiceContext, ServiceFace, UsageExample, create_route
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import LinkTemplate, ParameterBins, Schema, Table, TimeSeriesSpec
    from hven.plugins.series.sample_parameters import SampleParameter
    from hven.plugins.series.sample_sets import SampleDataSet, TimeExtent
    from hven.site import PublishedTable

HAPI_VERSION = "3.3"
# code, HTTP status and text (section 3.8.1)
_STATUS_LINES = """
1200 200 OK
1201 200 OK - no data for time range
1400 400 Bad request - user input error
1401 400 Bad request - unknown API parameter name
1402 400 Bad request - syntax error in start time
1403 400 Bad request - syntax error in stop time
1404 400 Bad request - start equal to or after stop
1405 400 Bad request - start < startDate and/or stop > stopDate
1406 404 Bad request - unknown dataset id
1407 404 Bad request - unknown dataset parameter
1408 400 Bad request - too much time or data requested
1409 400 Bad request - unsupported output format
1410 400 Bad request - unsupported include value
1411 400 Bad request - out-of-order or duplicate parameters
1412 400 Bad request - unsupported resolve_references value
1413 400 Bad request - unsupported depth value
1500 500 Internal server error
1501 500 Internal server error - upstream request error
"""
STATUS_CODES = {
    int(code): (int(http_status), text)
    for code, http_status, text in (line.split(" ", 2) for line in _STATUS_LINES.strip().splitlines())
}
# HTTP status -> code. HAPI has no codes for requests without a fault that this user may not send now. Servers may add
# codes outside of HAPI's ranges (HAPI 3.3.1, section 4.2).
OWN_STATUS_CODES = {401: 2401, 403: 2403, 429: 2429}
STATUS_CODES |= {code: (status, HTTPStatus(status).phrase) for status, code in OWN_STATUS_CODES.items()}
# names of HAPI 2, which HAPI 3 must accept, too (section 3.2)
PARAMETER_ALIASES = {
    "id": "dataset",
    "time.min": "start",
    "time.max": "stop",
}
ENDPOINT_PARAMETERS = {
    "about": frozenset[str](),
    "capabilities": frozenset[str](),
    "catalog": frozenset({"depth", "resolve_references"}),
    "info": frozenset({"dataset", "parameters", "resolve_references"}),
    "data": frozenset({"dataset", "parameters", "start", "stop", "include", "format"}),
}
# coordinate systems in SPASE 2.4.1; where a data set has others, no schema is named
SPASE_SYSTEM_NAMES = """
Carrington CGM CSO DM ECEF ENP GEI GEO GPHIO GSE GSEQ GSM HAE HCC HCI HCR HEE HEEQ HG HGI HPC HPR HSM J2000 JSM JSO KSM
KSO LGM MAG MFA MSO RTN SC SE SM SR SR2 SSE SSE_L SpacecraftOrbitPlane WGS84
"""
MILLISECOND_MICROSECONDS = 1000
SAMPLE_RECORDS = 50  # records between the sample dates, about
EXAMPLE_SAMPLES = 1000  # samples of an example, about
TOO_MUCH_STATUSES = (408, 413)  # HTTP
BUSY_STATUS = 503  # HTTP
CACHE_HEADERS = {"cache-control": "no-cache", "vary": "accept-encoding, authorization, cookie"}


class HapiError(UserError):
    """A request for which HAPI has an error code."""

    def __init__(self, code: int, details: str = "") -> None:
        message = f"HAPI error {code}: {STATUS_CODES[code][1]}"
        if details:
            message += f"; {details}"
        super().__init__(message)
        self.code = code


def _build_status(code: int, message: str = "") -> dict[str, Any]:
    return {"HAPI": HAPI_VERSION, "status": {"code": code, "message": message or STATUS_CODES[code][1]}}


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Answer an error as HAPI has it; the message does not repeat the request (section 3.8.2)."""
    if isinstance(error, HapiError):
        return _answer_json(request, _build_status(error.code, str(error)), STATUS_CODES[error.code][0])
    status = services.find_http_status(error)
    if isinstance(error, UpstreamError):
        code = 1501
    elif status >= 500:
        code = 1500
    elif status in TOO_MUCH_STATUSES:
        code = 1408
    elif status in OWN_STATUS_CODES:
        code = OWN_STATUS_CODES[status]
    else:
        code = 1400
    code_status, code_text = STATUS_CODES[code]
    error_message = services.log_error_and_write_message(error, services.get_request_id(request))
    body = _build_status(code, f"HAPI error {code}: {code_text}; {error_message}")
    # HTTP's own status tells clients to log in, to slow down or to come again; otherwise it is that of HAPI's code
    is_busy = code == 1500 and status == BUSY_STATUS
    http_status = status if code == 1400 or is_busy else code_status
    return _answer_json(request, body, http_status, services.build_retry_after_header(error))


def _build_modified_header(update_time: str) -> dict[str, str]:
    """Build the Last-Modified header."""
    time = datetime.fromisoformat(update_time)
    if time.tzinfo:
        utc_time = time.astimezone(UTC)
    else:
        utc_time = time.replace(tzinfo=UTC)
    return {"last-modified": format_datetime(utc_time, usegmt=True)}


def _answer_json(
    request: Request, body: Mapping[str, Any], status: int = 200, extra_headers: Mapping[str, str] | None = None
) -> Response:
    headers = {**CACHE_HEADERS, "content-type": "application/json", **(extra_headers or {})}
    return services.answer_with_body(request, orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE), headers, status)


def _read_params(request: Request, endpoint: str) -> dict[str, str]:
    """Read the parameters of a request: lower-case names, as the standard has them, each at most once."""
    read_values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        name = PARAMETER_ALIASES.get(name, name)  # noqa: PLW2901
        if name not in ENDPOINT_PARAMETERS[endpoint]:
            known_names = ", ".join(sorted(ENDPOINT_PARAMETERS[endpoint])) or "none"
            raise HapiError(1401, f"the parameters of {endpoint} are {known_names}")
        if name in read_values:
            raise HapiError(1400, f"{name!r} is given twice")
        read_values[name] = value
    if "resolve_references" in read_values and read_values["resolve_references"] not in {"true", "false"}:
        raise HapiError(1412, "write true or false")
    return read_values


def _describe_bins(bins: ParameterBins, parameter_names: set[str]) -> dict[str, Any]:
    """Describe bins; those with a parameter's values have its name, whether it is requested or not (section 3.6.18)."""
    description: dict[str, Any] = {"name": bins.name, "units": bins.unit}
    for key, values in (("centers", bins.centers), ("ranges", bins.ranges)):
        if isinstance(values, str):
            description[key] = values if values in parameter_names else None
        elif values:
            description[key] = [list(value) if isinstance(value, tuple) else value for value in values]
    description.setdefault("centers", None)
    if description.get("ranges") is None:
        description.pop("ranges", None)
    texts = {"label": bins.label, "description": bins.description}
    return description | {key: text for key, text in texts.items() if text}


def _describe_parameter(parameter: SampleParameter, parameter_names: set[str]) -> dict[str, Any]:
    column = parameter.column
    description: dict[str, Any] = {"name": column.name, "type": parameter.value_kind}
    if parameter.byte_length:
        description["length"] = parameter.byte_length
    if parameter.dimensions:
        description["size"] = list(parameter.dimensions)
    description["units"] = "UTC" if parameter.value_kind == "isotime" else column.unit or None
    description["fill"] = parameter.fill
    if column.description:
        description["description"] = column.description
    if column.label:
        description |= {"label": column.label, "x_label": column.label}
    if parameter.has_url_values:
        description["stringType"] = "uri"
    if parameter.bins:
        description["bins"] = [_describe_bins(bins, parameter_names) for bins in parameter.bins]
    return description


def _describe_vector_components(
    time_series: TimeSeriesSpec, parameter_description: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe the coordinates of a parameter (section 3.6.11)."""
    system, elements = time_series.vectors.get(parameter_description["name"].lower(), ("", ()))
    if not system:
        return {}
    size = parameter_description.get("size", [])
    if not elements and size == [3]:
        elements = ("x", "y", "z")
    description: dict[str, Any] = {"coordinateSystemName": system}
    if size == [len(elements)]:
        description["vectorComponents"] = list(elements)
    elif elements and not size:
        description["vectorComponents"] = elements[0]
    return description


def _build_data_set_info(
    data_set: SampleDataSet, extent: TimeExtent | None, parameters: Sequence[SampleParameter], base_url: str
) -> dict[str, Any]:
    """Describe a data set (section 3.6), without the status of HAPI."""
    time_series = data_set.series
    collection_url = f"{base_url}/collections/{quote(data_set.table.schema)}"
    time_length = data_set.time.byte_length
    all_names = {parameter.name for parameter in data_set.parameters}
    descriptions = [_describe_parameter(parameter, all_names) for parameter in (data_set.time, *parameters)]
    for description in descriptions:
        colors = time_series.colors.get(description["name"].lower())
        if colors:
            description["x_colorLookup"] = dict(colors)
        description.update(_describe_vector_components(time_series, description))
        if data_set.derivation == derived.FILE_LISTING_KIND and description["type"] == "string":
            description["stringType"] = {"uri": {"base": f"{collection_url}/files/"}}
        if description["name"] == data_set.stop_column:
            description["x_stopTime"] = True
    stamp_location = time_series.stamp
    if data_set.stop_column and "stamp" not in time_series.places:
        stamp_location = "begin"
    updated = parse_time_as_microseconds(data_set.published.updated.partition("+")[0].rstrip("Z"))
    info: dict[str, Any] = {
        "parameters": descriptions,
        "startDate": _format_date(extent.start if extent else 0, time_length),
        "stopDate": _format_date(_find_latest_requestable_time(data_set, extent), time_length),
        "timeStampLocation": stamp_location,
        "unitsSchema": "vounits1.1",
        "resourceURL": f"{collection_url}#{quote(data_set.table.name)}",
        "modificationDate": _format_date(updated, 20),
    }
    # for all parameters, also where only some are requested
    coordinate_systems = {system for system, _ in time_series.vectors.values()}
    if coordinate_systems and coordinate_systems <= set(SPASE_SYSTEM_NAMES.split()):
        info["coordinateSystemSchema"] = "spase2.4.1"
    if time_series.cadence:
        info["cadence"] = format_duration(time_series.cadence)
    elif extent is not None:  # clients cannot estimate how much to request
        sample_span = extent.span * SAMPLE_RECORDS // max(extent.row_count, 1)
        sample_stop = min(extent.start + max(sample_span, 1000), _find_latest_requestable_time(data_set, extent))
        info["sampleStartDate"] = _format_date(extent.start, time_length)
        info["sampleStopDate"] = _format_date(sample_stop, time_length)
    if data_set.stop_column in {parameter.name for parameter in parameters}:
        info["x_intervalBasedRecords"] = True
    return info | _describe_data_set_collection(data_set)


def _describe_data_set_collection(data_set: SampleDataSet) -> dict[str, Any]:
    """Describe the collection of a data set: description, notes, contact, citation and licence."""
    resource = data_set.published.resource
    notes = [f"{name} is left out: {reason}" for name, reason in data_set.left_out]
    notes += data_set.notes
    facts: dict[str, Any] = {
        "description": data_set.description,
        "note": notes,
    }
    if resource is not None:
        facts["description"] = facts["description"] or resource.description
        if resource.contact is not None:
            facts |= {"contact": resource.contact.name, "contactID": resource.contact.orcid}
        facts |= {"datasetCitation": resource.citation, "licenseURL": resource.licence_url}
        if resource.doi:
            facts["resourceID"] = f"doi:{resource.doi}"
    return {key: value for key, value in facts.items() if value}


def _find_latest_requestable_time(data_set: SampleDataSet, extent: TimeExtent | None) -> int:
    """Find the end of the time that may be requested; live data sets allow times after the last sample (3.8.1, 1405).

    Without a cadence, the end is the microsecond after the last sample. It is rounded up to a millisecond, so that
    clients whose times have no more digits (JavaScript) get that sample when they request all of it.
    """
    end = extent.stop if extent else 1
    if not data_set.series.cadence:
        end = -(-end // MILLISECOND_MICROSECONDS) * MILLISECOND_MICROSECONDS
    if data_set.series.ahead and extent:
        end += round(data_set.series.ahead * SECOND_MICROSECONDS)
    return end


def _format_date(instant: int, text_length: int) -> str:
    text = format_instant(instant)[:-1] + "000"
    if text_length > 20:
        return text[: text_length - 1] + "Z"
    return text[:19] + "Z"


class _HapiRequest(sample_sets.SeriesRequest):
    face = "hapi"

    def __init__(self, request: Request, context: ServiceContext, endpoint: str = "") -> None:
        if endpoint:
            self.params = _read_params(request, endpoint)
        else:
            self.params = {}
        super().__init__(request, context)

    def find_update_time(self) -> str:
        updates = (data_set.published.updated for data_set in self.data_sets.values())
        return max(updates, default=self.context.start_time.isoformat())

    def list_data_sets(self) -> dict[str, SampleDataSet]:
        """List the reader's data sets, and those that are derived from them."""
        return derived.with_derived_sets(self, super().list_data_sets())

    def build_data_set_info(self, data_set: SampleDataSet, parameters: Sequence[SampleParameter]) -> dict[str, Any]:
        """Describe a data set, with those that are derived from it."""
        extent = sample_sets.find_time_extent(self, data_set)
        info = _build_data_set_info(data_set, extent, parameters, self.base_url)
        return info | derived.describe_data_set_relations(data_set, self.data_sets)

    def require_data_set(self) -> SampleDataSet:
        if "dataset" not in self.params:
            raise HapiError(1400, "'dataset' is missing; see the list of data sets in the catalog")
        name = self.params["dataset"]
        data_set = self.find_readable_data_set(name) or derived.find_computed_set(self, self.data_sets, name)
        if data_set is None:
            raise HapiError(1406, "see the list of data sets in the catalog")
        return data_set

    def choose_parameters(self, data_set: SampleDataSet) -> list[SampleParameter]:
        """Choose the requested parameters; the time may be omitted."""
        parameter_list = self.params.get("parameters")
        if not parameter_list:
            return list(data_set.parameters)
        all_names = [data_set.time.name, *(parameter.name for parameter in data_set.parameters)]
        index_by_name = {name: index for index, name in enumerate(all_names)}
        indexes = []
        for name in parameter_list.split(","):
            if name not in index_by_name:
                raise HapiError(1407, f"the parameters of this data set are {', '.join(index_by_name)[:500]}")
            indexes.append(index_by_name[name])
        if any(after <= before for before, after in pairwise(indexes)):
            raise HapiError(1411, f"write the parameters in this order: {', '.join(index_by_name)[:500]}")
        return [data_set.parameters[index - 1] for index in indexes if index]

    def parse_time(self, name: str, code: int) -> int:
        """Parse a time in nanoseconds."""
        if name not in self.params:
            raise HapiError(1400, f"{name!r} is missing")
        try:
            return parse_time_as_nanoseconds(self.params[name])
        except ValueError:
            raise HapiError(code, "write a time such as 2003-05-21T10:30:00Z or 2003-141T10:30Z") from None


def _build_about_document(hapi_request: _HapiRequest) -> Mapping[str, Any]:
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
    depth = hapi_request.params.get("depth", "dataset")
    if depth not in {"dataset", "all"}:
        raise HapiError(1413, "write depth=dataset or depth=all")
    items = []
    for data_set in hapi_request.data_sets.values():
        item: dict[str, Any] = {"id": data_set.id, "title": data_set.title}
        if depth == "all":
            item["info"] = hapi_request.build_data_set_info(data_set, data_set.parameters)
        items.append(item)
    return {**_build_status(1200), "catalog": items}


def _build_info_document(hapi_request: _HapiRequest) -> Mapping[str, Any]:
    data_set = hapi_request.require_data_set()
    parameters = hapi_request.choose_parameters(data_set)
    return {**_build_status(1200), **hapi_request.build_data_set_info(data_set, parameters)}


def _describe_data_sets_for_page(hapi_request: _HapiRequest) -> list[dict[str, Any]]:
    """List the data sets for the page, each with an example of about a thousand samples."""
    page_items = []
    for data_set in hapi_request.data_sets.values():
        if data_set.base_set is not None:
            continue
        extent = sample_sets.find_time_extent(hapi_request, data_set)
        time_length = data_set.time.byte_length
        item = {
            "id": data_set.id,
            "title": data_set.title,
            "table": data_set.table,
            "start": "",
            "stop": "",
            "example": "",
            "parameters": [
                {"name": parameter.name, "unit": parameter.column.unit, "description": parameter.column.description}
                for parameter in data_set.parameters
            ],
        }
        if extent is not None:
            example_span = min(extent.span, extent.span * EXAMPLE_SAMPLES // max(extent.row_count, 1))
            begin = _format_date(extent.stop - max(example_span, 1), time_length)
            end = _format_date(_find_latest_requestable_time(data_set, extent), time_length)
            item |= {"start": _format_date(extent.start, time_length), "stop": end, "from": begin, "to": end}
            item["example"] = urlencode({"dataset": data_set.id, "start": begin, "stop": end})
        page_items.append(item)
    return page_items


async def _answer_sample_data(hapi_request: _HapiRequest) -> Response:
    params = hapi_request.params
    data_set: SampleDataSet = await anyio.to_thread.run_sync(hapi_request.require_data_set)
    chosen = hapi_request.choose_parameters(data_set)
    start_nanoseconds = hapi_request.parse_time("start", 1402)
    stop_nanoseconds = hapi_request.parse_time("stop", 1403)
    if start_nanoseconds >= stop_nanoseconds:
        raise HapiError(1404)
    if params.get("include", "header") != "header":
        raise HapiError(1410, "write include=header, or leave it out")
    output_format = params.get("format", "csv")
    if output_format not in OUTPUT_FORMATS:
        raise HapiError(1409, f"the formats are {', '.join(OUTPUT_FORMATS)}")
    extent = await anyio.to_thread.run_sync(sample_sets.find_time_extent, hapi_request, data_set)
    if extent is not None:
        _check_time_range(data_set, extent, start_nanoseconds, stop_nanoseconds)
    headers = hapi_request.build_cache_headers(data_set, params.items())
    table_name = data_set.table.qualified_name
    record_sent_data(rows_by_table={table_name: 0})
    if services.is_unchanged(hapi_request.request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    media_type, write_samples = OUTPUT_FORMATS[output_format]
    extension = "bin" if output_format == "binary" else output_format
    headers["content-type"] = media_type
    headers["content-disposition"] = f'inline; filename="{quote(data_set.id)}.{extension}"'
    if hapi_request.request.method == "HEAD":  # no samples are read
        return Response(None, 200, headers)
    batches = _read_samples(hapi_request, data_set, chosen, start_nanoseconds, stop_nanoseconds)
    first_batch = await anyio.to_thread.run_sync(next, batches, None)
    header = None
    if "include" in params or output_format == "json":
        status = _build_status(1200 if first_batch is not None else 1201)
        header = {**status, **hapi_request.build_data_set_info(data_set, chosen), "format": output_format}

    def count_batches() -> Iterator[pa.RecordBatch]:
        first_batches = []
        if first_batch is not None:
            first_batches = [first_batch]
        for batch in itertools.chain(first_batches, batches):
            record_sent_data(rows_by_table={table_name: batch.num_rows})
            yield batch

    def iterate_chunks() -> Iterator[bytes]:
        return write_samples(count_batches(), [data_set.time, *chosen], header)

    return await answer_with_stream(hapi_request.request, iterate_chunks, headers)


def _check_time_range(data_set: SampleDataSet, extent: TimeExtent, start: int, stop: int) -> None:
    """Check that a data set covers a time range, in nanoseconds."""
    last = _find_latest_requestable_time(data_set, extent)
    if start < extent.start * 1000 or stop > last * 1000:
        first_date = _format_date(extent.start, data_set.time.byte_length)
        last_date = _format_date(last, data_set.time.byte_length)
        raise HapiError(1405, f"this data set covers {first_date} to {last_date}")


def _read_samples(
    hapi_request: _HapiRequest,
    data_set: SampleDataSet,
    parameters: Sequence[SampleParameter],
    start_nanoseconds: int,
    stop_nanoseconds: int,
) -> Iterator[pa.RecordBatch]:
    names = [parameter.name for parameter in parameters]
    if data_set.base_set is None and data_set.has_nanoseconds:
        return sample_sets.read_nanosecond_samples(
            hapi_request, data_set, names, start=start_nanoseconds, stop=stop_nanoseconds
        )
    # rounded up: a sample at the microsecond before is not part of the range
    start = -(-start_nanoseconds // 1000)
    stop = -(-stop_nanoseconds // 1000)
    read = sample_sets.read_samples if data_set.base_set is None else derived.read_derived_set
    return read(hapi_request, data_set, names, start=start, stop=stop)


def build_hapi_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of ``/hapi`` and its five endpoints; other endpoints and methods get errors of HAPI."""

    async def answer_document(request: Request, build_document: Any, endpoint: str) -> Response:
        hapi_request = _HapiRequest(request, context, endpoint)

        def build_body() -> tuple[Mapping[str, Any], str]:
            return build_document(hapi_request), hapi_request.find_update_time()

        body, updated = await anyio.to_thread.run_sync(build_body)
        return _answer_json(request, body, extra_headers=_build_modified_header(updated))

    async def answer_data(request: Request) -> Response:
        return await _answer_sample_data(_HapiRequest(request, context, "data"))

    async def answer_front_page(request: Request) -> Response:
        write_page = context.get_page_writer(FACE.name)
        hapi_request = _HapiRequest(request, context)
        if write_page is None or "json" in request.headers.get("accept", ""):
            return _answer_json(request, _build_about_document(hapi_request))
        page_items = await anyio.to_thread.run_sync(_describe_data_sets_for_page, hapi_request)
        return write_page(request, context, {"base": f"{hapi_request.base_url}/hapi", "sets": page_items})

    async def refuse_unknown_endpoint(_: Request) -> Response:
        raise HapiError(1400, f"the endpoints are {', '.join(ENDPOINT_PARAMETERS)}")

    document_builders = {
        "about": _build_about_document,
        "capabilities": _build_capabilities,
        "catalog": _build_catalog,
        "info": _build_info_document,
    }
    routes = []
    for name, build_document in document_builders.items():
        endpoint = partial(answer_document, build_document=build_document, endpoint=name)
        routes.append(create_route(f"/hapi/{name}", endpoint, _respond_to_error))
    return [
        *routes,
        create_route("/hapi/data", answer_data, _respond_to_error),
        create_route("/hapi", answer_front_page, _respond_to_error),
        create_route("/hapi/", answer_front_page, _respond_to_error),
        create_route("/hapi/{path:path}", refuse_unknown_endpoint, _respond_to_error),
    ]


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how samples are requested."""
    usage_examples = []
    for time_series in list_table_series(published.table):
        python_code = (
            f'from hapiclient import hapi\n\ndata, meta = hapi("{base_url}/hapi", "{time_series.id}", "", '
            f'"{{start}}", "{{stop}}")\nprint(data)'
        )
        usage_example = UsageExample(
            title=format_message("Samples of {name} in Python", time_series.id),
            url=f"{base_url}/hapi/info?dataset={time_series.id}",
            language="python",
            example=python_code,
        )
        usage_examples.append(usage_example)
    return usage_examples


def _build_hapi_span_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Describe how the samples of rows that are time spans are requested."""
    format_param = Param(name="format", allowed=tuple(OUTPUT_FORMATS), default="csv", description="output format")
    return build_span_links(
        table,
        context,
        face=FACE.name,
        service_path="/hapi/data",
        list_fixed_parameters=lambda time_series: {"dataset": time_series.id},
        time_parameters=("start", "stop"),
        extra_params=(format_param,),
        media_type="text/csv",
        documentation_path="/hapi/info?",
    )


def _list_capabilities(_: ServiceContext, base_url: str, schema: Schema | None) -> Sequence[Capability]:
    """Describe its page; the IVOA has no identifier for HAPI."""
    if schema:
        return []
    return [Capability(standard_id=None, url=f"{base_url}/hapi", interface="vr:WebBrowser")]


FACE = ServiceFace(
    name="hapi",
    title="HAPI",
    description="Time series for heliophysics clients (HAPI 3.3).",
    applies=has_data_sets_or_spans,
    missing_requirement="time series (`series`)",
    list_usage_examples=_list_usage_examples,
    build_routes=build_hapi_routes,
    build_links=_build_hapi_span_links,
    list_capabilities=_list_capabilities,
)
