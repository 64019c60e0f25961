"""Draw the frames of a film, and write them as MP4 (H.264) with PyAV."""

from __future__ import annotations

import time
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import TimeLimitError, UserError, format_message
from hven.plugins.films.film_frames import BASE, HALF_WIDTH_RADII, choose_film_stretch
from hven.plugins.films.turned_contours import choose_contours, locate_on_disc, move_contour
from hven.plugins.series.time_texts import format_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hven.plugins.films.film_frames import FilmFrame
    from hven.plugins.films.turned_contours import SunContour
    from hven.plugins.previews.pictures.appearance import ColourStretch

MAX_FILM_SECONDS = 120.0
CAPTION_PIXELS = 20
BACKGROUND, CAPTION_COLOUR, CONTOUR_COLOUR = (0, 0, 0), (235, 235, 235), (0, 229, 255)
CODECS = ("libx264", "libopenh264", "mpeg4")  # the first that this installation has


@cache
def can_write_films() -> bool:
    """Return whether films can be written on this machine."""
    return find_spec("av") is not None


def check_film_deadline(deadline: float) -> None:
    """Raise an error if the time of a film is over.

    Parameters
    ----------
    deadline
        As `time.monotonic` returns it.

    Raises
    ------
    TimeLimitError
        The time is over.
    """
    if time.monotonic() > deadline:
        message = format_message("writing this film takes more than {limit:.0f} seconds", MAX_FILM_SECONDS)
        raise TimeLimitError(message, remedy="choose a longer cadence, a shorter time span, or a smaller picture")


def draw_frames(
    read_frame: Callable[[int], FilmFrame],
    instants: Sequence[int],
    labels: Sequence[str],
    difference: str,
    contours: Sequence[SunContour] = (),
) -> Iterator[Any]:
    """Draw the frames of a film, one after another.

    Parameters
    ----------
    read_frame
        Reads an image by its number.
    instants, labels
        Times of the images in microseconds since 1970, and what else is written below them.
    difference
        ``running``: less the image before; ``base``: less the first one; empty: the images.
    contours
        Contours that are drawn over the images of the Sun, turned to the time of each.

    Yields
    ------
    frame
        An image of PIL.

    Raises
    ------
    TimeLimitError
        Reading takes too long.
    """
    deadline = time.monotonic() + MAX_FILM_SECONDS
    stretch = choose_film_stretch(read_frame, len(instants), difference)
    previous = None
    for number, instant in enumerate(instants):
        check_film_deadline(deadline)
        frame = read_frame(number)
        values = frame.values
        if difference:
            values = frame.values - (frame.values if previous is None else previous)
            if previous is None or difference != BASE:
                previous = frame.values
        chosen = choose_contours(contours, instant)
        yield _draw_frame(values, frame, stretch, instant=instant, label=labels[number], contours=chosen)


def _draw_frame(
    values: Any,
    frame: FilmFrame,
    stretch: ColourStretch,
    *,
    instant: int,
    label: str,
    contours: Sequence[SunContour],
) -> Any:
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  (only films need it)

    size = len(values)
    image = Image.new("RGB", (size, size + CAPTION_PIXELS), BACKGROUND)
    picture = Image.fromarray(stretch.to_rgba(values), "RGBA")
    image.paste(picture, (0, 0), picture)
    pen = ImageDraw.Draw(image)
    if frame.disc is not None:
        for contour in contours:
            u, v = locate_on_disc(frame.disc, *move_contour(contour, instant))
            x, y = locate_on_film(u, v, size)
            for index in np.flatnonzero(np.isfinite(x) & np.isfinite(np.roll(x, -1))).tolist():
                following = (index + 1) % len(x)
                pen.line([(x[index], y[index]), (x[following], y[following])], fill=CONTOUR_COLOUR)
    text = f"{format_instant(instant)[:19].replace('T', ' ')} UTC  {label}".strip()
    pen.text((4, size + 3), text[: size // 7], fill=CAPTION_COLOUR, font=ImageFont.load_default(12))
    return image


def locate_on_film(u: Any, v: Any, size: int) -> tuple[Any, Any]:
    """Return the pixels of places in the plane of the Sun's disc.

    Parameters
    ----------
    u, v
        Radii of the disc to the right and to the north.
    size
        Pixels of a side of the film.
    """
    return (u / HALF_WIDTH_RADII + 1) / 2 * size - 0.5, (1 - v / HALF_WIDTH_RADII) / 2 * size - 0.5


def write_film(path: Path, frames: Iterator[Any], rate: int) -> None:
    """Write frames as MP4.

    Parameters
    ----------
    path
        Path of the new file.
    frames
        Images of PIL of one size, whose sides are even.
    rate
        Frames a second.

    Raises
    ------
    UserError
        The library is not installed.
    """
    if not can_write_films():
        message = format_message("this installation of Hven cannot write films")
        raise UserError(message, remedy="run `pip install 'hven[films]'` where Hven runs")
    import av  # noqa: PLC0415  (few requests need it)

    codec = next(name for name in CODECS if name in av.codecs_available)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = None
        for image in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=rate)
                stream.width, stream.height, stream.pix_fmt = image.width, image.height, "yuv420p"
                stream.codec_context.thread_count = 1
                if codec == "libx264":
                    stream.options = {"crf": "18", "preset": "veryfast"}
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())
