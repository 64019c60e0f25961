"""A table made from this site's own tables: rows of an ADQL query."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hven.model.errors import SourceError
from hven.model.table import Column, columns_of
from hven.sources import FILE_FACTS, ROW, Context, Pin, Source
from hven.sources._reading.cutting import limited
from hven.sources._reading.files import assemble, check_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa


class Options(BaseModel):
    """What a descriptor may say of a query."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adql: str = Field(min_length=1, description="An ADQL query over tables of this site.")


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a query.

    Raises
    ------
    SourceError
        Nobody here can run queries (the context has no `query`).
    """
    if context.query is None:
        raise SourceError("a query source needs a site to run in", remedy="ingest it with `hven ingest`")
    return QueryRows(options.adql, context)


class QueryRows:
    """The answer of a query."""

    def __init__(self, adql: str, context: Context) -> None:
        self.adql = adql
        self.context = context
        self._first: pa.RecordBatch | None = None
        self._rest: Iterator[pa.RecordBatch] | None = None

    def columns(self) -> list[Column]:
        """List the answer's columns, with what is known of their metadata."""
        return self._columns

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the answer; the query runs once for `columns` and the first pass together."""
        names = check_names(columns, [column.name for column in self._columns], "the query's answer")
        number = 1
        for batch in limited(self._stream(), limit):
            arrays = {name: batch.column(name) for name in names if name not in {ROW, *FILE_FACTS}}
            if batch.num_rows:
                yield assemble(names, arrays, batch.num_rows, number, None)
            number += batch.num_rows

    def pins(self) -> list[Pin]:
        """Name the query; ingest adds its tables' snapshots."""
        return [Pin(name="query", detail=self.adql)]

    def size(self) -> int | None:
        """Return None: nobody knows before the end."""
        return None

    def _stream(self) -> Iterator[pa.RecordBatch]:
        first, rest = self._first, self._rest
        self._first = self._rest = None
        if rest is None:
            rest = iter(self.context.query(self.adql)) if self.context.query else iter(())
        if first is not None:
            yield first
        yield from rest

    @cached_property
    def _columns(self) -> list[Column]:
        answer = self.context.query(self.adql) if self.context.query else None
        described = getattr(answer, "columns", ())
        self._rest = iter(answer) if answer is not None else iter(())
        self._first = next(self._rest, None)
        if self._first is None:
            if described:
                return list(described)
            raise SourceError("the query has no answer, not even an empty one", remedy="try it with `hven query`")
        return columns_of(self._first.schema, described)
