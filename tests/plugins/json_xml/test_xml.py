"""XML as a source: records by name or XPath, types as they look, faults with their lines; nothing is fetched, and no bomb goes off."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from hven.model.errors import SourceError
from hven.model.settings import Settings
from hven.plugins.json_xml import xml_source
from hven.sources import SourceContext
from hven.testing.source import SourceContract
from plugin_needs import create_descriptor

TEXT = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!-- a night -->
<log xmlns="http://a.example/ns" night="2020-01-01">
  <observer>Tycho</observer>
  <obs id="00042"><name>M 31</name><pos><ra>10.6847</ra><dec>41.26875</dec></pos><band>B</band><band>V</band><good>true</good></obs>
  <obs id="00043"><name>Étoile</name><pos><ra>12</ra></pos><band>R</band><note kind="sky">cirrus &amp; wind</note></obs>
</log>
""".encode("latin-1")


def open_source(directory: Path, text: bytes | str = TEXT, context: SourceContext | None = None, **options: Any) -> Any:
    (directory / "log.xml").write_bytes(text if isinstance(text, bytes) else text.encode())
    said = xml_source.Options.model_validate({"files": "log.xml", **options})
    return xml_source.open(said, context or SourceContext(directory=directory))


def rows(source: Any) -> list[dict[str, Any]]:
    return [row for batch in source.read_batches() for row in batch.to_pylist()]


class TestXml(SourceContract):
    kind = "xml"
    rows: ClassVar[list[dict[str, Any]]] = [
        {"@id": "00042", "name": "M 31", "pos.ra": 10.6847, "pos.dec": 41.26875, "band": ["B", "V"], "good": True, "note.@kind": None, "note.#text": None},
        {"@id": "00043", "name": "Étoile", "pos.ra": 12.0, "pos.dec": None, "band": ["R"], "good": None, "note.@kind": "sky", "note.#text": "cirrus & wind"},
    ]  # fmt: skip

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        (directory / "log.xml").write_bytes(TEXT)
        return {"files": "log.xml", "record": "obs"}


def test_records_are_found_and_chosen(tmp_path: Path):
    assert rows(open_source(tmp_path)) == TestXml.rows
    assert rows(open_source(tmp_path, record="/log/obs")) == TestXml.rows
    with pytest.raises(SourceError, match="no records"):
        open_source(tmp_path, record="night/obs").list_columns()


def test_paths_define_the_columns(tmp_path: Path):
    fields = {
        "name": "name",
        "id": "number(@id)",
        "bands": "band",
        "first": "band[1]",
        "n": "count(band)",
        "kind": "note/@kind",
        "night": "ancestor::log/@night",
    }
    first, second = rows(open_source(tmp_path, record="obs", fields=fields))
    assert first == {
        "name": "M 31",
        "id": 42.0,
        "bands": ["B", "V"],
        "first": "B",
        "n": 2.0,
        "kind": None,
        "night": "2020-01-01",
    }
    assert second["kind"] == "sky"
    with pytest.raises(SourceError, match=r"fields\.a: 'name\[' is not an XPath"):
        open_source(tmp_path, fields={"a": "name["})


def test_namespaces_tell_names_apart(tmp_path: Path):
    text = '<r xmlns:a="urn:a" xmlns:b="urn:b"><a:o><a:x>1</a:x><b:x>2</b:x></a:o><b:o><a:x>3</a:x></b:o><a:o><b:x>4</b:x></a:o></r>'
    said = {"p": "urn:a", "q": "urn:b"}
    found = rows(open_source(tmp_path, text, record="p:o", fields={"x": "p:x", "y": "q:x"}, namespaces=said))
    assert found == [{"x": 1, "y": 2}, {"x": None, "y": 4}]


UNDECLARED = '<r>\n<v:o v:id="1"><w:x>2</w:x></v:o>\n<v:o v:id="2"><w:x>3</w:x></v:o></r>'


