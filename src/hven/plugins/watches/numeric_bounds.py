"""Evaluate conditions that only bound numbers, such as ``mag < 12 AND dec BETWEEN 0 AND 5``: thousands at once.

Only comparisons whose result is beyond doubt are read: of columns of whole numbers or doubles with literals. An engine
evaluates all other conditions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import syntax_tree
from hven.plugins.watches.near_targets import expand_ranges

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

MAX_EXACT_INTEGER = 2**53  # of a double
MIRRORED_OPERATORS = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "="}
NumericBounds = dict[str, tuple[float, float]]  # column -> smallest and largest value


def read_numeric_bounds(condition: syntax_tree.Expr, names: Collection[str]) -> NumericBounds | None:
    """Read a condition as bounds of columns.

    Parameters
    ----------
    condition
        The condition.
    names
        Names of the columns that can be bounded, in lower case.

    Returns
    -------
    bounds
        None: the condition is another one.
    """
    bounds: NumericBounds = {}
    for part in syntax_tree.split_conjuncts(condition):
        limits = _read_limits(part)
        if limits is None or limits[0] not in names:
            return None
        name, low, high = limits
        old_low, old_high = bounds.get(name, (-np.inf, np.inf))
        bounds[name] = max(low, old_low), min(high, old_high)
    return bounds


def _read_limits(part: syntax_tree.Expr) -> tuple[str, float, float] | None:
    """Read one comparison: name of the column in lower case, smallest and largest value."""
    if isinstance(part, syntax_tree.BetweenPredicate) and isinstance(part.operand, syntax_tree.ColumnRef):
        low, high = read_number(part.low), read_number(part.high)
        if part.negated or low is None or high is None:
            return None
        return part.operand.name.name.lower(), low, high
    if not isinstance(part, syntax_tree.Comparison) or part.op not in MIRRORED_OPERATORS:
        return None
    column, operator, value = part.left, part.op, read_number(part.right)
    if value is None:
        column, operator, value = part.right, MIRRORED_OPERATORS[part.op], read_number(part.left)
    if value is None or not isinstance(column, syntax_tree.ColumnRef):
        return None
    limits = {
        "<": (-np.inf, np.nextafter(value, -np.inf)),
        "<=": (-np.inf, value),
        ">": (np.nextafter(value, np.inf), np.inf),
        ">=": (value, np.inf),
        "=": (value, value),
    }
    low, high = limits[operator]
    return column.name.name.lower(), float(low), float(high)


def read_number(node: syntax_tree.Expr) -> float | None:
    """Read a number with its sign; None: it is none, or too large to be exact."""
    sign = 1.0
    if isinstance(node, syntax_tree.UnaryOperation) and node.op in {"-", "+"}:
        sign = -1.0 if node.op == "-" else 1.0
        node = node.operand
    is_number = isinstance(node, syntax_tree.Literal) and type(node.value) in {int, float}
    if not is_number or abs(node.value) >= MAX_EXACT_INTEGER:  # type: ignore[attr-defined]
        return None
    return sign * node.value  # type: ignore[attr-defined, no-any-return]


class NumericColumns:
    """The columns of rows whose numbers are exact as doubles, sorted when they are first bounded.

    Parameters
    ----------
    rows
        The rows.
    """

    def __init__(self, rows: pa.Table) -> None:
        self._values = {name.lower(): _read_exact_values(rows.column(name)) for name in rows.column_names}
        self._sorted_columns: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def has_columns(self, bounds: NumericBounds) -> bool:
        """Return whether all columns of some bounds are there."""
        return all(self._values.get(name) is not None for name in bounds)

    def count_candidates(self, conditions: Sequence[NumericBounds]) -> np.ndarray:
        """Count for each condition the rows that meet its most selective bound."""
        return self._choose_ranges(conditions)[1]

    def find_rows(self, conditions: Sequence[NumericBounds]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Find all pairs of a condition and a row that meets it.

        Each condition first uses the column that leaves the fewest rows, by binary searches.

        Parameters
        ----------
        conditions
            Bounds of columns that are there; each has at least one.

        Yields
        ------
        condition_indexes, row_indexes
            Pairs, each once.
        """
        names = sorted({name for bounds in conditions for name in bounds})
        best_columns, _, limits, ranges = self._choose_ranges(conditions)
        for index, name in enumerate(names):
            chosen = np.flatnonzero(best_columns == index)
            begins, ends = ranges[name]
            for condition_indexes, places in expand_ranges(chosen, begins[chosen], ends[chosen]):
                row_indexes = self._sort_column(name)[0][places]
                is_met = np.ones(len(row_indexes), bool)
                for other_name in names:
                    low, high = limits[other_name][condition_indexes].T
                    values = self._values[other_name][row_indexes]  # type: ignore[index]
                    is_met &= np.isnan(low) | ((values >= low) & (values <= high))
                yield condition_indexes[is_met], row_indexes[is_met]

    def _choose_ranges(
        self, conditions: Sequence[NumericBounds]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Choose the most selective column of each condition.

        Returns
        -------
        best_columns, best_counts, limits, ranges
            Its place among the sorted names, the rows that it leaves, the limits of each column (nan: none), and the
            ranges of each column in its order.
        """
        names = sorted({name for bounds in conditions for name in bounds})
        limits = {name: np.array([bounds.get(name, (np.nan, np.nan)) for bounds in conditions]) for name in names}
        best_counts = np.full(len(conditions), np.iinfo(np.int64).max)
        best_columns = np.full(len(conditions), -1)
        ranges = {}
        for index, name in enumerate(names):
            sorted_values = self._sort_column(name)[1]
            begins = np.searchsorted(sorted_values, limits[name][:, 0], "left")
            ends = np.maximum(np.searchsorted(sorted_values, limits[name][:, 1], "right"), begins)
            is_better = ~np.isnan(limits[name][:, 0]) & (ends - begins < best_counts)
            best_counts[is_better], best_columns[is_better] = (ends - begins)[is_better], index
            ranges[name] = begins, ends
        return best_columns, best_counts, limits, ranges

    def _sort_column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the order of a column, and its values in this order, without nan."""
        if name not in self._sorted_columns:
            values = self._values[name]
            assert values is not None  # noqa: S101  (`has_columns`)
            order = np.argsort(values)
            known_count = len(values) - int(np.isnan(values).sum())
            self._sorted_columns[name] = order[:known_count], values[order[:known_count]]
        return self._sorted_columns[name]


def _read_exact_values(column: pa.ChunkedArray) -> np.ndarray | None:
    """Read a column as doubles, with nan for null; None: they would not be exact."""
    if pa.types.is_integer(column.type):
        values = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")))
        return None if np.any(np.abs(values) >= MAX_EXACT_INTEGER) else values
    # engines do not agree on how nan compares
    if pa.types.is_float64(column.type) and not pc.any(pc.is_nan(column)).as_py():
        return np.asarray(pc.fill_null(column, float("nan")))
    return None
