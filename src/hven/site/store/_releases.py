"""Releases: labels on what is published of collections at one moment; their snapshots are never pruned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import ConflictError, NotFoundError, UsageError
from hven.site.store._database import format_current_time, increment_version, releases, snapshots
from hven.site.store._pointer_moves import read_pointers
from hven.site.store._snapshots import SnapshotRecord, record_from_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site.store._database import StateDatabase

PIN_LABEL_PREFIX = "backup in progress "  # a label that keeps snapshots while they are copied
LATEST_LABEL = "latest"
RESERVED_LABELS = frozenset({LATEST_LABEL, "add", "diff", "list", "remove", "show"})  # words of the command line
_LABEL_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What was published of a collection when it was given a label; it never changes.

    Attributes
    ----------
    created
        ISO time, UTC.
    snapshots
        Qualified table -> snapshot id.
    description
        For people.
    """

    collection: str
    label: str
    created: str
    snapshots: Mapping[str, str]
    description: str | None = None

    @property
    def schema_name(self) -> str:
        """The schema in which its tables are asked."""
        return f"{self.collection}_{re.sub('[.-]', '_', self.label.lower())}"


class ReleaseStore:
    """The releases of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add_releases(self, label: str, collections: Sequence[str], description: str | None = None) -> list[Release]:
        """Label what is published of some collections now, of all at one moment.

        Parameters
        ----------
        label
            Letters, digits, dots, dashes.
        collections
            Their names.
        description
            Of the release.

        Returns
        -------
        releases
            One for each collection.

        Raises
        ------
        UsageError
            It is no label.
        NotFoundError
            Nothing of a collection is published.
        ConflictError
            A collection has that label, or one that is the same without case and signs: releases never change.
        """
        if not _LABEL_PATTERN.fullmatch(label) or label.lower() in RESERVED_LABELS:
            raise UsageError(
                f"{label!r:.60} is no label of a release",
                remedy=f"at most 40 letters, digits, dots and dashes: R4, DR1.2; and none of "
                f"{', '.join(sorted(RESERVED_LABELS))}",
            )
        new_releases = [
            Release(collection=name, label=label, created=format_current_time(), snapshots={}, description=description)
            for name in dict.fromkeys(collections)
        ]
        with self._database.begin_write() as connection:
            releases_by_schema = {
                new_release.schema_name.lower(): new_release for new_release in self._read_releases(connection)
            }
            for number, new_release in enumerate(new_releases):
                conflicting_release = releases_by_schema.get(new_release.schema_name.lower())
                if conflicting_release is not None:
                    raise ConflictError(
                        f"{conflicting_release.collection} has a release {conflicting_release.label!r} already",
                        remedy="take another label; a release never changes",
                    )
                state = read_pointers(connection, new_release.collection)
                if not state:
                    raise NotFoundError(f"nothing of {new_release.collection!r} is published")
                new_releases[number] = replace(new_release, created=new_releases[0].created, snapshots=state)
                for table, snapshot in state.items():
                    values = {
                        "collection": new_release.collection,
                        "label": label,
                        "table_name": table,
                        "snapshot": snapshot,
                    }
                    connection.execute(
                        sa.insert(releases).values(**values, created=new_releases[0].created, description=description)
                    )
            increment_version(connection)
        return new_releases

    def list_releases(self, collection: str | None = None, label: str | None = None) -> list[Release]:
        """List releases.

        Parameters
        ----------
        collection
            Its alone.
        label
            Those alone, without case; ``latest``: the newest of each collection.

        Returns
        -------
        releases
            The newest first.
        """
        with self._database.begin_read() as connection:
            stored_releases = self._read_releases(connection)
        if label is not None and label.lower() == LATEST_LABEL:
            stored_releases = list({release.collection: release for release in reversed(stored_releases)}.values())
        elif label is not None:
            stored_releases = [release for release in stored_releases if release.label.lower() == label.lower()]
        return [release for release in stored_releases if collection in {None, release.collection}]

    def list_release_records(self) -> list[tuple[Release, list[SnapshotRecord]]]:
        """List all releases with the records of their snapshots, the newest first."""
        with self._database.begin_read() as connection:
            stored_releases = self._read_releases(connection)
            snapshot_query = sa.select(releases.c.snapshot).where(~releases.c.label.startswith(PIN_LABEL_PREFIX))
            rows = connection.execute(sa.select(snapshots).where(snapshots.c.id.in_(snapshot_query)))
            records = {row.id: record_from_row(row) for row in rows}
        return [
            (release, [records[snapshot_id] for snapshot_id in release.snapshots.values()])
            for release in stored_releases
        ]

    def remove_label(self, label: str, collections: Sequence[str] = ()) -> list[Release]:
        """Take a label off: its snapshots go with the next pruning.

        Parameters
        ----------
        label
            As it was given.
        collections
            From these alone; none: from all.

        Returns
        -------
        releases
            That were.

        Raises
        ------
        NotFoundError
            There is no such release.
        """
        with self._database.begin_write() as connection:
            releases_by_collection = {
                release.collection: release for release in self._read_releases(connection) if release.label == label
            }
            collection_names = list(dict.fromkeys(collections or releases_by_collection)) or ["nothing"]
            for name in collection_names:
                if name not in releases_by_collection:
                    raise NotFoundError(f"{name} has no release {label!r:.60}", remedy="hven release list shows them")
            removed_releases = [releases_by_collection[name] for name in collection_names]
            row_condition = releases.c.collection.in_([release.collection for release in removed_releases])
            connection.execute(sa.delete(releases).where(row_condition, releases.c.label == label))
            increment_version(connection)
        return removed_releases

    def _read_releases(self, connection: sa.Connection) -> list[Release]:
        query = (
            sa.select(releases)
            .where(~releases.c.label.startswith(PIN_LABEL_PREFIX))
            .order_by(releases.c.created.desc(), releases.c.collection, releases.c.table_name)
        )
        releases_by_key: dict[tuple[str, str], Release] = {}
        for row in connection.execute(query):
            known_release = releases_by_key.get((row.collection, row.label))
            state = {**(known_release.snapshots if known_release is not None else {}), row.table_name: row.snapshot}
            releases_by_key[row.collection, row.label] = Release(
                collection=row.collection,
                label=row.label,
                created=row.created,
                snapshots=state,
                description=row.description,
            )
        return list(releases_by_key.values())
