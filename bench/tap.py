"""One set of journeys against any TAP service: ``python -m bench.tap URL``; as group ``tap``, against Hven beside raw references.

A journey checks its answer once before it is timed: a service that answers quickly and wrongly has no figure.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import math
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode, urljoin, urlsplit

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bench.measure import Journey, Server, against, descendants, pss, served

UPLOADED = 10_000
JOB_SECONDS = 60
DUMPED = 1_000_000
BOUNDARY = "hven-bench-c0b3e1"


class TapError(Exception):
    """A service did not answer as TAP says, or gave a wrong answer."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A TAP service and the names of its table of stars."""

    url: str
    name: str = "service"
    table: str = "tycho.main"
    id: str = "tyc"
    ra: str = "ra"
    dec: str = "dec"
    indexed: str = "vt"
    unindexed: str = "bt"
    group: str = "num"
    columns: str = "tyc, ra, dec, pm_ra, pm_dec, bt, vt, num"
    frame: str = ""  # "ICRS" for services that insist on it
    post: bool = False
    health: str = ""  # path of an endpoint that does nothing
    pids: Callable[[], list[int]] = field(default=list)

    def point(self, ra: object, dec: object) -> str:
        return f"POINT({self._frame}{ra}, {dec})"

    def circle(self, ra: object, dec: object, radius: object) -> str:
        return f"CIRCLE({self._frame}{ra}, {dec}, {radius})"

    @property
    def _frame(self) -> str:
        return f"'{self.frame}', " if self.frame else ""

    def cone(self, ra: float, dec: float, radius: float = 0.1) -> str:
        place = self.point(self.ra, self.dec)
        return f"SELECT {self.columns} FROM {self.table} WHERE 1=CONTAINS({place}, {self.circle(ra, dec, radius)})"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What was measured of one journey at one service."""

    name: str
    value: float
    unit: str
    higher: bool = False
    note: str = ""

    @property
    def known(self) -> float | None:
        """The value, None if the journey failed: JSON has no nan."""
        return None if math.isnan(self.value) else self.value


class Client:
    """One kept-alive connection."""

    def __init__(self, url: str, *, post: bool = False, seconds: float = 120.0) -> None:
        self.url = url.rstrip("/")
        self.post = post
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=seconds)

    def open(self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        """Send a request; a connection that the service has closed meanwhile is opened again, once."""
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        for again in (False, True):
            try:
                if self._connection.sock is None:
                    self._connection.connect()
                    opened: socket.socket | None = self._connection.sock
                    assert opened is not None
                    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection.request(method, path, body, headers or {})
                return self._connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self._connection.close()
                if again:
                    raise
        raise AssertionError("not reached")

    def get(self, path: str) -> bytes:
        answer = self.open("GET", self.url + path)
        return _good(answer, answer.read())

    def start(self, query: str, form: str, *, maxrec: int | None = None) -> http.client.HTTPResponse:
        """Ask a query synchronously; the answer is not yet read."""
        params = {"LANG": "ADQL", "RESPONSEFORMAT": form, "QUERY": query} | ({"MAXREC": str(maxrec)} if maxrec is not None else {})
        if self.post:
            return self.open("POST", f"{self.url}/sync", urlencode(params).encode(), {"Content-Type": "application/x-www-form-urlencoded"})
        return self.open("GET", f"{self.url}/sync?{urlencode(params, quote_via=quote)}")

    def sync(self, query: str, form: str = "votable", *, maxrec: int | None = None) -> bytes:
        answer = self.start(query, form, maxrec=maxrec)
        return _good(answer, answer.read())

    def rows(self, query: str, *, maxrec: int | None = None) -> pa.Table:
        """Give the rows of a query, by CSV."""
        return pacsv.read_csv(io.BytesIO(self.sync(query, "csv", maxrec=maxrec)))

    def form(self, path: str, params: dict[str, str], upload: bytes | None = None) -> http.client.HTTPResponse:
        """POST a form, with an uploaded table if there is one."""
        if upload is None:
            return self.open("POST", self.url + path, urlencode(params).encode(), {"Content-Type": "application/x-www-form-urlencoded"})
        head = "".join(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in params.items())
        file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="up"; filename="up.vot"\r\nContent-Type: application/x-votable+xml\r\n\r\n'
        body = head.encode() + file.encode() + upload + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self.open("POST", self.url + path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})

    def job(self, params: dict[str, str], upload: bytes | None = None, *, form: str = "votable", wait: bool = True) -> tuple[bytes, str]:
        """Run a job to its result as clients do: create, PHASE=RUN, look, fetch; give the result and the job's address.

        PHASE=RUN in the creating POST would spare a request, but DaCHS 2.7 leaves such a job PENDING for ever.
        `wait`: by WAIT (UWS 1.1 section 2.2.1.1); else by asking again after 5, 10, 20 ... ms: DaCHS's WAIT answers in whole seconds.
        """
        answer = self.form("/async", {"LANG": "ADQL", "RESPONSEFORMAT": form} | params, upload)
        body = answer.read()
        if answer.status != 303:
            raise TapError(f"async: HTTP {answer.status}: {body[:300]!r}")
        job = urljoin(self.url + "/async", answer.headers["Location"])
        answer = self.open("POST", f"{job}/phase", b"PHASE=RUN", {"Content-Type": "application/x-www-form-urlencoded"})
        body = answer.read()
        if answer.status not in {200, 303}:
            raise TapError(f"async: PHASE=RUN: HTTP {answer.status}: {body[:300]!r}")
        until, pause = time.monotonic() + JOB_SECONDS, 0.005
        while time.monotonic() < until:
            answer = self.open("GET", f"{job}?WAIT=10" if wait else job)
            body = answer.read()
            found = re.search(rb"<(?:\w+:)?phase>(\w+)<", body)
            phase = found.group(1).decode() if found else ""
            if phase == "COMPLETED":
                answer = self.open("GET", f"{job}/results/result")
                if answer.status in {302, 303}:
                    answer.read()
                    answer = self.open("GET", urljoin(job, answer.headers["Location"]))
                return _good(answer, answer.read()), job
            if phase not in {"PENDING", "QUEUED", "EXECUTING"}:
                raise TapError(f"async: the job is {phase or 'without a phase'}: {body[:500]!r}")
            if not wait:
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
        raise TapError(f"async: the job is {phase} after {JOB_SECONDS} s")

    def forget(self, job: str) -> None:
        """Delete a job."""
        self.open("DELETE", job).read()


def _good(answer: http.client.HTTPResponse, body: bytes) -> bytes:
    if answer.status != 200 or b'value="ERROR"' in body[:4000]:
        raise TapError(f"HTTP {answer.status}: {body[:500]!r}")
    return body


# --- what is asked -------------------------------------------------------------------------------------------


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


def planned(service: Service, *, quick: bool = False) -> Plan:
    """Choose stars from all over the table: by digits of the right ascension that mean nothing."""
    client = Client(service.url, post=service.post)
    rows = int(client.rows(f"SELECT COUNT(*) AS n FROM {service.table}")[0][0].as_py())
    share = min(1.0, 1.3 * UPLOADED / rows)
    ra = f"{service.ra} * 1000"
    query = (
        f"SELECT TOP {UPLOADED} {service.id} AS star, {service.ra} AS lon, {service.dec} AS lat FROM {service.table} "
        f"WHERE {ra} - FLOOR({ra}) < {share:.6f} AND {service.ra} IS NOT NULL"
    )
    found = client.rows(query, maxrec=UPLOADED)
    order = list(range(found.num_rows))
    random.Random(1).shuffle(order)
    found = found.take(order)
    return Plan(
        rows=rows, ids=[str(star) for star in found[0].to_pylist()], ra=[round(x, 6) for x in found[1].to_pylist()],
        dec=[round(x, 6) for x in found[2].to_pylist()], times=30 if quick else 200, dumps=1 if quick else 5, seconds=2 if quick else 8,
    )  # fmt: skip


def _median(calls: Callable[[], object], times: int, warm: int) -> float:
    for _ in range(warm):
        calls()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        calls()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def _ms(name: str, call: Callable[[], object], times: int, *, note: str = "") -> Figure:
    return Figure(name=name, value=_median(call, times, max(2, times // 5)) * 1e3, unit="ms", note=note)


def _better(name: str, call: Callable[[bool], object], times: int, *, warm: int = 1, note: str = "") -> Figure:
    """Follow jobs by WAIT and by asking again; the quicker counts, as a client may choose."""
    found = {what: _median(lambda: call(what == "by WAIT"), times, warm) * 1e3 for what in ("by WAIT", "asking again")}  # noqa: B023
    best = min(found, key=lambda what: found[what])
    said = ", ".join(f"{what} {value:.0f} ms" for what, value in found.items())
    return Figure(name=name, value=found[best], unit="ms", note=f"{note}; {said}" if note else said)


Run = Callable[[Service, Plan], Iterator[Figure]]


# --- journeys ------------------------------------------------------------------------------------------------


def small(service: Service, plan: Plan) -> Iterator[Figure]:
    """Trivial, cone and key look-up: other values in each call."""
    client = Client(service.url, post=service.post)
    trivial = f"SELECT TOP 1 {service.id} FROM {service.table}"
    _expect(client.rows(trivial).num_rows == 1, "one row of a trivial query")
    yield _ms("trivial", lambda: client.sync(trivial), plan.times)
    places = plan.places()
    _expect(client.rows(service.cone(plan.ra[0], plan.dec[0])).num_rows >= 1, "a cone about a star has that star")
    yield _ms("cone", lambda: client.sync(service.cone(*next(places))), plan.times)
    keys = plan.keys()

    def look_up(key: str) -> str:
        return f"SELECT {service.columns} FROM {service.table} WHERE {service.id} = '{key}'"

    _expect(client.rows(look_up(plan.ids[0])).num_rows == 1, "one row of a key")
    yield _ms("key", lambda: client.sync(look_up(next(keys))), plan.times)


def whole(service: Service, plan: Plan) -> Iterator[Figure]:
    """GROUP BY over all rows, top 10 by an indexed and by an unindexed column."""
    client = Client(service.url, post=service.post)
    times = max(3, plan.times // 10)
    group = f"SELECT {service.group} AS what, COUNT(*) AS n FROM {service.table} GROUP BY {service.group}"
    counted = sum(client.rows(group).column(1).to_pylist())
    _expect(counted == plan.rows, f"groups have {counted} rows of {plan.rows}")
    yield _ms("group", lambda: client.sync(group), times)
    for name, column in (("indexed", service.indexed), ("unindexed", service.unindexed)):
        query = f"SELECT TOP 10 {service.id}, {column} FROM {service.table} WHERE {column} IS NOT NULL ORDER BY {column}"
        found = client.rows(query).column(1).to_pylist()
        _expect(len(found) == 10 and found == sorted(found), "ten rows in order")
        yield _ms(f"top10.{name}", lambda: client.sync(query), times)  # noqa: B023


FORMATS: dict[str, tuple[tuple[str, ...], bytes]] = {
    "binary2": (("application/x-votable+xml;serialization=binary2", "votable/b2"), b"<BINARY2"),
    "tabledata": (("application/x-votable+xml;serialization=tabledata", "votable/td"), b"<TABLEDATA"),
    "csv": (("csv", "text/csv"), b","),
    "fits": (("fits", "application/fits"), b"SIMPLE  ="),
    "parquet": (("parquet", "application/vnd.apache.parquet"), b"PAR1"),
    "arrow": (("arrow", "application/vnd.apache.arrow.stream"), b"\xff\xff\xff\xff"),
}


def offered(client: Client, service: Service) -> dict[str, str]:
    """Find out which formats a service has: by the answer's own marks, as some give VOTables under any name."""
    found = {}
    for name, (spellings, mark) in FORMATS.items():
        for spelling in spellings:
            try:
                body = client.sync(f"SELECT TOP 1 {service.columns} FROM {service.table}", spelling)
            except TapError:
                continue
            if mark in body if mark[:1] == b"<" else body.startswith(mark) or (mark == b"," and not body.startswith(b"<")):
                found[name] = spelling
                break
    return found


