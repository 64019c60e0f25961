"""PostgresPlan: a bound query, written once for each set of tables it meets, and run by PostgreSQL - or, where it cannot, by the embedded engine."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql.tree import Cast, ColumnRef, Compare, Derived, In, Join, LiteralList, Select, SelectItem, TableRef, conjuncts, walk
from hven.engines import Memory, Plan, Snapshot
from hven.engines.postgres import faults
from hven.engines.postgres.detour import Detour
from hven.engines.postgres.dialect import Elsewhere
from hven.engines.postgres.estimating import expected
from hven.engines.postgres.install import quote
from hven.engines.postgres.partitions import beginning
from hven.engines.postgres.places import HEALPIX, Positions
from hven.engines.postgres.ranges import WHY, Ranged, may_leave
from hven.engines.postgres.relations import address, wanted
from hven.engines.postgres.running import QUICK, Pace, PostgresExecution, Work, plain
from hven.engines.postgres.statement import compose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Relation
    from hven.engines.postgres.machine import Machine
    from hven.engines.postgres.statement import Statement

    Values = Sequence[float | str | None]

KEPT = 8  # texts of one plan, for snapshots of other days


class PostgresPlan(Plan):
    """A prepared query (`hven.engines.Plan`)."""

    def __init__(self, engine: Machine, bound: Bound) -> None:
        self._engine = engine
        self._bound = bound
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        self._positions = Positions.of(bound)
        self._lock = threading.Lock()
        self._texts: OrderedDict[tuple[object, ...], Statement] = OrderedDict()
        self._quick = is_quick(bound)
        self._pace = Pace()
        self._plain = plain(self.schema)
        self._number = whole_number(bound)
        self._detour: Detour | None = None
        try:
            refuse_full_joins(bound)
            # what cannot be written is refused, or sent elsewhere, when the plan is made
            self._first = compose(
                bound, self._positions, {table.qualified: quote(table.qualified) for table in bound.tables}, frozenset(), "", "C"
            )
        except Elsewhere as reason:
            self._detour = Detour(engine, bound, self._positions, str(reason))
        self._ranged = (
            Ranged(lambda: Detour(engine, bound, self._positions, WHY, computing=False))
            if self._detour is None and may_leave(bound.query)
            else None
        )

    # --- running ---------------------------------------------------------------------------------------------

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        if self._detour is not None:
            return self._detour.execute(values, relations, limits)
        if self._ranged is not None:
            return self._ranged.execute(lambda: self._execution(values, relations, limits), values, relations, limits)
        return self._execution(values, relations, limits)

    def _execution(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> PostgresExecution:
        work = partial(self._work, values, relations)
        execution = PostgresExecution(self._engine, self.schema, work, limits, number=self._number, pace=self._pace, plain=self._plain)
        if self.small:
            execution.send()
        return execution

    @property
    def small(self) -> bool:
        """True if the server, which is another process, maybe another machine, usually answers soon."""
        return self._quick and self._detour is None and self._pace.quick

    def _work(self, values: Values, relations: Mapping[str, Relation]) -> Work:
        names, indexed, uploads, regions = {}, set(), [], {}
        for number, table in enumerate(self._bound.tables):
            relation = wanted(relations, table.qualified)
            if isinstance(relation, Memory):
                name = f"rows in memory {number}"
                names[table.qualified] = f"pg_temp.{quote(name)}"
                uploads.append((name, table, relation.rows))
            else:
                names[table.qualified] = address(self._engine, relation)
                if isinstance(relation, Snapshot):
                    regions[table.qualified] = relation.regions
                    if table.position is not None:
                        indexed.add(table.qualified)
        found = self._engine.found
        statement, arguments = None, None
        if self._engine.indexes:
            statement = self._text(names, frozenset(indexed), found.mode, found.letters, regions)
            arguments = statement.arguments(values)
            if arguments is None and found.mode != HEALPIX:  # a wide circle: cells can hold it
                statement = self._text(names, frozenset(indexed), HEALPIX, found.letters, regions)
                arguments = statement.arguments(values)
        if statement is None or arguments is None:
            statement = self._text(names, frozenset(indexed), "", found.letters, regions)
            arguments = statement.arguments(values) or []
        return Work(asked=statement.asked, streamed=statement.streamed, arguments=arguments, quick=self._quick, uploads=uploads)

    def _text(
        self, names: Mapping[str, str], indexed: frozenset[str], mode: str, letters: str, regions: Mapping[str, Sequence[str]]
    ) -> Statement:
        key = (tuple(names.values()), mode)
        with self._lock:
            known = self._texts.get(key)
            if known is not None:
                self._texts.move_to_end(key)
                return known
        made = compose(self._bound, self._positions, names, indexed, mode, letters, regions)
        with self._lock:
            self._texts[key] = made
            while len(self._texts) > KEPT:
                self._texts.popitem(last=False)
        return made

    def explain(self) -> str:
        """Say which road is taken; see `hven.engines.Plan.explain`."""
        if self._detour is not None:
            return self._detour.explain()
        lines = [
            f"position index ({shape.shape.kind.lower()}), if it holds the shape"
            for shapes in self._positions.shapes.values()
            for shape in shapes
        ]
        lines += [
            f"position index of the regions in {region.column} ({region.shape.kind.lower()})"
            for regions in self._positions.regions.values()
            for region in regions
        ]
        lines += [
            f"{self._called(one)}: matched with {self._called(other)} by the position index"
            for one, other in self._as_indexed().places.matched.items()
        ]
        return "\n".join([*lines, f"PostgreSQL: {self._first.asked}"])

    def estimate(self, values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Say how many rows of each table are read, as PostgreSQL expects it."""
        here = [(name, relation.path) for name, relation in relations.items() if isinstance(relation, Snapshot)]
        called = {path: name for name, path in here} | {beginning(name, path): name for name, path in here}
        if self._detour is None:
            return expected(self._engine, lambda: self._work(values, relations), called)
        return self._detour.estimated(values, relations, called)

    def _as_indexed(self) -> Statement:
        """Write the query as if all its tables were snapshots: PostgreSQL decides when it runs."""
        names = {table.qualified: quote(table.qualified) for table in self._bound.tables}
        indexed = frozenset(table.qualified for table in self._bound.tables if table.position is not None)
        return compose(self._bound, self._positions, names, indexed, HEALPIX, "C")

    def _called(self, number: int) -> str:
        """Name a reference as the query does."""
        leaf = self._positions.leaves.get(number)
        if leaf is None:
            return "a subquery"
        return leaf.alias.name if leaf.alias is not None else leaf.table.qualified if leaf.table is not None else str(number)


