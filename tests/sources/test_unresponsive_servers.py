"""Servers that never answer, never end, or send a bomb, for each kind of source that comes over http: an error in time and in memory, with the address."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from hven.model import plugins
from hven.model.errors import HvenError
from hven.sources import SourceContext, _rate_limiting, files, remote_stores
from package_modules import load_package_modules
from plugin_needs import load_core_fixtures

HOST = "127.0.0.1"
MEBIBYTE = 1 << 20
BUDGET_BYTES = 4 * MEBIBYTE
SLACK_BYTES = 48 * MEBIBYTE  # what the connections of both sides buffer
MEMORY_BYTES = 400 * MEBIBYTE  # of a bomb that unpacks to ten times as much
BOMB_BYTES = 4096 * MEBIBYTE

# what each kind that asks a server needs beside the address
OPTIONS: dict[str, dict[str, Any]] = {
    "fits": {"mode": "header", "files": "a.fits"},
    "product": {"mode": "header", "files": "a.fits"},
    "files": {"adql": "SELECT path FROM a.b", "checksums": True},
    "votable": {},
    **load_core_fixtures("HTTP_SOURCE_OPTIONS"),
}
for _module in load_package_modules("source_servers"):
    OPTIONS |= _module.OPTIONS
VOTABLE = b'<VOTABLE version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE><FIELD name="a" datatype="int"/><DATA><TABLEDATA>'
# how an answer of its service begins, and what follows without end
BODIES: dict[str, tuple[bytes, bytes]] = {
    "votable": (VOTABLE, b"<TR><TD>1</TD></TR>"),
    **load_core_fixtures("HTTP_SOURCE_BODIES"),
}  # fmt: skip
PLAIN = (b"SIMPLE  =                    T" + b" " * 50, b"A       =                    1" + b" " * 50)


ADDRESS_OPTIONS = ("url", "path", "root")


def address_option(kind: str) -> str | None:
    """Name the option of a kind that may be an address; None: it has none."""
    fields = plugins.load_plugin("sources", kind).Options.model_fields
    return next((name for name in ADDRESS_OPTIONS if name in fields), None)


if remote_stores.find_scheme_error("http") is not None:  # the package that reads files of servers is absent
    OPTIONS = {kind: options for kind, options in OPTIONS.items() if address_option(kind) != "root"}


@dataclass
class Server:
    """What a server does with each request, and how many bytes it got rid of."""

    address: str = ""
    behave: Callable[[Any, Server], None] = lambda *_: None
    sent: int = 0
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    there = Server()

    class Face(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            with contextlib.suppress(OSError):
                there.behave(self, there)

        do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815  (names of the base class)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Quiet((HOST, 0), Face) as listening:
        there.address = f"http://{HOST}:{listening.server_address[1]}/a"
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield there
        finally:
            there.over.set()
            listening.shutdown()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.01)
    for module in (remote_stores, files):
        monkeypatch.setattr(module, "IDLE_TIMEOUT_SECONDS", 0.3)


def begin(handler: Any, **headers: str) -> None:
    """Send a status and headers without a length."""
    handler.send_response(200)
    for name, value in {"content-type": "application/octet-stream", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def stay_silent(_handler: Any, there: Server) -> None:
    there.over.wait(600)


def stop_after_the_head(handler: Any, there: Server) -> None:
    begin(handler, content_length="1000000")
    there.over.wait(600)


def drip(handler: Any, there: Server) -> None:
    begin(handler)
    while not there.over.wait(0.02):
        handler.wfile.write(b" ")
        there.sent += 1


def go_on_for_ever(kind: str) -> Callable[[Any, Server], None]:
    first, unit = BODIES.get(kind, PLAIN)
    piece = unit * (65_536 // len(unit))

    def send(handler: Any, there: Server) -> None:
        begin(handler)
        handler.wfile.write(first)
        while not there.over.is_set():
            handler.wfile.write(piece)
            there.sent += len(piece)

    return send


def explode(kind: str) -> Callable[[Any, Server], None]:
    first, unit = BODIES.get(kind, PLAIN)
    piece = unit * (MEBIBYTE // len(unit))
    # members follow each other: packed once, sent again and again
    packed = gzip.compress(piece)

    def send(handler: Any, there: Server) -> None:
        begin(handler, content_encoding="gzip")
        handler.wfile.write(gzip.compress(first))
        for _ in range(BOMB_BYTES // MEBIBYTE):
            handler.wfile.write(packed)
            there.sent += len(packed)

    return send


def read_source(kind: str, there: Server, directory: Path, **options: object) -> None:
    """Open a source of a kind and read it to its end."""
    module, name = plugins.load_plugin("sources", kind), address_option(kind)
    given = {
        **OPTIONS.get(kind, {}),
        **({} if name is None else {name: there.address}),
        **{key: value for key, value in options.items() if key in module.Options.model_fields},
    }
    rejected: list[Any] = []
    context = SourceContext(
        directory=directory,
        allow_private=True,
        cache_directory=directory / "kept",
        on_reject=rejected.append,
        run_query=lambda _: iter([pa.record_batch({"path": ["a.fits"]})]),
    )
    source = module.open(module.Options.model_validate(given), context)
    source.list_columns()
    list(source.read_batches())
    if rejected:  # files are told as rows that cannot be read
        raise HvenError("; ".join(f"{one.file}: {one.reason}" for one in rejected))


def read_all(kind: str, there: Server, directory: Path, **options: object) -> str:
    """Give the error of a source, in words."""
    with pytest.raises(HvenError) as caught:
        read_source(kind, there, directory, **options)
    error = caught.value
    return f"{error.place or ''} {error} {error.remedy}"


def test_every_kind_over_http_is_tried(server: Server, tmp_path: Path) -> None:
    """A new kind of source that asks a server fails here until it says what it needs: then all that follows is tried with it."""
    asked: set[str] = set()
    for kind in plugins.list_plugins("sources"):
        if address_option(kind) is not None:

            def refuse(handler: Any, _: Server, kind: str = kind) -> None:
                asked.add(kind)
                handler.send_error(404)

            server.behave = refuse
            with contextlib.suppress(HvenError, ValidationError):  # some take other addresses than those of http
                read_source(kind, server, tmp_path / kind, seconds=0.3, tries=1, total=5.0)
    assert asked == set(OPTIONS)


@pytest.mark.parametrize("kind", sorted(OPTIONS))
@pytest.mark.parametrize("behave", [stay_silent, stop_after_the_head])
def test_a_server_that_hangs_is_given_up(
    kind: str, behave: Callable[[Any, Server], None], server: Server, tmp_path: Path
) -> None:
    server.behave = behave
    said = read_all(kind, server, tmp_path, seconds=0.3, tries=1, total=5.0)
    assert HOST in said, said


@pytest.mark.parametrize("kind", sorted(OPTIONS))
def test_a_server_that_drips_is_given_up(kind: str, server: Server, tmp_path: Path) -> None:
    """Each byte comes in time; all of them would take for ever."""
    server.behave = drip
    said = read_all(kind, server, tmp_path, seconds=5.0, tries=1, total=0.5)
    assert HOST in said, said


@pytest.mark.parametrize("kind", sorted(OPTIONS))
def test_an_answer_without_end_is_broken_off(kind: str, server: Server, tmp_path: Path) -> None:
    server.behave = go_on_for_ever(kind)
    said = read_all(kind, server, tmp_path, seconds=5.0, tries=1, total=60.0, bytes=BUDGET_BYTES)
    assert HOST in said, said
    assert server.sent < BUDGET_BYTES + SLACK_BYTES


@pytest.mark.parametrize("kind", sorted(OPTIONS))
def test_a_bomb_does_not_fill_the_memory(kind: str, server: Server, tmp_path: Path) -> None:
    server.behave = explode(kind)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = read_peak_bytes()
    said = read_all(kind, server, tmp_path, seconds=5.0, tries=1, total=60.0, bytes=64 * MEBIBYTE)
    assert HOST in said, said
    assert read_peak_bytes() - before < MEMORY_BYTES


def read_peak_bytes() -> int:
    """Read the largest memory that this process had since the mark was set back."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024
