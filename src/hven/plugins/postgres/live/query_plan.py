"""Plans of queries over tables that are read in place.

Rows in memory travel to the database as constants. What the database cannot compute, the embedded engine computes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import LiveRelation, MemoryRelation
from hven.model.errors import StorageError
from hven.plugins.postgres.engine.dialect import get_storage_type
from hven.plugins.postgres.engine.query_plan import PostgresPlan
from hven.plugins.postgres.engine.schema_installation import quote_identifier
from hven.plugins.postgres.live.dialect import (
    LATITUDE_BAND,
    ComparableRawColumns,
    LivePositionConditions,
    LivePostgresDialect,
    LiveSqlWriter,
    LiveTableWriter,
    find_comparable_raw_columns,
    write_live_rows_sql,
)
from hven.plugins.postgres.live.execution import LiveExecution

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.model.table import Table
    from hven.plugins.postgres.engine.position_search import PositionConditions
    from hven.plugins.postgres.engine.query_execution import ParameterizedQuery
    from hven.plugins.postgres.live.engine_protocol import LiveEngineProtocol

    Values = Sequence[float | str | None]

MAX_SENT_BYTES = 32 * 1024**2  # of rows in memory that travel with a query; otherwise the rows of the database travel


class LivePlan(PostgresPlan):
    """A prepared query (`hven.engines.QueryPlan`)."""

    is_quick = False
    conditions_class = LivePositionConditions
    table_writer_class = LiveTableWriter
    dialect_class = LivePostgresDialect
    sql_writer_class = LiveSqlWriter
    _engine: LiveEngineProtocol

    def __init__(
        self, engine: LiveEngineProtocol, bound_query: BoundQuery, position_conditions: PositionConditions | None = None
    ) -> None:
        self._needed_columns = list_needed_columns(bound_query)
        super().__init__(engine, bound_query, position_conditions)

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run the query; see `hven.engines.QueryPlan.execute`."""
        if self._fallback_plan is None:
            for relation in relations.values():
                if isinstance(relation, MemoryRelation) and not can_send_rows_as_constants(relation.rows):
                    fallback_plan = self._build_fallback_plan("the join with rows in memory")
                    return fallback_plan.execute(literal_values, relations, limits)
        return super().execute(literal_values, relations, limits)

    def _start_execution(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> LiveExecution:
        return LiveExecution(
            self._engine, self.schema, lambda: self._build_parameterized_query(literal_values, relations), limits
        )

    def _build_parameterized_query(
        self, literal_values: Values, relations: Mapping[str, Relation]
    ) -> ParameterizedQuery:
        work = super()._build_parameterized_query(literal_values, relations)
        for name, table, rows in work.uploads:
            temporary_table = f"pg_temp.{quote_identifier(name)}"
            constants = write_rows_as_constants(table, rows)
            work.prepared_sql = work.prepared_sql.replace(temporary_table, constants)
            work.copy_sql = work.copy_sql.replace(temporary_table, constants)
        work.uploads = ()
        return work

    def _write_rows_sql(self, table: Table, relation: Relation) -> tuple[str, ComparableRawColumns]:
        if not isinstance(relation, LiveRelation):
            message = f"a relation of the kind {relation.kind_name!r} is not read in place"
            raise StorageError(message)
        self._engine.reload_features_for_extension(relation.position)
        needed_columns = self._needed_columns.get(table.qualified_name, frozenset())
        return write_live_rows_sql(relation, needed_columns), find_comparable_raw_columns(relation)

    def _list_position_methods(self) -> Iterable[str]:
        return (LATITUDE_BAND,)

    def explain(self) -> str:
        """Describe how the query is computed; see `hven.engines.QueryPlan.explain`."""
        head = f"read in place {self._engine.server_name}, as the rows are now"
        if self._fallback_plan is not None:
            return f"{head}\n{self._fallback_plan.explain()}"
        return f"{head}\nPostgreSQL: {self._first_statement.prepared_sql}"

    def _map_stored_table_names(self, relations: Mapping[str, Relation]) -> dict[str, str]:
        return {
            extract_table_name(relation.table): name
            for name, relation in relations.items()
            if isinstance(relation, LiveRelation)
        }


def can_send_rows_as_constants(rows: pa.Table) -> bool:
    """Return whether rows in memory can travel to the database as constants."""
    return rows.nbytes <= MAX_SENT_BYTES and not any(pa.types.is_nested(field.type) for field in rows.schema)


def extract_table_name(quoted_table: str) -> str:
    """Return the name of a table without its schema and quotes."""
    return re.sub(r'^.*"((?:[^"]|"")+)"$', r"\1", quoted_table).replace('""', '"')


def list_needed_columns(bound_query: BoundQuery) -> dict[str, frozenset[str]]:
    """Return the columns of each table that a query reads anywhere."""
    survey = bound_query.survey
    columns_by_table: dict[str, set[str]] = {}
    for table_ref in survey.table_refs:
        if table_ref.table is not None and not table_ref.cte:
            columns = columns_by_table.setdefault(table_ref.table.qualified_name, set())
            columns.update(survey.read_columns.get(table_ref.number, ()))
    return {name: frozenset(columns) for name, columns in columns_by_table.items()}


def write_rows_as_constants(table: Table, rows: pa.Table) -> str:
    """Write rows in memory as constants, so that the database needs no table for them."""
    arrays = [
        f"'{_write_array_text(rows.column(column.name).combine_chunks())}'::{get_storage_type(column.type)}[]"
        for column in table.columns
    ]
    names = ", ".join(quote_identifier(column.name) for column in table.columns)
    return f"(SELECT * FROM unnest({', '.join(arrays)}) AS r({names}))"


def _write_array_text(values: pa.Array | pa.ChunkedArray) -> str:
    """Write an array in PostgreSQL's text format, ready to stand in quotes."""
    arrow_type = values.type
    texts = values.cast(pa.string())
    if not (pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type) or pa.types.is_boolean(arrow_type)):
        for character, replacement in (("\0", "\ufffe"), ("\\", "\\\\"), ('"', '\\"'), ("'", "''")):
            texts = pc.replace_substring(texts, character, replacement)
        texts = pc.binary_join_element_wise('"', texts, '"', "")
    joined = ",".join(pc.fill_null(texts, "NULL").to_pylist())
    return "{" + joined + "}"
