"""Sources of rows: the Source contract, and one module for each kind, which the kind names.

A source module has `Options` (a pydantic model: what a descriptor may say under ``source:``) and
``open(options, context) -> Source``. Sources yield Arrow batches with flat memory, never rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

from hven.model.settings import PythonLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from hven.formats import TableMetadata
    from hven.formats.media import Product
    from hven.model import Cache, Deviation
    from hven.model.table import Column, FileReaderSpec, SampleMetadata

DELETED_COLUMN = "hven:gone"  # of rows in a journal: true for those that were deleted
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
    """What exactly was read: a file with its checksum, a query with its snapshot. Kept as provenance.

    Attributes
    ----------
    name
        Of the file or service, relative to the descriptor.
    bytes
        Its size.
    modified
        ISO time of its last change.
    sha256
        hexadecimal.
    detail
        What else tells it from other states: a query, a version.
    """

    name: str
    bytes: int | None = None
    modified: str | None = None
    sha256: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row that could not be read: kept aside by ingest, never lost.

    Attributes
    ----------
    file
        Its name; None: the source has no files.
    column
        The one at fault.
    value
        As it stands there.
    reason
        Why it cannot be read.
    text
        The whole row.
    """

    file: str | None
    row: int | None
    column: str | None
    value: str | None
    reason: str
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSignature:
    """How files of a kind are told from others: ``FILES`` of the kind's module.

    Attributes
    ----------
    extensions
        Of their names, in lower case: ``csv``.
    leading_pattern
        A regular expression for how they begin, decompressed; texts in UTF-16 are matched as UTF-8. Empty: nothing
        tells them.
    base_kind, trailing_pattern
        The other kind as which it begins; a regular expression that is searched for in the last bytes of such a file.
        Without that, `leading_pattern` is matched with the first megabyte of it.
    """

    extensions: tuple[str, ...] = ()
    leading_pattern: bytes = b""
    trailing_pattern: bytes = b""
    base_kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSignature:
    """How addresses of services of a kind are told from others: ``SERVICE`` of the kind's module.

    Attributes
    ----------
    url_pattern
        A regular expression of whole addresses; its groups are options. Empty: nothing tells them.
    table_option
        The option that says which of several tables, data sets or collections is meant; empty: there is one.
    """

    url_pattern: str = ""
    table_option: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """What a source may know of its surroundings.

    Attributes
    ----------
    directory
        The descriptor's directory: relative paths start here.
    resolve_secret
        Resolves ``$NAME`` to a secret.
    run_query
        Runs ADQL over this site's tables (source kind ``query``), given by ingest.
    target_types
        Target types by source column name, where the mapping copies a column unchanged: a reader may
        convert to them at once.
    on_reject
        Takes rows that cannot be read.
    reject_limit
        Rows and values at fault of each piece of text that `on_reject` is told of, at least; None: all. Who asks for
        few need not wait for millions, and after so many rows that cannot be read nothing more is.
    on_notice
        Takes what people should know: a `hven.model.Deviation` for what is narrowed, dropped or reinterpreted
        (`report_deviation`), or a sentence about the source as a whole. `hven new` writes it into the draft, `hven
        check` warns of it, and the ingest report shows it with its counts.
    batch_row_limit
        Rows of a batch, at most.
    key_columns
        Source columns that name a row, if plain ones do: what sources are paged by that are asked page by page.
    page_row_limit
        Rows to ask for at a time, where the source is asked page by page (`sync: page`); None: the source's own choice.
    requests_per_second
        Requests a second at most toward the source (`sync: rate`); None: as the source says.
    allow_private
        Addresses that are not on the public internet may be asked (`allow_private` of hven.toml).
    python_limits
        What Python beside the descriptor may use.
    open_sample_file
        Opens a file of samples by a reader that the descriptor names (`hven.sources.file_readers.open_with_reader`).
    allowed_roots
        Directories that links among the files may lead into, beside the descriptor's own (the site, and `allowed_roots`
        of hven.toml).
    cache_directory
        Directory of what was read of files, and fetched, kept until the next run; None: this is a first look, and
        nothing is kept.
    journal
        What clients pushed into the table; None: it is not known here.
    run_name
        Name of the run that reads: its tables may be of one source, which is asked once then; empty: there is none.
    on_progress
        Takes how many documents of how many came, while they are fetched; None: nobody looks.
    answer_cache
        Keeps what services answered, for who looks at one again and again and wants to ask it once; None: nothing is
        kept.
    """

    directory: Path = Path()
    resolve_secret: Callable[[str], str] | None = None
    run_query: Callable[[str], Iterator[pa.RecordBatch]] | None = None
    target_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    on_reject: Callable[[RejectedRow], None] | None = None
    reject_limit: int | None = None
    on_notice: Callable[[str | Deviation], None] | None = None
    batch_row_limit: int = 131_072
    key_columns: Sequence[str] = ()
    page_row_limit: int | None = None
    requests_per_second: float | None = None
    allow_private: bool = False
    python_limits: PythonLimits = field(default_factory=PythonLimits)
    open_sample_file: Callable[[Path, str, FileReaderSpec], Product] | None = None
    allowed_roots: Sequence[Path] = ()
    cache_directory: Path | None = None
    journal: PushJournal | None = None
    run_name: str = ""
    on_progress: Callable[[int, int], None] | None = None
    answer_cache: Cache[tuple[Any, Sequence[bytes]]] | None = None

    def report_deviation(self, deviation: Deviation) -> None:
        """Report what a reader narrows, drops or reinterprets, if somebody listens.

        Parameters
        ----------
        deviation
            The record; `count` holds what was not reported before.
        """
        if self.on_notice is not None:
            self.on_notice(deviation)


