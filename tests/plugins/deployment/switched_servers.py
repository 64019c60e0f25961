"""Servers of one site between which tests switch, and clients that notice each lost or changed answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files
from process_runner import HVEN_COMMAND, wait_until

NEWER_COMMAND = [sys.executable, str(Path(__file__).with_name("newer_program.py"))]
DRAIN_SECONDS = 2
SIGNED_SECONDS = 300  # a signed address is valid for ten minutes
GRACE_SECONDS = 60
ROWS = 1_000_000 if os.environ.get("HVEN_PROOF") == "full" else 20_000  # of a stream
TOTAL = sum(number % 10 for number in range(ROWS))  # added up once: all clients share this process
# kinds of requests, and how often clients send them
REQUEST_WEIGHTS = {
    "query": 8,
    "revalidate": 4,
    "page": 3,
    "push": 4,
    "upload": 4,
    "run_job": 4,
    "read_signed": 4,
    "read_edition": 4,
    "stream": 3,
    "query_long": 1,
}
CHANGING_KINDS = {"push", "run_job"}
# Of many clients, some always send the requests that take longest, so that each switch meets such requests. If all did,
# now and then, the machine would have more to do than it can, and a switch would wait for a queue of them.
LONG_KINDS = ("stream", "stream", "query_long")
MIN_MANY_CLIENTS = 16
LONG_QUERY_ROWS = 2_000  # each is joined with a tenth of the stars: this takes seconds on a busy machine
EDITION_ROWS = 5_000
MAX_P99_RATIO = 2.0  # during switches, compared with a quiet time
DESCRIPTOR = """\
collection: night
title: A night log
tables:
  stars:
    primary: id
    columns: {id: {type: int32}, v: {type: int32}}
    source: {kind: csv, files: stars.csv}
  lines:
    source:
      kind: push
      columns: {id: int64, note: string}
      ids: id
      writers: [anna]
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      note: string
"""
EDITIONS_DESCRIPTOR = """\
collection: editions
title: Editions of a table
tables:
  main:
    primary: id
    columns: {id: {type: int32}, edition: {type: int32}}
    source: {kind: csv, files: rows.csv}
