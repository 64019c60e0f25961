"""Cookies as proof of who asks: how they are written and read, when they are not believed, and how often one may try to log in."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

COOKIE = "hven_session"
VISITOR = "hven_visitor"  # of a browser without an account: its own jobs
YEAR = 365 * 86400
SECONDS = 14 * 86400.0  # that a session lasts
SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}  # RFC 9110 section 9.2.1
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
TRIES, WINDOW = 10, 60.0  # failures of one address in so many seconds, in one process; a token's 256 bits are the true wall
ADDRESSES = 10_000


def proof_of(headers: Mapping[str, str]) -> str | None:
    """Find the session in a request's headers (RFC 6265 section 4.2)."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and value:
            return value.strip('"')
    return None


def cookie(proof: str | None, *, path: str, secure: bool) -> str:
    """Write the header Set-Cookie; None ends the session.

    Scripts cannot read it (HttpOnly), pages elsewhere cannot post with it (SameSite=Lax), and behind https it never goes over plain http.
    """
    age = round(SECONDS) if proof is not None else 0
    return f"{COOKIE}={proof or ''}; Path={path or '/'}; Max-Age={age}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"


def visitor_of(headers: Mapping[str, str]) -> str:
    """Find out which visitor without an account asks: a hash of the cookie, as the store keeps it; empty if there is none."""
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == VISITOR and _TOKEN.fullmatch(value):
            return hashlib.sha256(value.encode()).hexdigest()
    return ""


def visit(*, path: str, secure: bool) -> tuple[str, str]:
    """Make a new visitor: the header Set-Cookie, and what `visitor_of` will give for it. Nobody can guess it, no script can read it."""
    token = secrets.token_urlsafe(32)
    header = f"{VISITOR}={token}; Path={path or '/'}; Max-Age={YEAR}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
    return header, hashlib.sha256(token.encode()).hexdigest()


def foreign(method: str, headers: Mapping[str, str], trusted: Collection[str]) -> bool:
    """Tell whether a page of somebody else makes a browser send a request that changes something: its cookies then prove nothing.

    Parameters
    ----------
    trusted
        Origins, ``https://vo.example.org``, whose pages may act for the reader: the site's own, and those that it names.
    """
    if method in SAFE:
        return False
    origin = headers.get("origin")
    if origin is not None and origin.lower() in trusted:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    return origin is not None  # programs send neither header, browsers of the last ten years one at least


class Attempts:
    """Counts failures of each address. Thread-safe."""

    def __init__(self) -> None:
        self._failed: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def allowed(self, address: str) -> bool:
        """Say whether it may try; not if it has failed too often of late."""
        with self._lock:
            return len(self._recent(address)) < TRIES

    def failed(self, address: str) -> None:
        """Count one."""
        with self._lock:
            recent = self._recent(address)
            if len(self._failed) >= ADDRESSES:
                self._failed.clear()
            self._failed[address] = [*recent, time.monotonic()]

    def _recent(self, address: str) -> list[float]:
        since = time.monotonic() - WINDOW
        found = [moment for moment in self._failed.pop(address, ()) if moment > since]
        if found:
            self._failed[address] = found
        return found
