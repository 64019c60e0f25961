"""Verification: the files of snapshots are read again, to see that they are what was published; slowly in the background, or at once.

Who finds damage writes it down (`Store.verifications`): from then on no process serves those rows, and people are told.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hven.jobs import forks
from hven.jobs._sending import ways_of
from hven.model.errors import HvenError
from hven.site import Engines
from hven.site.store import Store, Verification, alert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.settings import Settings
    from hven.site.store import Record

log = logging.getLogger("hven.verify")

DAMAGED = "damaged"
PIECES = 0.25  # seconds of reading after which a slow verification rests


def records_of(store: Store) -> list[Record]:
    """List every snapshot that is kept, also of readers' own tables.

    Parameters
    ----------
    store
        Of the site.

    Returns
    -------
    records
        Those that are published first.
    """
    shown = set(store.pointers()[1].values())
    every = [*store.every(), *(record for record, _ in store.user_tables.all())]
    return sorted(every, key=lambda record: (record.id not in shown, record.table.qualified, record.id))


def due(settings: Settings, store: Store) -> tuple[list[Record], bool]:
    """Find the snapshots that are to be verified now.

    What was published since the last look comes first, then, every so many days, everything that is kept.

    Parameters
    ----------
    settings
        Of the site.
    store
        Of the site.

    Returns
    -------
    records
        In the order in which they are to be verified.
    urgent
        Somebody asked for it: do it at full speed.
    """
    known, asked = store.verifications.all(), store.verifications.asked()
    shown = {record.id: record for record in store.current()[1].values()}
    for collection in {
        record.collection for record in shown.values() if record.id in known and known[record.id].faults
    }:
        shown |= {record.id: record for record in store.snapshots(collection)}  # one of these is served instead
    shown |= {record.id: record for record, _ in store.user_tables.all()}
    current = [record for record in shown.values() if record.snapshot.checksum]
    urgent = [record for record in current if asked and (record.id not in known or known[record.id].at < asked)]
    if urgent:
        return urgent, True
    new = [record for record in current if record.id not in known]
    if new or not settings.health.verify_days:
        return new, False
    now = datetime.now(UTC)
    limit = now - timedelta(days=settings.health.verify_days)
    # later than now: the clock was ahead, nobody knows when
    seen = {name: datetime.fromisoformat(one.at) for name, one in known.items()}
    if all(limit < moment <= now for moment in seen.values()):
        return [], False
    old = [record for record in records_of(store) if record.id not in seen or not limit < seen[record.id] <= now]
    return [record for record in old if record.snapshot.checksum], False


def verified(
    settings: Settings,
    store: Store,
    engines: Engines,
    records: Iterable[Record],
    *,
    pace: Callable[[int], object] = lambda _: None,
    seen: Callable[[Verification], object] = lambda _: None,
) -> list[Verification]:
    """Verify snapshots, and write down of each what was found as soon as it is.

    Where one is damaged, the others of its collection are looked at before that is written down: what shares a damaged file with it is
    never served instead.

    Parameters
    ----------
    settings
        Of the site.
    store
        Of the site.
    engines
        Of the site.
    records
        The snapshots.
    pace
        Called with the number of bytes after each piece that was read.
    seen
        Called with what was found of each.

    Returns
    -------
    verifications
        One for each.
    """
    found: list[Verification] = []
    known: dict[Any, Any] = {}  # files that were read: snapshots share them
    told = set(store.verifications.damaged())
    for record in records:
        one = _verify(store, engines, record, pace, known)
        if one is None:
            continue
        together = [one]
        if one.faults:
            others = (
                _verify(store, engines, other, None, known)
                for other in store.snapshots(record.collection)
                if other.id != record.id
            )
            together += [more for more in others if more is not None and more.faults]
        store.verifications.note(
            together, _alerts(settings, store, [item for item in together if item.snapshot not in told])
        )
        told |= {item.snapshot for item in together if item.faults}
        for item in together:
            if item.faults:
                log.error("the snapshot %s of %s is damaged: %s", item.snapshot, item.table, item.why)
        found.append(one)
        seen(one)
    return found


def _verify(
    store: Store, engines: Engines, record: Record, pace: Callable[[int], object] | None, known: dict[Any, Any]
) -> Verification | None:
    """Verify one; None: its engine has nothing to verify, or it was removed meanwhile."""
    snapshot = record.snapshot
    done = engines.get(snapshot.engine).verify(snapshot, pace, known)
    if done is None or (done.faults and not store.keeps(snapshot)):
        return None
    return Verification(
        snapshot=record.id,
        table=record.table.qualified,
        collection=record.collection,
        bytes=done.bytes,
        faults=done.faults,
        unknown=len(done.unknown),
    )


def _alerts(settings: Settings, store: Store, found: Sequence[Verification]) -> list[Any]:
    """Alert people of published rows that are damaged, once."""
    shown = {record.id for record in store.current()[1].values()}
    text = "published rows of {0} are damaged ({1}): the last good snapshot is served, if there is one; `hven ingest {2}` makes them anew"
    return [
        alert(
            one.collection,
            DAMAGED,
            text.format(one.table, one.why, one.collection),
            ways_of(settings),
            time.time(),
            snapshot=one.snapshot,
        )
        for one in found
        if one.faults and one.snapshot in shown
    ]


class Pace:
    """Keeps a reader to so many bytes a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._since = time.monotonic()
        self._read = 0

    def __call__(self, count: int) -> None:
        """Rest, if more was read than may be."""
        self._read += count
        ahead = self._read / self._rate - (time.monotonic() - self._since)
        if ahead > PIECES:
            time.sleep(ahead)
        elif ahead < -PIECES:  # what was not used in time is not made up
            self._since, self._read = time.monotonic(), 0


def keep_verified(settings: Settings, parent: int) -> None:
    """Run as the process that verifies what is due, until nothing is.

    Parameters
    ----------
    settings
        Of the site.
    parent
        Id of the process whose end is ours too.
    """
    forks.called("hven-verify")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = Store(settings.var, settings.store)
    engines = Engines(settings, memory=64 * 1024**2)
    slow = Pace(settings.health.verify_rate)

    def pace(count: int) -> None:
        if os.getppid() != parent:
            os._exit(0)
        if not urgent:
            slow(count)

    try:
        os.nice(10)
        done: set[str] = set()
        while True:
            asked = store.verifications.asked()
            records, urgent = due(settings, store)
            records = [record for record in records if record.id not in done]
            if not records:
                return
            verified(settings, store, engines, _until_asked(store, records, asked, done), pace=pace)
    except HvenError as error:
        log.warning("what is published could not be verified: %s", error)
    finally:
        engines.close()
        store.close()


def _until_asked(store: Store, records: Sequence[Record], asked: str, done: set[str]) -> Iterator[Record]:
    """Yield one after the other, until something is urgent."""
    for record in records:
        if store.verifications.asked() != asked:
            return
        done.add(record.id)
        yield record


__all__ = ["DAMAGED", "Pace", "due", "keep_verified", "records_of", "verified"]
