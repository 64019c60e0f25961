"""Candidates of a query: everything its indexes can narrow, found in one place when the plan is made and looked up when it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql.tree import ColumnRef
from hven.engines import Limits, Memory, Snapshot
from hven.engines._bound.constants import constant
from hven.engines._bound.narrow import columns_read, selects
from hven.engines._bound.narrowable import narrowable_of
from hven.engines.duckdb.accesses import Access, Best, Found, accesses
from hven.engines.duckdb.direct import SORTED
from hven.engines.duckdb.layout import ROW, Held
from hven.engines.duckdb.members import PARTNER, leaves_of, ordered
from hven.engines.duckdb.nearest import nearest, own_rows
from hven.engines.duckdb.pairs import (
    DRIVERS,
    KeyJoin,
    Match,
    Places,
    Side,
    circles,
    correlated,
    doubles,
    joined,
    key_joins,
    matches,
    near_pairs,
    places_of,
    rows_with_keys,
    touching_pairs,
    with_numbers,
)
from hven.engines.duckdb.subqueries import Asides, subqueries
from hven.model.errors import EvaluationError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.tree import Bound, Derived, Expr, TableRef
    from hven.engines import Execution, Plan, Relation
    from hven.engines.duckdb.layout import Readable, Stored
    from hven.engines.duckdb.machine import Machine
    from hven.engines.duckdb.members import Part

    Values = Sequence[float | str | None]
    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

SHARE = 5  # candidates are used if they are less than one in so many rows
FEW = 10_000  # or less than this
TESTED = SORTED  # pairs that are put to the condition itself at a time: by Arrow, where it can
WORTH = 300  # rows of a target from which on looking up a circle is quicker than trying them all: measured
KEYS = 500_000  # rows on the other side of a join by key that are looked up one by one


@dataclass(slots=True)
class Reduced:
    """What the indexes gave for one run: tables to read in place of references, and conditions to replace."""

    tables: dict[int, pa.Table] = field(default_factory=dict)
    joins: dict[int, Expr] = field(default_factory=dict)
    sides: list[tuple[int, Side]] = field(default_factory=list)
    inner: set[int] = field(default_factory=set)  # references inside of what is replaced: nobody reads them any more

    @property
    def shape(self) -> tuple[frozenset[int], tuple[tuple[int, Side], ...], frozenset[int]]:
        """What the SQL text depends on."""
        return frozenset(self.tables), tuple(self.sides), self.empty

    @property
    def empty(self) -> frozenset[int]:
        """References that have no rows."""
        return frozenset(number for number, table in self.tables.items() if not table.num_rows)


class Candidates:
    """The roads to each table reference of a query."""

    def __init__(self, bound: Bound) -> None:
        self.leaves: dict[int, TableRef] = {}
        self.accesses: dict[int, Access] = {}
        self._matches: list[Match] = []
        self._joins: list[KeyJoin] = []
        self.own: list[tuple[int, int, str]] = []
        self.free = bound.free
        self._columns = columns_read(bound)
        self._derived: dict[int, Derived] = {}
        self._unions: dict[int, tuple[int, ...]] = {}
        self._asides = Asides(bound)
        seen: set[tuple[int, int]] = set()  # conditions that are found again in a derived table
        for select in selects(bound.query):
            narrowable = narrowable_of(select)
            self.leaves.update(narrowable.leaves)
            self._derived.update(narrowable.derived)
            self._unions.update(
                {
                    number: tuple(leaf.number for leaf, _ in leaves_of(item))
                    for number, item in narrowable.derived.items()
                }
            )
            self.own += own_rows(narrowable)
            first = nearest(select, bound.free)
            for number, access in (
                *accesses(narrowable, bound.free, seen).items(),
                *(() if first is None else (first,)),
            ):
                known = self.accesses.get(number)
                self.accesses[number] = access if known is None else Best((known, access))
            if len(narrowable.direct) + len(narrowable.derived) > 1:
                self._matches += matches(narrowable, bound.free)
                self._joins += key_joins(narrowable)
            for part in () if narrowable.select.source is None else subqueries(select):
                self._matches += correlated(narrowable_of(part), narrowable, bound.free)

    def __bool__(self) -> bool:
        return bool(self.accesses or self._matches or self._joins)

    def describe(self) -> list[str]:
        """Describe in words what may be used."""
        lines = [
            f"{self.name(number)}: candidates from the {access.describe()}, if they are few"
            for number, access in self.accesses.items()
        ]
        for match in self._matches:
            lines += [
                f"{self._way(side)}{', whichever has fewer rows' * (len(match.sides) > 1)}" for side in match.sides
            ]
        lines += [
            f"{self.name(join.target)}: rows with the keys of {self.name(join.driver)} from the index of {join.column}, if they are few"
            for join in self._joins
        ]
        return lines

    def _way(self, side: Side) -> str:
        """Describe how a match is used."""
        told = f"{self.name(side.target)}: matched with {self.name(side.driver)} by the position index"
        if side.region:
            return f"{told} of the regions in {side.region}"
        if not side.parts:
            return told
        of = [self.name(part.leaf) for part in side.parts if part.indexed]
        computed = [self.name(part.leaf) for part in side.parts if part.lon is not None and not part.indexed]
        return f"{told} of {', '.join(of) or 'none'}" + (
            f"; positions of {', '.join(computed)} are computed first" if computed else ""
        )

    def name(self, number: int) -> str:
        """Name a reference as the query does."""
        if number in self._derived:
            return self._derived[number].alias.name
        leaf = self.leaves[number]
        return (
            leaf.alias.name
            if leaf.alias is not None
            else leaf.table.qualified
            if leaf.table is not None
            else str(number)
        )

    def find(
        self,
        engine: Machine,
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
        begun: Callable[[Execution | None], None] = lambda _: None,
    ) -> Reduced:
        """Look everything up for these values; `begun` is told which query runs meanwhile, so that it can be cancelled."""
        return _Search(self, engine, values, relations, limits, begun).run()

    def nearby(self, engine: Machine, values: Values, relations: Mapping[str, Relation]) -> dict[int, str]:
        """Describe for the tables that a join by position narrows which of their rows are read, by their numbers."""
        search = _Search(self, engine, values, relations, Limits(), lambda _: None)
        search.look_up()
        found: dict[int, str] = {}
        for match in self._matches:
            ways = search.sides(match) if match.one is None or match.one(values) == 1 else []
            for count, side in ways[:1]:
                told = f"rows near the{'' if count is None else f' {count:,}'} rows of {self.name(side.driver)}"
                found.update(dict.fromkeys([part.leaf for part in side.parts] or [side.target], told))
        return found

    def relation(self, number: int, relations: Mapping[str, Relation]) -> Relation | None:
        """Return the relation that a table reference reads; None: it is none of a table."""
        table = self.leaves[number].table if number in self.leaves else None
        if table is None:
            return None
        if table.qualified not in relations:
            message = f"nobody said where the rows of {table.qualified} are"
            raise StorageError(message)
        return relations[table.qualified]

    def columns(self, number: int, stored_or_rows: pa.Schema) -> tuple[str, ...]:
        """List the columns that the query reads of a reference; one at least."""
        return self._columns.get(number) or (stored_or_rows.names[0],)

    @property
    def derived(self) -> Mapping[int, Derived]:
        """Derived tables, by number."""
        return self._derived

    @property
    def unions(self) -> Mapping[int, tuple[int, ...]]:
        """Numbers of the tables that the members of a derived table read, by its number; none if it is no union of tables."""
        return self._unions

    @property
    def asides(self) -> Asides:
        """Queries that are run to find candidates."""
        return self._asides

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

    def __init__(
        self,
        plan: Candidates,
        engine: Machine,
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
        begun: Callable[[Execution | None], None],
    ) -> None:
        self._begun = begun
        self._plan = plan
        self._engine = engine
        self._values = values
        self._relations = relations
        self._limits = limits
        self._found: dict[int, Found] = {}
        self._doubled: set[int] = set()
        self._refused: set[int] = set()  # derived tables that are too long
        self._result = Reduced()

    def look_up(self) -> None:
        """Ask the indexes for the tables that constants narrow."""
        for number, access in self._plan.accesses.items():
            stored = self._stored(number)
            found = None if stored is None else access.look_up(stored, self._values, most(stored))
            if found is not None:
                self._found[number] = found

    def run(self) -> Reduced:
        """Look up what constants narrow, then what joins narrow."""
        self.look_up()
        for outer, inner, key in self._plan.own:
            found, stored = self._found.get(inner), self._stored(outer)
            if found is None or stored is None or stored.manifest.primary != (key,):
                continue
            if outer not in self._found or found.count < self._found[outer].count:
                self._found[outer] = found
        for place, match in enumerate(self._plan.matches):
            if match.one is None or match.one(self._values) == 1:
                self._match(place, match)
        for join in self._plan.joins:
            self._by_key(join)
        self._result.inner.update(leaf for number in self._result.tables for leaf in self._plan.unions.get(number, ()))
        for number in self._found:
            if number not in self._result.tables and number not in self._result.inner:
                self._result.tables[number] = self._rows(number)
        return self._result

    def _stored(self, number: int) -> Stored | None:
        relation = self._plan.relation(number, self._relations)
        return self._engine.stored(relation) if isinstance(relation, Snapshot) else None

    def _count(self, number: int) -> int | None:
        """Return the number of rows of a reference as far as it is narrowed, None if it cannot be read here."""
        if number in self._result.tables:
            return int(self._result.tables[number].num_rows)
        if number in self._found:
            return self._found[number].count
        if number in self._plan.derived:
            counts = [self._count(leaf) for leaf in self._plan.unions[number]]
            known = [count for count in counts if count is not None]
            return sum(known) if known and len(known) == len(counts) else None
        relation = self._plan.relation(number, self._relations)
        if isinstance(relation, Memory):
            return int(relation.rows.num_rows)
        return relation.rows if isinstance(relation, Snapshot) else None

    def _rows(self, number: int) -> pa.Table:
        """Return the rows of a reference as far as it is narrowed, with the columns that the query reads."""
        known = self._result.tables.get(number)
        if known is not None:
            return known
        if number in self._plan.derived:
            message = "a derived table is read before it is computed"
            raise StorageError(message)
        relation = self._plan.relation(number, self._relations)
        stored = self._stored(number)
        if stored is not None:
            if number not in self._found:
                return self._all(number, stored)
            return gather(stored, self._found[number], self._plan.columns(number, stored.schema))
        if not isinstance(relation, Memory):
            message = "the embedded engine cannot read this table"
            raise StorageError(message)
        rows = self._engine.rows(relation).read()
        return rows.select(list(self._plan.columns(number, rows.schema)))

    def _all(self, number: int, stored: Stored) -> pa.Table:
        """Return all rows of a reference, with the columns that the query reads."""
        relation = self._plan.relation(number, self._relations)
        assert relation is not None  # noqa: S101  (it was opened)
        return self._engine.rows(relation, self._plan.columns(number, stored.schema)).read()

    def _check(self) -> None:
        """Raise if no time is left."""
        if self._limits.clock is not None:
            self._limits.clock.check()

    def _run(self, plan: Plan, relations: Mapping[str, Relation], rows: int | None = None) -> pa.Table:
        """Run a query for the sake of another one."""
        return self._whole(plan.execute(self._values, relations, Limits(rows=rows, clock=self._limits.clock)))

    def _whole(self, execution: Execution) -> pa.Table:
        self._begun(execution)
        try:
            return pa.Table.from_batches(execution, schema=execution.schema)
        finally:
            self._begun(None)
            execution.close()

    def _computed(self, number: int, most_rows: int) -> bool:
        """Compute the rows of a derived table, unless they are too many; return whether they are there."""
        if number not in self._result.tables and number not in self._refused:
            derived = self._plan.derived[number]
            names = self._plan.columns(
                number, pa.schema([pa.field(column.name, column.type.arrow) for column in derived.columns])
            )
            rows = self._run(self._plan.asides.derived(self._engine, derived, names), self._relations, most_rows)
            if rows.num_rows > most_rows:
                self._refused.add(number)
            else:
                self._result.tables[number] = rows
        return number not in self._refused

    def _around(self, side: Side, rows: pa.Table) -> pa.Table:
        """Compute what lies around the rows of the driver."""
        names = [
            part.column.name if isinstance(part, ColumnRef) and part.column is not None else "" for part in side.around
        ]
        if all(names):
            return pa.table([rows.column(name) for name in names], names=[str(at) for at in range(len(names))])
        constants = [
            None if name else constant(part, self._plan.free) for name, part in zip(names, side.around, strict=True)
        ]
        if all(name or found is not None for name, found in zip(names, constants, strict=True)):
            columns: list[pa.ChunkedArray | pa.Array] = []
            for name, found in zip(names, constants, strict=True):
                value = None if found is None else found(self._values)
                number = float(value) if isinstance(value, int | float) else None
                columns.append(
                    rows.column(name)
                    if name
                    else pa.array([number], pa.float64()).take(pa.array(np.zeros(rows.num_rows, np.int64)))
                )
            return pa.table(columns, names=[str(at) for at in range(len(names))])
        plan, name = self._plan.asides.around(self._engine, side, rows.schema)
        return self._run(plan, {name: Memory(rows)})

    def _asked(
        self, match: Match, side: Side, rows: pa.Table, target: Readable, pairs: tuple[Rows, Rows]
    ) -> tuple[Rows, Rows]:
        """Filter pairs by the condition, which DuckDB tests on each of them."""
        owner, row = pairs
        plan, name, wanted = self._plan.asides.pairs(self._engine, match.condition)
        kept = []
        for begin in range(0, len(owner), TESTED):
            mine, theirs = owner[begin : begin + TESTED], row[begin : begin + TESTED]
            columns = {"pair": pa.array(np.arange(begin, begin + len(mine)))}
            for number, column in wanted:
                driven = number == side.driver
                columns[f"{number}.{column}"] = (
                    rows.column(column).take(pa.array(mine))
                    if driven
                    else target.projection((column,)).take_any(theirs).column(0)
                )
            found = self._run(plan, {name: Memory(pa.table(columns))}).column(0)
            kept.append(np.asarray(found.to_numpy(), dtype=np.int64))
        keep = np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)
        return owner[keep], row[keep]

    def sides(self, match: Match) -> list[tuple[int | None, Side]]:
        """Return the ways to use a match, the one with the fewest rows to look up first; None: how many is known when they are computed."""
        usable = []
        for side in match.sides:
            if side.target in self._result.tables or {side.doubled, side.target} & self._doubled:
                continue
            if side.driver in self._doubled and side.driver == side.doubled:
                continue
            targets = [self._stored(part.leaf) for part in side.parts] or [self._stored(side.target)]
            if any(stored is None or not side.indexed(stored) for stored in targets):
                continue
            drivers, among = self._count(side.driver), self._most(side)
            if (drivers is None and side.driver not in self._plan.derived) or (drivers or 0) > among:
                continue
            known = self._found.get(side.target)
            if known is not None and known.count * (drivers or 0) <= side.worth and drivers is not None:
                continue  # so few are left on both sides that DuckDB tries them all
            usable.append((drivers, side))
        return sorted(usable, key=lambda item: DRIVERS if item[0] is None else item[0])

    def _most(self, side: Side) -> int:
        """Return the number of rows from which on looking them up is not worth it."""
        rows = sum(
            stored.manifest.rows
            for number in self._plan.unions.get(side.target, (side.target,))
            if (stored := self._stored(number))
        )
        return DRIVERS if rows >= WORTH else min(DRIVERS, 4 * rows + FEW)

    def _match(self, place: int, match: Match) -> None:
        for _, side in self.sides(match):
            if side.driver in self._plan.derived:
                if not self._computed(side.driver, self._most(side)):
                    continue
                known, drivers = self._found.get(side.target), self._count(side.driver) or 0
                if known is not None and known.count * drivers <= side.worth:
                    continue
            if self._use(match, side):
                self._doubled.add(side.doubled)
                self._result.joins[id(match.condition)] = joined(match, side)
                self._result.sides.append((place, side))
            return

    def _use(self, match: Match, side: Side) -> bool:
        """Replace a match's tables by its pairs; False if there are too many."""
        rows = self._rows(side.driver)
        found = circles(self._around(side, rows))
        if found is None:
            return False
        self._check()
        tables, exact = self._result.tables, "" if match.exact == "asked" else match.exact
        if side.parts:
            union = self._union(side, found, exact)
            if union is None:
                return False
            if match.exact == "asked":
                owner = union.column(PARTNER).to_numpy()
                union = union.take(
                    pa.array(self._asked(match, side, rows, Held(union), (owner, np.arange(len(owner))))[1])
                )
            tables[side.target] = union
            tables[side.driver] = numbered(rows)
            return True
        target = self._stored(side.target)
        pairs = None if target is None else self._near(target, side, found, exact)
        if target is None or pairs is None:
            return False
        if match.exact == "asked":
            pairs = self._asked(match, side, rows, target, pairs)
        owner, row = pairs
        if side.doubled == side.target:
            tables[side.target] = self._pairs(side.target, target, owner, row)
            tables[side.driver] = numbered(rows)
        else:
            tables[side.driver] = with_numbers(rows.take(pa.array(owner)), PARTNER, row)
            tables[side.target] = with_numbers(self._all(side.target, target), ROW, np.arange(target.manifest.rows))
        return True

    def _near(
        self, target: Stored, side: Side, found: tuple[Numbers, Numbers, Numbers], exact: str
    ) -> tuple[Rows, Rows] | None:
        index = target.region(side.region) if side.region else None
        if index is not None:
            return touching_pairs(index, found)
        looked = near_pairs([places_of(target, side.position)], found, exact)
        return None if looked is None else looked[0]

    def _pairs(self, number: int, target: Stored, owner: Rows, row: Rows) -> pa.Table:
        """Return the rows of the pairs of a table, each with the number of its partner."""
        known = self._found.get(number)
        if known is not None:
            keep = _among(row, known.rows())
            owner, row = owner[keep], row[keep]
        order = np.argsort(row, kind="stable")
        taken = pa.Table.from_batches([target.projection(self._plan.columns(number, target.schema)).take(row[order])])
        return with_numbers(taken, PARTNER, owner[order])

    def _union(self, side: Side, around: tuple[Numbers, Numbers, Numbers], exact: str) -> pa.Table | None:
        """Compute a union over the rows of its tables that lie in circles; None if they are too many."""
        members = [
            (part.leaf, stored, self._places(part, stored))
            for part in side.parts
            if (stored := self._stored(part.leaf)) is not None
        ]
        many = [places for _, _, places in members if places is not None]
        pairs = near_pairs(many, around, exact) if len(many) == len(side.parts) else None
        if pairs is None:
            return None
        self._check()
        tables = {
            leaf: self._pairs(leaf, stored, *found) for (leaf, stored, _), found in zip(members, pairs, strict=True)
        }
        self._check()
        derived = self._plan.derived[side.target]
        names = self._plan.columns(
            side.target, pa.schema([pa.field(column.name, column.type.arrow) for column in derived.columns])
        )
        plan = self._plan.asides.union(self._engine, derived, side.parts, names)
        return self._whole(plan.over(tables, self._values, self._relations, Limits(clock=self._limits.clock)))

    def _places(self, part: Part, stored: Stored) -> Places | None:
        """Return the positions of one member of a union; None if DuckDB is to judge them."""
        if part.lon is None:
            return Places(np.empty(0, np.int64), lambda _: (np.empty(0), np.empty(0)))
        leaf = self._plan.leaves[part.leaf]
        if (
            part.indexed
            and leaf.table is not None
            and stored.manifest.position == leaf.table.position
            and leaf.table.position is not None
        ):
            return places_of(stored, leaf.table.position)
        try:
            places = self._run(self._plan.asides.places(self._engine, part, leaf), self._relations)
        except EvaluationError:  # of a row that the member may leave out
            return None
        back = np.argsort(places.column(2).to_numpy())
        lon, lat = doubles(places.column(0))[back], doubles(places.column(1))[back]
        index = ordered(lon, lat) if len(lon) == stored.manifest.rows else None
        if index is None:
            return None
        cells, order = index
        return Places(cells, lambda at: (lon[order[at]], lat[order[at]]), order)

    def _by_key(self, join: KeyJoin) -> None:
        stored, drivers = self._stored(join.target), self._count(join.driver)
        if (
            stored is None
            or drivers is None
            or join.target in self._result.tables
            or drivers > min(KEYS, stored.manifest.rows // SHARE)
        ):
            return
        index = stored.key(join.column)
        known = self._found.get(join.target)
        if index is None or (known is not None and known.count <= drivers):
            return
        found = rows_with_keys(index, self._rows(join.driver).column(join.other), most(stored))
        if found is not None and (known is None or found.count < known.count):
            self._found[join.target] = found


def numbered(rows: pa.Table) -> pa.Table:
    """Append the numbers of rows, once."""
    return rows if ROW in rows.column_names else with_numbers(rows, ROW, np.arange(rows.num_rows))


def _among(rows: Rows, wanted: Rows) -> npt.NDArray[np.bool_]:
    """Return which rows are among ascending ones."""
    if not len(wanted):
        return np.zeros(len(rows), np.bool_)
    found: npt.NDArray[np.bool_] = wanted[np.minimum(np.searchsorted(wanted, rows), len(wanted) - 1)] == rows
    return found


def most(stored: Stored) -> int:
    """Return the number of candidates above which a look at every row is quicker."""
    return max(stored.manifest.rows // SHARE, min(FEW, stored.manifest.rows))


def gather(stored: Stored, found: Found, columns: Sequence[str]) -> pa.Table:
    """Return the candidate rows: views of the map where they are neighbours, copies where they are scattered."""
    projection = stored.projection(tuple(columns))
    if not found.count:
        return projection.schema.empty_table()
    if found.ranges is not None and found.count > 50_000 and found.count > 500 * len(found.ranges):
        batches = [
            piece for begin, end in found.ranges.tolist() if end > begin for piece in projection.span(begin, end)
        ]
        return pa.Table.from_batches(batches, schema=projection.schema)
    return pa.Table.from_batches([projection.take(found.rows())])
