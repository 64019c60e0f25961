"""Frames of bodies as descriptors say them, by WKT or by a code of the IAU: what cannot be, or contradicts what else is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import nearest
from hven.model.sky import bodies, planets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.descriptor.value_schema import Faults, Fields


def of_body(
    crs: str, refposition: str | None, said: Mapping[str, str], what: str, item: Fields, faults: Faults
) -> str | None:
    """Read which body a frame is of, and compare the frame with what the table says besides.

    Parameters
    ----------
    crs
        WKT or a code.
    refposition
        The body that the frame names.
    said
        Columns that have one value in all rows.
    what
        The frame, for messages.
    item
        Where it stands.
    faults
        Takes what is wrong.

    Returns
    -------
    body
        Its name.
    """
    place = item.places["crs"]
    try:
        found = planets.of_wkt(crs) if any(mark in crs for mark in "[(") else planets.of_code(crs)
    except ValueError as wrong:
        faults.error(
            f"{what}.crs: {wrong}",
            place,
            "give the WKT of a frame with an ELLIPSOID (or TRIAXIAL), as projinfo IAU_2015:49900 writes it, or its code",
        )
        return refposition
    frame, body = found.frame, str(found.frame.body)
    if bodies.find(body) is None:
        remedy = (
            nearest(body, [one.name for one in bodies.bodies()])
            or "right if it is a body of your own; its name is taken from the WKT"
        )
        faults.warning(f"{what}.crs: nothing is known of a body {body!r}", place, remedy)
    for word, other in (("refposition", refposition), ("target_name", said.get("target_name"))):
        if other is not None and bodies.target_name(other) is not None and bodies.target_name(other) != body:
            faults.error(
                f"{what}.crs: the frame is of {body}, and {word} says {other}",
                place,
                "one of the two is another body's",
            )
    words = said.get("spatial_coordinate_description", "").lower()
    kind, other = ("planetographic", "centric") if frame.graphic else ("planetocentric", "graphic")
    if other in words:
        faults.error(
            f"{what}.crs: latitudes of the frame are {kind}, and spatial_coordinate_description says {words!r:.60}",
            place,
            "say the frame that the latitudes are in, or turn them: planetocentric(lat, 'Mars')",
        )
    if frame.graphic and frame.flattening > 0.0:
        most = np.degrees(frame.flattening)  # of tan(graphic) (c/a)^2 = tan(centric)
        faults.warning(
            f"{what}.crs: its latitudes are planetographic, up to {most:.2f} degrees from planetocentric ones, which regions and EPN-TAP's frame body have",
            place,
            f"map them by planetocentric(lat, {body!r})",
        )
    if frame.west:
        faults.warning(
            f"{what}.crs: its longitudes grow to the west, and those of regions and EPN-TAP to the east",
            place,
            "map them by east_lon(lon); bounds by east_min(west_min, west_max) and east_max(..)",
        )
    return refposition or body
