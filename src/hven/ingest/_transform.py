"""A batch of source rows -> rows of the table, by its mapping: copies go straight across, the rest through the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.tree import Bound, ColumnRef, Select, SelectItem, walk
from hven.descriptor.mapping import SOURCE
from hven.ingest._casting import convert, whole
from hven.ingest._rejects import describe_value
from hven.model.errors import Cancelled, DataError
from hven.model.sky import contours
from hven.sources import ROW
from hven.sources.beside import Failure, Python, first_wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from threading import Event

    import numpy.typing as npt

    from hven.descriptor.mapping import Call, Mapping
    from hven.engines import Engine
    from hven.ingest._sizes import Sizes
    from hven.model.settings import PythonLimits

    Positions = npt.NDArray[np.int64]

FILE = "file.path"
PIECE = 4096  # rows of which contours are made in one thread, while others are in another one
PROBE = 5.0  # seconds for a part of a batch, while the row is looked for that a function fails at


@dataclass(slots=True, kw_only=True)
class Mapped:
    """Rows of the table that a batch gave.

    Attributes
    ----------
    rows
        The table's columns in order, in their own types.
    at
        Position in the source batch of each row; None: row i came from source row i.
    lost
        Column -> booleans over `rows`: there was a value, and it could not be converted.
    constant
        Columns with one value in all rows, of any batch.
    contour
        Asks source rows why their contour has no region; None: the table's outline is made of none.
    """

    rows: pa.RecordBatch
    at: Positions | None
    lost: dict[str, pa.Array]
    constant: frozenset[str] = frozenset()
    contour: Bound | None = None


class Transform:
    """A mapping, ready to run over batches."""

    def __init__(
        self,
        engine: Engine,
        mapping: Mapping,
        sizes: Sizes | None = None,
        limits: PythonLimits | None = None,
        over: Event | None = None,
    ) -> None:
        self._over = over  # set where nobody waits for rows any more
        self.engine = engine
        self.mapping = mapping
        self.target = pa.schema([pa.field(column.name, column.type.arrow) for column in mapping.table.columns])
        self._numbers_used = uses_row(mapping)
        self._calls: list[tuple[Call, Any]] = []
        if mapping.calls:
            python = Python(limits)
            self._calls = [
                (call, sizes if call.path is None and sizes is not None else call.load(python))
                for call in mapping.calls
            ]
        self._copies = {} if len(mapping.queries) > 1 else dict(mapping.copies)
        self._constants = [Constants(engine, mapping, query) for query in mapping.queries]
        self._rest = [
            _without(query, {*self._copies, *fixed.names})
            for query, fixed in zip(mapping.queries, self._constants, strict=True)
        ]

    def prepared(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Prepare the batch: its rows numbered, with the Python functions' answers.

        The engine's answers are matched to the batch by row number, which must be unique in it; a mapping that does not
        use the source's own numbers gets simple ones.
        """
        given = batch
        if not self._numbers_used or not _increasing(batch):
            batch = _with(batch, ROW, pa.array(np.arange(batch.num_rows, dtype=np.int64)))
        for call, function in self._calls:
            arguments = self.engine.compute(call.args, {SOURCE: batch, **self.mapping.lookups})
            columns = [whole(column) for column in arguments.columns]
            try:
                values = function(*columns)
            except Failure as error:  # whatever a curator's function does is the curator's to see
                line = f" ({call.path.name}:{error.line})" if call.path is not None and error.line is not None else ""
                message = f"the function {call.name} failed: {error}{line}; {_blamed(function, columns, given, None if error.answered else PROBE)}"
                raise DataError(message, place=call.place) from error
            batch = _with(batch, call.output, self._answer(call, values, batch.num_rows))
        return batch

    def _answer(self, call: Any, values: object, rows: int) -> pa.Array:
        if not isinstance(values, (pa.Array, pa.ChunkedArray)):
            raise DataError(f"the function {call.name} gave {values}, not an Arrow array", place=call.place)
        array = whole(values)
        if len(array) != rows:
            raise DataError(f"the function {call.name} gave {len(array)} values for {rows} rows", place=call.place)
        try:
            return array.cast(call.type.arrow)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"the function {call.name} gave {array.type}, which is no {call.type}: {error}", place=call.place
            ) from error

    def apply(self, batch: pa.RecordBatch) -> Iterator[Mapped]:
        """Map a prepared batch: one `Mapped` per granule."""
        asked = self.mapping.contours or (None,) * len(self._rest)
        for query, fixed, contour in zip(self._rest, self._constants, asked, strict=True):
            found, at = self._computed(query, batch)
            count = batch.num_rows if at is None else len(at)
            columns: list[pa.Array] = []
            lost: dict[str, pa.Array] = {}
            alike: set[str] = set()
            for item in self.target:
                source = self._copies.get(item.name)
                if item.name in fixed.names:
                    values, unfit = fixed.repeated(item.name, item.type, count, batch)
                    if unfit:
                        lost[item.name] = pa.repeat(True, count)
                    else:
                        alike.add(item.name)
                    columns.append(values)
                    continue
                if source is not None:
                    values = batch.column(source)
                    values = values if at is None else values.take(pa.array(at))
                else:
                    values = whole(found.column(item.name))  # type: ignore[union-attr]
                try:
                    values, misfit = convert(values, item.type)
                except pa.ArrowNotImplementedError as error:
                    raise DataError(
                        f"the column {item.name} is {item.type}, and {values.type} does not become that: {error}"
                    ) from error
                if misfit is not None:
                    lost[item.name] = misfit
                columns.append(values)
            rows = pa.RecordBatch.from_arrays(columns, schema=self.target)
            if source_of := {name: source for name, source in self.mapping.copies.items() if name not in self._copies}:
                self._lost_in_engine(rows, batch, at, source_of, lost)
            yield Mapped(rows=rows, at=at, lost=lost, constant=frozenset(alike), contour=contour)

    def _computed(self, query: Bound | None, batch: pa.RecordBatch) -> tuple[pa.Table | None, Positions | None]:
        if query is None and self.mapping.where is None:
            return None, None
        bound = query if query is not None else self.mapping.where

        def computed(begin: int) -> pa.Table:
            if self._over is not None and self._over.is_set():
                raise Cancelled("nobody waits for these rows")
            return self.engine.compute(bound, {SOURCE: batch.slice(begin, size), **self.mapping.lookups})  # type: ignore[arg-type]

        size = PIECE if any(self.mapping.contours) else max(batch.num_rows, 1)
        found = pa.concat_tables(contours.spread(computed, range(0, max(batch.num_rows, 1), size)))
        return found, positions(found.column(ROW), batch)

    def _lost_in_engine(
        self,
        rows: pa.RecordBatch,
        batch: pa.RecordBatch,
        at: Positions | None,
        copies: dict[str, str],
        lost: dict[str, pa.Array],
    ) -> None:
        for name, source in copies.items():
            values = rows.column(name)
            if source not in batch.schema.names or not values.null_count:
                continue
            before = batch.column(source) if at is None else batch.column(source).take(pa.array(at))
            missing = pc.and_(pc.is_null(values), pc.is_valid(before))
            if pc.any(missing).as_py():
                lost[name] = missing if name not in lost else pc.or_(lost[name], missing)


