"""Sources of rows: the `Source` contract; each kind of source is a module with the kind's name.

A source module has `Options` (a pydantic model: what a descriptor may state under ``source:``) and
``open(options, context) -> Source``. Sources yield Arrow batches with flat memory, never rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from hven.model.settings import DescriptorPythonLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from hven.formats import TableMetadata
    from hven.formats.media import OpenProductFile
    from hven.model import LruCache, ReadDeviation
    from hven.model.errors import Fault
    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.table import Column, FileReaderSpec, Table, TimeSeriesMetadata

T = TypeVar("T")
ROW_NUMBER_COLUMN = (
    "source.row"  # int64, 1-based number of the row in its file, as an editor or a database would count data rows
)
FILE_FACT_COLUMNS = (
    "file.path",
    "file.name",
    "file.stem",
    "file.size",
    "file.mtime",
    "file.md5",
    "file.sha256",
    "file.media_type",
    "file.url",
    "file.footprint",
)
FILE_LIST_SCHEMA = pa.schema(
    {"name": pa.string(), "bytes": pa.int64(), **dict.fromkeys(("modified", "sha256", "detail"), pa.string())}
)  # of `FileListSource.list_files`: what a `InputVersion` says


@dataclass(frozen=True, slots=True, kw_only=True)
class InputVersion:
    """The version of an input that was read: a file with its checksum, a query with its snapshot.

    It is kept as provenance.

    Attributes
    ----------
    name
        Name of the file or service, relative to the descriptor.
    bytes
        Size of the file.
    modified
        Time of the last change, ISO 8601.
    sha256
        Hexadecimal.
    detail
        What else distinguishes it from other states: a query, a version.
    """

    name: str
    bytes: int | None = None
    modified: str | None = None
    sha256: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row that could not be read. Ingest sets it aside and never loses it.

    Attributes
    ----------
    file
        Name of its file; None: the source has no files.
    column
        Name of the column at fault.
    value
        Value as it is written.
    reason
        Reason why it cannot be read.
    text
        Text of the whole row.
    """

    file: str | None
    row: int | None
    column: str | None
    value: str | None
    reason: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKindSignature:
    """How files of a kind are recognised: ``FILES`` of the kind's module.

    Attributes
    ----------
    extensions
        Endings of their names, in lower case: ``csv``.
    leading_pattern
        A regular expression for their beginning, decompressed; texts in UTF-16 are matched as UTF-8. Empty: the
        beginning tells nothing.
    base_kind, trailing_pattern
        The kind that has the same beginning, and a regular expression that is searched for in the last bytes of a file.
        Without `trailing_pattern`, `leading_pattern` is matched with the first megabyte of the file.
    option
        The option that names the files. Kinds that read a single file have another one than ``files``.
    """

    extensions: tuple[str, ...] = ()
    leading_pattern: bytes = b""
    trailing_pattern: bytes = b""
    base_kind: str = ""
    option: str = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUrlSignature:
    """How the addresses of services of a kind are recognised: ``SERVICE`` of the kind's module.

    Attributes
    ----------
    url_pattern
        A regular expression of whole addresses; its groups are options. Empty: addresses tell nothing.
    table_option
        The option that names one of several tables, data sets or collections; empty: there is only one.
    """

    url_pattern: str = ""
    table_option: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseForeignKey:
    """A foreign key to another table of a database.

    Attributes
    ----------
    name
        Name of the constraint.
    columns, target_columns
        Columns of the table, and the columns of the other one that they refer to.
    target
        The other table, with its schema.
    """

    name: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseTableFacts:
    """What a database says of a table, apart from its rows.

    Attributes
    ----------
    columns
        The columns that the kind of source can read, as the database has them.
    comment
        The comment of the table; None: it has none.
    primary_key
        Columns of the primary key.
    foreign_keys
        Keys to other tables.
    omitted_column_reasons
        Why each other column of the table is not read.
    kind_note
        What another kind of source would do with the table. `hven new` writes it into the descriptor.
    """

    columns: tuple[Column, ...] = ()
    comment: str | None = None
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[DatabaseForeignKey, ...] = ()
    omitted_column_reasons: tuple[str, ...] = ()
    kind_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSignature:
    """How databases of a kind are recognised, and how `hven new` looks at them: ``DATABASE`` of the kind's module.

    A kind with this signature has the options ``url`` and ``table``.

    Attributes
    ----------
    url_pattern
        A regular expression of whole addresses, with the groups ``database``, ``table`` and ``parameters``. Empty:
        addresses tell nothing.
    extract_connection_line
        Extracts the line by which a driver connects from a text; it returns None if the text is no such line. Files
        with such a line alone are moved to the secrets. None: the kind has no such lines.
    inspect_table
        ``inspect_table(kind, options, context)`` inspects a table for any kind with such a signature; it returns None
        if the database is not one that it knows. None: the kind inspects no tables.
    copying_kind
        For a kind that publishes tables in place: the kind that copies their rows, by which `hven new` looks at them.
        Empty: the kind itself copies rows.
    """

    url_pattern: str = ""
    extract_connection_line: Callable[[str], str | None] | None = None
    inspect_table: Callable[[str, Mapping[str, Any], SourceContext], DatabaseTableFacts | None] | None = None
    copying_kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueSignature:
    """How catalogues of many files are recognised: ``CATALOGUE`` of the kind's module.

    Attributes
    ----------
    find_root
        ``find_root(path, context) -> str | None``: the directory or address of the catalogue that has a path or
        address, or None if there is no such catalogue. It raises a `SourceError` if that cannot be found out.
    option
        The option that has the directory or address.
    engine
        Name of the engine that can serve the files in place (`InPlaceCatalogueSource`); empty: there is none.
    """

    find_root: Callable[[str, SourceContext], str | None]
    option: str = "path"
    engine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKindTraits:
    """How an ingest and `hven check` treat tables with a source of a kind: ``TRAITS`` of the kind's module.

    The defaults suit most kinds.

    Attributes
    ----------
    is_followed_without_sync
        An ingest records which row came from where, even if the table has no ``sync:``.
    is_read_by_key
        The source knows `SourceContext.key_columns`, even if the table has no ``sync:``.
    is_read_from_watermark
        The source returns only the rows behind a watermark (`IncrementalSource`).
    starts_empty
        Rows come after the table is published, so that it is published without rows.
    reads_local_files
        Sources without the option ``url`` read files that are here, and need no secrets and no other tables. `hven
        check` opens them.
    has_declared_columns
        The columns follow from the options alone, so that `hven check` compiles the table over them.
    header_modes
        Values of the option ``mode`` with which rows have the columns that packages compute
        (`PluginPackage.header_columns`).
    has_cached_pages
        A sync caches pages of rows unless the descriptor says otherwise, because the source answers slowly.
    find_mirrored_site
        Finds the site whose table a table reproduces: called with the source and the qualified name of the table. It
        returns an address, or an empty text. None: no source of the kind reproduces a table.
    list_queries
        Lists the ADQL queries over tables of this site that a source runs: called with its options. An ingest fills
        these tables first, and records their snapshots. None: the kind runs no queries.
    is_made_by_queries
        The rows depend only on the options and on these queries: a sync keeps a table whose inputs did not change, and
        `hven check` compiles a table over the columns of the queries.
    find_table_faults
        Finds faults of a table that is compiled over such a source: called with the table as the descriptor states it,
        the source, the compiled table and the collection. None: there is nothing to check.
    """

    is_followed_without_sync: bool = False
    is_read_by_key: bool = False
    is_read_from_watermark: bool = False
    starts_empty: bool = False
    reads_local_files: bool = False
    has_declared_columns: bool = False
    header_modes: tuple[str, ...] = ()
    has_cached_pages: bool = False
    find_mirrored_site: Callable[[SourceSpec, str], str] | None = None
    list_queries: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
    is_made_by_queries: bool = False
    find_table_faults: Callable[[TableSpec, SourceSpec, Table, CollectionSpec], Sequence[Fault]] | None = None


