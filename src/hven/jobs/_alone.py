"""A process that looks and acts in one thread, so that it may fork: the keeper of the jobs, the scheduler."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from hven.jobs import forks
from hven.model.settings import Settled
from hven.site.store import Store

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from types import FrameType

    from hven.model.settings import Settings


class Alone:
    """What such processes do alike: they end when they are told to or their parent has gone, and no fork has their connections.

    Parameters
    ----------
    settings
        Of the site.
    parent
        Id of a process whose end is ours too; None: there is none.
    """

    def __init__(self, settings: Settings, parent: int | None) -> None:
        self._settings = settings
        self._settled = Settled(settings)
        self._parent = parent
        self._over = False
        self._store: Store | None = None

    def _called(self, name: str) -> None:
        """Name this process, and let SIGTERM and SIGINT end it."""
        forks.called(name)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._over = True

    def _wanted(self) -> bool:
        forks.beat()
        return not self._over and (self._parent is None or os.getppid() == self._parent)

    def _settle(self) -> bool:
        """Apply what changed in hven.toml; servers tell what cannot be."""
        changed = self._settled.look()
        if changed:
            self._settings = self._settled.now
        return changed

    def _open(self) -> Store:
        if self._store is None:
            self._store = Store(self._settings.var, self._settings.store).stand()
        return self._store

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _forked(self, run: Callable[[int], object], what: str, log: logging.Logger) -> int:
        """Run something in a fork; see `forks.forked`."""
        self._close()
        return forks.forked(run, what, log)
