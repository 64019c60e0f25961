"""LivePlan: a bound query over tables that are read in place; rows in memory travel as constants, what cannot be said is computed here."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.tree import Select, TableRef, walk
from hven.engines import Limits, Live, Memory, Plan
from hven.engines._bound.narrow import columns_read
from hven.engines.postgres.detour import Detour
from hven.engines.postgres.dialect import Elsewhere, storage
from hven.engines.postgres.estimating import expected
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
    compose,
    raws,
    written_out,
)
from hven.engines.postgres.plan import KEPT, is_quick, refuse_full_joins
from hven.engines.postgres.ranges import WHY, Ranged, may_leave
from hven.engines.postgres.relations import wanted
from hven.engines.postgres.running import Work
from hven.engines.postgres.statement import Statement, as_text
from hven.model.errors import StorageError
from hven.model.sky import Polygon, sphere

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.tree import Bound, Expr
    from hven.engines import Execution, Relation
    from hven.engines.postgres.machine import InPlace
    from hven.model.table import Table

    Values = Sequence[float | str | None]

SENT = 32 * 1024**2  # bytes of rows in memory that travel with a query; with more, the rows of the database travel here


class LivePlan(Plan):
    """A prepared query (`hven.engines.Plan`)."""

    small = False

    def __init__(self, engine: InPlace, bound: Bound) -> None:
        self._engine = engine
        self._bound = bound
        self.schema = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        self._positions = LivePositions.of(bound)
        self._needed = needed_of(bound)
        self._lock = threading.Lock()
        self._texts: OrderedDict[tuple[object, ...], Statement] = OrderedDict()
        self._quick = is_quick(bound) and isinstance(bound.query.body, Select)
        self._detour: LiveDetour | None = None
        self._first = ""
        try:
            refuse_full_joins(bound)
            self._first = compose(
                bound, self._positions, {table.qualified: quote(table.qualified) for table in bound.tables}, {}, "", "C"
            ).asked
        except Elsewhere as reason:
            self._detour = LiveDetour(engine, bound, self._positions, str(reason))
        self._ranged = (
            Ranged(lambda: LiveDetour(engine, bound, self._positions, WHY, computing=False))
            if self._detour is None and may_leave(bound.query)
            else None
        )

    def execute(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run; see `hven.engines.Plan.execute`."""
        if self._detour is not None:
            return self._detour.execute(values, relations, limits)
        memory = [one for one in relations.values() if isinstance(one, Memory)]
        if any(one.rows.nbytes > SENT or any(pa.types.is_nested(item.type) for item in one.rows.schema) for one in memory):
            detour = LiveDetour(self._engine, self._bound, self._positions, "the join with rows in memory")
            return detour.execute(values, relations, limits)
        if self._ranged is not None:
            return self._ranged.execute(lambda: self._execution(values, relations, limits), values, relations, limits)
        return self._execution(values, relations, limits)

    def _execution(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> LiveExecution:
        return LiveExecution(self._engine, self.schema, lambda: self._work(values, relations), limits)

    def _work(self, values: Values, relations: Mapping[str, Relation]) -> Work:
        names, tables, sent = {}, {}, {}
        for number, table in enumerate(self._bound.tables):
            relation = wanted(relations, table.qualified)
            if isinstance(relation, Memory):
                token = quote(f"hven rows {number}")
                names[table.qualified], sent[token] = token, constants(table, relation.rows)
            else:
                live = in_place(relation)
                self._engine.offers(live.position)
                names[table.qualified], tables[table.qualified] = address(live, self._needed.get(table.qualified, frozenset())), raws(live)
        found = self._engine.found
        statement, arguments = None, None
        if self._engine.indexes:
            statement = self._text(names, tables, BAND, found.letters)
            arguments = statement.arguments(values)
        if statement is None or arguments is None:
            statement = self._text(names, tables, "", found.letters)
            arguments = statement.arguments(values) or []
        asked, streamed = statement.asked, statement.streamed
        for token, text in sent.items():
            asked, streamed = asked.replace(token, text), streamed.replace(token, text)
        return Work(asked=asked, streamed=streamed, arguments=arguments, quick=self._quick and not sent)

    def _text(self, names: Mapping[str, str], tables: Mapping[str, Raws], mode: str, letters: str) -> Statement:
        key = (tuple(names.values()), mode)
        with self._lock:
            known = self._texts.get(key)
        if known is not None:
            return known
        made = compose(self._bound, self._positions, names, tables, mode, letters)
        with self._lock:
            self._texts[key] = made
            while len(self._texts) > KEPT:
                self._texts.popitem(last=False)
        return made

    def explain(self) -> str:
        """Say which road is taken; see `hven.engines.Plan.explain`."""
        head = f"read in place {self._engine.where}, as the rows are now"
        return f"{head}\n{self._detour.explain() if self._detour is not None else f'PostgreSQL: {self._first}'}"

    def estimate(self, values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Say how many rows of each table are read, as the database expects it."""
        called = {bare(relation.table): name for name, relation in relations.items() if isinstance(relation, Live)}
        if self._detour is None:
            return expected(self._engine, lambda: self._work(values, relations), called)
        return self._detour.estimated(values, relations, called)


class LiveDetour(Detour):
    """Reads from the database what the conditions leave that can be said there; the embedded engine does the rest."""

    _engine: InPlace

    def _execution(self, schema: pa.Schema, work: Work, limits: Limits) -> LiveExecution:
        return LiveExecution(self._engine, schema, lambda: work, limits)

    def _reading(self, table: Table, relation: Relation, names: Sequence[str], values: Values) -> Work:
        users = [leaf for leaf in self._leaves.values() if leaf.table is not None and leaf.table.qualified == table.qualified]
        live = in_place(relation)
        self._engine.offers(live.position)
        rows, tables = address(live, needed_of(self._bound).get(table.qualified, frozenset()) | {*names}), {table.qualified: raws(live)}
        for mode in (BAND, "") if self._engine.indexes else ("",):
            places = LivePlaces(self._positions, {table.qualified: rows}, tables, mode)
            writer = LiveWriter(
                LivePostgres(places, letters=self._engine.found.letters, settings=True), {table.qualified: rows}, self._bound.free
            )
            conditions: list[str] = []
            number, seen = 0, rows
            if len(users) == 1:
                leaf, number = users[0], users[0].number
                hidden = None if leaf.where is None else _said(writer, leaf.where)
                if hidden is not None:
                    seen = f"({writer.dialect.permitted(rows, hidden)})"
                if leaf.where is None or hidden is not None:  # no condition may look at rows that the reader may not see
                    conditions = [said for one in self._conditions.get(number, ()) if (said := _said(writer, one)) is not None]
                    conditions += self._around(places, writer, leaf, values) if mode else []
            text = f"SELECT {', '.join(f't{number}.{quote(name)}' for name in names)} FROM {seen} AS t{number}"
            extras = places.values(values)
            if extras is not None:
                sql = f"{text} WHERE {' AND '.join(conditions)}" if conditions else text
                arguments = [as_text(values[slot]) if slot >= 0 else extras[-1 - slot] for slot in writer.parameters]
                return Work(asked="", streamed=sql, arguments=arguments)
        return Work(asked="", streamed=text, arguments=())

    def _around(self, places: LivePlaces, writer: LiveWriter, leaf: TableRef, values: Values) -> list[str]:
        """Write conditions for circles around the polygons in which a position must lie."""
        found = []
        for inside in self._positions.shapes.get(leaf.number, ()):
            if inside.one is not None and inside.one(values) != 1:
                continue
            shape = inside.shape.make(values)
            if leaf.table is None or leaf.table.position is None or not isinstance(shape, Polygon) or float(shape.ring.reach[0]) > 60.0:
                continue
            reach = float(shape.ring.reach[0]) + 1e-9
            lon, lat = (float(one[0]) for one in sphere.angles(shape.ring.mean[:1]))
            found.append(places.around(writer, leaf, (repr(lon), repr(lat), repr(reach))))
        return [text for text in found if text]


def _said(writer: LiveWriter, condition: Expr) -> str | None:
    """Write a condition, or nothing if the database does not know one of its functions."""
    before, numbers = list(writer.parameters), dict(writer._numbers)  # noqa: SLF001  (both must go back together)
    try:
        return written_out(writer.expr(condition))
    except Elsewhere:
        writer.parameters[:] = before
        writer._numbers = numbers  # noqa: SLF001
        return None


def bare(table: str) -> str:
    """Give the name of a table without its schema and quotes."""
    return re.sub(r'^.*"((?:[^"]|"")+)"$', r"\1", table).replace('""', '"')


def needed_of(bound: Bound) -> dict[str, frozenset[str]]:
    """Give the columns of each table that a query reads, in any place."""
    read = columns_read(bound)
    found: dict[str, set[str]] = {}
    for node in walk(bound.query):
        if isinstance(node, TableRef) and node.table is not None and not node.cte:
            found.setdefault(node.table.qualified, set()).update(read.get(node.number, ()))
    return {name: frozenset(columns) for name, columns in found.items()}


def in_place(relation: Relation) -> Live:
    """See that a relation is read in place."""
    if not isinstance(relation, Live):
        message = f"{type(relation).__name__} is not read in place"
        raise StorageError(message)
    return relation


def constants(table: Table, rows: pa.Table) -> str:
    """Write rows in memory as constants: the database needs no table for them."""
    arrays = [f"'{_array(rows.column(column.name).combine_chunks())}'::{storage(column.type)}[]" for column in table.columns]
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
