"""Every key of a descriptor, said once: what is checked, what editors offer, and what the reference page must explain."""

from __future__ import annotations

from typing import Any

from hven.descriptor.shapes import Choice, Constant, Dict, Expression, Faults, Flag, Key, Many, Number, Record, Text, kind
from hven.descriptor.written import Entries, Written

TEXT = Text()
EXPRESSION = Expression()
CONDITION = Expression("a condition")


class Free:
    """Checked elsewhere: options of a source by its kind, what a test expects."""

    def __init__(self, doc: str, *, short: bool = False) -> None:
        self.doc, self.short = doc, short

    def read(self, value: Any, what: str, faults: Faults) -> Any:
        """Take a map (or, if there is a short form, text) as it is."""
        if isinstance(value, Entries) or (self.short and isinstance(value, Written) and not value.is_null):
            return value
        faults.error(f"{what} must be a map, not {kind(value)}", value.place)
        return None

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Any object."""
        return {"type": ["object", "string"] if self.short else "object", "description": self.doc}


COLUMN = Record(
    "column",
    "One column of a table",
    (
        Key("type", TEXT, "float64, int32, string, timestamp, point, float32[3] ...; without it, the type of the source's column of that name"),
        Key("unit", TEXT, "VOUnit: deg, mag, km.s-1; values are converted if the source says another one"),
        Key("ucd", TEXT, "UCD1+: pos.eq.ra;meta.main"),
        Key("utype", TEXT, "utype of a data model"),
        Key("description", TEXT, "one sentence for readers"),
        Key("label", TEXT, "heading for people; default: the name"),
        Key("null", Text(any=True), "the value that stands for 'no value' in formats without nulls"),
        Key("rank", Number(whole=True, minimum=1, maximum=30), "1 essential ... 30 technical; gives VERB of cone search and 'principal'"),
        Key("required", Flag(), "true: a row without a value here is refused"),
        Key("indexed", Flag(), "true: searches by this column are fast"),
        Key("unique", Flag(), "true: no two rows have the same value"),
        Key("hidden", Flag(), "true: can be queried, but is not shown unless asked for"),
        Key("std", Flag(), "true: the column is one of a standard's"),
        Key("section", TEXT, "heading under which pages show it"),
        Key("display", TEXT, "how pages write it: .3f, sexagesimal, iso"),
        Key("frame", TEXT, "name of an entry of 'frames'"),
        Key("link", TEXT, "address as a template over the row's columns: https://x/{obs_id}"),
        Key("enum", TEXT, "name of an entry of 'enums'"),
        Key("minimum", Number(), "smallest value that is right"),
        Key("maximum", Number(), "largest value that is right"),
        Key("optional", Flag(), "in a standard: only there if a table asks for it under 'optional'"),
    ),
    short="type",
    empty=True,
    hints={
        "units": "unit", "tablehead": "label", "verblevel": "rank", "datatype": "type", "desc": "description", "title": "label", "min": "minimum",
        "max": "maximum", "index": "indexed", "mandatory": "required", "nullable": "required", "name": "label", "options": "enum",
    },
)  # fmt: skip

PERSON = Record(
    "person",
    "A person or an institute",
    (
        Key("name", TEXT, "as it should be cited: Brahe, T.", required=True),
        Key("email", TEXT, "address for questions"),
        Key("orcid", TEXT, "0000-0002-1825-0097"),
        Key("affiliation", TEXT, "institute"),
        Key("url", TEXT, "home page"),
    ),
    short="name",
)

LOOKUP = Record(
    "lookup",
    "A value found in a table by a key",
    (
        Key("from", EXPRESSION, "expression over the source whose value is looked up", required=True),
        Key("table", Free("file (csv) beside the descriptor, or a source with its kind", short=True), "where to look: a file beside the descriptor, or a source with its kind"),
        Key("key", TEXT, "column of the table that is compared; default: its first"),
        Key("value", TEXT, "column of the table that is taken; default: its second"),
        Key("values", Dict(Constant()), "the table written here: {U: 365, B: 445}"),
        Key("missing", Choice(("error", "null", "keep")), "a key that is not there: refuse the row (default), leave the value out, or keep the key itself"),
    ),
)  # fmt: skip

_ASSIGN = (
    Key("set", Dict(Constant()), "constants: column: value, read as the text that stands there and typed by the column"),
    Key(
        "text",
        Dict(TEXT),
        "templates: column: '{orbit}_{cube}'; names as in expressions, also {file.path}, {site.url}, {target.x}; {{ and }} for braces",
    ),
    Key("map", Dict(EXPRESSION, expressions=True), "expressions: column: ADQL over the source's columns, 'let' names, and target.x"),
    Key("lookup", Dict(LOOKUP), "column: a value found in a table"),
)
ASSIGNMENTS = tuple(key.name for key in _ASSIGN)

GRANULE = Record(
    "granule",
    "One of several rows made from one source row",
    (
        Key("gid", TEXT, "its name; fills the column granule_gid if the table has it", required=True),
        Key("if", CONDITION, "made only from source rows that meet this"),
        *_ASSIGN,
    ),
)

RULE = Record(
    "rule",
    "What rows must meet",
    (
        Key("if", CONDITION, "condition over the table's own columns; a row for which it is false breaks the rule", required=True),
        Key("severity", Choice(("error", "warning")), "error (default): the row is refused; warning: it is counted"),
        Key("message", TEXT, "what to tell"),
    ),
    short="if",
)

LINK = Record(
    "link",
    "One DataLink row for each row of the table",
    (
        Key("semantics", TEXT, "#this, #preview, ... (DataLink vocabulary)", required=True),
        Key("text", TEXT, "address as a template over the row: '{base}/{target.obs_id}.png'", required=True),
        Key("type", TEXT, "media type"),
        Key("description", TEXT, "what it leads to"),
        Key("size", TEXT, "bytes, as a template"),
        Key("if", CONDITION, "only for rows that meet this"),
    ),
)

SYNC = Record(
    "sync",
    "How changes of the source are followed",
    (
        Key("key", Many(TEXT), "columns that name a row for ever"),
        Key("watermark", TEXT, "source column that grows with every change"),
        Key("overlap", TEXT, "how far to look back behind the watermark: 2 d"),
        Key("deletions", Choice(("compare", "flag", "never")), "how rows that went away are found"),
        Key("flag", TEXT, "condition that marks a deleted row, for deletions: flag"),
        Key("every", TEXT, "how often: 1 h"),
    ),
)

FOREIGN = Record(
    "key",
    "A foreign key: columns whose values are found in another table",
    (
        Key("columns", Many(TEXT), "columns of this table; default: the entry's name"),
        Key("target", TEXT, "the other table: table or schema.table", required=True),
        Key("target_columns", Many(TEXT), "its columns; default: the same names"),
        Key("description", TEXT, "what the relation means"),
        Key("utype", TEXT, "utype"),
    ),
    short="target",
)

GROUP = Record(
    "group",
    "Columns that belong together",
    (
        Key("value", TEXT, "the column with the value"),
        Key("error", TEXT, "its uncertainty"),
        Key("lower", TEXT, "lower bound or lower error"),
        Key("upper", TEXT, "upper bound or upper error"),
        Key("origin", TEXT, "where the value comes from"),
        Key("confidence", TEXT, "how sure it is"),
        Key("roles", Dict(TEXT), "further roles: name: column"),
        Key("description", TEXT, "what the group is"),
        Key("utype", TEXT, "utype"),
        Key("ucd", TEXT, "UCD"),
    ),
)

FRAME = Record(
    "frame",
    "A coordinate or time system",
    (
        Key("kind", Choice(("coosys", "timesys")), "coosys: space (default unless a timescale is given); timesys: time"),
        Key("system", TEXT, "ICRS, FK5, GALACTIC, IAU_MARS_2000 ..."),
        Key("epoch", Text(any=True), "epoch of the positions: J2015.5"),
        Key("equinox", Text(any=True), "equinox: J2000"),
        Key("refposition", TEXT, "TOPOCENTER, BARYCENTER, GEOCENTER ..."),
        Key("timescale", TEXT, "UTC, TT, TDB ..."),
        Key("timeorigin", Text(any=True), "JD of time 0, or MJD-origin, JD-origin"),
    ),
    short="system",
)

LOOP_EACH = Free("name: list of values; several lists go in step")
_LOOP_TABLE = Record(
    "loop",
    "Similar columns made by a loop: {b} in names and values is replaced",
    (
        Key("each", LOOP_EACH, "{b: [u, g, r]}: the values that {b} takes; several lists go in step, all of one length", required=True),
        Key("columns", Dict(COLUMN), "columns to add"),
        *_ASSIGN,
    ),
)

SOURCE = Free("where the rows come from: kind and its options", short=True)

TABLE = Record(
    "table",
    "One table or view",
    (
        Key("title", TEXT, "heading"),
        Key("description", TEXT, "what a row is, for readers"),
        Key("utype", TEXT, "utype of a data model"),
        Key("standard", TEXT, "name of a standard whose columns, units, UCDs and rules this table has: epn-tap-2.0"),
        Key("optional", Many(TEXT), "optional columns of the standard to have"),
        Key("frame", TEXT, "variant of the standard: for epn-tap the spatial_frame_type, from which units follow"),
        Key("columns", Dict(COLUMN), "the columns; left out: those of the source"),
        Key("follow", Flag(), "true: the source's columns are taken too, and 'columns' refines them or adds some (default if there are no columns and no standard)"),
        Key("source", Many(SOURCE), "where the rows come from; a list is put together"),
        Key("view", Expression("a query"), "ADQL whose answer this table is, instead of a source"),
        Key("where", CONDITION, "condition over source rows; others are skipped and counted"),
        Key("max_rejects", Number(minimum=0, maximum=1), "share of the rows that may be rejected before nothing is published; default 0.5; 1: publish even an empty table"),
        Key("let", Dict(EXPRESSION, expressions=True), "names for intermediate expressions"),
        *_ASSIGN,
        Key("for", Many(_LOOP_TABLE), "loops that make similar columns"),
        Key("granules", Many(GRANULE), "several rows from one source row"),
        Key("group_by", Many(TEXT), "several source rows become one row (not carried out yet: refused)"),
        Key("for_each", Many(TEXT), "array columns of the source, each element a row (not carried out yet: refused)"),
        Key("rules", Dict(RULE), "what rows must meet, beyond types, nulls, bounds and the standard's rules"),
        Key("links", Many(LINK), "DataLink rows"),
        Key("sync", SYNC, "how changes of the source are followed"),
        Key("primary", Many(TEXT), "columns of the primary key"),
        Key("keys", Dict(FOREIGN), "foreign keys: name: target"),
        Key("position", Many(TEXT), "[longitude, latitude]: columns of the position index; default: by UCD"),
        Key("groups", Dict(GROUP), "columns that belong together: value, error, origin ..."),
        Key("enums", Dict(Dict(Text(any=True))), "named lists of codes and what they mean"),
        Key("frames", Dict(FRAME), "coordinate and time systems that columns refer to"),
        Key("access", Choice(("public", "private")), "private: invisible until somebody is granted it"),
        Key("index", Number(whole=True), "place among the tables in lists"),
        Key("variants", Free("in a standard: frame -> what it changes"), "in a standard: value of 'frame' -> what it changes"),
    ),
    hints={"key": "primary", "primary_key": "primary", "filter": "where", "mapping": "map", "constants": "set", "templates": "text", "sources": "source", "foreign_keys": "keys"},
)  # fmt: skip

FUNCTIONS = Record(
    "functions",
    "Python functions beside the descriptor",
    (
        Key("file", TEXT, "the .py file", required=True),
        Key("names", Dict(COLUMN), "function: type of its result; default: what the functions' annotations say"),
    ),
    short="file",
)

TEST = Record(
    "test",
    "A query with what it must answer",
    (
        Key("query", Expression("a query"), "ADQL", required=True),
        Key(
            "expect",
            Free("column: value of the first row; rows: how many; minimum, maximum: of the first value"),
            "what the answer must be",
            required=True,
        ),
        Key("name", TEXT, "what is tested"),
    ),
)

EXAMPLE = Record(
    "example",
    "A query for readers to begin with, shown at /tap/examples",
    (
        Key("title", TEXT, "what it shows, in one line", required=True),
        Key("query", Expression("a query"), "ADQL", required=True),
        Key("description", TEXT, "what to look at, how to go on"),
    ),
    hints={"name": "title", "adql": "query"},
)

COLLECTION_LOOP = Record(
    "tables_loop",
    "Similar tables made by a loop: {b} in names and values is replaced",
    (Key("each", LOOP_EACH, "the values that {b} takes", required=True), Key("tables", Dict(TABLE), "tables to add", required=True)),
)

COLLECTION = Record(
    "collection",
    "A collection: one schema, its metadata and tables",
    (
        Key("collection", TEXT, "name of the collection and of its schema", required=True),
        Key("title", TEXT, "one line for people"),
        Key("description", TEXT, "some sentences: what, from where, how good"),
        Key("include", Many(TEXT), "files whose keys stand below this one's; this file wins"),
        Key("let", Dict(Constant()), "constants for templates and expressions"),
        Key("access", Choice(("public", "private")), "for all tables that do not say it themselves"),
        Key("functions", Many(FUNCTIONS), "Python files whose functions expressions may call"),
        Key("tables", Dict(TABLE), "the tables"),
        Key("for", Many(COLLECTION_LOOP), "loops that make similar tables"),
        Key("services", Many(TEXT), "faces to offer; default: all that apply"),
        Key("tests", Many(TEST), "queries run after each ingest"),
        Key("examples", Many(EXAMPLE), "queries for readers to begin with; default: some are made for each table that none reads"),
        Key("short_name", TEXT, "at most 16 characters, for lists"),
        Key("subjects", Many(TEXT), "words of the Unified Astronomy Thesaurus"),
        Key("creators", Many(PERSON), "who made the data, in the order of citation"),
        Key("contact", PERSON, "who answers questions"),
        Key("publisher", TEXT, "institute that publishes"),
        Key("licence", TEXT, "name: CC-BY-4.0"),
        Key("licence_url", TEXT, "address of its text"),
        Key("citation", TEXT, "how to cite"),
        Key("bibcode", TEXT, "ADS bibcode of the paper"),
        Key("doi", TEXT, "10.xxxx/..."),
        Key("reference_url", TEXT, "page about the data"),
        Key("facility", Many(TEXT), "observatory, spacecraft"),
        Key("instrument", Many(TEXT), "instrument"),
        Key("waveband", Many(TEXT), "Radio, Millimeter, Infrared, Optical, UV, EUV, X-ray, Gamma-ray"),
        Key("content_level", Many(TEXT), "Research, Amateur, General ..."),
        Key("type", Many(TEXT), "Catalog, Survey, Archive, Simulation ..."),
        Key("created", Text(any=True), "date of creation: 2026-11-20"),
        Key("index", Number(whole=True), "place among the collections in lists"),
    ),
    hints={
        "subject": "subjects", "creator": "creators", "license": "licence", "license_url": "licence_url", "schema": "collection", "name": "collection",
        "copyright": "licence", "source": "bibcode", "author": "creators", "authors": "creators", "profile": "content_level", "shortname": "short_name",
        "url": "reference_url", "constants": "let",
    },
)  # fmt: skip

RECORDS = (
    COLLECTION,
    TABLE,
    COLUMN,
    PERSON,
    LOOKUP,
    GRANULE,
    RULE,
    LINK,
    SYNC,
    FOREIGN,
    GROUP,
    FRAME,
    _LOOP_TABLE,
    FUNCTIONS,
    TEST,
    EXAMPLE,
    COLLECTION_LOOP,
)
