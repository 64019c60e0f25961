"""Rows that clients send (``/push/schema.table``): kept by the site as they came, the last word on each key counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import parse_type
from hven.sources import GONE, ROW, Changes, Context, Pin, Source
from hven.sources._reading.cutting import cut
from hven.sources._reading.files import Texts, assemble, check_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Options(BaseModel):
    """What a descriptor may say of rows that are pushed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str] = Field(
        min_length=1,
        description="What clients may send, with types: `{night: timestamp, seeing: float32, note: string}`.",
    )
    writers: Texts = Field(
        default_factory=list,
        description="Accounts and groups that may write. Default: contributors of the collection's project, else nobody.",
    )
    ids: str | None = Field(
        None,
        description="The column of the key that gets a value where a client sends none: whole numbers count on, texts are UUIDs.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Options:
        for name, text in self.columns.items():
            if name.startswith(("hven:", "file.", "source.")):
                raise ValueError(f"no column can be called {name!r}")
            try:
                parse_type(text)
            except ValueError as error:
                raise ValueError(f"columns.{name}: {error}") from error
        kind = self.columns.get(self.ids) if self.ids is not None else "string"
        if kind is None:
            raise ValueError(f"there is no column {self.ids!r} in `columns`")
        if not (parse_type(kind).is_integer or parse_type(kind).is_string):
            raise ValueError(f"ids: {self.ids} is {kind}: only whole numbers and texts can be given")
        return self

    @property
    def schema(self) -> pa.Schema:
        """The columns of rows as they are kept."""
        return pa.schema([*((name, parse_type(text).arrow) for name, text in self.columns.items()), (GONE, pa.bool_())])


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open what was pushed; nothing is read yet.

    Raises
    ------
    SourceError
        The rows have no key.
    """
    return PushedRows(options, context)


class PushedRows:
    """The rows that clients sent, as they are now."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options, self.context = options, context
        self._rows: pa.Table | None = None

    def within(self, context: Context) -> Source:
        """Return the same rows in another context, which knows their key."""
        if not context.key:
            raise SourceError(
                "rows can be pushed into tables with a key alone",
                remedy="say primary: with columns that are copied from those that are sent",
            )
        return PushedRows(self.options, context)

    def columns(self) -> list[Column]:
        """List the columns that clients may send."""
        return [Column(name=name, type=parse_type(text)) for name, text in self.options.columns.items()]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the order in which they were sent last."""
        names = check_names(columns, list(self.options.columns), "what is pushed")
        rows = self._folded().filter(pc.invert(self._folded().column(GONE)))
        yield from cut(given(names, rows, self.options), self.context.batch, limit)

    def pins(self) -> list[Pin]:
        """Name the state that was read."""
        return [Pin(name="pushed rows", detail=self.state())]

    def size(self) -> int | None:
        """Count the rows."""
        return int(self._folded().num_rows) if self.context.journal is not None else 0

    def state(self) -> str | None:
        """Name the state of the journal."""
        return None if self.context.journal is None else self.context.journal.state()

    def changes(self, since: str) -> Changes | None:
        """List the rows that were written since a state."""
        journal = self.context.journal
        pieces = None if journal is None else journal.pieces(since)
        if journal is None or pieces is None:
            return None
        key = list(self.context.key)
        rows = fold([cast(piece, self.options) for piece in pieces], key, self.options.schema)
        there = rows.filter(pc.invert(rows.column(GONE)))
        return Changes(
            state=journal.state(),
            key=tuple(key),
            rows=_Some(self, there),
            touched=there.select(key),
            removed=rows.filter(rows.column(GONE)).select(key),
        )

    def _folded(self) -> pa.Table:
        if self._rows is None:
            pieces = self.context.journal.pieces() if self.context.journal is not None else None
            self._rows = fold([cast(one, self.options) for one in pieces or ()], self.context.key, self.options.schema)
        return self._rows


class _Some:
    """Some of the rows."""

    def __init__(self, whole: PushedRows, rows: pa.Table) -> None:
        self._whole, self._rows = whole, rows
        self.columns, self.pins = whole.columns, whole.pins

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield them."""
        options = self._whole.options
        names = check_names(columns, list(options.columns), "what is pushed")
        yield from cut(given(names, self._rows, options), self._whole.context.batch, limit)

    def size(self) -> int | None:
        """Count them."""
        return int(self._rows.num_rows)


def given(names: Sequence[str], rows: pa.Table, options: Options) -> Iterator[pa.RecordBatch]:
    """Yield rows with the columns that are asked for."""
    begin = 1
    for batch in rows.to_batches():
        yield assemble(names, {name: batch.column(name) for name in options.columns}, batch.num_rows, begin, None)
        begin += batch.num_rows


def cast(piece: pa.Table, options: Options) -> pa.Table:
    """Return rows with the columns as they are declared now: those that were not yet declared are empty, others are left out.

    Raises
    ------
    SourceError
        Values do not fit the type that is declared now.
    """
    arrays = []
    for item in options.schema:
        if item.name not in piece.column_names:
            arrays.append(pa.nulls(piece.num_rows, item.type))
            continue
        try:
            arrays.append(piece.column(item.name).cast(item.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            was = piece.schema.field(item.name).type
            raise SourceError(
                f"{item.name} was pushed as {was}, and values of it are no {options.columns[item.name]}: {error}",
                remedy="declare it as it was, or correct the rows first",
            ) from error
    return pa.table(arrays, schema=options.schema)


def fold(pieces: Sequence[pa.Table], key: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Lay pieces on each other: the last row of each key, in the order in which they came.

    Parameters
    ----------
    pieces
        The oldest first, with the columns of `schema`.
    key
        Columns that name a row.
    """
    rows = pa.concat_tables([schema.empty_table(), *pieces]) if pieces else schema.empty_table()
    if len(pieces) < 2:  # within a piece each key comes once
        return rows
    last = rows.select(list(key)).append_column(ROW, pa.array(np.arange(rows.num_rows)))
    at = last.group_by(list(key)).aggregate([(ROW, "max")]).column(f"{ROW}_max")
    return rows.take(at.take(pc.sort_indices(at)))


__all__ = ["Options", "cast", "fold", "open"]
