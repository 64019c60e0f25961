"""What `hven new` learns of a PostgreSQL table beside its rows: types, comments, keys, indexes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.model.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._guesses import Guess
    from hven.model.table import Column
    from hven.sources import Context

PASSWORD = re.compile(r"^[a-z][a-z0-9+]*://[^/@]*:[^/@]*@|[?&]password=", re.IGNORECASE)
_ADDRESS = re.compile(r"(postgres(?:ql)?://[^/?]*/[^/?]+)(?:/([^/?]+))?(\?.*)?")


def split_address(text: str) -> tuple[str, str | None]:
    """Split the table off ``postgresql://user@host/database/schema.table``; the address is empty if it is no PostgreSQL."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return "", None
    return f"{match[1]}{match[3] or ''}", match[2]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database says of a table; `look` is a `hven.sources.live.Look`."""

    look: Any

    def columns_of(self, columns: Sequence[Column]) -> list[Column]:
        """List the columns that are served, as the database has them."""
        known = {column.name for column in columns}
        return [column for column in self.look.described() if column.name in known]

    def key(self, guesses: Sequence[Guess]) -> list[Guess]:
        """List the primary key's columns, if all of them are served."""
        by_source = {item.source: item for item in guesses}
        return (
            [by_source[name] for name in self.look.primary if name in by_source]
            if set(self.look.primary) <= set(by_source)
            else []
        )

    def notes(self, guesses: Sequence[Guess], *, live: bool) -> list[str]:
        """Note which columns are left out, where foreign keys lead, and what the other kind would be."""
        names = {item.source: item.column.name for item in guesses}
        found = [text.replace("; ", ": ", 1) for text in self.look.left_out()] if live else []
        for key in self.look.foreign:
            own = [names[name] for name in key.columns if name in names]
            if len(own) == len(key.columns):
                said = f"{{columns: [{', '.join(own)}], target: {key.target}, target_columns: [{', '.join(key.target_columns)}]}}"
                found.append(
                    f"a foreign key leads to {key.target}: publish that table, too, and say keys: {{{key.name}: {said}}}"
                )
        if live:
            found.append(
                "kind: live reads the table in place, row by row as it is at each query; kind: sql copies it at each ingest"
            )
        else:
            found.append("kind: sql copies the table at each ingest; kind: live publishes it in place (PostgreSQL)")
        return found


def look_of(kind: str, options: Mapping[str, Any], context: Context) -> Facts | None:
    """Inspect the table of a PostgreSQL database; None for everything else.

    Raises
    ------
    UsageError
        It is to be read in place, and is no PostgreSQL database.
    SourceError, Unavailable
        It cannot be looked at.
    """
    url = options.get("url")
    if kind not in {"sql", "live"} or not isinstance(url, str) or "table" not in options:
        return None
    try:
        address = context.secret(url) if url.startswith("$") and context.secret is not None else url
    except SourceError:
        if kind == "live":
            raise
        return None
    if not address.startswith(("postgresql://", "postgres://", "postgresql+")) and "=" not in address:
        if kind == "live":
            raise UsageError(
                "only tables of PostgreSQL can be read in place", remedy="leave --live out: the rows are copied"
            )
        return None
    module = plugins.load("sources", "live")
    said = {"url": url, "table": options["table"]}
    return Facts(module.open(module.Options.model_validate(said), context).look())


__all__ = ["PASSWORD", "Facts", "look_of", "split_address"]
