"""PostgresPlan: a bound query, written once for each set of tables it meets, and run by PostgreSQL - or, where it cannot, by the embedded engine."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from hven.adql.sql import Writer
from hven.adql.tree import (
    Cast,
    ColumnRef,
    Compare,
    Derived,
    In,
    Join,
    LiteralList,
    Select,
    SelectItem,
    TableRef,
    conjuncts,
    walk,
)
from hven.engines import Memory, Plan, Snapshot
from hven.engines._bound.policies import conditions
from hven.engines._bound.unions import distributed
from hven.engines._detour import Detour, wanted
from hven.engines.postgres import faults
from hven.engines.postgres.dialect import Elsewhere, Postgres
from hven.engines.postgres.estimating import expected
from hven.engines.postgres.install import quote
from hven.engines.postgres.outside import Nothing, Outside
from hven.engines.postgres.partitions import beginning
from hven.engines.postgres.places import HEALPIX, Places, Positions
from hven.engines.postgres.ranges import WHY, Ranged, may_leave
from hven.engines.postgres.running import QUICK, Pace, PostgresExecution, Work, plain
from hven.engines.postgres.statement import Statement
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Relation
    from hven.engines.postgres.machine import Machine
    from hven.model.table import Table

    Values = Sequence[float | str | None]

KEPT = 8  # texts of one plan, for snapshots of other days


class PostgresPlan(Plan):
    """A prepared query (`hven.engines.Plan`).

    Parameters
    ----------
    reading
        Of a `Detour`, whose query asks for rows of one table: what that query asks of positions. Rows may then be too many.

    Raises
    ------
    Elsewhere
        A `reading` that PostgreSQL cannot compute.
    """

    looks: ClassVar[type[Positions]] = Positions
    places: ClassVar[type[Places]] = Places
    dialect: ClassVar[type[Postgres]] = Postgres
    writer: ClassVar[type[Writer]] = Writer

    def __init__(self, engine: Machine, bound: Bound, reading: Positions | None = None) -> None:
        self._engine = engine
        self._quick = reading is None and is_quick(bound)
        # conditions of a union find the index of each member there, which PostgreSQL's planner has no words for
        self._bound = bound = distributed(bound) if reading is None else bound
        self._reading = reading is not None
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        self._positions = self.looks.of(bound) if reading is None else reading
        self._outside = Outside(bound, self._positions)
        self._lock = threading.Lock()
        self._texts: OrderedDict[tuple[object, ...], Statement] = OrderedDict()
        self._wanted: dict[str, Any] = {}  # copies of what the reader sees, by path
        self._pace = Pace()
        self._plain = plain(self.schema)
        self._number = whole_number(bound)
        self._detour: Detour | None = None
        try:
            refuse_full_joins(bound)
            # what cannot be written is refused, or sent elsewhere, when the plan is made
            self._first = self._written(self._names(), {}, "", "C")
        except Elsewhere as reason:
            if self._reading:
                raise
            self._detour = self._elsewhere(str(reason))
        ranged = not self._reading and self._detour is None and may_leave(bound.query)
        self._ranged = Ranged(lambda: self._elsewhere(WHY, computing=False)) if ranged else None

    def _names(self) -> dict[str, str]:
        return {table.qualified: quote(table.qualified) for table in self._bound.tables}

    def _elsewhere(self, reason: str, *, computing: bool = True) -> Detour:
        """Build the plan by which the embedded engine computes."""
        return Detour(
            self._engine.embedded,
            self._bound,
            reason,
            self._read,
            takes=lambda condition: computing or not may_leave(condition),
        )

    def _read(self, bound: Bound) -> Plan | None:
        """Plan what a detour reads of one table."""
        try:
            return type(self)(self._engine, bound, self._positions)
        except Elsewhere:
            return None

    # --- running ---------------------------------------------------------------------------------------------

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        if self._engine.indexes and self._outside.nothing(values, relations):
            return Nothing(self.schema)
        if self._detour is not None:
            return self._detour.execute(values, relations, limits)
        if self._ranged is not None:
            return self._ranged.execute(lambda: self._execution(values, relations, limits), values, relations, limits)
        return self._execution(values, relations, limits)

    def _execution(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> PostgresExecution:
        work = partial(self._work, values, relations)
        execution = PostgresExecution(
            self._engine, self.schema, work, limits, number=self._number, pace=self._pace, plain=self._plain
        )
        if self.small:
            execution.send()
        return execution

    @property
    def small(self) -> bool:
        """True if the server, which is another process, maybe another machine, usually answers soon."""
        return self._quick and self._detour is None and self._pace.quick

    def _work(self, values: Values, relations: Mapping[str, Relation]) -> Work:
        names, indexed, uploads, reached, fenced = {}, {}, [], [], False
        policies = self._policies if self._engine.indexes else {}
        for number, table in enumerate(self._bound.tables):
            relation = wanted(relations, table.qualified)
            if isinstance(relation, Memory):
                name = f"rows in memory {number}"
                names[table.qualified] = f"pg_temp.{quote(name)}"
                uploads.append((name, table, relation.rows))
            else:
                names[table.qualified], indexed[table.qualified] = self._there(table, relation)
                if table.qualified in policies:
                    rows = self._reach(table, relation, policies[table.qualified][0])
                    if rows:
                        names[table.qualified] = rows
                        reached.append(table.qualified)
                    elif rows is not None:  # no index may find rows before the policy does
                        fenced = True
                        del indexed[table.qualified]
        modes = self._modes() if self._engine.indexes else []
        for mode in (*modes, ""):  # without an index, it always holds
            statement = self._text(names, indexed, mode, tuple(reached), fenced=fenced)
            arguments = statement.arguments(values)
            if arguments is not None:
                break
        soon = self._ranged is None  # what may fail had better fail before anything is given
        return Work(
            asked=statement.asked,
            streamed=statement.streamed,
            arguments=arguments or [],
            quick=self._quick,
            uploads=uploads,
            soon=soon,
        )

    def _there(self, table: Table, relation: Relation) -> tuple[str, Any]:  # noqa: ARG002  (of tables in place, too)
        """Write where the rows of a table are, and return what of it is indexed, for `places`."""
        if not isinstance(relation, Snapshot):
            message = f"{type(relation).__name__} is no table of the database"
            raise StorageError(message)
        return f"{quote(self._engine.schema)}.{quote(relation.path)}", relation.regions

    def _modes(self) -> Iterable[str]:
        """Return the ways to find positions, the best one first: a wide circle can only be held by cells."""
        return dict.fromkeys((self._engine.found.mode, HEALPIX))

    @cached_property
    def _policies(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The conditions of policies, as the database has them."""
        if self._engine.reaches is None:
            return {}
        try:
            return conditions(
                self._bound, self.dialect(self.places(Positions(), {}, {}, ""), letters=self._engine.found.letters)
            )
        except Elsewhere:
            return {}

    def _reach(self, table: Table, relation: Relation, condition: str) -> str | None:
        reaches = self._engine.reaches
        if reaches is None or not isinstance(relation, Snapshot):
            return None
        known = self._wanted.get(relation.path)
        if known is None:
            known = self._wanted[relation.path] = reaches.wanted(relation, table, condition)
        return reaches.find(known)

    def _text(
        self, names: Mapping[str, str], indexed: Mapping[str, Any], mode: str, reached: tuple[str, ...], *, fenced: bool
    ) -> Statement:
        key = (tuple(names.values()), mode, fenced, *reached)
        with self._lock:
            known = self._texts.get(key)
            if known is not None:
                self._texts.move_to_end(key)
                return known
        made = self._written(names, indexed, mode, self._engine.found.letters, reached=reached, fenced=fenced)
        with self._lock:
            self._texts[key] = made
            while len(self._texts) > KEPT:
                self._texts.popitem(last=False)
        return made

    def _written(
        self, names: Mapping[str, str], indexed: Mapping[str, Any], mode: str, letters: str, **policies: Any
    ) -> Statement:
        texts = []
        for settings in (False, True):
            places = self.places(self._positions, names, indexed, mode, **policies)
            dialect = self.dialect(places, letters=letters, settings=settings, partly=self._reading)
            dialect.most = self._bound.longest
            writer = self.writer(dialect, names, self._bound.free)
            texts.append(dialect.finished(writer.query(self._bound.query)))
        return Statement(texts[0], texts[1], tuple(writer.parameters), places)

    def explain(self) -> str:
        """Describe which road is taken; see `hven.engines.Plan.explain`."""
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
        lines += self._outside.describe()
        # as if all were snapshots
        indexed = self._written(self._names(), dict.fromkeys(self._names(), ()), HEALPIX, "C")
        lines += [
            f"{self._called(one)}: matched with {self._called(other)} by the position index"
            for one, other in indexed.places.matched.items()
        ]
        return "\n".join([*lines, f"PostgreSQL: {self._first.asked}"])

    def estimate(self, values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Estimate how many rows of each table are read, as PostgreSQL expects it."""
        if self._detour is not None:
            return self._detour.estimate(values, relations)
        return expected(self._engine, lambda: self._work(values, relations), self._stored(relations))

    def _stored(self, relations: Mapping[str, Relation]) -> dict[str, str]:
        """Return the names of tables by those in the database, or by what those of their partitions begin with."""
        here = [(name, relation.path) for name, relation in relations.items() if isinstance(relation, Snapshot)]
        return {path: name for name, path in here} | {beginning(name, path): name for name, path in here}

    def _called(self, number: int) -> str:
        """Name a reference as the query does."""
        leaf = self._positions.leaves.get(number)
        if leaf is None:
            return "a subquery"
        return (
            leaf.alias.name
            if leaf.alias is not None
            else leaf.table.qualified
            if leaf.table is not None
            else str(number)
        )


def is_quick(bound: Bound) -> bool:
    """Return whether the answer is probably small: a narrowed table, a short TOP, or one row of aggregates.

    A long list is part of the text, which is then too long to be kept as a prepared statement.
    """
    body = bound.query.body
    if any(isinstance(node, In) and isinstance(node.choices, LiteralList) for node in walk(bound.query)):
        return False
    if not isinstance(body, Select):
        return False
    if body.top is not None and isinstance(body.top.value, int) and body.top.value <= QUICK:
        return True
    return body.where is not None or (
        not body.group_by and bool(body.items) and all(_aggregate(item) for item in body.items)
    )


def whole_number(bound: Bound) -> str:
    """Name the ADQL type of whole numbers that texts are cast to, if it is one; for what is said of a text that is none."""
    names = {
        node.target
        for node in walk(bound.query)
        if isinstance(node, Cast) and node.meta is not None and node.meta.type.is_integer
    }
    return names.pop() if len(names) == 1 else faults.NUMBER


def refuse_full_joins(bound: Bound) -> None:
    """Refuse a FULL JOIN that is not on equalities of columns, one of each side: PostgreSQL has no other.

    Raises
    ------
    Elsewhere
        One is not.
    """
    for node in walk(bound.query):
        if isinstance(node, Join) and node.kind.upper() == "FULL":
            left, right = (
                {item.number for item in walk(side) if isinstance(item, TableRef | Derived)}
                for side in (node.left, node.right)
            )
            for part in conjuncts(node.on):
                sources = (
                    {side.source for side in (part.left, part.right) if isinstance(side, ColumnRef)}
                    if isinstance(part, Compare)
                    else set()
                )
                if not (
                    isinstance(part, Compare) and part.op == "=" and len(sources & left) == 1 == len(sources & right)
                ):
                    raise Elsewhere("FULL JOIN on such a condition")


def _aggregate(item: object) -> bool:
    return isinstance(item, SelectItem) and item.expr.meta is not None and item.expr.meta.aggregate
