"""Read HATS catalogues, as LSDB and hats-import write them: Parquet files, each for a part of the sky.

Names, units and UCDs are those of their VOTable metadata.

What a first descriptor says of title, creator, key and position stands in their properties. Where the collection is
kept by an engine that takes catalogues as they are (`hven.engines.CatalogueAdopter`), and columns only cross over,
nothing is copied.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import Field

from hven.model import plugins
from hven.model.errors import SourceError, TextPlace, UpstreamError, format_message
from hven.plugins.hats import hats_catalogues as catalogues
from hven.plugins.hats import hats_layout
from hven.plugins.hats.web_catalogues import WebHatsClient
from hven.sources import CatalogueSignature, InputVersion
from hven.sources.api.fetched_files import FetchedFile
from hven.sources.api.services import RequestOptions, RunBudget, ServiceClient, resolve_token_or_login
from hven.sources.remote_stores import NoRangesError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Column
    from hven.sources import Source, SourceContext

MAX_SMALL_FILE_BYTES = 64 << 20  # bytes of what is not Parquet
INNER_PATH_PATTERN = re.compile(
    rf"/+(?:{'|'.join(map(re.escape, catalogues.CATALOGUE_FILE_NAMES))}|{hats_layout.DATASET_DIRECTORY})?/*$"
)  # what somebody may name instead
CREDIT_PROPERTIES = {  # key of a descriptor -> properties that say it, as the note on HATS and that on HiPS call them
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
LOCATION_COLUMNS = {
    "Norder",
    "Dir",
    "Npix",
    hats_layout.CELL_COLUMN,
    "_hipscat_index",
}  # where a row is kept, not what it says


class Options(RequestOptions):
    """What a descriptor may state about a catalogue."""

    path: str = Field(
        description=(
            "The catalogue's directory, relative to the descriptor, or its http or https address. The directory "
            "contains either `hats.properties` or `collection.properties`, which points to the main catalogue. "
            "Partitions can be directories of files (`hats_npix_suffix=/`). Hven ignores margins and indexes next to "
            "the catalogue."
        ),
        examples=["/data/hats/gaia_dr3"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a catalogue.

    Raises
    ------
    SourceError
        No catalogue; a partition has no file.
    """
    return HatsSource(options, context)


def find_hats_catalogue_root(path: str, context: SourceContext) -> str | None:
    """Find the catalogue of a path or address: its directory or address, or a file in it.

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
            The catalogue cannot be read.
    """
    root = INNER_PATH_PATTERN.sub("", path.rstrip("/") or path)
    options = Options.model_validate({"path": root, "tries": 1, "seconds": 20})
    if catalogues.is_hats_catalogue(root, _open_folder(options, context)[1]):
        return root
    return None


CATALOGUE = CatalogueSignature(find_root=find_hats_catalogue_root, engine="hats")


def _open_folder(options: Options, context: SourceContext) -> tuple[str, catalogues.CatalogueFileAccess]:
    """Return where a catalogue is, its name for errors, and its content."""
    if hats_layout.is_web_address(options.path):
        return options.path.rstrip("/"), _RemoteCatalogueFolder(options, context)
    place = (context.directory / Path(options.path).expanduser()).absolute()
    return str(place), catalogues.LocalCatalogueFolder(place)


