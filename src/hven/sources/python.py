"""Rows from a Python function beside the descriptor: a generator of Arrow batches, or of rows as dictionaries or tuples."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from hven.model.errors import HvenError, Place, SourceError
from hven.model.table import Column
from hven.model.types import STRING, from_arrow, parse_type
from hven.sources import FILE_FACTS, ROW, Context, Pin, Reject, Source
from hven.sources._reading.cutting import limited
from hven.sources._reading.files import assemble, check_names
from hven.sources.beside import Failure, Python

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

SAMPLE = 1000
ROWS = 16_384


class Options(BaseModel):
    """What a descriptor may say of a Python function."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str = Field(description="The .py file, relative to the descriptor.")
    function: str = Field(
        "rows", description="The function to call; it yields pyarrow batches or tables, dictionaries, or tuples."
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments for the function.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Name and type of each column: needed for tuples, else taken from the first rows.",
    )


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Load the file and find the function.

    Raises
    ------
    SourceError
        No such file or function; an error while the file is loaded, with its line.
    """
    return FunctionRows(options, context)


def load(path: Path, name: str) -> Callable[..., Any]:
    """Import a file by its path, anew, without touching `sys.path`; find its function.

    Raises
    ------
    SourceError
        With the user's file and line.
    """
    if not path.is_file():
        raise SourceError(
            f"no file {path.name}", place=Place(file=str(path)), remedy="it is looked for beside the descriptor"
        )
    spec = importlib.util.spec_from_file_location(f"_hven_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}", path)
    if spec is None or spec.loader is None:
        raise SourceError(
            f"{path.name} is no Python file", place=Place(file=str(path)), remedy="its name must end in .py"
        )
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise fault(error, path) from error
    finally:
        sys.dont_write_bytecode = before
    function = getattr(module, name, None)
    if not callable(function):
        there = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise SourceError(
            f"no function {name!r}",
            place=Place(file=str(path)),
            remedy=f"it defines {', '.join(there)}" if there else "it defines none",
        )
    return function  # type: ignore[no-any-return]


def fault(error: BaseException, path: Path) -> SourceError:
    """Convert an exception of the user's code to one with the deepest line of their file."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return SourceError(
            f"SyntaxError: {error.msg}", place=Place(file=path.name, line=error.lineno, column=error.offset)
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else None
    where = f" in {frames[-1].name}()" if frames else ""
    return SourceError(f"{type(error).__name__}{where}: {error}", place=Place(file=path.name, line=line))


