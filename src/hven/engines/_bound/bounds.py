"""What a condition says of the values of one column: that they lie between constants, or are among some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from hven.adql.tree import Between, Compare, In, Subquery
from hven.engines._bound.constants import constant, listed
from hven.engines._bound.geometry import sides

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.adql.tree import Expr
    from hven.engines._bound.constants import Constant, Listed

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Bounds(Generic[C]):
    """Between constants, one and the same if it is equal to it; None: no bound."""

    column: C
    low: Constant | None = None
    high: Constant | None = None
    low_open: bool = False
    high_open: bool = False


@dataclass(frozen=True, slots=True)
class Choices(Generic[C]):
    """Among so many constants."""

    column: C
    values: Listed
    number: int


def bounds(condition: Expr, column: Callable[[Expr], C | None], free: frozenset[int]) -> Bounds[C] | Choices[C] | None:
    """Recognise such a condition; `column` tells whether an expression is a column that is asked about."""
    if isinstance(condition, Compare):
        for side, op, other in sides(condition):
            found, value = column(side), constant(other, free)
            if found is None or value is None or op == "<>":
                continue
            low, high = (value if sign in op else None for sign in (">", "<"))
            return Bounds(found, value, value) if op == "=" else Bounds(found, low, high, op == ">", op == "<")
    elif isinstance(condition, Between) and not condition.negated:
        found = column(condition.operand)
        low, high = constant(condition.low, free), constant(condition.high, free)
        if found is not None and low is not None and high is not None:
            return Bounds(found, low, high)
    elif isinstance(condition, In) and not condition.negated and not isinstance(condition.choices, Subquery):
        found = column(condition.operand)
        among = None if found is None else listed(condition.choices, free)
        if found is not None and among is not None:
            return Choices(found, among, len(condition.choices))
    return None


__all__ = ["Bounds", "Choices", "bounds"]
