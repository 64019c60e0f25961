"""Example 28: clusters around a list of positions."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from list_sites import list_children, read_result, run_to_end, start_list

from example_sites import ingest_all, open_example
from hven.model.settings import load_settings
from hven.site import Site
from hven.sources.site_programs import PROGRAM_PATH


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("python3", path=PROGRAM_PATH) is None:
        pytest.skip("the example's program needs python3 in /usr/local/bin, /usr/bin or /bin")
    with open_example("28-magyc", tmp_path_factory.mktemp("example")) as directory:
        ingest_all(directory)
        yield directory


def search_positions(directory: Path, count: int, first: int = 0) -> list[dict[str, str]]:
    """Search clusters around some of the positions; return the joined table."""
    lines = (directory / "collections/galaxies/data/positions.txt").read_text().splitlines()
    with Site(load_settings(directory)) as site:
        job = run_to_end(site, start_list(site, "magyc", "\n".join(lines[first : first + count])))
        assert job.phase == "COMPLETED", job.error
        assert len(list_children(site, job)) == min(2 * count, 1000)
        states = list(csv.DictReader(io.StringIO(read_result(site, job, "rows"))))
        assert [row["clusters_phase"] for row in states] == ["COMPLETED"] * count
        assert {result["id"] for result in list_children(site, job)[-1].results} >= {"clusters", "preview"}
        return list(csv.DictReader(io.StringIO(read_result(site, job, "csv"))))


def test_clusters_are_found_near_their_positions(example: Path) -> None:
    found = search_positions(example, 6)  # the first 40 positions are near a cluster
    assert {row["list_row"] for row in found} == set("123456")
    for row in found:
        assert abs(float(row["DEC"]) - float(row["cluster_dec"])) < 0.3
        assert float(row["significance"]) >= 4


@pytest.mark.slow
def test_two_hundred_positions(example: Path) -> None:
    found = search_positions(example, 200)
    assert {int(row["list_row"]) for row in found} >= set(range(1, 41))