class QueryRows(Protocol):
    """The rows of a query: Arrow batches, with the metadata of their columns."""

    @property
    def columns(self) -> Sequence[Column]:
        """The columns of all batches."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows."""


class SiteQueryRunner(Protocol):
    """Runs queries over the tables of this site."""

    def __call__(self, text: str, uploads: Mapping[str, tuple[Table, pa.Table]] | None = None) -> QueryRows:
        """Run a query.

        Parameters
        ----------
        text
            The ADQL query.
        uploads
            Tables that exist for this query only, by qualified name. None: there are none.

        Returns
        -------
        rows
            The rows, which can be read once.
        """


class PackageStoreOpener(Protocol):
    """Opens the records that a plug-in package keeps in the system state."""

    def __call__(self, factory: Callable[[Any], T]) -> T:
        """Return the object by which the package reads its records.

        Parameters
        ----------
        factory
            A class or function of the package, which gets the database.

        Returns
        -------
        records
            The same object at each call.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """The context in which a source is read.

    Attributes
    ----------
    directory
        Directory of the descriptor, from which relative paths start.
    resolve_secret
        Resolves ``$NAME`` to a secret.
    run_query
        Runs ADQL over the tables of this site (source kind ``query``); ingest provides it. `hven check` provides one
        whose answers have columns, but no rows.
    target_types
        Target types by source column name, where the mapping copies a column unchanged: a reader may
        convert to them at once.
    on_reject
        Takes the rows that cannot be read.
    reject_limit
        Rejected rows and values of each piece of text that `on_reject` gets, at least; None: all. A caller that needs
        few does not wait for millions: after this number nothing more is read.
    on_notice
        Takes what people should know: a `hven.model.ReadDeviation` for what is narrowed, dropped or reinterpreted
        (`report_deviation`), or a sentence about the source as a whole. `hven new` writes it into the draft, `hven
        check` warns about it, and the ingest report shows it with its counts.
    batch_row_limit
        Rows of a batch, at most.
    key_columns
        Source columns that form a key; sources that are read page by page are paged by them.
    page_row_limit
        Rows of a page, where the source is read page by page (`sync: page`); None: the source decides.
    requests_per_second
        Largest number of requests a second to the source (`sync: rate`); None: the source decides.
    allow_private
        True allows addresses that are not on the public internet (`allow_private` of hven.toml).
    python_limits
        Limits of the Python code beside the descriptor.
    open_sample_file
        Opens a file of samples by a reader that the descriptor names (`hven.sources.file_readers.open_with_reader`).
    allowed_roots
        Directories that links among the files may lead into, besides that of the descriptor (the site, and
        `allowed_roots` of hven.toml).
    cache_directory
        Directory of what was read and fetched, kept until the next run; None: this is a first look, and nothing is
        kept.
    table_name
        The table that the source fills, as ``schema.table``; empty: this is a first look.
    open_records
        Opens the records that a plug-in package keeps in the system state (`StateStore.get_or_create`); None: this is a
        first look.
    pending_writes
        Records that the run commits with its tables: a source of their package reads them as if they were stored.
    run_name
        Name of the run that reads. Tables of one run may share a source, which is then read once; empty: there is none.
    on_progress
        Takes the number of fetched documents and of all, while they are fetched.
    answer_cache
        Keeps the answers of services, for callers that inspect one repeatedly; None: nothing is kept.
    is_inspection
        True if a person waits for a first look (`hven check`, `hven new`): a service that stays silent is given up
        after `INSPECTION_TIMEOUT_SECONDS`, and is asked `INSPECTION_ATTEMPTS` times at most, whatever the source says.
    """

    directory: Path = Path()
    resolve_secret: Callable[[str], str] | None = None
    run_query: SiteQueryRunner | None = None
    target_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    on_reject: Callable[[RejectedRow], None] | None = None
    reject_limit: int | None = None
    on_notice: Callable[[str | ReadDeviation], None] | None = None
    batch_row_limit: int = 131_072
    key_columns: Sequence[str] = ()
    page_row_limit: int | None = None
    requests_per_second: float | None = None
    allow_private: bool = False
    python_limits: DescriptorPythonLimits = field(default_factory=DescriptorPythonLimits)
    open_sample_file: Callable[[Path, str, FileReaderSpec], OpenProductFile] | None = None
    allowed_roots: Sequence[Path] = ()
    cache_directory: Path | None = None
    table_name: str = ""
    open_records: PackageStoreOpener | None = None
    pending_writes: Sequence[object] = ()
    run_name: str = ""
    on_progress: Callable[[int, int], None] | None = None
    answer_cache: LruCache[tuple[Any, Sequence[bytes]]] | None = None
    is_inspection: bool = False

    def report_deviation(self, deviation: ReadDeviation) -> None:
        """Report what a reader narrows, drops or reinterprets, if there is a listener.

        Parameters
        ----------
        deviation
            The deviation; its `count` is the number that was not reported before.
        """
        if self.on_notice is not None:
            self.on_notice(deviation)


def build_file_list(versions: Iterable[InputVersion]) -> pa.Table:
    """Build the table that `FileListSource.list_files` returns.

    Parameters
    ----------
    versions
        The versions of the files.

    Returns
    -------
    files
        The facts of the files, with the columns `FILE_LIST_SCHEMA`.
    """
    version_list = list(versions)
    return pa.table(
        {name: [getattr(pin, name) for pin in version_list] for name in FILE_LIST_SCHEMA.names}, FILE_LIST_SCHEMA
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableTable:
    """One of the tables that a file or database holds.

    A kind with several tables may have ``list_source_tables(options, context) -> list[AvailableTable]``: `options` as
    far as they are known, without a table.

    Attributes
    ----------
    option_value
        Value of the option (`table`, `hdu`) that selects it.
    name
        Name, as the option `table` takes it.
    row_count
        Number of rows, if it is known quickly.
    is_view
        True if it is a view of a database.
    is_default
        True if it is read by default.
    """

    option_value: str | int
    name: str = ""
    row_count: int | None = None
    is_view: bool = False
    is_default: bool = False

    def __str__(self) -> str:
        """Write name and size in words."""
        name = " ".join(dict.fromkeys(filter(None, (str(self.option_value), self.name))))
        facts = [
            *(["view"] if self.is_view else []),
            *([f"{self.row_count:,} row{'s' * (self.row_count != 1)}"] if self.row_count is not None else []),
        ]
        if facts:
            return f"{name} ({', '.join(facts)})"
        return name


class Source(Protocol):
    """Rows of one ``source:`` entry."""

    def list_columns(self) -> list[Column]:
        """Describe the columns with the types, units, UCDs and descriptions that the format carries.

        Returns
        -------
        columns
            Columns in the order of the source.

        Raises
        ------
        SourceError
            The source is unreadable, empty, or not as described: file, line, reason, remedy.
        """

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows in the order of the source.

        Parameters
        ----------
        column_names
            Names of columns, which may be `ROW_NUMBER_COLUMN` and `FILE_FACT_COLUMNS`, too; None: all real columns.
        row_limit
            Largest number of rows; None: all.
        """

    def list_input_versions(self) -> list[InputVersion]:
        """List the inputs that were read, with checksums; complete after `read_batches` is exhausted.

        Returns
        -------
        pins
            One for each file or service.
        """

    def estimate_progress_total(self) -> int | None:
        """Return the number of bytes, rows or files to read, for a progress bar; None if unknown."""


