"""Cut JSON text into records, a few megabytes at a time: lines, arrays, a list inside a document.

numpy finds the structure; nothing is parsed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson
import pyarrow as pa

from hven.model.errors import SourceError, TextPlace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.sources.api.rows import DataFile

BLOCK_BYTES = 4 << 20
HEAD_BYTES = 1 << 20
MAX_RECORD_BYTES = 64 << 20  # a record longer than this is a bracket or a quote that never closes

FORM_LINES, FORM_LIST, FORM_WHOLE = "lines", "list", "whole"
_QUOTE_CODE, _OPEN_CODE, _CLOSE_CODE, _COMMA_CODE = 1, 2, 3, 4
_STRUCTURE_CODES = np.zeros(256, np.uint8)
for _signs, _code in ((b'"', _QUOTE_CODE), (b"{[", _OPEN_CODE), (b"}]", _CLOSE_CODE), (b",", _COMMA_CODE)):
    _STRUCTURE_CODES[list(_signs)] = _code
_DEPTH_STEPS = np.zeros(5, np.int8)
_DEPTH_STEPS[_OPEN_CODE], _DEPTH_STEPS[_CLOSE_CODE] = 1, -1
_TOKEN_PATTERN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_KNOWN_LIST_PATHS = (("features",), ("hits", "hits"))  # GeoJSON and STAC, Elasticsearch
# rows, and the names of their columns beside them
_ROWS_AND_NAMES_PATHS = (
    (("data",), ("fields",)),
    (("data",), ("columns",)),  # pandas, orient="split"
    (("data",), ("schema", "fields")),  # pandas, orient="table"
    (("data",), ("metadata",)),  # TAP services
    (("data",), ("parameters",)),  # HAPI
    (("rows",), ("columns",)),  # Datasette
    (("table", "rows"), ("table", "columnNames")),  # ERDDAP
)


class ReadableStream(Protocol):
    """Bytes in order."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes; none at the end."""

    def close(self) -> object:
        """Let go."""


class JsonDocument(Protocol):
    """A text that holds records: a file, or a page of a service."""

    name: str

    def open_stream(self) -> ReadableStream:
        """Open it for one pass in order."""

    def read_to_end(self) -> None:
        """Read what is left unread."""

    def find_file_fact(self, name: str) -> object:
        """Return a fact of a file (`hven.sources.FILE_FACT_COLUMNS`); None where there is none."""


@dataclass(frozen=True, slots=True)
class JsonRecordLayout:
    """How a file's records stand in it.

    Attributes
    ----------
    kind
        ``lines``: one in each line; ``list``: the elements of the array at `path`; ``whole``: documents one after the
        other.
    names
        Path of the array that names the elements of records which are arrays themselves.
    inner_list
        Path of the first list of objects within a document that is one record.
    """

    kind: str
    path: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    inner_list: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class JsonRecordChunk:
    """Some records of one file.

    Attributes
    ----------
    texts
        The records, with blanks around them.
    first_number
        Number of the first, from 1.
    data, starts
        The bytes, and where each record begins in them.
    line
        1-based line of the file in which `data` begins.
    """

    texts: pa.Array
    first_number: int
    data: bytes
    starts: npt.NDArray[np.int64]
    line: int

    def find_record_line(self, record_index: int) -> int:
        """Find the line in which a record begins."""
        start = int(self.starts[record_index])
        remaining_text = self.data[start:]
        blank_bytes = len(remaining_text) - len(remaining_text.lstrip())
        return self.line + self.data.count(b"\n", 0, start + blank_bytes)


