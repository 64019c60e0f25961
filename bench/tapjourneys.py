"""What is asked of a TAP service: journeys, each of which checks its answer once before it is timed.

A service that answers quickly and wrongly has no figure.
"""

from __future__ import annotations

import base64
import http.client
import io
import random
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import pss
from bench.tapclient import Client, Figure, Service, TapError, good

UPLOADED = 10_000
MANY = 100_000  # rows of the large upload
DUMPED = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How often, and about which stars."""

    rows: int
    ids: list[str]
    ra: list[float]
    dec: list[float]
    times: int
    dumps: int
    seconds: int

    def places(self) -> Iterator[tuple[float, float]]:
        while True:
            yield from zip(self.ra, self.dec, strict=True)

    def keys(self) -> Iterator[str]:
        while True:
            yield from self.ids


def plan_journeys(service: Service, *, quick: bool = False) -> Plan:
    """Choose stars from all over the table: by digits of the right ascension that mean nothing."""
    client = Client(service.url, post=service.post)
    rows = int(client.rows(f"SELECT COUNT(*) AS n FROM {service.table}")[0][0].as_py())
    plan = Plan(
        rows=rows, ids=[], ra=[], dec=[], times=30 if quick else 200, dumps=1 if quick else 5, seconds=2 if quick else 8
    )
    return choose_stars(service, plan, UPLOADED)


def choose_stars(service: Service, plan: Plan, number: int) -> Plan:
    """Give the same plan about so many stars."""
    client = Client(service.url, post=service.post)
    share = min(1.0, 1.3 * number / plan.rows)
    ra = f"{service.ra} * 1000"
    query = (
        f"SELECT TOP {number} {service.id} AS star, {service.ra} AS lon, {service.dec} AS lat FROM {service.table} "
        f"WHERE {ra} - FLOOR({ra}) < {share:.6f} AND {service.ra} IS NOT NULL"
    )
    found = client.rows(query, maxrec=number)
    order = list(range(found.num_rows))
    random.Random(1).shuffle(order)
    found = found.take(order)
    return replace(
        plan, ids=[str(star) for star in found[0].to_pylist()], ra=[round(x, 6) for x in found[1].to_pylist()],
        dec=[round(x, 6) for x in found[2].to_pylist()],
    )  # fmt: skip


def median_of(calls: Callable[[], object], times: int, warm: int) -> float:
    for _ in range(warm):
        calls()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        calls()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def _ms(name: str, call: Callable[[], object], times: int, *, note: str = "") -> Figure:
    return Figure(name=name, value=median_of(call, times, max(2, times // 5)) * 1e3, unit="ms", note=note)


def _better(name: str, call: Callable[[bool], object], times: int, *, warm: int = 1, note: str = "") -> Figure:
    """Follow jobs by WAIT and by asking again; the quicker counts, as a client may choose."""
    found = {
        what: median_of(lambda what=what: call(what == "by WAIT"), times, warm) * 1e3
        for what in ("by WAIT", "asking again")
    }
    best = min(found, key=lambda what: found[what])
    said = ", ".join(f"{what} {value:.0f} ms" for what, value in found.items())
    return Figure(name=name, value=found[best], unit="ms", note=f"{note}; {said}" if note else said)


Run = Callable[[Service, Plan], Iterator[Figure]]


# --- journeys ------------------------------------------------------------------------------------------------


def small(service: Service, plan: Plan) -> Iterator[Figure]:
    """Trivial, cone and key look-up: other values in each call."""
    client = Client(service.url, post=service.post)
    trivial = f"SELECT TOP 1 {service.id} FROM {service.table}"
    expect(client.rows(trivial).num_rows == 1, "one row of a trivial query")
    yield _ms("trivial", lambda: client.sync(trivial), plan.times)
    places = plan.places()
    expect(client.rows(service.cone(plan.ra[0], plan.dec[0])).num_rows >= 1, "a cone about a star has that star")
    yield _ms("cone", lambda: client.sync(service.cone(*next(places))), plan.times)
    keys = plan.keys()

    def look_up(key: str) -> str:
        return f"SELECT {service.columns} FROM {service.table} WHERE {service.id} = '{key}'"

    expect(client.rows(look_up(plan.ids[0])).num_rows == 1, "one row of a key")
    yield _ms("key", lambda: client.sync(look_up(next(keys))), plan.times)


def measure_whole_table(service: Service, plan: Plan) -> Iterator[Figure]:
    """GROUP BY over all rows, top 10 by an indexed and by an unindexed column."""
    client = Client(service.url, post=service.post)
    times = max(3, plan.times // 10)
    group = f"SELECT {service.group} AS what, COUNT(*) AS n FROM {service.table} GROUP BY {service.group}"
    counted = sum(client.rows(group).column(1).to_pylist())
    expect(counted == plan.rows, f"groups have {counted} rows of {plan.rows}")
    yield _ms("group", lambda: client.sync(group), times)
    for name, column in (("indexed", service.indexed), ("unindexed", service.unindexed)):
        query = (
            f"SELECT TOP 10 {service.id}, {column} FROM {service.table} WHERE {column} IS NOT NULL ORDER BY {column}"
        )
        found = client.rows(query).column(1).to_pylist()
        expect(len(found) == 10 and found == sorted(found), "ten rows in order")
        yield _ms(f"top10.{name}", lambda: client.sync(query), times)  # noqa: B023


FORMATS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "binary2": (("application/x-votable+xml;serialization=binary2", "votable/b2"), b"<BINARY2"),
    "tabledata": (("application/x-votable+xml;serialization=tabledata", "votable/td"), b"<TABLEDATA"),
    "csv": (("csv", "text/csv"), b","),
    "fits": (("fits", "application/fits"), b"SIMPLE  ="),
    "parquet": (("parquet", "application/vnd.apache.parquet"), b"PAR1"),
    "arrow": (("arrow", "application/vnd.apache.arrow.stream"), b"\xff\xff\xff\xff"),
}


def find_formats(client: Client, service: Service) -> dict[str, str]:
    """Find out which formats a service has: by the answer's own marks, as some give VOTables under any name."""
    found = {}
    for name, (spellings, mark) in FORMATS.items():
        for spelling in spellings:
            try:
                body = client.sync(f"SELECT TOP 1 {service.columns} FROM {service.table}", spelling)
            except TapError:
                continue
            if (
                mark in body
                if mark[:1] == b"<"
                else body.startswith(mark) or (mark == b"," and not body.startswith(b"<"))
            ):
                found[name] = spelling
                break
    return found


