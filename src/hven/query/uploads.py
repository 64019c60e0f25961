"""UPLOAD (TAP 1.1 section 2.7.6, DALI 1.1 section 3.4.5): files that come with a query -> tables that exist for it alone."""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import re
import tempfile
import time
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.reserved import RESERVED
from hven.formats import Info
from hven.model import Deviation, DeviationKind, add_deviation, plugins, shape_columns
from hven.model.clock import check, counted
from hven.model.errors import Forbidden, HvenError, ParamError, SourceError, StorageError, TooLarge, UserError, say
from hven.model.table import Table, distinct
from hven.query._content import table_in
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.params import Upload
    from hven.model.settings import Settings
    from hven.model.table import Column

log = logging.getLogger("hven")
SCHEMA = "TAP_UPLOAD"
MOST = 32  # tables with one query
MOST_COLUMNS, LONGEST_NAME = 4_000, 256
# times `limits.upload`: what the values may take in memory, where arrays and numbers are wider than their text
UNFOLDED = 5
_SILENCE = 15.0  # seconds without a byte after which a server is given up
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LISTED = re.compile(r";(?=[^;,]*,)")  # TAP 1.0 section 2.3.6 wrote several pairs into one value
_CHUNK = 1 << 20
_PACKED = (
    (rb"\x1f\x8b", "gzip"),
    (rb"BZh[1-9]1AY&SY", "bzip2"),
    (rb"\xfd7zXZ\x00", "xz"),
    (rb"\x28\xb5\x2f\xfd", "zstd"),
)


class Uploaded(dict[str, tuple[Table, pa.Table]]):
    """Uploaded tables with their rows, by their qualified names.

    Attributes
    ----------
    deviations
        What the readers narrow, drop or reinterpret, by the name of the upload.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deviations: dict[str, list[Deviation]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One ``name,uri`` of UPLOAD."""

    name: str
    uri: str

    @property
    def part(self) -> str | None:
        """The part of the request that holds it (``param:PART``); None: it is fetched."""
        return self.uri[len("param:") :] if self.uri.lower().startswith("param:") else None


def pairs(values: Iterable[str]) -> list[Pair]:
    """Parse the values of UPLOAD: ``name,uri`` each, or several of them with ``;`` between as TAP 1.0 has it (TAP 1.1, 2.7.6).

    Parameters
    ----------
    values
        Of the parameter, which may be repeated.

    Returns
    -------
    pairs
        Names, and where each comes from.

    Raises
    ------
    ParamError
        Not of that form; a name that is no ADQL identifier, is reserved or comes twice; a scheme that is not fetched.
    """
    found: dict[str, Pair] = {}
    for value in values:
        for text in _LISTED.split(value.strip().rstrip(";")):
            if not text.strip():
                continue
            name, comma, uri = (part.strip() for part in text.partition(","))
            if not comma or not uri:
                raise _refused(
                    say("UPLOAD={text!r:.120} is no pair of name and address", text.strip()),
                    "UPLOAD=mine,param:PART or UPLOAD=mine,https://...",
                )
            _check_name(name)
            if name.lower() in found:
                raise _refused(
                    say("UPLOAD gives two tables called {name!r}", name), "names must differ, and not in case alone"
                )
            if uri.partition(":")[0].lower() not in {"param", "http", "https"}:
                raise _refused(
                    say("UPLOAD: {uri!r:.120} cannot be fetched", uri),
                    "param:PART (sent with the request), http://... or https://...",
                )
            found[name.lower()] = Pair(name=name, uri=uri)
    if len(found) > MOST:
        raise _refused(
            say("UPLOAD gives {count} tables; the limit is {most}", len(found), MOST), "ask in several queries"
        )
    return list(found.values())


def _check_name(name: str) -> None:
    if name.lower().startswith(f"{SCHEMA.lower()}."):
        raise _refused(
            say("UPLOAD names its table {name!r:.120}", name),
            say("leave {schema} out: UPLOAD={name:.80},...", SCHEMA, name.partition(".")[2]),
        )
    if not _NAME.fullmatch(name) or len(name) > 128:
        raise _refused(
            say("UPLOAD names its table {name!r:.120}, which is no ADQL identifier", name),
            "a letter, then letters, digits and _",
        )
    if name.upper() in RESERVED:
        raise _refused(
            say("UPLOAD names its table {name!r}, which is a reserved word of ADQL", name),
            say("another name, such as my_{name}", name.lower()),
        )


