"""The VOTable reader: an XML parser for the metadata; the rows, wherever they are, go past it in big pieces.

The parser is fed up to the tag that opens TABLEDATA or STREAM and again from the tag that closes it, so that neither
memory nor time goes into a tree of cells. No DTD is loaded, no entity is resolved, nothing is fetched.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import pyarrow as pa
from lxml import etree

from hven.formats import Head, Read, Refused
from hven.formats.votable import describe, rows, unpack
from hven.formats.votable.bytestream import chunks
from hven.formats.votable.foreign_types import carry_columns, find_foreign_integers, restore_columns
from hven.model.clock import check
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model import Deviation
    from hven.model.table import Column

BATCH = 65_536
_OPENING = re.compile(rb"<(?:[\w.-]+:)?(TABLEDATA|STREAM)(?=[\s/>])(?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*>")
_CLOSING = {"TABLEDATA": re.compile(rb"</(?:[\w.-]+:)?TABLEDATA\s*>"), "STREAM": re.compile(rb"<")}
_PIECE = 4 << 20  # bytes of rows that are turned into columns at once
_LONGEST = 256 << 20  # bytes of a single row that are put up with
_METADATA = 16 << 20  # bytes beside rows that are put up with: they become a tree in memory
_ELEMENTS, _FIELDS, _TAG = 250_000, 20_000, 4 << 20  # elements beside rows, columns of a table, bytes of a single tag
_WHITE = bytes(range(33))
_ROWS = ("TABLEDATA", "BINARY", "BINARY2")


def read(file: BinaryIO, table: int | str | None = None, batch: int = BATCH) -> Read:
    """Read one table of a VOTable document (1.0 to 1.5, any serialization, gzip undone) as a stream.

    Parameters
    ----------
    file
        Only read forwards; it must stay open until the batches are exhausted.
    table
        Its number in the document from 0, its name or its ID. None: the first TABLE with rows outside RESOURCEs of
        type meta, or the first one in a RESOURCE of type results, even if it is empty; without one, the first TABLE.
    batch
        Rows per batch at most.

    Returns
    -------
    The head and the batches. INFOs that stand after the rows are added to ``head.infos`` when the batches are exhausted.

    Raises
    ------
    SourceError
        Not XML, no VOTable, no such table, a service's error document (with its message), rows elsewhere (``href``),
        entity declarations; while iterating also: a value that is none, rows that break off, a QUERY_STATUS of ERROR
        after the rows.
    """
    document = _Document(file)
    found = document.find(table)
    return Read(head=found, batches=document.batches(batch), deviations=document.deviations)


class Listed(NamedTuple):
    """One TABLE of a document: its name or ID, `nrows` if that is said, whether it has rows, whether it stands in a RESOURCE of type meta."""

    name: str
    rows: int | None
    data: bool
    meta: bool


def tables(file: BinaryIO) -> list[Listed]:
    """List the tables of a document, in its order: those that ``read(file, table=number)`` gives.

    Raises
    ------
    SourceError
        Not XML, no VOTable.
    """
    return _Document(file).listed()


class _Document:
    """A document being read: where the parser stands, and what has been seen."""

    def __init__(self, file: BinaryIO) -> None:
        self._chunks = chunks(file)
        self._rest = b""  # read, not fed yet
        self._parser = etree.XMLPullParser(
            events=("start", "end"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            remove_comments=True,
            remove_pis=True,
        )
        self._open: list[Any] = []  # elements that are open, outermost first
        self._tables = 0
        self._number = -1  # of the table that is open
        self._fields = self._elements = 0  # of that table, of the document
        self._head: Head | None = None
        self._infos: list[Any] = []
        self._fed = 0
        self._ended = False
        self.deviations: list[Deviation] = []
        self._chosen = False  # whether the caller said which table
        self._resource: Any = None  # in which the table that is read stands
        self._errors: list[str] = []  # messages of QUERY_STATUS=ERROR
        self._refusals: list[str] = []  # the same in Simple Cone Search's words

    def __del__(self) -> None:
        """Cut the tree down: the parser and what is open keep each other if the document was not read to its end.

        Innermost first: lxml gives each child that is cut off its namespace, in quadratic time if all hang on it.
        """
        for element in [*reversed(self._open), *(element for _, element in self._parser.read_events())]:
            element.clear()

    # -- finding the table

    def find(self, wanted: int | str | None) -> Head:
        """Read up to the rows of the wanted table."""
        spare: Head | None = None
        seen: list[str] = []
        self._chosen = wanted is not None
        while True:
            event = self._advance()
            if event is None:
                break
            kind, element = event
            name = describe.tag(element)
            if kind == "rows":
                if self._is_wanted(wanted):
                    self._check(element)
                    if wanted is not None or self._is_result() or not self._is_empty(element):
                        self._resource = self._innermost_resource()
                        return self._found(self._describe())
                self._skip(element)
            elif name == "TABLE" and kind == "end":
                seen.append(element.get("name") or element.get("ID") or str(self._number))
                if spare is None and self._is_wanted(wanted, rows=False):
                    spare = self._describe(element)
                element.clear()
        if spare is not None:
            return self._found(spare)
        raise self._nothing(wanted, seen)

    def _found(self, head: Head) -> Head:
        """Accept a table, unless an ERROR stands before its rows or instead of them: they are not what was asked for, however few."""
        for said in self._errors:
            raise _error_answer(said)
        self._head = head
        return head

    def listed(self) -> list[Listed]:
        """Read to the end, past all rows."""
        found: list[Listed] = []
        data: set[int] = set()
        while (event := self._advance()) is not None:
            kind, element = event
            if kind == "rows":
                if self._is_result() or not self._is_empty(element):
                    data.add(self._number)
                self._skip(element)
            elif kind == "end" and describe.tag(element) == "TABLE":
                rows = element.get("nrows") or ""
                meta = any(place.get("type") == "meta" for place in self._open if describe.tag(place) == "RESOURCE")
                name = element.get("name") or element.get("ID") or ""
                found.append(Listed(name, int(rows) if rows.isdecimal() else None, self._number in data, meta))
                element.clear()
        return found

    def _nothing(self, wanted: int | str | None, seen: list[str]) -> SourceError:
        for said in (*self._errors, *self._refusals):
            return _error_answer(said)
        if wanted is not None and seen:
            return SourceError(f"the document has no table {wanted!r}", remedy=f"there are: {', '.join(seen)}")
        return SourceError("the document has no TABLE")

    def _is_wanted(self, wanted: int | str | None, *, rows: bool = True) -> bool:
        """Decide whether the table that is open (or, without rows, has just ended) is wanted."""
        if wanted is None:
            return not rows or all(
                place.get("type") != "meta" for place in self._open if describe.tag(place) == "RESOURCE"
            )
        if isinstance(wanted, int):
            return wanted == self._number
        return wanted in {self._table.get("name"), self._table.get("ID")}

    def _innermost_resource(self) -> Any:
        return next((place for place in reversed(self._open) if describe.tag(place) == "RESOURCE"), None)

    def _check_other_table(self, element: Any, head: Head) -> None:
        """Refuse a document whose rows go on in a second TABLE with other FIELDs, where nobody said which of them is meant."""
        if self._chosen or self._resource is None or self._innermost_resource() is not self._resource:
            return
        name = self._table.get("name") or self._table.get("ID")
        if self._is_empty(element) or (name is not None and head.name is not None and name != head.name):
            return  # a table of its own
        names = {
            (field.get("name") or field.get("ID") or "").lower() for field in describe.children(self._table, "FIELD")
        }
        known = {column.name.lower() for column in head.columns}
        if 2 * len(names & known) >= len(names | known):
            message = f"line {self._table.sourceline}: a second TABLE with rows begins, whose FIELDs are mostly those of the first: its rows would be missing"
            raise SourceError(
                message,
                remedy="if the tables are different ones, say which is meant (`table:`, its number from 0, name or ID); else get a document with all rows in one TABLE",
            )

    def _is_result(self) -> bool:
        """Check whether the table that is open stands in a RESOURCE of type results: it is the answer, even without rows."""
        return any(place.get("type") == "results" for place in self._open if describe.tag(place) == "RESOURCE")

    def _is_empty(self, element: Any) -> bool:
        """Look ahead whether rows follow the opening tag just read."""
        if element.get("href"):
            return False
        while not (rest := self._rest.lstrip()):
            more = next(self._chunks, b"")
            if not more:
                return True
            self._rest += more
        return rest.startswith(b"</")

    def _describe(self, table: Any = None) -> Head:
        above = [place for place in self._open if describe.tag(place) in {"VOTABLE", "RESOURCE"}]
        found = describe.head(self._table if table is None else table, above)
        self._infos = found.infos if isinstance(found.infos, list) else []
        return found

    def _check(self, element: Any) -> None:
        """Refuse what is not read: rows in another file, FITS, Parquet, rows without FIELDs."""
        place = self._serialization(element)
        if place not in _ROWS:
            message = f"line {element.sourceline}: rows as {place} are not read from a VOTable"
            raise SourceError(message, remedy=f"read the {place} file itself")
        if element.get("href"):
            message = (
                f"line {element.sourceline}: the rows are in another file ({element.get('href')}), which is not fetched"
            )
            raise SourceError(message, remedy="use a document that holds its rows")
        if element.get("encoding", "base64").lower() != "base64":
            message = f"line {element.sourceline}: STREAM has encoding={element.get('encoding')!r}; only base64 is read"
            raise SourceError(message)

    def _serialization(self, element: Any) -> str:
        name = describe.tag(element)
        return name if name == "TABLEDATA" else describe.tag(element.getparent())

    # -- feeding the parser

    def _advance(self) -> tuple[str, Any] | None:
        """Return the next event: start, end, or ``rows`` when the opening tag of rows has just been read; None at the end."""
        while True:
            for kind, element in self._parser.read_events():
                self._note(kind, element)
                name = describe.tag(element)
                if (
                    kind == "start"
                    and name in {"TABLEDATA", "STREAM"}
                    and any(describe.tag(place) == "TABLE" for place in self._open)
                ):
                    return "rows", element
                return kind, element
            if not self._feed():
                return None

    def _feed(self) -> bool:
        """Feed the parser up to the next tag that opens rows, or as far as there is anything; False at the end."""
        if self._ended:
            return False
        if not self._rest:
            self._rest = next(self._chunks, b"")
        if not self._rest:
            self._ended = True
            self._close()
            return True
        opening = _OPENING.search(self._rest)
        if opening is not None:
            piece, self._rest = self._rest[: opening.end()], self._rest[opening.end() :]
        else:
            cut = self._rest.rfind(b"<")
            if cut < 0 or self._rest.find(b">", cut) >= 0:
                cut = len(self._rest)
            # a tag that the chunk's end cuts in two waits for its other half, alone: what stands before it is not looked at again
            piece, self._rest = self._rest[:cut], self._rest[cut:]
            if not piece:
                if len(self._rest) > _TAG:
                    message = f"the document has a tag or comment of more than {_TAG >> 20} MiB"
                    raise SourceError(message)
                more = next(self._chunks, b"")
                if more:
                    self._rest += more
                    return True
                piece, self._rest = self._rest, b""
        self._parse(piece)
        return True

    def _parse(self, piece: bytes) -> None:
        check()
        self._fed += len(piece)
        if self._fed > _METADATA:
            message = f"the document has more than {_METADATA >> 20} MiB beside its rows"
            raise SourceError(message)
        try:
            self._parser.feed(piece)
        except etree.XMLSyntaxError as error:
            raise _not_xml(error) from error

    def _close(self) -> None:
        try:
            self._parser.close()
        except etree.XMLSyntaxError as error:
            raise _not_xml(error) from error

    def _note(self, kind: str, element: Any) -> None:
        """Keep the list of open elements, and look at what matters wherever it stands."""
        name = describe.tag(element)
        if kind == "start":
            if not self._open:
                _check_root(element)
            self._open.append(element)
            self._count(name)
            if name == "TABLE":
                self._number = self._tables
                self._tables += 1
                self._table = element
            return
        self._open.pop()
        if name in {"INFO", "PARAM"} and element.get("name") == "Error":  # Simple Cone Search 1.03 section 2.3
            self._refusals.append((element.get("value") or "").strip() or "no message")
        if name != "INFO":
            return
        if (element.get("name") or "").upper() == "QUERY_STATUS" and (element.get("value") or "").upper() == "ERROR":
            self._errors.append("".join(element.itertext()).strip() or "no message")
        if self._head is not None:
            self._infos.append(describe.info(element))

    def _count(self, name: str) -> None:
        """Count elements as they come: a list of columns without end is not read to its end."""
        self._elements += 1
        self._fields = 0 if name == "TABLE" else self._fields + (name == "FIELD")
        for count, most, what in (
            (self._fields, _FIELDS, "columns in a table"),
            (self._elements, _ELEMENTS, "elements beside its rows"),
        ):
            if count > most:
                message = f"the document has more than {most:,} {what}"
                raise SourceError(message)

    # -- rows

    def _raw(self, element: Any) -> Iterator[bytes]:
        """Yield the bytes between the opening tag just read and its closing tag, which stays unread."""
        if self._is_closed(element):
            return
        closing = _CLOSING[describe.tag(element)]
        keep = 32  # a closing tag is no longer, unless its prefix is
        while True:
            found = closing.search(self._rest)
            if found is not None:
                piece, self._rest = self._rest[: found.start()], self._rest[found.start() :]
                if piece:
                    yield piece
                return
            if len(self._rest) > keep:
                piece, self._rest = self._rest[:-keep], self._rest[-keep:]
                yield piece
            more = next(self._chunks, b"")
            if not more:
                raise SourceError("the document breaks off within its rows")
            self._rest += more

    def _is_closed(self, element: Any) -> bool:
        """Return whether the tag was ``<TABLEDATA/>``: then its end has been read already."""
        for kind, other in self._parser.read_events():
            self._note(kind, other)
            if other is element and kind == "end":
                return True
        return False

    def _skip(self, element: Any) -> None:
        for _ in self._raw(element):
            pass

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows, then read the document to its end."""
        head = self._head
        if head is None:
            return
        element = self._open[-1] if self._open and describe.tag(self._open[-1]) in {"TABLEDATA", "STREAM"} else None
        columns = list(head.columns)
        schema = pa.schema([column.arrow.with_nullable(True) for column in columns])
        if element is not None and not columns:
            self._expect_none(element)
        elif element is not None:
            text = describe.tag(element) == "TABLEDATA"
            source = self._tabledata(element, columns) if text else self._binary(element, columns)
            for arrays in source:
                whole = pa.RecordBatch.from_arrays(arrays, schema=schema)
                for start in range(0, whole.num_rows, size):
                    yield whole.slice(start, size)
        while (event := self._advance()) is not None:
            kind, other = event
            if kind == "rows":
                self._check_other_table(other, head)
                self._skip(other)
            elif kind == "end" and describe.tag(other) in {"TABLE", "RESOURCE"}:
                other.clear()
        if self._errors:
            message = f"the service that wrote the document broke off: {self._errors[-1]}"
            raise Refused(message)

    def _expect_none(self, element: Any) -> None:
        """Pass over the rows of a table without FIELDs: there may be none."""
        for piece in self._raw(element):
            if piece.strip():
                raise SourceError("the table has rows, but no FIELD says what they are")

    def _tabledata(self, element: Any, columns: list[Column]) -> Iterator[list[pa.Array]]:
        prefix = f"{element.prefix}:".encode() if element.prefix else b""
        last = b"</" + prefix + b"TR>"
        waiting: list[bytes] = []
        size = done = 0
        enough = _PIECE
        for piece in self._raw(element):
            waiting.append(piece)
            size += len(piece)
            if size < enough:
                continue
            text = b"".join(waiting)
            cut = text.rfind(last)
            if cut < 0:
                waiting, enough = [text], _enough(size, done)
                continue
            cut += len(last)
            for arrays in self._cells(text[:cut], columns, prefix, done):
                done += len(arrays[0])
                yield arrays
            waiting, size, enough = [text[cut:]], len(text) - cut, _PIECE
        text = b"".join(waiting)
        if text.strip():
            for arrays in self._cells(text, columns, prefix, done):
                if len(arrays[0]):
                    yield arrays

    def _cells(self, text: bytes, columns: list[Column], prefix: bytes, done: int) -> Iterator[list[pa.Array]]:
        """Convert whole rows to values; few at once where a row takes much more memory than text: an empty cell may be a huge array."""
        try:
            texts = rows.cells(text, columns, prefix, done)
            step = max(1, _PIECE * 8 // sum(_width(column.type.arrow) for column in columns))
            for start in range(0, max(len(texts[0]), 1), step):
                yield rows.typed([cell.slice(start, step) for cell in texts], columns, done + start, self.deviations)
        except pa.ArrowInvalid as error:
            message = f"TABLEDATA is not UTF-8 after row {done}"
            raise SourceError(message) from error

    def _binary(self, element: Any, columns: list[Column]) -> Iterator[list[pa.Array]]:
        foreign = find_foreign_integers(describe.children(self._table, "FIELD"))
        unpacker = unpack.Unpacker(carry_columns(columns, foreign), self._serialization(element))
        bytes_left = b""
        waiting: list[bytes] = []
        size = done = 0
        enough = _PIECE
        for data, final in _paired(self._decoded(element)):
            waiting.append(data)
            size += len(data)
            if size < enough and not final:
                continue
            bytes_left = b"".join(waiting)
            arrays, count, used = unpacker.unpack(bytes_left, done)
            bytes_left = bytes_left[used:]
            waiting, size = [bytes_left], len(bytes_left)
            done += count
            enough = _PIECE if count else _enough(size, done)
            if count:
                yield restore_columns(arrays, columns, foreign)
        if bytes_left:
            message = f"the rows break off within row {done + 1}"
            raise SourceError(message)

    def _decoded(self, element: Any) -> Iterator[bytes]:
        """Undo base64, in whole groups of four."""
        left = b""
        for piece in self._raw(element):
            text = left + piece.translate(None, _WHITE)
            whole = len(text) // 4 * 4
            left = text[whole:]
            yield _base64(text[:whole])
        if left:
            yield _base64(left + b"=" * (-len(left) % 4))


def _error_answer(said: str) -> Refused:
    message = f"the document is a service's error answer: {said}"
    return Refused(message)


def _enough(size: int, done: int) -> int:
    """Compute how many bytes there must be before the end of a long row is looked for again: twice as many, so that all looks together cost two."""
    if size > _LONGEST:
        message = f"row {done + 1} has more than {_LONGEST >> 20} MiB"
        raise SourceError(message)
    return 2 * size


def _width(kind: pa.DataType) -> int:
    """Return the bytes that a value takes at least."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * _width(kind.value_type)
    return kind.bit_width // 8 + 1 if pa.types.is_primitive(kind) else 4


def _base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=b"=" not in text)
    except binascii.Error as error:
        message = f"STREAM is not base64: {error}"
        raise SourceError(message) from error


def _paired(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Mark of each piece whether it is the last."""
    held: bytes | None = None
    for piece in pieces:
        if held is not None:
            yield held, False
        held = piece
    if held is not None:
        yield held, True


def _check_root(element: Any) -> None:
    dtd = element.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise SourceError(
            "the document declares entities, which a VOTable has no use for", remedy="write the text itself"
        )
    name = describe.tag(element)
    if name != "VOTABLE":
        message = f"the document is no VOTable: its root element is {name}"
        raise SourceError(message)


def _not_xml(error: etree.XMLSyntaxError) -> SourceError:
    line, column = error.position
    message = f"line {line}, column {column}: the document is not well-formed XML: {error.msg[:200]}"
    return SourceError(message)
