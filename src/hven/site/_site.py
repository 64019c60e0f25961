"""`Site`: settings, store, engines and the current `PublishedState`; what ingest, query and faces are given."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from hven.engines import MemoryRelation
from hven.model import SingletonRegistry, plugins
from hven.model.errors import HvenError
from hven.model.settings import ReloadableSettings
from hven.site._bound_policies import AccessPolicyBinder
from hven.site._damage_fallback import select_served_records
from hven.site._engine_registry import EMBEDDED_ENGINE, EngineRegistry
from hven.site._live_tables import LiveTables
from hven.site._people_tables import list_people_table_problems
from hven.site._published_state import MAX_CACHED_OWNERS, USER_SCHEMA, PublishedTable
from hven.site._state_builder import build_published_state
from hven.site._usage_statistics import UsageCounter
from hven.site.auth import DEFAULT_POLICIES, OWNER_PRINCIPAL
from hven.site.counters import ProcessCounters
from hven.site.descriptor_watch import DescriptorState, DescriptorWatcher
from hven.site.history import build_past_state, build_unknown_version_error, resolve_version
from hven.site.server_processes import ServerProcess, ServerStatusFile, describe_storage
from hven.site.store import StateStore, get_process_holder
from hven.site.store._database import format_current_time
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from hven.engines import StorageEngine
    from hven.model.settings import Settings
    from hven.site._damage_fallback import DamagedSnapshot
    from hven.site._published_state import PublishedState
    from hven.site.auth import AccessPolicy, Principal
    from hven.site.history import PastState
    from hven.site.store import Release, SnapshotRecord, Verification

REFRESH_INTERVAL_SECONDS = 0.25  # seconds between two looks at the store and the descriptors
MAX_CACHED_PAST_STATES = 16  # earlier states that are remembered
ENGINE_CHECK_INTERVAL_SECONDS = 3.0  # seconds between two looks at engines elsewhere


class Site(SingletonRegistry):
    """A site that is open in this process. Thread-safe; a context manager.

    Parameters
    ----------
    settings
        Of the site.
    watch_for_changes
        True: a thread keeps `get_published_state` fresh (servers: no request waits for a rebuild).
        False: `get_published_state` looks itself, at most every quarter of a second.
    engine_memory_bytes
        Bytes for each engine; None = `settings.limits.memory`.

    Attributes
    ----------
    settings, reloadable_settings
        The settings in force: a server takes up most of what changes in hven.toml; and what of it waits for a restart.
    engines
        Every engine of the site, by name; a table's rows are asked of `engines.of(relation)`.
    counters
        Of requests and queries.
    usage_counter
        What is used how often.
    """

    def __init__(
        self, settings: Settings, *, watch_for_changes: bool = False, engine_memory_bytes: int | None = None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.reloadable_settings = ReloadableSettings(settings)
        http_client.set_host_rates(settings.ceilings, settings.var_directory / "turns")
        self.store = StateStore(settings.var_directory, settings.store)
        try:
            self.store.claim_data_directory(settings.data_directory)
            self.engines = EngineRegistry(
                settings, memory_bytes=engine_memory_bytes, get_site_id=self.store.get_site_id
            )
        except BaseException:
            self.store.close()
            raise
        self.counters = ProcessCounters.open_for_process()
        self.usage_counter = UsageCounter(self.store.uses, self.get_published_state)
        self._descriptor_watcher = DescriptorWatcher(settings, self.store.descriptors)
        self._live_tables = LiveTables(settings, self.engines)
        self.policies = AccessPolicyBinder(self.engines.find_engine)
        self._live_change_count = 0
        self._published_records: dict[str, SnapshotRecord] = {}
        self._served_records: Mapping[
            str, SnapshotRecord
        ] = {}  # of them what is not damaged, or what is served instead
        self._release_records: list[tuple[Release, list[SnapshotRecord]]] = []
        self._failed_verifications: Mapping[str, Verification] = {}
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
        self._past_states: dict[tuple[str, str], tuple[float, PastState]] = {}
        self._change_listeners: list[Callable[[PublishedState], None]] = []
        self._closing = threading.Event()
        self._settings_changed = threading.Event()  # for the thread that looks at engines
        self._watch_thread: threading.Thread | None = None
        self._status_file: ServerStatusFile | None = None
        if watch_for_changes:
            self._status_file = ServerStatusFile(settings)
            self.refresh_published_state()
            self.check_files()
            self._watch_thread = threading.Thread(target=self._watch_for_changes, name="holdings", daemon=True)
            self._watch_thread.start()
            threading.Thread(target=self._watch_engines, name="engines", daemon=True).start()
            self.usage_counter.start()

    @property
    def published_records(self) -> Mapping[str, SnapshotRecord]:
        """What is published, by table, as `get_published_state` saw it last."""
        return self._published_records

    def list_descriptor_files(self) -> list[Path]:
        """List the files of all descriptors."""
        return [
            file
            for descriptor_state in list(self._descriptor_watcher.states_by_collection.values())
            for file in descriptor_state.files
        ]

    def read_descriptor(self, collection: str) -> DescriptorState | None:
        """Read the descriptor of a collection as it is now.

        Parameters
        ----------
        collection
            Of the collection.

        Returns
        -------
        seen
            None: there is none.
        """
        self.refresh_published_state()
        return self._descriptor_watcher.states_by_collection.get(collection)

    @property
    def embedded_engine(self) -> StorageEngine:
        """The embedded engine: it computes over rows in memory, and keeps what readers upload."""
        return self.engines.embedded_engine

    def get_published_state(self) -> PublishedState:
        """Return the picture of now, at most a quarter of a second old.

        Raises
        ------
        StorageError
            The system state cannot be read, and never could in this process.
        """
        published_state = self._published_state
        if published_state is not None and (
            self._watch_thread is not None or time.monotonic() - self._last_refresh < REFRESH_INTERVAL_SECONDS
        ):
            return published_state
        return self.refresh_published_state(wait=published_state is None)

    def find_past_state(
        self,
        version_text: str,
        principal: Principal = OWNER_PRINCIPAL,
        policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
    ) -> PastState:
        """Return what was published at a time, or together with a snapshot, as far as it is kept.

        Parameters
        ----------
        version_text
            ISO 8601 (UTC unless it says otherwise; a day means its end), the label of a release, or the id of a
            snapshot or run.
        principal, policies
            A release of which they may know nothing is none.

        Raises
        ------
        ParamError
            It is neither.
        """
        version_key = resolve_version(self.store, version_text)
        current_state = self.get_published_state()
        key = (version_key, current_state.version)
        build_time, past_state = self._past_states.get(key, (0.0, None))
        if (
            past_state is None or time.monotonic() - build_time > REFRESH_INTERVAL_SECONDS
        ):  # what is kept may have become less
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
        past_published_state = past_state.published_state
        if past_state.is_release and not any(
            past_table.qualified_name in past_published_state.tables_by_name
            for past_table in past_published_state.get_catalogue(principal, policies).iterate_tables()
        ):
            raise build_unknown_version_error(version_text)
        return past_state

    def add_change_listener(self, listener: Callable[[PublishedState], None]) -> None:
        """Register a function that is called with each new picture, from the thread that looks for changes.

        Without that thread it never is.

        Parameters
        ----------
        listener
            Must be quick.
        """
        self._change_listeners.append(listener)

    def list_missing_indexes(self) -> list[str]:
        """List which indexes the databases lack whose tables are read in place.

        Returns
        -------
        hints
            SQL to create them.
        """
        self.get_published_state()
        return self._live_tables.list_missing_indexes()

    def refresh_published_state(self, *, wait: bool = True) -> PublishedState:
        """Refresh the picture from the store and the descriptors now, whatever the time.

        Parameters
        ----------
        wait
            False: if another thread is looking, return the last picture instead of waiting for it.

        Returns
        -------
        holdings
            The picture of now.
        """
        if not self._refresh_lock.acquire(blocking=wait):
            if self._published_state is not None:
                return self._published_state
            self._refresh_lock.acquire()
        try:
            return self._refresh_if_changed()
        finally:
            self._refresh_lock.release()

    def _apply_changed_settings(self) -> bool:
        """Apply what changed in hven.toml; return whether anything did."""
        if not self.reloadable_settings.reload_if_changed(self.engines.list_sections_in_use()):
            return False
        http_client.set_host_rates(
            self.reloadable_settings.current.ceilings, self.reloadable_settings.current.var_directory / "turns"
        )
        self.settings = self.reloadable_settings.current
        self.engines.apply_settings(self.settings)
        self._live_tables.apply_settings(self.settings)
        self._descriptor_watcher.apply_settings(self.settings)
        self._change_listeners.clear()  # the faces are made anew with them, and say again what they want to be told
        self._settings_changed.set()
        return True

    def _refresh_if_changed(self) -> PublishedState:
        changed = self._status_file is not None and self._apply_changed_settings()
        changed |= self._descriptor_watcher.reload_changed()
        resources = {
            name: item.resource
            for name, item in self._descriptor_watcher.states_by_collection.items()
            if item.resource is not None
        }
        # where a thread looks at what is elsewhere, only what is new is looked at here
        self._live_tables.inspect_tables(
            resources, new_only=self._watch_thread is not None or not self._live_tables.is_inspection_due()
        )
        changed |= self._live_tables.change_count != self._live_change_count
        self._live_change_count = self._live_tables.change_count
        site_problems = (*self._engine_problems, *self._live_tables.list_problems())
        try:
            if self.store.get_version() != self._store_version:
                version, records = self.store.read_published_records()
                self._failed_verifications = self.store.verifications.list_damaged()
                self._release_records = self.store.releases.list_release_records()
                self._store_version = version
                self._published_records = records
                changed = True
            faulty = self.engines.list_damaged_snapshots()
            if changed or faulty is not self._missing_files:
                self._select_served_records(faulty)
                changed = True
        except HvenError as error:
            if self._published_state is None:
                raise
            site_problems = (str(error), *site_problems)
        if changed or self._published_state is None or site_problems != self._known_problems or self._has_failed:
            live_tables = self._live_tables.build_published_tables(resources)
            new_state = build_published_state(
                self._served_records,
                self._descriptor_watcher.states_by_collection,
                site_problems,
                live_tables,
                self._damaged_snapshots,
                policies=self.policies,
                releases=self._release_records,
                projects=self.settings.projects,
            )
            problems = (
                *new_state.problems,
                *list_people_table_problems(self.settings.people.tables, new_state.tables_by_name),
            )
            self._published_state = replace(new_state, list_own_tables=self.list_own_tables, problems=problems)
            self._known_problems = site_problems
            self._has_failed = False
        self._last_refresh = time.monotonic()
        return self._published_state

    def _select_served_records(self, missing_files: Mapping[str, str]) -> None:
        """Find what is served of what is published: not what is damaged, if there is anything else."""
        self._missing_files = missing_files
        reasons_by_snapshot = {
            ident: str(verification.damage_text) for ident, verification in self._failed_verifications.items()
        }

        def find_damage(record: SnapshotRecord) -> str | None:
            return reasons_by_snapshot.get(record.id) or (
                missing_files.get(record.snapshot.path) if record.snapshot.engine == EMBEDDED_ENGINE else None
            )

        self._served_records, self._damaged_snapshots = select_served_records(
            self.store, self._published_records, find_damage
        )
        paths = {record.id: record.snapshot.path for record in self._published_records.values()}
        for collection in {verification.collection for verification in self._failed_verifications.values()}:
            if collection != USER_SCHEMA:
                collection_records = self.store.list_snapshots(collection)
            else:
                collection_records = [verification for verification, _ in self.store.user_tables.list_user_tables()]
            paths |= {record.id: record.snapshot.path for record in collection_records}
        self.engines.refuse_snapshots(
            {paths[ident]: text for ident, text in reasons_by_snapshot.items() if ident in paths}
        )

    def check_files(self) -> None:
        """Check which files of what is published are missing or cut off.

        If that has changed, `get_published_state` is made anew.
        """
        self.engines.release_removed_snapshots()
        for record in {
            served_record.id: served_record
            for served_record in (*self._published_records.values(), *self._served_records.values())
        }.values():
            self.engines.find_missing_file(record.snapshot)
        if self.engines.list_damaged_snapshots() != self._missing_files:
            self.refresh_published_state()

    def list_own_tables(self, owner: str) -> tuple[PublishedTable, ...]:
        """List the tables that a reader keeps here, at most a quarter of a second old.

        Parameters
        ----------
        owner
            Name of the reader.

        Returns
        -------
        tables
            As they are published to them alone.
        """
        cached_tables = self._own_tables_by_owner.get(owner)
        monotonic_time = time.monotonic()
        if cached_tables is None or monotonic_time - cached_tables[0] > REFRESH_INTERVAL_SECONDS:
            own_tables = tuple(
                PublishedTable(
                    table=record.table,
                    relation=record.snapshot,
                    updated=record.created,
                    run_id=record.id,
                    rows=record.snapshot.rows,
                )
                for record, _ in self.store.user_tables.list_owner_tables(owner)
            )
            if len(self._own_tables_by_owner) >= MAX_CACHED_OWNERS:
                self._own_tables_by_owner.clear()
            cached_tables = self._own_tables_by_owner[owner] = (monotonic_time, own_tables)
        return cached_tables[1]

    def probe_engines(self) -> tuple[str, ...]:
        """Ask the engines whose tables are published here whether they answer. It may take a few seconds.

        Returns
        -------
        troubles
            A sentence for each that does not.
        """
        published_state = self._published_state or self.get_published_state()
        relations = {name: item.relation for name, item in published_state.tables_by_name.items()}
        names = {
            relation.engine
            for relation in relations.values()
            if relation is not None and not isinstance(relation, MemoryRelation)
        } - {EMBEDDED_ENGINE}
        self.check_files()
        return tuple(self.engines.probe_engines(names))

    def _watch_engines(self) -> None:
        """Open the other engines before somebody asks for their tables, and notice when they are away."""
        while not self._closing.is_set():
            self._settings_changed.clear()
            try:
                self._engine_problems = self.probe_engines()
                self._write_status()
                self._live_tables.inspect_tables(
                    self._published_state.resources if self._published_state is not None else {}
                )
            except Exception as error:  # noqa: BLE001  (without this thread nobody would notice)
                self._record_failure(
                    f"looking at the engines failed: {error if isinstance(error, HvenError) else repr(error)}"
                )
            self._settings_changed.wait(ENGINE_CHECK_INTERVAL_SECONDS)

    def _write_status(self) -> None:
        """Write down for other processes of this machine how this one is."""
        if self._status_file is not None and not self._closing.is_set():
            engine_problems = {name: self.engines.find_engine_problem(name) for name in plugins.list_plugins("engines")}
            data, store = describe_storage(self.settings, self.store)
            self._status_file.write_status(
                ServerProcess(
                    holder=get_process_holder(),
                    since=self._start_time,
                    data=data,
                    store=store,
                    waiting=self.reloadable_settings.pending_restart,
                    problem=self.reloadable_settings.problem,
                    engines=engine_problems,
                )
            )

    def _watch_for_changes(self) -> None:
        announced_state: PublishedState | None = None
        while not self._closing.wait(REFRESH_INTERVAL_SECONDS):
            try:
                published_state = self.refresh_published_state()
                if published_state is not announced_state and self._change_listeners:
                    announced_state = published_state
                    for listener in self._change_listeners:
                        listener(published_state)
            except Exception as error:  # noqa: BLE001  (without this thread nothing new would ever be seen)
                self._record_failure(
                    f"looking for changes failed: {error if isinstance(error, HvenError) else repr(error)}"
                )

    def _record_failure(self, problem: str) -> None:
        """Keep the last state and say what is wrong with it."""
        last_state = self._published_state
        self._has_failed = True
        if last_state is not None and problem not in last_state.problems:
            self._published_state = replace(last_state, problems=(*last_state.problems, problem))

    def wait_for_closing(self, timeout_seconds: float) -> bool:
        """Wait, for threads that work ahead.

        Parameters
        ----------
        timeout_seconds
            At most.

        Returns
        -------
        closing
            Whether the site is being closed.
        """
        return self._closing.wait(timeout_seconds)

    def close(self) -> None:
        """Stop watching and free everything."""
        self._closing.set()
        self._settings_changed.set()
        if self._status_file is not None:
            self._status_file.remove_file()
        if self._watch_thread is not None:
            self._watch_thread.join()
            self._watch_thread = None
        self.usage_counter.stop()
        self.engines.close_engines()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
