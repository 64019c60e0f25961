"""A site that publishes VOTables: ingest, sync and services keep the metadata of the source."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from test_source_votables import SAMPLE, check_schema
from votable_samples import describe_metadata, read_rows, write_answer

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.settings import load_settings
from hven.model.table import INPUT_DOCUMENT_KEY
from hven.query import build_result_metadata, run_query
from hven.site import Site, anonymize_for_referee
from hven.site.auth import Principal
from process_runner import run_hven

DESCRIPTOR = """\
collection: papers
title: Stars of papers
creators: [{name: X}]
tables:
  main:
    source: {kind: votable, file: main.vot}
    primary: twomass
    sync: {}
    columns:
      twomass: {type: string, ucd: meta.id;meta.main, description: Name in 2MASS}
      origin: {type: int32}
      magnitude: {type: float64, unit: mag}
      brightness: {type: float64}
    map:
      twomass: '"2MASS"'
      origin: '"2MASS.origin"'
      magnitude: V
      brightness: POWER(10, -0.4 * V)
  plain:
    source: plain.csv
"""
FORM = "votable;names=source;version=1.1"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "collections/papers"
    folder.mkdir(parents=True)
    (folder / "papers.yaml").write_text(DESCRIPTOR)
    (folder / "main.vot").write_bytes(SAMPLE)
    (folder / "plain.csv").write_text("name,x\nJ1,1\n")
    (tmp_path / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "papers")
        yield site


def ask(site: Site, query: str, form: str = FORM) -> bytes:
    answer = Client(create_and_start_application(site)).post("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT=form)
    assert answer.status == 200, answer.text
    return answer.body


def list_fields(data: bytes) -> list[dict[str, Any]]:
    return [attributes for _, tag, attributes, _ in describe_metadata(data) if tag == "FIELD"]


def test_columns_that_the_site_renames_come_back_by_their_names(site: Site) -> None:
    data = ask(site, "SELECT * FROM papers.main ORDER BY twomass")
    check_schema(data, "1.1")
    fields = list_fields(data)
    assert [(field["name"], field.get("ucd")) for field in fields[:3]] == [
        ("2MASS", "ID_2MASS"),
        ("2MASS.origin", "ID_2MASS.origin"),
        ("V", "phot.mag;em.opt.V"),
    ]
    assert fields[3]["name"] == "brightness", "its values are not those of a FIELD"
    assert [row[0] for row in read_rows(data)] == ["J1", "J2"]
    described = describe_metadata(data)
    assert [item for item in described if item[1] in {"GROUP", "PARAM", "OPTION", "VALUES"}] == [
        item for item in describe_metadata(SAMPLE) if item[1] in {"GROUP", "PARAM", "OPTION", "VALUES"}
    ]


@pytest.mark.parametrize("form", ["votable", "votable;version=1.5"])
def test_other_answers_are_as_before(site: Site, form: str) -> None:
    fields = list_fields(ask(site, "SELECT * FROM papers.main", form))
    assert [field["name"] for field in fields] == ["twomass", "origin", "magnitude", "brightness"]
    assert fields[0]["ucd"] == "meta.id;meta.main"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT magnitude, twomass FROM papers.main", ["V", "2MASS"]),
        ("SELECT twomass AS star, magnitude FROM papers.main", ["star", "V"]),
        ("SELECT magnitude + 1 AS fainter, MAX(origin) AS origin FROM papers.main GROUP BY magnitude", ["fainter", "origin"]),
        ("SELECT m.twomass, p.x FROM papers.main m JOIN papers.plain p ON p.name = m.twomass", ["2MASS", "x"]),
        ("SELECT p.name, m.magnitude FROM papers.plain p LEFT JOIN papers.main m ON p.name = m.twomass", ["name", "V"]),
        ("SELECT s.magnitude FROM (SELECT magnitude FROM papers.main) s", ["V"]),
        ("SELECT a.twomass, b.twomass FROM papers.main a JOIN papers.main b ON a.twomass = b.twomass", ["2MASS", "twomass_2"]),
        ("SELECT COUNT(*) AS n FROM papers.main", ["n"]),
        ("SELECT name FROM papers.plain", ["name"]),
        ("SELECT TOP 0 * FROM papers.main", ["2MASS", "2MASS.origin", "V", "brightness"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["1.1", "1.5"])
def test_columns_of_queries_find_their_fields(site: Site, query: str, names: list[str], version: str) -> None:
    data = ask(site, query, f"votable;names=source;version={version}")
    check_schema(data, version)
    assert [field["name"] for field in list_fields(data)] == names


def test_a_service_that_is_not_tap_has_the_form_too(site: Site) -> None:
    client = Client(create_and_start_application(site))
    answer = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM papers.main", FORMAT=FORM)
    assert list_fields(answer.body)[0]["name"] == "2MASS"


def test_an_error_of_the_form_is_told(site: Site) -> None:
    answer = Client(create_and_start_application(site)).post(
        "/tap/sync", LANG="ADQL", QUERY="SELECT * FROM papers.main", RESPONSEFORMAT=f"{FORM};serialization=BINARY2"
    )
    assert answer.status == 400
    assert "VOTable 1.1 has no serialization BINARY2; use serialization=TABLEDATA" in answer.text


def test_an_overflow_is_told_in_each_version(site: Site) -> None:
    client = Client(create_and_start_application(site))
    for version in ("1.1", "1.3", "1.5"):
        answer = client.post(
            "/tap/sync",
            LANG="ADQL",
            QUERY="SELECT * FROM papers.main",
            MAXREC=1,
            RESPONSEFORMAT=f"votable;names=source;version={version}",
        )
        check_schema(answer.body, version)
        assert b'"QUERY_STATUS" value="OVERFLOW"' in answer.body


def test_referees_who_must_not_know_the_authors_get_no_metadata_of_the_file(site: Site) -> None:
    referee = Principal(name="referee", groups=frozenset({"blind:papers"}))
    state = anonymize_for_referee(site.get_published_state(), referee)
    assert INPUT_DOCUMENT_KEY not in state.tables_by_name["papers.main"].table.extensions
    with run_query("SELECT * FROM papers.main", referee, site=site, published_state=state) as result:
        metadata = build_result_metadata(result)
        batches = list(result.iterate_batches())
    data = write_answer(metadata, batches, names="source", version="1.1")
    assert b"found 2" not in data
    assert [field["name"] for field in list_fields(data)] == ["twomass", "origin", "magnitude", "brightness"]


@pytest.mark.usefixtures("site")
def test_the_command_line_writes_the_form(tmp_path: Path) -> None:
    done = run_hven("query", "SELECT * FROM papers.main", "--format", FORM, "--site", tmp_path)
    data = done.stdout.encode()
    check_schema(data, "1.1")
    assert list_fields(data)[0]["name"] == "2MASS"


@pytest.mark.usefixtures("site")
def test_a_check_tells_of_faults(tmp_path: Path) -> None:
    path = tmp_path / "collections/papers/main.vot"
    path.write_bytes(SAMPLE.replace(b'<FIELDref ref="col0"/>', b'<FIELDref ref="gone"/>'))
    done = run_hven("check", "papers", "--site", tmp_path)
    assert "GROUP 'g2MASS' (line 18) has a FIELDref to 'gone'" in done.stdout + done.stderr


# --- sync -----------------------------------------------------------------------------------------------------------


def read_kept_document(site: Site) -> dict[str, Any]:
    table = site.get_published_state().tables_by_name["papers.main"].table
    kept = table.extensions[INPUT_DOCUMENT_KEY]
    return json.loads(json.dumps(kept))  # only what JSON can hold


def test_a_sync_of_rows_keeps_the_metadata(site: Site, tmp_path: Path) -> None:
    kept = read_kept_document(site)
    path = tmp_path / "collections/papers/main.vot"
    path.write_bytes(SAMPLE.replace(b"<TD>J2</TD>", b"<TD>J3</TD>"))
    report = sync_collection(site, "papers", accept_changes=True)
    assert report.published
    assert read_kept_document(site) == kept
    data = ask(site, "SELECT * FROM papers.main ORDER BY twomass")
    assert [row[0] for row in read_rows(data)] == ["J1", "J3"]
    assert list_fields(data)[0]["name"] == "2MASS"


def test_a_sync_sees_that_metadata_alone_have_changed(site: Site, tmp_path: Path) -> None:
    for _ in range(2):  # the second time, the rows are followed one by one
        path = tmp_path / "collections/papers/main.vot"
        text = path.read_bytes()
        changed = text.replace(b'title="page', b'title="page!').replace(b'name="g2MASS', b'name="g2MASS!')
        path.write_bytes(changed)
        before = site.get_published_state().version
        report = sync_collection(site, "papers")
        assert report.changes["papers.main"].format_summary() == "papers.main: other metadata, 2 rows"
        assert site.get_published_state().version != before, "cached answers are not repeated"
        data = ask(site, "SELECT * FROM papers.main")
        expected = [item for item in describe_metadata(changed) if item[1] in {"GROUP", "LINK"}]
        assert [item for item in describe_metadata(data) if item[1] in {"GROUP", "LINK"}] == expected


def test_a_sync_takes_over_metadata_that_the_descriptor_leaves_to_the_source(site: Site, tmp_path: Path) -> None:
    sync_collection(site, "papers")  # from now on, rows are followed one by one
    path = tmp_path / "collections/papers/main.vot"
    path.write_bytes(SAMPLE.replace(b'ucd="ID_2MASS.origin"', b'ucd="meta.code"'))
    sync_collection(site, "papers")
    data = ask(site, "SELECT origin FROM papers.main", "votable")
    assert list_fields(data)[0]["ucd"] == "meta.code"


def test_a_sync_without_a_change_publishes_nothing(site: Site) -> None:
    sync_collection(site, "papers")
    before = site.get_published_state().version
    sync_collection(site, "papers")
    assert site.get_published_state().version == before


def test_metadata_that_are_too_large_are_left_out_and_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hven.ingest._table_loader.MAX_INPUT_DOCUMENT_CHARACTERS", 100)
    report = ingest_collection(site, "papers")
    (deviation,) = report.tables["papers.main"].deviations
    assert "so Hven does not keep it" in deviation.message
    assert deviation.remedy == "shorten the file's descriptions, or remove INFO elements"
    table = site.get_published_state().tables_by_name["papers.main"].table
    assert INPUT_DOCUMENT_KEY not in table.extensions
    assert list_fields(ask(site, "SELECT * FROM papers.main"))[0]["name"] == "twomass"


def test_faults_of_the_metadata_are_told_at_the_ingest(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "collections/papers/main.vot"
    path.write_bytes(SAMPLE.replace(b'<FIELDref ref="col0"/>', b'<FIELDref ref="gone"/>'))
    report = ingest_collection(site, "papers")
    (deviation,) = report.tables["papers.main"].deviations
    assert deviation.file == "main.vot"
    assert "'gone'" in deviation.message


def test_astropy_reads_the_fields_of_the_source(site: Site) -> None:
    astropy_votable = pytest.importorskip("astropy.io.votable")
    for version in ("1.1", "1.4"):
        data = ask(site, "SELECT * FROM papers.main ORDER BY twomass", f"votable;names=source;version={version}")
        table = astropy_votable.parse(io.BytesIO(data)).get_first_table()
        assert [field.name for field in table.fields][:3] == ["2MASS", "2MASS.origin", "V"]
        assert [field.ID for field in table.fields][:3] == ["col0", "col1", "col2"]
        assert [group.name for group in table.groups] == ["g2MASS"]
        assert list(table.array["col0"]) == ["J1", "J2"]
