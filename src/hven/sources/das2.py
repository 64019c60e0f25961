"""Data sources of das2 servers elsewhere.

Streams of das2 2.2, window by window, at the resolution that is asked for.
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

from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError
from hven.model.table import Column, ParameterBins
from hven.model.types import parse_type
from hven.sources import ServiceSignature
from hven.sources._reading import das2_packets, time_windows
from hven.sources._reading.das2_packets import Das2Stream, PacketVariable, StreamExceptionError
from hven.sources._reading.service_client import extract_error_text
from hven.sources._reading.time_windows import SECOND_MICROSECONDS, TimeWindowSource, parse_instants, to_number_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.sources import Source, SourceContext

SERVICE = ServiceSignature(
    url_pattern=r"(?P<url>https?://[^?#]*das2[^?#]*?)(?:\?(?:[^#]*&)?dataset=(?P<dataset>[^&#]+)[^#]*)?",
    table_option="dataset",
)
TIME_COLUMN = "time"
NO_DATA_EXCEPTION = "NoDataInInterval"
FIRST_LOOK_DIVISOR = 1000  # of all the time, what is looked at for the variables where no example is told
_NON_WORD_PATTERN = re.compile(r"\W+")


class Options(time_windows.TimeWindowOptions):
    """What a descriptor may say of a das2 server."""

    url: str = Field(pattern=r"^https?://", description="Address of the server: https://host/das2/server.")
    resolution: float | None = Field(
        None,
        gt=0,
        description="Seconds that may lie between two samples: the server reduces to means and peaks; default: all samples.",
    )
    params: str | None = Field(None, description="What the data source takes as `params`.")
    tags: bool = Field(
        False, description="Also a column NAME_tags with the values of the items of each spectrum, which may change."
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a data source; nothing is asked yet.

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
        return self._dataset_properties.get("title"), self._dataset_properties.get(
            "summary"
        ) or self._dataset_properties.get("description")

    @cached_property
    def _dataset_properties(self) -> dict[str, str]:
        """What the server says of the data source."""
        return self._request_stream({"server": "dsdf", "dataset": self.options.dataset}).properties

    @cached_property
    def _time_limits(self) -> tuple[int, int]:
        range_text = self._dataset_properties.get("validRange", "")
        stated_limits = _parse_range(range_text) or (None, None)
        requested_limits = (self.options.start, self.options.stop)
        first, last = (
            _parse_instant(requested) if requested else stated
            for requested, stated in zip(requested_limits, stated_limits, strict=True)
        )
        if first is None or last is None:
            raise SourceError(
                f"{self.source_name} does not say from when to when it has samples: validRange is {range_text!r:.80}",
                remedy="say start and stop",
            )
        return first, last

    @cached_property
    def _variables(self) -> dict[str, PacketVariable]:
        """The variables by the names of their columns, as the first samples have them."""
        first, last = self._time_limits
        width = max((last - first) // FIRST_LOOK_DIVISOR, 60 * SECOND_MICROSECONDS)
        example = _parse_range(self._dataset_properties.get("exampleRange_00", ""))
        for start, stop in (
            *([example] if example else []),
            (first, min(first + width, last)),
            (max(last - width, first), last),
            (first, last),
        ):
            stream = self._read_stream(start, stop)
            if stream is not None and stream.segments:
                variables: dict[str, PacketVariable] = {}
                for segment in stream.segments:
                    for at, plane in enumerate(segment.planes[1:], 1):
                        variables.setdefault(_build_column_name(plane, at), plane)
                return variables
        raise SourceError(f"{self.source_name} has no samples", remedy="say another start and stop")

    @cached_property
    def _columns(self) -> dict[str, Column]:
        columns = {
            TIME_COLUMN: Column(
                name=TIME_COLUMN,
                type=parse_type("timestamp"),
                ucd="time.epoch",
                description=self._dataset_properties.get("xLabel"),
            )
        }
        for name, plane in self._variables.items():
            if plane.type.endswith("real4"):
                kind = "float32"
            else:
                kind = "float64"
            if plane.is_scan:
                if self.options.tags:
                    shape = "[*]"
                else:
                    shape = f"[{plane.item_count}]"
            else:
                shape = ""
            about = plane.properties.get("summary") or plane.properties.get("description")
            columns[name] = Column(
                name=name, type=parse_type(kind + shape), unit=plane.units or None, description=about
            )
            if self.options.tags and plane.item_values:
                columns[f"{name}_tags"] = Column(
                    name=f"{name}_tags", type=parse_type("float64[*]"), description=plane.properties.get("yLabel")
                )
        column_names = self.options.columns
        for name in column_names or ():
            if name not in columns:
                raise SourceError(
                    f"{self.source_name} has no variable {name!r}", remedy=f"it has {', '.join(columns)[:500]}"
                )
        return {
            name: column
            for name, column in columns.items()
            if column_names is None or name in {TIME_COLUMN, *column_names}
        }

    def read_bins(self) -> Mapping[str, tuple[ParameterBins, ...]]:
        """Say what the items of spectra stand for."""
        return {
            name: (
                ParameterBins(
                    name=plane.properties.get("yLabel") or "frequency", centers=tuple(map(float, plane.item_values))
                ),
            )
            for name, plane in self._variables.items()
            if plane.item_values
        }

    def _request_stream(self, parameters: dict[str, str]) -> Das2Stream:
        def request_once() -> Das2Stream:
            with self.service.request("GET", f"{self.service.url}?{urlencode(parameters, safe=':/,')}") as answer:
                data = self._budget.read_answer(answer.parts)
                if answer.status >= 400 and data[:1] not in {b"[", b"|"}:
                    raise SourceError(
                        f"{self.source_name}: the server answers {answer.status}: {extract_error_text(data)}",
                        remedy="look at server=list",
                    )
            if data[:1] in {b"|", b"/"}:
                raise SourceError(
                    f"{self.source_name}: the server sends a stream of das 3.0",
                    remedy="only das2 2.2 is read: ask its operator for it",
                )
            return das2_packets.parse_stream(data)

        return self.service.retry(request_once)

    def _read_stream(self, start: int, stop: int) -> Das2Stream | None:
        parameters = {
            "server": "dataset",
            "dataset": self.options.dataset,
            "start_time": str(np.datetime64(start, "us")),
            "end_time": str(np.datetime64(stop, "us")),
        }
        parameters |= {"resolution": f"{self.options.resolution:.9g}"} if self.options.resolution else {}
        parameters |= {"params": self.options.params} if self.options.params else {}
        try:
            return self._request_stream(parameters)
        except SourceError as error:
            cause = error.__cause__ if isinstance(error.__cause__, StreamExceptionError) else error
            if isinstance(cause, StreamExceptionError) and cause.exception_type == NO_DATA_EXCEPTION:
                return None
            raise

    def _request_window(self, start: int, stop: int, column_names: Sequence[str]) -> list[pa.Table]:
        stream = self._read_stream(start, stop)
        tables = []
        if stream is not None and stream.skipped_variables:
            for name in stream.skipped_variables:
                message = "the values are no numbers; they are left out"
                self._report_once(
                    Deviation(kind=DeviationKind.DROPPED_COLUMN, column=name, file=self.source_name, message=message)
                )
        for segment in stream.segments if stream is not None else ():
            arrays = {TIME_COLUMN: pa.array(segment.times).cast(pa.timestamp("us"))}
            for at, (plane, values) in enumerate(zip(segment.planes[1:], segment.values, strict=True), 1):
                name = _build_column_name(plane, at)
                first = self._variables.get(name)
                if first is None:
                    message = "the first samples do not have this variable; it is left out"
                    self._report_once(
                        Deviation(
                            kind=DeviationKind.DROPPED_COLUMN, column=name, file=self.source_name, message=message
                        )
                    )
                    continue
                if not self.options.tags and first.item_values != plane.item_values:
                    moment = np.datetime64(int(segment.times[0]), "us")
                    raise SourceError(
                        f"{self.source_name}: the values of the {plane.item_count} items of {name} are others "
                        f"at {moment}Z than at first",
                        remedy="say tags: true, which adds a column of them",
                    )
                if name in column_names:
                    arrays[name] = to_number_column(
                        values if plane.is_scan else values[:, 0], None, self._columns[name].type.arrow
                    )
                if f"{name}_tags" in column_names and plane.item_values:
                    tags = np.broadcast_to(np.array(plane.item_values), (len(values), plane.item_count))
                    arrays[f"{name}_tags"] = to_number_column(tags, None, self._columns[f"{name}_tags"].type.arrow)
            rows = len(segment.times)
            tables.append(
                pa.table(
                    {name: arrays.get(name, pa.nulls(rows, self._columns[name].type.arrow)) for name in column_names}
                )
            )
        # packets of several types take turns
        if len(tables) > 1:
            return [pa.concat_tables(tables).sort_by(TIME_COLUMN)]
        return tables


def _build_column_name(plane: PacketVariable, plane_number: int) -> str:
    return _NON_WORD_PATTERN.sub("_", plane.name).strip("_") or f"plane_{plane_number}"


def _parse_instant(text: str) -> int | None:
    text = text.strip().upper().removesuffix("UTC").strip()
    if text == "NOW":
        return int(dt.datetime.now(dt.UTC).timestamp()) * SECOND_MICROSECONDS
    try:
        instants = parse_instants(np.array([text.replace(" ", "T").encode()]))
        return int(instants[0])
    except ValueError:
        return None


def _parse_range(text: str) -> tuple[int, int] | None:
    """Read `A to B UTC | words`."""
    first, to, last = text.partition("|")[0].partition(" to ")
    limits = _parse_instant(first), _parse_instant(last)
    if to and limits[0] is not None and limits[1] is not None:
        return (limits[0], limits[1])
    return None


__all__ = ["Options", "open"]
