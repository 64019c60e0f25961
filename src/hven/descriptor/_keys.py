"""The definitions of all descriptor keys.

The checks, the JSON Schema for editors and the reference page are derived from them.
"""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from hven.descriptor._access_keys import AccessSection, EmbargoSection, PublishedFilesSection
from hven.descriptor._citation_keys import ContributorSection, FundingSection, PersonSection, RelatedWorkSection
from hven.descriptor._link_keys import DerivedLinkSection
from hven.descriptor._package_keys import load_package_collection_keys, load_package_table_keys
from hven.descriptor._quality_flags import MAX_FLAG_BIT
from hven.descriptor._registry_keys import RegistrySection
from hven.descriptor._sync_policies import Duration, FullInterval, Overlap, Share
from hven.descriptor.value_schema import (
    AddedKeySource,
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
    read_unchecked_map,
)
from hven.descriptor.written_yaml import LocatedYamlMap

DeletionWord = Literal["compare", "blocks", "none"]
Source = Annotated[str | dict[str, Any], partial(read_unchecked_map, allow_text=True)]


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
    """A value that Hven looks up in a table."""

    from_: Required[OneOrMore[Expression]]
    (
        "expression over the source's columns. Hven looks up the expression's value in the table. If the table has "
        "several key columns, write a list of expressions"
    )
    table: Source
    "the look-up table: a file in the descriptor's directory, or a source with its 'kind'"
    key: OneOrMore[Text]
    (
        "column of the look-up table that Hven compares with 'from'. If 'from' is a list, write a list with one column "
        "for each expression. Default: the first column"
    )
    low: Text
    "instead of 'key': column of the look-up table that contains the start of each range. A range includes its start"
    high: Text
    (
        "column of the look-up table that contains the end of each range. A range does not include its end. Default: "
        "the value of 'low' in the next row"
    )
    value: Text
    "column of the look-up table that contains the result. Default: the second column"
    values: dict[str, Constant]
    "instead of 'table': the keys and their results, for example {U: 365, B: 445}"
    missing: Literal["error", "null", "keep"]
    (
        "what happens if the look-up table does not contain the key. 'error' (default): Hven rejects the row. 'null': "
        "the column is null. 'keep': the column contains the key itself"
    )
    default: RetypedText
    "value for rows whose key is null or is not in the look-up table"


class AssignedValueSection(DescriptorSection, name="assigned"):
    """How columns get their values."""

    set: dict[str, Constant]
    "constants, as 'column: value'. Hven converts each value to the column's type, but does not evaluate it"
    text: dict[str, Text]
    (
        "templates, as 'column: \"{orbit}_{cube}\"'. Each pair of braces contains a name or an expression, for example "
        "{file.path}, {site.url} or {target.x}. Write {{ and }} for literal braces"
    )
    map: dict[str, Expression]
    (
        "ADQL expressions, as 'column: expression'. They can use the source's columns, names in 'let', and target.x "
        "for the table's own column x"
    )
    lookup: dict[str, LookupSection]
    "values that Hven looks up in a table, as 'column: {from: .., table: ..}'"


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
    (
        "type of the values, for example float64, int32, string, timestamp, point or float32[3]. Default: the type of "
        "the column with this name in the source"
    )
    types: Local[OneOrMore[Text]]
    (
        "in a standard: further types that are allowed for the column. If a table's values have one of these types, "
        "the table's column has the same type"
    )
    unit: Mirrored[Text]
    "unit in VOUnits syntax, such as deg or km.s-1. Hven converts values that the source gives in a different unit"
    ucd: Mirrored[Text]
    "UCD1+, for example pos.eq.ra;meta.main"
    utype: Mirrored[Text]
    "utype from a data model"
    description: Mirrored[LocalizedText]
    "one sentence for readers"
    label: Mirrored[LocalizedText]
    "heading that readers see instead of the name. Default: the label in the standard, or else the column's name"
    null: Mirrored[RetypedText]
    "the value that marks a missing value in formats that have no nulls"
    rank: Mirrored[Annotated[int, Field(ge=1, le=30)]]
    (
        "importance of the column, from 1 (essential) to 30 (technical). It determines the smallest VERB for which a "
        "cone search returns the column, and the value of 'principal' in TAP_SCHEMA"
    )
    required: Mirrored[bool]
    "true: Hven rejects rows in which this column is null"
    indexed: Mirrored[bool]
    "true: searches by this column are fast"
    unique: Mirrored[bool]
    "true: no two rows may have the same value"
    hidden: Local[bool]
    "true: queries can use the column by its name, but pages, lists of columns and SELECT * leave it out"
    std: Mirrored[bool]
    "true: the column belongs to a standard"
    section: Mirrored[Text]
    "heading under which pages show the column"
    display: Mirrored[Text]
    (
        "how pages write the values, for example '.3f', 'sexagesimal' or 'iso'. 'hidden' means that pages do not show "
        "the column, although programs get it"
    )
    frame: Mirrored[Text]
    "name of an entry in 'frames'"
    link: Mirrored[Text]
    "address to which each value links, as a template over the row's columns, for example https://x/{obs_id}"
    enum: Mirrored[Text]
    "name of an entry in 'enums'"
    minimum: Mirrored[float]
    "smallest valid value"
    maximum: Mirrored[float]
    "largest valid value"
    optional: Local[bool]
    "in a standard. true: only tables that list the column under 'optional' have this column"


