"""Draw stills of files that are pictures or films already, and combine several pictures."""

from __future__ import annotations

import io
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.model.errors import SourceError, format_message
from hven.model.table import RASTER_EXTENSIONS
from hven.plugins.previews.pictures.canvas import PictureCanvas, RenderedPicture, encode_png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.formats.media import Place
    from hven.plugins.previews.pictures.appearance import PictureStyle

RASTER_FORMATS = {
    extension: {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(extension, extension.upper())
    for extension in RASTER_EXTENSIONS
}
MAX_PIXELS = 170_000_000  # that a file may unpack to; Pillow's own limit is a little higher
MAX_SEARCHED_FRAMES = 200  # of a film, among which the middle one is shown
FILM_MEDIA_TYPES = {
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "mpg": "video/mpeg",
    "mpeg": "video/mpeg",
}
# the demuxer of each: FFmpeg would also open a list of addresses, whatever the file is called
_FILM_DEMUXERS = {
    "mp4": "mov",
    "m4v": "mov",
    "mov": "mov",
    "avi": "avi",
    "mkv": "matroska",
    "webm": "matroska",
    "mpg": "mpeg",
    "mpeg": "mpeg",
}
FILM_TIMEOUT_SECONDS = 10.0  # for a still


def is_picture_or_film(file_name: str) -> bool:
    """Return whether a file is a picture or a film, by its name."""
    extension = file_name.lower().rpartition(".")[2]
    return extension in RASTER_FORMATS or extension in FILM_MEDIA_TYPES


def draw_picture_or_film_frame(path: Place, name: str, look: PictureStyle) -> RenderedPicture:
    """Scale a picture down; of a film take the frame in its middle.

    Parameters
    ----------
    path, name
        Path and name of the file.
    look
        Look of the still, of which the size counts.

    Raises
    ------
    SourceError
        The file is damaged, too large, or of a kind that cannot be read.
    """
    extension = name.lower().rpartition(".")[2]
    if extension in FILM_MEDIA_TYPES:
        image, description = _read_film_frame(path, name, extension)
    else:
        image, description = read_raster_image(path, name, look.size)
    image.thumbnail((look.size, look.size), reducing_gap=2.0)
    notes = {"Title": name, "Description": description, "Copyright": look.note, "Software": "Hven"}
    return RenderedPicture(encode_png(image, notes), description)


def read_raster_image(path: Place, name: str, size: int) -> tuple[Any, str]:
    """Read a picture, of an animation the middle frame.

    Parameters
    ----------
    path, name
        Path and name of the file.
    size
        Pixels that are needed of the longer side; a JPEG is not decoded to much more.

    Returns
    -------
    image, description
        An image of Pillow in colours, and words about it.

    Raises
    ------
    SourceError
        The file is damaged or too large.
    """
    from PIL import Image, ImageSequence, UnidentifiedImageError  # noqa: PLC0415  (only pictures need it)

    extension = name.lower().rpartition(".")[2]
    try:
        source = path if isinstance(path, Path) else path.open("rb")
        with Image.open(source, formats=(RASTER_FORMATS[extension],)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise SourceError(
                    format_message("{name} is too large, so Hven cannot make a picture of the file", name)
                )
            searched_frames = zip(ImageSequence.Iterator(image), range(MAX_SEARCHED_FRAMES), strict=False)
            frames = sum(1 for _ in searched_frames)
            description = f"{image.width} x {image.height} pixels"
            if frames > 1:
                image.seek(frames // 2)
                description = f"frame {frames // 2 + 1} of {frames}, {description}"
            image.draft("RGB", (size, size))
            has_transparency = image.mode in {"RGBA", "LA", "P", "PA"}
            return image.convert("RGBA" if has_transparency else "RGB"), description
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as fault:
        reason = " ".join(str(fault).split()).replace(str(path), name)
        reason = reason[:200] or type(fault).__name__
        raise SourceError(format_message("{name} is damaged: {reason}", name, reason)) from None


@cache
def can_read_films() -> bool:
    """Return whether stills of films can be made on this machine."""
    return find_spec("av") is not None


def _read_film_frame(path: Place, name: str, extension: str) -> tuple[Any, str]:
    """Decode a frame near the middle of a film with PyAV, which is FFmpeg."""
    if path.stat().st_size == 0:
        raise SourceError(format_message("{name} is empty", name))
    if not can_read_films():
        raise SourceError(
            format_message("this installation of Hven cannot make stills from {kind} films", extension.upper()),
            remedy=format_message(
                "run `pip install 'hven[films]'` where Hven runs, or publish a still next to the film with "
                "`semantics: thumbnail`"
            ),
        )
    import av  # noqa: PLC0415  (few requests need it)

    end_time = time.monotonic() + FILM_TIMEOUT_SECONDS
    try:
        with (
            path.open("rb") as file,
            av.open(file, "r", format=_FILM_DEMUXERS[extension], metadata_errors="replace") as film,
        ):
            if not film.streams.video:
                raise SourceError(format_message("{name} is damaged: {reason}", name, "it contains no pictures"))
            stream = film.streams.video[0]
            context = stream.codec_context
            if context.width * context.height > MAX_PIXELS:
                raise SourceError(
                    format_message(
                        "the frames of {name} are too large, so Hven cannot make a picture of the film", name
                    )
                )
            context.options = {"max_pixels": str(MAX_PIXELS)}  # what a frame itself says counts, too
            context.thread_count = 1
            length = film.duration or 0  # microseconds
            if length > 0:
                film.seek(length // 2)
            for packet in film.demux(stream):
                for frame in packet.decode():
                    seconds = ""
                    if frame.time is not None and length:
                        seconds = f", {frame.time:.1f} s of {length / 1e6:.1f} s"
                    description = f"{frame.width} x {frame.height} pixels{seconds}"
                    return frame.to_image(), description  # type: ignore[no-untyped-call]
                if time.monotonic() > end_time:
                    raise SourceError(
                        format_message(
                            "a frame of {name} takes too long to decompress, so Hven cannot make a picture of the film",
                            name,
                        )
                    )
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as fault:
        reason = type(fault).__name__
        if isinstance(fault, OSError) and fault.strerror:
            reason = str(fault.strerror)
        raise SourceError(format_message("{name} is damaged: {reason}", name, reason)) from None
    raise SourceError(format_message("{name} is damaged: {reason}", name, "none of its frames can be read"))


def combine_pictures(pictures: Sequence[RenderedPicture], names: Sequence[str], look: PictureStyle) -> bytes:
    """Combine pictures side by side, with their names.

    Parameters
    ----------
    pictures, names
        Two to eight pictures and their names.
    look
        Size of the whole, and the note.
    """
    from PIL import Image  # noqa: PLC0415  (loaded already)

    images = [Image.open(io.BytesIO(picture.body)).convert("RGBA") for picture in pictures]
    if len(images) <= 4:
        columns = 2
    else:
        columns = 3
    rows = -(-len(images) // columns)
    sheet = PictureCanvas(16, 16)
    letters = max(8, look.size // 70)
    if look.axes:
        label = int(1.7 * letters)
    else:
        label = 0
    gap = max(2, look.size // 150)
    column_width = max(image.width for image in images)
    row_height = max(image.height for image in images) + label
    horizontal_scale = look.size / (columns * (column_width + gap) - gap)
    vertical_scale = look.size / (rows * (row_height + gap) - gap)
    scale = min(1.0, horizontal_scale, vertical_scale)
    column_width = int(column_width * scale)
    row_height = int((row_height - label) * scale) + label
    sheet_height = rows * (row_height + gap) - gap + label
    sheet = PictureCanvas(columns * (column_width + gap) - gap, sheet_height)
    sheet.letter_pixels = letters
    for picture_number, (image, name) in enumerate(zip(images, names, strict=True)):
        left_offset = (picture_number % columns) * (column_width + gap)
        top_offset = (picture_number // columns) * (row_height + gap)
        if scale < 1.0:
            image.thumbnail((column_width, row_height - label))
        margin = (column_width - image.width) // 2
        sheet.image.paste(image, (left_offset + margin, top_offset + label), image)
        if label:
            label_place = (left_offset + column_width / 2, top_offset + label / 2)
            sheet.draw_text(label_place, sheet.shorten_text(name, column_width), "mm")
    if label:
        note_place = (4, sheet.size[1] - label / 2)
        note = sheet.shorten_text(look.note, sheet.size[0] - 8)
        sheet.draw_text(note_place, note, "lm", colour=(105, 112, 122))
    descriptions = [f"{name}: {picture.description}" for name, picture in zip(names, pictures, strict=True)]
    metadata_texts = {
        "Title": ", ".join(names),
        "Description": "; ".join(descriptions),
        "Copyright": look.note,
        "Software": "Hven",
    }
    return sheet.to_png(metadata_texts)