# --- abilities of some sources; `sync` checks them by isinstance --------------------------------------------------


@runtime_checkable
class InPlaceCatalogueSource(Protocol):
    """A source whose files an engine may serve where they are (`hven.engines.CatalogueAdopter`).

    Attributes
    ----------
    catalogue
        Directory of the catalogue.
    """

    catalogue: str


class LiveTableDescription(Protocol):
    """What `inspect_table` of the source ``live`` reports of a table that is read in place: a dataclass.

    The method raises a `SourceError` if the table is missing or may not be read, and a `StorageUnavailableError` if the
    database does not respond. The module of the source also has these functions:

    * ``find_cone_search_index(description, longitude, latitude)`` names the index for positions;
    * ``list_missing_index_hints(description, position_columns, uses_by_column)`` lists objects of the module's class
      ``MissingIndexHint``, with a ``message`` and a ``remedy``;
    * ``table_info_from_json(document)`` reads a description that was written as JSON.
    """

    @property
    def name(self) -> str:
        """Name of the table as SQL, quoted."""

    @property
    def rows(self) -> int | None:
        """Estimate of the database, or None."""

    @property
    def comment(self) -> str | None:
        """Comment of the table."""

    @property
    def primary(self) -> Sequence[str]:
        """Columns of the primary key."""

    @property
    def foreign(self) -> Sequence[Any]:
        """Foreign keys, each with ``name``, ``columns``, ``target`` and ``target_columns``."""

    @property
    def encoding(self) -> str:
        """Encoding of the database; ``SQL_ASCII`` means that it declares none."""

    def describe_columns(self) -> list[Column]:
        """Describe the columns that can be served.

        Returns
        -------
        columns
            Columns with names, types and comments.
        """

    def list_served_columns(self) -> Sequence[Any]:
        """List the columns that can be served, with the SQL of their values.

        Returns
        -------
        columns
            Each has a ``name`` and a ``served_type``. This has the ``type``, and the SQL of `hven.engines.LiveColumn`:
            ``value``, ``raw`` and ``guard``.
        """

    def explain_omitted_columns(self) -> list[str]:
        """Explain why each other column is not served.

        Returns
        -------
        reasons
            The reason, a semicolon, and the remedy.
        """


