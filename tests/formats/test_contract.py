"""Every built-in format through the contract, read back by somebody else where somebody else can."""

from __future__ import annotations

import csv
import io
import json
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from hven.formats.votable import read_votable
from hven.model import plugins
from hven.testing.format import FormatContract


class VOTable(FormatContract):
    name = "votable"
    marks_errors = True

    def read_rows(self, data):
        return [row for batch in read_votable(io.BytesIO(data)).batches for row in batch.to_pylist()]


class TestBinary2(VOTable):
    options = {"serialization": "BINARY2"}


class TestBinary(VOTable):
    options = {"serialization": "binary"}


class TestTableData(VOTable):
    options = {"serialization": "TableData"}


class TestCsv(FormatContract):
    name = "csv"

    def read_rows(self, data):
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


class TestTsv(FormatContract):
    name = "tsv"

    def read_rows(self, data):
        return list(csv.DictReader(io.StringIO(data.decode()), delimiter="\t", quoting=csv.QUOTE_NONE))

    def check_row_count(self, data, expected_count):
        lines = data.decode().split("\n")
        assert lines[-1] == ""
        assert len(lines) == expected_count + 2
        assert len({line.count("\t") for line in lines[:-1]}) == 1


class TestJson(FormatContract):
    name = "json"

    def read_rows(self, data):
        told = json.loads(data)
        names = [column["name"] for column in told["metadata"]]
        assert all(len(row) == len(names) for row in told["data"])
        return [dict(zip(names, row, strict=True)) for row in told["data"]]


class TestGeoJson(FormatContract):
    name = "geojson"

    def read_rows(self, data):
        told = json.loads(data)
        assert told["type"] == "FeatureCollection"
        assert all(one["type"] == "Feature" for one in told["features"])
        return [one["properties"] for one in told["features"]]


class TestText(FormatContract):
    name = "text"

    def check_row_count(self, data, expected_count):
        lines = data.decode().split("\n")
        assert lines[-1] == ""
        assert len([line for line in lines[:-1] if line != "(there are more rows)"]) == expected_count + 2


class TestParquet(FormatContract):
    name = "parquet"

    def read_rows(self, data):
        return pq.ParquetFile(io.BytesIO(data)).read().to_pylist()


class TestArrow(FormatContract):
    name = "arrow"

    def read_rows(self, data):
        return pa.ipc.open_stream(data).read_all().to_pylist()


class TestFits(FormatContract):
    name = "fits"
    widest = 999

    def read_rows(self, data):
        assert len(data) % 2880 == 0
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*NULL .undefined. values.*")
            warnings.filterwarnings("ignore", message="It is strongly recommended that column names.*")
            with fits.open(io.BytesIO(data)) as units:
                units.verify("exception")
                table = units[1].data
                return [{name: table[name][number] for name in table.names} for number in range(len(table))]


def test_no_format_is_forgotten():
    tried = {
        one.name
        for one in (
            VOTable,
            TestCsv,
            TestTsv,
            TestJson,
            TestGeoJson,
            TestText,
            TestParquet,
            TestArrow,
            TestFits,
        )
    }
    package_formats = {name for package in plugins.list_plugin_packages() for name in package.formats}
    assert set(plugins.list_plugins("formats")) - package_formats == tried
