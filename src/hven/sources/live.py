"""Tables of an operational PostgreSQL database that are published in place: what is there, looked at without reading a row.

Such a table is not ingested: queries go to it (`hven.engines.postgres.live`). Here is what the catalogue of the database says:
columns and how each type is served, keys, indexes, an estimate of the number of rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hven.model import plugins
from hven.model.errors import SourceError, Unavailable, meant
from hven.model.table import Column
from hven.model.types import BOOLEAN, FLOAT64, INT32, INT64, STRING, TIMESTAMP, Type, parse_type
from hven.sources import Context, Offer, Pin, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

CONNECT = 5  # seconds
_PARTS = re.compile(r'"(?:[^"]|"")+"|[^.]+')  # of a table's name: a dot inside quotes separates nothing
_DRIVER = re.compile(r"^postgres(ql)?\+\w+://")  # SQLAlchemy names its driver in the address
_PASSWORD = re.compile(r"^[a-z]+://[^/@]*:[^/@]*@|\bpassword\s*=", re.IGNORECASE)


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
    def _no_password(cls, value: str) -> str:
        if _PASSWORD.search(value):
            raise ValueError("a password belongs into a secret: write $NAME here")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How a type of PostgreSQL is served; see `hven.engines.LiveColumn`."""

    type: Type
    value: str = "{0}"
    raw: bool = False
    guard: str = ""


