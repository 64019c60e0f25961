"""The provider ``bright``: well-known objects, such as Messier's, bright stars and famous radio sources.

It needs no configuration and no network. The objects are in ``bright.csv``, with ICRS positions that are good to about
an arcminute for extended objects and an arcsecond for stars. The positions of stars and of Messier's objects are from
d3-celestial (BSD 3-clause, Olaf Frohn).
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import format_message
from hven.query.resolver._contract import NameProvider, NameRequest, ResolvedName, normalize_object_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.settings import Settings

SOURCE_NAME = "Hven's list of bright objects"
ALIAS_CONFIDENCE = 0.9


@cache
def load_bright_objects() -> tuple[tuple[ResolvedName, float], ...]:
    """Load all objects.

    Returns
    -------
    objects
        Each object with its radius in degrees, 0 for points.
    """
    objects_with_radius = []
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            ids = tuple(filter(None, row["aliases"].split("|")))
            position = float(row["ra"]), float(row["dec"])
            resolved = ResolvedName(
                name=row["name"], position=position, epoch=2000.0, ids=ids, kind=row["kind"], source=SOURCE_NAME
            )
            objects_with_radius.append((resolved, float(row["radius"])))
    return tuple(objects_with_radius)


@cache
def _index_objects_by_name() -> Mapping[str, ResolvedName]:
    """Return the objects by the keys of their names.

    An object's own name takes precedence over an alias of another one.
    """
    objects_by_key = {normalize_object_name(resolved.name): resolved for resolved, _ in load_bright_objects()}
    for resolved, _ in load_bright_objects():
        for name in resolved.ids:
            objects_by_key.setdefault(normalize_object_name(name), resolved)
    return objects_by_key


@cache
def _list_normalized_names() -> tuple[tuple[str, str, ResolvedName, float], ...]:
    return tuple(
        (normalize_object_name(name), name, resolved, radius)
        for resolved, radius in load_bright_objects()
        for name in (resolved.name, *resolved.ids)
    )


def complete_object_name(typed_text: str, max_names: int) -> list[tuple[str, ResolvedName, float]]:
    """Return names that begin with what a user has typed.

    Parameters
    ----------
    typed_text
        The typed text.
    max_names
        Maximum number of names. Names that equal the text come first.

    Returns
    -------
    names
        Each name with its object and the object's radius in degrees. An object appears once.
    """
    prefix_key = normalize_object_name(typed_text)
    if not prefix_key:
        return []
    matches = [entry for entry in _list_normalized_names() if entry[0].startswith(prefix_key)]
    matches.sort(key=lambda entry: (entry[0] != prefix_key, entry[1] != entry[2].name))
    completions_by_object: dict[int, tuple[str, ResolvedName, float]] = {}
    for _, name, resolved, radius in reversed(matches):
        completions_by_object[id(resolved)] = name, resolved, radius
    completions = list(completions_by_object.values())
    completions.reverse()
    return completions[:max_names]


def find_bright_object(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name.

    Parameters
    ----------
    request
        The request.

    Returns
    -------
    objects
        The object, or nothing.
    """
    resolved = _index_objects_by_name().get(request.name_key)
    if resolved is None:
        return ()
    return (resolved,)


def _is_provider_enabled(_: Settings) -> bool:
    return True


def _describe_name_source(_: Settings) -> str:
    return format_message("a list of bright objects")


PROVIDER = NameProvider(
    name="bright",
    order=90,
    offered=_is_provider_enabled,
    place=_describe_name_source,
    remedy="",
    find=find_bright_object,
)
