"""Tables of an operational PostgreSQL database that are published in place.

What is there, looked at without reading a row.

Such a table is not ingested: queries go to it (`hven.engines.postgres.live_engine`). Here is what the catalogue of the
database says: columns and how each type is served, keys, indexes, an estimate of the number of rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hven.model import plugins
from hven.model.errors import SourceError, StorageUnavailableError, find_close_match
from hven.model.table import Column
from hven.model.types import BOOLEAN, FLOAT64, INT32, INT64, STRING, TIMESTAMP, Type, parse_type
from hven.sources import AvailableTable, InputVersion, Source, SourceContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

CONNECT_TIMEOUT_SECONDS = 5  # seconds
_NAME_PART_PATTERN = re.compile(r'"(?:[^"]|"")+"|[^.]+')  # of a table's name: a dot inside quotes separates nothing
_SQLALCHEMY_DRIVER_PATTERN = re.compile(r"^postgres(ql)?\+\w+://")  # SQLAlchemy names its driver in the address
_PASSWORD_PATTERN = re.compile(r"^[a-z]+://[^/@]*:[^/@]*@|\bpassword\s*=", re.IGNORECASE)


class Options(BaseModel):
    """What a descriptor may say of a table that is read in place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        min_length=1,
        description="`$NAME` of a secret that holds postgresql://user:password@host/database; or that, without a password.",
    )
    table: str = Field(min_length=1, description="The table or view, with its schema if need be: public.cubes.")
    seconds: float = Field(
        60.0, gt=0, le=3600, description="Time limit of one statement there, whatever limits queries have here."
    )

    @field_validator("url")
    @classmethod
    def _check_password(cls, value: str) -> str:
        if _PASSWORD_PATTERN.search(value):
            raise ValueError("a password belongs into a secret: write $NAME here")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedType:
    """How a type of PostgreSQL is served; see `hven.engines.LiveColumn`."""

    type: Type
    value: str = "{0}"
    raw: bool = False
    guard: str = ""


