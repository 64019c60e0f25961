"""The status of a site: whether it can answer, how fresh each collection is, and what runs.

The health page, the metrics and ``hven status`` show it.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.engines import LiveRelation, Snapshot
from hven.ingest.api.runs import find_stale_table_warnings
from hven.ingest.watermarks import watermark_from_json
from hven.jobs import type_catalogue
from hven.jobs._redaction import SecretRedactor
from hven.jobs.schedule_planning import build_recurrence, compute_stale_time, format_unix_timestamp
from hven.model import RetryBackoffLog
from hven.model.errors import HvenError
from hven.site import HINDERED_MESSAGE
from hven.site.api.events import load_event_services
from hven.site.store.ingest_runs import ABORTED_PHASE, ERROR_PHASE, RUNNING_PHASE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CollectionSpec, Recurrence
    from hven.site import PublishedState, PublishedTable, Site
    from hven.site.store import CollectionAlert, IngestRun, Lease, SyncScheduleRecord

FRESH_STATE, STALE_STATE, FAILING_STATE, HELD_STATE, PAUSED_STATE, UNSCHEDULED_STATE = (
    "fresh",
    "stale",
    "failing",
    "held",
    "paused",
    "unscheduled",
)
STATUS_LIFETIME_SECONDS = 1.0  # a status may be used again this long, because many clients ask for it
STATUS_WAIT_SECONDS = 0.7  # a client waits this long for a status; probes give up after a second
MAX_STATUS_AGE_SECONDS = 10.0  # an older status is returned with a warning
REDACTOR_LIFETIME_SECONDS = 30.0  # after this time the secrets are read again
CLOCK_CHECK_INTERVAL_SECONDS = 10.0  # between two checks of the clock; the supervisor notices a leap within twenty
LOW_DISK_SHARE = 0.05  # of free space; below it the disk is nearly full
LOW_DISK_BYTES = 20 * 1024**3  # .. unless more than this is free
MIN_FREE_DISK_BYTES = 64 * 1024**2  # below it the disk is full
log = logging.getLogger("hven.health")
MAX_FAILURES_SHOWN = 5
MAX_ALERTS_SHOWN = 10

# reasons for everybody, which name nothing private
STATE_REASONS = {
    STALE_STATE: "no run has succeeded since {succeeded} (schedule: {timing})",
    FAILING_STATE: "the last run failed; the published rows are unchanged",
    HELD_STATE: "stays as published; to continue, run `hven sync {collection}` or `hven schedule resume {collection}`",
    PAUSED_STATE: "paused; to continue, run `hven schedule resume {collection}`",
}
UNREADABLE_STATE_REASON = "the published state cannot be read"
UNREADABLE_ROWS_REASON = "published rows cannot be read"
DAMAGED_ROWS_REASON = "published rows are damaged; the last intact ones are served"
UNREACHABLE_ENGINE_REASON = "published rows cannot be read, because the database that holds them does not respond"
UNREACHABLE_DATABASE_REASON = "a database does not respond; tables that do not need it are served"
UNREACHABLE_CLUSTER_REASON = "a cluster does not respond; large queries are rejected; everything else is served"
UNREACHABLE_STORE_REASON = (
    "the database of the system state does not respond; Hven serves the last published state that it knows"
)
MISSING_DIRECTORY_REASON = "the data directory cannot be reached"
FULL_DISK_REASON = "the disk is full; results of jobs and new data cannot be stored"
LOW_DISK_REASON = "the disk is nearly full"
READ_ONLY_DISK_REASON = "the disk is read-only; published data are served, but no jobs start and nothing is published"
OUTDATED_SETTINGS_REASON = "hven.toml has changed since the server started; a restart is needed"
CLOCK_AHEAD_REASON = "the machine's clock has jumped ahead; for a day, Hven deletes no expired data"
INVALID_SETTINGS_REASON = "hven.toml has faults; the previous settings apply"
INVALID_DESCRIPTOR_REASON = "a descriptor has faults; its last valid version is used"
INVALID_JOB_TYPE_REASON = "the declaration of a job type has faults; its last valid version is used, if there is one"
COUNT_FAILURE_REASON = "some counts for the pages could not be computed; Hven will try again"
MISSING_DESCRIPTOR_REASON = "a descriptor has faults and no earlier valid version, so its collection has no page"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckResult:
    """The result of one check that queries can be answered.

    Attributes
    ----------
    name
        Name of the check.
    state
        ``ok``; ``warning``: queries are answered, with restrictions; ``failed``.
    message
        What is wrong, for the site's owner.
    reason
        What is wrong, for everybody: it names nothing private.
    """

    name: str
    state: str = "ok"
    message: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatus:
    """The status of a collection. Times are ISO texts in UTC, and durations are seconds.

    Attributes
    ----------
    collection
        Name of the collection.
    state
        ``fresh``, ``failing`` (the last run failed; the data are not old yet), ``stale``, ``held`` (by a rollback),
        ``paused``, ``unscheduled``.
    tables
        Table -> ``rows``, ``snapshot``, ``updated``.
    rows
        Number of rows of all its tables.
    snapshot
        The newest snapshot.
    started, ended
        Start and end of the last run.
    phase
        Phase in which the last run ended.
    message
        Message of the last run, for the site's owner.
    reason
        Why the collection has its state, and what changes it, for everybody; None if this is obvious.
    succeeded
        End of the last good run.
    modified
        Last known change of the source: its largest watermark.
    read
        Time at which everything was last read, of the table where this is longest ago. Edits that do not change the
        watermark are found then. None if each run finds them.
    lag
        Time since `succeeded`.
    timing
        Its schedule.
    next
        Time of the next run.
    limit
        Time at which it becomes stale without another good run.
    paused
        Time since which it is paused.
    held
        Time since which it is held.
    running
        Start of the sync or ingest that runs now.
    failures
        Number of failures in a row.
    behind
        Its tables whose inputs are newer.
    verified
        Time at which its files were last verified, of the table where this is longest ago.
    damaged
        Its tables whose published rows are damaged.
    descriptor
        The fault of its descriptor, and what is used instead.
    """

    collection: str
    state: str
    tables: Mapping[str, Mapping[str, Any]]
    rows: int | None
    snapshot: str | None
    started: str | None = None
    ended: str | None = None
    phase: str | None = None
    message: str | None = None
    reason: str | None = None
    succeeded: str | None = None
    modified: str | None = None
    read: str | None = None
    lag: float | None = None
    timing: str | None = None
    next: str | None = None
    limit: str | None = None
    paused: str | None = None
    held: str | None = None
    running: str | None = None
    failures: int = 0
    behind: tuple[str, ...] = ()
    verified: str | None = None
    damaged: tuple[str, ...] = ()
    descriptor: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the status as a JSON object, without empty values."""
        return {key: value for key, value in asdict(self).items() if value not in (None, ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """The complete status of a site at one time, for its owner. No text in it has a secret.

    Attributes
    ----------
    at
        The time.
    collections
        The status of each collection, by name.
    problems
        Problems of the site as a whole.
    alerts
        The last alerts, the newest first.
    scheduler
        The process that runs the schedules; None: there is none.
    trouble
        The reason why parts of the status are unknown; None: all is known.
    ahead
        A description of a leap of the clock.
    engines
        Name -> ``problem``, and the engine's counts of connections.
    """

    at: str
    collections: tuple[CollectionStatus, ...] = ()
    problems: tuple[str, ...] = ()
    alerts: tuple[CollectionAlert, ...] = ()
    scheduler: str | None = None
    trouble: str | None = None
    ahead: str | None = None
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def worst_state(self) -> str:
        """The worst state of any collection."""
        states = {collection.state for collection in self.collections}
        for state in (STALE_STATE, FAILING_STATE):
            if state in states:
                return state
        return FRESH_STATE


class SiteHealthMonitor:
    """Determine the status of a site, at most once a second and in another thread.

    If the store does not respond, no client waits for it. The class is thread-safe.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._refresh_thread: threading.Thread | None = None
        self._cached_status: tuple[float, SiteStatus] | None = None
        self._cached_redactor: tuple[float, SecretRedactor] | None = None
        self._cached_clock_leap: tuple[float, str | None] | None = None

    def get_status(self, *, wait_seconds: float | None = STATUS_WAIT_SECONDS) -> SiteStatus:
        """Return a status that is at most a second old; an older one if a new one takes long.

        Parameters
        ----------
        wait_seconds
            Time to wait for a new status; None: no limit.

        Returns
        -------
        status
            The status of all collections.
        """
        with self._lock:
            if self._cached_status is not None:
                build_time, status = self._cached_status
                if time.monotonic() - build_time < STATUS_LIFETIME_SECONDS:
                    return status
            if self._refresh_thread is None:
                self._refresh_thread = threading.Thread(target=self._refresh_status, name="health", daemon=True)
                self._refresh_thread.start()
            refresh_thread = self._refresh_thread
        refresh_thread.join(wait_seconds)
        with self._lock:
            cached_status = self._cached_status
        if cached_status is None:
            return _build_unknown_site_status("the system state has not responded yet")
        build_time, status = cached_status
        age = time.monotonic() - build_time
        if age < MAX_STATUS_AGE_SECONDS:
            return status
        return replace(status, trouble=f"the system state has not responded for {age:.0f} seconds")

    def _refresh_status(self) -> None:
        try:
            new_status = self._build_status()
        except Exception as error:
            log.exception("the site check failed")
            new_status = _build_unknown_site_status(f"the site check failed: {type(error).__name__}")
        with self._lock:
            self._cached_status = time.monotonic(), new_status
            self._refresh_thread = None

    def get_redactor(self) -> SecretRedactor:
        """Return the redactor of secrets, which is renewed from time to time."""
        if self._cached_redactor is not None:
            build_time, redactor = self._cached_redactor
            if time.monotonic() - build_time <= REDACTOR_LIFETIME_SECONDS:
                return redactor
        descriptor_files = self._site.list_descriptor_files()
        redactor = SecretRedactor(self._site.settings.directory, descriptor_files=descriptor_files)
        self._cached_redactor = (time.monotonic(), redactor)
        return redactor

    def _describe_clock_leap(self) -> str | None:
        """Describe a leap of the clock, as the last check found it."""
        if self._cached_clock_leap is not None:
            check_time, leap_text = self._cached_clock_leap
            if time.monotonic() - check_time <= CLOCK_CHECK_INTERVAL_SECONDS:
                return leap_text
        check_time = time.monotonic()
        leap_text = self._site.store.deletion_clock.describe_clock_leap()
        self._cached_clock_leap = check_time, leap_text
        return leap_text

    def _build_status(self) -> SiteStatus:
        site = self._site
        redactor = self.get_redactor()
        published_state = site.get_published_state()
        problems = tuple(redactor.redact_text(problem) for problem in published_state.problems)
        store_problem = clock_leap = scheduler = None
        alerts: Sequence[CollectionAlert] = []
        try:
            clock_leap = self._describe_clock_leap()
            facts = _read_collection_facts(site)
            alerts = site.store.schedules.list_alerts(MAX_ALERTS_SHOWN)
            for service in load_event_services():
                problems += tuple(map(redactor.redact_text, service.find_problems(site.settings, site.store)))
        except HvenError as error:  # published tables are served without the store
            store_problem = redactor.redact_text(str(error))
            facts = _StoredCollectionFacts(now=time.time())
            alerts = []
        tables_by_collection: dict[str, list[PublishedTable]] = {}
        for published_table in published_state.tables_by_name.values():
            if published_table.relation is None or published_table.release is not None:  # a view has no rows
                continue
            resource = published_table.resource
            if resource is None:
                collection = published_table.table.schema
            else:
                collection = resource.name
            tables_by_collection.setdefault(collection, []).append(published_table)
        collection_statuses = []
        for name, published_tables in sorted(tables_by_collection.items()):
            damaged_tables = tuple(damage.table for damage in published_state.damages if damage.collection == name)
            collection_status = _build_collection_status(
                name,
                published_tables,
                published_state.resources.get(name),
                facts,
                redactor=redactor,
                missed_runs_limit=site.settings.schedule.stale,
                damaged_tables=damaged_tables,
                descriptor_fault=published_state.descriptor_faults.get(name),
            )
            collection_statuses.append(collection_status)
        scheduler_lease = facts.leases.get("scheduler")
        if scheduler_lease is not None:
            scheduler = scheduler_lease.display_holder
        redacted_alerts = [
            replace(alert, message=redactor.redact_text(alert.message), ways=redactor.redact_data(dict(alert.ways)))
            for alert in alerts
        ]
        return SiteStatus(
            at=format_unix_timestamp(facts.now) or "",
            collections=tuple(collection_statuses),
            problems=problems,
            alerts=tuple(redacted_alerts),
            scheduler=scheduler,
            trouble=store_problem,
            ahead=clock_leap,
            engines=_build_engine_statuses(site, published_state, redactor),
        )

    def run_health_checks(self, status: SiteStatus | None = None) -> list[HealthCheckResult]:
        """Check whether queries can be answered.

        Parameters
        ----------
        status
            The present status, if the caller has it already.

        Returns
        -------
        checks
            One for each part of the service. If one has ``failed``, some queries cannot be answered; with a
            ``warning`` they can.
        """
        site = self._site
        redactor = self.get_redactor()
        try:
            published_state = site.get_published_state()
        except HvenError as error:
            message = redactor.redact_text(str(error))
            return [_build_check_result("holdings", "failed", message, UNREADABLE_STATE_REASON)]
        status = status or self.get_status()
        return [
            _check_damaged_snapshots(published_state, redactor),
            _check_engines(published_state, status),
            _build_check_result("store", status.trouble and "warning", status.trouble, UNREACHABLE_STORE_REASON),
            _build_check_result("clock", status.ahead and "warning", status.ahead, CLOCK_AHEAD_REASON),
            _check_disk_space(site),
            _check_unapplied_settings(site, redactor),
            self._check_descriptors(published_state),
            self._check_job_types(),
            self._check_failed_page_counts(),
        ]

    def _check_failed_page_counts(self) -> HealthCheckResult:
        """Report the counts for pages that failed in this process; a worker knows only its own failures."""
        failures = self._site.get_or_create(RetryBackoffLog).list_failures()
        failure_texts = [
            f"{failure.subject}: failed {failure.attempts} times: {failure.reason}"
            for failure in failures[:MAX_FAILURES_SHOWN]
        ]
        text = self.get_redactor().redact_text("; ".join(failure_texts))
        return _build_check_result("counts", "warning" if failures else None, text, COUNT_FAILURE_REASON)

    def _check_job_types(self) -> HealthCheckResult:
        """Report the declarations of job types with faults."""
        faults = list(type_catalogue.find_declaration_faults(self._site.settings))
        text = self.get_redactor().redact_text("; ".join(map(str, faults[:MAX_FAILURES_SHOWN])))
        return _build_check_result("job_types", "warning" if faults else None, text, INVALID_JOB_TYPE_REASON)

    def _check_descriptors(self, published_state: PublishedState) -> HealthCheckResult:
        """Report the descriptors with faults, by name."""
        faults = published_state.descriptor_faults
        redactor = self.get_redactor()
        fault_texts = [redactor.redact_text(f"{name}: {fault}") for name, fault in sorted(faults.items())]
        reason = INVALID_DESCRIPTOR_REASON
        if faults.keys() - published_state.resources.keys():
            reason = MISSING_DESCRIPTOR_REASON
        return _build_check_result("descriptors", "warning" if faults else None, "; ".join(fault_texts), reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredCollectionFacts:
    """What the store knows of all collections; each mapping is by collection, table, snapshot or lease."""

    now: float
    schedules: Mapping[str, SyncScheduleRecord] = field(default_factory=dict)
    runs: Mapping[str, tuple[IngestRun | None, IngestRun | None]] = field(default_factory=dict)
    watermarks: Mapping[str, str] = field(default_factory=dict)
    full_read_times: Mapping[str, str] = field(default_factory=dict)
    held_since: Mapping[str, str] = field(default_factory=dict)
    leases: Mapping[str, Lease] = field(default_factory=dict)
    stale_tables: Sequence[str] = ()
    verification_times: Mapping[str, str] = field(default_factory=dict)


def _read_collection_facts(site: Site) -> _StoredCollectionFacts:
    store = site.store
    now, schedules = store.schedules.list_schedules()
    watermarks: dict[str, str] = {}
    full_read_times: dict[str, str] = {}
    for table, (full_read_time, values) in store.syncs.map_watermarks().items():
        watermark = format_largest_watermark(values)
        if watermark:
            watermarks[table] = watermark
        if full_read_time:
            full_read_times[table] = full_read_time
    verifications = store.verifications.list_verifications().values()
    return _StoredCollectionFacts(
        now=now,
        schedules=schedules,
        runs=store.runs.find_latest_runs(),
        watermarks=watermarks,
        full_read_times=full_read_times,
        held_since=store.map_hold_start_times(),
        leases={lease.name: lease for lease in store.leases.list_leases()},
        stale_tables=find_stale_table_warnings(site.published_records),
        verification_times={record.snapshot: record.at for record in verifications if not record.faults},
    )


def _build_unknown_site_status(trouble: str) -> SiteStatus:
    return SiteStatus(at=format_unix_timestamp(time.time()) or "", trouble=trouble)


def _check_damaged_snapshots(published_state: PublishedState, redactor: SecretRedactor) -> HealthCheckResult:
    """Report the damaged snapshots; the check fails if no good snapshot is served instead of one."""
    damages = published_state.damages
    message = "; ".join(redactor.redact_text(damage.owner_message) for damage in damages)
    if any(damage.served_snapshot is None for damage in damages):
        return _build_check_result("holdings", "failed", message, UNREADABLE_ROWS_REASON)
    return _build_check_result("holdings", "warning" if message else None, message, DAMAGED_ROWS_REASON)


def _check_engines(published_state: PublishedState, status: SiteStatus) -> HealthCheckResult:
    """Report the problems of engines; the check fails if an engine with snapshots cannot be read.

    The rows of a database that is read in place belong to its owner, and the server still serves the others.
    """
    problems = {name: facts["problem"] for name, facts in status.engines.items() if facts.get("problem")}
    message = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    unreadable_engines = {name for name, problem in problems.items() if not problem.endswith(HINDERED_MESSAGE)}
    relations = [published_table.relation for published_table in published_state.tables_by_name.values()]
    snapshot_engines = {relation.engine for relation in relations if isinstance(relation, Snapshot)}
    if snapshot_engines & unreadable_engines:
        return _build_check_result("engines", "failed", message, UNREACHABLE_ENGINE_REASON)
    reason = UNREACHABLE_DATABASE_REASON if unreadable_engines else UNREACHABLE_CLUSTER_REASON
    return _build_check_result("engines", "warning" if problems else None, message, reason)


def _build_check_result(check_name: str, state: str | None, message: str | None, reason: str) -> HealthCheckResult:
    if state is None:
        return HealthCheckResult(name=check_name)
    return HealthCheckResult(name=check_name, state=state, message=message, reason=reason)


def _check_unapplied_settings(site: Site, redactor: SecretRedactor) -> HealthCheckResult:
    """Report the settings that a server does not use yet."""
    settings = site.reloadable_settings
    if settings.problem is not None:
        message = redactor.redact_text(settings.problem)
        return _build_check_result("settings", "warning", message, INVALID_SETTINGS_REASON)
    names = settings.pending_restart
    message = f"restart needed: {', '.join(names)} changed since the server started"
    return _build_check_result("settings", "warning" if names else None, message, OUTDATED_SETTINGS_REASON)


def find_worst_check_state(checks: Sequence[HealthCheckResult]) -> str:
    """Return the worst state of some checks.

    Parameters
    ----------
    checks
        The checks.
    """
    states = {check.state for check in checks}
    for state in ("failed", "warning"):
        if state in states:
            return state
    return "ok"


def _build_collection_status(
    collection: str,
    published_tables: Sequence[PublishedTable],
    resource: CollectionSpec | None,
    facts: _StoredCollectionFacts,
    *,
    redactor: SecretRedactor,
    missed_runs_limit: int,
    damaged_tables: tuple[str, ...],
    descriptor_fault: str | None,
) -> CollectionStatus:
    now = facts.now
    schedule = facts.schedules.get(collection)
    last_run, last_good_run = facts.runs.get(collection, (None, None))
    held_since = facts.held_since.get(collection)
    lease = facts.leases.get(f"ingest {collection}")
    names = [published_table.table.qualified_name for published_table in published_tables]
    outdated_tables = [warning for warning in facts.stale_tables if warning.partition(" ")[0] in names]
    recurrence: Recurrence | None = None
    if resource is not None:
        try:
            recurrence = build_recurrence(resource)
        except ValueError as error:
            outdated_tables.append(f"its schedule cannot be read: {error}")
    success_timestamp = _find_last_success_timestamp(published_tables, last_good_run)
    stale_time: float | None = None
    next_time: float | None = None
    if recurrence is not None and schedule is not None and held_since is None:
        stale_time = compute_stale_time(recurrence, schedule, success_timestamp, missed_runs_limit, now)
        if schedule.paused is None:
            next_time = schedule.due
    failures, message = _find_failure_count_and_message(schedule, last_run)
    if held_since is not None:
        state = HELD_STATE
    elif stale_time is not None and now > stale_time and lease is None:
        state = STALE_STATE
    else:
        state = _classify_collection_state(recurrence, schedule, failures)
    reason = STATE_REASONS.get(state, "").format(
        collection=collection, succeeded=format_unix_timestamp(success_timestamp), timing=recurrence
    )
    relations = [published_table.relation for published_table in published_tables]
    snapshot_ids = [relation.id for relation in relations if isinstance(relation, Snapshot)]
    row_count: int | None = None
    lag: float | None = None
    if not all(isinstance(relation, LiveRelation) for relation in relations):
        row_count = sum(published_table.rows or 0 for published_table in published_tables)
        if success_timestamp is not None:
            lag = round(max(now - success_timestamp, 0.0), 1)
    verification_times = [facts.verification_times.get(snapshot_id) for snapshot_id in snapshot_ids]
    watermarks = [facts.watermarks[name] for name in names if name in facts.watermarks]
    watermark_tables = list_watermark_tables(resource)
    full_read_times = [facts.full_read_times[name] for name in watermark_tables if name in facts.full_read_times]
    return CollectionStatus(
        collection=collection,
        state=state,
        tables={
            published_table.table.qualified_name: _table_status_to_json(published_table)
            for published_table in published_tables
        },
        rows=row_count,
        snapshot=max(snapshot_ids, default=None),
        **_run_to_json(last_run),
        message=_redact_optional_text(redactor, message),
        reason=reason or None,
        succeeded=format_unix_timestamp(success_timestamp),
        modified=max(watermarks, default=None),
        read=min(full_read_times, default=None),
        lag=lag,
        timing=None if recurrence is None else str(recurrence),
        next=format_unix_timestamp(next_time),
        limit=format_unix_timestamp(stale_time),
        paused=None if schedule is None else format_unix_timestamp(schedule.paused),
        held=None if held_since is None else f"{held_since[:19]}Z",
        running=None if lease is None else lease.since,
        failures=failures,
        behind=tuple(outdated_tables),
        verified=_find_earliest_time(verification_times),
        damaged=damaged_tables,
        descriptor=_redact_optional_text(redactor, descriptor_fault),
    )


def _classify_collection_state(
    recurrence: Recurrence | None, schedule: SyncScheduleRecord | None, failures: int
) -> str:
    """Return the state of a collection that is neither held nor stale."""
    if recurrence is not None and schedule is not None and schedule.paused is not None:
        return PAUSED_STATE
    if failures:
        return FAILING_STATE
    if recurrence is None or schedule is None:
        return UNSCHEDULED_STATE
    return FRESH_STATE


def _redact_optional_text(redactor: SecretRedactor, text: str | None) -> str | None:
    if text is None:
        return None
    return redactor.redact_text(text)


def _run_to_json(run: IngestRun | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {"started": run.started, "ended": run.ended, "phase": run.phase}


def _table_status_to_json(published_table: PublishedTable) -> dict[str, Any]:
    relation = published_table.relation
    snapshot_id = None
    if isinstance(relation, Snapshot):
        snapshot_id = relation.id
    return {"rows": published_table.rows, "snapshot": snapshot_id, "updated": published_table.updated}


def _find_earliest_time(times: Sequence[str | None]) -> str | None:
    """Return the earliest time; None if there is none, or one is unknown."""
    known_times = [known_time for known_time in times if known_time is not None]
    if len(known_times) < len(times):
        return None
    return min(known_times, default=None)


def _find_last_success_timestamp(
    published_tables: Sequence[PublishedTable], last_good_run: IngestRun | None
) -> float | None:
    """Return the time at which the rows of a collection were last known to be current.

    The time of a snapshot is the time at which its rows were read. A later run without changes found them current.
    """
    stamps = [published_table.updated for published_table in published_tables]
    if last_good_run is not None:
        stamps.append(last_good_run.ended or last_good_run.started)
    success_time = max((datetime.fromisoformat(stamp) for stamp in stamps if stamp), default=None)
    if success_time is None:
        return None
    return success_time.replace(tzinfo=success_time.tzinfo or UTC).timestamp()


def _find_failure_count_and_message(
    schedule: SyncScheduleRecord | None, last_run: IngestRun | None
) -> tuple[int, str | None]:
    """Return the number of failures in a row, and the message of the last run, scheduled or not."""
    scheduled_end = 0.0
    if schedule is not None:
        scheduled_end = schedule.ended or (math.inf if schedule.failures else 0.0)
    if last_run is not None and last_run.phase != RUNNING_PHASE:
        end_time = datetime.fromisoformat(last_run.ended or last_run.started)
        if end_time.timestamp() > scheduled_end:
            return int(last_run.phase in {ERROR_PHASE, ABORTED_PHASE}), last_run.message
    if schedule is not None and schedule.failures:
        return schedule.failures, schedule.message
    return 0, None if last_run is None else last_run.message


def list_watermark_tables(resource: CollectionSpec | None) -> list[str]:
    """List the tables of a collection whose sync reads only rows after a watermark.

    Such a sync does not see an edit that does not change the watermark.

    Parameters
    ----------
    resource
        The collection; None: its descriptor cannot be read.

    Returns
    -------
    names
        ``schema.table``.
    """
    specs = resource.tables if resource is not None else ()
    return [spec.table.qualified_name for spec in specs if spec.sync is not None and spec.sync.watermark is not None]


def format_largest_watermark(values: Sequence[Any]) -> str | None:
    """Format the largest watermark of a table: a time as ISO text, another value as it is.

    Parameters
    ----------
    values
        The watermarks of its sources, as the store keeps them.

    Returns
    -------
    text
        None: there is no watermark, or the watermarks of several sources cannot be compared.
    """
    comparable_values = []
    for value in values:
        watermark = watermark_from_json(value)
        if isinstance(watermark, datetime):
            watermark = watermark.replace(tzinfo=watermark.tzinfo or UTC)
        comparable_values.append(watermark)
    if not comparable_values or len({type(watermark) for watermark in comparable_values}) > 1:
        return None
    maximum = max(comparable_values)
    if isinstance(maximum, datetime):
        return maximum.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(maximum)


def _build_engine_statuses(
    site: Site, published_state: PublishedState, redactor: SecretRedactor
) -> dict[str, dict[str, Any]]:
    """Report on each engine that is open or needed, without opening one or sending a request."""
    engine_reports: dict[str, dict[str, Any]] = {}
    for name, engine in site.engines.map_open_engines().items():
        engine_reports[redactor.redact_text(name)] = {"problem": None, **engine.count_connections()}
    for text in published_state.problems:
        if text.startswith("engine "):
            name, _, problem = text.removeprefix("engine ").partition(": ")
            engine_report = engine_reports.setdefault(redactor.redact_text(name), {})
            engine_report["problem"] = redactor.redact_text(problem)
    return engine_reports


def _check_disk_space(site: Site) -> HealthCheckResult:
    directory = site.settings.data_directory
    try:
        usage = shutil.disk_usage(directory)
    except OSError as error:
        return _build_check_result(
            "disk", "failed", f"{MISSING_DIRECTORY_REASON}: {error.strerror}", MISSING_DIRECTORY_REASON
        )
    if not os.access(directory, os.W_OK):
        return HealthCheckResult(
            name="disk", state="warning", message=READ_ONLY_DISK_REASON, reason=READ_ONLY_DISK_REASON
        )
    if usage.free < MIN_FREE_DISK_BYTES:
        message = f"{usage.free / 1e6:.0f} MB of disk space is free, so results of jobs and new data cannot be stored"
        return _build_check_result("disk", "warning", message, FULL_DISK_REASON)
    if usage.free < LOW_DISK_SHARE * usage.total and usage.free < LOW_DISK_BYTES:
        message = f"{usage.free / 1e9:.1f} GB of disk space is free ({usage.free / usage.total:.0%})"
        return _build_check_result("disk", "warning", message, LOW_DISK_REASON)
    return HealthCheckResult(name="disk")
