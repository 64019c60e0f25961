"""Find what tables are made from: the order in which to fill a collection, dependent collections, and cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import adql
from hven.adql.syntax_tree import CommonTableExpression, TableRef, walk_tree
from hven.descriptor.live_queries import is_live_table_spec
from hven.model.errors import DescriptorError, Fault, HvenError
from hven.sources.kind_traits import find_source_kind_traits, list_source_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import CollectionSpec, TableSpec
    from hven.site.store import SnapshotRecord


class TableDependencyGraph:
    """All tables of some collections, and the tables that each reads; names are qualified and in lower case."""

    def __init__(self, resources: Mapping[str, CollectionSpec]) -> None:
        self.specs: dict[str, tuple[CollectionSpec, TableSpec]] = {}
        for resource in resources.values():
            for spec in resource.tables:
                self.specs[f"{resource.name}.{spec.table.name}".lower()] = (resource, spec)
        self.read_tables: dict[str, set[str]] = {}
        self.outside_tables: dict[str, set[str]] = {}  # TAP_SCHEMA, ivoa.obscore ..
        for name, (resource, spec) in self.specs.items():
            table_names = _list_queried_tables(spec, resource)
            self.read_tables[name] = table_names & self.specs.keys()
            self.outside_tables[name] = table_names - self.specs.keys()

    def find_stored_input_tables(self, name: str) -> set[str]:
        """Find the tables with rows that a table or view is made from, directly or through views."""
        stored_tables: set[str] = set()
        visited: set[str] = set()
        pending = list(self.read_tables[name])
        while pending:
            table_name = pending.pop()
            if table_name in visited:
                continue
            visited.add(table_name)
            if self.specs[table_name][1].table.view is not None:
                pending.extend(self.read_tables[table_name])
            else:
                stored_tables.add(table_name)
        return stored_tables

    def find_dependency_cycle(self, start: str) -> list[str]:
        """Find a path from a table to itself through the tables that it is made from; empty if there is none."""
        paths = [[start]]
        visited: set[str] = set()
        while paths:
            path = paths.pop()
            for table_name in sorted(self.find_stored_input_tables(path[-1])):
                if table_name == start:
                    return [*path, table_name]
                if table_name not in visited:
                    visited.add(table_name)
                    paths.append([*path, table_name])
        return []


def may_start_empty(resource: CollectionSpec, spec: TableSpec, other_resources: Mapping[str, CollectionSpec]) -> bool:
    """Return whether the rows of a table, or of a table that it is made from, come only after it is published.

    Parameters
    ----------
    resource
        The collection.
    spec
        One of its tables.
    other_resources
        The other collections of the site, by name.
    """
    graph = TableDependencyGraph({**other_resources, resource.name: resource})
    pending = [f"{resource.name}.{spec.table.name}".lower()]
    visited = set[str]()
    while pending:
        name = pending.pop()
        if any(find_source_kind_traits(source.kind).starts_empty for source in graph.specs[name][1].sources):
            return True
        visited.add(name)
        pending += graph.find_stored_input_tables(name) - visited
    return False


def sort_tables_by_dependency(
    resource: CollectionSpec, other_resources: Mapping[str, CollectionSpec] | None = None
) -> list[TableSpec]:
    """Sort the tables with sources, so that each comes after the tables that it is made from.

    Parameters
    ----------
    resource
        The collection.
    other_resources
        The other collections of the site, by name.

    Raises
    ------
    DescriptorError
        Tables are made from each other in a cycle, here or through other collections; with the place of the source of
        each of them.
    """
    graph = TableDependencyGraph({**(other_resources or {}), resource.name: resource})
    specs: dict[str, TableSpec] = {}
    for spec in resource.tables:
        if spec.sources and not is_live_table_spec(spec):
            specs[f"{resource.name}.{spec.table.name}".lower()] = spec
    faults = []
    for name, spec in specs.items():
        cycle = graph.find_dependency_cycle(name)
        if cycle:
            query_places = (source.place for source in spec.sources if list_source_queries(source))
            place = next(query_places, spec.place)
            message = f"tables depend on each other: {' -> '.join(cycle)}"
            faults.append(Fault(message=message, place=place, remedy="change the query of one of these tables"))
    if faults:
        raise DescriptorError(faults)
    dependencies = {name: graph.find_stored_input_tables(name) & specs.keys() for name in specs}
    return [specs[name] for name in _sort_topologically(dependencies)]


def find_dependent_tables(
    resource: CollectionSpec, other_resources: Mapping[str, CollectionSpec]
) -> list[tuple[CollectionSpec, list[TableSpec]]]:
    """Find the tables of other collections that are made from this collection, directly or not.

    Returns
    -------
    list of (Resource, tables)
        In the order in which they can be filled; a collection may come twice.
    """
    graph = TableDependencyGraph({**other_resources, resource.name: resource})
    own_tables = {name for name, (resource_of_table, _) in graph.specs.items() if resource_of_table is resource}
    inputs_by_table: dict[str, set[str]] = {}
    for name, (_, spec) in graph.specs.items():
        if spec.sources and name not in own_tables:
            inputs_by_table[name] = graph.find_stored_input_tables(name)
    affected_tables: set[str] = set(own_tables)
    while True:
        made_from_affected = {name for name, inputs in inputs_by_table.items() if inputs & affected_tables}
        if made_from_affected <= affected_tables:
            break
        affected_tables |= made_from_affected
    dependent_tables = affected_tables - own_tables
    # a table in a cycle cannot be filled
    acyclic_names = [
        name for name in inputs_by_table if name in dependent_tables and not graph.find_dependency_cycle(name)
    ]
    dependencies = {name: inputs_by_table[name] & set(acyclic_names) for name in acyclic_names}
    tables_by_resource: list[tuple[CollectionSpec, list[TableSpec]]] = []
    for name in _sort_topologically(dependencies):
        resource_of_table, spec = graph.specs[name]
        if tables_by_resource and tables_by_resource[-1][0] is resource_of_table:
            tables_by_resource[-1][1].append(spec)
        else:
            tables_by_resource.append((resource_of_table, [spec]))
    return tables_by_resource


def list_input_states(record: SnapshotRecord) -> list[Mapping[str, str]]:
    """Return the states of the inputs that give the rows of a snapshot, the newest first.

    Each state maps a qualified table to a snapshot.
    """
    provenance = record.provenance
    return [provenance.get("inputs", {}), *provenance.get("alike", ())]


def find_stale_table_warnings(records: Mapping[str, SnapshotRecord]) -> list[str]:
    """Find the published tables that were made from rows which have been replaced since.

    Parameters
    ----------
    records
        The published snapshots, by qualified name.

    Returns
    -------
    warnings
        A sentence with its remedy for each table.
    """
    warnings = []
    snapshot_ids = {name: record.id for name, record in records.items()}
    for name, record in sorted(records.items()):
        if any(_are_inputs_current(inputs, snapshot_ids) for inputs in list_input_states(record)):
            continue
        for source, snapshot in sorted(record.provenance.get("inputs", {}).items()):
            current_record = records.get(source)
            if current_record is None:
                warnings.append(
                    f"{name} was made from {source}, but {source} is no longer published: check the query of {name}"
                )
            elif current_record.id != snapshot:
                warnings.append(
                    f"{name} was made from a version of {source} that is older than {current_record.created}: run "
                    f"`hven ingest {record.collection}`"
                )
    return warnings


def _are_inputs_current(inputs: Mapping[str, str], snapshot_ids: Mapping[str, str]) -> bool:
    return all(snapshot_ids.get(source) == snapshot for source, snapshot in inputs.items())


def _sort_topologically(dependencies: Mapping[str, set[str]]) -> list[str]:
    sorted_names: list[str] = []
    while len(sorted_names) < len(dependencies):
        known_names = set(sorted_names)
        remaining_names = [name for name in dependencies if name not in known_names]
        ready_names = [name for name in remaining_names if dependencies[name] <= known_names]
        if not ready_names:  # a cycle, which is reported before
            break
        sorted_names.extend(ready_names)
    return sorted_names


def _list_queried_tables(spec: TableSpec, resource: CollectionSpec) -> set[str]:
    """Return the qualified names of the tables that the queries of a table, or of a view, read."""
    texts = [query for source in spec.sources for query in list_source_queries(source)]
    table_names: set[str] = set()
    for text in (*texts, spec.table.view):
        if not isinstance(text, str):
            continue
        try:
            parsed = adql.parse_query(text)
        except HvenError:
            continue  # the source itself reports the error, with its place
        nodes = list(walk_tree(parsed))
        common_table_names = {node.name.name.lower() for node in nodes if isinstance(node, CommonTableExpression)}
        for node in nodes:
            if not isinstance(node, TableRef):
                continue
            parts = [part.name for part in node.parts]
            if len(parts) > 1:
                table_names.add(".".join(parts[-2:]).lower())
            elif parts[-1].lower() not in common_table_names:
                table_names.add(f"{resource.name}.{parts[-1]}".lower())
    return table_names
