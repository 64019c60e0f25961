"""Read the rows of an ADQL query over this site's own tables."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hven.model.errors import SourceError
from hven.model.table import Column, build_columns_from_arrow
from hven.sources import (
    FILE_FACT_COLUMNS,
    ROW_NUMBER_COLUMN,
    InputVersion,
    Source,
    SourceContext,
    SourceKindTraits,
)
from hven.sources._reading.batch_slicing import limit_rows
from hven.sources._reading.data_files import build_source_batch, list_adql_queries, resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

TRAITS = SourceKindTraits(list_queries=list_adql_queries, is_made_by_queries=True)


class Options(BaseModel):
    """What a descriptor may state about a query."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adql: str = Field(
        min_length=1,
        description="An ADQL query over this site's tables.",
        examples=["SELECT ra, dec, vmag FROM stars.main WHERE vmag < 6"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a query.

    Raises
    ------
    SourceError
        Nobody here can run queries (the context has no `query`).
    """
    if context.run_query is None:
        raise SourceError("a query source can run only in a site", remedy="ingest the collection with `hven ingest`")
    return QuerySource(options.adql, context)


class QuerySource:
    """The rows of a query."""

    def __init__(self, adql: str, context: SourceContext) -> None:
        self.adql = adql
        self.context = context
        self._first_batch: pa.RecordBatch | None = None
        self._remaining_batches: Iterator[pa.RecordBatch] | None = None

    def list_columns(self) -> list[Column]:
        """List the columns of the answer, with their known metadata."""
        return self._columns

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows; the query runs once for the columns and the first pass together."""
        names = resolve_column_names(column_names, [column.name for column in self._columns], "the query's answer")
        number = 1
        for batch in limit_rows(self._read_answer_batches(), row_limit):
            arrays = {name: batch.column(name) for name in names if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}}
            if batch.num_rows:
                yield build_source_batch(names, arrays, batch.num_rows, number, None)
            number += batch.num_rows

    def list_input_versions(self) -> list[InputVersion]:
        """Name the query; ingest adds its tables' snapshots."""
        return [InputVersion(name="query", detail=self.adql)]

    def estimate_progress_total(self) -> int | None:
        """Return None: the number of rows is unknown before the end."""
        return None

    def _read_answer_batches(self) -> Iterator[pa.RecordBatch]:
        first = self._first_batch
        remaining_batches = self._remaining_batches
        self._first_batch = self._remaining_batches = None
        if remaining_batches is None:
            if self.context.run_query:
                remaining_batches = iter(self.context.run_query(self.adql))
            else:
                remaining_batches = iter(())
        if first is not None:
            yield first
        yield from remaining_batches

    @cached_property
    def _columns(self) -> list[Column]:
        if self.context.run_query:
            answer = self.context.run_query(self.adql)
        else:
            answer = None
        described = getattr(answer, "columns", ())
        if answer is not None:
            self._remaining_batches = iter(answer)
        else:
            self._remaining_batches = iter(())
        self._first_batch = next(self._remaining_batches, None)
        if self._first_batch is None:
            if described:
                return list(described)
            raise SourceError(
                "the query returned nothing, not even an empty table", remedy="run the query with `hven query`"
            )
        return build_columns_from_arrow(self._first_batch.schema, described)
