"""``hven compare`` and the refusals of ``hven export``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from schema_samples import FELIS, VOSI, VOTABLE

from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven


def test_compare(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "other.vot").write_bytes(VOTABLE)
    (tmp_path / "other.xml").write_bytes(VOSI)
    (tmp_path / "felis.yaml").write_bytes(FELIS)
    names = [str(tmp_path / name) for name in ("other.vot", "other.xml", "felis.yaml")]
    same = run_hven("--site", directory, "compare", "stars", names[0], "--fail-on", "utype")
    assert "9 columns" in same.stdout
    output = run_hven("--site", directory, "compare", "stars", *names, expected_code=1)
    assert "deg (stars: stars.main.ra, " in output.stdout
    assert "rad (" in output.stdout
    assert "convertible" in output.stdout
    content = json.loads(run_hven("--site", directory, "compare", "stars", *names, "--json", expected_code=1).stdout)
    conflicts = [conflict for group in content["groups"] for conflict in group["conflicts"]]
    kinds = sorted(conflict["kind"] for conflict in conflicts)
    assert kinds == ["type", "type", "ucd", "unit", "unit"]
    notes = tmp_path / "notes.txt"
    for conflict in conflicts[:-1]:
        arguments = ("--accept", conflict["id"], "--note", "known", "--notes", notes)
        run_hven("--site", directory, "compare", "stars", *names, *arguments, expected_code=1)
    arguments = ("--accept", conflicts[-1]["id"], "--note", "known", "--notes", notes)
    run_hven("--site", directory, "compare", "stars", *names, *arguments)
    target = tmp_path / "differences.csv"
    run_hven("--site", directory, "compare", "stars", names[0], "--format", "csv", "--output", target, "--fail-on", "")
    assert target.read_text().startswith("key,kind,value")


def test_compare_drafts(directory: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    text = (directory / "collections/stars/stars.yaml").read_text(encoding="utf-8")
    draft.write_text(text.replace("unit: deg", "unit: rad"), encoding="utf-8")
    output = run_hven("--site", directory, "compare", "stars.main", draft, expected_code=1)
    assert "rad (" in output.stdout
    run_hven("--site", directory, "compare", "shut", "stars", "--fail-on", "")


@pytest.mark.parametrize(
    ("group", "kinds"), [("unit", "unit"), ("type", "unit,type"), ("ucd", "type"), ("utype", "ucd")]
)
def test_kinds_that_a_grouping_never_finds_are_refused(directory: Path, group: str, kinds: str) -> None:
    output = run_hven("--site", directory, "compare", "stars", "--group", group, "--fail-on", kinds, expected_code=2)
    assert "would never fail: columns with the same" in output.stderr
    assert "or group by another word" in output.stderr


@pytest.mark.parametrize("group", ["name", "ucd", "unit", "type"])
def test_each_grouping_can_fail_by_default(directory: Path, tmp_path: Path, group: str) -> None:
    (tmp_path / "other.xml").write_bytes(VOSI.replace(b"pos.eq.ra<", b"pos.eq.ra;meta.main<"))
    names = ("stars", str(tmp_path / "other.xml"), "--group", group)
    run_hven("--site", directory, "compare", *names, expected_code=1)
    run_hven("--site", directory, "compare", *names, "--fail-on", "")
    run_hven("--site", directory, "compare", "stars", "--group", group)


def test_compare_refuses(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    for code, arguments, words in (
        (2, ("nothing",), "there is no collection or table 'nothing'"),
        (2, ("stars", tmp_path / "a.csv"), "contains no schema"),
        (2, ("stars", "--fail-on", "colour"), "'colour' is not a kind of difference"),
        (2, ("stars", "--group", "colour"), "cannot be grouped by 'colour'"),
        (2, ("stars", "--accept", "x", "--note", "y"), "is not the id of a conflict"),
    ):
        output = run_hven("--site", directory, "compare", *arguments, expected_code=code)
        assert words in output.stderr
    assert not (directory / "schema-notes.txt").exists()


def test_two_schemas_as_a_unified_diff(directory: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft.yaml"
    text = (directory / "collections/stars/stars.yaml").read_text(encoding="utf-8")
    draft.write_text(
        text.replace("unit: deg", "unit: rad").replace("      variable: ", "      varies: "), encoding="utf-8"
    )
    arguments = ("compare", "stars", draft, "--diff", "--fail-on", "")
    lines = run_hven("--site", directory, *arguments).stdout.splitlines()
    changes = [line for line in lines if line[:1] in "+-"]
    assert changes[:2] == ["--- stars", f"+++ {draft}"]
    assert "-ra: float64, unit deg, ucd pos.eq.ra;meta.main, 'Right ascension (ICRS)'" in changes
    assert "+ra: float64, unit rad, ucd pos.eq.ra;meta.main, 'Right ascension (ICRS)'" in changes
    assert len([line for line in changes if "vari" in line]) == 2
    run_hven("--site", directory, "compare", "stars", "--diff", expected_code=2)


def test_missing_columns_are_listed_and_accepted(directory: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    draft = tmp_path / "draft.yaml"
    text = (directory / "collections/stars/stars.yaml").read_text(encoding="utf-8")
    draft.write_text(text.replace("      mass: ", "      weight: "), encoding="utf-8")
    arguments = ("compare", "stars", draft, "--fail-on", "missing", "--notes", notes)
    output = run_hven("--site", directory, *arguments, expected_code=1)
    assert f"not in {draft}" in output.stdout.replace("\n", "")
    content = json.loads(run_hven("--site", directory, *arguments, "--json", expected_code=1).stdout)
    ids = [group["missing_id"] for group in content["groups"] if group["missing_count"]]
    assert len(ids) == 2
    run_hven("--site", directory, *arguments, "--accept", ids[0], "--note", "renamed", expected_code=1)
    run_hven("--site", directory, *arguments, "--accept", ids[1], "--note", "renamed")


def test_export_refuses(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    for code, arguments, words in (
        (2, ("stars", "--to", "cds"), "specify either a directory or --check"),
        (2, ("nothing", tmp_path / "x", "--to", "cds"), "there is no published collection or table 'nothing'"),
        (2, ("shut", tmp_path / "x", "--to", "cds", "--public"), "there is no published collection or table 'shut'"),
        (2, ("stars", tmp_path / "full", "--to", "cds"), "is not empty"),
        (2, ("stars", tmp_path / "x", "--to", "cds", "--omit", "nothing"), "there is no column 'nothing'"),
        (1, ("stars", tmp_path / "x", "--to", "mrt", "--max-width", "4"), "needs 8 bytes in each line; the limit is 4"),
    ):
        output = run_hven("--site", directory, "export", *arguments, expected_code=code)
        assert words in output.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_documents_of_vosi_are_compared_without_a_site(tmp_path: Path) -> None:
    """The modules of a site take a second to load, as long as the comparison of 100,000 columns."""
    (tmp_path / "other.xml").write_bytes(VOSI)
    code = (
        "import pathlib, sys; import hven.plugins.schema_life.compare_verb; "
        "from hven.plugins.schema_life.model_documents import read_model_file; "
        "read_model_file(pathlib.Path('other.xml'), None); "
        "from hven.formats import select_format; select_format('csv'); "
        "slow_modules = {'hven.site', 'hven.descriptor', 'hven.sources', 'hven.query', 'hven.model.sky'}; "
        "print(sorted(slow_modules & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_collections_are_compared_without_modules_that_read_documents(directory: Path) -> None:
    code = (
        "import contextlib, runpy, sys; "
        "sys.argv = ['hven', 'compare', 'stars', 'stars', '--site', '.']\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('hven', run_name='__main__')\n"
        "slow_modules = {'hven.formats.votable', 'hven.ingest.sync', 'hven.query'}\n"
        "print(sorted(slow_modules & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, check=True)
    assert "columns" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_states_of_a_collection_are_compared(tmp_path: Path) -> None:
    descriptor = "collection: s\ntitle: S\ntables:\n  t: {source: a.csv, columns: {ra: {type: float64, unit: deg}}}\n"
    with open_site_with_uningested_files(tmp_path, descriptor, {"a.csv": "ra\n1\n"}) as site:
        ingest_collection(site, "s")
        site.store.releases.add_collection_releases("R1", ["s"])
        path = site.settings.locate_descriptor("s")
        path.write_text(descriptor.replace("unit: deg}", "unit: rad}, dec: {type: float64}"))
        (path.parent / "a.csv").write_text("ra,dec\n1,2\n")
        ingest_collection(site, "s")
    (tmp_path / "hven.toml").touch()
    output = run_hven("--site", tmp_path, "compare", "s@R1", "s", "--json", expected_code=1).stdout
    content = json.loads(output)
    assert [(model["label"], model["columns"]) for model in content["models"]] == [("s@R1", 1), ("s", 2)]
    (conflict,) = (conflict for group in content["groups"] for conflict in group["conflicts"])
    assert [value["value"] for value in conflict["values"]] == ["deg", "rad"]
    assert [group["missing"] for group in content["groups"] if group["missing"]] == [["s@R1"]]
    run_hven("--site", tmp_path, "compare", "s.t@R1", "s.t@R1")
    for name, words in (("s@R7", "has no state 'R7'"), ("s.u@R1", "describes no columns"), ("x@R1", "x has no state")):
        assert words in run_hven("--site", tmp_path, "compare", name, "s", expected_code=2).stderr
