"""Make one row for each card of FITS headers: file, HDU, keyword, value, comment; only headers are read."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column, parse_column_lines
from hven.plugins.product_sources.fits_header_rows import BUFFER_BYTES, FitsHeaderSource
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, RejectedRow
from hven.sources.api.file_rows import find_file_fact_type
from hven.sources.api.rows import resolve_column_names
from hven.sources.fits_headers import HduHeader, format_value, iterate_cards, read_next_hdu_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources.api.rows import DataFile

MAX_HDUS = 100_000  # of a file
_CARD_DESCRIPTION = "Number of the card in its header, from 1; COMMENT and HISTORY come after the others"
CARD_COLUMNS = parse_column_lines(f"""
    file      | string  |  | meta.id;meta.file | Path of the file, relative to the descriptor
    hdu       | int32   |  | meta.number       | Number of the HDU, from 0
    extension | string  |  | meta.id           | Name of the HDU
    card      | int32   |  | meta.number       | {_CARD_DESCRIPTION}
    keyword   | string  |  | meta.id           | Keyword
    value     | string  |  | meta.note         | Value, as the card has it
    number    | float64 |  |                   | Value, if it is a number
    comment   | string  |  | meta.note         | Comment of the card
""")


class FitsCardSource(FitsHeaderSource):
    """The cards of many files, each a row; `hdus` and `cards` choose among them, if they were given."""

    def list_columns(self) -> list[Column]:
        """List the columns, which are the same for all files."""
        return list(CARD_COLUMNS)

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the cards of one file after the other."""
        names = resolve_column_names(column_names, [column.name for column in CARD_COLUMNS], "the cards")
        kinds = {column.name: column.type.arrow for column in CARD_COLUMNS}
        kinds[ROW_NUMBER_COLUMN] = pa.int64()
        kinds |= {name: find_file_fact_type(name) for name in names if name in FILE_FACT_COLUMNS}
        rows = islice(self._iterate_cards(names), row_limit)
        while batch_rows := list(islice(rows, self.context.batch_row_limit)):
            arrays = [pa.array([row[name] for row in batch_rows], kinds[name]) for name in names]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    def _iterate_cards(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        count = 0
        wanted_hdus = {str(hdu).lower() for hdu in self.hdus}
        for number, file in enumerate(self.files, 1):
            self.read_count = number
            facts = {name: file.find_file_fact(name) for name in names if name in FILE_FACT_COLUMNS}
            try:
                headers = self._read_hdu_headers(file)
            except SourceError as error:
                reason = RejectedRow(file=file.name, row=number, column=None, value=None, reason=error.message)
                self._reject_row(reason, error)
                continue
            for header in headers:
                if wanted_hdus and not {str(header.index), header.name.lower()} & wanted_hdus:
                    continue
                for card, (keyword, value, comment) in enumerate(iterate_cards(header), 1):
                    if self.cards is not None and keyword not in self.cards:
                        continue
                    count += 1
                    plain = isinstance(value, int | float) and not isinstance(value, bool)
                    yield {
                        **facts,
                        ROW_NUMBER_COLUMN: count,
                        "file": file.name,
                        "hdu": header.index,
                        "extension": header.name or None,
                        "card": card,
                        "keyword": keyword,
                        "value": format_value(value),
                        "number": value if plain else None,
                        "comment": comment or None,
                    }

    def _read_hdu_headers(self, file: DataFile) -> list[HduHeader]:
        headers: list[HduHeader] = []
        stream = file.open_unhashed(BUFFER_BYTES)
        try:
            while (
                len(headers) < MAX_HDUS
                and (header := read_next_hdu_header(stream.read, len(headers), file.name)) is not None
            ):
                headers.append(header)
                stream.skip_bytes(header.data_bytes)
        finally:
            stream.close()
        return headers
