"""Make one row for each FITS file from its header cards; only headers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import SourceError, TextPlace
from hven.sources.api.header_rows import FileHeader, FileHeaderSource, HeaderSourceOptions
from hven.sources.fits_headers import BLOCK_BYTES, HduHeader, Value, read_next_hdu_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.sources import SourceContext
    from hven.sources.api.rows import DataFile

_STRUCTURE_KEYWORDS = frozenset(
    {"SIMPLE", "XTENSION", "EXTEND", "END", "CHECKSUM", "DATASUM", "PCOUNT", "GCOUNT", "TFIELDS", ""}
)
BUFFER_BYTES = 4 * BLOCK_BYTES  # read at a time: most headers fit


class FitsHeaderSource(FileHeaderSource):
    """The cards of many files, one row each."""

    cards_remedy = "choose a different `hdu`; `mode: cards` lists the cards of all HDUs"

    def __init__(
        self,
        options: HeaderSourceOptions,
        hdu: int | str | list[int | str] | None,
        context: SourceContext,
        files: Sequence[DataFile] | None = None,
        *,
        longitudes: str | None = None,
    ) -> None:
        super().__init__(options, context, files, structure=_STRUCTURE_KEYWORDS, longitudes=longitudes)
        self.hdus: list[int | str] = [0]
        if isinstance(hdu, list):
            self.hdus = hdu
        elif hdu is not None:
            self.hdus = [hdu]

    def build_cache_key(self) -> str:
        """Name the HDUs whose cards are read."""
        return f"fits {self.hdus}"

    def read_header(self, file: DataFile) -> FileHeader:
        """Read the cards of the wanted HDUs; of several HDUs with a card, the first one in the list counts."""
        numbers = [item for item in self.hdus if isinstance(item, int)]
        last = max(numbers, default=0)
        all_needed = any(isinstance(item, str) for item in self.hdus)
        headers: list[HduHeader] = []
        stream = file.open_unhashed(BUFFER_BYTES)
        try:
            index = 0
            while all_needed or index <= last:
                header = read_next_hdu_header(stream.read, index, file.name)
                if header is None:
                    break
                headers.append(header)
                index += 1
                if not all_needed and index > last:
                    break
                stream.skip_bytes(header.data_bytes)
        finally:
            stream.close()
        if not headers:
            raise SourceError(
                "the file has no FITS header",
                place=TextPlace(file=file.name),
                remedy="check the file, or add it to `ignore`",
            )
        if len(headers) == 1 and self.hdus == [0]:
            return FileHeader([headers[0].card_values], headers[0].comments)
        values: dict[str, Value] = {}
        comments: dict[str, str] = {}
        for item in self.hdus:
            for header in headers:
                if item != header.index and not header.is_named(item):
                    continue
                for key, value in header.card_values.items():
                    if values.get(key) is None:
                        values[key] = value
                        comments.setdefault(key, header.comments.get(key, ""))
        return FileHeader([values], comments)
