"""How a site is: whether it can answer, how fresh each collection is, what runs. For the health page, for metrics, for ``hven status``."""

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

from hven.engines import Live, Snapshot
from hven.ingest import stale
from hven.ingest.watermarks import unpacked
from hven.jobs._redaction import Hiding
from hven.jobs.planning import iso, stale_at, timing_of
from hven.model import Failures
from hven.model.errors import HvenError
from hven.site import HINDERED
from hven.site.store.runs import ABORTED, ERROR, RUNNING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import Resource
    from hven.site import Holdings, Published, Site
    from hven.site.store import Alert, Run, Schedule

FRESH, STALE, FAILING, HELD, PAUSED, UNSCHEDULED = "fresh", "stale", "failing", "held", "paused", "unscheduled"
KEPT = 1.0  # seconds that a look is good for: watchers are many
PATIENCE = 0.7  # seconds that a watcher waits for a look: probes give up after a second
OLD = 10.0  # seconds after which an old look says nothing any more
HIDES = 30.0  # seconds after which the secrets are read again
LEAPS = 10.0  # seconds between two looks for a clock that has leapt: the keeper notices one within twenty
LITTLE, NONE = 0.05, 64 * 1024**2  # share of the disk, and bytes, below which there is little room, or none
log = logging.getLogger("hven.health")
MAX_FAILURES_SHOWN = 5
ALERTS = 10  # alerts that are shown

