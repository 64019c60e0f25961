"""One row per FITS file, made from header cards; only headers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import Place, SourceError
from hven.sources._reading.headrows import HeadOptions, HeadRows
from hven.sources._reading.keptheads import Heads
from hven.sources.cards import BLOCK, Header, Value, read_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.sources import Context
    from hven.sources._reading.files import DataFile

_STRUCTURE = frozenset({"SIMPLE", "XTENSION", "EXTEND", "END", "CHECKSUM", "DATASUM", "PCOUNT", "GCOUNT", "TFIELDS", ""})  # fmt: skip
LOT = 4 * BLOCK  # bytes that are read at a time: most headers


class HeaderRows(HeadRows):
    """The cards of many files, one row each."""

    where_cards_are = "look at another `hdu`; `mode: cards` lists the cards of all"

    def __init__(
        self,
        options: HeadOptions,
        hdu: int | str | list[int | str] | None,
        context: Context,
        files: Sequence[DataFile] | None = None,
        *,
        stonyhurst: bool = False,
        west: bool = False,
    ) -> None:
        super().__init__(options, context, files, structure=_STRUCTURE, stonyhurst=stonyhurst, west=west)
        self.hdus: list[int | str] = [0] if hdu is None else hdu if isinstance(hdu, list) else [hdu]

    def way(self) -> str:
        """Name the HDUs whose cards are read."""
        return f"fits {self.hdus}"

    def heads(self, file: DataFile) -> Heads:
        """Read the cards of the wanted HDUs; the first HDU in the list that has a card gives it."""
        last = max((item for item in self.hdus if isinstance(item, int)), default=0)
        all_needed = any(isinstance(item, str) for item in self.hdus)
        headers: list[Header] = []
        stream = file.glance(LOT)
        try:
            index = 0
            while all_needed or index <= last:
                header = read_header(stream.read, index, file.name)
                if header is None:
                    break
                headers.append(header)
                index += 1
                if not all_needed and index > last:
                    break
                stream.skip(header.data_bytes)
        finally:
            stream.close()
        if not headers:
            raise SourceError("has no header of FITS", place=Place(file=file.name), remedy="look what it is, or `ignore:` it")  # fmt: skip
        if len(headers) == 1 and self.hdus == [0]:
            return Heads([headers[0].values], headers[0].comments)
        values: dict[str, Value] = {}
        comments: dict[str, str] = {}
        for item in self.hdus:
            for header in headers:
                if item == header.index or (isinstance(item, str) and item.lower() == header.name.lower()):
                    for key, value in header.values.items():
                        if values.get(key) is None:
                            values[key] = value
                            comments.setdefault(key, header.comments.get(key, ""))
        return Heads([values], comments)
