"""Build one `PublishedState` from the store's records and the descriptors."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.adql.syntax_tree import CommonTableExpression, Query, TableRef, walk_tree
from hven.engines import LiveRelation, Snapshot
from hven.model.errors import HvenError
from hven.model.table import INPUT_DOCUMENT_KEY, Schema, set_column_epochs
from hven.site import _obscore_views as obscore
from hven.site._bound_policies import AccessPolicyBinder
from hven.site._catalogue import Catalogue
from hven.site._metadata_overlay import apply_descriptor
from hven.site._published_state import USER_SCHEMA, PublishedState, PublishedTable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.engines import Relation
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.model.settings import ProjectSettings
    from hven.model.table import Column, Table
    from hven.site._damage_fallback import DamagedSnapshot
    from hven.site.descriptor_watch import DescriptorState
    from hven.site.store import Release, SnapshotRecord

PRIVATE_ACCESS, MEMBERS_ACCESS = "private", "members"
LAST_INDEX = 10_000  # sorts tables and names without an index last
RESERVED_SCHEMAS = ("tap_schema", "tap_upload", USER_SCHEMA, obscore.OBSCORE_SCHEMA)  # Hven's own schemas
ACCESS_ATTRIBUTES = ("access", "project", "policy")  # of a table: who may see it, or which of its rows
DESCRIBED_FIELDS = ("description", "unit", "ucd", "utype", "label")  # of a view's columns, in its descriptor


def build_published_state(
    records: Mapping[str, SnapshotRecord],
    descriptors: Mapping[str, DescriptorState],
    site_problems: Sequence[str] = (),
    live_tables: Mapping[str, PublishedTable] | None = None,
    damages: Sequence[DamagedSnapshot] = (),
    *,
    policies: AccessPolicyBinder | None = None,
    obscore_view_builder: obscore.ObscoreViewBuilder | None = None,
    releases: Sequence[tuple[Release, Sequence[SnapshotRecord]]] = (),
    projects: Sequence[ProjectSettings] = (),
) -> PublishedState:
    """Build the current state.

    Parameters
    ----------
    records
        What is served, by qualified name.
    descriptors
        The descriptors, by collection.
    site_problems
        What is wrong with the store and the engines, if anything: the records are then the last good ones.
    live_tables
        Tables that are read in place, by qualified name.
    damages
        Damaged snapshots of published tables; `records` has what is served in their place.
    policies
        Binds the policies of tables to their rows; None: tables with a policy are private.
    obscore_view_builder
        Builds ivoa.obscore, and compiles only what has changed since its last state; None: it compiles all.
    releases
        Releases with their records, the newest first; each gets its own schema.
    projects
        Projects of the site: a project that is not among them is not open.

    Returns
    -------
    state
        The state.
    """
    faults: dict[str, str] = {}
    resources: dict[str, CollectionSpec] = {}
    for name, descriptor in descriptors.items():
        if descriptor.problem is not None:
            faults[name] = describe_descriptor_fault(descriptor)
        if descriptor.resource is not None:
            resources[name] = descriptor.resource
    problems = [*faults.values(), *site_problems, *(damage.owner_message for damage in damages)]
    damaged_snapshots = {damage.table: damage.snapshot for damage in damages if damage.served_snapshot is not None}
    published: dict[str, PublishedTable] = {}
    for name, record in records.items():
        published[name] = _build_published_table(record, descriptors, records.keys(), damaged_snapshots.get(name))
    for name, live_table in (live_tables or {}).items():
        published[name] = _make_private_if_restrictions_unknown(live_table, descriptors)
    problems += _add_release_tables_and_list_problems(published, descriptors, releases)
    open_projects = frozenset(project.name for project in projects if project.open)
    for name, published_table in published.items():
        published[name] = replace(published_table, table=_with_members_access(published_table.table, open_projects))
    problems += (policies or AccessPolicyBinder()).bind_policies_and_list_problems(published)
    _apply_descriptor_services(published)
    obscore_views, obscore_problems = (obscore_view_builder or obscore.ObscoreViewBuilder()).build_views(published)
    for obscore_view in obscore_views.values():
        for name in obscore_view.members or ():
            published[name] = replace(published[name], table=published[name].table.copy_with(observed=True))
    published.update(obscore_views)
    problems += obscore_problems
    problems += _add_views_and_list_problems(published, resources, open_projects)
    _apply_descriptor_services(published)
    schemas = _group_tables_into_schemas(published, resources)
    # the version is the same in every process: nothing here may depend on the order of a set
    descriptor_hashes = sorted((name, sorted(resource.hashes.items())) for name, resource in resources.items())
    table_states = []
    for published_table in published.values():
        relation_version = _get_relation_version(published_table.relation)
        input_documents = filter(None, [published_table.table.extensions.get(INPUT_DOCUMENT_KEY)])
        table_states.append((published_table.table, relation_version, published_table.updated, *input_documents))
    state = repr((table_states, schemas, descriptor_hashes))
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
    """Return a text that changes when the rows of a table change."""
    if isinstance(relation, Snapshot):
        return relation.id
    if isinstance(relation, LiveRelation):
        return relation.stamp
    return None


def _make_table_sort_key(order: Mapping[str, int], table: Table) -> tuple[int, int, str]:
    """Return the sort key of a table: its declared index, its order in the descriptor, its name."""
    return table.index or LAST_INDEX, order.get(table.name, LAST_INDEX), table.name.lower()


def describe_descriptor_fault(descriptor: DescriptorState) -> str:
    """Describe what is wrong with a descriptor, and what is in force instead."""
    if descriptor.resource is None:
        return (
            f"{descriptor.problem}; there is no earlier valid descriptor of {descriptor.name}, so it has no "
            "page; its tables are served as published"
        )
    closed_note = ""
    if descriptor.is_closed:
        closed_note = f"; until it is corrected, {descriptor.name} is closed to readers, because it may restrict access"
    since_note = ""
    if descriptor.good_since is not None:
        since_note = f" of {descriptor.good_since[:16].replace('T', ' ')} UTC"
    return f"{descriptor.problem}; Hven uses the last valid descriptor of {descriptor.name}{since_note}{closed_note}"


def _make_private_if_restrictions_unknown(
    published: PublishedTable, descriptors: Mapping[str, DescriptorState]
) -> PublishedTable:
    """Close a live table while its descriptor cannot be read, because the descriptor may restrict it."""
    descriptor = descriptors.get(published.table.schema)
    if descriptor is None or not descriptor.is_closed:
        return published
    return replace(published, table=published.table.copy_with(access=PRIVATE_ACCESS))


def _build_published_table(
    record: SnapshotRecord,
    descriptors: Mapping[str, DescriptorState],
    published_names: Collection[str],
    damaged_snapshot: str | None = None,
) -> PublishedTable:
    """Return stored rows with the description and the access that the present descriptor gives them."""
    descriptor = descriptors.get(record.collection)
    resource = None
    if descriptor is not None:
        resource = descriptor.resource
    spec = obscore.find_table_spec(resource, record.table.name)
    table = set_column_epochs(apply_descriptor(record, spec, resource), record.snapshot.statistics)
    is_closed = descriptor is not None and descriptor.is_closed
    resource_with_access = resource
    if descriptor is not None and descriptor.removed_resource is not None:
        resource_with_access = descriptor.removed_resource
        spec = obscore.find_table_spec(resource_with_access, record.table.name)
        if spec is not None:
            table = table.copy_with(**{name: getattr(spec.table, name) for name in ACCESS_ATTRIBUTES})
    if spec is None and resource_with_access is not None:
        is_closed |= _may_restrict_removed_table(resource_with_access, published_names)
    if is_closed:
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


def _may_restrict_removed_table(resource: CollectionSpec, published_names: Collection[str]) -> bool:
    """Return whether a table that its descriptor no longer has may be restricted.

    It is if the collection is. A restricted table without rows may be this table with another name.
    """
    if resource.access == PRIVATE_ACCESS or resource.project:
        return True
    new_tables = [spec.table for spec in resource.tables if spec.table.qualified_name not in published_names]
    return any(table.access == PRIVATE_ACCESS or table.policy is not None for table in new_tables)


def _add_release_tables_and_list_problems(
    published: dict[str, PublishedTable],
    descriptors: Mapping[str, DescriptorState],
    releases: Sequence[tuple[Release, Sequence[SnapshotRecord]]],
) -> list[str]:
    """Add the tables of releases that are still published; a table that was removed is not shown in releases either.

    Return the problems of releases that are left out.
    """
    problems = []
    used_schemas = {published_table.table.schema.lower() for published_table in published.values()}
    used_schemas |= {name.lower() for name in (*descriptors, *RESERVED_SCHEMAS)}
    current_names = set(published)
    for release, records in releases:
        if release.schema_name.lower() in used_schemas:
            problems.append(
                f"release {release.label} of {release.collection} can be queried only with ASOF={release.label}: "
                f"another schema is already named {release.schema_name}"
            )
            continue
        release_names = {record.table.qualified_name for record in records} & current_names
        for record in records:
            if record.table.qualified_name in release_names:
                published_table = _build_release_table(record, descriptors, release, release_names)
                published[published_table.table.qualified_name] = published_table
    return problems


def _build_release_table(
    record: SnapshotRecord,
    descriptors: Mapping[str, DescriptorState],
    release: Release,
    release_names: Collection[str],
) -> PublishedTable:
    """Build a table in the schema of its release; its foreign keys refer to the tables of the same release."""
    published_table = _build_published_table(record, descriptors, release_names)
    keys = []
    for key in published_table.table.keys:
        if key.target in release_names:
            target_name = key.target.partition(".")[2]
            keys.append(replace(key, target=f"{release.schema_name}.{target_name}"))
        else:
            keys.append(key)
    table = published_table.table.copy_with(schema=release.schema_name, release=release.label, keys=tuple(keys))
    return replace(published_table, table=table, release=release)


def _apply_descriptor_services(published: dict[str, PublishedTable]) -> None:
    """Set the services of each table to those in its collection's descriptor."""
    for name, published_table in published.items():
        resource = published_table.resource
        services = () if resource is None else resource.services
        if services == published_table.table.services and published_table.release is None:
            continue
        table = published_table.table.copy_with(services=services)
        is_epn_tap = table.standard is not None and table.standard.startswith("epn-tap")
        if is_epn_tap and not table.is_served_by("epn-tap"):
            table = table.copy_with(standard=None, utype=None)
        published[name] = replace(published_table, table=table)