@pytest.mark.parametrize("options", [{}, {"record": "o"}, {"record": "o", "fields": {"x": "x"}}])
def test_a_prefix_that_is_never_declared_is_a_fault_with_its_line(tmp_path: Path, options: dict[str, Any]):
    with pytest.raises(SourceError, match=r"log\.xml:2:\d+: not XML: Namespace prefix v .* is not defined"):
        rows(open_source(tmp_path, UNDECLARED, **options))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT[:-40], "not XML: "),
        (TEXT.replace(b"</name>", b"</nome>", 1), r"log\.xml:5:\d+: not XML: .*name"),
        (b"", "not XML"),
        (b"name,ra\n1,2\n", "not XML"),
        (b"<log/>", "no records"),
    ],
)
def test_bad_files_are_told_with_their_lines(tmp_path: Path, text: bytes, words: str):
    with pytest.raises(SourceError, match=words):
        rows(open_source(tmp_path, text))


def test_values_that_do_not_fit_are_kept_aside_with_their_lines(tmp_path: Path):
    rejects: list[Any] = []
    context = SourceContext(directory=tmp_path, on_reject=rejects.append)
    found = rows(
        open_source(tmp_path, TEXT.replace(b">12<", b">noon<"), context, record="obs", types={"pos.ra": "float64"})
    )
    assert [row["@id"] for row in found] == ["00042"]
    assert [(one.row, one.column, one.value) for one in rejects] == [(2, "pos.ra", "line 6: noon")]


def test_nothing_is_fetched_and_no_bomb_goes_off(tmp_path: Path):
    (tmp_path / "secret").write_text("geheim")
    text = f'<!DOCTYPE r [<!ENTITY s SYSTEM "file://{tmp_path}/secret"><!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><r><o><x>&s;</x><y>&b;</y></o><o><x>1</x></o></r>'
    assert "geheim" not in str(rows(open_source(tmp_path, text)))


def test_many_xml_elements_are_streamed(tmp_path: Path):
    many = b"<r>" + b"<o><x>1</x></o>" * 50_000 + b"</r>"
    source = open_source(tmp_path, many)
    assert sum(batch.num_rows for batch in source.read_batches()) == 50_000
    assert sum(batch.num_rows for batch in source.read_batches(row_limit=7)) == 7


def test_new_drafts_a_descriptor(tmp_path: Path):
    (tmp_path / "log.xml").write_bytes(TEXT)
    text = create_descriptor(Settings(directory=tmp_path), "night", str(tmp_path / "log.xml")).read_text()
    assert "kind: xml" in text
    assert "name: " in text or "name " in text


def write_votable(*parts: str) -> str:
    return f'<VOTABLE version="1.4"><RESOURCE type="results">{"".join(parts)}</RESOURCE></VOTABLE>'


def write_table(rows: list[tuple[int, int]]) -> str:
    body = "".join(f"<TR><TD>{first}</TD><TD>{second}</TD></TR>" for first, second in rows)
    fields = '<FIELD name="id" datatype="int"/><FIELD name="v" datatype="int"/>'
    return f'<TABLE name="t">{fields}<DATA><TABLEDATA>{body}</TABLEDATA></DATA></TABLE>'


@pytest.mark.parametrize("at_end", [True, False])
def test_a_part_of_a_votable_is_not_read(tmp_path: Path, at_end: bool):
    options = {"record": "TR", "fields": {"v": "*[1]"}}
    text = write_votable('<INFO name="QUERY_STATUS" value="OK"/>', write_table([(1, 2), (3, 4)]))
    assert rows(open_source(tmp_path, text, **options)) == [{"v": 1}, {"v": 3}]
    parts = [write_table([(1, 2)]), '<INFO name="QUERY_STATUS" value="OVERFLOW"/>']
    with pytest.raises(SourceError, match=r"log\.xml:1: the VOTable was truncated"):
        rows(open_source(tmp_path, write_votable(*(parts if at_end else reversed(parts))), **options))
