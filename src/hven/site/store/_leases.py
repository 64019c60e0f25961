"""Leases: what must happen once among many processes or machines holds one; who dies loses it."""

from __future__ import annotations

import os
import platform
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import Conflict, ServiceError
from hven.site.store._database import clock, leases, now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.site.store._database import Database

SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who holds what, since when, until when (seconds since 1970); `what` says it to a person.

    Attributes
    ----------
    name
        What it is of.
    holder
        As `holder` writes it.
    expires
        Seconds since 1970.
    """

    name: str
    holder: str
    since: str
    expires: float
    what: str = ""

    @property
    def shown(self) -> str:
        """Its holder, for a person: ``process 7 on host``."""
        return shown(self.holder)

    @property
    def alive(self) -> bool:
        """False once it is over by our own clock, or its holder is known to be dead."""
        return self.alive_at(time.time())

    def alive_at(self, moment: float) -> bool:
        """Return whether it is held, by another clock than this process's.

        Parameters
        ----------
        moment
            Seconds since 1970.
        """
        return self.expires > moment and not dead(self.holder)


class Leases:
    """The leases of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(self, name: str, *, seconds: float = SECONDS, what: str = "") -> Lease:
        """Acquire a lease for this process.

        Raises
        ------
        Conflict
            Somebody holds it; the message says who and since when.
        """
        me = holder()
        with self._database.writing() as connection:
            free(connection, name)
            lease = Lease(name=name, holder=me, since=now(), expires=clock(connection) + seconds, what=what or name)
            connection.execute(sa.delete(leases).where(leases.c.name == name))
            values = {"name": name, "holder": me, "what": lease.what, "since": lease.since, "expires": lease.expires}
            connection.execute(sa.insert(leases).values(**values))
        return lease

    def renew(self, lease: Lease, *, seconds: float = SECONDS) -> Lease:
        """Extend a lease.

        Raises
        ------
        Conflict
            It was lost: it had run out, and somebody else took it.
        """
        with self._database.writing() as connection:
            expires = clock(connection) + seconds
            done = connection.execute(sa.update(leases).where(_same(lease)).values(expires=expires))
            if done.rowcount != 1:
                raise Conflict(f"the lease {lease.name!r} of {lease.since} was lost to another process")
        return replace(lease, expires=expires)

    def release(self, lease: Lease) -> None:
        """Release a lease; one that was lost already is left alone."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(leases).where(_same(lease)))

    def _waited(self, name: str, seconds: float, what: str, wait: float) -> Lease:
        deadline = time.monotonic() + wait
        while True:
            try:
                return self.acquire(name, seconds=seconds, what=what)
            except Conflict:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def all(self) -> list[Lease]:
        """List every lease in force."""
        with self._database.reading() as connection:
            found = [Lease(**row._mapping) for row in connection.execute(sa.select(leases).order_by(leases.c.name))]  # noqa: SLF001  (SQLAlchemy's public name)
            moment = clock(connection)
        return [lease for lease in found if lease.alive_at(moment)]

    @contextmanager
    def held(self, name: str, *, seconds: float = SECONDS, what: str = "", wait: float = 0.0) -> Iterator[Lease]:
        """Hold a lease for a block; a thread renews it every third of its time.

        Parameters
        ----------
        wait
            Seconds to wait for another holder.

        Raises
        ------
        Conflict
            Somebody holds it, and goes on doing so.
        """
        lease = self._waited(name, seconds, what, wait)
        over = threading.Event()

        def keep() -> None:
            while not over.wait(seconds / 3):
                try:
                    self.renew(lease, seconds=seconds)
                except Conflict:
                    return  # `publish` checks the lease in its own transaction
                except ServiceError:
                    continue  # a busy or full disk now; the next turn may do better

        thread = threading.Thread(target=keep, name=f"lease {name}", daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            over.set()
            thread.join()
            self.release(lease)


def free(connection: sa.Connection, name: str) -> None:
    """Refuse to go on while somebody holds a lease; part of the caller's transaction.

    Raises
    ------
    Conflict
        The message says who holds it, and since when.
    """
    found = _read(connection, name)
    if found is not None and found.alive_at(clock(connection)):
        raise Conflict(
            f"{found.what} is being done by {found.shown} since {found.since}",
            remedy="wait until it ends, or stop that process",
        )


def check(connection: sa.Connection, lease: Lease) -> None:
    """Refuse to go on if `lease` was lost; part of the caller's transaction.

    Raises
    ------
    Conflict
        Somebody else has it now.
    """
    if connection.execute(sa.select(leases.c.name).where(_same(lease))).first() is None:
        raise Conflict(
            f"the lease {lease.name!r} of {lease.since} was lost to another process: nothing was published",
            remedy="run it again",
        )


def holder() -> str:
    """Name this process so that others on this machine can see whether it lives.

    Returns
    -------
    holder
        ``host pid start namespace``.
    """
    pid = os.getpid()
    return f"{platform.node() or 'localhost'} {pid} {_started(pid)} {_machine()}"


def shown(text: str) -> str:
    """Write a holder for a person: ``process 7 on host``."""
    host, pid, *_ = text.split()
    return f"process {pid} on {host}"


def _same(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.since == lease.since)


def _read(connection: sa.Connection, name: str) -> Lease | None:
    row = connection.execute(sa.select(leases).where(leases.c.name == name)).first()
    return None if row is None else Lease(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)


def dead(text: str) -> bool:
    """Return whether a holder is certainly gone: it ran on this very machine, and its process is no more.

    Parameters
    ----------
    text
        As `holder` wrote it.
    """
    words = text.split()
    if len(words) != 4 or words[0] != (platform.node() or "localhost") or words[3] != _machine() or words[3] == "?":
        return False
    return _started(int(words[1])) != words[2]


def _started(pid: int) -> str:
    """Read when a process started, in clock ticks, which tells a number used again apart. Gone or unknown: ``?``."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "?"
    fields = text.rpartition(")")[2].split()
    return "?" if fields[0] in {"Z", "X"} else fields[19]


def _machine() -> str:
    """Name the running kernel and the process namespace: a container's process 7 is not the host's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot[:8]}-{Path('/proc/self/ns/pid').readlink().name.strip('pid:[]')}"
    except OSError:
        return "?"
