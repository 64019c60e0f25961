"""Cookies that prove who a user is: how they are written and read, and when they are not trusted.

Failed log-ins are counted here, too; each delays the answer to the next one.
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
    from collections.abc import Callable, Collection, Iterator, Mapping

    from hven.site.store import StateStore

SESSION_COOKIE = "hven_session"
VISITOR_COOKIE = "hven_visitor"  # of a browser without an account: it identifies the browser's own jobs
YEAR_SECONDS = 365 * 86400
SESSION_SECONDS = 14 * 86400.0  # duration of a session
SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}  # RFC 9110 section 9.2.1
_VISITOR_TOKEN_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")
# failures for one account, and from one address (or from one address with one token), that are answered at once
FREE_ACCOUNT_FAILURES, FREE_ADDRESS_FAILURES = 5, 20
# delay of the answer to the next failure, which doubles each time, up to a limit
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.5, 8.0
FAILURE_WINDOW_SECONDS = 600.0  # after this time without a failure, all are forgotten
MAX_DELAYED_ANSWERS = 4  # answers to one address about one account that are delayed at once: more are not checked
MAX_TRACKED_KEYS = 20_000  # addresses and accounts


def find_cookie_value(headers: Mapping[str, str], cookie_name: str = SESSION_COOKIE) -> str | None:
    """Find the proof of a session in a request's headers (RFC 6265, 4.2).

    Parameters
    ----------
    headers
        Names in lower case.
    cookie_name
        Name of the cookie.

    Returns
    -------
    proof
        None if there is none.
    """
    for name, cookie_value in _iterate_cookies(headers):
        if name == cookie_name and cookie_value:
            return cookie_value.strip('"')
    return None


def _iterate_cookies(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for part in headers.get("cookie", "").split(";"):
        name, _, cookie_value = part.strip().partition("=")
        yield name, cookie_value


def format_session_cookie(
    secret: str | None,
    *,
    path: str,
    is_secure: bool,
    cookie_name: str = SESSION_COOKIE,
    max_age_seconds: float = SESSION_SECONDS,
    domain: str = "",
) -> str:
    """Serialize the header Set-Cookie of a session, or of another secret.

    Scripts cannot read it (HttpOnly), pages of other sites cannot post with it (SameSite=Lax), and behind https it
    never goes over plain http.

    Parameters
    ----------
    secret
        Secret of the session; None ends it.
    path
        Path of the site.
    is_secure
        Whether the site is behind https.
    cookie_name, max_age_seconds
        Name and life of the cookie.
    domain
        Domain to whose hosts it is sent, too; empty: only to the host that set it.

    Returns
    -------
    header
        Value of the header.
    """
    domain_attribute = f"; Domain={domain}" if domain else ""
    secure_attribute = "; Secure" if is_secure else ""
    max_age = 0
    if secret is not None:
        max_age = round(max_age_seconds)
    return (
        f"{cookie_name}={quote(secret or '')}; Path={path or '/'}{domain_attribute}; Max-Age={max_age}; HttpOnly; "
        f"SameSite=Lax{secure_attribute}"
    )


def compute_visitor_hash(headers: Mapping[str, str]) -> str:
    """Identify a visitor without an account.

    Parameters
    ----------
    headers
        Names in lower case.

    Returns
    -------
    visitor
        A hash of the cookie, as the store keeps it; empty if there is none.
    """
    for name, cookie_value in _iterate_cookies(headers):
        if name == VISITOR_COOKIE and _VISITOR_TOKEN_PATTERN.fullmatch(cookie_value):
            return hashlib.sha256(cookie_value.encode()).hexdigest()
    return ""


def create_visitor_cookie_and_hash(*, path: str, is_secure: bool) -> tuple[str, str]:
    """Create the cookie of a new visitor. Nobody can guess it, and no script can read it.

    Parameters
    ----------
    path
        Path of the site.
    is_secure
        Whether the site is behind https.

    Returns
    -------
    header
        Set-Cookie.
    visitor
        What `compute_visitor_hash` will return for it.
    """
    token = secrets.token_urlsafe(32)
    secure_attribute = "; Secure" if is_secure else ""
    header = (
        f"{VISITOR_COOKIE}={token}; Path={path or '/'}; Max-Age={YEAR_SECONDS}; HttpOnly; "
        f"SameSite=Lax{secure_attribute}"
    )
    return header, hashlib.sha256(token.encode()).hexdigest()


def is_cross_site_change(method: str, headers: Mapping[str, str], trusted_origins: Collection[str]) -> bool:
    """Return whether a page of another site makes a browser send a request that changes something.

    The cookies of such a request prove nothing.

    Parameters
    ----------
    method
        HTTP method.
    headers
        Names in lower case.
    trusted_origins
        Origins, ``https://vo.example.org``, whose pages may act for the user: the site's own, and those in its
        settings.
    """
    if method in SAFE_METHODS:
        return False
    origin = headers.get("origin")
    if origin is not None and origin.lower() in trusted_origins:
        return False
    fetch_site = headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site not in {"same-origin", "none"}
    return origin is not None  # programs send neither header, browsers of the last ten years at least one


class LoginAttempts:
    """Counts failed log-ins by address and by account, in one process, and returns the delay of each answer.

    Thread-safe.

    Passwords can be guessed: their failures are counted for the account, from whatever address they come, and for the
    address, whatever account it tries. Tokens and sessions have 256 random bits and cannot be guessed: their failures
    are counted only for the address and the token together.
    """

    def __init__(self, get_time: Callable[[], float] = time.monotonic) -> None:
        self._get_time = get_time
        # number of failures, and time of the last one
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        # delayed answers by address and account
        self._delayed_answers: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def is_attempt_allowed(self, address: str, account: str) -> bool:
        """Return whether a password may be checked: not while too many answers are delayed.

        Parameters
        ----------
        address
            Result of `hven.services.find_client_network`.
        account
            The account that is claimed.
        """
        return self._delayed_answers[address, account] < MAX_DELAYED_ANSWERS

    def count_failure_and_compute_delay(self, address: str, account: str, *, is_guessable: bool = True) -> float:
        """Count a failure; the caller delays its answer, then calls `end_delayed_answer`.

        Parameters
        ----------
        address, account
            As for `is_attempt_allowed`.
        is_guessable
            Whether it may have been a password; False: a token.

        Returns
        -------
        pause
            Delay of the answer in seconds.
        """
        with self._lock:
            if is_guessable:
                address_delay = self._count_and_compute_delay(("address", address), FREE_ADDRESS_FAILURES)
                account_delay = self._count_and_compute_delay(("account", account), FREE_ACCOUNT_FAILURES)
                delay_seconds = max(address_delay, account_delay)
            else:
                delay_seconds = self._count_and_compute_delay((address, account), FREE_ADDRESS_FAILURES)
            self._delayed_answers[address, account] += 1
        return delay_seconds

    def end_delayed_answer(self, address: str, account: str) -> None:
        """Count that the answer to a failure was sent.

        Parameters
        ----------
        address, account
            As for `is_attempt_allowed`.
        """
        with self._lock:
            self._delayed_answers[address, account] -= 1
            self._delayed_answers += Counter()  # removes entries of zero

    def _count_and_compute_delay(self, key: tuple[str, str], free_failures: int) -> float:
        current_time = self._get_time()
        failure_count, last_time = self._failures.pop(key, (0, current_time))
        if current_time - last_time >= FAILURE_WINDOW_SECONDS:
            failure_count = 0
        failure_count += 1
        self._failures[key] = failure_count, current_time
        while True:
            _, oldest_time = next(iter(self._failures.values()))
            is_forgotten = current_time - oldest_time > FAILURE_WINDOW_SECONDS
            if not is_forgotten and len(self._failures) <= MAX_TRACKED_KEYS:
                break
            self._failures.popitem(last=False)
        if failure_count <= free_failures:
            return 0.0
        doublings = min(failure_count - free_failures - 1, 30)
        return float(min(FIRST_DELAY_SECONDS * 2.0**doublings, MAX_DELAY_SECONDS))


_ATTEMPTS_BY_STORE: WeakKeyDictionary[StateStore, LoginAttempts] = WeakKeyDictionary()


def get_login_attempts(store: StateStore) -> LoginAttempts:
    """Return the log-in attempts at a site in this process.

    Parameters
    ----------
    store
        Store of the site.
    """
    return _ATTEMPTS_BY_STORE.setdefault(store, LoginAttempts())
