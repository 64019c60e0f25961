"""CSV as RFC 4180 has it, with a header line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import Format
from hven.formats._formulas import CHOICES, escape_formula, escape_formulas
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import End, Head
    from hven.model.types import Type

_CARE = re.compile(rb'[",\r\n]')


def write(
    head: Head, batches: Iterator[pa.RecordBatch], end: Callable[[], End], options: Mapping[str, str]
) -> Iterator[bytes]:
    """Write a header line, then a line per row.

    Null is nothing between two commas; an empty string is ``""``. CSV cannot say that rows are missing or that the
    rows broke off: a late error passes through, so that the connection is cut.

    Parameters
    ----------
    options
        ``header=absent`` leaves the header line out; ``escape=formula`` keeps texts from being formulas of a spreadsheet (`hven.formats._formulas`).
    """
    escaped = options.get("escape", "none").lower() == "formula"
    names = [escape_formula(column.name) if escaped else column.name for column in head.columns]
    start = b"" if options.get("header", "present").lower() == "absent" else _header(names)
    kinds = [column.type for column in head.columns]
    for batch in literal.early(batches):
        for piece in _pieces(batch, kinds, escaped=escaped):
            yield start + piece if start else piece
            start = b""
        if start:
            yield start
            start = b""
    if start:
        yield start
    end()


def _header(names: list[str]) -> bytes:
    return (",".join(_quote(name) for name in names) + "\r\n").encode()


def _quote(text: str) -> str:
    return (
        '"' + text.replace('"', '""') + '"'
        if not text or any(mark in text for mark in '",\r\n') or text != text.strip()
        else text
    )


def _pieces(batch: pa.RecordBatch, kinds: list[Type], *, escaped: bool) -> Iterator[bytes]:
    if not kinds:
        return
    for part in literal.pieces(batch, 4 * len(kinds)):
        ends = pa.array(["\r\n"] * part.num_rows)
        cells = [_cells(part.column(number), kind, escaped=escaped) for number, kind in enumerate(kinds)]
        cells[-1] = literal.joined(cells[-1], ends)
        yield literal.characters(literal.joined(*cells, between=",")).tobytes()


def _cells(array: pa.Array, kind: Type, *, escaped: bool) -> pa.Array | str:
    if array.null_count == len(array):  # half of the columns of ObsCore are
        return ""
    array = literal.storage(array, kind)
    shown = literal.text(array, kind, null="null")
    if pa.types.is_string(array.type) or (kind.datatype in {"char", "unicodeChar"} and not kind.is_timestamp):
        shown = _quoted(escape_formulas(shown) if escaped else shown)
    return literal.filled(shown)


def _quoted(array: pa.Array) -> pa.Array:
    """Quote values where a reader needs it."""
    lengths = (
        np.diff(np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, 4 * array.offset))
        if len(array)
        else np.zeros(0)
    )
    odd = pa.array(lengths == 0)  # null keeps its place: quotes around null are null
    if _CARE.search(literal.characters(array)):
        for mark in '",\r\n':
            odd = pc.or_(odd, pc.match_substring(array, mark))
    if not pc.any(odd).as_py():
        return array
    return pc.if_else(odd, literal.joined('"', pc.replace_substring(array, '"', '""'), '"'), array)


FORMAT = Format(
    name="csv",
    menu_rank=2,
    media_types=("text/csv",),
    extension="csv",
    write=write,
    content_type="text/csv;header=present",
    choices={"header": ("PRESENT", "ABSENT"), "escape": CHOICES},
    mute=True,
)