class FunctionRows:
    """What the function yields, in batches: it runs in a process of its own (`hven.sources.beside`), and `give` is what that does."""

    def __init__(self, options: Options, context: Context) -> None:
        self.options = options
        self.context = context
        self.path = context.directory / options.file
        self._fresh: Python | None = self._started()
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self._begun: Iterator[pa.RecordBatch] | None = None

    def _started(self) -> Python:
        """Begin a process, and load the function there."""
        python = Python(self.context.python, __name__)
        self._asked(python, ("rows", str(self.path), self.options, self.context.directory, self.context.batch))
        return python

    def _asked(self, python: Python, request: tuple[Any, ...] | None = None) -> tuple[bytes, bytes]:
        """Wait for the next answer; what goes wrong is told with the user's line or the row."""
        try:
            if request is not None:
                python.ask(request)
            kind, body = python.answer(self.context.python.seconds)
        except Failure as error:
            where = f" after {python.rows:,} rows" if python.rows else ""
            raise SourceError(
                f"{self.options.function}(){where}: {error}", place=Place(file=self.path.name, line=error.line)
            ) from error
        if kind == b"H":
            said = json.loads(body)
            raise SourceError(said["message"], place=Place(**said["place"]), remedy=said["remedy"])
        return kind, body

    def _stream(self) -> Iterator[pa.RecordBatch]:
        """Yield what comes from the process; it ends when nobody wants more."""
        python, self._fresh = self._fresh or self._started(), None
        try:
            python.ask(("go",))
            while (answer := self._asked(python))[0] != b"Z":
                if answer[0] == b"R":
                    self._reject(**json.loads(answer[1]))
                else:
                    yield pa.ipc.open_stream(answer[1]).read_next_batch()
        finally:
            python.stop()

    def _reject(self, row: int, column: str | None, value: str, reason: str) -> None:
        if self.context.reject is None:
            where = f"row {row}" + (f", column {column}" if column else "")
            raise SourceError(f"{where}: {value!r} is {reason}", place=Place(file=self.options.file))
        self.context.reject(Reject(file=self.options.file, row=row, column=column, value=value, reason=reason))

    def columns(self) -> list[Column]:
        """List the columns said in the options, else those of the first rows."""
        return self._columns

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield what the function yields."""
        known = [column.name for column in self._columns]
        names = check_names(columns, known, self.options.file)
        stream = self._begun if self._begun is not None else self._stream()
        self._begun = None
        number = 1
        for batch in limited(stream, limit):
            rows = batch.column(ROW) if ROW in batch.schema.names else number
            arrays = {name: batch.column(name) for name in names if name not in {ROW, *FILE_FACTS}}
            if batch.num_rows:
                yield assemble(names, arrays, batch.num_rows, rows, None)
            number += batch.num_rows

    def pins(self) -> list[Pin]:
        """Name the file with its checksum."""
        detail = (
            f"{self.options.function}({', '.join(f'{key}={value!r}' for key, value in self.options.arguments.items())})"
        )
        return [Pin(name=self.options.file, bytes=self.path.stat().st_size, sha256=self.sha256, detail=detail)]

    def size(self) -> int | None:
        """Return None: nobody knows before the end."""
        return None

    @cached_property
    def _columns(self) -> list[Column]:
        said: dict[str, Column] = {}
        for name, word in self.options.columns.items():
            try:
                said[name] = Column(name=name, type=parse_type(word))
            except ValueError as error:
                raise SourceError(
                    f"columns: {name}: {error}",
                    place=Place(file=self.options.file),
                    remedy="float64, int32, string, timestamp ...",
                ) from error
        if said:
            return list(said.values())
        stream = self._stream()
        first = next(stream, None)
        if first is None:
            raise SourceError(
                f"{self.options.function}() yields no rows, so its columns are unknown",
                place=Place(file=self.options.file),
                remedy="say `columns:` in the source",
            )
        self._begun = chain([first], stream)
        return [Column(name=item.name, type=from_arrow(item.type)) for item in first.schema if item.name != ROW]


def give(channel: Connection, counter: mmap.mmap, options: Options, directory: Path, batch: int) -> None:
    """Run the function and send what it yields: here, in the process of its own."""

    def reject(row: int, column: str | None, value: str, reason: str) -> None:
        channel.send_bytes(b"R" + json.dumps({"row": row, "column": column, "value": value, "reason": reason}).encode())

    try:
        rows = Rows(options, directory, batch, reject, counter)
        channel.send_bytes(b"O")
        channel.recv_bytes()
        for one in rows.stream():
            sink = pa.BufferOutputStream()
            sink.write(b"B")
            with pa.ipc.new_stream(sink, one.schema) as writer:
                writer.write_batch(one)
            channel.send_bytes(sink.getvalue())
        channel.send_bytes(b"Z")
    except HvenError as error:
        place = error.place
        said = {"file": place.file, "line": place.line, "column": place.column}
        channel.send_bytes(
            b"H" + json.dumps({"message": error.message, "place": said, "remedy": error.remedy}).encode()
        )


class Rows:
    """What the function yields, as batches."""

    def __init__(
        self, options: Options, directory: Path, batch: int, reject: Callable[..., None], counter: mmap.mmap
    ) -> None:
        self.options, self.batch, self._reject = options, batch, reject
        self.path = directory / options.file
        self.function = load(self.path, options.function)
        self._count = ctypes.c_int64.from_buffer(counter)

    def _items(self) -> Iterator[Any]:
        try:
            result = self.function(**self.options.arguments)
            if not isinstance(result, Iterable):
                raise SourceError(  # noqa: TRY301  (told as it is, below)
                    f"{self.options.function}() gives a {type(result).__name__}, not rows",
                    place=Place(file=self.options.file),
                    remedy="let it `yield` dictionaries",
                )
            for item in result:
                self._count.value += 1
                yield item
        except (HvenError, MemoryError):
            raise
        except Exception as error:
            raise fault(error, self.path) from error

    def stream(self) -> Iterator[pa.RecordBatch]:
        """Yield batches, whatever the function yields."""
        items = self._items()
        first = next(items, None)
        if first is None:
            return
        items = chain([first], items)
        if isinstance(first, (pa.RecordBatch, pa.Table)):
            for item in items:
                yield from (item.to_batches(self.batch) if isinstance(item, pa.Table) else [item])
            return
        yield from self._collected(items, first)

    def _collected(self, items: Iterator[Any], first: Any) -> Iterator[pa.RecordBatch]:
        """Collect rows into batches; the types are those said, else those of the first thousand rows."""
        said = {name: parse_type(word).arrow for name, word in self.options.columns.items()}
        if isinstance(first, Mapping):
            names = list(said)
        elif isinstance(first, (tuple, list)):
            names = list(said) or list(getattr(first, "_fields", ()))
            if not names:
                raise SourceError(
                    "tuples have no names",
                    place=Place(file=self.options.file),
                    remedy="yield dictionaries, or say `columns:` in the source",
                )
        else:
            raise SourceError(
                f"a row is a {type(first).__name__}",
                place=Place(file=self.options.file),
                remedy="yield dictionaries, tuples, or pyarrow.RecordBatch",
            )
        kinds: dict[str, pa.DataType] = said
        number = 1
        while rows := list(islice(items, ROWS if kinds else SAMPLE)):
            if not kinds:
                names = names or list(dict.fromkeys(key for row in rows for key in row))
                kinds = {name: _kind([_cell(row, name, names) for row in rows]) for name in names}
            bad = self._misshapen(rows, names, number)
            arrays = {
                name: self._array(
                    [None if at in bad else _cell(row, name, names) for at, row in enumerate(rows)],
                    kinds[name],
                    name,
                    number,
                    bad,
                )
                for name in names
            }
            arrays[ROW] = pa.array(range(number, number + len(rows)), pa.int64())
            batch = pa.RecordBatch.from_pydict(arrays)
            yield batch.filter(pa.array([at not in bad for at in range(len(rows))])) if bad else batch
            number += len(rows)

    def _misshapen(self, rows: Sequence[Any], names: Sequence[str], number: int) -> set[int]:
        """Find rows with unknown names or a wrong number of values."""
        bad: set[int] = set()
        known = set(names)
        for at, row in enumerate(rows):
            if isinstance(row, Mapping):
                unknown = row.keys() - known
                reason = f"unknown column {min(unknown)!r}: the first rows have none of that name" if unknown else ""
            else:
                reason = "" if isinstance(row, (tuple, list)) and len(row) == len(names) else f"not {len(names)} values"
            if reason:
                bad.add(at)
                self._reject(number + at, None, str(row)[:200], reason)
        return bad

    def _array(self, values: list[Any], kind: pa.DataType, name: str, number: int, bad: set[int]) -> pa.Array:
        try:
            return pa.array(values, kind, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        good: list[Any] = []
        for at, value in enumerate(values):  # only this batch, only this column
            try:
                good.append(pa.scalar(_plain(value, kind), kind).as_py())
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                good.append(None)
                bad.add(at)
                self._reject(number + at, name, str(value)[:200], f"not {from_arrow(kind)}")
        return pa.array(good, kind)


def _cell(row: Any, name: str, names: Sequence[str]) -> Any:
    return row.get(name) if isinstance(row, Mapping) else row[names.index(name)] if len(row) == len(names) else None


def _kind(values: list[Any]) -> pa.DataType:
    try:
        kind = from_arrow(pa.array(values, from_pandas=True).type).arrow
    except (pa.ArrowException, ValueError, TypeError):
        return STRING.arrow
    return (
        pa.float64()
        if pa.types.is_integer(kind) and any(isinstance(value, float) and value == value for value in values)  # noqa: PLR0124
        else kind
    )


def _plain(value: Any, kind: pa.DataType) -> Any:
    if value is None or (pa.types.is_string(kind) and isinstance(value, str)):
        return value
    if pa.types.is_string(kind):
        return str(value)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind) and isinstance(value, float) and value == int(value):
        return int(value)
    return value
