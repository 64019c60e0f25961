"""What tests of the core and of other packages use for pictures of files (`tests/plugin_needs.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hven.plugins.previews.pictures import PictureStyle, draw_files


def draw(files: Sequence[tuple[Path, str]], size_pixels: int) -> bytes:
    """Draw files with their names side by side, as PNG."""
    return draw_files(files, PictureStyle(size=size_pixels))


PICTURES = {"draw": draw}
REMOTE_FILE_ADDRESSES = {"previews": "/collections/far/preview/image.fits"}
REMOTE_PICTURE_ADDRESSES = {name: f"/collections/far/preview/{name}?SIZE=64" for name in ("image.fits", "packed.fits")}
