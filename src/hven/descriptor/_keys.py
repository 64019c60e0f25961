"""Every key of a descriptor, said once.

What is checked, what editors offer, and what the reference page must explain.
"""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from hven.descriptor._citation_keys import ContributorSection, GrantSection, PersonSection, RelatedWorkSection
from hven.descriptor._endpoint_keys import EndpointSection
from hven.descriptor._file_keys import FileSection
from hven.descriptor._link_keys import DerivedSection
from hven.descriptor._quality_flags import MAX_FLAG_BIT
from hven.descriptor._registry_keys import RegistrySection
from hven.descriptor._series_keys import SeriesSection
from hven.descriptor._sync_policies import Duration, FullInterval, Overlap, Share
from hven.descriptor.value_schema import (
    Condition,
    Constant,
    DescriptorSection,
    Expression,
    FaultCollector,
    FreeMap,
    KeyValues,
    LocalizedText,
    OneOrMore,
    Query,
    Required,
    RetypedLocalizedText,
    RetypedText,
    Text,
    choose_value_reader,
    read_free_map,
)
from hven.descriptor.written_yaml import WrittenMap

DeletionWord = Literal["compare", "blocks", "none"]
Source = Annotated[str | dict[str, Any], partial(read_free_map, allow_text=True)]


def _read_rule(value: Any, key_path: str, faults: FaultCollector) -> KeyValues | None:
    """Refuse a rule that has neither condition nor check, and no flag.

    One with a flag may say what a bit means that the rows come with.
    """
    fields = RuleSection.record.read_map(value, key_path, faults)
    if fields is not None and not {"if", "check", "flag"} & fields.places.keys():
        faults.add_error(f"{key_path} lacks the key 'if'", value.place, RuleSection.record.key_docs["if"])
    return fields


def _read_observation_table(value: Any, key_path: str, faults: FaultCollector) -> KeyValues | None:
    """Read what has become a table of the standard; what editors are told is what is written."""
    if isinstance(value, WrittenMap):
        return TableSection.record.read_map(value, key_path, faults)
    return None


def _read_deletions(value: Any, key_path: str, faults: FaultCollector) -> Any:
    """Read a word, or `KeyValues` with ``column``."""
    if isinstance(value, WrittenMap):
        return DeletionsSection.record.read_map(value, key_path, faults)
    return choose_value_reader(DeletionWord)(value, key_path, faults)


class LookupSection(DescriptorSection):
    """A value found in a table by a key."""

    from_: Required[OneOrMore[Expression]]
    "expression over the source whose value is looked up; a list of them for a table with several keys"
    table: Source
    "where to look: a file beside the descriptor, or a source with its kind"
    key: OneOrMore[Text]
    "column of the table that is compared, default: its first; a list of them, one for each of 'from'"
    low: Text
    "instead of key: column of the table from whose value on a row of it is meant"
    high: Text
    "column of the table below whose value a row of it is meant; without it, up to the next row's low"
    value: Text
    "column of the table that is taken; default: its second"
    values: dict[str, Constant]
    "the table written here: {U: 365, B: 445}"
    missing: Literal["error", "null", "keep"]
    "a key that is not there: refuse the row (default), leave the value out, or keep the key itself"
    default: RetypedText
    "the value for a key that is not there, and for none"


class AssignedValueSection(DescriptorSection, name="assigned"):
    """How columns get their values."""

    set: dict[str, Constant]
    "constants: column: value, read as the text that stands there and typed by the column"
    text: dict[str, Text]
    (
        "templates: column: '{orbit}_{cube}'; names as in expressions, also {file.path}, {site.url}, {target.x}; {{ "
        "and }} for braces"
    )
    map: dict[str, Expression]
    "expressions: column: ADQL over the source's columns, 'let' names, and target.x"
    lookup: dict[str, LookupSection]
    "column: a value found in a table"


ASSIGNMENT_KEYS = tuple(AssignedValueSection.record.key_types)


