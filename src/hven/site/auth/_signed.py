"""Signed addresses: one address, one reader, some minutes, for programs that are given an address and have no cookie of ours.

Who asks by one is asked for as that reader, at that moment: what they may not see any more, it does not show.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from hven.model.errors import Forbidden, say

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from hven.site.auth._permit import Reader
    from hven.site.store import Store

PARAMETER = "hven-signed"
LONGEST = 86_400.0  # seconds; one that says more was signed while the clock was ahead
READING = {"GET", "HEAD"}


def signer(store: Store, who: Reader, bases: Collection[str], minutes: float) -> Callable[[str], str] | None:
    """Return what signs addresses of the site for a reader, and leaves others as they are; None: nobody is logged in, or not by an account of the site.

    Parameters
    ----------
    store
        Of the site.
    who
        The reader.
    bases
        Addresses of the site, without a final slash.
    minutes
        That the addresses last, in minutes.

    Returns
    -------
    sign
        Of an address.
    """
    key = None if who.name is None else store.sessions.key_of(who.name)
    if key is None or who.name is None:
        return None
    name, until = _text(who.name.encode()), int(time.time() + 60 * minutes)

    def sign(url: str) -> str:
        place, _, query = url.partition("#")[0].partition("?")
        root = next((base for base in bases if place.startswith(f"{base}/")), None)
        if root is None:
            return url
        query = without(query.encode())[0].decode()
        signature = _signature(key, until, unquote(place.removeprefix(root)), query)
        return f"{place}?{query}{'&' if query else ''}{PARAMETER}={until}.{name}.{signature}"

    return sign


def without(query: bytes) -> tuple[bytes, str | None]:
    """Take the signature out of the query of an address.

    Parameters
    ----------
    query
        As it was asked for.

    Returns
    -------
    query
        The rest.
    signature
        None: there is none.
    """
    if PARAMETER.encode() not in unquote_to_bytes(query.lower()):
        return query, None
    parts = [(unquote(part.decode("latin-1")).partition("="), part) for part in query.split(b"&")]
    found = [value for (name, _, value), _ in parts if name.lower() == PARAMETER]
    return b"&".join(part for (name, _, _), part in parts if name.lower() != PARAMETER), found[0] if found else None


def opened(store: Store, method: str, path: str, query: str, given: str) -> str:
    """Return the account for which an address was signed.

    Parameters
    ----------
    store
        Of the site.
    method
        Of HTTP.
    path
        Below the site's address, decoded.
    query
        Without the signature.
    given
        The signature.

    Raises
    ------
    Forbidden
        It is no signature of ours for this, or its time is over, or the account has gone.
    """
    if method not in READING:
        raise Forbidden("a signed address can be read, and nothing else", remedy="send a token with the request")
    moment, _, rest = given.partition(".")
    text, _, signature = rest.partition(".")
    try:
        name, until = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode(), int(moment)
    except ValueError:
        name, until = "", 0
    key = store.sessions.key_of(name)
    right = _signature(key or b"nobody", until, path, query)
    if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")) or key is None:
        raise Forbidden(
            "this address is not signed by this site for what it asks, or the account was changed since",
            remedy="take it again, whole, from the page that gave it",
        )
    left = until - time.time()
    if not 0 < left <= LONGEST:
        raise Forbidden(
            say(
                "this signed address was good until {moment}",
                f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC",
            ),
            remedy="log in, and send it, or copy it, again",
        )
    return name


def unshared(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer to a signed address: nobody keeps it, and nobody is told of the address.

    Parameters
    ----------
    headers
        Of the answer (ASGI).
    """
    ours = [(b"cache-control", b"private, no-store"), (b"referrer-policy", b"no-referrer")]
    return [*(pair for pair in headers if pair[0].lower() not in dict(ours)), *ours]


def _signature(key: bytes, until: int, path: str, query: str) -> str:
    """Sign what is asked for: programs may write the same address otherwise, in other escapes or another order of names."""
    pairs = sorted(parse_qsl(query, keep_blank_values=True, encoding="latin-1"), key=lambda pair: pair[0])
    message = repr((until, path or "/", pairs)).encode("utf-8", "surrogatepass")
    return _text(hmac.digest(key, message, hashlib.sha256))


def _text(found: bytes) -> str:
    return urlsafe_b64encode(found).decode().rstrip("=")
