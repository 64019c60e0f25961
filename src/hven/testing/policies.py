"""Policies for tests alone: a reader who sees half of the rows, to be tried on every face, count and cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import ColumnRef, Comparison, Expr, FunctionCall, Ident, Literal, ValueMetadata
from hven.model.types import BOOLEAN, INT32
from hven.site.auth import AccessPolicy, DescriptorAccessPolicy

if TYPE_CHECKING:
    from hven.model.table import Table
    from hven.site.auth import Principal


@dataclass(frozen=True, slots=True)
class HalfHiddenPolicy(AccessPolicy):
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

    def find_row_condition(self, table: Table, principal: Principal) -> Expr | None:
        """Return the condition ``MOD(column, 2) = 0`` for tables that have the column as whole numbers.

        Parameters
        ----------
        table
            The table that is asked.
        principal
            Who asks; readers of an exempt group see all.

        Returns
        -------
        condition
            A bound tree; None if every row may be seen.
        """
        if principal.groups & self.exempt:
            return None
        hidden_column = next((column for column in table.columns if column.name == self.column), None)
        if hidden_column is None or not hidden_column.type.is_integer:
            return None
        value = ColumnRef(
            Ident(hidden_column.name, quoted=True),
            source=0,
            column=hidden_column,
            meta=ValueMetadata(hidden_column.type, hidden_column.unit, hidden_column.ucd, column=hidden_column),
        )
        meta = ValueMetadata(INT32, nullable=False, constant=True)
        two = Literal(2, meta=meta)
        zero = Literal(0, meta=ValueMetadata(INT32, nullable=False, constant=True))
        remainder = FunctionCall("MOD", (value, two), meta=ValueMetadata(hidden_column.type))
        return Comparison("=", remainder, zero, meta=ValueMetadata(BOOLEAN))


def build_half_hidden_policies(column: str = "n") -> tuple[AccessPolicy, ...]:
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
    return (DescriptorAccessPolicy(), HalfHiddenPolicy(column))
