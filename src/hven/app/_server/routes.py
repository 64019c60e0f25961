"""Routes whose paths are fixed are found at once: the faces have some sixty, and to try one after the other takes as long as a row by its key.

Each page has a twin in JSON, at its address with ``.json`` behind it: where a face has no such address of its own, the page is asked with
``Accept: application/json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route, Router

from hven.site import using

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send

TWIN = ".json"
LONGEST = 255  # bytes between two slashes
MOST = 1_000  # old paths whose routes are remembered


class Routes(Router):
    """A router that remembers which route a method and a path without parameters led to; the first one that fits, as ever.

    `named` gives a request that no route fits its present address; None: it has none. `faces` tells whose a route is, by its identity.
    """

    def __init__(
        self,
        *args: Any,
        named: Callable[[Scope], Scope | None] = lambda _: None,
        faces: Mapping[int, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._named = named
        self._faces = faces or {}
        self._known: dict[tuple[str, str], BaseRoute] = {}
        self._old: dict[tuple[str, str], BaseRoute] = {}  # of paths that no route has

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        if "\0" in path or (
            4 * len(path) > LONGEST and any(len(part.encode("utf-8", "replace")) > LONGEST for part in path.split("/"))
        ):
            # no file's name can be so
            raise HTTPException(404)
        key = scope.get("method", ""), path
        old = self._old.get(key)
        route = self._found(scope) if scope["type"] == "http" and old is None else None
        if route is None and scope["type"] == "http" and (renamed := self._named(scope)) is not None:
            fits = old is not None and old.matches(renamed)[0] is Match.FULL
            scope, route = renamed, old if fits else self._found(renamed)
            if route is not None and len(self._old) < MOST:
                self._old[key] = route
        if route is None and scope["type"] == "http":
            twin = _plain(scope)
            if twin is not None and (route := self._found(twin)) is not None:
                scope = twin
        if route is None:  # the lifespan; no such path; not with this method
            await super().app(scope, receive, send)
            return
        scope.setdefault("router", self)
        scope["route"] = route
        scope.update(route.matches(scope)[1])
        if (use := using.get()) is not None:
            use.face, use.path, use.params = self._faces.get(id(route), ""), route.path if isinstance(route, Route) else "", scope.get("path_params", {})  # fmt: skip
        await route.handle(scope, receive, send)

    def _found(self, scope: Scope) -> BaseRoute | None:
        key = scope["method"], scope["path"]
        found = self._known.get(key)
        if found is None:
            found = next((route for route in self.routes if route.matches(scope)[0] is Match.FULL), None)
            if isinstance(found, Route) and found.methods and not found.param_convertors:  # so there are not many
                self._known[key] = found
        return found


def _plain(scope: Scope) -> Scope | None:
    """Return the request for the page whose JSON twin is asked for; None: it is no such request."""
    path: str = scope["path"]
    if scope["method"] not in {"GET", "HEAD"} or not path.endswith(TWIN) or path.endswith("/" + TWIN):
        return None
    page = path.removesuffix(TWIN)
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
    return {**scope, "path": page, "raw_path": page.encode(), "headers": [*headers, (b"accept", b"application/json")]}


__all__ = ["Routes"]
