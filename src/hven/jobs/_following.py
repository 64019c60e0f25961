"""One run of a schedule, in a process of its own: takes it, follows the source, writes down how it ended."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hven.ingest import sync as syncing
from hven.jobs.operations import close
from hven.jobs.planning import BUSY, FAILED, GOOD, GUARD, STOPPED, Outcome, is_due
from hven.model import plugins
from hven.model.errors import Conflict, Guarded, HvenError
from hven.site import Site
from hven.site.store import Schedule, Store, holder, lease_name
from hven.site.store.runs import ABORTED, COMPLETED, ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from hven.model.settings import Settings
    from hven.site.store import Alert

log = logging.getLogger("hven.schedule")

LOOK = 0.5  # seconds between two looks whether the scheduler lives
LEASE = 60.0  # seconds after which a run that nobody sees any more counts as dead


class Stopped(BaseException):
    """The run is to end: it is no error, and nothing on its way may take it for one."""


class _Stop:
    """Raises `Stopped` in the main thread when the process is told to end while a run is in it; not while its end is written down."""

    def __init__(self) -> None:
        self.running = False
        self.said = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.said = True
        if self.running:
            self.running = False  # once is enough: what is tidied up then is not broken off
            raise Stopped


def lease_of(name: str) -> str:
    """Name the lease that a run holds as long as it lives."""
    return f"schedule {name}"


def follow(
    settings: Settings,
    name: str,
    parent: int,
    *,
    sync: Callable[[Site, str], str | None] | None = None,
    lease: float = LEASE,
) -> None:
    """Run a collection's schedule once, if it is due and nobody else does; the main thread of a process of its own.

    Parameters
    ----------
    parent
        Id of the scheduler; when it is gone, the run ends as if it were told to.
    sync
        What follows the source, and gives a line about it; None: `hven.ingest.sync`.
    lease
        Seconds after which other machines take this run for dead.
    """
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the scheduler says when to go
    threading.Thread(target=_orphaned, args=(parent,), name="parent", daemon=True).start()
    store = Store(settings.var, settings.store)
    try:
        with store.leases.held(lease_of(name), seconds=lease, what=f"the scheduled sync of {name}"):
            before, taken = store.schedules.change(name, partial(_take, held=name in store.held()))
            if before is None or taken is None or taken.holder != holder():
                return
            outcome = _run(settings, name, sync or partial(synchronise, unheld=before.asked is None), stop)
            close(store, settings, name, outcome, mine=holder())
    except Conflict:  # another scheduler's run of it has begun
        return
    finally:
        store.close()


def _take(row: Schedule | None, now: float, *, held: bool) -> tuple[Schedule | None, Iterable[Alert]]:
    if row is None or not is_due(row, now, held=held):
        return row, ()
    return replace(row, holder=holder(), began=now, asked=None), ()


def _run(settings: Settings, name: str, sync: Callable[[Site, str], str | None], stop: _Stop) -> Outcome:
    """Follow the source once; whatever happens is an outcome."""
    try:
        stop.running = not stop.said
        if stop.said:
            raise Stopped  # noqa: TRY301  (told while it began)
        return _tried(settings, name, sync)
    except Stopped:  # wherever it was, in what it says of a failure, too
        return Outcome(how=STOPPED, phase=ABORTED, message="the server was stopped; it goes on with the next one")
    finally:
        stop.running = False


def _tried(settings: Settings, name: str, sync: Callable[[Site, str], str | None]) -> Outcome:
    try:
        with Site(settings) as site:
            try:
                return Outcome(how=GOOD, phase=COMPLETED, message=sync(site, name))
            except Conflict as error:
                away = _taken(site, name) or syncing.resting(site, name) is not None
                return Outcome(how=BUSY if away else FAILED, phase=ERROR, message=str(error))
    except HvenError as error:
        return Outcome(how=GUARD if isinstance(error, Guarded) else FAILED, phase=ERROR, message=str(error))
    except MemoryError:
        return Outcome(how=FAILED, phase=ERROR, message="it needs more memory than there is")
    except Exception as error:
        where = plugins.blamed(error)
        log.exception("the sync of %s failed in %s", name, where)
        message = f"something went wrong in {where} ({type(error).__name__}: {error}); please report it"
        return Outcome(how=FAILED, phase=ERROR, message=message)


def synchronise(site: Site, name: str, *, unheld: bool = False) -> str | None:
    """Follow the source of a collection, `unheld`: unless it rests; return a line about what changed."""
    report = syncing.sync(site, name, unheld=unheld)
    if not report.changed:
        return "no change"
    return "; ".join(change.text() for change in report.changes.values() if change.any)


def _taken(site: Site, name: str) -> bool:
    """Return whether somebody else changes the collection now."""
    return any(lease.name == lease_name(name) and lease.holder != holder() for lease in site.store.leases.all())


def _orphaned(parent: int) -> None:
    """End the run when the process is gone that began it."""
    over = threading.Event()
    while os.getppid() == parent:
        over.wait(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
