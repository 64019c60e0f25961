"""Portals of one site: found by host or by the beginning of the path, before the routes see a request.

And what readers switch, kept in cookies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from hven.portal._pages import LANGUAGE_PARAMETER, THEME_COOKIE, THEME_PARAMETER, THEMES
from hven.portal._pages.texts import LANGUAGE_COOKIE, list_languages
from hven.services.addresses import PORTAL_SCOPE_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

    from hven.model.settings import Settings

COOKIE_LIFETIME_SECONDS = 365 * 86_400  # seconds


class PortalRouter:
    """Leaves in the request's scope to which portal it came, and takes the portal's path off.

    Below it all services answer as everywhere.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = {portal.host.lower(): portal for portal in settings.portals if portal.host}
        self._paths = sorted(
            ((portal.path, portal) for portal in settings.portals if portal.path), key=lambda pair: -len(pair[0])
        )
        self._cookie = f"Path={settings.root_path.rstrip('/') or '/'}; Max-Age={COOKIE_LIFETIME_SECONDS}; SameSite=Lax"

    def match_portal(self, scope: Scope) -> Scope:
        """Match a request with a portal, by the beginning of its path or by its host.

        Parameters
        ----------
        scope
            Of the request (ASGI).

        Returns
        -------
        scope
            As the routes know it: the path without the beginning.
        """
        path = scope["path"]
        for begin, portal in self._paths:
            if path == begin or path.startswith(f"{begin}/"):
                remaining_path = path[len(begin) :] or "/"
                return {**scope, "path": remaining_path, "raw_path": remaining_path.encode(), PORTAL_SCOPE_KEY: portal}
        if self._hosts:
            host = next((value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"), "")
            host_portal = self._hosts.get(host) or self._hosts.get(host.partition(":")[0])
            if host_portal is not None:
                return {**scope, PORTAL_SCOPE_KEY: host_portal}
        return scope

    def build_preference_cookies(self, scope: Scope) -> tuple[bytes, ...]:
        """Return the cookies that keep what a request switches: language, theme.

        Parameters
        ----------
        scope
            Of the request (ASGI).
        """
        query = scope["query_string"]
        if scope["method"] != "GET" or (
            LANGUAGE_PARAMETER.encode() not in query and THEME_PARAMETER.encode() not in query
        ):
            return ()
        query_params = dict(parse_qsl(query.decode("utf-8", "replace")))
        language = query_params.get(LANGUAGE_PARAMETER)
        theme = query_params.get(THEME_PARAMETER)
        if language in list_languages():
            cookies = [f"{LANGUAGE_COOKIE}={language}; {self._cookie}"]
        else:
            cookies = []
        if theme in THEMES:
            cookies.append(f"{THEME_COOKIE}={theme}; {self._cookie}")
        return tuple(line.encode() for line in cookies)


def add_cookies(cookies: Iterable[bytes], headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Add cookies to the headers of an answer, if it is a page: what sets a cookie is one reader's own.

    Parameters
    ----------
    cookies
        Values of Set-Cookie.
    headers
        Of the answer (ASGI).

    Returns
    -------
    headers
        Private if a cookie is set.
    """
    if not any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
        return headers
    private_headers = [
        (name, value.replace(b"public", b"private") if name == b"cache-control" else value) for name, value in headers
    ]
    return [*private_headers, *((b"set-cookie", cookie) for cookie in cookies)]