def _group_tables_into_schemas(
    published: Mapping[str, PublishedTable], resources: Mapping[str, CollectionSpec]
) -> tuple[Schema, ...]:
    """Group the tables by schema: schemas by name, tables in the order of the descriptor."""
    tables_by_schema: dict[str, list[Table]] = {}
    for published_table in published.values():
        tables_by_schema.setdefault(published_table.table.schema, []).append(published_table.table)
    schemas = []
    for name, tables in sorted(tables_by_schema.items(), key=lambda pair: pair[0].lower()):
        resource = resources.get(name)
        title = description = utype = None
        order: dict[str, int] = {}
        if resource is not None:
            title, description, utype = resource.title, resource.description, resource.utype
            order = {spec.table.name: number for number, spec in enumerate(resource.tables)}
        tables.sort(key=partial(_make_table_sort_key, order))
        release = published[tables[0].qualified_name].release
        if release is not None:
            title = description = f"{release.label} of {release.collection}, released {release.created[:10]}"
        schema = Schema(name=name, tables=tuple(tables), title=title, description=description, utype=utype)
        schemas.append(schema)
    return tuple(schemas)


def _with_members_access(table: Table, open_projects: Collection[str]) -> Table:
    """Close a table to everybody but the members of its project, unless the project is open."""
    if table.project is None or table.project in open_projects or table.access != "public":
        return table
    return table.copy_with(access=MEMBERS_ACCESS)


