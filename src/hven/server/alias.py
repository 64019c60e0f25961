"""``[[alias]]``: an old address and its parameters answered by one of our faces, without a redirect."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from hven.settings import Alias, Settings


class Aliases:
    """Rewrites path and query string before the routes see them; the root path is taken off first."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._root = settings.root_path.rstrip("/")
        self._known = {alias.path.rstrip("/") or "/": alias for alias in settings.aliases}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its present address."""
        if scope["type"] == "http":
            path = scope["path"]
            if self._root and (path == self._root or path.startswith(self._root + "/")):
                path = path[len(self._root) :] or "/"
                scope = {**scope, "path": path, "raw_path": path.encode()}
            alias = self._known.get(path.rstrip("/") or "/") if self._known else None
            if alias is not None:
                scope = {**scope, "path": alias.to, "raw_path": alias.to.encode(), "query_string": _renamed(scope["query_string"], alias)}
        await self._app(scope, receive, send)


def _renamed(query: bytes, alias: Alias) -> bytes:
    if not alias.rename and not alias.set:
        return query
    names = {old.upper(): new for old, new in alias.rename.items()}
    pairs = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
    kept = [(names.get(name.upper(), name), value) for name, value in pairs]
    given = {name.upper() for name, _ in kept}
    kept += [(name, value) for name, value in alias.set.items() if name.upper() not in given]
    return urlencode(kept).encode()
