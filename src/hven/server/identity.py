"""Who asks: identity providers look at each request before any face does; bad credentials get no further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from hven import dali, plugins
from hven.errors import HvenError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from hven.auth import Reader
    from hven.store import Store

READER = "hven.reader"


class Identity:
    """Puts the reader into the request's scope, or answers 401."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self._app = app
        self._providers = [plugins.load("identity", name).provider(store) for name in plugins.names("identity")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; those without credentials cost nothing."""
        if scope["type"] == "http" and any(name in {b"authorization", b"cookie"} for name, _ in scope["headers"]):
            try:
                who = await anyio.to_thread.run_sync(self._identify, Headers(scope=scope))
            except HvenError as error:
                text = dali.message_of(error, scope.get("hven.request_id", ""))
                await PlainTextResponse(f"{text}\n", dali.status_of(error), dict(dali.headers_of(error)))(scope, receive, send)
                return
            if who is not None:
                scope[READER] = who
        await self._app(scope, receive, send)

    def _identify(self, headers: Headers) -> Reader | None:
        found = (provider.identify(headers) for provider in self._providers)
        return next((who for who in found if who is not None), None)
