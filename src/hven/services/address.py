"""Addresses as the reader sees them: public URL, reverse proxy, root path; and the tables that addresses name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.adql.tree import Ident
from hven.model.errors import NotFound, nearest
from hven.site.auth.session import cookie, foreign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import HTTPConnection

    from hven.model.settings import Portal, Settings
    from hven.model.table import Table
    from hven.site import Catalogue

SIGNS = "%:/?#[]@!$&'()*+,;=~"  # what an address has besides letters and digits
PORTAL = "hven.portal"  # in a request: the portal that it came to
LOCAL = {"127.0.0.1", "::1"}
_HOST = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)  # RFC 3986 section 3.2.2, without escapes
# of a collection's file, or of what is made of it by `files`, `previews`, `cubes`, `keywords` and `conversions`: collection, what, path
FILE = r"/collections/(?P<collection>[^/?#]+)/(?P<what>files|preview|cube|headers|as/[^/?#]+)/(?P<path>[^?#]+)"
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def base(request: HTTPConnection, settings: Settings) -> str:
    """Return the address that everything here is below, without a final slash: that of the portal to which a request came, else of the site.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    portal: Portal | None = request.scope.get(PORTAL)
    return f"{door(request, settings)}{portal.path or '' if portal else ''}"


def door(request: HTTPConnection, settings: Settings) -> str:
    """Return the address of the site at the host that was asked, without a final slash: a portal may have a host of its own.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    portal: Portal | None = request.scope.get(PORTAL)
    site = home(request, settings)
    return (
        f"{site.partition('://')[0]}://{portal.host}{settings.root_path.rstrip('/')}"
        if portal and portal.host
        else site
    )


def home(request: HTTPConnection, settings: Settings) -> str:
    """Return the address of the site itself, without a final slash: the public URL, or what the request says of itself, if that can be a host.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        host = f"{settings.host}:{settings.port}"
    return f"{request.url.scheme}://{host}{settings.root_path.rstrip('/')}"


def from_elsewhere(request: HTTPConnection, settings: Settings) -> bool:
    """Return whether a page of another site makes a browser send this.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    origin = "/".join(door(request, settings).lower().split("/")[:3])
    host = request.headers.get("host", "").lower()
    return foreign(request.scope["method"], request.headers, {origin, f"https://{host}", f"http://{host}"})


def secure(request: HTTPConnection, settings: Settings) -> bool:
    """Return whether cookies may travel by https alone, as a proxy before us says.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    told = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return home(request, settings).startswith("https:") or told == "https"


def keeping(request: HTTPConnection, settings: Settings, proof: str | None, below: str = "", **more: Any) -> str:
    """Serialize the header Set-Cookie of what proves who asks.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    proof
        A secret; None ends it.
    below
        Path that it is for, below the site's.
    **more
        Name and seconds: as for `hven.site.auth.session.cookie`.

    Returns
    -------
    header
        Its value.
    """
    host, domain = request.headers.get("host", "").partition(":")[0].lower(), (settings.login.domain or "").lower()
    more["domain"] = domain if f".{host}".endswith(f".{domain}") else ""
    return cookie(proof, path=settings.root_path + below, secure=secure(request, settings), **more)


def bases(request: HTTPConnection, settings: Settings) -> list[str]:
    """Return all addresses that the site has for this reader, without a final slash: as it calls itself, and as it was asked.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    here = f"{request.headers.get('host', '')}{settings.root_path.rstrip('/')}"
    return list(dict.fromkeys([home(request, settings), settings.url, f"http://{here}", f"https://{here}"]))


def caller(request: HTTPConnection) -> str:
    """Return the address of whoever asks; of a proxy on this machine, what it says of its client.

    Parameters
    ----------
    request
        Of a reader.
    """
    address = request.client.host if request.client else ""
    told = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return told[:64] if told and address in LOCAL else address


def table_named(text: str, catalogue: Catalogue) -> Table:
    """Find the table that an address names.

    Parameters
    ----------
    text
        ``schema.table``, quoted as in a query where that is needed.
    catalogue
        What the reader may know of.

    Returns
    -------
    table
        One of it.

    Raises
    ------
    NotFound
        There is none that this reader may know of.
    """
    parts = _parts(text)
    found = catalogue.find(parts) if len(parts) == 2 else []
    if len(found) == 1:
        return found[0]
    remedy = nearest(text, catalogue.names()) or "the site's first page lists them"
    raise NotFound(f"no table {text!r} here", remedy=remedy)


def _parts(text: str) -> Sequence[Ident]:
    return [
        Ident(match.group(2)) if match.group(1) is None else Ident(match.group(1).replace('""', '"'), quoted=True)
        for match in _PART.finditer(text)
    ]
