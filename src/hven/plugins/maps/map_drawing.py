"""Draw layers as pictures in any frame of their body, and find their values at places."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hven.model.errors import ParamError
from hven.plugins.maps.colour_scales import ColourScale, read_colour_scale
from hven.plugins.maps.frames import Frame, find_frame
from hven.plugins.maps.map_rasters import RasterInfo, read_raster_info, sample_raster
from hven.plugins.maps.tile_matrix_sets import find_tile_matrix_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hven.plugins.maps.map_layers import MapLayer

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
MAX_MAP_PIXELS = 8 << 20  # of a picture: 4096 x 2048
MAX_SIDE_PIXELS = 8192


@dataclass(frozen=True, slots=True)
class LayerRaster:
    """A layer with the raster of a time, which its reader may access."""

    layer: MapLayer
    path: Path
    directory: Path

    def read_info(self) -> RasterInfo:
        """Read what is told by the raster."""
        return read_raster_info(self.layer, self.path)

    def read_colours(self) -> ColourScale:
        """Read the colours of its values."""
        raster_range = self.read_info().value_range
        return read_colour_scale(self.layer.colours, self.directory, self.layer.value_range, raster_range)


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
            remedy = f"request at most {MAX_MAP_PIXELS:,} pixels, and {MAX_SIDE_PIXELS:,} in a row"
            raise ParamError(message, name="WIDTH", remedy=remedy)

    def locate_pixels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the longitudes and latitudes of the centres of all pixels."""
        west, south, east, north = self.bounds
        x = west + (np.arange(self.width) + 0.5) * (east - west) / self.width
        y = north - (np.arange(self.height) + 0.5) * (north - south) / self.height
        return self.frame.convert_to_lon_lat(*np.meshgrid(x, y))

    def locate_pixel(self, column: int, row: int) -> tuple[float, float]:
        """Return the longitude and latitude of the centre of a pixel; infinite outside the projection."""
        west, south, east, north = self.bounds
        x = west + (column + 0.5) * (east - west) / self.width
        y = north - (row + 0.5) * (north - south) / self.height
        lon, lat = self.frame.convert_to_lon_lat(np.array([x]), np.array([y]))
        return float(lon[0]), float(lat[0])


def find_request_frame(text: str, aliases: Mapping[str, str]) -> Frame:
    """Find the frame of a request, whose name may be an alias of the collection.

    Raises
    ------
    ParamError
        There is no such frame.
    """
    alias = text.strip().upper()
    if alias not in aliases:
        return find_frame(text)
    frame = find_frame(aliases[alias])
    if alias in {"CRS:84", "OGC:CRS84"}:  # by its name, longitude is first
        return replace(frame, is_vertical_first=False)
    return frame


def draw_map(rasters: Sequence[LayerRaster], view: MapView, *, background: tuple[int, int, int] | None) -> Image.Image:
    """Draw layers above each other, the first one at the bottom.

    Parameters
    ----------
    background
        Colour below the layers; None: the map is transparent there.

    Raises
    ------
    ParamError
        The map is too large, or is one of another body.
    """
    view.check_size()
    lon, lat = view.locate_pixels()
    picture = Image.new("RGBA", (view.width, view.height), (0, 0, 0, 0) if background is None else (*background, 255))
    for raster in rasters:
        info = raster.read_info()
        require_body(info, view.frame)
        is_smooth = raster.layer.is_smooth is not False
        values, is_valid = sample_raster(info, lon, lat, is_smooth=is_smooth)
        if info.shows_colours:
            channels = [*np.rint(values).astype(np.uint8), np.where(is_valid, 255, 0).astype(np.uint8)]
            colours = np.stack(channels, axis=2)
        else:
            colours = raster.read_colours().find_colours(values[0], is_valid)
        picture.alpha_composite(Image.fromarray(colours))
    return picture


def require_body(info: RasterInfo, frame: Frame) -> None:
    """Refuse frames of other bodies.

    Raises
    ------
    ParamError
        The frame is one of another body.
    """
    if info.frame.body.number != frame.body.number:
        message = f"{frame.name} is a frame of {frame.body.name}, but the layer shows {info.frame.body.name}"
        remedy = f"use a frame such as {info.frame.body.get_frame(0).name}"
        raise ParamError(message, name="CRS", remedy=remedy)


def require_values(raster: LayerRaster, parameter: str, remedy: str) -> None:
    """Refuse layers of pictures, whose pixels have colours instead of values.

    Raises
    ------
    ParamError
        The layer, which `parameter` names, is a picture.
    """
    if raster.read_info().shows_colours:
        message = f"the layer {raster.layer.name!r} is a picture without values"
        raise ParamError(message, name=parameter, remedy=remedy)


def draw_tile(raster: LayerRaster, set_name: str, tile: tuple[int, int, int]) -> bytes:
    """Draw a tile as PNG.

    Parameters
    ----------
    tile
        Level, row and column.
    """
    matrix_set = find_tile_matrix_set(raster.read_info().frame.body, set_name)
    bounds = matrix_set.locate_tile(*tile)
    view = MapView(frame=matrix_set.frame, bounds=bounds, width=256, height=256)
    return encode_picture(draw_map([raster], view, background=None), "image/png")


def encode_picture(picture: Image.Image, media_type: str) -> bytes:
    """Encode a picture; JPEG has no transparency."""
    buffer = io.BytesIO()
    if media_type == "image/jpeg":
        picture = picture.convert("RGB")
    picture.save(buffer, FORMATS[media_type], **({"compress_level": 3} if media_type == "image/png" else {}))
    return buffer.getvalue()


def find_value(raster: LayerRaster, lon: float, lat: float) -> float | None:
    """Find the value of the pixel at a place.

    Returns
    -------
    value
        None: the raster has no data there.
    """
    info = raster.read_info()
    values, is_valid = sample_raster(info, np.array([[lon]]), np.array([[lat]]), is_smooth=False)
    return float(values[0, 0, 0]) if is_valid[0, 0] else None
