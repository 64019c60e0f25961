"""The text of TABLEDATA into columns of cells: by numpy over the bytes where it is plain, by an XML parser where it is not."""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from hven.formats.votable.unpack import Unpacker
from hven.model import Deviation, DeviationKind, add_deviation, literal
from hven.model.clock import check
from hven.model.errors import SourceError
from hven.model.literal import characters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Column

_ENTITY = re.compile(rb"&[^;&<\s]{1,32};")
_NAMED = {b"&lt;": "<", b"&gt;": ">", b"&quot;": '"', b"&apos;": "'"}
_STEP = 1 << 16  # bytes that are parsed at once
_LT, _GT, _SLASH, _T, _D, _R = (ord(mark) for mark in "<>/TDR")


def cells(text: bytes, columns: Sequence[Column], prefix: bytes, first: int) -> list[pa.Array]:
    """Split whole rows into string columns.

    Parameters
    ----------
    text
        Complete ``<TR>...</TR>`` elements in UTF-8, with anything XML allows between them.
    prefix
        The elements' namespace prefix with its colon, or nothing.
    first
        Number of rows before these, for messages.

    Raises
    ------
    SourceError
        Not well-formed, or a row has more cells than there are FIELDs.
    """
    found = None if prefix or b"<!" in text or b"<?" in text else _plain(text, len(columns))
    return found if found is not None else _parsed(text, columns, prefix, first)


