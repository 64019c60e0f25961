"""Describe a collection as its descriptor defines it: metadata, tables, sources and mappings.

`Recurrence` computes when a task is due again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from hven.model._bibliography import (
    CitedResult,
    DoiRecord,
    FundingReference,
    RelatedIdentifier,
    parse_doi,
    parse_orcid,
    parse_ror,
    parse_work_identifier,
)
from hven.model._registration import CollectionRegistration, RelatedResource, ServiceRegistration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hven.model.errors import Fault, TextPlace
    from hven.model.table import Column, Table
    from hven.model.types import ColumnType

DATA_SOURCE_COLUMN = "data_source"  # the column that tells of each row whether it is simulated
# licences with the names of SPDX, which have an address
SPDX_LICENCE_PATTERN = re.compile(
    r"(CC0|CC-BY(-[A-Z]{2})*|ODbL|ODC-By|PDDL|GPL|LGPL|AGPL|MIT|BSD|Apache|etalab|OGL)[A-Za-z0-9.+-]*"
)
DATA_SOURCE_VOCABULARY_URI = (
    "http://www.ivoa.net/rdf/data-source"  # the vocabulary of this column, which is also its utype
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Describe a creator, contact or contributor (VOResource).

    Attributes
    ----------
    name
        Family name first or last, as shown to readers.
    email, orcid, affiliation, url
        Other known facts.
    ror
        Identifier of the affiliation, or of the institute itself.
    role
        Role of a contributor, in DataCite's words.
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
    """Describe a ``source:`` entry that is not opened yet: its kind and its options.

    Attributes
    ----------
    place
        Place in the descriptor.
    additions
        Keys that plug-in packages add to sources (`hven.model.plugins.PluginPackage.source_keys`), with their options.
    """

    kind: str
    options: Mapping[str, Any]
    place: TextPlace
    additions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """Describe how a target column gets its value.

    Attributes
    ----------
    how
        ``set`` (constant), ``text`` (template), ``map`` (ADQL expression), ``lookup``.
    value
        The text as written; for ``lookup`` a mapping (from, table, key, value, missing).
    place
        Place in the descriptor.
    """

    column: str
    how: str
    value: Any
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class GranuleRowSpec:
    """Describe one of several rows that are made from a source row: overrides of settings, maybe under a condition.

    Attributes
    ----------
    gid
        Its word for ``granule_gid`` (EPN-TAP), unless a setting gives another.
    place
        Place in the descriptor.
    """

    gid: str
    settings: tuple[ColumnMapping, ...]
    condition: tuple[str, TextPlace] | None = None
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRule:
    """Describe a rule that rows must meet: an ADQL condition; a row for which it is false breaks it, NULL passes.

    Attributes
    ----------
    name
        Name of the rule in reports.
    severity
        ``error``, ``warning`` or ``info``.
    message
        The fault of a row that breaks the rule.
    columns
        The columns that the rule concerns, for reports.
    low, high
        Bounds of values, in their unit, for a `check` of whole columns.
    flag
        Bit of the table's column of flags (`QualityFlagColumn`) that is set in rows that break the rule; such rows are
        published.
    place
        Place in the descriptor or standard.
    """

    name: str
    condition: str
    severity: str
    message: str | None = None
    check: str | None = None  # a check of whole columns instead of a condition
    columns: tuple[str, ...] = ()
    of: str | None = None
    items: bool = False  # values are lists joined by #
    low: float | None = None
    high: float | None = None
    flag: int | None = None
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFlagColumn:
    """Describe the column whose bits show which rules a row breaks.

    Attributes
    ----------
    bits
        Name of a rule -> its bit, in the order of bits; rules that are off have none.
    group_expressions
        Name -> ADQL expression over the table's own columns, by which flagged rows are counted.
    is_supplied
        Whether the rows come with their flags, and the rules only describe the bits.
    informative_rules
        Names of rules of severity ``info``, which are counted only: a row that breaks no other rule is valid.
    place
        Place in the descriptor.
    """

    column: str
    bits: Mapping[str, int]
    group_expressions: Mapping[str, tuple[str, TextPlace]] = field(default_factory=dict)
    is_supplied: bool = False
    informative_rules: frozenset[str] = frozenset()
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbargoTerm:
    """Describe a number of months, or a moment, that may differ for each value of an expression.

    Attributes
    ----------
    expression
        The expression over the source; None if the default applies to all rows.
    values
        The number or the moment for each value.
    default
        For values that are not listed; None if it is unknown.
    """

    expression: Any
    values: Mapping[str, int | str]
    default: int | str | None

    def describe(self, unit: str = "") -> str:
        """Describe the term in words: ``24 (suv), 12 (eso, pionier), else 0 months by collection``.

        Parameters
        ----------
        unit
            Unit of the numbers, with a blank before it.

        Returns
        -------
        words
            Text for people.
        """
        if self.expression is None:
            return f"{self.default}{unit}"
        keys_by_value: dict[int | str, list[str]] = {}
        for key, value in self.values.items():
            keys_by_value.setdefault(value, []).append(key)
        phrases = [f"{value} ({', '.join(keys)})" for value, keys in keys_by_value.items()]
        if self.default is not None:
            phrases.append(f"else {self.default}")
        return f"{', '.join(phrases)}{unit} by {self.expression}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbargoPolicy:
    """Describe how the release date of a row is computed.

    Attributes
    ----------
    column
        Column of the table for the release date; a date that the row has itself replaces the months.
    start_expression
        The moment from which months count, an expression over the source like the others.
    exempt_condition
        Condition of rows without months.
    not_before
        The collection's own date.
    delivered_condition
        Condition of rows whose own date stays as it is.
    duration_months
        The number of months; 0 for exempt rows.
    place
        Place in the descriptor.
    """

    column: str
    start_expression: Any
    duration_months: EmbargoTerm
    exempt_condition: Any = None
    not_before: EmbargoTerm | None = None
    delivered_condition: Any = None
    place: TextPlace

    def describe(self) -> str:
        """Describe the policy as a sentence without its beginning.

        Returns
        -------
        words
            Text for people.
        """
        duration = self.duration_months.describe(" months")
        phrases = [f"{duration} after {self.start_expression}, or at its own {self.column}"]
        if self.exempt_condition:
            phrases.append(f"without months where {self.exempt_condition}")
        if self.not_before:
            phrases.append(f"not before {self.not_before.describe()}")
        if self.delivered_condition:
            phrases.append(f"only at its own date where {self.delivered_condition}")
        return "; ".join(phrases)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTest:
    """Describe a query with its expected answer: column -> value of the first row; ``rows`` -> number of rows.

    Attributes
    ----------
    name
        Name of the test, in words; None for the query itself.
    expected_values
        Values that the answer must have.
    place
        Place in the descriptor.
    """

    name: str | None = None
    query: str
    expected_values: Mapping[str, Any]
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleQuery:
    """Describe a query for readers to start with (DALI 1.1 section 2.3).

    A descriptor defines it, or Hven makes it for a table without one.

    Attributes
    ----------
    name
        What it shows, in one line.
    description
        What to look at, as plain text.
    tables
        Names of the tables that it reads, as queries write them; set when a reader sees it.
    place
        Place in the descriptor; None if Hven made it.
    """

    name: str
    query: str
    description: str | None = None
    tables: tuple[str, ...] = ()
    place: TextPlace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPolicy:
    """Describe how a table follows its source.

    Attributes
    ----------
    watermark
        Source column, or ADQL expression over source columns, that is larger in rows that were written later. None:
        each run reads all rows.
    overlap_seconds
        Seconds to look back behind the last watermark, if it is a time.
    overlap_amount
        The same in the watermark's own unit.
    deletion_method
        ``compare``, ``blocks``, ``none``, ``column``.
    deleted_condition
        For ``column``: ADQL condition over source rows that are deleted.
    full_interval_seconds
        Seconds after which a run reads all rows again; infinite for never, if every write moves the watermark. None if
        the descriptor does not set it.
    page_row_count, max_requests_per_second
        Rows of a request; requests per second.
    max_removed_share, max_changed_share
        Largest shares of the published rows that a run may remove or change before it stops and asks.
    place
        Place in the descriptor.
    DEFAULT_MAX_REMOVED_SHARE, DEFAULT_MAX_CHANGED_SHARE
        Default shares (0 to 1) of `max_removed_share` and `max_changed_share`.
    """

    DEFAULT_MAX_REMOVED_SHARE: ClassVar[float] = 0.1
    DEFAULT_MAX_CHANGED_SHARE: ClassVar[float] = 0.5

    watermark: tuple[str, TextPlace] | None = None
    overlap_seconds: float | None = None
    overlap_amount: float | None = None
    deletion_method: str = "compare"
    deleted_condition: tuple[str, TextPlace] | None = None
    full_interval_seconds: float | None = None
    page_row_count: int | None = None
    max_requests_per_second: float | None = None
    max_removed_share: float = DEFAULT_MAX_REMOVED_SHARE
    max_changed_share: float = DEFAULT_MAX_CHANGED_SHARE
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSchedule:
    """Describe when a collection is synchronised automatically.

    Attributes
    ----------
    interval_seconds
        Seconds between runs; None if `cron` is set.
    cron
        Five fields (minute, hour, day of the month, month, day of the week) with single spaces, in the time zone
        `time_zone`.
    max_jitter_seconds
        Largest random shift of a run in seconds.
    place
        Place in the descriptor.
    """

    interval_seconds: float | None = None
    cron: str | None = None
    max_jitter_seconds: float = 0.0
    time_zone: str = "UTC"
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """Describe a table of a descriptor: its structure (`table`) and how its rows are made.

    Attributes
    ----------
    sources
        The sources, read one after the other; the table has the rows of all of them.
    settings
        How columns get their values.
    let
        Name -> ADQL expression over source columns and earlier names, in order of dependence.
    where
        ADQL condition over source rows.
    granules
        Kinds of rows that are made from each source row; empty for one row.
    rules
        Rules of the descriptor and of its standard.
    flags
        The column of flags, or None.
    embargo
        How release dates are computed; None if they are not.
    sync
        How the table follows its source; None if only `hven ingest` reads it, or if it is compared as a whole.
    has_declared_columns
        Whether the descriptor (or its standard) defines the columns; otherwise they follow the source.
    follows_source
        Whether the table also has the source's columns, which `table.columns` refine or complete.
    declared_columns
        Columns of the descriptor and its standard, before those of the source are added.
    explicit_attributes
        Column name -> attributes that the descriptor (or its standard) defines; the others come from the source.
    xtypes_by_column
        Column name -> xtypes of the values whose type it takes, in place of its own.
    frame
        ``frame`` of the descriptor: that of its positions.
    group_by
        Source columns or expressions; rows with equal values become one row.
    for_each
        Array columns whose elements become rows.
    vocabularies
        Name -> words that rules may use.
    frame_warnings
        Doubts about the frames of its positions, for the report of each ingest.
    """

    table: Table
    sources: tuple[SourceSpec, ...]
    frame_warnings: tuple[Fault, ...] = ()
    settings: tuple[ColumnMapping, ...] = ()
    let: Mapping[str, tuple[str, TextPlace]] = field(default_factory=dict)
    where: tuple[str, TextPlace] | None = None
    granules: tuple[GranuleRowSpec, ...] = ()
    rules: tuple[ValidationRule, ...] = ()
    flags: QualityFlagColumn | None = None
    embargo: EmbargoPolicy | None = None
    sync: SyncPolicy | None = None
    has_declared_columns: bool = True
    follows_source: bool = False
    declared_columns: tuple[Column, ...] = ()
    explicit_attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    xtypes_by_column: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    column_places: Mapping[str, TextPlace] = field(default_factory=dict)  # place of each declared column
    span_places: Mapping[str, TextPlace] = field(
        default_factory=dict
    )  # place of each data set of which its rows are spans
    frame: str | None = None
    group_by: tuple[str, ...] = ()
    for_each: tuple[str, ...] = ()
    max_rejected_share: float | None = None  # share of the rows; None: ingest's default
    defaults: Mapping[str, ColumnMapping] = field(default_factory=dict)  # for columns without another value
    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    obscore: TableSpec | None = None  # its rows in ivoa.obscore: settings over its own columns
    obscore_radio: TableSpec | None = None  # its rows in ivoa.obscore_radio
    uses_standard_units: bool = False  # of these two: expressions give the standard's own units, without a conversion
    place: TextPlace

    @property
    def has_site_addresses(self) -> bool:
        """Whether its rows contain the address of the site."""
        granule_settings = [setting for granule in self.granules for setting in granule.settings]
        mappings = (*self.settings, *granule_settings, *self.defaults.values())
        texts = [str(mapping.value) for mapping in mappings]
        texts += [text for text, _ in self.let.values()]
        return any("site.url" in text for text in texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionFunction:
    """Describe a function of expressions: Arrow arrays in, one Arrow array of `type` out.

    It is in a ``.py`` file beside the descriptor, or built in.

    Attributes
    ----------
    name
        Name in expressions.
    path
        Path of the file; None for a built-in function.
    unit, ucd
        Unit and UCD of the result.
    place
        Place in the descriptor.
    """

    name: str
    path: Path | None
    type: ColumnType
    unit: str | None = None
    ucd: str | None = None
    argument_count: int | None = None  # None: any number
    place: TextPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionSpec:
    """Describe a collection: a schema, its metadata and its tables (VOResource, VODataService).

    Attributes
    ----------
    path
        Path of the descriptor.
    description
        Text for people, in Markdown.
    access
        ``public`` or ``private``, for tables that do not set it.
    project
        The project whose members see its tables, or None.
    services
        Faces that serve its tables; empty for all that can.
    subjects, creators, contact, publisher, facility, instrument, waveband, content_level, type, short_name
        As in VOResource.
    licence, licence_url
        Name and address of the licence.
    citation, bibcode, doi, reference_url
        How to cite it.
    contributors, funding, works
        Contributors, sources of funding, related papers.
    acknowledgement
        Text that users of the data should put into a paper.
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
        Queries for readers to start with.
    hashes
        File name, relative to the descriptor's directory -> SHA-256, of every file that was read: the descriptor, its
        includes, function files, lookup files. They are provenance, and ingest compares them again before it publishes.
    functions
        Python functions beside the descriptor that expressions may call.
    site
        Values of ``{site.url}``, ``{site.name}``, ``{site.title}``, ``{site.authority}``.
    engine
        Name of the engine that stores its rows; None for the site's.
    index
        Position among the collections; None: ordered by name.
    schedule
        When it is synchronised automatically (``sync:`` of the collection).
    prepare
        Products that are made from its files in the background after each publication: ``previews``, ``spectra``.
    registration
        Its entries in registries, or None.
    extensions
        Values of the other keys of the descriptor, by key: texts, numbers, booleans, tuples of texts. Keys of plug-in
        packages have the values that these packages convert.
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
    funding: tuple[FundingReference, ...] = ()
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
    functions: tuple[ExpressionFunction, ...] = ()
    site: Mapping[str, str] = field(default_factory=dict)
    engine: str | None = None
    index: int | None = None
    schedule: SyncSchedule | None = None
    prepare: tuple[str, ...] = ()
    registration: CollectionRegistration | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_simulated(self) -> bool:
        """Whether its rows were computed and not observed: ``type: [Simulation]``, VOResource's word."""
        return "simulation" in map(str.lower, self.type)

    @property
    def is_partly_simulated(self) -> bool:
        """Whether a column tells of each row whether it is simulated."""
        return any(is_simulation_flag_column(column) for spec in self.tables for column in spec.table.columns)