def detect_record_layout(file: JsonDocument, path: Sequence[str] | None) -> JsonRecordLayout:
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
    stream = file.open_stream()
    try:
        head = stream.read(HEAD_BYTES)
    finally:
        stream.close()
    text = _strip_byte_order_mark(head, file).lstrip(b" \t\r\n\x1e")
    if not text:
        raise SourceError("the file is empty", place=TextPlace(file=file.name), remedy="add the file to `ignore`")
    if text[:1] not in b"[{":
        shown_text = text[:20].split(b"\n")[0].decode(errors="replace")
        raise SourceError(
            f"JSON begins with {{ or [, not with {shown_text!r}",
            place=TextPlace(file=file.name, line=1),
            remedy="check the `kind` of the source",
        )
    if path is not None:
        if path:
            return JsonRecordLayout(FORM_LIST, tuple(path))
        return JsonRecordLayout(FORM_WHOLE)
    complete_lines = text.split(b"\n", 21)[:-1]
    objects = [line for line in complete_lines if line.strip(b" \t\r\x1e")]
    record_count = sum(_is_json_record(line) for line in objects)
    if len(objects) > 1 and record_count * 2 > len(objects):
        return JsonRecordLayout(FORM_LINES)
    if text[:1] == b"[":
        return JsonRecordLayout(FORM_LIST)
    return _detect_document_form(text)


def split_document_at_records(
    file: JsonDocument, path: Sequence[str], *, keep_records: bool = True
) -> tuple[bytes, bytes, int, list[JsonRecordChunk]]:
    """Split a document into the records of its list and what stands around them, in one pass.

    Parameters
    ----------
    file
        The document.
    path
        Keys that lead to the list.
    keep_records
        False: the records are not returned.

    Returns
    -------
    before, behind, line, records
        What stands before the records, and behind them; the line in which that begins; the records.

    Raises
    ------
    SourceError
        As `read_records`; what is behind is too long.
    """
    records_found: list[JsonRecordChunk] = []
    stream = file.open_stream()
    try:
        cutter = _RecordCutter(file, JsonRecordLayout(FORM_LIST, tuple(path)))
        while not cutter.is_over:
            data = stream.read(max(BLOCK_BYTES, len(cutter.remainder)))
            records = [*cutter.cut_records(data)]
            if keep_records:
                records_found += records
        behind = cutter.text_behind + stream.read(MAX_RECORD_BYTES)
    finally:
        stream.close()
    if len(behind) > MAX_RECORD_BYTES:
        complaint = f"there are more than {MAX_RECORD_BYTES >> 20} MB after the list {'.'.join(path)!r}"
        place = TextPlace(file=file.name, line=cutter.line)
        raise SourceError(complaint, place=place, remedy="check the file")
    return cutter.text_before, behind, cutter.line, records_found


def find_document_crs(file: DataFile, record_form: JsonRecordLayout) -> str | None:
    """Find the frame that a GeoJSON document states for all its features (``crs``), before or behind them.

    Returns
    -------
    crs
        Name of the frame; None where none is stated, or the form cannot hold one.
    """
    if record_form.kind != FORM_LIST or len(record_form.path) != 1:
        return None
    stream = file.copy_unread().open_stream()
    last = b""
    has_crs = False
    try:
        while not has_crs and (block := stream.read(BLOCK_BYTES)):
            has_crs = b'"crs"' in last + block
            last = block[-5:]
    finally:
        stream.close()
    if not has_crs:
        return None
    before, behind, *_ = split_document_at_records(file.copy_unread(), record_form.path, keep_records=False)
    try:
        crs_value = orjson.loads(before + behind).get("crs")
    except orjson.JSONDecodeError:  # reading the records reports it
        return None
    name = crs_value
    if isinstance(crs_value, dict):
        name = crs_value.get("properties", {}).get("name")
    if isinstance(name, str):
        return name
    return None


def _is_json_record(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line.strip(b"\x1e")), dict | list)
    except orjson.JSONDecodeError:
        return False


def _detect_document_form(text: bytes) -> JsonRecordLayout:
    """Find the list in a document of a known layout; else the document is one record."""
    lists: set[tuple[str, ...]] = set()
    inner_list: tuple[str, ...] = ()
    for path, sign, end in _walk_opening_brackets(text):
        if sign == b"[":
            lists.add(path)
            if not inner_list and text[end : end + 1000].lstrip()[:1] == b"{":
                inner_list = path
            if path in _KNOWN_LIST_PATHS:
                return JsonRecordLayout(FORM_LIST, path)
            for rows, names in _ROWS_AND_NAMES_PATHS:
                if path in {rows, names} and lists >= {rows, names}:
                    return JsonRecordLayout(FORM_LIST, rows, names)
    return JsonRecordLayout(FORM_WHOLE, inner_list=inner_list)


