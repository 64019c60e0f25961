"""Define policies for tests: a reader who sees half of the rows, for tests of every face, count and cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import ColumnRef, Comparison, Expr, FunctionCall, Ident, Literal, ValueMetadata
from hven.model.types import BOOLEAN, INT32
from hven.site.auth import DEFAULT_POLICIES, AccessPolicy

if TYPE_CHECKING:
    from hven.model.table import Table
    from hven.site.auth import Principal


@dataclass(frozen=True, slots=True)
class OddRowsHiddenPolicy(AccessPolicy):
    """Hide every row whose `column` is odd or null, in all tables that have such a column.

    Attributes
    ----------
    column
        Name of an integer column, exactly as in the table.
    exempt
        Groups whose members see every row.
    """

    column: str
    exempt: frozenset[str] = frozenset({"owner"})

    def find_row_condition(self, table: Table, principal: Principal) -> Expr | None:
        """Return the condition ``MOD(column, 2) = 0`` for tables that have the column as integers.

        Parameters
        ----------
        table
            The queried table.
        principal
            The reader; members of an exempt group see all rows.

        Returns
        -------
        condition
            A bound tree; None if the reader may see every row.
        """
        if principal.groups & self.exempt:
            return None
        named_columns = [column for column in table.columns if column.name == self.column]
        if not named_columns or not named_columns[0].type.is_integer:
            return None
        hidden_column = named_columns[0]
        column_meta = ValueMetadata(hidden_column.type, hidden_column.unit, hidden_column.ucd, column=hidden_column)
        identifier = Ident(hidden_column.name, quoted=True)
        value = ColumnRef(identifier, source=0, column=hidden_column, meta=column_meta)
        constant_meta = ValueMetadata(INT32, nullable=False, constant=True)
        two = Literal(2, meta=constant_meta)
        zero = Literal(0, meta=constant_meta)
        remainder = FunctionCall("MOD", (value, two), meta=ValueMetadata(hidden_column.type))
        return Comparison("=", remainder, zero, meta=ValueMetadata(BOOLEAN))


def build_odd_rows_hidden_policies(column_name: str = "n") -> tuple[AccessPolicy, ...]:
    """Make the policies of a site that hides the odd rows from everybody except its owner.

    Parameters
    ----------
    column_name
        Name of the integer column that decides.

    Returns
    -------
    policies
        The policies in the order of their evaluation.
    """
    return (*DEFAULT_POLICIES, OddRowsHiddenPolicy(column_name))
