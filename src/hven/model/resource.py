"""Resource: a collection as its descriptor says it - metadata, tables, sources and mappings - and its parts; when something is due again (`Timing`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from hven.model._registration import Entry, Registered, Registration, Related
from hven.model._works import Citation, CitedResult, Funding, Work, doi, identified, orcid, ror

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.model.errors import Fault, Place
    from hven.model.table import Column, Table
    from hven.model.types import Type

DATA_SOURCE = "data_source"  # the column of tables of which some rows are simulated
# licences whose names are those of SPDX, and so have an address
SPDX = re.compile(r"(CC0|CC-BY(-[A-Z]{2})*|ODbL|ODC-By|PDDL|GPL|LGPL|AGPL|MIT|BSD|Apache|etalab|OGL)[A-Za-z0-9.+-]*")
VOCABULARY = "http://www.ivoa.net/rdf/data-source"  # whose words it has, and its utype


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A creator, contact or contributor (VOResource).

    Attributes
    ----------
    name
        Family name first or last, as it is to be shown.
    email, orcid, affiliation, url
        What else is known.
    ror
        Identifier of the affiliation, or of the institute itself.
    role
        Of a contributor, in DataCite's words.
    """

    name: str
    email: str | None = None
    orcid: str | None = None
    affiliation: str | None = None
    url: str | None = None
    ror: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """One ``source:`` entry: its kind and its options, not opened yet.

    Attributes
    ----------
    place
        Where it stands in the descriptor.
    enrich
        What is said of documents that belong to its rows; None: they have none.
    """

    kind: str
    options: Mapping[str, Any]
    place: Place
    enrich: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How one target column gets its value.

    Attributes
    ----------
    how
        ``set`` (constant), ``text`` (template), ``map`` (ADQL expression), ``lookup``.
    value
        The text as written; for ``lookup`` a mapping (from, table, key, value, missing).
    place
        Where it stands in the descriptor.
    """

    column: str
    how: str
    value: Any
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Granule:
    """One of several rows made from a source row: overrides of the settings above it, perhaps under a condition.

    Attributes
    ----------
    gid
        Its word for ``granule_gid`` (EPN-TAP), where no setting says another.
    place
        Where it stands in the descriptor.
    """

    gid: str
    settings: tuple[Setting, ...]
    condition: tuple[str, Place] | None = None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that rows must meet: an ADQL condition; a row for which it is false breaks the rule, NULL passes.

    Attributes
    ----------
    name
        Under which the report counts it.
    severity
        ``error``, ``warning`` or ``info``.
    message
        What is wrong with a row that breaks it.
    columns
        Those that it is about, for the report.
    low, high
        Bounds of values, in their unit, for a `check` of whole columns.
    flag
        Bit of the table's column of flags (`Flags`) that is set in rows that break it; they are published.
    place
        Where it stands in the descriptor or standard.
    """

    name: str
    condition: str
    severity: str
    message: str | None = None
    check: str | None = None  # instead of a condition: what is looked at in whole columns
    columns: tuple[str, ...] = ()
    of: str | None = None
    items: bool = False  # values are lists joined by #
    low: float | None = None
    high: float | None = None
    flag: int | None = None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The column whose bits say which rules a row breaks.

    Attributes
    ----------
    bits
        Name of a rule -> its bit, in the order of bits; rules that are off have none.
    by
        Name -> ADQL expression over the table's own columns, by which flagged rows are counted.
    given
        True: the rows come with their flags, and the rules only say what the bits mean.
    informative
        Names of rules of severity ``info``: they are counted, and a row that breaks no other rule is valid.
    place
        Where it stands in the descriptor.
    """

    column: str
    bits: Mapping[str, int]
    by: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    given: bool = False
    informative: frozenset[str] = frozenset()
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A number of months, or a moment, that may be another one for each value of an expression.

    Attributes
    ----------
    by
        The expression over the source; None: it is the default for all rows.
    values
        The number, or the moment, of each.
    default
        For values that are not listed; None: it is not known.
    """

    by: Any
    values: Mapping[str, int | str]
    default: int | str | None

    def words(self, unit: str = "") -> str:
        """Write it in words: ``24 (suv), 12 (eso, pionier), else 0 months by collection``.

        Parameters
        ----------
        unit
            Behind the numbers, with a blank before it.

        Returns
        -------
        words
            For people.
        """
        if self.by is None:
            return f"{self.default}{unit}"
        said: dict[int | str, list[str]] = {}
        for key, value in self.values.items():
            said.setdefault(value, []).append(key)
        listed = [f"{value} ({', '.join(keys)})" for value, keys in said.items()]
        return f"{', '.join([*listed, *([] if self.default is None else [f'else {self.default}'])])}{unit} by {self.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Embargo:
    """How the release date of a row is made.

    Attributes
    ----------
    column
        Of the table, that takes it; what the row has there itself stands instead of the months.
    begins
        The moment from which months are counted, an expression over the source, as the others.
    exempt
        Rows without months.
    not_before
        The collection's own date.
    delivered
        Rows whose own date is left as it is.
    months
        How many; 0 of exempt ones.
    place
        In the descriptor.
    """

    column: str
    begins: Any
    months: Term
    exempt: Any = None
    not_before: Term | None = None
    delivered: Any = None
    place: Place

    def words(self) -> str:
        """Write it as a sentence without a beginning.

        Returns
        -------
        words
            For people.
        """
        said = [f"{self.months.words(' months')} after {self.begins}, or at its own {self.column}"]
        said += [f"without months where {self.exempt}"] if self.exempt else []
        said += [f"not before {self.not_before.words()}"] if self.not_before else []
        said += [f"as its own date says alone where {self.delivered}"] if self.delivered else []
        return "; ".join(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """A query with what it must answer: column -> value of the first row; ``rows`` -> how many.

    Attributes
    ----------
    name
        What is tried, in words; None: the query says it.
    expect
        What the answer must have.
    place
        Where it stands in the descriptor.
    """

    name: str | None = None
    query: str
    expect: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A query for readers to begin with (DALI 1.1 section 2.3): written in a descriptor, or made for a table that none shows.

    Attributes
    ----------
    name
        What it shows, in one line.
    description
        What to look at, as plain text.
    tables
        Names of the tables that it reads, as a query writes them; filled when it is shown to a reader.
    place
        Where it is written; None if it was made.
    """

    name: str
    query: str
    description: str | None = None
    tables: tuple[str, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """How a table follows its source.

    Attributes
    ----------
    watermark
        Source column, or ADQL expression over source columns: larger in rows that were written later. None: all is read each time.
    overlap
        Seconds to look back behind the last watermark, which is a time; or
    overlap_number
        so much in the watermark's own unit.
    deletions
        ``compare``, ``blocks``, ``none``, ``column``.
    deleted
        For ``column``: ADQL condition over source rows that are deleted.
    full
        Seconds after which everything is read again; infinite: never, for every write moves the watermark. None: nothing is said.
    page, rate
        Rows at a time; requests a second.
    removed, changed
        Shares of the published rows that may go, or change, before the run stops and asks.
    place
        Where it stands in the descriptor.
    REMOVED, CHANGED
        Shares (0 to 1) of `removed` and `changed` where nothing is said.
    """

    REMOVED: ClassVar[float] = 0.1
    CHANGED: ClassVar[float] = 0.5

    watermark: tuple[str, Place] | None = None
    overlap: float | None = None
    overlap_number: float | None = None
    deletions: str = "compare"
    deleted: tuple[str, Place] | None = None
    full: float | None = None
    page: int | None = None
    rate: float | None = None
    removed: float = REMOVED
    changed: float = CHANGED
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a collection is synchronised by itself.

    Attributes
    ----------
    every
        Seconds; or
    cron
        five fields (minute, hour, day of the month, month, day of the week) with single spaces, in the time zone `zone`.
    jitter
        Seconds by which a run may be shifted, by chance.
    place
        Where it stands in the descriptor.
    """

    every: float | None = None
    cron: str | None = None
    jitter: float = 0.0
    zone: str = "UTC"
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """One table of a descriptor: what it is (`table`) and how it is filled.

    Attributes
    ----------
    sources
        Read one after the other; rows of all of them are the table's.
    settings
        How columns get their values.
    let
        Name -> ADQL expression over source columns and earlier names, in order of dependence.
    where
        ADQL condition over source rows.
    granules
        Kinds of rows that one source row makes; empty: one row.
    rules
        Those of the descriptor and of its standard.
    flags
        The column of flags; None: there is none.
    embargo
        How release dates are made; None: they are not.
    sync
        How it follows its source; None: it is read by `hven ingest` alone, or compared as a whole.
    columns_declared
        True if the descriptor (or its standard) says the columns; False: they follow the source.
    follow
        True if the source's columns are taken too, and `table.columns` refine them or add some.
    declared
        Columns as the descriptor and its standard say them, before those of the source are added.
    given
        Column name -> attributes that the descriptor (or its standard) says; all others come from the source.
    types
        Column name -> xtypes of the values whose type it takes, in place of its own.
    frame
        ``frame`` of the descriptor: that of its positions.
    group_by
        Source columns or expressions whose equal rows become one.
    for_each
        Array columns whose elements become rows.
    vocabularies
        Name -> words that rules may ask for.
    doubts
        What is odd about the frames of its places, for the report of each ingest.
    """

    table: Table
    sources: tuple[SourceSpec, ...]
    doubts: tuple[Fault, ...] = ()
    settings: tuple[Setting, ...] = ()
    let: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    where: tuple[str, Place] | None = None
    granules: tuple[Granule, ...] = ()
    rules: tuple[Rule, ...] = ()
    flags: Flags | None = None
    embargo: Embargo | None = None
    sync: Sync | None = None
    columns_declared: bool = True
    follow: bool = False
    declared: tuple[Column, ...] = ()
    given: Mapping[str, frozenset[str]] = field(default_factory=dict)
    types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)  # where each declared column stands
    spans: Mapping[str, Place] = field(default_factory=dict)  # where each data set stands of which its rows are spans
    frame: str | None = None
    group_by: tuple[str, ...] = ()
    for_each: tuple[str, ...] = ()
    max_rejects: float | None = None  # share of the rows; None: ingest's default
    defaults: Mapping[str, Setting] = field(default_factory=dict)  # for columns that nothing else gives a value
    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    obscore: TableSpec | None = None  # its rows in ivoa.obscore: settings over its own columns
    radio: TableSpec | None = None  # its rows in ivoa.obscore_radio
    converted: bool = False  # of these two: expressions give the standard's own units; nothing is converted
    place: Place

    @property
    def writes_addresses(self) -> bool:
        """Whether the site's own address goes into its rows."""
        said = (
            *self.settings,
            *(item for granule in self.granules for item in granule.settings),
            *self.defaults.values(),
        )
        return any("site.url" in str(item.value) for item in said) or any(
            "site.url" in text for text, _ in self.let.values()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFunction:
    """A function in a ``.py`` file beside the descriptor: Arrow arrays in, one Arrow array of `type` out. None: it is one of our own.

    Attributes
    ----------
    name
        As expressions call it.
    path
        Of the file.
    unit, ucd
        Of the result.
    place
        Where it stands in the descriptor.
    """

    name: str
    path: Path | None
    type: Type
    unit: str | None = None
    ucd: str | None = None
    arguments: int | None = None  # None: any number
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A collection: one schema, its metadata, its tables (VOResource, VODataService).

    Attributes
    ----------
    path
        Of the descriptor.
    description
        For people, Markdown.
    access
        ``public`` or ``private``, of tables that say nothing.
    project
        Whose members see its tables; None: none's.
    services
        Faces that answer for its tables; empty: all that can.
    subjects, creators, contact, publisher, facility, instrument, waveband, content_level, type, short_name
        As VOResource has them.
    licence, licence_url
        Name and address of the licence.
    citation, bibcode, doi, reference_url
        How it is to be cited.
    contributors, funding, works
        Who helped, who gave money, which papers belong to it.
    acknowledgement
        What whoever uses the data shall say in a paper.
    publisher_ror
        Identifier of the publisher.
    utype
        Data model that the schema represents.
    created
        ISO date of its first publication.
    let
        Constants for templates and expressions.
    tests
        Queries that new rows must pass.
    examples
        Queries for readers to begin with.
    hashes
        File name, relative to the descriptor's directory -> SHA-256, of every file that was read: the descriptor, its
        includes, function files, lookup files. Provenance; and ingest compares them again before it publishes.
    functions
        Python functions beside the descriptor that expressions may call.
    site
        What ``{site.url}``, ``{site.name}``, ``{site.title}``, ``{site.authority}`` stand for.
    engine
        Name of the engine that keeps its rows; None: the site's.
    index
        Place among the collections; None: by name.
    schedule
        When it is synchronised by itself (``sync:`` of the collection).
    prepare
        What is made of its files in the background after each publication: ``previews``, ``spectra``.
    registration
        How it stands in registries; None: nothing is said.
    """

    name: str
    title: str
    path: Path
    description: str | None = None
    access: str = "public"
    project: str | None = None
    tables: tuple[TableSpec, ...] = ()
    services: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    creators: tuple[Person, ...] = ()
    contact: Person | None = None
    publisher: str | None = None
    licence: str | None = None
    licence_url: str | None = None
    citation: str | None = None
    bibcode: str | None = None
    doi: str | None = None
    contributors: tuple[Person, ...] = ()
    funding: tuple[Funding, ...] = ()
    works: tuple[Work, ...] = ()
    acknowledgement: str | None = None
    publisher_ror: str | None = None
    utype: str | None = None
    reference_url: str | None = None
    facility: tuple[str, ...] = ()
    instrument: tuple[str, ...] = ()
    waveband: tuple[str, ...] = ()
    content_level: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    short_name: str | None = None
    created: str | None = None
    let: Mapping[str, Any] = field(default_factory=dict)
    tests: tuple[Test, ...] = ()
    examples: tuple[Example, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    functions: tuple[PythonFunction, ...] = ()
    site: Mapping[str, str] = field(default_factory=dict)
    engine: str | None = None
    index: int | None = None
    schedule: Schedule | None = None
    prepare: tuple[str, ...] = ()
    registration: Registration | None = None

    @property
    def simulated(self) -> bool:
        """Whether its rows were computed and not observed: ``type: [Simulation]``, VOResource's word."""
        return "simulation" in {one.lower() for one in self.type}

    @property
    def partly_simulated(self) -> bool:
        """Whether a column says of each row whether it is simulated."""
        return any(tells_source(column) for spec in self.tables for column in spec.table.columns)


def tells_source(column: Column) -> bool:
    """Return whether a column says of each row whether it is simulated.

    Parameters
    ----------
    column
        Of any table.
    """
    return column.name == DATA_SOURCE and column.utype == VOCABULARY


FIELDS = 5  # of cron: minute, hour, day of the month, month, day of the week
_WORDS = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
_EVERY = ("0-59", "0-23")  # minutes, hours
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """When something is due: `every` (seconds) or `cron`, one of the two.

    Attributes
    ----------
    cron
        Five fields, or ``@daily`` and its like, as Debian's cron understands them: 0 and 7 are Sunday; with both days given, either
        will do; a time that the clocks skip in spring is made up at once, one that comes twice in autumn counts once, unless it comes
        every hour (``*``).
    jitter
        Seconds by which it may be late, at random: so that not everybody asks at the full hour.
    zone
        Time zone (IANA) in which `cron` is read.

    Raises
    ------
    ValueError
        Neither or both are given, `cron` cannot be read or never comes, there is no such zone. The message says which.
    """

    every: float | None = None
    cron: str | None = None
    jitter: float = 0.0
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if (self.every is None) == (self.cron is None):
            raise ValueError("one of every and cron")
        if self.every is not None and not 1 <= self.every <= 366 * 86400:
            raise ValueError("every is between a second and a year")
        if self.jitter < 0:
            raise ValueError("jitter is not negative")
        self._place  # noqa: B018  (looked up now, so that a wrong name is told now)
        if self.cron is not None:
            next(self._fires(datetime.now(UTC)))

    @cached_property
    def _place(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):  # not there; not a name; a directory
            raise ValueError(f"there is no time zone {self.zone!r}; one is called Europe/Paris") from None

    @cached_property
    def _line(self) -> str:
        text = " ".join((self.cron or "").split()).lower()
        return _WORDS.get(text, text)

    def _fires(self, moment: datetime) -> Iterator[datetime]:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415  (few schedules are so)

        fields = self._line.split()
        if len(fields) != FIELDS:
            raise ValueError(
                f"cron has {FIELDS} fields (minute hour day month weekday), as in '15 3 * * *', not {self.cron!r}"
            )
        # cronsim takes what begins with a star for a rhythm, also `*/15 2` and `15 */2`
        if fields[1] not in {"*", "*/1"}:
            fields[:2] = (
                f"{every}{field[1:]}" if field[0] == "*" else field
                for every, field in zip(_EVERY, fields, strict=False)
            )
        try:
            return iter(CronSim(" ".join(fields).upper(), moment.astimezone(self._place)))
        except CronSimError as error:
            raise ValueError(f"{self.cron!r} is no line of cron: {str(error).lower()}") from None

    def after(self, moment: datetime) -> datetime:
        """Return the next time after a moment, in UTC and without jitter.

        Parameters
        ----------
        moment
            Aware, of any zone.

        Returns
        -------
        time
            Aware, UTC; `datetime.max` if the calendar ends before.
        """
        moment = moment.astimezone(UTC)
        if self.every is not None:
            return moment + timedelta(seconds=self.every)
        found = (one.astimezone(UTC) for one in self._fires(moment))
        # in an hour that comes twice, cronsim goes on from its first time
        # the latter: the calendar ends before
        return next((one for one in found if one > moment), datetime.max.replace(tzinfo=UTC))

    def __str__(self) -> str:
        """Write it as a descriptor does: ``every 1 h``, ``cron 15 3 * * * (Europe/Paris)``."""
        if self.every is not None:
            return f"every {span(self.every)}"
        return f"cron {self.cron}" + (f" ({self.zone})" if self.zone != "UTC" else "")


def span(seconds: float) -> str:
    """Format a length of time for people: ``1 h``, ``1 d 6 h``, ``90 s``: two units at most.

    Parameters
    ----------
    seconds
        Not negative.

    Returns
    -------
    text
        Below 100 s with a fraction.
    """
    left = round(seconds)
    if left < 100:
        return f"{seconds:.3g} s"
    words: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(words) < 2:
            words.append(f"{left // size} {unit}")
            left %= size
        elif words:
            break
    return " ".join(words)


__all__ = [
    "DATA_SOURCE", "FIELDS", "SPDX", "VOCABULARY", "Citation", "CitedResult", "Embargo", "Entry", "Example", "Flags", "Funding", "Granule", "Person", "PythonFunction", "Registered", "Registration", "Related", "Resource", "Rule", "Schedule", "Setting", "SourceSpec", "Sync", "TableSpec", "Term", "Test", "Timing", "Work", "doi", "identified", "orcid", "ror", "span", "tells_source",
]  # fmt: skip
