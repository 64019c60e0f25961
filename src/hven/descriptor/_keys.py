"""Every key of a descriptor, said once.

What is checked, what editors offer, and what the reference page must explain.
"""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from hven.descriptor._citation_keys import ContributorSection, FundingSection, PersonSection, RelatedWorkSection
from hven.descriptor._endpoint_keys import EndpointSection
from hven.descriptor._file_keys import PublishedFilesSection
from hven.descriptor._link_keys import DerivedLinkSection
from hven.descriptor._quality_flags import MAX_FLAG_BIT
from hven.descriptor._registry_keys import RegistrySection
from hven.descriptor._series_keys import TimeSeriesSection
from hven.descriptor._sync_policies import Duration, FullInterval, Overlap, Share
from hven.descriptor.value_schema import (
    Condition,
    Constant,
    Converted,
    DescriptorSection,
    Expression,
    FaultCollector,
    FreeMap,
    Impersonal,
    KeyExample,
    Local,
    LocalizedText,
    LocatedKeyValues,
    Mirrored,
    OneOrMore,
    Query,
    Required,
    RetypedLocalizedText,
    RetypedText,
    Text,
    choose_value_reader,
    read_free_map,
)
from hven.descriptor.written_yaml import LocatedYamlMap

DeletionWord = Literal["compare", "blocks", "none"]
Source = Annotated[str | dict[str, Any], partial(read_free_map, allow_text=True)]


def _read_rule_section(value: Any, key_path: str, faults: FaultCollector) -> LocatedKeyValues | None:
    """Refuse a rule that has neither condition nor check, and no flag.

    One with a flag may say what a bit means that the rows come with.
    """
    fields = ValidationRuleSection.record.read_section(value, key_path, faults)
    if fields is not None and not {"if", "check", "flag"} & fields.places.keys():
        faults.add_error(f"{key_path} lacks the key 'if'", value.place, ValidationRuleSection.record.key_docs["if"])
    return fields


def _read_obscore_section(value: Any, key_path: str, faults: FaultCollector) -> LocatedKeyValues | None:
    """Read what has become a table of the standard; what editors are told is what is written."""
    if isinstance(value, LocatedYamlMap):
        return TableSection.record.read_section(value, key_path, faults)
    return None


def _read_deletions(value: Any, key_path: str, faults: FaultCollector) -> Any:
    """Read a word, or `LocatedKeyValues` with ``column``."""
    if isinstance(value, LocatedYamlMap):
        return DeletedRowsSection.record.read_section(value, key_path, faults)
    return choose_value_reader(DeletionWord)(value, key_path, faults)


class LookupSection(DescriptorSection):
    """A value found in a table by a key."""

    from_: Required[OneOrMore[Expression]]
    "expression over the source whose value is looked up; a list of them for a table with several keys"
    table: Source
    "where to look: a file beside the descriptor, or a source with its kind"
    key: OneOrMore[Text]
    "column of the table that is compared; a list of them, one for each of 'from'. Default: its first column"
    low: Text
    "instead of 'key': column of the table with the start of a range, which is included"
    high: Text
    "column of the table with the end of a range, which is not included. Default: the next row's 'low'"
    value: Text
    "column of the table with the result. Default: its second column"
    values: dict[str, Constant]
    "the table, written here: {U: 365, B: 445}"
    missing: Literal["error", "null", "keep"]
    (
        "what happens if a key is missing: error (default) refuses the row, null gives no value, keep gives the "
        "key itself"
    )
    default: RetypedText
    "value for a missing key, and for a row without a key"


