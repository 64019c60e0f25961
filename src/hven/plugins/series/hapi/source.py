"""Read data sets from HAPI servers, as binary or CSV, in successive time windows.

If the server links coarser data sets, the one that is coarse enough is read.
"""

from __future__ import annotations

import io
import json
import math
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from pydantic import Field

from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError
from hven.model.literal import find_overflowed_numbers
from hven.model.table import Column, ParameterBins
from hven.model.types import parse_type
from hven.plugins.series import time_windows
from hven.plugins.series.time_texts import SECOND_MICROSECONDS, parse_duration
from hven.plugins.series.time_windows import (
    ServerFaultError,
    TimeWindowSource,
    WindowTooLongError,
    parse_instant,
    to_number_column,
    to_time_column,
)
from hven.sources import AvailableTable, RejectedRow, ServiceUrlSignature, Source, SourceContext
from hven.sources.api.services import BrokenAnswerError, extract_error_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.sources.http_client import StreamedAnswer

SERVICE = ServiceUrlSignature(
    url_pattern=r"(?P<url>https?://[^?#]*/hapi)(?:/[a-z]*(?:\?(?:[^#]*&)?(?:id|dataset)=(?P<dataset>[^&#]+)[^#]*)?)?",
    table_option="dataset",
)
HAPI2_PARAMETER_NAMES = {"dataset": "id", "start": "time.min", "stop": "time.max"}  # names of HAPI 2
TYPE_NAMES = {"double": "float64", "integer": "int32", "string": "string", "isotime": "timestamp"}
TOO_MUCH_DATA_STATUS, NO_DATA_STATUS = 1408, 1201
MAX_DOCUMENT_BYTES = 64 << 20  # bytes of a document


