"""What one user may know of: the tables that the binder finds, TAP_SCHEMA's rows, and the key of that view."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from hven.model.table import Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import Ident
    from hven.engines import MemoryRelation
    from hven.model.table import Table


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The schemas and tables that one user may know of.

    Attributes
    ----------
    access_key
        Equal for users who see the same: ``public``, or a digest.
    schemas
        Schemas in the order of TAP_SCHEMA, including views and hidden columns (the binder finds these by name).
    memory_relations
        The relations that differ from user to user: TAP_SCHEMA's, by qualified name.
    """

    access_key: str
    schemas: tuple[Schema, ...]
    memory_relations: Mapping[str, MemoryRelation] = field(default_factory=dict)

    @cached_property
    def _tables_by_exact_name(self) -> dict[tuple[str, ...], list[Table]]:
        tables_by_name: dict[tuple[str, ...], list[Table]] = {}
        for table in self.iterate_tables():
            full_name = (table.schema, table.name) if table.schema else (table.name,)
            tables_by_name.setdefault(full_name, []).append(table)
            if table.schema and table.release is None:
                tables_by_name.setdefault((table.name,), []).append(table)
        return tables_by_name

    @cached_property
    def _tables_by_lowercase_name(self) -> dict[tuple[str, ...], list[Table]]:
        tables_by_name: dict[tuple[str, ...], list[Table]] = {}
        for names, tables in self._tables_by_exact_name.items():
            lowercase_names = tuple(name.lower() for name in names)
            tables_by_name.setdefault(lowercase_names, []).extend(tables)
        return tables_by_name

    def iterate_tables(self) -> Iterator[Table]:
        """Yield every table."""
        for schema in self.schemas:
            yield from schema.tables

    def find_tables_by_identifiers(self, parts: Sequence[Ident]) -> list[Table]:
        """Find tables by name: unquoted parts without case, quoted ones exactly (ADQL 2.1 section 2.1.2).

        Parameters
        ----------
        parts
            The identifiers between the dots.

        Returns
        -------
        list of Table
            The tables. Several, if the name is ambiguous: ``t`` without its schema, or names that differ only in
            case.
        """
        if len(parts) > 2:  # the name of a catalogue; there is only one
            return []
        lowercase_names = tuple(part.name.lower() for part in parts)
        candidates = self._tables_by_lowercase_name.get(lowercase_names, [])
        return [table for table in candidates if _has_identifiers(table, parts)]

    def list_table_names(self) -> list[str]:
        """List the qualified names of all tables, for "did you mean"."""
        return [table.qualified_name for table in self.iterate_tables()]

    def with_tables(self, tables: Sequence[Table]) -> Catalogue:
        """Return a catalogue with further tables: the uploads of one query.

        Parameters
        ----------
        tables
            Tables with their schemas.
        """
        new_tables: dict[str, list[Table]] = {}
        for table in tables:
            new_tables.setdefault(table.schema, []).append(table)
        schemas = []
        for schema in self.schemas:
            added_tables = new_tables.pop(schema.name, [])
            schemas.append(replace(schema, tables=(*schema.tables, *added_tables)))
        for name, schema_tables in new_tables.items():
            schemas.append(Schema(name=name, tables=tuple(schema_tables)))
        return replace(self, access_key=f"{self.access_key}+", schemas=tuple(schemas))


def _has_identifiers(table: Table, identifiers: Sequence[Ident]) -> bool:
    names = (table.schema, table.name)[-len(identifiers) :]
    for identifier, name in zip(identifiers, names, strict=True):
        if identifier.quoted and identifier.name != name:
            return False
    return True