class AssignedValueSection(DescriptorSection, name="assigned"):
    """How columns get their values."""

    set: dict[str, Constant]
    "constants, 'column: value', read from the written text by the type of the column"
    text: dict[str, Text]
    (
        "templates, 'column: \"{orbit}_{cube}\"', with the names of expressions and with {file.path}, {site.url}, "
        "{target.x}; {{ and }} are braces"
    )
    map: dict[str, Expression]
    "expressions, 'column: ADQL', over the columns of the source, names of 'let', and target.x"
    lookup: dict[str, LookupSection]
    "values found in a table, 'column: {from: .., table: ..}'"


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

    type: Converted[Text]
    "float64, int32, string, timestamp, point, float32[3] ...; default: the type of the source's column of that name"
    types: Local[OneOrMore[Text]]
    "in a standard: other types that the column may take over from its value"
    unit: Mirrored[Text]
    "unit as in VOUnits: deg, mag, km.s-1. If the source gives a different unit, Hven converts the values"
    ucd: Mirrored[Text]
    "UCD1+: pos.eq.ra;meta.main"
    utype: Mirrored[Text]
    "utype of a data model"
    description: Mirrored[LocalizedText]
    "one sentence for readers"
    label: Mirrored[LocalizedText]
    "heading for people; default: the label of the standard, else the name"
    null: Mirrored[RetypedText]
    "the value that stands for 'no value' in formats without nulls"
    rank: Mirrored[Annotated[int, Field(ge=1, le=30)]]
    "from 1 (essential) to 30 (technical); sets VERB in cone searches, and 'principal'"
    required: Mirrored[bool]
    "true: a row without a value is refused"
    indexed: Mirrored[bool]
    "true: searches by this column are fast"
    unique: Mirrored[bool]
    "true: no two rows have the same value"
    hidden: Local[bool]
    "true: the column can be queried, but is shown only on request"
    std: Mirrored[bool]
    "true: the column belongs to a standard"
    section: Mirrored[Text]
    "heading under which pages show the column"
    display: Mirrored[Text]
    "how pages write values: .3f, sexagesimal, iso; hidden: the column is for programs only"
    frame: Mirrored[Text]
    "name of an entry of 'frames'"
    link: Mirrored[Text]
    "address, as a template over the columns of the row: https://x/{obs_id}"
    enum: Mirrored[Text]
    "name of an entry of 'enums'"
    minimum: Mirrored[float]
    "smallest valid value"
    maximum: Mirrored[float]
    "largest valid value"
    optional: Local[bool]
    "in a standard: the column exists only if a table names it under 'optional'"


class FunctionFileSection(DescriptorSection, short="file", name="functions"):
    """Python functions beside the descriptor."""

    file: Required[Text]
    "the .py file"
    names: dict[str, ColumnSection]
    "result types by function; default: the annotations of the functions"


class ColumnLoopSection(DescriptorSection, name="loop"):
    """Similar columns made by a loop: {b} in names and values is replaced."""

    each: Required[FreeMap]
    "the values that {b} takes: {b: [u, g, r]}; several lists are read in parallel and must have the same length"
    columns: dict[str, ColumnSection]
    "columns to add"
    _: AssignedValueSection


class GranuleSection(DescriptorSection):
    """One of several rows made from one source row."""

    gid: Required[Text]
    "its name, which fills the column granule_gid if the table has it"
    if_: Condition
    "condition: only source rows that meet it make this granule"
    _: AssignedValueSection


class ValidationRuleSection(DescriptorSection, short="if", hints={"bit": "flag", "condition": "if"}, name="rule"):
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
    "instead of 'if': a check of whole columns (below)"
    columns: OneOrMore[Text]
    "columns to check; pair and order take them in pairs"
    of: Text
    "for words: the name of a vocabulary; for pattern: a regular expression; for orientation: sky or body"
    list: bool
    "true: the value is a list joined by #, and each item is checked"
    low: float
    "for between: smallest valid value"
    high: float
    "for between: largest valid value"
    severity: Literal["error", "warning", "info", "off"]
    "error (default): the row is refused; warning, info: it is counted; off: the rule is not checked"
    flag: Annotated[int, Field(ge=0, le=MAX_FLAG_BIT)]
    (
        "bit of the table's 'flags' that is set in rows that break the rule. Such rows are published and counted "
        "(severity: warning, or info). A bit keeps its meaning once it is assigned"
    )
    message: Text
    "what the report says"


