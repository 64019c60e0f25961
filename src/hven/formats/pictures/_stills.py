"""Stills: pictures of files that are pictures or films already, and several pictures beside one another."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from hven.formats.pictures._sheet import Picture, Sheet, packed
from hven.model.errors import SourceError, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.formats.pictures._appearance import Look

RASTERS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "gif": "GIF", "webp": "WEBP", "tif": "TIFF", "tiff": "TIFF", "jp2": "JPEG2000"}  # fmt: skip
LARGEST = 170_000_000  # pixels that a file may unpack to; Pillow's own limit is a little more
MOST = 200  # frames of a film among which the one in the middle is shown
FILMS = ("mp4", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "m4v")


def is_raster(name: str) -> bool:
    """Return whether a file is a picture or a film, by its name."""
    ending = name.lower().rpartition(".")[2]
    return ending in RASTERS or ending in FILMS


def still(path: Path, name: str, look: Look) -> Picture:
    """Make a picture smaller; of a film, take the frame in its middle.

    Parameters
    ----------
    path, name
        Of the file.
    look
        Its size.

    Raises
    ------
    SourceError
        It is damaged, too large, or of a kind that cannot be read here.
    """
    from PIL import Image, ImageSequence, UnidentifiedImageError  # noqa: PLC0415  (loaded for pictures alone)

    ending = name.lower().rpartition(".")[2]
    if ending in FILMS:
        raise SourceError(
            say("of a film of the kind {kind} no still is made", ending.upper()),
            remedy=say("publish a still beside it, and say semantics: thumbnail"),
        )
    try:
        with Image.open(path, formats=(RASTERS[ending],)) as image:
            if image.width * image.height > LARGEST:
                raise SourceError(say("{name} is too large to be unpacked for a picture", name))
            frames = min(sum(1 for _ in zip(ImageSequence.Iterator(image), range(MOST), strict=False)), MOST)
            words = f"{image.width} x {image.height} pixels"
            if frames > 1:
                image.seek(frames // 2)
                words = f"frame {frames // 2 + 1} of {frames}, {words}"
            image.draft("RGB", (look.size, look.size))
            made: Any = image.convert("RGBA" if image.mode in {"RGBA", "LA", "P", "PA"} else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as fault:
        why = " ".join(str(fault).split()).replace(str(path), name)[:200] or type(fault).__name__
        raise SourceError(say("{name} is damaged: {reason}", name, why)) from None
    made.thumbnail((look.size, look.size), reducing_gap=2.0)
    notes = {"Title": name, "Description": words, "Copyright": look.note, "Software": "Hven"}
    return Picture(packed(made, notes), words)


def beside(pictures: Sequence[Picture], names: Sequence[str], look: Look) -> bytes:
    """Lay pictures beside one another, with their names.

    Parameters
    ----------
    pictures, names
        Two to eight.
    look
        Its size; and what is said.
    """
    from PIL import Image  # noqa: PLC0415  (loaded already)

    images = [Image.open(io.BytesIO(one.body)).convert("RGBA") for one in pictures]
    columns = 2 if len(images) <= 4 else 3
    rows = -(-len(images) // columns)
    sheet = Sheet(16, 16)
    letters = max(8, look.size // 70)
    label = int(1.7 * letters) if look.axes else 0
    gap = max(2, look.size // 150)
    wide = max(image.width for image in images)
    high = max(image.height for image in images) + label
    scale = min(1.0, look.size / (columns * (wide + gap) - gap), look.size / (rows * (high + gap) - gap))
    wide, high = int(wide * scale), int((high - label) * scale) + label
    sheet = Sheet(columns * (wide + gap) - gap, rows * (high + gap) - gap + (label if look.axes else 0))
    sheet.letters = letters
    for at, (image, name) in enumerate(zip(images, names, strict=True)):
        left, top = (at % columns) * (wide + gap), (at // columns) * (high + gap)
        if scale < 1.0:
            image.thumbnail((wide, high - label))
        sheet.image.paste(image, (left + (wide - image.width) // 2, top + label), image)
        if label:
            sheet.words((left + wide / 2, top + label / 2), sheet.shortened(name, wide), "mm")
    if label:
        sheet.words(
            (4, sheet.size[1] - label / 2), sheet.shortened(look.note, sheet.size[0] - 8), "lm", colour=(105, 112, 122)
        )
    said = "; ".join(f"{name}: {one.words}" for name, one in zip(names, pictures, strict=True))
    return sheet.png({"Title": ", ".join(names), "Description": said, "Copyright": look.note, "Software": "Hven"})
