"""`StateStore`: publish, roll back, remove, prune - the only code that moves pointers."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from hven.model.errors import NotFoundError, StorageError
from hven.site.store import _leases as leases
from hven.site.store import _pointer_moves as pointer_moves
from hven.site.store import _pushes as pushes
from hven.site.store import _state_copies as state_copies
from hven.site.store._citation_records import CitationStore, CitedResultStore
from hven.site.store._database import (
    StateDatabase,
    build_state_address,
    events,
    get_next_number,
    increment_version,
    is_state_expected,
    mark_state_required,
    meta,
    pointers,
    releases,
    retired,
    snapshots,
    sync_state,
    user_tables,
    verifications,
)
from hven.site.store._deletion_time import DeletionClock
from hven.site.store._descriptors import DescriptorStore
from hven.site.store._drafts import DraftStore
from hven.site.store._grants import GrantStore
from hven.site.store._job_records import JobStore
from hven.site.store._leases import Lease, LeaseStore
from hven.site.store._registry_records import RegistryRecordStore
from hven.site.store._releases import ReleaseStore
from hven.site.store._schedules import ScheduleStore
from hven.site.store._sessions import SessionStore
from hven.site.store._snapshots import (
    PointerEvent,
    SnapshotRecord,
    read_engine_and_path,
    record_from_row,
    record_to_row,
)
from hven.site.store._sync_states import SyncStateStore
from hven.site.store._usage_records import UsageCountStore
from hven.site.store._user_table_records import UserTableStore
from hven.site.store._users import UserStore
from hven.site.store._verifications import VerificationStore
from hven.site.store.ingest_runs import RunStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hven.engines import Snapshot


EMBEDDED_ENGINE = "duckdb"
_MAX_ID_CHARACTERS = 200  # characters of an id; SQLite looks for no text of more than 50,000
DATA_MARKER_FILE = ".hven-data"  # a file that tells which store a directory belongs to


class StateStore:
    """The system state of a site. Thread-safe; one per process.

    Parameters
    ----------
    directory
        ``var/`` of the site; made if it is not there.
    url
        SQLAlchemy URL; None = ``hven.sqlite`` in `directory`.

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
            if not is_state_expected(directory, url):
                # digests, sessions, rows of private tables: nobody else's
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(
                f"{directory} cannot be made: {error.strerror}", remedy="check the rights of the site's directory"
            ) from error
        self._database = StateDatabase(build_state_address(directory, url))
        self.deletion_clock = DeletionClock(self._database)
        self.leases = LeaseStore(self._database)
        self.runs = RunStore(self._database)
        self.jobs = JobStore(self._database)
        self.users = UserStore(self._database)
        self.sessions = SessionStore(self._database)
        self.grants = GrantStore(self._database)
        self.user_tables = UserTableStore(self._database)
        self.syncs = SyncStateStore(self._database)
        self.schedules = ScheduleStore(self._database)
        self.releases = ReleaseStore(self._database)
        self.verifications = VerificationStore(self._database)
        self.descriptors = DescriptorStore(self._database)
        self.drafts = DraftStore(self._database)
        self.pushes = pushes.PushStore(self._database)
        self.registry = RegistryRecordStore(self._database)
        self.uses = UsageCountStore(self._database)
        self.citations = CitationStore(self._database)
        self.results = CitedResultStore(self._database)
        self._cached_holds: tuple[int, dict[str, str]] = (-1, {})
        self._cached_records: dict[str, tuple[int, SnapshotRecord]] = {}

    @property
    def display_address(self) -> str:
        """Its address, for a person."""
        return self._database.display_address

    def mark_state_required(self) -> Self:
        """Mark this as the state of a server: see `hven.site.store._database.mark_state_required`.

        Returns
        -------
        store
            Itself.
        """
        mark_state_required(*self._location)
        return self

    def get_version(self) -> int:
        """Count of pointer moves so far: cheap enough to ask several times a second."""
        return self._database.read_counter("version")

    def read_published_records(self) -> tuple[int, dict[str, SnapshotRecord]]:
        """Return every published table's record, as one state.

        Returns
        -------
        version
            Counts up with each change.
        records
            By qualified name.
        """
        records_by_table: dict[str, tuple[int, SnapshotRecord]] = {}
        with self._database.begin_read() as connection:
            version = int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "version")).scalar_one())
            query = (
                sa.select(snapshots)
                .join(pointers, pointers.c.snapshot == snapshots.c.id)
                .order_by(pointers.c.table_name)
            )
            for row in connection.execute(query):
                row_hash = hash(tuple(row))
                cached_record = self._cached_records.get(row.table_name)
                # a record names every file of its sources: it is read once
                if cached_record is not None and cached_record[0] == row_hash:
                    records_by_table[row.table_name] = cached_record
                else:
                    records_by_table[row.table_name] = (row_hash, record_from_row(row))
        self._cached_records = records_by_table
        return version, {name: record for name, (_, record) in records_by_table.items()}

    def read_pointers(self) -> tuple[int, dict[str, str]]:
        """Return which snapshots are published, as one state.

        Returns
        -------
        version
            Counts up with each change.
        pointers
            Qualified table -> snapshot id.
        """
        with self._database.begin_read() as connection:
            version = int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "version")).scalar_one())
            return version, {row.table_name: row.snapshot for row in connection.execute(sa.select(pointers))}

    def list_publication_times(self) -> dict[str, float]:
        """Return when each collection was published last.

        Returns
        -------
        times
            Seconds since 1970, by collection; those that are published no more are not in it.
        """
        query = sa.select(pointers.c.collection, sa.func.max(pointers.c.since).label("since")).group_by(
            pointers.c.collection
        )
        with self._database.begin_read() as connection:
            return {row.collection: datetime.fromisoformat(row.since).timestamp() for row in connection.execute(query)}

    def get_record(self, snapshot_id: str) -> SnapshotRecord:
        """Return one snapshot's record.

        Parameters
        ----------
        snapshot_id
            Its id.

        Raises
        ------
        NotFoundError
            There is none of that id.
        """
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(snapshots).where(snapshots.c.id == snapshot_id)).first()
        if row is None:
            raise NotFoundError(f"there is no snapshot {snapshot_id!r}")
        return record_from_row(row)

    def list_snapshots(self, collection: str) -> list[SnapshotRecord]:
        """List every snapshot of a collection that is kept.

        Returns
        -------
        records
            The newest first.
        """
        query = sa.select(snapshots).where(snapshots.c.collection == collection).order_by(snapshots.c.number.desc())
        with self._database.begin_read() as connection:
            return [record_from_row(row) for row in connection.execute(query)]

    def list_snapshot_ids(self, collection: str) -> set[str]:
        """List the ids of a collection's snapshots that are kept.

        Returns
        -------
        ids
            In no order.
        """
        query = sa.select(snapshots.c.id).where(snapshots.c.collection == collection)
        with self._database.begin_read() as connection:
            return set(connection.execute(query).scalars())

    def list_all_snapshots(self) -> list[SnapshotRecord]:
        """List every snapshot that is kept, of all collections.

        Returns
        -------
        records
            By id.
        """
        with self._database.begin_read() as connection:
            return [record_from_row(row) for row in connection.execute(sa.select(snapshots).order_by(snapshots.c.id))]

    def list_events(self, collection: str) -> list[PointerEvent]:
        """List everything that moved a collection's pointers.

        Returns
        -------
        events
            The newest first.
        """
        query = sa.select(events).where(events.c.collection == collection).order_by(events.c.number.desc())
        with self._database.begin_read() as connection:
            return [pointer_moves.event_from_row(row) for row in connection.execute(query)]

    def find_states_at(self, time_text: str) -> dict[str, PointerEvent]:
        """Return what was published at a moment.

        Parameters
        ----------
        time_text
            As `PointerEvent.at` has it.

        Returns
        -------
        events
            Collection -> the last event until then.
        """
        query = sa.select(events).where(events.c.at <= time_text).order_by(events.c.number)
        with self._database.begin_read() as connection:
            return {row.collection: pointer_moves.event_from_row(row) for row in connection.execute(query)}

    def find_publication_time(self, snapshot_or_run_id: str) -> str | None:
        """Find when a snapshot, or what a run made, was published first.

        Parameters
        ----------
        snapshot_or_run_id
            Id of either.

        Returns
        -------
        moment
            None if it never was.
        """
        if len(snapshot_or_run_id) > _MAX_ID_CHARACTERS:
            return None
        query = sa.select(events).where(
            sa.or_(
                events.c.run == snapshot_or_run_id, events.c.state.contains(f'"{snapshot_or_run_id}"', autoescape=True)
            )
        )
        with self._database.begin_read() as connection:
            row = connection.execute(query.order_by(events.c.number).limit(1)).first()
        if row is None:
            return None
        return str(row.at)

    def list_known_paths(self) -> set[str]:
        """Return `Snapshot.path` of every snapshot that is kept: the others' files may be swept."""
        with self._database.begin_read() as connection:
            snapshot_paths = {read_engine_and_path(row)[1] for row in connection.execute(sa.select(snapshots))}
            snapshot_paths |= set(connection.execute(sa.select(user_tables.c.path)).scalars())
            return snapshot_paths | set(connection.execute(sa.select(retired.c.path)).scalars())

    def map_known_paths(self) -> dict[str, set[str]]:
        """Return what `list_known_paths` does, by engine; readers' own tables are all in the embedded one."""
        paths_by_engine: dict[str, set[str]] = {}
        known_paths = self.list_known_paths()
        with self._database.begin_read() as connection:
            for row in connection.execute(sa.select(snapshots)):
                engine, path = read_engine_and_path(row)
                paths_by_engine.setdefault(engine, set()).add(path)
        embedded_paths = paths_by_engine.setdefault(EMBEDDED_ENGINE, set())
        embedded_paths |= known_paths.difference(*paths_by_engine.values())
        return paths_by_engine

    def is_snapshot_kept(self, snapshot: Snapshot) -> bool:
        """Return whether somebody may still want a snapshot: what is not kept any more was removed, and is not damaged.

        Parameters
        ----------
        snapshot
            Of any engine.
        """
        return snapshot.path in self.map_known_paths().get(snapshot.engine, ())

    def list_held_collections(self) -> dict[str, str]:
        """Return the collections that a rollback holds, and since when.

        No schedule changes them, nor what they are made from.
        """
        version = self.get_version()
        if self._cached_holds[0] != version:
            last_events = sa.select(sa.func.max(events.c.number)).group_by(events.c.collection)
            query = sa.select(events.c.collection, events.c.at, events.c.action).where(events.c.number.in_(last_events))
            with self._database.begin_read() as connection:
                self._cached_holds = (
                    version,
                    {
                        row.collection: row.at
                        for row in connection.execute(query)
                        if row.action in pointer_moves.HOLDING_ACTIONS
                    },
                )
        return self._cached_holds[1]

    # --- pointers --------------------------------------------------------------------------------------------

    def publish_collection(
        self,
        collection: str,
        records: Iterable[SnapshotRecord],
        *,
        run_id: str,
        lease: Lease | None = None,
        keep_hold: bool = False,
    ) -> int:
        """Publish these snapshots as the collection's, all at once.

        Its tables that are not named are published no more.

        Parameters
        ----------
        records
            New snapshots, and those already stored that stay.
        lease
            The lease of the caller: if it was lost, nothing is published.
        keep_hold
            The rows are the same as before, elsewhere: what a rollback holds stays held.

        Returns
        -------
        int
            The new version.

        Raises
        ------
        ConflictError
            The lease was lost, or a table belongs to another collection.
        """
        return self.publish_collections([(collection, records, lease)], run_id=run_id, keep_hold=keep_hold)

    def publish_collections(
        self,
        states: Iterable[tuple[str, Iterable[SnapshotRecord], Lease | None]],
        *,
        run_id: str,
        amended_records: Iterable[SnapshotRecord] = (),
        new_pushes: Iterable[pushes.ClientPush] = (),
        keep_hold: bool = False,
    ) -> int:
        """Publish several collections at one moment: those made from others with what they are made from.

        Parameters
        ----------
        states
            Collection, its records, the caller's lease of it: as for `publish_collection`, and so is `keep_hold`.
        amended_records
            Snapshots that stay, of any collection, and of whose provenance more is known now.
        new_pushes
            Writes of clients that these snapshots show.
        keep_hold
            As for `publish_collection`.

        Returns
        -------
        version
            After it.

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
                stored_query = sa.select(snapshots.c.id).where(
                    snapshots.c.id.in_([record.id for record in new_records])
                )
                stored_ids = {row.id for row in connection.execute(stored_query)}
                for record in new_records:
                    if record.id not in stored_ids:
                        connection.execute(
                            sa.insert(snapshots).values(
                                **record_to_row(record), number=get_next_number(connection, snapshots)
                            )
                        )
                state = {record.table.qualified_name: record.id for record in new_records}
                is_held = keep_hold and pointer_moves.is_collection_held(connection, collection)
                version = pointer_moves.move_pointers(connection, collection, state, "publish", run_id)
                if is_held:
                    version = pointer_moves.record_event(connection, collection, state, "hold", run_id=run_id)
            pointer_moves.update_records(connection, amended_records)
            for push in new_pushes:
                pushes.insert_push(connection, push)
        return version

    def update_records(self, records: Iterable[SnapshotRecord]) -> None:
        """Update the provenance of stored snapshots, where nothing is published.

        Parameters
        ----------
        records
            With what is known now.
        """
        with self._database.begin_write() as connection:
            pointer_moves.update_records(connection, records)
            increment_version(connection)

    def roll_back(self, name: str, snapshot_or_run_id: str | None = None) -> dict[str, str]:
        """Roll back to an earlier state.

        Parameters
        ----------
        name
            A collection, or one table as ``schema.table``.
        snapshot_or_run_id
            Id of a snapshot or of a run; None = the state before the present one. For a collection, all tables go to
            what was published together with it.

        Returns
        -------
        dict
            Qualified table -> snapshot id that is now published.

        Raises
        ------
        NotFoundError
            No such collection, snapshot, or nothing earlier is kept.
        ConflictError
            The collection is being ingested.
        """
        with self._database.begin_write() as connection:
            rows = list(connection.execute(sa.select(pointers)))
            table_pointer = {row.table_name: row for row in rows}.get(name)
            if table_pointer is not None:
                collection = table_pointer.collection
            else:
                collection = name
            leases.check_lease_free(connection, build_lease_name(collection))
            current_state = {row.table_name: row.snapshot for row in rows if row.collection == collection}
            if table_pointer is not None:
                state = pointer_moves.find_table_rollback_state(connection, name, current_state, snapshot_or_run_id)
            else:
                state = pointer_moves.find_rollback_state(connection, name, current_state, snapshot_or_run_id)
            pointer_moves.move_pointers(connection, collection, state, "rollback", None)
            return state

    def end_hold(self, collection: str) -> bool:
        """Let a collection that a rollback holds follow its sources again.

        Returns
        -------
        held
            Whether one did.
        """
        with self._database.begin_write() as connection:
            is_held = pointer_moves.is_collection_held(connection, collection)
            if is_held:
                pointer_moves.record_event(
                    connection, collection, pointer_moves.read_pointers(connection, collection), "resume", run_id=None
                )
            return is_held

    def unpublish_collection(self, collection: str) -> list[str]:
        """Publish a collection no more; its snapshots stay (see `delete_unpinned_snapshots`).

        Returns
        -------
        tables
            That were published.

        Raises
        ------
        NotFoundError
            Nothing of that name is published or kept.
        ConflictError
            The collection is being ingested.
        """
        with self._database.begin_write() as connection:
            leases.check_lease_free(connection, build_lease_name(collection))
            first_snapshot = connection.execute(
                sa.select(snapshots.c.id).where(snapshots.c.collection == collection).limit(1)
            ).first()
            if first_snapshot is None:
                raise NotFoundError(f"there is no collection {collection!r} in the system state")
            table_names = [
                row.table_name
                for row in connection.execute(sa.select(pointers).where(pointers.c.collection == collection))
            ]
            if table_names:
                pointer_moves.move_pointers(connection, collection, {}, "remove", None)
            return table_names

    def delete_unpinned_snapshots(self, collection: str) -> list[Snapshot]:
        """Forget a collection's snapshots that are neither published nor pinned.

        Returns
        -------
        snapshots
            The caller drops their files.
        """
        return self._delete_snapshots(collection, keep_count=0)

    def prune_snapshots(self, collection: str, keep_count: int, *, created_before: str = "9") -> list[Snapshot]:
        """Forget all but the last snapshots of each table; published and pinned ones stay.

        Parameters
        ----------
        keep_count
            How many, at least 1.
        created_before
            ISO time: what was made later stays.

        Returns
        -------
        snapshots
            The caller drops their files.
        """
        return self._delete_snapshots(collection, keep_count=max(keep_count, 1), created_before=created_before)

    def _delete_snapshots(self, collection: str, keep_count: int, created_before: str = "9") -> list[Snapshot]:
        with self._database.begin_write() as connection:
            pinned_ids = {row.snapshot for row in connection.execute(sa.select(pointers.c.snapshot))}
            pinned_ids |= {row.snapshot for row in connection.execute(sa.select(releases.c.snapshot))}
            query = sa.select(snapshots).where(snapshots.c.collection == collection).order_by(snapshots.c.number.desc())
            counts_by_table: dict[str, int] = {}
            deleted_snapshots = []
            for row in connection.execute(query):
                counts_by_table[row.table_name] = counts_by_table.get(row.table_name, 0) + 1
                if (
                    counts_by_table[row.table_name] > keep_count
                    and row.id not in pinned_ids
                    and row.created < created_before
                ):
                    deleted_snapshots.append(record_from_row(row).snapshot)
            connection.execute(
                sa.delete(snapshots).where(snapshots.c.id.in_([snapshot.id for snapshot in deleted_snapshots]))
            )
            for dependent_table in (sync_state, verifications):
                connection.execute(
                    sa.delete(dependent_table).where(
                        dependent_table.c.snapshot.in_([snapshot.id for snapshot in deleted_snapshots])
                    )
                )
            return deleted_snapshots

    # --- backup ----------------------------------------------------------------------------------------------

    def open_export(self, label: str, *, include_rows: bool) -> AbstractContextManager[state_copies.StateExport]:
        """Open the state of this moment for a backup.

        What is published is then kept from being pruned until `unpin_snapshots`.

        Parameters
        ----------
        label
            Of the pin.
        include_rows
            With all that is worth something only with its rows and files.

        Returns
        -------
        export
            To be closed.
        """
        return state_copies.open_export(self._database, label, include_rows=include_rows)

    def unpin_snapshots(self, label: str) -> None:
        """Unpin what a backup has kept.

        Parameters
        ----------
        label
            As for `open_export`.
        """
        state_copies.unpin_snapshots(self._database, label)

    def import_rows(
        self, tables: Mapping[str, Iterable[Mapping[str, Any]]], restored_records: Mapping[str, SnapshotRecord]
    ) -> None:
        """Insert the rows of a backup into this store, which must be empty.

        Parameters
        ----------
        tables
            Rows by the name of the store's table.
        restored_records
            Snapshots as they were staged here, by their old id.
        """
        state_copies.import_rows(self._database, tables, restored_records)

    def check_empty(self) -> None:
        """Refuse a store that has something in it.

        Raises
        ------
        ConflictError
            It has.
        """
        with self._database.begin_read() as connection:
            state_copies.check_empty(connection)

    # --- the data that belong to it -----------------------------------------------------------------------------

    def claim_data_directory(self, directory: Path) -> None:
        """Check that the directory of snapshots and jobs is the one that belongs to a store which machines share.

        Parameters
        ----------
        directory
            Of this machine.

        Raises
        ------
        StorageError
            Another directory belongs to it, or this one to another store.
        """
        if self._database.is_sqlite:  # it lies beside its data
            return
        marker = directory / DATA_MARKER_FILE
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._database.begin_write() as connection:
            if marker.is_file():
                found_marker = marker.read_text(encoding="ascii").strip()
            else:
                found_marker = None
            data_id = connection.execute(sa.select(meta.c.value).where(meta.c.key == "data")).scalar()
            if data_id is None:
                data_id = found_marker or secrets.token_hex(8)
                marker.write_text(f"{data_id}\n", encoding="ascii")
                connection.execute(sa.insert(meta).values(key="data", value=data_id))
        if found_marker not in {None, data_id} or (found_marker is None and not marker.is_file()):
            mismatch = "has other data" if found_marker is not None else "has none of its data"
            raise StorageError(
                f"the system state {self._database.display_address} is shared, and {directory} {mismatch}",
                remedy="machines with one store share one directory: set data in hven.toml; "
                f"if the data {data_id} are lost for good, write {data_id} into {marker} and ingest again",
            )

    def get_site_id(self) -> str:
        """Return what tells this site from every other one.

        Made when it is first asked for, shared by the machines that share the store.
        """
        with self._database.begin_write() as connection:
            site_id = connection.execute(sa.select(meta.c.value).where(meta.c.key == "site")).scalar()
            if site_id is None:
                site_id = secrets.token_hex(8)
                connection.execute(sa.insert(meta).values(key="site", value=site_id))
        return str(site_id)

    def release_data_directory(self) -> None:
        """Forget which directory belongs to a store that has nothing in it after all."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(meta).where(meta.c.key == "data"))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def build_lease_name(collection: str) -> str:
    """Return the name of the lease that whoever changes a collection holds.

    Parameters
    ----------
    collection
        Its name.
    """
    return f"ingest {collection}"
