"""Credentials, checked: right ones pass at once, wrong ones are answered ever later."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from hven.model.errors import TooOften, Unauthenticated
from hven.services.address import caller
from hven.site.auth.session import attempts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

    from hven.site.store import Store

T = TypeVar("T")
SLOW = anyio.CapacityLimiter(
    4
)  # proofs at once that may be passwords: those who have other proofs do not wait for them


async def proven(
    request: HTTPConnection,
    store: Store,
    account: str,
    prove: Callable[[], T],
    *,
    by_token: Callable[[], T] | None = None,
    slow: bool = False,
) -> T:
    """Verify a proof of identity in a thread.

    A right token passes at once, whatever others have tried: it cannot be guessed. While the answers to wrong proofs of one address for one account
    are held back, no further passwords of this address for this account are looked at.

    Parameters
    ----------
    request
        With the proof.
    store
        Of the site, whose attempts are counted.
    account
        The one that is claimed.
    prove
        Verifies; it raises `Unauthenticated` for a wrong one.
    by_token
        The same for tokens and sessions alone, without a look at passwords; `prove` itself: it can be nothing else. None: it can be no token.
    slow
        It may be a password's.

    Returns
    -------
    proof
        What `prove` returned.

    Raises
    ------
    Unauthenticated
        It is wrong; raised late if there were many of this address or for this account.
    TooOften
        It was not looked at.
    """
    attempts = attempts_of(store)
    pair = network(request), account
    if not attempts.allowed(*pair):
        if by_token is not None:
            with contextlib.suppress(Unauthenticated):
                return await anyio.to_thread.run_sync(by_token)
        raise TooOften("there were too many failed attempts to log in from your address", remedy="wait a minute")
    try:
        return await anyio.to_thread.run_sync(prove, limiter=SLOW if slow else None)
    except Unauthenticated as error:
        pause = attempts.failed(*pair, guessable=by_token is not prove)
        try:
            await anyio.sleep(pause)
        finally:
            attempts.answered(*pair)
        raise error.with_traceback(None) from None  # else the frames of the thread and its future hold each other


def network(request: HTTPConnection) -> str:
    """Return whom requests are counted for: an address, or the /64 of an IPv6 one, which one household has.

    Parameters
    ----------
    request
        Of anybody.
    """
    address = caller(request)
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, 64), strict=False))
    except ValueError:
        return address


__all__ = ["network", "proven"]
