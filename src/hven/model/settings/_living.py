"""What of hven.toml a running process takes up when the file changes, and what waits for a restart."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from hven.model.errors import HvenError
from hven.model.settings._site_file import FILE, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hven.model.settings._shape import Settings

# processes, sockets, connections and memory are made of these when a server begins
FIXED = (
    "host", "port", "workers", "job_workers", "store", "data", "live", "limits.memory", "limits.concurrent", "jobs.idle", "schedule.runs",
)  # fmt: skip


class Settled:
    """The settings of a site as they are in force in this process.

    Parameters
    ----------
    settings
        As they were when the process began.

    Attributes
    ----------
    now
        In force.
    waiting
        Settings that the file has otherwise: they wait for a restart.
    problem
        Why the file cannot be taken up; None: it can.
    """

    def __init__(self, settings: Settings) -> None:
        self.now = settings
        self.waiting: tuple[str, ...] = ()
        self.problem: str | None = None
        self._seen = self._stamp()

    def look(self, also: Iterable[str] = ()) -> bool:
        """Reload the file if it changed since the last look.

        Parameters
        ----------
        also
            What is fixed for now besides `FIXED`: the section of a database that is open, as its engine brings it.

        Returns
        -------
        changed
            Whether anything that is in force did.
        """
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp  # of before it is read: a change while we read is seen at the next look
        try:
            found = load(self.now.directory)
        except (HvenError, OSError) as error:
            self.problem = f"{FILE} cannot be taken up, and the settings of before are in force: {error}"
            return False
        kept, waiting = self.now, list[str]()
        for name in FIXED:
            section, _, key = name.rpartition(".")
            old, new = (getattr(one, section) if section else one for one in (kept, found))
            waiting += _differing(name, getattr(old, key), getattr(new, key))
            value = getattr(old, key)
            found = replace(
                found, **({section: replace(getattr(found, section), **{key: value})} if section else {key: value})
            )
        for name in also:
            waiting += _differing(name, kept.brought[name], found.brought[name])
            found = replace(found, brought={**found.brought, name: kept.brought[name]})
        self.problem, self.waiting = None, tuple(waiting)
        changed = found != kept
        self.now = found
        return changed

    def _stamp(self) -> tuple[int, ...]:
        try:
            facts = (self.now.directory / FILE).stat()
        except OSError:
            return ()
        return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _differing(name: str, old: Any, new: Any) -> Iterator[str]:
    """Yield what differs: of a section its settings."""
    if is_dataclass(old):
        yield from (f"{name}.{item.name}" for item in fields(old) if getattr(old, item.name) != getattr(new, item.name))
    elif old != new:
        yield name


__all__ = ["FIXED", "Settled"]
