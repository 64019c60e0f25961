"""Plain text in aligned columns, for people at a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import Format
from hven.model import literal
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import End, Head
    from hven.model.types import Type

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WIDEST = 60  # characters that a column is widened to at most; longer values push the rest of their line


def write(
    head: Head,
    batches: Iterator[pa.RecordBatch],
    end: Callable[[], End],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write a heading, a rule and a line per row; numbers stand right.

    The first batch says how wide the columns are. Control characters (also those that steer terminals) become blanks. A late error makes
    a last line for people, and is raised then.
    """
    batches = iter(batches)
    batch = next(batches, None)
    kinds = [column.type for column in head.columns]
    names = [_CONTROLS.sub(" ", column.name) for column in head.columns]
    failure: Exception | None = None
    cells = _cells(batch, kinds) if batch is not None else [pa.array([], pa.string()) for _ in kinds]
    widths = [_width(name, cell) for name, cell in zip(names, cells, strict=True)]
    right = [kind.is_numeric for kind in kinds]
    heading = "  ".join(
        name.rjust(width) if at else name.ljust(width) for name, width, at in zip(names, widths, right, strict=True)
    )
    rule = "  ".join("-" * width for width in widths)
    yield f"{heading.rstrip()}\n{rule}\n".encode() + _lines(cells, widths, right)
    try:
        for following in batches:
            yield _lines(_cells(following, kinds), widths, right)
    except (HvenError, pa.ArrowException, ValueError, OSError, MemoryError) as error:
        failure = error
    ended = end()
    if failure is not None or ended.error is not None:
        yield f"ERROR: {ended.error or failure}\n".encode()
    elif ended.overflow:
        yield b"(there are more rows)\n"
    if failure is not None:
        raise failure


def _cells(batch: pa.RecordBatch, kinds: list[Type]) -> list[pa.Array]:
    cells = []
    for number, kind in enumerate(kinds):
        shown = literal.filled(literal.text(literal.storage(batch.column(number), kind), kind, null="-"))
        if kind.datatype in {"char", "unicodeChar"}:
            shown = pc.replace_substring_regex(shown, r"[\x00-\x1f\x7f-\x{9f}]", " ")
        cells.append(shown)
    return cells


def _width(name: str, cell: pa.Array) -> int:
    longest = pc.max(pc.utf8_length(cell)).as_py() or 0
    return max(len(name), min(longest, _WIDEST), 1)


def _lines(cells: list[pa.Array], widths: list[int], right: list[bool]) -> bytes:
    if not cells or not len(cells[0]):
        return b""
    padded = [
        (pc.utf8_lpad if at else pc.utf8_rpad)(cell, width=width)
        for cell, width, at in zip(cells, widths, right, strict=True)
    ]
    lines = pc.utf8_rtrim(literal.joined(*padded, between="  "), characters=" ")
    return literal.characters(literal.joined(lines, "\n")).tobytes()


def write_error(message: str) -> bytes:
    """Write an error."""
    return f"ERROR: {_CONTROLS.sub(' ', message)}\n".encode()


FORMAT = Format(
    name="text",
    title="Text",
    menu_rank=8,
    media_types=("text/plain",),
    extension="txt",
    write=write,
    write_error=write_error,
)