class FunctionFileSection(DescriptorSection, short="file", name="functions"):
    """Python functions in the descriptor's directory."""

    file: Required[Text]
    "the Python file"
    names: dict[str, ColumnSection]
    "result type of each function. Default: the type in the function's annotation"


class ColumnLoopSection(DescriptorSection, name="loop"):
    """Similar columns that a loop creates. If 'each' lists values of b, Hven replaces {b} with each of these values."""

    each: Required[FreeMap]
    (
        "a name of your choice and its values, for example {b: [u, g, r]}. If you write several "
        "lists of the same length, Hven uses their first values together, then their second values, and so on"
    )
    columns: dict[str, ColumnSection]
    "columns that the loop adds"
    _: AssignedValueSection


class GranuleSection(DescriptorSection):
    """One of several rows that Hven creates from a source row."""

    gid: Required[Text]
    "name of the granule. If the table has a column granule_gid, this name is the column's value"
    if_: Condition
    "condition that a source row must meet for Hven to create this granule"
    _: AssignedValueSection


class ValidationRuleSection(DescriptorSection, short="if", hints={"bit": "flag", "condition": "if"}, name="rule"):
    """A condition that rows must meet, or a check on whole columns."""

    if_: Condition
    "condition on the table's own columns. A row breaks the rule if the condition is false for this row"
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
    "instead of 'if': the name of a check on whole columns, for example 'words' or 'between'"
    columns: OneOrMore[Text]
    "columns to check. 'pair' and 'order' compare the first column with the second, the third with the fourth, ..."
    of: Text
    (
        "with 'check: words': the name of a vocabulary. With 'check: pattern': a regular expression. With 'check: "
        "orientation': either 'sky' or 'body'"
    )
    list: bool
    "true: each value is a list whose items are separated by #, and Hven checks each item"
    low: float
    "with 'check: between': the smallest valid value"
    high: float
    "with 'check: between': the largest valid value"
    severity: Literal["error", "warning", "info", "off"]
    (
        "what happens to rows that break the rule. 'error' (default): Hven rejects them. 'warning' or 'info': Hven "
        "publishes and counts them. 'off': Hven does not check the rule"
    )
    flag: Annotated[int, Field(ge=0, le=MAX_FLAG_BIT)]
    (
        "bit of the table's 'flags' that Hven sets in rows that break the rule. Hven publishes and counts such rows, "
        "as with 'severity: warning' or 'severity: info'. Once you have assigned a bit, do not change its meaning"
    )
    message: LocalizedText
    "message about the rule, which appears in reports"


class FlagColumnSection(
    DescriptorSection,
    name="flags",
    short="column",
    hints={"name": "column", "group": "by", "groups": "by", "group_by": "by", "count_by": "by"},
):
    """The column that says which rules a row breaks."""

    column: Required[Text]
    "name of the column. If 'columns' does not describe the column, Hven creates it. Each rule with 'flag' sets one bit"
    by: dict[str, Expression]
    (
        "groups in which Hven also counts the flagged rows, defined by expressions over the table's own columns, for "
        "example {instrument: insname, year: CAST(ISO(t_min) AS CHAR(4))}"
    )
    given: bool
    (
        "true: the source rows already have flags. The rules then only describe the bits: write {flag: 0, message: "
        "...} without 'if'"
    )


