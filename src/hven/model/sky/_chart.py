"""Chart: images that are maps of a body, with longitude along x and latitude (or its sine) along y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._disc import align

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Whole = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chart:
    """Cylindrical maps: plate carree, or Lambert's, whose pixels are all of one area. Numbers, or arrays of one length.

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
        align(self)

    @property
    def mirrored(self) -> Flags:
        """Whether each image is seen in a mirror: x or y runs backwards; shape (n,)."""
        return self.step_x * self.step_y < 0.0

    def flat(self, row: Whole, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
        """Compute places in a plane in which areas are those on the sphere.

        Parameters
        ----------
        row, x, y
            Row of the map, pixels; shape (n,).

        Returns
        -------
        u, v
            Longitude in radians, sine of the latitude; shape (n,). What is beyond a pole is taken for the pole.
        """
        up = (y - self.y[row]) * self.step_y[row]
        if self.equal:
            v = np.sin(np.radians(self.lat))[row] + up
        else:
            lat = self.lat[row] + up
            v = np.sin(np.radians(np.clip(lat, -90.0, 90.0)))
        v = np.clip(v, -1.0, 1.0)
        return np.radians(self.lon[row] + (x - self.x[row]) * self.step_x[row]), v

    def beyond(self, y: npt.NDArray[Any]) -> Flags:
        """Tell whose pixels have their centres beyond a pole.

        Parameters
        ----------
        y
            Of a pixel of each map, shape (n,).

        Returns
        -------
        beyond
            Shape (n,).
        """
        up, most = (y - self.y) * self.step_y, 1.0 if self.equal else 90.0
        return np.abs((np.sin(np.radians(self.lat)) if self.equal else self.lat) + up) > most + 1e-9

    def measure(
        self, row: Whole, u: Numbers, v: Numbers, after: Whole, limb: Flags
    ) -> tuple[Numbers, Numbers, Numbers, tuple[Numbers, ...]]:
        """Measure edges, which are parallels and meridians.

        Parameters
        ----------
        row, u, v, after, limb
            As `Disc.measure` takes them, shape (n,).

        Returns
        -------
        angle, length, bend, points
            As `Disc.measure` gives them, shape (n,); no points.
        """
        del row, limb
        level = np.abs(u[after] - u)
        cos = np.sqrt(np.maximum(1.0 - v * v, 1e-30))
        along = level > 0.0
        angle = np.where(along, level, np.abs(np.arcsin(v[after]) - np.arcsin(v)))
        return angle, np.where(along, level * cos, angle), np.where(along, np.abs(v) / cos, 0.0), ()

    def places(
        self, row: Whole, u: Numbers, v: Numbers, after: Whole, limb: Flags, angle: Numbers, points: tuple[Numbers, ...], at: Whole, part: Numbers,
    ) -> tuple[Numbers, Numbers]:  # fmt: skip
        """Compute points of edges on the sphere.

        Parameters
        ----------
        row, u, v, after, limb, angle, points
            Edges as in `measure`, shape (n,).
        at, part
            As `Disc.places` takes them, shape (m,).

        Returns
        -------
        lon, lat
            Degrees, shape (m,), longitudes in [0, 360).
        """
        del row, limb, angle, points
        to, lat = after[at], np.degrees(np.arcsin(v))
        lon = np.degrees(u[at] + part * (u[to] - u[at])) % 360.0
        return np.where(lon >= 360.0, 0.0, lon), lat[at] + part * (lat[to] - lat[at])
