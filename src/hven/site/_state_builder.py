"""From the store's records and the descriptors to one `PublishedState`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hven import adql
from hven.adql.syntax_tree import CommonTable, TableRef, walk_tree
from hven.engines import LiveRelation, Snapshot
from hven.model.errors import HvenError
from hven.model.table import Schema, set_column_epochs
from hven.site import _obscore_views as obscore
from hven.site._bound_policies import AccessPolicyBinder
from hven.site._catalogue import Catalogue
from hven.site._metadata_overlay import apply_descriptor
from hven.site._published_state import USER_SCHEMA, PublishedState, PublishedTable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.engines import Relation
    from hven.model.resource import Resource, TableSpec
    from hven.model.settings import Project
    from hven.model.table import Table
    from hven.site._damage_fallback import DamagedSnapshot
    from hven.site.descriptor_watch import DescriptorState
    from hven.site.store import Release, SnapshotRecord

PRIVATE_ACCESS, MEMBERS_ACCESS = "private", "members"
LAST_INDEX = 10_000  # of tables and names that have none
RESERVED_SCHEMAS = ("tap_schema", "tap_upload", USER_SCHEMA, obscore.OBSCORE_SCHEMA)  # schemas of Hven


def build_published_state(
    records: Mapping[str, SnapshotRecord],
    descriptors: Mapping[str, DescriptorState],
    site_problems: Sequence[str] = (),
    live_tables: Mapping[str, PublishedTable] | None = None,
    damages: Sequence[DamagedSnapshot] = (),
    *,
    policies: AccessPolicyBinder | None = None,
    releases: Sequence[tuple[Release, Sequence[SnapshotRecord]]] = (),
    projects: Sequence[Project] = (),
) -> PublishedState:
    """Build the picture of now.

    Parameters
    ----------
    records
        What is published, by qualified name.
    descriptors
        The descriptors, by collection.
    site_problems
        What is wrong with the store and the engines, if anything: the records are the last good ones.
    live_tables
        Tables that are read in place, by qualified name.
    damages
        Of what is published; `records` has what is served instead.
    policies
        Binds those of tables to their rows; None: tables that have one are private.
    releases
        Each in a schema of its own, the newest first.
    projects
        Of the site: one that is not there is not open.

    Returns
    -------
    holdings
        The picture.
    """
    faults = {
        name: describe_descriptor_fault(entry) for name, entry in descriptors.items() if entry.problem is not None
    }
    problems = [*faults.values()]
    problems += [*site_problems, *(damage.owner_message for damage in damages)]
    damaged_snapshots = {damage.table: damage.snapshot for damage in damages if damage.served_snapshot is not None}
    published = {
        name: _build_published_table(record, descriptors, damaged_snapshots.get(name))
        for name, record in records.items()
    }
    published.update(
        {name: _close_if_restrictions_unknown(entry, descriptors) for name, entry in live_tables.items()}
        if live_tables is not None
        else {}
    )
    problems += _add_release_tables(published, descriptors, releases)
    open_projects = frozenset(project.name for project in projects if project.open)
    published = {
        name: replace(entry, table=_close_to_non_members(entry.table, open_projects))
        for name, entry in published.items()
    }
    problems += (policies or AccessPolicyBinder()).bind_policies(published)
    published = {name: _apply_services(entry) for name, entry in published.items()}
    resources = {name: entry.resource for name, entry in descriptors.items() if entry.resource is not None}
    obscore_views, obscore_problems = obscore.build_obscore_views(published)
    for name in {name for entry in obscore_views.values() for name in entry.members or ()}:
        published[name] = replace(published[name], table=published[name].table.copy_with(observed=True))
    published.update(obscore_views)
    problems += obscore_problems
    problems += _add_descriptor_views(published, resources, open_projects)
    published.update({name: _apply_services(entry) for name, entry in published.items()})
    schemas = _group_schemas(published, resources)
    # the same in every process: no sets in here, whose order is each process's own
    texts = sorted((name, sorted(resource.hashes.items())) for name, resource in resources.items())
    table_states = [(entry.table, _get_relation_version(entry.relation), entry.updated) for entry in published.values()]
    state = repr((table_states, schemas, texts))
    version = hashlib.sha256(state.encode()).hexdigest()[:16]
    return PublishedState(
        schemas=schemas,
        tables_by_name=published,
        resources=resources,
        version=version,
        problems=tuple(problems),
        descriptor_faults=faults,
        damages=tuple(damages),
    )


def _get_relation_version(relation: Relation | None) -> str | None:
    """Return what changes when the rows of a table change."""
    if isinstance(relation, Snapshot):
        return relation.id
    if isinstance(relation, LiveRelation):
        return relation.stamp
    return None


def _make_table_sort_key(order: Mapping[str, int], table: Table) -> tuple[int, int, str]:
    """Sort tables by their declared index, then by their order in the descriptor, then by name."""
    return table.index or LAST_INDEX, order.get(table.name, LAST_INDEX), table.name.lower()


def describe_descriptor_fault(descriptor: DescriptorState) -> str:
    """Say what is wrong with a descriptor, and what is in force instead."""
    if descriptor.resource is None:
        return (
            f"{descriptor.problem}; no good descriptor of {descriptor.name} is known: it has no page, and its "
            f"tables are served as they were published"
        )
    if descriptor.is_closed:
        closed_note = f"; until it is mended {descriptor.name} is closed to readers, for it may restrict access"
    else:
        closed_note = ""
    if descriptor.good_since is None:
        since_note = ""
    else:
        since_note = f" of {descriptor.good_since[:16].replace('T', ' ')} UTC"
    return f"{descriptor.problem}; the last good descriptor of {descriptor.name}{since_note} is in force{closed_note}"


def _close_if_restrictions_unknown(
    published: PublishedTable, descriptors: Mapping[str, DescriptorState]
) -> PublishedTable:
    """Close a table that is read in place while its descriptor cannot be read and may restrict it."""
    descriptor = descriptors.get(published.table.schema)
    closed = descriptor is not None and descriptor.is_closed
    if closed:
        table = published.table.copy_with(access=PRIVATE_ACCESS)
        return replace(published, table=table)
    return published


def _build_published_table(
    record: SnapshotRecord, descriptors: Mapping[str, DescriptorState], damaged_snapshot: str | None = None
) -> PublishedTable:
    """Return stored rows as their descriptor describes them, and opens them, now."""
    descriptor = descriptors.get(record.collection)
    if descriptor is not None:
        resource = descriptor.resource
    else:
        resource = None
    spec = _find_table_spec(resource, record.table.name)
    table = set_column_epochs(apply_descriptor(record, spec, resource), record.snapshot.statistics)
    if descriptor is not None and (
        descriptor.is_closed
        or (spec is None and resource is not None and (resource.access == PRIVATE_ACCESS or resource.project))
    ):
        table = table.copy_with(access=PRIVATE_ACCESS)
    return PublishedTable(
        table=table,
        relation=record.snapshot,
        updated=record.created,
        run_id=record.run,
        resource=resource,
        coverage=record.snapshot.coverage,
        rows=record.snapshot.rows,
        byte_count=record.snapshot.bytes,
        statistics=record.snapshot.statistics,
        provenance=record.provenance,
        damaged_snapshot=damaged_snapshot,
    )


def _add_release_tables(
    published: dict[str, PublishedTable],
    descriptors: Mapping[str, DescriptorState],
    releases: Sequence[tuple[Release, Sequence[SnapshotRecord]]],
) -> list[str]:
    """Add the tables of releases that are published still: who took one away meant it.

    Return what is wrong with those left out.
    """
    problems = []
    used_schemas = {
        name.lower() for name in (*descriptors, *RESERVED_SCHEMAS, *(item.table.schema for item in published.values()))
    }
    current_names = set(published)
    for release, records in releases:
        if release.schema_name.lower() in used_schemas:
            problems.append(
                f"release {release.label} of {release.collection} is asked by ASOF={release.label} alone: "
                f"there is another schema {release.schema_name}"
            )
            continue
        release_names = {record.table.qualified_name for record in records} & current_names
        for record in records:
            if record.table.qualified_name in release_names:
                item = _build_published_table(record, descriptors)
                keys = tuple(
                    replace(key, target=f"{release.schema_name}.{key.target.partition('.')[2]}")
                    if key.target in release_names
                    else key
                    for key in item.table.keys
                )
                table = item.table.copy_with(schema=release.schema_name, release=release.label, keys=keys)
                published[table.qualified_name] = replace(item, table=table, release=release)
    return problems


def _find_table_spec(resource: Resource | None, table_name: str) -> TableSpec | None:
    if resource is None:
        return None
    return next((spec for spec in resource.tables if spec.table.name == table_name), None)


def _apply_services(published: PublishedTable) -> PublishedTable:
    """List the faces by which a table is asked, as its collection's descriptor has it."""
    if published.resource is not None:
        services = published.resource.services
    else:
        services = ()
    if services == published.table.services and published.release is None:
        return published
    table = published.table.copy_with(services=services)
    if table.standard is not None and table.standard.startswith("epn-tap") and not table.is_served_by("epn-tap"):
        table = table.copy_with(standard=None, utype=None)
    return replace(published, table=table)