class FlagColumnSection(
    DescriptorSection,
    name="flags",
    short="column",
    hints={"name": "column", "group": "by", "groups": "by", "group_by": "by", "count_by": "by"},
):
    """The column that says which rules a row breaks."""

    column: Required[Text]
    "name of the column, which is created if 'columns' does not describe it. Each rule with 'flag' sets one bit"
    by: dict[str, Expression]
    (
        "groups in which flagged rows are counted, in addition to each rule: {instrument: insname, year: "
        "CAST(ISO(t_min) AS CHAR(4))}; expressions over the table's own columns"
    )
    given: bool
    "true: the rows already have flags, and the rules only describe the bits ({flag: 0, message: ...}, without 'if')"


class ServiceInputSection(DescriptorSection, short="value", name="input"):
    """A parameter of a service that rows lead to."""

    value: RetypedText
    "value that is always sent, as a template over the row: '{target.obs_id}'. Without it, the user gives a value"
    minimum: RetypedText
    "smallest value that users may give, as a template: '{target.t_min}'"
    maximum: RetypedText
    "largest value that users may give; for an interval, both ends: '{target.em_min} {target.em_max}'"
    values: OneOrMore[RetypedText]
    "the only values that users may give"
    example: RetypedText
    "a valid value, as a template"
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
    "address of the service, as a template: '{site.url}/cut' or 'https://das.example.org/hapi/data'"
    params: dict[str, ServiceInputSection]
    (
        "its parameters: those that are always sent, {id: '{target.dataset}'}, and those that users fill "
        "in, {BAND: {type: 'float64[2]', unit: m}}"
    )
    standard: Text
    "IVOID of the standard of the service: ivo://ivoa.net/std/SODA#sync-1.0"
    registered: Text
    "IVOID under which it is registered"


class RowLinkSection(DescriptorSection, hints={"url": "text", "path": "file", "table": "from"}, name="link"):
    """What each row leads to: rows of DataLink."""

    semantics: Text
    (
        "how the link relates to the row, as a DataLink term: this, preview, thumbnail, progenitor, derivation, "
        "calibration, documentation ..."
    )
    derived: DerivedLinkSection
    (
        "instead of 'semantics', 'from' and 'where': rows that this one was made from (progenitor), or "
        "that were made from it (derivation)"
    )
    series: Text
    "instead of all other keys: the id of a HAPI and das2 data set, in which the row is a time span"
    text: Text
    (
        "address, as a template over the row: '{base}/{target.obs_id}.png'. Values are encoded for an address "
        "(after a ?, for its query), except a value at the start of the address"
    )
    file: Text
    "instead of text: the path of a file of the collection ('files'), as a template: '{target.file_name}'"
    service: ServiceSection
    "instead of 'text': a service that takes values of the row; programs and pages build a form from it"
    type: Text
    "media type, which may be a template; for 'file', Hven knows it"
    size: Text
    "size in bytes, as a template; for 'file', Hven knows it"
    description: Text
    "what the link leads to, as a template: 'map at {previews.frequency:.0f} MHz'"
    qualifier: Text
    (
        "kind of product: a word of the vocabulary product-type (image, spectrum ..), or a template. "
        "Default for a row's own file: its dataproduct_type"
    )
    local: Text
    "your own word to tell apart several links of one kind, as a template: 'band {previews.band}'"
    if_: Condition
    "condition: only rows that meet it have the link"
    from_: Text
    "another table whose rows become links: previews, or schema.table"
    where: Condition
    "condition by which rows of that table belong to a row: previews.obs_id = target.obs_id"
    order: Expression
    "order of these rows: previews.frequency"


class EmbargoTermSection(DescriptorSection, short="default", name="term"):
    """Months or a date, perhaps by collection or kind: {from: obs_collection, values: {suv: 24}, default: 0}."""

    from_: Expression
    "expression over the source whose value is looked up; its case is ignored"
    values: dict[str, RetypedText]
    "months, or dates, by that value"
    default: RetypedText
    (
        "for values that are not listed. Without it, such rows have no release date, or no date before "
        "which they stay closed"
    )


