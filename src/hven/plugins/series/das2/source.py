"""Read data sources from remote das2 servers.

They send streams of das2 2.2, window by window, at the requested resolution.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
from pydantic import Field

from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError
from hven.model.table import Column, ParameterBins
from hven.model.types import parse_type
from hven.plugins.series import time_windows
from hven.plugins.series.das2 import stream_reading
from hven.plugins.series.das2.stream_reading import Das2PacketVariable, Das2Stream, Das2StreamError, PacketSampleSegment
from hven.plugins.series.time_texts import SECOND_MICROSECONDS
from hven.plugins.series.time_windows import TimeWindowSource, parse_instant, to_number_column
from hven.sources import ServiceUrlSignature
from hven.sources.api.services import extract_error_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.sources import Source, SourceContext

SERVICE = ServiceUrlSignature(
    url_pattern=r"(?P<url>https?://[^?#]*das2[^?#]*?)(?:\?(?:[^#]*&)?dataset=(?P<dataset>[^&#]+)[^#]*)?",
    table_option="dataset",
)
TIME_COLUMN = "time"
NO_DATA_EXCEPTION = "NoDataInInterval"
FIRST_LOOK_DIVISOR = 1000  # without an example, this part of all the time shows the variables
_NON_WORD_PATTERN = re.compile(r"\W+")


class Options(time_windows.TimeWindowOptions):
    """What a descriptor may state about a das2 server."""

    url: str = Field(
        pattern=r"^https?://",
        description="Address of the server: https://host/das2/server.",
        examples=["https://archive.example/das2/server"],
    )
    resolution: float | None = Field(
        None,
        gt=0,
        description=(
            "The longest acceptable time between two samples, in seconds. The server then reduces the samples to means "
            "and peaks. Default: all samples."
        ),
        examples=[60],
    )
    params: str | None = Field(
        None, description=("Value of the parameter `params` in requests to the data source."), examples=["RCP_only"]
    )
    tags: bool = Field(
        False,
        description=(
            "`true`: Hven adds a column NAME_tags with the values that belong to the items of each spectrum (yTags). "
            "These values can differ between spectra."
        ),
        examples=[True],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a data source; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return Das2Source(options, context)


class Das2Source(TimeWindowSource):
    """The samples of a data source of das2."""

    options: Options

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return title and description of the data source."""
        properties = self._dataset_properties
        description = properties.get("summary") or properties.get("description")
        return properties.get("title"), description

    @cached_property
    def _dataset_properties(self) -> dict[str, str]:
        """The properties of the data source, as the server states them."""
        return self._request_stream({"server": "dsdf", "dataset": self.options.dataset}).properties

    @cached_property
    def _time_limits(self) -> tuple[int, int]:
        range_text = self._dataset_properties.get("validRange", "")
        first, last = _parse_time_range(range_text) or (None, None)
        if self.options.start:
            first = _parse_instant(self.options.start)
        if self.options.stop:
            last = _parse_instant(self.options.stop)
        if first is None or last is None:
            raise SourceError(
                f"{self.source_name} does not state the time range of its samples: validRange is {range_text!r:.80}",
                remedy="set `start` and `stop`",
            )
        return first, last

    @cached_property
    def _variables(self) -> dict[str, Das2PacketVariable]:
        """The variables of the first samples, by the names of their columns."""
        first, last = self._time_limits
        width = max((last - first) // FIRST_LOOK_DIVISOR, 60 * SECOND_MICROSECONDS)
        spans = [(first, min(first + width, last)), (max(last - width, first), last), (first, last)]
        example = _parse_time_range(self._dataset_properties.get("exampleRange_00", ""))
        if example is not None:
            spans.insert(0, example)
        for start, stop in spans:
            stream = self._request_samples(start, stop)
            if stream is None or not stream.segments:
                continue
            variables: dict[str, Das2PacketVariable] = {}
            for segment in stream.segments:
                for number, plane in enumerate(segment.planes[1:], 1):
                    variables.setdefault(_build_column_name(plane, number), plane)
            return variables
        raise SourceError(f"{self.source_name} has no samples", remedy="choose a different `start` and `stop`")

    @cached_property
    def _columns(self) -> dict[str, Column]:
        time_column = Column(
            name=TIME_COLUMN,
            type=parse_type("timestamp"),
            ucd="time.epoch",
            description=self._dataset_properties.get("xLabel"),
        )
        columns = {TIME_COLUMN: time_column}
        for name, plane in self._variables.items():
            columns[name] = self._build_variable_column(name, plane)
            if self.options.tags and plane.item_values:
                tags_name = f"{name}_tags"
                kind = parse_type("float64[*]")
                columns[tags_name] = Column(name=tags_name, type=kind, description=plane.properties.get("yLabel"))
        return self._select_columns(columns, "variable")

    def _build_variable_column(self, name: str, plane: Das2PacketVariable) -> Column:
        kind = "float64"
        if plane.type.endswith("real4"):
            kind = "float32"
        if plane.is_scan and self.options.tags:
            kind = f"{kind}[*]"
        elif plane.is_scan:
            kind = f"{kind}[{plane.item_count}]"
        description = plane.properties.get("summary") or plane.properties.get("description")
        return Column(name=name, type=parse_type(kind), unit=plane.units or None, description=description)

    def read_parameter_bins(self) -> Mapping[str, tuple[ParameterBins, ...]]:
        """Return the bins of the items of spectra."""
        bins_by_name: dict[str, tuple[ParameterBins, ...]] = {}
        for name, plane in self._variables.items():
            if plane.item_values:
                label = plane.properties.get("yLabel") or "frequency"
                centers = tuple(map(float, plane.item_values))
                bins_by_name[name] = (ParameterBins(name=label, centers=centers),)
        return bins_by_name

    def _request_stream(self, parameters: dict[str, str]) -> Das2Stream:
        def request_once() -> Das2Stream:
            with self.service.request("GET", f"{self.service.url}?{urlencode(parameters, safe=':/,')}") as answer:
                data = self._budget.read_answer_within_limit(answer.parts)
                if answer.status >= 400 and data[:1] not in {b"[", b"|"}:
                    raise SourceError(
                        f"{self.source_name}: the server returned status {answer.status}: {extract_error_text(data)}",
                        remedy="check that the server's list (server=list) contains the data set",
                    )
            if data[:1] in {b"|", b"/"}:
                raise SourceError(
                    f"{self.source_name}: the server sent a das 3.0 stream",
                    remedy="ask the operators of the server for das2 2.2, the only version that Hven reads",
                )
            return stream_reading.parse_das2_stream(data)

        return self.service.retry(request_once)

    def _request_samples(self, start: int, stop: int) -> Das2Stream | None:
        parameters = {"server": "dataset", "dataset": self.options.dataset}
        parameters["start_time"] = str(np.datetime64(start, "us"))
        parameters["end_time"] = str(np.datetime64(stop, "us"))
        if self.options.resolution:
            parameters["resolution"] = f"{self.options.resolution:.9g}"
        if self.options.params:
            parameters["params"] = self.options.params
        try:
            return self._request_stream(parameters)
        except SourceError as error:
            for fault in (error, error.__cause__):
                if isinstance(fault, Das2StreamError) and fault.exception_type == NO_DATA_EXCEPTION:
                    return None
            raise

    def _request_window(self, start: int, stop: int, column_names: Sequence[str]) -> list[pa.Table]:
        stream = self._request_samples(start, stop)
        if stream is None:
            return []
        for name in stream.skipped_variables:
            self._report_dropped_column(name, "the values are not numbers, so Hven leaves them out")
        tables = [self._build_table(segment, column_names) for segment in stream.segments]
        # packets of several types take turns
        if len(tables) > 1:
            return [pa.concat_tables(tables).sort_by(TIME_COLUMN)]
        return tables

    def _report_dropped_column(self, name: str, message: str) -> None:
        deviation = ReadDeviation(
            kind=DeviationKind.DROPPED_COLUMN, column=name, file=self.source_name, message=message
        )
        self._report_once(deviation)

    def _build_table(self, segment: PacketSampleSegment, column_names: Sequence[str]) -> pa.Table:
        arrays = {TIME_COLUMN: pa.array(segment.times).cast(pa.timestamp("us"))}
        for number, (plane, values) in enumerate(zip(segment.planes[1:], segment.values, strict=True), 1):
            name = _build_column_name(plane, number)
            first = self._variables.get(name)
            if first is None:
                self._report_dropped_column(name, "the first samples do not have this variable, so Hven leaves it out")
                continue
            if not self.options.tags and first.item_values != plane.item_values:
                moment = np.datetime64(int(segment.times[0]), "us")
                raise SourceError(
                    f"{self.source_name}: at {moment}Z, the tags of {name!r} ({plane.item_count} items) differ from "
                    "the tags in the first sample",
                    remedy="write `tags: true`, which adds a column with the tags",
                )
            if name in column_names:
                plane_values = values
                if not plane.is_scan:
                    plane_values = values[:, 0]
                arrays[name] = to_number_column(plane_values, None, self._columns[name].type.arrow)
            tags_name = f"{name}_tags"
            if tags_name in column_names and plane.item_values:
                item_values = np.array(plane.item_values)
                tags = np.broadcast_to(item_values, (len(values), plane.item_count))
                arrays[tags_name] = to_number_column(tags, None, self._columns[tags_name].type.arrow)
        for name in column_names:
            if name not in arrays:
                arrays[name] = pa.nulls(len(segment.times), self._columns[name].type.arrow)
        return pa.table({name: arrays[name] for name in column_names})


def _build_column_name(plane: Das2PacketVariable, plane_number: int) -> str:
    return _NON_WORD_PATTERN.sub("_", plane.name).strip("_") or f"plane_{plane_number}"


def _parse_instant(text: str) -> int | None:
    text = text.strip().upper().removesuffix("UTC").strip()
    if text == "NOW":
        return int(dt.datetime.now(dt.UTC).timestamp()) * SECOND_MICROSECONDS
    try:
        return parse_instant(text.replace(" ", "T"))
    except ValueError:
        return None


def _parse_time_range(text: str) -> tuple[int, int] | None:
    """Parse `A to B UTC | words`; None: it is no range."""
    first_text, to, last_text = text.partition("|")[0].partition(" to ")
    first = _parse_instant(first_text)
    last = _parse_instant(last_text)
    if to and first is not None and last is not None:
        return (first, last)
    return None
