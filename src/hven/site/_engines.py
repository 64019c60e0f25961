"""`Engines`: the engines of a site, opened when they are first needed; one that is away stops its own tables only."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from hven.engines import Memory, kind, live
from hven.model import plugins
from hven.model.errors import HvenError, StorageError, Unavailable
from hven.sources.stores import WebCatalogues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from hven.engines import Engine, Relation, Snapshot
    from hven.model.settings import Settings

EMBEDDED = "duckdb"
LIVE = "live "  # begins the names of the engines of databases that are read in place; the database's url follows
HINDERED = "its tables are served, and large queries of them refused"
PAUSE = 2.0  # seconds before an engine that could not be opened is tried again: nobody waits for it meanwhile


def _begun(directory: Path, site: Path) -> None:
    """Make a directory; below the site's own, not that one: a site that is renamed under a process is not begun anew in its place.

    Raises
    ------
    StorageError
        It cannot be made, or the site is gone.
    """
    try:
        if directory.is_relative_to(site):
            for one in reversed([directory, *directory.parents]):
                if one != site and one.is_relative_to(site):
                    one.mkdir(exist_ok=True, mode=0o700)
        else:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        message = f"the directory {directory} cannot be made: {error.strerror}"
        raise StorageError(
            message, remedy="look at the rights of the site's directory, and whether its disk is mounted"
        ) from error


class Engines:
    """The engines of a site in this process. Thread-safe.

    Parameters
    ----------
    memory
        Bytes for each; None = `settings.limits.memory`.
    site
        Gives the identity of the site, by which a database knows its own; None = nobody asks.
    """

    def __init__(self, settings: Settings, *, memory: int | None = None, site: Callable[[], str] | None = None) -> None:
        self._site = site
        self.default = settings.engine
        self._settings = settings
        self._memory = memory or settings.limits.memory
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._open: dict[str, Engine] = {}
        self._failed: dict[str, tuple[float, HvenError]] = {}
        self.limits: dict[str, float] = {}
        self.embedded = self.get(EMBEDDED)

    def get(self, name: str) -> Engine:
        """Return an engine; open it if that has not happened.

        Parameters
        ----------
        name
            ``duckdb``, ``postgres``, or a database that is read in place.

        Returns
        -------
        engine
            Open, the same at each call.

        Raises
        ------
        UserError
            No engine is called so.
        StorageError
            It cannot be opened now; the tables of the others are served all the same.
        """
        found = self._open.get(name)
        if found is not None:
            return found
        with self._lock:
            opening = self._opening.setdefault(name, threading.Lock())
        with opening:  # one at a time for each engine: who waits for a database keeps nobody else waiting
            found = self._open.get(name)
            if found is not None:
                return found
            before = self._failed.get(name)
            if before is not None and time.monotonic() - before[0] < PAUSE:
                raise StorageError(before[1].message, remedy=before[1].remedy)
            try:
                found = self._opened(name)
            except HvenError as error:
                self._failed[name] = (time.monotonic(), error)
                raise
            self._failed.pop(name, None)
            self._open[name] = found
            return found

    def _opened(self, name: str) -> Engine:
        if name.startswith(LIVE):  # a database that is read in place: one engine for each
            url, most = self._settings.resolved(name.removeprefix(LIVE)), self._settings.live
            here, seconds = self._settings.kept / "engine-live", self.limits.get(name, 60.0)
            found: Engine = live().open(
                here, name=name, memory=self._memory, url=url, pool=most.pool, at_once=most.at_once, seconds=seconds
            )
            return found
        where = self._settings.kept / ("snapshots" if name == EMBEDDED else f"engine-{name}")
        brought = kind(name)
        options = {**brought.options(self._settings, self._site or str)}
        if brought.webs:
            options["webs"] = WebCatalogues(allow_private=self._settings.allow_private)
        _begun(where.parent, self._settings.directory)
        engine: Engine = plugins.load("engines", name).open(where, memory=self._memory, **options)
        return engine

    def missing(self, snapshot: Snapshot) -> str | None:
        """Check that the files of a snapshot are there, as far as its engine can tell at once.

        Parameters
        ----------
        snapshot
            Of any engine.

        Returns
        -------
        file
            The first that is not; None: all are, or the engine is not open.
        """
        engine = self._open.get(snapshot.engine)
        return None if engine is None else engine.missing(snapshot)

    def faulty(self) -> Mapping[str, str]:
        """Return the paths of snapshots of which files are missing or cut off, as this process found them, and which."""
        return self.embedded.faulty

    def refuse(self, damaged: Mapping[str, str]) -> None:
        """Refuse the rows of damaged snapshots to everybody.

        Parameters
        ----------
        damaged
            `Snapshot.path` -> the reason.
        """
        self.embedded.refuse(damaged)

    def tidy(self) -> None:
        """Release snapshots that were removed."""
        for engine in self.opened():
            engine.tidy()

    def settle(self, settings: Settings) -> None:
        """Apply other settings: what is not open yet is opened with them.

        Parameters
        ----------
        settings
            Of the site.
        """
        self._settings, self.default = settings, settings.engine

    def fixed(self) -> list[str]:
        """List the sections of the settings with which something is open."""
        return [
            section for name in self.opened_by_name() if not name.startswith(LIVE) and (section := kind(name).section)
        ]

    def trouble(self, name: str) -> str | None:
        """Return why the rows of an engine cannot be read here.

        Parameters
        ----------
        name
            Of the engine.

        Returns
        -------
        trouble
            None: they can, or nobody has asked for them yet.
        """
        brought = kind(name)
        return brought.lacks(self._settings) or (self._problem(name) if brought.section or name in self._open else None)

    def _problem(self, name: str) -> str | None:
        try:
            return self.get(name).problem()
        except HvenError as error:
            return str(error)

    def limited(self, name: str, seconds: float) -> None:
        """Limit how long a statement may take in a database that is read in place; the shortest of all limits counts.

        Parameters
        ----------
        name
            Of the database.
        seconds
            At most.
        """
        self.limits[name] = min(seconds, self.limits.get(name, seconds))

    def of(self, relation: Relation) -> Engine:
        """Return the engine that has some rows; rows in memory are the embedded one's.

        Parameters
        ----------
        relation
            A snapshot, or rows in memory.
        """
        return self.embedded if isinstance(relation, Memory) else self.get(relation.engine)

    def answering(self, name: str) -> Engine:
        """Return an engine to readers: what keeps it from being opened is its owner's business, who finds it in the log and at /health.

        Parameters
        ----------
        name
            Of the engine.

        Raises
        ------
        Unavailable
            It cannot be opened now.
        """
        try:
            return self.get(name)
        except Unavailable:
            raise
        except HvenError as error:
            here = "their database" if name.startswith(LIVE) else f"the engine {name}"
            raise Unavailable(
                f"these rows are in {here}, which does not answer here", remedy="try again later"
            ) from error

    def opened(self) -> list[Engine]:
        """List those that are open."""
        return list(self._open.values())

    def opened_by_name(self) -> dict[str, Engine]:
        """Return those that are open, by name."""
        return dict(self._open)

    def drop(self, snapshots: Iterable[Snapshot]) -> list[str]:
        """Remove snapshots, each from its engine. What cannot be removed now goes with the next sweep.

        Parameters
        ----------
        snapshots
            Of any engines.

        Returns
        -------
        troubles
            Why some could not be removed.
        """
        troubles: dict[str, None] = {}
        for snapshot in snapshots:
            try:
                self.get(snapshot.engine).drop(snapshot)
            except HvenError as error:
                troubles[f"the snapshot {snapshot.id} cannot be removed now: {error}"] = None
        return list(troubles)

    def look(self, names: Iterable[str]) -> list[str]:
        """Open the engines that tables need. May take a while: not for who must answer.

        Parameters
        ----------
        names
            Of engines.

        Returns
        -------
        troubles
            A sentence for each that cannot be opened, or does not answer everything.
        """
        found = []
        for name in sorted(set(names)):
            if said := self._problem(name):
                found.append(f"engine {name}: {said}; its tables are not served")
            elif said := self.get(name).hindered():
                found.append(f"engine {name}: {said}; {HINDERED}")
        return found

    def close(self) -> None:
        """Close them all."""
        for engine in self.opened():
            engine.close()


__all__ = ["EMBEDDED", "HINDERED", "LIVE", "Engines"]
