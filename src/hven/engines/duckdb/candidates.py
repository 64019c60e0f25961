"""Candidates of a query: everything its indexes can narrow, found in one place when the plan is made and looked up when it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.engines import Memory, Snapshot
from hven.engines.duckdb.narrow import columns_read, selects
from hven.engines.duckdb.pairs import (
    DRIVERS,
    PARTNER,
    ROW,
    KeyJoin,
    Match,
    Side,
    doubles,
    joined,
    key_joins,
    matches,
    near_pairs,
    radii,
    rows_with_keys,
    with_numbers,
)
from hven.engines.duckdb.roads import Access, Best, Found, accesses, scope_of
from hven.errors import StorageError, Timeout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.tree import Bound, Expr, TableRef
    from hven.engines import Relation
    from hven.engines.duckdb.layout import Stored
    from hven.engines.duckdb.machine import Machine

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

SHARE = 5  # candidates are used if they are less than one in so many rows
FEW = 10_000  # or less than this
PRODUCT = 2_000_000  # pairs that DuckDB may try one by one
KEYS = 500_000  # rows on the other side of a join by key that are looked up one by one


@dataclass(slots=True)
class Reduced:
    """What the indexes gave for one run: tables to read in place of references, and conditions to replace."""

    tables: dict[int, pa.Table] = field(default_factory=dict)
    joins: dict[int, Expr] = field(default_factory=dict)
    sides: list[tuple[int, Side]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[frozenset[int], tuple[tuple[int, Side], ...]]:
        """Name what the SQL text depends on."""
        return frozenset(self.tables), tuple(self.sides)


class Candidates:
    """The roads to each table reference of a query."""

    def __init__(self, bound: Bound) -> None:
        self.leaves: dict[int, TableRef] = {}
        self.accesses: dict[int, Access] = {}
        self._matches: list[Match] = []
        self._joins: list[KeyJoin] = []
        self._columns = columns_read(bound)
        for select in selects(bound.query):
            scope = scope_of(select)
            self.leaves.update(scope.leaves)
            for number, access in accesses(scope, bound.free).items():
                known = self.accesses.get(number)
                self.accesses[number] = access if known is None else Best((known, access))
            if len(scope.direct) > 1:
                self._matches += matches(scope, bound.free)
                self._joins += key_joins(scope)

    def __bool__(self) -> bool:
        return bool(self.accesses or self._matches or self._joins)

    def describe(self) -> list[str]:
        """Say in words what may be used."""
        lines = [
            f"{self._name(number)}: candidates from the {access.describe()}, if they are few" for number, access in self.accesses.items()
        ]
        for match in self._matches:
            lines += [f"{self._name(side.target)}: matched with {self._name(side.driver)} by the position index" for side in match.sides]
        lines += [
            f"{self._name(join.target)}: rows with the keys of {self._name(join.driver)} from the index of {join.column}, if they are few"
            for join in self._joins
        ]
        return lines

    def _name(self, number: int) -> str:
        leaf = self.leaves[number]
        return leaf.alias.name if leaf.alias is not None else leaf.table.qualified if leaf.table is not None else str(number)

    def find(self, engine: Machine, values: Values, relations: Mapping[str, Relation], seconds: float | None) -> Reduced:
        """Look everything up for these values."""
        return _Search(self, engine, values, relations, seconds).run()

    def relation(self, number: int, relations: Mapping[str, Relation]) -> Relation | None:
        """Give the relation that a table reference reads."""
        table = self.leaves[number].table
        if table is None:
            return None
        if table.qualified not in relations:
            message = f"nobody said where the rows of {table.qualified} are"
            raise StorageError(message)
        return relations[table.qualified]

    def columns(self, number: int, stored_or_rows: pa.Schema) -> tuple[str, ...]:
        """Name the columns that the query reads of a reference; one at least."""
        return self._columns.get(number) or (stored_or_rows.names[0],)

    @property
    def matches(self) -> list[Match]:
        """Joins by position."""
        return self._matches

    @property
    def joins(self) -> list[KeyJoin]:
        """Joins by key."""
        return self._joins


class _Search:
    """One run of `Candidates.find`."""

    def __init__(self, plan: Candidates, engine: Machine, values: Values, relations: Mapping[str, Relation], seconds: float | None) -> None:
        self._plan = plan
        self._engine = engine
        self._values = values
        self._relations = relations
        self._seconds = seconds
        self._began = time.monotonic()
        self._found: dict[int, Found] = {}
        self._doubled: set[int] = set()
        self._result = Reduced()

    def run(self) -> Reduced:
        for number, access in self._plan.accesses.items():
            stored = self._stored(number)
            found = None if stored is None else access.look_up(stored, self._values, most(stored))
            if found is not None:
                self._found[number] = found
        for place, match in enumerate(self._plan.matches):
            if match.one is None or match.one(self._values) == 1:
                self._match(place, match)
        for join in self._plan.joins:
            self._by_key(join)
        for number in self._found:
            if number not in self._result.tables:
                self._result.tables[number] = self._rows(number)
        return self._result

    def _stored(self, number: int) -> Stored | None:
        relation = self._plan.relation(number, self._relations)
        return self._engine.stored(relation) if isinstance(relation, Snapshot) else None

    def _count(self, number: int) -> int | None:
        """Give the number of rows of a reference as far as it is narrowed, None if it cannot be read here."""
        if number in self._result.tables:
            return int(self._result.tables[number].num_rows)
        if number in self._found:
            return self._found[number].count
        relation = self._plan.relation(number, self._relations)
        if isinstance(relation, Memory):
            return int(relation.rows.num_rows)
        return relation.rows if isinstance(relation, Snapshot) else None

    def _rows(self, number: int) -> pa.Table:
        """Give the rows of a reference as far as it is narrowed, with the columns that the query reads."""
        known = self._result.tables.get(number)
        if known is not None:
            return known
        relation = self._plan.relation(number, self._relations)
        stored = self._stored(number)
        if stored is not None:
            columns = self._plan.columns(number, stored.schema)
            return gather(stored, self._found[number], columns) if number in self._found else stored.table.select(list(columns))
        if not isinstance(relation, Memory):
            message = "the embedded engine cannot read this table"
            raise StorageError(message)
        rows, _ = self._engine.rows(relation)
        return rows.select(list(self._plan.columns(number, rows.schema)))

    def _match(self, place: int, match: Match) -> None:
        usable = []
        for side in match.sides:
            stored, drivers = self._stored(side.target), self._count(side.driver)
            if stored is None or drivers is None or stored.manifest.position != side.position or side.doubled in self._doubled:
                continue
            if side.target in self._result.tables or drivers > DRIVERS or drivers > 4 * stored.manifest.rows + FEW:
                continue
            known = self._found.get(side.target)
            if known is not None and known.count * drivers <= PRODUCT:
                continue  # so few are left on both sides that DuckDB tries them all
            usable.append((drivers, side))
        if not usable:
            return
        side = min(usable, key=lambda item: item[0])[1]
        target = self._stored(side.target)
        rows = self._rows(side.driver)
        size = radii(side, rows, self._values)
        if target is None or size is None:
            return
        if self._seconds is not None and time.monotonic() - self._began > self._seconds:
            message = f"the query ran into the time limit of {self._seconds:g} s"
            raise Timeout(message, remedy="ask for less, or run it as an asynchronous job with a longer limit")
        circles = (doubles(rows.column(side.lon)), doubles(rows.column(side.lat)), size)
        pairs = near_pairs(target, side.position, circles, match.exact)
        if pairs is None:
            return
        owner, row = pairs
        known = self._found.get(side.target)
        if known is not None and side.doubled == side.target:
            keep = _among(row, known.rows())
            owner, row = owner[keep], row[keep]
        columns = self._plan.columns(side.target, target.schema)
        tables = self._result.tables
        if side.doubled == side.target:
            order = np.argsort(row, kind="stable")
            taken = pa.Table.from_batches([target.projection(columns).take(row[order])])
            tables[side.target] = with_numbers(taken, PARTNER, owner[order])
            tables[side.driver] = rows if ROW in rows.column_names else with_numbers(rows, ROW, np.arange(rows.num_rows))
        else:
            tables[side.driver] = with_numbers(rows.take(pa.array(owner)), PARTNER, row)
            tables[side.target] = with_numbers(target.table.select(list(columns)), ROW, np.arange(target.manifest.rows))
        self._doubled.add(side.doubled)
        self._result.joins[id(match.condition)] = joined(match, side)
        self._result.sides.append((place, side))

    def _by_key(self, join: KeyJoin) -> None:
        stored, drivers = self._stored(join.target), self._count(join.driver)
        if stored is None or drivers is None or join.target in self._result.tables or drivers > min(KEYS, stored.manifest.rows // SHARE):
            return
        index = stored.key(join.column)
        known = self._found.get(join.target)
        if index is None or (known is not None and known.count <= drivers):
            return
        found = rows_with_keys(index, self._rows(join.driver).column(join.other), most(stored))
        if found is not None and (known is None or found.count < known.count):
            self._found[join.target] = found


def _among(rows: Rows, wanted: Rows) -> npt.NDArray[np.bool_]:
    """Say which rows are among ascending ones."""
    if not len(wanted):
        return np.zeros(len(rows), np.bool_)
    found: npt.NDArray[np.bool_] = wanted[np.minimum(np.searchsorted(wanted, rows), len(wanted) - 1)] == rows
    return found


def most(stored: Stored) -> int:
    """Give the number of candidates above which a look at every row is quicker."""
    return max(stored.manifest.rows // SHARE, min(FEW, stored.manifest.rows))


def gather(stored: Stored, found: Found, columns: Sequence[str]) -> pa.Table:
    """Give the candidate rows: views of the map where they are neighbours, copies where they are scattered."""
    projection = stored.projection(tuple(columns))
    if found.ranges is not None and found.count > 50_000 and found.count > 500 * len(found.ranges):
        batches = [piece for begin, end in found.ranges.tolist() if end > begin for piece in projection.span(begin, end)]
        return pa.Table.from_batches(batches, schema=projection.schema)
    return pa.Table.from_batches([projection.take(found.rows())])