def _walk_opening_brackets(text: bytes) -> Iterator[tuple[tuple[str, ...], bytes, int]]:
    """Yield each bracket of a document that opens outside of arrays: its path, the bracket, and the place behind it."""
    stack: list[str | None] = []  # the key at each level; None within an array
    key: bytes | None = None
    value = False
    for match in _TOKEN_PATTERN.finditer(text):
        token = match.group()
        if token == b":":
            value = True
        elif token in {b"{", b"["}:
            if stack and value and key is not None and stack[-1] is not None:
                stack[-1] = _unquote_key(key)
            if None not in stack:
                yield tuple(map(str, stack)), token, match.end()
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


def _unquote_key(key: bytes) -> str:
    try:
        return str(orjson.loads(key))
    except orjson.JSONDecodeError:
        return key.decode(errors="replace")


def _strip_byte_order_mark(data: bytes, file: JsonDocument) -> bytes:
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise SourceError(
            "the file is in UTF-16, but JSON must be in UTF-8",
            place=TextPlace(file=file.name, line=1),
            remedy="save the file as UTF-8",
        )
    return data.removeprefix(b"\xef\xbb\xbf")


def read_records(file: JsonDocument, record_form: JsonRecordLayout) -> Iterator[JsonRecordChunk]:
    """Read the records of a file, once, from front to end.

    Parameters
    ----------
    file
        The document.
    record_form
        Where the records stand in it.

    Yields
    ------
    Chunks of records.

    Raises
    ------
    SourceError
        It ends in the middle of a record or before its list is closed; it has no list at the path; a record has no end.
        With the line.
    """
    stream = file.open_stream()
    try:
        cutter = _RecordCutter(file, record_form)
        while True:
            data = stream.read(
                max(BLOCK_BYTES, len(cutter.remainder))
            )  # a record longer than a block: twice as much each time
            yield from cutter.cut_records(data)
            if not data or cutter.is_over:
                break
        while stream.read(1 << 20):
            pass
        file.read_to_end()
    finally:
        stream.close()


