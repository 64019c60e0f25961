"""Draw pictures of product files that `hven.formats.media` reads: thumbnails, quicklooks and HiPS."""

from __future__ import annotations

from hven.formats.pictures._appearance import COLOUR_MAPS, PICTURE_SIZE_RANGE, STRETCH_NAMES, PictureStyle
from hven.formats.pictures._canvas import RenderedPicture
from hven.formats.pictures._contrast import has_contrast
from hven.formats.pictures._cube_surveys import write_hips3d_survey
from hven.formats.pictures._drawing import (
    draw_files,
    draw_no_picture_sign,
    draw_product,
    draw_refusal_message,
    has_drawable_extension,
)
from hven.formats.pictures._raster_pictures import FILM_MEDIA_TYPES, RASTER_FORMATS, can_read_films
from hven.formats.pictures._sky_surveys import WrittenSkySurvey, open_sky_image, write_hips_survey

__all__ = [
    "COLOUR_MAPS",
    "FILM_MEDIA_TYPES",
    "PICTURE_SIZE_RANGE",
    "RASTER_FORMATS",
    "STRETCH_NAMES",
    "PictureStyle",
    "RenderedPicture",
    "WrittenSkySurvey",
    "can_read_films",
    "draw_files",
    "draw_no_picture_sign",
    "draw_product",
    "draw_refusal_message",
    "has_contrast",
    "has_drawable_extension",
    "open_sky_image",
    "write_hips3d_survey",
    "write_hips_survey",
]
