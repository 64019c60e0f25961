"""`diff`: what differs between two states of a collection that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.ingest.sync.changes import compared
from hven.model.errors import NotFound

if TYPE_CHECKING:
    from hven.ingest._report import Change
    from hven.site import Site
    from hven.site.store import Record


def diff(site: Site, name: str, old: str, new: str | None = None) -> list[Change]:
    """Compare two states of a collection or of one table.

    Parameters
    ----------
    site
        Where.
    name
        A collection, or one of its tables as ``schema.table``.
    old, new
        Ids of snapshots or of runs, labels of releases, or a time as ISO 8601 (what was published then); `new` None: what is published.

    Returns
    -------
    list of Change
        One for each table that both states have, with counts, columns and samples.

    Raises
    ------
    NotFound
        No such collection, snapshot or run; or it is not kept any more.
    """
    collection = name.partition(".")[0]
    before = state(site, collection, old)
    after = state(site, collection, new)
    tables = [table for table in sorted(before) if table in after and (name in {collection, table})]
    if not tables:
        raise NotFound(
            f"{name}: {old} and {new or 'what is published'} have no table in common",
            remedy=f"hven history {collection} lists what is kept",
        )
    return [compared(site, before[table], after[table])[1] for table in tables]


def state(site: Site, collection: str, wanted: str | None) -> dict[str, Record]:
    """Find a state of a collection: the snapshot, a release, what a run published, or what was published at a time.

    Parameters
    ----------
    site, collection
        Where.
    wanted
        As for `diff`.

    Returns
    -------
    state
        By table.

    Raises
    ------
    NotFound
        With what there is.
    """
    if wanted is None:
        return {name: record for name, record in site.store.current()[1].items() if record.collection == collection}
    kept = {record.id: record for record in site.store.snapshots(collection)}
    if wanted in kept:
        return {kept[wanted].table.qualified: kept[wanted]}
    for release in site.store.releases.all(collection, wanted):
        return {table: kept[ident] for table, ident in release.snapshots.items()}
    events = site.store.history(collection)  # the newest first
    event = next((one for one in events if one.run == wanted), None)
    if event is None and wanted[:4].isdigit() and wanted[4:5] == "-":
        moment = (
            wanted
            if "T" in wanted
            else f"{wanted}T23:59:59.999999Z"
            if len(wanted) == 10
            else wanted.replace(" ", "T", 1)
        )
        event = next((one for one in events if one.at <= moment), None)
    if event is None:
        raise NotFound(
            f"{collection} has no snapshot, release, run or time {wanted!r}", remedy=_available(site, collection)
        )
    missing = [table for table, snapshot in event.state.items() if snapshot not in kept]
    if missing:
        raise NotFound(
            f"{collection}: what was published of {missing[0]} at {event.at} is not kept any more",
            remedy=_available(site, collection),
        )
    return {table: kept[snapshot] for table, snapshot in event.state.items()}


def _available(site: Site, collection: str) -> str:
    records = site.store.snapshots(collection)
    shown = ", ".join(f"{record.id} ({record.table.name}, {record.created[:19]})" for record in records[:6])
    return f"kept: {shown}" if shown else f"hven history {collection} lists what is kept"
