"""Verify credentials: correct ones pass at once, and the answers to wrong ones are delayed more and more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from hven.model.errors import TooManyRequestsError, UnauthenticatedError
from hven.services.addresses import find_client_network
from hven.site.auth.session import get_login_attempts

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

    from hven.site.store import StateStore

T = TypeVar("T")
# password hashes are slow: at most four are computed at once, so that tokens and sessions do not wait for them
PASSWORD_LIMITER = anyio.CapacityLimiter(4)


async def verify_proof_with_attempt_limit(
    request: HTTPConnection,
    store: StateStore,
    account: str,
    verify: Callable[[], T],
    *,
    verify_token: Callable[[], T] | None = None,
    may_be_password: bool = False,
) -> T:
    """Verify a proof of identity in a thread.

    A correct token passes at once, whatever other clients have tried, because it cannot be guessed. While answers to
    wrong proofs from an address for an account are delayed, further passwords from it for this account are refused.

    Parameters
    ----------
    request
        Request that carries the proof.
    store
        State store of the site, which counts attempts.
    account
        Name of the account that the client claims.
    verify
        Function that verifies the proof and raises `UnauthenticatedError` if it is wrong.
    verify_token
        Function that verifies tokens and sessions only, not passwords; `verify` itself if the proof must be one of
        these, None if it cannot be one.
    may_be_password
        Whether the proof may be a password.

    Returns
    -------
    proof
        Result of `verify`.

    Raises
    ------
    UnauthenticatedError
        The proof is wrong; raised after a delay if many attempts from this address or for this account have failed.
    TooManyRequestsError
        The proof was not verified, because answers to earlier attempts are still delayed.
    """
    attempts = get_login_attempts(store)
    attempt_key = find_client_network(request), account
    if not attempts.is_attempt_allowed(*attempt_key):
        if verify_token is not None:
            with contextlib.suppress(UnauthenticatedError):
                return await anyio.to_thread.run_sync(verify_token)
        raise TooManyRequestsError(
            "there were too many failed logins from this address", remedy="try again in a minute"
        )
    limiter = None
    if may_be_password:
        limiter = PASSWORD_LIMITER
    try:
        return await anyio.to_thread.run_sync(verify, limiter=limiter)
    except UnauthenticatedError as error:
        delay_seconds = attempts.count_failure_and_compute_delay(*attempt_key, is_guessable=verify_token is not verify)
        try:
            await anyio.sleep(delay_seconds)
        finally:
            attempts.end_delayed_answer(*attempt_key)
        # with its traceback, the frames of the thread and its future would keep each other alive
        raise error.with_traceback(None) from None
