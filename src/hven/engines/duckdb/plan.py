"""DuckPlan: a bound query, and the roads to its answer. The cheapest one that is open for the values at hand is taken.

1. Arrow alone (`direct`): candidates from an index, or no condition at all.
2. DuckDB over candidates (`candidates`, `roads`, `pairs`): tables that an index narrows are replaced by the rows it gives.
3. DuckDB over everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines import Snapshot
from hven.engines.duckdb import direct as arrow
from hven.engines.duckdb.candidates import Candidates, Reduced, most
from hven.engines.duckdb.narrow import narrowed
from hven.engines.duckdb.roads import Best, KeySpan
from hven.engines.duckdb.running import LaterExecution, ReadyExecution
from hven.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Relation
    from hven.engines.duckdb.layout import Stored
    from hven.engines.duckdb.machine import Machine
    from hven.engines.duckdb.roads import Access

    Values = Sequence[float | str | None]

QUICK = 20_000  # candidate rows that may be looked at on the event loop
MANY = 500_000  # candidate rows that Arrow alone looks at; above, DuckDB's threads are faster
PROBED = 100_000  # rows that are tried in index order before ORDER BY .. TOP goes the long way


class DuckPlan:
    """A prepared query (`hven.engines.Plan`)."""

    def __init__(self, engine: Machine, bound: Bound, *, lenient: bool = False) -> None:
        self._engine = engine
        self._bound = bound
        self._lenient = lenient
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        self._written: dict[Any, tuple[str, tuple[int, ...]]] = {}
        self._candidates = None if lenient else Candidates(bound)
        self._direct = None if lenient else arrow.recognise(bound, self.schema)
        self.small = self._is_small()
        if not self.small:
            self._sql(Reduced())  # what cannot be written is refused when the plan is made

    def _is_small(self) -> bool:
        if self._direct is None or self._candidates is None:
            return False
        if self._direct.leaf.number in self._candidates.accesses or (self._direct.count and self._direct.condition is None):
            return True
        if self._direct.top is None:
            return False
        return self._order_key() is not None if self._direct.orders else self._direct.condition is None

    def _sql(self, reduced: Reduced) -> tuple[str, tuple[int, ...]]:
        """Give the SQL text with table references replaced by candidates, and the slots of its arguments."""
        shape = reduced.shape
        found = self._written.get(shape)
        if found is None:
            from hven.adql import sql as writer
            from hven.engines.duckdb.dialect import DuckDB

            bound = narrowed(self._bound, shape[0], reduced.joins) if reduced.tables else self._bound
            names = {table.qualified: quote(table.qualified) for table in bound.tables}
            written = writer.write(bound, DuckDB(lenient=self._lenient), names)
            found = self._written[shape] = (written.sql, tuple(written.slots))
        return found

    # --- running ---------------------------------------------------------------------------------------------

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        if self._direct is not None and self._engine.indexes:
            ready = self._arrow(self._direct, values, relations, limits, QUICK)
            if ready is not None:
                return ready
            if self.small:  # who believed that is not kept waiting
                return LaterExecution(self.schema, lambda: self._long(values, relations, limits))
        return self._long(values, relations, limits)

    def _long(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run what takes its time."""
        reduced = Reduced()
        leaves = {}
        if self._candidates is not None and self._engine.indexes:
            leaves = self._candidates.leaves
            if self._direct is not None:
                ready = self._arrow(self._direct, values, relations, limits, MANY)
                if ready is not None:
                    return ready
            if self._candidates:
                reduced = self._candidates.find(self._engine, values, relations, limits.seconds)
        sql, slots = self._sql(reduced)
        rows: dict[str, tuple[pa.Table, bool]] = {}
        for table in self._bound.tables:
            users = [number for number, leaf in leaves.items() if leaf.table is not None and leaf.table.qualified == table.qualified]
            if not users or any(number not in reduced.tables for number in users):
                rows[table.qualified] = self._engine.rows(_wanted(relations, table.qualified))
        rows.update({f"hven.candidates{number}": (table, False) for number, table in reduced.tables.items()})
        return self._engine.run(sql, [values[slot] for slot in slots], rows, self.schema, limits)

    # --- Arrow alone -----------------------------------------------------------------------------------------

    def _arrow(
        self, direct: arrow.Direct, values: Values, relations: Mapping[str, Relation], limits: Limits, most_rows: int
    ) -> Execution | None:
        relation = None if direct.leaf.table is None else _wanted(relations, direct.leaf.table.qualified)
        if not isinstance(relation, Snapshot):
            return None
        stored = self._engine.stored(relation)
        limit = None if limits.rows is None else limits.rows + 1
        try:
            batches, rows = self._arrow_batches(direct, stored, values, limit, limits, most_rows)
            if batches is None:
                return None
            first = next(batches, None)  # now: some values show only here that DuckDB must have them
        except arrow.NotDirect:
            return None
        chain = iter(()) if first is None else _chain(first, batches)
        return ReadyExecution(self.schema, chain, small=rows <= QUICK, limits=limits)

    def _arrow_batches(
        self, direct: arrow.Direct, stored: Stored, values: Values, limit: int | None, limits: Limits, most_rows: int
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        access = self._access()
        found = None if access is None else access.look_up(stored, values, min(most(stored), most_rows))
        if found is not None and (not direct.orders or found.count <= arrow.SORTED):
            return direct.some(stored, found.rows(), values, limit), found.count
        if direct.condition is None and not direct.orders:
            end = direct.window(values, limit)[1]
            return direct.whole(stored, values, limit, limits.batch), 0 if direct.count or end is None else end
        return self._in_order(direct, stored, values, limit, min(PROBED, most_rows))

    def _access(self) -> Access | None:
        if self._candidates is None or self._direct is None:
            return None
        return self._candidates.accesses.get(self._direct.leaf.number)

    def _order_key(self) -> str | None:
        """Name the indexed column that alone gives the order."""
        direct = self._direct
        if direct is None or len(direct.orders) != 1 or direct.orders[0].column is None or direct.leaf.table is None:
            return None
        column = direct.leaf.table.column(direct.orders[0].column)
        return column.name if column.indexed or column.unique or column.name in direct.leaf.table.primary else None

    def _in_order(
        self, direct: arrow.Direct, stored: Stored, values: Values, limit: int | None, most_rows: int
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Read rows in the order of an index until there are enough."""
        name = self._order_key()
        index = stored.key(name) if name is not None else None
        end = direct.window(values, limit)[1]
        if index is None or end is None or end > most_rows:
            return None, 0
        low, high = 0, index.count
        access = self._access()
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
            if tried > most_rows and count < end:
                return None, 0
            step *= 4
        if count < end and not complete and index.count < stored.manifest.rows:
            return None, 0  # rows without a value come last: they are not in the index
        rows = np.concatenate(kept) if kept else np.empty(0, np.int64)
        return direct.ordered(stored, rows, values, limit), tried

    def explain(self) -> str:
        """Say which roads are open; see `hven.engines.Plan.explain`."""
        lines = ["without DuckDB, if an index gives few rows"] if self.small else []
        lines += self._candidates.describe() if self._candidates is not None else []
        return "\n".join([*lines, f"DuckDB: {self._sql(Reduced())[0]}"])


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
