"""Statistics of the values of a new snapshot: nulls, extremes, distinct values, text; and the coverage of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._key_matching import normalize_zeros
from hven.model.sky import Moc

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from hven.model.table import Table

MAX_TOP_VALUES = 24  # a column with up to this many distinct values keeps them with their numbers of rows
MAX_TOP_VALUE_CHARACTERS = 100  # longer values are not kept
MAX_COVERAGE_CELLS = 20_000  # maximum number of cells of a coverage map, unless it is of order 6


class ColumnStatisticsCollector:
    """Collects statistics part by part.

    `build_statistics` returns for each column name nulls, minimum, maximum, distinct, top, non_ascii and max_length as
    far as they apply, and the `longest` text of arrays.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._null_counts = dict.fromkeys((column.name for column in table.columns), 0)
        self._extremes: dict[str, tuple[Any, Any]] = {}
        self._has_non_ascii: dict[str, bool] = {}
        self._text_lengths: dict[str, int] = {}
        self._element_lengths: dict[str, int] = {}
        self._distinct_estimators: dict[str, _ValueCountEstimator] = {}

    def add_rows(self, rows: pa.Table) -> None:
        """Add the rows of one part.

        Parameters
        ----------
        rows
            Rows in the schema of the table.
        """
        for field, column in zip(rows.schema, rows.columns, strict=True):
            name = field.name
            arrow_type = field.type
            self._null_counts[name] += column.null_count
            if column.null_count == len(column):
                continue
            if pa.types.is_string(arrow_type):
                self._add_text_values(name, column)
            elif pa.types.is_list(arrow_type) and pa.types.is_string(arrow_type.value_type):
                lengths = pc.utf8_length(pc.list_flatten(column))
                max_length = pc.max(lengths).as_py() or 0
                self._element_lengths[name] = max(self._element_lengths.get(name, 0), max_length)
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
        self._distinct_estimators.setdefault(name, _ValueCountEstimator()).add_column_sample(column, only_value)

    def _add_scalar_values(self, name: str, column: pa.ChunkedArray) -> None:
        only_value = self._widen_extremes(name, column)
        # the extremes do not show that a column has one number and NaN, and a sample may miss the rarer of the two
        has_nan = False
        if only_value is not None and pa.types.is_floating(column.type):
            has_nan = bool(pc.any(pc.is_nan(column)).as_py())
        if not pa.types.is_boolean(column.type):
            estimator = self._distinct_estimators.setdefault(name, _ValueCountEstimator())
            estimator.add_column_sample(column, None if has_nan else only_value, use_all_rows=has_nan)

    def _widen_extremes(self, name: str, column: pa.ChunkedArray) -> pa.Scalar | None:
        """Widen the extremes by those of a part; return its value if it has only one."""
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
        if low == high:
            return minimum
        return None

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
                entry["distinct"] = self._distinct_estimators[name].estimate_distinct_count()
                top = self._distinct_estimators[name].list_top_values()
                if top:
                    entry["top"] = top
            if name in self._text_lengths:
                entry["non_ascii"] = self._has_non_ascii[name]
                entry["max_length"] = self._text_lengths[name]
            statistics[name] = entry
        return statistics