def build_file_list(versions: Iterable[InputVersion]) -> pa.Table:
    """Put together what `FileListSource.list_files` gives.

    Parameters
    ----------
    versions
        One for each file.

    Returns
    -------
    files
        Their facts, with the columns `FILE_LIST_SCHEMA`.
    """
    version_list = list(versions)
    return pa.table(
        {name: [getattr(pin, name) for pin in version_list] for name in FILE_LIST_SCHEMA.names}, FILE_LIST_SCHEMA
    )


class PushJournal(Protocol):
    """What clients pushed into a table, in pieces that lie on each other.

    Whole rows, with the column `DELETED_COLUMN` for those that went.
    """

    def read_state_name(self) -> str:
        """Return the name of its state."""

    def list_pieces(self, since_state: str | None = None) -> Sequence[pa.Table] | None:
        """Return the pieces, the oldest first.

        Parameters
        ----------
        since_state
            A state: what came after it, and perhaps some of what came before; None: all.

        Returns
        -------
        pieces
            None: it does not know that state, or not any more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableTable:
    """One table of those that a file or database holds.

    A kind with several may have ``list_source_tables(options, context) -> list[AvailableTable]``: `options` as far as
    they are known, without a table.

    Attributes
    ----------
    option_value
        What the option (`table`, `hdu`) must say to get it.
    name
        As the option `table` takes it.
    row_count
        How many, if that is soon told.
    is_view
        It is a view of a database.
    is_default
        This one is read if nothing is said.
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
        """Describe what is there, with whatever the carrier says of types, units, UCDs and descriptions.

        Returns
        -------
        columns
            In the order of the carrier.

        Raises
        ------
        SourceError
            Unreadable, empty, or not as described: file, line, reason, remedy.
        """

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield rows in the order of the carrier.

        Parameters
        ----------
        column_names
            Names of columns, which may be `ROW_NUMBER_COLUMN` and `FILE_FACT_COLUMNS`, too; None: all real columns.
        row_limit
            Largest number of rows; None: all.
        """

    def list_input_versions(self) -> list[InputVersion]:
        """List what was read, with checksums; complete after `read_batches` is exhausted.

        Returns
        -------
        pins
            One for each file or service.
        """

    def estimate_size(self) -> int | None:
        """Return the bytes or rows to come, for a progress bar; None if unknown."""


# --- what only some sources can; `sync` asks by isinstance --------------------------------------------------------


@runtime_checkable
class CatalogueSource(Protocol):
    """A source whose files an engine may serve where they are (`hven.engines.CatalogueAdopter`).

    Attributes
    ----------
    catalogue
        The directory.
    """

    catalogue: str


@runtime_checkable
class IncrementalSource(Protocol):
    """A source that can narrow itself to what changed since a watermark."""

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
            One that `can_filter_by` takes.
        watermark
            The largest watermark that was seen, less the overlap, as Arrow's scalars have it (``as_py``): a number, a
            text, or a time without a zone (UTC). None: all rows.

        Returns
        -------
        source
            Its `columns` are this source's, and so are its other abilities.

        Raises
        ------
        SourceError
            `can_filter_by` says no to the expression.
        """


