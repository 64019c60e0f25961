"""Draw pictures of product files that `hven.formats.media` reads: thumbnails, quicklooks and HiPS."""

from __future__ import annotations

from hven.formats.pictures._appearance import COLOUR_MAPS, PICTURE_SIZE_RANGE, STRETCH_NAMES, Look
from hven.formats.pictures._canvas import RenderedPicture
from hven.formats.pictures._contrast import has_contrast
from hven.formats.pictures._cube_surveys import write_cube_survey
from hven.formats.pictures._drawing import draw_files, draw_no_picture_sign, draw_product, draw_refusal, is_drawable
from hven.formats.pictures._raster_pictures import FILM_MEDIA_TYPES, RASTER_FORMATS, can_read_films
from hven.formats.pictures._sky_surveys import SkySurvey, open_sky_image, write_survey

__all__ = [
    "COLOUR_MAPS",
    "FILM_MEDIA_TYPES",
    "PICTURE_SIZE_RANGE",
    "RASTER_FORMATS",
    "STRETCH_NAMES",
    "Look",
    "RenderedPicture",
    "SkySurvey",
    "can_read_films",
    "draw_files",
    "draw_no_picture_sign",
    "draw_product",
    "draw_refusal",
    "has_contrast",
    "is_drawable",
    "open_sky_image",
    "write_cube_survey",
    "write_survey",
]
