"""Signed addresses: for some minutes, one address answers as one reader, for programs that have no cookie of the site.

The rights of that reader are read at each request: what the reader may no longer see, the address no longer shows.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from hven.model.errors import ForbiddenError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from hven.site.auth._access_control import Principal
    from hven.site.store import StateStore

SIGNATURE_PARAMETER = "hven-signed"
MAX_VALIDITY_SECONDS = 86_400.0  # seconds; one that says more was signed while the clock was ahead
READ_METHODS = {"GET", "HEAD"}


def create_url_signer(
    store: StateStore, principal: Principal, base_urls: Collection[str], validity_minutes: float
) -> Callable[[str], str] | None:
    """Return what signs addresses of the site for a reader, and leaves others as they are.

    None: nobody is logged in, or not by an account of the site.

    Parameters
    ----------
    store
        Of the site.
    principal
        The reader.
    base_urls
        Addresses of the site, without a final slash.
    validity_minutes
        That the addresses last, in minutes.

    Returns
    -------
    sign
        Of an address.
    """
    if principal.name is None:
        key = None
    else:
        key = store.sessions.derive_signing_key(principal.name)
    if key is None or principal.name is None:
        return None
    encoded_name, expiry_timestamp = _encode_base64(principal.name.encode()), int(time.time() + 60 * validity_minutes)

    def sign_url(url: str) -> str:
        url_path, _, query = url.partition("#")[0].partition("?")
        root = next((base for base in base_urls if url_path.startswith(f"{base}/")), None)
        if root is None:
            return url
        query = remove_signature(query.encode())[0].decode()
        signature = _compute_signature(key, expiry_timestamp, unquote(url_path.removeprefix(root)), query)
        separator = "&" if query else ""
        signature_value = f"{expiry_timestamp}.{encoded_name}.{signature}"
        return f"{url_path}?{query}{separator}{SIGNATURE_PARAMETER}={signature_value}"

    return sign_url


def remove_signature(query: bytes) -> tuple[bytes, str | None]:
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
    if SIGNATURE_PARAMETER.encode() not in unquote_to_bytes(query.lower()):
        return query, None
    parts = [(unquote(part.decode("latin-1")).partition("="), part) for part in query.split(b"&")]
    signatures = [value for (name, _, value), _ in parts if name.lower() == SIGNATURE_PARAMETER]
    return b"&".join(part for (name, _, _), part in parts if name.lower() != SIGNATURE_PARAMETER), signatures[
        0
    ] if signatures else None


def verify_signed_address(store: StateStore, method: str, path: str, query: str, signature_text: str) -> str:
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
    signature_text
        The signature.

    Raises
    ------
    ForbiddenError
        It is no signature of ours for this, or its time is over, or the account has gone.
    """
    if method not in READ_METHODS:
        raise ForbiddenError("a signed address can be read, and nothing else", remedy="send a token with the request")
    expiry_text, _, signed_part = signature_text.partition(".")
    encoded_name, _, signature = signed_part.partition(".")
    try:
        name = urlsafe_b64decode(encoded_name + "=" * (-len(encoded_name) % 4)).decode()
        expiry_timestamp = int(expiry_text)
    except ValueError:
        name, expiry_timestamp = "", 0
    key = store.sessions.derive_signing_key(name)
    expected_signature = _compute_signature(key or b"nobody", expiry_timestamp, path, query)
    if not hmac.compare_digest(expected_signature.encode(), signature.encode("utf-8", "replace")) or key is None:
        raise ForbiddenError(
            "this address is not signed by this site for what it asks, or the account was changed since",
            remedy="take it again, whole, from the page that gave it",
        )
    remaining_seconds = expiry_timestamp - time.time()
    if not 0 < remaining_seconds <= MAX_VALIDITY_SECONDS:
        raise ForbiddenError(
            format_message(
                "this signed address was good until {moment}",
                f"{datetime.fromtimestamp(expiry_timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC",
            ),
            remedy="log in, and send it, or copy it, again",
        )
    return name


def set_private_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer to a signed address: nobody keeps it, and nobody is told of the address.

    Parameters
    ----------
    headers
        Of the answer (ASGI).
    """
    private_headers = [(b"cache-control", b"private, no-store"), (b"referrer-policy", b"no-referrer")]
    return [*(pair for pair in headers if pair[0].lower() not in dict(private_headers)), *private_headers]


def _compute_signature(key: bytes, expiry_timestamp: int, path: str, query: str) -> str:
    """Sign the decoded request: programs may write the same address with other escapes or in another order."""
    qsl = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    pairs = sorted(qsl, key=lambda pair: pair[0])
    message = repr((expiry_timestamp, path or "/", pairs)).encode("utf-8", "surrogatepass")
    return _encode_base64(hmac.digest(key, message, hashlib.sha256))


def _encode_base64(signature: bytes) -> str:
    return urlsafe_b64encode(signature).decode().rstrip("=")
