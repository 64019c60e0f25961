"""Draw pictures of product files that `hven.formats.media` reads: thumbnails and quicklooks."""

from __future__ import annotations

from hven.plugins.previews.pictures.appearance import (
    COLOUR_MAPS,
    PICTURE_SIZE_RANGE,
    STRETCH_NAMES,
    ColourStretch,
    PictureStyle,
    choose_stretch,
)
from hven.plugins.previews.pictures.canvas import RenderedPicture
from hven.plugins.previews.pictures.contrast import has_contrast
from hven.plugins.previews.pictures.file_pictures import (
    draw_files,
    draw_no_picture_sign,
    draw_product,
    draw_refusal_message,
    has_drawable_extension,
)
from hven.plugins.previews.pictures.raster_pictures import FILM_MEDIA_TYPES, RASTER_FORMATS, can_read_films

__all__ = [
    "COLOUR_MAPS",
    "FILM_MEDIA_TYPES",
    "PICTURE_SIZE_RANGE",
    "RASTER_FORMATS",
    "STRETCH_NAMES",
    "ColourStretch",
    "PictureStyle",
    "RenderedPicture",
    "can_read_films",
    "choose_stretch",
    "draw_files",
    "draw_no_picture_sign",
    "draw_product",
    "draw_refusal_message",
    "has_contrast",
    "has_drawable_extension",
]
