"""`hven check --metadata`: each line that it proposes is right where it is said, and brings the points that it says."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hven import descriptor
from hven.descriptor import FAIR_GROUPS, CompletenessScore, MissingMetadata, _completeness
from hven.ingest.api.runs import ingest_collection
from hven.model import settings, units
from hven.model.resource import CollectionSpec
from hven.site import Site
from process_runner import run_hven

ROWS = "id,ra,dec,vmag,flag\na,10,5,3.5,1\nb,200,-40,4,0\nc,300,80,5,0\n"
BARE = """\
collection: stars
title: Stars
tables:
  follows:
    source: rows.csv
  declared:
    source: rows.csv
    primary: id
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg}
      dec:
        type: float64
      vmag: float64
  partly:
    description: Some more
    primary: id
    source: rows.csv
    follow: true
    columns:
      flag: {description: Whether it is one}
  flat: {source: rows.csv, columns: {id: string, "ra": {type: float64}}}
"""
# what a person would write for `..`, by key
WORDS = {
    "title": "Stars that Tycho saw", "description": "x" * 100, "subjects": "[astrometry]", "waveband": "[Optical]", "doi": "10.5072/hven",
    "contact": "{name: Sophie, email: sophie@tycho.example}", "creators": '[{name: "Brahe, T.", orcid: 0000-0002-1825-0097}]', "bibcode": "1602AsIn..........B",
    "instrument": "[Quadrant]", "ucd": "meta.note", "unit": "deg", "orcid": "0000-0002-1825-0097", "licence_url": "https://licence.example/",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plain:
    table: Any
    rows: int | None = None
    statistics: dict[str, dict[str, object]] = field(default_factory=dict)
    updated: str = "2020-01-02T03:04:05Z"


def site_of(directory: Path, text: str, *, published: bool = True) -> Path:
    folder = directory / "collections/stars"
    folder.mkdir(parents=True, exist_ok=True)
    (directory / "hven.toml").touch()
    (folder / "rows.csv").write_text(ROWS)
    (folder / "stars.yaml").write_text(text)
    if published:
        with Site(settings.load_settings(directory), watch_for_changes=False) as site:
            ingest_collection(site, "stars")
    return folder / "stars.yaml"


def judge_descriptor(
    site: Site, path: Path, *, sources: bool = True
) -> tuple[CompletenessScore, list[MissingMetadata]]:
    resource, faults = descriptor.check_and_read_descriptor(path, site.settings, check_sources=sources)
    assert resource is not None
    assert [one for one in faults if one.severity == "error"] == []
    known = site.get_published_state().tables_by_name
    tables = [known.get(f"stars.{one.table.name}") or Plain(table=one.table) for one in resource.tables]
    # what is published has the words that the descriptor has now: those are what is scored
    return descriptor.score_collection_metadata(resource, site.settings, [one.table for one in tables]), list(
        descriptor.list_missing_metadata(resource, site.settings, tables)
    )


def fill_placeholders(add: str) -> str:
    """Write what a person would for what only they know."""
    for key, word in WORDS.items():
        add = re.sub(rf"\b{key}: (\"?)(?:10)?\.\.\1(?=[,}}\n]|$)", f"{key}: {word}", add)
        add = re.sub(rf"(?m)^(\s*){key}: (?:\[\.\.\]|\{{.*\.\..*\}}|\[\{{.*\.\..*\}}\])$", rf"\1{key}: {word}", add)
    return add


def insert_suggested_lines(text: str, lacks: Sequence[MissingMetadata]) -> str:
    """Write the lines where they are said to go, from the last to the first."""
    lines = text.splitlines()
    for one in sorted(lacks, key=lambda one: (one.fault.place.line or 0, one.fault.place.column or 0), reverse=True):
        line, column, add = one.fault.place.line or 0, one.fault.place.column or 0, fill_placeholders(one.added_text)
        assert ".." not in add.replace("1602AsIn..........B", ""), one.added_text
        if one.insertion_mode == "below":
            lines[line:line] = add.splitlines()
        elif one.insertion_mode == "inside":
            before, after = lines[line - 1][:column], lines[line - 1][column:]
            assert before.endswith("{")
            lines[line - 1] = f"{before}{add}, {after}"
        elif one.insertion_mode == "instead":
            before, after = lines[line - 1][: column - 1], lines[line - 1][column - 1 :]
            lines[line - 1] = before + re.sub(r"^[A-Za-z0-9]+", lambda _, add=add: add, after)
        else:
            key = re.match(r"\s*([a-z]+):", lines[line - 1])
            assert key, lines[line - 1]
            lines[line - 1] = add
    return "\n".join(lines) + "\n"


@pytest.fixture
def site(tmp_path: Path) -> Any:
    site_of(tmp_path, BARE)
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as found:
        yield found


def test_each_suggested_line_is_valid_and_earns_its_points(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "collections/stars/stars.yaml"
    begun, lacks = judge_descriptor(site, path)
    assert {one.insertion_mode for one in lacks} >= {"below", "inside", "instead"}
    assert sum(begun.points.values()) + sum(one.points for one in lacks) == pytest.approx(
        100, abs=8.5
    )  # some units are asked once there are UCDs
    for one in lacks:
        path.write_text(insert_suggested_lines(BARE, [one]))
        site.refresh_published_state()
        now, after = judge_descriptor(site, path, sources=False)
        gained = sum(now.points.values()) - sum(begun.points.values())
        if "unit" in one.added_text or "ucd" in one.added_text:  # a UCD may say that there must be a unit
            assert gained > 0, one
        else:
            assert gained == pytest.approx(one.points, abs=1e-6), one
        assert one.fault.message not in [other.fault.message for other in after]
        path.write_text(BARE)


def test_all_suggested_lines_add_up_to_100_points(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "collections/stars/stars.yaml"
    text = BARE
    for _ in range(3):  # what a UCD asks for is told once it is there
        site.refresh_published_state()
        found, lacks = judge_descriptor(site, path)
        text = insert_suggested_lines(text, lacks)
        path.write_text(text)
    site.refresh_published_state()
    found, lacks = judge_descriptor(site, path)
    assert [str(one.fault) for one in lacks] == []
    assert found.total == 100
    assert [found.compute_group_percent(group) for group in FAIR_GROUPS] == [100] * 4
    assert run_hven("check", "--metadata", "--least", "100", "--site", tmp_path).stdout.endswith(
        "stars: 100 of 100 (findable 100 %, accessible 100 %, interoperable 100 %, reusable 100 %)\n1 descriptor: 0 errors, 0 warnings\n"
    )


def test_what_is_proposed_comes_with_its_place(site: Site, tmp_path: Path) -> None:
    _, lacks = judge_descriptor(site, tmp_path / "collections/stars/stars.yaml")
    (follows,) = (one for one in lacks if one.fault.message.startswith("columns of follows"))
    assert follows.added_text.splitlines()[:2] == ["    follow: true", "    columns:"]
    assert follows.added_text.count('description: ".."') == 5
    said = {one.fault.message.partition(" (")[0]: one for one in lacks}
    assert said["no primary key of follows"].added_text == "    primary: id"
    assert (
        said["no examples"].added_text
        == "examples: [{title: The first rows, query: SELECT TOP 10 * FROM stars.follows}]"
    )
    assert re.fullmatch(r"created: 20\d\d-\d\d-\d\d", said["no created"].added_text)
    assert (
        said["no UCD and no description for declared.ra"].fault.place.line,
        said["no UCD and no description for declared.ra"].fault.place.column,
    ) == (11, 11)


LOOP = """\
collection: stars
title: Stars of a loop
tables:
  main:
    source: rows.csv
    for:
      - each: {band: [a, b]}
        columns: {"mag_{band}": {type: float64}}
    map: {mag_a: vmag, mag_b: vmag}
