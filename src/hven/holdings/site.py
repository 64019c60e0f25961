"""`Site`: settings, store, engine and the current `Holdings`; what ingest, query and faces are given."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from hven import plugins
from hven.errors import HvenError
from hven.holdings.build import build
from hven.holdings.picture import OWNERS, Published
from hven.holdings.watch import Descriptors
from hven.store import Store

if TYPE_CHECKING:
    from types import TracebackType

    from hven.engines import Engine
    from hven.holdings.picture import Holdings
    from hven.settings import Settings
    from hven.store import Record

LOOK = 0.25  # seconds between two looks at the store and the descriptors


class Site:
    """A site that is open in this process. Thread-safe; a context manager.

    Parameters
    ----------
    settings
        Of the site.
    watch
        True: a thread keeps `current` fresh (servers: no request waits for a rebuild).
        False: `current` looks itself, at most every quarter of a second.
    memory
        Bytes for the engine; None = `settings.limits.memory`.
    """

    def __init__(self, settings: Settings, *, watch: bool = False, memory: int | None = None) -> None:
        self.settings = settings
        self.store = Store(settings.var, settings.store)
        self.engine: Engine = plugins.load("engines", settings.engine).open(
            settings.var / "snapshots", memory=memory or settings.limits.memory
        )
        self._descriptors = Descriptors(settings)
        self._records: dict[str, Record] = {}
        self._version = -1
        self._lock = threading.Lock()
        self._holdings: Holdings | None = None
        self._trouble: str | None = None
        self._failing = False
        self._looked = 0.0
        self._own: dict[str, tuple[float, tuple[Published, ...]]] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if watch:
            self.refresh()
            self._thread = threading.Thread(target=self._watch, name="holdings", daemon=True)
            self._thread.start()

    def current(self) -> Holdings:
        """Give the state of now, at most a quarter of a second old.

        Raises
        ------
        StorageError
            The system state cannot be read, and never could in this process.
        """
        found = self._holdings
        if found is not None and (self._thread is not None or time.monotonic() - self._looked < LOOK):
            return found
        return self.refresh(wait=found is None)

    def refresh(self, *, wait: bool = True) -> Holdings:
        """Look at the store and the descriptors now, whatever the time.

        Parameters
        ----------
        wait
            False: if another thread is looking, give the last state instead of waiting for it.
        """
        if not self._lock.acquire(blocking=wait):
            if self._holdings is not None:
                return self._holdings
            self._lock.acquire()
        try:
            return self._look()
        finally:
            self._lock.release()

    def _look(self) -> Holdings:
        changed = self._descriptors.look()
        trouble = None
        try:
            if self.store.version() != self._version:
                self._version, self._records = self.store.current()
                changed = True
        except HvenError as error:
            if self._holdings is None:
                raise
            trouble = str(error)
        if changed or self._holdings is None or trouble != self._trouble or self._failing:
            self._holdings = replace(build(self._records, self._descriptors.seen, trouble), own=self.own)
            self._trouble = trouble
            self._failing = False
        self._looked = time.monotonic()
        return self._holdings

    def own(self, owner: str) -> tuple[Published, ...]:
        """Give the tables that a reader keeps here, at most a quarter of a second old."""
        known = self._own.get(owner)
        moment = time.monotonic()
        if known is None or moment - known[0] > LOOK:
            found = tuple(
                Published(table=record.table, relation=record.snapshot, updated=record.created, run=record.id, rows=record.snapshot.rows)
                for record, _ in self.store.user_tables.of(owner)
            )
            if len(self._own) >= OWNERS:
                self._own.clear()
            known = self._own[owner] = (moment, found)
        return known[1]

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            try:
                self.refresh()
            except Exception as error:  # noqa: BLE001  (without this thread nothing new would ever be seen)
                self._failed(f"looking for changes failed: {error if isinstance(error, HvenError) else repr(error)}")

    def _failed(self, problem: str) -> None:
        """Keep the last state and say what is wrong with it."""
        last = self._holdings
        self._failing = True
        if last is not None and problem not in last.problems:
            self._holdings = replace(last, problems=(*last.problems, problem))

    def close(self) -> None:
        """Stop watching and free everything."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.engine.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
