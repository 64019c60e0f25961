"""Describe images that are maps of a body, with longitude along x and latitude (or its sine) along y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.plugins.image_regions.disc_image import broadcast_image_fields

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CylindricalMap:
    """Describe cylindrical maps: plate carree, or Lambert's, whose pixels have equal areas.

    The fields are numbers, or arrays of one length.

    Attributes
    ----------
    x, y
        The pixel at the longitude `lon` and the latitude `lat`; the first pixel's centre is 0.
    step_x
        Degrees of longitude per pixel, eastward.
    step_y
        Degrees of latitude per pixel, or its sine (`equal`).
    lon, lat
        Degrees.
    equal
        Whether y counts the sine of the latitude.
    """

    x: Numbers
    y: Numbers
    step_x: Numbers
    step_y: Numbers
    lon: Numbers
    lat: Numbers
    equal: bool = False

    def __post_init__(self) -> None:
        """Make arrays of one length."""
        broadcast_image_fields(self)

    @property
    def is_mirrored(self) -> Flags:
        """Whether each image is mirrored, with x or y running backwards; shape (n,)."""
        return self.step_x * self.step_y < 0.0

    def to_plane(self, row: Whole, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
        """Compute places in a plane in which areas are those on the sphere.

        Parameters
        ----------
        row, x, y
            Row of the map, pixels; shape (n,).

        Returns
        -------
        u, v
            Longitude in radians, sine of the latitude; shape (n,). A place beyond a pole counts as the pole.
        """
        up = (y - self.y[row]) * self.step_y[row]
        if self.equal:
            v = np.sin(np.radians(self.lat))[row] + up
        else:
            lat = self.lat[row] + up
            v = np.sin(np.radians(np.clip(lat, -90.0, 90.0)))
        v = np.clip(v, -1.0, 1.0)
        lon = self.lon[row] + (x - self.x[row]) * self.step_x[row]
        return np.radians(lon), v

    def is_beyond_pole(self, y: npt.NDArray[Any]) -> Flags:
        """Return which pixels have their centres beyond a pole.

        Parameters
        ----------
        y
            The y of a pixel of each map, shape (n,).

        Returns
        -------
        beyond
            Shape (n,).
        """
        up = (y - self.y) * self.step_y
        if self.equal:
            height = np.sin(np.radians(self.lat)) + up
            limit = 1.0
        else:
            height = self.lat + up
            limit = 90.0
        return np.abs(height) > limit + 1e-9

    def measure_edge_arcs(
        self, row: Whole, u: Numbers, v: Numbers, successor: Whole, on_limb: Flags
    ) -> tuple[Numbers, Numbers, Numbers, tuple[Numbers, ...]]:
        """Measure edges, which are parallels and meridians.

        Parameters
        ----------
        row, u, v, successor, on_limb
            As `DiscImage.measure_edge_arcs` takes them, shape (n,).

        Returns
        -------
        angle, length, bend, points
            As `DiscImage.measure_edge_arcs` gives them, shape (n,); no points.
        """
        del row, on_limb
        level = np.abs(u[successor] - u)
        cos = np.sqrt(np.maximum(1.0 - v * v, 1e-30))
        along = level > 0.0
        latitude_change = np.abs(np.arcsin(v[successor]) - np.arcsin(v))
        angle = np.where(along, level, latitude_change)
        length = np.where(along, level * cos, angle)
        bend = np.where(along, np.abs(v) / cos, 0.0)
        return angle, length, bend, ()

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
            Edges as in `measure_edge_arcs`, shape (n,).
        point_edges, share
            As `DiscImage.locate_edge_points` takes them, shape (m,).

        Returns
        -------
        lon, lat
            Degrees, shape (m,), longitudes in [0, 360).
        """
        del row, on_limb, angle, points
        end = successor[point_edges]
        node_lat = np.degrees(np.arcsin(v))
        lon = np.degrees(u[point_edges] + share * (u[end] - u[point_edges])) % 360.0
        lon = np.where(lon >= 360.0, 0.0, lon)
        lat = node_lat[point_edges] + share * (node_lat[end] - node_lat[point_edges])
        return lon, lat
