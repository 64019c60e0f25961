"""Split the text of TABLEDATA into columns of cells.

Plain text is split by numpy over its bytes, any other by an XML parser.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lxml import etree

from hven.formats.votable.binary_reader import VotableBinaryDecoder
from hven.model import DeviationKind, ReadDeviation, add_deviation, literal
from hven.model.deadlines import check_deadline
from hven.model.errors import SourceError
from hven.model.literal import view_column_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Column

_ENTITY_PATTERN = re.compile(rb"&[^;&<\s]{1,32};")
_PREDEFINED_ENTITIES = {b"&lt;": "<", b"&gt;": ">", b"&quot;": '"', b"&apos;": "'"}
_PARSE_STEP_BYTES = 1 << 16  # bytes that are parsed at once
_LT_CODE, _GT_CODE, _SLASH_CODE, _T_CODE, _D_CODE, _R_CODE = (ord(mark) for mark in "<>/TDR")


def split_tabledata_rows(text: bytes, columns: Sequence[Column], prefix: bytes, rows_before: int) -> list[pa.Array]:
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
        The text is not well-formed, or a row has more cells than there are FIELDs.
    """
    if prefix or b"<!" in text or b"<?" in text:
        columns_of_text = None
    else:
        columns_of_text = _split_plain_rows(text, len(columns))
    if columns_of_text is not None:
        return columns_of_text
    return _parse_rows_with_xml_parser(text, columns, prefix, rows_before)


def _split_plain_rows(text: bytes, column_count: int) -> list[pa.Array] | None:
    """Split text that consists of bare TR and TD tags and cells; return None for any other."""
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
    is_bare_tag = size == 4
    is_bare_tag[is_empty_tag] = size[is_empty_tag] <= 6
    is_bare_tag[is_closing_tag] = size[is_closing_tag] == 5
    if (
        not is_bare_tag.all()
        or (is_empty_tag & (tag_letters == _R_CODE)).any()
        or (is_empty_tag & (size == 6) & (raw[opens + 3] > 32)).any()
    ):
        return None
    tags = _Tags(opens, closes, tag_letters == _D_CODE, is_closing_tag, is_empty_tag)
    columns = _cut_columns(text, tags, column_count)
    if columns is not None and b"&" in text:
        return [_unescape_column(column) for column in columns]
    return columns


class _Tags(NamedTuple):
    """The tags of a text in order: where they begin and end, and what they are."""

    opens: np.ndarray[Any, Any]
    closes: np.ndarray[Any, Any]
    is_cell_tag: np.ndarray[Any, Any]
    is_closing_tag: np.ndarray[Any, Any]
    is_empty_tag: np.ndarray[Any, Any]


def _cut_columns(text: bytes, tags: _Tags, column_count: int) -> list[pa.Array] | None:
    """Cut out the cells between their tags if every row is TR, `column_count` times TD, /TR; else return None."""
    is_cell_start = tags.is_cell_tag & ~tags.is_closing_tag
    is_cell_end = tags.is_cell_tag & tags.is_closing_tag
    is_row_end = ~tags.is_cell_tag & tags.is_closing_tag
    cell_tags = np.flatnonzero(is_cell_start)
    is_empty_cell = tags.is_empty_tag[cell_tags]
    closing_tags = cell_tags + ~is_empty_cell  # the tag that ends the cell
    if closing_tags[-1:] >= len(tags.opens) or not is_cell_end[closing_tags[~is_empty_cell]].all():
        return None
    row_count = int(is_row_end.sum())
    ended_cells = int(is_cell_end.sum() + tags.is_empty_tag.sum())
    if len(cell_tags) != row_count * column_count or ended_cells != len(cell_tags):
        return None
    row_ends = np.flatnonzero(is_row_end)
    tags_per_row = np.diff(np.concatenate([[-1], row_ends]))
    cells_per_row = np.zeros(0)
    if row_count:
        row_starts = np.concatenate([[0], row_ends[:-1] + 1])
        cells_per_row = np.add.reduceat(is_cell_start, row_starts)
    if (cells_per_row != column_count).any() or tags_per_row.sum() != len(tags.opens):
        return None
    starts = tags.closes[cell_tags] + 1
    stops = np.where(is_empty_cell, starts, tags.opens[closing_tags])
    all_cells = _gather_strings(text, starts, stops)
    if not text.isascii():
        all_cells.validate(full=True)
    index = np.arange(row_count, dtype=np.int64) * column_count
    return [all_cells.take(pa.array(index + number)) for number in range(column_count)]


def _gather_strings(text: bytes, starts: np.ndarray[Any, Any], stops: np.ndarray[Any, Any]) -> pa.Array:
    """Return the stretches of a text between starts and stops, which do not overlap, as strings."""
    raw = np.frombuffer(text, np.uint8)
    step = np.zeros(len(raw) + 1, np.int8)
    is_not_empty = stops > starts
    step[starts[is_not_empty]] = 1
    step[stops[is_not_empty]] -= 1
    is_inside = np.cumsum(step[:-1], dtype=np.int8).view(np.bool_)
    data = raw[is_inside]
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(stops - starts, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(starts), buffers)


