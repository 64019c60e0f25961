"""Publish tables of an operational PostgreSQL database without copying them.

Such a table is not ingested: queries go to it (`hven.plugins.postgres.live.engine`). This module reads the catalogue of
the database, without reading a row: columns and how each type is served, keys, indexes, an estimate of the number of
rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hven.model import plugins
from hven.model.errors import SourceError, StorageUnavailableError, UsageError, find_close_match
from hven.model.table import Column
from hven.model.types import BOOLEAN, FLOAT64, INT32, INT64, STRING, TIMESTAMP, ColumnType, parse_type
from hven.sources import (
    AvailableTable,
    DatabaseForeignKey,
    DatabaseSignature,
    DatabaseTableFacts,
    InputVersion,
    Source,
    SourceContext,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

CONNECT_TIMEOUT_SECONDS = 5
_NAME_PART_PATTERN = re.compile(r'"(?:[^"]|"")+"|[^.]+')  # of a table's name: a dot inside quotes separates nothing
_SQLALCHEMY_DRIVER_PATTERN = re.compile(r"^postgres(ql)?\+\w+://")  # SQLAlchemy names its driver in the address
_KEYWORD_ADDRESS_PATTERN = re.compile(
    r"(?!(?:odbc:)?\s*(?:driver|dsn|filedsn)\s*=)(?!.*://).*=", re.IGNORECASE | re.DOTALL
)
_PASSWORD_PATTERN = re.compile(r"^[a-z]+://[^/@]*:[^/@]*@|\bpassword\s*=", re.IGNORECASE)


class Options(BaseModel):
    """What a descriptor may state about a table that is read in place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        min_length=1,
        description=(
            "The address of the database. Write either `$NAME`, where the secret NAME contains "
            "`postgresql://user:password@host/database`, or the address itself, without a password."
        ),
        examples=["$OPS_DB"],
    )
    table: str = Field(
        min_length=1,
        description=(
            "The table or view, with its schema if necessary. Write the names exactly as in the database. Put a name "
            "that contains a dot in double quotes."
        ),
        examples=["public.cubes"],
    )
    seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description=(
            "Time limit for each statement in the database, in seconds. This limit does not depend on the site's "
            "limits on queries."
        ),
        examples=[30],
    )

    @field_validator("url")
    @classmethod
    def _check_password(cls, value: str) -> str:
        if _PASSWORD_PATTERN.search(value):
            message = "put the whole address into a secret, because it contains a password; then write `$NAME` here"
            raise ValueError(message)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPostgresType:
    """How a type of PostgreSQL is served; see `hven.engines.LiveColumn`."""

    type: ColumnType
    value: str = "{0}"
    raw: bool = False
    guard: str = ""


