"""`compare_collection_states`: compare two states of a collection whose snapshots still exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.ingest.sync.change_sets import compare_snapshot_records
from hven.model.errors import NotFoundError

if TYPE_CHECKING:
    from hven.ingest._report import TableChangeSummary
    from hven.site import Site
    from hven.site.store import SnapshotRecord


def compare_collection_states(
    site: Site, name: str, old_state: str, new_state: str | None = None
) -> list[TableChangeSummary]:
    """Compare two states of a collection or of one table.

    Parameters
    ----------
    site
        The site that publishes the collection.
    name
        A collection, or one of its tables as ``schema.table``.
    old_state, new_state
        Ids of snapshots or of runs, labels of releases, or a time as ISO 8601 (what was published then). For
        `new_state`, None means the published state.

    Returns
    -------
    list of TableChange
        One for each table that both states have, with counts, columns and samples.

    Raises
    ------
    NotFoundError
        The collection, snapshot or run does not exist, or is not kept any more.
    """
    collection = name.partition(".")[0]
    before = find_collection_state(site, collection, old_state)
    after = find_collection_state(site, collection, new_state)
    tables = [table for table in sorted(before) if table in after and name in {collection, table}]
    if not tables:
        raise NotFoundError(
            f"{name}: {old_state} and {new_state or 'the published state'} have no table in common",
            remedy=f"run `hven history {collection}` to list the kept states",
        )
    return [compare_snapshot_records(site, before[table], after[table])[1] for table in tables]


def find_collection_state(site: Site, collection: str, state_name: str | None) -> dict[str, SnapshotRecord]:
    """Find a state of a collection: one snapshot, a release, or what a run or a time published.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.
    state_name
        As for `compare_collection_states`.

    Returns
    -------
    state
        Records of snapshots by the name of the table.

    Raises
    ------
    NotFoundError
        The message lists the states that exist.
    """
    if state_name is None:
        published_records = site.store.read_published_records()[1]
        return {name: record for name, record in published_records.items() if record.collection == collection}
    kept_records = {record.id: record for record in site.store.list_snapshots(collection)}
    if state_name in kept_records:
        record = kept_records[state_name]
        return {record.table.qualified_name: record}
    for release in site.store.releases.list_releases(collection, state_name):
        return {table: kept_records[snapshot_id] for table, snapshot_id in release.snapshots.items()}
    events = site.store.list_publication_events(collection)  # the newest first
    event = next((publication for publication in events if publication.run == state_name), None)
    if event is None and state_name[:4].isdigit() and state_name[4:5] == "-":
        if "T" in state_name:
            instant = state_name
        elif len(state_name) == 10:
            instant = f"{state_name}T23:59:59.999999Z"
        else:
            instant = state_name.replace(" ", "T", 1)
        event = next((publication for publication in events if publication.at <= instant), None)
    if event is None:
        raise NotFoundError(
            f"{collection} has no state {state_name!r}: no snapshot, release or run has this name, and the name is not "
            "a time after the first publication",
            remedy=_format_available_states(site, collection),
        )
    missing_tables = [table for table, snapshot_id in event.state.items() if snapshot_id not in kept_records]
    if missing_tables:
        raise NotFoundError(
            f"{collection}: Hven no longer keeps the rows that {missing_tables[0]} had at {event.at}",
            remedy=_format_available_states(site, collection),
        )
    return {table: kept_records[snapshot_id] for table, snapshot_id in event.state.items()}


def _format_available_states(site: Site, collection: str) -> str:
    """Return a remedy that names the newest snapshots of a collection."""
    snapshot_texts = []
    for record in site.store.list_snapshots(collection)[:6]:
        created = record.created[:19]
        snapshot_texts.append(f"{record.id} ({record.table.name}, {created})")
    if snapshot_texts:
        return f"kept: {', '.join(snapshot_texts)}"
    return f"run `hven history {collection}` to list the kept states"
