"""Samples of a server elsewhere: asked for one window of time after the other, within budgets, and gone on with behind the last."""

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
from hven.model.table import Bins, Column
from hven.model.types import TIMESTAMP
from hven.sources import Context, Pin
from hven.sources._reading.cutting import cut
from hven.sources._reading.files import Texts, assemble, check_names
from hven.sources._reading.service import Budget, Service, ServiceOptions, authorization
from hven.sources._reading.watermark import Narrowing, Watermark, watermark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

SECOND = 1_000_000  # microseconds
CELLS = 2_000_000  # values of a window, about
SHORTEST = SECOND // 1000
SPAN = (
    Column(name="begins", type=TIMESTAMP, ucd="time.start", description="From when on the server has samples"),
    Column(name="ends", type=TIMESTAMP, ucd="time.end", description="Until when it has samples"),
)  # of a data set that is not copied


class Options(ServiceOptions):
    """What a descriptor may say of every server of samples."""

    dataset: str = Field(min_length=1, description="The data set, as the server names it.")
    columns: Texts | None = Field(None, description="Only these of its variables; the time is always there.")
    start: str | None = Field(None, description="From this time on (2020-01-01T00:00Z); default: what the server has.")
    stop: str | None = Field(None, description="Before this time; default: what the server has.")
    reference: bool = Field(False, description="Nothing is copied: the table is one row, from when to when there are samples, and these are asked for there when a reader asks for them here.")  # fmt: skip


class TooMuch(Exception):
    """The server wants shorter windows."""


