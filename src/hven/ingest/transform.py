"""A batch of source rows -> rows of the table, by its mapping: copies go straight across, the rest through the engine."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.tree import Bound, ColumnRef, Select
from hven.descriptor.mapping import SOURCE
from hven.errors import DataError, HvenError
from hven.ingest.casting import convert, whole
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.descriptor.mapping import Mapping
    from hven.engines import Engine

    Positions = npt.NDArray[np.int64]


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
    """

    rows: pa.RecordBatch
    at: Positions | None
    lost: dict[str, pa.Array]


class Transform:
    """A mapping, ready to run over batches."""

    def __init__(self, engine: Engine, mapping: Mapping) -> None:
        self.engine = engine
        self.mapping = mapping
        self.target = pa.schema([pa.field(column.name, column.type.arrow) for column in mapping.table.columns])
        self._numbers_used = _uses_row(mapping)
        self._calls = [(call, call.load()) for call in mapping.calls]
        self._copies = {} if len(mapping.queries) > 1 else dict(mapping.copies)
        self._rest = [_without(query, self._copies) for query in mapping.queries]

    def prepared(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Give the batch with its rows numbered and the Python functions' answers.

        The engine's answers are matched to the batch by row number, which must be unique in it; a mapping that does not
        use the source's own numbers gets simple ones.
        """
        if not self._numbers_used or not _increasing(batch):
            batch = _with(batch, ROW, pa.array(np.arange(batch.num_rows, dtype=np.int64)))
        for call, function in self._calls:
            arguments = self.engine.compute(call.args, {SOURCE: batch, **self.mapping.lookups})
            try:
                values = function(*[whole(column) for column in arguments.columns])
            except HvenError:
                raise
            except Exception as error:  # whatever a curator's function raises is the curator's to see
                raise DataError(f"the function {call.name} failed: {type(error).__name__}: {error}", place=call.place) from error
            batch = _with(batch, call.output, self._answer(call, values, batch.num_rows))
        return batch

    def _answer(self, call: Any, values: object, rows: int) -> pa.Array:
        if not isinstance(values, (pa.Array, pa.ChunkedArray)):
            raise DataError(f"the function {call.name} gave {type(values).__name__}, not an Arrow array", place=call.place)
        array = whole(values)
        if len(array) != rows:
            raise DataError(f"the function {call.name} gave {len(array)} values for {rows} rows", place=call.place)
        try:
            return array.cast(call.type.arrow)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"the function {call.name} gave {array.type}, which is no {call.type}: {error}", place=call.place) from error

    def apply(self, batch: pa.RecordBatch) -> Iterator[Mapped]:
        """Map a prepared batch: one `Mapped` per granule."""
        for query in self._rest:
            found, at = self._computed(query, batch)
            columns: list[pa.Array] = []
            lost: dict[str, pa.Array] = {}
            for item in self.target:
                source = self._copies.get(item.name)
                if source is not None:
                    values = batch.column(source)
                    values = values if at is None else values.take(pa.array(at))
                else:
                    values = whole(found.column(item.name))  # type: ignore[union-attr]
                try:
                    values, misfit = convert(values, item.type)
                except pa.ArrowNotImplementedError as error:
                    raise DataError(f"the column {item.name} is {item.type}, and {values.type} does not become that: {error}") from error
                if misfit is not None:
                    lost[item.name] = misfit
                columns.append(values)
            rows = pa.RecordBatch.from_arrays(columns, schema=self.target)
            if source_of := {name: source for name, source in self.mapping.copies.items() if name not in self._copies}:
                self._lost_in_engine(rows, batch, at, source_of, lost)
            yield Mapped(rows=rows, at=at, lost=lost)

    def _computed(self, query: Bound | None, batch: pa.RecordBatch) -> tuple[pa.Table | None, Positions | None]:
        if query is None and self.mapping.where is None:
            return None, None
        bound = query if query is not None else self.mapping.where
        found = self.engine.compute(bound, {SOURCE: batch, **self.mapping.lookups})  # type: ignore[arg-type]
        return found, positions(found.column(ROW), batch)

    def _lost_in_engine(
        self, rows: pa.RecordBatch, batch: pa.RecordBatch, at: Positions | None, copies: dict[str, str], lost: dict[str, pa.Array]
    ) -> None:
        for name, source in copies.items():
            values = rows.column(name)
            if source not in batch.schema.names or not values.null_count:
                continue
            before = batch.column(source) if at is None else batch.column(source).take(pa.array(at))
            missing = pc.and_(pc.is_null(values), pc.is_valid(before))
            if pc.any(missing).as_py():
                lost[name] = missing if name not in lost else pc.or_(lost[name], missing)


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


def _without(query: Bound, copies: dict[str, str]) -> Bound | None:
    """Leave the copied columns out of a mapping's query; None if nothing is left to compute."""
    body = query.query.body
    if not copies or not isinstance(body, Select) or len(body.items) != len(query.columns):
        return query
    pairs = [(item, column) for item, column in zip(body.items, query.columns, strict=True) if column.name not in copies]
    if len(pairs) == 1:  # the row number alone
        return None
    items, columns = tuple(item for item, _ in pairs), tuple(column for _, column in pairs)
    return replace(query, query=replace(query.query, body=replace(body, items=items)), columns=columns)


def _uses_row(mapping: Mapping) -> bool:
    """Tell whether an expression uses the source's row number (besides giving it back)."""
    plain = 1
    return any(_count_row(query) > plain for query in mapping.queries) or any(_count_row(call.args) for call in mapping.calls)


def _count_row(node: object) -> int:
    if isinstance(node, ColumnRef):
        return int(node.name.name == ROW)
    if isinstance(node, tuple):
        return sum(_count_row(part) for part in node)
    if isinstance(node, Bound):
        return _count_row(node.query)
    if is_dataclass(node) and type(node).__module__ == "hven.adql.tree":
        return sum(_count_row(getattr(node, item.name)) for item in fields(node) if item.name not in {"meta", "column", "table"})
    return 0
