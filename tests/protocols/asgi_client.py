"""Send requests to an ASGI application in this process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock
from urllib.parse import urlencode

from anyio._backends import _asyncio as anyio_backend


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)  # asyncio writes the results of tasks when it looks at signal handlers

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def comparable_body(self) -> bytes:
        """The body without the request and its date (data origin), which differ between equal answers."""
        return re.sub(rb'<INFO name="request(_date)?" value="[^"]*"/>\n?', b"", self.body)


def find_router(application: Any) -> Any:
    """Find the router of an application: inside its middleware, and of portals the one for all collections."""
    inner = application._application
    while not hasattr(inner, "router"):
        inner = inner._default_application if hasattr(inner, "_default_application") else inner._app
    return inner.router


@contextmanager
def share_event_loop() -> Iterator[None]:
    """Send all requests in one event loop until the block ends, and keep its threads between them.

    Without it, each request has an event loop of its own, and its threads end with it: a large part of the time that a
    small answer takes.
    """

    async def set_root_task(task: asyncio.Future[Any] | None) -> None:
        anyio_backend._root_task.set(task)  # type: ignore[arg-type]

    with asyncio.Runner() as runner, mock.patch.object(asyncio, "run", runner.run):
        # anyio ends its threads with the task that began the loop, which would be a request
        runner.run(set_root_task(runner.get_loop().create_task(asyncio.Event().wait())))
        try:
            yield
        finally:
            runner.run(set_root_task(None))


class Client:
    """A client without a socket.

    Without `repeats_answers`, all requests reach their services. Otherwise an answer that was sent five times within a
    second is repeated until the second ends, and a test that changes a file meanwhile depends on the machine's speed.
    """

    def __init__(self, app: Any, *, repeats_answers: bool = False) -> None:
        self._app = app
        self._repeats_answers = repeats_answers

    def get(self, path: str, **params: object) -> Answer:
        return self.ask("GET", path, urlencode(params).encode())

    def post(self, path: str, **params: object) -> Answer:
        return self.ask(
            "POST", path, body=urlencode(params).encode(), headers={"content-type": "application/x-www-form-urlencoded"}
        )

    def ask(
        self, method: str, path: str, query: bytes = b"", body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        return asyncio.run(self.ask_async(method, path, query, body, headers))

    async def ask_async(
        self, method: str, path: str, query: bytes = b"", body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """Send a request as `ask` does, in the running event loop, whose threads are shared by many requests."""
        path, _, given = path.partition("?")
        sent: list[dict[str, Any]] = []
        over = asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal body
            if body is not None:
                taken, body = body, None  # type: ignore[assignment]
                return {"type": "http.request", "body": taken, "more_body": False}
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        raw = [
            (name.lower().encode(), value.encode()) for name, value in {"host": "vo.example", **(headers or {})}.items()
        ]
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": given.encode() or query, "headers": raw, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        middleware = getattr(self._app, "_application", None)  # it is built anew when settings change
        if not self._repeats_answers and hasattr(middleware, "_repeater"):
            middleware._repeater = None
        await self._app(scope, receive, send)
        found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        challenges = [value.decode() for name, value in sent[0]["headers"] if name == b"www-authenticate"]
        found |= {"www-authenticate": ", ".join(challenges)} if challenges else {}
        whole = b"".join(message.get("body", b"") for message in sent[1:])
        said = found.get("content-length")
        # a server sends only the announced number of bytes
        assert said is None or method == "HEAD" or int(said) == len(whole), (
            f"{path}: {said} bytes are said, {len(whole)} sent"
        )
        return Answer(status=sent[0]["status"], headers=found, body=whole)
