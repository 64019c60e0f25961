"""``/login`` and ``/logout``: a session for browsers, from an account's name and its token or password; as a form, and as JSON for scripts.

Who is logged in makes and ends personal tokens there, and sets their password.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services as dali
from hven.model.errors import Forbidden, HvenError, NotFound, ParamError, TooOften, Unauthenticated, UserError, say
from hven.portal._pages import faults_in, frame, guarded, written
from hven.portal._views import access_page
from hven.services.address import door, from_elsewhere, keeping
from hven.services.face import Face, Surroundings, route
from hven.site.auth import change_password, looks
from hven.site.auth.local import SCOPES, Local, credentials, end_token, give_token, named
from hven.site.auth.session import SECONDS, proof_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.site.auth import OpenID
    from hven.site.store import Grant

PENDING = "hven_oidc"  # a cookie: a log-in that is under way
LONGEST = 8192  # bytes of what is sent
JSON = "application/json"
USUAL = 90  # days that a token holds
# an address on this site, whatever browsers make of it, as a header can say it
_LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def routes(around: Surroundings) -> Sequence[Route]:
    """Return ``/login`` (GET: who one is, and the form; POST: begin a session) and ``/logout`` (POST)."""
    site = around.site
    accounts = Local(site.store, site.settings)

    async def show(request: Request) -> Response:
        seen = around.reader(request)
        who = seen.by or seen.name
        given = request.headers.get("authorization", "")
        if who is not None and given[:6].lower() == "basic " and request.method == "GET" and not _seen(request):
            begin = partial(accounts.begin, *credentials(given))
            return _begun(request, *await anyio.to_thread.run_sync(begin))  # SSO 2.0: #BasicAA
        if _scripted(request):
            return _json({"name": who})
        following = request.query_params.get("next", "")
        return shown(request, next=following if _LOCAL.fullmatch(following) else "")

    async def login(request: Request) -> Response:
        _at_home(request)
        given = await _given(request)
        program = _scripted(request) or "username" in given  # SSO 2.0: #tls-with-password
        claimed = (given.get("name") or given.get("username", "")).strip()
        token = (given.get("token") or given.get("password", "")).strip()
        following = given.get("next", "")
        following = following if _LOCAL.fullmatch(following) else ""
        prove = partial(accounts.begin, claimed or None, token)
        try:
            by_token = partial(prove, passwords_too=False) if claimed else prove  # without a name it is no password
            account = claimed or named(token)
            name, proof = await dali.proven(request, site.store, account, prove, by_token=by_token, slow=True)
        except (Unauthenticated, TooOften) as error:
            if program:
                raise
            return _page(request, around, error=error, given=claimed, next=following)
        if program:
            return _begun(request, name, proof)
        return _sent(request, {"set-cookie": _cookie(request, proof)}, following)

    def _begun(request: Request, name: str, proof: str) -> Response:
        """Give a program its session, as a cookie and as a bearer token."""
        headers = {"set-cookie": _cookie(request, proof), "x-vo-bearer": proof, "x-vo-authenticated": name}
        if _scripted(request):
            return _json({"name": name, "seconds": round(SECONDS)}, headers)
        return Response(
            f"logged in as {name}\n", headers={**headers, "cache-control": "no-store"}, media_type="text/plain"
        )

    async def away(request: Request) -> Response:
        """Send a browser to a provider of OpenID Connect."""
        try:
            one, back = _provider(request)
            address, kept = await anyio.to_thread.run_sync(one.begin, back)
        except HvenError as error:
            return _page(request, around, problem=error)
        following = request.query_params.get("next", "")
        kept = f"{one.said.name}|{kept}|{following if _LOCAL.fullmatch(following) else ''}"
        return Response(
            None, 303, {"location": address, "set-cookie": _pending(request, kept), "cache-control": "no-store"}
        )

    async def back(request: Request) -> Response:
        """Begin the session of who comes back from there."""
        try:
            one, here = _provider(request)
            name, _, kept = unquote(request.cookies.get(PENDING, "")).partition("|")
            kept, _, following = kept.partition("|")
            given = dict(request.query_params)
            finish = partial(one.finish, site.store, here, given, kept if name == one.said.name else "")
            account = await dali.proven(request, site.store, given.get("state", "")[:128], finish, slow=True)
            proof = await anyio.to_thread.run_sync(site.store.sessions.begin, account, SECONDS)
        except HvenError as error:
            shown = _page(request, around, problem=error)
        else:
            following = following if _LOCAL.fullmatch(following) else ""
            shown = _sent(request, {"set-cookie": _cookie(request, proof)}, following)
        shown.headers.append("set-cookie", _pending(request, None))
        return shown

    def _provider(request: Request) -> tuple[OpenID, str]:
        one = accounts.providers.get(request.path_params["name"])
        if one is None:
            raise NotFound("there is no such provider", remedy="/login has those that there are")
        return one, f"{door(request, site.settings)}/login/oidc/{one.said.name}/back"

    def _pending(request: Request, kept: str | None) -> str:
        return keeping(request, site.settings, kept, "/login/oidc", name=PENDING, seconds=600)

    async def give(request: Request) -> Response:
        by, given = await _owner(request)
        try:
            days = float(given.get("days") or USUAL)
        except ValueError:
            raise ParamError(say("{days!r:.40} is no number of days", given["days"]), name="days") from None
        make = partial(
            give_token, site.store, by, given.get("scope", "read"), days, by=by, purpose=given.get("purpose", "")
        )
        grant, token = await anyio.to_thread.run_sync(make)
        if _scripted(request):
            return _json({"token": token, **_facts(grant)})
        return shown(request, made=token)

    async def end(request: Request) -> Response:
        by, given = await _owner(request)
        await anyio.to_thread.run_sync(partial(end_token, site.store, given.get("id", ""), by=by, name=by))
        return _json({"id": given["id"]}) if _scripted(request) else _sent(request, {})

    async def word(request: Request) -> Response:
        """Set a password, for who knows the one of before, or the account's token; all other sessions end."""
        by, given = await _owner(request)
        new = given.get("new", "").strip()
        try:
            if not site.settings.login.own_passwords:
                raise Forbidden("passwords are set by the site's owner here", remedy="ask them for one")
            if new != given.get("again", new).strip():
                raise UserError("the new password was written in two ways", remedy="write it again")
            prove = partial(accounts.proves, by, given.get("old", "").strip())
            by_token = partial(prove, passwords_too=False)
            await dali.proven(request, site.store, by, prove, by_token=by_token, slow=True)
            change = partial(change_password, site.store, by, new or "-", by=by)  # to have none is the owner's matter
            await anyio.to_thread.run_sync(change)
        except HvenError as error:
            if _scripted(request):
                raise
            return shown(request, problem=error)
        found = _json({"name": by}) if _scripted(request) else shown(request, changed=True)
        if proof_of(request.headers) is not None:
            proof = await anyio.to_thread.run_sync(site.store.sessions.begin, by, SECONDS)
            found.headers["set-cookie"] = _cookie(request, proof)
        return found

    async def _owner(request: Request) -> tuple[str, Mapping[str, str]]:
        _at_home(request)
        who = around.reader(request)
        if who.name is None:
            raise Unauthenticated("only who is logged in can ask this", remedy="log in at /login")
        if who.groups & {*SCOPES.values()}:
            raise Forbidden(
                "a token makes and ends no tokens, and sets no password",
                remedy="log in with the account's own token, or a password",
            )
        return who.name, await _given(request)

    def shown(request: Request, **facts: Any) -> Response:
        who = around.reader(request)
        name = who.by or who.name
        tokens = [_facts(one) for one in site.store.grants.all("token", subject=name)] if name is not None else []
        return _page(request, around, name=name, tokens=tokens, **facts)

    def _sent(request: Request, headers: Mapping[str, str], path: str = "") -> Response:
        above = door(request, site.settings).removesuffix(site.settings.root_path)
        there = f"{above}{path}" if path else f"{dali.base(request, site.settings)}/login"
        return Response(status_code=303, headers={"cache-control": "no-store", **headers, "location": there})

    async def logout(request: Request) -> Response:
        _at_home(request)
        proof = proof_of(request.headers)
        if proof is not None:
            await anyio.to_thread.run_sync(site.store.sessions.end, proof)
        headers = {"set-cookie": _cookie(request, None)}
        found = _json({"name": None}, headers) if _scripted(request) else _sent(request, headers)
        if looks.COOKIE in request.cookies:
            found.headers.append("set-cookie", keeping(request, site.settings, None, name=looks.COOKIE))
        return found

    def _at_home(request: Request) -> None:
        if from_elsewhere(request, site.settings):
            raise Forbidden(
                "a page of another site asks this", remedy="use the form at /login, or send a token with each request"
            )

    def _cookie(request: Request, proof: str | None) -> str:
        return keeping(request, site.settings, proof)

    return [
        *access_page.routes(around),
        route("/login", show, _told),
        route("/login", login, _told, ["POST"]),
        route("/login/oidc/{name}", away, _told),
        route("/login/oidc/{name}/back", back, _told),
        route("/login/tokens", give, _told, ["POST"]),
        route("/login/tokens/end", end, _told, ["POST"]),
        route("/login/password", word, _told, ["POST"]),
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
    request: Request,
    around: Surroundings,
    *,
    error: Unauthenticated | TooOften | None = None,
    problem: HvenError | None = None,
    **facts: Any,
) -> Response:
    made = frame(request, around)
    failed = None if error is None else "often" if isinstance(error, TooOften) else "wrong"
    told = "" if problem is None else faults_in(made["said"]).error(problem, dali.request_id(request))
    providers = [(one.name, one.title or one.name) for one in around.site.settings.identity]
    facts = {
        "name": None,
        "given": "",
        "next": "",
        "tokens": [],
        "made": "",
        "changed": False,
        "own_passwords": around.site.settings.login.own_passwords,
        "problem": told,
        "providers": providers,
        **facts,
    }
    body = written("login.html", made, failed=failed, **facts)
    headers = {**guarded(), "cache-control": "no-store"}
    wrong = error or problem
    if wrong is None:
        return dali.whole(request, body, headers)
    return dali.whole(request, body, {**headers, **dali.headers_of(wrong), **_quiet(wrong)}, dali.status_of(wrong))


def _facts(grant: Grant) -> dict[str, Any]:
    """Return what its owner is told of a token."""
    until = datetime.fromtimestamp(grant.until or 0, UTC).isoformat(timespec="seconds")
    return {"id": grant.id, "purpose": grant.facts.get("purpose", ""), "scope": grant.role, "until": until}


def _json(value: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), headers={"cache-control": "no-store", **(headers or {})}, media_type=JSON)


def _seen(request: Request) -> bool:
    """Return whether somebody looks at the page."""
    return "text/html" in request.headers.get("accept", "")


def _scripted(request: Request) -> bool:
    kinds = request.headers.get("accept", "") + request.headers.get("content-type", "")
    return JSON in kinds.lower()


FACE = Face(name="login", title="Sessions", routes=routes)
