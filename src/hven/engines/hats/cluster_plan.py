"""The far road: a bound query, written once for Spark and run by the cluster over the Parquet files that it is given."""

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
from hven.engines import MemoryRelation, QueryExecution, RelayExecution
from hven.engines._query_deadlines import TimedExecution
from hven.engines._row_preparation import MISSING_KEY, compute_position_keys
from hven.engines.hats import error_translation
from hven.engines.hats.cell_matches import (
    CELL_COLUMN,
    PROBE_CELL_COLUMN,
    QUERY_NAME_MARK,
    SPREAD_CELL_COLUMN,
    SPREAD_SUFFIX,
    CellMatch,
    choose_cell_order,
    find_largest_radius,
    list_circle_cells,
)
from hven.engines.hats.dialect import SparkDialect, UnsupportedBySparkError, write_spark_type
from hven.engines.hats.servers import SERVER_NAME
from hven.engines.hats.spark_connect import iterate_batches
from hven.engines.hats.spark_functions import list_named_functions
from hven.model.errors import BindError, OperationCancelledError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from hven.adql.syntax_tree import BoundQuery, ColumnRef, FromItem
    from hven.engines import ExecutionLimits, Relation
    from hven.engines.hats.cluster import SparkCluster
    from hven.engines.hats.spark_connect import ClusterAnswer, SparkConnectSession
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MAX_SPARK_LIMIT = 2**31 - 2  # rows that a limit may say
MAX_SHOWN_FILES = 3  # files that are named


class SparkSqlWriter(SqlWriter):
    """Writes a query; what Spark does not compute is `UnsupportedBySparkError`."""

    def write_from_item(self, node: FromItem) -> str:
        """Write an item of FROM."""
        text = super().write_from_item(node)
        outer = isinstance(node, Join) and node.on is not None and node.kind.upper() not in {"INNER", "CROSS"}
        if (
            outer
            and isinstance(node, Join)
            and node.on is not None
            and list_named_functions(self.write_expression(node.on))
        ):
            raise UnsupportedBySparkError("a function of ours in the condition of an outer join")
        return text


@dataclass(frozen=True)
class SparkQuery:
    """A query in Spark's words.

    Attributes
    ----------
    slots
        Of literals, in the order of the parameters.
    view_names
        Qualified table name -> the name that stands for its rows.
    cell_views
        Those of them whose cells are read.
    spread_matches, probe_matches
        Such a name -> the match for which its rows are spread, or get the cells of another position.
    """

    sql: str
    slots: tuple[int, ...]
    view_names: Mapping[str, str]
    cell_views: frozenset[str]
    spread_matches: Mapping[str, CellMatch]
    probe_matches: Mapping[str, CellMatch]

    @classmethod
    def from_query(cls, bound_query: BoundQuery, dialect: SparkDialect) -> SparkQuery:
        """Write a query."""
        dialect.max_text_bytes = bound_query.max_text_bytes
        writer = SparkSqlWriter(dialect, dialect.view_names, bound_query.free_slots)
        try:
            sql = writer.write_query(bound_query.query)
        except RecursionError:
            raise BindError("the query is nested too deeply", remedy="write it flatter") from None
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


