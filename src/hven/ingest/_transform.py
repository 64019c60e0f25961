"""Transform batches of source rows to rows of a table, by its mapping.

Columns that copy a source column are taken over; the engine computes the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.syntax_tree import BoundQuery, ColumnRef, Select, SelectItem, walk_tree
from hven.descriptor.mapping import SOURCE_RELATION
from hven.ingest._casting import cast_values
from hven.ingest._rejects_file import format_value_for_message
from hven.model.errors import DataError, OperationCancelledError
from hven.model.literal import combine_chunks
from hven.model.sky.api.ragged_arrays import map_in_threads
from hven.sources import ROW_NUMBER_COLUMN
from hven.sources.curator_process import CuratorCodeError, CuratorProcess, find_first_failing_row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from threading import Event

    import numpy.typing as npt

    from hven.descriptor.mapping import CompiledMapping, PythonFunctionCall
    from hven.engines import QueryEvaluator
    from hven.ingest._remote_sizes import RemoteProductSizeReader
    from hven.model.settings import DescriptorPythonLimits

    Positions = npt.NDArray[np.int64]

FILE_PATH_COLUMN = "file.path"
CONTOUR_PIECE_ROWS = 4096  # one thread makes the contours of this number of rows, while other threads make others
PROBE_TIMEOUT_SECONDS = 5.0  # of each call with a part of a batch, in the search for the row at which a function fails


@dataclass(slots=True, kw_only=True)
class MappedRows:
    """Rows of the table that a batch of source rows became.

    Attributes
    ----------
    rows
        The columns of the table in order, in their own types.
    source_positions
        For each row the position of its source row in the batch; None: row i came from source row i.
    misfit_masks
        Column -> mask over `rows` of the values that could not be converted.
    constant_columns
        Columns with the same value in all rows of all batches.
    contour_query
        Query over source rows that tells why a contour has no region; None: the table has no regions from contours.
    """

    rows: pa.RecordBatch
    source_positions: Positions | None
    misfit_masks: dict[str, pa.Array]
    constant_columns: frozenset[str] = frozenset()
    contour_query: BoundQuery | None = None


class MappingTransform:
    """Transform batches of source rows by a mapping."""

    def __init__(
        self,
        evaluator: QueryEvaluator,
        mapping: CompiledMapping,
        size_reader: RemoteProductSizeReader | None = None,
        limits: DescriptorPythonLimits | None = None,
        stop_event: Event | None = None,
    ) -> None:
        self._stop_event = stop_event  # is set when the caller needs no more rows
        self.evaluator = evaluator
        self.mapping = mapping
        self.target = pa.schema([pa.field(column.name, column.type.arrow) for column in mapping.table.columns])
        self._uses_row_numbers = is_row_number_used(mapping)
        self._calls: list[tuple[PythonFunctionCall, Any]] = []
        if mapping.calls:
            python = CuratorProcess(limits)
            for call in mapping.calls:
                is_size_lookup = call.path is None and size_reader is not None
                self._calls.append((call, size_reader if is_size_lookup else call.load_function(python)))
        self._copies: dict[str, str] = {}
        if len(mapping.queries) <= 1:
            self._copies = dict(mapping.copies)
        self._constant_columns = [ConstantColumns(evaluator, mapping, query) for query in mapping.queries]
        self._remaining_queries = []
        for query, constants in zip(mapping.queries, self._constant_columns, strict=True):
            remaining_query = _drop_known_columns(query, {*self._copies, *constants.names})
            self._remaining_queries.append(remaining_query)

    def add_numbers_and_call_results(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Add row numbers and the results of the Python functions to a batch.

        The engine's answers are matched to the batch by row number, which must be unique in it. If the mapping does not
        use the numbers of the source, they are replaced by positions.
        """
        original_batch = batch
        if not self._uses_row_numbers or not _has_increasing_numbers(batch):
            batch = _set_or_append_column(batch, ROW_NUMBER_COLUMN, pa.array(np.arange(batch.num_rows, dtype=np.int64)))
        for call, function in self._calls:
            relations = {SOURCE_RELATION: batch, **self.mapping.lookups}
            arguments = self.evaluator.evaluate_query(call.argument_query, relations)
            columns = [combine_chunks(column) for column in arguments.columns]
            try:
                values = function(*columns)
            except CuratorCodeError as error:  # the message shows the curator any error of the function
                line = ""
                if call.path is not None and error.line is not None:
                    line = f" ({call.path.name}:{error.line})"
                timeout_seconds = None if error.was_answered else PROBE_TIMEOUT_SECONDS
                failing_row = _describe_failing_row(function, columns, original_batch, timeout_seconds)
                message = f"the function {call.name!r} failed: {error}{line}; {failing_row}"
                raise DataError(message, place=call.place) from error
            output_values = self._cast_call_result(call, values, batch.num_rows)
            batch = _set_or_append_column(batch, call.output_column, output_values)
        return batch

    def _cast_call_result(self, call: Any, values: object, rows: int) -> pa.Array:
        if not isinstance(values, (pa.Array, pa.ChunkedArray)):
            message = f"the function {call.name!r} returned the type {str(values)!r}, not an Arrow array"
            raise DataError(message, place=call.place)
        array = combine_chunks(values)
        if len(array) != rows:
            message = f"the function {call.name!r} returned {len(array)} values for {rows} rows"
            raise DataError(message, place=call.place)
        try:
            return array.cast(call.type.arrow)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"the function {call.name!r} returned the type {array.type}, not {call.type}: {error}", place=call.place
            ) from error

    def map_batch(self, batch: pa.RecordBatch) -> Iterator[MappedRows]:
        """Map a prepared batch, and yield one `MappedRows` per granule."""
        query_count = len(self._remaining_queries)
        contour_queries = self.mapping.contour_queries or (None,) * query_count
        for query, constants, contour_query in zip(
            self._remaining_queries, self._constant_columns, contour_queries, strict=True
        ):
            yield self._map_granule(batch, query, constants, contour_query)

    def _map_granule(
        self,
        batch: pa.RecordBatch,
        query: BoundQuery | None,
        constants: ConstantColumns,
        contour_query: BoundQuery | None,
    ) -> MappedRows:
        """Map a prepared batch by one query; each target column is constant, copied or computed."""
        computed_columns, source_positions = self._compute_columns(query, batch)
        if source_positions is None:
            row_count = batch.num_rows
        else:
            row_count = len(source_positions)
        columns: list[pa.Array] = []
        misfit_masks: dict[str, pa.Array] = {}
        constant_names: set[str] = set()
        for target_field in self.target:
            name = target_field.name
            if name in constants.names:
                values, is_misfit = constants.repeat_value(name, target_field.type, row_count, batch)
                if is_misfit:
                    misfit_masks[name] = pa.repeat(True, row_count)
                else:
                    constant_names.add(name)
                columns.append(values)
                continue
            source = self._copies.get(name)
            if source is not None:
                values = _take_values(batch.column(source), source_positions)
            else:
                values = combine_chunks(computed_columns.column(name))  # type: ignore[union-attr]
            try:
                values, misfits = cast_values(values, target_field.type)
            except pa.ArrowNotImplementedError as error:
                raise DataError(
                    f"the column {name!r} is {target_field.type}, but values of the type {values.type} cannot be "
                    f"converted to {target_field.type}: {error}"
                ) from error
            if misfits is not None:
                misfit_masks[name] = misfits
            columns.append(values)
        rows = pa.RecordBatch.from_arrays(columns, schema=self.target)
        engine_copies = {name: source for name, source in self.mapping.copies.items() if name not in self._copies}
        if engine_copies:
            self._mark_engine_misfits(rows, batch, source_positions, engine_copies, misfit_masks)
        return MappedRows(
            rows=rows,
            source_positions=source_positions,
            misfit_masks=misfit_masks,
            constant_columns=frozenset(constant_names),
            contour_query=contour_query,
        )

    def _compute_columns(
        self, query: BoundQuery | None, batch: pa.RecordBatch
    ) -> tuple[pa.Table | None, Positions | None]:
        """Compute columns with the engine; return them, and the positions of their source rows in the batch."""
        bound = query if query is not None else self.mapping.row_filter_query
        if bound is None:
            return None, None
        row_count = max(batch.num_rows, 1)
        has_contours = any(self.mapping.contour_queries)
        piece_rows = CONTOUR_PIECE_ROWS if has_contours else row_count

        def compute_piece(piece_start: int) -> pa.Table:
            if self._stop_event is not None and self._stop_event.is_set():
                raise OperationCancelledError("these rows are no longer needed")
            piece = batch.slice(piece_start, piece_rows)
            return self.evaluator.evaluate_query(bound, {SOURCE_RELATION: piece, **self.mapping.lookups})

        pieces = map_in_threads(compute_piece, range(0, row_count, piece_rows))
        computed_table = pa.concat_tables(pieces)
        return computed_table, find_returned_row_positions(computed_table.column(ROW_NUMBER_COLUMN), batch)

    def _mark_engine_misfits(
        self,
        rows: pa.RecordBatch,
        batch: pa.RecordBatch,
        source_positions: Positions | None,
        copies: dict[str, str],
        misfit_masks: dict[str, pa.Array],
    ) -> None:
        """Mark the values that the engine could not convert: the source has a value, and the row has none."""
        for name, source in copies.items():
            values = rows.column(name)
            if source not in batch.schema.names or not values.null_count:
                continue
            source_values = _take_values(batch.column(source), source_positions)
            is_lost = pc.and_(pc.is_null(values), pc.is_valid(source_values))
            if not pc.any(is_lost).as_py():
                continue
            if name in misfit_masks:
                misfit_masks[name] = pc.or_(misfit_masks[name], is_lost)
            else:
                misfit_masks[name] = is_lost


