"""What the processes of running servers say of themselves, in ``var/run``.

Settings that wait for a restart, where they read, engines that they cannot read.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import ConflictError
from hven.site._engine_registry import EMBEDDED_ENGINE
from hven.site.store._leases import format_holder, is_holder_dead

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.site.store import StateStore

SERVER_WAIT_SECONDS = 8.0  # seconds in which a server may notice what has changed
POLL_INTERVAL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """One process that answers readers.

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
        What is wrong with it; None: nothing.
    engines
        Engine -> why its rows cannot be read there; None: they can. One that is not in it is not known there.
    """

    holder: str
    since: str
    data: str
    store: str
    waiting: tuple[str, ...] = ()
    problem: str | None = None
    engines: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def display_name(self) -> str:
        """Its name, for a person."""
        return f"the server ({format_holder(self.holder)}, since {self.since[:19].replace('T', ' ')})"


class ServerStatusFile:
    """The file in which this process says how it is; gone with it."""

    def __init__(self, settings: Settings) -> None:
        self._path = _get_run_directory(settings) / f"serving.{os.getpid()}.json"
        self._last_written: ServerProcess | None = None

    def write_status(self, server_process: ServerProcess) -> None:
        """Write it, if it is not what was written last.

        Parameters
        ----------
        server_process
            What this process is.
        """
        if server_process == self._last_written:
            return
        with contextlib.suppress(OSError):  # a full disk stops nobody from being served
            self._path.parent.mkdir(exist_ok=True)  # where var/ is gone, it is not made anew
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(asdict(server_process)), encoding="utf-8")
            new.replace(self._path)
            self._last_written = server_process

    def remove_file(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def list_server_processes(settings: Settings) -> list[ServerProcess]:
    """List the processes that answer readers on this machine; what dead ones left is removed.

    Parameters
    ----------
    settings
        Of the site.

    Returns
    -------
    processes
        By the name of their files.
    """
    processes = []
    for path in sorted(_get_run_directory(settings).glob("serving.*.json")):
        try:
            stored_values = json.loads(path.read_text(encoding="utf-8"))
            server_process = ServerProcess(**{**stored_values, "waiting": tuple(stored_values["waiting"])})
        except (OSError, ValueError, TypeError, KeyError):  # it ends in this moment, or another version wrote it
            continue
        if is_holder_dead(server_process.holder):
            path.unlink(missing_ok=True)
        else:
            processes.append(server_process)
    return processes


def check_servers_can_read(settings: Settings, store: StateStore, engine: str) -> None:
    """Refuse to publish rows where a running server does not look, or cannot read.

    Its readers would have errors instead of them.

    Parameters
    ----------
    settings
        Of the site.
    store
        Of the site.
    engine
        Name of the engine that keeps the rows.

    Raises
    ------
    ConflictError
        With what that server lacks.
    """
    data, store_label = describe_storage(settings, store)
    for server_process in list_server_processes(settings):
        for name, server_value, own_value in (
            ("data", server_process.data, data),
            ("store", server_process.store, store_label),
        ):
            if server_value != own_value:
                raise ConflictError(
                    f"restart needed: {server_process.display_name} began with {name} {server_value}, and this "
                    f"command has {own_value}: its readers would not see what is published",
                    remedy="restart or stop it, or take the setting back; nothing was changed",
                )
    if engine == EMBEDDED_ENGINE:
        return
    deadline = time.monotonic() + SERVER_WAIT_SECONDS
    while blocking_servers := [
        server_process
        for server_process in list_server_processes(settings)
        if server_process.engines.get(engine, "") is not None
    ]:
        if time.monotonic() > deadline:
            server_process = blocking_servers[0]
            reason = server_process.problem or server_process.engines.get(engine) or "it does not know that engine"
            raise ConflictError(
                f"{server_process.display_name} cannot read rows in {engine}: {reason}",
                remedy="give it the settings and secrets that this command has and restart it, or stop it; nothing "
                "was changed",
            )
        time.sleep(POLL_INTERVAL_SECONDS)


def describe_storage(settings: Settings, store: StateStore) -> tuple[str, str]:
    """Name the directory of a site's snapshots and its system state, for a person.

    What stands in ``var/`` is called so wherever the site is mounted.

    Parameters
    ----------
    settings
        Of the site.
    store
        Of the site.

    Returns
    -------
    data, state
        Two names.
    """
    return "var" if settings.data is None else str(
        settings.data_directory.resolve()
    ), "var" if settings.store is None else store.display_address


def _get_run_directory(settings: Settings) -> Path:
    return settings.var_directory / "run"


__all__ = ["ServerProcess", "ServerStatusFile", "check_servers_can_read", "describe_storage", "list_server_processes"]
