"""What a reader reaches of a snapshot: the rows that meet a policy's condition, found once and read as if there were no others.

Decision 015 says why. The condition is tried on each row when it is first asked; from then on columns, indexes and numbers of rows are those of
the rows that meet it, so that neither an answer nor the time that it takes depends on the others. A condition holds its reader's names and the
moment of the last release: with another one, everything is made anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np
import pyarrow as pa

from hven.adql.tree import transform
from hven.engines import Limits, Snapshot
from hven.engines._bound.policies import filtered
from hven.engines._later import LaterExecution
from hven.engines._prerequisites import PlanWithPrerequisite
from hven.engines.duckdb.layout import ROW, Projection, Stored
from hven.engines.duckdb.plan import DuckPlan, quote
from hven.engines.duckdb.regions import RegionIndex
from hven.model.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
    from typing import Any

    import numpy.typing as npt

    from hven.adql.tree import Bound
    from hven.engines import Execution, Relation
    from hven.engines.duckdb.keys import KeyIndex
    from hven.engines.duckdb.layout import Rows
    from hven.engines.duckdb.machine import Machine

    Values = Sequence[float | str | None]

BATCH = 131_072  # rows that DuckDB is given at a time: of more in one piece it reads texts slowly
STEP = 65_536  # rows that are copied at a time
SAMPLE = 1_000  # rows that tell what one takes
EACH = 16  # bytes that are kept for a row, at least


class Wide(Exception):
    """Signals that the columns of a reach are too much to be copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Snapshot):
    """The rows of a snapshot that meet a condition.

    Attributes
    ----------
    condition
        SQL, over ``t0``.
    tested
        The columns that it reads.
    """

    condition: str
    tested: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        """What it is kept under."""
        return self.path, self.condition

    @property
    def whole(self) -> Snapshot:
        """All rows."""
        return Snapshot(id=self.id, table=self.table, path=self.path, rows=self.rows)


