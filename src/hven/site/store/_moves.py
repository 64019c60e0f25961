"""Moves of a collection's pointers: which snapshots are shown, what was shown before, and the events that tell of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import Conflict, NotFound
from hven.site.store._database import events, now, pointers, snapshots, turn
from hven.site.store._snapshots import Event, Record, to_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HOLDING = ("rollback", "hold")  # after these moves a collection stays as it is, until a person's word ends that


def event_of(row: Any) -> Event:
    """Read one move."""
    return Event(
        number=row.number,
        collection=row.collection,
        at=row.at,
        action=row.action,
        run=row.run,
        state=json.loads(row.state),
    )


def state_of(connection: sa.Connection, collection: str) -> dict[str, str]:
    """Return which snapshots are shown, by table."""
    query = sa.select(pointers).where(pointers.c.collection == collection).order_by(pointers.c.table_name)
    return {row.table_name: row.snapshot for row in connection.execute(query)}


def amend(connection: sa.Connection, records: Iterable[Record]) -> None:
    """Write records anew."""
    for record in records:
        connection.execute(
            sa.update(snapshots).where(snapshots.c.id == record.id).values(record=to_row(record)["record"])
        )


def move(connection: sa.Connection, collection: str, state: Mapping[str, str], action: str, run: str | None) -> int:
    """Show other snapshots of a collection."""
    others = sa.select(pointers).where(pointers.c.table_name.in_(list(state)), pointers.c.collection != collection)
    taken = connection.execute(others).first()
    if taken is not None:
        raise Conflict(
            f"the table {taken.table_name} belongs to the collection {taken.collection}", remedy="give it another name"
        )
    since = now()
    connection.execute(sa.delete(pointers).where(pointers.c.collection == collection))
    for table, snapshot in sorted(state.items()):
        connection.execute(
            sa.insert(pointers).values(table_name=table, collection=collection, snapshot=snapshot, since=since)
        )
    return note(connection, collection, state, action, run, since)


def held(connection: sa.Connection, collection: str) -> bool:
    """Check whether a collection stays as it is."""
    query = (
        sa.select(events.c.action).where(events.c.collection == collection).order_by(events.c.number.desc()).limit(1)
    )
    return connection.execute(query).scalar() in HOLDING


def note(
    connection: sa.Connection,
    collection: str,
    state: Mapping[str, str],
    action: str,
    run: str | None,
    at: str | None = None,
) -> int:
    """Write down what was done to a collection; who looks for changes sees it by the new version."""
    values = {
        "collection": collection,
        "at": at or now(),
        "action": action,
        "run": run,
        "state": json.dumps(dict(sorted(state.items()))),
    }
    connection.execute(sa.insert(events).values(**values))
    return turn(connection)


def kept(connection: sa.Connection, state: Mapping[str, str]) -> bool:
    """Check whether all snapshots of a state are there still."""
    ids = set(state.values())
    query = sa.select(sa.func.count()).select_from(snapshots).where(snapshots.c.id.in_(ids))
    return bool(connection.execute(query).scalar_one() == len(ids))


def earlier(
    connection: sa.Connection, collection: str, present: Mapping[str, str], wanted: str | None
) -> dict[str, str]:
    """Find the state to go back to: what one `publish` made of the collection."""
    query = (
        sa.select(events)
        .where(events.c.collection == collection, events.c.action == "publish")
        .order_by(events.c.number.desc())
    )
    states = [event_of(row) for row in connection.execute(query)]
    if not states:
        raise NotFound(f"nothing of {collection!r} was ever published")
    if wanted is None and not present:  # removed: what was shown last comes back, wherever it came from
        query = sa.select(events).where(events.c.collection == collection).order_by(events.c.number.desc())
        candidates = [event for event in map(event_of, connection.execute(query)) if event.state]
    elif wanted is None:
        shown = next((number for number, event in enumerate(states) if dict(event.state) == dict(present)), -1)
        candidates = states[shown + 1 :]
    else:
        candidates = [event for event in states if event.run == wanted or wanted in event.state.values()][:1]
        if not candidates:
            raise NotFound(
                f"{collection} has no snapshot or run {wanted!r}", remedy=f"hven history {collection} lists them"
            )
    for event in candidates:
        if dict(event.state) != dict(present) and kept(connection, event.state):
            return dict(event.state)
    if wanted is not None and dict(candidates[0].state) == dict(present):
        return dict(present)
    what = "no earlier state" if wanted is None else f"{wanted}"
    raise NotFound(
        f"{collection}: {what} is kept" if wanted is None else f"{collection}: {what} is not kept any more",
        remedy=f"hven history {collection.partition('.')[0]} lists what is kept; keep_snapshots in hven.toml says how many",
    )


def earlier_table(
    connection: sa.Connection, table: str, present: Mapping[str, str], wanted: str | None
) -> dict[str, str]:
    """Find the state in which one table goes back."""
    columns = (snapshots.c.id, snapshots.c.run)
    query = sa.select(*columns).where(snapshots.c.table_name == table).order_by(snapshots.c.number.desc())
    rows = list(connection.execute(query))
    if wanted is None:
        shown = next((at for at, row in enumerate(rows) if row.id == present[table]), len(rows))
        found = next((row.id for row in rows[shown + 1 :]), None)
    else:
        found = next((row.id for row in rows if wanted in {row.id, row.run}), None)
    if found is None:
        raise NotFound(
            f"{table} has {'no earlier snapshot' if wanted is None else f'no snapshot {wanted!r}'} that is kept"
        )
    return {**present, table: found}