class EmbargoSection(DescriptorSection):
    """When rows become public: each gets its release date, that `access` compares with `now`."""

    from_: Required[Expression]
    "the moment from which months are counted: t_max (a time, ISO text, or a modified Julian date)"
    months: Required[EmbargoTermSection]
    "number of calendar months: 12, or by collection"
    exempt: Condition
    "condition over the source for rows without months: calibrators"
    not_before: EmbargoTermSection
    "earliest release date of all rows; a date without a time means 23:59:59"
    delivered: Condition
    "condition over the source for rows whose own release date is kept as it is, or missing"
    column: Text
    (
        "column of release dates. Default: obs_release_date. If the source or 'map' gives a row a date there, "
        "Hven uses it instead of the months"
    )


class DeletedRowsSection(DescriptorSection, name="deletions"):
    """Rows that say themselves that they are deleted."""

    column: Required[Condition]
    "condition over source columns that is true for deleted rows: \"status = 'deleted'\""


class SyncGuardSection(DescriptorSection, name="guard"):
    """What stops a sync until somebody says --accept."""

    removed: Share
    "share of the published rows that may disappear; default: 10 %"
    changed: Share
    "share of the published rows that may change; default: 50 %"


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
    "how far to look back from the last watermark: 2 d, or a number in the watermark's own unit"
    deletions: Annotated[DeletionWord | DeletedRowsSection, _read_deletions]
    "how deleted rows are found: compare (default), blocks, none, {column: condition}"
    full: FullInterval
    "how often Hven reads everything, regardless of the watermark: 7 d; never: if every write changes the watermark"
    page: Annotated[int, Field(ge=1)]
    "number of rows in each request to the source, if it is read in pages"
    rate: Annotated[float, Field(ge=0.001)]
    "maximum number of requests to the source per second"
    guard: SyncGuardSection
    "how much may disappear or change before a sync stops and asks: {removed: 10 %, changed: 50 %}"


class ForeignKeySection(DescriptorSection, short="target", name="key"):
    """A foreign key: columns whose values are found in another table."""

    columns: Converted[OneOrMore[Text]]
    "columns of this table; default: the entry's name"
    target: Converted[Required[Text]]
    "the other table: table or schema.table"
    target_columns: Converted[OneOrMore[Text]]
    "its columns; default: the same names"
    description: Mirrored[Text]
    "what the relation means"
    utype: Mirrored[Text]
    "utype of a data model"


class PartitionSection(
    DescriptorSection,
    hints={"interval": "every", "step": "every", "level": "order", "nside": "order", "on": "column", "range": "by"},
):
    """How the rows of a big table are cut into pieces."""

    by: Required[Literal["time", "healpix"]]
    "time: by a column; healpix: by the position"
    column: Text
    "for time: a timestamp, or a number with a unit of time"
    every: Text
    (
        "for time: length of a partition: 1 month, 1 year, 10 d, 6 h; months and years need a timestamp. "
        "Default: 1 month, or 30 d"
    )
    order: Annotated[int, Field(ge=0, le=2)]
    "for healpix: 0, 1 (default) or 2, for 12, 48 or 192 partitions"


class ColumnGroupSection(DescriptorSection, name="group"):
    """Columns that belong together."""

    value: Converted[Text]
    "the column with the value"
    error: Converted[Text]
    "its uncertainty"
    lower: Converted[Text]
    "lower bound or lower error"
    upper: Converted[Text]
    "upper bound or upper error"
    origin: Converted[Text]
    "column that says where the value comes from"
    confidence: Converted[Text]
    "column that says how certain it is"
    roles: Converted[dict[str, Text]]
    "further roles: name: column"
    columns: Converted[OneOrMore[Text]]
    "columns without a role"
    description: Mirrored[Text]
    "what the group is"
    utype: Mirrored[Text]
    "utype of a data model"
    ucd: Mirrored[Text]
    "UCD of the group"