class Reach(Stored):
    """The rows of a snapshot that meet a condition, by numbers of their own; columns and indexes are copied when they are first read."""

    def __init__(self, whole: Stored, rows: Rows, room: int) -> None:
        self.whole, self._room = whole, room
        self._numbers = np.sort(rows).astype(np.int32 if whole.rows < 2**31 else np.int64)
        bits = np.zeros(whole.rows, np.bool_)
        bits[rows] = True
        self._met = pa.array(bits)
        positioned = int(np.searchsorted(self._numbers, whole.manifest.positioned))
        self.manifest = replace(whole.manifest, parts=(), rows=len(self._numbers), positioned=positioned)
        self.path, self._keys, self._regions, self._projections = whole.path, {}, {}, {}
        self._columns: dict[str, pa.ChunkedArray] = {}
        self.bytes = self._met.nbytes + self._numbers.nbytes

    @property
    def _bits(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self._met.to_numpy(zero_copy_only=False))

    def _renumbered(self, rows: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
        """Return which of these rows are met, and their numbers here."""
        bits = self._bits
        kept = bits[rows]
        return kept, (np.cumsum(bits, dtype=self._numbers.dtype) - 1)[rows[kept]]

    @cached_property
    def schema(self) -> pa.Schema:
        """See `Stored`."""
        return self.whole.schema

    @cached_property
    def table(self) -> pa.Table:
        """See `Stored`."""
        return self.having(None)

    def having(self, columns: tuple[str, ...] | None) -> pa.Table:
        """Return some columns of all rows, one at least."""
        if columns is not None and ROW in columns:
            return super().having(columns)
        names = self.schema.names if columns is None else columns or (self._narrowest,)
        found = {}
        for name in names:
            column = self._columns.get(name)
            if column is None:
                met = self.whole.table.select([name]).filter(self._met).combine_chunks()
                column = pa.Table.from_batches(met.to_batches(BATCH), met.schema).column(0)
                if self.bytes + column.nbytes <= self._room:
                    self._columns[name] = column
                    self.bytes += column.nbytes
            found[name] = column
        return pa.table(found, schema=pa.schema([self.schema.field(name) for name in names]))

    def check(self, columns: tuple[str, ...] | None) -> None:
        """Raise if some columns are too much to be copied."""
        some = self.whole.having(columns).slice(0, SAMPLE)
        if some.nbytes * self.rows > self._room * max(some.num_rows, 1):
            raise Wide

    @cached_property
    def healpix(self) -> Rows:
        """See `Stored`."""
        found: Rows = self.whole.healpix[self._bits[: self.whole.manifest.positioned]]
        self.bytes += found.nbytes
        return found

    def key(self, column: str) -> KeyIndex | None:
        """Return the index of a column, None if there is none, or no room for it."""
        found, whole = self._keys.get(column), self.whole.key(column)
        if found is not None or whole is None or self.bytes > self._room:
            return found
        kept, rows = self._renumbered(np.arange(whole.count) if whole.rows is None else whole.rows)
        values = None if whole.values is None else whole.values[kept]
        self.bytes += rows.nbytes + (0 if values is None else values.nbytes)
        found = self._keys[column] = replace(
            whole,
            count=len(rows),
            values=values,
            rows=None if whole.rows is None else rows,
            text=partial(self.value, column=self.schema.get_field_index(column)),
            texts=lambda rows: self.projection((column,)).take_any(rows).column(0),
        )
        return found

    def region(self, column: str) -> RegionIndex | None:
        """Return the position index of a column of shapes, None if there is none, or no room for it."""
        found, whole = self._regions.get(column), self.whole.region(column)
        if found is not None or whole is None or self.bytes > self._room:
            return found
        kept, rows = self._renumbered(whole.rows)
        caps = None if whole.caps is None else whole.caps[self._numbers]
        found = self._regions[column] = RegionIndex.of(whole.cells[kept], rows, caps)
        self.bytes += rows.nbytes + found.cells.nbytes + (0 if caps is None else caps.nbytes)
        return found

    def value(self, row: int, column: int) -> Any:
        """Return one value as a Python object."""
        return self.whole.value(int(self._numbers[row]), column)

    def projection(self, columns: tuple[str, ...]) -> Projection:
        """Return these columns, in this order, for reading by row number."""
        return Reached(self.whole.projection(columns), self._numbers)


class Reached(Projection):
    """Some columns by row number, read where all rows are."""

    def __init__(self, whole: Projection, numbers: npt.NDArray[Any]) -> None:
        self._of, self._rows, self.schema = whole, numbers, whole.schema

    def span(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Yield copies of rows begin..end."""
        for at in range(begin, end, STEP):
            yield self._of.take(self._rows[at : min(at + STEP, end)])

    def take(self, rows: Rows) -> pa.RecordBatch:
        """Copy rows by ascending number."""
        return self._of.take(self._rows[rows])


class ReachPlan(DuckPlan, PlanWithPrerequisite):
    """A query under policies (`hven.engines.Plan`): over what its reader reaches, or, where that cannot be kept, over all rows with the conditions."""

    counted = "the rows that the reader sees are counted, once for each snapshot"

    def __init__(self, engine: Machine, bound: Bound, where: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
        super().__init__(engine, replace(bound, query=transform(bound.query, _bare)))
        self._guard, self._where = partial(DuckPlan, engine, bound), where
        self._ran: WeakSet[Reach] = WeakSet()  # whose indexes are there, as far as this plan reads them

    @cached_property
    def _guarded(self) -> DuckPlan:
        return self._guard()

    def _parts(self, relations: Mapping[str, Relation]) -> dict[str, Part] | None:
        """Return the part of each table that the reader reaches; None: it is not kept."""
        parts = {}
        for name, (condition, tested) in self._where.items():
            one = relations.get(name)
            if not isinstance(one, Snapshot) or one.rows * EACH > self._engine.room or not self._engine.indexes:
                return None
            parts[name] = Part(
                id=one.id, table=one.table, path=one.path, rows=one.rows, condition=condition, tested=tested
            )
        return parts

    def find_prerequisite(self, relations: Mapping[str, Relation]) -> Hashable:
        """Name the reaches that are not known yet; see `hven.engines.PlanWithPrerequisite`."""
        parts = self._parts(relations) or {}
        return tuple(sorted(part.key for part in parts.values() if self._engine.reaches.find(part.key) is None)) or None

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        parts = self._parts(relations)
        if parts is None:
            return self._guarded.execute(values, relations, limits)
        known = {self._engine.reaches.find(part.key) for part in parts.values()}
        if self.small and known <= {*self._ran}:
            execution = super().execute(values, {**relations, **parts}, limits)
            if execution.small:
                return execution
        return LaterExecution(self.schema, lambda begun: self._over(parts, values, relations, limits, begun))

    def _over(
        self,
        parts: Mapping[str, Part],
        values: Values,
        relations: Mapping[str, Relation],
        limits: Limits,
        begun: Callable[[Execution | None], None],
    ) -> Execution:
        found = {}
        try:
            for name, part in parts.items():
                found[name] = reached(self._engine, part, limits, begun)
        except EvaluationError:  # of a row that a query may leave out
            return self._guarded.long(values, relations, limits, begun)
        given = {name: replace(part, rows=found[name].rows) for name, part in parts.items()}
        try:
            execution = self.long(values, {**relations, **given}, limits, begun)
        except Wide:
            return self._guarded.long(values, relations, limits, begun)
        self._ran.update(found.values())
        return execution

    def over(
        self, tables: dict[int, pa.Table], values: Values, relations: Mapping[str, Relation], limits: Limits
    ) -> Execution:
        """Run with these rows in place of table references, by their numbers: nobody knows whether they meet the conditions."""
        return self._guarded.over(tables, values, relations, limits)


def reached(
    engine: Machine, part: Part, limits: Limits | None = None, begun: Callable[[Execution | None], None] | None = None
) -> Reach:
    """Find what meets a condition; `begun` is told of the query that runs meanwhile."""
    found = engine.reaches.find(part.key)
    if found is None:
        # rows tell their numbers: IN with five values is a join in DuckDB, which loses their order
        sql = f'SELECT "{ROW}" FROM {quote(part.table)} AS t0 WHERE {part.condition}'
        schema = pa.schema([pa.field(ROW, pa.int64())])
        tried = {part.table: engine.rows(part.whole, (*part.tested, ROW))}
        execution = engine.run(sql, (), tried, schema, Limits(clock=limits.clock if limits is not None else None))
        if begun is not None:
            begun(execution)
        try:
            rows = pa.Table.from_batches(execution, schema=schema).column(0).to_numpy()
        finally:
            execution.close()
        found = Reach(engine.stored(part.whole), rows, engine.room)
    engine.reaches.keep(part.key, found, min(found.bytes, engine.room))  # it grows
    return found


def _bare(node: Any) -> Any:
    return replace(node, where=None) if filtered(node) else node


__all__ = ["Part", "Reach", "ReachPlan", "Wide", "reached"]
