"""What the processes of running servers say of themselves, in ``var/run``: settings that wait for a restart, where they read, engines that they cannot read."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from hven.model.errors import Conflict
from hven.site._engines import EMBEDDED
from hven.site.store._leases import dead, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.site.store import Store

WAIT = 8.0  # seconds in which a server may notice what has changed
LOOK = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One process that answers readers.

    Attributes
    ----------
    holder
        Host, process and its start, as `hven.site.store.holder` writes them.
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
    def shown(self) -> str:
        """Its name, for a person."""
        return f"the server ({shown(self.holder)}, since {self.since[:19].replace('T', ' ')})"


class Sign:
    """The file in which this process says how it is; gone with it."""

    def __init__(self, settings: Settings) -> None:
        self._path = _directory(settings) / f"serving.{os.getpid()}.json"
        self._said: Serving | None = None

    def say(self, now: Serving) -> None:
        """Write it, if it is not what was written last.

        Parameters
        ----------
        now
            What this process is.
        """
        if now == self._said:
            return
        with contextlib.suppress(OSError):  # a full disk stops nobody from being served
            self._path.parent.mkdir(exist_ok=True)  # where var/ is gone, it is not made anew
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(asdict(now)), encoding="utf-8")
            new.replace(self._path)
            self._said = now

    def end(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def serving(settings: Settings) -> list[Serving]:
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
    found = []
    for path in sorted(_directory(settings).glob("serving.*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            one = Serving(**{**said, "waiting": tuple(said["waiting"])})
        except (OSError, ValueError, TypeError, KeyError):  # it ends in this moment, or another version wrote it
            continue
        if dead(one.holder):
            path.unlink(missing_ok=True)
        else:
            found.append(one)
    return found


def refuse_unread(settings: Settings, store: Store, engine: str) -> None:
    """Refuse to publish rows where a running server does not look, or cannot read: its readers would have errors instead of them.

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
    Conflict
        With what that server lacks.
    """
    data, state = places(settings, store)
    for one in serving(settings):
        for name, there, here in (("data", one.data, data), ("store", one.store, state)):
            if there != here:
                raise Conflict(
                    f"restart needed: {one.shown} began with {name} {there}, and this command has {here}: its readers would not see what is published",
                    remedy="restart or stop it, or take the setting back; nothing was changed",
                )
    if engine == EMBEDDED:
        return
    end = time.monotonic() + WAIT
    while lacking := [one for one in serving(settings) if one.engines.get(engine, "") is not None]:
        if time.monotonic() > end:
            one = lacking[0]
            why = one.problem or one.engines.get(engine) or "it does not know that engine"
            raise Conflict(
                f"{one.shown} cannot read rows in {engine}: {why}",
                remedy="give it the settings and secrets that this command has and restart it, or stop it; nothing was changed",
            )
        time.sleep(LOOK)


def places(settings: Settings, store: Store) -> tuple[str, str]:
    """Name the directory of a site's snapshots and its system state, for a person; what stands in ``var/`` is called so wherever the site is mounted.

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
        settings.kept.resolve()
    ), "var" if settings.store is None else store.shown


def _directory(settings: Settings) -> Path:
    return settings.var / "run"


__all__ = ["Serving", "Sign", "places", "refuse_unread", "serving"]
