"""Whether a picture shows anything: one that is black, or of one colour, tells nobody what a file holds."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE_SIDE_PIXELS = 64  # a picture is judged by so many pixels along each side
MIN_LEVELS = 24  # of 256 by which a pixel differs from most others
MIN_DIFFERING_SHARE = 0.01  # of all pixels that must differ
MAX_PIXELS = 100_000_000  # of a picture that is decoded


def has_contrast(picture: bytes | Path) -> bool:
    """Return whether a picture shows something.

    At least `MIN_DIFFERING_SHARE` of its pixels differ from the median by `MIN_LEVELS`.

    Parameters
    ----------
    picture
        PNG, JPEG, GIF or WebP, or where it is. What is none shows nothing.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  (loaded where pictures are asked for)

    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return False
            opened.draft("RGB", (SAMPLE_SIDE_PIXELS, SAMPLE_SIDE_PIXELS))  # JPEG is decoded at this size
            small = opened.convert("RGBA").resize((SAMPLE_SIDE_PIXELS, SAMPLE_SIDE_PIXELS), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    colours = np.asarray(small, np.int16)
    levels = np.where(colours[..., 3:] > 0, colours[..., :3], 255)
    differences = np.abs(levels - np.median(levels, axis=(0, 1))).max(axis=2)
    return bool((differences >= MIN_LEVELS).mean() >= MIN_DIFFERING_SHARE)
