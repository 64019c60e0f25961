"""HATS catalogues: Parquet by pieces of the sky, as LSDB and hats-import write them. Names, units and UCDs are those of their VOTable metadata.

Where the collection is kept by an engine that takes catalogues as they are (`hven.engines.Adopts`), and columns only cross over, nothing is copied.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field

from hven.formats import hats_layout as layout
from hven.model import plugins
from hven.model.errors import Place, SourceError, say
from hven.sources import Pin
from hven.sources._reading.fetched import FetchedFile
from hven.sources._reading.service import AskedOptions, Budget, Service, authorization

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.sources import Context, Source

PLACES = {"Norder", "Dir", "Npix", layout.CELL, "_hipscat_index"}  # where a row is kept, not what it says


class Options(AskedOptions):
    """What a descriptor may say of a catalogue."""

    path: str = Field(
        description="The directory, or the http or https address, that has `hats.properties` in it, or `collection.properties`; a directory relative to the descriptor. Margins and indexes, which lie beside it, are left out."
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
        Its directory, or its address.
    """

    def __init__(self, options: Options, context: Context) -> None:
        self._web = layout.on_web(options.path)
        folder: layout.Folder
        if self._web:
            place = options.path.rstrip("/")
            folder = _Address(options, context)
        else:
            place = str((context.directory / Path(options.path).expanduser()).resolve())
            folder = layout.Directory(Path(place))
        if not (options.token or options.login):  # an engine is let in nowhere
            self.catalogue = place
        self._said, base, partitions = layout.opened(place, folder)
        names = [name for _, _, name in partitions]
        if not names:
            raise SourceError(say("the catalogue has no partitions"), place=Place(file=place), remedy=layout.ANEW)  # fmt: skip
        self._read = False
        self._rows, self._common = (_far if self._web else _here)(folder, base, names, context)

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
        if not self._web:
            yield from self._rows.batches(names, limit)
            return
        for file in self._rows.files:  # one after the other, and none of them is kept
            file.open().close()
            rows = self._rows.only([file.name])
            for batch in rows.batches(names, limit):
                yield batch
                limit = None if limit is None else limit - batch.num_rows
            self._rows.read += rows.read
            file.path.unlink()
            if limit is not None and limit <= 0:
                return

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
        if self._read and not self._web:
            found: list[Pin] = self._rows.pins()
            return found
        return [Pin(**row) for row in self._rows.listed().to_pylist()]

    def size(self) -> int | None:
        """Count the rows."""
        said = self._said.get("hats_nrows", "")
        return (int(said) if said.isdecimal() else None) if self._web else int(self._rows.size())

    def done(self) -> int:
        """Count the rows read so far."""
        return int(self._rows.done())


class _Address:
    """What is behind an address (`hats_layout.Folder`)."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options, self._context = options, context
        self._budget = Budget(options, options.path, "or name another catalogue")
        self._secret = authorization(options.token, context, "Bearer") or authorization(options.login, context, "Basic")

    def read(self, name: str) -> bytes | None:
        """See `hats_layout.Folder.read`."""
        service = self._service(name)

        def asked() -> bytes | None:
            with service.asked("GET", service.url) as answer:
                if answer.status in {404, 410}:
                    return None
                if answer.status != 200:
                    raise SourceError(
                        say("{url} answers {status}", service.url, answer.status), remedy="look at the address"
                    )
                return self._budget.read(answer.parts)

        return service.tried(asked)

    def has(self, name: str) -> bool:  # noqa: ARG002  (the contract)
        """Return True: each is asked for when it is read."""
        return True

    def file(self, name: str) -> FetchedFile:
        """Return a file that is fetched when it is read."""
        return FetchedFile(self._service(name), self._budget)

    def _service(self, name: str) -> Service:
        said = self._options
        url = f"{said.path.rstrip('/')}/{quote(name)}"
        return Service(url, self._context, seconds=said.seconds, tries=said.tries, rate=said.rate, secret=self._secret)


def _here(folder: Any, base: str, names: Sequence[str], context: Context) -> tuple[Any, Any]:
    """Open the partitions of a directory, and what says what their columns mean."""
    parquet: Any = plugins.load("sources", "parquet")
    paths = (folder.path / name for name in names)
    files = [str(file) for path in paths for file in ([path] if path.is_file() else sorted(path.glob("*.parquet")))]
    common = folder.path / base / layout.COMMON
    return (
        parquet.open(parquet.Options(files=files), context),
        parquet.open(parquet.Options(files=[str(common)]), context) if common.is_file() else None,
    )


def _far(folder: Any, base: str, names: Sequence[str], context: Context) -> tuple[Any, Any]:
    """Open the partitions behind an address, behind what says their columns: so none is fetched for these."""
    parquet: Any = plugins.load("sources", "parquet")
    files = [folder.file(name) for name in (base + layout.COMMON, *names)]
    try:
        files[0].open().close()
    except SourceError:  # there need not be any
        del files[0]
        files[0].open().close()
    return parquet.ParquetRows(None, context, files), None
