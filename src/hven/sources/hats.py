"""HATS catalogues: Parquet by pieces of the sky, as LSDB and hats-import write them. Names, units and UCDs are those of their VOTable metadata.

Where the collection is kept by an engine that takes catalogues as they are (`hven.engines.Adopts`), and columns only cross over, nothing is copied.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from hven.formats import hats_layout as layout
from hven.model import plugins
from hven.model.errors import Place, SourceError, say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.sources import Context, Pin, Source

PLACES = {"Norder", "Dir", "Npix", layout.CELL, "_hipscat_index"}  # where a row is kept, not what it says


class Options(BaseModel):
    """What a descriptor may say of a catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        description="The directory that has `hats.properties` in it, relative to the descriptor. Margins and indexes, which lie beside it, are left out."
    )


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a catalogue.

    Raises
    ------
    SourceError
        No catalogue; a partition has no file.
    """
    return CatalogueRows(options, context)


class CatalogueRows:
    """The rows of a catalogue (`hven.sources.Source`).

    Attributes
    ----------
    catalogue
        Its directory.
    """

    def __init__(self, options: Options, context: Context) -> None:
        directory = context.directory / Path(options.path).expanduser()
        self.catalogue = str(directory.resolve())
        self._said, partitions = layout.opened(directory)
        files = [
            str(file)
            for _, _, path in partitions
            for file in ([path] if path.is_file() else sorted(path.glob("*.parquet")))
        ]
        if not files:
            raise SourceError(
                say("the catalogue has no partitions"), place=Place(file=str(directory)), remedy=layout.ANEW
            )
        self._read = False
        parquet: Any = plugins.load("sources", "parquet")
        self._rows = parquet.open(parquet.Options(files=files), context)
        common = directory / layout.COMMON
        self._common = parquet.open(parquet.Options(files=[str(common)]), context) if common.is_file() else None

    def columns(self) -> list[Column]:
        """List the columns, described by the VOTable of the catalogue, or of its first file."""
        described = {} if self._common is None else {column.name: column for column in self._common.columns()}
        found = []
        for column in self._rows.columns():
            if column.name in PLACES:
                continue
            known = described.get(column.name)
            found.append(self._placed(known if known is not None and known.type == column.type else column))
        return found

    def _placed(self, column: Column) -> Column:
        """Say what a coordinate is, if nobody did."""
        for key, ucd in (("hats_col_ra", "pos.eq.ra;meta.main"), ("hats_col_dec", "pos.eq.dec;meta.main")):
            if self._said.get(key) == column.name:
                return column.having(unit=column.unit or "deg", ucd=column.ucd or ucd)
        return column

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows, partition by partition."""
        self._read = True
        names = [column.name for column in self.columns()] if columns is None else columns
        yield from self._rows.batches(names, limit)

    def listed(self) -> pa.Table:
        """List the files with size and time, as they are now."""
        return self._rows.listed()

    def only(self, names: Collection[str]) -> CatalogueRows:
        """Select the rows of these files."""
        other = copy.copy(self)
        other._rows = self._rows.only(names)  # noqa: SLF001  (of a copy of ours)
        return other

    def pins(self) -> list[Pin]:
        """List the files; with their checksums, if they were read."""
        found: list[Pin] = self._rows.pins() if self._read else self._rows.listed()
        return found

    def size(self) -> int:
        """Count the rows."""
        return int(self._rows.size())

    def done(self) -> int:
        """Count the rows read so far."""
        return int(self._rows.done())
