"""Data sets of HAPI servers elsewhere: binary or CSV, window by window.

Of coarser data sets that the server links, the one that is coarse enough.
"""

from __future__ import annotations

import io
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from pydantic import Field

from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError
from hven.model.literal import find_overflow
from hven.model.table import Column, ParameterBins
from hven.model.types import parse_type
from hven.sources import AvailableTable, RejectedRow, ServiceSignature, Source, SourceContext
from hven.sources._reading import time_windows
from hven.sources._reading.service_client import BrokenAnswerError, extract_error_text
from hven.sources._reading.time_windows import (
    SECOND_MICROSECONDS,
    TimeWindowSource,
    WindowTooLongError,
    parse_instants,
    to_number_column,
    to_time_column,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.sources.http_client import StreamedAnswer

SERVICE = ServiceSignature(
    url_pattern=r"(?P<url>https?://[^?#]*/hapi)(?:/[a-z]*(?:\?(?:[^#]*&)?(?:id|dataset)=(?P<dataset>[^&#]+)[^#]*)?)?",
    table_option="dataset",
)
HAPI2_PARAMETER_NAMES = {"dataset": "id", "start": "time.min", "stop": "time.max"}  # names of HAPI 2
TYPE_NAMES = {"double": "float64", "integer": "int32", "string": "string", "isotime": "timestamp"}
TOO_MUCH_DATA_STATUS, NO_DATA_STATUS = 1408, 1201
MAX_DOCUMENT_BYTES = 64 << 20  # bytes of a document
_DURATION_PATTERN = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?"
)
_DURATION_UNIT_SECONDS = (31_536_000, 2_592_000, 86_400, 3_600, 60, 1)


