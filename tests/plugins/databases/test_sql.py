"""Databases: SQLite, a real PostgreSQL, SQLAlchemy's road; addresses that stay secret."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from postgres_server import run_server
from pydantic import ValidationError

from hven.model.errors import SourceError
from hven.plugins.databases import source as sql
from hven.plugins.databases import sqlite
from hven.plugins.databases.sqlalchemy_rows import _guess_type
from hven.sources import ROW_NUMBER_COLUMN, SourceContext
from shared import shared


def open_source(directory, rejects=None, secret=None, wanted=None, **options):
    context = SourceContext(
        directory=directory,
        on_reject=rejects.append if rejects is not None else None,
        resolve_secret=secret,
        target_types=wanted or {},
    )
    return sql.open(sql.Options.model_validate(options), context)


def table(source, columns=None, limit=None):
    return pa.Table.from_batches(list(source.read_batches(columns, limit)))


# -- SQLite ---------------------------------------------------------------------------------


def test_a_real_catalogue():
    path = shared("data/stars")
    source = open_source(path, file="OpenNGC.kscat.sqlite", table="cat")
    found = table(source, ["name", "ra", "dec", "type", ROW_NUMBER_COLUMN])
    with sqlite3.connect(path / "OpenNGC.kscat.sqlite") as connection:
        expected = connection.execute("SELECT name, ra, dec, type FROM cat").fetchall()
    connection.close()
    assert [tuple(row.values())[:4] for row in found.to_pylist()] == expected
    assert found.column(ROW_NUMBER_COLUMN).to_pylist() == list(range(1, 13_961))
    assert source.list_input_versions()[0].sha256
    assert source.list_input_versions()[0].detail == 'SELECT * FROM "cat"'


def test_declared_types_of_a_table_with_a_dot_in_its_name(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute('CREATE TABLE "b.c" (n INTEGER, x REAL)')  # no row shows the types
    connection.close()
    source = open_source(tmp_path, file="a.db", table='"b.c"')
    assert [str(column.type.arrow) for column in source.list_columns()] == ["int64", "double"]


def test_values_of_other_types_are_kept_aside(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (n INTEGER, x REAL, s TEXT, b BOOLEAN, e INTEGER)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?, NULL)", [(k, k / 2, f"s{k}", k % 2) for k in range(6000)]
        )
        connection.execute("INSERT INTO t VALUES ('many', 1, 'x', 1, NULL)")
    connection.close()
    rejects = []
    source = open_source(tmp_path, rejects, file="a.db", table="t")
    assert [str(column.type) for column in source.list_columns()] == ["int64", "float64", "string", "bool", "int64"]
    assert table(source).num_rows == 6000
    assert [(item.row, item.column, item.value) for item in rejects] == [(6001, "n", "many")]
    with pytest.raises(SourceError, match="table t, row 6001, column n: 'many' is not int64"):
        table(open_source(tmp_path, file="a.db", table="t"))


def test_the_file_is_not_written_to(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")
    connection.close()
    with pytest.raises(SourceError, match="choose one of its tables: t"):
        table(open_source(tmp_path, file="a.db", query="DELETE FROM t"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "none.db", "table": "t"}, r"no file none\.db"),
        ({"file": "text.db", "table": "t"}, r"text\.db is not an SQLite file"),
        ({"url": "mickey", "table": "t"}, "not a database URL"),
        ({"url": "nosuch://user:sesame@host/db", "table": "t"}, "not a database URL"),
        ({"url": "$HFC", "table": "t"}, r"the secret \$HFC cannot be read here"),
        ({"url": "postgresql://hven:sesame@127.0.0.1:1/db", "table": "t"}, "table t: connection"),
    ],
)
def test_faults_never_show_the_password(tmp_path, options, message):
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(tmp_path, **options).list_columns()
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"table": "t"}, {"file": "a", "url": "b", "table": "t"}, {"file": "a"}, {"file": "a", "table": "t", "query": "q"}],
)
def test_one_address_and_one_table(options):
    with pytest.raises(ValidationError, match="give either"):
        sql.Options.model_validate(options)


def test_sqlalchemys_road(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (n INTEGER, s TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(k, f"a:{k}") for k in range(5)])
    connection.close()
    options = sql.Options(url="$DB", query="SELECT n, s FROM t WHERE s <> 'b:c' ORDER BY n")
    source = sql.SqlalchemySource(options, f"sqlite:///{tmp_path}/a.db", SourceContext(directory=tmp_path))
    try:
        assert table(source, limit=3).to_pylist() == [{"n": k, "s": f"a:{k}"} for k in range(3)]
        assert table(source, [ROW_NUMBER_COLUMN, "s"]).column(ROW_NUMBER_COLUMN).to_pylist() == [1, 2, 3, 4, 5]
    finally:
        source.engine.dispose()


# -- PostgreSQL -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres():
    import psycopg

    with run_server() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                """
                CREATE SCHEMA hfc;
                CREATE TABLE hfc."Flares" (id bigint, "Class" text, peak timestamp, seen timestamptz, flux real, area double precision, n smallint, ok boolean,
                    price numeric(10, 3), code numeric(18, 0), box real[], day date, note json, empty text);
                COMMENT ON COLUMN hfc."Flares".flux IS 'Peak flux, 1-8 A';
                INSERT INTO hfc."Flares" VALUES
                    (1, 'X1.2', '2011-02-15 01:44:00.25', '2011-02-15 01:44:00+02', 1.5e-4, 'NaN', 7, true, 12.345, 'NaN', '{1,2.5,NULL}', '2011-02-15', '{"a": "b,c"}', ''),
                    (9007199254740993, 'say "M", or' || chr(10) || 'C', NULL, NULL, NULL, 2, -1, false, NULL, 900719925474099301, NULL, NULL, NULL, NULL);
                CREATE TABLE many AS SELECT g AS n, g / 7.0::float8 AS x, 'row ' || g AS s FROM generate_series(1, 200000) g;
                """
            )
        yield url


@pytest.mark.outside
def test_types_values_and_comments_of_postgresql_are_read(tmp_path, postgres):
    source = open_source(tmp_path, secret=lambda name: {"$PG": postgres}[name], url="$PG", table="hfc.Flares")
    assert {column.name: str(column.type) for column in source.list_columns()} == {
        "id": "int64", "Class": "string", "peak": "timestamp", "seen": "timestamp", "flux": "float32", "area": "float64", "n": "int16", "ok": "bool",
        "price": "float64", "code": "int64", "box": "float32[*]", "day": "timestamp", "note": "string", "empty": "string",
    }  # fmt: skip
    assert [column.description for column in source.list_columns() if column.name == "flux"] == ["Peak flux, 1-8 A"]
    first, second = table(source).to_pylist()
    assert first == {
        "id": 1, "Class": "X1.2", "peak": datetime(2011, 2, 15, 1, 44, 0, 250_000), "seen": datetime(2011, 2, 14, 23, 44), "flux": pytest.approx(1.5e-4),
        "area": None, "n": 7, "ok": True, "price": 12.345, "code": None, "box": [1.0, 2.5, None], "day": datetime(2011, 2, 15), "note": '{"a": "b,c"}', "empty": None,
    }  # fmt: skip
    assert second["code"] == 900719925474099301
    assert (second["id"], second["Class"], second["ok"], second["box"]) == (
        9007199254740993,
        'say "M", or\nC',
        False,
        None,
    )
    assert source.list_input_versions()[0].name == "$PG"
    assert "sesame" not in repr(source.list_input_versions())


@pytest.mark.outside
@pytest.mark.parametrize(
    ("value", "kind", "read"),
    [
        ("'NaN'::float8", "float64", None), ("-'Infinity'::float4", "float32", float("-inf")),
        ("1234567890123456789012345::numeric", "float64", 1234567890123456789012345.0),
        ("'NULL'::text", "string", "NULL"), ("E' \t'::text", "string", None), ("'x'::char(5)", "string", "x"), ("4294967295::oid", "int64", 4294967295),
        ("'9999-12-31 23:59:59.999999'::timestamp", "timestamp", datetime(9999, 12, 31, 23, 59, 59, 999_999)),
        ("'0001-01-01'::date", "timestamp", datetime(1, 1, 1)), ("'2000-01-01 00:00+02'::timestamptz", "timestamp", datetime(1999, 12, 31, 22)),
        ("'12:34:56'::time", "string", "12:34:56"), ("'10.0.0.1'::inet", "string", "10.0.0.1"), ("'\\xdead'::bytea", "string", "\\xdead"),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "string", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), ("(1, 'x')", "string", "(1,x)"),
        ("array[1, NULL]", "int32[*]", [1, None]), ("array[[1, 2], [3, 4]]", "int32[*]", [1, 2, 3, 4]), ("'{}'::int[]", "int32[*]", None),
        ("array[1.5, 'NaN']", "float64[*]", [1.5, None]), ("array['a', 'b']", "string", "{a,b}"), ("array[true]", "string", "{t}"),
    ],
)  # fmt: skip
def test_a_value_of_postgresql_is_read(tmp_path, postgres, value, kind, read):
    source = open_source(tmp_path, url=postgres, query=f"SELECT {value} AS x UNION ALL SELECT NULL ORDER BY 1")
    assert [str(column.type) for column in source.list_columns()] == [kind]
    assert table(source).column("x").to_pylist() == [read, None]


@pytest.mark.outside
def test_a_number_of_postgresql_that_is_too_large_is_no_infinity(tmp_path, postgres):
    source = open_source(tmp_path, url=postgres, query="SELECT 1e400::numeric AS x")
    with pytest.raises(SourceError, match="row 1, column x"):
        table(source)


@pytest.mark.outside
def test_times_of_postgresql_that_nothing_here_holds_are_kept_aside(tmp_path, postgres):
    days = "('infinity'), ('2001-02-03'), ('5000000-01-01'), (NULL), ('0044-03-15 BC'), ('-infinity')"
    refused = []
    options = sql.Options(url=postgres, query=f"SELECT d::date AS day FROM (VALUES {days}) v(d)")
    source = sql.open(options, SourceContext(directory=tmp_path, on_reject=refused.append))
    assert table(source, [ROW_NUMBER_COLUMN, "day"]).to_pylist() == [
        {ROW_NUMBER_COLUMN: 2, "day": datetime(2001, 2, 3)},
        {ROW_NUMBER_COLUMN: 4, "day": None},
    ]
    assert [(one.row, one.value) for one in refused] == [
        (1, "infinity"),
        (3, "5000000-01-01"),
        (5, "0044-03-15 BC"),
        (6, "-infinity"),
    ]
    assert {one.reason for one in refused} == {
        "not a time of the form YYYY-MM-DD['T'hh:mm[:ss[.sss]]], in the years 0001 to 9999, with or without Z or an offset such as +02:00"
    }


@pytest.mark.outside
def test_rows_of_postgresql_are_streamed(tmp_path, postgres):
    source = open_source(tmp_path, url=postgres, query="SELECT * FROM many ORDER BY n;")
    batches = list(source.read_batches(["s", ROW_NUMBER_COLUMN, "x"]))
    assert len(batches) > 1 or batches[0].num_rows == 200_000
    found = pa.Table.from_batches(batches)
    assert found.column(ROW_NUMBER_COLUMN).to_pylist() == list(range(1, 200_001))
    assert found.column("s")[199_999].as_py() == "row 200000"
    assert found.column("x")[6].as_py() == 1.0
    assert table(source, limit=10).num_rows == 10
    stream = source.read_batches()
    next(stream)
    stream.close()


@pytest.mark.outside
def test_columns_with_equal_names_are_renamed(tmp_path, postgres):
    told = []
    query = 'SELECT a.n, b.n, a.s AS n_2, b.n AS "N" FROM many a JOIN many b ON a.n = b.n + 1 WHERE a.n < 5 -- a join'
    source = sql.open(sql.Options(url=postgres, query=query), SourceContext(directory=tmp_path, on_notice=told.append))
    assert [column.name for column in source.list_columns()] == ["n", "n_3", "n_2", "N"]  # another name there
    assert [str(one) for one in told] == [
        "n: several columns have this name; Hven renames the next one to n_3 (first: the query)"
    ]
    found = table(source.select_since("n_3", 3)).to_pylist()
    assert found == [{"n": 4, "n_3": 3, "n_2": "row 4", "N": 3}]
    assert sum(source.compute_block_checksums(["n"], ["n_3"])["rows"].to_pylist()) == 3


@pytest.mark.outside
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "nix"}, "table nix: .*does not exist"),
        ({"query": "DROP TABLE many"}, "the query: "),
    ],
)
def test_faults_of_postgresql(tmp_path, postgres, options, message):
    with pytest.raises(SourceError, match=message) as caught:
        table(open_source(tmp_path, url=postgres, **options))
    assert "sesame" not in str(caught.value)


# -- which tables are there -----------------------------------------------------------------


@pytest.mark.parametrize(("scale", "kind"), [(0, "int64"), (2, "double"), (None, "double")])
def test_decimals_without_decimals_keep_their_digits(scale, kind):
    assert str(_guess_type([Decimal(9007199254740993), None], scale)) == kind


def test_the_tables_of_a_sqlite_file_are_listed(tmp_path, monkeypatch):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute('CREATE TABLE "b.c" (x INTEGER PRIMARY KEY AUTOINCREMENT)')  # makes sqlite_sequence, too
        connection.execute('INSERT INTO "b.c" VALUES (1), (2)')
        connection.execute("CREATE TABLE sqliteless (x)")
        connection.execute("CREATE VIEW broken AS SELECT * FROM nowhere")
    connection.close()
    monkeypatch.setattr(sqlite, "COUNT_TIMEOUT_SECONDS", 60.0)
    found = sql.list_source_tables({"file": "a.db"}, SourceContext(directory=tmp_path))
    assert [str(item) for item in found] == ['"b.c" (2 rows)', "broken (view)", "sqliteless (0 rows)"]
    assert table(open_source(tmp_path, file="a.db", table=str(found[0].option_value))).num_rows == 2
    monkeypatch.setattr(sqlite, "COUNT_TIMEOUT_SECONDS", -1.0)
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute(
            "WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n LIMIT 30000) INSERT INTO sqliteless SELECT x FROM n"
        )
        connection.execute("CREATE VIEW slow AS SELECT a.x FROM sqliteless AS a, sqliteless AS b WHERE a.x < b.x")
    connection.close()
    found = sql.list_source_tables({"file": "a.db"}, SourceContext(directory=tmp_path))
    assert "slow (view)" in [str(item) for item in found], "nobody waits for what takes long to count"


def test_the_tables_of_sqlalchemys_road_are_listed(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("CREATE VIEW v AS SELECT * FROM t")
    connection.close()
    options = sql.Options.model_validate({"url": "sqlite://", "query": "SELECT 1"})
    source = sql.SqlalchemySource(options, f"sqlite:///{tmp_path}/a.db", SourceContext(directory=tmp_path))
    try:
        assert [str(item) for item in source.list_available_tables()] == ["t", "v (view)"]
    finally:
        source.engine.dispose()


@pytest.mark.outside
def test_the_tables_of_postgresql_are_listed(tmp_path, postgres):
    found = sql.list_source_tables(
        {"url": "$PG"}, SourceContext(directory=tmp_path, resolve_secret=lambda _name: postgres)
    )
    named = {str(item.option_value): item for item in found}
    assert {"hfc.Flares", "many"} <= set(named)
    assert not any(name.startswith(("pg_", "information_schema")) for name in named)
    for item in found:
        assert open_source(tmp_path, url=postgres, table=str(item.option_value)).list_columns()
