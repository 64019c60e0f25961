"""A server that starts with a faulty descriptor: the collection keeps its page, and the fault is said wherever the operator looks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from server_process import DESCRIPTOR, ServerProcess, build_star_site, run_hven, serve_site

from process_runner import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faulty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    site = build_star_site(tmp_path_factory.mktemp("faulty") / "site", 50)
    (site / "collections/stars/stars.yaml").write_text(DESCRIPTOR.replace("title:", "titel:"))
    with serve_site(site, workers=2) as server:
        yield server


def test_the_collection_keeps_its_page(faulty_server: ServerProcess) -> None:
    assert faulty_server.get("/collections/stars")[0] == 200
    assert b"Made-up stars" in faulty_server.get("/")[2]
    assert faulty_server.ask("SELECT COUNT(*) FROM stars.main") == [[50]]


def test_the_log_says_the_fault_once(faulty_server: ServerProcess) -> None:
    wait_until(lambda: "titel" in faulty_server.log.read_text())
    lines = [line for line in faulty_server.log.read_text().splitlines() if "stars.yaml:2:1" in line]
    assert len(lines) == 1
    assert "the last valid descriptor of stars" in lines[0]
    assert "WARNING" in lines[0]


def test_health_says_it(faulty_server: ServerProcess) -> None:
    status, _, body = faulty_server.get("/health?format=json")
    (check,) = (one for one in json.loads(body)["checks"] if one["name"] == "descriptors")
    assert status == 200
    assert check == {
        "name": "descriptors",
        "state": "warning",
        "reason": "a descriptor has faults; its last valid version is used",
    }


def test_the_operator_reads_which_one(faulty_server: ServerProcess) -> None:
    site = faulty_server.log.parent
    said = json.loads(run_hven("status", "--site", site, "--json").stdout)
    (check,) = (one for one in said["checks"] if one["name"] == "descriptors")
    assert "stars: collections/stars/stars.yaml:2:1" in check["message"]
    assert "titel" in said["collections"][0]["descriptor"]
