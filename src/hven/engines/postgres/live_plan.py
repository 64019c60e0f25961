"""LivePlan: a bound query over tables that are read in place; rows in memory travel as constants, what cannot be said is computed here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.tree import TableRef, walk
from hven.engines import Live, Memory
from hven.engines._bound.narrow import columns_read
from hven.engines.postgres.dialect import storage
from hven.engines.postgres.install import quote
from hven.engines.postgres.live_running import LiveExecution
from hven.engines.postgres.live_text import (
    BAND,
    LivePlaces,
    LivePositions,
    LivePostgres,
    LiveWriter,
    Raws,
    address,
    raws,
)
from hven.engines.postgres.plan import PostgresPlan
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.adql.tree import Bound
    from hven.engines import Execution, Limits, Relation
    from hven.engines.postgres.machine import InPlace
    from hven.engines.postgres.places import Positions
    from hven.engines.postgres.running import Work
    from hven.model.table import Table

    Values = Sequence[float | str | None]

SENT = 32 * 1024**2  # bytes of rows in memory that travel with a query; with more, the rows of the database travel here


class LivePlan(PostgresPlan):
    """A prepared query (`hven.engines.Plan`)."""

    small = False
    looks, places, dialect, writer = LivePositions, LivePlaces, LivePostgres, LiveWriter
    _engine: InPlace

    def __init__(self, engine: InPlace, bound: Bound, reading: Positions | None = None) -> None:
        self._needed = needed_of(bound)
        super().__init__(engine, bound, reading)

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        memory = [one.rows for one in relations.values() if isinstance(one, Memory)]
        if self._detour is None and any(
            one.nbytes > SENT or any(pa.types.is_nested(item.type) for item in one.schema) for one in memory
        ):
            return self._elsewhere("the join with rows in memory").execute(values, relations, limits)
        return super().execute(values, relations, limits)

    def _execution(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> LiveExecution:
        return LiveExecution(self._engine, self.schema, lambda: self._work(values, relations), limits)

    def _work(self, values: Values, relations: Mapping[str, Relation]) -> Work:
        work = super()._work(values, relations)
        for name, table, rows in work.uploads:
            token, text = f"pg_temp.{quote(name)}", constants(table, rows)
            work.asked, work.streamed = work.asked.replace(token, text), work.streamed.replace(token, text)
        work.uploads = ()
        return work

    def _there(self, table: Table, relation: Relation) -> tuple[str, Raws]:
        if not isinstance(relation, Live):
            message = f"{type(relation).__name__} is not read in place"
            raise StorageError(message)
        self._engine.offers(relation.position)
        return address(relation, self._needed.get(table.qualified, frozenset())), raws(relation)

    def _modes(self) -> Iterable[str]:
        return (BAND,)

    def explain(self) -> str:
        """Describe which road is taken; see `hven.engines.Plan.explain`."""
        head = f"read in place {self._engine.where}, as the rows are now"
        return f"{head}\n{self._detour.explain() if self._detour is not None else f'PostgreSQL: {self._first.asked}'}"

    def _stored(self, relations: Mapping[str, Relation]) -> dict[str, str]:
        return {bare(relation.table): name for name, relation in relations.items() if isinstance(relation, Live)}


def bare(table: str) -> str:
    """Return the name of a table without its schema and quotes."""
    return re.sub(r'^.*"((?:[^"]|"")+)"$', r"\1", table).replace('""', '"')


def needed_of(bound: Bound) -> dict[str, frozenset[str]]:
    """Return the columns of each table that a query reads, in any place."""
    read = columns_read(bound)
    found: dict[str, set[str]] = {}
    for node in walk(bound.query):
        if isinstance(node, TableRef) and node.table is not None and not node.cte:
            found.setdefault(node.table.qualified, set()).update(read.get(node.number, ()))
    return {name: frozenset(columns) for name, columns in found.items()}


def constants(table: Table, rows: pa.Table) -> str:
    """Write rows in memory as constants: the database needs no table for them."""
    arrays = [
        f"'{_array(rows.column(column.name).combine_chunks())}'::{storage(column.type)}[]" for column in table.columns
    ]
    names = ", ".join(quote(column.name) for column in table.columns)
    return f"(SELECT * FROM unnest({', '.join(arrays)}) AS r({names}))"


def _array(values: pa.Array | pa.ChunkedArray) -> str:
    """Write an array in PostgreSQL's text, ready to stand in quotes."""
    kind = values.type
    texts = values.cast(pa.string())
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        for sign, stands in (("\0", "\ufffe"), ("\\", "\\\\"), ('"', '\\"'), ("'", "''")):
            texts = pc.replace_substring(texts, sign, stands)
        texts = pc.binary_join_element_wise('"', texts, '"', "")
    joined = ",".join(pc.fill_null(texts, "NULL").to_pylist())
    return "{" + joined + "}"


__all__ = ["LivePlan", "constants"]
