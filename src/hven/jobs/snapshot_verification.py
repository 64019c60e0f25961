"""Verification: the files of snapshots are read again, to see that they are what was published.

Slowly in the background, or at once.

Who finds damage writes it down (`StateStore.verifications`): from then on no process serves those rows, and people are
told.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hven.jobs import child_processes
from hven.jobs._alert_delivery import list_channels
from hven.model.errors import HvenError
from hven.site import EngineRegistry
from hven.site.store import StateStore, Verification, create_alert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.settings import Settings
    from hven.site.store import SnapshotRecord

log = logging.getLogger("hven.verify")

DAMAGED_ALERT = "damaged"
READ_SLICE_SECONDS = 0.25  # seconds of reading after which a slow verification rests


def list_records_to_verify(store: StateStore) -> list[SnapshotRecord]:
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
    published_ids = set(store.read_pointers()[1].values())
    all_records = [*store.list_all_snapshots(), *(record for record, _ in store.user_tables.list_user_tables())]
    return sorted(
        all_records, key=lambda record: (record.id not in published_ids, record.table.qualified_name, record.id)
    )


def find_due_records(settings: Settings, store: StateStore) -> tuple[list[SnapshotRecord], bool]:
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
    verifications = store.verifications.list_verifications()
    request_time = store.verifications.find_request_time()
    records_by_id = {record.id: record for record in store.read_published_records()[1].values()}
    for collection in {
        record.collection
        for record in records_by_id.values()
        if record.id in verifications and verifications[record.id].faults
    }:
        records_by_id |= {
            record.id: record for record in store.list_snapshots(collection)
        }  # one of these is served instead
    records_by_id |= {record.id: record for record, _ in store.user_tables.list_user_tables()}
    current_records = [record for record in records_by_id.values() if record.snapshot.checksum]
    urgent_records = [
        record
        for record in current_records
        if request_time and (record.id not in verifications or verifications[record.id].at < request_time)
    ]
    if urgent_records:
        return urgent_records, True
    new_records = [record for record in current_records if record.id not in verifications]
    if new_records or not settings.health.verify_days:
        return new_records, False
    now = datetime.now(UTC)
    oldest_allowed = now - timedelta(days=settings.health.verify_days)
    # later than now: the clock was ahead, nobody knows when
    verification_times = {name: datetime.fromisoformat(verification.at) for name, verification in verifications.items()}
    if all(oldest_allowed < moment <= now for moment in verification_times.values()):
        return [], False
    old_records = [
        record
        for record in list_records_to_verify(store)
        if record.id not in verification_times or not oldest_allowed < verification_times[record.id] <= now
    ]
    return [record for record in old_records if record.snapshot.checksum], False


def verify_snapshots(
    settings: Settings,
    store: StateStore,
    engines: EngineRegistry,
    records: Iterable[SnapshotRecord],
    *,
    limit_rate: Callable[[int], object] = lambda _: None,
    on_verified: Callable[[Verification], object] = lambda _: None,
) -> list[Verification]:
    """Verify snapshots, and write down of each what was found as soon as it is.

    Where one is damaged, the others of its collection are looked at before that is written down: what shares a damaged
    file with it is never served instead.

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
    limit_rate
        Called with the number of bytes after each piece that was read.
    on_verified
        Called with what was found of each.

    Returns
    -------
    verifications
        One for each.
    """
    results: list[Verification] = []
    read_files: dict[Any, Any] = {}  # files that were read: snapshots share them
    alerted_snapshots = set(store.verifications.list_damaged())
    for record in records:
        verification = _verify_snapshot(store, engines, record, limit_rate, read_files)
        if verification is None:
            continue
        related_verifications = [verification]
        if verification.faults:
            other_verifications = (
                _verify_snapshot(store, engines, other_record, None, read_files)
                for other_record in store.list_snapshots(record.collection)
                if other_record.id != record.id
            )
            related_verifications += [
                other_verification
                for other_verification in other_verifications
                if other_verification is not None and other_verification.faults
            ]
        store.verifications.record_verifications(
            related_verifications,
            _build_alerts(
                settings, store, [item for item in related_verifications if item.snapshot not in alerted_snapshots]
            ),
        )
        alerted_snapshots |= {item.snapshot for item in related_verifications if item.faults}
        for item in related_verifications:
            if item.faults:
                log.error("the snapshot %s of %s is damaged: %s", item.snapshot, item.table, item.damage_text)
        results.append(verification)
        on_verified(verification)
    return results


def _verify_snapshot(
    store: StateStore,
    engines: EngineRegistry,
    record: SnapshotRecord,
    limit_rate: Callable[[int], object] | None,
    read_files: dict[Any, Any],
) -> Verification | None:
    """Verify one; None: its engine has nothing to verify, or it was removed meanwhile."""
    snapshot = record.snapshot
    engine = engines.get_engine(snapshot.engine)
    file_report = engine.verify_snapshot(snapshot, limit_rate, read_files)
    if file_report is None or (file_report.faults and not store.is_snapshot_kept(snapshot)):
        return None
    return Verification(
        snapshot=record.id,
        table=record.table.qualified_name,
        collection=record.collection,
        bytes=file_report.bytes,
        faults=file_report.faults,
        unknown=len(file_report.unknown),
    )


def _build_alerts(settings: Settings, store: StateStore, verifications: Sequence[Verification]) -> list[Any]:
    """Alert people of published rows that are damaged, once."""
    published_ids = {record.id for record in store.read_published_records()[1].values()}
    text = (
        "published rows of {0} are damaged ({1}): the last good snapshot is served, if there is one; `hven ingest "
        "{2}` makes them anew"
    )
    return [
        create_alert(
            verification.collection,
            DAMAGED_ALERT,
            text.format(verification.table, verification.damage_text, verification.collection),
            list_channels(settings),
            time.time(),
            snapshot=verification.snapshot,
        )
        for verification in verifications
        if verification.faults and verification.snapshot in published_ids
    ]


class ReadRateLimiter:
    """Keeps a reader to so many bytes a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._start_time = time.monotonic()
        self._read_bytes = 0

    def __call__(self, count: int) -> None:
        """Rest, if more was read than may be."""
        self._read_bytes += count
        seconds_ahead = self._read_bytes / self._rate - (time.monotonic() - self._start_time)
        if seconds_ahead > READ_SLICE_SECONDS:
            time.sleep(seconds_ahead)
        elif seconds_ahead < -READ_SLICE_SECONDS:  # what was not used in time is not made up
            self._start_time = time.monotonic()
            self._read_bytes = 0


