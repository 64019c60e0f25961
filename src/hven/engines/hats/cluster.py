"""The Spark cluster of a site: one session for each process, opened when it is first needed and anew when the server began anew; turns, and what it says of itself."""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hven.engines._clock import Watch
from hven.engines.hats import faults
from hven.engines.hats.connect import Session, batches
from hven.engines.hats.spark_functions import facts_of
from hven.model.errors import HvenError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.clock import Clock

PIECES = 16  # tasks by which the workers are looked at: each gets some


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a cluster says of itself.

    Attributes
    ----------
    version
        Of the server.
    pythons, hvens
        Versions on the workers -> the hosts that have them; an empty one: there is no Hven.
    unseen
        Root -> who does not see it: ``the Connect server``, or names of hosts.
    fault
        Why the workers said nothing; empty: they did.
    """

    version: str
    pythons: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hvens: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unseen: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fault: str = ""


class Cluster:
    """One cluster, by the address of its Connect server. Thread-safe; nothing is loaded or asked before somebody needs it.

    Parameters
    ----------
    url
        ``sc://host:15002``, with ``/;token=..;use_ssl=true`` if it asks for them.
    at_once
        Statements of this process that may run at a time.

    Raises
    ------
    UsageError
        It is no such address.
    """

    def __init__(self, url: str, *, at_once: int = 4) -> None:
        parts = urlsplit(url)
        if parts.scheme != "sc" or not parts.hostname:
            raise UsageError(
                f"{url.split(';', 1)[0]!r} is no address of a Spark Connect server", remedy="sc://host:15002"
            )
        self.url = url
        self.where = f"{parts.hostname}:{parts.port or 15002}"
        self.watch = Watch()
        self._at_once = max(1, at_once)
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._turns = threading.Condition()
        self._running = 0
        self._fault: tuple[HvenError, float] | None = None

    def session(self) -> Session:
        """Return the session, opened if there is none.

        Raises
        ------
        Unavailable
            The server does not answer.
        """
        begun = time.monotonic()
        with self._lock:
            if self._session is None:
                if self._fault is not None and self._fault[1] > begun:
                    raise self._fault[0]  # of who asked while this one waited
                try:
                    self._session = Session(self.url, self.where)
                except HvenError as error:
                    self._fault = error, time.monotonic()
                    raise
                self._fault = None
            return self._session

    def forget(self, session: Session, *, away: bool) -> None:
        """Leave a session whose server is away, or began anew."""
        with self._lock:
            self._fault = (faults.silent(self.where), time.monotonic()) if away else None
            if self._session is session:
                self._session = None
                session.close()

    def problem(self) -> str | None:
        """Return what keeps the cluster from answering; nobody is asked before somebody needed it."""
        session = self._session
        if session is None and self._fault is None:
            return None
        try:
            (session or self.session()).answers()
        except HvenError as error:
            if session is not None and error.__cause__ is not None and faults.away(error.__cause__):
                self.forget(session, away=True)
            return str(error)
        return None

    @contextmanager
    def turn(self, stopped: Callable[[], bool], clock: Clock | None) -> Iterator[None]:
        """Wait for one of the turns, until somebody stops it or the time is over; then `stopped` is to be asked."""
        with self._turns:
            while self._running >= self._at_once and not stopped() and (clock is None or clock.left > 0):
                self._turns.wait(None if clock is None else max(clock.left, 0.01))
            self._running += 1
        try:
            yield
        finally:
            with self._turns:
                self._running -= 1
                self._turns.notify_all()

    def wake(self) -> None:
        """Have those look who wait for a turn: one of them was stopped."""
        with self._turns:
            self._turns.notify_all()

    def look(self, roots: Sequence[str] = ()) -> Facts:
        """Ask the cluster for its version, the Python and the Hven of its workers, and whether all see the roots.

        Parameters
        ----------
        roots
            Paths of directories.

        Raises
        ------
        Unavailable
            The server does not answer.
        """
        session = self.session()
        unseen: dict[str, list[str]] = {}
        for root in roots:
            probe = session.messages.Relation()
            probe.read.data_source.format = "binaryFile"
            probe.read.data_source.paths.append(_some(root))
            try:
                session.schema(probe)
            except session.errors as error:
                if faults.said(error)[0] != "PATH_NOT_FOUND":
                    raise faults.translate(error, where=self.where) from error
                unseen.setdefault(root, []).append("the Connect server")
        pythons: dict[str, list[str]] = {}
        hvens: dict[str, list[str]] = {}
        name = f"hven_facts_{uuid.uuid4().hex}"
        fault = ""
        try:
            session.register(name, facts_of(tuple(roots)), "VARCHAR")
            asked = session.sql(f"SELECT DISTINCT {name}(id) AS said FROM range(0, {PIECES}, 1, {PIECES})", {}, {})
            for batch in batches(session.ask(asked)):
                for said in batch.column(0).to_pylist():
                    host, python, version, *away = said.split("\t")
                    _note(pythons, python, host)
                    _note(hvens, version, host)
                    for root in away:
                        _note(unseen, root, host)
        except session.errors as error:
            fault = str(faults.translate(error, where=self.where))
        return Facts(
            version=session.version,
            pythons=pythons,
            hvens=hvens,
            unseen=unseen,
            fault=fault,
        )

    def close(self) -> None:
        """Leave the cluster."""
        self.watch.close()
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()


def _some(root: str) -> str:
    """Name a file below a directory, if there is one: the server would list all that is in a directory."""
    return next((str(Path(place, names[0])) for place, _, names in os.walk(root) if names), root)


def _note(found: dict[str, list[str]], key: str, host: str) -> None:
    if host not in found.setdefault(key, []):
        found[key].append(host)


__all__ = ["Cluster", "Facts"]
