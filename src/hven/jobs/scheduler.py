"""The scheduler: one for all machines by a lease; keeps the schedules as the descriptors say them, begins runs, sees how they end.

It has one thread, so that forking is safe; it closes its connections before, so that no child ever has them.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import forks, verifying
from hven.jobs._alone import Alone
from hven.jobs._following import LEASE, follow, lease_of
from hven.jobs._sending import deliver, ways_of
from hven.jobs.operations import close
from hven.jobs.planning import (
    BY_HAND,
    FAILED,
    STALE,
    STOPPED,
    Outcome,
    is_due,
    iso,
    planned,
    stale_at,
    timing_of,
    told_of,
)
from hven.model import plugins
from hven.model.errors import Conflict, HvenError
from hven.model.resource import span
from hven.site.store import Store, dead
from hven.site.store.runs import ABORTED
from hven.site.watch import Descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hven.model.resource import Timing
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import Alert, Lease, Schedule

log = logging.getLogger("hven.schedule")

NAME = "scheduler"  # of the lease
LOOK = 0.25  # seconds between two looks at children and signals
PLAN = 1.0  # seconds between two looks at descriptors and schedules
AGAIN = 2.0  # seconds between two attempts to become the one scheduler
SENDING = 5.0  # seconds between two looks for alerts
VERIFYING = 2.0  # seconds between two looks for snapshots that are to be verified
LATE = 30.0  # seconds between two looks for stale data
PENDING = 600.0  # seconds that a run may be due before anybody is told that its data are stale
GRACE = 8.0  # seconds that runs get to end when we do
DIED = "its process died ({how}); it may have needed more memory than there is"


def keep_schedule(
    settings: Settings,
    *,
    parent: int | None = None,
    lease: float = LEASE,
    sync: Callable[[Site, str], str | None] | None = None,
) -> None:
    """Run the schedules of a site until SIGTERM or SIGINT: at once if no other scheduler of its store does, else when that one is gone.

    Parameters
    ----------
    settings
        Of the site.
    parent
        Id of a process whose end is ours too.
    lease
        Seconds after which other machines take us for dead.
    sync
        A function that follows a source, and returns a line about it; None: `hven.ingest.sync`.
    """
    Scheduler(settings, parent=parent, lease=lease, sync=sync).run()


class Scheduler(Alone):
    """The scheduler of a site: see `keep_schedule`."""

    def __init__(
        self, settings: Settings, *, parent: int | None, lease: float, sync: Callable[[Site, str], str | None] | None
    ) -> None:
        super().__init__(settings, parent)
        self._seconds = lease
        self._sync = sync
        self._lease: Lease | None = None
        self._descriptors = Descriptors(settings)
        self._since = 0.0  # when we became the one scheduler, by the store's clock
        self._timings: dict[str, Timing] = {}
        self._runs: dict[int, str] = {}  # process -> collection
        self._helpers: dict[str, int] = {}  # what it does -> process
        # version of the pointers, and when each collection was published
        self._known: tuple[int, dict[str, float]] = (-1, {})
        self._done: dict[str, float] = {}  # what was done last, by the steady clock

    def run(self) -> None:
        """Look and act, until told to stop."""
        self._called("hven-schedule")
        _preload(self._settings)
        while self._wanted():
            try:
                self._turn()
            except (HvenError, OSError) as error:
                log.warning("looking after the schedules failed: %s", error)
                time.sleep(1.0)
            time.sleep(LOOK)
        self._end()

    def _turn(self) -> None:
        self._gather()
        if self._settle():
            self._descriptors.settle(self._settings)
        if not self._leading():
            return
        if self._time("plan", PLAN):
            self._plan()
            self._begin()
        if self._time("late", LATE):
            self._late()
        if self._time("send", SENDING):
            self._send()
        if self._time("verify", VERIFYING):
            self._verify()

    def _time(self, what: str, seconds: float) -> bool:
        moment = time.monotonic()
        if moment - self._done.get(what, -1e9) < seconds:
            return False
        self._done[what] = moment
        return True

    def _leading(self) -> bool:
        """Hold the lease, or try to get it."""
        if self._lease is not None:
            if self._time("renew", self._seconds / 3):
                try:
                    self._lease = self._open().leases.renew(self._lease, seconds=self._seconds)
                except Conflict:
                    log.warning("another scheduler has taken over the schedules of this site")
                    self._lease = None
            return self._lease is not None
        if self._time("acquire", min(AGAIN, self._seconds / 3)):
            try:
                self._lease = self._open().leases.acquire(NAME, seconds=self._seconds, what="the schedule of this site")
            except Conflict:
                return False
            log.info("running the schedules of %s, %s at once", self._settings.directory, self._settings.schedule.runs)
            self._done["renew"] = time.monotonic()
            self._since = self._open().schedules.moment()
        return self._lease is not None

    # --- what is due -----------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Update the schedules to what the descriptors say; see to runs whose process is dead."""
        self._descriptors.look()
        store = self._open()
        now, rows = store.schedules.all()
        published = self._published(store)
        self._timings = {}
        for name, seen in self._descriptors.seen.items():
            if seen.resource is None:
                continue  # it cannot be read: what was known of it stays as it is
            try:
                timing = timing_of(seen.resource)
            except ValueError as error:
                if self._time(f"timing {name} {seen.stamp}", 3600.0):
                    log.warning("the schedule of %s cannot be read: %s", name, error)
                continue
            # the first ingest is a person's decision, and so is `hven remove`
            if timing is None or name not in published:
                continue
            self._timings[name] = timing
            row = rows.get(name)
            if row is None or planned(row, name, timing, now, self._settings.schedule, last=published[name]) != row:
                self._planned(store, name, timing, published[name])
        for name, row in rows.items():
            if row.holder is not None and name not in self._runs.values():
                self._bury(store, row)
            elif name in self._timings or row.holder is not None or row.paused is not None or row.timing == BY_HAND:
                continue  # a pause is a person's word, and so is what they ran
            elif self._gone(name):
                store.schedules.change(name, _dropped)

    def _planned(self, store: Store, name: str, timing: Timing, last: float) -> None:
        def step(row: Schedule | None, now: float) -> tuple[Schedule | None, Iterable[Alert]]:
            return planned(row, name, timing, now, self._settings.schedule, last=last), ()

        before, after = store.schedules.change(name, step)
        if after is not None and (before is None or before.timing != after.timing):
            log.info("%s: %s, next at %s", name, timing, iso(after.due))

    def _gone(self, name: str) -> bool:
        """Return whether a collection has a schedule no more: not while its descriptor has faults."""
        seen = self._descriptors.seen.get(name)
        return seen is None or (seen.resource is not None and seen.problem is None)

    def _published(self, store: Store) -> dict[str, float]:
        """Return when each collection was published last (seconds since 1970)."""
        version = store.version()
        if self._known[0] != version:
            self._known = version, store.published()
        return self._known[1]

    def _begin(self) -> None:
        """Begin what is due, the longest overdue first, as many at once as may be."""
        now, rows = self._open().schedules.all()
        held = self._open().held()
        mine = {name: row for name, row in rows.items() if name in self._timings and name not in self._runs.values()}
        due = [row for name, row in mine.items() if is_due(row, now, held=name in held)]
        due.sort(key=lambda row: (row.asked is None, row.asked or row.due))
        elsewhere = sum(row.holder is not None and name not in self._runs.values() for name, row in rows.items())
        for row in due[: max(self._settings.schedule.runs - len(self._runs) - elsewhere, 0)]:
            log.info("the sync of %s begins", row.collection)
            pid = self._fork(partial(self._follow, row.collection))
            self._runs[pid] = row.collection

    def _follow(self, name: str, me: int) -> None:
        """Run as the child that follows a collection."""
        forks.called("hven-sync")
        follow(self._settings, name, me, sync=self._sync, lease=self._seconds)

    def _late(self) -> None:
        """Alert people of data that are stale."""
        store = self._open()
        now, rows = store.schedules.all()
        published = self._published(store)
        ways = ways_of(self._settings)
        for name in self._timings.keys() - store.held().keys():
            row, timing = rows.get(name), self._timings[name]
            limit = stale_at(timing, row, published.get(name), self._settings.schedule.stale, now)
            if row is None or row.holder is not None or limit is None or now < limit:
                continue
            if not row.failures and now - max(row.due, self._since) < PENDING:
                continue  # its time has come a moment ago: nobody served the site before, or others are first
            last = max(row.succeeded or 0.0, published.get(name, 0.0))
            message = f"{name} is stale: its last good sync was {span(now - last)} ago, and it should be {timing}"

            def step(
                row: Schedule | None, now: float, message: str = message
            ) -> tuple[Schedule | None, Iterable[Alert]]:
                return (row, ()) if row is None else told_of(row, STALE, message, now, self._settings.alerts, ways)

            store.schedules.change(name, step)

    # --- processes -------------------------------------------------------------------------------------------

    def _fork(self, run: Callable[[int], None]) -> int:
        return self._forked(run, "a process of the schedule", log)

    def _send(self) -> None:
        """Fork a child that sends the alerts which are due: it may take long."""
        if "send" not in self._helpers and self._open().schedules.pending():
            self._helpers["send"] = self._fork(partial(_told, self._settings))

    def _verify(self) -> None:
        """Fork a child that reads the files which are to be verified."""
        if "verify" not in self._helpers and verifying.due(self._settings, self._open())[0]:
            self._helpers["verify"] = self._fork(partial(verifying.keep_verified, self._settings))

    def _gather(self) -> None:
        """Reap the children that have ended; a run that could not say how is told as dead."""
        self._helpers = {what: pid for what, pid in self._helpers.items() if not os.waitpid(pid, os.WNOHANG)[0]}
        for pid, name in list(self._runs.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._runs[pid]
                if status:
                    row = self._open().schedules.all()[1].get(name)
                    if row is not None and row.holder is not None:
                        self._bury(self._open(), row, forks.how(status))

    def _bury(
        self, store: Store, row: Schedule, how: str = "killed, or the machine went down", outcome: Outcome | None = None
    ) -> None:
        """End a run whose process is dead: certainly so on this machine, or its lease is over."""
        if row.holder is None:
            return
        if not dead(row.holder) and any(lease.name == lease_of(row.collection) for lease in store.leases.all()):
            return
        found = outcome or Outcome(how=FAILED, phase=ABORTED, message=DIED.format(how=how))
        close(store, self._settings, row.collection, found, mine=row.holder)

    def _end(self) -> None:
        """End the runs, wait for them, and hand the lease to whoever is next."""
        children = [*self._runs, *self._helpers.values()]
        end = time.monotonic() + GRACE
        while children and time.monotonic() < end:
            # again: one that had only just begun did with the first what we do, and went on
            if self._time("tell", 1.0):
                for pid in children:
                    forks.tell(pid, signal.SIGTERM)
            children = [pid for pid in children if not os.waitpid(pid, os.WNOHANG)[0]]
            time.sleep(0.02)
        for pid in children:
            forks.tell(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        try:
            store = self._open()
            rows = store.schedules.all()[1]
            for name in self._runs.values():  # those that we had to kill
                row = rows.get(name)
                if row is not None and row.holder is not None and dead(row.holder):
                    self._bury(
                        store,
                        row,
                        outcome=Outcome(
                            how=STOPPED, phase=ABORTED, message="the server was stopped; it goes on with the next one"
                        ),
                    )
            if self._lease is not None:
                store.leases.release(self._lease)
            store.close()
        except HvenError as error:
            log.warning("the schedules could not be handed over: %s", error)


def _preload(settings: Settings) -> None:
    """Import here what every run needs: runs are forks, and begin in milliseconds then."""
    plugins.load("engines", settings.engine)


def _dropped(row: Schedule | None, _: float) -> tuple[Schedule | None, Iterable[Alert]]:
    """Remove a schedule, unless it runs."""
    return (None if row is None or row.holder is None else row), ()


def _told(settings: Settings, _parent: int) -> None:
    """Run as the process that sends alerts."""
    forks.called("hven-alerts")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = Store(settings.var, settings.store)
    try:
        deliver(settings, store)
    finally:
        store.close()
