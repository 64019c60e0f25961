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

if TYPE_CHECKING:
    from collections.abc import Collection

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
        sign = 1.0
        if node.op == "-":
            sign = -1.0
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
        exact_values = {name.lower(): _read_exact_values(rows.column(name)) for name in rows.column_names}
        self._values = {name: values for name, values in exact_values.items() if values is not None}
        self._orders: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def has_columns(self, bounds: NumericBounds) -> bool:
        """Return whether all columns of some bounds are there."""
        return bounds.keys() <= self._values.keys()

    def find_rows(self, bounds: NumericBounds) -> np.ndarray:
        """Find the rows within bounds: by binary searches in each column, then by comparisons of the fewest rows.

        Parameters
        ----------
        bounds
            Bounds of columns that are there; at least one.
        """
        rows_by_name = {name: self._find_rows_of_column(name, *limits) for name, limits in bounds.items()}
        first_name = min(rows_by_name, key=lambda name: len(rows_by_name[name]))
        rows = rows_by_name[first_name]
        for name in bounds.keys() - {first_name}:
            low, high = bounds[name]
            values = self._values[name][rows]
            rows = rows[(values >= low) & (values <= high)]
        return rows

    def _find_rows_of_column(self, name: str, low: float, high: float) -> np.ndarray:
        if name not in self._orders:
            order = np.argsort(self._values[name])  # nan is last
            self._orders[name] = order, self._values[name][order]
        order, values = self._orders[name]
        return order[values.searchsorted(low) : values.searchsorted(high, "right")]


def _read_exact_values(column: pa.ChunkedArray) -> np.ndarray | None:
    """Read a column as doubles, with nan for null; None: they would not be exact."""
    if pa.types.is_integer(column.type):
        values = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")))
        if np.any(np.abs(values) >= MAX_EXACT_INTEGER):
            return None
        return values
    # engines do not agree on how nan compares
    if pa.types.is_float64(column.type) and not pc.any(pc.is_nan(column)).as_py():
        return np.asarray(pc.fill_null(column, float("nan")))
    return None
