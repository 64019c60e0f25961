"""A format of answers of one's own, whole in this file: a line for each row, with bars between the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from hven.formats import TableFormat
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.types import ColumnType

ESCAPES = {"\\": "\\\\", "|": "\\|", "\n": "\\n", "\r": "\\r"}


def write(
    head: TableMetadata, batches: Iterator[pa.RecordBatch], end: Callable[[], ResultStatus], _options: Mapping[str, str]
) -> Iterator[bytes]:
    """Write the names of the columns, then the rows: null and the empty string look alike."""
    start = "|".join(column.name.translate(str.maketrans(ESCAPES)) for column in head.columns) + "\n"
    kinds = [column.type for column in head.columns]
    for batch in batches:
        cells = [write_cells(values, kind) for values, kind in zip(batch.columns, kinds, strict=True)]
        lines = literal.concat_text_columns(literal.concat_text_columns(*cells, separator="|"), "\n")
        yield start.encode() + bytes(literal.view_column_bytes(lines))
        start = ""
    yield start.encode()
    end()


def write_cells(values: pa.Array, kind: ColumnType) -> pa.Array:
    """Write the values of a column as DALI has them, by the whole column."""
    texts = literal.fill_nulls(literal.format_dali_literals(literal.cast_to_storage_type(values, kind), kind, null_text="null"))
    for character, escape in ESCAPES.items():
        texts = pc.replace_substring(texts, character, escape)
    return texts


FORMAT = TableFormat(
    name="bars",
    title="Text with bars",
    media_types=("text/x-bars",),
    extension="txt",
    write=write,
    cannot_signal_overflow=True,
)
