"""Signed addresses: for some minutes, one address answers as to one user, for programs without a cookie of the site.

The rights of that user are read at each request: what the user may no longer see, the address no longer shows.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from hven.model.errors import ForbiddenError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from hven.site.auth._access_control import Principal
    from hven.site.store import StateStore

SIGNATURE_PARAMETER = "hven-signed"
MAX_VALIDITY_SECONDS = 86_400.0  # an address that is valid for longer was signed while the clock was ahead
READ_METHODS = {"GET", "HEAD"}
# any character may be escaped
_SIGNATURE_NAME_PATTERN = re.compile(
    "".join(f"(?:{letter}|%{ord(letter):x}|%{ord(letter.upper()):x})" for letter in SIGNATURE_PARAMETER).encode(),
    re.IGNORECASE,
)


def create_url_signer(
    store: StateStore, principal: Principal, base_urls: Collection[str], validity_minutes: float
) -> Callable[[str], str] | None:
    """Return a function that signs addresses of the site for a user, and leaves other addresses as they are.

    Return None if nobody is logged in, or not with an account of the site.

    Parameters
    ----------
    store
        Store of the site.
    principal
        The user.
    base_urls
        Addresses of the site, without a final slash.
    validity_minutes
        Minutes that the addresses are valid.

    Returns
    -------
    sign
        Takes an address, and returns it signed.
    """
    key = None
    if principal.name is not None:
        key = store.sessions.derive_signing_key(principal.name)
    if key is None or principal.name is None:
        return None
    encoded_name = _encode_base64(principal.name.encode())
    expiry_timestamp = int(time.time() + 60 * validity_minutes)

    def sign_url(url: str) -> str:
        url_path, _, query = url.partition("#")[0].partition("?")
        base_url = next((base_url for base_url in base_urls if url_path.startswith(f"{base_url}/")), None)
        if base_url is None:
            return url
        query = split_signature_from_query(query.encode())[0].decode()
        signature = _compute_signature(key, expiry_timestamp, unquote(url_path.removeprefix(base_url)), query)
        separator = "&" if query else ""
        signature_value = f"{expiry_timestamp}.{encoded_name}.{signature}"
        return f"{url_path}?{query}{separator}{SIGNATURE_PARAMETER}={signature_value}"

    return sign_url


def split_signature_from_query(query: bytes) -> tuple[bytes, str | None]:
    """Remove the signature from the query of an address.

    Parameters
    ----------
    query
        The query as it was requested.

    Returns
    -------
    query
        The query without the signature.
    signature
        None: there is none.
    """
    if not _SIGNATURE_NAME_PATTERN.search(query):
        return query, None
    other_parts: list[bytes] = []
    signatures: list[str] = []
    for part in query.split(b"&"):
        name, _, parameter_value = unquote(part.decode("latin-1")).partition("=")
        if name.lower() == SIGNATURE_PARAMETER:
            signatures.append(parameter_value)
        else:
            other_parts.append(part)
    return b"&".join(other_parts), signatures[0] if signatures else None


def verify_signature_and_find_account(
    store: StateStore, method: str, path: str, query: str, signature_text: str
) -> str:
    """Return the account for which an address was signed.

    Parameters
    ----------
    store
        Store of the site.
    method
        HTTP method.
    path
        Path below the site's address, decoded.
    query
        Query without the signature.
    signature_text
        The signature.

    Raises
    ------
    ForbiddenError
        The signature is not ours or not for this address, its time is over, or the account is gone.
    """
    if method not in READ_METHODS:
        raise ForbiddenError("a signed address is read-only", remedy="send a token with the request")
    expiry_text, _, signed_part = signature_text.partition(".")
    encoded_name, _, signature = signed_part.partition(".")
    padding = "=" * (-len(encoded_name) % 4)
    try:
        name = urlsafe_b64decode(encoded_name + padding).decode()
        expiry_timestamp = int(expiry_text)
    except ValueError:
        name, expiry_timestamp = "", 0
    key = store.sessions.derive_signing_key(name)
    expected_signature = _compute_signature(key or b"nobody", expiry_timestamp, path, query)
    is_match = hmac.compare_digest(expected_signature.encode(), signature.encode("utf-8", "replace"))
    if not is_match or key is None:
        raise ForbiddenError(
            "the signature of this address is not valid, or the account has changed since the address was signed",
            remedy="copy the whole address again from the page that shows it",
        )
    remaining_seconds = expiry_timestamp - time.time()
    if not 0 < remaining_seconds <= MAX_VALIDITY_SECONDS:
        expiry_text = f"{datetime.fromtimestamp(expiry_timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"
        message = format_message("this signed address expired at {moment}", expiry_text)
        raise ForbiddenError(message, remedy="log in, and make a new signed address")
    return name


def with_private_response_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer to a signed address: no cache keeps the answer, and no site learns the address.

    Parameters
    ----------
    headers
        Headers of the answer (ASGI).
    """
    private_headers = [(b"cache-control", b"private, no-store"), (b"referrer-policy", b"no-referrer")]
    private_names = dict(private_headers)
    other_headers = [(name, text) for name, text in headers if name.lower() not in private_names]
    return [*other_headers, *private_headers]


def _compute_signature(key: bytes, expiry_timestamp: int, path: str, query: str) -> str:
    """Sign the decoded request: programs may write the same address with other escapes or in another order."""
    parameters = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    sorted_parameters = sorted(parameters, key=lambda pair: pair[0])
    message = repr((expiry_timestamp, path or "/", sorted_parameters)).encode("utf-8", "surrogatepass")
    return _encode_base64(hmac.digest(key, message, hashlib.sha256))


def _encode_base64(signature: bytes) -> str:
    return urlsafe_b64encode(signature).decode().rstrip("=")
