"""What a query over several engines asks of each table alone: its columns, its conditions, and the keys that lead to it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hven.adql.grouping import false_for_null, of_its_row
from hven.adql.tree import (
    ColumnRef,
    Compare,
    Derived,
    Expr,
    FromItem,
    Function,
    In,
    Join,
    Query,
    Select,
    Subquery,
    TableRef,
    conjunction,
    conjuncts,
    transform,
    walk,
)
from hven.engines import Memory, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.adql.tree import Bound
    from hven.engines import Relation
    from hven.model.table import Column, Table

UNKNOWN = 1_000_000  # rows of a table that is read in place
FAN = 10.0  # rows of one key, where nothing is known
# shares of the rows that a region, a value, another condition leaves, where nothing is known
NEAR, SAME, SOME = 0.001, 0.001, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinKey:
    """A join by key that can narrow `target`: its `column` must be one of the values of `other` in `driver`."""

    target: int
    column: Column
    driver: int
    other: Column


@dataclass(slots=True, kw_only=True)
class Ref:
    """One table of the query, where it stands in FROM.

    Attributes
    ----------
    engine
        None: its rows are in memory.
    conditions
        Those on this table alone that may be asked in its own engine.
    moved
        Those of them that need not be asked again afterwards.
    columns
        What the rest of the query reads of it.
    rows, reduced
        How many rows it has; how many are left, about, after the conditions and the best key that leads to it (`link`).
    """

    number: int
    node: TableRef
    engine: str | None
    rows: int
    conditions: tuple[Expr, ...] = ()
    moved: tuple[Expr, ...] = ()
    columns: tuple[Column, ...] = ()
    reduced: float = 0.0
    link: JoinKey | None = None
    statistics: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Survey:
    """All tables of a query by number; `numbers` are those of every item of FROM."""

    refs: dict[int, Ref]
    numbers: frozenset[int]

    def in_order(self) -> list[Ref]:
        """Return the tables so that each comes after the one whose keys narrow it."""
        found: dict[int, Ref] = {}

        def add(one: Ref) -> None:
            if one.number in found:
                return
            if one.link is not None:
                add(self.refs[one.link.driver])
            found[one.number] = one

        for one in sorted(self.refs.values(), key=lambda one: one.reduced):
            add(one)
        return list(found.values())


def survey(bound: Bound, homes: Mapping[str, str], relations: Mapping[str, Relation], most: int) -> Survey:
    """Analyse a bound query.

    Parameters
    ----------
    homes
        Qualified table name -> engine; those that are missing are in memory.
    most
        Keys that may be sent to another engine.
    """
    refs: dict[int, Ref] = {}
    numbers = set()
    for node in walk(bound.query):
        if isinstance(node, (TableRef, Derived)):
            numbers.add(node.number)
        if isinstance(node, TableRef) and node.table is not None and not node.cte:
            name = node.table.qualified
            relation = relations[name]
            refs[node.number] = Ref(
                number=node.number,
                node=node,
                engine=homes.get(name),
                rows=_size(relation),
                statistics=relation.statistics if isinstance(relation, Snapshot) else {},
            )
    edges: list[JoinKey] = []
    for node in walk(bound.query):
        if isinstance(node, Select) and node.source is not None:
            _Level(refs, edges).read(node)
    for one in refs.values():
        one.columns = _needed(bound.query, one)
        one.reduced = float(one.rows)
        for condition in one.conditions:
            one.reduced *= _share(condition, one)
    _reduce(refs, edges, most)
    return Survey(refs=refs, numbers=frozenset(numbers))


def _size(relation: Relation) -> int:
    if isinstance(relation, Snapshot):
        return relation.rows
    if isinstance(relation, Memory):
        return int(relation.rows.num_rows)
    return relation.rows if relation.rows is not None else UNKNOWN


def _reduce(refs: Mapping[int, Ref], edges: list[JoinKey], most: int) -> None:
    """Follow the joins by key from small tables to large ones; a table that a key narrows may narrow the next."""
    for _ in range(len(refs)):
        changed = False
        for edge in edges:
            one, driver = refs[edge.target], refs[edge.driver]
            left = driver.reduced * _fan(one, edge.column)
            if driver.reduced <= most and left < one.reduced * 0.5 and not _leads_to(refs, driver, one.number):
                one.reduced, one.link, changed = left, edge, True
        if not changed:
            return


def _leads_to(refs: Mapping[int, Ref], one: Ref, number: int) -> bool:
    while one.link is not None:
        if one.link.driver == number:
            return True
        one = refs[one.link.driver]
    return False


def _fan(one: Ref, column: Column) -> float:
    distinct = _distinct(one, column.name)
    return max(one.rows / distinct, 1.0) if distinct else FAN


def _distinct(one: Ref, name: str) -> float | None:
    found = one.statistics.get(name, {}).get("distinct")
    return float(found) if isinstance(found, int | float) and found > 0 else None


def _share(condition: Expr, one: Ref) -> float:
    """Guess what share of the rows meets a condition."""
    if any(
        isinstance(node, Function) and node.name in {"CONTAINS", "INTERSECTS", "DISTANCE"} for node in walk(condition)
    ):
        return NEAR
    named = next(
        (node.column for node in walk(condition) if isinstance(node, ColumnRef) and node.column is not None), None
    )
    distinct = _distinct(one, named.name) if named is not None else None
    single = 1 / distinct if distinct else SAME
    if isinstance(condition, Compare) and condition.op == "=":
        return single
    if isinstance(condition, In) and not condition.negated and not isinstance(condition.choices, Subquery):
        return min(len(condition.choices) * single, 1.0)
    return SOME


class _Level:
    """One SELECT: which conditions of its WHERE and ON are on one table alone, and which join two by key.

    A table on the side of an outer join that is filled up with nulls keeps a condition of WHERE in its place, too: rows that fail
    it must not come back as nulls.
    """

    def __init__(self, refs: Mapping[int, Ref], edges: list[JoinKey]) -> None:
        self.refs = refs
        self.edges = edges

    def read(self, select: Select) -> None:
        if select.source is None:
            return
        firm, loose = self.sides(select.source)
        if select.where is not None:
            self.conditions(select.where, firm, loose, firm, move=True)

    def sides(self, item: FromItem) -> tuple[set[int], set[int]]:
        """Return the numbers of the tables whose rows all reach the SELECT, and of those that an outer join may fill up with nulls."""
        if not isinstance(item, Join):
            return {item.number} if isinstance(item, (TableRef, Derived)) else set(), set()
        (one, one_loose), (two, two_loose) = self.sides(item.left), self.sides(item.right)
        loose = one_loose | two_loose
        if item.kind in {"INNER", "CROSS"}:
            firm = one | two
            if item.on is not None:
                self.conditions(item.on, firm, loose, firm, move=True)
            return firm, loose
        if item.kind == "FULL" or item.on is None:
            return set(), loose | one | two
        kept, filled, filled_loose = (one, two, two_loose) if item.kind == "LEFT" else (two, one, one_loose)
        self.conditions(item.on, filled, filled_loose, kept, move=False)
        return kept, loose | filled

    def conditions(self, condition: Expr, firm: set[int], loose: set[int], drivers: set[int], *, move: bool) -> None:
        """Sort the conjuncts: `firm` tables may be asked them, `loose` ones only what is false for nulls."""
        for part in conjuncts(condition):
            sources = {node.source for node in walk(part) if isinstance(node, ColumnRef)}
            if not of_its_row(part):
                continue
            if len(sources) == 1:
                one = self.refs.get(next(iter(sources)))
                if one is not None and (one.number in firm or (one.number in loose and false_for_null(part))):
                    one.conditions = (*one.conditions, part)
                    if move and one.number in firm:
                        one.moved = (*one.moved, part)
            elif len(sources) == 2:
                self._edges(part, firm, drivers)

    def _edges(self, part: Expr, firm: set[int], drivers: set[int]) -> None:
        if not (
            isinstance(part, Compare)
            and part.op == "="
            and isinstance(part.left, ColumnRef)
            and isinstance(part.right, ColumnRef)
        ):
            return
        for here, there in ((part.left, part.right), (part.right, part.left)):
            if (
                here.source not in firm
                or there.source not in drivers
                or not {here.source, there.source} <= set(self.refs)
            ):
                continue
            if here.column is not None and there.column is not None and _alike(here.column, there.column):
                self.edges.append(
                    JoinKey(target=here.source, column=here.column, driver=there.source, other=there.column)
                )


def _alike(one: Column, two: Column) -> bool:
    return (one.type.is_integer and two.type.is_integer) or (one.type.is_string and two.type.is_string)


def _needed(query: Query, one: Ref) -> tuple[Column, ...]:
    """Return the columns of a table that are read elsewhere than in the conditions that moved to it; at least one."""
    table = one.node.table
    if table is None:
        return ()
    moved = {id(node) for node in walk(one.moved)}
    names = {
        node.column.name
        for node in walk(query)
        if isinstance(node, ColumnRef) and node.source == one.number and node.column and id(node) not in moved
    }
    found = tuple(column for column in table.columns if column.name in names)
    return found or (min(table.columns, key=lambda column: (column.type.is_string, column.type.arraysize is not None)),)


def replaced(query: Query, foreign: set[int], copies: Mapping[str, Table], moved: set[int]) -> Query:
    """Copy a query with other tables in place of the `foreign` ones, without the conditions (by `id`) that have moved."""

    def change(node: Any) -> Any:
        if isinstance(node, TableRef):
            if node.number not in foreign or node.cte:
                return node
            table = next(table for table in copies.values() if table.name == f"t{node.number}")
            return replace(node, table=table, where=None)
        if isinstance(node, Select) and (where := _without(node.where, moved)) is not node.where:
            return transform(replace(node, where=where), change)
        if isinstance(node, Join) and (on := _without(node.on, moved)) is not node.on:
            return transform(
                replace(node, on=on, kind="CROSS" if node.kind == "INNER" and on is None else node.kind), change
            )
        return node

    return transform(query, change)


def _without(condition: Expr | None, moved: set[int]) -> Expr | None:
    kept = [part for part in conjuncts(condition) if id(part) not in moved]
    return condition if len(kept) == sum(1 for _ in conjuncts(condition)) else conjunction(*kept)
