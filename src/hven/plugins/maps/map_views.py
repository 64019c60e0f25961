"""What maps show: frame, ends and size in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import ParamError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hven.plugins.maps.frames import Frame

MAX_MAP_PIXELS = 8 << 20  # of a picture: 4096 x 2048
MAX_SIDE_PIXELS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class MapView:
    """What a map shows: its frame, west, south, east and north ends, and size in pixels."""

    frame: Frame
    bounds: tuple[float, float, float, float]
    width: int
    height: int

    def check_size(self) -> None:
        """Refuse pictures that are too large.

        Raises
        ------
        ParamError
            It has too many pixels.
        """
        largest = max(self.width, self.height)
        if min(self.width, self.height) < 1 or largest > MAX_SIDE_PIXELS or self.width * self.height > MAX_MAP_PIXELS:
            message = f"a map of {self.width} x {self.height} pixels cannot be drawn"
            remedy = f"request 1 to {MAX_SIDE_PIXELS:,} pixels per side, and at most {MAX_MAP_PIXELS:,} pixels in all"
            raise ParamError(message, name="WIDTH", remedy=remedy)

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a pixel, in units of the frame."""
        west, south, east, north = self.bounds
        return (east - west) / self.width, (north - south) / self.height

    def compute_x(self, columns: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the horizontal coordinates of the centres of columns."""
        west, _, east, _ = self.bounds
        return west + (columns + 0.5) * (east - west) / self.width

    def compute_y(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Compute the vertical coordinates of the centres of rows."""
        _, south, _, north = self.bounds
        return north - (rows + 0.5) * (north - south) / self.height

    def locate_pixel(self, column: int, row: int) -> tuple[float, float]:
        """Return the longitude and latitude of the centre of a pixel; infinite outside the projection."""
        x, y = self.compute_x(np.array([column])), self.compute_y(np.array([row]))
        lon, lat = self.frame.convert_to_lon_lat(x, y)
        return float(lon[0]), float(lat[0])
