"""Wait until all processes of a server serve what a write has published.

Each process notices a publication on its own, up to a second later. Users who accept a row must see it at once,
whichever process answers their next request. So each process records in ``var/run`` what it serves.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hven.plugins.push import PUSH_SOURCE_KIND
from hven.site.server_processes import list_server_processes
from hven.site.store import get_process_holder

if TYPE_CHECKING:
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.site import PublishedState, Site

MAX_WAIT_SECONDS = 3.0  # a process that is slower than that serves the rows later
POLL_INTERVAL_SECONDS = 0.02
RUN_FOLDER = "run"  # in `var`
FILE_PATTERN = "served.*.json"


class ServedRunRecorder:
    """Records the runs that made the tables of clients' rows which this process serves.

    Parameters
    ----------
    settings
        Settings of the site.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._recorded_runs: dict[str, str] | None = None

    def record_runs(self, published_state: PublishedState) -> None:
        """Record the runs of a new state.

        Parameters
        ----------
        published_state
            What this process serves from now on.
        """
        runs = {}
        for resource in published_state.resources.values():
            for spec in resource.tables:
                published_table = published_state.tables_by_name.get(spec.table.qualified_name)
                has_push_source = any(source.kind == PUSH_SOURCE_KIND for source in spec.sources)
                if has_push_source and published_table is not None and published_table.run_id is not None:
                    runs[spec.table.qualified_name] = published_table.run_id
        if runs == self._recorded_runs or (not runs and self._recorded_runs is None):
            return
        path = _build_path(self._settings, get_process_holder())
        with suppress(OSError):  # without the file, a write waits a little longer
            if self._recorded_runs is None:
                _remove_files_of_dead_processes(self._settings)
            new_path = path.with_suffix(".new")
            new_path.write_text(json.dumps(runs), encoding="utf-8")
            new_path.replace(path)
            self._recorded_runs = runs


def wait_until_served(site: Site, table: str, run: str) -> bool:
    """Wait until all processes of the site's servers serve a run of a table, or a later one.

    Parameters
    ----------
    site
        The site.
    table
        ``schema.table``.
    run
        Id of the run, which sorts by time.

    Returns
    -------
    is_served
        False if a process has not served it within `MAX_WAIT_SECONDS`.
    """
    own_holder = get_process_holder()
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while True:
        holders = [process.holder for process in list_server_processes(site.settings)]
        others = [holder for holder in holders if holder != own_holder]
        if all(_read_runs(site.settings, holder).get(table, "") >= run for holder in others):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_SECONDS)


def _build_path(settings: Settings, holder: str) -> Path:
    digest = hashlib.sha256(holder.encode()).hexdigest()[:16]
    return settings.var_directory / RUN_FOLDER / FILE_PATTERN.replace("*", digest)


def _read_runs(settings: Settings, holder: str) -> dict[str, str]:
    try:
        runs: dict[str, str] = json.loads(_build_path(settings, holder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return runs


def _remove_files_of_dead_processes(settings: Settings) -> None:
    live_paths = {_build_path(settings, process.holder) for process in list_server_processes(settings)}
    for path in (settings.var_directory / RUN_FOLDER).glob(FILE_PATTERN):
        if path not in live_paths:
            path.unlink(missing_ok=True)
