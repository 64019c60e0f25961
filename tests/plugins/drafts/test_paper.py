"""What belongs to a paper as a collection, in one command: from a ReadMe of CDS, from BibTeX; and what goes wrong."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from hven import descriptor
from hven.app._server import create_and_start_application
from hven.model import plugins, settings
from hven.site import Site
from hven.sources._reading import readme
from process_runner import run_hven

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
from asgi_client import Client

README = """\
J/A+A/622/A60        Diameters of made-up stars                    (Brahe+, 2019)
================================================================================
Diameters of made-up stars, measured with an astrolabe.
    Brahe T., Kepler J., Brahe S.
    <Astron. Astrophys. 622, A60 (2019)>
    =2019A&A...622A..60B
================================================================================
ADC_Keywords: Stars, diameters
Keywords: catalogs - stars: fundamental parameters -
          techniques: interferometric

Abstract:
    Diameters of nine stars.

File Summary:
--------------------------------------------------------------------------------
 FileName      Lrecl  Records   Explanations
--------------------------------------------------------------------------------
ReadMe            80        .   This file
table1.dat        16        9   Diameters
--------------------------------------------------------------------------------

Byte-by-byte Description of file: table1.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label     Explanations
--------------------------------------------------------------------------------
   1-  6 A6     ---     Name      Name of the star
   8- 15 F8.4   mas     Diam      Diameter
