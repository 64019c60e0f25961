"""Pictures that explain the colours of layers: the centre's own, or Hven's strip of colours."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hven.model.errors import SourceError
from hven.plugins.maps.map_drawing import encode_picture

if TYPE_CHECKING:
    from hven.plugins.maps.map_drawing import LayerRaster

STRIP_WIDTH, STRIP_HEIGHT, TEXT_HEIGHT = 256, 20, 16  # pixels
STRIP_SIZE = STRIP_WIDTH, STRIP_HEIGHT + TEXT_HEIGHT
MAX_FILE_BYTES = 1 << 20
MAX_SIDE_PIXELS = 4096


def read_or_draw_legend(raster: LayerRaster) -> bytes | None:
    """Read or draw the legend of a layer as PNG; None: the layer is a picture without a legend.

    Raises
    ------
    SourceError
        The centre's own legend cannot be read.
    """
    if raster.layer.legend:
        return _read_legend_file(raster)[0]
    return None if raster.read_info().shows_colours else _draw_colour_strip(raster)


def measure_legend(raster: LayerRaster) -> tuple[int, int] | None:
    """Measure the width and height of the legend of a layer in pixels; None: it has none, or it cannot be read."""
    if raster.layer.legend:
        try:
            return _read_legend_file(raster)[1]
        except SourceError:
            return None
    return None if raster.read_info().shows_colours else STRIP_SIZE


def _read_legend_file(raster: LayerRaster) -> tuple[bytes, tuple[int, int]]:
    """Read the centre's own legend, and measure its width and height in pixels."""
    name = raster.layer.legend
    path = (raster.directory / name).resolve()
    remedy = "write the path of a PNG, relative to the descriptor's folder"
    if not path.is_relative_to(raster.directory.resolve()) or not path.is_file():
        raise SourceError(f"there is no legend {name!r}", remedy=remedy)
    with path.open("rb") as file:
        body = file.read(MAX_FILE_BYTES + 1)
    try:
        with Image.open(io.BytesIO(body), formats=("PNG",)) as picture:
            width, height = picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise SourceError(f"the legend {name!r} is not a PNG", remedy=remedy) from None
    if len(body) > MAX_FILE_BYTES or max(width, height) > MAX_SIDE_PIXELS:
        message = f"the legend {name!r} has {width} x {height} pixels and {path.stat().st_size:,} bytes"
        remedy = f"use a PNG with at most {MAX_SIDE_PIXELS} pixels per side, and {MAX_FILE_BYTES:,} bytes"
        raise SourceError(message, remedy=remedy)
    return body, (width, height)


def _draw_colour_strip(raster: LayerRaster) -> bytes:
    """Draw the colours of a layer from its lowest to its highest value, with these values and the unit."""
    scale = raster.build_colour_scale()
    values = np.linspace(scale.values[0], scale.values[-1], STRIP_WIDTH)[np.newaxis, :].repeat(STRIP_HEIGHT, 0)
    picture = Image.new("RGBA", STRIP_SIZE, "white")
    picture.alpha_composite(Image.fromarray(scale.find_colours(values, np.ones(values.shape, dtype=bool))))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=11)
    texts = f"{scale.values[0]:.4g}", raster.layer.unit, f"{scale.values[-1]:.4g}"
    for place, (text, anchor) in enumerate(zip(texts, ("la", "ma", "ra"), strict=True)):
        draw.text((place * STRIP_WIDTH / 2, STRIP_HEIGHT + 2), text, "black", font, anchor)
    return encode_picture(picture, "image/png")
