"""Tile matrix sets of bodies: longitude and latitude in metres and in degrees, and both poles down to 60 degrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import ParamError, suggest_spelling

if TYPE_CHECKING:
    from hven.plugins.maps.frames import CelestialBody, Frame

TILE_PIXELS = 256
MAX_LEVEL = 18
# of frames, by the end of a set's name. GDAL 3.6 swaps the axes of longitude and latitude, but not of metres
_SUFFIXES_BY_SET = {"Equirectangular": 10, "Geographic": 0, "NorthPolar": 30, "SouthPolar": 35}


@dataclass(frozen=True, slots=True)
class TileMatrixSet:
    """The tiles of a frame: at level 0 two for the whole body, one for a pole; four times more at the next."""

    name: str
    frame: Frame

    @property
    def columns(self) -> int:
        """Number of tiles at level 0, which are in one row."""
        return 2 if self.frame.is_cylindrical else 1

    def get_resolution(self, level: int) -> float:
        """Return the units of a pixel."""
        west, _, east, _ = self.frame.extent
        return (east - west) / float(self.columns * TILE_PIXELS * 2**level)

    def locate_tile(self, level: int, row: int, column: int) -> tuple[float, float, float, float]:
        """Return the west, south, east and north ends of a tile.

        Raises
        ------
        ParamError
            There is no such tile.
        """
        if not (0 <= level <= MAX_LEVEL and 0 <= row < 2**level and 0 <= column < self.columns * 2**level):
            message = f"there is no tile in row {row}, column {column} of level {level}"
            raise ParamError(
                message, name="TILEROW", remedy=f"write a level from 0 to {MAX_LEVEL}, and count rows from the north"
            )
        west, _, _, north = self.frame.extent
        size = self.get_resolution(level) * TILE_PIXELS
        left, top = west + column * size, north - row * size
        return left, top - size, left + size, top


def list_tile_matrix_sets(body: CelestialBody) -> list[TileMatrixSet]:
    """List the sets of a body."""
    name = body.name.replace(" ", "")
    return [TileMatrixSet(f"{name}{ending}", body.get_frame(suffix)) for ending, suffix in _SUFFIXES_BY_SET.items()]


def find_tile_matrix_set(body: CelestialBody, name: str) -> TileMatrixSet:
    """Find a set of a body by its name.

    Raises
    ------
    ParamError
        The body has no such set.
    """
    sets = {matrix_set.name: matrix_set for matrix_set in list_tile_matrix_sets(body)}
    if name not in sets:
        remedy = suggest_spelling(name, sets) or f"use one of {', '.join(sets)}"
        raise ParamError(f"there is no tile matrix set {name[:60]!r}", name="TILEMATRIXSET", remedy=remedy)
    return sets[name]
