"""SQL text with its parameters, for both ways to run it.

Prepared with ``$1`` .., or by COPY with settings of the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines.postgres.position_search import TableReferenceWriter

    Values = Sequence[float | str | None]


@dataclass(frozen=True, slots=True)
class PostgresStatement:
    """A query over certain tables.

    Attributes
    ----------
    prepared_sql, copy_sql
        The SQL text with ``$1`` .., and with settings.
    slots
        Where each parameter comes from: the slot of a literal, or (negative) an extra parameter of `table_writer`.
    """

    prepared_sql: str
    copy_sql: str
    slots: tuple[int, ...]
    table_writer: TableReferenceWriter

    def compute_parameters(self, literal_values: Values) -> list[str] | None:
        """Return the parameters as text; None if the text does not hold for these values."""
        extras = self.table_writer.compute_extra_values(literal_values)
        if extras is None:
            return None
        return [write_parameter_text(literal_values[slot]) if slot >= 0 else extras[-1 - slot] for slot in self.slots]


def write_parameter_text(value: float | str | None) -> str:
    """Write a parameter as PostgreSQL reads it; a NUL, which is in no text of it, becomes what is in none either."""
    if isinstance(value, str):
        if "\0" in value:
            return value.replace("\0", "\ufffe")
        return value
    return str(value).lower() if isinstance(value, bool) else repr(value)
