"""Credentials, checked: right ones pass at once, wrong ones are answered ever later."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from hven.model.errors import TooManyRequestsError, UnauthenticatedError
from hven.services.addresses import get_client_address
from hven.site.auth.session import get_login_attempts

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

    from hven.site.store import StateStore

T = TypeVar("T")
PASSWORD_LIMITER = anyio.CapacityLimiter(
    4
)  # proofs at once that may be passwords: those who have other proofs do not wait for them


async def verify_proof(
    request: HTTPConnection,
    store: StateStore,
    account: str,
    verify: Callable[[], T],
    *,
    verify_token: Callable[[], T] | None = None,
    may_be_password: bool = False,
) -> T:
    """Verify a proof of identity in a thread.

    A right token passes at once, whatever others have tried: it cannot be guessed. While the answers to wrong proofs of
    one address for one account are held back, no further passwords of this address for this account are looked at.

    Parameters
    ----------
    request
        With the proof.
    store
        Of the site, whose attempts are counted.
    account
        The one that is claimed.
    verify
        Verifies; it raises `UnauthenticatedError` for a wrong one.
    verify_token
        The same for tokens and sessions alone, without a look at passwords; `verify` itself: it can be nothing else.
        None: it can be no token.
    may_be_password
        It may be a password's.

    Returns
    -------
    proof
        What `verify` returned.

    Raises
    ------
    UnauthenticatedError
        It is wrong; raised late if there were many of this address or for this account.
    TooManyRequestsError
        It was not looked at.
    """
    attempts = get_login_attempts(store)
    pair = find_client_network(request), account
    if not attempts.is_attempt_allowed(*pair):
        if verify_token is not None:
            with contextlib.suppress(UnauthenticatedError):
                return await anyio.to_thread.run_sync(verify_token)
        raise TooManyRequestsError(
            "there were too many failed attempts to log in from your address", remedy="wait a minute"
        )
    try:
        return await anyio.to_thread.run_sync(verify, limiter=PASSWORD_LIMITER if may_be_password else None)
    except UnauthenticatedError as error:
        pause = attempts.count_failure(*pair, guessable=verify_token is not verify)
        try:
            await anyio.sleep(pause)
        finally:
            attempts.count_answer(*pair)
        raise error.with_traceback(None) from None  # else the frames of the thread and its future hold each other


def find_client_network(request: HTTPConnection) -> str:
    """Return whom requests are counted for: an address, or the /64 of an IPv6 one, which one household has.

    Parameters
    ----------
    request
        Of anybody.
    """
    address = get_client_address(request)
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, 64), strict=False))
    except ValueError:
        return address


__all__ = ["find_client_network", "verify_proof"]
