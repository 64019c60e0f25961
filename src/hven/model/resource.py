"""Resource: a collection as its descriptor says it - metadata, tables, sources and mappings - and its parts.

When something is due again (`Recurrence`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from hven.model._bibliography import (
    Citation,
    CitedResult,
    Funding,
    RelatedIdentifier,
    parse_doi,
    parse_orcid,
    parse_ror,
    parse_work_identifier,
)
from hven.model._registration import Registration, RegistryRecord, RelatedResource, ServiceRegistration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.model.errors import Fault, Place
    from hven.model.table import Column, Table
    from hven.model.types import Type

DATA_SOURCE_COLUMN = "data_source"  # the column of tables of which some rows are simulated
# licences whose names are those of SPDX, and so have an address
SPDX_LICENCE_PATTERN = re.compile(
    r"(CC0|CC-BY(-[A-Z]{2})*|ODbL|ODC-By|PDDL|GPL|LGPL|AGPL|MIT|BSD|Apache|etalab|OGL)[A-Za-z0-9.+-]*"
)
DATA_SOURCE_VOCABULARY_URI = "http://www.ivoa.net/rdf/data-source"  # whose words it has, and its utype


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
class ColumnMapping:
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
class GranuleSpec:
    """One of several rows made from a source row: overrides of the settings above it, perhaps under a condition.

    Attributes
    ----------
    gid
        Its word for ``granule_gid`` (EPN-TAP), where no setting says another.
    place
        Where it stands in the descriptor.
    """

    gid: str
    settings: tuple[ColumnMapping, ...]
    condition: tuple[str, Place] | None = None
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRule:
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
        Bit of the table's column of flags (`QualityFlagColumn`) that is set in rows that break it; they are published.
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
class QualityFlagColumn:
    """The column whose bits say which rules a row breaks.

    Attributes
    ----------
    bits
        Name of a rule -> its bit, in the order of bits; rules that are off have none.
    group_expressions
        Name -> ADQL expression over the table's own columns, by which flagged rows are counted.
    is_supplied
        True: the rows come with their flags, and the rules only say what the bits mean.
    informative_rules
        Names of rules of severity ``info``: they are counted, and a row that breaks no other rule is valid.
    place
        Where it stands in the descriptor.
    """

    column: str
    bits: Mapping[str, int]
    group_expressions: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    is_supplied: bool = False
    informative_rules: frozenset[str] = frozenset()
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbargoTerm:
    """A number of months, or a moment, that may be another one for each value of an expression.

    Attributes
    ----------
    expression
        The expression over the source; None: it is the default for all rows.
    values
        The number, or the moment, of each.
    default
        For values that are not listed; None: it is not known.
    """

    expression: Any
    values: Mapping[str, int | str]
    default: int | str | None

    def describe(self, unit: str = "") -> str:
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
        if self.expression is None:
            return f"{self.default}{unit}"
        keys_by_value: dict[int | str, list[str]] = {}
        for key, value in self.values.items():
            keys_by_value.setdefault(value, []).append(key)
        phrases = [f"{value} ({', '.join(keys)})" for value, keys in keys_by_value.items()]
        return (
            f"{', '.join([*phrases, *([] if self.default is None else [f'else {self.default}'])])}{unit} by "
            f"{self.expression}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbargoPolicy:
    """How the release date of a row is made.

    Attributes
    ----------
    column
        Of the table, that takes it; what the row has there itself stands instead of the months.
    start_expression
        The moment from which months are counted, an expression over the source, as the others.
    exempt_condition
        Rows without months.
    not_before
        The collection's own date.
    delivered_condition
        Rows whose own date is left as it is.
    duration_months
        How many; 0 of exempt ones.
    place
        In the descriptor.
    """

    column: str
    start_expression: Any
    duration_months: EmbargoTerm
    exempt_condition: Any = None
    not_before: EmbargoTerm | None = None
    delivered_condition: Any = None
    place: Place

    def describe(self) -> str:
        """Write it as a sentence without a beginning.

        Returns
        -------
        words
            For people.
        """
        phrases = [
            f"{self.duration_months.describe(' months')} after {self.start_expression}, or at its own {self.column}"
        ]
        phrases += [f"without months where {self.exempt_condition}"] if self.exempt_condition else []
        phrases += [f"not before {self.not_before.describe()}"] if self.not_before else []
        phrases += [f"as its own date says alone where {self.delivered_condition}"] if self.delivered_condition else []
        return "; ".join(phrases)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTest:
    """A query with what it must answer: column -> value of the first row; ``rows`` -> how many.

    Attributes
    ----------
    name
        What is tried, in words; None: the query says it.
    expected_values
        What the answer must have.
    place
        Where it stands in the descriptor.
    """

    name: str | None = None
    query: str
    expected_values: Mapping[str, Any]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleQuery:
    """A query for readers to begin with (DALI 1.1 section 2.3).

    Written in a descriptor, or made for a table that none shows.

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
class SyncPolicy:
    """How a table follows its source.

    Attributes
    ----------
    watermark
        Source column, or ADQL expression over source columns: larger in rows that were written later. None: all is read
        each time.
    overlap_seconds
        Seconds to look back behind the last watermark, which is a time; or
    overlap_amount
        so much in the watermark's own unit.
    deletion_method
        ``compare``, ``blocks``, ``none``, ``column``.
    deleted_condition
        For ``column``: ADQL condition over source rows that are deleted.
    full_interval_seconds
        Seconds after which everything is read again; infinite: never, for every write moves the watermark. None:
        nothing is said.
    page_row_count, max_requests_per_second
        Rows at a time; requests a second.
    max_removed_share, max_changed_share
        Shares of the published rows that may go, or change, before the run stops and asks.
    place
        Where it stands in the descriptor.
    DEFAULT_MAX_REMOVED_SHARE, DEFAULT_MAX_CHANGED_SHARE
        Shares (0 to 1) of `max_removed_share` and `max_changed_share` where nothing is said.
    """

    DEFAULT_MAX_REMOVED_SHARE: ClassVar[float] = 0.1
    DEFAULT_MAX_CHANGED_SHARE: ClassVar[float] = 0.5

    watermark: tuple[str, Place] | None = None
    overlap_seconds: float | None = None
    overlap_amount: float | None = None
    deletion_method: str = "compare"
    deleted_condition: tuple[str, Place] | None = None
    full_interval_seconds: float | None = None
    page_row_count: int | None = None
    max_requests_per_second: float | None = None
    max_removed_share: float = DEFAULT_MAX_REMOVED_SHARE
    max_changed_share: float = DEFAULT_MAX_CHANGED_SHARE
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSchedule:
    """When a collection is synchronised by itself.

    Attributes
    ----------
    interval_seconds
        Seconds; or
    cron
        five fields (minute, hour, day of the month, month, day of the week) with single spaces, in the time zone
        `time_zone`.
    max_jitter_seconds
        Seconds by which a run may be shifted, by chance.
    place
        Where it stands in the descriptor.
    """

    interval_seconds: float | None = None
    cron: str | None = None
    max_jitter_seconds: float = 0.0
    time_zone: str = "UTC"
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
    has_declared_columns
        True if the descriptor (or its standard) says the columns; False: they follow the source.
    follows_source
        True if the source's columns are taken too, and `table.columns` refine them or add some.
    declared_columns
        Columns as the descriptor and its standard say them, before those of the source are added.
    explicit_attributes
        Column name -> attributes that the descriptor (or its standard) says; all others come from the source.
    xtypes_by_column
        Column name -> xtypes of the values whose type it takes, in place of its own.
    frame
        ``frame`` of the descriptor: that of its positions.
    group_by
        Source columns or expressions whose equal rows become one.
    for_each
        Array columns whose elements become rows.
    vocabularies
        Name -> words that rules may ask for.
    frame_warnings
        What is odd about the frames of its places, for the report of each ingest.
    """

    table: Table
    sources: tuple[SourceSpec, ...]
    frame_warnings: tuple[Fault, ...] = ()
    settings: tuple[ColumnMapping, ...] = ()
    let: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    where: tuple[str, Place] | None = None
    granules: tuple[GranuleSpec, ...] = ()
    rules: tuple[ValidationRule, ...] = ()
    flags: QualityFlagColumn | None = None
    embargo: EmbargoPolicy | None = None
    sync: SyncPolicy | None = None
    has_declared_columns: bool = True
    follows_source: bool = False
    declared_columns: tuple[Column, ...] = ()
    explicit_attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    xtypes_by_column: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    column_places: Mapping[str, Place] = field(default_factory=dict)  # where each declared column stands
    span_places: Mapping[str, Place] = field(
        default_factory=dict
    )  # where each data set stands of which its rows are spans
    frame: str | None = None
    group_by: tuple[str, ...] = ()
    for_each: tuple[str, ...] = ()
    max_rejected_share: float | None = None  # share of the rows; None: ingest's default
    defaults: Mapping[str, ColumnMapping] = field(default_factory=dict)  # for columns that nothing else gives a value
    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    obscore: TableSpec | None = None  # its rows in ivoa.obscore: settings over its own columns
    obscore_radio: TableSpec | None = None  # its rows in ivoa.obscore_radio
    uses_standard_units: bool = False  # of these two: expressions give the standard's own units; nothing is converted
    place: Place

    @property
    def has_site_addresses(self) -> bool:
        """Whether the site's own address goes into its rows."""
        mappings = (
            *self.settings,
            *(item for granule in self.granules for item in granule.settings),
            *self.defaults.values(),
        )
        return any("site.url" in str(item.value) for item in mappings) or any(
            "site.url" in text for text, _ in self.let.values()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonFunction:
    """A function in a ``.py`` file beside the descriptor: Arrow arrays in, one Arrow array of `type` out. None.

    It is one of our own.

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
    argument_count: int | None = None  # None: any number
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
    works: tuple[RelatedIdentifier, ...] = ()
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
    tests: tuple[QueryTest, ...] = ()
    examples: tuple[ExampleQuery, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    functions: tuple[PythonFunction, ...] = ()
    site: Mapping[str, str] = field(default_factory=dict)
    engine: str | None = None
    index: int | None = None
    schedule: SyncSchedule | None = None
    prepare: tuple[str, ...] = ()
    registration: Registration | None = None

    @property
    def is_simulated(self) -> bool:
        """Whether its rows were computed and not observed: ``type: [Simulation]``, VOResource's word."""
        return "simulation" in {word.lower() for word in self.type}

    @property
    def is_partly_simulated(self) -> bool:
        """Whether a column says of each row whether it is simulated."""
        return any(is_data_source_column(column) for spec in self.tables for column in spec.table.columns)


def is_data_source_column(column: Column) -> bool:
    """Return whether a column says of each row whether it is simulated.

    Parameters
    ----------
    column
        Of any table.
    """
    return column.name == DATA_SOURCE_COLUMN and column.utype == DATA_SOURCE_VOCABULARY_URI


CRON_FIELD_COUNT = 5  # of cron: minute, hour, day of the month, month, day of the week
_CRON_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_CRON_FULL_RANGES = ("0-59", "0-23")  # minutes, hours
_DURATION_UNITS_SECONDS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """When something is due: `interval_seconds` (seconds) or `cron`, one of the two.

    Attributes
    ----------
    cron
        Five fields, or ``@daily`` and its like, as Debian's cron understands them: 0 and 7 are Sunday; with both days
        given, either will do; a time that the clocks skip in spring is made up at once, one that comes twice in autumn
        counts once, unless it comes every hour (``*``).
    max_jitter_seconds
        Seconds by which it may be late, at random: so that not everybody asks at the full hour.
    time_zone
        Time zone (IANA) in which `cron` is read.

    Raises
    ------
    ValueError
        Neither or both are given, `cron` cannot be read or never comes, there is no such zone. The message says which.
    """

    interval_seconds: float | None = None
    cron: str | None = None
    max_jitter_seconds: float = 0.0
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if (self.interval_seconds is None) == (self.cron is None):
            raise ValueError("one of every and cron")
        if self.interval_seconds is not None and not 1 <= self.interval_seconds <= 366 * 86400:
            raise ValueError("every is between a second and a year")
        if self.max_jitter_seconds < 0:
            raise ValueError("jitter is not negative")
        self._zone_info  # noqa: B018  (looked up now, so that a wrong name is told now)
        if self.cron is not None:
            next(self._iterate_cron_times(datetime.now(UTC)))

    @cached_property
    def _zone_info(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):  # not there; not a name; a directory
            raise ValueError(f"there is no time zone {self.time_zone!r}; one is called Europe/Paris") from None

    @cached_property
    def _cron_line(self) -> str:
        text = " ".join((self.cron or "").split()).lower()
        return _CRON_MACROS.get(text, text)

    def _iterate_cron_times(self, instant: datetime) -> Iterator[datetime]:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415  (few schedules are so)

        fields = self._cron_line.split()
        if len(fields) != CRON_FIELD_COUNT:
            raise ValueError(
                f"cron has {CRON_FIELD_COUNT} fields (minute hour day month weekday), as in '15 3 * * *', not "
                f"{self.cron!r}"
            )
        # cronsim takes what begins with a star for a rhythm, also `*/15 2` and `15 */2`
        if fields[1] not in {"*", "*/1"}:
            fields[:2] = (
                f"{full_range}{field[1:]}" if field[0] == "*" else field
                for full_range, field in zip(_CRON_FULL_RANGES, fields, strict=False)
            )
        try:
            return iter(CronSim(" ".join(fields).upper(), instant.astimezone(self._zone_info)))
        except CronSimError as error:
            raise ValueError(f"{self.cron!r} is no line of cron: {str(error).lower()}") from None

    def find_next_time(self, instant: datetime) -> datetime:
        """Return the next time after a moment, in UTC and without jitter.

        Parameters
        ----------
        instant
            Aware, of any zone.

        Returns
        -------
        time
            Aware, UTC; `datetime.max` if the calendar ends before.
        """
        instant = instant.astimezone(UTC)
        if self.interval_seconds is not None:
            return instant + timedelta(seconds=self.interval_seconds)
        times = (time.astimezone(UTC) for time in self._iterate_cron_times(instant))
        # in an hour that comes twice, cronsim goes on from its first time
        # the latter: the calendar ends before
        return next((time for time in times if time > instant), datetime.max.replace(tzinfo=UTC))

    def __str__(self) -> str:
        """Write it as a descriptor does: ``every 1 h``, ``cron 15 3 * * * (Europe/Paris)``."""
        if self.interval_seconds is not None:
            return f"every {format_duration(self.interval_seconds)}"
        return f"cron {self.cron}" + (f" ({self.time_zone})" if self.time_zone != "UTC" else "")


def format_duration(duration_seconds: float) -> str:
    """Format a length of time for people: ``1 h``, ``1 d 6 h``, ``90 s``: two units at most.

    Parameters
    ----------
    duration_seconds
        Not negative.

    Returns
    -------
    text
        Below 100 s with a fraction.
    """
    remaining_seconds = round(duration_seconds)
    if remaining_seconds < 100:
        return f"{duration_seconds:.3g} s"
    words: list[str] = []
    for size, unit in _DURATION_UNITS_SECONDS:
        if remaining_seconds >= size and len(words) < 2:
            words.append(f"{remaining_seconds // size} {unit}")
            remaining_seconds %= size
        elif words:
            break
    return " ".join(words)


__all__ = [
    "CRON_FIELD_COUNT",
    "DATA_SOURCE_COLUMN",
    "DATA_SOURCE_VOCABULARY_URI",
    "SPDX_LICENCE_PATTERN",
    "Citation",
    "CitedResult",
    "ColumnMapping",
    "EmbargoPolicy",
    "EmbargoTerm",
    "ExampleQuery",
    "Funding",
    "GranuleSpec",
    "Person",
    "PythonFunction",
    "QualityFlagColumn",
    "QueryTest",
    "Recurrence",
    "Registration",
    "RegistryRecord",
    "RelatedIdentifier",
    "RelatedResource",
    "Resource",
    "ServiceRegistration",
    "SourceSpec",
    "SyncPolicy",
    "SyncSchedule",
    "TableSpec",
    "ValidationRule",
    "format_duration",
    "is_data_source_column",
    "parse_doi",
    "parse_orcid",
    "parse_ror",
    "parse_work_identifier",
]
