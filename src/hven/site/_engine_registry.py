"""`EngineRegistry`: the engines of a site, opened when they are first needed.

An engine that does not respond affects only its own tables.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from hven.engines import MemoryRelation, load_engine_record, load_live_engine_module
from hven.model import plugins
from hven.model.errors import HvenError, StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from hven.engines import Relation, Snapshot, StorageEngine
    from hven.model.settings import Settings

EMBEDDED_ENGINE = "duckdb"
# begins the names of the engines of databases that are read in place; the database's url follows
LIVE_ENGINE_PREFIX = "live "
HINDERED_MESSAGE = "its tables are served, but large queries on them are rejected"
REOPEN_DELAY_SECONDS = 2.0  # before an engine that could not be opened is tried again: until then requests fail at once


def _create_directory(directory: Path, site_directory: Path) -> None:
    """Create a directory; below the site's own directory, but not that one.

    A site that is renamed while a process runs is not created again in its old place.

    Raises
    ------
    StorageError
        It cannot be created, or the site is gone.
    """
    try:
        if directory.is_relative_to(site_directory):
            for parent_directory in reversed([directory, *directory.parents]):
                if parent_directory != site_directory and parent_directory.is_relative_to(site_directory):
                    parent_directory.mkdir(exist_ok=True, mode=0o700)
        else:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        message = f"the directory {directory} cannot be created: {error.strerror}"
        remedy = "check the permissions of the site's directory, and whether its disk is mounted"
        raise StorageError(message, remedy=remedy) from error


class EngineRegistry:
    """The engines of a site in this process. Thread-safe.

    Parameters
    ----------
    memory_bytes
        Bytes for each engine; None: `settings.limits.memory`.
    get_site_id
        Returns the identifier of the site, by which a database recognizes its own site; None: it is not needed.
    is_preloading
        True: before `end_preloading` is called, only the embedded engine is opened, because a connection to a database
        must not get into a fork.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        memory_bytes: int | None = None,
        get_site_id: Callable[[], str] | None = None,
        is_preloading: bool = False,
    ) -> None:
        self.is_preloading = is_preloading
        self._has_refused_engines = False  # while the site was preloaded
        self._get_site_id = get_site_id
        self.default_engine = settings.engine
        self._settings = settings
        self._memory_bytes = memory_bytes or settings.limits.memory
        self._lock = threading.Lock()
        self._opening_locks: dict[str, threading.Lock] = {}
        self._open_engines: dict[str, StorageEngine] = {}
        self._open_failures: dict[str, tuple[float, HvenError]] = {}
        self.statement_limits_seconds: dict[str, float] = {}
        self.embedded_engine = self.get_engine(EMBEDDED_ENGINE)

    def get_engine(self, engine_name: str) -> StorageEngine:
        """Return an engine; open it if it is not open.

        Parameters
        ----------
        engine_name
            ``duckdb``, ``postgres``, or a database that is read in place.

        Returns
        -------
        engine
            The open engine, the same one at each call.

        Raises
        ------
        UserError
            There is no engine of that name.
        StorageError
            It cannot be opened now; the tables of other engines are served nevertheless.
        StorageUnavailableError
            A server is preloading the site, so only the embedded engine can be opened.
        """
        engine = self._open_engines.get(engine_name)
        if engine is not None:
            return engine
        if self.is_preloading and engine_name != EMBEDDED_ENGINE:
            self._has_refused_engines = True
            message = f"the engine {engine_name} is opened only after the server's workers have started"
            raise StorageUnavailableError(message)
        with self._lock:
            opening_lock = self._opening_locks.setdefault(engine_name, threading.Lock())
        # each engine has its own lock: waiting for one database does not delay requests to others
        with opening_lock:
            engine = self._open_engines.get(engine_name)
            if engine is not None:
                return engine
            last_failure = self._open_failures.get(engine_name)
            if last_failure is not None and time.monotonic() - last_failure[0] < REOPEN_DELAY_SECONDS:
                raise StorageError(last_failure[1].message, remedy=last_failure[1].remedy)
            try:
                engine = self._open_engine(engine_name)
            except HvenError as error:
                self._open_failures[engine_name] = (time.monotonic(), error)
                raise
            self._open_failures.pop(engine_name, None)
            self._open_engines[engine_name] = engine
            return engine

    def end_preloading(self) -> bool:
        """Open any engine from now on.

        Returns
        -------
        has_refused_engines
            Whether an engine was needed before.
        """
        self.is_preloading = False
        return self._has_refused_engines

    def _open_engine(self, engine_name: str) -> StorageEngine:
        if engine_name.startswith(LIVE_ENGINE_PREFIX):  # each database that is read in place has its own engine
            return self._open_live_engine(engine_name)
        directory_name = "snapshots" if engine_name == EMBEDDED_ENGINE else f"engine-{engine_name}"
        data_directory = self._settings.data_directory / directory_name
        engine_kind = load_engine_record(engine_name)
        options = engine_kind.options(self._settings, self._get_site_id or str)
        _create_directory(data_directory.parent, self._settings.directory)
        plugin = plugins.load_plugin("engines", engine_name)
        engine: StorageEngine = plugin.open(data_directory, memory=self._memory_bytes, **options)
        return engine

    def _open_live_engine(self, engine_name: str) -> StorageEngine:
        url = self._settings.resolve_secret_address(engine_name.removeprefix(LIVE_ENGINE_PREFIX))
        live_settings = self._settings.live
        live_engine: StorageEngine = load_live_engine_module().open(
            self._settings.data_directory / "engine-live",
            name=engine_name,
            memory=self._memory_bytes,
            url=url,
            pool=live_settings.pool,
            at_once=live_settings.at_once,
            seconds=self.statement_limits_seconds.get(engine_name, 60.0),
        )
        return live_engine

    def find_missing_or_resized_file(self, snapshot: Snapshot) -> str | None:
        """Check that the files of a snapshot are there, as far as its engine can tell at once.

        Parameters
        ----------
        snapshot
            A snapshot of any engine.

        Returns
        -------
        file
            The first missing file; None: none is missing, or the engine is not open.
        """
        engine = self._open_engines.get(snapshot.engine)
        if engine is None:
            return None
        return engine.find_missing_or_resized_file(snapshot)

    def list_damaged_snapshots(self) -> Mapping[str, str]:
        """Return the paths of damaged snapshots, with the file that this process found missing or truncated."""
        return self.embedded_engine.file_faults

    def refuse_snapshots(self, reasons_by_path: Mapping[str, str]) -> None:
        """Refuse all access to the rows of damaged snapshots.

        Parameters
        ----------
        reasons_by_path
            `Snapshot.path` -> the reason.
        """
        self.embedded_engine.refuse_snapshots(reasons_by_path)

    def release_removed_snapshots(self) -> None:
        """Release the files of snapshots that were removed."""
        for engine in self.list_open_engines():
            engine.release_removed_snapshots()

    def apply_settings(self, settings: Settings) -> None:
        """Apply other settings: engines that are not open yet are opened with them.

        Parameters
        ----------
        settings
            Settings of the site.
        """
        self._settings = settings
        self.default_engine = settings.engine

    def list_settings_sections_in_use(self) -> list[str]:
        """Return the sections of the settings with which engines were opened."""
        names = [name for name in self.map_open_engines() if not name.startswith(LIVE_ENGINE_PREFIX)]
        sections = [load_engine_record(name).section for name in names]
        return [section for section in sections if section]

    def find_engine_problem(self, engine_name: str) -> str | None:
        """Return why the rows of an engine cannot be read here.

        Parameters
        ----------
        engine_name
            Name of the engine.

        Returns
        -------
        trouble
            None: they can be read, or have not been needed yet.
        """
        engine_kind = load_engine_record(engine_name)
        problem = engine_kind.lacks(self._settings)
        if not problem and (engine_kind.section or engine_name in self._open_engines):
            problem = self._probe_engine(engine_name)
        return problem

    def _probe_engine(self, engine_name: str) -> str | None:
        try:
            return self.get_engine(engine_name).find_outage()
        except HvenError as error:
            return str(error)

    def limit_statement_time(self, engine_name: str, limit_seconds: float) -> None:
        """Limit the time of a statement in a database that is read in place; the shortest of all limits counts.

        Parameters
        ----------
        engine_name
            Name of the database's engine.
        limit_seconds
            Seconds that a statement may take.
        """
        old_limit_seconds = self.statement_limits_seconds.get(engine_name, limit_seconds)
        self.statement_limits_seconds[engine_name] = min(limit_seconds, old_limit_seconds)

    def find_engine(self, relation: Relation) -> StorageEngine:
        """Return the engine that has some rows; rows in memory belong to the embedded one.

        Parameters
        ----------
        relation
            A snapshot, or rows in memory.
        """
        if isinstance(relation, MemoryRelation):
            return self.embedded_engine
        return self.get_engine(relation.engine)

    def get_engine_for_users(self, engine_name: str) -> StorageEngine:
        """Return an engine for a user's query.

        The reason why it cannot be opened is not for users: the owner finds it in the log and at /health.

        Parameters
        ----------
        engine_name
            Name of the engine.

        Raises
        ------
        StorageUnavailableError
            It cannot be opened now.
        """
        try:
            return self.get_engine(engine_name)
        except StorageUnavailableError:
            raise
        except HvenError as error:
            if engine_name.startswith(LIVE_ENGINE_PREFIX):
                database_label = "database"
            else:
                database_label = f"engine {engine_name!r}"
            message = f"the {database_label} with these rows does not respond at the moment"
            raise StorageUnavailableError(message, remedy="try again later") from error

    def list_open_engines(self) -> list[StorageEngine]:
        """List the open engines."""
        return list(self._open_engines.values())

    def map_open_engines(self) -> dict[str, StorageEngine]:
        """Return the open engines by name."""
        return dict(self._open_engines)

    def drop_snapshots_and_list_problems(self, snapshots: Iterable[Snapshot]) -> list[str]:
        """Remove snapshots from their engines. The next sweep removes what cannot be removed now.

        Parameters
        ----------
        snapshots
            Snapshots of any engines.

        Returns
        -------
        troubles
            Why some could not be removed.
        """
        problems: dict[str, None] = {}
        for snapshot in snapshots:
            try:
                self.get_engine(snapshot.engine).remove_snapshot(snapshot)
            except HvenError as error:
                problems[f"the snapshot {snapshot.id} cannot be removed at the moment: {error}"] = None
        return list(problems)

    def find_engine_problems(self, engine_names: Iterable[str]) -> list[str]:
        """Open the engines that tables need. This may take a while: do not call it while a request waits.

        Parameters
        ----------
        engine_names
            Names of engines.

        Returns
        -------
        problems
            A sentence for each engine that cannot be opened, or cannot do everything at the moment.
        """
        problems = []
        for name in sorted(set(engine_names)):
            problem = self._probe_engine(name)
            if problem:
                problems.append(f"engine {name}: {problem}; its tables are not served")
            elif problem := self.get_engine(name).find_degradation():
                problems.append(f"engine {name}: {problem}; {HINDERED_MESSAGE}")
        return problems

    def close_engines(self) -> None:
        """Close all engines."""
        for engine in self.list_open_engines():
            engine.close()
