"""What of hven.toml a running process takes up when the file changes, and what waits for a restart."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from hven.model.errors import HvenError
from hven.model.settings._site_file import SETTINGS_FILE, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hven.model.settings._site_settings import Settings

# processes, sockets, connections and memory are made of these when a server begins
RESTART_SETTINGS = (
    "host",
    "port",
    "workers",
    "job_workers",
    "store",
    "data",
    "live",
    "limits.memory",
    "limits.concurrent",
    "jobs.idle",
    "schedule.runs",
)


class ReloadableSettings:
    """The settings of a site as they are in force in this process.

    Parameters
    ----------
    current
        As they were when the process began.

    Attributes
    ----------
    current
        In force.
    pending_restart
        Settings that the file has otherwise: they wait for a restart.
    problem
        Why the file cannot be taken up; None: it can.
    """

    def __init__(self, current: Settings) -> None:
        self.current = current
        self.pending_restart: tuple[str, ...] = ()
        self.problem: str | None = None
        self._last_stamp = self._read_file_stamp()

    def is_file_unchanged(self) -> bool:
        """Return whether the file is as it was at the last look."""
        return self._read_file_stamp() == self._last_stamp

    def reload_if_changed(self, more_restart_settings: Iterable[str] = ()) -> bool:
        """Reload the file if it changed since the last look.

        Parameters
        ----------
        more_restart_settings
            What is fixed for now besides `RESTART_SETTINGS`: the section of a database that is open, as its engine
            brings it.

        Returns
        -------
        changed
            Whether anything that is in force did.
        """
        stamp = self._read_file_stamp()
        if stamp == self._last_stamp:
            return False
        self._last_stamp = stamp  # of before it is read: a change while we read is seen at the next look
        try:
            new_settings = load_settings(self.current.directory)
        except (HvenError, OSError) as error:
            self.problem = f"{SETTINGS_FILE} cannot be applied, so the previous settings remain in force: {error}"
            return False
        old_settings = self.current
        waiting = list[str]()
        for name in RESTART_SETTINGS:
            section, _, key = name.rpartition(".")
            old, new = (
                getattr(settings, section) if section else settings for settings in (old_settings, new_settings)
            )
            waiting += _list_changed_settings(name, getattr(old, key), getattr(new, key))
            value = getattr(old, key)
            new_settings = replace(
                new_settings,
                **({section: replace(getattr(new_settings, section), **{key: value})} if section else {key: value}),
            )
        for section in more_restart_settings:
            for key, old in old_settings.brought.items():
                if key.partition(":")[0] == section:  # the section, or a part of it
                    waiting += _list_changed_settings(section, old, new_settings.brought.get(key, old))
                    new_settings = replace(new_settings, brought={**new_settings.brought, key: old})
        self.problem = None
        self.pending_restart = tuple(waiting)
        changed = new_settings != old_settings
        self.current = new_settings
        return changed

    def _read_file_stamp(self) -> tuple[int, ...]:
        try:
            status = (self.current.directory / SETTINGS_FILE).stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino


def _list_changed_settings(setting_name: str, old: Any, new: Any) -> Iterator[str]:
    """Yield what differs: of a section its settings."""
    if is_dataclass(old):
        yield from (
            f"{setting_name}.{item.name}" for item in fields(old) if getattr(old, item.name) != getattr(new, item.name)
        )
    elif old != new:
        yield setting_name
