"""JSON text -> records, a few megabytes at a time: lines, arrays, a list inside a document. Structure is found with numpy, nothing is parsed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson
import pyarrow as pa

from hven.model.errors import Place, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.sources._reading.files import DataFile

BLOCK = 4 << 20
HEAD = 1 << 20
LONGEST = 64 << 20  # a record longer than this is a bracket or a quote that never closes

LINES, LIST, WHOLE = "lines", "list", "whole"
_QUOTE, _OPEN, _CLOSE, _COMMA = 1, 2, 3, 4
_CODES = np.zeros(256, np.uint8)
for _signs, _code in ((b'"', _QUOTE), (b"{[", _OPEN), (b"}]", _CLOSE), (b",", _COMMA)):
    _CODES[list(_signs)] = _code
_STEPS = np.zeros(5, np.int8)
_STEPS[_OPEN], _STEPS[_CLOSE] = 1, -1
_BLANK = np.zeros(256, bool)
_BLANK[list(b" \t\r\n\x1e")] = True  # 0x1e begins a record of RFC 7464
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_LIST_KEYS = (("features",), ("hits", "hits"))  # GeoJSON and STAC, Elasticsearch
_TABLE_KEYS = ("data", "fields")  # rows as arrays, with their names beside them


class Readable(Protocol):
    """Bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes; none at the end."""

    def close(self) -> object:
        """Let go."""


class Document(Protocol):
    """A text that records stand in: a file, or a page of a service."""

    name: str

    def open(self) -> Readable:
        """Open it for one pass in order."""

    def finish(self) -> None:
        """Read what is left unread."""

    def fact(self, name: str) -> object:
        """Return a fact of a file (`hven.sources.FILE_FACTS`); None where it is none."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a file's records stand in it.

    Attributes
    ----------
    kind
        ``lines``: one in each line; ``list``: the elements of the array at `path`; ``whole``: documents one after the other.
    names
        Path of the array that names the elements of records which are arrays themselves.
    """

    kind: str
    path: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Some records of one file.

    Attributes
    ----------
    texts
        The records, with blanks around them.
    first
        Number of the first, from 1.
    data, starts
        The bytes, and where each record begins in them.
    line
        1-based line of the file in which `data` begins.
    """

    texts: pa.Array
    first: int
    data: bytes
    starts: npt.NDArray[np.int64]
    line: int

    def place(self, at: int) -> int:
        """Find the line in which a record begins."""
        start = int(self.starts[at])
        rest = self.data[start:]
        return self.line + self.data.count(b"\n", 0, start + len(rest) - len(rest.lstrip()))


def form_of(file: Document, path: Sequence[str] | None) -> Form:
    """Detect how records stand in a file, by its beginning.

    Parameters
    ----------
    path
        What the descriptor says of the place of the records; None: nothing.

    Raises
    ------
    SourceError
        Empty, or no JSON at all.
    """
    stream = file.open()
    try:
        head = stream.read(HEAD)
    finally:
        stream.close()
    text = _begun(head, file).lstrip(b" \t\r\n\x1e")
    if not text:
        raise SourceError("there is nothing in the file", place=Place(file=file.name), remedy="`ignore:` it")
    if text[:1] not in b"[{":
        shown = text[:20].split(b"\n")[0].decode(errors="replace")
        raise SourceError(
            f"JSON begins with {{ or [, not with {shown!r}",
            place=Place(file=file.name, line=1),
            remedy="look at the file's kind",
        )
    if path is not None:
        return Form(LIST, tuple(path)) if path else Form(WHOLE)
    lines = text.split(b"\n", 21)
    complete = lines[:-1] if len(lines) > 1 else []
    objects = [line for line in complete if line.strip(b" \t\r\x1e")]
    if len(objects) > 1 and sum(_is_record(line) for line in objects) * 2 > len(objects):
        return Form(LINES)
    if text[:1] == b"[":
        return Form(LIST)
    return _document(text)


def around(file: Document, path: Sequence[str]) -> tuple[bytes, bytes, int]:
    """Read a document without the records of its list.

    Returns
    -------
    before, behind, line
        What stands before the records, and behind them; the line in which that begins.

    Raises
    ------
    SourceError
        As `records`; what is behind is too long.
    """
    before, behind, line, _ = divided(file, path, keep=False)
    return before, behind, line


