"""Moves of a collection's pointers.

Which snapshots are shown, what was shown before, and the events that tell of it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import ConflictError, NotFoundError
from hven.site.store._database import events, format_current_time, increment_version, pointers, snapshots
from hven.site.store._snapshots import PointerEvent, SnapshotRecord, record_to_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOLDING_ACTIONS = ("rollback", "hold")  # after these moves a collection stays as it is, until a person's word ends that


def event_from_row(row: Any) -> PointerEvent:
    """Read one move."""
    return PointerEvent(
        number=row.number,
        collection=row.collection,
        at=row.at,
        action=row.action,
        run=row.run,
        state=json.loads(row.state),
    )


def read_pointers(connection: sa.Connection, collection: str) -> dict[str, str]:
    """Return which snapshots are shown, by table."""
    query = sa.select(pointers).where(pointers.c.collection == collection).order_by(pointers.c.table_name)
    return {row.table_name: row.snapshot for row in connection.execute(query)}


def update_records(connection: sa.Connection, records: Iterable[SnapshotRecord]) -> None:
    """Write records anew."""
    for record in records:
        connection.execute(
            sa.update(snapshots).where(snapshots.c.id == record.id).values(record=record_to_row(record)["record"])
        )


def move_pointers(
    connection: sa.Connection, collection: str, state: Mapping[str, str], action: str, run_id: str | None
) -> int:
    """Show other snapshots of a collection."""
    conflict_query = sa.select(pointers).where(
        pointers.c.table_name.in_(list(state)), pointers.c.collection != collection
    )
    conflicting_pointer = connection.execute(conflict_query).first()
    if conflicting_pointer is not None:
        raise ConflictError(
            f"the table {conflicting_pointer.table_name} belongs to the collection {conflicting_pointer.collection}",
            remedy="give it another name",
        )
    since = format_current_time()
    connection.execute(sa.delete(pointers).where(pointers.c.collection == collection))
    for table, snapshot in sorted(state.items()):
        connection.execute(
            sa.insert(pointers).values(table_name=table, collection=collection, snapshot=snapshot, since=since)
        )
    return record_event(connection, collection, state, action, run_id=run_id, event_time=since)


def is_collection_held(connection: sa.Connection, collection: str) -> bool:
    """Check whether a collection stays as it is."""
    query = (
        sa.select(events.c.action).where(events.c.collection == collection).order_by(events.c.number.desc()).limit(1)
    )
    return connection.execute(query).scalar() in HOLDING_ACTIONS


def record_event(
    connection: sa.Connection,
    collection: str,
    state: Mapping[str, str],
    action: str,
    *,
    run_id: str | None,
    event_time: str | None = None,
) -> int:
    """Write down what was done to a collection; who looks for changes sees it by the new version."""
    values = {
        "collection": collection,
        "at": event_time or format_current_time(),
        "action": action,
        "run": run_id,
        "state": json.dumps(dict(sorted(state.items()))),
    }
    connection.execute(sa.insert(events).values(**values))
    return increment_version(connection)


def has_all_snapshots(connection: sa.Connection, state: Mapping[str, str]) -> bool:
    """Check whether all snapshots of a state are there still."""
    ids = set(state.values())
    query = sa.select(sa.func.count()).select_from(snapshots).where(snapshots.c.id.in_(ids))
    return bool(connection.execute(query).scalar_one() == len(ids))


def find_rollback_state(
    connection: sa.Connection, collection: str, current_state: Mapping[str, str], wanted_id: str | None
) -> dict[str, str]:
    """Find the state to go back to: what one `publish` made of the collection."""
    query = (
        sa.select(events)
        .where(events.c.collection == collection, events.c.action == "publish")
        .order_by(events.c.number.desc())
    )
    states = [event_from_row(row) for row in connection.execute(query)]
    if not states:
        raise NotFoundError(f"nothing of {collection!r} was ever published")
    if wanted_id is None and not current_state:  # removed: what was shown last comes back, wherever it came from
        query = sa.select(events).where(events.c.collection == collection).order_by(events.c.number.desc())
        candidates = [event for event in map(event_from_row, connection.execute(query)) if event.state]
    elif wanted_id is None:
        current_index = next(
            (number for number, event in enumerate(states) if dict(event.state) == dict(current_state)), -1
        )
        candidates = states[current_index + 1 :]
    else:
        candidates = [event for event in states if event.run == wanted_id or wanted_id in event.state.values()][:1]
        if not candidates:
            raise NotFoundError(
                f"{collection} has no snapshot or run {wanted_id!r}", remedy=f"hven history {collection} lists them"
            )
    for event in candidates:
        if dict(event.state) != dict(current_state) and has_all_snapshots(connection, event.state):
            return dict(event.state)
    if wanted_id is not None and dict(candidates[0].state) == dict(current_state):
        return dict(current_state)
    if wanted_id is None:
        state_label = "no earlier state"
    else:
        state_label = f"{wanted_id}"
    raise NotFoundError(
        f"{collection}: {state_label} is kept"
        if wanted_id is None
        else f"{collection}: {state_label} is not kept any more",
        remedy=f"hven history {collection.partition('.')[0]} lists what is kept; keep_snapshots in hven.toml says how "
        f"many",
    )


def find_table_rollback_state(
    connection: sa.Connection, table: str, current_state: Mapping[str, str], wanted_id: str | None
) -> dict[str, str]:
    """Find the state in which one table goes back."""
    columns = (snapshots.c.id, snapshots.c.run)
    query = sa.select(*columns).where(snapshots.c.table_name == table).order_by(snapshots.c.number.desc())
    rows = list(connection.execute(query))
    if wanted_id is None:
        current_index = next(
            (row_number for row_number, row in enumerate(rows) if row.id == current_state[table]), len(rows)
        )
        snapshot_id = next((row.id for row in rows[current_index + 1 :]), None)
    else:
        snapshot_id = next((row.id for row in rows if wanted_id in {row.id, row.run}), None)
    if snapshot_id is None:
        raise NotFoundError(
            f"{table} has {'no earlier snapshot' if wanted_id is None else f'no snapshot {wanted_id!r}'} that is kept"
        )
    return {**current_state, table: snapshot_id}
