"""Plans of queries: the SQL is written once for each set of tables, and PostgreSQL runs it.

The embedded engine runs queries that PostgreSQL cannot compute.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from hven.adql.sql_writer import SqlWriter
from hven.adql.syntax_tree import (
    CastExpression,
    ColumnRef,
    Comparison,
    DerivedTable,
    InPredicate,
    Join,
    LiteralList,
    Select,
    SelectItem,
    TableRef,
    split_conjuncts,
    walk_tree,
)
from hven.engines import MemoryRelation, QueryPlan, Snapshot, require_relation
from hven.engines.api.executions import EmbeddedFallbackPlan
from hven.engines.api.query_analysis import push_conditions_into_unions, write_policy_conditions
from hven.model.errors import StorageError
from hven.plugins.postgres.engine import error_translation
from hven.plugins.postgres.engine.coverage_check import CoverageCheck, EmptyExecution
from hven.plugins.postgres.engine.dialect import PostgresDialect, UnsupportedByPostgresError
from hven.plugins.postgres.engine.engine_protocol import RequestedCopy
from hven.plugins.postgres.engine.overflow_fallback import OUT_OF_RANGE_REASON, EmbeddedEngineFallback, can_overflow
from hven.plugins.postgres.engine.partitions import build_partition_prefix
from hven.plugins.postgres.engine.position_search import HEALPIX, PositionConditions, TableReferenceWriter
from hven.plugins.postgres.engine.query_execution import (
    MAX_QUICK_ROWS,
    MeanAnswerTime,
    ParameterizedQuery,
    PostgresExecution,
    find_plain_type_oids,
)
from hven.plugins.postgres.engine.row_estimates import describe_postgres_estimates
from hven.plugins.postgres.engine.schema_installation import quote_identifier
from hven.plugins.postgres.engine.statements import PostgresStatement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.model.table import Table
    from hven.plugins.postgres.engine.engine_protocol import PostgresEngineProtocol

    Values = Sequence[float | str | None]

MAX_STATEMENTS = 8  # SQL texts of one plan, for different snapshots


class PostgresPlan(QueryPlan):
    """A prepared query (`hven.engines.QueryPlan`).

    Parameters
    ----------
    engine
        The engine that runs the query.
    bound_query
        The bound query.
    position_conditions
        If the query only fetches rows of one table for a `EmbeddedFallbackPlan`: the position conditions of that plan's
        query. The answer may then have more rows than needed.

    Raises
    ------
    UnsupportedByPostgresError
        A `position_conditions` that PostgreSQL cannot compute.
    """

    conditions_class: ClassVar[type[PositionConditions]] = PositionConditions
    table_writer_class: ClassVar[type[TableReferenceWriter]] = TableReferenceWriter
    dialect_class: ClassVar[type[PostgresDialect]] = PostgresDialect
    sql_writer_class: ClassVar[type[SqlWriter]] = SqlWriter

    def __init__(
        self,
        engine: PostgresEngineProtocol,
        bound_query: BoundQuery,
        position_conditions: PositionConditions | None = None,
    ) -> None:
        self._engine = engine
        self._is_quick = position_conditions is None and is_small_answer_expected(bound_query)
        self._is_table_fetch = position_conditions is not None
        if position_conditions is None:
            # PostgreSQL's planner does not push conditions on a union to the indexes of its members.
            bound_query = push_conditions_into_unions(bound_query)
            position_conditions = self.conditions_class.from_bound_query(bound_query)
        self._bound_query = bound_query
        self._position_conditions = position_conditions
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound_query.columns])
        self._coverage_check = CoverageCheck(bound_query, self._position_conditions)
        self._lock = threading.Lock()
        self._statements: OrderedDict[tuple[object, ...], PostgresStatement] = OrderedDict()
        self._copies_by_path: dict[str, Any] = {}  # copies of the rows that the reader sees, by snapshot path
        self._answer_pace = MeanAnswerTime()
        self._plain_type_oids = find_plain_type_oids(self.schema)
        self._number_words = describe_integer_cast_target(bound_query)
        self._fallback_plan: EmbeddedFallbackPlan | None = None
        try:
            check_full_joins(bound_query)
            # A query that cannot be written is refused, or left to the embedded engine, when it is planned.
            self._first_statement = self._write_statement(self._quote_table_names(), {}, "", "C")
        except UnsupportedByPostgresError as reason:
            if self._is_table_fetch:
                raise
            self._fallback_plan = self._build_fallback_plan(str(reason))
        self._range_fallback: EmbeddedEngineFallback | None = None
        if not self._is_table_fetch and self._fallback_plan is None and can_overflow(bound_query.query):
            self._range_fallback = EmbeddedEngineFallback(
                lambda: self._build_fallback_plan(OUT_OF_RANGE_REASON, can_compute=False)
            )

    def _quote_table_names(self) -> dict[str, str]:
        return {table.qualified_name: quote_identifier(table.qualified_name) for table in self._bound_query.tables}

    def _build_fallback_plan(self, reason: str, *, can_compute: bool = True) -> EmbeddedFallbackPlan:
        """Build the plan by which the embedded engine computes."""
        return EmbeddedFallbackPlan(
            self._engine.embedded_engine,
            self._bound_query,
            reason,
            self._plan_fetch_for_fallback,
            can_push_condition=lambda condition: can_compute or not can_overflow(condition),
        )

    def _plan_fetch_for_fallback(self, bound_query: BoundQuery) -> QueryPlan | None:
        """Plan the query that fetches rows of one table for the embedded engine."""
        try:
            return type(self)(self._engine, bound_query, self._position_conditions)
        except UnsupportedByPostgresError:
            return None

    # --- execution -------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run the query; see `hven.engines.QueryPlan.execute`."""
        if self._engine.uses_indexes and self._coverage_check.is_certainly_empty(literal_values, relations):
            return EmptyExecution(self.schema)
        if self._fallback_plan is not None:
            return self._fallback_plan.execute(literal_values, relations, limits)
        if self._range_fallback is not None:
            return self._range_fallback.execute(
                lambda: self._start_execution(literal_values, relations, limits), literal_values, relations, limits
            )
        return self._start_execution(literal_values, relations, limits)

    def _start_execution(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> PostgresExecution:
        work = partial(self._build_parameterized_query, literal_values, relations)
        execution = PostgresExecution(
            self._engine,
            self.schema,
            work,
            limits,
            number_words=self._number_words,
            mean_answer_time=self._answer_pace,
            plain_type_oids=self._plain_type_oids,
        )
        if self.is_quick:
            execution.send_request()
        return execution

    @property
    def is_quick(self) -> bool:
        """True if the server, which is another process and maybe another machine, usually answers quickly."""
        return self._is_quick and self._fallback_plan is None and self._answer_pace.is_quick

    def _build_parameterized_query(
        self, literal_values: Values, relations: Mapping[str, Relation]
    ) -> ParameterizedQuery:
        names: dict[str, str] = {}
        indexed: dict[str, Any] = {}
        uploads = []
        accessible_names: list[str] = []
        is_fenced = False
        policies = {}
        if self._engine.uses_indexes:
            policies = self._policy_conditions
        for number, table in enumerate(self._bound_query.tables):
            qualified_name = table.qualified_name
            relation = require_relation(relations, qualified_name)
            if isinstance(relation, MemoryRelation):
                upload_name = f"rows in memory {number}"
                names[qualified_name] = f"pg_temp.{quote_identifier(upload_name)}"
                uploads.append((upload_name, table, relation.rows))
                continue
            names[qualified_name], indexed[qualified_name] = self._write_rows_sql(table, relation)
            if qualified_name not in policies:
                continue
            requested_copy = self._request_accessible_copy(table, relation, policies[qualified_name][0])
            if requested_copy.sql:
                names[qualified_name] = requested_copy.sql
                accessible_names.append(qualified_name)
            elif requested_copy.is_pending:  # no index may find rows before the policy is applied
                is_fenced = True
                del indexed[qualified_name]
        methods = self._list_position_methods() if self._engine.uses_indexes else []
        for method in (*methods, ""):  # the text without an index is valid for all literals
            statement = self._get_statement(names, indexed, method, tuple(accessible_names), is_fenced=is_fenced)
            arguments = statement.compute_parameters(literal_values)
            if arguments is not None:
                break
        return ParameterizedQuery(
            prepared_sql=statement.prepared_sql,
            copy_sql=statement.copy_sql,
            arguments=arguments or [],
            is_quick=self._is_quick,
            uploads=uploads,
            sends_early=self._range_fallback is None,  # a query that may fail should fail before the first row
        )

    # Tables that are read in place need `table`.
    def _write_rows_sql(self, table: Table, relation: Relation) -> tuple[str, Any]:  # noqa: ARG002
        """Return the SQL of the rows of a table, and what of it is indexed, for `table_writer_class`."""
        if not isinstance(relation, Snapshot):
            message = f"a relation of the kind {relation.kind_name!r} is not a table of the database"
            raise StorageError(message)
        return f"{quote_identifier(self._engine.schema)}.{quote_identifier(relation.path)}", relation.regions

    def _list_position_methods(self) -> Iterable[str]:
        """Return the methods to find positions, the best one first; cells also serve a wide circle."""
        return dict.fromkeys((self._engine.database_features.position_method, HEALPIX))

    @cached_property
    def _policy_conditions(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The conditions of policies, in SQL."""
        if self._engine.accessible_copies is None:
            return {}
        table_writer = self.table_writer_class(PositionConditions(), {}, {}, "")
        dialect = self.dialect_class(table_writer, case_collation=self._engine.database_features.case_collation)
        try:
            return write_policy_conditions(self._bound_query, dialect)
        except UnsupportedByPostgresError:
            return {}

    def _request_accessible_copy(self, table: Table, relation: Relation, condition: str) -> RequestedCopy:
        copies = self._engine.accessible_copies
        if copies is None or not isinstance(relation, Snapshot):
            return RequestedCopy()
        copy = self._copies_by_path.get(relation.path)
        if copy is None:
            copy = self._copies_by_path[relation.path] = copies.describe_copy(relation, table, condition)
        return copies.request_copy(copy)

    def _get_statement(
        self,
        table_sql: Mapping[str, str],
        indexed_tables: Mapping[str, Any],
        position_method: str,
        accessible_names: tuple[str, ...],
        *,
        is_fenced: bool,
    ) -> PostgresStatement:
        key = (tuple(table_sql.values()), position_method, is_fenced, *accessible_names)
        with self._lock:
            cached = self._statements.get(key)
            if cached is not None:
                self._statements.move_to_end(key)
                return cached
        statement = self._write_statement(
            table_sql,
            indexed_tables,
            position_method,
            self._engine.database_features.case_collation,
            accessible_names=accessible_names,
            is_fenced=is_fenced,
        )
        with self._lock:
            self._statements[key] = statement
            while len(self._statements) > MAX_STATEMENTS:
                self._statements.popitem(last=False)
        return statement

    def _write_statement(
        self,
        table_sql: Mapping[str, str],
        indexed_tables: Mapping[str, Any],
        position_method: str,
        case_collation: str,
        *,
        accessible_names: tuple[str, ...] = (),
        is_fenced: bool = False,
    ) -> PostgresStatement:
        sql_texts = []
        for uses_settings in (False, True):
            table_writer = self.table_writer_class(
                self._position_conditions,
                table_sql,
                indexed_tables,
                position_method,
                accessible_names,
                is_fenced=is_fenced,
            )
            dialect = self.dialect_class(
                table_writer,
                case_collation=case_collation,
                uses_settings=uses_settings,
                allows_extra_rows=self._is_table_fetch,
            )
            dialect.max_text_bytes = self._bound_query.max_text_bytes
            writer = self.sql_writer_class(dialect, table_sql, self._bound_query.free_slots)
            sql_texts.append(dialect.finish_sql(writer.write_query(self._bound_query.query)))
        prepared_sql, copy_sql = sql_texts
        return PostgresStatement(prepared_sql, copy_sql, tuple(writer.parameter_slots), table_writer)

    def explain(self) -> str:
        """Describe how the query is computed; see `hven.engines.QueryPlan.explain`."""
        if self._fallback_plan is not None:
            return self._fallback_plan.explain()
        lines: list[str] = []
        for shape_searches in self._position_conditions.shape_searches.values():
            kinds = [search.shape.kind.lower() for search in shape_searches]
            lines += [f"position index ({kind}), if it holds the shape" for kind in kinds]
        for region_searches in self._position_conditions.region_searches.values():
            for region_search in region_searches:
                kind = region_search.shape.kind.lower()
                lines.append(f"position index of the regions in {region_search.column} ({kind})")
        lines += self._coverage_check.describe_checks()
        # The text is written as if all tables were snapshots.
        table_names = self._quote_table_names()
        indexed_statement = self._write_statement(table_names, dict.fromkeys(table_names, ()), HEALPIX, "C")
        for table_number, matched_number in indexed_statement.table_writer.matched_numbers.items():
            table_name = self._find_reference_name(table_number)
            matched_name = self._find_reference_name(matched_number)
            lines.append(f"{table_name}: matched with {matched_name} by the position index")
        lines.append(f"PostgreSQL: {self._first_statement.prepared_sql}")
        return "\n".join(lines)

    def describe_row_estimates(self, literal_values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Estimate how many rows of each table are read, as PostgreSQL expects it."""
        if self._fallback_plan is not None:
            return self._fallback_plan.describe_row_estimates(literal_values, relations)
        return describe_postgres_estimates(
            self._engine,
            lambda: self._build_parameterized_query(literal_values, relations),
            self._map_stored_table_names(relations),
        )

    def _map_stored_table_names(self, relations: Mapping[str, Relation]) -> dict[str, str]:
        """Return name in the database -> qualified name of each table; also for the prefix of its partitions."""
        stored_names: dict[str, str] = {}
        partition_prefixes: dict[str, str] = {}
        for name, relation in relations.items():
            if isinstance(relation, Snapshot):
                stored_names[relation.path] = name
                partition_prefixes[build_partition_prefix(name, relation.path)] = name
        return stored_names | partition_prefixes

    def _find_reference_name(self, table_number: int) -> str:
        """Name a table reference as the query does."""
        table_ref = self._position_conditions.table_refs.get(table_number)
        if table_ref is None:
            return "a subquery"
        if table_ref.alias is not None:
            return table_ref.alias.name
        if table_ref.table is not None:
            return table_ref.table.qualified_name
        return str(table_number)


def is_small_answer_expected(bound_query: BoundQuery) -> bool:
    """Return whether the answer is probably small: a condition, a short TOP, or one row of aggregates.

    A long list is part of the SQL text, which is then too long for a prepared statement.
    """
    if any(isinstance(node.choices, LiteralList) for node in bound_query.survey.nodes_by_class.get(InPredicate, ())):
        return False
    body = bound_query.query.body
    if not isinstance(body, Select):
        return False
    if body.top is not None and isinstance(body.top.value, int) and body.top.value <= MAX_QUICK_ROWS:
        return True
    if body.where is not None:
        return True
    return not body.group_by and bool(body.items) and all(_is_aggregate(item) for item in body.items)


def describe_integer_cast_target(bound_query: BoundQuery) -> str:
    """Name the type of whole numbers to which the query casts, if it is one type.

    Messages about texts that are no such number mention it.
    """
    names: set[str] = set()
    for node in bound_query.survey.nodes_by_class.get(CastExpression, ()):
        if node.meta is not None and node.meta.type.is_integer:
            names.add(node.target)
    if len(names) == 1:
        return names.pop()
    return error_translation.NUMBER_WORDS


def check_full_joins(bound_query: BoundQuery) -> None:
    """Refuse a FULL JOIN unless all its conditions are equalities of one column of each side, as PostgreSQL needs.

    Raises
    ------
    UnsupportedByPostgresError
        A FULL JOIN has another condition.
    """
    for node in bound_query.survey.nodes_by_class.get(Join, ()):
        if node.kind.upper() != "FULL":
            continue
        left_numbers = _list_table_numbers(node.left)
        right_numbers = _list_table_numbers(node.right)
        for condition in split_conjuncts(node.on):
            if not _is_column_equality(condition, left_numbers, right_numbers):
                raise UnsupportedByPostgresError("FULL JOIN on a condition that is not an equality of columns")


def _list_table_numbers(item: object) -> set[int]:
    return {node.number for node in walk_tree(item) if isinstance(node, TableRef | DerivedTable)}


def _is_column_equality(condition: object, left_numbers: set[int], right_numbers: set[int]) -> bool:
    """Return whether a condition compares a column of the left side with one of the right side by ``=``."""
    if not isinstance(condition, Comparison) or condition.op != "=":
        return False
    sources = {side.source for side in (condition.left, condition.right) if isinstance(side, ColumnRef)}
    return len(sources & left_numbers) == 1 == len(sources & right_numbers)


def _is_aggregate(item: object) -> bool:
    return isinstance(item, SelectItem) and item.expr.meta is not None and item.expr.meta.aggregate
