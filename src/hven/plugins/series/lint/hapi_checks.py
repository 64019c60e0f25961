"""Group hapi: documents of a HAPI server, data sets, samples in each format, and answers to wrong requests."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import struct
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import CheckedRowCoverage, FindingCollector, build_lint_checks
from hven.plugins.lint.service_kinds import LintServiceKind
from hven.plugins.series.lint import hapi_server as hapi

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.plugins.series.lint.hapi_server import ExaminedHapiServer
    from hven.sources.http_client import HttpAnswer

STANDARD_PREFIX = "HAPI 3.3 sec. "
HAPI_CHECKS = build_lint_checks(
    (
        "hapi.document",
        "error",
        STANDARD_PREFIX + "3",
        "a document does not exist, or is not a JSON object",
        "respond with status 200 and a JSON object",
        "",
    ),
    (
        "hapi.status",
        "error",
        STANDARD_PREFIX + "3.8",
        "a document has no HAPI version or no status with the code 1200",
        "write {HAPI: .., status: {code: 1200, message: OK}}",
        "",
    ),
    (
        "hapi.media-type",
        "warning",
        STANDARD_PREFIX + "3",
        "a response has the wrong media type",
        "send application/json, text/csv or application/octet-stream",
        "",
    ),
    (
        "hapi.cors",
        "warning",
        STANDARD_PREFIX + "9",
        "scripts of other sites cannot read the response",
        "send Access-Control-Allow-Origin: *",
        "",
    ),
    (
        "hapi.about-key",
        "error",
        STANDARD_PREFIX + "3.2",
        "/about has no value for a required key",
        "add id, title and contact",
        "",
    ),
    (
        "hapi.formats",
        "error",
        STANDARD_PREFIX + "3.3",
        "outputFormats does not contain csv",
        "support csv, as every server must",
        "",
    ),
    (
        "hapi.catalog",
        "error",
        STANDARD_PREFIX + "3.5",
        "the catalog has an entry without an id, the same id twice, or an id that clients cannot send back",
        "give each data set one id, without commas",
        "",
    ),
    (
        "hapi.depth",
        "error",
        STANDARD_PREFIX + "3.5",
        "the catalog with depth=all differs from /info",
        "return the same info in both places",
        "",
    ),
    (
        "hapi.info-key",
        "error",
        STANDARD_PREFIX + "3.6",
        "a key of /info is missing or has the wrong form",
        "write parameters, startDate and stopDate, with times and durations in ISO 8601",
        "",
    ),
    (
        "hapi.time",
        "error",
        STANDARD_PREFIX + "3.6.3",
        "the first parameter is not the time",
        "make the time the first parameter, with the type isotime, the units UTC and the fill null",
        "",
    ),
    (
        "hapi.parameter",
        "error",
        STANDARD_PREFIX + "3.6.3",
        "the description of a parameter is incomplete or invalid",
        "give the name, type, length of strings, size of arrays, units, and fill as text",
        "",
    ),
    (
        "hapi.bins",
        "error",
        STANDARD_PREFIX + "3.6.18",
        "the bins do not match the parameter's size",
        "write a center or a range for each element of each dimension",
        "",
    ),
    (
        "hapi.subset",
        "error",
        STANDARD_PREFIX + "3.6.1",
        "a request to /info for some parameters returns different parameters",
        "list the time and the requested parameters",
        "",
    ),
    (
        "hapi.record",
        "error",
        STANDARD_PREFIX + "3.7",
        "a CSV line does not match /info",
        "write one value for each element, in the form of its type",
        "",
    ),
    (
        "hapi.time-form",
        "error",
        STANDARD_PREFIX + "3.7.6",
        "times do not have the declared length, or do not end with Z",
        "write all times of a data set in the same form",
        "",
    ),
    ("hapi.order", "error", STANDARD_PREFIX + "3.7", "samples are not ordered by time", "sort them", ""),
    (
        "hapi.outside",
        "error",
        STANDARD_PREFIX + "3.7",
        "samples are outside the requested interval, or samples within it are missing",
        "send all samples from start (inclusive) to stop (exclusive)",
        "",
    ),
    (
        "hapi.binary",
        "error",
        STANDARD_PREFIX + "3.7.4",
        "the samples in binary are different from those in csv, or a record is incomplete",
        "write little-endian doubles, 4-byte integers, and strings of their full length",
        "",
    ),
    (
        "hapi.json",
        "error",
        STANDARD_PREFIX + "3.7.5",
        "the JSON samples differ from the CSV samples, or do not match /info",
        "add the key data to the header object",
        "",
    ),
    (
        "hapi.header",
        "error",
        STANDARD_PREFIX + "3.7.2",
        "the header before the samples differs from /info",
        "with include=header, write the content of /info in lines that begin with #",
        "",
    ),
    (
        "hapi.nothing",
        "warning",
        STANDARD_PREFIX + "3.8",
        "the response for an interval without samples is not empty",
        "send status 200 and an empty body; with include=header, the code 1201",
        "",
    ),
    (
        "hapi.code",
        "warning",
        STANDARD_PREFIX + "3.8.1",
        "the response to an invalid request does not have the right code",
        "send HAPI's code in a JSON document",
        "",
    ),
    (
        "hapi.refused",
        "error",
        STANDARD_PREFIX + "3.8.1",
        "an invalid request is not rejected",
        "send an HTTP status from 400 on, and a JSON document with HAPI's code",
        "",
    ),
    (
        "hapi.http-status",
        "error",
        STANDARD_PREFIX + "3.8.1",
        "the HTTP status does not match HAPI's code",
        "send 404 for unknown data sets and parameters, otherwise 400",
        "",
    ),
    (
        "hapi.echo",
        "error",
        STANDARD_PREFIX + "3.8.2",
        "the response repeats an invalid value",
        "leave it out, because it may be a script",
        "",
    ),
    (
        "hapi.old-names",
        "error",
        STANDARD_PREFIX + "1.1",
        "HAPI 2 requests are not understood",
        "also accept id, time.min and time.max",
        "",
    ),
)
PARAMETER_TYPES = {"string", "double", "integer", "isotime"}
TIME_STAMP_LOCATIONS = {"begin", "center", "end", "other"}
MAX_DATA_SETS = 20  # data sets that are judged
SAMPLES_PER_DATA_SET = 40  # samples of a data set that are asked for, about
INVALID_VALUE = "hvenWrong<b>"
NOT_FOUND_CODES = {1406, 1407}
ABOUT_KEYS = ("id", "title", "contact")


def _check_hapi_server(server: ExaminedHapiServer, collector: FindingCollector) -> None:
    if server.version_numbers >= (3,):
        about = _fetch_hapi_document(server, collector, "about")
        if about:
            for key in ABOUT_KEYS:
                if not about.get(key):
                    collector.add_finding("hapi.about-key", key)
    _fetch_hapi_document(server, collector, "capabilities")
    catalog = _fetch_hapi_document(server, collector, "catalog") or {}
    if "csv" not in server.output_formats:
        collector.add_finding("hapi.formats", value=server.output_formats)
    ids = _list_data_set_ids(collector, catalog)
    if not ids:
        collector.add_unchecked_reason("the catalog has no data sets")
        return
    infos_by_id = {}
    if server.version_numbers >= (3, 2):
        infos_by_id = _fetch_catalog_infos(server, collector)
    step = max(len(ids) // MAX_DATA_SETS, 1)
    good_data_set = None
    for name in ids[::step][:MAX_DATA_SETS]:
        try:
            judged_data_set = _check_data_set(server, collector, name, infos_by_id.get(name))
            good_data_set = good_data_set or judged_data_set
        except UserError as error:
            collector.add_unchecked_reason(f"{name}: {error.message}")
    if good_data_set is not None:
        _check_wrong_requests(server, collector, *good_data_set)


def _list_data_set_ids(collector: FindingCollector, catalog: dict[str, Any]) -> list[str]:
    """List the ids of the catalog, and report invalid ones."""
    entries = catalog.get("catalog")
    if not isinstance(entries, list):
        return []
    ids: list[str] = []
    for entry in entries:
        data_set_id = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(data_set_id, str) or not data_set_id or "," in data_set_id or data_set_id in ids:
            collector.add_finding("hapi.catalog", value=data_set_id)
        else:
            ids.append(data_set_id)
    return ids


def _fetch_hapi_document(
    server: ExaminedHapiServer, collector: FindingCollector, endpoint: str, **params: str
) -> dict[str, Any] | None:
    """Fetch a document, and check what all documents have in common."""
    answer = server.request_endpoint(endpoint, **params)
    location: dict[str, Any] = {"table": params.get("dataset", "")}
    try:
        document = hapi.parse_json_answer(answer)
    except hapi.NotJsonError as error:
        collector.add_finding("hapi.document", f"/{endpoint}: {error.message}", **location)
        return None
    if answer.status != 200:
        collector.add_finding("hapi.document", f"/{endpoint} returns status {answer.status}", **location)
        return None
    if hapi.find_hapi_status_code(answer) != 1200 or not document.get("HAPI"):
        collector.add_finding("hapi.status", f"/{endpoint}", value=document.get("status"), **location)
    _check_media_type(collector, answer, "application/json", endpoint)
    if answer.headers.get("access-control-allow-origin") != "*":
        collector.add_finding("hapi.cors", f"/{endpoint}")
    return document


def _check_media_type(collector: FindingCollector, answer: HttpAnswer, media_type: str, request_label: str) -> None:
    if get_media_type(answer) != media_type:
        content_type = answer.headers.get("content-type") or "none"
        collector.add_finding("hapi.media-type", f"{request_label}: not {media_type}", value=content_type)


def _fetch_catalog_infos(server: ExaminedHapiServer, collector: FindingCollector) -> dict[str, Any]:
    capabilities = hapi.parse_json_answer(server.capabilities_answer)
    if "all" not in (capabilities.get("catalogDepthOptions") or ()):
        return {}
    deep_catalog = _fetch_hapi_document(server, collector, "catalog", depth="all") or {}
    infos_by_id = {}
    for entry in deep_catalog.get("catalog", ()):
        if isinstance(entry, dict):
            infos_by_id[str(entry.get("id"))] = entry.get("info")
    return infos_by_id


def _check_data_set(
    server: ExaminedHapiServer, collector: FindingCollector, data_set_id: str, catalog_info: Any
) -> tuple[str, dict[str, Any], list[list[str]]] | None:
    info = _fetch_hapi_document(server, collector, "info", dataset=data_set_id)
    if info is None or not _check_data_set_info(collector, data_set_id, info):
        return None
    if isinstance(catalog_info, dict):
        keys = {*catalog_info, *info} - {"HAPI", "status"}
        differing_keys = sorted(key for key in keys if catalog_info.get(key) != info.get(key))
        if differing_keys:
            collector.add_finding("hapi.depth", ", ".join(differing_keys), table=data_set_id)
    rows = _check_samples(server, collector, data_set_id, info)
    parameter_names = [parameter["name"] for parameter in info["parameters"]]
    if len(parameter_names) > 1:
        subset_info = (
            _fetch_hapi_document(server, collector, "info", dataset=data_set_id, parameters=parameter_names[-1]) or {}
        )
        subset_parameters = [entry for entry in subset_info.get("parameters", ()) if isinstance(entry, dict)]
        subset_names = [parameter.get("name") for parameter in subset_parameters]
        if subset_info and subset_names != [parameter_names[0], parameter_names[-1]]:
            collector.add_finding("hapi.subset", table=data_set_id, value=subset_names)
    coverage = CheckedRowCoverage(table=data_set_id, row_count=len(rows), total_rows=None, used_aggregates=False)
    server.table_coverages.append(coverage)
    return data_set_id, info, rows


def _check_data_set_info(collector: FindingCollector, data_set_id: str, info: dict[str, Any]) -> bool:
    """Check the info of a data set; return False if nothing can be asked of it."""
    try:
        is_backwards = hapi.parse_hapi_time(info["startDate"]) >= hapi.parse_hapi_time(info["stopDate"])
    except (KeyError, TypeError, ValueError):
        dates = (info.get("startDate"), info.get("stopDate"))
        collector.add_finding("hapi.info-key", "startDate, stopDate", table=data_set_id, value=dates)
        return False
    if is_backwards:
        collector.add_finding(
            "hapi.info-key", "stopDate is not after startDate", table=data_set_id, value=info["stopDate"]
        )
        return False
    if "cadence" in info and not hapi.parse_iso_duration(str(info["cadence"])):
        collector.add_finding("hapi.info-key", "cadence", table=data_set_id, value=info["cadence"])
    if info.get("timeStampLocation", "center") not in TIME_STAMP_LOCATIONS:
        collector.add_finding("hapi.info-key", "timeStampLocation", table=data_set_id, value=info["timeStampLocation"])
    parameters = info.get("parameters")
    if (
        not isinstance(parameters, list)
        or not parameters
        or not all(isinstance(parameter, dict) and parameter.get("name") for parameter in parameters)
    ):
        collector.add_finding("hapi.info-key", "parameters", table=data_set_id)
        return False
    time = parameters[0]
    names = [str(parameter["name"]).lower() for parameter in parameters]
    if time.get("type") != "isotime" or time.get("fill") is not None or time.get("units") != "UTC" or time.get("size"):
        column = str(time["name"])
        collector.add_finding("hapi.time", table=data_set_id, column=column, value=time)
    is_unusable = False
    for parameter in parameters:
        for fault in _find_parameter_faults(parameter, names):
            collector.add_finding("hapi.parameter", fault, table=data_set_id, column=str(parameter["name"]))
            is_unusable = is_unusable or fault in {"type", "length", "size"}
        for fault in _find_bin_faults(
            parameter, {str(other_parameter["name"]): other_parameter for other_parameter in parameters}
        ):
            collector.add_finding("hapi.bins", fault, table=data_set_id, column=str(parameter["name"]))
    return not is_unusable


def _find_parameter_faults(parameter: dict[str, Any], names: Sequence[str]) -> Iterator[str]:
    kind = parameter.get("type")
    fill = parameter.get("fill")
    units = parameter.get("units", "")
    size = parameter.get("size")
    if names.count(str(parameter["name"]).lower()) > 1 or "," in str(parameter["name"]):
        yield "name"
    if kind not in PARAMETER_TYPES:
        yield "type"
    if kind in {"string", "isotime"} and not (isinstance(parameter.get("length"), int) and parameter["length"] > 0):
        yield "length"
    if size is not None and not (
        isinstance(size, list) and size and all(isinstance(dimension, int) and dimension > 0 for dimension in size)
    ):
        yield "size"
    if units == "" or not isinstance(units, str | list | None):
        yield "units"
    if (
        "fill" not in parameter
        or not isinstance(fill, str | None)
        or (fill is not None and kind in {"integer", "double"} and not _is_number_of_type(fill, kind))
    ):
        yield "fill"


def _is_number_of_type(text: str, value_type: str) -> bool:
    try:
        if value_type == "integer":
            return -(2**31) <= int(text) < 2**31
        return bool(float(text) or True)
    except ValueError:
        return False


def _find_bin_faults(parameter: dict[str, Any], parameters_by_name: dict[str, Any]) -> Iterator[str]:
    bins = parameter.get("bins")
    size = parameter.get("size")
    if bins is None:
        return
    if not isinstance(bins, list) or not isinstance(size, list) or len(bins) != len(size):
        yield "there must be one for each dimension"
        return
    for dimension_bins, count in zip(bins, size, strict=True):
        if not isinstance(dimension_bins, dict) or not dimension_bins.get("name") or "units" not in dimension_bins:
            yield "name, units"
            continue
        if "centers" not in dimension_bins and "ranges" not in dimension_bins:
            yield "neither centers nor ranges"
        for key in ("centers", "ranges"):
            bin_values = dimension_bins.get(key)
            if isinstance(bin_values, str) and bin_values not in parameters_by_name:
                yield f"{key} is not a parameter"
            elif isinstance(bin_values, list) and len(bin_values) != count:
                yield f"{len(bin_values)} {key} for {count} elements"
            elif (
                isinstance(bin_values, list)
                and key == "ranges"
                and not all(isinstance(bounds, list) and len(bounds) == 2 for bounds in bin_values)
            ):
                yield "ranges are not pairs"


# --- samples -----------------------------------------------------------------------------------------------------


def _iterate_sample_windows(info: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Choose where samples may be: what the server proposes, the last ones, the first ones, all of a small set."""
    first_time = hapi.parse_hapi_time(info["startDate"])
    last_time = hapi.parse_hapi_time(info["stopDate"])
    with contextlib.suppress(KeyError, TypeError, ValueError):
        time = hapi.parse_hapi_time(info["sampleStartDate"])
        yield time, hapi.parse_hapi_time(info["sampleStopDate"])
    cadence = hapi.parse_iso_duration(str(info.get("cadence", "")))
    if cadence:
        window_nanoseconds = int(cadence * SAMPLES_PER_DATA_SET * hapi.SECOND_NANOSECONDS)
    else:
        window_nanoseconds = max((last_time - first_time) // 1000, 60 * hapi.SECOND_NANOSECONDS)
    for width in (window_nanoseconds, 30 * window_nanoseconds):
        yield max(first_time, last_time - width), last_time
        yield first_time, min(first_time + width, last_time)


def _check_samples(
    server: ExaminedHapiServer, collector: FindingCollector, data_set_id: str, info: dict[str, Any]
) -> list[list[str]]:
    """Judge some samples in all formats; return them as texts."""
    rows: list[list[str]] = []
    params: dict[str, str] = {}
    for start, stop in dict.fromkeys(_iterate_sample_windows(info)):
        params = {"dataset": data_set_id, "start": hapi.format_hapi_time(start), "stop": hapi.format_hapi_time(stop)}
        answer = server.request_endpoint("data", **params)
        if answer.status != 200:
            detail = f"/data returns status {answer.status}, {hapi.find_hapi_status_code(answer)}"
            interval = f"{params['start']} to {params['stop']}"
            collector.add_finding("hapi.document", detail, table=data_set_id, value=interval)
            return []
        rows = _parse_csv_rows(answer.body)
        if rows:
            _check_media_type(collector, answer, "text/csv", "/data")
            break
    if not rows:
        collector.add_unchecked_reason(f"{data_set_id}: no samples were found")
        return []
    if not answer.body.endswith(b"\n"):
        collector.add_finding("hapi.record", "the last line has no end", table=data_set_id)
    times = _check_csv_records(collector, data_set_id, info, rows)
    if times is None:
        return rows
    if any(not start <= time < stop for time in times):
        interval = f"{hapi.format_hapi_time(start)} to {hapi.format_hapi_time(stop)}"
        first_and_last = (rows[0][0], rows[-1][0])
        collector.add_finding("hapi.outside", interval, table=data_set_id, value=first_and_last)
    _compare_data_formats(server, collector, info, rows, params)
    if len(set(times)) > 2:
        _check_interval_bounds(server, collector, data_set_id, rows, times)
    return rows


def _parse_csv_rows(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode("utf-8", "replace"))))


