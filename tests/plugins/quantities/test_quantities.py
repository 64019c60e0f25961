"""Quantities in descriptors, answers and pages: columns, computed values, groups, codes, words and colours."""

from __future__ import annotations

import json
from math import hypot, isclose
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from asgi_client import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from quantity_samples import FILES, STARS
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.settings import Settings
from hven.query import run_query
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_verb


def fetch_rows(site: Site, query: str) -> list[dict[str, Any]]:
    result = run_query(query, site=site)
    try:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    finally:
        result.close()


def test_each_quantity_has_the_columns_that_it_declares(site: Site) -> None:
    table = site.get_published_state().tables_by_name["stars.main"].table
    names = [column.name for column in table.columns]
    assert names[:7] == ["id", "e_K", "V", "e_V", "V_origin", "V_confidence", "K"]
    assert [name for name in names if "plx" in name] == ["plx", "plx_lower", "plx_upper", "plx_origin"]
    error, origin = table.find_column("e_V"), table.find_column("V_origin")
    assert (error.unit, error.ucd, error.description) == ("mag", "stat.error;phot.mag;em.opt.V", "Error of V")
    assert (origin.ucd, origin.enum, str(origin.type)) == ("meta.ref;phot.mag;em.opt.V", "origins", "int32")
    assert table.find_column("V_confidence").ucd == "meta.code.qual;phot.mag;em.opt.V"
    assert table.find_column("plx_upper").ucd == "pos.parallax;stat.max"
    assert table.find_column("e_K").description == "Error that the observer wrote"
    assert table.enums["confidences"] == {"0": "none", "1": "low", "2": "medium", "3": "high"}
    groups = {group.name: dict(group.roles) for group in table.groups}
    assert groups["VK"] == {
        "value": "VK", "error": "e_VK", "origin": "VK_origin", "confidence": "VK_confidence"
    }  # fmt: skip


def test_a_value_of_the_source_is_null_if_an_input_is_null(tmp_path: Path) -> None:
    """The key `from` names inputs; without `value`, the source has the computed column."""
    text = STARS.replace(
        "      sptype: {type", "      teff: {from: [K], unit: K, ucd: phys.temperature}\n      sptype: {type"
    )
    rows = FILES["a.csv"].splitlines()
    files = FILES | {"a.csv": "\n".join([f"{rows[0]},teff", *(f"{row},5000" for row in rows[1:])]) + "\n"}
    with open_site_with_uningested_files(tmp_path, text, files) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        rows_by_id = {row["id"]: row for row in fetch_rows(site, "SELECT id, teff, teff_origin FROM stars.main")}
    assert [rows_by_id[number]["teff"] for number in (1, 2, 3)] == [5000, None, 5000]
    assert [rows_by_id[number]["teff_origin"] for number in (1, 2, 3)] == [2, None, 2]


def test_computed_values_inherit_nulls_origins_and_the_lowest_confidence(site: Site) -> None:
    rows = {row["id"]: row for row in fetch_rows(site, "SELECT * FROM stars.main")}
    assert [rows[number]["VK"] for number in (1, 2, 3, 4)] == [2.0, None, 1.0, 4.0]
    assert [rows[number]["VK_origin"] for number in (1, 2, 3, 4)] == [2, None, 2, 2]
    assert [rows[number]["VK_confidence"] for number in (1, 2, 3, 4)] == [2, None, 0, 0]
    # the parallax is missing in row 4, and has no confidence in the others
    assert [rows[number]["size"] is None for number in (1, 2, 3, 4)] == [False, True, False, True]
    assert [rows[number]["size_confidence"] for number in (1, 3)] == [0, 0]
    assert [rows[number]["ratio_origin"] for number in (1, 2)] == [0, None]
    assert rows[1]["ratio_confidence"] == 1
    assert rows[2]["K_confidence"] is None  # without a value, the code of the source says nothing


def test_first_order_errors_are_those_of_the_derivatives(site: Site) -> None:
    row = next(row for row in fetch_rows(site, "SELECT * FROM stars.main") if row["id"] == 1)
    assert isclose(row["e_VK"], hypot(0.01, 0.03))
    factor = np.log(10) * row["size"]
    # size depends on K directly, and on V - K with its own error
    assert isclose(row["e_size"], hypot(0.0755 * row["e_VK"], 0.2 * row["e_K"]) * factor, rel_tol=1e-3)
    assert isclose(row["e_ratio"], row["ratio"] * hypot(0.01 / 5, 0.03 / 3), rel_tol=1e-3)


