"""A server under all kinds of load for long, with ingests, edits and killed workers beside it: every answer right, and nothing that grows.

Ten seconds here, thirty with HVEN_PROOF=full; then memory, threads, open files and disk must be flat after the first sixth.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sky_site import DESCRIPTOR, create_site, publish_stars

from plugin_needs import list_query_addresses, list_word_pages
from process_runner import HVEN_COMMAND, serve_site

pytestmark = pytest.mark.slow
FULL = os.environ.get("HVEN_PROOF") == "full"
SECONDS = 1800.0 if FULL else 10.0
ROWS = 60_000 if FULL else 6_000
READERS = 6
PAUSE = 5.0 if FULL else 2.0  # seconds between two publications
REST = 0.0 if FULL else 0.1  # seconds between the questions of a reader


@dataclass
class Reader:
    """One who asks at random, and judges each answer."""

    port: int
    seed: int
    over: threading.Event
    told: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def run(self) -> None:
        chance = random.Random(self.seed)
        ways = [self.state, self.cone, self.group, self.dump, self.upload, self.page, self.job, self.left, self.fault]
        while not self.over.wait(REST):
            way = chance.choice(ways)
            try:
                way(chance)
                self.told[way.__name__] += 1
            except (OSError, http.client.HTTPException) as error:  # its worker was killed
                self.told[f"broken: {type(error).__name__}"] += 1
            except AssertionError as error:
                self.wrong.append(f"{way.__name__}: {error}")

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/x-www-form-urlencoded"
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"content-type": kind} if body else {})
            answer = connection.getresponse()
            found = answer.read()
        if answer.status == 503:  # told to come again: right under such a load
            assert answer.getheader("retry-after"), "503 without Retry-After"
            raise http.client.HTTPException("503")
        if answer.status == 500 and b"the query process ended (SIGKILL)" in found:
            raise http.client.HTTPException("500")
        return answer.status, found

    def rows(self, query: str) -> list[list[object]]:
        status, body = self.ask(
            "GET", "/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "json", "QUERY": query})
        )
        assert status == 200, body[:300]
        return list(json.loads(body)["data"])

    def state(self, _: random.Random) -> None:
        found = self.rows("SELECT COUNT(*) AS n, MIN(state) AS a, MAX(state) AS b FROM sky.stars")
        assert found[0][0] == ROWS, found
        assert found[0][1] == found[0][2], found

    def cone(self, chance: random.Random) -> None:
        number = chance.randrange(ROWS)
        status, body = self.ask(
            "GET",
            f"/cone/sky.stars?RA={number * 7.31 % 360:.5f}&DEC={number * 3.7 % 178 - 89:.5f}&SR=0.001&RESPONSEFORMAT=csv",
        )
        assert status == 200, body[:300]
        assert f"\n{number}," in "\n" + body.decode(), body[:300]

    def group(self, _: random.Random) -> None:
        found = self.rows("SELECT kind, COUNT(*) AS n FROM sky.stars GROUP BY kind ORDER BY kind")
        assert [name for name, _ in found] == [f"k{n}" for n in range(7)]
        assert sum(n for _, n in found) == ROWS  # type: ignore[misc]

    def dump(self, chance: random.Random) -> None:
        form = chance.choice(["csv", "votable", "fits", "parquet"])
        status, body = self.ask(
            "GET",
            "/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": form, "QUERY": "SELECT * FROM sky.stars"}),
        )
        assert status == 200, body[:300]
        assert form != "csv" or body.count(b"\n") == ROWS + 1

    def upload(self, _: random.Random) -> None:
        fields = {"LANG": "ADQL", "RESPONSEFORMAT": "json", "UPLOAD": "mine,param:f",
                  "QUERY": "SELECT COUNT(*) AS n FROM sky.stars AS s JOIN TAP_UPLOAD.mine AS m ON s.id = m.id"}  # fmt: skip
        parts = [
            f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
        ]
        parts.append(
            '--X\r\nContent-Disposition: form-data; name="f"; filename="f.csv"\r\nContent-Type: text/csv\r\n\r\nid\n1\n2\n-5\n\r\n--X--\r\n'
        )
        status, body = self.ask("POST", "/tap/sync", "".join(parts).encode(), "multipart/form-data; boundary=X")
        assert status == 200, body[:300]
        assert json.loads(body)["data"] == [[2]]

    def page(self, chance: random.Random) -> None:
        path = chance.choice(["/", "/collections/sky", "/collections/sky/stars", "/collections/sky/stars/rows?_from=10", "/collections/sky/stars?kind=k1", "/health",
                              "/collections/sky/stars/facets", "/tap/tables", "/tap/capabilities", *list_word_pages("star"), *list_query_addresses("/adql")])  # fmt: skip
        status, body = self.ask("GET", path)
        assert status == 200, (path, body[:300])

    def job(self, _: random.Random) -> None:
        form = {"LANG": "ADQL", "PHASE": "RUN", "RESPONSEFORMAT": "csv", "QUERY": "SELECT COUNT(*) AS n FROM sky.stars"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(
                "POST", "/tap/async", urlencode(form), {"content-type": "application/x-www-form-urlencoded"}
            )
            answer = connection.getresponse()
            answer.read()
        place = (answer.getheader("location") or "").partition(str(self.port))[2]
        assert answer.status == 303, answer.status
        end = time.monotonic() + 60
        while (
            self.ask("GET", f"{place}/phase")[1] not in {b"COMPLETED", b"ERROR", b"ABORTED"} and time.monotonic() < end
        ):
            time.sleep(0.1)
        assert self.ask("GET", f"{place}/results/result")[1].split() == [b"n", str(ROWS).encode()]
        self.ask("DELETE", place)

    def left(self, _: random.Random) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            query = "SELECT AREA(CIRCLE(ra, dec, 1)) AS f, s.* FROM sky.stars AS s"
            connection.request(
                "GET", "/tap/sync?" + urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": query})
            )
            connection.getresponse().read(1000)

    def fault(self, chance: random.Random) -> None:
        status, body = self.ask(
            "GET",
            "/tap/sync?"
            + urlencode(
                {
                    "LANG": "ADQL",
                    "QUERY": chance.choice(["SELEC", "SELECT x FROM sky.stars", "SELECT 1/0 FROM nothing"]),
                }
            ),
        )
        assert status == 400, body[:300]


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What the processes of a server hold: MiB (mapped files aside), threads, open files; and MiB on disk."""

    memory: float
    threads: int
    files: int
    disk: float


