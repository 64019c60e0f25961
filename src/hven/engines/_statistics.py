"""What is known about the values of a new snapshot: nulls, extremes, distinct values, text; and the coverage of its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.sky import Moc

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.model.table import Table

FEW, LONG = 24, 100  # different values of a column that are kept with their rows; characters of each
CELLS = 20_000  # a coverage map has no more cells than that, unless it is of order 6


class Statistics:
    """Gathers part by part; `result` gives column name -> {nulls, minimum, maximum, distinct, top, non_ascii, max_length}, and `longest` text of arrays."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._nulls = dict.fromkeys((column.name for column in table.columns), 0)
        self._extremes: dict[str, tuple[Any, Any]] = {}
        self._non_ascii: dict[str, bool] = {}
        self._length: dict[str, int] = {}
        self._longest: dict[str, int] = {}
        self._distinct: dict[str, _Distinct] = {}

    def add(self, part: pa.Table) -> None:
        """Add the rows of one part."""
        for item, column in zip(part.schema, part.columns, strict=True):
            name, kind = item.name, item.type
            self._nulls[name] += column.null_count
            if column.null_count == len(column):
                continue
            if pa.types.is_string(kind):
                self._add_text(name, column)
            elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
                self._longest[name] = max(
                    self._longest.get(name, 0), pc.max(pc.utf8_length(pc.list_flatten(column))).as_py() or 0
                )
            elif pa.types.is_boolean(kind) or pa.types.is_timestamp(kind) or _is_number(kind):
                self._add_scalar(name, column)

    def _add_text(self, name: str, column: pa.ChunkedArray) -> None:
        length = int(pc.max(pc.binary_length(column)).as_py())
        if not self._non_ascii.get(name):
            self._non_ascii[name] = not pc.all(pc.string_is_ascii(column)).as_py()
        if self._non_ascii[name]:
            length = int(pc.max(pc.utf8_length(column)).as_py())
        self._length[name] = max(self._length.get(name, 0), length)
        alike = self._widen(name, column)
        self._distinct.setdefault(name, _Distinct()).add(column, alike)

    def _add_scalar(self, name: str, column: pa.ChunkedArray) -> None:
        alike = self._widen(name, column)
        # one number and NaN are two values: extremes do not tell, and a sample may miss the rarer one
        mixed = alike is not None and pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())
        if not pa.types.is_boolean(column.type):
            self._distinct.setdefault(name, _Distinct()).add(column, None if mixed else alike, whole=mixed)

    def _widen(self, name: str, column: pa.ChunkedArray) -> pa.Scalar | None:
        """Widen the extremes; return the value if the part has no other."""
        found = pc.min_max(column)
        least = found["min"]
        low, high = least.as_py(), found["max"].as_py()
        if low is None or low != low:  # noqa: PLR0124  (NaN: no number in this part)
            return None
        known = self._extremes.get(name)
        self._extremes[name] = (low, high) if known is None else (min(known[0], low), max(known[1], high))
        return least if low == high else None

    def result(self) -> dict[str, dict[str, object]]:
        """Return the statistics of all columns."""
        found: dict[str, dict[str, object]] = {}
        for column in self._table.columns:
            name = column.name
            entry: dict[str, object] = {"nulls": self._nulls[name]}
            if name in self._extremes:
                low, high = self._extremes[name]
                entry["minimum"], entry["maximum"] = plain(low), plain(high)
            if name in self._longest:
                entry["longest"] = self._longest[name]
            if name in self._distinct:
                entry["distinct"] = self._distinct[name].estimate()
                if top := self._distinct[name].top():
                    entry["top"] = top
            if name in self._length:
                entry["non_ascii"] = self._non_ascii[name]
                entry["max_length"] = self._length[name]
            found[name] = entry
        return found


