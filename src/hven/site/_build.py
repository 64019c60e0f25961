"""From the store's records and the descriptors to one `Holdings`."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from hven import adql
from hven.adql.tree import CommonTable, TableRef, walk
from hven.engines import Live, Snapshot
from hven.model.errors import HvenError
from hven.model.table import Schema, dated
from hven.site import _obscore as obscore
from hven.site._catalogue import Catalogue
from hven.site._overlay import overlay
from hven.site._picture import USER_SCHEMA, Holdings, Published
from hven.site._rights import Policies

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hven.model.resource import Resource, TableSpec
    from hven.model.settings import Project
    from hven.model.table import Table
    from hven.site._fallback import Damage
    from hven.site.store import Record, Release
    from hven.site.watch import Seen

PRIVATE, MEMBERS = "private", "members"
RESERVED = ("tap_schema", "tap_upload", USER_SCHEMA, obscore.SCHEMA)  # schemas of the house


def build(
    records: Mapping[str, Record],
    seen: Mapping[str, Seen],
    trouble: Sequence[str] = (),
    live: Mapping[str, Published] | None = None,
    damages: Sequence[Damage] = (),
    *,
    policies: Policies | None = None,
    releases: Sequence[tuple[Release, Sequence[Record]]] = (),
    projects: Sequence[Project] = (),
) -> Holdings:
    """Build the picture of now.

    Parameters
    ----------
    records
        What is published, by qualified name.
    seen
        The descriptors, by collection.
    trouble
        What is wrong with the store and the engines, if anything: the records are the last good ones.
    live
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
    faults = {name: _fault_of(item) for name, item in seen.items() if item.problem is not None}
    problems = [*faults.values()]
    problems += [*trouble, *(one.told for one in damages)]
    instead = {one.table: one.snapshot for one in damages if one.served is not None}
    published = {name: _described(record, seen, instead.get(name)) for name, record in records.items()}
    published.update({name: _hide_if_unclear(item, seen) for name, item in live.items()} if live is not None else {})
    problems += _release(published, seen, releases)
    free = frozenset(project.name for project in projects if project.open)
    published = {name: replace(item, table=_closed(item.table, free)) for name, item in published.items()}
    problems += (policies or Policies()).bound(published)
    published = {name: _offered(item) for name, item in published.items()}
    resources = {name: item.resource for name, item in seen.items() if item.resource is not None}
    observations, wrong = obscore.views(published)
    for name in {name for item in observations.values() for name in item.members or ()}:
        published[name] = replace(published[name], table=published[name].table.having(observed=True))
    published.update(observations)
    problems += wrong
    problems += _views(published, resources, free)
    published.update({name: _offered(item) for name, item in published.items()})
    schemas = _schemas(published, resources)
    # the same in every process: no sets in here, whose order is each process's own
    texts = sorted((name, sorted(resource.hashes.items())) for name, resource in resources.items())
    shown = [
        (
            item.table,
            item.relation.id
            if isinstance(item.relation, Snapshot)
            else item.relation.stamp
            if isinstance(item.relation, Live)
            else None,
            item.updated,
        )
        for item in published.values()
    ]
    state = repr((shown, schemas, texts))
    version = hashlib.sha256(state.encode()).hexdigest()[:16]
    return Holdings(
        schemas=schemas,
        published=published,
        resources=resources,
        version=version,
        problems=tuple(problems),
        descriptor_faults=faults,
        damages=tuple(damages),
    )


def _fault_of(item: Seen) -> str:
    """Say what is wrong with a descriptor, and what is in force instead."""
    if item.resource is None:
        return f"{item.problem}; no good descriptor of {item.name} is known: it has no page, and its tables are served as they were published"
    closed = f"; until it is mended {item.name} is closed to readers, for it may restrict access" if item.closed else ""
    since = "" if item.since is None else f" of {item.since[:16].replace('T', ' ')} UTC"
    return f"{item.problem}; the last good descriptor of {item.name}{since} is in force{closed}"


