"""Stills: pictures of files that are pictures or films already, and several pictures beside one another."""

from __future__ import annotations

import io
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.formats.pictures._sheet import Picture, Sheet, packed
from hven.model.errors import SourceError, say
from hven.model.table import RASTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.formats.media import Place
    from hven.formats.pictures._appearance import Look

RASTERS = {one: {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(one, one.upper()) for one in RASTER}
LARGEST = 170_000_000  # pixels that a file may unpack to; Pillow's own limit is a little more
MOST = 200  # frames of a film among which the one in the middle is shown
FILMS = {"mp4": "video/mp4", "m4v": "video/mp4", "mov": "video/quicktime", "avi": "video/x-msvideo", "mkv": "video/x-matroska", "webm": "video/webm", "mpg": "video/mpeg", "mpeg": "video/mpeg"}  # fmt: skip
# what opens each: FFmpeg would also open a list of addresses, whatever the file is called
_OPENED = {"mp4": "mov", "m4v": "mov", "mov": "mov", "avi": "avi", "mkv": "matroska", "webm": "matroska", "mpg": "mpeg", "mpeg": "mpeg"}  # fmt: skip
SECONDS = 10.0  # that a still may take


def is_raster(name: str) -> bool:
    """Return whether a file is a picture or a film, by its name."""
    ending = name.lower().rpartition(".")[2]
    return ending in RASTERS or ending in FILMS


def still(path: Place, name: str, look: Look) -> Picture:
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
    ending = name.lower().rpartition(".")[2]
    made, words = _of_film(path, name, ending) if ending in FILMS else _of_raster(path, name, ending, look)
    made.thumbnail((look.size, look.size), reducing_gap=2.0)
    notes = {"Title": name, "Description": words, "Copyright": look.note, "Software": "Hven"}
    return Picture(packed(made, notes), words)


def _of_raster(path: Place, name: str, ending: str, look: Look) -> tuple[Any, str]:
    from PIL import Image, ImageSequence, UnidentifiedImageError  # noqa: PLC0415  (loaded for pictures alone)

    try:
        with Image.open(path if isinstance(path, Path) else path.open("rb"), formats=(RASTERS[ending],)) as image:
            if image.width * image.height > LARGEST:
                raise SourceError(say("{name} is too large to be unpacked for a picture", name))
            frames = min(sum(1 for _ in zip(ImageSequence.Iterator(image), range(MOST), strict=False)), MOST)
            words = f"{image.width} x {image.height} pixels"
            if frames > 1:
                image.seek(frames // 2)
                words = f"frame {frames // 2 + 1} of {frames}, {words}"
            image.draft("RGB", (look.size, look.size))
            return image.convert("RGBA" if image.mode in {"RGBA", "LA", "P", "PA"} else "RGB"), words
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as fault:
        why = " ".join(str(fault).split()).replace(str(path), name)[:200] or type(fault).__name__
        raise SourceError(say("{name} is damaged: {reason}", name, why)) from None


@cache
def films() -> bool:
    """Return whether stills can be made of films here."""
    return find_spec("av") is not None


def _of_film(path: Place, name: str, ending: str) -> tuple[Any, str]:
    """Decode the frame from which one in the middle can be reached: PyAV, which is FFmpeg."""
    if path.stat().st_size == 0:
        raise SourceError(say("{name} is empty", name))
    if not films():
        raise SourceError(
            say("of a film of the kind {kind} no still is made here", ending.upper()),
            remedy=say("pip install 'hven[films]' where Hven runs, or publish a still beside it, and say semantics: thumbnail"),
        )  # fmt: skip
    import av  # noqa: PLC0415  (asked by few)

    until = time.monotonic() + SECONDS
    try:
        with path.open("rb") as file, av.open(file, "r", format=_OPENED[ending], metadata_errors="replace") as film:
            if not film.streams.video:
                raise SourceError(say("{name} is damaged: {reason}", name, "it has no pictures"))
            stream = film.streams.video[0]
            context = stream.codec_context
            if context.width * context.height > LARGEST:
                raise SourceError(say("{name} is too large to be unpacked for a picture", name))
            context.options = {"max_pixels": str(LARGEST)}  # what a frame itself says counts, too
            context.thread_count = 1
            length = film.duration or 0  # microseconds
            if length > 0:
                film.seek(length // 2)
            for packet in film.demux(stream):
                for frame in packet.decode():
                    seconds = (
                        f", {frame.time:.1f} s of {length / 1e6:.1f} s" if frame.time is not None and length else ""
                    )
                    return frame.to_image(), f"{frame.width} x {frame.height} pixels{seconds}"  # type: ignore[no-untyped-call]
                if time.monotonic() > until:
                    raise SourceError(say("{name} takes too long to be unpacked for a picture", name))
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as fault:
        raise SourceError(say("{name} is damaged: {reason}", name, str(fault.strerror if isinstance(fault, OSError) and fault.strerror else type(fault).__name__))) from None  # fmt: skip
    raise SourceError(say("{name} is damaged: {reason}", name, "no frame of it can be read"))


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