class TableParamSection(DescriptorSection, short="value", name="param"):
    """What holds for all rows."""

    value: Mirrored[Required[RetypedText]]
    "the value"
    _: Annotated[ColumnSection, "type unit ucd utype description enum"]


class CoordinateFrameSection(DescriptorSection, short="system", name="frame"):
    """A coordinate or time system."""

    kind: Mirrored[Literal["coosys", "timesys"]]
    "coosys: space (default unless a timescale is given); timesys: time"
    system: Mirrored[Text]
    "ICRS, FK5, GALACTIC, BODY ... (the IVOA's vocabulary refframe)"
    epoch: Mirrored[RetypedText]
    "epoch of the positions: J2015.5"
    equinox: Mirrored[RetypedText]
    "equinox: J2000"
    refposition: Mirrored[Text]
    (
        "TOPOCENTER, BARYCENTER, GEOCENTER ...; for the system BODY, the name of the body. Default: the "
        "target_name or spatial_origin that is set"
    )
    crs: Converted[Text]
    (
        "for the system BODY: well-known text (WKT) of the body's ellipsoid with two or three axes, or an IAU "
        "code: IAU_2015:49900. It also names the body"
    )
    timescale: Mirrored[Text]
    "UTC, TT, TDB ..."
    timeorigin: Mirrored[RetypedText]
    (
        "JD of time 0, or MJD-origin, JD-origin. Columns in d are dates counted from it; without it, Hven"
        " decides by their range"
    )


class ObscoreSection(DescriptorSection, empty=True):
    """What ivoa.obscore has of this table, over the table's own columns."""

    _: Annotated[AssignedValueSection, "set text map"]
    optional: OneOrMore[Text]
    "optional ObsCore columns to include, or families of them"
    columns: dict[str, ColumnSection]
    "further columns that only this table has"
    converted: bool
    "true: the expressions give ObsCore's own units, and nothing is converted (as mirrors write it)"
    radio: FreeMap
    "the same for ivoa.obscore_radio: set, text, map"


class VocabularySection(DescriptorSection, short="values"):
    """Words that a column may have."""

    values: Required[OneOrMore[RetypedText]]
    "the words"
    version: RetypedText
    "where and when the words were taken from"


