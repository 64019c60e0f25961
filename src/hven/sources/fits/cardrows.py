"""One row per card of FITS headers: which file, which HDU, keyword, value, comment; only headers are read."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column, written_columns
from hven.sources import FILE_FACTS, ROW, Reject
from hven.sources._reading.files import check_names, fact_type
from hven.sources.cards import Header, lines, read_header, written
from hven.sources.fits.header import LOT, HeaderRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources._reading.files import DataFile

MOST = 100_000  # HDUs of a file
COLUMNS = written_columns("""
    file      | string  |  | meta.id;meta.file | Path of the file, relative to the descriptor
    hdu       | int32   |  | meta.number       | Number of the HDU, from 0
    extension | string  |  | meta.id           | Name of the HDU
    card      | int32   |  | meta.number       | Place of the card in its header, from 1; those of COMMENT and HISTORY behind the others
    keyword   | string  |  | meta.id           | Keyword
    value     | string  |  | meta.note         | Value, as the card has it
    number    | float64 |  |                   | Value, if it is a number
    comment   | string  |  | meta.note         | Comment of the card
""")


class CardRows(HeaderRows):
    """The cards of many files, each a row; `hdus` and `cards` choose among them, if they were given."""

    def columns(self) -> list[Column]:
        """List the columns, which are the same for all files."""
        return list(COLUMNS)

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the cards of one file after the other."""
        names = check_names(columns, [column.name for column in COLUMNS], "the cards")
        kinds = {column.name: column.type.arrow for column in COLUMNS} | {ROW: pa.int64()}
        kinds |= {name: fact_type(name) for name in names if name in FILE_FACTS}
        rows = islice(self._every(names), limit)
        while some := list(islice(rows, self.context.batch)):
            arrays = [pa.array([row[name] for row in some], kinds[name]) for name in names]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    def _every(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        count = 0
        wanted = {str(one).lower() for one in self.hdus}
        for number, file in enumerate(self.files, 1):
            self.read = number
            facts = {name: file.fact(name) for name in names if name in FILE_FACTS}
            try:
                headers = self._headers(file)
            except SourceError as error:
                reason = Reject(file=file.name, row=number, column=None, value=None, reason=error.message)
                self._reject(reason, error)
                continue
            for header in headers:
                if wanted and not {str(header.index), header.name.lower()} & wanted:
                    continue
                for card, (keyword, value, comment) in enumerate(lines(header), 1):
                    if self.cards is not None and keyword not in self.cards:
                        continue
                    count += 1
                    plain = isinstance(value, int | float) and not isinstance(value, bool)
                    yield {
                        **facts, ROW: count, "file": file.name, "hdu": header.index, "extension": header.name or None, "card": card,
                        "keyword": keyword, "value": written(value), "number": value if plain else None, "comment": comment or None,
                    }  # fmt: skip

    def _headers(self, file: DataFile) -> list[Header]:
        found: list[Header] = []
        stream = file.glance(LOT)
        try:
            while len(found) < MOST and (header := read_header(stream.read, len(found), file.name)) is not None:
                found.append(header)
                stream.skip(header.data_bytes)
        finally:
            stream.close()
        return found
