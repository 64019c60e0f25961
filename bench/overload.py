"""Overload: an open loop of dear queries and of cones at some times what a service can do, and thousands of idle connections; loopback only.

An open loop sends at its rate, whatever the answers do: that is what a crowd does, and a client that waits for its answers does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from bench.measure import CACHE, Journey, against, serve_site
from hven.model import deadlines
from hven.testing.site import build_table_from_arrow, open_tiny_site

MOST = 60_000  # requests of one crowd
LONGEST = 60.0  # seconds that one lasts
PATIENCE = 15.0  # seconds that a client waits for its answer
RESET, LATE, REFUSED = -1, -2, 503
ROWS = 800_000
SECONDS = 10.0  # of each crowd
ROUNDS = 3
TIMES = 6.0  # as many dear queries as the service can answer
IDLE = 10_000  # connections
PARTS = {
    "measure_fairness": ("overload.cones", "overload.cheap", "overload.told", "overload.broken", "overload.fair"),
    "measure_among_idle": ("overload.idle",),
    "measure_quiet_clients": ("overload.quiet.accepted", "overload.quiet.refused", "overload.quiet.closed"),
    "measure_beside_foreign_load": (
        "overload.foreign.accepted",
        "overload.foreign.refused",
        "overload.foreign.closed",
        "overload.foreign.killed",
    ),
}
FOREIGN = 16  # busy processes of somebody else
KILLED = "no sign of life"  # words of the log


@dataclass
class Heard:
    """What the requests of one kind came to: seconds by status; RESET and LATE are no answers."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    untold: int = 0  # 503 without Retry-After

    def note(self, status: int, took: float) -> None:
        self.seconds.setdefault(status, []).append(took)

    def add(self, other: Heard) -> None:
        for status, all_ in other.seconds.items():
            self.seconds.setdefault(status, []).extend(all_)
        self.untold += other.untold

    def count(self, status: int) -> int:
        return len(self.seconds.get(status, ()))

    def at(self, share: float, status: int = 200) -> float:
        """The quantile of the seconds of the answers of one status; nan: there is none."""
        found = sorted(self.seconds.get(status, ()))
        return found[min(int(share * len(found)), len(found) - 1)] if found else math.nan

    @property
    def counts(self) -> dict[int, int]:
        return dict(Counter({status: len(all_) for status, all_ in sorted(self.seconds.items())}))


async def ask(port: int, path: str, heard: Heard, *, address: str = "127.0.0.1") -> int:
    """Send one request on a connection of its own and read its answer to the end."""
    begun = time.perf_counter()
    status = RESET
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            whole = await reader.read(-1)
            while more := await reader.read(-1):
                whole += more
        head = whole.partition(b"\r\n\r\n")[0].lower()
        if head.startswith(b"http/1.1 "):
            status = int(head[9:12])
            heard.untold += status == REFUSED and b"retry-after:" not in head
    except TimeoutError:
        status = LATE
    except OSError:
        status = RESET
    finally:
        if writer is not None:
            writer.close()
    heard.note(status, time.perf_counter() - begun)
    return status


async def run_closed_loop(port: int, path: Callable[[], str], *, clients: int, seconds: float) -> tuple[float, Heard]:
    """Ask with so many clients that wait for their answers; give answers a second: the capacity."""
    heard = Heard()
    begun = time.perf_counter()

    async def ask_until_end() -> None:
        while time.perf_counter() - begun < seconds:
            await ask(port, path(), heard)

    await asyncio.gather(*(ask_until_end() for _ in range(clients)))
    return heard.count(200) / (time.perf_counter() - begun), heard


async def crowd(
    port: int, path: Callable[[], str], *, rate: float, seconds: float, address: str = "127.0.0.1"
) -> Heard:
    """Send so many requests a second, whatever comes back."""
    seconds = min(seconds, LONGEST)
    number = min(int(rate * seconds), MOST)
    heard = Heard()
    begun = time.perf_counter()
    asked = []
    for n in range(number):
        ahead = begun + n / rate - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif not n % 50:
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(ask(port, path(), heard, address=address)))
    await asyncio.gather(*asked)
    return heard


