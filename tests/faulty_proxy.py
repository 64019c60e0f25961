"""A proxy before a service that disturbs its answers: it truncates, delays, redirects, compresses or replaces them."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class FaultyProxy:
    """The received requests, and the changes of the coming answers.

    `coming_changes` has one change for each coming answer; None changes nothing.
    """

    port: int = 0
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    coming_changes: list[Callable[[Answer], Answer | None] | None] = field(default_factory=list)
    default_change: Callable[[Answer], Answer | None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/tap"

    @property
    def queries(self) -> list[str]:
        return [form["QUERY"] for _, _, form in self.requests if "QUERY" in form]


@contextlib.contextmanager
def run_proxy(port: int) -> Iterator[FaultyProxy]:
    """Run a proxy before the server at a port of this machine."""
    what = FaultyProxy()

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_any(self):
            size = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(size)
            what.requests.append(
                (
                    self.command,
                    self.path,
                    {key: values[0] for key, values in parse_qs(data.decode("utf-8", "replace")).items()},
                )
            )
            what.headers.append({key.lower(): value for key, value in self.headers.items()})
            # in the order of requests, not of answers
            do = what.coming_changes.pop(0) if what.coming_changes else what.default_change
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            with contextlib.closing(connection):
                kept = {
                    key: value for key, value in self.headers.items() if key.lower() not in {"host", "accept-encoding"}
                }
                connection.request(self.command, self.path, data, kept | {"Host": f"127.0.0.1:{what.port}"})
                got = connection.getresponse()
                unwanted = {"transfer-encoding", "content-length", "connection"}
                answer = Answer(
                    got.status,
                    {key: value for key, value in got.getheaders() if key.lower() not in unwanted},
                    got.read(),
                )
            changed = answer if do is None else do(answer)
            with contextlib.suppress(OSError):
                if changed is not None:
                    self.send_response(changed.status)
                    for key, value in ({"Content-Length": str(len(changed.body))} | changed.headers).items():
                        self.send_header(key, value)
                    self.end_headers()
                    self.wfile.write(changed.body)
            self.close_connection = True

        def log_message(self, *_):
            """Say nothing."""

    for method in ("GET", "POST", "DELETE"):
        setattr(Proxy, f"do_{method}", Proxy.do_any)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    what.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield what
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refuse_as_busy(status: int = 503, **headers: str) -> Callable[[Answer], Answer]:
    """Answer that the service is busy."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda _: Answer(
        status, {"Content-Type": "text/html", **named}, b"<html><h1>Service Unavailable</h1> come back later</html>"
    )


def close_connection(_: Answer) -> None:
    """Close the connection without an answer."""


def truncate_body(share: float, *, told: bool) -> Callable[[Answer], Answer]:
    """End an answer early; with `told` its full length is announced."""

    def do(answer: Answer) -> Answer:
        part = answer.body[: int(len(answer.body) * share)]
        return Answer(answer.status, answer.headers | ({"Content-Length": str(len(answer.body))} if told else {}), part)

    return do


def compress_body(answer: Answer) -> Answer:
    """Compress an answer by gzip."""
    return Answer(answer.status, answer.headers | {"Content-Encoding": "gzip"}, gzip.compress(answer.body))


def send_gzip_file(answer: Answer) -> Answer:
    """Send a gzip file without a header that says so."""
    return Answer(answer.status, answer.headers, gzip.compress(answer.body))


def delay_answer(seconds: float, unless: threading.Event | None = None) -> Callable[[Answer], Answer]:
    """Delay an answer, at most until an event is set."""

    def do(answer: Answer) -> Answer:
        (unless or threading.Event()).wait(seconds)
        return answer

    return do


def redirect(to: str, status: int = 301) -> Callable[[Answer], Answer]:
    """Redirect the request."""
    return lambda _: Answer(status, {"Location": to}, b"")


def replace_answer(
    text: str, status: int = 200, media: str = "application/x-votable+xml"
) -> Callable[[Answer], Answer]:
    """Replace the answer."""
    return lambda _: Answer(status, {"Content-Type": media}, text.encode())