class Options(time_windows.TimeWindowOptions):
    """What a descriptor may state about a HAPI server."""

    url: str = Field(
        pattern=r"^https?://",
        description="Address of the server: https://host/hapi.",
        examples=["https://archive.example/hapi"],
    )
    cadence: float | None = Field(
        None,
        gt=0,
        description=(
            "The longest acceptable time between two samples, in seconds. If the server links to coarser data sets "
            "(`x_relations`), Hven reads the coarsest data set that is fine enough. This data set can be a hundred "
            "times smaller."
        ),
        examples=[60],
    )
    format: Literal["auto", "binary", "csv"] = Field(
        "auto",
        description=(
            "Format in which Hven requests samples: `binary` or `csv`. Default: `binary`, if the server supports it."
        ),
        examples=["csv"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a data set; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return HapiSource(options, context)


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the data sets of a server.

    Raises
    ------
    SourceError
        The server does not respond, or is no HAPI server.
    """
    server = HapiSource(Options.model_validate({**options, "dataset": "-"}), context)
    catalog = server._request_document("catalog")  # noqa: SLF001  (a class of this module)
    return [AvailableTable(option_value=str(entry["id"])) for entry in catalog.get("catalog") or ()]


class HapiSource(TimeWindowSource):
    """The samples of a data set of HAPI."""

    options: Options

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the description of the data set."""
        return None, self._dataset_info.get("description")

    # --- documents of the server ----------------------------------------------------------------------------------

    @cached_property
    def _dataset_info(self) -> dict[str, Any]:
        return self._request_document("info", dataset=self._dataset_id_at_cadence)

    @cached_property
    def _dataset_id_at_cadence(self) -> str:
        """The data set that is read: a linked one, where a cadence is requested."""
        wanted_cadence = self.options.cadence
        name = self.options.dataset
        if wanted_cadence is None:
            return name
        info = self._request_document("info", dataset=name)
        linked: list[tuple[float, str]] = []
        for relation in info.get("x_relations", ()):
            if not isinstance(relation, dict) or not isinstance(relation.get("id"), str):
                continue
            if relation.get("type", "resample") != "resample":
                continue
            seconds = _parse_duration_seconds(relation.get("cadence"))
            if seconds is not None and seconds <= wanted_cadence:
                linked.append((seconds, relation["id"]))
        if linked:
            _, coarsest_name = max(linked)
            return coarsest_name
        native_cadence = _parse_duration_seconds(info.get("cadence"))
        if native_cadence is not None and native_cadence < wanted_cadence:
            self._report_once(
                f"{self.source_name} links no data set with samples every {wanted_cadence:g} s, so Hven reads all "
                "samples"
            )
        return name

    @cached_property
    def _capabilities(self) -> dict[str, Any]:
        return self._request_document("capabilities")

    @property
    def _uses_binary(self) -> bool:
        if self.options.format != "auto":
            return self.options.format == "binary"
        return "binary" in (self._capabilities.get("outputFormats") or ())

    @cached_property
    def _parameters(self) -> dict[str, dict[str, Any]]:
        try:
            parameters = self._parse_dataset_parameters()
        except (KeyError, TypeError, ValueError) as error:
            raise ServerFaultError(
                f"the `info` response of {self.source_name} contains an invalid parameter description: {error!r}"
            ) from error
        first = next(iter(parameters), None)
        if first is None or parameters[first]["type"] != "isotime":
            raise ServerFaultError(f"the `info` response of {self.source_name} does not begin with a time")
        return self._select_columns(parameters, "parameter")

    def _parse_dataset_parameters(self) -> dict[str, dict[str, Any]]:
        """Read the parameters of the info by name; check their types, sizes and lengths."""
        parameters: dict[str, dict[str, Any]] = {}
        for entry in self._dataset_info.get("parameters") or ():
            parameter = {**entry, "size": tuple(map(int, entry.get("size") or ()))}
            _ = TYPE_NAMES[parameter["type"]]
            if _is_text_parameter(parameter):
                parameter["length"] = int(parameter["length"])
            parameters[str(entry["name"])] = parameter
        return parameters

    @cached_property
    def _columns(self) -> dict[str, Column]:
        first = next(iter(self._parameters))
        columns = {}
        for name, parameter in self._parameters.items():
            sizes = [str(size) for size in reversed(parameter["size"])]
            kind = TYPE_NAMES[parameter["type"]]
            if sizes and _is_text_parameter(parameter):  # an array of texts; there is no type for arrays of times
                kind = "string"
                sizes = [str(max(parameter["length"], 1)), *sizes]
                if parameter["type"] == "isotime":
                    message = "Hven reads the elements of an array of times as texts"
                    deviation = ReadDeviation(
                        kind=DeviationKind.TYPE, column=name, file=self.source_name, message=message
                    )
                    self._report_once(deviation)
            if sizes:
                kind += f"[{'x'.join(sizes)}]"
            unit = parameter.get("units")
            if not isinstance(unit, str) or parameter["type"] == "isotime" or unit == "dimensionless":
                unit = None
            columns[name] = Column(
                name=name,
                type=parse_type(kind),
                unit=unit,
                description=parameter.get("description"),
                ucd="time.epoch" if name == first else None,
            )
        return columns

    def read_parameter_bins(self) -> Mapping[str, tuple[ParameterBins, ...]]:
        """Read the bins of the elements of columns; bins that are described wrongly are left out and reported."""
        bins_by_name = {}
        for name, parameter in self._parameters.items():
            try:
                bins_by_name[name] = tuple(map(_parse_bins, parameter.get("bins") or ()))
            except (KeyError, TypeError, ValueError):
                self._report_once(
                    f"{self.source_name} has an invalid description of the bins of {name}, so Hven leaves them out"
                )
        return {name: bins for name, bins in bins_by_name.items() if bins}

    def read_text_lengths(self) -> Mapping[str, int]:
        """Read the largest number of bytes of each text column."""
        lengths: dict[str, int] = {}
        for name, parameter in self._parameters.items():
            is_time = parameter["type"] == "isotime" and not parameter["size"]
            if _is_text_parameter(parameter) and not is_time:
                lengths[name] = parameter["length"]
        return lengths

    @cached_property
    def _time_limits(self) -> tuple[int, int]:
        try:
            first, last = (parse_instant(str(self._dataset_info[key])) for key in ("startDate", "stopDate"))
        except (KeyError, ValueError) as error:
            raise ServerFaultError(
                f"the `info` response of {self.source_name} does not state the time range of its samples"
            ) from error
        return first, last

    @property
    def _cadence_microseconds(self) -> int | None:
        return self._read_duration_microseconds("cadence")

    @property
    def _max_window_microseconds(self) -> int | None:
        return self._read_duration_microseconds("maxRequestDuration")

    def _read_duration_microseconds(self, key: str) -> int | None:
        seconds = _parse_duration_seconds(self._dataset_info.get(key))
        if seconds:
            return int(seconds * SECOND_MICROSECONDS)
        return None

    def _build_url(self, endpoint: str, parameters: dict[str, str], *, is_hapi2: bool) -> str:
        if is_hapi2:
            parameters = {HAPI2_PARAMETER_NAMES.get(name, name): value for name, value in parameters.items()}
        url = f"{self.service.url}/{endpoint}"
        query = urlencode(parameters, safe=":,")
        if query:
            url = f"{url}?{query}"
        return url

    def _request_document(self, endpoint: str, **parameters: str) -> dict[str, Any]:
        is_hapi2 = endpoint != "capabilities" and _is_hapi_1_or_2(self._capabilities)
        url = self._build_url(endpoint, parameters, is_hapi2=is_hapi2)

        def request_once() -> dict[str, Any]:
            with self.service.request("GET", url) as answer:
                if answer.status != 200:
                    raise self._build_refusal_error(answer)
                data = bytearray()
                for part in answer.parts:
                    data += part
                    if len(data) > MAX_DOCUMENT_BYTES:
                        raise SourceError(
                            f"the `{endpoint}` response of {self.source_name} is larger than "
                            f"{MAX_DOCUMENT_BYTES:,} bytes"
                        )
            try:
                document = json.loads(data)
            except ValueError as error:
                raise BrokenAnswerError(f"the `{endpoint}` response is not JSON: {error}") from error
            if not isinstance(document, dict):
                raise SourceError(
                    f"the `{endpoint}` response of {self.service.host} is not a JSON object",
                    remedy="give the address that ends in /hapi",
                )
            return document

        return self.service.retry(request_once)

    def _build_refusal_error(self, answer: StreamedAnswer) -> Exception:
        """Build the error that an answer other than 200 means."""
        data = self._budget.read_answer_within_limit(answer.parts, MAX_DOCUMENT_BYTES)
        code, message = _parse_hapi_status(data)
        if code == TOO_MUCH_DATA_STATUS or answer.status == 413:
            return WindowTooLongError(message)
        if answer.status >= 500:
            return BrokenAnswerError(
                f"the server returned status {answer.status}: {message or extract_error_text(data)}"
            )
        reason = message or extract_error_text(data)
        return SourceError(
            f"{self.source_name}: the server returned status {code or answer.status}: {reason}",
            remedy="check the server's `catalog` and `info` responses",
        )

    # --- samples -------------------------------------------------------------------------------------------------

    def _request_window(self, start: int, stop: int, column_names: Sequence[str]) -> list[pa.Table]:
        wanted_names = [name for name in column_names if name != self.time_column_name]
        url_parameters = {
            "dataset": self._dataset_id_at_cadence,
            "start": f"{np.datetime64(start, 'us')}Z",
            "stop": f"{np.datetime64(stop, 'us')}Z",
        }
        if len(column_names) < len(self._dataset_info["parameters"]):
            url_parameters["parameters"] = ",".join(wanted_names) or self.time_column_name
        url_parameters["format"] = "binary" if self._uses_binary else "csv"
        url = self._build_url("data", url_parameters, is_hapi2=_is_hapi_1_or_2(self._dataset_info))
        with self.service.request("GET", url) as answer:
            if answer.status == 204:
                return []
            if answer.status != 200:
                raise self._build_refusal_error(answer)
            data = self._budget.read_answer_within_limit(answer.parts)
        if data[:1] == b"{":  # an error with the status 200
            code, message = _parse_hapi_status(data)
            if code == NO_DATA_STATUS:
                return []
            if code is not None:
                raise SourceError(
                    f"{self.source_name}: the server returned status {code}: {message}",
                    remedy="check the server's `info` response",
                )
        if not data:
            return []
        chosen = {name: self._parameters[name] for name in column_names}
        if self._uses_binary:
            parse = self._parse_binary
        else:
            parse = self._parse_csv
        return [parse(data, chosen)]

    def _parse_binary(self, data: bytes, parameters: dict[str, dict[str, Any]]) -> pa.Table:
        numbers = {"double": "<f8", "integer": "<i4"}
        kind = np.dtype(
            [
                (name, numbers.get(parameter["type"], f"S{parameter.get('length')}"), parameter["size"])
                for name, parameter in parameters.items()
            ]
        )
        if len(data) % kind.itemsize:
            raise BrokenAnswerError(
                f"the response has {len(data):,} bytes, which is not a multiple of the record length "
                f"({kind.itemsize} bytes)"
            )
        rows = np.frombuffer(data, kind)
        arrays = {name: self._build_array(rows[name], name, parameter) for name, parameter in parameters.items()}
        return pa.table(arrays)

    def _build_array(self, values: Any, name: str, parameter: dict[str, Any]) -> pa.Array:
        fill = parameter.get("fill")
        if parameter["size"] and _is_text_parameter(parameter):
            count = _count_elements(parameter)
            flat_values = np.ascontiguousarray(values).ravel()
            flat = self._build_array(flat_values, name, {**parameter, "size": (), "type": "string"})
            total = len(values) * count
            offsets = np.arange(0, total + 1, count, dtype=np.int32)
            return pa.ListArray.from_arrays(pa.array(offsets), flat)
        if parameter["type"] == "isotime":
            try:
                return to_time_column(np.ascontiguousarray(values), fill)
            except ValueError as error:
                raise ServerFaultError(
                    f"{self.source_name} sent a value of {name!r} that is not a time: {error}"
                ) from error
        if parameter["type"] == "string":
            return self._build_text_array(values, name, fill)
        if parameter["size"]:
            values = np.ascontiguousarray(values).reshape(len(values), -1)
        return to_number_column(values, _parse_number(fill), self._columns[name].type.arrow)

    def _build_text_array(self, values: Any, name: str, fill: Any) -> pa.Array:
        flat_values = np.ascontiguousarray(values).ravel()
        texts = pa.array(flat_values.astype(object), pa.binary())
        try:
            decoded_texts = texts.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise ServerFaultError(f"{self.source_name} sent a value of {name!r} that is not UTF-8") from error
        if fill is not None:
            return pc.if_else(pc.equal(decoded_texts, fill), None, decoded_texts)
        return decoded_texts

    def _parse_csv(self, data: bytes, parameters: dict[str, dict[str, Any]]) -> pa.Table:
        if not data.endswith(b"\n"):
            raise BrokenAnswerError("the last line is incomplete, so the response is truncated")
        kinds = {"double": pa.float64(), "integer": pa.int32()}
        cell_types: list[pa.DataType] = []
        for parameter in parameters.values():
            kind = kinds.get(parameter["type"], pa.string())
            cell_types += [kind] * _count_elements(parameter)
        types = {f"f{index}": kind for index, kind in enumerate(cell_types)}
        try:
            csv_table = pv.read_csv(
                io.BytesIO(data),
                read_options=pv.ReadOptions(column_names=list(types)),
                parse_options=pv.ParseOptions(invalid_row_handler=self._reject_csv_row),
                convert_options=pv.ConvertOptions(
                    column_types=types, null_values=["NaN", "nan", ""], strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise ServerFaultError(
                f"{self.source_name} sent lines that do not match its `info` response: {error}"
            ) from error
        self._check_overflow(data, list(types), csv_table)
        arrays_by_name = {}
        columns = iter(csv_table.columns)
        for name, parameter in parameters.items():
            parts = list(islice(columns, _count_elements(parameter)))
            if parameter["type"] in kinds:
                elements = [part.to_numpy() for part in parts]
            else:
                text_dtype = f"S{max(parameter['length'], 1)}"
                elements = [part.cast(pa.binary()).to_numpy().astype(text_dtype) for part in parts]
            if parameter["size"]:
                values = np.stack(elements, axis=1)
            else:
                values = elements[0]
            arrays_by_name[name] = self._build_array(values, name, parameter)
        return pa.table(arrays_by_name)

    def _reject_csv_row(self, row: Any) -> str:
        if self.context.on_reject is None:
            return "error"
        reason = f"{row.actual_columns} values instead of {row.expected_columns}"
        rejected_row = RejectedRow(file=None, row=None, column=None, value=row.text, reason=reason, text=row.text)
        self.context.on_reject(rejected_row)
        return "skip"

    def _check_overflow(self, data: bytes, names: list[str], table: pa.Table) -> None:
        """Refuse numbers that are too large for a double: Arrow reads them as infinity."""
        large = [name for name in names if _has_infinity(table.column(name))]
        if not large:
            return
        column_types = dict.fromkeys(large, pa.string())
        texts = pv.read_csv(
            io.BytesIO(data),
            read_options=pv.ReadOptions(column_names=names),
            parse_options=pv.ParseOptions(invalid_row_handler=lambda _row: "skip"),
            convert_options=pv.ConvertOptions(column_types=column_types, include_columns=large),
        )
        for name in large:
            written = texts.column(name).combine_chunks()
            read = table.column(name).combine_chunks()
            flags = find_overflowed_numbers(written, read)
            if flags is not None:
                value = written[int(flags.argmax())].as_py()
                raise ServerFaultError(f"{self.source_name} sent {value}, which is too large for a double")


def _is_hapi_1_or_2(document: Mapping[str, Any]) -> bool:
    """Check whether a document is of HAPI 1 or 2."""
    version = str(document.get("HAPI", "3"))
    return version[:2] in {"1.", "2."}


def _is_text_parameter(parameter: Mapping[str, Any]) -> bool:
    return parameter["type"] in {"string", "isotime"}


def _count_elements(parameter: Mapping[str, Any]) -> int:
    return math.prod(parameter["size"])


def _has_infinity(column: pa.ChunkedArray) -> bool:
    return pa.types.is_floating(column.type) and bool(pc.any(pc.is_inf(column)).as_py())


def _parse_bins(bins_entry: Any) -> ParameterBins:
    """Parse the bins of one dimension; `centers` and `ranges` may name another parameter."""
    centers = bins_entry.get("centers") or ()
    if not isinstance(centers, str):
        centers = tuple(map(float, centers))
    ranges = bins_entry.get("ranges") or ()
    if not isinstance(ranges, str):
        ranges = tuple((float(low), float(high)) for low, high in ranges)
    return ParameterBins(
        name=str(bins_entry["name"]),
        unit=bins_entry.get("units") or None,
        label=bins_entry.get("label"),
        description=bins_entry.get("description"),
        centers=centers,
        ranges=ranges,
    )


def _parse_number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _parse_duration_seconds(duration: Any) -> float | None:
    """Parse a duration in seconds; None: it is none, or 0."""
    if isinstance(duration, str):
        return parse_duration(duration) or None
    return None


def _parse_hapi_status(data: bytes) -> tuple[int | None, str]:
    """Find HAPI's code and message in a document; None: the document is not HAPI's."""
    try:
        status = json.loads(data)["status"]
        code = int(status["code"])
        message = str(status.get("message", ""))
    except (ValueError, TypeError, KeyError):
        return None, ""
    return code, message[:400]