_KIND_NOTES = {  # whether the table is read in place -> what the other kind of source would do
    True: "kind: live reads the table in place at each query; kind: sql copies it at each ingest",
    False: "kind: sql copies the table at each ingest; kind: live publishes it in place (PostgreSQL)",
}
_NULL_IF_NAN_SQL = "nullif({0}, 'NaN')"
_IS_NUMBER_SQL = "{0} <> 'NaN'"
_FLAT_ARRAY_SQL = "CASE WHEN array_ndims({0}) = 1 THEN {0} END"
_TEXT_TYPE = ServedPostgresType(type=STRING, value="CAST({0} AS text)")
SERVED_TYPES: Mapping[str, ServedPostgresType] = {
    "bool": ServedPostgresType(type=BOOLEAN),
    "int2": ServedPostgresType(type=parse_type("int16")),
    "int4": ServedPostgresType(type=INT32),
    "int8": ServedPostgresType(type=INT64),
    "oid": ServedPostgresType(type=INT64, value="CAST({0} AS bigint)"),
    "float4": ServedPostgresType(type=parse_type("float32"), value=_NULL_IF_NAN_SQL, raw=True, guard=_IS_NUMBER_SQL),
    "float8": ServedPostgresType(type=FLOAT64, value=_NULL_IF_NAN_SQL, raw=True, guard=_IS_NUMBER_SQL),
    "numeric": ServedPostgresType(type=FLOAT64, value="CAST(nullif({0}, 'NaN') AS double precision)"),
    "text": ServedPostgresType(type=STRING),
    "varchar": _TEXT_TYPE,
    "bpchar": _TEXT_TYPE,
    "name": _TEXT_TYPE,
    "char": _TEXT_TYPE,
    "citext": _TEXT_TYPE,
    "uuid": _TEXT_TYPE,
    "inet": ServedPostgresType(  # a cast adds the mask, which PostgreSQL omits in the text of a single host
        type=STRING,
        value=(
            "CASE WHEN masklen({0}) = CASE family({0}) WHEN 4 THEN 32 ELSE 128 END THEN host({0}) "
            "ELSE CAST({0} AS text) END"
        ),
    ),
    "cidr": _TEXT_TYPE,
    "macaddr": _TEXT_TYPE,
    "macaddr8": _TEXT_TYPE,
    "time": _TEXT_TYPE,
    "timetz": _TEXT_TYPE,
    "interval": _TEXT_TYPE,
    "date": ServedPostgresType(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN CAST({0} AS timestamp) END", raw=True, guard="isfinite({0})"
    ),
    "timestamp": ServedPostgresType(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN {0} END", raw=True, guard="isfinite({0})"
    ),
    "timestamptz": ServedPostgresType(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN {0} AT TIME ZONE 'UTC' END", raw=True, guard="isfinite({0})"
    ),
    "_int2": ServedPostgresType(type=parse_type("int16[*]"), value=_FLAT_ARRAY_SQL),
    "_int4": ServedPostgresType(type=parse_type("int32[*]"), value=_FLAT_ARRAY_SQL),
    "_int8": ServedPostgresType(type=parse_type("int64[*]"), value=_FLAT_ARRAY_SQL),
    "_float4": ServedPostgresType(type=parse_type("float32[*]"), value=_FLAT_ARRAY_SQL),
    "_float8": ServedPostgresType(type=parse_type("float64[*]"), value=_FLAT_ARRAY_SQL),
    "_numeric": ServedPostgresType(
        type=parse_type("float64[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN CAST({0} AS double precision[]) END"
    ),
}
_REMEDIES_BY_TYPE = {
    "json": "extract its values in a view: CREATE VIEW .. AS SELECT .., (x ->> 'key') AS key",
    "jsonb": "extract its values in a view: CREATE VIEW .. AS SELECT .., (x ->> 'key') AS key",
    "hstore": "extract its values in a view: CREATE VIEW .. AS SELECT .., (x -> 'key') AS key",
    "bytea": "convert it to text in a view: CREATE VIEW .. AS SELECT .., encode(x, 'hex') AS x",
    "spoint": (
        "extract its angles in a view: CREATE VIEW .. AS SELECT .., degrees(long(x)) AS ra, degrees(lat(x)) AS dec"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveColumnInfo:
    """One column of the table, as the database has it; `served_type` is None if its type cannot be served."""

    name: str
    sql_type: str
    base: str
    kind: str
    modifier: int
    served_type: ServedPostgresType | None
    comment: str | None = None
    required: bool = False
    readable: bool = True
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveIndexInfo:
    """A valid index without a condition: its method, and the expressions that it orders."""

    method: str
    keys: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTableInfo:
    """The catalogue's description of a table.

    Attributes
    ----------
    name
        Quoted, as in SQL.
    kind
        ``r`` table, ``p`` partitioned, ``v`` view, ``m`` materialised view, ``f`` foreign.
    rows
        The planner's estimate; None if it has none.
    indexes
        Those of the table, or of the tables below a view.
    extensions
        ``q3c``, ``pgsphere``: those that the database has.
    """

    name: str
    kind: str
    columns: tuple[LiveColumnInfo, ...]
    rows: int | None = None
    comment: str | None = None
    primary: tuple[str, ...] = ()
    foreign: tuple[DatabaseForeignKey, ...] = ()
    indexes: tuple[LiveIndexInfo, ...] = ()
    extensions: tuple[str, ...] = ()
    encoding: str = "UTF8"

    def list_served_columns(self) -> list[LiveColumnInfo]:
        """List the columns that can be served."""
        return [column for column in self.columns if column.served_type is not None and column.readable]

    def explain_omitted_columns(self) -> list[str]:
        """Explain why each other column is not served, and what would help."""
        reasons = []
        for column in self.columns:
            if not column.readable:
                reasons.append(
                    f"this role may not read the column {column.name}; GRANT SELECT ({_quote_name(column.name)}) ON "
                    f"{self.name} TO this role"
                )
            elif column.served_type is None:
                remedy = column.remedy or "cast the column in a view to a type that Hven serves"
                reasons.append(
                    f"the column {column.name} has the type {column.sql_type}, which Hven does not serve; {remedy}"
                )
        return reasons

    def describe_columns(self) -> list[Column]:
        """Describe the columns that can be served."""
        described: list[Column] = []
        for column in self.list_served_columns():
            if column.served_type is None:
                continue
            served_column = Column(
                name=column.name,
                type=column.served_type.type,
                description=column.comment,
                required=column.required,
            )
            described.append(served_column)
        return described


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a table; no request goes to the database before the columns are needed.

    Raises
    ------
    SourceError
        An unknown secret.
    """
    return LiveTableSource(options, context)


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the tables and views that this role may read.

    Raises
    ------
    SourceError
        There is no such database, or no right to look at it.
    """
    source_options = Options.model_validate({"url": options["url"], "table": "-"})
    source = LiveTableSource(source_options, context)
    with source.connect() as connection:
        rows = connection.execute(_TABLES_SQL).fetchall()
    tables: list[AvailableTable] = []
    for schema, name, kind, count in rows:
        table = AvailableTable(
            option_value=_write_qualified_table_option(schema, name),
            row_count=_to_row_count(count, kind),
            is_view=kind in {"v", "m"},
        )
        tables.append(table)
    return tables


def inspect_database_table(kind: str, options: Mapping[str, Any], context: SourceContext) -> DatabaseTableFacts | None:
    """Inspect a table of PostgreSQL, which `kind` reads; return None if the database is another one.

    Raises
    ------
    UsageError
        It is to be read in place, and is no PostgreSQL database.
    SourceError, StorageUnavailableError
        It cannot be looked at.
    """
    is_live = kind == "live"
    address = str(options["url"])
    try:
        if address.startswith("$") and context.resolve_secret is not None:
            address = context.resolve_secret(address)
    except SourceError:
        if is_live:
            raise
        return None
    is_postgres_url = address.startswith(("postgresql://", "postgres://", "postgresql+"))
    if not is_postgres_url and not _KEYWORD_ADDRESS_PATTERN.match(address):
        if is_live:
            raise UsageError(
                "only PostgreSQL tables can be read in place", remedy="leave out --live; then Hven copies the rows"
            )
        return None
    table_options = {"url": options["url"], "table": options["table"]}
    table_info = LiveTableSource(Options.model_validate(table_options), context).inspect_table()
    return DatabaseTableFacts(
        columns=tuple(table_info.describe_columns()),
        comment=table_info.comment,
        primary_key=table_info.primary,
        foreign_keys=table_info.foreign,
        omitted_column_reasons=tuple(table_info.explain_omitted_columns()),
        kind_note=_KIND_NOTES[is_live],
    )


def _to_row_count(estimate: float, kind: str) -> int | None:
    """Return the planner's estimate of the rows; None where it has none."""
    if estimate < 0 or kind not in {"r", "p", "m"}:
        return None
    return int(estimate)


class LiveTableSource:
    """A table that is read in place."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        plugins.require_modules("a table of PostgreSQL", "psycopg", error_class=SourceError)
        self.options = options
        self._url = options.url
        if self._url.startswith("$"):
            if context.resolve_secret is None:
                raise SourceError(
                    f"the secret {self._url} cannot be read here", remedy="set the secret, and run `hven check`"
                )
            self._url = context.resolve_secret(self._url)
        self._url = _SQLALCHEMY_DRIVER_PATTERN.sub("postgresql://", self._url)
        self._table_info: LiveTableInfo | None = None

    def list_columns(self) -> list[Column]:
        """List the columns that can be served."""
        return self.inspect_table().describe_columns()

    def read_batches(
        self,
        column_names: Sequence[str] | None = None,  # noqa: ARG002  (the contract's signature)
        row_limit: int | None = None,  # noqa: ARG002  (the contract's signature)
    ) -> Iterator[pa.RecordBatch]:
        """Refuse: rows of such a table are never copied."""
        raise SourceError(
            f"Hven reads {self.options.table} in place, so there is nothing to ingest",
            remedy="write `kind: sql` to copy the table's rows in each ingest",
        )

    def list_input_versions(self) -> list[InputVersion]:
        """Name the table."""
        name = "database"
        if self.options.url.startswith("$"):
            name = self.options.url
        return [InputVersion(name=name, detail=self.options.table)]

    def estimate_progress_total(self) -> int | None:
        """Return the planner's estimate of the rows."""
        return self.inspect_table().rows

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the table's comment as a description."""
        return None, self.inspect_table().comment

    def inspect_table(self) -> LiveTableInfo:
        """Inspect the table in the catalogue of the database, once for each source.

        Raises
        ------
        SourceError
            No such table, or this role may not read it.
        StorageUnavailableError
            The database does not respond.
        """
        if self._table_info is None:
            with self.connect() as connection:
                try:
                    self._table_info = _inspect_table(connection, self.options.table)
                except SourceError:
                    raise
                except Exception as error:
                    raise self._translate_error(error) from error
        return self._table_info

    def connect(self) -> Any:
        """Connect for an inspection: nothing can be written, statements are short, no transaction stays open."""
        import psycopg  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        options = "-c default_transaction_read_only=on -c statement_timeout=10000 -c lock_timeout=2000"
        try:
            return psycopg.connect(
                self._url,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                autocommit=True,
                options=options,
                application_name="hven look",
                client_encoding="utf8",
            )
        except (psycopg.Error, ValueError) as error:
            raise self._translate_error(error) from error

    def _translate_error(self, error: Exception) -> SourceError | StorageUnavailableError:
        import psycopg  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        text = _redact_url(str(error), self._url)
        state = None
        if isinstance(error, psycopg.Error):
            state = error.sqlstate
        if state == "42501":
            return SourceError(
                f"{self.options.table}: {text}",
                remedy="grant USAGE on the schema and SELECT on the table to the role in the url",
            )
        if state in {"28P01", "28000"} or "authentication failed" in text or "no password supplied" in text:
            return SourceError(
                f"the database rejects this user: {text}",
                remedy="check the user and the password in the url or its secret",
            )
        if state == "3D000" or ("database" in text and "does not exist" in text):
            return SourceError(f"the database does not exist: {text}", remedy="check the url or its secret")
        if isinstance(error, psycopg.OperationalError):
            return StorageUnavailableError(
                f"the database of {self.options.table} does not respond: {text}",
                remedy="wait until the database responds; then Hven serves its tables again",
            )
        return SourceError(f"{self.options.table}: {text}", remedy="check the url and the name of the table")


# --- the catalogue of the database -----------------------------------------------------------------------------

_TABLES_SQL = (
    "SELECT n.nspname, c.relname, c.relkind::text, c.reltuples::bigint"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    " AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
    " AND NOT c.relispartition AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2"
)
_TABLE_SQL = (
    "SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.reltuples::bigint, obj_description(c.oid, 'pg_class'),"
    " has_schema_privilege(n.oid, 'USAGE'),"
    " has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)"
)
_COLUMNS_SQL = (
    "WITH RECURSIVE down(number, type, modifier) AS (SELECT attnum, atttypid, atttypmod FROM pg_attribute"
    "  WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped"
    " UNION ALL SELECT d.number, t.typbasetype, t.typtypmod"
    " FROM down d JOIN pg_type t ON t.oid = d.type WHERE t.typtype = 'd')"
    " SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname, t.typtype::text, d.modifier, a.attnotnull,"
    " col_description(a.attrelid, a.attnum), has_column_privilege(a.attrelid, a.attnum, 'SELECT')"
    " FROM down d JOIN pg_type t ON t.oid = d.type AND t.typtype <> 'd'"
    " JOIN pg_attribute a ON a.attrelid = %(oid)s AND a.attnum = d.number"
    " ORDER BY a.attnum"
)
_INDEXES_SQL = (
    "SELECT m.amname, i.indisunique,"
    " ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) k)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
    " WHERE i.indisvalid AND i.indpred IS NULL"
    " AND (i.indrelid = %(oid)s OR i.indrelid IN (SELECT d.refobjid FROM pg_rewrite r"
    "  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid"
    " AND d.refclassid = 'pg_class'::regclass"
    "  WHERE r.ev_class = %(oid)s AND r.ev_class <> d.refobjid)) ORDER BY c.relname"
)
_KEYS_SQL = (
    "SELECT o.conname, o.contype::text, f.nspname, r.relname,"
    " ARRAY(SELECT attname::text FROM unnest(o.conkey) WITH ORDINALITY k(n, p)"
    " JOIN pg_attribute ON attrelid = o.conrelid AND attnum = n ORDER BY p),"
    " ARRAY(SELECT attname::text FROM unnest(o.confkey) WITH ORDINALITY k(n, p)"
    " JOIN pg_attribute ON attrelid = o.confrelid AND attnum = n ORDER BY p)"
    " FROM pg_constraint o LEFT JOIN pg_class r ON r.oid = o.confrelid"
    " LEFT JOIN pg_namespace f ON f.oid = r.relnamespace"
    " WHERE o.conrelid = %(oid)s AND o.contype IN ('p', 'f') ORDER BY 1"
)
_EXTENSIONS_SQL = (
    "SELECT DISTINCT CASE proname WHEN 'scircle' THEN 'pgsphere' ELSE 'q3c' END FROM pg_proc WHERE proname IN "
    "('scircle', 'q3c_radial_query')"
)


def _inspect_table(connection: Any, table: str) -> LiveTableInfo:
    name = _quote_table_name(table)
    table_row = connection.execute(_TABLE_SQL, (name,)).fetchone()
    if table_row is None:
        raise _build_missing_table_error(connection, table)
    oid, schema, relation, kind, rows, comment, may_use_schema, may_select = table_row
    qualified_name = f"{_quote_name(schema)}.{_quote_name(relation)}"
    if not may_use_schema or not may_select:
        if not may_use_schema:
            privilege = f"USAGE ON SCHEMA {_quote_name(schema)}"
        else:
            privilege = f"SELECT ON {qualified_name}"
        raise SourceError(
            f"the role {connection.info.user} is not allowed to read {table}",
            remedy=f"as the owner of the table, run `GRANT {privilege} TO {_quote_name(connection.info.user)}`",
        )
    if kind not in {"r", "p", "v", "m", "f"}:
        raise SourceError(f"{table} is neither a table nor a view")
    table_id = {"oid": oid}
    column_rows = connection.execute(_COLUMNS_SQL, table_id).fetchall()
    columns = [_build_column_info(dict(zip(_COLUMN_FACTS, row, strict=True))) for row in column_rows]
    index_rows = connection.execute(_INDEXES_SQL, table_id).fetchall()
    indexes = [LiveIndexInfo(method=method, unique=unique, keys=tuple(keys)) for method, unique, keys in index_rows]
    primary: tuple[str, ...] = ()
    foreign: list[DatabaseForeignKey] = []
    key_rows = connection.execute(_KEYS_SQL, table_id).fetchall()
    for key, key_type, target_schema, target, own_columns, target_columns in key_rows:
        if key_type == "p":
            primary = tuple(own_columns)
            continue
        foreign_key = DatabaseForeignKey(
            name=key,
            columns=tuple(own_columns),
            target=f"{target_schema}.{target}",
            target_columns=tuple(target_columns),
        )
        foreign.append(foreign_key)
    extension_rows = connection.execute(_EXTENSIONS_SQL).fetchall()
    encoding = connection.info.parameter_status("server_encoding") or "UTF8"
    return LiveTableInfo(
        name=qualified_name,
        kind=kind,
        columns=tuple(columns),
        rows=_to_row_count(rows, kind),
        comment=comment,
        primary=primary,
        foreign=tuple(foreign),
        indexes=tuple(indexes),
        extensions=tuple(sorted(row[0] for row in extension_rows)),
        encoding=str(encoding),
    )


# facts of a column, in the order of `_COLUMNS_SQL`
_COLUMN_FACTS = ("name", "sql_type", "base", "kind", "modifier", "required", "comment", "readable")


def _build_column_info(facts: Mapping[str, Any]) -> LiveColumnInfo:
    """Build the description of a column from its `_COLUMN_FACTS`."""
    base = facts["base"]
    modifier = facts["modifier"]
    served_type = SERVED_TYPES.get(base)
    if facts["kind"] == "e":
        served_type = _TEXT_TYPE
    if base == "numeric" and modifier >= 4:
        digits = (modifier - 4) >> 16 & 0xFFFF
        scale = (modifier - 4) & 0x7FF
        if scale == 0 and digits <= 18:
            served_type = ServedPostgresType(type=INT64, value="CAST(nullif({0}, 'NaN') AS bigint)")
    return LiveColumnInfo(
        name=facts["name"],
        sql_type=facts["sql_type"],
        base=base,
        kind=facts["kind"],
        modifier=modifier,
        served_type=served_type,
        comment=facts["comment"] or None,
        required=facts["required"],
        readable=facts["readable"],
        remedy=_REMEDIES_BY_TYPE.get(base, ""),
    )


def table_info_from_json(document: Mapping[str, Any]) -> LiveTableInfo | None:
    """Read the JSON text of an earlier inspection; None if it is of another version."""
    try:
        columns = [_build_column_info(item) for item in document["columns"]]
        foreign = [_foreign_key_from_json(item) for item in document["foreign"]]
        indexes = [
            LiveIndexInfo(method=item["method"], unique=item["unique"], keys=tuple(item["keys"]))
            for item in document["indexes"]
        ]
        plain_facts = {key: document[key] for key in ("name", "kind", "rows", "comment", "encoding")}
        return LiveTableInfo(
            **plain_facts,
            columns=tuple(columns),
            primary=tuple(document["primary"]),
            foreign=tuple(foreign),
            indexes=tuple(indexes),
            extensions=tuple(document["extensions"]),
        )
    except (KeyError, TypeError):
        return None


def _foreign_key_from_json(document: Mapping[str, Any]) -> DatabaseForeignKey:
    return DatabaseForeignKey(
        name=document["name"],
        columns=tuple(document["columns"]),
        target=document["target"],
        target_columns=tuple(document["target_columns"]),
    )


def _build_missing_table_error(connection: Any, table: str) -> SourceError:
    rows = connection.execute(_TABLES_SQL).fetchall()
    qualified_by_spelling = {
        _write_qualified_table_option(schema, name): f"{schema}.{name}" for schema, name, _, _ in rows
    }
    spelling_by_short_name = {spelling.rpartition(".")[2]: spelling for spelling in qualified_by_spelling}
    close_match = find_close_match(table, qualified_by_spelling, 0.8)
    if not close_match:
        short_match = find_close_match(table.rpartition(".")[2], spelling_by_short_name, 0.7)
        close_match = spelling_by_short_name.get(short_match or "")
    if close_match:
        hint = f"did you mean {close_match!r}?"
    else:
        hint = f"this role may read: {', '.join(list(qualified_by_spelling)[:12]) or 'nothing'}"
    return SourceError(f"the database has no table {table} that this role can see", remedy=hint)


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quote_table_name(table: str) -> str:
    """Quote the parts of a table's name that are not quoted yet."""
    parts: list[str] = []
    for part in _NAME_PART_PATTERN.findall(table):
        if part.startswith('"'):
            parts.append(part)
        else:
            parts.append(_quote_name(part))
    return ".".join(parts)


def _write_qualified_table_option(schema: str, name: str) -> str:
    """Write a name as the option `table` takes it: a part with a dot is quoted."""
    parts = [schema, name]
    return ".".join(_quote_name(part) if "." in part else part for part in parts)


def _redact_url(text: str, url: str) -> str:
    """Redact the address and its password in a driver's message."""
    parts = urlsplit(url)
    for secret in (url, parts.password):
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())


# --- uses of indexes -------------------------------------------------------------------------------------------

_SQL_NOISE_PATTERN = re.compile(r"::[a-z ]+(?:\[\])?|[\s\"]|\b[a-z_]\w*\.(?=q3c_|spoint|radians)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingIndexHint:
    """A condition that no index of the source serves, and the statement that would create one."""

    message: str
    remedy: str


def find_cone_search_index(table_info: LiveTableInfo, lon_column: str, lat_column: str) -> str:
    """Find the index that serves cones on two columns.

    Return ``q3c``, ``pgsphere``, ``latitude`` (a B-tree that begins with it), or an empty text.
    """
    index_expressions = {
        "q3c": f"q3c_ang2ipix({lon_column},{lat_column})",
        "pgsphere": f"spoint(radians({lon_column}),radians({lat_column}))",
    }
    for kind, text in index_expressions.items():
        if kind not in table_info.extensions:
            continue
        for index in table_info.indexes:
            if _normalize_index_expression(index.keys[0]) == _normalize_index_expression(text):
                return kind
    if _has_leading_index(table_info, lat_column):
        return "latitude"
    return ""


def list_missing_index_hints(
    table_info: LiveTableInfo, position_columns: tuple[str, str] | None, uses_by_column: Mapping[str, str]
) -> list[MissingIndexHint]:
    """List the frequent conditions that no index serves.

    Parameters
    ----------
    position_columns
        The columns of longitude and latitude of the source, if they are plain ones.
    uses_by_column
        Column of the source -> what it is to users: ``the key``, ``the column``.
    """
    if table_info.kind in {"v", "f"}:
        return []
    hints_found = []
    table = table_info.name
    if position_columns is not None and not find_cone_search_index(table_info, *position_columns):
        lon, lat = (_quote_name(name) for name in position_columns)
        if "q3c" in table_info.extensions:
            remedy = f"CREATE INDEX CONCURRENTLY ON {table} (q3c_ang2ipix({lon}, {lat})); then ANALYZE {table}"
        elif "pgsphere" in table_info.extensions:
            remedy = (
                f"CREATE INDEX CONCURRENTLY ON {table} USING gist (spoint(radians({lon}), radians({lat}))); then "
                f"ANALYZE {table}"
            )
        else:
            remedy = (
                f"CREATE INDEX CONCURRENTLY ON {table} ({lat}, {lon}); with the extension q3c or pgSphere, "
                "searches can be even faster"
            )
        hints_found.append(
            MissingIndexHint(message=f"no index supports cone searches on {', '.join(position_columns)}", remedy=remedy)
        )
    for column, use in uses_by_column.items():
        if not _has_leading_index(table_info, column):
            remedy = f"CREATE INDEX CONCURRENTLY ON {table} ({_quote_name(column)})"
            hints_found.append(MissingIndexHint(message=f"no index supports searches by {use} {column}", remedy=remedy))
    return hints_found


def _has_leading_index(table_info: LiveTableInfo, column: str) -> bool:
    name = _normalize_index_expression(column)
    ordered_indexes = [index for index in table_info.indexes if index.method in {"btree", "brin", "hash"}]
    return any(_normalize_index_expression(index.keys[0]) == name for index in ordered_indexes)


def _normalize_index_expression(text: str) -> str:
    """Strip casts, quotes, spaces and parentheses around a whole name, so that definitions can be compared."""
    text = _SQL_NOISE_PATTERN.sub("", text)
    while True:
        short = re.sub(r"([(,])\((\w+)\)", r"\1\2", text)
        short = re.sub(r"^\((\w+)\)$", r"\1", short)
        if short == text:
            return text
        text = short


DATABASE = DatabaseSignature(inspect_table=inspect_database_table, copying_kind="sql")
