"""Remote services for tests: another Hven, one that never answers, one that answers nonsense, one that is down."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.site import Site


@contextlib.contextmanager
def serve_site(site: Site, prefix: str = "/there") -> Iterator[tuple[str, list[str]]]:
    """Serve a site below a path; yield its address and the received bodies."""
    client, seen = Client(create_and_start_application(site)), []

    class Face(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(body.decode())
            answer = client.ask(
                "POST",
                self.path.removeprefix(prefix),
                body=body,
                headers={"content-type": self.headers["Content-Type"], "accept-encoding": "identity"},
            )
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            return

    with _run_server(Face) as address:
        yield f"{address}{prefix}/tap", seen


@contextlib.contextmanager
def serve_nonsense() -> Iterator[str]:
    """Serve a web page instead of a VOTable."""

    class Face(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b"<html><script>alert(1)</script>It works!"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with _run_server(Face) as address:
        yield address


@contextlib.contextmanager
def _run_server(face: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), face)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def open_hanging_server() -> Iterator[str]:
    """Accept connections and never answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/tap"


@contextlib.contextmanager
def reserve_closed_address() -> Iterator[str]:
    """Yield an address where nobody listens, nor can listen until the block ends."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/tap"


@contextlib.contextmanager
def serve_pictures(given: dict[str, tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Serve pictures by path, each with a status; yield the address and the requested paths."""
    seen: list[str] = []

    class Face(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            status, body = given.get(self.path, (404, b"gone"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client may close the connection early
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with _run_server(Face) as address:
        yield address, seen
