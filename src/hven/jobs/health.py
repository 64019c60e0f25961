"""How a site is: whether it can answer, how fresh each collection is, what runs.

For the health page, for metrics, for ``hven status``.
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
from hven.ingest import find_stale_tables
from hven.ingest.watermarks import unpack_watermark
from hven.jobs._redaction import SecretRedactor
from hven.jobs.schedule_planning import build_recurrence, compute_stale_time, format_timestamp
from hven.model import FailureLog
from hven.model.errors import HvenError
from hven.site import HINDERED_MESSAGE
from hven.site.store.ingest_runs import ABORTED_PHASE, ERROR_PHASE, RUNNING_PHASE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import Resource
    from hven.site import PublishedState, PublishedTable, Site
    from hven.site.store import Alert, IngestRun, SyncScheduleRecord

FRESH_STATE, STALE_STATE, FAILING_STATE, HELD_STATE, PAUSED_STATE, UNSCHEDULED_STATE = (
    "fresh",
    "stale",
    "failing",
    "held",
    "paused",
    "unscheduled",
)
STATUS_LIFETIME_SECONDS = 1.0  # seconds that a look is good for: watchers are many
STATUS_WAIT_SECONDS = 0.7  # seconds that a watcher waits for a look: probes give up after a second
MAX_STATUS_AGE_SECONDS = 10.0  # seconds after which an old look says nothing any more
REDACTOR_LIFETIME_SECONDS = 30.0  # seconds after which the secrets are read again
CLOCK_CHECK_INTERVAL_SECONDS = (
    10.0  # seconds between two looks for a clock that has leapt: the keeper notices one within twenty
)
LOW_DISK_SHARE, MIN_FREE_DISK_BYTES = (
    0.05,
    64 * 1024**2,
)  # share of the disk, and bytes, below which there is little room, or none
log = logging.getLogger("hven.health")
MAX_FAILURES_SHOWN = 5
MAX_ALERTS_SHOWN = 10  # alerts that are shown

# why, for everybody: nothing private is named
STATE_REASONS = {
    STALE_STATE: "no good run since {succeeded}, and it should be {timing}",
    FAILING_STATE: "the last run failed; what was published before stays",
    HELD_STATE: "rolled back: it stays so until `hven sync {collection}` or `hven schedule resume {collection}`",
    PAUSED_STATE: "paused: `hven schedule resume {collection}` lets it go on",
}
UNREADABLE_STATE_REASON = "what is published cannot be read"
UNREADABLE_ROWS_REASON = "rows that are published cannot be read"
DAMAGED_ROWS_REASON = "rows that are published are damaged: the last good ones are served"
UNREACHABLE_ENGINE_REASON = "rows that are published cannot be read: their engine does not answer"
UNREACHABLE_DATABASE_REASON = "a database does not answer; what is not in it is served"
UNREACHABLE_CLUSTER_REASON = "a cluster does not answer: large queries are refused, all else is served"
UNREACHABLE_STORE_REASON = "the system state does not answer: what is published is served as it was seen last"
MISSING_DIRECTORY_REASON = "the directory of the data cannot be seen"
FULL_DISK_REASON = "the disk is full: results of jobs cannot be kept, nor new data"
LOW_DISK_REASON = "the disk is nearly full"
READ_ONLY_DISK_REASON = "the disk can only be read: what is published is served, no job begins and nothing is published"
OUTDATED_SETTINGS_REASON = "hven.toml changed since the server began: restart needed"
CLOCK_AHEAD_REASON = (
    "the machine's clock is ahead of what this site has lived through: nothing is deleted by it for a day"
)
INVALID_SETTINGS_REASON = "hven.toml has faults: the settings of before are in force"
INVALID_DESCRIPTOR_REASON = "a descriptor has faults: the last good one is in force"
COUNT_FAILURE_REASON = "some counts of the pages failed and are tried again"
MISSING_DESCRIPTOR_REASON = "a descriptor has faults and no good one is known: a collection has no page"
PUBLIC_REASONS = (
    UNREADABLE_STATE_REASON,
    UNREADABLE_ROWS_REASON,
    DAMAGED_ROWS_REASON,
    UNREACHABLE_ENGINE_REASON,
    UNREACHABLE_DATABASE_REASON,
    UNREACHABLE_CLUSTER_REASON,
    UNREACHABLE_STORE_REASON,
    MISSING_DIRECTORY_REASON,
    FULL_DISK_REASON,
    LOW_DISK_REASON,
    READ_ONLY_DISK_REASON,
    OUTDATED_SETTINGS_REASON,
    INVALID_SETTINGS_REASON,
    INVALID_DESCRIPTOR_REASON,
    MISSING_DESCRIPTOR_REASON,
    COUNT_FAILURE_REASON,
    CLOCK_AHEAD_REASON,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One thing that must be well for queries to be answered: ``ok``, ``warning`` (it goes on, with less), ``failed``.

    Attributes
    ----------
    name
        Of what was looked at.
    state
        One of these words.
    message
        What is wrong, for the site's owner.
    reason
        The same for everybody: it names nothing that is private.
    """

    name: str
    state: str = "ok"
    message: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatus:
    """How a collection is. Times are ISO in UTC, lengths of time in seconds.

    Attributes
    ----------
    collection
        Its name.
    state
        ``fresh``, ``failing`` (the last run failed; the data are not old yet), ``stale``, ``held`` (by a rollback),
        ``paused``, ``unscheduled``.
    tables
        Table -> ``rows``, ``snapshot``, ``updated``.
    rows
        In all its tables.
    snapshot
        The newest of them.
    started, ended
        Of the last run.
    phase
        How it ended.
    message
        Why, for people.
    reason
        Why, and what ends it, where that is not obvious: for everybody.
    succeeded
        When the last good run ended.
    modified
        The last modification that was seen in the source: its largest watermark.
    read
        When everything was read last, of the table where that is longest ago: edits that leave the watermark as it was
        are found then. None where each run finds them.
    lag
        Since `succeeded`.
    timing
        Its schedule.
    next
        When it is due.
    limit
        When it becomes stale, without another good run.
    paused
        Since when.
    running
        Since when it is being synchronised or ingested.
    failures
        In a row.
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
    held: str | None = None  # since when
    running: str | None = None
    failures: int = 0
    behind: tuple[str, ...] = ()  # of its tables: those whose inputs are newer
    verified: str | None = None  # when its files were last what was published; of the table where that is longest ago
    damaged: tuple[str, ...] = ()  # of its tables: those whose published rows are damaged
    descriptor: str | None = None  # what is wrong with its descriptor, and what is in force instead

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, without what is not there."""
        return {key: value for key, value in asdict(self).items() if value not in (None, ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """How a site is at one moment: all of it, for its owner. No text in it holds a secret.

    Attributes
    ----------
    collections
        By name.
    problems
        What is wrong with the site as a whole.
    scheduler
        Who runs the schedules; None: nobody.
    ahead
        In words: the clock has leapt.
    engines
        Name -> ``problem`` and what the engine tells of its connections.
    alerts
        What people were told of late, the newest first.
    trouble
        What keeps parts of this from being known; None: nothing.
    """

    at: str
    collections: tuple[CollectionStatus, ...] = ()
    problems: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()
    scheduler: str | None = None
    trouble: str | None = None
    ahead: str | None = None
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def worst_state(self) -> str:
        """The worst state of any collection."""
        states = {item.state for item in self.collections}
        return next((state for state in (STALE_STATE, FAILING_STATE) if state in states), FRESH_STATE)


class SiteHealth:
    """Looks at a site, at most once a second and in a thread of its own.

    A store that does not answer keeps no watcher waiting. Thread-safe.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._refresh_thread: threading.Thread | None = None
        self._cached_status: tuple[float, SiteStatus] | None = None
        self._cached_redactor: tuple[float, SecretRedactor] | None = None
        self._cached_clock_leap: tuple[float, str | None] | None = None

    def get_status(self, *, wait_seconds: float | None = STATUS_WAIT_SECONDS) -> SiteStatus:
        """Return the picture of now, or of a second ago; an older one if looking takes long.

        Parameters
        ----------
        wait_seconds
            Seconds to wait for a new one; None: as long as it takes.

        Returns
        -------
        picture
            Of all collections.
        """
        with self._lock:
            if self._cached_status is not None and time.monotonic() - self._cached_status[0] < STATUS_LIFETIME_SECONDS:
                return self._cached_status[1]
            if self._refresh_thread is None:
                self._refresh_thread = threading.Thread(target=self._refresh_status, name="health", daemon=True)
                self._refresh_thread.start()
            refresh_thread = self._refresh_thread
        refresh_thread.join(wait_seconds)
        with self._lock:
            cached_status = self._cached_status
        if cached_status is None:
            return SiteStatus(at=format_timestamp(time.time()) or "", trouble="the system state has not answered yet")
        age = time.monotonic() - cached_status[0]
        if age < MAX_STATUS_AGE_SECONDS:
            return cached_status[1]
        return replace(cached_status[1], trouble=f"the system state has not answered for {age:.0f} seconds")

    def _refresh_status(self) -> None:
        try:
            new_status = self._build_status()
        except Exception as error:
            log.exception("looking at the site failed")
            new_status = SiteStatus(
                at=format_timestamp(time.time()) or "", trouble=f"looking at the site failed: {type(error).__name__}"
            )
        with self._lock:
            self._cached_status = time.monotonic(), new_status
            self._refresh_thread = None

    def get_redactor(self) -> SecretRedactor:
        """Return what redacts secrets."""
        if self._cached_redactor is None or time.monotonic() - self._cached_redactor[0] > REDACTOR_LIFETIME_SECONDS:
            self._cached_redactor = (
                time.monotonic(),
                SecretRedactor(self._site.settings.directory, descriptor_files=self._site.list_descriptor_files()),
            )
        return self._cached_redactor[1]

    def _build_status(self) -> SiteStatus:
        site = self._site
        redactor = self.get_redactor()
        published_state = site.get_published_state()
        problems = tuple(redactor.redact_text(problem) for problem in published_state.problems)
        store_problem = clock_leap = None
        try:
            if (
                self._cached_clock_leap is None
                or time.monotonic() - self._cached_clock_leap[0] > CLOCK_CHECK_INTERVAL_SECONDS
            ):
                self._cached_clock_leap = time.monotonic(), site.store.deletion_clock.describe_leap()
            clock_leap = self._cached_clock_leap[1]
            now, schedules = site.store.schedules.list_schedules()
            runs = site.store.runs.find_latest_runs()
            sync_watermarks = site.store.syncs.map_watermarks()
            watermarks = {
                table: text
                for table, (_, values) in sync_watermarks.items()
                if (text := format_largest_watermark(values))
            }
            full_read_times = {table: full for table, (full, _) in sync_watermarks.items() if full}
            held_collections = site.store.list_held_collections()
            leases = {lease.name: lease for lease in site.store.leases.list_leases()}
            alerts = site.store.schedules.list_alerts(MAX_ALERTS_SHOWN)
            stale_tables = find_stale_tables(site.published_records)
            verification_times = {
                item_record.snapshot: item_record.at
                for item_record in site.store.verifications.list_verifications().values()
                if not item_record.faults
            }
        except HvenError as error:  # what is published is served all the same
            store_problem = redactor.redact_text(str(error))
            now = time.time()
            schedules = {}
            runs = {}
            watermarks = {}
            full_read_times = {}
            held_collections = {}
            leases = {}
            alerts = []
            stale_tables = []
            verification_times = {}
        tables_by_collection: dict[str, list[PublishedTable]] = {}
        for item in published_state.tables_by_name.values():
            if item.relation is not None and item.release is None:  # a view has no rows of its own
                tables_by_collection.setdefault(
                    item.table.schema if item.resource is None else item.resource.name, []
                ).append(item)
        collection_statuses = []
        for name, items in sorted(tables_by_collection.items()):
            lease = leases.get(f"ingest {name}")
            behind = tuple(
                line for line in stale_tables if line.partition(" ")[0] in {item.table.qualified_name for item in items}
            )
            collection_status = _build_collection_status(
                name,
                items,
                published_state.resources.get(name),
                schedules.get(name),
                runs=runs.get(name, (None, None)),
                watermarks=watermarks,
                now=now,
                redactor=redactor,
                missed_runs_limit=site.settings.schedule.stale,
                running_since=None if lease is None else lease.since,
                outdated_tables=behind,
                full_read_times=full_read_times,
                held_since=held_collections.get(name),
                verification_times=verification_times,
                damaged_tables=tuple(
                    item_record.table for item_record in published_state.damages if item_record.collection == name
                ),
                descriptor_fault=published_state.descriptor_faults.get(name),
            )
            collection_statuses.append(collection_status)
        scheduler = leases.get("scheduler")
        return SiteStatus(
            at=format_timestamp(now) or "",
            collections=tuple(collection_statuses),
            problems=problems,
            alerts=tuple(
                replace(item, message=redactor.redact_text(item.message), ways=redactor.redact_data(dict(item.ways)))
                for item in alerts
            ),
            scheduler=None if scheduler is None else scheduler.display_holder,
            trouble=store_problem,
            ahead=clock_leap,
            engines=_report_engines(site, published_state, redactor),
        )

    def run_checks(self, status: SiteStatus | None = None) -> list[HealthCheck]:
        """Check whether queries can be answered: what ``failed`` keeps some from it, a ``warning`` does not.

        Parameters
        ----------
        status
            Of this moment, if there is one already.

        Returns
        -------
        checks
            One for each part of the service.
        """
        site = self._site
        try:
            published_state = site.get_published_state()
        except HvenError as error:
            check = _build_check(
                "holdings", "failed", self.get_redactor().redact_text(str(error)), UNREADABLE_STATE_REASON
            )
            return [check]
        status = status or self.get_status()
        damage_messages = "; ".join(
            self.get_redactor().redact_text(damaged_snapshot.owner_message)
            for damaged_snapshot in published_state.damages
        )
        has_missing_rows = any(damaged_snapshot.served_snapshot is None for damaged_snapshot in published_state.damages)
        engine_problems = {name: facts["problem"] for name, facts in status.engines.items() if facts.get("problem")}
        text = "; ".join(f"{name}: {reason}" for name, reason in engine_problems.items())
        # rows that are read in place are their owner's: a server is there for the others, too
        snapshot_engines = {
            item.relation.engine
            for item in published_state.tables_by_name.values()
            if isinstance(item.relation, Snapshot)
        }
        unreadable_engines = {name for name, reason in engine_problems.items() if not reason.endswith(HINDERED_MESSAGE)}
        has_unreadable_rows = bool(snapshot_engines & unreadable_engines)
        holdings_result = "warning" if damage_messages else None
        holdings_reason = DAMAGED_ROWS_REASON
        if has_missing_rows:
            holdings_result = "failed"
            holdings_reason = UNREADABLE_ROWS_REASON
        engine_result = "warning" if engine_problems else None
        engine_reason = UNREACHABLE_DATABASE_REASON if unreadable_engines else UNREACHABLE_CLUSTER_REASON
        if has_unreadable_rows:
            engine_result = "failed"
            engine_reason = UNREACHABLE_ENGINE_REASON
        return [
            _build_check("holdings", holdings_result, damage_messages, holdings_reason),
            _build_check("engines", engine_result, text, engine_reason),
            _build_check(
                "store", None if status.trouble is None else "warning", status.trouble, UNREACHABLE_STORE_REASON
            ),
            _build_check("clock", None if status.ahead is None else "warning", status.ahead, CLOCK_AHEAD_REASON),
            _check_disk_space(site),
            _check_settings(site, self.get_redactor()),
            self._check_descriptors(published_state),
            self._check_counts(),
        ]

    def _check_counts(self) -> HealthCheck:
        """Report what this process could not count for its pages. A worker knows its own failures alone."""
        failures = self._site.get_or_create(FailureLog).list_failures()
        text = "; ".join(
            f"{failure.subject}: failed {failure.attempts} times: {failure.reason}"
            for failure in failures[:MAX_FAILURES_SHOWN]
        )
        return _build_check(
            "counts", "warning" if failures else None, self.get_redactor().redact_text(text), COUNT_FAILURE_REASON
        )

    def _check_descriptors(self, published_state: PublishedState) -> HealthCheck:
        """Report the descriptors with faults, by name."""
        faults = published_state.descriptor_faults
        missing_collections = faults.keys() - published_state.resources.keys()
        text = "; ".join(self.get_redactor().redact_text(f"{name}: {fault}") for name, fault in sorted(faults.items()))
        return _build_check(
            "descriptors",
            "warning" if faults else None,
            text,
            MISSING_DESCRIPTOR_REASON if missing_collections else INVALID_DESCRIPTOR_REASON,
        )


def _build_check(name: str, state: str | None, message: str | None, reason: str) -> HealthCheck:
    if state is None:
        return HealthCheck(name=name)
    return HealthCheck(name=name, state=state, message=message, reason=reason)


def _check_settings(site: Site, redactor: SecretRedactor) -> HealthCheck:
    """Report what a server has not taken up of its settings."""
    if site.reloadable_settings.problem is not None:
        return HealthCheck(
            name="settings",
            state="warning",
            message=redactor.redact_text(site.reloadable_settings.problem),
            reason=INVALID_SETTINGS_REASON,
        )
    if site.reloadable_settings.pending_restart:
        message = (
            f"restart needed: {', '.join(site.reloadable_settings.pending_restart)} changed since the server began"
        )
        return HealthCheck(name="settings", state="warning", message=message, reason=OUTDATED_SETTINGS_REASON)
    return HealthCheck(name="settings")


def find_worst_state(checks: Sequence[HealthCheck]) -> str:
    """Return the worst state of all checks.

    Parameters
    ----------
    checks
        Any.
    """
    states = {check.state for check in checks}
    return next((state for state in ("failed", "warning") if state in states), "ok")


def _build_collection_status(
    collection: str,
    published_tables: Sequence[PublishedTable],
    resource: Resource | None,
    schedule: SyncScheduleRecord | None,
    *,
    runs: tuple[IngestRun | None, IngestRun | None],
    watermarks: Mapping[str, str],
    now: float,
    redactor: SecretRedactor,
    missed_runs_limit: int,
    running_since: str | None,
    outdated_tables: tuple[str, ...],
    full_read_times: Mapping[str, str],
    held_since: str | None,
    verification_times: Mapping[str, str],
    damaged_tables: tuple[str, ...],
    descriptor_fault: str | None,
) -> CollectionStatus:
    last_run, last_good_run = runs
    timing = None
    if resource is not None:
        try:
            timing = build_recurrence(resource)
        except ValueError as error:
            outdated_tables = (*outdated_tables, f"its schedule cannot be read: {error}")
    # a snapshot's run says when its rows were read; a run that found no change says that they still are so
    stamps = [
        *(item.updated for item in published_tables),
        *([last_good_run.ended or last_good_run.started] if last_good_run is not None else []),
    ]
    succeeded = max((datetime.fromisoformat(stamp) for stamp in stamps if stamp), default=None)
    if succeeded is None:
        success_timestamp = None
    else:
        success_timestamp = succeeded.replace(tzinfo=succeeded.tzinfo or UTC).timestamp()
    if timing is None or schedule is None or held_since is not None:
        stale_time = None
    else:
        stale_time = compute_stale_time(timing, schedule, success_timestamp, missed_runs_limit, now)
    is_live = all(isinstance(item.relation, LiveRelation) for item in published_tables)
    failures, message = _count_failures(schedule, last_run)
    if held_since is not None:
        state = HELD_STATE
    elif timing is not None and schedule is not None and schedule.paused is not None:
        state = PAUSED_STATE
    elif stale_time is not None and now > stale_time and running_since is None:
        state = STALE_STATE
    elif failures:
        state = FAILING_STATE
    elif timing is None or schedule is None:
        state = UNSCHEDULED_STATE
    else:
        state = FRESH_STATE
    stored = [item.relation.id for item in published_tables if isinstance(item.relation, Snapshot)]
    newest = max((item.relation.id for item in published_tables if isinstance(item.relation, Snapshot)), default=None)
    reason_text = STATE_REASONS.get(state, "").format(
        collection=collection, succeeded=format_timestamp(success_timestamp), timing=timing
    )
    tables = {
        item.table.qualified_name: {
            "rows": item.rows,
            "snapshot": item.relation.id if isinstance(item.relation, Snapshot) else None,
            "updated": item.updated,
        }
        for item in published_tables
    }
    rows = None if is_live else sum(item.rows or 0 for item in published_tables)
    started = None if last_run is None else last_run.started
    return CollectionStatus(
        collection=collection,
        state=state,
        tables=tables,
        rows=rows,
        snapshot=newest,
        started=started,
        ended=None if last_run is None else last_run.ended,
        phase=None if last_run is None else last_run.phase,
        message=None if message is None else redactor.redact_text(message),
        reason=reason_text or None,
        succeeded=format_timestamp(success_timestamp),
        modified=max(
            (
                watermarks[item.table.qualified_name]
                for item in published_tables
                if item.table.qualified_name in watermarks
            ),
            default=None,
        ),
        read=min(
            (full_read_times[table] for table in list_watermark_tables(resource) if table in full_read_times),
            default=None,
        ),
        lag=None if success_timestamp is None or is_live else round(max(now - success_timestamp, 0.0), 1),
        timing=None if timing is None else str(timing),
        next=None
        if timing is None or schedule is None or schedule.paused is not None or held_since is not None
        else format_timestamp(schedule.due),
        limit=format_timestamp(stale_time),
        paused=None if schedule is None else format_timestamp(schedule.paused),
        held=None if held_since is None else held_since[:19] + "Z",
        running=running_since,
        failures=failures,
        behind=outdated_tables,
        verified=min((verification_times[ident] for ident in stored), default=None)
        if all(ident in verification_times for ident in stored)
        else None,
        damaged=damaged_tables,
        descriptor=None if descriptor_fault is None else redactor.redact_text(descriptor_fault),
    )


def _count_failures(schedule: SyncScheduleRecord | None, last_run: IngestRun | None) -> tuple[int, str | None]:
    """Count the failures in a row, and return the words of the last run.

    By whom ran last, the schedule or somebody else.
    """
    if schedule is None:
        scheduled = 0.0
    else:
        scheduled = schedule.ended or (math.inf if schedule.failures else 0.0)
    if (
        last_run is not None
        and last_run.phase != RUNNING_PHASE
        and datetime.fromisoformat(last_run.ended or last_run.started).timestamp() > scheduled
    ):
        return int(last_run.phase in {ERROR_PHASE, ABORTED_PHASE}), last_run.message
    if schedule is not None and schedule.failures:
        return (schedule.failures, schedule.message)
    return (0, None if last_run is None else last_run.message)


def list_watermark_tables(resource: Resource | None) -> list[str]:
    """List the tables of which only what lies behind a watermark is read.

    An edit that leaves it as it was is not seen then.

    Parameters
    ----------
    resource
        The collection; None: its descriptor cannot be read.

    Returns
    -------
    names
        ``schema.table``.
    """
    if resource is not None:
        specs = resource.tables
    else:
        specs = ()
    return [spec.table.qualified_name for spec in specs if spec.sync is not None and spec.sync.watermark is not None]


def format_largest_watermark(values: Sequence[Any]) -> str | None:
    """Format the largest of a table's watermarks: times as ISO, and whatever else a source counts by.

    Parameters
    ----------
    values
        As the store keeps them.

    Returns
    -------
    text
        None: several sources count differently, or none does.
    """
    watermarks = [unpack_watermark(value) for value in values]
    comparable_values = [
        value.replace(tzinfo=value.tzinfo or UTC) if isinstance(value, datetime) else value for value in watermarks
    ]
    if not comparable_values or len({type(value) for value in comparable_values}) > 1:
        return None  # several sources that count differently have no largest
    maximum = max(comparable_values)
    if isinstance(maximum, datetime):
        return maximum.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(maximum)


def _report_engines(site: Site, published_state: PublishedState, redactor: SecretRedactor) -> dict[str, dict[str, Any]]:
    """Report on each engine that is open or needed; nothing is opened and nobody is asked here."""
    engine_reports: dict[str, dict[str, Any]] = {}
    for name, engine in site.engines.map_open_engines().items():
        engine_reports[redactor.redact_text(name)] = {"problem": None, **engine.count_connections()}
    for problem in published_state.problems:
        if problem.startswith("engine "):
            name = problem.removeprefix("engine ").partition(": ")[0]
            engine_reports.setdefault(redactor.redact_text(name), {})["problem"] = redactor.redact_text(
                problem.partition(": ")[2]
            )
    return engine_reports


def _check_disk_space(site: Site) -> HealthCheck:
    try:
        usage = shutil.disk_usage(site.settings.data_directory)
    except OSError as error:
        return _build_check("disk", "failed", f"{MISSING_DIRECTORY_REASON}: {error.strerror}", MISSING_DIRECTORY_REASON)
    if not os.access(site.settings.data_directory, os.W_OK):
        return HealthCheck(name="disk", state="warning", message=READ_ONLY_DISK_REASON, reason=READ_ONLY_DISK_REASON)
    if usage.free < MIN_FREE_DISK_BYTES:
        return _build_check(
            "disk",
            "warning",
            f"{usage.free / 1e6:.0f} MB are free: results of jobs cannot be kept, nor new data",
            FULL_DISK_REASON,
        )
    if usage.free < LOW_DISK_SHARE * usage.total and usage.free < 20 * 1024**3:
        return _build_check(
            "disk", "warning", f"{usage.free / 1e9:.1f} GB are free, {usage.free / usage.total:.0%}", LOW_DISK_REASON
        )
    return HealthCheck(name="disk")


__all__ = [
    "FAILING_STATE",
    "FRESH_STATE",
    "HELD_STATE",
    "PAUSED_STATE",
    "PUBLIC_REASONS",
    "STALE_STATE",
    "STATE_REASONS",
    "UNSCHEDULED_STATE",
    "CollectionStatus",
    "HealthCheck",
    "SiteHealth",
    "SiteStatus",
    "find_worst_state",
    "format_largest_watermark",
    "list_watermark_tables",
]