class _RecordCutter:
    """Cuts bytes into records, whatever the pieces they come in."""

    def __init__(self, file: JsonDocument, form: JsonRecordLayout) -> None:
        self.file = file
        self.form = form
        self.remainder = b""
        self.line = 1
        self.number = 1
        self.is_over = False
        self.has_begun = False
        self.is_inside_list = form.kind != FORM_LIST
        self.text_before = self.text_behind = b""  # of the list

    def cut_records(self, data: bytes) -> Iterator[JsonRecordChunk]:
        """Yield the records that are whole by now; `data` empty: this is the end."""
        end = not data
        data = self.remainder + data
        if not self.has_begun:
            data = _strip_byte_order_mark(data, self.file)
            self.has_begun = True
        if not self.is_inside_list:
            start = find_list_start(data, self.form.path)
            if start is None:
                self.remainder = data
                self._refuse_missing_list(is_end=end)
                return
            self.line += data.count(b"\n", 0, start)
            self.text_before = data[:start]
            data = data[start:]
            self.is_inside_list = True
        if self.form.kind == FORM_LINES:
            yield from self._cut_lines(data, is_end=end)
        else:
            yield from self._cut_by_structure(data, is_end=end)
        if len(self.remainder) > MAX_RECORD_BYTES:
            raise self._build_error(
                f"record {self.number:,} is longer than {MAX_RECORD_BYTES >> 20} MB",
                "close all brackets and quotes, or set `records` to the path of the list of records",
            )

    def _refuse_missing_list(self, *, is_end: bool) -> None:
        path = ".".join(self.form.path)
        if not is_end and len(self.remainder) <= MAX_RECORD_BYTES:
            return
        brackets = _walk_opening_brackets(self.remainder)
        list_paths = sorted({".".join(list_path) for list_path, sign, _ in brackets if sign == b"[" and list_path})
        complaint = f"has no list {path!r}" if path else "is not a list"
        remedy = "check the file"
        if list_paths:
            remedy = f"set `records` to one of {', '.join(list_paths[:8])}"
        raise SourceError(f"the document {complaint}", place=TextPlace(file=self.file.name), remedy=remedy)

    def _cut_lines(self, data: bytes, *, is_end: bool) -> Iterator[JsonRecordChunk]:
        if is_end:
            stop = len(data)
        else:
            stop = data.rfind(b"\n") + 1
        complete_lines = data[:stop]
        self.remainder = data[stop:]
        if not complete_lines:
            return
        marks = np.flatnonzero(np.frombuffer(complete_lines, np.uint8) == 10) + 1
        if is_end and complete_lines[-1:] != b"\n":
            self._refuse_incomplete_last_line(complete_lines[complete_lines.rfind(b"\n") + 1 :])
            marks = np.append(marks, len(complete_lines))
        starts = np.concatenate([[0], marks[:-1]])
        short = np.flatnonzero(marks - starts <= 8)
        empty = [at for at in short if not complete_lines[starts[at] : marks[at]].strip(b" \t\r\n\x1e")]
        yield from self._build_records(complete_lines, starts, marks, empty)

    def _refuse_incomplete_last_line(self, last: bytes) -> None:
        """Refuse a last line without an end that breaks off in a record."""
        text = last.strip(b" \t\r\x1e")
        if not text or _is_json_record(text):
            return
        open_count = text.count(b"{") + text.count(b"[")
        if open_count > text.count(b"}") + text.count(b"]"):
            end_text = text[-40:].decode(errors="replace")
            raise SourceError(
                f"the file ends in the middle of its last record: {end_text!r}",
                place=TextPlace(file=self.file.name),
                remedy="download the file again; it is truncated",
            )

    def _cut_by_structure(self, data: bytes, *, is_end: bool) -> Iterator[JsonRecordChunk]:
        array = np.frombuffer(data, np.uint8)
        places, codes, depth = _scan_structure(array)
        if self.form.kind == FORM_LIST:
            ends = self._find_record_ends_in_list(data, places, codes, depth)
            if is_end and not self.is_over:
                raise self._build_error(
                    f"the file ends in the middle of its list, in record {self.number + len(ends):,}",
                    "download the file again; it is truncated",
                )
            next_starts = ends + 1
        else:
            if len(depth) and depth.min() < 0:
                raise self._build_error("there is a closing bracket without an opening bracket", "check the file")
            ends = places[(codes == _CLOSE_CODE) & (depth == 0)] + 1
            next_starts = ends
        starts = np.zeros(0, np.int64)
        consumed = 0
        if len(ends):
            starts = np.concatenate([[0], next_starts[:-1]])
            consumed = int(next_starts[-1])
        if is_end and self.form.kind != FORM_LIST and data[consumed:].strip(b" \t\r\n\x1e,"):
            raise self._build_error(
                f"the file ends in the middle of record {self.number + len(ends):,}",
                "download the file again; it is truncated",
            )
        if self.is_over:
            self.remainder = b""
        else:
            self.remainder = data[consumed:]
        if not len(ends):
            return
        is_empty_list = self.is_over and len(ends) == 1 and not data[: ends[0]].strip(b" \t\r\n")
        yield from self._build_records(data[:consumed], starts, ends, [0] if is_empty_list else [])

    def _find_record_ends_in_list(self, data: bytes, places: Any, codes: Any, depth: Any) -> Any:
        """Find the commas behind the records of the list, and its closing bracket, which ends the list."""
        closed = np.flatnonzero(depth < 0)[:1]
        stop = len(places)
        if len(closed):
            stop = int(closed[0])
        is_separator = (codes[:stop] == _COMMA_CODE) & (depth[:stop] == 0)
        ends = places[:stop][is_separator]
        if len(closed):
            self.is_over = True
            self.text_behind = data[places[stop] :]
            ends = np.append(ends, places[stop])
        return ends

    def _build_records(self, data: bytes, starts: Any, ends: Any, empty: Sequence[Any]) -> Iterator[JsonRecordChunk]:
        """Lay an array of texts over the bytes; separators between records become blanks."""
        line = self.line
        self.line += data.count(b"\n")
        offsets = np.append(starts, ends[-1]).astype(np.int32)
        bytes_ = np.frombuffer(data, np.uint8)
        if self.form.kind != FORM_LINES:
            bytes_ = bytes_.copy()
            separators = bytes_[ends[:-1]]
            bytes_[ends[:-1]] = np.where(separators == ord(","), ord(" "), separators)
        if b"\x1e" in data:
            bytes_ = np.where(bytes_ == 0x1E, np.uint8(32), bytes_)
        buffers = (pa.py_buffer(offsets), pa.py_buffer(bytes_.tobytes()))
        texts = pa.StringArray.from_buffers(len(starts), *buffers)
        if len(empty):
            keep = np.ones(len(starts), bool)
            keep[list(empty)] = False
            texts = texts.filter(pa.array(keep))
            starts = starts[keep]
        if len(texts):
            first = self.number
            self.number = self.number + len(texts)
            yield JsonRecordChunk(texts, first, data, np.asarray(starts, np.int64), line)

    def _build_error(self, message: str, remedy: str) -> SourceError:
        blank = len(self.remainder) - len(self.remainder.lstrip())
        line = self.line + self.remainder.count(b"\n", 0, blank)
        return SourceError(message, place=TextPlace(file=self.file.name, line=line), remedy=remedy)


