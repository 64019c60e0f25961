"""Samples in time of an open file: which of its variables are times and parameters, when each sample was taken, and the samples in the order of time.

Values are those of the media's readers; here they are put under times. A file is no list of samples as it stands: times may run back, be missing
or come twice, spectra may stand in several columns with times of their own, channels in another part.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.media._product import MISSING, Array, Part, Rows, Times
from hven.formats.media._since import DAY, ZEROS, moment
from hven.model.errors import SourceError, say
from hven.model.sky import clocks
from hven.model.table import Bins, Column, Variable
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import Card, Instants, Product
    from hven.model.table import Series

    Numbers = npt.NDArray[Any]
    Read = Callable[[int, int], pa.Array]

CELLS = 1 << 19  # values of a batch
NO_LAYOUT = "-" * 16  # stands for the layout of a file that has nothing of a data set
BLOCK = 1 << 17  # times that are read at once
LARGEST = 1 << 25  # samples of a file
FINE = 9_200_000_000_000_000  # microseconds from 1970 within which nanoseconds can be counted: years 1678 to 2261
_SCALES = {"TAI": "TAI", "IAT": "TAI", "TT": "TT", "TDT": "TT", "ET": "TDB", "TDB": "TDB", "GPS": "GPS"}  # of FITS
_SCALED = re.compile(rf"\s\(?({'|'.join(_SCALES)})\)?\s*$")
_UNITS = {"d": DAY, "day": DAY, "h": 3_600_000_000, "hr": 3_600_000_000, "hour": 3_600_000_000, "min": 60_000_000, "minute": 60_000_000, "s": 1_000_000, "sec": 1_000_000,
          "second": 1_000_000, "ms": 1_000, "msec": 1_000, "millisecond": 1_000, "us": 1, "microsecond": 1, "ns": 1e-3, "nanosecond": 1e-3}  # fmt: skip
_TYPES = {"i1": "short", "u1": "unsignedByte", "i2": "short", "u2": "int", "i4": "int", "u4": "long", "i8": "long", "f4": "float", "f8": "double", "b1": "boolean"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Values:
    """A variable of a file: values along its times."""

    name: str
    part: Part
    column: Column
    count: int
    shape: tuple[int, ...]
    read: Read
    plain: bool = False  # a row of the part is a sample


@dataclass(frozen=True, slots=True)
class _Parameter:
    column: Column
    said: Variable
    of: tuple[_Values, ...]
    bins: tuple[Bins, ...]

    @property
    def simple(self) -> bool:
        """It is a variable as it stands."""
        return len(self.of) == 1 and self.said.fill is None and self.said.element is None


class ForeignFileError(SourceError):
    """A file that has no time, or no parameter, of a data set: it is one of another data set."""


class Samples:
    """The samples of an open file.

    Parameters
    ----------
    product
        Open as long as its samples are read.
    said
        Which they are.
    name
        Of the file.

    Raises
    ------
    SourceError
        The file has none such, or what it says cannot be.

    Attributes
    ----------
    time
        Name of the variable that says when samples were taken.
    columns
        Parameters, in order.
    bins
        Of their elements, by name.
    moments
        When samples were taken: microseconds since 1970, increasing, shape (n,).
    left
        How many were left out because they have no time, or that of another one.
    NO_LAYOUT, ForeignFileError
        What stands for the layout of a file that has nothing of a data set, and the error that tells of it.
    cut
        Whether times that were read have digits which are left out: below a nanosecond, or below a microsecond where they cannot be counted so.
    """

    NO_LAYOUT = NO_LAYOUT
    ForeignFileError = ForeignFileError

    def __init__(self, product: Product, said: Series, name: str) -> None:
        self._product, self._said, self._name = product, said, name
        self._clock = self._time()
        self.time = self._clock.name
        names = (
            said.parameters or [one.name for one in self._clock.part.columns if one.name != self._clock.name]
            if isinstance(self._clock.part, Rows)
            else said.parameters
        )
        every = {key.casefold(): one for key, one in said.variables.items()}
        made = [self._parameter(one, every.get(one.casefold(), Variable())) for one in names]
        self._parameters = {one.column.name: one for one in made if one is not None}
        if not self._parameters:
            raise ForeignFileError(say("{file} has none of the parameters {names}", name, ", ".join(names)[:300]))
        self.columns = tuple(one.column for one in self._parameters.values())
        self.bins = {key: one.bins for key, one in self._parameters.items() if one.bins}
        self.left, self.cut = 0, False
        self._times: Times | None = None

    # --- which variables there are -----------------------------------------------------------------------------------

    def _candidates(self, name: str) -> Iterator[tuple[Part, Column | None]]:
        """Find what is called so: in the part with the time first; ``2.DATA`` is that of a part."""
        before, _, rest = name.partition(".")
        for part, columns in self._named:
            for word in (name, rest if rest and _called(part, before) else None):
                if word is not None and word.casefold() in columns:
                    yield part, columns[word.casefold()]
                elif word is not None and isinstance(part, Array) and _called(part, word):
                    yield part, None

    @cached_property
    def _named(self) -> list[tuple[Part, dict[str, Column]]]:
        """List the parts, the one with the time first, with their columns by name."""
        near = self._said.part
        parts = sorted(self._product.parts, key=lambda one: near is None or not _called(one, near))
        return [(part, {one.name.casefold(): one for one in reversed(_columns(part))}) for part in parts]

    def _time(self) -> _Values:
        if self._said.time:
            found = [(part, column) for part, column in self._candidates(self._said.time)]
        else:
            found = [(part, one) for part in self._product.parts if isinstance(part, Rows) and (self._said.part is None or _called(part, self._said.part))
                     for one in part.columns if (one.ucd or "").startswith("time.epoch") or one.type.is_timestamp]  # fmt: skip
        for part, column in found:
            if column is None:
                if isinstance(part, Array) and len(part.axes) == 1 and (only := _array(part, part.shape[0])):
                    return only
            elif isinstance(part, Rows):
                return _clocked(part, column)
        wanted = self._said.time or "time"
        raise ForeignFileError(say("{file} has no variable {name!r} that says when samples were taken", self._name, wanted), remedy=say("time: the variable that does"))  # fmt: skip

    def _values(self, name: str, count: int) -> _Values | None:
        """Find a variable with so many samples."""
        other = None
        for part, column in self._candidates(name):
            found = None
            if column is None:
                found = _array(part, count) if isinstance(part, Array) else None
            elif isinstance(part, Rows):
                found = _row(part, column) if part.count == count else _cell(part, column, count) if part.count == 1 else None  # fmt: skip
                other = part.count if found is None else other
            if found is not None:
                return found
        if other is not None and self._said.parameters:
            raise SourceError(say("{name} of {file} has {there} values, and there are {count} times", name, self._name, other, count))  # fmt: skip
        return None

    def _parameter(self, name: str, said: Variable) -> _Parameter | None:
        """Make a parameter; None: the file does not have it."""
        found = []
        for at, one in enumerate(said.of or (name,)):
            count = self._clock.count
            if said.clocks:
                clocks = (_clocked(part, column) for part, column in self._candidates(said.clocks[at]) if isinstance(part, Rows) and column is not None)  # fmt: skip
                clock = next(clocks, None)
                if clock is None:
                    raise SourceError(say("{file} has no variable {name!r} that says when samples were taken", self._name, said.clocks[at]))  # fmt: skip
                count = clock.count
            values = self._values(one, count)
            if values is None:
                return None
            found.append(values)
        first = found[0].column
        kind, shape = first.type, found[0].shape
        if said.element is not None:
            if not shape or not all(one.shape and 0 <= said.element < one.shape[-1] for one in found):
                raise SourceError(say("{name} of {file} has no element {number}", name, self._name, said.element))
            found_shapes = [one.shape[:-1] for one in found]
        else:
            found_shapes = [one.shape for one in found]
        shape = (sum(math.prod(one) for one in found_shapes),) if len(found) > 1 else found_shapes[0]
        if len(found) > 1 or said.element is not None:
            kind = Type(_TYPES[np.result_type(*(_dtype(one.column) for one in found)).str[1:]], None)
        kind = kind if kind.is_string else Type(kind.datatype, "x".join(str(one) for one in reversed(shape)) or None, kind.xtype)  # fmt: skip
        column = first.having(
            name=name,
            type=kind,
            unit=said.unit or first.unit,
            description=said.description or first.description,
            label=said.label or first.label,
        )
        return _Parameter(column, said, tuple(found), self._bins(name, found, shape))

    def _bins(self, name: str, found: Sequence[_Values], shape: tuple[int, ...]) -> tuple[Bins, ...]:
        """Find what elements stand for: as it is said, else as the file has it."""
        given = next((one for key, one in self._said.bins.items() if key.casefold() == name.casefold()), None)
        if given is not None:
            made = []
            for one, size in zip(given, shape, strict=False):
                words = one.of or ((one.centers,) if isinstance(one.centers, str) else ())
                if not words:
                    made.append(one)
                    continue
                tables = [self._table(word, size) for word in words]
                if any(table is None for table in tables):
                    made.append(one)  # a parameter of each sample
                    continue
                values = [value for table in tables if table is not None for value in table[0].tolist()]
                unit = one.unit or next((table[1] for table in tables if table is not None), None)
                if len(values) != size or not np.isfinite(values).all():
                    raise SourceError(say("{words} of {file} are {count} values, for {size} elements of {name}", ", ".join(words), self._name, len(values), size, name))  # fmt: skip
                made.append(replace(one, centers=tuple(values), of=(), unit=unit))
            return tuple(made)
        own = next((part for part in self._product.arrays if part.name and part.name == found[0].name), None)
        if len(found) > 1 or own is None or not shape:
            return ()
        axes = [axis for axis in own.axes if axis.size != found[0].count or axis.kind != "time"][-len(found[0].shape) :]
        made = []
        for axis, size in zip(axes, shape, strict=False):
            if axis.size != size or axis.values is None:
                return ()
            if any(one.name == axis.name and one.type.is_array for one in _columns(self._clock.part)):
                made.append(Bins(name=axis.name, unit=axis.unit, centers=axis.name))
                continue
            table = np.asarray((axis.own or axis.values)())
            if table.dtype.kind not in "iuf" or not np.isfinite(table).all():
                return ()
            made.append(Bins(name=axis.name, unit=axis.unit, centers=tuple(table.astype(np.float64).tolist())))
        return tuple(made)

    def _table(self, word: str, size: int) -> tuple[Numbers, str | None] | None:
        """Read what the channels of a spectrum are, which stand somewhere once; None: each sample has its own."""
        for part, column in self._candidates(word):
            if isinstance(part, Array):
                if len(part.axes) == 1:
                    return np.asarray(part.read([slice(0, part.shape[0])]), np.float64), part.unit
            elif column is not None and isinstance(part, Rows):
                if column.type.is_array and part.count == self._clock.count and part.count > 1:
                    return None
                if part.count == 1 or not column.type.is_array:
                    cells = _read(part, column.name, 0, part.count)
                    flat = cells.flatten() if pa.types.is_nested(cells.type) else cells
                    return np.asarray(flat.cast(pa.float64()).to_numpy(zero_copy_only=False)), column.unit
        for own in self._product.arrays:
            for axis in own.axes:
                if axis.name.casefold() == word.casefold() and axis.values is not None:
                    return np.asarray((axis.own or axis.values)(), np.float64), axis.unit
        raise SourceError(say("{file} has no variable {name!r}, which says what {size} elements are", self._name, word, size))  # fmt: skip

    # --- times ---------------------------------------------------------------------------------------------------------

    def _moments(self, clock: _Values) -> Instants:
        """Read all times of a variable, as the file has them; of nanoseconds None where there is no other than 0."""
        if clock.count > LARGEST:
            raise SourceError(say("{file} has more than {most:,} samples", self._name, LARGEST), remedy=say("cut it into several"))  # fmt: skip
        out = np.empty(clock.count, np.int64)
        nanos: npt.NDArray[np.int64] | None = None
        turn = self._turning(clock)
        for first in range(0, clock.count, BLOCK):
            stop = min(first + BLOCK, clock.count)
            out[first:stop], below = turn(first, stop)
            if below is not None and below.any():
                nanos = np.zeros(clock.count, np.int64) if nanos is None else nanos
                nanos[first:stop] = below
        self.cut = self.cut or (isinstance(clock.part, Rows) and clock.part.cut(clock.name))
        return self._utc(clock, out, nanos)

    def _utc(self, clock: _Values, times: npt.NDArray[np.int64], nanos: npt.NDArray[np.int64] | None) -> Instants:
        """Convert times of another clock than UTC."""
        said = self._said.clock.scale
        if not said and not (isinstance(clock.part, Rows) and clock.part.moments is not None and clock.column.epoch is not None):  # fmt: skip
            since = re.split(r"\ssince\s", self._said.clock.since or clock.column.unit or "")[-1]
            named = _SCALED.search(since) or _SCALED.search(f" {self._cards(clock.part).get('TIMESYS', '')}".upper())
            said = named[1] if named is not None else ""
        scale = _SCALES.get(said, "UTC")
        if scale == "UTC":
            return times, nanos
        there = times != MISSING
        found = np.where(there, times, 0)
        found[there] = clocks.utc_in_order(times[there], scale)
        if (found[there] == clocks.NONE).any():
            raise SourceError(say("{file} has times of {scale} before 1972, which UTC does not follow by whole seconds", self._name, scale))  # fmt: skip
        if nanos is not None and scale == "TDB":  # which is ahead of TT by no whole microseconds
            self.cut, nanos = True, None
        elif nanos is not None:  # in a leap second a microsecond is a thousandth of one
            nanos[there] *= clocks.utc_in_order(times[there] + 1, scale) - found[there] == 1
        return np.where(there, found, MISSING), nanos

    def _turning(self, clock: _Values) -> Callable[[int, int], Instants]:
        said, part, column = self._said.clock, clock.part, clock.column
        unit = said.unit or column.unit or ""
        match = re.fullmatch(r"(\w+)\s+since\s+(.+)", unit)
        since = _SCALED.sub("", said.since or (match[2] if match else ""))
        if isinstance(part, Rows) and part.moments is not None and clock.plain and (column.epoch is not None or column.type.is_timestamp) and not said.since and said.plus is None:  # fmt: skip
            exact = part.moments
            return lambda first, stop: exact(clock.name, first, stop)
        read = _streamed(clock)
        if column.type.is_timestamp or column.type.is_string:
            return lambda first, stop: self._written(read(first, stop), clock.name)
        word = match[1] if match else unit
        scale = _UNITS.get(word.lower(), _UNITS.get(word.lower().rstrip("s")))
        if scale is None:
            raise SourceError(say("the unit {unit!r} of {name} is none of time", unit, clock.name), remedy=say("time: {{of: {name}, unit: ms}}", clock.name))  # fmt: skip
        zero = ZEROS["JD"] - column.epoch if column.epoch is not None and not since else ZEROS.get(since)
        begin = 0 if zero is not None else moment(since, self._cards(part), self._name)
        more = self._added(clock) if said.plus is not None else None
        # a double of days since 4713 BC resolves 40 microseconds
        coarse = 1000 if zero is not None and more is None and scale == DAY else 1

        def turned(first: int, stop: int) -> Instants:
            cells = read(first, stop)
            gone = np.asarray(cells.is_null())
            below: npt.NDArray[np.int64] | None = None
            if pa.types.is_integer(cells.type) and scale < 1 and zero is None:  # as doubles they would lose digits
                found, below = np.divmod(np.asarray(cells.fill_null(0)).astype(np.int64), 1000)
            elif pa.types.is_integer(cells.type) and scale >= 1 and zero in {None, 40_587.0}:
                found = (np.asarray(cells.fill_null(0)).astype(np.int64) - int(zero or 0)) * int(scale)
            else:
                values = np.asarray(cells.cast(pa.float64()).fill_null(np.nan))
                gone |= ~np.isfinite(values)
                values = np.where(gone, zero or 0.0, values) - (zero or 0.0)
                gone |= np.abs(values) * scale > 1e17
                found = np.round(np.where(gone, 0.0, values) * (scale / coarse)).astype(np.int64) * coarse
            if more is not None:
                extra, behind, lacking = more(first, stop)
                if behind is not None:
                    carried, below = np.divmod(behind + (0 if below is None else below), 1000)
                    extra = extra + carried
                found, gone = found + extra, gone | lacking
            return np.where(gone, MISSING, found + begin), below

        return turned

    def _written(self, cells: pa.Array, name: str) -> Instants:
        """Read times that are written out, or timestamps."""
        nanos: npt.NDArray[np.int64] | None = None
        if pa.types.is_string(cells.type):
            texts = pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r"(?i)\s*(Z|UTC?)$", "")
            texts = pc.if_else(pc.equal(pc.utf8_length(texts), 0), pa.scalar(None, pa.string()), texts)
            if pc.any(pc.match_substring_regex(texts, r"\.\d{6}\d*[1-9]")).as_py():
                self.cut = self.cut or bool(pc.any(pc.match_substring_regex(texts, r"\.\d{9}\d*[1-9]")).as_py())
                digits = pc.struct_field(pc.extract_regex(texts, r"\.\d{6}(?P<nanos>\d{1,3})"), "nanos")
                nanos = np.asarray(pc.utf8_rpad(digits, 3, "0").cast(pa.int64()).fill_null(0))
            texts = pc.replace_substring_regex(texts, r"(\.\d{6})\d+$", r"\1")
            try:
                cells = texts.cast(pa.timestamp("us"))
            except pa.ArrowInvalid as fault:
                raise SourceError(say("{name} has texts that are no times: {reason}", name, str(fault)[:120])) from None
        micros = cells.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return np.asarray(micros.fill_null(MISSING), np.int64), nanos

    def _added(self, clock: _Values) -> Callable[[int, int], tuple[Numbers, Numbers | None, npt.NDArray[np.bool_]]]:
        name, unit = self._said.clock.plus or ("", None)
        found = self._values(name, clock.count)
        if found is None:
            raise SourceError(say("{file} has no variable {name!r}", self._name, name))
        word = (unit or found.column.unit or "").lower()
        scale, read = _UNITS.get(word, _UNITS.get(word.rstrip("s"))), _streamed(found)
        if scale is None:
            raise SourceError(say("the unit {unit!r} of {name} is none of time", word, name))

        def added(first: int, stop: int) -> tuple[Numbers, Numbers | None, npt.NDArray[np.bool_]]:
            cells = read(first, stop)
            if pa.types.is_integer(cells.type) and scale < 1:
                return (*np.divmod(np.asarray(cells.fill_null(0)).astype(np.int64), 1000), np.asarray(cells.is_null()))
            values = np.asarray(cells.cast(pa.float64()).fill_null(np.nan))
            gone = ~np.isfinite(values)
            return np.round(np.where(gone, 0.0, values) * scale).astype(np.int64), None, gone

        return added

    def _cards(self, part: Part) -> dict[str, Any]:
        every: Iterable[Card] = (*part.cards, *self._product.cards)
        found: dict[str, Any] = {}
        for card in every:
            if card.value is not None:
                found.setdefault(card.keyword.upper(), card.value)
        return found

    def _counted(self) -> tuple[int, dict[str, npt.NDArray[np.int64]]]:
        """Read times by clock, as the file has them: counts of nanoseconds (1000) where some have such, of microseconds (1) else."""
        found = {"": self._moments(self._clock)}
        for name in sorted({name for one in self._parameters.values() for name in one.said.clocks}):
            values = self._values(name, next(one.of[one.said.clocks.index(name)].count for one in self._parameters.values() if name in one.said.clocks))  # fmt: skip
            assert values is not None  # noqa: S101  (it was found before)
            found[name] = self._moments(values)
        if all(nanos is None for _, nanos in found.values()):
            return 1, {name: times for name, (times, _) in found.items()}
        if any((np.abs(times[times != MISSING]) > FINE).any() for times, _ in found.values()):
            self.cut = True
            return 1, {name: times for name, (times, _) in found.items()}
        return 1000, {
            name: np.where(times == MISSING, MISSING, times * 1000 + (0 if nanos is None else nanos))
            for name, (times, nanos) in found.items()
        }

    @property
    def times(self) -> Times:
        """When samples were taken: all times are read, once."""
        if self._times is None:
            self._times = self._ordered()
        return self._times

    def know(self, times: Times) -> None:
        """Take the times that another look at the same file has read.

        Parameters
        ----------
        times
            Of it.
        """
        self._times, self.left, self.cut = times, times.left, times.cut

    def _ordered(self) -> Times:
        scale, every = self._counted()
        main = every[""]
        where: dict[str, npt.NDArray[np.int64] | None] = {"": None}
        good = main != MISSING
        if not good.all() or not (main[1:] > main[:-1]).all():
            order = np.flatnonzero(good)
            order = order[np.argsort(main[order], kind="stable")]
            last = np.append(main[order][1:] != main[order][:-1], True)[: len(order)]
            self.left = len(main) - int(last.sum())
            where[""] = order[last]
            main = main[where[""]]
        tolerance = (self._said.cadence or 0) * 500_000 * scale or (
            float(np.median(np.diff(main))) / 2 if len(main) > 1 else 0
        )
        for name, own in [*every.items()][1:]:
            if where[""] is None and len(own) == len(main) and (np.abs(own - main) <= tolerance).all():
                where[name] = None
                continue
            rows = np.flatnonzero(own != MISSING)
            rows = rows[np.argsort(own[rows], kind="stable")]
            main, where = _matched(main, where, name, own, rows, tolerance)
        return Times(scale, main, where, self.left, self.cut)

    @cached_property
    def moments(self) -> npt.NDArray[np.int64]:
        """When samples were taken."""
        times = self.times
        return times.counts // times.scale if times.scale > 1 else times.counts

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Bytes of the longest text of each parameter of texts: 8, 16, 32 ..."""
        names = [one.column.name for one in self._parameters.values() if one.column.type.is_string]
        found = dict.fromkeys(names, 8)
        for batch in self.batches(names, MISSING, 2**62) if names else ():
            for name in names:
                longest = pc.max(pc.binary_length(batch.column(name))).as_py() or 0
                while found[name] < longest:
                    found[name] *= 2
        return found

    @property
    def finer(self) -> bool:
        """Whether some times have digits below a microsecond; all are read, where the file can say such."""
        several = any(one.said.clocks for one in self._parameters.values())
        clock = self._clock
        if (
            not several
            and clock.column.type.is_timestamp
            and isinstance(clock.part, Rows)
            and clock.part.moments is None
        ):
            return False  # nobody is asked
        capable = several or self._turning(clock)(0, min(clock.count, BLOCK))[1] is not None
        return capable and self.times.scale > 1

    @property
    def layout(self) -> str:
        """What tells files whose parameters are other ones."""
        said = [[one.column.name, str(one.column.arrow.type), one.column.unit, repr(one.bins), self.lengths.get(one.column.name)] for one in self._parameters.values()]  # fmt: skip
        return hashlib.sha256(json.dumps([*said, *["ns"] * self.finer]).encode()).hexdigest()[: len(NO_LAYOUT)]

    # --- samples -------------------------------------------------------------------------------------------------------

    def batches(self, names: Sequence[str], start: int, stop: int, *, fine: bool = False) -> Iterator[pa.RecordBatch]:
        """Read samples.

        Parameters
        ----------
        names
            Of parameters.
        start, stop
            From the first time on, before the second.
        fine
            Times as timestamps of nanoseconds, instead of numbers of microseconds.

        Yields
        ------
        batches
            The times, then the parameters that were asked for.

        Raises
        ------
        SourceError
            The file is damaged; its times cannot be counted in nanoseconds.
        """
        where, moments = self.times.where, self.moments
        first, last = (int(one) for one in np.searchsorted(moments, (start, stop)))
        if fine:
            moments = self._fine(first, last)
        chosen = [self._parameters[name] for name in names]
        width = 1 + sum(math.prod(value.shape) for one in chosen for value in one.of)
        step = max(CELLS // width, 1)
        kept: dict[tuple[int, str], Read] = {}
        groups: dict[int, list[_Values]] = {}
        for one in chosen:
            for at, value in enumerate(one.of):
                if value.plain and where[one.said.clocks[at] if one.said.clocks else ""] is None:
                    groups.setdefault(value.part.index, []).append(value)
        streams = [_Stream(members, first, last) for members in groups.values()]
        for stream, members in zip(streams, groups.values(), strict=True):
            kept |= {(value.part.index, value.name): stream.reader(value.name) for value in members}
        kind = pa.timestamp("ns") if fine else pa.int64()
        schema = pa.schema([pa.field("hven_time", kind), *(one.column.arrow for one in chosen)])
        end = first
        while end < last:
            begin, end = end, min(end + step, last)
            for stream in streams:  # as they come, so that nothing is put together
                end = min(end, begin + stream.ahead)
            arrays = [_made(one, where, kept, begin, end) for one in chosen]
            times = pa.array(moments[begin - first : end - first] if fine else moments[begin:end]).cast(kind)
            yield pa.record_batch([times, *arrays], schema=schema)

    def _fine(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Count times in nanoseconds."""
        times = self.times.counts[first:last]
        if self.times.scale > 1:
            return times
        if (np.abs(times) > FINE).any():
            raise SourceError(say("{file} has times before 1678 or behind 2261, which cannot be counted in nanoseconds as those of other files", self._name))  # fmt: skip
        return times * 1000


def _columns(part: Part) -> tuple[Column, ...]:
    """List the columns of a part, if it has some."""
    return part.columns if isinstance(part, Rows) else ()


def _called(part: Part, name: str) -> bool:
    return name == str(part.index) or name.casefold() == part.name.casefold()


def _row(part: Rows, column: Column) -> _Values:
    """Take a column: a row is a sample."""
    shape = tuple(one or 0 for one in reversed(column.type.shape)) if column.type.is_array and not column.type.is_string else ()  # fmt: skip
    return _Values(column.name, part, column, part.count, shape, lambda first, stop: _read(part, column.name, first, stop), plain=True)  # fmt: skip


def _clocked(part: Rows, column: Column) -> _Values:
    """Take a column of times: one a row, or all in the one cell."""
    return (_cell(part, column, None) if part.count == 1 else None) or _row(part, column)


def _cell(part: Rows, column: Column, count: int | None) -> _Values | None:
    """Take the one cell of a column: its elements are samples, along its first dimension or its last one."""
    if not column.type.is_array or column.type.is_string:
        return None
    cell = _read(part, column.name, 0, 1).flatten()
    shape: tuple[int, ...] = tuple(one or len(cell) for one in reversed(column.type.shape))
    turned = count is not None and shape[0] != count and shape[-1] == count
    if count is not None and shape[0] != count and not turned:
        return None
    if turned and len(shape) > 1:
        places = np.moveaxis(np.arange(len(cell)).reshape(shape), -1, 0)
        cell, shape = cell.take(pa.array(places.ravel())), places.shape
    inner = shape[1:]
    size = math.prod(inner)
    kind = Type(column.type.datatype, "x".join(str(one) for one in reversed(inner)) or None, column.type.xtype)

    def read(first: int, stop: int) -> pa.Array:
        some = cell.slice(first * size, (stop - first) * size)
        return pa.FixedSizeListArray.from_arrays(some, size) if inner else some

    return _Values(column.name, part, column.having(type=kind), shape[0], inner, read)


def _array(part: Array, count: int) -> _Values | None:
    """Take an array, of which one axis is time."""
    axes = [at for at, axis in enumerate(part.axes) if axis.size == count]
    if not axes:
        return None
    along = next((at for at in axes if part.axes[at].kind == "time"), axes[0])
    inner = tuple(axis.size for at, axis in enumerate(part.axes) if at != along)
    name = _TYPES.get(part.dtype.newbyteorder("=").str[1:], "double")
    column = Column(name=part.name or f"part{part.index}", type=Type(name, "x".join(str(one) for one in reversed(inner)) or None), unit=part.unit)  # fmt: skip

    def read(first: int, stop: int) -> pa.Array:
        window = [slice(first, stop) if at == along else slice(0, axis.size) for at, axis in enumerate(part.axes)]
        values = np.ascontiguousarray(np.moveaxis(part.read(window), along, 0))
        flat = pa.array(values.ravel().astype(values.dtype.newbyteorder("="), copy=False), from_pandas=True)
        return pa.FixedSizeListArray.from_arrays(flat, math.prod(inner)) if inner else flat

    return _Values(column.name, part, column, count, inner, read)


def _read(part: Rows, name: str, first: int, stop: int) -> pa.Array:
    own = part.narrow([name]) if part.narrow is not None else part
    found = [batch.column(batch.schema.get_field_index(name)) for batch in own.batches(first, stop - first)]
    whole = pa.concat_arrays(found) if found else pa.nulls(0, own.columns[0].arrow.type)
    if len(whole) != stop - first:
        raise SourceError(say("{name} ends where its values should be", name))
    return whole


class _Stream:
    """Columns of a part, read once from one row to another; each is asked for the same rows in turn."""

    def __init__(self, members: Sequence[_Values], first: int, last: int) -> None:
        part = members[0].part
        assert isinstance(part, Rows)  # noqa: S101  (a row is a sample)
        names = {one.name for one in members}
        self._batches = (part.narrow(names) if part.narrow is not None else part).batches(first, last - first)
        self._names, self._at = sorted(names), -1
        self._now: dict[str, pa.Array] = {}
        self._rest: pa.RecordBatch = None

    def reader(self, name: str) -> Read:
        def read(first: int, stop: int) -> pa.Array:
            if self._at != first:
                self._at, self._now = first, self._next(stop - first)
            return self._now[name]

        return read

    @property
    def ahead(self) -> int:
        """How many rows are there in one piece; the next ones are read if there are none."""
        while not self._rest:
            if (rest := next(self._batches, None)) is None:
                raise SourceError(say("{name} ends where its values should be", ", ".join(self._names)[:100]))
            self._rest = rest
        found: int = self._rest.num_rows
        return found

    def _next(self, count: int) -> dict[str, pa.Array]:
        parts, there = [], 0
        while there < count and self.ahead:
            piece = self._rest.slice(0, count - there)
            self._rest = self._rest.slice(piece.num_rows)
            parts.append(piece)
            there += piece.num_rows
        return {
            name: parts[0].column(name) if len(parts) == 1 else pa.concat_arrays([one.column(name) for one in parts])
            for name in self._names
        }


def _streamed(values: _Values) -> Read:
    """Read blocks one behind the other: each is asked for once."""
    return _Stream([values], 0, values.count).reader(values.name) if values.plain else values.read


def _made(
    one: _Parameter,
    where: dict[str, npt.NDArray[np.int64] | None],
    kept: dict[tuple[int, str], Read],
    begin: int,
    end: int,
) -> pa.Array:
    """Read some samples of a parameter."""
    kind = one.column.arrow.type
    cells = []
    for at, value in enumerate(one.of):
        places = where[one.said.clocks[at] if one.said.clocks else ""]
        read = kept.get((value.part.index, value.name), value.read) if places is None else value.read
        cells.append(read(begin, end) if places is None else _gathered(read, places[begin:end]))
    if one.simple:
        return cells[0].cast(kind)
    made = [_matrix(cell, value, one.said) for cell, value in zip(cells, one.of, strict=True)]
    flat = np.concatenate([values for values, _ in made], axis=1).ravel()
    gone = np.concatenate([mask for _, mask in made], axis=1).ravel()
    inner = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    array = pa.array(flat, mask=gone, from_pandas=True).cast(inner)
    return pa.FixedSizeListArray.from_arrays(array, kind.list_size) if inner is not kind else array


def _matrix(cells: pa.Array, value: _Values, said: Variable) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Take values as a matrix of samples and elements, and which are none."""
    nested = pa.types.is_fixed_size_list(cells.type)
    flat = cells.flatten() if nested else cells
    if nested and cells.null_count:
        size = cells.type.list_size
        flat = pa.concat_arrays([cells.values.slice(cells.offset * size, len(cells) * size)])
    gone = np.asarray(flat.is_null())
    values = np.asarray(flat.fill_null(0)).reshape(len(cells), -1)
    gone = gone.reshape(values.shape)
    if nested and cells.null_count:
        gone = gone | np.asarray(cells.is_null())[:, None]
    if said.element is not None:
        last = value.shape[-1]
        values, gone = values[:, said.element :: last], gone[:, said.element :: last]
    return values, gone if said.fill is None else gone | (values == said.fill)


def _gathered(read: Read, places: npt.NDArray[np.int64]) -> pa.Array:
    """Read records in any order; -1 is none."""
    wanted = np.unique(places[places >= 0])
    if not len(wanted):
        return read(0, 1).take(pa.array([None] * len(places), pa.int64()))
    ends = np.flatnonzero(np.diff(wanted) > BLOCK // 16)
    runs = zip(wanted[np.append(0, ends + 1)], wanted[np.append(ends, len(wanted) - 1)] + 1, strict=True)
    parts, numbers = [], []
    for first, stop in runs:
        parts.append(read(int(first), int(stop)))
        numbers.append(np.arange(first, stop))
    there = np.searchsorted(np.concatenate(numbers), places)
    return pa.concat_arrays(parts).take(pa.array(there, mask=places < 0))


def _matched(
    main: npt.NDArray[np.int64],
    where: dict[str, npt.NDArray[np.int64] | None],
    name: str,
    own: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    tolerance: float,
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64] | None]]:
    """Put records under the samples that are next to them in time; those that are next to none are samples of their own."""
    times = own[rows]
    near, back = _nearest(times, main), _nearest(main, times)
    found = np.full(len(main), -1, np.int64)
    if len(times) and len(main):
        mutual = (back[near] == np.arange(len(main))) & (np.abs(times[near] - main) <= tolerance)
        found[mutual] = rows[near[mutual]]
    alone = ~np.isin(rows, found)
    every = np.concatenate([main, times[alone]])
    every, first = np.unique(every, return_index=True)
    made: dict[str, npt.NDArray[np.int64] | None] = {}
    for key, places in where.items():
        known = np.arange(len(main)) if places is None else places
        made[key] = np.concatenate([known, np.full(int(alone.sum()), -1)])[first]
    made[name] = np.concatenate([found, rows[alone]])[first]
    return every, made


def _nearest(among: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Find the nearest of increasing values."""
    if not len(among):
        return np.zeros(len(wanted), np.int64)
    after = np.clip(np.searchsorted(among, wanted), 0, len(among) - 1)
    before = np.clip(after - 1, 0, None)
    return np.where(np.abs(among[before] - wanted) <= np.abs(among[after] - wanted), before, after)


def _dtype(column: Column) -> np.dtype[Any]:
    kind = column.arrow.type
    inner = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    found: np.dtype[Any] = np.dtype(inner.to_pandas_dtype())
    return found


__all__ = ["Samples"]