class ClusterPlan:
    """A query for the cluster, free of literal values: immutable, shared by threads.

    Attributes
    ----------
    schema
        Of the batches.

    Raises
    ------
    UnsupportedBySparkError
        Spark does not compute it; says why.
    """

    def __init__(self, cluster: SparkCluster, bound_query: BoundQuery) -> None:
        self._cluster = cluster
        self._bound_query = bound_query
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound_query.columns])
        for field in self.schema:
            write_spark_type(field.type)
        self.spark_query = SparkQuery.from_query(bound_query, SparkDialect(bound_query))

    def execute(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        files_by_table: Mapping[str, Sequence[str]],
        run_fallback: Callable[[str], QueryExecution] | None = None,
        hold_files: Callable[[], AbstractContextManager[object]] = nullcontext,
        leaf_paths: Mapping[str, Mapping[str, str]] | None = None,
    ) -> QueryExecution:
        """Run with these literals.

        Parameters
        ----------
        literal_values
            By `Literal.slot`.
        relations
            `MemoryRelation` of the tables that have no files.
        limits
            Rows, time and batches.
        files_by_table
            Qualified table name -> its Parquet files, as the cluster sees them.
        run_fallback
            Computes in another way what only Spark itself knows not to compute, given the reason.
        hold_files
            Keeps the files from being removed for as long as the cluster may read them.
        leaf_paths
            Qualified table name -> its columns that are called otherwise in the files, or stand in structs of them, and
            where.

        Returns
        -------
        execution
            Nothing is asked before somebody iterates; without `run_fallback` it may then raise
            `UnsupportedBySparkError`, before the first batch.
        """
        build_relation = partial(self._build_relation, literal_values, relations, files_by_table, leaf_paths or {})
        cluster_execution = ClusterExecution(self._cluster, self.schema, build_relation, limits, hold_files)
        if run_fallback is None:
            return cluster_execution
        return ClusterFallbackExecution(cluster_execution, run_fallback)

    def explain(self, files_by_table: Mapping[str, Sequence[str]]) -> str:
        """Describe what the cluster is asked.

        Parameters
        ----------
        files_by_table
            As for `execute`.
        """
        lines = [
            (
                f"{name}: {len(paths):,} files "
                f"({', '.join(path.rpartition('/')[2] for path in paths[:MAX_SHOWN_FILES])}{', ..' if len(paths) > MAX_SHOWN_FILES else ''})"
            )
            for name, paths in files_by_table.items()
        ]
        text = self.spark_query
        lines += [
            f"{name}: matched by HEALPix cells"
            for name, short in text.view_names.items()
            if short in text.spread_matches
        ]
        return "\n".join([*lines, f"{SERVER_NAME}: {text.sql.replace(QUERY_NAME_MARK, '')}"])

    def _build_relation(
        self,
        literal_values: Values,
        relations: Mapping[str, Relation],
        files_by_table: Mapping[str, Sequence[str]],
        leaf_paths: Mapping[str, Mapping[str, str]],
        session: SparkConnectSession,
    ) -> Any:
        """Make what is asked in a session."""
        spark_query = self.spark_query
        session.define_functions(list_named_functions(spark_query.sql))
        arguments: dict[str, object] = {
            f"p{number}": literal_values[slot] for number, slot in enumerate(spark_query.slots, 1)
        }
        views = {}
        for table in self._bound_query.tables:
            name = spark_query.view_names[table.qualified_name]
            match = spark_query.spread_matches.get(name)
            radii = None
            if table.qualified_name in files_by_table:
                if name in spark_query.cell_views and not _has_cell_column(files_by_table[table.qualified_name]):
                    raise UnsupportedBySparkError(
                        f"{table.qualified_name} has no column {CELL_COLUMN}: a match or a cell of its positions"
                    )
                if name in spark_query.cell_views:
                    columns = {CELL_COLUMN: "BIGINT"}
                else:
                    columns = {}
                columns |= {column.name: write_spark_type(column.type.arrow) for column in table.columns}
                table_relation = _create_stored_relation(
                    session, columns, files_by_table[table.qualified_name], leaf_paths.get(table.qualified_name, {})
                )
                if name in spark_query.probe_matches:
                    lon, lat = _write_position(spark_query.probe_matches[name].probe_columns)
                    session.define_functions(["hven_healpix"])
                    table_relation = session.create_sql_relation(
                        f"SELECT s.*, hven_healpix(29, {lon}, {lat}) AS `{PROBE_CELL_COLUMN}` FROM "
                        f"s{QUERY_NAME_MARK} AS s",
                        {},
                        {f"s{QUERY_NAME_MARK}": table_relation},
                    )
                if match is not None:
                    radii = match.compute_radius(literal_values)
                    views[name + SPREAD_SUFFIX] = _assign_stored_rows_to_cells(session, table_relation, match, radii)
            else:
                rows = _build_memory_rows(
                    table,
                    relations,
                    needs_cells=name in spark_query.cell_views,
                    probe_match=spark_query.probe_matches.get(name),
                )
                if match is not None:
                    row_radii = match.compute_row_radii(literal_values, rows)
                    radii = find_largest_radius(row_radii)
                    views[name + SPREAD_SUFFIX] = session.create_row_relation(
                        _assign_memory_rows_to_cells(rows, match, row_radii)
                    )
                table_relation = session.create_row_relation(rows)
            if match is not None and radii is not None:
                arguments[f"m{match.spread_table.number}"] = choose_cell_order(radii)
            views[name] = table_relation
        return session.create_sql_relation(spark_query.sql, arguments, views)


