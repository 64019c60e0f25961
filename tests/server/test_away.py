"""The site's directory goes away under a running server: nothing is made in its place, and all is well when it is back."""

from __future__ import annotations

import http.client
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from server_process import ServerProcess, run_hven, serve_site

from hven.engines.duckdb.engine import DuckEngine
from hven.model.errors import StorageError, StorageUnavailableError
from hven.site.store import StateStore, mark_state_required
from hven.testing.site import open_tiny_site
from process_runner import wait_until


def test_a_state_that_a_server_found_is_waited_for_and_not_made_anew(tmp_path: Path) -> None:
    var, elsewhere = tmp_path / "site" / "var", tmp_path / "elsewhere"
    store = StateStore(var).mark_state_required()
    before = store.get_site_id()
    var.parent.rename(elsewhere)
    for ask in (store.get_version, store.get_site_id, lambda: StateStore(var)):
        with pytest.raises(StorageUnavailableError, match=r"is missing: no such file.*mount its disk again"):
            ask()
    var.mkdir(parents=True)  # as an empty mount point is
    with pytest.raises(StorageUnavailableError, match="is missing"):
        StateStore(var)
    assert not list(var.iterdir())
    var.rmdir()
    var.parent.rmdir()
    elsewhere.rename(var.parent)
    assert store.get_site_id() == before
    store.close()
    mark_state_required(tmp_path / "fresh", None)
    with pytest.raises(StorageUnavailableError):
        StateStore(tmp_path / "fresh")


def test_an_engine_that_is_begun_while_its_site_is_renamed_makes_no_site(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be created: No such file"):
        DuckEngine(tmp_path / "site" / "var" / "snapshots", memory_bytes=2**28)
    assert not list(tmp_path.iterdir())


def begun(server: ServerProcess) -> tuple[int, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        text = urlencode({"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM stars.main", "PHASE": "RUN"})
        connection.request("POST", "/tap/async", text, {"content-type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.slow
def test_a_site_that_is_renamed_under_its_server(tmp_path: Path) -> None:
    site, away = tmp_path / "site", tmp_path / "away"
    run_hven("init", site)
    with open_tiny_site(site, {"stars.main": pa.table({"id": [1, 2, 3]})}):
        pass
    with serve_site(site, workers=1) as server:
        assert begun(server)[0] == 303
        site.rename(away)
        status, told = begun(server)
        assert (status, "is missing: no such file" in told, str(tmp_path) in told) == (503, True, False)
        wait_until(lambda: server.get("/health/ready")[0] == 503)
        for _ in range(3):
            assert begun(server)[0] == 503
        assert not site.exists()
        away.rename(site)
        wait_until(lambda: begun(server)[0] == 303)
        wait_until(lambda: server.get("/health/ready")[0] == 200)
        assert server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[3]]