_NULL_IF_NAN_SQL, _IS_NUMBER_SQL = "nullif({0}, 'NaN')", "{0} <> 'NaN'"
_TEXT_TYPE = ServedType(type=STRING, value="CAST({0} AS text)")
SERVED_TYPES: Mapping[str, ServedType] = {
    "bool": ServedType(type=BOOLEAN),
    "int2": ServedType(type=parse_type("int16")),
    "int4": ServedType(type=INT32),
    "int8": ServedType(type=INT64),
    "oid": ServedType(type=INT64, value="CAST({0} AS bigint)"),
    "float4": ServedType(type=parse_type("float32"), value=_NULL_IF_NAN_SQL, raw=True, guard=_IS_NUMBER_SQL),
    "float8": ServedType(type=FLOAT64, value=_NULL_IF_NAN_SQL, raw=True, guard=_IS_NUMBER_SQL),
    "numeric": ServedType(type=FLOAT64, value="CAST(nullif({0}, 'NaN') AS double precision)"),
    "text": ServedType(type=STRING),
    "varchar": _TEXT_TYPE,
    "bpchar": _TEXT_TYPE,
    "name": _TEXT_TYPE,
    "char": _TEXT_TYPE,
    "citext": _TEXT_TYPE,
    "uuid": _TEXT_TYPE,
    "inet": _TEXT_TYPE,
    "cidr": _TEXT_TYPE,
    "macaddr": _TEXT_TYPE,
    "macaddr8": _TEXT_TYPE,
    "time": _TEXT_TYPE,
    "timetz": _TEXT_TYPE,
    "interval": _TEXT_TYPE,
    "date": ServedType(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN CAST({0} AS timestamp) END", raw=True, guard="isfinite({0})"
    ),
    "timestamp": ServedType(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN {0} END", raw=True, guard="isfinite({0})"
    ),
    "timestamptz": ServedType(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN {0} AT TIME ZONE 'UTC' END", raw=True, guard="isfinite({0})"
    ),
    "_int2": ServedType(type=parse_type("int16[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_int4": ServedType(type=parse_type("int32[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_int8": ServedType(type=parse_type("int64[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_float4": ServedType(type=parse_type("float32[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_float8": ServedType(type=parse_type("float64[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_numeric": ServedType(
        type=parse_type("float64[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN CAST({0} AS double precision[]) END"
    ),
}
_REMEDIES_BY_TYPE = {
    "json": "a view can take values out of it: CREATE VIEW .. AS SELECT .., (x ->> 'key') AS key",
    "jsonb": "a view can take values out of it: CREATE VIEW .. AS SELECT .., (x ->> 'key') AS key",
    "hstore": "a view can take values out of it: CREATE VIEW .. AS SELECT .., (x -> 'key') AS key",
    "bytea": "a view can show it as text: CREATE VIEW .. AS SELECT .., encode(x, 'hex') AS x",
    "spoint": "a view can give its angles: CREATE VIEW .. AS SELECT .., degrees(long(x)) AS ra, degrees(lat(x)) AS dec",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveColumnInfo:
    """One column of the table, as the database has it; `served_type` is None if its type cannot be served."""

    name: str
    sql_type: str
    base: str
    kind: str
    modifier: int
    served_type: ServedType | None
    comment: str | None = None
    required: bool = False
    readable: bool = True
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """A valid index without a condition: its method and what it orders, in order."""

    method: str
    keys: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveForeignKey:
    """A key that leads to another table of the database."""

    name: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTableInfo:
    """What the database says of a table.

    Attributes
    ----------
    name
        As SQL, quoted.
    kind
        ``r`` table, ``p`` partitioned, ``v`` view, ``m`` materialised view, ``f`` foreign.
    rows
        The planner's estimate; None if it has none.
    indexes
        Of a view: those of the tables below it.
    extensions
        ``q3c``, ``pgsphere``: those that the database has.
    """

    name: str
    kind: str
    columns: tuple[LiveColumnInfo, ...]
    rows: int | None = None
    comment: str | None = None
    primary: tuple[str, ...] = ()
    foreign: tuple[LiveForeignKey, ...] = ()
    indexes: tuple[IndexInfo, ...] = ()
    extensions: tuple[str, ...] = ()
    encoding: str = "UTF8"

    def list_served_columns(self) -> list[LiveColumnInfo]:
        """List the columns that can be served."""
        return [column for column in self.columns if column.served_type is not None and column.readable]

    def list_omissions(self) -> list[str]:
        """Explain why each other column is not served, and what would help."""
        reasons = []
        for column in self.columns:
            if not column.readable:
                reasons.append(
                    f"the column {column.name} may not be read by this role; GRANT SELECT "
                    f"({_quote_name(column.name)}) ON {self.name} TO it"
                )
            elif column.served_type is None:
                remedy = column.remedy or "a view can cast it to a type that is"
                reasons.append(
                    f"the column {column.name} is of the type {column.sql_type}, which is not served; {remedy}"
                )
        return reasons

    def describe_columns(self) -> list[Column]:
        """Describe the columns that can be served."""
        return [
            Column(name=column.name, type=column.served_type.type, description=column.comment, required=column.required)
            for column in self.list_served_columns()
            if column.served_type is not None
        ]


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a table; the database is asked when the columns are.

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
        No such database, no right to look.
    """
    source = LiveTableSource(Options.model_validate({"url": options["url"], "table": "-"}), context)
    with source.connect() as connection:
        rows = connection.execute(_TABLES_SQL).fetchall()
    return [
        AvailableTable(
            option_value=_write_table_option(schema, name),
            row_count=count if count >= 0 and kind in {"r", "p", "m"} else None,
            is_view=kind in {"v", "m"},
        )
        for schema, name, kind, count in rows
    ]


class LiveTableSource:
    """A table that is read in place."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        plugins.require_modules("a table of PostgreSQL", "psycopg", error_class=SourceError)
        self.options = options
        self._url = options.url
        if self._url.startswith("$"):
            if context.resolve_secret is None:
                raise SourceError(
                    f"the secret {self._url} can't be resolved here", remedy="set it, and look with `hven check`"
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
            f"{self.options.table} is read in place: there is nothing to ingest",
            remedy="say `kind: sql` to copy its rows at each ingest",
        )

    def list_input_versions(self) -> list[InputVersion]:
        """Name the table."""
        return [
            InputVersion(
                name=self.options.url if self.options.url.startswith("$") else "database", detail=self.options.table
            )
        ]

    def estimate_size(self) -> int | None:
        """Return the planner's estimate of the rows."""
        return self.inspect_table().rows

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the table's comment as a description."""
        return None, self.inspect_table().comment

    def inspect_table(self) -> LiveTableInfo:
        """Ask the database what the table is; once for each source.

        Raises
        ------
        SourceError
            No such table, or this role may not read it.
        StorageUnavailableError
            The database does not answer.
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
        """Connect for a look: nothing can be written, no statement is long, no transaction stays open."""
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
        if isinstance(error, psycopg.Error):
            state = error.sqlstate
        else:
            state = None
        if state == "42501":
            return SourceError(
                f"{self.options.table}: {text}",
                remedy="GRANT USAGE ON SCHEMA and SELECT ON the table to the role of this url",
            )
        if state in {"28P01", "28000"} or "authentication failed" in text or "no password supplied" in text:
            return SourceError(
                f"the database refuses this user: {text}", remedy="look at user and password of the url or its secret"
            )
        if state == "3D000" or ("database" in text and "does not exist" in text):
            return SourceError(f"the database is not there: {text}", remedy="look at the url or its secret")
        if isinstance(error, psycopg.OperationalError):
            return StorageUnavailableError(
                f"the database of {self.options.table} does not answer: {text}",
                remedy="its tables are served again when it does",
            )
        return SourceError(f"{self.options.table}: {text}", remedy="look at the url and the name of the table")


# --- what the catalogue says -----------------------------------------------------------------------------------

_TABLES_SQL = (
    "SELECT n.nspname, c.relname, c.relkind::text, c.reltuples::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
    " AND NOT c.relispartition AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2"
)
_TABLE_SQL = (
    "SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.reltuples::bigint, obj_description(c.oid, 'pg_class'),"
    " has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)"
)
_COLUMNS_SQL = (
    "WITH RECURSIVE down(number, type, modifier) AS (SELECT attnum, atttypid, atttypmod FROM pg_attribute"
    "  WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped"
    " UNION ALL SELECT d.number, t.typbasetype, t.typtypmod FROM down d JOIN pg_type t ON t.oid = d.type WHERE t.typtype = 'd')"
    " SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname, t.typtype::text, d.modifier, a.attnotnull,"
    " col_description(a.attrelid, a.attnum), has_column_privilege(a.attrelid, a.attnum, 'SELECT')"
    " FROM down d JOIN pg_type t ON t.oid = d.type AND t.typtype <> 'd' JOIN pg_attribute a ON a.attrelid = %(oid)s AND a.attnum = d.number"
    " ORDER BY a.attnum"
)
_INDEXES_SQL = (
    "SELECT m.amname, i.indisunique, ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) k)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
    " WHERE i.indisvalid AND i.indpred IS NULL AND (i.indrelid = %(oid)s OR i.indrelid IN (SELECT d.refobjid FROM pg_rewrite r"
    "  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass"
    "  WHERE r.ev_class = %(oid)s AND r.ev_class <> d.refobjid)) ORDER BY c.relname"
)
_KEYS_SQL = (
    "SELECT o.conname, o.contype::text, f.nspname, r.relname,"
    " ARRAY(SELECT attname::text FROM unnest(o.conkey) WITH ORDINALITY k(n, p) JOIN pg_attribute ON attrelid = o.conrelid AND attnum = n ORDER BY p),"
    " ARRAY(SELECT attname::text FROM unnest(o.confkey) WITH ORDINALITY k(n, p) JOIN pg_attribute ON attrelid = o.confrelid AND attnum = n ORDER BY p)"
    " FROM pg_constraint o LEFT JOIN pg_class r ON r.oid = o.confrelid LEFT JOIN pg_namespace f ON f.oid = r.relnamespace"
    " WHERE o.conrelid = %(oid)s AND o.contype IN ('p', 'f') ORDER BY 1"
)
_EXTENSIONS_SQL = (
    "SELECT DISTINCT CASE proname WHEN 'scircle' THEN 'pgsphere' ELSE 'q3c' END FROM pg_proc WHERE proname IN "
    "('scircle', 'q3c_radial_query')"
)


def _inspect_table(connection: Any, table: str) -> LiveTableInfo:
    name = ".".join(part if part.startswith('"') else _quote_name(part) for part in _NAME_PART_PATTERN.findall(table))
    table_row = connection.execute(_TABLE_SQL, (name,)).fetchone()
    if table_row is None:
        raise _build_missing_table_error(connection, table)
    oid, schema, relation, kind, rows, comment, may_use_schema, may_select = table_row
    qualified_name = f"{_quote_name(schema)}.{_quote_name(relation)}"
    if not may_use_schema or not may_select:
        if not may_use_schema:
            key_type = f"USAGE ON SCHEMA {_quote_name(schema)}"
        else:
            key_type = f"SELECT ON {qualified_name}"
        raise SourceError(
            f"the role {connection.info.user} may not read {table}",
            remedy=f"as its owner: GRANT {key_type} TO {_quote_name(connection.info.user)}",
        )
    if kind not in {"r", "p", "v", "m", "f"}:
        raise SourceError(f"{table} is no table and no view")
    columns = tuple(_build_column_info(*row) for row in connection.execute(_COLUMNS_SQL, {"oid": oid}).fetchall())
    indexes = [
        IndexInfo(method=method, unique=unique, keys=tuple(keys))
        for method, unique, keys in connection.execute(_INDEXES_SQL, {"oid": oid}).fetchall()
    ]
    primary: tuple[str, ...] = ()
    foreign = []
    for key, key_type, target_schema, target, own_columns, target_columns in connection.execute(
        _KEYS_SQL, {"oid": oid}
    ).fetchall():
        if key_type == "p":
            primary = tuple(own_columns)
        else:
            foreign.append(
                LiveForeignKey(
                    name=key,
                    columns=tuple(own_columns),
                    target=f"{target_schema}.{target}",
                    target_columns=tuple(target_columns),
                )
            )
    return LiveTableInfo(
        name=qualified_name,
        kind=kind,
        columns=columns,
        rows=int(rows) if rows >= 0 and kind in {"r", "p", "m"} else None,
        comment=comment,
        primary=primary,
        foreign=tuple(foreign),
        indexes=tuple(indexes),
        extensions=tuple(sorted(row[0] for row in connection.execute(_EXTENSIONS_SQL).fetchall())),
        encoding=str(connection.info.parameter_status("server_encoding") or "UTF8"),
    )


def _build_column_info(
    name: str, sql_type: str, base: str, kind: str, modifier: int, required: bool, comment: str | None, readable: bool
) -> LiveColumnInfo:
    served_type = _TEXT_TYPE if kind == "e" else SERVED_TYPES.get(base)
    if base == "numeric" and modifier >= 4:
        digits = (modifier - 4) >> 16 & 0xFFFF
        scale = (modifier - 4) & 0x7FF
        if scale == 0 and digits <= 18:
            served_type = ServedType(type=INT64, value="CAST(nullif({0}, 'NaN') AS bigint)")
    remedy = _REMEDIES_BY_TYPE.get(base, "")
    return LiveColumnInfo(
        name=name,
        sql_type=sql_type,
        base=base,
        kind=kind,
        modifier=modifier,
        served_type=served_type,
        comment=comment or None,
        required=required,
        readable=readable,
        remedy=remedy,
    )


def table_info_from_json(document: Mapping[str, Any]) -> LiveTableInfo | None:
    """Deserialize an earlier look; None if it is of another version."""
    words = ("name", "sql_type", "base", "kind", "modifier", "required", "comment", "readable")
    try:
        return LiveTableInfo(
            **{key: document[key] for key in ("name", "kind", "rows", "comment", "encoding")},
            columns=tuple(_build_column_info(*(column[word] for word in words)) for column in document["columns"]),
            primary=tuple(document["primary"]),
            foreign=tuple(
                LiveForeignKey(
                    name=item["name"],
                    columns=tuple(item["columns"]),
                    target=item["target"],
                    target_columns=tuple(item["target_columns"]),
                )
                for item in document["foreign"]
            ),
            indexes=tuple(
                IndexInfo(method=item["method"], unique=item["unique"], keys=tuple(item["keys"]))
                for item in document["indexes"]
            ),
            extensions=tuple(document["extensions"]),
        )
    except (KeyError, TypeError):
        return None


def _build_missing_table_error(connection: Any, table: str) -> SourceError:
    qualified_by_spelling = {
        _write_table_option(schema, name): f"{schema}.{name}"
        for schema, name, _, _ in connection.execute(_TABLES_SQL).fetchall()
    }
    short = {spelled.rpartition(".")[2]: spelled for spelled in qualified_by_spelling}
    close_match = find_close_match(table, qualified_by_spelling, 0.8) or short.get(
        find_close_match(table.rpartition(".")[2], short, 0.7) or ""
    )
    if close_match:
        hint = f"did you mean {close_match!r}?"
    else:
        hint = f"this role may read: {', '.join(list(qualified_by_spelling)[:12]) or 'nothing'}"
    return SourceError(f"the database has no table {table} that this role can see", remedy=hint)


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _write_table_option(schema: str, name: str) -> str:
    """Write a name as the option `table` wants it: quoted if a dot stands in it."""
    return ".".join(_quote_name(part) if "." in part else part for part in (schema, name))


def _redact_url(text: str, url: str) -> str:
    """Redact the address and its password in a driver's message."""
    parts = urlsplit(url)
    for secret in (url, parts.password):
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())


# --- which indexes serve what ----------------------------------------------------------------------------------

_SQL_NOISE_PATTERN = re.compile(r"::[a-z ]+(?:\[\])?|[\s\"]|\b[a-z_]\w*\.(?=q3c_|spoint|radians)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHint:
    """A condition that no index of the source serves, and the statement that would make one."""

    message: str
    remedy: str


def find_position_index(table_info: LiveTableInfo, lon: str, lat: str) -> str:
    """Find what serves cones on two columns.

    ``q3c``, ``pgsphere``, ``latitude`` (a B-tree that begins with it), if anything.
    """
    index_expressions = {"q3c": f"q3c_ang2ipix({lon},{lat})", "pgsphere": f"spoint(radians({lon}),radians({lat}))"}
    for kind, text in index_expressions.items():
        for index in table_info.indexes:
            if kind in table_info.extensions and _normalize_sql(index.keys[0]) == _normalize_sql(text):
                return kind
    return "latitude" if _has_leading_index(table_info, lat) else ""


def list_index_hints(
    table_info: LiveTableInfo, position: tuple[str, str] | None, uses_by_column: Mapping[str, str]
) -> list[IndexHint]:
    """List what is asked often and served by no index.

    Parameters
    ----------
    position
        The source's columns of longitude and latitude, if they are plain ones.
    uses_by_column
        Column of the source -> what it is to readers: ``the key``, ``an indexed column``.
    """
    if table_info.kind in {"v", "f"}:
        return []
    hints_found = []
    table = table_info.name
    if position is not None and not find_position_index(table_info, *position):
        lon, lat = (_quote_name(name) for name in position)
        if "q3c" in table_info.extensions:
            remedy = f"CREATE INDEX CONCURRENTLY ON {table} (q3c_ang2ipix({lon}, {lat})); then ANALYZE {table}"
        elif "pgsphere" in table_info.extensions:
            remedy = (
                f"CREATE INDEX CONCURRENTLY ON {table} USING gist (spoint(radians({lon}), radians({lat}))); then "
                f"ANALYZE {table}"
            )
        else:
            remedy = (
                f"CREATE INDEX CONCURRENTLY ON {table} ({lat}, {lon}); with the extension q3c or pgSphere it can "
                f"be quicker yet"
            )
        hints_found.append(IndexHint(message=f"no index serves cones on {', '.join(position)}", remedy=remedy))
    for column, use in uses_by_column.items():
        if not _has_leading_index(table_info, column):
            hints_found.append(
                IndexHint(
                    message=f"no index serves {use} {column}",
                    remedy=f"CREATE INDEX CONCURRENTLY ON {table} ({_quote_name(column)})",
                )
            )
    return hints_found


def _has_leading_index(table_info: LiveTableInfo, column: str) -> bool:
    return any(
        index.method in {"btree", "brin", "hash"} and _normalize_sql(index.keys[0]) == _normalize_sql(column)
        for index in table_info.indexes
    )


def _normalize_sql(text: str) -> str:
    """Strip casts, quotes, spaces and parentheses around a whole name, so that definitions can be compared."""
    text = _SQL_NOISE_PATTERN.sub("", text)
    while True:
        short = re.sub(r"([(,])\((\w+)\)", r"\1\2", text)
        short = re.sub(r"^\((\w+)\)$", r"\1", short)
        if short == text:
            return text
        text = short


__all__ = [
    "IndexHint",
    "IndexInfo",
    "LiveColumnInfo",
    "LiveForeignKey",
    "LiveTableInfo",
    "LiveTableSource",
    "Options",
    "find_position_index",
    "list_index_hints",
    "list_source_tables",
    "open",
    "table_info_from_json",
]
