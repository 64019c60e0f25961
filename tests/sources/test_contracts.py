"""Every built-in source keeps the contract."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from hven.testing.source import SourceContract
from number_writers import write_numbers

ROWS = [
    {"name": "Vega", "ra": 279.23, "n": 1},
    {"name": "Deneb", "ra": 310.36, "n": 2},
    {"name": None, "ra": None, "n": 3},
]


class TestCsv(SourceContract):
    kind = "csv"
    rows = ROWS

    def write_source_files(self, directory):
        (directory / "stars.csv").write_text("name,ra,n\nVega,279.23,1\nDeneb,310.36,2\n,,3\n")
        return {"files": "stars.csv"}

    def write_number_files(self, directory, values):
        return write_numbers("csv", directory, values)


class TestFixed(SourceContract):
    kind = "fixed"
    rows = ROWS

    def write_source_files(self, directory):
        (directory / "stars.dat").write_text("Vega  279.23 1\nDeneb 310.36 2\n             3\n")
        return {"files": "stars.dat", "fields": {"name": "1-5", "ra": "7-12", "n": 14}}

    def write_number_files(self, directory, values):
        return write_numbers("fixed", directory, values)


class TestFiles(SourceContract):
    kind = "files"
    rows = [
        {
            "path": name, "title": name, "description": None, "media_type": "text/csv", "bytes": len(text),
            "sha256": hashlib.sha256(text.encode()).hexdigest(), "modified": dt.datetime(2026, 1, 2, 3, 4, 5), "quoted": quoted, "direct": None,
        }
        for name, quoted, text in (("a b.csv", "a%20b.csv", "x\n"), ("c.csv", "c.csv", "x\n1\n"))
    ]  # fmt: skip

    def write_source_files(self, directory):
        moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC).timestamp()
        for name, text in (("a b.csv", "x\n"), ("c.csv", "x\n1\n")):
            (directory / name).write_text(text)
            os.utime(directory / name, (moment, moment))
        return {"files": "*.csv"}


class TestParquet(SourceContract):
    kind = "parquet"
    rows = ROWS

    def write_source_files(self, directory):
        pq.write_table(pa.Table.from_pylist(ROWS), directory / "stars.parquet")
        return {"files": "stars.parquet"}

    def write_number_files(self, directory, values):
        return write_numbers("parquet", directory, values)


class TestVotable(SourceContract):
    kind = "votable"
    rows = ROWS

    def write_source_files(self, directory):
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

    def write_number_files(self, directory, values):
        return write_numbers("votable-td", directory, values)


class TestPython(SourceContract):
    kind = "python"
    rows = ROWS
    has_files = False

    def write_source_files(self, directory):
        (directory / "walk.py").write_text(f"def rows():\n    yield from {ROWS!r}\n")
        return {"file": "walk.py"}


class TestQuery(SourceContract):
    kind = "query"
    rows = ROWS
    has_files = False

    def write_source_files(self, directory):
        return {"adql": "SELECT name, ra, n FROM stars"}

    def build_source_context(self, directory):
        return replace(
            super().build_source_context(directory),
            run_query=lambda adql: iter(pa.Table.from_pylist(ROWS).to_batches()) if adql else iter(()),
        )