"""
SUM_QUERY = "SELECT SUM(v) AS total FROM night.stars"
LONG_QUERY = (
    "SELECT COUNT(*) AS n FROM night.stars AS a JOIN night.stars AS b ON a.v = b.v "
    f"WHERE a.id < {LONG_QUERY_ROWS} AND a.id + b.id >= 0"
)
LINES_QUERY = "SELECT COUNT(*) AS n, COUNT(DISTINCT note) AS notes FROM night.lines"
UPLOADED_TABLE = (
    b'<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results"><TABLE>'
    b'<FIELD name="id" datatype="int"/><DATA><TABLEDATA><TR><TD>7</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>'
)
# becomes the server, whose descriptor 3 is the socket
PASS_SOCKET_PROGRAM = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
BOUNDARY = "boundary-of-the-test"
FORM_TYPE = "application/x-www-form-urlencoded"


def build_site(directory: Path) -> str:
    """Build a site with a table of stars and a table that takes rows; return the token of a writer."""
    stars = "id,v\n" + "".join(f"{number},{number % 10}\n" for number in range(ROWS))
    editions = directory / "collections/editions"
    editions.mkdir(parents=True)
    (editions / "editions.yaml").write_text(EDITIONS_DESCRIPTOR)
    (editions / "rows.csv").write_text(write_edition(0))
    with open_site_with_uningested_files(directory, DESCRIPTOR, {"stars.csv": stars}) as site:
        ingest_collection(site, "night")
        ingest_collection(site, "editions")
        token = site.store.users.add_account("anna")
    (directory / "hven.toml").write_text('name = "Night"\n[limits]\nseconds = 120\n')
    return token


def write_edition(number: int) -> str:
    """Write a table all of whose rows have one number, which no answer may mix with another."""
    return "id,edition\n" + "".join(f"{row},{number}\n" for row in range(EDITION_ROWS))


def publish_edition(site: Path, number: int) -> None:
    """Publish the next edition while the servers answer."""
    (site / "collections/editions/rows.csv").write_text(write_edition(number))
    done = subprocess.run(
        [*HVEN_COMMAND, "ingest", "editions", "--site", str(site)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True, kw_only=True)
class RunningVariant:
    """One of the servers of a site."""

    process: subprocess.Popen[bytes]
    log: Path

    def has_workers(self) -> bool:
        """Return whether its workers have opened the site."""
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        names = []
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):
                    names.append(Path(f"/proc/{pid}/comm").read_text())
        return any(name.startswith("hven-worker") for name in names)

    def stop(self) -> None:
        """Tell it to end, and wait until its answers have ended."""
        self.process.terminate()
        assert self.process.wait(GRACE_SECONDS + 60) == 0, self.log.read_text()[-3000:]


def start_variant(
    site: Path,
    name: str,
    *,
    port: int | None = None,
    held_socket: socket.socket | None = None,
    is_newer: bool = False,
    drain_seconds: float = DRAIN_SECONDS,
    variables: Mapping[str, str] | None = None,
) -> RunningVariant:
    """Start a server on a port, or on a listening socket as systemd passes it."""
    log = site.parent / f"{name}.log"
    words = [*(NEWER_COMMAND if is_newer else HVEN_COMMAND), "serve", "--site", str(site), "--workers", "1"]
    words += ["--drain", str(drain_seconds), "--grace", str(GRACE_SECONDS)]
    environment = {**os.environ, "HVEN_VARIANT": name, **(variables or {})}
    with log.open("ab") as file:
        if held_socket is None:
            process = subprocess.Popen([*words, "--port", str(port)], stdout=file, stderr=file, env=environment)
        else:
            fileno = held_socket.fileno()
            process = subprocess.Popen(
                [sys.executable, "-c", PASS_SOCKET_PROGRAM, str(fileno), *words],
                stdout=file,
                stderr=file,
                env=environment,
                pass_fds=[fileno],
            )
    return RunningVariant(process=process, log=log)


def open_held_socket() -> socket.socket:
    """Listen on a free port, as systemd does for a socket unit. The descriptor is not the one that servers get."""
    held_socket = socket.socket()
    held_socket.bind(("127.0.0.1", 0))
    held_socket.listen(4096)
    return held_socket


@dataclass
class MixedClient:
    """A client that sends all kinds of requests on connections that stay open, and never repeats one.

    Attributes
    ----------
    counts
        Answers by the kind of request.
    faults
        What was lost, cut or wrong.
    kept_seconds
        For how long after the headers of an answer a server must not close the connection. Later it may, as HTTP
        allows, and the client repeats the request, of which the server has seen nothing. A server that stops waits
        for `DRAIN_SECONDS`, and this process may need longer on a busy machine.
    """

    port: int
    token: str
    number: int
    stop_event: threading.Event
    rest_seconds: float = 0.05
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    reading_seconds: list[float] = field(default_factory=list)  # of requests that change nothing
    quiet_count: int = 0  # how many of these were answered in the quiet time
    kinds: Sequence[str] = tuple(REQUEST_WEIGHTS)
    job_ids: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kept_seconds: float = DRAIN_SECONDS
    idle_resets: int = 0
    _header_time: float = 0.0  # of the last answer
    _connection: http.client.HTTPConnection | None = None
    _etag: str = ""
    _session_cookie: str = ""
    _signed_target: str = ""
    _signed_end: float = 0.0  # when a new one is made

    def run(self) -> None:
        chance = random.Random(self.number)
        weights = {kind: REQUEST_WEIGHTS[kind] for kind in self.kinds}
        while not self.stop_event.wait(self.rest_seconds):
            (kind,) = chance.choices(list(weights), list(weights.values()))
            begin = time.monotonic()
            try:
                getattr(self, kind)()
            except (OSError, http.client.HTTPException, AssertionError, ValueError) as error:
                self.faults.append(f"{time.strftime('%X')} {kind}: {error!r}"[:500])
                self.close()
            self.counts[kind] += 1
            self.seconds.append(time.monotonic() - begin)
            if kind not in CHANGING_KINDS:
                self.reading_seconds.append(self.seconds[-1])
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        is_idle = self._connection is not None
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            self._connection.auto_open = 0  # a request that is lost must not be sent again
            self._connection.connect()
        try:
            self._connection.request(method, path, body or None, {"Cookie": "hven-language=fr", **(headers or {})})
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            if not is_idle or time.monotonic() - self._header_time < self.kept_seconds:
                raise
            self.idle_resets += 1
            self.close()
            return self.send(method, path, body, headers)
        self._header_time = time.monotonic()
        content = answer.read()
        if answer.will_close:
            self.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        assert answer.status < 500, f"status {answer.status}: {content[:200]!r}"
        return answer.status, found, content

    def ask(self, query: str) -> list[list[object]]:
        words = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "json", "QUERY": query})
        status, _, content = self.send("GET", f"/tap/sync?{words}")
        assert status == 200, content[:200]
        return list(json.loads(content)["data"])

    def query(self) -> None:
        first = random.randrange(ROWS - 10)
        rows = self.ask(f"SELECT id, v FROM night.stars WHERE id BETWEEN {first} AND {first + 3} ORDER BY id")
        assert rows == [[number, number % 10] for number in range(first, first + 4)], rows

    def stream(self) -> None:
        words = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "MAXREC": ROWS, "QUERY": "SELECT id, v FROM night.stars ORDER BY id"})  # fmt: skip
        status, _, content = self.send("GET", f"/tap/sync?{words}")
        assert status == 200
        line_count = content.count(b"\n")  # decoding them would keep the other clients waiting
        assert line_count == ROWS + 1, f"{line_count} lines"
        assert content[-50:].split()[-1] == f"{ROWS - 1},{(ROWS - 1) % 10}".encode()

    def revalidate(self) -> None:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        status, found, _ = self.send("GET", "/collections/night/stars", headers=headers)
        assert status in {200, 304}, status
        self._etag = found.get("etag", "")

    def page(self) -> None:
        if not self._session_cookie:
            body = json.dumps({"name": "anna", "token": self.token}).encode()
            status, found, content = self.send("POST", "/login", body, {"Content-Type": "application/json"})
            assert status == 200, (status, content[:200])
            self._session_cookie = found["set-cookie"].partition(";")[0]
        status, _, content = self.send("GET", "/", headers={"Cookie": self._session_cookie})
        assert status == 200
        assert b"</html>" in content[-100:], content[-100:]
        assert b"anna" in content, "the session is known to all servers"

    def read_signed(self) -> None:
        if not self._signed_target or time.monotonic() > self._signed_end:
            words = urlencode(
                {"LANG": "ADQL", "RESPONSEFORMAT": "json", "QUERY": "SELECT COUNT(*) AS n FROM night.stars"}
            )
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": FORM_TYPE}
            body = urlencode({"URL": f"/tap/sync?{words}"}).encode()
            status, _, content = self.send("POST", "/sign", body, headers)
            assert status == 200, (status, content[:200])
            url = urlsplit(json.loads(content)["url"])
            self._signed_target = f"{url.path}?{url.query}"
            self._signed_end = time.monotonic() + SIGNED_SECONDS
        status, _, content = self.send("GET", self._signed_target)
        assert status == 200, (status, content[:200])
        assert json.loads(content)["data"] == [[ROWS]]
        if self.stop_event.is_set() or random.random() < 0.1:
            self._signed_target = ""

    def read_edition(self) -> None:
        rows = self.ask("SELECT id, edition FROM editions.main")
        numbers = {row[1] for row in rows}
        assert (len(rows), len(numbers)) == (EDITION_ROWS, 1), f"{len(rows)} rows of editions {numbers}"

    def query_long(self) -> None:
        assert self.ask(LONG_QUERY) == [[LONG_QUERY_ROWS * ROWS // 10]]

    def push(self) -> None:
        note = f"{self.number} {len(self.notes)}"
        self.notes.append(note)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", "Idempotency-Key": note.replace(" ", "-")}  # fmt: skip
        status, found, content = self.send("POST", "/push/night.lines", json.dumps({"note": note}).encode(), headers)
        assert status == 201, (status, content[:200])
        assert "idempotency-replayed" not in found

    def upload(self) -> None:
        fields = {"LANG": "ADQL", "RESPONSEFORMAT": "json", "UPLOAD": "mine,param:table"}
        fields["QUERY"] = "SELECT s.v FROM night.stars AS s JOIN TAP_UPLOAD.mine AS m ON s.id = m.id"
        parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
        parts.append('Content-Disposition: form-data; name="table"; filename="t.xml"\r\nContent-Type: application/x-votable+xml\r\n\r\n' + UPLOADED_TABLE.decode())  # fmt: skip
        body = "".join(f"--{BOUNDARY}\r\n{part}\r\n" for part in parts) + f"--{BOUNDARY}--\r\n"
        status, _, content = self.send(
            "POST", "/tap/sync", body.encode(), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        )
        assert status == 200, content[:200]
        assert json.loads(content)["data"] == [[7]]

    def run_job(self) -> None:
        body = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "json", "QUERY": SUM_QUERY, "PHASE": "RUN"}).encode()
        status, found, content = self.send("POST", "/tap/async", body, {"Content-Type": FORM_TYPE})
        assert status == 303, content[:200]
        job_id = found["location"].rpartition("/")[2]
        self.job_ids.append(job_id)
        deadline = time.monotonic() + 600
        phase = b""
        while phase not in {b"COMPLETED", b"ERROR", b"ABORTED"}:
            assert time.monotonic() < deadline, f"job {job_id} is {phase!r}"
            time.sleep(1.0)
            phase = self.send("GET", f"/tap/async/{job_id}/phase")[2].strip()
        assert phase == b"COMPLETED", phase
        content = self.send("GET", f"/tap/async/{job_id}/results/result")[2]
        assert json.loads(content)["data"] == [[TOTAL]]


def choose_kinds(number: int, client_count: int) -> Sequence[str]:
    """Choose the kinds of requests that a client sends."""
    if client_count < MIN_MANY_CLIENTS:
        return tuple(REQUEST_WEIGHTS)
    if number < len(LONG_KINDS):
        return LONG_KINDS[number : number + 1]
    return tuple(kind for kind in REQUEST_WEIGHTS if kind not in LONG_KINDS)


@contextlib.contextmanager
def run_clients(
    port: int,
    token: str,
    count: int,
    rest_seconds: float,
    *,
    kept_seconds: float = DRAIN_SECONDS,
) -> Iterator[Sequence[MixedClient]]:
    """Run clients until the block ends; then each ends its request."""
    stop_event = threading.Event()
    clients = [
        MixedClient(
            port,
            token,
            number,
            stop_event,
            rest_seconds,
            kinds=choose_kinds(number, count),
            kept_seconds=kept_seconds,
        )
        for number in range(count)
    ]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        stop_event.set()
        for thread in threads:
            thread.join(400)


def wait_quiet_time(clients: Sequence[MixedClient], seconds: float) -> None:
    """Let clients send their requests before the first switch, with which those during switches are compared.

    They push rows and start jobs in this time, too: the server must have the same to do in both.
    """
    time.sleep(seconds)
    for client in clients:
        client.quiet_count = len(client.reading_seconds)


def check_p99(clients: Sequence[MixedClient], *, is_bounded: bool) -> None:
    """Compare requests that change nothing with those in the quiet time.

    It is no part of the record: such a run has lost nothing.
    """
    quiet = sorted(second for client in clients for second in client.reading_seconds[: client.quiet_count])
    later = sorted(second for client in clients for second in client.reading_seconds[client.quiet_count :])
    if quiet:
        quiet_p99, p99 = (seconds[len(seconds) * 99 // 100] for seconds in (quiet, later))
        print(f"p99 of requests that change nothing: {p99:.2f} s, in a quiet time {quiet_p99:.2f} s")
        assert not is_bounded or p99 <= MAX_P99_RATIO * quiet_p99


def judge_clients(clients: Sequence[MixedClient], site: Path, port: int, way: str) -> dict[str, int]:
    """Check that no request was lost, and that each push and each job happened once; print and return the figures."""
    faults = [fault for client in clients for fault in client.faults]
    counts: Counter[str] = sum((client.counts for client in clients), Counter())
    seconds = sorted(second for client in clients for second in client.seconds)
    with contextlib.closing(sqlite3.connect(site / "var/hven.sqlite")) as store:
        jobs = dict(store.execute("SELECT id, phase FROM jobs").fetchall())
        attempts = Counter(row[0] for row in store.execute("SELECT attempts FROM jobs").fetchall())
    print(
        f"\n{way}, {len(clients)} clients, {counts.total():,} requests {dict(counts)}, "
        f"{len(faults)} faults, {sum(client.idle_resets for client in clients)} idle connections closed; median {seconds[len(seconds) // 2] * 1000:.0f} ms, "
        f"p99 {seconds[len(seconds) * 99 // 100]:.2f} s, longest {seconds[-1]:.2f} s; attempts of jobs {dict(attempts)}"
    )
    assert not faults, faults[:20]
    job_ids = {job_id for client in clients for job_id in client.job_ids}
    assert {jobs[job_id] for job_id in job_ids} <= {"COMPLETED"}
    assert len(jobs) == len(job_ids)
    notes = [note for client in clients for note in client.notes]
    reader = MixedClient(port, "", 0, clients[0].stop_event)
    assert reader.ask(LINES_QUERY) == [[len(notes), len(notes)]]
    reader.close()
    return {"requests": counts.total(), "pushes": len(notes), "jobs": len(job_ids)}


class HaproxyProcess:
    """HAProxy with the configuration of ``hven deploy``, whose servers are on this machine."""

    def __init__(
        self, program: str, configuration: str, directory: Path, port: int, server_ports: dict[str, int]
    ) -> None:
        self.admin_socket = directory / "admin.sock"
        lines = []
        for line in configuration.splitlines():
            changed = line.replace("/run/haproxy/admin.sock", str(self.admin_socket)).replace(
                ":8080", f"127.0.0.1:{port}"
            )
            for name, server_port in server_ports.items():
                changed = changed.replace(f"{name} {name}127.0.0.1:{port}", f"{name} 127.0.0.1:{server_port}")
            lines.append(changed.replace(" resolvers containers init-addr last,libc,none", ""))
        file = directory / "haproxy.cfg"
        file.write_text("\n".join(lines) + "\n")
        with (directory / "haproxy.log").open("wb") as log:
            self.process = subprocess.Popen([program, "-W", "-f", str(file)], stdout=log, stderr=log)

    def command(self, text: str) -> str:
        """Send a command to the admin socket, and return the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.admin_socket))
            connection.sendall(f"{text}\n".encode())
            content = b""
            while part := connection.recv(1 << 16):
                content += part
        return content.decode()

    def read_server(self, name: str) -> dict[str, str]:
        """Return the statistics of a server of the backend."""
        lines = self.command("show stat").lstrip("# ").splitlines()
        keys = lines[0].split(",")
        rows = (dict(zip(keys, line.split(","), strict=False)) for line in lines[1:] if line)
        return next(row for row in rows if (row["pxname"], row["svname"]) == ("hven", name))

    def set_state(self, name: str, state: str) -> None:
        """Set a server to ``ready`` or ``drain``."""
        assert not self.command(f"set server hven/{name} state {state}").strip()

    def set_port(self, name: str, port: int) -> None:
        """Set the port of a server on this machine, before a process starts there."""
        answer = self.command(f"set server hven/{name} addr 127.0.0.1 port {port}")
        assert "changed" in answer or "no need" in answer, answer
        # otherwise the last check of the process before says that the new one is up
        assert not self.command(f"set server hven/{name} health down").strip()

    def wait_for_server(self, name: str, is_expected: Callable[[dict[str, str]], bool]) -> None:
        wait_until(lambda: is_expected(self.read_server(name)), 300)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