def test_an_answer_has_the_group_if_all_columns_are_selected(client: Client) -> None:
    def query(columns: str) -> str:
        parameters = urlencode({"LANG": "ADQL", "QUERY": f"SELECT {columns} FROM stars.main"})
        return client.ask("GET", f"/tap/sync?{parameters}").text

    whole = query("VK, e_VK, VK_origin, VK_confidence")
    assert '<GROUP name="VK" ucd="phot.color">' in whole
    assert '<OPTION name="2MASS" value="14"/>' in whole
    assert "<GROUP" not in query("VK, e_VK, VK_origin")
    short_form = query("id, VK.*")
    assert '<GROUP name="VK" ucd="phot.color">' in short_form
    assert short_form.count("<FIELD ") == 5


def test_a_sync_computes_only_what_has_changed(tmp_path: Path) -> None:
    descriptor = STARS.replace("files: a.csv}\n    primary: id", "files: 'a*.csv'}\n    sync: {}\n    primary: id", 1)
    with open_site_with_uningested_files(tmp_path, descriptor, FILES) as site:
        ingest_collection(site, "stars")
        first_report = sync_collection(site, "stars").changes["stars.main"]
        head, row, *_ = FILES["a.csv"].splitlines()
        (tmp_path / "collections/stars/a2.csv").write_text(f"{head}\n9{row[1:]}\n")
        second_report = sync_collection(site, "stars").changes["stars.main"]
        assert (first_report.mapped, first_report.added) == (0, 0)
        assert (second_report.mapped, second_report.added, second_report.changed) == (1, 1, 0)


def test_the_page_of_a_row_shows_words_and_references(client: Client) -> None:
    page = client.ask("GET", "/collections/stars/main/quantities?_row=[1]", headers={"accept": "text/html"})
    text = " ".join(page.text.split())
    assert '3 <span class="quantity-error">± 0.03</span> mag' in text
    assert 'data-level="medium"><span class="only-heard">confidence: </span>medium</span>' in text
    assert '2MASS <a href="https://ui.adsabs.harvard.edu/abs/2003yCat.2246....0C"' in text
    assert "(9 … 11)</span> mas" in text
    french = client.ask("GET", "/collections/stars/main/quantities?_row=[1]&lang=fr", headers={"accept": "text/html"})
    assert "confiance : </span>moyenne" in " ".join(french.text.split())


def test_the_pages_of_rows_and_their_json(client: Client) -> None:
    answer = client.ask("GET", "/collections/stars/main/quantities.json?V=8")
    rows = json.loads(answer.text)["rows"]
    assert len(rows) == 1
    values = {value["name"]: value for value in rows[0]}
    assert (values["V"]["value"], values["V"]["error"], values["V"]["level"]) == ("8", "0.02", "high")
    assert (values["K"]["origin"], values["K"]["level"], values["size"]["value"]) == ("none", "none", "")
    page = client.ask("GET", "/collections/stars/main/quantities?_from=2", headers={"accept": "text/html"})
    assert page.status == 200
    assert 'rel="prev"' in page.text
    for query in ("_row=[77]", '_row=["x"]', "_row=[1"):
        assert client.ask("GET", f"/collections/stars/main/quantities?{query}").status == 404, query
    assert client.ask("GET", "/collections/stars/main/quantities?_from=-1").status == 400


