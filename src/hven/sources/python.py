"""Read rows from a Python function in the descriptor's directory.

It is a generator of Arrow batches, or of rows as dictionaries or tuples.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import inspect
import json
import math
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from hven.model.errors import HvenError, SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import STRING, build_type_from_arrow, parse_type
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, RejectedRow, Source, SourceContext
from hven.sources._reading.batch_slicing import limit_rows
from hven.sources._reading.data_files import build_source_batch, resolve_column_names
from hven.sources.curator_process import CuratorCodeError, CuratorProcess

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path
    from types import ModuleType

SAMPLE_ROWS = 1000
BATCH_ROWS = 16_384


class Options(BaseModel):
    """What a descriptor may state about a Python function."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="The Python file, relative to the descriptor.", examples=["walk.py"])
    function: str = Field(
        "rows",
        description="The function to call. It yields pyarrow batches or tables, dictionaries, or tuples.",
        examples=["read_labels"],
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="The function's keyword arguments.", examples=[{"pattern": "labels/*.lbl"}]
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Name and type of each column. This option is required if the function yields tuples. Otherwise, Hven "
            "determines the columns from the first thousand rows."
        ),
        examples=[{"product": "string", "orbit": "int32"}],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Load the file and find the function.

    Raises
    ------
    SourceError
        There is no such file or function, or an error occurs while the file is loaded (with its line).
    """
    return PythonFunctionSource(options, context)


def import_function(path: Path, name: str) -> Callable[..., Any]:
    """Import a file by its path, anew and without a change of `sys.path`, and return a function of it.

    Raises
    ------
    SourceError
        The file cannot be imported, or has no such function; with the user's file and line.
    """
    if not path.is_file():
        raise SourceError(
            f"there is no file {path.name}", place=TextPlace(file=str(path)), remedy="put it next to the descriptor"
        )
    path_digest = hashlib.sha256(str(path).encode()).hexdigest()
    spec = importlib.util.spec_from_file_location(f"_hven_{path_digest[:12]}", path)
    if spec is None or spec.loader is None:
        raise SourceError(
            f"{path.name} is not a Python file",
            place=TextPlace(file=str(path)),
            remedy="give it a name that ends in .py",
        )
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise build_user_code_error(error, path) from error
    finally:
        sys.dont_write_bytecode = before
    function = getattr(module, name, None)
    if not callable(function):
        remedy = "define the function in this file"
        function_names = _list_functions(module)
        if function_names:
            remedy = f"choose one of {', '.join(function_names)}"
        raise SourceError(f"there is no function {name!r}", place=TextPlace(file=str(path)), remedy=remedy)
    return function  # type: ignore[no-any-return]


def _list_functions(module: ModuleType) -> list[str]:
    """List the functions that a module defines itself."""
    functions_by_name = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
    return [name for name, function in functions_by_name.items() if function.__module__ == module.__name__]


def build_user_code_error(error: BaseException, path: Path) -> SourceError:
    """Convert an exception of the user's code to one with the deepest line of their file."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        place = TextPlace(file=path.name, line=error.lineno, column=error.offset)
        return SourceError(f"SyntaxError: {error.msg}", place=place)
    line = None
    function_text = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
            function_text = f" in {frame.name}()"
    return SourceError(f"{type(error).__name__}{function_text}: {error}", place=TextPlace(file=path.name, line=line))


