"""resolve: ask the providers in turn, remember what the far ones said, and say clearly what was asked where."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hven.model import Cache, plugins
from hven.model.errors import HvenError, NotFound, Overloaded, ParamError, UserError, joined, say
from hven.model.sky import distance
from hven.query.resolver._contract import Asked, Provider, Resolved, key
from hven.site.auth import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.auth import Policy

MOST = 10_000  # answers of remote providers that a process remembers
LONGEST = 200  # characters of a name
UNKNOWN = 86_400.0  # seconds for which "there is no such name" is believed at most
SULK = 30.0  # seconds for which a provider that could not be reached is not asked again
SAME = 1.0  # arcsec: places nearer than that are one


class Unresolved(NotFound):
    """Nobody knows the name, or it has no fixed place."""


class Ambiguous(UserError):
    """Several objects have the name."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a remote provider said, and when by the monotonic clock."""

    at: float
    found: tuple[Resolved, ...]


@dataclass(slots=True)
class _State:
    """What a process remembers for a site."""

    kept: Cache[_Known] = field(default_factory=lambda: Cache(MOST))
    asking: dict[tuple[str, str], threading.Lock] = field(default_factory=dict)
    failed: dict[str, tuple[float, HvenError]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


def resolve(name: str, *, site: Site, policies: Sequence[Policy] = DEFAULT, remote: bool = True) -> Resolved:
    """Resolve a name: find what it stands for.

    Parameters
    ----------
    name
        As a person writes it: case and blanks do not count.
    site
        Whose providers are asked.
    policies
        What readers may see: a name is looked up in the rows that everybody may see, whoever asks.
    remote
        False: only those are asked that are here.

    Returns
    -------
    resolved
        What it is, where, and who says so.

    Raises
    ------
    ParamError
        It cannot be a name.
    Unresolved
        Nobody who was asked knows it; the message says who that was, and how others can be asked.
    Ambiguous
        Several objects at different places have it.
    Overloaded
        Those who were asked do not know it, and one who may could not be reached.
    """
    asked = Asked(name=name, key=_checked(name), site=site, policies=policies)
    providers = [item for item in _providers(site.settings) if remote or not item.remote]
    failures: list[str] = []
    for provider in providers:
        try:
            found = _remembered(provider, asked) if provider.remote else tuple(provider.find(asked))
        except HvenError as error:
            failures.append(
                say("{place} could not be asked: {message}", say(provider.place(site.settings)), error.message)
            )
            continue
        if found:
            return _one(name, found)
    where = [say(provider.place(site.settings)) for provider in providers]
    if failures:
        raise Overloaded(
            say("{name!r} is not known here, and {failures}", name, joined("{one}; {other}", failures)),
            remedy="try again later, or give the position itself",
        )
    others = [item.remedy for item in _all() if item not in providers]
    raise Unresolved(
        say("nobody knows the name {name!r}; asked: {places}", name, joined("{one}, {other}", where) or say("nobody")),
        remedy=joined(
            "{one}; {other}",
            [
                say("look at its spelling, or give the position itself"),
                *(say("the site's owner can {remedy}", say(remedy)) for remedy in others),
            ],
        ),
    )


def position(name: str, *, site: Site, policies: Sequence[Policy] = DEFAULT) -> tuple[float, float]:
    """Resolve a name to a position.

    Parameters
    ----------
    name
        As a person writes it.
    site
        Whose providers are asked.
    policies
        As for `resolve`.

    Returns
    -------
    lon, lat
        Degrees, ICRS.

    Raises
    ------
    Unresolved
        Also: the object has no fixed place.
    ParamError, Ambiguous, Overloaded
        As `resolve`.
    """
    found = resolve(name, site=site, policies=policies)
    if found.position is None:
        raise Unresolved(
            say("{name} ({kind}) moves across the sky: its name alone gives no position", found.name, found.kind),
            remedy=found.note or "give the position",
        )
    return found.position


def offered(settings: Settings) -> bool:
    """Return whether this site can resolve any name to a position.

    Parameters
    ----------
    settings
        Of the site.
    """
    return (
        settings.resolver.table is not None
        or settings.resolver.remote
        or any(item.name not in _BUILT_IN for item in _providers(settings))
    )


_BUILT_IN = ("bright", "local", "sesame", "solar")


def _all() -> list[Provider]:
    return sorted(plugins.records("resolvers").values(), key=lambda item: (item.order, item.name))


def _providers(settings: Settings) -> list[Provider]:
    return [item for item in _all() if item.offered(settings)]


def _checked(name: str) -> str:
    found = key(name)
    if not found or len(name) > LONGEST or not name.isprintable():
        raise ParamError(
            say("{name!r:.80} cannot be the name of an object", name),
            name="name",
            remedy=say("1 to {most} printable characters", LONGEST),
        )
    return found


def _one(name: str, found: Sequence[Resolved]) -> Resolved:
    """Choose the surest, unless several are as sure and elsewhere."""
    best = max(item.confidence for item in found)
    sure = sorted(
        (item for item in found if item.confidence == best), key=lambda item: (item.name, item.position or (0.0, 0.0))
    )
    first = sure[0]
    others = [item for item in sure[1:] if not _same(first, item)]
    if others:
        shown = "; ".join(_shown(item) for item in (first, *others)[:5])
        shown = say("{shown} and {count} more", shown, len(others) - 4) if len(others) > 4 else shown
        raise Ambiguous(
            say("{name!r} is the name of {count} objects: {shown}", name, len(others) + 1, shown),
            remedy="use a name that only one of them has",
        )
    return first


def _same(one: Resolved, two: Resolved) -> bool:
    if one.position is None or two.position is None:
        return one.position == two.position and one.name == two.name
    return float(distance(*one.position, *two.position)) * 3600 <= SAME


def _shown(item: Resolved) -> str:
    where = "" if item.position is None else f" at {item.position[0]:.5f} {item.position[1]:+.5f}"
    return f"{item.name}{f' ({item.kind})' if item.kind else ''}{where}"


# --- remembering what others said ----------------------------------------------------------------------------


def _remembered(provider: Provider, asked: Asked) -> tuple[Resolved, ...]:
    """Ask a remote provider, or return what it said: one question at a time for a name, none for a while after a failure."""
    state = asked.site.kept(_State)
    what = (provider.name, asked.key)
    known = _known(state, what, asked)
    if known is not None:
        return known
    with state.lock:
        mine = state.asking.setdefault(what, threading.Lock())
    with mine:
        try:
            known = _known(state, what, asked)  # somebody else may have asked meanwhile
            if known is not None:
                return known
            failed = state.failed.get(provider.name)
            if failed is not None and time.monotonic() - failed[0] < SULK:
                raise failed[1]
            try:
                found = tuple(provider.find(asked))
            except HvenError as error:
                state.failed[provider.name] = (time.monotonic(), error)
                raise
            state.failed.pop(provider.name, None)
            state.kept.keep(what, _Known(time.monotonic(), found))
            return found
        finally:
            with state.lock:
                state.asking.pop(what, None)


def _known(state: _State, what: tuple[str, str], asked: Asked) -> tuple[Resolved, ...] | None:
    known = state.kept.find(what)
    if known is None:
        return None
    age = time.monotonic() - known.at
    keep = asked.site.settings.resolver.keep_days * 86_400
    if age > (keep if known.found else min(keep, UNKNOWN)):
        return None
    return tuple(replace(item, age=item.age + age) for item in known.found)
