"""A router that finds routes with fixed paths at once.

The faces have about sixty routes, and trying them one after the other takes as long as reading a row by its key.

Each page has a JSON version at its address with ``.json`` behind it. Where a face has no such route, the router asks
for the page with ``Accept: application/json``.
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
MAX_SEGMENT_BYTES = 255  # bytes between two slashes: the limit of file names
MAX_CACHED_PATHS = 1_000  # old paths whose routes are cached


class RouteCachingRouter(Router):
    """A router that caches the first matching route of a method and path, for routes without path parameters.

    Parameters
    ----------
    rewrite_request
        Gives a request that matches no route its present address; None if it has none.
    faces_by_route
        Identity of a route -> name of its face, if its use is counted.
    """

    def __init__(
        self,
        *args: Any,
        rewrite_request: Callable[[Scope], Scope | None] = lambda _: None,
        faces_by_route: Mapping[int, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._rewrite_request = rewrite_request
        self._faces = faces_by_route or {}
        self._cached_routes: dict[tuple[str, str], BaseRoute] = {}
        self._alias_routes: dict[tuple[str, str], BaseRoute] = {}  # of paths that no route has

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        if _is_impossible_path(path):
            raise HTTPException(404)
        route = None
        if scope["type"] == "http":
            route, scope = self._resolve_route(scope)
        if route is None:  # a lifespan message, an unknown path, or a method that the route does not have
            await super().app(scope, receive, send)
            return
        scope.setdefault("router", self)
        scope["route"] = route
        scope.update(route.matches(scope)[1])
        usage = CURRENT_USAGE.get()
        if usage is not None:
            usage.face = self._faces.get(id(route), "")
            usage.path = route.path if isinstance(route, Route) else ""
            usage.params = scope.get("path_params", {})
        await route.handle(scope, receive, send)

    def _resolve_route(self, scope: Scope) -> tuple[BaseRoute | None, Scope]:
        """Return the route of a request, and the request under the address that the route has.

        The address itself comes first, then the present one of an old address, and then the page of a JSON version.
        """
        key = scope["method"], scope["path"]
        alias_route = self._alias_routes.get(key)
        if alias_route is None:
            route = self._find_route(scope)
            if route is not None:
                return route, scope
        rewritten_scope = self._rewrite_request(scope)
        if rewritten_scope is not None:
            scope = rewritten_scope
            route = alias_route
            if route is None or route.matches(scope)[0] is not Match.FULL:
                route = self._find_route(scope)
            if route is not None:
                if len(self._alias_routes) < MAX_CACHED_PATHS:
                    self._alias_routes[key] = route
                return route, scope
        page_scope = _build_json_page_scope(scope)
        if page_scope is not None:
            route = self._find_route(page_scope)
            if route is not None:
                return route, page_scope
        return None, scope

    def _find_route(self, scope: Scope) -> BaseRoute | None:
        """Return the first route that matches a request."""
        key = scope["method"], scope["path"]
        cached_route = self._cached_routes.get(key)
        if cached_route is not None:
            return cached_route
        for route in self.routes:
            if route.matches(scope)[0] is Match.FULL:
                # only routes without parameters are cached, so that the cache stays small
                if isinstance(route, Route) and route.methods and not route.param_convertors:
                    self._cached_routes[key] = route
                return route
        return None


def _is_impossible_path(path: str) -> bool:
    """Return whether no file or page can have a path: it has a NUL, or a part that is longer than a file name."""
    if "\0" in path:
        return True
    if 4 * len(path) <= MAX_SEGMENT_BYTES:  # UTF-8 has at most four bytes a character
        return False
    return any(len(part.encode("utf-8", "replace")) > MAX_SEGMENT_BYTES for part in path.split("/"))


def _build_json_page_scope(scope: Scope) -> Scope | None:
    """Return the request for the page whose JSON version is requested; None for other requests."""
    path: str = scope["path"]
    if scope["method"] not in {"GET", "HEAD"}:
        return None
    if not path.endswith(JSON_SUFFIX) or path.endswith(f"/{JSON_SUFFIX}"):
        return None
    page = path.removesuffix(JSON_SUFFIX)
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
    headers.append((b"accept", b"application/json"))
    return {**scope, "path": page, "raw_path": page.encode(), "headers": headers}


__all__ = ["RouteCachingRouter"]