class Windows(Narrowing):
    """The samples of one data set; copies of it begin later."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options = options
        self.context = context
        secret = authorization(options.token, context, "Bearer") or authorization(options.login, context, "Basic")
        self.service = Service(
            options.url, context, seconds=options.seconds, tries=options.tries, rate=options.rate, secret=secret
        )
        self._from: int | None = None
        self._budget = self.service.budget = self._spent()
        self._told: set[str | Deviation] = set()

    # --- what a kind of server says ------------------------------------------------------------------------------

    @cached_property
    @abstractmethod
    def _columns(self) -> dict[str, Column]:
        """The columns: the time, and what is measured."""

    @cached_property
    @abstractmethod
    def _limits(self) -> tuple[int, int]:
        """From when to when the server has samples: microseconds since 1970."""

    @property
    def _cadence(self) -> int | None:
        """Microseconds between two samples, if the server says so."""
        return None

    @property
    def _longest(self) -> int | None:
        """Microseconds that may be asked for at once, if the server says so."""
        return None

    @abstractmethod
    def _window(self, start: int, stop: int, names: Sequence[str]) -> list[pa.Table]:
        """Ask for the samples of a window, the time first.

        Raises
        ------
        TooMuch
            The server wants a shorter one.
        """

    # --- a source ------------------------------------------------------------------------------------------------

    @property
    def what(self) -> str:
        """What is read, in words, for messages."""
        return f"{self.options.dataset} of {self.service.host}"

    @property
    def time(self) -> str:
        """Name of the column of times."""
        return next(iter(self._columns))

    def columns(self) -> list[Column]:
        """List the columns, as the server describes them."""
        return list(SPAN) if self.options.reference else list(self._columns.values())

    def bins(self) -> Mapping[str, tuple[Bins, ...]]:
        """Say what the elements of columns stand for, as far as the server does."""
        return {}

    def lengths(self) -> Mapping[str, int]:
        """Say how many bytes texts have at most, as far as the server does."""
        return {}

    @property
    def apart(self) -> float | None:
        """Seconds between two samples, if the server says so."""
        return self._cadence / SECOND if self._cadence else None

    def between(self, start: int, stop: int) -> Self:
        """Narrow it to a span, with what is known of the whole: microseconds since 1970."""
        part = self._part()
        first, last = (f"{np.datetime64(one, 'us')}Z" for one in (start, stop))
        vars(part)["options"] = self.options.model_copy(update={"start": first, "stop": last})
        return part

    def size(self) -> int | None:
        """Return None: servers do not count samples."""
        return None

    def pins(self) -> list[Pin]:
        """Name the server, and what was asked of it."""
        start, stop = (np.datetime64(one, "us") for one in self._span())
        return [
            Pin(name=self.service.url, bytes=self._budget.bytes, detail=f"{self.options.dataset}: {start}Z to {stop}Z")
        ]

    def _span(self) -> tuple[int, int]:
        first, last = self._limits
        said = [micros(np.array([one.encode()]))[0] if one else None for one in (self.options.start, self.options.stop)]
        start, stop = max(first, said[0] or first), min(last, said[1] or last)
        return int(max(start, self._from if self._from is not None else start)), int(stop)

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield samples in the order of time."""
        yield from cut((batch for batch, _ in self.pages(columns, few=limit)), self.context.batch, limit)

    def pages(
        self, columns: Sequence[str] | None = None, after: str | None = None, *, few: int | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield samples, each window with the time to go on from."""
        if self.options.reference:
            names = check_names(columns, [one.name for one in SPAN], self.what)
            values = dict(zip(("begins", "ends"), (pa.array([one], pa.timestamp("us")) for one in self._span()), strict=True))  # fmt: skip
            yield assemble(names, values, 1, 1, None), ""
            return
        names = check_names(columns, list(self._columns), self.what)
        real = [name for name in self._columns if name in {*names, self.time}]
        start, stop = self._span()
        number = 1
        if after:
            number, start = (int(one) for one in after.split())
        self._budget = self.service.budget = self._spent()
        width = sum(column.type.arrow.list_size if pa.types.is_fixed_size_list(column.type.arrow) else 1 for name, column in self._columns.items() if name in real)  # fmt: skip
        wanted = max(min(CELLS // width, self.context.page or CELLS, few or CELLS), 1)
        step = self._cadence * wanted if self._cadence else max((stop - start) // 100, 60 * SECOND)
        while start < stop:
            step = max(min(step, self._longest or step), SHORTEST)
            end = min(start + step, stop)
            try:
                tables = self.service.tried(lambda begin=start, end=end: self._window(begin, end, real))  # type: ignore[misc]
            except TooMuch as error:
                if end - start <= SHORTEST:
                    raise SourceError(f"{self.what}: {error}", remedy="ask its owners") from error
                step = (end - start) // 2
                continue
            rows = 0
            for table in tables:
                part = self._within(table, start, end)
                for batch in part.combine_chunks().to_batches():
                    arrays = {name: batch.column(name) for name in batch.schema.names}
                    last = table is tables[-1]
                    yield assemble(names, arrays, batch.num_rows, number, None), f"{number + batch.num_rows} {end}" if last else ""  # fmt: skip
                    number += batch.num_rows
                    rows += batch.num_rows
            if rows > 4 * wanted:
                step = step // 2
            elif rows < wanted // 4:
                step *= 2
            start = end

    def _within(self, table: pa.Table, start: int, stop: int) -> pa.Table:
        """Leave out what was not asked for: the next window would bring it again."""
        moments = np.asarray(table.column(self.time).cast(pa.int64()))
        inside = (moments >= start) & (moments < stop)
        if not inside.all():
            message = f"{self.what} sends samples outside of what it is asked for; they are left out"
            self.context.report(Deviation(kind=DeviationKind.DROPPED_ROW, count=int((~inside).sum()), message=message))
            table = table.filter(pa.array(inside))
        if (np.diff(moments) < 0).any():
            self._tell(f"the samples of {self.what} are not in the order of time")
        return table

    def _spent(self) -> Budget:
        return Budget(self.options, self.what, "a later `start`, fewer `columns`, or a coarser data set")

    def _tell(self, message: str | Deviation) -> None:
        if message not in self._told and self.context.tell is not None:
            self.context.tell(message)
        self._told.add(message)

    # --- what is newer -------------------------------------------------------------------------------------------

    def _watermark(self, expression: str) -> Watermark | None:
        return watermark(expression, self.columns()) if not self.options.reference and expression == self.time else None

    def _newer(self, known: Watermark, value: object) -> Self:
        known.condition(value, _Checked())
        part = self._part()
        vars(part)["_from"] = int(np.datetime64(value, "us").astype(np.int64))  # type: ignore[call-overload]  # a time without zone
        return part

    def _part(self) -> Self:
        _ = self._columns, self._limits  # what was seen of the whole holds for its parts
        return copy.copy(self)


class _Checked:
    """Words of no source: a watermark is checked by writing it."""

    def column(self, name: str, *, computed: bool) -> str:  # noqa: ARG002  (the protocol's)
        return name

    missing = value = staticmethod(str)


def micros(texts: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int64]:
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

    def part(low: int, high: int | None = None) -> npt.NDArray[np.bytes_]:
        piece = np.ascontiguousarray(chars[:, low:high])
        return piece.view(f"S{piece.shape[1]}").ravel()

    ordinal = width >= 8 and bool((chars[:, 4] == ord("-")).all() and (width == 8 or (chars[:, 8] == ord("T")).all()))
    if ordinal:
        days = part(5, 8).astype(np.int64)
        years = part(0, 4).astype("M8[Y]")
        dates = years.astype("M8[D]") + (days - 1)
        if (days < 1).any() or (dates.astype("M8[Y]") != years).any():
            raise ValueError(f"{texts[0]!r}: no day of a year")
        head, at = dates.astype("M8[us]").astype(np.int64), 8
        clock_ = np.char.add(b"1970-01-01", part(at)) if width > at else None
    else:
        head, clock_, at = np.zeros(len(texts), np.int64), texts, 10
    if clock_ is None:
        return head
    cells = np.array(clock_)
    raw = cells.view(np.uint8).reshape(len(cells), cells.dtype.itemsize)
    if raw.shape[1] >= 19:
        leap = (raw[:, 17] == ord("6")) & (raw[:, 18] == ord("0"))  # the second that is added
        raw[leap, 17:19] = list(b"59")
        extra[leap] = SECOND
    found = cells.astype("M8[us]")
    if np.isnat(found).any():
        raise ValueError(f"{texts[np.isnat(found)][0]!r} is no time")
    return np.asarray(head + found.astype(np.int64) + extra)


def stamped(texts: npt.NDArray[np.bytes_], fill: str | None) -> pa.Array:
    """Turn times into a column; those that are the fill, or nothing, are missing."""
    gone = np.char.strip(texts) == (fill or "").strip().encode()
    good = texts[~gone] if gone.any() else texts
    values = np.zeros(len(texts), np.int64)
    values[~gone] = micros(good)
    return pa.array(values, mask=gone).cast(pa.timestamp("us"))


def listed(values: npt.NDArray[np.generic], fill: float | None, kind: pa.DataType) -> pa.Array:
    """Turn numbers of shape (rows,) or (rows, elements) into a column of a type; the fill and NaN are missing."""
    gone = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    if fill is not None:
        gone |= values == fill
    flat = pa.array(values.ravel(), mask=gone.ravel())
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat.cast(kind.value_type), kind.list_size).cast(kind)
    if pa.types.is_list(kind):
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat.cast(kind.value_type)).cast(kind)
    return pc.cast(flat, kind)


__all__ = ["Options", "TooMuch", "Windows", "listed", "micros", "stamped"]
