"""Bodies: counted before they are held, big ones so many at once, none that never comes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from starlette.requests import Request

from hven.app._server import create_and_start_application
from hven.model import deadlines
from hven.model.errors import OverloadedError, TimeLimitError, TooLargeError
from hven.model.settings import PortalSettings
from hven.services import request_bodies
from hven.services.params import MAX_FORM_BYTES, read_params
from hven.testing.site import open_tiny_site

PIECE = b"x" * 65_536


def request(
    pieces: list[bytes], kind: str = "application/x-www-form-urlencoded", *, forever: bool = False, **scope: Any
) -> Request:
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left and forever:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left) or forever}

    headers = [(b"content-type", kind.encode())]
    return Request(
        {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers, **scope}, receive
    )


def test_parts_without_a_file_name_are_counted_before_they_are_held() -> None:
    """One by one they are small, but all of them are held as text."""
    head = b'--B\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n'
    pieces = [piece for n in range(2 * MAX_FORM_BYTES // len(PIECE)) for piece in (head % n, PIECE, b"\r\n")] + [
        b"--B--\r\n"
    ]
    asked = request(pieces, "multipart/form-data; boundary=B")
    with pytest.raises(TooLargeError, match="file name"):
        asyncio.run(read_params(asked, 100 * MAX_FORM_BYTES))


def test_so_many_big_bodies_at_once() -> None:
    big = [PIECE] * (request_bodies.MIN_BIG_BODY_BYTES // len(PIECE) + 1)
    scopes = [{request_bodies.BODY_SLOTS_SCOPE_KEY: 2} for _ in range(3)]
    asked = [request(big, **scope) for scope in scopes]
    try:
        assert (
            len(asyncio.run(request_bodies.read_body(asked[0], 2 * request_bodies.MIN_BIG_BODY_BYTES)))
            > request_bodies.MIN_BIG_BODY_BYTES
        )
        asyncio.run(request_bodies.read_body(asked[1], 2 * request_bodies.MIN_BIG_BODY_BYTES))
        with pytest.raises(OverloadedError):
            asyncio.run(request_bodies.read_body(asked[2], 2 * request_bodies.MIN_BIG_BODY_BYTES))
        # small ones need no place
        assert (
            asyncio.run(request_bodies.read_body(request([PIECE], **scopes[2]), 2 * request_bodies.MIN_BIG_BODY_BYTES))
            == PIECE
        )
        request_bodies.release_body_slot(asked[0].scope)
        asked.append(request(big, **scopes[2]))
        asyncio.run(request_bodies.read_body(asked[3], 2 * request_bodies.MIN_BIG_BODY_BYTES))
    finally:
        for one in asked:
            request_bodies.release_body_slot(one.scope)


def test_a_body_that_came_by_a_rewritten_address_gives_its_slot_back(tmp_path: Path) -> None:
    """The request of a portal's path is a copy of the one that the middleware ends."""
    big = "x" * (request_bodies.MIN_BIG_BODY_BYTES + 100_000)
    portals = (PortalSettings(name="p", path="/p"),)
    with open_tiny_site(tmp_path / "site", {"s.t": pa.table({"n": [1, 2]})}, portals=portals) as site:
        application = create_and_start_application(site)
        for _ in range(site.settings.limits.bodies + 1):
            status = asyncio.run(post_form(application, "/p/tap/sync", f"LANG=ADQL&QUERY=SELECT+n+FROM+s.t&JUNK={big}"))
            assert status == 200


async def post_form(application: Any, path: str, form: str) -> int:
    statuses: list[int] = []
    pieces = [form.encode()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": path, "raw_path": path.encode(),
        "root_path": "", "query_string": b"", "headers": [(b"content-type", b"application/x-www-form-urlencoded")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await application(scope, receive, send)
    return statuses[0]


def test_small_pieces_are_given_together() -> None:
    async def read_pieces() -> list[bytes]:
        return [
            chunk async for chunk in request_bodies.read_chunks(request([b"%05d" % n for n in range(30_000)]), 10**6)
        ]

    chunks = asyncio.run(read_pieces())
    assert b"".join(chunks) == b"".join(b"%05d" % n for n in range(30_000))
    assert len(chunks) == 3


def test_a_body_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "IDLE_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(TimeLimitError, match="too slowly"):
        asyncio.run(request_bodies.read_body(request([PIECE], forever=True), 10**6))


def test_the_line_takes_nothing_of_the_requests_time() -> None:
    async def measure_deadline_shift() -> float:
        running = deadlines.Deadline(60)
        deadlines.CURRENT_DEADLINE.set(running)
        until = running.expiry_time
        await request_bodies.read_body(request([PIECE, PIECE]), 10**6)
        return running.expiry_time - until

    assert asyncio.run(measure_deadline_shift()) > 0
