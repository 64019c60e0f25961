"""Routes whose paths are fixed are found at once.

The faces have some sixty, and to try one after the other takes as long as a row by its key.

Each page has a twin in JSON, at its address with ``.json`` behind it: where a face has no such address of its own, the
page is asked with ``Accept: application/json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.routing import Match, Route, Router

from hven.site import CURRENT_USAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.routing import BaseRoute
    from starlette.types import Receive, Scope, Send

JSON_SUFFIX = ".json"
MAX_SEGMENT_BYTES = 255  # bytes between two slashes
MAX_CACHED_PATHS = 1_000  # old paths whose routes are remembered


class CachingRouter(Router):
    """A router that remembers which route a method and a path without parameters led to.

    The first one that fits, as ever.

    `rewrite_request` gives a request that no route fits its present address; None: it has none. `faces` tells whose a
    route is, by its identity.
    """

    def __init__(
        self,
        *args: Any,
        rewrite_request: Callable[[Scope], Scope | None] = lambda _: None,
        faces: Mapping[int, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._rewrite_request = rewrite_request
        self._faces = faces or {}
        self._cached_routes: dict[tuple[str, str], BaseRoute] = {}
        self._alias_routes: dict[tuple[str, str], BaseRoute] = {}  # of paths that no route has

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        if "\0" in path or (
            4 * len(path) > MAX_SEGMENT_BYTES
            and any(len(part.encode("utf-8", "replace")) > MAX_SEGMENT_BYTES for part in path.split("/"))
        ):
            # no file's name can be so
            raise HTTPException(404)
        key = scope.get("method", ""), path
        alias_route = self._alias_routes.get(key)
        if scope["type"] == "http" and alias_route is None:
            route = self._find_route(scope)
        else:
            route = None
        if route is None and scope["type"] == "http" and (rewritten_scope := self._rewrite_request(scope)) is not None:
            is_match = alias_route is not None and alias_route.matches(rewritten_scope)[0] is Match.FULL
            scope = rewritten_scope
            route = alias_route if is_match else self._find_route(rewritten_scope)
            if route is not None and len(self._alias_routes) < MAX_CACHED_PATHS:
                self._alias_routes[key] = route
        if route is None and scope["type"] == "http":
            page_scope = _build_page_scope(scope)
            if page_scope is not None and (route := self._find_route(page_scope)) is not None:
                scope = page_scope
        if route is None:  # the lifespan; no such path; not with this method
            await super().app(scope, receive, send)
            return
        scope.setdefault("router", self)
        scope["route"] = route
        scope.update(route.matches(scope)[1])
        use = CURRENT_USAGE.get()
        if use is not None:
            use.face = self._faces.get(id(route), "")
            use.path = route.path if isinstance(route, Route) else ""
            use.params = scope.get("path_params", {})
        await route.handle(scope, receive, send)

    def _find_route(self, scope: Scope) -> BaseRoute | None:
        key = scope["method"], scope["path"]
        matching_route = self._cached_routes.get(key)
        if matching_route is None:
            matching_route = next((route for route in self.routes if route.matches(scope)[0] is Match.FULL), None)
            if (
                isinstance(matching_route, Route) and matching_route.methods and not matching_route.param_convertors
            ):  # so there are not many
                self._cached_routes[key] = matching_route
        return matching_route


def _build_page_scope(scope: Scope) -> Scope | None:
    """Return the request for the page whose JSON twin is asked for; None: it is no such request."""
    path: str = scope["path"]
    if scope["method"] not in {"GET", "HEAD"} or not path.endswith(JSON_SUFFIX) or path.endswith("/" + JSON_SUFFIX):
        return None
    page = path.removesuffix(JSON_SUFFIX)
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
    return {**scope, "path": page, "raw_path": page.encode(), "headers": [*headers, (b"accept", b"application/json")]}


__all__ = ["CachingRouter"]
