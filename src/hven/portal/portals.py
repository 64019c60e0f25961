"""Find the portal of a request by its host or path, and keep the reader's language and theme in cookies.

The portal is found before the request is routed.
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

COOKIE_LIFETIME_SECONDS = 365 * 86_400


class PortalRouter:
    """Write the portal of a request into its scope, and remove the path of the portal.

    All services answer below the path of a portal as they do below the root.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = {portal.host.lower(): portal for portal in settings.portals if portal.host}
        path_portals = [(portal.path, portal) for portal in settings.portals if portal.path]
        self._paths = sorted(path_portals, key=lambda pair: -len(pair[0]))  # the longest path first
        cookie_path = settings.root_path.rstrip("/") or "/"
        self._cookie = f"Path={cookie_path}; Max-Age={COOKIE_LIFETIME_SECONDS}; SameSite=Lax"

    def match_portal(self, scope: Scope) -> Scope:
        """Match a request with a portal, by the beginning of its path or by its host.

        Parameters
        ----------
        scope
            ASGI scope of the request.

        Returns
        -------
        scope
            The scope for the routes: with the portal, and without the portal's path.
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
        """Build the cookies that keep the language and the theme that a request chooses.

        Parameters
        ----------
        scope
            ASGI scope of the request.

        Returns
        -------
        cookies
            Values of ``Set-Cookie``; empty if the request switches nothing.
        """
        query = scope["query_string"]
        may_switch = LANGUAGE_PARAMETER.encode() in query or THEME_PARAMETER.encode() in query
        if scope["method"] != "GET" or not may_switch:
            return ()
        query_params = dict(parse_qsl(query.decode("utf-8", "replace")))
        language = query_params.get(LANGUAGE_PARAMETER)
        theme = query_params.get(THEME_PARAMETER)
        cookies = []
        if language in list_languages():
            cookies.append(f"{LANGUAGE_COOKIE}={language}; {self._cookie}")
        if theme in THEMES:
            cookies.append(f"{THEME_COOKIE}={theme}; {self._cookie}")
        return tuple(line.encode() for line in cookies)


def add_cookies_and_make_page_private(
    cookies: Iterable[bytes], headers: list[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    """Add cookies to the headers of a page, which thereby becomes private to one reader.

    Parameters
    ----------
    cookies
        Values of ``Set-Cookie``.
    headers
        ASGI headers of the answer; those of other media types than HTML are returned unchanged.

    Returns
    -------
    headers
        The headers with the cookies; caching is private.
    """
    if not any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
        return headers
    private_headers = []
    for name, value in headers:
        private_value = value
        if name == b"cache-control":
            private_value = value.replace(b"public", b"private")
        private_headers.append((name, private_value))
    return [*private_headers, *((b"set-cookie", cookie) for cookie in cookies)]