class ServiceInputSection(DescriptorSection, short="value", name="input"):
    """One parameter of a linked service."""

    value: RetypedText
    (
        "value that is always sent, as a template over the row, for example '{target.obs_id}'. Without this key, users "
        "provide the value"
    )
    minimum: RetypedText
    "smallest value that users can provide, as a template, for example '{target.t_min}'"
    maximum: RetypedText
    (
        "largest value that users can provide. If values are intervals, write both ends: '{target.em_min} "
        "{target.em_max}'"
    )
    values: OneOrMore[RetypedText]
    "the only values that users can provide"
    example: RetypedText
    "a valid value, as a template"
    type: Converted[Text]
    "type of the values, for example float64, int32, string, timestamp, point or float32[3]. Default: string"
    unit: Mirrored[Text]
    "unit in VOUnits syntax, such as deg or km.s-1"
    _: Annotated[ColumnSection, "ucd utype description"]


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
    """A service that takes values from a row."""

    url: Required[Text]
    "address of the service, as a template, for example '{site.url}/cut' or 'https://das.example.org/hapi/data'"
    params: dict[str, ServiceInputSection]
    (
        "parameters of the service. A parameter with a value is always sent, for example {id: '{target.dataset}'}. "
        "Users provide the values of all other parameters, for example {BAND: {type: 'float64[2]', unit: m}}"
    )
    standard: Text
    "IVOID of the standard that the service follows, for example ivo://ivoa.net/std/SODA#sync-1.0"
    registered: Text
    "IVOID under which the service is registered"


class RowLinkSection(DescriptorSection, hints={"url": "text", "path": "file", "table": "from"}, name="link"):
    """What each row links to. Clients get these links through DataLink."""

    semantics: Text
    (
        "how the link relates to the row, as a DataLink term such as 'this', 'preview', 'thumbnail', 'progenitor', "
        "'derivation', 'calibration' or 'documentation'"
    )
    derived: DerivedLinkSection
    (
        "instead of 'semantics', 'from' and 'where': links to the rows that this row was made from ('progenitor'), and "
        "to the rows that were made from this row ('derivation')"
    )
    series: Text
    (
        "instead of all other keys: the ID of a HAPI and das2 data set. The link leads to the row's time span in this "
        "data set"
    )
    text: Text
    (
        "address, as a template over the row, for example '{base}/{target.obs_id}.png'. Hven URL-encodes values in the "
        "path and in the query (after a ?), but not a value at the start of the address"
    )
    file: Text
    "instead of 'text': the path of one of the collection's 'files', as a template, for example '{target.file_name}'"
    service: ServiceSection
    (
        "instead of 'text': a service that takes values from the row. Clients and pages show a form for the service's "
        "parameters"
    )
    type: Text
    "media type, which may be a template. If the link has the key 'file', you can omit 'type'"
    size: Text
    "size in bytes, as a template. If the link has the key 'file', you can omit 'size'"
    description: Text
    "what the link leads to, as a template, for example 'map at {previews.frequency:.0f} MHz'"
    qualifier: Text
    (
        "kind of product: a term from the IVOA vocabulary product-type (for example, spectrum) or a template. "
        "For a row's own file, the default is the row's dataproduct_type"
    )
    local: Text
    (
        "your own label that distinguishes several links of the same kind, as a template, for example 'band "
        "{previews.band}'"
    )
    if_: Condition
    "condition that a row must meet to have the link"
    from_: Text
    "another table whose rows become links, for example previews or schema.table"
    where: Condition
    (
        "with 'from': the condition that selects which rows of the other table belong to this row, for example "
        "previews.obs_id = target.obs_id"
    )
    order: Expression
    "with 'from': the sort order of the other table's rows, for example previews.frequency"


class DeletedRowsSection(DescriptorSection, name="deletions"):
    """How the source marks deleted rows."""

    column: Required[Condition]
    "condition on source columns that is true for deleted rows, for example \"status = 'deleted'\""