class ConstantColumns:
    """The columns of a query that have the same value in each row: computed once, and repeated without a copy."""

    def __init__(self, evaluator: QueryEvaluator, mapping: CompiledMapping, query: BoundQuery) -> None:
        self._evaluator = evaluator
        self._mapping = mapping
        self._query = query
        body = query.query.body
        self.names = frozenset[str]()
        if isinstance(body, Select) and len(body.items) == len(query.columns):
            is_one_row_each = not body.group_by and not body.distinct
            pairs = zip(body.items, query.columns, strict=True)
            constant_names = {column.name for item, column in pairs if _is_constant_column(item)}
            if is_one_row_each:
                self.names = frozenset(constant_names - {ROW_NUMBER_COLUMN})
        self._values: dict[str, pa.Array] | None = None
        self._arrays: dict[str, tuple[pa.Array, bool]] = {}

    def repeat_value(
        self, column_name: str, target_type: pa.DataType, row_count: int, batch: pa.RecordBatch
    ) -> tuple[pa.Array, bool]:
        """Return a column of `row_count` rows, and whether its value does not fit `target_type`."""
        cached_array = self._arrays.get(column_name)
        if cached_array is None or len(cached_array[0]) < row_count:
            try:
                constants = self._compute_constants(batch.schema)
                value, misfits = cast_values(constants[column_name], target_type)
            except pa.ArrowNotImplementedError as error:
                raise DataError(
                    f"the column {column_name!r} is {target_type}, but its value cannot be converted to this type: "
                    f"{error}"
                ) from error
            is_misfit = misfits is not None and bool(pc.any(misfits).as_py())
            if value.null_count == 0:
                array = pa.repeat(value[0], row_count)
            else:
                array = pa.nulls(row_count, target_type)
            cached_array = self._arrays[column_name] = (array, is_misfit)
        return cached_array[0].slice(0, row_count), cached_array[1]

    def _compute_constants(self, schema: pa.Schema) -> dict[str, pa.Array]:
        """Compute the constants of the query over one row."""
        if self._values is None:
            other_names = {column.name for column in self._query.columns} - self.names - {ROW_NUMBER_COLUMN}
            query = _drop_known_columns(self._query, other_names)
            if query is None:
                return {}
            if isinstance(query.query.body, Select):
                unfiltered_body = replace(query.query.body, where=None)
                query = replace(query, query=replace(query.query, body=unfiltered_body))
            arrays = []
            for column in schema:
                is_row_number = column.name == ROW_NUMBER_COLUMN
                arrays.append(pa.array([0], pa.int64()) if is_row_number else pa.nulls(1, column.type))
            row = pa.RecordBatch.from_arrays(arrays, schema=schema)
            constant_row = self._evaluator.evaluate_query(query, {SOURCE_RELATION: row, **self._mapping.lookups})
            self._values = {name: combine_chunks(constant_row.column(name)) for name in self.names}
        return self._values


