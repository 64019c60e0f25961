"""The text of TABLEDATA into columns of cells.

By numpy over the bytes where it is plain, by an XML parser where it is not.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from hven.formats.votable.binary_reader import BinaryDecoder
from hven.model import Deviation, DeviationKind, add_deviation, literal
from hven.model.deadlines import check_deadline
from hven.model.errors import SourceError
from hven.model.literal import view_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Column

_ENTITY_PATTERN = re.compile(rb"&[^;&<\s]{1,32};")
_PREDEFINED_ENTITIES = {b"&lt;": "<", b"&gt;": ">", b"&quot;": '"', b"&apos;": "'"}
_PARSE_STEP_BYTES = 1 << 16  # bytes that are parsed at once
_LT_CODE, _GT_CODE, _SLASH_CODE, _T_CODE, _D_CODE, _R_CODE = (ord(mark) for mark in "<>/TDR")


def split_rows(text: bytes, columns: Sequence[Column], prefix: bytes, rows_before: int) -> list[pa.Array]:
    """Split whole rows into string columns.

    Parameters
    ----------
    text
        Complete ``<TR>...</TR>`` elements in UTF-8, with anything XML allows between them.
    prefix
        The elements' namespace prefix with its colon, or nothing.
    rows_before
        Number of rows before these, for messages.

    Raises
    ------
    SourceError
        Not well-formed, or a row has more cells than there are FIELDs.
    """
    if prefix or b"<!" in text or b"<?" in text:
        columns_of_text = None
    else:
        columns_of_text = _split_plain_rows(text, len(columns))
    if columns_of_text is not None:
        return columns_of_text
    return _parse_rows(text, columns, prefix, rows_before)


def _split_plain_rows(text: bytes, column_count: int) -> list[pa.Array] | None:
    """Split text that holds nothing but bare TR and TD tags and cells; None if it holds anything else."""
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = np.frombuffer(text, np.uint8)
    opens = np.flatnonzero(raw == _LT_CODE)
    closes = np.flatnonzero(raw == _GT_CODE)
    if len(opens) != len(closes) or not len(opens) or (closes < opens).any() or (opens[1:] < closes[:-1]).any():
        return None
    size = closes - opens + 1
    if size.min() < 4:
        return None
    is_closing_tag = raw[opens + 1] == _SLASH_CODE
    tag_letters = raw[opens + 2 + is_closing_tag]  # D or R, if the tag begins with T
    if (raw[opens + 1 + is_closing_tag] != _T_CODE).any() or (
        (tag_letters != _D_CODE) & (tag_letters != _R_CODE)
    ).any():
        return None
    is_empty_tag = ~is_closing_tag & (raw[closes - 1] == _SLASH_CODE)
    is_bare_tag = np.where(is_closing_tag, size == 5, np.where(is_empty_tag, size <= 6, size == 4))
    if (
        not is_bare_tag.all()
        or (is_empty_tag & (tag_letters == _R_CODE)).any()
        or (is_empty_tag & (size == 6) & (raw[opens + 3] > 32)).any()
    ):
        return None
    return _cut_columns(text, raw, opens, closes, (tag_letters == _D_CODE), is_closing_tag, is_empty_tag, column_count)


def _cut_columns(
    text: bytes,
    raw: np.ndarray[Any, Any],
    opens: np.ndarray[Any, Any],
    closes: np.ndarray[Any, Any],
    is_cell_tag: np.ndarray[Any, Any],
    is_closing_tag: np.ndarray[Any, Any],
    is_empty_tag: np.ndarray[Any, Any],
    column_count: int,
) -> list[pa.Array] | None:
    """Cut out the cells between their tags, if every row is TR, `column_count` times TD, /TR."""
    is_cell_start = is_cell_tag & ~is_closing_tag
    is_row_end = ~is_cell_tag & is_closing_tag
    cell_tags = np.flatnonzero(is_cell_start)
    closing_tags = cell_tags + ~is_empty_tag[cell_tags]  # the tag that ends the cell
    if (
        closing_tags[-1:] >= len(opens)
        or not (is_cell_tag & is_closing_tag)[closing_tags[~is_empty_tag[cell_tags]]].all()
    ):
        return None
    row_count = int(is_row_end.sum())
    if len(cell_tags) != row_count * column_count or int(
        (is_cell_tag & is_closing_tag).sum() + is_empty_tag.sum()
    ) != len(cell_tags):
        return None
    tags_per_row = np.diff(np.concatenate([[-1], np.flatnonzero(is_row_end)]))
    if row_count:
        cells_per_row = np.add.reduceat(is_cell_start, np.concatenate([[0], np.flatnonzero(is_row_end)[:-1] + 1]))
    else:
        cells_per_row = np.zeros(0)
    if (cells_per_row != column_count).any() or tags_per_row.sum() != len(opens):
        return None
    starts = closes[cell_tags] + 1
    stops = np.where(is_empty_tag[cell_tags], starts, opens[closing_tags])
    step = np.zeros(len(raw) + 1, np.int8)
    is_not_empty = stops > starts
    step[starts[is_not_empty]] = 1
    step[stops[is_not_empty]] -= 1
    data = raw[np.cumsum(step[:-1], dtype=np.int8).view(np.bool_)]
    offsets = np.zeros(len(cell_tags) + 1, np.int32)
    np.cumsum(stops - starts, out=offsets[1:])
    all_cells = pa.Array.from_buffers(pa.string(), len(cell_tags), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    if not text.isascii():
        all_cells.validate(full=True)
    index = np.arange(row_count, dtype=np.int64) * column_count
    columns = [all_cells.take(pa.array(index + number)) for number in range(column_count)]
    if b"&" in text:
        return [_unescape_column(column) for column in columns]
    return columns


def _unescape_column(column: pa.Array) -> pa.Array:
    """Replace entities; ``&amp;`` last, so that ``&amp;lt;`` stays ``&lt;``."""
    data = view_bytes(column).tobytes()
    if b"&" not in data:
        return column
    ampersand_entities = []
    for entity in sorted(set(_ENTITY_PATTERN.findall(data))):
        plain = _PREDEFINED_ENTITIES.get(entity) or _resolve_entity(entity)
        if plain == "&":
            ampersand_entities.append(entity)
        else:
            column = pc.replace_substring(column, entity.decode(), plain)
    mark = "\ufdd0"  # a noncharacter, so no text holds it
    for entity in ampersand_entities:
        column = pc.replace_substring(column, entity.decode(), mark)
    if pc.any(pc.match_substring(column, "&")).as_py():
        raise SourceError("TABLEDATA holds an & that is no entity")
    return pc.replace_substring(column, mark, "&")


def _resolve_entity(entity: bytes) -> str:
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


def _parse_rows(text: bytes, columns: Sequence[Column], prefix: bytes, rows_before: int) -> list[pa.Array]:
    """Split any well-formed rows: comments, CDATA, attributes, missing cells."""
    name = prefix[:-1].decode()
    if name:
        namespace_declaration = f" xmlns:{name}='x'"
    else:
        namespace_declaration = ""
    texts_by_column: list[list[str]] = [[] for _ in columns]
    row_number = rows_before
    try:
        for row in _parse_row_elements(f"<T{namespace_declaration}>".encode(), text, b"</T>"):
            row_number += 1
            if len(row) > len(columns):
                message = f"row {row_number} has {len(row)} cells, but the table has {len(columns)} FIELDs"
                raise SourceError(message)
            row_texts = [_read_cell(cell, row_number, column) for cell, column in zip(row, columns, strict=False)]
            for texts, value in zip(texts_by_column, row_texts + [""] * (len(columns) - len(row_texts)), strict=True):
                texts.append(value)
    except etree.XMLSyntaxError as error:
        message = f"TABLEDATA is not well-formed after row {rows_before}: {error.msg[:200]}"
        raise SourceError(message) from error
    return [pa.array(texts, pa.string()) for texts in texts_by_column]


def _parse_row_elements(*pieces: bytes) -> Iterator[Any]:
    """Parse a little at a time, so that nobody else waits.

    Yield the rows, each forgotten when the next is asked for.
    """
    parser = etree.XMLPullParser(
        events=("end",),
        tag="{*}TR",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,
    )
    element: Any
    for piece in pieces:
        for offset in range(0, len(piece), _PARSE_STEP_BYTES):
            check_deadline()
            parser.feed(piece[offset : offset + _PARSE_STEP_BYTES])
            for _, element in parser.read_events():
                root = element.getparent()
                if root is not None and root.getparent() is None:
                    yield element
                    root.remove(element)
    for trailing_element in parser.close():
        message = f"TABLEDATA holds <{trailing_element.tag:.80}>, which is no row"
        raise SourceError(message)


def _read_cell(cell: Any, row: int, column: Column) -> str:
    if len(cell):
        message = f"row {row} holds an element or entity inside a cell"
        raise SourceError(message)
    encoding = cell.get("encoding", "none")
    if encoding == "base64":
        return _decode_base64_cell(cell.text or "", row, column)
    if encoding != "none":
        message = f"row {row} has a cell with encoding={encoding!r}, which is not supported"
        raise SourceError(message)
    return cell.text or ""


def _decode_base64_cell(text: str, row: int, column: Column) -> str:
    """Read a cell that holds the base64 of its BINARY form (VOTable 1.1 section 5.1, later dropped)."""
    plain = column.copy_with(null=None)
    try:
        arrays, count, _ = BinaryDecoder([plain], "BINARY").decode_rows(binascii.a2b_base64(text), row - 1)
    except binascii.Error as error:
        message = f"row {row}, column {column.name!r}: the cell is not base64: {error}"
        raise SourceError(message) from error
    if count != 1 or (pa.types.is_nested(arrays[0].type) and column.type.datatype in {"char", "unicodeChar"}):
        message = f"row {row}, column {column.name!r}: the cell's base64 holds no value of type {column.type.datatype}"
        raise SourceError(message)
    return literal.format_column(arrays[0], column.type, null_text=column.null or "")[0].as_py() or ""


def convert_cells(
    texts: Sequence[pa.Array], columns: Sequence[Column], rows_before: int, deviations: list[Deviation]
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
            values = literal.parse_column(text, column.type, column.null)
            arrays.append(values)
            if pa.types.is_float64(values.type) and (flags := literal.find_rounded_integers(text, values)) is not None:
                row_offset = int(flags.argmax())
                count = int(flags.sum())
                deviation = Deviation(
                    kind=DeviationKind.PRECISION,
                    column=column.name,
                    count=count,
                    row=rows_before + row_offset + 1,
                    value=text[row_offset].as_py(),
                    message="whole numbers beyond 2^53 are rounded in a field of doubles",
                    remedy="declare the FIELD as long",
                )
                add_deviation(deviations, deviation)
        except literal.InvalidLiteralError as error:
            message = f"row {rows_before + error.row + 1}, column {column.name!r}: {error}"
            raise SourceError(message) from error
    return arrays


__all__ = ["convert_cells", "split_rows"]