@contextlib.asynccontextmanager
async def idle(port: int, number: int) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """Hold connections that have asked for one page and ask no more; give those that were answered."""
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    slots = asyncio.Semaphore(64)

    async def hold_connection(n: int) -> None:
        async with slots:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE):
                    pair = await asyncio.open_connection(
                        "127.0.0.1", port, local_addr=(f"127.0.{1 + n // 20_000}.1", 0), limit=4096
                    )
                    pair[1].write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    await pair[0].readuntil(b"\r\n\r\n")
                    held.append(pair)

    await asyncio.gather(*(hold_connection(n) for n in range(number)))
    try:
        yield held
    finally:
        for _, writer in held:
            writer.transport.abort()


def cone() -> str:
    return f"/cone/big.main?RA={random.uniform(0, 360):.4f}&DEC={random.uniform(-80, 80):.4f}&SR=0.3"


def dear() -> str:
    query = (
        f"SELECT FLOOR(vt * {random.randint(50, 5000)}) AS bin, COUNT(*) AS n, AVG(bt) AS m FROM big.main GROUP BY bin"
    )
    return "/tap/sync?LANG=ADQL&MAXREC=10&QUERY=" + quote(query)


def cheap() -> str:
    """A row by its key, a page, or a sign of life."""
    key = "/tap/sync?LANG=ADQL&QUERY=" + quote(f"SELECT * FROM big.main WHERE id = {random.randrange(ROWS)}")
    return random.choice((key, "/", "/health/live"))


async def manners(port: int, seconds: float) -> Heard:
    """Ask on one connection again and again, four at a time without waiting, and leave in the middle of dear queries; note what broke."""
    heard = Heard()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        status = RESET
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                async with asyncio.timeout(PATIENCE):
                    _, leaving = await asyncio.open_connection("127.0.0.1", port)
                    leaving.write(f"GET {dear()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    for number in (1, 1, 4):
                        writer.write(
                            b"".join(
                                f"GET {cone()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for _ in range(number)
                            )
                        )
                        for _ in range(number):
                            head = (await reader.readuntil(b"\r\n\r\n")).lower()
                            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
                            status = int(head[9:12])
                    leaving.transport.abort()
                    writer.close()
            except TimeoutError:
                status = LATE
        heard.note(status, time.perf_counter() - begun)
        await asyncio.sleep(0.1)
    return heard


def print_outcome(name: str, heard: Heard) -> None:
    """Print what came of the requests of one kind."""
    answered, refused = heard.seconds.get(200, [math.nan]), heard.seconds.get(REFUSED, [math.nan])
    print(
        f"       {name:14} {heard.counts}  p50 {statistics.median(answered) * 1000:.1f} ms, p95 {heard.at(0.95) * 1000:.1f} ms;"
        f" 503 p50 {statistics.median(refused) * 1000:.1f} ms, p95 {heard.at(0.95, REFUSED) * 1000:.1f} ms, {heard.untold} without Retry-After"
    )


CLIENT_SESSION = -15  # steps of niceness of the sessions of clients


def _begin_client() -> None:
    """Give a client a session of its own, above others where the account may: a reader's machine is not busy because the server's is."""
    os.setsid()
    deadlines.reduce_session_priority(CLIENT_SESSION)


def _send(port: int, path: Callable[[], str], rate: float, seconds: float) -> Heard:
    return asyncio.run(crowd(port, path, rate=rate, seconds=seconds))


def _cones(port: int, seconds: float) -> Heard:
    return _send(port, cone, 20, seconds)


@contextlib.contextmanager
def reader() -> Iterator[Callable[[int, float], Awaitable[Heard]]]:
    """Ask for cones in a process and a session of its own, as a reader does: beside the loop that sends the crowd it would be late with what it measures."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin_client) as pool:
        yield lambda port, seconds: asyncio.get_running_loop().run_in_executor(pool, _cones, port, seconds)


@contextlib.contextmanager
def dear_client() -> Iterator[Callable[[int, float, float], Awaitable[Heard]]]:
    """Send dear queries at a rate from a process of their own; otherwise the client's place in the queue for a processor is measured."""
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin_client) as pool:
        yield lambda port, rate, seconds: asyncio.get_running_loop().run_in_executor(
            pool, _send, port, dear, rate, seconds
        )