def _add_views_and_list_problems(
    published: dict[str, PublishedTable], resources: Mapping[str, CollectionSpec], open_projects: Collection[str]
) -> list[str]:
    """Add the views of the descriptors, whatever order they build on each other in.

    Return the problems of views that are left out.
    """
    pending_views: dict[str, tuple[TableSpec, CollectionSpec]] = {}
    for resource in resources.values():
        if _has_served_tables(resource, published):
            view_specs = [spec for spec in resource.tables if spec.table.view is not None]
            pending_views |= {f"{resource.name}.{spec.table.name}": (spec, resource) for spec in view_specs}
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
    return [*problems.values(), *_describe_hidden_public_views(published, resources)]


def _describe_hidden_public_views(
    published: Mapping[str, PublishedTable], resources: Mapping[str, CollectionSpec]
) -> list[str]:
    """Describe the views that are declared public but read private tables: few users see them."""
    problems = []
    for name, published_table in published.items():
        if published_table.table.view is None:
            continue
        view_spec = obscore.find_table_spec(published_table.resource, published_table.table.name)
        if view_spec is None or view_spec.table.access != "public":
            continue
        read_tables = [
            published[table_name].table for table_name in published_table.read_tables if table_name in published
        ]
        private_names = [table.qualified_name for table in read_tables if _is_declared_private(table, resources)]
        if private_names:
            verb = "is"
            if len(private_names) > 1:
                verb = "are"
            tables_text = " and ".join(private_names)
            problems.append(
                f"view {name}: it is public, but readers do not see it, because {tables_text} {verb} private; set "
                "`access: private` for the view, or make those tables public"
            )
    return problems


