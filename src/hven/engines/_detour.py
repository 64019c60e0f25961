"""Queries with a function that another engine does not compute: it gives the rows that their conditions leave, the embedded engine does the rest.

Only the columns that are read travel, and only rows that meet those conditions on single tables which that engine does know; its
indexes are used for them. What is too much for this road is refused with words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql.grouping import false_for_null, of_its_row
from hven.adql.tree import ColumnRef, TableRef, walk
from hven.engines import Execution, Limits, Memory, Plan
from hven.engines._bound.narrow import columns_read, selects
from hven.engines._bound.narrowable import narrowable_of
from hven.engines.gather import Gathering, Room, asked
from hven.model.errors import StorageError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.adql.tree import Bound, Expr
    from hven.engines import Engine, Relation
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MOST = 5_000_000  # rows of one table that may travel


class Detour(Plan):
    """The plan of such a query: what is read from PostgreSQL, and the embedded engine's own plan.

    Parameters
    ----------
    reason
        What the engine does not compute.
    reads
        Plans the query for the rows of one table, which may give too many; None for a row filter that it does not know.
    takes
        Tells whether the engine computes a condition.
    giver
        How the engine is called.
    bytes
        Of rows that may travel.
    """

    small = False

    def __init__(
        self,
        embedded: Engine,
        bound: Bound,
        reason: str,
        reads: Callable[[Bound], Plan | None],
        *,
        takes: Callable[[Expr], bool] = lambda _: True,
        giver: str = "PostgreSQL",
        bytes: float = float("inf"),  # noqa: A002  (as `Room` calls them)
    ) -> None:
        self.reason, self._giver, self.bytes = reason, giver, bytes
        self.rest = embedded.prepare(bound)
        self.schema = self.rest.schema
        columns = columns_read(bound)
        leaves: dict[int, TableRef] = {}
        conditions: dict[int, list[Expr]] = {}
        for select in selects(bound.query):
            narrowable = narrowable_of(select)
            leaves.update(narrowable.leaves)
            for condition, numbers in narrowable.conditions:
                for number in numbers:
                    firm = (id(condition), number) not in narrowable.loose or false_for_null(condition)
                    if firm and _only_of(condition, number) and takes(condition):
                        conditions.setdefault(number, []).append(condition)
        self.asks: dict[str, tuple[Table, Plan]] = {}
        for table in bound.tables:
            users = [
                leaf for leaf in leaves.values() if leaf.table is not None and leaf.table.qualified == table.qualified
            ]
            names = dict.fromkeys(name for leaf in users for name in columns.get(leaf.number, ()))
            read = tuple(table.column(name) for name in names) or table.columns[:1]
            whole = TableRef((), number=0, table=table)
            plan = None
            if len(users) == 1:  # several references share what is read, so they have no condition in common
                plan = reads(asked(bound, users[0], read, conditions.get(users[0].number, ())))
            plan = plan or reads(
                asked(bound, whole, read, ())
            )  # no condition may look at rows that the reader may not see
            if plan is None:
                raise TypeError(f"{giver} cannot give the rows of {table.qualified}")
            self.asks[table.qualified] = table, plan

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run: nothing happens before somebody iterates."""
        return DetourExecution(self, values, relations, limits)

    def explain(self) -> str:
        """Describe what is read and what is computed where."""
        return f"{self.reason} is computed in the embedded engine, over rows that {self._giver} gives\n{self.rest.explain()}"

    def estimate(self, values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Return the engine's own estimate."""
        return [
            f"{name}, to the embedded engine: {line}"
            for name, (_, plan) in self.asks.items()
            if not isinstance(wanted(relations, name), Memory)
            for line in plan.estimate(values, relations)[-1:]
        ]


class DetourExecution(Gathering):
    """A running detour (`hven.engines.Execution`)."""

    def __init__(self, detour: Detour, values: Values, relations: Mapping[str, Relation], limits: Limits) -> None:
        super().__init__(detour.rest, detour.asks, values, relations, limits)
        self._detour = detour

    @property
    def _most(self) -> str:
        return f"{MOST:,} rows" if self._detour.bytes > MOST * 1000 else f"{self._detour.bytes:,.0f} bytes"

    def _fetch(self) -> Iterator[tuple[str, pa.Table]]:
        for name, (table, plan) in self._detour.asks.items():
            if not isinstance(wanted(self._relations, name), Memory):
                message = f"{self._detour.reason} cannot be computed by the database, and more than {self._most} of {name} would have to be fetched for it"
                too_many = TooLarge(message, remedy="narrow the table by a condition (position, key, time) beside it")
                yield name, _complete(self._fetched(plan, [name], Room(MOST, self._detour.bytes), too_many), table)


def _complete(rows: pa.Table, table: Table) -> pa.Table:
    """Return all columns of the table: those that nobody reads are null."""
    columns = [
        rows.column(item.name) if item.name in rows.schema.names else pa.nulls(rows.num_rows, item.type)
        for item in table.arrow
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema([pa.field(item.name, item.type) for item in table.arrow]))


def _only_of(condition: Expr, number: int) -> bool:
    """Return whether a condition reads one table reference and nothing else."""
    return of_its_row(condition) and all(
        node.source == number for node in walk(condition) if isinstance(node, ColumnRef)
    )


def wanted(relations: Mapping[str, Relation], name: str) -> Relation:
    """Return where the rows of a table are."""
    if name not in relations:
        message = f"nobody said where the rows of {name} are"
        raise StorageError(message)
    return relations[name]
