"""What one reader may know of: the tables that the binder finds, TAP_SCHEMA's rows, and the key of that view."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from hven.model.table import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.tree import Ident
    from hven.engines import Memory
    from hven.model.table import Table


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The schemas and tables that one reader may know of.

    Attributes
    ----------
    key
        Equal for readers who see the same: ``public``, or a digest.
    schemas
        In the order of TAP_SCHEMA; views included, hidden columns too (the binder finds them by name).
    memory
        The relations that differ from reader to reader: TAP_SCHEMA's, by qualified name.
    """

    key: str
    schemas: tuple[Schema, ...]
    memory: Mapping[str, Memory] = field(default_factory=dict)

    @cached_property
    def _exact(self) -> dict[tuple[str, ...], list[Table]]:
        found: dict[tuple[str, ...], list[Table]] = {}
        for table in self.tables():
            found.setdefault((table.schema, table.name) if table.schema else (table.name,), []).append(table)
            if table.schema and table.release is None:
                found.setdefault((table.name,), []).append(table)
        return found

    @cached_property
    def _folded(self) -> dict[tuple[str, ...], list[Table]]:
        found: dict[tuple[str, ...], list[Table]] = {}
        for names, tables in self._exact.items():
            found.setdefault(tuple(name.lower() for name in names), []).extend(tables)
        return found

    def tables(self) -> Iterator[Table]:
        """Yield every table."""
        for schema in self.schemas:
            yield from schema.tables

    def find(self, parts: Sequence[Ident]) -> list[Table]:
        """Find tables by name: unquoted parts without case, quoted ones exactly (ADQL 2.1 section 2.1.2).

        Parameters
        ----------
        parts
            The identifiers between the dots.

        Returns
        -------
        list of Table
            None, one, or several if the name is ambiguous: ``t`` without its schema, or names that differ by case alone.
        """
        if len(parts) > 2:  # a catalogue's name; there is one catalogue only
            return []
        found = self._folded.get(tuple(part.name.lower() for part in parts), [])
        return [table for table in found if _fits(table, parts)]

    def names(self) -> list[str]:
        """List the qualified names of all tables, for "did you mean"."""
        return [table.qualified for table in self.tables()]

    def extended(self, tables: Sequence[Table]) -> Catalogue:
        """Return a catalogue with further tables: the uploads of one query.

        Parameters
        ----------
        tables
            With schemas of their own.
        """
        more = {
            name: tuple(table for table in tables if table.schema == name)
            for name in dict.fromkeys(table.schema for table in tables)
        }
        known = tuple(replace(schema, tables=(*schema.tables, *more.pop(schema.name, ()))) for schema in self.schemas)
        return replace(
            self, key=f"{self.key}+", schemas=known + tuple(Schema(name=name, tables=new) for name, new in more.items())
        )


def _fits(table: Table, parts: Sequence[Ident]) -> bool:
    names = (table.schema, table.name)[-len(parts) :]
    return all(not part.quoted or part.name == name for part, name in zip(parts, names, strict=True))
