"""The provider ``bright``: objects that everybody knows by name - Messier's, bright stars, famous radio sources - out of the box, without a network.

``bright.csv`` has them: positions (ICRS) good to about an arcminute for extended objects and an arcsecond for stars; those of stars and of Messier's
objects are taken from d3-celestial (BSD 3-clause, Olaf Frohn).
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import say
from hven.query.resolver._contract import Asked, Provider, Resolved, key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings

SOURCE = "Hven's list of bright objects"
ALIAS = 0.9  # how sure another name is


@cache
def objects() -> tuple[tuple[Resolved, float], ...]:
    """Return every object.

    Returns
    -------
    objects
        Each with its radius in degrees, 0 for points.
    """
    found = []
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            ids = tuple(filter(None, row["aliases"].split("|")))
            place = float(row["ra"]), float(row["dec"])
            one = Resolved(name=row["name"], position=place, epoch=2000.0, ids=ids, kind=row["kind"], source=SOURCE)
            found.append((one, float(row["radius"])))
    return tuple(found)


@cache
def _by_key() -> Mapping[str, Resolved]:
    """Return the objects by the keys of their names; an object's own name goes before another one's alias."""
    found = {key(one.name): one for one, _ in objects()}
    for one, _ in objects():
        for name in one.ids:
            found.setdefault(key(name), one)
    return found


@cache
def _begins() -> tuple[tuple[str, str, Resolved, float], ...]:
    return tuple((key(name), name, one, size) for one, size in objects() for name in (one.name, *one.ids))


def completed(like: str, most: int) -> list[tuple[str, Resolved, float]]:
    """Return the names that begin with what somebody writes.

    Parameters
    ----------
    like
        What is written.
    most
        Names at most; those that are the whole word come first.

    Returns
    -------
    names
        Each with its object and its radius in degrees.
    """
    begin = key(like)
    found = [one for one in _begins() if begin and one[0].startswith(begin)]
    found.sort(key=lambda one: (one[0] != begin, one[1] != one[2].name))
    return list({id(what): (name, what, size) for _, name, what, size in reversed(found)}.values())[::-1][:most]


def find(asked: Asked) -> Sequence[Resolved]:
    """Look the name up.

    Parameters
    ----------
    asked
        The name.

    Returns
    -------
    found
        The object, or nothing.
    """
    found = _by_key().get(asked.key)
    return () if found is None else (found,)


def _always(_: Settings) -> bool:
    return True


def _place(_: Settings) -> str:
    return say("a list of bright objects")


PROVIDER = Provider(name="bright", order=90, offered=_always, place=_place, remedy="", find=find)
