"""Make the units of a mapping from source rows: elements of arrays (`for_each`) and groups of rows (`group_by`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.mapping import SOURCE_RELATION
from hven.descriptor.unrolled_arrays import ELEMENT_INDEX_COLUMN
from hven.ingest._transform import find_returned_row_positions
from hven.model.literal import combine_chunks
from hven.sources import ROW_NUMBER_COLUMN
from hven.sources.row_grouping import AggregateColumn, RowGrouper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from hven.descriptor.compiled_mapping import CompiledMapping, RowGroupPlan
    from hven.engines import QueryEvaluator

MAX_BATCH_ELEMENTS = 131_072  # rows of a batch of elements or groups
FILE_PATH_COLUMN = "file.path"


class UnrolledBatch:
    """A batch in which elements replace the arrays of some columns.

    Attributes
    ----------
    uneven_mask
        Rows whose arrays have different lengths.
    empty_mask
        Rows without any element: null or empty arrays.
    """

    def __init__(self, batch: pa.RecordBatch, array_columns: Sequence[str]) -> None:
        self.batch = batch
        self.names = array_columns
        columns = [batch.column(name) for name in array_columns]
        lengths = np.stack([np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64) for column in columns])
        # a null array counts as an array of nulls
        self.valid_masks = {name: np.asarray(pc.is_valid(batch.column(name))) for name in array_columns}
        max_lengths = lengths.max(axis=0)
        is_shorter = (lengths != max_lengths) & np.stack(list(self.valid_masks.values()))
        self.uneven_mask: npt.NDArray[np.bool_] = is_shorter.any(axis=0)
        self.sizes = np.where(self.uneven_mask, 0, max_lengths)
        self.empty_mask: npt.NDArray[np.bool_] = (lengths == 0).all(axis=0)
        self.lengths = lengths

    def iterate_element_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches of elements, with the other values of their rows and a number in `ELEMENT_INDEX_COLUMN`."""
        bounds = np.concatenate([[0], np.cumsum(self.sizes)])
        element_count = int(bounds[-1])
        lists = {name: self._flatten_list(name) for name in self.names}
        names = [*self.batch.schema.names, ELEMENT_INDEX_COLUMN]
        for begin in range(0, element_count, MAX_BATCH_ELEMENTS):
            element_numbers = np.arange(begin, min(begin + MAX_BATCH_ELEMENTS, element_count))
            row_of_element = np.searchsorted(bounds, element_numbers, side="right") - 1
            position_in_row = element_numbers - bounds[row_of_element]
            row_numbers = pa.array(row_of_element)
            columns = []
            for name, values in zip(self.batch.schema.names, self.batch.columns, strict=True):
                if name not in lists:
                    columns.append(values.take(row_numbers))
                    continue
                starts, elements = lists[name]
                is_null = ~self.valid_masks[name][row_of_element]
                element_positions = pa.array(starts[row_of_element] + position_in_row, mask=is_null)
                columns.append(elements.take(element_positions))
            columns.append(pa.array(position_in_row + 1, pa.int64()))
            yield pa.RecordBatch.from_arrays(columns, names=names)

    def _flatten_list(self, column_name: str) -> tuple[npt.NDArray[np.int64], Any]:
        """Return the position of the first element of each row, and the elements."""
        column = self.batch.column(column_name)
        if pa.types.is_fixed_size_list(column.type):
            row_positions = np.arange(len(column)) + column.offset
            return row_positions * column.type.list_size, column.values
        return np.asarray(column.offsets, np.int64)[:-1], column.values


class SourceRowGrouper:
    """Collect the rows of a source, and return them as groups, which the mapping treats as rows."""

    def __init__(
        self, evaluator: QueryEvaluator, mapping: CompiledMapping, group_plan: RowGroupPlan, directory: Path
    ) -> None:
        self.evaluator = evaluator
        self.mapping = mapping
        self.group_plan = group_plan
        results = [
            AggregateColumn(
                output=aggregate.output,
                function=aggregate.function,
                argument_names=aggregate.argument_columns,
                is_distinct=aggregate.is_distinct,
                separator=aggregate.separator,
                type=aggregate.type.arrow,
            )
            for aggregate in group_plan.aggregates
        ]
        self.kept_columns = tuple(dict.fromkeys((*group_plan.simple_key_columns, *group_plan.plain_columns)))
        facts = [name for name in (ROW_NUMBER_COLUMN, FILE_PATH_COLUMN) if name not in self.kept_columns]
        self.fact_columns = facts
        self.group_collector = RowGrouper(
            directory,
            keys=(*group_plan.simple_key_columns, *group_plan.key_columns),
            results=results,
            plain=[name for name in group_plan.plain_columns if name not in facts],
            facts=facts,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.group_collector.__exit__(kind, error, trace)

    def add_batch(self, batch: pa.RecordBatch) -> int:
        """Add a batch; return the number of rows that ``where`` left out."""
        number_column = batch.schema.get_field_index(ROW_NUMBER_COLUMN)
        row_numbers = pa.array(np.arange(batch.num_rows, dtype=np.int64))
        numbered_batch = batch.set_column(number_column, ROW_NUMBER_COLUMN, row_numbers)
        computed_columns = self.evaluator.evaluate_query(self.group_plan.bound, {SOURCE_RELATION: numbered_batch})
        kept_positions = find_returned_row_positions(computed_columns.column(ROW_NUMBER_COLUMN), numbered_batch)
        remaining_rows = batch
        if kept_positions is not None:
            remaining_rows = batch.take(pa.array(kept_positions))
        names = [*self.kept_columns, *self.fact_columns]
        arrays = [remaining_rows.column(name) for name in names]
        for name in computed_columns.column_names:
            if name != ROW_NUMBER_COLUMN:
                names.append(name)
                arrays.append(combine_chunks(computed_columns.column(name)))
        if remaining_rows.num_rows:
            self.group_collector.add_rows(pa.RecordBatch.from_arrays(arrays, names=names))
        return int(batch.num_rows - remaining_rows.num_rows)

    def iterate_groups(self) -> Iterator[tuple[pa.RecordBatch, dict[str, pa.Array]]]:
        """Yield groups as source rows, and for each column its second value in groups where it has several."""
        yield from self.group_collector.read_groups_with_conflicts(MAX_BATCH_ELEMENTS)