def dumps(service: Service, plan: Plan) -> Iterator[Figure]:
    """A million rows in each format that the service has: seconds to the last byte, milliseconds to the first."""
    client = Client(service.url, post=service.post)
    rows = min(DUMPED, plan.rows)
    query = f"SELECT TOP {rows} {service.columns} FROM {service.table}"
    for name, spelling in find_formats(client, service).items():
        body = client.sync(query, spelling, maxrec=rows + 1)
        expect(_has_row_count(name, body, rows), f"{name}: all {rows} rows")
        size = len(body) / 1e6
        del body
        firsts, lasts = [], []
        for _ in range(plan.dumps):
            begun = time.perf_counter()
            answer = client.start(query, spelling, maxrec=rows + 1)
            got = len(answer.read(1))
            firsts.append(time.perf_counter() - begun)
            while part := answer.read(1 << 20):
                got += len(part)
            lasts.append(time.perf_counter() - begun)
            expect(answer.status == 200 and got > 0.99 * size * 1e6, f"{name}: as much as the first time")
        yield Figure(
            name=f"dump.{name}", value=statistics.median(lasts), unit="s", note=f"{rows:,} rows, {size:.0f} MB"
        )
        yield Figure(
            name=f"first.{name}", value=statistics.median(firsts) * 1e3, unit="ms", note="first byte of the dump"
        )


def _has_row_count(name: str, body: bytes, rows: int) -> bool:
    if name == "csv":
        return body.count(b"\n") == rows + 1
    if name == "tabledata":
        return len(re.findall(rb"<TR\b", body)) == rows
    if name == "fits":
        axis = re.search(rb"NAXIS2  = +(\d+)", body[:100_000])
        return axis is not None and int(axis[1]) == rows
    if name == "parquet":
        return bool(pq.ParquetFile(io.BytesIO(body)).metadata.num_rows == rows)
    if name == "arrow":
        return bool(pa.ipc.open_stream(body).read_all().num_rows == rows)
    tail = body[-2000:]
    return b"OVERFLOW" not in tail and b"ERROR" not in tail and len(body) > rows * 16


