"""How a site is: whether it can answer, how fresh each collection is, what runs. For the health page, for metrics, for ``hven status``."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hven.engines import Live, Memory, Snapshot
from hven.errors import HvenError
from hven.ingest import stale
from hven.ingest.watermarks import unpacked
from hven.operations.hiding import Hiding
from hven.operations.planning import iso, stale_at, timing_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.holdings import Holdings, Published, Site
    from hven.model.resource import Resource
    from hven.store import Alert, Run, Schedule

FRESH, STALE, FAILING, PAUSED, UNSCHEDULED = "fresh", "stale", "failing", "paused", "unscheduled"
KEPT = 1.0  # seconds that a look is good for: watchers are many
PATIENCE = 0.7  # seconds that a watcher waits for a look: probes give up after a second
OLD = 10.0  # seconds after which an old look says nothing any more
HIDES = 30.0  # seconds after which the secrets are read again
LITTLE, NONE = 0.05, 64 * 1024**2  # share of the disk, and bytes, below which there is little room, or none
log = logging.getLogger("hven.health")
ALERTS = 10  # alerts that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must be well for queries to be answered: ``ok``, ``warning`` (it goes on, with less), ``failed``."""

    name: str
    state: str = "ok"
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How a collection is. Times are ISO in UTC, lengths of time in seconds.

    Attributes
    ----------
    state
        ``fresh``, ``failing`` (the last run failed; the data are not old yet), ``stale``, ``paused``, ``unscheduled``.
    tables
        Table -> ``rows``, ``snapshot``, ``updated``.
    snapshot
        The newest of them.
    succeeded
        When the last good run ended.
    modified
        The last modification that was seen in the source: its largest watermark.
    read
        When everything was read last, of the table where that is longest ago: edits that leave the watermark as it was are found then. None where each run finds them.
    lag
        Since `succeeded`.
    limit
        When it becomes stale, without another good run.
    running
        Since when it is being synchronised or ingested.
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
    succeeded: str | None = None
    modified: str | None = None
    read: str | None = None
    lag: float | None = None
    timing: str | None = None
    next: str | None = None
    limit: str | None = None
    paused: str | None = None
    running: str | None = None
    failures: int = 0
    behind: tuple[str, ...] = ()  # of its tables: those whose inputs are newer

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON, without what is not there."""
        return {key: value for key, value in asdict(self).items() if value not in (None, ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """How a site is at one moment: all of it, for its owner. No text in it holds a secret.

    Attributes
    ----------
    scheduler
        Who runs the schedules; None: nobody.
    engines
        Name -> ``problem`` and what the engine tells of its connections.
    """

    at: str
    collections: tuple[Followed, ...] = ()
    problems: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()
    scheduler: str | None = None
    trouble: str | None = None
    engines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def worst(self) -> str:
        """Say the worst state of any collection."""
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

    def picture(self, *, patience: float | None = PATIENCE) -> Picture:
        """Give the picture of now, or of a second ago; an older one if looking takes longer than `patience` (seconds; None: it may)."""
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
        return found[1] if age < OLD else replace(found[1], trouble=f"the system state has not answered for {age:.0f} seconds")

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
        """Give what hides secrets."""
        if self._hiding is None or time.monotonic() - self._hiding[0] > HIDES:
            self._hiding = time.monotonic(), Hiding(self._site.settings.directory)
        return self._hiding[1]

    def _look(self) -> Picture:
        site, hiding = self._site, self.hiding()
        holdings = site.current()
        problems = tuple(hiding.text(problem) for problem in holdings.problems)
        trouble: str | None = None
        try:
            now, schedules = site.store.schedules.all()
            runs = site.store.runs.latest()
            marks = {table: text for table, values in site.store.syncs.watermarks().items() if (text := _largest(values))}
            read = site.store.syncs.read()
            leases = {lease.name: lease for lease in site.store.leases.all()}
            alerts = site.store.schedules.alerts(ALERTS)
            old = stale(site.store.current()[1])
        except HvenError as error:  # what is published is served all the same
            trouble = hiding.text(str(error))
            now, schedules, runs, marks, read, leases, alerts, old = time.time(), {}, {}, {}, {}, {}, [], []
        by: dict[str, list[Published]] = {}
        for item in holdings.published.values():
            if item.relation is not None:  # a view has no rows of its own
                by.setdefault(item.table.schema if item.resource is None else item.resource.name, []).append(item)
        found = []
        for name, items in sorted(by.items()):
            lease = leases.get(f"ingest {name}")
            behind = tuple(line for line in old if line.partition(" ")[0] in {item.table.qualified for item in items})
            found.append(
                _followed(
                    name, items, holdings.resources.get(name), schedules.get(name), runs.get(name, (None, None)), marks, now, hiding,
                    missed=site.settings.schedule.stale, running=None if lease is None else lease.since, behind=behind, read=read,
                )
            )  # fmt: skip
        scheduler = leases.get("scheduler")
        return Picture(
            at=iso(now) or "",
            collections=tuple(found),
            problems=problems,
            alerts=tuple(replace(item, message=hiding.text(item.message), ways=hiding.all(dict(item.ways))) for item in alerts),
            scheduler=None if scheduler is None else scheduler.shown,
            trouble=trouble,
            engines=_engines(site, holdings, hiding),
        )

    def checks(self, *, patience: float | None = PATIENCE) -> list[Check]:
        """Look whether queries can be answered: what ``failed`` keeps them from it, a ``warning`` does not."""
        site = self._site
        made = [Check(name="holdings")]
        try:
            holdings = site.current()
        except HvenError as error:
            return [Check(name="holdings", state="failed", message=self.hiding().text(str(error)))]
        picture = self.picture(patience=patience)
        away = {name: facts["problem"] for name, facts in picture.engines.items() if facts.get("problem")}
        stored = {_engine(item) for item in holdings.published.values()} - {None}
        text = "; ".join(f"{name}: {why}" for name, why in away.items())
        state = "failed" if stored and stored <= away.keys() else "warning" if away else "ok"
        made.append(Check(name="engines", state=state, message=text or None))
        made.append(Check(name="store", state="ok" if picture.trouble is None else "warning", message=picture.trouble))
        made.append(_room(site))
        return made


def state_of(checks: Sequence[Check]) -> str:
    """Give the worst state of all."""
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
    limit = None if timing is None or row is None else stale_at(timing, row, when, missed)
    live = all(isinstance(item.relation, Live) for item in items)
    if timing is None or row is None:
        state = UNSCHEDULED
    elif row.paused is not None:
        state = PAUSED
    elif limit is not None and now > limit and running is None:
        state = STALE
    else:
        state = FAILING if row.failures else FRESH
    newest = max((item.relation.id for item in items if isinstance(item.relation, Snapshot)), default=None)
    message = row.message if row is not None and row.failures else None if last is None else last.message
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
        succeeded=iso(when),
        modified=max((marks[item.table.qualified] for item in items if item.table.qualified in marks), default=None),
        read=min((read[table] for table in narrowed(resource) if table in read), default=None),
        lag=None if when is None or live else round(max(now - when, 0.0), 1),
        timing=None if timing is None else str(timing),
        next=None if row is None or row.paused is not None else iso(row.due),
        limit=iso(limit),
        paused=None if row is None else iso(row.paused),
        running=running,
        failures=0 if row is None else row.failures,
        behind=behind,
    )


def narrowed(resource: Resource | None) -> list[str]:
    """Name the tables of which only what lies behind a watermark is read: an edit that leaves it as it was is not seen then."""
    specs = resource.tables if resource is not None else ()
    return [spec.table.qualified for spec in specs if spec.sync is not None and spec.sync.watermark is not None]


def _largest(values: Sequence[Any]) -> str | None:
    """Write the largest of a table's watermarks: times as ISO, and whatever else a source counts by."""
    found = [unpacked(value) for value in values]
    shown = [value.replace(tzinfo=value.tzinfo or UTC) if isinstance(value, datetime) else value for value in found]
    if not shown or len({type(value) for value in shown}) > 1:
        return None  # several sources that count differently have no largest
    largest = max(shown)
    return largest.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(largest, datetime) else str(largest)


