"""Refuse the requests of users who have reached a limit."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from hven.model.errors import TooManyRequestsError, format_message
from hven.plugins.request_limits.settings import get_request_limits
from hven.plugins.request_limits.shared_counts import (
    DAY_SECONDS,
    MINUTE_SECONDS,
    Ceilings,
    SharedCounts,
    get_shared_counts,
    reserve_shared_counts,
)
from hven.query.query_queue import current_requester, current_user_class
from hven.services.addresses import get_client_address, is_in_networks
from hven.services.admission import RequestGate
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from starlette.requests import Request

    from hven.model.settings import Settings
    from hven.plugins.request_limits.settings import RequestLimit
    from hven.plugins.request_limits.shared_counts import ClassCosts, UserCounts, UserUsage
    from hven.site import RequestUsage, Site
    from hven.site.auth import Principal

log = logging.getLogger("hven")
COUNTER_NAME = "limited_requests_total"
MAX_CACHED_USERS = 32_768  # pairs of a user and a service that a process remembers
MAX_FORWARDED_BYTES = 1_000  # of X-Forwarded-For; as many as `get_client_address` reads
MAX_AGENT_BYTES = 500  # of User-Agent
COUNTED_SCOPE_KEY = "hven.limits.counted"
OPERATOR_CLASS = "operators"  # of users who are never limited
OTHER_CLASS = "others"  # of users to whom no section applies
RUNNING_RETRY_SECONDS = 5
RETRY_REMEDY = "wait as long as the header Retry-After says"
LIST_REMEDY = "to request many objects, upload a list of them, or run a job"


class _CountedUser(NamedTuple):
    """A user of a service: the section that applies, the user's counts, and the costs of all users of the section.

    `limit` and `counts` are None if nothing limits the user. `turn_taker` is the name under which all users of the
    section take turns in queues; empty: each takes turns alone.
    """

    limit: RequestLimit | None
    counts: UserCounts | None
    costs: ClassCosts
    turn_taker: str = ""


class LimitGate(RequestGate):
    """Counts requests, and refuses those above a limit.

    Parameters
    ----------
    site
        The open site.
    counts
        Counts by user; None: those that all processes share.
    """

    def __init__(self, site: Site, counts: SharedCounts | None = None) -> None:
        super().__init__(site)
        self._counts = counts or get_shared_counts()
        self._settings: Settings | None = None
        self._limits: tuple[RequestLimit, ...] = ()
        self._uses_user_agent = self._distinguishes_searches = False
        # Most requests come from users who have just sent another one. The key has the request's own bytes, so that a
        # usual request parses nothing.
        self._users: dict[Hashable, _CountedUser] = {}

    @property
    def is_active(self) -> bool:
        """Whether the settings have limits."""
        return bool(get_request_limits(self._site.settings))

    @staticmethod
    def reserve_shared_memory(worker_count: int) -> None:
        """Allocate the memory that the processes of a server share.

        Parameters
        ----------
        worker_count
            Number of processes that answer requests. Each may be replaced while it still answers.
        """
        reserve_shared_counts(2 * worker_count + 2)

    def check_request(self, request: Request, principal: Principal, usage: RequestUsage) -> None:
        """Admit a request and count it, or raise `TooManyRequestsError`. A fault of this package admits it.

        Parameters
        ----------
        request
            The request.
        principal
            The user.
        usage
            What the request uses.
        """
        settings = self._site.settings
        if settings is not self._settings:
            self._settings = settings
            self._limits = get_request_limits(settings)
            self._uses_user_agent = any(limit.user_agents for limit in self._limits)
            self._distinguishes_searches = any(limit.searches for limit in self._limits)
            self._users = {}
        if not self._limits:
            return
        try:
            self._count_or_refuse(request, principal, usage)
        except TooManyRequestsError:
            raise
        except Exception:
            log.exception("a request could not be counted, so it was admitted")

    def _count_or_refuse(self, request: Request, principal: Principal, usage: RequestUsage) -> None:
        if COUNTED_SCOPE_KEY in request.scope:  # an endpoint has called another one
            return
        request.scope[COUNTED_SCOPE_KEY] = True
        user = self._find_counted_user(request, principal, usage.face)
        current_user_class.set(user.turn_taker)
        start_time = self._counts.get_time()
        limit, counts = user.limit, user.counts
        if limit is not None and counts is not None and not counts.count_request(start_time):
            user.costs.count_refusal()
            self._site.counters.count_event(COUNTER_NAME)
            raise _build_limit_error(limit, counts.read_usage())
        usage.end_callbacks = (*usage.end_callbacks, partial(_end_request, counts, user.costs, start_time))

    def _find_counted_user(self, request: Request, principal: Principal, service: str) -> _CountedUser:
        """Return the user of a request with the limit that applies to it."""
        scope = request.scope
        forwarded = agent = b""
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                if forwarded:
                    forwarded = b"%b,%b" % (forwarded, value)
                else:
                    forwarded = value
            elif name == b"user-agent" and self._uses_user_agent:
                agent = value
        client = scope.get("client")
        is_search = self._distinguishes_searches and bool(scope["query_string"])
        address_parts = (client and client[0], forwarded[-MAX_FORWARDED_BYTES:], agent[:MAX_AGENT_BYTES])
        key: Hashable = (service, is_search, *address_parts)
        if principal is not ANONYMOUS_PRINCIPAL:
            key = (key, principal.name, principal.groups, principal.impersonator)
        user = self._users.get(key)
        if user is not None and (user.counts is None or user.counts.is_current):
            return user
        if len(self._users) >= MAX_CACHED_USERS:
            del self._users[next(iter(self._users))]
        user_agent = agent[:MAX_AGENT_BYTES].decode("latin-1").lower()
        limits = [limit for limit in self._limits if is_search or not limit.searches]
        user = self._identify_user(limits, principal, service, get_client_address(request), user_agent)
        if user.limit is None or user.counts is not None:  # without counts, the next request tries to get some
            self._users[key] = user
        return user

    def _identify_user(
        self, limits: Sequence[RequestLimit], principal: Principal, service: str, address: str, user_agent: str
    ) -> _CountedUser:
        settings = self._site.settings
        if principal.name in settings.health.operators or "owner" in principal.groups:
            return _CountedUser(None, None, self._counts.find_class(OPERATOR_CLASS))
        limit = find_applicable_limit(limits, principal, service, address, user_agent)
        costs = self._counts.find_class(limit.name if limit is not None else OTHER_CLASS)
        turn_taker = ""
        if limit is not None and limit.together:
            turn_taker = f"section {limit.name}"
        if limit is None or not limit.has_limits:
            return _CountedUser(None, None, costs, turn_taker)
        if limit.together:
            user_name = ""
        else:
            user_name = current_requester.get()()
        limit_values = (limit.concurrent, limit.requests_per_minute, limit.rows_per_day)
        ceilings = Ceilings(*(math.inf if value is None else value for value in limit_values))
        counts = self._counts.find_user(f"{settings.directory}\n{limit.name}\n{user_name}", ceilings)
        return _CountedUser(limit, counts, costs, turn_taker)


def find_applicable_limit(
    limits: Sequence[RequestLimit], principal: Principal, service: str, address: str, user_agent: str
) -> RequestLimit | None:
    """Return the first limit that applies to a user and a service; None: none does.

    Parameters
    ----------
    limits
        Limits in the order of hven.toml.
    principal
        The user.
    service
        Name of the service.
    address
        Address of the client.
    user_agent
        Its User-Agent, in lower case.
    """
    for limit in limits:
        if limit.services and service not in limit.services:
            continue
        if limit.fits_all_users or _is_named(limit, principal, address, user_agent):
            return limit
    return None


def _is_named(limit: RequestLimit, principal: Principal, address: str, user_agent: str) -> bool:
    if principal.name is None and limit.anonymous:
        return True
    if principal.name in limit.accounts or not principal.groups.isdisjoint(limit.groups):
        return True
    if any(part.lower() in user_agent for part in limit.user_agents):
        return True
    return is_in_networks(address, limit.networks)


def _build_limit_error(limit: RequestLimit, usage: UserUsage) -> TooManyRequestsError:
    """Build the error of a user who has reached a limit."""
    if limit.together:
        return _build_class_limit_error(limit, usage)
    if limit.concurrent is not None and usage.running >= limit.concurrent:
        return TooManyRequestsError(
            format_message(
                "Hven is already answering {running:,} of your requests, and the limit is {limit:,} at a time",
                usage.running,
                limit.concurrent,
            ),
            remedy="send the request again when one of the others has ended",
            retry_after_seconds=RUNNING_RETRY_SECONDS,
        )
    now = time.time()
    if limit.rows_per_day is not None and usage.rows >= limit.rows_per_day:
        return TooManyRequestsError(
            format_message(
                "you have received {rows:,} rows today, and the limit is {limit:,} rows per day",
                usage.rows,
                limit.rows_per_day,
            ),
            remedy="send the request again tomorrow (UTC), or ask the operators of the site for a higher limit",
            retry_after_seconds=DAY_SECONDS - now % DAY_SECONDS,
        )
    max_per_minute = limit.requests_per_minute or 0
    wait_seconds = compute_rate_wait(usage, max_per_minute, now % MINUTE_SECONDS / MINUTE_SECONDS)
    return TooManyRequestsError(
        format_message("the limit is {limit:,} requests per minute, and you have sent more", max_per_minute),
        remedy=f"{RETRY_REMEDY}; {LIST_REMEDY}",
        retry_after_seconds=max(wait_seconds, 1.0),
    )


def _build_class_limit_error(limit: RequestLimit, usage: UserUsage) -> TooManyRequestsError:
    """Build the error of a user who counts as one with others, who have reached a limit together."""
    if limit.concurrent is not None and usage.running >= limit.concurrent:
        wait_seconds = float(RUNNING_RETRY_SECONDS)
    elif limit.rows_per_day is not None and usage.rows >= limit.rows_per_day:
        wait_seconds = DAY_SECONDS - time.time() % DAY_SECONDS
    else:
        minute_share = time.time() % MINUTE_SECONDS / MINUTE_SECONDS
        wait_seconds = compute_rate_wait(usage, limit.requests_per_minute or 0, minute_share)
    return TooManyRequestsError(
        "you share one limit with all users of your kind, and together you have reached it",
        remedy=f"{RETRY_REMEDY}, or log in if you have an account",
        retry_after_seconds=max(wait_seconds, 1.0),
    )


def compute_rate_wait(usage: UserUsage, max_per_minute: int, minute_share: float) -> float:
    """Return the seconds until a user may send the next request; 0: at once.

    Parameters
    ----------
    usage
        What the user has used.
    max_per_minute
        The limit.
    minute_share
        Share of the present minute that has passed.
    """
    if usage.estimate_rate(minute_share) + 1 <= max_per_minute:
        return 0.0
    if max_per_minute == 0:
        return float(MINUTE_SECONDS)
    # requests of the minute before count less with each second
    if usage.minute_count < max_per_minute and usage.previous_count:
        needed_share = 1.0 - (max_per_minute - 1 - usage.minute_count) / usage.previous_count
        return max((needed_share - minute_share) * MINUTE_SECONDS, 1.0)
    needed_share = 1.0 - (max_per_minute - 1) / usage.minute_count
    return (1.0 - minute_share + max(needed_share, 0.0)) * MINUTE_SECONDS


def _end_request(counts: UserCounts | None, costs: ClassCosts, start_time: float, usage: RequestUsage) -> None:
    row_count = 0
    for answer in usage.answers:
        row_count += answer.row_count
    if usage.rows_by_table:  # each table of a join has all rows of the answer
        row_count += max(usage.rows_by_table.values())
    if counts is not None:
        counts.end_request(row_count)
    costs.count_answer(start_time, row_count)
