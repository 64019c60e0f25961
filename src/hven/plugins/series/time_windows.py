"""Read the samples of a remote server.

They are requested for one window of time after the other, within budgets, and later runs go on behind the last one.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from functools import cached_property, partial
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError
from hven.model.table import ParameterBins, parse_column_lines
from hven.plugins.series.time_texts import SECOND_MICROSECONDS
from hven.sources import InputVersion, SourceContext
from hven.sources.api.rows import Texts, build_source_batch, resolve_column_names, split_batches
from hven.sources.api.services import RunBudget, ServiceClient, ServiceOptions, resolve_token_or_login
from hven.sources.api.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column

    Described = TypeVar("Described")

VALUES_PER_WINDOW = 2_000_000  # roughly
ENTIRE_SPAN = (-(2**62), 2**62)  # microseconds since 1970
MIN_WINDOW_MICROSECONDS = SECOND_MICROSECONDS // 1000
# of a data set that is not copied
REFERENCE_COLUMNS = parse_column_lines("""
    begins | timestamp | | time.start | First time for which the server has samples
    ends   | timestamp | | time.end   | Last time for which the server has samples
""")


class TimeWindowOptions(ServiceOptions):
    """What a descriptor may state about every server of samples."""

    dataset: str = Field(min_length=1, description="The data set's name on the server.", examples=["AC_H0_MFI"])
    columns: Texts | None = Field(
        None,
        description=("Hven reads only these variables of the data set, in addition to the time."),
        examples=[["Magnitude"]],
    )
    start: str | None = Field(
        None,
        description=("Hven reads samples from this time on. Default: the time of the server's first sample."),
        examples=["2020-01-01"],
    )
    stop: str | None = Field(
        None,
        description="Hven reads samples before this time. Default: the time of the server's last sample.",
        examples=["2020-02-01"],
    )
    reference: bool = Field(
        False,
        description=(
            "`true`: Hven copies no samples. The table has one row, which contains the time span of the samples. When "
            "a reader requests samples from Hven, Hven requests them from the server."
        ),
        examples=[True],
    )


class ServerFaultError(SourceError):
    """The server does not follow its protocol."""

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="report this to the operators of the server")


class WindowTooLongError(Exception):
    """The server wants shorter windows."""


class TimeWindowSource(WatermarkSource):
    """The samples of one data set; copies of the source begin later."""

    def __init__(self, options: TimeWindowOptions, context: SourceContext) -> None:
        self.options = options
        self.context = context
        secret = resolve_token_or_login(options.token, options.login, context)
        self.service = ServiceClient(options.url, context, options=options, authorization=secret)
        self._selected_span = ENTIRE_SPAN
        self._begin_budget()
        self._reported: set[str | ReadDeviation] = set()

    # --- what each kind of server provides -----------------------------------------------------------------------

    @cached_property
    @abstractmethod
    def _columns(self) -> dict[str, Column]:
        """The columns: the time, and the measured quantities."""

    @cached_property
    @abstractmethod
    def _time_limits(self) -> tuple[int, int]:
        """First and last time of the samples on the server: microseconds since 1970."""

    @property
    def _cadence_microseconds(self) -> int | None:
        """Microseconds between two samples, if the server states them."""
        return None

    @property
    def _max_window_microseconds(self) -> int | None:
        """Microseconds of the longest window, if the server states them."""
        return None

    @abstractmethod
    def _request_window(self, start: int, stop: int, column_names: Sequence[str]) -> list[pa.Table]:
        """Request the samples of a window; the time is the first column.

        Raises
        ------
        WindowTooLongError
            The server wants a shorter one.
        """

    # --- a source ------------------------------------------------------------------------------------------------

    @property
    def source_name(self) -> str:
        """The data set in words, for messages."""
        return f"{self.options.dataset} of {self.service.host}"

    @property
    def time_column_name(self) -> str:
        """Name of the column of times."""
        return next(iter(self._columns))

    def list_columns(self) -> list[Column]:
        """List the columns as the server describes them."""
        if self.options.reference:
            return list(REFERENCE_COLUMNS)
        return list(self._columns.values())

    def read_parameter_bins(self) -> Mapping[str, tuple[ParameterBins, ...]]:
        """Return the bins of the elements of columns, as far as the server states them."""
        return {}

    def read_text_lengths(self) -> Mapping[str, int]:
        """Return the largest number of bytes of text columns, as far as the server states it."""
        return {}

    @property
    def cadence_seconds(self) -> float | None:
        """Seconds between two samples, if the server states them."""
        if self._cadence_microseconds:
            return self._cadence_microseconds / SECOND_MICROSECONDS
        return None

    def select_span(self, start: int, stop: int) -> Self:
        """Narrow the source to a span: microseconds since 1970. The copy keeps what is known of the whole."""
        return self._copy_source((start, stop))

    def estimate_progress_total(self) -> int | None:
        """Return None: servers do not count samples."""
        return None

    def list_input_versions(self) -> list[InputVersion]:
        """Name the server, the data set and the span."""
        start, stop = (np.datetime64(limit, "us") for limit in self._compute_span())
        detail = f"{self.options.dataset}: {start}Z to {stop}Z"
        return [InputVersion(name=self.service.url, bytes=self._budget.byte_count, detail=detail)]

    def _compute_span(self) -> tuple[int, int]:
        start, stop = self._time_limits
        if self.options.start:
            start = max(start, parse_instant(self.options.start))
        if self.options.stop:
            stop = min(stop, parse_instant(self.options.stop))
        selected_start, selected_stop = self._selected_span
        return max(start, selected_start), min(stop, selected_stop)

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield samples in the order of time."""
        batches = (batch for batch, _ in self.read_pages(column_names, row_limit=row_limit))
        yield from split_batches(batches, self.context.batch_row_limit, row_limit)

    def read_pages(
        self,
        column_names: Sequence[str] | None = None,
        resume_token: str | None = None,
        *,
        row_limit: int | None = None,
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield samples, and behind each window the token to go on from."""
        if self.options.reference:
            yield self._build_reference_row(column_names), ""
            return
        names = resolve_column_names(column_names, list(self._columns), self.source_name)
        requested_names = [name for name in self._columns if name in {*names, self.time_column_name}]
        start, stop = self._compute_span()
        number = 1
        if resume_token:
            number, start = (int(part) for part in resume_token.split())
        self._begin_budget()
        rows_per_window = self._choose_window_rows(requested_names, row_limit)
        if self._cadence_microseconds:
            step = self._cadence_microseconds * rows_per_window
        else:
            step = max((stop - start) // 100, 60 * SECOND_MICROSECONDS)
        while start < stop:
            step = max(min(step, self._max_window_microseconds or step), MIN_WINDOW_MICROSECONDS)
            end = min(start + step, stop)
            try:
                tables = self.service.retry(partial(self._request_window, start, end, requested_names))
            except WindowTooLongError as error:
                if end - start <= MIN_WINDOW_MICROSECONDS:
                    raise ServerFaultError(f"{self.source_name}: {error}") from error
                step = (end - start) // 2
                continue
            first_number = number
            for table in tables:
                part = self._drop_samples_outside(table, start, end)
                for batch in part.combine_chunks().to_batches():
                    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
                    source_batch = build_source_batch(names, arrays, batch.num_rows, number, None)
                    number += batch.num_rows
                    yield source_batch, f"{number} {end}" if table is tables[-1] else ""
            row_count = number - first_number
            if row_count > 4 * rows_per_window:
                step = step // 2
            elif row_count < rows_per_window // 4:
                step *= 2
            start = end

    def _build_reference_row(self, column_names: Sequence[str] | None) -> pa.RecordBatch:
        """Build the row of a data set that is not copied: from when to when it has samples."""
        known_names = [column.name for column in REFERENCE_COLUMNS]
        names = resolve_column_names(column_names, known_names, self.source_name)
        values = [pa.array([limit], pa.timestamp("us")) for limit in self._compute_span()]
        return build_source_batch(names, dict(zip(known_names, values, strict=True)), 1, 1, None)

    def _choose_window_rows(self, column_names: Sequence[str], row_limit: int | None) -> int:
        """Choose the number of rows that a window should have."""
        kinds = [self._columns[name].type.arrow for name in column_names]
        values_per_row = sum(kind.list_size if pa.types.is_fixed_size_list(kind) else 1 for kind in kinds)
        row_count = VALUES_PER_WINDOW // values_per_row
        for limit in (self.context.page_row_limit, row_limit):
            if limit:
                row_count = min(row_count, limit)
        return max(row_count, 1)

    def _drop_samples_outside(self, table: pa.Table, start: int, stop: int) -> pa.Table:
        """Drop the samples that were not requested: the next window would bring them again."""
        times = table.column(self.time_column_name)
        moments = np.asarray(times.cast(pa.int64()))
        inside = (moments >= start) & (moments < stop)
        if not inside.all():
            message = f"{self.source_name} sent samples outside the requested time range; Hven left them out"
            deviation = ReadDeviation(kind=DeviationKind.DROPPED_ROW, count=int((~inside).sum()), message=message)
            self.context.report_deviation(deviation)
            table = table.filter(pa.array(inside))
        if (np.diff(moments) < 0).any():
            self._report_once(f"the samples of {self.source_name} are not in time order")
        return table

    def _begin_budget(self) -> None:
        self._budget = self.service.budget = RunBudget(
            self.options, self.source_name, "or choose a later `start`, fewer `columns` or a coarser data set"
        )

    def _select_columns(self, described: Mapping[str, Described], noun: str) -> dict[str, Described]:
        """Select what the option `columns` names from all that the server describes, of which the first is the time."""
        requested_names = self.options.columns
        if requested_names is None:
            return dict(described)
        for name in requested_names:
            if name not in described:
                raise SourceError(
                    f"{self.source_name} has no {noun} {name!r}",
                    remedy=f"choose one of its {noun}s: {', '.join(described)[:500]}",
                )
        selected_names = {next(iter(described)), *requested_names}
        return {name: item for name, item in described.items() if name in selected_names}

    def _report_once(self, message: str | ReadDeviation) -> None:
        if message not in self._reported and self.context.on_notice is not None:
            self.context.on_notice(message)
        self._reported.add(message)

    # --- newer samples -------------------------------------------------------------------------------------------

    def _parse_watermark(self, expression: str) -> Watermark | None:
        if not self.options.reference and expression == self.time_column_name:
            return parse_watermark(expression, self.list_columns())
        return None

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        watermark.write_condition(value, _NullConditionWriter())
        moment = np.datetime64(value, "us")  # type: ignore[call-overload]  # a time without zone
        return self._copy_source((int(moment.astype(np.int64)), self._selected_span[1]))

    def _copy_source(self, selected_span: tuple[int, int] | None = None) -> Self:
        """Copy the source, perhaps with another span of samples: microseconds since 1970."""
        _ = self._columns, self._time_limits  # cached for all parts
        part = copy.copy(self)
        vars(part)["_selected_span"] = selected_span or self._selected_span
        return part


class _NullConditionWriter:
    """Writes conditions for no source: a watermark is checked by writing it."""

    def write_column(self, name: str, *, is_computed: bool) -> str:  # noqa: ARG002  (the protocol's)
        return name

    write_null_condition = write_literal = staticmethod(str)


def parse_instant(text: str) -> int:
    """Parse a time as `parse_instants` does."""
    return int(parse_instants(np.array([text.encode()]))[0])


def parse_instants(texts: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
    """Parse times of one length, with month or day of the year (ISO 8601): microseconds since 1970 (UTC).

    Raises
    ------
    ValueError
        One of the texts is no time.
    """
    if not len(texts):
        return np.zeros(0, np.int64)
    texts = np.char.rstrip(np.char.strip(texts), b"Z")
    width = max(int(np.char.str_len(texts).max()), 1)
    texts = texts.astype(f"S{width}")
    if not _are_ordinal_dates(texts):
        return _parse_calendar_times(texts, texts)
    days = _slice_characters(texts, 5, 8).astype(np.int64)
    years = _slice_characters(texts, 0, 4).astype("M8[Y]")
    dates = years.astype("M8[D]") + (days - 1)
    if (days < 1).any() or (dates.astype("M8[Y]") != years).any():
        raise ValueError(f"{texts[0]!r} is not a day of the year")
    midnights = dates.astype("M8[us]").astype(np.int64)
    if width == 8:
        return midnights
    clock_times = np.char.add(b"1970-01-01", _slice_characters(texts, 8, width))
    return np.asarray(midnights + _parse_calendar_times(clock_times, texts))


def _to_characters(texts: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint8]:
    """View texts of one length as an array of characters, shape (texts, length)."""
    return texts.view(np.uint8).reshape(len(texts), texts.dtype.itemsize)


def _slice_characters(texts: npt.NDArray[np.bytes_], low: int, high: int) -> npt.NDArray[np.bytes_]:
    piece = np.ascontiguousarray(_to_characters(texts)[:, low:high])
    return piece.view(f"S{piece.shape[1]}").ravel()


def _are_ordinal_dates(texts: npt.NDArray[np.bytes_]) -> bool:
    """Check whether dates have a day of the year: ``2020-123``, perhaps with a time behind ``T``."""
    characters = _to_characters(texts)
    width = characters.shape[1]
    if width < 8 or not (characters[:, 4] == ord("-")).all():
        return False
    return width == 8 or bool((characters[:, 8] == ord("T")).all())


def _parse_calendar_times(texts: npt.NDArray[np.bytes_], stated_texts: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
    """Parse times with month and day, and quote `stated_texts` in errors; a leap second is the second after 59."""
    cells = np.array(texts)
    characters = _to_characters(cells)
    extra = np.zeros(len(cells), np.int64)
    if characters.shape[1] >= 19:
        is_leap_second = (characters[:, 17] == ord("6")) & (characters[:, 18] == ord("0"))
        characters[is_leap_second, 17:19] = list(b"59")
        extra[is_leap_second] = SECOND_MICROSECONDS
    parsed_times = cells.astype("M8[us]")
    is_no_time = np.isnat(parsed_times)
    if is_no_time.any():
        raise ValueError(f"{stated_texts[is_no_time][0]!r} is not a time")
    return np.asarray(parsed_times.astype(np.int64) + extra)


def to_time_column(texts: npt.NDArray[np.bytes_], fill_value: str | None) -> pa.Array:
    """Convert times to a column; the fill value and empty texts are missing."""
    fill_bytes = (fill_value or "").strip().encode()
    is_missing = np.char.strip(texts) == fill_bytes
    values = np.zeros(len(texts), np.int64)
    values[~is_missing] = parse_instants(texts[~is_missing])
    return pa.array(values, mask=is_missing).cast(pa.timestamp("us"))


def to_number_column(values: npt.NDArray[np.generic], fill_value: float | None, arrow_type: pa.DataType) -> pa.Array:
    """Convert numbers of shape (rows,) or (rows, elements) to a column; the fill value and NaN are missing."""
    if values.dtype.kind == "f":
        is_missing = np.isnan(values)
    else:
        is_missing = np.zeros(values.shape, bool)
    if fill_value is not None:
        is_missing |= values == fill_value
    flat = pa.array(values.ravel(), mask=is_missing.ravel())
    if pa.types.is_fixed_size_list(arrow_type):
        elements = flat.cast(arrow_type.value_type)
        return pa.FixedSizeListArray.from_arrays(elements, arrow_type.list_size).cast(arrow_type)
    if pa.types.is_list(arrow_type):
        elements = flat.cast(arrow_type.value_type)
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), elements).cast(arrow_type)
    return pc.cast(flat, arrow_type)
