"""Build the URLs that clients see, behind a public URL, a reverse proxy and a root path, and find tables by address."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import Ident
from hven.model.errors import NotFoundError, suggest_spelling
from hven.site.auth.session import format_session_cookie, is_cross_site_change
from hven.site.server_processes import record_forwarding_peer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import HTTPConnection

    from hven.model.settings import PortalSettings, Settings
    from hven.model.table import Table
    from hven.site import Catalogue

ADDRESS_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"  # characters of an address besides letters, digits and "-._"
PORTAL_SCOPE_KEY = "hven.portal"  # key in a request's scope: the portal to which it came
PRINCIPAL_SCOPE_KEY = "hven.reader"  # the user of a request
PROXIES_SCOPE_KEY = "hven.proxies"  # the setting `trusted_proxies`
# RFC 3986 section 3.2.2, without escapes
_HOST_PATTERN = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
# path of a collection's file, or of what `files`, `previews`, `cubes`, `keywords` and `conversions` derive from it
FILE_PATH_PATTERN = (
    r"/collections/(?P<collection>[^/?#]+)/(?P<what>files|preview|cube|headers|as/[^/?#]+)/(?P<path>[^?#]+)"
)
_NAME_PART_PATTERN = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


def get_base_url(request: HTTPConnection, settings: Settings) -> str:
    """Return the base URL of all addresses in an answer, without a final slash.

    It is the address of the portal to which the request came, else that of the site.

    Parameters
    ----------
    request
        Request of a client.
    settings
        Settings of the site.
    """
    portal: PortalSettings | None = request.scope.get(PORTAL_SCOPE_KEY)
    if portal is None:
        return get_site_url(request, settings)
    return f"{get_host_url(request, settings)}{portal.path or ''}"


def get_host_url(request: HTTPConnection, settings: Settings) -> str:
    """Return the address of the site at the requested host, without a final slash.

    A portal may have a host of its own.

    Parameters
    ----------
    request
        Request of a client.
    settings
        Settings of the site.
    """
    portal: PortalSettings | None = request.scope.get(PORTAL_SCOPE_KEY)
    site_url = get_site_url(request, settings)
    if portal is None or not portal.host:
        return site_url
    scheme = site_url.partition("://")[0]
    return f"{scheme}://{portal.host}{settings.root_path.rstrip('/')}"


def get_site_url(request: HTTPConnection, settings: Settings) -> str:
    """Return the address of the site itself, without a final slash.

    It is the public URL of the settings, else the request's Host if that is a valid host, else host and port of the
    settings.

    Parameters
    ----------
    request
        Request of a client.
    settings
        Settings of the site.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not _HOST_PATTERN.fullmatch(host):
        host = settings.listening_address
    return f"{request.scope.get('scheme', 'http')}://{host}{settings.root_path.rstrip('/')}"


def is_cross_site_change_request(request: HTTPConnection, settings: Settings) -> bool:
    """Return whether a page of another site made the browser send a request that changes something.

    Parameters
    ----------
    request
        Request of a client.
    settings
        Settings of the site.
    """
    host_url = get_host_url(request, settings)
    origin = "/".join(host_url.lower().split("/")[:3])
    host = request.headers.get("host", "").lower()
    own_origins = {origin, f"https://{host}", f"http://{host}"}
    return is_cross_site_change(request.scope["method"], request.headers, own_origins)


def is_https(request: HTTPConnection, settings: Settings) -> bool:
    """Return whether the client uses HTTPS, by the site's address or by the header of a reverse proxy.

    Parameters
    ----------
    request
        Request of a client.
    settings
        Settings of the site.
    """
    forwarded_header = request.headers.get("x-forwarded-proto", "")
    forwarded_protocol = forwarded_header.partition(",")[0].strip().lower()
    return get_site_url(request, settings).startswith("https:") or forwarded_protocol == "https"


def build_session_cookie(
    request: HTTPConnection, settings: Settings, proof: str | None, subpath: str = "", **cookie_options: Any
) -> str:
    """Build the value of the header Set-Cookie that carries a client's proof of identity.

    Parameters
    ----------
    request
        Request of a client.
    settings
        Settings of the site.
    proof
        Secret value of the cookie; None deletes the cookie.
    subpath
        Path below the site's root for which the cookie is valid.
    **cookie_options
        Name and lifetime in seconds, as for `hven.site.auth.session.format_session_cookie`.

    Returns
    -------
    header
        Value of Set-Cookie.
    """
    host = request.headers.get("host", "").partition(":")[0].lower()
    domain = (settings.login.domain or "").lower()
    if f".{host}".endswith(f".{domain}"):
        cookie_options["domain"] = domain
    else:
        cookie_options["domain"] = ""
    path = settings.root_path + subpath
    return format_session_cookie(proof, path=path, is_secure=is_https(request, settings), **cookie_options)