class ColumnSection(
    DescriptorSection,
    short="type",
    empty=True,
    hints={
        "units": "unit",
        "tablehead": "label",
        "verblevel": "rank",
        "datatype": "type",
        "desc": "description",
        "title": "label",
        "min": "minimum",
        "max": "maximum",
        "index": "indexed",
        "mandatory": "required",
        "nullable": "required",
        "name": "label",
        "options": "enum",
    },
):
    """One column of a table."""

    type: Text
    "float64, int32, string, timestamp, point, float32[3] ...; without it, the type of the source's column of that name"
    types: OneOrMore[Text]
    "in a standard: types that the column has instead if what it is set to is of one of them"
    unit: Text
    "VOUnit: deg, mag, km.s-1; values are converted if the source says another one"
    ucd: Text
    "UCD1+: pos.eq.ra;meta.main"
    utype: Text
    "utype of a data model"
    description: LocalizedText
    "one sentence for readers"
    label: LocalizedText
    "heading for people; default: the words of the standard, else the name"
    null: RetypedText
    "the value that stands for 'no value' in formats without nulls"
    rank: Annotated[int, Field(ge=1, le=30)]
    "1 essential ... 30 technical; gives VERB of cone search and 'principal'"
    required: bool
    "true: a row without a value here is refused"
    indexed: bool
    "true: searches by this column are fast"
    unique: bool
    "true: no two rows have the same value"
    hidden: bool
    "true: can be queried, but is not shown unless asked for"
    std: bool
    "true: the column is one of a standard's"
    section: Text
    "heading under which pages show it"
    display: Text
    "how pages write it: .3f, sexagesimal, iso; hidden: it is for programs, not for people"
    frame: Text
    "name of an entry of 'frames'"
    link: Text
    "address as a template over the row's columns: https://x/{obs_id}"
    enum: Text
    "name of an entry of 'enums'"
    minimum: float
    "smallest value that is right"
    maximum: float
    "largest value that is right"
    optional: bool
    "in a standard: only there if a table asks for it under 'optional'"


class FunctionFileSection(DescriptorSection, short="file", name="functions"):
    """Python functions beside the descriptor."""

    file: Required[Text]
    "the .py file"
    names: dict[str, ColumnSection]
    "function: type of its result; default: what the functions' annotations say"


class LoopSection(DescriptorSection):
    """Similar columns made by a loop: {b} in names and values is replaced."""

    each: Required[FreeMap]
    "{b: [u, g, r]}: the values that {b} takes; several lists go in step, all of one length"
    columns: dict[str, ColumnSection]
    "columns to add"
    _: AssignedValueSection


class GranuleSection(DescriptorSection):
    """One of several rows made from one source row."""

    gid: Required[Text]
    "its name; fills the column granule_gid if the table has it"
    if_: Condition
    "made only from source rows that meet this"
    _: AssignedValueSection


class RuleSection(DescriptorSection, short="if", hints={"bit": "flag", "condition": "if"}):
    """What rows must meet."""

    if_: Condition
    "condition over the table's own columns; a row for which it is false breaks the rule"
    check: Literal[
        "words",
        "ucd",
        "unit",
        "pattern",
        "text",
        "items",
        "url",
        "media",
        "region",
        "orientation",
        "simple",
        "frame",
        "moc",
        "pair",
        "order",
        "between",
        "empty",
        "unique",
        "schema",
    ]
    "instead of 'if': a check of whole columns"
    columns: OneOrMore[Text]
    "columns that 'check' looks at; pair and order take them two by two"
    of: Text
    "for words: name of a vocabulary; for pattern: a regular expression"
    list: bool
    "true: the value is a list joined by #, and each item is checked"
    low: float
    "for between: smallest value that is right"
    high: float
    "for between: largest value that is right"
    severity: Literal["error", "warning", "info", "off"]
    "error (default): the row is refused; warning, info: it is counted; off: not looked at"
    flag: Annotated[int, Field(ge=0, le=MAX_FLAG_BIT)]
    (
        "bit of the table's 'flags' that is set in rows that break the rule; they are published and counted "
        "(severity: warning, or info). Once given, a bit keeps its meaning"
    )
    message: Text
    "what to tell"


class FlagColumnSection(
    DescriptorSection,
    name="flags",
    short="column",
    hints={"name": "column", "group": "by", "groups": "by", "group_by": "by", "count_by": "by"},
):
    """The column that says which rules a row breaks."""

    column: Required[Text]
    "its name; it is made if 'columns' does not describe it. Each rule with 'flag' has a bit of it"
    by: dict[str, Expression]
    (
        "by what flagged rows are counted, beside each rule: {instrument: insname, year: CAST(ISO(t_min) AS "
        "CHAR(4))}; expressions over the table's own columns"
    )
    given: bool
    "true: the rows come with their flags; rules say what the bits mean ({flag: 0, message: ...}, without 'if')"