def divided(file: Document, path: Sequence[str], *, keep: bool = True) -> tuple[bytes, bytes, int, list[Records]]:
    """Read a document in one pass: what stands around its list as `around` does, and the records of it, unless they are not to be kept.

    Raises
    ------
    SourceError
        As `around`.
    """
    found: list[Records] = []
    stream = file.open()
    try:
        cutter = _Cutter(file, Form(LIST, tuple(path)))
        while not cutter.over:
            for part in cutter.cut(stream.read(max(BLOCK, len(cutter.rest)))):
                found += [part] if keep else []
        behind = cutter.behind + stream.read(LONGEST)
    finally:
        stream.close()
    if len(behind) > LONGEST:
        what = f"there are more than {LONGEST >> 20} MB behind the list {'.'.join(path)!r}"
        raise SourceError(what, place=Place(file=file.name, line=cutter.line), remedy="look at the file")
    return cutter.before, behind, cutter.line, found


def crs_of(file: DataFile, form: Form) -> str | None:
    """Find the frame that a GeoJSON document says of all its features (``crs``), before or behind them.

    Returns
    -------
    crs
        Its name; None where none is said, or the form has no room for it.
    """
    if form.kind != LIST or len(form.path) != 1:
        return None
    stream, last, there = file.fresh().open(), b"", False
    try:
        while not there and (block := stream.read(BLOCK)):
            there, last = b'"crs"' in last + block, block[-5:]
    finally:
        stream.close()
    if not there:
        return None
    before, behind, _ = around(file.fresh(), form.path)
    try:
        said = orjson.loads(before + behind).get("crs")
    except orjson.JSONDecodeError:  # which is told where the records are read
        return None
    name = said.get("properties", {}).get("name") if isinstance(said, dict) else said
    return name if isinstance(name, str) else None


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line.strip(b"\x1e")), dict | list)
    except orjson.JSONDecodeError:
        return False


def _document(text: bytes) -> Form:
    """Find the list in a document of a known look; else it is one record."""
    lists: set[tuple[str, ...]] = set()
    for path, sign in _walk(text):
        if sign == b"[":
            lists.add(path)
            if path in _LIST_KEYS:
                return Form(LIST, path)
            rows, names = _TABLE_KEYS
            if lists >= {(rows,), (names,)}:
                return Form(LIST, (rows,), (names,))
    return Form(WHOLE)


