"""Every key of a descriptor, said once: what is checked, what editors offer, and what the reference page must explain."""

from __future__ import annotations

from typing import Any

from hven.descriptor._flags import FLAGS, HIGHEST
from hven.descriptor._syncing import GUARD, SCHEDULE, SYNC
from hven.descriptor.value_schema import Choice, Constant, Dict, Expression, Faults, Fields, Flag, Key, Many, Number, Record, Text, kind
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
        Key("types", Many(TEXT), "in a standard: types that the column has instead if what it is set to is of one of them"),
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
        Key("display", TEXT, "how pages write it: .3f, sexagesimal, iso; hidden: it is for programs, not for people"),
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
        Key("from", Many(EXPRESSION), "expression over the source whose value is looked up; a list of them for a table with several keys", required=True),
        Key("table", Free("file (csv) beside the descriptor, or a source with its kind", short=True), "where to look: a file beside the descriptor, or a source with its kind"),
        Key("key", Many(TEXT), "column of the table that is compared, default: its first; a list of them, one for each of 'from'"),
        Key("low", TEXT, "instead of key: column of the table from whose value on a row of it is meant"),
        Key("high", TEXT, "column of the table below whose value a row of it is meant; without it, up to the next row's low"),
        Key("value", TEXT, "column of the table that is taken; default: its second"),
        Key("values", Dict(Constant()), "the table written here: {U: 365, B: 445}"),
        Key("missing", Choice(("error", "null", "keep")), "a key that is not there: refuse the row (default), leave the value out, or keep the key itself"),
        Key("default", Text(any=True), "the value for a key that is not there, and for none"),
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

CHECKS = (
    "words", "ucd", "unit", "pattern", "text", "items", "url", "media", "region", "orientation", "frame", "moc",
    "pair", "order", "between", "empty", "unique", "schema",
)  # fmt: skip


class _Rule(Record):
    """A rule says a condition, or a check of columns."""

    def read(self, value: Any, what: str, faults: Faults) -> Fields | None:
        """Refuse a rule that has neither, and no flag: one with a flag may say what a bit means that the rows come with."""
        fields = super().read(value, what, faults)
        if fields is not None and not {"if", "check", "flag"} & fields.places.keys():
            faults.error(f"{what} lacks the key 'if'", value.place, self.key("if").doc)
        return fields


RULE = _Rule(
    "rule",
    "What rows must meet",
    (
        Key("if", CONDITION, "condition over the table's own columns; a row for which it is false breaks the rule"),
        Key("check", Choice(CHECKS), "instead of 'if': a check of whole columns"),
        Key("columns", Many(TEXT), "columns that 'check' looks at; pair and order take them two by two"),
        Key("of", TEXT, "for words: name of a vocabulary; for pattern: a regular expression"),
        Key("list", Flag(), "true: the value is a list joined by #, and each item is checked"),
        Key("low", Number(), "for between: smallest value that is right"),
        Key("high", Number(), "for between: largest value that is right"),
        Key("severity", Choice(("error", "warning", "info", "off")), "error (default): the row is refused; warning, info: it is counted; off: not looked at"),
        Key("flag", Number(whole=True, minimum=0, maximum=HIGHEST), "bit of the table's 'flags' that is set in rows that break the rule; they are published and counted (severity: warning, or info). Once given, a bit keeps its meaning"),
        Key("message", TEXT, "what to tell"),
    ),
    short="if",
    hints={"bit": "flag", "condition": "if"},
)  # fmt: skip

VOCABULARY = Record(
    "vocabulary",
    "Words that a column may have",
    (
        Key("values", Many(Text(any=True)), "the words", required=True),
        Key("version", Text(any=True), "where they are from, and of when"),
    ),
    short="values",
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
        Key("columns", Many(TEXT), "columns that have no role of their own"),
        Key("description", TEXT, "what the group is"),
        Key("utype", TEXT, "utype"),
        Key("ucd", TEXT, "UCD"),
    ),
)