class HatsSource:
    """The rows of a catalogue (`hven.sources.Source`).

    Attributes
    ----------
    catalogue
        Directory or address of the catalogue.
    """

    engine = CATALOGUE.engine

    def __init__(self, options: Options, context: SourceContext) -> None:
        self._is_on_web = hats_layout.is_web_address(options.path)
        place, self._folder = _open_folder(options, context)
        if not (options.token or options.login):  # an engine is let in nowhere
            self.catalogue = place
        self._catalogue = catalogues.read_hats_catalogue_description(place, self._folder)
        self._properties = self._catalogue.properties
        names = [name for _, _, name in self._catalogue.partitions]
        if not names:
            raise SourceError(
                format_message("the catalogue has no partitions"),
                place=TextPlace(file=place),
                remedy=hats_layout.REWRITE_REMEDY,
            )
        self._is_read = False
        self._partition_source, self._metadata_source = (
            _open_remote_parquet_sources if self._is_on_web else _open_local_parquet_sources
        )(self._folder, self._catalogue.base, names, context)

    def list_columns(self) -> list[Column]:
        """List the columns, described by the VOTable of the catalogue, or of its first file."""
        if self._metadata_source is None:
            described = {}
        else:
            described = {column.name: column for column in self._metadata_source.list_columns()}
        columns = []
        for column in self._partition_source.list_columns():
            if column.name in LOCATION_COLUMNS:
                continue
            described_column = described.get(column.name)
            columns.append(
                self._with_coordinate_description(
                    column if described_column is None else described_column.copy_with(type=column.type)
                )
            )
        return columns

    def _with_coordinate_description(self, column: Column) -> Column:
        """Describe a column of coordinates that has no description."""
        for key, ucd in (("hats_col_ra", "pos.eq.ra;meta.main"), ("hats_col_dec", "pos.eq.dec;meta.main")):
            if self._properties.get(key) == column.name:
                return column.copy_with(unit=column.unit or "deg", ucd=column.ucd or ucd)
        return column

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, partition by partition."""
        self._is_read = True
        names = column_names
        if column_names is None:
            names = [column.name for column in self.list_columns()]
        if (
            not self._is_on_web or row_limit is not None
        ):  # of files behind an address ranges are read, where few rows are looked at
            yield from self._partition_source.read_batches(names, row_limit)
            return
        for file in self._partition_source.files:  # one after the other, and none of them is kept
            file.open_stream().close()
            rows = self._partition_source.select_files([file.name])
            yield from rows.read_batches(names)
            self._partition_source.read_count += rows.read_count
            file.path.unlink()

    def list_files(self) -> pa.Table:
        """List the files with size and time, as they are now."""
        return self._partition_source.list_files()

    def select_files(self, file_names: Collection[str]) -> HatsSource:
        """Select the rows of these files."""
        selection = copy.copy(self)
        # of a copy of ours
        selection._partition_source = self._partition_source.select_files(file_names)  # noqa: SLF001
        return selection

    def list_input_versions(self) -> list[InputVersion]:
        """List the files; with their checksums, if they were read."""
        if self._is_read and not self._is_on_web:
            versions: list[InputVersion] = self._partition_source.list_input_versions()
            return versions
        return [InputVersion(**row) for row in self._partition_source.list_files().to_pylist()]

    def estimate_progress_total(self) -> int | None:
        """Count the rows."""
        if self._is_on_web:
            return self.read_stated_row_count()
        return int(self._partition_source.estimate_progress_total())

    def count_progress_units(self) -> int:
        """Count the rows read so far."""
        return int(self._partition_source.count_progress_units())

    # --- what a first descriptor says ------------------------------------------------------------------------

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return title and description."""
        credit_texts = self.list_credits()
        return credit_texts.get("title"), credit_texts.get("description")

    def list_credits(self) -> Mapping[str, str]:
        """Return what its properties say for the head of a descriptor."""
        property_texts = (
            (key, next((self._properties[name] for name in names if self._properties.get(name)), ""))
            for key, names in CREDIT_PROPERTIES.items()
        )
        return {key: " ".join(text.split()) for key, text in property_texts if text.strip()}

    def list_key_columns(self) -> tuple[str, ...]:
        """Name the column that it has an index of.

        In a catalogue of sources, which may be several of one object, that is no key.
        """
        if self._properties["dataproduct_type"] == "object":
            name = self._catalogue.find_index_column(self._folder)
        else:
            name = None
        if name and name in {column.name for column in self.list_columns()}:
            return (name,)
        return ()

    def find_position_columns(self) -> tuple[str, str] | None:
        """Name the columns of its positions."""
        lon = self._properties.get("hats_col_ra", "")
        lat = self._properties.get("hats_col_dec", "")
        if {lon, lat} <= {column.name for column in self.list_columns()}:
            return (lon, lat)
        return None

    def read_stated_row_count(self) -> int | None:
        """Return how many rows it says that it has."""
        row_count_text = self._properties.get("hats_nrows", "")
        if row_count_text.isdecimal():
            return int(row_count_text)
        return None


