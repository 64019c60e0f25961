"""Queries that are computed here: row groups are read into memory, and the embedded engine computes over them.

It computes when all row groups are there, or as they come.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines import DelegatingExecution, MemoryRelation
from hven.engines.api.rows import cast_batch_and_replace_nan
from hven.engines.row_fetching import FetchingExecution
from hven.model.errors import OperationCancelledError
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine.plain_pages import find_rows_in_cells
from hven.plugins.hats.engine.row_group_reader import wait_for_read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.engines import ExecutionLimits, QueryExecution, QueryPlan, Relation
    from hven.plugins.hats.engine.engine_protocol import HatsEngineProtocol, TableSelection

    Values = Sequence[float | str | None]
    Rows = npt.NDArray[np.int64]

MAX_DIRECT_GROUPS = 8  # row groups on a local disk that are read without another thread
MAX_PIECES_AHEAD = 3  # pieces of a stream that are read ahead
FIRST_PIECE_GROUPS, MIN_PIECE_GROUPS, MAX_PIECE_GROUPS = 1, 4, 16  # row groups of a piece of a stream


class RowGroupExecution(FetchingExecution):
    """A running query over row groups (`hven.engines.QueryExecution`)."""

    def __init__(
        self,
        engine: HatsEngineProtocol,
        embedded_plan: QueryPlan,
        table_selections: Mapping[str, TableSelection],
        literal_values: Values,
        relations: Mapping[str, Relation],
        *,
        limits: ExecutionLimits,
    ) -> None:
        super().__init__(embedded_plan, list(relations), literal_values, relations, limits)
        self._engine = engine
        self._table_selections = table_selections

    def _fetch_tables(self) -> Iterator[tuple[str, pa.Table]]:
        snapshot_paths = [selection.snapshot.path for selection in self._table_selections.values()]
        with self._engine.hold_snapshots(snapshot_paths):
            for name, selection in self._table_selections.items():
                group_numbers = selection.group_numbers
                if len(group_numbers) <= MAX_DIRECT_GROUPS and selection.manifest.is_local:
                    # Another thread, which a cancelled query can leave behind, would take a third of a cone's time.
                    rows = read_selected_rows(self._engine, selection, group_numbers)
                else:
                    rows = wait_for_read(
                        submit_row_group_read(self._engine, selection, group_numbers), self._check_running
                    )
                yield name, rows

    def _check_running(self) -> None:
        check_execution_running(self, self._limits)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for name, rows in self._fetch_tables():
                self._relations[name] = MemoryRelation(rows, is_stored=True)
            yield from self._run_plan(self._final_plan, self._final_table_names, self._limits.row_limit)
        finally:
            self.close()
            self._relations.clear()


class StreamedRowGroupExecution(DelegatingExecution):
    """A running query that yields rows as row groups come (`hven.engines.QueryExecution`).

    Parameters
    ----------
    top
        Maximum number of rows of the query itself; None: no limit.
    """

    def __init__(
        self,
        engine: HatsEngineProtocol,
        embedded_plan: QueryPlan,
        name: str,
        table_selection: TableSelection,
        *,
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
        self._row_limit = top
        if limits.row_limit is not None:
            requested_rows = limits.row_limit + 1
            if top is None:
                self._row_limit = requested_rows
            else:
                self._row_limit = min(top, requested_rows)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        remaining_rows = self._row_limit
        batch_rows = self._limits.compute_batch_row_count(len(self.schema))
        with ExitStack() as stack:
            stack.callback(self.close)
            stack.enter_context(self._engine.hold_snapshots([self._table_selection.snapshot.path]))
            for rows in self._read_pieces():
                if remaining_rows is not None and remaining_rows <= 0:
                    return
                execution = self._execute_piece(rows, remaining_rows)
                try:
                    for batch in execution:
                        limited_batch = batch
                        if remaining_rows is not None:
                            limited_batch = batch.slice(0, remaining_rows)
                            remaining_rows -= limited_batch.num_rows
                        for begin in range(0, limited_batch.num_rows, batch_rows):
                            yield limited_batch.slice(begin, batch_rows)
                        if remaining_rows is not None and remaining_rows <= 0:
                            return
                finally:
                    self._set_current_execution(None)
                    execution.close()

    def _execute_piece(self, rows: pa.Table, remaining_rows: int | None) -> QueryExecution:
        """Begin to compute the query over a piece of the table."""
        row_limit = None if remaining_rows is None else remaining_rows - 1
        limits = replace(self._limits, row_limit=row_limit)
        relations = {self._name: MemoryRelation(rows, is_stored=True)}
        return self._adopt_execution(self._embedded_plan.execute(self._literal_values, relations, limits))

    def _read_pieces(self) -> Iterator[pa.Table]:
        """Read the pieces of the table, a few of them ahead."""
        pending_reads: deque[Any] = deque()
        try:
            for group_numbers in self._iterate_piece_groups():
                pending_reads.append(submit_row_group_read(self._engine, self._table_selection, group_numbers))
                if len(pending_reads) >= MAX_PIECES_AHEAD:
                    yield wait_for_read(pending_reads.popleft(), self._check_running)
            while pending_reads:
                yield wait_for_read(pending_reads.popleft(), self._check_running)
        finally:
            for pending_read in pending_reads:
                pending_read.cancel()

    def _iterate_piece_groups(self) -> Iterator[Rows]:
        """Divide the row groups into pieces, each of row groups of one file."""
        group_numbers = self._table_selection.group_numbers
        files = self._table_selection.manifest.get_row_group_column("file")[group_numbers]
        begin, step = 0, FIRST_PIECE_GROUPS
        while begin < len(group_numbers):
            end = int(np.searchsorted(files[begin : begin + step], files[begin], side="right")) + begin
            yield group_numbers[begin:end]
            begin = end
            step = min(max(MIN_PIECE_GROUPS, step * 2), MAX_PIECE_GROUPS)

    def _check_running(self) -> None:
        check_execution_running(self, self._limits)


def check_execution_running(execution: Any, limits: ExecutionLimits) -> None:
    """Raise an error if the query was cancelled, or if its time is over."""
    if execution._is_stopped():  # noqa: SLF001  (of a Relay)
        raise OperationCancelledError("the query was cancelled")
    if limits.deadline is not None:
        limits.deadline.check()


def submit_row_group_read(engine: HatsEngineProtocol, selection: TableSelection, group_numbers: Rows) -> Any:
    """Start to read row groups of a table in another thread."""
    return engine.reader.submit_read(
        read_selected_rows, engine, selection, group_numbers, is_on_web=selection.manifest.is_on_web
    )


def read_selected_rows(engine: HatsEngineProtocol, selection: TableSelection, group_numbers: Rows) -> pa.Table:
    """Read row groups of a table: the selected columns, and only the rows in the selected cells."""
    manifest = selection.manifest
    if not selection.columns:  # rows are only counted
        row_count = int(manifest.get_row_group_column("rows")[group_numbers].sum())
        return pa.table({manifest.schema.names[0]: pa.nulls(row_count)})
    schema = manifest.select_schema(selection.columns)
    filters_cells = selection.cells is not None and bool(manifest.head.cell) and len(group_numbers) > 0
    pieces = []
    for path, groups in manifest.list_row_group_files(group_numbers):
        rows_in_cells = None
        if filters_cells and not manifest.head.foreign:
            rows_in_cells = engine.reader.read_rows_in_cells(
                path, groups, schema, manifest.file_states[path], selection.cells
            )
        if rows_in_cells is not None:
            pieces.append(pa.Table.from_batches([rows_in_cells], schema))
        else:
            pieces.append(_read_group_rows(engine, selection, path, groups, filters_cells=filters_cells))
    if pieces:
        return pa.concat_tables(pieces)
    return schema.empty_table()


def _read_group_rows(
    engine: HatsEngineProtocol, selection: TableSelection, path: str, groups: Sequence[int], *, filters_cells: bool
) -> pa.Table:
    """Read whole row groups of a file, and leave out rows in other cells."""
    manifest = selection.manifest
    schema = manifest.select_schema(selection.columns)
    read_names = schema.names
    if filters_cells and hats_layout.CELL_COLUMN not in read_names:
        read_names = [hats_layout.CELL_COLUMN, *read_names]
    rows = engine.reader.read_row_groups(path, groups, read_names, manifest.file_states[path], manifest.head.leaves)
    if filters_cells:
        rows = filter_rows_by_sorted_cells(rows, selection.cells)
    rows = rows.select(schema.names)
    if manifest.head.foreign or not rows.schema.equals(schema):
        batches = [cast_batch_and_replace_nan(batch, schema) for batch in rows.to_batches()]
        rows = pa.Table.from_batches(batches, schema)
    return rows


def read_rows_if_in_memory(engine: HatsEngineProtocol, selection: TableSelection) -> pa.Table | None:
    """Read the rows in some cells from memory; an event loop may call this function.

    Returns
    -------
    rows
        None if the function would have to wait, or if there are many row groups.
    """
    manifest = selection.manifest
    if not manifest.head.cell or not manifest.is_local or selection.cells is None or not selection.columns:
        return None
    if len(selection.group_numbers) > MAX_DIRECT_GROUPS:
        return None
    schema = manifest.select_schema(selection.columns)
    pieces = []
    for path, groups in manifest.list_row_group_files(selection.group_numbers):
        rows_in_cells = engine.reader.read_rows_in_cells(
            path, groups, schema, manifest.file_states[path], selection.cells, is_cached_only=True
        )
        if rows_in_cells is None:
            return None
        pieces.append(rows_in_cells)
    return pa.Table.from_batches(pieces, schema)


def filter_rows_by_sorted_cells(rows: pa.Table, cell_ranges: Any) -> pa.Table:
    """Return the rows in some cells; return all rows if they are not in the order of their cells."""
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
    arrays = [column.chunk(0) for column in rows.columns]  # taking rows is faster from a batch than from a table
    return pa.Table.from_batches([pa.RecordBatch.from_arrays(arrays, schema=rows.schema).take(row_array)])
