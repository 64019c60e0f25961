"""Frames of bodies as descriptors say them, by WKT or by a code of the IAU.

What cannot be, or contradicts what else is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import suggest_spelling
from hven.model.sky import bodies, planetary_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.descriptor.value_schema import FaultCollector, KeyValues


def check_body_frame(
    crs: str,
    refposition: str | None,
    constants_by_column: Mapping[str, str],
    frame_label: str,
    frame_fields: KeyValues,
    faults: FaultCollector,
) -> str | None:
    """Read which body a frame is of, and compare the frame with what the table says besides.

    Parameters
    ----------
    crs
        WKT or a code.
    refposition
        The body that the frame names.
    constants_by_column
        Columns that have one value in all rows.
    frame_label
        The frame, for messages.
    frame_fields
        Where it stands.
    faults
        Takes what is wrong.

    Returns
    -------
    body
        Its name.
    """
    place = frame_fields.places["crs"]
    try:
        if any(mark in crs for mark in "[("):
            body_frame = planetary_frames.parse_wkt_frame(crs)
        else:
            body_frame = planetary_frames.parse_frame_code(crs)
    except ValueError as error:
        faults.add_error(
            f"{frame_label}.crs: {error}",
            place,
            "give the WKT of a frame with an ELLIPSOID (or TRIAXIAL), as projinfo IAU_2015:49900 writes it, or "
            "its code",
        )
        return refposition
    frame = body_frame.frame
    body = str(body_frame.frame.body)
    if bodies.find_body(body) is None:
        remedy = (
            suggest_spelling(body, [known_body.name for known_body in bodies.iterate_bodies()])
            or "right if it is a body of your own; its name is taken from the WKT"
        )
        faults.add_warning(f"{frame_label}.crs: nothing is known of a body {body!r}", place, remedy)
    for word, other in (("refposition", refposition), ("target_name", constants_by_column.get("target_name"))):
        if other is not None and bodies.find_iau_name(other) is not None and bodies.find_iau_name(other) != body:
            faults.add_error(
                f"{frame_label}.crs: the frame is of {body}, and {word} says {other}",
                place,
                "one of the two is another body's",
            )
    frame_description = constants_by_column.get("spatial_coordinate_description", "").lower()
    if frame.graphic:
        latitude_kind, other = ("planetographic", "centric")
    else:
        latitude_kind, other = ("planetocentric", "graphic")
    if other in frame_description:
        faults.add_error(
            f"{frame_label}.crs: latitudes of the frame are {latitude_kind}, and "
            f"spatial_coordinate_description says {frame_description!r:.60}",
            place,
            "say the frame that the latitudes are in, or turn them: planetocentric(lat, 'Mars')",
        )
    if frame.graphic and frame.flattening > 0.0:
        max_difference_degrees = np.degrees(frame.flattening)  # of tan(graphic) (c/a)^2 = tan(centric)
        faults.add_warning(
            f"{frame_label}.crs: its latitudes are planetographic, up to {max_difference_degrees:.2f} degrees "
            f"from planetocentric ones, which regions and EPN-TAP's frame body have",
            place,
            f"map them by planetocentric(lat, {body!r})",
        )
    if frame.west:
        faults.add_warning(
            f"{frame_label}.crs: its longitudes grow to the west, and those of regions and EPN-TAP to the east",
            place,
            "map them by east_lon(lon); bounds by east_min(west_min, west_max) and east_max(..)",
        )
    return refposition or body
