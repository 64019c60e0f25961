"""Who asks: identity providers look at each request before any face does; bad credentials get no further.

What browsers add by themselves, cookies and remembered passwords, is kept from them if a foreign page makes the browser send a request
that changes something (`hven.site.auth.session`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

from hven import services as dali
from hven.model import plugins
from hven.model.errors import HvenError
from hven.query.turns import asker
from hven.site.auth import recognised
from hven.site.auth.local import claimed
from hven.site.auth.session import foreign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from hven.model.settings import Settings
    from hven.site.auth import Reader
    from hven.site.store import Store

READER = "hven.reader"


class Identity:
    """Puts the reader into the request's scope, or answers 401."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._origins = {origin.lower() for origin in settings.cors if origin != "*"}
        if settings.public_url:
            self._origins.add("/".join(settings.public_url.lower().split("/")[:3]))
        self._providers = [plugins.load("identity", name).provider(store) for name in plugins.names("identity")]

    async def refusal(self, scope: Scope, named: Mapping[bytes, bytes]) -> PlainTextResponse | None:
        """Look who asks; those without credentials among the headers cost nothing."""
        if b"authorization" in named or b"cookie" in named:
            try:
                headers = self._believed(scope)
                account = claimed(headers.get("authorization", ""))
                who = await dali.proven(HTTPConnection(scope), self._store, account, partial(self._identify, headers))
            except HvenError as error:
                text = dali.message_of(error, scope.get("hven.request_id", ""))
                return PlainTextResponse(f"{text}\n", dali.status_of(error), dict(dali.headers_of(error)))
            if who is not None:
                scope[READER] = who
        asker.set(partial(_asker, scope))
        return None

    def _believed(self, scope: Scope) -> Headers:
        """Return the headers that may prove something."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        # a proxy may have taken https off: the host is what tells sites apart, and a page served by plain http under our name is lost anyway
        if foreign(scope["method"], headers, self._origins | {f"https://{host}", f"http://{host}"}):
            return Headers(raw=[(name, value) for name, value in scope["headers"] if not _by_itself(name, value)])
        return headers

    def _identify(self, headers: Headers) -> Reader | None:
        found = (provider.identify(headers) for provider in self._providers)
        who = next((one for one in found if one is not None), None)
        return None if who is None else recognised(who, self._settings, self._store.grants)


def _asker(scope: Scope) -> str:
    """Name whose queries are counted together: an account's, else an address's."""
    who: Reader | None = scope.get(READER)
    return f"account {who.name}" if who is not None else dali.network(HTTPConnection(scope))


def _by_itself(name: bytes, value: bytes) -> bool:
    """Return whether a header is what browsers add to requests to a site that they know, whoever's page asks; bearer tokens they do not."""
    return name == b"cookie" or (name == b"authorization" and value[:6].lower() == b"basic ")