def _hide_if_unclear(item: Published, seen: Mapping[str, Seen]) -> Published:
    """Close a table that is read in place while its descriptor cannot be read and may restrict it."""
    found = seen.get(item.table.schema)
    closed = found is not None and found.closed
    return replace(item, table=item.table.having(access=PRIVATE)) if closed else item


def _described(record: Record, seen: Mapping[str, Seen], instead: str | None = None) -> Published:
    """Return stored rows as their descriptor describes them, and opens them, now."""
    item = seen.get(record.collection)
    resource = item.resource if item is not None else None
    spec = _spec(resource, record.table.name)
    table = dated(overlay(record, spec, resource), record.snapshot.statistics)
    if item is not None and (
        item.closed or (spec is None and resource is not None and (resource.access == PRIVATE or resource.project))
    ):
        table = table.having(access=PRIVATE)
    return Published(
        table=table,
        relation=record.snapshot,
        updated=record.created,
        run=record.run,
        resource=resource,
        coverage=record.snapshot.coverage,
        rows=record.snapshot.rows,
        bytes=record.snapshot.bytes,
        statistics=record.snapshot.statistics,
        provenance=record.provenance,
        instead=instead,
    )


def _release(
    published: dict[str, Published], seen: Mapping[str, Seen], releases: Sequence[tuple[Release, Sequence[Record]]]
) -> list[str]:
    """Add the tables of releases that are published still: who took one away meant it. Return what is wrong with those left out."""
    problems = []
    taken = {name.lower() for name in (*seen, *RESERVED, *(item.table.schema for item in published.values()))}
    now = set(published)
    for release, records in releases:
        if release.schema.lower() in taken:
            problems.append(
                f"release {release.label} of {release.collection} is asked by ASOF={release.label} alone: there is another schema {release.schema}"
            )
            continue
        there = {record.table.qualified for record in records} & now
        for record in records:
            if record.table.qualified in there:
                item = _described(record, seen)
                keys = tuple(
                    replace(key, target=f"{release.schema}.{key.target.partition('.')[2]}")
                    if key.target in there
                    else key
                    for key in item.table.keys
                )
                table = item.table.having(schema=release.schema, release=release.label, keys=keys)
                published[table.qualified] = replace(item, table=table, release=release)
    return problems


def _spec(resource: Resource | None, table: str) -> TableSpec | None:
    if resource is None:
        return None
    return next((spec for spec in resource.tables if spec.table.name == table), None)


def _offered(item: Published) -> Published:
    """List the faces by which a table is asked, as its collection's descriptor has it."""
    services = item.resource.services if item.resource is not None else ()
    if services == item.table.services and item.release is None:
        return item
    table = item.table.having(services=services)
    if table.standard is not None and table.standard.startswith("epn-tap") and not table.offers("epn-tap"):
        table = table.having(standard=None, utype=None)
    return replace(item, table=table)


def _schemas(published: Mapping[str, Published], resources: Mapping[str, Resource]) -> tuple[Schema, ...]:
    """Group the tables; they stand in the descriptor's order, collections by name."""
    found: dict[str, list[Table]] = {}
    for item in published.values():
        found.setdefault(item.table.schema, []).append(item.table)
    schemas = []
    for name, tables in sorted(found.items(), key=lambda pair: pair[0].lower()):
        resource = resources.get(name)
        order = {spec.table.name: number for number, spec in enumerate(resource.tables)} if resource is not None else {}
        tables.sort(
            key=lambda table, order=order: (table.index or 10_000, order.get(table.name, 10_000), table.name.lower())  # type: ignore[misc]
        )
        title = resource.title if resource is not None else None
        about = resource.description if resource is not None else None
        utype = resource.utype if resource is not None else None
        if (release := published[tables[0].qualified].release) is not None:
            title = about = f"{release.label} of {release.collection}, released {release.created[:10]}"
        schemas.append(Schema(name=name, tables=tuple(tables), title=title, description=about, utype=utype))
    return tuple(schemas)