def uploads(service: Service, plan: Plan) -> Iterator[Figure]:
    """Upload 10,000 places (BINARY VOTable), match them within 1 arcsec, get the pairs: sync and async."""
    yield from measure_uploads(service, plan, "upload", max(3, plan.times // 20))


def measure_large_uploads(service: Service, plan: Plan) -> Iterator[Figure]:
    """Do the same with 100,000 places."""
    yield from measure_uploads(service, choose_stars(service, plan, MANY), "upload.many", 3)


def measure_uploads(service: Service, plan: Plan, name: str, times: int) -> Iterator[Figure]:
    """Upload the places of a plan and match them."""
    client = Client(service.url, post=service.post)
    table = votable(plan)
    place, about = (
        service.point(f"s.{service.ra}", f"s.{service.dec}"),
        service.circle("u.lon", "u.lat", f"{1 / 3600:.9f}"),
    )
    query = f"SELECT u.nr, s.{service.id} FROM TAP_UPLOAD.mine AS u JOIN {service.table} AS s ON 1=CONTAINS({place}, {about})"
    params = {
        "LANG": "ADQL",
        "QUERY": query,
        "UPLOAD": "mine,param:up",
        "MAXREC": str(10 * len(plan.ids)),
        "RESPONSEFORMAT": "csv",
    }

    def ask() -> bytes:
        answer = client.form("/sync", params, table)
        return good(answer, answer.read())

    pairs = ask().count(b"\n") - 1
    number = len(plan.ids)
    expect(number <= pairs <= 1.1 * number, f"{pairs} pairs of {number} uploaded places")
    note = f"{number:,} rows, {pairs:,} pairs"
    yield _ms(f"{name}.sync", ask, times, note=note)
    jobs: list[str] = []

    def run(wait: bool) -> None:
        body, job = client.job(params, table, form="csv", wait=wait)
        jobs.append(job)
        expect(body.count(b"\n") - 1 == pairs, "as many pairs as sync")

    yield _better(f"{name}.async", run, times, note=note)
    for job in jobs:
        client.forget(job)


def votable(plan: Plan) -> bytes:
    """Write the places, moved by up to 0.5 arcsec, as a VOTable."""
    number = len(plan.ids)
    moved = np.random.default_rng(2).uniform(-0.35, 0.35, number) / 3600
    rows = np.empty(number, dtype=[("nr", ">i4"), ("lon", ">f8"), ("lat", ">f8")])
    rows["nr"], rows["lon"], rows["lat"] = np.arange(number), plan.ra, np.asarray(plan.dec) + moved
    stream = base64.encodebytes(rows.tobytes())
    fields = (
        '<FIELD name="nr" datatype="int"/><FIELD name="lon" datatype="double" unit="deg" ucd="pos.eq.ra;meta.main"/>'
        '<FIELD name="lat" datatype="double" unit="deg" ucd="pos.eq.dec;meta.main"/>'
    )
    return (
        b'<?xml version="1.0"?>\n<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results"><TABLE>'
        + fields.encode() + b'<DATA><BINARY><STREAM encoding="base64">\n' + stream + b"</STREAM></BINARY></DATA></TABLE></RESOURCE></VOTABLE>\n"
    )  # fmt: skip


def jobs(service: Service, plan: Plan) -> Iterator[Figure]:
    """A trivial query as a job, from POST to the last byte of its result; ten of them at once."""
    query = {"QUERY": f"SELECT TOP 1 {service.id} FROM {service.table}"}
    client = Client(service.url, post=service.post)
    begun: list[str] = []

    def run_job(via: Client, wait: bool) -> None:
        body, job = via.job(query, wait=wait)
        begun.append(job)
        expect(b"<VOTABLE" in body, "a VOTable")

    yield _better("async.one", lambda wait: run_job(client, wait), max(3, plan.times // 20))
    clients = [Client(service.url, post=service.post) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        yield _better(
            "async.ten",
            lambda wait: list(pool.map(lambda via: run_job(via, wait), clients)),
            max(1, plan.times // 60),
            warm=0,
        )
    for job in begun:
        client.forget(job)


def metadata(service: Service, plan: Plan) -> Iterator[Figure]:
    """/tables, /capabilities, and a TAP_SCHEMA query."""
    client = Client(service.url, post=service.post)
    times = max(3, plan.times // 2)
    expect(service.table.encode() in client.get("/tables"), "/tables names the table")
    yield _ms("tables", lambda: client.get("/tables"), times)
    yield _ms("capabilities", lambda: client.get("/capabilities"), times)
    query = f"SELECT column_name, datatype, unit, ucd FROM TAP_SCHEMA.columns WHERE table_name = '{service.table}'"
    expect(client.rows(query).num_rows >= 8, "TAP_SCHEMA names the columns")
    yield _ms("tap_schema", lambda: client.sync(query), times)


def crowd(service: Service, plan: Plan) -> Iterator[Figure]:
    """1, 8 and 32 clients of mixed cones: requests per second, p50, p95, errors."""
    mixed = [
        service.cone(ra, dec, (0.05, 0.1, 0.2)[at % 3])
        for at, (ra, dec) in enumerate(zip(plan.ra[:3000], plan.dec[:3000], strict=True))
    ]
    paths = [
        urlsplit(service.url).path + "/sync?" + urlencode({"LANG": "ADQL", "QUERY": query}, quote_via=quote)
        for query in mixed
    ]
    for clients in (1, 8, 32):
        seconds = plan.seconds if clients == 32 else max(2, plan.seconds // 2)
        rate, p50, p95, errors = (
            post_from_threads(service, mixed, clients, seconds)
            if service.post
            else run_wrk(service.url, paths, clients, seconds)
        )
        note = f"p50 {p50:.1f} ms, {errors} errors"
        if errors:  # what fails fast is no rate
            rate = 0.0
        yield Figure(name=f"cones.{clients}", value=rate, unit="/s", higher=True, note=note)
        if clients == 32:
            yield Figure(name="cones.32.p50", value=p50, unit="ms")
            yield Figure(name="cones.32.p95", value=p95, unit="ms", note=f"{errors} errors")


LUA = """
local at = 0
request = function()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
done = function(summary, latency, requests)
  local e = summary.errors
  print(string.format("HVEN %f %f %f %d", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(95) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def run_wrk(url: str, paths: list[str], clients: int, seconds: int) -> tuple[float, float, float, int]:
    """Ask `paths` in turn with wrk; requests/s, p50 and p95 in ms, errors."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("local paths = {" + ",\n".join(f'"{path}"' for path in paths) + "}\n" + LUA)
        script.flush()
        parts = urlsplit(url)
        command = [
            "wrk",
            f"-t{min(2, clients)}",
            f"-c{clients}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            script.name,
            f"{parts.scheme}://{parts.netloc}",
        ]
        text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 90).stdout
    found = re.search(r"HVEN (\S+) (\S+) (\S+) (\d+)", text)
    if found is None:
        raise TapError(f"wrk: {text[-500:]}")
    return float(found[1]), float(found[2]), float(found[3]), int(found[4])


def post_from_threads(
    service: Service, queries: list[str], clients: int, seconds: int
) -> tuple[float, float, float, int]:
    """The same by POST, with threads: for services that want it. Python's own time is in the figures."""
    until = time.monotonic() + seconds

    def send_queries(number: int) -> tuple[list[float], int]:
        client = Client(service.url, post=True)
        times, errors, at = [], 0, number * 37
        while time.monotonic() < until:
            begun = time.perf_counter()
            try:
                client.sync(queries[at % len(queries)])
            except (TapError, OSError, http.client.HTTPException):
                errors += 1
            times.append((time.perf_counter() - begun) * 1e3)
            at += 1
        return times, errors

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(send_queries, range(clients)))
    times = [value for values, _ in found for value in values]
    return (
        len(times) / seconds,
        float(np.percentile(times, 50)),
        float(np.percentile(times, 95)),
        sum(errors for _, errors in found),
    )


SLOW_READERS = 3
SLOW_ROWS = 10_000_000
SLOW_RATE = 100_000  # bytes per second of each


def slow(service: Service, plan: Plan) -> Iterator[Figure]:
    """Three dumps of 10 M rows at once to readers of 100 kB/s: what others wait meanwhile, and the memory it takes."""
    client = Client(service.url, post=service.post)
    mixed = [
        service.cone(ra, dec, (0.05, 0.1, 0.2)[at % 3])
        for at, (ra, dec) in enumerate(zip(plan.ra[:3000], plan.dec[:3000], strict=True))
    ]
    paths = [
        urlsplit(service.url).path + "/sync?" + urlencode({"LANG": "ADQL", "QUERY": query}, quote_via=quote)
        for query in mixed
    ]
    seconds = 60 if plan.seconds > 2 else 10
    group = f"SELECT {service.group} AS what, COUNT(*) AS n FROM {service.table} GROUP BY {service.group}"

    def cones(during: int) -> tuple[float, int]:
        found = post_from_threads(service, mixed, 8, during) if service.post else run_wrk(service.url, paths, 8, during)
        return found[2], found[3]

    cones(2)
    idle, _ = cones(max(3, seconds // 6))
    yield Figure(name="slow.idle.p95", value=idle, unit="ms", note="8 clients of cones, nobody else")
    yield Figure(
        name="slow.idle.group", value=median_of(lambda: client.sync(group), 10, 3) * 1e3, unit="ms", note="nobody else"
    )
    copies = -(-SLOW_ROWS // plan.rows)
    names = ", ".join(f"a.{name.strip()}" for name in service.columns.split(","))
    query = f"SELECT TOP {SLOW_ROWS} {names} FROM {service.table} AS a CROSS JOIN (SELECT TOP {copies} {service.id} AS x FROM {service.table}) AS b"
    forms = ("votable", "csv", "application/x-votable+xml;serialization=tabledata")
    over = threading.Event()
    before = pss(service.pids()) if service.pids() else 0.0
    most = before
    with ThreadPoolExecutor(SLOW_READERS) as pool:
        readers = [
            pool.submit(read_slowly, service, query, forms[number % len(forms)], over) for number in range(SLOW_READERS)
        ]
        begun = time.monotonic()
        try:
            time.sleep(min(5, seconds / 5))
            p95, errors = 0.0, 0
            early = pss(service.pids()) if service.pids() else 0.0
            while time.monotonic() - begun < seconds * 0.8:
                found, wrong = cones(max(3, seconds // 10))
                p95, errors = max(p95, found), errors + wrong
                most = max(most, pss(service.pids()) if service.pids() else 0.0)
            grouped = median_of(lambda: client.sync(group), 10, 1) * 1e3
            time.sleep(max(0.0, seconds - (time.monotonic() - begun)))
            most = max(most, pss(service.pids()) if service.pids() else 0.0)
        finally:
            over.set()
        taken = [reader.result() for reader in readers]
    expect(min(taken) > 0.3 * SLOW_RATE * seconds, f"each reader gets its bytes: {taken}")
    note = f"{SLOW_READERS} readers took {sum(taken) / 1e6:.1f} MB in {seconds} s"
    yield Figure(
        name="slow.cones.p95", value=p95, unit="ms", note=f"{errors} errors; the worst of some seconds each; {note}"
    )
    yield Figure(name="slow.group", value=grouped, unit="ms", note=note)
    if before:
        yield Figure(
            name="slow.memory",
            value=max(0.0, most - before),
            unit="MiB",
            note=f"growth from {before:.0f} MiB, {max(0.0, most - early):.0f} MiB of it after the first seconds; {note}",
        )


def read_slowly(service: Service, query: str, form: str, over: threading.Event) -> int:
    """Read an answer at 100 kB/s until `over`; give the bytes that came."""
    parts = urlsplit(service.url)
    params = urlencode(
        {"LANG": "ADQL", "RESPONSEFORMAT": form, "MAXREC": str(SLOW_ROWS), "QUERY": query}, quote_via=quote
    )
    got, begun = 0, time.monotonic()
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        reader.settimeout(30)
        reader.connect((parts.hostname or "", parts.port or 80))
        head = f"Host: {parts.netloc}\r\nConnection: close\r\n"
        if service.post:
            kind = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(params)}\r\n"
            reader.sendall(f"POST {parts.path}/sync HTTP/1.1\r\n{head}{kind}\r\n{params}".encode())
        else:
            reader.sendall(f"GET {parts.path}/sync?{params} HTTP/1.1\r\n{head}\r\n".encode())
        first = reader.recv(12)
        expect(first.endswith(b" 200"), f"a slow reader is answered: {first!r}")
        while not over.is_set():
            if got < SLOW_RATE * (time.monotonic() - begun):
                part = reader.recv(SLOW_RATE // 10)
                expect(bool(part), "the answer goes on")
                got += len(part)
            else:
                over.wait(0.02)
    return got


JOURNEYS: tuple[Run, ...] = (
    small,
    measure_whole_table,
    metadata,
    jobs,
    uploads,
    measure_large_uploads,
    crowd,
    slow,
    dumps,
)
NAMES: dict[Run, tuple[str, ...]] = {
    small: ("trivial", "cone", "key"),
    measure_whole_table: ("group", "top10.indexed", "top10.unindexed"),
    metadata: ("tables", "capabilities", "tap_schema"),
    jobs: ("async.one", "async.ten"),
    uploads: ("upload.sync", "upload.async"),
    measure_large_uploads: ("upload.many.sync", "upload.many.async"),
    crowd: ("cones.1", "cones.8", "cones.32", "cones.32.p50", "cones.32.p95"),
    slow: ("slow.idle.p95", "slow.idle.group", "slow.cones.p95", "slow.group", "slow.memory"),
    dumps: tuple(f"{what}.{form}" for form in FORMATS for what in ("dump", "first")),
}
# DaCHS 2.7, vollt, our aim (shared peer figures: 2 cores, loopback, Tycho-2 whole): guides to read by, never to judge by
GUIDES = {
    "trivial": ("29-64", "5.2", "2"), "cone": ("33-72", "3.7", "1.5"), "key": ("38-72", "3.3", "1.5"), "group": ("186-238", "292", "25"),
    "top10.indexed": ("27-72", "3.9", "2"), "top10.unindexed": ("280", "266", "25"), "dump.binary2": ("4.4", "1.43", "0.5"),
    "dump.tabledata": ("5.9", "2.01", "1.0"), "dump.csv": ("4.7", "2.15", "0.9"), "dump.fits": ("3.2", "1.42", "0.5"),
    "dump.parquet": ("-", "-", "0.5"), "dump.arrow": ("-", "-", "0.5"), "upload.sync": ("790", "250", "120"), "upload.async": ("1600", "410", "200"),
    "async.one": ("900", "28", "25"), "async.ten": ("8000-10000", "240", "200"), "cones.1": ("15", "464", "600"), "cones.8": ("23", "753", "1500"),
    "cones.32": ("29", "750", "1500"), "cones.32.p95": ("1300", "85", "50"), "tables": ("36-76", "2.1", "2"), "tap_schema": ("64-80", "3-4", "2"),
    "memory.idle": ("109", "121-140", "250"), "memory.most": ("860", "400-490", "500"),
} | {f"first.{form}": ("3000-5000", "10 (FITS 1200)", "20") for form in FORMATS}  # fmt: skip


class Memory:
    """Summed PSS of a service, looked at after each journey, and every half second during crowds and dumps."""

    def __init__(self, pids: Callable[[], list[int]]) -> None:
        self._pids = pids
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.idle = pss(pids()) if pids() else 0.0
        self.most = self.idle

    def look(self) -> None:
        if self._pids():
            self.most = max(self.most, pss(self._pids()))

    def watch(self) -> None:
        def run() -> None:
            while not self._over.wait(0.5):
                self.look()

        self._over.clear()
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def rest(self) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()
        self.look()

    def figures(self) -> Iterator[Figure]:
        if self.most:
            note = "summed PSS, files of snapshots aside"
            yield Figure(name="memory.idle", value=self.idle, unit="MiB", note=note)
            yield Figure(name="memory.most", value=self.most, unit="MiB", note=note)


def is_wanted(journey: Run, only: str) -> bool:
    return not only or any(_is_selected(only, name) for name in NAMES[journey])


def _is_selected(only: str, name: str) -> bool:
    """Say whether a figure is wanted: those of slow readers stand beside each other, so all of them or none."""
    return only in name if not name.startswith("slow.") else only.startswith("slow") or not only


def run_journey(journey: Run, service: Service, plan: Plan, memory: Memory) -> Iterator[Figure]:
    """Run one journey; if it fails, a figure tells so, and others may go on."""
    if journey in {crowd, dumps}:
        memory.watch()
    done: set[str] = set()
    try:
        for figure in journey(service, plan):
            done.add(figure.name)
            yield figure
    except (TapError, OSError, http.client.HTTPException, subprocess.SubprocessError, pa.ArrowInvalid) as error:
        name = next(name for name in NAMES[journey] if name not in done)
        yield Figure(name=name, value=float("nan"), unit="", note=f"FAILED: {error}"[:700])
    finally:
        memory.rest()


def figures(service: Service, plan: Plan, *, only: str = "") -> Iterator[Figure]:
    """Run the journeys that have figures with `only` in their names."""
    memory = Memory(service.pids)
    for journey in JOURNEYS:
        if is_wanted(journey, only):
            yield from (
                figure for figure in run_journey(journey, service, plan, memory) if _is_selected(only, figure.name)
            )
    if only in "memory.idle memory.most":
        yield from memory.figures()


def expect(true: bool, what: str) -> None:
    if not true:
        raise TapError(f"wrong answer; expected: {what}")
