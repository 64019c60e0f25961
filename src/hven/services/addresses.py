"""Addresses as the reader sees them: public URL, reverse proxy, root path; and the tables that addresses name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import Ident
from hven.model.errors import NotFoundError, suggest_spelling
from hven.site.auth.session import format_session_cookie, is_cross_site_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import HTTPConnection

    from hven.model.settings import Portal, Settings
    from hven.model.table import Table
    from hven.site import Catalogue

ADDRESS_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"  # what an address has besides letters and digits
PORTAL_SCOPE_KEY = "hven.portal"  # in a request: the portal that it came to
LOOPBACK_ADDRESSES = {"127.0.0.1", "::1"}
_HOST_PATTERN = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)  # RFC 3986 section 3.2.2, without escapes
# of a collection's file, or of what is made of it by `files`, `previews`, `cubes`, `keywords` and `conversions`:
# collection, what, path
FILE_PATH_PATTERN = (
    r"/collections/(?P<collection>[^/?#]+)/(?P<what>files|preview|cube|headers|as/[^/?#]+)/(?P<path>[^?#]+)"
)
_NAME_PART_PATTERN = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def get_base_url(request: HTTPConnection, settings: Settings) -> str:
    """Return the address that everything here is below, without a final slash.

    That of the portal to which a request came, else of the site.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    portal: Portal | None = request.scope.get(PORTAL_SCOPE_KEY)
    return f"{get_host_url(request, settings)}{portal.path or '' if portal else ''}"


def get_host_url(request: HTTPConnection, settings: Settings) -> str:
    """Return the address of the site at the host that was asked, without a final slash.

    A portal may have a host of its own.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    portal: Portal | None = request.scope.get(PORTAL_SCOPE_KEY)
    site = get_site_url(request, settings)
    if portal and portal.host:
        return f"{site.partition('://')[0]}://{portal.host}{settings.root_path.rstrip('/')}"
    return site


def get_site_url(request: HTTPConnection, settings: Settings) -> str:
    """Return the address of the site itself, without a final slash.

    The public URL, or what the request says of itself, if that can be a host.

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
    if not _HOST_PATTERN.fullmatch(host):
        host = f"{settings.host}:{settings.port}"
    return f"{request.url.scheme}://{host}{settings.root_path.rstrip('/')}"


def is_cross_site(request: HTTPConnection, settings: Settings) -> bool:
    """Return whether a page of another site makes a browser send this.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    host_url = get_host_url(request, settings)
    origin = "/".join(host_url.lower().split("/")[:3])
    host = request.headers.get("host", "").lower()
    return is_cross_site_change(request.scope["method"], request.headers, {origin, f"https://{host}", f"http://{host}"})


def is_https(request: HTTPConnection, settings: Settings) -> bool:
    """Return whether cookies may travel by https alone, as a proxy before us says.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    forwarded_protocol = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return get_site_url(request, settings).startswith("https:") or forwarded_protocol == "https"


def build_session_cookie(
    request: HTTPConnection, settings: Settings, proof: str | None, subpath: str = "", **cookie_options: Any
) -> str:
    """Serialize the header Set-Cookie of what proves who asks.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    proof
        A secret; None ends it.
    subpath
        Path that it is for, below the site's.
    **cookie_options
        Name and seconds: as for `hven.site.auth.session.format_session_cookie`.

    Returns
    -------
    header
        Its value.
    """
    host = request.headers.get("host", "").partition(":")[0].lower()
    domain = (settings.login.domain or "").lower()
    if f".{host}".endswith(f".{domain}"):
        cookie_options["domain"] = domain
    else:
        cookie_options["domain"] = ""
    return format_session_cookie(
        proof, path=settings.root_path + subpath, secure=is_https(request, settings), **cookie_options
    )


def list_base_urls(request: HTTPConnection, settings: Settings) -> list[str]:
    """Return all addresses that the site has for this reader, without a final slash.

    As it calls itself, and as it was asked.

    Parameters
    ----------
    request
        Of a reader.
    settings
        Of the site.
    """
    here = f"{request.headers.get('host', '')}{settings.root_path.rstrip('/')}"
    site_url = get_site_url(request, settings)
    return list(dict.fromkeys([site_url, settings.site_url, f"http://{here}", f"https://{here}"]))


def get_client_address(request: HTTPConnection) -> str:
    """Return the address of whoever asks; of a proxy on this machine, what it says of its client.

    Parameters
    ----------
    request
        Of a reader.
    """
    if request.client:
        address = request.client.host
    else:
        address = ""
    forwarded_address = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if forwarded_address and address in LOOPBACK_ADDRESSES:
        return forwarded_address[:64]
    return address


def find_table(text: str, catalogue: Catalogue) -> Table:
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
    NotFoundError
        There is none that this reader may know of.
    """
    parts = _parse_name_parts(text)
    if len(parts) == 2:
        tables = catalogue.find(parts)
    else:
        tables = []
    if len(tables) == 1:
        return tables[0]
    remedy = suggest_spelling(text, catalogue.list_names()) or "the site's first page lists them"
    raise NotFoundError(f"no table {text!r} here", remedy=remedy)


def _parse_name_parts(text: str) -> Sequence[Ident]:
    return [
        Ident(match.group(2)) if match.group(1) is None else Ident(match.group(1).replace('""', '"'), quoted=True)
        for match in _NAME_PART_PATTERN.finditer(text)
    ]
