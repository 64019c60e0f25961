"""What is known about the values of a new snapshot: nulls, extremes, distinct values, text.

And the coverage of its positions.
"""

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

MAX_TOP_VALUES, MAX_TOP_VALUE_CHARACTERS = (
    24,
    100,
)  # different values of a column that are kept with their rows; characters of each
MAX_COVERAGE_CELLS = 20_000  # a coverage map has no more cells than that, unless it is of order 6


class StatisticsCollector:
    """Gathers part by part; `build_statistics` gives column name -> {nulls, minimum, maximum, distinct, top, non_ascii, max_length}, and `longest` text of arrays."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._null_counts = dict.fromkeys((column.name for column in table.columns), 0)
        self._extremes: dict[str, tuple[Any, Any]] = {}
        self._has_non_ascii: dict[str, bool] = {}
        self._text_lengths: dict[str, int] = {}
        self._element_lengths: dict[str, int] = {}
        self._distinct_estimators: dict[str, _DistinctEstimator] = {}

    def add_rows(self, rows: pa.Table) -> None:
        """Add the rows of one part."""
        for field, column in zip(rows.schema, rows.columns, strict=True):
            name = field.name
            arrow_type = field.type
            self._null_counts[name] += column.null_count
            if column.null_count == len(column):
                continue
            if pa.types.is_string(arrow_type):
                self._add_text_values(name, column)
            elif pa.types.is_list(arrow_type) and pa.types.is_string(arrow_type.value_type):
                self._element_lengths[name] = max(
                    self._element_lengths.get(name, 0), pc.max(pc.utf8_length(pc.list_flatten(column))).as_py() or 0
                )
            elif pa.types.is_boolean(arrow_type) or pa.types.is_timestamp(arrow_type) or _is_numeric(arrow_type):
                self._add_scalar_values(name, column)

    def _add_text_values(self, name: str, column: pa.ChunkedArray) -> None:
        length = int(pc.max(pc.binary_length(column)).as_py())
        if not self._has_non_ascii.get(name):
            self._has_non_ascii[name] = not pc.all(pc.string_is_ascii(column)).as_py()
        if self._has_non_ascii[name]:
            length = int(pc.max(pc.utf8_length(column)).as_py())
        self._text_lengths[name] = max(self._text_lengths.get(name, 0), length)
        only_value = self._widen_extremes(name, column)
        self._distinct_estimators.setdefault(name, _DistinctEstimator()).add_column(column, only_value)

    def _add_scalar_values(self, name: str, column: pa.ChunkedArray) -> None:
        only_value = self._widen_extremes(name, column)
        # one number and NaN are two values: extremes do not tell, and a sample may miss the rarer one
        has_nan = (
            only_value is not None and pa.types.is_floating(column.type) and bool(pc.any(pc.is_nan(column)).as_py())
        )
        if not pa.types.is_boolean(column.type):
            self._distinct_estimators.setdefault(name, _DistinctEstimator()).add_column(
                column, None if has_nan else only_value, use_all_rows=has_nan
            )

    def _widen_extremes(self, name: str, column: pa.ChunkedArray) -> pa.Scalar | None:
        """Widen the extremes; return the value if the part has no other."""
        min_max = pc.min_max(column)
        minimum = min_max["min"]
        low = minimum.as_py()
        high = min_max["max"].as_py()
        if low is None or low != low:  # noqa: PLR0124  (NaN: no number in this part)
            return None
        extremes = self._extremes.get(name)
        if extremes is None:
            self._extremes[name] = (low, high)
        else:
            self._extremes[name] = (min(extremes[0], low), max(extremes[1], high))
        return minimum if low == high else None

    def build_statistics(self) -> dict[str, dict[str, object]]:
        """Return the statistics of all columns."""
        statistics: dict[str, dict[str, object]] = {}
        for column in self._table.columns:
            name = column.name
            entry: dict[str, object] = {"nulls": self._null_counts[name]}
            if name in self._extremes:
                low, high = self._extremes[name]
                entry["minimum"], entry["maximum"] = to_json_value(low), to_json_value(high)
            if name in self._element_lengths:
                entry["longest"] = self._element_lengths[name]
            if name in self._distinct_estimators:
                entry["distinct"] = self._distinct_estimators[name].estimate_distinct()
                top = self._distinct_estimators[name].list_top_values()
                if top:
                    entry["top"] = top
            if name in self._text_lengths:
                entry["non_ascii"] = self._has_non_ascii[name]
                entry["max_length"] = self._text_lengths[name]
            statistics[name] = entry
        return statistics


class _DistinctEstimator:
    """Estimates the number of distinct values from a sample.

    Exact while there are few, else by the share of values seen once.
    """

    _FIRST_SAMPLE_ROWS = 65_536  # rows of the first part
    _MAX_LATER_SAMPLE_ROWS, _MIN_LATER_SAMPLE_ROWS = (
        16_384,
        2048,
    )  # rows of each later part: a sixteenth, within these bounds
    _MAX_DISTINCT_VALUES = 131_072  # distinct values

    def __init__(self) -> None:
        self._value_counts: pa.StructArray | None = None
        self._pending_counts: list[pa.StructArray] = []
        self._value_total = 0
        self._sampled = 0

    def add_column(
        self, column: pa.ChunkedArray, only_value: pa.Scalar | None = None, *, use_all_rows: bool = False
    ) -> None:
        """Add a sample of a column: most of it from the first part, some of each later one.

        `only_value`, if given, is the one value that it has; `use_all_rows`: all of it is taken, for it has few.
        """
        value_count = len(column) - column.null_count
        if self._value_counts is not None and len(self._value_counts) >= self._MAX_DISTINCT_VALUES:
            self._value_total += value_count
            return
        if not self._value_total:
            sample_limit = self._FIRST_SAMPLE_ROWS
        else:
            sample_limit = min(max(value_count // 16, self._MIN_LATER_SAMPLE_ROWS), self._MAX_LATER_SAMPLE_ROWS)
        self._value_total += value_count
        if only_value is not None:
            self._sampled += value_count
            self._add_counts(
                pa.StructArray.from_arrays(
                    [_normalize_zeros(pa.array([only_value], column.type)), pa.array([value_count])],
                    ["values", "counts"],
                )
            )
            return
        column = column.drop_null()  # before: nulls may stand in every second row, and the sample with them
        if use_all_rows:
            step = 1
        else:
            step = -(-value_count // sample_limit)
        if step == 1:
            sample = column
        else:
            sample = column.take(pa.array(np.arange(0, value_count, step)))
        self._sampled += len(sample)
        self._add_counts(pc.value_counts(_normalize_zeros(sample)))

    def _add_counts(self, counts: pa.StructArray) -> None:
        self._pending_counts.append(counts)
        if sum(len(each) for each in self._pending_counts) >= self._MAX_DISTINCT_VALUES:
            self._merge_counts()

    def _merge_counts(self) -> None:
        """Add up the counts of the parts."""
        counts = [*([] if self._value_counts is None else [self._value_counts]), *self._pending_counts]
        self._pending_counts = []
        if len(counts) < 2:
            if counts:
                self._value_counts = counts[0]
            else:
                self._value_counts = None
            return
        encoded = pa.concat_arrays([_get_field(part_counts, 0) for part_counts in counts]).dictionary_encode()
        numbers = np.concatenate([np.asarray(_get_field(part_counts, 1)) for part_counts in counts])
        sums = np.bincount(np.asarray(encoded.indices), weights=numbers, minlength=len(encoded.dictionary)).astype(
            np.int64
        )
        self._value_counts = pa.StructArray.from_arrays([encoded.dictionary, pa.array(sums)], ["values", "counts"])

    def estimate_distinct(self) -> int:
        """Estimate the number of distinct values, by the estimator of Haas and Stokes (Duj1) as PostgreSQL's ANALYZE uses it."""
        self._merge_counts()
        if self._value_counts is None:
            return 0
        distinct = len(self._value_counts)
        if self._sampled >= self._value_total:
            return distinct
        field = _get_field(self._value_counts, 1)
        singletons = int(pc.sum(pc.equal(field, 1)).as_py() or 0)
        n = self._sampled
        total = self._value_total
        if singletons == n:
            return total
        return int(min(n * distinct / (n - singletons + singletons * n / total), total))

    def list_top_values(self) -> list[list[object]]:
        """Return the values with the rows that have each, most first.

        None if there are many, or if one is no plain value.
        """
        self._merge_counts()
        if self._value_counts is None or not 0 < len(self._value_counts) <= MAX_TOP_VALUES:
            return []
        values = [to_json_value(value) for value in _get_field(self._value_counts, 0).to_pylist()]
        if any(
            isinstance(value, str) and (len(value) > MAX_TOP_VALUE_CHARACTERS or value in {"nan", "inf", "-inf"})
            for value in values
        ):
            return []
        counts = [
            round(count * self._value_total / self._sampled) for count in _get_field(self._value_counts, 1).to_pylist()
        ]
        return sort_value_counts(dict(zip(values, counts, strict=True)))


