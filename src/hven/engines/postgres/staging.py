"""Writing a snapshot: Arrow batches by binary COPY into a new table, in HEALPix order; then indexes and statistics.

A table that fits into memory (`MAX_WAITING_BYTES`) is ordered here and copied once. A larger one is copied as it comes,
every run ordered in itself, and ordered by the server when it is complete. Nobody reads the table before its `Snapshot`
is published, so nothing is locked.
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
from hven.engines._region_cells import list_region_columns
from hven.engines._row_preparation import (
    MAX_REPORTED_KEYS,
    MISSING_KEY,
    build_duplicate_key_error,
    cast_batch_to_schema,
    check_key_nulls,
    compute_position_keys,
    compute_stable_order,
)
from hven.engines._statistics import StatisticsCollector, compute_coverage_moc
from hven.engines.postgres import error_translation, partitions, regions
from hven.engines.postgres.dialect import get_storage_type
from hven.engines.postgres.position_search import CELL_COLUMN, PGSPHERE, Q3C
from hven.engines.postgres.schema_installation import quote_identifier, quote_literal
from hven.engines.postgres.table_records import write_table_comment
from hven.model.errors import DataError, OverloadedError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hven.engines.postgres.engine_protocol import PostgresEngineProtocol
    from hven.model.table import Table

MAX_WAITING_BYTES = 512 * 1024**2
SORT_MEMORY_SETTING = "256MB"  # that the server may use to sort a table or the keys of an index
COVERAGE_ORDER = 8  # order of the cells that are remembered for the coverage


class TableStaging:
    """A snapshot that is being written (`hven.engines.SnapshotStaging`)."""

    def __init__(self, engine: PostgresEngineProtocol, table: Table, snapshot_id: str, name: str) -> None:
        self.table = table
        self.name = name
        self._engine = engine
        self._snapshot_id = snapshot_id
        self._schema = table.arrow_schema
        self._target_table = name  # the table that takes the rows
        self._quoted_target = f"{quote_identifier(engine.schema)}.{quote_identifier(name)}"
        self._collector = StatisticsCollector(table)
        self._cell_arrays: list[Any] = []
        self._waiting_batches: list[pa.RecordBatch] = []
        self._waiting_bytes = self._row_count = self._run_count = 0
        self._is_closed = False
        self._partitions = partitions.create_partitions(table, engine.schema, name)
        self._region_column_names = list_region_columns(table)
        with (
            self._engine.write_pool.borrow_connection() as connection,
            self._translate_errors(),
            connection.transaction(),
        ):
            for text in self._write_create_statements():
                connection.execute(text)

    def _write_create_statements(self, extra_columns_sql: str = "") -> Iterator[str]:
        """Write the statements that make the table; `extra_columns_sql` are columns of ours."""
        if self._partitions is None:
            table_options = "WITH (autovacuum_enabled = off)"
        else:
            table_options = self._partitions.write_partition_clause()
        yield (
            f"CREATE TABLE {self._quoted_target} ({write_column_definitions(self.table)}{extra_columns_sql}) "
            f"{table_options}"
        )
        if self._partitions is not None:
            yield self._partitions.write_default_partition()
        yield f"COMMENT ON TABLE {self._quoted_target} IS {quote_literal(write_table_comment(self.table))}"

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; columns are found by name and must have the types of the table."""
        if self._is_closed:
            raise StorageError("this staging is finished or abandoned")
        batch = cast_batch_to_schema(batch, self._schema)
        if not batch.num_rows:
            return
        self._row_count += batch.num_rows
        self._waiting_batches.append(batch)
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            with self._abandon_on_error():
                self._copy_waiting()

    def finish(self) -> Snapshot:
        """Order, index, make durable; see `hven.engines.SnapshotStaging.finish`."""
        if self._is_closed:
            raise StorageError("this staging is finished or abandoned")
        with self._abandon_on_error():
            self._copy_waiting()
            with self._engine.write_pool.borrow_connection() as connection:
                if self._run_count > 1 and self.table.position is not None:
                    self._cluster_rows(connection)
                self._complete_snapshot(connection)
                size = self._measure_size(connection)
            return self._build_snapshot(size, self._compute_coverage())

    def _complete_snapshot(self, connection: Any) -> None:
        """Make a snapshot of the table when all rows are in it."""
        self._build_indexes(connection)
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {self._quoted_target}")
        for text in self._write_grants(self.name):
            connection.execute(text)

    def _write_grants(self, relation_name: str) -> list[str]:
        """Write the statements that let readers read a table or view."""
        return [
            (
                f"GRANT SELECT ON {quote_identifier(self._engine.schema)}.{quote_identifier(relation_name)} TO "
                f"{quote_identifier(reader)}"
            )
            for reader in self._engine.reader_roles
        ]

    def _measure_size(self, connection: Any) -> int:
        """Return the size of the table with its indexes and partitions."""
        return int(
            connection.execute(
                "SELECT pg_total_relation_size($1::regclass) + (SELECT coalesce(CAST(sum(pg_total_relation_size(inhrelid)) AS bigint), 0) "
                "FROM pg_inherits WHERE inhparent = $1::regclass)",
                [self._quoted_target],
            ).fetchone()[0]
        )

    def _build_snapshot(self, size_bytes: int, coverage: str | None) -> Snapshot:
        """Describe the snapshot that was made."""
        self._is_closed = True
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
        self._engine.remove_table(self.name)

    @contextmanager
    def _abandon_on_error(self) -> Iterator[None]:
        """Abandon the staging when something goes wrong."""
        try:
            with self._translate_errors():
                yield
        except BaseException:
            try:
                self.abandon()
            except StorageError:
                self._is_closed = True  # the server is away: `sweep` removes the table
            raise

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except error_translation.list_driver_errors() as error:
            raise error_translation.translate_error(error, server_name=self._engine.server_name) from error

    # --- pieces

    def _copy_waiting(self) -> None:
        """Send what waits, ordered."""
        if not self._waiting_batches:
            return
        rows = pa.Table.from_batches(self._waiting_batches, schema=self._schema)
        self._waiting_batches = []
        self._waiting_bytes = 0
        self._collector.add_rows(rows)
        check_nul_characters(rows, self.table)
        keys = None
        if self.table.position is not None:
            lon, lat = self.table.position
            keys = compute_position_keys(rows.column(lon), rows.column(lat))
            order = compute_stable_order(keys)
            rows = rows.take(pa.array(order))
            keys = keys[order]
            valid_keys = keys[: np.searchsorted(keys, MISSING_KEY)]
            self._cell_arrays.append(np.unique(valid_keys >> 2 * (29 - COVERAGE_ORDER)))
            rows = rows.append_column(CELL_COLUMN, pa.array(keys, mask=keys == MISSING_KEY))
        for name in self._region_column_names:
            rows = rows.append_column(
                regions.name_cell_column(name), regions.build_cell_lists(rows.column(name).combine_chunks())
            )
        if self._partitions is not None:
            with self._engine.write_pool.borrow_connection() as connection:
                for text in self._partitions.write_needed_partitions(rows, keys):
                    connection.execute(text)
        with self._engine.bulk_write_pool.borrow_connection() as connection, connection.cursor() as cursor:
            cursor.adbc_ingest(
                self._target_table,
                to_copy_types(rows).to_reader(65_536),
                mode="append",
                db_schema_name=self._engine.schema,
            )
        self._run_count += 1

    def _cluster_rows(self, connection: Any) -> None:
        """Write the table anew in HEALPix order: the runs lie one after the other."""
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
        """Build the indexes, on two connections if another one is free.

        That of the primary key proves that it is one.
        """
        pending_indexes = deque(
            sorted(self._list_indexes(), key=lambda text: not text.startswith("USING"))
        )  # the slow ones first

        def build_pending(connection: Any) -> None:
            while pending_indexes:
                connection.execute(f"CREATE INDEX ON {self._quoted_target} {pending_indexes.popleft()}")

        with self._run_in_background(build_pending):
            self._set_connection_options(connection)
            try:
                if self.table.primary:
                    self._index_primary_key(connection)
                build_pending(connection)
            except BaseException:
                pending_indexes.clear()
                raise

    def _list_indexes(self) -> list[str]:
        """Write what follows ``CREATE INDEX ON table``, but for the primary key."""
        return write_table_indexes(self.table, self._engine.database_features.position_method)

    def _set_connection_options(self, connection: Any) -> None:
        """Set a connection to see the extensions' functions, and to sort in memory."""
        connection.execute(
            "SELECT set_config('search_path', $1, false), set_config('maintenance_work_mem', $2, false)",
            [self._engine.database_features.search_path, SORT_MEMORY_SETTING],
        )

    @contextmanager
    def _run_in_background(self, work: Callable[[Any], None]) -> Iterator[None]:
        """Run something in another thread with another connection, unless none is free; its errors come at the end."""
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
            except BaseException as error:  # noqa: BLE001  (it is told below)
                errors.append(error)

        thread = threading.Thread(target=run_work, name="hven indexes", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            while thread.is_alive():  # a cancellation that comes between two statements is lost
                with suppress(*error_translation.list_driver_errors()):
                    other_connection.cancel()
                thread.join(0.1)
            raise
        finally:
            thread.join()
            self._engine.write_pool.return_connection(other_connection, is_used_up=bool(errors))
        if errors:
            raise errors[0]

    def _index_primary_key(self, connection: Any, *other_columns: str) -> None:
        """Index the primary key, and check that it is one; `other_columns` are columns of ours in the index."""
        key_names = list(self.table.primary)
        self._check_key_nulls()
        column_list = ", ".join(map(quote_identifier, (*key_names, *other_columns)))
        # one index over all partitions can then prove nothing
        if self._partitions is not None and self._partitions.partition_column not in key_names:
            connection.execute(f"CREATE INDEX ON {self._quoted_target} ({column_list})")
            self._check_key_unique(connection)
            return
        try:
            connection.execute(f"CREATE UNIQUE INDEX ON {self._quoted_target} ({column_list})")
        except error_translation.list_driver_errors() as error:
            if error_translation.get_sqlstate(error) != "23505":
                raise
            self._check_key_unique(connection)
            raise

    def _check_key_nulls(self) -> None:
        """Check that the primary key is null nowhere."""
        names = list(self.table.primary)
        nulls = sum(int(str(self._collector.build_statistics().get(name, {}).get("nulls", 0))) for name in names)
        if self._row_count:
            check_key_nulls(self.table, nulls)

    def _check_key_unique(self, connection: Any) -> None:
        """Check that no two rows have one primary key."""
        quoted = ", ".join(map(quote_identifier, self.table.primary))
        groups = (
            f'SELECT {quoted}, count(*) AS "hven:times" FROM {self._quoted_target} GROUP BY {quoted} HAVING '
            f"count(*) > 1"
        )
        keys, rows = connection.execute(
            f'SELECT count(*), CAST(sum("hven:times") AS bigint) FROM ({groups}) AS g'
        ).fetchone()
        if not keys:
            return
        first_keys = connection.execute(f"{groups} ORDER BY {quoted} LIMIT {MAX_REPORTED_KEYS}").fetchall()
        raise build_duplicate_key_error(self.table, keys, rows, first_keys)

    def _compute_coverage(self) -> str | None:
        if self.table.position is None:
            return None
        if self._cell_arrays:
            cells = np.unique(np.concatenate(self._cell_arrays))
        else:
            cells = np.empty(0, np.int64)
        return compute_coverage_moc(cells << 2 * (29 - COVERAGE_ORDER))


def write_column_definitions(table: Table) -> str:
    """Write the columns of a table's storage; texts are compared byte by byte, as everywhere in Hven."""
    definitions = []
    for column in table.columns:
        storage_type = get_storage_type(column.type)
        definitions.append(
            f"{quote_identifier(column.name)} {storage_type}"
            + (' COLLATE "C"' if storage_type in {"text", "text[]"} else "")
        )
    if table.position is not None:
        definitions.append(f"{quote_identifier(CELL_COLUMN)} bigint")
    definitions += [
        f"{quote_identifier(regions.name_cell_column(name))} bigint[]" for name in list_region_columns(table)
    ]
    return ", ".join(definitions)


def write_table_indexes(table: Table, position_method: str) -> list[str]:
    """Write what follows ``CREATE INDEX ON table``.

    Columns that are searched, and the position in the way that the database has.
    """
    index_columns: list[tuple[str, ...]] = [
        (column.name,) for column in table.columns if column.indexed or column.unique
    ]
    index_columns += [(name,) for name in table.primary[1:]]
    index_columns += table.indexes
    if table.partition is not None and table.partition.column is not None:
        index_columns.append((table.partition.column,))
    # one of several columns serves its first one, too
    leading_columns = {(*index[:1],) for index in table.indexes if len(index) > 1}
    index_texts = []
    for names in dict.fromkeys(index_columns):
        if names == table.primary or names in leading_columns:
            continue
        column_types = [table.find_column(name).type for name in names]
        if all(
            column_type.is_string or column_type.is_timestamp or column_type.is_numeric for column_type in column_types
        ):
            index_texts.append(f"({', '.join(map(quote_identifier, names))})")
    if table.position is not None:
        lon, lat = (quote_identifier(name) for name in table.position)
        index_texts += [f"({quote_identifier(CELL_COLUMN)})", f"({lat})"]
        if position_method == PGSPHERE:
            index_texts.append(f"USING gist (spoint(radians({lon}), radians({lat})))")
        elif position_method == Q3C:
            index_texts.append(f"(q3c_ang2ipix({lon}, {lat}))")
    index_texts += [
        f"USING gin ({quote_identifier(regions.name_cell_column(name))}) WITH (fastupdate = off)"
        for name in list_region_columns(table)
    ]
    return list(dict.fromkeys(index_texts))


def to_copy_types(rows: pa.Table) -> pa.Table:
    """Convert rows to the types that COPY has.

    PostgreSQL knows no unsigned bytes, and lists of pairs (complex numbers) become plain lists.
    """
    fields = []
    for column_number, field in enumerate(rows.schema):
        arrow_type = field.type
        if is_complex_list(arrow_type):
            arrow_type = pa.list_(arrow_type.value_type.value_type)
            rows = rows.set_column(
                column_number,
                field.name,
                pa.chunked_array(
                    [flatten_complex_lists(chunk) for chunk in rows.column(column_number).chunks], arrow_type
                ),
            )
        elif pa.types.is_uint8(arrow_type):
            arrow_type = pa.int16()
        elif (pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type)) and pa.types.is_uint8(
            arrow_type.value_type
        ):
            arrow_type = pa.list_(pa.int16())
        elif pa.types.is_fixed_size_list(arrow_type):
            arrow_type = pa.list_(arrow_type.value_type)
        fields.append(pa.field(field.name, arrow_type))
    return rows.cast(pa.schema(fields))


