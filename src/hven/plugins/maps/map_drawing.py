"""Draw layers as pictures in any frame of their body, and find their values at places."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hven.formats.api.png_pictures import encode_png
from hven.model.errors import ParamError, SourceError
from hven.plugins.maps.colour_scales import MAX_PALETTE_COLOURS, NAMED_SCALES, ColourScale, read_colour_scale
from hven.plugins.maps.frames import Frame, find_frame
from hven.plugins.maps.map_rasters import RasterInfo, read_raster_info
from hven.plugins.maps.map_views import MapView
from hven.plugins.maps.raster_sampling import divide_into_strips, sample_places, sample_view
from hven.plugins.maps.tile_matrix_sets import find_tile_matrix_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.plugins.maps.frames import CelestialBody
    from hven.plugins.maps.map_layers import MapLayer

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class LayerRaster:
    """A layer with the raster of a time, which its reader may access.

    Attributes
    ----------
    directory
        Directory of the descriptor.
    overviews_directory
        Directory with the overviews that Hven has made of rasters of the collection; None: there are none.
    """

    layer: MapLayer
    path: Path
    directory: Path
    overviews_directory: Path | None = None

    def read_info(self) -> RasterInfo:
        """Read what is told by the raster."""
        return read_raster_info(self.layer, self.path, self.overviews_directory)

    def build_colour_scale(self) -> ColourScale:
        """Read the colours of its values."""
        info = self.read_info()
        if info.palette and not self.layer.colours:
            values, colours = zip(*info.palette, strict=True)
            return ColourScale(values, colours, are_codes=self.layer.is_smooth is not True)
        scale = read_colour_scale(self.layer.colours, self.directory, self.layer.value_range, info.value_range)
        has_own_colours = tuple(self.layer.colours) not in {(), *((name,) for name in NAMED_SCALES)}
        if self.layer.is_smooth is True or not has_own_colours or not info.codes:
            return scale
        return replace(scale, are_codes=info.codes <= set(scale.values))

    def is_interpolated(self) -> bool:
        """Check whether values between pixels are interpolated: as the layer says, or unless they are codes."""
        if self.layer.is_smooth is not None or self.read_info().shows_colours:
            return self.layer.is_smooth is not False
        try:
            return not self.build_colour_scale().are_codes
        except SourceError:  # values do not depend on colours that cannot be read
            return True


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


def list_aliases_of_body(body: CelestialBody, aliases: Mapping[str, str]) -> list[str]:
    """List the aliases that stand for frames of a body."""
    return [alias for alias in aliases if find_request_frame(alias, aliases).body.number == body.number]


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
    picture = Image.new("RGBA", (view.width, view.height), background or (0, 0, 0, 0))
    for number, raster in enumerate(rasters):
        require_same_body(raster.read_info(), view.frame)
        layer_picture = _draw_layer(raster, view, background if number == 0 else None)
        if (number == 0 and layer_picture.mode == "P") or layer_picture.mode == "RGB":  # above all that is below
            picture = layer_picture
        else:
            picture = Image.alpha_composite(picture.convert("RGBA"), layer_picture.convert("RGBA"))
    return picture


def _draw_layer(raster: LayerRaster, view: MapView, background: tuple[int, int, int] | None) -> Image.Image:
    """Draw a layer: colours of the raster, or those of values with a palette above the background if they are few."""
    info = raster.read_info()
    values, is_valid = sample_view(info, view, is_smooth=raster.is_interpolated())
    if info.shows_colours:
        colours = (np.moveaxis(values, 0, 2) + 0.5).astype(np.uint8)  # rounds
        if not is_valid.all():
            colours = np.dstack([colours, 255 * is_valid.astype(np.uint8)])
        return Image.fromarray(colours)
    scale = raster.build_colour_scale()
    palette = scale.build_palette()
    numbers = np.concatenate(
        [scale.find_colour_numbers(values[0, strip], is_valid[strip]) for strip in divide_into_strips(is_valid.shape)]
    )
    if len(palette) > MAX_PALETTE_COLOURS:
        return Image.fromarray(palette.take(numbers, axis=0))
    if background is not None:
        below = Image.new("RGBA", (len(palette), 1), background)
        palette = np.asarray(Image.alpha_composite(below, Image.fromarray(palette[np.newaxis])))
    picture = Image.fromarray(numbers)
    picture.putpalette(palette.tobytes(), "RGBA")
    return picture


def require_same_body(info: RasterInfo, frame: Frame) -> None:
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


def require_value_layer(raster: LayerRaster, parameter: str, remedy: str) -> None:
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
    if media_type == "image/png":
        if picture.mode != "P":
            return encode_png(np.asarray(picture))
        return encode_png(np.asarray(picture), np.array(picture.getpalette("RGBA"), dtype=np.uint8).reshape(-1, 4))
    buffer = io.BytesIO()
    if media_type == "image/jpeg":
        picture = picture.convert("RGB")
    picture.save(buffer, FORMATS[media_type])
    return buffer.getvalue()


def read_pixel_value(raster: LayerRaster, lon: float, lat: float) -> float | None:
    """Find the value of the pixel at a place.

    Returns
    -------
    value
        None: the raster has no data there.
    """
    info = raster.read_info()
    values, is_valid = sample_places(info, np.array([[lon]]), np.array([[lat]]), is_smooth=False)
    return float(values[0, 0, 0]) if is_valid[0, 0] else None
