"""Custom grammars that read Elasticsearch, and queries that grammars of databases compute: both from code that never runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from migration_sites import convert_text

from hven.plugins.migration.elastic_grammar import find_document_fields, find_query_text, read_elastic_index_address

SCRIPT = """
class RowIterator(CustomRowIterator):
    def _iterRows(self):
        open(MARKER, "w")
        for hit in ask(self.sourceToken)["hits"]["hits"]:
            source = hit["_source"]
            fits = source.get("fits")
            row = {"id": hit["_id"], "start": source["time"]["begin"], "name": fits["name"]}
            row["kilobytes"] = fits["bytes"] // 1024
            row["kind"] = "fixed"
            yield row
"""
DESCRIPTOR = """<resource schema="sky"><table id="main" onDisk="True">
<column name="id" type="text"/><column name="start" type="text"/><column name="kilobytes" type="integer"/></table>
<data id="i"><sources pattern="query.json"/><customGrammar module="read"/>
<make table="main"><rowmaker idmaps="*"/></make></data></resource>"""
QUERY = {
    "query_url": "https://user:sesame@es.example.org:9200/nrh-*/_search",
    "query_data": {"query": {"match_all": {}}},
}


def test_fields_of_documents_are_found() -> None:
    fields, computed_names = find_document_fields(SCRIPT)
    assert fields == {"id": "_id", "start": "_source.time.begin", "name": "_source.fits.name"}
    assert computed_names == ["kilobytes"]


@pytest.mark.parametrize("code", ["print 'old'", "def f(:", "", "x = " + "(" * 500])
def test_code_that_is_not_python_has_no_fields(code: str) -> None:
    assert find_document_fields(code) == ({}, [])
    assert find_query_text(code) == ""


def test_a_script_with_a_query_becomes_a_source(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    site_files = convert_text(
        tmp_path,
        DESCRIPTOR,
        read__py=SCRIPT.replace("MARKER", repr(str(marker))) + "# requests.get(url, verify=False)\n",
        query__json=json.dumps(QUERY),
    )
    table = site_files.load_descriptor("sky")["tables"]["main"]
    source = table["source"]
    assert (source["kind"], source["url"], source["index"]) == ("elastic", "https://es.example.org:9200", "nrh-*")
    assert source["query"].endswith("inputs/sky/query.json")
    assert table["map"]["start"] == '"_source.time.begin"'
    report = site_files.read_report("sky")
    assert "kilobytes is computed by read: write it as `map`" in report
    assert "the script did not check the server's certificate" in report
    assert "sesame" not in report + site_files.read_file("sky", "sky.yaml")
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"query": {}}',
        '{"query_url": 7, "query_data": {}}',
        '{"query_url": "file:///etc/passwd", "query_data": {}}',
        '{"query_url": "https://es.example.org/", "query_data": {}}',
        "[" * 5000,
    ],
)
def test_other_files_are_no_queries(tmp_path: Path, text: str) -> None:
    path = tmp_path / "query.json"
    path.write_text(text)
    assert read_elastic_index_address(path) is None
    assert read_elastic_index_address(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('return "SELECT * FROM t" + limit', "SELECT * FROM t"),
        ('return f"SELECT a FROM t{limit}"', "SELECT a FROM t"),
        ('return "SELECT a FROM t WHERE {}".format(limit)', "SELECT a FROM t"),
        ('q = "SELECT MAX(x) FROM \\schema.main"\nreturn "SELECT a,\\n b FROM t"', "SELECT a, b FROM t"),
        ('return "nothing"', ""),
    ],
)
def test_queries_are_found_in_code(code: str, expected: str) -> None:
    assert find_query_text(code) == expected
