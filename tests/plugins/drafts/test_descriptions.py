"""hven new from ReadMes of VizieR: each draft passes the check, and its rows come."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hven import descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import SourceError
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.plugins.drafts.drafting import create_descriptor
from hven.query import run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from shared import shared

README = """\
J/X/1/2           Two stars                      (Brahe+, 1602)
================================================================================
Two stars and their names
    Brahe T., Kepler J.
    <Astron. J. 1, 2 (1602)>
    =1602AJ......1....2B
================================================================================
Abstract:
    Stars of the Almagest,
    observed anew.

File Summary:
--------------------------------------------------------------------------------
 FileName   Lrecl  Records   Explanations
--------------------------------------------------------------------------------
ReadMe         80        .   This file
stars.dat      24        2   Positions and magnitudes
names.dat      12        2   Names
lost.dat       12        2   A file that never came
--------------------------------------------------------------------------------

Byte-by-byte Description of file: stars.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label   Explanations
--------------------------------------------------------------------------------
   1-  3  I3    ---     HR      Number
   5-  6  I2    h       RAh     Hours of right ascension
   8-  9  I2    min     RAm     Minutes of right ascension
      11  A1    ---     DE-     Sign of declination
  12- 13  I2    deg     DEd     Degrees of declination
  15- 19  F5.2  mag     Vmag    ?=99.99 Magnitude in V
--------------------------------------------------------------------------------

Byte-by-byte Description of file: names.dat lost.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label   Explanations
--------------------------------------------------------------------------------
   1-  3  I3    ---     HR      Number
   5- 12  A8    ---     Name    The name
--------------------------------------------------------------------------------
"""


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    create_site_directory(tmp_path / "site")
    return load_settings(tmp_path / "site")


def draft_descriptor(settings: Settings, source: Path, **more: object) -> dict:
    """Write a first descriptor, and check it."""
    path = create_descriptor(settings, "x", str(source), **more)
    faults = [str(fault) for fault in descriptor.check_descriptor(path, settings)]
    assert not faults, f"{faults}\n{path.read_text()}"
    return yaml.safe_load(path.read_text())


def rows(settings: Settings, query: str) -> list[dict]:
    with Site(settings) as opened:
        ingest_collection(opened, "x")
        with run_query(query, ANONYMOUS_PRINCIPAL, site=opened) as result:
            return result.read_table().to_pylist()


# --- VizieR ----------------------------------------------------------------------------------------------------------


def test_a_readme(site, tmp_path):
    home = site.collections_directory / "x"
    home.mkdir()
    (home / "ReadMe").write_text(README)
    (home / "stars.dat").write_text("  1 18 36 +38 99.99\n  2 20 41 +45  1.25\n")
    (home / "names.dat").write_text("  1 Vega    \n  2 Deneb   \n")
    made = draft_descriptor(site, home / "ReadMe")
    assert (made["title"], made["description"]) == (
        "Two stars and their names",
        "Stars of the Almagest, observed anew.",
    )
    assert (made["creators"], made["bibcode"]) == (
        [{"name": "Brahe, T."}, {"name": "Kepler, J."}],
        "1602AJ......1....2B",
    )
    assert list(made["tables"]) == ["stars", "names_table"]
    stars = made["tables"]["stars"]
    assert stars["title"] == "Positions and magnitudes"
    assert stars["columns"]["vmag"] == {"type": "float64", "unit": "mag", "ucd": "phot.mag;em.opt.V", "description": "Magnitude in V"}  # fmt: skip
    assert stars["position"] == ["ra", "dec"]  # assembled
    assert "described, but not in its directory: lost.dat" in (home / "x.yaml").read_text()
    found = rows(site, "SELECT s.ra, s.dec, s.vmag, n.name FROM x.stars AS s JOIN x.names_table AS n ON s.hr = n.hr ORDER BY s.hr")  # fmt: skip
    assert found == [{"ra": 279.0, "dec": 38.0, "vmag": None, "name": "Vega"}, {"ra": 310.25, "dec": 45.0, "vmag": 1.25, "name": "Deneb"}]  # fmt: skip


def test_a_readme_alone(site, tmp_path):
    (tmp_path / "ReadMe").write_text(README)
    with pytest.raises(
        SourceError, match=r"describes files that are not in its directory: stars\.dat, names\.dat, lost\.dat"
    ):
        create_descriptor(site, "x", str(tmp_path / "ReadMe"))


def test_the_readme_of_tycho_2_becomes_a_descriptor(site):
    """The real one, of four tables: two of their files are here, under names of their own."""
    home = site.collections_directory / "x"
    home.mkdir()
    (home / "ReadMe").write_bytes(shared("data/stars/tycho2-ReadMe.txt").read_bytes())
    (home / "tyc2.dat.07.xz").symlink_to(shared("data/stars/tyc2.dat.07.xz"))
    (home / "suppl_1.dat.xz").write_bytes(shared("data/stars/tycho2-suppl_1.dat.xz").read_bytes())
    path = create_descriptor(site, "x", str(home / "ReadMe"))
    made = yaml.safe_load(path.read_text())
    assert made["title"] == "The Tycho-2 Catalogue of the 2.5 Million Brightest Stars"
    assert made["creators"][0] == {"name": "Hog, E."}
    assert made["tables"]["suppl_1"]["source"]["files"] == "suppl_1.dat.xz"
    print(path.read_text()[:6000])
    assert [str(fault) for fault in descriptor.check_descriptor(path, site)] == []