class AccessSection(DescriptorSection, short="rows"):
    """Who sees rows, knows of their files, and may take these."""

    rows: Text
    (
        "public; private: nobody sees the table until access is granted; or a condition over the row and the "
        "reader that decides who sees which rows: release_date <= now or reader in (pi, coi) or 'team' in groups"
    )
    files: Text
    "condition: who may know that a row has files. Default: whoever sees the row"
    take: Text
    "condition: who may take the files of a row. Default: whoever may know of them"
    columns: OneOrMore[Text]
    (
        "columns about files, which are null for readers who may not know of them. Default: columns with "
        "standard names and UCDs, such as access_url"
    )
    path: Text
    (
        "column with the path of the row's file, as in 'files' of the collection; these rules then decide who "
        "may download it"
    )
    contact: Text
    "whom to ask for locked data. Default: the contact of the collection"


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

    title: Mirrored[LocalizedText]
    "heading"
    description: Mirrored[LocalizedText]
    "what a row is, for readers"
    utype: Mirrored[Text]
    "utype of a data model"
    standard: Local[Text]
    "name of a standard whose columns, units, UCDs and rules this table has: epn-tap-2.0"
    optional: Local[OneOrMore[Text]]
    "optional columns of the standard that the table has"
    frame: Local[Text]
    "variant of the standard: for epn-tap the spatial_frame_type, from which units follow"
    columns: Converted[dict[str, ColumnSection]]
    "the columns. Default: those of the source"
    follow: Local[bool]
    (
        "true: the table has all columns of the source, and 'columns' refines them or adds some. Default "
        "if there are neither columns nor a standard"
    )
    source: Local[OneOrMore[Source]]
    "where the rows come from; a list of sources is read one after the other"
    view: Converted[Query]
    "ADQL query whose result is the table, instead of a source"
    where: Local[Condition]
    "condition over source rows; other rows are skipped and counted"
    max_rejects: Local[Annotated[float, Field(ge=0, le=1)]]
    (
        "share of the rows that may be rejected; with more, the run publishes nothing. Default: 0.5; 1: publish "
        "even an empty table"
    )
    let: Local[dict[str, Expression]]
    "names of intermediate expressions"
    _: AssignedValueSection
    for_: Local[OneOrMore[ColumnLoopSection]]
    "loops that make similar columns"
    granules: Local[OneOrMore[GranuleSection]]
    "several rows from one source row"
    group_by: Local[OneOrMore[Text]]
    (
        "source columns, names of 'let' or expressions: rows with the same values in them become one row; other "
        "values are aggregates, or are the same within a group"
    )
    for_each: Local[OneOrMore[Text]]
    "array columns of the source, read in parallel: each element becomes a row, and each.index is its number"
    rules: Local[dict[str, Annotated[ValidationRuleSection, _read_rule_section]]]
    "conditions that rows must meet, beyond types, nulls, bounds and the standard's rules"
    simulated: Local[Condition]
    (
        "condition for rows that are computed, not observed; the column data_source then contains theory or "
        "observation. If all rows are computed, write type: [Simulation]"
    )
    flags: Converted[FlagColumnSection]
    (
        "column whose bits show which rules a row breaks: quality_flags. With 'by', such rows are counted by "
        "instrument, year ..."
    )
    embargo: Local[EmbargoSection]
    "when rows become public: {from: t_max, months: 12} computes their release dates"
    links: Local[OneOrMore[RowLinkSection]]
    "links of the rows (DataLink): to files, to previews, to the data that they were made from"
    series: Local[OneOrMore[TimeSeriesSection]]
    "HAPI and das2 data sets, in which the rows are time samples"
    endpoints: Local[dict[str, EndpointSection]]
    (
        "addresses that the table had on another server, under names that you choose, each with its parameters; "
        "scripts and programs can still use them"
    )
    sync: Local[SyncSection]
    "how Hven follows changes of the source"
    primary: Mirrored[OneOrMore[Text]]
    "columns of the primary key"
    keys: Converted[dict[str, ForeignKeySection]]
    "foreign keys: name: target"
    position: Mirrored[OneOrMore[Text]]
    "[longitude, latitude]: columns of the position index. Default: by UCD"
    form: Mirrored[OneOrMore[Text]]
    (
        "first fields of the search form, in this order: [time, target_name, orbit]; x stands for a pair x_min, "
        "x_max. Default: time, target, place and season of a standard, and your own columns"
    )
    observation: Mirrored[OneOrMore[Text]]
    (
        "columns that identify an observation: [obs_id, time_min]. Pages show rows with the same values in them "
        "as one line, with its files. []: each row is a line. Default: obs_id, with its time and instrument, if "
        "they repeat"
    )
    indexes: Converted[OneOrMore[OneOrMore[Text]]]
    "columns that are searched together: [[target, time]]; a single column has 'indexed' instead"
    partition: Local[PartitionSection]
    "how a big table is divided into partitions: {by: time, column: t, every: 1 month}, {by: healpix, order: 2}"
    groups: Converted[dict[str, ColumnGroupSection]]
    "columns that belong together: value, error, origin ..."
    params: Converted[dict[str, TableParamSection]]
    "values that apply to all rows; results contain them, and groups may name them"
    enums: Converted[dict[str, dict[str, RetypedLocalizedText]]]
    "named lists of codes and what they mean"
    frames: Converted[dict[str, CoordinateFrameSection]]
    "coordinate and time systems that columns refer to"
    access: Local[AccessSection]
    (
        "who sees which rows, knows of their files, and may take them: public; private; members; a "
        "condition; or {rows: .., files: .., take: ..}"
    )
    index: Mirrored[int]
    "place among the tables in lists"
    variants: Local[FreeMap]
    "in a standard: what each value of 'frame' changes"
    obscore: Converted[Annotated[ObscoreSection, _read_obscore_section]]
    (
        "the rows are observations in ivoa.obscore: its columns, as expressions over the columns of this table; "
        "{} if everything follows from its standard"
    )
    obscore_radio: Converted[Annotated[ObscoreSection, _read_obscore_section]]
    "made from the 'radio' of 'obscore'"
    vocabularies: Local[dict[str, VocabularySection]]
    "words for rules with 'check: words'"
    default: Local[dict[str, Expression]]
    "expressions for columns that nothing else sets, and that the source does not have"
    families: Local[dict[str, OneOrMore[Text]]]
    "in a standard: names for several optional columns, for 'optional'"
    together: Local[OneOrMore[OneOrMore[Text]]]
    "in a standard: optional columns of which a table has all or none"
    called: Local[Text]
    "in a standard: the name that its table must have"
    converted: Local[bool]
    "under 'obscore': its expressions give ObsCore's own units"