def _refused(message: str, remedy: str) -> ParamError:
    return ParamError(message, name="UPLOAD", remedy=remedy)


def read(
    wanted: Sequence[Pair],
    files: Mapping[str, Upload | Path],
    settings: Settings,
    *,
    turn: AbstractContextManager[object] | None = None,
    like: Iterable[Column] = (),
    rename: bool = True,
) -> Uploaded:
    """Fetch and read the tables of one query. It takes its time: not for the event loop.

    Parameters
    ----------
    wanted
        As `pairs` returned them.
    files
        What came inline, by the name of its part; a job gives the paths under which it keeps them.
    settings
        `limits.upload` bounds the bytes of all tables together, unpacked; `limits.upload_rows` the rows of each;
        `limits.seconds` the time where no request's clock runs; `allow_private` lets addresses of the own network through.
    turn
        Entered while memory is filled with values, so that a server can bound how many do that at once.
    like
        Columns that are expected: text of that name, without case, is read as their type.
    rename
        Columns that have the name of another one, but for case, get a number, as `hven new` gives it; `list_warnings` tells which.

    Returns
    -------
    dict
        ``TAP_UPLOAD.name`` -> the table and its rows: what `hven.query.run` takes as `uploads`.

    Raises
    ------
    ParamError
        A part that is missing.
    SourceError
        No table, or a broken one.
    Timeout
        The request's time is over.
    TooLarge, Forbidden, UserError
        More than the limits; an address that may not be fetched, or does not answer.
    StorageError
        The disk is full.
    """
    limits = settings.limits
    if limits.upload == 0:
        raise _refused("uploads are not offered by this service", "put short lists into IN (...)")
    found = Uploaded()
    room = _Room(limits.upload)
    left = limits.upload * UNFOLDED
    with counted(None, limits.seconds) as clock, _place() as place:
        for pair in wanted:
            path = _file(pair, files, Path(place), room, clock.until, settings)
            try:
                deviations = found.deviations.setdefault(pair.name, [])
                with turn or nullcontext(), table_in(path, like, left, deviations) as (table, batches):
                    table = table.having(columns=tuple(distinct(table.columns))) if rename else table  # noqa: PLW2901
                    check_columns(table)
                    rows, used = _gathered(
                        pair.name,
                        (batch.rename_columns(table.arrow.names) for batch in batches),
                        table.arrow,
                        left,
                        limits.upload_rows,
                    )
                rows = _checked_regions(table, rows, deviations)
            except TooLarge:
                raise
            except UserError as error:
                message = (
                    say("line {line}: {message}", error.place.line, error.message)
                    if error.place.line is not None
                    else error.message
                )
                raise SourceError(
                    say("the upload {name!r} cannot be read: {message}", pair.name, message), remedy=error.remedy
                ) from error
            except HvenError:
                raise
            except Exception as error:  # a reader's fault, or a plug-in's, over a file that nobody foresaw
                where = plugins.blamed(error)
                log.exception("the upload %s broke its reader, in %s", pair.name, where)
                raise SourceError(
                    say(
                        "the upload {name!r} cannot be read: its reader failed ({reason})",
                        pair.name,
                        type(error).__name__,
                    ),
                    remedy="check the file with the program that wrote it, or send it in another format",
                ) from error
            left -= used
            table = table.having(schema=SCHEMA, name=pair.name)
            found[table.qualified] = (table, rows)
    return found


def list_warnings(uploaded: Uploaded) -> list[Info]:
    """List what the readers of uploads renamed, narrowed, dropped or reinterpreted, for the head of the answer.

    Parameters
    ----------
    uploaded
        What `read` returned.

    Returns
    -------
    infos
        A warning for each.
    """
    renamed = [
        Info(
            name="warning",
            value=f"the upload {table.name!r} has several columns {column.label!r}, but for case: this one is {column.name}",
        )
        for table, _ in uploaded.values()
        for column in table.columns
        if column.label is not None
    ]
    changed = [
        Info(name="warning", value=f"the upload {name!r}: {deviation}")
        for name, deviations in uploaded.deviations.items()
        for deviation in deviations
    ]
    return [*renamed, *changed]