@runtime_checkable
class IncrementalSource(Protocol):
    """A source that can select what changed since a watermark."""

    def can_filter_by(self, expression: str) -> bool:
        """Return whether a watermark can be sent to the source.

        COALESCE, GREATEST and LEAST are translated where the source has them. False: read all and compare.

        Parameters
        ----------
        expression
            A source column, or an ADQL value expression over source columns: columns, numbers, ``+ - * /``.
        """

    def select_since(self, expression: str, watermark: object | None) -> Source:
        """Open the rows whose watermark is `watermark` or larger, or null.

        Parameters
        ----------
        expression
            An expression that `can_filter_by` accepts.
        watermark
            The largest watermark that was seen, less the overlap, as Arrow's scalars return it (``as_py``): a number, a
            text, or a time without a zone (UTC). None: all rows.

        Returns
        -------
        source
            It has the columns and the abilities of this source.

        Raises
        ------
        SourceError
            `can_filter_by` returns False for the expression.
        """


@runtime_checkable
class KeyLookupSource(Protocol):
    """A source that can return the rows of given keys."""

    def select_keys(self, key_columns: Sequence[str], keys: pa.Table) -> Source:
        """Open the rows with the given keys, in portions that the source can take.

        A key that the source counts as equal (blanks at the end, letters in another case) may return its row, too.

        Parameters
        ----------
        key_columns
            Columns of the key.
        keys
            Columns of the same names; nulls are values.

        Returns
        -------
        source
            The source of these rows.
        """


