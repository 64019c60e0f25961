"""SQLite, PostgreSQL and MariaDB, by their own protocols and by ODBC, keep the contract of sources."""

from __future__ import annotations

import datetime as dt
import sqlite3

import mariadb_server
import psycopg
import pytest
from postgres_server import run_server

from hven.sources import SourceContext
from hven.testing.source import SourceContract
from number_writers import write_numbers

ROWS = [
    {"name": "Vega", "ra": 279.23, "n": 1},
    {"name": "Deneb", "ra": 310.36, "n": 2},
    {"name": None, "ra": None, "n": 3},
]


class TestSqlite(SourceContract):
    kind = "sql"
    rows = ROWS
    key = ["n"]
    has_files = False

    def write_source_files(self, directory):
        (directory / "stars.db").unlink(missing_ok=True)
        with sqlite3.connect(directory / "stars.db") as connection:
            connection.execute("CREATE TABLE stars (name TEXT, ra REAL, n INTEGER)")
            connection.executemany("INSERT INTO stars VALUES (?, ?, ?)", [tuple(row.values()) for row in ROWS])
        connection.close()
        return {"file": "stars.db", "table": "stars"}

    def write_number_files(self, directory, values):
        return write_numbers("sqlite", directory, values)


@pytest.fixture(scope="module")
def database():
    with run_server() as url:
        yield url


@pytest.mark.outside
class TestPostgres(SourceContract):
    kind = "sql"
    rows = [
        {
            "name": "Vega",
            "ra": 279.23,
            "n": 1,
            "day": dt.datetime(2026, 1, 2),
            "seen": dt.datetime(2026, 1, 2, 3, 4, 5, 600_000),
        },
        {"name": 'de\'neb \\ "A"', "ra": 310.36, "n": 2, "day": dt.datetime(2025, 1, 2), "seen": None},
        {"name": None, "ra": None, "n": 3, "day": None, "seen": dt.datetime(2026, 1, 2)},
    ]
    key = ["n"]
    has_files = False

    @pytest.fixture(autouse=True)
    def _at(self, database):
        self.url = database

    def build_source_context(self, directory):
        return SourceContext(directory=directory, resolve_secret=lambda _name: self.url)

    def write_source_files(self, directory):
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "DROP TABLE IF EXISTS stars; CREATE TABLE stars (name text, ra double precision, n integer, day date, seen timestamptz)"
            )
            for row in self.rows:
                seen = row["seen"] and row["seen"].replace(tzinfo=dt.UTC)
                values = (row["name"], row["ra"] if row["n"] != 3 else float("nan"), row["n"], row["day"], seen)
                connection.execute("INSERT INTO stars VALUES (%s, %s, %s, %s, %s)", values)
        return {"url": "$DB", "table": "stars"}


@pytest.fixture(scope="module")
def maria():
    return mariadb_server.get_server()


@pytest.mark.outside
@pytest.mark.xdist_group("mariadb")
class TestMariadb(SourceContract):
    kind = "sql"
    rows = TestPostgres.rows
    key = ["n"]
    has_files = False

    @pytest.fixture(autouse=True)
    def _at(self, maria):
        self.server = maria

    def build_source_context(self, directory):
        return SourceContext(directory=directory, resolve_secret=lambda _name: self.server.url)

    def write_source_files(self, directory):
        self.server.execute(
            "DROP TABLE IF EXISTS stars",
            "CREATE TABLE stars (name varchar(20), ra double, n integer, day date, seen timestamp(6) NULL)",
            "SET time_zone = '-04:00'",
            *(
                "INSERT INTO stars VALUES ({})".format(
                    ", ".join(
                        "NULL"
                        if value is None
                        else f"CONVERT_TZ('{value}', '+00:00', '-04:00')"
                        if name == "seen"
                        else self.server.format_literal(value)
                        for name, value in row.items()
                    )
                )
                for row in self.rows
            ),
            database="test",
        )
        return {"url": "$DB", "table": "stars"}


@pytest.mark.outside
@pytest.mark.xdist_group("mariadb")
@pytest.mark.needs("odbc")
class TestMariadbByOdbc(TestMariadb):
    def build_source_context(self, directory):
        return SourceContext(
            directory=directory, resolve_secret=lambda _name: mariadb_server.format_odbc_line(self.server)
        )


@pytest.mark.outside
@pytest.mark.needs("odbc")
class TestPostgresByOdbc(TestPostgres):
    def build_source_context(self, directory):
        home = self.url.partition("host=")[2]
        line = f"DRIVER={{PostgreSQL Unicode}};SERVER={home};DATABASE=postgres;UID=hven;PWD=sesame"
        return SourceContext(directory=directory, resolve_secret=lambda _name: line)


@pytest.mark.outside
@pytest.mark.needs("odbc")
class TestSqliteByOdbc(TestSqlite):
    def write_source_files(self, directory):
        super().write_source_files(directory)
        return {"url": f"odbc:DRIVER={{SQLite3}};Database={directory}/stars.db", "table": "stars"}

    def test_block_checksums_are_repeatable(self, tmp_path):
        """It has no hash for that, and says so."""
        assert self.open_source(tmp_path).compute_block_checksums(["n"], ["name"]) is None

    def test_blocks_give_their_own_rows(self, tmp_path):
        """Without checksums, it has no blocks."""