def is_simulation_flag_column(column: Column) -> bool:
    """Return whether a column tells of each row whether it is simulated.

    Parameters
    ----------
    column
        A column of any table.
    """
    return column.name == DATA_SOURCE_COLUMN and column.utype == DATA_SOURCE_VOCABULARY_URI


CRON_FIELD_COUNT = 5  # minute, hour, day of the month, month, day of the week
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
    """Compute when a task is due: every `interval_seconds`, or by `cron`.

    Attributes
    ----------
    cron
        Five fields, or ``@daily`` and similar words, as in Debian's cron: 0 and 7 are Sunday; if both days are set,
        either of them matches. A time that the clocks skip in spring is made up at once. A time that comes twice in
        autumn counts once, unless it comes every hour (``*``).
    max_jitter_seconds
        Largest random delay in seconds, so that not all sites start at the full hour.
    time_zone
        Time zone (IANA) of `cron`.

    Raises
    ------
    ValueError
        Neither or both are set, `cron` is not valid or never matches, or the zone is unknown. The message says which.
    """

    interval_seconds: float | None = None
    cron: str | None = None
    max_jitter_seconds: float = 0.0
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if (self.interval_seconds is None) == (self.cron is None):
            raise ValueError("give either `every` or `cron`")
        if self.interval_seconds is not None and not 1 <= self.interval_seconds <= 366 * 86400:
            raise ValueError("`every` must be between 1 s and 366 d")
        if self.max_jitter_seconds < 0:
            raise ValueError("`jitter` must not be negative")
        self._zone_info  # noqa: B018  (an unknown zone must be an error at once)
        if self.cron is not None:
            next(self._iterate_cron_times(datetime.now(UTC)))

    @cached_property
    def _zone_info(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError):  # not there; not a name; a directory
            raise ValueError(f"there is no time zone {self.time_zone!r}; write a name such as Europe/Paris") from None

    @cached_property
    def _cron_line(self) -> str:
        text = " ".join((self.cron or "").split()).lower()
        return _CRON_MACROS.get(text, text)

    def _iterate_cron_times(self, instant: datetime) -> Iterator[datetime]:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415  (few schedules are so)

        fields = self._cron_line.split()
        if len(fields) != CRON_FIELD_COUNT:
            fields_text = f"{CRON_FIELD_COUNT} fields (minute hour day month weekday)"
            raise ValueError(f"`cron` must have {fields_text}, not {self.cron!r}; write, for example, '15 3 * * *'")
        # cronsim treats fields that begin with a star as rhythms, also `*/15 2` and `15 */2`
        if fields[1] not in {"*", "*/1"}:
            fields[:2] = (
                f"{full_range}{field[1:]}" if field[0] == "*" else field
                for full_range, field in zip(_CRON_FULL_RANGES, fields, strict=False)
            )
        try:
            return iter(CronSim(" ".join(fields).upper(), instant.astimezone(self._zone_info)))
        except CronSimError as error:
            raise ValueError(f"{self.cron!r} is not a valid cron line: {str(error).lower()}") from None

    def find_next_time(self, instant: datetime) -> datetime:
        """Return the next time after a moment, in UTC and without jitter.

        Parameters
        ----------
        instant
            A time with a zone.

        Returns
        -------
        time
            A time in UTC; `datetime.max` if the calendar ends before.
        """
        instant = instant.astimezone(UTC)
        if self.interval_seconds is not None:
            return instant + timedelta(seconds=self.interval_seconds)
        # in an hour that comes twice, cronsim continues from the first one
        for cron_time in self._iterate_cron_times(instant):
            if cron_time.astimezone(UTC) > instant:
                return cron_time.astimezone(UTC)
        return datetime.max.replace(tzinfo=UTC)

    def __str__(self) -> str:
        """Write the schedule as in a descriptor: ``every 1 h``, ``cron 15 3 * * * (Europe/Paris)``."""
        if self.interval_seconds is not None:
            return f"every {format_duration(self.interval_seconds)}"
        zone = f" ({self.time_zone})" if self.time_zone != "UTC" else ""
        return f"cron {self.cron}{zone}"


def format_duration(duration_seconds: float) -> str:
    """Format a duration for people with at most two units: ``1 h``, ``1 d 6 h``, ``90 s``.

    Parameters
    ----------
    duration_seconds
        Duration, not negative.

    Returns
    -------
    text
        Text; durations below 100 s have a fraction.
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
    "CitedResult",
    "CollectionRegistration",
    "CollectionSpec",
    "ColumnMapping",
    "DoiRecord",
    "EmbargoPolicy",
    "EmbargoTerm",
    "ExampleQuery",
    "ExpressionFunction",
    "FundingReference",
    "GranuleRowSpec",
    "Person",
    "QualityFlagColumn",
    "QueryTest",
    "Recurrence",
    "RelatedIdentifier",
    "RelatedResource",
    "ServiceRegistration",
    "SourceSpec",
    "SyncPolicy",
    "SyncSchedule",
    "TableSpec",
    "ValidationRule",
    "format_duration",
    "is_simulation_flag_column",
    "parse_doi",
    "parse_orcid",
    "parse_ror",
    "parse_work_identifier",
]