class Options(time_windows.TimeWindowOptions):
    """What a descriptor may say of a HAPI server."""

    url: str = Field(pattern=r"^https?://", description="Address of the server: https://host/hapi.")
    cadence: float | None = Field(
        None,
        gt=0,
        description="Seconds that may lie between two samples: of the coarser data sets that the server links "
        "(x_relations), the coarsest that is not coarser is read.",
    )
    format: Literal["auto", "binary", "csv"] = Field(
        "auto", description="How samples are asked for: binary, where the server has it."
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a data set; nothing is asked yet.

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
        It does not answer, or is no HAPI server.
    """
    server = HapiSource(Options.model_validate({**options, "dataset": "-"}), context)
    return [
        AvailableTable(option_value=str(catalog_entry["id"]))
        for catalog_entry in server._request_document("catalog").get("catalog") or ()  # noqa: SLF001  (ours)
    ]


class HapiSource(TimeWindowSource):
    """The samples of a data set of HAPI."""

    options: Options

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the data set's description."""
        return None, self._dataset_info.get("description")

    # --- what the server says ------------------------------------------------------------------------------------

    @cached_property
    def _dataset_info(self) -> dict[str, Any]:
        return self._request_document("info", dataset=self._dataset_id)

    @cached_property
    def _dataset_id(self) -> str:
        """The data set that is read: one of those that it links, where a cadence is asked for."""
        wanted_cadence = self.options.cadence
        name = self.options.dataset
        if wanted_cadence is None:
            return name
        info = self._request_document("info", dataset=name)
        linked = [
            (seconds, relation["id"])
            for relation in info.get("x_relations", ())
            if isinstance(relation, dict)
            and isinstance(relation.get("id"), str)
            and relation.get("type", "resample") == "resample"
            if (seconds := _parse_duration(relation.get("cadence"))) is not None and seconds <= wanted_cadence
        ]
        if not linked and (native := _parse_duration(info.get("cadence"))) is not None and native < wanted_cadence:
            self._report_once(
                f"{self.source_name} links no data set with samples every {wanted_cadence:g} s; all its "
                f"samples are read"
            )
        return str(max(linked, default=(0.0, name))[1])

    @cached_property
    def _capabilities(self) -> dict[str, Any]:
        return self._request_document("capabilities")

    @property
    def _uses_binary(self) -> bool:
        format_option = self.options.format
        return format_option == "binary" or (
            format_option == "auto" and "binary" in (self._capabilities.get("outputFormats") or ())
        )

    @cached_property
    def _parameters(self) -> dict[str, dict[str, Any]]:
        parameter_list = self._dataset_info.get("parameters")
        try:
            parameters = {
                str(parameter["name"]): {**parameter, "type": parameter["type"]} for parameter in parameter_list or ()
            }
            for parameter in parameters.values():
                _ = TYPE_NAMES[parameter["type"]], [int(size) for size in parameter.get("size") or ()]
                if parameter["type"] in {"string", "isotime"}:
                    parameter["length"] = int(parameter["length"])
        except (KeyError, TypeError, ValueError) as error:
            raise SourceError(
                f"the info of {self.source_name} describes a parameter wrongly: {error!r}", remedy="tell its owners"
            ) from error
        if not parameters or next(iter(parameters.values()))["type"] != "isotime":
            raise SourceError(f"the info of {self.source_name} does not begin with a time", remedy="tell its owners")
        wanted_names = self.options.columns
        for name in wanted_names or ():
            if name not in parameters:
                raise SourceError(
                    f"{self.source_name} has no parameter {name!r}", remedy=f"it has {', '.join(parameters)[:500]}"
                )
        first = next(iter(parameters))
        return {
            name: parameter
            for name, parameter in parameters.items()
            if wanted_names is None or name in {first, *wanted_names}
        }

    @cached_property
    def _columns(self) -> dict[str, Column]:
        first = next(iter(self._parameters))
        columns = {}
        for name, parameter in self._parameters.items():
            size = [int(each) for each in parameter.get("size") or ()]
            sizes = [*map(str, reversed(size))]
            kind = TYPE_NAMES[parameter["type"]]
            if size and parameter["type"] in {
                "string",
                "isotime",
            }:  # an array of texts; there is no type for arrays of times
                kind = "string"
                sizes = [str(max(parameter["length"], 1)), *sizes]
                if parameter["type"] == "isotime":
                    message = "the elements of an array of times are read as texts"
                    self._report_once(
                        Deviation(kind=DeviationKind.TYPE, column=name, file=self.source_name, message=message)
                    )
            if size:
                shape = f"[{'x'.join(sizes)}]"
            else:
                shape = ""
            units = parameter.get("units")
            if isinstance(units, str) and parameter["type"] != "isotime" and units != "dimensionless":
                unit = units
            else:
                unit = None
            columns[name] = Column(
                name=name,
                type=parse_type(kind + shape),
                unit=unit,
                description=parameter.get("description"),
                ucd="time.epoch" if name == first else None,
            )
        return columns

    def read_bins(self) -> Mapping[str, tuple[ParameterBins, ...]]:
        """Say what the elements of columns stand for; of what is said wrongly, nothing."""
        bins_by_name = {}
        for name, parameter in self._parameters.items():
            try:
                bins_by_name[name] = tuple(_parse_bins(each) for each in parameter.get("bins") or ())
            except (KeyError, TypeError, ValueError):
                self._report_once(f"{self.source_name} describes the bins of {name} wrongly; they are left out")
        return {name: bins for name, bins in bins_by_name.items() if bins}

    def read_text_lengths(self) -> Mapping[str, int]:
        """Say how many bytes texts have at most."""
        return {
            name: parameter["length"]
            for name, parameter in self._parameters.items()
            if parameter["type"] == "string" or (parameter["type"] == "isotime" and parameter.get("size"))
        }

    @cached_property
    def _time_limits(self) -> tuple[int, int]:
        try:
            first, last = (
                int(parse_instants(np.array([str(self._dataset_info[key]).encode()]))[0])
                for key in ("startDate", "stopDate")
            )
        except (KeyError, ValueError) as error:
            raise SourceError(
                f"the info of {self.source_name} does not say from when to when it has samples",
                remedy="tell its owners",
            ) from error
        return first, last

    @property
    def _cadence_microseconds(self) -> int | None:
        seconds = _parse_duration(self._dataset_info.get("cadence"))
        return int(seconds * SECOND_MICROSECONDS) if seconds else None

    @property
    def _max_window_microseconds(self) -> int | None:
        seconds = _parse_duration(self._dataset_info.get("maxRequestDuration"))
        return int(seconds * SECOND_MICROSECONDS) if seconds else None

    def _build_url(self, endpoint: str, parameters: dict[str, str], *, is_hapi2: bool) -> str:
        query = urlencode(
            {HAPI2_PARAMETER_NAMES.get(name, name) if is_hapi2 else name: value for name, value in parameters.items()},
            safe=":,",
        )
        return f"{self.service.url}/{endpoint}{'?' if query else ''}{query}"

    def _request_document(self, endpoint: str, **parameters: str) -> dict[str, Any]:
        is_hapi2 = endpoint != "capabilities" and str(self._capabilities.get("HAPI", "3"))[:2] in {"1.", "2."}

        def request_once() -> dict[str, Any]:
            with self.service.request("GET", self._build_url(endpoint, parameters, is_hapi2=is_hapi2)) as answer:
                if answer.status != 200:
                    raise self._build_refusal_error(answer)
                data = bytearray()
                for part in answer.parts:
                    data += part
                    if len(data) > MAX_DOCUMENT_BYTES:
                        raise SourceError(
                            f"/{endpoint} of {self.source_name} has more than {MAX_DOCUMENT_BYTES:,} bytes"
                        )
            try:
                document = json.loads(data)
            except ValueError as error:
                raise BrokenAnswerError(f"/{endpoint} is no JSON: {error}") from error
            if not isinstance(document, dict):
                raise SourceError(
                    f"/{endpoint} of {self.service.host} is no JSON object",
                    remedy="give the address that ends in /hapi",
                )
            return document

        return self.service.retry(request_once)

    def _build_refusal_error(self, answer: StreamedAnswer) -> Exception:
        """Make the error that the server means."""
        data = self._budget.read_answer(answer.parts, MAX_DOCUMENT_BYTES)
        code, message = _parse_status(data)
        if code == TOO_MUCH_DATA_STATUS or answer.status == 413:
            return WindowTooLongError(message)
        if answer.status >= 500:
            return BrokenAnswerError(f"answers {answer.status}: {message or extract_error_text(data)}")
        return SourceError(
            f"{self.source_name}: the server answers {code or answer.status}: {message or extract_error_text(data)}",
            remedy="look at its catalog and its info",
        )

    # --- samples -------------------------------------------------------------------------------------------------

    def _request_window(self, start: int, stop: int, column_names: Sequence[str]) -> list[pa.Table]:
        asked = [name for name in column_names if name != self.time_column_name]
        url_parameters = {
            "dataset": self._dataset_id,
            "start": f"{np.datetime64(start, 'us')}Z",
            "stop": f"{np.datetime64(stop, 'us')}Z",
        }
        if len(column_names) < len(self._dataset_info["parameters"]):
            url_parameters["parameters"] = ",".join(asked) or self.time_column_name
        if self._uses_binary:
            url_parameters["format"] = "binary"
        else:
            url_parameters["format"] = "csv"
        old = str(self._dataset_info.get("HAPI", "3"))[:2] in {"1.", "2."}
        with self.service.request("GET", self._build_url("data", url_parameters, is_hapi2=old)) as answer:
            if answer.status == 204:
                return []
            if answer.status != 200:
                raise self._build_refusal_error(answer)
            data = self._budget.read_answer(answer.parts)
        if data[:1] == b"{":  # an error that says 200
            code, message = _parse_status(data)
            if code == NO_DATA_STATUS:
                return []
            if code is not None:
                raise SourceError(
                    f"{self.source_name}: the server answers {code}: {message}", remedy="look at its info"
                )
        if not data:
            return []
        chosen = {name: self._parameters[name] for name in column_names}
        return [self._parse_binary(data, chosen) if self._uses_binary else self._parse_csv(data, chosen)]

    def _parse_binary(self, data: bytes, parameters: dict[str, dict[str, Any]]) -> pa.Table:
        numbers = {"double": "<f8", "integer": "<i4"}
        kind = np.dtype(
            [
                (
                    name,
                    numbers.get(parameter["type"], f"S{parameter.get('length')}"),
                    tuple(parameter.get("size") or ()),
                )
                for name, parameter in parameters.items()
            ]
        )
        if len(data) % kind.itemsize:
            raise BrokenAnswerError(f"{len(data):,} bytes are no whole number of records of {kind.itemsize}")
        rows = np.frombuffer(data, kind)
        return pa.table(
            {name: self._build_array(rows[name], name, parameter) for name, parameter in parameters.items()}
        )

    def _build_array(self, values: Any, name: str, parameter: dict[str, Any]) -> pa.Array:
        fill = parameter.get("fill")
        if parameter.get("size") and parameter["type"] in {"string", "isotime"}:
            count = int(np.prod(parameter["size"]))
            flat = self._build_array(
                np.ascontiguousarray(values).ravel(), name, {**parameter, "size": (), "type": "string"}
            )
            offsets = np.arange(0, len(values) * count + 1, count, dtype=np.int32)
            return pa.ListArray.from_arrays(pa.array(offsets), flat)
        if parameter["type"] == "isotime":
            try:
                return to_time_column(np.ascontiguousarray(values), fill)
            except ValueError as error:
                raise SourceError(
                    f"{self.source_name} sends as {name} what is no time: {error}", remedy="tell its owners"
                ) from error
        if parameter["type"] == "string":
            texts = pa.array(np.ascontiguousarray(values).ravel().astype(object), pa.binary())
            try:
                decoded_texts = texts.cast(pa.string())
            except pa.ArrowInvalid as error:
                raise SourceError(
                    f"{self.source_name} sends as {name} what is no UTF-8", remedy="tell its owners"
                ) from error
            if fill is not None:
                return pc.if_else(pc.equal(decoded_texts, fill), None, decoded_texts)
            return decoded_texts
        number = _parse_number(fill)
        return to_number_column(
            np.ascontiguousarray(values).reshape(len(values), -1) if parameter.get("size") else values,
            number,
            self._columns[name].type.arrow,
        )

    def _parse_csv(self, data: bytes, parameters: dict[str, dict[str, Any]]) -> pa.Table:
        if not data.endswith(b"\n"):
            raise BrokenAnswerError("the last line has no end: the answer broke off")
        kinds = {"double": pa.float64(), "integer": pa.int32()}
        cells = [
            (name, parameter)
            for name, parameter in parameters.items()
            for _ in range(int(np.prod(parameter.get("size") or (1,))))
        ]
        types = {f"f{at}": kinds.get(parameter["type"], pa.string()) for at, (_, parameter) in enumerate(cells)}

        def reject_csv_row(row: Any) -> str:
            if self.context.on_reject is None:
                return "error"
            self.context.on_reject(
                RejectedRow(
                    file=None,
                    row=None,
                    column=None,
                    value=row.text,
                    reason=f"{row.actual_columns} values, not {row.expected_columns}",
                    text=row.text,
                )
            )
            return "skip"

        try:
            csv_table = pv.read_csv(
                io.BytesIO(data),
                read_options=pv.ReadOptions(column_names=list(types)),
                parse_options=pv.ParseOptions(invalid_row_handler=reject_csv_row),
                convert_options=pv.ConvertOptions(
                    column_types=types, null_values=["NaN", "nan", ""], strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise SourceError(
                f"{self.source_name} sends lines that are not as its info says: {error}", remedy="tell its owners"
            ) from error
        self._check_overflow(data, list(types), csv_table)
        arrays_by_name = {}
        columns = iter(csv_table.columns)
        for name, parameter in parameters.items():
            parts = [next(columns) for _ in range(int(np.prod(parameter.get("size") or (1,))))]
            if parameter["type"] in kinds:
                arrays = [part.to_numpy() for part in parts]
                arrays_by_name[name] = self._build_array(
                    np.stack(arrays, axis=1) if parameter.get("size") else arrays[0], name, parameter
                )
            else:
                kind = f"S{max(parameter['length'], 1)}"
                texts = np.stack([part.cast(pa.binary()).to_numpy().astype(kind) for part in parts], axis=1)
                arrays_by_name[name] = self._build_array(
                    texts if parameter.get("size") else texts[:, 0], name, parameter
                )
        return pa.table(arrays_by_name)

    def _check_overflow(self, data: bytes, names: list[str], table: pa.Table) -> None:
        """Refuse numbers that are too large for a double: Arrow reads an infinity."""
        large = [
            name
            for name in names
            if pa.types.is_floating(table.column(name).type) and pc.any(pc.is_inf(table.column(name))).as_py()
        ]
        if not large:
            return
        texts = pv.read_csv(
            io.BytesIO(data),
            read_options=pv.ReadOptions(column_names=names),
            parse_options=pv.ParseOptions(invalid_row_handler=lambda _row: "skip"),
            convert_options=pv.ConvertOptions(column_types=dict.fromkeys(large, pa.string()), include_columns=large),
        )
        for name in large:
            written, read = (table.column(name).combine_chunks() for table in (texts, table))
            flags = find_overflow(written, read)
            if flags is not None:
                value = written[int(flags.argmax())].as_py()
                raise SourceError(
                    f"{self.source_name} sends {value}, which is too large for a double", remedy="tell its owners"
                )


def _parse_bins(bins_entry: Any) -> ParameterBins:
    """Read what the elements of one dimension stand for; `centers` may be another parameter."""
    centers = bins_entry.get("centers") or ()
    ranges = bins_entry.get("ranges") or ()
    return ParameterBins(
        name=str(bins_entry["name"]),
        unit=bins_entry.get("units") or None,
        label=bins_entry.get("label"),
        description=bins_entry.get("description"),
        centers=centers if isinstance(centers, str) else tuple(map(float, centers)),
        ranges=ranges if isinstance(ranges, str) else tuple((float(low), float(high)) for low, high in ranges),
    )


def _parse_number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _parse_duration(duration: Any) -> float | None:
    """Read a duration as ISO 8601 has it, about; None: it is none."""
    if isinstance(duration, str):
        match = _DURATION_PATTERN.fullmatch(duration)
    else:
        match = None
    if match:
        total = sum(
            float(amount) * length
            for amount, length in zip(match.groups(), _DURATION_UNIT_SECONDS, strict=True)
            if amount
        )
    else:
        total = 0.0
    return total or None


def _parse_status(data: bytes) -> tuple[int | None, str]:
    """Find HAPI's code and message in a document; None: it is none of HAPI's."""
    try:
        status = json.loads(data)["status"]
        return int(status["code"]), str(status.get("message", ""))[:400]
    except (ValueError, TypeError, KeyError):
        return None, ""


__all__ = ["Options", "open"]