def _scan_structure(array: npt.NDArray[np.uint8]) -> tuple[Any, Any, Any]:
    """Find brackets and commas outside of strings, and the depth after each; the text begins outside of any."""
    codes = np.take(_STRUCTURE_CODES, array)
    places = np.flatnonzero(codes != 0)
    codes = codes[places]
    quotes = real = codes == _QUOTE_CODE
    if (array == 0x5C).any():
        at = places[quotes]
        escaped = np.zeros(len(at), bool)
        after = at > 0
        escaped[after] = array[at[after] - 1] == 0x5C
        if escaped.any():  # by an odd number of backslashes
            unescaped_places = np.where(array == 0x5C, -1, np.arange(len(array)))
            last = np.maximum.accumulate(unescaped_places)
            before = at[escaped] - 1
            escaped[escaped] = (before - last[before]) % 2 == 1
        real = quotes.copy()
        real[quotes] = ~escaped
    quotes_before = np.cumsum(real, dtype=np.uint8)  # counted modulo 256
    outside = (quotes_before & 1 == 0) & ~quotes
    places = places[outside]
    codes = codes[outside]
    depth = np.cumsum(np.take(_DEPTH_STEPS, codes), dtype=np.int64)
    return places, codes, depth


def find_list_start(data: bytes, path: Sequence[str]) -> int | None:
    """Find where the list at a path begins: the place behind its bracket; None if it is not there (yet).

    Parameters
    ----------
    data
        The bytes of a document, or of its beginning.
    path
        Keys that lead to the list.

    Returns
    -------
    position
        Position in `data`; None if the list does not begin in it.
    """
    list_path = tuple(path)
    brackets = _walk_opening_brackets(data)
    return next((end for walked, sign, end in brackets if sign == b"[" and walked == list_path), None)


def _find_list_end(head: bytes, start: int) -> int:
    """Find the bracket that closes the list whose elements begin at `start`."""
    depth = 0
    for match in _TOKEN_PATTERN.finditer(head, start):
        if match.group() in {b"[", b"{"}:
            depth += 1
        elif match.group() in {b"]", b"}"}:
            if not depth:
                return match.start()
            depth -= 1
    return len(head)


def read_column_names(file: JsonDocument, path: Sequence[str]) -> list[str]:
    """Read the list of names beside the records of a document."""
    stream = file.open_stream()
    try:
        head = _strip_byte_order_mark(stream.read(HEAD_BYTES), file)
    finally:
        stream.close()
    start = find_list_start(head, path)
    items: list[Any] = []
    if start is not None:
        try:
            items = orjson.loads(b"[" + head[start : _find_list_end(head, start)] + b"]")
        except orjson.JSONDecodeError:
            return []
    names: list[str] = []
    for item in items:
        name = item
        if isinstance(item, dict):
            name = item.get("name")
        if name is not None:
            names.append(str(name))
    return names