class InputSection(DescriptorSection, short="value"):
    """A parameter of a service that rows lead to."""

    value: RetypedText
    "what is always sent, as a template over the row: '{target.obs_id}'; without it, whoever asks gives a value"
    minimum: RetypedText
    "smallest value that may be asked, as a template: '{target.t_min}'"
    maximum: RetypedText
    "largest value that may be asked; of an interval both ends: '{target.em_min} {target.em_max}'"
    values: OneOrMore[RetypedText]
    "the only values that may be asked"
    example: RetypedText
    "a value that works, as a template"
    _: Annotated[ColumnSection, "type unit ucd utype description"]


class ServiceSection(
    DescriptorSection,
    hints={
        "accessURL": "url",
        "access_url": "url",
        "standardID": "standard",
        "inputParams": "params",
        "parameters": "params",
    },
):
    """A service that takes values of a row."""

    url: Required[Text]
    "where it is asked, as a template: '{site.url}/cut' or 'https://das.example.org/hapi/data'"
    params: dict[str, InputSection]
    (
        "its parameters: those that are always sent, {id: '{target.dataset}'}, and those that people fill in, {BAND: "
        "{type: interval, unit: m}}"
    )
    standard: Text
    "IVOID of the standard that it keeps: ivo://ivoa.net/std/SODA#sync-1.0"
    registered: Text
    "IVOID under which it is registered"


class LinkSection(DescriptorSection, hints={"url": "text", "path": "file", "table": "from"}):
    """What each row leads to: rows of DataLink."""

    semantics: Text
    (
        "what it is to the row, in DataLink's words: this, preview, thumbnail, progenitor, derivation, calibration, "
        "documentation ..."
    )
    derived: DerivedSection
    (
        "instead of semantics, from and where: rows that this one was made from (progenitor), or that were made of "
        "it (derivation)"
    )
    series: Text
    (
        "instead of all else: the id of a data set of HAPI and das2, of which a row is a span: its samples from the "
        "row's begin to its end"
    )
    text: Text
    (
        "its address, as a template over the row: '{base}/{target.obs_id}.png'; values become parts of an address "
        "(behind a ? of its query), but where one begins it"
    )
    file: Text
    "instead of text: the path of a file of the collection ('files'), as a template: '{target.file_name}'"
    service: ServiceSection
    "instead of text: a service that is asked with values of the row; programs and pages make a form of it"
    type: Text
    "media type; a template as well; that of a file is known"
    size: Text
    "bytes, as a template; those of a file are known"
    description: Text
    "what it leads to, as a template: 'map at {previews.frequency:.0f} MHz'"
    qualifier: Text
    (
        "what kind of product it is: a word of the vocabulary product-type (image, spectrum ..), or a template; of a "
        "row's own file its dataproduct_type without it"
    )
    local: Text
    "a word of one's own for links that are alike in all rows, as a template: 'band {previews.band}'"
    if_: Condition
    "only for rows that meet this"
    from_: Text
    "another table, whose rows that go with a row are links of it: previews, or schema.table"
    where: Condition
    "which of its rows go with a row: previews.obs_id = target.obs_id"
    order: Expression
    "in which order: previews.frequency"


class TermSection(DescriptorSection, short="default"):
    """Months or a date, perhaps by collection or kind: {from: obs_collection, values: {suv: 24}, default: 0}."""

    from_: Expression
    "expression over the source; its value is looked up without case"
    values: dict[str, RetypedText]
    "value of it: months, or date"
    default: RetypedText
    (
        "for values that are not listed; without it, such rows have no release date, or no date before which they "
        "stay closed"
    )


class EmbargoSection(DescriptorSection):
    """When rows become public: each gets its release date, that `access` compares with `now`."""

    from_: Required[Expression]
    "the moment from which months are counted: t_max (a time, ISO text, or a modified Julian date)"
    months: Required[TermSection]
    "calendar months: 12, or by collection"
    exempt: Condition
    "condition over the source on rows without months: calibrators"
    not_before: TermSection
    "the collection's own date, for all rows; a bare date counts to 23:59:59"
    delivered: Condition
    "condition over the source on rows whose own release date is left as it is, or missing"
    column: Text
    (
        "column of release dates, default: obs_release_date; a row that has one itself, of the source or of map, "
        "keeps it instead of the months"
    )