def _check_interval_bounds(
    server: ExaminedHapiServer, collector: FindingCollector, data_set_id: str, rows: list[list[str]], times: list[int]
) -> None:
    """Check that an interval begins with its start and ends before its stop, and an interval without samples."""
    first_time, second_time, third_time, *_ = sorted(set(times))
    start, stop = hapi.format_hapi_time(second_time), hapi.format_hapi_time(third_time)
    params = {"dataset": data_set_id, "start": start, "stop": stop}
    part_rows = _parse_csv_rows(server.request_endpoint("data", **params).body)
    part_times = [row[:1] for row in part_rows]
    expected_rows = [row for row, time in zip(rows, times, strict=True) if time == second_time]
    expected_times = [row[:1] for row in expected_rows]
    if part_times != expected_times:
        shown_times = [row[0] for row in part_times[:3]]
        collector.add_finding("hapi.outside", "from one sample to the next", table=data_set_id, value=shown_times)
    if second_time - first_time <= 2:
        return
    start, stop = hapi.format_hapi_time(first_time + 1), hapi.format_hapi_time(first_time + 2)
    empty_params = {"dataset": data_set_id, "start": start, "stop": stop}
    empty_answer = server.request_endpoint("data", **empty_params)
    header_answer = server.request_endpoint("data", **empty_params, include="header")
    header, _ = _split_csv_header(header_answer.body)
    if empty_answer.status not in {200, 204} or empty_answer.body.strip():
        fault = f"status {empty_answer.status}, {len(empty_answer.body)} bytes"
        collector.add_finding("hapi.nothing", fault, table=data_set_id)
    elif header.get("status", {}).get("code") not in {1200, 1201}:
        collector.add_finding("hapi.nothing", "with include=header", table=data_set_id)


