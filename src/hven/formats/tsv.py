"""Write tab-separated values: one line per row, without quotes; TABs and line breaks in values become blanks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from hven.formats import TableFormat
from hven.formats._spreadsheet_formulas import ESCAPE_CHOICES, escape_spreadsheet_formula, escape_spreadsheet_formulas
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.types import ColumnType

_REPLACED_BYTES = re.compile(rb"[\t\r\n]")


def write_tsv(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],
) -> Iterator[bytes]:
    """Write a header line, then a line per row (IANA text/tab-separated-values).

    Null and the empty string look the same. TSV cannot say that rows are missing or broke off: a late error passes
    through.

    Parameters
    ----------
    options
        ``header=absent`` leaves the header line out; ``escape=formula`` works as in CSV.
    """
    escaped = options.get("escape", "none").lower() == "formula"
    plain_names = [re.sub(r"[\t\r\n]", " ", column.name) for column in metadata.columns]
    if escaped:
        plain_names = [escape_spreadsheet_formula(name) for name in plain_names]
    names = "\t".join(plain_names)
    if options.get("header", "present").lower() == "absent":
        start = b""
    else:
        start = f"{names}\n".encode()
    kinds = [column.type for column in metadata.columns]
    for batch in literal.split_first_batch(batches):
        parts = literal.split_batch_by_written_size(batch, 4 * len(kinds)) if kinds else ()
        for part in parts:
            yield start + _write_lines(part, kinds, escapes_formulas=escaped)
            start = b""
        if start:
            yield start
            start = b""
    if start:
        yield start
    finish()


def _write_lines(part: pa.RecordBatch, kinds: list[ColumnType], *, escapes_formulas: bool) -> bytes:
    cells = []
    for number, kind in enumerate(kinds):
        cells.append(_write_cells(part.column(number), kind, escapes_formulas=escapes_formulas))
    cells[-1] = literal.concat_text_columns(cells[-1], "\n")
    return literal.view_column_bytes(literal.concat_text_columns(*cells, separator="\t")).tobytes()


def _write_cells(array: pa.Array, column_type: ColumnType, *, escapes_formulas: bool) -> pa.Array:
    cell_texts = literal.format_dali_literals(
        literal.cast_to_storage_type(array, column_type), column_type, null_text="null"
    )
    if column_type.datatype in {"char", "unicodeChar"} and _REPLACED_BYTES.search(
        literal.view_column_bytes(cell_texts)
    ):
        cell_texts = pc.replace_substring_regex(cell_texts, r"\r\n|[\t\r\n]", " ")
    if escapes_formulas and column_type.datatype in {"char", "unicodeChar"} and not column_type.is_timestamp:
        cell_texts = escape_spreadsheet_formulas(cell_texts)
    return literal.fill_nulls(cell_texts)


FORMAT = TableFormat(
    name="tsv",
    menu_rank=7,
    media_types=("text/tab-separated-values",),
    extension="tsv",
    write=write_tsv,
    option_choices={"header": ("PRESENT", "ABSENT"), "escape": ESCAPE_CHOICES},
    cannot_signal_overflow=True,
)