def _place() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="hven-upload-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(
            say("there is no place for uploads: {reason}", error.strerror), remedy="try again later"
        ) from error


class _Room:
    """The bytes that are still allowed."""

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise self.full()

    def full(self) -> TooLarge:
        return TooLarge(
            say("the uploads have more than {most:,} bytes (unpacked), which is the limit", self.limit),
            remedy="send fewer columns or rows at a time",
        )


def _checked_regions(table: Table, rows: pa.Table, deviations: list[Deviation]) -> pa.Table:
    """Replace what is no region by null, and report it: nothing is computed with a polygon of two corners."""
    for at, column in enumerate(table.columns):
        chunks = []
        found: dict[str, tuple[int, int]] = {}  # reason -> count, first row
        first = 1
        for chunk in rows.column(at).chunks:
            values = chunk
            for reason, flags in shape_columns.find_faults(chunk, column.type):
                count, row = found.get(reason, (0, first + int(flags.argmax())))
                found[reason] = count + int(flags.sum()), row
                values = pc.if_else(pa.array(flags), pa.scalar(None, values.type), values)
            chunks.append(values)
            first += len(chunk)
        if found:
            rows = rows.set_column(at, rows.schema.field(at), pa.chunked_array(chunks, rows.schema.field(at).type))
        for reason, (count, row) in found.items():
            message = say("{reason}: read as missing", reason)
            add_deviation(
                deviations,
                Deviation(kind=DeviationKind.GEOMETRY, column=column.name, count=count, row=row, message=message),
            )
    return rows


def _gathered(
    name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema, most: int, most_rows: int
) -> tuple[pa.Table, int]:
    """Collect the rows in memory, within limits; nothing that a reader let through may break the engine."""
    kept: list[pa.RecordBatch] = []
    size = rows = 0
    try:
        for batch in batches:
            check()
            size += batch.nbytes
            rows += batch.num_rows
            if rows > most_rows:
                raise TooLarge(
                    say("the upload {name!r} has more than {most:,} rows, which is the limit", name, most_rows),
                    remedy="send it in parts",
                )
            if size > most:
                raise TooLarge(
                    say("the upload {name!r} takes more than {most:,} bytes in memory", name, most),
                    remedy="send fewer columns or rows at a time",
                )
            if batch.num_rows:
                batch.validate(full=True)
                kept.append(batch)
        return pa.Table.from_batches(kept, schema) if kept else schema.empty_table(), size
    except (pa.ArrowException, MemoryError) as error:
        raise SourceError(str(error)) from error


def check_columns(table: Table) -> None:
    """Check the names of columns: whatever a delimited identifier can say, if each is said once (ADQL 2.1, 2.1.2).

    Parameters
    ----------
    table
        As it was sent.

    Raises
    ------
    SourceError
        No columns, too many, a name that cannot be written, or that comes twice.
    """
    if not table.columns:
        raise SourceError("it has no columns")
    if len(table.columns) > MOST_COLUMNS:
        raise SourceError(
            say("it has {count:,} columns; the limit is {most:,}", len(table.columns), MOST_COLUMNS),
            remedy="send those that the query needs",
        )
    seen: dict[str, str] = {}
    for column in table.columns:
        name = column.name
        if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            message = (
                "the name of a column, {name!r:.80}, is empty"
                if not name.strip()
                else "the name of a column, {name!r:.80}, begins or ends with a blank"
                if name != name.strip()
                else "the name of a column, {name!r:.80}, cannot be written in a query"
            )
            raise SourceError(say(message, name), remedy="rename it")
        other = seen.get(name.lower())
        seen[name.lower()] = name
        if other is not None:
            message = (
                say("two columns have the same name: {name!r:.80}", name)
                if other == name
                else say("two columns differ in case alone ({other!r}): {name!r:.80}", other, name)
            )
            raise SourceError(message, remedy="rename one")


