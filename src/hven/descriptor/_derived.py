"""Tables made by queries, before anything is published: their columns follow from those of the tables that they read, which are looked at first."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hven.adql import bind, parse
from hven.adql.scope import Tables
from hven.adql.tree import CommonTable, TableRef, walk
from hven.descriptor.live_queries import is_live
from hven.descriptor.mapping import compile as compile_mapping
from hven.model import plugins
from hven.model.errors import HvenError
from hven.sources import Context
from hven.sources.enriched import with_documents

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.adql.tree import Query
    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Column, Table
    from hven.sources import Source

# kinds that can be looked at without secrets or other tables
FILES = ("csv", "files", "fixed", "fits", "json", "oifits", "parquet", "product", "votable")
QUERY = "query"


def is_file(source: SourceSpec) -> bool:
    """Check whether a source is files that are here."""
    return source.kind in FILES and "url" not in source.options


def opened(source: SourceSpec, resource: Resource, settings: Settings) -> Source:
    """Open a source that is a file, or files."""
    module = plugins.load("sources", source.kind)
    options = module.Options.model_validate(dict(source.options))
    found: Source = module.open(
        options, Context(directory=resource.path.parent, reject=lambda _row: None, roots=settings.grounds)
    )
    return found


class Derived:
    """The tables of a collection as its descriptor will make them, and those of others that its queries read.

    Parameters
    ----------
    other
        Gives another collection by its name; None if there is none that can be read.
    """

    def __init__(self, resource: Resource, settings: Settings, other: Callable[[str], Resource | None]) -> None:
        self.settings = settings
        self._other = other
        self._resources: dict[str, Resource | None] = {resource.name.lower(): resource}
        self._tables: dict[str, Table | None] = {}

    def columns(self, text: str | Query, resource: Resource) -> tuple[Column, ...] | None:
        """Find the columns of a query's answer; None if a table that it reads is known only when it is published.

        Raises
        ------
        HvenError
            The query does not fit the tables.
        """
        tree = parse(text) if isinstance(text, str) else text
        called = {node.name.name.lower() for node in walk(tree) if isinstance(node, CommonTable)}
        tables = {}
        for node in walk(tree):
            if not isinstance(node, TableRef) or (len(node.parts) == 1 and node.parts[0].name.lower() in called):
                continue
            schema = node.parts[-2].name if len(node.parts) > 1 else resource.name
            table = self._table(schema.lower(), node.parts[-1].name.lower())
            if table is None:
                return None
            tables[table.qualified] = table
        return bind(tree, Tables(tables.values())).columns

    def names(self, schema: str) -> list[str] | None:
        """List the tables of a collection; None: there is none that can be read."""
        if schema.lower() not in self._resources:
            self._resources[schema.lower()] = self._other(schema)
        resource = self._resources[schema.lower()]
        return None if resource is None else [spec.table.name for spec in resource.tables]

    def _table(self, schema: str, name: str) -> Table | None:
        key = f"{schema}.{name}"
        if key not in self._tables:
            self._tables[key] = None  # also what a circle finds: ingest tells it
            if schema not in self._resources:
                self._resources[schema] = self._other(schema)
            resource = self._resources[schema]
            spec = (
                next((one for one in resource.tables if one.table.name.lower() == name), None)
                if resource is not None
                else None
            )
            if resource is not None and spec is not None and not is_live(spec):
                with suppress(HvenError, ValueError):  # its own check tells it
                    self._tables[key] = self._made(spec, resource)
        return self._tables[key]

    def _made(self, spec: TableSpec, resource: Resource) -> Table | None:
        if spec.table.view is not None:
            found = self.columns(spec.table.view, resource)
            return None if found is None else spec.table.having(columns=found, view=None)
        if spec.columns_declared:
            return spec.table
        source = spec.sources[0]
        columns = None
        if is_file(source):
            columns = with_documents(opened(source, resource, self.settings).columns(), source.enrich)
        elif source.kind == QUERY:
            found = self.columns(str(source.options["adql"]), resource)
            columns = None if found is None else with_documents(found, source.enrich)
        return None if columns is None else compile_mapping(spec, columns, resource).table


__all__ = ["QUERY", "Derived", "is_file", "opened"]