def _walk(text: bytes) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Yield each bracket of a document that opens outside of arrays, with its path."""
    stack: list[str | None] = []  # the key at each level; None within an array
    key: bytes | None = None
    value = False
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == b":":
            value = True
        elif token in {b"{", b"["}:
            inside = None in stack
            if stack and value and key is not None:
                stack[-1] = _unquoted(key)
            if not inside:
                yield tuple(part for part in stack if part is not None), token
            stack.append(None if token == b"[" else "")
            key, value = None, False
        elif token in {b"}", b"]"}:
            if not stack:
                return
            stack.pop()
            key, value = None, False
        elif token == b",":
            key, value = None, False
        elif not value:
            key = token


def _unquoted(key: bytes) -> str:
    try:
        return str(orjson.loads(key))
    except orjson.JSONDecodeError:
        return key.decode(errors="replace")


def _begun(data: bytes, file: Document) -> bytes:
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise SourceError(
            "the file is UTF-16, and JSON is UTF-8", place=Place(file=file.name, line=1), remedy="save it as UTF-8"
        )
    return data.removeprefix(b"\xef\xbb\xbf")


def records(file: Document, form: Form) -> Iterator[Records]:
    """Read the records of a file, once, from front to end.

    Raises
    ------
    SourceError
        It ends in the middle of a record or before its list is closed; it has no list at the path; a record has no end. With the line.
    """
    stream = file.open()
    try:
        cutter = _Cutter(file, form)
        while True:
            data = stream.read(max(BLOCK, len(cutter.rest)))  # a record longer than a block: twice as much each time
            yield from cutter.cut(data)
            if not data or cutter.over:
                break
        while stream.read(1 << 20):
            pass
        file.finish()
    finally:
        stream.close()


class _Cutter:
    """Cuts bytes into records, whatever the pieces they come in."""

    def __init__(self, file: Document, form: Form) -> None:
        self.file, self.form = file, form
        self.rest = b""
        self.line = 1
        self.number = 1
        self.over = False
        self.begun = False
        self.inside = form.kind != LIST
        self.before = self.behind = b""  # of the list

    def cut(self, data: bytes) -> Iterator[Records]:
        """Yield the records that are whole by now; `data` empty: this is the end."""
        end = not data
        data = self.rest + data
        if not self.begun:
            data, self.begun = _begun(data, self.file), True
        if not self.inside:
            start = enter(data, self.form.path)
            if start is None:
                self.rest = data
                self._missing(end=end)
                return
            self.line += data.count(b"\n", 0, start)
            self.before, data, self.inside = data[:start], data[start:], True
        if self.form.kind == LINES:
            yield from self._lines(data, end=end)
        else:
            yield from self._structure(data, end=end)
        if len(self.rest) > LONGEST:
            raise self._fault(
                f"record {self.number:,} is longer than {LONGEST >> 20} MB",
                "a bracket or a quote is not closed, or `records:` must name the list",
            )

    def _missing(self, *, end: bool) -> None:
        path = ".".join(self.form.path)
        if end or len(self.rest) > LONGEST:
            there = sorted({".".join(where) for where, sign in _walk(self.rest) if sign == b"[" and where})
            what = f"has no list {path!r}" if path else "is no list"
            raise SourceError(
                f"the document {what}",
                place=Place(file=self.file.name),
                remedy=f"`records:` names one of {', '.join(there[:8])}" if there else "look at the file",
            )

    def _lines(self, data: bytes, *, end: bool) -> Iterator[Records]:
        stop = len(data) if end else data.rfind(b"\n") + 1
        whole, self.rest = data[:stop], data[stop:]
        if not whole:
            return
        marks = np.flatnonzero(np.frombuffer(whole, np.uint8) == 10) + 1
        if end and whole[-1:] != b"\n":
            self._complete(whole[marks[-1] if len(marks) else 0 :])
            marks = np.append(marks, len(whole))
        starts = np.concatenate([[0], marks[:-1]])
        short = np.flatnonzero(marks - starts <= 8)
        empty = [at for at in short if not whole[starts[at] : marks[at]].strip(b" \t\r\n\x1e")]
        yield from self._made(whole, starts, marks, empty)

    def _complete(self, last: bytes) -> None:
        """Refuse a last line without an end that breaks off in a record."""
        text = last.strip(b" \t\r\x1e")
        if text and not _is_record(text) and text.count(b"{") + text.count(b"[") > text.count(b"}") + text.count(b"]"):
            self.line += self.rest.count(b"\n")
            raise SourceError(
                f"the file ends in the middle of its last record: {text[-40:].decode(errors='replace')!r}",
                place=Place(file=self.file.name),
                remedy="it was cut short: get it anew",
            )

    def _structure(self, data: bytes, *, end: bool) -> Iterator[Records]:
        array = np.frombuffer(data, np.uint8)
        places, codes, depth = _scanned(array)
        if self.form.kind == LIST:
            closed = np.flatnonzero(depth < 0)[:1]
            stop = int(closed[0]) if len(closed) else len(places)
            ends = places[:stop][(codes[:stop] == _COMMA) & (depth[:stop] == 0)]
            if len(closed):
                self.over = True
                self.behind = data[places[stop] :]
                ends = np.append(ends, places[stop])
            elif end:
                raise self._fault(
                    f"the file ends within its list, in record {self.number + len(ends):,}",
                    "it was cut short: get it anew",
                )
            starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else np.zeros(0, np.int64)
            kept = int(ends[-1]) + 1 if len(ends) else 0
        else:
            if len(depth) and depth.min() < 0:
                raise self._fault("a bracket is closed that was not opened", "look at the file")
            ends = places[(codes == _CLOSE) & (depth == 0)] + 1
            starts = np.concatenate([[0], ends[:-1]]) if len(ends) else np.zeros(0, np.int64)
            kept = int(ends[-1]) if len(ends) else 0
            if end and data[kept:].strip(b" \t\r\n\x1e,"):
                raise self._fault(
                    f"the file ends in the middle of record {self.number + len(ends):,}",
                    "it was cut short: get it anew",
                )
        self.rest = b"" if self.over else data[kept:]
        if not len(ends):
            return
        empty = [0] if self.over and len(ends) == 1 and not data[: ends[0]].strip(b" \t\r\n") else []  # []
        yield from self._made(data[:kept], starts, ends, empty)

    def _made(self, data: bytes, starts: Any, ends: Any, empty: Sequence[Any]) -> Iterator[Records]:
        """Lay an array of texts over the bytes; separators between records become blanks."""
        line = self.line
        self.line += data.count(b"\n")
        offsets = np.append(starts, ends[-1]).astype(np.int32)
        bytes_ = np.frombuffer(data, np.uint8)
        if self.form.kind != LINES:
            bytes_ = bytes_.copy()
            bytes_[ends[:-1]] = np.where(bytes_[ends[:-1]] == ord(","), ord(" "), bytes_[ends[:-1]])
        if data.find(b"\x1e") >= 0:
            bytes_ = np.where(bytes_ == 0x1E, np.uint8(32), bytes_)
        texts = pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(bytes_.tobytes()))
        if len(empty):
            keep = np.ones(len(starts), bool)
            keep[list(empty)] = False
            texts, starts = texts.filter(pa.array(keep)), starts[keep]
        if len(texts):
            first, self.number = self.number, self.number + len(texts)
            yield Records(texts, first, data, np.asarray(starts, np.int64), line)

    def _fault(self, message: str, remedy: str) -> SourceError:
        blank = len(self.rest) - len(self.rest.lstrip())
        return SourceError(
            message, place=Place(file=self.file.name, line=self.line + self.rest.count(b"\n", 0, blank)), remedy=remedy
        )


def _scanned(array: npt.NDArray[np.uint8]) -> tuple[Any, Any, Any]:
    """Find brackets and commas outside of strings, and the depth after each; the text begins outside of any."""
    codes = np.take(_CODES, array)
    places = np.flatnonzero(codes != 0)
    codes = codes[places]
    quotes = real = codes == _QUOTE
    if (array == 0x5C).any():
        at = places[quotes]
        escaped = np.zeros(len(at), bool)
        after = at > 0
        escaped[after] = array[at[after] - 1] == 0x5C
        if escaped.any():  # by an odd number of backslashes
            last = np.maximum.accumulate(np.where(array == 0x5C, -1, np.arange(len(array))))
            before = at[escaped] - 1
            escaped[escaped] = (before - last[before]) % 2 == 1
        real = quotes.copy()
        real[quotes] = ~escaped
    outside = (
        np.cumsum(real, dtype=np.uint8) & 1 == 0
    ) & ~quotes  # an even number of quotes before, counted modulo 256
    places, codes = places[outside], codes[outside]
    depth = np.cumsum(np.take(_STEPS, codes), dtype=np.int64)
    return places, codes, depth


def enter(data: bytes, path: Sequence[str]) -> int | None:
    """Find where the list at a path begins: the place behind its bracket; None if it is not there (yet)."""
    wanted = tuple(path)
    stack: list[str | None] = []
    key: bytes | None = None
    value = False
    for match in _TOKEN.finditer(data):
        token = match.group()
        if token == b":":
            value = True
        elif token in {b"{", b"["}:
            if stack and value and key is not None and stack[-1] is not None:
                stack[-1] = _unquoted(key)
            if token == b"[" and None not in stack and tuple(stack) == wanted:
                return match.end()
            stack.append(None if token == b"[" else "")
            key, value = None, False
        elif token in {b"}", b"]"}:
            if not stack:
                return None
            stack.pop()
            key, value = None, False
        elif token == b",":
            key, value = None, False
        elif not value:
            key = token
    return None


def named(file: Document, path: Sequence[str]) -> list[str]:
    """Read the list of names that stands beside the records of a document."""
    stream = file.open()
    try:
        head = _begun(stream.read(HEAD), file)
    finally:
        stream.close()
    start = enter(head, path)
    stop = head.find(b"]", start or 0)
    try:
        found = orjson.loads(b"[" + head[start:stop] + b"]") if start is not None and stop > 0 else []
    except orjson.JSONDecodeError:
        found = []
    names = [item.get("name") if isinstance(item, dict) else item for item in found]
    return [str(name) for name in names if name is not None]