def _group_schemas(published: Mapping[str, PublishedTable], resources: Mapping[str, Resource]) -> tuple[Schema, ...]:
    """Group the tables; they stand in the descriptor's order, collections by name."""
    tables_by_schema: dict[str, list[Table]] = {}
    for item in published.values():
        tables_by_schema.setdefault(item.table.schema, []).append(item.table)
    schemas = []
    for name, tables in sorted(tables_by_schema.items(), key=lambda pair: pair[0].lower()):
        resource = resources.get(name)
        if resource is not None:
            order = {spec.table.name: number for number, spec in enumerate(resource.tables)}
        else:
            order = {}
        tables.sort(key=partial(_make_table_sort_key, order))
        if resource is not None:
            title = resource.title
        else:
            title = None
        if resource is not None:
            about = resource.description
        else:
            about = None
        if resource is not None:
            utype = resource.utype
        else:
            utype = None
        release = published[tables[0].qualified_name].release
        if release is not None:
            title = about = f"{release.label} of {release.collection}, released {release.created[:10]}"
        schemas.append(Schema(name=name, tables=tuple(tables), title=title, description=about, utype=utype))
    return tuple(schemas)


def _close_to_non_members(table: Table, open_projects: Collection[str]) -> Table:
    """Close a table to all but the members of its project, unless that is open."""
    is_closed = table.project is not None and table.project not in open_projects and table.access == "public"
    if is_closed:
        return table.copy_with(access=MEMBERS_ACCESS)
    return table


