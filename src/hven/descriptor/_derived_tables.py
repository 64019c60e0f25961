"""Tables made by queries, before anything is published.

Their columns follow from those of the tables that they read, which are looked at first.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import CommonTableExpression, TableRef, walk_tree
from hven.descriptor.live_queries import is_live_table_spec
from hven.descriptor.mapping import compile_mapping
from hven.model import plugins
from hven.model.errors import HvenError
from hven.sources import SourceContext
from hven.sources.kind_traits import find_source_kind_traits, is_made_by_queries
from hven.sources.source_keys import list_source_and_added_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import Query
    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Column, Table
    from hven.sources import Source


@dataclass(frozen=True, slots=True)
class EmptyQueryAnswer:
    """The answer of a query over tables that have no rows yet: its columns."""

    columns: tuple[Column, ...]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(())


class UnknownTableError(HvenError):
    """A query reads a table whose columns are known only when it is published."""


def is_local_file_source(source: SourceSpec) -> bool:
    """Check whether a source is files that are here."""
    return "url" not in source.options and find_source_kind_traits(source.kind).reads_local_files


def open_file_source(source: SourceSpec, resource: CollectionSpec, settings: Settings) -> Source:
    """Open a source that is a file, or files."""
    module = plugins.load_plugin("sources", source.kind)
    options = module.Options.model_validate(dict(source.options))
    opened_source: Source = module.open(
        options,
        SourceContext(
            directory=resource.path.parent, on_reject=lambda _row: None, allowed_roots=settings.allowed_directories
        ),
    )
    return opened_source


class DescriptorTableResolver:
    """The tables of a collection as its descriptor will make them, and those of others that its queries read.

    Parameters
    ----------
    load_resource
        Gives another collection by its name; None if there is none that can be read.
    """

    def __init__(
        self, resource: CollectionSpec, settings: Settings, load_resource: Callable[[str], CollectionSpec | None]
    ) -> None:
        self.settings = settings
        self._load_resource = load_resource
        self._resources: dict[str, CollectionSpec | None] = {resource.name.lower(): resource}
        self._tables: dict[str, Table | None] = {}

    def find_query_source_columns(self, source: SourceSpec, resource: CollectionSpec) -> tuple[Column, ...] | None:
        """Find the columns of a source that queries make; None if they are known only when a table is published.

        Raises
        ------
        HvenError
            The options or the queries do not fit the tables.
        """
        if not is_made_by_queries(source):
            return None

        def describe_answer(text: str, uploads: Mapping[str, tuple[Table, pa.Table]] | None = None) -> EmptyQueryAnswer:
            uploaded_tables = [table for table, _ in (uploads or {}).values()]
            columns = self.find_query_columns(text, resource, uploaded_tables)
            if columns is None:
                raise UnknownTableError("a table that the query reads is not published yet")
            return EmptyQueryAnswer(columns)

        module = plugins.load_plugin("sources", source.kind)
        context = SourceContext(
            directory=resource.path.parent,
            run_query=describe_answer,
            allowed_roots=self.settings.allowed_directories,
        )
        try:
            opened_source: Source = module.open(module.Options.model_validate(dict(source.options)), context)
            return tuple(list_source_and_added_columns(opened_source.list_columns(), source.additions))
        except UnknownTableError:
            return None

    def find_query_columns(
        self, text: str | Query, resource: CollectionSpec, uploaded_tables: Sequence[Table] = ()
    ) -> tuple[Column, ...] | None:
        """Find the columns of a query's answer; None if a table that it reads is known only when it is published.

        Raises
        ------
        HvenError
            The query does not fit the tables.
        """
        if isinstance(text, str):
            tree = parse_query(text)
        else:
            tree = text
        common_table_names = {
            node.name.name.lower() for node in walk_tree(tree) if isinstance(node, CommonTableExpression)
        }
        tables = {table.qualified_name: table for table in uploaded_tables}
        uploaded_names = {name.lower() for name in tables}
        for node in walk_tree(tree):
            if not isinstance(node, TableRef) or (
                len(node.parts) == 1 and node.parts[0].name.lower() in common_table_names
            ):
                continue
            if len(node.parts) > 1:
                schema = node.parts[-2].name
            else:
                schema = resource.name
            if f"{schema}.{node.parts[-1].name}".lower() in uploaded_names:
                continue
            table = self._find_table(schema.lower(), node.parts[-1].name.lower())
            if table is None:
                return None
            tables[table.qualified_name] = table
        return bind_query(tree, StaticTableCatalogue(tables.values())).columns

    def list_table_names(self, schema: str) -> list[str] | None:
        """List the tables of a collection; None: there is none that can be read."""
        if schema.lower() not in self._resources:
            self._resources[schema.lower()] = self._load_resource(schema)
        resource = self._resources[schema.lower()]
        if resource is None:
            return None
        return [spec.table.name for spec in resource.tables]

    def _find_table(self, schema: str, name: str) -> Table | None:
        key = f"{schema}.{name}"
        if key not in self._tables:
            self._tables[key] = None  # also what a circle finds: ingest tells it
            if schema not in self._resources:
                self._resources[schema] = self._load_resource(schema)
            resource = self._resources[schema]
            if resource is not None:
                spec = next(
                    (candidate_spec for candidate_spec in resource.tables if candidate_spec.table.name.lower() == name),
                    None,
                )
            else:
                spec = None
            if resource is not None and spec is not None and not is_live_table_spec(spec):
                with suppress(HvenError, ValueError):  # its own check tells it
                    self._tables[key] = self._build_table(spec, resource)
        return self._tables[key]

    def _build_table(self, spec: TableSpec, resource: CollectionSpec) -> Table | None:
        if spec.table.view is not None:
            query_columns = self.find_query_columns(spec.table.view, resource)
            if query_columns is None:
                return None
            return spec.table.copy_with(columns=query_columns, view=None)
        if spec.has_declared_columns:
            return spec.table
        if not spec.sources:  # a fault that its own check tells
            return None
        source = spec.sources[0]
        if is_local_file_source(source):
            file_columns = open_file_source(source, resource, self.settings).list_columns()
            columns: Sequence[Column] | None = list_source_and_added_columns(file_columns, source.additions)
        else:
            columns = self.find_query_source_columns(source, resource)
        if columns is None:
            return None
        return compile_mapping(spec, columns, resource).table
