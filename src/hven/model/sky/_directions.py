"""Directions: contours as lists of angles on the observer's sky -> regions on the sphere, split where they cross themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._contour_faults import LONGEST, Check, Contours
from hven.model.sky._disc import taken
from hven.model.sky._geos import taken_apart, wound
from hven.model.sky._outlines import pieces, repeated
from hven.model.sky._ragged import followers, owners
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
        np.zeros(rows, np.bool_),
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
    if len(crossed):  # what they wind round, whichever way
        xy, rings, parts, rings_of = taken_apart(drawn[crossed])
        drawn[crossed] = wound(xy, rings, parts, rings_of, np.zeros(len(rings) - 1, np.bool_), 0.0)
    minimal = (size > 0) & (shapely.area(drawn) <= 1e-14)
    lines = np.flatnonzero(minimal)
    first = np.searchsorted(row, np.arange(rows))
    for at in lines:  # few
        of = places[first[at] : first[at] + size[at]]
        line = shapely.linestrings(of) if np.ptp(of, axis=0).any() else shapely.points(of[0])
        drawn[at] = shapely.buffer(line, width[at] / 2.0, cap_style="square", join_style="mitre")
    return drawn, minimal


def _regions(drawn: Any, disc: Disc, area: Numbers) -> Regions:
    """Bring polygons of the plane onto the sphere."""
    import shapely  # noqa: PLC0415  (0.1 s)

    place, rings, parts, rows = taken_apart(shapely.orient_polygons(drawn))
    u, v = place.T
    far = np.hypot(u, v)
    on = far > 1.0 - NEAR
    far = np.where(on, far, 1.0)
    u, v = u / far, v / far
    after, row = followers(rings), owners(rings[parts[rows]])
    limb = on & on[after] & (np.hypot(u[after] - u, v[after] - v) < 8.0 / CORNERS)
    angle, long, bend, points = disc.measure(row, u, v, after, limb)
    at, share, offsets = repeated(pieces(row, angle, long, bend, area), rings)
    return Regions(*disc.places(row, u, v, after, limb, angle, points, at, share), offsets, parts, rows)