class SyncGuardSection(DescriptorSection, name="guard"):
    """Limits that stop a sync until somebody runs it with --accept."""

    removed: Share
    "share of the published rows that may disappear. Default: 10 %"
    changed: Share
    "share of the published rows that may change. Default: 50 %"


class SyncSection(
    DescriptorSection,
    empty=True,
    hints={
        "key": "'primary' of the table",
        "every": "'every' under the collection's 'sync', beside 'tables'",
        "cron": "'cron' under the collection's 'sync', beside 'tables'",
        "delete": "deletions",
        "flag": "deletions: {column: ..}",
    },
):
    """How Hven follows changes in the source."""

    watermark: Expression
    "source column, or expression over source columns, whose value is larger in rows that were written later"
    overlap: Overlap
    "how far Hven looks back from the last watermark: a time such as 2 d, or a number in the watermark's unit"
    deletions: Annotated[DeletionWord | DeletedRowsSection, _read_deletions]
    "how Hven finds deleted rows: 'compare' (default), 'blocks', 'none' or {column: condition}"
    full: FullInterval
    (
        "how often Hven reads everything, regardless of the watermark, for example 7 d. Write 'never' if each change "
        "in a row also changes the row's watermark"
    )
    page: Annotated[int, Field(ge=1)]
    "number of rows in each request to the source, if Hven reads the source in pages"
    rate: Annotated[float, Field(ge=0.001)]
    "maximum number of requests to the source per second"
    guard: SyncGuardSection
    "how many rows may disappear or change before a sync stops and asks you, for example {removed: 10 %, changed: 50 %}"


class ForeignKeySection(DescriptorSection, short="target", name="key"):
    """A foreign key: columns whose values refer to rows of another table."""

    columns: Converted[OneOrMore[Text]]
    "columns of this table. Default: the column with the same name as this entry of 'keys'"
    target: Converted[Required[Text]]
    "the other table, written as TABLE or SCHEMA.TABLE"
    target_columns: Converted[OneOrMore[Text]]
    "columns of the other table. Default: the same names as in this table"
    description: Mirrored[Text]
    "what the key means"
    utype: Mirrored[Text]
    "utype from a data model"


class PartitionSection(
    DescriptorSection,
    hints={"interval": "every", "step": "every", "level": "order", "nside": "order", "on": "column", "range": "by"},
):
    """How Hven divides the rows of a big table into partitions."""

    by: Required[Literal["time", "healpix"]]
    "'time' divides the rows by a time column, 'healpix' by their position"
    column: Text
    "with 'by: time': the column, which must be a timestamp or a number with a unit of time"
    every: Text
    (
        "with 'by: time': the length of a partition, for example 1 month, 1 year, 10 d or 6 h. A length in months or "
        "years requires a timestamp. Default: 1 month for a timestamp, 30 d for a number"
    )
    order: Annotated[int, Field(ge=0, le=2)]
    "with 'by: healpix': the order, which can be 0 (12 partitions), 1 (48, the default) or 2 (192 partitions)"


class ColumnGroupSection(DescriptorSection, name="group"):
    """Columns that belong together."""

    value: Converted[Text]
    "the column that contains the value"
    error: Converted[Text]
    "the column that contains the value's uncertainty"
    lower: Converted[Text]
    "the column that contains the lower bound or the lower error"
    upper: Converted[Text]
    "the column that contains the upper bound or the upper error"
    origin: Converted[Text]
    "the column that says where the value comes from"
    confidence: Converted[Text]
    "the column that says how certain the value is"
    roles: Converted[dict[str, Text]]
    "further roles, as 'role: column'"
    columns: Converted[OneOrMore[Text]]
    "further columns that have no role"
    description: Mirrored[Text]
    "what the group represents"
    utype: Mirrored[Text]
    "utype from a data model"
    ucd: Mirrored[Text]
    "UCD of the group"


class TableParamSection(DescriptorSection, short="value", name="param"):
    """A value that applies to all rows."""

    value: Mirrored[Required[RetypedText]]
    "the value"
    type: Converted[Text]
    "type of the value, for example float64, int32, string, timestamp, point or float32[3]. Default: string"
    unit: Mirrored[Text]
    "unit in VOUnits syntax, such as deg or km.s-1"
    _: Annotated[ColumnSection, "ucd utype description enum"]


