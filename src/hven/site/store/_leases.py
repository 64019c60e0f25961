"""Leases: one process of many holds each of them, for work that must happen once; a process that dies loses its own."""

from __future__ import annotations

import os
import platform
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import ConflictError, ServiceError
from hven.site.store._database import format_current_time, leases, read_shared_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.site.store._database import StateDatabase

DEFAULT_LEASE_SECONDS = 60.0
OLD_LEASE_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease: which process holds what, since when and until when; `what` describes the work for a person.

    Attributes
    ----------
    name
        What the lease is for.
    holder
        The process, as `get_process_holder` writes it.
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
        """The holder for display: ``process 7 on host``."""
        return format_holder(self.holder)

    @property
    def is_alive(self) -> bool:
        """Whether the lease has not expired by this process's clock, and its holder is not known to be dead."""
        return self.is_alive_at(time.time())

    def is_alive_at(self, timestamp: float) -> bool:
        """Return whether the lease is held, by another clock than this process's.

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
        self, lease_name: str, *, duration_seconds: float = DEFAULT_LEASE_SECONDS, description: str = ""
    ) -> Lease:
        """Acquire a lease for this process.

        Raises
        ------
        ConflictError
            Another process holds it; the message says which one and since when.
        """
        holder = get_process_holder()
        with self._database.begin_write() as connection:
            check_lease_free(connection, lease_name)
            lease = Lease(
                name=lease_name,
                holder=holder,
                since=format_current_time(),
                expires=read_shared_clock(connection) + duration_seconds,
                what=description or lease_name,
            )
            # names of processes do not come back
            has_expired = leases.c.expires < lease.expires - OLD_LEASE_SECONDS
            connection.execute(sa.delete(leases).where((leases.c.name == lease_name) | has_expired))
            connection.execute(sa.insert(leases).values(asdict(lease)))
        return lease

    def renew_lease(self, lease: Lease, *, duration_seconds: float = DEFAULT_LEASE_SECONDS) -> Lease:
        """Extend a lease.

        Raises
        ------
        ConflictError
            It was lost: it had expired, and another process took it.
        """
        with self._database.begin_write() as connection:
            expires = read_shared_clock(connection) + duration_seconds
            update_result = connection.execute(
                sa.update(leases).where(_build_same_lease_condition(lease)).values(expires=expires)
            )
            if update_result.rowcount != 1:
                raise ConflictError(
                    f"this process lost the lease {lease.name!r} (held since {lease.since}) to another process"
                )
        return replace(lease, expires=expires)

    def acquire_or_renew_process_lease(self, lease: Lease | None, kind: str, description: str) -> Lease | None:
        """Acquire or renew the lease by which this process tells newer versions of Hven that it uses the store.

        Returns
        -------
        lease
            None: the store lost it, and the next call acquires it again.
        """
        if lease is None:
            return self.acquire_lease(f"{kind} {get_process_holder()}", description=description)
        try:
            return self.renew_lease(lease)
        except ConflictError:
            return None

    def release_lease(self, lease: Lease) -> None:
        """Release a lease; one that was already lost is left alone."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(leases).where(_build_same_lease_condition(lease)))

    def _acquire_with_retry(
        self, lease_name: str, duration_seconds: float, description: str, wait_seconds: float
    ) -> Lease:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return self.acquire_lease(lease_name, duration_seconds=duration_seconds, description=description)
            except ConflictError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def list_leases(self) -> list[Lease]:
        """List every lease in force."""
        with self._database.begin_read() as connection:
            return list_leases_in_force(connection)

    @contextmanager
    def hold_lease(
        self,
        lease_name: str,
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
            Another process still holds it after that time.
        """
        lease = self._acquire_with_retry(lease_name, duration_seconds, description, wait_seconds)
        stop_event = threading.Event()

        def renew_periodically() -> None:
            while not stop_event.wait(duration_seconds / 3):
                try:
                    self.renew_lease(lease, duration_seconds=duration_seconds)
                except ConflictError:
                    return  # `publish` checks the lease in its own transaction
                except ServiceError:
                    continue  # the disk is busy or full now; the next renewal may succeed

        thread = threading.Thread(target=renew_periodically, name=f"lease {lease_name}", daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            stop_event.set()
            thread.join()
            self.release_lease(lease)


def list_leases_in_force(connection: sa.Connection) -> list[Lease]:
    """List every lease in force; part of the caller's transaction."""
    query = sa.select(leases).order_by(leases.c.name)
    stored_leases = [_lease_from_row(row) for row in connection.execute(query)]
    current_time = read_shared_clock(connection)
    return [lease for lease in stored_leases if lease.is_alive_at(current_time)]


def describe_lease_holders(connection: sa.Connection) -> list[str]:
    """Describe the processes that hold leases, with what they do; part of the caller's transaction."""
    return [f"{lease.display_holder} ({lease.what})" for lease in list_leases_in_force(connection)]


def check_lease_free(connection: sa.Connection, lease_name: str) -> None:
    """Check that no process holds a lease; part of the caller's transaction.

    Raises
    ------
    ConflictError
        The message says which process holds it, and since when.
    """
    current_lease = _read_lease(connection, lease_name)
    if current_lease is not None and current_lease.is_alive_at(read_shared_clock(connection)):
        raise ConflictError(
            f"{current_lease.what} is already running: {current_lease.display_holder}, since {current_lease.since}",
            remedy="wait until the process ends, or stop it",
        )


def check_lease_held(connection: sa.Connection, lease: Lease) -> None:
    """Check that `lease` was not lost.

    Parameters
    ----------
    connection
        The connection of the caller's transaction.
    lease
        The lease of the caller.

    Raises
    ------
    ConflictError
        Another process has it now.
    """
    if connection.execute(sa.select(leases.c.name).where(_build_same_lease_condition(lease))).first() is None:
        raise ConflictError(
            f"this process lost the lease {lease.name!r} (held since {lease.since}) to another process; "
            "nothing was published",
            remedy="run the command again",
        )


def get_process_holder() -> str:
    """Return a name of this process by which others on this machine can see whether it lives.

    Returns
    -------
    holder
        ``host pid start namespace``.
    """
    pid = os.getpid()
    return f"{_get_host_name()} {pid} {_read_process_start(pid)} {_identify_machine()}"


def format_holder(holder: str) -> str:
    """Return a holder in the form ``process 7 on host``."""
    host, pid, *_ = holder.split()
    return f"process {pid} on {host}"


def _build_same_lease_condition(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(leases.c.name == lease.name, leases.c.holder == lease.holder, leases.c.since == lease.since)


def _read_lease(connection: sa.Connection, lease_name: str) -> Lease | None:
    row = connection.execute(sa.select(leases).where(leases.c.name == lease_name)).first()
    if row is None:
        return None
    return _lease_from_row(row)


def _lease_from_row(row: sa.Row[Any]) -> Lease:
    return Lease(**row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)


def is_holder_dead(holder: str) -> bool:
    """Return whether a holder is certainly dead: it ran on this very machine, and its process has ended.

    Parameters
    ----------
    holder
        A process, as `get_process_holder` wrote it.
    """
    if not is_holder_visible(holder):
        return False
    _, pid, process_start, _ = holder.split()
    return _read_process_start(int(pid)) != process_start


def is_holder_visible(holder: str) -> bool:
    """Return whether this process can see if a holder lives: it runs on this machine, in the same process namespace."""
    words = holder.split()
    if len(words) != 4:
        return False
    host, _, _, machine = words
    return host == _get_host_name() and machine == _identify_machine() != "?"


def _get_host_name() -> str:
    return platform.node() or "localhost"


def _read_process_start(pid: int) -> str:
    """Return when a process started, in clock ticks; ``?``: it has ended, or this is not known.

    The start tells processes apart that have the same number one after another.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "?"
    fields = text.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return "?"
    return fields[19]


def _identify_machine() -> str:
    """Return a name of the running kernel and the process namespace: a container's process 7 is not the host's."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return "?"
    return f"{boot_id[:8]}-{namespace}"