def _is_constant_column(item: object) -> bool:
    """Return whether a column of SELECT has the same value in each row."""
    if not isinstance(item, SelectItem) or item.expr.meta is None:
        return False
    return item.expr.meta.constant


def _take_values(values: pa.Array, positions: Positions | None) -> pa.Array:
    if positions is None:
        return values
    return values.take(pa.array(positions))


def find_returned_row_positions(numbers: pa.ChunkedArray, batch: pa.RecordBatch) -> Positions | None:
    """Return the positions in the batch of the rows that the engine returned; None if it returned all, in order."""
    batch_numbers = np.asarray(batch.column(ROW_NUMBER_COLUMN))
    answered_numbers = np.asarray(combine_chunks(numbers))
    if len(answered_numbers) == len(batch_numbers) and np.array_equal(answered_numbers, batch_numbers):
        return None
    return np.searchsorted(batch_numbers, answered_numbers).astype(np.int64)


def _has_increasing_numbers(batch: pa.RecordBatch) -> bool:
    numbers = np.asarray(batch.column(ROW_NUMBER_COLUMN))
    return bool(np.all(numbers[1:] > numbers[:-1]))


def _set_or_append_column(batch: pa.RecordBatch, column_name: str, values: pa.Array) -> pa.RecordBatch:
    column_number = batch.schema.get_field_index(column_name)
    if column_number < 0:
        return batch.append_column(column_name, values)
    return batch.set_column(column_number, column_name, values)


