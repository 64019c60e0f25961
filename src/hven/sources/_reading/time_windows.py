"""Samples of a server elsewhere.

Asked for one window of time after the other, within budgets, and gone on with behind the last.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError
from hven.model.table import Column, ParameterBins
from hven.model.types import TIMESTAMP
from hven.sources import InputVersion, SourceContext
from hven.sources._reading.batch_slicing import split_batches
from hven.sources._reading.data_files import Texts, build_source_batch, check_column_names
from hven.sources._reading.service_client import RunBudget, ServiceClient, ServiceOptions, resolve_authorization
from hven.sources._reading.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

SECOND_MICROSECONDS = 1_000_000  # microseconds
VALUES_PER_WINDOW = 2_000_000  # values of a window, about
MIN_WINDOW_MICROSECONDS = SECOND_MICROSECONDS // 1000
REFERENCE_COLUMNS = (
    Column(name="begins", type=TIMESTAMP, ucd="time.start", description="From when on the server has samples"),
    Column(name="ends", type=TIMESTAMP, ucd="time.end", description="Until when it has samples"),
)  # of a data set that is not copied


class TimeWindowOptions(ServiceOptions):
    """What a descriptor may say of every server of samples."""

    dataset: str = Field(min_length=1, description="The data set, as the server names it.")
    columns: Texts | None = Field(None, description="Only these of its variables; the time is always there.")
    start: str | None = Field(None, description="From this time on (2020-01-01T00:00Z); default: what the server has.")
    stop: str | None = Field(None, description="Before this time; default: what the server has.")
    reference: bool = Field(
        False,
        description="Nothing is copied: the table is one row, from when to when there are samples, and these are asked for "
        "there when a reader asks for them here.",
    )


class WindowTooLongError(Exception):
    """The server wants shorter windows."""


class TimeWindowSource(WatermarkSource):
    """The samples of one data set; copies of it begin later."""

    def __init__(self, options: TimeWindowOptions, context: SourceContext) -> None:
        self.options = options
        self.context = context
        secret = resolve_authorization(options.token, context, "Bearer") or resolve_authorization(
            options.login, context, "Basic"
        )
        self.service = ServiceClient(
            options.url,
            context,
            timeout_seconds=options.seconds,
            max_attempts=options.tries,
            requests_per_second=options.rate,
            authorization=secret,
        )
        self._start_after: int | None = None
        self._budget = self.service.budget = self._build_budget()
        self._reported: set[str | Deviation] = set()

    # --- what a kind of server says ------------------------------------------------------------------------------

    @cached_property
    @abstractmethod
    def _columns(self) -> dict[str, Column]:
        """The columns: the time, and what is measured."""

    @cached_property
    @abstractmethod
    def _time_limits(self) -> tuple[int, int]:
        """From when to when the server has samples: microseconds since 1970."""

    @property
    def _cadence_microseconds(self) -> int | None:
        """Microseconds between two samples, if the server says so."""
        return None

    @property
    def _max_window_microseconds(self) -> int | None:
        """Microseconds that may be asked for at once, if the server says so."""
        return None

    @abstractmethod
    def _request_window(self, start: int, stop: int, column_names: Sequence[str]) -> list[pa.Table]:
        """Ask for the samples of a window, the time first.

        Raises
        ------
        WindowTooLongError
            The server wants a shorter one.
        """

    # --- a source ------------------------------------------------------------------------------------------------

    @property
    def source_name(self) -> str:
        """What is read, in words, for messages."""
        return f"{self.options.dataset} of {self.service.host}"

    @property
    def time_column_name(self) -> str:
        """Name of the column of times."""
        return next(iter(self._columns))

    def list_columns(self) -> list[Column]:
        """List the columns, as the server describes them."""
        if self.options.reference:
            return list(REFERENCE_COLUMNS)
        return list(self._columns.values())

    def read_bins(self) -> Mapping[str, tuple[ParameterBins, ...]]:
        """Say what the elements of columns stand for, as far as the server does."""
        return {}

    def read_text_lengths(self) -> Mapping[str, int]:
        """Say how many bytes texts have at most, as far as the server does."""
        return {}

    @property
    def cadence_seconds(self) -> float | None:
        """Seconds between two samples, if the server says so."""
        if self._cadence_microseconds:
            return self._cadence_microseconds / SECOND_MICROSECONDS
        return None

    def select_span(self, start: int, stop: int) -> Self:
        """Narrow it to a span, with what is known of the whole: microseconds since 1970."""
        part = self._copy_part()
        first, last = (f"{np.datetime64(limit, 'us')}Z" for limit in (start, stop))
        vars(part)["options"] = self.options.model_copy(update={"start": first, "stop": last})
        return part

    def estimate_size(self) -> int | None:
        """Return None: servers do not count samples."""
        return None

    def list_input_versions(self) -> list[InputVersion]:
        """Name the server, and what was asked of it."""
        start, stop = (np.datetime64(limit, "us") for limit in self._compute_span())
        return [
            InputVersion(
                name=self.service.url,
                bytes=self._budget.byte_count,
                detail=f"{self.options.dataset}: {start}Z to {stop}Z",
            )
        ]

    def _compute_span(self) -> tuple[int, int]:
        first, last = self._time_limits
        stated_limits = [
            parse_instants(np.array([limit_text.encode()]))[0] if limit_text else None
            for limit_text in (self.options.start, self.options.stop)
        ]
        start = max(first, stated_limits[0] or first)
        stop = min(last, stated_limits[1] or last)
        return int(max(start, self._start_after if self._start_after is not None else start)), int(stop)

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield samples in the order of time."""
        yield from split_batches(
            (batch for batch, _ in self.read_pages(column_names, row_limit=row_limit)),
            self.context.batch_row_limit,
            row_limit,
        )

    def read_pages(
        self,
        column_names: Sequence[str] | None = None,
        resume_token: str | None = None,
        *,
        row_limit: int | None = None,
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield samples, each window with the time to go on from."""
        if self.options.reference:
            names = check_column_names(column_names, [column.name for column in REFERENCE_COLUMNS], self.source_name)
            values = dict(
                zip(
                    ("begins", "ends"),
                    (pa.array([column], pa.timestamp("us")) for column in self._compute_span()),
                    strict=True,
                )
            )
            yield build_source_batch(names, values, 1, 1, None), ""
            return
        names = check_column_names(column_names, list(self._columns), self.source_name)
        real = [name for name in self._columns if name in {*names, self.time_column_name}]
        start, stop = self._compute_span()
        number = 1
        if resume_token:
            number, start = (int(column) for column in resume_token.split())
        self._budget = self.service.budget = self._build_budget()
        width = sum(
            column.type.arrow.list_size if pa.types.is_fixed_size_list(column.type.arrow) else 1
            for name, column in self._columns.items()
            if name in real
        )
        rows_per_window = max(
            min(
                VALUES_PER_WINDOW // width,
                self.context.page_row_limit or VALUES_PER_WINDOW,
                row_limit or VALUES_PER_WINDOW,
            ),
            1,
        )
        if self._cadence_microseconds:
            step = self._cadence_microseconds * rows_per_window
        else:
            step = max((stop - start) // 100, 60 * SECOND_MICROSECONDS)
        while start < stop:
            step = max(min(step, self._max_window_microseconds or step), MIN_WINDOW_MICROSECONDS)
            end = min(start + step, stop)
            try:
                tables = self.service.retry(lambda begin=start, end=end: self._request_window(begin, end, real))  # type: ignore[misc]
            except WindowTooLongError as error:
                if end - start <= MIN_WINDOW_MICROSECONDS:
                    raise SourceError(f"{self.source_name}: {error}", remedy="ask its owners") from error
                step = (end - start) // 2
                continue
            rows = 0
            for table in tables:
                part = self._drop_outside(table, start, end)
                for batch in part.combine_chunks().to_batches():
                    arrays = {name: batch.column(name) for name in batch.schema.names}
                    last = table is tables[-1]
                    source_batch = build_source_batch(names, arrays, batch.num_rows, number, None)
                    yield (
                        source_batch,
                        f"{number + batch.num_rows} {end}" if last else "",
                    )
                    number += batch.num_rows
                    rows += batch.num_rows
            if rows > 4 * rows_per_window:
                step = step // 2
            elif rows < rows_per_window // 4:
                step *= 2
            start = end

    def _drop_outside(self, table: pa.Table, start: int, stop: int) -> pa.Table:
        """Leave out what was not asked for: the next window would bring it again."""
        moments = np.asarray(table.column(self.time_column_name).cast(pa.int64()))
        inside = (moments >= start) & (moments < stop)
        if not inside.all():
            message = f"{self.source_name} sends samples outside of what it is asked for; they are left out"
            count = int((~inside).sum())
            self.context.report_deviation(Deviation(kind=DeviationKind.DROPPED_ROW, count=count, message=message))
            table = table.filter(pa.array(inside))
        if (np.diff(moments) < 0).any():
            self._report_once(f"the samples of {self.source_name} are not in the order of time")
        return table

    def _build_budget(self) -> RunBudget:
        return RunBudget(self.options, self.source_name, "a later `start`, fewer `columns`, or a coarser data set")

    def _report_once(self, message: str | Deviation) -> None:
        if message not in self._reported and self.context.on_notice is not None:
            self.context.on_notice(message)
        self._reported.add(message)

    # --- what is newer -------------------------------------------------------------------------------------------

    def _parse_watermark(self, expression: str) -> Watermark | None:
        if not self.options.reference and expression == self.time_column_name:
            return parse_watermark(expression, self.list_columns())
        return None

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        watermark.write_condition(value, _CheckingWriter())
        part = self._copy_part()
        # a time without zone
        vars(part)["_start_after"] = int(np.datetime64(value, "us").astype(np.int64))  # type: ignore[call-overload]
        return part

    def _copy_part(self) -> Self:
        _ = self._columns, self._time_limits  # what was seen of the whole holds for its parts
        return copy.copy(self)


class _CheckingWriter:
    """Words of no source: a watermark is checked by writing it."""

    def write_column(self, name: str, *, is_computed: bool) -> str:  # noqa: ARG002  (the protocol's)
        return name

    write_is_null = write_literal = staticmethod(str)


def parse_instants(texts: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
    """Read times of one length, as ISO 8601 has them with month or day of the year: microseconds since 1970 (UTC).

    Raises
    ------
    ValueError
        One is no time.
    """
    if not len(texts):
        return np.zeros(0, np.int64)
    texts = np.char.rstrip(np.char.strip(texts), b"Z")
    texts = texts.astype(f"S{max(int(np.char.str_len(texts).max()), 1)}")
    width = texts.dtype.itemsize
    chars = texts.view(np.uint8).reshape(len(texts), width)
    extra = np.zeros(len(texts), np.int64)

    def slice_characters(low: int, high: int | None = None) -> npt.NDArray[np.bytes_]:
        piece = np.ascontiguousarray(chars[:, low:high])
        return piece.view(f"S{piece.shape[1]}").ravel()

    ordinal = width >= 8 and bool((chars[:, 4] == ord("-")).all() and (width == 8 or (chars[:, 8] == ord("T")).all()))
    if ordinal:
        days = slice_characters(5, 8).astype(np.int64)
        years = slice_characters(0, 4).astype("M8[Y]")
        dates = years.astype("M8[D]") + (days - 1)
        if (days < 1).any() or (dates.astype("M8[Y]") != years).any():
            raise ValueError(f"{texts[0]!r}: no day of a year")
        head = dates.astype("M8[us]").astype(np.int64)
        at = 8
        if width > at:
            clock_ = np.char.add(b"1970-01-01", slice_characters(at))
        else:
            clock_ = None
    else:
        head = np.zeros(len(texts), np.int64)
        clock_ = texts
        at = 10
    if clock_ is None:
        return head
    cells = np.array(clock_)
    raw = cells.view(np.uint8).reshape(len(cells), cells.dtype.itemsize)
    if raw.shape[1] >= 19:
        leap = (raw[:, 17] == ord("6")) & (raw[:, 18] == ord("0"))  # the second that is added
        raw[leap, 17:19] = list(b"59")
        extra[leap] = SECOND_MICROSECONDS
    parsed_times = cells.astype("M8[us]")
    if np.isnat(parsed_times).any():
        raise ValueError(f"{texts[np.isnat(parsed_times)][0]!r} is no time")
    return np.asarray(head + parsed_times.astype(np.int64) + extra)


def to_time_column(texts: npt.NDArray[np.bytes_], fill: str | None) -> pa.Array:
    """Turn times into a column; those that are the fill, or nothing, are missing."""
    is_missing = np.char.strip(texts) == (fill or "").strip().encode()
    if is_missing.any():
        stated_texts = texts[~is_missing]
    else:
        stated_texts = texts
    values = np.zeros(len(texts), np.int64)
    values[~is_missing] = parse_instants(stated_texts)
    return pa.array(values, mask=is_missing).cast(pa.timestamp("us"))


def to_number_column(values: npt.NDArray[np.generic], fill: float | None, arrow_type: pa.DataType) -> pa.Array:
    """Turn numbers of shape (rows,) or (rows, elements) into a column of a type; the fill and NaN are missing."""
    if values.dtype.kind == "f":
        is_missing = np.isnan(values)
    else:
        is_missing = np.zeros(values.shape, bool)
    if fill is not None:
        is_missing |= values == fill
    flat = pa.array(values.ravel(), mask=is_missing.ravel())
    if pa.types.is_fixed_size_list(arrow_type):
        return pa.FixedSizeListArray.from_arrays(flat.cast(arrow_type.value_type), arrow_type.list_size).cast(
            arrow_type
        )
    if pa.types.is_list(arrow_type):
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat.cast(arrow_type.value_type)).cast(arrow_type)
    return pc.cast(flat, arrow_type)


__all__ = [
    "TimeWindowOptions",
    "TimeWindowSource",
    "WindowTooLongError",
    "parse_instants",
    "to_number_column",
    "to_time_column",
]