def is_complex_list(arrow_type: pa.DataType) -> bool:
    """Return whether a type is a list of complex numbers."""
    return bool(pa.types.is_list(arrow_type) and pa.types.is_fixed_size_list(arrow_type.value_type))


def flatten_complex_lists(column: pa.ListArray) -> pa.ListArray:
    """Flatten lists of complex numbers to lists of their parts."""
    size = column.type.value_type.list_size
    parts = column.flatten().flatten()
    counts = pc.fill_null(pc.multiply(pc.list_value_length(column), size), 0).to_numpy(zero_copy_only=False)
    return _build_lists(counts, parts, column)


def fold_complex_lists(column: pa.ListArray, arrow_type: pa.DataType) -> pa.ListArray:
    """Fold lists of parts into lists of complex numbers."""
    size = arrow_type.value_type.list_size
    counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False) // size
    return _build_lists(counts, pa.FixedSizeListArray.from_arrays(column.flatten(), type=arrow_type.value_type), column)


def _build_lists(counts: np.ndarray[Any, Any], values: pa.Array, template: pa.ListArray) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=template.is_null())


def check_nul_characters(rows: pa.Table, table: Table) -> None:
    """Refuse texts with a NUL, which PostgreSQL cannot keep."""
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if pa.types.is_string(field.type) and pc.any(pc.match_substring(column, "\0")).as_py():
            message = (
                f"{table.qualified_name}: a text in {field.name} has the character NUL, which PostgreSQL cannot keep"
            )
            raise DataError(message, remedy="remove it by an expression, or keep the collection in the embedded engine")