class TablesLoopSection(DescriptorSection):
    """Similar tables made by a loop: {b} in names and values is replaced."""

    each: Required[FreeMap]
    "the values that {b} takes"
    tables: Required[dict[str, TableSection]]
    "tables to add"


class SyncScheduleSection(
    DescriptorSection,
    short="every",
    hints={"timezone": "zone", "time_zone": "zone", "schedule": "cron", "interval": "every"},
    name="schedule",
):
    """When the collection is synchronised by itself."""

    every: Duration
    "how often: 1 h"
    cron: Text
    'minute, hour, day, month, weekday: "15 3 * * *"'
    jitter: Duration
    "largest random shift, so that sites do not all ask a source at the same minute"
    zone: Text
    "time zone of cron: Europe/Vienna; default: UTC"


class QueryTestSection(DescriptorSection, name="test"):
    """A query with what it must answer."""

    query: Required[Query]
    "ADQL"
    expect: Required[FreeMap]
    "what the answer must be"
    name: Text
    "what is tested"


class ExampleQuerySection(DescriptorSection, hints={"name": "title", "adql": "query"}, name="example"):
    """A query for readers to begin with, shown at /tap/examples."""

    title: Required[Text]
    "what it shows, in one line"
    query: Required[Query]
    "ADQL"
    description: Text
    "what to look at, and how to continue"


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

    collection: Impersonal[Converted[Required[Text]]]
    "name of the collection and of its schema"
    title: Impersonal[Mirrored[LocalizedText]]
    (
        "one line for readers. Titles, descriptions and labels, including those of tables and columns, may be in "
        "several languages: {en: Cubes of Mars, fr: Cubes de Mars}"
    )
    description: Impersonal[Mirrored[LocalizedText]]
    "a few sentences: what the data are, where they come from, how good they are"
    include: Impersonal[Local[OneOrMore[Text]]]
    "files whose keys are merged below those of this file, which takes precedence"
    let: Impersonal[Local[dict[str, Constant]]]
    "constants for templates and expressions"
    access: Impersonal[Local[AccessSection]]
    "access of all tables that do not set it themselves"
    project: Impersonal[Local[Text]]
    "name of a project in hven.toml. Its members see the tables; if the project is open, everybody sees them"
    functions: Impersonal[Local[OneOrMore[FunctionFileSection]]]
    "Python files whose functions expressions may call"
    tables: Impersonal[Converted[dict[str, TableSection]]]
    "the tables"
    files: Impersonal[Local[OneOrMore[PublishedFilesSection]]]
    (
        "files that are published unchanged, with or without tables; they are in the table `files`, with sizes, "
        "checksums and addresses"
    )
    prepare: Impersonal[Local[OneOrMore[Literal["previews", "spectra"]]]]
    (
        "what a background job creates from new files after each ingest: previews (thumbnails and quicklooks), "
        "spectra (copies of cubes with the spectral axis fastest, which take as much disk space again)"
    )
    for_: Impersonal[Local[OneOrMore[TablesLoopSection]]]
    "loops that make similar tables"
    services: Impersonal[Local[OneOrMore[Text]]]
    (
        "the only services that offer its tables: tap, cone, portal, files, endpoints, epn-tap, obscore (these "
        "two with tap). Each needs a suitable table. Default: all services with a suitable table"
    )
    sync: Impersonal[Local[SyncScheduleSection]]
    "how often Hven synchronises the collection with its sources: {every: 1 h}"
    tests: Impersonal[Local[OneOrMore[QueryTestSection]]]
    "queries run after each ingest"
    examples: Impersonal[Converted[OneOrMore[ExampleQuerySection]]]
    "example queries for readers. Default: Hven writes some for each table that no example reads"
    short_name: Impersonal[Mirrored[Text]]
    "at most 16 characters, for lists"
    subjects: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[Mars, Planetary surfaces]")]
    "words of the Unified Astronomy Thesaurus"
    creators: Mirrored[OneOrMore[PersonSection]]
    "people who made the data, in the order of citation"
    contact: Local[PersonSection]
    "who answers questions"
    contributors: Mirrored[OneOrMore[ContributorSection]]
    "people who helped, but are not creators"
    funding: Mirrored[OneOrMore[FundingSection]]
    "grants"
    publisher: Mirrored[Text]
    "institute that publishes"
    publisher_ror: Mirrored[Text]
    "identifier of the publisher in the Research Organization Registry: https://ror.org/02feahw73"
    licence: Impersonal[Mirrored[Text]]
    "name: CC-BY-4.0"
    licence_url: Impersonal[Mirrored[Text]]
    "address of the text of the licence"
    citation: Mirrored[Text]
    "how to cite"
    bibcode: Mirrored[Text]
    "ADS bibcode of the paper"
    doi: Mirrored[Text]
    "DOI of the collection: 10.xxxx/..."
    related: Mirrored[OneOrMore[RelatedWorkSection]]
    "papers, catalogues and programs that belong to the collection, by DOI, bibcode, arXiv number or address"
    acknowledgement: Mirrored[Text]
    "what users of the data should write in a paper; pages, results and archives of files show it"
    utype: Annotated[Impersonal[Mirrored[Text]], KeyExample("ivo://ivoa.net/std/regtap#1.2")]
    "data model that the schema represents, as its utype: ivo://ivoa.net/std/regtap#1.2"
    reference_url: Mirrored[Text]
    "page about the data"
    facility: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("Mars Express")]
    "observatory, spacecraft"
    instrument: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("OMEGA")]
    "instrument"
    waveband: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[Optical, Infrared]")]
    "Radio, Millimeter, Infrared, Optical, UV, EUV, X-ray, Gamma-ray"
    content_level: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("Research")]
    "Research, Amateur, General ..."
    type: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[Catalog, Archive]")]
    "Catalog, Survey, Archive, Simulation ... Simulation marks the rows as computed, on pages and in results"
    created: Annotated[Impersonal[Mirrored[RetypedText]], KeyExample("2026-11-20")]
    (
        "date of creation: 2026-11-20. Without it, rows with a creation date (EPN-TAP) keep the time of "
        "the run that first published them"
    )
    registry: Annotated[Impersonal[Local[RegistrySection]], KeyExample("{publish: false}")]
    (
        "how the collection appears in registries of the Virtual Observatory. Default: everything public is "
        "registered, with identifiers made from the names"
    )
    engine: Impersonal[Local[Text]]
    "engine that stores the rows: duckdb (embedded), postgres. Default: `engine` in hven.toml"
    index: Impersonal[Mirrored[int]]
    "place among the collections in lists"


# keys of a collection that have another name in `CollectionSpec`
ATTRIBUTE_NAMES_BY_KEY = {"collection": "name", "related": "works", "sync": "schedule", "registry": "registration"}
