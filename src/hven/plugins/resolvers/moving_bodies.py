"""The provider ``solar``: bodies of the Solar System.

They have no fixed position, so the answer only names their type.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from hven.model.errors import format_message
from hven.model.sky import bodies
from hven.query.resolver import NameProvider, NameRequest, ResolvedName, normalize_object_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE_NAME = "Hven's list of Solar-System bodies (NAIF codes, IAU designations)"
MOVING_BODY_NOTE = (
    "the body moves; ephemeris services (IMCCE Miriade, JPL Horizons) compute its position for a time and an observer"
)


@cache
def load_solar_system_bodies() -> Mapping[str, tuple[ResolvedName, ...]]:
    """Return all bodies by the keys of their names."""
    bodies_by_key: dict[str, list[ResolvedName]] = {}
    for table_row in bodies.iterate_solar_system_bodies():
        body = ResolvedName(
            name=table_row.name,
            kind=table_row.kind,
            ids=table_row.ids,
            frame="",
            confidence=1.0,
            source=SOURCE_NAME,
            note=MOVING_BODY_NOTE,
        )
        name_keys = map(normalize_object_name, (body.name, *body.ids))
        for name_key in dict.fromkeys(name_keys):
            bodies_by_key.setdefault(name_key, []).append(body)
    return {name_key: tuple(same_name_bodies) for name_key, same_name_bodies in bodies_by_key.items()}


def find_solar_system_body(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name."""
    return load_solar_system_bodies().get(request.name_key, ())


PROVIDER = NameProvider(
    name="solar",
    order=20,
    offered=lambda _: True,
    place=lambda _: format_message("the bodies of the Solar System"),
    remedy="",
    find=find_solar_system_body,
    is_general=False,
)
