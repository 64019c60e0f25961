"""DuckPlan: a bound query, and the roads to its answer. The cheapest one that is open for the values at hand is taken.

1. Arrow alone (`direct`): candidates from an index, or no condition at all.
2. DuckDB over candidates (`roads`, `pairs`): tables that an index narrows are replaced by the rows it gives.
3. DuckDB over everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines import Memory, Snapshot
from hven.engines.duckdb import direct as arrow
from hven.engines.duckdb.narrow import columns_read, narrowed, selects
from hven.engines.duckdb.roads import Access, Best, Found, KeySpan, accesses, scope_of
from hven.engines.duckdb.running import ReadyExecution
from hven.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.tree import Bound, TableRef
    from hven.engines import Execution, Limits, Relation
    from hven.engines.duckdb.engine import DuckEngine
    from hven.engines.duckdb.layout import Stored

    Values = Sequence[float | str | None]

SHARE = 5  # candidates are used if they are less than one in so many rows
FEW = 10_000  # or less than this
QUICK = 20_000  # candidate rows that may be looked at on the event loop
MANY = 500_000  # candidate rows that Arrow alone looks at; above, DuckDB's threads are faster
PROBED = 100_000  # rows that are tried in index order before ORDER BY .. TOP goes the long way


class DuckPlan:
    """A prepared query (`hven.engines.Plan`)."""

    def __init__(self, engine: DuckEngine, bound: Bound, *, lenient: bool = False) -> None:
        self._engine = engine
        self._bound = bound
        self._lenient = lenient
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        self._written: dict[frozenset[int], tuple[str, tuple[int, ...]]] = {}
        self._leaves: dict[int, TableRef] = {}
        self._accesses: dict[int, Access] = {}
        for select in selects(bound.query):
            scope = scope_of(select)
            self._leaves.update(scope.leaves)
            for number, access in accesses(scope, bound.free).items():
                known = self._accesses.get(number)
                self._accesses[number] = access if known is None else Best((known, access))
        self._direct = None if lenient else arrow.recognise(bound, self.schema)
        self._columns = columns_read(bound)
        self.small = self._is_small()
        if self._direct is None:
            self._sql(frozenset())  # what cannot be written is refused when the plan is made

    def _is_small(self) -> bool:
        if self._direct is None:
            return False
        if self._direct.leaf.number in self._accesses or (self._direct.count and self._direct.condition is None):
            return True
        return self._direct.top is not None and (not self._direct.orders or self._order_key() is not None)

    def _sql(self, numbers: frozenset[int]) -> tuple[str, tuple[int, ...]]:
        """Give the SQL text with these table references replaced by candidates, and the slots of its arguments."""
        found = self._written.get(numbers)
        if found is None:
            from hven.adql import sql as writer
            from hven.engines.duckdb.dialect import DuckDB

            bound = narrowed(self._bound, numbers) if numbers else self._bound
            names = {table.qualified: quote(table.qualified) for table in bound.tables}
            written = writer.write(bound, DuckDB(lenient=self._lenient), names)
            found = self._written[numbers] = (written.sql, tuple(written.slots))
        return found

    # --- running ---------------------------------------------------------------------------------------------

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        if self._direct is not None and self._engine.indexes:
            ready = self._arrow(self._direct, values, relations, limits)
            if ready is not None:
                return ready
        reduced = self._candidates(values, relations) if self._accesses and self._engine.indexes else {}
        sql, slots = self._sql(frozenset(reduced))
        rows: dict[str, tuple[pa.Table, bool]] = {}
        for table in self._bound.tables:
            users = [number for number, leaf in self._leaves.items() if leaf.table is not None and leaf.table.qualified == table.qualified]
            if not users or any(number not in reduced for number in users):
                rows[table.qualified] = self._engine.rows(_wanted(relations, table.qualified))
        rows.update({candidates_name(number): (table, False) for number, table in reduced.items()})
        return self._engine.run(sql, [values[slot] for slot in slots], rows, self.schema, limits)

    def _candidates(self, values: Values, relations: Mapping[str, Relation]) -> dict[int, pa.Table]:
        """Give the candidate rows of every table reference that an index narrows enough."""
        reduced = {}
        for number, access in self._accesses.items():
            stored = self._stored(number, relations)
            if stored is None:
                continue
            found = access.look_up(stored, values, most(stored))
            if found is not None:
                reduced[number] = gather(stored, found, self._columns.get(number, ()))
        return reduced

    def _stored(self, number: int, relations: Mapping[str, Relation]) -> Stored | None:
        table = self._leaves[number].table
        relation = None if table is None else _wanted(relations, table.qualified)
        return self._engine.stored(relation) if isinstance(relation, Snapshot) else None

    # --- Arrow alone -----------------------------------------------------------------------------------------

    def _arrow(self, direct: arrow.Direct, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution | None:
        stored = self._stored(direct.leaf.number, relations)
        if stored is None:
            return None
        limit = None if limits.rows is None else limits.rows + 1
        try:
            batches, rows = self._arrow_batches(direct, stored, values, limit, limits)
            if batches is None:
                return None
            first = next(batches, None)  # now: some values show only here that DuckDB must have them
        except arrow.NotDirect:
            return None
        chain = iter(()) if first is None else _chain(first, batches)
        return ReadyExecution(self.schema, chain, small=rows <= QUICK, limits=limits)

    def _arrow_batches(
        self, direct: arrow.Direct, stored: Stored, values: Values, limit: int | None, limits: Limits
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        access = self._accesses.get(direct.leaf.number)
        found = None if access is None else access.look_up(stored, values, min(most(stored), MANY))
        if found is not None and (not direct.orders or found.count <= arrow.SORTED):
            return direct.some(stored, found.rows(), values, limit), found.count
        if direct.condition is None and not direct.orders:
            end = direct.window(values, limit)[1]
            return direct.whole(stored, values, limit, limits.batch), 0 if direct.count or end is None else end
        return self._in_order(direct, stored, values, limit)

    def _order_key(self) -> str | None:
        """Name the indexed column that alone gives the order."""
        direct = self._direct
        if direct is None or len(direct.orders) != 1 or direct.orders[0].column is None or direct.leaf.table is None:
            return None
        column = direct.leaf.table.column(direct.orders[0].column)
        return column.name if column.indexed or column.unique or column.name in direct.leaf.table.primary else None

    def _in_order(
        self, direct: arrow.Direct, stored: Stored, values: Values, limit: int | None
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Read rows in the order of an index until there are enough."""
        name = self._order_key()
        index = stored.key(name) if name is not None else None
        end = direct.window(values, limit)[1]
        if index is None or end is None or end > PROBED:
            return None, 0
        low, high = 0, index.count
        access = self._accesses.get(direct.leaf.number)
        for part in access.parts if isinstance(access, Best) else (access,):
            if isinstance(part, KeySpan) and part.column == name:
                span = part.places(index, values)
                if span is not None:
                    low, high = span
        complete = low > 0 or high < index.count  # a condition on the column leaves no nulls behind the index
        kept: list[Any] = []
        count, step, tried = 0, max(end, 64) if direct.condition is None else max(4 * end, 1024), 0
        while count < end and low < high:
            size = min(step, high - low)
            if direct.orders[0].descending:
                rows = index.at(high - size, high)[::-1]
                high -= size
            else:
                rows = index.at(low, low + size)
                low += size
            passing = list(direct.passing(stored, rows, values))
            kept += passing
            count += sum(len(part) for part in passing)
            tried += size
            if tried > PROBED and count < end:
                return None, 0
            step *= 4
        if count < end and not complete and index.count < stored.manifest.rows:
            return None, 0  # rows without a value come last: they are not in the index
        rows = np.concatenate(kept) if kept else np.empty(0, np.int64)
        return direct.ordered(stored, rows, values, limit), tried

    def explain(self) -> str:
        """Say which roads are open; see `hven.engines.Plan.explain`."""
        lines = []
        if self.small:
            lines.append("Arrow alone, if the index gives few rows; else:")
        for number, access in self._accesses.items():
            table = self._leaves[number].table
            lines.append(f"candidates of {table.qualified if table else number}: {access.describe()}, if they are few")
        return "\n".join([*lines, f"DuckDB: {self._sql(frozenset())[0]}"])