@runtime_checkable
class BlockChecksumSource(Protocol):
    """A source that can compute checksums of whole blocks of rows in place."""

    def compute_block_checksums(self, key_columns: Sequence[str], value_columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys.

        The division of keys into blocks may change when the table has grown a lot: then all blocks have new names, and
        are read once.

        Parameters
        ----------
        key_columns
            Columns of the key.
        value_columns
            Columns whose changes matter.

        Returns
        -------
        blocks
            A row for each block: ``block`` (text that stays with its rows), ``rows``, ``checksum``. None: the source
            cannot sum up these columns.
        """

    def select_blocks(self, key_columns: Sequence[str], block_ids: Sequence[object]) -> Source:
        """Open the rows of some blocks, also rows that are new in them; a block that is gone has no row.

        Parameters
        ----------
        key_columns
            Columns of the key, as for `compute_block_checksums`.
        block_ids
            Values of ``block``.

        Returns
        -------
        source
            The source of these rows.
        """


@runtime_checkable
class PagedSource(Protocol):
    """A source that is read page by page, and can resume behind a page."""

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows, each batch with a token to resume behind it.

        An empty token: reading cannot resume behind this batch (no key is known, or rows without a key follow). Resume
        from the last token that was not empty, or read all rows. A batch may have no rows.

        Parameters
        ----------
        column_names
            Names; None: all.
        resume_token
            Token of an earlier call (text, without secrets); None: read from the beginning.
        """


@runtime_checkable
class FileListSource(Protocol):
    """A source that reads one file after the other; ``file.path`` of a row is the name in its file's `InputVersion`."""

    def list_files(self) -> pa.Table:
        """List the files that are there now, with size and time (to the nanosecond, where the disk has it).

        They have a checksum only where it costs nothing. Files that are read afterwards are not older than this list
        says. Within one run (`SourceContext.run_name`) it may be the list that the first table of the run saw.

        Returns
        -------
        files
            A row for each, with the columns `FILE_LIST_SCHEMA` (`build_file_list` builds short lists).
        """

    def select_files(self, file_names: Collection[str]) -> Source:
        """Open the rows of some files only, in the order of the whole source.

        Parameters
        ----------
        file_names
            Names of files, as `list_files` returns them.

        Returns
        -------
        source
            It has the columns of this source, whatever the files hold.
        """


@runtime_checkable
class ProgressSource(Protocol):
    """A source that tells how much of it is read: bytes, or files whose headers alone are read."""

    def count_progress_units(self) -> int:
        """Return how many of the units of `estimate_progress_total` are read."""


@runtime_checkable
class GuessedOptionsSource(Protocol):
    """A source that guesses options of the descriptor."""

    def list_guessed_options(self) -> dict[str, object]:
        """Return guessed options that a descriptor should state, since they change what the rows are."""


@runtime_checkable
class DoubtfulTypesSource(Protocol):
    """A source that is not sure about types."""

    def list_type_doubts(self) -> dict[str, tuple[str, str]]:
        """List the columns that were guessed to be text but may be meant otherwise.

        Returns
        -------
        doubts
            Message and remedy, by name.
        """


@runtime_checkable
class ContextRebindableSource(Protocol):
    """A source that keeps its answers when it gets another context; other sources are opened again."""

    def with_context(self, context: SourceContext) -> Source:
        """Return the same source in another context.

        Parameters
        ----------
        context
            Directory, secrets, query and so on.
        """


@runtime_checkable
class SourceWithDescription(Protocol):
    """A source that describes itself."""

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return a title and a description; None for what the source does not state."""


@runtime_checkable
class CreditedSource(Protocol):
    """A source that names its creators and its licence."""

    def list_credits(self) -> Mapping[str, str]:
        """Return values for the head of a descriptor, by its keys.

        ``creators`` (names between ``;``), ``bibcode``, ``licence`` ...
        """


@runtime_checkable
class TimeSamplesSource(Protocol):
    """A source whose rows may be samples in time, and which describes them."""

    def describe_samples(self) -> TimeSeriesMetadata | None:
        """Return the description of the samples; None: the rows are no samples."""

    def read_dataset_name(self) -> str | None:
        """Return the name under which archives know these data; None: it is not stated."""


@runtime_checkable
class GeoFeatureSource(Protocol):
    """A source of features, whose geometries and properties stay columns of their own in a table of a standard."""

    def list_helper_column_utypes(self) -> frozenset[str]:
        """List the utypes of the columns that only serve to fill columns of a standard.

        Returns
        -------
        utypes
            Utypes of columns of the source.
        """

    def propose_file_access_columns(self, table_name: str) -> dict[str, tuple[str, str, str]]:
        """Propose how `hven new` fills the columns of a standard that lead to the file of a row: the row itself.

        Parameters
        ----------
        table_name
            Name of the table with its schema.

        Returns
        -------
        settings
            By the name of the column: ``set``, ``text`` or ``map``, what the descriptor then has, and a comment.
        """


@runtime_checkable
class SelfDescribingSource(Protocol):
    """A source that names its key, its positions, its number of rows, and its creators.

    Attributes
    ----------
    engine
        Name of the engine that serves its files in place.
    """

    engine: str

    def list_credits(self) -> Mapping[str, str]:
        """Return values for the head of a descriptor, by its keys: ``creators``, ``licence`` ..."""

    def list_key_columns(self) -> tuple[str, ...]:
        """Name the columns of the key.

        Returns
        -------
        names
            Empty: the source does not state them.
        """

    def find_position_columns(self) -> tuple[str, str] | None:
        """Name the columns of longitude and latitude.

        Returns
        -------
        names
            None: the source does not state them.
        """

    def read_stated_row_count(self) -> int | None:
        """Return the number of rows that the source states without reading them; None: it does not state it."""


@runtime_checkable
class MetadataSource(Protocol):
    """A source that carries metadata besides its rows: frames, groups, parameters."""

    def read_metadata(self) -> TableMetadata:
        """Return the metadata at the head of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChanges:
    """The changes of a source since one of its states.

    Attributes
    ----------
    state
        The state after these changes, for the next call.
    key_columns
        Columns that name a row.
    rows
        Rows that were added or changed, as they are now; rows that were deleted meanwhile are missing.
    changed_keys, removed_keys
        Keys of those rows, and of rows that are gone: tables of `key_columns`.
    """

    state: str
    key_columns: tuple[str, ...]
    rows: Source
    changed_keys: pa.Table
    removed_keys: pa.Table


@runtime_checkable
class ChangeFeedSource(Protocol):
    """A source that lists its changes since one of its states."""

    def read_state_name(self) -> str | None:
        """Return the name of the current state; None: it lists no changes (now). Call it before rows are read."""

    def list_changes(self, since_state: str) -> SourceChanges | None:
        """List the changes since a state.

        Parameters
        ----------
        since_state
            State that `read_state_name` returned earlier.

        Returns
        -------
        changes
            None: the source does not know that state any more, so all rows must be read.
        """


__all__ = [
    "FILE_FACT_COLUMNS",
    "ROW_NUMBER_COLUMN",
    "AvailableTable",
    "BlockChecksumSource",
    "ChangeFeedSource",
    "ContextRebindableSource",
    "DoubtfulTypesSource",
    "FileKindSignature",
    "FileListSource",
    "GeoFeatureSource",
    "GuessedOptionsSource",
    "IncrementalSource",
    "InputVersion",
    "KeyLookupSource",
    "MetadataSource",
    "PagedSource",
    "ProgressSource",
    "RejectedRow",
    "ServiceUrlSignature",
    "Source",
    "SourceChanges",
    "SourceContext",
    "SourceKindTraits",
    "SourceWithDescription",
    "build_file_list",
]
