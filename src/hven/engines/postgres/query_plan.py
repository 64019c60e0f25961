"""PostgresPlan: a bound query, written once for each set of tables it meets, and run by PostgreSQL - or, where it cannot, by the embedded engine."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from hven.adql.sql_writer import SqlWriter
from hven.adql.syntax_tree import (
    Cast,
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
from hven.engines import MemoryRelation, QueryPlan, Snapshot
from hven.engines._embedded_fallback import FallbackPlan, require_relation
from hven.engines._query_analysis.row_policies import write_policy_conditions
from hven.engines._query_analysis.union_pushdown import push_into_unions
from hven.engines.postgres import error_translation
from hven.engines.postgres.dialect import PostgresDialect, UnsupportedByPostgresError
from hven.engines.postgres.external_database import CoverageCheck, EmptyExecution
from hven.engines.postgres.partition_ranges import OUT_OF_RANGE_REASON, RangeFallback, may_overflow
from hven.engines.postgres.partitions import build_partition_prefix
from hven.engines.postgres.position_search import HEALPIX, PositionConditions, TableReferenceWriter
from hven.engines.postgres.query_execution import (
    MAX_QUICK_ROWS,
    AnswerPace,
    PostgresExecution,
    QueryWork,
    find_plain_type_oids,
)
from hven.engines.postgres.row_estimates import estimate_rows
from hven.engines.postgres.schema_installation import quote_identifier
from hven.engines.postgres.statements import PostgresStatement
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.engines.postgres.engine_protocol import PostgresEngineProtocol
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MAX_STATEMENTS = 8  # texts of one plan, for snapshots of other days


class PostgresPlan(QueryPlan):
    """A prepared query (`hven.engines.QueryPlan`).

    Parameters
    ----------
    reading
        Of a `FallbackPlan`, whose query asks for rows of one table: what that query asks of positions. Rows may then be
        too many.

    Raises
    ------
    UnsupportedByPostgresError
        A `reading` that PostgreSQL cannot compute.
    """

    conditions_class: ClassVar[type[PositionConditions]] = PositionConditions
    table_writer_class: ClassVar[type[TableReferenceWriter]] = TableReferenceWriter
    dialect_class: ClassVar[type[PostgresDialect]] = PostgresDialect
    sql_writer_class: ClassVar[type[SqlWriter]] = SqlWriter

    def __init__(
        self, engine: PostgresEngineProtocol, bound: BoundQuery, reading: PositionConditions | None = None
    ) -> None:
        self._engine = engine
        self._is_quick = reading is None and is_quick(bound)
        # conditions of a union find the index of each member there, which PostgreSQL's planner has no words for
        self._bound_query = bound = push_into_unions(bound) if reading is None else bound
        self._is_table_fetch = reading is not None
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        if reading is None:
            self._position_conditions = self.conditions_class.from_query(bound)
        else:
            self._position_conditions = reading
        self._coverage_check = CoverageCheck(bound, self._position_conditions)
        self._lock = threading.Lock()
        self._statements: OrderedDict[tuple[object, ...], PostgresStatement] = OrderedDict()
        self._copies_by_path: dict[str, Any] = {}  # copies of what the reader sees, by path
        self._answer_pace = AnswerPace()
        self._plain_type_oids = find_plain_type_oids(self.schema)
        self._number_words = find_integer_cast_type(bound)
        self._fallback_plan: FallbackPlan | None = None
        try:
            check_full_joins(bound)
            # what cannot be written is refused, or sent elsewhere, when the plan is made
            self._first_statement = self._write_statement(self._quote_table_names(), {}, "", "C")
        except UnsupportedByPostgresError as reason:
            if self._is_table_fetch:
                raise
            self._fallback_plan = self._build_fallback(str(reason))
        can_overflow = not self._is_table_fetch and self._fallback_plan is None and may_overflow(bound.query)
        self._range_fallback = (
            RangeFallback(lambda: self._build_fallback(OUT_OF_RANGE_REASON, can_compute=False))
            if can_overflow
            else None
        )

    def _quote_table_names(self) -> dict[str, str]:
        return {table.qualified_name: quote_identifier(table.qualified_name) for table in self._bound_query.tables}

    def _build_fallback(self, reason: str, *, can_compute: bool = True) -> FallbackPlan:
        """Build the plan by which the embedded engine computes."""
        return FallbackPlan(
            self._engine.embedded_engine,
            self._bound_query,
            reason,
            self._plan_table_fetch,
            takes=lambda condition: can_compute or not may_overflow(condition),
        )

    def _plan_table_fetch(self, bound_query: BoundQuery) -> QueryPlan | None:
        """Plan what a detour reads of one table."""
        try:
            return type(self)(self._engine, bound_query, self._position_conditions)
        except UnsupportedByPostgresError:
            return None

    # --- running ---------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run; see `hven.engines.QueryPlan.execute`."""
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
        work = partial(self._build_work, literal_values, relations)
        execution = PostgresExecution(
            self._engine,
            self.schema,
            work,
            limits,
            number_words=self._number_words,
            pace=self._answer_pace,
            plain_type_oids=self._plain_type_oids,
        )
        if self.small:
            execution.send_request()
        return execution

    @property
    def small(self) -> bool:
        """True if the server, which is another process, maybe another machine, usually answers soon."""
        return self._is_quick and self._fallback_plan is None and self._answer_pace.is_quick

    def _build_work(self, literal_values: Values, relations: Mapping[str, Relation]) -> QueryWork:
        names = {}
        indexed = {}
        uploads = []
        accessible_names = []
        is_fenced = False
        if self._engine.uses_indexes:
            policies = self._policies
        else:
            policies = {}
        for number, table in enumerate(self._bound_query.tables):
            relation = require_relation(relations, table.qualified_name)
            if isinstance(relation, MemoryRelation):
                name = f"rows in memory {number}"
                names[table.qualified_name] = f"pg_temp.{quote_identifier(name)}"
                uploads.append((name, table, relation.rows))
            else:
                names[table.qualified_name], indexed[table.qualified_name] = self._locate_rows(table, relation)
                if table.qualified_name in policies:
                    rows = self._find_accessible_copy(table, relation, policies[table.qualified_name][0])
                    if rows:
                        names[table.qualified_name] = rows
                        accessible_names.append(table.qualified_name)
                    elif rows is not None:  # no index may find rows before the policy does
                        is_fenced = True
                        del indexed[table.qualified_name]
        if self._engine.uses_indexes:
            modes = self._list_position_methods()
        else:
            modes = []
        for mode in (*modes, ""):  # without an index, it always holds
            statement = self._get_statement(names, indexed, mode, tuple(accessible_names), is_fenced=is_fenced)
            arguments = statement.compute_parameters(literal_values)
            if arguments is not None:
                break
        sends_early = self._range_fallback is None  # what may fail had better fail before anything is given
        return QueryWork(
            prepared_sql=statement.prepared_sql,
            copy_sql=statement.copy_sql,
            arguments=arguments or [],
            quick=self._is_quick,
            uploads=uploads,
            sends_early=sends_early,
        )

    # of tables in place, too
    def _locate_rows(self, table: Table, relation: Relation) -> tuple[str, Any]:  # noqa: ARG002
        """Write where the rows of a table are, and return what of it is indexed, for `table_writer_class`."""
        if not isinstance(relation, Snapshot):
            message = f"{relation.kind_name.capitalize()} is no table of the database"
            raise StorageError(message)
        return f"{quote_identifier(self._engine.schema)}.{quote_identifier(relation.path)}", relation.regions

    def _list_position_methods(self) -> Iterable[str]:
        """Return the ways to find positions, the best one first: a wide circle can only be held by cells."""
        return dict.fromkeys((self._engine.database_features.position_method, HEALPIX))

    @cached_property
    def _policies(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The conditions of policies, as the database has them."""
        if self._engine.accessible_copies is None:
            return {}
        try:
            return write_policy_conditions(
                self._bound_query,
                self.dialect_class(
                    self.table_writer_class(PositionConditions(), {}, {}, ""),
                    case_collation=self._engine.database_features.case_collation,
                ),
            )
        except UnsupportedByPostgresError:
            return {}

    def _find_accessible_copy(self, table: Table, relation: Relation, condition: str) -> str | None:
        copies = self._engine.accessible_copies
        if copies is None or not isinstance(relation, Snapshot):
            return None
        copy = self._copies_by_path.get(relation.path)
        if copy is None:
            copy = self._copies_by_path[relation.path] = copies.describe_copy(relation, table, condition)
        return copies.find_rows(copy)

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
            fenced=is_fenced,
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
        **policies: Any,
    ) -> PostgresStatement:
        texts = []
        for settings in (False, True):
            table_writer = self.table_writer_class(
                self._position_conditions, table_sql, indexed_tables, position_method, **policies
            )
            dialect = self.dialect_class(
                table_writer,
                case_collation=case_collation,
                uses_settings=settings,
                allows_extra_rows=self._is_table_fetch,
            )
            dialect.max_text_bytes = self._bound_query.max_text_bytes
            writer = self.sql_writer_class(dialect, table_sql, self._bound_query.free_slots)
            texts.append(dialect.finish_sql(writer.write_query(self._bound_query.query)))
        return PostgresStatement(texts[0], texts[1], tuple(writer.parameter_slots), table_writer)

    def explain(self) -> str:
        """Describe which road is taken; see `hven.engines.QueryPlan.explain`."""
        if self._fallback_plan is not None:
            return self._fallback_plan.explain()
        lines = [
            f"position index ({shape.shape.kind.lower()}), if it holds the shape"
            for shapes in self._position_conditions.shape_searches.values()
            for shape in shapes
        ]
        lines += [
            f"position index of the regions in {region.column} ({region.shape.kind.lower()})"
            for regions in self._position_conditions.region_searches.values()
            for region in regions
        ]
        lines += self._coverage_check.describe_checks()
        # as if all were snapshots
        indexed = self._write_statement(
            self._quote_table_names(), dict.fromkeys(self._quote_table_names(), ()), HEALPIX, "C"
        )
        lines += [
            (
                f"{self._find_reference_name(table_number)}: matched with "
                f"{self._find_reference_name(matched_number)} by the position index"
            )
            for table_number, matched_number in indexed.table_writer.matched_numbers.items()
        ]
        return "\n".join([*lines, f"PostgreSQL: {self._first_statement.prepared_sql}"])

    def estimate_row_counts(self, literal_values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Estimate how many rows of each table are read, as PostgreSQL expects it."""
        if self._fallback_plan is not None:
            return self._fallback_plan.estimate_row_counts(literal_values, relations)
        return estimate_rows(
            self._engine, lambda: self._build_work(literal_values, relations), self._list_stored_names(relations)
        )

    def _list_stored_names(self, relations: Mapping[str, Relation]) -> dict[str, str]:
        """Return the names of tables by those in the database, or by what those of their partitions begin with."""
        snapshot_paths = [
            (name, relation.path) for name, relation in relations.items() if isinstance(relation, Snapshot)
        ]
        return {path: name for name, path in snapshot_paths} | {
            build_partition_prefix(name, path): name for name, path in snapshot_paths
        }

    def _find_reference_name(self, table_number: int) -> str:
        """Name a reference as the query does."""
        table_ref = self._position_conditions.table_refs.get(table_number)
        if table_ref is None:
            return "a subquery"
        if table_ref.alias is not None:
            return table_ref.alias.name
        if table_ref.table is not None:
            return table_ref.table.qualified_name
        return str(table_number)


def is_quick(bound_query: BoundQuery) -> bool:
    """Return whether the answer is probably small: a narrowed table, a short TOP, or one row of aggregates.

    A long list is part of the text, which is then too long to be kept as a prepared statement.
    """
    body = bound_query.query.body
    if any(
        isinstance(node, InPredicate) and isinstance(node.choices, LiteralList) for node in walk_tree(bound_query.query)
    ):
        return False
    if not isinstance(body, Select):
        return False
    if body.top is not None and isinstance(body.top.value, int) and body.top.value <= MAX_QUICK_ROWS:
        return True
    return body.where is not None or (
        not body.group_by and bool(body.items) and all(_is_aggregate(item) for item in body.items)
    )


def find_integer_cast_type(bound_query: BoundQuery) -> str:
    """Name the ADQL type of whole numbers that texts are cast to, if it is one.

    For what is said of a text that is none.
    """
    names = {
        node.target
        for node in walk_tree(bound_query.query)
        if isinstance(node, Cast) and node.meta is not None and node.meta.type.is_integer
    }
    if len(names) == 1:
        return names.pop()
    return error_translation.NUMBER_WORDS


def check_full_joins(bound_query: BoundQuery) -> None:
    """Refuse a FULL JOIN that is not on equalities of columns, one of each side: PostgreSQL has no other.

    Raises
    ------
    UnsupportedByPostgresError
        One is not.
    """
    for node in walk_tree(bound_query.query):
        if isinstance(node, Join) and node.kind.upper() == "FULL":
            left_numbers, right_numbers = (
                {item.number for item in walk_tree(side) if isinstance(item, TableRef | DerivedTable)}
                for side in (node.left, node.right)
            )
            for part in split_conjuncts(node.on):
                if isinstance(part, Comparison):
                    sources = {side.source for side in (part.left, part.right) if isinstance(side, ColumnRef)}
                else:
                    sources = set()
                if not (
                    isinstance(part, Comparison)
                    and part.op == "="
                    and len(sources & left_numbers) == 1 == len(sources & right_numbers)
                ):
                    raise UnsupportedByPostgresError("FULL JOIN on such a condition")


def _is_aggregate(item: object) -> bool:
    return isinstance(item, SelectItem) and item.expr.meta is not None and item.expr.meta.aggregate
