"""The status of the processes of running servers, in ``var/run``.

It says which settings wait for a restart, where a process reads, and which engines it cannot read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from hven.model.errors import ConflictError
from hven.site._engine_registry import EMBEDDED_ENGINE
from hven.site.store._leases import format_holder, get_process_holder, is_holder_dead, is_holder_visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.site.store import StateStore

SERVER_WAIT_SECONDS = 8.0  # time for a running server to notice a change
POLL_INTERVAL_SECONDS = 0.2
RENEWAL_INTERVAL_SECONDS = 10.0
MAX_STATUS_AGE_SECONDS = 60.0  # the process in another container that wrote an older file was killed
MAX_FORWARDING_PEERS = 20
forwarding_peers: dict[str, bool] = {}  # of this process; see `ServerProcess`


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """One process that answers clients.

    Attributes
    ----------
    holder
        Host, process and its start, as `hven.site.store.get_process_holder` writes them.
    since
        ISO time, UTC.
    data, store
        Where it reads: the directory of snapshots, the system state.
    waiting
        Settings that wait for a restart.
    problem
        What is wrong with the process; None: nothing.
    engines
        Engine -> why its rows cannot be read there; None: they can. The process does not know engines without an entry.
    failures
        Counts for pages that the process tries again and again, and why they fail.
    forwarding_peers
        Addresses from which X-Forwarded-For came -> whether they are trusted proxies.
    """

    holder: str
    since: str
    data: str
    store: str
    waiting: tuple[str, ...] = ()
    problem: str | None = None
    engines: Mapping[str, str | None] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    forwarding_peers: Mapping[str, bool] = field(default_factory=dict)

    @property
    def display_name(self) -> str:
        """Name of the process for display."""
        return f"the server ({format_holder(self.holder)}, since {self.since[:19].replace('T', ' ')})"


def record_forwarding_peer(address: str, *, is_trusted: bool) -> None:
    """Record that X-Forwarded-For came from an address. The first addresses are enough.

    Parameters
    ----------
    address
        Address of the peer.
    is_trusted
        Whether it is a trusted proxy: otherwise the header is ignored.
    """
    if len(forwarding_peers) < (2 * MAX_FORWARDING_PEERS if is_trusted else MAX_FORWARDING_PEERS):
        forwarding_peers[address] = is_trusted


class ServerStatusFile:
    """The file with the status of this process; it is removed when the process ends.

    Processes in other containers may have the same number, so the name of the file does not consist of this number.
    """

    def __init__(self, settings: Settings) -> None:
        digest = hashlib.sha256(get_process_holder().encode()).hexdigest()[:16]
        self._path = _get_run_directory(settings) / f"serving.{digest}.json"
        self._renewal_time = 0.0
        self._last_written: ServerProcess | None = None

    def write_status(self, server_process: ServerProcess) -> None:
        """Write the status, if it has changed since it was last written.

        Parameters
        ----------
        server_process
            Status of this process.
        """
        if server_process == self._last_written:
            return
        with contextlib.suppress(OSError):  # the site is served even if the disk is full
            self._path.parent.mkdir(exist_ok=True)  # a missing var/ is not created again
            new_path = self._path.with_suffix(".new")
            new_path.write_text(json.dumps(asdict(server_process)), encoding="utf-8")
            new_path.chmod(0o640)  # reasons of failures may name what is private
            new_path.replace(self._path)
            self._last_written = server_process
            self._renewal_time = time.monotonic()

    def renew_file(self) -> None:
        """Renew the time of the file, so that processes in other containers see that this process lives."""
        if self._last_written is None or time.monotonic() - self._renewal_time < RENEWAL_INTERVAL_SECONDS:
            return
        try:
            os.utime(self._path)
            self._renewal_time = time.monotonic()
        except FileNotFoundError:
            self._last_written = None  # the status is written again
        except OSError:  # the site is served even from a disk that is read-only
            pass

    def remove_file(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def list_server_processes(settings: Settings) -> list[ServerProcess]:
    """List the processes that answer clients, also in other containers that use the directory of the site.

    Files of dead processes are removed.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    processes
        Processes in the order of the names of their files.
    """
    processes = []
    for path in sorted(_get_run_directory(settings).glob("serving.*.json")):
        try:
            stored_values = json.loads(path.read_text(encoding="utf-8"))
            server_process = _build_server_process(stored_values)
            age_seconds = time.time() - path.stat().st_mtime
        except (
            OSError,
            ValueError,
            TypeError,
            AttributeError,
        ):  # the process ends right now, or another version wrote it
            continue
        is_old = age_seconds > MAX_STATUS_AGE_SECONDS and not is_holder_visible(server_process.holder)
        if is_old or is_holder_dead(server_process.holder):
            path.unlink(missing_ok=True)
        else:
            processes.append(server_process)
    return processes


def _build_server_process(stored_values: Mapping[str, Any]) -> ServerProcess:
    """Build the status from what a process of this version, or of another one, has written."""
    known_names = {known_field.name for known_field in fields(ServerProcess)}
    values: dict[str, Any] = {}
    for name in known_names & stored_values.keys():
        value = stored_values[name]
        values[name] = tuple(value) if isinstance(value, list) else value
    return ServerProcess(**values)


def wait_until_servers_can_read(settings: Settings, store: StateStore, engine: str) -> None:
    """Refuse to publish rows where a running server does not look, or that it cannot read.

    Its users would get errors instead of the rows.

    Parameters
    ----------
    settings
        Settings of the site.
    store
        Store of the site.
    engine
        Name of the engine that will have the rows.

    Raises
    ------
    ConflictError
        The message says what that server lacks.
    """
    data, store_label = get_storage_labels(settings, store)
    for server_process in list_server_processes(settings):
        compared_settings = (("data", server_process.data, data), ("store", server_process.store, store_label))
        for name, server_value, own_value in compared_settings:
            if server_value != own_value:
                raise ConflictError(
                    f"restart needed: {server_process.display_name} uses {name} = {server_value!r}, but this command "
                    f"uses {name} = {own_value!r}; users of the server would not see the published rows",
                    remedy=f"restart or stop the server, or undo the change to `{name}`; this command published "
                    "nothing",
                )
    if engine == EMBEDDED_ENGINE:
        return
    deadline = time.monotonic() + SERVER_WAIT_SECONDS
    while True:
        server_processes = list_server_processes(settings)
        blocking_servers = [process for process in server_processes if process.engines.get(engine, "") is not None]
        if not blocking_servers:
            return
        if time.monotonic() > deadline:
            blocking_server = blocking_servers[0]
            reason = (
                blocking_server.problem
                or blocking_server.engines.get(engine)
                or "the process does not know that engine"
            )
            raise ConflictError(
                f"{blocking_server.display_name} cannot read rows in {engine}: {reason}",
                remedy="restart the server with the settings and secrets of this command, or stop the server; "
                "this command published nothing",
            )
        time.sleep(POLL_INTERVAL_SECONDS)


def get_storage_labels(settings: Settings, store: StateStore) -> tuple[str, str]:
    """Return names for the directory of a site's snapshots and for its system state.

    What lies in ``var/`` has the name ``var`` wherever the site is mounted.

    Parameters
    ----------
    settings
        Settings of the site.
    store
        Store of the site.

    Returns
    -------
    data, state
        Two names.
    """
    data_label, store_label = "var", "var"
    if settings.data is not None:
        data_label = str(settings.data_directory.resolve())
    if settings.store is not None:
        store_label = store.display_address
    return data_label, store_label


def _get_run_directory(settings: Settings) -> Path:
    return settings.var_directory / "run"
