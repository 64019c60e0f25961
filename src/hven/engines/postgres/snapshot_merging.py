"""A new snapshot out of an old one and its changes, made inside the database: only the changes travel.

A table that is followed is staged so that snapshots can share it (`founding`); the first merge of another one copies
it, with the changes. A later one is merged in place, in one transaction: rows that change or go are marked as gone, new
ones are added, and a view is made. Older views show what they showed, readers wait for nothing, and a failure leaves
nothing. The work is in proportion to the changes.

Copied anew is what was merged into an older state than the last (after a rollback), what is keyed or indexed otherwise
now, and a table of which much has changed, is gone, or lies apart from its neighbours on the sky. Statistics are the
old ones with what changed.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._statistics import StatisticsCollector
from hven.engines._statistics_update import update_statistics
from hven.engines.postgres import coverage_update, error_translation, partitions, shared_tables
from hven.engines.postgres.dialect import get_storage_type
from hven.engines.postgres.first_snapshot import FirstStateStaging
from hven.engines.postgres.position_search import CELL_COLUMN
from hven.engines.postgres.query_execution import cast_batch, open_batch_reader
from hven.engines.postgres.schema_installation import quote_identifier, quote_literal
from hven.engines.postgres.shared_tables import ALIVE_STATE, BORN_COLUMN, DIED_COLUMN
from hven.engines.postgres.staging import COVERAGE_ORDER, SORT_MEMORY_SETTING, to_copy_types, write_column_definitions
from hven.engines.postgres.statistics_witnesses import WitnessReader
from hven.engines.postgres.table_records import SharedState
from hven.model.errors import StorageError, UnmergeableSnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.engines import Snapshot
    from hven.engines.postgres.engine_protocol import PostgresEngineProtocol
    from hven.engines.postgres.table_records import TableRecord
    from hven.model.table import Table

MIN_CLUSTERING_CORRELATION = 0.9  # correlation of cells and places in the table: below, it is written in order again
MIN_ORDERED_ROWS = 50_000  # rows; the order of fewer does not matter
MIN_ROWS_PER_CHANGE = (
    8  # if more than this part of the rows changes, all are written anew, and statistics are of all rows
)
MIN_ROWS_PER_DEAD_ROW = 4  # .. and if more than this part of them is gone or stands in no partition of its own
# if more than this part of the rows changed since, the planner's statistics and the free room are looked after
MIN_ROWS_PER_STALE_ROW = 20
MIN_STALE_ROWS = 1_000  # .. and more rows than these


class TableMerge(FirstStateStaging):
    """A staging that begins with another snapshot's rows.

    Parameters
    ----------
    base_snapshot
        The snapshot that is changed; see `check_mergeable`.
    base_record
        What its relation says about itself.
    deleted_keys
        Primary keys of rows that are gone.
    """

    def __init__(
        self,
        engine: PostgresEngineProtocol,
        table: Table,
        snapshot: str,
        name: str,
        base_snapshot: Snapshot,
        base_record: TableRecord,
        deleted_keys: pa.Table | None,
    ) -> None:
        super().__init__(engine, table, snapshot, name)
        self._region_column_names = [
            name for name in self._region_column_names if name in base_snapshot.regions
        ]  # an older one has no cells to copy
        self._base_snapshot = base_snapshot
        self._base_record = base_record
        self._deleted_keys = deleted_keys
        self._removed_count = self._added_count = 0
        self._removed_cells = np.empty(0, np.int64)  # coarse cells of rows that went
        self._quoted_base = f"{quote_identifier(engine.schema)}.{quote_identifier(base_snapshot.path)}"

    # nothing is added to it
    def _write_create_statements(self, extra_columns_sql: str = "") -> Iterator[str]:  # noqa: ARG002
        """Write the statement that makes the table for what changed: it lasts until the merge is over."""
        self._partitions = None
        self._target_table = f"o{self.name[1:]}"
        self._quoted_target = self._quoted_changes = (
            f"{quote_identifier(self._engine.schema)}.{quote_identifier(self._target_table)}"
        )
        yield (
            f"CREATE UNLOGGED TABLE {self._quoted_changes} ({write_column_definitions(self.table)}) WITH "
            f"(autovacuum_enabled = off)"
        )

    def finish(self) -> Snapshot:
        """Mark what goes and add what comes, or copy everything; see `hven.engines.SnapshotStaging.finish`."""
        if self._is_closed:
            raise StorageError("this staging is finished or abandoned")
        with self._abandon_on_error():
            self._copy_waiting()
            come = self._collector.build_statistics()
            self._added_count = self._row_count
            self._check_key_nulls()
            with self._engine.write_pool.borrow_connection() as connection:
                self._check_key_unique(connection)
            going, share = self._merge_rows()
            with self._engine.write_pool.borrow_connection() as connection:
                if share is None:
                    self._complete_snapshot(connection)
                else:
                    self._quoted_target = (
                        f"{quote_identifier(self._engine.schema)}.{quote_identifier(share.base_table)}"
                    )
                    self._vacuum_if_stale(connection)
                connection.execute(f"DROP TABLE {self._quoted_changes}")
                size = self._measure_size(connection)
            self._row_count += self._base_snapshot.rows - self._removed_count
            self._update_statistics(come, going)
            return self._build_snapshot(size, self._compute_coverage())

    # --- rows

    def _merge_rows(self) -> tuple[dict[str, dict[str, object]], SharedState | None]:
        """Merge in one transaction; return the statistics of rows that went, and the new state, or None if all were copied into a new table."""
        with self._engine.bulk_write_pool.borrow_connection() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                if self._base_record.share is not None:
                    _fetch_integer(
                        cursor,
                        shared_tables.write_lock_statement(self._engine.schema, self._base_record.share.base_table),
                    )
                self._collect_removed_keys(cursor)
                removed_statistics = self._collect_removed_statistics(cursor)
                share = self._find_next_state(cursor)
                if share is None:
                    self._copy_all_rows(cursor)
                else:
                    self._change_in_place(cursor, share)
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(
                    *error_translation.list_driver_errors()
                ):  # the connection is gone, and with it the transaction
                    cursor.execute("ROLLBACK")
                raise
        return removed_statistics, share

    def _collect_removed_keys(self, cursor: Any) -> None:
        """Gather the keys of rows that change or go, if they are there."""
        keys = list(self.table.primary)
        key_definitions = ", ".join(
            f"{quote_identifier(key)} {kind}" + (' COLLATE "C"' if kind == "text" else "")
            for key, kind in ((key, get_storage_type(self.table.find_column(key).type)) for key in keys)
        )
        key_list = ", ".join(map(quote_identifier, keys))
        cursor.execute(f'CREATE TEMPORARY TABLE "gone" ({key_definitions}) ON COMMIT DROP')
        if self._deleted_keys is not None and self._deleted_keys.num_rows:
            cursor.adbc_ingest(
                "gone", to_copy_types(self._deleted_keys.select(keys)).to_reader(65_536), mode="append", temporary=True
            )
        cursor.execute(f'INSERT INTO pg_temp."gone" ({key_list}) SELECT {key_list} FROM {self._quoted_changes}')
        cursor.execute('ANALYZE pg_temp."gone"')
        key_condition = " AND ".join(f"n.{quote_identifier(key)} = o.{quote_identifier(key)}" for key in keys)
        self._removed_condition = f'EXISTS (SELECT 1 FROM pg_temp."gone" AS n WHERE {key_condition})'

    def _collect_removed_statistics(self, cursor: Any) -> dict[str, dict[str, object]]:
        """Collect the statistics of the rows that go, and learn their number and their cells."""
        removed_statistics = StatisticsCollector(self.table)
        cursor.execute(
            f"SELECT {', '.join('o.' + quote_identifier(name) for name in self._schema.names)} FROM "
            f"{self._quoted_base} AS o WHERE {self._removed_condition}"
        )
        self._removed_count = self._collect_statistics(cursor, removed_statistics)
        if self.table.position is not None:
            cell = f"o.{quote_identifier(CELL_COLUMN)} >> {2 * (29 - COVERAGE_ORDER)}"
            cursor.execute(
                f"SELECT DISTINCT {cell} FROM {self._quoted_base} AS o WHERE o.{quote_identifier(CELL_COLUMN)} "
                f"IS NOT NULL AND {self._removed_condition}"
            )
            self._removed_cells = np.array(sorted(row[0] for row in cursor.fetchall()), np.int64)
        return removed_statistics.build_statistics()

    def _find_next_state(self, cursor: Any) -> SharedState | None:
        """Return the state to which the base can be changed in place; None if it is better copied."""
        share = self._base_record.share
        max_changes = self._base_snapshot.rows // MIN_ROWS_PER_CHANGE
        if (
            share is None
            or self._base_record.index_digest != self.index_digest
            or self._added_count + self._removed_count > max_changes
        ):
            return None
        cursor.execute(shared_tables.write_shares_query(self._engine.schema))
        states = shared_tables.parse_shared_states(cursor.fetchall()).values()
        if max(state.state_number for state in states if state.base_table == share.base_table) != share.state_number:
            return None  # it was rolled back: the last state has other rows
        quoted_table = f"{quote_identifier(self._engine.schema)}.{quote_identifier(share.base_table)}"
        dead_count = _fetch_integer(
            cursor, f"SELECT count(*) FROM {quoted_table} WHERE {quote_identifier(DIED_COLUMN)} < {ALIVE_STATE}"
        )
        if (
            dead_count + self._removed_count
        ) * MIN_ROWS_PER_DEAD_ROW > self._base_snapshot.rows or self._count_unpartitioned(
            cursor, share.base_table
        ) * MIN_ROWS_PER_DEAD_ROW > self._base_snapshot.rows:
            return None
        if self._base_snapshot.rows >= MIN_ORDERED_ROWS and self._is_disordered(cursor):
            return None
        return SharedState(share.base_table, share.state_number + 1)

    def _count_unpartitioned(self, cursor: Any, base_table: str) -> int:
        """Count the rows that came later and have no partition of their own.

        None is made while others read the table.
        """
        table_partitions = partitions.create_partitions(self.table, self._engine.schema, base_table)
        if table_partitions is None:
            return 0
        return _fetch_integer(
            cursor,
            f"SELECT count(*) FROM {table_partitions.quoted_default} WHERE {quote_identifier(BORN_COLUMN)} > "
            f"{shared_tables.FIRST_STATE} AND {quote_identifier(table_partitions.partition_column)} IS NOT NULL",
        )

    def _is_disordered(self, cursor: Any) -> bool:
        """Return whether the rows of the base are no longer in the order of their cells."""
        if self.table.position is None:
            return False
        quoted_table = quote_literal(
            f"{quote_identifier(self._engine.schema)}.{quote_identifier(self._base_record.find_table_name(self._base_snapshot))}"
        )
        cursor.execute(
            "SELECT sum(s.correlation * c.reltuples) / nullif(sum(c.reltuples), 0) FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname "
            "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename WHERE NOT s.inherited AND c.reltuples > 0 "
            f"AND s.attname = {quote_literal(CELL_COLUMN)} "
            f"AND (c.oid = {quoted_table}::regclass OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = {quoted_table}::regclass))"
        )
        correlation_row = cursor.fetchone()
        return (
            correlation_row is not None
            and correlation_row[0] is not None
            and correlation_row[0] < MIN_CLUSTERING_CORRELATION
        )

    def _change_in_place(self, cursor: Any, share: SharedState) -> None:
        """Mark the rows that go, add those that come, and make the view."""
        quoted_table = f"{quote_identifier(self._engine.schema)}.{quote_identifier(share.base_table)}"
        column_list = ", ".join(map(quote_identifier, self._stored_column_names))
        update_sql = (
            f"UPDATE {quoted_table} AS o SET {quote_identifier(DIED_COLUMN)} = {share.state_number} WHERE "
            f"o.{quote_identifier(DIED_COLUMN)} = {ALIVE_STATE} AND {self._removed_condition} RETURNING 1"
        )
        marked_count = _fetch_integer(cursor, f"WITH went AS ({update_sql}) SELECT count(*) FROM went")
        if marked_count != self._removed_count:
            message = (
                f"{self.table.qualified_name}: {marked_count:,} rows of the table {share.base_table} go, and the "
                f"snapshot {self._base_snapshot.id} has {self._removed_count:,} of them"
            )
            raise StorageError(message, remedy="ingest the table anew: something else wrote into Hven's schema")
        cursor.execute(
            f"INSERT INTO {quoted_table} ({column_list}, {quote_identifier(BORN_COLUMN)}) SELECT "
            f"{column_list}, {share.state_number} FROM {self._quoted_changes}"
        )
        for text in self._write_view_statements(share):
            cursor.execute(text)

    def _copy_all_rows(self, cursor: Any) -> None:
        """Write the rows that stay, and those that come, into a table that later merges can change in place."""
        for text in super()._write_create_statements():
            cursor.execute(text)
        if self._partitions is not None:
            self._create_partitions(cursor, self._partitions)
        column_list = ", ".join(map(quote_identifier, self._stored_column_names))
        kept_rows_sql = (
            f"SELECT {', '.join('o.' + quote_identifier(name) for name in self._stored_column_names)} FROM "
            f"{self._quoted_base} AS o WHERE NOT {self._removed_condition}"
        )
        if self._is_disordered(cursor):
            order = f" ORDER BY {quote_identifier(CELL_COLUMN)} NULLS LAST"
        else:
            order = ""
        cursor.execute(f"SET LOCAL work_mem = '{SORT_MEMORY_SETTING}'")
        cursor.execute(
            f"INSERT INTO {self._quoted_target} ({column_list}) SELECT * FROM (SELECT {column_list} FROM "
            f"{self._quoted_changes} UNION ALL {kept_rows_sql}) AS a{order}"
        )

    def _create_partitions(self, cursor: Any, new_partitions: partitions.TablePartitions) -> None:
        """Create the partitions that the base has, and those for what came since."""
        old_partitions = partitions.TablePartitions(
            self.table, self._engine.schema, self._base_record.find_table_name(self._base_snapshot)
        )
        cursor.execute(old_partitions.write_listing_query())
        for text in list(new_partitions.write_like_partitions(cursor.fetchall(), old_partitions)):
            cursor.execute(text)
        column = quote_identifier(new_partitions.partition_column)
        cursor.execute(
            f"SELECT {column} FROM {self._quoted_changes} UNION ALL SELECT {column} FROM "
            f"{old_partitions.quoted_default} WHERE {column} IS NOT NULL"
        )
        schema = pa.schema(
            [
                (CELL_COLUMN, pa.int64())
                if new_partitions.partition_column == CELL_COLUMN
                else self._schema.field(new_partitions.partition_column)
            ]
        )
        added_rows = pa.Table.from_batches([cast_batch(batch, schema) for batch in open_batch_reader(cursor)], schema)
        if new_partitions.partition_column == CELL_COLUMN:
            cells = added_rows.column(0).drop_null().to_numpy()
        else:
            cells = None
        for text in new_partitions.write_needed_partitions(added_rows, cells):
            cursor.execute(text)

    def _vacuum_if_stale(self, connection: Any) -> None:
        """Vacuum and analyze after many changes: what is gone leaves room, and the planner looks at the rows."""
        stale_count = connection.execute(
            "SELECT coalesce(CAST(sum(n_dead_tup + n_mod_since_analyze) AS bigint), 0) FROM pg_stat_all_tables "
            "WHERE relid = $1::regclass OR relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::regclass)",
            [self._quoted_target],
        ).fetchone()[0]
        if stale_count > MIN_STALE_ROWS and stale_count * MIN_ROWS_PER_STALE_ROW > self._base_snapshot.rows:
            connection.execute(f"VACUUM (ANALYZE, TRUNCATE off) {self._quoted_target}")

    # --- what is known about them

    def _update_statistics(
        self,
        added_statistics: Mapping[str, Mapping[str, object]],
        removed_statistics: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Revise the statistics."""
        if (
            not self._base_snapshot.statistics
            or (self._added_count + self._removed_count) * MIN_ROWS_PER_CHANGE > self._base_snapshot.rows
        ):
            self._collector = StatisticsCollector(self.table)
            with self._select_columns(self._schema.names) as cursor:
                self._collect_statistics(cursor, self._collector)
        else:
            rows = (self._base_snapshot.rows, self._removed_count, self._added_count)
            witness_reader = WitnessReader(
                self._engine, self.table, self._quoted_view, self._base_snapshot, removed_statistics
            )
            self._collector = _FinishedStatistics(
                self.table,
                update_statistics(
                    self.table,
                    self._base_snapshot.statistics,
                    removed_statistics,
                    added_statistics,
                    rows,
                    read_column=witness_reader,
                ),
            )

    def _collect_statistics(self, cursor: Any, statistics: StatisticsCollector) -> int:
        """Add an answer's rows to the statistics; return their number."""
        rows = 0
        for batch in open_batch_reader(cursor):
            statistics.add_rows(pa.Table.from_batches([cast_batch(batch, self._schema)]))
            rows += batch.num_rows
        return rows

    @contextmanager
    def _select_columns(self, column_names: list[str]) -> Iterator[Any]:
        """Ask for columns of all rows as they are now."""
        with self._engine.bulk_write_pool.borrow_connection() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(map(quote_identifier, column_names))} FROM {self._quoted_view}")
            yield cursor

    def _compute_coverage(self) -> str | None:
        """Revise the coverage, or learn it by one pass over the cells."""
        if self.table.position is None:
            return None
        if self._cell_arrays:
            come = np.unique(np.concatenate(self._cell_arrays))
        else:
            come = np.empty(0, np.int64)
        with self._engine.write_pool.borrow_connection() as connection:
            if self._base_snapshot.coverage is not None:
                empty = partial(coverage_update.find_empty_cells, connection, self._quoted_view)
                updated_coverage = coverage_update.update_coverage(
                    self._base_snapshot.coverage, self._removed_cells, come, empty
                )
                if updated_coverage is not None:
                    return updated_coverage
            cell = f"{quote_identifier(CELL_COLUMN)} >> {2 * (29 - COVERAGE_ORDER)}"
            rows = connection.execute(
                f"SELECT DISTINCT {cell} FROM {self._quoted_view} WHERE {quote_identifier(CELL_COLUMN)} IS NOT NULL"
            ).fetchall()
        self._cell_arrays = [np.array([row[0] for row in rows], np.int64)]
        return super()._compute_coverage()


