"""Kind `nights` of sources: one row for each night from a date on; a kind of one's own, whole in this file."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import BaseModel, Field

from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import INT32, TIMESTAMP
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLUMNS = [
    Column(name="night", type=INT32, description="number of the night"),
    Column(name="noon", type=TIMESTAMP, description="noon before it"),
]


class Options(BaseModel):
    """What a descriptor says."""

    first: dt.date = Field(description="The first night.", examples=["2026-01-01"])
    nights: int = Field(description="How many.", ge=1, examples=[400])


class Nights:
    """The rows."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        self.options, self.context = options, context

    def list_columns(self) -> list[Column]:
        """Say what is there."""
        return COLUMNS

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows, a batch at a time."""
        names = column_names or [column.name for column in COLUMNS]
        if unknown := set(names) - {"night", "noon", ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}:
            raise SourceError(f"nights have no column {unknown.pop()}", remedy="night, noon")
        begin = dt.datetime.combine(self.options.first, dt.time(12))
        end = self.options.nights if row_limit is None else min(row_limit, self.options.nights)
        for start in range(0, end, self.context.batch_row_limit):
            numbers = range(start, min(start + self.context.batch_row_limit, end))
            made = {
                "night": pa.array(numbers, pa.int32()),
                "noon": pa.array([begin + dt.timedelta(days=number) for number in numbers], pa.timestamp("us")),
                ROW_NUMBER_COLUMN: pa.array([number + 1 for number in numbers], pa.int64()),
            }
            # it has no files: their facts are null
            yield pa.record_batch({name: made.get(name, pa.nulls(len(numbers))) for name in names})

    def list_input_versions(self) -> list[InputVersion]:
        """Say what was read."""
        return [InputVersion(name="nights", detail=f"{self.options.nights} from {self.options.first}")]

    def estimate_progress_total(self) -> int | None:
        """Count the rows to come."""
        return self.options.nights


def open(options: Options, context: SourceContext) -> Nights:  # noqa: A001  (the contract's word)
    """Open it."""
    return Nights(options, context)
