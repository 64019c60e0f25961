"""Where data comes from: the Source contract. One file per kind; the file's name is the kind.

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

    from hven.formats import Head
    from hven.formats.media import Product
    from hven.model import Cache, Deviation
    from hven.model.table import Column, FileReader, SampleFacts

GONE = "hven:gone"  # of rows in a journal: true for those that were deleted
ROW = "source.row"  # int64, 1-based number of the row in its file, as an editor or a database would count data rows
FILE_FACTS = (
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
LISTED = pa.schema(
    {"name": pa.string(), "bytes": pa.int64(), **dict.fromkeys(("modified", "sha256", "detail"), pa.string())}
)  # of `FileWise.listed`: what a `Pin` says


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
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
class Reject:
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
class FileKind:
    """How files of a kind are told from others: ``FILES`` of the kind's module.

    Attributes
    ----------
    endings
        Of their names, in lower case: ``csv``.
    begins
        A regular expression for how they begin, decompressed; texts in UTF-16 are matched as UTF-8. Empty: nothing tells them.
    like, ends
        The other kind as which it begins; a regular expression that is searched for in the last bytes of such a file. Without that, `begins` is matched with the first
        megabyte of it.
    """

    endings: tuple[str, ...] = ()
    begins: bytes = b""
    ends: bytes = b""
    like: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceKind:
    """How addresses of services of a kind are told from others: ``SERVICE`` of the kind's module.

    Attributes
    ----------
    address
        A regular expression of whole addresses; its groups are options. Empty: nothing tells them.
    table
        The option that says which of several tables, data sets or collections is meant; empty: there is one.
    """

    address: str = ""
    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a source may know of its surroundings.

    Attributes
    ----------
    directory
        The descriptor's directory: relative paths start here.
    secret
        Resolves ``$NAME`` to a secret.
    query
        Runs ADQL over this site's tables (source kind ``query``), given by ingest.
    wanted
        Target types by source column name, where the mapping copies a column unchanged: a reader may
        convert to them at once.
    reject
        Takes rows that cannot be read.
    faults
        Rows and values at fault of each piece of text that `reject` is told of, at least; None: all. Who asks for few need not wait for
        millions, and after so many rows that cannot be read nothing more is.
    tell
        Takes what people should know: a `hven.model.Deviation` for what is narrowed, dropped or reinterpreted (`report`), or a sentence about the source as a whole. `hven new`
        writes it into the draft, `hven check` warns of it, and the ingest report shows it with its counts.
    batch
        Rows of a batch, at most.
    key
        Source columns that name a row, if plain ones do: what sources are paged by that are asked page by page.
    page
        Rows to ask for at a time, where the source is asked page by page (`sync: page`); None: the source's own choice.
    rate
        Requests a second at most toward the source (`sync: rate`); None: as the source says.
    allow_private
        Addresses that are not on the public internet may be asked (`allow_private` of hven.toml).
    python
        What Python beside the descriptor may use.
    read
        Opens a file of samples by a reader that the descriptor names (`hven.sources.readers.open_read`).
    roots
        Directories that links among the files may lead into, beside the descriptor's own (the site, and `roots` of hven.toml).
    kept
        Directory of what was read of files, and fetched, kept until the next run; None: this is a first look, and nothing is kept.
    journal
        What clients pushed into the table; None: it is not known here.
    run
        Name of the run that reads: its tables may be of one source, which is asked once then; empty: there is none.
    shows
        Takes how many documents of how many came, while they are fetched; None: nobody looks.
    answers
        Keeps what services answered, for who looks at one again and again and wants to ask it once; None: nothing is kept.
    """

    directory: Path = Path()
    secret: Callable[[str], str] | None = None
    query: Callable[[str], Iterator[pa.RecordBatch]] | None = None
    wanted: Mapping[str, pa.DataType] = field(default_factory=dict)
    reject: Callable[[Reject], None] | None = None
    faults: int | None = None
    tell: Callable[[str | Deviation], None] | None = None
    batch: int = 131_072
    key: Sequence[str] = ()
    page: int | None = None
    rate: float | None = None
    allow_private: bool = False
    python: PythonLimits = field(default_factory=PythonLimits)
    read: Callable[[Path, str, FileReader], Product] | None = None
    roots: Sequence[Path] = ()
    kept: Path | None = None
    journal: Journal | None = None
    run: str = ""
    shows: Callable[[int, int], None] | None = None
    answers: Cache[tuple[Any, Sequence[bytes]]] | None = None

    def report(self, deviation: Deviation) -> None:
        """Report what a reader narrows, drops or reinterprets, if somebody listens.

        Parameters
        ----------
        deviation
            The record; `count` holds what was not reported before.
        """
        if self.tell is not None:
            self.tell(deviation)


def listing(pins: Iterable[Pin]) -> pa.Table:
    """Put together what `FileWise.listed` gives.

    Parameters
    ----------
    pins
        One for each file.

    Returns
    -------
    files
        Their facts, with the columns `LISTED`.
    """
    every = list(pins)
    return pa.table({name: [getattr(pin, name) for pin in every] for name in LISTED.names}, LISTED)


