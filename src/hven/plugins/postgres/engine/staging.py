"""Writing of snapshots: Arrow batches go by binary COPY into a new table, in HEALPix order.

Indexes and statistics follow. A table that fits into memory (`MAX_WAITING_BYTES`) is ordered here and copied once. A
larger one is copied in runs, each of them ordered, and the server orders the complete table. No query reads the table
before its `Snapshot` is published, so nothing is locked.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import Snapshot
from hven.engines.api.region_cells import list_indexed_region_columns
from hven.engines.api.rows import (
    MAX_REPORTED_KEYS,
    MISSING_KEY,
    build_duplicate_key_error,
    cast_batch_and_replace_nan,
    check_key_nulls,
    compute_position_keys,
    compute_stable_order,
)
from hven.engines.api.statistics import ColumnStatisticsCollector, compute_coverage_moc
from hven.model.errors import DataError, OverloadedError, StorageError
from hven.plugins.postgres.engine import error_translation, partitions, regions
from hven.plugins.postgres.engine.dialect import get_storage_type
from hven.plugins.postgres.engine.position_search import CELL_COLUMN, PGSPHERE, Q3C
from hven.plugins.postgres.engine.schema_installation import quote_identifier, quote_literal
from hven.plugins.postgres.engine.table_records import write_table_comment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from hven.model.table import Table
    from hven.model.types import ColumnType
    from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol

MAX_WAITING_BYTES = 512 * 1024**2
SORT_MEMORY_SETTING = "256MB"  # memory of the server to sort a table or the keys of an index
COVERAGE_ORDER = 8  # HEALPix order of the cells that are collected for the coverage


class PostgresSnapshotStaging:
    """A snapshot that is being written (`hven.engines.SnapshotStaging`)."""

    def __init__(self, engine: PostgresEngineProtocol, table: Table, snapshot_id: str, table_name: str) -> None:
        self.table = table
        self.name = table_name
        self._engine = engine
        self._snapshot_id = snapshot_id
        self._schema = table.arrow_schema
        self._target_table = table_name  # the table that takes the rows
        self._quoted_target = f"{quote_identifier(engine.schema)}.{quote_identifier(table_name)}"
        self._collector = ColumnStatisticsCollector(table)
        self._cell_arrays: list[Any] = []
        self._waiting_batches: list[pa.RecordBatch] = []
        self._waiting_bytes = self._row_count = self._run_count = 0
        self._is_closed = False
        self._partitions = partitions.build_table_partitions(table, engine.schema, table_name)
        self._region_column_names = list_indexed_region_columns(table)
        with (
            self._engine.write_pool.borrow_connection() as connection,
            self._translate_errors(),
            connection.transaction(),
        ):
            for text in self._write_create_statements():
                connection.execute(text)

    def _write_create_statements(self, extra_columns_sql: str = "") -> Iterator[str]:
        """Write the statements that create the table; `extra_columns_sql` are columns of Hven's own."""
        if self._partitions is None:
            table_options = "WITH (autovacuum_enabled = off)"
        else:
            table_options = self._partitions.write_partition_clause()
        yield (
            f"CREATE TABLE {self._quoted_target} ({write_column_definitions(self.table)}{extra_columns_sql}) "
            f"{table_options}"
        )
        if self._partitions is not None:
            yield self._partitions.write_default_partition_statement()
        yield f"COMMENT ON TABLE {self._quoted_target} IS {quote_literal(write_table_comment(self.table))}"

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; their columns are found by name and must have the types of the table."""
        if self._is_closed:
            raise StorageError("this staging is finished or abandoned")
        batch = cast_batch_and_replace_nan(batch, self._schema)
        if not batch.num_rows:
            return
        self._row_count += batch.num_rows
        self._waiting_batches.append(batch)
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            with self._abandon_on_error():
                self._copy_waiting_rows()

    def finish(self) -> Snapshot:
        """Order, index and store the rows; see `hven.engines.SnapshotStaging.finish`."""
        if self._is_closed:
            raise StorageError("this staging is finished or abandoned")
        with self._abandon_on_error():
            self._copy_waiting_rows()
            with self._engine.write_pool.borrow_connection() as connection:
                if self._run_count > 1 and self.table.position is not None:
                    self._cluster_rows(connection)
                self._prepare_table_for_readers(connection)
                size = self._measure_table_bytes(connection)
            snapshot = self._build_snapshot(size, self._compute_coverage())
            self._is_closed = True
            return snapshot

    def _prepare_table_for_readers(self, connection: Any) -> None:
        """Index and analyze the complete table, and let readers select from it."""
        self._build_indexes(connection)
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {self._quoted_target}")
        for text in self._write_grants(self.name):
            connection.execute(text)

    def _write_grants(self, relation_name: str) -> list[str]:
        """Write the statements that let the roles of readers select from a table or view."""
        return [
            (
                f"GRANT SELECT ON {quote_identifier(self._engine.schema)}.{quote_identifier(relation_name)} TO "
                f"{quote_identifier(reader)}"
            )
            for reader in self._engine.reader_roles
        ]

    def _measure_table_bytes(self, connection: Any) -> int:
        """Return the size of the table with its indexes and partitions, in bytes."""
        size_row = connection.execute(
            "SELECT pg_total_relation_size($1::regclass) + "
            "(SELECT coalesce(CAST(sum(pg_total_relation_size(inhrelid)) AS bigint), 0) "
            "FROM pg_inherits WHERE inhparent = $1::regclass)",
            [self._quoted_target],
        ).fetchone()
        return int(size_row[0])

    def _build_snapshot(self, size_bytes: int, coverage: str | None) -> Snapshot:
        """Build the record of the finished snapshot."""
        return Snapshot(
            id=self._snapshot_id,
            table=self.table.qualified_name,
            path=self.name,
            rows=self._row_count,
            bytes=size_bytes,
            statistics=self._collector.build_statistics(),
            coverage=coverage,
            engine=self._engine.name,
            regions=tuple(self._region_column_names),
        )

    def abandon(self) -> None:
        """Remove everything written; see `hven.engines.SnapshotStaging.abandon`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._waiting_batches = []
        self._engine.remove_table_unless_read(self.name)

    @contextmanager
    def _abandon_on_error(self) -> Iterator[None]:
        """Abandon the staging if the block fails."""
        try:
            with self._translate_errors():
                yield
        except BaseException:
            try:
                self.abandon()
            except StorageError:
                self._is_closed = True  # the server is away: a later sweep removes the table
            raise

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except error_translation.list_driver_error_classes() as error:
            raise error_translation.translate_postgres_error(error, server_name=self._engine.server_name) from error

    # --- steps

    def _copy_waiting_rows(self) -> None:
        """Copy the waiting batches into the table, ordered."""
        if not self._waiting_batches:
            return
        rows = pa.Table.from_batches(self._waiting_batches, schema=self._schema)
        self._waiting_batches = []
        self._waiting_bytes = 0
        self._collector.add_rows(rows)
        check_nul_characters(rows, self.table)
        keys = None
        if self.table.position is not None:
            rows, keys = self._sort_by_position(rows)
            self._collect_coverage_cells(keys)
            rows = rows.append_column(CELL_COLUMN, pa.array(keys, mask=keys == MISSING_KEY))
        for name in self._region_column_names:
            cell_lists = regions.build_region_cell_lists(rows.column(name).combine_chunks())
            rows = rows.append_column(regions.name_cell_column(name), cell_lists)
        if self._partitions is not None:
            with self._engine.write_pool.borrow_connection() as connection:
                for statement in self._partitions.write_needed_partition_statements(rows, keys):
                    connection.execute(statement)
        with self._engine.bulk_write_pool.borrow_connection() as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(
                self._target_table,
                to_copy_types(rows).to_reader(65_536),
                mode="append",
                db_schema_name=self._engine.schema,
            )
        self._run_count += 1

    def _sort_by_position(self, rows: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
        """Sort rows by the HEALPix cells of their positions; return the sorted cells, too."""
        if self.table.position is None:
            raise TypeError(f"{self.table.qualified_name} has no position")
        lon, lat = self.table.position
        unordered_keys = compute_position_keys(rows.column(lon), rows.column(lat))
        order = compute_stable_order(unordered_keys)
        return rows.take(pa.array(order)), unordered_keys[order]

    def _collect_coverage_cells(self, sorted_keys: npt.NDArray[np.int64]) -> None:
        """Collect the cells of the coverage in which there are rows."""
        valid_keys = sorted_keys[: np.searchsorted(sorted_keys, MISSING_KEY)]
        self._cell_arrays.append(np.unique(valid_keys >> 2 * (29 - COVERAGE_ORDER)))

    def _cluster_rows(self, connection: Any) -> None:
        """Rewrite the table in HEALPix order; it has one ordered run after the other."""
        if self._partitions is not None:
            self._partitions.cluster_partitions(connection)
            return
        ordered_table = f"{quote_identifier(self._engine.schema)}.{quote_identifier('o' + self._target_table[1:])}"
        with connection.transaction():
            connection.execute("SELECT set_config('work_mem', $1, true)", [SORT_MEMORY_SETTING])
            connection.execute(
                f"CREATE TABLE {ordered_table} (LIKE {self._quoted_target} INCLUDING ALL) WITH "
                f"(autovacuum_enabled = off)"
            )
            connection.execute(
                f"INSERT INTO {ordered_table} SELECT * FROM {self._quoted_target} ORDER BY "
                f"{quote_identifier(CELL_COLUMN)} NULLS LAST"
            )
            connection.execute(f"DROP TABLE {self._quoted_target}")
            connection.execute(f"ALTER TABLE {ordered_table} RENAME TO {quote_identifier(self._target_table)}")
            connection.execute(
                f"COMMENT ON TABLE {self._quoted_target} IS {quote_literal(write_table_comment(self.table))}"
            )

    def _build_indexes(self, connection: Any) -> None:
        """Build the indexes, on a second connection as well if one is free.

        The unique index of the primary key proves that it is one.
        """
        # The slow indexes (GiST and GIN) come first.
        index_texts = sorted(self._write_index_sql(), key=lambda text: not text.startswith("USING"))
        pending_indexes = deque(index_texts)

        def build_pending(connection: Any) -> None:
            while pending_indexes:
                connection.execute(f"CREATE INDEX ON {self._quoted_target} {pending_indexes.popleft()}")

        with self._run_in_background_if_possible(build_pending):
            self._set_connection_options(connection)
            try:
                if self.table.primary:
                    self._index_primary_key(connection)
                build_pending(connection)
            except BaseException:
                pending_indexes.clear()
                raise

    def _write_index_sql(self) -> list[str]:
        """Write the parts after ``CREATE INDEX ON table``, without the primary key."""
        return write_table_index_sql(self.table, self._engine.database_features.position_method)

    def _set_connection_options(self, connection: Any) -> None:
        """Let a connection see the functions of extensions, and sort in memory."""
        connection.execute(
            "SELECT set_config('search_path', $1, false), set_config('maintenance_work_mem', $2, false)",
            [self._engine.database_features.search_path, SORT_MEMORY_SETTING],
        )

    @contextmanager
    def _run_in_background_if_possible(self, work: Callable[[Any], None]) -> Iterator[None]:
        """Run `work` in a thread with another connection, beside the block, unless no connection is free.

        Its errors are raised at the end of the block.
        """
        try:
            other_connection = self._engine.write_pool.take_connection(0.0)
        except OverloadedError:
            yield
            return
        errors: list[BaseException] = []

        def run_work() -> None:
            try:
                self._set_connection_options(other_connection)
                work(other_connection)
            except BaseException as error:  # noqa: BLE001  (it is raised below)
                errors.append(error)

        thread = threading.Thread(target=run_work, name="hven indexes", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            while thread.is_alive():  # the server ignores a cancellation between two statements
                with suppress(*error_translation.list_driver_error_classes()):
                    other_connection.cancel()
                thread.join(0.1)
            raise
        finally:
            thread.join()
            self._engine.write_pool.return_connection(other_connection, is_used_up=bool(errors))
        if errors:
            raise errors[0]

    def _index_primary_key(self, connection: Any, *other_columns: str) -> None:
        """Index the primary key, and check that it is unique; the index has `other_columns` of Hven, too."""
        key_names = list(self.table.primary)
        self._check_key_nulls()
        column_list = ", ".join(map(quote_identifier, (*key_names, *other_columns)))
        # PostgreSQL has no unique index over partitions without their column.
        if self._partitions is not None and self._partitions.partition_column not in key_names:
            connection.execute(f"CREATE INDEX ON {self._quoted_target} ({column_list})")
            self._check_key_unique(connection)
            return
        try:
            connection.execute(f"CREATE UNIQUE INDEX ON {self._quoted_target} ({column_list})")
        except error_translation.list_driver_error_classes() as error:
            if error_translation.get_sqlstate(error) != "23505":
                raise
            self._check_key_unique(connection)
            raise

    def _check_key_nulls(self) -> None:
        """Check that no column of the primary key has nulls."""
        statistics = self._collector.build_statistics()
        null_count = sum(int(str(statistics.get(name, {}).get("nulls", 0))) for name in self.table.primary)
        if self._row_count:
            check_key_nulls(self.table, null_count)

    def _check_key_unique(self, connection: Any) -> None:
        """Check that no two rows have the same primary key."""
        key_list = ", ".join(map(quote_identifier, self.table.primary))
        groups_sql = (
            f'SELECT {key_list}, count(*) AS "hven:times" FROM {self._quoted_target} '
            f"GROUP BY {key_list} HAVING count(*) > 1"
        )
        count_sql = f'SELECT count(*), CAST(sum("hven:times") AS bigint) FROM ({groups_sql}) AS g'
        key_count, row_count = connection.execute(count_sql).fetchone()
        if not key_count:
            return
        first_keys = connection.execute(f"{groups_sql} ORDER BY {key_list} LIMIT {MAX_REPORTED_KEYS}").fetchall()
        raise build_duplicate_key_error(self.table, key_count, row_count, first_keys)

    def _compute_coverage(self) -> str | None:
        if self.table.position is None:
            return None
        if self._cell_arrays:
            cells = np.unique(np.concatenate(self._cell_arrays))
        else:
            cells = np.empty(0, np.int64)
        return compute_coverage_moc(cells << 2 * (29 - COVERAGE_ORDER))


def write_column_definitions(table: Table) -> str:
    """Write the columns of a stored table; texts are compared byte by byte, as everywhere in Hven."""
    definitions = []
    for column in table.columns:
        storage_type = get_storage_type(column.type)
        collation = ""
        if storage_type in {"text", "text[]"}:
            collation = ' COLLATE "C"'
        definitions.append(f"{quote_identifier(column.name)} {storage_type}{collation}")
    if table.position is not None:
        definitions.append(f"{quote_identifier(CELL_COLUMN)} bigint")
    cell_columns = [regions.name_cell_column(name) for name in list_indexed_region_columns(table)]
    definitions += [f"{quote_identifier(cell_column)} bigint[]" for cell_column in cell_columns]
    return ", ".join(definitions)


def write_table_index_sql(table: Table, position_method: str) -> list[str]:
    """Write the parts after ``CREATE INDEX ON table``: for searched columns, positions and regions."""
    index_texts = [f"({', '.join(map(quote_identifier, names))})" for names in _list_indexed_columns(table)]
    if table.position is not None:
        lon, lat = (quote_identifier(name) for name in table.position)
        index_texts += [f"({quote_identifier(CELL_COLUMN)})", f"({lat})"]
        if position_method == PGSPHERE:
            index_texts.append(f"USING gist (spoint(radians({lon}), radians({lat})))")
        elif position_method == Q3C:
            index_texts.append(f"(q3c_ang2ipix({lon}, {lat}))")
    for name in list_indexed_region_columns(table):
        cell_column = quote_identifier(regions.name_cell_column(name))
        index_texts.append(f"USING gin ({cell_column}) WITH (fastupdate = off)")
    return list(dict.fromkeys(index_texts))


def _list_indexed_columns(table: Table) -> list[tuple[str, ...]]:
    """Return the columns of each index except the primary key's, without those that another index serves."""
    candidates: list[tuple[str, ...]] = [(column.name,) for column in table.columns if column.indexed or column.unique]
    candidates += [(name,) for name in table.primary[1:]]
    candidates += table.indexes
    if table.partition is not None and table.partition.column is not None:
        candidates.append((table.partition.column,))
    # An index of several columns serves its first column, too.
    leading_columns = {(*names[:1],) for names in table.indexes if len(names) > 1}
    indexed_columns = []
    for names in dict.fromkeys(candidates):
        if names == table.primary or names in leading_columns:
            continue
        if all(_is_orderable_type(table.find_column(name).type) for name in names):
            indexed_columns.append(names)
    return indexed_columns


def _is_orderable_type(column_type: ColumnType) -> bool:
    return column_type.is_string or column_type.is_timestamp or column_type.is_numeric


def to_copy_types(rows: pa.Table) -> pa.Table:
    """Convert rows to types that COPY takes.

    PostgreSQL has no unsigned bytes, and lists of pairs (complex numbers) become flat lists.
    """
    fields = []
    for column_number, field in enumerate(rows.schema):
        arrow_type = field.type
        copy_type = _find_copy_type(arrow_type)
        if is_complex_list(arrow_type):
            chunks = [flatten_complex_lists(chunk) for chunk in rows.column(column_number).chunks]
            rows = rows.set_column(column_number, field.name, pa.chunked_array(chunks, copy_type))
        fields.append(pa.field(field.name, copy_type))
    return rows.cast(pa.schema(fields))


def _find_copy_type(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type that COPY takes for an Arrow type."""
    if is_complex_list(arrow_type):
        return pa.list_(arrow_type.value_type.value_type)
    if pa.types.is_uint8(arrow_type):
        return pa.int16()
    is_fixed_size = pa.types.is_fixed_size_list(arrow_type)
    if (pa.types.is_list(arrow_type) or is_fixed_size) and pa.types.is_uint8(arrow_type.value_type):
        return pa.list_(pa.int16())
    if is_fixed_size:
        return pa.list_(arrow_type.value_type)
    return arrow_type


def is_complex_list(arrow_type: pa.DataType) -> bool:
    """Return whether a type is a list of complex numbers."""
    return bool(pa.types.is_list(arrow_type) and pa.types.is_fixed_size_list(arrow_type.value_type))


def flatten_complex_lists(column: pa.ListArray) -> pa.ListArray:
    """Flatten lists of complex numbers to lists of their parts."""
    size = column.type.value_type.list_size
    parts = column.flatten().flatten()
    counts = pc.fill_null(pc.multiply(pc.list_value_length(column), size), 0).to_numpy(zero_copy_only=False)
    return _build_list_array(counts, parts, column)


def fold_complex_lists(column: pa.ListArray, arrow_type: pa.DataType) -> pa.ListArray:
    """Fold lists of parts into lists of complex numbers."""
    size = arrow_type.value_type.list_size
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False) // size
    return _build_list_array(
        counts, pa.FixedSizeListArray.from_arrays(column.flatten(), type=arrow_type.value_type), column
    )


def _build_list_array(counts: np.ndarray[Any, Any], values: pa.Array, template: pa.ListArray) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=template.is_null())


def check_nul_characters(rows: pa.Table, table: Table) -> None:
    """Refuse texts with the character NUL, which PostgreSQL cannot store."""
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if pa.types.is_string(field.type) and pc.any(pc.match_substring(column, "\0")).as_py():
            message = (
                f"{table.qualified_name}: a string in {field.name} contains a NUL character, which PostgreSQL cannot "
                "store"
            )
            raise DataError(
                message,
                remedy="use an expression to remove the character, or keep the collection in the embedded engine",
            )
