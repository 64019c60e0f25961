"""Where the rows of a list and their results are on the sky."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from list_sites import HERE, PLAIN_LIST, run_to_end, start_list, write_list_type

from hven.app._server import create_and_start_application
from hven.jobs.job_service import FINAL_PHASES, OPEN_PHASES
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.plugins.fanout import list_map
from hven.site import Site

JOB_PHASES = (*OPEN_PHASES, *FINAL_PHASES)
POSITION_LIST = """\
title: Places
rows: {RA: {type: float64, unit: deg}, DEC: {type: float64, unit: deg}, X: {type: float64, required: true}}
steps: {square: {job: square}}
join: square.squares
limits: {rows: 50, running: 2}
"""


def build_columns(*names: str, unit: str = "deg") -> list[Param]:
    return [Param(name=name, type=FLOAT64, unit=unit) for name in names]


@pytest.mark.parametrize(
    ("names", "unit", "places"),
    [
        (("NAME", "DEC", "RA"), "deg", (2, 1)),
        (("S_RA", "S_DEC"), "", (0, 1)),
        (("CLUSTER_DEC", "OTHER_RA", "CLUSTER_RA"), "deg", (2, 0)),
        (("RA", "DEC"), "rad", None),
        (("RA", "MAG"), "deg", None),
        ((), "deg", None),
    ],
)
def test_columns_with_positions(names: tuple[str, ...], unit: str, places: tuple[int, int] | None) -> None:
    assert list_map.find_position_params(build_columns(*names, unit=unit)) == places


def test_rows_without_a_position_are_left_out() -> None:
    rows = [["-10", "5"], ["", "5"], ["20", ""], ["30", "-90"]]
    positions = list_map.locate_list_rows(build_columns("RA", "DEC"), rows)
    assert positions.rows.tolist() == [1, 4]
    assert positions.longitudes.tolist() == [350, 30]
    assert positions.latitudes.tolist() == [5, -90]
    assert positions.total == 2


def test_the_phase_of_a_row_is_that_which_needs_attention() -> None:
    jobs = [(1, "COMPLETED"), (1, "ERROR"), (2, "EXECUTING"), (2, "COMPLETED"), (3, "COMPLETED")]
    phases = list_map.find_worst_row_phases(4, jobs, "QUEUED")
    assert phases == ["ERROR", "EXECUTING", "COMPLETED", "QUEUED"]


def test_every_phase_of_a_job_has_a_place_and_a_label() -> None:
    jobs = list(enumerate(JOB_PHASES, 1))
    assert list_map.find_worst_row_phases(len(jobs), jobs, "QUEUED") == list(JOB_PHASES)


def write_joined_table(path: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_results_have_positions_of_their_own(tmp_path: Path) -> None:
    columns = {
        "list_row": pa.array([1, 1, 3], pa.int32()),
        "RA": [1.0, 1.0, 3.0],
        "DEC": [1.0, 1.0, 3.0],
        "ra_2": [10.0, None, 30.0],
        "dec_2": [-1.0, -2.0, -3.0],
    }
    positions = list_map.locate_results(write_joined_table(tmp_path / "a.parquet", columns), 3)
    assert positions.rows.tolist() == [1, 3]
    assert positions.longitudes.tolist() == [10, 30]
    texts = {name: np.array(["x", "y", "z"]) if name.endswith("_2") else column for name, column in columns.items()}
    assert list_map.locate_results(write_joined_table(tmp_path / "b.parquet", texts), 3).total == 0
    del columns["dec_2"]
    assert list_map.locate_results(write_joined_table(tmp_path / "c.parquet", columns), 3).total == 0


def test_many_results_are_counted_and_some_are_drawn(tmp_path: Path) -> None:
    count = list_map.MAX_DRAWN_RESULTS + 5
    columns = {"list_row": np.ones(count, np.int32), "RAJ2000": np.zeros(count), "DEJ2000": np.zeros(count)}
    positions = list_map.locate_results(write_joined_table(tmp_path / "a.parquet", columns), 1)
    assert (len(positions.rows), positions.total) == (list_map.MAX_DRAWN_RESULTS, count)


def test_the_page_has_a_map_of_rows_with_positions(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_LOG", str(tmp_path / "runs.txt"))
    write_list_type(site, "places", POSITION_LIST)
    client = Client(create_and_start_application(site))
    job = start_list(site, "places", "10 20 3\n350 -20 13\n30 40 5", HERE)
    headers = {"accept": "text/html", "accept-language": "fr"}
    page = client.ask("GET", f"/job-lists/{job.id}", headers=headers)
    assert 'data-pane="sky"' in page.text
    assert "wasm-unsafe-eval" in page.headers["content-security-policy"]
    run_to_end(site, job)
    answer = client.ask("GET", f"/job-lists/{job.id}/places", headers=headers)
    document = json.loads(answer.text)
    assert (document["lon"], document["lat"]) == ([10, 350, 30], [20, -20, 40])
    assert document["keys"] == ["1", "2", "3"]
    assert document["names"] == ["10 20 3", "350 -20 13", "30 40 5"]
    assert document["colouring"]["choices"] == [["COMPLETED", "terminée", 2], ["ERROR", "échouée", 1]]
    assert document["colouring"]["values"] == [0, 1, 0]
    tag = {"if-none-match": answer.headers["etag"]}
    assert client.ask("GET", f"/job-lists/{job.id}/places", headers={**headers, **tag}).status == 304


def test_a_list_without_positions_has_no_map(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_LOG", str(tmp_path / "runs.txt"))
    write_list_type(site, "squares", PLAIN_LIST)
    client = Client(create_and_start_application(site))
    job = start_list(site, "squares", "3 three")
    assert 'data-pane="sky"' not in client.ask("GET", f"/job-lists/{job.id}", headers={"accept": "text/html"}).text
    run_to_end(site, job)
    assert json.loads(client.ask("GET", f"/job-lists/{job.id}/places", headers={}).text)["keys"] == []
