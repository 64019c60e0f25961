"""The near road: row groups are read into memory, and the embedded engine's plan computes over them, at once or as they come."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines import MemoryRelation, RelayExecution
from hven.engines._row_preparation import cast_batch_to_schema
from hven.engines.hats.plain_pages import find_rows_in_cells
from hven.engines.hats.row_group_reader import wait_for_read
from hven.engines.row_fetching import FetchingExecution
from hven.formats import hats_layout
from hven.model.errors import OperationCancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.engines import ExecutionLimits, QueryPlan, Relation
    from hven.engines.hats.engine_protocol import HatsEngineProtocol, TableSelection

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

MAX_DIRECT_GROUPS = 8  # row groups on a disk of this machine that are read where they are asked for
MAX_PIECES_AHEAD = 3  # pieces of a stream that are read ahead
FIRST_PIECE_GROUPS, MIN_PIECE_GROUPS = 1, 4  # row groups of its first piece, and of the others
MAX_PIECE_GROUPS = 16  # row groups of a piece where conditions leave rows out


class LocalExecution(FetchingExecution):
    """A running query over row groups (`hven.engines.QueryExecution`)."""

    def __init__(
        self,
        engine: HatsEngineProtocol,
        embedded_plan: QueryPlan,
        table_selections: Mapping[str, TableSelection],
        values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> None:
        super().__init__(embedded_plan, list(relations), values, relations, limits)
        self._engine = engine
        self._table_selections = table_selections

    def _fetch_tables(self) -> Iterator[tuple[str, pa.Table]]:
        with self._engine.hold_snapshots([selection.snapshot.path for selection in self._table_selections.values()]):
            for name, selection in self._table_selections.items():
                is_small = len(selection.group_numbers) <= MAX_DIRECT_GROUPS and selection.manifest.is_local
                # another thread, which can be left behind, costs a cone of few row groups a third of its time
                yield (
                    name,
                    read_selected_rows(self._engine, selection, selection.group_numbers)
                    if is_small
                    else wait_for_read(
                        start_reading(self._engine, selection, selection.group_numbers), self._check_running
                    ),
                )

    def _check_running(self) -> None:
        check_execution(self, self._limits)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for name, rows in self._fetch_tables():
                self._relations[name] = MemoryRelation(rows, is_stored=True)
            yield from self._run_plan(self._final_plan, self._final_table_names, self._limits.row_limit)
        finally:
            self.close()
            self._relations.clear()


class StreamedLocalExecution(RelayExecution):
    """A running query whose rows are made as row groups come (`hven.engines.QueryExecution`).

    Parameters
    ----------
    top
        How many rows it has at most; None: all.
    """

    def __init__(
        self,
        engine: HatsEngineProtocol,
        embedded_plan: QueryPlan,
        name: str,
        table_selection: TableSelection,
        top: int | None,
        literal_values: Values,
        limits: ExecutionLimits,
    ) -> None:
        super().__init__(embedded_plan.schema)
        self._engine = engine
        self._embedded_plan = embedded_plan
        self._name = name
        self._table_selection = table_selection
        self._literal_values = literal_values
        self._limits = limits
        if limits.row_limit is None:
            requested_rows = None
        else:
            requested_rows = limits.row_limit + 1
        if top is None:
            self._row_limit = requested_rows
        elif requested_rows is None:
            self._row_limit = top
        else:
            self._row_limit = min(top, requested_rows)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        remaining_rows = self._row_limit
        step = self._limits.compute_batch_rows(len(self.schema))
        with ExitStack() as stack:
            stack.callback(self.close)
            stack.enter_context(self._engine.hold_snapshots([self._table_selection.snapshot.path]))
            for rows in self._read_pieces():
                if remaining_rows is not None and remaining_rows <= 0:
                    return
                row_limit = None if remaining_rows is None else remaining_rows - 1
                limits = replace(self._limits, row_limit=row_limit)
                execution = self._begin_execution(
                    self._embedded_plan.execute(
                        self._literal_values, {self._name: MemoryRelation(rows, is_stored=True)}, limits
                    )
                )
                try:
                    for batch in execution:
                        if remaining_rows is None:
                            limited_batch = batch
                        else:
                            limited_batch = batch.slice(0, remaining_rows)
                        for begin in range(0, limited_batch.num_rows, step):
                            yield limited_batch.slice(begin, step)
                        if remaining_rows is not None:
                            remaining_rows -= limited_batch.num_rows
                            if remaining_rows <= 0:
                                return
                finally:
                    self._set_current(None)
                    execution.close()

    def _read_pieces(self) -> Iterator[pa.Table]:
        """Read pieces, a few ahead."""
        pending_reads: deque[Any] = deque()
        try:
            for group_numbers in self._iterate_pieces():
                pending_reads.append(start_reading(self._engine, self._table_selection, group_numbers))
                if len(pending_reads) >= MAX_PIECES_AHEAD:
                    yield wait_for_read(pending_reads.popleft(), self._check_running)
            while pending_reads:
                yield wait_for_read(pending_reads.popleft(), self._check_running)
        finally:
            for pending_read in pending_reads:
                pending_read.cancel()

    def _iterate_pieces(self) -> Iterator[Rows]:
        """Cut the row groups into pieces, none of which has those of two files."""
        group_numbers = self._table_selection.group_numbers
        files = self._table_selection.manifest.get_array("file")[group_numbers]
        begin, step = 0, FIRST_PIECE_GROUPS
        while begin < len(group_numbers):
            end = int(np.searchsorted(files[begin : begin + step], files[begin], side="right")) + begin
            yield group_numbers[begin:end]
            begin = end
            step = min(max(MIN_PIECE_GROUPS, step * 2), MAX_PIECE_GROUPS)

    def _check_running(self) -> None:
        check_execution(self, self._limits)


def check_execution(execution: Any, limits: ExecutionLimits) -> None:
    """Raise if nobody wants the answer any more, or no time is left."""
    if execution._is_stopped():  # noqa: SLF001  (of a Relay)
        raise OperationCancelledError("the query was cancelled")
    if limits.deadline is not None:
        limits.deadline.check()


def start_reading(engine: HatsEngineProtocol, selection: TableSelection, group_numbers: Rows) -> Any:
    """Begin to read row groups of a table in another thread."""
    return engine.reader.submit_read(
        read_selected_rows, engine, selection, group_numbers, is_on_web=selection.manifest.is_on_web
    )


def read_selected_rows(engine: HatsEngineProtocol, selection: TableSelection, group_numbers: Rows) -> pa.Table:
    """Read row groups of a table: the columns that are wanted, and no rows whose cells are not."""
    manifest = selection.manifest
    if not selection.columns:  # rows are counted
        array = manifest.get_array("rows")
        count = int(array[group_numbers].sum())
        return pa.table({manifest.schema.names[0]: pa.nulls(count)})
    schema = manifest.select_schema(selection.columns)
    names = schema.names
    filters_cells = selection.cells is not None and bool(manifest.head.cell) and len(group_numbers) > 0
    if filters_cells and hats_layout.CELL_COLUMN not in names:
        read_names = [hats_layout.CELL_COLUMN, *names]
    else:
        read_names = names
    pieces = []
    is_own = filters_cells and not manifest.head.foreign
    for path, groups in manifest.list_files(group_numbers):
        if is_own:
            rows_in_cells = engine.reader.read_rows_in_cells(
                path, groups, schema, manifest.file_states[path], selection.cells
            )
        else:
            rows_in_cells = None
        if rows_in_cells is not None:
            pieces.append(pa.Table.from_batches([rows_in_cells], schema))
            continue
        group_rows = engine.reader.read_groups(
            path, groups, read_names, manifest.file_states[path], manifest.head.leaves
        )
        if filters_cells:
            group_rows = select_rows_in_cells(group_rows, selection.cells)
        group_rows = group_rows.select(names)
        if manifest.head.foreign or not group_rows.schema.equals(schema):
            group_rows = pa.Table.from_batches(
                [cast_batch_to_schema(batch, schema) for batch in group_rows.to_batches()], schema
            )
        pieces.append(group_rows)
    if pieces:
        return pa.concat_tables(pieces)
    return schema.empty_table()


def read_if_in_memory(engine: HatsEngineProtocol, selection: TableSelection) -> pa.Table | None:
    """Read rows in some cells out of what is in memory: an event loop may ask for them.

    Returns
    -------
    rows
        None: something would have to be waited for, or there is much.
    """
    manifest = selection.manifest
    if (
        not manifest.head.cell
        or not manifest.is_local
        or selection.cells is None
        or not selection.columns
        or len(selection.group_numbers) > MAX_DIRECT_GROUPS
    ):
        return None
    schema = manifest.select_schema(selection.columns)
    pieces = []
    for path, groups in manifest.list_files(selection.group_numbers):
        rows_in_cells = engine.reader.read_rows_in_cells(
            path, groups, schema, manifest.file_states[path], selection.cells, only_cached=True
        )
        if rows_in_cells is None:
            return None
        pieces.append(rows_in_cells)
    return pa.Table.from_batches(pieces, schema)


def select_rows_in_cells(rows: pa.Table, cell_ranges: Any) -> pa.Table:
    """Return the rows in some cells; they must be in the order of their cells, else all are returned."""
    column = rows.column(hats_layout.CELL_COLUMN)
    if column.null_count:
        return rows
    if len(rows):
        cells = np.asarray(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))
    else:
        cells = np.empty(0, np.int64)
    row_numbers = find_rows_in_cells(cells, cell_ranges)
    if row_numbers is None:
        return rows
    if not len(row_numbers):
        return rows.slice(0, 0)
    row_array = pa.array(row_numbers)
    if any(column.num_chunks != 1 for column in rows.columns):
        return rows.take(row_array)
    arrays = [column.chunk(0) for column in rows.columns]  # a batch is quicker to take from than a table
    return pa.Table.from_batches([pa.RecordBatch.from_arrays(arrays, schema=rows.schema).take(row_array)])


__all__ = ["LocalExecution", "StreamedLocalExecution", "read_if_in_memory", "read_selected_rows"]
