"""Pictures of product files: thumbnails and quicklooks, drawn of what `hven.formats.media` reads, and kept on a shelf."""

from __future__ import annotations

from hven.formats.pictures._appearance import COLOURS, SIZES, STRETCHES, Look
from hven.formats.pictures._drawing import draw, drawable, pictured, refusal
from hven.formats.pictures._sheet import Picture
from hven.formats.pictures._shelf import Shelf
from hven.formats.pictures._stills import RASTERS

__all__ = [
    "COLOURS",
    "RASTERS",
    "SIZES",
    "STRETCHES",
    "Look",
    "Picture",
    "Shelf",
    "draw",
    "drawable",
    "pictured",
    "refusal",
]
