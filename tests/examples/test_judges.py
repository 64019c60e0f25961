"""Every example that follows a standard, served: STILTS taplint with its stage OBS, and our own lint, find nothing.

Those that need nothing but themselves are served together, as strangers see a site of many collections.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_sites import assert_valid_service, ingest_all, list_examples, open_example, prepare_example
from plugin_needs import find_missing_plugins
from process_runner import Server, lint_service, serve_site

pytestmark = [pytest.mark.outside, pytest.mark.slow]


def read_declarations(case: str) -> str:
    """Give all that an example declares."""
    paths = list_examples()[case].glob("collections/**/*.yaml")
    return "".join(path.read_text(encoding="utf-8") for path in paths)


CASES = [case for case in list_examples() if re.search(r"standard:|obscore:", read_declarations(case))]
ALONE = [
    case for case in CASES if re.search(r'\burl: (\$|"http://127)', read_declarations(case))
]  # with a database or servers of their own
TOGETHER = [case for case in CASES if case not in ALONE and not find_missing_plugins(list_examples()[case])]


def test_there_are_examples_to_judge() -> None:
    assert ALONE
    assert len(TOGETHER) >= 10


@pytest.mark.parametrize("case", ALONE)
def test_an_example_is_as_the_judges_want_it(case: str, tmp_path: Path) -> None:
    with open_example(case, tmp_path) as site:
        ingest_all(site)
        with serve_site(site) as server:
            assert_valid_service(server.url, "obscore:" in read_declarations(case))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("ladder")
    for case in TOGETHER:
        shutil.copytree(prepare_example(case), directory, dirs_exist_ok=True)
    ingest_all(directory)
    with serve_site(directory) as found:
        yield found


def test_together_they_are_as_the_judges_want_them(server: Server) -> None:
    assert_valid_service(server.url, with_obscore=True)


def test_hven_lint_finds_nothing_worth_a_word(server: Server) -> None:
    report = lint_service(server.url)
    assert report["findings"] == []


def test_they_are_together_in_obscore(server: Server) -> None:
    found = server.rows(
        "SELECT obs_collection, dataproduct_type, COUNT(*) FROM ivoa.obscore GROUP BY obs_collection, dataproduct_type ORDER BY obs_collection"
    )
    assert found == [
        ["bass2000", "image", 141], ["corot_lc", "timeseries", 30], ["gaia_dem", "image", 384], ["herschel", "image", 24],
        ["nda_jupiter", "timeseries", 30], ["nda_sun", "timeseries", 30], ["nrh", "image", 251], ["oidb", "visibility", 23],
        ["oifits_granules", "visibility", 26], ["sz", "image", 48],
    ]  # fmt: skip
    assert server.rows("SELECT COUNT(*) FROM ivoa.obscore NATURAL JOIN ivoa.obscore_radio") == [[23 + 26]]
    assert server.rows("SELECT COUNT(*) FROM ivoa.obscore WHERE t_resolution < 100 OR nb_vis2 > 0")[0][0] > 23