class Journal(Protocol):
    """What clients pushed into a table, in pieces that lie on each other: whole rows, with the column `GONE` for those that went."""

    def state(self) -> str:
        """Return the name of its state."""

    def pieces(self, since: str | None = None) -> Sequence[pa.Table] | None:
        """Return the pieces, the oldest first.

        Parameters
        ----------
        since
            A state: what came after it, and perhaps some of what came before; None: all.

        Returns
        -------
        pieces
            None: it does not know that state, or not any more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One table of those that a file or database holds.

    A kind with several may have ``tables(options, context) -> list[Offer]``: `options` as far as they are known, without a table.

    Attributes
    ----------
    choice
        What the option (`table`, `hdu`) must say to get it.
    name
        As the option `table` takes it.
    rows
        How many, if that is soon told.
    view
        It is a view of a database.
    default
        This one is read if nothing is said.
    """

    choice: str | int
    name: str = ""
    rows: int | None = None
    view: bool = False
    default: bool = False

    def __str__(self) -> str:
        """Write name and size in words."""
        name = " ".join(dict.fromkeys(filter(None, (str(self.choice), self.name))))
        facts = [
            *(["view"] if self.view else []),
            *([f"{self.rows:,} row{'s' * (self.rows != 1)}"] if self.rows is not None else []),
        ]
        return f"{name} ({', '.join(facts)})" if facts else name


class Source(Protocol):
    """Rows of one ``source:`` entry."""

    def columns(self) -> list[Column]:
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

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows in the order of the carrier.

        Parameters
        ----------
        columns
            Names of columns, which may be `ROW` and `FILE_FACTS`, too; None: all real columns.
        limit
            Largest number of rows; None: all.
        """

    def pins(self) -> list[Pin]:
        """List what was read, with checksums; complete after `batches` is exhausted.

        Returns
        -------
        pins
            One for each file or service.
        """

    def size(self) -> int | None:
        """Return the bytes or rows to come, for a progress bar; None if unknown."""


# --- what only some sources can; `sync` asks by isinstance --------------------------------------------------------


@runtime_checkable
class Catalogue(Protocol):
    """A source whose files an engine may serve where they are (`hven.engines.Adopts`).

    Attributes
    ----------
    catalogue
        The directory.
    """

    catalogue: str


@runtime_checkable
class Since(Protocol):
    """A source that can narrow itself to what changed since a watermark."""

    def narrow(self, expression: str) -> bool:
        """Return whether a watermark can be sent to the source.

        COALESCE, GREATEST and LEAST are translated where the source has them. False: read all and compare.

        Parameters
        ----------
        expression
            A source column, or an ADQL value expression over source columns: columns, numbers, ``+ - * /``.
        """

    def since(self, expression: str, value: object | None) -> Source:
        """Open the rows whose watermark is `value` or larger, or null.

        Parameters
        ----------
        expression
            One that `narrow` takes.
        value
            The largest watermark that was seen, less the overlap, as Arrow's scalars have it (``as_py``): a number, a text, or a time without a
            zone (UTC). None: all rows.

        Returns
        -------
        source
            Its `columns` are this source's, and so are its other abilities.

        Raises
        ------
        SourceError
            `narrow` says no to the expression.
        """


@runtime_checkable
class Picks(Protocol):
    """A source that can give the rows of some keys."""

    def pick(self, columns: Sequence[str], keys: pa.Table) -> Source:
        """Open the rows with some keys, in whatever portions the source can take.

        A key that the source counts as equal (blanks at the end, letters in another case) may bring its row, too.

        Parameters
        ----------
        columns
            Of the key.
        keys
            Columns of the same names; nulls are values.

        Returns
        -------
        source
            Of these rows.
        """


@runtime_checkable
class Blocks(Protocol):
    """A source that can compute a checksum of whole blocks of rows where they are."""

    def blocks(self, key: Sequence[str], columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys.

        How keys are cut into blocks may change when the table has grown a lot: then all blocks have other names, and are read once.

        Parameters
        ----------
        key
            Columns of the key.
        columns
            Those whose changes matter.

        Returns
        -------
        blocks
            A row for each: ``block`` (text that stays with its rows), ``rows``, ``checksum``. None: these columns cannot be summed up there.
        """

    def block(self, key: Sequence[str], blocks: Sequence[object]) -> Source:
        """Open the rows of some blocks; also those that are new in them, and none of a block that is gone.

        Parameters
        ----------
        key
            As for `blocks`.
        blocks
            Values of ``block``.

        Returns
        -------
        source
            Of these rows.
        """