class _ValueCountEstimator:
    """Estimates the number of distinct values from a sample.

    The number is exact while the sample has all values; otherwise the share of values seen once decides.
    """

    _FIRST_SAMPLE_ROWS = 65_536  # rows of the first part
    # a sixteenth of the rows of each later part, within these bounds
    _MIN_LATER_SAMPLE_ROWS = 2048
    _MAX_LATER_SAMPLE_ROWS = 16_384
    _MAX_DISTINCT_VALUES = 131_072  # no more values are counted beyond this

    def __init__(self) -> None:
        self._value_counts: pa.StructArray | None = None
        self._pending_counts: list[pa.StructArray] = []
        self._value_total = 0
        self._sampled = 0

    def add_column_sample(
        self, column: pa.ChunkedArray, only_value: pa.Scalar | None = None, *, use_all_rows: bool = False
    ) -> None:
        """Add a sample of a column: most of it from the first part, some from each later one.

        `only_value` is the one value that the part has, if it has only one. With `use_all_rows`, all rows are counted,
        which is for a column of few values.
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
            values = normalize_zeros(pa.array([only_value], column.type))
            self._add_counts(_build_value_counts(values, pa.array([value_count])))
            return
        # nulls go first: if every second row were null, a sample of every second row could have only nulls
        sample = column.drop_null()
        if use_all_rows:
            step = 1
        else:
            step = -(-value_count // sample_limit)
        if step != 1:
            sample = sample.take(pa.array(np.arange(0, value_count, step)))
        self._sampled += len(sample)
        self._add_counts(pc.value_counts(normalize_zeros(sample)))

    def _add_counts(self, counts: pa.StructArray) -> None:
        self._pending_counts.append(counts)
        if sum(map(len, self._pending_counts)) >= self._MAX_DISTINCT_VALUES:
            self._merge_counts()

    def _merge_counts(self) -> None:
        """Add the pending counts to the counts of the values."""
        part_counts = self._pending_counts
        if self._value_counts is not None:
            part_counts = [self._value_counts, *part_counts]
        self._pending_counts = []
        if not part_counts:
            return
        if len(part_counts) == 1:
            self._value_counts = part_counts[0]
            return
        values = pa.concat_arrays([_get_field(counts, 0) for counts in part_counts])
        encoded = values.dictionary_encode()
        counts_by_part = np.concatenate([np.asarray(_get_field(counts, 1)) for counts in part_counts])
        totals = np.bincount(np.asarray(encoded.indices), weights=counts_by_part, minlength=len(encoded.dictionary))
        self._value_counts = _build_value_counts(encoded.dictionary, pa.array(totals.astype(np.int64)))

    def estimate_distinct_count(self) -> int:
        """Estimate the number of distinct values.

        The estimator is that of Haas and Stokes (Duj1), which ANALYZE of PostgreSQL also uses.
        """
        self._merge_counts()
        if self._value_counts is None:
            return 0
        distinct = len(self._value_counts)
        if self._sampled >= self._value_total:
            return distinct
        counts = _get_field(self._value_counts, 1)
        singletons = int(pc.sum(pc.equal(counts, 1)).as_py() or 0)
        sampled = self._sampled
        total = self._value_total
        if singletons == sampled:
            return total
        estimate = sampled * distinct / (sampled - singletons + singletons * sampled / total)
        return int(min(estimate, total))

    def list_top_values(self) -> list[list[object]]:
        """Return the values with the number of rows of each, the most frequent first.

        The list is empty if there are many values, or if one is too long or no finite number.
        """
        self._merge_counts()
        if self._value_counts is None or not 0 < len(self._value_counts) <= MAX_TOP_VALUES:
            return []
        values = [to_json_value(value) for value in _get_field(self._value_counts, 0).to_pylist()]
        texts = [value for value in values if isinstance(value, str)]
        if any(len(text) > MAX_TOP_VALUE_CHARACTERS or text in {"nan", "inf", "-inf"} for text in texts):
            return []
        sampled_counts = _get_field(self._value_counts, 1).to_pylist()
        counts = [round(count * self._value_total / self._sampled) for count in sampled_counts]
        return sort_value_counts(dict(zip(values, counts, strict=True)))


def sort_value_counts(counts: Mapping[Any, int]) -> list[list[object]]:
    """Sort values by their numbers of rows, the most frequent first; leave out values without rows."""
    sorted_counts = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return [[value, count] for value, count in sorted_counts if count > 0]


def _build_value_counts(values: pa.Array, counts: pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays([values, counts], ["values", "counts"])


def _get_field(struct: pa.StructArray, field_number: int) -> pa.Array:
    return struct.field(field_number)


def _is_numeric(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type))


def to_json_value(value: Any) -> object:
    """Return a value that JSON can hold: infinities and times as text.

    Parameters
    ----------
    value
        A number, a text or a time.
    """
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if np.isfinite(value):
            return value
        return str(value)
    return value.isoformat()


def compute_coverage_moc(cell_indexes: npt.NDArray[np.int64]) -> str:
    """Write sorted HEALPix indexes of order 29 as an ASCII MOC (MOC 2.0 section 4.3.2).

    Its order is 8, or down to 6 if it would have too many cells.

    Parameters
    ----------
    cell_indexes
        Sorted indexes (rows,) of order 29, of int64.

    Returns
    -------
    moc
        Text of the MOC.
    """
    cells, order = compute_coverage_cells(cell_indexes)
    return format_moc(cells, order)


def format_moc(cells: npt.NDArray[np.int64], order: int) -> str:
    """Write distinct cells of an order as an ASCII MOC.

    Parameters
    ----------
    cells
        Distinct indexes (cells,) of an order, of int64.
    order
        Their order.

    Returns
    -------
    text
        ``8/1-5 9``; without cells ``0/``.
    """
    if len(cells):
        return str(Moc.from_cells(cells, order))
    return "0/"


def compute_coverage_cells(cell_indexes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Return the cells of a coverage map, and their order.

    Parameters
    ----------
    cell_indexes
        Sorted HEALPix indexes (rows,) of order 29, of int64.

    Returns
    -------
    cells, order
        Distinct indexes (cells,) of int64, and their order.
    """
    cells = np.empty(0, np.int64)
    order = 8
    for order in (8, 7, 6):
        cells = find_distinct_cells(cell_indexes, order)
        if len(cells) <= MAX_COVERAGE_CELLS:
            break
    return cells, order


def find_distinct_cells(cell_indexes: npt.NDArray[np.int64], order: int) -> npt.NDArray[np.int64]:
    """Return the distinct cells of a coarser order, from a sorted array, without copying it as a whole.

    Parameters
    ----------
    cell_indexes
        Sorted HEALPix indexes (rows,) of order 29, of int64.
    order
        The order of the cells.

    Returns
    -------
    cells
        Sorted indexes (cells,) of int64.
    """
    shift = 2 * (29 - order)
    cell_arrays = [np.empty(0, np.int64)]
    last_cell = -1
    for begin in range(0, len(cell_indexes), 4_000_000):
        cells = cell_indexes[begin : begin + 4_000_000] >> shift
        is_first = np.empty(len(cells), bool)
        is_first[0] = cells[0] != last_cell
        np.not_equal(cells[1:], cells[:-1], out=is_first[1:])
        cell_arrays.append(cells[is_first])
        last_cell = int(cells[-1])
    return np.concatenate(cell_arrays)