def _count_parameter_elements(parameter: dict[str, Any]) -> int:
    return math.prod(parameter.get("size") or (1,))


def _check_csv_records(
    collector: FindingCollector, data_set_id: str, info: dict[str, Any], rows: list[list[str]]
) -> list[int] | None:
    """Check lines of csv; return their times, or None if they cannot be read."""
    time_length = info["parameters"][0]["length"]
    cells = _list_cell_parameters(info)
    times = []
    for number, row in enumerate(rows, 1):
        location: dict[str, Any] = {"table": data_set_id, "key": f"record {number}"}
        if len(row) != len(cells):
            collector.add_finding("hapi.record", f"{len(row)} values, not {len(cells)}", **location)
            return None
        if len(row[0]) != time_length or not row[0].endswith("Z"):
            collector.add_finding("hapi.time-form", f"{time_length} characters", value=row[0], **location)
        for parameter, text in zip(cells, row, strict=True):
            if not _is_valid_parameter_value(parameter, text):
                column = str(parameter["name"])
                collector.add_finding("hapi.record", parameter["type"], column=column, value=text, **location)
        try:
            times.append(hapi.parse_hapi_time(row[0]))
        except ValueError:
            collector.add_finding("hapi.record", "no time", value=row[0], **location)
            return None
    if any(later_time < earlier_time for earlier_time, later_time in pairwise(times)):
        collector.add_finding("hapi.order", table=data_set_id, value=rows[0][0])
    return times