class DeletionsSection(DescriptorSection):
    """Rows that say themselves that they are deleted."""

    column: Required[Condition]
    "condition over source columns that is true for rows that are deleted: \"status = 'deleted'\""


class GuardSection(DescriptorSection):
    """What stops a sync until somebody says --accept."""

    removed: Share
    "more than this share of the published rows would go; default: 10 %"
    changed: Share
    "more than this share of the published rows would change; default: 50 %"


class SyncSection(
    DescriptorSection,
    empty=True,
    hints={
        "key": "primary of the table",
        "every": "every under sync: of the collection, beside tables:",
        "cron": "cron under sync: of the collection, beside tables:",
        "delete": "deletions",
        "flag": "deletions: {column: ..}",
    },
):
    """How changes of the source are followed."""

    watermark: Expression
    "source column, or expression over source columns, that is larger in rows that were written later"
    overlap: Overlap
    "how far to look back behind the last watermark: 2 d, or a number in the watermark's own unit"
    deletions: Annotated[DeletionWord | DeletionsSection, _read_deletions]
    "how rows that went away are found: compare (default), blocks, none, {column: condition}"
    full: FullInterval
    "as often, everything is read whatever the watermark says: 7 d; never: every write moves the watermark"
    page: Annotated[int, Field(ge=1)]
    "rows asked of the source at a time, where it is asked in pages"
    rate: Annotated[float, Field(ge=0.001)]
    "requests to the source a second, at most"
    guard: GuardSection
    "how much may go or change before a sync stops and asks: {removed: 10 %, changed: 50 %}"


class ForeignKeySection(DescriptorSection, short="target", name="key"):
    """A foreign key: columns whose values are found in another table."""

    columns: OneOrMore[Text]
    "columns of this table; default: the entry's name"
    target: Required[Text]
    "the other table: table or schema.table"
    target_columns: OneOrMore[Text]
    "its columns; default: the same names"
    description: Text
    "what the relation means"
    utype: Text
    "utype"


class PartitionSection(
    DescriptorSection,
    hints={"interval": "every", "step": "every", "level": "order", "nside": "order", "on": "column", "range": "by"},
):
    """How the rows of a big table are cut into pieces."""

    by: Required[Literal["time", "healpix"]]
    "time: by a column; healpix: by the position"
    column: Text
    "for time: a timestamp, or a number whose unit is a time"
    every: Text
    (
        "for time: length of a piece: 1 month, 1 year, 10 d, 6 h; months and years need a timestamp; default: 1 "
        "month, or 30 d"
    )
    order: Annotated[int, Field(ge=0, le=2)]
    "for healpix: 12, 48 or 192 pieces; default 1"


class GroupSection(DescriptorSection):
    """Columns that belong together."""

    value: Text
    "the column with the value"
    error: Text
    "its uncertainty"
    lower: Text
    "lower bound or lower error"
    upper: Text
    "upper bound or upper error"
    origin: Text
    "where the value comes from"
    confidence: Text
    "how sure it is"
    roles: dict[str, Text]
    "further roles: name: column"
    columns: OneOrMore[Text]
    "columns that have no role of their own"
    description: Text
    "what the group is"
    utype: Text
    "utype"
    ucd: Text
    "UCD"


class ParamSection(DescriptorSection, short="value"):
    """What holds for all rows."""

    value: Required[RetypedText]
    "the value"
    _: Annotated[ColumnSection, "type unit ucd utype description enum"]


class FrameSection(DescriptorSection, short="system"):
    """A coordinate or time system."""

    kind: Literal["coosys", "timesys"]
    "coosys: space (default unless a timescale is given); timesys: time"
    system: Text
    "ICRS, FK5, GALACTIC, BODY ... (the IVOA's vocabulary refframe)"
    epoch: RetypedText
    "epoch of the positions: J2015.5"
    equinox: RetypedText
    "equinox: J2000"
    refposition: Text
    (
        "TOPOCENTER, BARYCENTER, GEOCENTER ...; of a system BODY the name of the body (default: the target_name or "
        "spatial_origin that is set)"
    )
    crs: Text
    (
        "of a system BODY its frame: well-known text (WKT) of the body's ellipsoid, of two axes or three, or a code "
        "of the IAU: IAU_2015:49900; the body is read of it"
    )
    timescale: Text
    "UTC, TT, TDB ..."
    timeorigin: RetypedText
    "JD of time 0, or MJD-origin, JD-origin; columns in d are dates by it, without one by their range"


