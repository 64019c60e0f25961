"""Source rows -> what one mapped row is made of: elements of arrays (`for_each`), groups of rows (`group_by`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.mapping import SOURCE_RELATION
from hven.descriptor.unrolled_arrays import ELEMENT_INDEX_COLUMN
from hven.ingest._casting import combine_chunks
from hven.ingest._transform import find_positions
from hven.sources import ROW_NUMBER_COLUMN
from hven.sources.row_grouping import GroupedColumn, RowGrouper

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    import numpy.typing as npt

    from hven.descriptor.compiled_mapping import CompiledMapping, GroupPlan
    from hven.engines import StorageEngine

MAX_BATCH_ELEMENTS = 131_072  # elements of a batch
FILE_PATH_COLUMN = "file.path"


class UnrolledBatch:
    """A batch whose array columns become their elements.

    Attributes
    ----------
    uneven_mask
        Rows whose arrays have different lengths.
    empty_mask
        Rows without any element: null or empty arrays.
    """

    def __init__(self, batch: pa.RecordBatch, names: Sequence[str]) -> None:
        self.batch = batch
        self.names = names
        sizes = np.stack(
            [np.asarray(pc.fill_null(pc.list_value_length(batch.column(name)), 0), np.int64) for name in names]
        )
        # a null array has nulls for elements
        self.valid_masks = {name: np.asarray(pc.is_valid(batch.column(name))) for name in names}
        max_sizes = sizes.max(axis=0)
        self.uneven_mask: npt.NDArray[np.bool_] = (
            (sizes != max_sizes) & np.stack(list(self.valid_masks.values()))
        ).any(axis=0)
        self.sizes = np.where(self.uneven_mask, 0, max_sizes)
        self.empty_mask: npt.NDArray[np.bool_] = (sizes == 0).all(axis=0)
        self.lengths = sizes

    def iterate_parts(self) -> Iterator[pa.RecordBatch]:
        """Yield the elements in parts, with the other values of their rows, and numbered in `ELEMENT_INDEX_COLUMN`."""
        bounds = np.concatenate([[0], np.cumsum(self.sizes)])
        lists = {name: self._flatten_list(name) for name in self.names}
        for begin in range(0, int(bounds[-1]), MAX_BATCH_ELEMENTS):
            element_numbers = np.arange(begin, min(begin + MAX_BATCH_ELEMENTS, int(bounds[-1])))
            row_of_element = np.searchsorted(bounds, element_numbers, side="right") - 1
            positions_in_row = element_numbers - bounds[row_of_element]
            row_numbers = pa.array(row_of_element)
            columns = []
            for name, values in zip(self.batch.schema.names, self.batch.columns, strict=True):
                if name in lists:
                    starts, flat = lists[name]
                    columns.append(
                        flat.take(
                            pa.array(
                                starts[row_of_element] + positions_in_row, mask=~self.valid_masks[name][row_of_element]
                            )
                        )
                    )
                else:
                    columns.append(values.take(row_numbers))
            names = [*self.batch.schema.names, ELEMENT_INDEX_COLUMN]
            yield pa.RecordBatch.from_arrays([*columns, pa.array(positions_in_row + 1, pa.int64())], names=names)

    def _flatten_list(self, name: str) -> tuple[npt.NDArray[np.int64], Any]:
        """Return where each row's elements begin, and the elements."""
        column = self.batch.column(name)
        if pa.types.is_fixed_size_list(column.type):
            return (np.arange(len(column)) + column.offset) * column.type.list_size, column.values
        return np.asarray(column.offsets, np.int64)[:-1], column.values


class SourceRowGrouper:
    """Collects the rows of a source, and gives them as groups that the mapping sees as rows."""

    def __init__(self, engine: StorageEngine, mapping: CompiledMapping, group_plan: GroupPlan, directory: Path) -> None:
        self.engine = engine
        self.mapping = mapping
        self.group_plan = group_plan
        results = [
            GroupedColumn(
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
        """Add a batch; return how many rows ``where`` left out."""
        numbered = batch.set_column(
            batch.schema.get_field_index(ROW_NUMBER_COLUMN),
            ROW_NUMBER_COLUMN,
            pa.array(np.arange(batch.num_rows, dtype=np.int64)),
        )
        computed_columns = self.engine.evaluate_query(self.group_plan.bound, {SOURCE_RELATION: numbered})
        kept_positions = find_positions(computed_columns.column(ROW_NUMBER_COLUMN), numbered)
        if kept_positions is None:
            remaining_rows = batch
        else:
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
        """Yield groups as source rows, and by column the groups in which it had several values."""
        yield from self.group_collector.read_groups(MAX_BATCH_ELEMENTS)