def _create_stored_relation(
    session: SparkConnectSession, column_types: Mapping[str, str], paths: Sequence[str], leaf_paths: Mapping[str, str]
) -> Any:
    """Make a relation of the rows of files, of which some columns are called otherwise there, or stand in structs."""
    if not leaf_paths:
        return session.create_file_relation(column_types, paths)
    file_types: dict[str, str] = {}
    struct_fields: dict[str, list[str]] = {}
    items = []
    for name, spark_type in column_types.items():
        top, is_in_struct, field = leaf_paths.get(name, name).partition(".")
        if is_in_struct:
            struct_fields.setdefault(top, []).append(f"{_quote_identifier(field)}: {spark_type}")
        else:
            file_types[top] = spark_type
        items.append(
            f"s.{_quote_identifier(top)}{f'.{_quote_identifier(field)}' if is_in_struct else ''} AS "
            f"{_quote_identifier(name)}"
        )
    file_types |= {top: f"STRUCT<{', '.join(fields)}>" for top, fields in struct_fields.items()}
    return session.create_sql_relation(
        f"SELECT {', '.join(items)} FROM s", {}, {"s": session.create_file_relation(file_types, paths)}
    )


def _quote_identifier(name: str) -> str:
    return f"`{name.replace('`', '``')}`"


def _has_cell_column(paths: Sequence[str]) -> bool:
    """Check whether the files of a catalogue have cells.

    Those of others need not, and Spark would take all of them for null.
    """
    return not paths or CELL_COLUMN in pq.read_schema(paths[0]).names


def _assign_stored_rows_to_cells(
    session: SparkConnectSession, stored_relation: Any, match: CellMatch, radius: float
) -> Any:
    """Spread stored rows over cells, on the workers."""
    lon, lat = _write_position(match.centre_columns)
    session.define_functions(["hven_cells"])
    text = (
        f"SELECT s.*, explode(hven_cells(CAST(:k AS INT), {lon}, {lat}, CAST(:r AS DOUBLE))) AS "
        f"`{SPREAD_CELL_COLUMN}` FROM s{QUERY_NAME_MARK} AS s"
    )
    return session.create_sql_relation(
        text, {"k": choose_cell_order(radius), "r": radius}, {f"s{QUERY_NAME_MARK}": stored_relation}
    )


def _assign_memory_rows_to_cells(rows: pa.Table, match: CellMatch, radii: Any) -> pa.Table:
    """Spread rows in memory over cells."""
    lon, lat = (
        _to_double_array(rows.column(item.column.name)) for item in match.centre_columns if item.column is not None
    )
    cell_order = choose_cell_order(find_largest_radius(radii))
    cell_lists = list_circle_cells(cell_order, lon, lat, radii)
    repeated_rows = rows.take(pc.list_parent_indices(cell_lists))
    return repeated_rows.append_column(SPREAD_CELL_COLUMN, pc.list_flatten(cell_lists))


def _write_position(position_columns: tuple[ColumnRef, ColumnRef]) -> list[str]:
    """Write a position of a view ``s``."""
    names = [item.column.name.replace("`", "``") for item in position_columns if item.column is not None]
    return [f"CAST(s.`{name}` AS DOUBLE)" for name in names]


