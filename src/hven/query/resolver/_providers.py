"""The resolution of names by the providers, in their order; answers of remote providers are cached.

Error messages name the providers that were asked.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hven.model import Cache, plugins
from hven.model.errors import (
    HvenError,
    NotFoundError,
    OverloadedError,
    ParamError,
    UserError,
    format_message,
    join_messages,
)
from hven.model.sky import compute_distance
from hven.query.resolver._contract import NameProvider, NameRequest, ResolvedName, normalize_name
from hven.site.auth import DEFAULT_POLICIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.auth import AccessPolicy

MAX_CACHED_ANSWERS = 10_000  # answers of remote providers that a process remembers
MAX_NAME_CHARACTERS = 200  # characters of a name
MAX_UNKNOWN_AGE_SECONDS = 86_400.0  # seconds for which "there is no such name" is believed at most
RETRY_DELAY_SECONDS = 30.0  # seconds for which a provider that could not be reached is not asked again
MAX_SAME_POSITION_ARCSEC = 1.0  # arcsec: places nearer than that are one


class UnresolvedNameError(NotFoundError):
    """No provider knows the name, or the object has no fixed position."""


class AmbiguousNameError(UserError):
    """Several objects have the name."""


@dataclass(frozen=True, slots=True)
class _CachedAnswer:
    """An answer of a remote provider, and its time on the monotonic clock."""

    answer_time: float
    resolved_names: tuple[ResolvedName, ...]


@dataclass(slots=True)
class _ResolverState:
    """The cached answers of a site in this process."""

    answer_cache: Cache[_CachedAnswer] = field(default_factory=lambda: Cache(MAX_CACHED_ANSWERS))
    name_locks: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    failures: dict[str, tuple[float, HvenError]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def resolve_name(
    name: str, *, site: Site, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES, includes_remote: bool = True
) -> ResolvedName:
    """Find the object that a name stands for.

    Parameters
    ----------
    name
        As a person writes it: case and blanks do not count.
    site
        Whose providers are asked.
    policies
        What readers may see: a name is looked up in the rows that everybody may see, whoever asks.
    includes_remote
        False: only those are asked that are here.

    Returns
    -------
    resolved
        What it is, where, and who says so.

    Raises
    ------
    ParamError
        It cannot be a name.
    UnresolvedNameError
        Nobody who was asked knows it; the message says who that was, and how others can be asked.
    AmbiguousNameError
        Several objects at different places have it.
    OverloadedError
        Those who were asked do not know it, and one who may could not be reached.
    """
    request = NameRequest(name=name, name_key=_parse_name(name), site=site, policies=policies)
    providers = [item for item in _list_offered_providers(site.settings) if includes_remote or not item.remote]
    failures: list[str] = []
    for provider in providers:
        try:
            if provider.remote:
                candidates = _query_remote_provider(provider, request)
            else:
                candidates = tuple(provider.find(request))
        except HvenError as error:
            failures.append(
                format_message(
                    "{place} could not be asked: {message}",
                    format_message(provider.place(site.settings)),
                    error.message,
                )
            )
            continue
        if candidates:
            return _choose_best(name, candidates)
    provider_places = [format_message(provider.place(site.settings)) for provider in providers]
    if failures:
        raise OverloadedError(
            format_message(
                "{name!r} is not known here, and {failures}", name, join_messages("{one}; {other}", failures)
            ),
            remedy="try again later, or give the position itself",
        )
    other_remedies = [item.remedy for item in _list_providers() if item not in providers]
    raise UnresolvedNameError(
        format_message(
            "nobody knows the name {name!r}; asked: {places}",
            name,
            join_messages("{one}, {other}", provider_places) or format_message("nobody"),
        ),
        remedy=join_messages(
            "{one}; {other}",
            [
                format_message("look at its spelling, or give the position itself"),
                *(format_message("the site's owner can {remedy}", format_message(remedy)) for remedy in other_remedies),
            ],
        ),
    )


def resolve_position(
    name: str, *, site: Site, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES
) -> tuple[float, float]:
    """Find the position of a named object.

    Parameters
    ----------
    name
        As a person writes it.
    site
        Whose providers are asked.
    policies
        As for `resolve_name`.

    Returns
    -------
    lon, lat
        Degrees, ICRS.

    Raises
    ------
    UnresolvedNameError
        Also: the object has no fixed place.
    ParamError, AmbiguousNameError, OverloadedError
        As `resolve_name`.
    """
    resolved = resolve_name(name, site=site, policies=policies)
    if resolved.position is None:
        raise UnresolvedNameError(
            format_message(
                "{name} ({kind}) moves across the sky: its name alone gives no position", resolved.name, resolved.kind
            ),
            remedy=resolved.note or "give the position",
        )
    return resolved.position


def can_resolve_names(settings: Settings) -> bool:
    """Return whether this site can resolve any name to a position.

    Parameters
    ----------
    settings
        Of the site.
    """
    return (
        settings.resolver.table is not None
        or settings.resolver.remote
        or any(item.name not in _BUILT_IN_PROVIDERS for item in _list_offered_providers(settings))
    )


_BUILT_IN_PROVIDERS = ("bright", "local", "sesame", "solar")


def _list_providers() -> list[NameProvider]:
    records = plugins.load_records("resolvers")
    return sorted(records.values(), key=lambda item: (item.order, item.name))


def _list_offered_providers(settings: Settings) -> list[NameProvider]:
    return [item for item in _list_providers() if item.offered(settings)]


def _parse_name(name: str) -> str:
    normalized = normalize_name(name)
    if not normalized or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise ParamError(
            format_message("{name!r:.80} cannot be the name of an object", name),
            name="name",
            remedy=format_message("1 to {most} printable characters", MAX_NAME_CHARACTERS),
        )
    return normalized


def _choose_best(name: str, candidates: Sequence[ResolvedName]) -> ResolvedName:
    """Choose the answer with the highest confidence, unless several have it and differ in position."""
    highest_confidence = max(item.confidence for item in candidates)
    surest = sorted(
        (item for item in candidates if item.confidence == highest_confidence),
        key=lambda item: (item.name, item.position or (0.0, 0.0)),
    )
    first = surest[0]
    conflicting = [item for item in surest[1:] if not _is_same_object(first, item)]
    if conflicting:
        candidate_list = "; ".join(_format_candidate(item) for item in (first, *conflicting)[:5])
        if len(conflicting) > 4:
            candidate_list = format_message("{shown} and {count} more", candidate_list, len(conflicting) - 4)
        raise AmbiguousNameError(
            format_message(
                "{name!r} is the name of {count} objects: {shown}", name, len(conflicting) + 1, candidate_list
            ),
            remedy="use a name that only one of them has",
        )
    return first


def _is_same_object(first_object: ResolvedName, second_object: ResolvedName) -> bool:
    if first_object.position is None or second_object.position is None:
        return first_object.position == second_object.position and first_object.name == second_object.name
    distance = compute_distance(*first_object.position, *second_object.position)
    return float(distance) * 3600 <= MAX_SAME_POSITION_ARCSEC


def _format_candidate(candidate: ResolvedName) -> str:
    if candidate.position is None:
        where = ""
    else:
        where = f" at {candidate.position[0]:.5f} {candidate.position[1]:+.5f}"
    return f"{candidate.name}{f' ({candidate.kind})' if candidate.kind else ''}{where}"


# --- remembering what others said ----------------------------------------------------------------------------


def _query_remote_provider(provider: NameProvider, request: NameRequest) -> tuple[ResolvedName, ...]:
    """Return the answer of a remote provider, from the cache or asked now.

    A name is asked once at a time, and after a failure not for a while.
    """
    state = request.site.get_or_create(_ResolverState)
    cache_key = (provider.name, request.name_key)
    cached_answer = _find_cached_answer(state, cache_key, request)
    if cached_answer is not None:
        return cached_answer
    with state.lock:
        name_lock = state.name_locks.setdefault(cache_key, threading.Lock())
    with name_lock:
        try:
            cached_answer = _find_cached_answer(state, cache_key, request)  # somebody else may have asked meanwhile
            if cached_answer is not None:
                return cached_answer
            failure = state.failures.get(provider.name)
            if failure is not None and time.monotonic() - failure[0] < RETRY_DELAY_SECONDS:
                raise failure[1]
            try:
                resolved_names = tuple(provider.find(request))
            except HvenError as error:
                state.failures[provider.name] = (time.monotonic(), error)
                raise
            state.failures.pop(provider.name, None)
            state.answer_cache.store(cache_key, _CachedAnswer(time.monotonic(), resolved_names))
            return resolved_names
        finally:
            with state.lock:
                state.name_locks.pop(cache_key, None)


def _find_cached_answer(
    state: _ResolverState, cache_key: tuple[str, str], request: NameRequest
) -> tuple[ResolvedName, ...] | None:
    cached = state.answer_cache.find(cache_key)
    if cached is None:
        return None
    age = time.monotonic() - cached.answer_time
    max_age_seconds = request.site.settings.resolver.keep_days * 86_400
    if age > (max_age_seconds if cached.resolved_names else min(max_age_seconds, MAX_UNKNOWN_AGE_SECONDS)):
        return None
    return tuple(replace(item, age=item.age + age) for item in cached.resolved_names)
