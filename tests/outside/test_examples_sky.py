"""Examples 09 to 14 in one site, judged by stilts taplint (with its stage OBS) and by ``hven lint``, as strangers see them."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from made import ALLOWED, EXAMPLES, STAGES, prepared
from running import hven, serving
from stilts import stilts

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

CASES = sorted(path.name for path in EXAMPLES.iterdir() if re.match(r"09|1[0-4]", path.name))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ladder")
    for case in CASES:
        shutil.copytree(prepared(case), directory, dirs_exist_ok=True)
    for name in sorted(path.stem for path in (directory / "collections").glob("*/*.yaml")):
        hven("ingest", name, "--site", directory)
    with serving(directory) as found:
        yield found


def test_taplint_accepts_them(server) -> None:
    assert len(CASES) == 6
    lines = stilts("taplint", f"tapurl={server.url}/tap", f"stages={STAGES}", "report=EWFS", "maxrepeat=99", code=None).stdout.splitlines()
    assert [line for line in lines if line[:2] in {"E-", "F-"}] == []
    assert [line for line in lines if line[:2] == "W-" and not re.search(ALLOWED, line)] == []
    assert any(line.startswith("Section OBS") for line in lines)
    assert not any("OBS-NODM" in line for line in lines)  # the data model is declared, so it has looked


def test_hven_lint_finds_nothing(server) -> None:
    report = json.loads(hven("lint", server.url, "--severity", "info", "--json").stdout)
    assert report["findings"] == []


def test_they_are_together_in_obscore(server) -> None:
    found = server.rows(
        "SELECT obs_collection, dataproduct_type, COUNT(*) FROM ivoa.obscore GROUP BY obs_collection, dataproduct_type ORDER BY obs_collection"
    )
    assert found == [["corot_lc", "timeseries", 30], ["herschel", "image", 24], ["oidb", "visibility", 23], ["sz", "image", 48]]
    assert server.rows("SELECT COUNT(*) FROM ivoa.obscore NATURAL JOIN ivoa.obscore_radio") == [[23]]
    assert server.rows("SELECT COUNT(*) FROM ivoa.obscore WHERE t_resolution < 100 OR nb_vis2 > 0")[0][0] > 23
