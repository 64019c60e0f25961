"""Files of published rows that are damaged under a running server: the last good snapshot is served, and people are told."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import ServerProcess, build_star_site, run_hven, serve_site

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from process_runner import wait_until

COUNT = "SELECT COUNT(*) AS n, MAX(mag) AS m FROM stars.main"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    site = build_star_site(tmp_path_factory.mktemp("damage") / "site")
    for number in (2000, 3000):
        lines = [f"s{n},{n * 7.31 % 360:.5f},{n * 3.7 % 180 - 90:.5f},{n % 20}" for n in range(number)]
        (site / "collections" / "stars" / "stars.csv").write_text("id,ra,dec,mag\n" + "\n".join(lines) + "\n")
        with Site(settings.load_settings(site)) as here:
            ingest_collection(here, "stars")
    (site / "hven.toml").write_text((site / "hven.toml").read_text() + "\n[health]\nopen = true\n")
    with serve_site(site, workers=2) as made:
        yield made


def parts(server: ServerProcess) -> list[Path]:
    """The part of each snapshot, the oldest first."""
    return sorted((server.log.parent / "var" / "snapshots" / "stars.main").glob("*/00000.arrow"))


def rows(server: ServerProcess) -> int | None:
    """How many rows there are; None: the service says that it has none, or a worker died of it."""
    with contextlib.suppress(http.client.HTTPException, OSError):
        status, _, body = server.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=COUNT)
        assert status in {200, 503}, body
        return int(json.loads(body)["data"][0][0]) if status == 200 else None
    return None


def health(server: ServerProcess) -> dict[str, object]:
    body = json.loads(server.get("/health", format="json")[2])
    checks = {check["name"]: check for check in body["checks"]}
    return {
        "verified": body["collections"][0].get("verified"),
        "state": checks["holdings"]["state"],
        "alerts": body["alerts"],
    }


def test_damage_under_a_running_server(server: ServerProcess) -> None:
    first, second, third = parts(server)
    assert rows(server) == 3000
    wait_until(lambda: bool(health(server)["verified"]))  # in the background, by itself

    third.chmod(0o600)
    os.truncate(third, 100)
    wait_until(lambda: all(rows(server) == 2000 for _ in range(10)))  # each worker notices it by itself
    wait_until(lambda: health(server)["state"] == "warning")  # a picture is kept for a second

    # what nobody can notice without reading: a process that dies of it has everything read
    second.chmod(0o600)
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 4
    second.write_bytes(data)
    wait_until(lambda: bool(server.list_workers()))
    os.kill(server.list_workers()[0], signal.SIGSEGV)
    wait_until(lambda: all(rows(server) == 1000 for _ in range(10)))
    # a picture is kept for a second
    wait_until(lambda: any(item["kind"] == "damaged" for item in health(server)["alerts"]), timeout_seconds=10)

    first.unlink()
    wait_until(lambda: all(rows(server) is None for _ in range(10)))
    # ten answers may all have been of one worker, and this one of the other, who is to notice it yet
    answers = []
    wait_until(lambda: answers.append(server.get("/tap/sync", LANG="ADQL", QUERY=COUNT)) or answers[-1][0] != 200)
    status, headers, body = answers[-1]
    assert (status, headers.get("retry-after")) == (503, "5"), body
    assert (
        b"the rows of stars.main are damaged on disk, so Hven does not return them; ask the site's operators to ingest the collection again"
        in body
    )
    assert str(server.log.parent).encode() not in body

    done = run_hven("verify", "--site", server.log.parent, expected_code=1)
    assert "00000.arrow: it has 100 bytes, but" in done.stdout
    assert "the rows of stars.main cannot be read" in done.stdout
    found = json.loads(run_hven("verify", "stars", "--json", "--site", server.log.parent, expected_code=1).stdout)
    assert len(found["snapshots"]) == 3
    assert [one["served"] for one in found["served"]] == [None]

    with Site(settings.load_settings(server.log.parent)) as here:
        ingest_collection(here, "stars")
    wait_until(lambda: all(rows(server) == 3000 for _ in range(10)))
    wait_until(lambda: health(server)["state"] == "ok")  # a picture is kept for a second