def _list_cell_parameters(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameter of each value of a record."""
    cells: list[dict[str, Any]] = []
    for parameter in info["parameters"]:
        cells += [parameter] * _count_parameter_elements(parameter)
    return cells


def _is_valid_parameter_value(parameter: dict[str, Any], text: str) -> bool:
    """Return whether a text of csv is a value of the parameter's type."""
    kind = parameter["type"]
    if kind in {"integer", "double"}:
        return _is_number_of_type(text, kind)
    if kind in {"string", "isotime"}:
        return len(text.encode()) <= int(parameter["length"])
    return True


def _compare_data_formats(
    server: ExaminedHapiServer,
    collector: FindingCollector,
    info: dict[str, Any],
    rows: list[list[str]],
    params: dict[str, str],
) -> None:
    """Compare the other formats with the lines of csv."""
    name = params["dataset"]
    header, sample_bytes = _split_csv_header(server.request_endpoint("data", **params, include="header").body)
    header_names = [parameter.get("name") for parameter in header.get("parameters", ())]
    parameter_names = [parameter["name"] for parameter in info["parameters"]]
    if header.get("format") != "csv" or header_names != parameter_names:
        collector.add_finding("hapi.header", table=name)
    elif _parse_csv_rows(sample_bytes) != rows:
        collector.add_finding("hapi.header", "the samples are different from those without it", table=name)
    csv_values = [_parse_csv_values(info, row) for row in rows]
    if "binary" in server.output_formats:
        answer = server.request_endpoint("data", **params, format="binary")
        _check_media_type(collector, answer, "application/octet-stream", "format=binary")
        record_struct = _build_record_struct(info)
        if len(answer.body) != record_struct.size * len(rows):
            fault = f"{len(answer.body)} bytes, not {len(rows)} records of {record_struct.size}"
            collector.add_finding("hapi.binary", fault, table=name)
        else:
            binary_values = [_decode_binary_record(record) for record in record_struct.iter_unpack(answer.body)]
            _compare_records(collector, "hapi.binary", name, csv_values, binary_values)
    if "json" in server.output_formats:
        answer = server.request_endpoint("data", **params, format="json")
        _check_media_type(collector, answer, "application/json", "format=json")
        try:
            records = hapi.parse_json_answer(answer)["data"]
            json_values = [list(_flatten_nested_lists(record)) for record in records]
            _compare_records(collector, "hapi.json", name, csv_values, json_values)
        except (hapi.NotJsonError, KeyError, TypeError) as error:
            collector.add_finding("hapi.json", str(error), table=name)


def _build_record_struct(info: dict[str, Any]) -> struct.Struct:
    """Describe a binary record: little-endian doubles, integers of 4 bytes, texts of their length."""
    codes = {"double": "d", "integer": "i"}
    cell_codes = [codes.get(cell["type"], f"{cell.get('length')}s") for cell in _list_cell_parameters(info)]
    return struct.Struct("<" + "".join(cell_codes))


def _decode_binary_record(record: tuple[Any, ...]) -> list[Any]:
    values = []
    for value in record:
        if isinstance(value, bytes):
            values.append(value.rstrip(b"\0").decode("utf-8", "replace"))
        else:
            values.append(value)
    return values


def _split_csv_header(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Split an answer into its header, the lines that begin with #, and its samples."""
    lines = body.splitlines(keepends=True)
    header_lines = list(takewhile(lambda line: line.startswith(b"#"), lines))
    samples = b"".join(lines[len(header_lines) :])
    try:
        header = json.loads(b"".join(line[1:] for line in header_lines))
    except ValueError:
        header = {}
    if not isinstance(header, dict):
        header = {}
    return header, samples


def _parse_csv_values(info: dict[str, Any], row: list[str]) -> list[Any]:
    """Convert the texts of numbers in a line of csv."""
    values: list[Any] = []
    for cell, text in zip(_list_cell_parameters(info), row, strict=True):
        kind = cell["type"]
        if kind in {"double", "integer"} and _is_number_of_type(text, kind):
            values.append(float(text))
        else:
            values.append(text)
    return values


def _flatten_nested_lists(value: Any) -> Iterator[Any]:
    for item in value:
        if isinstance(item, list):
            yield from _flatten_nested_lists(item)
        else:
            yield item


def _compare_records(
    collector: FindingCollector,
    code: str,
    data_set_id: str,
    csv_records: list[list[Any]],
    format_records: list[list[Any]],
) -> None:
    """Report the first record that differs from the record of csv."""
    if len(csv_records) != len(format_records):
        collector.add_finding(code, f"{len(format_records)} records, not {len(csv_records)}", table=data_set_id)
        return
    for number, (csv_record, format_record) in enumerate(zip(csv_records, format_records, strict=True), 1):
        has_same_length = len(csv_record) == len(format_record)
        if not has_same_length or not all(map(_is_same_value, csv_record, format_record)):
            detail = f"csv has {csv_record[:8]}"
            collector.add_finding(code, detail, table=data_set_id, key=f"record {number}", value=format_record[:8])
            return


def _is_same_value(csv_value: Any, format_value: Any) -> bool:
    if not isinstance(csv_value, float):
        return bool(csv_value == format_value)
    if format_value is None:
        format_value = math.nan
    if not isinstance(format_value, int | float):
        return False
    if math.isnan(csv_value) and math.isnan(format_value):
        return True
    return csv_value == format_value or math.isclose(csv_value, format_value, rel_tol=1e-6)


# --- wrong requests ----------------------------------------------------------------------------------------------


def _check_wrong_requests(
    server: ExaminedHapiServer,
    collector: FindingCollector,
    data_set_id: str,
    info: dict[str, Any],
    rows: list[list[str]],
) -> None:
    parameter_names = [str(parameter["name"]) for parameter in info["parameters"]]
    start = info["startDate"]
    stop = info["stopDate"]
    if rows:
        last_time = hapi.parse_hapi_time(rows[-1][0])
        start = rows[0][0]
        stop = hapi.format_hapi_time(min(last_time + 1, hapi.parse_hapi_time(stop)))
    year_nanoseconds = 366 * 86_400 * hapi.SECOND_NANOSECONDS
    earlier_time = hapi.parse_hapi_time(info["startDate"]) - year_nanoseconds
    far_time = hapi.format_hapi_time(max(earlier_time, year_nanoseconds))
    data = {"dataset": data_set_id, "start": start, "stop": stop}
    repeated_names = f"{parameter_names[-1]},{parameter_names[-1]}"
    wrong_requests: list[tuple[str, dict[str, str], tuple[int, ...]]] = [
        (INVALID_VALUE, {}, (1400,)),
        ("catalog", {INVALID_VALUE: INVALID_VALUE}, (1401, 1400)),
        ("info", {}, (1400, 1406)),
        ("info", {"dataset": INVALID_VALUE}, (1406,)),
        ("info", {"dataset": data_set_id, "parameters": INVALID_VALUE}, (1407,)),
        ("data", {**data, "start": INVALID_VALUE}, (1402,)),
        ("data", {**data, "stop": INVALID_VALUE}, (1403,)),
        ("data", {**data, "start": stop, "stop": start}, (1404,)),
        ("data", {**data, "stop": start}, (1404,)),
        ("data", {**data, "start": far_time}, (1405,)),
        ("data", {**data, "parameters": INVALID_VALUE}, (1407,)),
        ("data", {**data, "format": INVALID_VALUE}, (1409,)),
        ("data", {**data, "include": INVALID_VALUE}, (1410,)),
        ("data", {**data, "parameters": repeated_names}, (1411,)),
    ]
    if len(parameter_names) > 2:
        reversed_names = f"{parameter_names[-1]},{parameter_names[1]}"
        wrong_requests.append(("data", {**data, "parameters": reversed_names}, (1411,)))
    if server.version_numbers >= (3, 2):
        wrong_requests.append(("catalog", {"depth": INVALID_VALUE}, (1413,)))
    if server.version_numbers >= (3, 3):
        wrong_requests.append(("info", {"dataset": data_set_id, "resolve_references": INVALID_VALUE}, (1412,)))
    for endpoint, params, codes in wrong_requests:
        _check_wrong_request(server, collector, endpoint, params, codes)
    if server.client.send_request("POST", f"{server.url}/catalog").status < 400:
        collector.add_finding("hapi.refused", "POST", value="catalog")
    if server.version_numbers >= (3,) and rows:
        hapi_2_params = [(hapi.HAPI_2_NAMES[key], value) for key, value in data.items()]
        hapi_2_answer = server.client.send_get(f"{server.url}/data", hapi_2_params)
        if hapi_2_answer.status != 200 or hapi_2_answer.body != server.request_endpoint("data", **data).body:
            collector.add_finding("hapi.old-names", value=hapi_2_answer.status)


def _check_wrong_request(
    server: ExaminedHapiServer,
    collector: FindingCollector,
    endpoint: str,
    params: dict[str, str],
    expected_codes: tuple[int, ...],
) -> None:
    """Send a wrong request, and check the HTTP status and HAPI's code of the answer."""
    query = "&".join(f"{key}={value}" for key, value in params.items())
    request_label = f"/{endpoint}?{query}".replace(INVALID_VALUE, "x")
    answer = server.request_endpoint(endpoint.replace("<", "").replace(">", ""), **params)
    code = hapi.find_hapi_status_code(answer)
    if answer.status < 400:
        collector.add_finding("hapi.refused", request_label, value=f"{answer.status}, {code}")
        return
    if code not in expected_codes:
        collector.add_finding("hapi.code", request_label, value=code)
    elif answer.status != _find_expected_http_status(code):
        collector.add_finding("hapi.http-status", request_label, value=f"{answer.status}, {code}")
    if INVALID_VALUE.encode() in answer.body:
        collector.add_finding("hapi.echo", request_label)


def _find_expected_http_status(hapi_code: int) -> int:
    """Return the HTTP status that belongs to a code of HAPI."""
    if hapi_code in NOT_FOUND_CODES:
        return 404
    return 500 if hapi_code >= 1500 else 400


GROUP = CheckGroup(name="hapi", title="HAPI", checks=HAPI_CHECKS, run=_check_hapi_server, protocol="hapi")
SERVICE_KIND = LintServiceKind(
    protocol="hapi", title="HAPI", url_pattern=r".*/hapi/*", service_class=hapi.ExaminedHapiServer, groups=(GROUP,)
)
