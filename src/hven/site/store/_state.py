"""`Store`: publish, roll back, remove, prune - the only code that moves pointers."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from hven.model.errors import NotFound, StorageError
from hven.site.store import _leases as leasing
from hven.site.store import _moves as moves
from hven.site.store import _pushes as pushing
from hven.site.store import _state_copies as copies
from hven.site.store._citations import Citations, Results
from hven.site.store._database import (
    Database,
    address,
    events,
    following,
    meta,
    pointers,
    releases,
    retired,
    snapshots,
    stand,
    stands,
    sync_state,
    turn,
    user_tables,
    verifications,
)
from hven.site.store._deletion_clock import Times
from hven.site.store._descriptors import KeptDescriptors
from hven.site.store._drafts import Drafts
from hven.site.store._grants import Grants
from hven.site.store._job_records import Jobs
from hven.site.store._leases import Lease, Leases
from hven.site.store._registered import Registry
from hven.site.store._releases import Releases
from hven.site.store._schedules import Schedules
from hven.site.store._sessions import Sessions
from hven.site.store._snapshots import Event, Record, from_row, place_of, to_row
from hven.site.store._syncs import Syncs
from hven.site.store._user_table_records import UserTables
from hven.site.store._users import Users
from hven.site.store._uses import Uses
from hven.site.store._verifications import Verifications
from hven.site.store.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hven.engines import Snapshot


EMBEDDED = "duckdb"
_LONGEST = 200  # characters of an id; SQLite looks for no text of more than 50,000
MARK = ".hven-data"  # a file that tells which store a directory belongs to


class Store:
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
    run
        Id of the run that made the records.
    """

    def __init__(self, directory: Path, url: str | None = None) -> None:
        self._where = directory, url
        try:
            if not stands(directory, url):
                # digests, sessions, rows of private tables: nobody else's
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageError(
                f"{directory} cannot be made: {error.strerror}", remedy="check the rights of the site's directory"
            ) from error
        self._database = Database(address(directory, url))
        self.times = Times(self._database)
        self.leases = Leases(self._database)
        self.runs = Runs(self._database)
        self.jobs = Jobs(self._database)
        self.users = Users(self._database)
        self.sessions = Sessions(self._database)
        self.grants = Grants(self._database)
        self.user_tables = UserTables(self._database)
        self.syncs = Syncs(self._database)
        self.schedules = Schedules(self._database)
        self.releases = Releases(self._database)
        self.verifications = Verifications(self._database)
        self.descriptors = KeptDescriptors(self._database)
        self.drafts = Drafts(self._database)
        self.pushes = pushing.Pushes(self._database)
        self.registry = Registry(self._database)
        self.uses = Uses(self._database)
        self.citations = Citations(self._database)
        self.results = Results(self._database)
        self._holds: tuple[int, dict[str, str]] = (-1, {})
        self._known: dict[str, tuple[int, Record]] = {}

    @property
    def shown(self) -> str:
        """Its address, for a person."""
        return self._database.shown

    def stand(self) -> Self:
        """Mark this as the state of a server: see `hven.site.store._database.stand`.

        Returns
        -------
        store
            Itself.
        """
        stand(*self._where)
        return self

    def version(self) -> int:
        """Count of pointer moves so far: cheap enough to ask several times a second."""
        return self._database.counter("version")

    def current(self) -> tuple[int, dict[str, Record]]:
        """Return every published table's record, as one state.

        Returns
        -------
        version
            Counts up with each change.
        records
            By qualified name.
        """
        found: dict[str, tuple[int, Record]] = {}
        with self._database.reading() as connection:
            version = int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "version")).scalar_one())
            query = (
                sa.select(snapshots)
                .join(pointers, pointers.c.snapshot == snapshots.c.id)
                .order_by(pointers.c.table_name)
            )
            for row in connection.execute(query):
                said, before = hash(tuple(row)), self._known.get(row.table_name)
                # a record names every file of its sources: it is read once
                found[row.table_name] = before if before is not None and before[0] == said else (said, from_row(row))
        self._known = found
        return version, {name: record for name, (_, record) in found.items()}

    def pointers(self) -> tuple[int, dict[str, str]]:
        """Return which snapshots are published, as one state.

        Returns
        -------
        version
            Counts up with each change.
        pointers
            Qualified table -> snapshot id.
        """
        with self._database.reading() as connection:
            version = int(connection.execute(sa.select(meta.c.value).where(meta.c.key == "version")).scalar_one())
            return version, {row.table_name: row.snapshot for row in connection.execute(sa.select(pointers))}

    def published(self) -> dict[str, float]:
        """Return when each collection was published last.

        Returns
        -------
        times
            Seconds since 1970, by collection; those that are published no more are not in it.
        """
        query = sa.select(pointers.c.collection, sa.func.max(pointers.c.since).label("since")).group_by(
            pointers.c.collection
        )
        with self._database.reading() as connection:
            return {row.collection: datetime.fromisoformat(row.since).timestamp() for row in connection.execute(query)}

    def record(self, snapshot: str) -> Record:
        """Return one snapshot's record.

        Parameters
        ----------
        snapshot
            Its id.

        Raises
        ------
        NotFound
            There is none of that id.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(snapshots).where(snapshots.c.id == snapshot)).first()
        if row is None:
            raise NotFound(f"there is no snapshot {snapshot!r}")
        return from_row(row)

    def snapshots(self, collection: str) -> list[Record]:
        """List every snapshot of a collection that is kept.

        Returns
        -------
        records
            The newest first.
        """
        query = sa.select(snapshots).where(snapshots.c.collection == collection).order_by(snapshots.c.number.desc())
        with self._database.reading() as connection:
            return [from_row(row) for row in connection.execute(query)]

    def ids(self, collection: str) -> set[str]:
        """List the ids of a collection's snapshots that are kept.

        Returns
        -------
        ids
            In no order.
        """
        query = sa.select(snapshots.c.id).where(snapshots.c.collection == collection)
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def every(self) -> list[Record]:
        """List every snapshot that is kept, of all collections.

        Returns
        -------
        records
            By id.
        """
        with self._database.reading() as connection:
            return [from_row(row) for row in connection.execute(sa.select(snapshots).order_by(snapshots.c.id))]

    def history(self, collection: str) -> list[Event]:
        """List everything that moved a collection's pointers.

        Returns
        -------
        events
            The newest first.
        """
        query = sa.select(events).where(events.c.collection == collection).order_by(events.c.number.desc())
        with self._database.reading() as connection:
            return [moves.event_of(row) for row in connection.execute(query)]

    def states(self, moment: str) -> dict[str, Event]:
        """Return what was published at a moment.

        Parameters
        ----------
        moment
            As `Event.at` has it.

        Returns
        -------
        events
            Collection -> the last event until then.
        """
        query = sa.select(events).where(events.c.at <= moment).order_by(events.c.number)
        with self._database.reading() as connection:
            return {row.collection: moves.event_of(row) for row in connection.execute(query)}

    def published_at(self, ident: str) -> str | None:
        """Find when a snapshot, or what a run made, was published first.

        Parameters
        ----------
        ident
            Id of either.

        Returns
        -------
        moment
            None if it never was.
        """
        if len(ident) > _LONGEST:
            return None
        query = sa.select(events).where(
            sa.or_(events.c.run == ident, events.c.state.contains(f'"{ident}"', autoescape=True))
        )
        with self._database.reading() as connection:
            row = connection.execute(query.order_by(events.c.number).limit(1)).first()
        return None if row is None else str(row.at)

    def known(self) -> set[str]:
        """Return `Snapshot.path` of every snapshot that is kept: the others' files may be swept."""
        with self._database.reading() as connection:
            found = {place_of(row)[1] for row in connection.execute(sa.select(snapshots))}
            found |= set(connection.execute(sa.select(user_tables.c.path)).scalars())
            return found | set(connection.execute(sa.select(retired.c.path)).scalars())

    def kept(self) -> dict[str, set[str]]:
        """Return what `known` does, by engine; readers' own tables are all in the embedded one."""
        found: dict[str, set[str]] = {}
        rest = self.known()
        with self._database.reading() as connection:
            for row in connection.execute(sa.select(snapshots)):
                engine, path = place_of(row)
                found.setdefault(engine, set()).add(path)
        mine = found.setdefault(EMBEDDED, set())
        mine |= rest.difference(*found.values())
        return found

    def keeps(self, snapshot: Snapshot) -> bool:
        """Return whether somebody may still want a snapshot: what is not kept any more was removed, and is not damaged.

        Parameters
        ----------
        snapshot
            Of any engine.
        """
        return snapshot.path in self.kept().get(snapshot.engine, ())

    def held(self) -> dict[str, str]:
        """Return the collections that a rollback holds, and since when: no schedule changes them, nor what they are made from."""
        version = self.version()
        if self._holds[0] != version:
            last = sa.select(sa.func.max(events.c.number)).group_by(events.c.collection)
            query = sa.select(events.c.collection, events.c.at, events.c.action).where(events.c.number.in_(last))
            with self._database.reading() as connection:
                self._holds = (
                    version,
                    {row.collection: row.at for row in connection.execute(query) if row.action in moves.HOLDING},
                )
        return self._holds[1]

    # --- pointers --------------------------------------------------------------------------------------------

    def publish(
        self, collection: str, records: Iterable[Record], *, run: str, lease: Lease | None = None, same: bool = False
    ) -> int:
        """Publish these snapshots as the collection's, all at once; its tables that are not named are published no more.

        Parameters
        ----------
        records
            New snapshots, and those already stored that stay.
        lease
            The lease of the caller: if it was lost, nothing is published.
        same
            The rows are the same as before, elsewhere: what a rollback holds stays held.

        Returns
        -------
        int
            The new version.

        Raises
        ------
        Conflict
            The lease was lost, or a table belongs to another collection.
        """
        return self.publish_together([(collection, records, lease)], run=run, same=same)

    def publish_together(
        self,
        states: Iterable[tuple[str, Iterable[Record], Lease | None]],
        *,
        run: str,
        amended: Iterable[Record] = (),
        pushed: Iterable[pushing.Push] = (),
        same: bool = False,
    ) -> int:
        """Publish several collections at one moment: those made from others with what they are made from.

        Parameters
        ----------
        states
            Collection, its records, the caller's lease of it: as for `publish`, and so is `same`.
        amended
            Snapshots that stay, of any collection, and of whose provenance more is known now.
        pushed
            Writes of clients that these snapshots show.
        same
            As for `publish`.

        Returns
        -------
        version
            After it.

        Raises
        ------
        Conflict
            One of the leases was lost: nothing is published.
        """
        version = 0
        with self._database.writing() as connection:
            for collection, records, lease in states:
                given = list(records)
                if lease is not None:
                    leasing.check(connection, lease)
                wanted = sa.select(snapshots.c.id).where(snapshots.c.id.in_([record.id for record in given]))
                stored = {row.id for row in connection.execute(wanted)}
                for record in given:
                    if record.id not in stored:
                        connection.execute(
                            sa.insert(snapshots).values(**to_row(record), number=following(connection, snapshots))
                        )
                state = {record.table.qualified: record.id for record in given}
                held = same and moves.held(connection, collection)
                version = moves.move(connection, collection, state, "publish", run)
                if held:
                    version = moves.note(connection, collection, state, "hold", run)
            moves.amend(connection, amended)
            for push in pushed:
                pushing.insert(connection, push)
        return version

    def amend(self, records: Iterable[Record]) -> None:
        """Update the provenance of stored snapshots, where nothing is published.

        Parameters
        ----------
        records
            With what is known now.
        """
        with self._database.writing() as connection:
            moves.amend(connection, records)
            turn(connection)

    def rollback(self, name: str, snapshot: str | None = None) -> dict[str, str]:
        """Roll back to an earlier state.

        Parameters
        ----------
        name
            A collection, or one table as ``schema.table``.
        snapshot
            Id of a snapshot or of a run; None = the state before the present one. For a collection, all tables go to
            what was published together with it.

        Returns
        -------
        dict
            Qualified table -> snapshot id that is now published.

        Raises
        ------
        NotFound
            No such collection, snapshot, or nothing earlier is kept.
        Conflict
            The collection is being ingested.
        """
        with self._database.writing() as connection:
            rows = list(connection.execute(sa.select(pointers)))
            one = {row.table_name: row for row in rows}.get(name)
            collection = one.collection if one is not None else name
            leasing.free(connection, lease_name(collection))
            present = {row.table_name: row.snapshot for row in rows if row.collection == collection}
            state = (
                moves.earlier_table(connection, name, present, snapshot)
                if one is not None
                else moves.earlier(connection, name, present, snapshot)
            )
            moves.move(connection, collection, state, "rollback", None)
            return state

    def resume(self, collection: str) -> bool:
        """Let a collection that a rollback holds follow its sources again.

        Returns
        -------
        held
            Whether one did.
        """
        with self._database.writing() as connection:
            held = moves.held(connection, collection)
            if held:
                moves.note(connection, collection, moves.state_of(connection, collection), "resume", None)
            return held

    def remove(self, collection: str) -> list[str]:
        """Publish a collection no more; its snapshots stay (see `purge`).

        Returns
        -------
        tables
            That were published.

        Raises
        ------
        NotFound
            Nothing of that name is published or kept.
        Conflict
            The collection is being ingested.
        """
        with self._database.writing() as connection:
            leasing.free(connection, lease_name(collection))
            known = connection.execute(
                sa.select(snapshots.c.id).where(snapshots.c.collection == collection).limit(1)
            ).first()
            if known is None:
                raise NotFound(f"there is no collection {collection!r} in the system state")
            found = [
                row.table_name
                for row in connection.execute(sa.select(pointers).where(pointers.c.collection == collection))
            ]
            if found:
                moves.move(connection, collection, {}, "remove", None)
            return found

    def purge(self, collection: str) -> list[Snapshot]:
        """Forget a collection's snapshots that are neither published nor pinned.

        Returns
        -------
        snapshots
            The caller drops their files.
        """
        return self._forget(collection, keep=0)

    def prune(self, collection: str, keep: int, *, before: str = "9") -> list[Snapshot]:
        """Forget all but the last snapshots of each table; published and pinned ones stay.

        Parameters
        ----------
        keep
            How many, at least 1.
        before
            ISO time: what was made later stays.

        Returns
        -------
        snapshots
            The caller drops their files.
        """
        return self._forget(collection, keep=max(keep, 1), before=before)

    def _forget(self, collection: str, keep: int, before: str = "9") -> list[Snapshot]:
        with self._database.writing() as connection:
            held = {row.snapshot for row in connection.execute(sa.select(pointers.c.snapshot))}
            held |= {row.snapshot for row in connection.execute(sa.select(releases.c.snapshot))}
            query = sa.select(snapshots).where(snapshots.c.collection == collection).order_by(snapshots.c.number.desc())
            seen: dict[str, int] = {}
            gone = []
            for row in connection.execute(query):
                seen[row.table_name] = seen.get(row.table_name, 0) + 1
                if seen[row.table_name] > keep and row.id not in held and row.created < before:
                    gone.append(from_row(row).snapshot)
            connection.execute(sa.delete(snapshots).where(snapshots.c.id.in_([snapshot.id for snapshot in gone])))
            for belonging in (sync_state, verifications):
                connection.execute(
                    sa.delete(belonging).where(belonging.c.snapshot.in_([snapshot.id for snapshot in gone]))
                )
            return gone

    # --- backup ----------------------------------------------------------------------------------------------

    def exported(self, label: str, *, rows: bool) -> AbstractContextManager[copies.Export]:
        """Open the state of this moment for a backup.

        What is published is then kept from being pruned until `unpin`.

        Parameters
        ----------
        label
            Of the pin.
        rows
            With all that is worth something only with its rows and files.

        Returns
        -------
        export
            To be closed.
        """
        return copies.exported(self._database, label, rows=rows)

    def unpin(self, label: str) -> None:
        """Unpin what a backup has kept.

        Parameters
        ----------
        label
            As for `exported`.
        """
        copies.unpin(self._database, label)

    def imported(self, tables: Mapping[str, Iterable[Mapping[str, Any]]], made: Mapping[str, Record]) -> None:
        """Insert the rows of a backup into this store, which must be empty.

        Parameters
        ----------
        tables
            Rows by the name of the store's table.
        made
            Snapshots as they were staged here, by their old id.
        """
        copies.imported(self._database, tables, made)

    def vacant(self) -> None:
        """Refuse a store that has something in it.

        Raises
        ------
        Conflict
            It has.
        """
        with self._database.reading() as connection:
            copies.empty(connection)

    # --- the data that belong to it -----------------------------------------------------------------------------

    def claim(self, directory: Path) -> None:
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
        if self._database.sqlite:  # it lies beside its data
            return
        marker = directory / MARK
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._database.writing() as connection:
            here = marker.read_text(encoding="ascii").strip() if marker.is_file() else None
            known = connection.execute(sa.select(meta.c.value).where(meta.c.key == "data")).scalar()
            if known is None:
                known = here or secrets.token_hex(8)
                marker.write_text(f"{known}\n", encoding="ascii")
                connection.execute(sa.insert(meta).values(key="data", value=known))
        if here not in {None, known} or (here is None and not marker.is_file()):
            what = "has other data" if here is not None else "has none of its data"
            raise StorageError(
                f"the system state {self._database.shown} is shared, and {directory} {what}",
                remedy=f"machines with one store share one directory: set data in hven.toml; if the data {known} are lost for good, "
                f"write {known} into {marker} and ingest again",
            )

    def identity(self) -> str:
        """Return what tells this site from every other one: made when it is first asked for, shared by the machines that share the store."""
        with self._database.writing() as connection:
            known = connection.execute(sa.select(meta.c.value).where(meta.c.key == "site")).scalar()
            if known is None:
                known = secrets.token_hex(8)
                connection.execute(sa.insert(meta).values(key="site", value=known))
        return str(known)

    def disown(self) -> None:
        """Forget which directory belongs to a store that has nothing in it after all."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(meta).where(meta.c.key == "data"))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def lease_name(collection: str) -> str:
    """Return the name of the lease that whoever changes a collection holds.

    Parameters
    ----------
    collection
        Its name.
    """
    return f"ingest {collection}"