def sort_value_counts(counts: Mapping[Any, int]) -> list[list[object]]:
    """Sort values by their rows, most first; those that have none are left out."""
    return [
        [value, count] for value, count in sorted(counts.items(), key=lambda one: (-one[1], str(one[0]))) if count > 0
    ]


def _normalize_zeros(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Make -0.0 of floating-point numbers 0.0: they are equal, and are counted together."""
    if pa.types.is_floating(values.type):
        return pc.add(values, pa.scalar(0.0, values.type))
    return values


def _get_field(struct: pa.StructArray, field_number: int) -> pa.Array:
    return struct.field(field_number)


def _is_numeric(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type))


def to_json_value(value: Any) -> object:
    """Make a value fit for JSON: infinities and times as text."""
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if np.isfinite(value):
            return value
        return str(value)
    return value.isoformat()


def compute_coverage_moc(cell_indexes: npt.NDArray[np.int64]) -> str:
    """Write the ASCII MOC (MOC 2.0 section 4.3.2) of sorted HEALPix indexes of order 29, at an order of 8 to 6 by its size."""
    return format_moc(*compute_coverage_cells(cell_indexes))


def format_moc(cells: npt.NDArray[np.int64], order: int) -> str:
    """Write distinct cells of an order as an ASCII MOC."""
    if len(cells):
        return str(Moc.from_cells(cells, order))
    return "0/"


def compute_coverage_cells(cell_indexes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Return the cells of a coverage, and their order."""
    cells = np.empty(0, np.int64)
    order = 8
    for order in (8, 7, 6):
        cells = find_distinct_cells(cell_indexes, order)
        if len(cells) <= MAX_COVERAGE_CELLS:
            break
    return cells, order


def find_distinct_cells(cell_indexes: npt.NDArray[np.int64], order: int) -> npt.NDArray[np.int64]:
    """Return the distinct cells of a coarser order, from a sorted array, without a copy of it."""
    shift = 2 * (29 - order)
    cell_arrays: list[npt.NDArray[np.int64]] = []
    last = -1
    for begin in range(0, len(cell_indexes), 4_000_000):
        cells = cell_indexes[begin : begin + 4_000_000] >> shift
        keep = np.empty(len(cells), bool)
        keep[0] = cells[0] != last
        np.not_equal(cells[1:], cells[:-1], out=keep[1:])
        cell_arrays.append(cells[keep])
        last = int(cells[-1])
    if cell_arrays:
        return np.concatenate(cell_arrays)
    return np.empty(0, np.int64)
