"""A new snapshot out of an old one and its changes, made inside the database: only the changes travel.

A table that is followed is staged so that snapshots can share it (`founding`); the first merge of another one copies it, with the changes. A later
one is merged in place, in one transaction: rows that change or go are marked as gone, new ones are added, and a view is made. Older
views show what they showed, readers wait for nothing, and a failure leaves nothing. The work is in proportion to the changes.

Copied anew is what was merged into an older state than the last (after a rollback), what is keyed or indexed otherwise now, and a table of which much
has changed, is gone, or lies apart from its neighbours on the sky. Statistics are the old ones with what changed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._revising import revised
from hven.engines._statistics import Statistics
from hven.engines.postgres import covering, faults, partitions
from hven.engines.postgres import shared_tables as sharing
from hven.engines.postgres.column_tests import Witnesses
from hven.engines.postgres.dialect import storage
from hven.engines.postgres.first_state import Founding
from hven.engines.postgres.install import literal, quote
from hven.engines.postgres.places import CELL
from hven.engines.postgres.relations import Share
from hven.engines.postgres.running import batches, fit
from hven.engines.postgres.shared_tables import ALIVE, BORN, DIED
from hven.engines.postgres.staging import COARSE, MEMORY, columns, sendable
from hven.model.errors import StorageError, Unmergeable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.engines import Snapshot
    from hven.engines.postgres.machine import Machine
    from hven.engines.postgres.relations import Kept
    from hven.model.table import Table

ORDERED = 0.9  # correlation of cells and places in the table: below, it is written in order again
MANY = 50_000  # rows; the order of fewer does not matter
SHARE = 8  # if more than this part of the rows changes, all are written anew, and statistics are of all rows
DEAD = 4  # .. and if more than this part of them is gone or stands in no partition of its own
# if more than this part of the rows changed since, the planner's statistics and the free room are looked after
STALE = 20
FEW = 1_000  # .. and more rows than these


class Merge(Founding):
    """A staging that begins with another snapshot's rows.

    Parameters
    ----------
    base
        The snapshot that is changed; see `refuse`.
    kept
        What its relation says about itself.
    deleted
        Primary keys of rows that are gone.
    """

    def __init__(
        self,
        engine: Machine,
        table: Table,
        snapshot: str,
        name: str,
        base: Snapshot,
        kept: Kept,
        deleted: pa.Table | None,
    ) -> None:
        super().__init__(engine, table, snapshot, name)
        self._regions = [name for name in self._regions if name in base.regions]  # an older one has no cells to copy
        self._base, self._kept, self._deleted = base, kept, deleted
        self._gone = self._come = 0
        self._left = np.empty(0, np.int64)  # coarse cells of rows that went
        self._old = f"{quote(engine.schema)}.{quote(base.path)}"

    def _begin(self, more: str = "") -> Iterator[str]:  # noqa: ARG002  (nothing is added to it)
        """Write the statement that makes the table for what changed: it lasts until the merge is over."""
        self._pieces = None
        self._into = f"o{self.name[1:]}"
        self._here = self._changes = f"{quote(self._engine.schema)}.{quote(self._into)}"
        yield f"CREATE UNLOGGED TABLE {self._changes} ({columns(self.table)}) WITH (autovacuum_enabled = off)"

    def finish(self) -> Snapshot:
        """Mark what goes and add what comes, or copy everything; see `hven.engines.Staging.finish`."""
        if self._done:
            raise StorageError("this staging is finished or abandoned")
        with self._guard():
            self._copy()
            come, self._come = self._statistics.result(), self._rows
            self._no_nulls()
            with self._engine.writers.borrowed() as connection:
                self._no_twins(connection)
            going, share = self._merged()
            with self._engine.writers.borrowed() as connection:
                if share is None:
                    self._complete(connection)
                else:
                    self._here = f"{quote(self._engine.schema)}.{quote(share.base)}"
                    self._look_after(connection)
                connection.execute(f"DROP TABLE {self._changes}")
                size = self._size(connection)
            self._rows += self._base.rows - self._gone
            self._learn(come, going)
            return self._finished(size, self._coverage())

    # --- rows

    def _merged(self) -> tuple[dict[str, dict[str, object]], Share | None]:
        """Merge in one transaction; return the statistics of rows that went, and the new state, or None if all were copied into a new table."""
        with self._engine.senders.borrowed() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                if self._kept.share is not None:
                    _one(cursor, sharing.lock(self._engine.schema, self._kept.share.base))
                self._name_those_that_go(cursor)
                going = self._see_those_that_go(cursor)
                share = self._next(cursor)
                if share is None:
                    self._copy_all(cursor)
                else:
                    self._in_place(cursor, share)
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(*faults.kinds()):  # the connection is gone, and with it the transaction
                    cursor.execute("ROLLBACK")
                raise
        return going, share

    def _name_those_that_go(self, cursor: Any) -> None:
        """Gather the keys of rows that change or go, if they are there."""
        keys = list(self.table.primary)
        kinds = ", ".join(
            f"{quote(key)} {kind}" + (' COLLATE "C"' if kind == "text" else "")
            for key, kind in ((key, storage(self.table.column(key).type)) for key in keys)
        )
        named = ", ".join(map(quote, keys))
        cursor.execute(f'CREATE TEMPORARY TABLE "gone" ({kinds}) ON COMMIT DROP')
        if self._deleted is not None and self._deleted.num_rows:
            cursor.adbc_ingest(
                "gone", sendable(self._deleted.select(keys)).to_reader(65_536), mode="append", temporary=True
            )
        cursor.execute(f'INSERT INTO pg_temp."gone" ({named}) SELECT {named} FROM {self._changes}')
        cursor.execute('ANALYZE pg_temp."gone"')
        same = " AND ".join(f"n.{quote(key)} = o.{quote(key)}" for key in keys)
        self._there = f'EXISTS (SELECT 1 FROM pg_temp."gone" AS n WHERE {same})'

    def _see_those_that_go(self, cursor: Any) -> dict[str, dict[str, object]]:
        """Collect the statistics of the rows that go, and learn their number and their cells."""
        going = Statistics(self.table)
        cursor.execute(
            f"SELECT {', '.join('o.' + quote(name) for name in self._schema.names)} FROM {self._old} AS o WHERE {self._there}"
        )
        self._gone = self._gather(cursor, going)
        if self.table.position is not None:
            cell = f"o.{quote(CELL)} >> {2 * (29 - COARSE)}"
            cursor.execute(
                f"SELECT DISTINCT {cell} FROM {self._old} AS o WHERE o.{quote(CELL)} IS NOT NULL AND {self._there}"
            )
            self._left = np.array(sorted(row[0] for row in cursor.fetchall()), np.int64)
        return going.result()

    def _next(self, cursor: Any) -> Share | None:
        """Return the state to which the base can be changed in place; None if it is better copied."""
        share, most = self._kept.share, self._base.rows // SHARE
        if share is None or self._kept.made != self.made or self._come + self._gone > most:
            return None
        cursor.execute(sharing.shares(self._engine.schema))
        states = sharing.read_shares(cursor.fetchall()).values()
        if max(other.number for other in states if other.base == share.base) != share.number:
            return None  # it was rolled back: the last state has other rows
        here = f"{quote(self._engine.schema)}.{quote(share.base)}"
        dead = _one(cursor, f"SELECT count(*) FROM {here} WHERE {quote(DIED)} < {ALIVE}")
        if (dead + self._gone) * DEAD > self._base.rows or self._apart(cursor, share.base) * DEAD > self._base.rows:
            return None
        if self._base.rows >= MANY and self._disordered(cursor):
            return None
        return Share(share.base, share.number + 1)

    def _apart(self, cursor: Any, base: str) -> int:
        """Count the rows that came later and have no partition of their own: none is made while others read the table."""
        pieces = partitions.of(self.table, self._engine.schema, base)
        if pieces is None:
            return 0
        return _one(
            cursor,
            f"SELECT count(*) FROM {pieces.rest} WHERE {quote(BORN)} > {sharing.FIRST} AND {quote(pieces.column)} IS NOT NULL",
        )

    def _disordered(self, cursor: Any) -> bool:
        """Return whether the rows of the base are no longer in the order of their cells."""
        if self.table.position is None:
            return False
        here = literal(f"{quote(self._engine.schema)}.{quote(self._kept.here(self._base))}")
        cursor.execute(
            "SELECT sum(s.correlation * c.reltuples) / nullif(sum(c.reltuples), 0) FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname "
            "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename WHERE NOT s.inherited AND c.reltuples > 0 "
            f"AND s.attname = {literal(CELL)} "
            f"AND (c.oid = {here}::regclass OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = {here}::regclass))"
        )
        found = cursor.fetchone()
        return found is not None and found[0] is not None and found[0] < ORDERED

    def _in_place(self, cursor: Any, share: Share) -> None:
        """Mark the rows that go, add those that come, and make the view."""
        here, listed = f"{quote(self._engine.schema)}.{quote(share.base)}", ", ".join(map(quote, self._names))
        went = f"UPDATE {here} AS o SET {quote(DIED)} = {share.number} WHERE o.{quote(DIED)} = {ALIVE} AND {self._there} RETURNING 1"
        marked = _one(cursor, f"WITH went AS ({went}) SELECT count(*) FROM went")
        if marked != self._gone:
            message = f"{self.table.qualified}: {marked:,} rows of the table {share.base} go, and the snapshot {self._base.id} has {self._gone:,} of them"
            raise StorageError(message, remedy="ingest the table anew: something else wrote into Hven's schema")
        cursor.execute(
            f"INSERT INTO {here} ({listed}, {quote(BORN)}) SELECT {listed}, {share.number} FROM {self._changes}"
        )
        for text in self._seen(share):
            cursor.execute(text)

    def _copy_all(self, cursor: Any) -> None:
        """Write the rows that stay, and those that come, into a table that later merges can change in place."""
        for text in super()._begin():
            cursor.execute(text)
        if self._pieces is not None:
            self._cut(cursor, self._pieces)
        listed = ", ".join(map(quote, self._names))
        stay = f"SELECT {', '.join('o.' + quote(name) for name in self._names)} FROM {self._old} AS o WHERE NOT {self._there}"
        order = f" ORDER BY {quote(CELL)} NULLS LAST" if self._disordered(cursor) else ""
        cursor.execute(f"SET LOCAL work_mem = '{MEMORY}'")
        cursor.execute(
            f"INSERT INTO {self._here} ({listed}) SELECT * FROM (SELECT {listed} FROM {self._changes} UNION ALL {stay}) AS a{order}"
        )

    def _cut(self, cursor: Any, pieces: partitions.Pieces) -> None:
        """Create the partitions that the base has, and those for what came since."""
        old = partitions.Pieces(self.table, self._engine.schema, self._kept.here(self._base))
        cursor.execute(old.listing())
        for text in list(pieces.like(cursor.fetchall(), old)):
            cursor.execute(text)
        column = quote(pieces.column)
        cursor.execute(
            f"SELECT {column} FROM {self._changes} UNION ALL SELECT {column} FROM {old.rest} WHERE {column} IS NOT NULL"
        )
        schema = pa.schema([(CELL, pa.int64()) if pieces.column == CELL else self._schema.field(pieces.column)])
        come = pa.Table.from_batches([fit(batch, schema) for batch in batches(cursor)], schema)
        cells = come.column(0).drop_null().to_numpy() if pieces.column == CELL else None
        for text in pieces.needed(come, cells):
            cursor.execute(text)

    def _look_after(self, connection: Any) -> None:
        """Vacuum and analyze after many changes: what is gone leaves room, and the planner looks at the rows."""
        found = connection.execute(
            "SELECT coalesce(CAST(sum(n_dead_tup + n_mod_since_analyze) AS bigint), 0) FROM pg_stat_all_tables "
            "WHERE relid = $1::regclass OR relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::regclass)",
            [self._here],
        ).fetchone()[0]
        if found > FEW and found * STALE > self._base.rows:
            connection.execute(f"VACUUM (ANALYZE, TRUNCATE off) {self._here}")

    # --- what is known about them

    def _learn(self, come: Mapping[str, Mapping[str, object]], going: Mapping[str, Mapping[str, object]]) -> None:
        """Revise the statistics."""
        if not self._base.statistics or (self._come + self._gone) * SHARE > self._base.rows:
            self._statistics = Statistics(self.table)
            with self._asked(self._schema.names) as cursor:
                self._gather(cursor, self._statistics)
        else:
            rows = (self._base.rows, self._gone, self._come)
            look = Witnesses(self._engine, self.table, self._view, self._base, going)
            self._statistics = _Known(self.table, revised(self.table, self._base.statistics, going, come, rows, look))

    def _gather(self, cursor: Any, statistics: Statistics) -> int:
        """Add an answer's rows to the statistics; return their number."""
        rows = 0
        for batch in batches(cursor):
            statistics.add(pa.Table.from_batches([fit(batch, self._schema)]))
            rows += batch.num_rows
        return rows

    @contextmanager
    def _asked(self, columns: list[str]) -> Iterator[Any]:
        """Ask for columns of all rows as they are now."""
        with self._engine.senders.borrowed() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(map(quote, columns))} FROM {self._view}")
            yield cursor

    def _coverage(self) -> str | None:
        """Revise the coverage, or learn it by one pass over the cells."""
        if self.table.position is None:
            return None
        come = np.unique(np.concatenate(self._cells)) if self._cells else np.empty(0, np.int64)
        with self._engine.writers.borrowed() as connection:
            if self._base.coverage is not None:
                empty = partial(covering.without_rows, connection, self._view)
                found = covering.revised(self._base.coverage, self._left, come, empty)
                if found is not None:
                    return found
            cell = f"{quote(CELL)} >> {2 * (29 - COARSE)}"
            rows = connection.execute(
                f"SELECT DISTINCT {cell} FROM {self._view} WHERE {quote(CELL)} IS NOT NULL"
            ).fetchall()
        self._cells = [np.array([row[0] for row in rows], np.int64)]
        return super()._coverage()