class Constants:
    """The columns of one query that are the same in each row: computed once, and repeated without a copy."""

    def __init__(self, engine: Engine, mapping: Mapping, query: Bound) -> None:
        self._engine = engine
        self._mapping = mapping
        self._query = query
        body = query.query.body
        plain = (
            isinstance(body, Select)
            and len(body.items) == len(query.columns)
            and not body.group_by
            and not body.distinct
        )
        self.names = (
            frozenset(
                column.name
                for item, column in zip(body.items, query.columns, strict=True)
                if isinstance(item, SelectItem)
                and item.expr.meta is not None
                and item.expr.meta.constant
                and column.name != ROW
            )
            if plain and isinstance(body, Select)
            else frozenset[str]()
        )
        self._values: dict[str, pa.Array] | None = None
        self._arrays: dict[str, tuple[pa.Array, bool]] = {}

    def repeated(self, name: str, kind: pa.DataType, count: int, batch: pa.RecordBatch) -> tuple[pa.Array, bool]:
        """Return a column of `count` rows, and whether its value does not fit `kind`."""
        known = self._arrays.get(name)
        if known is None or len(known[0]) < count:
            try:
                value, misfit = convert(self._one(batch.schema)[name], kind)
            except pa.ArrowNotImplementedError as error:
                raise DataError(f"the column {name} is {kind}, and its value does not become that: {error}") from error
            lost = misfit is not None and bool(pc.any(misfit).as_py())
            array = pa.repeat(value[0], count) if value.null_count == 0 else pa.nulls(count, kind)
            known = self._arrays[name] = (array, lost)
        return known[0].slice(0, count), known[1]

    def _one(self, schema: pa.Schema) -> dict[str, pa.Array]:
        """Compute the query's constants over one row."""
        if self._values is None:
            query = _without(self._query, {column.name for column in self._query.columns} - self.names - {ROW})
            if query is None:
                return {}
            if isinstance(query.query.body, Select):
                query = replace(query, query=replace(query.query, body=replace(query.query.body, where=None)))
            row = [pa.array([0], pa.int64()) if item.name == ROW else pa.nulls(1, item.type) for item in schema]
            found = self._engine.compute(
                query, {SOURCE: pa.RecordBatch.from_arrays(row, schema=schema), **self._mapping.lookups}
            )
            self._values = {name: whole(found.column(name)) for name in self.names}
        return self._values


