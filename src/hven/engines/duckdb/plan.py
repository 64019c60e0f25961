"""DuckPlan: a bound query, and the roads to its answer. The cheapest one that is open for the values at hand is taken.

1. Arrow alone (`direct`, of views `united`): candidates from an index, or no condition at all.
2. DuckDB over candidates (`candidates`, `roads`, `pairs`): tables that an index narrows are replaced by the rows it gives.
3. DuckDB over everything.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from hven.adql import sql as writer
from hven.adql.tree import Select, TableRef, walk
from hven.engines import Memory, Plan, Snapshot
from hven.engines._bound.empty import without
from hven.engines._bound.flatten import flattened
from hven.engines._bound.geometry import told
from hven.engines._bound.narrow import columns_read, narrowed
from hven.engines._bound.unions import distributed
from hven.engines._later import LaterExecution
from hven.engines.duckdb import direct as arrow
from hven.engines.duckdb.accesses import Best, KeySpan
from hven.engines.duckdb.candidates import Candidates, Reduced, most
from hven.engines.duckdb.composed import NotDirect
from hven.engines.duckdb.dialect import DuckDB
from hven.engines.duckdb.lists import gathered, with_lists
from hven.engines.duckdb.machine import Rows
from hven.engines.duckdb.running import ReadyExecution
from hven.engines.duckdb.united import few, united
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Relation
    from hven.engines.duckdb.layout import Stored
    from hven.engines.duckdb.machine import Machine
    from hven.model.table import Table

    Values = Sequence[float | str | None]

QUICK = 20_000  # candidate rows that may be looked at on the event loop
MANY = 500_000  # candidate rows that Arrow alone looks at; above, DuckDB's threads are faster
# SQL texts that a plan keeps: one for each set of tables that an index narrows, and of members that it empties
# that are written into texts: few, for each text is planned anew; DuckDB takes less than 8,192 below computed columns
ROW_LIMITS = (16, 128, 1024, 8000)
SHAPES = 200
PROBED = 100_000  # rows that are tried in index order before ORDER BY .. TOP goes the long way


@dataclass(frozen=True, slots=True)
class Text:
    """SQL, the slots of its arguments, and the numbers of the table references in it (None: all)."""

    sql: str
    slots: tuple[int, ...]
    numbers: frozenset[int] | None = None

    def reads(self, number: int) -> bool:
        """Return whether a table reference is left in the text."""
        return self.numbers is None or number in self.numbers


NOTHING = Text("", ())  # there are no rows: nothing is to be run


class DuckPlan(Plan):
    """A prepared query (`hven.engines.Plan`)."""

    small = False

    def __init__(self, engine: Machine, bound: Bound, *, lenient: bool = False) -> None:
        bound = bound if lenient else gathered(told(flattened(distributed(bound))))
        self._engine = engine
        self._bound = bound
        self._listed, self._lists = with_lists(bound)
        self._lenient = lenient
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        self._written: OrderedDict[Any, Text] = OrderedDict()
        self._reads: dict[str, tuple[str, ...]] | None = None
        self._candidates = None if lenient else Candidates(bound)
        self._direct = None if lenient else arrow.recognise(bound, self.schema)
        self._united = () if self._candidates is None or self._direct else united(bound, self._candidates.accesses, self.schema)  # fmt: skip
        # an index may be of use, or the rows are in memory: `execute` sees
        self.small = self._direct is not None or bool(self._united)
        self._access = None
        if self._candidates is not None and self._direct is not None:
            self._access = self._candidates.accesses.get(self._direct.leaf.number)
        self._order_key = None if self._direct is None else _order_key(self._direct)
        self._indexed = self._by_index()
        if not self._indexed:
            self._sql(Reduced())  # what cannot be written is refused when the plan is made

    def _by_index(self) -> bool:
        direct = self._direct
        if direct is None:
            return False
        if self._access is not None or (direct.count and direct.condition is None):
            return True
        return direct.top is not None and (self._order_key is not None if direct.orders else direct.condition is None)

    def _sql(self, reduced: Reduced) -> Text:
        """Return the SQL text with table references replaced by candidates, and without what has no rows."""
        shape = reduced.shape
        known = self._written.get(shape)
        if known is not None:
            return known
        bound = narrowed(self._listed, shape[0], reduced.joins) if reduced.tables else self._listed
        fewer = without(bound, reduced.empty)
        found = NOTHING
        if fewer is not None:
            names = {table.qualified: quote(table.qualified) for table in fewer.tables}
            written = writer.write(fewer, DuckDB(lenient=self._lenient), names)
            read = (
                None
                if fewer is bound
                else frozenset(node.number for node in walk(fewer.query) if isinstance(node, TableRef))
            )
            found = Text(written.sql, tuple(written.slots), read)
        self._written[shape] = found
        while len(self._written) > SHAPES:
            with contextlib.suppress(KeyError):  # another thread was quicker
                self._written.popitem(last=False)
        return found

    # --- running ---------------------------------------------------------------------------------------------

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        if self._united and self._engine.indexes:
            batches = few(self._united, self._engine, values, relations, limits)
            if batches is not None:
                return ReadyExecution(self.schema, iter(batches), small=True, limits=limits)
        if self._direct is None and self._candidates and self._engine.indexes:
            return LaterExecution(self.schema, lambda begun: self.long(values, relations, limits, begun))
        if self._direct is None or not self._engine.indexes:
            return self.long(values, relations, limits)
        if self._indexed or isinstance(self._read(self._direct, relations), Memory):
            ready = self._arrow(self._direct, values, relations, limits, QUICK)
            if ready is not None:
                return ready
        # who believed that it is small is not kept waiting
        return LaterExecution(self.schema, lambda begun: self.long(values, relations, limits, begun))

    def long(
        self,
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
        begun: Callable[[Execution | None], None] = lambda _: None,
    ) -> Execution:
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
                reduced = self._candidates.find(self._engine, values, relations, limits, begun)
        return self._reduced(reduced, leaves, values, relations, limits)

    def over(
        self, tables: dict[int, pa.Table], values: Values, relations: Mapping[str, Relation], limits: Limits
    ) -> Execution:
        """Run with these rows in place of table references, by their numbers."""
        leaves = {} if self._candidates is None else self._candidates.leaves
        return self._reduced(Reduced(tables), leaves, values, relations, limits)

    def _reduced(
        self,
        reduced: Reduced,
        leaves: Mapping[int, TableRef],
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
    ) -> Execution:
        text = self._sql(reduced)
        if text is NOTHING:
            return ReadyExecution(self.schema, iter(()), small=False, limits=limits)
        rows: dict[str, Rows] = {}
        for table in self._bound.tables:
            users = [
                number
                for number, leaf in leaves.items()
                if leaf.table is not None and leaf.table.qualified == table.qualified
            ]
            if not users or any(number not in reduced.tables and number not in reduced.inner for number in users):
                rows[table.qualified] = self._engine.rows(_wanted(relations, table.qualified), self._columns_of(table))
        rows.update(
            {
                f"hven.candidates{number}": Rows(table, keep=False)
                for number, table in reduced.tables.items()
                if text.reads(number)
            }
        )
        rows.update({item.table.qualified: Rows(item.rows(values), keep=False) for item in self._lists})
        return self._engine.run(
            self._limited(text.sql, limits),
            [values[slot] for slot in text.slots],
            rows,
            self.schema,
            limits,
            lenient=self._lenient,
        )

    def _limited(self, sql: str, limits: Limits) -> str:
        """Write MAXREC into the text of a query without TOP: DuckDB then computes columns for those rows alone, not for each that it scans."""
        query = self._bound.query
        most = next((one for one in ROW_LIMITS if limits.rows is not None and limits.rows < one), None)
        if most is None or query.offset is not None or not isinstance(query.body, Select) or query.body.top is not None:
            return sql
        return f"{sql} LIMIT {most}"

    def _columns_of(self, table: Table) -> tuple[str, ...] | None:
        """List the columns of a table that are read: a scan with a condition copies passing rows of every column that it is given."""
        if self._lenient:
            return None
        if self._reads is None:
            read = columns_read(self._listed)
            found: dict[str, dict[str, None]] = {}
            for node in walk(self._listed.query):
                if isinstance(node, TableRef) and node.table is not None:
                    found.setdefault(node.table.qualified, {}).update(dict.fromkeys(read.get(node.number, ())))
            self._reads = {name: tuple(sorted(columns)) for name, columns in found.items()}
        return self._reads.get(table.qualified)

    # --- Arrow alone -----------------------------------------------------------------------------------------

    def _arrow(
        self, direct: arrow.Direct, values: Values, relations: Mapping[str, Relation], limits: Limits, most_rows: int
    ) -> Execution | None:
        relation = self._read(direct, relations)
        limit = None if limits.rows is None else limits.rows + 1
        try:
            if isinstance(relation, Snapshot):
                batches, rows = self._arrow_batches(
                    direct, self._engine.stored(relation), values, limit, limits, most_rows
                )
            elif isinstance(relation, Memory):
                batches, rows = self._held_batches(direct, relation, values, limit, limits, most_rows)
            else:
                return None
            if batches is None:
                return None
            first = next(batches, None)  # now: some values show only here that DuckDB must have them
        except NotDirect:
            return None
        chain = iter(()) if first is None else _chain(first, batches)
        return ReadyExecution(self.schema, chain, small=rows <= QUICK, limits=limits)

    def _arrow_batches(
        self, direct: arrow.Direct, stored: Stored, values: Values, limit: int | None, limits: Limits, most_rows: int
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        most_rows = min(most_rows, direct.most or most_rows)
        found = None if self._access is None else self._access.look_up(stored, values, min(most(stored), most_rows))
        if found is None and direct.most is not None:
            return None, 0
        if found is not None and (not direct.orders or found.count <= arrow.SORTED):
            return direct.some(stored, found.rows(), values, limit), found.count
        if direct.condition is None and not direct.orders:
            end = direct.window(values, limit)[1]
            return direct.whole(
                stored, values, limit, limits.step(len(self.schema))
            ), 0 if direct.count or end is None else end
        if not direct.orders and not direct.count:
            return _first(direct, stored, values, limit, min(PROBED, most_rows))
        return self._in_order(direct, stored, values, limit, min(PROBED, most_rows))

    def _read(self, direct: arrow.Direct, relations: Mapping[str, Relation]) -> Relation | None:
        return None if direct.leaf.table is None else _wanted(relations, direct.leaf.table.qualified)

    def _held_batches(
        self, direct: arrow.Direct, relation: Memory, values: Values, limit: int | None, limits: Limits, most_rows: int
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Read rows in memory: all of them are candidates."""
        count = relation.rows.num_rows
        if count > min(most_rows, direct.most or arrow.SORTED) or not direct.reads(relation.rows.schema):
            return None, 0
        held = self._engine.held(relation)
        if direct.condition is None and not direct.orders:
            return direct.whole(held, values, limit, limits.step(len(self.schema))), count
        return direct.some(held, np.arange(count), values, limit), count

    def _in_order(
        self, direct: arrow.Direct, stored: Stored, values: Values, limit: int | None, most_rows: int
    ) -> tuple[Iterator[pa.RecordBatch] | None, int]:
        """Read rows in the order of an index until there are enough."""
        name = self._order_key
        index = stored.key(name) if name is not None else None
        end = direct.window(values, limit)[1]
        if index is None or end is None or end > most_rows:
            return None, 0
        low, high = 0, index.count
        for part in self._access.parts if isinstance(self._access, Best) else (self._access,):
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

    counted: ClassVar[str] = "the number of rows is known, none is read"

    def explain(self) -> str:
        """Describe which roads are open; see `hven.engines.Plan.explain`."""
        lines = [self._short_road()] if self._indexed or self._united else []
        lines += self._candidates.describe() if self._candidates is not None else []
        return "\n".join([*lines, f"DuckDB: {self._sql(Reduced()).sql}"])

    def estimate(self, values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Estimate how many rows of each table will be read, as far as indexes and the number of rows tell."""
        if self._candidates is None:
            return []
        counted = self._direct is not None and self._direct.count and self._direct.condition is None
        nearby = self._candidates.nearby(self._engine, values, relations)
        lines = []
        for number in self._candidates.leaves:
            relation = self._candidates.relation(number, relations)
            name = self._candidates.name(number)
            if number in nearby and relation is not None:
                lines.append(f"{name}: the {nearby[number]} are read, by the position index")
            elif isinstance(relation, Memory):
                lines.append(f"{name}: {relation.rows.num_rows:,} rows, in memory")
            elif isinstance(relation, Snapshot):
                access = self._candidates.accesses.get(number)
                stored = self._engine.stored(relation)
                found = None if access is None else access.look_up(stored, values, most(stored))
                end = None if self._direct is None or self._direct.top is None else self._direct.window(values, None)[1]
                early = end is not None and self._indexed and found is None
                read = 0 if counted else found.count if found is not None else end if early else relation.rows
                lines.append(f"{name}: about {min(read or 0, relation.rows):,} of {relation.rows:,} rows are read")
        return lines

    def _short_road(self) -> str:
        direct, key = self._direct, self._order_key
        if direct is not None and direct.count and direct.condition is None:
            return f"without DuckDB: {self.counted}"
        if direct is not None and direct.top is not None and key is not None:
            return f"without DuckDB: rows in the order of the index of {key}, until there are enough"
        return "without DuckDB, if an index gives few rows"


def _order_key(direct: arrow.Direct) -> str | None:
    """Name the indexed column that alone gives the order."""
    if len(direct.orders) != 1 or direct.orders[0].column is None or direct.leaf.table is None:
        return None
    column = direct.leaf.table.column(direct.orders[0].column)
    return column.name if column.name in direct.leaf.table.searched else None


def _first(
    direct: arrow.Direct, stored: Stored, values: Values, limit: int | None, most_rows: int
) -> tuple[Iterator[pa.RecordBatch] | None, int]:
    """Try rows as they are stored until enough pass: DuckDB has a scan read far ahead."""
    end = direct.window(values, limit)[1]
    if end is None or end > most_rows:
        return None, 0
    kept: list[Any] = []
    count, tried, step = 0, 0, max(4 * end, 1024)
    while count < end and tried < stored.rows:
        if tried >= most_rows:
            return None, 0
        passing = list(direct.passing(stored, np.arange(tried, min(tried + step, stored.rows)), values))
        kept += passing
        count += sum(len(part) for part in passing)
        tried += step
        step *= 4
    rows = np.concatenate(kept) if kept else np.empty(0, np.int64)
    return direct.ordered(stored, rows, values, limit), tried


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
