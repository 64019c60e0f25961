"""A batch of source rows -> rows of the table, by its mapping.

Copies go straight across, the rest through the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import BoundQuery, ColumnRef, Select, SelectItem, walk_tree
from hven.descriptor.mapping import SOURCE_RELATION
from hven.ingest._casting import cast_values, combine_chunks
from hven.ingest._rejects_file import describe_value
from hven.model.errors import DataError, OperationCancelledError
from hven.model.sky import contours
from hven.sources import ROW_NUMBER_COLUMN
from hven.sources.curator_process import CuratorCodeError, PythonProcess, find_first_failing_row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from threading import Event

    import numpy.typing as npt

    from hven.descriptor.mapping import CompiledMapping, PythonCall
    from hven.engines import StorageEngine
    from hven.ingest._remote_sizes import RemoteSizeReader
    from hven.model.settings import PythonLimits

    Positions = npt.NDArray[np.int64]

FILE_PATH_COLUMN = "file.path"
CONTOUR_PIECE_ROWS = 4096  # rows of which contours are made in one thread, while others are in another one
PROBE_TIMEOUT_SECONDS = 5.0  # seconds for a part of a batch, while the row is looked for that a function fails at


@dataclass(slots=True, kw_only=True)
class MappedRows:
    """Rows of the table that a batch gave.

    Attributes
    ----------
    rows
        The table's columns in order, in their own types.
    source_positions
        Position in the source batch of each row; None: row i came from source row i.
    misfit_masks
        Column -> booleans over `rows`: there was a value, and it could not be converted.
    constant_columns
        Columns with one value in all rows, of any batch.
    contour_query
        Asks source rows why their contour has no region; None: the table's outline is made of none.
    """

    rows: pa.RecordBatch
    source_positions: Positions | None
    misfit_masks: dict[str, pa.Array]
    constant_columns: frozenset[str] = frozenset()
    contour_query: BoundQuery | None = None


class MappingTransform:
    """A mapping, ready to run over batches."""

    def __init__(
        self,
        engine: StorageEngine,
        mapping: CompiledMapping,
        size_reader: RemoteSizeReader | None = None,
        limits: PythonLimits | None = None,
        stop_event: Event | None = None,
    ) -> None:
        self._stop_event = stop_event  # set where nobody waits for rows any more
        self.engine = engine
        self.mapping = mapping
        self.target = pa.schema([pa.field(column.name, column.type.arrow) for column in mapping.table.columns])
        self._uses_row_numbers = is_row_number_used(mapping)
        self._calls: list[tuple[PythonCall, Any]] = []
        if mapping.calls:
            python = PythonProcess(limits)
            self._calls = [
                (call, size_reader if call.path is None and size_reader is not None else call.load_function(python))
                for call in mapping.calls
            ]
        if len(mapping.queries) > 1:
            self._copies = {}
        else:
            self._copies = dict(mapping.copies)
        self._constant_columns = [ConstantColumns(engine, mapping, query) for query in mapping.queries]
        self._remaining_queries = [
            _drop_known_columns(query, {*self._copies, *fixed.names})
            for query, fixed in zip(mapping.queries, self._constant_columns, strict=True)
        ]

    def prepare_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Prepare the batch: its rows numbered, with the Python functions' answers.

        The engine's answers are matched to the batch by row number, which must be unique in it; a mapping that does not
        use the source's own numbers gets simple ones.
        """
        original_batch = batch
        if not self._uses_row_numbers or not _has_increasing_numbers(batch):
            batch = _set_column(batch, ROW_NUMBER_COLUMN, pa.array(np.arange(batch.num_rows, dtype=np.int64)))
        for call, function in self._calls:
            arguments = self.engine.evaluate_query(
                call.argument_query, {SOURCE_RELATION: batch, **self.mapping.lookups}
            )
            columns = [combine_chunks(column) for column in arguments.columns]
            try:
                values = function(*columns)
            except CuratorCodeError as error:  # whatever a curator's function does is the curator's to see
                if call.path is not None and error.line is not None:
                    line = f" ({call.path.name}:{error.line})"
                else:
                    line = ""
                timeout_seconds = None if error.was_answered else PROBE_TIMEOUT_SECONDS
                failing_row = _describe_failing_row(function, columns, original_batch, timeout_seconds)
                message = f"the function {call.name} failed: {error}{line}; {failing_row}"
                raise DataError(message, place=call.place) from error
            batch = _set_column(batch, call.output_column, self._check_answer(call, values, batch.num_rows))
        return batch

    def _check_answer(self, call: Any, values: object, rows: int) -> pa.Array:
        if not isinstance(values, (pa.Array, pa.ChunkedArray)):
            raise DataError(f"the function {call.name} gave {values}, not an Arrow array", place=call.place)
        array = combine_chunks(values)
        if len(array) != rows:
            raise DataError(f"the function {call.name} gave {len(array)} values for {rows} rows", place=call.place)
        try:
            return array.cast(call.type.arrow)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"the function {call.name} gave {array.type}, which is no {call.type}: {error}", place=call.place
            ) from error

    # one pass over the target columns, each of which is constant, copied or computed
    def map_batch(self, batch: pa.RecordBatch) -> Iterator[MappedRows]:  # noqa: PLR0912
        """Map a prepared batch: one `MappedRows` per granule."""
        contour_queries = self.mapping.contour_queries or (None,) * len(self._remaining_queries)
        for query, constants, contour in zip(
            self._remaining_queries, self._constant_columns, contour_queries, strict=True
        ):
            computed_columns, source_positions = self._compute_columns(query, batch)
            if source_positions is None:
                count = batch.num_rows
            else:
                count = len(source_positions)
            columns: list[pa.Array] = []
            misfit_masks: dict[str, pa.Array] = {}
            constant_names: set[str] = set()
            for item in self.target:
                source = self._copies.get(item.name)
                if item.name in constants.names:
                    values, is_misfit = constants.repeat_value(item.name, item.type, count, batch)
                    if is_misfit:
                        misfit_masks[item.name] = pa.repeat(True, count)
                    else:
                        constant_names.add(item.name)
                    columns.append(values)
                    continue
                if source is not None:
                    values = batch.column(source)
                    if source_positions is not None:
                        values = values.take(pa.array(source_positions))
                else:
                    values = combine_chunks(computed_columns.column(item.name))  # type: ignore[union-attr]
                try:
                    values, misfits = cast_values(values, item.type)
                except pa.ArrowNotImplementedError as error:
                    raise DataError(
                        f"the column {item.name} is {item.type}, and {values.type} does not become that: {error}"
                    ) from error
                if misfits is not None:
                    misfit_masks[item.name] = misfits
                columns.append(values)
            rows = pa.RecordBatch.from_arrays(columns, schema=self.target)
            source_of = {name: source for name, source in self.mapping.copies.items() if name not in self._copies}
            if source_of:
                self._mark_engine_misfits(rows, batch, source_positions, source_of, misfit_masks)
            yield MappedRows(
                rows=rows,
                source_positions=source_positions,
                misfit_masks=misfit_masks,
                constant_columns=frozenset(constant_names),
                contour_query=contour,
            )

    def _compute_columns(
        self, query: BoundQuery | None, batch: pa.RecordBatch
    ) -> tuple[pa.Table | None, Positions | None]:
        if query is None and self.mapping.row_filter_query is None:
            return None, None
        bound = query if query is not None else self.mapping.row_filter_query

        def compute_piece(piece_start: int) -> pa.Table:
            if self._stop_event is not None and self._stop_event.is_set():
                raise OperationCancelledError("nobody waits for these rows")
            return self.engine.evaluate_query(
                bound,  # type: ignore[arg-type]
                {SOURCE_RELATION: batch.slice(piece_start, size), **self.mapping.lookups},
            )

        if any(self.mapping.contour_queries):
            size = CONTOUR_PIECE_ROWS
        else:
            size = max(batch.num_rows, 1)
        computed_table = pa.concat_tables(
            contours.map_in_threads(compute_piece, range(0, max(batch.num_rows, 1), size))
        )
        return computed_table, find_positions(computed_table.column(ROW_NUMBER_COLUMN), batch)

    def _mark_engine_misfits(
        self,
        rows: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Positions | None,
        copies: dict[str, str],
        misfit_masks: dict[str, pa.Array],
    ) -> None:
        for name, source in copies.items():
            values = rows.column(name)
            if source not in batch.schema.names or not values.null_count:
                continue
            if source_positions is None:
                source_values = batch.column(source)
            else:
                source_values = batch.column(source).take(pa.array(source_positions))
            missing = pc.and_(pc.is_null(values), pc.is_valid(source_values))
            if pc.any(missing).as_py():
                if name not in misfit_masks:
                    misfit_masks[name] = missing
                else:
                    misfit_masks[name] = pc.or_(misfit_masks[name], missing)


