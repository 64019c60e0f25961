"""What is served where published rows are damaged.

The newest publication of their collection whose snapshots are all well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.site.store import PointerEvent, SnapshotRecord, StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedSnapshot:
    """A published snapshot that is damaged.

    Attributes
    ----------
    reason
        Which file, and what is wrong with it: for the owner.
    served_snapshot
        Id of the snapshot that is served instead; None: there is none, and the table's rows cannot be had.
    """

    table: str
    collection: str
    snapshot: str
    reason: str
    served_snapshot: str | None = None

    @property
    def owner_message(self) -> str:
        """Phrase it for the owner, with the remedy."""
        remedy = f"`hven ingest {self.collection}` or `hven sync {self.collection}` makes them anew"
        if self.served_snapshot is None:
            return f"the rows of {self.table} cannot be read: {self.reason}; {remedy}"
        return (
            f"the rows of {self.table} are damaged: {self.reason}; the snapshot {self.served_snapshot} is served "
            f"instead; {remedy}"
        )


def select_served_records(
    store: StateStore, records: Mapping[str, SnapshotRecord], find_damage: Callable[[SnapshotRecord], str | None]
) -> tuple[dict[str, SnapshotRecord], tuple[DamagedSnapshot, ...]]:
    """Return the records that are to be served.

    What was published together goes back together, and the collections that the same run published go back to what they
    were until then. A table that was not there then stays as it is.

    Parameters
    ----------
    records
        What is published, by table.
    find_damage
        Says what is wrong with a snapshot, None: nothing is.
    """
    damage_by_table = {name: text for name, record in records.items() if (text := find_damage(record)) is not None}
    served_records = dict(records)
    for collection in sorted({records[name].collection for name in damage_by_table}):
        if any(
            find_damage(record) is not None for record in served_records.values() if record.collection == collection
        ):
            served_records |= _find_undamaged_state(store, collection, records, find_damage)
    damages = []
    for name, text in damage_by_table.items():
        if find_damage(served_records[name]) is None:
            served = served_records[name].id
        else:
            served = None
        damages.append(
            DamagedSnapshot(
                table=name,
                collection=records[name].collection,
                snapshot=records[name].id,
                reason=text,
                served_snapshot=served,
            )
        )
    return served_records, tuple(damages)


def _find_undamaged_state(
    store: StateStore,
    collection: str,
    records: Mapping[str, SnapshotRecord],
    find_damage: Callable[[SnapshotRecord], str | None],
) -> dict[str, SnapshotRecord]:
    """Find the newest state that is well, of a collection and of those that were published with it."""
    events = store.list_events(collection)
    runs = {event.run for event in events[:1] if event.run is not None}
    companion_collections = sorted(
        {record.collection for record in records.values() if record.run in runs} - {collection}
    )
    companion_histories = {
        name: (store.list_events(name), {record.id: record for record in store.list_snapshots(name)})
        for name in companion_collections
    }
    stored_records = {record.id: record for record in store.list_snapshots(collection)}
    newer_events: list[PointerEvent] = []
    for event in events:
        states = [_restore_event_state(event, stored_records, records, find_damage)]
        for companion_events, records_of in companion_histories.values():
            companion_event = next(
                (
                    companion
                    for companion in companion_events
                    if all(
                        companion.number < newer_event.number and companion.run not in {newer_event.run} - {None}
                        for newer_event in newer_events
                    )
                ),
                None,
            )
            states.append(
                {}
                if companion_event is None
                else _restore_event_state(companion_event, records_of, records, find_damage)
            )
        if states[0] and all(state is not None for state in states):
            return {name: record for state in states if state is not None for name, record in state.items()}
        newer_events.append(event)
    return {}


def _restore_event_state(
    event: PointerEvent,
    stored_records: Mapping[str, SnapshotRecord],
    records: Mapping[str, SnapshotRecord],
    find_damage: Callable[[SnapshotRecord], str | None],
) -> dict[str, SnapshotRecord] | None:
    """Return what an event published, of the tables that are published still.

    None if some of it is damaged or not kept.
    """
    state_records = {}
    for table, ident in event.state.items():
        if table in records:
            record = stored_records.get(ident)
            if record is None or find_damage(record) is not None:
                return None
            state_records[table] = record
    return state_records


__all__ = ["DamagedSnapshot", "select_served_records"]
