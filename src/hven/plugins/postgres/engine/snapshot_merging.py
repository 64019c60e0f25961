"""Merging of changes into a snapshot inside the database: only the changes travel.

A table whose changes are followed is staged so that snapshots can share it (`first_snapshot`). The first merge of
another table copies it, with the changes. A later merge changes the shared table in place, in one transaction: it marks
rows that are changed or removed, adds the new ones, and creates a view. Older views stay as they were, queries do not
wait, and a failure leaves nothing. The work is in proportion to the changes.

A merge copies the table again if the base is not its last state (after a rollback), if its keys or indexes are others
now, if many rows are changed or removed, or if the rows are no longer in the order of their cells. The statistics are
those of the base, updated with the changes.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines.api.statistics import ColumnStatisticsCollector, update_statistics
from hven.model.errors import StorageError, UnmergeableSnapshotError
from hven.plugins.postgres.engine import coverage_update, error_translation, partitions, shared_tables
from hven.plugins.postgres.engine.dialect import get_storage_type
from hven.plugins.postgres.engine.position_search import CELL_COLUMN
from hven.plugins.postgres.engine.query_execution import cast_result_batch, open_batch_reader
from hven.plugins.postgres.engine.schema_installation import quote_identifier, quote_literal
from hven.plugins.postgres.engine.shared_table_staging import SharedTableStaging
from hven.plugins.postgres.engine.shared_tables import ALIVE_STATE, BORN_COLUMN, DIED_COLUMN
from hven.plugins.postgres.engine.staging import (
    COVERAGE_ORDER,
    SORT_MEMORY_SETTING,
    to_copy_types,
    write_column_definitions,
)
from hven.plugins.postgres.engine.statistics_witnesses import StatisticsWitnessReader
from hven.plugins.postgres.engine.table_records import SharedTableState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.engines import Snapshot
    from hven.model.table import Table
    from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol
    from hven.plugins.postgres.engine.table_records import SnapshotTableComment

MIN_CLUSTERING_CORRELATION = 0.9  # of cells and places in the table; with less, the table is written in order again
MIN_ORDERED_ROWS = 50_000  # the order of fewer rows does not matter
# With fewer rows per changed row, the table is written again, and the statistics are computed of all rows.
MIN_ROWS_PER_CHANGE = 8
# With fewer rows per removed row (or per row without a partition of its own), the table is written again.
MIN_ROWS_PER_DEAD_ROW = 4
# With fewer rows per row that changed since the last VACUUM, the table is vacuumed and analysed.
MIN_ROWS_PER_STALE_ROW = 20
MIN_STALE_ROWS = 1_000  # fewer changed rows cause no VACUUM


class TableMergeStaging(SharedTableStaging):
    """A staging that begins with another snapshot's rows.

    Parameters
    ----------
    engine
        The engine.
    table
        The table of the descriptor.
    snapshot_id
        Identifier of the new snapshot.
    name
        Name of the new snapshot in the database.
    base_snapshot
        The snapshot that is changed; see `check_mergeable`.
    base_record
        The record in the comment of its table or view.
    deleted_keys
        Primary keys of rows that are removed.
    """

    def __init__(
        self,
        engine: PostgresEngineProtocol,
        table: Table,
        snapshot_id: str,
        name: str,
        *,
        base_snapshot: Snapshot,
        base_record: SnapshotTableComment,
        deleted_keys: pa.Table | None,
    ) -> None:
        super().__init__(engine, table, snapshot_id, name)
        # Older snapshots have no cells of regions to copy.
        self._region_column_names = [name for name in self._region_column_names if name in base_snapshot.regions]
        self._base_snapshot = base_snapshot
        self._base_record = base_record
        self._deleted_keys = deleted_keys
        self._removed_count = self._added_count = 0
        self._removed_cells = np.empty(0, np.int64)  # of order `COVERAGE_ORDER`
        self._quoted_base = f"{quote_identifier(engine.schema)}.{quote_identifier(base_snapshot.path)}"

    # The table of changes has no additional columns.
    def _write_create_statements(self, extra_columns_sql: str = "") -> Iterator[str]:  # noqa: ARG002
        """Write the statement that creates the table of the changes, which lasts until the merge is over."""
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
        """Merge the changes in place, or copy everything; see `hven.engines.SnapshotStaging.finish`."""
        if self._is_closed:
            raise StorageError("this staging is finished or abandoned")
        with self._abandon_on_error():
            self._copy_waiting_rows()
            added_statistics = self._collector.build_statistics()
            self._added_count = self._row_count
            self._check_key_nulls()
            with self._engine.write_pool.borrow_connection() as connection:
                self._check_key_unique(connection)
            removed_statistics, share = self._merge_rows()
            with self._engine.write_pool.borrow_connection() as connection:
                if share is None:
                    self._prepare_table_for_readers(connection)
                else:
                    self._quoted_target = (
                        f"{quote_identifier(self._engine.schema)}.{quote_identifier(share.base_table)}"
                    )
                    self._vacuum_if_stale(connection)
                connection.execute(f"DROP TABLE {self._quoted_changes}")
                size = self._measure_table_bytes(connection)
            self._row_count += self._base_snapshot.rows - self._removed_count
            self._update_statistics(added_statistics, removed_statistics)
            snapshot = self._build_snapshot(size, self._compute_coverage())
            self._is_closed = True
            return snapshot

    # --- rows

    def _merge_rows(self) -> tuple[dict[str, dict[str, object]], SharedTableState | None]:
        """Merge the changes in one transaction.

        Returns
        -------
        removed_statistics
            Statistics of the rows that are removed.
        share
            The new state; None if all rows were copied into a new table.
        """
        base_share = self._base_record.share
        with self._engine.bulk_write_pool.borrow_connection() as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                if base_share is not None:
                    lock_statement = shared_tables.write_lock_statement(self._engine.schema, base_share.base_table)
                    _fetch_integer(cursor, lock_statement)
                self._collect_removed_keys(cursor)
                removed_statistics = self._summarize_removed_rows(cursor)
                share = self._find_next_state(cursor)
                if share is None:
                    self._copy_all_rows(cursor)
                else:
                    self._change_rows_in_place(cursor, share)
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(
                    *error_translation.list_driver_error_classes()
                ):  # the connection may be lost, with the transaction
                    cursor.execute("ROLLBACK")
                raise
        return removed_statistics, share

    def _collect_removed_keys(self, cursor: Any) -> None:
        """Collect the keys of rows that are changed or removed in a temporary table."""
        keys = list(self.table.primary)
        key_definitions = []
        for key in keys:
            storage_type = get_storage_type(self.table.find_column(key).type)
            collation = ' COLLATE "C"' if storage_type == "text" else ""
            key_definitions.append(f"{quote_identifier(key)} {storage_type}{collation}")
        key_list = ", ".join(map(quote_identifier, keys))
        cursor.execute(f'CREATE TEMPORARY TABLE "gone" ({", ".join(key_definitions)}) ON COMMIT DROP')
        if self._deleted_keys is not None and self._deleted_keys.num_rows:
            deleted_keys = to_copy_types(self._deleted_keys.select(keys))
            cursor.adbc_ingest("gone", deleted_keys.to_reader(65_536), mode="append", temporary=True)
        cursor.execute(f'INSERT INTO pg_temp."gone" ({key_list}) SELECT {key_list} FROM {self._quoted_changes}')
        cursor.execute('ANALYZE pg_temp."gone"')
        key_condition = " AND ".join(f"n.{quote_identifier(key)} = o.{quote_identifier(key)}" for key in keys)
        self._removed_condition = f'EXISTS (SELECT 1 FROM pg_temp."gone" AS n WHERE {key_condition})'

    def _summarize_removed_rows(self, cursor: Any) -> dict[str, dict[str, object]]:
        """Collect the statistics of the rows that are removed, their number and their cells."""
        removed_statistics = ColumnStatisticsCollector(self.table)
        column_list = ", ".join("o." + quote_identifier(name) for name in self._schema.names)
        cursor.execute(f"SELECT {column_list} FROM {self._quoted_base} AS o WHERE {self._removed_condition}")
        self._removed_count = self._add_cursor_rows_to_statistics(cursor, removed_statistics)
        if self.table.position is not None:
            cell = f"o.{quote_identifier(CELL_COLUMN)} >> {2 * (29 - COVERAGE_ORDER)}"
            cursor.execute(
                f"SELECT DISTINCT {cell} FROM {self._quoted_base} AS o WHERE o.{quote_identifier(CELL_COLUMN)} "
                f"IS NOT NULL AND {self._removed_condition}"
            )
            self._removed_cells = np.array(sorted(row[0] for row in cursor.fetchall()), np.int64)
        return removed_statistics.build_statistics()

    def _find_next_state(self, cursor: Any) -> SharedTableState | None:
        """Return the state to which the base can be changed in place; None if it should be copied."""
        share = self._base_record.share
        base_rows = self._base_snapshot.rows
        if share is None or self._base_record.index_digest != self.index_digest:
            return None
        if self._added_count + self._removed_count > base_rows // MIN_ROWS_PER_CHANGE:
            return None
        cursor.execute(shared_tables.write_shared_views_query(self._engine.schema))
        states = shared_tables.parse_shared_states(cursor.fetchall()).values()
        last_number = max(state.state_number for state in states if state.base_table == share.base_table)
        if last_number != share.state_number:
            return None  # after a rollback the last state has other rows than the base
        if self._has_many_dead_rows(cursor, share) or self._has_many_unpartitioned_rows(cursor, share):
            return None
        if base_rows >= MIN_ORDERED_ROWS and self._is_base_disordered(cursor):
            return None
        return SharedTableState(share.base_table, share.state_number + 1)

    def _has_many_dead_rows(self, cursor: Any, shared_state: SharedTableState) -> bool:
        """Return whether many rows of the shared table are removed, with those that this merge removes."""
        quoted_table = f"{quote_identifier(self._engine.schema)}.{quote_identifier(shared_state.base_table)}"
        dead_count = _fetch_integer(
            cursor, f"SELECT count(*) FROM {quoted_table} WHERE {quote_identifier(DIED_COLUMN)} < {ALIVE_STATE}"
        )
        return (dead_count + self._removed_count) * MIN_ROWS_PER_DEAD_ROW > self._base_snapshot.rows

    def _has_many_unpartitioned_rows(self, cursor: Any, shared_state: SharedTableState) -> bool:
        """Return whether many rows were added later and have no partition of their own.

        No partition is created while queries read the table.
        """
        table_partitions = partitions.build_table_partitions(self.table, self._engine.schema, shared_state.base_table)
        if table_partitions is None:
            return False
        unpartitioned_count = _fetch_integer(
            cursor,
            f"SELECT count(*) FROM {table_partitions.quoted_default_partition} WHERE {quote_identifier(BORN_COLUMN)} > "
            f"{shared_tables.FIRST_STATE} AND {quote_identifier(table_partitions.partition_column)} IS NOT NULL",
        )
        return unpartitioned_count * MIN_ROWS_PER_DEAD_ROW > self._base_snapshot.rows

    def _is_base_disordered(self, cursor: Any) -> bool:
        """Return whether the rows of the base are no longer in the order of their cells."""
        if self.table.position is None:
            return False
        base_table = self._base_record.find_table_name(self._base_snapshot)
        table_literal = quote_literal(f"{quote_identifier(self._engine.schema)}.{quote_identifier(base_table)}")
        cursor.execute(
            "SELECT sum(s.correlation * c.reltuples) / nullif(sum(c.reltuples), 0) "
            "FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname "
            "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.tablename "
            "WHERE NOT s.inherited AND c.reltuples > 0 "
            f"AND s.attname = {quote_literal(CELL_COLUMN)} "
            f"AND (c.oid = {table_literal}::regclass "
            f"OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = {table_literal}::regclass))"
        )
        correlation_row = cursor.fetchone()
        if correlation_row is None or correlation_row[0] is None:
            return False
        return bool(correlation_row[0] < MIN_CLUSTERING_CORRELATION)

    def _change_rows_in_place(self, cursor: Any, shared_state: SharedTableState) -> None:
        """Mark the rows that are removed, add the new ones, and create the view."""
        quoted_table = f"{quote_identifier(self._engine.schema)}.{quote_identifier(shared_state.base_table)}"
        column_list = ", ".join(map(quote_identifier, self._stored_column_names))
        update_sql = (
            f"UPDATE {quoted_table} AS o SET {quote_identifier(DIED_COLUMN)} = {shared_state.state_number} WHERE "
            f"o.{quote_identifier(DIED_COLUMN)} = {ALIVE_STATE} AND {self._removed_condition} RETURNING 1"
        )
        marked_count = _fetch_integer(cursor, f"WITH went AS ({update_sql}) SELECT count(*) FROM went")
        if marked_count != self._removed_count:
            message = (
                f"{self.table.qualified_name}: the merge should remove {self._removed_count:,} rows of the snapshot "
                f"{self._base_snapshot.id}, but would remove {marked_count:,} (in the database table "
                f"{shared_state.base_table}); another program has written to Hven's schema"
            )
            raise StorageError(message, remedy="ingest the table again")
        cursor.execute(
            f"INSERT INTO {quoted_table} ({column_list}, {quote_identifier(BORN_COLUMN)}) SELECT "
            f"{column_list}, {shared_state.state_number} FROM {self._quoted_changes}"
        )
        for text in self._write_view_statements(shared_state):
            cursor.execute(text)

    def _copy_all_rows(self, cursor: Any) -> None:
        """Copy the rows that stay, with the new ones, into a table that later merges can change in place."""
        for text in super()._write_create_statements():
            cursor.execute(text)
        if self._partitions is not None:
            self._create_partitions(cursor, self._partitions)
        column_list = ", ".join(map(quote_identifier, self._stored_column_names))
        base_column_list = ", ".join("o." + quote_identifier(name) for name in self._stored_column_names)
        kept_rows_sql = f"SELECT {base_column_list} FROM {self._quoted_base} AS o WHERE NOT {self._removed_condition}"
        order = ""
        if self._is_base_disordered(cursor):
            order = f" ORDER BY {quote_identifier(CELL_COLUMN)} NULLS LAST"
        cursor.execute(f"SET LOCAL work_mem = '{SORT_MEMORY_SETTING}'")
        cursor.execute(
            f"INSERT INTO {self._quoted_target} ({column_list}) SELECT * FROM (SELECT {column_list} FROM "
            f"{self._quoted_changes} UNION ALL {kept_rows_sql}) AS a{order}"
        )

    def _create_partitions(self, cursor: Any, new_partitions: partitions.TablePartitions) -> None:
        """Create the partitions that the base has, and those that rows without a partition of their own need."""
        base_table = self._base_record.find_table_name(self._base_snapshot)
        old_partitions = partitions.TablePartitions(self.table, self._engine.schema, base_table)
        cursor.execute(old_partitions.write_partition_listing_query())
        for statement in list(new_partitions.write_copied_partition_statements(cursor.fetchall(), old_partitions)):
            cursor.execute(statement)
        column_name = new_partitions.partition_column
        column = quote_identifier(column_name)
        cursor.execute(
            f"SELECT {column} FROM {self._quoted_changes} UNION ALL SELECT {column} FROM "
            f"{old_partitions.quoted_default_partition} WHERE {column} IS NOT NULL"
        )
        is_by_cell = column_name == CELL_COLUMN
        if is_by_cell:
            field = pa.field(CELL_COLUMN, pa.int64())
        else:
            field = self._schema.field(column_name)
        schema = pa.schema([field])
        batches = [cast_result_batch(batch, schema) for batch in open_batch_reader(cursor)]
        rows = pa.Table.from_batches(batches, schema)
        cells = None
        if is_by_cell:
            cells = rows.column(0).drop_null().to_numpy()
        for statement in new_partitions.write_needed_partition_statements(rows, cells):
            cursor.execute(statement)

    def _vacuum_if_stale(self, connection: Any) -> None:
        """Vacuum and analyse the table after many changes, for its free space and the planner's statistics."""
        stale_count = connection.execute(
            "SELECT coalesce(CAST(sum(n_dead_tup + n_mod_since_analyze) AS bigint), 0) FROM pg_stat_all_tables "
            "WHERE relid = $1::regclass OR relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::regclass)",
            [self._quoted_target],
        ).fetchone()[0]
        if stale_count > MIN_STALE_ROWS and stale_count * MIN_ROWS_PER_STALE_ROW > self._base_snapshot.rows:
            connection.execute(f"VACUUM (ANALYZE, TRUNCATE off) {self._quoted_target}")

    # --- statistics and coverage

    def _update_statistics(
        self,
        added_statistics: Mapping[str, Mapping[str, object]],
        removed_statistics: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Update the statistics of the base, or compute them of all rows after many changes."""
        base = self._base_snapshot
        change_count = self._added_count + self._removed_count
        if not base.statistics or change_count * MIN_ROWS_PER_CHANGE > base.rows:
            self._collector = ColumnStatisticsCollector(self.table)
            with self._select_columns(self._schema.names) as cursor:
                self._add_cursor_rows_to_statistics(cursor, self._collector)
            return
        witness_reader = StatisticsWitnessReader(self._engine, self.table, self._quoted_view, base, removed_statistics)
        row_counts = (base.rows, self._removed_count, self._added_count)
        updated_statistics = update_statistics(
            self.table,
            base.statistics,
            removed_statistics,
            added_statistics,
            row_counts,
            read_column=self._read_column,
            read_witnesses=witness_reader,
        )
        self._collector = _KnownStatisticsCollector(self.table, updated_statistics)

    def _read_column(self, name: str) -> Iterator[pa.Array]:
        schema = pa.schema([self._schema.field(name)])
        with self._select_columns([name]) as cursor:
            for batch in open_batch_reader(cursor):
                yield cast_result_batch(batch, schema).column(0)

    def _add_cursor_rows_to_statistics(self, cursor: Any, statistics: ColumnStatisticsCollector) -> int:
        """Add the rows of an answer to the statistics; return their number."""
        rows = 0
        for batch in open_batch_reader(cursor):
            statistics.add_rows(pa.Table.from_batches([cast_result_batch(batch, self._schema)]))
            rows += batch.num_rows
        return rows

    @contextmanager
    def _select_columns(self, column_names: list[str]) -> Iterator[Any]:
        """Select columns of all rows of the new snapshot."""
        with self._engine.bulk_write_pool.borrow_connection() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(map(quote_identifier, column_names))} FROM {self._quoted_view}")
            yield cursor

    def _compute_coverage(self) -> str | None:
        """Update the coverage of the base, or compute it from the cells of all rows."""
        if self.table.position is None:
            return None
        added_cells = np.empty(0, np.int64)
        if self._cell_arrays:
            added_cells = np.unique(np.concatenate(self._cell_arrays))
        with self._engine.write_pool.borrow_connection() as connection:
            if self._base_snapshot.coverage is not None:
                select_empty_cells = partial(coverage_update.find_empty_cells, connection, self._quoted_view)
                updated_coverage = coverage_update.update_coverage(
                    self._base_snapshot.coverage, self._removed_cells, added_cells, select_empty_cells
                )
                if updated_coverage is not None:
                    return updated_coverage
            cell = quote_identifier(CELL_COLUMN)
            cell_rows = connection.execute(
                f"SELECT DISTINCT {cell} >> {2 * (29 - COVERAGE_ORDER)} FROM {self._quoted_view} "
                f"WHERE {cell} IS NOT NULL"
            ).fetchall()
        self._cell_arrays = [np.array([row[0] for row in cell_rows], np.int64)]
        return super()._compute_coverage()


class _KnownStatisticsCollector(ColumnStatisticsCollector):
    """Statistics that are known without a look at the rows."""

    def __init__(self, table: Table, statistics_by_column: dict[str, dict[str, object]]) -> None:
        super().__init__(table)
        self._statistics_by_column = statistics_by_column

    def build_statistics(self) -> dict[str, dict[str, object]]:
        """Return the statistics of all columns."""
        return self._statistics_by_column


def _fetch_integer(cursor: Any, sql: str) -> int:
    """Return the only number of an answer."""
    cursor.execute(sql)
    return int(cursor.fetchone()[0])


def check_mergeable(
    table: Table, base_snapshot: Snapshot, base_record: SnapshotTableComment, *, has_cells: bool
) -> None:
    """Refuse a table without primary key, or with other columns or partitions than the base.

    Parameters
    ----------
    table
        The table of the descriptor.
    base_snapshot
        The snapshot that is to be changed.
    base_record
        The record in the comment of its table or view.
    has_cells
        True if the base has the cells of its positions, which older snapshots do not have.

    Raises
    ------
    UnmergeableSnapshotError
        Nothing can be merged into the base.
    """
    if not table.primary:
        message = f"{table.qualified_name} has no primary key to identify its rows, so nothing can be merged into it"
        raise UnmergeableSnapshotError(message, remedy="define a primary key, or ingest the table again")
    differing_part = _find_differing_part(table, base_record, has_cells=has_cells)
    if differing_part:
        message = (
            f"{table.qualified_name} has different {differing_part} from its snapshot {base_snapshot.id}, so nothing "
            "can be merged into the snapshot"
        )
        raise UnmergeableSnapshotError(message, remedy="ingest the table again")


def _find_differing_part(table: Table, base_record: SnapshotTableComment, *, has_cells: bool) -> str:
    """Name what differs between a table and the base so that nothing can be merged; empty if nothing does."""
    if base_record.arrow_types != {item.name: item.type for item in table.arrow_schema}:
        return "columns"
    partition = None
    if table.partition is not None:
        partition = repr(table.partition)
    if base_record.partition != partition:
        return "partitions"
    if table.position is not None and (not has_cells or base_record.position not in {None, table.position}):
        return "indexes"
    return ""