class ObscoreSection(DescriptorSection, empty=True):
    """What ivoa.obscore has of this table, over the table's own columns."""

    _: Annotated[AssignedValueSection, "set text map"]
    optional: OneOrMore[Text]
    "optional columns of ObsCore to have, or families of them"
    columns: dict[str, ColumnSection]
    "further columns, which only this table has"
    converted: bool
    "true: the expressions give ObsCore's own units, and nothing is converted by itself (mirrors have it so)"
    radio: FreeMap
    "set, text, map: what ivoa.obscore_radio has of this table"


class VocabularySection(DescriptorSection, short="values"):
    """Words that a column may have."""

    values: Required[OneOrMore[RetypedText]]
    "the words"
    version: RetypedText
    "where they are from, and of when"


class AccessSection(DescriptorSection, short="rows"):
    """Who sees rows, knows of their files, and may take these."""

    rows: Text
    (
        "public; private: invisible until somebody is granted it; or who sees which rows, as a condition over the "
        "row and the reader: release_date <= now or reader in (pi, coi) or 'team' in groups"
    )
    files: Text
    "a condition as well: of whose rows one may know that there are files; default: who sees the row"
    take: Text
    "whose files one may take; default: who knows of them"
    columns: OneOrMore[Text]
    (
        "columns that tell of files: null where one may not know of them; default: those with names and UCDs of "
        "standards, such as access_url"
    )
    path: Text
    (
        "column with the path of the row's file, as 'files' of the collection has it: its bytes are then given by "
        "these rules"
    )
    contact: Text
    "whom to ask for what is locked; default: the collection's contact"


