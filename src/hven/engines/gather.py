"""What one engine cannot compute alone: plans are asked for rows of single tables, and another plan computes over what they gave."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql.tree import ColumnRef, Ident, Meta, Query, Select, SelectItem, TableRef, conjunction
from hven.engines import Memory, Relay
from hven.model.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.adql.tree import Bound, Expr, Join
    from hven.engines import Limits, Plan, Relation
    from hven.model.errors import HvenError
    from hven.model.table import Column


@dataclass(slots=True)
class Room:
    """How many rows and bytes may yet be fetched."""

    rows: int
    bytes: float = float("inf")


class Gathering(Relay):
    """A running query over rows that are fetched first (`hven.engines.Execution`). Nothing is asked before the first batch is.

    Parameters
    ----------
    rest, left
        What computes over them, and the tables that it reads, by qualified name.
    """

    def __init__(
        self,
        rest: Plan,
        left: Iterable[str],
        values: Sequence[float | str | None],
        relations: Mapping[str, Relation],
        limits: Limits,
    ) -> None:
        super().__init__(rest.schema)
        self._rest = rest
        self._left = left
        self._values = values
        self._relations = dict(relations)
        self._limits = limits

    @abstractmethod
    def _fetch(self) -> Iterator[tuple[str, pa.Table]]:
        """Fetch the rows of one table after the other, each with the name under which the rest reads them."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for name, rows in self._fetch():
                self._relations[name] = Memory(rows)
            yield from self._ran(self._rest, self._left, self._limits.rows)
        finally:
            self.close()
            self._relations.clear()

    def _ran(self, plan: Plan, names: Iterable[str], rows: int | None) -> Iterator[pa.RecordBatch]:
        """Run one plan over these tables; whoever cancels or closes meets it, and its time is that of the whole."""
        if self._stopped():
            raise Cancelled("the query was stopped")
        if self._limits.clock is not None:
            self._limits.clock.check()
        relations = {name: self._relations[name] for name in names}
        execution = self._begin(plan.execute(self._values, relations, replace(self._limits, rows=rows)))
        try:
            yield from execution
        finally:
            self._runs(None)
            execution.close()

    def _fetched(self, plan: Plan, names: Iterable[str], room: Room, full: HvenError) -> pa.Table:
        """Fetch what a plan gives; raises `full` if there is no room for it."""
        kept: list[pa.RecordBatch] = []
        for batch in self._ran(plan, names, room.rows):
            room.rows -= batch.num_rows
            room.bytes -= batch.nbytes
            if room.rows < 0 or room.bytes < 0:
                raise full
            kept.append(batch)
        return pa.Table.from_batches(kept, kept[0].schema if kept else plan.schema)


def column_of(column: Column, number: int) -> ColumnRef:
    """Refer to a column of a table reference.

    Parameters
    ----------
    column
        Of its table.
    number
        Of the reference, as the binder counts them.

    Returns
    -------
    reference
        Bound.
    """
    meta = Meta(column.type, column.unit, column.ucd, column=column)
    return ColumnRef(Ident(column.name, quoted=True), source=number, column=column, meta=meta)


def asked(
    bound: Bound,
    node: TableRef,
    columns: tuple[Column, ...],
    conditions: Iterable[Expr],
    join: Join | None = None,
    *,
    distinct: bool = False,
) -> Bound:
    """Make the query for these columns of the rows of a table reference that meet conditions on it alone.

    Parameters
    ----------
    bound
        The whole query.
    node
        The reference.
    columns
        Those to read.
    conditions
        Bound, over this reference.
    join
        Of the reference with another table, whose rows are keys.
    distinct
        Each row once.

    Returns
    -------
    bound
        Of one table, or of the join.
    """
    items = tuple(SelectItem(column_of(column, node.number), column=column) for column in columns)
    body = Select(items, join or node, conjunction(*conditions), distinct=distinct)
    tables = tuple(
        item.table for item in (node, join and join.right) if isinstance(item, TableRef) and item.table is not None
    )
    return replace(bound, query=Query(body), columns=columns, tables=tables, volatile=False)