def test_only_tables_with_quantities_list_them(client: Client) -> None:
    def read(name: str) -> str:
        return client.ask("GET", f"/collections/stars/{name}", headers={"accept": "text/html"}).text

    page = read("main")
    assert "?_cols=id&amp;_cols=VK&amp;_cols=e_VK&amp;_cols=VK_origin&amp;_cols=VK_confidence" in page
    assert 'data-pane="row_quantities"' in page
    assert "quantities" not in read("plain")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("W: {value: target.V - target.Q}", "has no column 'Q'"),
        ("W: {value: vmag, from: [nothing]}", "there is no other quantity 'nothing'"),
        ("W: {value: vmag, from: [W]}", "there is no other quantity 'W'"),
        ("W: {value: vmag, error: first order}", "Hven cannot compute this error"),
        ("W: {value: target.plx * 2, error: first order}", "Hven cannot compute this error"),
        ("W: {value: vmag, origin: 77}", "origin: there is no code 77"),
        ("W: {value: vmag, confidence: 4}", "confidence: there is no code 4"),
        ("W: {value: vmag, origin: ASKC}", "the source has no column 'ASKC'"),
        ("W: {value: vmag, unit: blarg}", "blarg"),
        ("W: {value: (vmag}", "is not closed"),
        ("W: {value: vmag, eror: 1}", "eror"),
        ("W: {value: target.W + target.V}", "W"),
        ("W: [1, 2]", "quantities.W"),
        ('"a b": {value: vmag}', ""),
    ],
)
def test_faults_have_their_place(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "collections" / "stars" / "stars.yaml"
    path.parent.mkdir(parents=True)
    text = STARS.replace("      plx: {unit", f"      {line}\n      plx: {{unit")
    path.write_text(text)
    for name, content in FILES.items():
        (path.parent / name).write_text(content)
    faults = [one for one in check_descriptor(path, Settings(directory=tmp_path)) if one.severity == "error"]
    assert bool(faults) == bool(fault), faults
    assert not fault or any(fault in f"{one.message} {one.remedy}" for one in faults), faults
    assert all(one.place.line == 1 + text[: text.index(line)].count("\n") for one in faults), faults


def test_a_computed_value_needs_an_origin(tmp_path: Path) -> None:
    path = tmp_path / "collections" / "stars" / "stars.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(STARS.replace("      2: computed\n", ""))
    for name, content in FILES.items():
        (path.parent / name).write_text(content)
    faults = check_descriptor(path, Settings(directory=tmp_path))
    messages = [one.message for one in faults if "no entry of `origins`" in one.message]
    assert len(messages) == 2  # VK and size; the third has an origin of its own


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=3, deadline=None)  # each ingests 200 rows
def test_sums_have_the_errors_of_the_textbook(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    random = np.random.default_rng(seed)
    names = "abcd"
    values, errors = random.uniform(-50, 50, (200, 4)), random.uniform(1e-3, 1, (200, 4))
    quantities = "".join(f"      {name}: {{value: {name}_in, error: {name}_err}}\n" for name in names)
    descriptor = (
        "collection: s\ntables:\n  t:\n    source: {kind: csv, files: a.csv}\n    origins: {2: computed}\n"
        f"    quantities:\n{quantities}"
        f"      total: {{value: {' - '.join(f'2 * target.{name}' for name in names)}, error: first order}}\n"
        "    columns: {id: int32}\n"
    )
    lines = [",".join(["id", *(f"{name}_in,{name}_err" for name in names)])]
    for number in range(200):
        cells = [
            f"{value!r},{error!r}"
            for value, error in zip(values[number].tolist(), errors[number].tolist(), strict=True)
        ]
        lines.append(",".join([str(number), *cells]))
    content = {"a.csv": "\n".join(lines) + "\n"}
    with open_site_with_uningested_files(tmp_path_factory.mktemp("s"), descriptor, content) as site:
        ingest_collection(site, "s")
        site.refresh_published_state()
        computed = [row["e_total"] for row in fetch_rows(site, "SELECT e_total FROM s.t ORDER BY id")]
    assert np.allclose(computed, 2 * np.sqrt((errors**2).sum(axis=1)), rtol=1e-8)


def test_the_export_to_cds_keeps_the_names_and_explains_the_codes(site: Site, tmp_path: Path) -> None:
    require_verb("export")
    (site.settings.directory / "hven.toml").write_text("")
    arguments = ["--site", str(site.settings.directory), "export", "stars.main", "--to", "cds", str(tmp_path / "out")]
    result = CliRunner().invoke(build_typer_app(), arguments)
    assert result.exit_code == 0, result.output
    readme = (tmp_path / "out" / "ReadMe").read_text()
    assert " e_VK " in readme
    assert "14 = 2MASS" in readme
