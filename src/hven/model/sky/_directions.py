"""Directions: contours as lists of angles on the observer's sky -> regions on the sphere, split where they cross themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._contour_faults import LONGEST, Check, Contours
from hven.model.sky._disc import taken
from hven.model.sky._outlines import pieces, repeated
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._disc import Disc

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]

CORNERS = 7200
"""Of the polygon that stands for the limb in the plane; its sides are the limb itself on the sphere."""
NEAR = 2e-7
"""Radii below the limb that are taken for it: as far as the sides of that polygon come."""


def polygons(
    offsets: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike, disc: Disc, *,
    width: float = 1.0, check: Check | None = None,
) -> Contours:  # fmt: skip
    """Make regions of contours that are lists of directions; inside is what they wind round.

    Parameters
    ----------
    offsets
        Where in `x` and `y` each contour begins, and the end; shape (n + 1,). The first direction may be repeated at the end.
    x, y
        Arcseconds from the centre of the disc, in the plane of the image, shape (m,).
    disc
        The images, one for each row, or one for all.
    width
        Lines and points become polygons so wide, arcseconds.
    check
        Rows that are known to have faults already.

    Returns
    -------
    contours
        A region or a fault for each row.
    """
    import shapely  # noqa: PLC0415  (0.1 s)

    offsets = np.asarray(offsets, dtype=np.int64)
    length, rows = np.diff(offsets), len(offsets) - 1
    row = np.repeat(np.arange(rows), length)
    check, disc = check or Check(rows), taken(disc, np.arange(rows))
    given = np.asarray([x, y], dtype=np.float64)
    check.mark("no_contour", length == 0)
    check.mark("too_long", length >= LONGEST, length)
    check.mark("no_start", np.bincount(row, weights=~np.isfinite(given).all(axis=0), minlength=rows) > 0)
    check.grid(disc)
    good = check.fault[row] == 0
    row = row[good]
    u, v = disc.flat(
        row,
        *(
            disc_at[row] + a / scale[row]
            for disc_at, a, scale in zip((disc.x, disc.y), given[:, good], (disc.scale_x, disc.scale_y), strict=True)
        ),
    )
    drawn, minimal = _drawn(row, np.stack([u, v], axis=1), rows, width / disc.radius)
    whole = shapely.area(drawn)
    far = np.bincount(row, weights=u * u + v * v > 1.0 - NEAR, minlength=rows) > 0
    turn = np.arange(CORNERS) * (2.0 * np.pi / CORNERS)
    drawn[far] = shapely.intersection(drawn[far], shapely.polygons(np.stack([np.cos(turn), np.sin(turn)], axis=1)))
    area = np.where(check.fault > 0, 0.0, shapely.area(drawn))
    check.mark("off_disc", area <= 0.0)
    clipped = np.where(far & (check.fault == 0), 1.0 - area / np.maximum(whole, 1e-300), 0.0)
    return Contours(
        _regions(drawn, disc, area),
        np.zeros(rows, dtype=np.int64),
        np.where(clipped > 1e-9, clipped, 0.0),
        check.fault,
        check.number,
        minimal,
    )


def _drawn(row: Whole, places: Numbers, rows: int, width: Numbers) -> tuple[Any, Any]:
    """Draw polygons in the plane; what has no area becomes a band, or a square."""
    import shapely  # noqa: PLC0415  (0.1 s)

    size = np.bincount(row, minlength=rows)
    drawn = np.full(rows, shapely.Polygon(), dtype=object)
    many = np.flatnonzero(size >= 3)
    held = size[row] >= 3
    if len(many):
        index = np.searchsorted(many, row[held])
        drawn[many] = shapely.polygons(shapely.linearrings(places[held], indices=index))
    crossed = np.flatnonzero(~shapely.is_valid(drawn))
    drawn[crossed] = [wound(np.asarray(each.exterior.coords)) for each in drawn[crossed]]
    minimal = (size > 0) & (shapely.area(drawn) <= 1e-14)
    lines = np.flatnonzero(minimal)
    first = np.searchsorted(row, np.arange(rows))
    for at in lines:  # few
        of = places[first[at] : first[at] + size[at]]
        line = shapely.linestrings(of) if np.ptp(of, axis=0).any() else shapely.points(of[0])
        drawn[at] = shapely.buffer(line, width[at] / 2.0, cap_style="square", join_style="mitre")
    return drawn, minimal


def wound(ring: Numbers) -> Any:
    """Join the faces that a ring winds round, whichever way.

    Parameters
    ----------
    ring
        On a plane, closed, shape (n, 2).

    Returns
    -------
    shape
        Of GEOS.
    """
    import shapely  # noqa: PLC0415  (0.1 s)

    faces = shapely.get_parts(shapely.polygonize([shapely.node(shapely.linestrings(ring))]))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))
    x0, y0, x1, y1 = *ring[:-1].T, *ring[1:].T
    x, y = inside[:, :1], inside[:, 1:]
    side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
    winding = ((y0 <= y) & (y1 > y) & (side > 0.0)).sum(axis=1) - ((y0 > y) & (y1 <= y) & (side < 0.0)).sum(axis=1)
    return shapely.union_all(faces[winding != 0])


def _regions(drawn: Any, disc: Disc, area: Numbers) -> Regions:
    """Bring polygons of the plane onto the sphere."""
    import shapely  # noqa: PLC0415  (0.1 s)

    part, owner = shapely.get_parts(drawn, return_index=True)
    some = shapely.area(part) > 0.0
    part, owner = part[some], owner[some]
    ring, of = shapely.get_rings(part, return_index=True)
    shell = np.append(True, of[1:] != of[:-1])[: len(ring)]
    ring = np.where(shapely.is_ccw(ring) == shell, ring, shapely.reverse(ring))
    place, index = shapely.get_coordinates(ring, return_index=True)
    kept = np.append(index[1:] == index[:-1], False)[: len(index)]  # rings are closed
    (u, v), index = place[kept].T, index[kept]
    far = np.hypot(u, v)
    on = far > 1.0 - NEAR
    far = np.where(on, far, 1.0)
    u, v = u / far, v / far
    size = np.bincount(index, minlength=len(ring))
    after = np.arange(1, len(u) + 1)
    after[np.cumsum(size) - 1] = np.cumsum(size) - size
    row = owner[of[index]]
    limb = on & on[after] & (np.hypot(u[after] - u, v[after] - v) < 8.0 / CORNERS)
    angle, long, bend = disc.measure(row, u, v, after, limb)
    at, share, offsets = repeated(pieces(row, angle, long, bend, area), np.append(0, np.cumsum(size)))
    lon, lat = disc.places(row, u, v, after, limb, angle, at, share)
    parts = np.append(np.flatnonzero(shell), len(ring))
    return Regions(lon, lat, offsets, parts, np.append(0, np.cumsum(np.bincount(owner, minlength=len(drawn)))))