@runtime_checkable
class Pages(Protocol):
    """A source that is asked page by page, and can go on where it was left."""

    def pages(
        self, columns: Sequence[str] | None = None, after: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield rows, each batch with where to go on behind it.

        An empty text: it cannot be gone on behind this one (no key is known, or rows without key follow): go back to the last that was not empty,
        or read all. A batch may have no rows.

        Parameters
        ----------
        columns
            Names; None: all.
        after
            What a call before yielded beside a batch (text, without secrets); None: from the beginning.
        """


@runtime_checkable
class FileWise(Protocol):
    """A source that reads one file after the other; ``file.path`` of its rows is the name of their file's pin."""

    def listed(self) -> pa.Table:
        """List the files that are there now, with size and time (to the nanosecond, where the disk has it).

        A checksum only where it costs nothing. What is read afterwards is not older than what this says: within one run
        (`Context.run`) it may be what the first of its tables saw.

        Returns
        -------
        files
            A row for each, with the columns `LISTED`; few are put together by `listing`.
        """

    def only(self, names: Collection[str]) -> Source:
        """Open the rows of some files alone, in the order of the whole.

        Parameters
        ----------
        names
            Of files, as `listed` has them.

        Returns
        -------
        source
            Its `columns` are this source's, whatever is in the files.
        """


@runtime_checkable
class Counts(Protocol):
    """A source of files, whose size and progress are bytes."""

    def done(self) -> int:
        """Return the bytes read so far."""


@runtime_checkable
class Guesses(Protocol):
    """A source that guesses what a descriptor may say."""

    def guessed(self) -> dict[str, object]:
        """Return options that were guessed and that a descriptor should say, since they change what the rows are."""


@runtime_checkable
class Doubts(Protocol):
    """A source that is not sure of types."""

    def doubts(self) -> dict[str, tuple[str, str]]:
        """List the columns that were guessed to be text and may be meant otherwise.

        Returns
        -------
        doubts
            A message and a remedy by name.
        """


@runtime_checkable
class Within(Protocol):
    """A source that asks nothing anew when more is known of how it will be read; others are opened again."""

    def within(self, context: Context) -> Source:
        """Return the same source in another context.

        Parameters
        ----------
        context
            Directory, secrets, query ...
        """


@runtime_checkable
class Described(Protocol):
    """A source that says what it is about."""

    def about(self) -> tuple[str | None, str | None]:
        """Return a title and a description; None for what is not said."""


@runtime_checkable
class Attributed(Protocol):
    """A source that says whom its rows are owed to."""

    def credits(self) -> Mapping[str, str]:
        """Return what it says for the head of a descriptor, by its keys: ``creators`` (names between ``;``), ``bibcode``, ``licence`` ..."""


@runtime_checkable
class Sampled(Protocol):
    """A source whose rows may be samples in time, and which says so."""

    def samples(self) -> SampleFacts | None:
        """Return what it says of its samples; None: its rows are none."""

    def dataset(self) -> str | None:
        """Return the name under which archives know these data; None: nothing says one."""


@runtime_checkable
class Credited(Protocol):
    """A source that says which columns name and place its rows, how many there are, and whom they are owed to.

    Attributes
    ----------
    engine
        Which one serves its files where they are.
    """

    engine: str

    def credits(self) -> Mapping[str, str]:
        """Return what it says for the head of a descriptor, by its keys: ``creators``, ``licence`` ..."""

    def key(self) -> tuple[str, ...]:
        """Name the columns of its key.

        Returns
        -------
        names
            None of them: it does not say.
        """

    def position(self) -> tuple[str, str] | None:
        """Name the columns of longitude and latitude.

        Returns
        -------
        names
            None: it does not say.
        """

    def rows(self) -> int | None:
        """Return how many rows it says that it has, without a look; None: it does not say."""


@runtime_checkable
class Headed(Protocol):
    """A source that says more around its rows: frames, groups, parameters."""

    def head(self) -> Head:
        """Return what is said at the head of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What has changed in a source since a state of it.

    Attributes
    ----------
    state
        Where this leads to: what to ask with next time.
    key
        Columns that name a row.
    rows
        Rows that were added or changed, as they are now; one that went meanwhile does not come.
    touched, removed
        Keys of those rows, and of rows that are there no more: tables of `key`.
    """

    state: str
    key: tuple[str, ...]
    rows: Source
    touched: pa.Table
    removed: pa.Table


@runtime_checkable
class Feeds(Protocol):
    """A source that tells what has changed since a state of it."""

    def state(self) -> str | None:
        """Return the name of the state it is in; None: it tells no changes (now). To be asked before rows are read."""

    def changes(self, since: str) -> Changes | None:
        """List what has changed since a state.

        Parameters
        ----------
        since
            What `state` returned then.

        Returns
        -------
        changes
            None: it does not know that state any more, so that everything must be read.
        """


__all__ = [
    "FILE_FACTS",
    "GONE",
    "ROW",
    "Blocks",
    "Changes",
    "Context",
    "Counts",
    "Described",
    "Doubts",
    "Feeds",
    "FileKind",
    "FileWise",
    "Guesses",
    "Headed",
    "Journal",
    "Offer",
    "Pages",
    "Picks",
    "Pin",
    "Reject",
    "ServiceKind",
    "Since",
    "Source",
    "Within",
    "listing",
]
