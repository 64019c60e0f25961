"""ODBC without a server: lines that are none, drivers that are not there, SQLite's driver; columns that are named apart."""

from __future__ import annotations

import importlib.util
import sqlite3

import pytest

from hven.model.errors import SourceError
from hven.plugins.databases import source as sql
from hven.plugins.databases.database_rows import rename_repeated_column_names
from hven.sources import SourceContext


def open_source(line, **options):
    return sql.open(sql.Options(url="$DB", **(options or {"table": "t"})), SourceContext(resolve_secret=lambda _: line))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("DRIVER={SQLite3};Database=/x\n", "DRIVER={SQLite3};Database=/x"),
        (" dsn = hfc; uid=guest", "dsn = hfc; uid=guest"),
        ("odbc:FILEDSN=/etc/hfc.dsn", "FILEDSN=/etc/hfc.dsn"),
        ("mysql://guest@host/hfc", None),
        ("host=db dbname=hfc", None),
        ("the driver = me", None),
    ],
)
def test_odbc_connection_strings_are_distinguished_from_urls(text, line):
    assert sql.extract_odbc_connection_string(text) == line


def test_repeated_column_names_get_numbers():
    assert rename_repeated_column_names(["a", "b", "A", "a_2", "a"]) == ["a", "b", "A_3", "a_2", "a_4"]
    assert rename_repeated_column_names(["a", "A", "a"], str) == ["a", "A", "a_2"]
    assert rename_repeated_column_names(["n", "n", "n"]) == ["n", "n_2", "n_3"]


@pytest.mark.parametrize(
    ("line", "module", "extra"), [("DSN=x", "arrow_odbc", "odbc"), ("mysql://x/y", "pymysql", "mariadb")]
)
def test_what_is_not_installed_is_named(monkeypatch, line, module, extra):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == module else found(name, *more))
    with pytest.raises(SourceError, match=module) as caught:
        open_source(line)
    assert caught.value.remedy == f"pip install 'hven[{extra}]'"


@pytest.mark.outside
@pytest.mark.needs("odbc")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("DRIVER={Nowhere};SERVER=x;UID=a;PWD={ses}}ame;x}", "Can't open lib 'Nowhere'"),
        ("DSN=nowhere;PWD=sesame", "Data source name not found"),
        ("DRIVER={PostgreSQL Unicode};SERVER=127.0.0.1;PORT=1;UID=hven;PWD=sesame", "refused"),
    ],
)
def test_faulty_odbc_connection_strings_are_reported(line, message):
    with pytest.raises(SourceError, match=message) as caught:
        open_source(line).list_columns()
    assert "ses" not in f"{caught.value}".replace("processes", "")


@pytest.mark.outside
@pytest.mark.needs("odbc")
def test_texts_longer_than_the_limit_are_an_error(tmp_path):
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE t (n INTEGER, s TEXT)")
        connection.execute("INSERT INTO t VALUES (1, ?)", ("x" * 5000,))
    connection.close()
    line = f"DRIVER={{SQLite3}};Database={tmp_path}/a.db"
    with pytest.raises(SourceError, match=r"table t: .*") as caught:
        list(open_source(line, table="t", longest=100).read_batches())
    assert "`longest`" in caught.value.remedy
    (batch,) = open_source(line, table="t", longest=10_000).read_batches()
    assert batch.column("s").to_pylist() == ["x" * 5000]
    assert [
        str(item) for item in sql.list_source_tables({"url": "$DB"}, SourceContext(resolve_secret=lambda _: line))
    ] == ["t"]