def _is_declared_private(table: Table, resources: Mapping[str, CollectionSpec]) -> bool:
    spec = obscore.find_table_spec(resources.get(table.schema), table.name)
    return spec is not None and spec.table.access != "public"


def _has_served_tables(resource: CollectionSpec, published: Mapping[str, PublishedTable]) -> bool:
    """Return whether a collection's views are served: they come and go with its tables.

    The views of a collection without any source need no ingest.
    """
    if not any(spec.sources for spec in resource.tables):
        return True
    return any(published_table.table.schema == resource.name for published_table in published.values())


def _build_view(
    spec: TableSpec, resource: CollectionSpec, published: Mapping[str, PublishedTable], open_projects: Collection[str]
) -> PublishedTable:
    catalogue = Catalogue(access_key="", schemas=_group_tables_into_schemas(published, {}))
    query = adql.parse_query(spec.table.view or "")
    bound = adql.bind_query(query, catalogue)
    described_columns = {column.name.lower(): column for column in (*spec.table.columns, *spec.declared_columns)}
    columns = [
        _with_view_column_metadata(column, described_columns.get(column.name.lower())) for column in bound.columns
    ]
    # the binder returns only the stored tables; a view between may be private, too
    read_names = {table.qualified_name for table in bound.tables}
    for view_name in _list_views_of_query(query, catalogue):
        read_names |= {view_name, *published[view_name].read_tables}
    read_tables = tuple(sorted(read_names))
    declared_access = _with_members_access(spec.table, open_projects).access
    access = "public"
    if declared_access != "public" or any(published[name].table.access != "public" for name in read_tables):
        access = PRIVATE_ACCESS
    table = set_column_epochs(replace(spec.table, columns=tuple(columns), access=access))
    update_times = [published[read_table.qualified_name].updated for read_table in bound.tables]
    return PublishedTable(
        table=table,
        relation=None,
        updated=max(update_times, default=""),
        resource=resource,
        read_tables=read_tables,
        declared_access=declared_access,
    )


def _with_view_column_metadata(column: Column, described_column: Column | None) -> Column:
    """Return a column of a view with the metadata that its descriptor gives it."""
    if described_column is None:
        return column
    changes: dict[str, Any] = {"std": column.std or described_column.std}
    for name in DESCRIBED_FIELDS:
        field_value = getattr(described_column, name)
        if field_value is not None:
            changes[name] = field_value
    return column.copy_with(**changes)


def _list_views_of_query(query: Query, catalogue: Catalogue) -> set[str]:
    """List the views that a query names, without its own common tables."""
    cte_names = {node.name.name.lower() for node in walk_tree(query) if isinstance(node, CommonTableExpression)}
    view_names = set()
    for node in walk_tree(query):
        if not isinstance(node, TableRef):
            continue
        if len(node.parts) == 1 and node.parts[0].name.lower() in cte_names:
            continue
        view_names |= {
            table.qualified_name for table in catalogue.find_tables_by_identifiers(node.parts) if table.view is not None
        }
    return view_names