async def measure_fairness(port: int) -> AsyncIterator[Journey]:
    """Measure cheap requests alone and beside a crowd of dear ones, and what the crowd is told."""
    with reader() as cones_of:
        async for journey in _measure_fairness(port, cones_of):
            yield journey


async def _measure_fairness(port: int, cones_of: Callable[[int, float], Awaitable[Heard]]) -> AsyncIterator[Journey]:
    await cones_of(port, 2)
    capacity, heard = await run_closed_loop(port, dear, clients=4, seconds=SECONDS)
    print_outcome(f"dear, {capacity:.1f}/s", heard)
    rate = max(capacity, 1.0) * TIMES
    rounds, every = list[tuple[float, float]](), [heard]
    probes, dears = Heard(), Heard()
    for _ in range(ROUNDS):  # what the machine gives changes from one minute to the next
        alone = await cones_of(port, SECONDS)
        cones, others, crowded = await asyncio.gather(
            cones_of(port, SECONDS),
            crowd(port, cheap, rate=10, seconds=SECONDS),
            crowd(port, dear, rate=rate, seconds=SECONDS),
        )
        for name, each in (
            ("cones alone", alone),
            ("cones beside", cones),
            ("cheap beside", others),
            (f"dear, {rate:.0f}/s", crowded),
        ):
            print_outcome(name, each)
        rounds.append((cones.at(0.95) * 1e3, alone.at(0.95) * 1e3))
        every += alone, cones, others, crowded
        probes.add(others)
        dears.add(crowded)
    middle = sorted(rounds, key=lambda one: one[0] / one[1])[ROUNDS // 2]
    yield against(
        "overload.cones",
        *middle,
        3.0,
        unit="ms",
        note=f"p95 beside 6 times the dear queries, the median of {ROUNDS} pairs",
    )
    yield against(
        "overload.cheap", probes.at(0.95) * 1e3, 250.0, 1.0, unit="ms", note="p95 of keys, pages, signs of life"
    )
    yield against("overload.told", dears.at(0.95, REFUSED) * 1e3, 50.0, 1.0, unit="ms", note="p95 of the 503")
    modest, greedy, polite = await asyncio.gather(
        crowd(port, dear, rate=capacity / 6, seconds=SECONDS, address="127.0.0.2"),
        crowd(port, dear, rate=rate, seconds=SECONDS),
        manners(port, SECONDS),
    )
    for name, each in (("dear, modest", modest), ("dear, greedy", greedy), ("on and off", polite)):
        print_outcome(name, each)
    every += modest, greedy, polite
    broken = sum(each.count(RESET) + each.count(LATE) + each.untold for each in every)
    yield against(
        "overload.broken",
        broken,
        1.0,
        0.0,
        unit="",
        note="reset, without an answer in 15 s, or 503 without Retry-After",
    )
    share = modest.count(200) / max(sum(modest.counts.values()), 1)
    yield against(
        "overload.fair",
        share,
        1.0,
        0.9,
        unit="",
        higher=True,
        note="answered of who asks little beside who asks 36 times as much",
    )


async def measure_among_idle(port: int) -> AsyncIterator[Journey]:
    """Measure cones beside idle connections, between two measures without them."""
    before = await crowd(port, cone, rate=20, seconds=SECONDS)
    async with idle(port, IDLE) as held:
        cones = await crowd(port, cone, rate=20, seconds=SECONDS)
        number = len(held)
    after = await crowd(port, cone, rate=20, seconds=SECONDS)
    for name, heard in (("cones before", before), (f"{number} idle", cones), ("cones after", after)):
        print_outcome(name, heard)
    alone = statistics.mean((before.at(0.95), after.at(0.95)))
    yield against(
        "overload.idle", cones.at(0.95) * 1e3, alone * 1e3, 1.2, unit="ms", note=f"p95 beside {number} idle connections"
    )


@contextlib.contextmanager
def foreign_load(number: int, seconds: float) -> Iterator[None]:
    """Keep so many processes busy; each ends by itself after so many seconds, and at the end of the block."""
    code = f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"
    running = [subprocess.Popen([sys.executable, "-c", code], start_new_session=True) for _ in range(number)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


async def _run_under_crowd(
    port: int,
    cones_of: Callable[[int, float], Awaitable[Heard]],
    dears_of: Callable[[int, float, float], Awaitable[Heard]],
    capacity: float,
) -> tuple[Heard, Heard]:
    """Send six times the dear queries that were answered, and cones beside them."""
    cones, dears = await asyncio.gather(cones_of(port, SECONDS), dears_of(port, max(capacity, 1.0) * TIMES, SECONDS))
    print_outcome("cones beside", cones)
    print_outcome("dear", dears)
    return cones, dears


def _count_unanswered(*every: Heard) -> int:
    return sum(each.count(RESET) + each.count(LATE) + each.untold for each in every)


async def measure_quiet_clients(port: int) -> AsyncIterator[Journey]:
    """Measure what is accepted and what is refused with nothing else on the machine."""
    with reader() as cones_of, dear_client() as dears_of:
        await asyncio.gather(cones_of(port, 2), dears_of(port, 1, 2))
        capacity, _ = await run_closed_loop(port, dear, clients=4, seconds=SECONDS / 2)
        idle_cones = await cones_of(port, SECONDS)
        cones, dears = await _run_under_crowd(port, cones_of, dears_of, capacity)
    yield against(
        "overload.quiet.accepted", cones.at(0.95) * 1e3, idle_cones.at(0.95) * 1e3, 3.0, unit="ms",
        note="p95 of cones beside 6 times the dear queries, against those without",
    )  # fmt: skip
    yield against("overload.quiet.refused", dears.at(0.95, REFUSED) * 1e3, 100.0, 1.0, unit="ms", note="p95 of the 503")
    yield against("overload.quiet.closed", _count_unanswered(cones, dears), 1.0, 0.0, unit="", note="without an answer")


async def measure_beside_foreign_load(port: int) -> AsyncIterator[Journey]:
    """Measure the same beside 16 busy processes of somebody else. The idle figure is taken before they begin."""
    log = CACHE / "server.log"
    before = log.read_text(errors="replace").count(KILLED)
    with reader() as cones_of, dear_client() as dears_of:
        await asyncio.gather(cones_of(port, 2), dears_of(port, 1, 2))
        capacity, _ = await run_closed_loop(port, dear, clients=4, seconds=SECONDS / 2)
        idle_cones = await cones_of(port, SECONDS)
        with foreign_load(FOREIGN, LONGEST):
            cones, dears = await _run_under_crowd(port, cones_of, dears_of, capacity)
    yield against(
        "overload.foreign.accepted", cones.at(0.95) * 1e3, idle_cones.at(0.95) * 1e3, 5.0, unit="ms",
        note=f"p95 of cones beside 6 times the dear queries and {FOREIGN} busy processes, against those without",
    )  # fmt: skip
    yield against(
        "overload.foreign.refused", dears.at(0.95, REFUSED) * 1e3, 1000.0, 1.0, unit="ms", note="p95 of the 503"
    )
    yield against(
        "overload.foreign.closed", _count_unanswered(cones, dears), 1.0, 0.0, unit="", note="without an answer"
    )
    killed = log.read_text(errors="replace").count(KILLED) - before
    yield against("overload.foreign.killed", killed, 1.0, 0.0, unit="", note="workers that were killed")


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Make a site, serve it, measure."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    made = np.random.default_rng(3)
    rows = pa.table(
        {
            "id": np.arange(ROWS),
            "ra": made.uniform(0, 360, ROWS),
            "dec": np.degrees(np.arcsin(made.uniform(-1, 1, ROWS))),
            "vt": made.uniform(2, 16, ROWS),
            "bt": made.uniform(2, 16, ROWS),
        }
    )
    meant = {"id": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
    table = build_table_from_arrow("big.main", rows)
    table = replace(
        table, primary=("id",), columns=tuple(replace(one, ucd=meant.get(one.name)) for one in table.columns)
    )
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        with open_tiny_site(Path(directory), {"big.main": (table, rows)}):
            pass
        (Path(directory) / "hven.toml").write_text('name = "overload"\n')
        with serve_site(Path(directory)) as server:
            for part in (measure_fairness, measure_among_idle, measure_quiet_clients, measure_beside_foreign_load):
                if not only or any(only in name for name in PARTS[part.__name__]):
                    yield from asyncio.run(_collect_journeys(part(server.port)))


async def _collect_journeys(journeys: AsyncIterator[Journey]) -> list[Journey]:
    return [journey async for journey in journeys]
