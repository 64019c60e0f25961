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
    from collections.abc import Collection, Iterator, Mapping, Sequence

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


def collect_numeric_columns(rows: pa.Table) -> dict[str, np.ndarray]:
    """Collect the columns of rows whose numbers are exact as doubles, by their names in lower case; nan is null."""
    columns = {}
    for name in rows.column_names:
        column = rows.column(name)
        if pa.types.is_integer(column.type):
            values = np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")))
            is_exact = not bool(np.any(np.abs(values) >= MAX_EXACT_INTEGER))
        elif pa.types.is_float64(column.type):
            values = np.asarray(pc.fill_null(column, float("nan")))
            is_exact = not pc.any(pc.is_nan(column)).as_py()  # engines do not agree on how nan compares
        else:
            continue
        if is_exact:
            columns[name.lower()] = values
    return columns


def find_rows_within_bounds(
    columns: Mapping[str, np.ndarray], conditions: Sequence[NumericBounds]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Find all pairs of a condition and a row that meets it.

    Each condition first uses the column that leaves the fewest rows, by binary searches.

    Parameters
    ----------
    columns
        Values of the rows.
    conditions
        Bounds of columns; each has at least one.

    Yields
    ------
    condition_indexes, row_indexes
        Pairs, each once.
    """
    names = sorted({name for bounds in conditions for name in bounds})
    limits = {name: np.array([bounds.get(name, (np.nan, np.nan)) for bounds in conditions]) for name in names}
    best_counts = np.full(len(conditions), np.iinfo(np.int64).max)
    best_columns = np.full(len(conditions), -1)
    ranges = {}
    orders = {}
    for index, name in enumerate(names):
        order = np.argsort(columns[name])
        sorted_values = columns[name][order]
        sorted_values = sorted_values[: np.searchsorted(sorted_values, np.nan)]
        begins = np.searchsorted(sorted_values, limits[name][:, 0], "left")
        ends = np.maximum(np.searchsorted(sorted_values, limits[name][:, 1], "right"), begins)
        counts = np.where(np.isnan(limits[name][:, 0]), np.iinfo(np.int64).max, ends - begins)
        is_better = counts < best_counts
        best_counts[is_better], best_columns[is_better] = counts[is_better], index
        orders[name], ranges[name] = order, (begins, ends)
    for index, name in enumerate(names):
        chosen = np.flatnonzero(best_columns == index)
        begins, ends = ranges[name]
        for condition_indexes, places in expand_ranges(chosen, begins[chosen], ends[chosen]):
            row_indexes = orders[name][places]
            is_met = np.ones(len(row_indexes), bool)
            for other_name in names:
                low, high = limits[other_name][condition_indexes].T
                values = columns[other_name][row_indexes]
                is_met &= np.isnan(low) | ((values >= low) & (values <= high))
            yield condition_indexes[is_met], row_indexes[is_met]