class _Known(Statistics):
    """Statistics that need no look at rows."""

    def __init__(self, table: Table, found: dict[str, dict[str, object]]) -> None:
        super().__init__(table)
        self._found = found

    def result(self) -> dict[str, dict[str, object]]:
        """Return the statistics of all columns."""
        return self._found


def _one(cursor: Any, text: str) -> int:
    """Return the one number of an answer."""
    cursor.execute(text)
    return int(cursor.fetchone()[0])


def refuse(table: Table, base: Snapshot, kept: Kept, *, cells: bool) -> None:
    """Refuse a table without primary key, or with other columns or partitions than the base.

    Parameters
    ----------
    kept
        What the base's relation says about itself.
    cells
        Whether the base has the cells of its positions: an older one has none.

    Raises
    ------
    Unmergeable
        It has not.
    """
    if not table.primary:
        message = (
            f"{table.qualified} has no primary key: its rows cannot be told apart, so nothing can be merged into it"
        )
        raise Unmergeable(message, remedy="name a primary key, or ingest the table anew")
    other = "columns" if kept.types != {item.name: item.type for item in table.arrow} else ""
    if kept.partition != (None if table.partition is None else repr(table.partition)):
        other = other or "partitions"
    if table.position is not None and (not cells or kept.position not in {None, table.position}):
        other = other or "indexes"
    if other:
        message = f"{table.qualified} has other {other} than its snapshot {base.id}: nothing can be merged into that"
        raise Unmergeable(message, remedy="ingest the table anew")
