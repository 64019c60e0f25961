"""Policies for tests alone: a reader who sees half of the rows, to be tried on every face, count and cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql.tree import ColumnRef, Compare, Expr, Function, Ident, Literal, Meta
from hven.model.types import BOOLEAN, INT32
from hven.site.auth import Access, Policy

if TYPE_CHECKING:
    from hven.model.table import Table
    from hven.site.auth import Reader


@dataclass(frozen=True, slots=True)
class HalfHidden(Policy):
    """Hides every row whose `column` is odd, or null, of all tables that have such a column.

    Attributes
    ----------
    column
        Name of a whole-number column, exactly as the table has it.
    exempt
        Groups whose members see every row.
    """

    column: str
    exempt: frozenset[str] = frozenset({"owner"})

    def rows(self, table: Table, who: Reader) -> Expr | None:
        """Return the condition ``MOD(column, 2) = 0`` for tables that have the column as whole numbers.

        Parameters
        ----------
        table
            The table that is asked.
        who
            Who asks; readers of an exempt group see all.

        Returns
        -------
        condition
            A bound tree; None if every row may be seen.
        """
        if who.groups & self.exempt:
            return None
        found = next((column for column in table.columns if column.name == self.column), None)
        if found is None or not found.type.is_integer:
            return None
        value = ColumnRef(
            Ident(found.name, quoted=True),
            source=0,
            column=found,
            meta=Meta(found.type, found.unit, found.ucd, column=found),
        )
        two = Literal(2, meta=Meta(INT32, nullable=False, constant=True))
        zero = Literal(0, meta=Meta(INT32, nullable=False, constant=True))
        rest = Function("MOD", (value, two), meta=Meta(found.type))
        return Compare("=", rest, zero, meta=Meta(BOOLEAN))


def half_hidden(column: str = "n") -> tuple[Policy, ...]:
    """Make the policies of a site that hides the odd rows from everybody but its owner.

    Parameters
    ----------
    column
        The whole number that decides.

    Returns
    -------
    policies
        In the order in which they are asked.
    """
    return (Access(), HalfHidden(column))
