"""What is served where published rows are damaged: the newest publication of their collection whose snapshots are all well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.site.store import Event, Record, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A published snapshot that is damaged.

    Attributes
    ----------
    why
        Which file, and what is wrong with it: for the owner.
    served
        Id of the snapshot that is served instead; None: there is none, and the table's rows cannot be had.
    """

    table: str
    collection: str
    snapshot: str
    why: str
    served: str | None = None

    @property
    def told(self) -> str:
        """Phrase it for the owner, with the remedy."""
        remedy = f"`hven ingest {self.collection}` or `hven sync {self.collection}` makes them anew"
        if self.served is None:
            return f"the rows of {self.table} cannot be read: {self.why}; {remedy}"
        return (
            f"the rows of {self.table} are damaged: {self.why}; the snapshot {self.served} is served instead; {remedy}"
        )


def standing(
    store: Store, records: Mapping[str, Record], why: Callable[[Record], str | None]
) -> tuple[dict[str, Record], tuple[Damage, ...]]:
    """Return the records that are to be served.

    What was published together goes back together, and the collections that the same run published go back to what they were until then. A
    table that was not there then stays as it is.

    Parameters
    ----------
    records
        What is published, by table.
    why
        Says what is wrong with a snapshot, None: nothing is.
    """
    bad = {name: text for name, record in records.items() if (text := why(record)) is not None}
    found = dict(records)
    for collection in sorted({records[name].collection for name in bad}):
        if any(why(record) is not None for record in found.values() if record.collection == collection):
            found |= _earlier(store, collection, records, why)
    damages = []
    for name, text in bad.items():
        served = found[name].id if why(found[name]) is None else None
        damages.append(
            Damage(table=name, collection=records[name].collection, snapshot=records[name].id, why=text, served=served)
        )
    return found, tuple(damages)


def _earlier(
    store: Store, collection: str, records: Mapping[str, Record], why: Callable[[Record], str | None]
) -> dict[str, Record]:
    """Find the newest state that is well, of a collection and of those that were published with it."""
    events = store.history(collection)
    runs = {event.run for event in events[:1] if event.run is not None}
    others = sorted({record.collection for record in records.values() if record.run in runs} - {collection})
    past = {name: (store.history(name), {record.id: record for record in store.snapshots(name)}) for name in others}
    kept = {record.id: record for record in store.snapshots(collection)}
    newer: list[Event] = []
    for event in events:
        states = [_state(event, kept, records, why)]
        for theirs, records_of in past.values():
            with_it = next(
                (
                    one
                    for one in theirs
                    if all(one.number < other.number and one.run not in {other.run} - {None} for other in newer)
                ),
                None,
            )
            states.append({} if with_it is None else _state(with_it, records_of, records, why))
        if states[0] and all(state is not None for state in states):
            return {name: record for state in states if state is not None for name, record in state.items()}
        newer.append(event)
    return {}


def _state(
    event: Event, kept: Mapping[str, Record], records: Mapping[str, Record], why: Callable[[Record], str | None]
) -> dict[str, Record] | None:
    """Return what an event published, of the tables that are published still; None if some of it is damaged or not kept."""
    found = {}
    for table, ident in event.state.items():
        if table in records:
            record = kept.get(ident)
            if record is None or why(record) is not None:
                return None
            found[table] = record
    return found


__all__ = ["Damage", "standing"]