PARAM = Record(
    "param",
    "What holds for all rows",
    (
        Key("value", Text(any=True), "the value", required=True),
        *(key for key in COLUMN.keys if key.name in {"type", "unit", "ucd", "utype", "description", "enum"}),
    ),
    short="value",
)

FRAME = Record(
    "frame",
    "A coordinate or time system",
    (
        Key("kind", Choice(("coosys", "timesys")), "coosys: space (default unless a timescale is given); timesys: time"),
        Key("system", TEXT, "ICRS, FK5, GALACTIC, BODY ... (the IVOA's vocabulary refframe)"),
        Key("epoch", Text(any=True), "epoch of the positions: J2015.5"),
        Key("equinox", Text(any=True), "equinox: J2000"),
        Key(
            "refposition",
            TEXT,
            "TOPOCENTER, BARYCENTER, GEOCENTER ...; of a system BODY the name of the body (default: the target_name or spatial_origin that is set)",
        ),
        Key("timescale", TEXT, "UTC, TT, TDB ..."),
        Key(
            "timeorigin", Text(any=True), "JD of time 0, or MJD-origin, JD-origin; columns in d are dates by it, without one by their range"
        ),
    ),
    short="system",
)

PARTITION = Record(
    "partition",
    "How the rows of a big table are cut into pieces",
    (
        Key("by", Choice(("time", "healpix")), "time: by a column; healpix: by the position", required=True),
        Key("column", TEXT, "for time: a timestamp, or a number whose unit is a time"),
        Key(
            "every",
            TEXT,
            "for time: length of a piece: 1 month, 1 year, 10 d, 6 h; months and years need a timestamp; default: 1 month, or 30 d",
        ),
        Key("order", Number(whole=True, minimum=0, maximum=2), "for healpix: 12, 48 or 192 pieces; default 1"),
    ),
    hints={"interval": "every", "step": "every", "level": "order", "nside": "order", "on": "column", "range": "by"},
)

OBSCORE = Record(
    "obscore",
    "What ivoa.obscore has of this table, over the table's own columns",
    (
        *(key for key in _ASSIGN if key.name != "lookup"),
        Key("optional", Many(TEXT), "optional columns of ObsCore to have, or families of them"),
        Key("columns", Dict(COLUMN), "further columns, which only this table has"),
        Key("converted", Flag(), "true: the expressions give ObsCore's own units, and nothing is converted by itself (mirrors have it so)"),
        Key(
            "radio",
            Free("set, text, map: column of ivoa.obscore_radio: value"),
            "set, text, map: what ivoa.obscore_radio has of this table",
        ),
    ),
    empty=True,
)


