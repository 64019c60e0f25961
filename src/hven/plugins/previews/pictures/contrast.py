"""Judge whether a picture shows anything: a black or uniform one tells nothing about a file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE_SIDE_PIXELS = 64  # pixels along each side by which a picture is judged
MIN_LEVELS = 24  # of 256, by which a pixel differs from most others
MIN_DIFFERING_SHARE = 0.01  # of all pixels that must differ
MAX_PIXELS = 100_000_000  # of a picture that is decoded


def has_contrast(picture: bytes | Path) -> bool:
    """Return whether a picture shows something.

    At least `MIN_DIFFERING_SHARE` of its pixels differ from the median by `MIN_LEVELS`.

    Parameters
    ----------
    picture
        Bytes or path of a PNG, JPEG, GIF or WebP; anything else shows nothing.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  (only pictures need it)

    try:
        source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        with Image.open(source) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return False
            sample_size = (SAMPLE_SIDE_PIXELS, SAMPLE_SIDE_PIXELS)
            opened.draft("RGB", sample_size)  # JPEG is decoded at this size
            small = opened.convert("RGBA").resize(sample_size, Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    colours = np.asarray(small, np.int16)
    is_opaque = colours[..., 3:] > 0
    levels = np.where(is_opaque, colours[..., :3], 255)
    median_colour = np.median(levels, axis=(0, 1))
    differences = np.abs(levels - median_colour).max(axis=2)
    return bool((differences >= MIN_LEVELS).mean() >= MIN_DIFFERING_SHARE)