def list_base_urls(request: HTTPConnection, settings: Settings) -> list[str]:
    """Return all addresses of the site that a client may use, without a final slash.

    They are the configured addresses and the one of the request, with both schemes.

    Parameters
    ----------
    request
        Request of a client.
    settings
        Settings of the site.
    """
    here = f"{request.headers.get('host', '')}{settings.root_path.rstrip('/')}"
    site_url = get_site_url(request, settings)
    return list(dict.fromkeys([site_url, settings.site_url, f"http://{here}", f"https://{here}"]))


def get_client_address(request: HTTPConnection) -> str:
    """Return the network address of the client; behind trusted proxies, the one that the first of them names.

    Each proxy adds the address from which it got the request to the end of X-Forwarded-For. Clients can write anything
    in front of that, so the last address that is not a trusted proxy's counts.

    Parameters
    ----------
    request
        Request of a client.
    """
    client = request.scope.get("client")
    address: str = client[0] if client else ""
    headers = [value for name, value in request.scope["headers"] if name == b"x-forwarded-for"]
    if not headers:
        return address
    return _find_forwarded_address(address, b",".join(headers), request.scope.get(PROXIES_SCOPE_KEY, ()))


@lru_cache(maxsize=4096)
def _find_forwarded_address(peer_address: str, header: bytes, proxies: tuple[str, ...]) -> str:
    forwarded_addresses = header[-1000:].decode("latin-1").split(",")
    address = peer_address
    record_forwarding_peer(peer_address, is_trusted=is_in_networks(peer_address, proxies))
    while forwarded_addresses and is_in_networks(address, proxies):
        previous_address = _remove_port(forwarded_addresses.pop().strip())
        if _parse_ip_address(previous_address) is None:
            break
        address = previous_address
    return address


def _remove_port(text: str) -> str:
    """Remove the port behind an address; some proxies write it (Azure, IIS)."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.rpartition(":")
    if port.isdigit() and ":" not in host and host:
        return host
    return text


def is_in_networks(address: str, networks: Sequence[str]) -> bool:
    """Return whether an address is in one of several networks. A client of a Unix socket has no address.

    Parameters
    ----------
    address
        Any text.
    networks
        Networks as ``10.1.0.0/24``.
    """
    parsed_address = _parse_ip_address(address)
    return parsed_address is not None and any(parsed_address in _parse_network(network) for network in networks)


def _parse_ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an IP address; an IPv4 address in IPv6 form becomes IPv4. None: the text is no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


_parse_network = lru_cache(maxsize=1000)(ipaddress.ip_network)


def find_client_network(request: HTTPConnection) -> str:
    """Return the network for which requests are counted: an IPv4 address, or the /64 of an IPv6 one.

    A /64 is what one household has.

    Parameters
    ----------
    request
        Any request.
    """
    address = get_client_address(request)
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, 64), strict=False))
    except ValueError:
        return address


def find_table(qualified_name: str, catalogue: Catalogue) -> Table:
    """Find the table that an address names.

    Parameters
    ----------
    qualified_name
        ``schema.table``, quoted as in a query where a name needs it.
    catalogue
        Tables that the reader may see.

    Returns
    -------
    table
        Table of the catalogue.

    Raises
    ------
    NotFoundError
        The catalogue has no such table.
    """
    parts = _parse_name_parts(qualified_name)
    if len(parts) == 2:
        tables = catalogue.find_tables_by_identifiers(parts)
    else:
        tables = []
    if len(tables) == 1:
        return tables[0]
    remedy = (
        suggest_spelling(qualified_name, catalogue.list_table_names())
        or "see the list of tables on the home page of the site"
    )
    raise NotFoundError(f"there is no table {qualified_name!r} here", remedy=remedy)


def _parse_name_parts(text: str) -> Sequence[Ident]:
    name_parts = []
    for part_match in _NAME_PART_PATTERN.finditer(text):
        quoted_name, plain_name = part_match.groups()
        if quoted_name is None:
            name_parts.append(Ident(plain_name))
        else:
            name_parts.append(Ident(quoted_name.replace('""', '"'), quoted=True))
    return name_parts
