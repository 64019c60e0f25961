"""Cookies as proof of who asks.

How they are written and read, when they are not believed, and how much later each failure is told.
"""

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

    from hven.site.store import StateStore

SESSION_COOKIE = "hven_session"
VISITOR_COOKIE = "hven_visitor"  # of a browser without an account: its own jobs
YEAR_SECONDS = 365 * 86400
SESSION_SECONDS = 14 * 86400.0  # that a session lasts
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}  # RFC 9110 section 9.2.1
_VISITOR_TOKEN_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")
FREE_ACCOUNT_FAILURES, FREE_ADDRESS_FAILURES = (
    5,
    20,
)  # failures for one account, and of one address (or of one address by one token), that are told at once
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = (
    0.5,
    8.0,
)  # seconds that the next one is told later, twice as long each time, and at most
FAILURE_WINDOW_SECONDS = 600.0  # seconds without a failure after which all are forgotten
MAX_DELAYED_ANSWERS = 4  # answers to one address about one account that are held back at once: others are not looked at
MAX_TRACKED_KEYS = 20_000  # addresses and accounts


def find_session_cookie(headers: Mapping[str, str], cookie_name: str = SESSION_COOKIE) -> str | None:
    """Find the session in a request's headers (RFC 6265, 4.2).

    Parameters
    ----------
    headers
        Names in lower case.
    cookie_name
        Its name.

    Returns
    -------
    proof
        None if there is none.
    """
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == cookie_name and value:
            return value.strip('"')
    return None


def format_session_cookie(
    secret: str | None,
    *,
    path: str,
    secure: bool,
    cookie_name: str = SESSION_COOKIE,
    max_age_seconds: float = SESSION_SECONDS,
    domain: str = "",
) -> str:
    """Serialize the header Set-Cookie of a session, or of what is as secret.

    Scripts cannot read it (HttpOnly), pages elsewhere cannot post with it (SameSite=Lax), and behind https it never
    goes over plain http.

    Parameters
    ----------
    secret
        Of the session; None ends it.
    path
        Of the site.
    secure
        The site is behind https.
    cookie_name, max_age_seconds
        Of the cookie.
    domain
        To whose hosts it goes, too; empty: to the one that gave it alone.

    Returns
    -------
    header
        Its value.
    """
    if domain:
        domain_attribute = f"; Domain={domain}"
    else:
        domain_attribute = ""
    if secret is not None:
        age = round(max_age_seconds)
    else:
        age = 0
    return (
        f"{cookie_name}={quote(secret or '')}; Path={path or '/'}{domain_attribute}; Max-Age={age}; HttpOnly; "
        f"SameSite=Lax{'; Secure' if secure else ''}"
    )


def identify_visitor(headers: Mapping[str, str]) -> str:
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
        if name == VISITOR_COOKIE and _VISITOR_TOKEN_PATTERN.fullmatch(value):
            return hashlib.sha256(value.encode()).hexdigest()
    return ""


def create_visitor_cookie(*, path: str, secure: bool) -> tuple[str, str]:
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
        What `identify_visitor` will return for it.
    """
    token = secrets.token_urlsafe(32)
    header = (
        f"{VISITOR_COOKIE}={token}; Path={path or '/'}; Max-Age={YEAR_SECONDS}; HttpOnly; "
        f"SameSite=Lax{'; Secure' if secure else ''}"
    )
    return header, hashlib.sha256(token.encode()).hexdigest()


def is_cross_site_change(method: str, headers: Mapping[str, str], trusted_origins: Collection[str]) -> bool:
    """Return whether a page of somebody else makes a browser send a request that changes something.

    Its cookies then prove nothing.

    Parameters
    ----------
    method
        Of HTTP.
    headers
        Names in lower case.
    trusted_origins
        Origins, ``https://vo.example.org``, whose pages may act for the reader: the site's own, and those that it
        names.
    """
    if method in SAFE_METHODS:
        return False
    origin = headers.get("origin")
    if origin is not None and origin.lower() in trusted_origins:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    return origin is not None  # programs send neither header, browsers of the last ten years one at least


class LoginAttempts:
    """Counts failures of each address and for each account, in one process, and says how much later each is told.

    Thread-safe.

    Passwords can be guessed: their failures are counted for the account, wherever they come from, and for the address,
    whatever it tries. Tokens and sessions have 256 random bits and cannot: their failures are counted for the address
    and the token together, and for nothing else.
    """

    def __init__(self, get_time: Callable[[], float] = time.monotonic) -> None:
        self._get_time = get_time
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # how often, and when last
        self._delayed_answers: Counter[tuple[str, str]] = (
            Counter()
        )  # answers that are held back, by address and account
        self._lock = threading.Lock()

    def is_attempt_allowed(self, address: str, account: str) -> bool:
        """Return whether a password is looked at.

        Not while the answers to many wrong ones of this address for this account are held back.

        Parameters
        ----------
        address
            As `hven.services.find_client_network` returns it.
        account
            The one that is claimed.
        """
        return self._delayed_answers[address, account] < MAX_DELAYED_ANSWERS

    def count_failure(self, address: str, account: str, *, guessable: bool = True) -> float:
        """Count a failure; its answer is held back, then `count_answer` is called.

        Parameters
        ----------
        address, account
            As for `is_attempt_allowed`.
        guessable
            It may have been a password; False: a token alone.

        Returns
        -------
        pause
            Seconds to hold the answer back.
        """
        with self._lock:
            if guessable:
                delay = self._compute_delay(("address", address), FREE_ADDRESS_FAILURES)
                pause = max(
                    delay,
                    self._compute_delay(("account", account), FREE_ACCOUNT_FAILURES),
                )
            else:
                pause = self._compute_delay((address, account), FREE_ADDRESS_FAILURES)
            self._delayed_answers[address, account] += 1
        return pause

    def count_answer(self, address: str, account: str) -> None:
        """Count that the answer to a failure leaves.

        Parameters
        ----------
        address, account
            As for `is_attempt_allowed`.
        """
        with self._lock:
            self._delayed_answers[address, account] -= 1
            self._delayed_answers += Counter()  # none is kept of which there is none

    def _compute_delay(self, key: tuple[str, str], free_failures: int) -> float:
        current_time = self._get_time()
        failure_count, last_time = self._failures.pop(key, (0, current_time))
        if current_time - last_time < FAILURE_WINDOW_SECONDS:
            failure_count = failure_count + 1
        else:
            failure_count = 1
        self._failures[key] = failure_count, current_time
        while (
            len(self._failures) > MAX_TRACKED_KEYS
            or current_time - next(iter(self._failures.values()))[1] > FAILURE_WINDOW_SECONDS
        ):
            self._failures.popitem(last=False)
        if failure_count <= free_failures:
            return 0.0
        return float(min(FIRST_DELAY_SECONDS * 2.0 ** min(failure_count - free_failures - 1, 30), MAX_DELAY_SECONDS))


_ATTEMPTS_BY_STORE: WeakKeyDictionary[StateStore, LoginAttempts] = WeakKeyDictionary()


def get_login_attempts(store: StateStore) -> LoginAttempts:
    """Return the attempts to log in to a site, of this process.

    Parameters
    ----------
    store
        Of the site.
    """
    return _ATTEMPTS_BY_STORE.setdefault(store, LoginAttempts())
