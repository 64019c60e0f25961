"""Keep a list of the servers of a site in its system state: variant, version, and connections to databases.

Each process that answers clients renews its entry, whatever machine it runs on. It also holds a lease, so that a newer
version of Hven does not upgrade the system state in a way that this process could not use.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven import __version__
from hven.model.errors import HvenError
from hven.site import RequestObserver
from hven.site.api.state_tables import OLDEST_FORMAT_KEY, STATE_FORMAT, read_meta_value, read_shared_clock
from hven.site.api.store_tables import PackageTableSet
from hven.site.store import format_current_time, get_process_holder, is_holder_dead

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.site import Site
    from hven.site.api.store_tables import StateDatabase
    from hven.site.store import Lease

log = logging.getLogger("hven")
RENEWAL_INTERVAL_SECONDS = 10.0
ENTRY_LIFETIME_SECONDS = 60.0  # an entry that was not renewed for this time belongs to a process that has died

TABLES = PackageTableSet()
running_servers = TABLES.define_table(
    "running_servers",
    """
    holder      text key -- host, process and its start
    variant     text     -- empty: the site has one variant
    version     text     -- of Hven
    format      int      -- of the system state that this version writes
    since       text
    renewed     float    -- seconds since 1970, by the clock of the store
    connections text     -- JSON: engine -> counts
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """One process that answers clients.

    Attributes
    ----------
    holder
        Host, process and its start, as `hven.site.store.get_process_holder` writes them.
    variant
        Name of the variant; empty: the site has only one.
    version
        Version of Hven.
    format
        The format of the system state that this version writes.
    since
        ISO time, UTC.
    connections
        Engine -> ``size``, ``used``, ``kept``: counts of connections.
    """

    holder: str
    variant: str
    version: str
    format: int
    since: str
    connections: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class RunningServerStore:
    """The list of running servers in the system state.

    Parameters
    ----------
    database
        Database of the system state.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def record_server_and_drop_expired(self, server: RunningServer) -> None:
        """Record that a process answers clients now; entries of processes that died long ago are deleted."""
        values = {**asdict(server), "connections": json.dumps(server.connections)}
        with self._database.begin_write() as connection:
            current_time = read_shared_clock(connection)
            has_expired = running_servers.c.renewed < current_time - ENTRY_LIFETIME_SECONDS
            is_own_entry = running_servers.c.holder == server.holder
            connection.execute(sa.delete(running_servers).where(sa.or_(has_expired, is_own_entry)))
            connection.execute(sa.insert(running_servers).values(**values, renewed=current_time))

    def remove_server(self, holder: str) -> None:
        """Remove the entry of a process that stops."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(running_servers).where(running_servers.c.holder == holder))

    def read_state_formats(self) -> dict[str, int]:
        """Read the format of the system state, and the oldest one whose programs can use it."""
        with self._database.begin_read() as connection:
            format_number = int(read_meta_value(connection, "format") or 0)
            oldest_text = read_meta_value(connection, OLDEST_FORMAT_KEY)
        return {"format": format_number, "oldest": int(oldest_text or format_number)}

    def list_servers(self) -> list[RunningServer]:
        """List the processes that answer clients, by variant and start."""
        query = sa.select(running_servers).order_by(running_servers.c.variant, running_servers.c.since)
        with self._database.begin_read() as connection:
            oldest_time = read_shared_clock(connection) - ENTRY_LIFETIME_SECONDS
            rows = connection.execute(query).mappings().all()
        servers = []
        for row in rows:
            values = dict(row)
            if values.pop("renewed") > oldest_time and not is_holder_dead(row["holder"]):
                values["connections"] = json.loads(row["connections"])
                servers.append(RunningServer(**values))
        return servers


class ServerRegistration(RequestObserver):
    """Keeps the entry and the lease of this process as long as it answers clients.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._stop_event = threading.Event()
        self._thread: threading.Thread | None = None
        self._lease: Lease | None = None
        self._since = format_current_time()

    def start(self) -> None:
        """Register this process now and from time to time, in a thread."""
        self._since = format_current_time()
        self._stop_event.clear()
        self._thread = threading.Thread(target=self._renew_periodically, name="server registration", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Remove the entry, and release the lease."""
        if self._thread is None:
            return
        self._stop_event.set()
        self._thread.join()
        self._thread = None
        with contextlib.suppress(HvenError):  # without the store, the entry expires
            get_running_servers(self._site).remove_server(get_process_holder())
            if self._lease is not None:
                self._site.store.leases.release_lease(self._lease)
                self._lease = None

    def _renew_periodically(self) -> None:
        while True:
            try:
                self._renew_entry_and_lease()
            except HvenError as error:  # the health check of the store tells operators
                log.debug("this server could not be registered: %s", error)
            except Exception:  # without renewals the lease expires, and a newer version upgrades the state
                log.exception("this server could not be registered; it is tried again")
            if self._stop_event.wait(RENEWAL_INTERVAL_SECONDS):
                return

    def _renew_entry_and_lease(self) -> None:
        settings = self._site.settings
        description = f"the server {settings.variant or ''} with Hven {__version__}".replace("  ", " ")
        self._lease = self._site.store.leases.acquire_or_renew_process_lease(self._lease, "server", description)
        connections = {
            name: dict(engine.count_connections()) for name, engine in self._site.engines.map_open_engines().items()
        }
        server = RunningServer(
            holder=get_process_holder(),
            variant=settings.variant or "",
            version=__version__,
            format=STATE_FORMAT,
            since=self._since,
            connections={name: counts for name, counts in connections.items() if counts},
        )
        get_running_servers(self._site).record_server_and_drop_expired(server)


def get_running_servers(site: Site) -> RunningServerStore:
    """Return the list of running servers of a site."""
    return site.store.get_or_create(RunningServerStore)


def sum_connections(servers: Iterable[RunningServer]) -> dict[str, dict[str, int]]:
    """Add up the connections of processes, by engine."""
    totals: dict[str, dict[str, int]] = {}
    for server in servers:
        for engine, counts in server.connections.items():
            engine_totals = totals.setdefault(engine, {})
            for name, count in counts.items():
                engine_totals[name] = engine_totals.get(name, 0) + count
    return totals


def group_servers_by_variant(servers: Sequence[RunningServer]) -> list[dict[str, Any]]:
    """Group processes by variant, version and machine.

    Returns
    -------
    variants
        As JSON: ``name``, ``version``, ``format``, ``host``, ``since``, ``processes`` and ``connections``.
    """
    groups: dict[tuple[str, str, str], list[RunningServer]] = {}
    for server in servers:
        groups.setdefault((server.variant, server.version, server.holder.partition(" ")[0]), []).append(server)
    return [
        {
            "name": name,
            "version": version,
            "format": members[0].format,
            "host": host,
            "since": min(member.since for member in members),
            "processes": len(members),
            "connections": sum_connections(members),
        }
        for (name, version, host), members in groups.items()
    ]
