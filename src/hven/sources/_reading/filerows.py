"""Rows of one or more files, one file after the other: what all kinds that read whole files do alike."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from hven.model import units
from hven.model.errors import Place, SourceError
from hven.sources import FILE_FACTS, ROW, Context, Pin, listing
from hven.sources._reading.cutting import cut
from hven.sources._reading.files import DataFile, FileOptions, check_names
from hven.sources._reading.listing import Listing, data_files

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow as pa

    from hven.model.table import Column


class Files(ABC):
    """What a `Source` knows of its files, however it reads them.

    Parameters
    ----------
    options, context
        Of the kind.
    files
        Those that are meant; None: what `options` say.

    Raises
    ------
    SourceError
        No such file.
    """

    def __init__(self, options: FileOptions, context: Context, files: Sequence[DataFile] | None = None) -> None:
        self.context = context
        self.files: Sequence[DataFile] = (
            data_files(options, context.directory, context.roots, context.run) if files is None else [*files]
        )
        self.read = 0  # rows or files, of kinds that count those instead of bytes

    @abstractmethod
    def columns(self) -> list[Column]:
        """List the columns."""

    def listed(self) -> pa.Table:
        """List the files with size and time, as they are now, or as this run saw them."""
        if isinstance(self.files, Listing):
            return (self.files if self.context.run else self.files.anew()).table()
        return listing(file.fresh().listing() for file in self.files)

    def only(self, names: Collection[str]) -> Self:
        """Select the rows of these files; what was guessed stays."""
        self.columns()  # what is guessed is kept, and goes along
        other = copy.copy(self)
        other.read = 0
        wanted = set(names)
        other.files = (
            self.files.only(wanted)
            if isinstance(self.files, Listing)
            else [file.fresh() for file in self.files if file.name in wanted]
        )
        return other

    def pins(self) -> list[Pin]:
        """List the files with their checksums."""
        return [file.pin() for file in self.files]

    def size(self) -> int:
        """Count the bytes on disk."""
        return self.files.bytes if isinstance(self.files, Listing) else sum(file.size for file in self.files)

    def done(self) -> int:
        """Count the bytes on disk read so far."""
        return self.files.progress if isinstance(self.files, Listing) else sum(file.progress for file in self.files)


class FilesAsRows(Files):
    """What kinds know whose rows are files: they are listed once, and none is a link that leads elsewhere.

    Such rows are given to everybody: a link that somebody else may have put in the place of a file is no word of the curator's.
    """

    def __init__(self, options: FileOptions, context: Context) -> None:
        super().__init__(options, context)
        if isinstance(self.files, Listing):
            self.files.check_links((context.directory, *context.roots))

    def within(self, context: Context) -> Self:
        """Return the same files in another context."""
        other = copy.copy(self)
        other.context = replace(context, directory=self.context.directory)
        return other

    def done(self) -> int:
        """Count the bytes read so far."""
        return self.read


class FileRows(Files):
    """The half of a `Source` that reads file by file; a kind says which columns there are and how the rows of one file are read."""

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """List all columns' names."""

    @abstractmethod
    def _rows(
        self, file: DataFile, names: Sequence[str], real: Sequence[str], limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Read the rows of one file: `names` in their order, of which `real` stand in the file; a few more than `limit` do no harm."""

    def _same_units(self, file: DataFile, columns: Sequence[Column], real: Sequence[str]) -> None:
        """Refuse a file whose values are in other units than those of the first, whose units are said for all."""
        first = {column.name: column.unit for column in self.columns()}
        for column in columns:
            here, there = units.meant(column.unit), units.meant(first.get(column.name))
            if column.name in real and here and there and not units.same(here, there):
                raise SourceError(
                    f"{column.name} is in {here}, and in {there} in {self.files[0].name}",
                    place=Place(file=file.name),
                    remedy="make it a source entry of its own: then its values are converted",
                )

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows file by file, in batches of the wanted length at most."""
        if not self.files:  # none of them was asked for
            return
        names = check_names(columns, self._names(), self.files[0].name)
        real = [name for name in names if name != ROW and name not in FILE_FACTS]
        found = (batch for file in self.files for batch in self._rows(file, names, real, limit))
        yield from cut(found, self.context.batch, limit)
