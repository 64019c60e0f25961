"""Every built-in source keeps the contract."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from hven.sources import Context
from hven.testing.source import SourceContract

sys.path.insert(0, str(Path(__file__).parent))
from postgres_server import server

import mariadb

ROWS = [
    {"name": "Vega", "ra": 279.23, "n": 1},
    {"name": "Deneb", "ra": 310.36, "n": 2},
    {"name": None, "ra": None, "n": 3},
]


class TestCsv(SourceContract):
    kind = "csv"
    rows = ROWS

    def make(self, directory):
        (directory / "stars.csv").write_text("name,ra,n\nVega,279.23,1\nDeneb,310.36,2\n,,3\n")
        return {"files": "stars.csv"}


class TestFixed(SourceContract):
    kind = "fixed"
    rows = ROWS

    def make(self, directory):
        (directory / "stars.dat").write_text("Vega  279.23 1\nDeneb 310.36 2\n             3\n")
        return {"files": "stars.dat", "fields": {"name": "1-5", "ra": "7-12", "n": 14}}


class TestJsonLines(SourceContract):
    kind = "json"
    rows = ROWS

    def make(self, directory):
        (directory / "stars.jsonl").write_text(
            '{"name": "Vega", "ra": 279.23, "n": 1}\n{"n": 2, "ra": 310.36, "name": "Deneb"}\n\n{"n": 3, "ra": null}\n'
        )
        return {"files": "stars.jsonl"}


class TestJsonList(SourceContract):
    kind = "json"
    rows = [
        {"id": 1, "a.b": "x", "a.list": [1.5, 2.0]},
        {"id": 2, "a.b": None, "a.list": None},
        {"id": 3, "a.b": "y]", "a.list": []},
    ]

    def make(self, directory):
        text = '{"took": [1], "hits": {"hits": [\n {"id": 1, "a": {"b": "x", "list": [1.5, 2]}},\n {"id": 2},\n {"id": 3, "a": {"b": "y]", "list": []}}\n]}}'
        (directory / "hits.json").write_text(text)
        return {"files": "hits.json"}


class TestTfcat(SourceContract):
    kind = "tfcat"
    rows = [
        {
            "id": name, "geometry_type": kind, "time_min": start, "time_max": stop, "spectral_range_min": low, "spectral_range_max": high,
            "geometry": f'{{"type":"{kind}","coordinates":{places}}}', "quality": quality,
        }
        for name, kind, start, stop, low, high, places, quality in (
            ("a", "Point", 2458849.5, 2458849.5, 1e6, 1e6, "[18262.0,1]", 1),
            ("b", "LineString", 2458849.5, 2458850.5, 1e6, 2.5e6, "[[18262,1],[18263.00,2.5]]", None),
            ("c", "Polygon", 2458849.5, 2458850.0, 1e6, 2e6, "[[[18262,1],[18262.5,1],[18262,2],[18262,1]]]", 2),
        )
    ]  # fmt: skip

    def make(self, directory):
        features = ",\n".join(
            f'{{"type": "Feature", "id": "{row["id"]}", "geometry": {row["geometry"]}, "properties": {{"quality": {row["quality"] or "null"}}}}}'
            for row in self.rows
        )
        crs = '{"type": "local", "properties": {"time_coords": {"name": "days", "unit": "d", "time_origin": "1970-01-01", "time_scale": "UTC"}, "spectral_coords": {"type": "frequency", "unit": "MHz"}, "ref_position_id": "GEOCENTER"}}'
        fields = '{"quality": {"info": "", "datatype": "int", "ucd": "meta.code.qual"}}'
        (directory / "a.tfcat").write_text(
            f'{{"type": "FeatureCollection", "features": [{features}], "fields": {fields}, "crs": {crs}}}'
        )
        return {"files": "a.tfcat"}


class TestFiles(SourceContract):
    kind = "files"
    rows = [
        {
            "path": name, "title": name, "description": None, "media_type": "text/csv", "bytes": len(text),
            "sha256": hashlib.sha256(text.encode()).hexdigest(), "modified": dt.datetime(2026, 1, 2, 3, 4, 5), "quoted": quoted, "direct": None,
        }
        for name, quoted, text in (("a b.csv", "a%20b.csv", "x\n"), ("c.csv", "c.csv", "x\n1\n"))
    ]  # fmt: skip

    def make(self, directory):
        moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC).timestamp()
        for name, text in (("a b.csv", "x\n"), ("c.csv", "x\n1\n")):
            (directory / name).write_text(text)
            os.utime(directory / name, (moment, moment))
        return {"files": "*.csv"}


class TestParquet(SourceContract):
    kind = "parquet"
    rows = ROWS

    def make(self, directory):
        pq.write_table(pa.Table.from_pylist(ROWS), directory / "stars.parquet")
        return {"files": "stars.parquet"}


class TestVotable(SourceContract):
    kind = "votable"
    rows = ROWS

    def make(self, directory):
        cells = "".join(
            f"<TR><TD>{row['name'] or ''}</TD><TD>{'NaN' if row['ra'] is None else row['ra']}</TD><TD>{row['n']}</TD></TR>"
            for row in ROWS
        )
        (directory / "stars.vot").write_text(
            '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
            '<FIELD name="name" datatype="char" arraysize="*"/><FIELD name="ra" datatype="double" unit="deg"/>'
            f'<FIELD name="n" datatype="int"/><DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'
        )
        return {"files": "stars.vot"}


class TestFitsTable(SourceContract):
    kind = "fits"
    rows = ROWS

    def make(self, directory):
        columns = [
            fits.Column("name", "6A", array=["Vega", "Deneb", ""]),
            fits.Column("ra", "D", unit="deg", array=[279.23, 310.36, np.nan]),
            fits.Column("n", "J", array=[1, 2, 3]),
        ]
        fits.BinTableHDU.from_columns(columns).writeto(directory / "stars.fits", overwrite=True)
        return {"files": "stars.fits"}


class TestFitsHeader(SourceContract):
    kind = "fits"
    rows = [
        {"OBJECT": "Sun", "EXPTIME": 1.5, "NAXIS": 0},
        {"OBJECT": "Moon", "EXPTIME": 2.0, "NAXIS": 0},
        {"OBJECT": None, "EXPTIME": None, "NAXIS": 0},
    ]

    def make(self, directory):
        for number, row in enumerate(self.rows):
            header = fits.Header({key: value for key, value in row.items() if value is not None and key != "NAXIS"})
            fits.PrimaryHDU(header=header).writeto(directory / f"{number}.fits", overwrite=True)
        return {"files": "*.fits", "mode": "header", "cards": ["OBJECT", "EXPTIME", "NAXIS"]}

    def test_pins_say_what_was_read(self, tmp_path):
        """Only headers are read, so there is no checksum, and the pin says so."""
        source = self.source(tmp_path)
        self.table(source)
        assert [pin.detail for pin in source.pins()] == ["header only"] * 3
        assert (source.size(), source.done()) == (3, 3)


class TestSqlite(SourceContract):
    kind = "sql"
    rows = ROWS
    key = ["n"]
    has_files = False

    def make(self, directory):
        (directory / "stars.db").unlink(missing_ok=True)
        with sqlite3.connect(directory / "stars.db") as connection:
            connection.execute("CREATE TABLE stars (name TEXT, ra REAL, n INTEGER)")
            connection.executemany("INSERT INTO stars VALUES (?, ?, ?)", [tuple(row.values()) for row in ROWS])
        connection.close()
        return {"file": "stars.db", "table": "stars"}


@pytest.fixture(scope="module")
def database():
    with server() as url:
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

    def context(self, directory):
        return Context(directory=directory, secret=lambda _name: self.url)

    def make(self, directory):
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "DROP TABLE IF EXISTS stars; CREATE TABLE stars (name text, ra double precision, n integer, day date, seen timestamptz)"
            )
            for row in self.rows:
                seen = row["seen"] and row["seen"].replace(tzinfo=dt.UTC)
                values = (row["name"], row["ra"] if row["n"] != 3 else float("nan"), row["n"], row["day"], seen)
                connection.execute("INSERT INTO stars VALUES (%s, %s, %s, %s, %s)", values)
        return {"url": "$DB", "table": "stars"}


class TestPython(SourceContract):
    kind = "python"
    rows = ROWS
    has_files = False

    def make(self, directory):
        (directory / "walk.py").write_text(f"def rows():\n    yield from {ROWS!r}\n")
        return {"file": "walk.py"}


class TestQuery(SourceContract):
    kind = "query"
    rows = ROWS
    has_files = False

    def make(self, directory):
        return {"adql": "SELECT name, ra, n FROM stars"}

    def context(self, directory):
        return replace(
            super().context(directory),
            query=lambda adql: iter(pa.Table.from_pylist(ROWS).to_batches()) if adql else iter(()),
        )


@pytest.fixture(scope="module")
def maria():
    return mariadb.server()


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

    def context(self, directory):
        return Context(directory=directory, secret=lambda _name: self.server.url)

    def make(self, directory):
        self.server.do(
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
                        else self.server.literal(value)
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
class TestMariadbByOdbc(TestMariadb):
    def context(self, directory):
        return Context(directory=directory, secret=lambda _name: mariadb.odbc(self.server))


@pytest.mark.outside
class TestPostgresByOdbc(TestPostgres):
    def context(self, directory):
        home = self.url.partition("host=")[2]
        line = f"DRIVER={{PostgreSQL Unicode}};SERVER={home};DATABASE=postgres;UID=hven;PWD=sesame"
        return Context(directory=directory, secret=lambda _name: line)


@pytest.mark.outside
class TestSqliteByOdbc(TestSqlite):
    def make(self, directory):
        super().make(directory)
        return {"url": f"odbc:DRIVER={{SQLite3}};Database={directory}/stars.db", "table": "stars"}

    def test_blocks_are_summed_up(self, tmp_path):
        """It has no hash for that, and says so."""
        assert self.source(tmp_path).blocks(["n"], ["name"]) is None
