"""Group hapi: documents of a HAPI server, data sets, samples in each format, and answers to wrong requests."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import struct
from functools import cached_property
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.client import get_media_type
from hven.plugins.lint.findings import CheckedRowCoverage, FindingCollector, parse_lint_checks
from hven.plugins.lint.service_kinds import LintServiceKind
from hven.plugins.series.lint import hapi_server as hapi
from hven.plugins.series.time_texts import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.plugins.series.lint.hapi_server import ExaminedHapiServer
    from hven.sources.http_client import HttpAnswer

HAPI_CHECKS = parse_lint_checks("""
hapi.document | error | HAPI 3.3 sec. 3
    a document does not exist, or is not a JSON object
    respond with status 200 and a JSON object
hapi.status | error | HAPI 3.3 sec. 3.8
    a document has no HAPI version or no status with the code 1200
    write {HAPI: .., status: {code: 1200, message: OK}}
hapi.media-type | warning | HAPI 3.3 sec. 3
    a response has the wrong media type
    send application/json, text/csv or application/octet-stream
hapi.cors | warning | HAPI 3.3 sec. 9
    scripts of other sites cannot read the response
    send Access-Control-Allow-Origin: *
hapi.about-key | error | HAPI 3.3 sec. 3.2
    /about has no value for a required key
    add id, title and contact
hapi.formats | error | HAPI 3.3 sec. 3.3
    outputFormats does not contain csv
    support csv, as every server must
hapi.catalog | error | HAPI 3.3 sec. 3.5
    the catalog has an entry without an id, the same id twice, or an id that requests cannot contain
    give each data set one id, without commas
hapi.depth | error | HAPI 3.3 sec. 3.5
    the catalog with depth=all differs from /info
    return the same info in both places
hapi.info-key | error | HAPI 3.3 sec. 3.6
    a key of /info is missing or has the wrong form
    write parameters, startDate and stopDate, with times and durations in ISO 8601
hapi.time | error | HAPI 3.3 sec. 3.6.3
    the first parameter is not the time
    make the time the first parameter, with the type isotime, the units UTC and the fill null
hapi.parameter | error | HAPI 3.3 sec. 3.6.3
    the description of a parameter is incomplete or invalid
    state the name, the type, the units, the length of strings, the size of arrays, and the fill as a string
hapi.bins | error | HAPI 3.3 sec. 3.6.18
    the bins do not match the parameter's size
    write a center or a range for each element of each dimension
hapi.subset | error | HAPI 3.3 sec. 3.6.1
    a request to /info for some parameters returns different parameters
    list the time and the requested parameters
hapi.record | error | HAPI 3.3 sec. 3.7
    a CSV line does not match /info
    write one value for each element, in the form of its type
hapi.time-form | error | HAPI 3.3 sec. 3.7.6
    times do not have the declared length, or do not end with Z
    write all times of a data set in the same form
hapi.order | error | HAPI 3.3 sec. 3.7
    samples are not ordered by time
    sort the samples
hapi.outside | error | HAPI 3.3 sec. 3.7
    samples are outside the requested interval, or samples within it are missing
    send all samples from start (inclusive) to stop (exclusive)
hapi.binary | error | HAPI 3.3 sec. 3.7.4
    the binary samples differ from the CSV samples, or a record is incomplete
    write little-endian doubles, 4-byte integers, and strings of their full length
hapi.json | error | HAPI 3.3 sec. 3.7.5
    the JSON samples differ from the CSV samples, or do not match /info
    add the key data to the header object
hapi.header | error | HAPI 3.3 sec. 3.7.2
    the header before the samples differs from /info
    with include=header, write the content of /info in lines that begin with #
hapi.nothing | warning | HAPI 3.3 sec. 3.8
    the response for an interval without samples is not empty
    send status 200 and an empty body, or, with include=header, a header with the code 1201
hapi.code | warning | HAPI 3.3 sec. 3.8.1
    the response to an invalid request does not have the right code
    send HAPI's code in a JSON document
hapi.refused | error | HAPI 3.3 sec. 3.8.1
    an invalid request is not rejected
    send an HTTP status of 400 or higher, and a JSON document with HAPI's code
