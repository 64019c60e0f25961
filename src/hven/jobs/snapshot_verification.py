"""Verify the files of snapshots: read them again, and compare them with what was published.

This runs slowly in the background, or at full speed on request. Damage is recorded (`StateStore.verifications`); from
then on no process serves these rows, and an alert is sent.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hven.jobs import child_processes
from hven.jobs._alert_delivery import list_alert_channels
from hven.model import plugins
from hven.model.errors import HvenError
from hven.site import EngineRegistry
from hven.site.store import SnapshotVerification, StateStore, create_alert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.settings import Settings
    from hven.site.store import SnapshotRecord

log = logging.getLogger("hven.verify")

DAMAGED_ALERT = "damaged"
READ_SLICE_SECONDS = 0.25  # a verification in the background reads this long between two pauses


def list_all_snapshot_records(store: StateStore) -> list[SnapshotRecord]:
    """List all stored snapshots, including those of users' own tables.

    Parameters
    ----------
    store
        Store of the site.

    Returns
    -------
    records
        The snapshots, the published ones first.
    """
    published_ids = set(store.read_published_snapshot_ids()[1].values())
    user_records = [record for record, _ in store.user_tables.list_tables_with_expiry()]
    all_records = [*store.list_all_snapshots(), *user_records]
    return sorted(
        all_records, key=lambda record: (record.id not in published_ids, record.table.qualified_name, record.id)
    )


def find_snapshots_to_verify(settings: Settings, store: StateStore) -> tuple[list[SnapshotRecord], bool]:
    """Find the snapshots to verify now.

    New snapshots come first. Every few days (`health.verify_days`), all stored snapshots are verified again.

    Parameters
    ----------
    settings
        Settings of the site.
    store
        Store of the site.

    Returns
    -------
    records
        The snapshots, in the order of their verification.
    is_urgent
        True if somebody requested it, so that it runs at full speed.
    """
    verifications = store.verifications.list_verifications()
    request_time = store.verifications.find_verification_request_time()
    records_by_id = {record.id: record for record in store.read_published_records()[1].values()}
    damaged_collections = set()
    for record in records_by_id.values():
        if record.id in verifications and verifications[record.id].faults:
            damaged_collections.add(record.collection)
    for collection in damaged_collections:
        # another snapshot of the collection is served instead of the damaged one
        records_by_id |= {record.id: record for record in store.list_snapshots(collection)}
    records_by_id |= {record.id: record for record, _ in store.user_tables.list_tables_with_expiry()}
    current_records = [record for record in records_by_id.values() if record.snapshot.checksum]
    new_records = [record for record in current_records if record.id not in verifications]
    if request_time:
        verified_ids = {name for name, verification in verifications.items() if verification.at >= request_time}
        urgent_records = [record for record in current_records if record.id not in verified_ids]
        if urgent_records:
            return urgent_records, True
    if new_records or not settings.health.verify_days:
        return new_records, False
    now = datetime.now(UTC)
    oldest_allowed = now - timedelta(days=settings.health.verify_days)
    recent_ids = set()
    for snapshot_id, verification in verifications.items():
        # a time in the future comes from a clock that was ahead, so that the true time is unknown
        if oldest_allowed < datetime.fromisoformat(verification.at) <= now:
            recent_ids.add(snapshot_id)
    if len(recent_ids) == len(verifications):
        return [], False
    old_records = [record for record in list_all_snapshot_records(store) if record.id not in recent_ids]
    return [record for record in old_records if record.snapshot.checksum], False


def verify_snapshots_and_record_results(
    settings: Settings,
    store: StateStore,
    engines: EngineRegistry,
    records: Iterable[SnapshotRecord],
    *,
    limit_rate: Callable[[int], object] = lambda _: None,
    on_verified: Callable[[SnapshotVerification], object] = lambda _: None,
) -> list[SnapshotVerification]:
    """Verify snapshots, and record each result at once.

    If a snapshot is damaged, the other snapshots of its collection are verified before the damage is recorded. So a
    snapshot that shares a damaged file with it is never served instead.

    Parameters
    ----------
    settings
        Settings of the site.
    store
        Store of the site.
    engines
        Engines of the site.
    records
        The snapshots.
    limit_rate
        Called with the number of bytes after each piece that was read.
    on_verified
        Called with the result of each snapshot.

    Returns
    -------
    verifications
        One for each snapshot.
    """
    results: list[SnapshotVerification] = []
    read_files: dict[Any, Any] = {}  # results of files, which snapshots may share
    alerted_snapshots = set(store.verifications.map_verifications_of_damaged())
    for record in records:
        verification = _verify_snapshot(store, engines, record, limit_rate, read_files)
        if verification is None:
            continue
        related_verifications = [verification]
        if verification.faults:
            for other_record in store.list_snapshots(record.collection):
                if other_record.id == record.id:
                    continue
                other_verification = _verify_snapshot(store, engines, other_record, None, read_files)
                if other_verification is not None and other_verification.faults:
                    related_verifications.append(other_verification)
        damages = [related for related in related_verifications if related.faults]
        new_damages = [damage for damage in damages if damage.snapshot not in alerted_snapshots]
        alerts = _build_damage_alerts(settings, store, new_damages)
        store.verifications.record_verifications(related_verifications, alerts)
        for damage in damages:
            alerted_snapshots.add(damage.snapshot)
            log.error("the snapshot %s of %s is damaged: %s", damage.snapshot, damage.table, damage.damage_text)
        results.append(verification)
        on_verified(verification)
    return results


def _verify_snapshot(
    store: StateStore,
    engines: EngineRegistry,
    record: SnapshotRecord,
    limit_rate: Callable[[int], object] | None,
    read_files: dict[Any, Any],
) -> SnapshotVerification | None:
    """Verify one snapshot; None: its engine is absent or verifies nothing, or the snapshot was removed meanwhile."""
    snapshot = record.snapshot
    if snapshot.engine not in plugins.list_plugins("engines"):  # the site leaves out its package
        return None
    engine = engines.get_engine(snapshot.engine)
    file_report = engine.verify_snapshot(snapshot, limit_rate, read_files)
    if file_report is None or (file_report.faults and not store.is_snapshot_kept(snapshot)):
        return None
    return SnapshotVerification(
        snapshot=record.id,
        table=record.table.qualified_name,
        collection=record.collection,
        bytes=file_report.bytes,
        faults=file_report.faults,
        unknown=len(file_report.unknown),
    )


def _build_damage_alerts(settings: Settings, store: StateStore, damages: Sequence[SnapshotVerification]) -> list[Any]:
    """Build the alerts of damaged snapshots that are published."""
    published_ids = {record.id for record in store.read_published_records()[1].values()}
    alerts = []
    for damage in damages:
        if damage.snapshot not in published_ids:
            continue
        message = (
            f"published rows of {damage.table} are damaged ({damage.damage_text}); Hven serves the last intact "
            f"snapshot, if there is one; to restore the rows, run `hven ingest {damage.collection}`"
        )
        alert = create_alert(
            damage.collection,
            DAMAGED_ALERT,
            message,
            list_alert_channels(settings),
            time.time(),
            snapshot=damage.snapshot,
        )
        alerts.append(alert)
    return alerts


class ReadRateLimiter:
    """Limit a reader to a number of bytes a second.

    Parameters
    ----------
    bytes_per_second
        Bytes a second.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._start_time = time.monotonic()
        self._read_bytes = 0

    def __call__(self, byte_count: int) -> None:
        """Sleep if more bytes were read than the rate allows."""
        self._read_bytes += byte_count
        seconds_ahead = self._read_bytes / self._rate - (time.monotonic() - self._start_time)
        if seconds_ahead > READ_SLICE_SECONDS:
            time.sleep(seconds_ahead)
        elif seconds_ahead < -READ_SLICE_SECONDS:  # unused time does not allow a faster reading later
            self._start_time = time.monotonic()
            self._read_bytes = 0


def run_snapshot_verification(settings: Settings, parent_pid: int) -> None:
    """Verify all due snapshots, in a process of its own.

    Parameters
    ----------
    settings
        Settings of the site.
    parent_pid
        Id of the parent; this process ends when it ends.
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
            request_time = store.verifications.find_verification_request_time()
            records, urgent = find_snapshots_to_verify(settings, store)
            unverified_records = [record for record in records if record.id not in verified_ids]
            if not unverified_records:
                return
            requested_records = _iterate_until_new_request(store, unverified_records, request_time, verified_ids)
            verify_snapshots_and_record_results(settings, store, engines, requested_records, limit_rate=limit_rate)
    except HvenError as error:
        log.warning("the published snapshots could not be verified: %s", error)
    finally:
        engines.close_engines()
        store.close()


def _iterate_until_new_request(
    store: StateStore, records: Sequence[SnapshotRecord], request_time: str, verified_ids: set[str]
) -> Iterator[SnapshotRecord]:
    """Yield records until somebody requests a verification."""
    for record in records:
        if store.verifications.find_verification_request_time() != request_time:
            return
        verified_ids.add(record.id)
        yield record
