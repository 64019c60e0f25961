"""What is served in place of damaged rows: the newest publication of their collection without damaged snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.site.store import PublicationEvent, SnapshotRecord, StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedSnapshot:
    """A published snapshot that is damaged.

    Attributes
    ----------
    reason
        Which file is damaged, and what is wrong with it; for the owner.
    served_snapshot
        Id of the snapshot that is served instead; None: there is none, and the table's rows cannot be read.
    """

    table: str
    collection: str
    snapshot: str
    reason: str
    served_snapshot: str | None = None

    @property
    def owner_message(self) -> str:
        """The message to the owner, with the remedy."""
        remedy = f"to restore the rows, run `hven ingest {self.collection}` or `hven sync {self.collection}`"
        if self.served_snapshot is None:
            return f"the rows of {self.table} cannot be read: {self.reason}; {remedy}"
        return (
            f"the rows of {self.table} are damaged: {self.reason}; the snapshot {self.served_snapshot} is served "
            f"instead; {remedy}"
        )


def select_served_records(
    store: StateStore, records: Mapping[str, SnapshotRecord], find_damage: Callable[[SnapshotRecord], str | None]
) -> tuple[dict[str, SnapshotRecord], tuple[DamagedSnapshot, ...]]:
    """Return the records that are served, and the damaged snapshots.

    What was published together goes back together, and the collections that the same run published go back to what they
    were until then. A table that was not there then stays as it is.

    Parameters
    ----------
    records
        What is published, by table.
    find_damage
        Returns what is wrong with a snapshot; None: nothing is.
    """
    damage_by_table: dict[str, str] = {}
    for name, record in records.items():
        damage = find_damage(record)
        if damage is not None:
            damage_by_table[name] = damage
    served_records = dict(records)
    for collection in sorted({records[name].collection for name in damage_by_table}):
        collection_records = [record for record in served_records.values() if record.collection == collection]
        if any(find_damage(record) is not None for record in collection_records):
            served_records |= _find_newest_undamaged_records(store, collection, records, find_damage)
    damages = []
    for name, damage in damage_by_table.items():
        served_snapshot = None
        if find_damage(served_records[name]) is None:
            served_snapshot = served_records[name].id
        record = records[name]
        damaged_snapshot = DamagedSnapshot(
            table=name,
            collection=record.collection,
            snapshot=record.id,
            reason=damage,
            served_snapshot=served_snapshot,
        )
        damages.append(damaged_snapshot)
    return served_records, tuple(damages)


def _find_newest_undamaged_records(
    store: StateStore,
    collection: str,
    records: Mapping[str, SnapshotRecord],
    find_damage: Callable[[SnapshotRecord], str | None],
) -> dict[str, SnapshotRecord]:
    """Find the newest undamaged state of a collection and of those that were published with it."""
    events = store.list_publication_events(collection)
    last_runs = {event.run for event in events[:1] if event.run is not None}
    companion_collections = {record.collection for record in records.values() if record.run in last_runs}
    companion_collections.discard(collection)
    companion_histories = []
    for name in sorted(companion_collections):
        records_by_id = {record.id: record for record in store.list_snapshots(name)}
        companion_histories.append((store.list_publication_events(name), records_by_id))
    stored_records = {record.id: record for record in store.list_snapshots(collection)}
    newer_events: list[PublicationEvent] = []
    for event in events:
        states = [_find_records_of_event(event, stored_records, records, find_damage)]
        for companion_events, records_by_id in companion_histories:
            companion_event = _find_last_companion_event_before(companion_events, newer_events)
            if companion_event is None:
                states.append({})
            else:
                states.append(_find_records_of_event(companion_event, records_by_id, records, find_damage))
        undamaged_states = [state for state in states if state is not None]
        if states[0] and len(undamaged_states) == len(states):
            combined_state: dict[str, SnapshotRecord] = {}
            for state in undamaged_states:
                combined_state |= state
            return combined_state
        newer_events.append(event)
    return {}


def _find_last_companion_event_before(
    companion_events: Sequence[PublicationEvent], newer_events: Sequence[PublicationEvent]
) -> PublicationEvent | None:
    """Find the last event of a companion before all of some newer events, and of none of their runs."""
    newer_runs = {newer_event.run for newer_event in newer_events} - {None}
    for event in companion_events:
        is_earlier = all(event.number < newer_event.number for newer_event in newer_events)
        if is_earlier and event.run not in newer_runs:
            return event
    return None


def _find_records_of_event(
    event: PublicationEvent,
    stored_records: Mapping[str, SnapshotRecord],
    records: Mapping[str, SnapshotRecord],
    find_damage: Callable[[SnapshotRecord], str | None],
) -> dict[str, SnapshotRecord] | None:
    """Return the records that an event published, of the tables that are still published.

    Return None if one of them is damaged or not kept.
    """
    state_records = {}
    for table, snapshot_id in event.state.items():
        if table in records:
            record = stored_records.get(snapshot_id)
            if record is None or find_damage(record) is not None:
                return None
            state_records[table] = record
    return state_records
