"""Disc: images of a body's disc, and where on the sphere what they show is.

Lengths in the plane of the image count in radii of the disc: u to the right, v to the north of the body's axis, 1 at the limb.
A straight line of the image is a small circle on the sphere: the plane through the observer and the line cuts it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

ARCSEC = np.pi / 648_000.0
"""Radians."""


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
        turn = np.radians(self.roll)
        cos, sin = np.cos(turn)[row], np.sin(turn)[row]
        return a * cos - b * sin, a * sin + b * cos

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
    ) -> tuple[Numbers, Numbers, Numbers]:
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
        """
        tan = np.tan(self.radius * ARCSEC)[row]
        du, dv, cross = u[after] - u, v[after] - v, u * v[after] - v * u[after]
        height = np.abs(cross) * np.sqrt((1.0 + tan**2) / np.maximum(du**2 + dv**2 + (tan * cross) ** 2, 1e-300))
        height = np.where(limb, tan / np.sqrt(1.0 + tan**2), np.minimum(height, 1.0))
        size = np.sqrt(np.maximum(1.0 - height**2, 1e-30))
        x, y, z = seen(u, v, tan)
        chord = np.sqrt((x[after] - x) ** 2 + (y[after] - y) ** 2 + (z[after] - z) ** 2)
        angle = np.where(limb, swept(u, v, after), 2.0 * np.arcsin(np.minimum(chord / (2.0 * size), 1.0)))
        return angle, angle * size, height / size

    def places(
        self, row: Whole, u: Numbers, v: Numbers, after: Whole, limb: Flags, angle: Numbers, at: Whole, part: Numbers
    ) -> tuple[Numbers, Numbers]:
        """Compute points of edges on the sphere.

        Parameters
        ----------
        row, u, v, after, limb, angle
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
        row, to, turn = row[at], after[at], angle[at]
        tan = np.tan(self.radius * ARCSEC)[row]
        a, b = u[at], v[at]
        arc = np.flatnonzero(limb[at] & (part > 0.0))
        theta = np.arctan2(b[arc], a[arc]) + part[arc] * turn[arc]
        a[arc], b[arc] = np.cos(theta), np.sin(theta)
        x, y, z = seen(a, b, tan)
        inner = np.flatnonzero(~limb[at] & (part > 0.0))
        if len(inner):
            end, a, b = to[inner], a[inner], b[inner]
            n = np.stack([v[end] - b, a - u[end], tan[inner] * (a * v[end] - b * u[end])])
            n /= np.sqrt(np.sum(n**2, axis=0))
            p = np.stack([x, y, z])[:, inner]
            centre = n * np.sum(n * p, axis=0)
            p -= centre
            cos, sin = np.cos(part[inner] * turn[inner]), np.sin(part[inner] * turn[inner])
            across = p[[1, 2, 0]] * n[[2, 0, 1]] - p[[2, 0, 1]] * n[[1, 2, 0]]  # ahead on the observer's side
            x[inner], y[inner], z[inner] = centre + p * cos + across * sin
        tilt = np.radians(self.lat)
        cos, sin = np.cos(tilt)[row], np.sin(tilt)[row]
        out = z * cos - y * sin
        lon = (self.lon[row] + np.degrees(np.arctan2(x, out))) % 360.0
        return np.where(lon >= 360.0, 0.0, lon), np.degrees(np.arctan2(y * cos + z * sin, np.hypot(x, out)))


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
