"""Frames of bodies in the report of the IAU of 2015, as PROJ has them: other numbers would name no frame."""

from __future__ import annotations

from hven.model.sky import bodies

_PLANETS = (10, 199, 299, 399, 499, 599, 699, 799, 899, 999)
_MOONS = (301, 401, 402, *range(501, 517), *range(601, 619), 632, 633, 634, 635, 649, 653, *range(701, 716))
_OUTER_MOONS = (*range(801, 809), 901)
_COMETS = (1000005, 1000012, 1000036, 1000041, 1000093, 1000107)
_ASTEROIDS = (2000001, 2000004, 2000016, 2000021, 2000052, 2000216, 2000253, 2000433, 2000511, 2002867, 2004179)
_BODY_NUMBERS = frozenset(  # of NAIF
    (*_PLANETS, *_MOONS, *_OUTER_MOONS, *_COMETS, *_ASTEROIDS, 2025143, 2431010, 9511010)
)


def find_frame_code(body_name: str) -> str | None:
    """Return the code of the planetocentric frame of a body, east-positive; None if it is not known.

    Parameters
    ----------
    body_name
        Name of the body.
    """
    body = bodies.find_solar_system_body(body_name)
    if body is None or not body.ids[-1].startswith("NAIF "):
        return None
    number = int(body.ids[-1].split()[1])
    return f"IAU_2015:{100 * number}" if number in _BODY_NUMBERS else None