class TableSection(
    DescriptorSection,
    hints={
        "key": "primary",
        "primary_key": "primary",
        "filter": "where",
        "mapping": "map",
        "constants": "set",
        "templates": "text",
        "sources": "source",
        "foreign_keys": "keys",
    },
):
    """One table or view."""

    title: LocalizedText
    "heading"
    description: LocalizedText
    "what a row is, for readers"
    utype: Text
    "utype of a data model"
    standard: Text
    "name of a standard whose columns, units, UCDs and rules this table has: epn-tap-2.0"
    optional: OneOrMore[Text]
    "optional columns of the standard to have"
    frame: Text
    "variant of the standard: for epn-tap the spatial_frame_type, from which units follow"
    columns: dict[str, ColumnSection]
    "the columns; left out: those of the source"
    follow: bool
    (
        "true: the source's columns are taken too, and 'columns' refines them or adds some (default if there are no "
        "columns and no standard)"
    )
    source: OneOrMore[Source]
    "where the rows come from; a list is put together"
    view: Query
    "ADQL whose answer this table is, instead of a source"
    where: Condition
    "condition over source rows; others are skipped and counted"
    max_rejects: Annotated[float, Field(ge=0, le=1)]
    "share of the rows that may be rejected before nothing is published; default 0.5; 1: publish even an empty table"
    let: dict[str, Expression]
    "names for intermediate expressions"
    _: AssignedValueSection
    for_: OneOrMore[LoopSection]
    "loops that make similar columns"
    granules: OneOrMore[GranuleSection]
    "several rows from one source row"
    group_by: OneOrMore[Text]
    (
        "source columns, 'let' names or expressions: rows in which these are alike become one; other values stand in "
        "aggregates, or are one in each group"
    )
    for_each: OneOrMore[Text]
    "array columns of the source, in step: each element becomes a row; each.index is its number"
    rules: dict[str, Annotated[RuleSection, _read_rule]]
    "what rows must meet, beyond types, nulls, bounds and the standard's rules"
    simulated: Condition
    (
        "condition, as in `map`, on the rows that are computed and not observed; a column data_source says of each "
        "row which it is: theory, observation. Where all are: type: [Simulation]"
    )
    flags: FlagColumnSection
    (
        "column whose bits say which rules a row breaks: quality_flags; with 'by', such rows are counted by "
        "instrument, year ..."
    )
    embargo: EmbargoSection
    "when rows become public: {from: t_max, months: 12} makes their release dates"
    links: OneOrMore[LinkSection]
    "what its rows lead to: files, previews, what they were made from (DataLink)"
    series: OneOrMore[SeriesSection]
    "its rows are samples in time: data sets of HAPI and das2"
    endpoints: dict[str, EndpointSection]
    (
        "addresses that it had on another server, by names of your own, each with its parameters: scripts and "
        "programs go on asking them"
    )
    sync: SyncSection
    "how changes of the source are followed"
    primary: OneOrMore[Text]
    "columns of the primary key"
    keys: dict[str, ForeignKeySection]
    "foreign keys: name: target"
    form: OneOrMore[Text]
    (
        "fields that the form of its page begins with, in this order: [time, target_name, orbit]; a pair x_min, "
        "x_max is x. Default: time, target, place and season of a standard, and columns of your own"
    )
    observation: OneOrMore[Text]
    (
        "columns that make the key of an observation: [obs_id, time_min]; on pages rows that are alike in them are "
        "one line, with its files. []: each row is a line. Default: obs_id, with its time and instrument, where they "
        "repeat"
    )
    indexes: OneOrMore[OneOrMore[Text]]
    "columns that are searched together: [[target, time]]; one alone is marked 'indexed'"
    partition: PartitionSection
    "how a big table is cut into pieces: {by: time, column: t, every: 1 month}, {by: healpix, order: 2}"
    position: OneOrMore[Text]
    "[longitude, latitude]: columns of the position index; default: by UCD"
    groups: dict[str, GroupSection]
    "columns that belong together: value, error, origin ..."
    params: dict[str, ParamSection]
    "what holds for all rows: name: value; results carry it, groups may name it"
    enums: dict[str, dict[str, RetypedLocalizedText]]
    "named lists of codes and what they mean"
    frames: dict[str, FrameSection]
    "coordinate and time systems that columns refer to"
    access: AccessSection
    (
        "public; private; members; a condition; or {rows: .., files: .., take: ..}: who sees which rows, knows of "
        "their files, may take them"
    )
    index: int
    "place among the tables in lists"
    variants: FreeMap
    "in a standard: value of 'frame' -> what it changes"
    obscore: Annotated[ObscoreSection, _read_observation_table]
    (
        "the table's rows are observations in ivoa.obscore: its columns as expressions over this table's; {} if all "
        "follows from its standard"
    )
    obscore_radio: Annotated[ObscoreSection, _read_observation_table]
    "made from the 'radio' of 'obscore'"
    vocabularies: dict[str, VocabularySection]
    "words for rules with 'check: words'"
    default: dict[str, Expression]
    "expressions for columns that nothing else gives a value: no setting, and no column of the source"
    families: dict[str, OneOrMore[Text]]
    "in a standard: names for several optional columns, for 'optional'"
    together: OneOrMore[OneOrMore[Text]]
    "in a standard: optional columns of which a table has all or none"
    called: Text
    "in a standard: the name that its table must have"
    converted: bool
    "under 'obscore': its expressions give ObsCore's own units"


class TablesLoopSection(DescriptorSection):
    """Similar tables made by a loop: {b} in names and values is replaced."""

    each: Required[FreeMap]
    "the values that {b} takes"
    tables: Required[dict[str, TableSection]]
    "tables to add"


class ScheduleSection(
    DescriptorSection,
    short="every",
    hints={"timezone": "zone", "time_zone": "zone", "schedule": "cron", "interval": "every"},
):
    """When the collection is synchronised by itself."""

    every: Duration
    "how often: 1 h"
    cron: Text
    'minute, hour, day, month, weekday: "15 3 * * *"'
    jitter: Duration
    "shifted by so much at most, by chance: not all sites ask a source at the same minute"
    zone: Text
    "time zone of cron: Europe/Vienna; default: UTC"


class TestSection(DescriptorSection):
    """A query with what it must answer."""

    query: Required[Query]
    "ADQL"
    expect: Required[FreeMap]
    "what the answer must be"
    name: Text
    "what is tested"


class ExampleSection(DescriptorSection, hints={"name": "title", "adql": "query"}):
    """A query for readers to begin with, shown at /tap/examples."""

    title: Required[Text]
    "what it shows, in one line"
    query: Required[Query]
    "ADQL"
    description: Text
    "what to look at, how to go on"


