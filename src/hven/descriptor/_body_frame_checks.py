"""Check frames of bodies that a descriptor gives by WKT or by a code of the IAU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.errors import suggest_spelling
from hven.model.sky import bodies, planetary_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.descriptor.value_schema import FaultCollector, LocatedKeyValues


def read_and_check_frame_body(
    crs: str,
    frame_fields: LocatedKeyValues,
    faults: FaultCollector,
    *,
    refposition: str | None,
    constants_by_column: Mapping[str, str],
    frame_label: str,
) -> str | None:
    """Read the body of a frame, and compare the frame with the other keys of the table.

    Parameters
    ----------
    crs
        WKT or code of the frame.
    frame_fields
        Keys of the frame as written.
    faults
        Collects the faults.
    refposition
        Body that the frame names, if any.
    constants_by_column
        Values of the columns that have the same value in all rows.
    frame_label
        Path of the frame, for messages.

    Returns
    -------
    body
        Name of the body; `refposition` if the frame cannot be read.
    """
    place = frame_fields.places["crs"]
    try:
        if any(mark in crs for mark in "[("):
            body_frame = planetary_frames.parse_wkt_frame(crs)
        else:
            body_frame = planetary_frames.parse_iau_frame_code(crs)
    except ValueError as error:
        faults.add_error(
            f"{frame_label}.crs: {error}",
            place,
            "give the code of a frame, such as IAU_2015:49900, or its WKT with an ELLIPSOID or TRIAXIAL; projinfo "
            "prints this WKT",
        )
        return refposition
    frame = body_frame.frame
    body = str(frame.body)
    if bodies.find_solar_system_body(body) is None:
        known_names = [known_body.name for known_body in bodies.iterate_solar_system_bodies()]
        hint = suggest_spelling(body, known_names)
        remedy = (
            hint or "ignore this warning if you defined the body yourself; Hven takes the name of the body from the WKT"
        )
        faults.add_warning(f"{frame_label}.crs: Hven does not know the size and shape of {body!r}", place, remedy)
    other_bodies = {"refposition": refposition, "target_name": constants_by_column.get("target_name")}
    for key, other_body in other_bodies.items():
        if other_body is None:
            continue
        other_name = bodies.find_iau_name(other_body)
        if other_name is not None and other_name != body:
            faults.add_error(
                f"{frame_label}.crs: the frame is for {body}, but {key} names {other_body}",
                place,
                "correct the key that names the wrong body",
            )
    frame_description = constants_by_column.get("spatial_coordinate_description", "").lower()
    if frame.graphic:
        latitude_kind, other_kind = ("planetographic", "centric")
    else:
        latitude_kind, other_kind = ("planetocentric", "graphic")
    if other_kind in frame_description:
        faults.add_error(
            f"{frame_label}.crs: the frame's latitudes are {latitude_kind}, but spatial_coordinate_description "
            f"says {frame_description!r:.60}",
            place,
            "give the frame that the latitudes are in, or convert the latitudes: planetocentric(lat, 'Mars')",
        )
    if frame.graphic and frame.flattening > 0.0:
        max_difference_degrees = np.degrees(frame.flattening)  # of tan(graphic) (c/a)^2 = tan(centric)
        faults.add_warning(
            f"{frame_label}.crs: the latitudes are planetographic, but regions and the EPN-TAP frame 'body' use "
            f"planetocentric latitudes; the two differ by up to {max_difference_degrees:.2f} degrees",
            place,
            f"convert the latitudes under `map` with planetocentric(lat, {body!r})",
        )
    if frame.west:
        faults.add_warning(
            (
                f"{frame_label}.crs: the longitudes increase to the west, but in regions and in EPN-TAP, longitudes "
                "increase to the east"
            ),
            place,
            (
                "convert the longitudes under `map` with east_lon(lon), and their bounds with "
                "east_min(west_min, west_max) and east_max(..)"
            ),
        )
    return refposition or body
