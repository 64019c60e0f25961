"""Plans for the cluster: a query is written once for Spark, and the cluster runs it over Parquet files."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.adql.sql_writer import SqlWriter
from hven.adql.syntax_tree import Join
from hven.engines import DelegatingExecution, MemoryRelation, QueryExecution
from hven.engines.api.executions import TimedExecution
from hven.engines.api.rows import MISSING_KEY, compute_position_keys
from hven.model.errors import BindError, OperationCancelledError, StorageError
from hven.plugins.hats.clusters import UnsupportedByClusterError
from hven.plugins.spark import error_translation
from hven.plugins.spark.cell_matches import (
    CELL_COLUMN,
    PROBE_CELL_COLUMN,
    QUERY_NAME_MARK,
    SPREAD_CELL_COLUMN,
    SPREAD_SUFFIX,
    PositionMatchCondition,
    choose_cell_order,
    find_largest_radius,
    list_circle_cells,
)
from hven.plugins.spark.cluster import SparkCluster
from hven.plugins.spark.dialect import SparkDialect, write_spark_type
from hven.plugins.spark.spark_connect import iterate_answer_batches
from hven.plugins.spark.spark_functions import list_functions_in_sql
from hven.plugins.spark.spark_server import SERVER_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from hven.adql.syntax_tree import BoundQuery, ColumnRef, FromItem
    from hven.engines import ExecutionLimits, Relation
    from hven.model.table import Table
    from hven.plugins.spark.spark_connect import SparkAnswerStream, SparkConnectSession

    Values = Sequence[float | str | None]

MAX_SPARK_LIMIT = 2**31 - 2  # the largest row limit of Spark
MAX_SHOWN_FILES = 3  # file names in an explanation


class SparkSqlWriter(SqlWriter):
    """A writer of queries for Spark; it raises `UnsupportedByClusterError` for what Spark cannot compute."""

    def write_from_item(self, node: FromItem) -> str:
        """Write an item of FROM."""
        text = super().write_from_item(node)
        if not isinstance(node, Join) or node.on is None or node.kind.upper() in {"INNER", "CROSS"}:
            return text
        if list_functions_in_sql(self.write_expression(node.on)):
            raise UnsupportedByClusterError("a Hven function in the condition of an outer join")
        return text


@dataclass(frozen=True)
class SparkQuery:
    """A query in the SQL of Spark.

    Attributes
    ----------
    slots
        Slots of the literals, in the order of the parameters.
    view_names
        Qualified table name -> name of the view of its rows.
    cell_views
        Views whose cells are read.
    spread_matches, probe_matches
        View -> the match for which its rows are spread, or get the cells of another position.
    """

    sql: str
    slots: tuple[int, ...]
    view_names: Mapping[str, str]
    cell_views: frozenset[str]
    spread_matches: Mapping[str, PositionMatchCondition]
    probe_matches: Mapping[str, PositionMatchCondition]

    @classmethod
    def from_bound_query(cls, bound_query: BoundQuery, dialect: SparkDialect) -> SparkQuery:
        """Write a query."""
        dialect.max_text_bytes = bound_query.max_text_bytes
        writer = SparkSqlWriter(dialect, dialect.view_names, bound_query.free_slots)
        try:
            sql = writer.write_query(bound_query.query)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="reduce the nesting") from None
        spreads = {
            dialect.view_names[match.spread_table.table.qualified_name]: match
            for match in dialect.spread_matches.values()
            if match.spread_table.table is not None
        }
        return cls(
            sql,
            tuple(writer.parameter_slots),
            dialect.view_names,
            frozenset(dialect.cell_views),
            spreads,
            dialect.probe_matches,
        )


class SparkClusterPlan:
    """A plan of a query for the cluster, without literal values. Immutable, shared by threads.

    Attributes
    ----------
    schema
        Schema of the batches.

    Raises
    ------
    UnsupportedByClusterError
        Spark cannot compute the query, for the reason in the message.
    """

    def __init__(self, cluster: SparkCluster, bound_query: BoundQuery) -> None:
        self._cluster = cluster
        self._bound_query = bound_query
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound_query.columns])
        for field in self.schema:
            write_spark_type(field.type)
        self.spark_query = SparkQuery.from_bound_query(bound_query, SparkDialect(bound_query))

    def execute(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        files_by_table: Mapping[str, Sequence[str]],
        *,
        run_fallback: Callable[[str], QueryExecution] | None = None,
        hold_files: Callable[[], AbstractContextManager[object]] = nullcontext,
        leaf_paths: Mapping[str, Mapping[str, str]] | None = None,
    ) -> QueryExecution:
        """Run the query with these literals.

        Parameters
        ----------
        literal_values
            Values of the literals, by `Literal.slot`.
        relations
            `MemoryRelation` of each table that has no files.
        limits
            Limits on rows, time and batches.
        files_by_table
            Qualified table name -> paths of its Parquet files, as the cluster sees them.
        run_fallback
            Function of the reason that computes the query in another way if Spark itself refuses it.
        hold_files
            Context manager that keeps the files from being removed while the cluster may read them.
        leaf_paths
            Qualified table name -> column -> its path in the files, for columns that have another name there or stand
            in structs.

        Returns
        -------
        execution
            The query starts with the iteration. Without `run_fallback` the iteration may raise
            `UnsupportedByClusterError`, before the first batch.
        """
        build_relation = partial(
            self._build_spark_relation, literal_values, relations, files_by_table, leaf_paths or {}
        )
        cluster_execution = SparkClusterExecution(self._cluster, self.schema, build_relation, limits, hold_files)
        if run_fallback is None:
            return cluster_execution
        return SparkFallbackExecution(cluster_execution, run_fallback)

    def explain(self, files_by_table: Mapping[str, Sequence[str]]) -> str:
        """Describe the query that the cluster runs.

        Parameters
        ----------
        files_by_table
            Files of the tables, as for `execute`.
        """
        lines = []
        for name, paths in files_by_table.items():
            shown_names = [path.rpartition("/")[2] for path in paths[:MAX_SHOWN_FILES]]
            more = ""
            if len(paths) > MAX_SHOWN_FILES:
                more = ", .."
            lines.append(f"{name}: {len(paths):,} files ({', '.join(shown_names)}{more})")
        for name, view_name in self.spark_query.view_names.items():
            if view_name in self.spark_query.spread_matches:
                lines.append(f"{name}: matched by HEALPix cells")
        lines.append(f"{SERVER_NAME}: {self.spark_query.sql.replace(QUERY_NAME_MARK, '')}")
        return "\n".join(lines)

    def _build_spark_relation(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        files_by_table: Mapping[str, Sequence[str]],
        leaf_paths: Mapping[str, Mapping[str, str]],
        session: SparkConnectSession,
    ) -> Any:
        """Build the relation that a session computes."""
        spark_query = self.spark_query
        session.define_functions(list_functions_in_sql(spark_query.sql))
        arguments: dict[str, object] = {
            f"p{number}": literal_values[slot] for number, slot in enumerate(spark_query.slots, 1)
        }
        views: dict[str, Any] = {}
        for table in self._bound_query.tables:
            qualified_name = table.qualified_name
            view_name = spark_query.view_names[qualified_name]
            match = spark_query.spread_matches.get(view_name)
            if qualified_name in files_by_table:
                paths = files_by_table[qualified_name]
                views[view_name] = self._build_stored_rows_relation(
                    session, table, paths, leaf_paths.get(qualified_name, {})
                )
                if match is None:
                    continue
                radius = match.compute_common_radius(literal_values)
                spread_view = _assign_stored_rows_to_cells(session, views[view_name], match, radius)
            else:
                rows = _build_memory_rows(
                    table,
                    relations,
                    needs_cells=view_name in spark_query.cell_views,
                    probe_match=spark_query.probe_matches.get(view_name),
                )
                views[view_name] = session.create_row_relation(rows)
                if match is None:
                    continue
                row_radii = match.compute_row_radii(literal_values, rows)
                radius = find_largest_radius(row_radii)
                spread_view = session.create_row_relation(_assign_memory_rows_to_cells(rows, match, row_radii))
            views[view_name + SPREAD_SUFFIX] = spread_view
            arguments[f"m{match.spread_table.number}"] = choose_cell_order(radius)
        return session.create_sql_relation(spark_query.sql, arguments, views)

    def _build_stored_rows_relation(
        self, session: SparkConnectSession, table: Table, paths: Sequence[str], leaf_paths: Mapping[str, str]
    ) -> Any:
        """Build the relation of the rows of files, with the cells that the query reads."""
        view_name = self.spark_query.view_names[table.qualified_name]
        column_types = {}
        if view_name in self.spark_query.cell_views:
            if not _has_cell_column(paths):
                raise UnsupportedByClusterError(
                    f"a match or a cell of the positions of {table.qualified_name} (the table has no column "
                    f"{CELL_COLUMN})"
                )
            column_types[CELL_COLUMN] = "BIGINT"
        column_types |= {column.name: write_spark_type(column.type.arrow) for column in table.columns}
        stored_relation = _create_relation_of_leaf_columns(session, column_types, paths, leaf_paths)
        probe_match = self.spark_query.probe_matches.get(view_name)
        if probe_match is None:
            return stored_relation
        lon, lat = _write_coordinate_sql(probe_match.probe_columns)
        session.define_functions(["hven_healpix"])
        source_name = f"s{QUERY_NAME_MARK}"
        sql = f"SELECT s.*, hven_healpix(29, {lon}, {lat}) AS `{PROBE_CELL_COLUMN}` FROM {source_name} AS s"
        return session.create_sql_relation(sql, {}, {source_name: stored_relation})


def _create_relation_of_leaf_columns(
    session: SparkConnectSession, column_types: Mapping[str, str], paths: Sequence[str], leaf_paths: Mapping[str, str]
) -> Any:
    """Create a relation of the rows of files; some columns may have another name there, or stand in structs."""
    if not leaf_paths:
        return session.create_file_relation(column_types, paths)
    file_types: dict[str, str] = {}
    struct_fields: dict[str, list[str]] = {}
    select_items = []
    for name, spark_type in column_types.items():
        top, is_in_struct, field = leaf_paths.get(name, name).partition(".")
        source = f"s.{_quote_identifier(top)}"
        if is_in_struct:
            struct_fields.setdefault(top, []).append(f"{_quote_identifier(field)}: {spark_type}")
            source += f".{_quote_identifier(field)}"
        else:
            file_types[top] = spark_type
        select_items.append(f"{source} AS {_quote_identifier(name)}")
    for top, fields in struct_fields.items():
        file_types[top] = f"STRUCT<{', '.join(fields)}>"
    file_relation = session.create_file_relation(file_types, paths)
    return session.create_sql_relation(f"SELECT {', '.join(select_items)} FROM s", {}, {"s": file_relation})


def _quote_identifier(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _has_cell_column(paths: Sequence[str]) -> bool:
    """Check whether the files of a catalogue have a column of cells.

    Files of foreign catalogues need not have it, and Spark would read nulls then.
    """
    return not paths or CELL_COLUMN in pq.read_schema(paths[0]).names


def _assign_stored_rows_to_cells(
    session: SparkConnectSession, stored_relation: Any, match: PositionMatchCondition, radius: float
) -> Any:
    """Spread stored rows over cells, on the workers."""
    lon, lat = _write_coordinate_sql(match.centre_columns)
    session.define_functions(["hven_cells"])
    text = (
        f"SELECT s.*, explode(hven_cells(CAST(:k AS INT), {lon}, {lat}, CAST(:r AS DOUBLE))) AS "
        f"`{SPREAD_CELL_COLUMN}` FROM s{QUERY_NAME_MARK} AS s"
    )
    return session.create_sql_relation(
        text, {"k": choose_cell_order(radius), "r": radius}, {f"s{QUERY_NAME_MARK}": stored_relation}
    )


def _assign_memory_rows_to_cells(rows: pa.Table, match: PositionMatchCondition, radii: Any) -> pa.Table:
    """Spread rows in memory over cells."""
    lon, lat = (
        _to_double_array(rows.column(item.column.name)) for item in match.centre_columns if item.column is not None
    )
    cell_order = choose_cell_order(find_largest_radius(radii))
    cell_lists = list_circle_cells(cell_order, lon, lat, radii)
    repeated_rows = rows.take(pc.list_parent_indices(cell_lists))
    return repeated_rows.append_column(SPREAD_CELL_COLUMN, pc.list_flatten(cell_lists))


def _write_coordinate_sql(position_columns: tuple[ColumnRef, ColumnRef]) -> list[str]:
    """Write the coordinates of a position of a view ``s``."""
    names = [item.column.name.replace("`", "``") for item in position_columns if item.column is not None]
    return [f"CAST(s.`{name}` AS DOUBLE)" for name in names]


def _build_memory_rows(
    table: Table, relations: Mapping[str, Relation], *, needs_cells: bool, probe_match: PositionMatchCondition | None
) -> pa.Table:
    """Return rows in memory with the types of Spark, and with the cells that the query reads."""
    relation = relations.get(table.qualified_name)
    if not isinstance(relation, MemoryRelation):
        message = f"the caller gave no relation for the rows of {table.qualified_name}"
        raise StorageError(message)
    selected_rows = relation.rows.select([column.name for column in table.columns])
    cell_positions = {
        CELL_COLUMN: table.position if needs_cells else None,
        PROBE_CELL_COLUMN: None if probe_match is None else probe_match.probe_column_names,
    }
    for cell_column, position in cell_positions.items():
        if position is not None:
            keys = compute_position_keys(*(relation.rows.column(name) for name in position))
            selected_rows = selected_rows.append_column(cell_column, pa.array(keys, mask=keys == MISSING_KEY))
    columns = [_to_spark_types(column) for column in selected_rows.columns]
    if columns:
        return pa.table(dict(zip(selected_rows.schema.names, columns, strict=True)))
    return relation.rows.select([])


def _to_spark_types(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert types that Spark does not have: unsigned bytes, lists of fixed length, texts with 64-bit offsets."""
    spark_type = _find_spark_type(column.type)
    if column.type.equals(spark_type):
        return column
    return column.cast(spark_type)