def is_quick(bound: Bound) -> bool:
    """Say whether the answer is probably small: a narrowed table, a short TOP, or one row of aggregates.

    A long list is part of the text, which is then too long to be kept as a prepared statement.
    """
    body = bound.query.body
    if any(isinstance(node, In) and isinstance(node.choices, LiteralList) for node in walk(bound.query)):
        return False
    if not isinstance(body, Select):
        return False
    if body.top is not None and isinstance(body.top.value, int) and body.top.value <= QUICK:
        return True
    return body.where is not None or (not body.group_by and bool(body.items) and all(_aggregate(item) for item in body.items))


def whole_number(bound: Bound) -> str:
    """Name the ADQL type of whole numbers that texts are cast to, if it is one; for what is said of a text that is none."""
    names = {node.target for node in walk(bound.query) if isinstance(node, Cast) and node.meta is not None and node.meta.type.is_integer}
    return names.pop() if len(names) == 1 else faults.NUMBER


def refuse_full_joins(bound: Bound) -> None:
    """See that every FULL JOIN is on equalities of columns, one of each side: PostgreSQL has no other.

    Raises
    ------
    Elsewhere
        One is not.
    """
    for node in walk(bound.query):
        if isinstance(node, Join) and node.kind.upper() == "FULL":
            left, right = ({item.number for item in walk(side) if isinstance(item, TableRef | Derived)} for side in (node.left, node.right))
            for part in conjuncts(node.on):
                sources = (
                    {side.source for side in (part.left, part.right) if isinstance(side, ColumnRef)} if isinstance(part, Compare) else set()
                )
                if not (isinstance(part, Compare) and part.op == "=" and len(sources & left) == 1 == len(sources & right)):
                    raise Elsewhere("FULL JOIN on such a condition")


def _aggregate(item: object) -> bool:
    return isinstance(item, SelectItem) and item.expr.meta is not None and item.expr.meta.aggregate