"""


def test_columns_of_a_loop_are_told_where_they_are_made(tmp_path: Path) -> None:
    path = site_of(tmp_path, LOOP)
    with Site(settings.load_settings(tmp_path), watch_for_changes=False) as site:
        _, lacks = judge_descriptor(site, path)
    (one,) = (one for one in lacks if "for main.mag_a" in one.fault.message)
    assert (one.fault.place.line, one.insertion_mode) == (8, "")


def test_before_an_ingest_columns_of_sources_are_not_known(tmp_path: Path) -> None:
    site_of(tmp_path, BARE, published=False)
    told = run_hven("check", "--metadata", "--site", tmp_path).stdout
    assert "stars.yaml:4:3: the columns of follows are not known" in told
    assert "; write: hven ingest stars" in told


def test_exit_codes_and_json(tmp_path: Path) -> None:
    path = site_of(tmp_path, BARE, published=False)
    assert "--least needs --metadata" in run_hven("check", "--least", "3", "--site", tmp_path, expected_code=2).stderr
    run_hven("check", "--metadata", "--least", "101", "--site", tmp_path, expected_code=2)
    run_hven("check", "--metadata", "--least", "1", "--site", tmp_path)
    told = json.loads(
        run_hven("check", "stars", "--metadata", "--least", "99", "--json", "--site", tmp_path, expected_code=1).stdout
    )
    assert told["faults"] == []
    (one,) = told["collections"]
    assert one["collection"] == "stars"
    assert set(one) == {"collection", "score", "points", "lacks", *FAIR_GROUPS}
    assert set(one["lacks"][0]) == {"file", "line", "column", "message", "add", "how", "points"}
    assert sum(one["points"].values()) == pytest.approx(one["score"], abs=1)
    path.write_text(BARE.replace("title: Stars\n", "titel: Stars\n"))  # with faults there is nothing to score
    told = json.loads(run_hven("check", "--metadata", "--json", "--site", tmp_path, expected_code=1).stdout)
    assert told["faults"]
    assert told["collections"] == []


def test_weights_equal_those_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs/howto/metadata.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\*\*|`)(\w+)(?:\*\*|`) \| (\d+) \|", page, re.MULTILINE)
    told, sums, group = {}, {}, ""
    for sign, name, points in rows:
        if sign == "**":
            group, sums[name] = name, int(points)
        else:
            told[name] = (group, int(points))
    assert told == dict(_completeness.CRITERION_WEIGHTS)
    assert sums == {group: sum(weight for of, weight in told.values() if of == group) for group in FAIR_GROUPS}
    assert sum(sums.values()) == 100


@pytest.mark.parametrize(
    ("ucd", "has"),
    [("phot.mag;em.opt.V", True), ("stat.error;pos.eq.ra", True), ("src.redshift", False), ("meta.id", False), ("stat.probability", False), (None, False), ("arith.ratio;phys.mass", False)],
)  # fmt: skip
def test_which_quantities_have_a_unit(ucd: str | None, has: bool) -> None:
    assert units.is_quantity_with_unit(ucd) == has


def test_incomplete_metadata_earns_partial_points() -> None:
    place = Path("x.yaml")
    said: dict[str, Any] = {"name": "c", "title": "c", "path": place}
    found = [
        descriptor.score_collection_metadata(CollectionSpec(**said, **more), settings.Settings(directory=Path()), []).points
        for more in ({"licence": "as you like"}, {"licence": "CC-BY-4.0"}, {"licence": "own", "licence_url": "https://x.example"}, {"citation": "x"})
    ]  # fmt: skip
    assert [one["licence"] for one in found] == [4.5, 9, 9, 0]
    assert found[3]["bibcode"] == 2


DESISE = {"uri": "http://www.ivoa.net/rdf/uat", "terms": {
    "solar-physics": {"label": "Solar physics"}, "sun": {"label": "The Sun"}, "old-word": {"label": "Old", "deprecated": "", "useInstead": ["sun"]},
}}  # fmt: skip


@pytest.mark.parametrize("form", ["desise", "text"])
def test_subjects_are_checked_against_the_operators_list(tmp_path: Path, form: str) -> None:
    path = site_of(tmp_path, BARE, published=False)
    path.write_text(
        BARE.replace("title: Stars\n", "title: Stars\nsubjects: [Solar Physics, solar-physiks,\n  old word]\n")
    )
    listed = tmp_path / "uat"
    listed.write_text(json.dumps(DESISE) if form == "desise" else "# the UAT\nSolar physics\nsun\nold-word\n")
    told = run_hven("check", "--metadata", "--subjects", listed, "--site", tmp_path).stdout.splitlines()
    said = [line.partition("stars.yaml:")[2] for line in told if "subjects: '" in line]
    assert said[0] == "3:27: subjects: 'solar-physiks' is not a term of uat; did you mean 'solar-physics'?"
    assert said[1:] == (["4:3: subjects: 'old word' is no longer used in uat; write sun"] if form == "desise" else [])
    faults = json.loads(run_hven("check", "--metadata", "--json", "--subjects", listed, "--site", tmp_path).stdout)[
        "faults"
    ]
    assert [one["line"] for one in faults if one["message"].startswith("subjects:")] == [3, 4][: len(said)]


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read: no such file"), ("", "contains no terms"), ("{}", "is not a list of terms in the IVOA's JSON format"), ('{"terms": 3}', "is not a list"), ("<rdf/>", "is not a list"), ("\xff\xfe", "is not text")],
)  # fmt: skip
def test_invalid_subject_lists_are_reported(tmp_path: Path, text: str | None, said: str) -> None:
    site_of(tmp_path, BARE, published=False)
    listed = tmp_path / "uat"
    if text is not None:
        listed.write_bytes(text.encode("latin-1"))
    assert said in run_hven("check", "--metadata", "--subjects", listed, "--site", tmp_path, expected_code=2).stderr
    assert (
        "--subjects needs --metadata"
        in run_hven("check", "--subjects", listed, "--site", tmp_path, expected_code=2).stderr
    )
