"""Write conditions in ADQL for remote services.

They have the names of its TAP_SCHEMA, plain literals, and nothing of ADQL 2.1.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from hven.adql import quote_adql_name
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

_QUALIFIED_NAME_PATTERN = re.compile(
    r'(?:"(?:[^"]|"")+"|[A-Za-z][A-Za-z0-9_]*)(?:\.(?:"(?:[^"]|"")+"|[A-Za-z][A-Za-z0-9_]*))*'
)


class TapSourceConditionWriter:
    """The columns and values of a condition in ADQL (see `hven.sources.api.watermarks.ConditionWriter`).

    Parameters
    ----------
    service_names
        Names that the service writes otherwise than `hven.adql.quote_adql_name` does.
    """

    def __init__(self, service_names: Mapping[str, str]) -> None:
        self.service_names = service_names

    def write_column(self, name: str, *, is_computed: bool = False) -> str:  # noqa: ARG002  (sums are the service's)
        """Write the name of a column."""
        return self.service_names.get(name) or quote_adql_name(name)

    def write_null_condition(self, name: str) -> str:
        """Write the condition that there is no value."""
        return f"{self.write_column(name)} IS NULL"

    def write_literal(self, value: object) -> str:
        """Write a literal; a time as text in ISO 8601, which services compare with times."""
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, dt.datetime):
            return f"'{value.isoformat(timespec='microseconds' if value.microsecond % 1000 else 'milliseconds')}'"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return repr(value)
        raise SourceError(
            f"{value!r} cannot be used in a TAP query", remedy="choose a key with numbers, strings or times"
        )

    def write_key_condition_groups(
        self, columns: Sequence[str], keys: pa.Table, keys_per_group: int
    ) -> Iterator[tuple[str, ...]]:
        """Write conditions for keys in groups: each condition is true for one or more keys."""
        if len(columns) == 1:
            values = keys.column(columns[0])
            if values.null_count:
                yield (self.write_null_condition(columns[0]),)
            values_present = list(dict.fromkeys(pc.drop_null(values).to_pylist()))
            for at in range(0, len(values_present), keys_per_group):
                yield tuple(self.write_literal(value) for value in values_present[at : at + keys_per_group])
            return
        rows = list(dict.fromkeys(zip(*(keys.column(name).to_pylist() for name in columns), strict=True)))
        step = max(1, keys_per_group // len(columns))
        for at in range(0, len(rows), step):
            yield tuple(self._write_key_row(columns, row) for row in rows[at : at + step])

    def _write_key_row(self, columns: Sequence[str], values: Sequence[object]) -> str:
        """Write the condition that columns have some values, or none."""
        conditions: list[str] = []
        for name, value in zip(columns, values, strict=True):
            if value is None:
                conditions.append(self.write_null_condition(name))
            else:
                conditions.append(f"{self.write_column(name)} = {self.write_literal(value)}")
        return f"({' AND '.join(conditions)})"

    def join_key_conditions(self, columns: Sequence[str], parts: Sequence[str]) -> str:
        """Join the conditions that `write_key_condition_groups` wrote."""
        if len(columns) == 1 and parts != (self.write_null_condition(columns[0]),):
            return f"{self.write_column(columns[0])} IN ({', '.join(parts)})"
        return f"({' OR '.join(parts)})"


def quote_irregular_table_name(text: str) -> str:
    """Write a table as in a query: quoted as a whole if it is no name (``J/A+A/1/2``)."""
    if _QUALIFIED_NAME_PATTERN.fullmatch(text):
        return text
    return '"' + text.replace('"', '""') + '"'
