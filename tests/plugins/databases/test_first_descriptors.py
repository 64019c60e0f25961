"""First descriptors of databases: addresses, secrets, SQLite files with one table and with several."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
import yaml

from hven import descriptor
from hven.model.errors import UsageError
from hven.model.settings import Settings
from plugin_needs import create_descriptor, load_drafter, require_verb
from process_runner import run_hven


def read(text):
    return yaml.safe_load(text)


def faults(tmp_path, text):
    path = tmp_path / "collections/x/x.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [str(fault) for fault in descriptor.check_descriptor(path, Settings(directory=tmp_path))]


def database(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def test_a_database_with_one_table_needs_no_choice(tmp_path):
    database(tmp_path / "a.bin", "CREATE TABLE t (id INTEGER, s TEXT)", "INSERT INTO t VALUES (1, 'x')")
    path = create_descriptor(Settings(directory=tmp_path), "db", str(tmp_path / "a.bin"))
    assert read(path.read_text())["tables"]["main"]["source"] == {"kind": "sql", "file": "../../a.bin", "table": "t"}
    assert "--table" not in path.read_text()


def test_empty_tables_and_views_are_no_choice_but_named(tmp_path):
    database(
        tmp_path / "a.db", 'CREATE TABLE "odd.name" (id INTEGER)', 'INSERT INTO "odd.name" VALUES (1), (2)', "CREATE TABLE spare (id INTEGER)",
        'CREATE VIEW v AS SELECT * FROM "odd.name"', "CREATE VIEW broken AS SELECT * FROM nowhere",
    )  # fmt: skip
    path = create_descriptor(Settings(directory=tmp_path), "db", str(tmp_path / "a.db"))
    assert read(path.read_text())["tables"]["main"]["source"]["table"] == '"odd.name"'
    said = '# this is table "odd.name" (2 rows) of 4; --table chooses another: broken (view), spare (0 rows), v (view, 2 rows)'
    assert said in path.read_text()
    assert faults(tmp_path, path.read_text().replace("collection: db", "collection: x")) == []


def test_a_database_of_several_tables_lists_them(tmp_path):
    database(tmp_path / "a.db", "CREATE TABLE a (id INTEGER)", "INSERT INTO a VALUES (1)", "CREATE TABLE b (id INTEGER)",
             "INSERT INTO b VALUES (1), (2)", "CREATE VIEW c AS SELECT * FROM a")  # fmt: skip
    site = Settings(directory=tmp_path)
    with pytest.raises(
        UsageError,
        match=r"3 tables and views: a \(1 row\), b \(2 rows\), c \(view, 1 row\); choose a table, for example with --table b",
    ):
        create_descriptor(site, "db", str(tmp_path / "a.db"))
    path = create_descriptor(site, "db", str(tmp_path / "a.db"), table="c")
    assert read(path.read_text())["tables"]["main"]["source"]["table"] == "c"


def test_rows_of_a_database_without_a_key_are_named_by_their_numbers(tmp_path):
    database(tmp_path / "a.db", "CREATE TABLE t (target TEXT)", "INSERT INTO t VALUES ('Mars'), ('Mars')")
    path = create_descriptor(Settings(directory=tmp_path), "db", str(tmp_path / "a.db"), standard="epn-tap")
    found = read(path.read_text())["tables"]["epn_core"]["map"]
    assert found["granule_uid"] == "CAST(source.row AS VARCHAR)"  # they come from no file with a name


def test_a_database_by_its_secret(tmp_path):
    database(tmp_path / "a.db", "CREATE TABLE t (id INTEGER)", "INSERT INTO t VALUES (1)")
    path = create_descriptor(
        Settings(directory=tmp_path), "db", "$OPS", resolve_secret=lambda _name: f"sqlite:///{tmp_path}/a.db"
    )
    assert read(path.read_text())["tables"]["main"]["source"] == {"kind": "sql", "url": "$OPS", "table": "t"}


def test_an_address_with_a_table_behind_it() -> None:
    assert load_drafter("split_database_address")("postgresql://u@h/db/public.t") == ("postgresql://u@h/db", "public.t")
    assert load_drafter("split_database_address")("postgresql://u@/db/t?host=/tmp") == (
        "postgresql://u@/db?host=/tmp",
        "t",
    )
    assert load_drafter("split_database_address")("postgresql://u@h/db") == ("postgresql://u@h/db", None)
    assert load_drafter("split_database_address")("mysql://u@h/db/t") == ("mysql://u@h/db", "t")
    assert load_drafter("split_database_address")("oracle://u@h/db/t") == ("", None)


def test_a_file_that_hven_new_cannot_use(tmp_path: Path) -> None:
    """Each is told in a sentence, and leaves no half-made collection."""
    require_verb("new")
    site = tmp_path / "site"
    run_hven("init", site)
    with contextlib.closing(sqlite3.connect(tmp_path / "two.sqlite")) as base:
        base.executescript("CREATE TABLE one (a); CREATE TABLE two (b);")
    (tmp_path / "half.sqlite").write_bytes((tmp_path / "two.sqlite").read_bytes()[:3000])
    for words, code, said in [
        (["half.sqlite"], 1, "half.sqlite"),
        (["two.sqlite"], 2, "tables and views: one (0 rows), two (0 rows); choose a table, for example with --table"),
        (["two.sqlite", "--table", "three"], 1, "no such table: three; choose one of its tables: one, two"),
        (["$NOT_SET"], 1, "the secret NOT_SET is not set"),
        (["postgresql://me:secret@db/x"], 2, "must be a secret"),
    ]:
        told = run_hven("new", "fresh", "--from", *words, "--site", site, cwd=tmp_path, expected_code=code)
        assert said in told.stderr, told.stderr
        assert "secret@" not in told.stderr
        assert not (site / "collections/fresh").exists()