def run_verification(settings: Settings, parent_pid: int) -> None:
    """Run as the process that verifies what is due, until nothing is.

    Parameters
    ----------
    settings
        Of the site.
    parent_pid
        Id of the process whose end is ours too.
    """
    child_processes.set_process_name("hven-verify")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = StateStore(settings.var_directory, settings.store)
    engines = EngineRegistry(settings, memory_bytes=64 * 1024**2)
    rate_limiter = ReadRateLimiter(settings.health.verify_rate)

    def limit_rate(count: int) -> None:
        if os.getppid() != parent_pid:
            os._exit(0)
        if not urgent:
            rate_limiter(count)

    try:
        os.nice(10)
        verified_ids: set[str] = set()
        while True:
            request_time = store.verifications.find_request_time()
            records, urgent = find_due_records(settings, store)
            records = [record for record in records if record.id not in verified_ids]
            if not records:
                return
            verify_snapshots(
                settings,
                store,
                engines,
                _iterate_until_asked(store, records, request_time, verified_ids),
                limit_rate=limit_rate,
            )
    except HvenError as error:
        log.warning("what is published could not be verified: %s", error)
    finally:
        engines.close_engines()
        store.close()


def _iterate_until_asked(
    store: StateStore, records: Sequence[SnapshotRecord], request_time: str, verified_ids: set[str]
) -> Iterator[SnapshotRecord]:
    """Yield one after the other, until something is urgent."""
    for record in records:
        if store.verifications.find_request_time() != request_time:
            return
        verified_ids.add(record.id)
        yield record


__all__ = [
    "DAMAGED_ALERT",
    "ReadRateLimiter",
    "find_due_records",
    "list_records_to_verify",
    "run_verification",
    "verify_snapshots",
]
