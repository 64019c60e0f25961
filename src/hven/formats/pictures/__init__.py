"""Pictures of product files: thumbnails, quicklooks, HiPS, drawn of what `hven.formats.media` reads, and kept on a shelf."""

from __future__ import annotations

from hven.formats.pictures._appearance import COLOURS, SIZES, STRETCHES, Look
from hven.formats.pictures._contrast import has_contrast
from hven.formats.pictures._drawing import draw, draw_sign, drawable, pictured, refusal
from hven.formats.pictures._sheet import Picture
from hven.formats.pictures._spectral_surveys import cube_survey
from hven.formats.pictures._stills import FILMS, RASTERS, films
from hven.formats.pictures._surveys import Survey, on_sky, survey

__all__ = [
    "COLOURS",
    "FILMS",
    "RASTERS",
    "SIZES",
    "STRETCHES",
    "Look",
    "Picture",
    "Survey",
    "cube_survey",
    "draw",
    "draw_sign",
    "drawable",
    "films",
    "has_contrast",
    "on_sky",
    "pictured",
    "refusal",
    "survey",
]
