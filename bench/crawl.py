"""Clients of the VO and crawlers behind a reverse proxy: requests at a rate, whatever comes back."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

ROW_COUNT = 200_000
ADDRESS_COUNT = 10_000  # of the crawlers
CONNECTION_COUNT = 64  # of the proxy
PATIENCE_SECONDS = 20.0
LANDING_SHARE = 1 / 3  # of the crawlers' requests
CLIENT_PRIORITY = -15  # steps of niceness: a client's machine is not busy because the server's is


@dataclass
class Answers:
    """Seconds of answers by their kind and status; status 0: there was none. Requests per second that were sent."""

    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    sent_rate: float = 0.0

    def add(self, kind: str, status: int, seconds: float) -> None:
        self.seconds.setdefault((kind, status), []).append(seconds)

    def count(self, kind: str) -> dict[int, int]:
        return dict(Counter({status: len(times) for (other, status), times in self.seconds.items() if other == kind}))

    def find_quantile(self, kind: str, share: float) -> float:
        times = sorted(self.seconds.get((kind, 200), ()))
        return times[min(int(share * len(times)), len(times) - 1)] if times else math.nan


Request = tuple[str, str, str]  # kind, path, address


def choose_client_request() -> Request:
    """Choose a cone search or a query of a client of the VO."""
    address = f"198.51.100.{random.randrange(8)}"
    ra, dec = random.uniform(0, 360), random.uniform(-80, 80)
    if random.random() < 0.5:
        return "client", f"/cone/stars.main?RA={ra:.4f}&DEC={dec:.4f}&SR=0.3", address
    query = f"SELECT+*+FROM+stars.main+WHERE+id={random.randrange(ROW_COUNT)}"
    return "client", f"/tap/sync?LANG=ADQL&QUERY={query}", address


def choose_crawl_request() -> Request:
    """Choose a page of a crawler."""
    number = random.randrange(ADDRESS_COUNT)
    address = f"10.{number >> 8}.{number & 255}.7"
    if random.random() < LANDING_SHARE:
        return "landing", random.choice(("/", "/collections/stars", "/help")), address
    low = random.uniform(2, 14)
    return "search", f"/collections/stars/main?vt={low:.3f}..{low + 1:.3f}&_sort={random.choice(('ra', 'vt'))}", address


CHOICES: dict[str, Callable[[], Request]] = {"clients": choose_client_request, "crawlers": choose_crawl_request}


class Proxy:
    """Connections of a reverse proxy to the server, which stay open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._slots = asyncio.Semaphore(CONNECTION_COUNT)

    async def ask(self, request: Request, answers: Answers) -> None:
        """Send a request, and read its answer. The time includes the wait for a connection."""
        kind, path, address = request
        status, begun = 0, time.perf_counter()
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE_SECONDS), self._slots:
                pair = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
                pair[1].write(
                    f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n"
                    f"User-Agent: Mozilla/5.0 (X11; Linux) {hash(address) % 97}\r\nAccept: text/html\r\n\r\n".encode()
                )
                status, is_open = await read_answer(pair[0])
                if is_open:
                    self._idle.append(pair)
                else:
                    pair[1].close()
        answers.add(kind, status, time.perf_counter() - begun)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Read an answer; return its status, and whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    if length is not None:
        await reader.readexactly(int(length[1]))
    elif b"\r\ntransfer-encoding: chunked" in head:
        size = 1
        while size:
            size = int(await reader.readuntil(b"\r\n"), 16)
            await reader.readexactly(size + 2)
    return int(head[9:12]), b"\r\nconnection: close" not in head


async def send_requests(port: int, who: str, rate: float, seconds: float) -> Answers:
    """Send requests at a rate, whatever comes back."""
    proxy, answers, tasks = Proxy(port), Answers(), []
    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        pause = begun + number / rate - time.perf_counter()
        await asyncio.sleep(max(pause, 0.0))
        tasks.append(asyncio.create_task(proxy.ask(CHOICES[who](), answers)))
    # a busy machine may send later than it should
    answers.sent_rate = len(tasks) / max(time.perf_counter() - begun, seconds - 1 / rate)
    await asyncio.gather(*tasks)
    return answers


def send_requests_in_process(port: int, who: str, rate: float, seconds: float) -> Answers:
    return asyncio.run(send_requests(port, who, rate, seconds))


async def send_drawn_requests(port: int, drawn: Sequence[tuple[float, str]]) -> Answers:
    """Send requests that a model of a log has drawn, each at its second, whatever comes back."""
    proxy, answers, tasks = Proxy(port), Answers(), []
    begun = time.perf_counter()
    for second, path in drawn:
        await asyncio.sleep(max(begun + second - time.perf_counter(), 0.0))
        tasks.append(asyncio.create_task(proxy.ask(("logged", path, "198.51.100.7"), answers)))
    await asyncio.gather(*tasks)
    return answers


def send_drawn_requests_in_process(port: int, drawn: Sequence[tuple[float, str]]) -> Answers:
    return asyncio.run(send_drawn_requests(port, drawn))


def begin_client() -> None:
    """Give a client precedence, where the account may."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, CLIENT_PRIORITY)