# --- from the request or from afar to a plain file --------------------------------------------------------------


def _file(
    pair: Pair, files: Mapping[str, Upload | Path], place: Path, room: _Room, until: float, settings: Settings
) -> Path:
    """Return the upload as a file that is not compressed, and count its bytes."""
    plain = place / pair.name.lower()
    if pair.part is None:
        return _unpacked(pair.name, _fetched(pair, place, room, until, settings), plain, room)
    given = _part(pair, files)
    if isinstance(given, Path):
        return _unpacked(pair.name, given, plain, room)
    given.file.seek(0)
    return _copied(pair.name, given.file, plain, room)


def _part(pair: Pair, files: Mapping[str, Upload | Path]) -> Upload | Path:
    """Find the part, by its name as it is or without case, as parameters' names go."""
    part = pair.part or ""
    exact = files.get(part)
    close = [item for name, item in files.items() if name.lower() == part.lower()]
    if exact is None and len(close) == 1:
        exact = close[0]
    if exact is None:
        there = ", ".join(sorted(files)) or say("none; a file goes with a POST of multipart/form-data")
        raise _refused(
            say("UPLOAD={name},{uri:.120}: the request has no file {part!r:.80}", pair.name, pair.uri, part),
            say("its files: {there:.200}", there),
        )
    return exact


def _fetched(pair: Pair, place: Path, room: _Room, until: float, settings: Settings) -> Path:
    seconds = max(round(until - time.monotonic(), 1), 0.1)
    silence = min(_SILENCE, seconds)
    try:
        return remote.download(
            pair.uri,
            place / "fetched" / pair.name.lower(),
            limit=room.left,
            seconds=silence,
            total=seconds,
            allow_private=settings.allow_private,
        )
    except remote.Private as error:  # which number is behind a name of the own network is nobody's business
        message = say("UPLOAD {name}: the address, or one that it leads to, is not on the public internet", pair.name)
        raise Forbidden(
            message, remedy=say("send the file with the request: UPLOAD={name},param:PART", pair.name)
        ) from error
    except TooLarge as error:
        raise room.full() from error
    except Forbidden as error:
        raise Forbidden(say("UPLOAD {name}: {message}", pair.name, error.message), remedy=error.remedy) from error
    except UserError as error:
        raise SourceError(say("UPLOAD {name}: {message}", pair.name, error.message), remedy=error.remedy) from error


def _unpacked(name: str, path: Path, plain: Path, room: _Room) -> Path:
    with path.open("rb") as stream:
        if _packing(stream):
            return _copied(name, stream, plain, room)
    room.take(path.stat().st_size)
    return path


def _packing(stream: BinaryIO) -> str | None:
    start = stream.read(10)
    stream.seek(0)
    return next((kind for mark, kind in _PACKED if re.match(mark, start)), None)


def _copied(name: str, stream: BinaryIO, plain: Path, room: _Room) -> Path:
    """Write it to a file, decompressed piece by piece: a bomb ends at the limit."""
    packing = _packing(stream)
    opened = _opened(stream, packing)
    try:
        with plain.open("wb") as file:
            while data := _piece(opened, name, packing):
                check()
                room.take(len(data))
                file.write(data)
    except OSError as error:
        raise StorageError(
            say("the upload {name!r} cannot be kept: {reason}", name, error.strerror), remedy="try again later"
        ) from error
    return plain


def _opened(stream: BinaryIO, packing: str | None) -> Any:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=stream, mode="rb")
    if packing == "bzip2":
        return bz2.BZ2File(stream)
    if packing == "xz":
        return lzma.LZMAFile(stream)
    if packing == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    return stream


def _piece(opened: Any, name: str, packing: str | None) -> bytes:
    if packing is None:
        return cast("bytes", opened.read(_CHUNK))
    try:
        return cast("bytes", opened.read(_CHUNK))
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException, MemoryError) as error:
        raise SourceError(
            say("the upload {name!r} is damaged: its {packing} stream breaks off or is broken", name, packing),
            remedy="send it again",
        ) from error


__all__ = ["SCHEMA", "UNFOLDED", "Pair", "Uploaded", "list_warnings", "pairs", "read"]