--------------------------------------------------------------------------------
"""
SITE = 'title = "Uraniborg"\nauthority = "ura.example"\npublic_url = "http://vo.example"\ncontact_email = "a@b.example"\n'  # fmt: skip


def run(tmp_path: Path, *words: str, code: int = 0) -> str:
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site/hven.toml").write_text(SITE)
    done = run_hven("new", "diam", *words, "--site", str(tmp_path / "site"), expected_code=code)
    return done.stdout + done.stderr


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    folder = tmp_path / "paper"
    folder.mkdir()
    (folder / "ReadMe").write_text(README)
    (folder / "table1.dat").write_text("".join(f"star{n}   {n + 0.25:8.4f}\n" for n in range(9)))
    (folder / "fig1.fits").write_bytes(b"SIMPLE  =                    T".ljust(2880))
    return folder


def test_a_descriptor_is_drafted_from_a_cds_readme(tmp_path: Path, paper: Path) -> None:
    run(tmp_path, "--from", str(paper / "table1.dat"), "--paper", "10.1051/0004-6361/201834520", "--licence", "CC-BY-4.0")  # fmt: skip
    site = tmp_path / "site"
    resource, faults = descriptor.check_and_read_descriptor(
        site / "collections/diam/diam.yaml", settings.load_settings(site)
    )
    assert resource is not None
    assert [str(one) for one in faults] == [], "it passes check, what registries want included"
    assert [one.name for one in resource.creators] == ["Brahe, T.", "Kepler, J.", "Brahe, S."]
    assert (resource.title, resource.bibcode, resource.licence) == ("Diameters of made-up stars, measured with an astrolabe.", "2019A&A...622A..60B", "CC-BY-4.0")  # fmt: skip
    assert resource.description == "Diameters of nine stars."
    assert "stars: fundamental parameters" in resource.subjects
    assert [(one.relation, one.scheme, one.id) for one in resource.works] == [("IsSupplementTo", "DOI", "10.1051/0004-6361/201834520")]  # fmt: skip
    run_hven("check", "diam", "--site", str(site))
    run_hven("ingest", "diam", "--site", str(site))
    rows = run_hven("query", "SELECT COUNT(*) AS n, MAX(diam) AS d FROM diam.main", "--format", "csv", "--site", str(site)).stdout  # fmt: skip
    assert rows.split() == ["n,d", "9,8.25"]
    files = run_hven("query", "SELECT path FROM diam.files", "--format", "csv", "--site", str(site)).stdout
    assert "fig1.fits" in files
    with Site(settings.load_settings(site), watch_for_changes=False) as opened:
        if not any(package.landing_pages for package in plugins.list_plugin_packages()):
            return  # no package describes it for programs
        made = json.loads(Client(create_and_start_application(opened)).get("/collections/diam/cite/datacite.json").body)
    assert {one["relatedIdentifier"] for one in made["relatedIdentifiers"]} == {"10.1051/0004-6361/201834520", "2019A&A...622A..60B"}  # fmt: skip


@pytest.mark.parametrize("authors", ["Rossetti, E., Ferraro, F.-R., van der Hulst, J. M.", "Rossetti E., Ferraro F.-R.,\n    van der Hulst J. M."])  # fmt: skip
@pytest.mark.parametrize("words", [(), ("--paper", "10.1051/0004-6361/201834520"), ("--standard", "epn-tap")])
def test_each_author_of_a_readme_is_one_person(
    tmp_path: Path, paper: Path, authors: str, words: tuple[str, ...]
) -> None:
    said = README.replace("Brahe T., Kepler J., Brahe S.", authors).replace("measured with an astrolabe.", "measured\nwith an astrolabe.")  # fmt: skip
    (paper / "ReadMe").write_text(said)
    run(tmp_path, "--from", str(paper / "table1.dat"), *words)
    path = tmp_path / "site/collections/diam/diam.yaml"
    made = yaml.safe_load(path.read_text())
    people = [one if isinstance(one, str) else one["name"] for one in made["creators"]]
    assert people == ["Rossetti, E.", "Ferraro, F.-R.", "van der Hulst, J. M."]
    assert (made["bibcode"], made["title"]) == ("2019A&A...622A..60B", "Diameters of made-up stars, measured with an astrolabe.")  # fmt: skip
    assert len(re.findall(r"^(?:# )?(?:creators|bibcode):", path.read_text(), re.MULTILINE)) == 2, "each is said once"
    assert "to fill: who made the data" not in path.read_text()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hog E., Fabricius C.", ["Hog, E.", "Fabricius, C."]), ("Rossetti, E.", ["Rossetti, E."]), ("Brahe, Tycho; Kepler, Johannes", ["Brahe, Tycho", "Kepler, Johannes"]),
        ("Le Bouquin J.-B., Chesneau O.", ["Le Bouquin, J.-B.", "Chesneau, O."]), ("Hog E., et al.", ["Hog, E."]), ("Gaia Collaboration, Brown A.G.A.", ["Gaia Collaboration", "Brown, A.G.A."]),
        ("Rossetti E., Ferraro F., and Smith J.", ["Rossetti, E.", "Ferraro, F.", "Smith, J."]), ("Brahe, Tycho", ["Brahe, Tycho"]), ("Duvert G. (JMMC, Grenoble), Mella G.", ["Duvert G. (JMMC, Grenoble)", "Mella, G."]),
        ("Griffin, R. E., Jr., O'Neill, K", ["Griffin, R. E., Jr.", "O'Neill, K"]), ("", []),
    ],
)  # fmt: skip
def test_lists_of_authors(text: str, names: list[str]) -> None:
    assert readme.split_authors(text) == names


def test_a_descriptor_is_drafted_from_bibtex_and_a_csv_file(tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    (folder / "t.csv").write_text("name,mag\na,1.5\nb,2.5\n")
    (folder / "cite.bib").write_text("@article{x,\n  title = {{Two {S}tars}},\n  author = {Brahe, Tycho and Kepler, Johannes},\n  year = 2019,\n}\n")  # fmt: skip
    run(tmp_path, "--from", str(folder), "--paper", "2019A&A...622A..60B")
    text = (tmp_path / "site/collections/diam/diam.yaml").read_text()
    resource, faults = descriptor.check_and_read_descriptor(tmp_path / "site/collections/diam/diam.yaml", settings.load_settings(tmp_path / "site"))  # fmt: skip
    assert resource is not None
    assert not [one for one in faults if one.severity == "error"]
    assert (resource.title, [one.name for one in resource.creators]) == ("Two Stars", ["Brahe, Tycho", "Kepler, Johannes"])  # fmt: skip
    assert "# licence: CC-BY-4.0  # to fill" in text
    assert any("licence" in one.message for one in faults), "nobody is made to give what they did not say"


@pytest.mark.parametrize(
    ("files", "paper", "told", "code"),
    [
        ({"a.csv": "x\n1\n", "b.csv": "x\n1\n"}, "2019A&A...622A..60B", "several files that could be the table: a.csv, b.csv", 2),
        ({"note.txt": "x"}, "2019A&A...622A..60B", "contains no table", 1),
        ({"a.csv": "x\n1\n"}, "Brahe 2019", "'Brahe 2019' is neither a DOI nor a bibcode", 2),
        ({"a.csv": ""}, "10.5072/x", "", 1),
        ({}, "10.5072/x", "contains no table", 1),
    ],
)  # fmt: skip
def test_a_failed_draft_leaves_no_files(
    tmp_path: Path, files: dict[str, str], paper: str, told: str, code: int
) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert told in run(tmp_path, "--from", str(folder), "--paper", paper, code=code)
    assert not (tmp_path / "site/collections/diam").exists()
