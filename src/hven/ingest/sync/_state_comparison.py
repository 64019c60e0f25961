"""`compare_states`: what differs between two states of a collection that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.ingest.sync.change_sets import compare_records
from hven.model.errors import NotFoundError

if TYPE_CHECKING:
    from hven.ingest._report import TableChange
    from hven.site import Site
    from hven.site.store import SnapshotRecord


def compare_states(site: Site, name: str, old_state: str, new_state: str | None = None) -> list[TableChange]:
    """Compare two states of a collection or of one table.

    Parameters
    ----------
    site
        Where.
    name
        A collection, or one of its tables as ``schema.table``.
    old_state, new_state
        Ids of snapshots or of runs, labels of releases, or a time as ISO 8601 (what was published then); `new_state`
        None: what is published.

    Returns
    -------
    list of Change
        One for each table that both states have, with counts, columns and samples.

    Raises
    ------
    NotFoundError
        No such collection, snapshot or run; or it is not kept any more.
    """
    collection = name.partition(".")[0]
    before = find_state(site, collection, old_state)
    after = find_state(site, collection, new_state)
    tables = [table for table in sorted(before) if table in after and (name in {collection, table})]
    if not tables:
        raise NotFoundError(
            f"{name}: {old_state} and {new_state or 'what is published'} have no table in common",
            remedy=f"hven history {collection} lists what is kept",
        )
    return [compare_records(site, before[table], after[table])[1] for table in tables]


def find_state(site: Site, collection: str, state_name: str | None) -> dict[str, SnapshotRecord]:
    """Find a state of a collection: the snapshot, a release, what a run published, or what was published at a time.

    Parameters
    ----------
    site, collection
        Where.
    state_name
        As for `compare_states`.

    Returns
    -------
    state
        By table.

    Raises
    ------
    NotFoundError
        With what there is.
    """
    if state_name is None:
        return {
            name: record
            for name, record in site.store.read_published_records()[1].items()
            if record.collection == collection
        }
    kept_records = {record.id: record for record in site.store.list_snapshots(collection)}
    if state_name in kept_records:
        return {kept_records[state_name].table.qualified_name: kept_records[state_name]}
    for release in site.store.releases.list_releases(collection, state_name):
        return {table: kept_records[ident] for table, ident in release.snapshots.items()}
    events = site.store.list_events(collection)  # the newest first
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
            f"{collection} has no snapshot, release, run or time {state_name!r}",
            remedy=_list_available_states(site, collection),
        )
    missing = [table for table, snapshot in event.state.items() if snapshot not in kept_records]
    if missing:
        raise NotFoundError(
            f"{collection}: what was published of {missing[0]} at {event.at} is not kept any more",
            remedy=_list_available_states(site, collection),
        )
    return {table: kept_records[snapshot] for table, snapshot in event.state.items()}


def _list_available_states(site: Site, collection: str) -> str:
    records = site.store.list_snapshots(collection)
    snapshot_list = ", ".join(f"{record.id} ({record.table.name}, {record.created[:19]})" for record in records[:6])
    if snapshot_list:
        return f"kept: {snapshot_list}"
    return f"hven history {collection} lists what is kept"