NGINX_SETTINGS = """\
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log notice;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/upstream.conf;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 100m;
        location / {{
            proxy_pass http://hven;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_read_timeout 180s;
            proxy_next_upstream off;
        }}
    }}
}}
"""


class NginxProcess:
    """nginx in front of one server, whose address is in a file of its own; a reload switches to another server."""

    def __init__(self, program: str, directory: Path, port: int, server_port: int) -> None:
        self._directory = directory
        self._write_upstream(server_port)
        file = directory / "nginx.conf"
        file.write_text(NGINX_SETTINGS.format(directory=directory, port=port))
        words = [program, "-p", str(directory), "-c", str(file), "-e", str(directory / "nginx.log")]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        wait_until(lambda: self._find_worker() is not None, 60)

    def _write_upstream(self, server_port: int) -> None:
        text = f"upstream hven {{ server 127.0.0.1:{server_port}; keepalive 32; }}\n"
        (self._directory / "upstream.conf").write_text(text)

    def _find_worker(self) -> str | None:
        """Return the newest worker, which takes new connections."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return max(children, key=int, default=None)

    def switch(self, server_port: int) -> None:
        """Send new requests to another server; the worker of before completes its requests."""
        worker = self._find_worker()
        self._write_upstream(server_port)
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self._find_worker() not in {worker, None}, 60)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
