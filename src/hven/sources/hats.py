"""HATS catalogues: Parquet by pieces of the sky, as LSDB and hats-import write them. Names, units and UCDs are those of their VOTable metadata.

What a first descriptor says of title, creator, key and position stands in their properties. Where the collection is kept by an engine that takes catalogues as they are (`hven.engines.Adopts`), and columns only cross over, nothing is copied.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field

from hven.formats import hats_catalogues as catalogues
from hven.formats import hats_layout as layout
from hven.model import plugins
from hven.model.errors import FarFault, Place, SourceError, say
from hven.sources import Pin
from hven.sources._reading.fetched import FetchedFile
from hven.sources._reading.service import AskedOptions, Budget, Service, authorization
from hven.sources.stores import WebCatalogues, Whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.sources import Context, Source

SMALL = 64 << 20  # bytes of what is not Parquet
INSIDE = re.compile(
    rf"/+(?:{'|'.join(map(re.escape, catalogues.MARKS))}|{layout.DATASET})?/*$"
)  # what somebody may name instead
CREDITS = {  # key of a descriptor -> properties that say it, as the note on HATS and that on HiPS call them
    "title": ("obs_title",),
    "description": ("obs_description",),
    "creators": ("obs_creator", "hats_creator", "creator"),
    "licence": ("obs_copyright", "hats_copyright"),
    "licence_url": ("obs_copyright_url", "hats_copyright_url"),
    "bibcode": ("bib_reference",),
    "reference_url": ("bib_reference_url", "obs_description_url"),
    "acknowledgement": ("obs_ack",),
    "waveband": ("obs_regime",),
}
SERVED_BY = "hats"  # the engine that serves files of this kind where they are
PLACES = {"Norder", "Dir", "Npix", layout.CELL, "_hipscat_index"}  # where a row is kept, not what it says


class Options(AskedOptions):
    """What a descriptor may say of a catalogue."""

    path: str = Field(
        description="The directory, or the http or https address, that has `hats.properties` in it, or `collection.properties`; a directory relative to the descriptor. Partitions may be directories of files (`hats_npix_suffix=/`). Margins and indexes, which lie beside it, are left out."
    )


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a catalogue.

    Raises
    ------
    SourceError
        No catalogue; a partition has no file.
    """
    return CatalogueRows(options, context)


def recognised(path: str, context: Context) -> str | None:
    """Return where a catalogue is that somebody names: by its directory or address, or a file in it.

    Parameters
    ----------
    path
        A directory, or an address.
    context
        Relative directories begin at its own.

    Returns
    -------
    place
        The directory or the address; None: there is no catalogue, nor a collection of them.

    Raises
    ------
    SourceError
        It cannot be read.
    """
    place = INSIDE.sub("", path.rstrip("/") or path)
    options = Options.model_validate({"path": place, "tries": 1, "seconds": 20})
    return place if catalogues.recognised(place, _folder(options, context)[1]) else None


def _folder(options: Options, context: Context) -> tuple[str, catalogues.Folder]:
    """Return where a catalogue is, as errors call it, and what is there."""
    if layout.on_web(options.path):
        return options.path.rstrip("/"), _Address(options, context)
    place = (context.directory / Path(options.path).expanduser()).absolute()
    return str(place), catalogues.Directory(place)


class CatalogueRows:
    """The rows of a catalogue (`hven.sources.Source`).

    Attributes
    ----------
    catalogue
        Its directory, or its address.
    """

    engine = SERVED_BY

    def __init__(self, options: Options, context: Context) -> None:
        self._web = layout.on_web(options.path)
        place, self._folder = _folder(options, context)
        if not (options.token or options.login):  # an engine is let in nowhere
            self.catalogue = place
        self._opened = catalogues.opened(place, self._folder)
        self._said = self._opened.said
        names = [name for _, _, name in self._opened.partitions]
        if not names:
            raise SourceError(say("the catalogue has no partitions"), place=Place(file=place), remedy=layout.ANEW)  # fmt: skip
        self._read = False
        self._rows, self._common = (_far if self._web else _here)(self._folder, self._opened.base, names, context)

    def columns(self) -> list[Column]:
        """List the columns, described by the VOTable of the catalogue, or of its first file."""
        described = {} if self._common is None else {column.name: column for column in self._common.columns()}
        found = []
        for column in self._rows.columns():
            if column.name in PLACES:
                continue
            known = described.get(column.name)
            found.append(self._placed(column if known is None else known.having(type=column.type)))
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
        if (
            not self._web or limit is not None
        ):  # of files behind an address ranges are read, where few rows are looked at
            yield from self._rows.batches(names, limit)
            return
        for file in self._rows.files:  # one after the other, and none of them is kept
            file.open().close()
            rows = self._rows.only([file.name])
            yield from rows.batches(names)
            self._rows.read += rows.read
            file.path.unlink()

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
        return self.rows() if self._web else int(self._rows.size())

    def done(self) -> int:
        """Count the rows read so far."""
        return int(self._rows.done())

    # --- what a first descriptor says ------------------------------------------------------------------------

    def about(self) -> tuple[str | None, str | None]:
        """Return title and description."""
        said = self.credits()
        return said.get("title"), said.get("description")

    def credits(self) -> Mapping[str, str]:
        """Return what its properties say for the head of a descriptor."""
        found = ((key, next((self._said[name] for name in names if self._said.get(name)), "")) for key, names in CREDITS.items())  # fmt: skip
        return {key: " ".join(text.split()) for key, text in found if text.strip()}

    def key(self) -> tuple[str, ...]:
        """Name the column that it has an index of; in a catalogue of sources, which may be several of one object, that is no key."""
        name = self._opened.key(self._folder) if self._said["dataproduct_type"] == "object" else None
        return (name,) if name and name in {column.name for column in self.columns()} else ()

    def position(self) -> tuple[str, str] | None:
        """Name the columns of its positions."""
        lon, lat = self._said.get("hats_col_ra", ""), self._said.get("hats_col_dec", "")
        return (lon, lat) if {lon, lat} <= {column.name for column in self.columns()} else None

    def rows(self) -> int | None:
        """Return how many rows it says that it has."""
        said = self._said.get("hats_nrows", "")
        return int(said) if said.isdecimal() else None