class PythonFunctionSource:
    """The rows that the function yields, in batches.

    The function runs in a process of its own (`hven.sources.curator_process`), by `send_function_rows`.
    """

    def __init__(self, options: Options, context: SourceContext) -> None:
        self.options = options
        self.context = context
        self.path = context.directory / options.file
        self._unused_process: CuratorProcess | None = self._start_process()
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self._begun_stream: Iterator[pa.RecordBatch] | None = None

    def _start_process(self) -> CuratorProcess:
        """Start a process, and load the function in it."""
        python = CuratorProcess(self.context.python_limits, __name__)
        request = ("rows", str(self.path), self.options, self.context.directory, self.context.batch_row_limit)
        self._receive_answer(python, request)
        return python

    def _receive_answer(self, python: CuratorProcess, request: tuple[Any, ...] | None = None) -> tuple[bytes, bytes]:
        """Wait for the next answer; errors are raised with the user's line or the row."""
        try:
            if request is not None:
                python.send_request(request)
            kind, body = python.receive_answer(self.context.python_limits.seconds)
        except CuratorCodeError as error:
            progress_text = ""
            if python.yielded_row_count:
                progress_text = f" after {python.yielded_row_count:,} rows"
            message = f"{self.options.function}(){progress_text}: {error}"
            raise SourceError(message, place=TextPlace(file=self.path.name, line=error.line)) from error
        if kind == b"H":
            error_fields = json.loads(body)
            place = TextPlace(**error_fields["place"])
            raise SourceError(error_fields["message"], place=place, remedy=error_fields["remedy"])
        return kind, body

    def _read_process_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches that the process sends; the process ends when nobody reads them any more."""
        python = self._unused_process or self._start_process()
        self._unused_process = None
        try:
            python.send_request(("go",))
            while True:
                kind, body = self._receive_answer(python)
                if kind == b"Z":
                    break
                if kind == b"R":
                    self._reject_row(**json.loads(body))
                else:
                    yield pa.ipc.open_stream(body).read_next_batch()
        finally:
            python.stop_process()

    def _reject_row(self, row: int, column: str | None, value: str, reason: str) -> None:
        file = self.options.file
        if self.context.on_reject is None:
            location = f"row {row}"
            if column:
                location = f"row {row}, column {column}"
            raise SourceError(f"{location}: {value!r} is {reason}", place=TextPlace(file=file))
        self.context.on_reject(RejectedRow(file=file, row=row, column=column, value=value, reason=reason))

    def list_columns(self) -> list[Column]:
        """List the columns of the options, or else those of the first rows."""
        return self._columns

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the function."""
        known_names = [column.name for column in self._columns]
        names = resolve_column_names(column_names, known_names, self.options.file)
        if self._begun_stream is not None:
            stream = self._begun_stream
        else:
            stream = self._read_process_batches()
        self._begun_stream = None
        number = 1
        for batch in limit_rows(stream, row_limit):
            if ROW_NUMBER_COLUMN in batch.schema.names:
                rows = batch.column(ROW_NUMBER_COLUMN)
            else:
                rows = number
            data_names = [name for name in names if name not in {ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}]
            arrays = {name: batch.column(name) for name in data_names}
            if batch.num_rows:
                yield build_source_batch(names, arrays, batch.num_rows, rows, None)
            number += batch.num_rows

    def list_input_versions(self) -> list[InputVersion]:
        """Name the file, its checksum and the call."""
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.options.arguments.items())
        version = InputVersion(
            name=self.options.file,
            bytes=self.path.stat().st_size,
            sha256=self.sha256,
            detail=f"{self.options.function}({arguments})",
        )
        return [version]

    def estimate_progress_total(self) -> int | None:
        """Return None: the number of rows is unknown before the end."""
        return None

    @cached_property
    def _columns(self) -> list[Column]:
        declared_columns: dict[str, Column] = {}
        for name, word in self.options.columns.items():
            try:
                declared_columns[name] = Column(name=name, type=parse_type(word))
            except ValueError as error:
                place = TextPlace(file=self.options.file)
                remedy = "write a type such as float64, int32, string or timestamp"
                raise SourceError(f"column {name!r}: {error}", place=place, remedy=remedy) from error
        if declared_columns:
            return list(declared_columns.values())
        stream = self._read_process_batches()
        first = next(stream, None)
        if first is None:
            message = f"{self.options.function}() yields no rows, so its columns are unknown"
            place = TextPlace(file=self.options.file)
            raise SourceError(message, place=place, remedy="write `columns:` in the source")
        self._begun_stream = chain([first], stream)
        fields = [field for field in first.schema if field.name != ROW_NUMBER_COLUMN]
        return [Column(name=field.name, type=build_type_from_arrow(field.type)) for field in fields]