def _drop_known_columns(query: BoundQuery, known_columns: Collection[str]) -> BoundQuery | None:
    """Drop the columns with known values from a mapping's query; None if nothing is left to compute."""
    body = query.query.body
    if not known_columns or not isinstance(body, Select) or len(body.items) != len(query.columns):
        return query
    pairs = zip(body.items, query.columns, strict=True)
    unknown_pairs = [(item, column) for item, column in pairs if column.name not in known_columns]
    if len(unknown_pairs) == 1:  # the row number alone
        return None
    items = tuple(item for item, _ in unknown_pairs)
    columns = tuple(column for _, column in unknown_pairs)
    return replace(query, query=replace(query.query, body=replace(body, items=items)), columns=columns)


def _describe_failing_row(
    function: Any, columns: Sequence[pa.Array], batch: pa.RecordBatch, timeout_seconds: float | None
) -> str:
    """Name the row at which a function fails, with its arguments; or the range of rows, if none fails alone.

    The row is found by calls of the function with parts of the batch.
    """

    def has_failure(first_row: int, end_row: int) -> bool:
        arguments = [column.slice(first_row, end_row - first_row) for column in columns]
        try:
            function(*arguments, seconds=timeout_seconds)
        except CuratorCodeError:
            return True
        return False

    if ROW_NUMBER_COLUMN in batch.schema.names:
        numbers = batch.column(ROW_NUMBER_COLUMN)
    else:
        numbers = pa.array(range(1, batch.num_rows + 1))
    failing_position: int | None = None
    if columns:
        failing_position = find_first_failing_row(has_failure, batch.num_rows)
    if failing_position is None:
        if batch.num_rows:
            return f"in rows {numbers[0]} to {numbers[-1]} together, but not in any single row"
        return "without a row"
    file = ""
    if FILE_PATH_COLUMN in batch.schema.names:
        file = f" of {batch.column(FILE_PATH_COLUMN)[failing_position]}"
    arguments = [column[failing_position].as_py() for column in columns]
    argument_texts = [repr(format_value_for_message(argument))[:60] for argument in arguments]
    return f"in row {numbers[failing_position]}{file}, with {', '.join(argument_texts)}"


def is_row_number_used(mapping: CompiledMapping) -> bool:
    """Return whether an expression of a mapping uses the source's row number, apart from the column that returns it."""
    if any(_count_row_number_references(query.query) > 1 for query in mapping.queries):
        return True
    return any(_count_row_number_references(call.argument_query) for call in mapping.calls)


def _count_row_number_references(tree: object) -> int:
    return sum(isinstance(node, ColumnRef) and node.name.name == ROW_NUMBER_COLUMN for node in walk_tree(tree))