hapi.http-status | error | HAPI 3.3 sec. 3.8.1
    the HTTP status does not match HAPI's code
    send 404 for unknown data sets and parameters, otherwise 400
hapi.echo | error | HAPI 3.3 sec. 3.8.2
    the response repeats an invalid value
    leave the value out, because it may be a script
hapi.old-names | error | HAPI 3.3 sec. 1.1
    HAPI 2 requests are not understood
    also accept id, time.min and time.max
""")
PARAMETER_TYPES = {"string", "double", "integer", "isotime"}
TIME_STAMP_LOCATIONS = {"begin", "center", "end", "other"}
MAX_DATA_SETS = 20  # data sets that are judged
SAMPLES_PER_DATA_SET = 40  # samples of a data set that are asked for, about
INVALID_VALUE = "hvenWrong<b>"
NOT_FOUND_CODES = {1406, 1407}
ABOUT_KEYS = ("id", "title", "contact")
YEAR_NANOSECONDS = 366 * 86_400 * hapi.SECOND_NANOSECONDS
EARLIEST_TIME = hapi.parse_hapi_time("0002-01-01")


def _check_hapi_server(server: ExaminedHapiServer, collector: FindingCollector) -> None:
    if server.version_numbers >= (3,):
        about = _fetch_checked_document(server, collector, "about")
        if about:
            for key in ABOUT_KEYS:
                if not about.get(key):
                    collector.add_finding("hapi.about-key", key)
    capabilities = _fetch_checked_document(server, collector, "capabilities") or {}
    catalog = _fetch_checked_document(server, collector, "catalog") or {}
    if "csv" not in server.output_formats:
        collector.add_finding("hapi.formats", value=server.output_formats)
    ids = _list_data_set_ids(collector, catalog)
    if not ids:
        collector.add_unchecked_reason("the catalog has no data sets")
        return
    infos_by_id: dict[str, Any] = {}
    if server.version_numbers >= (3, 2) and "all" in (capabilities.get("catalogDepthOptions") or ()):
        deep_catalog = _fetch_checked_document(server, collector, "catalog", depth="all") or {}
        entries = [entry for entry in deep_catalog.get("catalog", ()) if isinstance(entry, dict)]
        infos_by_id = {str(entry.get("id")): entry.get("info") for entry in entries}
    step = max(len(ids) // MAX_DATA_SETS, 1)
    good_check = None
    for name in ids[::step][:MAX_DATA_SETS]:
        data_set_check = _DataSetCheck(server, collector, name)
        try:
            if data_set_check.run(infos_by_id.get(name)):
                good_check = good_check or data_set_check
        except UserError as error:
            collector.add_unchecked_reason(f"{name}: {error.message}")
    if good_check is not None:
        data_params = _choose_data_params(good_check)
        _check_wrong_requests(server, collector, good_check, data_params)
        _check_hapi_2_names(server, collector, good_check, data_params)


def _list_data_set_ids(collector: FindingCollector, catalog: dict[str, Any]) -> list[str]:
    """List the ids of the catalog, and report invalid ones."""
    entries = catalog.get("catalog")
    if not isinstance(entries, list):
        return []
    ids: list[str] = []
    for entry in entries:
        data_set_id = None
        if isinstance(entry, dict):
            data_set_id = entry.get("id")
        if not isinstance(data_set_id, str) or not data_set_id or "," in data_set_id or data_set_id in ids:
            collector.add_finding("hapi.catalog", value=data_set_id)
        else:
            ids.append(data_set_id)
    return ids


def _fetch_checked_document(
    server: ExaminedHapiServer, collector: FindingCollector, endpoint: str, **params: str
) -> dict[str, Any] | None:
    """Fetch a document, and check what all documents have in common."""
    answer = server.request_endpoint(endpoint, **params)
    table = params.get("dataset", "")
    try:
        document = hapi.parse_json_answer(answer)
    except hapi.NotJsonError as error:
        collector.add_finding("hapi.document", f"/{endpoint} ({error.message})", table=table)
        return None
    if answer.status != 200:
        collector.add_finding("hapi.document", f"/{endpoint} returns status {answer.status}", table=table)
        return None
    if hapi.find_hapi_status_code(answer) != 1200 or not document.get("HAPI"):
        collector.add_finding("hapi.status", f"/{endpoint}", value=document.get("status"), table=table)
    _check_media_type(collector, answer, "application/json", f"/{endpoint}")
    if answer.headers.get("access-control-allow-origin") != "*":
        collector.add_finding("hapi.cors", f"/{endpoint}")
    return document


def _check_media_type(collector: FindingCollector, answer: HttpAnswer, media_type: str, request_label: str) -> None:
    if get_media_type(answer) != media_type:
        content_type = answer.headers.get("content-type") or "none"
        collector.add_finding("hapi.media-type", f"{request_label} is not {media_type}", value=content_type)


class _DataSetCheck:
    """Checks a data set: its description, and some samples in all formats.

    Attributes
    ----------
    info
        The description of the data set.
    rows
        Samples, as the texts of csv.
    """

    def __init__(self, server: ExaminedHapiServer, collector: FindingCollector, data_set_id: str) -> None:
        self._server = server
        self._collector = collector
        self.data_set_id = data_set_id
        self.info: dict[str, Any] = {}
        self.rows: list[list[str]] = []

    def _add_finding(self, code: str, detail: str = "", **example: Any) -> None:
        self._collector.add_finding(code, detail, table=self.data_set_id, **example)

    def run(self, catalog_info: Any) -> bool:
        """Check the data set, which the catalog perhaps describes, too; return False if its description is unusable."""
        info = self._fetch_info()
        if info is None or not self._check_info(info):
            return False
        self.info = info
        if isinstance(catalog_info, dict):
            keys = {*catalog_info, *info} - {"HAPI", "status"}
            differing_keys = sorted(key for key in keys if catalog_info.get(key) != info.get(key))
            if differing_keys:
                self._add_finding("hapi.depth", ", ".join(differing_keys))
        self._check_samples()
        if len(self.parameter_names) > 1:
            first_name, *_, last_name = self.parameter_names
            subset_info = self._fetch_info(parameters=last_name) or {}
            subset_names = _list_parameter_names(subset_info)
            if subset_info and subset_names != [first_name, last_name]:
                self._add_finding("hapi.subset", value=subset_names)
        coverage = CheckedRowCoverage(
            table=self.data_set_id, row_count=len(self.rows), total_rows=None, used_aggregates=False
        )
        self._server.table_coverages.append(coverage)
        return True

    def _fetch_info(self, **params: str) -> dict[str, Any] | None:
        return _fetch_checked_document(self._server, self._collector, "info", dataset=self.data_set_id, **params)

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters."""
        return _list_parameter_names(self.info)

    @cached_property
    def _cells(self) -> list[dict[str, Any]]:
        """The parameter of each value of a record."""
        cells: list[dict[str, Any]] = []
        for parameter in self.info["parameters"]:
            cells += [parameter] * math.prod(parameter.get("size") or (1,))
        return cells

    # --- the description ---------------------------------------------------------------------------------------------

    def _check_info(self, info: dict[str, Any]) -> bool:
        """Check the info; return False if nothing can be asked of the data set."""
        try:
            is_backwards = hapi.parse_hapi_time(info["startDate"]) >= hapi.parse_hapi_time(info["stopDate"])
        except (KeyError, TypeError, ValueError):
            dates = (info.get("startDate"), info.get("stopDate"))
            self._add_finding("hapi.info-key", "startDate or stopDate", value=dates)
            return False
        if is_backwards:
            self._add_finding("hapi.info-key", "stopDate is not after startDate", value=info["stopDate"])
            return False
        if "cadence" in info and not parse_duration(str(info["cadence"])):
            self._add_finding("hapi.info-key", "cadence", value=info["cadence"])
        if info.get("timeStampLocation", "center") not in TIME_STAMP_LOCATIONS:
            self._add_finding("hapi.info-key", "timeStampLocation", value=info["timeStampLocation"])
        parameters = info.get("parameters")
        if (
            not isinstance(parameters, list)
            or not parameters
            or not all(isinstance(parameter, dict) and parameter.get("name") for parameter in parameters)
        ):
            self._add_finding("hapi.info-key", "parameters")
            return False
        return self._check_parameters(parameters)

    def _check_parameters(self, parameters: Sequence[dict[str, Any]]) -> bool:
        """Check the descriptions of parameters; return False if records cannot be read by them."""
        time = parameters[0]
        if (time.get("type"), time.get("fill"), time.get("units")) != ("isotime", None, "UTC") or time.get("size"):
            self._add_finding("hapi.time", column=str(time["name"]), value=time)
        names = [str(parameter["name"]) for parameter in parameters]
        lower_case_names = [name.lower() for name in names]
        is_usable = True
        for name, parameter in zip(names, parameters, strict=True):
            if lower_case_names.count(name.lower()) > 1 or "," in name:
                self._add_finding("hapi.parameter", "name", column=name)
            for fault in _find_parameter_faults(parameter):
                self._add_finding("hapi.parameter", fault, column=name)
                is_usable = is_usable and fault not in {"type", "length", "size"}
            for fault in _find_bin_faults(parameter, names):
                self._add_finding("hapi.bins", fault, column=name)
        return is_usable

    # --- samples -----------------------------------------------------------------------------------------------------

    def _iterate_sample_windows(self) -> Iterator[tuple[int, int]]:
        """Choose where samples may be: what the server proposes, the last ones, the first ones, all of a small set."""
        first_time = hapi.parse_hapi_time(self.info["startDate"])
        last_time = hapi.parse_hapi_time(self.info["stopDate"])
        with contextlib.suppress(KeyError, TypeError, ValueError):
            time = hapi.parse_hapi_time(self.info["sampleStartDate"])
            yield time, hapi.parse_hapi_time(self.info["sampleStopDate"])
        cadence = parse_duration(str(self.info.get("cadence", "")))
        if cadence:
            window_nanoseconds = int(cadence * SAMPLES_PER_DATA_SET * hapi.SECOND_NANOSECONDS)
        else:
            window_nanoseconds = max((last_time - first_time) // 1000, 60 * hapi.SECOND_NANOSECONDS)
        for width in (window_nanoseconds, 30 * window_nanoseconds):
            yield max(first_time, last_time - width), last_time
            yield first_time, min(first_time + width, last_time)

    def _request_samples(self, start: int, stop: int, **params: str) -> HttpAnswer:
        """Request samples between two times, which are nanoseconds since 1970."""
        interval = {"start": hapi.format_hapi_time(start), "stop": hapi.format_hapi_time(stop)}
        return self._server.request_endpoint("data", dataset=self.data_set_id, **interval, **params)

    def _check_samples(self) -> None:
        """Check some samples in all formats, and keep them."""
        for start, stop in dict.fromkeys(self._iterate_sample_windows()):
            interval = f"{hapi.format_hapi_time(start)} to {hapi.format_hapi_time(stop)}"
            answer = self._request_samples(start, stop)
            if answer.status != 200:
                detail = f"/data returns status {answer.status}, {hapi.find_hapi_status_code(answer)}"
                self._add_finding("hapi.document", detail, value=interval)
                return
            self.rows = _parse_csv_rows(answer.body)
            if self.rows:
                break
        if not self.rows:
            self._collector.add_unchecked_reason(f"{self.data_set_id}: no samples were found")
            return
        _check_media_type(self._collector, answer, "text/csv", "/data")
        if not answer.body.endswith(b"\n"):
            self._add_finding("hapi.record", "the last line does not end with a line break")
        times = self._check_csv_records()
        if times is None:
            return
        if any(not start <= time < stop for time in times):
            self._add_finding("hapi.outside", interval, value=(self.rows[0][0], self.rows[-1][0]))
        self._check_header_answer(start, stop)
        if "binary" in self._server.output_formats:
            self._check_binary_answer(start, stop)
        if "json" in self._server.output_formats:
            self._check_json_answer(start, stop)
        first_time, *later_times = sorted(set(times))
        if len(later_times) > 1:
            self._check_interval_bounds(times, later_times[0], later_times[1])
            if later_times[0] - first_time > 2:
                self._check_empty_interval(first_time + 1, first_time + 2)

    def _check_csv_records(self) -> list[int] | None:
        """Check lines of csv; return their times, or None if they cannot be read."""
        time_length = self.info["parameters"][0]["length"]
        times = []
        for number, row in enumerate(self.rows, 1):
            key = f"record {number}"
            if len(row) != len(self._cells):
                self._add_finding("hapi.record", f"{len(row)} values instead of {len(self._cells)}", key=key)
                return None
            if len(row[0]) != time_length or not row[0].endswith("Z"):
                self._add_finding(
                    "hapi.time-form", f"the declared length is {time_length} characters", value=row[0], key=key
                )
            for parameter, text in zip(self._cells, row, strict=True):
                if not _is_valid_parameter_value(parameter, text):
                    column = str(parameter["name"])
                    detail = f"the value must be of the type {parameter['type']}"
                    self._add_finding("hapi.record", detail, column=column, value=text, key=key)
            try:
                times.append(hapi.parse_hapi_time(row[0]))
            except ValueError:
                self._add_finding("hapi.record", "the first value is not a time", value=row[0], key=key)
                return None
        if any(later_time < earlier_time for earlier_time, later_time in pairwise(times)):
            self._add_finding("hapi.order", value=self.rows[0][0])
        return times

    def _check_interval_bounds(self, times: list[int], start: int, stop: int) -> None:
        """Check that an interval from one sample to the next has the first one, and not the second one."""
        part_rows = _parse_csv_rows(self._request_samples(start, stop).body)
        expected_rows = [row for row, time in zip(self.rows, times, strict=True) if time == start]
        if [row[:1] for row in part_rows] != [row[:1] for row in expected_rows]:
            shown_times = [row[0] for row in part_rows[:3]]
            self._add_finding("hapi.outside", "in the interval from one sample to the next", value=shown_times)

    def _check_empty_interval(self, start: int, stop: int) -> None:
        """Check the answers for an interval without samples."""
        empty_answer = self._request_samples(start, stop)
        header_answer = self._request_samples(start, stop, include="header")
        header, _ = _split_csv_header(header_answer.body)
        if empty_answer.status not in {200, 204} or empty_answer.body.strip():
            self._add_finding("hapi.nothing", f"status {empty_answer.status}, {len(empty_answer.body)} bytes")
        elif header.get("status", {}).get("code") not in {1200, 1201}:
            self._add_finding("hapi.nothing", "with include=header")

    def _check_header_answer(self, start: int, stop: int) -> None:
        """Check CSV with a header: its parameters, and the same samples as without it."""
        header, sample_bytes = _split_csv_header(self._request_samples(start, stop, include="header").body)
        if header.get("format") != "csv" or _list_parameter_names(header) != self.parameter_names:
            self._add_finding("hapi.header")
        elif _parse_csv_rows(sample_bytes) != self.rows:
            self._add_finding("hapi.header", "the samples differ from the samples without include=header")

    def _check_binary_answer(self, start: int, stop: int) -> None:
        """Compare binary records with the lines of CSV."""
        answer = self._request_samples(start, stop, format="binary")
        _check_media_type(self._collector, answer, "application/octet-stream", "/data with format=binary")
        codes = {"double": "d", "integer": "i"}
        record_struct = struct.Struct(
            "<" + "".join(codes.get(cell["type"], f"{cell.get('length')}s") for cell in self._cells)
        )
        if len(answer.body) != record_struct.size * len(self.rows):
            fault = f"{len(answer.body)} bytes instead of {len(self.rows)} records of {record_struct.size} bytes"
            self._add_finding("hapi.binary", fault)
        else:
            binary_values = [_decode_binary_record(record) for record in record_struct.iter_unpack(answer.body)]
            self._compare_records("hapi.binary", binary_values)

    def _check_json_answer(self, start: int, stop: int) -> None:
        """Compare JSON records with the lines of CSV."""
        answer = self._request_samples(start, stop, format="json")
        _check_media_type(self._collector, answer, "application/json", "/data with format=json")
        try:
            records = hapi.parse_json_answer(answer)["data"]
            self._compare_records("hapi.json", [list(_flatten_nested_lists(record)) for record in records])
        except (hapi.NotJsonError, KeyError, TypeError) as error:
            self._add_finding("hapi.json", str(error))

    def _compare_records(self, code: str, records: list[list[Any]]) -> None:
        """Report the first record of a format that differs from the record of csv."""
        if len(self.rows) != len(records):
            self._add_finding(code, f"{len(records)} records instead of {len(self.rows)}")
            return
        for number, (row, record) in enumerate(zip(self.rows, records, strict=True), 1):
            csv_record = [_parse_csv_value(cell, text) for cell, text in zip(self._cells, row, strict=True)]
            if len(csv_record) != len(record) or not all(map(_is_same_value, csv_record, record)):
                self._add_finding(code, f"csv has {csv_record[:8]}", key=f"record {number}", value=record[:8])
                return


def _list_parameter_names(info: dict[str, Any]) -> list[Any]:
    return [parameter.get("name") for parameter in info.get("parameters", ()) if isinstance(parameter, dict)]


def _find_parameter_faults(parameter: dict[str, Any]) -> Iterator[str]:
    """Find the keys of a parameter that are missing or wrong."""
    kind = parameter.get("type")
    units = parameter.get("units", "")
    size = parameter.get("size")
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
    if "fill" not in parameter or not _is_valid_fill_value(parameter["fill"], kind):
        yield "fill"


def _is_valid_fill_value(fill: Any, kind: Any) -> bool:
    if isinstance(fill, str) and kind in {"integer", "double"}:
        return _is_number_of_type(fill, kind)
    return isinstance(fill, str | None)


def _is_number_of_type(text: str, value_type: str) -> bool:
    try:
        if value_type == "integer":
            return -(2**31) <= int(text) < 2**31
        return bool(float(text) or True)
    except ValueError:
        return False


def _find_bin_faults(parameter: dict[str, Any], parameter_names: Sequence[str]) -> Iterator[str]:
    bins = parameter.get("bins")
    size = parameter.get("size")
    if bins is None:
        return
    if not isinstance(bins, list) or not isinstance(size, list) or len(bins) != len(size):
        yield "bins must have one item for each dimension"
        return
    for dimension_bins, count in zip(bins, size, strict=True):
        if not isinstance(dimension_bins, dict) or not dimension_bins.get("name") or "units" not in dimension_bins:
            yield "name, units"
            continue
        if "centers" not in dimension_bins and "ranges" not in dimension_bins:
            yield "the bins have neither centers nor ranges"
        for key in ("centers", "ranges"):
            bin_values = dimension_bins.get(key)
            if isinstance(bin_values, str) and bin_values not in parameter_names:
                yield f"{key} does not name a parameter"
            if not isinstance(bin_values, list):
                continue
            if len(bin_values) != count:
                yield f"{len(bin_values)} {key} for {count} elements"
            elif key == "ranges" and not all(isinstance(pair, list) and len(pair) == 2 for pair in bin_values):
                yield "the ranges are not pairs"


def _parse_csv_rows(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode("utf-8", "replace"))))