def _engine(item: Published) -> str | None:
    relation = item.relation
    return None if relation is None or isinstance(relation, Memory) else relation.engine


def _engines(site: Site, holdings: Holdings, hiding: Hiding) -> dict[str, dict[str, Any]]:
    """Tell of each engine that is open or needed; nothing is opened and nobody is asked here."""
    found: dict[str, dict[str, Any]] = {}
    for name, engine in site.engines.opened_by_name().items():
        tell = getattr(engine, "connections", None)
        found[hiding.text(name)] = {"problem": None, **(tell() if callable(tell) else {})}
    for problem in holdings.problems:
        if problem.startswith("engine "):
            name = problem.removeprefix("engine ").partition(": ")[0]
            found.setdefault(hiding.text(name), {})["problem"] = hiding.text(problem.partition(": ")[2])
    return found


def _room(site: Site) -> Check:
    try:
        usage = shutil.disk_usage(site.settings.kept)
    except OSError as error:
        return Check(name="disk", state="failed", message=f"the directory of the data cannot be seen: {error.strerror}")
    if usage.free < NONE:
        return Check(
            name="disk", state="warning", message=f"{usage.free / 1e6:.0f} MB are free: results of jobs cannot be kept, nor new data"
        )
    if usage.free < LITTLE * usage.total and usage.free < 20 * 1024**3:
        return Check(name="disk", state="warning", message=f"{usage.free / 1e9:.1f} GB are free, {usage.free / usage.total:.0%}")
    return Check(name="disk")


__all__ = ["FAILING", "FRESH", "PAUSED", "STALE", "UNSCHEDULED", "Check", "Followed", "Health", "Picture", "narrowed", "state_of"]