class _RemoteCatalogueFolder:
    """What is behind an address (`hats_catalogues.CatalogueFileAccess`)."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        self._options = options
        self._context = context
        self._budget = RunBudget(options, options.path, "or choose a smaller catalogue")
        self._secret = resolve_token_or_login(options.token, options.login, context)
        self._ranges = WebHatsClient(allow_private=context.allow_private, secret=self._secret)

    def read_file(self, name: str) -> bytes | None:
        """See `hats_catalogues.CatalogueFileAccess.read_file`."""
        service = self._build_client(name)

        def request_once() -> bytes | None:
            with service.request("GET", service.url + "/" * name.endswith("/")) as answer:
                if answer.status in {404, 410}:
                    return None
                if answer.status != 200:
                    if answer.status == 401:
                        let_in = "set `token` or `login` to a secret with access to the service"
                    else:
                        let_in = "check the address"
                    raise SourceError(
                        format_message("{url} returned status {status}", service.url, answer.status), remedy=let_in
                    )
                return self._budget.read_answer_within_limit(answer.parts, MAX_SMALL_FILE_BYTES)

        return service.retry(request_once)

    def can_have_file(self, name: str) -> bool:  # noqa: ARG002  (the contract)
        """Return True: each is asked for when it is read."""
        return True

    def list_parquet_files(self, partition_directory: str) -> list[str]:
        """See `hats_catalogues.CatalogueFileAccess.list_files`."""
        file = self.read_file(f"{partition_directory}/")
        return catalogues.list_linked_parquet_files(file or b"", partition_directory)

    def open_file(self, name: str) -> FetchedFile:
        """Return a file that is fetched when all of it is read."""
        client = self._build_client(name)
        return _RangedFetchedFile(client, self._ranges, f"{self._options.path.rstrip('/')}/{name}")

    def _build_client(self, name: str) -> ServiceClient:
        options = self._options
        url = f"{options.path.rstrip('/')}/{quote(name)}"
        return ServiceClient(
            url,
            self._context,
            options=options,
            authorization=self._secret,
            budget=self._budget,
        )


class _RangedFetchedFile(FetchedFile):
    """A file behind an address of which ranges are read, until all of it was fetched."""

    def __init__(self, service: ServiceClient, ranges: WebHatsClient, address: str) -> None:
        super().__init__(service)
        self._ranges = ranges
        self._address = address

    @property
    def product_path(self) -> Any:
        """What Arrow opens; a server that gives no ranges is asked for all of it."""
        if not self.path.exists():
            try:
                file = self._ranges.open_file(self._address, *self._ranges.request_file_state(self._address))
                file.read(4)
                file.seek(0)
            except NoRangesError:
                self.open_stream().close()
            except UpstreamError as error:
                why = self._ranges.find_cause(error)
                raise SourceError(why.message, place=TextPlace(file=self._address), remedy=why.remedy) from error
            else:
                return file
        return self.path

    def compute_sha256(self) -> str:
        """Compute the checksum, of what was fetched."""
        if self.path.exists():
            return super().compute_sha256()
        return ""


def _open_local_parquet_sources(
    folder: Any, base: str, names: Sequence[str], context: SourceContext
) -> tuple[Any, Any]:
    """Open the files of a directory, and what says what their columns mean."""
    parquet: Any = plugins.load_plugin("sources", "parquet")
    common = folder.path / base / hats_layout.COMMON_METADATA_FILE
    files = [str(folder.path / name) for name in names]
    rows = parquet.ParquetSource(parquet.Options(files=files), context)
    if common.is_file():
        meta = parquet.ParquetSource(parquet.Options(files=[str(common)]), context)
    else:
        meta = None
    for parquet_source in (rows, meta):
        if parquet_source is not None:
            parquet_source.in_place = True
    return rows, meta


def _open_remote_parquet_sources(
    folder: Any, base: str, names: Sequence[str], context: SourceContext
) -> tuple[Any, Any]:
    """Open the files behind an address, behind what says their columns, if there is that.

    So none is looked at for these.
    """
    parquet: Any = plugins.load_plugin("sources", "parquet")
    files = [folder.open_file(name) for name in (base + hats_layout.COMMON_METADATA_FILE, *names)]
    try:
        files[0].open_stream().close()
    except SourceError:  # there need not be any
        del files[0]
    rows = parquet.ParquetSource(None, context, files)
    rows.in_place = True
    return rows, None
