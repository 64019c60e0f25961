"""Releases: labels on what is published of collections at one moment; their snapshots are never pruned."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.model.errors import Conflict, NotFound, UsageError
from hven.site.store._database import now, releases, snapshots, turn
from hven.site.store._moves import state_of
from hven.site.store._snapshots import Record, from_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site.store._database import Database

PIN = "backup in progress "  # a label that keeps snapshots while they are copied
LATEST = "latest"
TAKEN = frozenset({LATEST, "add", "diff", "list", "remove", "show"})  # words of the command line
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")


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
    def schema(self) -> str:
        """The schema in which its tables are asked."""
        return f"{self.collection}_{re.sub('[.-]', '_', self.label.lower())}"


class Releases:
    """The releases of a site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, label: str, collections: Sequence[str], description: str | None = None) -> list[Release]:
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
        NotFound
            Nothing of a collection is published.
        Conflict
            A collection has that label, or one that is the same without case and signs: releases never change.
        """
        if not _LABEL.fullmatch(label) or label.lower() in TAKEN:
            raise UsageError(
                f"{label!r:.60} is no label of a release",
                remedy=f"at most 40 letters, digits, dots and dashes: R4, DR1.2; and none of {', '.join(sorted(TAKEN))}",
            )
        made = [
            Release(collection=name, label=label, created=now(), snapshots={}, description=description)
            for name in dict.fromkeys(collections)
        ]
        with self._database.writing() as connection:
            there = {one.schema.lower(): one for one in self._read(connection)}
            for number, one in enumerate(made):
                if (known := there.get(one.schema.lower())) is not None:
                    raise Conflict(
                        f"{known.collection} has a release {known.label!r} already",
                        remedy="take another label; a release never changes",
                    )
                state = state_of(connection, one.collection)
                if not state:
                    raise NotFound(f"nothing of {one.collection!r} is published")
                made[number] = replace(one, created=made[0].created, snapshots=state)
                for table, snapshot in state.items():
                    values = {"collection": one.collection, "label": label, "table_name": table, "snapshot": snapshot}
                    connection.execute(
                        sa.insert(releases).values(**values, created=made[0].created, description=description)
                    )
            turn(connection)
        return made

    def all(self, collection: str | None = None, label: str | None = None) -> list[Release]:
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
        with self._database.reading() as connection:
            found = self._read(connection)
        if label is not None and label.lower() == LATEST:
            found = list({one.collection: one for one in reversed(found)}.values())
        elif label is not None:
            found = [one for one in found if one.label.lower() == label.lower()]
        return [one for one in found if collection in {None, one.collection}]

    def records(self) -> list[tuple[Release, list[Record]]]:
        """List all releases with the records of their snapshots, the newest first."""
        with self._database.reading() as connection:
            found = self._read(connection)
            pinned = sa.select(releases.c.snapshot).where(~releases.c.label.startswith(PIN))
            rows = connection.execute(sa.select(snapshots).where(snapshots.c.id.in_(pinned)))
            records = {row.id: from_row(row) for row in rows}
        return [(one, [records[ident] for ident in one.snapshots.values()]) for one in found]

    def remove(self, label: str, collections: Sequence[str] = ()) -> list[Release]:
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
        NotFound
            There is no such release.
        """
        with self._database.writing() as connection:
            there = {one.collection: one for one in self._read(connection) if one.label == label}
            wanted = list(dict.fromkeys(collections or there)) or ["nothing"]
            for name in wanted:
                if name not in there:
                    raise NotFound(f"{name} has no release {label!r:.60}", remedy="hven release list shows them")
            gone = [there[name] for name in wanted]
            which = releases.c.collection.in_([one.collection for one in gone])
            connection.execute(sa.delete(releases).where(which, releases.c.label == label))
            turn(connection)
        return gone

    def _read(self, connection: sa.Connection) -> list[Release]:
        query = (
            sa.select(releases)
            .where(~releases.c.label.startswith(PIN))
            .order_by(releases.c.created.desc(), releases.c.collection, releases.c.table_name)
        )
        found: dict[tuple[str, str], Release] = {}
        for row in connection.execute(query):
            known = found.get((row.collection, row.label))
            state = {**(known.snapshots if known is not None else {}), row.table_name: row.snapshot}
            found[row.collection, row.label] = Release(
                collection=row.collection, label=row.label, created=row.created, snapshots=state,
                description=row.description,
            )  # fmt: skip
        return list(found.values())