class ConstantColumns:
    """The columns of one query that are the same in each row: computed once, and repeated without a copy."""

    def __init__(self, engine: StorageEngine, mapping: CompiledMapping, query: BoundQuery) -> None:
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
        if plain and isinstance(body, Select):
            self.names = frozenset(
                column.name
                for item, column in zip(body.items, query.columns, strict=True)
                if isinstance(item, SelectItem)
                and item.expr.meta is not None
                and item.expr.meta.constant
                and column.name != ROW_NUMBER_COLUMN
            )
        else:
            self.names = frozenset[str]()
        self._values: dict[str, pa.Array] | None = None
        self._arrays: dict[str, tuple[pa.Array, bool]] = {}

    def repeat_value(
        self, name: str, target_type: pa.DataType, row_count: int, batch: pa.RecordBatch
    ) -> tuple[pa.Array, bool]:
        """Return a column of `row_count` rows, and whether its value does not fit `target_type`."""
        cached_array = self._arrays.get(name)
        if cached_array is None or len(cached_array[0]) < row_count:
            try:
                constants = self._compute_constants(batch.schema)
                value, misfits = cast_values(constants[name], target_type)
            except pa.ArrowNotImplementedError as error:
                raise DataError(
                    f"the column {name} is {target_type}, and its value does not become that: {error}"
                ) from error
            is_misfit = misfits is not None and bool(pc.any(misfits).as_py())
            if value.null_count == 0:
                array = pa.repeat(value[0], row_count)
            else:
                array = pa.nulls(row_count, target_type)
            cached_array = self._arrays[name] = (array, is_misfit)
        return cached_array[0].slice(0, row_count), cached_array[1]

    def _compute_constants(self, schema: pa.Schema) -> dict[str, pa.Array]:
        """Compute the query's constants over one row."""
        if self._values is None:
            query = _drop_known_columns(
                self._query, {column.name for column in self._query.columns} - self.names - {ROW_NUMBER_COLUMN}
            )
            if query is None:
                return {}
            if isinstance(query.query.body, Select):
                query = replace(query, query=replace(query.query, body=replace(query.query.body, where=None)))
            row = [
                pa.array([0], pa.int64()) if item.name == ROW_NUMBER_COLUMN else pa.nulls(1, item.type)
                for item in schema
            ]
            constant_row = self._engine.evaluate_query(
                query, {SOURCE_RELATION: pa.RecordBatch.from_arrays(row, schema=schema), **self._mapping.lookups}
            )
            self._values = {name: combine_chunks(constant_row.column(name)) for name in self.names}
        return self._values


