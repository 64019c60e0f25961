"""Write plain text in aligned columns, for people at a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import TableFormat
from hven.model import literal
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.types import ColumnType

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_COLUMN_CHARACTERS = 60  # a column is at most so wide; longer values push the rest of their line


def write_text(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write a heading, a rule and a line per row, with numbers aligned to the right.

    The first batch decides the widths of columns. Control characters, which might steer terminals, become blanks. A
    late error makes a last line for people, and is then raised.
    """
    batches = iter(batches)
    batch = next(batches, None)
    kinds = [column.type for column in metadata.columns]
    names = [_CONTROL_CHARACTERS.sub(" ", column.name) for column in metadata.columns]
    failure: Exception | None = None
    if batch is not None:
        cells = _format_cells(batch, kinds)
    else:
        cells = [pa.array([], pa.string()) for _ in kinds]
    widths = [_choose_column_width(name, cell) for name, cell in zip(names, cells, strict=True)]
    right_aligned = [kind.is_numeric for kind in kinds]
    headings = []
    for name, width, is_right_aligned in zip(names, widths, right_aligned, strict=True):
        if is_right_aligned:
            headings.append(name.rjust(width))
        else:
            headings.append(name.ljust(width))
    heading = "  ".join(headings)
    rule = "  ".join("-" * width for width in widths)
    yield f"{heading.rstrip()}\n{rule}\n".encode() + _write_lines(cells, widths, right_aligned)
    try:
        for following in batches:
            yield _write_lines(_format_cells(following, kinds), widths, right_aligned)
    except (HvenError, pa.ArrowException, ValueError, OSError, MemoryError) as error:
        failure = error
    result_status = finish()
    if failure is not None or result_status.error_message is not None:
        yield f"ERROR: {result_status.error_message or failure}\n".encode()
    elif result_status.overflow:
        yield b"(there are more rows)\n"
    if failure is not None:
        raise failure


def _format_cells(batch: pa.RecordBatch, kinds: list[ColumnType]) -> list[pa.Array]:
    cells = []
    for number, kind in enumerate(kinds):
        values = literal.cast_to_storage_type(batch.column(number), kind)
        value_texts = literal.format_dali_literals(values, kind, null_text="-")
        cell_texts = literal.fill_nulls(value_texts)
        if kind.datatype in {"char", "unicodeChar"}:
            cell_texts = pc.replace_substring_regex(cell_texts, r"[\x00-\x1f\x7f-\x{9f}]", " ")
        cells.append(cell_texts)
    return cells


def _choose_column_width(name: str, cell: pa.Array) -> int:
    longest = pc.max(pc.utf8_length(cell)).as_py() or 0
    return max(len(name), min(longest, _MAX_COLUMN_CHARACTERS), 1)


def _write_lines(cells: list[pa.Array], widths: list[int], right_aligned: list[bool]) -> bytes:
    if not cells or not len(cells[0]):
        return b""
    padded = []
    for cell, width, is_right_aligned in zip(cells, widths, right_aligned, strict=True):
        pad = pc.utf8_lpad if is_right_aligned else pc.utf8_rpad
        padded.append(pad(cell, width=width))
    lines = pc.utf8_rtrim(literal.concat_text_columns(*padded, separator="  "), characters=" ")
    return literal.view_column_bytes(literal.concat_text_columns(lines, "\n")).tobytes()


def write_text_error(message: str) -> bytes:
    """Write an error."""
    return f"ERROR: {_CONTROL_CHARACTERS.sub(' ', message)}\n".encode()


FORMAT = TableFormat(
    name="text",
    title="Text",
    menu_rank=8,
    media_types=("text/plain",),
    extension="txt",
    write=write_text,
    write_error=write_text_error,
)