def _unescape_column(column: pa.Array) -> pa.Array:
    """Replace entities; ``&amp;`` comes last, so that ``&amp;lt;`` stays ``&lt;``."""
    data = view_column_bytes(column).tobytes()
    if b"&" not in data:
        return column
    ampersand_entities = []
    for entity in sorted(set(_ENTITY_PATTERN.findall(data))):
        plain = _PREDEFINED_ENTITIES.get(entity) or _resolve_entity(entity)
        if plain == "&":
            ampersand_entities.append(entity)
        else:
            column = pc.replace_substring(column, entity.decode(), plain)
    mark = "\ufdd0"  # a noncharacter, which no text holds
    for entity in ampersand_entities:
        column = pc.replace_substring(column, entity.decode(), mark)
    if pc.any(pc.match_substring(column, "&")).as_py():
        raise SourceError("TABLEDATA contains an & that does not begin an entity")
    return pc.replace_substring(column, mark, "&")


def _resolve_entity(entity: bytes) -> str:
    if entity == b"&amp;":
        return "&"
    body = entity[1:-1]
    try:
        if body[:1] == b"#":
            if body[1:2] == b"x":
                return chr(int(b"0" + body[1:], 16))
            return chr(int(body[1:]))
    except (ValueError, OverflowError):
        pass
    message = f"TABLEDATA contains the undefined entity {entity.decode(errors='replace')}"
    raise SourceError(message)


def _parse_rows_with_xml_parser(
    text: bytes, columns: Sequence[Column], prefix: bytes, rows_before: int
) -> list[pa.Array]:
    """Split any well-formed rows, with comments, CDATA, attributes or missing cells."""
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
            row_texts = [""] * len(columns)
            for number, (cell, column) in enumerate(zip(row, columns, strict=False)):
                row_texts[number] = _read_cell(cell, row_number, column)
            for texts, value in zip(texts_by_column, row_texts, strict=True):
                texts.append(value)
    except etree.XMLSyntaxError as error:
        message = f"TABLEDATA is not well-formed after row {rows_before}: {error.msg[:200]}"
        raise SourceError(message) from error
    return [pa.array(texts, pa.string()) for texts in texts_by_column]


def _parse_row_elements(*pieces: bytes) -> Iterator[Any]:
    """Yield the rows of a document, each of which is forgotten when the next is requested.

    The text is parsed in small steps with a check of the deadline between them.
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
        message = f"TABLEDATA contains <{trailing_element.tag:.80}>, which is not a row"
        raise SourceError(message)


def _read_cell(cell: Any, row: int, column: Column) -> str:
    if len(cell):
        message = f"row {row} contains an element or entity inside a cell"
        raise SourceError(message)
    encoding = cell.get("encoding", "none")
    if encoding == "base64":
        return _decode_base64_cell(cell.text or "", row, column)
    if encoding != "none":
        message = f"row {row} has a cell with encoding={encoding!r}, which is not supported"
        raise SourceError(message)
    return cell.text or ""


def _decode_base64_cell(text: str, row: int, column: Column) -> str:
    """Read a cell that holds its BINARY form in base64 (VOTable 1.1 section 5.1, later dropped)."""
    plain = column.copy_with(null=None)
    try:
        cell_bytes = binascii.a2b_base64(text)
        arrays, count, _ = VotableBinaryDecoder([plain], "BINARY").decode_rows(cell_bytes, row - 1)
    except binascii.Error as error:
        message = f"row {row}, column {column.name!r}: the cell is not base64: {error}"
        raise SourceError(message) from error
    if count != 1 or (pa.types.is_nested(arrays[0].type) and column.type.datatype in {"char", "unicodeChar"}):
        message = (
            f"row {row}, column {column.name!r}: the base64 of the cell contains no value of type "
            f"{column.type.datatype}"
        )
        raise SourceError(message)
    cell_texts = literal.format_dali_literals(arrays[0], column.type, null_text=column.null or "")
    return cell_texts[0].as_py() or ""


def convert_tabledata_cells(
    texts: Sequence[pa.Array], columns: Sequence[Column], rows_before: int, deviations: list[ReadDeviation]
) -> list[pa.Array]:
    """Convert the cells to values; report integers that a double does not hold exactly.

    Raises
    ------
    SourceError
        A cell is no value of its type; the error names row and column.
    """
    arrays = []
    for text, column in zip(texts, columns, strict=True):
        try:
            values = literal.parse_dali_literals(text, column.type, column.null)
            arrays.append(values)
            if pa.types.is_float64(values.type) and (flags := literal.find_rounded_integers(text, values)) is not None:
                row_offset = int(flags.argmax())
                count = int(flags.sum())
                deviation = ReadDeviation(
                    kind=DeviationKind.PRECISION,
                    column=column.name,
                    count=count,
                    row=rows_before + row_offset + 1,
                    value=text[row_offset].as_py(),
                    message="whole numbers beyond 2^53 are rounded in a FIELD of type double",
                    remedy="declare the FIELD as long",
                )
                add_deviation(deviations, deviation)
        except literal.InvalidLiteralError as error:
            message = f"row {rows_before + error.row + 1}, column {column.name!r}: {error}"
            raise SourceError(message) from error
    return arrays
