"""A process with one thread, so that it may fork: the supervisor of jobs, and the scheduler."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from hven.jobs import child_processes
from hven.model.settings import ReloadableSettings
from hven.site.store import StateStore

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from types import FrameType

    from hven.model.settings import Settings


class ForkingProcess:
    """The common parts of such processes.

    They end when they are told to, or when their parent is gone. No fork has their connections.

    Parameters
    ----------
    settings
        Settings of the site.
    parent
        Id of a process; this process ends when it ends; None: there is none.
    store
        The store of the site without connections, as the parent has opened it; None: it is opened here.
    """

    def __init__(self, settings: Settings, parent: int | None, store: StateStore | None = None) -> None:
        self._settings = settings
        self._reloadable_settings = ReloadableSettings(settings)
        self._parent = parent
        self._stopping = False
        self._store = store

    def _set_up_process(self, process_name: str) -> None:
        """Name this process, and let SIGTERM and SIGINT end it."""
        child_processes.set_process_name(process_name)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, self._request_stop)

    def _request_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _record_heartbeat_and_check_parent(self) -> bool:
        child_processes.record_own_heartbeat()
        has_parent = self._parent is None or os.getppid() == self._parent
        return has_parent and not self._stopping

    def _apply_changed_settings(self) -> bool:
        """Apply the changes in hven.toml, and return whether there were any; servers report what needs a restart."""
        has_changed = self._reloadable_settings.reload_if_changed()
        if has_changed:
            self._settings = self._reloadable_settings.current
        return has_changed

    def _get_store(self) -> StateStore:
        if self._store is None:
            store = StateStore(self._settings.var_directory, self._settings.store)
            self._store = store.mark_state_required()
        return self._store

    def _close_store(self) -> None:
        """Close the connections; the next use of the store opens another one."""
        if self._store is not None:
            self._store.close()

    def _fork_child(self, run_child: Callable[[int], object], description: str, log: logging.Logger) -> int:
        """Run a function in a fork; see `child_processes.fork_process`."""
        self._close_store()
        return child_processes.fork_process(run_child, description, log)
