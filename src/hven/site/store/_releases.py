"""Releases: labels on what collections published at one moment; their snapshots are never pruned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import ConflictError, NotFoundError, UsageError
from hven.site.store._database import format_current_time, increment_state_version, releases, snapshots
from hven.site.store._snapshot_pointers import read_snapshot_pointers
from hven.site.store._snapshots import SnapshotRecord, snapshot_record_from_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site.store._database import StateDatabase

PIN_LABEL_PREFIX = "backup in progress "  # begins a label that keeps snapshots while they are copied
LATEST_LABEL = "latest"
RESERVED_LABELS = frozenset({LATEST_LABEL, "add", "diff", "list", "remove", "show"})  # words of the command line
_LABEL_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a collection published when it was given a label; it never changes.

    Attributes
    ----------
    created
        ISO time, UTC.
    snapshots
        Qualified table -> snapshot id.
    description
        Text for people.
    """

    collection: str
    label: str
    created: str
    snapshots: Mapping[str, str]
    description: str | None = None

    @property
    def schema_name(self) -> str:
        """The schema in which its tables are queried."""
        schema_suffix = re.sub("[.-]", "_", self.label.lower())
        return f"{self.collection}_{schema_suffix}"


class ReleaseStore:
    """The releases of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add_collection_releases(
        self, label: str, collections: Sequence[str], description: str | None = None
    ) -> list[Release]:
        """Label what several collections publish now, all at one moment.

        Parameters
        ----------
        label
            Letters, digits, dots, dashes.
        collections
            Names of the collections.
        description
            Description of the release.

        Returns
        -------
        releases
            One for each collection.

        Raises
        ------
        UsageError
            The label is not valid.
        NotFoundError
            Nothing of a collection is published.
        ConflictError
            A collection has that label, or one that is the same without case and signs: releases never change.
        """
        if not _LABEL_PATTERN.fullmatch(label) or label.lower() in RESERVED_LABELS:
            reserved_text = ", ".join(sorted(RESERVED_LABELS))
            remedy = (
                "use at most 40 letters, digits, dots and dashes, such as R4 or DR1.2; "
                f"reserved labels: {reserved_text}"
            )
            raise UsageError(f"{label!r:.60} is not a valid label for a release", remedy=remedy)
        created = format_current_time()
        new_releases = []
        with self._database.begin_write() as connection:
            stored_releases = self._read_releases(connection)
            releases_by_schema = {release.schema_name.lower(): release for release in stored_releases}
            for name in dict.fromkeys(collections):
                new_release = Release(
                    collection=name, label=label, created=created, snapshots={}, description=description
                )
                conflicting_release = releases_by_schema.get(new_release.schema_name.lower())
                if conflicting_release is not None:
                    raise ConflictError(
                        f"{conflicting_release.collection} already has a release {conflicting_release.label!r}",
                        remedy="choose a different label; a release never changes",
                    )
                state = read_snapshot_pointers(connection, name)
                if not state:
                    raise NotFoundError(f"{name!r} has no published tables")
                new_releases.append(replace(new_release, snapshots=state))
                values = {"collection": name, "label": label, "created": created, "description": description}
                for table, snapshot in state.items():
                    connection.execute(sa.insert(releases).values(table_name=table, snapshot=snapshot, **values))
            increment_state_version(connection)
        return new_releases

    def list_releases(self, collection: str | None = None, label: str | None = None) -> list[Release]:
        """List releases.

        Parameters
        ----------
        collection
            Only releases of this collection.
        label
            Only releases of this label, without case; ``latest``: the newest of each collection.

        Returns
        -------
        releases
            The newest first.
        """
        with self._database.begin_read() as connection:
            listed_releases = self._read_releases(connection)
        if label is not None and label.lower() == LATEST_LABEL:
            latest_releases = {release.collection: release for release in reversed(listed_releases)}
            listed_releases = list(latest_releases.values())
        elif label is not None:
            listed_releases = [release for release in listed_releases if release.label.lower() == label.lower()]
        if collection is not None:
            listed_releases = [release for release in listed_releases if release.collection == collection]
        return listed_releases

    def list_release_records(self) -> list[tuple[Release, list[SnapshotRecord]]]:
        """List all releases with the records of their snapshots, the newest first."""
        snapshot_ids = sa.select(releases.c.snapshot).where(~releases.c.label.startswith(PIN_LABEL_PREFIX))
        with self._database.begin_read() as connection:
            stored_releases = self._read_releases(connection)
            rows = connection.execute(sa.select(snapshots).where(snapshots.c.id.in_(snapshot_ids)))
            records = {row.id: snapshot_record_from_row(row) for row in rows}
        releases_with_records = []
        for release in stored_releases:
            release_records = [records[snapshot_id] for snapshot_id in release.snapshots.values()]
            releases_with_records.append((release, release_records))
        return releases_with_records

    def remove_label(self, label: str, collections: Sequence[str] = ()) -> list[Release]:
        """Remove a label; the next pruning removes its snapshots.

        Parameters
        ----------
        label
            The label as it was given, with case.
        collections
            Only from these collections; empty: from all.

        Returns
        -------
        releases
            The removed releases.

        Raises
        ------
        NotFoundError
            There is no such release.
        """
        with self._database.begin_write() as connection:
            labelled_releases = [release for release in self._read_releases(connection) if release.label == label]
            releases_by_collection = {release.collection: release for release in labelled_releases}
            collection_names = list(dict.fromkeys(collections or releases_by_collection))
            remedy = "run `hven release list` to see all releases"
            if not collection_names:
                raise NotFoundError(f"there is no release {label!r:.60}", remedy=remedy)
            for name in collection_names:
                if name not in releases_by_collection:
                    raise NotFoundError(f"{name} has no release {label!r:.60}", remedy=remedy)
            is_removed = sa.and_(releases.c.collection.in_(collection_names), releases.c.label == label)
            connection.execute(sa.delete(releases).where(is_removed))
            increment_state_version(connection)
        return [releases_by_collection[name] for name in collection_names]

    def _read_releases(self, connection: sa.Connection) -> list[Release]:
        query = sa.select(releases).where(~releases.c.label.startswith(PIN_LABEL_PREFIX))
        query = query.order_by(releases.c.created.desc(), releases.c.collection, releases.c.table_name)
        releases_by_key: dict[tuple[str, str], Release] = {}
        for row in connection.execute(query):
            key = (row.collection, row.label)
            earlier_snapshots: Mapping[str, str] = {}
            if key in releases_by_key:
                earlier_snapshots = releases_by_key[key].snapshots
            releases_by_key[key] = Release(
                collection=row.collection,
                label=row.label,
                created=row.created,
                snapshots={**earlier_snapshots, row.table_name: row.snapshot},
                description=row.description,
            )
        return list(releases_by_key.values())