def dumps(service: Service, plan: Plan) -> Iterator[Figure]:
    """A million rows in each format that the service has: seconds to the last byte, milliseconds to the first."""
    client = Client(service.url, post=service.post)
    rows = min(DUMPED, plan.rows)
    query = f"SELECT TOP {rows} {service.columns} FROM {service.table}"
    for name, spelling in offered(client, service).items():
        body = client.sync(query, spelling, maxrec=rows + 1)
        _expect(_counted(name, body, rows), f"{name}: all {rows} rows")
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
            _expect(answer.status == 200 and got > 0.99 * size * 1e6, f"{name}: as much as the first time")
        yield Figure(name=f"dump.{name}", value=statistics.median(lasts), unit="s", note=f"{rows:,} rows, {size:.0f} MB")
        yield Figure(name=f"first.{name}", value=statistics.median(firsts) * 1e3, unit="ms", note="first byte of the dump")


def _counted(name: str, body: bytes, rows: int) -> bool:
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
    client = Client(service.url, post=service.post)
    table = votable(plan)
    place, about = service.point(f"s.{service.ra}", f"s.{service.dec}"), service.circle("u.lon", "u.lat", f"{1 / 3600:.9f}")
    query = f"SELECT u.nr, s.{service.id} FROM TAP_UPLOAD.mine AS u JOIN {service.table} AS s ON 1=CONTAINS({place}, {about})"
    params = {"LANG": "ADQL", "QUERY": query, "UPLOAD": "mine,param:up", "MAXREC": str(10 * UPLOADED), "RESPONSEFORMAT": "csv"}

    def ask() -> bytes:
        answer = client.form("/sync", params, table)
        return _good(answer, answer.read())

    pairs = ask().count(b"\n") - 1
    number = len(plan.ids)
    _expect(number <= pairs <= 1.1 * number, f"{pairs} pairs of {number} uploaded places")
    times = max(3, plan.times // 20)
    note = f"{number:,} rows, {pairs:,} pairs"
    yield _ms("upload.sync", ask, times, note=note)
    jobs: list[str] = []

    def run(wait: bool) -> None:
        body, job = client.job(params, table, form="csv", wait=wait)
        jobs.append(job)
        _expect(body.count(b"\n") - 1 == pairs, "as many pairs as sync")

    yield _better("upload.async", run, times, note=note)
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

    def one(via: Client, wait: bool) -> None:
        body, job = via.job(query, wait=wait)
        begun.append(job)
        _expect(b"<VOTABLE" in body, "a VOTable")

    yield _better("async.one", lambda wait: one(client, wait), max(3, plan.times // 20))
    clients = [Client(service.url, post=service.post) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        yield _better("async.ten", lambda wait: list(pool.map(lambda via: one(via, wait), clients)), max(1, plan.times // 60), warm=0)
    for job in begun:
        client.forget(job)


def metadata(service: Service, plan: Plan) -> Iterator[Figure]:
    """/tables, /capabilities, and a TAP_SCHEMA query."""
    client = Client(service.url, post=service.post)
    times = max(3, plan.times // 2)
    _expect(service.table.encode() in client.get("/tables"), "/tables names the table")
    yield _ms("tables", lambda: client.get("/tables"), times)
    yield _ms("capabilities", lambda: client.get("/capabilities"), times)
    query = f"SELECT column_name, datatype, unit, ucd FROM TAP_SCHEMA.columns WHERE table_name = '{service.table}'"
    _expect(client.rows(query).num_rows >= 8, "TAP_SCHEMA names the columns")
    yield _ms("tap_schema", lambda: client.sync(query), times)


def crowd(service: Service, plan: Plan) -> Iterator[Figure]:
    """1, 8 and 32 clients of mixed cones: requests per second, p50, p95, errors."""
    mixed = [
        service.cone(ra, dec, (0.05, 0.1, 0.2)[at % 3]) for at, (ra, dec) in enumerate(zip(plan.ra[:3000], plan.dec[:3000], strict=True))
    ]
    paths = [urlsplit(service.url).path + "/sync?" + urlencode({"LANG": "ADQL", "QUERY": query}, quote_via=quote) for query in mixed]
    for clients in (1, 8, 32):
        seconds = plan.seconds if clients == 32 else max(2, plan.seconds // 2)
        rate, p50, p95, errors = (
            posted(service, mixed, clients, seconds) if service.post else hammered(service.url, paths, clients, seconds)
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


def hammered(url: str, paths: list[str], clients: int, seconds: int) -> tuple[float, float, float, int]:
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


def posted(service: Service, queries: list[str], clients: int, seconds: int) -> tuple[float, float, float, int]:
    """The same by POST, with threads: for services that want it. Python's own time is in the figures."""
    until = time.monotonic() + seconds

    def one(number: int) -> tuple[list[float], int]:
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
        found = list(pool.map(one, range(clients)))
    times = [value for values, _ in found for value in values]
    return len(times) / seconds, float(np.percentile(times, 50)), float(np.percentile(times, 95)), sum(errors for _, errors in found)


JOURNEYS: tuple[Run, ...] = (small, whole, metadata, jobs, uploads, crowd, dumps)
NAMES: dict[Run, tuple[str, ...]] = {
    small: ("trivial", "cone", "key"),
    whole: ("group", "top10.indexed", "top10.unindexed"),
    metadata: ("tables", "capabilities", "tap_schema"),
    jobs: ("async.one", "async.ten"),
    uploads: ("upload.sync", "upload.async"),
    crowd: ("cones.1", "cones.8", "cones.32", "cones.32.p50", "cones.32.p95"),
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


def wanted(journey: Run, only: str) -> bool:
    return not only or any(only in name for name in NAMES[journey])


def measured(journey: Run, service: Service, plan: Plan, memory: Memory) -> Iterator[Figure]:
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
        if wanted(journey, only):
            yield from (figure for figure in measured(journey, service, plan, memory) if only in figure.name)
    if only in "memory.idle memory.most":
        yield from memory.figures()


def _expect(true: bool, what: str) -> None:
    if not true:
        raise TapError(f"wrong answer; expected: {what}")


# --- Hven beside raw references: group `tap` of `python -m bench` ---------------------------------------------


def of_server(server: Server) -> Service:
    """Give the service that a running ``hven serve`` is."""
    return Service(url=f"http://127.0.0.1:{server.port}/tap", name="Hven", health="/health", pids=lambda: server.pids)


# journey -> (reference, bound of value/reference; rates: at least). Bounds: the aims of the issue over the references' figures on two quiet cores,
# so that another machine is judged alike; where DuckDB itself does the work, 2.5 times DuckDB
TARGETS: dict[str, tuple[str, float]] = {
    "trivial": ("health", 5.0), "cone": ("engine.cone", 4.0), "key": ("engine.key", 4.0), "group": ("duckdb.group", 2.5),
    "top10.indexed": ("engine.top10", 4.0), "top10.unindexed": ("duckdb.top10", 2.5), "tables": ("health", 5.0), "capabilities": ("health", 5.0),
    "tap_schema": ("health", 11.0), "async.one": ("trivial", 50.0), "async.ten": ("trivial", 400.0), "upload.sync": ("duckdb.match", 1.0),
    "upload.async": ("duckdb.match", 1.6), "dump.binary2": ("pyarrow.csv", 2.0), "dump.tabledata": ("pyarrow.csv", 4.0), "dump.csv": ("pyarrow.csv", 2.0),
    "dump.fits": ("pyarrow.csv", 4.0), "dump.parquet": ("pyarrow.csv", 4.0), "dump.arrow": ("pyarrow.csv", 2.0), "cones.1": ("health.1", 0.085),
    "cones.8": ("health.8", 0.085), "cones.32": ("health.32", 0.07), "cones.32.p95": ("p50", 3.0), "memory.most": ("bound", 1.0),
} | {f"first.{form}": ("trivial", 40.0) for form in FORMATS}  # fmt: skip
BOUND_MIB = 500.0


class References:
    """The same work without a service, in the same run; each is measured when first asked for."""

    def __init__(self, service: Service, plan: Plan, site: Path, stars: Path, found: dict[str, float]) -> None:
        self._service, self._plan, self._site, self._stars, self._found = service, plan, site, stars, found

    def __getitem__(self, name: str) -> float:
        if name not in self._found:
            kind = name.partition(".")[0]
            {"health": self._health, "engine": self._engine, "duckdb": self._duckdb, "pyarrow": self._pyarrow}[kind](name)
        return self._found[name]

    def _health(self, name: str) -> None:
        parts = urlsplit(self._service.url)
        base = f"{parts.scheme}://{parts.netloc}"
        if name == "health":
            client = Client(base)
            self._found[name] = _median(lambda: client.get(self._service.health), 100, 20) * 1e3
        else:
            self._found[name] = hammered(base, [self._service.health], int(name.partition(".")[2]), 3)[0]

    def _engine(self, name: str) -> None:
        """Ask the engine in this process; /health on top is what HTTP costs at the least."""
        from hven import query, settings
        from hven.holdings import Site

        service, places, keys = self._service, self._plan.places(), self._plan.keys()
        texts: dict[str, Callable[[], str]] = {
            "engine.cone": lambda: service.cone(*next(places)),
            "engine.key": lambda: f"SELECT {service.columns} FROM {service.table} WHERE {service.id} = '{next(keys)}'",
            "engine.top10": lambda: (
                f"SELECT TOP 10 {service.id}, {service.indexed} FROM {service.table} WHERE {service.indexed} IS NOT NULL "
                f"ORDER BY {service.indexed}"
            ),
        }
        with Site(settings.load(self._site)) as site:

            def one(text: str) -> None:
                with query.run(text, site=site) as result:
                    list(result.batches())

            for each, text in texts.items():
                self._found[each] = _median(lambda: one(text()), 100, 20) * 1e3 + self["health"]  # noqa: B023

    def _duckdb(self, name: str) -> None:
        """Ask DuckDB, over a table of its own; the match by cells of 1/100 degree, as one would write it."""
        service, plan = self._service, self._plan
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE stars AS SELECT * FROM read_csv('{self._stars}')")
            connection.register("places", pa.table({"nr": list(range(len(plan.ids))), "lon": plan.ra, "lat": plan.dec}))
            bound = 1 / 3600
            sphere = (
                f"2 * asin(sqrt(sin(radians(s.{service.dec} - u.lat) / 2) ** 2 + cos(radians(s.{service.dec})) * cos(radians(u.lat)) "
                f"* sin(radians(s.{service.ra} - u.lon) / 2) ** 2)) <= radians({bound})"
            )
            texts = {
                "duckdb.group": f"SELECT {service.group}, count(*) FROM stars GROUP BY {service.group}",
                "duckdb.top10": f"SELECT {service.id}, {service.unindexed} FROM stars WHERE {service.unindexed} IS NOT NULL ORDER BY {service.unindexed} LIMIT 10",
                "duckdb.match": f"WITH u AS (SELECT nr, lon, lat, unnest([floor((lat - {bound}) * 100), floor((lat + {bound}) * 100)]) AS zone FROM places) "
                f"SELECT DISTINCT u.nr, s.{service.id} FROM u JOIN stars s ON floor(s.{service.dec} * 100) = u.zone "
                f"AND s.{service.dec} BETWEEN u.lat - {bound} AND u.lat + {bound} AND {sphere}",
            }
            for each, text in texts.items():
                self._found[each] = _median(lambda: connection.execute(text).fetch_arrow_table(), 7, 2) * 1e3  # noqa: B023

    def _pyarrow(self, name: str) -> None:
        """Write the dump's rows as CSV to memory, with pyarrow, s."""
        client = Client(self._service.url)
        rows = min(DUMPED, self._plan.rows)
        body = client.sync(f"SELECT TOP {rows} {self._service.columns} FROM {self._service.table}", "arrow", maxrec=rows + 1)
        table = pa.ipc.open_stream(body).read_all()
        self._found[name] = _median(lambda: pacsv.write_csv(table, io.BytesIO()), 5, 1)


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys against Hven, each beside its reference."""
    from bench import data, foundation

    wanted_here = only.removeprefix("tap.")
    if only and not any(wanted_here in name for name in (*TARGETS, "cones.32.p50")):
        return
    foundation.ready()
    with served(foundation.SITE) as server:
        service = of_server(server)
        plan = planned(service)
        found: dict[str, float] = {"bound": BOUND_MIB}
        references = References(service, plan, foundation.SITE, data.tycho_csv(), found)
        for figure in figures(service, plan, only=wanted_here):
            journey = judged(figure, references, found)
            if journey is not None:
                yield journey


def judged(figure: Figure, references: References, found: dict[str, float]) -> Journey | None:
    """Set a figure beside its reference; None for figures that only others are set beside."""
    if figure.name in {"trivial", "cones.32.p50"}:
        found["trivial" if figure.name == "trivial" else "p50"] = figure.value
    if figure.name not in TARGETS:
        return None
    reference, target = TARGETS[figure.name]
    if reference == "trivial" and reference not in found:
        client = Client(references._service.url)
        found["trivial"] = (
            _median(lambda: client.sync(f"SELECT TOP 1 {references._service.id} FROM {references._service.table}"), 50, 10) * 1e3
        )
    failed = figure.known is None
    beside = 1.0 if failed else references[reference]
    guide = f"aim {GUIDES[figure.name][2]} {figure.unit}" if figure.name in GUIDES else ""
    note = "; ".join(part for part in (f"beside {reference}", guide, figure.note) if part)
    return against(f"tap.{figure.name}", figure.value, beside, target, unit=figure.unit, higher=figure.higher, note=note)


# --- alone ---------------------------------------------------------------------------------------------------


def line(figure: Figure) -> str:
    guide = GUIDES.get(figure.name)
    said = f"  (guide: DaCHS {guide[0]}, vollt {guide[1]}, aim {guide[2]})" if guide else ""
    return f"{figure.name:<18} {figure.value:>11.4g} {figure.unit:<4}{said}  {figure.note}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.tap", description=__doc__)
    parser.add_argument("url", metavar="URL", help="base URL of a TAP service")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--only", default="", metavar="WORD", help="journeys whose name has this word")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--post", action="store_true", help="ask by POST (32 clients: threads instead of wrk)")
    parser.add_argument(
        "--pid", type=int, action="append", default=[], help="a process of the service: it and its children are weighed (more than once)"
    )
    for name in ("table", "id", "ra", "dec", "indexed", "unindexed", "group", "columns", "frame"):
        default = Service.__dataclass_fields__[name].default
        parser.add_argument(f"--{name}", default=default, help=f"default: {default or 'none'}")
    options = parser.parse_args()
    names = {
        name: getattr(options, name) for name in ("table", "id", "ra", "dec", "indexed", "unindexed", "group", "columns", "frame", "post")
    }
    given: list[int] = options.pid
    service = Service(url=options.url, pids=lambda: [*given, *(child for pid in given for child in descendants(pid))], **names)
    try:
        plan = planned(service, quick=options.quick)
    except (TapError, OSError, http.client.HTTPException) as error:
        print(f"{options.url}: {error}", file=sys.stderr)
        return 2
    print(f"{options.url}: {plan.rows:,} rows in {service.table}")
    found = []
    for figure in figures(service, plan, only=options.only):
        print(line(figure), flush=True)
        found.append(figure)
    if options.json:
        options.json.write_text(json.dumps({figure.name: asdict(figure) | {"value": figure.known} for figure in found}, indent=1) + "\n")
    return 1 if any(figure.known is None for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main())
