"""The provider ``solar``: bodies of the Solar System. What can be said of them by name is what they are; they have no fixed place."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from hven.model.errors import say
from hven.model.sky import bodies as table
from hven.query.resolver._contract import Asked, Provider, Resolved, key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings

SOURCE = "Hven's list of Solar-System bodies (NAIF codes, IAU designations)"
NOTE = (
    "it moves: compute its position for a time and an observer with an ephemeris service (IMCCE Miriade, JPL Horizons)"
)


@cache
def bodies() -> Mapping[str, tuple[Resolved, ...]]:
    """Return every body by the keys of its names."""
    found: dict[str, list[Resolved]] = {}
    for one in table.bodies():
        body = Resolved(name=one.name, kind=one.kind, ids=one.ids, frame="", confidence=1.0, source=SOURCE, note=NOTE)
        for word in dict.fromkeys((key(body.name), *(key(other) for other in body.ids))):
            found.setdefault(word, []).append(body)
    return {word: tuple(items) for word, items in found.items()}


def find(asked: Asked) -> Sequence[Resolved]:
    """Look the name up."""
    return bodies().get(asked.key, ())


def _always(_: Settings) -> bool:
    return True


def _place(_: Settings) -> str:
    return say("the bodies of the Solar System")


PROVIDER = Provider(name="solar", order=20, offered=_always, place=_place, remedy="", find=find)
