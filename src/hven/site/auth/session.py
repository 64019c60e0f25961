"""Cookies as proof of who asks: how they are written and read, when they are not believed, and how much later each failure is told."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING
from urllib.parse import quote
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from hven.site.store import Store

COOKIE = "hven_session"
VISITOR = "hven_visitor"  # of a browser without an account: its own jobs
YEAR = 365 * 86400
SECONDS = 14 * 86400.0  # that a session lasts
SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}  # RFC 9110 section 9.2.1
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
FREE, CROWD = (
    5,
    20,
)  # failures for one account, and of one address (or of one address by one token), that are told at once
FIRST, LONGEST = 0.5, 8.0  # seconds that the next one is told later, twice as long each time, and at most
WINDOW = 600.0  # seconds without a failure after which all are forgotten
HELD = 4  # answers to one address about one account that are held back at once: others are not looked at
KEPT = 20_000  # addresses and accounts


def proof_of(headers: Mapping[str, str], cookie: str = COOKIE) -> str | None:
    """Find the session in a request's headers (RFC 6265, 4.2).

    Parameters
    ----------
    headers
        Names in lower case.
    cookie
        Its name.

    Returns
    -------
    proof
        None if there is none.
    """
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == cookie and value:
            return value.strip('"')
    return None


def cookie(
    proof: str | None, *, path: str, secure: bool, name: str = COOKIE, seconds: float = SECONDS, domain: str = ""
) -> str:
    """Serialize the header Set-Cookie of a session, or of what is as secret.

    Scripts cannot read it (HttpOnly), pages elsewhere cannot post with it (SameSite=Lax), and behind https it never goes over plain http.

    Parameters
    ----------
    proof
        Of the session; None ends it.
    path
        Of the site.
    secure
        The site is behind https.
    name, seconds
        Of the cookie.
    domain
        To whose hosts it goes, too; empty: to the one that gave it alone.

    Returns
    -------
    header
        Its value.
    """
    below = f"; Domain={domain}" if domain else ""
    age = round(seconds) if proof is not None else 0
    return f"{name}={quote(proof or '')}; Path={path or '/'}{below}; Max-Age={age}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"


def visitor_of(headers: Mapping[str, str]) -> str:
    """Identify which visitor without an account asks.

    Parameters
    ----------
    headers
        Names in lower case.

    Returns
    -------
    visitor
        A hash of the cookie, as the store keeps it; empty if there is none.
    """
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == VISITOR and _TOKEN.fullmatch(value):
            return hashlib.sha256(value.encode()).hexdigest()
    return ""


def visit(*, path: str, secure: bool) -> tuple[str, str]:
    """Create a visitor. Nobody can guess it, no script can read it.

    Parameters
    ----------
    path
        Of the site.
    secure
        The site is behind https.

    Returns
    -------
    header
        Set-Cookie.
    visitor
        What `visitor_of` will return for it.
    """
    token = secrets.token_urlsafe(32)
    header = (
        f"{VISITOR}={token}; Path={path or '/'}; Max-Age={YEAR}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
    )
    return header, hashlib.sha256(token.encode()).hexdigest()


def foreign(method: str, headers: Mapping[str, str], trusted: Collection[str]) -> bool:
    """Return whether a page of somebody else makes a browser send a request that changes something: its cookies then prove nothing.

    Parameters
    ----------
    method
        Of HTTP.
    headers
        Names in lower case.
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
    """Counts failures of each address and for each account, in one process, and says how much later each is told. Thread-safe.

    Passwords can be guessed: their failures are counted for the account, wherever they come from, and for the address, whatever it tries. Tokens and
    sessions have 256 random bits and cannot: their failures are counted for the address and the token together, and for nothing else.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # how often, and when last
        self._held: Counter[tuple[str, str]] = Counter()  # answers that are held back, by address and account
        self._lock = threading.Lock()

    def allowed(self, address: str, account: str) -> bool:
        """Return whether a password is looked at; not while the answers to many wrong ones of this address for this account are held back.

        Parameters
        ----------
        address
            As `hven.services.network` returns it.
        account
            The one that is claimed.
        """
        return self._held[address, account] < HELD

    def failed(self, address: str, account: str, *, guessable: bool = True) -> float:
        """Count a failure; its answer is held back, then `answered` is called.

        Parameters
        ----------
        address, account
            As for `allowed`.
        guessable
            It may have been a password; False: a token alone.

        Returns
        -------
        pause
            Seconds to hold the answer back.
        """
        with self._lock:
            if guessable:
                pause = max(self._pause(("address", address), CROWD), self._pause(("account", account), FREE))
            else:
                pause = self._pause((address, account), CROWD)
            self._held[address, account] += 1
        return pause

    def answered(self, address: str, account: str) -> None:
        """Count that the answer to a failure leaves.

        Parameters
        ----------
        address, account
            As for `allowed`.
        """
        with self._lock:
            self._held[address, account] -= 1
            self._held += Counter()  # none is kept of which there is none

    def _pause(self, key: tuple[str, str], free: int) -> float:
        moment = self._clock()
        times, last = self._failed.pop(key, (0, moment))
        times = times + 1 if moment - last < WINDOW else 1
        self._failed[key] = times, moment
        while len(self._failed) > KEPT or moment - next(iter(self._failed.values()))[1] > WINDOW:
            self._failed.popitem(last=False)
        return 0.0 if times <= free else float(min(FIRST * 2.0 ** min(times - free - 1, 30), LONGEST))


_attempts: WeakKeyDictionary[Store, Attempts] = WeakKeyDictionary()


def attempts_of(store: Store) -> Attempts:
    """Return the attempts to log in to a site, of this process.

    Parameters
    ----------
    store
        Of the site.
    """
    return _attempts.setdefault(store, Attempts())