@runtime_checkable
class KeyLookupSource(Protocol):
    """A source that can give the rows of some keys."""

    def select_keys(self, key_columns: Sequence[str], keys: pa.Table) -> Source:
        """Open the rows with some keys, in whatever portions the source can take.

        A key that the source counts as equal (blanks at the end, letters in another case) may bring its row, too.

        Parameters
        ----------
        key_columns
            Of the key.
        keys
            Columns of the same names; nulls are values.

        Returns
        -------
        source
            Of these rows.
        """


@runtime_checkable
class BlockChecksumSource(Protocol):
    """A source that can compute a checksum of whole blocks of rows where they are."""

    def compute_block_checksums(self, key_columns: Sequence[str], value_columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys.

        How keys are cut into blocks may change when the table has grown a lot: then all blocks have other names, and
        are read once.

        Parameters
        ----------
        key_columns
            Columns of the key.
        value_columns
            Those whose changes matter.

        Returns
        -------
        blocks
            A row for each: ``block`` (text that stays with its rows), ``rows``, ``checksum``. None: these columns
            cannot be summed up there.
        """

    def select_blocks(self, key_columns: Sequence[str], block_ids: Sequence[object]) -> Source:
        """Open the rows of some blocks; also those that are new in them, and none of a block that is gone.

        Parameters
        ----------
        key_columns
            As for `block_ids`.
        block_ids
            Values of ``block``.

        Returns
        -------
        source
            Of these rows.
        """


@runtime_checkable
class PagedSource(Protocol):
    """A source that is asked page by page, and can go on where it was left."""

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows, each batch with where to go on behind it.

        An empty text: it cannot be gone on behind this one (no key is known, or rows without key follow): go back to
        the last that was not empty, or read all. A batch may have no rows.

        Parameters
        ----------
        column_names
            Names; None: all.
        resume_token
            What a call before yielded beside a batch (text, without secrets); None: from the beginning.
        """


@runtime_checkable
class FileListSource(Protocol):
    """A source that reads one file after the other; ``file.path`` of its rows is the name of their file's pin."""

    def list_files(self) -> pa.Table:
        """List the files that are there now, with size and time (to the nanosecond, where the disk has it).

        A checksum only where it costs nothing. What is read afterwards is not older than what this says: within one run
        (`SourceContext.run_name`) it may be what the first of its tables saw.

        Returns
        -------
        files
            A row for each, with the columns `FILE_LIST_SCHEMA`; few are put together by `build_file_list`.
        """

    def select_files(self, file_names: Collection[str]) -> Source:
        """Open the rows of some files alone, in the order of the whole.

        Parameters
        ----------
        file_names
            Of files, as `list_files` has them.

        Returns
        -------
        source
            Its `columns` are this source's, whatever is in the files.
        """


@runtime_checkable
class ProgressSource(Protocol):
    """A source of files, whose size and progress are bytes."""

    def count_bytes_read(self) -> int:
        """Return the bytes read so far."""


@runtime_checkable
class GuessedOptionsSource(Protocol):
    """A source that guesses what a descriptor may say."""

    def list_guessed_options(self) -> dict[str, object]:
        """Return options that were guessed and that a descriptor should say, since they change what the rows are."""


@runtime_checkable
class DoubtfulTypesSource(Protocol):
    """A source that is not sure of types."""

    def list_type_doubts(self) -> dict[str, tuple[str, str]]:
        """List the columns that were guessed to be text and may be meant otherwise.

        Returns
        -------
        doubts
            A message and a remedy by name.
        """


@runtime_checkable
class RebindableSource(Protocol):
    """A source that asks nothing anew when more is known of how it will be read; others are opened again."""

    def with_context(self, context: SourceContext) -> Source:
        """Return the same source in another context.

        Parameters
        ----------
        context
            Directory, secrets, query ...
        """


@runtime_checkable
class DescribedSource(Protocol):
    """A source that says what it is about."""

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return a title and a description; None for what is not said."""


@runtime_checkable
class AttributedSource(Protocol):
    """A source that says whom its rows are owed to."""

    def list_credits(self) -> Mapping[str, str]:
        """Return what it says for the head of a descriptor, by its keys.

        ``creators`` (names between ``;``), ``bibcode``, ``licence`` ...
        """


@runtime_checkable
class SampledSource(Protocol):
    """A source whose rows may be samples in time, and which says so."""

    def describe_samples(self) -> SampleMetadata | None:
        """Return what it says of its samples; None: its rows are none."""

    def read_dataset_name(self) -> str | None:
        """Return the name under which archives know these data; None: nothing says one."""


@runtime_checkable
class SelfDescribingSource(Protocol):
    """A source that says which columns name and place its rows, how many there are, and whom they are owed to.

    Attributes
    ----------
    engine
        Which one serves its files where they are.
    """

    engine: str

    def list_credits(self) -> Mapping[str, str]:
        """Return what it says for the head of a descriptor, by its keys: ``creators``, ``licence`` ..."""

    def list_key_columns(self) -> tuple[str, ...]:
        """Name the columns of its key.

        Returns
        -------
        names
            None of them: it does not say.
        """

    def find_position_columns(self) -> tuple[str, str] | None:
        """Name the columns of longitude and latitude.

        Returns
        -------
        names
            None: it does not say.
        """

    def read_stated_row_count(self) -> int | None:
        """Return how many rows it says that it has, without a look; None: it does not say."""


@runtime_checkable
class MetadataSource(Protocol):
    """A source that says more around its rows: frames, groups, parameters."""

    def read_metadata(self) -> TableMetadata:
        """Return what is said at the head of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChanges:
    """What has changed in a source since a state of it.

    Attributes
    ----------
    state
        Where this leads to: what to ask with next time.
    key_columns
        Columns that name a row.
    rows
        Rows that were added or changed, as they are now; one that went meanwhile does not come.
    changed_keys, removed_keys
        Keys of those rows, and of rows that are there no more: tables of `key_columns`.
    """

    state: str
    key_columns: tuple[str, ...]
    rows: Source
    changed_keys: pa.Table
    removed_keys: pa.Table


@runtime_checkable
class ChangeFeedSource(Protocol):
    """A source that tells what has changed since a state of it."""

    def read_state_name(self) -> str | None:
        """Return the name of the state it is in; None: it tells no changes (now). To be asked before rows are read."""

    def list_changes(self, since_state: str) -> SourceChanges | None:
        """List what has changed since a state.

        Parameters
        ----------
        since_state
            What `read_state_name` returned then.

        Returns
        -------
        changes
            None: it does not know that state any more, so that everything must be read.
        """


__all__ = [
    "DELETED_COLUMN",
    "FILE_FACT_COLUMNS",
    "ROW_NUMBER_COLUMN",
    "AvailableTable",
    "BlockChecksumSource",
    "ChangeFeedSource",
    "DescribedSource",
    "DoubtfulTypesSource",
    "FileListSource",
    "FileSignature",
    "GuessedOptionsSource",
    "IncrementalSource",
    "InputVersion",
    "KeyLookupSource",
    "MetadataSource",
    "PagedSource",
    "ProgressSource",
    "PushJournal",
    "RebindableSource",
    "RejectedRow",
    "ServiceSignature",
    "Source",
    "SourceChanges",
    "SourceContext",
    "build_file_list",
]