class CoordinateFrameSection(DescriptorSection, short="system", name="frame"):
    """A coordinate or time system."""

    kind: Mirrored[Literal["coosys", "timesys"]]
    "'coosys' for coordinates in space (the default, unless 'timescale' is given), or 'timesys' for times"
    system: Mirrored[Text]
    "coordinate system: ICRS, FK5, GALACTIC, BODY ... (from the IVOA vocabulary refframe)"
    epoch: Mirrored[RetypedText]
    "epoch of the positions, for example J2015.5"
    equinox: Mirrored[RetypedText]
    "equinox, for example J2000"
    refposition: Mirrored[Text]
    (
        "reference position, for example TOPOCENTER, BARYCENTER or GEOCENTER. With 'system: BODY': the name of the "
        "body. Default for a body: the spatial_origin or target_name in 'set'"
    )
    crs: Converted[Text]
    (
        "with 'system: BODY': the body's ellipsoid with two or three axes, either as well-known text (WKT) or as "
        "an IAU code, for example IAU_2015:49900. The text or code also names the body"
    )
    timescale: Mirrored[Text]
    "time scale: UTC, TT, TDB ..."
    timeorigin: Mirrored[RetypedText]
    (
        "the Julian date of time 0, or 'MJD-origin' or 'JD-origin'. Columns with the unit d are dates counted from "
        "this origin. Without 'timeorigin', Hven infers the origin from the range of the values"
    )


class ObscoreSection(DescriptorSection, empty=True):
    """How Hven computes the rows' values in ivoa.obscore from the table's own columns."""

    _: Annotated[AssignedValueSection, "set"]
    text: dict[str, Text]
    (
        "templates, as 'column: \"{orbit}_{cube}\"'. Each pair of braces contains a column of the table, an "
        "expression, or a name such as {site.url}. Write {{ and }} for literal braces"
    )
    map: dict[str, Expression]
    "ADQL expressions over the table's own columns, as 'column: expression'"
    optional: OneOrMore[Text]
    "optional ObsCore columns to include, or names of families of such columns"
    columns: dict[str, ColumnSection]
    "further columns of ivoa.obscore, which only this table fills"
    converted: bool
    (
        "true: the expressions already give values in ObsCore's own units, so Hven converts nothing. `hven mirror` "
        "writes this key"
    )
    radio: FreeMap
    "the keys 'set', 'text' and 'map' for ivoa.obscore_radio"


class VocabularySection(DescriptorSection, short="values"):
    """Words that are allowed in a column."""

    values: Required[OneOrMore[RetypedText]]
    "the words"
    version: RetypedText
    "where the words come from, with the version or the date on which you copied them"


