"""Find tables whose positions are right ascension and declination."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.model.table import Table

ICRS_FRAMES = ("ICRS", "FK5")
# their longitude is no right ascension
NON_EQUATORIAL_UCDS = ("pos.bodyrc", "pos.earth", "pos.galactic", "pos.ecliptic")


def has_icrs_position(table: Table) -> bool:
    """Check whether a table's position is right ascension and declination, and not in another frame or on a body.

    Parameters
    ----------
    table
        Any table.

    Returns
    -------
    bool
        False if it has no position.
    """
    if table.position is None:
        return False
    column = table.find_column(table.position[0])
    if (column.ucd or "").lower().startswith(NON_EQUATORIAL_UCDS):
        return False
    declared_systems = [frame.system for frame in table.frames if frame.id == column.frame and frame.system]
    if not declared_systems:
        return True
    return declared_systems[0].upper().startswith(ICRS_FRAMES)
