"""`Site`: settings, store, engines and the current `Holdings`; what ingest, query and faces are given."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from hven.engines import Memory
from hven.model import Keeping, plugins
from hven.model.errors import HvenError
from hven.model.settings import Settled
from hven.site._build import build
from hven.site._engines import EMBEDDED, Engines
from hven.site._fallback import standing
from hven.site._live_tables import Lives
from hven.site._people import unusable
from hven.site._picture import OWNERS, USER_SCHEMA, Published
from hven.site._rights import Policies
from hven.site._tally import Tally
from hven.site.auth import DEFAULT, OWNER
from hven.site.counters import Counters
from hven.site.past import moment, past, unknown
from hven.site.serving import Serving, Sign, places
from hven.site.store import Store, holder
from hven.site.store._database import now
from hven.site.watch import Descriptors, Seen
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from hven.engines import Engine
    from hven.model.settings import Settings
    from hven.site._fallback import Damage
    from hven.site._picture import Holdings
    from hven.site.auth import Policy, Reader
    from hven.site.past import Past
    from hven.site.store import Record, Release, Verification

LOOK = 0.25  # seconds between two looks at the store and the descriptors
PASTS = 16  # earlier states that are remembered
AWAY = 3.0  # seconds between two looks at engines elsewhere


class Site(Keeping):
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
    settings, settled
        The settings in force: a server takes up most of what changes in hven.toml; and what of it waits for a restart.
    engines
        Every engine of the site, by name; a table's rows are asked of `engines.of(relation)`.
    counters
        Of requests and queries.
    tally
        What is used how often.
    """

    def __init__(self, settings: Settings, *, watch: bool = False, memory: int | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.settled = Settled(settings)
        remote.ceilings(settings.ceilings, settings.var / "turns")
        self.store = Store(settings.var, settings.store)
        try:
            self.store.claim(settings.kept)
            self.engines = Engines(settings, memory=memory, site=self.store.identity)
        except BaseException:
            self.store.close()
            raise
        self.counters = Counters.here()
        self.tally = Tally(self.store.uses, self.current)
        self._descriptors = Descriptors(settings, self.store.descriptors)
        self._lives = Lives(settings, self.engines)
        self.policies = Policies(self.engines.of)
        self._live = 0
        self._records: dict[str, Record] = {}
        self._served: Mapping[str, Record] = {}  # of them what is not damaged, or what is served instead
        self._releases: list[tuple[Release, list[Record]]] = []
        self._damaged: Mapping[str, Verification] = {}
        self._damages: tuple[Damage, ...] = ()
        self._faulty: Mapping[str, str] | None = None
        self._version = -1
        self._lock = threading.Lock()
        self._holdings: Holdings | None = None
        self._trouble: tuple[str, ...] = ()
        self._away: tuple[str, ...] = ()
        self._failing = False
        self._looked = 0.0
        self._since = now()
        self._own: dict[str, tuple[float, tuple[Published, ...]]] = {}
        self._past: dict[tuple[str, str], tuple[float, Past]] = {}
        self._after: list[Callable[[Holdings], None]] = []
        self._over = threading.Event()
        self._news = threading.Event()  # for the thread that looks at engines
        self._thread: threading.Thread | None = None
        self._sign: Sign | None = None
        if watch:
            self._sign = Sign(settings)
            self.refresh()
            self.look_at_files()
            self._thread = threading.Thread(target=self._watch, name="holdings", daemon=True)
            self._thread.start()
            threading.Thread(target=self._look_away, name="engines", daemon=True).start()
            self.tally.begin()

    @property
    def records(self) -> Mapping[str, Record]:
        """What is published, by table, as `current` saw it last."""
        return self._records

    def descriptors(self) -> list[Path]:
        """List the files of all descriptors."""
        return [file for seen in list(self._descriptors.seen.values()) for file in seen.files]

    def described(self, name: str) -> Seen | None:
        """Read the descriptor of a collection as it is now.

        Parameters
        ----------
        name
            Of the collection.

        Returns
        -------
        seen
            None: there is none.
        """
        self.refresh()
        return self._descriptors.seen.get(name)

    @property
    def engine(self) -> Engine:
        """The embedded engine: it computes over rows in memory, and keeps what readers upload."""
        return self.engines.embedded

    def current(self) -> Holdings:
        """Return the picture of now, at most a quarter of a second old.

        Raises
        ------
        StorageError
            The system state cannot be read, and never could in this process.
        """
        found = self._holdings
        if found is not None and (self._thread is not None or time.monotonic() - self._looked < LOOK):
            return found
        return self.refresh(wait=found is None)

    def as_of(self, wanted: str, who: Reader = OWNER, policies: Sequence[Policy] = DEFAULT) -> Past:
        """Return what was published at a time, or together with a snapshot, as far as it is kept.

        Parameters
        ----------
        wanted
            ISO 8601 (UTC unless it says otherwise; a day means its end), the label of a release, or the id of a snapshot or run.
        who, policies
            A release of which they may know nothing is none.

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
            found = past(self.store, at, self._descriptors.seen, Policies(self.engines.of), self.settings.projects)
            self._past[key] = (time.monotonic(), found)
        then = found.holdings
        if found.labelled and not any(
            one.qualified in then.published for one in then.catalogue(who, policies).tables()
        ):
            raise unknown(wanted)
        return found

    def after_changes(self, do: Callable[[Holdings], None]) -> None:
        """Register a function that is called with each new picture, from the thread that looks for changes. Without that thread it never is.

        Parameters
        ----------
        do
            Must be quick.
        """
        self._after.append(do)

    def hints(self) -> list[str]:
        """List which indexes the databases lack whose tables are read in place.

        Returns
        -------
        hints
            SQL to create them.
        """
        self.current()
        return self._lives.hints()

    def refresh(self, *, wait: bool = True) -> Holdings:
        """Refresh the picture from the store and the descriptors now, whatever the time.

        Parameters
        ----------
        wait
            False: if another thread is looking, return the last picture instead of waiting for it.

        Returns
        -------
        holdings
            The picture of now.
        """
        if not self._lock.acquire(blocking=wait):
            if self._holdings is not None:
                return self._holdings
            self._lock.acquire()
        try:
            return self._look()
        finally:
            self._lock.release()

    def _settle(self) -> bool:
        """Apply what changed in hven.toml; return whether anything did."""
        if not self.settled.look(self.engines.fixed()):
            return False
        remote.ceilings(self.settled.now.ceilings, self.settled.now.var / "turns")
        self.settings = self.settled.now
        self.engines.settle(self.settings)
        self._lives.settle(self.settings)
        self._descriptors.settle(self.settings)
        self._after.clear()  # the faces are made anew with them, and say again what they want to be told
        self._news.set()
        return True

    def _look(self) -> Holdings:
        changed = self._sign is not None and self._settle()
        changed |= self._descriptors.look()
        resources = {name: item.resource for name, item in self._descriptors.seen.items() if item.resource is not None}
        # where a thread looks at what is elsewhere, only what is new is looked at here
        self._lives.look(resources, known=self._thread is not None or not self._lives.due())
        changed |= self._lives.number != self._live
        self._live = self._lives.number
        trouble = (*self._away, *self._lives.problems())
        try:
            if self.store.version() != self._version:
                version, records = self.store.current()
                self._damaged = self.store.verifications.damaged()
                self._releases = self.store.releases.records()
                self._version, self._records = version, records
                changed = True
            faulty = self.engines.faulty()
            if changed or faulty is not self._faulty:
                self._stand(faulty)
                changed = True
        except HvenError as error:
            if self._holdings is None:
                raise
            trouble = (str(error), *trouble)
        if changed or self._holdings is None or trouble != self._trouble or self._failing:
            live = self._lives.published(resources)
            made = build(
                self._served,
                self._descriptors.seen,
                trouble,
                live,
                self._damages,
                policies=self.policies,
                releases=self._releases,
                projects=self.settings.projects,
            )
            problems = (*made.problems, *unusable(self.settings.people.tables, made.published))
            self._holdings = replace(made, own=self.own, problems=problems)
            self._trouble = trouble
            self._failing = False
        self._looked = time.monotonic()
        return self._holdings

    def _stand(self, faulty: Mapping[str, str]) -> None:
        """Find what is served of what is published: not what is damaged, if there is anything else."""
        self._faulty = faulty
        wrong = {ident: str(one.why) for ident, one in self._damaged.items()}

        def why(record: Record) -> str | None:
            return wrong.get(record.id) or (
                faulty.get(record.snapshot.path) if record.snapshot.engine == EMBEDDED else None
            )

        self._served, self._damages = standing(self.store, self._records, why)
        paths = {record.id: record.snapshot.path for record in self._records.values()}
        for collection in {one.collection for one in self._damaged.values()}:
            theirs = (
                self.store.snapshots(collection)
                if collection != USER_SCHEMA
                else [one for one, _ in self.store.user_tables.all()]
            )
            paths |= {record.id: record.snapshot.path for record in theirs}
        self.engines.refuse({paths[ident]: text for ident, text in wrong.items() if ident in paths})

    def look_at_files(self) -> None:
        """Check which files of what is published are missing or cut off; if that has changed, `current` is made anew."""
        self.engines.tidy()
        for record in {one.id: one for one in (*self._records.values(), *self._served.values())}.values():
            self.engines.missing(record.snapshot)
        if self.engines.faulty() != self._faulty:
            self.refresh()

    def own(self, owner: str) -> tuple[Published, ...]:
        """List the tables that a reader keeps here, at most a quarter of a second old.

        Parameters
        ----------
        owner
            Name of the reader.

        Returns
        -------
        tables
            As they are published to them alone.
        """
        known = self._own.get(owner)
        moment = time.monotonic()
        if known is None or moment - known[0] > LOOK:
            found = tuple(
                Published(
                    table=record.table,
                    relation=record.snapshot,
                    updated=record.created,
                    run=record.id,
                    rows=record.snapshot.rows,
                )
                for record, _ in self.store.user_tables.of(owner)
            )
            if len(self._own) >= OWNERS:
                self._own.clear()
            known = self._own[owner] = (moment, found)
        return known[1]

    def away(self) -> tuple[str, ...]:
        """Ask the engines whose tables are published here whether they answer. It may take a few seconds.

        Returns
        -------
        troubles
            A sentence for each that does not.
        """
        found = self._holdings or self.current()
        relations = {name: item.relation for name, item in found.published.items()}
        names = {one.engine for one in relations.values() if one is not None and not isinstance(one, Memory)} - {
            EMBEDDED
        }
        self.look_at_files()
        return tuple(self.engines.look(names))

    def _look_away(self) -> None:
        """Open the other engines before somebody asks for their tables, and notice when they are away."""
        while not self._over.is_set():
            self._news.clear()
            try:
                self._away = self.away()
                self._say()
                self._lives.look(self._holdings.resources if self._holdings is not None else {})
            except Exception as error:  # noqa: BLE001  (without this thread nobody would notice)
                self._failed(f"looking at the engines failed: {error if isinstance(error, HvenError) else repr(error)}")
            self._news.wait(AWAY)

    def _say(self) -> None:
        """Write down for other processes of this machine how this one is."""
        if self._sign is not None and not self._over.is_set():
            known = {name: self.engines.trouble(name) for name in plugins.names("engines")}
            data, store = places(self.settings, self.store)
            self._sign.say(
                Serving(
                    holder=holder(), since=self._since, data=data, store=store,
                    waiting=self.settled.waiting, problem=self.settled.problem, engines=known,
                )
            )  # fmt: skip

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

    def wait(self, seconds: float) -> bool:
        """Wait, for threads that work ahead.

        Parameters
        ----------
        seconds
            At most.

        Returns
        -------
        closing
            Whether the site is being closed.
        """
        return self._over.wait(seconds)

    def close(self) -> None:
        """Stop watching and free everything."""
        self._over.set()
        self._news.set()
        if self._sign is not None:
            self._sign.end()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.tally.end()
        self.engines.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
