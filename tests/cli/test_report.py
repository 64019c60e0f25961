"""`hven report`: usage in several forms, and who cites collections, of exports that are whole, cut off, or something else."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hven.model import settings
from hven.model.errors import SourceError
from hven.services import citations
from hven.site import Site, Used
from running import hven

MONTH = f"{datetime.now(UTC):%Y-%m}"
PLAIN = "collection: {0}\ntitle: The {0}\n{1}tables:\n  main:\n    view: SELECT 1 AS n FROM {0}.other\n"
BIB = """\
@comment{exported on a Tuesday}
@ARTICLE{2025A&A...700A...1B,
       author = {{Brahe}, S. and {Ole}, R.},
        title = "{A map of {\\alpha} stars (with a \\} in it)}",
         year = 2025,
          doi = {10.5555/paper.one},
         note = {We used https://doi.org/10.1234/STARS. and doi:10.9999/other},
       adsurl = {https://ui.adsabs.harvard.edu/abs/2025A&A...700A...1B}
}
@misc(thesis, title={A thesis}, keywords={2024yCat..35810001B}, year="2026")
@dataset{stars, doi={10.1234/stars}, title={Stars themselves}}
@article{lonely, title={Of nothing}, doi={10.5555/lonely}}
"""
ADS = {"response": {"docs": [
    {"bibcode": "2025ApJ...900....1X", "doi": ["10.5555/X"], "title": ["X"], "year": "2025", "reference": ["2024yCat..35810001B"]},
    {"bibcode": "2026ApJ...900....2Y", "title": ["Y"], "year": "2026"},
]}}  # fmt: skip
CROSSREF = {"message": {"items": [{"DOI": "10.5555/z", "title": ["Z"], "issued": {"date-parts": [[2024, 5]]}, "reference": [{"DOI": "10.1234/stars"}, {"unstructured": "S. Brahe, https://doi.org/10.1234/stars."}, {"key": "1"}]}]}}  # fmt: skip
EVENTS = {"message": {"events": [
    {"subj_id": "https://doi.org/10.5555/paper.one", "obj_id": "https://doi.org/10.1234/stars", "relation_type_id": "references", "occurred_at": "2025-01-02"},
    {"subj_id": "https://twitter.example/1", "obj_id": "https://doi.org/10.1234/stars", "relation_type_id": "discusses"},
    {"subj_id": "https://doi.org/10.1234/stars", "obj_id": "https://doi.org/10.5555/w", "relation_type_id": "is_cited_by"},
    {"subj_id": "https://doi.org/10.5555/v", "obj_id": "https://doi.org/10.1234/stars", "relation_type_id": "is_version_of"},
]}}  # fmt: skip
DATACITE = {"data": [{"type": "events", "attributes": {"subj-id": "https://doi.org/10.5555/u", "obj-id": "https://doi.org/10.1234/STARS", "relation-type-id": "cites"}}]}  # fmt: skip
DOIS = {"data": {"type": "dois", "id": "10.1234/stars", "relationships": {"citations": {"data": [{"id": "10.5555/U", "type": "dois"}, {"id": "10.5555/t", "type": "dois"}]}}}}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    for name, more in {"stars": "doi: 10.1234/Stars\nbibcode: 2024yCat..35810001B\n", "planets": "", "hidden": "access: private\n"}.items():  # fmt: skip
        (root / "collections" / name).mkdir(parents=True)
        (root / "collections" / name / f"{name}.yaml").write_text(PLAIN.format(name, more))
    (root / "hven.toml").write_text('name = "used"\ntitle = "Uraniborg"\n')
    with Site(settings.load(root)) as site:
        for name, requests in {"stars": 3, "hidden": 5}.items():
            for table, service in (("", ""), ("", "tap"), ("main", "tap")):
                site.store.uses.add({Used(MONTH, name, table, service, "machine"): (2 * requests, requests, 2, 1, 4, 5, 6_000_000)})  # fmt: skip
    return root


def told(here: Path, *words: str) -> str:
    return hven("--site", str(here), "report", *words).stdout


def test_forms(here: Path) -> None:
    lines = told(here).splitlines()
    assert lines[0].startswith(f"{MONTH[:4]}-01 to {MONTH}")
    assert any(line.split()[:4] == ["stars", "machine", "6", "3"] for line in lines), lines
    assert "6.0 MB" in told(here, "stars")
    assert "hidden" not in told(here, "stars")
    assert any(line.split()[:3] == ["stars", "main", "6"] for line in told(here, "--by", "table").splitlines())
    rows = list(csv.DictReader(io.StringIO(told(here, "--format", "csv"))))
    assert sum(int(row["requests"]) for row in rows if row["collection"] == "stars" and not row["service"]) == 3
    assert (
        json.loads(told(here, "--format", "json"))["collections"]["hidden"]["months"][MONTH]["machine"]["requests"] == 5
    )


def test_what_is_sent_out_has_no_private_collections(here: Path) -> None:
    found = json.loads(told(here, "--format", "dsr"))
    assert "hidden" not in json.dumps(found)
    assert "The hidden" in told(here, "--format", "dsr", "--private")
    assert told(here, "--format", "dsr-tsv").startswith("Report_Name\tDataset Master Report\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("stras",), 1, "stars"),
        (("--from", "2026-13"), 1, "is no month"),
        (("--from", "2026-05", "--to", "2026-04"), 1, "is behind"),
        (("--format", "xls"), 2, "there is no format 'xls'"),
        (("--by", "weather"), 2, "--by collection"),
        (("--of", "stars"), 2, "--of belongs to --cited"),
        (("--private",), 2, "--private belongs to"),
        (("--cited", "none.bib"), 1, "cannot be read"),
    ],
)
def test_wrong_words(here: Path, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in hven("--site", str(here), "report", *words, code=code).stderr


def test_citations_of_a_bibliography(here: Path, tmp_path: Path) -> None:
    (tmp_path / "a.bib").write_text(BIB)
    (tmp_path / "b.json").write_text(json.dumps(EVENTS))
    done = hven("--site", str(here), "report", "--cited", str(tmp_path / "a.bib"), "--cited", str(tmp_path / "b.json"), "--format", "json")  # fmt: skip
    found = json.loads(done.stdout)
    assert set(found) == {"stars"}, "the others have neither DOI nor bibcode"
    assert [one["id"] for one in found["stars"]["works"]] == ["10.5555/paper.one", "thesis", "10.5555/w"], "each once, itself not"  # fmt: skip
    assert "2 of 4 entries do not say what they cite" in done.stderr
    assert "1 events 'is-version-of' are no citations" in done.stderr
    of = hven("--site", str(here), "report", "--cited", str(tmp_path / "a.bib"), "--of", "planets")
    assert of.stdout.splitlines()[-1].split() == ["planets", "4", "2026"]


@pytest.mark.parametrize(
    ("export", "works"),
    [
        (ADS, {"10.5555/x"}),
        (CROSSREF, {"10.5555/z"}),
        (EVENTS, {"10.5555/paper.one", "10.5555/w"}),
        (DATACITE, {"10.5555/u"}),
        (DOIS, {"10.5555/u", "10.5555/t"}),
    ],
)
def test_exports(here: Path, tmp_path: Path, export: object, works: set[str]) -> None:
    file = tmp_path / "export.json"
    file.write_text(json.dumps(export))
    with Site(settings.load(here)) as site:
        found = citations.counted([citations.read(file)], site.current().resources)
    assert set(found["stars"]) == works


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"Dear Sir or Madam", "is no export of citations"),
        (b'{"response": {"docs": [', r"wrong:1:\d+: this is no JSON"),
        (b'{"temperature": 7}', "is JSON, but no export"),
        (b'{"response": {"docs": [{"title": ["x"]}]}}', "of another form"),
        (b'{"message": {"events": 5}}', "of another form"),
        (b'{"data": [7]}', "of another form"),
        (b"[1, 2]", "of another form"),
        (
            b"\n\n@article{a, title={x}}\n@article{b, title={never ends",
            "wrong:4: the entry that begins here does not end",
        ),
        (b"@article{a, title={\xff}}", "wrong:1: this is not UTF-8"),
        (b"@comment{nothing}", "has no entries"),
    ],
)
def test_wrong_files_are_told(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "wrong").write_bytes(raw)
    with pytest.raises(SourceError, match=said):
        citations.read(tmp_path / "wrong")