def _build_memory_rows(
    table: Table, relations: Mapping[str, Relation], *, needs_cells: bool, probe_match: CellMatch | None
) -> pa.Table:
    """Return rows in memory as Spark takes them: its types, and the cell of each if it is read."""
    relation = relations.get(table.qualified_name)
    if not isinstance(relation, MemoryRelation):
        message = f"nobody said where the rows of {table.qualified_name} are"
        raise StorageError(message)
    selected_rows = relation.rows.select([column.name for column in table.columns])
    cell_positions = {
        CELL_COLUMN: table.position if needs_cells else None,
        PROBE_CELL_COLUMN: None if probe_match is None else probe_match.probe_names,
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
    """Convert what Spark has no type for: bytes without sign, lists of fixed length, texts of 64 bits."""
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


class ClusterExecution(TimedExecution):
    """A running query (`hven.engines.QueryExecution`). Nothing happens before somebody iterates.

    Then it can be stopped from any thread.
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
        self._running_answer: ClusterAnswer | None = None

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
        """Ask; and once more if the server began anew, or was away for a moment, as long as nothing was given."""
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
                is_lost = error_translation.is_session_lost(error) or error_translation.is_server_away(error)
                if self._stop_reason is None and is_lost:
                    is_away = error_translation.is_server_away(error)
                    self._cluster.forget_session(session, is_away=is_away)
                if (
                    self._stop_reason is None
                    and (is_lost or error_translation.is_operation_lost(error))
                    and not has_yielded
                    and not is_retry
                ):
                    continue
                translated = self._translate_error(error)
                if has_yielded and isinstance(translated, UnsupportedBySparkError):  # it cannot begin anew
                    raise error_translation.build_unexpected_error(str(translated)) from error
                raise translated from error
            except pa.ArrowException as error:
                raise self._translate_error(error) from error
            return

    def _fetch_batches(self, session: SparkConnectSession) -> Iterator[pa.RecordBatch]:
        relation = self._build_relation(session)
        if self._limits.row_limit is not None and self._limits.row_limit < MAX_SPARK_LIMIT:
            relation = session.limit_relation(relation, self._limits.row_limit + 1)
        answer = session.execute_relation(relation, self._deadline_watcher)
        with self._lock:
            self._running_answer = answer
        try:
            self._check_running()
            step = self._limits.compute_batch_rows(len(self.schema))
            for batch in iterate_batches(answer):
                cast_rows = cast_batch(batch, self.schema)
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
        if self._limits.deadline is None:
            seconds = None
        else:
            seconds = self._limits.deadline.limit_seconds
        return error_translation.translate_error(
            error, server_name=self._cluster.server_name, stop_reason=self._stop_reason, timeout_seconds=seconds
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
        """Free everything; see `hven.engines.QueryExecution.close`."""
        self._is_over = True
        self._abandon_answer()

    def _abandon_answer(self) -> None:
        with self._lock:
            running = self._running_answer
        if running is not None:
            running.abandon()


class ClusterFallbackExecution(RelayExecution):
    """A query that is asked of the cluster, and computed in another way if Spark knows no such query.

    It says so before any row.
    """

    def __init__(self, cluster_execution: ClusterExecution, run_fallback: Callable[[str], QueryExecution]) -> None:
        super().__init__(cluster_execution.schema, cluster_execution)
        self._cluster_execution = cluster_execution
        self._run_fallback = run_fallback

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            try:
                yield from self._cluster_execution
            except UnsupportedBySparkError as reason:
                yield from self._begin_execution(self._run_fallback(str(reason)))
        finally:
            self.close()


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Convert the columns of an answer to the promised names and types."""
    columns = [_cast_column(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast_column(column: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    if column.type.equals(arrow_type):
        return column
    if pa.types.is_list(arrow_type):
        values = _cast_column(column.values, arrow_type.value_type)
        return pa.ListArray.from_arrays(
            column.offsets, values, type=arrow_type, mask=column.is_null() if column.null_count else None
        )
    if not pa.types.is_fixed_size_list(arrow_type):
        return column.cast(arrow_type)
    # a cast to lists of fixed length takes no nulls; they are filled up
    size = arrow_type.list_size
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), size).to_numpy(zero_copy_only=False))
    if (lengths != size).any():
        raise pa.ArrowInvalid(f"a list of {int(lengths[lengths != size][0])} elements, where {size} are wanted")
    values = _cast_column(column.flatten(), arrow_type.value_type)
    if not column.null_count:
        return pa.FixedSizeListArray.from_arrays(values, type=arrow_type)
    is_null = np.asarray(column.is_null())
    value_numbers = np.repeat(np.where(is_null, 0, np.cumsum(~is_null) - 1) * size, size) + np.tile(
        np.arange(size), len(column)
    )
    mask = np.repeat(is_null, size)
    padded_values = values.take(pa.array(value_numbers, mask=mask))
    return pa.FixedSizeListArray.from_arrays(padded_values, type=arrow_type, mask=pa.array(is_null))


__all__ = ["ClusterExecution", "ClusterFallbackExecution", "ClusterPlan", "cast_batch"]