def find_positions(numbers: pa.ChunkedArray, batch: pa.RecordBatch) -> Positions | None:
    """Find rows of the engine's answer in the batch by their number; None if they are all there, in order."""
    batch_numbers = np.asarray(batch.column(ROW_NUMBER_COLUMN))
    answered_numbers = np.asarray(combine_chunks(numbers))
    if len(answered_numbers) == len(batch_numbers) and np.array_equal(answered_numbers, batch_numbers):
        return None
    return np.searchsorted(batch_numbers, answered_numbers).astype(np.int64)


def _has_increasing_numbers(batch: pa.RecordBatch) -> bool:
    numbers = np.asarray(batch.column(ROW_NUMBER_COLUMN))
    return bool(np.all(numbers[1:] > numbers[:-1]))


def _set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    column_number = batch.schema.get_field_index(name)
    if column_number < 0:
        return batch.append_column(name, values)
    return batch.set_column(column_number, name, values)


def _drop_known_columns(query: BoundQuery, known_columns: Collection[str]) -> BoundQuery | None:
    """Drop columns from a mapping's query whose values are known; None if nothing is left to compute."""
    body = query.query.body
    if not known_columns or not isinstance(body, Select) or len(body.items) != len(query.columns):
        return query
    pairs = [
        (item, column)
        for item, column in zip(body.items, query.columns, strict=True)
        if column.name not in known_columns
    ]
    if len(pairs) == 1:  # the row number alone
        return None
    items = tuple(item for item, _ in pairs)
    columns = tuple(column for _, column in pairs)
    return replace(query, query=replace(query.query, body=replace(body, items=items)), columns=columns)


def _describe_failing_row(
    function: Any, columns: Sequence[pa.Array], batch: pa.RecordBatch, timeout_seconds: float | None
) -> str:
    """Name the row at which a function fails, by calling it with parts of the batch: that row and what it was given.

    Or the rows.
    """

    def has_failure(first_row: int, end_row: int) -> bool:
        try:
            function(*[column.slice(first_row, end_row - first_row) for column in columns], seconds=timeout_seconds)
        except CuratorCodeError:
            return True
        return False

    if ROW_NUMBER_COLUMN in batch.schema.names:
        numbers = batch.column(ROW_NUMBER_COLUMN)
    else:
        numbers = pa.array(range(1, batch.num_rows + 1))
    if columns:
        failing_position = find_first_failing_row(has_failure, batch.num_rows)
    else:
        failing_position = None
    if failing_position is None:
        if batch.num_rows:
            return f"in the rows {numbers[0]} to {numbers[-1]}, and in none of them alone"
        return "without any row"
    if FILE_PATH_COLUMN in batch.schema.names:
        file = f" of {batch.column(FILE_PATH_COLUMN)[failing_position]}"
    else:
        file = ""
    values = ", ".join(repr(describe_value(column[failing_position].as_py()))[:60] for column in columns)
    return f"in row {numbers[failing_position]}{file}, with {values}"


def is_row_number_used(mapping: CompiledMapping) -> bool:
    """Return whether an expression uses the source's row number (besides giving it back)."""
    usual_count = 1
    return any(_count_row_references(query.query) > usual_count for query in mapping.queries) or any(
        _count_row_references(call.argument_query) for call in mapping.calls
    )


def _count_row_references(tree: object) -> int:
    return sum(isinstance(node, ColumnRef) and node.name.name == ROW_NUMBER_COLUMN for node in walk_tree(tree))