def _is_valid_parameter_value(parameter: dict[str, Any], text: str) -> bool:
    """Return whether a text of csv is a value of the parameter's type."""
    kind = parameter["type"]
    if kind in {"integer", "double"}:
        return _is_number_of_type(text, kind)
    return len(text.encode()) <= int(parameter["length"])


def _decode_binary_record(record: tuple[Any, ...]) -> list[Any]:
    return [value.rstrip(b"\0").decode("utf-8", "replace") if isinstance(value, bytes) else value for value in record]


def _split_csv_header(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Split an answer into its header, the lines that begin with #, and its samples."""
    lines = body.splitlines(keepends=True)
    header_lines = list(takewhile(lambda line: line.startswith(b"#"), lines))
    samples = b"".join(lines[len(header_lines) :])
    try:
        header = json.loads(b"".join(line[1:] for line in header_lines))
    except ValueError:
        header = {}
    return header if isinstance(header, dict) else {}, samples


def _parse_csv_value(parameter: dict[str, Any], text: str) -> str | float:
    """Convert the text of a number in a line of csv."""
    kind = parameter["type"]
    if kind in {"double", "integer"} and _is_number_of_type(text, kind):
        return float(text)
    return text


def _flatten_nested_lists(value: Any) -> Iterator[Any]:
    for item in value:
        if isinstance(item, list):
            yield from _flatten_nested_lists(item)
        else:
            yield item


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


def _choose_data_params(data_set_check: _DataSetCheck) -> dict[str, str]:
    """Choose the parameters of a request for the samples of a data set that were found, or for its whole span."""
    info, rows = data_set_check.info, data_set_check.rows
    start = info["startDate"]
    stop = info["stopDate"]
    if rows:
        last_time = hapi.parse_hapi_time(rows[-1][0])
        start = rows[0][0]
        stop = hapi.format_hapi_time(min(last_time + 1, hapi.parse_hapi_time(stop)))
    return {"dataset": data_set_check.data_set_id, "start": start, "stop": stop}


def _check_wrong_requests(
    server: ExaminedHapiServer,
    collector: FindingCollector,
    data_set_check: _DataSetCheck,
    data: dict[str, str],
) -> None:
    """Check that a server refuses requests with wrong parameters by the status codes of the standard."""
    names = [str(name) for name in data_set_check.parameter_names]
    start, stop = data["start"], data["stop"]
    earlier_time = hapi.parse_hapi_time(data_set_check.info["startDate"]) - YEAR_NANOSECONDS
    data_set = {"dataset": data_set_check.data_set_id}
    wrong_requests: list[tuple[str, dict[str, str], tuple[int, ...]]] = [
        (INVALID_VALUE, {}, (1400,)),
        ("catalog", {INVALID_VALUE: INVALID_VALUE}, (1401, 1400)),
        ("info", {}, (1400, 1406)),
        ("info", {"dataset": INVALID_VALUE}, (1406,)),
        ("info", {**data_set, "parameters": INVALID_VALUE}, (1407,)),
        ("data", {**data, "start": INVALID_VALUE}, (1402,)),
        ("data", {**data, "stop": INVALID_VALUE}, (1403,)),
        ("data", {**data, "start": stop, "stop": start}, (1404,)),
        ("data", {**data, "stop": start}, (1404,)),
        ("data", {**data, "start": hapi.format_hapi_time(max(earlier_time, EARLIEST_TIME))}, (1405,)),
        ("data", {**data, "parameters": INVALID_VALUE}, (1407,)),
        ("data", {**data, "format": INVALID_VALUE}, (1409,)),
        ("data", {**data, "include": INVALID_VALUE}, (1410,)),
        ("data", {**data, "parameters": f"{names[-1]},{names[-1]}"}, (1411,)),
    ]
    if len(names) > 2:
        wrong_requests.append(("data", {**data, "parameters": f"{names[-1]},{names[1]}"}, (1411,)))
    if server.version_numbers >= (3, 2):
        wrong_requests.append(("catalog", {"depth": INVALID_VALUE}, (1413,)))
    if server.version_numbers >= (3, 3):
        wrong_requests.append(("info", {**data_set, "resolve_references": INVALID_VALUE}, (1412,)))
    for endpoint, params, codes in wrong_requests:
        _check_wrong_request(server, collector, endpoint, params, codes)
    if server.client.send_request("POST", f"{server.url}/catalog").status < 400:
        collector.add_finding("hapi.refused", "POST", value="catalog")


def _check_hapi_2_names(
    server: ExaminedHapiServer, collector: FindingCollector, data_set_check: _DataSetCheck, data: dict[str, str]
) -> None:
    """Check that a server of HAPI 3 answers the same to the parameter names of HAPI 2."""
    if server.version_numbers < (3,) or not data_set_check.rows:
        return
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
    expected_status = 404 if code in NOT_FOUND_CODES else 400
    if code not in expected_codes:
        collector.add_finding("hapi.code", request_label, value=code)
    elif answer.status != expected_status:
        collector.add_finding("hapi.http-status", request_label, value=f"{answer.status}, {code}")
    if INVALID_VALUE.encode() in answer.body:
        collector.add_finding("hapi.echo", request_label)


GROUP = CheckGroup(name="hapi", title="HAPI", checks=HAPI_CHECKS, run=_check_hapi_server, protocol="hapi")
SERVICE_KIND = LintServiceKind(
    protocol="hapi", title="HAPI", url_pattern=r".*/hapi/*", service_class=hapi.ExaminedHapiServer, groups=(GROUP,)
)
