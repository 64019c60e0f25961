"""Analysis of a query over several engines: the columns, conditions and join keys of each table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hven.adql.grouping import is_never_true_for_null, is_single_row_expression
from hven.adql.syntax_tree import (
    ColumnRef,
    Comparison,
    DerivedTable,
    Expr,
    FromItem,
    FunctionCall,
    InPredicate,
    Join,
    Query,
    Select,
    Subquery,
    TableRef,
    join_conditions_with_and,
    split_conjuncts,
    transform_tree,
    walk_tree,
)
from hven.engines import MemoryRelation, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import Relation
    from hven.model.table import Column, Table

ASSUMED_TABLE_ROWS = 1_000_000  # of a table that is read in place, if nothing is known
ASSUMED_ROWS_PER_KEY = 10.0  # if nothing is known
# Fractions of the rows that a region, a value, or another condition leaves, if nothing is known.
REGION_SELECTIVITY, EQUALITY_SELECTIVITY, DEFAULT_SELECTIVITY = 0.001, 0.001, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinKey:
    """A join by key that can restrict `target_number`.

    Its `target_column` must be one of the values of `driver_column` in `driver_number`.
    """

    target_number: int
    target_column: Column
    driver_number: int
    driver_column: Column


@dataclass(slots=True, kw_only=True)
class TableUse:
    """A table reference of the query.

    Attributes
    ----------
    engine
        Engine of the table; None if its rows are in memory.
    conditions
        Conditions on this table alone that its own engine may test.
    pushed_conditions
        The conditions among them that need not be tested again afterwards.
    columns
        Columns that the rest of the query reads.
    row_count, estimated_row_count
        Number of rows, and estimated number of those that the conditions and the best `join_key` leave.
    """

    number: int
    node: TableRef
    engine: str | None
    row_count: int
    conditions: tuple[Expr, ...] = ()
    pushed_conditions: tuple[Expr, ...] = ()
    columns: tuple[Column, ...] = ()
    estimated_row_count: float = 0.0
    join_key: JoinKey | None = None
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class FederationAnalysis:
    """All table references of a query by number.

    `from_item_numbers` are the numbers of all items of FROM.
    """

    table_uses: dict[int, TableUse]
    from_item_numbers: frozenset[int]

    def order_tables_by_dependency(self) -> list[TableUse]:
        """Return the tables so that each one follows the table whose keys restrict it."""
        ordered: dict[int, TableUse] = {}

        def add_after_driver(table_use: TableUse) -> None:
            if table_use.number in ordered:
                return
            if table_use.join_key is not None:
                add_after_driver(self.table_uses[table_use.join_key.driver_number])
            ordered[table_use.number] = table_use

        for table_use in sorted(self.table_uses.values(), key=lambda table_use: table_use.estimated_row_count):
            add_after_driver(table_use)
        return list(ordered.values())


def analyse_federated_query(
    bound_query: BoundQuery, engines_by_table: Mapping[str, str], relations: Mapping[str, Relation], max_keys: int
) -> FederationAnalysis:
    """Analyse a bound query.

    Parameters
    ----------
    bound_query
        The bound query.
    engines_by_table
        Qualified table name -> engine. Tables in memory are missing.
    relations
        Qualified table name -> relation.
    max_keys
        Maximum number of keys that are sent to another engine.
    """
    survey = bound_query.survey
    table_uses: dict[int, TableUse] = {}
    for table_ref in survey.table_refs:
        if table_ref.table is None or table_ref.cte:
            continue
        name = table_ref.table.qualified_name
        relation = relations[name]
        table_uses[table_ref.number] = TableUse(
            number=table_ref.number,
            node=table_ref,
            engine=engines_by_table.get(name),
            row_count=_estimate_row_count(relation),
            statistics=relation.statistics if isinstance(relation, Snapshot) else {},
        )
    join_keys: list[JoinKey] = []
    for select in survey.selects:
        _SelectAnalyzer(table_uses, join_keys).analyse_select(select)
    for table_use in table_uses.values():
        table_use.columns = _find_needed_columns(bound_query.query, table_use)
        table_use.estimated_row_count = float(table_use.row_count)
        for condition in table_use.conditions:
            table_use.estimated_row_count *= _estimate_selectivity(condition, table_use)
    _assign_join_keys(table_uses, join_keys, max_keys)
    numbers = {table_ref.number for table_ref in survey.table_refs}
    numbers |= {derived_table.number for derived_table in survey.derived_tables}
    return FederationAnalysis(table_uses=table_uses, from_item_numbers=frozenset(numbers))


def _estimate_row_count(relation: Relation) -> int:
    if isinstance(relation, Snapshot):
        return relation.rows
    if isinstance(relation, MemoryRelation):
        return int(relation.rows.num_rows)
    if relation.rows is not None:
        return relation.rows
    return ASSUMED_TABLE_ROWS


def _assign_join_keys(table_uses: Mapping[int, TableUse], join_keys: list[JoinKey], max_keys: int) -> None:
    """Follow the joins by key from small tables to large ones; a restricted table may restrict the next one."""
    for _ in range(len(table_uses)):
        changed = False
        for join_key in join_keys:
            target = table_uses[join_key.target_number]
            driver = table_uses[join_key.driver_number]
            remaining_rows = driver.estimated_row_count * _estimate_rows_per_key(target, join_key.target_column)
            if (
                driver.estimated_row_count <= max_keys
                and remaining_rows < target.estimated_row_count * 0.5
                and not _is_restricted_by(table_uses, driver, target.number)
            ):
                target.estimated_row_count = remaining_rows
                target.join_key = join_key
                changed = True
        if not changed:
            return


def _is_restricted_by(table_uses: Mapping[int, TableUse], table_use: TableUse, table_number: int) -> bool:
    while table_use.join_key is not None:
        if table_use.join_key.driver_number == table_number:
            return True
        table_use = table_uses[table_use.join_key.driver_number]
    return False


def _estimate_rows_per_key(table_use: TableUse, column: Column) -> float:
    distinct = _find_distinct_count(table_use, column.name)
    if distinct:
        return max(table_use.row_count / distinct, 1.0)
    return ASSUMED_ROWS_PER_KEY


def _find_distinct_count(table_use: TableUse, column_name: str) -> float | None:
    distinct_count = table_use.statistics.get(column_name, {}).get("distinct")
    if isinstance(distinct_count, int | float) and distinct_count > 0:
        return float(distinct_count)
    return None


def _estimate_selectivity(condition: Expr, table_use: TableUse) -> float:
    """Estimate the fraction of the rows that meets a condition."""
    distinct_count = None
    for node in walk_tree(condition):
        if isinstance(node, FunctionCall) and node.name in {"CONTAINS", "INTERSECTS", "DISTANCE"}:
            return REGION_SELECTIVITY
    column_refs = [node for node in walk_tree(condition) if isinstance(node, ColumnRef)]
    column = next((column_ref.column for column_ref in column_refs if column_ref.column is not None), None)
    if column is not None:
        distinct_count = _find_distinct_count(table_use, column.name)
    equality_selectivity = 1 / distinct_count if distinct_count else EQUALITY_SELECTIVITY
    if isinstance(condition, Comparison) and condition.op == "=":
        return equality_selectivity
    if isinstance(condition, InPredicate) and not condition.negated and not isinstance(condition.choices, Subquery):
        return min(len(condition.choices) * equality_selectivity, 1.0)
    return DEFAULT_SELECTIVITY


class _SelectAnalyzer:
    """An analyzer of one SELECT.

    It finds the conditions of WHERE and ON on one table alone, and the joins of two tables by key. If an outer join may
    fill a table with nulls, a condition of WHERE on it also stays in its place: rows that fail the condition must not
    come back as nulls.
    """

    def __init__(self, table_uses: Mapping[int, TableUse], join_keys: list[JoinKey]) -> None:
        self.table_uses = table_uses
        self.join_keys = join_keys

    def analyse_select(self, select: Select) -> None:
        if select.source is None:
            return
        preserved_tables, nullable_tables = self.assign_join_conditions(select.source)
        if select.where is not None:
            self.assign_conditions(select.where, preserved_tables, nullable_tables, preserved_tables, may_push=True)

    def assign_join_conditions(self, item: FromItem) -> tuple[set[int], set[int]]:
        """Return the tables all of whose rows reach the SELECT, and those that an outer join may fill with nulls."""
        if not isinstance(item, Join):
            if isinstance(item, (TableRef, DerivedTable)):
                preserved_tables = {item.number}
            else:
                preserved_tables = set()
            return preserved_tables, set()
        left_tables, left_nullable = self.assign_join_conditions(item.left)
        right_tables, right_nullable = self.assign_join_conditions(item.right)
        nullable_tables = left_nullable | right_nullable
        if item.kind in {"INNER", "CROSS"}:
            preserved_tables = left_tables | right_tables
            if item.on is not None:
                self.assign_conditions(item.on, preserved_tables, nullable_tables, preserved_tables, may_push=True)
            return preserved_tables, nullable_tables
        if item.kind == "FULL" or item.on is None:
            return set(), nullable_tables | left_tables | right_tables
        if item.kind == "LEFT":
            preserved_side, filled_side, filled_nullable = (left_tables, right_tables, right_nullable)
        else:
            preserved_side, filled_side, filled_nullable = (right_tables, left_tables, left_nullable)
        self.assign_conditions(item.on, filled_side, filled_nullable, preserved_side, may_push=False)
        return preserved_side, nullable_tables | filled_side

    def assign_conditions(
        self,
        condition: Expr,
        preserved_tables: set[int],
        nullable_tables: set[int],
        driver_tables: set[int],
        *,
        may_push: bool,
    ) -> None:
        """Add the conjuncts of a condition to their tables.

        Tables of `nullable_tables` get only those that are false for nulls.
        """
        for part in split_conjuncts(condition):
            if not is_single_row_expression(part):
                continue
            sources = {node.source for node in walk_tree(part) if isinstance(node, ColumnRef)}
            if len(sources) == 2:
                self._add_join_keys(part, preserved_tables, driver_tables)
                continue
            table_use = None
            if len(sources) == 1:
                table_use = self.table_uses.get(next(iter(sources)))
            if table_use is None:
                continue
            is_preserved = table_use.number in preserved_tables
            is_nullable = table_use.number in nullable_tables
            if is_preserved or (is_nullable and is_never_true_for_null(part)):
                table_use.conditions = (*table_use.conditions, part)
            if may_push and is_preserved:
                table_use.pushed_conditions = (*table_use.pushed_conditions, part)

    def _add_join_keys(self, condition: Expr, preserved_tables: set[int], driver_tables: set[int]) -> None:
        if not isinstance(condition, Comparison) or condition.op != "=":
            return
        left, right = condition.left, condition.right
        if not isinstance(left, ColumnRef) or not isinstance(right, ColumnRef):
            return
        if left.source not in self.table_uses or right.source not in self.table_uses:
            return
        if left.column is None or right.column is None or not _is_comparable(left.column, right.column):
            return
        for target, driver in ((left, right), (right, left)):
            if target.source not in preserved_tables or driver.source not in driver_tables:
                continue
            if target.column is not None and driver.column is not None:
                join_key = JoinKey(
                    target_number=target.source,
                    target_column=target.column,
                    driver_number=driver.source,
                    driver_column=driver.column,
                )
                self.join_keys.append(join_key)


def _is_comparable(left_column: Column, right_column: Column) -> bool:
    if left_column.type.is_integer:
        return right_column.type.is_integer
    return left_column.type.is_string and right_column.type.is_string


def _find_needed_columns(query: Query, table_use: TableUse) -> tuple[Column, ...]:
    """Return the columns of a table that are read elsewhere than in its pushed conditions; at least one."""
    table = table_use.node.table
    if table is None:
        return ()
    pushed_ids = {id(node) for node in walk_tree(table_use.pushed_conditions)}
    names = set()
    for node in walk_tree(query):
        if not isinstance(node, ColumnRef) or node.source != table_use.number or not node.column:
            continue
        if id(node) not in pushed_ids:
            names.add(node.column.name)
    needed_columns = tuple(column for column in table.columns if column.name in names)
    if needed_columns:
        return needed_columns
    smallest_column = min(table.columns, key=lambda column: (column.type.is_string, column.type.arraysize is not None))
    return (smallest_column,)


def replace_foreign_tables(
    query: Query, foreign_numbers: set[int], copies_by_name: Mapping[str, Table], pushed_ids: set[int]
) -> Query:
    """Copy a query with other tables in place of `foreign_numbers`.

    The copy does not have the conditions whose id() is in `pushed_ids`.
    """

    def change_node(node: Any) -> Any:
        if isinstance(node, TableRef):
            if node.number not in foreign_numbers or node.cte:
                return node
            table = next(table for table in copies_by_name.values() if table.name == f"t{node.number}")
            return replace(node, table=table, where=None)
        if isinstance(node, Select) and (where := _remove_pushed_conditions(node.where, pushed_ids)) is not node.where:
            return transform_tree(replace(node, where=where), change_node)
        if isinstance(node, Join) and (on := _remove_pushed_conditions(node.on, pushed_ids)) is not node.on:
            if node.kind == "INNER" and on is None:
                kind = "CROSS"
            else:
                kind = node.kind
            return transform_tree(replace(node, on=on, kind=kind), change_node)
        return node

    return transform_tree(query, change_node)


def _remove_pushed_conditions(condition: Expr | None, pushed_ids: set[int]) -> Expr | None:
    remaining_conditions = [part for part in split_conjuncts(condition) if id(part) not in pushed_ids]
    if len(remaining_conditions) == sum(1 for _ in split_conjuncts(condition)):
        return condition
    return join_conditions_with_and(*remaining_conditions)
