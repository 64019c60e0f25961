"""Write rows as TABLEDATA (VOTable 1.4 section 5.1): whole columns become text, and are joined as a whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats._xml_text import REPLACEMENT_CHARACTER
from hven.formats.votable.document import choose_null_value
from hven.model import literal
from hven.model.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Column


_ESCAPED_BYTES = re.compile(rb"[&<>\x00-\x08\x0b-\x1f]|\xef\xbf[\xbe\xbf]")
_ILLEGAL_CHARACTERS_RE2 = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"
MAX_COMBINED_ROWS = 1024  # up to here, starting Arrow for a column takes longer than writing its numbers


class TabledataEncoder:
    """Encoder for the rows of one list of columns."""

    def __init__(self, columns: Sequence[Column], serialization: str) -> None:
        self._columns = tuple(columns)
        self._null_values = [choose_null_value(column, serialization) for column in columns]
        columns_by_type: dict[pa.DataType, list[int]] = {}
        for number, column in enumerate(self._columns):
            kind = column.type
            if kind.datatype != "bit" and (pa.types.is_floating(kind.arrow) or pa.types.is_integer(kind.arrow)):
                columns_by_type.setdefault(kind.arrow, []).append(number)
        self._same_typed_columns = [numbers for numbers in columns_by_type.values() if len(numbers) > 1]

    def encode_batch(self, batch: pa.RecordBatch) -> Iterator[memoryview]:
        """Write the text of all rows, in pieces of bounded size."""
        if self._columns:
            for part in literal.split_batch_by_written_size(batch, 9 * len(self._columns) + 24):
                yield self._encode_piece(part)

    def _encode_piece(self, batch: pa.RecordBatch) -> memoryview:
        if batch.num_rows <= MAX_COMBINED_ROWS:
            combined_cells = self._format_same_typed_columns(batch)
        else:
            combined_cells = {}
        row_parts: list[pa.Array | str] = []
        for number in range(len(self._columns)):
            cells = combined_cells.get(number)
            if cells is None:
                cells = self._format_cells(batch.column(number), number)
            row_parts += ["</TD><TD>", cells]
        row_parts[0] = "<TR><TD>"
        return literal.view_column_bytes(literal.concat_text_columns(*row_parts, "</TD></TR>\n"))

    def _format_same_typed_columns(self, batch: pa.RecordBatch) -> dict[int, pa.Array]:
        """Write the numbers of all columns of one type at once."""
        cells_by_column = {}
        rows = batch.num_rows
        for numbers in self._same_typed_columns:
            kind = self._columns[numbers[0]].type
            arrays = [literal.cast_to_storage_type(batch.column(number), kind) for number in numbers]
            combined_values = pa.concat_arrays(arrays)
            combined_text = literal.fill_nulls(literal.format_dali_literals(combined_values, kind))
            for position, number in enumerate(numbers):
                cells_by_column[number] = combined_text.slice(position * rows, rows)
        return cells_by_column

    def _format_cells(self, array: pa.Array, number: int) -> pa.Array:
        column = self._columns[number]
        kind = column.type
        array = literal.cast_to_storage_type(array, kind)
        if pa.types.is_string(array.type):
            cell_texts = _escape_xml_column(array)
        elif pa.types.is_nested(array.type) and kind.datatype in {"char", "unicodeChar"}:
            cell_texts = _escape_xml_column(_join_string_arrays(array, column))
        else:
            try:
                cell_texts = literal.format_dali_literals(array, kind, null_text=self._null_values[number])
            except ValueError as error:
                message = f"column {column.name!r}: {error}"
                raise DataError(message, remedy="declare `null` for the column") from error
        return literal.fill_nulls(cell_texts)


def _join_string_arrays(array: pa.Array, column: Column) -> pa.Array:
    """Write arrays of strings, each string padded with blanks to the width, without separators (section 2.2).

    Raises
    ------
    DataError
        A string is longer than the width.
    """
    width = column.type.shape[0] or 1
    offsets, values = literal.flatten_lists(array)
    padded = pc.utf8_rpad(literal.fill_nulls(values), width=width)
    if len(padded) and pc.max(pc.utf8_length(padded)).as_py() > width:
        message = (
            f"column {column.name!r} is declared with arraysize {column.type.arraysize}, but contains a longer string"
        )
        raise DataError(message, remedy="declare an arraysize that fits the column's longest value")
    list_offsets = pa.array(offsets.astype(np.int32))
    lists = pa.ListArray.from_arrays(list_offsets, padded)
    joined = pc.binary_join(lists, literal.to_arrow_string_scalar(""))
    if array.null_count:
        return pc.if_else(array.is_valid(), joined, literal.NULL_STRING)
    return joined


def _escape_xml_column(array: pa.Array) -> pa.Array:
    """Escape a string column for element content; return it itself, without a copy, if nothing needs escaping."""
    if not _ESCAPED_BYTES.search(literal.view_column_bytes(array)):
        return array
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
        array = pc.replace_substring(array, plain, entity)
    return pc.replace_substring_regex(array, _ILLEGAL_CHARACTERS_RE2, REPLACEMENT_CHARACTER)
