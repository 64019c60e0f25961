"""Analyse conditions that bound the values of one column by constants, or by a list of constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from hven.adql.syntax_tree import BetweenPredicate, Comparison, InPredicate, Subquery
from hven.engines._query_analysis.constants import compile_constant, compile_constant_list
from hven.engines._query_analysis.geometry import list_comparison_sides

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.adql.syntax_tree import Expr
    from hven.engines._query_analysis.constants import Constant, Listed

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class ColumnValueRange(Generic[C]):
    """Values between constants, which are the same one for an equality; None means no bound.

    Attributes
    ----------
    column
        What `find_column` returned for the column.
    low, high
        Bounds; None: there is none.
    low_open, high_open
        True if the bound itself is left out.
    """

    column: C
    low: Constant | None = None
    high: Constant | None = None
    low_open: bool = False
    high_open: bool = False


@dataclass(frozen=True, slots=True)
class ColumnValueChoices(Generic[C]):
    """Values of a list of constants."""

    column: C
    values: Listed
    choice_count: int


def analyse_column_bounds(
    condition: Expr, find_column: Callable[[Expr], C | None], free_slots: frozenset[int]
) -> ColumnValueRange[C] | ColumnValueChoices[C] | None:
    """Analyse a condition on a column that `find_column` knows; return None for other conditions.

    Parameters
    ----------
    condition
        A condition of WHERE or ON.
    find_column
        Returns what identifies a column; None for other expressions.
    free_slots
        Slots of literals whose values are known only when the plan runs.

    Returns
    -------
    bounds
        The range or the list of values that the condition leaves; None for other conditions.
    """
    if isinstance(condition, Comparison):
        for side, op, other in list_comparison_sides(condition):
            bound_column = find_column(side)
            value = compile_constant(other, free_slots)
            if bound_column is not None and value is not None and op != "<>":
                return _build_comparison_range(bound_column, op, value)
    elif isinstance(condition, BetweenPredicate) and not condition.negated:
        bound_column = find_column(condition.operand)
        low = compile_constant(condition.low, free_slots)
        high = compile_constant(condition.high, free_slots)
        if bound_column is not None and low is not None and high is not None:
            return ColumnValueRange(bound_column, low, high)
    elif isinstance(condition, InPredicate) and not condition.negated and not isinstance(condition.choices, Subquery):
        bound_column = find_column(condition.operand)
        if bound_column is None:
            return None
        choice_values = compile_constant_list(condition.choices, free_slots)
        if choice_values is not None:
            return ColumnValueChoices(bound_column, choice_values, len(condition.choices))
    return None


def _build_comparison_range(column: C, operator: str, value: Constant) -> ColumnValueRange[C]:
    if operator == "=":
        return ColumnValueRange(column, value, value)
    if operator in {">", ">="}:
        return ColumnValueRange(column, low=value, low_open=operator == ">")
    return ColumnValueRange(column, high=value, high_open=operator == "<")


__all__ = ["ColumnValueChoices", "ColumnValueRange", "analyse_column_bounds"]
