"""Conditions in ADQL, as a service elsewhere understands them: names as its TAP_SCHEMA writes them, plain literals, nothing of ADQL 2.1."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from hven.adql import quote
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

_NAME = re.compile(r'(?:"(?:[^"]|"")+"|[A-Za-z][A-Za-z0-9_]*)(?:\.(?:"(?:[^"]|"")+"|[A-Za-z][A-Za-z0-9_]*))*')


class AdqlWords:
    """How ADQL writes columns and values (see `hven.sources._reading.watermark.Words`).

    Parameters
    ----------
    spelled
        Names that the service writes otherwise than `hven.adql.quote` does.
    """

    def __init__(self, spelled: Mapping[str, str]) -> None:
        self.spelled = spelled

    def column(self, name: str, *, computed: bool = False) -> str:  # noqa: ARG002  (sums are the service's)
        """Write a column's name."""
        return self.spelled.get(name) or quote(name)

    def missing(self, name: str) -> str:
        """Write that there is no value."""
        return f"{self.column(name)} IS NULL"

    def value(self, value: object) -> str:
        """Write a literal; a time as text in ISO 8601, which services compare with times."""
        if isinstance(value, str):
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, dt.datetime):
            return f"'{value.isoformat(timespec='microseconds' if value.microsecond % 1000 else 'milliseconds')}'"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return repr(value)
        raise SourceError(f"{value!r} cannot be asked for by TAP", remedy="choose a key of numbers, texts or times")

    def among(self, columns: Sequence[str], keys: pa.Table, portion: int) -> Iterator[tuple[str, ...]]:
        """Write conditions for keys, some at a time: each is true for one or more of them."""
        if len(columns) == 1:
            values = keys.column(columns[0])
            if values.null_count:
                yield (self.missing(columns[0]),)
            there = list(dict.fromkeys(pc.drop_null(values).to_pylist()))
            for at in range(0, len(there), portion):
                yield tuple(self.value(value) for value in there[at : at + portion])
            return
        rows = list(dict.fromkeys(zip(*(keys.column(name).to_pylist() for name in columns), strict=True)))
        step = max(1, portion // len(columns))
        for at in range(0, len(rows), step):
            yield tuple(
                f"({' AND '.join(self.missing(name) if value is None else f'{self.column(name)} = {self.value(value)}' for name, value in zip(columns, row, strict=True))})"
                for row in rows[at : at + step]
            )

    def either(self, columns: Sequence[str], parts: Sequence[str]) -> str:
        """Join what `among` wrote."""
        if len(columns) == 1 and parts != (self.missing(columns[0]),):
            return f"{self.column(columns[0])} IN ({', '.join(parts)})"
        return f"({' OR '.join(parts)})"


def table_name(text: str) -> str:
    """Write a table as a query does: quoted as a whole if it is no name (``J/A+A/1/2``)."""
    return text if _NAME.fullmatch(text) else '"' + text.replace('"', '""') + '"'