def weigh(pid: int, site: Path) -> Weight:
    """Add up a process and all that came of it."""
    family, todo = [], [pid]
    while todo:
        one = todo.pop()
        family.append(one)
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                todo += map(int, children.read_text().split())
    memory, threads, files = 0.0, 0, 0
    for one in family:
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:])
            memory += float(lines["Pss_Anon"].split()[0]) / 1024
            threads += len(list(Path(f"/proc/{one}/task").iterdir()))
            files += len(list(Path(f"/proc/{one}/fd").iterdir()))
    disk = (
        sum(
            path.stat().st_blocks * 512
            for path in (site / "var").rglob("*")
            if path.is_file() and path.name != "serve.log"
        )
        / 2**20
    )
    return Weight(memory=memory, threads=threads, files=files, disk=disk)


def kill_a_worker(pid: int) -> None:
    """Kill one of those that answer: not the keeper of the jobs, nor the scheduler, which name themselves."""
    found = [
        int(one) for children in Path(f"/proc/{pid}/task").glob("*/children") for one in children.read_text().split()
    ]
    workers = [one for one in found if not Path(f"/proc/{one}/comm").read_text().startswith("hven-")]
    if workers:
        os.kill(random.Random(len(workers)).choice(workers), signal.SIGKILL)


def kill_what_computes(pid: int) -> None:
    """Kill a process that computes for one of those that answer, if there is one."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for one in children.read_text().split():
            with contextlib.suppress(OSError):
                if b"engines.duckdb.computing" in Path(f"/proc/{one}/cmdline").read_bytes():
                    os.kill(int(one), signal.SIGKILL)
                    return
                kill_what_computes(int(one))


def test_everything_at_once_for_long(tmp_path: Path) -> None:
    site = tmp_path / "site"
    create_site(site)
    # each state gives every row its number: an answer with two numbers is a mixed one
    publish_stars(site, ROWS, "k", lambda _: 0)
    over, weights, state = threading.Event(), list[Weight](), 0
    with serve_site(site, workers=2, command=HVEN_COMMAND) as server:
        readers = [Reader(server.port, seed, over) for seed in range(READERS)]
        threads = [threading.Thread(target=reader.run) for reader in readers]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        try:
            while time.monotonic() - begun < SECONDS:
                state += 1
                publish_stars(site, ROWS, "k", lambda _, now=state: now)
                if state % 2:
                    kill_a_worker(server.process.pid)
                else:
                    edited = DESCRIPTOR.replace("title: Stars", f"title: Stars {state}")
                    (site / "collections" / "sky" / "sky.yaml").write_text(edited)
                if state % 5 == 4:
                    kill_what_computes(server.process.pid)
                weights.append(weigh(server.process.pid, site))
                over.wait(PAUSE)
        finally:
            over.set()
            for thread in threads:
                thread.join()
    told = sum((reader.told for reader in readers), Counter[str]())
    assert [line for reader in readers for line in reader.wrong] == []
    assert all(told[way] for way in ("state", "cone", "group", "dump", "upload", "page", "job", "left", "fault")), told
    print(f"{told.total():,} answers: {dict(told)}; {state} publications; {weights[0]} .. {weights[-1]}")
    if FULL:  # of some seconds nothing can be said
        settled = weights[len(weights) // 6 :]
        half = len(settled) // 2
        for what in ("memory", "threads", "files", "disk"):
            early = max(getattr(one, what) for one in settled[:half])
            late = max(getattr(one, what) for one in settled[half:])
            assert late <= 1.1 * early, f"{what} grew from {early:,.0f} to {late:,.0f}"
