"""`StateStore`: publish, roll back, remove and prune collections. No other code moves pointers."""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import sqlalchemy as sa

from hven.model import SingletonRegistry
from hven.model.errors import NotFoundError, StorageError
from hven.site.store import _leases as leases
from hven.site.store import _snapshot_pointers as pointer_moves
from hven.site.store._database import (
    StateDatabase,
    build_state_address,
    events,
    get_next_number,
    get_or_create_secret,
    increment_state_version,
    insert_meta_value,
    is_state_required,
    mark_state_required,
    meta,
    pointers,
    read_meta_value,
    releases,
    retired,
    snapshots,
    sync_state,
    user_tables,
    verifications,
)
from hven.site.store._deletion_time import DeletionClock
from hven.site.store._descriptors import LastGoodDescriptorStore
from hven.site.store._grants import AccessGrantStore
from hven.site.store._job_records import JobStore
from hven.site.store._leases import Lease, LeaseStore, describe_lease_holders
from hven.site.store._package_tables import find_tables_of_unused_packages
from hven.site.store._releases import ReleaseStore
from hven.site.store._result_records import CitedResultStore
from hven.site.store._schedules import SyncScheduleStore
from hven.site.store._sessions import SessionStore
from hven.site.store._snapshots import (
    PublicationEvent,
    SnapshotRecord,
    parse_snapshot_engine_and_path,
    snapshot_record_from_row,
    snapshot_record_to_row,
)
from hven.site.store._sync_states import SyncStateStore
from hven.site.store._user_table_records import UserTableStore
from hven.site.store._users import UserStore
from hven.site.store._verifications import SnapshotVerificationStore
from hven.site.store.ingest_runs import IngestRunStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from hven.engines import Snapshot


T = TypeVar("T")
EMBEDDED_ENGINE = "duckdb"
_MAX_ID_CHARACTERS = 200  # a longer id is none of ours; SQLite searches for no text of more than 50,000
SITE_SIGNING_META_KEY = "registry"  # key in `meta` of the secret of the site, named after what was signed first
DATA_MARKER_FILE = ".hven-data"  # a file that names the store to which a directory belongs


class PendingPackageWrite(Protocol):
    """What a run writes into tables of a plug-in package, in the transaction that publishes its snapshots."""

    def insert(self, connection: sa.Connection) -> None:
        """Write it.

        Parameters
        ----------
        connection
            The connection of the transaction.
        """


