"""Write CSV according to RFC 4180, with a header line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import TableFormat
from hven.formats._spreadsheet_formulas import ESCAPE_CHOICES, escape_spreadsheet_formula, escape_spreadsheet_formulas
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.types import ColumnType

_QUOTED_CHARACTERS = '",\r\n'


def write_csv(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],
) -> Iterator[bytes]:
    """Write a header line, then a line per row.

    Null is empty; an empty string is ``""``. CSV cannot say that rows are missing or that the rows broke off: a late
    error passes through, so that the connection is cut.

    Parameters
    ----------
    options
        ``header=absent`` leaves the header line out; ``escape=formula`` keeps a spreadsheet from taking texts for
        formulas (`hven.formats._spreadsheet_formulas`).
    """
    escaped = options.get("escape", "none").lower() == "formula"
    names = [column.name for column in metadata.columns]
    if escaped:
        names = [escape_spreadsheet_formula(name) for name in names]
    if options.get("header", "present").lower() == "absent":
        start = b""
    else:
        start = _write_header(names)
    kinds = [column.type for column in metadata.columns]
    for batch in literal.split_first_batch(batches):
        for piece in _write_csv_lines(batch, kinds, escapes_formulas=escaped):
            yield start + piece
            start = b""
        if start:
            yield start
            start = b""
    if start:
        yield start
    finish()


def _write_header(names: list[str]) -> bytes:
    return (",".join(_quote_name(name) for name in names) + "\r\n").encode()


def _quote_name(text: str) -> str:
    if not text or any(mark in text for mark in _QUOTED_CHARACTERS) or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def _write_csv_lines(batch: pa.RecordBatch, kinds: list[ColumnType], *, escapes_formulas: bool) -> Iterator[bytes]:
    if not kinds:
        return
    for part in literal.split_batch_by_written_size(batch, 4 * len(kinds)):
        ends = pa.array(["\r\n"] * part.num_rows)
        cells = []
        for number, kind in enumerate(kinds):
            cells.append(_write_cells(part.column(number), kind, escapes_formulas=escapes_formulas))
        cells[-1] = literal.concat_text_columns(cells[-1], ends)
        yield literal.view_column_bytes(literal.concat_text_columns(*cells, separator=",")).tobytes()


def _write_cells(array: pa.Array, column_type: ColumnType, *, escapes_formulas: bool) -> pa.Array | str:
    if array.null_count == len(array):  # half of the columns of ObsCore are all null
        return ""
    array = literal.cast_to_storage_type(array, column_type)
    cell_texts = literal.format_dali_literals(array, column_type, null_text="null")
    is_text = column_type.datatype in {"char", "unicodeChar"} and not column_type.is_timestamp
    if pa.types.is_string(array.type) or is_text:
        if escapes_formulas:
            cell_texts = escape_spreadsheet_formulas(cell_texts)
        cell_texts = _quote_cells(cell_texts)
    return literal.fill_nulls(cell_texts)


def _quote_cells(array: pa.Array) -> pa.Array:
    """Quote values where a reader needs it."""
    lengths = np.zeros(0)
    if len(array):
        offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, 4 * array.offset)
        lengths = np.diff(offsets)
    needs_quotes = pa.array(lengths == 0)
    column_bytes = bytes(literal.view_column_bytes(array))  # a search for one byte is ten times faster than a pattern
    found_marks = [mark for mark in _QUOTED_CHARACTERS if mark.encode() in column_bytes]
    if not found_marks:
        if not pc.any(needs_quotes).as_py():
            return array
        return pc.if_else(pc.and_(needs_quotes, array.is_valid()), literal.to_arrow_string_scalar('""'), array)
    for mark in found_marks:
        needs_quotes = pc.or_(needs_quotes, pc.match_substring(array, mark))
    doubled_quotes = pc.replace_substring(array, '"', '""')  # a null stays null: quotes around null are null
    return pc.if_else(needs_quotes, literal.concat_text_columns('"', doubled_quotes, '"'), array)


FORMAT = TableFormat(
    name="csv",
    menu_rank=2,
    media_types=("text/csv",),
    extension="csv",
    write=write_csv,
    content_type="text/csv;header=present",
    option_choices={"header": ("PRESENT", "ABSENT"), "escape": ESCAPE_CHOICES},
    cannot_signal_overflow=True,
)