def _closed(table: Table, free: Collection[str]) -> Table:
    """Close a table to all but the members of its project, unless that is open."""
    closed = table.project is not None and table.project not in free and table.access == "public"
    return table.having(access=MEMBERS) if closed else table


def _views(published: dict[str, Published], resources: Mapping[str, Resource], free: Collection[str]) -> list[str]:
    """Add the views of the descriptors, in whatever order they build on each other. Return what is wrong with those left out."""
    wanted = {
        f"{resource.name}.{spec.table.name}": (spec, resource)
        for resource in resources.values()
        for spec in resource.tables
        if spec.table.view is not None and _shown(resource, published)
    }
    problems: dict[str, str] = {}
    while wanted:
        ready = {}
        for name, (spec, resource) in wanted.items():
            try:
                ready[name] = _view(spec, resource, published, free)
            except HvenError as error:
                problems[name] = f"view {name}: {error}"
        if not ready:
            break
        published.update(ready)
        wanted = {name: pair for name, pair in wanted.items() if name not in ready}
        problems = {name: text for name, text in problems.items() if name not in ready}
    return [*problems.values(), *_hidden(published, resources)]


def _hidden(published: Mapping[str, Published], resources: Mapping[str, Resource]) -> list[str]:
    """Name the views that are called public and read what is not: nobody sees them but who sees those tables."""
    found = []
    for name, item in published.items():
        said = _spec(item.resource, item.table.name) if item.table.view is not None else None
        if said is None or said.table.access != "public":
            continue
        below = [published[table].table for table in item.reads if table in published]
        closed = [
            table.qualified
            for table in below
            if (spec := _spec(resources.get(table.schema), table.name)) and spec.table.access != "public"
        ]
        if closed:
            found.append(
                f"view {name}: it is public, but readers do not see it, for {' and '.join(closed)} {'are' if closed[1:] else 'is'} private;"
                " say `access: private` of the view, or publish what it reads"
            )
    return found


def _shown(resource: Resource, published: Mapping[str, Published]) -> bool:
    """Return whether views are there: they come and go with their collection's tables; where there are only views, nothing needs an ingest."""
    return any(item.table.schema == resource.name for item in published.values()) or not any(
        spec.sources for spec in resource.tables
    )


def _view(spec: TableSpec, resource: Resource, published: Mapping[str, Published], free: Collection[str]) -> Published:
    catalogue = Catalogue(key="", schemas=_schemas(published, {}))
    query = adql.parse(spec.table.view or "")
    bound = adql.bind(query, catalogue)
    said = {column.name.lower(): column for column in (*spec.table.columns, *spec.declared)}
    columns = []
    for column in bound.columns:
        own = said.get(column.name.lower())
        changes = (
            {}
            if own is None
            else {
                name: value
                for name in ("description", "unit", "ucd", "utype", "label")
                if (value := getattr(own, name)) is not None
            }
        )
        columns.append(column.having(**changes, std=column.std or (own is not None and own.std)))
    # the binder tells the stored tables; a view between may be private, too
    named = {cte.name.name.lower() for cte in walk(query) if isinstance(cte, CommonTable)}
    parts = [
        ref.parts
        for ref in walk(query)
        if isinstance(ref, TableRef) and not (len(ref.parts) == 1 and ref.parts[0].name.lower() in named)
    ]
    between = [table.qualified for part in parts for table in catalogue.find(part) if table.view is not None]
    reads = tuple(
        sorted(
            {
                *(table.qualified for table in bound.tables),
                *between,
                *(name for view in between for name in published[view].reads),
            }
        )
    )
    access = _closed(spec.table, free).access
    private = access != "public" or any(published[name].table.access != "public" for name in reads)
    table = dated(replace(spec.table, columns=tuple(columns), access=PRIVATE if private else "public"))
    newest = max((published[table.qualified].updated for table in bound.tables), default="")
    return Published(table=table, relation=None, updated=newest, resource=resource, reads=reads, access=access)
