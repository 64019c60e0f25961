"""A worker that holds more than its queries may use, whoever has it, is replaced; readers who wait are answered by the next one."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Serving, serving, star_site

from running import until

pytestmark = pytest.mark.slow
MIB = 1024**2
MEMORY = 64 * MIB
ANEW = "more than its queries may use, and is begun anew"
#: In each worker of the server, from its beginning: while a query runs, takes what `ballast` says, which no query has and none gives back.
BALLAST = """\
import sys, threading, time
from pathlib import Path

def take():
    file = Path(__file__).with_name("ballast")
    while not (file.exists() and any(one.name == "hven-ceiling" for one in threading.enumerate())):
        time.sleep(0.05)
    sys.modules["hven.query.memory"].STUBBORN = 4.0  # seconds, where a server has ten
    global held
    held = b"x" * int(file.read_text())
    file.unlink()

def switched(seconds, switch=sys.setswitchinterval):  # what a worker calls first
    switch(seconds)
    threading.Thread(target=take, daemon=True).start()

sys.setswitchinterval = switched
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    site = star_site(tmp_path_factory.mktemp("heavy") / "site")
    with (site / "hven.toml").open("a") as file:
        file.write('\n[limits]\nseconds = 60\nmemory = "64 MiB"\nconcurrent = 1\n')
    (site / "sitecustomize.py").write_text(BALLAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        with serving(site, workers=1, through=["env"]) as made:  # Python itself is to read what was written there
            yield made


def held(pid: int) -> int:
    """Bytes that a process has for itself."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * 4096


@pytest.mark.parametrize(
    "more", [2.5, 1.5], ids=["twice what queries may use, at once", "more than they may use, for long"]
)
def test_a_worker_that_holds_too_much_is_replaced(more: float, server: Serving) -> None:
    (worker,) = server.workers()
    before, said = held(worker), server.log.read_text().count(ANEW)
    told: list[int] = []

    def ask() -> None:
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            query = "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b, stars.main AS c, stars.main AS d WHERE a.ra + b.ra > c.ra + d.ra"
            told.append(server.get("/tap/sync", LANG="ADQL", QUERY=query)[0])

    asking = threading.Thread(target=ask)
    asking.start()
    (server.log.parent / "ballast").write_text(str(int(more * MEMORY)))
    until(lambda: not Path(f"/proc/{worker}").exists(), 60)
    asking.join()
    # by the next one; nobody was turned away meanwhile
    assert server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[1000]]
    (following,) = server.workers()
    assert following != worker
    assert held(following) < before + MEMORY / 2
    assert told == ([] if more > 2 else [413])  # the query goes first; the worker only if that does not help
    assert server.log.read_text().count(ANEW) == said + 1
