"""`Site`: settings, store, engines and the current `PublishedState`, for ingests, queries and services."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from hven.engines import MemoryRelation
from hven.model import RetryBackoffLog, SingletonRegistry, plugins
from hven.model.errors import HvenError
from hven.model.settings import ReloadableSettings
from hven.site._bound_policies import AccessPolicyBinder
from hven.site._damage_fallback import select_served_records
from hven.site._engine_registry import EMBEDDED_ENGINE, EngineRegistry
from hven.site._live_tables import LiveTableInspector
from hven.site._obscore_views import ObscoreViewBuilder
from hven.site._people_tables import list_people_table_problems
from hven.site._persistent_identifiers import PersistentIdentifiers, open_persistent_identifiers
from hven.site._published_state import MAX_CACHED_OWNERS, USER_SCHEMA, PublishedTable
from hven.site._state_builder import build_published_state
from hven.site.auth import DEFAULT_POLICIES, OWNER_PRINCIPAL
from hven.site.counters import ProcessCounters
from hven.site.descriptor_watch import DescriptorState, DescriptorWatcher, map_pinned_directories
from hven.site.history import build_past_state, build_unknown_version_error, resolve_version
from hven.site.library_pages import release_library_pages
from hven.site.server_processes import ServerProcess, ServerStatusFile, forwarding_peers, get_storage_labels
from hven.site.store import StateStore, get_process_holder
from hven.site.store._database import format_current_time
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from hven.engines import StorageEngine
    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.site._damage_fallback import DamagedSnapshot
    from hven.site._published_state import PublishedState
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.history import PastPublishedState
    from hven.site.store import Release, SnapshotRecord, SnapshotVerification

REFRESH_INTERVAL_SECONDS = 0.25  # seconds between two checks of the store and the descriptors
MAX_CACHED_PAST_STATES = 16
ENGINE_CHECK_INTERVAL_SECONDS = 3.0  # seconds between two checks of external engines
MAX_WRITTEN_FAILURES, MAX_FAILURE_CHARACTERS = 5, 500  # of the counts that failed, for other processes


class Site(SingletonRegistry):
    """A site that is open in this process. Thread-safe; a context manager.

    A server preloads a site: it builds the site with `is_preloading` before it forks its workers, so that they share
    its memory. Then `prepare_forks` closes what must not get into a fork, and each worker calls
    `start_published_state_refresh`.

    Parameters
    ----------
    settings
        Settings of the site.
    watch_for_changes
        True: a thread keeps `get_published_state` fresh, so that no request of a server waits for a rebuild.
        False: `get_published_state` looks for changes itself, at most every quarter of a second.
    store
        The store of the site, if it is open; the site closes it.
    is_preloading
        True: before `start_published_state_refresh` is called, the site opens no database except the store.
    engine_memory_bytes
        Bytes for each engine; None: `settings.limits.memory`.

    Attributes
    ----------
    settings, reloadable_settings
        The settings in force, and those that wait for a restart: a server applies most changes of hven.toml at once.
    engines
        Every engine of the site, by name; `engines.find_engine(relation)` returns the engine of a table's rows.
    counters
        Counters of requests and queries.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        watch_for_changes: bool = False,
        store: StateStore | None = None,
        is_preloading: bool = False,
        engine_memory_bytes: int | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.reloadable_settings = ReloadableSettings(settings)
        http_client.set_host_rate_limits(settings.ceilings, settings.var_directory / "turns")
        self.store = store or StateStore(settings.var_directory, settings.store)
        try:
            self.store.claim_data_directory(settings.data_directory)
            self.engines = EngineRegistry(
                settings,
                memory_bytes=engine_memory_bytes,
                get_site_id=self.store.get_site_id,
                is_preloading=is_preloading,
            )
        except BaseException:
            self.store.close()
            raise
        self.counters = ProcessCounters.open_for_process()
        self._descriptor_watcher = DescriptorWatcher(settings, self.store.descriptors)
        self._live_tables = LiveTableInspector(settings, self.engines)
        self.policies = AccessPolicyBinder(self.engines.find_engine)
        self.obscore_view_builder = ObscoreViewBuilder()
        self._live_change_count = 0
        self._published_records: dict[str, SnapshotRecord] = {}
        self._pinned_directories: Mapping[str, str] = {}
        # the published records without the damaged ones, and what is served in their place
        self._served_records: Mapping[str, SnapshotRecord] = {}
        self._release_records: list[tuple[Release, list[SnapshotRecord]]] = []
        self._failed_verifications: Mapping[str, SnapshotVerification] = {}
        self._damaged_snapshots: tuple[DamagedSnapshot, ...] = ()
        self._missing_files: Mapping[str, str] | None = None
        self._store_version = -1
        self._refresh_lock = threading.Lock()
        self._published_state: PublishedState | None = None
        self._known_problems: tuple[str, ...] = ()
        self._engine_problems: tuple[str, ...] = ()
        self._has_failed = False
        self._last_refresh = 0.0
        self._start_time = format_current_time()
        self._own_tables_by_owner: dict[str, tuple[float, tuple[PublishedTable, ...]]] = {}
        self._past_states: dict[tuple[str, str], tuple[float, PastPublishedState]] = {}
        # with those that only the first process of a server calls
        self._change_listeners: list[tuple[Callable[[PublishedState], None], bool]] = []
        self._is_first_process = True
        self._closing = threading.Event()
        self._settings_changed = threading.Event()  # for the thread that checks engines
        self._watch_thread: threading.Thread | None = None
        self._status_file: ServerStatusFile | None = None
        self._is_starting = False
        if watch_for_changes:
            self.start_published_state_refresh()

    def prepare_forks(self) -> None:
        """Build what the forks of this process share, and close the connections and threads that they would lack.

        Of a model only: this process uses it no more.
        """
        self.refresh_published_state()
        self.check_snapshot_files_and_refresh()
        self.embedded_engine.prepare_forks()
        self.store.close()

    def start_published_state_refresh(self, *, is_first_process: bool = True) -> None:
        """Keep `get_published_state` fresh in a thread from now on; a fork first reads what has changed.

        Parameters
        ----------
        is_first_process
            Whether this process does what one process does for all of a server: see `add_change_listener`.

        Raises
        ------
        StorageError
            The system state cannot be read now: what was built before the fork may be public no more.
        """
        self._is_first_process = is_first_process
        self._start_time = format_current_time()
        self.counters.join_server()
        self._status_file = ServerStatusFile(self.settings)
        self._is_starting = True
        if self.engines.end_preloading():
            self._published_state = None  # it lacks what other databases would have said
        self.refresh_published_state()
        self._is_starting = False
        self.check_snapshot_files_and_refresh()
        self._watch_thread = threading.Thread(target=self._watch_for_changes, name="holdings", daemon=True)
        self._watch_thread.start()
        threading.Thread(target=self._watch_engines, name="engines", daemon=True).start()

    @property
    def identifiers(self) -> PersistentIdentifiers:
        """The DOIs of collections and releases."""
        return open_persistent_identifiers(self.store)

    @property
    def published_records(self) -> Mapping[str, SnapshotRecord]:
        """What is published, by table, as `get_published_state` last read it."""
        return self._published_records

    def list_descriptor_files(self) -> list[Path]:
        """Return the files of all descriptors."""
        files: list[Path] = []
        for descriptor_state in list(self._descriptor_watcher.states_by_collection.values()):
            files += descriptor_state.files
        return files

    def read_descriptor(self, collection: str) -> DescriptorState | None:
        """Read the present descriptor of a collection.

        Parameters
        ----------
        collection
            Name of the collection.

        Returns
        -------
        seen
            The descriptor; None: there is none.
        """
        self.refresh_published_state()
        descriptor_state = self._descriptor_watcher.states_by_collection.get(collection)
        if descriptor_state is None or descriptor_state.is_removed:
            return None
        return descriptor_state

    @property
    def embedded_engine(self) -> StorageEngine:
        """The embedded engine: it computes over rows in memory, and stores what users upload."""
        return self.engines.embedded_engine

    def get_published_state(self) -> PublishedState:
        """Return the current state, at most a quarter of a second old.

        Raises
        ------
        StorageError
            The system state cannot be read, and this process has never read it.
        """
        published_state = self._published_state
        if published_state is not None:
            is_watched = self._watch_thread is not None
            if is_watched or time.monotonic() - self._last_refresh < REFRESH_INTERVAL_SECONDS:
                return published_state
        return self.refresh_published_state(can_wait=published_state is None)

    def find_past_state(
        self,
        version_text: str,
        principal: Principal = OWNER_PRINCIPAL,
        policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
    ) -> PastPublishedState:
        """Return what was published at a time, or together with a snapshot, as far as it is kept.

        Parameters
        ----------
        version_text
            ISO 8601 time (UTC unless it says otherwise; a day means its end), label of a release, or id of a snapshot
            or run.
        principal, policies
            The user and the site's policies: a release of which the user may not know does not exist for them.

        Raises
        ------
        ParamError
            It is none of these.
        """
        version_key = resolve_version(self.store, version_text)
        current_state = self.get_published_state()
        key = (version_key, current_state.version)
        build_time, past_state = self._past_states.get(key, (0.0, None))
        # a state is built again after a while, because pruning may have removed some of it
        if past_state is None or time.monotonic() - build_time > REFRESH_INTERVAL_SECONDS:
            if len(self._past_states) >= MAX_CACHED_PAST_STATES:
                self._past_states.clear()
            past_state = build_past_state(
                self.store,
                version_key,
                self._descriptor_watcher.states_by_collection,
                AccessPolicyBinder(self.engines.find_engine),
                self.settings.projects,
            )
            self._past_states[key] = (time.monotonic(), past_state)
        if past_state.is_release:
            catalogue = past_state.published_state.get_catalogue(principal, policies)
            visible_names = {table.qualified_name for table in catalogue.iterate_tables()}
            if visible_names.isdisjoint(past_state.published_state.tables_by_name):
                raise build_unknown_version_error(version_text)
        return past_state

    def add_change_listener(
        self, listener: Callable[[PublishedState], None], *, is_first_process_only: bool = False
    ) -> None:
        """Register a function that the watching thread calls with each new state.

        Without that thread it is never called.

        Parameters
        ----------
        listener
            Must return quickly.
        is_first_process_only
            True: only the first process of a server calls it, because the result serves all of them, such as a file in
            ``var/``. The others need less memory, because they do not execute its code.
        """
        self._change_listeners.append((listener, is_first_process_only))

    def add_change_task(self, task: Callable[[PublishedState], None], *, name: str) -> None:
        """Register a task that the first process of a server runs in a thread of its own after each change.

        The result of the task serves all processes, such as a file in ``var/``. After the task has ended, the process
        releases the pages of libraries that only the task needed.

        Parameters
        ----------
        task
            Gets the new state. It must end soon after the site is closed.
        name
            Name of the thread.
        """

        def run_task(published_state: PublishedState) -> None:
            try:
                task(published_state)
            finally:
                release_library_pages()

        def start_task(published_state: PublishedState) -> None:
            threading.Thread(target=run_task, args=(published_state,), name=name, daemon=True).start()

        self.add_change_listener(start_task, is_first_process_only=True)

    def list_missing_indexes(self) -> list[str]:
        """List the indexes that the databases of live tables lack.

        Returns
        -------
        hints
            SQL to create them.
        """
        self.get_published_state()
        return self._live_tables.list_missing_index_hints()

    def refresh_published_state(self, *, can_wait: bool = True) -> PublishedState:
        """Refresh the state from the store and the descriptors at once.

        Parameters
        ----------
        can_wait
            False: if another thread is refreshing it, return the last state instead of waiting.

        Returns
        -------
        state
            The current state.
        """
        if not self._refresh_lock.acquire(blocking=can_wait):
            if self._published_state is not None:
                return self._published_state
            self._refresh_lock.acquire()
        try:
            return self._refresh_if_changed()
        finally:
            self._refresh_lock.release()

    def _apply_changed_settings(self) -> bool:
        """Apply what has changed in hven.toml; return whether anything has."""
        if not self.reloadable_settings.reload_if_changed(self.engines.list_settings_sections_in_use()):
            return False
        new_settings = self.reloadable_settings.current
        http_client.set_host_rate_limits(new_settings.ceilings, new_settings.var_directory / "turns")
        self.settings = new_settings
        self.engines.apply_settings(self.settings)
        self._live_tables.apply_settings(self.settings)
        self._descriptor_watcher.apply_settings(self.settings)
        self._change_listeners.clear()  # the services are built again with the settings, and register again
        self._settings_changed.set()
        return True

    def _refresh_if_changed(self) -> PublishedState:
        changed = self._status_file is not None and self._apply_changed_settings()
        store_error: HvenError | None = None
        try:  # before the descriptors: rows and the descriptor that their publication pins come from one transaction
            changed |= self._read_store_if_changed()
        except HvenError as error:
            store_error = error
        published_collections = {record.collection for record in self._published_records.values()}
        changed |= self._descriptor_watcher.reload_and_save_changed_descriptors(
            self._pinned_directories, published_collections
        )
        resources = self._descriptor_watcher.map_last_good_resources()
        # where a thread inspects live tables, only new ones are inspected here
        new_only = self._watch_thread is not None or not self._live_tables.is_inspection_due()
        if not self.engines.is_preloading:
            self._live_tables.inspect_tables(resources, is_new_only=new_only)
        changed |= self._live_tables.change_count != self._live_change_count
        self._live_change_count = self._live_tables.change_count
        site_problems = (*self._engine_problems, *self._live_tables.list_problems())
        try:
            if store_error is not None:
                raise store_error
            missing_files = self.engines.list_damaged_snapshots()
            if changed or missing_files is not self._missing_files:
                self._serve_good_and_refuse_damaged_records(missing_files)
                changed = True
        except HvenError as error:
            if self._published_state is None or self._is_starting:
                raise
            site_problems = (str(error), *site_problems)
        if changed or self._published_state is None or site_problems != self._known_problems or self._has_failed:
            self._published_state = self._build_published_state(resources, site_problems)
            self._known_problems = site_problems
            self._has_failed = False
        self._last_refresh = time.monotonic()
        return self._published_state

    def _read_store_if_changed(self) -> bool:
        if self.store.get_version() == self._store_version:
            return False
        version, records = self.store.read_published_records()
        self._failed_verifications = self.store.verifications.map_verifications_of_damaged()
        self._release_records = self.store.releases.list_release_records()
        self._store_version = version
        self._published_records = records
        self._pinned_directories = map_pinned_directories(records.values())
        return True

    def _build_published_state(
        self, resources: Mapping[str, CollectionSpec], site_problems: tuple[str, ...]
    ) -> PublishedState:
        new_state = build_published_state(
            self._served_records,
            self._descriptor_watcher.states_by_collection,
            site_problems,
            self._live_tables.build_published_tables(resources),
            self._damaged_snapshots,
            policies=self.policies,
            obscore_view_builder=self.obscore_view_builder,
            releases=self._release_records,
            projects=self.settings.projects,
        )
        people_problems = list_people_table_problems(self.settings.people.tables, new_state.tables_by_name)
        problems = (*new_state.problems, *people_problems)
        return replace(new_state, list_own_tables=self.list_own_tables, problems=problems)

    def _serve_good_and_refuse_damaged_records(self, missing_files: Mapping[str, str]) -> None:
        """Select what is served of what is published: another snapshot in place of a damaged one, if there is one."""
        self._missing_files = missing_files
        reasons_by_snapshot: dict[str, str] = {}
        for snapshot_id, verification in self._failed_verifications.items():
            reasons_by_snapshot[snapshot_id] = str(verification.damage_text)

        def find_damage(record: SnapshotRecord) -> str | None:
            reason = reasons_by_snapshot.get(record.id)
            if not reason and record.snapshot.engine == EMBEDDED_ENGINE:
                reason = missing_files.get(record.snapshot.path)
            return reason

        self._served_records, self._damaged_snapshots = select_served_records(
            self.store, self._published_records, find_damage
        )
        paths = {record.id: record.snapshot.path for record in self._published_records.values()}
        for collection in {verification.collection for verification in self._failed_verifications.values()}:
            if collection == USER_SCHEMA:
                collection_records = [record for record, _ in self.store.user_tables.list_tables_with_expiry()]
            else:
                collection_records = self.store.list_snapshots(collection)
            paths |= {record.id: record.snapshot.path for record in collection_records}
        reasons_by_path: dict[str, str] = {}
        for snapshot_id, reason in reasons_by_snapshot.items():
            if snapshot_id in paths:
                reasons_by_path[paths[snapshot_id]] = reason
        self.engines.refuse_snapshots(reasons_by_path)

    def check_snapshot_files_and_refresh(self) -> None:
        """Check which files of the published tables are missing or truncated.

        If that has changed, the published state is built again.
        """
        self.engines.release_removed_snapshots()
        records = (*self._published_records.values(), *self._served_records.values())
        snapshots_by_id = {record.id: record.snapshot for record in records}
        for snapshot in snapshots_by_id.values():
            self.engines.find_missing_or_resized_file(snapshot)
        if self.engines.list_damaged_snapshots() != self._missing_files:
            self.refresh_published_state()

    def list_own_tables(self, owner: str) -> tuple[PublishedTable, ...]:
        """List the tables that a user keeps here, at most a quarter of a second old.

        Parameters
        ----------
        owner
            Name of the user.

        Returns
        -------
        tables
            The tables, which are published only to their owner.
        """
        cached_tables = self._own_tables_by_owner.get(owner)
        monotonic_time = time.monotonic()
        if cached_tables is None or monotonic_time - cached_tables[0] > REFRESH_INTERVAL_SECONDS:
            table_records = self.store.user_tables.list_unexpired_owner_tables(owner)
            own_tables = tuple(_build_published_user_table(record) for record, _ in table_records)
            if len(self._own_tables_by_owner) >= MAX_CACHED_OWNERS:
                self._own_tables_by_owner.clear()
            cached_tables = self._own_tables_by_owner[owner] = (monotonic_time, own_tables)
        return cached_tables[1]

    def probe_engines(self) -> tuple[str, ...]:
        """Check whether the engines of the published tables answer. It may take a few seconds.

        Returns
        -------
        problems
            A sentence for each engine that does not answer.
        """
        published_state = self._published_state or self.get_published_state()
        names = set()
        for published_table in published_state.tables_by_name.values():
            relation = published_table.relation
            if relation is not None and not isinstance(relation, MemoryRelation):
                names.add(relation.engine)
        names.discard(EMBEDDED_ENGINE)
        self.check_snapshot_files_and_refresh()
        return tuple(self.engines.find_engine_problems(names))

    def _watch_engines(self) -> None:
        """Open the other engines before a user queries their tables, and notice when they are away."""
        while not self._closing.is_set():
            self._settings_changed.clear()
            try:
                self._engine_problems = self.probe_engines()
                self._write_status()
                published_state = self._published_state
                self._live_tables.inspect_tables({} if published_state is None else published_state.resources)
            except Exception as error:  # noqa: BLE001  (without this thread nobody would notice)
                self._record_failure("looking at the engines failed", error)
            self._settings_changed.wait(ENGINE_CHECK_INTERVAL_SECONDS)

    def _write_status(self) -> None:
        """Write the status of this process for other processes of this machine."""
        if self._status_file is None or self._closing.is_set():
            return
        engine_problems = {name: self.engines.find_engine_problem(name) for name in plugins.list_plugins("engines")}
        failures = [
            f"{failure.subject}: failed {failure.attempts} times: {failure.reason}"[:MAX_FAILURE_CHARACTERS]
            for failure in self.get_or_create(RetryBackoffLog).list_failures()[:MAX_WRITTEN_FAILURES]
        ]
        data, store = get_storage_labels(self.settings, self.store)
        status = ServerProcess(
            holder=get_process_holder(),
            since=self._start_time,
            data=data,
            store=store,
            waiting=self.reloadable_settings.pending_restart,
            problem=self.reloadable_settings.problem,
            engines=engine_problems,
            failures=tuple(failures),
            forwarding_peers=dict(forwarding_peers),
        )
        self._status_file.write_status(status)

    def _watch_for_changes(self) -> None:
        announced_state: PublishedState | None = None
        while not self._closing.wait(REFRESH_INTERVAL_SECONDS):
            try:
                if self._status_file is not None:
                    self._status_file.renew_file()
                published_state = self.refresh_published_state()
                if published_state is not announced_state and self._change_listeners:
                    announced_state = published_state
                    for listener, is_first_process_only in self._change_listeners:
                        if self._is_first_process or not is_first_process_only:
                            listener(published_state)
            except Exception as error:  # noqa: BLE001  (without this thread no change would ever be seen)
                self._record_failure("looking for changes failed", error)

    def _record_failure(self, activity: str, error: Exception) -> None:
        """Keep the last state, and add the failure to its problems."""
        if isinstance(error, HvenError):
            reason = str(error)
        else:
            reason = repr(error)
        problem = f"{activity}: {reason}"
        last_state = self._published_state
        self._has_failed = True
        if last_state is not None and problem not in last_state.problems:
            self._published_state = replace(last_state, problems=(*last_state.problems, problem))

    def wait_for_closing(self, timeout_seconds: float) -> bool:
        """Wait for the site to be closed; background threads wait this way.

        Parameters
        ----------
        timeout_seconds
            Seconds to wait at most.

        Returns
        -------
        closing
            Whether the site is being closed.
        """
        return self._closing.wait(timeout_seconds)

    def close(self) -> None:
        """Stop the threads, and close the engines and the store."""
        self._closing.set()
        self._settings_changed.set()
        if self._status_file is not None:
            self._status_file.remove_file()
        if self._watch_thread is not None:
            self._watch_thread.join()
            self._watch_thread = None
        self.engines.close_engines()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _build_published_user_table(record: SnapshotRecord) -> PublishedTable:
    return PublishedTable(
        table=record.table,
        relation=record.snapshot,
        updated=record.created,
        run_id=record.id,
        rows=record.snapshot.rows,
    )