class StateStore:
    """The system state of a site. Thread-safe; one per process.

    Parameters
    ----------
    directory
        ``var/`` of the site; it is created if it is missing.
    url
        SQLAlchemy URL; None: ``hven.sqlite`` in `directory`.

    Common
    ------
    collection
        Name of a collection.
    run_id
        Id of the run that made the records.
    """

    def __init__(self, directory: Path, url: str | None = None) -> None:
        self._location = directory, url
        try:
            if not is_state_required(directory, url):
                # digests, sessions, rows of private tables: only the owner may read them
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            message = f"{directory} cannot be created: {error.strerror}"
            raise StorageError(message, remedy="check the permissions of the site's directory") from error
        self._database = StateDatabase(build_state_address(directory, url), describe_lease_holders)
        self.deletion_clock = DeletionClock(self._database)
        self.leases = LeaseStore(self._database)
        self.runs = IngestRunStore(self._database)
        self.jobs = JobStore(self._database)
        self.users = UserStore(self._database)
        self.sessions = SessionStore(self._database)
        self.grants = AccessGrantStore(self._database)
        self.user_tables = UserTableStore(self._database)
        self.syncs = SyncStateStore(self._database)
        self.schedules = SyncScheduleStore(self._database)
        self.releases = ReleaseStore(self._database)
        self.verifications = SnapshotVerificationStore(self._database)
        self.descriptors = LastGoodDescriptorStore(self._database)
        self.results = CitedResultStore(self._database)
        self._package_objects = SingletonRegistry()
        self._cached_holds: tuple[int, dict[str, str]] = (-1, {})
        self._cached_records: dict[str, tuple[int, SnapshotRecord]] = {}

    def get_or_create(self, factory: Callable[[StateDatabase], T]) -> T:
        """Return the object by which a plug-in package reads and writes its tables.

        Parameters
        ----------
        factory
            A class or function of the package; it gets the database at the first call.

        Returns
        -------
        made
            The same object at each call.
        """
        return self._package_objects.get_or_create(factory, self._database)

    def find_tables_of_unused_packages(self) -> dict[str, list[str]]:
        """Find the tables with rows of plug-in packages that this process does not use.

        Returns
        -------
        tables
            Names of the tables, by the names of their packages.
        """
        with self._database.begin_read() as connection:
            return find_tables_of_unused_packages(connection)

    @property
    def display_address(self) -> str:
        """The address for display, without a password."""
        return self._database.display_address

    def mark_state_required(self) -> Self:
        """Mark this as the state of a server: see `hven.site.store._database.mark_state_required`.

        Returns
        -------
        store
            This store.
        """
        mark_state_required(*self._location)
        return self

    def get_version(self) -> int:
        """Return the number of pointer moves so far; cheap enough to call several times a second."""
        return self._database.check_formats_and_read_counter("version")

    def read_published_records(self) -> tuple[int, dict[str, SnapshotRecord]]:
        """Return the record of every published table, as one state.

        Returns
        -------
        version
            Counts up with each change.
        records
            Records by qualified name.
        """
        records_by_table: dict[str, tuple[int, SnapshotRecord]] = {}
        query = sa.select(snapshots).join(pointers, pointers.c.snapshot == snapshots.c.id)
        with self._database.begin_read() as connection:
            version = _read_version(connection)
            for row in connection.execute(query.order_by(pointers.c.table_name)):
                row_hash = hash(tuple(row))
                cached_record = self._cached_records.get(row.table_name)
                # a record names every file of its sources: it is parsed once
                if cached_record is not None and cached_record[0] == row_hash:
                    records_by_table[row.table_name] = cached_record
                else:
                    records_by_table[row.table_name] = (row_hash, snapshot_record_from_row(row))
        self._cached_records = records_by_table
        return version, {name: record for name, (_, record) in records_by_table.items()}

    def read_published_snapshot_ids(self) -> tuple[int, dict[str, str]]:
        """Return which snapshots are published, as one state.

        Returns
        -------
        version
            Counts up with each change.
        pointers
            Qualified table -> snapshot id.
        """
        with self._database.begin_read() as connection:
            version = _read_version(connection)
            rows = connection.execute(sa.select(pointers))
            return version, {row.table_name: row.snapshot for row in rows}

    def list_publication_times(self) -> dict[str, float]:
        """Return when each collection was last published.

        Returns
        -------
        times
            Seconds since 1970, by collection; a collection that is not published now is not in it.
        """
        last_time = sa.func.max(pointers.c.since)
        query = sa.select(pointers.c.collection, last_time).group_by(pointers.c.collection)
        with self._database.begin_read() as connection:
            time_texts: dict[str, str] = {row[0]: row[1] for row in connection.execute(query)}
        return {collection: datetime.fromisoformat(text).timestamp() for collection, text in time_texts.items()}

    def get_record(self, snapshot_id: str) -> SnapshotRecord:
        """Return the record of a snapshot.

        Parameters
        ----------
        snapshot_id
            Id of the snapshot.

        Raises
        ------
        NotFoundError
            No snapshot has this id.
        """
        query = sa.select(snapshots).where(snapshots.c.id == snapshot_id)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(f"there is no snapshot {snapshot_id!r}")
        return snapshot_record_from_row(row)

    def list_snapshots(self, collection: str) -> list[SnapshotRecord]:
        """List every kept snapshot of a collection.

        Returns
        -------
        records
            The newest first.
        """
        query = sa.select(snapshots).where(snapshots.c.collection == collection)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(snapshots.c.number.desc()))
            return [snapshot_record_from_row(row) for row in rows]

    def list_snapshot_ids(self, collection: str) -> set[str]:
        """List the ids of a collection's kept snapshots.

        Returns
        -------
        ids
            In no order.
        """
        query = sa.select(snapshots.c.id).where(snapshots.c.collection == collection)
        with self._database.begin_read() as connection:
            return set(connection.execute(query).scalars())

    def list_all_snapshots(self) -> list[SnapshotRecord]:
        """List every kept snapshot of all collections.

        Returns
        -------
        records
            Records by id.
        """
        query = sa.select(snapshots).order_by(snapshots.c.id)
        with self._database.begin_read() as connection:
            return [snapshot_record_from_row(row) for row in connection.execute(query)]

    def list_publication_events(self, collection: str) -> list[PublicationEvent]:
        """List every event that moved a collection's pointers.

        Returns
        -------
        events
            The newest first.
        """
        query = sa.select(events).where(events.c.collection == collection)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(events.c.number.desc()))
            return [pointer_moves.publication_event_from_row(row) for row in rows]

    def find_last_publication_events(self, time_text: str) -> dict[str, PublicationEvent]:
        """Return what was published at a moment.

        Parameters
        ----------
        time_text
            The moment, as `PublicationEvent.at` has it.

        Returns
        -------
        events
            Collection -> its last event until then.
        """
        query = sa.select(events).where(events.c.at <= time_text)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(events.c.number))
            return {row.collection: pointer_moves.publication_event_from_row(row) for row in rows}

    def find_publication_time(self, snapshot_or_run_id: str) -> str | None:
        """Find when a snapshot, or what a run made, was first published.

        Parameters
        ----------
        snapshot_or_run_id
            Id of a snapshot or of a run.

        Returns
        -------
        moment
            None if it never was published.
        """
        if len(snapshot_or_run_id) > _MAX_ID_CHARACTERS:
            return None
        names_snapshot = events.c.state.contains(f'"{snapshot_or_run_id}"', autoescape=True)
        query = sa.select(events).where(sa.or_(events.c.run == snapshot_or_run_id, names_snapshot))
        with self._database.begin_read() as connection:
            row = connection.execute(query.order_by(events.c.number).limit(1)).first()
        if row is None:
            return None
        return str(row.at)

    def list_kept_snapshot_paths(self) -> set[str]:
        """Return `Snapshot.path` of every kept snapshot: other files may be swept away."""
        with self._database.begin_read() as connection:
            snapshot_rows = connection.execute(sa.select(snapshots))
            known_paths = {parse_snapshot_engine_and_path(row)[1] for row in snapshot_rows}
            for user_paths in (user_tables.c.path, retired.c.path):
                known_paths |= set(connection.execute(sa.select(user_paths)).scalars())
        return known_paths

    def map_kept_snapshot_paths(self) -> dict[str, set[str]]:
        """Return the paths of `list_kept_snapshot_paths` by engine; users' own tables are all in the embedded one."""
        paths_by_engine: dict[str, set[str]] = {}
        known_paths = self.list_kept_snapshot_paths()
        with self._database.begin_read() as connection:
            for row in connection.execute(sa.select(snapshots)):
                engine, path = parse_snapshot_engine_and_path(row)
                paths_by_engine.setdefault(engine, set()).add(path)
        embedded_paths = paths_by_engine.setdefault(EMBEDDED_ENGINE, set())
        embedded_paths |= known_paths.difference(*paths_by_engine.values())
        return paths_by_engine

    def is_snapshot_kept(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot is kept: one that is not was removed on purpose, and is not damaged.

        Parameters
        ----------
        snapshot
            A snapshot of any engine.
        """
        return snapshot.path in self.map_kept_snapshot_paths().get(snapshot.engine, ())

    def map_hold_start_times(self) -> dict[str, str]:
        """Return the collections that a rollback holds, and since when.

        No schedule changes them, nor does a change of the collections that they are made from.
        """
        version = self.get_version()
        if self._cached_holds[0] != version:
            last_events = sa.select(sa.func.max(events.c.number)).group_by(events.c.collection)
            query = sa.select(events).where(events.c.number.in_(last_events))
            holding_actions = pointer_moves.HOLDING_ACTIONS
            with self._database.begin_read() as connection:
                rows = connection.execute(query)
                held_since = {row.collection: row.at for row in rows if row.action in holding_actions}
            self._cached_holds = (version, held_since)
        return self._cached_holds[1]

    # --- pointers --------------------------------------------------------------------------------------------

    def publish_collection(
        self,
        collection: str,
        records: Iterable[SnapshotRecord],
        *,
        run_id: str,
        lease: Lease | None = None,
        is_hold_kept: bool = False,
    ) -> int:
        """Publish these snapshots as the collection's, all at once.

        Tables of the collection that are not among them are no longer published.

        Parameters
        ----------
        records
            New snapshots, and stored ones that stay.
        lease
            The lease of the caller: if it was lost, nothing is published.
        is_hold_kept
            Keep the hold of a rollback, because the rows are the same as before and only lie elsewhere.

        Returns
        -------
        int
            The new version.

        Raises
        ------
        ConflictError
            The lease was lost, or a table belongs to another collection.
        """
        return self.publish_collections([(collection, records, lease)], run_id=run_id, is_hold_kept=is_hold_kept)

    def publish_collections(
        self,
        states: Iterable[tuple[str, Iterable[SnapshotRecord], Lease | None]],
        *,
        run_id: str,
        amended_records: Iterable[SnapshotRecord] = (),
        pending_writes: Iterable[PendingPackageWrite] = (),
        is_hold_kept: bool = False,
        must_hold: bool = False,
        action: str = "publish",
    ) -> int:
        """Publish several collections at one moment: derived collections together with their sources.

        Parameters
        ----------
        states
            Collection, its records, and the caller's lease of it: as for `publish_collection`.
        amended_records
            Stored snapshots of any collection whose provenance has grown.
        pending_writes
            What plug-in packages write with it.
        is_hold_kept
            As for `publish_collection`.
        must_hold
            Hold the collections from now on: no schedule changes them.
        action
            Publish, or rollback, which holds them.

        Returns
        -------
        version
            The version after the publication.

        Raises
        ------
        ConflictError
            One of the leases was lost: nothing is published.
        """
        version = 0
        with self._database.begin_write() as connection:
            for collection, records, lease in states:
                new_records = list(records)
                if lease is not None:
                    leases.check_lease_held(connection, lease)
                _insert_new_snapshots(connection, new_records)
                state = {record.table.qualified_name: record.id for record in new_records}
                is_held = must_hold or (
                    is_hold_kept and pointer_moves.is_collection_held_by_rollback(connection, collection)
                )
                version = pointer_moves.move_snapshot_pointers(connection, collection, state, action, run_id)
                if is_held:
                    version = pointer_moves.record_event_as_new_version(
                        connection, collection, state, "hold", run_id=run_id
                    )
            pointer_moves.rewrite_snapshot_records(connection, amended_records)
            for pending_write in pending_writes:
                pending_write.insert(connection)
        return version

    def update_snapshot_records(self, records: Iterable[SnapshotRecord]) -> None:
        """Update the provenance of stored snapshots without publishing anything.

        Parameters
        ----------
        records
            Records of stored snapshots, with their present provenance.
        """
        with self._database.begin_write() as connection:
            pointer_moves.rewrite_snapshot_records(connection, records)
            increment_state_version(connection)

    def roll_back(self, collection_or_table: str, snapshot_or_run_id: str | None = None) -> dict[str, str]:
        """Roll back to an earlier state.

        Parameters
        ----------
        collection_or_table
            A collection, or one table as ``schema.table``.
        snapshot_or_run_id
            Id of a snapshot or of a run; None: the state before the present one. All tables of a collection go back
            to what was published together with it.

        Returns
        -------
        dict
            Qualified table -> id of the snapshot that is now published.

        Raises
        ------
        NotFoundError
            There is no such collection or snapshot, or nothing earlier is kept.
        ConflictError
            The collection is being ingested.
        """
        with self._database.begin_write() as connection:
            rows = list(connection.execute(sa.select(pointers)))
            table_pointer = {row.table_name: row for row in rows}.get(collection_or_table)
            collection = collection_or_table
            if table_pointer is not None:
                collection = table_pointer.collection
            leases.check_lease_free(connection, build_lease_name(collection))
            current_state = {row.table_name: row.snapshot for row in rows if row.collection == collection}
            if table_pointer is not None:
                state = pointer_moves.find_table_rollback_state(
                    connection, collection_or_table, current_state, snapshot_or_run_id
                )
            else:
                state = pointer_moves.find_rollback_state(
                    connection, collection_or_table, current_state, snapshot_or_run_id
                )
            pointer_moves.move_snapshot_pointers(connection, collection, state, "rollback", None)
            return state

    def end_hold(self, collection: str) -> bool:
        """Let a collection that a rollback holds follow its sources again.

        Returns
        -------
        held
            Whether a rollback held it.
        """
        with self._database.begin_write() as connection:
            is_held = pointer_moves.is_collection_held_by_rollback(connection, collection)
            if is_held:
                state = pointer_moves.read_snapshot_pointers(connection, collection)
                pointer_moves.record_event_as_new_version(connection, collection, state, "resume", run_id=None)
            return is_held

    def unpublish_collection(self, collection: str) -> list[str]:
        """Stop publishing a collection; its snapshots stay (see `delete_unreferenced_snapshots`).

        Returns
        -------
        tables
            The tables that were published.

        Raises
        ------
        NotFoundError
            Nothing of that name is published or kept.
        ConflictError
            The collection is being ingested.
        """
        snapshots_query = sa.select(snapshots.c.id).where(snapshots.c.collection == collection)
        tables_query = sa.select(pointers.c.table_name).where(pointers.c.collection == collection)
        with self._database.begin_write() as connection:
            leases.check_lease_free(connection, build_lease_name(collection))
            if connection.execute(snapshots_query.limit(1)).first() is None:
                raise NotFoundError(f"there is no collection {collection!r} in the system state")
            table_names = list(connection.execute(tables_query).scalars())
            if table_names:
                pointer_moves.move_snapshot_pointers(connection, collection, {}, "remove", None)
            return table_names

    def delete_unreferenced_snapshots(self, collection: str) -> list[Snapshot]:
        """Delete a collection's snapshots that are neither published nor pinned from the store.

        Returns
        -------
        snapshots
            The deleted snapshots: the caller drops their files.
        """
        return self._delete_snapshots(collection, keep_count=0)

    def prune_snapshots(self, collection: str, keep_count: int, *, created_before: str = "9") -> list[Snapshot]:
        """Delete all but the last snapshots of each table from the store; published and pinned ones stay.

        Parameters
        ----------
        keep_count
            How many snapshots of each table stay, at least 1.
        created_before
            ISO time: later snapshots stay, too.

        Returns
        -------
        snapshots
            The deleted snapshots: the caller drops their files.
        """
        return self._delete_snapshots(collection, keep_count=max(keep_count, 1), created_before=created_before)

    def _delete_snapshots(self, collection: str, keep_count: int, created_before: str = "9") -> list[Snapshot]:
        query = sa.select(snapshots).where(snapshots.c.collection == collection)
        counts_by_table: Counter[str] = Counter()
        deleted_snapshots = []
        with self._database.begin_write() as connection:
            pinned_ids: set[str] = set()
            for pinning_column in (pointers.c.snapshot, releases.c.snapshot):
                pinned_ids |= set(connection.execute(sa.select(pinning_column)).scalars())
            for row in connection.execute(query.order_by(snapshots.c.number.desc())):
                counts_by_table[row.table_name] += 1
                is_old = counts_by_table[row.table_name] > keep_count and row.created < created_before
                if is_old and row.id not in pinned_ids:
                    deleted_snapshots.append(snapshot_record_from_row(row).snapshot)
            deleted_ids = [snapshot.id for snapshot in deleted_snapshots]
            connection.execute(sa.delete(snapshots).where(snapshots.c.id.in_(deleted_ids)))
            for dependent_table in (sync_state, verifications):
                row_condition = dependent_table.c.snapshot.in_(deleted_ids)
                connection.execute(sa.delete(dependent_table).where(row_condition))
            return deleted_snapshots

    # --- the data directory -------------------------------------------------------------------------------------

    def claim_data_directory(self, directory: Path) -> None:
        """Check that this directory of snapshots and jobs belongs to a store that several machines share.

        Parameters
        ----------
        directory
            The directory of this machine.

        Raises
        ------
        StorageError
            Another directory belongs to the store, or this one to another store.
        """
        if self._database.is_sqlite:  # the file lies beside its data
            return
        marker = directory / DATA_MARKER_FILE
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._database.begin_write() as connection:
            directory_id = None
            if marker.is_file():
                directory_id = marker.read_text(encoding="ascii").strip()
            data_id = read_meta_value(connection, "data")
            if data_id is None:
                data_id = directory_id or secrets.token_hex(8)
                marker.write_text(f"{data_id}\n", encoding="ascii")
                insert_meta_value(connection, "data", data_id)
        if directory_id == data_id or (directory_id is None and marker.is_file()):
            return
        mismatch = "does not contain the site's data" if directory_id is None else "contains different data"
        raise StorageError(
            f"the system state {self._database.display_address} is shared, but the directory {directory} {mismatch}",
            remedy="set `data` in hven.toml to the directory that all machines of this site share; if the data with "
            f"the ID {data_id} are permanently lost, write {data_id} to {marker}, and ingest the collections again",
        )

    def get_site_id(self) -> str:
        """Return the identifier of this site, which no other site has.

        It is created at the first call, and shared by all machines that share the store.
        """
        with self._database.begin_write() as connection:
            site_id = read_meta_value(connection, "site")
            if site_id is None:
                site_id = secrets.token_hex(8)
                insert_meta_value(connection, "site", site_id)
        return site_id

    def get_site_secret(self) -> bytes:
        """Return the secret with which all processes of this site sign what they recognise later.

        It is created at the first call.
        """
        return get_or_create_secret(self._database, SITE_SIGNING_META_KEY)

    def release_data_directory(self) -> None:
        """Forget which directory belongs to this store, because it is empty after all."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(meta).where(meta.c.key == "data"))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def build_lease_name(collection: str) -> str:
    """Return the name of the lease that a process holds while it changes a collection.

    Parameters
    ----------
    collection
        Name of the collection.
    """
    return f"ingest {collection}"


def _read_version(connection: sa.Connection) -> int:
    version_query = sa.select(meta.c.value).where(meta.c.key == "version")
    return int(connection.execute(version_query).scalar_one())


def _insert_new_snapshots(connection: sa.Connection, records: list[SnapshotRecord]) -> None:
    """Insert those records that are not stored yet."""
    record_ids = [record.id for record in records]
    stored_query = sa.select(snapshots.c.id).where(snapshots.c.id.in_(record_ids))
    stored_ids = set(connection.execute(stored_query).scalars())
    for record in records:
        if record.id not in stored_ids:
            number = get_next_number(connection, snapshots)
            connection.execute(sa.insert(snapshots).values(**snapshot_record_to_row(record), number=number))
