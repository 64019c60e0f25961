"""Moves of a collection's pointers: which snapshots are published, which were before, and the events of the moves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import ConflictError, NotFoundError
from hven.site.store._database import events, format_current_time, increment_state_version, pointers, snapshots
from hven.site.store._snapshots import PublicationEvent, SnapshotRecord, snapshot_record_to_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HOLDING_ACTIONS = ("rollback", "hold")  # after these moves a collection does not change until a person ends the hold


def publication_event_from_row(row: Any) -> PublicationEvent:
    """Convert a row of `events`."""
    return PublicationEvent(
        number=row.number,
        collection=row.collection,
        at=row.at,
        action=row.action,
        run=row.run,
        state=json.loads(row.state),
    )


def read_snapshot_pointers(connection: sa.Connection, collection: str) -> dict[str, str]:
    """Return the published snapshots of a collection by table."""
    query = sa.select(pointers).where(pointers.c.collection == collection)
    rows = connection.execute(query.order_by(pointers.c.table_name))
    return {row.table_name: row.snapshot for row in rows}


def rewrite_snapshot_records(connection: sa.Connection, records: Iterable[SnapshotRecord]) -> None:
    """Rewrite the stored records of snapshots."""
    for record in records:
        record_text = snapshot_record_to_row(record)["record"]
        connection.execute(sa.update(snapshots).where(snapshots.c.id == record.id).values(record=record_text))


def move_snapshot_pointers(
    connection: sa.Connection, collection: str, snapshots_by_table: Mapping[str, str], action: str, run_id: str | None
) -> int:
    """Publish other snapshots of a collection; return the new version."""
    is_same_table = pointers.c.table_name.in_(list(snapshots_by_table))
    conflict_query = sa.select(pointers).where(is_same_table, pointers.c.collection != collection)
    conflicting_pointer = connection.execute(conflict_query).first()
    if conflicting_pointer is not None:
        raise ConflictError(
            f"the table {conflicting_pointer.table_name} belongs to the collection {conflicting_pointer.collection}",
            remedy="give your table a different name",
        )
    since = format_current_time()
    connection.execute(sa.delete(pointers).where(pointers.c.collection == collection))
    for table, snapshot in sorted(snapshots_by_table.items()):
        values = {"table_name": table, "collection": collection, "snapshot": snapshot, "since": since}
        connection.execute(sa.insert(pointers).values(values))
    return record_event_as_new_version(
        connection, collection, snapshots_by_table, action, run_id=run_id, event_time=since
    )


def is_collection_held_by_rollback(connection: sa.Connection, collection: str) -> bool:
    """Return whether a rollback holds a collection."""
    query = sa.select(events.c.action).where(events.c.collection == collection)
    last_action = connection.execute(query.order_by(events.c.number.desc()).limit(1)).scalar()
    return last_action in HOLDING_ACTIONS


def record_event_as_new_version(
    connection: sa.Connection,
    collection: str,
    snapshots_by_table: Mapping[str, str],
    action: str,
    *,
    run_id: str | None,
    event_time: str | None = None,
) -> int:
    """Record an event of a collection; return the new version, by which other processes notice it."""
    sorted_state = dict(sorted(snapshots_by_table.items()))
    values = {
        "collection": collection,
        "at": event_time or format_current_time(),
        "action": action,
        "run": run_id,
        "state": json.dumps(sorted_state),
    }
    connection.execute(sa.insert(events).values(values))
    return increment_state_version(connection)


def has_all_snapshots(connection: sa.Connection, state: Mapping[str, str]) -> bool:
    """Return whether all snapshots of a state are still kept."""
    snapshot_ids = set(state.values())
    query = sa.select(sa.func.count()).select_from(snapshots)
    kept_count = connection.execute(query.where(snapshots.c.id.in_(snapshot_ids))).scalar_one()
    return int(kept_count) == len(snapshot_ids)


def find_rollback_state(
    connection: sa.Connection, collection: str, current_state: Mapping[str, str], wanted_id: str | None
) -> dict[str, str]:
    """Find the state to return to: what one `publish` made of the collection."""
    query = sa.select(events).where(events.c.collection == collection).order_by(events.c.number.desc())
    all_events = [publication_event_from_row(row) for row in connection.execute(query)]
    publications = [event for event in all_events if event.action == "publish"]
    if not publications:
        raise NotFoundError(f"{collection!r} was never published")
    current_state = dict(current_state)
    if wanted_id is not None:
        candidates: Sequence[PublicationEvent] = [_find_publication(publications, collection, wanted_id)]
    elif not current_state:  # the collection was removed: its last state comes back, whatever had made it
        candidates = [event for event in all_events if event.state]
    else:
        candidates = _list_earlier_publications(publications, current_state)
    for event in candidates:
        if dict(event.state) != current_state and has_all_snapshots(connection, event.state):
            return dict(event.state)
    if wanted_id is None:
        message = f"{collection}: no earlier state is kept"
    elif dict(candidates[0].state) == current_state:
        return current_state
    else:
        message = f"{collection}: {wanted_id} is no longer kept"
    remedy = (
        f"run `hven history {collection.partition('.')[0]}` to see the kept states; keep_snapshots in hven.toml "
        "sets how many are kept"
    )
    raise NotFoundError(message, remedy=remedy)


def _find_publication(publications: Sequence[PublicationEvent], collection: str, wanted_id: str) -> PublicationEvent:
    """Find the last publication by a run, or of a snapshot."""
    for event in publications:
        if event.run == wanted_id or wanted_id in event.state.values():
            return event
    message = f"{collection} has no snapshot or run {wanted_id!r}"
    raise NotFoundError(message, remedy=f"run `hven history {collection}` to see all snapshots")


def _list_earlier_publications(
    publications: Sequence[PublicationEvent], current_state: Mapping[str, str]
) -> Sequence[PublicationEvent]:
    """List the publications before the one that made the current state; all of them, if none did."""
    for index, event in enumerate(publications):
        if dict(event.state) == current_state:
            return publications[index + 1 :]
    return publications


def find_table_rollback_state(
    connection: sa.Connection, table: str, current_state: Mapping[str, str], wanted_id: str | None
) -> dict[str, str]:
    """Find the state in which one table returns to an earlier snapshot."""
    query = sa.select(snapshots.c.id, snapshots.c.run).where(snapshots.c.table_name == table)
    rows = list(connection.execute(query.order_by(snapshots.c.number.desc())))
    if wanted_id is None:
        snapshot_ids = [row.id for row in rows]
        current_index = len(snapshot_ids)
        if current_state[table] in snapshot_ids:
            current_index = snapshot_ids.index(current_state[table])
        candidate_ids = snapshot_ids[current_index + 1 :]
        message = f"no earlier snapshot of {table} is kept"
    else:
        candidate_ids = [row.id for row in rows if wanted_id in {row.id, row.run}]
        message = f"no snapshot of {table} with the id or run {wanted_id!r} is kept"
    if not candidate_ids:
        raise NotFoundError(message)
    return {**current_state, table: candidate_ids[0]}
