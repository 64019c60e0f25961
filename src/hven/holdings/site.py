"""`Site`: settings, store, engines and the current `Holdings`; what ingest, query and faces are given."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from hven.engines import Memory
from hven.errors import HvenError
from hven.holdings.build import build
from hven.holdings.counters import Counters
from hven.holdings.engines import EMBEDDED, Engines
from hven.holdings.live import Lives
from hven.holdings.past import moment, past
from hven.holdings.picture import OWNERS, Published
from hven.holdings.watch import Descriptors
from hven.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from hven.engines import Engine
    from hven.holdings.past import Past
    from hven.holdings.picture import Holdings
    from hven.settings import Settings
    from hven.store import Record

LOOK = 0.25  # seconds between two looks at the store and the descriptors
PASTS = 16  # earlier states that are remembered
AWAY = 3.0  # seconds between two looks at engines elsewhere


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
        Bytes for each engine; None = `settings.limits.memory`.

    Attributes
    ----------
    engines
        Every engine of the site, by name; a table's rows are asked of `engines.of(relation)`.
    counters
        Of requests and queries.
    """

    def __init__(self, settings: Settings, *, watch: bool = False, memory: int | None = None) -> None:
        self.settings = settings
        self.store = Store(settings.var, settings.store)
        try:
            self.store.claim(settings.kept)
            self.engines = Engines(settings, memory=memory, site=self.store.identity)
        except BaseException:
            self.store.close()
            raise
        self.counters = Counters.here()
        self._descriptors = Descriptors(settings)
        self._lives = Lives(settings, self.engines)
        self._live = 0
        self._records: dict[str, Record] = {}
        self._version = -1
        self._lock = threading.Lock()
        self._holdings: Holdings | None = None
        self._trouble: tuple[str, ...] = ()
        self._away: tuple[str, ...] = ()
        self._failing = False
        self._looked = 0.0
        self._own: dict[str, tuple[float, tuple[Published, ...]]] = {}
        self._past: dict[tuple[str, str], tuple[float, Past]] = {}
        self._after: list[Callable[[Holdings], None]] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if watch:
            self.refresh()
            self._thread = threading.Thread(target=self._watch, name="holdings", daemon=True)
            self._thread.start()
            threading.Thread(target=self._look_away, name="engines", daemon=True).start()

    @property
    def engine(self) -> Engine:
        """The embedded engine: it computes over rows in memory, and keeps what readers upload."""
        return self.engines.embedded

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

    def as_of(self, wanted: str) -> Past:
        """Give what was published at a time, or together with a snapshot, as far as it is kept.

        Parameters
        ----------
        wanted
            ISO 8601 (UTC unless it says otherwise; a day means its end), or the id of a snapshot or run.

        Raises
        ------
        ParamError
            It is neither.
        """
        at = moment(self.store, wanted)
        now = self.current()
        key = (at, now.version)
        made, found = self._past.get(key, (0.0, None))
        if found is None or time.monotonic() - made > LOOK:  # what is kept may have become less
            if len(self._past) >= PASTS:
                self._past.clear()
            found = past(self.store, at, self._descriptors.seen)
            self._past[key] = (time.monotonic(), found)
        return found

    def after_changes(self, do: Callable[[Holdings], None]) -> None:
        """Call `do` with each new state, from the thread that looks for changes; it must be quick. Without that thread never."""
        self._after.append(do)

    def hints(self) -> list[str]:
        """Say which indexes the databases lack whose tables are read in place."""
        self.current()
        return self._lives.hints()

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
        resources = {name: item.resource for name, item in self._descriptors.seen.items() if item.resource is not None}
        # where a thread looks at what is elsewhere, only what is new is looked at here
        self._lives.look(resources, known=self._thread is not None or not self._lives.due())
        changed |= self._lives.number != self._live
        self._live = self._lives.number
        trouble = (*self._away, *self._lives.problems())
        try:
            if self.store.version() != self._version:
                self._version, self._records = self.store.current()
                changed = True
        except HvenError as error:
            if self._holdings is None:
                raise
            trouble = (str(error), *trouble)
        if changed or self._holdings is None or trouble != self._trouble or self._failing:
            self._holdings = replace(build(self._records, self._descriptors.seen, trouble, self._lives.published(resources)), own=self.own)
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

    def away(self) -> tuple[str, ...]:
        """Ask the engines whose tables are published here whether they answer; say what is wrong. It may take a few seconds."""
        found = self._holdings or self.current()
        relations = [item.relation for item in found.published.values()]
        names = {one.engine for one in relations if one is not None and not isinstance(one, Memory)} - {EMBEDDED}
        return tuple(self.engines.look(names))

    def _look_away(self) -> None:
        """Open the other engines before somebody asks for their tables, and notice when they are away."""
        wait = 0.0
        while not self._over.wait(wait):
            wait = AWAY
            try:
                self._away = self.away()
                self._lives.look(self._holdings.resources if self._holdings is not None else {})
            except Exception as error:  # noqa: BLE001  (without this thread nobody would notice)
                self._failed(f"looking at the engines failed: {error if isinstance(error, HvenError) else repr(error)}")

    def _watch(self) -> None:
        told: Holdings | None = None
        while not self._over.wait(LOOK):
            try:
                found = self.refresh()
                if found is not told and self._after:
                    told = found
                    for do in self._after:
                        do(found)
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
        self.engines.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
