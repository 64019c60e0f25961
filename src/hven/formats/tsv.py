"""Tab-separated values: one line per row, nothing quoted, so TABs and line breaks in values become blanks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from hven.formats import Format
from hven.formats._formulas import CHOICES, escape_formula, escape_formulas
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from hven.formats import End, Head
    from hven.model.types import Type

_CARE = re.compile(rb"[\t\r\n]")


def write(
    head: Head, batches: Iterator[pa.RecordBatch], end: Callable[[], End], options: Mapping[str, str]
) -> Iterator[bytes]:
    """Write a header line, then a line per row (IANA text/tab-separated-values).

    Null and the empty string look the same. TSV cannot say that rows are missing or broke off: a late error passes through.

    Parameters
    ----------
    options
        ``header=absent`` leaves the header line out; ``escape=formula`` as of CSV.
    """
    escaped = options.get("escape", "none").lower() == "formula"
    named = [re.sub(r"[\t\r\n]", " ", column.name) for column in head.columns]
    names = "\t".join(escape_formula(name) if escaped else name for name in named)
    start = b"" if options.get("header", "present").lower() == "absent" else f"{names}\n".encode()
    kinds = [column.type for column in head.columns]
    for batch in literal.early(batches):
        for part in literal.pieces(batch, 4 * len(kinds)) if kinds else ():
            yield start + _lines(part, kinds, escaped=escaped)
            start = b""
        if start:
            yield start
            start = b""
    if start:
        yield start
    end()


def _lines(part: pa.RecordBatch, kinds: list[Type], *, escaped: bool) -> bytes:
    cells = [_cells(part.column(number), kind, escaped=escaped) for number, kind in enumerate(kinds)]
    cells[-1] = literal.joined(cells[-1], "\n")
    return literal.characters(literal.joined(*cells, between="\t")).tobytes()


def _cells(array: pa.Array, kind: Type, *, escaped: bool) -> pa.Array:
    shown = literal.text(literal.storage(array, kind), kind, null="null")
    if kind.datatype in {"char", "unicodeChar"} and _CARE.search(literal.characters(shown)):
        shown = pc.replace_substring_regex(shown, r"\r\n|[\t\r\n]", " ")
    if escaped and kind.datatype in {"char", "unicodeChar"} and not kind.is_timestamp:
        shown = escape_formulas(shown)
    return literal.filled(shown)


FORMAT = Format(
    name="tsv",
    menu_rank=7,
    media_types=("text/tab-separated-values",),
    extension="tsv",
    write=write,
    choices={"header": ("PRESENT", "ABSENT"), "escape": CHOICES},
    mute=True,
)