class CollectionSection(
    DescriptorSection,
    hints={
        "subject": "subjects",
        "creator": "creators",
        "license": "licence",
        "license_url": "licence_url",
        "schema": "collection",
        "name": "collection",
        "copyright": "licence",
        "source": "bibcode",
        "author": "creators",
        "authors": "creators",
        "profile": "content_level",
        "shortname": "short_name",
        "url": "reference_url",
        "constants": "let",
    },
):
    """A collection: one schema, its metadata and tables."""

    collection: Required[Text]
    "name of the collection and of its schema"
    title: LocalizedText
    (
        "one line for people; as titles, descriptions and labels of tables and columns perhaps in several languages: "
        "{en: Cubes of Mars, fr: Cubes de Mars}"
    )
    description: LocalizedText
    "some sentences: what, from where, how good"
    include: OneOrMore[Text]
    "files whose keys stand below this one's; this file wins"
    let: dict[str, Constant]
    "constants for templates and expressions"
    access: AccessSection
    "for all tables that do not say it themselves"
    project: Text
    "name of a project of hven.toml: its tables are its members', and everybody's if the project is open"
    functions: OneOrMore[FunctionFileSection]
    "Python files whose functions expressions may call"
    tables: dict[str, TableSection]
    "the tables"
    files: OneOrMore[FileSection]
    (
        "files that are published as they are, with or without tables: the table `files`, with sizes and checksums, "
        "and an address for each"
    )
    prepare: OneOrMore[Literal["previews", "spectra"]]
    (
        "what is made of its files in the background, after each ingest, of those that are new: previews (thumbnails "
        "and quicklooks), spectra (copies of cubes with the spectral axis fastest: as much disk again)"
    )
    for_: OneOrMore[TablesLoopSection]
    "loops that make similar tables"
    services: OneOrMore[Text]
    (
        "faces that answer for its tables, and no others: tap, cone, portal, files, endpoints, epn-tap, obscore "
        "(these two with tap); each must have a table that it is for; default: all that apply"
    )
    sync: ScheduleSection
    "how often it follows its sources by itself: {every: 1 h}"
    tests: OneOrMore[TestSection]
    "queries run after each ingest"
    examples: OneOrMore[ExampleSection]
    "queries for readers to begin with; default: some are made for each table that none reads"
    short_name: Text
    "at most 16 characters, for lists"
    subjects: OneOrMore[Text]
    "words of the Unified Astronomy Thesaurus"
    creators: OneOrMore[PersonSection]
    "who made the data, in the order of citation"
    contact: PersonSection
    "who answers questions"
    contributors: OneOrMore[ContributorSection]
    "who helped, and is no creator"
    funding: OneOrMore[GrantSection]
    "who gave money"
    publisher: Text
    "institute that publishes"
    publisher_ror: Text
    "its identifier in the Research Organization Registry: https://ror.org/02feahw73"
    licence: Text
    "name: CC-BY-4.0"
    licence_url: Text
    "address of its text"
    citation: Text
    "how to cite"
    bibcode: Text
    "ADS bibcode of the paper"
    doi: Text
    "10.xxxx/..."
    related: OneOrMore[RelatedWorkSection]
    "papers, catalogues and programs that belong to it, by DOI, bibcode, arXiv number or address"
    acknowledgement: Text
    "what whoever uses the data shall say in a paper: shown on its page, in results and in archives of files"
    utype: Text
    "data model that the schema represents, as its utype: ivo://ivoa.net/std/regtap#1.2"
    reference_url: Text
    "page about the data"
    facility: OneOrMore[Text]
    "observatory, spacecraft"
    instrument: OneOrMore[Text]
    "instrument"
    waveband: OneOrMore[Text]
    "Radio, Millimeter, Infrared, Optical, UV, EUV, X-ray, Gamma-ray"
    content_level: OneOrMore[Text]
    "Research, Amateur, General ..."
    type: OneOrMore[Text]
    "Catalog, Survey, Archive, Simulation ...; Simulation marks the rows as computed, on pages and in results"
    created: RetypedText
    (
        "date of creation: 2026-11-20; without it, rows that say when they came (EPN-TAP) keep the time of the run "
        "that first published them"
    )
    registry: RegistrySection
    (
        "how it stands in the registries of the Virtual Observatory; default: everything that everybody sees does, "
        "under ids made of the names"
    )
    engine: Text
    "where its rows are kept: duckdb (embedded), postgres; default: what hven.toml says"
    index: int
    "place among the collections in lists"
