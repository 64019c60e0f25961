"""``/login`` and ``/logout``: a session for browsers, from an account's name and its token; as a form, and as JSON for scripts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services as dali
from hven.model.errors import Forbidden, ParamError, TooOften, Unauthenticated, say
from hven.portal._pages import frame, guarded, written
from hven.services.address import from_elsewhere, secure
from hven.services.face import Face, Surroundings, route
from hven.site.auth.local import named
from hven.site.auth.session import SECONDS, cookie, proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

LONGEST = 8192  # bytes of what is sent
JSON = "application/json"
# an address on this site, whatever browsers make of it, as a header can say it
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def routes(around: Surroundings) -> Sequence[Route]:
    """Return ``/login`` (GET: who one is, and the form; POST: begin a session) and ``/logout`` (POST)."""
    site = around.site

    async def show(request: Request) -> Response:
        who = around.reader(request).name
        if who is not None and "authorization" in request.headers and request.method == "GET" and not _seen(request):
            proof = await anyio.to_thread.run_sync(site.store.sessions.begin, who, SECONDS)  # SSO 2.0: #BasicAA
            return _begun(request, who, proof)
        if _scripted(request):
            return _json({"name": who})
        following = request.query_params.get("next", "")
        return _page(request, around, name=who, next=following if _LOCAL.fullmatch(following) else "")

    async def login(request: Request) -> Response:
        _at_home(request)
        given = await _given(request)
        program = _scripted(request) or "username" in given  # SSO 2.0: #tls-with-password
        claimed = (given.get("name") or given.get("username", "")).strip()
        token = (given.get("token") or given.get("password", "")).strip()
        following = given.get("next", "")
        following = following if _LOCAL.fullmatch(following) else ""
        try:
            name, proof = await dali.proven(request, site.store, claimed or named(token), lambda: begin(claimed, token))
        except (Unauthenticated, TooOften) as error:
            if program:
                raise
            return _page(request, around, error=error, given=claimed, next=following)
        if program:
            return _begun(request, name, proof)
        headers = {"set-cookie": _cookie(request, proof), "cache-control": "no-store"}
        base = dali.base(request, site.settings)
        there = f"{base.removesuffix(site.settings.root_path)}{following}" if following else f"{base}/login"
        return Response(status_code=303, headers={**headers, "location": there})

    def begin(claimed: str, token: str) -> tuple[str, str]:
        holder = site.store.users.holds(token)
        if holder is None or claimed not in {"", holder}:
            raise Unauthenticated("this account and this token do not belong together", remedy="check both")
        return holder, site.store.sessions.begin(holder, SECONDS)

    def _begun(request: Request, name: str, proof: str) -> Response:
        """Give a program its session, as a cookie and as a bearer token."""
        headers = {"set-cookie": _cookie(request, proof), "x-vo-bearer": proof, "x-vo-authenticated": name}
        if _scripted(request):
            return _json({"name": name, "seconds": round(SECONDS)}, headers)
        return Response(
            f"logged in as {name}\n", headers={**headers, "cache-control": "no-store"}, media_type="text/plain"
        )

    async def logout(request: Request) -> Response:
        _at_home(request)
        proof = proof_of(request.headers)
        if proof is not None:
            await anyio.to_thread.run_sync(site.store.sessions.end, proof)
        headers = {"set-cookie": _cookie(request, None), "cache-control": "no-store"}
        if _scripted(request):
            return _json({"name": None}, headers)
        return Response(status_code=303, headers={**headers, "location": f"{dali.base(request, site.settings)}/login"})

    def _at_home(request: Request) -> None:
        if from_elsewhere(request, site.settings):
            raise Forbidden(
                "a page of another site asks this", remedy="use the form at /login, or send a token with each request"
            )

    def _cookie(request: Request, proof: str | None) -> str:
        return cookie(proof, path=site.settings.root_path, secure=secure(request, site.settings))

    return [
        route("/login", show, _told),
        route("/login", login, _told, ["POST"]),
        route("/logout", logout, _told, ["POST"]),
    ]


async def _given(request: Request) -> Mapping[str, str]:
    """Read a form or a JSON object of a few short texts."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        params = await dali.read(request, LONGEST)
        return {name.lower(): params.one(name) or "" for name in params.values}
    try:
        found = orjson.loads(await dali.body(request, LONGEST))
    except orjson.JSONDecodeError as error:
        raise ParamError(
            say("the body is not JSON: {message}", error), remedy='{"name": "anna", "token": "..."}'
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ParamError("the body is no JSON object of texts", remedy='{"name": "anna", "token": "..."}')
    return found


def _told(request: Request, error: Exception) -> Response:
    status, message = dali.status_of(error), dali.message_of(error, dali.request_id(request))
    headers = {**dali.headers_of(error), **_quiet(error), "cache-control": "no-store"}
    if _scripted(request):
        return Response(dali.json_error(message, status), status, headers, media_type=JSON)
    return Response(f"{message}\n", status, headers, media_type="text/plain; charset=utf-8")


def _quiet(error: BaseException) -> Mapping[str, str]:
    """Ask for a token in a way that makes no browser open a window of its own."""
    return {"www-authenticate": 'Bearer realm="hven"'} if isinstance(error, Unauthenticated) else {}


def _page(
    request: Request, around: Surroundings, *, error: Unauthenticated | TooOften | None = None, **facts: Any
) -> Response:
    made = frame(request, around)
    failed = None if error is None else "often" if isinstance(error, TooOften) else "wrong"
    facts = {"name": None, "given": "", "next": "", **facts}
    body = written("login.html", made, failed=failed, **facts)
    headers = {**guarded(), "cache-control": "no-store"}
    if error is None:
        return dali.whole(request, body, headers)
    return dali.whole(request, body, {**headers, **dali.headers_of(error), **_quiet(error)}, dali.status_of(error))


def _json(value: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), headers={"cache-control": "no-store", **(headers or {})}, media_type=JSON)


def _seen(request: Request) -> bool:
    """Return whether somebody looks at the page."""
    return "text/html" in request.headers.get("accept", "")


def _scripted(request: Request) -> bool:
    kinds = request.headers.get("accept", "") + request.headers.get("content-type", "")
    return JSON in kinds.lower()


FACE = Face(name="login", title="Sessions", routes=routes)