class _Distinct:
    """Estimates the number of distinct values from a sample: exact while there are few, else by the share of values seen once."""

    _LIMIT = 65_536  # rows of the first part
    _LATER, _LEAST = 16_384, 2048  # rows of each later part: a sixteenth, within these bounds
    _ENOUGH = 131_072  # distinct values

    def __init__(self) -> None:
        self._seen: pa.StructArray | None = None
        self._pending: list[pa.StructArray] = []
        self._rows = 0
        self._sampled = 0

    def add(self, column: pa.ChunkedArray, alike: pa.Scalar | None = None, *, whole: bool = False) -> None:
        """Add a sample of a column: most of it from the first part, some of each later one.

        `alike`, if given, is the one value that it has; `whole`: all of it is taken, for it has few.
        """
        given = len(column) - column.null_count
        if self._seen is not None and len(self._seen) >= self._ENOUGH:
            self._rows += given
            return
        most = self._LIMIT if not self._rows else min(max(given // 16, self._LEAST), self._LATER)
        self._rows += given
        if alike is not None:
            self._sampled += given
            self._take_in(
                pa.StructArray.from_arrays(
                    [_with_one_zero(pa.array([alike], column.type)), pa.array([given])], ["values", "counts"]
                )
            )
            return
        column = column.drop_null()  # before: nulls may stand in every second row, and the sample with them
        step = 1 if whole else -(-given // most)
        sample = column if step == 1 else column.take(pa.array(np.arange(0, given, step)))
        self._sampled += len(sample)
        self._take_in(pc.value_counts(_with_one_zero(sample)))

    def _take_in(self, counts: pa.StructArray) -> None:
        self._pending.append(counts)
        if sum(len(each) for each in self._pending) >= self._ENOUGH:
            self._gather()

    def _gather(self) -> None:
        """Add up the counts of the parts."""
        counts = [*([] if self._seen is None else [self._seen]), *self._pending]
        self._pending = []
        if len(counts) < 2:
            self._seen = counts[0] if counts else None
            return
        encoded = pa.concat_arrays([_field(each, 0) for each in counts]).dictionary_encode()
        numbers = np.concatenate([np.asarray(_field(each, 1)) for each in counts])
        sums = np.bincount(np.asarray(encoded.indices), weights=numbers, minlength=len(encoded.dictionary)).astype(
            np.int64
        )
        self._seen = pa.StructArray.from_arrays([encoded.dictionary, pa.array(sums)], ["values", "counts"])

    def estimate(self) -> int:
        """Estimate the number of distinct values, by the estimator of Haas and Stokes (Duj1) as PostgreSQL's ANALYZE uses it."""
        self._gather()
        if self._seen is None:
            return 0
        distinct = len(self._seen)
        if self._sampled >= self._rows:
            return distinct
        once = int(pc.sum(pc.equal(_field(self._seen, 1), 1)).as_py() or 0)
        n, total = self._sampled, self._rows
        if once == n:
            return total
        return int(min(n * distinct / (n - once + once * n / total), total))

    def top(self) -> list[list[object]]:
        """Return the values with the rows that have each, most first; none if there are many, or if one is no plain value."""
        self._gather()
        if self._seen is None or not 0 < len(self._seen) <= FEW:
            return []
        values = [plain(value) for value in _field(self._seen, 0).to_pylist()]
        if any(isinstance(value, str) and (len(value) > LONG or value in {"nan", "inf", "-inf"}) for value in values):
            return []
        counts = [round(count * self._rows / self._sampled) for count in _field(self._seen, 1).to_pylist()]
        return ordered(dict(zip(values, counts, strict=True)))


def ordered(counts: Mapping[Any, int]) -> list[list[object]]:
    """Sort values by their rows, most first; those that have none are left out."""
    return [
        [value, count] for value, count in sorted(counts.items(), key=lambda one: (-one[1], str(one[0]))) if count > 0
    ]


def _with_one_zero(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Make -0.0 of floating-point numbers 0.0: they are equal, and are counted together."""
    return pc.add(values, pa.scalar(0.0, values.type)) if pa.types.is_floating(values.type) else values


def _field(struct: pa.StructArray, number: int) -> pa.Array:
    return struct.field(number)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def plain(value: Any) -> object:
    """Make a value fit for JSON: infinities and times as text."""
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return value.isoformat()


def coverage(healpix: npt.NDArray[np.int64]) -> str:
    """Write the ASCII MOC (MOC 2.0 section 4.3.2) of sorted HEALPix indexes of order 29, at an order of 8 to 6 by its size."""
    return written(*covered(healpix))


def written(cells: npt.NDArray[np.int64], order: int) -> str:
    """Write distinct cells of an order as an ASCII MOC."""
    return str(Moc.of_cells(cells, order)) if len(cells) else "0/"


def covered(healpix: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Return the cells of a coverage, and their order."""
    cells, order = np.empty(0, np.int64), 8
    for order in (8, 7, 6):
        cells = distinct_cells(healpix, order)
        if len(cells) <= CELLS:
            break
    return cells, order


def distinct_cells(healpix: npt.NDArray[np.int64], order: int) -> npt.NDArray[np.int64]:
    """Return the distinct cells of a coarser order, from a sorted array, without a copy of it."""
    shift = 2 * (29 - order)
    found: list[npt.NDArray[np.int64]] = []
    last = -1
    for begin in range(0, len(healpix), 4_000_000):
        cells = healpix[begin : begin + 4_000_000] >> shift
        keep = np.empty(len(cells), bool)
        keep[0] = cells[0] != last
        np.not_equal(cells[1:], cells[:-1], out=keep[1:])
        found.append(cells[keep])
        last = int(cells[-1])
    return np.concatenate(found) if found else np.empty(0, np.int64)
