"""What table a file holds, told by its first bytes: VOTable, FITS, Parquet, Arrow, or delimited text."""

from __future__ import annotations

import math
import re
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from hven import formats
from hven.model import add_deviation, plugins
from hven.model.errors import SourceError, TooLarge, say
from hven.model.table import Constant, Table
from hven.sources import Context, Reject, filekinds

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from hven.model import Deviation
    from hven.model.table import Column
    from hven.sources import Source

_START = 4096
_MOST = 4 * 1024**3
_HTML = re.compile(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+)?html[\s>]", re.IGNORECASE | re.DOTALL)
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0<", b"<\0")  # UTF-16, which XML may be written in
_TABLES = ("csv", "fits", "json", "parquet", "tfcat")  # kinds of sources that are told apart


def kind_of(path: Path) -> str:
    """Detect what a file is: ``votable``, ``fits``, ``parquet``, ``arrow`` or ``csv``, whatever it is called.

    Raises
    ------
    SourceError
        Empty, or nothing that holds a table.
    """
    with path.open("rb") as file:
        start = file.read(_START)
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise SourceError("it is empty")
    if start.startswith((b"ARROW1\0", b"\xff\xff\xff\xff")):
        return "arrow"
    found = filekinds.begun(start, _TABLES)
    if found and found in {"fits", "parquet", "tfcat"}:
        return found
    if _HTML.match(text):
        raise SourceError("it is an HTML page", remedy="give the address of the file itself, not of a page about it")
    if text.startswith(b"<") or (start.startswith(_WIDE) and b"<" in start[:16]):
        return "votable"
    other = (
        "compressed twice" if start.startswith(b"\x1f\x8b") else "JSON" if found == "json" else filekinds.other(start)
    )
    if other:
        raise SourceError(
            say("it is {what}, not a table", say(other)),
            remedy="save the table as VOTable, FITS, Parquet or CSV, compressed once at most",
        )
    if found is None:
        raise SourceError(
            "it is no table of a known kind", remedy="VOTable, FITS, Parquet, Arrow, TFCat, CSV or other delimited text"
        )
    return "csv"


@contextmanager
def table_in(
    path: Path, like: Iterable[Column] = (), most: int = _MOST, deviations: list[Deviation] | None = None
) -> Iterator[tuple[Table, Iterator[pa.RecordBatch]]]:
    """Open the (first) table of a file.

    Parameters
    ----------
    like
        Columns that are expected: text of that name, without case, is read as their type and not as what it looks like.
    most
        Bytes that the values of a Parquet or Arrow file may take, as its heads promise them before any is unpacked.
    deviations
        Takes what the reader narrows, drops or reinterprets; complete when the rows are read.

    Yields
    ------
    The table, without schema and name, and its rows.

    Raises
    ------
    SourceError
        Nothing that holds a table, a broken one; also while iterating.
    TooLarge
        More than `most`.
    """
    kind = kind_of(path)
    _check_promise(path, kind, most)
    if kind in {"votable", "arrow"}:
        reader = formats.load(kind).read
        if reader is None:  # pragma: no cover  (both have one)
            raise SourceError(say("{kind} cannot be read", kind))
        with path.open("rb") as file:
            found = reader(file)
            head = found.head
            about = Table(
                schema="", name="", columns=tuple([column.having(type=column.type.without_text_bound) for column in head.columns]), description=head.description, groups=tuple(head.groups),
                frames=tuple(head.frames), enums=head.enums, params=tuple(one for one, _ in head.params if isinstance(one, Constant)),
            )  # fmt: skip
            yield about, found.whole_batches()
            if deviations is not None:
                deviations += found.deviations
        return
    names = _parquet_names(path) if kind == "parquet" else ()
    try:
        told: list[Deviation] = []
        context = Context(tell=lambda item: None if isinstance(item, str) else add_deviation(told, item))
        source = _fitting(path, like, context) if kind == "csv" else _source(kind, path, context)
        about, rows = Table(schema="", name="", columns=tuple(source.columns())), source.batches()
        told[:] = [item for item in told if item.count is None]  # values were counted while types were looked for
        _nothing_left(names, about)
        with closing(cast("Generator[pa.RecordBatch]", rows)):
            yield about, rows
        if deviations is not None:
            deviations += told
    except SourceError as error:  # the remedies of sources speak of descriptors
        raise SourceError(error.message, place=error.place) from error


def _nothing_left(names: Iterable[str], table: Table) -> None:
    for name in names:
        if all(column.name != name for column in table.columns):
            raise SourceError(
                say("column {name!r} is of a type that a table cannot hold", name),
                remedy="leave it out, or take it apart",
            )


def _source(kind: str, path: Path, context: Context, **options: object) -> Source:
    module = plugins.load("sources", kind)
    source: Source = module.open(module.Options(files=[path.name], **options), replace(context, directory=path.parent))
    return source


def _fitting(path: Path, like: Iterable[Column], context: Context) -> Source:
    """Open text with types that hold all values: where later ones do not fit what a sample suggests, it is read again as something wider."""
    types: dict[str, str] = {}
    expected = {column.name.lower(): str(column.type) for column in like}
    if expected:
        first = _source("csv", path, Context())
        said = {
            column.name: expected[column.name.lower()] for column in first.columns() if column.name.lower() in expected
        }
        types.update(said)
        if len(said) == len(first.columns()):  # a value that does not fit is a fault, told with its row
            return _source("csv", path, context, types=types)
    for _ in range(_PASSES):
        wrong: dict[str, str] = {}
        source = _source("csv", path, replace(context, reject=partial(_note, wrong), faults=_FAULTS), types=types)
        for _batch in source.batches():
            pass
        if not wrong:
            return source
        for column in source.columns():
            if column.name in wrong:
                types[column.name] = (
                    "float64" if column.type.is_integer and wrong[column.name] == "float64" else "string"
                )
    return _source("csv", path, context, types={column.name: "string" for column in source.columns()})


def _note(wrong: dict[str, str], reject: Reject) -> None:
    """Keep which column a value does not fit (of a row one at least), and what would hold it."""
    if reject.column is None:
        raise SourceError(say("row {row}: {reason}", reject.row, say(reject.reason)))
    if wrong.get(reject.column) != "string":
        wrong[reject.column] = "float64" if _is_number(reject.value or "") else "string"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) or "inf" in text.lower()  # 1e400 is too large for a float64
    except ValueError:
        return False


def _check_promise(path: Path, kind: str, most: int) -> None:
    promised = formats.load(kind).promised
    if promised is None:
        return
    with path.open("rb") as file:
        size = promised(file)
    if size > most:
        raise TooLarge(
            say("the upload's values take {size:,} bytes unpacked; the limit is {most:,}", size, most),
            remedy="send fewer columns or rows at a time",
        )


def _parquet_names(path: Path) -> list[str]:
    """Return the names of the columns."""
    import pyarrow.parquet as pq  # noqa: PLC0415  (0.04 s, for who sends such a file)

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, ValueError, OSError) as error:  # names may be no UTF-8
        raise SourceError(say("no readable Parquet file: {message}", error)) from error


_PASSES = 6  # over text, to find types that fit; then every column is text
_FAULTS = 100  # values of a column that are looked at in each block of text, to find a type that holds them

__all__ = ["kind_of", "table_in"]
