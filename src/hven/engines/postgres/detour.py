"""Queries with a function that PostgreSQL does not compute: it gives the rows that their conditions leave, the embedded engine does the rest.

Only the columns that are read travel, and only rows that meet those conditions on single tables which PostgreSQL does know; position
indexes are used for them. What is too much for this road is refused with words.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql.grouping import of_its_row
from hven.adql.sql import Writer
from hven.adql.tree import ColumnRef, walk
from hven.engines import Execution, Limits, Memory, Plan, Relay, Snapshot
from hven.engines._bound.narrow import columns_read, selects
from hven.engines._bound.scope import scope_of
from hven.engines.postgres.dialect import Elsewhere, Postgres
from hven.engines.postgres.estimating import expected
from hven.engines.postgres.install import quote
from hven.engines.postgres.places import HEALPIX, Places, simple
from hven.engines.postgres.ranges import may_leave
from hven.engines.postgres.relations import address, wanted
from hven.engines.postgres.running import PostgresExecution, Work
from hven.engines.postgres.statement import as_text
from hven.model.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.tree import Bound, Expr, TableRef
    from hven.engines import Relation
    from hven.engines.postgres.machine import Machine
    from hven.engines.postgres.places import Positions
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MOST = 5_000_000  # rows of one table that may travel


class Detour(Plan):
    """The plan of such a query: what is read from PostgreSQL, and the embedded engine's own plan.

    Parameters
    ----------
    reason
        What PostgreSQL does not compute.
    computing
        False: nor does it compute conditions with floating-point arithmetic.
    """

    small = False

    def __init__(self, engine: Machine, bound: Bound, positions: Positions, reason: str, *, computing: bool = True) -> None:
        self._engine = engine
        self._bound = bound
        self._positions = positions
        self._reason = reason
        self._plan = engine.embedded.prepare(bound)
        self._columns = columns_read(bound)
        self._leaves: dict[int, TableRef] = {}
        self._conditions: dict[int, list[Expr]] = {}
        for select in selects(bound.query):
            scope = scope_of(select)
            self._leaves.update(scope.leaves)
            for condition, leaves in scope.conditions:
                for number in leaves:
                    if _only_of(condition, number) and (computing or not may_leave(condition)):
                        self._conditions.setdefault(number, []).append(condition)

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run: nothing happens before somebody iterates."""
        return DetourExecution(self, values, relations, limits)

    def explain(self) -> str:
        """Say what is read and what is computed where."""
        return f"{self._reason} is computed in the embedded engine, over rows that PostgreSQL gives\n{self._plan.explain()}"

    def estimated(self, values: Values, relations: Mapping[str, Relation], called: Mapping[str, str]) -> list[str]:
        """Say what PostgreSQL expects to give."""
        lines = []
        for table in self._bound.tables:
            relation = wanted(relations, table.qualified)
            if not isinstance(relation, Memory):
                reading = partial(self._reading, table, relation, self._names(table), values)
                found = expected(self._engine, reading, called)
                lines += [f"{table.qualified}, to the embedded engine: {line}" for line in found[-1:]]
        return lines

    @property
    def schema(self) -> pa.Schema:
        """The answer's."""
        return pa.schema([pa.field(column.name, column.type.arrow) for column in self._bound.columns])

    def readings(
        self, values: Values, relations: Mapping[str, Relation], limits: Limits
    ) -> Iterator[tuple[Table, PostgresExecution | Memory]]:
        """Give for each table the query that reads it, or its rows in memory."""
        for table in self._bound.tables:
            relation = wanted(relations, table.qualified)
            if isinstance(relation, Memory):
                yield table, relation
                continue
            names = self._names(table)
            schema = pa.schema([pa.field(name, table.column(name).type.arrow) for name in names])
            work = self._reading(table, relation, names, values)
            yield table, self._execution(schema, work, Limits(rows=MOST, clock=limits.clock))

    def _names(self, table: Table) -> list[str]:
        """Name the columns of a table that are read."""
        leaves = [number for number, leaf in self._leaves.items() if leaf.table is not None and leaf.table.qualified == table.qualified]
        found = dict.fromkeys(name for number in leaves for name in self._columns.get(number, ()))
        return list(found) or [table.columns[0].name]

    def _execution(self, schema: pa.Schema, work: Work, limits: Limits) -> PostgresExecution:
        return PostgresExecution(self._engine, schema, lambda: work, limits)

    def _reading(self, table: Table, relation: Relation, names: Sequence[str], values: Values) -> Work:
        users = [leaf for leaf in self._leaves.values() if leaf.table is not None and leaf.table.qualified == table.qualified]
        rows, found = address(self._engine, relation), self._engine.found
        indexed = frozenset({table.qualified} if table.position is not None and isinstance(relation, Snapshot) else ())
        regions = {table.qualified: relation.regions} if isinstance(relation, Snapshot) else {}
        for mode in dict.fromkeys((found.mode, HEALPIX, "")) if self._engine.indexes else ("",):
            places = Places(self._positions, {table.qualified: rows}, indexed, mode, regions)
            writer = Writer(Postgres(places, letters=found.letters, settings=True), {table.qualified: rows}, self._bound.free)
            text, conditions = f"{rows} AS t0", []
            if len(users) == 1:
                leaf = users[0]
                text = f"{places.table(writer.dialect, writer, leaf, rows)} AS t{leaf.number}"  # type: ignore[arg-type]
                asked = [item for item in self._conditions.get(leaf.number, ()) if leaf.where is None or simple(item)]
                conditions = [said for condition in asked if (said := _said(writer, condition)) is not None]
            where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            sql = f"SELECT {', '.join(map(quote, names))} FROM {text}{where}"
            extras = places.values(values)
            if extras is not None:
                arguments = [as_text(values[slot]) if slot >= 0 else extras[-1 - slot] for slot in writer.parameters]
                return Work(asked="", streamed=sql, arguments=arguments)
        return Work(asked="", streamed=f"SELECT {', '.join(map(quote, names))} FROM {rows}", arguments=())

    def run(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Compute over what was read."""
        return self._plan.execute(values, relations, limits)

    def too_many(self, table: Table) -> TooLarge:
        """Make the error for a table that cannot travel."""
        message = f"{self._reason} cannot be computed by the database, and more than {MOST:,} rows of {table.qualified} would have to be fetched for it"
        return TooLarge(message, remedy="narrow the table by a condition (position, key, time) beside it")


class DetourExecution(Relay):
    """A running detour (`hven.engines.Execution`)."""

    def __init__(self, detour: Detour, values: Values, relations: Mapping[str, Relation], limits: Limits) -> None:
        super().__init__(detour.schema)
        self._detour = detour
        self._values = values
        self._relations = relations
        self._limits = limits

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        found: dict[str, Relation] = {}
        for table, reading in self._detour.readings(self._values, self._relations, self._limits):
            if isinstance(reading, Memory):
                found[table.qualified] = reading
                continue
            rows = pa.Table.from_batches(self._begin(reading), schema=reading.schema)
            if rows.num_rows > MOST:
                raise self._detour.too_many(table)
            found[table.qualified] = Memory(_complete(rows, table))
        yield from self._begin(self._detour.run(self._values, found, self._limits))


def _complete(rows: pa.Table, table: Table) -> pa.Table:
    """Give all columns of the table: those that nobody reads are null."""
    columns = [rows.column(item.name) if item.name in rows.schema.names else pa.nulls(rows.num_rows, item.type) for item in table.arrow]
    return pa.Table.from_arrays(columns, schema=pa.schema([pa.field(item.name, item.type) for item in table.arrow]))


def _only_of(condition: Expr, number: int) -> bool:
    """Say whether a condition reads one table reference and nothing else."""
    return of_its_row(condition) and all(node.source == number for node in walk(condition) if isinstance(node, ColumnRef))


def _said(writer: Writer, condition: Expr) -> str | None:
    """Write a condition, or nothing if PostgreSQL does not know one of its functions."""
    before = list(writer.parameters)
    try:
        return writer.expr(condition)
    except Elsewhere:
        writer.parameters[:] = before
        return None