def _add_descriptor_views(
    published: dict[str, PublishedTable], resources: Mapping[str, Resource], open_projects: Collection[str]
) -> list[str]:
    """Add the views of the descriptors, in whatever order they build on each other.

    Return what is wrong with those left out.
    """
    pending_views = {
        f"{resource.name}.{spec.table.name}": (spec, resource)
        for resource in resources.values()
        for spec in resource.tables
        if spec.table.view is not None and _has_served_tables(resource, published)
    }
    problems: dict[str, str] = {}
    while pending_views:
        ready = {}
        for name, (spec, resource) in pending_views.items():
            try:
                ready[name] = _build_view(spec, resource, published, open_projects)
            except HvenError as error:
                problems[name] = f"view {name}: {error}"
        if not ready:
            break
        published.update(ready)
        pending_views = {name: pair for name, pair in pending_views.items() if name not in ready}
        problems = {name: text for name, text in problems.items() if name not in ready}
    return [*problems.values(), *_find_hidden_public_views(published, resources)]


def _find_hidden_public_views(published: Mapping[str, PublishedTable], resources: Mapping[str, Resource]) -> list[str]:
    """Name the views that are called public and read what is not: nobody sees them but who sees those tables."""
    problems = []
    for name, item in published.items():
        if item.table.view is not None:
            view_spec = _find_table_spec(item.resource, item.table.name)
        else:
            view_spec = None
        if view_spec is None or view_spec.table.access != "public":
            continue
        read_tables = [published[table].table for table in item.read_tables if table in published]
        private_names = [
            table.qualified_name
            for table in read_tables
            if (spec := _find_table_spec(resources.get(table.schema), table.name)) and spec.table.access != "public"
        ]
        if private_names:
            verb = "are" if len(private_names) > 1 else "is"
            tables_text = " and ".join(private_names)
            problems.append(
                f"view {name}: it is public, but readers do not see it, for {tables_text} {verb} private;"
                " say `access: private` of the view, or publish what it reads"
            )
    return problems


def _has_served_tables(resource: Resource, published: Mapping[str, PublishedTable]) -> bool:
    """Return whether views are there: they come and go with their collection's tables.

    Where there are only views, nothing needs an ingest.
    """
    return any(item.table.schema == resource.name for item in published.values()) or not any(
        spec.sources for spec in resource.tables
    )


def _build_view(
    spec: TableSpec, resource: Resource, published: Mapping[str, PublishedTable], open_projects: Collection[str]
) -> PublishedTable:
    schemas = _group_schemas(published, {})
    catalogue = Catalogue(access_key="", schemas=schemas)
    query = adql.parse_query(spec.table.view or "")
    bound = adql.bind_query(query, catalogue)
    described_columns = {column.name.lower(): column for column in (*spec.table.columns, *spec.declared_columns)}
    columns = []
    for column in bound.columns:
        described_column = described_columns.get(column.name.lower())
        if described_column is None:
            changes = {}
        else:
            changes = {
                name: value
                for name in ("description", "unit", "ucd", "utype", "label")
                if (value := getattr(described_column, name)) is not None
            }
        std = column.std
        if not std and described_column is not None:
            std = described_column.std
        columns.append(column.copy_with(**changes, std=std))
    # the binder tells the stored tables; a view between may be private, too
    cte_names = {cte.name.name.lower() for cte in walk_tree(query) if isinstance(cte, CommonTable)}
    parts = [
        ref.parts
        for ref in walk_tree(query)
        if isinstance(ref, TableRef) and not (len(ref.parts) == 1 and ref.parts[0].name.lower() in cte_names)
    ]
    view_names = [table.qualified_name for part in parts for table in catalogue.find(part) if table.view is not None]
    reads = tuple(
        sorted(
            {
                *(table.qualified_name for table in bound.tables),
                *view_names,
                *(name for view in view_names for name in published[view].read_tables),
            }
        )
    )
    access = _close_to_non_members(spec.table, open_projects).access
    private = access != "public" or any(published[name].table.access != "public" for name in reads)
    table = set_column_epochs(
        replace(spec.table, columns=tuple(columns), access=PRIVATE_ACCESS if private else "public")
    )
    newest = max((published[table.qualified_name].updated for table in bound.tables), default="")
    return PublishedTable(
        table=table, relation=None, updated=newest, resource=resource, read_tables=reads, declared_access=access
    )