def _find_spark_type(arrow_type: pa.DataType) -> pa.DataType:
    if pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return pa.list_(_find_spark_type(arrow_type.value_type))
    if pa.types.is_dictionary(arrow_type):
        return _find_spark_type(arrow_type.value_type)
    if arrow_type == pa.uint8():
        return pa.int16()
    if pa.types.is_large_string(arrow_type):
        return pa.string()
    return arrow_type


def _to_double_array(column: pa.ChunkedArray) -> Any:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


class SparkClusterExecution(TimedExecution):
    """A running query (`hven.engines.QueryExecution`), which starts with the iteration.

    Any thread can stop it then.
    """

    def __init__(
        self,
        cluster: SparkCluster,
        schema: pa.Schema,
        build_relation: Any,
        limits: ExecutionLimits,
        hold_files: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.schema = schema
        self._hold_files = hold_files
        self._cluster = cluster
        self._deadline_watcher = cluster.deadline_watcher
        self._build_relation = build_relation
        self._limits = limits
        self._lock = threading.Lock()
        self._stop_reason: str | None = None
        self._is_over = False
        self._running_answer: SparkAnswerStream | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._start_deadline()
        try:
            with (
                self._hold_files(),
                self._cluster.wait_for_turn(lambda: self._stop_reason is not None, self._limits.deadline),
            ):
                yield from self._run_with_retry()
        finally:
            self.close()

    def _run_with_retry(self) -> Generator[pa.RecordBatch]:
        """Run the query.

        Before the first batch it is tried once more if the server has restarted or was away for a moment.
        """
        has_yielded = False
        for is_retry in (False, True):
            self._check_running()
            session = self._cluster.get_session()
            try:
                for batch in self._fetch_batches(session):
                    self._check_running()
                    has_yielded = True
                    yield batch
            except session.transport_errors as error:
                is_lost = self._close_if_query_lost(session, error)
                if is_lost and not has_yielded and not is_retry:
                    continue
                translated = self._translate_error(error)
                if has_yielded and isinstance(translated, UnsupportedByClusterError):  # a fallback would repeat rows
                    raise error_translation.build_unexpected_spark_error(str(translated)) from error
                raise translated from error
            except pa.ArrowException as error:
                raise self._translate_error(error) from error
            return

    def _close_if_query_lost(self, session: SparkConnectSession, error: Exception) -> bool:
        """Return whether the server has lost the query, so that another attempt may succeed; forget a lost session."""
        if self._stop_reason is not None:
            return False
        is_away = error_translation.is_server_away(error)
        if is_away or error_translation.is_session_lost(error):
            self._cluster.close_lost_session(session, is_away=is_away)
            return True
        return error_translation.is_operation_lost(error)

    def _fetch_batches(self, session: SparkConnectSession) -> Iterator[pa.RecordBatch]:
        relation = self._build_relation(session)
        if self._limits.row_limit is not None and self._limits.row_limit < MAX_SPARK_LIMIT:
            relation = session.limit_relation(relation, self._limits.row_limit + 1)
        answer = session.execute_relation(relation, self._deadline_watcher)
        with self._lock:
            self._running_answer = answer
        try:
            self._check_running()
            step = self._limits.compute_batch_row_count(len(self.schema))
            for batch in iterate_answer_batches(answer):
                cast_rows = cast_answer_batch(batch, self.schema)
                for begin in range(0, cast_rows.num_rows, step):
                    yield cast_rows.slice(begin, step)
            if self._stop_reason is not None or self._is_over:
                self._check_running()
        finally:
            answer.abandon()

    # --- stopping

    def _check_running(self) -> None:
        if self._stop_reason is not None:
            raise self._translate_error(InterruptedError())
        if self._is_over:
            raise OperationCancelledError("the query was cancelled")
        if self._limits.deadline is not None:
            self._limits.deadline.check()

    def _translate_error(self, error: BaseException) -> Exception:
        timeout_seconds = None
        if self._limits.deadline is not None:
            timeout_seconds = self._limits.deadline.limit_seconds
        return error_translation.translate_spark_error(
            error,
            server_name=self._cluster.server_name,
            stop_reason=self._stop_reason,
            timeout_seconds=timeout_seconds,
        )

    @property
    def is_running(self) -> bool:
        """See `TimedExecution`."""
        return not self._is_over

    def stop(self, reason: str) -> None:
        """See `TimedExecution`."""
        with self._lock:
            if self._is_over or self._stop_reason is not None:
                return
            self._stop_reason = reason
        self._abandon_answer()
        self._cluster.notify_waiting_threads()

    def close(self) -> None:
        """Stop the query, and free everything; see `hven.engines.QueryExecution.close`."""
        self._is_over = True
        self._abandon_answer()

    def _abandon_answer(self) -> None:
        with self._lock:
            running = self._running_answer
        if running is not None:
            running.abandon()


class SparkFallbackExecution(DelegatingExecution):
    """A query of the cluster that is computed in another way if Spark refuses it.

    Spark refuses a query before the first row.
    """

    def __init__(self, cluster_execution: SparkClusterExecution, run_fallback: Callable[[str], QueryExecution]) -> None:
        super().__init__(cluster_execution.schema, cluster_execution)
        self._cluster_execution = cluster_execution
        self._run_fallback = run_fallback

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            try:
                yield from self._cluster_execution
            except UnsupportedByClusterError as reason:
                yield from self._adopt_execution(self._run_fallback(str(reason)))
        finally:
            self.close()


class HatsSparkCluster(SparkCluster):
    """A Spark cluster for the engine hats (`hven.plugins.hats.clusters.Cluster`)."""

    def plan_query(self, bound_query: BoundQuery) -> SparkClusterPlan:
        """Plan a query for the cluster; see `hven.plugins.hats.clusters.Cluster.plan_query`."""
        return SparkClusterPlan(self, bound_query)


def cast_answer_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Cast the columns of an answer to the names and types of a schema."""
    columns = [_cast_column(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast_column(column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    if column.type.equals(arrow_type):
        return column
    if pa.types.is_list(arrow_type):
        values = _cast_column(column.values, arrow_type.value_type)
        null_mask = None
        if column.null_count:
            null_mask = column.is_null()
        return pa.ListArray.from_arrays(column.offsets, values, type=arrow_type, mask=null_mask)
    if not pa.types.is_fixed_size_list(arrow_type):
        return column.cast(arrow_type)
    # Arrow casts no nulls to lists of fixed length, so they are filled with nulls of that length.
    size = arrow_type.list_size
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), size).to_numpy(zero_copy_only=False))
    if (lengths != size).any():
        raise pa.ArrowInvalid(f"a list of {int(lengths[lengths != size][0])} elements, but {size} are needed")
    values = _cast_column(column.flatten(), arrow_type.value_type)
    if not column.null_count:
        return pa.FixedSizeListArray.from_arrays(values, type=arrow_type)
    is_null = np.asarray(column.is_null())
    list_numbers = np.where(is_null, 0, np.cumsum(~is_null) - 1)
    value_numbers = np.repeat(list_numbers * size, size) + np.tile(np.arange(size), len(column))
    mask = np.repeat(is_null, size)
    padded_values = values.take(pa.array(value_numbers, mask=mask))
    return pa.FixedSizeListArray.from_arrays(padded_values, type=arrow_type, mask=pa.array(is_null))