def _plain(text: bytes, count: int) -> list[pa.Array] | None:
    """Split text that holds nothing but bare TR and TD tags and cells; None if it holds anything else."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = np.frombuffer(text, np.uint8)
    opens, closes = np.flatnonzero(raw == _LT), np.flatnonzero(raw == _GT)
    if len(opens) != len(closes) or not len(opens) or (closes < opens).any() or (opens[1:] < closes[:-1]).any():
        return None
    size = closes - opens + 1
    if size.min() < 4:
        return None
    ending = raw[opens + 1] == _SLASH
    letter = raw[opens + 2 + ending]  # D or R, if the tag begins with T
    if (raw[opens + 1 + ending] != _T).any() or ((letter != _D) & (letter != _R)).any():
        return None
    empty = ~ending & (raw[closes - 1] == _SLASH)
    bare = np.where(ending, size == 5, np.where(empty, size <= 6, size == 4))
    if not bare.all() or (empty & (letter == _R)).any() or (empty & (size == 6) & (raw[opens + 3] > 32)).any():
        return None
    return _columns(text, raw, opens, closes, (letter == _D), ending, empty, count)


def _columns(
    text: bytes,
    raw: np.ndarray[Any, Any],
    opens: np.ndarray[Any, Any],
    closes: np.ndarray[Any, Any],
    cell: np.ndarray[Any, Any],
    ending: np.ndarray[Any, Any],
    empty: np.ndarray[Any, Any],
    count: int,
) -> list[pa.Array] | None:
    """Cut out the cells between their tags, if every row is TR, `count` times TD, /TR."""
    begin = cell & ~ending
    row_end = ~cell & ending
    at = np.flatnonzero(begin)
    follows = at + ~empty[at]  # the tag that ends the cell
    if follows[-1:] >= len(opens) or not (cell & ending)[follows[~empty[at]]].all():
        return None
    rows = int(row_end.sum())
    if len(at) != rows * count or int((cell & ending).sum() + empty.sum()) != len(at):
        return None
    tags_per_row = np.diff(np.concatenate([[-1], np.flatnonzero(row_end)]))
    cells_per_row = (
        np.add.reduceat(begin, np.concatenate([[0], np.flatnonzero(row_end)[:-1] + 1])) if rows else np.zeros(0)
    )
    if (cells_per_row != count).any() or tags_per_row.sum() != len(opens):
        return None
    starts = closes[at] + 1
    stops = np.where(empty[at], starts, opens[follows])
    step = np.zeros(len(raw) + 1, np.int8)
    some = stops > starts
    step[starts[some]] = 1
    step[stops[some]] -= 1
    data = raw[np.cumsum(step[:-1], dtype=np.int8).view(np.bool_)]
    offsets = np.zeros(len(at) + 1, np.int32)
    np.cumsum(stops - starts, out=offsets[1:])
    every = pa.Array.from_buffers(pa.string(), len(at), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    if not text.isascii():
        every.validate(full=True)
    index = np.arange(rows, dtype=np.int64) * count
    columns = [every.take(pa.array(index + number)) for number in range(count)]
    return [_unescape(column) for column in columns] if b"&" in text else columns


def _unescape(column: pa.Array) -> pa.Array:
    """Replace entities; ``&amp;`` last, so that ``&amp;lt;`` stays ``&lt;``."""
    data = characters(column).tobytes()
    if b"&" not in data:
        return column
    late = []
    for entity in sorted(set(_ENTITY.findall(data))):
        plain = _NAMED.get(entity) or _reference(entity)
        if plain == "&":
            late.append(entity)
        else:
            column = pc.replace_substring(column, entity.decode(), plain)
    mark = "\ufdd0"  # a noncharacter, so no text holds it
    for entity in late:
        column = pc.replace_substring(column, entity.decode(), mark)
    if pc.any(pc.match_substring(column, "&")).as_py():
        raise SourceError("TABLEDATA holds an & that is no entity")
    return pc.replace_substring(column, mark, "&")


def _reference(entity: bytes) -> str:
    if entity == b"&amp;":
        return "&"
    body = entity[1:-1]
    try:
        if body[:1] == b"#":
            return chr(int(b"0" + body[1:], 16) if body[1:2] == b"x" else int(body[1:]))
    except (ValueError, OverflowError):
        pass
    message = f"TABLEDATA holds the entity {entity.decode(errors='replace')}, which nothing defines"
    raise SourceError(message)


def _parsed(text: bytes, columns: Sequence[Column], prefix: bytes, first: int) -> list[pa.Array]:
    """Split any well-formed rows: comments, CDATA, attributes, missing cells."""
    name = prefix[:-1].decode()
    space = f" xmlns:{name}='x'" if name else ""
    found: list[list[str]] = [[] for _ in columns]
    number = first
    try:
        for row in _elements(f"<T{space}>".encode(), text, b"</T>"):
            number += 1
            if len(row) > len(columns):
                message = f"row {number} has {len(row)} cells, but the table has {len(columns)} FIELDs"
                raise SourceError(message)
            got = [_cell(cell, number, column) for cell, column in zip(row, columns, strict=False)]
            for texts, value in zip(found, got + [""] * (len(columns) - len(got)), strict=True):
                texts.append(value)
    except etree.XMLSyntaxError as error:
        message = f"TABLEDATA is not well-formed after row {first}: {error.msg[:200]}"
        raise SourceError(message) from error
    return [pa.array(texts, pa.string()) for texts in found]


def _elements(*pieces: bytes) -> Iterator[Any]:
    """Parse a little at a time, so that nobody else waits; yield the rows, each forgotten when the next is asked for."""
    parser = etree.XMLPullParser(
        events=("end",), tag="{*}TR", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True, huge_tree=True
    )  # fmt: skip
    element: Any
    for piece in pieces:
        for at in range(0, len(piece), _STEP):
            check()
            parser.feed(piece[at : at + _STEP])
            for _, element in parser.read_events():
                if (root := element.getparent()) is not None and root.getparent() is None:
                    yield element
                    root.remove(element)
    for other in parser.close():
        message = f"TABLEDATA holds <{other.tag:.80}>, which is no row"
        raise SourceError(message)


def _cell(cell: Any, row: int, column: Column) -> str:
    if len(cell):
        message = f"row {row} holds an element or entity inside a cell"
        raise SourceError(message)
    encoding = cell.get("encoding", "none")
    if encoding == "base64":
        return _encoded(cell.text or "", row, column)
    if encoding != "none":
        message = f"row {row} has a cell with encoding={encoding!r}, which is not supported"
        raise SourceError(message)
    return cell.text or ""


def _encoded(text: str, row: int, column: Column) -> str:
    """Read a cell that holds the base64 of its BINARY form (VOTable 1.1 section 5.1, later dropped)."""
    plain = column.having(null=None)
    try:
        arrays, count, _ = Unpacker([plain], "BINARY").unpack(binascii.a2b_base64(text), row - 1)
    except binascii.Error as error:
        message = f"row {row}, column {column.name!r}: the cell is not base64: {error}"
        raise SourceError(message) from error
    if count != 1 or (pa.types.is_nested(arrays[0].type) and column.type.datatype in {"char", "unicodeChar"}):
        message = f"row {row}, column {column.name!r}: the cell's base64 holds no value of type {column.type.datatype}"
        raise SourceError(message)
    return literal.text(arrays[0], column.type, null=column.null or "")[0].as_py() or ""


def typed(
    texts: Sequence[pa.Array], columns: Sequence[Column], first: int, deviations: list[Deviation]
) -> list[pa.Array]:
    """Read the cells as values; whole numbers that a double does not hold exactly are reported.

    Raises
    ------
    SourceError
        A cell is no value of its type: names row and column.
    """
    arrays = []
    for text, column in zip(texts, columns, strict=True):
        try:
            values = literal.values(text, column.type, column.null)
            arrays.append(values)
            if pa.types.is_float64(values.type) and (flags := literal.find_rounded(text, values)) is not None:
                at = int(flags.argmax())
                told = Deviation(
                    kind=DeviationKind.PRECISION,
                    column=column.name,
                    count=int(flags.sum()),
                    row=first + at + 1,
                    value=text[at].as_py(),
                    message="whole numbers beyond 2^53 are rounded in a field of doubles",
                    remedy="declare the FIELD as long",
                )
                add_deviation(deviations, told)
        except literal.BadLiteral as error:
            message = f"row {first + error.row + 1}, column {column.name!r}: {error}"
            raise SourceError(message) from error
    return arrays


__all__ = ["cells", "typed"]