class TableSection(
    DescriptorSection,
    added_key_source=AddedKeySource("table_keys", load_package_table_keys),
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
    "text that tells readers what one row represents"
    utype: Mirrored[Text]
    "utype from a data model"
    standard: Local[Text]
    "name of a standard, for example epn-tap-2.0. The table has the columns, units, UCDs and rules of this standard"
    optional: Local[OneOrMore[Text]]
    "the standard's optional columns that you want in the table"
    frame: Local[Text]
    "variant of the standard. For epn-tap, this is the spatial_frame_type, which determines the units"
    columns: Converted[dict[str, ColumnSection]]
    "the columns. Default: the columns of the source"
    follow: Local[bool]
    (
        "true: the table has all columns of the source, and you can change or add columns under 'columns'. This is the "
        "default for a table with neither 'columns' nor 'standard'"
    )
    source: Local[OneOrMore[Source]]
    "where the rows come from. If you list several sources, Hven reads them one after the other"
    view: Converted[Query]
    "instead of 'source': an ADQL query whose result is the table"
    where: Local[Condition]
    "condition that source rows must meet. Hven skips all other rows and counts them"
    max_rejects: Local[Annotated[float, Field(ge=0, le=1)]]
    (
        "the largest share of the rows that Hven may reject, from 0 to 1. If Hven has to reject more rows, the run "
        "publishes nothing. Default: 0.5. With 1, the run publishes the table even if no row remains"
    )
    let: Local[dict[str, Expression]]
    "named intermediate expressions, as 'name: expression'. Other expressions can use the names"
    _: AssignedValueSection
    for_: Local[OneOrMore[ColumnLoopSection]]
    "loops that create similar columns"
    granules: Local[OneOrMore[GranuleSection]]
    "the rows that Hven creates from each source row, if it creates several"
    group_by: Local[OneOrMore[Text]]
    (
        "source columns, names in 'let', or expressions. Rows with the same values for all of these become one row. "
        "All other values must be aggregates, or must be the same within a group"
    )
    for_each: Local[OneOrMore[Text]]
    (
        "array columns of the source. Hven creates one row for each position in these arrays, with the elements at "
        "that position. In expressions, each.index is the position, counted from 1"
    )
    rules: Local[dict[str, Annotated[ValidationRuleSection, _read_rule_section]]]
    "conditions that rows must meet, in addition to types, nulls, bounds and the standard's rules"
    simulated: Local[Condition]
    (
        "condition that is true for rows that are computed, not observed. The column data_source contains 'theory' in "
        "these rows, and 'observation' in rows for which the condition is false. If all rows are computed, write "
        "'type: [Simulation]' at the top of the descriptor"
    )
    flags: Converted[FlagColumnSection]
    (
        "column whose bits show which rules a row breaks, for example quality_flags. With 'by', Hven also counts the "
        "flagged rows, for example by instrument or by year"
    )
    embargo: Local[EmbargoSection]
    "when rows become public, for example 12 months after t_max: {from: t_max, months: 12}"
    links: Local[OneOrMore[RowLinkSection]]
    "the rows' links (DataLink) to files, to previews, and to the data from which the rows were made"
    sync: Local[SyncSection]
    "how Hven follows changes in the source"
    primary: Mirrored[OneOrMore[Text]]
    "columns of the primary key"
    keys: Converted[dict[str, ForeignKeySection]]
    "foreign keys, as 'name: target'"
    position: Mirrored[OneOrMore[Text]]
    "columns of the position index, as [longitude, latitude]. Default: Hven finds them by their UCDs"
    form: Mirrored[OneOrMore[Text]]
    (
        "the first fields of the search form, in this order, for example [time, target_name, orbit]. A name such as "
        "time can also refer to a pair of columns time_min and time_max. Default: the standard's columns for time, "
        "target, place and season, and your own columns"
    )
    observation: Mirrored[OneOrMore[Text]]
    (
        "columns that identify an observation, for example [obs_id, time_min]. If several rows have the same values in "
        "these columns, pages show them as one line, which lists the files of all these rows. With [], each row has "
        "its own line. Default: if several rows have the same obs_id, the columns are obs_id, the start time and "
        "the instrument; otherwise, each row has its own line"
    )
    indexes: Converted[OneOrMore[OneOrMore[Text]]]
    (
        "groups of columns that queries use together, for example [[target, time]]. For a single column, write "
        "'indexed: true' in the column instead"
    )
    partition: Local[PartitionSection]
    (
        "how Hven divides a big table into partitions, for example {by: time, column: t, every: 1 month} or {by: "
        "healpix, order: 2}"
    )
    groups: Converted[dict[str, ColumnGroupSection]]
    "columns that belong together, for example a value, its error and its origin"
    params: Converted[dict[str, TableParamSection]]
    "values that apply to all rows. Results contain these values, and 'groups' can refer to them"
    enums: Converted[dict[str, dict[str, RetypedLocalizedText]]]
    "named lists of codes with their meanings"
    frames: Converted[dict[str, CoordinateFrameSection]]
    "coordinate and time systems that columns refer to"
    access: Local[AccessSection]
    (
        "who can see which rows, who is allowed to know that the rows have files, and who can download the files. "
        "Write 'public', 'private', 'members', a condition, or {rows: .., files: .., take: ..}"
    )
    index: Mirrored[int]
    "position of the table in lists of tables"
    variants: Local[FreeMap]
    "in a standard: what each value of 'frame' changes"
    obscore: Converted[Annotated[ObscoreSection, _read_obscore_section]]
    (
        "adds the rows to ivoa.obscore as observations. Expressions over this table's columns define the values in "
        "ivoa.obscore. Write {} if this table's standard determines all these values"
    )
    obscore_radio: Converted[Annotated[ObscoreSection, _read_obscore_section]]
    "the expressions for ivoa.obscore_radio, made from 'radio' in 'obscore'"
    vocabularies: Local[dict[str, VocabularySection]]
    "words for rules with 'check: words'"
    default: Local[dict[str, Expression]]
    "expressions for columns that the source does not have and that no other key sets"
    families: Local[dict[str, OneOrMore[Text]]]
    "in a standard: names for groups of optional columns, which you can write in 'optional'"
    together: Local[OneOrMore[OneOrMore[Text]]]
    "in a standard: lists of optional columns. A table must have either all or none of the columns in a list"
    called: Local[Text]
    "in a standard: the name that a table with this standard must have"
    converted: Local[bool]
    "true: the expressions under 'obscore' already give values in ObsCore's own units"


class TablesLoopSection(DescriptorSection):
    """Similar tables that a loop creates. If 'each' lists values of b, Hven replaces {b} with each of these values."""

    each: Required[FreeMap]
    "a name of your choice and its values, for example {b: [u, g, r]}"
    tables: Required[dict[str, TableSection]]
    "tables that the loop adds"


class SyncScheduleSection(
    DescriptorSection,
    short="every",
    hints={"timezone": "zone", "time_zone": "zone", "schedule": "cron", "interval": "every"},
    name="schedule",
):
    """When Hven synchronises the collection automatically."""

    every: Duration
    "how often, for example 1 h"
    cron: Text
    'minute, hour, day, month and weekday, for example "15 3 * * *"'
    jitter: Duration
    "maximum random delay. It prevents many sites from sending requests to a source in the same minute"
    zone: Text
    "time zone of 'cron', for example Europe/Vienna. Default: UTC"


class QueryTestSection(DescriptorSection, name="test"):
    """A query, and the result that it must return."""

    query: Required[Query]
    "ADQL"
    expect: Required[FreeMap]
    "the result that the query must return"
    name: Text
    "what the test checks"


class ExampleQuerySection(DescriptorSection, hints={"name": "title", "adql": "query"}, name="example"):
    """An example query for readers to begin with, shown at /tap/examples."""

    title: Required[Text]
    "what the query shows, in one line"
    query: Required[Query]
    "ADQL"
    description: Text
    "what readers can learn from the result, and how they can continue from there"


class CollectionSection(
    DescriptorSection,
    added_key_source=AddedKeySource("collection_keys", load_package_collection_keys),
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
        "several languages, for example {en: Cubes of Mars, fr: Cubes de Mars}"
    )
    description: Impersonal[Mirrored[LocalizedText]]
    "a few sentences: what the data are, where they come from, and how good they are"
    include: Impersonal[Local[OneOrMore[Text]]]
    (
        "other descriptors, whose keys Hven merges with the keys of this file. If a key is in both files, Hven uses "
        "the key of this file"
    )
    let: Impersonal[Local[dict[str, Constant]]]
    "constants for templates and expressions"
    access: Impersonal[Local[AccessSection]]
    "access to all tables that have no 'access' of their own"
    project: Impersonal[Local[Text]]
    (
        "name of a project in hven.toml. The project's members see the tables. If the project has the setting 'open', "
        "everybody sees them"
    )
    functions: Impersonal[Local[OneOrMore[FunctionFileSection]]]
    "Python files with functions that expressions can call"
    tables: Impersonal[Converted[dict[str, TableSection]]]
    "the tables"
    files: Impersonal[Local[OneOrMore[PublishedFilesSection]]]
    (
        "files that Hven publishes unchanged, with or without tables. The table 'files' lists them, with sizes, "
        "checksums and addresses"
    )
    prepare: Impersonal[Local[OneOrMore[Literal["previews", "spectra"]]]]
    (
        "what a background job creates from new files after each ingest: 'previews' (thumbnails and quicklooks), "
        "'spectra' (copies of cubes, with the spectral axis varying fastest), or both. The copies take as much disk "
        "space as the cubes"
    )
    for_: Impersonal[Local[OneOrMore[TablesLoopSection]]]
    "loops that create similar tables"
    services: Impersonal[Local[OneOrMore[Text]]]
    (
        "the services that offer the collection's tables, for example 'tap', 'cone', 'portal', 'files', 'endpoints', "
        "'epn-tap' and 'obscore'. No other service offers these tables. 'epn-tap' and 'obscore' include 'tap'. Each "
        "service needs a suitable table. Default: all services with a suitable table"
    )
    sync: Impersonal[Local[SyncScheduleSection]]
    "how often Hven synchronises the collection with its sources, for example {every: 1 h}"
    tests: Impersonal[Local[OneOrMore[QueryTestSection]]]
    "queries with their expected results. Each ingest runs them before it publishes the rows"
    examples: Impersonal[Converted[OneOrMore[ExampleQuerySection]]]
    "example queries for readers. Hven adds examples for each table that none of these queries uses"
    short_name: Impersonal[Mirrored[Text]]
    "name of at most 16 characters, for lists"
    subjects: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[Mars, Planetary surfaces]")]
    "terms from the Unified Astronomy Thesaurus"
    creators: Mirrored[OneOrMore[PersonSection]]
    "people who made the data, in the order of citation"
    contact: Local[PersonSection]
    "person or institute that answers questions"
    contributors: Mirrored[OneOrMore[ContributorSection]]
    "people who helped but are not creators"
    funding: Mirrored[OneOrMore[FundingSection]]
    "grants that paid for the work"
    publisher: Mirrored[Text]
    "institute that publishes the data"
    publisher_ror: Mirrored[Text]
    "identifier of the publisher in the Research Organization Registry, for example https://ror.org/02feahw73"
    licence: Impersonal[Mirrored[Text]]
    "name of the licence, for example CC-BY-4.0"
    licence_url: Impersonal[Mirrored[Text]]
    "address of the licence text"
    citation: Mirrored[Text]
    "how to cite the collection"
    bibcode: Mirrored[Text]
    "ADS bibcode of the paper about the data"
    doi: Mirrored[Text]
    "DOI of the collection, for example 10.xxxx/..."
    related: Mirrored[OneOrMore[RelatedWorkSection]]
    "papers, catalogues and software related to the collection, each given by its DOI, bibcode, arXiv number or address"
    acknowledgement: Mirrored[Text]
    ("what users of the data should write in a paper. Pages, query results, and ZIP and TAR archives contain this text")
    utype: Annotated[Impersonal[Mirrored[Text]], KeyExample("ivo://ivoa.net/std/regtap#1.2")]
    "utype of the data model that the schema represents, for example ivo://ivoa.net/std/regtap#1.2"
    reference_url: Mirrored[Text]
    "address of a page about the data"
    facility: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("Mars Express")]
    "observatory or spacecraft"
    instrument: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("OMEGA")]
    "instrument"
    waveband: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[Optical, Infrared]")]
    "Radio, Millimeter, Infrared, Optical, UV, EUV, X-ray or Gamma-ray"
    content_level: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("Research")]
    "intended audience, for example Research, Amateur or General"
    type: Annotated[Impersonal[Mirrored[OneOrMore[Text]]], KeyExample("[Catalog, Archive]")]
    (
        "kind of collection, for example Catalog, Survey, Archive or Simulation. With Simulation, pages and "
        "results say that the rows were computed"
    )
    created: Annotated[Impersonal[Mirrored[RetypedText]], KeyExample("2026-11-20")]
    (
        "creation date of the collection, for example 2026-11-20. It is also the default of the EPN-TAP column "
        "creation_date. Without 'created', the default is the time of the run that first published the row"
    )
    registry: Annotated[Impersonal[Local[RegistrySection]], KeyExample("{publish: false}")]
    (
        "how the collection appears in the registries of the Virtual Observatory. Default: Hven registers everything "
        "that is public, with identifiers derived from the names"
    )
    engine: Impersonal[Local[Text]]
    "engine that stores the rows, for example 'duckdb' (embedded) or 'postgres'. Default: `engine` in hven.toml"
    index: Impersonal[Mirrored[int]]
    "position of the collection in lists of collections"


# keys of a collection that have another name in `CollectionSpec`
ATTRIBUTE_NAMES_BY_KEY = {"collection": "name", "related": "works", "sync": "schedule", "registry": "registration"}
