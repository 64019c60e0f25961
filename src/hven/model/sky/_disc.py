"""Disc: images of a body's disc, and where on the sphere what they show is.

Lengths in the plane of the image count in radii of the disc: u to the right, v to the north of the body's axis, 1 at the limb.
A straight line of the image is a small circle on the sphere: the plane through the observer and the line cuts it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._sphere import DEGREE, eastward

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

ARCSEC = np.pi / 648_000.0
"""Radians."""
NEAR = 0.99
"""Squared radii: what is farther in than that is not cut at the limb."""


@dataclass(frozen=True, slots=True)
class Disc:
    """Images of a sphere: where its disc is, and who sees it from where. Numbers, or arrays of one length: an image for each row.

    Attributes
    ----------
    x, y
        Centre of the disc, pixels; the first pixel's centre is 0.
    scale_x, scale_y
        Arcseconds per pixel, negative where the image is mirrored.
    radius
        Of the disc in the plane of the image, arcseconds: of this observation, not of an ephemeris.
    lon, lat
        Of the point of the sphere below the observer, degrees: (0, B0) gives Stonyhurst's coordinates to observers at the Earth, (L0, B0) Carrington's.
    roll
        Degrees by which the image is turned (CROTA2).
    """

    x: Numbers
    y: Numbers
    scale_x: Numbers
    scale_y: Numbers
    radius: Numbers
    lon: Numbers
    lat: Numbers
    roll: Numbers = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        """Make arrays of one length."""
        align(self)

    @property
    def mirrored(self) -> Flags:
        """Whether each image is seen in a mirror: x or y runs backwards; shape (n,)."""
        return self.scale_x * self.scale_y < 0.0

    def flat(self, row: Whole, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
        """Compute places in the plane of the image.

        Parameters
        ----------
        row, x, y
            Row of the image, pixels; shape (n,).

        Returns
        -------
        u, v
            Radii, shape (n,).
        """
        a = (x - self.x[row]) * (self.scale_x / self.radius)[row]
        b = (y - self.y[row]) * (self.scale_y / self.radius)[row]
        if not self.roll.any():
            return a, b
        turn = np.radians(self.roll)
        cos, sin = np.cos(turn)[row], np.sin(turn)[row]
        return a * cos - b * sin, a * sin + b * cos

    def within(self, x: tuple[Whole, Whole], y: tuple[Whole, Whole]) -> Flags:
        """Tell which boxes of pixels are surely nowhere near the limb.

        Parameters
        ----------
        x, y
            The first and the last pixel of a box in each image, shape (n,).

        Returns
        -------
        within
            Shape (n,).
        """
        row = np.arange(len(x[0]))
        corners = [self.flat(row, a, b) for a in (x[0] - 1, x[1] + 1) for b in (y[0] - 1, y[1] + 1)]
        found: Flags = np.max([u * u + v * v for u, v in corners], axis=0) < NEAR
        return found

    def pixel(self, row: Whole, u: Numbers, v: Numbers) -> tuple[Numbers, Numbers]:
        """Compute the pixels of places in the plane: `flat` back.

        Parameters
        ----------
        row, u, v
            Row of the image, radii; shape (n,).

        Returns
        -------
        x, y
            Pixels, shape (n,).
        """
        turn = np.radians(self.roll)
        cos, sin = np.cos(turn)[row], np.sin(turn)[row]
        a, b = u * cos + v * sin, v * cos - u * sin
        return self.x[row] + a * (self.radius / self.scale_x)[row], self.y[row] + b * (self.radius / self.scale_y)[row]

    def cell(self, row: Whole) -> Numbers:
        """Compute the area of a pixel in the plane.

        Parameters
        ----------
        row
            Row of the image, shape (n,).

        Returns
        -------
        area
            Squared radii, shape (n,).
        """
        return np.abs(self.scale_x * self.scale_y / self.radius**2)[row]

    def measure(
        self, row: Whole, u: Numbers, v: Numbers, after: Whole, limb: Flags
    ) -> tuple[Numbers, Numbers, Numbers, tuple[Numbers, ...]]:
        """Measure edges on the sphere.

        Parameters
        ----------
        row, u, v
            Nodes, shape (n,).
        after
            The node at which the edge of each ends, shape (n,).
        limb
            Whether it follows the limb, shape (n,).

        Returns
        -------
        angle, length, bend
            Of the small circle of each edge: its part of a turn and its length in radians, and its geodesic curvature; shape (n,).
        points
            The nodes on the sphere, for `places`.
        """
        tan = np.tan(self.radius * ARCSEC)[row]
        to_u, to_v = u[after], v[after]
        du, dv, cross = to_u - u, to_v - v, u * to_v - v * to_u
        height = np.abs(cross) * np.sqrt((1.0 + tan * tan) / np.maximum(du * du + dv * dv + (tan * cross) ** 2, 1e-300))
        height = np.minimum(height, 1.0)
        if limb.any():
            height = np.where(limb, tan / np.sqrt(1.0 + tan * tan), height)
        size = np.sqrt(np.maximum(1.0 - height * height, 1e-30))
        points = seen(u, v, tan)
        chord = np.sqrt(sum((one[after] - one) ** 2 for one in points))
        angle = 2.0 * np.arcsin(np.minimum(chord / (2.0 * size), 1.0))
        if limb.any():
            angle = np.where(limb, swept(u, v, after), angle)
        return angle, angle * size, height / size, points

    def places(
        self, row: Whole, u: Numbers, v: Numbers, after: Whole, limb: Flags, angle: Numbers, points: tuple[Numbers, ...], at: Whole, part: Numbers,
    ) -> tuple[Numbers, Numbers]:  # fmt: skip
        """Compute points of edges on the sphere.

        Parameters
        ----------
        row, u, v, after, limb, angle, points
            Edges, as in `measure`, shape (n,).
        at
            Of which edge each point is, shape (m,).
        part
            How much of the edge lies before it, 0 to 1, shape (m,).

        Returns
        -------
        lon, lat
            Degrees, shape (m,), longitudes in [0, 360).
        """
        lon, lat = self._turned(row, *points)
        lon, lat = lon[at], lat[at]
        more = np.flatnonzero(part > 0.0)
        if len(more):
            at, part = at[more], part[more]
            row, turn, on, tan = row[at], part * angle[at], limb[at], np.tan(self.radius * ARCSEC)[row[at]]
            x, y, z = (one[at] for one in points)
            arc, inner = np.flatnonzero(on), np.flatnonzero(~on)
            theta = np.arctan2(v[at[arc]], u[at[arc]]) + turn[arc]
            x[arc], y[arc], z[arc] = seen(np.cos(theta), np.sin(theta), tan[arc])
            begin, end = at[inner], after[at[inner]]
            a, b, c, d = u[begin], v[begin], u[end], v[end]
            n = np.stack([d - b, a - c, tan[inner] * (a * d - b * c)])
            n /= np.sqrt(np.sum(n**2, axis=0))
            p = np.stack([x, y, z])[:, inner]
            centre = n * np.sum(n * p, axis=0)
            p -= centre
            across = p[[1, 2, 0]] * n[[2, 0, 1]] - p[[2, 0, 1]] * n[[1, 2, 0]]  # ahead on the observer's side
            x[inner], y[inner], z[inner] = centre + p * np.cos(turn[inner]) + across * np.sin(turn[inner])
            lon[more], lat[more] = self._turned(row, x, y, z)
        return lon, lat

    def _turned(self, row: Whole, x: Numbers, y: Numbers, z: Numbers) -> tuple[Numbers, Numbers]:
        """Compute longitudes and latitudes of what is to the right, to the north and to the observer."""
        tilt = np.radians(self.lat)
        cos, sin = np.cos(tilt)[row], np.sin(tilt)[row]
        out = z * cos - y * sin
        lon = eastward((self.lon % 360.0)[row] + np.arctan2(x, out) * DEGREE)
        return lon, np.arctan2(y * cos + z * sin, np.sqrt(x * x + out * out)) * DEGREE


def align(images: Any) -> None:
    """Make the numbers of images arrays of one length.

    Parameters
    ----------
    images
        Disc or chart.
    """
    names = [each.name for each in fields(images) if each.type != "bool"]
    values = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(getattr(images, name), dtype=np.float64)) for name in names)
    )
    for name, value in zip(names, values, strict=True):
        object.__setattr__(images, name, value)


def taken(grid: Any, rows: Whole) -> Any:
    """Take images out of many.

    Parameters
    ----------
    grid
        Disc or chart.
    rows
        Indexes, shape (n,); of one image, it is taken for all.

    Returns
    -------
    grid
        Of the same kind, n of them.
    """
    if len(grid.x) == 1:
        rows = np.zeros_like(rows)
    arrays = {field.name: getattr(grid, field.name) for field in fields(grid)}
    return replace(grid, **{name: array[rows] for name, array in arrays.items() if isinstance(array, np.ndarray)})


def seen(u: Numbers, v: Numbers, tan: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Compute the points of the unit sphere that are seen at places of the plane.

    Parameters
    ----------
    u, v
        Radii of the disc, any shape; beyond the limb, the place is taken for one on it.
    tan
        Tangent of the disc's radius, broadcast; 0: from infinitely far.

    Returns
    -------
    x, y, z
        To the right, to the north, to the observer; in radii of the sphere.
    """
    w = np.minimum(u * u + v * v, 1.0)
    cos = 1.0 / np.sqrt(1.0 + tan * tan * w)
    far = np.sqrt(1.0 + tan * tan)
    depth = np.sqrt(1.0 - w) * cos
    out = cos * (cos * far - depth * tan)
    return u * out, v * out, cos * (cos * far * tan * w + depth)


def swept(u: Numbers, v: Numbers, after: Whole) -> Numbers:
    """Compute the angle from each node anticlockwise to the next one; to itself it is a whole turn.

    Parameters
    ----------
    u, v, after
        Nodes on the limb, shape (n,).

    Returns
    -------
    angle
        Radians in (0, 2 pi].
    """
    angle = np.arctan2(v[after], u[after]) - np.arctan2(v, u)
    return np.where(angle <= 0.0, angle + 2.0 * np.pi, angle)
