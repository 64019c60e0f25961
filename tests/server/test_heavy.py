"""A worker that holds more than its queries may use, whoever has it, is replaced; readers who wait are answered by the next one."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_process import ServerProcess, build_star_site, serve_site

from process_runner import is_gone, wait_until

pytestmark = pytest.mark.slow
MIB = 1024**2
MEMORY = 64 * MIB
ANEW = "more than its queries may use"
#: In each worker of the server, from its beginning: while a query runs, does what `ballast` says, and then removes it. A number is bytes that are taken, which no query
#: has and none gives back; behind "at once", they are only counted, so that no look meets a part of them. "stubborn" ends the patience of the worker, which has no end before.
BALLAST = """\
import sys, threading, time
from pathlib import Path

def obey():
    file = Path(__file__).with_name("ballast")
    held = []
    while not any(one.name == "hven-ceiling" for one in threading.enumerate()):
        time.sleep(0.02)
    memory = sys.modules["hven.query.memory_watchdog"]
    memory.MAX_OVERRUN_SECONDS = 1e9
    used = memory.measure_process_bytes
    while True:
        if file.exists():
            word, _, number = file.read_text().rpartition(" ")
            if word == "take":
                held.append(b"x" * int(number))
            elif word == "at once":
                memory.measure_process_bytes = lambda process="self": used(process) + int(number)
            elif word == "stubborn":
                memory.MAX_OVERRUN_SECONDS = float(number)
            file.unlink()
        time.sleep(0.02)

def switched(seconds, switch=sys.setswitchinterval):  # what a worker calls first
    switch(seconds)
    threading.Thread(target=obey, daemon=True).start()

sys.setswitchinterval = switched
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    site = build_star_site(tmp_path_factory.mktemp("heavy") / "site")
    with (site / "hven.toml").open("a") as file:
        file.write('\n[limits]\nseconds = 60\nmemory = "64 MiB"\nconcurrent = 1\n')
    (site / "sitecustomize.py").write_text(BALLAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        with serve_site(site, workers=1, through=["env"]) as made:  # Python itself is to read what was written there
            yield made


def measure_private_bytes(pid: int) -> int:
    """Bytes that a process has for itself."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * 4096


LONG = "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b, stars.main AS c, stars.main AS d WHERE a.ra + b.ra > c.ra + d.ra"


def say(server: ServerProcess, words: str) -> None:
    """Tell the worker what to do, as soon as a query runs there."""
    file = server.log.parent / "ballast"
    new = file.with_suffix(".new")
    new.write_text(words)
    new.replace(file)  # it is whole as soon as it is there


def ask(server: ServerProcess, told: list[int]) -> None:
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        told.append(server.get("/tap/sync", LANG="ADQL", QUERY=LONG)[0])


def check_replacement(server: ServerProcess, worker: int, before: int, said: int) -> None:
    """Look at the worker that is there instead; nobody was turned away meanwhile."""
    wait_until(lambda: is_gone(worker))
    assert server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[1000]]
    (following,) = server.list_workers()
    assert following != worker
    assert measure_private_bytes(following) < before + MEMORY / 2
    assert server.log.read_text().count(ANEW) == said + 1


def test_a_worker_that_holds_twice_what_queries_may_use_is_replaced_at_once(server: ServerProcess) -> None:
    (worker,) = server.list_workers()
    before, said = measure_private_bytes(worker), server.log.read_text().count(ANEW)
    told: list[int] = []
    asking = threading.Thread(target=ask, args=(server, told))
    asking.start()
    say(server, f"at once {int(2.5 * MEMORY)}")
    check_replacement(server, worker, before, said)
    asking.join()
    assert told == [], "its connection ends with it"


def test_a_worker_that_holds_too_much_for_long_is_replaced(server: ServerProcess) -> None:
    (worker,) = server.list_workers()
    before, said = measure_private_bytes(worker), server.log.read_text().count(ANEW)
    told: list[int] = []
    asking = threading.Thread(target=ask, args=(server, told))
    asking.start()
    say(server, f"take {int(1.5 * MEMORY)}")
    asking.join()
    assert told == [413], "the query goes first; the worker only if that does not help"
    say(server, "stubborn 0.1")
    check_replacement(server, worker, before, said)
