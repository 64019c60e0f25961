"""Schemas of documents and services become columns that can be compared; what is none is told."""

from __future__ import annotations

import gzip
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from schema_samples import FELIS, VOSI, VOTABLE, serve_documents, write_tap_schema

from hven.model.errors import ForbiddenError, HvenError, SourceError, UsageError
from hven.plugins.schema_life import model_addresses
from hven.plugins.schema_life.conflict_notes import add_note, read_conflict_notes
from hven.plugins.schema_life.model_addresses import ForeignSchemaCache, read_foreign_schema
from hven.plugins.schema_life.model_documents import read_model_document, read_model_file
from hven.plugins.schema_life.schema_comparison import compare_models
from hven.plugins.schema_life.vosi_documents import read_vosi_columns
from shared import shared


def list_types(model: object) -> list[tuple[str, str]]:
    return [(f"{column.table}.{column.name}", column.type) for column in model.columns]


def test_documents() -> None:
    votable = [("one.RA", "float64"), ("one.pm", "float32"), ("one.HIP", "int32"), ("two.mass", "float32")]
    assert list_types(read_model_document(VOTABLE, "x")) == votable
    assert list_types(read_model_document(gzip.compress(VOTABLE), "x")) == votable
    vosi = [("other.main.ra", "float64"), ("other.main.hip", "int32"), ("other.main.name", "string")]
    assert list_types(read_model_document(VOSI, "x")) == vosi
    assert list_types(read_model_document(b"<!-- once\na <VOTABLE > -->" + VOSI, "x")) == vosi
    assert list_types(read_model_document(FELIS, "x")) == [("main.ra", "float64"), ("main.hip", "int64")]


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://www.ivoa.net/xml/VODataService/v1.1"'])
def test_tables_of_vosi_are_read_in_any_namespace(namespace: str) -> None:
    column = (
        "<column><!-- a --><description> two&#9;words\r\n 'more' \"quoted\" </description><ucd/><flag>indexed</flag>"
        '<name>ra&#x1F600;</name><dataType arraysize="2&#10;x3" xtype="">double</dataType><name>second</name></column>'
    )
    data = (
        f"<v:tableset xmlns:v='http://www.ivoa.net/xml/VOSITables/v1.0'{namespace}><schema><name>s</name>"
        f"<table><name>s.empty</name></table><table>{column}<column/></table>"
        f"<table><name>\ns.b </name>{column * 2}</table></schema></v:tableset>"
    )
    columns = list(read_vosi_columns(data.encode(), "x"))
    assert [(item.table, item.name) for item in columns] == [("", "ra😀"), ("", ""), ("s.b", "ra😀"), ("s.b", "ra😀")]
    assert columns[0].description == "two words 'more' \"quoted\""
    assert [(item.type, item.unit, item.ucd) for item in columns[:2]] == [("float64[]", "", ""), ("", "", "")]
    long_name = "n" * 2_000_000
    (long_column,) = read_vosi_columns(
        f"<tableset><table><column><name>{long_name}</name></column></table></tableset>".encode(), "x"
    )
    assert long_column.name == long_name


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "contains no schema"),
        (b"name,ra\nVega,1\n", "contains no schema"),
        (VOTABLE[:300], "x: "),
        (b"<VOTABLE><RESOURCE><TABLE/></RESOURCE></VOTABLE>", "no columns"),
        (b"<tableset><schema>", "not well-formed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><tableset><table><name>&b;</name></table></tableset>', "no columns"),
        (b"name: a\ntables:\n- name: b\n  columns:\n  - {name: c, datatype: quaternion}\n", "quaternion"),
    ],
)
def test_bad_documents_are_told(data: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read_model_document(data, "x")


def test_bad_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_model_file(tmp_path / "none.vot", None)
    descriptor = tmp_path / "a.yaml"
    descriptor.write_text("collection: a\ntitle: A\ntables: {b: {source: b.csv}}\n")
    with pytest.raises(UsageError, match="must know the site"):
        read_model_file(descriptor, None)


def test_tap_services() -> None:
    documents = {"/tap/sync": write_tap_schema(), "/old/tables": VOSI, "/a.vot": VOTABLE, "/felis": FELIS}
    with serve_documents(documents) as url:
        expected = [("other.main.ra", "float64"), ("other.main.hip", "int32"), ("other.main.pm", "float32")]
        whole = [*expected, ("other.more.flux", "float64[]")]
        for address in (f"{url}/tap", f"{url}/tap/", f"{url}/tap/sync", f"{url}/tap#*"):
            assert list_types(read_foreign_schema(address, allow_private=True)) == whole
        assert list_types(read_foreign_schema(f"{url}/tap#other.MAIN", allow_private=True)) == expected
        assert len(read_foreign_schema(f"{url}/old", allow_private=True).columns) == 3
        assert len(read_foreign_schema(f"{url}/a.vot#one", allow_private=True).columns) == 3
        assert len(read_foreign_schema(f"{url}/felis", allow_private=True).columns) == 2
        with pytest.raises(SourceError, match="neither a TAP service nor another schema"):
            read_foreign_schema(f"{url}/nothing", allow_private=True)
        with pytest.raises(SourceError, match="no columns of the tables nothing"):
            read_foreign_schema(f"{url}/tap#nothing", allow_private=True)
        with pytest.raises(ForbiddenError):
            read_foreign_schema(f"{url}/tap", allow_private=False)


def test_integer_and_int4_are_no_difference() -> None:
    with serve_documents({"/tap/sync": write_tap_schema()}) as url:
        service = read_foreign_schema(f"{url}/tap", allow_private=True)
    document = read_model_document(VOTABLE, "file")
    comparison = compare_models([service, document])
    assert [conflict.kind for group in comparison.groups for conflict in group.conflicts] == []


def test_copies_are_used_while_a_server_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ForeignSchemaCache(tmp_path)
    with serve_documents({"/tap/sync": write_tap_schema()}) as url:
        first = cache.find_or_read_model(f"{url}/tap", allow_private=True)
        copy = cache.find_or_read_model(f"{url}/tap", allow_private=True)
        assert (copy.read_at, copy.fault) == (first.read_at, "")
    monkeypatch.setattr("hven.plugins.schema_life.model_addresses.COPY_LIFETIME", first.read_at - first.read_at)
    cache = ForeignSchemaCache(tmp_path)  # after a restart
    copy = cache.find_or_read_model(f"{url}/tap", allow_private=True)
    assert (list(copy.columns), copy.read_at, bool(copy.fault)) == (list(first.columns), first.read_at, True)
    unknown = cache.find_or_read_model(f"{url}/tap#other.main", allow_private=True)
    assert (len(unknown.columns), bool(unknown.fault)) == (0, True)
    with pytest.raises(ForbiddenError):
        cache.find_or_read_model(f"{url}/tap#*.main", allow_private=False)


def test_services_select_tables_without_regard_to_case(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = []
    monkeypatch.setattr(
        model_addresses,
        "_fetch_document",
        lambda url, **_: urls.append(parse_qs(urlsplit(url).query)["QUERY"][0]) or write_tap_schema(),
    )
    read_foreign_schema("https://a.example/tap#OTHER.Main", allow_private=True)
    assert urls == ["SELECT * FROM TAP_SCHEMA.columns WHERE LOWER(table_name) LIKE 'other.main'"]


def test_services_write_their_columns_in_many_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = (
        '<FIELD name="TABLE_NAME" datatype="char" arraysize="*"/><FIELD name="Column_Name" datatype="char" arraysize="*"/>'
        '<FIELD name="datatype" datatype="char" arraysize="*"/><FIELD name="arraysize" datatype="int"/>'
        '<FIELD name="unit" datatype="int" arraysize="2"/><FIELD name="description" datatype="char" arraysize="*"/>'
    )
    rows = (
        "<TR><TD>s.t</TD><TD>&quot;a b&quot;</TD><TD>double</TD><TD>3</TD><TD>1 2</TD><TD> two\n words </TD></TR>"
        "<TR><TD>s.t</TD><TD>n</TD><TD>int</TD><TD/><TD/><TD/></TR>"
        "<TR><TD>tap_schema.tables</TD><TD>n</TD><TD>int</TD><TD/><TD/><TD/></TR>"
    )
    table = f"<RESOURCE><TABLE>{fields}<DATA><TABLEDATA>%s</TABLEDATA></DATA></TABLE></RESOURCE>"
    document = f'<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">{table}</VOTABLE>'
    monkeypatch.setattr(model_addresses, "_fetch_document", lambda *_, **__: (document % rows).encode())
    model = read_foreign_schema("https://a.example/tap", allow_private=True)
    assert [tuple(column)[1:] for column in model.columns] == [
        ("s.t", "a b", "float64[]", "", "", "", "two words", ()),
        ("s.t", "n", "int32", "", "", "", "", ()),
    ]
    monkeypatch.setattr(model_addresses, "_fetch_document", lambda *_, **__: (document % "").encode())
    with pytest.raises(SourceError, match="describes no columns of the tables"):
        read_foreign_schema("https://a.example/tap", allow_private=True)


def test_notes(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    assert read_conflict_notes(path) == {}
    add_note(path, "0123456789ab", "agreed\nby all")
    assert read_conflict_notes(path) == {"0123456789ab": "agreed by all"}
    for conflict_id, text in (("0123", "a"), ("0123456789ab", " "), ("# comment", "a")):
        with pytest.raises(UsageError):
            add_note(path, conflict_id, text)
    path.write_text("# ours\n\n0123456789ab fine\nwhat is this\n")
    with pytest.raises(HvenError, match=r"notes.txt:4: the line is not a note"):
        read_conflict_notes(path)


def test_getstar() -> None:
    """The service of the interferometry centre: its columns, units and enumerations, from its own VOTable."""
    model = read_model_file(shared("data/interferometry/getstar-votable.vot"), None)
    names = {column.name for column in model.columns}
    assert len(names) > 50
    assert any(name.endswith(".confidence") for name in names)