class Observations:
    """``obscore:`` as it is written for editors; as it is read, it has become a table of the standard."""

    def read(self, value: Any, what: str, faults: Faults) -> Any:
        """Read that table."""
        return TABLE.read(value, what, faults) if isinstance(value, Entries) else None

    def json(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """Say what is written."""
        return OBSCORE.json(definitions)


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
        Key("group_by", Many(TEXT), "source columns, 'let' names or expressions: rows in which these are alike become one; other values stand in aggregates, or are one in each group"),
        Key("for_each", Many(TEXT), "array columns of the source, in step: each element becomes a row; each.index is its number"),
        Key("rules", Dict(RULE), "what rows must meet, beyond types, nulls, bounds and the standard's rules"),
        Key("simulated", CONDITION, "condition, as in `map`, on the rows that are computed and not observed; a column data_source says of each row which it is: theory, observation. Where all are: type: [Simulation]"),
        Key("flags", FLAGS, "column whose bits say which rules a row breaks: quality_flags; with 'by', such rows are counted by instrument, year ..."),
        Key("links", Many(LINK), "DataLink rows; they are checked, and not served yet"),
        Key("sync", SYNC, "how changes of the source are followed"),
        Key("primary", Many(TEXT), "columns of the primary key"),
        Key("keys", Dict(FOREIGN), "foreign keys: name: target"),
        Key("indexes", Many(Many(TEXT)), "columns that are searched together: [[target, time]]; one alone is marked 'indexed'"),
        Key("partition", PARTITION, "how a big table is cut into pieces: {by: time, column: t, every: 1 month}, {by: healpix, order: 2}"),
        Key("position", Many(TEXT), "[longitude, latitude]: columns of the position index; default: by UCD"),
        Key("groups", Dict(GROUP), "columns that belong together: value, error, origin ..."),
        Key("params", Dict(PARAM), "what holds for all rows: name: value; results carry it, groups may name it"),
        Key("enums", Dict(Dict(Text(any=True))), "named lists of codes and what they mean"),
        Key("frames", Dict(FRAME), "coordinate and time systems that columns refer to"),
        Key("access", Choice(("public", "private")), "private: invisible until somebody is granted it"),
        Key("index", Number(whole=True), "place among the tables in lists"),
        Key("variants", Free("in a standard: frame -> what it changes"), "in a standard: value of 'frame' -> what it changes"),
        Key("obscore", Observations(), "the table's rows are observations in ivoa.obscore: its columns as expressions over this table's; {} if all follows from its standard"),
        Key("obscore_radio", Observations(), "made from the 'radio' of 'obscore'"),
        Key("vocabularies", Dict(VOCABULARY), "words for rules with 'check: words'"),
        Key("default", Dict(EXPRESSION, expressions=True), "expressions for columns that nothing else gives a value: no setting, and no column of the source"),
        Key("families", Dict(Many(TEXT)), "in a standard: names for several optional columns, for 'optional'"),
        Key("together", Many(Many(TEXT)), "in a standard: optional columns of which a table has all or none"),
        Key("called", TEXT, "in a standard: the name that its table must have"),
        Key("converted", Flag(), "under 'obscore': its expressions give ObsCore's own units"),
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
            Free("column: value of the first row, or a list: the values of all rows; rows: how many; minimum, maximum: of the first value"),
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

FILE = Record(
    "file",
    "Files that are published as they are: a row of the table `files`, and an address, for each",
    (
        Key("files", Many(TEXT), "file or files, relative to the descriptor: *, ?, [abc], ** are patterns", required=True),
        Key("ignore", Many(TEXT), "patterns of files to leave out"),
        Key("title", TEXT, "what each of them is; default: its name"),
        Key("description", TEXT, "what is in them"),
        Key("type", TEXT, "media type; default: by the name's ending"),
    ),
    short="files",
    hints={"file": "files", "name": "title", "media_type": "type", "mime": "type"},
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
        Key("files", Many(FILE), "files that are published as they are, with or without tables: the table `files`, with sizes and checksums, and an address for each"),
        Key("for", Many(COLLECTION_LOOP), "loops that make similar tables"),
        Key("services", Many(TEXT), "faces that answer for its tables, and no others: tap, cone, portal, files, epn-tap, obscore (these two with tap); each must have a table that it is for; default: all that apply"),
        Key("sync", SCHEDULE, "how often it follows its sources by itself: {every: 1 h}"),
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
        Key("type", Many(TEXT), "Catalog, Survey, Archive, Simulation ...; Simulation marks the rows as computed, on pages and in results"),
        Key("created", Text(any=True), "date of creation: 2026-11-20"),
        Key("engine", TEXT, "where its rows are kept: duckdb (embedded), postgres; default: what hven.toml says"),
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
    FLAGS,
    VOCABULARY,
    LINK,
    SYNC,
    GUARD,
    SCHEDULE,
    FOREIGN,
    GROUP,
    FRAME,
    PARTITION,
    OBSCORE,
    _LOOP_TABLE,
    FUNCTIONS,
    TEST,
    EXAMPLE,
    COLLECTION_LOOP,
    FILE,
)
