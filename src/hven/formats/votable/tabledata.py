"""Rows as TABLEDATA (VOTable 1.4 section 5.1): columns become text whole, and are joined whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable.head import magic
from hven.formats.votable.xml import escape_column
from hven.model import literal
from hven.model.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Column


FEW = 1024  # rows; Arrow takes longer to begin with a column of so many than to write its numbers


class Rows:
    """Encoder for one set of columns."""

    def __init__(self, columns: Sequence[Column], serialization: str) -> None:
        self._columns = tuple(columns)
        self._magic = [magic(column, serialization) for column in columns]
        alike: dict[pa.DataType, list[int]] = {}
        for number, column in enumerate(self._columns):
            kind = column.type
            if kind.datatype != "bit" and (pa.types.is_floating(kind.arrow) or pa.types.is_integer(kind.arrow)):
                alike.setdefault(kind.arrow, []).append(number)
        self._alike = [numbers for numbers in alike.values() if len(numbers) > 1]

    def encode(self, batch: pa.RecordBatch) -> Iterator[memoryview]:
        """Write the text of all rows, in pieces of bounded size."""
        if self._columns:
            for part in literal.pieces(batch, 9 * len(self._columns) + 24):
                yield self._piece(part)

    def _piece(self, batch: pa.RecordBatch) -> memoryview:
        known = self._together(batch) if batch.num_rows <= FEW else {}
        cells = [
            known[number] if number in known else self._cells(batch.column(number), number)
            for number in range(len(self._columns))
        ]
        between = [item for cell in cells[1:] for item in ("</TD><TD>", cell)]
        return literal.characters(literal.joined("<TR><TD>", cells[0], *between, "</TD></TR>\n"))

    def _together(self, batch: pa.RecordBatch) -> dict[int, pa.Array]:
        """Write the numbers of columns of one type at once."""
        found, rows = {}, batch.num_rows
        for numbers in self._alike:
            kind = self._columns[numbers[0]].type
            every = pa.concat_arrays([literal.storage(batch.column(number), kind) for number in numbers])
            shown = literal.filled(literal.text(every, kind))
            found.update({number: shown.slice(at * rows, rows) for at, number in enumerate(numbers)})
        return found

    def _cells(self, array: pa.Array, number: int) -> pa.Array:
        column = self._columns[number]
        kind = column.type
        array = literal.storage(array, kind)
        if pa.types.is_string(array.type):
            shown = escape_column(array)
        elif pa.types.is_nested(array.type) and kind.datatype in {"char", "unicodeChar"}:
            shown = escape_column(_strings(array, column))
        else:
            try:
                shown = literal.text(array, kind, null=self._magic[number])
            except ValueError as error:
                message = f"column {column.name!r}: {error}"
                raise DataError(message, remedy="declare the column's `null`") from error
        return literal.filled(shown)


def _strings(array: pa.Array, column: Column) -> pa.Array:
    """Write arrays of strings: each one padded with blanks to the width, without separators (section 2.2).

    Raises
    ------
    DataError
        A string is longer than the width.
    """
    width = column.type.shape[0] or 1
    offsets, values = literal.flat(array)
    padded = pc.utf8_rpad(literal.filled(values), width=width)
    if len(padded) and pc.max(pc.utf8_length(padded)).as_py() > width:
        message = (
            f"column {column.name!r} is declared with arraysize {column.type.arraysize}, but holds a longer string"
        )
        raise DataError(message, remedy="declare the real length")
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), padded)
    joined = pc.binary_join(lists, literal.word(""))
    return pc.if_else(array.is_valid(), joined, literal.NULL) if array.null_count else joined
