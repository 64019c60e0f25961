"""Describe images of a body's disc, and map their pixels to the sphere.

The unit of length in the plane of the image is the radius of the disc: u to the right, v to the north of the body's
axis, 1 at the limb. A straight line of the image is a small circle on the sphere: the sphere's section with the plane
through the observer and the line.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky import sphere

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

RADIANS_PER_ARCSECOND = np.pi / 648_000.0
"""Radians."""
MAX_UNCLIPPED_SQUARED_RADIUS = 0.99
"""Squared radii: outlines within this limit are not cut at the limb."""


@dataclass(frozen=True, slots=True)
class DiscImage:
    """Describe images of a sphere: the place of its disc, and the position of the observer.

    The fields are numbers, or arrays of one length, with one image for each row.

    Attributes
    ----------
    x, y
        Centre of the disc, pixels; the first pixel's centre is 0.
    scale_x, scale_y
        Arcseconds per pixel, negative where the image is mirrored.
    radius
        Radius of the disc in the plane of the image, arcseconds: that of this observation, not of an ephemeris.
    lon, lat
        The point of the sphere below the observer, degrees: (0, B0) gives Stonyhurst coordinates for observers at the
        Earth, (L0, B0) Carrington coordinates.
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
        broadcast_image_fields(self)

    @property
    def is_mirrored(self) -> Flags:
        """Whether each image is mirrored, with x or y running backwards; shape (n,)."""
        return self.scale_x * self.scale_y < 0.0

    def to_plane(self, row: Whole, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
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
        cos = np.cos(turn)[row]
        sin = np.sin(turn)[row]
        return a * cos - b * sin, a * sin + b * cos

    def is_inside_limb(self, x: tuple[Whole, Whole], y: tuple[Whole, Whole]) -> Flags:
        """Return which boxes of pixels are certainly inside the limb, away from it.

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
        corner_x = (x[0] - 1, x[1] + 1)
        corner_y = (y[0] - 1, y[1] + 1)
        corners = [self.to_plane(row, *corner) for corner in itertools.product(corner_x, corner_y)]
        squared_radii = [u * u + v * v for u, v in corners]
        is_inside: Flags = np.max(squared_radii, axis=0) < MAX_UNCLIPPED_SQUARED_RADIUS
        return is_inside

    def to_pixels(self, row: Whole, u: Numbers, v: Numbers) -> tuple[Numbers, Numbers]:
        """Compute the pixels of places in the plane: the inverse of `to_plane`.

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
        cos = np.cos(turn)[row]
        sin = np.sin(turn)[row]
        a = u * cos + v * sin
        b = v * cos - u * sin
        x = self.x[row] + a * (self.radius / self.scale_x)[row]
        y = self.y[row] + b * (self.radius / self.scale_y)[row]
        return x, y

    def compute_pixel_area(self, row: Whole) -> Numbers:
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

    def measure_edge_arcs(
        self, row: Whole, u: Numbers, v: Numbers, successor: Whole, on_limb: Flags
    ) -> tuple[Numbers, Numbers, Numbers, tuple[Numbers, ...]]:
        """Measure edges on the sphere.

        Parameters
        ----------
        row, u, v
            Nodes, shape (n,).
        successor
            The node at which the edge from each node ends, shape (n,).
        on_limb
            Whether each edge follows the limb, shape (n,).

        Returns
        -------
        angle, length, bend
            The angle of the small circle that each edge spans in radians, its length in radians, and its geodesic
            curvature; shape (n,).
        points
            The nodes on the sphere, for `locate_edge_points`.
        """
        tan = np.tan(self.radius * RADIANS_PER_ARCSECOND)[row]
        to_u = u[successor]
        to_v = v[successor]
        du = to_u - u
        dv = to_v - v
        cross = u * to_v - v * to_u
        plane_distance = du * du + dv * dv + (tan * cross) ** 2
        squared_slope = (1.0 + tan * tan) / np.maximum(plane_distance, 1e-300)
        height = np.abs(cross) * np.sqrt(squared_slope)
        height = np.minimum(height, 1.0)
        if on_limb.any():
            height = np.where(on_limb, tan / np.sqrt(1.0 + tan * tan), height)
        size = np.sqrt(np.maximum(1.0 - height * height, 1e-30))
        points = project_to_sphere(u, v, tan)
        squared_chord = sum((coordinate[successor] - coordinate) ** 2 for coordinate in points)
        chord = np.sqrt(squared_chord)
        half_sine = np.minimum(chord / (2.0 * size), 1.0)
        angle = 2.0 * np.arcsin(half_sine)
        if on_limb.any():
            sweep_angles = compute_sweep_angles(u, v, successor)
            angle = np.where(on_limb, sweep_angles, angle)
        return angle, angle * size, height / size, points

    def locate_edge_points(
        self,
        row: Whole,
        u: Numbers,
        v: Numbers,
        successor: Whole,
        on_limb: Flags,
        *,
        angle: Numbers,
        points: tuple[Numbers, ...],
        point_edges: Whole,
        share: Numbers,
    ) -> tuple[Numbers, Numbers]:
        """Compute points of edges on the sphere.

        Parameters
        ----------
        row, u, v, successor, on_limb, angle, points
            Edges, as in `measure_edge_arcs`, shape (n,).
        point_edges
            The edge of each point, shape (m,).
        share
            The share of the edge before the point, 0 to 1, shape (m,).

        Returns
        -------
        lon, lat
            Degrees, shape (m,), longitudes in [0, 360).
        """
        lon, lat = self._to_lon_lat(row, *points)
        lon = lon[point_edges]
        lat = lat[point_edges]
        interior = np.flatnonzero(share > 0.0)
        if not len(interior):
            return lon, lat
        edge = point_edges[interior]
        edge_row = row[edge]
        turn = share[interior] * angle[edge]
        follows_limb = on_limb[edge]
        tan = np.tan(self.radius * RADIANS_PER_ARCSECOND)[edge_row]
        x, y, z = (coordinate[edge] for coordinate in points)
        arc = np.flatnonzero(follows_limb)
        begin_angle = np.arctan2(v[edge[arc]], u[edge[arc]])
        theta = begin_angle + turn[arc]
        x[arc], y[arc], z[arc] = project_to_sphere(np.cos(theta), np.sin(theta), tan[arc])
        inner = np.flatnonzero(~follows_limb)
        begin = edge[inner]
        end = successor[begin]
        a = u[begin]
        b = v[begin]
        c = u[end]
        d = v[end]
        n = np.stack([d - b, a - c, tan[inner] * (a * d - b * c)])
        n /= np.sqrt(np.sum(n**2, axis=0))
        p = np.stack([x, y, z])[:, inner]
        centre = n * np.sum(n * p, axis=0)
        p -= centre
        across = p[[1, 2, 0]] * n[[2, 0, 1]] - p[[2, 0, 1]] * n[[1, 2, 0]]  # ahead on the observer's side
        inner_turn = turn[inner]
        x[inner], y[inner], z[inner] = centre + p * np.cos(inner_turn) + across * np.sin(inner_turn)
        lon[interior], lat[interior] = self._to_lon_lat(edge_row, x, y, z)
        return lon, lat

    def _to_lon_lat(self, row: Whole, x: Numbers, y: Numbers, z: Numbers) -> tuple[Numbers, Numbers]:
        """Compute longitudes and latitudes from coordinates to the right, to the north and to the observer."""
        tilt = np.radians(self.lat)
        cos = np.cos(tilt)[row]
        sin = np.sin(tilt)[row]
        out = z * cos - y * sin
        longitude_change = np.arctan2(x, out) * sphere.DEGREES_PER_RADIAN
        lon = sphere.wrap_longitudes_by_one_turn((self.lon % 360.0)[row] + longitude_change)
        distance_to_axis = np.sqrt(x * x + out * out)
        lat = np.arctan2(y * cos + z * sin, distance_to_axis) * sphere.DEGREES_PER_RADIAN
        return lon, lat


def broadcast_image_fields(images: Any) -> None:
    """Turn the fields of images into arrays of one length.

    Parameters
    ----------
    images
        A `DiscImage` or a `CylindricalMap`.
    """
    names = [image_field.name for image_field in fields(images) if image_field.type != "bool"]
    arrays = [np.atleast_1d(np.asarray(getattr(images, name), dtype=np.float64)) for name in names]
    values = np.broadcast_arrays(*arrays)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(images, name, value)


def select_images(image_geometry: Any, rows: Whole) -> Any:
    """Select images by their rows.

    Parameters
    ----------
    image_geometry
        A `DiscImage` or a `CylindricalMap`.
    rows
        Indexes, shape (n,); a single image serves all rows.

    Returns
    -------
    grid
        Images of the same class, n of them.
    """
    if len(image_geometry.x) == 1:
        rows = np.zeros_like(rows)
    selected = {}
    for image_field in fields(image_geometry):
        value = getattr(image_geometry, image_field.name)
        if isinstance(value, np.ndarray):
            selected[image_field.name] = value[rows]
    return replace(image_geometry, **selected)


def project_to_sphere(u: Numbers, v: Numbers, tan: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Compute the points of the unit sphere that an observer sees at places of the plane.

    Parameters
    ----------
    u, v
        Radii of the disc, any shape; a place beyond the limb counts as the nearest place on the limb.
    tan
        Tangent of the disc's radius, broadcast; 0 for an observer at infinite distance.

    Returns
    -------
    x, y, z
        Coordinates to the right, to the north and to the observer, in radii of the sphere.
    """
    w = np.minimum(u * u + v * v, 1.0)
    cos = 1.0 / np.sqrt(1.0 + tan * tan * w)
    secant = np.sqrt(1.0 + tan * tan)
    depth = np.sqrt(1.0 - w) * cos
    out = cos * (cos * secant - depth * tan)
    toward_observer = cos * (cos * secant * tan * w + depth)
    return u * out, v * out, toward_observer


def compute_sweep_angles(u: Numbers, v: Numbers, successor: Whole) -> Numbers:
    """Compute the anticlockwise angle from each node to its successor; from a node to itself it is a whole turn.

    Parameters
    ----------
    u, v, successor
        Nodes on the limb, shape (n,).

    Returns
    -------
    angle
        Radians in (0, 2 pi].
    """
    angle = np.arctan2(v[successor], u[successor]) - np.arctan2(v, u)
    return np.where(angle <= 0.0, angle + 2.0 * np.pi, angle)
