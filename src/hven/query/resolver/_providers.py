"""Resolve names by the providers, in their order; answers of remote providers are cached.

Error messages name the providers that were asked.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hven.model import LruCache, plugins
from hven.model.errors import (
    HvenError,
    NotFoundError,
    OverloadedError,
    ParamError,
    UserError,
    format_message,
    join_messages,
)
from hven.model.sky import compute_angular_distance
from hven.query.resolver._contract import NameProvider, NameRequest, ResolvedName, normalize_object_name
from hven.site.auth import DEFAULT_POLICIES
from hven.sources.http_client import RequestCeilingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.auth import AccessPolicy

MAX_CACHED_ANSWERS = 10_000  # answers of remote providers that a process caches
MAX_NAME_CHARACTERS = 200
SECONDS_PER_DAY = 86_400.0
MAX_UNKNOWN_AGE_SECONDS = SECONDS_PER_DAY  # maximum age of a cached answer that a name is not known
RETRY_DELAY_SECONDS = 30.0  # time for which a provider that could not be reached is not asked again
MAX_SAME_POSITION_ARCSEC = 1.0  # positions closer than this are the same
MAX_SHOWN_CANDIDATES = 5


class UnresolvedNameError(NotFoundError):
    """No provider knows the name, or the object has no fixed position."""


class AmbiguousObjectNameError(UserError):
    """Several objects have the name: `candidates`."""

    def __init__(self, message: str, candidates: Sequence[ResolvedName] = (), *, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.candidates = tuple(candidates)


@dataclass(frozen=True, slots=True)
class _CachedProviderAnswer:
    """An answer of a remote provider, and its time on the monotonic clock."""

    answer_time: float
    resolved_names: tuple[ResolvedName, ...]


@dataclass(slots=True)
class _ResolverState:
    """The cached answers of a site in this process."""

    answer_cache: LruCache[_CachedProviderAnswer] = field(default_factory=lambda: LruCache(MAX_CACHED_ANSWERS))
    name_locks: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    failures: dict[str, tuple[float, HvenError]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def resolve_object_name(
    name: str, *, site: Site, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES, includes_remote: bool = True
) -> ResolvedName:
    """Find the object that a name stands for.

    Parameters
    ----------
    name
        A name as a user writes it; case and blanks do not matter.
    site
        The site whose providers are asked.
    policies
        Access policies. Names are looked up only in public rows, for all users.
    includes_remote
        Whether remote providers are asked, too.

    Returns
    -------
    resolved
        The object: its type, its position, and the source of both.

    Raises
    ------
    ParamError
        The text cannot be a name.
    UnresolvedNameError
        No provider knows it. The message names the providers, and how to enable others.
    AmbiguousObjectNameError
        Several objects at different positions have the name.
    OverloadedError
        A provider could not be reached, and the others do not know the name.
    """
    request = NameRequest(name=name, name_key=_check_and_normalize_object_name(name), site=site, policies=policies)
    providers = [item for item in _list_enabled_providers(site.settings) if includes_remote or not item.remote]
    failures: list[str] = []
    for provider in providers:
        try:
            if provider.remote:
                candidates = _query_remote_provider(provider, request)
            else:
                candidates = tuple(provider.find(request))
        except HvenError as error:
            place = format_message(provider.place(site.settings))
            failures.append(format_message("{place} could not be queried: {message}", place, error.message))
            continue
        if candidates:
            return _choose_unambiguous_candidate(name, candidates)
    if failures:
        failure_list = join_messages("{one}; {other}", failures)
        raise OverloadedError(
            format_message("this site does not know the object {name!r}, and {failures}", name, failure_list),
            remedy="try again later, or give the position itself",
        )
    raise _build_unknown_name_error(name, providers, site.settings)


def _build_unknown_name_error(name: str, providers: Sequence[NameProvider], settings: Settings) -> UnresolvedNameError:
    """Build the error for a name that no provider knows: it names the providers, and how to enable others."""
    provider_places = [format_message(provider.place(settings)) for provider in providers]
    place_list = join_messages("{one}, {other}", provider_places)
    remedies = [format_message("check the spelling, or give the position itself")]
    for provider in _list_name_providers():
        if provider.remedy and provider not in providers:
            remedy = format_message(provider.remedy)
            remedies.append(format_message("the site's operators can {remedy}", remedy))
    remedies += [
        format_message("the site's operators can {remedy}", format_message("add {name!r} to `plugins`", package.name))
        for package in plugins.list_disabled_packages()
        if package.resolvers
    ]
    return UnresolvedNameError(
        format_message(
            "no service knows the name {name!r}; Hven queried {places}",
            name,
            place_list or format_message("no services"),
        ),
        remedy=join_messages("{one}; {other}", remedies),
    )


def resolve_object_position(
    name: str, *, site: Site, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> tuple[float, float]:
    """Find the position of a named object.

    Parameters
    ----------
    name
        A name as a user writes it.
    site
        The site whose providers are asked.
    policies
        As in `resolve_object_name`.

    Returns
    -------
    lon, lat
        Position in degrees, ICRS.

    Raises
    ------
    UnresolvedNameError
        No provider knows the name, or the object has no fixed position.
    ParamError, AmbiguousObjectNameError, OverloadedError
        As in `resolve_object_name`.
    """
    return get_fixed_position(resolve_object_name(name, site=site, policies=policies))


def get_fixed_position(resolved: ResolvedName) -> tuple[float, float]:
    """Return the position of an object that does not move.

    Parameters
    ----------
    resolved
        The object that a name stands for.

    Returns
    -------
    lon, lat
        Position in degrees, ICRS.

    Raises
    ------
    UnresolvedNameError
        The object has no fixed position.
    """
    if resolved.position is None:
        raise UnresolvedNameError(
            format_message(
                "{name} ({kind}) moves across the sky, so its name alone does not determine a position",
                resolved.name,
                resolved.kind,
            ),
            remedy=resolved.note or "give the position",
        )
    return resolved.position


def can_resolve_names(settings: Settings) -> bool:
    """Return whether a site can resolve any name to a position.

    Parameters
    ----------
    settings
        Settings of the site.
    """
    return any(provider.is_general for provider in _list_enabled_providers(settings))


def complete_object_name(typed_text: str, max_names: int, settings: Settings) -> list[tuple[str, ResolvedName]]:
    """Return names of objects that begin with what a user has typed, without requests to other services.

    Parameters
    ----------
    typed_text
        The typed text.
    max_names
        Maximum number of names of each provider.
    settings
        Settings of the site.

    Returns
    -------
    names
        Each name with its object.
    """
    providers = _list_enabled_providers(settings)
    return [completion for provider in providers for completion in provider.complete(typed_text, max_names)]


def list_object_name_tables(settings: Settings) -> list[str]:
    """List the tables of a site in which names of objects are looked up.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    table_names
        Names as schema.table, in lower case.
    """
    table_names = [provider.name_table(settings) for provider in _list_enabled_providers(settings)]
    return [name.lower() for name in table_names if name]


def _list_name_providers() -> list[NameProvider]:
    records = plugins.load_plugin_records("resolvers")
    return sorted(records.values(), key=lambda item: (item.order, item.name))


def _list_enabled_providers(settings: Settings) -> list[NameProvider]:
    return [item for item in _list_name_providers() if item.offered(settings)]


def _check_and_normalize_object_name(name: str) -> str:
    normalized = normalize_object_name(name)
    if not normalized or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise ParamError(
            format_message("{name!r:.80} cannot be the name of an object", name),
            name="name",
            remedy=format_message("use 1 to {most} printable characters", MAX_NAME_CHARACTERS),
        )
    return normalized


def _choose_unambiguous_candidate(name: str, candidates: Sequence[ResolvedName]) -> ResolvedName:
    """Return the candidate with the highest confidence.

    Raises
    ------
    AmbiguousObjectNameError
        Several have the highest confidence, and different positions.
    """
    highest_confidence = max(candidate.confidence for candidate in candidates)
    best_candidates = [candidate for candidate in candidates if candidate.confidence == highest_confidence]
    best_candidates.sort(key=lambda candidate: (candidate.name, candidate.position or (0.0, 0.0)))
    first_candidate = best_candidates[0]
    conflicting = [candidate for candidate in best_candidates[1:] if not _is_same_object(first_candidate, candidate)]
    if not conflicting:
        return first_candidate
    shown_candidates = [first_candidate, *conflicting][:MAX_SHOWN_CANDIDATES]
    candidate_list = "; ".join(map(_format_candidate, shown_candidates))
    hidden_count = len(conflicting) + 1 - len(shown_candidates)
    if hidden_count:
        candidate_list = format_message("{shown} and {count} more", candidate_list, hidden_count)
    message = format_message(
        "{name!r} is the name of {count} objects: {shown}", name, len(conflicting) + 1, candidate_list
    )
    raise AmbiguousObjectNameError(
        message, [first_candidate, *conflicting], remedy="use a name that only one of these objects has"
    )


def _is_same_object(first_object: ResolvedName, second_object: ResolvedName) -> bool:
    if first_object.position is None or second_object.position is None:
        return first_object.position == second_object.position and first_object.name == second_object.name
    distance = compute_angular_distance(*first_object.position, *second_object.position)
    return float(distance) * 3600 <= MAX_SAME_POSITION_ARCSEC


def _format_candidate(candidate: ResolvedName) -> str:
    text = candidate.name
    if candidate.kind:
        text += f" ({candidate.kind})"
    if candidate.position is not None:
        lon, lat = candidate.position
        text += f" at {lon:.5f} {lat:+.5f}"
    return text


# --- the cache of remote answers -----------------------------------------------------------------------------


def _query_remote_provider(provider: NameProvider, request: NameRequest) -> tuple[ResolvedName, ...]:
    """Return the answer of a remote provider, from the cache or by a request.

    Concurrent queries for a name make one request, and after a failure there is none for a while.
    """
    state = request.site.get_or_create(_ResolverState)
    cache_key = (provider.name, request.name_key)
    max_cache_days = provider.max_cache_days(request.site.settings)
    cached_answer = _find_cached_answer(state, cache_key, max_cache_days)
    if cached_answer is not None:
        return cached_answer
    with state.lock:
        name_lock = state.name_locks.setdefault(cache_key, threading.Lock())
    with name_lock:
        try:
            # another thread may have stored it while this one waited for the lock
            cached_answer = _find_cached_answer(state, cache_key, max_cache_days)
            if cached_answer is not None:
                return cached_answer
            return _request_provider_answer(state, provider, request, cache_key)
        finally:
            with state.lock:
                state.name_locks.pop(cache_key, None)


def _request_provider_answer(
    state: _ResolverState, provider: NameProvider, request: NameRequest, cache_key: tuple[str, str]
) -> tuple[ResolvedName, ...]:
    """Request an answer and cache it; after a recent failure of the provider, raise the same error."""
    if provider.name in state.failures:
        failure_time, failure = state.failures[provider.name]
        if time.monotonic() - failure_time < RETRY_DELAY_SECONDS:
            raise failure
    try:
        resolved_names = tuple(provider.find(request))
    except RequestCeilingError:  # the service itself may be well
        raise
    except HvenError as error:
        state.failures[provider.name] = (time.monotonic(), error)
        raise
    state.failures.pop(provider.name, None)
    state.answer_cache.store(cache_key, _CachedProviderAnswer(time.monotonic(), resolved_names))
    return resolved_names


def _find_cached_answer(
    state: _ResolverState, cache_key: tuple[str, str], max_cache_days: float
) -> tuple[ResolvedName, ...] | None:
    cached_answer = state.answer_cache.find(cache_key)
    if cached_answer is None:
        return None
    age_seconds = time.monotonic() - cached_answer.answer_time
    max_age_seconds = max_cache_days * SECONDS_PER_DAY
    if not cached_answer.resolved_names:
        max_age_seconds = min(max_age_seconds, MAX_UNKNOWN_AGE_SECONDS)
    if age_seconds > max_age_seconds:
        return None
    return tuple(replace(resolved, age=resolved.age + age_seconds) for resolved in cached_answer.resolved_names)
