"""The SQL of a query in two forms: prepared with ``$1`` .., and for COPY with settings of the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.postgres.engine.position_search import TableReferenceWriter

    Values = Sequence[float | str | None]


@dataclass(frozen=True, slots=True)
class PostgresStatement:
    """The SQL of a query over certain tables, with its parameters.

    Attributes
    ----------
    prepared_sql, copy_sql
        The SQL text with ``$1`` .., and with settings of the transaction.
    slots
        For each parameter the slot of a literal, or, if negative, the number of an extra parameter of `table_writer`.
    table_writer
        The writer of the table references, which computes the extra parameters.
    """

    prepared_sql: str
    copy_sql: str
    slots: tuple[int, ...]
    table_writer: TableReferenceWriter

    def compute_parameters(self, literal_values: Values) -> list[str] | None:
        """Return the parameters as text; None if the SQL text is not valid for these literals."""
        extra_values = self.table_writer.compute_extra_parameters(literal_values)
        if extra_values is None:
            return None
        parameters = []
        for slot in self.slots:
            if slot >= 0:
                parameters.append(write_parameter_text(literal_values[slot]))
            else:
                parameters.append(extra_values[-1 - slot])
        return parameters


def write_parameter_text(value: float | str | None) -> str:
    """Write a parameter as PostgreSQL reads it.

    No text of PostgreSQL has the character NUL. It becomes another character that no text has.
    """
    if isinstance(value, str):
        return value.replace("\0", "\ufffe")
    return str(value).lower() if isinstance(value, bool) else repr(value)
