"""Positions of stars at an epoch, as arrays: proper motion along the great circle, or by the linear formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

ARCSEC_PER_RADIAN = 648_000 / np.pi
MAS_PER_DEGREE = 3_600_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StarPositions:
    """Positions of stars, each at its epoch. All arrays have the shape (n,).

    Attributes
    ----------
    longitudes, latitudes
        Degrees; NaN: the position is unknown.
    longitude_motions, latitude_motions
        Proper motions in mas/yr, that of the longitude times the cosine of the latitude.
    epochs
        Julian years.
    """

    longitudes: Floats
    latitudes: Floats
    longitude_motions: Floats
    latitude_motions: Floats
    epochs: Floats

    def select_stars(self, rows: Rows) -> StarPositions:
        """Return the positions of some stars.

        Parameters
        ----------
        rows
            Their numbers, shape (m,).
        """
        return StarPositions(
            longitudes=self.longitudes[rows],
            latitudes=self.latitudes[rows],
            longitude_motions=self.longitude_motions[rows],
            latitude_motions=self.latitude_motions[rows],
            epochs=self.epochs[rows],
        )

    def compute_vectors(self, rows: Rows, epochs: Floats, motion: str = "rigorous") -> Floats:
        """Compute unit vectors of some stars at other epochs.

        Parameters
        ----------
        rows
            The stars, shape (m,).
        epochs
            Epoch of each of them in Julian years, shape (m,).
        motion
            ``rigorous`` moves a star along a great circle with constant speed in space. ``linear`` adds the motions to
            the coordinates.

        Returns
        -------
        vectors
            Shape (m, 3).
        """
        years = epochs - self.epochs[rows]
        longitudes, latitudes = self.longitudes[rows], self.latitudes[rows]
        longitude_motions = self.longitude_motions[rows] / MAS_PER_DEGREE
        latitude_motions = self.latitude_motions[rows] / MAS_PER_DEGREE
        if motion == "linear":
            cosines = np.cos(np.radians(latitudes))
            return build_unit_vectors(
                longitudes + years * longitude_motions / cosines, latitudes + years * latitude_motions
            )
        longitude, latitude = np.radians(longitudes), np.radians(latitudes)
        sine, cosine = np.sin(longitude), np.cos(longitude)
        height, width = np.sin(latitude), np.cos(latitude)
        x, y, z = width * cosine, width * sine, height.copy()
        moves = np.flatnonzero((years != 0) & ((longitude_motions != 0) | (latitude_motions != 0)))
        if len(moves):
            selected = slice(None) if len(moves) == len(years) else moves
            along_east = np.radians(years[selected] * longitude_motions[selected])
            along_north = np.radians(years[selected] * latitude_motions[selected])
            # the unit vectors to the east and to the north are (-sine, cosine, 0) and (-h * cosine, -h * sine, width)
            moved_x = x[selected] - along_east * sine[selected] - along_north * height[selected] * cosine[selected]
            moved_y = y[selected] + along_east * cosine[selected] - along_north * height[selected] * sine[selected]
            moved_z = z[selected] + along_north * width[selected]
            lengths = np.sqrt(moved_x**2 + moved_y**2 + moved_z**2)
            x[selected], y[selected], z[selected] = moved_x / lengths, moved_y / lengths, moved_z / lengths
        return np.stack([x, y, z], axis=1)

    def compute_speeds(self) -> Floats:
        """Compute the speeds of the stars on the sky.

        Returns
        -------
        speeds
            Arcseconds per year, shape (n,).
        """
        speeds: Floats = np.hypot(self.longitude_motions, self.latitude_motions) / 1000
        return speeds


def build_unit_vectors(longitudes: Floats, latitudes: Floats) -> Floats:
    """Build unit vectors.

    Parameters
    ----------
    longitudes, latitudes
        Degrees, shape (n,).

    Returns
    -------
    vectors
        Shape (n, 3).
    """
    longitude, latitude = np.radians(longitudes), np.radians(latitudes)
    cosines = np.cos(latitude)
    return np.stack([cosines * np.cos(longitude), cosines * np.sin(longitude), np.sin(latitude)], axis=1)


def compute_separations(first: Floats, second: Floats) -> Floats:
    """Compute the angles between unit vectors; exact for small angles.

    Parameters
    ----------
    first, second
        Unit vectors, shape (n, 3).

    Returns
    -------
    separations
        Arcseconds, shape (n,).
    """
    half_chords = np.minimum(np.linalg.norm(first - second, axis=1) / 2, 1)
    # Arrow calls the C library. The arcsine of numpy has other last digits on processors with AVX-512, and a match
    # must be the same on each machine.
    half_angles: Floats = pc.asin(pa.array(half_chords)).to_numpy()
    return 2 * half_angles * ARCSEC_PER_RADIAN


def compute_coordinates(vectors: Floats) -> tuple[Floats, Floats]:
    """Compute longitudes from 0 to 360 and latitudes, in degrees.

    Parameters
    ----------
    vectors
        Unit vectors, shape (n, 3).

    Returns
    -------
    longitudes, latitudes
        Shape (n,).
    """
    longitudes = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    latitudes = np.degrees(np.arctan2(vectors[:, 2], np.hypot(vectors[:, 0], vectors[:, 1])))
    return longitudes, latitudes
