"""What conditions consist of: those that are true or false in every row, alternatives, and errors of filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.syntax_tree import Comparison, Disjunction, Expr, Literal
from hven.model.errors import ParamError

if TYPE_CHECKING:
    from collections.abc import Sequence

# ADQL has no literals for what is true or false in every row
TRUE_CONDITION = Comparison("=", Literal(1), Literal(1))
FALSE_CONDITION = Comparison("=", Literal(1), Literal(0))


def join_alternatives(conditions: Sequence[Expr]) -> Expr:
    """Build the condition that at least one of several conditions is true.

    Parameters
    ----------
    conditions
        One condition or more.
    """
    return conditions[0] if len(conditions) == 1 else Disjunction(tuple(conditions))


def build_filter_error(message: str, remedy: str = "") -> ParamError:
    """Build the error of a filter.

    Parameters
    ----------
    message, remedy
        Texts of the error.
    """
    return ParamError(message, name="filter", remedy=remedy)
