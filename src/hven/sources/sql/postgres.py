"""PostgreSQL: rows come by ADBC, as Arrow; blocks of keys are summed up in the server."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from hven.model import duplicate_name_deviation, plugins
from hven.model.errors import HvenError, SourceError
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.sources import FILE_FACTS, ROW, Context, Offer
from hven.sources._reading.cells import convert, no_nan
from hven.sources._reading.cutting import limited
from hven.sources._reading.delimited import reason_of
from hven.sources._reading.files import CHUNK, assemble, check_names
from hven.sources.sql.blocks import OLDEST, checksum, conditions, cut, number
from hven.sources.sql.rows import ALIAS, Condition, Paged, Spelling, Statement, apart, quoted, spelled, without_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.sources.sql.options import Options

# PostgreSQL's type numbers (pg_type) -> Arrow; what is not here is read as text
_OIDS: dict[int, pa.DataType] = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 26: pa.int64(), 700: pa.float32(), 701: pa.float64(),
    1700: pa.float64(), -1700: pa.int64(), 1082: pa.timestamp("us"), 1114: pa.timestamp("us"), 1184: pa.timestamp("us"),
}  # fmt: skip
_ARRAYS: dict[int, pa.DataType] = {
    1005: pa.int16(),
    1007: pa.int32(),
    1016: pa.int64(),
    1021: pa.float32(),
    1022: pa.float64(),
    1231: pa.float64(),
}
OID, NUMERIC = 26, 1700
TIMES = {1082, 1114, 1184}
IDENTIFIER = -1700  # ours: numeric(18, 0) or shorter, which a double would round
WHOLE = {20, 21, 23}
PADDED = {25, 1043, 1042}  # text, varchar, char: blanks around values are not kept, and what is empty then is null
# what a session must not inherit: text of values, and so checksums, shall be the same in all; a pass sees one state of the data
SESSION = (
    "-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read -c datestyle=ISO -c timezone=UTC"
    " -c extra_float_digits=3 -c intervalstyle=postgres -c bytea_output=hex -c standard_conforming_strings=on"
)
CONNECTION: dict[str, Any] = {"connect_timeout": 15, "client_encoding": "utf8", "options": SESSION}
KEYS = 50_000  # of one statement
YEARS = "BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"  # other times, and those without end, do not fit


class PostgresRows(Paged):
    """A table or query of PostgreSQL."""

    def __init__(self, options: Options, url: str, context: Context) -> None:
        plugins.need("a table of PostgreSQL", "psycopg", "adbc_driver_postgresql", error=SourceError)
        super().__init__(options, context)
        head, sep, rest = url.partition("://")
        self.url = f"postgresql{sep}{rest}" if head else url

    def _described(self) -> list[Column]:
        comments = self._comments()
        return [
            Column(name=name, type=from_arrow(_postgres_type(oid)), description=comments.get(name))
            for name, oid, _ in self._found
        ]

    @cached_property
    def _found(self) -> list[tuple[str, int, str]]:
        """Names, type numbers and type names."""
        with self._connect() as connection:
            try:
                cursor = connection.execute(f"SELECT * FROM ({self._select()}\n) AS hven_source LIMIT 0")
                described = [
                    (
                        item.name,
                        IDENTIFIER
                        if item.type_code == NUMERIC and item.scale == 0 and (item.precision or 19) <= 18
                        else item.type_code,
                    )
                    for item in cursor.description or ()
                ]
                oids = sorted({abs(oid) for _, oid in described})
                # -1: no length, which CAST would cut to
                names = dict(
                    connection.execute("SELECT o, format_type(o, -1) FROM unnest(%s::oid[]) o", (oids,)).fetchall()
                )
            except Exception as error:
                raise self._failed(error) from error
        called = apart([name for name, _ in described], str)
        self._renamed = called if called != [name for name, _ in described] else []
        for name, (own, _) in zip(called, described, strict=True):
            if name != own:
                self.context.report(duplicate_name_deviation(own, name, self.what))
        return [(name, oid, names[abs(oid)]) for name, (_, oid) in zip(called, described, strict=True)]

    @property
    def _source(self) -> str:
        """What stands behind FROM: columns of one name are named apart there."""
        names = f" ({', '.join(map(quoted, self._renamed))})" if self._found and self._renamed else ""
        return f"({self._select()}\n) AS {ALIAS}{names}"

    @cached_property
    def oids(self) -> dict[str, int]:
        """The type numbers of the columns."""
        return {name: oid for name, oid, _ in self._found}

    def offers(self) -> list[Offer]:
        """List what this user may read; numbers of rows are the planner's estimates."""
        text = (
            "SELECT n.nspname, c.relname, c.relkind, c.reltuples::bigint, current_schema() FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
            " AND NOT c.relispartition AND has_table_privilege(c.oid, 'SELECT')"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2"
        )
        with self._connect() as connection:
            rows = self._asked(text, connection)
        return [
            Offer(
                choice=spelled(name, schema if schema != current else None),
                rows=count if count >= 0 and kind not in {"v", "f"} else None,
                view=kind in {"v", "m"},
            )
            for schema, name, kind, count, current in rows
        ]

    def _comments(self) -> dict[str, str]:
        if not self.options.table:
            return {}
        text = (
            "SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a"
            " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped"
        )
        with self._connect() as connection:
            rows = connection.execute(text, (self._select().removeprefix("SELECT * FROM "),)).fetchall()
        return {str(name): str(about) for name, about in rows if about}

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield rows as the server gives them, in one transaction (one picture of the data)."""
        names = self._checked(columns)
        yield from limited(self._read(self._statements(limit), names), limit)

    def _checked(self, columns: Sequence[str] | None) -> list[str]:
        return check_names(columns, list(self._columns), self.what)

    def _read(self, statements: Sequence[Statement], names: Sequence[str], number: int = 1) -> Iterator[pa.RecordBatch]:
        known = self._columns
        real = [name for name in names if name not in {ROW, *FILE_FACTS}] or list(known)[:1]
        head = f"SELECT {', '.join(map(self._selected, real))} FROM {self._source}"
        for found in self._streamed(f"{head}{statement.clause()}" for statement in statements):
            bad: set[int] = set()
            arrays, columns = {}, iter(found.columns)
            for name in real:
                values = texts = next(columns)
                if self.oids[name] in TIMES:
                    arrays[name], texts = values, next(columns)
                    faults = texts.is_valid()
                else:
                    arrays[name], faults = _finished(values, known[name].type.arrow)
                for at in [] if faults is None else pc.indices_nonzero(faults).to_pylist():
                    if at not in bad:
                        bad.add(at)
                        self._reject(number + at, name, str(texts[at].as_py()), reason_of(arrays[name].type))
            batch = assemble(names, arrays, found.num_rows, number, None)
            yield batch.filter(pa.array([at not in bad for at in range(found.num_rows)])) if bad else batch
            number += found.num_rows
            self.read = number - 1

    def _selected(self, name: str) -> str:
        """Write a column as the driver is to get it: what it has no type for as the server writes it; of times, in a column of their own, those that do not fit."""
        plain, oid = quoted(name), self.oids[name]
        if oid in TIMES:
            return f"CASE WHEN {plain} {YEARS} THEN {plain}::timestamp END, CASE WHEN NOT {plain} {YEARS} THEN {plain}::text END"
        return (
            f"{plain}::bigint"
            if oid == OID
            else plain
            if oid in {*_OIDS, *_ARRAYS, *PADDED}
            else f"format('%s', {plain})"
        )

    def _streamed(self, texts: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """Yield what statements give, as it comes, all in one transaction."""
        import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415  (slow to load, for PostgreSQL alone)
        from psycopg.conninfo import make_conninfo  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        try:
            with driver.connect(make_conninfo(self.url, **CONNECTION)) as connection, connection.cursor() as cursor:
                try:
                    for text in texts:
                        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(4 * CHUNK)})
                        cursor.execute(text)
                        yield from cursor.fetch_record_batch()
                except GeneratorExit:
                    cursor.adbc_cancel()
                    raise
        except Exception as error:
            raise self._failed(error) from error

    # --- blocks -------------------------------------------------------------------------------------------------

    def blocks(self, key: Sequence[str], columns: Sequence[str]) -> pa.Table | None:
        """Sum up blocks of keys in the server: a 64-bit hash of each row, added up.

        Whole-number keys make blocks of neighbours, all others (and those that lie far apart) of a hash's value. None: the server has no such
        hash (before PostgreSQL 11).
        """
        if not key or any(name not in self._columns for name in (*key, *columns)):
            return None
        with self._connect() as connection:
            version = connection.info.server_version
            if version < OLDEST:
                return None
            from_ = f"FROM {self._source}{Statement(conditions=self._narrowed).clause()}"
            how = "h"
            if len(key) == 1 and self.oids[key[0]] in WHOLE:
                name = quoted(key[0])
                how = cut(*self._asked(f"SELECT min({name}), max({name}), count(*) {from_}", connection)[0])
            hashable = {name for name, oid in self.oids.items() if oid in _OIDS or oid in PADDED}
            row = checksum(list(dict.fromkeys((*key, *columns))), hashable, version)
            found = self._asked(f"SELECT {number(how, key)}, count(*), sum({row})::text {from_} GROUP BY 1", connection)
        return pa.table(
            {
                "block": pa.array([f"{how}:{'null' if at is None else at}" for at, _, _ in found], pa.string()),
                "rows": pa.array([rows for _, rows, _ in found], pa.int64()),
                "checksum": pa.array([total for _, _, total in found], pa.string()),
            }
        )

    def block(self, key: Sequence[str], blocks: Sequence[object]) -> Self:
        """Select the rows of some blocks."""
        return self._part(portions=(Condition(sql=text) for text in conditions(key, [str(block) for block in blocks])))

    def _asked(self, text: str, connection: Any) -> list[Any]:
        try:
            found: list[Any] = connection.execute(text).fetchall()
        except Exception as error:
            raise self._failed(error) from error
        return found

    # --- conditions ---------------------------------------------------------------------------------------------

    def _words(self) -> Spelling:
        return _Spelling(self)

    def _comparable(self, name: str) -> bool:
        kind = self._columns[name].type
        return not kind.is_array

    def _portion(self, columns: int) -> int:
        return max(1, KEYS // columns)

    def _among(self, columns: Sequence[str], keys: pa.Table) -> Condition:
        names, arrays = [], []
        types = {name: word for name, _, word in self._found}
        for name in columns:
            oid, plain = self.oids[name], quoted(name)
            names.append(
                f"CAST({plain} AS double precision)" if oid == NUMERIC else _trimmed(plain) if oid in PADDED else plain
            )
            kind = "double precision" if oid == NUMERIC else "text" if oid in PADDED else types[name]
            arrays.append(f"{_text(_array(keys.column(name)))}::{kind}[]")
        return Condition(sql=f"({', '.join(names)}) IN (SELECT * FROM unnest({', '.join(arrays)}))")

    def _connect(self) -> Any:
        import psycopg  # noqa: PLC0415  (slow to load, for PostgreSQL alone)

        try:
            connection = psycopg.connect(self.url, **CONNECTION)
        except (psycopg.Error, ValueError) as error:
            raise self._failed(error) from error
        return connection

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, (HvenError, GeneratorExit)):
            return error
        return SourceError(
            f"{self.what}: {without_url(str(error), self.url)}",
            remedy="look at the address, the rights of its user, and the name",
        )


class _Spelling(Spelling):
    rows: PostgresRows

    def column(self, name: str, *, computed: bool) -> str:
        """Compare texts byte by byte; numbers of any length as what they are read as; sums in the widest type."""
        plain, oid = quoted(name), self.rows.oids[name]
        kind = self.rows._columns[name].type  # noqa: SLF001  (two halves of one thing)
        if kind.is_string:
            return f'{_trimmed(plain) if oid in PADDED else f"CAST({plain} AS text)"} COLLATE "C"'
        if oid == NUMERIC or (computed and not kind.is_integer and kind.is_numeric):
            return f"CAST({plain} AS double precision)"
        return f"CAST({plain} AS bigint)" if computed else plain

    def missing(self, name: str) -> str:
        """Count NaN and blank text as no value: so they are read."""
        plain, oid = quoted(name), self.rows.oids[name]
        if oid in PADDED:
            return f"({plain} IS NULL OR {_trimmed(plain)} = '')"
        return f"({plain} IS NULL OR {plain} = 'NaN')" if oid in {700, 701, NUMERIC, IDENTIFIER} else f"{plain} IS NULL"

    def value(self, value: object) -> str:
        """Write a literal: COPY has no places for values."""
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, float):
            return f"'{value!r}'::double precision"
        return str(value) if isinstance(value, int) else f"'{value:%Y-%m-%dT%H:%M:%S.%f}'::timestamp"


def _trimmed(name: str) -> str:
    return f"btrim({name}::text, E' \\t\\r\\n\\v\\f')"


def _text(value: str) -> str:
    """Write a text literal.

    Raises
    ------
    SourceError
        It has a NUL, which no text there has.
    """
    if "\0" in value:
        raise SourceError(
            "a key has a NUL character, which PostgreSQL does not", remedy="sync with --full: everything is read"
        )
    return "'" + value.replace("'", "''") + "'"


def _array(values: pa.ChunkedArray) -> str:
    """Write the text of an array without nulls."""
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        escaped = pc.replace_substring(pc.replace_substring(values, "\\", "\\\\"), '"', '\\"')
        return '{"' + '","'.join(escaped.to_pylist()) + '"}' if len(values) else "{}"
    if pa.types.is_timestamp(kind):
        return "{" + ",".join(f'"{value.isoformat()}"' for value in values.to_pylist()) + "}"
    return "{" + ",".join(repr(value) if isinstance(value, float) else str(value) for value in values.to_pylist()) + "}"


def _finished(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Convert the driver's values to the column's type, and find which do not fit."""
    if isinstance(values, pa.ExtensionArray):  # numeric: its digits
        values = values.storage
    if pa.types.is_list(kind):
        items, _ = _finished(values.values, kind.value_type)
        empty = pc.fill_null(pc.equal(pc.list_value_length(values), 0), True)
        return pa.ListArray.from_arrays(values.offsets, items, type=kind, mask=empty), None
    return convert(values, kind) if pa.types.is_string(values.type) else (no_nan(values), None)


def _postgres_type(oid: int) -> pa.DataType:
    return _OIDS.get(oid) or (pa.list_(_ARRAYS[oid]) if oid in _ARRAYS else pa.string())