# why, for everybody: nothing private is named
REASONS = {
    STALE: "no good run since {succeeded}, and it should be {timing}",
    FAILING: "the last run failed; what was published before stays",
    HELD: "rolled back: it stays so until `hven sync {collection}` or `hven schedule resume {collection}`",
    PAUSED: "paused: `hven schedule resume {collection}` lets it go on",
}
NO_HOLDINGS = "what is published cannot be read"
NO_ROWS = "rows that are published cannot be read"
OLD_ROWS = "rows that are published are damaged: the last good ones are served"
NO_ENGINE = "rows that are published cannot be read: their engine does not answer"
NO_DATABASE = "a database does not answer; what is not in it is served"
NO_CLUSTER = "a cluster does not answer: large queries are refused, all else is served"
NO_STORE = "the system state does not answer: what is published is served as it was seen last"
NO_DIRECTORY = "the directory of the data cannot be seen"
NO_ROOM = "the disk is full: results of jobs cannot be kept, nor new data"
LITTLE_ROOM = "the disk is nearly full"
FIXED = "the disk can only be read: what is published is served, no job begins and nothing is published"
OLD_SETTINGS = "hven.toml changed since the server began: restart needed"
AHEAD = "the machine's clock is ahead of what this site has lived through: nothing is deleted by it for a day"
BAD_SETTINGS = "hven.toml has faults: the settings of before are in force"
BAD_DESCRIPTORS = "a descriptor has faults: the last good one is in force"
NOT_COUNTED = "some counts of the pages failed and are tried again"
NO_DESCRIPTOR = "a descriptor has faults and no good one is known: a collection has no page"
TOLD = (
    NO_HOLDINGS,
    NO_ROWS,
    OLD_ROWS,
    NO_ENGINE,
    NO_DATABASE,
    NO_CLUSTER,
    NO_STORE,
    NO_DIRECTORY,
    NO_ROOM,
    LITTLE_ROOM,
    FIXED,
    OLD_SETTINGS,
    BAD_SETTINGS,
    BAD_DESCRIPTORS,
    NO_DESCRIPTOR,
    NOT_COUNTED,
    AHEAD,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
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
class Followed:
    """How a collection is. Times are ISO in UTC, lengths of time in seconds.

    Attributes
    ----------
    collection
        Its name.
    state
        ``fresh``, ``failing`` (the last run failed; the data are not old yet), ``stale``, ``held`` (by a rollback), ``paused``,
        ``unscheduled``.
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
        When everything was read last, of the table where that is longest ago: edits that leave the watermark as it was are found then. None where
        each run finds them.
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
class Picture:
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
    collections: tuple[Followed, ...] = ()
    problems: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()
    scheduler: str | None = None
    trouble: str | None = None
    ahead: str | None = None
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def worst(self) -> str:
        """The worst state of any collection."""
        states = {item.state for item in self.collections}
        return next((state for state in (STALE, FAILING) if state in states), FRESH)


class Health:
    """Looks at a site, at most once a second and in a thread of its own: a store that does not answer keeps no watcher waiting. Thread-safe."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._looker: threading.Thread | None = None
        self._picture: tuple[float, Picture] | None = None
        self._hiding: tuple[float, Hiding] | None = None
        self._ahead: tuple[float, str | None] | None = None

    def picture(self, *, patience: float | None = PATIENCE) -> Picture:
        """Return the picture of now, or of a second ago; an older one if looking takes long.

        Parameters
        ----------
        patience
            Seconds to wait for a new one; None: as long as it takes.

        Returns
        -------
        picture
            Of all collections.
        """
        with self._lock:
            if self._picture is not None and time.monotonic() - self._picture[0] < KEPT:
                return self._picture[1]
            if self._looker is None:
                self._looker = threading.Thread(target=self._refresh, name="health", daemon=True)
                self._looker.start()
            looker = self._looker
        looker.join(patience)
        with self._lock:
            found = self._picture
        if found is None:
            return Picture(at=iso(time.time()) or "", trouble="the system state has not answered yet")
        age = time.monotonic() - found[0]
        return (
            found[1]
            if age < OLD
            else replace(found[1], trouble=f"the system state has not answered for {age:.0f} seconds")
        )

    def _refresh(self) -> None:
        try:
            found = self._look()
        except Exception as error:
            log.exception("looking at the site failed")
            found = Picture(at=iso(time.time()) or "", trouble=f"looking at the site failed: {type(error).__name__}")
        with self._lock:
            self._picture = time.monotonic(), found
            self._looker = None

    def hiding(self) -> Hiding:
        """Return what redacts secrets."""
        if self._hiding is None or time.monotonic() - self._hiding[0] > HIDES:
            self._hiding = time.monotonic(), Hiding(self._site.settings.directory, descriptors=self._site.descriptors())
        return self._hiding[1]

    def _look(self) -> Picture:
        site, hiding = self._site, self.hiding()
        holdings = site.current()
        problems = tuple(hiding.text(problem) for problem in holdings.problems)
        trouble = ahead = None
        try:
            if self._ahead is None or time.monotonic() - self._ahead[0] > LEAPS:
                self._ahead = time.monotonic(), site.store.times.ahead()
            ahead = self._ahead[1]
            now, schedules = site.store.schedules.all()
            runs = site.store.runs.latest()
            seen = site.store.syncs.seen()
            marks = {table: text for table, (_, values) in seen.items() if (text := largest(values))}
            read = {table: full for table, (full, _) in seen.items() if full}
            held = site.store.held()
            leases = {lease.name: lease for lease in site.store.leases.all()}
            alerts = site.store.schedules.alerts(ALERTS)
            old = stale(site.records)
            verified = {one.snapshot: one.at for one in site.store.verifications.all().values() if not one.faults}
        except HvenError as error:  # what is published is served all the same
            trouble = hiding.text(str(error))
            now, schedules, runs, marks, read, held, leases, alerts, old, verified = (
                time.time(),
                {},
                {},
                {},
                {},
                {},
                {},
                [],
                [],
                {},
            )
        by: dict[str, list[Published]] = {}
        for item in holdings.published.values():
            if item.relation is not None and item.release is None:  # a view has no rows of its own
                by.setdefault(item.table.schema if item.resource is None else item.resource.name, []).append(item)
        found = []
        for name, items in sorted(by.items()):
            lease = leases.get(f"ingest {name}")
            behind = tuple(line for line in old if line.partition(" ")[0] in {item.table.qualified for item in items})
            found.append(
                _followed(
                    name, items, holdings.resources.get(name), schedules.get(name), runs.get(name, (None, None)), marks, now, hiding,
                    missed=site.settings.schedule.stale, running=None if lease is None else lease.since, behind=behind, read=read,
                    held=held.get(name), verified=verified,
                    damaged=tuple(one.table for one in holdings.damages if one.collection == name),
                    fault=holdings.descriptor_faults.get(name),
                )
            )  # fmt: skip
        scheduler = leases.get("scheduler")
        return Picture(
            at=iso(now) or "",
            collections=tuple(found),
            problems=problems,
            alerts=tuple(
                replace(item, message=hiding.text(item.message), ways=hiding.all(dict(item.ways))) for item in alerts
            ),
            scheduler=None if scheduler is None else scheduler.shown,
            trouble=trouble,
            ahead=ahead,
            engines=_engines(site, holdings, hiding),
        )

    def checks(self, picture: Picture | None = None) -> list[Check]:
        """Check whether queries can be answered: what ``failed`` keeps some from it, a ``warning`` does not.

        Parameters
        ----------
        picture
            Of this moment, if there is one already.

        Returns
        -------
        checks
            One for each part of the service.
        """
        site = self._site
        try:
            holdings = site.current()
        except HvenError as error:
            return [_check("holdings", "failed", self.hiding().text(str(error)), NO_HOLDINGS)]
        picture = picture or self.picture()
        unread = "; ".join(self.hiding().text(one.told) for one in holdings.damages)
        lacking = any(one.served is None for one in holdings.damages)
        away = {name: facts["problem"] for name, facts in picture.engines.items() if facts.get("problem")}
        text = "; ".join(f"{name}: {why}" for name, why in away.items())
        # rows that are read in place are their owner's: a server is there for the others, too
        stored = {item.relation.engine for item in holdings.published.values() if isinstance(item.relation, Snapshot)}
        dark = {name for name, why in away.items() if not why.endswith(HINDERED)}
        lost = bool(stored & dark)
        return [
            _check(
                "holdings",
                "failed" if lacking else "warning" if unread else None,
                unread,
                NO_ROWS if lacking else OLD_ROWS,
            ),
            _check(
                "engines",
                "failed" if lost else "warning" if away else None,
                text,
                NO_ENGINE if lost else NO_DATABASE if dark else NO_CLUSTER,
            ),
            _check("store", None if picture.trouble is None else "warning", picture.trouble, NO_STORE),
            _check("clock", None if picture.ahead is None else "warning", picture.ahead, AHEAD),
            _room(site),
            _settings(site, self.hiding()),
            self._descriptors(holdings),
            self._counts(),
        ]

    def _counts(self) -> Check:
        """Report what this process could not count for its pages. A worker knows its own failures alone."""
        failures = self._site.kept(Failures).list()
        text = "; ".join(
            f"{one.subject}: failed {one.attempts} times: {one.reason}" for one in failures[:MAX_FAILURES_SHOWN]
        )
        return _check("counts", "warning" if failures else None, self.hiding().text(text), NOT_COUNTED)

    def _descriptors(self, holdings: Holdings) -> Check:
        """Report the descriptors with faults, by name."""
        faults = holdings.descriptor_faults
        lacking = faults.keys() - holdings.resources.keys()
        text = "; ".join(self.hiding().text(f"{name}: {fault}") for name, fault in sorted(faults.items()))
        return _check("descriptors", "warning" if faults else None, text, NO_DESCRIPTOR if lacking else BAD_DESCRIPTORS)


def _check(name: str, state: str | None, message: str | None, reason: str) -> Check:
    return Check(name=name) if state is None else Check(name=name, state=state, message=message, reason=reason)


def _settings(site: Site, hiding: Hiding) -> Check:
    """Report what a server has not taken up of its settings."""
    if site.settled.problem is not None:
        return Check(name="settings", state="warning", message=hiding.text(site.settled.problem), reason=BAD_SETTINGS)
    if site.settled.waiting:
        message = f"restart needed: {', '.join(site.settled.waiting)} changed since the server began"
        return Check(name="settings", state="warning", message=message, reason=OLD_SETTINGS)
    return Check(name="settings")


def state_of(checks: Sequence[Check]) -> str:
    """Return the worst state of all checks.

    Parameters
    ----------
    checks
        Any.
    """
    states = {check.state for check in checks}
    return next((state for state in ("failed", "warning") if state in states), "ok")


def _followed(
    name: str,
    items: Sequence[Published],
    resource: Resource | None,
    row: Schedule | None,
    runs: tuple[Run | None, Run | None],
    marks: Mapping[str, str],
    now: float,
    hiding: Hiding,
    *,
    missed: int,
    running: str | None,
    behind: tuple[str, ...],
    read: Mapping[str, str],
    held: str | None,
    verified: Mapping[str, str],
    damaged: tuple[str, ...],
    fault: str | None,
) -> Followed:
    last, good = runs
    timing = None
    if resource is not None:
        try:
            timing = timing_of(resource)
        except ValueError as error:
            behind = (*behind, f"its schedule cannot be read: {error}")
    # a snapshot's run says when its rows were read; a run that found no change says that they still are so
    stamps = [*(item.updated for item in items), *([good.ended or good.started] if good is not None else [])]
    succeeded = max((datetime.fromisoformat(stamp) for stamp in stamps if stamp), default=None)
    when = None if succeeded is None else succeeded.replace(tzinfo=succeeded.tzinfo or UTC).timestamp()
    limit = None if timing is None or row is None or held is not None else stale_at(timing, row, when, missed, now)
    live = all(isinstance(item.relation, Live) for item in items)
    failures, message = _failed(row, last)
    if held is not None:
        state = HELD
    elif timing is not None and row is not None and row.paused is not None:
        state = PAUSED
    elif limit is not None and now > limit and running is None:
        state = STALE
    elif failures:
        state = FAILING
    else:
        state = UNSCHEDULED if timing is None or row is None else FRESH
    stored = [item.relation.id for item in items if isinstance(item.relation, Snapshot)]
    newest = max((item.relation.id for item in items if isinstance(item.relation, Snapshot)), default=None)
    told = REASONS.get(state, "").format(collection=name, succeeded=iso(when), timing=timing)
    return Followed(
        collection=name,
        state=state,
        tables={
            item.table.qualified: {
                "rows": item.rows,
                "snapshot": item.relation.id if isinstance(item.relation, Snapshot) else None,
                "updated": item.updated,
            }
            for item in items
        },
        rows=None if live else sum(item.rows or 0 for item in items),
        snapshot=newest,
        started=None if last is None else last.started,
        ended=None if last is None else last.ended,
        phase=None if last is None else last.phase,
        message=None if message is None else hiding.text(message),
        reason=told or None,
        succeeded=iso(when),
        modified=max((marks[item.table.qualified] for item in items if item.table.qualified in marks), default=None),
        read=min((read[table] for table in narrowed(resource) if table in read), default=None),
        lag=None if when is None or live else round(max(now - when, 0.0), 1),
        timing=None if timing is None else str(timing),
        next=None if timing is None or row is None or row.paused is not None or held is not None else iso(row.due),
        limit=iso(limit),
        paused=None if row is None else iso(row.paused),
        held=None if held is None else held[:19] + "Z",
        running=running,
        failures=failures,
        behind=behind,
        verified=min((verified[ident] for ident in stored), default=None)
        if all(ident in verified for ident in stored)
        else None,
        damaged=damaged,
        descriptor=None if fault is None else hiding.text(fault),
    )


def _failed(row: Schedule | None, last: Run | None) -> tuple[int, str | None]:
    """Count the failures in a row, and return the words of the last run: by whom ran last, the schedule or somebody else."""
    scheduled = 0.0 if row is None else row.ended or (math.inf if row.failures else 0.0)
    if (
        last is not None
        and last.phase != RUNNING
        and datetime.fromisoformat(last.ended or last.started).timestamp() > scheduled
    ):
        return int(last.phase in {ERROR, ABORTED}), last.message
    return (
        (row.failures, row.message) if row is not None and row.failures else (0, None if last is None else last.message)
    )


def narrowed(resource: Resource | None) -> list[str]:
    """List the tables of which only what lies behind a watermark is read: an edit that leaves it as it was is not seen then.

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
    return [spec.table.qualified for spec in specs if spec.sync is not None and spec.sync.watermark is not None]


def largest(values: Sequence[Any]) -> str | None:
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
    found = [unpacked(value) for value in values]
    shown = [value.replace(tzinfo=value.tzinfo or UTC) if isinstance(value, datetime) else value for value in found]
    if not shown or len({type(value) for value in shown}) > 1:
        return None  # several sources that count differently have no largest
    largest = max(shown)
    return largest.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(largest, datetime) else str(largest)


def _engines(site: Site, holdings: Holdings, hiding: Hiding) -> dict[str, dict[str, Any]]:
    """Report on each engine that is open or needed; nothing is opened and nobody is asked here."""
    found: dict[str, dict[str, Any]] = {}
    for name, engine in site.engines.opened_by_name().items():
        found[hiding.text(name)] = {"problem": None, **engine.connections()}
    for problem in holdings.problems:
        if problem.startswith("engine "):
            name = problem.removeprefix("engine ").partition(": ")[0]
            found.setdefault(hiding.text(name), {})["problem"] = hiding.text(problem.partition(": ")[2])
    return found


def _room(site: Site) -> Check:
    try:
        usage = shutil.disk_usage(site.settings.kept)
    except OSError as error:
        return _check("disk", "failed", f"{NO_DIRECTORY}: {error.strerror}", NO_DIRECTORY)
    if not os.access(site.settings.kept, os.W_OK):
        return Check(name="disk", state="warning", message=FIXED, reason=FIXED)
    if usage.free < NONE:
        return _check(
            "disk",
            "warning",
            f"{usage.free / 1e6:.0f} MB are free: results of jobs cannot be kept, nor new data",
            NO_ROOM,
        )
    if usage.free < LITTLE * usage.total and usage.free < 20 * 1024**3:
        return _check(
            "disk", "warning", f"{usage.free / 1e9:.1f} GB are free, {usage.free / usage.total:.0%}", LITTLE_ROOM
        )
    return Check(name="disk")


__all__ = [
    "FAILING",
    "FRESH",
    "HELD",
    "PAUSED",
    "REASONS",
    "STALE",
    "TOLD",
    "UNSCHEDULED",
    "Check",
    "Followed",
    "Health",
    "Picture",
    "largest",
    "narrowed",
    "state_of",
]