def most(stored: Stored) -> int:
    """Give the number of candidates above which a look at every row is quicker."""
    return max(stored.manifest.rows // SHARE, min(FEW, stored.manifest.rows))


def gather(stored: Stored, found: Found, columns: Sequence[str]) -> pa.Table:
    """Give the candidate rows: views of the map where they are neighbours, copies where they are scattered."""
    names = tuple(columns) or (stored.schema.names[0],)
    projection = stored.projection(names)
    if found.ranges is not None and found.count > 50_000 and found.count > 500 * len(found.ranges):
        batches = [piece for begin, end in found.ranges.tolist() if end > begin for piece in projection.span(begin, end)]
        return pa.Table.from_batches(batches, schema=projection.schema)
    return pa.Table.from_batches([projection.take(found.rows())])


def candidates_name(number: int) -> str:
    """Give the name in DuckDB of the candidates of a table reference."""
    return f"hven.candidates{number}"


def quote(name: str) -> str:
    """Write a delimited identifier."""
    return '"' + name.replace('"', '""') + '"'


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _wanted(relations: Mapping[str, Relation], name: str) -> Relation:
    if name not in relations:
        message = f"nobody said where the rows of {name} are"
        raise StorageError(message)
    return relations[name]


__all__ = ["DuckPlan", "Memory"]
