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

from hven.model.errors import ConflictError, ServiceError
from hven.site.store._database import format_current_time, leases, read_shared_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.site.store._database import StateDatabase

DEFAULT_LEASE_SECONDS = 60.0


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
    def display_holder(self) -> str:
        """Its holder, for a person: ``process 7 on host``."""
        return format_holder(self.holder)

    @property
    def is_alive(self) -> bool:
        """False once it is over by our own clock, or its holder is known to be dead."""
        return self.is_alive_at(time.time())

    def is_alive_at(self, timestamp: float) -> bool:
        """Return whether it is held, by another clock than this process's.

        Parameters
        ----------
        timestamp
            Seconds since 1970.
        """
        return self.expires > timestamp and not is_holder_dead(self.holder)


class LeaseStore:
    """The leases of a store."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def acquire_lease(
        self, name: str, *, duration_seconds: float = DEFAULT_LEASE_SECONDS, description: str = ""
    ) -> Lease:
        """Acquire a lease for this process.

        Raises
        ------
        ConflictError
            Somebody holds it; the message says who and since when.
        """
        me = get_process_holder()
        with self._database.begin_write() as connection:
            check_lease_free(connection, name)
            lease = Lease(
                name=name,
                holder=me,
                since=format_current_time(),
                expires=read_shared_clock(connection) + duration_seconds,
                what=description or name,
            )
            connection.execute(sa.delete(leases).where(leases.c.name == name))
            values = {"name": name, "holder": me, "what": lease.what, "since": lease.since, "expires": lease.expires}
            connection.execute(sa.insert(leases).values(**values))
        return lease

    def renew_lease(self, lease: Lease, *, duration_seconds: float = DEFAULT_LEASE_SECONDS) -> Lease:
        """Extend a lease.

        Raises
        ------
        ConflictError
            It was lost: it had run out, and somebody else took it.
        """
        with self._database.begin_write() as connection:
            expires = read_shared_clock(connection) + duration_seconds
            update_result = connection.execute(sa.update(leases).where(_is_same_lease(lease)).values(expires=expires))
            if update_result.rowcount != 1:
                raise ConflictError(f"the lease {lease.name!r} of {lease.since} was lost to another process")
        return replace(lease, expires=expires)

    def release_lease(self, lease: Lease) -> None:
        """Release a lease; one that was lost already is left alone."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(leases).where(_is_same_lease(lease)))

    def _acquire_with_retry(self, name: str, duration_seconds: float, description: str, wait_seconds: float) -> Lease:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return self.acquire_lease(name, duration_seconds=duration_seconds, description=description)
            except ConflictError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def list_leases(self) -> list[Lease]:
        """List every lease in force."""
        with self._database.begin_read() as connection:
            stored_leases = [
                Lease(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
                for row in connection.execute(sa.select(leases).order_by(leases.c.name))
            ]
            current_time = read_shared_clock(connection)
        return [lease for lease in stored_leases if lease.is_alive_at(current_time)]

    @contextmanager
    def hold_lease(
        self,
        name: str,
        *,
        duration_seconds: float = DEFAULT_LEASE_SECONDS,
        description: str = "",
        wait_seconds: float = 0.0,
    ) -> Iterator[Lease]:
        """Hold a lease for a block; a thread renews it every third of its time.

        Parameters
        ----------
        wait_seconds
            Seconds to wait for another holder.

        Raises
        ------
        ConflictError
            Somebody holds it, and goes on doing so.
        """
        lease = self._acquire_with_retry(name, duration_seconds, description, wait_seconds)
        stop_event = threading.Event()

        def renew_periodically() -> None:
            while not stop_event.wait(duration_seconds / 3):
                try:
                    self.renew_lease(lease, duration_seconds=duration_seconds)
                except ConflictError:
                    return  # `publish` checks the lease in its own transaction
                except ServiceError:
                    continue  # a busy or full disk now; the next turn may do better

        thread = threading.Thread(target=renew_periodically, name=f"lease {name}", daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            stop_event.set()
            thread.join()
            self.release_lease(lease)


def check_lease_free(connection: sa.Connection, name: str) -> None:
    """Refuse to go on while somebody holds a lease; part of the caller's transaction.

    Raises
    ------
    ConflictError
        The message says who holds it, and since when.
    """
    current_lease = _read_lease(connection, name)
    if current_lease is not None and current_lease.is_alive_at(read_shared_clock(connection)):
        raise ConflictError(
            f"{current_lease.what} is being done by {current_lease.display_holder} since {current_lease.since}",
            remedy="wait until it ends, or stop that process",
        )


def check_lease_held(connection: sa.Connection, lease: Lease) -> None:
    """Refuse to go on if `lease` was lost; part of the caller's transaction.

    Raises
    ------
    ConflictError
        Somebody else has it now.
    """
    if connection.execute(sa.select(leases.c.name).where(_is_same_lease(lease))).first() is None:
        raise ConflictError(
            f"the lease {lease.name!r} of {lease.since} was lost to another process: nothing was published",
            remedy="run it again",
        )


def get_process_holder() -> str:
    """Name this process so that others on this machine can see whether it lives.

    Returns
    -------
    holder
        ``host pid start namespace``.
    """
    pid = os.getpid()
    return f"{platform.node() or 'localhost'} {pid} {_read_process_start(pid)} {_identify_machine()}"


def format_holder(holder: str) -> str:
    """Write a holder for a person: ``process 7 on host``."""
    host, pid, *_ = holder.split()
    return f"process {pid} on {host}"


def _is_same_lease(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.since == lease.since)


def _read_lease(connection: sa.Connection, name: str) -> Lease | None:
    row = connection.execute(sa.select(leases).where(leases.c.name == name)).first()
    return None if row is None else Lease(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)


def is_holder_dead(holder: str) -> bool:
    """Return whether a holder is certainly gone: it ran on this very machine, and its process is no more.

    Parameters
    ----------
    holder
        As `get_process_holder` wrote it.
    """
    words = holder.split()
    if (
        len(words) != 4
        or words[0] != (platform.node() or "localhost")
        or words[3] != _identify_machine()
        or words[3] == "?"
    ):
        return False
    return _read_process_start(int(words[1])) != words[2]


def _read_process_start(pid: int) -> str:
    """Read when a process started, in clock ticks, which tells a number used again apart. Gone or unknown: ``?``."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "?"
    fields = text.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return "?"
    return fields[19]


def _identify_machine() -> str:
    """Name the running kernel and the process namespace: a container's process 7 is not the host's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot[:8]}-{Path('/proc/self/ns/pid').readlink().name.strip('pid:[]')}"
    except OSError:
        return "?"