def send_function_rows(
    channel: Connection, counter: mmap.mmap, options: Options, directory: Path, batch_rows: int
) -> None:
    """Run the function and send what it yields, in the process of its own."""

    def send_json(kind: bytes, fields: dict[str, Any]) -> None:
        channel.send_bytes(kind + json.dumps(fields).encode())

    def send_reject(row: int, column: str | None, value: str, reason: str) -> None:
        send_json(b"R", {"row": row, "column": column, "value": value, "reason": reason})

    try:
        rows = FunctionRowReader(options, directory, batch_rows, send_reject, counter)
        channel.send_bytes(b"O")
        channel.recv_bytes()
        for batch_made in rows.read_batches():
            sink = pa.BufferOutputStream()
            sink.write(b"B")
            with pa.ipc.new_stream(sink, batch_made.schema) as writer:
                writer.write_batch(batch_made)
            channel.send_bytes(sink.getvalue())
        channel.send_bytes(b"Z")
    except HvenError as error:
        place = error.place
        place_fields = {"file": place.file, "line": place.line, "column": place.column}
        send_json(b"H", {"message": error.message, "place": place_fields, "remedy": error.remedy})


class FunctionRowReader:
    """The rows that the function yields, as batches."""

    def __init__(
        self,
        options: Options,
        directory: Path,
        batch: int,
        reject: Callable[..., None],
        counter: mmap.mmap,
    ) -> None:
        self.options = options
        self.batch = batch
        self._reject = reject
        self.path = directory / options.file
        self.function = import_function(self.path, options.function)
        self._row_counter = ctypes.c_int64.from_buffer(counter)

    def _iterate_items(self) -> Iterator[Any]:
        try:
            result = self.function(**self.options.arguments)
            if not isinstance(result, Iterable):
                message = f"{self.options.function}() returns an object of the type {type(result).__name__}, not rows"
                place = TextPlace(file=self.options.file)
                raise SourceError(message, place=place, remedy="yield dictionaries")  # noqa: TRY301  (below)
            for item in result:
                self._row_counter.value += 1
                yield item
        except (HvenError, MemoryError):
            raise
        except Exception as error:
            raise build_user_code_error(error, self.path) from error

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches, in whatever form the function yields rows."""
        items = self._iterate_items()
        first = next(items, None)
        if first is None:
            return
        items = chain([first], items)
        if not isinstance(first, (pa.RecordBatch, pa.Table)):
            yield from self._collect_rows_into_batches(items, first)
            return
        for item in items:
            if isinstance(item, pa.Table):
                yield from item.to_batches(self.batch)
            else:
                yield item

    def _require_tuple_names(self, first_item: Any) -> list[str]:
        """Find the names of the values of a row; empty: all rows of a sample tell them."""
        declared_names = list(self.options.columns)
        place = TextPlace(file=self.options.file)
        if isinstance(first_item, Mapping):
            return declared_names
        if not isinstance(first_item, (tuple, list)):
            raise SourceError(
                f"a row is of the type {type(first_item).__name__}",
                place=place,
                remedy="yield dictionaries, tuples or pyarrow.RecordBatch objects",
            )
        names = declared_names or list(getattr(first_item, "_fields", ()))
        if not names:
            remedy = "yield dictionaries, or write `columns:` in the source"
            raise SourceError("the rows are tuples, which do not contain column names", place=place, remedy=remedy)
        return names

    def _collect_rows_into_batches(self, items: Iterator[Any], first_item: Any) -> Iterator[pa.RecordBatch]:
        """Collect rows into batches; the types are declared, or else those of the first thousand rows."""
        kinds = {name: parse_type(word).arrow for name, word in self.options.columns.items()}
        names = self._require_tuple_names(first_item)
        number = 1
        while True:
            row_count = BATCH_ROWS
            if not kinds:
                row_count = SAMPLE_ROWS
            rows = list(islice(items, row_count))
            if not rows:
                return
            if not kinds:
                names = names or list(dict.fromkeys(chain.from_iterable(rows)))
                for name in names:
                    kinds[name] = _guess_type([_find_cell(row, name, names) for row in rows])
            bad = self._reject_misshapen_rows(rows, names, number)
            arrays: dict[str, pa.Array] = {}
            for name in names:
                # a row that is rejected for one column is not rejected again for another
                cells = [None if index in bad else _find_cell(row, name, names) for index, row in enumerate(rows)]
                arrays[name] = self._build_array(cells, kinds[name], name, number, rejected_indexes=bad)
            row_numbers = range(number, number + len(rows))
            arrays[ROW_NUMBER_COLUMN] = pa.array(row_numbers, pa.int64())
            batch = pa.RecordBatch.from_pydict(arrays)
            if bad:
                is_good = [index not in bad for index in range(len(rows))]
                batch = batch.filter(pa.array(is_good))
            yield batch
            number += len(rows)

    def _reject_misshapen_rows(self, rows: Sequence[Any], names: Sequence[str], first_row_number: int) -> set[int]:
        """Find rows with unknown names or a wrong number of values."""
        bad: set[int] = set()
        known_names = set(names)
        for at, row in enumerate(rows):
            reason = ""
            if isinstance(row, Mapping):
                unknown = row.keys() - known_names
                if unknown:
                    reason = f"a row with the unknown column {min(unknown)!r}, which the first rows do not have"
            elif not isinstance(row, (tuple, list)) or len(row) != len(names):
                reason = f"not a row of {len(names)} values"
            if reason:
                bad.add(at)
                self._reject(first_row_number + at, None, str(row)[:200], reason)
        return bad

    def _build_array(
        self,
        values: list[Any],
        arrow_type: pa.DataType,
        name: str,
        first_row_number: int,
        *,
        rejected_indexes: set[int],
    ) -> pa.Array:
        try:
            return pa.array(values, arrow_type, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        valid_values: list[Any] = []
        for at, value in enumerate(values):  # only this batch, only this column
            try:
                fitting_value = _convert_value(value, arrow_type)
                valid_values.append(pa.scalar(fitting_value, arrow_type).as_py())
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                valid_values.append(None)
                rejected_indexes.add(at)
                self._reject(first_row_number + at, name, str(value)[:200], f"not {build_type_from_arrow(arrow_type)}")
        return pa.array(valid_values, arrow_type)


def _find_cell(row: Any, name: str, names: Sequence[str]) -> Any:
    if isinstance(row, Mapping):
        return row.get(name)
    if len(row) == len(names):
        return row[names.index(name)]
    return None


def _guess_type(values: list[Any]) -> pa.DataType:
    try:
        guessed_type = pa.array(values, from_pandas=True).type
        kind = build_type_from_arrow(guessed_type).arrow
    except (pa.ArrowException, ValueError, TypeError):
        return STRING.arrow
    if pa.types.is_integer(kind) and any(isinstance(value, float) and not math.isnan(value) for value in values):
        return pa.float64()
    return kind


def _convert_value(value: Any, arrow_type: pa.DataType) -> Any:
    if value is None or (pa.types.is_string(arrow_type) and isinstance(value, str)):
        return value
    if pa.types.is_string(arrow_type):
        return str(value)
    if pa.types.is_floating(arrow_type):
        return float(value)
    if pa.types.is_integer(arrow_type) and isinstance(value, float) and value == int(value):
        return int(value)
    return value
