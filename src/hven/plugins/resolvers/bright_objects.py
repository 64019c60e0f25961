"""The provider ``bright``: well-known objects, such as Messier's, bright stars and famous radio sources.

It needs no configuration and no network. The objects are in ``bright_objects.csv``, with ICRS positions that are good
to about an arcminute for extended objects and an arcsecond for stars. The positions of stars and of Messier's objects
are from d3-celestial (BSD 3-clause, Olaf Frohn).
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import format_message
from hven.query.resolver import NameProvider, NameRequest, ResolvedName, normalize_object_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE_NAME = "Hven's list of bright objects"


@cache
def load_bright_objects() -> tuple[ResolvedName, ...]:
    """Load all objects."""
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            ResolvedName(
                name=row["name"],
                position=(float(row["ra"]), float(row["dec"])),
                epoch=2000.0,
                ids=tuple(filter(None, row["aliases"].split("|"))),
                kind=row["kind"],
                source=SOURCE_NAME,
                radius_degrees=float(row["radius"]),
            )
            for row in csv.DictReader(file)
        )


@cache
def _list_normalized_names() -> tuple[tuple[str, str, ResolvedName], ...]:
    return tuple(
        (normalize_object_name(name), name, resolved)
        for resolved in load_bright_objects()
        for name in (resolved.name, *resolved.ids)
    )


@cache
def _index_objects_by_name() -> Mapping[str, ResolvedName]:
    """Return the objects by the keys of their names.

    An object's own name takes precedence over an alias of another one.
    """
    objects_by_key: dict[str, ResolvedName] = {}
    for name_key, name, resolved in _list_normalized_names():
        if name == resolved.name or name_key not in objects_by_key:
            objects_by_key[name_key] = resolved
    return objects_by_key


def complete_bright_name(typed_text: str, max_names: int) -> list[tuple[str, ResolvedName]]:
    """Return names that begin with what a user has typed, as `NameProvider.complete` does."""
    prefix_key = normalize_object_name(typed_text)
    if not prefix_key:
        return []
    matches = [entry for entry in _list_normalized_names() if entry[0].startswith(prefix_key)]
    matches.sort(key=lambda entry: (entry[0] != prefix_key, entry[1] != entry[2].name))
    completions_by_object: dict[int, tuple[str, ResolvedName]] = {}
    for _, name, resolved in reversed(matches):
        completions_by_object[id(resolved)] = name, resolved
    completions = list(completions_by_object.values())[::-1]
    return completions[:max_names]


def find_bright_object(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name."""
    resolved = _index_objects_by_name().get(request.name_key)
    if resolved is None:
        return ()
    return (resolved,)


PROVIDER = NameProvider(
    name="bright",
    order=90,
    offered=lambda _: True,
    place=lambda _: format_message("a list of bright objects"),
    remedy="",
    find=find_bright_object,
    complete=complete_bright_name,
    is_general=False,
)
