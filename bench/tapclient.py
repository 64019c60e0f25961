"""A client of a TAP service, as plain as can be: what it does costs little beside the service."""

from __future__ import annotations

import http.client
import io
import math
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urljoin, urlsplit

import pyarrow as pa
import pyarrow.csv as pacsv

JOB_SECONDS = 60
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

    def open(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
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
        return good(answer, answer.read())

    def start(self, query: str, form: str, *, maxrec: int | None = None) -> http.client.HTTPResponse:
        """Ask a query synchronously; the answer is not yet read."""
        params = {"LANG": "ADQL", "RESPONSEFORMAT": form, "QUERY": query} | (
            {"MAXREC": str(maxrec)} if maxrec is not None else {}
        )
        if self.post:
            return self.open(
                "POST",
                f"{self.url}/sync",
                urlencode(params).encode(),
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
        return self.open("GET", f"{self.url}/sync?{urlencode(params, quote_via=quote)}")

    def sync(self, query: str, form: str = "votable", *, maxrec: int | None = None) -> bytes:
        answer = self.start(query, form, maxrec=maxrec)
        return good(answer, answer.read())

    def rows(self, query: str, *, maxrec: int | None = None) -> pa.Table:
        """Give the rows of a query, by CSV."""
        return pacsv.read_csv(io.BytesIO(self.sync(query, "csv", maxrec=maxrec)))

    def form(self, path: str, params: dict[str, str], upload: bytes | None = None) -> http.client.HTTPResponse:
        """POST a form, with an uploaded table if there is one."""
        if upload is None:
            return self.open(
                "POST",
                self.url + path,
                urlencode(params).encode(),
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
        head = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in params.items()
        )
        file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="up"; filename="up.vot"\r\nContent-Type: application/x-votable+xml\r\n\r\n'
        body = head.encode() + file.encode() + upload + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self.open("POST", self.url + path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})

    def job(
        self, params: dict[str, str], upload: bytes | None = None, *, form: str = "votable", wait: bool = True
    ) -> tuple[bytes, str]:
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
                return good(answer, answer.read()), job
            if phase not in {"PENDING", "QUEUED", "EXECUTING"}:
                raise TapError(f"async: the job is {phase or 'without a phase'}: {body[:500]!r}")
            if not wait:
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
        raise TapError(f"async: the job is {phase} after {JOB_SECONDS} s")

    def forget(self, job: str) -> None:
        """Delete a job."""
        self.open("DELETE", job).read()


def good(answer: http.client.HTTPResponse, body: bytes) -> bytes:
    if answer.status != 200 or b'value="ERROR"' in body[:4000]:
        raise TapError(f"HTTP {answer.status}: {body[:500]!r}")
    return body