def positions(numbers: pa.ChunkedArray, batch: pa.RecordBatch) -> Positions | None:
    """Find rows of the engine's answer in the batch by their number; None if they are all there, in order."""
    own = np.asarray(batch.column(ROW))
    found = np.asarray(whole(numbers))
    if len(found) == len(own) and np.array_equal(found, own):
        return None
    return np.searchsorted(own, found).astype(np.int64)


def _increasing(batch: pa.RecordBatch) -> bool:
    numbers = np.asarray(batch.column(ROW))
    return bool(np.all(numbers[1:] > numbers[:-1]))


def _with(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    at = batch.schema.get_field_index(name)
    return batch.append_column(name, values) if at < 0 else batch.set_column(at, name, values)


def _without(query: Bound, known: Collection[str]) -> Bound | None:
    """Drop columns from a mapping's query whose values are known; None if nothing is left to compute."""
    body = query.query.body
    if not known or not isinstance(body, Select) or len(body.items) != len(query.columns):
        return query
    pairs = [(item, column) for item, column in zip(body.items, query.columns, strict=True) if column.name not in known]
    if len(pairs) == 1:  # the row number alone
        return None
    items, columns = tuple(item for item, _ in pairs), tuple(column for _, column in pairs)
    return replace(query, query=replace(query.query, body=replace(body, items=items)), columns=columns)


def _blamed(function: Any, columns: Sequence[pa.Array], batch: pa.RecordBatch, seconds: float | None) -> str:
    """Name the row at which a function fails, by calling it with parts of the batch: that row and what it was given; or the rows."""

    def fails(low: int, high: int) -> bool:
        try:
            function(*[column.slice(low, high - low) for column in columns], seconds=seconds)
        except Failure:
            return True
        return False

    numbers = batch.column(ROW) if ROW in batch.schema.names else pa.array(range(1, batch.num_rows + 1))
    at = first_wrong(fails, batch.num_rows) if columns else None
    if at is None:
        return (
            f"in the rows {numbers[0]} to {numbers[-1]}, and in none of them alone"
            if batch.num_rows
            else "without any row"
        )
    file = f" of {batch.column(FILE)[at]}" if FILE in batch.schema.names else ""
    values = ", ".join(repr(describe_value(column[at].as_py()))[:60] for column in columns)
    return f"in row {numbers[at]}{file}, with {values}"


def uses_row(mapping: Mapping) -> bool:
    """Return whether an expression uses the source's row number (besides giving it back)."""
    plain = 1
    return any(_rows(query.query) > plain for query in mapping.queries) or any(
        _rows(call.args) for call in mapping.calls
    )


def _rows(tree: object) -> int:
    return sum(isinstance(node, ColumnRef) and node.name.name == ROW for node in walk(tree))