class _FinishedStatistics(StatisticsCollector):
    """Statistics that need no look at rows."""

    def __init__(self, table: Table, statistics_by_column: dict[str, dict[str, object]]) -> None:
        super().__init__(table)
        self._statistics_by_column = statistics_by_column

    def build_statistics(self) -> dict[str, dict[str, object]]:
        """Return the statistics of all columns."""
        return self._statistics_by_column


def _fetch_integer(cursor: Any, sql: str) -> int:
    """Return the one number of an answer."""
    cursor.execute(sql)
    return int(cursor.fetchone()[0])


def check_mergeable(table: Table, base_snapshot: Snapshot, base_record: TableRecord, *, has_cells: bool) -> None:
    """Refuse a table without primary key, or with other columns or partitions than the base.

    Parameters
    ----------
    base_record
        What the base's relation says about itself.
    has_cells
        Whether the base has the cells of its positions: an older one has none.

    Raises
    ------
    UnmergeableSnapshotError
        It has not.
    """
    if not table.primary:
        message = (
            f"{table.qualified_name} has no primary key: its rows cannot be told apart, so nothing can be merged "
            f"into it"
        )
        raise UnmergeableSnapshotError(message, remedy="name a primary key, or ingest the table anew")
    if base_record.arrow_types != {item.name: item.type for item in table.arrow_schema}:
        differing_part = "columns"
    else:
        differing_part = ""
    if base_record.partition != (None if table.partition is None else repr(table.partition)):
        differing_part = differing_part or "partitions"
    if table.position is not None and (not has_cells or base_record.position not in {None, table.position}):
        differing_part = differing_part or "indexes"
    if differing_part:
        message = (
            f"{table.qualified_name} has other {differing_part} than its snapshot {base_snapshot.id}: nothing can "
            f"be merged into that"
        )
        raise UnmergeableSnapshotError(message, remedy="ingest the table anew")