_NO_NAN, _NUMBER = "nullif({0}, 'NaN')", "{0} <> 'NaN'"
_TEXT = Shown(type=STRING, value="CAST({0} AS text)")
TYPES: Mapping[str, Shown] = {
    "bool": Shown(type=BOOLEAN),
    "int2": Shown(type=parse_type("int16")),
    "int4": Shown(type=INT32),
    "int8": Shown(type=INT64),
    "oid": Shown(type=INT64, value="CAST({0} AS bigint)"),
    "float4": Shown(type=parse_type("float32"), value=_NO_NAN, raw=True, guard=_NUMBER),
    "float8": Shown(type=FLOAT64, value=_NO_NAN, raw=True, guard=_NUMBER),
    "numeric": Shown(type=FLOAT64, value="CAST(nullif({0}, 'NaN') AS double precision)"),
    "text": Shown(type=STRING),
    "varchar": _TEXT,
    "bpchar": _TEXT,
    "name": _TEXT,
    "char": _TEXT,
    "citext": _TEXT,
    "uuid": _TEXT,
    "inet": _TEXT,
    "cidr": _TEXT,
    "macaddr": _TEXT,
    "macaddr8": _TEXT,
    "time": _TEXT,
    "timetz": _TEXT,
    "interval": _TEXT,
    "date": Shown(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN CAST({0} AS timestamp) END", raw=True, guard="isfinite({0})"
    ),
    "timestamp": Shown(type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN {0} END", raw=True, guard="isfinite({0})"),
    "timestamptz": Shown(
        type=TIMESTAMP, value="CASE WHEN isfinite({0}) THEN {0} AT TIME ZONE 'UTC' END", raw=True, guard="isfinite({0})"
    ),
    "_int2": Shown(type=parse_type("int16[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_int4": Shown(type=parse_type("int32[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_int8": Shown(type=parse_type("int64[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_float4": Shown(type=parse_type("float32[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_float8": Shown(type=parse_type("float64[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN {0} END"),
    "_numeric": Shown(
        type=parse_type("float64[*]"), value="CASE WHEN array_ndims({0}) = 1 THEN CAST({0} AS double precision[]) END"
    ),
}
_REMEDIES = {
    "json": "a view can take values out of it: CREATE VIEW .. AS SELECT .., (x ->> 'key') AS key",
    "jsonb": "a view can take values out of it: CREATE VIEW .. AS SELECT .., (x ->> 'key') AS key",
    "hstore": "a view can take values out of it: CREATE VIEW .. AS SELECT .., (x -> 'key') AS key",
    "bytea": "a view can show it as text: CREATE VIEW .. AS SELECT .., encode(x, 'hex') AS x",
    "spoint": "a view can give its angles: CREATE VIEW .. AS SELECT .., degrees(long(x)) AS ra, degrees(lat(x)) AS dec",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class There:
    """One column of the table, as the database has it; `shown` is None if its type cannot be served."""

    name: str
    sql_type: str
    base: str
    kind: str
    modifier: int
    shown: Shown | None
    comment: str | None = None
    required: bool = False
    readable: bool = True
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A valid index without a condition: its method and what it orders, in order."""

    method: str
    keys: tuple[str, ...]
    unique: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A key that leads to another table of the database."""

    name: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
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
    columns: tuple[There, ...]
    rows: int | None = None
    comment: str | None = None
    primary: tuple[str, ...] = ()
    foreign: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    extensions: tuple[str, ...] = ()
    encoding: str = "UTF8"

    def served(self) -> list[There]:
        """List the columns that can be served."""
        return [column for column in self.columns if column.shown is not None and column.readable]

    def left_out(self) -> list[str]:
        """Explain why each other column is not served, and what would help."""
        found = []
        for column in self.columns:
            if not column.readable:
                found.append(
                    f"the column {column.name} may not be read by this role; GRANT SELECT ({_quoted(column.name)}) ON {self.name} TO it"
                )
            elif column.shown is None:
                remedy = column.remedy or "a view can cast it to a type that is"
                found.append(
                    f"the column {column.name} is of the type {column.sql_type}, which is not served; {remedy}"
                )
        return found

    def described(self) -> list[Column]:
        """Describe the columns that can be served."""
        return [
            Column(name=column.name, type=column.shown.type, description=column.comment, required=column.required)
            for column in self.served()
            if column.shown is not None
        ]


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a table; the database is asked when the columns are.

    Raises
    ------
    SourceError
        An unknown secret.
    """
    return LiveTable(options, context)


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the tables and views that this role may read.

    Raises
    ------
    SourceError
        No such database, no right to look.
    """
    source = LiveTable(Options.model_validate({"url": options["url"], "table": "-"}), context)
    with source.connected() as connection:
        rows = connection.execute(_TABLES).fetchall()
    return [
        Offer(
            choice=_spelled(schema, name),
            rows=count if count >= 0 and kind in {"r", "p", "m"} else None,
            view=kind in {"v", "m"},
        )
        for schema, name, kind, count in rows
    ]


class LiveTable:
    """A table that is read in place."""

    def __init__(self, options: Options, context: Context) -> None:
        plugins.need("a table of PostgreSQL", "psycopg", error=SourceError)
        self.options = options
        self._url = options.url
        if self._url.startswith("$"):
            if context.secret is None:
                raise SourceError(
                    f"the secret {self._url} can't be resolved here", remedy="set it, and look with `hven check`"
                )
            self._url = context.secret(self._url)
        self._url = _DRIVER.sub("postgresql://", self._url)
        self._look: Look | None = None

    def columns(self) -> list[Column]:
        """List the columns that can be served."""
        return self.look().described()

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:  # noqa: ARG002  (the contract's signature)
        """Refuse: rows of such a table are never copied."""
        raise SourceError(
            f"{self.options.table} is read in place: there is nothing to ingest",
            remedy="say `kind: sql` to copy its rows at each ingest",
        )

    def pins(self) -> list[Pin]:
        """Name the table."""
        return [
            Pin(name=self.options.url if self.options.url.startswith("$") else "database", detail=self.options.table)
        ]

    def size(self) -> int | None:
        """Return the planner's estimate of the rows."""
        return self.look().rows

    def about(self) -> tuple[str | None, str | None]:
        """Return the table's comment as a description."""
        return None, self.look().comment

    def look(self) -> Look:
        """Ask the database what the table is; once for each source.

        Raises
        ------
        SourceError
            No such table, or this role may not read it.
        Unavailable
            The database does not answer.
        """
        if self._look is None:
            with self.connected() as connection:
                try:
                    self._look = _look(connection, self.options.table)
                except SourceError:
                    raise
                except Exception as error:
                    raise self._failed(error) from error
        return self._look

    def connected(self) -> Any:
        """Connect for a look: nothing can be written, no statement is long, no transaction stays open."""
        import psycopg  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        options = "-c default_transaction_read_only=on -c statement_timeout=10000 -c lock_timeout=2000"
        try:
            return psycopg.connect(
                self._url,
                connect_timeout=CONNECT,
                autocommit=True,
                options=options,
                application_name="hven look",
                client_encoding="utf8",
            )
        except (psycopg.Error, ValueError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SourceError | Unavailable:
        import psycopg  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        text = _without(str(error), self._url)
        state = error.sqlstate if isinstance(error, psycopg.Error) else None
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
            return Unavailable(
                f"the database of {self.options.table} does not answer: {text}",
                remedy="its tables are served again when it does",
            )
        return SourceError(f"{self.options.table}: {text}", remedy="look at the url and the name of the table")


# --- what the catalogue says -----------------------------------------------------------------------------------

_TABLES = (
    "SELECT n.nspname, c.relname, c.relkind::text, c.reltuples::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
    " AND NOT c.relispartition AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2"
)
_TABLE = (
    "SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.reltuples::bigint, obj_description(c.oid, 'pg_class'),"
    " has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)"
)
_COLUMNS = (
    "WITH RECURSIVE down(number, type, modifier) AS (SELECT attnum, atttypid, atttypmod FROM pg_attribute"
    "  WHERE attrelid = %(oid)s AND attnum > 0 AND NOT attisdropped"
    " UNION ALL SELECT d.number, t.typbasetype, t.typtypmod FROM down d JOIN pg_type t ON t.oid = d.type WHERE t.typtype = 'd')"
    " SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typname, t.typtype::text, d.modifier, a.attnotnull,"
    " col_description(a.attrelid, a.attnum), has_column_privilege(a.attrelid, a.attnum, 'SELECT')"
    " FROM down d JOIN pg_type t ON t.oid = d.type AND t.typtype <> 'd' JOIN pg_attribute a ON a.attrelid = %(oid)s AND a.attnum = d.number"
    " ORDER BY a.attnum"
)
_INDEXES = (
    "SELECT m.amname, i.indisunique, ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) k)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
    " WHERE i.indisvalid AND i.indpred IS NULL AND (i.indrelid = %(oid)s OR i.indrelid IN (SELECT d.refobjid FROM pg_rewrite r"
    "  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass"
    "  WHERE r.ev_class = %(oid)s AND r.ev_class <> d.refobjid)) ORDER BY c.relname"
)
_KEYS = (
    "SELECT o.conname, o.contype::text, f.nspname, r.relname,"
    " ARRAY(SELECT attname::text FROM unnest(o.conkey) WITH ORDINALITY k(n, p) JOIN pg_attribute ON attrelid = o.conrelid AND attnum = n ORDER BY p),"
    " ARRAY(SELECT attname::text FROM unnest(o.confkey) WITH ORDINALITY k(n, p) JOIN pg_attribute ON attrelid = o.confrelid AND attnum = n ORDER BY p)"
    " FROM pg_constraint o LEFT JOIN pg_class r ON r.oid = o.confrelid LEFT JOIN pg_namespace f ON f.oid = r.relnamespace"
    " WHERE o.conrelid = %(oid)s AND o.contype IN ('p', 'f') ORDER BY 1"
)
_EXTENSIONS = "SELECT DISTINCT CASE proname WHEN 'scircle' THEN 'pgsphere' ELSE 'q3c' END FROM pg_proc WHERE proname IN ('scircle', 'q3c_radial_query')"


def _look(connection: Any, table: str) -> Look:
    name = ".".join(part if part.startswith('"') else _quoted(part) for part in _PARTS.findall(table))
    found = connection.execute(_TABLE, (name,)).fetchone()
    if found is None:
        raise _missing(connection, table)
    oid, schema, relation, kind, rows, comment, inside, may = found
    whole = f"{_quoted(schema)}.{_quoted(relation)}"
    if not inside or not may:
        what = f"USAGE ON SCHEMA {_quoted(schema)}" if not inside else f"SELECT ON {whole}"
        raise SourceError(
            f"the role {connection.info.user} may not read {table}",
            remedy=f"as its owner: GRANT {what} TO {_quoted(connection.info.user)}",
        )
    if kind not in {"r", "p", "v", "m", "f"}:
        raise SourceError(f"{table} is no table and no view")
    columns = tuple(_there(*row) for row in connection.execute(_COLUMNS, {"oid": oid}).fetchall())
    indexes = [
        Index(method=method, unique=unique, keys=tuple(keys))
        for method, unique, keys in connection.execute(_INDEXES, {"oid": oid}).fetchall()
    ]
    primary: tuple[str, ...] = ()
    foreign = []
    for key, what, target_schema, target, own, theirs in connection.execute(_KEYS, {"oid": oid}).fetchall():
        if what == "p":
            primary = tuple(own)
        else:
            foreign.append(
                ForeignKey(
                    name=key, columns=tuple(own), target=f"{target_schema}.{target}", target_columns=tuple(theirs)
                )
            )
    return Look(
        name=whole,
        kind=kind,
        columns=columns,
        rows=int(rows) if rows >= 0 and kind in {"r", "p", "m"} else None,
        comment=comment,
        primary=primary,
        foreign=tuple(foreign),
        indexes=tuple(indexes),
        extensions=tuple(sorted(row[0] for row in connection.execute(_EXTENSIONS).fetchall())),
        encoding=str(connection.info.parameter_status("server_encoding") or "UTF8"),
    )


def _there(
    name: str, sql_type: str, base: str, kind: str, modifier: int, required: bool, comment: str | None, readable: bool
) -> There:
    shown = _TEXT if kind == "e" else TYPES.get(base)
    if base == "numeric" and modifier >= 4:
        digits, scale = (modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF
        if scale == 0 and digits <= 18:
            shown = Shown(type=INT64, value="CAST(nullif({0}, 'NaN') AS bigint)")
    return There(
        name=name,
        sql_type=sql_type,
        base=base,
        kind=kind,
        modifier=modifier,
        shown=shown,
        comment=comment or None,
        required=required,
        readable=readable,
        remedy=_REMEDIES.get(base, ""),
    )


def recalled(said: Mapping[str, Any]) -> Look | None:
    """Deserialize an earlier look; None if it is of another version."""
    words = ("name", "sql_type", "base", "kind", "modifier", "required", "comment", "readable")
    try:
        return Look(
            **{key: said[key] for key in ("name", "kind", "rows", "comment", "encoding")},
            columns=tuple(_there(*(column[word] for word in words)) for column in said["columns"]),
            primary=tuple(said["primary"]),
            foreign=tuple(
                ForeignKey(
                    name=item["name"],
                    columns=tuple(item["columns"]),
                    target=item["target"],
                    target_columns=tuple(item["target_columns"]),
                )
                for item in said["foreign"]
            ),
            indexes=tuple(
                Index(method=item["method"], unique=item["unique"], keys=tuple(item["keys"]))
                for item in said["indexes"]
            ),
            extensions=tuple(said["extensions"]),
        )
    except (KeyError, TypeError):
        return None


def _missing(connection: Any, table: str) -> SourceError:
    known = {
        _spelled(schema, name): f"{schema}.{name}" for schema, name, _, _ in connection.execute(_TABLES).fetchall()
    }
    short = {spelled.rpartition(".")[2]: spelled for spelled in known}
    near = meant(table, known, 0.8) or short.get(meant(table.rpartition(".")[2], short, 0.7) or "")
    hint = f"did you mean {near!r}?" if near else f"this role may read: {', '.join(list(known)[:12]) or 'nothing'}"
    return SourceError(f"the database has no table {table} that this role can see", remedy=hint)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _spelled(schema: str, name: str) -> str:
    """Write a name as the option `table` wants it: quoted if a dot stands in it."""
    return ".".join(_quoted(part) if "." in part else part for part in (schema, name))


def _without(text: str, url: str) -> str:
    """Redact the address and its password in a driver's message."""
    parts = urlsplit(url)
    for secret in (url, parts.password):
        if secret:
            text = text.replace(secret, "***")
    return " ".join(text.split())


# --- which indexes serve what ----------------------------------------------------------------------------------

_NOISE = re.compile(r"::[a-z ]+(?:\[\])?|[\s\"]|\b[a-z_]\w*\.(?=q3c_|spoint|radians)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A condition that no index of the source serves, and the statement that would make one."""

    message: str
    remedy: str


def position_index(look: Look, lon: str, lat: str) -> str:
    """Find what serves cones on two columns: ``q3c``, ``pgsphere``, ``latitude`` (a B-tree that begins with it), if anything."""
    wanted = {"q3c": f"q3c_ang2ipix({lon},{lat})", "pgsphere": f"spoint(radians({lon}),radians({lat}))"}
    for kind, text in wanted.items():
        for index in look.indexes:
            if kind in look.extensions and _plain(index.keys[0]) == _plain(text):
                return kind
    return "latitude" if _begins(look, lat) else ""


def hints(look: Look, position: tuple[str, str] | None, keys: Mapping[str, str]) -> list[Hint]:
    """List what is asked often and served by no index.

    Parameters
    ----------
    position
        The source's columns of longitude and latitude, if they are plain ones.
    keys
        Column of the source -> what it is to readers: ``the key``, ``an indexed column``.
    """
    if look.kind in {"v", "f"}:
        return []
    found = []
    table = look.name
    if position is not None and not position_index(look, *position):
        lon, lat = (_quoted(name) for name in position)
        if "q3c" in look.extensions:
            remedy = f"CREATE INDEX CONCURRENTLY ON {table} (q3c_ang2ipix({lon}, {lat})); then ANALYZE {table}"
        elif "pgsphere" in look.extensions:
            remedy = f"CREATE INDEX CONCURRENTLY ON {table} USING gist (spoint(radians({lon}), radians({lat}))); then ANALYZE {table}"
        else:
            remedy = f"CREATE INDEX CONCURRENTLY ON {table} ({lat}, {lon}); with the extension q3c or pgSphere it can be quicker yet"
        found.append(Hint(message=f"no index serves cones on {', '.join(position)}", remedy=remedy))
    for column, what in keys.items():
        if not _begins(look, column):
            found.append(
                Hint(
                    message=f"no index serves {what} {column}",
                    remedy=f"CREATE INDEX CONCURRENTLY ON {table} ({_quoted(column)})",
                )
            )
    return found


def _begins(look: Look, column: str) -> bool:
    return any(
        index.method in {"btree", "brin", "hash"} and _plain(index.keys[0]) == _plain(column) for index in look.indexes
    )


def _plain(text: str) -> str:
    """Strip casts, quotes, spaces and parentheses around a whole name, so that definitions can be compared."""
    text = _NOISE.sub("", text)
    while True:
        short = re.sub(r"([(,])\((\w+)\)", r"\1\2", text)
        short = re.sub(r"^\((\w+)\)$", r"\1", short)
        if short == text:
            return text
        text = short


__all__ = [
    "ForeignKey",
    "Hint",
    "Index",
    "LiveTable",
    "Look",
    "Options",
    "There",
    "hints",
    "open",
    "position_index",
    "recalled",
    "tables",
]
