"""Routes that are remembered answer as those that are looked for each time."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route, Router
from starlette.types import Scope

from hven.app._server import application
from hven.app._server.application import RouteCachingRouter

MATCHES = Route.matches


def say(word: str) -> object:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{word} {sorted(request.path_params.items())} {request.url.path}")

    return endpoint


def routes() -> list[Route]:
    return [
        Route("/a/{name}", say("any")),
        Route("/a/fixed", say("never reached")),
        Route("/b", say("read"), methods=["GET"]),
        Route("/b", say("written"), methods=["POST"]),
        Route("/c/{rest:path}", say("rest"), methods=["GET", "POST"]),
        Route("/d", say("last"), methods=["GET"]),
    ]


def send_request(router: Router, method: str, path: str, root: str = "") -> tuple[object, ...]:
    """Send a request; status, body and methods that are allowed."""
    app = Starlette()
    app.router = router
    told: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, object]) -> None:
        told.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": root + path,
        "root_path": root,
        "query_string": b"",
        "headers": [],
        "server": ("h", 80),
        "scheme": "http",
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    headers = dict(told[0]["headers"])  # type: ignore[call-overload]
    allowed = sorted(headers.get(b"allow", b"").split(b", "))
    return told[0]["status"], b"".join(message.get("body", b"") for message in told), allowed  # type: ignore[misc]


@pytest.mark.parametrize("root", ["", "/hven"])
def test_every_path_leads_where_starlette_says(root: str) -> None:
    plain, ours = (kind(routes=routes(), redirect_slashes=False) for kind in (Router, RouteCachingRouter))
    paths = ["/a/x", "/a/fixed", "/a/y", "/b", "/c/", "/c/d/e", "/d", "/nothing", "/a/x/y", "/a", ""]
    for path in paths * 2:  # looked for, and remembered
        for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "BREW"):
            assert send_request(ours, method, path, root) == send_request(plain, method, path, root), (method, path)


@pytest.mark.parametrize("root", ["", "/hven"])
def test_a_slash_at_the_end_is_ignored_where_no_route_has_it(root: str) -> None:
    router = RouteCachingRouter(routes=[*routes(), Route("/d/own/", say("own"))], redirect_slashes=False)
    for path in ["/a/x", "/b", "/d", "/nothing", "/a/x/y"] * 2:  # looked for, and remembered
        for method in ("GET", "POST", "DELETE"):
            expected = send_request(router, method, path, root)
            assert send_request(router, method, f"{path}/", root) == expected, (method, path)
    assert send_request(router, "GET", "/c/d/", root)[1] == f"rest [('rest', 'd/')] {root}/c/d/".encode()
    assert send_request(router, "GET", "/d/own/", root)[0] == 200
    assert send_request(router, "GET", "/d/own", root)[0] == 404
    assert send_request(router, "GET", "/d//", root)[0] == 404


def test_only_routes_that_begin_alike_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Route(f"/part{number}/{{name}}", say(str(number))) for number in range(300)]
    router = RouteCachingRouter(routes=[Route("/{word}.txt", say("text")), *many], redirect_slashes=False)
    tried = []

    def record_and_match(route: Route, scope: Scope) -> tuple[Match, Scope]:
        tried.append(route.path)
        return MATCHES(route, scope)

    monkeypatch.setattr(Route, "matches", record_and_match)
    assert send_request(router, "GET", "/part299/x")[0] == 200
    assert set(tried) == {"/{word}.txt", "/part299/{name}"}


def test_few_and_short_paths_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MAX_CACHED_PATHS", 20)
    router = RouteCachingRouter(routes=routes(), redirect_slashes=False)
    for number in range(50):
        for kind in ("a", "c", "nothing"):
            send_request(router, "GET", f"/{kind}/{number}")
    assert len(router._cached_routes) <= 20
    assert send_request(router, "GET", f"/a/{'x' * 255}")[0] == 200
    for _ in range(2):
        assert send_request(router, "GET", "/a/1")[:2] == (200, b"any [('name', '1')] /a/1")
        for method, path in [("GET", "/b"), ("POST", "/b"), ("DELETE", "/b"), ("GET", "/d")]:
            send_request(router, method, path)
    kept = set(router._cached_routes)
    assert kept >= {("GET", "/b"), ("POST", "/b"), ("GET", "/d"), ("GET", "/a/1")}
    assert all(len(path) <= 255 and "nothing" not in path and method != "DELETE" for method, path in kept)


def test_old_paths_are_looked_for_where_no_route_has_them() -> None:
    """What has been remembered of one holds no longer than what it stands for."""
    now = {"/old": "/a/1", "/b": "/a/2"}

    def rename_path(scope: Scope) -> Scope | None:
        return {**scope, "path": now[scope["path"]]} if scope["path"] in now else None

    router = RouteCachingRouter(routes=routes(), redirect_slashes=False, rewrite_request=rename_path)
    for _ in range(2):
        assert send_request(router, "GET", "/old")[:2] == (200, b"any [('name', '1')] /a/1")
    assert send_request(router, "GET", "/b")[1] == b"read [] /b", "none takes a path of ours"
    now["/old"] = "/c/x/y"
    assert send_request(router, "POST", "/old")[1] == b"rest [('rest', 'x/y')] /c/x/y"
    assert send_request(router, "GET", "/old")[1] == b"rest [('rest', 'x/y')] /c/x/y"
    del now["/old"]
    assert send_request(router, "GET", "/old")[0] == 404