class _Address:
    """What is behind an address (`hats_catalogues.Folder`)."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options, self._context = options, context
        self._budget = Budget(options, options.path, "or name another catalogue")
        self._secret = authorization(options.token, context, "Bearer") or authorization(options.login, context, "Basic")
        self._ranges = WebCatalogues(allow_private=context.allow_private, secret=self._secret)

    def read(self, name: str) -> bytes | None:
        """See `hats_catalogues.Folder.read`."""
        service = self._service(name)

        def asked() -> bytes | None:
            with service.asked("GET", service.url + "/" * name.endswith("/")) as answer:
                if answer.status in {404, 410}:
                    return None
                if answer.status != 200:
                    let_in = "say `token` or `login`: a secret that lets us in" if answer.status == 401 else "look at the address"  # fmt: skip
                    raise SourceError(say("{url} answers {status}", service.url, answer.status), remedy=let_in)
                return self._budget.read(answer.parts, SMALL)

        return service.tried(asked)

    def has(self, name: str) -> bool:  # noqa: ARG002  (the contract)
        """Return True: each is asked for when it is read."""
        return True

    def files(self, name: str) -> list[str]:
        """See `hats_catalogues.Folder.files`."""
        return catalogues.linked(self.read(f"{name}/") or b"", name)

    def file(self, name: str) -> FetchedFile:
        """Return a file that is fetched when all of it is read."""
        return _Ranged(self._service(name), self._ranges, f"{self._options.path.rstrip('/')}/{name}")

    def _service(self, name: str) -> Service:
        said = self._options
        url = f"{said.path.rstrip('/')}/{quote(name)}"
        return Service(
            url,
            self._context,
            seconds=said.seconds,
            tries=said.tries,
            rate=said.rate,
            secret=self._secret,
            budget=self._budget,
        )


class _Ranged(FetchedFile):
    """A file behind an address of which ranges are read, until all of it was fetched."""

    def __init__(self, service: Service, ranges: WebCatalogues, address: str) -> None:
        super().__init__(service)
        self._ranges, self._where = ranges, address

    @property
    def place(self) -> Any:
        """What Arrow opens; a server that gives no ranges is asked for all of it."""
        if not self.path.exists():
            try:
                found = self._ranges.opened(self._where, *self._ranges.state(self._where))
                found.read(4)
                found.seek(0)
            except Whole:
                self.open().close()
            except FarFault as error:
                why = self._ranges.reason(error)
                raise SourceError(why.message, place=Place(file=self._where), remedy=why.remedy) from error
            else:
                return found
        return self.path

    def hash_whole(self) -> str:
        """Compute the checksum, of what was fetched."""
        return super().hash_whole() if self.path.exists() else ""


def _here(folder: Any, base: str, names: Sequence[str], context: Context) -> tuple[Any, Any]:
    """Open the files of a directory, and what says what their columns mean."""
    parquet: Any = plugins.load("sources", "parquet")
    common = folder.path / base / layout.COMMON
    rows = parquet.ParquetRows(parquet.Options(files=[str(folder.path / name) for name in names]), context)
    meta = parquet.ParquetRows(parquet.Options(files=[str(common)]), context) if common.is_file() else None
    for one in (rows, meta):
        if one is not None:
            one.in_place = True
    return rows, meta


def _far(folder: Any, base: str, names: Sequence[str], context: Context) -> tuple[Any, Any]:
    """Open the files behind an address, behind what says their columns, if there is that: so none is looked at for these."""
    parquet: Any = plugins.load("sources", "parquet")
    files = [folder.file(name) for name in (base + layout.COMMON, *names)]
    try:
        files[0].open().close()
    except SourceError:  # there need not be any
        del files[0]
    rows = parquet.ParquetRows(None, context, files)
    rows.in_place = True
    return rows, None
