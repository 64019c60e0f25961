"""Overload: an open loop of dear queries and of cones at some times what a service can do, and thousands of idle connections; loopback only.

An open loop sends at its rate, whatever the answers do: that is what a crowd does, and a client that waits for its answers does not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

MOST = 60_000  # requests of one crowd
LONGEST = 60.0  # seconds that one lasts
PATIENCE = 15.0  # seconds that a client waits for its answer
RESET, LATE, REFUSED = -1, -2, 503
ROWS = 800_000


@dataclass
class Heard:
    """What the requests of one kind came to: seconds by status; RESET and LATE are no answers."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    untold: int = 0  # 503 without Retry-After

    def note(self, status: int, took: float) -> None:
        self.seconds.setdefault(status, []).append(took)

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


async def closed(port: int, path: Callable[[], str], *, clients: int, seconds: float) -> tuple[float, Heard]:
    """Ask with so many clients that wait for their answers; give answers a second: the capacity."""
    heard = Heard()
    begun = time.perf_counter()

    async def one() -> None:
        while time.perf_counter() - begun < seconds:
            await ask(port, path(), heard)

    await asyncio.gather(*(one() for _ in range(clients)))
    return heard.count(200) / (time.perf_counter() - begun), heard


async def crowd(port: int, path: Callable[[], str], *, rate: float, seconds: float, address: str = "127.0.0.1") -> Heard:
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

    async def one(n: int) -> None:
        async with slots:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE):
                    pair = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.{1 + n // 20_000}.1", 0), limit=4096)
                    pair[1].write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    await pair[0].readuntil(b"\r\n\r\n")
                    held.append(pair)

    await asyncio.gather(*(one(n) for n in range(number)))
    try:
        yield held
    finally:
        for _, writer in held:
            writer.transport.abort()


def cone() -> str:
    return f"/cone/big.main?RA={random.uniform(0, 360):.4f}&DEC={random.uniform(-80, 80):.4f}&SR=0.3"


def dear() -> str:
    query = f"SELECT FLOOR(vt * {random.randint(50, 5000)}) AS bin, COUNT(*) AS n, AVG(bt) AS m FROM big.main GROUP BY bin"
    return "/tap/sync?LANG=ADQL&MAXREC=10&QUERY=" + quote(query)


def told(name: str, heard: Heard) -> None:
    """Print what came of the requests of one kind."""
    answered, refused = heard.seconds.get(200, [math.nan]), heard.seconds.get(REFUSED, [math.nan])
    print(
        f"{name:14} {heard.counts}  p50 {statistics.median(answered) * 1000:.0f} ms, p95 {heard.at(0.95) * 1000:.0f} ms;"
        f" 503 after {statistics.median(refused) * 1000:.0f} ms, {heard.untold} without Retry-After"
    )


async def measured(port: int, times: float, seconds: float, connections: int) -> None:
    """Measure the cones alone, beside a crowd of dear queries, and beside idle connections."""
    alone = await crowd(port, cone, rate=20, seconds=seconds)
    told("cones alone", alone)
    capacity, heard = await closed(port, dear, clients=8, seconds=seconds)
    told(f"dear, {capacity:.1f}/s", heard)
    beside = asyncio.create_task(crowd(port, cone, rate=20, seconds=seconds))
    told(f"dear, {times:g} times", await crowd(port, dear, rate=max(capacity, 1.0) * times, seconds=seconds))
    cones = await beside
    told("cones beside", cones)
    print(
        f"p95 of the cones: {cones.at(0.95) / alone.at(0.95):.1f} times that of before; reset: {cones.count(RESET)}, late: {cones.count(LATE)}"
    )
    async with idle(port, connections) as held:
        among = await crowd(port, cone, rate=20, seconds=seconds)
        told(f"{len(held)} idle", among)
        print(f"p95 of the cones: {among.at(0.95) / alone.at(0.95):.1f} times that of before")


def main() -> None:
    """Make a site, serve it, measure."""
    from bench.measure import served
    from hven.testing.site import table_of, tiny_site

    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--times", type=float, default=6.0, help="of the capacity (default: 6)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each crowd (default: 10)")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections (default: 5000)")
    given = parser.parse_args()
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
    table = table_of("big.main", rows)
    table = replace(table, primary=("id",), columns=tuple(replace(one, ucd=meant.get(one.name)) for one in table.columns))
    with tempfile.TemporaryDirectory() as directory:
        with tiny_site(Path(directory), {"big.main": (table, rows)}):
            pass
        (Path(directory) / "hven.toml").write_text('name = "overload"\n')
        with served(Path(directory)) as server:
            asyncio.run(measured(server.port, given.times, given.seconds, given.idle))


if __name__ == "__main__":
    main()
